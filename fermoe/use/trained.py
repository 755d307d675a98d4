"""Weights that travel: one .safetensors file that says how its network is used and how good it was measured to be.

Such a file holds arrays and text, nothing that could be executed. A model card for people lies beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field
from safetensors import SafetensorError, safe_open

from fermoe.data.arrays import CROPS
from fermoe.data.datasets import DATASETS, channels_of
from fermoe.errors import UserError, shortened
from fermoe.files import PACKAGE, results_dir, write_text
from fermoe.metrics import confusion
from fermoe.network.model import parameter_counts
from fermoe.network.weights import save_weights
from fermoe.plots.style import class_name
from fermoe.schema import Whole, checked
from fermoe.stats import wilson_interval
from fermoe.training.config import TrainConfig, model_config
from fermoe.training.inference import TrainedNetwork, open_network
from fermoe.training.predictions import class_names
from fermoe.training.runs import FinishedRun, finished_run

FORMAT = 1
"""Raise it when a file could no longer be read as this module reads it."""
KEY = "fermoe"  # of the metadata
WEIGHTS = PACKAGE / "use" / "weights"
PREFERRED = ("fer2013", "quick")
"""Of the networks that come with fermoe, the first of these that is there is used where none is named."""
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
ARCHIVE, PROTOCOL = b"PK\x03\x04", b"\x80"  # how PyTorch's files and bare pickles begin

_PROTOCOLS = {
    "published": "the epoch was chosen on the test pictures, as in the authors' code, which flatters the numbers below",
    "audited": "the epoch was chosen on a tenth of the training pictures, and the test pictures were looked at once",
}

Share = Annotated[float, Field(ge=0, le=1)]
Label = Annotated[str, Field(min_length=1, max_length=60)]


@dataclass(frozen=True)
class ClassScore:
    """How many test images a class had, and how many of them were recognised."""

    images: Whole
    correct: Whole

    @property
    def recall(self) -> tuple[float, float, float]:
        """With Wilson's interval: (value, low, high); NaN where there was no image."""
        share = self.correct / self.images if self.images else math.nan
        return share, *wilson_interval(self.correct, self.images)


@dataclass(frozen=True)
class Score:
    """How good a network was on its run's test images, with Wilson's 95 % interval of the accuracy."""

    images: Whole
    correct: Whole
    accuracy: Share
    ci_low: Share
    ci_high: Share
    balanced_accuracy: Share
    macro_f1: Share


@dataclass(frozen=True)
class About:
    """What a file says of its network: all that is needed to use it.

    `parameters` are those of its run (`TrainConfig.parameters`): crop, pipeline, precision and the name of the model;
    `network` is that model's configuration in full. `labels` are in the order of the logits; `channels` is 1 where the
    network is shown grey pictures. `classes` holds a `ClassScore` per label, `images` how many there were by split.
    """

    format: Whole
    run: str
    parameters: Mapping[str, Any]
    network: Mapping[str, Any]
    labels: Annotated[Sequence[Label], Field(min_length=2, max_length=1000)]
    channels: Annotated[int, Field(ge=1, le=3)]
    images: Mapping[str, Whole]
    test: Mapping[str, Any]
    classes: Sequence[Mapping[str, Any]]
    fingerprint: str
    code: Mapping[str, str | None] = field(default_factory=dict)

    @cached_property
    def config(self) -> TrainConfig:
        return FinishedRun(Path(self.run), {"run": self.run, "parameters": self.parameters}).config

    @cached_property
    def score(self) -> Score:
        return checked(Score, self.test)

    @property
    def recalls(self) -> dict[str, ClassScore]:
        """By label."""
        return {name: checked(ClassScore, row) for name, row in zip(self.labels, self.classes, strict=True)}

    @property
    def drawn(self) -> bool:
        """Whether it was trained on drawn faces alone, so that it knows nothing about photographs."""
        return DATASETS[self.config.dataset].load is None

    @property
    def accuracy(self) -> str:
        """Such as "70.9 % [68.0, 73.6]"."""
        return percent(self.score.accuracy, self.score.ci_low, self.score.ci_high)


def percent(value: float, low: float, high: float) -> str:
    """A share and its interval for people."""
    return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Trained:
    """A network, ready to be asked, what is known about it, and what it is called here."""

    name: str
    about: About
    network: TrainedNetwork

    @property
    def size(self) -> int:
        """The side of the square picture that it is shown, in pixels."""
        return self.network.model.config.image_size


def load_trained(name: str | Path | None = None) -> Trained:
    """Open a file that `export_run` wrote, or one of those that come with fermoe, by its short name.

    Args:
        name: a file, or "quick", "fer2013", …; None for the first of `PREFERRED` that is there.

    Raises:
        UserError: no such file, a pickle (which is never executed), a file of something else, another version's.
    """
    path = _place(name)
    about = read_about(path)
    return Trained(path.stem, about, open_network(about.config, len(about.labels), path))


def load_run(name: str | Path) -> Trained:
    """Open a finished run that still has its weights: its folder, or its name in results/.

    Raises:
        UserError: no such run, or it has no weights.
    """
    run = find_run(name)
    about = about_run(run)
    return Trained(run.name, about, open_network(about.config, len(about.labels), run.weights))


def committed() -> dict[str, Path]:
    """The networks that come with fermoe, by short name, the preferred one first."""
    found = {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}
    return {name: found[name] for name in (*(n for n in PREFERRED if n in found), *found)}


def _place(name: str | Path | None) -> Path:
    ours = committed()
    if name is None:
        return next(iter(ours.values()))
    if str(name) in ours:
        return ours[str(name)]
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError("no such weights", where=path, fix=f"give a .safetensors file or one of {', '.join(ours)}")
    return path


def read_about(path: Path) -> About:
    """What a file of weights says of its network, checked.

    Raises:
        UserError: a pickle, no safetensors file, or one that does not say how it is used.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(ARCHIVE))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, fix="give a .safetensors file") from None
    if path.suffix.lower() in PICKLES or head == ARCHIVE or head.startswith(PROTOCOL):
        what = "a pickle could run any program when it is read, and is refused"
        raise UserError(what, where=path, fix="give a .safetensors file: fermoe export RUN writes one")
    try:
        with safe_open(path, "pt") as content:
            text = (content.metadata() or {}).get(KEY)
    except (OSError, SafetensorError) as error:
        fix = "give a file that fermoe export wrote"
        raise UserError(f"not a safetensors file ({error})", where=path, fix=fix) from None
    if text is None:
        what = "the file does not say how its network is used"
        raise UserError(what, where=path, fix="give --run RUN, or export the run: fermoe export RUN")
    return _checked(text, path)


def _checked(text: str, path: Path) -> About:
    fix = "export the run again"
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError("what the file says of its network cannot be read", where=path, fix=fix) from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        said = shortened(values.get("format") if isinstance(values, dict) else values)
        fix = "use the version of fermoe that wrote it"
        raise UserError(f"weights of format {said}, this fermoe reads {FORMAT}", where=path, fix=fix)
    about = checked(About, values, where=path)
    checked(Score, about.test, where=path)
    if len(about.classes) != len(about.labels) or not all(name.isprintable() for name in about.labels):
        raise UserError("the labels cannot be used", where=path, fix=fix)
    if not _holds(_network(about.config, about.labels), about.network):
        what = f"the network '{about.config.model}' of this fermoe is another one than that of the file"
        fix = f"use the version that trained it, {about.code.get('fermoe')} ({about.code.get('commit')})"
        raise UserError(what, where=path, fix=fix)
    return about


def _network(config: TrainConfig, labels: Sequence[str]) -> Any:
    """The configuration of the network in full, as JSON knows it."""
    return json.loads(json.dumps(asdict(model_config(config, len(labels)))))


def _holds(now: Any, kept: Any) -> bool:
    """Whether a configuration is the one that was kept; fields that came later are at their defaults and left out."""
    if isinstance(kept, Mapping):
        return isinstance(now, Mapping) and all(key in now and _holds(now[key], kept[key]) for key in kept)
    return bool(now == kept)


def find_run(name: str | Path) -> FinishedRun:
    """A finished training by its folder or by its name in results/.

    Raises:
        UserError: there is none, or there are several studies with a run of that name.
    """
    path = Path(name).expanduser()
    here = [path] if path.is_dir() else sorted(results_dir().glob("*/runs/*"))
    found = [run for folder in here if folder == path or folder.name == str(name) if (run := finished_run(folder))]
    if not found:
        raise UserError("no such finished run", where=path, fix="give a run's folder, results/STUDY/runs/RUN")
    if len(found) > 1:
        raise UserError(f"{len(found)} studies have the run '{name}'", fix="give the run's folder")
    return found[0]


def about_run(run: FinishedRun) -> About:
    """What is to be known about a finished run's network, from its result and its predictions."""
    config, table = run.config, run.predictions
    labels = class_names(table)
    counts = confusion(table["label"], table["predicted"], len(labels))
    metrics = run.result["metrics"]["test"]
    values = {
        "format": FORMAT,
        "run": run.name,
        "parameters": run.result["parameters"],
        "network": _network(config, labels),
        "labels": labels,
        "channels": channels_of(config.dataset, config.dataset_options),
        "images": run.result["data"]["images"],
        "test": {key: metrics[key] for key in Score.__dataclass_fields__},
        "classes": [{"images": int(row.sum()), "correct": int(row[i])} for i, row in enumerate(counts)],
        "fingerprint": str(run.result["data"].get("fingerprint", "")),
        "code": dict(run.result.get("code", {})),
    }
    return checked(About, values, where=run.directory)


def export_run(trained: Trained, path: str | Path) -> tuple[Path, Path]:
    """Write a network as one file that says all that is needed to use it, and its model card beside it.

    The same network gives the same bytes.

    Returns:
        The file, and the card, which has its name and ends in .md.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError("weights travel as .safetensors", where=path, fix=f"write to {path.stem}.safetensors")
    text = json.dumps(asdict(trained.about), sort_keys=True, ensure_ascii=False)
    save_weights(trained.network.model, path, {KEY: text})
    card = path.with_suffix(".md")
    write_text(card, model_card(trained, path.name))
    return path, card


def model_card(trained: Trained, file: str) -> str:
    """The model card in Markdown: what it was trained on, how good it is, what it must not be used for."""
    about, config = trained.about, trained.about.config
    environment = Environment(
        loader=PackageLoader("fermoe.use"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("model_card.md").render(
        about=about,
        config=config,
        file=file,
        size=trained.size,
        parameters=parameter_counts(trained.network.model)["total"],
        dataset=DATASETS[config.dataset].title,
        protocol=_PROTOCOLS[config.protocol],
        crop=CROPS[str(config.test_crop)],
        commonest=max(score.images for score in about.recalls.values()) / about.score.images,
        names=[class_name(name) for name in about.labels],
        class_name=class_name,
        percent=percent,
    )
