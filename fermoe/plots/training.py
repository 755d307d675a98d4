"""Figures of how a training went: `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fermoe.paper import published
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


def plot_beside_published(
    history: pd.DataFrame, theirs: pd.DataFrame, ax: Axes | None = None, title: str = "Beside the published curves"
) -> Axes:
    """Our validation accuracy by epoch over a band of the published ones, from the lowest to the highest dataset.

    `history` has the columns epoch, val_accuracy; `theirs` is of `published.training_history`. The band ends with the
    shortest published training; each of them is a thin line.
    """
    ax = style.axes_or_new(ax, (8.4, 4.2))
    wide = 100 * theirs.pivot(index="epoch", columns="dataset", values="val_accuracy")
    whole = wide.dropna()
    grey = style.COLOURS["grey"]
    ax.fill_between(whole.index, whole.min(axis=1), whole.max(axis=1), color=grey, alpha=0.25, lw=0)
    for index, dataset in enumerate(published.TITLES):
        curve = wide[dataset].dropna()
        ax.plot(
            curve.index,
            curve,
            style.LINES[index],
            color=grey,
            lw=1.2,
            label=f"the paper's, {published.TITLES[dataset]}",
        )
    ours = 100 * history["val_accuracy"]
    ax.plot(history["epoch"], ours, "o-", color=style.COLOURS["vermillion"], label="this training")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend_outside(ax)
    return style.finish(ax, title, "Epoch", "Validation accuracy (%)")


def plot_curves(table: pd.DataFrame, ax: Axes | None = None, title: str = "Validation accuracy by epoch") -> Axes:
    """One line per variant: the mean over seeds, around the full network's a band from its lowest to its highest seed.

    `table` has the columns variant, seed, epoch, val_accuracy (a share); one setting per variant.
    """
    ax = style.axes_or_new(ax, (8.4, 4.2))
    for variant, rows in style.in_order(table, "variant").groupby("variant", sort=False):
        name = str(variant)
        by_epoch = 100 * rows.groupby("epoch")["val_accuracy"].agg(["mean", "min", "max"])
        colour = style.variant_colour(name)
        if name == "full":
            ax.fill_between(by_epoch.index, by_epoch["min"], by_epoch["max"], color=colour, alpha=0.15, lw=0)
        count = rows["seed"].nunique()
        label = f"{style.variant_name(name)} ({count})"
        ax.plot(by_epoch.index, by_epoch["mean"], "-", marker=style.variant_marker(name), color=colour, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend_outside(ax, title="Network (seeds)")
    return style.finish(ax, title, "Epoch", "Validation accuracy (%)")
