"""Boxes by hand and by counting pixels; detection rates by plain loops."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fermoe.data.datasets import load_dataset
from fermoe.data.faces import crop_box
from fermoe.errors import UserError
from fermoe.evidence import crops
from fermoe.stats import wilson_interval


def test_iou_of_known_boxes():
    one = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 0], [5, 5, 4, 9]])
    other = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0], [0, 0, 10, 10]])
    assert crops.box_iou(one, other).tolist() == [1, pytest.approx(1 / 3), 0, 0, 0]


def test_iou_equals_counted_pixels():
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.integers(0, 20, (2, 40, 2, 2)), axis=2).reshape(2, 40, 4)  # x0, y0 <= x1, y1
    for one, other, iou in zip(*boxes, crops.box_iou(*boxes), strict=True):
        masks = np.zeros((2, 20, 20), dtype=bool)
        for mask, (x0, y0, x1, y1) in zip(masks, (one, other), strict=True):
            mask[y0:y1, x0:x1] = True
        union = masks.any(axis=0).sum()
        assert iou == pytest.approx(masks.all(axis=0).sum() / union if union else 0)


@pytest.fixture
def faces():
    """Synthetic faces with made-up detections: none for every third, an empty crop for one, else the true box."""
    dataset = load_dataset("synthetic", train=60, test=30)
    table = dataset.table
    box = table[["face_x0", "face_y0", "face_x1", "face_y1"]].to_numpy(dtype=float) / 128
    outcome = np.where(np.arange(90) % 3 == 0, "no face", "detected")
    outcome[1] = "empty crop"
    detections = pd.DataFrame(
        {
            "image": table["image"],
            "outcome": outcome,
            "xmin": box[:, 0],
            "ymin": box[:, 1],
            "width": box[:, 2] - box[:, 0],
            "height": box[:, 3] - box[:, 1],
            "image_width": 128,
            "image_height": 128,
        }
    )
    crops = [crop_box(*row, 128, 128) for row in detections[["xmin", "ymin", "width", "height"]].to_numpy()]
    detections[["x0", "y0", "x1", "y1"]] = np.array(crops)
    return dataset, detections


def test_detection_table(faces):
    dataset, detections = faces
    table, rows = dataset.table, crops.detection_table(dataset, detections)
    assert list(rows.columns) == list(crops.COLUMNS)
    assert rows["label"].tolist() == [*dataset.labels, "all"] * 2
    assert set(rows["framing"]) == {"scene"}
    for _, row in rows.iterrows():
        chosen = [
            outcome == "detected"
            for outcome, split, emotion in zip(detections["outcome"], table["split"], table["emotion"], strict=True)
            if split == row["split"] and row["label"] in (emotion, "all")
        ]
        assert (row["images"], row["detected"]) == (len(chosen), sum(chosen))
        assert (row["ci_low"], row["ci_high"]) == wilson_interval(sum(chosen), len(chosen))


def test_detection_table_of_files(faces):
    dataset, detections = faces
    plain = dataclasses.replace(dataset, table=dataset.table[["image", "emotion", "split"]], name="folder")
    rows = crops.detection_table(plain, detections)
    assert set(rows["framing"]) == {"original"}
    assert set(rows["dataset"]) == {"folder"}


def test_every_factor_covers_every_image(faces):
    dataset, detections = faces
    rates = crops.detection_by_factor(dataset, detections)
    totals = rates.groupby("factor")[["images", "detected"]].sum()
    assert (totals["images"] == 90).all()
    assert (totals["detected"] == (detections["outcome"] == "detected").sum()).all()
    assert {"occlusion", "class", "head turned", "face height / picture"} <= set(totals.index)
    assert "picture / face box" not in set(totals.index)  # a factor of the other framing
    assert rates["rate"].between(rates["ci_low"], rates["ci_high"]).all()


def test_factor_bins_reach_as_far_as_the_drawings():
    table = load_dataset("synthetic", train=500, test=1).table
    for column, _, _, edges in crops._FACTORS:
        assert edges[0] <= table[column].abs().min()
        assert table[column].abs().max() <= edges[-1]


def test_quality_of_true_boxes(faces):
    """A detector that gives the true box: the rule adds a margin, keeps the face, and lowers the overlap."""
    dataset, detections = faces
    quality = crops.crop_quality(dataset, detections)
    assert quality["image"].tolist() == detections.loc[detections["outcome"] == "detected", "image"].tolist()
    assert quality["detector_iou"].to_numpy() == pytest.approx(1)
    assert (quality["kept"] > 0.98).all()  # the rule truncates to whole pixels
    assert (quality["background"] > 0).all()
    assert (quality["iou"] < 1).all()
    summary = crops.quality_summary(quality).set_index("measure")
    assert summary.at["kept", "median"] == pytest.approx(quality["kept"].median())


def test_quality_needs_true_boxes(faces):
    dataset, detections = faces
    plain = dataclasses.replace(dataset, table=dataset.table.drop(columns="face_x0"))
    with pytest.raises(UserError, match="true face boxes"):
        crops.crop_quality(plain, detections)


def test_the_detector_is_tried_on_drawn_faces_in_two_framings_and_on_a_real_dataset_whole(tmp_path):
    options = {"train": 12, "test": 4, "size": 64}
    drawn = crops.faces_to_detect("synthetic", None, options, 5)
    assert {name: len(faces) for name, faces in drawn.items()} == {"scene": 5, "tight": 5}
    again = crops.faces_to_detect("synthetic", None, options, 5)
    assert [*again["scene"].table.index] == [*drawn["scene"].table.index]
    for split, label in itertools.product(("train", "test"), ("happy", "sad")):
        folder = tmp_path / split / label
        folder.mkdir(parents=True)
        Image.new("RGB", (48, 48)).save(folder / "face.png")
    assert len(crops.faces_to_detect("folder", str(tmp_path), options, 5)["original"]) == 4
