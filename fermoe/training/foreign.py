"""Other models on a dataset's test images: a CSV of their answers becomes a run that stands beside a study's own.

The CSV has one line per test image:

    image              the image's path below the dataset's folder, or its file name where no other has the same
    label              the predicted class, by name
    p_<class>, …       one probability per class, for all classes or none

A foreign run lies among a study's runs, in runs/beside-<name>/, and is no training: tables of the study's own networks
and claims do not see it. Whatever the model learned from, a test image that is pixel for pixel among the dataset's
training images is marked, so that it can be left out.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fermoe.data.datasets import Dataset
from fermoe.data.twins import picture_numbers
from fermoe.errors import UserError, shortened
from fermoe.metrics import metrics
from fermoe.training.predictions import class_names, predictions_table, read_predictions, write_predictions
from fermoe.training.runs import PREDICTIONS, RESULT, read_result, write_result

BESIDE = "beside"
"""What a foreign run's result.json names where a training's names its notebook, and how its folder's name begins."""

TWIN = "twin"
"""The column of a foreign run's predictions.csv: 1 where the image is among the dataset's training images too."""

COLUMNS = "columns image, label (the predicted class by name) and, if known, p_<class> for every class"

_SYNONYMS = (
    {"angry", "anger"}, {"happy", "happiness"}, {"sad", "sadness"}, {"disgust", "disgusted"}, {"fear", "fearful"},
    {"surprise", "surprised"},
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ForeignRun:
    """What another model answered on a dataset's test images."""

    directory: Path
    result: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What its importer called it."""
        return self.directory.name.removeprefix(f"{BESIDE}-")

    @property
    def dataset(self) -> str:
        return str(self.result["parameters"]["dataset"])

    @functools.cached_property
    def predictions(self) -> pd.DataFrame:
        """Its predictions.csv: one row per test image, in the order of the dataset."""
        return read_predictions(self.directory / PREDICTIONS)

    @functools.cached_property
    def twins(self) -> NDArray[np.bool_]:
        """Which test images are among the dataset's training images too: (N,)."""
        table = self.predictions
        return table[TWIN].to_numpy(bool) if TWIN in table else np.zeros(len(table), bool)


def foreign_runs(study_dir: str | Path) -> list[ForeignRun]:
    """The other models that stand beside a study's own, by name."""
    found = []
    for path in sorted((Path(study_dir) / "runs").glob(f"{BESIDE}-*/{RESULT}")):
        result = read_result(path.parent)
        if result is not None and result.get("notebook") == BESIDE and "dataset" in result["parameters"]:
            found.append(ForeignRun(path.parent, result))
    return found


@dataclass(frozen=True)
class Answers:
    """A model's answers on the test images of a dataset, in its order: `predicted` (N,), `probabilities` (N, C).

    `graded`: the probabilities are the model's own; else each is 1 for the predicted class.
    """

    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    graded: bool

    @classmethod
    def of_classes(cls, predicted: ArrayLike, classes: int) -> Answers:
        """Of a model that names a class and no probability."""
        chosen = np.asarray(predicted, dtype=np.int64)
        return cls(chosen, np.eye(classes)[chosen], False)


def write_foreign(study_dir: str | Path, name: str, dataset: Dataset, answers: Answers, source: Any) -> ForeignRun:
    """Write a foreign run into a study's folder, in place of one of the same name.

    `source` says where the answers are from, for result.json.

    Raises:
        UserError: the name is no folder's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", name):
        fix = "letters, digits, '.', '_' and '-', 60 at most"
        raise UserError(f"'{shortened(name)}' cannot be the model's name", fix=fix)
    directory = Path(study_dir) / "runs" / f"{BESIDE}-{name}"
    (directory / RESULT).unlink(missing_ok=True)
    test = test_images(dataset)
    labels = test["label"].to_numpy()
    table = predictions_table(test["image"].tolist(), labels, answers.probabilities, dataset.labels)
    table["predicted"] = answers.predicted  # of equal probabilities the model may have chosen another than the first
    table[TWIN] = leaked(dataset).astype(int)
    write_predictions(directory / PREDICTIONS, table)
    measured = metrics(labels, answers.predicted, answers.probabilities)
    if not answers.graded:
        measured = {key: value for key, value in measured.items() if key not in ("ece", "cross_entropy")}
    write_result(
        directory,
        BESIDE,
        {"dataset": dataset.name, "name": name, "source": source},
        data={"fingerprint": dataset.fingerprint, "labels": list(dataset.labels), "images": {"test": len(test)}},
        metrics={"test": measured},
    )
    return next(run for run in foreign_runs(study_dir) if run.directory == directory)


def test_images(dataset: Dataset) -> pd.DataFrame:
    """The rows of a dataset's test images."""
    return dataset.table[dataset.table["split"] == "test"].reset_index(drop=True)


def leaked(dataset: Dataset) -> NDArray[np.bool_]:
    """Which test images are, pixel for pixel, among the training images: (N,)."""
    numbers, split = picture_numbers(dataset), dataset.table["split"].to_numpy()
    return np.isin(numbers[split == "test"], numbers[split == "train"])


def read_answers(path: str | Path, dataset: Dataset, root: str | Path | None = None) -> Answers:
    """Read a CSV of another model's answers (the module says how it looks).

    `root` is the dataset's folder: paths that begin with it are taken as well.

    Raises:
        UserError: not such a CSV; an image that is none of the test images, is missing or stands there twice; a label
            that is no class of the dataset; probabilities that are none.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors, an empty file's and a wrong encoding's
        raise UserError(f"not a CSV file ({error})", where=path, fix=COLUMNS) from None
    for column in (column for column in ("image", "label") if column not in table):
        raise UserError(f"column '{column}' is missing", where=path, fix=COLUMNS)
    test = test_images(dataset)
    places = _places(table["image"].tolist(), test["image"].tolist(), root, path)
    rows = np.full(len(test), -1)
    for line, place in enumerate(places):
        if rows[place] >= 0:
            what = f"'{shortened(table['image'][line])}' on line {line + 2} is there before, on line {rows[place] + 2}"
            raise UserError(what, where=path, fix="give one line per test image")
        rows[place] = line
    if (rows < 0).any():
        first = test["image"][int(np.argmin(rows))]
        what = f"{int((rows < 0).sum())} of {len(test)} test images are missing, the first: {first}"
        raise UserError(what, where=path, fix="give every test image of the dataset a line")
    predicted = _classes(table["label"].tolist(), dataset, path)
    probabilities = _probabilities(table, predicted, dataset, path)
    if probabilities is None:
        return Answers.of_classes(predicted[rows], len(dataset.labels))
    return Answers(predicted[rows], probabilities[rows], True)


def _places(images: list[str], known: list[str], root: str | Path | None, path: str | Path) -> list[int]:
    """Where each named image stands among the test images."""
    by_path = {image: place for place, image in enumerate(known)}
    by_name: dict[str, list[int]] = {}
    for place, image in enumerate(known):
        by_name.setdefault(image.rpartition("/")[2], []).append(place)
    prefix = "" if root is None else str(Path(root).expanduser().absolute()).replace("\\", "/") + "/"
    places, unknown = [], []
    for line, image in enumerate(images, start=2):
        plain = image.strip().replace("\\", "/")
        plain = plain.removeprefix(prefix).removeprefix("./") if prefix else plain.removeprefix("./")
        # A path that is not the image's own may still end in a name that only one has; a bare name always may.
        same_name = by_name.get(plain, [])
        if plain in by_path:
            places.append(by_path[plain])
        elif len(same_name) == 1:
            places.append(same_name[0])
        elif same_name:
            what = f"'{shortened(image)}' on line {line} is the name of {len(same_name)} test images"
            raise UserError(what, where=path, fix="give paths below the dataset's folder")
        else:
            unknown.append((line, image))
    if unknown:
        line, image = unknown[0]
        what = f"{len(unknown)} images are none of the dataset's test images, the first, on line {line}: {image}"
        raise UserError(what, where=path, fix=f"leave them out; a test image is named like {known[0]}")
    return places


def _classes(labels: list[str], dataset: Dataset, path: str | Path) -> NDArray[np.int64]:
    index = {name.lower(): place for place, name in enumerate(dataset.labels)}
    for same in _SYNONYMS:
        index |= {word: index[name] for name in same & index.keys() for word in same - index.keys()}
    found = [index.get(label.strip().lower(), -1) for label in labels]
    if -1 in found:
        at = found.index(-1)
        what = f"label '{shortened(labels[at])}' on line {at + 2} is no class of {dataset.name}"
        raise UserError(what, where=path, fix=f"labels are {', '.join(dataset.labels)}")
    return np.array(found, dtype=np.int64)


def _probabilities(
    table: pd.DataFrame, predicted: NDArray[np.int64], dataset: Dataset, path: str | Path
) -> NDArray[np.float64] | None:
    given = class_names(table)
    if not given:
        return None
    order = _classes(given, dataset, path) if set(given) - set(dataset.labels) else None
    places = [dataset.labels.index(name) for name in given] if order is None else order.tolist()
    if sorted(places) != list(range(len(dataset.labels))):
        what = f"probabilities of {len(set(places))} of {len(dataset.labels)} classes"
        raise UserError(what, where=path, fix=f"give one of each: p_{', p_'.join(dataset.labels)}; or none")
    numbers = table[[f"p_{name}" for name in given]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    rows = np.empty_like(numbers)
    rows[:, places] = numbers
    good = np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) < 1e-3)
    if not good.all():
        what = f"line {int(np.argmin(good)) + 2} has no probabilities that add up to 1"
        raise UserError(what, where=path, fix="give shares from 0 to 1")
    likely = rows[np.arange(len(rows)), predicted] >= rows.max(axis=1) - 1e-6
    if not likely.all():
        what = f"the label on line {int(np.argmin(likely)) + 2} is not the most probable class"
        raise UserError(what, where=path, fix="give the most probable class as the label")
    return rows
