"""ExpressNet-MoE: two convolutional extractors, a ResNet-50, and two mixtures of experts.

Axis legend: N images, C classes, E experts, D features, H and W pixels. The default `ModelConfig` is the paper's
network at 224×224, layer for layer as the authors' Keras code builds it; `ModelConfig.miniature` is the same shape
of network for 64×64 on a laptop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fermoe.errors import UserError
from fermoe.network.cpu import optimised
from fermoe.network.extractor import Extractor, ExtractorConfig, LargeKernelExtractor, SmallKernelExtractor
from fermoe.network.large_kernel import Mode
from fermoe.network.mixture import GateKind, MixtureOfExperts, load_balancing_loss
from fermoe.network.resnet import ResNet, ResNetConfig, initialise_like_keras
from fermoe.network.variants import RENAMED, VARIANTS

PAPER_CNNS = (
    ExtractorConfig((75, 50, 25, 15, 9, 3), (8, 16, 32, 64, 128, 256)),
    ExtractorConfig((15, 7, 5, 3, 3), (16, 32, 64, 128, 256)),
)
# The paper's kernels times 64/224, to the next odd size but for extractor 2's first. Below 3 nothing is left
# of a kernel.
KERNELS_64 = ((21, 15, 7, 5, 3, 3), (4, 3, 3, 3, 3))


@dataclass(frozen=True)
class ModelConfig:
    """The network's shape: fields as given, then changed as the variant says.

    `image_size` matters to extractor 1 only, whose dense layer sees a flat map.
    """

    num_classes: int = 7
    variant: str = "full"
    image_size: int = 224
    cnn1: ExtractorConfig | None = PAPER_CNNS[0]
    cnn2: ExtractorConfig | None = PAPER_CNNS[1]
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    fusion: bool = True  # False: neither fusion nor its mixture, the head sees the features themselves
    width: int = 512  # of every dense layer: extractor 1, fusion, experts
    gate: GateKind | None = "top_k"  # None: one dense layer instead of each mixture
    experts: int = 4
    top_k: int = 2
    block_dropout: float = 0.1
    dropout: float = 0.5
    balance_weight: float = 0.0  # of the load-balancing loss
    balance_batches: int = 1  # how many batches the load that it sees stands for
    cnn1_pooled: bool = False  # True: extractor 1 averages its last map where the paper flattens it
    second_mixture: bool = False  # True: without extractor 1 its mixture sees the fused features
    convolution: Mode = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", RENAMED.get(self.variant, self.variant))
        if self.variant not in VARIANTS:
            raise UserError(f"unknown model variant '{self.variant}'", fix=f"choose one of {', '.join(VARIANTS)}")
        for name, value in VARIANTS[self.variant].changes.items():
            if name not in self.__dataclass_fields__:
                raise UserError(f"variant '{self.variant}' changes '{name}'", fix="name a field of ModelConfig")
            object.__setattr__(self, name, value(self) if callable(value) else value)
        if self.num_classes < 2:
            raise UserError(f"num_classes is {self.num_classes}", fix="give at least 2")
        smallest = max((extractor.shrinks for extractor in (self.cnn1, self.cnn2) if extractor), default=1)
        if self.image_size < smallest:
            raise UserError(f"image_size is {self.image_size}", fix=f"give at least {smallest}")
        for name, choices in {"convolution": get_args(Mode), "gate": (*get_args(GateKind), None)}.items():
            if (value := getattr(self, name)) not in choices:
                raise UserError(f"{name} is '{value}'", fix=f"choose one of {choices}")

    @property
    def mixtures(self) -> dict[str, str]:
        """The mixtures, or the dense layers in their place, as the head sees them, and the feature that each mixes."""
        first = "cnn1" if self.cnn1 else "fused"
        found = {"cnn": first} if self.cnn1 or (self.second_mixture and self.fusion) else {}
        return found | ({"expression": "fused"} if self.fusion else {})

    @classmethod
    def miniature(cls, num_classes: int = 7, variant: str = "full") -> ModelConfig:
        """The same network for 64×64: kernels and depths times 64/224, an eighth of the channels and widths.

        No extractor takes a larger share of operations or parameters than in the paper: extractor 1 keeps an eighth of
        the paper's channels, extractor 2 gives some up in its deeper blocks, where parameters are. A network this
        narrow needs less dropout: with the paper's rates it takes twice the epochs.
        """
        return cls(
            num_classes=num_classes,
            variant=variant,
            image_size=64,
            cnn1=ExtractorConfig(KERNELS_64[0], (1, 2, 4, 8, 16, 32)),
            cnn2=ExtractorConfig(KERNELS_64[1], (2, 4, 6, 8, 24)),
            resnet=ResNetConfig(depths=(1, 1, 2, 1), stem=8, widths=(8, 16, 32, 64)),
            width=64,
            block_dropout=0.05,
            dropout=0.2,
        )

    @classmethod
    def middle(cls, num_classes: int = 7, variant: str = "full") -> ModelConfig:
        """Between the miniature and `paper64`: a quarter of the channels and widths, half the ResNet's blocks."""
        return cls(
            num_classes=num_classes,
            variant=variant,
            image_size=64,
            cnn1=ExtractorConfig(KERNELS_64[0], (2, 4, 8, 16, 32, 64)),
            cnn2=ExtractorConfig(KERNELS_64[1], (4, 8, 12, 16, 48)),
            resnet=ResNetConfig(depths=(2, 2, 3, 2), stem=16, widths=(16, 32, 64, 128)),
            width=128,
            block_dropout=0.07,
            dropout=0.3,
        )

    @classmethod
    def paper64(cls, num_classes: int = 7, variant: str = "full") -> ModelConfig:
        """The paper's channels, depths, widths and experts exactly, for 64×64: only the kernels are scaled."""
        cnn1, cnn2 = (replace(cnn, kernels=kernels) for cnn, kernels in zip(PAPER_CNNS, KERNELS_64, strict=True))
        return cls(num_classes=num_classes, variant=variant, image_size=64, cnn1=cnn1, cnn2=cnn2)

    @classmethod
    def first_miniature(cls, num_classes: int = 7, variant: str = "full") -> ModelConfig:
        """The miniature of the first studies, to read their runs: its extractors cost more of it than the paper's."""
        return replace(
            cls.miniature(num_classes, variant),  # whose variant changes the following too
            cnn1=ExtractorConfig((21, 15, 7, 5, 3, 3), (4, 8, 16, 24, 32, 48)),
            cnn2=ExtractorConfig((5, 3, 3, 3, 3), (4, 12, 24, 32, 48)),
            resnet=ResNetConfig(depths=(1, 1, 1, 1), stem=16, widths=(8, 16, 32, 64)),
        )

    @classmethod
    def named(cls, size: str, num_classes: int, variant: str = "full") -> ModelConfig:
        """The configuration of the size that a study file calls `size`, one of `SIZES`."""
        if size not in SIZES:
            raise UserError(f"unknown model '{size}'", fix=f"choose one of {', '.join(SIZES)}")
        return SIZES[size](num_classes, variant)


SIZES: dict[str, Callable[[int, str], ModelConfig]] = {
    "paper": ModelConfig,
    "paper64": ModelConfig.paper64,
    "middle": ModelConfig.middle,
    "miniature": ModelConfig.miniature,
    "first_miniature": ModelConfig.first_miniature,
}

SIZE_TITLES = {
    "miniature": "miniature", "middle": "middle", "paper64": "paper64", "paper": "paper's",
    "first_miniature": "first miniature",
}  # fmt: skip
"""What sentences call a size: the … network."""

OTHER_PROPORTIONS = ("first_miniature",)
"""The sizes whose extractors take more of the network than the paper's do: no smaller copies of it."""


class DenseReLU(nn.Linear):
    """A dense layer with ReLU: what stands in for a mixture without a gate."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(super().forward(input))


class ExpressNetOutput(NamedTuple):
    """What the network computes. Parts that a variant lacks are absent from the two mappings."""

    logits: Tensor  # (N, C)
    gates: dict[str, Tensor]  # "cnn", "expression": (N, E), the full softmax
    features: dict[str, Tensor]  # "cnn1", "cnn2", "resnet", "fused", "moe_cnn", "moe_expression": (N, D)


def joined(parts: Sequence[ExpressNetOutput]) -> ExpressNetOutput:
    """The outputs of several batches of one network as those of one."""

    def rows(named: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in named]) for name in named[0]}

    logits = torch.cat([part.logits for part in parts])
    return ExpressNetOutput(logits, rows([part.gates for part in parts]), rows([part.features for part in parts]))


class ExpressNetMoE(nn.Module):
    """The whole network, or one of its variants (`VARIANTS`). Evaluation is deterministic.

    `fast` False leaves every layer as it is written here and in the modules for extractors and ResNet: the same
    function, several times slower on a CPU.
    """

    def __init__(self, config: ModelConfig | None = None, fast: bool = True):
        super().__init__()
        self.config = config = config or ModelConfig()
        width = config.width
        self.resnet = ResNet(config.resnet)
        self.resnet_dropout = nn.Dropout(config.dropout)
        if config.cnn1 is not None:
            blocks = Extractor(config.cnn1, config.block_dropout, config.convolution)
            side = 1 if config.cnn1_pooled else config.image_size // config.cnn1.shrinks
            features = config.cnn1.channels[-1] * side**2
            self.cnn1 = LargeKernelExtractor(blocks, features, width, config.dropout, config.cnn1_pooled)
        if "cnn" in config.mixtures:
            self.moe_cnn = self._mixture(0)
        head_width = config.resnet.out_features
        if config.cnn2 is not None:
            self.cnn2 = SmallKernelExtractor(Extractor(config.cnn2, config.block_dropout, config.convolution))
            head_width += config.cnn2.channels[-1]
        if config.fusion:
            self.fusion = nn.Linear(head_width, width)
            self.fusion_dropout = nn.Dropout(config.dropout)
            self.moe_expression = self._mixture(1)
            head_width = width
        self.head = nn.Linear(head_width + (width if "cnn" in config.mixtures else 0), config.num_classes)
        initialise_like_keras(self)
        if fast:
            optimised(self)

    def _mixture(self, number: int) -> nn.Module:
        config = self.config
        if config.gate is None:
            return DenseReLU(config.width, config.width)
        return MixtureOfExperts(
            config.width, config.experts, config.top_k, config.gate, config.balance_batches, salt=number
        )

    def forward(self, images: Tensor) -> ExpressNetOutput:
        """images (N, 3, H, W), as the input pipeline makes them → logits, gates and features."""
        config = self.config
        gates: dict[str, Tensor] = {}
        features: dict[str, Tensor] = {}

        features["resnet"] = face = self.resnet_dropout(self.resnet(images))  # (N, 2048)
        if config.cnn2 is not None:
            features["cnn2"] = self.cnn2(images)  # (N, 256)
            face = torch.cat([features["cnn2"], face], 1)  # (N, 2304)
        if config.fusion:
            features["fused"] = self.fusion_dropout(F.relu(self.fusion(face)))  # (N, 512)
        if config.cnn1 is not None:
            features["cnn1"] = self.cnn1(images)  # (N, 512)

        seen = []
        for name, feature in config.mixtures.items():
            mixture, x = getattr(self, f"moe_{name}"), features[feature]
            if isinstance(mixture, MixtureOfExperts):
                x, gates[name] = mixture(x, images)
            else:
                x = mixture(x)
            features[f"moe_{name}"] = x
            seen.append(x)
        if not config.fusion:
            seen.append(face)
        return ExpressNetOutput(self.head(torch.cat(seen, 1)), gates, features)

    def auxiliary_loss(self, output: ExpressNetOutput, pooled: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The load-balancing loss of all mixtures, weighted as configured; zero where it has no weight.

        `pooled` is for a batch that is split over processes: the loads of this part → those of the whole batch.
        """
        config = self.config
        if config.balance_weight == 0 or not output.gates:
            return output.logits.new_zeros(())
        losses = []
        for name, gates in output.gates.items():
            running = getattr(self, f"moe_{name}").running_load
            whole = running if pooled is None else lambda load, running=running: running(pooled(load))
            losses.append(load_balancing_loss(gates, config.top_k, whole))
        return config.balance_weight * torch.stack(losses).sum()


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters per block as Keras counts them: trainable weights and batch-norm moving statistics.

    Keys "trainable" and "moving_statistics" are the totals' parts; every other key is a block of the network.
    """

    def moving(module: nn.Module) -> int:
        return sum(b.numel() for b in module.buffers() if b.is_floating_point())

    def total(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters()) + moving(module)

    counts = {name: total(child) for name, child in model.named_children() if total(child)}
    whole, statistics = total(model), moving(model)
    return counts | {"trainable": whole - statistics, "moving_statistics": statistics, "total": whole}
