"""What a study has made is made again when, and only when, what it was made from has changed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.files import write_json
from fermoe.study.plan import REPORT, Run, Study, expand, load_study, with_inputs
from fermoe.study.progress import Progress
from fermoe.study.runner import Runner
from fermoe.study.tables import rebuild_tables
from fermoe.training.runs import TRAINING, write_result
from tests.helpers.runs import make_run

STUDY = """
title: A study for every kind of run
dataset: synthetic
dataset_options: {train: 60, test: 21}
protocols: [audited]
training: {epochs: 2}
notebooks: [01_data, 03_model, 04_training, 05_confusion_matrices, 10_report]
"""


def study_file(folder: Path, text: str = STUDY) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def finish(run: Run) -> None:
    """Leave what a finished run leaves; a training's result is there already."""
    cell = nbformat.v4.new_code_cell("1", execution_count=1)
    run.directory.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), run.executed)
    if run.notebook != TRAINING:
        write_result(run.directory, run.notebook, {})
    run.seen.write_text(run.inputs)


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Study, Path]:
    """A study whose every run is done, and its folder."""
    study, out = load_study(str(study_file(tmp_path))), tmp_path / "out"
    options = {"dataset_options": {"train": 60, "test": 21}, "epochs": 2}
    make_run(out, **options)
    runs = expand(study, out)
    write_json(out / "runs" / "study.json", {"study": study.name, "runs": [run.id for run in runs]})
    rebuild_tables(out)
    for run in runs:
        early = run.notebook in (TRAINING, "01_data", "03_model")
        finish(run if early else with_inputs([run], runs, out)[0])
    return study, out


def listed(folder: Path, out: Path, *settings: str) -> dict[str, str]:
    """What a dry run says of every run: "done" or "to do"."""
    arguments = [part for setting in settings for part in ("--set", setting)]
    command = ["study", str(folder / "study.yaml"), "--out", str(out), "--dry-run", *arguments]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return {line[7:]: line[:6].strip() for line in result.output.splitlines()[:-1]}


def test_nothing_is_stale_in_a_study_that_is_done(finished: tuple[Study, Path]) -> None:
    assert set(listed(finished[1].parent, finished[1]).values()) == {"done"}


def test_a_changed_table_makes_the_report_stale_and_nothing_else(finished: tuple[Study, Path]) -> None:
    _, out = finished
    with (out / "tables" / "ablation.csv").open("a") as file:
        file.write("another row\n")
    said = listed(out.parent, out)
    assert said.pop(REPORT) == "to do"
    assert set(said.values()) == {"done"}


def test_other_data_or_parameters_make_the_analyses_of_data_and_model_stale(finished: tuple[Study, Path]) -> None:
    _, out = finished
    changed = listed(out.parent, out, "dataset_options.train=70")
    assert (changed["01_data"], changed["03_model"]) == ("to do", "done")
    assert listed(out.parent, out, "analyses.03_model.num_classes=8")["03_model"] == "to do"


def test_what_waits_for_a_run_that_is_to_be_made_is_to_be_made_again(finished: tuple[Study, Path]) -> None:
    _, out = finished
    said = listed(out.parent, out, "seeds=[0,1]")
    assert said["01_data"] == "done"
    assert said["05_confusion_matrices"] == said[REPORT] == "to do"


def test_a_run_that_fails_notes_no_inputs_and_leaves_no_older_result(tmp_path: Path) -> None:
    run = Run("05_confusion_matrices", "x", tmp_path / "x", {"study": str(tmp_path / "nowhere")}, inputs="new")
    finish(run)
    run.seen.write_text("old")
    with Progress(1, quiet=True) as progress:
        (outcome,) = Runner(1, 1).execute([run], progress)
    assert outcome.error
    assert run.seen.read_text() == "old"
    assert not (run.directory / "result.json").exists()
