"""What the full network takes for what: confusion matrices, mistaken pairs and recalls over all its trainings.

One training is one draw: what is shown are sums and means over the seeds of a setting, with Student's interval over
them from three on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fermoe import stats
from fermoe.data.datasets import Dataset
from fermoe.evidence.accuracy import split_predictions
from fermoe.evidence.findings import counted
from fermoe.metrics import per_class, recalls
from fermoe.paper import published
from fermoe.seeds import mean_over_seeds
from fermoe.training.predictions import confusion_table
from fermoe.training.runs import FinishedRun, main_setting

PROTOCOLS = {"audited": "audited", "published": "as published"}
SIMULATIONS = 500
RECALLS = ["source", "label", "recall", "recall_low", "recall_high", "images"]


def full_trainings(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """By protocol in words, with their number: the trainings of the full network in the protocol's main setting.

    Where it was not trained, those of the first variant.
    """
    found = {}
    for protocol, name in PROTOCOLS.items():
        mine = sorted(main_setting(runs, protocol), key=lambda run: (run.config.variant != "full", run.config.seed))
        mine = [run for run in mine if run.config.variant == mine[0].config.variant]
        if mine:
            found[f"{name}, {counted(len(mine), 'seed')}"] = mine
    return found


def matrices(runs: Sequence[FinishedRun], split: str = "test") -> list[pd.DataFrame]:
    """The confusion matrix of every run that kept its predictions of the split."""
    tables = (split_predictions(run, split) for run in runs)
    return [confusion_table(table) for table in tables if table is not None and len(table)]


def pooled(runs: Sequence[FinishedRun], split: str = "test") -> pd.DataFrame:
    """The sum of the runs' matrices: its rows, taken as shares, are their means, for the test images are the same."""
    first, *others = matrices(runs, split)
    return sum(others, start=first)


def paper_matrix(dataset: str, like: pd.DataFrame) -> pd.DataFrame | None:
    """The published matrix in the order of another one's labels; None where the paper has none of this dataset."""
    if dataset not in published.TITLES:
        return None
    return published.confusion_matrix(dataset).loc[list(like.index), list(like.columns)]


def confused_pairs(runs: Sequence[FinishedRun], split: str = "test") -> pd.DataFrame:
    """Which class is taken for which, the largest share of a true class first.

    Columns true, predicted, share (mean over the runs), low, high (Student's interval, NaN below three), seeds.
    """
    found = matrices(runs, split)
    shares = np.array([matrix.to_numpy() / matrix.to_numpy().sum(axis=1, keepdims=True) for matrix in found])
    labels, rows = list(found[0].index), []
    for true, predicted in zip(*np.nonzero(~np.eye(len(labels), dtype=bool)), strict=True):
        values = shares[:, true, predicted]
        if np.isfinite(values).all() and values.any():
            mean, low, high = mean_over_seeds(values)
            ends = np.clip([low, high], 0, 1)  # of a share; NaN stays NaN
            rows.append((labels[true], labels[predicted], mean, *ends, len(found)))
    table = pd.DataFrame(rows, columns=["true", "predicted", "share", "low", "high", "seeds"])
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def class_recalls(named: Mapping[str, Sequence[FinishedRun]], split: str = "test") -> pd.DataFrame:
    """Recall by class of every named group of runs, and the paper's where it published this dataset's matrix.

    Columns source, label, recall, recall_low, recall_high, images: the mean over seeds with Student's interval (NaN
    below three); of the paper's one training Wilson's interval over its images.
    """
    rows = []
    for source, runs in named.items():
        found = matrices(runs, split)
        values = np.array([recalls(matrix) for matrix in found])
        for place, label in enumerate(found[0].index):
            images = int(found[0].iloc[place].sum())
            mean, *ends = mean_over_seeds(values[:, place])
            rows.append((source, label, mean, *np.clip(ends, 0, 1), images))
    first = next(iter(named.values()))
    paper = paper_matrix(first[0].config.dataset, matrices(first, split)[0])
    table = pd.DataFrame(rows, columns=RECALLS)
    return table if paper is None else pd.concat([table, _recalls("the paper's", paper)], ignore_index=True)


def published_recalls() -> pd.DataFrame:
    """Recall by class in each of the paper's matrices, as `class_recalls`: Wilson's intervals over images."""
    named = {title: published.confusion_matrix(dataset) for dataset, title in published.TITLES.items()}
    return pd.concat([_recalls(title, matrix) for title, matrix in named.items()], ignore_index=True)


def _recalls(source: str, matrix: pd.DataFrame) -> pd.DataFrame:
    found = per_class(matrix)[["label", "recall", "recall_low", "recall_high", "images"]]
    found.insert(0, "source", source)
    return found


@dataclass(frozen=True)
class Calibration:
    """How far stated probabilities are from what happens.

    `floor` is the error that chance alone stays below in 95 of 100 cases: for a network whose probabilities are
    right, the binned error is above 0 all the same. `brier` is the mean squared distance from the truth, 0 to 2.
    """

    error: float
    floor: float
    brier: float
    confidence: float
    accuracy: float


def calibration(probabilities: NDArray[np.float64], labels: NDArray[np.int64], seed: int = 0) -> Calibration:
    """Of probabilities (N, C) and labels (N,)."""
    truth, images = np.asarray(labels), len(probabilities)
    given = probabilities / probabilities.sum(axis=1, keepdims=True)
    rng, ends = np.random.default_rng(seed), given.cumsum(axis=1)
    drawn = [np.minimum((rng.random((images, 1)) > ends).sum(axis=1), given.shape[1] - 1) for _ in range(SIMULATIONS)]
    return Calibration(
        error=stats.expected_calibration_error(given, truth),
        floor=float(np.quantile([stats.expected_calibration_error(given, labels) for labels in drawn], 0.95)),
        brier=float(((given - np.eye(given.shape[1])[truth]) ** 2).sum(axis=1).mean()),
        confidence=float(given.max(axis=1).mean()),
        accuracy=float((given.argmax(axis=1) == truth).mean()),
    )


def mistaken_faces(runs: Sequence[FinishedRun], faces: Dataset, shown: int) -> tuple[Dataset, list[str]]:
    """The first test images that most of the runs mistake, and what each is and is taken for most often."""
    tables = [run.predictions.set_index("image") for run in runs]
    predicted = pd.concat([table["predicted"] for table in tables], axis=1)
    label = tables[0]["label"]
    wrong = predicted.ne(label, axis=0).sum(axis=1).sort_values(ascending=False, kind="stable")
    chosen = wrong[wrong > 0].index[:shown]
    names = matrices(runs[:1])[0].index
    place = pd.Series(range(len(faces)), index=faces.table["path"])
    guesses = [predicted.loc[image][predicted.loc[image] != label[image]].mode().iloc[0] for image in chosen]
    said = [f"{names[label[image]]}\n→ {names[guess]}" for image, guess in zip(chosen, guesses, strict=True)]
    return faces.subset(place[chosen].to_numpy()), said
