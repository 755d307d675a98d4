"""The curves are what histories say, run by run, and the last epoch's gain is a difference of two of their cells."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from fermoe.errors import UserError
from fermoe.evidence import answers_on_runs
from fermoe.evidence.curves import COLUMNS, MEASURED, curves_table, last_gains
from fermoe.evidence.findings import in_one_setting
from fermoe.study import pictures, tables_for_people
from fermoe.study.tables import read_tables, rebuild_tables
from fermoe.training.runs import FinishedRun
from tests.helpers.runs import made_up, make_run

HISTORY = "epoch,steps,epoch_seconds,data_seconds,learning_rate,loss,accuracy,val_loss,val_accuracy"


def trained(folder: Path, name: str, *accuracies: float, **parameters: object) -> FinishedRun:
    """A run with a history of these validation accuracies."""
    lines = [f"{k},9,1.5,0.1,{0.01 / k},{2 / k},0.3,{1.9 / k},{share}" for k, share in enumerate(accuracies, start=1)]
    (folder / name).mkdir()
    (folder / name / "history.csv").write_text("\n".join([HISTORY, *lines]) + "\n")
    return made_up(name, folder / name, **parameters)


def test_every_epoch_of_every_run_is_a_row_without_the_times_that_it_took(tmp_path: Path) -> None:
    runs = [trained(tmp_path, "a", 0.3, 0.5, seed=4), trained(tmp_path, "b", 0.2, variant="backbone"), made_up("c")]
    table = curves_table(runs)
    assert tuple(table.columns) == COLUMNS
    assert not any("seconds" in column for column in table)
    shown = table[["run", "variant", "seed", "epoch", *MEASURED]].to_numpy().tolist()
    assert shown == [
        ["a", "full", 4, 1, 0.01, 2.0, 0.3, 1.9, 0.3],
        ["a", "full", 4, 2, 0.005, 1.0, 0.3, 0.95, 0.5],
        ["b", "backbone", 0, 1, 0.01, 2.0, 0.3, 1.9, 0.2],
    ]


def test_the_last_epochs_gain_is_that_of_each_run_and_one_epoch_has_none(tmp_path: Path) -> None:
    runs = [trained(tmp_path, "a", 0.3, 0.5, 0.4), trained(tmp_path, "b", 0.2), trained(tmp_path, "c", 0.1, 0.3)]
    gains = last_gains(curves_table(runs).sample(frac=1, random_state=0)).set_index("run")
    assert gains["gain"].to_dict() == pytest.approx({"a": -0.1, "c": 0.2})
    assert gains["epoch"].to_dict() == {"a": 3, "c": 2}


@pytest.mark.parametrize("content", ["", "epoch,loss\n1,2\n", f"{HISTORY}\n1,9,1,1,x,1,1,1,1\n", "\0"])
def test_a_damaged_history_is_one_line_that_names_the_file(content: str, tmp_path: Path) -> None:
    run = trained(tmp_path, "a", 0.3)
    (run.directory / "history.csv").write_text(content)
    with pytest.raises(UserError, match=r"history cannot be read .*history\.csv") as error:
        curves_table([run])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.52, 0.521, 0.519), "The full network was still gaining: its last epoch added +2.0 [+1.8, +2.2]"),
        ((0.48, 0.481, 0.479), "The full network was past its best: its last epoch added −2.0 [−2.2, −1.8]"),
        ((0.51, 0.49, 0.5), "The full network's last epoch added 0.0 [−2.5, +2.5]"),
        ((0.51, 0.53), "The full network's last epoch added +2.0 points of validation accuracy (2 seeds)."),
    ],
)
def test_report_and_figure_say_what_the_last_epoch_added(ends: tuple[float, ...], said: str, tmp_path: Path) -> None:
    for seed, end in enumerate(ends):
        run = tmp_path / "runs" / make_run(tmp_path, seed=seed, epochs=2)
        (run / "history.csv").write_text(f"{HISTORY}\n1,9,1,1,0.01,2,0.3,2,0.5\n2,9,1,1,0.01,1,0.4,1,{end}\n")
    rebuild_tables(tmp_path)
    tables = read_tables(tmp_path)
    assert said in answers_on_runs.training(tables)
    drawn = pictures.learning_curves(tables)
    assert drawn is not None
    plt.close(drawn.figure)
    mean = 100 * pd.Series(ends).mean() - 50
    value = f"{mean:+.1f}".replace("-", "−") if abs(mean) > 0.05 else "0.0"
    assert drawn.ax.get_title() == f"On average the last epoch added {value} points"
    (row,) = tables_for_people.epochs(tables).rows
    assert row[-1].startswith(value)
    assert row[-2].startswith(f"{50 + mean:.1f}")


def test_networks_are_shown_in_the_full_networks_setting_where_they_have_it(tmp_path: Path) -> None:
    full = trained(tmp_path, "full", 0.4)
    cropped = trained(tmp_path, "cropped", 0.1, variant="backbone", crop="blazeface")
    others = [trained(tmp_path, f"other{seed}", 0.2, variant="no_moe", crop="blazeface", seed=seed) for seed in (0, 1)]
    same = trained(tmp_path, "same", 0.3, variant="backbone")
    table = curves_table([full, cropped, *others, same])
    assert in_one_setting(table, "backbone")["run"].tolist() == ["same"]
    assert in_one_setting(table, "no_moe")["run"].tolist() == ["other0", "other1"]
    assert in_one_setting(table, "no_cnn1").empty


def test_without_histories_nothing_is_said_of_the_last_epoch(tmp_path: Path) -> None:
    make_run(tmp_path)
    tables = rebuild_tables(tmp_path)
    assert "last epoch added" not in answers_on_runs.training(tables)
    assert pictures.learning_curves(tables) is None
