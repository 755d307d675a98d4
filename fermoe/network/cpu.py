"""What makes the network fast on a CPU: cheap dropout masks and cheap pooling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
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


# Bytes of the map that are pooled at once: what is made on the way then stays in the cache.
CHUNK = 2 * 2**20


def max_pool2(x: Tensor) -> Tensor:
    """`F.max_pool2d(x, 2)`, forward and backward to the bit: (N, C, H, W) → (N, C, H // 2, W // 2).

    PyTorch's kernel for maps with channels first looks at one pixel at a time and notes where each maximum was; on a
    CPU that costs as much as a convolution. The largest of four quarters of the map costs an eighth, with the places
    a third.
    """
    exact = (
        x.dtype in (torch.float32, torch.float64) and x.shape[-2] * x.shape[-1] <= 2**24
    )  # places are computed in it
    if x.device.type == "cpu" and x.ndim == 4 and x.numel() > 0 and exact:
        return _MaxPool2.apply(x)
    return F.max_pool2d(x, 2)


class _MaxPool2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        y = x.new_empty(*x.shape[:2], height, width)
        images = max(1, CHUNK // (x[0].numel() * x.itemsize))
        parts = zip(x[..., : 2 * height, : 2 * width].split(images), y.split(images), strict=True)
        if not ctx.needs_input_grad[0]:
            for part, result in parts:
                rows = torch.maximum(part[..., 0::2, :], part[..., 1::2, :])
                torch.maximum(rows[..., 0::2], rows[..., 1::2], out=result)
            return y
        places = torch.empty(y.shape, dtype=torch.int64)
        rows = torch.arange(0, 2 * height, 2, dtype=x.dtype)[:, None] * x.shape[-1]
        corners = rows + torch.arange(0, 2 * width, 2, dtype=x.dtype)
        for (part, result), place in zip(parts, places.split(images), strict=True):
            quarters = part.unflatten(-1, (width, 2)).unflatten(-3, (height, 2)).permute(3, 5, 0, 1, 2, 4)
            (a, b), (c, d) = quarters.contiguous()
            above, below = torch.maximum(a, b), torch.maximum(c, d)
            torch.maximum(above, below, out=result)
            # Of equal pixels the first one, row by row, is chosen, as in PyTorch.
            down, right, right_below = _positive(below - above), _positive(b - a), _positive(d - c)
            right.add_(right_below.sub_(right).mul_(down))
            place.copy_(right.add_(down, alpha=x.shape[-1]).add_(corners))
        ctx.save_for_backward(x, places)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, places = ctx.saved_tensors
        spread = torch.ops.aten.max_pool2d_with_indices_backward
        return spread(grads[0].contiguous(), x.contiguous(), [2, 2], [2, 2], [0, 0], [1, 1], False, places)


def _positive(x: Tensor) -> Tensor:
    """1 where x > 0, else 0, in the type of x: ReLU's backward is the fastest of PyTorch's ways to say so."""
    return torch.ops.aten.threshold_backward(torch.ones_like(x), x, 0)
