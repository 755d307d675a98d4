"""Dataset folders as the real ones lie on disk, made of tiny pictures, and the check that an error is one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fermoe.errors import UserError

FER2013 = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")  # folders 1 to 7
AFFECTNET8 = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")

Counts = Mapping[tuple[str, str], int]
"""(split, label) → images."""


@contextlib.contextmanager
def refused(*words: str, error: type[UserError] = UserError) -> Iterator[None]:
    """The block raises a UserError whose one line holds all `words`."""
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert message.rpartition(": ")[2].strip(), "nothing says what to do"
    for word in words:
        assert word in message


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Path:
    """Write one picture of coarse noise; its suffix decides the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(noise, mode).save(path)
    return path


def even(labels: Sequence[str], train: int = 3, test: int = 2) -> Counts:
    """The same number of images for every class."""
    return {(split, label): n for split, n in (("train", train), ("test", test)) for label in labels}


class Tree:
    """A folder to fill: the first picture is drawn, further ones are drawn too or, if `linked`, the same file again."""

    def __init__(self, root: Path, mode: str = "RGB", linked: bool = False):
        self.root, self.mode, self.linked, self.made = root, mode, linked, 0
        self.first: Path | None = None

    def add(self, name: str) -> None:
        path = self.root / name
        if self.linked and self.first is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.first, path)
        else:
            self.first = picture(path, self.made, (1, 1) if self.linked else (12, 12), self.mode)
        self.made += 1


def fer2013_tree(root: Path, counts: Counts | None = None) -> Path:
    """Kaggle's layout: grey JPEGs; a test image's name says whether it was PublicTest or PrivateTest."""
    tree = Tree(root, "L")
    for (split, label), n in (counts or even(FER2013)).items():
        for i in range(n):
            part = "Training" if split == "train" else ("PublicTest", "PrivateTest")[i % 2]
            tree.add(f"{split}/{label}/{part}_{tree.made}.jpg")
    return root


def rafdb_tree(root: Path, counts: Counts | None = None, linked: bool = False) -> Path:
    """Kaggle's mirror: one label file per split, folders named by the label's number."""
    tree, listed = Tree(root, linked=linked), {"train": [], "test": []}  # type: ignore[var-annotated]
    for (split, label), n in (counts or even(RAFDB)).items():
        number = RAFDB.index(label) + 1
        for i in range(n):
            name = f"{split}_{number}{i:05d}_aligned.jpg"
            tree.add(f"DATASET/{split}/{number}/{name}")
            listed[split].append((name, number))
    for split, rows in listed.items():
        pd.DataFrame(rows, columns=["image", "label"]).to_csv(root / f"{split}_labels.csv", index=False)
    return root


def affectnet_tree(
    root: Path, counts: Mapping[str, int] | None = None, *, pth: str = "{label}/{name}", on_disk: str | None = None,
    linked: bool = False,
) -> Path:  # fmt: skip
    """labels.csv with Kaggle's columns. `pth` and `on_disk` are the patterns of the listed and of the real path."""
    tree, rows = Tree(root, linked=linked), []
    for label, n in (counts or dict.fromkeys(AFFECTNET8, 5)).items():
        for i in range(n):
            values = {"label": label, "Label": label.title(), "name": f"image{i:07d}.jpg"}
            tree.add((on_disk or pth).format(**values))
            rows.append((pth.format(**values), label, 0.8))
    order = np.random.default_rng(0).permutation(len(rows))
    table = pd.DataFrame(rows, columns=["pth", "label", "relFCs"]).iloc[order].reset_index(drop=True)
    table.to_csv(root / "labels.csv")  # with Kaggle's unnamed first column
    return root


def folder_tree(root: Path, labels: Sequence[str] = ("cat", "dog"), train: int = 4, test: int = 2) -> Path:
    """Any <split>/<class>/<image>."""
    tree = Tree(root)
    for (split, label), n in even(labels, train, test).items():
        for _ in range(n):
            tree.add(f"{split}/{label}/{tree.made}.png")
    return root
