"""A planted effect is found and a planted nothing is not: the rules on simulated predictions, with rates.

Predictions are drawn so that trainings of one network differ as they do on FER-2013 (a standard deviation of accuracy
of 0.3 to 1.2 points between three seeds, 1.0 here) and agree on most images, as two trainings do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from fermoe.evidence.ablation import ablation_table
from fermoe.evidence.accuracy import SETTINGS
from fermoe.evidence.measures import Resampler
from fermoe.paper.part_rules import crop, scales
from fermoe.paper.verdicts import CONTRADICTED, SUPPORTED
from fermoe.training.runs import FinishedRun
from tests.helpers.runs import NAMES, made_up

SEEDS, IMAGES, RESAMPLES, STUDIES = 10, 1500, 300, 300
SPREAD = 0.01
"""Of the accuracy, between trainings of one network."""

AGREEMENT = 0.6
"""The share of what decides an image's fate that its difficulty is, and not the training."""


def training(
    name: str, difficulty: np.ndarray, accuracy: float, rng: np.random.Generator, **config: object
) -> FinishedRun:
    """One training's predictions: right where difficulty and its own luck are below what gives its accuracy."""
    own = rng.standard_normal(difficulty.size)
    limit = ndtri(accuracy + SPREAD * rng.standard_normal())
    right = np.sqrt(AGREEMENT) * difficulty + np.sqrt(1 - AGREEMENT) * own < limit
    labels = np.arange(difficulty.size) % len(NAMES)
    table = pd.DataFrame({"image": [f"i{k}" for k in range(difficulty.size)], "label": labels})
    table["predicted"] = np.where(right, labels, (labels + rng.integers(1, len(NAMES), labels.size)) % len(NAMES))
    table = table.assign(**{f"p_{label}": 0.0 for label in NAMES})
    run = made_up(name, dataset="rafdb", protocol="audited", model="paper", weights="vggface2:w.h5", **config)
    run.__dict__["predictions"] = table  # in the place where the run keeps what it once read
    return run


def study(effects: Sequence[tuple[dict[str, str], float]], seed: int) -> dict[str, pd.DataFrame]:
    """The tables of one simulated study: the networks of `effects`, each so much better than 0.54, in ten trainings."""
    rng = np.random.default_rng([7, seed])
    difficulty = rng.standard_normal(IMAGES)
    runs = [
        training(f"{k}-{s}", difficulty, 0.54 + effect, rng, seed=s, **config)
        for k, (config, effect) in enumerate(effects)
        for s in range(SEEDS)
    ]
    accuracy = pd.DataFrame([{**run.key, "run": run.name, "split": "test", "images": IMAGES} for run in runs])
    accuracy = accuracy.assign(model="paper", initial_weights="vggface2", **dict.fromkeys(SETTINGS, 1))
    return {"accuracy": accuracy, "ablation": ablation_table(runs, Resampler(RESAMPLES))}


def crops(cost: float, seed: int) -> dict[str, pd.DataFrame]:
    return study([({"crop": "none"}, 0.0), ({"crop": "blazeface"}, -cost)], seed)


@pytest.mark.parametrize(("cost", "expected"), [(0.03, SUPPORTED), (-0.03, CONTRADICTED)])
def test_three_points_are_found_in_at_least_four_of_five_studies_of_ten_seeds(cost: float, expected: str) -> None:
    studies = STUDIES // 5
    found = [crop(crops(cost, seed)).verdict for seed in range(studies)]
    power = found.count(expected) / studies
    print(f"cost {100 * cost:+.0f} points: {expected} in {100 * power:.1f} % of {studies} studies")
    assert power >= 0.8
    assert len(set(found) - {expected, "inconclusive"}) == 0  # never the opposite


def test_nothing_is_found_in_at_most_six_in_a_hundred_studies_by_any_measure() -> None:
    verdicts, clear = [], []
    for seed in range(STUDIES):
        tables = crops(0.0, seed)
        verdicts.append(crop(tables).verdict)
        rows = tables["ablation"].set_index("measure")
        clear.append({m: rows.at[m, "p_crossed"] < 0.05 for m in ("accuracy", "balanced_accuracy", "macro_f1")})
    rates = pd.DataFrame(clear).mean()
    supported = verdicts.count(SUPPORTED) / STUDIES
    print(f"no difference: supported in {100 * supported:.1f} % of {STUDIES} studies; a clear difference in", end=" ")
    print(", ".join(f"{100 * rate:.1f} % ({measure})" for measure, rate in rates.items()))
    assert supported <= 0.06
    assert (rates <= 0.06).all()


def test_an_extractor_that_adds_three_points_is_not_hidden_by_one_that_adds_nothing() -> None:
    networks = [({"variant": "full"}, 0.0), ({"variant": "no_cnn1"}, 0.0), ({"variant": "no_cnn2"}, -0.03)]
    studies = 20
    found = [scales(study(networks, seed)) for seed in range(studies)]
    assert [v.verdict for v in found].count(SUPPORTED) <= 0.06 * studies
    both = [({"variant": "full"}, 0.0), ({"variant": "no_cnn1"}, -0.03), ({"variant": "no_cnn2"}, -0.03)]
    assert [scales(study(both, seed)).verdict for seed in range(studies)].count(SUPPORTED) >= 0.8 * studies
