"""One picture: its face, what a network is shown of it, and what the network says once that has been changed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fermoe.data.datasets import Dataset, load_dataset
from fermoe.data.images import read_image
from fermoe.data.perturbations import perturb, usual_boxes
from fermoe.data.transforms import as_images
from fermoe.errors import UserError
from fermoe.evidence.grad_cam import FINE_SIDE
from fermoe.evidence.maps import branches, layer_maps, target_layer
from fermoe.plots.style import class_name
from fermoe.use.pictures import Picture
from fermoe.use.predict import CORNERS, require_usable, shown_to
from fermoe.use.trained import Trained

EXAMPLES: Mapping[str, Any] = {"train": 20, "test": 1, "seed": 2026, "occluded": 0.0}
"""Drawn faces with a seed of their own: no network was trained on them."""


@dataclass(frozen=True, eq=False)
class Face:
    """A picture, where its face is, and what a network is shown of it.

    Attributes:
        name: what the picture is called.
        picture: uint8 (H, W, 3), or (H, W) where the network is shown grey pictures.
        outcome: "detected", or why the network is shown the whole picture.
        box: x0, y0, x1, y1 in pixels of the picture.
        shown: what is inside the box, as the network takes it: float32 RGB (1, 3, S, S) in [0, 1].
        emotion: what a face that fermoe drew was drawn for; None for any other picture.
    """

    trained: Trained
    name: str
    picture: NDArray[np.uint8]
    outcome: str
    box: tuple[int, ...]
    shown: Tensor
    emotion: str | None = None

    @property
    def drawn(self) -> bool:
        return self.emotion is not None

    @property
    def note(self) -> str:
        """What is to be known of the network before its answer to this picture is read."""
        about = self.trained.about
        said = f"The network {self.trained.name} gets {about.accuracy} of its own test pictures right."
        if about.drawn:
            said += " It was trained on drawn faces alone and knows nothing about photographs"
            return said + ("." if self.drawn else ": on one, its answer means nothing.")
        return said + (" It was trained on photographs: on a drawn face, its answer means nothing." * self.drawn)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network says of a face.

    Attributes:
        seen: the changed picture, float32 RGB (3, S, S) in [0, 1].
        probabilities: by label, in the order of the logits.
        gates: one row per expert, one column per mixture.
        maps: by branch, Grad-CAM of the likeliest class, (S, S) in [0, 1].
    """

    seen: NDArray[np.floating[Any]]
    probabilities: pd.Series
    gates: pd.DataFrame
    maps: Mapping[str, NDArray[np.floating[Any]]]

    @property
    def sentence(self) -> str:
        """Such as "happy 61 %, neutral 20 %, sad 9 %"."""
        first = self.probabilities.sort_values(ascending=False, kind="stable").iloc[:3]
        return ", ".join(f"{class_name(str(label))} {100 * share:.0f} %" for label, share in first.items())


def open_face(trained: Trained, path: str | Path, name: str | None = None) -> Face:
    """Read a picture and find its face, as the network's evaluation did; `name` is what it is called, else its path.

    Raises:
        UserError: the picture cannot be read, or the network needs annotated faces.
    """
    require_usable(trained)
    image = read_image(path, trained.about.channels)
    whole = (image.shape[1], image.shape[0])
    name = str(path) if name is None else name
    faces, pixels = shown_to(trained, [Picture(name, str(path))], [whole], progress=False)
    row = faces.iloc[0]
    box = tuple(int(row[corner]) for corner in CORNERS)
    return Face(trained, name, image, str(row["outcome"]), box, as_images(torch.from_numpy(pixels)))


def open_drawn(trained: Trained, emotion: str) -> Face:
    """The drawn face of an emotion, by way of a file as every picture.

    Raises:
        UserError: no such emotion is drawn.
    """
    examples = _examples()
    if emotion not in drawn_emotions():
        raise UserError(f"no face is drawn for '{emotion}'", fix=f"choose one of {', '.join(drawn_emotions())}")
    row = examples.table["emotion"].tolist().index(emotion)
    with tempfile.TemporaryDirectory(prefix="fermoe-face-") as folder:
        path = Path(folder, "face.png")
        Image.fromarray(examples.read(row)).save(path)
        return replace(open_face(trained, path, f"drawn face, {class_name(emotion)}"), emotion=emotion)


def drawn_emotions() -> tuple[str, ...]:
    """The emotions for which a face is drawn."""
    return _examples().labels


@cache
def _examples() -> Dataset:
    return load_dataset("synthetic", **EXAMPLES)


def ask(face: Face, changes: Mapping[str, int] | None = None) -> Answer:
    """What the network says of a face, changed first.

    Args:
        face: from `open_face` or `open_drawn`.
        changes: severities from 0 to 5 by name (`fermoe.data.perturbations`), made one after the other in this order.
            Eyes and mouth are where they usually are in a face that fills the picture.

    Raises:
        UserError: an unknown change or severity.
    """
    network, images = face.trained.network, face.shown
    for name, severity in (changes or {}).items():
        images = perturb(name, severity, images, usual_boxes(1, face.trained.size), np.zeros(1, dtype=int))
    out = network.predict(images, features=False)
    probabilities = pd.Series(out.logits.softmax(1)[0].numpy(), index=list(face.trained.about.labels))
    gates = pd.DataFrame({mixture: values[0].numpy() for mixture, values in out.gates.items()})
    layers = [target_layer(network.model, branch, FINE_SIDE) for branch in branches(network.model)]
    found = layer_maps(network, images, layers, out.logits.argmax(1).tolist())
    maps = {layer.branch: values[0] for layer, values in zip(layers, found, strict=True)}
    return Answer(images[0].numpy(), probabilities, gates, maps)
