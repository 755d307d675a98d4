"""Figures of how a training went: `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fermoe.plots import style


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
    ax = style.axes_or_new(ax)
    scale, unit = (100, "Accuracy (%)") if measure == "accuracy" else (1, "Cross-entropy (nats)")
    curves = {measure: ("training", "blue"), f"val_{measure}": (validation_name, "vermillion")}
    for index, (column, (name, colour)) in enumerate(curves.items()):
        if column in history:
            line = style.MARKERS[index] + style.LINES[index]
            ax.plot(history["epoch"], scale * history[column], line, color=style.COLOURS[colour], label=name)
    if chosen_epoch is not None:
        ax.axvline(chosen_epoch, color="black", linestyle=":", label=f"chosen: {chosen_epoch}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="best")
    return style.finish(ax, title, "Epoch", unit)


def plot_learning_rate(history: pd.DataFrame, ax: Axes | None = None, title: str = "Learning rate") -> Axes:
    """The learning rate of every epoch; `history` has the columns epoch and learning_rate."""
    ax = style.axes_or_new(ax)
    ax.plot(history["epoch"], history["learning_rate"], style.LINES[0], marker="o", color=style.COLOURS["blue"])
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return style.finish(ax, title, "Epoch", "Learning rate")
