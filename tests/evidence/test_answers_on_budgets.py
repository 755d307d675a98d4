"""The hybrid beside ResNets that cost as much, less and more: the answer names the cost and follows the intervals."""

from __future__ import annotations

import pandas as pd
import pytest

from fermoe.evidence import answers
from fermoe.evidence.answers_on_budgets import budget, budgets, equal_operations
from fermoe.network.cost import block_macs
from fermoe.network.model import ModelConfig
from tests.evidence.test_answers import BETTER, OPEN, WORSE, compared

ACCURACY = pd.DataFrame({"model": ["miniature"], "split": ["test"]})


def test_equal_operations_are_counted_and_not_said() -> None:
    whole = sum(block_macs(ModelConfig.miniature()).values())
    found = equal_operations("miniature")
    assert found == ["backbone_x2"]
    ratio = sum(block_macs(ModelConfig.miniature(variant="backbone_x2")).values()) / whole
    assert budget("miniature", "backbone_x2").startswith(f"{100 * ratio:.0f} % of its operations, ")


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [((BETTER,) * 3, "yes, by every measure"), ((WORSE,) * 3, "no, it is worse"), ((OPEN,) * 3, "it cannot be told")],
)
def test_the_answer_at_equal_operations_follows_the_intervals(effects: tuple, verdict: str) -> None:
    text = budgets({"accuracy": ACCURACY, "ablation": compared("backbone_x2", *effects)})
    assert text.startswith("At equal operations, beside the ResNet alone, twice as wide (95 % of its operations, ")
    assert f": {verdict}: " in text


def test_the_equal_budget_comes_before_the_others() -> None:
    rows = pd.concat([compared("backbone_x1_4", *(OPEN,) * 3), compared("backbone_x2", *(OPEN,) * 3)])
    text = budgets({"accuracy": ACCURACY, "ablation": rows})
    assert text.index("twice as wide") < text.index("Otherwise sized, beside the ResNet alone, 1.4 × as wide")


def test_without_such_trainings_nothing_is_said_but_that_they_lack() -> None:
    tables = {"accuracy": ACCURACY, "ablation": compared("backbone", *(BETTER,) * 3)}
    assert budgets(tables) == ""
    question = answers.QUESTIONS["Does it beat a ResNet that costs as much?"]
    assert question(tables).startswith("Not asked: ")
