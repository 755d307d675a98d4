"""Figures of what a network says of one picture: its face, its words, its gates. `plot_x(data, ax=None, …) → ax`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fermoe.plots import style


def plot_crop(
    picture: NDArray[np.uint8], box: Sequence[int] | None = None, ax: Axes | None = None, title: str = "The picture"
) -> Axes:
    """A picture, (H, W, 3) or grey (H, W), and the box (x0, y0, x1, y1) that is cut out of it, in pixels."""
    ax = style.axes_or_new(ax, (4.2, 4.2))
    height, width = picture.shape[:2]
    ax.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    if box is not None:
        x0, y0, x1, y1 = box
        for colour, line in (("black", 4.0), (style.COLOURS["orange"], 2.0)):  # seen on light and on dark
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=line))
    ax.grid(visible=False)
    return style.finish(ax, title, "Pixels", "Pixels")


def plot_probabilities(
    probabilities: pd.Series, before: pd.Series | None = None, ax: Axes | None = None, title: str = "Probabilities"
) -> Axes:
    """One bar per class, the largest in the darker blue; a line where it ended `before` the picture was changed.

    Both are shares, by label.
    """
    then = probabilities if before is None else before
    table = style.classes_in_order(pd.DataFrame({"now": probabilities, "before": then}))
    ax = style.axes_or_new(ax, (5.0, 1.4 + 0.38 * len(table)))
    colours = [style.COLOURS["blue" if share == table["now"].max() else "sky"] for share in table["now"]]
    _bars(ax, range(len(table)), table["now"], None if before is None else table["before"], colours)
    ax.set_yticks(range(len(table)), table.index)
    return style.finish(ax, title, "Probability (%)", "Class")


def plot_gates(
    gates: pd.DataFrame, before: pd.DataFrame | None = None, ax: Axes | None = None, title: str = "Gates"
) -> Axes:
    """One bar per expert, a group per mixture; a line where it ended `before` the picture was changed.

    Both hold shares: one row per expert, one column per mixture.
    """
    now = gates.T.stack()
    places = [expert + (len(gates) + 1) * mixture for mixture in range(gates.shape[1]) for expert in range(len(gates))]
    ax = style.axes_or_new(ax, (6.0, 1.4 + 0.3 * len(now)))
    colours = [style.colour(2 + place // (len(gates) + 1)) for place in places]
    _bars(ax, places, now, None if before is None else before.T.stack(), colours)
    ax.set_yticks(places, [f"{style.mixture_name(str(mixture))}, {expert}" for mixture, expert in now.index])
    return style.finish(ax, title, "Gate (%)", "Mixture, expert")


def _bars(ax: Axes, places: Sequence[float], now: pd.Series, before: pd.Series | None, colours: Sequence[str]) -> None:
    """Bars of shares at their places, each with its number beyond its end and beyond the line of `before`."""
    y, ends = np.asarray(places, dtype=float), 100 * now.to_numpy()
    ax.barh(y, ends, color=list(colours), height=0.75)
    reached = ends if before is None else np.maximum(ends, 100 * before.to_numpy())
    for end, place, value in zip(reached, y, ends, strict=True):
        ax.text(end + 1.5, place, f"{value:.0f}", va="center", fontsize=9.5)
    if before is not None:
        ax.vlines(100 * before, y - 0.45, y + 0.45, color="black", linewidth=1.6, label="unchanged picture")
        ax.legend(loc="lower right", fontsize=9)
    ax.set_xlim(0, 112)
    ax.set_ylim(max(y, default=0.0) + 0.5, -0.5)
    ax.grid(axis="y", visible=False)


def plot_answer(
    picture: NDArray[np.uint8],
    box: Sequence[int] | None,
    probabilities: pd.Series,
    gates: pd.DataFrame,
    before: tuple[pd.Series, pd.DataFrame] | None = None,
    title: str = "The picture",
) -> Axes:
    """The three figures above side by side, as one; without gates where the network has no mixture."""
    parts = 3 if gates.shape[1] else 2
    _, axes = plt.subplots(1, parts, figsize=(4.6 * parts, 3.9), width_ratios=[1, 1.1, 1.1][:parts])
    plot_crop(picture, box, axes[0], title)
    plot_probabilities(probabilities, before and before[0], axes[1])
    if gates.shape[1]:
        plot_gates(gates, before and before[1], axes[2])
    return axes[0]
