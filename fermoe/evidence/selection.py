"""How much does it flatter to choose the epoch on the images that are reported? The table selection.csv.

The published protocol keeps the epoch with the best accuracy on the test set and reports that accuracy. The same run
can be scored honestly: choose on one half of the images, report on the other.
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
from fermoe.training.runs import FinishedRun

Floats = NDArray[np.float64]

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "epochs", "images", "chosen_epoch", "selected",
    "optimism", "ci_low", "ci_high", "run", "test_crop",
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


def selection_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per run of the published protocol: what its choice of the epoch on the test set is worth.

    `selected` is the accuracy the protocol reports for the chosen epoch, on the images it chose on; `optimism` is to be
    taken off it. Runs that kept no predictions by epoch, or have fewer images than epochs, are left out.
    """
    rows = []
    for run in runs:
        kept = run.directory / "epochs.npz"
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
        rows.append(
            {
                **run.key,
                **{"epochs": len(correct), "images": correct.shape[1], "chosen_epoch": run.result["best_epoch"]},
                **{"selected": correct.mean(axis=1).max(), "optimism": optimism, "ci_low": low, "ci_high": high},
                **{"run": run.name, "test_crop": run.config.test_crop},
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


TABLE = Table("selection", COLUMNS, lambda study, _: selection_table(study.runs))
