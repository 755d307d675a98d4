"""The paper's face crop: BlazeFace, the authors' rule to the pixel, and a record of every outcome.

Where the detector finds nothing the authors fall back to the whole image without a word. Here each image's outcome
is a row, so that a "cropped" dataset can be told from a mostly uncropped one. Detections are kept on disk under the
image's content and the detector's settings: the detector runs once per image, ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from fermoe.data.datasets import Dataset
from fermoe.data.images import CHUNK, Row, map_images, picture
from fermoe.data.recipe import modules_of, recipe
from fermoe.errors import UserError
from fermoe.files import cache_dir, digest

DETECTION = ("score", "xmin", "ymin", "width", "height", "image_width", "image_height")
Detection = tuple[float, float, float, float, float, int, int]
"""The values of `DETECTION`; the first five are NaN where no face was found."""

PATIENCE = 60.0  # seconds to wait for another process that writes the cache
_detector: Callable[[np.ndarray], Detection]  # of a worker process


@dataclass(frozen=True)
class DetectorSettings:
    """MediaPipe's BlazeFace as the authors use it: the full-range model, confidence 0.5, first detection."""

    model_selection: int = 1
    min_confidence: float = 0.5


def crop_box(
    xmin: float, ymin: float, width: float, height: float, image_width: int, image_height: int
) -> tuple[int, int, int, int]:
    """BlazeFace's relative box → the pixels the authors' rule keeps: image[y0:y1, x0:x1].

    The rule truncates the box to pixels, moves its corner out by a tenth of its size (not beyond the image) and
    makes it a fifth larger; slicing cuts it off at the right and bottom. A box outside the image gives an empty
    crop (x1 <= x0 or y1 <= y0).
    """
    x, y = int(xmin * image_width), int(ymin * image_height)
    w, h = int(width * image_width), int(height * image_height)
    x, y = max(0, x - w // 10), max(0, y - h // 10)
    w, h = min(image_width, w + w // 5), min(image_height, h + h // 5)
    return x, y, min(image_width, x + w), min(image_height, y + h)


def detect_faces(
    dataset: Dataset, settings: DetectorSettings | None = None, *, workers: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """Run the detector over a dataset's images in `workers` processes (one per core), or recall what it said.

    Returns:
        One row per image, in the dataset's order: `image`, `outcome` ("detected", "no face" or "empty crop"), `score`,
        the relative box `xmin, ymin, width, height` (NaN where no face was found), the image's `image_width,
        image_height`, and the crop `x0, y0, x1, y1` in pixels (the whole image where the outcome is not "detected", as
        in the authors' code).
    """
    settings = settings or DetectorSettings()
    rows, one = dataset.table.to_dict("records"), partial(_key, dataset=dataset, settings=settings)
    keys = list(map_images(one, dataset.table, "hashing", processes=False, progress=False))  # nothing is drawn
    cache = cache_dir() / "blazeface.sqlite"
    known = _recall(cache, keys)
    # One detection for identical images.
    todo = [(key, row) for key, row in dict(zip(keys, rows, strict=True)).items() if key not in known]
    for found in _detect_all(todo, dataset.channels, settings, workers, progress):
        _keep(cache, found)
        known |= found
    results = [(row["image"], *_outcome(known[key])) for key, row in zip(keys, rows, strict=True)]
    return pd.DataFrame(results, columns=["image", "outcome", *DETECTION, "x0", "y0", "x1", "y1"])


def _outcome(detection: Detection) -> tuple[Any, ...]:
    """The outcome, the detection itself, and the crop."""
    score, xmin, ymin, box_width, box_height, width, height = detection
    whole = (0, 0, width, height)
    if np.isnan(score):
        return "no face", *detection, *whole
    x0, y0, x1, y1 = crop_box(xmin, ymin, box_width, box_height, width, height)
    if x1 <= x0 or y1 <= y0:
        return "empty crop", *detection, *whole
    return "detected", *detection, x0, y0, x1, y1


def _key(row: Row, dataset: Dataset, settings: DetectorSettings) -> str:
    """A hash of the image's content, the settings and the code that reads and detects.

    A drawn face's content is its name and drawing rules.
    """
    code = recipe("faces", *modules_of(dataset.drawn))
    if dataset.drawn:
        content = f"{row['image']} {row['emotion']} {dataset.drawing}".encode()
    else:
        try:
            content = Path(row["path"]).read_bytes()
        except OSError:
            content = str(row["path"]).encode()  # the reader will say what is wrong with it
    return hashlib.sha256(content + digest([asdict(settings), code, dataset.channels], 64).encode()).hexdigest()


def _detect_all(
    todo: list[tuple[str, Row]], channels: int, settings: DetectorSettings, workers: int | None, progress: bool
) -> Iterator[dict[str, Detection]]:
    """Detections by key, a chunk at a time and as soon as it is done: an interrupted run loses no finished one.

    Not `map_images`: each process loads the model once, even if it is the only one, and what ends first comes first.
    """
    if not todo:
        return
    require_detector()
    chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_detector, (settings,))
    with pool, tqdm(total=len(todo), desc="detecting faces", unit="image", disable=not progress) as bar:
        try:
            for future in as_completed([pool.submit(_detect_chunk, chunk, channels) for chunk in chunks]):
                found = future.result()
                bar.update(len(found))
                yield found
        except BrokenProcessPool:
            fix = "try again with fewer workers or more memory"
            raise UserError("a face detection process died", fix=fix) from None
        finally:
            pool.shutdown(cancel_futures=True)  # after an error: do not first detect all other faces


def require_detector() -> None:
    """Raise the UserError that says how to install it where BlazeFace is not there."""
    spec = importlib.util.find_spec("mediapipe")  # later releases lack the detector
    folders = spec.submodule_search_locations if spec is not None else None
    if not any(Path(folder, "python", "solutions", "face_detection.py").exists() for folder in folders or ()):
        what = "BlazeFace needs mediapipe 0.10.21, which is not installed"
        raise UserError(what, fix="pip install 'fermoe[blazeface]'")


def _start_detector(settings: DetectorSettings) -> None:
    """In each worker: load the model once, without its start-up chatter on stderr."""
    global _detector
    os.environ.setdefault("GLOG_minloglevel", "3")
    with _quiet_stderr():
        from mediapipe.python.solutions.face_detection import FaceDetection

        model = FaceDetection(settings.min_confidence, settings.model_selection)
        model.process(np.zeros((64, 64, 3), np.uint8))  # it logs again at its first image

    def detect(image: np.ndarray) -> Detection:
        height, width = image.shape[:2]
        rgb = np.ascontiguousarray(np.stack([image] * 3, -1) if image.ndim == 2 else image)
        detections = model.process(rgb).detections
        if not detections:
            return (np.nan, np.nan, np.nan, np.nan, np.nan, width, height)
        box = detections[0].location_data.relative_bounding_box
        return (float(detections[0].score[0]), box.xmin, box.ymin, box.width, box.height, width, height)

    _detector = detect


def _detect_chunk(chunk: list[tuple[str, Row]], channels: int) -> dict[str, Detection]:
    return {key: _detector(picture(row, channels)) for key, row in chunk}


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: MediaPipe's C++ parts log before any Python setting reaches them."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextlib.contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """The cache, for one transaction: safe for several processes at once, and whole after a crash.

    Raises:
        sqlite3.DatabaseError: the file is damaged; it has been set aside, and the next transaction begins anew.
        UserError: it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In its usual journal mode SQLite itself waits for other processes, and works on network drives.
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS detections (key TEXT PRIMARY KEY, score REAL, xmin REAL, ymin REAL,"
                " width REAL, height REAL, image_width INTEGER, image_height INTEGER, checksum INTEGER)"
            )
            yield connection
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                path.replace(path.with_suffix(".damaged"))
            raise error
        what = f"the detection cache cannot be used ({error})"
        raise UserError(what, where=path, fix="free space, or set FERMOE_CACHE=DIR") from None


def _recall(path: Path, keys: Sequence[str]) -> dict[str, Detection]:
    """What is known of `keys`. Each row carries a checksum; a damaged row counts as absent and is computed again."""
    known: dict[str, Detection] = {}
    try:
        with _database(path) as connection:
            for i in range(0, len(keys), 500):  # SQLite limits the number of question marks
                part = keys[i : i + 500]
                query = f"SELECT * FROM detections WHERE key IN ({','.join('?' * len(part))})"
                for key, *values, checksum in connection.execute(query, part):
                    detection = tuple(np.nan if value is None else value for value in values)
                    if checksum == _checksum(key, detection):
                        known[key] = detection  # type: ignore[assignment]
    except sqlite3.DatabaseError:
        return {}
    return known


def _keep(path: Path, found: dict[str, Detection]) -> None:
    rows = [(key, *detection, _checksum(key, detection)) for key, detection in found.items()]
    with contextlib.suppress(sqlite3.DatabaseError), _database(path) as connection:
        connection.executemany("INSERT OR REPLACE INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _checksum(key: str, detection: Sequence[Any]) -> int:
    try:
        numbers = np.array([float(value) for value in detection])
    except (TypeError, ValueError):
        return -1  # text where a number belongs: no row has this checksum
    numbers[np.isnan(numbers)] = -1.0  # one bit pattern for every NaN
    return zlib.crc32(key.encode() + numbers.tobytes())
