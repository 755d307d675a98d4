"""Kills a small study at random moments and compares its tables with those of an uninterrupted one.

python -m tests.soak.kills --kills 20                   on drawn faces
python -m tests.soak.kills --kills 20 --fer2013 DIR     on 210 images of FER-2013

Both write their figures into results/benchmarks/soak.md and exit with 1 where anything differs. The parent alone is
killed, its process group, or the whole tree, in turn; then the same command is started again.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from fermoe.files import temporary_prefix
from tests.soak.report import machine, write_section

STUDY = """
title: A study to be killed
dataset: {dataset}
protocols: [audited]
variants: [backbone]
crops: [blazeface]
seeds: [0, 1]
threads: 1
training: {{epochs: 1, batch_size: 8, learning_rate: 0.001}}
notebooks: [05_confusion_matrices, 10_report]
"""
DRAWN = "synthetic\ndataset_options: {train: 40, test: 14}"
EACH = {"train": 20, "test": 10}
"""How many images of FER-2013 are taken of every class."""
WAYS = ("parent", "group", "tree")
MOST = 5  # starts of one command until it ends well
GRACE = 30.0  # seconds for what was orphaned to notice
TEMPORARY = temporary_prefix("*").rsplit("-", 2)[0] + "-*-*"


@dataclass
class Tally:
    """What happened so far."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    studies: int = 0
    again: int = 0  # starts that ended with an error, such as a run still locked by an orphan, and were repeated
    problems: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        return sum(self.kills.values())


@dataclass(frozen=True)
class Place:
    """Where a study, its cache and its temporary files are; the whole of it is in the folder of the soak."""

    study: Path
    out: Path
    cache: Path

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fermoe.cli", "study", str(self.study), "--out", str(self.out)]
        environment = {**os.environ, "FERMOE_CACHE": str(self.cache), "TMPDIR": str(self.temporary)}
        self.temporary.mkdir(exist_ok=True)
        options = ["--workers", "2", "--quiet"]
        log = self.out.with_suffix(".log")
        with log.open("ab") as said:
            return subprocess.Popen([*command, *options], start_new_session=True, env=environment, stderr=said)

    @property
    def temporary(self) -> Path:
        return self.out.with_suffix(".tmp")

    def finish(self, tally: Tally) -> None:
        """Start the command until it ends well."""
        for attempt in range(MOST):
            if self.start().wait() == 0:
                return
            tally.again += 1
            time.sleep(1 + attempt)
        tally.problems.append(f"{self.out.name}: not finished after {MOST} starts")

    def tables(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.out / "tables").glob("*.csv"))}

    def leftovers(self) -> list[str]:
        """Temporary files of killed processes, and processes that still work for the study."""
        deadline = time.monotonic() + GRACE
        while True:
            files = [*self.temporary.iterdir()]
            files += [path for folder in (self.out, self.cache) for path in folder.rglob(TEMPORARY)]
            found = [*map(str, files), *self._processes()]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.5)

    def _processes(self) -> Iterator[str]:
        for process in psutil.process_iter(["pid", "name"]):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("FERMOE_CACHE") == str(self.cache):
                    yield f"process {process.pid} ({' '.join(process.cmdline())[:80]})"


def kill(process: subprocess.Popen[bytes], way: str) -> None:
    """SIGKILL, which nothing can catch."""
    family = psutil.Process(process.pid).children(recursive=True) if way == "tree" else []
    if way == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def kill_and_finish(place: Place, tally: Tally, kills: int, span: float, draw: random.Random) -> None:
    """Kill a study up to three times, each at a moment of what an uninterrupted one takes, then let it end."""
    for _ in range(min(3, kills)):
        process, way = place.start(), WAYS[tally.killed % len(WAYS)]
        try:
            process.wait(draw.uniform(0, span))
            break  # it was faster
        except subprocess.TimeoutExpired:
            kill(process, way)
            tally.kills[way] += 1
    place.finish(tally)
    tally.studies += 1


def report(tally: Tally, images: str, seed: int, seconds: float, command: str) -> str:
    kills = ", ".join(f"{count} of the {way}" for way, count in tally.kills.items())
    verdict = "none" if not tally.problems else "; ".join(tally.problems)
    return f"""
`{command}`: a study of two trainings and two notebooks on {images}
is killed (SIGKILL) up to three times, each at a random moment of the {seconds:.0f} s that it takes alone, and then
started again by the same command; its tables are compared, byte for byte, with an uninterrupted study's.

| | |
|---|---|
| kills | {tally.killed}: {kills} |
| studies that were killed and finished | {tally.studies} |
| starts that had to be repeated | {tally.again} |
| problems (tables that differ, files or processes that stayed) | {verdict} |
| seed of the moments | {seed} |
| machine | {machine()} |
"""


def sample(root: Path, folder: Path) -> Path:
    """Links to the first images of every class of FER-2013, laid out as it is."""
    for split, count in EACH.items():
        for label in sorted(path for path in (root / split).iterdir() if path.is_dir()):
            (folder / split / label.name).mkdir(parents=True)
            for image in sorted(label.iterdir())[:count]:
                (folder / split / label.name / image.name).symlink_to(image.resolve())
    return folder


@click.command()
@click.option("--kills", default=20, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--fer2013", "root", type=click.Path(path_type=Path), help="The folder of FER-2013.")
def main(kills: int, seed: int, root: Path | None) -> None:
    """Kill a small study at random moments and compare."""
    draw, tally = random.Random(seed), Tally()
    command = f"python -m tests.soak.kills --kills {kills} --seed {seed}" + (" --fer2013 DIR" if root else "")
    title = "Kills on FER-2013" if root else "Kills"
    images = "210 images of FER-2013" if root else "54 drawn faces"
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        study = folder / "soak.yaml"
        study.write_text(STUDY.format(dataset=f"fer2013\nroot: {sample(root, folder / 'fer')}" if root else DRAWN))
        whole = Place(study, folder / "whole", folder / "cache")
        whole.finish(tally)
        shutil.rmtree(whole.out)
        started = time.monotonic()
        whole.finish(tally)
        span, expected = time.monotonic() - started, whole.tables()
        click.echo(f"{span:.0f} s uninterrupted, {len(expected)} tables")
        while tally.killed < kills and len(tally.problems) < 5:
            # Every other study begins without a cache, to be killed while images are made.
            number = tally.studies
            place = Place(study, folder / f"killed{number}", whole.cache if number % 2 else folder / f"cache{number}")
            kill_and_finish(place, tally, kills - tally.killed, span, draw)
            if (found := place.tables()) != expected:
                differing = sorted(name for name in expected | found if found.get(name) != expected.get(name))
                tally.problems.append(f"{place.out.name}: {', '.join(differing)} differ")
            tally.problems += [f"{place.out.name}: {what} stayed" for what in place.leftovers()]
            click.echo(f"{tally.killed} kills, {tally.studies} studies, {len(tally.problems)} problems")
            write_section(title, report(tally, images, seed, span, command))
        for problem in tally.problems:
            click.echo(problem, err=True)
        if tally.problems:
            for log in sorted(folder.glob("*.log")):
                click.echo(f"{log.name}\n{log.read_text(errors='replace')}", err=True)
    sys.exit(bool(tally.problems))


if __name__ == "__main__":
    main()
