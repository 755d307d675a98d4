"""Trains the same small runs in one process and in two, with dropout on and norms training, and compares accuracies.

python -m tests.soak.processes     writes its figures into results/benchmarks/soak.md; a few minutes on two cores

They are different trainings (each process draws its own dropout and normalises by its own half of a batch), so that
only their mean over seeds can agree.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

from fermoe.stats import mean_interval
from fermoe.training.config import TrainConfig
from fermoe.training.runs import read_result
from fermoe.training.train import train
from tests.soak.report import machine, write_section

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SETTINGS = {"variant": "backbone", "crop": "blazeface", "batch_size": 16, "learning_rate": 0.005, "decay": 0.8}
OPTIONS = {"train": 2000, "test": 500, "framing": "scene", "occluded": 0}
EPOCHS = 5


def configuration(seed: int) -> TrainConfig:
    return TrainConfig(dataset_options=OPTIONS, seed=seed, epochs=EPOCHS, **SETTINGS)


def accuracies(folder: Path, seeds: int, *launcher: str) -> np.ndarray:
    """Test accuracies by seed of runs that `launcher` starts."""
    command = [sys.executable, *(launcher or ("-m",)), *(["--module"] if launcher else []), __spec__.name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    found = []
    for seed in range(seeds):
        into = folder / str(seed)
        subprocess.run([*command, "--train", str(seed), "--into", str(into)], check=True, env=environment)
        result = read_result(into) or {}
        assert result["processes"] == (2 if launcher else 1)
        found.append(result["metrics"]["test"]["accuracy"])
    return np.array(found)


def report(one: np.ndarray, two: np.ndarray, seeds: int) -> str:
    mean, low, high = (100 * value for value in mean_interval(two - one))
    row = "| {} | {:.1f} | {:.1f} | {:.1f} to {:.1f} |"
    rows = [
        row.format(name, *(100 * v for v in (values.mean(), values.std(ddof=1), values.min(), values.max())))
        for name, values in (("one process", one), ("two processes (gloo)", two))
    ]
    return f"""
`python -m tests.soak.processes --seeds {seeds}`: the miniature's backbone on {OPTIONS["train"]} drawn faces,
{EPOCHS} epochs, batches of {SETTINGS["batch_size"]}, dropout on and norms training, in one process and in
two that share each batch; the accuracy on {OPTIONS["test"]} test images in per cent, over {seeds} seeds.

| | mean | standard deviation | lowest to highest |
|---|---|---|---|
{chr(10).join(rows)}

Two processes − one, paired by seed: {mean:+.1f} points, 95 % interval [{low:+.1f}, {high:+.1f}]. ({machine()})
"""


@click.command()
@click.option("--seeds", default=8, show_default=True)
@click.option("--train", "seed", type=int, help="Train this seed and compare nothing.")
@click.option("--into", type=click.Path(path_type=Path), default=".", help="Where --train leaves its run.")
def main(seeds: int, seed: int | None, into: Path) -> None:
    """Compare runs in one process with runs in two."""
    if seed is not None:
        train(configuration(seed), into, progress=False)
        return
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        one = accuracies(Path(folder) / "one", seeds)
        two = accuracies(Path(folder) / "two", seeds, *TORCHRUN)
    text = report(one, two, seeds)
    click.echo(text)
    write_section("Two processes", text)


if __name__ == "__main__":
    main()
