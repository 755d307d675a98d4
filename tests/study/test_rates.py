"""The learning rates that study files say a grid chose are those with the highest validation accuracy in its curves."""

from __future__ import annotations

import pandas as pd
import pytest

from fermoe.files import notebooks_dir, results_dir
from fermoe.study.plan import load_study, training_configs

GRIDS = sorted(path.parents[1].name for path in results_dir().glob("*-rates/tables/curves.csv"))
STUDIES = [grid.removesuffix("-rates") for grid in GRIDS]


def last_epochs(study: str) -> pd.DataFrame:
    """A row per run of the study's grid after its last epoch, `rate` as its file has it."""
    grid = load_study(f"{study}-rates")
    curves = pd.read_csv(results_dir() / grid.name / "tables" / "curves.csv")
    first = curves[curves["epoch"] == 1].set_index("run")["learning_rate"]  # later ones have too few digits in the CSV
    last = curves[curves["epoch"] == grid.training["epochs"]]
    return last.assign(rate=(last["run"].map(first) / grid.training["decay"]).round(6))


@pytest.mark.parametrize("study", STUDIES)
def test_every_run_of_the_grid_is_kept(study: str) -> None:
    planned = {(config.variant, config.learning_rate) for config in training_configs(load_study(f"{study}-rates"))}
    assert set(last_epochs(study)[["variant", "rate"]].itertuples(index=False, name=None)) == planned


@pytest.mark.parametrize("study", STUDIES)
def test_a_network_trains_with_the_rate_that_was_best_on_validation_images(study: str) -> None:
    configs = training_configs(load_study(study))
    for variant, rows in last_epochs(study).groupby("variant"):
        rates = {config.learning_rate for config in configs if config.variant == variant}
        assert rates == {rows.loc[rows["val_accuracy"].idxmax(), "rate"]}
        assert rows["rate"].min() < min(rates) < rows["rate"].max(), "the best lies at an end of the grid"
        assert not {config.seed for config in configs} & set(rows["seed"])


@pytest.mark.parametrize("study", STUDIES)
def test_the_grid_in_the_studys_head_is_that_of_the_curves(study: str) -> None:
    head = (notebooks_dir() / "studies" / f"{study}.yaml").read_text()
    for variant, rows in last_epochs(study).groupby("variant"):
        (line,) = [line for line in head.splitlines() if line.startswith(f"#   {variant} ")]
        assert line.split()[2:] == [f"{100 * value:.1f}" for value in rows.sort_values("rate")["val_accuracy"]]
