"""Dropout whose mask is cheap to draw on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout`; on the CPU a mask costs a quarter.

    PyTorch draws one random number per element, one after the other; at 224×224 that costs as much as the
    convolutions. One 64-bit draw holds four 16-bit ones, so the rate is rounded to the nearest 1/65536 and the scale
    follows the rounded rate: the expectation stays exact. Draws come from PyTorch's default generator.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * 65536)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < 65536:
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: input.numel()] >= dropped - 32768
        # The mask takes the memory order of its input (channels last in training), so that no copy is made.
        if input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last):
            mask = torch.empty_like(input, memory_format=torch.channels_last)
            mask.permute(0, 2, 3, 1).view(-1).copy_(kept)
        else:
            mask = torch.empty_like(input, memory_format=torch.contiguous_format)
            mask.view(-1).copy_(kept)
        return input * mask.mul_(65536 / (65536 - dropped))
