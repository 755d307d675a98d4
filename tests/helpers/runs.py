"""Finished runs for tests: made up in an instant, or really trained on a few drawn faces."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fermoe.metrics import metrics
from fermoe.training.config import TrainConfig
from fermoe.training.predictions import predictions_table, write_predictions
from fermoe.training.runs import FinishedRun, write_result
from fermoe.training.train import train

OPTIONS = {"train": 48, "test": 16}
"""Of the synthetic dataset: as few faces as can be trained on."""

NAMES = ("a", "b", "c")


def make_run(study: Path, images: int = 60, accuracy: float = 0.7, **parameters: object) -> str:
    """A finished run whose predictions are drawn; the test images are the same for every run."""
    config = TrainConfig(**parameters)  # type: ignore[arg-type]
    rng = np.random.default_rng(zlib.crc32(config.run_id.encode()))
    labels = np.arange(images) % 3
    predicted = np.where(rng.random(images) < accuracy, labels, (labels + 1) % 3)
    probabilities = np.full((images, 3), 0.1)
    probabilities[np.arange(images), predicted] = 0.8
    directory = study / "runs" / config.run_id
    table = predictions_table([f"i{k}" for k in range(images)], labels, probabilities, NAMES)
    directory.mkdir(parents=True)
    write_predictions(directory / "predictions.csv", table)
    write_result(
        directory,
        "04_training",
        config.parameters(),
        data={"images": {"train": 100, "validation": 10, "test": images}},
        epochs_run=3,
        best_epoch=2,
        metrics={"test": metrics(labels, predicted, probabilities)},
    )
    return config.run_id


def made_up(name: str = "r", directory: Path = Path("nowhere"), **parameters: Any) -> FinishedRun:
    """A finished run of these parameters, whatever lies in its folder."""
    config = TrainConfig(**parameters)
    return FinishedRun(directory, {"run": name, "parameters": config.parameters()})


def quietly(config: TrainConfig, directory: Path) -> dict[str, Any]:
    return train(config, directory, progress=False)
