"""The report's own tables: what was trained, and ours beside the paper's."""

from __future__ import annotations

import pandas as pd

from fermoe import published


def learned_from(accuracy: pd.DataFrame) -> pd.DataFrame:
    """What the study's trainings started from and saw: one row per dataset, model, protocol and variant."""
    test = accuracy[accuracy["split"] == "test"]
    keys = ["dataset", "model", "initial_weights", "protocol", "variant", "crop", "test_crop", "pipeline"]
    return test.groupby(keys, as_index=False).agg(
        seeds=("seed", "nunique"),
        train_images=("train_images", "first"),
        test_images=("images", "first"),
        epochs_run=("epochs_run", "mean"),
        accuracy=("accuracy", "mean"),
    )


def comparison(accuracy: pd.DataFrame) -> pd.DataFrame:
    """The paper's accuracies (per cent, Wilson) beside the full network's here, by protocol; "" where there is none.

    A cell is the mean over the seeds and crops that were run; `accuracy.csv` and `learned_from` keep them apart.
    """
    rows = []
    for dataset, row in zip(
        published.accuracies()["dataset"], published.recomputed_accuracies().itertuples(), strict=True
    ):
        ours = accuracy[
            (accuracy["dataset"] == dataset) & (accuracy["split"] == "test") & (accuracy["variant"] == "full")
        ]
        cells = {"dataset": published.TITLES[dataset], "paper": _percent(row.accuracy, row.ci_low, row.ci_high)}
        for protocol in ("published", "audited"):
            mine = ours[ours["protocol"] == protocol]
            cells[f"ours, {protocol}"] = (
                _percent(mine["accuracy"].mean(), mine["ci_low"].mean(), mine["ci_high"].mean())
                if len(mine)
                else "needs the data"
            )
        cells["initial weights"] = ", ".join(sorted(ours["initial_weights"].unique())) or ""
        cells["model"] = ", ".join(sorted(ours["model"].unique())) or ""
        cells["seeds"] = str(ours["seed"].nunique()) if len(ours) else ""
        cells["command"] = f"fermoe study {dataset} --set root=DIR"
        rows.append(cells)
    return pd.DataFrame(rows)


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
