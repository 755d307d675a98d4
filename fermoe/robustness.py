"""How much accuracy a network loses under perturbations, beside the full network on the same pictures (claim C7).

Two steps: networks give a class for every perturbed picture (`measure`, the only part that needs weights), and the
table follows from those (`robustness_table`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fermoe.errors import UserError
from fermoe.explain import boxes_in_crop
from fermoe.files import atomic
from fermoe.perturbations import PERTURBATIONS, SEVERITIES, perturb, usual_boxes
from fermoe.trained import TrainedRun

NOTEBOOK = "09_robustness"
COMPARED = ("full", "backbone", "no_moe", "no_cnn1", "no_cnn2")
COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "perturbation", "group", "severity", "seeds", "images",
    "accuracy", "ci_low", "ci_high", "clean_accuracy", "relative_drop", "drop_low", "drop_high", "drop_difference",
    "diff_low", "diff_high", "runs",
)  # fmt: skip
SETTING = ("dataset", "protocol", "crop", "pipeline")
RESAMPLES = 2000
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


def runs_to_compare(runs: Sequence[dict[str, Any]], protocol: str) -> list[dict[str, Any]]:
    """The finished runs of `COMPARED` in the setting (crop, pipeline) that most of the protocol's variants share."""
    mine = [r for r in runs if r["parameters"]["protocol"] == protocol and r["parameters"]["variant"] in COMPARED]
    mine = [r for r in mine if r["parameters"]["crop"] != "masked"]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in mine:
        p = run["parameters"]
        groups.setdefault((*(p[key] for key in SETTING), p["test_crop"]), []).append(run)
    return max(
        groups.values(), key=lambda group: (len({r["parameters"]["variant"] for r in group}), len(group)), default=[]
    )


def measure(
    trained: Sequence[TrainedRun],
    images: int,
    perturbations: Sequence[str] = tuple(PERTURBATIONS),
    seed: int = 0,
) -> Outcomes:
    """Let every network classify the same test images, clean and under every perturbation and severity.

    All must have been trained on one dataset with one crop. Synthetic faces have their own boxes of eyes and mouth;
    for photographs the usual places in an aligned face are covered.
    """
    first = trained[0]
    rows = first.rows(images)
    pictures, size = first.images(rows), first.model.config.image_size
    if "face_x0" in first.data.table:
        table = first.data.table.iloc[rows].copy()
        table.attrs = first.data.table.attrs
        boxes = boxes_in_crop(table, str(first.config.test_crop), size)
    else:
        boxes = usual_boxes(len(rows), size)
    conditions = tuple((name, severity) for name in perturbations for severity in SEVERITIES)
    answers = []
    for name, severity in (("", 0), *conditions):
        seen = perturb(name, severity, pictures, boxes, rows, seed) if name else pictures
        answers.append([run.predict(seen).logits.argmax(1).numpy().astype(np.uint8) for run in trained])
    predicted = np.array(answers).swapaxes(0, 1)  # (runs, 1 + conditions, images)
    return Outcomes(tuple(run.name for run in trained), conditions, first.labels(rows), predicted)


def write_outcomes(path: str | Path, outcomes: Outcomes) -> None:
    """Keep the answers in a compressed array file, a byte each."""
    conditions = np.array([f"{name}/{severity}" for name, severity in outcomes.conditions], dtype=np.str_)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, runs=np.array(outcomes.runs, dtype=np.str_), conditions=conditions, labels=outcomes.labels,
            predicted=outcomes.predicted,
        )  # fmt: skip


def read_outcomes(path: str | Path) -> Outcomes:
    """Read what `write_outcomes` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            pairs = [text.rpartition("/") for text in content["conditions"].tolist()]
            conditions = tuple((name, int(severity)) for name, _, severity in pairs)
            return Outcomes(tuple(content["runs"].tolist()), conditions, content["labels"], content["predicted"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"the answers cannot be read ({error})", where=path, fix="run notebook 09 again") from None


def robustness_table(outcomes: Outcomes, runs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per variant, perturbation and severity: accuracy, relative drop, and that beside the full network's.

    `relative_drop` is (clean − perturbed) / clean, of accuracies averaged over seeds. `drop_difference` is that of the
    variant − that of the full network, over the seeds both have: positive favours the full network. Intervals are
    percentile bootstraps over images, the same resampled images for both networks, clean and perturbed.
    """
    known = {run["run"]: run["parameters"] for run in runs}
    places: dict[str, dict[int, int]] = {}
    for place, name in enumerate(outcomes.runs):
        places.setdefault(known[name]["variant"], {})[known[name]["seed"]] = place
    if not places or not outcomes.conditions:
        return pd.DataFrame(columns=list(COLUMNS))
    rng = np.random.default_rng(zlib.crc32(" ".join(outcomes.runs).encode()))
    images = len(outcomes.labels)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES).astype(float)  # (B, images)
    setting = {key: known[outcomes.runs[0]][key] for key in SETTING}
    correct, rows = outcomes.correct.astype(float), []
    for variant in (name for name in COMPARED if name in places):
        mine = places[variant]
        shared = sorted(mine.keys() & places.get("full", {}).keys()) if variant != "full" else []
        used = [outcomes.runs[mine[s]] for s in sorted(mine)]
        used += [outcomes.runs[places["full"][s]] for s in shared]
        drops = _Drops(correct[[mine[s] for s in sorted(mine)]].mean(0), weights)
        if shared:
            one = _Drops(correct[[mine[s] for s in shared]].mean(0), weights)
            full = _Drops(correct[[places["full"][s] for s in shared]].mean(0), weights)
        for k, (name, severity) in enumerate(outcomes.conditions, start=1):
            low, high = _interval(drops.accuracies(k))
            drop_low, drop_high = _interval(drops.relative(k))
            row = {
                **setting, "variant": variant, "perturbation": name, "group": PERTURBATIONS[name].group,
                "severity": severity, "seeds": len(mine), "images": images, "accuracy": drops.mean[k].mean(),
                "ci_low": low, "ci_high": high, "clean_accuracy": drops.mean[0].mean(),
                "relative_drop": drops.drop(k), "drop_low": drop_low, "drop_high": drop_high, "runs": " ".join(used),
            }  # fmt: skip
            if shared:
                diff_low, diff_high = _interval(one.relative(k) - full.relative(k))
                row |= {"seeds": len(shared), "drop_difference": one.drop(k) - full.drop(k)}
                row |= {"diff_low": diff_low, "diff_high": diff_high}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Drops:
    """Right answers averaged over seeds, (1 + conditions, images), and what resampling the images makes of them."""

    def __init__(self, mean: Floats, weights: Floats):
        self.mean = mean
        self.resampled = weights @ mean.T / mean.shape[1]  # (B, 1 + conditions)

    def accuracies(self, condition: int) -> Floats:
        return self.resampled[:, condition]

    def drop(self, condition: int) -> float:
        clean = float(self.mean[0].mean())
        return 1 - float(self.mean[condition].mean()) / clean if clean else float("nan")

    def relative(self, condition: int) -> Floats:
        clean = self.resampled[:, 0]
        return 1 - self.resampled[:, condition] / np.where(clean > 0, clean, np.nan)


def _interval(replicates: Floats) -> tuple[float, float]:
    known = replicates[np.isfinite(replicates)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
