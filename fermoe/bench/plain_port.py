"""The paper's network as an ordinary PyTorch port computes it: what `fermoe bench network` measures us against.

Same layers, same parameter names, same numbers; but every convolution of the extractors is a plain `nn.Conv2d`,
dropout, pooling and norms are PyTorch's, and nothing is merged or rearranged in memory. The convolutions get a picture
that was padded beforehand, which favours the port: `nn.Conv2d(padding="same")` falls into a loop of oneDNN's that is a
hundred times slower yet.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fermoe.network.large_kernel import LargeKernelConv2d
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.network.resnet import ResNetConfig


class PaddedConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 on a picture padded as Keras' "same" does: (N, C, H, W) → (N, O, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        (height, width) = self.kernel_size
        around = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2)
        return super().forward(F.pad(input, around))


def strong_port(config: ModelConfig | None = None) -> ExpressNetMoE:
    """The fastest ordinary port: `plain_port` with torchvision's ResNet-50, channels last.

    Its blocks stride on their 3×3 convolutions: another function of the same size. Where the configuration's ResNet is
    no ResNet-50, it stays.
    """
    from torchvision import models  # not on top: whoever imports this module may not need torchvision

    port = plain_port(config)
    if port.config.resnet == ResNetConfig():
        port.resnet = models.resnet50()
        port.resnet.fc = nn.Identity()
    port.resnet.to(memory_format=torch.channels_last)
    return port


def plain_port(config: ModelConfig | None = None) -> ExpressNetMoE:
    """The network without its fast ways; it loads the state dict of `ExpressNetMoE(config)`."""
    model = ExpressNetMoE(config, fast=False)
    convolutions: list[nn.Module] = [module for module in model.modules() if isinstance(module, LargeKernelConv2d)]
    for module in convolutions:
        module.__class__ = PaddedConv2d
    return model
