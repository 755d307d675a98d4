"""The networks that are compared: the paper's, and those that differ from it in one thing each.

A variant names what it changes in `ModelConfig`, as a value or as a function of the configuration that gives the value;
the function must give the same again when it is applied to its own result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Group = Literal["whole", "part", "budget", "gate", "cause"]


@dataclass(frozen=True)
class Variant:
    """A network that differs from the paper's in some fields of `ModelConfig`, its `changes`.

    `title` names it for people, `what` says what is changed. By `group`: in "part" a part of the network is left out;
    "budget" gives the ResNet alone what the parts cost; in "gate" the experts are chosen otherwise; "cause" changes
    one of several things that a part brings, to tell which of them matters.
    """

    title: str
    what: str
    changes: Mapping[str, Any | Callable[[Any], Any]] = field(default_factory=dict)
    group: Group = "part"


_ALONE = {"cnn1": None, "cnn2": None, "fusion": False, "gate": None}


def _resnet(**scale: float) -> Callable[[Any], Any]:
    return lambda config: replace(config.resnet, **scale)


def _large_kernels(config: Any) -> Any:
    """Extractor 2 with the kernels of extractor 1's blocks on maps of the same size."""
    if config.cnn1 is None or config.cnn2 is None:
        return config.cnn2
    return replace(config.cnn2, kernels=config.cnn1.kernels[: len(config.cnn2.kernels)])


VARIANTS: dict[str, Variant] = {
    "full": Variant("full network", "the paper's network", group="whole"),
    "backbone": Variant("ResNet alone", "the ResNet alone, with dropout and the head", _ALONE),
    "no_moe": Variant("without mixtures", "each mixture replaced by one dense layer of the same width", {"gate": None}),
    "no_cnn1": Variant("without extractor 1", "without extractor 1 (large kernels) and its mixture", {"cnn1": None}),
    "no_cnn2": Variant(
        "without extractor 2",
        "without extractor 2 (small kernels): the fusion sees the ResNet only",
        {"cnn2": None},
    ),
    "backbone_x1_4": Variant(
        "ResNet alone, 1.4 × as wide",
        "the ResNet alone, every width times 1.4",
        {**_ALONE, "resnet": _resnet(wider=1.4)},
        "budget",
    ),
    "backbone_x2": Variant(
        "ResNet alone, twice as wide",
        "the ResNet alone, every width doubled",
        {**_ALONE, "resnet": _resnet(wider=2.0)},
        "budget",
    ),
    "backbone_x3": Variant(
        "ResNet alone, 3 × as wide",
        "the ResNet alone, every width tripled",
        {**_ALONE, "resnet": _resnet(wider=3.0)},
        "budget",
    ),
    "backbone_deep": Variant(
        "ResNet alone, twice as deep",
        "the ResNet alone, twice the blocks in every stage",
        {**_ALONE, "resnet": _resnet(deeper=2)},
        "budget",
    ),
    "dense_gate": Variant(
        "dense gate", "every expert weighted by the softmax, none dropped", {"gate": "dense"}, "gate"
    ),
    "frozen_gate": Variant(
        "frozen gate",
        "top-2 by a gate that stays as it was initialised; the features may learn to be routed by it",
        {"gate": "frozen"},
        "gate",
    ),
    "detached_gate": Variant(
        "detached gate",
        "top-2 by a gate that learns, while the features learn nothing from being routed",
        {"gate": "detached"},
        "gate",
    ),
    "hash_gate": Variant(
        "hash routing",
        "two experts by a hash of the image's pixels, always the same for an image and blind to what it shows",
        {"gate": "hash"},
        "gate",
    ),
    "random_choice": Variant(
        "random experts",
        "two experts drawn anew for each image and step; in evaluation by the hash of the pixels",
        {"gate": "random"},
        "gate",
    ),
    "balanced_gate": Variant("balanced gate", "top-2 with a load-balancing loss", {"balance_weight": 0.01}, "gate"),
    "pooled_gate": Variant(
        "balanced gate, pooled",
        "top-2 with a load-balancing loss over the load of about eight batches",
        {"balance_weight": 0.01, "balance_batches": 8},
        "gate",
    ),
    "cnn2_large": Variant(
        "extractor 2, large kernels",
        "extractor 2 keeps its place and its global average and gets extractor 1's kernels",
        {"cnn2": _large_kernels},
        "cause",
    ),
    "cnn1_pooled": Variant(
        "extractor 1, global average",
        "extractor 1 keeps its kernels and its mixture; its map is averaged instead of flattened",
        {"cnn1_pooled": True},
        "cause",
    ),
    "no_cnn1_two_mixtures": Variant(
        "without extractor 1, both mixtures",
        "without extractor 1; its mixture sees the fused features, so the head is as wide as before",
        {"cnn1": None, "second_mixture": True},
        "cause",
    ),
}

RENAMED = {"random_gate": "frozen_gate"}
"""Names of earlier versions, in study files and packed runs, and what they are called now."""


def variants(*groups: str) -> list[str]:
    """The names of the variants in these groups, or of all variants, in their order."""
    return [name for name, variant in VARIANTS.items() if not groups or variant.group in groups]
