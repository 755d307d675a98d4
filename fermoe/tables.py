"""A study's tables, rebuilt from its finished runs alone: no times, no dates, no host names.

Everything random here is seeded by what it computes, so equal runs give equal bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fermoe import expert_tables, explain_tables, robustness, statistics
from fermoe.claims import claims_table
from fermoe.config import own_normalisation, own_test_crop
from fermoe.evaluation import read_predictions
from fermoe.files import write_csv
from fermoe.leaks import leak_table
from fermoe.robustness import read_outcomes, robustness_table
from fermoe.runs import finished_runs, read_result
from fermoe.selection import selection_table

ACCURACY_COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "split", "correct", "images", "accuracy",
    "ci_low", "ci_high", "run", "balanced_accuracy", "macro_f1", "ece", "test_crop", "model", "initial_weights",
    "train_images", "epochs_run", "best_epoch",
)  # fmt: skip
ABLATION_COLUMNS = (
    "dataset", "protocol", "contrast", "baseline", "alternative", "variant", "crop", "pipeline", "seeds", "images",
    "difference", "ci_low", "ci_high", "p_value", "p_holm", "runs",
    "seeds_low", "seeds_high",
)  # fmt: skip
# What a comparison is against. Every other axis must agree between the two sides, but for what follows the compared
# one: protocols are compared each with its own pixel values, without augmentation, and its own test crop.
BASELINES = {"variant": "full", "crop": "none", "test_crop": "", "pipeline": "imagenet", "protocol": "published"}
AXES = ("dataset", "protocol", "variant", "crop", "test_crop", "pipeline")
FOLLOWING = {"protocol": ("pipeline", "test_crop"), "crop": ("test_crop",)}
TABLES = (
    "accuracy", "ablation", "crops", "leaked_images", "leaks", "selection", "experts", "grad_cam", "robustness",
    "claims",
)  # fmt: skip


def accuracy_table(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per run and split, with Wilson intervals, in the order of the runs' parameters."""
    rows = []
    for run in runs:
        p = run["parameters"]
        for split, m in run["metrics"].items():
            rows.append(
                {
                    **{k: p[k] for k in ("dataset", "protocol", "variant", "crop", "pipeline", "seed", "model")},
                    **{k: m[k] for k in ("correct", "images", "accuracy", "ci_low", "ci_high")},
                    **{k: m[k] for k in ("balanced_accuracy", "macro_f1", "ece")},
                    "split": split,
                    "run": run["run"],
                    "test_crop": p["test_crop"],
                    "initial_weights": p["weights"].partition(":")[0],
                    "train_images": run["data"]["images"]["train"],
                    "epochs_run": run["epochs_run"],
                    "best_epoch": run["best_epoch"],
                }
            )
    table = pd.DataFrame(rows, columns=list(ACCURACY_COLUMNS))
    return table.sort_values(list(ACCURACY_COLUMNS[:7]), kind="stable", ignore_index=True)


def ablation_table(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Paired differences in test accuracy, alternative − baseline, on the same images and the same seeds.

    One contrast varies one axis and holds the others (`BASELINES`, `FOLLOWING`). "test_crop" compares networks tested
    as they were trained with networks tested otherwise, the published mismatch on FER-2013. The interval is a paired
    bootstrap over images and holds the trainings fixed; `seeds_low` and `seeds_high` are Student's t interval over the
    seeds' differences, which holds the images fixed and needs two seeds. p is the exact McNemar test for one seed, a
    sign-flip permutation over images for several; `p_holm` corrects over the whole table.
    """
    correct = {run["run"]: _correct(run) for run in runs}
    rows = []
    for contrast in BASELINES:
        held = [axis for axis in AXES if axis != contrast and axis not in FOLLOWING.get(contrast, ())]
        groups: dict[tuple[Any, ...], dict[Any, dict[int, dict[str, Any]]]] = {}
        for run in runs:
            p = run["parameters"]
            own = {
                "test_crop": own_test_crop(p["dataset"], p["protocol"], p["crop"]),
                "pipeline": own_normalisation(p["protocol"], p["weights"]),
            }
            if any(p[axis] != own[axis] for axis in FOLLOWING.get(contrast, ())):
                continue
            side = groups.setdefault(tuple(p[a] for a in held), {}).setdefault(p[contrast], {})
            side.setdefault(p["seed"], run)
        for key, sides in sorted(groups.items()):
            fixed = dict(zip(held, key, strict=True))
            baseline = BASELINES[contrast] or fixed["crop"]
            for alternative in sorted(sides.keys() - {baseline} if baseline in sides else ()):
                row = _compare(sides[baseline], sides[alternative], correct)
                if row:
                    names = {"contrast": contrast, "baseline": baseline, "alternative": alternative}
                    rows.append({**dict.fromkeys(AXES[1:], ""), **fixed, **names, **row})
    table = pd.DataFrame(rows, columns=list(ABLATION_COLUMNS))
    if len(table):
        table["p_holm"] = statistics.holm(table["p_value"].to_numpy(float))
    return table


def _correct(run: dict[str, Any]) -> pd.Series:
    """Whether each test image was classified correctly, by image id."""
    predictions = read_predictions(Path(run["directory"]) / "predictions.csv")
    return pd.Series((predictions["label"] == predictions["predicted"]).to_numpy(), index=predictions["image"])


def _compare(
    baseline: dict[int, dict[str, Any]], alternative: dict[int, dict[str, Any]], correct: dict[str, pd.Series]
) -> dict[str, Any] | None:
    seeds = sorted(baseline.keys() & alternative.keys())
    if not seeds:
        return None
    pairs = [(correct[baseline[s]["run"]], correct[alternative[s]["run"]]) for s in seeds]
    images = pairs[0][0].index
    if any(not images.equals(side.index) for pair in pairs for side in pair):
        return None  # not the same test images: nothing is paired
    first, second = (np.stack([pair[i].to_numpy() for pair in pairs]) for i in (0, 1))  # (seeds, images)
    names = [runs[s]["run"] for s in seeds for runs in (baseline, alternative)]
    rng = np.random.default_rng(zlib.crc32(" ".join(names).encode()))
    difference, low, high = statistics.paired_difference(first, second, rng)
    if len(seeds) == 1:
        p_value = statistics.mcnemar_exact(first[0], second[0])
    else:
        p_value = statistics.paired_permutation(first, second, rng)
    _, seeds_low, seeds_high = statistics.mean_interval(second.mean(axis=1) - first.mean(axis=1))
    return {
        "seeds": len(seeds),
        "images": len(images),
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "p_value": p_value,
        "runs": " ".join(names),
        "seeds_low": seeds_low,
        "seeds_high": seeds_high,
    }


def read_tables(study: str | Path) -> dict[str, pd.DataFrame]:
    """The tables a study has, by name."""
    paths = {name: Path(study) / "tables" / f"{name}.csv" for name in TABLES}
    return {
        name: pd.read_csv(path, keep_default_na=False, na_values=[""]) for name, path in paths.items() if path.exists()
    }


def _from_answers(folder: Path, runs: Sequence[dict[str, Any]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables for which notebooks 06, 07 and 09 left the networks' answers, but for answers of other trainings."""
    names = {run["run"] for run in runs}
    path = folder / robustness.NOTEBOOK / "outcomes.npz"
    if path.exists():
        outcomes = read_outcomes(path)
        if set(outcomes.runs) <= names:
            yield "robustness", robustness_table(outcomes, runs)
    path, result = folder / expert_tables.NOTEBOOK / "outcomes.npz", read_result(folder / expert_tables.NOTEBOOK)
    if path.exists() and result:
        answers = expert_tables.read_answers(path)
        if answers.keys() <= names:
            settings = (result["parameters"][key] for key in ("permutations", "seed"))
            yield "experts", expert_tables.expert_table(runs, answers, *settings)
    path, result = folder / explain_tables.NOTEBOOK / "outcomes.npz", read_result(folder / explain_tables.NOTEBOOK)
    if path.exists() and result:
        evidence = explain_tables.read_evidence(path)
        if {item.run["run"] for item in evidence} <= names:
            yield "grad_cam", explain_tables.grad_cam_table(evidence, result["parameters"]["seed"])


def rebuild_tables(study: str | Path) -> dict[str, pd.DataFrame]:
    """Write what follows from the finished runs' predictions and kept answers, and the claims.

    The tables about the data alone, crops and leaked_images, are notebook 02's and 01's.
    """
    folder = Path(study) / "tables"
    runs = finished_runs(study)
    write_csv(folder / "accuracy.csv", accuracy_table(runs))
    write_csv(folder / "ablation.csv", ablation_table(runs))
    write_csv(folder / "selection.csv", selection_table(runs))
    leaked = read_tables(study).get("leaked_images")
    if leaked is not None:  # notebook 01 has looked
        write_csv(folder / "leaks.csv", leak_table(runs, leaked))
    for name, table in _from_answers(Path(study) / "runs", runs):
        write_csv(folder / f"{name}.csv", table)
    tables = read_tables(study)
    write_csv(folder / "claims.csv", claims_table({k: v for k, v in tables.items() if k != "claims"}))
    return read_tables(study)
