"""What would become of the leading answer: told for a hybrid that is ahead, one that is behind, and neither."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy

from fermoe.evidence import answers_on_the_lead as on_the_lead
from fermoe.evidence.findings import Finding
from fermoe.metrics import MEASURES
from tests.evidence.test_answers import BETTER, OPEN, SETTING, WORSE, compared

AHEAD, BEHIND, MIXED = [0.60, 0.62, 0.64], [0.40, 0.42, 0.44], [0.45, 0.52, 0.58]
BACKBONE = [0.50, 0.51, 0.53]


def reached(**values: list[float]) -> pd.DataFrame:
    """Test rows of accuracy.csv; every measure is the accuracy."""
    fixed = {**SETTING, "composition": "as_given", "split": "test", "initial_weights": "random", "learning_rate": 0.006}
    rows = [
        {**fixed, "variant": variant, "seed": seed, **dict.fromkeys(MEASURES, value)}
        for variant, each in values.items()
        for seed, value in enumerate(each)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("full", "ahead", "said"),
    [
        (AHEAD, 9, "no pair tells it otherwise"),
        (BEHIND, 0, "no pair tells it otherwise"),
        (MIXED, 5, "by accuracy, balanced accuracy and macro-F1 some pairs tell the opposite"),
    ],
)
def test_one_training_of_each_may_tell_either_way(full: list[float], ahead: int, said: str) -> None:
    assert sum(mine > other for mine in full for other in BACKBONE) == ahead
    text = on_the_lead.single_trainings({"accuracy": reached(full=full, backbone=BACKBONE)})
    assert f"of 9 possible pairs: {ahead} by accuracy, {ahead} by balanced accuracy and {ahead} by macro-F1" in text
    assert text.endswith(f"; {said}.")


def test_the_measures_are_counted_apart() -> None:
    table = reached(full=AHEAD, backbone=BACKBONE)
    table.loc[table["variant"] == "full", "macro_f1"] = MIXED
    text = on_the_lead.single_trainings({"accuracy": table})
    assert "9 by accuracy, 9 by balanced accuracy and 5 by macro-F1; by macro-F1 some pairs tell the opposite." in text


def test_one_seed_says_nothing_of_luck_and_one_network_nothing_at_all() -> None:
    one = reached(full=AHEAD[:1], backbone=BACKBONE[:1])
    assert on_the_lead.single_trainings({"accuracy": one}).endswith("what luck adds is not known.")
    assert on_the_lead.single_trainings({"accuracy": reached(full=AHEAD)}).startswith("Not asked")
    assert on_the_lead.single_trainings({}).startswith("Not asked")


def leaky(clean: list[float], seeds: int = 3) -> pd.DataFrame:
    """Rows of leaks.csv: on all images the full network is ahead, on the clean ones it reaches `clean`."""
    fixed = {**SETTING, "leaks": "identical", "leaked_images": 100, "images": 1000, "difference": 0.02}
    rows = [
        {**fixed, "variant": variant, "seed": seed, "accuracy": every[seed], "clean_accuracy": each[seed]}
        for variant, every, each in (("full", AHEAD, clean), ("backbone", BACKBONE, BACKBONE))
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(standardised=0.02)


@pytest.mark.parametrize(
    ("clean", "said"),
    [
        (AHEAD, "with them and without them the full network is ahead."),
        (BEHIND, "with them the full network is ahead, without them the full network is behind."),
        (MIXED, "with them the full network is ahead, without them no difference can be told."),
    ],
)
def test_the_lead_without_leaked_images_is_welchs(clean: list[float], said: str) -> None:
    text = on_the_lead.without_leaks({"leaks": leaky(clean)})
    test = scipy.stats.ttest_ind(clean, BACKBONE, equal_var=False)
    low, high = test.confidence_interval(0.95)
    value = 100 * (np.mean(clean) - np.mean(BACKBONE))
    numbers = [f"{abs(number):.1f}" for number in (value, 100 * low, 100 * high)]
    part = text.partition("test images and ")[2].partition(" on the 900 others")[0]
    assert [number.strip("+−[],") for number in part.split()] == numbers
    assert text.endswith(said)


def test_leaks_say_nothing_of_the_lead_without_a_backbone_and_no_interval_of_two_seeds() -> None:
    table = leaky(AHEAD)
    assert on_the_lead.without_leaks({"leaks": table[table["variant"] == "full"]}) == ""
    assert on_the_lead.without_leaks({}) == ""
    text = on_the_lead.without_leaks({"leaks": leaky(AHEAD, 2)})
    assert "[" not in text
    assert text.endswith("with them and without them too few trainings say how sure that is.")


@pytest.mark.parametrize(("twins", "said"), [("apart", "never saw"), ("kept", " saw the identical twins")])
def test_whether_the_leading_trainings_saw_twins(twins: str, said: str) -> None:
    assert said in on_the_lead.twins({"ablation": compared("backbone", OPEN, twins=twins)})
    assert on_the_lead.twins({}) == ""


@pytest.mark.parametrize(("effect", "lead"), [(BETTER, "Yes"), (WORSE, "No"), (OPEN, "It cannot be told")])
def test_the_published_protocol_has_a_leading_answer_of_its_own(effect: tuple[float, float, float], lead: str) -> None:
    both = [compared("backbone", effect, protocol="published"), compared("backbone", BETTER)]
    text = on_the_lead.chosen_on_test({"ablation": pd.concat(both, ignore_index=True)})
    assert f"The leading question in that protocol: {lead}" in text
    assert "that protocol" not in on_the_lead.chosen_on_test({"ablation": both[1]})


def test_the_hardest_class_is_the_one_with_the_largest_difference_of_either_sign() -> None:
    found = {"happy": Finding(0.1, 0.05, 0.15, 3, 50), "fear": Finding(-0.2, -0.3, -0.1, 3, 50)}
    said = on_the_lead.hardest_class(found)
    assert said == "They differ most for fear: −20.0 [−30.0, −10.0] points of recall (3 seeds of each, 50 test images)."
    few = {name: Finding(one.value, math.nan, math.nan, 2) for name, one in found.items()}
    assert "[" not in on_the_lead.hardest_class(few)
    assert on_the_lead.hardest_class({}) == ""
