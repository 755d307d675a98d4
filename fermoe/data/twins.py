"""Which images of a dataset are one and the same picture?

Web-scraped datasets hold some pictures several times, under different names and in different splits: 568 of FER-2013's
7,178 test images are, pixel for pixel, among its training images. A network may have learned those by heart.
"""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fermoe.data.datasets import Dataset
from fermoe.data.images import Row, map_images, picture
from fermoe.data.recipe import recipe
from fermoe.files import atomic, cache_dir, digest


def content_hash(pixels: np.ndarray) -> bytes:
    """What two images share if and only if their decoded pixels (uint8, any shape) are the same."""
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()


def picture_numbers(dataset: Dataset, *, workers: int | None = None, progress: bool = True) -> NDArray[np.int64]:
    """A number for each image (N,): equal for images whose decoded pixels are the same, its twins.

    Every image is opened once; the numbers are kept in the cache. Drawn faces differ, each having a seed of its own.

    Raises:
        UserError: an unreadable image.
    """
    if dataset.drawn:
        return np.arange(len(dataset))
    key = digest([recipe("images", "twins"), dataset.fingerprint, dataset.times], 16)
    path = cache_dir() / "twins" / f"{dataset.name}-{key}.npy"
    try:
        found = np.load(path)
    except (OSError, ValueError, EOFError):  # not there yet, or damaged
        found = np.empty(0)
    if found.shape != (len(dataset),):
        one = partial(_hash, channels=dataset.channels)
        opened = map_images(one, dataset.table, "looking for twins", workers=workers, progress=progress)
        found = pd.factorize(np.array(list(opened), dtype=object))[0].astype(np.int64)
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, found)
    return found


def _hash(row: Row, channels: int) -> bytes:
    return content_hash(picture(row, channels))
