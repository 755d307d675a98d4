"""Figures of what cropping does show the faces, their boxes and the rates."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fermoe.data.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.plots import crops as crops_plots
from fermoe.plots import style
from tests.plots.helpers import intervals, legend_names, points, row_names

FACES = load_dataset("synthetic", train=14, test=2)
TABLE = FACES.table


def detections(table):
    """The true box as the detector's, and no face in the first image."""
    box = table[["face_x0", "face_y0", "face_x1", "face_y1"]].to_numpy(dtype=float)
    box[0] = 0, 0, 128, 128
    found = np.arange(len(table)) > 0
    relative = np.where(found[:, None], box / 128, np.nan)
    return pd.DataFrame(
        {
            "outcome": np.where(found, "detected", "no face"),
            "xmin": relative[:, 0],
            "ymin": relative[:, 1],
            "width": relative[:, 2] - relative[:, 0],
            "height": relative[:, 3] - relative[:, 1],
            "image_width": 128,
            "image_height": 128,
            **{name: box[:, i].astype(int) for i, name in enumerate(("x0", "y0", "x1", "y1"))},
        }
    )


def gallery(count, **options):
    return crops_plots.plot_crop_gallery(FACES.subset(range(count)), detections(TABLE.head(count)), **options)


def rates():
    columns = ["value", "series", "rate", "ci_low", "ci_high"]
    return pd.DataFrame([("a", "x", 0.5, 0.3, 0.7), ("a", "y", 1.0, 0.8, 1.0)], columns=columns)


def pipelines(**options):
    values = {"rgb_unit": np.random.default_rng(0).random((3, 8, 8)), "flat": np.zeros((3, 8, 8))}
    return crops_plots.plot_pipelines(FACES.subset([1]), detections(TABLE.iloc[[0, 1]]).iloc[[1]], values, **options)


FIGURES = {
    "pipelines": pipelines,
    "crop gallery": lambda **k: gallery(4, **k),
    "crop gallery of two": lambda **k: gallery(2, **k),
    "rates": lambda **k: crops_plots.plot_rates(rates(), series="series", **k),
}


def test_a_gallery_names_what_was_not_found():
    ax = gallery(3)
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["1\nno face\nfound", "2", "3"]
    assert len(ax.patches) == 3 + 2 + 2  # every true face, and both other boxes where there was a detection
    assert len(ax.images) == 3 * 3


def test_boxes_lie_on_their_faces_and_crops_show_what_is_inside():
    ax = gallery(3)
    row = TABLE.iloc[2]
    left, top = 2 * style.STEP, style.STEP
    box = ax.patches[2].get_bbox()  # the true face of the third image
    size = row["size"]
    expected = (left + row["face_x0"] / size, left + row["face_x1"] / size)
    assert (box.x0, box.x1) == pytest.approx(np.clip(expected, left, left + 1))
    assert box.y0 == pytest.approx(top + max(row["face_y0"], 0) / size)
    x0, y0, x1, y1 = detections(TABLE.head(3))[["x0", "y0", "x1", "y1"]].iloc[2]
    whole, crop = (np.asarray(ax.images[i].get_array()) for i in (2, 8))
    assert (crop == whole[y0:y1, x0:x1]).all()


def test_photographs_are_refused():
    with pytest.raises(UserError, match="photographs"):
        crops_plots.plot_crop_gallery(
            dataclasses.replace(FACES, table=FACES.table.drop(columns="framing")), detections(TABLE)
        )


def test_rates_are_drawn_in_per_cent_with_their_intervals():
    ax = crops_plots.plot_rates(rates(), series="series")
    assert row_names(ax) == ["a"]
    assert {name: [x for x, _ in pairs] for name, pairs in points(ax).items()} == {"x": [50], "y": [100]}
    np.testing.assert_allclose(intervals(ax), [(30, 70), (80, 100)])
    assert legend_names(ax) == ["x", "y"]
    assert ax.get_xlim() == (-2, 102)
    assert crops_plots.plot_rates(rates(), whole_axis=False).get_xlim()[0] > 20


def test_classes_are_named_and_ordered_as_everywhere():
    data = rates().assign(label=["happiness", "angry"])
    assert row_names(crops_plots.plot_rates(data, value="label")) == ["anger", "happy"]
