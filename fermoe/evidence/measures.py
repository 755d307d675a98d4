"""What runs reached, by every measure, and what other test images and other trainings would make of it.

Not a table: accuracy.csv, ablation.csv and leaks.csv are made of this. The resamples of the test images are drawn once
for all runs that were tested on the same images, so that any two of them are compared on the same draws.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fermoe import metrics, seeds, stats
from fermoe.training.predictions import class_names

RESAMPLES = 2000
Floats = NDArray[np.float64]


class Answered(Protocol):
    """What is measured: a name, and a model's answers on test images."""

    @property
    def name(self) -> str: ...

    @property
    def predictions(self) -> pd.DataFrame: ...

    @property
    def correct(self) -> pd.Series: ...


class Tested(Protocol):
    """Answers on test images."""

    @property
    def predictions(self) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Measured:
    """One run's measures, in the order of `names`: on its test images, on R resamples of them, and without each one."""

    names: tuple[str, ...]
    values: Floats  # (M,)
    replicates: Floats  # (R, M)
    left_out: Floats  # (N, M)


@dataclass(frozen=True)
class Difference:
    """One measure of one side minus that of the other, and how sure it is."""

    measure: str
    baseline: float
    value: float
    over_images: tuple[float, float]  # BCa, the trained networks fixed
    p_images: float
    crossed: seeds.Effect  # trainings and images drawn
    over_seeds: seeds.Effect  # trainings drawn, the images fixed


def same_images(runs: Sequence[Tested]) -> bool:
    """Whether the runs were tested on the same images in the same order, with the same labels."""
    first = runs[0].predictions[["image", "label"]]
    return all(first.equals(run.predictions[["image", "label"]]) for run in runs[1:])


class Resampler:
    """Measures of runs on resampled test images; each run is resampled once."""

    def __init__(self, resamples: int = RESAMPLES):
        self.resamples = resamples
        self._measured: dict[str, Measured] = {}

    def measured(self, run: Answered) -> Measured:
        if run.name not in self._measured:
            table, names = run.predictions, class_names(run.predictions)
            labels, predicted = table["label"].to_numpy(), table["predicted"].to_numpy()
            counts = metrics.confusion(labels, predicted, len(names))
            weights = _weights(_identity(table), len(table), self.resamples)
            self._measured[run.name] = Measured(
                (*metrics.MEASURES, *(f"recall_{name}" for name in names)),
                metrics.measures(np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)),
                metrics.resampled_measures(labels, predicted, len(names), weights),
                metrics.left_out_measures(labels, predicted, len(names)),
            )
        return self._measured[run.name]

    def drawn(self, runs: Sequence[Answered], measure: str) -> seeds.Drawn:
        """One measure of several trainings, for `seeds.crossed`."""
        found = [self.measured(run) for run in runs]
        at = found[0].names.index(measure)
        return seeds.Drawn(np.array([m.values[at] for m in found]), np.stack([m.replicates[:, at] for m in found], 1))

    def differences(
        self, baseline: Sequence[Answered], alternative: Sequence[Answered], paired: bool = False
    ) -> Iterator[Difference]:
        """Alternative − baseline by every measure, each a mean over trainings; all on the same test images.

        `paired`: the two sides are the same trainings, tested in two ways. For accuracy the interval and the test
        over images are those of `stats.paired_difference` and `stats.paired_permutation` (exact McNemar for one
        training); for the others a BCa bootstrap, and a permutation that exchanges the two sides' answers.
        """
        name = " ".join(run.name for pair in zip(baseline, alternative, strict=True) for run in pair)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        first, second = (np.stack([run.correct.to_numpy() for run in side]) for side in (baseline, alternative))
        difference, *bounds = stats.paired_difference(first, second, rng)
        one = len(first) == 1
        p_images = stats.mcnemar_exact(first[0], second[0]) if one else stats.paired_permutation(first, second, rng)
        swapped = self._swapped(baseline, alternative)
        mine = [[self.measured(run) for run in side] for side in (baseline, alternative)]
        for at, measure in enumerate(mine[0][0].names):
            one_side, other_side = (self.drawn(side, measure) for side in (baseline, alternative))
            before, after = float(one_side.values.mean()), float(other_side.values.mean())
            if at:
                difference = after - before
                replicates = other_side.replicates.mean(axis=1) - one_side.replicates.mean(axis=1)
                one_less = [np.mean([m.left_out[:, at] for m in side], axis=0) for side in mine]
                jackknife = one_less[1] - one_less[0]
                bounds = [*stats.bca_of_replicates(difference, replicates, jackknife, np.ones(len(jackknife)))]
                beyond = np.abs(swapped[:, at]) >= abs(difference) - 1e-12
                known = math.isfinite(difference)  # a class without test images has no recall
                p_images = float((1 + beyond.sum()) / (1 + self.resamples)) if known else math.nan
            yield Difference(
                measure,
                before,
                difference,
                (bounds[0], bounds[1]),
                p_images,
                seeds.crossed(one_side, other_side, np.random.default_rng([zlib.crc32(name.encode()), at]), paired),
                seeds.welch(one_side.values, other_side.values, paired),
            )

    def _swapped(self, baseline: Sequence[Answered], alternative: Sequence[Answered]) -> Floats:
        """Every measure's difference where the two sides exchange their answers on random images: (R, M)."""
        table, count = baseline[0].predictions, len(class_names(baseline[0].predictions))
        flips = _flips(_identity(table), len(table), self.resamples)
        pairs = zip(baseline, alternative, strict=True)
        found = [
            metrics.swapped_measures(
                table["label"], a.predictions["predicted"], b.predictions["predicted"], count, flips
            )
            for a, b in pairs
        ]
        return np.mean(found, axis=0)


def _identity(table: pd.DataFrame) -> int:
    """A number that tells one set of test images from another."""
    return zlib.crc32("\n".join(table["image"]).encode())


@functools.lru_cache(maxsize=2)
def _weights(identity: int, images: int, resamples: int) -> NDArray[np.float32]:
    """How often each resample draws each image: (R, N)."""
    rng = np.random.default_rng([identity, 0])
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _flips(identity: int, images: int, resamples: int) -> NDArray[np.float32]:
    """On which images the two sides exchange their answers: (R, N)."""
    return np.random.default_rng([identity, 1]).integers(0, 2, size=(resamples, images)).astype(np.float32)
