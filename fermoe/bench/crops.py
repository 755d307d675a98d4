"""How fast crops are made and read, beside the authors' logged 61–82 images a second.

Drawn faces are written as files first, at the sizes of FER-2013, AffectNet's subset and RAF-DB, so that reading and
decoding count as they do with real data.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fermoe.data.arrays import pixels
from fermoe.data.datasets import load_dataset
from fermoe.data.drawing import draw_face
from fermoe.data.faces import detect_faces
from fermoe.training.runs import provenance

AUTHORS_IMAGES_PER_SECOND = (61, 82)  # logged by their notebooks, detection inside the input pipeline
SIZES = (48, 96, 100)
BATCH = 32


def crop_benchmark(images: int = 1500, workers: int = 2, repeats: int = 3) -> pd.DataFrame:
    """Images a second for each step and input size: median, lowest and highest of `repeats`.

    Steps: "fill" (detector on every image, `workers` processes, their start included), "recall" (the same call on a
    filled cache: files are hashed, the detector does not run), "read" (training batches of crops in random order).
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            root = _write_faces(Path(folder) / str(size), images, size)
            faces = load_dataset("folder", root)
            rates: dict[str, list[float]] = {"fill": [], "recall": [], "read": []}
            for repeat in range(repeats):
                with _cache(Path(folder) / f"cache-{size}-{repeat}"):
                    detect = partial(detect_faces, faces, workers=workers, progress=False)
                    for step in ("fill", "recall"):
                        rates[step].append(_rate(images, detect))
                    crops = pixels(faces, "blazeface", 64, progress=False)
                    rates["read"].append(_rate(images, partial(_read, crops)))
            for step, values in rates.items():
                rows.append((step, size, images, workers, statistics.median(values), min(values), max(values)))
    columns = ["step", "pixels", "images", "processes", "images_per_second", "lowest", "highest"]
    table = pd.DataFrame(rows, columns=columns)
    table["authors_lowest"], table["authors_highest"] = AUTHORS_IMAGES_PER_SECOND
    table["processor"] = provenance()["hardware"]["processor"]
    return table


def _write_faces(root: Path, images: int, size: int) -> Path:
    """Grey tight faces at 48 pixels, colour scenes above, as a train/test folder."""
    test, framing = images // 5, "tight" if size == 48 else "scene"
    drawn = load_dataset("synthetic", train=images - test, test=test, size=size, framing=framing)
    for row in drawn.table.to_dict("records"):
        path = root / row["split"] / row["emotion"] / f"{row['index']:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_face(row)).save(path)
    return root


@contextmanager
def _cache(path: Path) -> Iterator[None]:
    before = os.environ.get("FERMOE_CACHE")
    os.environ["FERMOE_CACHE"] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["FERMOE_CACHE"]
        else:
            os.environ["FERMOE_CACHE"] = before


def _rate(images: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


def _read(crops: np.ndarray) -> None:
    order = np.random.default_rng(0).permutation(len(crops))
    for start in range(0, len(order), BATCH):
        crops[order[start : start + BATCH]]
