"""Can the maps be believed? What they mark is removed, the weights are drawn again, and the training is repeated.

Axis legend: N images, S pixels per side, C classes, Q shares of the picture that are removed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when they are first used
import torch
from numpy.typing import NDArray
from torch import Tensor

from fermoe.evidence.maps import Floats, TargetLayer, enlarge, is_empty, layer_maps, redrawn
from fermoe.stats import bca_interval, wilson_interval
from fermoe.training.inference import TrainedRun

REMOVED = (0.05, 0.10, 0.20, 0.40)
"""The shares of the picture that are taken away."""

SALIENT, OTHER, RANDOM = "most salient", "another image's map", "random patches"
"""What decides which part of the picture goes; the last two are the controls."""

DRAWS = 10
"""Networks with weights drawn again."""

CASCADE = ("head", "mixtures", "fusion", "extractors")
"""Which weights are drawn again one after the other, from the classifier down; after the last one all are."""

_PARTS = {
    "head": ("head",), "mixtures": ("moe_cnn", "moe_expression"), "fusion": ("fusion",),
    "extractors": ("cnn1", "cnn2", "resnet"),
}  # fmt: skip

CASCADE_DRAWS = 3
"""Networks per step of the cascade."""

UNCHANGED = 0.5
"""A mean rank correlation above this, between the maps of trained and random weights, counts as no change."""


def removal_order(maps: Floats) -> NDArray[np.int64]:
    """The pixels of each map (N, S, S) from the most to the least salient: (N, S·S) positions, row by row.

    Between equal pixels (around the outermost cells a map is flat) the one nearer to the picture's middle is first:
    what is removed stays in one piece.
    """
    n, height, width = maps.shape
    y, x = np.mgrid[:height, :width]
    distance = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
    flat = maps.reshape(n, height * width)
    return np.lexsort((np.broadcast_to(distance.ravel(), flat.shape), -flat), axis=-1)


def remove(images: Tensor, order: NDArray[np.int64], share: float) -> Tensor:
    """Images (N, 3, S, S) with the first `share` of their pixels in `order` (N, S·S) set to the image's mean colour."""
    flat = images.flatten(2).clone()
    count = round(share * flat.shape[2])
    first = torch.from_numpy(order[:, None, :count].copy()).expand(-1, flat.shape[1], -1)
    return flat.scatter(2, first, flat.mean(2, keepdim=True).expand(-1, -1, count)).view_as(images)


def impute(images: Tensor, order: NDArray[np.int64], share: float) -> Tensor:
    """As `remove`, but what is removed is filled from its surroundings: ROAD (Rong et al. 2022, arXiv:2202.00449).

    Each missing pixel becomes the weighted mean of its eight neighbours, solved for all at once, plus a little noise
    (standard deviation 0.01, seeded by the share): unlike a patch of one colour, this leaves no shape behind from which
    the network could read what was removed. The solver is pytorch-grad-cam's.
    """
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer  # here, for it takes seconds

    count, filled = round(share * order.shape[1]), images.clone()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(count)
        for i, pixels in enumerate(order[:, :count]):
            mask = torch.ones(images.shape[-2:])
            mask.view(-1)[torch.from_numpy(pixels.copy())] = 0
            filled[i] = NoisyLinearImputer()(images[i], mask)
    return filled.clamp(0, 1)


@dataclasses.dataclass(frozen=True)
class Removal:
    """What happened to M images with a map: by kind of removal, (Q + 1, M) for 0 and each share of `REMOVED`."""

    kept: NDArray[np.int64]  # (M,) which of the N images have a map
    probability: Mapping[str, Floats]  # of the class explained
    correct: Mapping[str, NDArray[np.bool_]]

    def gain(self, control: str = RANDOM, accuracy: bool = False) -> Floats:
        """Area between the control's curve and that of the most salient parts, per image: (M,).

        The mean, over removed shares from 0 to the largest, of how much more probability (or accuracy) is lost with
        the most salient parts than with the control's; above 0, the map marks what the network needs.
        """
        curves = self.correct if accuracy else self.probability
        between = curves[control].astype(float) - curves[SALIENT]
        return scipy.integrate.trapezoid(between, np.array([0, *REMOVED]), axis=0) / REMOVED[-1]


def removal(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Floats,
    layer: TargetLayer,
    targets: NDArray[np.int64],
    labels: NDArray[np.int64],
    rng: np.random.Generator,
    take_away: Callable[[Tensor, NDArray[np.int64], float], Tensor] = remove,
) -> Removal:
    """Remove the most salient parts of images (N, 3, S, S) and, as controls, parts of the same size and coarseness.

    Scattered random pixels would be no fair control: they destroy less than a patch does. Here the controls are the
    map of another image, which lies where maps of this network lie, and a map of random cells of the same grid.
    Images with an empty map are left out, and a single map, which has no other, too.

    Args:
        predict: images → logits (N, C).
        maps: (N, S, S), of `layer`.
        targets: the classes explained (N,); their probability is followed.
        labels: the true classes (N,), for the accuracy.
        take_away: `remove` or `impute`.
    """
    kept = np.flatnonzero(~is_empty(maps))
    kept = kept if len(kept) > 1 else kept[:0]
    images, maps, targets, labels = images[torch.from_numpy(kept)], maps[kept], targets[kept], labels[kept]
    noise = enlarge(rng.random((len(kept), layer.side, layer.side)), layer.centres, images.shape[-1])
    orders = {SALIENT: removal_order(maps)}
    orders |= {OTHER: orders[SALIENT][another(len(kept), rng)], RANDOM: removal_order(noise)}
    probability, correct = {}, {}
    whole = predict(images) if len(kept) else torch.empty(0, 1)
    for kind, order in orders.items():
        logits = [whole] + [predict(take_away(images, order, share)) if len(kept) else whole for share in REMOVED]
        shares = torch.stack(logits).double().softmax(-1).numpy()  # (Q + 1, M, C)
        probability[kind] = shares[:, np.arange(len(kept)), targets]
        correct[kind] = shares.argmax(-1) == labels
    return Removal(kept, probability, correct)


def another(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each of `count` things another one at random, every one once."""
    order = rng.permutation(count)
    other = np.empty(count, dtype=np.int64)
    other[order] = np.roll(order, 1)
    return other


def removal_table(result: Removal, rng: np.random.Generator, resamples: int = 1000) -> pd.DataFrame:
    """The curves: kind, removed (share), images, probability and accuracy with 95 % intervals (bootstrap, Wilson)."""
    rows = []
    for kind, curve in result.probability.items():
        for share, values, hits in zip((0.0, *REMOVED), curve, result.correct[kind], strict=True):
            mean, low, high = mean_with_interval(values, rng, resamples)
            right, images = int(hits.sum()), len(hits)
            accuracy = right / images if images else np.nan
            bounds = wilson_interval(right, images)
            rows.append((kind, share, images, mean, low, high, accuracy, *bounds))
    columns = ["kind", "removed", "images", "probability", "ci_low", "ci_high", "accuracy", "acc_low", "acc_high"]
    return pd.DataFrame(rows, columns=columns)


def rank_correlation(one: Floats, other: Floats) -> Floats:
    """Spearman's correlation of each pair of maps (N, S, S) over their pixels: (N,); NaN where one is constant."""
    n, height, width = one.shape
    ranks = [scipy.stats.rankdata(maps.reshape(n, height * width), axis=1) for maps in (one, other)]
    first, second = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.divide((first * second).sum(axis=1), scale, out=np.full(len(scale), np.nan), where=scale > 0)


def random_weights_correlations(
    trained: TrainedRun,
    images: Tensor,
    layers: Sequence[TargetLayer],
    maps: Sequence[Floats],
    targets: NDArray[np.int64],
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """The sanity check of Adebayo et al. (2018, arXiv:1810.03292): (layers, draws) mean rank correlations.

    The maps of the trained network against those of the same network with every weight drawn again, for the same
    images and classes, averaged over the images on which both have a map. One random network looks at nearly the same
    place in every image, so the draws are the sample, and not the images.
    """
    step = max(1, images.shape[-1] // 64)  # the maps are smooth: 64 points per side hold them
    found = []
    for draw in range(draws):
        drawn = layer_maps(redrawn(trained, seed * draws + draw), images, layers, targets.tolist())
        pairs = zip(maps, drawn, strict=True)
        found.append([_defined_mean(rank_correlation(a[:, ::step, ::step], b[:, ::step, ::step])) for a, b in pairs])
    return np.array(found).reshape(draws, len(layers)).T


def cascade_correlations(
    trained: TrainedRun,
    images: Tensor,
    layers: Sequence[TargetLayer],
    maps: Sequence[Floats],
    targets: NDArray[np.int64],
    seed: int = 0,
) -> Floats:
    """Cascading randomisation (Adebayo et al. 2018): (layers, steps) mean rank correlations with the trained maps.

    At each step of `CASCADE` one more part of the network is drawn again, from the classifier down; a map that follows
    what was learned changes as soon as what lies behind it does. Means over images and `CASCADE_DRAWS` networks.
    """
    step, found = max(1, images.shape[-1] // 64), []
    for last in range(1, len(CASCADE) + 1):
        parts = [part for name in CASCADE[:last] for part in _PARTS[name]]
        means = []
        for draw in range(CASCADE_DRAWS):
            drawn = layer_maps(redrawn(trained, seed * CASCADE_DRAWS + draw, parts), images, layers, targets.tolist())
            pairs = zip(maps, drawn, strict=True)
            means.append(
                [_defined_mean(rank_correlation(a[:, ::step, ::step], b[:, ::step, ::step])) for a, b in pairs]
            )
        found.append([_defined_mean(column) for column in np.array(means).T])
    return np.array(found).reshape(len(CASCADE), len(layers)).T


def _defined_mean(values: Floats) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else np.nan


def weights_verdict(random: Sequence[float], other_training: Sequence[float]) -> str:
    """Whether maps show what was learned: two mean rank correlations, each as (value, low, high).

    `random` is the maps' with those of random weights, `other_training` with those of another training of the same
    network, the positive control: what training puts into a map must come back when it is repeated. "learned": the
    first is below `UNCHANGED`, and the second lies above it with its whole interval. Without a second training (NaN)
    the maps at most change with the weights.
    """
    value, low, high = random
    if np.isnan(value):
        return "no maps"
    if low > UNCHANGED:
        return "does not change"
    if not high < UNCHANGED:
        return "undecided"
    if np.isnan(other_training[0]):
        return "changes"
    if other_training[1] > high:
        return "learned"
    return "no better than random weights" if other_training[0] <= high else "undecided"


Statistic = Callable[..., Floats]


def mean_of(values: Floats, axis: int = -1) -> Floats:
    return values.mean(axis=axis)


def mean_with_interval(values: Floats, rng: np.random.Generator, resamples: int) -> tuple[float, float, float]:
    return with_interval(mean_of, [values], rng, resamples)


def with_interval(
    statistic: Statistic, vectors: Sequence[Floats], rng: np.random.Generator, resamples: int
) -> tuple[float, float, float]:
    """A statistic with its BCa interval; one image has no interval, and none have no value (NaN)."""
    if len(vectors[0]) == 0:
        return np.nan, np.nan, np.nan
    value = float(statistic(*vectors))
    if len(vectors[0]) == 1 or np.isnan(value):
        return value, np.nan, np.nan
    return value, *bca_interval(statistic, *vectors, rng=rng, resamples=resamples)
