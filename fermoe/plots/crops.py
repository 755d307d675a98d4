"""Figures of what cropping does: `plot_x(data, ax=None) → ax`. Only synthetic faces are drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fermoe.data.datasets import Dataset
from fermoe.evidence.crops import detector_boxes
from fermoe.plots import style

BOXES = {
    "true face": {"color": style.COLOURS["green"], "ls": "-", "lw": 1.8},
    "BlazeFace": {"color": style.COLOURS["orange"], "ls": "--", "lw": 1.8},
    "authors' rule": {"color": style.COLOURS["vermillion"], "ls": ":", "lw": 1.8},
}
"""How the three boxes are drawn."""


def plot_crop_gallery(
    dataset: Dataset, detections: pd.DataFrame, ax: Axes | None = None, title: str = "What the crop keeps"
) -> Axes:
    """Three rows, one column per image: the original, the boxes on it, and what the network would see.

    `detections` are of `detect_faces`, in the dataset's order. Where nothing was detected the whole image is used.
    """
    originals, table = style.drawn_faces(dataset), dataset.table
    kept = detections[["x0", "y0", "x1", "y1"]].to_numpy()
    crops = [image[y0:y1, x0:x1] for image, (x0, y0, x1, y1) in zip(originals, kept, strict=True)]
    found = (detections["outcome"] == "detected").to_numpy()
    places = [str(i + 1) + ("" if ok else "\nno face\nfound") for i, ok in enumerate(found)]
    ax = style.sheet([originals, originals, crops], places, ["original", "boxes", "crop"], ax, side=1.1)
    boxes = {
        "true face": table[["face_x0", "face_y0", "face_x1", "face_y1"]].to_numpy(dtype=float),
        "BlazeFace": detector_boxes(detections),
        "authors' rule": kept.astype(float),
    }
    for name, line in BOXES.items():
        for column, size in enumerate(table["size"]):
            if found[column] or name == "true face":
                style.mark_box(ax, column, 1, boxes[name][column] / size, **line)
    style.finish(ax, title, "Example", "Step")
    style.name_lines(ax, BOXES)
    return ax


def plot_pipelines(
    face: Dataset,
    detection: pd.DataFrame,
    values: Mapping[str, np.ndarray],
    ax: Axes | None = None,
    title: str = "What the network is given",
) -> Axes:
    """One drawn face, the detector's box and the crop on it, and its crop as every input pipeline hands it on.

    `detection` is the face's row of `detect_faces`, `values` (3, S, S) by pipeline; each is shown from its lowest value
    to its highest, in the order of its channels.
    """
    picture = style.drawn_faces(face)[0]
    handed = [(value - value.min()) / (np.ptp(value) or 1) for value in values.values()]
    tiles = [[picture, *(value.transpose(1, 2, 0) for value in handed)]]
    names = [f"{name}\n{value.min():.1f} to {value.max():.1f}" for name, value in values.items()]
    ax = style.sheet(tiles, ["picture", *names], [""], style.axes_or_new(ax, (1.9 * len(tiles[0]) + 0.6, 4.0)))
    size = face.table["size"].iloc[0]
    kept = detection[["x0", "y0", "x1", "y1"]].to_numpy(dtype=float)
    boxes = {"BlazeFace": detector_boxes(detection)[0], "authors' rule": kept[0]}
    for name, box in boxes.items():
        style.mark_box(ax, 0, 0, box / size, **BOXES[name])
    style.finish(ax, title, "Input pipeline, lowest to highest value", "Face")
    style.name_lines(ax, {name: BOXES[name] for name in boxes})
    return ax


def plot_rates(
    data: pd.DataFrame,
    ax: Axes | None = None,
    title: str = "Faces found",
    value: str = "value",
    series: str | None = None,
    y: str = "",
    whole_axis: bool = True,
) -> Axes:
    """Rates with 95 % intervals, one row per `value`, one marker per `series`.

    `data` has the columns rate, ci_low, ci_high (shares), `value` and `series`. The axis reaches from 0 to 100 %, or
    as far as the intervals do where `whole_axis` is False.
    """
    x, y = "Images with a detected face (%)", y or value.capitalize()
    ax = style.forest(data, "rate", value, series or (), ax, title, x, y, scale=100)
    if whole_axis:
        ax.set_xlim(-2, 102)
    return ax
