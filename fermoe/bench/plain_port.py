"""The paper's network as an ordinary PyTorch port computes it: what `fermoe bench network` measures us against.

Same layers, same parameter names, same numbers; but every convolution of the extractors is a plain `nn.Conv2d`,
dropout and pooling are PyTorch's, and nothing is merged, done in place or rearranged in memory. The convolutions get
a picture that was padded beforehand, which favours the port: `nn.Conv2d(padding="same")` falls into a loop of
oneDNN's that is a hundred times slower yet.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fermoe.network.model import ExpressNetMoE, ExtractorConfig, ModelConfig
from fermoe.network.resnet import BATCH_NORM, ResNet, pad_like_tensorflow


class PaddedConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 on a picture padded as Keras' "same" does: (N, C, H, W) → (N, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__(in_channels, out_channels, kernel)
        before, after = (kernel - 1) // 2, kernel // 2
        self.around = (before, after, before, after)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, self.around))


class PlainExtractor(nn.Module):
    """Conv → ReLU → dropout → batch norm → 2×2 max-pool after all but the last: (N, 3, H, W) → (N, C', H', W')."""

    def __init__(self, config: ExtractorConfig, dropout: float):
        super().__init__()
        channels = (3, *config.channels)
        self.convs = nn.ModuleList(
            PaddedConv2d(channels[i], channels[i + 1], kernel) for i, kernel in enumerate(config.kernels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, **BATCH_NORM) for c in config.channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if i > 0:
                x = F.max_pool2d(x, 2)
            x = norm(self.dropout(F.relu(conv(x))))
        return x


class PlainResNet(ResNet):
    """The ResNet one layer after the other, each into memory of its own: (N, 3, H, W) → (N, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(pad_like_tensorflow(x, kernel=7, stride=2))))
        x = F.max_pool2d(x, 3, 2)
        for stage in self.stages:
            for block in stage.children():
                x = _bottleneck(block, x)
        return x.mean((2, 3))


def _bottleneck(block: Any, x: Tensor) -> Tensor:
    y = F.relu(block.reduce_norm(block.reduce(x)))
    y = F.relu(block.conv_norm(block.conv(y)))
    y = block.increase_norm(block.increase(y))
    return F.relu(y + (x if block.project is None else block.project_norm(block.project(x))))


def plain_port(config: ModelConfig | None = None) -> ExpressNetMoE:
    """The network with plain extractors and PyTorch's dropout; it loads the state dict of `ExpressNetMoE(config)`."""
    config = config or ModelConfig()
    model = ExpressNetMoE(config)
    model.resnet = PlainResNet(config.resnet)
    for name, stack in (("cnn1", config.cnn1), ("cnn2", config.cnn2)):
        if extractor := dict(model.named_children()).get(name):
            extractor.blocks = PlainExtractor(stack, config.block_dropout)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return model
