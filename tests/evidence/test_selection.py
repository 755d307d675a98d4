"""Choosing the epoch on the reported images flatters by what a plain simulation of the same rule finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fermoe import stats
from fermoe.evidence.selection import full_size_optimism, selection_table, split_half_optimism
from fermoe.training.predictions import predictions_table, write_predictions
from fermoe.training.runs import FinishedRun
from tests.helpers.runs import made_up


def test_one_epoch_that_wins_everywhere_is_chosen_honestly() -> None:
    correct = np.zeros((3, 200), bool)
    correct[1] = True
    assert split_half_optimism(correct, np.random.default_rng(0)) == (0, 0, 0)


def test_equal_epochs_are_flattered_by_the_expected_maximum_of_their_luck() -> None:
    """Epochs differ by luck alone: the best of k on a half exceeds its own true accuracy by E[max] of k normals."""
    rng = np.random.default_rng(1)
    epochs, images, share = 5, 800, 0.6
    found, expected = [], []
    for _ in range(60):
        correct = rng.random((epochs, images)) < share
        found.append(split_half_optimism(correct, rng, splits=20, resamples=2)[0])
        half = rng.random((epochs, images // 2)) < share
        expected.append(half.mean(axis=1).max() - share)
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.15)


def test_the_interval_holds_the_estimate_and_narrows_with_the_images() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for images in (200, 3200):
        optimism, low, high = split_half_optimism(rng.random((6, images)) < 0.5, rng, resamples=100)
        assert 0 <= low < high
        assert optimism < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("images", [2, 3, 5])
def test_a_handful_of_images_has_an_interval_without_a_warning(images: int) -> None:
    rng = np.random.default_rng(3)
    optimism, low, high = split_half_optimism(rng.random((2, images)) < 0.5, rng)
    assert 0 <= optimism <= 1
    assert 0 <= low <= high <= 1


def test_at_full_size_epochs_of_one_accuracy_are_flattered_by_the_luck_of_the_best() -> None:
    rng = np.random.default_rng(3)
    one = np.arange(2000) < 1200
    correct = np.stack([rng.permutation(one) for _ in range(5)])
    mean, low, high = full_size_optimism(correct, rng)
    expected = stats.best_of_epochs_optimism([0.6] * 5, 2000, correlation=0, rng=rng)
    assert (mean, low, high) == pytest.approx(expected, rel=0.1, abs=0.001)
    assert split_half_optimism(correct, rng, resamples=2)[0] > mean  # halves are noisier


def test_at_full_size_an_epoch_far_ahead_is_chosen_honestly_and_its_luck_cancels() -> None:
    rng = np.random.default_rng(4)
    correct = rng.random((3, 1500)) < np.array([0.3, 0.7, 0.4])[:, None]
    mean, low, high = full_size_optimism(correct, rng)
    assert mean == pytest.approx(0, abs=0.001)
    assert low < 0 < high
    with pytest.raises(ValueError, match="more images than epochs"):
        full_size_optimism(correct.T, rng)


@pytest.mark.parametrize("shape", [(10,), (20, 5), (1, 1)])
def test_swapped_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="more images than epochs"):
        split_half_optimism(np.zeros(shape), np.random.default_rng(0))


def test_the_table_has_the_published_runs_that_kept_their_epochs(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    predicted = np.stack([np.zeros(60), labels]).astype(np.uint8)
    write_predictions(
        tmp_path / "predictions.csv",
        predictions_table([str(i) for i in range(60)], labels, np.full((60, 3), 1 / 3), ("a", "b", "c")),
    )
    np.savez_compressed(tmp_path / "epochs.npz", predicted=predicted)
    runs = [made_up(directory=tmp_path, protocol=protocol) for protocol in ("published", "audited")]
    runs.append(made_up(directory=tmp_path / "elsewhere", protocol="published"))
    runs = [FinishedRun(run.directory, {**run.result, "best_epoch": 2}) for run in runs]
    (row,) = selection_table(runs).itertuples()
    assert (row.run, row.epochs, row.images, row.selected, row.optimism) == ("r", 2, 60, 1.0, 0.0)
    assert (row.full_size, row.full_low, row.full_high) == (0, 0, 0)
