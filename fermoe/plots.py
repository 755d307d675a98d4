"""Every figure of the study: `plot_x(data, ax=None, …) → ax`.

One look (`use_style`): Okabe–Ito colours, which colour-blind readers can tell apart, always doubled by a
marker, hatch or line style so that a grey print can be read too. Every figure has a title, and axes name
their units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from fermoe.files import atomic
from fermoe.images import with_palette
from fermoe.statistics import Reliability, wilson_interval

COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}
"""The Okabe–Ito palette, by name, in the order in which series take it."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")
LINES = ("-", "--", "-.", ":")


def use_style() -> None:
    """One look for all figures of a process."""
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette=list(COLOURS.values()),
        rc={
            "figure.figsize": (7.0, 4.2),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 100,
            "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 9.5,
            "legend.frameon": True,
            "grid.color": "#dddddd",
            "axes.edgecolor": "#888888",
            "hatch.linewidth": 0.6,
            "svg.hashsalt": "fermoe",
        },
    )


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a PNG of 256 colours without the date or the software's version: the same figure is the same bytes."""
    content = BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    with atomic(path) as temporary:
        temporary.write_bytes(with_palette(content.getvalue()))


def text_table(table: pd.DataFrame, digits: int = 2) -> HTML:
    """A table of sentences for a notebook: whole cells, left-aligned, the same bytes every time."""
    style = table.style.format(precision=digits).hide(axis="index").set_uuid("table")
    style = style.set_properties(**{"text-align": "left", "white-space": "normal", "vertical-align": "top"})
    headings = {"selector": "th", "props": [("text-align", "left")]}
    return HTML(style.set_table_styles([headings]).to_html())


def _axes(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """The given axes, or those of a new figure."""
    return ax if ax is not None else plt.subplots(figsize=size)[1]


def _finish(ax: Axes, title: str, x: str, y: str) -> Axes:
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return ax


def _slant(ax: Axes) -> None:
    """Turn class names so that each ends under its own tick."""
    plt.setp(ax.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")


def _colour(index: int) -> str:
    return list(COLOURS.values())[index % len(COLOURS)]


def _errors(value: pd.Series, low: pd.Series, high: pd.Series) -> Any:
    """Distances for `errorbar`; where there is no interval (NaN) no bar is drawn."""
    return np.clip(np.array([value - low, high - value], dtype=float), 0, None)


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


def plot_history(
    history: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Training history",
    measure: str = "accuracy",
    chosen_epoch: int | None = None,
    validation_name: str = "validation",
) -> Axes:
    """Training and validation curve of `measure` ("accuracy" or "loss") by epoch, the chosen epoch marked.

    `history` has the columns epoch, accuracy, loss, val_accuracy, val_loss; "val_" columns may be missing.
    """
    ax = _axes(ax)
    scale = 100 if measure == "accuracy" else 1
    ax.plot(
        history["epoch"],
        scale * history[measure],
        LINES[0],
        marker="o",
        color=COLOURS["blue"],
        label="training",
    )
    if f"val_{measure}" in history:
        ax.plot(
            history["epoch"],
            scale * history[f"val_{measure}"],
            LINES[1],
            marker="s",
            color=COLOURS["vermillion"],
            label=validation_name,
        )
    if chosen_epoch is not None:
        ax.axvline(chosen_epoch, color=COLOURS["black"], linestyle=LINES[3], label=f"chosen: {chosen_epoch}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="best")
    unit = "Accuracy (%)" if measure == "accuracy" else "Cross-entropy (nats)"
    return _finish(ax, title, "Epoch", unit)


def plot_learning_rate(history: pd.DataFrame, ax: Axes | None = None, title: str = "Learning rate") -> Axes:
    """The learning rate of every epoch; `history` has the columns epoch and learning_rate."""
    ax = _axes(ax)
    ax.plot(history["epoch"], history["learning_rate"], LINES[0], marker="o", color=COLOURS["blue"])
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(ax, title, "Epoch", "Learning rate")


def plot_class_balance(counts: pd.DataFrame, ax: Axes | None = None, title: str = "Images per class") -> Axes:
    """Bars of images per label, one hatch per split; `counts` has the columns label, split, images."""
    table = counts.pivot_table(index="label", columns="split", values="images", aggfunc="sum", fill_value=0)
    order = [split for split in ("train", "validation", "test") if split in table]
    order += [split for split in table.columns if split not in order]
    table = table[order].sort_values(order[0], ascending=False)
    ax = _axes(ax)
    table.plot.bar(ax=ax, width=0.8, color=[_colour(i) for i in range(len(order))], edgecolor="white")
    _hatch(ax)
    _slant(ax)
    ax.grid(axis="x", visible=False)
    ax.legend(title=None)
    return _finish(ax, title, "Class", "Images")


def _hatch(ax: Axes) -> None:
    for index, container in enumerate(c for c in ax.containers if isinstance(c, BarContainer)):
        for bar in container:
            bar.set_hatch(HATCHES[index % len(HATCHES)])


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


def plot_parameters(blocks: pd.DataFrame, ax: Axes | None = None, title: str = "Parameters by block") -> Axes:
    """One bar per block with its count written beside it; `blocks` has the columns title, parameters."""
    ax = _axes(ax, (7.5, 1.4 + 0.38 * len(blocks)))
    millions = blocks["parameters"] / 1e6
    bars = ax.barh(blocks["title"], millions, color=COLOURS["sky"], edgecolor=COLOURS["blue"])
    ax.bar_label(bars, labels=[f"{count:,}" for count in blocks["parameters"]], padding=4, fontsize=9.5)
    ax.set_xlim(0, 1.28 * millions.max())
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return _finish(ax, title, "Parameters (millions)", "Block")
