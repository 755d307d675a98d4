"""One look for every figure and printed table: palette, markers, order, and names for people.

Okabe–Ito colours, which colour-blind readers can tell apart, always doubled by a marker, hatch or line style so
that a grey print can be read too. Every figure has a title, and axes name their units.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from PIL import Image

from fermoe.files import atomic

COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}
"""The Okabe–Ito palette, by name, in the order in which series take it."""


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")


LINES = ("-", "--", "-.", ":")


def use_style() -> None:
    """One look for all figures of a process."""
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette=list(COLOURS.values()),
        rc={
            "figure.figsize": (7.0, 4.2),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "savefig.dpi": 100,
            "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 9.5,
            "legend.frameon": True,
            "grid.color": "#dddddd",
            "axes.edgecolor": "#888888",
            "hatch.linewidth": 0.6,
            "svg.hashsalt": "fermoe",
        },
    )


def save_figure(figure: Figure, path: str | Path) -> None:
    """Save a PNG of 256 colours without the date or the software's version: the same figure is the same bytes."""
    content = BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    with atomic(path) as temporary:
        temporary.write_bytes(with_palette(content.getvalue()))


def text_table(table: pd.DataFrame, digits: int = 2) -> HTML:
    """A table of sentences for a notebook: whole cells, left-aligned, the same bytes every time."""
    style = table.style.format(precision=digits).hide(axis="index").set_uuid("table")
    style = style.set_properties(**{"text-align": "left", "white-space": "normal", "vertical-align": "top"})
    headings = {"selector": "th", "props": [("text-align", "left")]}
    return HTML(style.set_table_styles([headings]).to_html())


def _axes(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """The given axes, or those of a new figure."""
    return ax if ax is not None else plt.subplots(figsize=size)[1]


def _finish(ax: Axes, title: str, x: str, y: str) -> Axes:
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return ax


def _slant(ax: Axes) -> None:
    """Turn class names so that each ends under its own tick."""
    plt.setp(ax.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")


def _colour(index: int) -> str:
    return list(COLOURS.values())[index % len(COLOURS)]


def _errors(value: pd.Series, low: pd.Series, high: pd.Series) -> Any:
    """Distances for `errorbar`; where there is no interval (NaN) no bar is drawn."""
    return np.clip(np.array([value - low, high - value], dtype=float), 0, None)


def _hatch(ax: Axes) -> None:
    for index, container in enumerate(c for c in ax.containers if isinstance(c, BarContainer)):
        for bar in container:
            bar.set_hatch(HATCHES[index % len(HATCHES)])


def with_palette(png: bytes) -> bytes:
    """The same picture with 256 colours of its own: a figure needs no more, and takes a third of the bytes or less."""
    content = BytesIO()
    reduced = Image.open(BytesIO(png)).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(content, "PNG", optimize=True)
    return content.getvalue()


def in_percent(table: pd.DataFrame, *columns: str, digits: int = 2) -> pd.DataFrame:
    """The table with these columns of shares in per cent, and every float rounded: for printing."""
    return table.assign(**{name: 100 * table[name] for name in columns}).round(digits)
