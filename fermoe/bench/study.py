"""What a study costs around its trainings: a fixed small study on drawn faces, by phase, beside papermill's own start.

The study is always the same (`SETTINGS` of the quick study), so that the table shows what the kit adds to a run: start,
imports, evaluation and saving. `papermill` is the time of papermill's own command for a notebook that does nothing,
measured in the same call; *ratio* is a run's time outside training over it.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pandas as pd

from fermoe.training.runs import provenance, read_result

SETTINGS = (
    "dataset_options={train: 300, test: 100, framing: scene, occluded: 0}",
    "epochs=1",
    "seeds=[0, 1]",
    "extra=[]",
    "notebooks=[04_training, 05_confusion_matrices, 08_ablations, 09_robustness, 10_report]",
    "analyses={09_robustness: {images: 40}}",
)
PHASES = ("trainings", "evidence", "report")
DONE = re.compile(r"done (\S+) \(([\d.]+) s\)")
"""The line about a run that is done."""
COLUMNS = ("phase", "runs", "slot_seconds", "training_seconds", "outside_seconds", "papermill_seconds", "ratio")


def study_benchmark(workers: int = 2, repeats: int = 3) -> pd.DataFrame:
    """Run the small study's command in a temporary folder: one row per phase.

    Columns: phase, runs, slot_seconds (of all its runs), training_seconds (of epochs, in that), outside_seconds (a run,
    without its epochs), papermill_seconds, ratio, then the machine.
    """
    papermill = statistics.median(_papermill_seconds() for _ in range(repeats))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fermoe.cli", "study", "quick", "--out", folder, "--workers", str(workers)]
        command += [word for setting in SETTINGS for word in ("--set", setting)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        taken = [(run, float(seconds), _epochs(Path(folder) / "runs" / run)) for run, seconds in DONE.findall(said)]
    rows = []
    for phase in PHASES:
        mine = [(seconds, epochs) for run, seconds, epochs in taken if phase_of(run) == phase]
        slots, epochs = (sum(column) for column in zip(*mine, strict=True))
        outside = (slots - epochs) / len(mine)
        rows.append((phase, len(mine), slots, epochs, outside, papermill, outside / papermill))
    hardware = provenance()["hardware"]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(processor=hardware["processor"], cores=hardware["cores"])


def phase_of(run: str) -> str:
    """What a run is for: notebooks go by their number, trainings by what they train on."""
    if run[:2].isdigit():
        return "report" if run.startswith("10") else "evidence"
    return "trainings"


def _epochs(directory: Path) -> float:
    """Seconds that a training spent in its epochs; 0 for an analysis."""
    return float((read_result(directory) or {}).get("seconds", 0))


def _papermill_seconds() -> float:
    """Papermill's command on a notebook of one empty cell: start, imports, kernel, end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing.ipynb"
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")], metadata=kernel)
        nbformat.write(content, path)
        command = [sys.executable, "-m", "papermill", str(path), str(path.with_name("done.ipynb")), "--no-progress-bar"]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - started
