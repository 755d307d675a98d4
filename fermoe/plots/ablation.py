"""Figures of differences: `plot_x(data, ax=None) → ax`, in the look of `plots`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fermoe.plots import style


def plot_advantages(
    data: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "What the first of two is ahead (95 %)",
    row: str = "comparison",
    series: str | tuple[str, ...] = "measure",
    x: str = "Points of accuracy; right of the line the first is better",
    y: str = "Comparison",
) -> Axes:
    """A forest plot of advantages: right of the line the first of the two is better, in every figure alike.

    `data` has the columns `row`, `series`, advantage, low, high (shares); a row without an interval (NaN) gets none.
    """
    look: dict[str, Any] = {"scale": 100, "reference": (0, ""), "interval": ("low", "high")}
    return style.forest(data, "advantage", row, series, ax, title, x, y, **look)


def plot_seeds(
    table: pd.DataFrame, ax: Axes | None = None, title: str = "Test accuracy by variant", x: str = "Accuracy (%)"
) -> Axes:
    """One row per variant, one mark per seed, a bar at the mean; `table` is of `ablation.seed_table`."""
    points = style.in_order(table.rename_axis(columns="variant").melt(ignore_index=False), "variant")
    numbers = table.index.tolist()
    in_a_row = len(numbers) > 3 and numbers == list(range(numbers[0], numbers[-1] + 1))
    seeds = f"{numbers[0]} to {numbers[-1]}" if in_a_row else ", ".join(map(str, numbers))
    y = f"Variant, seeds {seeds} from above" if len(table) > 1 else "Variant"
    ax = style.forest(points, "value", "variant", ax=ax, title=title, x=x, y=y, interval=None, scale=100)
    for place, mean in enumerate(100 * points.groupby("variant", sort=False)["value"].mean()):
        ax.vlines(mean, place - 0.42, place + 0.42, color="black", lw=1.2)
    return ax


def plot_sizes(
    table: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "The hybrid's lead over its backbone by size",
    x: str = "Multiply-adds of the whole network per image (millions)\n"
    "hollow: extractors take more of it than the paper's do",
    y: str = "Hybrid − backbone (points, 95 %)\nabove the line the hybrid is better",
) -> Axes:
    """The lead against the size of the network, one series per measure, side by side so that bars do not hide bars.

    `table` is of `evidence.sizes.sizes_table`. Sizes with other proportions than the paper's network have hollow marks
    and are not joined.
    """
    ax = style.axes_or_new(ax, (8.2, 4.4))
    ax.axhline(0, color="black", linestyle="--", linewidth=1.2)
    ax.set_xscale("log")
    for place, (measure, rows) in enumerate(table.groupby("measure", sort=False)):
        at, tone = rows["mmac"] * 1.08 ** (place - 1), style.colour(place)
        bars = 100 * style.error_bars(rows["lead"], rows["low"], rows["high"])
        copy = rows["smaller_copy"].to_numpy(bool)
        if copy.sum() > 1:
            ax.plot(at[copy], 100 * rows["lead"][copy], color=tone, lw=1, alpha=0.5, label="_joined")
        for mine, fill in ((copy, tone), (~copy, "white")):
            if mine.any():
                look: dict[str, Any] = {"fmt": style.marker(place), "color": tone, "mfc": fill, "capsize": 3}
                label = style.measure_name(str(measure)) if fill == tone else "_other proportions"
                ax.errorbar(at[mine], 100 * rows["lead"][mine], yerr=bars[:, mine], label=label, **look)
    first = table.drop_duplicates("model").sort_values("mmac")
    near = np.log(first["mmac"].max() / first["mmac"].min()) / 4
    names, low, left = [], False, -np.inf
    for row in first.itertuples():
        low = np.log(row.mmac) - left < near and not low  # else its name would touch that of its left neighbour
        names.append(f"{row.mmac:.0f}" + ("\n\n" if low else "\n") + style.size_name(row.model))
        left = np.log(row.mmac)
    ax.set_xticks(first["mmac"].to_list(), names)
    ax.minorticks_off()
    ax.margins(x=0.1)
    style.legend_outside(ax)
    return style.finish(ax, title, x, y)


COSTS = {
    "mmac": "Multiply-adds per image (millions)",
    "ms_per_image": "Training time per image (ms, this study's machine)",
    "parameters": "Parameters",
}
"""What a network can cost, by the column of `ablation.costs`."""


def plot_cost(
    table: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Accuracy against cost",
    measure: str = "accuracy",
    cost: str = "mmac",
) -> Axes:
    """What is reached against what it costs, one point per variant with its interval, ResNets alone joined by a line.

    `table` is of `ablation.costs`, `measure` one of `MEASURES`, `cost` one of `COSTS`. Above the line: more than a
    ResNet of that cost reaches.
    """
    ax = style.axes_or_new(ax, (7.4, max(4.2, 0.9 + 0.25 * len(table))))  # as high as its legend
    resnets = table[table["variant"].str.startswith("backbone")].sort_values(cost)
    if len(resnets) > 1:
        ax.plot(resnets[cost], 100 * resnets[measure], color="0.6", lw=1, zorder=0, label="_joined")
    for row in style.in_order(table, "variant").to_dict("records"):
        mark, colour = style.variant_marker(row["variant"]), style.variant_colour(row["variant"])
        value = 100 * row[measure]
        ends = [[value - 100 * row[f"{measure}_low"]], [100 * row[f"{measure}_high"] - value]]
        name = style.variant_name(row["variant"])
        ax.plot(row[cost], value, mark, color=colour, ms=8, label=name)
        ax.errorbar(row[cost], value, yerr=ends, fmt="none", ecolor=colour, capsize=3)
    style.legend_outside(ax)
    name = style.measure_name(measure)
    return style.finish(ax, title, COSTS[cost], f"{name[0].upper()}{name[1:]} (%)")
