"""A study on a Slurm cluster is the same study: jobs are cancelled, put back or lost, and its tables stay the same."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.study import slurm
from fermoe.study.progress import Progress
from fermoe.study.slurm import SlurmConfig, SlurmRunner, slurm_config
from tests.helpers.trees import refused
from tests.study.test_runner import run_of, write_notebooks

STUDY = """
title: Four runs
dataset: synthetic
dataset_options: {train: 60, test: 21}
protocols: [audited]
variants: [backbone]
seeds: [0, 1]
threads: 1
training: {epochs: 40, patience: 40, batch_size: 8, learning_rate: 0.001}
notebooks: [03_model, 04_training, 10_report]
"""
Start = Callable[[list[str]], subprocess.Popen[str]]
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue")


def missing() -> str | None:
    """Why there can be no Slurm here; None where there can."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    lacking = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if lacking:
        return f"Slurm is not installed ({', '.join(lacking)}): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "only root can start a Slurm"


needs_slurm = pytest.mark.skipif(missing() is not None and not os.environ.get("CI"), reason=str(missing()))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which a Slurm of this machine, without accounting, takes jobs."""
    folder = Path(str(tmp_path_factory.mktemp("slurm")))
    closed = itertools.takewhile(lambda place: not place.stat().st_mode & stat.S_IXOTH, (folder, *folder.parents))
    for place in closed:  # as many levels as pytest made: one more in each of several processes
        place.chmod(0o755)  # munge refuses what others can write, and must get in
    script = Path(__file__).with_name("start_slurm.sh")
    subprocess.run([str(script), str(folder)], check=True)
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run([str(script), str(folder), "stop"], check=True)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "four.yaml"
    path.write_text(STUDY)
    return path


def command(study: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "fermoe.cli", "study", str(study), "--out", str(out), *options]


def running(cluster: dict[str, str]) -> list[str]:
    """The ids of the cluster's running jobs."""
    squeue = ["squeue", "--noheader", "--array", "--states", "RUNNING", "--format", "%F_%K"]
    return subprocess.run(squeue, capture_output=True, text=True, check=True, env=cluster).stdout.split()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 1500) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "tables").glob("*.csv")}


@pytest.fixture
def start(cluster: dict[str, str]) -> Iterator[Start]:
    """Starts a command on the cluster; what still runs when the test ends is ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(line: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=cluster)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


@needs_slurm
def test_cancelled_and_requeued_jobs_go_on_and_the_tables_are_the_local_ones(
    study: Path, tmp_path: Path, cluster: dict[str, str], start: Start
) -> None:
    """Of two trainings, one after the other, the first loses its job, and the second's is put back into the queue."""
    out, here = tmp_path / "cluster", tmp_path / "here"
    process = start(command(study, out, "--slurm", "partition=tests,time=30,parallel=1"))
    checkpoints = []
    for seed, end in ((0, ["scancel"]), (1, ["scontrol", "requeue"])):
        wait_for(lambda seed=seed: list(out.glob(f"runs/*seed{seed}*/last.pt")), process)
        (job,) = running(cluster)
        subprocess.run([*end, job], check=True, env=cluster)
        if end[-1] == "requeue":  # Slurm would wait two minutes
            wait_for(lambda job=job: job not in running(cluster), process)
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True, env=cluster)
        checkpoints += out.glob(f"runs/*seed{seed}*/last.pt")
    assert len(checkpoints) == 2, "the trainings were not stopped midway"
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "4 of 4 runs done (4 of them now)" in said
    assert said.count("again ") == 1  # what was put back is the cluster's own to begin again
    assert not list(out.glob("runs/*/ended.json"))
    local = subprocess.run(command(study, here), capture_output=True, text=True, check=False, env=cluster)
    assert local.returncode == 0, local.stdout + local.stderr
    assert tables(out) == tables(here)
    assert len(tables(out)) > 3


@needs_slurm
def test_a_stopped_study_cancels_its_jobs_and_those_that_a_killed_one_left(
    study: Path, tmp_path: Path, cluster: dict[str, str], start: Start
) -> None:
    line = command(study, tmp_path / "out", "--slurm", "partition=tests")
    process = start(line)
    wait_for(lambda: running(cluster), process)
    left = running(cluster)
    process.kill()
    process.communicate()
    assert set(running(cluster)) >= set(left)  # nobody was there to cancel them
    process = start(line)
    wait_for(lambda: (jobs := running(cluster)) and not set(jobs) & set(left), process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on" in said
    deadline = time.monotonic() + 30
    while running(cluster):
        assert time.monotonic() < deadline
        time.sleep(0.2)


OUT_OF_TIME = """
import time
from pathlib import Path
checkpoint = Path(out) / "last.pt"
if not checkpoint.exists():
    checkpoint.touch()
    time.sleep(100_000)
(Path(out) / "result.json").write_text('{"parameters": {}}')
"""
ALWAYS_CANCELLED = """
import os, subprocess, time
subprocess.run(["scancel", "{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}".format(**os.environ)])
time.sleep(100_000)
"""


@needs_slurm
def test_a_run_out_of_time_goes_on_in_another_job_and_one_without_progress_is_given_up(
    tmp_path: Path, cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cluster itself ends the first run's first job, whose time is a minute, and every job of the second run."""
    write_notebooks(tmp_path, {"out_of_time": OUT_OF_TIME, "cancelled": ALWAYS_CANCELLED})
    monkeypatch.setattr("fermoe.study.runner.notebooks_dir", lambda: tmp_path)
    monkeypatch.setattr(slurm, "LOOK", 0.5)
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    runs = [run_of(tmp_path, name) for name in ("out_of_time", "cancelled")]
    with Progress(len(runs)) as progress:
        slow, cancelled = SlurmRunner(tmp_path, SlurmConfig("tests", time=1)).execute(runs, progress)
    assert slow.error is None
    assert slow.run.made
    assert f"ended its job {slurm.TRIES} times without a new checkpoint" in str(cancelled.error)
    said = capsys.readouterr().out
    assert said.count("again out_of_time: the cluster ended its job") == 1
    assert said.count("again cancelled: the cluster ended its job") == slurm.TRIES - 1
    assert [path.name for path in tmp_path.glob("runs/*/.*")] == []  # no kernel's file


@needs_slurm
def test_a_failed_run_names_its_log_and_a_cluster_that_takes_no_job_is_one_line(
    study: Path, tmp_path: Path, cluster: dict[str, str]
) -> None:
    done = subprocess.run(
        command(study, tmp_path / "a", "--slurm", "partition=elsewhere"), capture_output=True, text=True, check=False,
        env=cluster,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fermoe:")]
    assert "partition" in line
    late = [*command(study, tmp_path / "b", "--slurm", "partition=tests"), "--set", "timeout=0.01"]
    done = subprocess.run([*late, "--set", "notebooks=[]"], capture_output=True, text=True, check=False, env=cluster)
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert len(failed) == 2
    assert all("took longer than 0.01 minutes" in line and "log.txt" in line for line in failed)


def test_the_clusters_settings_are_checked() -> None:
    assert slurm_config("") == SlurmConfig()
    assert slurm_config("partition=2,time=90,gpus=1") == SlurmConfig(partition="2", time=90, gpus=1)
    for wrong, words in {
        "partition": ("key=value",),
        "walltime=3": ("walltime", "partition"),
        "time=soon": ("time", "whole number"),
        "parallel=0": ("parallel", "at least 1"),
    }.items():
        with refused(*words):
            slurm_config(wrong)


def test_without_slurm_it_is_one_line(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(main, command(study, tmp_path / "out", "--slurm", "partition=x")[3:])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "sbatch" in line
