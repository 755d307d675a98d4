"""How much accuracy a network loses under perturbations, beside the full network on the same pictures (claim C7).

Two steps: networks give a class for every perturbed picture (`measure`, the only part that needs weights), and the
table follows from those (`robustness_table`).
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fermoe.data.arrays import pixels
from fermoe.data.datasets import load_dataset
from fermoe.data.perturbations import PERTURBATIONS, SEVERITIES, Boxes, perturb, usual_boxes
from fermoe.data.transforms import as_images
from fermoe.errors import UserError
from fermoe.evidence.kept_answers import KeptAnswers
from fermoe.evidence.maps import boxes_in_crop
from fermoe.evidence.table import Table
from fermoe.network.variants import VARIANTS, variants
from fermoe.paper.part_rules import DROPS, OCCLUSION_OR_LIGHT
from fermoe.seeds import Drawn, crossed, detectable, equivalence, welch
from fermoe.stats import holm
from fermoe.training.inference import BATCH, TrainedRun
from fermoe.training.runs import FinishedRun, main_setting, running_in_notebook

NOTEBOOK = "09_robustness"

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "perturbation", "group", "severity", "seeds", "images",
    "accuracy", "ci_low", "ci_high", "clean_accuracy", "relative_drop", "drop_low", "drop_high", "drop_difference",
    "diff_low", "diff_high", "runs", "twins", "precision", "composition",
)  # fmt: skip

MEANS_COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "twins", "precision", "composition",
    "drop", "conditions", "seeds", "images", "full",
    "value", "difference", "ci_low", "ci_high", "crossed_low", "crossed_high", "p_crossed", "p_crossed_holm",
    "seeds_low", "seeds_high", "p_equal", "detectable", "runs",
)  # fmt: skip

CLEAN = "none"
"""The condition under which nothing is changed, of severity 0."""
RESAMPLES = 2000
REGROUPINGS = 30
CHUNK = 4 * BATCH  # images perturbed at once: 308 MB at 224 pixels
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """What networks answered: `predicted` (runs, 1 + conditions, images), the first of each unperturbed."""

    runs: tuple[str, ...]
    conditions: tuple[tuple[str, int], ...]
    labels: NDArray[np.int64]  # (images,)
    predicted: NDArray[np.uint8]

    @property
    def correct(self) -> NDArray[np.bool_]:
        return self.predicted == self.labels


def runs_to_compare(runs: Sequence[FinishedRun], protocol: str) -> list[FinishedRun]:
    """The runs of `main_setting` in which the network is whole or lacks a part; [] if there are none."""
    compared = variants("whole", "part")
    return main_setting([run for run in runs if run.config.variant in compared], protocol)


def of_groups(groups: str) -> list[str]:
    """The perturbations of the groups that are named, separated by spaces; all where none is.

    Raises:
        UserError: there is no such group.
    """
    known = dict.fromkeys(one.group for one in PERTURBATIONS.values())
    if unknown := set(groups.split()) - known.keys():
        what = f"there is no group of perturbations '{min(unknown)}'"
        raise UserError(what, fix=f"choose among {', '.join(known)}")
    return [name for name, one in PERTURBATIONS.items() if not groups.split() or one.group in groups.split()]


def measure(
    trained: Sequence[TrainedRun],
    images: int,
    perturbations: Sequence[str] | None = None,
    seed: int = 0,
) -> Outcomes:
    """Let every network classify the same test images, clean and under all (or the named) perturbations and severities.

    All must have been trained on one dataset with one crop. Synthetic faces have their own boxes of eyes and mouth;
    for photographs the usual places in an aligned face are covered. Without networks there are no images either.
    Answers are kept by condition (`KeptAnswers`): what was asked before is not asked again.
    """
    conditions = tuple((name, severity) for name in perturbations or PERTURBATIONS for severity in SEVERITIES)
    if not trained:
        return Outcomes((), conditions, np.zeros(0, np.int64), np.zeros((0, 1 + len(conditions), 0), np.uint8))
    first = trained[0]
    rows, size = first.rows(images), first.model.config.image_size
    if first.data.dataset.has_boxes:
        boxes = boxes_in_crop(first.data.dataset.subset(rows), str(first.config.test_crop), size)
    else:
        boxes = usual_boxes(len(rows), size)
    answers = [KeptAnswers(run, rows, seed) for run in trained]
    asked = [(CLEAN, 0), *conditions]
    with tqdm(total=len(asked) * len(trained), unit="answer", leave=False, disable=running_in_notebook()) as bar:
        for name, severity in asked:
            missing = [i for i, kept in enumerate(answers) if kept.get(name, severity) is None]
            bar.update(len(trained) - len(missing))
            found = {i: np.zeros(len(rows), np.uint8) for i in missing}
            for start in range(0, len(rows) if missing else 0, CHUNK):
                part = slice(start, start + CHUNK)
                pictures, places = first.images(rows[part]), {where: box[part] for where, box in boxes.items()}
                if severity:  # perturbing costs as much as a small network's answer: once for all of them
                    pictures = perturb(name, severity, pictures, places, rows[part], seed)
                for i in missing:
                    found[i][part] = trained[i].predict(pictures, features=False).logits.argmax(1).numpy()
            for i in missing:
                answers[i].put(name, severity, found[i])
                bar.update()
    predicted = np.array([[kept.get(name, severity) for name, severity in asked] for kept in answers])
    return Outcomes(tuple(run.name for run in trained), conditions, first.labels(rows), predicted)


def pack(outcomes: Outcomes) -> dict[str, NDArray[Any]]:
    """The answers as named arrays, a byte each."""
    conditions = np.array([f"{name}/{severity}" for name, severity in outcomes.conditions], dtype=np.str_)
    runs = np.array(outcomes.runs, dtype=np.str_)
    return {"runs": runs, "conditions": conditions, "labels": outcomes.labels, "predicted": outcomes.predicted}


def unpack(content: Mapping[str, NDArray[Any]]) -> Outcomes:
    """What `pack` packed. ValueError: its parts do not fit together, or a perturbation is unknown."""
    pairs = [text.rpartition("/") for text in content["conditions"].tolist()]
    conditions = tuple((name, int(severity)) for name, _, severity in pairs)
    outcomes = Outcomes(tuple(content["runs"].tolist()), conditions, content["labels"], content["predicted"])
    if outcomes.predicted.shape != (len(outcomes.runs), 1 + len(conditions), len(outcomes.labels)):
        raise ValueError("its parts do not fit together")
    unknown = sorted({name for name, _ in conditions} - PERTURBATIONS.keys())
    if unknown:
        raise ValueError(f"unknown perturbation {', '.join(unknown)}")
    return outcomes


def robustness_table(outcomes: Outcomes, runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per variant, perturbation and severity: accuracy, relative drop, and that beside the full network's.

    `relative_drop` is (clean − perturbed) / clean, of accuracies averaged over seeds. `drop_difference` is that of the
    variant − that of the full network: positive favours the full network. A variant's row is about the seeds that
    both have, all of it; if there are none, about the variant's own seeds, without a difference. Intervals are
    percentile bootstraps over images, the same resampled images for both networks, clean and perturbed. They do not
    hold what another training would change (`regrouped`, and the intervals of `means_table`).

    Raises:
        ValueError: the runs are not of one setting, or two have the same variant and seed.
    """
    places = _places(outcomes, runs)
    if not places or not outcomes.conditions:
        return pd.DataFrame(columns=list(COLUMNS))
    setting = next(run.key for run in runs if run.name == outcomes.runs[0])
    weights, images, rows = _weights(outcomes), len(outcomes.labels), []
    full = places.get("full", {})
    for variant, mine in places.items():
        shared = sorted(mine.keys() & full.keys()) if variant != "full" else []
        seeds = shared or sorted(mine)
        drops = _Drops(outcomes, [mine[s] for s in seeds], weights)
        against = _Drops(outcomes, [full[s] for s in shared], weights) if shared else None
        used = [mine[s] for s in seeds] + [full[s] for s in shared]
        for k, (name, severity) in enumerate(outcomes.conditions, start=1):
            low, high = _interval(drops.resampled[:, k])
            drop_low, drop_high = _interval(drops.relative(k))
            row = {
                **setting, "variant": variant, "perturbation": name, "group": PERTURBATIONS[name].group,
                "severity": severity, "seeds": len(seeds), "images": images, "accuracy": drops.mean[k].mean(),
                "ci_low": low, "ci_high": high, "clean_accuracy": drops.mean[0].mean(),
                "relative_drop": drops.drop(k), "drop_low": drop_low, "drop_high": drop_high,
                "runs": " ".join(outcomes.runs[place] for place in used),
            }  # fmt: skip
            if against:
                diff_low, diff_high = _interval(drops.relative(k) - against.relative(k))
                row |= {"drop_difference": drops.drop(k) - against.drop(k)}
                row |= {"diff_low": diff_low, "diff_high": diff_high}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def means_table(outcomes: Outcomes, runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """How much more than the full network a variant loses, over all conditions of occlusion and light together (C7).

    One row per variant and way to count a loss, `drop`: "absolute", clean − perturbed accuracy; "corrected", the same
    over what the clean accuracy is above chance (one over the classes), 1 for a network that is thrown back to chance;
    "relative", the same over the clean accuracy, which counts against the better network. Each is a mean over
    conditions and seeds; `difference` is the variant's − the full network's on the seeds that both have, positive
    favours the full network. `ci_low`, `ci_high`: percentile bootstrap over images; `crossed_low`, `crossed_high`,
    `p_crossed`: seeds and images drawn (`seeds.crossed`; Holm over the variants); `seeds_low`, `seeds_high`: Welch;
    `p_equal` and `detectable` as in ablation.csv.
    """
    places, rows = _places(outcomes, runs), []
    chosen = [
        k for k, (name, _) in enumerate(outcomes.conditions, 1) if PERTURBATIONS[name].group in OCCLUSION_OR_LIGHT
    ]
    full = places.get("full", {})
    if not full or not chosen:
        return pd.DataFrame(columns=list(MEANS_COLUMNS))
    setting = next(run.key for run in runs if run.name == outcomes.runs[0])
    drops = _mean_drops(outcomes, chosen, _weights(outcomes))
    for variant, mine in places.items():
        shared = sorted(mine.keys() & full.keys())
        if variant == "full" or not shared:
            continue
        sides = [[side[seed] for seed in shared] for side in (full, mine)]
        names = " ".join(outcomes.runs[place] for pair in zip(*sides, strict=True) for place in pair)
        for kind, drop in drops.items():
            before, after = (Drawn(drop.values[side], drop.replicates[:, side]) for side in sides)
            both = crossed(before, after, np.random.default_rng(zlib.crc32(f"{names} {kind}".encode())))
            low, high = _interval(after.replicates.mean(axis=1) - before.replicates.mean(axis=1))
            over_seeds = welch(before.values, after.values)
            rows.append(
                {
                    **setting, "variant": variant, "drop": kind, "conditions": len(chosen), "seeds": len(shared),
                    "images": len(outcomes.labels), "full": before.values.mean(), "value": after.values.mean(),
                    "difference": both.value, "ci_low": low, "ci_high": high, "crossed_low": both.low,
                    "crossed_high": both.high, "p_crossed": both.p_value, "seeds_low": over_seeds.low,
                    "seeds_high": over_seeds.high, "p_equal": equivalence(both), "detectable": detectable(both),
                    "runs": names,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(MEANS_COLUMNS))
    for _, family in table.groupby("drop"):
        table.loc[family.index, "p_crossed_holm"] = holm(family["p_crossed"].to_numpy(float))
    return table


def _mean_drops(outcomes: Outcomes, chosen: Sequence[int], weights: Floats) -> dict[str, Drawn]:
    """By way of counting: every run's mean loss over the chosen conditions, and that on resampled images."""
    right, images = outcomes.correct, len(outcomes.labels)
    clean, perturbed = right[:, 0].astype(float), right[:, list(chosen)].mean(axis=1)  # (runs, N)
    chance = 1 / len(np.unique(outcomes.labels))
    ends = [(one.mean(axis=1), weights @ one.T / images) for one in (clean, perturbed)]
    found = {}
    for kind in DROPS:
        of = [
            (before - after) / _above(before, {"absolute": None, "corrected": chance, "relative": 0.0}[kind])
            for before, after in zip(*ends, strict=True)
        ]
        found[kind] = Drawn(of[0], of[1])
    return found


def _above(accuracy: Floats, floor: float | None) -> Floats:
    """What an accuracy has above a floor, NaN where it has nothing; 1 without a floor."""
    return np.ones_like(accuracy) if floor is None else np.where(accuracy > floor, accuracy - floor, np.nan)


def regrouped(
    outcomes: Outcomes, runs: Sequence[FinishedRun], groups: Sequence[str] = OCCLUSION_OR_LIGHT
) -> pd.DataFrame:
    """A control: are more conditions clearly different than between any two groups of the same trainings?

    A variant's and the full network's trainings are compared as in `robustness_table`, as many against as many, under
    the conditions of `groups`. Then the same trainings are dealt into two mixed groups of that size: there, who is
    compared with whom has nothing to do with the variant alone. One row per variant: seeds on each side, conditions,
    in how many the interval of the difference leaves out 0, and, over the regroupings (all, or `REGROUPINGS` drawn
    ones), the mean and the largest such number, and `p`, the share of groupings with at least as many, the true one
    among them (the permutation test of Phipson & Smyth 2010).
    """
    places, rows = _places(outcomes, runs), []
    chosen = [k for k, (name, _) in enumerate(outcomes.conditions, 1) if PERTURBATIONS[name].group in groups]
    full, weights = places.get("full", {}), _weights(outcomes)
    alone = {place: _Drops(outcomes, [place], weights) for mine in places.values() for place in mine.values()}
    for variant, mine in places.items():
        shared = sorted(mine.keys() & full.keys())
        if variant == "full" or len(shared) < 2 or not chosen:
            continue
        everyone = [side[seed] for side in (full, mine) for seed in shared]
        counts = []
        for one in _groupings(len(shared), zlib.crc32(" ".join(outcomes.runs).encode())):
            inside = [alone[place] for at, place in enumerate(everyone) if at in one]
            outside = [alone[place] for at, place in enumerate(everyone) if at not in one]
            counts.append(_clear(inside, outside, chosen))
        rest = counts[1:]
        p = float(np.mean([count >= counts[0] for count in counts]))
        rows.append((variant, len(shared), len(chosen), counts[0], len(rest), np.mean(rest), max(rest), p))
    names = ["variant", "seeds", "conditions", "clearly_different", "regroupings", "by_chance", "most_by_chance", "p"]
    return pd.DataFrame(rows, columns=names)


def _groupings(size: int, seed: int) -> list[frozenset[int]]:
    """Ways to deal 2 · size things into two groups, by the group of the first one; the first is 0 … size − 1."""
    if math.comb(2 * size - 1, size - 1) <= 1 + REGROUPINGS:
        return [frozenset((0, *rest)) for rest in itertools.combinations(range(1, 2 * size), size - 1)]
    rng, found = np.random.default_rng(seed), {frozenset(range(size)): None}
    while len(found) <= REGROUPINGS:  # with ten seeds there are 92,378, with twenty 7 · 10¹⁰
        found[frozenset((0, *(1 + rng.choice(2 * size - 1, size - 1, replace=False)).tolist()))] = None
    return [*found]


def _clear(one: Sequence[_Drops], other: Sequence[_Drops], conditions: Sequence[int]) -> int:
    """In how many conditions the interval of the difference in relative drop between two groups leaves out 0."""
    drawn = [np.mean([drops.resampled for drops in side], axis=0) for side in (one, other)]
    bounds = [_interval(_relative(drawn[0], k) - _relative(drawn[1], k)) for k in conditions]
    return sum(low > 0 or high < 0 for low, high in bounds)


def _places(outcomes: Outcomes, runs: Sequence[FinishedRun]) -> dict[str, dict[int, int]]:
    """Where each variant's seeds stand in `outcomes.runs`, variants in the order of `VARIANTS`."""
    known = {run.name: run.config for run in runs}
    configs = [known[name] for name in outcomes.runs]
    if len({(c.dataset, c.protocol, c.crop, c.pipeline) for c in configs}) > 1:
        raise ValueError("the runs differ in dataset, protocol, crop or pipeline")
    places: dict[str, dict[int, int]] = {}
    for place, config in enumerate(configs):
        if places.setdefault(config.variant, {}).setdefault(config.seed, place) != place:
            raise ValueError(f"two runs of {config.variant} have seed {config.seed}")
    return {variant: places[variant] for variant in VARIANTS if variant in places}


def _weights(outcomes: Outcomes) -> Floats:
    """How often each resampling draws each image: (RESAMPLES, images), seeded by the runs."""
    images = len(outcomes.labels)
    if not images:
        return np.zeros((RESAMPLES, 0))
    rng = np.random.default_rng(zlib.crc32(" ".join(outcomes.runs).encode()))
    return rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES).astype(float)


class _Drops:
    """Some runs' right answers averaged, (1 + conditions, images), and what resampling the images makes of them."""

    def __init__(self, outcomes: Outcomes, places: Sequence[int], weights: Floats):
        self.mean = outcomes.correct[list(places)].mean(axis=0)
        self.resampled = weights @ self.mean.T / self.mean.shape[1]  # (B, 1 + conditions)

    def drop(self, condition: int) -> float:
        clean = float(self.mean[0].mean())
        return 1 - float(self.mean[condition].mean()) / clean if clean else float("nan")

    def relative(self, condition: int) -> Floats:
        return _relative(self.resampled, condition)


def _relative(resampled: Floats, condition: int) -> Floats:
    """The relative drop on every resample, from accuracies (B, 1 + conditions)."""
    clean = resampled[:, 0]
    return 1 - resampled[:, condition] / np.where(clean > 0, clean, np.nan)


def _interval(replicates: Floats) -> tuple[float, float]:
    known = replicates[np.isfinite(replicates)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def example_face(size: int, seed: int = 8) -> tuple[Tensor, Boxes]:
    """A synthetic face, cropped to its true box, as (3, size, size) in [0, 1], and its boxes by part (1, 4)."""
    faces = load_dataset("synthetic", train=1, test=seed + 1)
    array = pixels(faces, "annotated", size, workers=1, progress=False)[[-1]]
    return as_images(torch.from_numpy(array))[0], boxes_in_crop(faces.subset([-1]), "annotated", size)


TABLE = Table(
    "robustness",
    COLUMNS,
    lambda study, outcomes: robustness_table(outcomes, study.runs),
    NOTEBOOK,
    pack,
    unpack,
    runs=lambda outcomes: outcomes.runs,
)

MEANS = Table(
    "robustness_means",
    MEANS_COLUMNS,
    lambda study, outcomes: means_table(outcomes, study.runs),
    NOTEBOOK,
    pack,
    unpack,
    runs=lambda outcomes: outcomes.runs,
    drawn=("difference",),
)
