"""Other models beside the full network: `plot_x(data, ax=None) → ax`, in the look of `plots`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from fermoe.plots.ablation import plot_advantages


def plot_beside(
    data: pd.DataFrame, ax: Axes | None = None, title: str = "The full network beside other models (95 %)"
) -> Axes:
    """A forest plot of beside.csv: one row per model and test images, one mark per measure.

    Right of the line the full network is better. The interval draws its trainings and the test images; below three
    trainings there is none.
    """
    shown = data.assign(
        model=data["other"] + ", " + data["test_images"] + " (" + data["images"].astype(str) + " test images)",
        advantage=-data["difference"],
        low=-data["crossed_high"],
        high=-data["crossed_low"],
    )
    x = "Full network − other model (points); right: the full network is better"
    return plot_advantages(shown, ax, title, "model", "measure", x, "Other model")
