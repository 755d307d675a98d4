"""The ResNet-50 of keras_vggface: version 1, as the VGGFace2 weights expect it.

It differs from torchvision's in four ways that change every number: a stage's stride sits on the first 1×1
convolution (not on the 3×3), the stem pads like TensorFlow (more after than before), the max-pool does not pad,
and batch norm uses ε = 1e-3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

# Keras' defaults; its momentum 0.99 is the share kept, PyTorch's the share replaced.
BATCH_NORM: dict[str, Any] = {"eps": 1e-3, "momentum": 0.01}
EXPANSION = 4


@dataclass(frozen=True)
class ResNetConfig:
    """`depths` bottleneck blocks and `widths` inner channels per stage; a block puts out 4 × its width.

    `wider` multiplies every width, the stem's too, and `deeper` every stage's blocks.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    stem: int = 64
    widths: tuple[int, ...] = (64, 128, 256, 512)
    wider: float = 1.0
    deeper: int = 1

    @property
    def built(self) -> ResNetConfig:
        """The same network with its factors multiplied out."""
        return ResNetConfig(
            tuple(depth * self.deeper for depth in self.depths),
            round(self.stem * self.wider),
            tuple(round(width * self.wider) for width in self.widths),
        )

    @property
    def out_features(self) -> int:
        return self.built.widths[-1] * EXPANSION


class Normalised(nn.Module):
    """A module whose convolutions have a batch norm each: that of `name` is `name_norm`."""

    def normalised(self, name: str, x: Tensor) -> Tensor:
        """The convolution `name`, then its batch norm."""
        return getattr(self, f"{name}_norm")(getattr(self, name)(x))


class Bottleneck(Normalised):
    """1×1 reduce (carries the stride) → 3×3 → 1×1 increase, plus the input or its 1×1 projection."""

    def __init__(self, in_channels: int, width: int, stride: int, project: bool):
        super().__init__()
        out = width * EXPANSION
        self.reduce = nn.Conv2d(in_channels, width, 1, stride, bias=False)
        self.reduce_norm = nn.BatchNorm2d(width, **BATCH_NORM)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv_norm = nn.BatchNorm2d(width, **BATCH_NORM)
        self.increase = nn.Conv2d(width, out, 1, bias=False)
        self.increase_norm = nn.BatchNorm2d(out, **BATCH_NORM)
        self.project = nn.Conv2d(in_channels, out, 1, stride, bias=False) if project else None
        self.project_norm = nn.BatchNorm2d(out, **BATCH_NORM) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.normalised("reduce", x), inplace=True)
        y = F.relu(self.normalised("conv", y), inplace=True)
        y = self.normalised("increase", y)
        if self.project is not None:
            x = self.normalised("project", x)
        return F.relu(y.add_(x), inplace=True)


class ResNet(Normalised):
    """(N, 3, H, W) → globally averaged features (N, out_features)."""

    def __init__(self, config: ResNetConfig | None = None):
        super().__init__()
        config = (config or ResNetConfig()).built
        self.stem = nn.Conv2d(3, config.stem, 7, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(config.stem, **BATCH_NORM)
        channels, stages = config.stem, []
        for stage, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            blocks = []
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(channels, width, stride, project=block == 0))
                channels = width * EXPANSION
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_like_tensorflow(x, kernel=7, stride=2)
        x = F.max_pool2d(F.relu(self.normalised("stem", x), inplace=True), 3, 2)
        for stage in self.stages:
            x = stage(x)
        return x.mean((2, 3))


def pad_like_tensorflow(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's "same" padding of a strided convolution: as little as possible, the odd pixel after."""
    pads: list[int] = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def initialise_like_keras(module: nn.Module) -> None:
    """Glorot-uniform kernels and zero biases, Keras' defaults, in every convolution and dense layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
