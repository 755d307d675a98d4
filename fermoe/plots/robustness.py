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


def plot_severity(data: pd.DataFrame, ax: Axes | None = None, title: str = "") -> Axes:
    """Accuracy by severity of one perturbation, a line with its interval per variant; severity 0 is the clean accuracy.

    `data` holds the rows of robustness.csv for that perturbation.
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
    ax.set_xticks([0, *SEVERITIES])
    ax.set_ylim(0, 100)
    name = data["perturbation"].iloc[0]
    return style.finish(ax, title or f"{name} ({PERTURBATIONS[name].unit})", "Severity", "Accuracy (%)")


def plot_all_severities(table: pd.DataFrame) -> Figure:
    """Small multiples of `plot_severity`, one per perturbation, with one legend."""
    names = list(dict.fromkeys(table["perturbation"]))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = plt.figure(figsize=(3.4 * columns, 2.9 * rows + 0.4))
    for place, name in enumerate(names, start=1):
        ax = plot_severity(table[table["perturbation"] == name], figure.add_subplot(rows, columns, place))
        ax.set_title(ax.get_title(loc="left"), loc="left", fontsize=9)
        ax.set(xlabel="", ylabel="")
    figure.supxlabel("Severity (0: clean)", fontsize=11)
    figure.supylabel("Accuracy (%)", fontsize=11)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def plot_drop_differences(
    summary: pd.DataFrame, ax: Axes | None = None, title: str = "Relative loss beyond the full network's (95 %)"
) -> Axes:
    """One row per perturbation, one marker per variant; right of the line the full network loses less.

    `summary` holds rows of robustness.csv at one severity: perturbation, variant, drop_difference, diff_low, diff_high.
    """
    rows, ends = summary[summary["variant"] != "full"], ("diff_low", "diff_high")
    axes, x = ("drop_difference", "perturbation", "variant"), "Variant's relative drop − full's (points)"
    return style.forest(rows, *axes, ax, title, x, "Perturbation", interval=ends, scale=100, reference=(0, ""))
