"""A sheet shows pictures in rows and columns, and what is drawn on them where it belongs."""

import dataclasses

import numpy as np
import pytest

from fermoe.data.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.plots import style
from tests.plots.helpers import row_names

RED = np.zeros((4, 4, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


def shown(ax):
    """The tiles of a sheet by (column, row)."""
    corner = {image: (image.get_extent()[0], image.get_extent()[3]) for image in ax.images}
    return {(round(x / style.STEP), round(y / style.STEP)): image for image, (x, y) in corner.items()}


def test_tiles_stand_under_their_column_and_beside_their_row():
    ax = style.sheet([[RED, None], [RED // 2, RED // 4], [RED]], ["left", "right"], ["a", "b", "c"], None)
    tiles = shown(ax)
    assert set(tiles) == {(0, 0), (0, 1), (1, 1), (0, 2)}  # None and what a short row lacks stay blank
    assert (np.asarray(tiles[1, 1].get_array()) == RED // 4).all()
    assert row_names(ax) == ["a", "b", "c"]
    for ticks, axis in ((ax.get_xticks(), 0), (ax.get_yticks(), 1)):
        for key, tile in tiles.items():
            left, right, bottom, top = tile.get_extent()
            start, end = ((left, right), (top, bottom))[axis]
            assert start < ticks[key[axis]] < end
    assert ax.yaxis_inverted()  # row 0 is at the top


def test_grey_and_shares_are_shown_as_their_rgb_pictures():
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    ax = style.sheet([[grey, np.full((4, 4), 2.0)]], ["grey", "too bright"], ["row"], None)
    tiles = shown(ax)
    assert (np.asarray(tiles[0, 0].get_array()) == grey[..., None]).all()
    assert np.asarray(tiles[0, 0].get_array()).shape == (4, 4, 3)
    assert (np.asarray(tiles[1, 0].get_array()) == 1).all()


def test_a_box_lies_on_its_tile_and_does_not_leave_it():
    ax = style.sheet([[RED, RED]], ["a", "b"], ["row"], None)
    style.mark_box(ax, 1, 0, (0.25, 0.5, 0.75, 1.5))
    box = ax.patches[0].get_bbox()
    assert (box.x0, box.x1) == pytest.approx((style.STEP + 0.25, style.STEP + 0.75))
    assert (box.y0, box.y1) == pytest.approx((0.5, 1))


def test_the_names_of_lines_lie_between_the_title_and_the_pictures():
    ax = style.finish(style.sheet([[RED]], ["a"], ["row"], None), "A title", "", "")
    style.name_lines(ax, {"eyes": {"color": "black", "ls": "-"}, "mouth": {"color": "black", "ls": "--"}})
    ax.figure.canvas.draw()
    legend, title = ax.get_legend().get_window_extent(), ax._left_title.get_window_extent()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["eyes", "mouth"]
    assert ax.bbox.y1 <= legend.y0 + 1
    assert legend.y1 <= title.y0 + 1


def test_faces_are_drawn_and_photographs_refused():
    faces = load_dataset("synthetic", train=3, test=1)
    assert [face.shape for face in style.drawn_faces(faces)] == [(128, 128, 3)] * 4
    with pytest.raises(UserError, match="photographs"):
        style.drawn_faces(dataclasses.replace(faces, table=faces.table.drop(columns="framing")))
