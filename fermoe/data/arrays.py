"""A dataset's images, cropped and resized once, as one memory-mapped array.

Training never opens an image file: it reads rows of a uint8 array that is made on first use and shared by all runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from fermoe.data.datasets import fingerprint
from fermoe.data.faces import DetectorSettings, detect_faces
from fermoe.data.images import UnreadableImage, picture
from fermoe.errors import UserError
from fermoe.files import atomic, cache_dir, digest

CROPS = {
    "none": "the whole image",
    "blazeface": "the authors' rule on BlazeFace's first detection; the whole image where it finds none",
    "annotated": "the true face box (synthetic faces only)",
    "masked": "the whole image with the true face box painted grey: a control (synthetic faces only)",
}


CONTROLS = ("masked",)
"""The crops that destroy the face on purpose."""
GREY = 127


VERSION = 1  # raise it when the same table would give other pixels


CHUNK = 64


def pixels(
    table: pd.DataFrame, crop: str, size: int, *, workers: int | None = None, progress: bool = True
) -> np.ndarray:
    """The images of a table as a read-only memory map, uint8 (N, C, size, size), C = 1 for grey datasets, else RGB.

    Resizing is bilinear on 8-bit pixels without antialiasing, as the authors' `cv2.resize`.

    Raises:
        UserError: an unknown crop, an unreadable image, a crop the dataset cannot give, no space for the array.
    """
    if crop not in CROPS:
        raise UserError(f"unknown crop '{crop}'", fix=f"choose one of {', '.join(CROPS)}")
    if crop in ("annotated", "masked") and "face_x0" not in table:
        raise UserError(f"crop '{crop}' needs true face boxes", fix="only the synthetic dataset has them")
    if size < 1:
        raise UserError(f"the image size is {size}", fix="give at least 1 pixel")
    key = digest([VERSION, fingerprint(table), crop, size], 16)
    path = cache_dir() / "pixels" / f"{table.attrs['name']}-{crop}-{size}-{key}.npy"
    shape = (len(table), table.attrs["channels"], size, size)
    found = _recall(path, shape)
    if found is None:
        try:
            with atomic(path) as temporary:
                _fill(temporary, table, crop, size, workers, progress)
        except OSError as error:
            raise UserError(
                f"the image array cannot be written ({error.strerror or error})",
                where=path.parent,
                fix="free space, or set FERMOE_CACHE=DIR",
            ) from None
        found = np.load(path, mmap_mode="r")
    return found


def _recall(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array that was kept, or None where there is none or it was damaged (then it is made again)."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if (array.shape, array.dtype) == (shape, np.uint8) else None


def _fill(path: Path, table: pd.DataFrame, crop: str, size: int, workers: int | None, progress: bool) -> None:
    channels = table.attrs["channels"]
    rows = _with_boxes(table, crop, workers, progress)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(rows), channels, size, size))
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here, but kills a process that writes to the map
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    with tqdm(total=len(rows), desc=f"preparing images ({crop})", unit="image", disable=not progress) as bar:
        done = 0
        for part in _in_order(chunks, crop, size, channels, table.attrs["name"] == "synthetic", workers):
            array[done : done + len(part)] = part
            done += len(part)
            bar.update(len(part))
    array.flush()


def _in_order(
    chunks: list[list[dict[str, Any]]], crop: str, size: int, channels: int, drawn: bool, workers: int | None
) -> Iterator[np.ndarray]:
    """Decoding a file releases the interpreter lock, so threads do; drawing a face is Python, so processes do."""
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers == 1:
        for chunk in chunks:
            yield _prepare_chunk(chunk, crop, size, channels)
        return
    pool: Executor
    pool = ProcessPoolExecutor(workers, get_context("spawn")) if drawn else ThreadPoolExecutor(workers)
    with pool:
        n = len(chunks)
        yield from pool.map(_prepare_chunk, chunks, [crop] * n, [size] * n, [channels] * n)


def _prepare_chunk(rows: list[dict[str, Any]], crop: str, size: int, channels: int) -> np.ndarray:
    return np.stack([prepare(row, crop, size, channels) for row in rows])


def prepare(row: dict[str, Any], crop: str, size: int, channels: int) -> np.ndarray:
    """One row's picture, cropped to its box (`x0, y0, x1, y1`) and resized: uint8 (C, size, size)."""
    image = picture(row, channels)
    if crop == "masked":
        image = image.copy()
        image[row["y0"] : row["y1"], row["x0"] : row["x1"]] = GREY
    elif crop != "none":
        image = image[row["y0"] : row["y1"], row["x0"] : row["x1"]]
    resized = cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=cv2.INTER_LINEAR)
    return resized[None] if resized.ndim == 2 else resized.transpose(2, 0, 1)


def _with_boxes(table: pd.DataFrame, crop: str, workers: int | None, progress: bool) -> list[dict[str, Any]]:
    if crop == "blazeface":
        boxes = detect_faces(table, DetectorSettings(), workers=workers, progress=progress)
        table = table.assign(**{name: boxes[name].to_numpy() for name in ("x0", "y0", "x1", "y1")})
    elif crop in ("annotated", "masked"):
        size = int(table["size"].iloc[0])
        corners = {c: table[f"face_{c}"].round().astype(int).clip(0, size) for c in ("x0", "y0", "x1", "y1")}
        table = table.assign(**corners)
    return table.to_dict("records")


def readable(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Open every image; return the table without the unreadable ones, and one line about each of those."""

    def problem(row: dict[str, Any]) -> str | None:
        try:
            picture(row, table.attrs["channels"])
        except UnreadableImage as error:
            return f"{row['image']}: {error.what}"
        return None

    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(problem, table.to_dict("records"), chunksize=CHUNK))
    good = table[[p is None for p in problems]].reset_index(drop=True)
    good.attrs = table.attrs
    return good, [p for p in problems if p is not None]
