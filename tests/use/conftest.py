"""A small network, really trained on a few drawn faces, its faces as files, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fermoe.training.config import TrainConfig
from fermoe.training.inference import TrainedRun, open_run
from fermoe.training.runs import FinishedRun, read_result
from fermoe.use.trained import Trained, export_run, load_run
from tests.helpers.runs import quietly


@dataclass(frozen=True)
class Example:
    """A finished run, opened as notebooks open it and as `fermoe predict` does, and its test faces as PNG files."""

    run: FinishedRun
    opened: TrainedRun
    trained: Trained
    weights: Path
    faces: list[str]


def make_example(folder: Path, framing: str = "scene", **parameters: Any) -> Example:
    options = {"train": 60, "test": 28, "framing": framing}
    config = TrainConfig(dataset_options=options, epochs=1, learning_rate=0.005, **parameters)
    directory = folder / "runs" / config.run_id
    quietly(config, directory)
    run = FinishedRun(directory, read_result(directory) or {})
    trained = load_run(directory)
    weights, _ = export_run(trained, folder / "mine.safetensors")
    opened = open_run(run)
    faces, paths = folder / "faces", []
    faces.mkdir()
    for row in opened.rows():
        path = faces / f"{Path(opened.data.table['image'].iloc[row]).name}.png"
        Image.fromarray(opened.data.dataset.read(int(row))).save(path)
        paths.append(str(path))
    return Example(run, opened, trained, weights, paths)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make_example(tmp_path_factory.mktemp("use"), crop="blazeface")
