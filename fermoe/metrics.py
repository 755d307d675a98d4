"""From predictions to metrics: confusion matrices, and what follows from them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fermoe import stats

Counts = NDArray[np.int64]


def confusion(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> Counts:
    """Counts (num_classes, num_classes), rows true, columns predicted, from two vectors of class indices."""
    truth, guess = np.asarray(labels), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != guess.shape:
        raise ValueError(f"labels and predicted must be vectors of one length, not {truth.shape}, {guess.shape}")
    for name, values in (("labels", truth), ("predicted", guess)):
        if values.size and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f"{name} must lie between 0 and {num_classes - 1}")
    cells = truth.astype(np.int64) * num_classes + guess.astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def _square(matrix: ArrayLike) -> Counts:
    counts = np.asarray(matrix)
    if counts.ndim < 2 or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(f"confusion matrices must be (..., C, C), not {counts.shape}")
    return counts


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """part / whole, NaN where there is nothing to divide by: undefined is not zero."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _mean_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is defined."""
    defined = np.isfinite(values)
    return _share(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1))


def recalls(matrix: ArrayLike) -> NDArray[np.float64]:
    """(..., C, C) → (..., C): share of each true class recognised; NaN for a class without images."""
    counts = _square(matrix)
    return _share(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1))


def precisions(matrix: ArrayLike) -> NDArray[np.float64]:
    """(..., C, C) → (..., C): share of each predicted class that is right; NaN if never predicted."""
    counts = _square(matrix)
    return _share(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-2))


def f1_scores(matrix: ArrayLike) -> NDArray[np.float64]:
    """(..., C, C) → (..., C): 2·TP / (2·TP + FP + FN); NaN for a class neither present nor predicted."""
    counts = _square(matrix)
    return _share(2 * np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1) + counts.sum(axis=-2))


def accuracy(matrix: ArrayLike) -> NDArray[np.float64]:
    """(..., C, C) → (...): share of images on the diagonal."""
    counts = _square(matrix)
    return _share(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def balanced_accuracy(matrix: ArrayLike) -> NDArray[np.float64]:
    """(..., C, C) → (...): mean recall over the classes that have images."""
    return _mean_defined(recalls(matrix))


def macro_f1(matrix: ArrayLike) -> NDArray[np.float64]:
    """(..., C, C) → (...): mean F1 over the classes that are present or predicted."""
    return _mean_defined(f1_scores(matrix))


MEASURES = ("accuracy", "balanced_accuracy", "macro_f1")
"""Three answers to "how good": they weigh images, classes, and classes with their false alarms."""


def measures(right: ArrayLike, predicted: ArrayLike, support: ArrayLike) -> NDArray[np.float64]:
    """The `MEASURES`, then the recall of each class, from counts by class: (..., C) three times → (..., 3 + C).

    Of each class: the images recognised, those predicted as it, and those that are of it. They are all that the
    measures of a confusion matrix depend on; undefined ones are left out of the means, as there.
    """
    hit, guessed, there = (np.asarray(counts, dtype=float) for counts in (right, predicted, support))
    recall, f1 = _share(hit, there), _share(2 * hit, guessed + there)
    means = [_share(hit.sum(axis=-1), there.sum(axis=-1)), _mean_defined(recall), _mean_defined(f1)]
    return np.concatenate([np.stack(means, axis=-1), recall], axis=-1)


def _one_hot(classes: NDArray[Any], num_classes: int, keep: NDArray[Any] | None = None) -> NDArray[np.float32]:
    marks = np.zeros((classes.size, num_classes), dtype=np.float32)
    marks[np.arange(classes.size), classes] = 1 if keep is None else keep
    return marks


def _features(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> tuple[NDArray[np.float32], ...]:
    truth, guess = np.asarray(labels), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != guess.shape:
        raise ValueError(f"labels and predicted must be vectors of one length, not {truth.shape}, {guess.shape}")
    there = _one_hot(truth, num_classes)
    return _one_hot(truth, num_classes, truth == guess), _one_hot(guess, num_classes), there


def resampled_measures(
    labels: ArrayLike, predicted: ArrayLike, num_classes: int, weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """`measures` of one network's predictions where image i counts `weights[r, i]` times: (R, N) → (R, 3 + C).

    Counts are sums of whole numbers below 2^24, which float32 holds exactly.
    """
    return measures(*(weights @ part for part in _features(labels, predicted, num_classes)))


def left_out_measures(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """`measures` without one image, for each of the N images: (N, 3 + C)."""
    return measures(*(part.sum(axis=0) - part for part in _features(labels, predicted, num_classes)))


def swapped_measures(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, num_classes: int, swapped: NDArray[np.float32]
) -> NDArray[np.float64]:
    """`measures` of `second` − those of `first` where they exchange the answers on some images: (R, 3 + C).

    `swapped` (R, N) is 1 where they do. Without a difference between the two, each exchange is as likely as none.
    """
    (right, guessed, there), (other_right, other_guessed, _) = (
        _features(labels, guess, num_classes) for guess in (first, second)
    )
    support = there.sum(axis=0)
    sides = []
    for sign, hits, guesses in ((1, right, guessed), (-1, other_right, other_guessed)):
        counts = hits.sum(axis=0) + sign * (swapped @ (other_right - right))
        named = guesses.sum(axis=0) + sign * (swapped @ (other_guessed - guessed))
        sides.append(measures(counts, named, np.broadcast_to(support, counts.shape)))
    return sides[1] - sides[0]


def per_class(matrix: pd.DataFrame | ArrayLike, confidence: float = 0.95) -> pd.DataFrame:
    """One row per class: label, images, correct, precision, recall, f1, and recall's Wilson interval.

    Labels are the index of a DataFrame, else class indices.
    """
    names = list(matrix.index) if isinstance(matrix, pd.DataFrame) else None
    counts = _square(matrix)
    images, correct = counts.sum(axis=1), np.diagonal(counts)
    intervals = [stats.wilson_interval(int(k), int(n), confidence) for k, n in zip(correct, images, strict=True)]
    return pd.DataFrame(
        {
            "label": names if names is not None else np.arange(len(counts)),
            "images": images,
            "correct": correct,
            "precision": precisions(counts),
            "recall": recalls(counts),
            "f1": f1_scores(counts),
            "recall_low": [low for low, _ in intervals],
            "recall_high": [high for _, high in intervals],
        }
    )


def metrics(
    labels: ArrayLike, predicted: ArrayLike, probabilities: ArrayLike, bins: int = 15
) -> dict[str, float | int]:
    """Metrics of one set of predictions: labels (N,), predicted (N,), probabilities (N, C).

    What is undefined is NaN, never 0, and classes without test images are named in a warning; balanced
    accuracy and macro-F1 are means over the classes for which they are defined.
    """
    rows, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    if rows.ndim != 2 or truth.shape != rows.shape[:1]:
        raise ValueError(f"need labels (N,) and probabilities (N, C), not {truth.shape} and {rows.shape}")
    counts = confusion(truth, predicted, rows.shape[1])
    absent = np.flatnonzero(counts.sum(axis=1) == 0)
    if absent.size:
        warnings.warn(
            f"no test images of class {', '.join(map(str, absent))}: recall is undefined there and left out "
            "of balanced accuracy",
            stacklevel=2,
        )
    images = int(counts.sum())
    low, high = stats.wilson_interval(int(np.trace(counts)), images)
    given = rows[np.arange(images), truth] if images else np.empty(0)
    return {
        "images": images,
        "correct": int(np.trace(counts)),
        "accuracy": float(accuracy(counts)),
        "ci_low": low,
        "ci_high": high,
        "balanced_accuracy": float(balanced_accuracy(counts)),
        "macro_f1": float(macro_f1(counts)),
        "ece": stats.expected_calibration_error(rows, truth, bins),
        # Files keep eight decimals, so that a probability may read 0.
        "cross_entropy": float(-np.log(np.maximum(given, 1e-7)).mean()) if images else math.nan,
    }


def metric_intervals(
    matrix: ArrayLike, rng: np.random.Generator, resamples: int = 2000, confidence: float = 0.95
) -> pd.DataFrame:
    """Accuracy (Wilson), balanced accuracy and macro-F1 (BCa over images): metric, value, low, high."""
    counts = _square(matrix)
    wilson = stats.wilson_interval(int(np.trace(counts)), int(counts.sum()), confidence)
    rows = [("accuracy", float(accuracy(counts)), *wilson)]
    for name, statistic in (("balanced_accuracy", balanced_accuracy), ("macro_f1", macro_f1)):
        interval = stats.counts_bca_interval(statistic, counts, rng=rng, resamples=resamples, confidence=confidence)
        rows.append((name, float(statistic(counts)), *interval))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])


def tempered(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities (N, C) of the same logits divided by `temperature`: p^(1/T), renormalised (Guo et al. 2017)."""
    scaled = (
        np.log(np.maximum(np.asarray(probabilities, dtype=float), 1e-6)) / temperature
    )  # below, a rounded file says little
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
