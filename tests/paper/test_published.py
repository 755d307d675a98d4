"""The published figures agree with each other and with the paper's printed numbers."""

import numpy as np
import pytest

from fermoe.errors import UserError
from fermoe.paper import published

DATASETS = list(published.TITLES)


def test_the_four_accuracies_are_the_papers():
    table = published.accuracies().set_index("dataset")
    percent = (100 * table["accuracy"]).to_dict()
    assert percent == pytest.approx({"affectnet7": 74.77, "affectnet8": 72.55, "rafdb": 84.29, "fer2013": 64.66})
    assert (table["correct"] / table["test_images"]).to_numpy() == pytest.approx(table["accuracy"], abs=5.1e-5)


@pytest.mark.parametrize("dataset", DATASETS)
def test_matrix_class_counts_and_accuracy_agree(dataset):
    matrix = published.confusion_matrix(dataset)
    counts = published.class_counts()
    test = counts[(counts["dataset"] == dataset) & (counts["split"] == "test")].set_index("label")["images"]
    row = published.accuracies().set_index("dataset").loc[dataset]
    assert list(matrix.index) == list(matrix.columns)
    assert (matrix.index.name, matrix.columns.name) == ("true", "predicted")
    assert matrix.sum(axis=1).to_dict() == test.to_dict()
    assert np.trace(matrix) == row["correct"]
    assert matrix.to_numpy().sum() == row["test_images"]


@pytest.mark.parametrize(
    ("dataset", "train", "test"),
    [("fer2013", 28709, 7178), ("rafdb", 12271, 3068), ("affectnet8", 22540, 5635), ("affectnet7", 19944, 4987)],
)
def test_split_sizes_are_the_datasets(dataset, train, test):
    counts = published.class_counts()
    sizes = counts[counts["dataset"] == dataset].groupby("split")["images"].sum()
    assert sizes.to_dict() == {"train": train, "test": test}


@pytest.mark.parametrize("dataset", DATASETS)
def test_recall_and_frequency_come_from_the_matrix_and_the_training_counts(dataset):
    table = published.recall_and_frequency(dataset).set_index("label")
    matrix = published.confusion_matrix(dataset)
    for label in matrix.index:
        assert table.at[label, "recall"] == pytest.approx(matrix.at[label, label] / matrix.loc[label].sum())
    counts = published.class_counts()
    happy = counts[(counts["dataset"] == dataset) & (counts["label"] == "happy") & (counts["split"] == "train")]
    assert table.at["happy", "train_images"] == happy["images"].item()


def test_histories_follow_the_learning_rate_schedule_and_start_at_epoch_one():
    for _, history in published.training_history().groupby("dataset"):
        assert history["epoch"].tolist() == list(range(1, len(history) + 1))
        assert history["learning_rate"].to_numpy() == pytest.approx(1e-4 * 0.95 ** history["epoch"], rel=1e-4)


def test_the_reported_accuracies_are_near_the_logs_best_but_never_it():
    stated = 100 * published.accuracies().set_index("dataset")["accuracy"]
    logged = 100 * published.training_history().groupby("dataset")["val_accuracy"].max()
    apart = (stated - logged).abs()
    assert apart.min() > 0.05
    assert apart.max() < 0.3


@pytest.mark.parametrize(("classes", "total"), [(7, 35_931_871), (8, 35_932_896)])
def test_blocks_add_up_to_the_published_total(classes, total):
    assert published.block_parameters(classes)["parameters"].sum() == total


def test_blocks_match_the_arithmetic_of_their_layers():
    blocks = published.block_parameters().set_index("block")["parameters"]
    expert = 512 * 512 + 512
    assert blocks["moe_cnn"] == blocks["moe_expression"] == 4 * expert + 512 * 4 + 4
    assert blocks["fusion"] == (2048 + 256) * 512 + 512
    kernels, channels = (75, 50, 25, 15, 9, 3), (3, 8, 16, 32, 64, 128, 256)
    convs = sum(k * k * a * b + b + 4 * b for k, a, b in zip(kernels, channels[:-1], channels[1:], strict=True))
    assert blocks["cnn1"] == convs + 7 * 7 * 256 * 512 + 512


def test_neighbours_say_whether_they_saw_the_same_test_images():
    table = published.neighbours()
    same = table.groupby("dataset")["same_test_images"].unique().map(list).to_dict()
    assert same == {"rafdb": [True], "affectnet7": [False], "affectnet8": [False], "fer2013": [False]}
    assert table["accuracy"].between(0.6, 0.95).all()


def test_an_unknown_dataset_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="affectnet7, affectnet8, rafdb, fer2013"):
        published.confusion_matrix("ferplus")
