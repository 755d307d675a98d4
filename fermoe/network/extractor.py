"""The two convolutional extractors: one stack of blocks, large kernels in the first, small ones in the second."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fermoe.network.large_kernel import LargeKernelConv2d, Mode
from fermoe.network.resnet import BATCH_NORM


@dataclass(frozen=True)
class ExtractorConfig:
    """A stack of [conv → ReLU → dropout → batch norm] blocks, 2×2 max-pool after all but the last."""

    kernels: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def shrinks(self) -> int:
        """How many times smaller than the picture, side by side, the last map is."""
        return 2 ** (len(self.channels) - 1)


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
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if i > 0:
                x = self.pool(x)
            x = norm(self.dropout(F.relu(conv(x))))
        return x


class LargeKernelExtractor(nn.Module):
    """CNN extractor 1: large kernels for the whole face, then a dense layer on the flat map: → (N, D).

    `pooled` averages the map instead, as extractor 2 does; `features` is what the dense layer then sees.
    """

    def __init__(self, blocks: Extractor, features: int, width: int, dropout: float, pooled: bool = False):
        super().__init__()
        self.blocks, self.pooled = blocks, pooled
        self.dense = nn.Linear(features, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.blocks(x)
        return self.dropout(F.relu(self.dense(maps.mean((2, 3)) if self.pooled else maps.flatten(1))))


class SmallKernelExtractor(nn.Module):
    """CNN extractor 2: small kernels for details, then a global average: → (N, channels of the last block)."""

    def __init__(self, blocks: Extractor):
        super().__init__()
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x).mean((2, 3))
