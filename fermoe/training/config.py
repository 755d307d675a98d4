"""The configuration of one training run: what it is made of, its name, and its defaults, which are the paper's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fermoe.data.composition import COMPOSITIONS
from fermoe.data.datasets import DATASETS
from fermoe.data.transforms import pipeline_name, pipeline_parts
from fermoe.errors import UserError
from fermoe.files import digest
from fermoe.network.model import ModelConfig
from fermoe.network.variants import RENAMED
from fermoe.training.precision import PRECISIONS

TWINS = ("apart", "kept")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the paper's, but for the data, the model's size and the protocol.

    `crop` is what the training images get; `test_crop` None gives the test images the same, except under the published
    protocol on a dataset that the authors test uncropped. `normalisation` and `twins` None mean the protocol's own.
    `twins` "apart" takes test images' identical twins out of the training images and keeps all images of one picture
    on one side of the validation split; "kept" leaves every image where the dataset has it, as the authors do.
    `composition` mixes the classes of the training images otherwise (`fermoe.data.composition`).
    """

    dataset: str = "synthetic"
    root: str | None = None
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "audited"
    variant: str = "full"
    model: str = "miniature"
    crop: str = "none"
    test_crop: str | None = None
    normalisation: str | None = None
    augmentation: str = "none"
    weights: str = "random"
    precision: str = "float32"
    seed: int = 0
    epochs: int = 15
    patience: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-4
    decay: float = 0.95
    label_smoothing: float = 0.1
    skip_unreadable: bool = False
    twins: str | None = None
    composition: str = "as_given"

    def __post_init__(self) -> None:
        # A batch of one image has no variance for batch norm. YAML reads 1e-4 as text.
        for name, least in (("epochs", 1), ("patience", 1), ("batch_size", 2), ("seed", 0)):
            if type(value := getattr(self, name)) is not int or value < least:
                raise UserError(f"{name} is {value!r}", fix=f"give a whole number of at least {least}")
        for name in ("learning_rate", "decay"):
            if not isinstance(value := getattr(self, name), int | float) or not 0 < value < math.inf:
                raise UserError(f"{name} is {value!r}", fix="give a number above 0, such as 0.0001")
        if not isinstance(self.label_smoothing, int | float) or not 0 <= self.label_smoothing <= 1:
            raise UserError(f"label_smoothing is {self.label_smoothing!r}", fix="give a number from 0 to 1")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision is {self.precision!r}", fix=f"choose one of {', '.join(PRECISIONS)}")
        if self.protocol == "published" and self.augmentation != "none":
            raise UserError("the published protocol has no augmentation", fix="use the audited protocol")
        object.__setattr__(self, "variant", RENAMED.get(self.variant, self.variant))
        if self.test_crop is None:
            object.__setattr__(self, "test_crop", own_test_crop(self.dataset, self.protocol, self.crop))
        if self.normalisation is None:
            object.__setattr__(self, "normalisation", own_normalisation(self.protocol, self.weights))
        if self.twins is None:
            object.__setattr__(self, "twins", own_twins(self.protocol))
        if self.twins not in TWINS:
            raise UserError(f"twins is {self.twins!r}", fix=f"choose one of {', '.join(TWINS)}")
        if self.composition not in COMPOSITIONS:
            raise UserError(f"composition is {self.composition!r}", fix=f"choose one of {', '.join(COMPOSITIONS)}")
        if self.protocol == "published" and self.twins != "kept":
            raise UserError("the published protocol keeps twins", fix="use the audited protocol")
        pipeline_name(str(self.normalisation), self.augmentation)

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> TrainConfig:
        """The training that a notebook's variables describe, of which some are fields; empty text: the default."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(**{name: variables[name] for name in names if variables[name] != ""})

    @property
    def pipeline(self) -> str:
        return pipeline_name(str(self.normalisation), self.augmentation)

    @property
    def tested_as_usual(self) -> bool:
        """Whether the test images are cropped as the protocol says for networks trained on this crop."""
        return self.test_crop == own_test_crop(self.dataset, self.protocol, self.crop)

    @property
    def follows_protocol(self) -> bool:
        """Whether test crop and pixel values are the protocol's own; augmentation is free."""
        return follows_protocol(
            self.dataset, self.protocol, self.crop, str(self.test_crop), self.pipeline, self.weights
        )

    def parameters(self) -> dict[str, Any]:
        """What tells this run from another, for result.json; where the data lies is not part of it.

        Twins that are kept and classes as given are not mentioned: so were all runs made before there was a choice,
        and they stay the same.
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "root"}
        if self.twins == "kept":
            del values["twins"]
        if self.composition == "as_given":
            del values["composition"]
        # Where a weight file lies is no part of the run either; its name is.
        kind, _, path = self.weights.partition(":")
        values["weights"] = f"{kind}:{Path(path).name}" if path else kind
        return {**values, "dataset_options": dict(self.dataset_options), "pipeline": self.pipeline}

    @property
    def run_id(self) -> str:
        """A readable name and a hash of every parameter: the same on every machine."""
        parameters = self.parameters()
        crop = self.crop if self.tested_as_usual else f"{self.crop}-tested-{self.test_crop}"
        mixed = () if self.composition == "as_given" else (self.composition,)
        parts = (self.dataset, self.protocol, self.variant, crop, self.pipeline, *mixed, f"seed{self.seed}")
        return "-".join((*parts, digest(parameters)))


def own_test_crop(dataset: str, protocol: str, crop: str) -> str:
    """What a protocol does with the test images of a run that trains on `crop`."""
    spec = DATASETS.get(dataset)
    uncropped = protocol == "published" and spec is not None and not spec.tested_cropped
    return "none" if uncropped else crop


def own_twins(protocol: str) -> str:
    """What a protocol does with images that occur more than once."""
    return "kept" if protocol == "published" else "apart"


def own_normalisation(protocol: str, weights: str) -> str:
    """The pixel values that a protocol gives a network which starts from `weights`."""
    if protocol == "published":
        return "bgr_unit"
    return "vggface2" if weights.startswith("vggface2") else "imagenet"


def follows_protocol(dataset: str, protocol: str, crop: str, test_crop: str, pipeline: str, weights: str) -> bool:
    """Whether test crop and pixel values are the protocol's own; augmentation is free."""
    own = own_test_crop(dataset, protocol, crop), own_normalisation(protocol, weights)
    return (test_crop, pipeline_parts(pipeline)[0]) == own


def model_config(config: TrainConfig, num_classes: int) -> ModelConfig:
    return ModelConfig.named(config.model, num_classes, config.variant)
