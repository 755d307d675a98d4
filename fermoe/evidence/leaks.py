"""What test images that also occur in the training set do to a run's accuracy."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fermoe.data.audit import DatasetReport
from fermoe.evidence.table import Table
from fermoe.stats import counts_bca_interval
from fermoe.training.runs import FinishedRun, StudyResults

KINDS = ("identical", "identical or near")

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "leaks", "leaked_images", "images",
    "leaked_accuracy", "accuracy", "clean_accuracy", "difference", "ci_low", "ci_high", "run",
    "test_crop",
)  # fmt: skip


def leaked_images(report: DatasetReport) -> pd.DataFrame:
    """Test images with a twin among the training images, sorted by name: image, kind ("identical" or "near").

    Near twins are found only if the report looked for them (`check_dataset(…, perceptual=True)`).
    """
    identical = set(report.train_test_duplicates["test_image"])
    near: set[str] = set()
    if report.near_duplicates is not None:
        pairs, copies = report.near_duplicates, report.duplicates
        for one, other in (("a", "b"), ("b", "a")):
            across = (pairs[f"split_{one}"] == "test") & (pairs[f"split_{other}"] == "train")
            near |= set(pairs.loc[across, f"image_{one}"])
        # A pair names one image for all that have the same pixels.
        groups = copies.loc[copies["image"].isin(near), "group"]
        near |= set(copies.loc[copies["group"].isin(groups), "image"])
    rows = [(image, "identical") for image in sorted(identical)] + [(i, "near") for i in sorted(near - identical)]
    return pd.DataFrame(rows, columns=list(LEAKED_IMAGES.columns))


def leak_table(runs: Sequence[FinishedRun], leaked: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy with and without the leaked images, one row per run and kind of leak.

    `difference` is accuracy on all test images − accuracy without the leaked ones: what the leaks add to the number
    that is reported, with a BCa bootstrap over images. `leaked` is of `leaked_images`; empty where there are none.
    """
    rows = []
    for run in runs:
        correct = run.correct.to_numpy()
        for kind in KINDS:
            names = leaked["image"][leaked["kind"].isin(kind.split(" or "))]
            inside = run.predictions["image"].isin(names).to_numpy()
            if not inside.any() or inside.all():
                continue
            counts = np.array([[(part & correct).sum(), (part & ~correct).sum()] for part in (inside, ~inside)])
            rng = np.random.default_rng(zlib.crc32(f"{run.name} {kind}".encode()))
            low, high = counts_bca_interval(_gain, counts, rng=rng)
            rows.append(
                {
                    **run.key,
                    **{"leaks": kind, "leaked_images": int(inside.sum()), "images": len(correct)},
                    **{"leaked_accuracy": correct[inside].mean(), "accuracy": correct.mean()},
                    **{"clean_accuracy": correct[~inside].mean(), "difference": float(_gain(counts))},
                    **{"ci_low": low, "ci_high": high, "run": run.name, "test_crop": run.config.test_crop},
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _gain(counts: np.ndarray) -> np.ndarray:
    """Accuracy on all images − accuracy on the clean ones: (..., leaked or clean, right or wrong) → (...)."""
    right = counts[..., 0].sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / counts.sum(axis=(-2, -1)) - counts[..., 1, 0] / counts[..., 1, :].sum(axis=-1)


def _build(study: StudyResults, answers: None) -> pd.DataFrame | None:
    leaked = study.table("leaked_images")
    return None if leaked is None else leak_table(study.runs, leaked)


LEAKED_IMAGES = Table("leaked_images", ("image", "kind"), None, notebook="01_data")
TABLE = Table("leaks", COLUMNS, _build)
