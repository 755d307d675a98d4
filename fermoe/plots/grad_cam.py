"""Figures of Grad-CAM maps and of their measures: `plot_x(data, ax=None, …) → ax`.

Maps are drawn in cividis: even steps to the eye, to colour-blind eyes, and in a grey print. Only synthetic faces are
ever drawn; maps of real faces are drawn alone, as averages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fermoe.errors import UserError
from fermoe.evidence.faithfulness import OTHER, RANDOM, SALIENT
from fermoe.evidence.maps import Floats
from fermoe.plots.style import COLOURS, LINES, MARKERS, _axes, _colour, _errors, _finish

MAP_COLOURS = "cividis"


_STEP = 1.08  # a tile of side 1 and a gap


BOX_LINES = {"eyes": "-", "mouth": "--"}
"""The parts of the face that are marked, and with which line."""


_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as OpenCV


def faces_to_show(correct: NDArray[np.bool_], shown: int) -> NDArray[np.int64]:
    """The first `shown` positions, half of correct predictions and then half of wrong ones, as far as there are any."""
    right, wrong = np.flatnonzero(correct), np.flatnonzero(~correct)
    many = min(len(right), max(shown // 2, shown - len(wrong)))
    return np.concatenate([right[:many], wrong[: max(shown - many, 0)]])


def plot_overlays(
    table: pd.DataFrame,
    images: Floats,
    maps: Mapping[str, Floats],
    names: Sequence[str],
    boxes: Mapping[str, Floats] | None = None,
    ax: Axes | None = None,
    title: str = "Grad-CAM on the same faces",
) -> Axes:
    """One column per face: what the network sees, then one row per branch with its map over the face in grey.

    The line in a map is drawn at half of its highest value.

    Args:
        table: the faces' rows, which must be synthetic.
        images: (F, 3, S, S), RGB in [0, 1].
        maps: (F, S, S) per branch.
        names: what is written under each column.
        boxes: (F, 4) per part of the face, in pixels of the images; those of `BOX_LINES` are drawn.

    Raises:
        UserError: the faces are photographs.
    """
    if "framing" not in table:
        raise UserError("photographs are not drawn into figures", fix="use the synthetic dataset for pictures")
    faces, size = len(images), images.shape[-1]
    ax = _axes(ax, (1.25 * faces + 2.2, 1.25 * (1 + len(maps)) + 1.3))
    grey = np.einsum("c,nchw->nhw", _GREY, images)
    for x in range(faces):
        _tile(ax, images[x].transpose(1, 2, 0), x, 0)
        for y, branch in enumerate(maps, start=1):
            _overlay(ax, grey[x], maps[branch][x], x, y)
    _draw_boxes(ax, boxes, size, [(x, 0) for x in range(faces)])
    _sheet_axes(ax, names, ["picture", *maps])
    _colour_bar(ax, Normalize(0, 1), "Map (share of its highest value)")
    return _finish(ax, title, "Face: true class → predicted class", "Branch")


def _overlay(ax: Axes, grey: Floats, saliency: Floats, x: int, y: int) -> None:
    if saliency.max() <= 0:
        _tile(ax, np.repeat(grey[..., None], 3, axis=2), x, y)
        box = {"facecolor": "white", "edgecolor": "black", "boxstyle": "round,pad=0.2"}
        ax.text(x * _STEP + 0.5, y * _STEP + 0.5, "empty map", ha="center", va="center", fontsize=9, bbox=box)
        return
    _tile(ax, 0.45 * grey[..., None] + 0.55 * colormaps[MAP_COLOURS](saliency)[..., :3], x, y)
    if saliency.min() < 0.5:
        centres = (np.arange(len(saliency)) + 0.5) / len(saliency)
        at = (x * _STEP + centres, y * _STEP + centres)
        for colour, width in (("black", 2.6), ("white", 1.2)):  # readable on light and dark
            ax.contour(*at, saliency, levels=[0.5], colors=colour, linewidths=width)


def plot_class_maps(
    averages: Mapping[str, Floats],
    labels: Sequence[str],
    boxes: Mapping[str, Floats] | None = None,
    ax: Axes | None = None,
    title: str = "Average map by predicted class",
) -> Axes:
    """One row per branch, one column per class: average maps (C, S, S), all in one scale of colours.

    A class without images (NaN) is left blank. `boxes` are (C, 4) per part of the face, the classes' average boxes.
    """
    ax = _axes(ax, (1.25 * len(labels) + 2.2, 1.25 * len(averages) + 1.3))
    size = next(iter(averages.values())).shape[-1]
    scale = Normalize(0, max(float(np.nanmax(values)) for values in averages.values()))
    for y, values in enumerate(averages.values()):
        for x, mean in enumerate(values):
            if np.isfinite(mean).all():
                _tile(ax, colormaps[MAP_COLOURS](scale(mean))[..., :3], x, y)
    seen = [(x, y) for y, values in enumerate(averages.values()) for x in range(len(labels)) if _finite(values[x])]
    _draw_boxes(ax, boxes, size, seen)
    _sheet_axes(ax, labels, list(averages))
    _colour_bar(ax, scale, "Mean map value")
    return _finish(ax, title, "Predicted class", "Branch")


def _finite(values: Floats) -> bool:
    return bool(np.isfinite(values).all())


def _tile(ax: Axes, image: Floats, x: int, y: int) -> None:
    left, top = x * _STEP, y * _STEP
    ax.imshow(np.clip(image, 0, 1), extent=(left, left + 1, top + 1, top), interpolation="nearest")


def _draw_boxes(ax: Axes, boxes: Mapping[str, Floats] | None, size: int, places: Sequence[tuple[int, int]]) -> None:
    """Boxes of the parts of the face on tiles at `places` (column, row), and their legend above the sheet."""
    if not boxes:
        return
    for part, line in BOX_LINES.items():
        for x, y in places:
            x0, y0, x1, y1 = boxes[part][x] / size
            corner = (x * _STEP + x0, y * _STEP + y0)
            for colour, width in (("black", 2.4), ("white", 1.2)):
                ax.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, ec=colour, lw=width, ls=line))
    handles = [Line2D([], [], color="black", ls=line, lw=1.6, label=part) for part, line in BOX_LINES.items()]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, frameon=False, fontsize="small")


def _sheet_axes(ax: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    ax.set_xlim(-0.02, (len(columns) - 1) * _STEP + 1.02)
    ax.set_ylim((len(rows) - 1) * _STEP + 1.02, -0.02)
    ax.set_xticks([x * _STEP + 0.5 for x in range(len(columns))], columns)
    ax.set_yticks([y * _STEP + 0.5 for y in range(len(rows))], rows)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _colour_bar(ax: Axes, scale: Normalize, label: str) -> None:
    ax.figure.colorbar(ScalarMappable(scale, MAP_COLOURS), ax=ax, label=label, shrink=0.8, pad=0.02)


def plot_removal(
    curves: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Removing parts of the picture",
    measure: str = "probability",
) -> Axes:
    """Probability of the explained class, or "accuracy", against the removed share; one line per kind of removal.

    `curves` is of `faithfulness.removal_table`. The more a line falls, the more the network needed what was removed.
    """
    ax = _axes(ax, (6.6, 4.2))
    low, high = ("ci_low", "ci_high") if measure == "probability" else ("acc_low", "acc_high")
    for index, kind in enumerate((SALIENT, OTHER, RANDOM)):
        rows = curves[curves["kind"] == kind]
        ax.errorbar(
            100 * rows["removed"] + 0.5 * (index - 1),  # side by side, so that intervals can be told apart
            100 * rows[measure],
            yerr=100 * _errors(rows[measure], rows[low], rows[high]),
            fmt=MARKERS[index],
            linestyle=LINES[index],
            color=_colour(index),
            capsize=3,
            label=kind,
        )
    ax.set_ylim(0, 102)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title="removed by", title_fontsize="small")
    name = "Probability of the explained class (%)" if measure == "probability" else "Accuracy (%)"
    return _finish(ax, title, "Removed share of the picture (%)", name)


def plot_measures(
    data: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Measures by branch",
    x: str = "Value",
    y: str = "Measure",
    reference: tuple[float, str] | None = None,
) -> Axes:
    """Points with intervals, one row per `row`, one marker per `series`; several seeds lie beside each other.

    `data` has the columns row, series, value, ci_low, ci_high; `reference` is a value at which a line is drawn, and
    its name.
    """
    names, kinds = list(dict.fromkeys(data["row"])), list(dict.fromkeys(data["series"]))
    slots = [(kind, n) for kind in kinds for n in range(data[data["series"] == kind].groupby("row").size().max())]
    ax = _axes(ax, (7.4, 1.3 + (0.3 + 0.11 * len(slots)) * len(names)))
    step = 0.76 / max(1, len(slots))
    for place, (kind, n) in enumerate(slots):
        rows = data[(data["series"] == kind) & (data.groupby(["series", "row"]).cumcount() == n)]
        index = kinds.index(kind)
        ax.errorbar(
            rows["value"],
            [names.index(name) + (place - (len(slots) - 1) / 2) * step for name in rows["row"]],
            xerr=_errors(rows["value"], rows["ci_low"], rows["ci_high"]),
            fmt=MARKERS[index % len(MARKERS)],
            color=_colour(index),
            capsize=3,
            label=str(kind) if n == 0 else None,
        )
    if reference is not None:
        ax.axvline(reference[0], color=COLOURS["black"], linestyle=LINES[1], linewidth=1.2, label=reference[1])
    for border in range(1, len(names)):
        ax.axhline(border - 0.5, color="#dddddd", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _finish(ax, title, x, y)
