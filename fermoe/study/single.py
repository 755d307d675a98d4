"""A single training from the command line, for people who do not want a study."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fermoe.files import results_dir
from fermoe.study.plan import single_training
from fermoe.training.config import TrainConfig
from fermoe.training.distributed import is_first
from fermoe.training.train import train

FOLDER = "single"
"""In results/, a study's folder without a study: `fermoe tables single` makes its tables."""


def train_single(settings: Sequence[str], out: Path | None) -> int:
    """Train what `key=value` settings say, and print what was done, how good it is and where it lies."""
    config = single_training(settings)
    directory = out or results_dir() / FOLDER / "runs" / config.run_id
    where = f" from {config.root}" if config.root else ""
    say = click.echo if is_first() else _nothing  # under torchrun all processes come by here
    say(f"{config.variant} network '{config.model}' on {config.dataset}{where}, at most {config.epochs} epochs")
    result = train(config, directory, progress=sys.stderr.isatty() and is_first())
    for line in _said(config, result, directory):
        say(line)
    return 0


def _nothing(line: str) -> None:
    """What a process says that is not the first of its run."""


def _said(config: TrainConfig, result: dict[str, Any], directory: Path) -> list[str]:
    images, test = result["data"]["images"], result["metrics"]["test"]
    interval = f"[{100 * test['ci_low']:.1f}, {100 * test['ci_high']:.1f}]"
    return [
        f"{images['train']} images to train on, {images['validation']} to validate, {images['test']} to test; "
        f"{config.protocol} protocol, crop {config.crop}, pipeline {config.pipeline}, seed {config.seed}",
        f"{result['epochs_run']} epochs in {result['seconds']:.0f} s, the best one {result['best_epoch']}; "
        f"{result['model_parameters']:,} parameters",
        f"test accuracy {100 * test['accuracy']:.1f} % {interval}, {test['correct']} of {test['images']}",
        f"run: {directory}",
        f"next: fermoe predict PICTURES --run {directory}; fermoe export {directory}",
    ]
