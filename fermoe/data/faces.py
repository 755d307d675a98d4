"""The paper's face crop: BlazeFace, the authors' rule to the pixel, and a record of every outcome.

Where the detector finds nothing the authors fall back to the whole image without a word. Here each image's outcome
is a row, so that a "cropped" dataset can be told from a mostly uncropped one. Detections are kept on disk under the
image's content and the detector's settings: the detector runs once per image, ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from fermoe.data.images import picture
from fermoe.errors import UserError
from fermoe.files import cache_dir, digest

OUTCOMES = ("detected", "no face", "empty crop")
"""What became of an image; everything but "detected" falls back to the whole image, as in the authors' code."""


CHUNK = 64  # images a worker takes at once, and rows a commit writes: an interrupted run loses at most this


PATIENCE = 60.0  # seconds to wait for another process that writes the cache


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
    x, y, w, h = (
        int(xmin * image_width), int(ymin * image_height), int(width * image_width), int(height * image_height)
    )  # fmt: skip
    x, y = max(0, x - w // 10), max(0, y - h // 10)
    w, h = min(image_width, w + w // 5), min(image_height, h + h // 5)
    return x, y, min(image_width, x + w), min(image_height, y + h)


def detect_faces(
    table: pd.DataFrame,
    settings: DetectorSettings | None = None,
    *,
    workers: int | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Run the detector over a dataset's images, or recall what it said.

    Args:
        table: of `load_dataset`.
        workers: processes; all cores by default.
        cache: the folder of the detection cache.

    Returns:
        One row per image, in the table's order: `image`, `outcome` (see `OUTCOMES`), `score`, the relative box
        `xmin, ymin, width, height` (NaN where no face was found), the image's `image_width, image_height`, and the
        crop `x0, y0, x1, y1` in pixels (the whole image where the outcome is not "detected").
    """
    settings = settings or DetectorSettings()
    with ThreadPoolExecutor() as pool:  # hashing and reading release the interpreter lock
        rows = table.to_dict("records")
        keys = list(pool.map(lambda row: _key(row, table.attrs, settings), rows, chunksize=CHUNK))
    with _Cache((cache or cache_dir()) / "blazeface.sqlite") as store:
        known = store.read(keys)
        todo = [(key, row) for key, row in zip(keys, rows, strict=True) if key not in known]
        todo = list({key: (key, row) for key, row in todo}.values())  # one detection for identical images
        for found in _detect_all(todo, table.attrs["channels"], settings, workers, progress):
            store.write(found)
            known |= found
    return _outcomes(table["image"].tolist(), [known[key] for key in keys])


Detection = tuple[float, float, float, float, float, int, int]
"""score (NaN: no face), xmin, ymin, width, height, image_width, image_height."""


def _outcomes(images: Sequence[str], detections: Sequence[Detection]) -> pd.DataFrame:
    columns = ["score", "xmin", "ymin", "width", "height", "image_width", "image_height"]
    result = pd.DataFrame(detections, columns=columns)
    result.insert(0, "image", images)
    outcomes, boxes = [], []
    for score, xmin, ymin, width, height, w, h in detections:
        box = (0, 0, w, h)
        outcome = "no face"
        if not np.isnan(score):
            box = crop_box(xmin, ymin, width, height, w, h)
            outcome = "detected"
            if box[2] <= box[0] or box[3] <= box[1]:
                box, outcome = (0, 0, w, h), "empty crop"
        outcomes.append(outcome)
        boxes.append(box)
    result.insert(1, "outcome", outcomes)
    result[["x0", "y0", "x1", "y1"]] = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    return result


def _key(row: dict[str, Any], attrs: dict[Any, Any], settings: DetectorSettings) -> str:
    """A hash of the image's content and the settings. A drawn face's content is its name and drawing rules."""
    if attrs["name"] == "synthetic":
        content = f"{row['image']} {row['emotion']} {attrs['drawing']}".encode()
    else:
        try:
            content = Path(row["path"]).read_bytes()
        except OSError:
            content = str(row["path"]).encode()  # the reader will say what is wrong with it
    return hashlib.sha256(content + digest(asdict(settings)).encode() + bytes([attrs["channels"]])).hexdigest()


def _detect_all(
    todo: list[tuple[str, dict[str, Any]]],
    channels: int,
    settings: DetectorSettings,
    workers: int | None,
    progress: bool,
) -> Iterator[dict[str, Detection]]:
    if not todo:
        return
    _require_mediapipe()
    chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    # Spawned, not forked: forking a process that runs PyTorch's threads can dead-lock.
    with (
        tqdm(total=len(todo), desc="detecting faces", unit="image", disable=not progress) as bar,
        ProcessPoolExecutor(workers, get_context("spawn"), _start_detector, (settings,)) as pool,
    ):
        try:
            for future in as_completed([pool.submit(_detect_chunk, chunk, channels) for chunk in chunks]):
                found = future.result()
                bar.update(len(found))
                yield found
        except BrokenProcessPool:
            raise UserError(
                "a face detection process died", fix="try again with fewer workers or more memory"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)  # after an error: do not first detect all other faces


def _require_mediapipe() -> None:
    from importlib.util import find_spec

    spec = find_spec("mediapipe")  # later releases lack the detector
    folders = spec.submodule_search_locations if spec is not None else None
    if not any(Path(folder, "python", "solutions", "face_detection.py").exists() for folder in folders or ()):
        raise UserError(
            "BlazeFace needs mediapipe 0.10.21, which is not installed", fix="pip install 'fermoe[blazeface]'"
        )


_detector: Callable[[np.ndarray], Detection]


def _start_detector(settings: DetectorSettings) -> None:
    """In each worker: load the model once, without its start-up chatter on stderr."""
    global _detector
    os.environ.setdefault("GLOG_minloglevel", "3")
    with _quiet_stderr():
        from mediapipe.python.solutions.face_detection import FaceDetection

        model = FaceDetection(
            model_selection=settings.model_selection, min_detection_confidence=settings.min_confidence
        )
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


def _detect_chunk(chunk: list[tuple[str, dict[str, Any]]], channels: int) -> dict[str, Detection]:
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


class _Cache:
    """key → detection in SQLite: safe for several processes at once, and whole after a crash.

    Each row carries a checksum; a damaged row counts as absent and is computed again, a damaged file is set
    aside and begun anew.
    """

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> _Cache:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self.path.replace(self.path.with_suffix(".damaged"))
                self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise self._unusable(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def _open(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            self.connection = sqlite3.connect(self.path, timeout=PATIENCE)
            try:
                self.connection.execute("PRAGMA journal_mode=WAL")
                self.connection.execute(
                    "CREATE TABLE IF NOT EXISTS detections (key TEXT PRIMARY KEY, score REAL, xmin REAL, ymin REAL,"
                    " width REAL, height REAL, image_width INTEGER, image_height INTEGER, checksum INTEGER)"
                )
                return
            except sqlite3.DatabaseError as error:
                self.connection.close()
                # SQLite does not wait by itself while another process changes the journal mode.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _unusable(self, error: Exception) -> UserError:
        return UserError(
            f"the detection cache cannot be used ({error})", where=self.path, fix="free space, or set FERMOE_CACHE=DIR"
        )

    def read(self, keys: Sequence[str]) -> dict[str, Detection]:
        known: dict[str, Detection] = {}
        try:
            for i in range(0, len(keys), 500):
                part = keys[i : i + 500]
                marks = ",".join("?" * len(part))
                for key, *values, checksum in self.connection.execute(
                    f"SELECT * FROM detections WHERE key IN ({marks})", part
                ):
                    detection = tuple(np.nan if value is None else value for value in values)
                    if checksum == _checksum(key, detection):
                        known[key] = detection  # type: ignore[assignment]
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._unusable(error) from None
            self.connection.close()  # damaged beyond its header: begin anew
            self.path.replace(self.path.with_suffix(".damaged"))
            self._open()
            return {}
        return known

    def write(self, found: dict[str, Detection]) -> None:
        rows = [(key, *detection, _checksum(key, detection)) for key, detection in found.items()]
        try:
            with self.connection:
                self.connection.executemany(
                    "INSERT OR REPLACE INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            raise self._unusable(error) from None


def _checksum(key: str, detection: Sequence[Any]) -> int:
    try:
        numbers = np.array([float(value) for value in detection])
    except (TypeError, ValueError):
        return -1  # text where a number belongs: no row has this checksum
    numbers[np.isnan(numbers)] = -1.0  # one bit pattern for every NaN
    return zlib.crc32(key.encode() + numbers.tobytes())
