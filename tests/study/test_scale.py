"""Large studies and datasets: listed in seconds, kept in bounded memory, with the time left in plain lines."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import papermill
import psutil
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.files import notebooks_dir
from fermoe.study import progress
from fermoe.study.notebooks import parameters_of
from fermoe.study.plan import Run, notebook_names
from fermoe.study.progress import Progress
from fermoe.study.runner import Outcome, Runner
from tests.soak.report import machine, write_section
from tests.study.test_stale import study_file

THOUSAND = f"""
title: A thousand runs
dataset: synthetic
dataset_options: {{train: 60, test: 21}}
protocols: [published, audited]
variants: [full, backbone, no_moe, no_cnn1, no_cnn2]
seeds: {list(range(99))}
notebooks: {notebook_names()}
"""
SLOW = (
    "nbformat",
    "papermill",
    "torchvision",
    "scipy.stats",
    "sklearn",
    "matplotlib",
    "nbconvert",
    "mediapipe",
    "triton",
)
LISTING = f"""
import sys
from fermoe.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*[name for name in {SLOW} if name in sys.modules], file=sys.stderr)
"""


def test_a_thousand_runs_are_listed_without_importing_what_is_slow(tmp_path: Path) -> None:
    """PyTorch and pandas alone take two of the three seconds that a list of runs may take."""
    options = ["study", str(study_file(tmp_path, THOUSAND)), "--dry-run", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", LISTING, *options], capture_output=True, text=True, check=True)
    assert "0 of 1000 runs are done" in done.stdout
    assert done.stderr.split() == []


@pytest.mark.parametrize("name", notebook_names())
def test_parameters_are_those_that_papermill_sees(name: str) -> None:
    assert parameters_of(name) == set(papermill.inspect_notebook(str(notebooks_dir() / f"{name}.ipynb")))


def test_without_a_terminal_every_run_is_a_plain_line_with_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))

    def pretend(self: Runner, run: Run, *_: object) -> Outcome:
        return Outcome(run)

    monkeypatch.setattr(Runner, "_papermill", pretend)
    text = THOUSAND.replace(str(list(range(99))), "[0]").replace(str(notebook_names()), "[04_training]")
    command = ["study", str(study_file(tmp_path, text)), "--out", str(tmp_path / "out"), "--workers", "1"]
    result = CliRunner().invoke(main, command)
    assert "\r" not in result.output + result.stderr
    lines = [line for line in result.output.splitlines() if line.startswith("  done")]
    assert len(lines) == 10
    assert [re.search(r"\[(\d+) of 10", line)[1] for line in lines] == [str(k) for k in range(1, 11)]  # type: ignore[index]
    assert lines[0].endswith("min left]")
    assert lines[-1].endswith("[10 of 10]")


def test_the_time_left_follows_from_the_runs_made_now_not_from_those_found(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(100, quiet=True) as bar:
        bar.found(50)
        assert bar.left() == "50 of 100"
        now[0] = 600.0
        for _ in range(10):
            bar.ended("one")
        assert bar.left() == "60 of 100, about 40 min left"


def test_quiet_says_what_failed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(self: Runner, run: Run, *_: object) -> Outcome:
        run.directory.mkdir(parents=True, exist_ok=True)
        return Outcome(run, "no luck" if "seed1" in run.id else None)

    monkeypatch.setattr(Runner, "_papermill", pretend)
    text = "title: T\ndataset: synthetic\ndataset_options: {train: 60, test: 21}\nprotocols: [audited]\nseeds: [0, 1]\n"
    command = ["study", str(study_file(tmp_path, text)), "--out", str(tmp_path / "out"), "--quiet"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("failed ")
    assert line.endswith("no luck")


TEN_THOUSAND = """
import sys
from fermoe.training.config import TrainConfig
from fermoe.training.train import train

options = {"train": 9000, "test": 1000}
shape = {"variant": "backbone", "crop": "blazeface", "epochs": 1, "batch_size": 64}
result = train(TrainConfig(dataset_options=options, **shape), sys.argv[1], progress=False)
print(sum(result["data"]["images"].values()))
"""


MEASURED = """
`python -m pytest -m soak tests/study/test_scale.py`: 9,000 drawn faces are detected, cropped and trained on for an
epoch (the miniature's backbone), 1,000 more are evaluated. All processes together hold at most {:.1f} GiB at any
moment, looked at five times a second; the test allows 6. ({})
"""


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process and all that it started hold now."""
    held = 0
    for member in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            held += member.memory_info().rss
    return held


@pytest.mark.soak
def test_ten_thousand_images_are_cropped_trained_on_and_evaluated_within_six_gigabytes(tmp_path: Path) -> None:
    environment = {**os.environ, "FERMOE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", TEN_THOUSAND, str(tmp_path / "run")]
    child, most = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment), 0
    while child.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            most = max(most, memory_of(psutil.Process(child.pid)))
        time.sleep(0.2)
    said, _ = child.communicate()
    assert int(said) == 10_000
    assert most < 6 * 2**30
    write_section("Ten thousand images", MEASURED.format(most / 2**30, machine()))
