"""The datasets of the paper, the embedded one, and any folder: one table of specifications.

This is the one place that fixes each dataset's label order, layout and published counts. `load_dataset` lists the
images without opening them; `fermoe.data.audit` opens and compares them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fermoe.data.images import IMAGE_SUFFIXES, UnreadableImage, is_drawn, picture
from fermoe.data.synthetic import SyntheticConfig, face_table
from fermoe.errors import UserError, shortened
from fermoe.paper.published import class_counts

PROTOCOLS = ("published", "audited")
VALIDATION_SHARE = 0.1
AFFECTNET_SPLIT_SEED = 52  # of the authors' train_test_split; another seed is another dataset
_FER2013 = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
_RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")
_AFFECTNET8 = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
_AFFECTNET7 = tuple(label for label in _AFFECTNET8 if label != "contempt")


@dataclass(frozen=True)
class DatasetSpec:
    """What is known about a dataset before its files are seen.

    `labels` is its fixed label order; a label is an index into it; empty means: the class folders that are found.
    `tested_cropped` says whether the authors' code crops the test images as it crops the training images (on FER-2013
    it does not). `load` lists the images in a folder; None where they are drawn and need none.
    """

    name: str
    title: str
    layout: str
    labels: tuple[str, ...]
    channels: int
    load: Callable[[DatasetSpec, Path], pd.DataFrame] | None
    tested_cropped: bool = True

    def published_counts(self) -> pd.DataFrame | None:
        """The authors' class counts (split, label, images), or None where there are none."""
        counts = class_counts().query("dataset == @self.name")
        return counts[["split", "label", "images"]].reset_index(drop=True) if len(counts) else None


@dataclass(frozen=True, eq=False)
class Dataset:
    """The images of a dataset, listed and not opened, and what is known of all of them.

    Attributes:
        table: one row per image: `image` (its id, relative to the dataset's folder), `path` (to open it), `label`
            (index into `labels`), `emotion` (its name), `split` ("train" or "test"), and what the dataset offers
            besides: `usage` (fer2013: Training, PublicTest, PrivateTest), the synthetic factors and boxes.
        name: one of `DATASETS`.
        labels: the names of the classes, in the dataset's fixed order.
        channels: 1 for grey images, 3 for RGB.
        skipped: ids of listed images that do not exist and were left out.
        drawing: of drawn faces: what their ids leave open about how they are drawn; empty for files.
    """

    table: pd.DataFrame
    name: str
    labels: tuple[str, ...]
    channels: int
    skipped: tuple[str, ...] = ()
    drawing: str = ""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def drawn(self) -> bool:
        """Whether the images are drawn faces (the synthetic dataset) and not files."""
        return is_drawn(self.table)

    @property
    def has_boxes(self) -> bool:
        """Whether the true boxes of face, eyes and mouth are known."""
        return "face_x0" in self.table

    def read(self, i: int) -> np.ndarray:
        """The picture of row `i`: uint8 (H, W) where there is one channel, else (H, W, 3) RGB."""
        return picture(self.table.iloc[i].to_dict(), self.channels)

    def subset(self, rows: ArrayLike) -> Dataset:
        """The images at `rows` (positions in the order wanted, or a mask), numbered anew; all else stays."""
        return replace(self, table=self.table.iloc[np.asarray(rows)].reset_index(drop=True))

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits over every image's id, label, split and file size: which data a run has seen.

        Contents are not read: a changed image of the same size goes unnoticed here, but not by a study or by a cache.
        """
        hasher = hashlib.sha256(repr(self.labels).encode())
        for row in self.table[["image", "label", "split", "path"]].itertuples(index=False):
            try:  # a drawn face's id names its framing, seed and index already
                size = self.drawing if self.drawn else os.stat(row.path).st_size
            except OSError as error:
                reason = error.strerror or str(error)
                raise UnreadableImage(f"unreadable image ({reason})", where=row.path, fix="restore it") from None
            hasher.update(f"{row.image}\0{row.label}\0{row.split}\0{size}\n".encode(errors="surrogateescape"))
        return hasher.hexdigest()[:16]

    @cached_property
    def times(self) -> str:
        """Sixteen hex digits over when every file was written, for caches: a changed image of the same size counts.

        Another copy of the data has other times; that costs a cache and changes no result.
        """
        times = [] if self.drawn else [os.stat(path).st_mtime_ns for path in self.table["path"]]
        return hashlib.sha256(repr(times).encode()).hexdigest()[:16]


def load_dataset(
    name: str, root: str | Path | None = None, *, skip_unreadable: bool = False, **options: Any
) -> Dataset:
    """List a dataset's images.

    Args:
        name: one of `DATASETS`.
        root: the folder that holds the dataset; "synthetic" needs none.
        skip_unreadable: leave out listed images that do not exist (kept in `Dataset.skipped`).
        options: of `SyntheticConfig`, for "synthetic" only.

    Raises:
        UserError: unknown name, missing root, wrong layout, unknown or missing class, a wrong label file.
    """
    config = check_options(name, options)
    spec = DATASETS[name]
    listed = spec.load
    if listed is None:
        assert config is not None
        return _synthetic(config)
    if root is None:
        raise UserError(f"dataset '{name}' needs its folder", fix="give --root DIR (in a study: --set root=DIR)")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise UserError(f"no such dataset folder for '{name}'", where=root, fix=f"expected {spec.layout}")
    if not spec.labels:
        spec = replace(spec, labels=tuple(_class_folders(spec, root, "train")))
    table = listed(spec, root)
    exists = np.array([os.path.isfile(path) for path in table["path"]], dtype=bool)
    if not exists.all() and not skip_unreadable:
        first = table.loc[~exists, "path"].iloc[0]
        what = f"{(~exists).sum()} listed images do not exist, the first"
        raise UserError(what, where=first, fix="restore, or --skip-unreadable")
    skipped = tuple(table.loc[~exists, "image"])
    table = table[exists].reset_index(drop=True)
    table["emotion"] = [spec.labels[label] for label in table["label"]]
    return Dataset(table, name, spec.labels, spec.channels, skipped)


def protocol_splits(
    dataset: Dataset, protocol: str, seed: int = 0, pictures: ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Row positions of "train", "validation" and "test" under a protocol.

    "published" validates on the test set, as the authors' code does. "audited" carves a stratified tenth out of
    the training set; `seed` draws it, the same for every training seed of a study, so that runs stay comparable.

    With `pictures` (N,), numbers that twins share (`fermoe.data.twins`), the audited protocol sets twins apart: a
    test image's twins leave the training images, and all images of one picture are trained on or validated on
    together. Without them, or where no two images are the same, every training image stays.
    """
    from sklearn.model_selection import train_test_split  # here: it takes half a second

    train, test = (np.flatnonzero(dataset.table["split"] == split) for split in ("train", "test"))
    if not len(test):
        raise UserError(f"dataset '{dataset.name}' has no test images", fix="a run needs at least one")
    if protocol == "published":
        return {"train": train, "validation": test, "test": test}
    if protocol != "audited":
        raise UserError(f"unknown protocol '{protocol}'", fix=f"choose one of {', '.join(PROTOCOLS)}")
    numbers = np.arange(len(dataset)) if pictures is None else np.asarray(pictures)
    if numbers.shape != (len(dataset),):
        raise ValueError(f"need one picture number for each of {len(dataset)} images, not shape {numbers.shape}")
    train = train[~np.isin(numbers[train], numbers[test])]
    if len(train) < 2:
        what = f"{len(train)} training image{'s' * (len(train) != 1)} cannot be split"
        raise UserError(what, fix="the audited protocol needs two at least")
    # Of twins the first one is drawn, and the others go with it.
    first = train[np.unique(numbers[train], return_index=True)[1]]
    first.sort()
    labels = dataset.table["label"].to_numpy()[first]
    rarest = np.bincount(labels).min(initial=len(labels), where=np.bincount(labels) > 0)
    # One image of a class cannot be shared between two sets: such a toy set is split without stratification.
    stratify = labels if rarest >= 2 and len(first) * VALIDATION_SHARE >= len(np.unique(labels)) else None
    _, drawn = train_test_split(first, test_size=VALIDATION_SHARE, random_state=seed, stratify=stratify)
    held_out = np.isin(numbers[train], numbers[drawn])
    return {"train": train[~held_out], "validation": train[held_out], "test": test}


def check_options(name: str, options: Mapping[str, Any]) -> SyntheticConfig | None:
    """The drawn dataset's options as it takes them, None for files, which have none.

    Raises:
        UserError: an unknown dataset, option or value.
    """
    if name not in DATASETS:
        raise UserError(f"unknown dataset '{shortened(name)}'", fix=f"choose one of {', '.join(DATASETS)}")
    if DATASETS[name].load is not None:
        for option in options:
            what = f"dataset '{name}' has no option '{shortened(option)}'"
            raise UserError(what, fix="options are for 'synthetic' only")
        return None
    from fermoe.schema import checked  # here: a run on files need not wait for pydantic

    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return checked(SyntheticConfig, values, where="options of the synthetic dataset")


def channels_of(name: str, options: Mapping[str, Any]) -> int:
    """1 where a dataset's images are grey, 3 for RGB, without listing them."""
    config = check_options(name, options)
    return DATASETS[name].channels if config is None else _drawn_channels(config)


def _drawn_channels(config: SyntheticConfig) -> int:
    return 1 if config.framing == "tight" else 3


def _synthetic(config: SyntheticConfig) -> Dataset:
    table = face_table(config)
    table["image"] = table["path"]
    drawing = f"{config.framing} {config.size} {config.occluded}"
    return Dataset(table, "synthetic", config.labels, _drawn_channels(config), drawing=drawing)


def _tree(spec: DatasetSpec, root: Path) -> pd.DataFrame:
    """<root>/<split>/<class folder>/<image> → rows, in sorted order."""
    rows: list[tuple[str, str, int, str]] = []
    labels = spec.labels
    if len(labels) < 2:
        raise UserError(f"{len(labels)} class folders found", where=root / "train", fix=f"expected {spec.layout}")
    for split in ("train", "test"):
        folder, found = root / split, set(_class_folders(spec, root, split))
        for label in sorted(found - set(labels)):
            raise UserError(f"unknown class folder '{label}'", where=folder, fix=f"expected {', '.join(labels)}")
        for index, label in enumerate(labels):
            if label not in found:
                raise UserError(f"class folder '{label}' is missing", where=folder, fix=f"expected {spec.layout}")
            names = sorted(e.name for e in (folder / label).iterdir() if e.suffix.lower() in IMAGE_SUFFIXES)
            rows += [(f"{split}/{label}/{n}", str(folder / label / n), index, split) for n in names]
    if not rows:
        raise UserError("no images found", where=root, fix=f"expected {spec.layout}")
    return pd.DataFrame(rows, columns=["image", "path", "label", "split"])


def _class_folders(spec: DatasetSpec, root: Path, split: str) -> list[str]:
    """Names of a split's folders, but for hidden ones: Jupyter leaves .ipynb_checkpoints wherever it looked."""
    folder = root / split
    if not folder.is_dir():
        raise UserError(f"folder '{split}' is missing", where=root, fix=f"expected {spec.layout}")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _fer2013(spec: DatasetSpec, root: Path) -> pd.DataFrame:
    table = _tree(spec, root)
    # Kaggle's file names keep FER-2013's own split: PublicTest_123.jpg, PrivateTest_123.jpg, Training_123.jpg.
    prefix = table["image"].str.rsplit("/", n=1).str[1].str.split("_").str[0]
    table["usage"] = prefix.where(prefix.isin(["Training", "PublicTest", "PrivateTest"]), "unknown")
    return table


def _read_csv(path: Path, columns: tuple[str, str], spec: DatasetSpec) -> pd.DataFrame:
    if not path.is_file():
        raise UserError("the label file is missing", where=path, fix=f"expected {spec.layout}")
    try:
        table = pd.read_csv(path, dtype=str)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser and empty-file errors are ValueErrors
        raise UserError(f"not a CSV file ({error})", where=path, fix=f"columns {', '.join(columns)}") from None
    for column in (column for column in columns if column not in table):
        raise UserError(f"column '{column}' is missing", where=path, fix=f"columns {', '.join(columns)}")
    incomplete = table[list(columns)].isna().any(axis=1).to_numpy()
    if incomplete.any():
        raise UserError(f"line {int(np.argmax(incomplete)) + 2} is incomplete", where=path, fix="complete or remove it")
    if table.empty:
        raise UserError("the label file has no lines", where=path, fix=f"expected {spec.layout}")
    return table


def _refuse_others(labels: pd.Series, known: pd.Series, path: Path, classes: str) -> None:
    if not known.all():
        at = int(np.argmin(known))
        what = f"label '{shortened(labels.iloc[at])}' on line {at + 2} is not a class"
        raise UserError(what, where=path, fix=f"labels are {classes}")


def _refuse_outside(images: pd.Series, path: Path) -> None:
    """A label file names images below its own folder, never elsewhere."""
    outside = images.str.contains(r"^[/~]|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)|\0", regex=True).to_numpy(bool)
    if outside.any():
        at = int(np.argmax(outside))
        what = f"'{shortened(images.iloc[at])}' on line {at + 2} leads out of the dataset's folder"
        raise UserError(what, where=path, fix="give paths below that folder")


def _rafdb(spec: DatasetSpec, root: Path) -> pd.DataFrame:
    parts = []
    for split in ("train", "test"):
        path = root / f"{split}_labels.csv"
        listed = _read_csv(path, ("image", "label"), spec)
        numbers = [str(number) for number in range(1, len(spec.labels) + 1)]
        _refuse_others(listed["label"], listed["label"].isin(numbers), path, f"1 to {numbers[-1]}")
        _refuse_outside(listed["image"], path)
        image = "DATASET/" + split + "/" + listed["label"] + "/" + listed["image"]
        parts.append(pd.DataFrame({"image": image, "label": listed["label"].astype(int) - 1, "split": split}))
    table = pd.concat(parts, ignore_index=True)
    table["path"] = [str(root / image) for image in table["image"]]
    return table


def _affectnet(spec: DatasetSpec, root: Path) -> pd.DataFrame:
    path = root / "labels.csv"
    listed = _read_csv(path, ("pth", "label"), spec)
    names = listed["label"].str.strip().str.lower().replace({"happiness": "happy", "sadness": "sad"})
    _refuse_others(listed["label"], names.isin(_AFFECTNET8), path, ", ".join(_AFFECTNET8))
    listed["pth"] = listed["pth"].str.replace("\\", "/")
    _refuse_outside(listed["pth"], path)
    listed, names = listed[names.isin(spec.labels)], names[names.isin(spec.labels)]
    table = pd.DataFrame({"image": listed["pth"], "emotion": names}).reset_index(drop=True)
    table["label"] = [spec.labels.index(name) for name in table["emotion"]]
    table["path"] = _affectnet_paths(root, table["image"].tolist())
    from sklearn.model_selection import train_test_split

    try:
        split = {"test_size": 0.2, "random_state": AFFECTNET_SPLIT_SEED, "stratify": table["label"]}
        _, test = train_test_split(table.index, **split)
    except ValueError as error:
        raise UserError(f"the 80/20 split is impossible ({error})", where=path, fix=f"expected {spec.layout}") from None
    table["split"] = np.where(table.index.isin(test), "test", "train")
    return table


def _affectnet_paths(root: Path, images: list[str]) -> list[str]:
    """Copies of the Kaggle subset differ in whether `pth` includes a split folder and in the folders' casing."""
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    by_name = {os.path.relpath(file, root).replace(os.sep, "/").lower(): file for file in files}

    def found(image: str) -> str:
        path, name = str(root / image), image.lower().removeprefix("./")
        bare = name.removeprefix("train/").removeprefix("test/")
        candidates = (name, f"train/{name}", f"test/{name}", bare)
        return path if os.path.isfile(path) else next((by_name[c] for c in candidates if c in by_name), path)

    return [found(image) for image in images]


_FER2013_LAYOUT = "train/<emotion>/*.jpg and test/<emotion>/*.jpg"
_RAFDB_LAYOUT = "train_labels.csv, test_labels.csv (columns image, label) and DATASET/<split>/<1..7>/<image>"
_AFFECTNET_LAYOUT = "labels.csv (columns pth, label) and the images at <pth>"

_SPECS = (
    DatasetSpec("synthetic", "synthetic faces", "faces drawn from facial action units", (), 3, None),
    DatasetSpec(
        "fer2013", "FER-2013 (Kaggle msambare/fer2013)", _FER2013_LAYOUT, _FER2013, 1, _fer2013, tested_cropped=False
    ),
    DatasetSpec("rafdb", "RAF-DB, basic emotions, aligned", _RAFDB_LAYOUT, _RAFDB, 3, _rafdb),
    DatasetSpec("affectnet7", "AffectNet subset (Kaggle), 7 classes", _AFFECTNET_LAYOUT, _AFFECTNET7, 3, _affectnet),
    DatasetSpec("affectnet8", "AffectNet subset (Kaggle), 8 classes", _AFFECTNET_LAYOUT, _AFFECTNET8, 3, _affectnet),
    DatasetSpec("folder", "a folder of images", "train/<class>/* and test/<class>/*", (), 3, _tree),
)
DATASETS = {spec.name: spec for spec in _SPECS}
