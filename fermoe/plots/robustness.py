"""Figures of perturbations and of what they cost: `plot_x(data, ax=None) → ax`, in the look of `plots`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fermoe.data.perturbations import PERTURBATIONS, SEVERITIES, Boxes, perturb
from fermoe.plots import style


def plot_perturbations(
    image: Tensor, boxes: Boxes, ax: Axes | None = None, title: str = "One synthetic face under every perturbation"
) -> Axes:
    """One row per perturbation, one column per severity, 0 first. `image` (3, S, S) must be a synthetic face.

    `boxes` are those of the one image, by part (1, 4).
    """
    columns, key = [0, *SEVERITIES], np.array([0])
    faces = [[perturb(name, s, image[None], boxes, key)[0] for s in columns] for name in PERTURBATIONS]
    tiles = [[face.permute(1, 2, 0).numpy() for face in row] for row in faces]
    ax = style.sheet(tiles, [*map(str, columns)], [*PERTURBATIONS], ax)
    return style.finish(ax, title, "Severity (0: as it is)", "Perturbation")


def plot_severity(data: pd.DataFrame, ax: Axes | None = None, title: str = "", chance: float | None = None) -> Axes:
    """Accuracy by severity of one perturbation, a line per variant; severity 0 is the clean accuracy.

    `data` holds the rows of robustness.csv for that perturbation. The full network's line has the band of its interval
    over images; a dotted line marks `chance`.
    """
    ax = style.axes_or_new(ax, (5.0, 3.6))
    for variant, rows in style.in_order(data.sort_values("severity"), "variant").groupby("variant", sort=False):
        severity = [0, *rows["severity"]]
        accuracy = 100 * np.array([rows["clean_accuracy"].iloc[0], *rows["accuracy"]])
        colour, marker = style.variant_colour(variant), style.variant_marker(variant)
        line = marker + style.LINES[style.variant_place(variant) % len(style.LINES)]
        ax.plot(severity, accuracy, line, color=colour, ms=5, label=style.variant_name(variant))
        if variant == "full":  # one band, or nothing can be told apart
            low, high = 100 * rows["ci_low"], 100 * rows["ci_high"]
            ax.fill_between(rows["severity"], low, high, color=colour, alpha=0.15, lw=0)
    if chance is not None:
        ax.axhline(100 * chance, color="black", linestyle=":", linewidth=1.2, label="the largest class for all")
    ax.set_xticks([0, *SEVERITIES])
    name = data["perturbation"].iloc[0]
    return style.finish(ax, title or f"{name} ({PERTURBATIONS[name].unit})", "Severity", "Accuracy (%)")


def plot_all_severities(table: pd.DataFrame, title: str = "", chance: float | None = None) -> Figure:
    """Small multiples of `plot_severity`, one per perturbation, in one scale that fits the data, with one legend."""
    names = list(dict.fromkeys(table["perturbation"]))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(4.4 * columns, 3.3 * rows + 0.9), sharex=True, sharey=True, squeeze=False
    )
    for name, ax in zip(names, panels.flat, strict=False):
        plot_severity(table[table["perturbation"] == name], ax, chance=chance)
        ax.set_title(ax.get_title(loc="left"), loc="left", fontsize=10)
        ax.set(xlabel="", ylabel="")
        ax.xaxis.set_tick_params(labelbottom=True)
    for ax in panels.flat[max(0, len(names) - columns) : len(names)]:
        ax.set_xlabel("Severity (0: clean)")
    for ax in panels.flat[len(names) :]:
        ax.set_axis_off()
    figure.supylabel("Accuracy (%)", fontsize=11)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def plot_drop_differences(
    summary: pd.DataFrame, ax: Axes | None = None, title: str = "Relative loss beyond the full network's (95 %)"
) -> Axes:
    """One row per perturbation, one marker per variant; right of the line the full network loses less.

    `summary` holds rows of robustness.csv at one severity: perturbation, variant, drop_difference, diff_low, diff_high.
    """
    rows, ends = summary[summary["variant"] != "full"], ("diff_low", "diff_high")
    axes = ("drop_difference", "perturbation", "variant")
    x = "Loss in % of accuracy, variant's − the full network's\nright: the full network is better"
    return style.forest(rows, *axes, ax, title, x, "Perturbation", interval=ends, scale=100, reference=(0, ""))
