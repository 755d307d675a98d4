"""Figures of the experts' use, from rows of `experts.expert_table`: `plot_x(data, ax=None, …) → ax`."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fermoe.plots import style

CHANGES = {
    "knock_out_drop": "without expert",
    "forced_drop": "only expert",
    "shuffled_gates_drop": "gates of another image",
    "uniform_gates_drop": "all experts alike",
}
"""What the interventions are called in figures."""

AXES = {
    "mutual_information": ("Mutual information of class and first expert (bits)", 1, 0),
    "shuffled_gates_drop": ("Accuracy lost with another image's gates (percentage points)", 100, 0),
    "uniform_gates_drop": ("Accuracy lost with all experts alike (percentage points)", 100, 0),
    "gate_entropy": ("Mean entropy of the gate (share of the largest possible)", 1, 1),
    "gate_margin": ("Mean of largest minus second largest gate", 1, 0),
    "load_imbalance": ("Squared coefficient of variation of the top-2 load", 1, 0),
    "peak_load": ("Largest top-2 load / mean load", 1, 1),
    "dead_experts": ("Dead experts", 1, 0),
}
"""Of every measure with one value per run and mixture: what its axis says, its factor, and where it means nothing."""


def plot_expert_load(data: pd.DataFrame, ax: Axes | None = None, title: str = "Load and importance") -> Axes:
    """Bars of top-1 load, top-2 load and importance for every expert of one run's mixture, with their intervals.

    Lines show what each would be if all experts were used alike: 1/E, and 2/E for the top-2 load.
    """
    names = {"top1_load": "first choice", "importance": "mean gate", "top2_load": "among the two chosen"}
    rows = data[data["measure"].isin(names)].astype({"expert": int}).set_index(["expert", "measure"])
    value, low, high = (100 * rows[part].unstack()[[*names]] for part in ("value", "ci_low", "ci_high"))
    errors = [style.error_bars(value[measure], low[measure], high[measure]) for measure in names]
    ax = style.axes_or_new(ax)
    style.grouped_bars(ax, value.rename(columns=names), yerr=errors, capsize=2, error_kw={"elinewidth": 1})
    for chosen, line, name in ((1, "--", "even: first choice, mean gate"), (2, ":", "even: among the two")):
        ax.axhline(100 * chosen / len(value), label=name, color="black", linewidth=1.2, linestyle=line)
    ax.set_ylim(0, 105)
    style.legend_outside(ax)
    return style.finish(ax, title, "Expert", "Images, or mean gate (%)")


def plot_class_experts(shares: pd.DataFrame, ax: Axes | None = None, title: str = "First choice by class") -> Axes:
    """Heat map of `experts.class_shares`: index class, columns expert; a class without images is left blank."""
    ax = style.axes_or_new(ax, (2.6 + 0.75 * shares.shape[1], 1.4 + 0.4 * len(shares)))
    style.heat_map(ax, 100 * style.classes_in_order(shares), "Images of the class (%)")
    return style.finish(ax, title, "Expert of the first choice", "True class")


def plot_embedding(table: pd.DataFrame, series: str, ax: Axes | None = None, title: str = "Features") -> Axes:
    """One branch's images in the plane, coloured by `series`, label or expert; `table` is of `embedding.embed`."""
    ax = style.axes_or_new(ax, (5.4, 4.4))
    named = style.in_order(style.for_people(table).sort_values("expert", kind="stable"), series)
    for place, (name, rows) in enumerate(named.groupby(series, sort=False)):
        look: dict[str, Any] = {"color": style.colour(place), "marker": style.marker(place), "s": 13, "linewidths": 0}
        ax.scatter(rows["x"], rows["y"], label=f"expert {name}" if series == "expert" else str(name), **look)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    style.legend_outside(ax, markerscale=1.6)
    return style.finish(ax, title, "t-SNE 1", "t-SNE 2")


def setting_names(data: pd.DataFrame) -> pd.Series:
    """A name for each row's setting: protocol and variant, crop and pipeline where the others do not tell them."""
    names = data["protocol"].map(style.protocol_name) + ", " + data["variant"].map(style.variant_name)
    for column, known in (("crop", ["dataset"]), ("pipeline", ["dataset", "protocol"])):
        if (data.groupby(known)[column].nunique() > 1).any():
            names = names + ", " + data[column]
    return data["dataset"] + ", " + names if data["dataset"].nunique() > 1 else names


def plot_measure(data: pd.DataFrame, measure: str, ax: Axes | None = None, title: str | None = None) -> Axes:
    """One measure of `AXES` for every setting: one mark per mixture and seed, with its interval where it has one.

    Mutual information is drawn with the 95 % quantile of its null as a bar: a mark inside its bar is chance. The other
    measures have a line where the gate does nothing, or nothing in particular.
    """
    label, scale, nothing = AXES[measure]
    title = title or measure.replace("_", " ").capitalize()
    rows = style.in_order(data[data["measure"] == measure], "dataset", "protocol", "variant").reset_index(drop=True)
    rows["setting"] = setting_names(rows)
    null = data[data["measure"] == f"{measure}_null"].set_index(["run", "mixture"])["ci_high"]
    line, y = None if len(null) else (scale * nothing, ""), "Setting, one mark per seed"
    ax = style.forest(rows, "value", "setting", "mixture", ax, title, label, y, scale=scale, reference=line)
    if len(null):
        place, step = style.heights(rows, "setting", ["mixture"])
        chance = [null[key] for key in zip(rows["run"], rows["mixture"], strict=True)]
        ax.barh(place, chance, step, color="#aaaaaa", label="chance (95 %)")
        style.legend_outside(ax)
    if measure == "dead_experts":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def plot_drops(data: pd.DataFrame, ax: Axes | None = None, title: str = "Accuracy lost by changing gates") -> Axes:
    """What every change of one run's gates costs, with paired intervals: one row per change, one mark per mixture."""
    rows = data[data["measure"].isin(CHANGES)]
    rows = rows.assign(order=rows["measure"].map([*CHANGES].index)).sort_values(["order", "expert"])
    rows["change"] = rows["measure"].map(CHANGES) + (" " + rows["expert"].astype("Int64").astype("string")).fillna("")
    x, y = "Accuracy lost (percentage points)", "Change of the gates"
    return style.forest(rows, "value", "change", "mixture", ax, title, x, y, scale=100, reference=(0, ""))
