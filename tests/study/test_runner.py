"""A run that fails, hangs or is killed is one failed run with its reason; the others go on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.study.plan import Run
from fermoe.study.progress import Progress
from fermoe.study.runner import Outcome, Runner
from tests.study.test_stale import STUDY, study_file

FINE = """
from pathlib import Path
(Path(out) / "result.json").write_text('{"parameters": {}}')
"""
CELLS = {
    "fine": FINE,
    "hangs": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
    "memory": "import numpy as np; np.ones(2**55)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "writes": """
import signal, time
from pathlib import Path
from fermoe.files import atomic
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with atomic(Path(out) / "weights.pt"):
    time.sleep(600)
""",
    "raises": "raise ValueError('as it should')",
}


def write_notebooks(folder: Path, cells: Mapping[str, str]) -> None:
    """A notebook of one cell for each, which is given the folder of its run as `out`."""
    for name, cell in cells.items():
        parameters = nbformat.v4.new_code_cell("out = ''", metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(cell)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")


def run_of(folder: Path, name: str) -> Run:
    return Run(name, name, folder / "runs" / name, {"out": str(folder / "runs" / name)})


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a notebook for every way to end."""
    write_notebooks(tmp_path, CELLS)
    monkeypatch.setattr("fermoe.study.runner.notebooks_dir", lambda: tmp_path)
    return tmp_path


def executed(folder: Path, names: list[str], timeout: float | None = None) -> dict[str, Outcome]:
    runs = [run_of(folder, name) for name in names]
    with Progress(len(names), quiet=True) as progress:
        return {outcome.run.id: outcome for outcome in Runner(2, 1, timeout).execute(runs, progress)}


def test_every_failure_says_its_reason_where_its_log_is_and_the_next_run_goes_on(notebooks: Path) -> None:
    outcomes = executed(notebooks, ["memory", "killed", "raises", "fine"])
    assert "memory ran out" in str(outcomes["memory"].error)
    assert "killed from outside" in str(outcomes["killed"].error)
    assert "ValueError: as it should" in str(outcomes["raises"].error)
    assert outcomes["fine"].error is None
    for name in ("memory", "killed", "raises"):
        kept = json.loads((notebooks / "runs" / name / "failed.json").read_text())
        assert kept["reason"] == outcomes[name].error
        assert "\n" not in kept["reason"]
        assert (notebooks / "runs" / name / kept["log"]).exists()
    assert not (notebooks / "runs" / "fine" / "failed.json").exists()


def test_a_run_that_hangs_is_stopped_after_its_time_with_its_kernel(notebooks: Path) -> None:
    outcomes = executed(notebooks, ["hangs", "fine"], timeout=0.15)
    assert "took longer than 0.15 minutes" in str(outcomes["hangs"].error)
    assert outcomes["fine"].error is None
    assert not kernels()


def test_a_stopped_study_waits_for_the_end_of_its_kernels_and_clears_away_what_they_were_writing(
    notebooks: Path,
) -> None:
    run, runner = run_of(notebooks, "writes"), Runner(1, 1)
    with Progress(1, quiet=True) as progress, ThreadPoolExecutor(1) as pool:
        outcomes = pool.submit(runner.execute, [run], progress)
        while not any(run.directory.glob(".weights.pt.*")):
            assert not outcomes.done(), outcomes.result()
            time.sleep(0.1)
        assert len(kernels()) == 1
        runner.stop()
        (outcome,) = outcomes.result()
        assert not kernels()
        assert not any(run.directory.glob(".weights.pt.*"))
        assert outcome.error == "stopped"


def kernels() -> list[psutil.Process]:
    """The kernels of this process's studies that have not ended."""
    mine = psutil.Process().children(recursive=True)
    return [child for child in mine if "ipykernel" in " ".join(child.cmdline())]


def test_only_what_failed_is_trained_again_when_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = STUDY.replace("[01_data, 03_model, 04_training, 05_confusion_matrices, 10_report]", "[04_training]")
    out, begun = tmp_path / "out", []

    def pretend(self: Runner, run: Run, *_: object) -> Outcome:
        begun.append(run.id)
        run.directory.mkdir(parents=True, exist_ok=True)
        return Outcome(run, "no luck" if "seed1" in run.id else "not yet")

    monkeypatch.setattr(Runner, "_papermill", pretend)
    command = ["study", str(study_file(tmp_path, text + "seeds: [0, 1]\n")), "--out", str(out)]
    assert CliRunner().invoke(main, command).exit_code == 1
    assert len(begun) == 2
    (failed,) = (name for name in begun if "seed1" in name)
    for path in out.glob("runs/*seed0*/failed.json"):
        path.unlink()
    begun.clear()
    result = CliRunner().invoke(main, [*command, "--retry-failed"])
    assert begun == [failed]
    assert "0 of 2 runs done" in result.output


@pytest.mark.parametrize("name", ["figures", "tables", "runs", "report.html/x", "tables/claims.csv/x"])
def test_an_occupied_name_in_the_results_is_one_line_before_anything_runs(tmp_path: Path, name: str) -> None:
    occupied = tmp_path / "out" / name
    occupied.parent.mkdir(parents=True)
    occupied.write_text("mine")
    result = CliRunner().invoke(main, ["study", str(study_file(tmp_path)), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert (name.removesuffix("/x").rpartition("/")[2]) in line
    assert occupied.read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "memory ran out"), (OSError(28, "No space left on device", "/x/y"), "No space left on device")],
)
def test_a_full_memory_or_disk_is_one_line(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("fermoe.study.command.expand", fail)
    result = CliRunner().invoke(main, ["study", str(study_file(tmp_path)), "--dry-run"])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert said in line
