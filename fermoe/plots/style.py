"""One look for every figure: palette, order and names for people, forest plots and sheets.

Okabe–Ito colours, which colour-blind readers can tell apart, always doubled by a marker, hatch or line style so
that a grey print can be read too. Every figure has a title, and axes name their units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from fermoe.data.datasets import Dataset
from fermoe.errors import UserError
from fermoe.network.model import SIZE_TITLES
from fermoe.network.variants import VARIANTS

COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "grey": "#999999",
    "black": "#000000",
}
"""The Okabe–Ito palette, by name, in the order in which series take it; its yellow is too faint on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")
LINES = ("-", "--", "-.", ":")
SHARP = 2
"""Dots of a saved figure for each of a screen's."""
TALLEST = 0.8
"""Inches that the marks of one row of a forest take at most."""
LONGEST_BESIDE = 32
"""Letters of a forest's longest series name; longer ones go below, for beside it they would take the marks' width."""
STEP = 1.06
"""From one tile to the next: a tile has the side 1. Column x and row y of a sheet begin at (x · STEP, y · STEP)."""


class _Titles(Mapping[str, str]):
    """The titles of the variants as they are now: a new entry has its name and place at once."""

    def __getitem__(self, variant: str) -> str:
        return VARIANTS[variant].title

    def __iter__(self) -> Iterator[str]:
        return iter(VARIANTS)

    def __len__(self) -> int:
        return len(VARIANTS)


VARIANT_NAMES = _Titles()
BRANCH_NAMES = {"cnn1": "extractor 1", "cnn2": "extractor 2", "resnet": "ResNet"}
MIXTURE_NAMES = {"cnn": "mixture on extractor 1", "expression": "mixture on the fusion", "both": "both mixtures"}
PROTOCOL_NAMES = {"published": "as published", "audited": "audited"}
CLASS_ORDER = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
CLASS_NAMES = {name: name for name in CLASS_ORDER} | {"angry": "anger", "happiness": "happy", "sadness": "sad"}
MEASURE_NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}

NAMES: dict[str, Mapping[str, str]] = {
    **dict.fromkeys(("variant", "baseline", "alternative"), VARIANT_NAMES),
    **{"branch": BRANCH_NAMES, "mixture": MIXTURE_NAMES, "protocol": PROTOCOL_NAMES},
    **{"measure": MEASURE_NAMES, "model": SIZE_TITLES},
    **dict.fromkeys(("class", "label", "emotion", "true", "predicted"), CLASS_NAMES),
}
"""By column of a table: what figures call its values, in the order in which they show them."""


def _name(names: Mapping[str, str], value: str) -> str:
    return names.get(value, value)


variant_name = partial(_name, VARIANT_NAMES)
branch_name = partial(_name, BRANCH_NAMES)
mixture_name = partial(_name, MIXTURE_NAMES)
measure_name = partial(_name, MEASURE_NAMES)
protocol_name = partial(_name, PROTOCOL_NAMES)
size_name = partial(_name, SIZE_TITLES)
class_name = partial(_name, CLASS_NAMES)
"""What figures call a value; what has no name for people keeps its own."""


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the values of the columns and index levels of `NAMES` as figures call them."""
    named = table.assign(**{name: _named(table[name]) for name in table.columns if name in NAMES})
    for axis in ("index", "columns"):
        for level in NAMES.keys() & set(getattr(table, axis).names):
            named = named.rename(**{axis: NAMES[level]}, level=level)
    return named


def _named(values: pd.Series) -> pd.Series:
    return values.map(partial(_name, NAMES.get(str(values.name), {})))


def places(values: pd.Series) -> pd.Series:
    """The place of each value in the order of its column in `NAMES`; what is not there comes after it, as it comes."""
    named = _named(values)
    order = dict.fromkeys([*NAMES.get(str(values.name), {}).values(), *named])
    return named.map({name: place for place, name in enumerate(order)})


def in_order(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table's rows sorted by the places of these columns' values, the first column first."""
    return table.sort_values(list(columns), key=places, kind="stable")


def classes_in_order(table: pd.DataFrame) -> pd.DataFrame:
    """A table with one row per class: the rows named for people and in their order."""
    return in_order(for_people(table.rename_axis(index="class")), "class")


def colour(place: int) -> str:
    return list(COLOURS.values())[place % len(COLOURS)]


def marker(place: int) -> str:
    """A place beyond the last colour gets the first colour again, but with another marker."""
    return MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]


def variant_place(variant: str) -> int:
    """The variant's place in `VARIANTS`, which gives it one colour, marker and line in every figure."""
    return [*VARIANT_NAMES, variant].index(variant)


def variant_colour(variant: str) -> str:
    return colour(variant_place(variant))


def variant_marker(variant: str) -> str:
    return marker(variant_place(variant))


LOOK: dict[str, Any] = {
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 11,
    "axes.prop_cycle": cycler(color=COLOURS.values()),
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 1.25,
    "grid.color": "#dddddd",
    "hatch.linewidth": 0.6,
    "legend.fontsize": 10,
    "legend.frameon": True,
    "lines.linewidth": 1.5,
    "lines.markeredgewidth": 1.0,
    "lines.markersize": 6,
    "patch.edgecolor": "white",
    "patch.force_edgecolor": True,
    "patch.linewidth": 1.0,
    "xtick.bottom": False,
    "xtick.labelsize": 10,
    "xtick.major.pad": 3.5,
    "ytick.left": False,
    "ytick.labelsize": 10,
    "ytick.major.pad": 3.5,
}


def use_style() -> None:
    """One look for all figures of a process: `LOOK` on matplotlib's copy of seaborn's white grid."""
    plt.style.use(["seaborn-v0_8-whitegrid", LOOK])


def axes_or_new(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """The given axes, or those of a new figure."""
    return ax if ax is not None else plt.subplots(figsize=size)[1]


def finish(ax: Axes, title: str, x: str, y: str) -> Axes:
    ax.set(title=title, xlabel=x, ylabel=y)
    return ax


def slant(ax: Axes) -> None:
    """Turn class names so that each ends under its own tick."""
    plt.setp(ax.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor")


def legend_outside(ax: Axes, **options: Any) -> None:
    """Beside the axes, where it hides nothing however the marks fall; none where nothing has a name."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), **options)


def legend_below(ax: Axes) -> None:
    """Under a figure's only axes, where long names leave the marks their width; the figure grows by a line for each."""
    handles, labels = ax.get_legend_handles_labels()
    figure = cast(Figure, ax.figure)
    figure.set_figheight(figure.get_figheight() + 0.25 * len(labels))
    figure.legend(handles, labels, loc="outside lower center")


def error_bars(value: pd.Series, low: pd.Series, high: pd.Series) -> Any:
    """Distances for `errorbar`; where there is no interval (NaN) no bar is drawn."""
    return np.clip(np.array([value - low, high - value], dtype=float), 0, None)


def grouped_bars(ax: Axes, table: pd.DataFrame, **options: Any) -> list[BarContainer]:
    """One group of bars per row of the table, one colour and hatch per column."""
    look = {"kind": "bar", "width": 0.8, "rot": 0, "color": [*COLOURS.values()], "edgecolor": "white", "legend": False}
    table.plot(ax=ax, **look | options)
    drawn = [container for container in ax.containers if isinstance(container, BarContainer)]
    for bars, hatch in zip(drawn, HATCHES, strict=False):
        plt.setp(bars.patches, hatch=hatch)
    ax.grid(axis="y" if options.get("kind") == "barh" else "x", visible=False)
    return drawn


def heat_map(
    ax: Axes,
    values: pd.DataFrame,
    label: str,
    highest: float | None = 100,
    lowest: float = 0,
    colours: str = "Blues",
) -> None:
    """Values from `lowest` to `highest` in shades of a colour, each written in its cell; NaN is left blank."""
    import seaborn as sns  # here: it loads SciPy, which a training does without

    look: dict[str, Any] = {"annot": True, "fmt": ".0f", "annot_kws": {"size": 9}, "linewidths": 0.5, "cmap": colours}
    sns.heatmap(values, ax=ax, vmin=lowest, vmax=highest, cbar_kws={"label": label}, **look)
    ax.tick_params(axis="both", rotation=0)
    ax.grid(visible=False)


def forest(
    data: pd.DataFrame,
    value: str,
    row: str,
    series: str | Sequence[str] = (),
    ax: Axes | None = None,
    title: str = "",
    x: str = "",
    y: str = "",
    *,
    interval: tuple[str, str] | None = ("ci_low", "ci_high"),
    scale: float = 1,
    reference: tuple[float, str] | None = None,
) -> Axes:
    """A forest plot: one row per value of the column `row`, from top to bottom, and a mark of its own per series.

    Rows and series stand in the order of `data`, or in that of `NAMES` where their columns have one, and are
    named for people. Two columns of series make one series per pair: the first gives the colour, the second the
    marker. Without series, variants in rows keep their colours. Marks of one row and series (seeds) lie beside each
    other, and the marks of a row around its middle. The legend stands beside the axes; in a figure of its own, under
    them where a series has a long name (`LONGEST_BESIDE`).

    Args:
        data: one point per row; a point without an interval (NaN) gets no bar, one without a value is not drawn.
        interval: the columns with the ends of the intervals.
        scale: what the values are multiplied by, 100 for shares in per cent; `reference` is not.
        reference: a value at which a line is drawn, and its name in the legend ("" for none).
    """
    series = [series] if isinstance(series, str) else list(series)
    data = for_people(data).reset_index(drop=True)
    height, step = heights(data, row, series)
    names = in_order(data, row)[row].astype(str).unique()
    width = 5.2 + 0.08 * max(map(len, names), default=0) + (2 if series else 0)
    alone = ax is None
    ax = axes_or_new(ax, (width, max(2.4, 1.4 + len(names) * (0.24 + min(TALLEST, 0.08 / step)))))
    if reference is not None:
        ax.axvline(reference[0], label=reference[1] or None, color="black", linestyle="--", linewidth=1.2)
    coloured = series or [name for name in (row,) if NAMES.get(name) is VARIANT_NAMES]
    looks = pd.DataFrame({name: places(data[name]) for name in coloured}, index=data.index)
    for look, group in looks.groupby(coloured) if coloured else [((0,), looks)]:
        mine = data.loc[group.index]
        bars = scale * error_bars(*(mine[name] for name in (value, *interval))) if interval else None
        label = ": ".join(mine[series].iloc[0].astype(str)) or None
        mark, tone = marker(look[-1]), colour(look[0])
        ax.errorbar(scale * mine[value], height[mine.index], xerr=bars, fmt=mark, color=tone, capsize=3, label=label)
    for border in range(1, len(names) if step < 0.7 else 0):
        ax.axhline(border - 0.5, color="#dddddd", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(max(1, len(names)) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.06)
    longest = max(map(len, ax.get_legend_handles_labels()[1]), default=0)
    (legend_below if alone and longest > LONGEST_BESIDE else legend_outside)(ax)
    return finish(ax, title, x, y)


def heights(data: pd.DataFrame, row: str, series: Sequence[str]) -> tuple[pd.Series, float]:
    """Where the points of a forest stand, row 0 at height 0, and how far apart those of one row are."""
    number = places(data[row]).rank(method="dense") - 1
    place = in_order(data, row, *series).groupby(row).cumcount().reindex(data.index)
    many = place.groupby(data[row]).transform("size")
    step = 0.76 / max(1, many.max())
    return number + (place - (many - 1) / 2) * step, step


def refuse_photographs(faces: Dataset) -> None:
    if not faces.drawn:
        raise UserError("photographs are not drawn into figures", fix="use the synthetic dataset for pictures")


def drawn_faces(faces: Dataset) -> list[np.ndarray]:
    """The pictures of drawn faces, uint8 (H, W, 3) or (H, W); photographs are refused."""
    refuse_photographs(faces)
    return [faces.read(i) for i in range(len(faces))]


def sheet(
    tiles: Sequence[Sequence[Any]], columns: Sequence[str], rows: Sequence[str], ax: Axes | None, side: float = 0.9
) -> Axes:
    """Rows of pictures, (S, S, 3) RGB or (S, S) grey, uint8 or from 0 to 1; None and what a row lacks stay blank.

    `side` is a tile's in inches, where the sheet makes its own figure. A picture that is not square is stretched.
    """
    ax = axes_or_new(ax, (max(6, side * len(columns) + 2.6), side * len(rows) + 1.6))
    for y, row in enumerate(tiles):
        for x, tile in enumerate(row):
            if tile is not None:
                shown = tile if tile.dtype == np.uint8 else np.clip(tile, 0, 1)
                shown = shown if shown.ndim == 3 else np.stack([shown] * 3, -1)
                ax.imshow(shown, extent=(x * STEP, x * STEP + 1, y * STEP + 1, y * STEP))
    ax.set_xlim(-0.02, (len(columns) - 1) * STEP + 1.02)
    ax.set_ylim((len(rows) - 1) * STEP + 1.02, -0.02)
    ax.set_xticks([x * STEP + 0.5 for x in range(len(columns))], columns)
    ax.set_yticks([y * STEP + 0.5 for y in range(len(rows))], rows)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def mark_box(ax: Axes, column: int, row: int, box: Sequence[float], **line: Any) -> None:
    """A box (x0, y0, x1, y1), as shares of the picture, on the tile of that column and row."""
    x0, y0, x1, y1 = np.clip(box, 0, 1)
    ax.add_patch(Rectangle((column * STEP + x0, row * STEP + y0), x1 - x0, y1 - y0, fill=False, **line))


def name_lines(ax: Axes, lines: Mapping[str, Mapping[str, Any]]) -> None:
    """A legend of what is drawn on the tiles, between the title and the sheet."""
    handles = [Line2D([], [], label=name, **line) for name, line in lines.items()]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 0.99), ncols=len(lines), frameon=False)
    ax.set_title(ax.get_title(loc="left"), loc="left", pad=26)


def png(figure: Figure, photo: bool = False) -> bytes:
    """The figure as a PNG without the date or the software's version: the same figure is the same bytes.

    It has two dots for every point of a screen, so that it stays sharp when it is enlarged. In a `photo`, of faces or
    maps, colours between those of the palette are mixed of neighbouring dots (`with_palette`).
    """
    content = BytesIO()
    figure.savefig(content, format="png", dpi=SHARP * figure.dpi, metadata={"Software": None})
    return with_palette(content.getvalue(), photo)


def with_palette(png: bytes, mixed: bool = False) -> bytes:
    """The same picture with 256 colours of its own: a figure needs no more, and takes a third of the bytes or less.

    `mixed` makes the colours in between of neighbouring dots, so that shades have no steps.
    """
    content = BytesIO()
    picture = Image.open(BytesIO(png), formats=["PNG"]).convert("RGB")
    reduced = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    if mixed:
        reduced = picture.quantize(256, palette=reduced, dither=Image.Dither.FLOYDSTEINBERG)
    reduced.save(content, "PNG", optimize=True)
    return content.getvalue()
