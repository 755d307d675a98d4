"""Where does each branch look, and are its maps to be believed? The table grad_cam.csv."""

from __future__ import annotations

import dataclasses
import functools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fermoe.errors import UserError
from fermoe.evidence.faithfulness import (
    CASCADE,
    DRAWS,
    OTHER,
    RANDOM,
    Removal,
    Statistic,
    another,
    cascade_correlations,
    impute,
    mean_of,
    mean_with_interval,
    random_weights_correlations,
    rank_correlation,
    removal,
    weights_verdict,
    with_interval,
)
from fermoe.evidence.maps import (
    BRANCHES,
    Floats,
    TargetLayer,
    area_above_half,
    box_share,
    boxes_in_crop,
    branches,
    enlarge,
    is_empty,
    layer_cells,
    map_entropy,
    target_layer,
)
from fermoe.evidence.table import Table
from fermoe.network.model import ExpressNetMoE
from fermoe.network.variants import VARIANTS
from fermoe.stats import mean_interval
from fermoe.training.feed import spread
from fermoe.training.inference import TrainedRun, open_run, open_runs
from fermoe.training.runs import KEY, SETTING, FinishedRun, StudyResults, main_setting

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "branch", "group", "measure", "value", "ci_low",
    "ci_high", "images", "run", "layer", "side",
)  # fmt: skip
"""Of grad_cam.csv."""

NOTEBOOK = "06_grad_cam"
FINE_SIDE = 4
"""Where the last map has fewer cells per side, the last one that has as many is measured too."""

REMOVALS = 100
"""Images (at most) from which parts are removed: each is classified a dozen times per branch."""

IMPUTED = 20
"""Images (at most) from which parts are removed by imputation: each takes a linear system per share and control."""

CHECKED = 50
"""Images (at most) on which maps of trained and random weights are compared."""


def layer_table(model: ExpressNetMoE, min_side: int = 1) -> pd.DataFrame:
    """How fine each branch's map is: branch, layer, cells per side, pixels between cells, first centre, and `field`."""
    layers = [target_layer(model, branch, min_side) for branch in branches(model)]
    columns = ["branch", "layer", "cells", "step", "first_centre", "field", "picture"]
    rows = [
        (x.branch, x.name, x.side, np.diff(x.centres).mean() if x.side > 1 else np.nan, x.centres[0], x.field,
         model.config.image_size)
        for x in layers
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def runs_to_explain(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The full network's runs of `main_setting`, by seed, then the backbone's; without a full one, one variant's."""
    chosen = main_setting(runs) or list(runs)  # a study may have nothing but controls
    present = {run.config.variant for run in chosen}
    wanted = ["full", "backbone"] if "full" in present else [v for v in VARIANTS if v in present][:1]
    mine = [run for run in chosen if run.config.variant in wanted]
    return sorted(mine, key=lambda run: (wanted.index(run.config.variant), run.config.seed))


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What Grad-CAM says about one layer of one run, image by image. The checks are made at last layers only."""

    run: Mapping[str, Any]  # the columns that name it
    layer: TargetLayer
    cells: Floats  # (N, h, h), the maps of the predicted classes
    size: int  # S, pixels per side of the picture
    labels: NDArray[np.int64]  # (N,)
    predicted: NDArray[np.int64]  # (N,)
    boxes: Mapping[str, Floats]  # (N, 4) per part of the face; empty where they are not known
    removal: Removal | None = None
    redrawn: Floats | None = None  # (draws,)
    imputed: Removal | None = None
    cascade: Floats | None = None  # by step of `CASCADE`

    @functools.cached_property
    def maps(self) -> Floats:
        """The cells as maps of the picture: (N, S, S)."""
        return enlarge(self.cells, self.layer.centres, self.size)


def explain_runs(
    runs: Sequence[FinishedRun], root: str | None, images: int | None, seed: int, removals: int
) -> list[Evidence]:
    """`explain_run` of every run, whose data lie in `root`."""
    return [item for trained in open_runs(runs, root) for item in explain_run(trained, images, seed, removals)]


@dataclasses.dataclass(frozen=True, eq=False)
class Explained:
    """A study's networks explained: what notebook 06 shows, of all of them or of the first.

    `first` is the first network itself; of its evidence `main` has the last layer of each branch and `fine` the finest
    that was measured. `table` is grad_cam.csv.
    """

    runs: Sequence[FinishedRun]
    evidence: Sequence[Evidence]
    first: TrainedRun
    table: pd.DataFrame

    @property
    def main(self) -> list[Evidence]:
        return [item for item in self._mine if item.removal is not None]

    @property
    def fine(self) -> list[Evidence]:
        return [
            max((one for one in self._mine if one.layer.branch == item.layer.branch), key=lambda one: one.layer.side)
            for item in self.main
        ]

    @property
    def _mine(self) -> list[Evidence]:
        return [item for item in self.evidence if item.run["run"] == self.first.name]


def explained(
    study: StudyResults, root: str | None, images: int, removals: int, seed: int, anew: bool = False
) -> Explained:
    """Explain `runs_to_explain` of a study, or read what it keeps of that unless it is to be made `anew`."""
    chosen = runs_to_explain(study.runs)
    evidence = TABLE.answers(study, lambda: explain_runs(chosen, root, images, seed, removals), anew=anew)
    first = open_run(chosen[0], root, images=len(evidence[0].labels))
    return Explained(chosen, evidence, first, grad_cam_table(evidence, seed))


def explain_run(
    trained: TrainedRun, images: int | None = 200, seed: int = 0, removals: int = REMOVALS, draws: int = DRAWS
) -> list[Evidence]:
    """Maps and checks of every branch of a run, on `images` test images spread evenly over the test split.

    Branch by branch: an entry for its last convolution, with both checks (removal on `removals` images at most); and,
    where that has fewer than `FINE_SIDE` cells per side, one without them for the last convolution that has as many.
    """
    if images is not None and images < 1:
        raise UserError(f"images is {images}", fix="give at least 1")
    config, rows = trained.config, trained.rows(images)
    pictures, labels = trained.images(rows), trained.labels(rows)
    names = {key: getattr(config, key) for key in KEY} | {"run": trained.name}
    dataset, boxes = trained.data.dataset.subset(rows), {}
    if dataset.has_boxes:
        boxes = boxes_in_crop(dataset, str(config.test_crop), pictures.shape[-1])

    def predict(changed: Tensor) -> Tensor:
        return trained.predict(changed).logits

    predicted = predict(pictures).argmax(1).numpy()
    last = [target_layer(trained.model, branch) for branch in branches(trained.model)]
    fine = [target_layer(trained.model, x.branch, FINE_SIDE) for x in last if x.side < FINE_SIDE]
    cells = layer_cells(trained, pictures, [*last, *fine], predicted.tolist())
    found = [
        Evidence(names, layer, cell, pictures.shape[-1], labels, predicted, boxes)
        for layer, cell in zip([*last, *fine], cells, strict=True)
    ]
    checked, used = (spread(np.arange(len(rows)), count) for count in (CHECKED, removals))
    some_maps = [item.maps[checked] for item in found[: len(last)]]
    some = (pictures[torch.from_numpy(checked)], last, some_maps, predicted[checked])
    redrawn = random_weights_correlations(trained, *some, draws, seed)
    cascade = cascade_correlations(trained, *some, seed)
    for i, layer in enumerate(last):

        def removed(rows: NDArray[np.int64], layer: TargetLayer, maps: Floats, *how: Any) -> Removal:
            rng = _generator(seed, trained.name, layer.name)
            shown = (pictures[torch.from_numpy(rows)], maps[rows], layer, predicted[rows], labels[rows])
            result = removal(predict, *shown, rng, *how)
            return dataclasses.replace(result, kept=rows[result.kept])

        mean_colour = removed(used, layer, found[i].maps)
        imputed = removed(spread(np.arange(len(rows)), min(removals, IMPUTED)), layer, found[i].maps, impute)
        checks = {"removal": mean_colour, "imputed": imputed, "redrawn": redrawn[i], "cascade": cascade[i]}
        found[i] = dataclasses.replace(found[i], **checks)
    return sorted(found, key=lambda item: (BRANCHES.index(item.layer.branch), item.layer.side))


def _generator(seed: int, *names: str) -> np.random.Generator:
    """A generator for what these names stand for: a number does not depend on what else is computed."""
    return np.random.default_rng([seed, zlib.crc32(" ".join(names).encode())])


def pack(evidence: Sequence[Evidence]) -> dict[str, NDArray[Any]]:
    """What the table is computed from, cells and not maps, as named arrays."""
    heads: list[str] = []
    arrays: dict[str, NDArray[Any]] = {}
    for i, item in enumerate(evidence):
        layer = {key: getattr(item.layer, key) for key in ("branch", "block", "name", "field")}
        head = {"run": dict(item.run), "layer": layer, "size": item.size, "parts": list(item.boxes), "kinds": []}
        arrays |= {f"{i}_cells": item.cells, f"{i}_centres": item.layer.centres}
        arrays |= {f"{i}_labels": item.labels, f"{i}_predicted": item.predicted}
        arrays |= {f"{i}_box_{part}": box for part, box in item.boxes.items()}
        if item.removal is not None and item.redrawn is not None:
            kinds = head["kinds"] = list(item.removal.probability)
            arrays |= {f"{i}_redrawn": item.redrawn, f"{i}_kept": item.removal.kept}
            arrays |= _curves(f"{i}", item.removal, kinds)
        if item.imputed is not None and item.cascade is not None:
            arrays |= _curves(f"{i}_imputed", item.imputed, kinds)
            arrays |= {f"{i}_cascade": item.cascade, f"{i}_imputed_kept": item.imputed.kept}
        heads.append(json.dumps(head))
    return {"heads": np.array(heads, dtype=np.str_), **arrays}


def unpack(content: Mapping[str, NDArray[Any]]) -> list[Evidence]:
    """What `pack` packed."""
    found = []
    for i, head in enumerate(map(json.loads, content["heads"].tolist())):
        layer = TargetLayer(**head["layer"], centres=content[f"{i}_centres"])
        boxes = {part: content[f"{i}_box_{part}"] for part in head["parts"]}
        seen = (content[f"{i}_cells"], head["size"], content[f"{i}_labels"], content[f"{i}_predicted"])
        item = Evidence(head["run"], layer, *seen, boxes)
        if kinds := head["kinds"]:
            item = dataclasses.replace(item, removal=_removal(content, f"{i}", kinds), redrawn=content[f"{i}_redrawn"])
            if f"{i}_cascade" in content:  # earlier packs have neither
                imputed = _removal(content, f"{i}_imputed", kinds)
                item = dataclasses.replace(item, imputed=imputed, cascade=content[f"{i}_cascade"])
        found.append(item)
    return found


def _curves(name: str, result: Removal, kinds: Sequence[str]) -> dict[str, NDArray[Any]]:
    return {
        f"{name}_probability": np.stack([result.probability[kind] for kind in kinds]),
        f"{name}_correct": np.stack([result.correct[kind] for kind in kinds]),
    }


def _removal(content: Mapping[str, NDArray[Any]], name: str, kinds: Sequence[str]) -> Removal:
    curves = (dict(zip(kinds, content[f"{name}_{what}"], strict=True)) for what in ("probability", "correct"))
    return Removal(content[f"{name}_kept"], *curves)


def grad_cam_table(evidence: Sequence[Evidence], seed: int = 0, resamples: int = 1000) -> pd.DataFrame:
    """The rows of grad_cam.csv (`COLUMNS`).

    Measures, each over the images of a group ("all", "correct", "wrong") that have a map: `area_above_half`,
    `entropy`; per box `<part>_share` and `<part>_ratio`, the mean share over the box's mean share of the picture (1: no
    preference); `faithfulness_gain` against random patches, `faithfulness_gain_other_image`, and the same for the
    accuracy, `accuracy_gain` and `accuracy_gain_other_image` (`Removal.gain`); `road_gain` and `road_gain_other_image`
    are the first two where what is removed is imputed (`impute`).
    For all images together: `random_weights_correlation`; `cascade_<n>_<part>`, the same with the weights of that part
    and of all before it drawn again; `other_training_correlation`, with the maps of the other trainings of the same
    network for the images on which both predict the same class; and `other_image_correlation`, between an image's map
    and another's, high where a map hardly depends on the image. `empty_maps` counts images without a map; there,
    `images` is the whole group.

    Intervals are 95 %: a BCa bootstrap over images, Student's t over draws for `random_weights_correlation`, none for
    a count and a step of the cascade.
    """
    rows = []
    for item in evidence:
        names = {**item.run, "branch": item.layer.branch, "layer": item.layer.name, "side": item.layer.side}
        for group, inside in group_masks(item.labels == item.predicted).items():
            for measure, statistic, *vectors in _measures(item, inside):
                rng = _generator(seed, item.run["run"], item.layer.name, group, measure)
                value, low, high = with_interval(statistic, vectors, rng, resamples)
                start = {"group": group, "measure": measure, "images": len(vectors[0])}
                rows.append({**names, **start, "value": value, "ci_low": low, "ci_high": high})
            empty = {"measure": "empty_maps", "images": int(inside.sum())}
            rows.append({**names, "group": group, **empty, "value": (is_empty(item.maps) & inside).sum()})
        found = [*_correlations(item, seed, resamples), *_other_trainings(item, evidence, seed, resamples)]
        rows += [{**names, "group": "all", **row} for row in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _build(study: StudyResults, evidence: Sequence[Evidence]) -> pd.DataFrame | None:
    analysis = study.analysis(NOTEBOOK)
    return None if analysis is None else grad_cam_table(evidence, analysis["parameters"]["seed"])


TABLE = Table(
    "grad_cam",
    COLUMNS,
    _build,
    NOTEBOOK,
    pack,
    unpack,
    runs=lambda evidence: {item.run["run"] for item in evidence},
    drawn=("value",),
)


def _ratio_of(shares: Floats, areas: Floats, axis: int = -1) -> Floats:
    part, whole = shares.mean(axis=axis), areas.mean(axis=axis)
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def weights_verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """`faithfulness.weights_verdict` by variant, branch and seed: column maps; `rows` are of one layer per branch."""
    keys, ends = ["variant", "branch", "seed"], ["value", "ci_low", "ci_high"]
    random, other = (
        rows[rows["measure"] == measure].set_index(keys)[ends]
        for measure in ("random_weights_correlation", "other_training_correlation")
    )
    pairs = zip(random.to_numpy(), other.reindex(random.index).to_numpy(), strict=True)
    return random.assign(maps=[weights_verdict(tuple(one), tuple(two)) for one, two in pairs]).reset_index()


def _measures(item: Evidence, inside: NDArray[np.bool_]) -> Iterator[tuple[str, Statistic, Any]]:
    """Measure, statistic, and its vectors over the images `inside` the group that have a map."""
    used = inside & ~is_empty(item.maps)
    maps = item.maps[used]
    yield "area_above_half", mean_of, area_above_half(maps)
    yield "entropy", mean_of, map_entropy(maps)
    for part, boxes in item.boxes.items():
        share, area = box_share(maps, boxes[used])
        yield f"{part}_share", mean_of, share
        yield f"{part}_ratio", _ratio_of, share, area  # type: ignore[misc]
    if item.removal is not None:
        chosen = inside[item.removal.kept]
        for end, control in (("", RANDOM), ("_other_image", OTHER)):
            yield f"faithfulness_gain{end}", mean_of, item.removal.gain(control)[chosen]
            yield f"accuracy_gain{end}", mean_of, item.removal.gain(control, accuracy=True)[chosen]
            if item.imputed is not None:
                yield f"road_gain{end}", mean_of, item.imputed.gain(control)[inside[item.imputed.kept]]


def _correlations(item: Evidence, seed: int, resamples: int) -> Iterator[dict[str, Any]]:
    maps = item.maps[~is_empty(item.maps)]
    rng = _generator(seed, item.run["run"], item.layer.name, "other image")
    among = rank_correlation(maps, maps[another(len(maps), rng)]) if len(maps) > 1 else np.empty(0)
    among = among[np.isfinite(among)]
    value, low, high = mean_with_interval(among, rng, resamples)
    yield {"measure": "other_image_correlation", "value": value, "ci_low": low, "ci_high": high, "images": len(among)}
    if item.redrawn is not None:
        value, low, high = mean_interval(item.redrawn[np.isfinite(item.redrawn)])
        row = {"measure": "random_weights_correlation", "value": value, "ci_low": low, "ci_high": high}
        checked = spread(item.maps, CHECKED)
        yield {**row, "images": int((~is_empty(checked)).sum())}
        for step, (part, value) in enumerate(
            zip(CASCADE, () if item.cascade is None else item.cascade, strict=False), start=1
        ):
            yield {"measure": f"cascade_{step}_{part}", "value": value, "images": int((~is_empty(checked)).sum())}


def _other_trainings(
    item: Evidence, evidence: Sequence[Evidence], seed: int, resamples: int
) -> Iterator[dict[str, Any]]:
    """The positive control: an image's map against those of other seeds, averaged over these, for the same class."""
    others = [
        other
        for other in evidence
        if other.layer.name == item.layer.name
        and other.run["run"] != item.run["run"]
        and all(other.run[key] == item.run[key] for key in SETTING if key in item.run)
        and np.array_equal(other.labels, item.labels)
    ]
    if not others:
        return
    step = max(1, item.size // 64)
    found = np.full((len(others), len(item.labels)), np.nan)
    for row, other in zip(found, others, strict=True):
        same = (other.predicted == item.predicted) & ~is_empty(item.maps) & ~is_empty(other.maps)
        row[same] = rank_correlation(item.maps[same, ::step, ::step], other.maps[same, ::step, ::step])
    known = np.isfinite(found).any(axis=0)
    means = np.nanmean(found[:, known], axis=0) if known.any() else np.empty(0)
    value, low, high = mean_with_interval(
        means, _generator(seed, item.run["run"], item.layer.name, "trainings"), resamples
    )
    yield {
        "measure": "other_training_correlation", "value": value, "ci_low": low, "ci_high": high, "images": len(means)
    }  # fmt: skip


def group_masks(correct: NDArray[np.bool_]) -> Mapping[str, NDArray[np.bool_]]:
    """Which images (N,) belong to each group of the table."""
    return {"all": np.ones_like(correct), "correct": correct, "wrong": ~correct}
