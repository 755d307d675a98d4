"""What test images that also occur in the training set do to a run's accuracy."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fermoe.data.audit import DatasetReport
from fermoe.evidence.measures import same_images
from fermoe.evidence.table import Table
from fermoe.files import digest
from fermoe.stats import counts_bca_interval, paired_difference
from fermoe.training.predictions import class_names
from fermoe.training.runs import FinishedRun, StudyResults

KINDS = ("identical", "identical or near")

COLUMNS = (
    "dataset", "protocol", "variant", "crop", "pipeline", "seed", "leaks", "leaked_images", "images",
    "leaked_accuracy", "accuracy", "clean_accuracy", "difference", "ci_low", "ci_high", "run",
    "test_crop", "twins", "precision",
    "composition", "standardised", "std_low", "std_high", "causal", "causal_low", "causal_high",
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
    that is reported. Leaked images have their own mix of classes, and some classes are easier than others:
    `standardised` is the same difference with the accuracies of the clean images weighted class by class as all test
    images are. Both with a BCa bootstrap over images. `causal`, for a run that kept its twins and has one of
    the same setting and seed without them: the accuracy of the former − that of the latter, with a paired bootstrap
    over images; it is about identical twins, which alone are set apart. `leaked` is of `leaked_images`; empty where
    there are none.
    """
    rows = []
    without = {_setting(run): run for run in runs if run.config.twins == "apart"}
    for run in runs:
        table, correct = run.predictions, run.correct.to_numpy()
        for kind in KINDS:
            names = leaked["image"][leaked["kind"].isin(kind.split(" or "))]
            inside = table["image"].isin(names).to_numpy()
            if not inside.any() or inside.all():
                continue
            counts = _counts(table["label"].to_numpy(), inside, correct, len(class_names(table)))
            rng = np.random.default_rng(zlib.crc32(f"{run.name} {kind}".encode()))
            low, high = counts_bca_interval(_gain, counts.sum(axis=0), rng=rng)
            row = {
                **run.key,
                **{"leaks": kind, "leaked_images": int(inside.sum()), "images": len(correct)},
                **{"leaked_accuracy": correct[inside].mean(), "accuracy": correct.mean()},
                **{"clean_accuracy": correct[~inside].mean(), "difference": float(_gain(counts.sum(axis=0)))},
                **{"ci_low": low, "ci_high": high, "run": run.name, "test_crop": run.config.test_crop},
            }
            low, high = counts_bca_interval(_standardised_gain, counts, rng=rng)
            row |= {"standardised": float(_standardised_gain(counts)), "std_low": low, "std_high": high}
            other = without.get(_setting(run)) if run.config.twins == "kept" and kind == "identical" else None
            if other is not None and same_images([run, other]):
                effect = paired_difference(other.correct.to_numpy(), correct, rng)
                row |= dict(zip(("causal", "causal_low", "causal_high"), effect, strict=True))
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _setting(run: FinishedRun) -> str:
    """What a run with twins and one without have in common."""
    return digest({name: value for name, value in run.config.parameters().items() if name != "twins"}, 64)


def _counts(labels: np.ndarray, inside: np.ndarray, correct: np.ndarray, classes: int) -> np.ndarray:
    """Images by class, leaked or clean, right or wrong: (C, 2, 2)."""
    cells = (labels * 2 + ~inside) * 2 + ~correct
    return np.bincount(cells, minlength=4 * classes).reshape(classes, 2, 2)


def _gain(counts: np.ndarray) -> np.ndarray:
    """Accuracy on all images − accuracy on the clean ones: (..., leaked or clean, right or wrong) → (...)."""
    right = counts[..., 0].sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / counts.sum(axis=(-2, -1)) - counts[..., 1, 0] / counts[..., 1, :].sum(axis=-1)


def _standardised_gain(counts: np.ndarray) -> np.ndarray:
    """`_gain` within each class, averaged over all images: (..., class, leaked or clean, right or wrong) → (...).

    A class without clean images says nothing about leaks and is left out.
    """
    images = counts.sum(axis=(-2, -1))
    within = _gain(counts)
    known = np.isfinite(within)
    return np.where(known, images * within, 0).sum(axis=-1) / np.where(known, images, 0).sum(axis=-1)


def _build(study: StudyResults, answers: None) -> pd.DataFrame | None:
    leaked = study.table("leaked_images")
    return None if leaked is None else leak_table(study.runs, leaked)


LEAKED_IMAGES = Table("leaked_images", ("image", "kind"), None, notebook="01_data")
TABLE = Table("leaks", COLUMNS, _build, drawn=("difference", "standardised"))
