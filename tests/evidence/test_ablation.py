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
    assert set(ablation.missing_variants(rows)) == {"no_cnn1", "no_cnn2", "dense_gate", "random_gate", "balanced_gate"}


def test_intervals_over_seeds_are_scipys(rows: pd.DataFrame) -> None:
    full = rows.loc[rows["variant"] == "full", "accuracy"]
    row = ablation.variant_summary(rows).set_index("variant").loc["full"]
    interval = stats.t.interval(0.95, 2, full.mean(), stats.sem(full))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(interval)
    assert row["sd"] == pytest.approx(np.std(full, ddof=1))


def test_the_contrasts_shown_are_those_of_the_main_runs(study: Path, rows: pd.DataFrame) -> None:
    contrasts = ablation.variant_contrasts(ablation_table(finished_runs(study)), rows)
    assert contrasts["alternative"].tolist() == ["backbone", "no_moe"]
    assert set(contrasts["crop"]) == {"blazeface"}
    assert contrasts["seeds"].tolist() == [3, 1]
    assert contrasts["seeds_low"].isna().tolist() == [False, True]  # one seed has a difference and no interval
    seeds = ablation.seed_table(rows)
    test = stats.ttest_rel(seeds["backbone"], seeds["full"]).confidence_interval()
    assert tuple(contrasts.loc[0, ["seeds_low", "seeds_high"]]) == pytest.approx((test.low, test.high))


def test_without_any_run_the_tables_are_empty(rows: pd.DataFrame) -> None:
    nothing = ablation.main_runs(rows, "published")
    assert nothing.empty
    assert ablation.variant_summary(nothing.assign(variant=[])).empty


def test_costs_are_those_of_the_network_that_was_trained(study: Path, rows: pd.DataFrame) -> None:
    runs = [FinishedRun(run.directory, {**run.result, "seconds": 6.0}) for run in finished_runs(study)]
    table = ablation.costs(rows, runs, 3).set_index("variant")
    for variant in table.index:
        counted = parameter_counts(ExpressNetMoE(ModelConfig.miniature(3, variant)))["total"]
        assert table.at[variant, "parameters"] == counted
    assert table["ms_per_image"].tolist() == pytest.approx([1000 * 6.0 / (3 * 100)] * 3)
    assert table.at["backbone", "mmac"] < table.at["no_moe", "mmac"] <= table.at["full", "mmac"]


def test_plots_show_every_row_and_name_their_axes(study: Path, rows: pd.DataFrame) -> None:
    differences = ablation.variant_contrasts(ablation_table(finished_runs(study)), rows)
    ax = ablation_plots.plot_differences(differences)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ResNet alone", "without mixtures"]
    drawn = [float(x) for container in ax.containers for x in container.lines[0].get_xdata()]
    assert drawn == pytest.approx(100 * differences["difference"].to_numpy())
    assert "points" in ax.get_xlabel()
    seeds = ablation.seed_table(rows)
    ax = ablation_plots.plot_seeds(seeds)
    assert "seeds 0, 1, 2" in ax.get_ylabel()
    assert "%" in ax.get_xlabel()
    assert ax.get_title() or ax.get_title(loc="left")
    plt.close("all")
