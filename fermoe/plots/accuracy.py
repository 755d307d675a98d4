"""Figures of how good runs are: accuracies, confusion matrices, recall, calibration. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from fermoe.plots.style import COLOURS, HATCHES, LINES, MARKERS, _axes, _colour, _errors, _finish, _slant
from fermoe.stats import Reliability


def plot_accuracy_intervals(
    data: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Accuracy with 95 % intervals",
    group: str = "dataset",
    series: str = "source",
) -> Axes:
    """Points with intervals, one row per `group` and one marker per `series`.

    `data` has the columns group, series, accuracy, ci_low, ci_high (shares).
    """
    groups, kinds = list(dict.fromkeys(data[group])), list(dict.fromkeys(data[series]))
    ax = _axes(ax, (7.0, 1.6 + 0.42 * len(groups) * max(1, len(kinds) ** 0.6)))
    step = 0.7 / max(1, len(kinds))
    for index, kind in enumerate(kinds):
        rows = data[data[series] == kind]
        place = [groups.index(name) + (index - (len(kinds) - 1) / 2) * step for name in rows[group]]
        ax.errorbar(
            100 * rows["accuracy"],
            place,
            xerr=100 * _errors(rows["accuracy"], rows["ci_low"], rows["ci_high"]),
            fmt=MARKERS[index % len(MARKERS)],
            color=_colour(index),
            capsize=3,
            label=str(kind),
        )
    ax.set_yticks(range(len(groups)), groups)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    if len(kinds) > 1:
        ax.legend(title=None, loc="best")
    return _finish(ax, title, "Accuracy (%)", group.capitalize())


def plot_confusion(
    matrix: pd.DataFrame, ax: Axes | None = None, title: str = "Confusion matrix", normalise: bool = True
) -> Axes:
    """A confusion matrix, index true and columns predicted: per cent of each true class, or counts.

    Both axes take their labels from the matrix itself; a class without images is left blank.
    """
    if list(matrix.index) != list(matrix.columns):
        raise ValueError("the matrix must have the same labels, in the same order, on both axes")
    ax = _axes(ax, (1.6 + 0.62 * len(matrix), 1.2 + 0.52 * len(matrix)))
    shown = matrix.astype(float)
    if normalise:
        shown = 100 * shown.div(shown.sum(axis=1).replace(0, np.nan), axis=0)
    sns.heatmap(
        shown,
        ax=ax,
        annot=True,
        fmt=".0f",
        cmap="Blues",
        vmin=0,
        vmax=100 if normalise else None,
        annot_kws={"size": 9},
        linewidths=0.5,
        cbar_kws={"label": "Share of the true class (%)" if normalise else "Images"},
    )
    ax.tick_params(axis="y", rotation=0)
    _slant(ax)
    return _finish(ax, title, "Predicted class", "True class")


def plot_reliability(bins: Reliability, ax: Axes | None = None, title: str = "Reliability") -> Axes:
    """Accuracy against confidence per bin; the closer to the diagonal, the better calibrated."""
    ax = _axes(ax, (4.6, 4.4))
    filled = bins.images > 0
    width = np.diff(bins.edges)
    ax.bar(
        bins.edges[:-1][filled],
        bins.accuracy[filled],
        width[filled],
        align="edge",
        color=COLOURS["sky"],
        edgecolor=COLOURS["blue"],
        hatch=HATCHES[1],
        label="accuracy in the bin",
    )
    ax.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=COLOURS["blue"], label="mean confidence")
    ax.plot([0, 1], [0, 1], LINES[1], color=COLOURS["black"], label="calibrated")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.legend(loc="upper left")
    return _finish(ax, title, "Confidence of the predicted class (share)", "Accuracy (share)")


def plot_per_class(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame], ax: Axes | None = None, title: str = "Recall by class"
) -> Axes:
    """Recall with its interval by class, one marker per named table of `evaluation.per_class`."""
    named = {"": tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    labels: Sequence[Any] = list(dict.fromkeys(label for table in named.values() for label in table["label"]))
    ax = _axes(ax)
    step = 0.6 / max(1, len(named))
    for index, (name, table) in enumerate(named.items()):
        place = [labels.index(label) + (index - (len(named) - 1) / 2) * step for label in table["label"]]
        ax.errorbar(
            place,
            100 * table["recall"],
            yerr=100 * _errors(table["recall"], table["recall_low"], table["recall_high"]),
            fmt=MARKERS[index % len(MARKERS)],
            color=_colour(index),
            capsize=3,
            label=name,
        )
    ax.set_xticks(range(len(labels)), [str(label) for label in labels])
    _slant(ax)
    ax.set_ylim(0, 104)
    ax.grid(axis="x", visible=False)
    if len(named) > 1:
        ax.legend(loc="best")
    return _finish(ax, title, "Class", "Recall (%)")
