"""Figures of the published numbers alone: `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from fermoe.plots import style
from fermoe.stats import wilson_interval


def plot_recall_vs_frequency(data: pd.DataFrame, ax: Axes | None = None, title: str = "Recall by frequency") -> Axes:
    """One point per class with its Wilson interval: label, train_images, test_images, correct, recall."""
    ax = style.axes_or_new(ax)
    bounds = [wilson_interval(int(k), int(n)) for k, n in zip(data["correct"], data["test_images"], strict=True)]
    low, high = (pd.Series(ends) for ends in zip(*bounds, strict=True))
    recall = data["recall"].reset_index(drop=True)
    bars = 100 * style.error_bars(recall, low, high)
    mark, line = style.COLOURS["blue"], style.COLOURS["sky"]
    ax.errorbar(data["train_images"], 100 * recall, yerr=bars, fmt="o", color=mark, ecolor=line, capsize=2)
    ax.margins(x=0.16)
    ax.set_ylim(max(0, 100 * low.min() - 8), 102)
    _label_points(ax, data["train_images"], 100 * recall, data["label"].map(style.class_name), 100 * low, 100 * high)
    return style.finish(ax, title, "Training images of the class", "Recall on the test set (%)")


def _label_points(ax: Axes, x: pd.Series, y: pd.Series, names: pd.Series, low: pd.Series, high: pd.Series) -> None:
    """Write each name beside its point, on the first side where it meets no interval and no other name."""
    sides = [(7, 0), (-7, 0), (5, 7), (5, -7), (-5, 7), (-5, -7)]
    ends = [ax.transData.transform([(a, b), (a, c)]) for a, b, c in zip(x, low, high, strict=True)]
    taken = [Bbox([bottom - 4, top + 4]) for bottom, top in ends]
    for name, at in zip(names, zip(x, y, strict=True), strict=True):
        for side in sides:
            ha = "left" if side[0] > 0 else "right"
            text = ax.annotate(name, at, side, textcoords="offset points", ha=ha, va="center", fontsize=9)
            box = text.get_window_extent()
            inside = ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1
            if (inside and not box.count_overlaps(taken)) or side == sides[-1]:
                taken.append(box)
                break
            text.remove()
