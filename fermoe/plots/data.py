"""Figures of a dataset: its faces (drawn ones only), class balance and colours. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fermoe.data.datasets import Dataset
from fermoe.plots import style


def plot_class_balance(counts: pd.DataFrame, ax: Axes | None = None, title: str = "Images per class") -> Axes:
    """Bars of images per label, one hatch per split; `counts` has the columns label, split, images."""
    images = style.for_people(counts).groupby(["label", "split"])["images"]
    table = images.sum().unstack(fill_value=0)
    order = [split for split in dict.fromkeys(["train", "validation", "test", *table.columns]) if split in table]
    ax = style.axes_or_new(ax)
    style.grouped_bars(ax, style.classes_in_order(table[order]))
    style.slant(ax)
    ax.set_ylim(0, 1.2 * table.to_numpy().max())  # room for the legend above the bars
    ax.legend(loc="upper right", ncols=len(order))
    return style.finish(ax, title, "Class", "Images")


def contact_rows(dataset: Dataset, per_label: int = 6) -> Dataset:
    """The first `per_label` images of each label, in label order."""
    labels = dataset.table["label"]
    return dataset.subset(labels[labels.groupby(labels).cumcount() < per_label].sort_values(kind="stable").index)


def plot_contact_sheet(dataset: Dataset, ax: Axes | None = None, title: str = "Synthetic faces") -> Axes:
    """One row of pictures per emotion; see `contact_rows`."""
    emotions = dataset.table["emotion"].map(style.class_name)
    faces = pd.Series(style.drawn_faces(dataset), index=emotions, dtype=object)
    names = style.in_order(dataset.table, "emotion")["emotion"].map(style.class_name).unique()
    tiles = [faces[faces.index == name].tolist() for name in names]
    examples = [str(number + 1) for number in range(max(map(len, tiles)))]
    return style.finish(style.sheet(tiles, examples, names, ax), title, "Example", "Emotion")


def plot_colour_histograms(data: pd.DataFrame, ax: Axes | None = None, title: str = "Pixel values") -> Axes:
    """One line per colour channel; `data` is of `audit.colour_histograms`."""
    ax = style.axes_or_new(ax)
    colours = {"red": "vermillion", "green": "green", "blue": "blue", "grey": "black"}
    for index, (channel, rows) in enumerate(data.groupby("channel", sort=False)):
        colour, line = style.COLOURS[colours[str(channel)]], style.LINES[index % len(style.LINES)]
        ax.plot(rows["value"], 100 * rows["share"], line, color=colour, label=str(channel))
    ax.set_xlim(0, 255)
    ax.set_ylim(bottom=0)
    ax.legend(loc="best")
    return style.finish(ax, title, "Pixel value (0 to 255)", "Share of the pixels (%)")


def plot_distribution(
    named: dict[str, np.ndarray], ax: Axes | None = None, title: str = "Distribution", x: str = "Value", bins: int = 20
) -> Axes:
    """Histograms of one or more named vectors over common bins, as shares of each."""
    ax = style.axes_or_new(ax)
    edges = np.histogram_bin_edges(np.concatenate(list(named.values())), bins)
    for index, (name, values) in enumerate(named.items()):
        share = np.full(len(values), 100 / max(1, len(values)))
        edge = style.COLOURS[("blue", "vermillion", "green")[index % 3]]
        _, _, bars = ax.hist(values, edges.tolist(), weights=share, histtype="stepfilled", label=name)
        face = "none" if index else style.COLOURS["sky"]
        plt.setp(bars, facecolor=face, edgecolor=edge, hatch=style.HATCHES[index], linewidth=1.4)
    if len(named) > 1:
        ax.legend(loc="best")
    return style.finish(ax, title, x, "Share of the images (%)")


def plot_skin_share(
    tones: np.ndarray, shares: np.ndarray, ax: Axes | None = None, title: str = "Skin rule against true skin tone"
) -> Axes:
    """Each image's share of skin-coloured pixels against its true skin tone, with medians of eight bins."""
    ax = style.axes_or_new(ax)
    ax.plot(tones, 100 * shares, ".", color=style.COLOURS["sky"], ms=4, label="one face")
    eighth = np.clip(8 * tones, 0, 7).astype(int)
    medians = pd.Series(100 * shares).groupby(eighth).median()
    ax.plot((medians.index + 0.5) / 8, medians, "s-", color=style.COLOURS["vermillion"], label="median of an eighth")
    style.legend_outside(ax)
    ax.set_ylim(-2, 102)
    return style.finish(ax, title, "True skin tone (0 lightest, 1 darkest)", "Pixels in the skin range (%)")
