"""What cropping does: how often the detector finds a face, and how much of the face the authors' rule keeps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fermoe.data.datasets import Dataset, load_dataset
from fermoe.errors import UserError
from fermoe.evidence.table import Table
from fermoe.stats import wilson_interval

COLUMNS = ("dataset", "framing", "split", "label", "images", "detected", "rate", "ci_low", "ci_high")
TABLE = Table("crops", COLUMNS, None, notebook="02_preprocessing")
ALL = "all"
"""The label of the rows that pool all classes."""

FRAMINGS = ("scene", "tight")
"""How the drawn faces are framed that the detector is tried on."""


_FACTORS = (
    ("yaw", "head turned", "°", (0, 5, 10, 15, 20, 26)),
    ("roll", "head tilted", "°", (0, 6, 12, 24)),
    ("face_height", "face height / picture", "", (0.45, 0.50, 0.55, 0.60, 0.65, 0.70)),
    ("crop", "picture / face box", "", (0.90, 0.97, 1.04, 1.12)),
    ("brightness", "brightness", "", (0.80, 0.92, 1.03, 1.15)),
    ("contrast", "contrast", "", (0.80, 0.92, 1.03, 1.15)),
    ("skin_tone", "skin tone (0 lightest)", "", (0.0, 0.25, 0.5, 0.75, 1.0)),
)
"""Numeric factors of the synthetic faces: column, name, unit, edges of the bins; angles without their sign."""

_NOT_IN = {"face_height": "tight", "crop": "scene"}
"""The framing in which a factor changes nothing."""


def faces_to_detect(
    dataset: str, root: str | None, options: Mapping[str, Any], images: int, skip_unreadable: bool = False
) -> dict[str, Dataset]:
    """What the detector is tried on, by framing: `images` drawn faces in two framings, and a real dataset whole.

    `options` are those of the drawn faces, of which a fifth is partly covered.
    """
    found = {}
    for framing in FRAMINGS:
        faces = load_dataset("synthetic", **{**options, "occluded": 0.2, "framing": framing})
        picked = faces.table.sample(min(images, len(faces)), random_state=0).index.sort_values()
        found[framing] = faces.subset(picked)
    if dataset != "synthetic":
        found["original"] = load_dataset(dataset, root, skip_unreadable=skip_unreadable)
    return found


def detection_rates(datasets: Mapping[str, Dataset], detections: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`detection_table` of every framing, one below the other."""
    return pd.concat([detection_table(data, detections[name]) for name, data in datasets.items()], ignore_index=True)


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) and (N, 4), each x0, y0, x1, y1: shares (N,); 0 for empty boxes."""
    shared = box_area(_intersection(one, other))
    union = box_area(one) + box_area(other) - shared
    return np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)


def box_area(box: np.ndarray) -> np.ndarray:
    """Areas (N,) of boxes (N, 4); 0 where x1 <= x0 or y1 <= y0."""
    sides = np.clip(np.asarray(box, dtype=float)[:, 2:] - np.asarray(box, dtype=float)[:, :2], 0, None)
    return sides.prod(axis=1)


def _intersection(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return np.concatenate([np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])], axis=1)


def crop_quality(dataset: Dataset, detections: pd.DataFrame) -> pd.DataFrame:
    """The crop against the true face box, for the images with a detection.

    Args:
        dataset: one with true boxes (the synthetic faces).
        detections: of `detect_faces`, in the dataset's order.

    Returns:
        One row per detected image: image, iou (of crop and face), detector_iou (of the detector's own box, before
        the rule, and face), kept (share of the face inside the crop), background (share of the crop outside the
        face), crop_side (square root of the crop's share of the picture).
    """
    if not dataset.has_boxes:
        raise UserError("the crop cannot be judged without true face boxes", fix="only the synthetic dataset has them")
    found = (detections["outcome"] == "detected").to_numpy()
    boxes = detections[found]
    face = dataset.table.loc[found, ["face_x0", "face_y0", "face_x1", "face_y1"]].to_numpy(dtype=float)
    crop = boxes[["x0", "y0", "x1", "y1"]].to_numpy(dtype=float)
    shared, area = box_area(_intersection(crop, face)), box_area(crop)
    return pd.DataFrame(
        {
            "image": boxes["image"].to_numpy(),
            "iou": box_iou(crop, face),
            "detector_iou": box_iou(detector_boxes(boxes), face),
            "kept": shared / box_area(face),
            "background": 1 - shared / area,
            "crop_side": np.sqrt(area / (boxes["image_width"] * boxes["image_height"]).to_numpy()),
        }
    )


def detector_boxes(detections: pd.DataFrame) -> np.ndarray:
    """The detector's own boxes in pixels (N, 4), as x0, y0, x1, y1; NaN where it found nothing."""
    scale = detections[["image_width", "image_height"]].to_numpy(dtype=float)
    corner = detections[["xmin", "ymin"]].to_numpy(dtype=float) * scale
    return np.concatenate([corner, corner + detections[["width", "height"]].to_numpy(dtype=float) * scale], axis=1)


def quality_summary(quality: pd.DataFrame) -> pd.DataFrame:
    """Lowest tenth, median and highest tenth of each measure of `crop_quality`: measure, p10, median, p90."""
    measures = quality.drop(columns="image").quantile([0.1, 0.5, 0.9]).T
    measures.columns = pd.Index(["p10", "median", "p90"])
    return measures.rename_axis("measure").reset_index()


def _rate(detected: pd.Series) -> dict[str, float]:
    images, found = len(detected), int(detected.sum())
    low, high = wilson_interval(found, images)
    return {"images": images, "detected": found, "rate": found / images, "ci_low": low, "ci_high": high}


def detection_table(dataset: Dataset, detections: pd.DataFrame) -> pd.DataFrame:
    """Detection rate by split and class, with 95 % Wilson intervals: the rows of crops.csv (`COLUMNS`).

    `framing` is the synthetic one, or "original" for images from files; the label "all" pools the classes. A box
    that gives an empty crop counts as not detected: the whole image is used, as without a box.
    """
    table = dataset.table
    found = pd.Series((detections["outcome"] == "detected").to_numpy(), index=table.index)
    framing = table["framing"].iloc[0] if dataset.drawn and len(dataset) else "original"
    rows = []
    for split in ("train", "test"):
        inside = table["split"] == split
        for label in (*dataset.labels, ALL):
            chosen = found[inside & ((table["emotion"] == label) | (label == ALL))]
            if len(chosen):
                start = {"dataset": dataset.name, "framing": framing, "split": split, "label": label}
                rows.append({**start, **_rate(chosen)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def detection_by_factor(dataset: Dataset, detections: pd.DataFrame) -> pd.DataFrame:
    """Detection rate by what is known of each synthetic face: pose, light, skin tone, occlusion, class.

    Columns factor, value, images, detected, rate, ci_low, ci_high; bins without images are left out.
    """
    table = dataset.table
    found = pd.Series((detections["outcome"] == "detected").to_numpy(), index=table.index)
    groups: list[tuple[str, str, pd.Series]] = []
    for column, name, unit, edges in _FACTORS:
        if column not in table or (table["framing"] == _NOT_IN.get(column)).all():
            continue
        values = table[column].abs()
        for index, (low, high) in enumerate(itertools.pairwise(edges)):
            above = values >= low if index == 0 else values > low
            groups.append((name, f"{low:g} to {high:g}{unit}", above & (values <= high)))
    for column, name in (("occlusion", "occlusion"), ("emotion", "class")):
        if column in table:
            groups += [(name, str(value), table[column] == value) for value in sorted(table[column].unique())]
    rows = [{"factor": name, "value": value, **_rate(found[at])} for name, value, at in groups if at.any()]
    return pd.DataFrame(rows, columns=["factor", "value", *COLUMNS[4:]])
