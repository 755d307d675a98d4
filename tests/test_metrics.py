"""Metrics agree with scikit-learn; predictions survive the way through a file."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from fermoe import metrics
from fermoe.errors import UserError
from fermoe.training.predictions import (
    class_names,
    confusion_table,
    gates_of,
    predictions_table,
    probabilities_of,
    read_predictions,
    write_predictions,
)

NAMES = ["happy", "sad", "fear", "neutral"]


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 120)
    labels = np.where(rng.random(120) < 0.6, probabilities.argmax(axis=1), rng.integers(0, 4, 120))
    gates = {"cnn": rng.dirichlet(np.ones(3), 120), "expression": rng.dirichlet(np.ones(2), 120)}
    images = [f"{i:04d}" for i in range(120)]
    return predictions_table(images, labels, probabilities, NAMES, gates)


def test_confusion_is_scikit_learns(predictions):
    got = metrics.confusion(predictions["label"], predictions["predicted"], 4)
    assert (got == sk.confusion_matrix(predictions["label"], predictions["predicted"])).all()


def test_confusion_refuses_unknown_classes_and_unequal_lengths():
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.confusion([0, 2], [0, 1], 2)
    with pytest.raises(ValueError, match="one length"):
        metrics.confusion([0, 1], [0], 2)


def test_per_class_is_scikit_learns_report(predictions):
    matrix = confusion_table(predictions)
    table = metrics.per_class(matrix)
    precision, recall, f1, images = sk.precision_recall_fscore_support(predictions["label"], predictions["predicted"])
    assert list(table["label"]) == NAMES
    assert table["precision"].to_numpy() == pytest.approx(precision)
    assert table["recall"].to_numpy() == pytest.approx(recall)
    assert table["f1"].to_numpy() == pytest.approx(f1)
    assert list(table["images"]) == list(images)
    assert ((table["recall_low"] < table["recall"]) & (table["recall"] < table["recall_high"])).all()


def test_metrics_are_scikit_learns(predictions):
    labels, predicted = predictions["label"], predictions["predicted"]
    probabilities = probabilities_of(predictions)
    got = metrics.metrics(labels, predicted, probabilities)
    assert got["images"] == 120
    assert got["correct"] == (labels == predicted).sum()
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert got["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert got["cross_entropy"] == pytest.approx(sk.log_loss(labels, probabilities))


def test_a_class_without_test_images_is_undefined_not_zero():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    with pytest.warns(UserWarning, match="no test images of class 2"):
        got = metrics.metrics(labels, predicted, np.eye(3)[predicted])
    assert got["balanced_accuracy"] == pytest.approx(0.75)
    expected = sk.f1_score(labels, predicted, labels=range(3), average="macro", zero_division=np.nan)
    assert got["macro_f1"] == pytest.approx(expected)
    table = metrics.per_class(metrics.confusion(labels, predicted, 3))
    assert table.loc[2, ["precision", "recall", "f1", "recall_low"]].isna().all()


def test_a_class_never_predicted_has_no_precision_but_recall_zero():
    table = metrics.per_class(metrics.confusion([0, 1], [0, 0], 2))
    assert math.isnan(table.loc[1, "precision"])
    assert table.loc[1, "recall"] == 0
    assert table.loc[1, "f1"] == 0


@pytest.mark.filterwarnings("ignore:no test images")
def test_metrics_without_any_image_are_undefined():
    got = metrics.metrics([], [], np.empty((0, 3)))
    assert got["images"] == 0
    assert all(math.isnan(got[name]) for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"))


def test_metric_intervals_contain_their_values(predictions):
    matrix = confusion_table(predictions)
    table = metrics.metric_intervals(matrix, np.random.default_rng(0))
    assert list(table["metric"]) == ["accuracy", "balanced_accuracy", "macro_f1"]
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()


def test_statistics_of_many_matrices_are_those_of_each():
    matrices = np.random.default_rng(0).integers(0, 9, (5, 2, 3, 3))
    for statistic in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1):
        together = statistic(matrices)
        assert together.shape == (5, 2)
        assert together[3, 1] == pytest.approx(float(statistic(matrices[3, 1])))


def test_no_decision_changes_by_rounding_however_close_the_call(tmp_path):
    rng = np.random.default_rng(3)
    close = np.float32(0.142857) + np.spacing(np.float32(0.142857)) * rng.integers(0, 3, (500, 7)).astype(np.float32)
    table = predictions_table([str(i) for i in range(500)], np.zeros(500, int), close, list("abcdefg"))
    write_predictions(tmp_path / "predictions.csv", table)
    back = read_predictions(tmp_path / "predictions.csv")
    assert np.array_equal(probabilities_of(back).argmax(axis=1), close.argmax(axis=1))
    assert np.array_equal(back["predicted"], close.argmax(axis=1))


def test_predictions_survive_a_file(tmp_path, predictions):
    predictions.loc[0, "image"] = "NA"
    write_predictions(tmp_path / "predictions.csv", predictions)
    back = read_predictions(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(back, predictions, atol=5.1e-9, rtol=0)
    assert list(back["image"][:2]) == ["NA", "0001"]
    assert class_names(back) == NAMES
    assert {name: gate.shape for name, gate in gates_of(back).items()} == {
        "cnn": (120, 3),
        "expression": (120, 2),
    }
    header, first = (tmp_path / "predictions.csv").read_text().splitlines()[:2]
    assert header.startswith("image,label,predicted,p_happy,p_sad,p_fear,p_neutral,gate_cnn_0")
    assert all(len(field.split(".")[1]) == 8 for field in first.split(",")[3:])


def test_predictions_of_a_model_without_gates_have_no_gate_columns():
    table = predictions_table(["a"], [0], [[0.4, 0.6]], ["x", "y"])
    assert list(table.columns) == ["image", "label", "predicted", "p_x", "p_y"]
    assert table["predicted"].tolist() == [1]
    assert gates_of(table) == {}


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        predictions_table(["a", "b"], [0, 1], [[0.4, 0.6]], ["x", "y"])
    with pytest.raises(ValueError, match="gates of 'cnn'"):
        predictions_table(["a"], [0], [[0.4, 0.6]], ["x", "y"], {"cnn": [0.5, 0.5]})


@pytest.mark.parametrize("content", [None, "", "image,label\na,1\n", "image,label,predicted\na,1,1\n"])
def test_a_file_that_holds_no_predictions_is_named(tmp_path, content):
    path = tmp_path / "predictions.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"predictions.*predictions\.csv"):
        read_predictions(path)


def by_scikit_learn(labels, predicted):
    """Accuracy, balanced accuracy, macro-F1, and the recall of each class that has images."""
    present = np.unique(labels)
    return [
        sk.accuracy_score(labels, predicted),
        sk.recall_score(labels, predicted, labels=present, average="macro", zero_division=0),
        sk.f1_score(labels, predicted, average="macro", zero_division=0),
        *sk.recall_score(labels, predicted, labels=present, average=None, zero_division=0),
    ]


def test_measures_under_weights_are_those_of_the_images_written_out(predictions):
    labels, predicted = predictions["label"].to_numpy(), predictions["predicted"].to_numpy()
    drawn = np.random.default_rng(1).integers(0, 120, (6, 120))
    weights = np.stack([np.bincount(row, minlength=120) for row in drawn]).astype(np.float32)
    got = metrics.resampled_measures(labels, predicted, 4, weights)
    for values, row in zip(got, drawn, strict=True):
        assert values == pytest.approx(by_scikit_learn(labels[row], predicted[row]), abs=1e-12)


def test_measures_without_an_image_are_those_of_the_others(predictions):
    labels, predicted = predictions["label"].to_numpy(), predictions["predicted"].to_numpy()
    got = metrics.left_out_measures(labels, predicted, 4)
    for i in (0, 17, 119):
        others = np.arange(120) != i
        assert got[i] == pytest.approx(by_scikit_learn(labels[others], predicted[others]), abs=1e-12)


def test_measures_after_an_exchange_are_those_of_the_exchanged_answers(predictions):
    labels, first = predictions["label"].to_numpy(), predictions["predicted"].to_numpy()
    rng = np.random.default_rng(2)
    second, flips = rng.integers(0, 4, 120), rng.integers(0, 2, (5, 120))
    got = metrics.swapped_measures(labels, first, second, 4, flips.astype(np.float32))
    for values, flip in zip(got, flips.astype(bool), strict=True):
        one, other = np.where(flip, second, first), np.where(flip, first, second)
        expected = np.subtract(by_scikit_learn(labels, other), by_scikit_learn(labels, one))
        assert values == pytest.approx(expected, abs=1e-12)
