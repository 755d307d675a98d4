"""The array of a dataset's images holds what OpenCV makes of each picture, and is made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fermoe.data import arrays, faces, images
from fermoe.data.arrays import CROPS, GREY, pixels, readable
from fermoe.data.datasets import Dataset, load_dataset
from fermoe.data.drawing import draw_face
from fermoe.data.faces import crop_box
from fermoe.data.images import UnreadableImage, read_image
from tests.helpers import trees
from tests.helpers.trees import refused


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """(H, W[, 3]) → (C, size, size), by the function that the authors call."""
    small = cv2.resize(image, (size, size))
    return np.moveaxis(small.reshape(size, size, -1), -1, 0)


@pytest.fixture
def drawn() -> Dataset:
    return load_dataset("synthetic", train=5, test=3)


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    return load_dataset("folder", trees.folder_tree(tmp_path / "data"))


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "pixels").iterdir())


@pytest.fixture
def half_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that finds a face in every second image, always in the same place."""

    def detect(todo: list[tuple[str, dict[str, Any]]], *_: object) -> Iterator[dict[str, tuple[float, ...]]]:
        for i, (key, row) in enumerate(todo):
            width = row.get("size", 12)
            box = (0.9, 0.2, 0.3, 0.5, 0.4) if i % 2 == 0 else (np.nan,) * 5
            yield {key: (*box, width, width)}

    monkeypatch.setattr(faces, "_detect_all", detect)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("framing", "channels"), [("scene", 3), ("tight", 1)])
def test_every_crop_gives_bytes_of_the_size_asked_for(
    own_cache: Path, half_found: None, crop: str, framing: str, channels: int
) -> None:
    dataset = load_dataset("synthetic", train=3, test=2, framing=framing)
    array = pixels(dataset, crop, 40, workers=1, progress=False)
    assert (array.shape, array.dtype) == ((5, channels, 40, 40), np.uint8)
    assert not array.flags.writeable
    assert array.min() < 100 < array.max()


def test_none_is_the_whole_image_resized(own_cache: Path, photos: Dataset, drawn: Dataset) -> None:
    array = pixels(photos, "none", 30, progress=False)
    for row, expected in zip(array, photos.table["path"], strict=True):
        np.testing.assert_array_equal(row, resized(read_image(expected), 30))
    array = pixels(drawn, "none", 64, workers=1, progress=False)
    for row, face in zip(array, drawn.table.to_dict("records"), strict=True):
        np.testing.assert_array_equal(row, resized(draw_face(face), 64))


def test_grey_datasets_keep_one_channel(own_cache: Path, tmp_path: Path) -> None:
    dataset = load_dataset("fer2013", trees.fer2013_tree(tmp_path))
    array = pixels(dataset, "none", 24, progress=False)
    assert array.shape == (35, 1, 24, 24)
    np.testing.assert_array_equal(array[4], resized(read_image(dataset.table["path"][4], channels=1), 24))


def test_blazeface_is_the_crop_where_a_face_was_found_and_the_whole_image_elsewhere(
    own_cache: Path, half_found: None, photos: Dataset
) -> None:
    array = pixels(photos, "blazeface", 20, progress=False)
    x0, y0, x1, y1 = crop_box(0.2, 0.3, 0.5, 0.4, 12, 12)
    for i, path in enumerate(photos.table["path"]):
        image = read_image(path)
        expected = image[y0:y1, x0:x1] if i % 2 == 0 else image
        np.testing.assert_array_equal(array[i], resized(np.ascontiguousarray(expected), 20))


def test_annotated_is_the_true_box_and_masked_paints_it_grey(own_cache: Path, drawn: Dataset) -> None:
    annotated = pixels(drawn, "annotated", 32, workers=1, progress=False)
    masked = pixels(drawn, "masked", 128, workers=1, progress=False)
    for i, row in enumerate(drawn.table.to_dict("records")):
        picture = draw_face(row)
        box = slice(row["face_y0"], row["face_y1"]), slice(row["face_x0"], row["face_x1"])
        np.testing.assert_array_equal(annotated[i], resized(np.ascontiguousarray(picture[box]), 32))
        outside = np.ones(picture.shape[:2], bool)
        outside[box] = False
        assert (masked[i][:, ~outside] == GREY).all()
        np.testing.assert_array_equal(masked[i][:, outside], picture.transpose(2, 0, 1)[:, outside])


@pytest.mark.parametrize("source", ["files", "drawings"])
def test_the_file_does_not_depend_on_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Dataset, drawn: Dataset, source: str
) -> None:
    monkeypatch.setattr(images, "CHUNK", 3)  # several pieces for each
    contents = set()
    for workers in (1, 2):
        monkeypatch.setenv("FERMOE_CACHE", str(tmp_path / f"cache{workers}"))
        pixels(photos if source == "files" else drawn, "none", 32, workers=workers, progress=False)
        (file,) = kept(tmp_path / f"cache{workers}")
        contents.add((file.name, file.read_bytes()))
    assert len(contents) == 1


def test_the_array_is_made_once(own_cache: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = np.array(pixels(photos, "none", 16, progress=False))
    (file,) = kept(own_cache)
    made = file.stat().st_mtime_ns
    monkeypatch.setattr(arrays, "prepare", None)
    np.testing.assert_array_equal(pixels(photos, "none", 16, progress=False), first)
    assert file.stat().st_mtime_ns == made


def test_another_size_crop_or_dataset_is_another_file(own_cache: Path, half_found: None, photos: Dataset) -> None:
    for crop, size in (("none", 16), ("none", 17), ("blazeface", 16)):
        pixels(photos, crop, size, progress=False)
    path = Path(photos.table["path"][0])
    trees.picture(path, seed=77, size=(14, 14))
    pixels(load_dataset("folder", path.parents[2]), "none", 16, progress=False)
    assert len(kept(own_cache)) == 4


@pytest.mark.parametrize("damage", [b"", b"no array", None])
def test_a_damaged_array_is_made_again(own_cache: Path, photos: Dataset, damage: bytes | None) -> None:
    first = np.array(pixels(photos, "none", 16, progress=False))
    (file,) = kept(own_cache)
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    np.testing.assert_array_equal(pixels(photos, "none", 16, progress=False), first)


def test_an_unreadable_image_is_named_and_nothing_half_written_remains(own_cache: Path, photos: Dataset) -> None:
    Path(photos.table["path"][7]).write_text("no image")
    with refused("unreadable image", str(photos.table["path"][7]), "--skip-unreadable", error=UnreadableImage):
        pixels(photos, "none", 16, progress=False)
    assert kept(own_cache) == []


def test_an_image_that_vanished_is_named(own_cache: Path, photos: Dataset) -> None:
    Path(photos.table["path"][3]).unlink()
    with refused(str(photos.table["path"][3]), error=UnreadableImage):
        pixels(photos, "none", 16, progress=False)


def test_a_crop_or_size_that_cannot_be_given_is_refused(own_cache: Path, photos: Dataset) -> None:
    with refused("unknown crop 'face'", "none, blazeface, annotated, masked"):
        pixels(photos, "face", 16, progress=False)
    for crop in ("annotated", "masked"):
        with refused(f"'{crop}'", "only the synthetic dataset"):
            pixels(photos, crop, 16, progress=False)
    for size in (0, -3):
        with refused(str(size), "at least 1"):
            pixels(photos, "none", size, progress=False)
    assert not own_cache.exists()


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", Path("/proc/fermoe")):
        monkeypatch.setenv("FERMOE_CACHE", str(place))
        with refused("image array cannot be written", str(place), "FERMOE_CACHE"):
            pixels(photos, "none", 16, progress=False)


def test_a_full_disk_is_one_line(own_cache: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays.os, "posix_fallocate", full, raising=False)
    with refused("No space left on device", "free space, or set FERMOE_CACHE=DIR"):
        pixels(photos, "none", 16, progress=False)
    assert kept(own_cache) == []


def test_unreadable_images_are_left_out_and_listed(photos: Dataset) -> None:
    for i in (2, 9):
        Path(photos.table["path"][i]).write_text("no image")
    good, problems = readable(photos)
    assert good.table["image"].tolist() == photos.table["image"].drop([2, 9]).tolist()
    assert list(good.table.index) == list(range(10))
    assert (good.name, good.labels, good.channels) == (photos.name, photos.labels, photos.channels)
    assert [line.split(":")[0] for line in problems] == [photos.table["image"][2], photos.table["image"][9]]
    assert all("unreadable image" in line and "\n" not in line for line in problems)
