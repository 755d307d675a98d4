"""Variants beside their seeds: the summaries equal plain arithmetic, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fermoe.evidence import ablation
from fermoe.evidence.ablation import ablation_table
from fermoe.evidence.accuracy import accuracy_table
from fermoe.network.model import ExpressNetMoE, ModelConfig, parameter_counts
from fermoe.plots import ablation as ablation_plots
from fermoe.training.runs import FinishedRun, finished_runs
from tests.helpers.runs import make_run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for seed, gain in ((0, 0.0), (1, 0.05), (2, 0.1)):
        make_run(tmp_path, images=300, accuracy=0.7 + gain, seed=seed, crop="blazeface")
        make_run(tmp_path, images=300, accuracy=0.5 + gain, seed=seed, crop="blazeface", variant="backbone")
    make_run(tmp_path, images=300, accuracy=0.6, seed=1, crop="blazeface", variant="no_moe")
    # Not among the main runs: another crop, a control, another test crop, another protocol.
    make_run(tmp_path, images=300, crop="none", variant="backbone")
    make_run(tmp_path, images=300, crop="masked")
    make_run(tmp_path, images=300, crop="blazeface", test_crop="none", variant="backbone")
    make_run(tmp_path, images=300, crop="blazeface", protocol="published")
    return tmp_path


@pytest.fixture
def rows(study: Path) -> pd.DataFrame:
    return ablation.main_runs(accuracy_table(finished_runs(study)))


def test_the_main_runs_are_those_in_which_most_variants_can_be_compared(rows: pd.DataFrame) -> None:
    assert len(rows) == 7
    assert set(rows["crop"]) == set(rows["test_crop"]) == {"blazeface"}
    assert set(rows["protocol"]) == {"audited"}


def test_seeds_are_rows_the_full_network_comes_first_and_a_missing_run_is_a_gap(rows: pd.DataFrame) -> None:
    table = ablation.seed_table(rows)
    assert list(table.columns) == ["full", "backbone", "no_moe"]
    assert table["no_moe"].isna().tolist() == [True, False, True]
    one = rows[(rows["variant"] == "full") & (rows["seed"] == 2)]
    assert table.at[2, "full"] == one["accuracy"].item()


def test_means_over_seeds_have_students_interval_and_a_wider_one_that_draws_images_too(
    study: Path, rows: pd.DataFrame
) -> None:
    summary = ablation.variant_summary(rows, finished_runs(study)).set_index(["variant", "measure"])
    for measure in ("accuracy", "balanced_accuracy", "macro_f1"):
        full = rows.loc[rows["variant"] == "full", measure]
        row = summary.loc[("full", measure)]
        interval = stats.t.interval(0.95, 2, full.mean(), stats.sem(full))
        assert (row["mean"], row["seeds_low"], row["seeds_high"]) == pytest.approx((full.mean(), *interval))
        assert row["sd"] == pytest.approx(np.std(full, ddof=1))
        assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert summary.loc["no_moe", ["sd", "ci_low", "seeds_low"]].isna().all(axis=None)  # one seed


def variant_rows(study: Path) -> pd.DataFrame:
    """The rows of ablation.csv that compare variants on runs trained and tested on BlazeFace's crops."""
    table = ablation_table(finished_runs(study))
    same_crops = (table["crop"] == "blazeface") & (table["test_crop"] == "blazeface")
    return table[(table["contrast"] == "variant") & same_crops & (table["protocol"] == "audited")]


def test_each_variant_is_compared_by_every_measure_and_one_seed_has_a_difference_and_nothing_over_trainings(
    study: Path, rows: pd.DataFrame
) -> None:
    # The same comparison tested otherwise is another one.
    make_run(study, images=300, crop="blazeface", test_crop="none")
    by_measure = {name: table.sort_values("alternative") for name, table in variant_rows(study).groupby("measure")}
    recalls = {f"recall_{name}" for name in "abc"}
    assert by_measure.keys() == {"accuracy", "balanced_accuracy", "macro_f1"} | recalls
    for measure, table in by_measure.items():
        assert table["alternative"].tolist() == ["backbone"] if measure in recalls else ["backbone", "no_moe"]
    accuracy = by_measure["accuracy"].reset_index(drop=True)
    assert accuracy["seeds"].tolist() == [3, 1]
    alone = ["seeds_low", "crossed_low", "p_crossed", "p_equal", "detectable"]
    assert accuracy.loc[1, alone].isna().all()
    by_seed = ablation.seed_table(rows)
    test = stats.ttest_ind(by_seed["backbone"], by_seed["full"], equal_var=False).confidence_interval()
    assert tuple(accuracy.loc[0, ["seeds_low", "seeds_high"]]) == pytest.approx((test.low, test.high))


def test_a_study_that_keeps_twins_and_sets_them_apart_compares_the_two_and_mixes_neither(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        for twins in ("kept", "apart"):
            make_run(tmp_path, seed=seed, twins=twins)
            make_run(tmp_path, seed=seed, twins=twins, variant="backbone")
        make_run(tmp_path, seed=seed, protocol="published")
    runs = finished_runs(tmp_path)
    table = ablation_table(runs)
    table = table[table["measure"] == "accuracy"]
    config = {run.name: run.config for run in runs}
    variant = table[table["contrast"] == "variant"]
    assert sorted(variant["twins"]) == ["apart", "kept"]
    for row in variant.itertuples():
        assert {config[name].twins for name in row.runs.split()} == {row.twins}
    twins = table[table["contrast"] == "twins"]
    assert sorted(twins["variant"]) == ["backbone", "full"]
    assert set(zip(twins["baseline"], twins["alternative"], strict=True)) == {("kept", "apart")}
    (protocols,) = table[table["contrast"] == "protocol"].itertuples()  # the audited protocol stands for itself
    assert {config[name].twins for name in protocols.runs.split()} == {"kept", "apart"}
    main = ablation.main_runs(accuracy_table(runs))
    assert main["twins"].nunique() == 1


def test_a_network_trained_with_two_learning_rates_is_shown_at_one(study: Path, rows: pd.DataFrame) -> None:
    """Which rate that is, all settings say, also those that are not shown: so does ablation.csv."""
    table = accuracy_table(finished_runs(study))
    full = rows[rows["variant"] == "full"]
    here = full.iloc[[0]].assign(learning_rate=0.5 * full["learning_rate"].iloc[0], run="slower")
    few = ablation.main_runs(pd.concat([here, table], ignore_index=True))
    assert few["run"].to_list() == rows["run"].to_list()
    elsewhere = [here.assign(protocol="published", composition=f"other {k}", run=f"slower {k}") for k in range(4)]
    many = ablation.main_runs(pd.concat([here, table, *elsewhere], ignore_index=True))
    assert many.loc[many["variant"] == "full", "run"].to_list() == ["slower"]
    assert set(many["variant"]) == set(rows["variant"])


def test_without_any_run_the_tables_are_empty(rows: pd.DataFrame) -> None:
    nothing = ablation.main_runs(rows, "published")
    assert nothing.empty
    assert ablation.variant_summary(nothing.assign(variant=[]), []).empty


def test_costs_are_those_of_the_network_that_was_trained(study: Path, rows: pd.DataFrame) -> None:
    runs = [FinishedRun(run.directory, {**run.result, "seconds": 6.0}) for run in finished_runs(study)]
    table = ablation.costs(rows, runs, 3).set_index("variant")
    for variant in table.index:
        counted = parameter_counts(ExpressNetMoE(ModelConfig.miniature(3, variant)))["total"]
        assert table.at[variant, "parameters"] == counted
    assert table["ms_per_image"].tolist() == pytest.approx([1000 * 6.0 / (3 * 100)] * 3)
    summary = ablation.variant_summary(rows, runs).set_index(["variant", "measure"])
    for variant in table.index:
        for measure in ("accuracy", "macro_f1"):
            reached = summary.loc[(variant, measure)]
            assert table.at[variant, measure] == reached["mean"]
            assert table.at[variant, f"{measure}_high"] == pytest.approx(reached["ci_high"], nan_ok=True)
    assert table.at["backbone", "mmac"] < table.at["no_moe", "mmac"] <= table.at["full", "mmac"]


def test_the_plot_of_seeds_names_its_axes(rows: pd.DataFrame) -> None:
    seeds = ablation.seed_table(rows)
    ax = ablation_plots.plot_seeds(seeds)
    assert "seeds 0, 1, 2" in ax.get_ylabel()
    assert "%" in ax.get_xlabel()
    assert ax.get_title() or ax.get_title(loc="left")
    plt.close("all")
