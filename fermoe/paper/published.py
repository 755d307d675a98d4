"""The figures that the paper and its authors' executed notebooks report: numbers only.

The CSV files beside this module were checked against each other: row sums of the matrices are the test
counts, and their diagonals give the published accuracies.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fermoe.errors import UserError
from fermoe.stats import best_of_epochs_optimism, spearman_interval, wilson_interval

FOLDER = Path(__file__).resolve().parent

TITLES = {
    "affectnet7": "AffectNet-7",
    "affectnet8": "AffectNet-8",
    "rafdb": "RAF-DB",
    "fer2013": "FER-2013",
}
"""The published datasets in the paper's order, and how they are written in figures."""

_BLOCKS = [
    ("cnn1", "CNN extractor 1, kernels 75 to 3", 8_619_824),
    ("cnn2", "CNN extractor 2, kernels 15 to 3", 458_208),
    ("resnet", "ResNet-50", 23_561_152),
    ("fusion", "Fusion of extractor 2 and ResNet-50", 1_180_160),
    ("moe_cnn", "MoE on extractor 1", 1_052_676),
    ("moe_expression", "MoE on the fusion", 1_052_676),
]

BACKBONE_ALONE = "VGGFace2 ResNet-50 alone"
"""The neighbour that is the paper's own backbone, trained by others."""

_AFFECTNET7_TEST = "official validation set, 3,500 images"
_AFFECTNET8_TEST = "official validation set, 4,000 images"
_RAFDB_TEST = "official test set, 3,068 images"
_PRIVATE_TEST = "PrivateTest, 3,589 images"
_USUAL = "checkpoint selection not comparable: test set used or not stated"
HELD_OUT = "checkpoint chosen on a validation split"

_NEIGHBOURS = [
    ("rafdb", "FMAE", 0.9309, _RAFDB_TEST, _USUAL),
    ("rafdb", "POSTER++", 0.9221, _RAFDB_TEST, _USUAL),
    ("rafdb", "POSTER", 0.9205, _RAFDB_TEST, _USUAL),
    ("rafdb", "EAC", 0.9035, _RAFDB_TEST, _USUAL),
    ("rafdb", "DAN", 0.8970, _RAFDB_TEST, _USUAL),
    ("rafdb", BACKBONE_ALONE, 0.8875, _RAFDB_TEST, _USUAL),
    ("rafdb", "MEK ResNet-18", 0.8641, _RAFDB_TEST, HELD_OUT),
    ("affectnet7", "POSTER++", 0.6749, _AFFECTNET7_TEST, _USUAL),
    ("affectnet7", "HSEmotion", 0.6651, _AFFECTNET7_TEST, _USUAL),
    ("affectnet7", "DAN", 0.6569, _AFFECTNET7_TEST, _USUAL),
    ("affectnet8", "FMAE", 0.6500, _AFFECTNET8_TEST, _USUAL),
    ("affectnet8", "POSTER++", 0.6377, _AFFECTNET8_TEST, _USUAL),
    ("affectnet8", "DAN", 0.6209, _AFFECTNET8_TEST, _USUAL),
    ("fer2013", "EmoNeXt", 0.7612, _PRIVATE_TEST, _USUAL),
    ("fer2013", BACKBONE_ALONE, 0.7430, _PRIVATE_TEST, _USUAL),
    ("fer2013", "ResMaskingNet", 0.7414, _PRIVATE_TEST, _USUAL),
    ("fer2013", "MEK ResNet-34", 0.7205, _PRIVATE_TEST, HELD_OUT),
    ("fer2013", "VGG19", 0.7080, _PRIVATE_TEST, _USUAL),
]

PAPER_TEST_SET = {
    "affectnet7": "random fifth of a 28k subset, 4,987 images",
    "affectnet8": "random fifth of a 28k subset, 5,635 images",
    "rafdb": _RAFDB_TEST,
    "fer2013": "PublicTest and PrivateTest, 7,178 images",
}
"""What the paper's accuracy was measured on, in the words of `neighbours()`' column test_set."""


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{name}.csv")


def accuracies() -> pd.DataFrame:
    """One row per dataset: dataset, classes, accuracy, correct, test_images, reported_in."""
    table = _read("accuracy").set_index("dataset")
    return table.loc[list(TITLES)].reset_index()


def confusion_matrix(dataset: str) -> pd.DataFrame:
    """Published counts: index "true", columns "predicted", label names and their order as published."""
    if dataset not in TITLES:
        raise UserError(f"no published confusion matrix for {dataset!r}", fix=f"choose one of {', '.join(TITLES)}")
    matrix = pd.read_csv(FOLDER / f"confusion_{dataset}.csv", index_col=0)
    return matrix.rename_axis(index="true", columns="predicted")


def recomputed_accuracies(confidence: float = 0.95) -> pd.DataFrame:
    """Accuracies counted again from the published matrices, with Wilson intervals.

    Columns dataset (as written in figures), published, correct, images, accuracy, ci_low, ci_high.
    """
    rows = []
    for dataset, stated in accuracies().set_index("dataset")["accuracy"].items():
        matrix = confusion_matrix(str(dataset)).to_numpy()
        correct, images = int(matrix.trace()), int(matrix.sum())
        interval = wilson_interval(correct, images, confidence)
        rows.append((TITLES[str(dataset)], stated, correct, images, correct / images, *interval))
    names = ["dataset", "published", "correct", "images", "accuracy", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)


def class_counts() -> pd.DataFrame:
    """Images per dataset, split and label: dataset, split, label, images."""
    return _read("class_counts")


def recall_and_frequency(dataset: str) -> pd.DataFrame:
    """Per class of a published test: label, train_images, test_images, correct, recall."""
    matrix, counts = confusion_matrix(dataset), class_counts()
    train = counts[(counts["dataset"] == dataset) & (counts["split"] == "train")].set_index("label")["images"]
    correct = [int(matrix.at[label, label]) for label in matrix.index]
    table = pd.DataFrame(
        {
            "label": matrix.index,
            "train_images": [int(train[label]) for label in matrix.index],
            "test_images": matrix.sum(axis=1).to_numpy(),
            "correct": correct,
        }
    )
    return table.assign(recall=table["correct"] / table["test_images"])


def imbalance(confidence: float = 0.95) -> pd.DataFrame:
    """Class imbalance against recall, one row per dataset.

    Columns dataset, largest_to_smallest (training classes), happy, fear, disgust (recall), happy_leads (its
    Wilson interval lies above both others), rho, low, high (rank correlation of recall with training images).
    """
    rows = []
    for dataset in TITLES:
        classes = recall_and_frequency(dataset).set_index("label")
        bounds = {
            label: wilson_interval(int(classes.at[label, "correct"]), int(classes.at[label, "test_images"]), confidence)
            for label in ("happy", "fear", "disgust")
        }
        rows.append(
            {
                "dataset": dataset,
                "largest_to_smallest": classes["train_images"].max() / classes["train_images"].min(),
                **{label: float(classes.at[label, "recall"]) for label in bounds},
                "happy_leads": bounds["happy"][0] > max(bounds["fear"][1], bounds["disgust"][1]),
            }
        )
        correlation = spearman_interval(classes["recall"], classes["train_images"], confidence)
        rows[-1] |= dict(zip(("rho", "low", "high"), correlation, strict=True))
    return pd.DataFrame(rows)


class Correlation(NamedTuple):
    """A rank correlation over several datasets, and its permutation p value (two-sided)."""

    rho: float
    p_value: float


@functools.cache
def pooled_correlation(without: str = "", permutations: int = 10_000) -> Correlation:
    """Recall against training frequency over all four datasets: the mean of their rank correlations.

    Classes are compared with those of their own dataset only: recalls are permuted within each (a stratified
    permutation test; Phipson & Smyth 2010). `without` leaves out a class.
    """
    from scipy.stats import rankdata, zscore  # here: SciPy takes longer than all else that a list of runs needs

    rng, ranks = np.random.default_rng(0), []
    for dataset in TITLES:
        classes = recall_and_frequency(dataset)
        classes = classes[classes["label"] != without]
        ranks.append([zscore(rankdata(classes[name])) for name in ("recall", "train_images")])
    rho = float(np.mean([np.mean(recall * frequency) for recall, frequency in ranks]))
    null = [
        np.mean([np.mean(rng.permutation(recall) * frequency) for recall, frequency in ranks])
        for _ in range(permutations)
    ]
    beyond = np.abs(null) >= abs(rho) - 1e-12
    return Correlation(rho, float((1 + beyond.sum()) / (1 + permutations)))


def training_history() -> pd.DataFrame:
    """Every epoch in the authors' logs: dataset, epoch, loss, accuracy, val_loss, val_accuracy, times, rate.

    What the logs call validation is the test split.
    """
    return _read("training_history")


def chosen_epochs() -> pd.DataFrame:
    """The epoch whose weights were kept, by best accuracy on the test split, beside the one of lowest loss.

    Columns dataset, epochs, chosen_epoch, val_accuracy, accuracy (training), lowest_loss_epoch,
    accuracy_at_lowest_loss (on the test split).
    """
    rows = []
    for dataset in TITLES:
        history = training_history().query("dataset == @dataset").reset_index(drop=True)
        best, lowest = history.loc[history["val_accuracy"].idxmax()], history.loc[history["val_loss"].idxmin()]
        rows.append(
            {
                "dataset": dataset,
                "epochs": len(history),
                "chosen_epoch": int(best["epoch"]),
                "val_accuracy": float(best["val_accuracy"]),
                "accuracy": float(best["accuracy"]),
                "lowest_loss_epoch": int(lowest["epoch"]),
                "accuracy_at_lowest_loss": float(lowest["val_accuracy"]),
            }
        )
    return pd.DataFrame(rows)


def selection_optimism(correlations: Sequence[float], rng: np.random.Generator) -> pd.DataFrame:
    """What choosing the best epoch on the test set may add to each published accuracy, by simulation.

    "equal" takes every logged epoch as truly as good as the best one, the worst case; "as logged" takes the
    logged accuracies for the truth, which leaves only the near-best epochs in the race. Columns dataset,
    epochs_taken_as, correlation, mean, low, high (in accuracy).
    """
    rows = []
    for dataset in TITLES:
        logged = training_history().query("dataset == @dataset")["val_accuracy"].to_numpy()
        images = int(accuracies().set_index("dataset").at[dataset, "test_images"])
        for name, truth in (("equal", np.full(logged.size, logged.max())), ("as logged", logged)):
            for correlation in correlations:
                optimism = best_of_epochs_optimism(truth, images, correlation=correlation, rng=rng)
                rows.append((dataset, name, correlation, *optimism))
    return pd.DataFrame(rows, columns=["dataset", "epochs_taken_as", "correlation", "mean", "low", "high"])


def block_parameters(num_classes: int = 7) -> pd.DataFrame:
    """Published parameter counts, moving statistics included: block, title, parameters. The head depends on
    the number of classes (1,024 inputs and a bias per class)."""
    rows = [*_BLOCKS, ("head", "Classifier", 1025 * num_classes)]
    return pd.DataFrame(rows, columns=["block", "title", "parameters"])


def neighbours() -> pd.DataFrame:
    """Results that others published: dataset, method, accuracy, test_set, selection, same_test_images.

    `same_test_images` says whether the paper's accuracy was measured on these images too; where it is False
    the two numbers answer different questions.
    """
    table = pd.DataFrame(_NEIGHBOURS, columns=["dataset", "method", "accuracy", "test_set", "selection"])
    return table.assign(same_test_images=table["dataset"].map(PAPER_TEST_SET) == table["test_set"])
