"""A dataset's images, cropped and resized once, as one memory-mapped array.

Training never opens an image file: it reads rows of a uint8 array that is made on first use and shared by all runs.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fermoe.data.datasets import Dataset
from fermoe.data.faces import detect_faces
from fermoe.data.images import Row, UnreadableImage, map_images, picture
from fermoe.data.recipe import modules_of, recipe
from fermoe.errors import UserError
from fermoe.files import atomic, cache_dir, digest, one_at_a_time

CROPS = {
    "none": "the whole image",
    "blazeface": "the authors' rule on BlazeFace's first detection; the whole image where it finds none",
    "annotated": "the true face box (synthetic faces only)",
    "masked": "the whole image with the true face box painted grey: a control (synthetic faces only)",
}

CONTROLS = ("masked",)
"""The crops that destroy the face on purpose."""
GREY = 127


def pixels(dataset: Dataset, crop: str, size: int, *, workers: int | None = None, progress: bool = True) -> np.ndarray:
    """The images of a dataset as a read-only memory map, uint8 (N, C, size, size), C = 1 for grey ones, else RGB.

    Resizing is bilinear on 8-bit pixels without antialiasing, as the authors' `cv2.resize`.

    Raises:
        UserError: an unknown crop, an unreadable image, a crop the dataset cannot give, no space for the array.
    """
    if crop not in CROPS:
        raise UserError(f"unknown crop '{crop}'", fix=f"choose one of {', '.join(CROPS)}")
    if crop in ("annotated", "masked") and not dataset.has_boxes:
        raise UserError(f"crop '{crop}' needs true face boxes", fix="only the synthetic dataset has them")
    if size < 1:
        raise UserError(f"the image size is {size}", fix="give at least 1 pixel")
    modules = {"arrays", *modules_of(dataset.drawn), *(("faces",) if crop == "blazeface" else ())}
    key = digest([recipe(*sorted(modules)), dataset.fingerprint, dataset.times, crop, size], 16)
    path = cache_dir() / "pixels" / f"{dataset.name}-{crop}-{size}-{key}.npy"
    shape = (len(dataset), dataset.channels, size, size)
    found = _recall(path, shape)
    if found is None:
        try:
            with one_at_a_time(cache_dir() / "locks" / path.stem):
                found = _recall(path, shape)  # another process may have made it in the meantime
                if found is None:
                    with atomic(path) as temporary:
                        _fill(temporary, shape, dataset, crop, workers, progress)
                    found = np.load(path, mmap_mode="r")
        except OSError as error:
            what = f"the image array cannot be written ({error.strerror or error})"
            raise UserError(what, where=path.parent, fix="free space, or set FERMOE_CACHE=DIR") from None
    return found


def _recall(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array that was kept, or None where there is none or it was damaged (then it is made again)."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if (array.shape, array.dtype) == (shape, np.uint8) else None


def _fill(path: Path, shape: tuple[int, ...], dataset: Dataset, crop: str, workers: int | None, progress: bool) -> None:
    table = _with_boxes(dataset, crop, workers, progress)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here, but kills a process that writes to the map
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    one = partial(prepare, crop=crop, size=shape[-1], channels=dataset.channels)
    made = map_images(one, table, f"preparing images ({crop})", workers=workers, progress=progress)
    for i, image in enumerate(made):
        array[i] = image
    array.flush()


def prepare(row: Row, crop: str, size: int, channels: int) -> np.ndarray:
    """One row's picture, cropped to its box (`x0, y0, x1, y1`) and resized: uint8 (C, size, size)."""
    image = picture(row, channels)
    if crop == "masked":
        image = image.copy()
        image[row["y0"] : row["y1"], row["x0"] : row["x1"]] = GREY
    elif crop != "none":
        image = image[row["y0"] : row["y1"], row["x0"] : row["x1"]]
    resized = cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=cv2.INTER_LINEAR)
    return resized[None] if resized.ndim == 2 else resized.transpose(2, 0, 1)


def _with_boxes(dataset: Dataset, crop: str, workers: int | None, progress: bool) -> pd.DataFrame:
    """The dataset's table with the box that the crop is about, x0, y0, x1, y1 in pixels, if it is about one."""
    corners = ["x0", "y0", "x1", "y1"]
    if crop == "none":
        return dataset.table
    if crop == "blazeface":
        boxes = detect_faces(dataset, workers=workers, progress=progress)[corners]
    else:
        size = int(dataset.table["size"].iloc[0])
        boxes = dataset.table[[f"face_{corner}" for corner in corners]].round().astype(int).clip(0, size)
    return dataset.table.assign(**dict(zip(corners, boxes.to_numpy().T, strict=True)))


def readable(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """Open every image; return the dataset without the unreadable ones, and one line about each of those."""
    problem = partial(_problem, channels=dataset.channels)
    problems = list(map_images(problem, dataset.table, "opening images", progress=False))
    return dataset.subset([p is None for p in problems]), [p for p in problems if p is not None]


def _problem(row: Row, channels: int) -> str | None:
    try:
        picture(row, channels)
    except UnreadableImage as error:
        return f"{row['image']}: {error.what}"
    return None
