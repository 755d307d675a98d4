"""Figures of how experts are used and what the accuracy owes to them: `plot_x(data, ax=None, …) → ax`.

Data are rows of `expert_tables.expert_table`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fermoe.plots.style import COLOURS, HATCHES, LINES, MARKERS, _axes, _colour, _errors, _finish

MIXTURES = ("cnn", "expression", "both")
"""The order in which mixtures take colours and markers."""


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


def _marks(ax: Axes, rows: pd.DataFrame, y: pd.Series, scale: float, mixture: str) -> None:
    """One mixture's values with their intervals, at the heights y."""
    index = MIXTURES.index(mixture)
    errors = scale * _errors(rows["value"], rows["ci_low"], rows["ci_high"])
    style: dict[str, Any] = {"color": _colour(index), "marker": MARKERS[index], "linestyle": "", "markersize": 5}
    ax.errorbar(scale * rows["value"], y, xerr=errors, capsize=2, label=mixture, **style)


def plot_expert_load(data: pd.DataFrame, ax: Axes | None = None, title: str = "Load and importance") -> Axes:
    """Bars of top-1 load, top-2 load and importance for every expert of one run's mixture, with their intervals.

    Lines show what each would be if all experts were used alike: 1/E, and 2/E for the top-2 load.
    """
    names = {"top1_load": "first choice", "importance": "mean gate", "top2_load": "among the two chosen"}
    ax = _axes(ax)
    experts = int(data["expert"].max()) + 1
    for index, (measure, name) in enumerate(names.items()):
        rows = data[data["measure"] == measure].sort_values("expert")
        ax.bar(
            rows["expert"].astype(float) + (index - 1) * 0.27,
            100 * rows["value"],
            0.27,
            yerr=100 * _errors(rows["value"], rows["ci_low"], rows["ci_high"]),
            color=_colour(index),
            hatch=HATCHES[index],
            edgecolor="white",
            error_kw={"capsize": 2, "elinewidth": 1},
            label=name,
        )
    for chosen, line, name in ((1, LINES[1], "even: first choice, mean gate"), (2, LINES[3], "even: among the two")):
        ax.axhline(100 * chosen / experts, label=name, color=COLOURS["black"], linewidth=1.2, linestyle=line)
    ax.set_xticks(range(experts))
    ax.set_ylim(0, 105)
    ax.grid(axis="x", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _finish(ax, title, "Expert", "Images, or mean gate (%)")


def plot_class_experts(shares: pd.DataFrame, ax: Axes | None = None, title: str = "First choice by class") -> Axes:
    """Heat map of `routing.class_by_expert`: index class, columns expert; a class without images is left blank."""
    ax = _axes(ax, (2.6 + 0.75 * shares.shape[1], 1.4 + 0.4 * len(shares)))
    sns.heatmap(
        100 * shares,
        ax=ax,
        annot=True,
        fmt=".0f",
        cmap="Blues",
        vmin=0,
        vmax=100,
        linewidths=0.5,
        annot_kws={"size": 9},
        cbar_kws={"label": "Images of the class (%)"},
    )
    ax.tick_params(axis="both", rotation=0)
    return _finish(ax, title, "Expert of the first choice", "True class")


def setting_names(data: pd.DataFrame) -> pd.Series:
    """A name for each row's setting: protocol and variant, crop and pipeline where the others do not tell them."""
    names = data["protocol"] + " " + data["variant"]
    for column, known in (("crop", ["dataset"]), ("pipeline", ["dataset", "protocol"])):
        if (data.groupby(known)[column].nunique() > 1).any():
            names = names + " " + data[column]
    return data["dataset"] + " " + names if data["dataset"].nunique() > 1 else names


def _legend(ax: Axes) -> None:
    """Outside, where it hides nothing however the marks fall."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), title="Mixture", title_fontsize=9.5, alignment="left")


def plot_measure(data: pd.DataFrame, measure: str, ax: Axes | None = None, title: str | None = None) -> Axes:
    """One measure of `AXES` for every setting: one mark per mixture and seed, with its interval where it has one.

    Mutual information is drawn with the 95 % quantile of its null as a bar: a mark inside its bar is chance. The other
    measures have a line where the gate does nothing, or nothing in particular.
    """
    label, scale, nothing = AXES[measure]
    rows = data[data["measure"] == measure].reset_index(drop=True)
    names = setting_names(rows)
    settings = list(dict.fromkeys(names))
    mixtures = [name for name in MIXTURES if (rows["mixture"] == name).any()]
    slots = [(name, seed) for name in mixtures for seed in sorted(rows["seed"].unique())]
    step = 0.8 / max(1, len(slots))
    ax = _axes(ax, (8.0, max(2.8, 1.5 + len(settings) * (0.2 + 0.1 * len(slots)))))
    offset = {slot: (index - (len(slots) - 1) / 2) * step for index, slot in enumerate(slots)}
    keys = zip(names, rows["mixture"], rows["seed"], strict=True)
    place = pd.Series([settings.index(name) + offset[mixture, seed] for name, mixture, seed in keys], dtype=float)
    null = data[data["measure"] == f"{measure}_null"].set_index(["run", "mixture"])["ci_high"]
    if len(null):
        high = [null[key] for key in zip(rows["run"], rows["mixture"], strict=True)]
        ax.barh(place, high, step, color="#aaaaaa", label="chance (95 %)")
    else:
        ax.axvline(scale * nothing, color=COLOURS["black"], linestyle=LINES[1], linewidth=1)
    for name in mixtures:
        mine = rows[rows["mixture"] == name]
        _marks(ax, mine, place[mine.index], scale, name)
    for edge in range(1, len(settings)):
        ax.axhline(edge - 0.5, color="#dddddd", linewidth=1)
    ax.set_yticks(range(len(settings)), settings)
    ax.set_ylim(len(settings) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.06)
    if measure == "dead_experts":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(ax)
    return _finish(ax, title or measure.replace("_", " ").capitalize(), label, "Setting, one mark per seed")


def plot_drops(data: pd.DataFrame, ax: Axes | None = None, title: str = "Accuracy lost by changing gates") -> Axes:
    """What every change of one run's gates costs, with paired intervals: one row per change, one mark per mixture."""
    rows = data[data["measure"].isin(CHANGES)].reset_index(drop=True)
    order = [(measure, expert) for measure in CHANGES for expert in (*range(int(rows["expert"].max()) + 1), None)]
    keys = [(m, None if pd.isna(e) else int(e)) for m, e in zip(rows["measure"], rows["expert"], strict=True)]
    changes = [key for key in order if key in keys]
    names = [f"{CHANGES[m]}{'' if expert is None else f' {expert}'}" for m, expert in changes]
    place = pd.Series([changes.index(key) for key in keys], dtype=float)
    mixtures = [name for name in MIXTURES if (rows["mixture"] == name).any()]
    ax = _axes(ax, (7.5, 1.4 + 0.34 * len(changes)))
    for index, name in enumerate(mixtures):
        mine = rows[rows["mixture"] == name]
        _marks(ax, mine, place[mine.index] + (index - (len(mixtures) - 1) / 2) * 0.26, 100, name)
    ax.axvline(0, color=COLOURS["black"], linestyle=LINES[1], linewidth=1)
    ax.set_yticks(range(len(changes)), names)
    ax.set_ylim(len(changes) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    _legend(ax)
    return _finish(ax, title, "Accuracy lost (percentage points)", "Change of the gates")
