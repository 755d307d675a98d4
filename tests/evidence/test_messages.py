"""A figure's title says what its numbers say: clear one way, clear the other, and not to be told."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fermoe.evidence import messages
from fermoe.evidence.findings import Finding

SIGN = Finding(0.04, 0.02, 0.06, 3, p=0.2)
UP, DOWN, OPEN = Finding(0.04, 0.02, 0.06, 3), Finding(-0.04, -0.06, -0.02, 3), Finding(0.01, -0.03, 0.05, 3)


def test_luck_is_the_range_of_one_networks_seeds_and_unknown_from_one_seed() -> None:
    table = pd.DataFrame({"full": [0.71, 0.82], "backbone": [0.88, 0.84]})
    assert messages.spread(table) == "Luck alone moves one network's accuracy by up to 11.0 points"
    assert "is not known" in messages.spread(table.head(1))
    assert "is not known" in messages.spread(table.assign(full=[0.71, np.nan], backbone=[np.nan, 0.84]))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"happy": UP, "fear": OPEN}, "Full network recognises more happy than ResNet"),
        ({"happy": UP, "fear": DOWN}, "Full network recognises more happy than ResNet and less fear than ResNet"),
        ({"happy": OPEN, "fear": OPEN}, "Full network or ResNet: for no class a difference can be told"),
        (
            {"happy": SIGN, "fear": OPEN},
            "Full network or ResNet: for no class a difference can be told; signs for happy do not outlast correction",
        ),
    ],
)
def test_classes_are_named_where_an_interval_leaves_out_nothing(found: dict[str, Finding], said: str) -> None:
    assert messages.by_class(found, "full network", "ResNet") == said


def test_cost_says_gain_and_loss_with_their_sign_and_nothing_without_a_backbone() -> None:
    table = pd.DataFrame({"variant": ["full", "backbone"], "mmac": [9.0, 3.0], "accuracy": [0.80, 0.85]})
    assert messages.cost(table) == "3.0 times the backbone's operations, for −5.0 points of mean accuracy"
    assert "+5.0 points" in messages.cost(table.assign(accuracy=[0.85, 0.80]))
    assert messages.cost(table.head(1)) == "What each network computes, and what it reaches"


@pytest.mark.parametrize(
    ("confidence", "error", "said"),
    [(0.9, 0.2, "Too sure"), (0.5, 0.2, "Not sure enough"), (0.71, 0.01, "As sure as it is right")],
)
def test_calibration_is_too_sure_not_sure_enough_or_within_chance(confidence: float, error: float, said: str) -> None:
    assert messages.calibration(confidence, 0.7, error, floor=0.05).startswith(said)


@pytest.mark.parametrize(
    ("values", "said"), [((0.6, 0.9), " alike:"), ((0.0, 0.2), " differently:"), ((0.1, 0.9), " sometimes alike")]
)
def test_agreement_of_two_trainings(values: tuple[float, float], said: str) -> None:
    assert said in messages.agreement(pd.DataFrame({"adjusted_information": values}))
    assert "not known" in messages.agreement(pd.DataFrame({"adjusted_information": []}))


def test_information_counts_what_lies_beyond_its_own_null() -> None:
    rows = [("a", "cnn", "mutual_information", 0.5, math.nan), ("a", "cnn", "mutual_information_null", 0.0, 0.1)]
    rows += [("b", "cnn", "mutual_information", 0.05, math.nan), ("b", "cnn", "mutual_information_null", 0.0, 0.1)]
    table = pd.DataFrame(rows, columns=["run", "mixture", "measure", "value", "ci_high"])
    assert messages.information(table).endswith("in 1 of 2 mixtures")


def test_intervals_are_counted_on_their_side_of_the_line() -> None:
    low, high = pd.Series([0.1, -0.3, -0.1]), pd.Series([0.2, -0.1, 0.1])
    assert messages.told(low, high, "Three") == "Three: 1 of 3 intervals right of the line, 1 left of it"


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.01, "1 variant of 1 differ"), (0.5, "Of no variant more differences can be told than chance makes")],
)
def test_regroupings(p: float, said: str) -> None:
    assert messages.regroupings(pd.DataFrame({"p": [p]})).startswith(said)
    assert messages.regroupings(pd.DataFrame({"p": []})) == "Too few trainings for a control"


def test_the_worst_perturbation_is_that_of_lowest_accuracy_of_the_full_network() -> None:
    rows = [("full", "blur", 3, 0.5), ("full", "gamma", 3, 0.7), ("backbone", "blur", 3, 0.1), ("full", "blur", 5, 0.2)]
    table = pd.DataFrame(rows, columns=["variant", "perturbation", "severity", "accuracy"]).assign(clean_accuracy=0.8)
    assert messages.severities(table) == (
        "At severity 3 the full network falls from 80 % to 50 % (blur) at most, to 70 % (gamma) at least"
    )
    assert messages.severities(table[table["variant"] != "full"]) == "Accuracy by severity"


def test_another_size_of_a_block_is_no_same_network() -> None:
    blocks = pd.DataFrame({"published": [10, 5], "here": [10, 5]})
    convolutions = pd.DataFrame({"largest_difference": [1e-6, 1e-5]})
    assert messages.same_network(blocks, convolutions).startswith("Yes: every one of its 2 blocks has the published")
    assert messages.same_network(blocks.assign(here=[10, 6]), convolutions).startswith("No: 1 of 2 blocks")
    assert "DIFFER" in messages.same_network(blocks, convolutions * 1e4)


@pytest.mark.parametrize(("matches", "said"), [(True, "Yes, in number"), (False, "No: class counts"), (None, "No: 60")])
def test_data_are_the_papers_by_their_counts_alone(matches: bool | None, said: str) -> None:
    counts = pd.DataFrame({"split": ["train", "test"], "label": ["a", "a"], "images": [50, 10]})
    summary = pd.DataFrame({"kind": ["identical"], "where": ["test in train"], "images": [2]})
    report = SimpleNamespace(counts=counts, summary=summary, missing=[], unreadable=["x"], matches_published=matches)
    text = messages.same_data("fer2013", report)
    assert text.startswith(said)
    assert "2 of 10 test images (20.0 %) occur in the training set" in text
    assert "1 of them are missing or unreadable" in text
    assert "up to 20.0 points" in messages.data_follows("fer2013", report)


def test_a_training_that_ends_with_its_best_epoch_might_have_gone_on() -> None:
    result = {
        "data": {"images": {"train": 90, "test": 100}},
        "metrics": {"test": {"accuracy": 0.7, "ci_low": 0.6, "ci_high": 0.79}},
        "parameters": {"protocol": "audited", "dataset": "synthetic"}, "epochs_run": 5, "best_epoch": 5,
    }  # fmt: skip
    assert messages.trained(result).startswith("It reaches 70.0 % [60.0, 79.0] of 100 test images of drawn faces, ")
    assert "more might have helped" in messages.trained(result)
    other = {**result, "best_epoch": 3, "parameters": {"protocol": "published", "dataset": "fer2013"}}
    assert "chosen on the test images" in messages.trained(other)
    assert messages.trained(other).endswith("epoch 3 was the best.")


def test_a_loss_that_rises_again_names_its_lowest_epoch() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_loss": [1.0, 0.5, 0.7]})
    assert messages.loss(history) == "The validation loss is lowest in epoch 2 of 3"
    assert messages.loss(history.head(2)) == "The validation loss still falls in the last epoch"


@pytest.mark.parametrize(
    ("found", "said"),
    [((UP, UP), "better in 2 of 2"), ((DOWN, OPEN), "worse in 1"), ((OPEN, SIGN), "better in 0 of 2")],
)
def test_augmentation_is_counted_where_it_is_clear(found: tuple[Finding, Finding], said: str) -> None:
    title = messages.augmentation([{"accuracy": one} for one in found])
    assert title.startswith("Augmentation is clearly")
    assert said in title


def test_what_leaks_and_selection_add_is_the_range_of_the_means() -> None:
    assert messages.leaks({"a": UP, "b": OPEN}) == (
        "With identical twins counted accuracy changes by +1.0 to +4.0 points, clearly so in 1 of 2 "
        "networks and settings"
    )
    assert "by −4.0 points" in messages.leaks({"a": DOWN})
    assert "clearly so in 0 of 1 network and setting" in messages.leaks({"a": DOWN})
    assert messages.selection([UP, OPEN, DOWN]) == (
        "Choosing the epoch on the test set adds −4.00 to +4.00 points, clearly so in 1 of 3 estimates"
    )


def test_the_cell_furthest_from_the_papers_is_named_with_its_sign() -> None:
    names = ["fear", "sad", "happy"]
    paper = pd.DataFrame([[50, 40, 10], [10, 80, 10], [0, 0, 100]], names, names)
    more = pd.DataFrame([[50, 40, 10], [80, 130, 0], [0, 0, 10]], names, names)  # 38, 62 and 0 % of sad
    assert messages.furthest(more, paper) == "Furthest from the paper's: sad taken for fear, +28 points"
    missed = pd.DataFrame([[50, 40, 10], [10, 80, 10], [20, 25, 55]], names, names)
    assert messages.furthest(missed, paper) == "Furthest from the paper's: happy recognised, −45 points"
