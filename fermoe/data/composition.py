"""Training sets with other shares of the classes, to see what the shares do.

The claim is that rare classes are recognised worse because they are rare (C6). All compositions but the dataset's own
have one and the same size, seven times the rarest class for seven classes, so that only the shares differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fermoe.errors import UserError

Counts = NDArray[np.int64]


def _equal(counts: Counts, names: Sequence[str]) -> Counts:
    """Every class as often as every other."""
    return np.ones_like(counts)


def _proportional(counts: Counts, names: Sequence[str]) -> Counts:
    """The dataset's own shares."""
    return counts


def _rare_happy(counts: Counts, names: Sequence[str]) -> Counts:
    """The dataset's own shares, but happy as rare as fear."""
    if not {"happy", "fear"} <= set(names):
        raise UserError("the dataset has no classes happy and fear", fix="choose another composition")
    changed = counts.copy()
    changed[names.index("happy")] = counts[names.index("fear")]
    return changed


SMALL: dict[str, Callable[[Counts, Sequence[str]], Counts]] = {
    "equal": _equal,
    "proportional": _proportional,
    "rare_happy": _rare_happy,
}
COMPOSITIONS = ("as_given", *SMALL)
"""How the classes of the training images are mixed: all images as given, or a draw of one size for all of `SMALL`."""


def composed(labels: NDArray[np.int64], names: Sequence[str], composition: str, seed: int) -> NDArray[np.int64]:
    """Which training images (positions, ascending) a composition keeps, of `labels` (N,).

    The images of each class are drawn without replacement, by `seed`. The draws of one seed are nested: a class that
    two compositions give the same number gets the same images.

    Raises:
        UserError: an unknown composition, a class without images, or too few of one.
    """
    if composition not in COMPOSITIONS:
        raise UserError(f"composition is {composition!r}", fix=f"choose one of {', '.join(COMPOSITIONS)}")
    if composition == "as_given":
        return np.arange(len(labels))
    counts = np.bincount(labels, minlength=len(names)).astype(np.int64)
    if not counts.all():
        raise UserError(f"no training image of class '{names[int(counts.argmin())]}'", fix="take composition=as_given")
    wanted = apportioned(SMALL[composition](counts, list(names)), len(names) * int(counts.min()))
    kept = []
    for label, count in enumerate(wanted):
        mine = np.flatnonzero(labels == label)
        kept.append(np.random.default_rng([seed, label]).permutation(mine)[:count])
    return np.sort(np.concatenate(kept))


def apportioned(weights: Counts, total: int) -> Counts:
    """Whole numbers in the proportion of `weights` (C,) that add up to `total`, by largest remainders."""
    shares = weights / weights.sum() * total
    counts = np.floor(shares).astype(np.int64)
    rest = np.argsort(counts - shares, kind="stable")[: total - int(counts.sum())]
    counts[rest] += 1
    return counts
