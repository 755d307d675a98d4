"""Figures of Grad-CAM maps and of their measures: `plot_x(data, ax=None, …) → ax`.

Maps are drawn in cividis: even steps to the eye, to colour-blind eyes, and in a grey print. Of datasets only synthetic
faces are ever drawn; maps of real faces are drawn alone, as averages. Readers may look at a picture of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from fermoe.data.datasets import Dataset
from fermoe.evidence.faithfulness import OTHER, RANDOM, SALIENT
from fermoe.evidence.maps import Floats
from fermoe.plots import style

Maps = Mapping[str, Floats]
MAP_COLOURS = "cividis"
BOX_LINES = {"eyes": "-", "mouth": "--"}
"""The parts of the face that are marked, and with which line."""

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as OpenCV


def faces_to_show(correct: NDArray[np.bool_], shown: int) -> NDArray[np.int64]:
    """The first `shown` positions, half of correct predictions and then half of wrong ones, as far as there are any."""
    right, wrong = np.flatnonzero(correct), np.flatnonzero(~correct)
    many = min(len(right), max(shown // 2, shown - len(wrong)))
    return np.concatenate([right[:many], wrong[: max(shown - many, 0)]])


def plot_overlays(
    faces: Dataset,
    images: Floats,
    maps: Maps,
    names: Sequence[str],
    boxes: Maps | None = None,
    ax: Axes | None = None,
    title: str = "Grad-CAM on the same faces",
) -> Axes:
    """One column per face: what the network sees, then one row per branch with its map over the face in grey.

    The line in a map is drawn at half of its highest value.

    Args:
        faces: those of the columns, which must be drawn ones.
        images: (F, 3, S, S), RGB in [0, 1].
        maps: (F, S, S) per branch.
        names: what is written under each column.
        boxes: (F, 4) per part of the face, in pixels of the images; those of `BOX_LINES` are drawn.

    Raises:
        UserError: the faces are photographs.
    """
    style.refuse_photographs(faces)
    grey = np.einsum("c,nchw->nhw", _GREY, images)
    tiles = [[*images.transpose(0, 2, 3, 1)]]
    tiles += [[_overlay(*pair) for pair in zip(grey, values, strict=True)] for values in maps.values()]
    ax = style.sheet(tiles, names, ["picture", *map(style.branch_name, maps)], ax, side=1.25)
    for y, values in enumerate(maps.values(), start=1):
        for x, saliency in enumerate(values):
            _draw_half(ax, saliency, x * style.STEP, y * style.STEP)
    _draw_colour_bar(ax, Normalize(0, 1), "Map (share of its highest value)")
    style.finish(ax, title, "Face: true class → predicted class", "Branch")
    _draw_boxes(ax, boxes, images.shape[-1], [(x, 0) for x in range(len(images))])
    return ax


def plot_own_maps(image: Floats, maps: Maps, ax: Axes | None = None, title: str = "Where each branch looks") -> Axes:
    """One picture (3, S, S), RGB in [0, 1], as the network sees it, and each branch's map (S, S) over it in grey."""
    grey = np.einsum("c,chw->hw", _GREY, image)
    tiles = [image.transpose(1, 2, 0), *(_overlay(grey, values) for values in maps.values())]
    ax = style.sheet([tiles], ["what the network sees", *map(style.branch_name, maps)], [""], ax, side=2.4)
    for x, values in enumerate(maps.values(), start=1):
        _draw_half(ax, values, x * style.STEP, 0)
    _draw_colour_bar(ax, Normalize(0, 1), "Map (share of its highest value)")
    return style.finish(ax, title, "", "")


def _overlay(grey: Floats, saliency: Floats) -> Floats:
    return 0.45 * grey[..., None] + 0.55 * colormaps[MAP_COLOURS](saliency)[..., :3] if saliency.max() > 0 else grey


def _draw_half(ax: Axes, saliency: Floats, left: float, top: float) -> None:
    """The line at half of the highest value on a tile, or a note that there is nothing on it."""
    if saliency.max() <= 0:
        box = {"facecolor": "white", "edgecolor": "black", "boxstyle": "round,pad=0.2"}
        ax.text(left + 0.5, top + 0.5, "empty map", ha="center", va="center", fontsize=9, bbox=box)
    elif saliency.min() < 0.5:
        centres = (np.arange(len(saliency)) + 0.5) / len(saliency)
        for line, width in (("black", 2.6), ("white", 1.2)):  # readable on light and dark
            ax.contour(left + centres, top + centres, saliency, levels=[0.5], colors=line, linewidths=width)


def plot_class_maps(
    averages: Maps, labels: Sequence[str], boxes: Maps | None = None, ax: Axes | None = None, title: str = "Average map"
) -> Axes:
    """One row per branch, one column per class: average maps (C, S, S), all in one scale of colours.

    A class without images (NaN) is left blank. `boxes` are (C, 4) per part of the face, the classes' average boxes.
    """
    order = style.classes_in_order(pd.DataFrame({"place": range(len(labels))}, index=labels))["place"]
    scale = Normalize(0, max(float(np.nanmax(values)) for values in averages.values()))
    tiles = [
        [None if np.isnan(mean).any() else colormaps[MAP_COLOURS](scale(mean))[..., :3] for mean in values[order]]
        for values in averages.values()
    ]
    ax = style.sheet(tiles, [*order.index], [*map(style.branch_name, averages)], ax, side=1.25)
    _draw_colour_bar(ax, scale, "Mean map value")
    style.finish(ax, title, "Predicted class", "Branch")
    drawn = [(x, y) for y, row in enumerate(tiles) for x, tile in enumerate(row) if tile is not None]
    ordered = {part: values[order] for part, values in (boxes or {}).items()}
    _draw_boxes(ax, ordered, next(iter(averages.values())).shape[-1], drawn)
    return ax


def _draw_boxes(ax: Axes, boxes: Maps | None, size: int, places: Iterable[tuple[int, int]]) -> None:
    """Boxes of the parts of the face on tiles at `places` (column, row), and their legend above the sheet."""
    if boxes:
        for part, line in BOX_LINES.items():
            for x, y in places:
                for edge, width in (("black", 2.4), ("white", 1.2)):
                    style.mark_box(ax, x, y, boxes[part][x] / size, ec=edge, lw=width, ls=line)
        style.name_lines(ax, {part: {"color": "black", "ls": line, "lw": 1.6} for part, line in BOX_LINES.items()})


def _draw_colour_bar(ax: Axes, scale: Normalize, label: str) -> None:
    ax.figure.colorbar(ScalarMappable(scale, MAP_COLOURS), ax=ax, label=label, shrink=0.8, pad=0.02)


def plot_removal(
    curves: pd.DataFrame, ax: Axes | None = None, title: str = "Removing picture parts", measure: str = "probability"
) -> Axes:
    """Probability of the explained class, or "accuracy", against the removed share; one line per kind of removal.

    `curves` is of `faithfulness.removal_table`. The more a line falls, the more the network needed what was removed.
    """
    ax = style.axes_or_new(ax, (6.6, 4.2))
    low, high = ("ci_low", "ci_high") if measure == "probability" else ("acc_low", "acc_high")
    for index, kind in enumerate((SALIENT, OTHER, RANDOM)):
        rows = curves[curves["kind"] == kind]
        removed = 100 * rows["removed"] + 0.5 * (index - 1)  # side by side, so that intervals can be told apart
        bars = 100 * style.error_bars(rows[measure], rows[low], rows[high])
        line, colour = style.marker(index) + style.LINES[index], style.colour(index)
        ax.errorbar(removed, 100 * rows[measure], yerr=bars, fmt=line, color=colour, capsize=3, label=kind)
    ax.set_ylim(bottom=0)
    style.legend_outside(ax, title="removed by", title_fontsize="small")
    name = "Probability of the explained class (%)" if measure == "probability" else "Accuracy (%)"
    return style.finish(ax, title, "Removed share of the picture (%)", name)


def plot_measures(
    data: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Measures by branch",
    x: str = "Value",
    y: str = "Measure",
    reference: tuple[float, str] | None = None,
) -> Axes:
    """Points with intervals, one row per `row`, a colour per variant and a marker per branch; seeds beside each other.

    `data` has the columns row, variant, branch, value, ci_low, ci_high; `reference` is that of `style.forest`.
    """
    return style.forest(data, "value", "row", ("variant", "branch"), ax, title, x, y, reference=reference)
