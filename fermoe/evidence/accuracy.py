"""How good is every run? The table accuracy.csv."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fermoe.evidence.table import Table
from fermoe.training.runs import FinishedRun

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "split", "correct", "images", "accuracy",
    "ci_low", "ci_high", "run", "balanced_accuracy", "macro_f1", "ece", "test_crop", "model", "initial_weights",
    "train_images", "epochs_run", "best_epoch",
)  # fmt: skip


def accuracy_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per run and split, with Wilson intervals, in the order of the runs' parameters."""
    rows = []
    for run in runs:
        config, result = run.config, run.result
        fixed = {
            **run.key,
            **{"run": run.name, "test_crop": config.test_crop, "model": config.model},
            **{"initial_weights": config.weights.partition(":")[0]},
            **{"train_images": result["data"]["images"]["train"]},
            **{name: result[name] for name in ("epochs_run", "best_epoch")},
        }
        for split, measured in result["metrics"].items():
            rows.append({**fixed, "split": split, **{name: measured[name] for name in COLUMNS if name in measured}})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(list(COLUMNS[:7]), kind="stable", ignore_index=True)


TABLE = Table("accuracy", COLUMNS, lambda study, _: accuracy_table(study.runs))
