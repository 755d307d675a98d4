"""Pictures → the face → what the network is shown → a table of its answers.

Every step is the one by which the network was evaluated: the detector and the crop of `fermoe.data.faces`, reading and
resizing of `fermoe.data.arrays`, pixel values of `fermoe.data.transforms`, the network of `fermoe.training.inference`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import torch

from fermoe.data.arrays import prepare
from fermoe.data.datasets import Dataset
from fermoe.data.faces import detect_faces
from fermoe.data.images import Row, UnreadableImage, map_images, picture
from fermoe.data.transforms import as_images
from fermoe.errors import UserError
from fermoe.training.inference import BATCH
from fermoe.use.pictures import EVERY, Picture, Pictures
from fermoe.use.trained import Trained

CORNERS = ("x0", "y0", "x1", "y1")
USABLE = ("none", "blazeface")
"""The crops that pictures without annotations can be given."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network says of some pictures.

    Attributes:
        table: one row per picture: `file`, `frame` (of a video, else empty), `outcome` ("detected", or why the network
            was shown the whole image: "no face", "empty crop", "whole image" where it was trained on those), `score`
            of the detector, the box that was shown `x0, y0, x1, y1` in pixels, `label`, `p_<label>` and
            `gate_<mixture>_<expert>`.
        problems: one line for each file of which nothing could be used.
    """

    table: pd.DataFrame
    problems: list[str] = field(default_factory=list)


def predict_pictures(
    trained: Trained,
    paths: Sequence[str],
    *,
    every: int = EVERY,
    batch_size: int = BATCH,
    progress: bool = True,
    shown: Callable[[Sequence[Picture], pd.DataFrame], None] | None = None,
) -> Predictions:
    """Ask a network about images, folders of images, patterns ("*.jpg") and videos.

    Each picture has one face: the detector's first. A file that cannot be read is left out and named in `problems`.

    Args:
        trained: from `load_trained` or `load_run`.
        paths: what is to be looked at.
        every: of a video every how many frames one is taken.
        batch_size: pictures that the network is given at once; by default as many as where evidence is measured.
        progress: show progress bars.
        shown: called with some pictures and their rows while the files behind them are there.

    Raises:
        UserError: the network was trained on a crop that needs annotations.
    """
    require_usable(trained)
    pictures = Pictures(paths, every)
    parts = []
    for part in pictures.parts():
        readable, whole = _readable(trained, part, pictures.problems, progress)
        if readable:
            table = _ask(trained, readable, whole, batch_size, progress)
            parts.append(table)
            if shown is not None:
                shown(readable, table)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return Predictions(table, pictures.problems)


def require_usable(trained: Trained) -> None:
    """Raise a UserError where a network was trained on a crop that pictures without annotations cannot be given."""
    if trained.network.config.test_crop not in USABLE:
        what = f"the network was trained on the crop '{trained.network.config.test_crop}', which needs true face boxes"
        raise UserError(what, fix=f"choose a network of the crop {' or '.join(USABLE)}")


def _readable(
    trained: Trained, part: Sequence[Picture], problems: list[str], progress: bool
) -> tuple[list[Picture], list[tuple[int, int]]]:
    """The pictures that can be read, with width and height; a line about each of the others."""
    rows = pd.DataFrame({"path": [p.path for p in part]})
    look = partial(_look, channels=trained.about.channels)
    found = list(map_images(look, rows, "reading pictures", progress=progress))
    problems += [f"{p.name}: {problem}" for p, problem in zip(part, found, strict=True) if isinstance(problem, str)]
    good = [(p, size) for p, size in zip(part, found, strict=True) if not isinstance(size, str)]
    return [p for p, _ in good], [size for _, size in good]


def _look(row: Row, channels: int) -> tuple[int, int] | str:
    try:
        height, width = picture(row, channels).shape[:2]
    except UnreadableImage as error:
        return error.what
    return width, height


def _ask(
    trained: Trained, part: Sequence[Picture], whole: Sequence[tuple[int, int]], batch_size: int, progress: bool
) -> pd.DataFrame:
    """The rows of pictures that can be read."""
    about = trained.about
    faces, pixels = shown_to(trained, part, whole, progress)
    answers = [
        trained.network.predict(as_images(torch.from_numpy(batch)), features=False, batch_size=batch_size)
        for batch in np.split(pixels, range(batch_size, len(pixels), batch_size))  # float32 is four times as large
    ]
    probabilities = torch.cat([out.logits for out in answers]).softmax(1).numpy()
    columns = {f"p_{name}": probabilities[:, i] for i, name in enumerate(about.labels)}
    for mixture in answers[0].gates:
        gates = torch.cat([out.gates[mixture] for out in answers]).numpy()
        columns |= {f"gate_{mixture}_{i}": gates[:, i] for i in range(gates.shape[1])}
    frames = pd.array([p.frame for p in part], dtype="Int64")
    said = pd.DataFrame({"file": [p.file for p in part], "frame": frames}).join(faces)
    said["label"] = [about.labels[i] for i in probabilities.argmax(1)]
    return said.join(pd.DataFrame(columns))


def shown_to(
    trained: Trained, part: Sequence[Picture], whole: Sequence[tuple[int, int]], progress: bool = True
) -> tuple[pd.DataFrame, np.ndarray]:
    """What a network is shown of pictures that can be read, of which `whole` are width and height.

    Returns:
        One row per picture with `outcome`, `score` and the box `x0, y0, x1, y1` in pixels (as in `Predictions`), and
        the pixels inside it as the network takes them, uint8 (N, C, S, S).
    """
    about, crop = trained.about, str(trained.network.config.test_crop)
    table = pd.DataFrame({"image": [p.name for p in part], "path": [p.path for p in part]})
    dataset = Dataset(table, "pictures", tuple(about.labels), about.channels)
    faces = _faces(dataset, crop, whole, progress)
    rows = pd.concat([table, faces], axis=1)
    one = partial(prepare, crop=crop, size=trained.size, channels=about.channels)
    return faces, np.stack(list(map_images(one, rows, "cropping", progress=progress)))


def _faces(dataset: Dataset, crop: str, whole: Sequence[tuple[int, int]], progress: bool) -> pd.DataFrame:
    """Outcome, score and box of each picture; the box is the whole picture where the network sees whole ones."""
    if crop == "blazeface":
        return detect_faces(dataset, progress=progress)[["outcome", "score", *CORNERS]]
    boxes = pd.DataFrame([(0, 0, *size) for size in whole], columns=list(CORNERS))
    return boxes.assign(outcome="whole image", score=np.nan)[["outcome", "score", *CORNERS]]
