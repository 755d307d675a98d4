"""Figures of how a training went: `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fermoe.plots.style import COLOURS, LINES, _axes, _finish


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
