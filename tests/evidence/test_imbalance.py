"""A gap that follows the training shares is told from one that does not."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fermoe.data.composition import SMALL
from fermoe.evidence.imbalance import COLUMNS, imbalance_table
from fermoe.training.config import TrainConfig
from fermoe.training.predictions import predictions_table
from fermoe.training.runs import FinishedRun
from tests.helpers.runs import made_up

NAMES = ("disgust", "fear", "happy", "sad")
LABELS = np.arange(1200) % 4
COUNTS = {"proportional": (20, 100, 300, 180), "equal": (150, 150, 150, 150), "rare_happy": (30, 150, 150, 270)}


def run(composition: str, seed: int, recalls: tuple[float, ...]) -> FinishedRun:
    """A training whose answers have about these recalls, class by class."""
    found = made_up(composition + str(seed), composition=composition, seed=seed)
    rng = np.random.default_rng([seed, list(SMALL).index(composition)])
    right = rng.random(len(LABELS)) < np.array(recalls)[LABELS]
    predicted = np.where(right, LABELS, (LABELS + 1) % 4)
    probabilities = np.full((len(LABELS), 4), 0.1)
    probabilities[np.arange(len(LABELS)), predicted] = 0.7
    images = [f"i{k}" for k in range(len(LABELS))]
    data = {"images": {"train": 600}, "training_classes": dict(zip(NAMES, COUNTS[composition], strict=True))}
    finished = FinishedRun(found.directory, {**found.result, "data": data})
    finished.__dict__["predictions"] = predictions_table(images, LABELS, probabilities, NAMES)
    return finished


def study(**recalls: tuple[float, ...]) -> list[FinishedRun]:
    return [run(composition, seed, values) for composition, values in recalls.items() for seed in range(5)]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Disgust is rare and hard for that reason; fear is hard whatever its share."""
    found = imbalance_table(
        study(proportional=(0.3, 0.4, 0.9, 0.6), equal=(0.8, 0.42, 0.85, 0.6), rare_happy=(0.3, 0.4, 0.88, 0.6))
    )
    return found.set_index(["composition", "measure"])


def test_values_are_plain_means_over_the_seeds(table: pd.DataFrame) -> None:
    runs = [run("equal", seed, (0.8, 0.42, 0.85, 0.6)) for seed in range(5)]
    recall = [
        {
            name: (r.predictions["predicted"] == r.predictions["label"])[i == LABELS].mean()
            for i, name in enumerate(NAMES)
        }
        for r in runs
    ]
    assert table.at[("equal", "recall_fear"), "value"] == pytest.approx(np.mean([r["fear"] for r in recall]))
    gap = np.mean([r["happy"] - r["disgust"] for r in recall])
    assert table.at[("equal", "gap_disgust"), "value"] == pytest.approx(gap)
    before = table.at[("proportional", "gap_disgust"), "value"]
    assert table.at[("equal", "gap_disgust"), "difference"] == pytest.approx(gap - before)


def test_a_gap_made_by_rarity_closes_and_another_does_not(table: pd.DataFrame) -> None:
    disgust, fear = table.loc[("equal", "gap_disgust")], table.loc[("equal", "gap_fear")]
    assert max(disgust["crossed_high"], disgust["half_high"]) < 0
    assert disgust["p_crossed_holm"] < 0.05
    assert fear["half_low"] > 0  # more than half of it is left


def test_rows_say_how_many_images_trained_a_class(table: pd.DataFrame) -> None:
    assert table.at[("proportional", "recall_happy"), "training_images"] == 300
    assert table.at[("proportional", "gap_disgust"), "training_images"] == 280
    assert table.at[("equal", "gap_fear"), "training_images"] == 0
    assert table.at[("equal", "accuracy"), "training_images"] == 600


def always(name: str, composition: str = "equal", seed: int = 5) -> FinishedRun:
    """A training that names one class for every image."""
    found = run(composition, seed, (0.5,) * 4)
    answers = np.full((len(LABELS), 4), 0.1)
    answers[:, NAMES.index(name)] = 0.7
    found.__dict__["predictions"] = predictions_table([f"i{k}" for k in range(len(LABELS))], LABELS, answers, NAMES)
    return found


@pytest.mark.parametrize(("name", "lead"), [("happy", 1), ("fear", -1), ("sad", 0)])
def test_a_collapsed_training_counts_and_what_the_others_say_stands_beside_it(name: str, lead: int) -> None:
    sides = study(proportional=(0.3, 0.4, 0.9, 0.6), equal=(0.5, 0.4, 0.9, 0.6))
    found, clean = (
        imbalance_table(runs).set_index(["composition", "measure"]) for runs in ([*sides, always(name)], sides)
    )
    gap, without = found.loc[("equal", "gap_fear")], clean.loc[("equal", "gap_fear")]
    assert (gap["seeds"], gap["collapsed"], without["collapsed"]) == (6, 1, 0)
    assert gap["value"] == pytest.approx((5 * without["value"] + lead) / 6)
    assert gap["rest_value"] == pytest.approx(without["value"])
    ends = gap[["rest_half_low", "rest_half_high"]].to_numpy(float)
    assert ends == pytest.approx(without[["half_low", "half_high"]].to_numpy(float), abs=0.01)
    assert math.isnan(without["rest_value"])
    assert found.at[("proportional", "accuracy"), "collapsed"] == 0


def test_a_collapsed_training_under_the_datasets_own_shares_is_set_apart_too() -> None:
    sides = study(proportional=(0.3, 0.4, 0.9, 0.6), equal=(0.5, 0.4, 0.9, 0.6))
    collapsed = always("happy", "proportional")
    found, clean = (
        imbalance_table(runs).set_index(["composition", "measure"]) for runs in ([*sides, collapsed], sides)
    )
    gap, without = found.loc[("equal", "gap_fear")], clean.loc[("equal", "gap_fear")]
    assert (gap["collapsed"], found.at[("proportional", "gap_fear"), "collapsed"]) == (0, 1)
    assert gap["half_low"] < without["half_low"]  # the lead to compare with is larger by it
    assert gap["rest_half_low"] == pytest.approx(without["half_low"], abs=0.01)


def test_where_all_of_a_side_collapsed_nothing_is_left_and_of_two_there_is_no_interval() -> None:
    own = [run("proportional", seed, (0.3, 0.4, 0.9, 0.6)) for seed in range(3)]
    ones = [always("sad", seed=seed) for seed in range(3)]
    gap = imbalance_table([*own, *ones]).set_index(["composition", "measure"]).loc[("equal", "gap_fear")]
    assert gap["collapsed"] == 3
    assert gap[["rest_value", "rest_half_low", "rest_half_high"]].isna().all()
    two = [run("equal", seed, (0.5, 0.4, 0.9, 0.6)) for seed in range(2)]
    gap = imbalance_table([*own, *two, always("sad")]).set_index(["composition", "measure"]).loc[("equal", "gap_fear")]
    assert np.isfinite(gap["rest_value"])
    assert gap[["rest_half_low", "rest_half_high"]].isna().all()


def test_below_three_seeds_there_is_no_interval_and_one_composition_is_no_comparison() -> None:
    few = imbalance_table([run(name, seed, (0.5,) * 4) for name in ("proportional", "equal") for seed in range(2)])
    assert few["value"].notna().all()
    assert few[["ci_low", "crossed_low", "half_low"]].isna().all(axis=None)
    alone = imbalance_table([run("equal", seed, (0.5,) * 4) for seed in range(3)])
    assert alone.empty
    assert tuple(alone.columns) == COLUMNS


def test_trainings_on_all_images_are_not_part_of_it() -> None:
    assert TrainConfig().composition == "as_given"
    given = made_up("all", seed=7)
    assert imbalance_table([given]).empty
