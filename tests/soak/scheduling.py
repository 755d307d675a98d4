"""What the kit adds to each of two hundred runs: a study's time, less the time in which its runs ran.

python -m tests.soak.scheduling     writes its figures into results/benchmarks/soak.md; some ten minutes on two cores

A run's own time begins when its process is started and ends when it ended, and holds the start of papermill and of its
kernel. The rest is what a study does before, between and after its runs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.soak.report import machine, write_section

STUDY = """
title: Two hundred runs with next to nothing to train
dataset: synthetic
dataset_options: {{train: 60, test: 21}}
model: miniature
threads: 1
protocols: [audited]
variants: [backbone]
crops: [none]
seeds: {seeds}
training: {{epochs: 1, patience: 1, batch_size: 32}}
notebooks: [04_training]
"""
DONE = re.compile(r"done \S+ \(([\d.]+) s\)")
"""The line about a run that is done."""
SECTION = """
`python -m tests.soak.scheduling --runs {runs}`: a study of {runs} runs with next to nothing to train,
{workers} at a time.

| | |
|---|---|
| the study, from the command to its end | {total:.0f} s |
| its runs, one after the other | {inside:.0f} s |
| what a run waited, the slots' time less its own | {added:.2f} s |
| machine | {machine} |
"""


@click.command()
@click.option("--runs", default=200, show_default=True)
@click.option("--workers", default=2, show_default=True)
def main(runs: int, workers: int) -> None:
    """Time a study of many small runs."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        file = Path(folder, "many.yaml")
        file.write_text(STUDY.format(seeds=list(range(runs))), encoding="utf-8")
        command = [sys.executable, "-m", "fermoe.cli", "study", str(file), "--out", str(Path(folder, "out"))]
        began = time.monotonic()
        said = subprocess.run([*command, "--workers", str(workers)], check=True, capture_output=True, text=True).stdout
        total = time.monotonic() - began
    taken = [float(seconds) for seconds in DONE.findall(said)]
    if len(taken) != runs:
        raise SystemExit(f"{len(taken)} of {runs} runs are done:\n{said[-2000:]}")
    added = (workers * total - sum(taken)) / runs
    numbers = {"runs": runs, "workers": workers, "total": total, "inside": sum(taken), "added": added}
    path = write_section("Two hundred runs", SECTION.format(**numbers, machine=machine()))
    print(f"{added:.2f} s a run beside its own time; written to {path}")


if __name__ == "__main__":
    main()
