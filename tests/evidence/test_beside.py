"""Other models stand beside the full network on the same images, and disturb nothing of the study's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as students

from fermoe.data.datasets import Dataset
from fermoe.evidence.answers_on_runs import beside as answer
from fermoe.evidence.beside import beside_table
from fermoe.study.tables import read_tables, rebuild_tables
from fermoe.training import foreign
from fermoe.training.foreign import Answers, foreign_runs, write_foreign
from fermoe.training.runs import finished_runs
from tests.helpers.runs import NAMES, make_run

IMAGES = 300


def faces(images: int) -> Dataset:
    """The test images of `make_run`, and one training image."""
    names, labels = [f"i{k}" for k in range(images)], [k % 3 for k in range(images)]
    table = pd.DataFrame({"image": [*names, "t"], "label": [*labels, 0], "split": ["test"] * images + ["train"]})
    return Dataset(table.assign(path="drawn"), "made", NAMES, 1, drawing="x")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three seeds of the full network and a backbone; a model that is right on the first 240 of 300 images.

    The first 30 images are twins of training images.
    """
    monkeypatch.setattr(foreign, "leaked", lambda dataset: np.arange(len(dataset) - 1) < 30)
    monkeypatch.setattr(Dataset, "fingerprint", "0" * 16)
    for seed in (0, 1, 2):
        make_run(tmp_path, IMAGES, 0.7 + 0.02 * seed, seed=seed)
    make_run(tmp_path, IMAGES, 0.5, variant="backbone")
    rebuild_tables(tmp_path)
    labels = np.arange(IMAGES) % 3
    predicted = np.where(np.arange(IMAGES) < 240, labels, (labels + 1) % 3)
    write_foreign(tmp_path, "other", faces(IMAGES), Answers.of_classes(predicted, 3), {})
    return tmp_path


def rows(study: Path) -> pd.DataFrame:
    return beside_table(finished_runs(study), foreign_runs(study)).set_index(["test_images", "measure"])


def own_accuracies(study: Path, chosen: slice = slice(None)) -> np.ndarray:
    runs = [run for run in finished_runs(study) if run.config.variant == "full"]
    return np.array([run.correct.to_numpy()[chosen].mean() for run in runs])


def test_the_other_tables_and_the_claims_stay_as_they_are(study: Path) -> None:
    before = {path.name: path.read_bytes() for path in (study / "tables").glob("*.csv")}
    rebuild_tables(study)
    after = {path.name: path.read_bytes() for path in (study / "tables").glob("*.csv")}
    assert after.keys() - before.keys() == {"beside.csv"}
    assert {name: after[name] for name in before} == before


def test_the_difference_is_to_the_full_networks_mean_on_the_same_images(study: Path) -> None:
    table = rows(study)
    assert set(table.index.get_level_values("measure")) == {"accuracy", "balanced_accuracy", "macro_f1"}
    for images, chosen, right in (("all", slice(None), 240 / 300), ("without twins", slice(30, None), 210 / 270)):
        row, own = table.loc[(images, "accuracy")], own_accuracies(study, chosen)
        assert row["value"] == pytest.approx(right)
        assert row["own_value"] == pytest.approx(own.mean())
        assert row["difference"] == pytest.approx(right - own.mean())
        assert row["low"] < row["value"] < row["high"]
        half = students.ppf(0.975, 2) * own.std(ddof=1) / np.sqrt(3)
        assert (row["seeds_low"], row["seeds_high"]) == pytest.approx(
            (right - own.mean() - half, right - own.mean() + half)
        )
    assert (table.loc["all", "images"] == 300).all()
    assert (table.loc["without twins", "images"] == 270).all()


def test_the_interval_over_trainings_and_images_is_that_of_a_plain_bootstrap(study: Path) -> None:
    """Two of three trainings and as many images drawn again and again; the other model is the same in all."""
    right = np.stack([run.correct.to_numpy() for run in finished_runs(study) if run.config.variant == "full"])
    other = np.arange(IMAGES) < 240
    rng, found = np.random.default_rng(2), []
    for _ in range(4000):
        images, seeds = rng.integers(0, IMAGES, IMAGES), rng.integers(0, 3, 2)
        found.append(other[images].mean() - right[seeds][:, images].mean())
    error = np.std(found, ddof=1)
    df = error**4 / ((right.mean(axis=1).var(ddof=1) / 3) ** 2 / 2)
    row = rows(study).loc[("all", "accuracy")]
    half = students.ppf(0.975, df) * error
    assert row["crossed_high"] - row["crossed_low"] == pytest.approx(2 * half, rel=0.1)


def test_below_three_seeds_there_is_an_interval_over_images_alone(study: Path) -> None:
    runs = [run for run in finished_runs(study) if run.config.seed == 0]
    row = beside_table(runs, foreign_runs(study)).iloc[0]
    assert row["seeds"] == 1
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert np.isnan([row["crossed_low"], row["seeds_low"], row["p_crossed"]]).all()


def test_corrected_p_values_are_over_the_rows_of_a_measure(study: Path) -> None:
    table = rows(study).xs("accuracy", level="measure")
    smaller, larger = sorted(table["p_crossed"])
    assert sorted(table["p_crossed_holm"]) == pytest.approx([min(1, 2 * smaller), max(min(1, 2 * smaller), larger)])


def test_a_model_that_was_tested_on_other_images_has_no_rows(study: Path) -> None:
    labels = np.arange(120) % 3
    write_foreign(study, "short", faces(120), Answers.of_classes(labels, 3), {})
    assert set(rows(study)["other"]) == {"other"}


def test_the_sentence_says_who_is_ahead(study: Path) -> None:
    rebuild_tables(study)
    assert answer({}) == ""
    said = answer(read_tables(study))
    images = rows(study).loc[("all", "accuracy"), "images"]
    assert said.startswith("Beside other the full network (")
    assert f"{images:,} test images) is " in said
    difference = rows(study).loc[("all", "accuracy"), "difference"]
    assert f"{abs(100 * difference):.1f}" in said
