"""The gap between happy and the rare classes: `plot_x(data, ax=None) → ax`, in the look of `plots`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from fermoe.plots import style

COMPOSITION_NAMES = {
    "proportional": "the dataset's own shares",
    "equal": "all classes equally often",
    "rare_happy": "happy as rare as fear",
}
"""What figures and tables call the compositions of a training set."""


def plot_gaps(data: pd.DataFrame, ax: Axes | None = None, title: str = "Happy's lead in recall (95 %)") -> Axes:
    """A forest plot of the gaps in imbalance.csv: one row per rare class, one mark per composition.

    Right of the line happy is recognised better than the class. If rarity is the reason, the mark of equal shares
    lies near the line.
    """
    gaps = data[data["measure"].str.startswith("gap_")]
    shown = gaps.assign(
        against="than " + gaps["measure"].str.removeprefix("gap_").map(style.class_name),
        shares=pd.Categorical(gaps["composition"].map(COMPOSITION_NAMES), [*COMPOSITION_NAMES.values()]),
    ).sort_values(["measure", "shares"], kind="stable")
    shown["shares"] = shown["shares"].astype(str)
    x = "Recall of happy − recall of the class (points)"
    return style.forest(shown, "value", "against", "shares", ax, title, x, "Happy better", scale=100, reference=(0, ""))
