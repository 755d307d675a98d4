"""Figures of how good runs are: accuracies, confusion matrices, recall, calibration. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fermoe.plots import style
from fermoe.stats import Reliability


def plot_accuracy_intervals(
    data: pd.DataFrame, ax: Axes | None = None, title: str = "Accuracy", group: str = "dataset", series: str = "source"
) -> Axes:
    """Points with intervals, one row per `group` and one marker per `series`.

    `data` has the columns group, series, accuracy, ci_low, ci_high (shares).
    """
    kinds = series if data[series].nunique() > 1 else ()
    return style.forest(data, "accuracy", group, kinds, ax, title, "Accuracy (%)", group.capitalize(), scale=100)


def plot_confusion(
    matrix: pd.DataFrame, ax: Axes | None = None, title: str = "Confusion matrix", normalise: bool = True
) -> Axes:
    """A confusion matrix, index true and columns predicted: per cent of each true class, or counts.

    Both axes take their labels from the matrix itself; a class without images is left blank.
    """
    if list(matrix.index) != list(matrix.columns):
        raise ValueError("the matrix must have the same labels, in the same order, on both axes")
    ax = style.axes_or_new(ax, (1.6 + 0.62 * len(matrix), 1.2 + 0.52 * len(matrix)))
    shown = style.classes_in_order(style.classes_in_order(matrix.astype(float)).T).T
    if normalise:
        shown = 100 * shown.div(shown.sum(axis=1).replace(0, np.nan), axis=0)
    label, highest = ("Share of the true class (%)", 100) if normalise else ("Images", None)
    style.heat_map(ax, shown, label, highest)
    style.slant(ax)
    return style.finish(ax, title, "Predicted class", "True class")


def plot_reliability(bins: Reliability, ax: Axes | None = None, title: str = "Reliability") -> Axes:
    """Accuracy against confidence per bin; the closer to the diagonal, the better calibrated."""
    ax = style.axes_or_new(ax, (4.6, 4.4))
    filled = bins.images > 0
    bars = ax.bar(bins.edges[:-1][filled], bins.accuracy[filled], np.diff(bins.edges)[filled], align="edge")
    bars.set_label("accuracy in the bin")
    plt.setp(bars.patches, facecolor=style.COLOURS["sky"], edgecolor=style.COLOURS["blue"], hatch=style.HATCHES[1])
    ax.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=style.COLOURS["blue"], label="mean confidence")
    ax.plot([0, 1], [0, 1], style.LINES[1], color=style.COLOURS["black"], label="calibrated")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.legend(loc="upper left")
    return style.finish(ax, title, "Confidence of the predicted class (share)", "Accuracy (share)")


def plot_per_class(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame], ax: Axes | None = None, title: str = "Recall by class"
) -> Axes:
    """Recall with its interval, one row per class, one marker per named table of `metrics.per_class`."""
    named = {"": tables} if isinstance(tables, pd.DataFrame) else tables
    data = pd.concat([table.assign(source=name) for name, table in named.items()], ignore_index=True)
    ends = ("recall_low", "recall_high")
    ax = style.forest(data, "recall", "label", "source", ax, title, "Recall (%)", "Class", interval=ends, scale=100)
    ax.set_xlim(-2, 102)
    return ax
