"""What makes the network fast, most of it on a CPU: the same layers and parameters, computed another way.

`optimised` is all that the network needs of this. Where gradients are wanted (training, Grad-CAM), every map is made as
the plain network makes it; evaluation without gradients also pools early, folds batch norms into kernels and takes
large pictures a few at a time.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fermoe.network.extractor import Extractor
from fermoe.network.large_kernel import LargeKernelConv2d
from fermoe.network.resnet import Bottleneck, Normalised, ResNet

# Bytes of the map that are pooled at once: what is made on the way then stays in the cache.
CHUNK = 2 * 2**20
# Elements of a map that ReLU and dropout take at once.
PIECE = 2**17
# Maps up to so many elements, of all pictures, are pooled by PyTorch: more calls would cost more than they save.
SMALL = 2**15
# Up to so many pixels a map's 1×1 convolution is a matrix product.
SMALL_MAP = 4 * 4
# oneDNN computes channels by sixteen.
FEW = 16
# In evaluation a CPU is given large pictures a few at a time, whose maps then stay near it.
LARGE = 128 * 128  # pixels
PART = 8  # pictures


class Dropout(nn.Dropout):
    """`nn.Dropout`; on the CPU a mask costs an eighth.

    PyTorch draws one random number per element, one after the other; at 224×224 that costs as much as the
    convolutions. One 64-bit draw holds four 16-bit ones, so the rate is rounded to the nearest 1/65536 and the scale
    follows the rounded rate: the expectation stays exact. Draws come from PyTorch's default generator.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * 65536)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < 65536:
            return super().forward(input)
        # The mask takes the memory order of its input (channels last in training), so that no copy is made.
        mask = torch.empty_like(input, memory_format=_order(input))
        _in_memory(mask).copy_(_kept(mask.numel(), dropped))
        return input * mask


def _kept(elements: int, dropped: int) -> Tensor:
    """For each element 0 with a chance of `dropped` of 65536, else what keeps the expectation: (elements,)."""
    words = torch.empty(-(-elements // 4), dtype=torch.int64).random_(-(2**63), None)
    draws = words.view(torch.int16)[:elements].float()  # whole numbers: comparing them is exact
    scale = torch.tensor(65536 / (65536 - dropped)).expand(elements)
    return torch.ops.aten.threshold_backward(scale, draws, dropped - 32768.5)


def _is_last(x: Tensor) -> bool:
    """Whether the channels of a map come last in memory, and not first as well."""
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _order(x: Tensor) -> torch.memory_format:
    return torch.channels_last if _is_last(x) else torch.contiguous_format


def _in_memory(x: Tensor) -> Tensor:
    """A dense tensor's elements, one after the other as they lie in memory."""
    return (x.permute(0, 2, 3, 1) if _is_last(x) else x).view(-1)


def relu_dropout(x: Tensor, rate: float) -> Tensor:
    """Dropout of relu(x), in place: for a map in training that nothing else needs.

    The map passes through in pieces that stay in the cache, and the gradient needs no mask: what is left of it above
    zero was kept. The draws are those of `Dropout`.
    """
    dropped = round(rate * 65536)
    if not 0 < dropped < 65536 or not (x.is_contiguous() or _is_last(x)):
        return F.dropout(F.relu(x), rate)
    return _ReLUDropout.apply(x, dropped)


class _ReLUDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        for part in _in_memory(x).split(PIECE):
            part.relu_().mul_(_kept(part.numel(), dropped))
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.scale = 65536 / (65536 - dropped)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,), order = ctx.saved_tensors, _order(ctx.saved_tensors[0])
        grad = torch.empty_like(y, memory_format=order)
        parts = (_in_memory(tensor).split(PIECE) for tensor in (grads[0].contiguous(memory_format=order), y, grad))
        for given, kept, result in zip(*parts, strict=True):
            torch.ops.aten.threshold_backward.grad_input(given, kept, 0, grad_input=result)
            result.mul_(ctx.scale)
        return grad, None


class MaxPool2(nn.MaxPool2d):
    """`nn.MaxPool2d(2)`, forward and backward to the bit: (N, C, H, W) → (N, C, H // 2, W // 2).

    PyTorch's kernel for maps with channels first looks at one pixel at a time and notes where each maximum was; on a
    CPU that costs as much as a convolution. The largest of four quarters of the map costs an eighth, with the places
    a third.
    """

    def forward(self, input: Tensor) -> Tensor:
        exact = input.dtype in (torch.float32, torch.float64) and input.shape[-2:].numel() <= 2**24  # for the places
        if input.device.type == "cpu" and input.ndim == 4 and input.numel() > SMALL and exact and not _is_last(input):
            return _MaxPool2.apply(input)
        return super().forward(input)


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


class FastExtractor(Extractor):
    """An extractor in the memory order that a CPU wants, and that pools before ReLU and norm where it may."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        early, last = self._pools_early(), len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            assert isinstance(conv, LargeKernelConv2d)
            if i > 0 and not early:
                x = self.pool(x)
            # Norms accumulate in float64 only where channels come first; last, gradients are off by a hundredth.
            x = conv(x.contiguous(memory_format=_memory_order(conv))).contiguous()
            if early:
                x = norm(F.relu_(self.pool(x) if i < last else x))
            elif self.dropout.training and self.dropout.p > 0:
                x = norm(relu_dropout(x, self.dropout.p))
            else:
                x = norm(self.dropout(F.relu(x)))
        return x

    def _pools_early(self) -> bool:
        """Whether pooling first gives the same: ReLU and a norm that turns nothing round keep the largest the largest.

        A quarter of the pixels is then left to both. Where gradients are wanted, as for Grad-CAM, maps stay whole.
        """
        if self.training or torch.is_grad_enabled():
            return False
        return all(bool(torch.all(torch.as_tensor(norm.weight) >= 0)) for norm in self.norms)


def _memory_order(conv: LargeKernelConv2d) -> torch.memory_format:
    """Direct convolutions of few channels are up to twice as fast where they come last; others hardly differ."""
    return torch.channels_last if conv.in_channels < FEW and not conv.uses_fft else torch.contiguous_format


# What this evaluation has folded already: pictures that pass in parts share it.
_FOLDED: ContextVar[dict[nn.Module, tuple[Tensor, Tensor]]] = ContextVar("folded")


class _Folding(Normalised):
    """Evaluation without gradients puts a batch norm into the kernel and bias before it: a fifth less time."""

    def normalised(self, name: str, x: Tensor) -> Tensor:
        conv, norm = getattr(self, name), getattr(self, f"{name}_norm")
        if norm.training or torch.is_grad_enabled():
            return super().normalised(name, x)
        folded = _FOLDED.get({})
        if conv not in folded:
            # Not by torch.nn.utils.fusion, which takes the bias's factors in another order: outputs round otherwise.
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            folded[conv] = (conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale)
        return _convolved(conv, x, *folded[conv])


class FastBottleneck(_Folding, Bottleneck):
    """A bottleneck block without batch norms in evaluation."""


class FastResNet(_Folding, ResNet):
    """A ResNet without batch norms in evaluation, that then takes large pictures a few at a time on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        forward = super().forward
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        if self.training or torch.is_grad_enabled() or x.device.type != "cpu" or x.shape[2:].numel() < LARGE:
            return forward(x)
        token = _FOLDED.set({})
        try:
            return torch.cat([forward(part) for part in x.split(PART)])
        finally:
            _FOLDED.reset(token)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`; a 1×1 convolution of a small map is one matrix product, up to twice as fast on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        return _convolved(self, input, self.weight, self.bias)


def _convolved(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`conv` of x, with these weights instead of its own."""
    rows, columns = conv.stride
    pixels = -(-x.shape[-2] // rows) * -(-x.shape[-1] // columns)
    if x.device.type != "cpu" or conv.kernel_size != (1, 1) or pixels > SMALL_MAP:
        return F.conv2d(x, weight, bias, conv.stride, conv.padding)
    # No copy where the channels are last in memory. Of every second pixel one is made: PyTorch would rather copy the
    # weights for each row of each picture, in bfloat16 twenty times the work of the whole network.
    pictures = x[:, :, ::rows, ::columns].permute(0, 2, 3, 1).contiguous()
    return F.linear(pictures, weight.flatten(1), bias).permute(0, 3, 1, 2)


FAST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: Conv2d,
    nn.Dropout: Dropout,
    nn.MaxPool2d: MaxPool2,
    Extractor: FastExtractor,
    Bottleneck: FastBottleneck,
    ResNet: FastResNet,
}
Model = TypeVar("Model", bound=nn.Module)


def optimised(model: Model) -> Model:
    """The same model, its layers of the classes in `FAST`: as PyTorch's parametrisations do, only classes change.

    Parameters, buffers, hooks and the keys of the state dict stay what they are, but for the order of the ResNet's
    kernels in memory.
    """
    for module in model.modules():
        module.__class__ = FAST.get(type(module), type(module))
        if isinstance(module, FastResNet):  # oneDNN and cuDNN convolve faster so
            module.to(memory_format=torch.channels_last)
    return model
