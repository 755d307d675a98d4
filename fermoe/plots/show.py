"""A figure in a notebook: shown sharp, with a sentence for who cannot see it, whole titles, and saved where asked."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from fermoe.files import atomic
from fermoe.plots import style

SHORTEST = 12
"""Letters of a line that is not broken further."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure by one of its axes, and the sentence that stands for it."""

    ax: Axes
    alt: str

    @property
    def figure(self) -> Figure:
        figure = self.ax.get_figure(root=True)
        assert figure is not None
        return figure


def described(drawn: Axes | Figure) -> Drawn:
    """A figure with a sentence made of what is written on it: its title, and what its axes say."""
    axes = drawn.axes if isinstance(drawn, Figure) else [drawn]
    ax = axes[0]
    whole = drawn.get_suptitle() if isinstance(drawn, Figure) else ""
    titles = dict.fromkeys(filter(None, (whole, *(one.get_title(loc="left") for one in axes))))
    names = [text for text in (ax.get_ylabel(), ax.get_xlabel()) if text]
    said = ["; ".join(titles), " against ".join(names)]
    return Drawn(ax, ". ".join(" ".join(text.split()) for text in said if text) + ".")


def show(drawn: Drawn | Axes | Figure | None, name: str, figures: str = "", photo: bool = False, alt: str = "") -> None:
    """Show a figure, and save it as `figures`/`name`.png where `figures` names a folder; nothing where it is None.

    `photo` keeps all its colours, for faces and maps. `alt` is the sentence that stands for it (`described`).
    """
    if drawn is None:
        return
    whole = drawn if isinstance(drawn, Drawn) else described(drawn)
    fit_titles(whole.figure)
    content = style.png(whole.figure, photo)
    plt.close(whole.figure)
    if figures:
        with atomic(Path(figures) / f"{name}.png") as temporary:
            temporary.write_bytes(content)
    width, height = (round(side * whole.figure.dpi) for side in whole.figure.get_size_inches())
    display(Image(content, width=width, height=height, alt=alt or whole.alt))


def fit_titles(figure: Figure) -> None:
    """Break titles and names of axes that are wider than there is room, so that none is cut off or meets another."""
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")  # it would make room for names that are about to be broken
    for ax in panels:
        room = figure.bbox.width / len({round(one.get_position().x0, 2) for one in panels}) - 24
        _broken(ax.xaxis.label, room)
    figure.set_layout_engine(engine)
    for _ in range(2):  # what is broken moves the axes
        figure.canvas.draw()
        if (above := figure._suptitle) is not None:  # type: ignore[attr-defined]
            _broken(above, figure.bbox.width - 20)
        for ax in panels:
            written = ax.get_title(loc="left")
            title = next(text for text in ax.findobj(Text, include_self=False) if text.get_text() == written)
            others = [one.get_position().x0 * figure.bbox.width for one in panels if _beside(ax, one)]
            _broken(title, min([figure.bbox.width, *others]) - title.get_window_extent().x0 - 6)
            under = ax.xaxis.label.get_window_extent()
            middle = (under.x0 + under.x1) / 2
            _broken(ax.xaxis.label, 2 * min(middle, figure.bbox.width - middle) - 12)
            _broken(ax.yaxis.label, max(160, ax.bbox.height), upright=True)


def _beside(ax: Axes, other: Axes) -> bool:
    """Whether the other axes lie to the right, on the same row."""
    mine, theirs = ax.get_position(), other.get_position()
    return theirs.x0 > mine.x0 + 0.01 and theirs.y1 > mine.y0 and theirs.y0 < mine.y1


def _broken(text: Text, room: float, upright: bool = False) -> None:
    """Break a text into lines until it needs no more than `room` dots along its lines."""

    def has() -> float:
        box = text.get_window_extent()
        return float(box.height if upright else box.width)

    written = " ".join(text.get_text().split())
    letters = max(map(len, text.get_text().split("\n")), default=0)
    while has() > room > 0 and letters > SHORTEST:
        letters = max(SHORTEST, min(letters - 1, int(letters * room / has())))
        text.set_text(textwrap.fill(written, letters))
