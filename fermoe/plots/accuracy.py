"""Figures of how good runs are: accuracies, confusion matrices, recall, calibration. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fermoe.data.datasets import Dataset
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


def plot_confusion_difference(
    ours: pd.DataFrame, theirs: pd.DataFrame, ax: Axes | None = None, title: str = "Ours − the paper's"
) -> Axes:
    """How two matrices of counts with the same labels differ, in points of each true class: blue is more in `ours`."""
    shares = [style.classes_in_order(style.classes_in_order(one.astype(float)).T).T for one in (ours, theirs)]
    first, second = (100 * one.div(one.sum(axis=1).replace(0, np.nan), axis=0) for one in shares)
    ax = style.axes_or_new(ax, (1.6 + 0.62 * len(ours), 1.2 + 0.52 * len(ours)))
    difference = first - second
    limit = max(1.0, float(np.nanmax(np.abs(difference.to_numpy()))))
    style.heat_map(ax, difference, "Points of the true class", limit, lowest=-limit, colours="RdBu")
    style.slant(ax)
    return style.finish(ax, title, "Predicted class", "True class")


def plot_pairs(pairs: pd.DataFrame, ax: Axes | None = None, title: str = "Classes mistaken for each other") -> Axes:
    """One row per pair with the share of the true class that is mistaken; `pairs` is of `confusions.confused_pairs`."""
    named = style.for_people(pairs)
    rows = named.assign(pair=named["true"] + " → " + named["predicted"])
    ends, x = ("low", "high"), "Of the true class (%, 95 % over seeds)"
    ax = style.forest(rows, "share", "pair", (), ax, title, x, "True class → taken for", interval=ends, scale=100)
    ax.set_xlim(left=0)
    return ax


def plot_mistakes(
    faces: Dataset, names: Sequence[str], ax: Axes | None = None, title: str = "Faces that are mistaken"
) -> Axes:
    """One row of drawn faces, each with what it is and what it is taken for under it; photographs are refused."""
    ax = style.sheet([style.drawn_faces(faces)], names, [""], ax, side=1.25)
    return style.finish(ax, title, "True class → taken for", "Test image")


def plot_reliability(bins: Reliability, ax: Axes | None = None, title: str = "Reliability") -> Axes:
    """Accuracy against confidence per bin; the closer to the diagonal, the better calibrated."""
    ax = style.axes_or_new(ax, (6.6, 4.4))
    filled = bins.images > 0
    bars = ax.bar(bins.edges[:-1][filled], bins.accuracy[filled], np.diff(bins.edges)[filled], align="edge")
    bars.set_label("right, in the bin")
    plt.setp(bars.patches, facecolor=style.COLOURS["sky"], edgecolor=style.COLOURS["blue"], hatch=style.HATCHES[1])
    ax.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=style.COLOURS["blue"], label="mean confidence")
    ax.plot([0, 1], [0, 1], style.LINES[1], color=style.COLOURS["black"], label="calibrated")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    style.legend_outside(ax)
    return style.finish(ax, title, "Confidence of the predicted class (share)", "Accuracy (share)")


def plot_recalls(table: pd.DataFrame, ax: Axes | None = None, title: str = "Recall by class") -> Axes:
    """Recall with its interval, one row per class, one marker per source; `table` is of `confusions.class_recalls`."""
    ends, x = ("recall_low", "recall_high"), "Recall (%)"
    return style.forest(table, "recall", "label", "source", ax, title, x, "Class", interval=ends, scale=100)
