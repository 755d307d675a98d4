"""Rows of a dataset → their pictures: image files read the same way everywhere, or drawn faces; one or many."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from tqdm import tqdm

from fermoe.data.drawing import draw_face
from fermoe.errors import UserError

# By Pillow's name, the formats that are read, and the suffixes by which folders are searched for them. Pillow opens
# many more by their content, whatever a file is called, and some with other programs: EPS starts Ghostscript.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
IMAGE_SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
MAX_PIXELS = 64_000_000  # larger files are refused before they are decoded: no face dataset holds such images
CHUNK = 64  # rows that a process takes at once
Row = dict[str, Any]  # of a dataset's table, by column
T = TypeVar("T")

# Pillow warns about what it mends or skips; here a file is read or refused, and nothing is said in between.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(UserError):
    """An image file that is missing, damaged, or no image."""


def read_image(path: str | Path, channels: int = 3) -> np.ndarray:
    """Read an image file as uint8: (H, W) for one channel, (H, W, 3) RGB for three.

    Animated files give their first frame, 16-bit ones are scaled to 8, CMYK, palette and transparent ones are
    converted, and EXIF orientation is applied.

    Raises:
        UnreadableImage: the file is missing, empty, truncated, too large or no image.
    """
    try:
        with Image.open(path, formats=tuple(FORMATS)) as file:
            if file.width * file.height > MAX_PIXELS:
                what = f"image of {file.width}×{file.height} pixels, more than {MAX_PIXELS // 10**6} million"
                raise UnreadableImage(what, where=path, fix="shrink it")
            file.seek(0)
            image = ImageOps.exif_transpose(file)
            assert image is not None
            if image.mode.startswith("I;16") or image.mode in ("I", "F"):
                image = _scale_to_8_bit(image)
            return np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except FileNotFoundError:
        raise UnreadableImage("image file not found", where=path, fix="restore it, or --skip-unreadable") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        # Pillow's decoders raise all of these on damaged files.
        reason = str(error).replace(str(path), "").replace("''", "").strip() or type(error).__name__
        what = f"unreadable image ({reason})"
        raise UnreadableImage(what, where=path, fix="replace it, or --skip-unreadable") from None


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit grey keeps its 8 high bits; other deep modes are stretched from their own range."""
    values = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16") or (image.mode == "I" and values.min() >= 0 and values.max() > 255):
        values = values / 257.0  # 65535 → 255
    elif image.mode == "F":
        finite = np.isfinite(values)
        low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
        values = np.nan_to_num(values, nan=low, neginf=low, posinf=high)
        values = (values - low) / (high - low) * 255.0 if high > low else values * 0.0
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))


def is_drawn(row: Mapping[str, Any] | pd.DataFrame) -> bool:
    """Whether a row, or a whole table, is of drawn faces, which carry their factors, and not of files."""
    return "framing" in row


def picture(row: Mapping[str, Any], channels: int) -> np.ndarray:
    """uint8 (H, W) for one channel, (H, W, 3) RGB for three."""
    return draw_face(row) if is_drawn(row) else read_image(row["path"], channels)


def map_images(
    function: Callable[[Row], T],
    table: pd.DataFrame,
    title: str,
    *,
    workers: int | None = None,
    progress: bool = True,
    processes: bool | None = None,
) -> Iterator[T]:
    """`function` of each row of a dataset's table, in order, on all cores or by as many `workers`.

    Decoding a file releases the interpreter lock, so threads do; drawing a face is Python and needs `processes` (by
    default, where faces are drawn) to run side by side. Those are spawned: forking a process that runs PyTorch's
    threads can dead-lock.
    """
    rows: list[Row] = table.to_dict("records")
    workers = max(1, min(workers or os.cpu_count() or 1, math.ceil(len(rows) / CHUNK)))
    apart = workers > 1 and (is_drawn(table) if processes is None else processes)
    pool: Executor = ProcessPoolExecutor(workers, get_context("spawn")) if apart else ThreadPoolExecutor(workers)
    with pool:
        results = pool.map(function, rows, chunksize=CHUNK)
        yield from tqdm(results, desc=title, total=len(rows), unit="image", disable=not progress)
