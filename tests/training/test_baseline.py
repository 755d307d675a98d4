"""The baseline learns what a plain model can, without a draw and without the test images' labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fermoe.data.datasets import Dataset, load_dataset, protocol_splits
from fermoe.training.baseline import BASELINES, HogSvmConfig, baseline, hog_features, hog_svm
from fermoe.training.foreign import Answers
from tests.helpers import trees
from tests.helpers.trees import refused

SMALL = HogSvmConfig(penalties=(0.01, 1.0))


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    return load_dataset("synthetic", train=400, test=140, framing="tight", size=48)


@pytest.fixture(scope="module")
def found(drawn: Dataset) -> tuple[Answers, dict[str, object]]:
    return hog_svm(drawn, lambda line: None, SMALL)


def truth(dataset: Dataset) -> np.ndarray:
    return dataset.table.loc[dataset.table["split"] == "test", "label"].to_numpy()


def test_it_is_above_the_most_frequent_class_on_drawn_faces(drawn: Dataset, found: tuple) -> None:
    labels = truth(drawn)
    accuracy = (found[0].predicted == labels).mean()
    assert accuracy > 1.5 * np.bincount(labels).max() / len(labels)
    assert accuracy < 1


def test_it_gives_the_same_answers_again(drawn: Dataset, found: tuple) -> None:
    again, how = hog_svm(drawn, lambda line: None, SMALL)
    np.testing.assert_array_equal(again.predicted, found[0].predicted)
    assert how == found[1]


def test_the_penalty_is_the_one_that_is_best_on_the_validation_images(found: tuple) -> None:
    how = found[1]
    assert how["validation"][f"{how['penalty']:g}"] == max(how["validation"].values())
    assert how["train_images"] + how["validation_images"] == 400


def test_the_labels_of_test_images_are_not_used(drawn: Dataset, found: tuple) -> None:
    table = drawn.table.copy()
    test = table["split"] == "test"
    table.loc[test, "label"] = np.roll(table.loc[test, "label"], 1)
    other = Dataset(table, drawn.name, drawn.labels, drawn.channels, drawing=drawn.drawing)
    np.testing.assert_array_equal(hog_svm(other, lambda line: None, SMALL)[0].predicted, found[0].predicted)


def test_twins_of_test_images_are_not_learned_from(tmp_path: Path, own_cache: Path) -> None:
    root = trees.fer2013_tree(tmp_path / "data", trees.even(trees.FER2013, train=8, test=2))
    for label in trees.FER2013:
        train, test = (sorted((root / split / label).iterdir())[0] for split in ("train", "test"))
        train.write_bytes(test.read_bytes())
    _, how = hog_svm(load_dataset("fer2013", root), lambda line: None, HogSvmConfig(penalties=(1.0,)))
    assert how["train_images"] + how["validation_images"] == 7 * 7  # one of eight in each class is a test image


@pytest.mark.parametrize("degrees", [10, 50, 90, 130, 170])
def test_stripes_fall_into_the_bin_of_their_direction_however_bright(degrees: int) -> None:
    """The gradient of stripes has one direction, and nine bins of 20° share the half circle."""
    y, x = np.mgrid[:48, :48]
    angle = np.deg2rad(degrees)
    waves = 100 + 80 * np.sin((x * np.cos(angle) + y * np.sin(angle)) / 2)
    images = np.stack([waves, waves / 2]).astype(np.uint8)[:, None]
    features = hog_features(images, HogSvmConfig())
    assert features.shape == (2, 5 * 5 * 4 * 9)
    bins = features.reshape(2, -1, 9).sum(axis=1)
    assert bins.argmax(axis=1).tolist() == [degrees // 20] * 2
    np.testing.assert_allclose(features[0], features[1], atol=0.05)


def test_colours_are_taken_as_grey() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, 1, 48, 48), dtype=np.uint8)
    config = HogSvmConfig()
    np.testing.assert_allclose(hog_features(np.repeat(grey, 3, axis=1), config), hog_features(grey, config))


def test_every_baseline_is_known_by_its_name() -> None:
    assert baseline("hog_svm") is BASELINES["hog_svm"]
    with refused("unknown baseline 'x'", "hog_svm"):
        baseline("x")


def test_a_baseline_splits_as_the_audited_protocol_does(drawn: Dataset, found: tuple) -> None:
    splits = protocol_splits(drawn, "audited")
    assert found[1]["train_images"] == len(splits["train"])
