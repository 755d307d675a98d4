"""What the accuracy owes to the gates: change the weights that they give the experts, and count again.

Axis legend: N images, E experts, D features, C classes. Only what follows the gates is computed again; extractors and
fusion ran once. Every change keeps the scale that the head is used to where it can: it moves an image's own total
weight (the sum of its two largest gate values, or 1 for a dense gate) to other experts. Knocking out is the
exception: the weights of the rest stay as they are, since the paper's code does not renormalise either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fermoe.errors import UserError
from fermoe.evidence.gates import mutual_information
from fermoe.network.mixture import MixtureOfExperts
from fermoe.network.model import ExpressNetMoE
from fermoe.stats import paired_difference, wilson_interval
from fermoe.training.inference import TrainedRun

BOTH = "both"
"""The name of a change made in all mixtures at once."""

RANDOM_GATES = 50
"""Random linear gates that a trained one is compared with."""

SHUFFLES = 10
"""Permutations of the images that shuffled gates are averaged over, so that no single one decides."""

Change = Callable[[Tensor], Tensor]


def knock_out(weights: Tensor, expert: int) -> Tensor:
    """Weights (N, E) without one expert; the others keep theirs."""
    changed = weights.clone()
    changed[:, expert] = 0
    return changed


def force(weights: Tensor, expert: int) -> Tensor:
    """Weights (N, E) with each image's total weight on one expert."""
    changed = torch.zeros_like(weights)
    changed[:, expert] = weights.sum(1)
    return changed


def uniform(weights: Tensor) -> Tensor:
    """Weights (N, E) with each image's total weight spread evenly over all experts."""
    return (weights.sum(1, keepdim=True) / weights.shape[1]).expand_as(weights)


def shuffle(weights: Tensor, order: Tensor) -> Tensor:
    """Weights (N, E) with those of image order[n] (N,) for image n."""
    return weights[order.to(weights.device)]


@dataclass(frozen=True)
class Mixtures:
    """A network from its gates on: each mixture's input (N, D) and weights (N, E), by name, and the labels (N,)."""

    model: ExpressNetMoE
    inputs: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    labels: NDArray[np.int64]

    def changed(self, change: Change, names: Sequence[str]) -> Mixtures:
        """The same network with the weights of the named mixtures changed."""
        return replace(self, weights={**self.weights, **{name: change(self.weights[name]) for name in names}})

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """The network's logits (N, C) under these weights."""
        mixed = [mixture(self.model, name).mix(x, self.weights[name]) for name, x in self.inputs.items()]
        return self.model.head(torch.cat(mixed, 1))

    def correct(self) -> NDArray[np.bool_]:
        """Which images (N,) are classified correctly under these weights."""
        return self.logits().argmax(1).cpu().numpy() == self.labels


def mixture(model: ExpressNetMoE, name: str) -> MixtureOfExperts:
    """The named mixture of a network.

    Raises:
        UserError: the variant has none of that name, or a dense layer in its place.
    """
    module = getattr(model, f"moe_{name}", None)
    if not isinstance(module, MixtureOfExperts):
        raise UserError(f"variant '{model.config.variant}' has no mixture '{name}'", fix="use one with a gate")
    return module


def open_mixtures(run: TrainedRun, images: int | None = None) -> Mixtures:
    """Run the test images (evenly spread, at most `images`) through a network up to its mixtures.

    Raises:
        UserError: the network has no mixtures.
    """
    rows = run.rows(images)
    out = run.predict(run.images(rows))
    mixed = run.model.config.mixtures
    names = [name for name in mixed if name in out.gates]
    if not names:
        raise UserError(f"variant '{run.config.variant}' has no gates", where=run.name, fix="leave this run out")
    return Mixtures(
        run.model,
        {name: out.features[mixed[name]].to(run.device) for name in names},
        {name: mixture(run.model, name).weights(out.gates[name]).to(run.device) for name in names},
        run.labels(rows),
    )


class Drop(NamedTuple):
    """What one change costs: accuracy unchanged − changed on the same images, with its paired interval.

    Measure "unchanged_accuracy" is the accuracy itself, with Wilson's interval. `expert` is None for changes that
    concern all experts.
    """

    mixture: str
    measure: str
    expert: int | None
    value: float
    ci_low: float
    ci_high: float
    images: int

    def row(self) -> dict[str, Any]:
        return self._asdict()


@dataclass(frozen=True, eq=False)
class Answers:
    """Which images (N,) a network classifies correctly, unchanged and under every change of its gates.

    `changes` names mixture, measure and expert of each row of `correct` (K, N): first "unchanged_accuracy", then the
    changes. Rows of the same name are repetitions. By mixture, empty in answers of earlier versions: `information`
    (R,), what the choice of random linear gates on the same features tells about the class (`random_information`), and
    `similarity` (E, E), how alike the experts' outputs are (`output_similarity`).
    """

    changes: tuple[tuple[str, str, int | None], ...]
    correct: NDArray[np.bool_]
    information: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    similarity: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def ask(mixtures: Mixtures, rng: np.random.Generator) -> Answers:
    """Every change in every mixture, and shuffled and uniform gates in both at once.

    Per expert: "knock_out_drop" and "forced_drop". "shuffled_gates_drop" gives every image the gates of another, in
    `SHUFFLES` permutations; in both mixtures at once an image gets both gates of the same other image.
    "uniform_gates_drop" uses all experts alike.
    """
    size = len(mixtures.labels)
    # Drawn first, and the same for every mixture: "both" then differs from the single ones by the change alone.
    orders = [torch.from_numpy(rng.permutation(size)) for _ in range(min(SHUFFLES, size))]
    names = list(mixtures.weights)
    changes: list[tuple[str, str, int | None]] = [(BOTH, "unchanged_accuracy", None)]
    correct = [mixtures.correct()]

    def change(where: Sequence[str], measure: str, expert: int | None, function: Change) -> None:
        changes.append((where[0] if len(where) == 1 else BOTH, measure, expert))
        correct.append(mixtures.changed(function, where).correct())

    for name in names:
        for measure, function in (("knock_out_drop", knock_out), ("forced_drop", force)):
            for expert in range(mixtures.weights[name].shape[1]):
                change([name], measure, expert, partial(function, expert=expert))
    for where in [[name] for name in names] + ([names] if len(names) > 1 else []):
        for order in orders:
            change(where, "shuffled_gates_drop", None, partial(shuffle, order=order))
        change(where, "uniform_gates_drop", None, uniform)
    inputs = {name: x.float().cpu().numpy() for name, x in mixtures.inputs.items()}
    information = {
        name: random_information(x, mixtures.labels, mixtures.weights[name].shape[1], rng) for name, x in inputs.items()
    }
    similarity = {name: output_similarity(mixture(mixtures.model, name), x) for name, x in mixtures.inputs.items()}
    return Answers(tuple(changes), np.stack(correct), information, similarity)


def random_information(
    features: NDArray[np.floating], labels: NDArray[np.int64], experts: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Mutual information, in bits, of the class with the first choice of `RANDOM_GATES` random linear gates: (R,).

    A linear gate on features (N, D) that tell classes apart tells them apart as well, though nobody trained it: that is
    what specialisation has to exceed. Features are standardised, so that no gate is decided by one of them, and the
    weights are normal; a gate has no bias.
    """
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    choices = ((scaled @ rng.standard_normal((features.shape[1], experts))).argmax(axis=1) for _ in range(RANDOM_GATES))
    return np.array([mutual_information(labels, choice) for choice in choices])


@torch.inference_mode()
def output_similarity(mixture: MixtureOfExperts, x: Tensor) -> NDArray[np.float64]:
    """Mean cosine between the outputs of every two experts for the same images x (N, D): (E, E), 1 on the diagonal.

    An expert that puts out nothing for an image has no direction there; such images are left out of its means.
    """
    outputs = torch.stack([F.relu(expert(x)) for expert in mixture.experts], 1).double()  # (N, E, D)
    length = outputs.norm(dim=2, keepdim=True)
    unit = outputs / length.clamp_min(1e-12)
    there = (length[..., 0] > 0).double()  # (N, E)
    pairs = torch.einsum("ne,nf->ef", there, there).clamp_min(1)
    return (torch.einsum("ned,nfd->ef", unit, unit) / pairs).cpu().numpy()


def accuracy_drops(answers: Answers, rng: np.random.Generator) -> list[Drop]:
    """What every change costs; repetitions are averaged."""
    before, size = answers.correct[0], answers.correct.shape[1]
    right = int(before.sum())
    found = [Drop(*answers.changes[0], right / size, *wilson_interval(right, size), size)]
    for name in dict.fromkeys(answers.changes[1:]):
        after = answers.correct[[changed == name for changed in answers.changes]]  # (repetitions, N)
        found.append(Drop(*name, *paired_difference(after, before, rng), size))
    return found
