"""Figures of differences: `plot_x(data, ax=None) → ax`, in the look of `plots`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from fermoe.plots.style import COLOURS, MARKERS, _axes, _colour, _errors, _finish


def plot_differences(
    data: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Difference to the full network (95 %)",
    group: str = "alternative",
    x: str = "Difference in accuracy (points)",
) -> Axes:
    """A forest plot: one row per `group`, a point and its interval, a line at no difference.

    `data` has the columns group, difference, ci_low, ci_high (shares). A row without an interval gets none.
    """
    ax = _axes(ax, (7.4, 1.5 + 0.42 * max(1, len(data))))
    places = range(len(data))
    ax.errorbar(
        100 * data["difference"],
        places,
        xerr=100 * _errors(data["difference"], data["ci_low"], data["ci_high"]),
        fmt=MARKERS[0],
        color=_colour(0),
        capsize=3,
    )
    ax.axvline(0, color=COLOURS["black"], lw=1, ls="--")
    ax.set_yticks(places, [str(name) for name in data[group]])
    ax.set_ylim(len(data) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    return _finish(ax, title, x, "")


def plot_seeds(
    table: pd.DataFrame, ax: Axes | None = None, title: str = "Test accuracy by variant, one point per seed"
) -> Axes:
    """One column per variant, one marker per seed, a bar at the mean; `table` is of `ablations.seed_table`."""
    ax = _axes(ax, (8.0, 4.2))
    for index, (seed, row) in enumerate(table.iterrows()):
        shift = (index - (len(table) - 1) / 2) * 0.14
        ax.plot(
            [place + shift for place in range(len(row))],
            100 * row,
            MARKERS[index % len(MARKERS)],
            color=_colour(index),
            label=f"seed {seed}",
        )
    for place, mean in enumerate(100 * table.mean()):
        ax.hlines(mean, place - 0.3, place + 0.3, color=COLOURS["black"], lw=1.2)
    ax.set_xticks(range(table.shape[1]), list(table.columns), rotation=20, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.6, table.shape[1] - 0.4)
    ax.grid(axis="x", visible=False)
    if len(table) > 1:
        ax.legend(loc="best")
    return _finish(ax, title, "Variant", "Accuracy (%)")


def plot_cost(table: pd.DataFrame, ax: Axes | None = None, title: str = "Accuracy against cost") -> Axes:
    """Mean accuracy against multiply-adds per image, one point per variant; `table` is of `ablations.costs`."""
    ax = _axes(ax, (7.4, 4.2))
    for index, row in enumerate(table.itertuples()):
        ax.plot(
            row.mmac, 100 * row.accuracy, MARKERS[index % len(MARKERS)], color=_colour(index), ms=9, label=row.variant
        )
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _finish(ax, title, "Multiply-adds per image (millions)", "Mean accuracy (%)")
