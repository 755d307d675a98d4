"""How good is every run, by three measures? The table accuracy.csv."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fermoe.evidence.table import Table
from fermoe.metrics import MEASURES, metric_intervals
from fermoe.training.predictions import confusion_table, read_predictions
from fermoe.training.runs import VALIDATION, FinishedRun

SETTINGS = ("learning_rate", "decay", "batch_size", "epochs", "patience", "label_smoothing")
"""How a run was trained, besides its key, model and initial weights."""

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "split", "correct", "images", "accuracy",
    "ci_low", "ci_high", "run", "balanced_accuracy", "balanced_low", "balanced_high", "macro_f1", "f1_low", "f1_high",
    "ece", "test_crop", "twins", "precision", "composition", "model", "initial_weights", *SETTINGS,
    "train_images", "epochs_run", "best_epoch",
)  # fmt: skip


def accuracy_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per run and split, in the order of the runs' parameters, with the settings it was trained with.

    The interval of the accuracy is Wilson's; those of balanced accuracy and macro-F1 are BCa bootstraps over images,
    and missing for a split whose predictions were not kept. All hold the trained network fixed.
    """
    rows = []
    for run in runs:
        config, result = run.config, run.result
        fixed = {
            **run.key,
            **{"run": run.name, "test_crop": config.test_crop, "model": config.model},
            **{"initial_weights": config.weights.partition(":")[0]},
            **{name: getattr(config, name) for name in SETTINGS},
            **{"train_images": result["data"]["images"]["train"]},
            **{name: result[name] for name in ("epochs_run", "best_epoch")},
        }
        for split, measured in result["metrics"].items():
            values = {name: measured[name] for name in COLUMNS if name in measured}
            rows.append({**fixed, "split": split, **values, **_intervals(run, split)})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(
        [*COLUMNS[:5], "twins", "precision", "composition", "seed", "split"], kind="stable", ignore_index=True
    )


def split_predictions(run: FinishedRun, split: str) -> pd.DataFrame | None:
    """A run's predictions for the images of a split; None where they were not kept."""
    if split == "validation":
        path = run.directory / VALIDATION
        return read_predictions(path) if path.exists() else None
    table = run.predictions
    return table if split == "test" else table[table["image"].str.contains(split, regex=False)]


def _intervals(run: FinishedRun, split: str) -> dict[str, Any]:
    table = split_predictions(run, split)
    if table is None or table.empty:
        return {}
    rng = np.random.default_rng(zlib.crc32(f"{run.name} {split}".encode()))
    found = metric_intervals(confusion_table(table).to_numpy(), rng).set_index("metric")
    columns = {"balanced_accuracy": "balanced", "macro_f1": "f1"}
    return {f"{name}_{end}": found.at[metric, end] for metric, name in columns.items() for end in ("low", "high")}


TABLE = Table("accuracy", COLUMNS, lambda study, _: accuracy_table(study.runs), drawn=MEASURES)
