"""The lead by size: one study speaks for each size, and the sentence is right whether leads agree or differ."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from fermoe.evidence.answers_on_the_lead import STANDS
from fermoe.evidence.findings import Outcome
from fermoe.evidence.sizes import lead_by_size, sizes, sizes_table
from fermoe.metrics import MEASURES
from fermoe.network.cost import block_macs
from fermoe.network.model import SIZE_TITLES, SIZES, ModelConfig
from fermoe.paper.verdicts import Tables
from tests.evidence.test_answers import BETTER, OPEN, SETTING, WORSE, compared

Effect = tuple[float, float, float]


def study(size: str, effect: Effect = BETTER, seeds: int = 3, epochs: int = 6, dataset: str = "fer2013") -> Tables:
    """The tables of a study of one size, the lead the same in all measures."""
    rows = [
        {**SETTING, "dataset": dataset, "composition": "", "split": "test", "initial_weights": "random"}
        | {"epochs": epochs, "model": size, "variant": variant, "seed": seed}
        for variant in ("full", "backbone")
        for seed in range(seeds)
    ]
    ablation = compared("backbone", effect, effect, effect, seeds=seeds, dataset=dataset, baseline_value=0.5)
    return {"accuracy": pd.DataFrame(rows), "ablation": ablation}


def test_every_size_has_a_title() -> None:
    assert set(SIZE_TITLES) == set(SIZES)


def test_sizes_stand_from_small_to_large_and_those_with_other_proportions_last() -> None:
    table = sizes_table({name: study(name) for name in ("paper64", "first_miniature", "miniature", "middle")})
    assert table["model"].tolist() == [
        name for name in ("miniature", "middle", "paper64", "first_miniature") for _ in MEASURES
    ]
    assert table.groupby("model")["smaller_copy"].all().to_dict() == {
        "miniature": True, "middle": True, "paper64": True, "first_miniature": False
    }  # fmt: skip
    row = table[table["model"] == "middle"].iloc[0]
    macs = [sum(block_macs(ModelConfig.middle(variant=name)).values()) / 1e6 for name in ("full", "backbone")]
    assert [row["mmac"], row["backbone_mmac"]] == pytest.approx(macs)
    assert (row["lead"], row["low"], row["high"], row["full"]) == pytest.approx((0.04, 0.02, 0.06, 0.5))


def test_most_seeds_then_most_epochs_speak_for_a_size_and_no_other_dataset() -> None:
    found = {
        "short": study("miniature", epochs=3),
        "long": study("miniature", epochs=9),
        "drawn": study("miniature", seeds=30, dataset="synthetic"),
        "alone": {"accuracy": study("middle")["accuracy"]},
    }
    assert set(sizes_table(found)["study"]) == {"long"}
    assert set(sizes_table({**found, "many": study("miniature", seeds=10)})["study"]) == {"many"}
    assert set(sizes_table(found, "synthetic")["study"]) == {"drawn"}
    assert sizes_table({}).empty
    assert sizes(sizes_table({})) == ""


@pytest.mark.parametrize(
    ("small", "large", "said"),
    [
        (BETTER, BETTER, "in both the full network is ahead"),
        (WORSE, WORSE, "in both the full network is behind"),
        (OPEN, OPEN, "in both no difference can be told"),
        (WORSE, BETTER, "ahead in the paper64 network; the full network is behind in the miniature network"),
    ],
)
def test_the_sentence_says_how_the_lead_goes(small: Effect, large: Effect, said: str) -> None:
    text = sizes(sizes_table({"a": study("miniature", small), "b": study("paper64", large)}))
    assert said in text
    change, half = large[0] - small[0], math.hypot(large[2] - large[0], small[2] - small[0])  # symmetric intervals
    said = f"{change:+.1f} [{change - half:+.1f}, {change + half:+.1f}]".replace("-", "−").replace("+0.0", "0.0")
    assert f"the lead changes by {said} in accuracy, {said} in balanced accuracy and {said} in macro-F1 (" in text


def test_of_more_than_two_sizes_each_step_is_said() -> None:
    three = {"a": study("miniature", OPEN), "b": study("middle", WORSE), "c": study("paper64", BETTER)}
    text = sizes(sizes_table(three))
    first, second = (f"{to[0] - of[0]:+.1f}".replace("-", "−") for of, to in ((OPEN, WORSE), (WORSE, BETTER)))
    steps = text.partition("From each to the next the lead in accuracy changes by ")[2]
    assert steps.startswith(f"{first} [")
    assert f"] and {second} [" in steps
    assert "], from the smallest to the largest the lead changes by " in steps


@pytest.mark.parametrize(
    ("effect", "changed", "said"),
    [
        (BETTER, {"p_crossed_holm": 0.2}, "there is a sign, no proof, that the full network is ahead"),
        (WORSE, {"p_crossed_holm": 0.2}, "there is a sign, no proof, that the full network is behind"),
        (OPEN, {"p_equal": 0.01}, "the two are less than a point apart"),
    ],
)
def test_signs_and_equality_are_said_too(effect: Effect, changed: dict[str, float], said: str) -> None:
    unsure = study("middle", effect)
    unsure["ablation"] = unsure["ablation"].assign(**changed)
    text = sizes(sizes_table({"a": study("miniature", OPEN), "b": unsure}))
    assert f"{said} in the middle network" in text
    assert STANDS.keys() == set(Outcome)


def test_sizes_that_were_trained_otherwise_say_how() -> None:
    half = study("paper64", epochs=2)
    half["ablation"] = half["ablation"].assign(precision="bfloat16")
    text = sizes(sizes_table({"a": study("miniature", seeds=10), "b": half}))
    assert "in the miniature network (10 million multiply-adds, 10 seeds, 6 epochs)" in text
    assert "in the paper64 network (419 million multiply-adds, 3 seeds, 2 epochs in bfloat16)" in text
    assert "the epochs (6 → 2) and the precision (float32 → bfloat16)" in text
    assert "(each interval by itself; with the size change the cost beside the ResNet (3.3 → " in text


def test_one_copy_says_nothing_of_size_and_other_proportions_are_told_apart() -> None:
    text = sizes(sizes_table({"a": study("miniature", OPEN), "b": study("first_miniature")}))
    assert text.startswith("Only one smaller copy of the paper's network was trained")
    assert "In the first miniature network, whose extractors take more of it than the paper's do, the full" in text
    assert lead_by_size(sizes_table({"b": study("first_miniature")}))["first_miniature"].value == pytest.approx(0.04)
