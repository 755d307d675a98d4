"""A study: a YAML file → runs of the notebooks → tables and a report.

A run is one notebook with one set of parameters, executed by papermill in a process of its own. It is done when its
result.json exists and its executed notebook is whole; everything else is run again. A study can be stopped or killed
at any moment and goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fermoe.data.arrays import CROPS
from fermoe.data.datasets import DATASETS, PROTOCOLS
from fermoe.errors import UserError
from fermoe.files import notebooks_dir, results_dir
from fermoe.network.model import VARIANTS, ModelConfig
from fermoe.study.notebooks import is_whole, parameters_of
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TrainConfig
from fermoe.training.runs import TRAINING, StudyResults, finished_runs, read_result
from fermoe.training.train import train

MODEL = "03_model"
ANALYSES_BEFORE = ("01_data", MODEL)
REPORT = "10_report"
EXAMPLE = f"see {notebooks_dir() / 'studies' / 'quick.yaml'}"

# What a study file may set in `training`; the rest of a run's configuration comes from the study's own axes.
TRAINING_KEYS = (
    "normalisation", "weights", "epochs", "patience", "batch_size", "learning_rate", "decay", "label_smoothing",
    "twins",
)  # fmt: skip

RUN_KEYS = ("protocol", "variant", "crop", "test_crop", "normalisation", "augmentation", "twins", "seed")


@dataclass(frozen=True)
class Study:
    """What a study file says. The product of the axes is trained, and besides that of every row of `extra`.

    A row of `extra` names what differs (`RUN_KEYS`); a list stands for each of its values. Without a seed it has the
    study's first.
    """

    name: str
    title: str
    dataset: str
    root: str | None = None
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    model: str = "miniature"
    weights: str = "random"
    protocols: Sequence[str] = ("published", "audited")
    variants: Sequence[str] = ("full",)
    crops: Sequence[str] = ("none",)
    augmentations: Sequence[str] = ("none",)
    seeds: Sequence[int] = (0,)
    training: Mapping[str, Any] = field(default_factory=dict)
    extra: Sequence[Mapping[str, Any]] = ()
    notebooks: Sequence[str] = ()
    analyses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # further parameters, by notebook
    skip_unreadable: bool = False
    threads: int = 0  # of each run; a small network is trained fastest by one thread a run, side by side


@dataclass(frozen=True)
class Run:
    """One notebook with one set of parameters, and the directory it leaves its results in.

    `inputs` is a hash of the trainings that an analysis reads; with others it is not done.
    """

    notebook: str
    id: str
    directory: Path
    parameters: Mapping[str, Any]
    inputs: str = ""

    @property
    def executed(self) -> Path:
        return self.directory / f"{self.notebook}.ipynb"

    @property
    def done(self) -> bool:
        """Both the result and a whole executed notebook: papermill leaves files that look finished after a
        time-out or a dead kernel, so neither alone proves anything."""
        if read_result(self.directory) is None or not is_whole(self.executed):
            return False
        return not self.inputs or (self.seen.exists() and self.seen.read_text() == self.inputs)

    @property
    def seen(self) -> Path:
        """Where the inputs of the last execution are noted."""
        return self.directory / "inputs.txt"


def load_study(name: str, settings: Sequence[str] = ()) -> Study:
    """Read a study by name ("quick") or file, with `--set key=value` settings applied.

    Raises:
        UserError: no such study, not YAML, unknown keys or values.
    """
    path, studies = Path(name), notebooks_dir() / "studies"
    if not name.endswith((".yaml", ".yml")):
        path = studies / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in studies.glob("*.yaml")))
        raise UserError(f"no study '{name}'", where=path, fix=f"choose one of {known}, or give a .yaml file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not a YAML file ({error})", where=path, fix="correct its syntax") from None
    if not isinstance(content, dict):
        raise UserError("the study file holds no keys", where=path, fix=EXAMPLE)
    content.setdefault("name", path.stem)
    for setting in settings:
        _apply(content, setting)
    return _study(content, path)


def _apply(content: dict[str, Any], setting: str) -> None:
    """`key=value` or `key.inner=value`, the value read as YAML."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise UserError(f"--set '{setting}' is not key=value", fix="such as --set seeds=[0,1,2]")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    *outer, last = key.split(".")
    for part in outer:
        inner = content.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set '{setting}': '{part}' holds no keys", fix="name a key of the study file")
        content = inner
    content[last] = value


def _study(content: dict[str, Any], path: Path) -> Study:
    fields = {f.name: f for f in dataclasses.fields(Study)}
    shortcuts = {key: content.pop(key) for key in ("epochs", "batch_size", "learning_rate") if key in content}
    if shortcuts:  # --set epochs=1 is what everyone types
        content["training"] = {**content.get("training", {}), **shortcuts}
    for key in content.keys() - fields.keys():
        raise UserError(f"unknown key '{key}'", where=path, fix=f"known keys: {', '.join(fields)}")
    for key in ("dataset", "title"):
        if not isinstance(content.get(key), str):
            raise UserError(f"key '{key}' is missing", where=path, fix=EXAMPLE)
    for key in ("protocols", "variants", "crops", "augmentations", "seeds", "notebooks"):
        if key in content and not isinstance(content[key], list):
            content[key] = [content[key]]  # one value stands for a list of one
    for key in ("training", "dataset_options", "analyses"):
        if not isinstance(content.get(key) or {}, dict):
            raise UserError(f"key '{key}' holds no keys", where=path, fix="write key: value pairs under it")
        content[key] = content.get(key) or {}
    if content.get("root") is not None:
        content["root"] = str(content["root"])
    study = Study(**content)
    notebooks = tuple(sorted(p.stem for p in notebooks_dir().glob("*.ipynb")))
    allowed = {
        "protocols": PROTOCOLS,
        "variants": tuple(VARIANTS),
        "crops": tuple(CROPS),
        "training": TRAINING_KEYS,
        "notebooks": notebooks,
        "analyses": tuple(name for name in notebooks if name != TRAINING),
    }
    for key, choices in allowed.items():
        for value in getattr(study, key):
            if value not in choices:
                raise UserError(f"unknown '{value}' in {key}", where=path, fix=f"choose from {', '.join(choices)}")
    for name, parameters in study.analyses.items():
        if not isinstance(parameters, dict):
            raise UserError(f"analyses: '{name}' holds no keys", where=path, fix="such as 09_robustness: {images: 500}")
    for row in study.extra:
        for key in row.keys() - set(RUN_KEYS):
            raise UserError(f"unknown key '{key}' in extra", where=path, fix=f"choose from {', '.join(RUN_KEYS)}")
    ModelConfig.named(study.model, num_classes=2)  # says what is wrong with the name
    if study.dataset not in (*DATASETS, "synthetic"):
        raise UserError(f"unknown dataset '{study.dataset}'", where=path, fix=f"choose from {', '.join(DATASETS)}")
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in study.seeds):
        raise UserError(f"seeds are {list(study.seeds)}", where=path, fix="give whole numbers from 0")
    return study


def training_configs(study: Study) -> list[TrainConfig]:
    """Every training of a study, in the order of its axes, each once; by seeds first.

    A study that is stopped half-way then has whole comparisons for its first seeds.
    """
    axes = itertools.product(study.protocols, study.augmentations, study.crops, study.variants, study.seeds)
    keys = ("protocol", "augmentation", "crop", "variant", "seed")
    rows = [dict(zip(keys, values, strict=True)) for values in axes]
    # The authors' code augments nothing: the axis is the audited protocol's alone.
    rows = [row for row in rows if row["protocol"] != "published" or row["augmentation"] == "none"]
    rows += [row for extra in study.extra for row in _product({"seed": study.seeds[0], **extra})]
    rows.sort(key=lambda row: row["seed"] if isinstance(row["seed"], int) else -1)  # a wrong one is refused below
    configs = []
    for row in rows:
        values = {
            **{"dataset": study.dataset, "root": study.root, "dataset_options": study.dataset_options},
            **{"model": study.model, "weights": study.weights, "skip_unreadable": study.skip_unreadable},
            **study.training,
            **row,
        }
        try:
            configs.append(TrainConfig(**values))
        except TypeError:
            raise UserError(f"a value of {row} has the wrong type", fix=EXAMPLE) from None
    return list({config.run_id: config for config in configs}.values())


def _product(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row with lists → the rows of all their values."""
    lists = [value if isinstance(value, list) else [value] for value in row.values()]
    return [dict(zip(row, values, strict=True)) for values in itertools.product(*lists)]


def expand(study: Study, directory: Path) -> list[Run]:
    """All runs of a study in the order they are made: analyses of data and model, trainings, evidence, report."""
    runs = [_analysis(study, directory, name) for name in study.notebooks if name in ANALYSES_BEFORE]
    for config in training_configs(study):
        path = directory / "runs" / config.run_id
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        parameters = {**values, "dataset_options": dict(config.dataset_options), "out": str(path)}
        runs.append(Run(TRAINING, config.run_id, path, parameters))
    later = [n for n in study.notebooks if n not in (*ANALYSES_BEFORE, TRAINING, REPORT)]
    runs += [_analysis(study, directory, name) for name in [*later, *(n for n in study.notebooks if n == REPORT)]]
    for run in runs:
        _check_parameters(run)
    return runs


def _analysis(study: Study, directory: Path, notebook: str) -> Run:
    """An analysis gets those of the study's facts that it has parameters for."""
    path = directory / "runs" / notebook
    offered = {
        "study": str(directory),
        "out": str(path),
        "figures": str(directory / "figures"),
        "dataset": study.dataset,
        "root": study.root or "",
        "dataset_options": dict(study.dataset_options),
        "skip_unreadable": study.skip_unreadable,
        "model": study.model,
    }
    names = parameters_of(notebook)
    fitting = {key: value for key, value in offered.items() if key in names}
    return Run(notebook, notebook, path, {**fitting, **study.analyses.get(notebook, {})})


def open_study(directory: str | Path = "", needs_runs: bool = True) -> StudyResults:
    """A study's results, those of results/quick by default, with finished runs or, without `needs_runs`, with tables.

    Where the quick study has no finished training, as in a fresh checkout, its audited full network is trained first,
    so that every notebook can be read and run alone.

    Raises:
        UserError: the folder of another study has no finished training.
    """
    study = StudyResults(Path(directory) if directory else results_dir() / "quick")
    if not needs_runs and study.table("accuracy") is not None:
        return study
    if not directory and not finished_runs(study.folder):
        configs = training_configs(load_study("quick"))
        config = next(c for c in configs if (c.protocol, c.variant) == ("audited", "full"))
        train(config, study.folder / "runs" / config.run_id, progress=False)
    if not study.runs:
        raise UserError("no finished training", where=study.folder, fix="run the study first: fermoe study NAME")
    if study.table("accuracy") is None:
        rebuild_tables(study.folder)
    return study


def _check_parameters(run: Run) -> None:
    """papermill only warns about unknown parameters and runs the defaults: refuse them before anything runs."""
    for name in run.parameters.keys() - parameters_of(run.notebook):
        raise UserError(f"notebook {run.notebook} has no parameter '{name}'", fix="correct the study file")
