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
    figure.canvas.draw()
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    if (above := figure._suptitle) is not None:  # type: ignore[attr-defined]
        _broken(above, above.get_window_extent().width, figure.bbox.width - 20)
    for ax in panels:
        written = ax.get_title(loc="left")
        title = next(text for text in ax.findobj(Text, include_self=False) if text.get_text() == written)
        box = title.get_window_extent()
        others = [one.get_position().x0 * figure.bbox.width for one in panels if one is not ax and _beside(ax, one)]
        _broken(title, box.width, min([figure.bbox.width, *others]) - box.x0 - 6)
        under = ax.xaxis.label.get_window_extent()
        middle = (under.x0 + under.x1) / 2
        _broken(ax.xaxis.label, under.width, 2 * min(middle, figure.bbox.width - middle) - 12)
        _broken(ax.yaxis.label, ax.yaxis.label.get_window_extent().height, max(160, ax.bbox.height))


def _beside(ax: Axes, other: Axes) -> bool:
    """Whether the other axes lie to the right, on the same row."""
    mine, theirs = ax.get_position(), other.get_position()
    return theirs.x0 > mine.x0 + 0.01 and theirs.y1 > mine.y0 and theirs.y0 < mine.y1


def _broken(text: Text, has: float, room: float) -> None:
    """Break a text that `has` so many dots where there is `room` for fewer."""
    written = text.get_text()
    longest = max(map(len, written.split("\n")), default=0)
    if has > room > 0 and longest:
        text.set_text(textwrap.fill(" ".join(written.split()), max(12, int(longest * room / has))))
