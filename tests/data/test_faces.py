"""The crop is the authors' to the pixel, every outcome is recorded, and the detector sees an image once, ever."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.cbook
import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from fermoe.data import faces
from fermoe.data.datasets import Dataset, load_dataset
from fermoe.data.faces import DetectorSettings, crop_box, detect_faces
from fermoe.data.images import UnreadableImage
from tests.helpers import trees
from tests.helpers.trees import refused

HAS_DETECTOR = importlib.util.find_spec("mediapipe") is not None
needs_detector = pytest.mark.skipif(not HAS_DETECTOR, reason="mediapipe is not installed")


# The crop rule


def authors_cut(image: np.ndarray, xmin: float, ymin: float, width: float, height: float) -> np.ndarray:
    """The authors' arithmetic, step by step, on the picture itself."""
    rows, columns = image.shape[:2]
    x, y, w, h = int(xmin * columns), int(ymin * rows), int(width * columns), int(height * rows)
    left = max(0, x - w // 10)
    top = max(0, y - h // 10)
    w = min(columns, w + w // 5)
    h = min(rows, h + h // 5)
    return image[top : top + h, left : left + w]


def random_boxes(n: int, seed: int) -> np.ndarray:
    """Relative boxes (n, 4), a good part of which leaves the picture on one side or lies outside."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(-0.6, 1.2, (n, 2)), rng.uniform(0, 1.6, (n, 2))])


def our_cut(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = crop_box(*box, image_width=image.shape[1], image_height=image.shape[0])
    return image[y0:y1, x0:x1]


def test_the_crop_is_the_authors_on_pictures_of_any_size() -> None:
    rng, empty = np.random.default_rng(0), 0
    for box in random_boxes(4000, seed=1):
        width, height = (int(n) for n in rng.integers(1, 400, 2))
        image = np.arange(width * height).reshape(height, width)  # each pixel its own value
        expected = authors_cut(image, *box)
        np.testing.assert_array_equal(our_cut(image, box), expected)
        empty += expected.size == 0
    assert 100 < empty < 2000  # both kinds were met


def photographs() -> Iterator[np.ndarray]:
    yield skimage.data.astronaut()
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        yield np.asarray(Image.open(file).convert("RGB"))


def test_the_crop_is_the_authors_on_photographs() -> None:
    for seed, photograph in enumerate(photographs()):
        for box in random_boxes(150, seed):
            np.testing.assert_array_equal(our_cut(photograph, box), authors_cut(photograph, *box))


def test_a_crop_worked_by_hand() -> None:
    # 48 of 100 and 40 of 80 pixels at (20, 16); a tenth out: (16, 12); a fifth larger: 57 × 48.
    assert crop_box(0.2, 0.2, 0.48, 0.5, 100, 80) == (16, 12, 73, 60)
    assert crop_box(-0.1, -0.2, 0.48, 0.5, 100, 80) == (0, 0, 57, 48)  # moved into the picture, not cut
    assert crop_box(0.8, 0.7, 0.48, 0.5, 100, 80) == (76, 52, 100, 80)
    assert crop_box(0, 0, 1.0, 1.0, 100, 80) == (0, 0, 100, 80)


# Outcomes, with a detector that we hold in the hand


Say = Callable[[dict[str, Any]], tuple[float, ...]]


class Detector:
    """Stands in for BlazeFace: says what it is told, and remembers which images it saw."""

    def __init__(self, say: Say | None = None):
        self.say = say or self.by_number
        self.seen: list[str] = []
        self.fails_after: int | None = None

    @staticmethod
    def by_number(row: dict[str, Any]) -> tuple[float, ...]:
        number = sum(row["image"].encode())
        return (0.5 + number % 50 / 100, 0.1, 0.2, 0.3 + number % 7 / 20, 0.5, 12, 12)

    def __call__(self, todo: list[tuple[str, dict[str, Any]]], *_: object) -> Iterator[dict[str, tuple[float, ...]]]:
        for i in range(0, len(todo), 4):
            if self.fails_after is not None and len(self.seen) >= self.fails_after:
                raise KeyboardInterrupt
            self.seen += [row["image"] for _, row in todo[i : i + 4]]
            yield {key: self.say(row) for key, row in todo[i : i + 4]}


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Detector:
    stand_in = Detector()
    monkeypatch.setattr(faces, "_detect_all", stand_in)
    return stand_in


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return load_dataset("folder", trees.folder_tree(tmp_path / "data", train=8, test=2))


NO_FACE = (np.nan,) * 5


def test_every_outcome_is_a_row_and_falls_back_to_the_whole_image(detector: Detector, dataset: Dataset) -> None:
    said = {
        "train/cat/0.png": (0.9, 0.25, 0.25, 0.5, 0.5, 12, 12),
        "train/cat/1.png": (*NO_FACE, 12, 12),
        "train/cat/2.png": (0.6, 1.5, 0.2, 0.3, 0.3, 12, 12),  # outside the picture
        "train/cat/3.png": (0.6, 0.5, 0.5, 0.05, 0.5, 12, 12),  # less than a pixel wide
    }
    detector.say = lambda row: said.get(row["image"], (*NO_FACE, 12, 12))
    found = detect_faces(dataset, progress=False).set_index("image")
    assert list(found.index) == list(dataset.table["image"])
    assert [found.loc[image, "outcome"] for image in said] == ["detected", "no face", "empty crop", "empty crop"]
    corners = found[["x0", "y0", "x1", "y1"]]
    assert corners.loc["train/cat/0.png"].tolist() == list(crop_box(0.25, 0.25, 0.5, 0.5, 12, 12)) == [3, 3, 10, 10]
    assert (corners[found["outcome"] != "detected"] == [0, 0, 12, 12]).all(axis=None)
    assert found.loc["train/cat/1.png", ["score", "xmin", "ymin", "width", "height"]].isna().all()
    assert found.loc["train/cat/2.png", "xmin"] == 1.5  # what the detector said is kept
    assert set(found["outcome"]) == {"detected", "no face", "empty crop"}


def test_the_detector_sees_each_image_once(detector: Detector, dataset: Dataset) -> None:
    first = detect_faces(dataset, progress=False)
    assert sorted(detector.seen) == sorted(dataset.table["image"])
    detector.fails_after = 0
    second = detect_faces(dataset, progress=False)
    pd.testing.assert_frame_equal(first, second)


def test_what_no_face_was_found_in_is_remembered_too(detector: Detector, dataset: Dataset) -> None:
    detector.say = lambda row: (*NO_FACE, 12, 12)
    first = detect_faces(dataset, progress=False)
    pd.testing.assert_frame_equal(first, detect_faces(dataset, progress=False))
    assert len(detector.seen) == len(dataset)


def test_moved_and_identical_images_are_not_detected_again(detector: Detector, tmp_path: Path) -> None:
    for i in range(4):
        trees.picture(tmp_path / f"data/{('train', 'test')[i % 2]}/{('cat', 'dog')[i // 2]}/same.png", seed=1)
    found = detect_faces(load_dataset("folder", tmp_path / "data"), progress=False)
    assert len(detector.seen) == 1
    assert found["score"].nunique() == 1
    (tmp_path / "data").rename(tmp_path / "moved")
    detect_faces(load_dataset("folder", tmp_path / "moved"), progress=False)
    assert len(detector.seen) == 1


def test_other_pictures_other_settings_and_grey_reading_are_detected_anew(detector: Detector, tmp_path: Path) -> None:
    dataset = load_dataset("fer2013", trees.fer2013_tree(tmp_path))
    detect_faces(dataset, progress=False)
    detect_faces(dataset, DetectorSettings(min_confidence=0.3), progress=False)
    assert len(detector.seen) == 2 * len(dataset)
    detect_faces(dataclasses.replace(dataset, channels=3), progress=False)
    assert len(detector.seen) == 3 * len(dataset)
    trees.picture(Path(dataset.table["path"][0]), seed=99, mode="L")
    detect_faces(dataset, progress=False)
    assert detector.seen[3 * len(dataset) :] == [dataset.table["image"][0]]


def test_synthetic_faces_are_told_apart_by_what_is_drawn(detector: Detector) -> None:
    for options in ({}, {"seed": 1}, {"size": 64}, {"occluded": 0.9}):
        detect_faces(load_dataset("synthetic", train=4, test=1, **options), progress=False)
    assert len(detector.seen) == 4 * 5


def test_an_interrupted_run_goes_on_where_it_stopped(detector: Detector, dataset: Dataset) -> None:
    detector.fails_after = 8
    with pytest.raises(KeyboardInterrupt):
        detect_faces(dataset, progress=False)
    before, detector.seen, detector.fails_after = detector.seen, [], None
    resumed = detect_faces(dataset, progress=False)
    assert sorted(before + detector.seen) == sorted(dataset.table["image"])
    assert len(before) == 8
    expected = [Detector.by_number({"image": image})[0] for image in dataset.table["image"]]
    assert resumed["score"].tolist() == expected


# Damage to the cache


def database(cache: Path) -> sqlite3.Connection:
    return sqlite3.connect(cache / "blazeface.sqlite", isolation_level=None)


@pytest.mark.parametrize(
    "edit",
    [
        "score = 0.1234",
        "xmin = xmin + 0.001",
        "image_width = 13",
        "height = 'tall'",
        "width = x'00ff'",
        "ymin = NULL",
        "score = NULL, xmin = NULL",
        "checksum = checksum + 1",
        "checksum = NULL",
    ],
)
def test_a_damaged_row_is_computed_again(detector: Detector, dataset: Dataset, own_cache: Path, edit: str) -> None:
    first = detect_faces(dataset, progress=False)
    detector.seen.clear()
    with database(own_cache) as connection:
        connection.execute(f"UPDATE detections SET {edit} WHERE key IN (SELECT key FROM detections LIMIT 2)")
    pd.testing.assert_frame_equal(detect_faces(dataset, progress=False), first)
    assert len(detector.seen) == 2
    detect_faces(dataset, progress=False)
    assert len(detector.seen) == 2  # and mended


def no_database(content: bytes) -> bytes:
    return b"this was a database, before the disk failed" * 40


def damaged_pages(content: bytes) -> bytes:
    return content[:4096] + b"\xff" * (len(content) - 4096)


def damaged_schema(content: bytes) -> bytes:
    return content[:100] + b"\xff" * 3000 + content[3100:]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [no_database, damaged_pages, damaged_schema, cut])
def test_a_damaged_file_is_set_aside_and_begun_anew(
    detector: Detector, dataset: Dataset, own_cache: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = detect_faces(dataset, progress=False)
    file = own_cache / "blazeface.sqlite"
    spoilt = damage(file.read_bytes())
    file.write_bytes(spoilt)
    pd.testing.assert_frame_equal(detect_faces(dataset, progress=False), first)
    assert len(detector.seen) == 2 * len(dataset)
    assert file.with_suffix(".damaged").read_bytes() == spoilt
    detector.fails_after = 0
    pd.testing.assert_frame_equal(detect_faces(dataset, progress=False), first)


def test_a_cache_that_cannot_be_written_is_one_line(
    detector: Detector, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/fermoe")):
        monkeypatch.setenv("FERMOE_CACHE", str(place))
        with refused("detection cache", str(place), "FERMOE_CACHE"):
            detect_faces(dataset, progress=False)
    monkeypatch.setenv("FERMOE_CACHE", str(tmp_path / "a folder in the file's place"))
    (tmp_path / "a folder in the file's place" / "blazeface.sqlite").mkdir(parents=True)
    with refused("detection cache", "FERMOE_CACHE"):
        detect_faces(dataset, progress=False)
    assert detector.seen == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_one_line(detector: Detector, dataset: Dataset, own_cache: Path) -> None:
    own_cache.mkdir(mode=0o500)
    with refused("detection cache", str(own_cache), "FERMOE_CACHE"):
        detect_faces(dataset, progress=False)


FILL = """
import sys, time
from pathlib import Path
from fermoe.data import faces
from fermoe.data.datasets import load_dataset

def detect_all(todo, *_):
    for key, row in todo:
        yield {key: (0.75, 0.1, 0.2, 0.3, int(Path(row["path"]).stem) / 100, 12, 12)}

faces._detect_all = detect_all
dataset = load_dataset("folder", sys.argv[1])
while time.time() < float(sys.argv[2]):
    pass
print(faces.detect_faces(dataset, progress=False).to_csv())
"""


def test_two_processes_may_fill_one_cache_at_once(tmp_path: Path, own_cache: Path) -> None:
    root = trees.folder_tree(tmp_path / "data", train=40, test=10)
    command = [sys.executable, "-c", FILL, str(root), str(time.time() + 4)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [(process.returncode, errors) for process, (_, errors) in zip(running, outputs, strict=True)] == [
        (0, "")
    ] * 2
    assert outputs[0][0] == outputs[1][0]
    with database(own_cache) as connection:
        assert connection.execute("SELECT count(*) FROM detections").fetchone() == (100,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_new_cache_is_waited_for_while_another_process_holds_it(
    detector: Detector, dataset: Dataset, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_cache.mkdir()
    monkeypatch.setattr(faces, "PATIENCE", 0.3)
    other = database(own_cache)
    other.execute("BEGIN EXCLUSIVE")
    with refused("locked", "FERMOE_CACHE"):
        detect_faces(dataset, progress=False)
    other.rollback()
    assert len(detect_faces(dataset, progress=False)) == len(dataset)
    other.close()


def test_without_mediapipe_the_message_names_the_extra(
    dataset: Dataset, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with refused("mediapipe", "fermoe[blazeface]"):
        detect_faces(dataset, progress=False)


# BlazeFace itself


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("portraits")
    for name, array in zip(("train/face/astronaut", "test/face/hopper"), photographs(), strict=True):
        (root / name).parent.mkdir(parents=True)
        Image.fromarray(array).save(root / f"{name}.png")
    for split in ("train", "test"):
        trees.picture(root / split / "noise" / f"{split}.png", size=(80, 60), seed=len(split))
    return load_dataset("folder", root)


@needs_detector
def test_blazeface_finds_faces_and_only_faces(
    portraits: Dataset, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "CHUNK", 2)
    found = detect_faces(portraits, workers=2, progress=False)
    assert found["outcome"].tolist() == ["detected", "no face", "detected", "no face"]
    assert found["image"].tolist() == portraits.table["image"].tolist()
    assert found[["image_width", "image_height"]].to_numpy().tolist() == [[512, 512], [80, 60], [512, 600], [80, 60]]
    assert (found["score"].dropna() > 0.5).all()
    for at, (left, top, right, bottom) in {0: (195, 90, 250, 145), 2: (220, 110, 300, 230)}.items():
        row = found.iloc[at]
        assert row["x0"] <= left < right <= row["x1"]  # eyes, nose and mouth are in it
        assert row["y0"] <= top < bottom <= row["y1"]
        assert (row["x1"] - row["x0"]) * (row["y1"] - row["y0"]) < 0.35 * row["image_width"] * row["image_height"]
        box = crop_box(*row[["xmin", "ymin", "width", "height"]], *row[["image_width", "image_height"]])
        assert box == tuple(row[["x0", "y0", "x1", "y1"]])
    assert found.loc[[1, 3], ["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[0, 0, 80, 60]] * 2


@needs_detector
def test_an_unreadable_image_stops_the_detection_in_one_line(tmp_path: Path, own_cache: Path) -> None:
    dataset = load_dataset("folder", trees.folder_tree(tmp_path, train=1, test=1))
    Path(dataset.table["path"][2]).write_text("no image")
    with refused("unreadable image", str(dataset.table["path"][2]), error=UnreadableImage):
        detect_faces(dataset, workers=1, progress=False)


@needs_detector
def test_a_detector_process_that_dies_is_one_line(
    dataset: Dataset, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "_start_detector", sys.exit)
    with refused("detection process died"):
        detect_faces(dataset, workers=1, progress=False)
