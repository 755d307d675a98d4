"""How much does it flatter to choose the epoch on the images that are reported? The table selection.csv.

The published protocol keeps the epoch with the best accuracy on the test set and reports that accuracy. Two estimates
of what that adds stand beside each other: the same run scored honestly (choose on one half of the images, report on
the other), and a simulation at the size of the whole test set that takes the measured accuracies for the truth.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fermoe.evidence.table import Table
from fermoe.files import reading_arrays
from fermoe.training.runs import EPOCHS, FinishedRun

Floats = NDArray[np.float64]

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "epochs", "images", "chosen_epoch", "selected",
    "optimism", "ci_low", "ci_high", "run", "test_crop",
    "twins", "precision", "composition", "full_size", "full_low", "full_high",
)  # fmt: skip


def split_half_optimism(
    correct: ArrayLike,
    rng: np.random.Generator,
    splits: int = 50,
    resamples: int = 400,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """What choosing the epoch on the reported images adds to the accuracy: (optimism, low, high).

    `correct` (epochs, images) says which images each epoch got right. For random halves A and B, the epoch best on A
    scores A(a) there and B(a) on the other half; the optimism is the mean of A(a) − B(a) and B(b) − A(b), so that which
    half is the harder one cancels. It is never negative, and 0 where one epoch wins everywhere. Halves are noisier than
    the whole set, on which the optimism is therefore somewhat smaller. The interval is a percentile bootstrap over
    images, of means over `splits`; the copies of one image stay in one half. Where few images leave a half without
    any, that draw is left out.
    """
    right = np.asarray(correct, dtype=np.float64)
    if right.ndim != 2 or right.shape[0] > right.shape[1] or right.shape[1] < 2:
        raise ValueError(f"correct must be (epochs, images) with more images than epochs, not {right.shape}")
    images = right.shape[1]
    optimism = _mean_optimism(right, np.ones(images), rng, splits * 10)
    replicates = [
        _mean_optimism(right, rng.multinomial(images, np.full(images, 1 / images)), rng, splits)
        for _ in range(resamples)
    ]
    low, high = np.nanquantile(replicates, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return optimism, float(low), float(high)


def _mean_optimism(right: Floats, weights: NDArray[Any], rng: np.random.Generator, splits: int) -> float:
    """The symmetrised optimism with image weights (images,), averaged over random halves."""
    images = right.shape[1]
    halves = rng.permuted(np.tile(np.arange(images) < images // 2, (splits, 1)), axis=1)  # (splits, images)

    masses = [weights * side for side in (halves, ~halves)]
    held = np.logical_and(*(mass.sum(axis=1) > 0 for mass in masses))
    if not held.any():
        return np.nan
    first, second = (right @ mass[held].T / mass[held].sum(axis=1) for mass in masses)  # (epochs, splits)
    a, b, at = first.argmax(axis=0), second.argmax(axis=0), np.arange(held.sum())
    return float(((first[a, at] - second[a, at]) + (second[b, at] - first[b, at])).mean() / 2)


def full_size_optimism(
    correct: ArrayLike, rng: np.random.Generator, simulations: int = 4000, confidence: float = 0.95
) -> tuple[float, float, float]:
    """What choosing the epoch on all reported images adds, by a plug-in simulation: (mean, low, high).

    `correct` (epochs, images) as above. Test sets of the same size are drawn from the images; on each the best epoch
    is chosen, and scores there so much more than on the images it was drawn from (the bootstrap's optimism, Efron &
    Tibshirani 1993, chapter 17). What the epochs' errors share, they share here too. The measured differences between
    epochs, taken for true, are larger than the true ones, which makes the estimate somewhat small; split halves err
    the other way. `low` and `high` are quantiles of a single choice's luck, not an interval of the mean.
    """
    right = np.asarray(correct, dtype=np.float32)
    if right.ndim != 2 or right.shape[0] > right.shape[1]:
        raise ValueError(f"correct must be (epochs, images) with more images than epochs, not {right.shape}")
    images = right.shape[1]
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=simulations).astype(np.float32)
    scores = (drawn @ right.T).astype(np.float64) / images  # (simulations, epochs); whole numbers, exact in float32
    chosen = scores.argmax(axis=1)
    luck = scores[np.arange(simulations), chosen] - right.mean(axis=1, dtype=np.float64)[chosen]
    low, high = np.quantile(luck, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(luck.mean()), float(low), float(high)


def selection_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per run of the published protocol: what its choice of the epoch on the test set is worth.

    `selected` is the accuracy the protocol reports for the chosen epoch, on the images it chose on; `optimism` (split
    halves) or `full_size` (simulated at the full test size) is to be taken off it. Runs that kept no predictions by
    epoch, or have fewer images than epochs, are left out.
    """
    rows = []
    for run in runs:
        kept = run.directory / EPOCHS
        if run.config.protocol != "published" or not kept.exists():
            continue
        with reading_arrays(kept, fix="delete the run and repeat it") as content:
            predicted = content["predicted"]  # (epochs, images)
        # This protocol validates on the test images, in their order.
        correct = predicted == run.predictions["label"].to_numpy()
        if correct.ndim != 2 or correct.shape[1] < max(2, len(correct)):
            continue
        rng = np.random.default_rng(zlib.crc32(run.name.encode()))
        optimism, low, high = split_half_optimism(correct, rng)
        full_size = full_size_optimism(correct, rng)
        rows.append(
            {
                **run.key,
                **{"epochs": len(correct), "images": correct.shape[1], "chosen_epoch": run.result["best_epoch"]},
                **{"selected": correct.mean(axis=1).max(), "optimism": optimism, "ci_low": low, "ci_high": high},
                **{"run": run.name, "test_crop": run.config.test_crop},
                **dict(zip(("full_size", "full_low", "full_high"), full_size, strict=True)),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


TABLE = Table("selection", COLUMNS, lambda study, _: selection_table(study.runs), drawn=("optimism",))
