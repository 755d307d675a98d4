"""Figures of faces and of what happens to them before the network: `plot_x(data, ax=None, …) → ax`.

Only synthetic faces are drawn: pictures of real people do not belong into a repository.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from fermoe.crop_study import detector_boxes
from fermoe.errors import UserError
from fermoe.pictures import picture
from fermoe.plots import COLOURS, HATCHES, LINES, MARKERS

SIDE = 128
"""Pixels of a picture in a sheet; smaller ones are enlarged without smoothing."""
_GAP = 6

BOXES = {
    "true face": ("green", "-"),
    "BlazeFace": ("orange", "--"),
    "authors' rule": ("vermillion", ":"),
}
"""How the three boxes are drawn: colour and line."""


def contact_rows(table: pd.DataFrame, per_label: int = 6) -> pd.DataFrame:
    """The first `per_label` images of each label, in label order."""
    chosen = table[table.groupby("label").cumcount() < per_label].sort_values("label", kind="stable")
    chosen.attrs = table.attrs
    return chosen


def _tile(row: dict[str, object]) -> np.ndarray:
    image = picture(row, 1 if row["framing"] == "tight" else 3)
    return _enlarged(np.stack([image] * 3, -1) if image.ndim == 2 else image)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def _sheet(tiles: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of tiles with white gaps; short rows are filled up with white."""
    columns = max(len(row) for row in tiles)
    step = SIDE + _GAP
    sheet = np.full((len(tiles) * step - _GAP, columns * step - _GAP, 3), 255, dtype=np.uint8)
    for y, row in enumerate(tiles):
        for x, tile in enumerate(row):
            sheet[y * step : y * step + SIDE, x * step : x * step + SIDE] = tile
    return sheet


def _show_sheet(ax: Axes | None, tiles: Sequence[Sequence[np.ndarray]], names: Sequence[str]) -> Axes:
    columns = max(len(row) for row in tiles)
    if ax is None:
        _, ax = plt.subplots(figsize=(0.85 * columns + 1.2, 0.85 * len(tiles) + 0.8))
    step, middle = SIDE + _GAP, (SIDE - 1) / 2
    ax.imshow(_sheet(tiles))
    ax.set_xticks([x * step + middle for x in range(columns)], [str(x + 1) for x in range(columns)])
    ax.set_yticks([y * step + middle for y in range(len(tiles))], names)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _require_drawn(table: pd.DataFrame) -> None:
    if "framing" not in table:
        raise UserError("photographs are not drawn into figures", fix="use the synthetic dataset for pictures")


def plot_contact_sheet(table: pd.DataFrame, ax: Axes | None = None, title: str = "Synthetic faces") -> Axes:
    """One row of pictures per emotion, in the order of the table's labels; see `contact_rows`."""
    _require_drawn(table)
    labels = [label for label in table.attrs["labels"] if (table["emotion"] == label).any()]
    tiles = [[_tile(row) for row in table[table["emotion"] == label].to_dict("records")] for label in labels]
    ax = _show_sheet(ax, tiles, labels)
    ax.set(title=title, xlabel="Example", ylabel="Emotion")
    return ax


def plot_crop_gallery(
    table: pd.DataFrame, detections: pd.DataFrame, ax: Axes | None = None, title: str = "What the crop keeps"
) -> Axes:
    """Three rows, one column per image: the original, the boxes on it, and what the network would see.

    `detections` are of `detect_faces`, in the table's order. Where nothing was detected the whole image is used.
    """
    _require_drawn(table)
    rows = table.to_dict("records")
    channels = table.attrs["channels"]
    originals, crops = [_tile(row) for row in rows], []
    for row, (x0, y0, x1, y1) in zip(rows, detections[["x0", "y0", "x1", "y1"]].to_numpy(), strict=True):
        image = picture(row, channels)[y0:y1, x0:x1]
        image = cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        crops.append(np.stack([image] * 3, -1) if image.ndim == 2 else image)
    if ax is None:  # wider than a contact sheet, for the legend beside the title
        _, ax = plt.subplots(figsize=(1.1 * len(rows) + 1.2, 4.4))
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
            x0, y0, x1, y1 = np.clip(box * SIDE / rows[column]["size"], 0, SIDE)
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


def plot_colour_histograms(data: pd.DataFrame, ax: Axes | None = None, title: str = "Pixel values") -> Axes:
    """One line per colour channel; `data` is of `audit.colour_histograms`."""
    if ax is None:
        _, ax = plt.subplots()
    colours = {"red": "vermillion", "green": "green", "blue": "blue", "grey": "black"}
    for index, (channel, rows) in enumerate(data.groupby("channel", sort=False)):
        line = LINES[index % len(LINES)]
        ax.plot(rows["value"], 100 * rows["share"], line, color=COLOURS[colours[str(channel)]], label=str(channel))
    ax.set_xlim(0, 255)
    ax.set_ylim(bottom=0)
    ax.legend(loc="best")
    ax.set(title=title, xlabel="Pixel value (0 to 255)", ylabel="Share of the pixels (%)")
    return ax


def plot_distribution(
    named: dict[str, np.ndarray],
    ax: Axes | None = None,
    title: str = "Distribution",
    x: str = "Value",
    bins: int | Sequence[float] = 20,
) -> Axes:
    """Histograms of one or more named vectors over common bins, as shares of each."""
    if ax is None:
        _, ax = plt.subplots()
    edges = np.histogram_bin_edges(np.concatenate(list(named.values())), bins)
    for index, (name, values) in enumerate(named.items()):
        ax.hist(
            values,
            edges.tolist(),
            weights=np.full(len(values), 100 / max(1, len(values))),
            histtype="stepfilled",
            facecolor="none" if index else COLOURS["sky"],
            edgecolor=[COLOURS["blue"], COLOURS["vermillion"], COLOURS["green"]][index % 3],
            hatch=HATCHES[index],
            linewidth=1.4,
            label=name,
        )
    if len(named) > 1:
        ax.legend(loc="best")
    ax.set(title=title, xlabel=x, ylabel="Share of the images (%)")
    return ax


def plot_skin_share(
    tones: np.ndarray, shares: np.ndarray, ax: Axes | None = None, title: str = "Skin rule against true skin tone"
) -> Axes:
    """Each image's share of skin-coloured pixels against its true skin tone, with medians of eight bins."""
    if ax is None:
        _, ax = plt.subplots()
    ax.plot(tones, 100 * shares, ".", color=COLOURS["sky"], ms=4, label="one face")
    edges = np.linspace(0, 1, 9)
    bins = np.clip(np.digitize(tones, edges) - 1, 0, 7)
    filled = [b for b in range(8) if (bins == b).any()]
    middles = (edges[:-1] + edges[1:])[filled] / 2
    medians = [100 * np.median(shares[bins == b]) for b in filled]
    ax.plot(middles, medians, "s-", color=COLOURS["vermillion"], label="median of an eighth")
    ax.legend(loc="best")
    ax.set_ylim(-2, 102)
    ax.set(title=title, xlabel="True skin tone (0 lightest, 1 darkest)", ylabel="Pixels in the skin range (%)")
    return ax
