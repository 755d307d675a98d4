"""Figures of the published numbers alone: `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from fermoe.plots.style import COLOURS, _axes, _errors, _finish
from fermoe.stats import wilson_interval


def plot_recall_vs_frequency(
    data: pd.DataFrame, ax: Axes | None = None, title: str = "Recall against training frequency"
) -> Axes:
    """One point per class with its Wilson interval: label, train_images, test_images, correct, recall."""
    ax = _axes(ax)
    bounds = [wilson_interval(int(k), int(n)) for k, n in zip(data["correct"], data["test_images"], strict=True)]
    low, high = pd.Series([b[0] for b in bounds]), pd.Series([b[1] for b in bounds])
    recall = data["recall"].reset_index(drop=True)
    ax.errorbar(
        data["train_images"],
        100 * recall,
        yerr=100 * _errors(recall, low, high),
        fmt="o",
        color=COLOURS["blue"],
        ecolor=COLOURS["sky"],
        capsize=2,
    )
    ax.margins(x=0.16)
    ax.set_ylim(max(0, 100 * low.min() - 8), 102)
    _label_points(ax, data["train_images"], 100 * recall, data["label"], 100 * low, 100 * high)
    return _finish(ax, title, "Training images of the class", "Recall on the test set (%)")


def _label_points(ax: Axes, x: pd.Series, y: pd.Series, names: pd.Series, low: pd.Series, high: pd.Series) -> None:
    """Write each name beside its point, on the first side where it meets no interval and no other name."""
    sides = [(7, 0, "left", "center"), (-7, 0, "right", "center"), (5, 7, "left", "center")]
    sides += [(5, -7, "left", "center"), (-5, 7, "right", "center"), (-5, -7, "right", "center")]
    ends = [ax.transData.transform([(a, b), (a, c)]) for a, b, c in zip(x, low, high, strict=True)]
    taken = [Bbox([(bottom[0] - 4, bottom[1] - 4), (top[0] + 4, top[1] + 4)]) for bottom, top in ends]
    for place in zip(x, y, names, strict=True):
        for dx, dy, ha, va in sides:
            text = ax.annotate(str(place[2]), place[:2], (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=9)
            box = text.get_window_extent()
            inside = ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1
            if (inside and not box.count_overlaps(taken)) or (dx, dy, ha, va) == sides[-1]:
                taken.append(box)
                break
            text.remove()
