"""Kills a small study at random moments and compares its tables with those of an uninterrupted one.

python -m tests.soak.kills --kills 20     writes results/benchmarks/soak.md; exits with 1 where anything differs

The parent alone is killed, its process group, or the whole tree, in turn; then the same command is started again.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from fermoe.files import results_dir, write_text

STUDY = """
title: A study to be killed
dataset: synthetic
dataset_options: {train: 40, test: 14}
protocols: [audited]
variants: [backbone]
seeds: [0, 1]
threads: 1
training: {epochs: 1, batch_size: 8, learning_rate: 0.001}
notebooks: [03_model, 04_training, 05_confusion_matrices, 10_report]
"""
WAYS = ("parent", "group", "tree")
MOST = 5  # starts of one command until it ends well
GRACE = 30.0  # seconds for what was orphaned to notice


@dataclass
class Tally:
    """What happened so far."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    studies: int = 0
    again: int = 0  # starts that ended with an error, such as a run still locked by an orphan, and were repeated
    problems: list[str] = field(default_factory=list)


def start(study: Path, out: Path, cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fermoe.cli", "study", str(study), "--out", str(out), "--workers", "2", "--quiet"]
    environment = {**os.environ, "FERMOE_CACHE": str(cache)}
    return subprocess.Popen(command, start_new_session=True, env=environment, stderr=subprocess.DEVNULL)


def kill(process: subprocess.Popen[bytes], way: str) -> None:
    """SIGKILL, which nothing can catch."""
    family = psutil.Process(process.pid).children(recursive=True) if way == "tree" else []
    if way == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "tables").glob("*.csv"))}


def leftovers(folders: list[Path]) -> list[str]:
    """Temporary files of killed processes, and processes that still work in one of the folders."""
    deadline = time.monotonic() + GRACE
    while True:
        files = [str(path) for folder in folders for path in folder.rglob(".*-*") if path.name.count(".") > 2]
        found = files + [name for name in _processes(folders)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def _processes(folders: list[Path]) -> list[str]:
    lines = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.pid != os.getpid() and any(str(folder) in line for folder in folders):
            lines.append(f"{process.pid} {line}")
    return lines


def finish(study: Path, out: Path, cache: Path, tally: Tally) -> None:
    """Start the command until it ends well."""
    for attempt in range(MOST):
        if start(study, out, cache).wait() == 0:
            return
        tally.again += 1
        time.sleep(1 + attempt)
    tally.problems.append(f"{out.name}: not finished after {MOST} starts")


def one_study(study: Path, out: Path, cache: Path, tally: Tally, kills: int, span: float, draw: random.Random) -> None:
    """Kill a study up to three times, each at a moment of what an uninterrupted one takes, then let it end."""
    for _ in range(min(3, kills)):
        process, way = start(study, out, cache), WAYS[sum(tally.kills.values()) % len(WAYS)]
        try:
            process.wait(draw.uniform(0, span))
            break  # it was faster
        except subprocess.TimeoutExpired:
            kill(process, way)
            tally.kills[way] += 1
    finish(study, out, cache, tally)
    tally.studies += 1


def report(tally: Tally, seed: int, seconds: float, command: str) -> str:
    kills = ", ".join(f"{count} of the {way}" for way, count in tally.kills.items())
    verdict = "none" if not tally.problems else "".join(f"\n- {problem}" for problem in tally.problems)
    return f"""# Killed at random moments

`{command}` (a part of `make soak`): a study of two trainings and three notebooks on 54 drawn
faces is killed (SIGKILL) up to three times, each at a random moment of the {seconds:.0f} s that it takes alone, and
then started again by the same command; its tables are compared, byte for byte, with an uninterrupted study's.

| | |
|---|---|
| kills | {sum(tally.kills.values())}: {kills} |
| studies that were killed and finished | {tally.studies} |
| starts that had to be repeated | {tally.again} |
| problems (tables that differ, files or processes that stayed) | {verdict} |
| seed | {seed} |
| processor | {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()} |
"""


@click.command()
@click.option("--kills", default=20, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--out", type=click.Path(path_type=Path), help="The report (default: results/benchmarks/soak.md).")
def main(kills: int, seed: int, out: Path | None) -> None:
    """Kill a small study at random moments and compare."""
    draw, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="fermoe-soak-") as place:
        folder = Path(place)
        study, whole, cache = folder / "soak.yaml", folder / "whole", folder / "cache"
        study.write_text(STUDY)
        finish(study, whole, cache, tally)
        shutil.rmtree(whole)
        started = time.monotonic()
        finish(study, whole, cache, tally)
        span = time.monotonic() - started
        expected = tables(whole)
        click.echo(f"{span:.0f} s uninterrupted, {len(expected)} tables")
        while sum(tally.kills.values()) < kills and len(tally.problems) < 5:
            # Every other study begins without a cache, to be killed while images are made.
            name = f"killed{tally.studies}"
            own = cache if tally.studies % 2 else folder / f"cache{tally.studies}"
            left = kills - sum(tally.kills.values())
            one_study(study, folder / name, own, tally, left, span, draw)
            if tables(folder / name) != expected:
                differing = sorted(k for k, v in expected.items() if tables(folder / name).get(k) != v)
                tally.problems.append(f"{name}: {', '.join(differing) or 'more tables'} differ")
            tally.problems += [f"{name}: {what} stayed" for what in leftovers([folder / name, own])]
            click.echo(f"{sum(tally.kills.values())} kills, {tally.studies} studies, {len(tally.problems)} problems")
            path = out or results_dir() / "benchmarks" / "soak.md"
            write_text(path, report(tally, seed, span, f"python -m tests.soak.kills --kills {kills} --seed {seed}"))
    for problem in tally.problems:
        click.echo(problem, err=True)
    sys.exit(bool(tally.problems))


if __name__ == "__main__":
    main()
