"""Figures of a dataset: its faces (drawn ones only), class balance and colours. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fermoe.data.datasets import Dataset
from fermoe.errors import UserError
from fermoe.plots.style import COLOURS, HATCHES, LINES, _axes, _colour, _finish, _hatch, _slant


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


SIDE = 128
"""Pixels of a picture in a sheet; smaller ones are enlarged without smoothing."""


_GAP = 6


def contact_rows(dataset: Dataset, per_label: int = 6) -> Dataset:
    """The first `per_label` images of each label, in label order."""
    labels = dataset.table["label"]
    return dataset.subset(labels[labels.groupby(labels).cumcount() < per_label].sort_values(kind="stable").index)


def _tile(image: np.ndarray) -> np.ndarray:
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


def _require_drawn(dataset: Dataset) -> None:
    if not dataset.drawn:
        raise UserError("photographs are not drawn into figures", fix="use the synthetic dataset for pictures")


def plot_contact_sheet(dataset: Dataset, ax: Axes | None = None, title: str = "Synthetic faces") -> Axes:
    """One row of pictures per emotion, in the order of the dataset's labels; see `contact_rows`."""
    _require_drawn(dataset)
    shown = {label: np.flatnonzero(dataset.table["emotion"] == label) for label in dataset.labels}
    labels = [label for label, rows in shown.items() if len(rows)]
    tiles = [[_tile(dataset.read(row)) for row in shown[label]] for label in labels]
    ax = _show_sheet(ax, tiles, labels)
    ax.set(title=title, xlabel="Example", ylabel="Emotion")
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
