"""A study: a YAML file → runs of the notebooks → tables and a report.

A run is one notebook with one set of parameters, executed by papermill in a process of its own. It is done when its
result.json exists and its executed notebook is whole; everything else is run again. A study can be stopped or killed
at any moment and goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from fermoe.data.arrays import CROPS
from fermoe.data.composition import COMPOSITIONS
from fermoe.data.datasets import DATASETS, PROTOCOLS, check_options
from fermoe.data.transforms import AUGMENTATIONS, NORMALISATIONS
from fermoe.errors import UserError, shortened
from fermoe.files import digest, notebooks_dir, results_dir
from fermoe.network.model import SIZES
from fermoe.network.variants import RENAMED, VARIANTS
from fermoe.schema import Whole, checked, one_of, parse_yaml
from fermoe.study.archive import NAME, unpack
from fermoe.study.notebooks import is_whole, parameters_of
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TWINS, TrainConfig
from fermoe.training.precision import PRECISIONS
from fermoe.training.runs import TRAINING, StudyResults, finished_runs, read_result, study_listing
from fermoe.training.train import train

MODEL = "03_model"
ANALYSES_BEFORE = ("01_data", MODEL)
REPORT = "10_report"
APART = ("11_fer2013", "12_try_a_face")
"""Notebooks about several studies or a reader's own pictures, which leave no result: no study executes them."""
EXAMPLE = f"see {notebooks_dir() / 'studies' / 'quick.yaml'}"

# What a study file may set in `training`; the rest of a run's configuration comes from the study's own axes.
TRAINING_KEYS = (
    "normalisation", "weights", "epochs", "patience", "batch_size", "learning_rate", "decay", "label_smoothing",
    "twins", "precision", "composition",
)  # fmt: skip

SINGLE_KEYS = (
    "dataset", "root", "dataset_options", "model", "weights", "skip_unreadable", "training", "epochs", "batch_size",
)  # fmt: skip
"""What of a study file, besides a row of `extra`, says something about a single training."""

DatasetName = Annotated[str, one_of(lambda: DATASETS)]
Size = Annotated[str, one_of(lambda: SIZES)]
TrainingKey = Annotated[str, one_of(lambda: TRAINING_KEYS)]
Protocol = Annotated[str, one_of(lambda: PROTOCOLS)]
VariantName = Annotated[str, one_of(lambda: [*VARIANTS, *RENAMED])]
Crop = Annotated[str, one_of(lambda: CROPS)]
Normalisation = Annotated[str, one_of(lambda: NORMALISATIONS)]
AugmentationName = Annotated[str, one_of(lambda: AUGMENTATIONS)]
Twins = Annotated[str, one_of(lambda: TWINS)]
PrecisionName = Annotated[str, one_of(lambda: PRECISIONS)]
Composition = Annotated[str, one_of(lambda: COMPOSITIONS)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Notebook = Annotated[str, one_of(lambda: notebook_names())]
Analysis = Annotated[str, one_of(lambda: [name for name in notebook_names() if name != TRAINING])]


@dataclass(frozen=True)
class ExtraRow:
    """A row of a study's `extra`: what differs from the study's defaults, every value in a list."""

    protocol: Sequence[Protocol] = ()
    variant: Sequence[VariantName] = ()
    crop: Sequence[Crop] = ()
    test_crop: Sequence[Crop] = ()
    normalisation: Sequence[Normalisation] = ()
    augmentation: Sequence[AugmentationName] = ()
    twins: Sequence[Twins] = ()
    precision: Sequence[PrecisionName] = ()
    composition: Sequence[Composition] = ()
    learning_rate: Sequence[Positive] = ()
    seed: Sequence[Seed] = ()


@dataclass(frozen=True)
class Study:
    """What a study file says. The product of the axes is trained, and besides that of every row of `extra`.

    A row of `extra` names what differs (`ExtraRow`); a list stands for each of its values. Without a seed it has the
    study's first.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    title: Annotated[str, Field(min_length=1)]
    dataset: DatasetName
    root: str | None = None
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    model: Size = "miniature"
    weights: str = "random"
    protocols: Sequence[Protocol] = ("published", "audited")
    variants: Sequence[VariantName] = ("full",)
    crops: Sequence[Crop] = ("none",)
    augmentations: Sequence[AugmentationName] = ("none",)
    seeds: Annotated[Sequence[Seed], Field(min_length=1)] = (0,)
    training: Mapping[TrainingKey, Any] = field(default_factory=dict)
    extra: Sequence[Mapping[str, Any]] = ()
    notebooks: Sequence[Notebook] = ()
    analyses: Mapping[Analysis, Mapping[str, Any]] = field(default_factory=dict)  # further parameters, by notebook
    skip_unreadable: bool = False
    threads: Whole = 0  # of each run; a small network is trained fastest by one thread a run, side by side
    timeout: Annotated[float, Field(gt=0, le=10**6)] | None = None  # minutes that a run may take; none: as it takes


def notebook_names() -> list[str]:
    """The notebooks that a study may execute."""
    return sorted(path.stem for path in notebooks_dir().glob("*.ipynb") if path.stem not in APART)


@dataclass(frozen=True)
class Run:
    """One notebook with one set of parameters, and the directory it leaves its results in.

    `inputs` is a hash of what an analysis is about; made from other inputs it is not done.
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
    def made(self) -> bool:
        """Both the result and a whole executed notebook: papermill leaves files that look finished after a
        time-out or a dead kernel, so neither alone proves anything."""
        return read_result(self.directory) is not None and is_whole(self.executed)

    @property
    def done(self) -> bool:
        """Whether it was made from the inputs that it would have now."""
        return self.made and (not self.inputs or (self.seen.exists() and self.seen.read_text() == self.inputs))

    @property
    def failure(self) -> Path:
        """Where it is noted why the last execution failed; there is none after one that did not."""
        return self.directory / "failed.json"

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
        content = parse_yaml(path.read_text(encoding="utf-8"), path)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"not a YAML file ({error})", where=path, fix="correct its syntax") from None
    if not isinstance(content, dict):
        raise UserError("the study file holds no keys", where=path, fix=EXAMPLE)
    for setting in settings:
        _apply(content, setting)
    return _study(content, path)


def _apply(content: dict[str, Any], setting: str) -> None:
    """`key=value` or `key.inner=value`, the value read as YAML."""
    key, equals, text = setting.partition("=")
    shown = shortened(setting)
    if not equals or not key:
        raise UserError(f"'{shown}' is not key=value", fix="such as seed=1")
    try:
        value = parse_yaml(text, shown)
    except yaml.YAMLError:
        value = text
    *outer, last = key.split(".")
    for part in outer:
        content.setdefault(part, None)
        if content[part] is None:
            content[part] = {}
        if not isinstance(content[part], dict):
            raise UserError(f"'{shown}': '{shortened(part)}' holds no keys", fix="name a key of the study file")
        content = content[part]
    content[last] = value


def _study(content: dict[str, Any], path: Path) -> Study:
    """The checked study of a file's content; a key without a value is as if it were not there."""
    content = {"name": path.stem, **{key: value for key, value in content.items() if value is not None}}
    for key in ("protocols", "variants", "crops", "augmentations", "seeds", "notebooks"):
        if key in content:
            content[key] = _listed(content[key])  # one value stands for a list of one
    shortcuts = {
        key: content.pop(key) for key in ("epochs", "batch_size", "learning_rate", "precision") if key in content
    }
    if shortcuts and isinstance(content.get("training", {}), dict):
        content["training"] = {**content.get("training", {}), **shortcuts}
    for key in ("root", "weights"):
        if type(content.get(key)) in (int, float):
            content[key] = str(content[key])  # a folder may be called 2013
    study = checked(Study, content, where=path)
    for number, row in enumerate(study.extra):
        checked(ExtraRow, {key: _listed(value) for key, value in row.items()}, where=f"{path}, extra {number + 1}")
    if Path(study.name).name != study.name or study.name == ".." or not study.name.isprintable():
        raise UserError(f"the name '{shortened(study.name)}' is no folder's", where=path, fix="give a plain name")
    check_options(study.dataset, study.dataset_options)
    training = dict(study.training)
    if isinstance(training.get("weights"), str):
        training["weights"] = _absolute_weights(training["weights"])
    root = None if study.root is None else str(Path(study.root).expanduser().absolute())
    return replace(study, root=root, weights=_absolute_weights(study.weights), training=training)


def single_training(settings: Sequence[str]) -> TrainConfig:
    """One training from `key=value` settings: keys of a study file that has a single row of `extra`, and of that row.

    Raises:
        UserError: a key or value that cannot stand there, or several values for one key.
    """
    content: dict[str, Any] = {}
    for setting in settings:
        _apply(content, setting)
    row = {f.name: content.pop(f.name) for f in dataclasses.fields(ExtraRow) if f.name in content}
    for key in content.keys() - SINGLE_KEYS:
        known = ", ".join((*SINGLE_KEYS, *(f.name for f in dataclasses.fields(ExtraRow))))
        raise UserError(f"unknown key '{shortened(key)}'", fix=f"choose from {known}")
    axes: dict[str, Any] = {"protocols": [], "variants": [], "crops": [], "augmentations": []}
    study = {"dataset": "synthetic", **content, **axes, "title": "one training", "extra": [row]}
    configs = training_configs(_study(study, Path("single")))
    if len(configs) != 1:
        raise UserError(f"these settings make {len(configs)} trainings", fix="give one value per key, or run a study")
    return configs[0]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _absolute_weights(weights: str) -> str:
    """Runs work in another folder than the one in which a path was typed."""
    kind, colon, path = weights.partition(":")
    return f"{kind}:{Path(path).expanduser().absolute()}" if path else f"{kind}{colon}"


def training_configs(study: Study) -> list[TrainConfig]:
    """Every training of a study, in the order of its axes, each once; by seeds first.

    A study that is stopped half-way then has whole comparisons for its first seeds.
    """
    axes: Iterable[tuple[Any, ...]] = itertools.product(
        study.protocols, study.augmentations, study.crops, study.variants, study.seeds
    )
    keys = ("protocol", "augmentation", "crop", "variant", "seed")
    rows = [dict(zip(keys, values, strict=True)) for values in axes]
    # The authors' code augments nothing: the axis is the audited protocol's alone.
    rows = [row for row in rows if row["protocol"] != "published" or row["augmentation"] == "none"]
    rows += [row for extra in study.extra for row in _product({"seed": study.seeds[0], **extra})]
    rows.sort(key=lambda row: row["seed"])
    configs: list[TrainConfig] = []
    for row in rows:
        values = {
            **{"dataset": study.dataset, "root": study.root, "dataset_options": study.dataset_options},
            **{"model": study.model, "weights": study.weights, "skip_unreadable": study.skip_unreadable},
            **study.training,
            **row,
        }
        configs.append(checked(TrainConfig, values, where=f"a training of '{study.name}'"))
    return list({config.run_id: config for config in configs}.values())


def _product(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row with lists → the rows of all their values."""
    return [dict(zip(row, values, strict=True)) for values in itertools.product(*map(_listed, row.values()))]


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
    _check_parameters(runs)
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
    parameters = {**fitting, **study.analyses.get(notebook, {})}
    return Run(notebook, notebook, path, parameters, inputs=digest(parameters))


def phases(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by what they wait for: trainings, the evidence that sees all of them, the report that sees all evidence."""
    first = [run for run in runs if run.notebook in (*ANALYSES_BEFORE, TRAINING)]
    first.sort(key=lambda run: run.notebook == MODEL)  # short, and nothing waits for it: it fills the last gap
    evidence = [run for run in runs if run.notebook not in (*ANALYSES_BEFORE, TRAINING, REPORT)]
    evidence.reverse()  # robustness, the longest, comes last in the list: nothing should wait for it at the end
    return {"trainings": first, "evidence": evidence, "report": [run for run in runs if run.notebook == REPORT]}


def with_inputs(phase: Sequence[Run], runs: Sequence[Run], directory: Path) -> list[Run]:
    """The runs of a later phase with what they see now: the trainings among `runs`; the report sees the tables too."""
    trainings = [(run.id, read_result(run.directory)) for run in runs if run.notebook == TRAINING]
    seen = sorted((name, result["metrics"]) for name, result in trainings if result is not None)
    tables = {path.name: digest(path.read_bytes()) for path in (directory / "tables").glob("*.csv")}
    return [
        replace(run, inputs=digest([seen, dict(run.parameters), tables if run.notebook == REPORT else {}]))
        for run in phase
    ]


def open_study(directory: str | Path = "", needs_runs: bool = True) -> StudyResults:
    """A study's results, those of results/quick by default, with finished runs or, without `needs_runs`, with tables.

    Where the quick study was not run, as in a fresh checkout, its packed runs are restored, so that every notebook can
    be read and run alone; without a pack, its audited full network is trained.

    Raises:
        UserError: the folder of another study has no finished training.
    """
    study = StudyResults(Path(directory) if directory else results_dir() / "quick")
    if not needs_runs and study.table("accuracy") is not None:
        return study
    if not directory:
        _restore_packed(study.folder)
    if not directory and not finished_runs(study.folder):
        configs = training_configs(load_study("quick"))
        config = next(c for c in configs if (c.protocol, c.variant) == ("audited", "full"))
        train(config, study.folder / "runs" / config.run_id, progress=False)
    if not study.runs:
        raise UserError("no finished training", where=study.folder, fix="run the study first: fermoe study NAME")
    if study.table("accuracy") is None:
        rebuild_tables(study.folder)
    return study


def place_of_run(config: TrainConfig, out: str | Path = "") -> Path:
    """The directory of a notebook's single training: `out`, else its place in results/quick.

    A fresh checkout's packed runs are restored there first: a training that is among them is read and not repeated, so
    that what notebooks say is the same on every machine.
    """
    if out:
        return Path(out)
    _restore_packed(results_dir() / "quick")
    return results_dir() / "quick" / "runs" / config.run_id


def _restore_packed(study: Path) -> None:
    if not study_listing(study) and (study / NAME).exists():
        unpack(study)  # no study was run here: at most single trainings, which stay


def _check_parameters(runs: Sequence[Run]) -> None:
    """papermill only warns about unknown parameters and runs the defaults: refuse them before anything runs."""
    known = {notebook: parameters_of(notebook) for notebook in {run.notebook for run in runs}}
    for run in runs:
        for name in run.parameters.keys() - known[run.notebook]:
            what = f"notebook {run.notebook} has no parameter '{shortened(name)}'"
            raise UserError(what, fix="correct the study file")
