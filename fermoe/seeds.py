"""What other trainings would change: intervals and tests in which the seeds are drawn, and not the images alone.

A network trained again from another seed answers differently, and two trainings of one network differ more often than
an interval over images says. Everything here counts trainings as the sample; below `MIN_SEEDS` of them there is no
interval and no p value (NaN), since two values say next to nothing of their spread.

Axis legend: S trainings, R resamples of the test images.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from fermoe.stats import mean_interval

Floats = NDArray[np.float64]

MIN_SEEDS = 3
"""Fewer trainings cannot tell an effect from the luck of one initialisation."""

EQUAL = 0.01
"""One point: a difference that is shown to be smaller makes no difference (`equivalence`)."""


class Drawn(NamedTuple):
    """One measure of S trainings: on the test images (S,), and on R resamples of these (R, S).

    Two sides are comparable where row r of both comes from the same resampled images.
    """

    values: Floats
    replicates: Floats


class Effect(NamedTuple):
    """An estimate with what its distribution over trainings is taken to be: Student's t, of width `error`."""

    value: float
    low: float
    high: float
    p_value: float
    error: float
    df: float


def effect(value: float, error: float, df: float, confidence: float = 0.95) -> Effect:
    """An estimate with Student's interval and test of its standard error; NaN where that is not known."""
    if not math.isfinite(error):
        return Effect(value, *[math.nan] * 5)
    if error == 0:
        return Effect(value, value, value, float(value == 0), 0.0, df)
    half = float(scipy.stats.t.ppf(0.5 + confidence / 2, df)) * error
    return Effect(value, value - half, value + half, float(2 * scipy.stats.t.sf(abs(value) / error, df)), error, df)


def _enough(*sides: Floats) -> bool:
    return all(side.shape[-1] >= MIN_SEEDS for side in sides)


def _values(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must be one value per training, not of shape {array.shape}")
    return array


def mean_over_seeds(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean with Student's t interval over trainings: (mean, low, high), no interval below `MIN_SEEDS`."""
    mean, low, high = mean_interval(values, confidence)
    return (mean, low, high) if np.size(values) >= MIN_SEEDS else (mean, math.nan, math.nan)


def welch(baseline: ArrayLike, alternative: ArrayLike, paired: bool = False, confidence: float = 0.95) -> Effect:
    """Mean of `alternative` − mean of `baseline`, over trainings: Welch's t (1947, Biometrika 34:28–35), by SciPy.

    One value per training. `paired` is for one and the same training measured twice: Student's t of the differences.
    """
    first, second = _values(baseline, "baseline"), _values(alternative, "alternative")
    difference = float(second.mean() - first.mean())
    if not _enough(first, second):
        return effect(difference, math.nan, math.nan, confidence)
    spread = first.var() + second.var() if not paired else (second - first).var()
    if spread < 1e-24:  # no spread at all: SciPy would divide by it
        return effect(difference, 0.0, math.inf, confidence)
    test = scipy.stats.ttest_rel if paired else partial(scipy.stats.ttest_ind, equal_var=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side without spread is no loss of precision
        result = test(second, first)
    interval = result.confidence_interval(confidence)
    half = (interval.high - interval.low) / 2
    error = float(half / scipy.stats.t.ppf(0.5 + confidence / 2, result.df))
    bounds = (float(interval.low), float(interval.high))
    return Effect(difference, *bounds, float(result.pvalue), error, float(result.df))


def drawn_means(side: Drawn, rng: np.random.Generator) -> Floats:
    """The mean measure on resampled images of resampled trainings: (R,).

    Of S trainings S − 1 are drawn with replacement: the spread of the means is then that of the mean of S trainings
    without bias, where drawing S would make it too small by √((S − 1)/S) (Hesterberg 2015, Am. Stat. 69:371–386).
    """
    resamples, seeds = side.replicates.shape
    drawn = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples)
    return np.einsum("rs,rs->r", drawn, side.replicates) / (seeds - 1)


def _check(side: Drawn) -> None:
    if side.values.ndim != 1 or side.replicates.ndim != 2 or side.replicates.shape[1] != side.values.size:
        shapes = f"{side.values.shape} and {side.replicates.shape}"
        raise ValueError(f"need values (seeds,) and replicates (resamples, seeds), not {shapes}")
    if len(side.replicates) < side.values.size:
        raise ValueError(f"more seeds than resamples in {side.replicates.shape}: are the axes swapped?")


def crossed(
    baseline: Drawn, alternative: Drawn, rng: np.random.Generator, paired: bool = False, confidence: float = 0.95
) -> Effect:
    """Mean of `alternative` − mean of `baseline`, with trainings and test images both drawn.

    The crossed ("pigeonhole") bootstrap of Owen (2007, Ann. Appl. Stat. 1:386–411): each replicate draws images, the
    same for both sides, and trainings of either side. Its variance errs on the careful side, by the interaction of the
    two. The interval is Student's t of that width, whose degrees of freedom are Satterthwaite's (1946, Biometrics
    Bull. 2:110–114): the part of the variance that comes from S trainings is known with S − 1 degrees, the part
    from thousands of images as good as exactly. Percentiles of a few seeds' draws would be far too narrow.

    `paired` is for one and the same training measured twice: then both sides draw the same trainings.
    """
    _check(baseline)
    _check(alternative)
    if baseline.replicates.shape[0] != alternative.replicates.shape[0]:
        raise ValueError("both sides need the same resamples of the images")
    difference = float(alternative.values.mean() - baseline.values.mean())
    if not _enough(baseline.values, alternative.values):
        return effect(difference, math.nan, math.nan, confidence)
    if paired:
        return crossed_mean(
            Drawn(alternative.values - baseline.values, alternative.replicates - baseline.replicates), rng, confidence
        )
    error = float(np.std(drawn_means(alternative, rng) - drawn_means(baseline, rng), ddof=1))
    return effect(difference, error, _df(error, baseline.values, alternative.values), confidence)


def crossed_mean(side: Drawn, rng: np.random.Generator, confidence: float = 0.95) -> Effect:
    """The mean over trainings, with trainings and test images both drawn, as in `crossed`."""
    _check(side)
    mean = float(side.values.mean())
    if not _enough(side.values):
        return effect(mean, math.nan, math.nan, confidence)
    error = float(np.std(drawn_means(side, rng), ddof=1))
    return effect(mean, error, _df(error, side.values), confidence)


def _df(error: float, *sides: Floats) -> float:
    parts = sum((values.var(ddof=1) / values.size) ** 2 / (values.size - 1) for values in sides)
    return error**4 / parts if parts else math.inf


def equivalence(effect: Effect, margin: float = EQUAL) -> float:
    """p of "the difference is `margin` or more": two one-sided t tests (Schuirmann 1987, J. Pharmacokinet. 15:657–680).

    Below 0.05, the two make no difference beyond the margin; NaN where `effect` has no interval.
    """
    if not math.isfinite(effect.error):
        return math.nan
    if effect.error == 0:
        return float(abs(effect.value) >= margin)
    return float(scipy.stats.t.sf((margin - abs(effect.value)) / effect.error, effect.df))


def detectable(effect: Effect, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true difference that a comparison this precise finds with probability `power`.

    (t(1 − α/2) + t(power)) · standard error (Bloom 1995, Evaluation Review 19:547–556). An effect that this comparison
    did not show may well be as large as that.
    """
    if not math.isfinite(effect.error):
        return math.nan
    return float(effect.error * (scipy.stats.t.ppf(1 - alpha / 2, effect.df) + scipy.stats.t.ppf(power, effect.df)))
