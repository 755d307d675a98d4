"""Intervals, paired tests and calibration: pure functions on arrays.

Shapes and axes stand in every docstring and are checked at the door, because swapped axes give
a zero-width interval silently. Whatever is random takes an explicit `numpy.random.Generator`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are loaded when they are first used: together they take as long as half of PyTorch
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
BATCH_NUMBERS = 20_000_000
"""Resampled numbers held in memory at once: 160 MB of float64."""


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")


def _vector(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one axis, not shape {array.shape}")
    return array


def wilson_interval(correct: int, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927, JASA 22:209–212), without continuity correction, by SciPy.

    `correct` of `images` independent trials. (NaN, NaN) when there are no images.
    """
    _check_confidence(confidence)
    if not 0 <= correct <= images:
        raise ValueError(f"correct must lie between 0 and images, not {correct} of {images}")
    if images == 0:
        return math.nan, math.nan
    interval = scipy.stats.binomtest(correct, images).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def difference_interval(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """second − first of two independent estimates, each (value, low, high), with its interval: (value, low, high).

    By the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27:1693–1702), of the
    confidence of the two. Estimates that rise and fall together, as on shared test images, make it too wide.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return b - a, b - a - math.hypot(b - b_low, a_high - a), b - a + math.hypot(b_high - b, a - a_low)


def mean_sd(values: ArrayLike) -> tuple[float, float]:
    """Mean and sample standard deviation (n − 1) of a vector; the deviation of one value is NaN."""
    array = _vector(values, "values")
    mean = float(array.mean()) if array.size else math.nan
    return mean, float(array.std(ddof=1)) if array.size > 1 else math.nan


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of a vector, one value per seed, with Student's t interval: (mean, low, high).

    One value has no interval: (value, NaN, NaN).
    """
    _check_confidence(confidence)
    mean, sd = mean_sd(values)
    size = np.size(values)
    if size < 2:
        return mean, math.nan, math.nan
    half = float(scipy.stats.t.ppf(0.5 + confidence / 2, size - 1)) * sd / math.sqrt(size)
    return mean, mean - half, mean + half


def bca_interval(
    statistic: Callable[..., Any],
    *data: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987, JASA 82:171–185), by SciPy.

    `data` are vectors over the same images, resampled together; `statistic(*vectors, axis)` must work along
    `axis`. Without any spread the interval is the estimate itself.
    """
    _check_confidence(confidence)
    vectors = [np.asarray(vector) for vector in data]
    if not vectors or any(vector.ndim != 1 or vector.size != vectors[0].size for vector in vectors):
        raise ValueError(f"data must be vectors of one length, not {[v.shape for v in vectors]}")
    if all((vector == vector[0]).all() for vector in vectors):
        value = float(statistic(*vectors, axis=-1))
        return value, value
    interval = scipy.stats.bootstrap(
        vectors,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, BATCH_NUMBERS // (vectors[0].size * len(vectors))),
        confidence_level=confidence,
        method="BCa",
        rng=rng,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def bca_of_replicates(
    estimate: float, replicates: Floats, jackknife: Floats, weights: Floats, confidence: float = 0.95
) -> tuple[float, float]:
    """BCa interval (Efron 1987) from replicates (R,) and distinct leave-one-out values (K,), each met `weights` times.

    For bootstraps that compute both faster than one resample after the other. Without a replicate it is NaN.
    """
    replicates = replicates[np.isfinite(replicates)]
    if replicates.size == 0:
        return math.nan, math.nan
    if np.ptp(replicates) == 0:
        return float(replicates[0]), float(replicates[0])
    # Ties count half: statistics of counts are discrete, and a strict < would shift the interval.
    gap = np.where(np.isclose(replicates, estimate, rtol=0, atol=1e-12), 0, replicates - estimate)
    below = float((gap < 0).mean() + (gap == 0).mean() / 2)
    limit = 0.5 / replicates.size
    bias = float(scipy.special.ndtri(min(max(below, limit), 1 - limit)))
    usable = np.isfinite(jackknife) & (weights > 0)
    jackknife, weights = jackknife[usable], weights[usable]
    spread = np.average(jackknife, weights=weights) - jackknife
    variance = float((weights * spread**2).sum())
    acceleration = float((weights * spread**3).sum()) / (6 * variance**1.5) if variance > 0 else 0.0
    tail = scipy.special.ndtri(np.array([0.5 - confidence / 2, 0.5 + confidence / 2]))
    level = scipy.special.ndtr(bias + (bias + tail) / (1 - acceleration * (bias + tail)))
    low, high = np.quantile(replicates, level)
    return float(low), float(high)


def counts_bca_interval(
    statistic: Callable[[NDArray[Any]], ArrayLike],
    counts: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """BCa bootstrap over images for a statistic of counts of images, such as a confusion matrix.

    Drawing images with replacement is drawing the counts from a multinomial, and leaving one image out gives at
    most as many different counts as there are cells; the interval is that of `bca_interval` at a thousandth of the
    work. `counts` is an array of any shape; `statistic` takes arrays (..., *shape) and returns (...).
    """
    _check_confidence(confidence)
    matrix = np.asarray(counts)
    if matrix.ndim < 1 or (matrix < 0).any():
        raise ValueError(f"counts must be an array of numbers from 0, not of shape {matrix.shape}")
    images = int(matrix.sum())
    if images == 0:
        return math.nan, math.nan
    cells = matrix.ravel()
    drawn = rng.multinomial(images, cells / images, size=resamples).reshape(-1, *matrix.shape)
    filled = np.flatnonzero(cells)
    left_out = np.repeat(cells[None], filled.size, axis=0)
    left_out[np.arange(filled.size), filled] -= 1
    jackknife = np.asarray(statistic(left_out.reshape(-1, *matrix.shape)), dtype=float)
    replicates = np.asarray(statistic(drawn), dtype=float)
    weights = cells[filled].astype(float)
    return bca_of_replicates(float(np.asarray(statistic(matrix))), replicates, jackknife, weights, confidence)


def mcnemar_exact(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Two-sided exact McNemar test: binomial on the images that only one of the two got right.

    Two boolean vectors over the same images; 1.0 when they never disagree.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"both must be vectors over the same images, not {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def _image_differences(baseline: ArrayLike, alternative: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Distinct values of (alternative − baseline) per image, mean over seeds, and how often each occurs."""
    first, second = (np.atleast_2d(np.asarray(x, dtype=float)) for x in (baseline, alternative))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or first.size == 0:
        shapes = f"{np.shape(baseline)} and {np.shape(alternative)}"
        raise ValueError(f"both must be (images,) or (seeds, images) over the same images, not {shapes}")
    if first.shape[0] > first.shape[1] or second.shape[0] > second.shape[1]:
        raise ValueError(f"more seeds than images in {first.shape}, {second.shape}: are the axes swapped?")
    # Rounded, so that 1/3 − 2/3 and 0 − 1/3 count as one value.
    values, counts = np.unique((second.mean(axis=0) - first.mean(axis=0)).round(12), return_counts=True)
    return values, counts


def paired_difference(
    baseline: ArrayLike,
    alternative: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """Accuracy of `alternative` minus that of `baseline`, with a paired BCa bootstrap over images.

    Each is a vector (images,) of right/wrong, or (seeds, images), averaged over its seeds first; the order of
    the images must be the same in both. Returns (difference, low, high). The interval holds the trained
    models fixed: it says what other test images would change, not what another seed would.
    """
    _check_confidence(confidence)
    values, counts = _image_differences(baseline, alternative)
    images = int(counts.sum())
    difference = float(values @ counts / images)
    replicates = rng.multinomial(images, counts / images, size=resamples) @ values / images
    jackknife = (difference * images - values) / max(1, images - 1)
    return difference, *bca_of_replicates(difference, replicates, jackknife, counts.astype(float), confidence)


def paired_permutation(
    baseline: ArrayLike, alternative: ArrayLike, rng: np.random.Generator, resamples: int = 10_000
) -> float:
    """Two-sided sign-flip permutation test of `paired_difference`'s difference, for one or several seeds.

    Under the null each image's difference is as likely to have the other sign. The observed assignment counts
    as one of the resamples, so p is never 0 (Phipson & Smyth 2010).
    """
    values, counts = _image_differences(baseline, alternative)
    # Images with the same size of difference are exchangeable: the number of plus signs is binomial.
    sizes, inverse = np.unique(np.abs(values), return_inverse=True)
    group = np.bincount(inverse.ravel(), weights=counts).astype(int)
    flipped = (2 * rng.binomial(group, 0.5, size=(resamples, group.size)) - group) @ sizes
    observed = abs(float(values @ counts))
    return float((1 + (np.abs(flipped) >= observed - 1e-9).sum()) / (1 + resamples))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjustment of a vector of p values (Holm 1979); NaN stays NaN and is not counted."""
    p = _vector(p_values, "p_values")
    adjusted = np.full(p.size, np.nan)
    order = np.argsort(p, kind="stable")[: int(np.isfinite(p).sum())]
    if ((p[order] < 0) | (p[order] > 1)).any():
        raise ValueError("p values must lie between 0 and 1")
    factors = order.size - np.arange(order.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


class Reliability(NamedTuple):
    """Equal-width bins: edges (bins + 1,), and per bin the images, mean confidence and accuracy."""

    edges: Floats
    images: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def _check_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    rows, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    if rows.ndim != 2 or truth.shape != rows.shape[:1]:
        raise ValueError(f"need probabilities (images, classes), labels (images,), not {rows.shape}, {truth.shape}")
    if truth.size and not (truth.min() >= 0 and truth.max() < rows.shape[1]):
        raise ValueError(f"labels must lie between 0 and {rows.shape[1] - 1}")
    return rows, truth.astype(np.int64)


def reliability_bins(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> Reliability:
    """Accuracy by confidence of the most probable class, in equal bins (low, high] of [0, 1].

    `probabilities` (images, classes), `labels` (images,). An empty bin has NaN confidence and accuracy.
    """
    rows, truth = _check_probabilities(probabilities, labels)
    # Files keep eight decimals, those of other models may keep four.
    if rows.size and not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        raise ValueError("each row of probabilities must add up to 1")
    edges = np.linspace(0, 1, bins + 1)
    top = rows.max(axis=1)
    index = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    images = np.bincount(index, minlength=bins)
    right = rows.argmax(axis=1) == truth
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(index, weights=top, minlength=bins) / images
        accuracy = np.bincount(index, weights=right, minlength=bins) / images
    return Reliability(edges, images, confidence, accuracy)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean |accuracy − confidence| over the bins, weighted by images (Naeini 2015); NaN without images."""
    table = reliability_bins(probabilities, labels, bins)
    images = int(table.images.sum())
    return float(np.nansum(np.abs(table.accuracy - table.confidence) * table.images) / images) if images else math.nan


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T that minimises the mean cross-entropy of softmax(logits / T) (Guo 2017).

    `logits` (images, classes) may be log-probabilities: the softmax does not see the constant between them.
    Searched between 1/20 and 20.
    """
    rows, truth = _check_probabilities(logits, labels)
    if truth.size == 0:
        return math.nan

    def cross_entropy(log_temperature: float) -> float:
        scaled = scipy.special.log_softmax(rows / math.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(truth.size), truth].mean())

    bounds = (-math.log(20), math.log(20))
    return math.exp(float(scipy.optimize.minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def spearman_interval(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Spearman's rank correlation with Fisher's z interval and Bonett & Wright's (2000) standard error.

    `x` and `y` are vectors over the same items. Returns (rho, low, high); with the 7 or 8 emotion classes
    the interval spans about one unit, so that hardly any correlation can be told from none. Fewer than four
    items, or a constant vector, have no interval (NaN).
    """
    _check_confidence(confidence)
    first, second = _vector(x, "x"), _vector(y, "y")
    if first.size != second.size:
        raise ValueError(f"x and y must be over the same items, not {first.size} and {second.size}")
    if first.size < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan, math.nan, math.nan
    rho, size = float(scipy.stats.spearmanr(first, second).statistic), first.size
    if size < 4:
        return rho, math.nan, math.nan
    # Fisher's z is infinite at ±1: use the nearest correlation below that `size` ranks can have.
    inner = float(np.clip(rho, -1 + 12 / (size * (size**2 - 1)), 1 - 12 / (size * (size**2 - 1))))
    half = float(scipy.stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt((1 + inner**2 / 2) / (size - 3))
    low, high = math.tanh(math.atanh(inner) - half), math.tanh(math.atanh(inner) + half)
    return rho, -1.0 if rho == -1 else low, 1.0 if rho == 1 else high


def best_of_epochs_optimism(
    accuracies: Sequence[float] | Floats,
    images: int,
    *,
    correlation: float,
    rng: np.random.Generator,
    simulations: int = 20_000,
) -> tuple[float, float, float]:
    """How much the best of several epochs, chosen and reported on one test set, overstates its own accuracy.

    `accuracies` (epochs,) are the true accuracies. Measured accuracies are drawn as normal, with the binomial
    variance of `images` test images, and correlated between epochs, since successive epochs mostly miss the
    same images. Returns mean, 2.5 % and 97.5 % quantile of (reported − true accuracy of the chosen epoch).
    """
    truth = _vector(accuracies, "accuracies")
    if truth.size == 0 or images < 1 or not 0 <= correlation <= 1:
        raise ValueError("need at least one epoch and one image, and a correlation between 0 and 1")
    noise = math.sqrt(1 - correlation) * rng.standard_normal((simulations, truth.size))
    noise += math.sqrt(correlation) * rng.standard_normal((simulations, 1))
    error = noise * np.sqrt(truth * (1 - truth) / images)
    chosen = (truth + error).argmax(axis=1)
    optimism = error[np.arange(simulations), chosen]
    low, high = np.quantile(optimism, [0.025, 0.975])
    return float(optimism.mean()), float(low), float(high)
