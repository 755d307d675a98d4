"""A study that is told to stop ends with all that it started, leaves nothing temporary, and says how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fermoe.files import exclusive, temporary_prefix
from tests.study.test_stale import study_file

ENDLESS = """
title: A study that takes too long
dataset: synthetic
dataset_options: {train: 60, test: 21}
protocols: [audited]
variants: [backbone]
training: {epochs: 100000, patience: 100000, batch_size: 16}
notebooks: [04_training]
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the study finds room for temporary files; sockets are among them, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="stop-") as folder:
        yield Path(folder)


def begin(tmp_path: Path, place: Path) -> subprocess.Popen[str]:
    """The command, at a moment when it trains."""
    command = [sys.executable, "-m", "fermoe.cli", "study", str(study_file(tmp_path, ENDLESS))]
    environment = {**os.environ, "TMPDIR": str(place), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # A shell's background jobs ignore Ctrl-C, and so would what these tests start from one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    began = time.time()
    while not any(path.stat().st_mtime > began for path in tmp_path.glob("out/runs/*/history.csv")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process


def all_ended(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=60)[1]


def temporary(tmp_path: Path, place: Path) -> list[str]:
    """What is in the place of temporary files, and the temporary files in the study's folders.

    Python's own folder for a process's sockets (pymp-…) goes when that process ends by itself, and may stay, without
    anything of the study's in it, where it was killed while it began.
    """
    of_this_machine = temporary_prefix("*").rsplit("-", 2)[0] + "-*-*"
    there = [path for path in place.iterdir() if not path.name.startswith("pymp-")]
    return [str(path) for path in (*there, *tmp_path.rglob(of_this_machine))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_told_to_stop_ends_with_all_that_it_started(
    number: signal.Signals, tmp_path: Path, place: Path
) -> None:
    process = begin(tmp_path, place)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert len(started) >= 3  # the server that runs are forked from, the run and its kernel
    assert all_ended(started)
    assert temporary(tmp_path, place) == []


def test_what_a_killed_study_left_is_removed_by_the_next_and_its_kernel_ends_by_itself(
    tmp_path: Path, place: Path
) -> None:
    process = begin(tmp_path, place)
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert all_ended(started)
    (run,) = tmp_path.glob("out/runs/synthetic*")
    with exclusive(run / ".lock", "this run"):
        assert temporary(tmp_path, place)
    process = begin(tmp_path, place)
    now = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert all_ended(now)
    assert temporary(tmp_path, place) == []
