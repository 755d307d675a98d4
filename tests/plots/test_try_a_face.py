"""Bars are as long as their shares, in the classes' order, and lines stand where they ended before."""

import numpy as np
import pandas as pd
import pytest

from fermoe.plots import style, try_a_face
from fermoe.plots.grad_cam import plot_own_maps
from tests.plots.helpers import row_names

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
NOW = pd.Series({"surprise": 0.2, "anger": 0.7, "happiness": 0.1})
BEFORE = pd.Series({"surprise": 0.6, "anger": 0.1, "happiness": 0.3})
GATES = pd.DataFrame({"cnn": [0.4, 0.3, 0.2, 0.1], "expression": [0.0, 0.0, 0.25, 0.75]})


def widths(ax):
    return [bar.get_width() for bar in ax.containers[0]]


def lines(ax):
    return [segment[0, 0] for collection in ax.collections for segment in collection.get_segments()]


def test_probabilities_stand_in_the_order_of_the_classes_and_the_largest_is_darker():
    ax = try_a_face.plot_probabilities(NOW)
    assert row_names(ax) == ["anger", "happy", "surprise"]
    assert widths(ax) == pytest.approx([70, 10, 20])
    darker = [bar.get_facecolor()[:3] == pytest.approx((0, 0.447, 0.698), abs=0.01) for bar in ax.containers[0]]
    assert darker == [True, False, False]
    assert lines(ax) == []


def test_lines_stand_where_the_unchanged_picture_had_its_bars():
    assert lines(try_a_face.plot_probabilities(NOW, BEFORE)) == pytest.approx([10, 30, 60])
    assert lines(try_a_face.plot_gates(GATES, GATES[::-1].reset_index(drop=True))) == pytest.approx(
        [10, 20, 30, 40, 75, 25, 0, 0]
    )


def test_numbers_lie_beyond_bar_and_line():
    ax = try_a_face.plot_probabilities(NOW, BEFORE)
    assert [text.get_text() for text in ax.texts] == ["70", "10", "20"]
    assert all(text.get_position()[0] > end for text, end in zip(ax.texts, (70, 30, 60), strict=True))


def test_gates_are_grouped_by_mixture():
    ax = try_a_face.plot_gates(GATES)
    assert widths(ax) == pytest.approx([40, 30, 20, 10, 0, 0, 25, 75])
    names = [style.mixture_name(mixture) for mixture in ("cnn", "expression")]
    assert row_names(ax) == [f"{name}, {expert}" for name in names for expert in range(4)]
    centres = [bar.get_y() + bar.get_height() / 2 for bar in ax.containers[0]]
    assert centres == pytest.approx([0, 1, 2, 3, 5, 6, 7, 8])


def test_the_box_lies_where_the_crop_is():
    ax = try_a_face.plot_crop(PICTURE, (5, 10, 35, 30))
    assert {tuple(patch.get_bbox().extents) for patch in ax.patches} == {(5, 10, 35, 30)}
    assert not try_a_face.plot_crop(PICTURE[..., 0]).patches


def test_a_network_without_mixtures_has_no_panel_of_gates():
    with_gates = try_a_face.plot_answer(PICTURE, None, NOW, GATES, (BEFORE, GATES))
    without = try_a_face.plot_answer(PICTURE, None, NOW, pd.DataFrame(), (BEFORE, pd.DataFrame()))
    assert [len(ax.figure.axes) for ax in (with_gates, without)] == [3, 2]


def test_every_branch_has_its_map_over_the_face_and_an_empty_one_says_so():
    image = RNG.random((3, 16, 16)).astype(np.float32)
    maps = {"cnn1": RNG.random((16, 16)).astype(np.float32), "resnet": np.zeros((16, 16), np.float32)}
    ax = plot_own_maps(image, maps)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["what the network sees", "extractor 1", "ResNet"]
    shown = [drawn.get_array() for drawn in ax.images]
    assert np.allclose(shown[0], image.transpose(1, 2, 0))
    assert not np.allclose(shown[1], shown[1].mean(axis=-1, keepdims=True))
    assert np.allclose(shown[2], shown[2].mean(axis=-1, keepdims=True))  # nothing but the grey picture
    assert [text.get_text() for text in ax.texts] == ["empty map"]
