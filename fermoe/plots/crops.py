"""Figures of what cropping does: `plot_x(data, ax=None) → ax`. Only synthetic faces are drawn."""

from __future__ import annotations

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from fermoe.data.datasets import Dataset
from fermoe.evidence.crops import detector_boxes
from fermoe.plots.data import _GAP, SIDE, _require_drawn, _show_sheet, _tile
from fermoe.plots.style import COLOURS, MARKERS

BOXES = {
    "true face": ("green", "-"),
    "BlazeFace": ("orange", "--"),
    "authors' rule": ("vermillion", ":"),
}
"""How the three boxes are drawn: colour and line."""


def plot_crop_gallery(
    dataset: Dataset, detections: pd.DataFrame, ax: Axes | None = None, title: str = "What the crop keeps"
) -> Axes:
    """Three rows, one column per image: the original, the boxes on it, and what the network would see.

    `detections` are of `detect_faces`, in the dataset's order. Where nothing was detected the whole image is used.
    """
    _require_drawn(dataset)
    pictures, table = [dataset.read(i) for i in range(len(dataset))], dataset.table
    originals, crops = [_tile(image) for image in pictures], []
    for whole, (x0, y0, x1, y1) in zip(pictures, detections[["x0", "y0", "x1", "y1"]].to_numpy(), strict=True):
        image = whole[y0:y1, x0:x1]
        image = cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        crops.append(np.stack([image] * 3, -1) if image.ndim == 2 else image)
    if ax is None:  # wider than a contact sheet, for the legend beside the title
        _, ax = plt.subplots(figsize=(1.1 * len(dataset) + 1.2, 4.4))
    ax = _show_sheet(ax, [originals, originals, crops], ["original", "boxes", "crop"])
    found = (detections["outcome"] == "detected").to_numpy()
    boxes = {
        "true face": table[["face_x0", "face_y0", "face_x1", "face_y1"]].to_numpy(dtype=float),
        "BlazeFace": detector_boxes(detections),
        "authors' rule": detections[["x0", "y0", "x1", "y1"]].to_numpy(dtype=float),
    }
    step = SIDE + _GAP
    for name, (colour, line) in BOXES.items():
        for column, box in enumerate(boxes[name]):
            if not found[column] and name != "true face":
                continue
            x0, y0, x1, y1 = np.clip(box * SIDE / table["size"].iloc[column], 0, SIDE)
            at = (x0 + column * step - 0.5, y0 + step - 0.5)
            ax.add_patch(Rectangle(at, x1 - x0, y1 - y0, fill=False, color=COLOURS[colour], ls=line, lw=1.8))
    handles = [Line2D([], [], color=COLOURS[c], ls=line, lw=1.8, label=name) for name, (c, line) in BOXES.items()]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=3, frameon=False, fontsize="small")
    places = [str(i + 1) + ("" if ok else "\nno face\nfound") for i, ok in enumerate(found)]
    ax.set_xticks(ax.get_xticks(), places)
    ax.set(title=title, xlabel="Example", ylabel="Step")
    return ax


def plot_rates(
    data: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Faces found",
    value: str = "value",
    series: str | None = None,
    x: str = "Images with a detected face (%)",
    y: str = "",
    whole_axis: bool = True,
) -> Axes:
    """Rates with 95 % intervals, one row per `value`, one marker per `series`.

    `data` has the columns rate, ci_low, ci_high (shares), `value` and `series`. The axis reaches from 0 to 100 %, or
    as far as the intervals do where `whole_axis` is False.
    """
    values = list(dict.fromkeys(data[value]))
    kinds = list(dict.fromkeys(data[series])) if series else [""]
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 1.3 + 0.3 * len(values)))
    gap = 0.5 / len(kinds)
    for index, kind in enumerate(kinds):
        rows = data[data[series] == kind] if series else data
        place = [values.index(v) + (index - (len(kinds) - 1) / 2) * gap for v in rows[value]]
        ax.errorbar(
            100 * rows["rate"],
            place,
            xerr=100 * np.clip([rows["rate"] - rows["ci_low"], rows["ci_high"] - rows["rate"]], 0, None),
            fmt=MARKERS[index],
            color=list(COLOURS.values())[index],
            capsize=3,
            label=str(kind),
        )
    ax.set_yticks(range(len(values)), [str(v) for v in values])
    ax.set_ylim(len(values) - 0.5, -0.5)
    if whole_axis:
        ax.set_xlim(-2, 102)
    ax.grid(axis="y", visible=False)
    if series:
        ax.legend(loc="best")
    ax.set(title=title, xlabel=x, ylabel=y or value.capitalize())
    return ax
