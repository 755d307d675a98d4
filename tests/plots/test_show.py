"""A figure in a notebook is sharp, has a sentence and whole titles, and is saved where a folder is named."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.display import Image as Shown
from PIL import Image

from fermoe.plots import show as module
from fermoe.plots import style
from fermoe.plots.show import Drawn, described, fit_titles, show

LONG = "A message that says so much that no figure of this width could hold it in one line of a title"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    found: list[Shown] = []
    monkeypatch.setattr(module, "display", found.append)
    return found


def figure(*titles: str):
    drawn, axes = plt.subplots(1, len(titles), figsize=(4 * len(titles), 4), layout="constrained", squeeze=False)
    for title, ax in zip(titles, axes.flat, strict=True):
        ax.plot([0, 1])
        style.finish(ax, title, "Epoch", "Accuracy (%)")
    return drawn


def test_what_is_shown_is_what_is_saved_and_two_dots_a_point(shown: list[Shown], tmp_path: Path) -> None:
    show(figure("A title").axes[0], "05_name", str(tmp_path), alt="A sentence.")
    (picture,) = shown
    assert (tmp_path / "05_name.png").read_bytes() == picture.data
    assert Image.open(io.BytesIO(picture.data)).size == (2 * picture.width, 2 * picture.height)
    assert picture.alt == "A sentence."
    assert not plt.get_fignums()


def test_nothing_is_saved_without_a_folder_and_nothing_is_shown_of_nothing(shown: list[Shown], tmp_path: Path) -> None:
    show(None, "05_name", str(tmp_path))
    assert not shown
    show(figure("A title"), "05_name")
    assert len(shown) == 1
    assert not list(tmp_path.iterdir())


def test_a_figure_says_for_itself_what_is_written_on_it(shown: list[Shown]) -> None:
    assert described(figure("One", "Two")).alt == "One; Two. Accuracy (%) against Epoch."
    show(Drawn(figure("A title").axes[0], "Its own sentence."), "name")
    assert shown[0].alt == "Its own sentence."


def test_no_title_is_cut_off_or_meets_its_neighbour() -> None:
    drawn = figure(LONG, LONG)
    for ax in drawn.axes:
        ax.set_xlabel(LONG)
    fit_titles(drawn)
    drawn.canvas.draw()
    first, second = (ax.title if ax.title.get_text() else ax._left_title for ax in drawn.axes)
    assert " ".join(first.get_text().split()) == LONG.strip()
    assert first.get_window_extent().x1 <= second.get_window_extent().x0
    for text in (first, second, *(ax.xaxis.label for ax in drawn.axes)):
        assert text.get_window_extent().x1 <= drawn.bbox.width + 1
        assert text.get_window_extent().x0 >= -1


def test_shades_of_a_face_have_no_steps() -> None:
    ramp = np.linspace(0, 255, 256 * 256).reshape(256, 256)
    content = io.BytesIO()
    Image.fromarray(np.stack([ramp, ramp.T, 255 - ramp], -1).astype(np.uint8)).save(content, "PNG")
    original = np.asarray(Image.open(content), float)
    errors = []
    for mixed in (False, True):
        found = np.asarray(Image.open(io.BytesIO(style.with_palette(content.getvalue(), mixed))).convert("RGB"), float)
        blocks = (found - original).reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))  # what an eye sees from a distance
        errors.append(np.abs(blocks).mean())
    assert errors[1] < errors[0] / 2
