"""Large studies and datasets: listed in seconds, kept in bounded memory, with the time left in plain lines."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
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


AFFECTNET = """
import sys
from pathlib import Path
import numpy as np
from fermoe.data.datasets import load_dataset, protocol_splits
from fermoe.training import train as training
from fermoe.training.config import TrainConfig
from fermoe.training.feed import Data

folder = Path(sys.argv[1])
dataset = load_dataset("synthetic", train=280_000, test=10_000)
images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (len(dataset), 3, 64, 64))
noise = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), dtype=np.uint8)
for start in range(0, len(images), 1000):
    images[start : start + 1000] = noise
splits = protocol_splits(dataset, "audited")
training.load_data = lambda *_, **__: Data(dataset, splits, dict.fromkeys(splits, images))
shape = {"variant": "backbone", "epochs": 1, "batch_size": 256}
result = training.train(TrainConfig(**shape), folder / "run", progress=False)
print(sum(result["data"]["images"].values()))
"""

MEASURED_AFFECTNET = """
`python -m pytest -m soak tests/study/test_scale.py`: 290,000 images of 64×64, as many as AffectNet has, are trained on
for an epoch (the miniature's backbone) and evaluated. Simulated: noise stands in their memory map, no face is
looked for. Besides the map, which the system drops from memory when it needs room, the process holds at most {:.1f}
GiB; the test allows 3. ({})
"""


def memory_of(process: psutil.Process, maps: bool = True) -> int:
    """Bytes that a process and all that it started hold now, without `maps` those that are of no file."""
    held = 0
    for member in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            info = member.memory_info()
            held += info.rss if maps else info.rss - info.shared
    return held


def most_memory(command: Sequence[str], cache: Path, maps: bool = True) -> tuple[str, int]:
    """What a command says, and the most that `memory_of` saw, five times a second."""
    child, most = (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "FERMOE_CACHE": str(cache)}),
        0,
    )
    while child.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            most = max(most, memory_of(psutil.Process(child.pid), maps))
        time.sleep(0.2)
    return child.communicate()[0], most


@pytest.mark.soak
def test_ten_thousand_images_are_cropped_trained_on_and_evaluated_within_six_gigabytes(tmp_path: Path) -> None:
    said, most = most_memory([sys.executable, "-c", TEN_THOUSAND, str(tmp_path / "run")], tmp_path / "cache")
    assert int(said) == 10_000
    assert most < 6 * 2**30
    write_section("Ten thousand images", MEASURED.format(most / 2**30, machine()))


@pytest.mark.soak
def test_as_many_images_as_affectnet_has_are_trained_on_in_the_memory_of_a_few_thousand(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AFFECTNET, str(tmp_path)]
    said, most = most_memory(command, tmp_path / "cache", maps=False)
    assert int(said) == 290_000
    assert most < 3 * 2**30
    write_section("AffectNet's number of images", MEASURED_AFFECTNET.format(most / 2**30, machine()))
