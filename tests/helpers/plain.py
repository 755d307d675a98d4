"""Intervals over trainings in plain NumPy and SciPy, for tests that compute the library's tables again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as students

Floats = NDArray[np.float64]


def degrees(error: float, *sides: Floats) -> float:
    """Welch and Satterthwaite's degrees of freedom of a difference of means with this standard error."""
    parts = [np.var(side, ddof=1) / len(side) for side in sides]
    return float(error**4 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True)))


def welch(a: Floats, b: Floats) -> tuple[float, float]:
    """Welch's 95 % interval of mean(b) − mean(a), over trainings."""
    error = float(np.sqrt(sum(np.var(side, ddof=1) / len(side) for side in (a, b))))
    difference, half = float(b.mean() - a.mean()), students.ppf(0.975, degrees(error, a, b)) * error
    return difference - half, difference + half
