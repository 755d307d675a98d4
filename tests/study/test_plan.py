"""A study file becomes runs; what it cannot mean is refused before anything runs; what is done stays done."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fermoe.cli import main
from fermoe.errors import UserError
from fermoe.files import notebooks_dir
from fermoe.study.notebooks import is_whole, parameters_of
from fermoe.study.plan import APART, Run, expand, load_study, notebook_names, training_configs
from fermoe.training.runs import write_result
from tests.helpers import trees

TINY = """
title: A tiny study
dataset: synthetic
dataset_options: {train: 60, test: 21}
protocols: [audited]
variants: [backbone]
crops: [none]
training: {epochs: 2, batch_size: 16, learning_rate: 0.001}
notebooks: [04_training, 10_report]
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def fermoe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", sorted(path.stem for path in (notebooks_dir() / "studies").glob("*.yaml")))
def test_every_study_of_the_kit_expands_to_runs_its_notebooks_accept(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    runs = expand(study, tmp_path)
    assert len({run.id for run in runs}) == len(runs)
    for run in runs:
        assert run.parameters.keys() <= parameters_of(run.notebook)
        assert not run.done


def test_the_axes_are_multiplied_and_extra_rows_added_once() -> None:
    extra = "extra=[{crop: masked, protocol: audited}, {protocol: audited, variant: [no_moe, no_cnn1], seed: [1, 2]}]"
    study = load_study("quick", ["seeds=[0,1,2]", "variants=[full,backbone]", extra])
    configs = training_configs(study)
    product = len(study.protocols) * len(study.crops) * 2 * 3
    rows = [math.prod(len(value) if isinstance(value, list) else 1 for value in row.values()) for row in study.extra]
    assert len(configs) == product + sum(rows)
    assert [config.seed for config in configs] == sorted(config.seed for config in configs)
    masked = [config for config in configs if config.crop == "masked"]
    assert [(config.protocol, config.seed) for config in masked] == [("audited", 0)]


def test_augmentation_is_an_axis_of_the_audited_protocol_alone() -> None:
    configs = training_configs(
        load_study("quick", ["protocols=[published,audited]", "augmentations=[none,augment]", "extra=[]"])
    )
    assert {(c.protocol, c.augmentation) for c in configs} == {
        ("published", "none"),
        ("audited", "none"),
        ("audited", "augment"),
    }


def test_settings_reach_the_runs() -> None:
    study = load_study("quick", ["epochs=3", "dataset_options.train=70", "training.decay=0.9", "seeds=4", "extra=[]"])
    config = training_configs(study)[0]
    assert (config.epochs, config.dataset_options["train"], config.decay, config.seed) == (3, 70, 0.9, 4)


def test_run_ids_do_not_depend_on_where_the_data_lies() -> None:
    here, there = (training_configs(load_study("fer2013", [f"root={root}"]))[0] for root in ("/a", "/b"))
    assert here.run_id == there.run_id
    assert here.run_id != training_configs(load_study("fer2013", ["epochs=1"]))[0].run_id


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("bogus=1", "bogus"),
        ("training.momentum=1", "momentum"),
        ("variants=[ful]", "ful"),
        ("protocols=[mixed]", "mixed"),
        ("crops=[tight]", "tight"),
        ("notebooks=[99_none]", "99_none"),
        ("seeds=[-1]", "-1"),
        ("dataset=faces", "faces"),
        ("extra=[{lr: 1}]", "lr"),
        ("epochs=0", "epochs"),
        ("model=large", "large"),
        ("seeds", "key=value"),
        ("dataset_options.faces=3", "faces"),
        ("analyses.99_none.images=3", "99_none"),
        ("analyses.04_training.seed=3", "04_training"),
        ("analyses.09_robustness=3", "09_robustness"),
        ("analyses.09_robustness.pictures=3", "pictures"),
        ("extra=[a]", "extra.0"),
        ("extra={x: 1}", "extra"),
        ("extra=[{crop: tight}]", "tight"),
        ("extra=[{seed: one}]", "seed"),
        ("model=[1]", "model"),
        ("name=5", "name"),
        ("name=../elsewhere", "elsewhere"),
        ("threads=abc", "threads"),
        ("timeout=0", "timeout"),
        ("seeds=[]", "seeds"),
        ("training=[]", "training"),
        ("training.decay=[1]", "decay"),
        ("dataset=[synthetic]", "dataset"),
        ("dataset=nothing", "synthetic, fer2013"),
        ("dataset_options.name=x", "name"),
        ("dataset_options.labels=0.1", "labels"),
        ("dataset_options.labels=[1,[2]]", "labels"),
        ('dataset_options.proportions="0"', "proportions"),
        ("dataset_options.occluded=null", "occluded"),
        ("dataset_options.train=10000000000", "1,000,000"),
        (f"seeds={'9' * 5000}", "seeds"),
        (f"variants=[{'x' * 5000}]", "variants"),
    ],
)
def test_what_a_study_cannot_mean_is_one_line_and_exit_code_2(setting: str, named: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = fermoe("study", "quick", "--set", setting, "--out", out)
    assert result.exit_code == 2
    message = result.stderr.strip()
    assert "\n" not in message
    assert len(message) < 1000
    assert named in message
    assert not out.exists()


def test_a_key_without_a_value_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("title: Bare\ndataset: synthetic\ntraining:\nextra:\nroot:\n")
    study = load_study(str(path), ["epochs=3", "analyses="])
    assert (study.training, study.extra, study.root) == ({"epochs": 3}, (), None)
    assert {config.epochs for config in training_configs(study)} == {3}


def test_places_are_absolute_from_where_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.folder_tree(tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    settings = ["dataset=folder", "dataset_options={}", "root=faces", "weights=vggface2:w/x.h5", "extra=[]"]
    runs = expand(load_study("quick", settings), tmp_path / "out")
    for run in runs:
        assert run.parameters.get("root", str(tmp_path / "faces")) == str(tmp_path / "faces")
    trained = [run for run in runs if run.notebook == "04_training"]
    assert {run.parameters["weights"] for run in trained} == {f"vggface2:{tmp_path}/w/x.h5"}
    assert load_study("quick", ["weights=imagenet:~/w.pth"]).weights == "imagenet:/home/me/w.pth"
    assert load_study("quick", ["weights=imagenet"]).weights == "imagenet"
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert fermoe("study", "quick", *arguments, "--out", "out", "--dry-run").exit_code == 0


@pytest.mark.parametrize("setting", ["root=2013", "root=2020-01-01"])
def test_a_folder_may_be_called_like_a_number_or_a_date(setting: str) -> None:
    assert Path(str(load_study("fer2013", [setting]).root)).name == setting.partition("=")[2]


@pytest.mark.parametrize("content", ["title: [unclosed", "- a\n- list\n", "title: no dataset\n", "\x00"])
def test_a_file_that_is_no_study_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    result = fermoe("study", path)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "broken.yaml" in result.stderr


def test_a_missing_root_is_one_line(tmp_path: Path) -> None:
    for arguments in (
        ("study", "fer2013"),
        ("study", "fer2013", "--set", f"root={tmp_path / 'nowhere'}"),
        ("data", "check", "fer2013", "--root", tmp_path / "nowhere"),
        ("data", "check", "rafdb", "--root", tmp_path),
        ("crop", "fer2013"),
    ):
        result = fermoe(*arguments)
        assert result.exit_code == 2, arguments
        assert len(result.stderr.strip().splitlines()) == 1


def test_a_study_sets_parameters_of_its_analyses(tmp_path: Path) -> None:
    runs = expand(load_study("quick", ["analyses.09_robustness.images=50"]), tmp_path)
    (robustness,) = (run for run in runs if run.notebook == "09_robustness")
    assert robustness.parameters["images"] == 50
    assert robustness.parameters["study"] == str(tmp_path)
    assert not any("images" in run.parameters for run in runs if run is not robustness)


def test_a_parameter_that_a_notebook_lacks_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """papermill itself only warns, and runs the defaults."""
    monkeypatch.setattr("fermoe.study.plan.parameters_of", lambda name: {"out"})
    with pytest.raises(UserError, match="has no parameter"):
        expand(load_study("quick"), tmp_path)


def executed_notebook(*, ran: bool = True, error: bool = False) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell("1 + 1", execution_count=1), nbformat.v4.new_code_cell("2")]
    if ran:
        cells[1].execution_count = 2
    if error:
        cells[1].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])]
    return nbformat.v4.new_notebook(cells=cells)


def test_a_run_is_done_only_with_its_result_and_a_whole_notebook(tmp_path: Path) -> None:
    run = Run("05_confusion_matrices", "x", tmp_path / "x", {})
    run.directory.mkdir()
    nbformat.write(executed_notebook(), run.executed)
    assert not run.done  # an executed notebook alone proves nothing
    write_result(run.directory, run.notebook, {})
    assert run.done
    for damaged in (executed_notebook(ran=False), executed_notebook(error=True)):
        nbformat.write(damaged, run.executed)
        assert not run.done
    run.executed.write_text(nbformat.writes(executed_notebook())[:100])
    assert not is_whole(run.executed)
    nbformat.write(executed_notebook(), run.executed)
    (run.directory / "result.json").write_text('{"parameters": ')
    assert not run.done


def test_an_analysis_of_other_trainings_is_stale(tmp_path: Path) -> None:
    run = Run("05_confusion_matrices", "x", tmp_path / "x", {}, inputs="abc")
    run.directory.mkdir()
    nbformat.write(executed_notebook(), run.executed)
    write_result(run.directory, run.notebook, {})
    assert not run.done
    run.seen.write_text("abc")
    assert run.done
    run.seen.write_text("other trainings")
    assert not run.done


def command(tiny: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "fermoe.cli", "study", str(tiny), "--out", str(out)]


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "tables").glob("*.csv")}


def test_a_killed_study_is_finished_by_the_same_command_with_the_same_tables(tiny: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(command(tiny, first), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while not list(first.glob("runs/*/history.csv")) and time.monotonic() < deadline:
        time.sleep(0.05)  # an epoch is done: the training is under way
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(first.glob("report.html"))
    deadline = time.monotonic() + 60
    while True:  # the orphaned kernel notices and ends; until then its run is locked
        done = subprocess.run(command(tiny, first), capture_output=True, text=True, check=False)
        if done.returncode == 0 or time.monotonic() > deadline:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report.html" in done.stdout

    whole = subprocess.run(command(tiny, second), capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert tables(first) == tables(second)
    accuracy = pd.read_csv(second / "tables" / "accuracy.csv")
    assert accuracy["run"].map(lambda name: (second / "runs" / name / "predictions.csv").exists()).all()

    before = {path: path.stat().st_mtime_ns for path in second.glob("runs/*/result.json")}
    again = subprocess.run(command(tiny, second), capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "(0 of them now)" in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in second.glob("runs/*/result.json")}

    report = (second / "report.html").read_text()
    assert "C11" in report
    assert "<script" not in report
    assert str(second) not in report


def test_a_study_goes_on_from_its_pack_where_that_is_asked_for(tiny: Path, tmp_path: Path) -> None:
    """As in a fresh checkout: nothing is there but the pack, and one more seed is wanted."""
    out = tmp_path / "out"
    assert fermoe("study", tiny, "--out", out, "--set", "seeds=[0]").exit_code == 0
    assert fermoe("pack", out).exit_code == 0
    (kept,) = (out / "runs").glob("*seed0*")
    before, answers = ((kept / name).read_bytes() for name in ("result.json", "predictions.csv"))
    shutil.rmtree(out / "runs")
    more = ("study", tiny, "--out", out, "--set", "seeds=[0, 1]")
    assert "to do" in next(line for line in fermoe(*more, "--dry-run").stdout.splitlines() if "seed0" in line)
    listed = fermoe(*more, "--packed", "--dry-run").stdout.splitlines()
    assert [line[:5] for line in listed if "seed" in line] == ["done ", "to do"]
    assert not (out / "runs").exists()
    result = fermoe(*more, "--packed")
    assert result.exit_code == 0, result.output
    assert "3 of 3 runs done (2 of them now)" in result.stdout  # the other training, and the report
    assert (kept / "result.json").read_bytes() == before
    assert not (kept / "04_training.ipynb").exists()
    accuracy = pd.read_csv(out / "tables" / "accuracy.csv")
    assert set(accuracy["seed"]) == {0, 1}
    shutil.rmtree(kept)
    kept.mkdir()  # what is here, whole or not, is not taken from the pack
    assert fermoe(*more, "--packed").exit_code == 0
    assert (kept / "result.json").read_bytes() != before
    assert (kept / "predictions.csv").read_bytes() == answers


def test_without_a_pack_there_is_none_to_go_on_from(tiny: Path, tmp_path: Path) -> None:
    result = fermoe("study", tiny, "--out", tmp_path / "out", "--packed")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "no packed runs" in line
    assert not (tmp_path / "out").exists()


def test_a_failed_run_does_not_stop_the_others_and_fails_the_command(tiny: Path, tmp_path: Path) -> None:
    """A checkpoint of another configuration stops one run; the report is made of the rest."""
    study = load_study(str(tiny), ["seeds=[0,1]"])
    out = tmp_path / "out"
    wrong = expand(study, out)[0]
    wrong.directory.mkdir(parents=True)
    (wrong.directory / "last.pt").write_bytes(b"not a checkpoint")
    result = subprocess.run([*command(tiny, out), "--set", "seeds=[0,1]"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("failed")]
    assert "last.pt" in line
    assert "2 of 3 runs done" in result.stdout
    assert set(pd.read_csv(out / "tables" / "accuracy.csv")["seed"]) == {1}


def test_dry_run_lists_every_run_and_makes_nothing(tiny: Path, tmp_path: Path) -> None:
    result = fermoe("study", tiny, "--dry-run", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "0 of 2 runs are done" in result.output
    assert not (tmp_path / "out").exists()


def test_a_study_executes_every_notebook_that_leaves_a_result_and_no_other() -> None:
    everything = {path.stem for path in notebooks_dir().glob("*.ipynb")}
    assert set(notebook_names()) == {name for name in everything if "out" in parameters_of(name)}
    assert set(APART) == everything - set(notebook_names())


def test_every_notebook_keeps_the_rules() -> None:
    for path in sorted(notebooks_dir().glob("*.ipynb")):
        content = json.loads(path.read_text())
        code = [c for c in content["cells"] if c["cell_type"] == "code"]
        tagged = [c for c in code if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1, path.name
        assert content["metadata"]["kernelspec"]["name"] == "python3", path.name
        assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1)), path.name
        assert not any(o["output_type"] == "error" for c in code for o in c["outputs"]), path.name
        prose = sum(c["cell_type"] == "markdown" for c in content["cells"])
        assert 3 * prose >= len(content["cells"]), path.name
        source = "\n".join("".join(c["source"]) for c in code)
        assert not re.search(r"^\s*(class|def) ", source, re.MULTILINE), path.name
