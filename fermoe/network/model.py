"""ExpressNet-MoE: two convolutional extractors, a ResNet-50, and two mixtures of experts.

Axis legend: N images, C classes, E experts, D features, H and W pixels. The default `ModelConfig` is the paper's
network at 224×224, layer for layer as the authors' Keras code builds it; `ModelConfig.miniature` is the same shape
of network for 64×64 on a laptop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fermoe.errors import UserError
from fermoe.network.cpu import Dropout, max_pool2
from fermoe.network.large_kernel import LargeKernelConv2d, Mode
from fermoe.network.resnet import BATCH_NORM, ResNet, ResNetConfig, initialise_like_keras

GateKind = Literal["top_k", "dense", "random"]


class MixtureOfExperts(nn.Module):
    """Σ_e weight_e(x) · relu(expert_e(x)), where the weights are the top-k of the gate's softmax.

    `kind` "dense" keeps the whole softmax; "random" freezes the gate as initialised. The experts are plain
    `nn.Linear` layers in a list: four matrix products on one input cost the same as a batched one here, and a
    single expert stays easy to name, load and knock out.
    """

    def __init__(self, width: int, experts: int, top_k: int, kind: GateKind = "top_k"):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))
        self.gate = nn.Linear(width, experts)
        self.top_k = top_k
        self.kind = kind
        if kind == "random":
            self.gate.requires_grad_(False)

    def weights(self, gates: Tensor) -> Tensor:
        """The gate's softmax (N, E) → the weight of every expert (N, E), zero for those not chosen."""
        if self.kind == "dense":
            return gates
        values, indices = gates.topk(self.top_k, dim=1)
        return torch.zeros_like(gates).scatter(1, indices, values)

    def mix(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (N, D) through every expert, summed with the given weights (N, E) → (N, D)."""
        outputs = torch.stack([F.relu(expert(x)) for expert in self.experts], 1)  # (N, E, D)
        return torch.einsum("ne,ned->nd", weights.to(outputs.dtype), outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, D) → the mixture (N, D) and the gate's full softmax (N, E)."""
        gates = F.softmax(self.gate(x).float(), dim=1)
        return self.mix(x, self.weights(gates)), gates


VARIANTS = {
    "full": "the paper's network",
    "backbone": "the ResNet alone, with dropout and the head",
    "no_cnn1": "without extractor 1 (large kernels) and its mixture",
    "no_cnn2": "without extractor 2 (small kernels): the fusion sees the ResNet only",
    "no_moe": "each mixture replaced by one dense layer of the same width",
    "dense_gate": "every expert weighted by the softmax, none dropped",
    "random_gate": "top-2 by a gate that stays as it was initialised",
    "balanced_gate": "top-2 with a load-balancing loss",
}


@dataclass(frozen=True)
class ExtractorConfig:
    """A stack of [conv → ReLU → dropout → batch norm] blocks, 2×2 max-pool after all but the last."""

    kernels: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class ModelConfig:
    """The network's shape. `image_size` matters to extractor 1 only, whose dense layer sees a flat map."""

    num_classes: int = 7
    variant: str = "full"
    image_size: int = 224
    cnn1: ExtractorConfig = ExtractorConfig((75, 50, 25, 15, 9, 3), (8, 16, 32, 64, 128, 256))
    cnn2: ExtractorConfig = ExtractorConfig((15, 7, 5, 3, 3), (16, 32, 64, 128, 256))
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    width: int = 512  # of every dense layer: extractor 1, fusion, experts
    experts: int = 4
    top_k: int = 2
    block_dropout: float = 0.1
    dropout: float = 0.5
    balance_weight: float = 0.01  # of the load-balancing loss, in "balanced_gate" only
    convolution: Mode = "auto"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise UserError(f"unknown model variant '{self.variant}'", fix=f"choose one of {', '.join(VARIANTS)}")
        if self.num_classes < 2:
            raise UserError(f"num_classes is {self.num_classes}", fix="give at least 2")
        smallest = 2 ** (len(self.cnn1.channels) - 1)
        if self.image_size < smallest:
            raise UserError(f"image_size is {self.image_size}", fix=f"give at least {smallest}")
        if self.convolution not in get_args(Mode):
            raise UserError(f"convolution is '{self.convolution}'", fix=f"choose one of {get_args(Mode)}")

    @classmethod
    def miniature(cls, num_classes: int = 7, variant: str = "full") -> ModelConfig:
        """The same network for 64×64: kernels scaled with the picture, an eighth to a quarter of the channels.

        A network this narrow needs less dropout: with the paper's rates it takes twice the epochs.
        """
        return cls(
            num_classes=num_classes,
            variant=variant,
            image_size=64,
            cnn1=ExtractorConfig((21, 15, 7, 5, 3, 3), (4, 8, 16, 24, 32, 48)),
            cnn2=ExtractorConfig((5, 3, 3, 3, 3), (4, 12, 24, 32, 48)),
            resnet=ResNetConfig(depths=(1, 1, 1, 1), stem=16, widths=(8, 16, 32, 64)),
            width=64,
            block_dropout=0.05,
            dropout=0.2,
        )

    @classmethod
    def named(cls, size: str, num_classes: int, variant: str = "full") -> ModelConfig:
        """The configuration that a study file calls "paper" or "miniature"."""
        if size == "paper":
            return cls(num_classes=num_classes, variant=variant)
        if size == "miniature":
            return cls.miniature(num_classes, variant)
        raise UserError(f"unknown model '{size}'", fix="choose 'paper' or 'miniature'")

    @property
    def gate(self) -> GateKind | None:
        """How the mixtures choose, or None where the variant has no mixtures."""
        kinds: dict[str, GateKind | None] = {
            "backbone": None,
            "no_moe": None,
            "dense_gate": "dense",
            "random_gate": "random",
        }
        return kinds.get(self.variant, "top_k")


class Extractor(nn.Module):
    """Blocks of conv → ReLU → dropout → batch norm, in the authors' unusual order: (N, 3, H, W) → (N, C', H', W')."""

    def __init__(self, config: ExtractorConfig, dropout: float, mode: Mode):
        super().__init__()
        channels = (3, *config.channels)
        self.convs = nn.ModuleList(
            LargeKernelConv2d(channels[i], channels[i + 1], kernel, mode=mode)
            for i, kernel in enumerate(config.kernels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, **BATCH_NORM) for c in config.channels)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            # Batch norm over few channels is up to five times slower on a CPU when they come last in memory.
            x = x.contiguous()
        early = self._pools_early(x)
        last = len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if early:
                x = conv(x)
                x = norm(F.relu_(max_pool2(x) if i < last else x))
                continue
            x = norm(self.dropout(F.relu(conv(x))))
            if i < last:
                x = max_pool2(x)
        return x

    def _pools_early(self, x: Tensor) -> bool:
        """Whether pooling first gives the same: ReLU and a norm that turns nothing round keep the largest the largest.

        A quarter of the pixels is then left to both. Where gradients are wanted, as for Grad-CAM, maps stay whole.
        """
        if self.training or torch.is_grad_enabled() or x.device.type != "cpu":
            return False
        return all(bool(torch.all(torch.as_tensor(norm.weight) >= 0)) for norm in self.norms)


class LargeKernelExtractor(nn.Module):
    """CNN extractor 1: large kernels for the whole face, then a dense layer on the flat map: → (N, D)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.blocks = Extractor(config.cnn1, config.block_dropout, config.convolution)
        side = config.image_size // 2 ** (len(config.cnn1.channels) - 1)
        self.dense = nn.Linear(config.cnn1.channels[-1] * side * side, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(F.relu(self.dense(self.blocks(x).flatten(1))))


class SmallKernelExtractor(nn.Module):
    """CNN extractor 2: small kernels for details, then a global average: → (N, channels of the last block)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.blocks = Extractor(config.cnn2, config.block_dropout, config.convolution)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x).mean((2, 3))


class DenseReLU(nn.Linear):
    """A dense layer with ReLU: what stands in for a mixture in the variant "no_moe"."""

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
    """The whole network, or one of its variants (`VARIANTS`). Evaluation is deterministic."""

    def __init__(self, config: ModelConfig | None = None):
        super().__init__()
        self.config = config = config or ModelConfig()
        variant, width = config.variant, config.width
        alone = variant == "backbone"
        self.has_cnn1 = not alone and variant != "no_cnn1"
        self.has_cnn2 = not alone and variant != "no_cnn2"

        self.resnet = ResNet(config.resnet)
        self.resnet_dropout = Dropout(config.dropout)
        head_width = config.resnet.out_features
        if self.has_cnn1:
            self.cnn1 = LargeKernelExtractor(config)
            self.moe_cnn = self._mixture()
        if self.has_cnn2:
            self.cnn2 = SmallKernelExtractor(config)
        if not alone:
            fused = config.resnet.out_features + (config.cnn2.channels[-1] if self.has_cnn2 else 0)
            self.fusion = nn.Linear(fused, width)
            self.fusion_dropout = Dropout(config.dropout)
            self.moe_expression = self._mixture()
            head_width = width * (1 + self.has_cnn1)
        self.head = nn.Linear(head_width, config.num_classes)
        initialise_like_keras(self)

    def _mixture(self) -> nn.Module:
        config = self.config
        if config.gate is None:
            return DenseReLU(config.width, config.width)
        return MixtureOfExperts(config.width, config.experts, config.top_k, config.gate)

    def forward(self, images: Tensor) -> ExpressNetOutput:
        """images (N, 3, H, W), as the input pipeline makes them → logits, gates and features."""
        gates: dict[str, Tensor] = {}
        features: dict[str, Tensor] = {}

        def mix(name: str, module: nn.Module, x: Tensor) -> Tensor:
            if isinstance(module, MixtureOfExperts):
                x, gates[name] = module(x)
            else:
                x = module(x)
            features[f"moe_{name}"] = x
            return x

        features["resnet"] = resnet = self.resnet_dropout(self.resnet(images))  # (N, 2048)
        if self.config.variant == "backbone":
            return ExpressNetOutput(self.head(resnet), gates, features)

        if self.has_cnn2:
            features["cnn2"] = self.cnn2(images)  # (N, 256)
            resnet = torch.cat([features["cnn2"], resnet], 1)  # (N, 2304)
        features["fused"] = self.fusion_dropout(F.relu(self.fusion(resnet)))  # (N, 512)

        mixed = []
        if self.has_cnn1:
            features["cnn1"] = self.cnn1(images)  # (N, 512)
            mixed.append(mix("cnn", self.moe_cnn, features["cnn1"]))
        mixed.append(mix("expression", self.moe_expression, features["fused"]))
        return ExpressNetOutput(self.head(torch.cat(mixed, 1)), gates, features)

    def auxiliary_loss(self, output: ExpressNetOutput) -> Tensor:
        """The weighted load-balancing loss of the variant "balanced_gate"; zero for every other variant."""
        if self.config.variant != "balanced_gate":
            return output.logits.new_zeros(())
        losses = [load_balancing_loss(gates, self.config.top_k) for gates in output.gates.values()]
        return self.config.balance_weight * torch.stack(losses).sum()


def load_balancing_loss(gates: Tensor, top_k: int) -> Tensor:
    """E · Σ_e load_e · importance_e (Switch Transformer, eq. 4–6, for top-k): 1 when balanced, up to E/k when not.

    Args:
        gates: full softmax (N, E).
        top_k: how many experts each image uses.
    """
    experts = gates.shape[1]
    chosen = torch.zeros_like(gates).scatter(1, gates.topk(top_k, dim=1).indices, 1.0 / top_k)
    return experts * (chosen.mean(0) * gates.mean(0)).sum()


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters per block as Keras counts them: trainable weights and batch-norm moving statistics.

    Keys "trainable" and "moving_statistics" are the totals' parts; every other key is a block of the network.
    """

    def count(module: nn.Module) -> int:
        weights = sum(p.numel() for p in module.parameters())
        return weights + sum(b.numel() for b in module.buffers() if b.is_floating_point())

    blocks = {name: count(child) for name, child in model.named_children()}
    counts = {name: number for name, number in blocks.items() if number}
    counts["trainable"] = sum(p.numel() for p in model.parameters())
    counts["moving_statistics"] = sum(b.numel() for b in model.buffers() if b.is_floating_point())
    counts["total"] = counts["trainable"] + counts["moving_statistics"]
    return counts
