"""What a run leaves behind, and how it is read again: `FinishedRun`.

A run is a directory whose result.json, written last, says that it is done and how it was made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from fermoe.data.arrays import CONTROLS
from fermoe.errors import UserError
from fermoe.files import checkout, digest, write_json
from fermoe.schema import checked
from fermoe.training.config import TrainConfig
from fermoe.training.predictions import read_predictions

TRAINING = "04_training"
"""The notebook whose runs are trainings; every other one is an analysis of them."""

RESULT, HISTORY, PREDICTIONS = "result.json", "history.csv", "predictions.csv"
VALIDATION, EPOCHS = "validation.csv", "epochs.npz"
WEIGHTS, CHECKPOINT = "best.safetensors", "last.pt"
"""The files of a training's folder: what it was, its epochs' measures, its answers on test and on validation images,
what those were after every epoch, its best weights, and while it runs what it goes on from."""

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "mediapipe", "papermill")


def write_result(directory: str | Path, notebook: str, parameters: dict[str, Any], **results: Any) -> dict[str, Any]:
    """Write `result.json`, the last act of a run: parameters, results, and where and with what they were made."""
    result = {"run": Path(directory).name, "notebook": notebook, "parameters": parameters, **results, **provenance()}
    write_json(Path(directory) / RESULT, result)
    return result


def read_result(directory: str | Path) -> dict[str, Any] | None:
    """The run's result, or None where there is none yet or it cannot be read (then the run is done again)."""
    try:
        result = json.loads((Path(directory) / RESULT).read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) and isinstance(result.get("parameters"), dict) else None


@dataclass(frozen=True)
class SplitSizes:
    """How many images a training had, by split."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class TrainingResult:
    """What a training's result.json holds for those who read it; it holds more, for people."""

    run: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float | None]]
    data: Mapping[str, Any]
    epochs_run: int
    best_epoch: int


KEY = ("dataset", "protocol", "variant", "crop", "pipeline", "twins", "precision", "composition", "seed")
"""What names a run in every table; `SETTING` is what runs that differ in their seed alone have in common."""
SETTING = KEY[:-1]
AXES = ("dataset", "protocol", "variant", "crop", "test_crop", "pipeline", "twins", "precision", "composition")
"""What both sides of a comparison have in common, but for the axis it is about: `SETTING`, and how they were tested."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished training, as its folder tells it: the content of result.json, and the predictions beside it."""

    directory: Path
    result: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The run's id, which tables cite."""
        return str(self.result["run"])

    @functools.cached_property
    def config(self) -> TrainConfig:
        """How it was trained; where its data and initial weights lay is not kept."""
        given = _known(TrainConfig, self.result["parameters"])
        if "precision" not in given and given.get("model") == "miniature":
            given["model"] = "first_miniature"  # runs name their precision since there is another miniature
        given = {"twins": "kept", **given}  # what a run does not mention (`TrainConfig.parameters`)
        return checked(TrainConfig, given, where=self.directory)

    @property
    def key(self) -> dict[str, Any]:
        """The columns `KEY` of its rows in every table."""
        return {name: getattr(self.config, name) for name in KEY}

    @property
    def is_control(self) -> bool:
        """Whether its faces were painted over on purpose: it shows what is learned without a face."""
        return self.config.crop in CONTROLS

    @property
    def weights(self) -> Path:
        """The file of its weights.

        Raises:
            UserError: it is not there: packs leave weights out.
        """
        path = self.directory / WEIGHTS
        if not path.exists():
            raise UserError("the run's weights are not there", where=path, fix="run its study again to train it")
        return path

    @functools.cached_property
    def predictions(self) -> pd.DataFrame:
        """Its predictions.csv: one row per test image."""
        return read_predictions(self.directory / PREDICTIONS)

    @functools.cached_property
    def correct(self) -> pd.Series:
        """Whether each test image was classified correctly, by image id."""
        table = self.predictions
        return pd.Series((table["label"] == table["predicted"]).to_numpy(), index=table["image"])


def finished_runs(study_dir: str | Path) -> list[FinishedRun]:
    """A study's finished trainings, by run id.

    Runs that other settings once left in the same folder are not the study's: runs/study.json lists those that are.

    Raises:
        UserError: a result.json holds something else than a training's result.
    """
    runs = Path(study_dir) / "runs"
    mine = study_listing(study_dir).get("runs")
    found = []
    for path in sorted(runs.glob(f"*/{RESULT}")):
        if mine is None or path.parent.name in mine:
            found.append(finished_run(path.parent))
    return [run for run in found if run is not None]


def finished_run(directory: Path) -> FinishedRun | None:
    """The finished training of a folder, None where there is none.

    Raises:
        UserError: its result.json holds something else than a training's result.
    """
    result, path = read_result(directory), directory / RESULT
    if result is None or result.get("notebook") != TRAINING:
        return None
    checked(TrainingResult, _known(TrainingResult, result), where=path)
    images = result["data"].get("images")
    checked(SplitSizes, images if isinstance(images, dict) else {}, where=path)
    return FinishedRun(directory, result)


def _known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the dataclass has fields for: a later version may have written more."""
    return {field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values}


def study_listing(study_dir: str | Path) -> dict[str, Any]:
    """What runs/study.json says of its study, its name and its runs; nothing where it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        content = json.loads((Path(study_dir) / "runs" / "study.json").read_text(encoding="utf-8"))
        if isinstance(content, dict) and all(isinstance(name, str) for name in content.get("runs", [])):
            return content
    return {}


def main_setting(runs: Sequence[FinishedRun], protocol: str | None = None) -> list[FinishedRun]:
    """The runs that a comparison of variants takes: those of the protocol's `largest_setting`, without controls.

    Each network may have a learning rate of its own; of several it is the one that `at_one_rate` takes.

    Without a protocol it is the audited one, where it has any run.
    """
    faces = [run for run in at_one_rate(runs) if not run.is_control]
    if protocol is None:
        protocol = "audited" if any(run.config.protocol == "audited" for run in faces) else "published"
    mine = [run for run in faces if run.config.protocol == protocol]
    settings = [
        digest({k: v for k, v in run.config.parameters().items() if k not in ("variant", "seed", "learning_rate")}, 64)
        for run in mine
    ]
    plain = [run.config.follows_protocol and run.config.augmentation == "none" for run in mine]
    return [mine[at] for at in largest_setting(settings, [run.config.variant for run in mine], plain)]


def at_one_rate(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Of the runs of one network and setting that differ in the learning rate, those of one rate; in their order.

    No comparison is named by its rate. Which rate it is, `places_at_one_rate` says.
    """
    networks = [tuple(getattr(run.config, name) for name in AXES) for run in runs]
    rates = [(run.config.variant, run.config.learning_rate) for run in runs]
    return [runs[at] for at in places_at_one_rate(networks, rates)]


def places_at_one_rate(networks: Sequence[Hashable], rates: Sequence[tuple[str, float]]) -> list[int]:
    """The places of the runs that `at_one_rate` keeps.

    `networks` are, by run, its network and setting, all but the seed; `rates` its (variant, learning rate). A network's
    rates rank by the number of settings in which it was trained with them, then by its runs, then by all
    runs, then by size; every setting takes the first that it has.
    """
    tried: dict[Hashable, set[tuple[str, float]]] = {}
    for network, rate in zip(networks, rates, strict=True):
        tried.setdefault(network, set()).add(rate)
    settings = Counter(rate for each in tried.values() for rate in each)
    of_each, of_all = Counter(rates), Counter(rate for _, rate in rates)
    first = {
        network: max(each, key=lambda rate: (settings[rate], of_each[rate], of_all[rate[1]], rate[1]))
        for network, each in tried.items()
    }
    return [at for at, (network, rate) in enumerate(zip(networks, rates, strict=True)) if rate == first[network]]


def example_runs(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The run that stands for each protocol in figures: of `main_setting`, the full network's first seed."""
    found = []
    for protocol in dict.fromkeys(run.config.protocol for run in runs):
        # Without a full network it is the first variant's first seed, with nothing but controls one of those.
        chosen = main_setting(runs, protocol) or [run for run in runs if run.config.protocol == protocol]
        found += sorted(chosen, key=lambda run: (run.config.variant != "full", run.config.seed))[:1]
    return found


def compared_protocol(runs: Sequence[FinishedRun], asked: str) -> str:
    """The protocol in which variants can be compared: the one that was asked for where it has a run, else the other.

    Raises:
        UserError: every run is a control.
    """
    found = [run.config.protocol for run in runs if not run.is_control]
    if not found:
        raise UserError("the finished trainings are controls alone", fix="train on a crop that keeps the face")
    return asked if asked in found else found[0]


def largest_setting(settings: Sequence[Hashable], variants: Sequence[str], plain: Sequence[bool]) -> list[int]:
    """Which of some runs to compare: the positions of those that share one setting, by run.

    It is the setting that has the full network, then most variants, then the protocol's own input without augmentation
    (`plain`), then most runs, then the first.
    """
    groups: dict[Hashable, list[int]] = {}
    for at, setting in enumerate(settings):
        groups.setdefault(setting, []).append(at)

    def rank(group: list[int]) -> tuple[bool, int, bool, int]:
        found = {variants[at] for at in group}
        return "full" in found, len(found), plain[group[0]], len(group)

    return max(groups.values(), key=rank, default=[])


@dataclass(frozen=True, eq=False)
class StudyResults:
    """A study's folder of results: runs/, tables/, figures/, report.html."""

    folder: Path

    @functools.cached_property
    def runs(self) -> list[FinishedRun]:
        return finished_runs(self.folder)

    @property
    def name(self) -> str:
        """The name of the study that made the folder, "" where that is not known."""
        return str(study_listing(self.folder).get("study", ""))

    def analysis(self, notebook: str) -> dict[str, Any] | None:
        """The result of an analysis notebook, None where it has none."""
        return read_result(self.folder / "runs" / notebook)

    def table(self, name: str) -> pd.DataFrame | None:
        """The table of that name, None where it has none. "none" stays a word, an empty cell is NaN."""
        path = self.folder / "tables" / f"{name}.csv"
        if not path.exists():
            return None
        return pd.read_csv(path, keep_default_na=False, na_values=[""], encoding_errors="surrogateescape")


@functools.cache
def _environment() -> dict[str, Any]:
    import torch

    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "code": {"fermoe": version("fermoe"), "commit": _commit()},
        "versions": {"python": platform.python_version(), **versions},
        "hardware": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpu": gpu,
        },
    }


def provenance() -> dict[str, Any]:
    """Code version, package versions and hardware of this process."""
    import torch

    environment = _environment()
    return {**environment, "hardware": {**environment["hardware"], "threads": torch.get_num_threads()}}


def _commit() -> str | None:
    """The checkout's commit, with "+" where tracked files were changed since; None outside a checkout."""
    root = checkout()
    if root is None:
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def running_in_notebook() -> bool:
    """Whether this is a Jupyter kernel: progress bars redraw badly in saved outputs."""
    return "ipykernel" in sys.modules
