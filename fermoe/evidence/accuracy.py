"""How good is every run? The table accuracy.csv."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

ACCURACY_COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "split", "correct", "images", "accuracy",
    "ci_low", "ci_high", "run", "balanced_accuracy", "macro_f1", "ece", "test_crop", "model", "initial_weights",
    "train_images", "epochs_run", "best_epoch",
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
