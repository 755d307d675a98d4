"""Convolution with very large kernels, computed in the frequency domain.

The paper's first extractor opens with a 75×75 convolution at 224×224. Computed directly, its cost grows with
the kernel's area; by the convolution theorem it is a product of spectra, whose cost does not depend on the
kernel at all. `fft_conv2d` is the same function as a stride-1 `F.conv2d` with Keras "same" padding, forward and
backward; `LargeKernelConv2d` is an `nn.Conv2d` (same parameters, same state dict) that picks the faster way.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Mode = Literal["auto", "fft", "direct"]

# The kernel size from which the FFT is faster, forward and backward, at the channels and sizes of the paper's
# two extractors (two Zen 4 cores: 15×15 by FFT 3–12 times faster, 9×9 direct 1.7 times faster).
CROSSOVER = {"cpu": 12}
# No other device was measured yet; 12 also keeps the 75, 50, 25 and 15 kernels in the frequency domain there.
CROSSOVER_ELSEWHERE = 12

SMALL_PADDING = 4


def same_padding(kernel: int) -> tuple[int, int]:
    """Keras "same" padding of a stride-1 convolution: (before, after); an even kernel pads more after."""
    return (kernel - 1) // 2, kernel // 2


def direct_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.conv2d` with stride 1 and Keras "same" padding. Shapes as in `fft_conv2d`.

    Large paddings are written out: oneDNN has no fast path for them (75×75 at 224: 43 s an image against 0.2 s).
    """
    (top, bottom), (left, right) = (same_padding(k) for k in weight.shape[-2:])
    if top == bottom and left == right and max(top, left) <= SMALL_PADDING:
        return F.conv2d(x, weight, bias, padding=(top, left))
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias)


@functools.lru_cache(maxsize=256)
def fast_length(minimum: int) -> int:
    """The smallest even length of at least `minimum` with no prime factor above 7: FFTs like those."""
    length = minimum + minimum % 2
    while True:
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def _reach(size: int, kernel: int) -> tuple[int, int, int]:
    """(taps before, taps after, FFT length) along one axis.

    Taps further than size − 1 from the centre only ever meet padding, so they are left out. A circular
    convolution of length size + max(before, after) is enough: what wraps around lands in the border that
    "same" padding discards.
    """
    before, after = (min(p, size - 1) for p in same_padding(kernel))
    return before, after, fast_length(size + max(before, after))


def _real_type(x: Tensor) -> torch.dtype:
    """Half-precision FFTs exist only for powers of two and lose too many digits: float32 at least."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _spectral_product(a: Tensor, b: Tensor) -> Tensor:
    """Σ_c a[n, c, f] · b[c, o, f] for every frequency f: (N, C, F), (C, O, F) → (N, O, F).

    One small matrix product per frequency. With few channels a running sum over them is 2–5 times faster than
    `torch.bmm`, which needs the frequencies in front and pays a call for each; with many it is the other way.
    """
    if a.shape[1] <= 16:
        product = a[:, 0, None] * b[0]
        for c in range(1, a.shape[1]):
            product.addcmul_(a[:, c, None], b[c])
        return product
    return torch.bmm(a.permute(2, 0, 1).contiguous(), b.permute(2, 0, 1).contiguous()).permute(1, 2, 0).contiguous()


class _FFTConv2d(torch.autograd.Function):
    """Keeps the two spectra of the forward pass: both gradients are products with them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        n, _, height, width = x.shape
        out, _, kh, kw = weight.shape
        top, bottom, lh = _reach(height, kh)
        left, right, lw = _reach(width, kw)
        dh, dw = same_padding(kh)[0] - top, same_padding(kw)[0] - left  # taps cut off before the centre
        taps = weight[:, :, dh : dh + top + bottom + 1, dw : dw + left + right + 1]

        size, kept, real = (lh, lw), (n, out, height, width), _real_type(x)
        x_hat = torch.fft.rfft2(x.to(real), s=size).flatten(2)  # (N, C, F)
        # A correlation is a product with the conjugate; its zero lag sits at tap (top, left).
        w_hat = torch.fft.rfft2(taps.to(real), s=size).flatten(2).conj().resolve_conj()  # (O, C, F)
        y = torch.fft.irfft2(_spectral_product(x_hat, w_hat.transpose(0, 1)).reshape(n, out, lh, -1), s=size)
        y = y.roll((top, left), (-2, -1))[..., :height, :width]

        ctx.save_for_backward(x_hat, w_hat)
        ctx.geometry = (size, kept, (top, bottom, left, right), (dh, dw), x.shape, weight.shape)
        return y.to(x.dtype).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (grad,) = grads
        x_hat, w_hat = ctx.saved_tensors
        size, (n, out, height, width), (top, bottom, left, right), (dh, dw), x_shape, w_shape = ctx.geometry
        real = _real_type(grad)
        g_hat = torch.fft.rfft2(grad.to(real), s=size).flatten(2)  # (N, O, F)
        rows = size[0]

        grad_x = grad_w = None
        if ctx.needs_input_grad[0]:
            x_grad_hat = _spectral_product(g_hat, w_hat.conj())  # (N, C, F)
            full = torch.fft.irfft2(x_grad_hat.reshape(n, x_shape[1], rows, -1), s=size)
            grad_x = full.roll((-top, -left), (-2, -1))[..., :height, :width].to(grad.dtype).contiguous()
        if ctx.needs_input_grad[1]:
            w_grad_hat = _spectral_product(g_hat.conj().transpose(0, 1), x_hat)  # (O, C, F)
            full = torch.fft.irfft2(w_grad_hat.reshape(out, w_shape[1], rows, -1), s=size)
            taps = full.roll((top, left), (-2, -1))[..., : top + bottom + 1, : left + right + 1]
            grad_w = grad.new_zeros(w_shape)
            grad_w[:, :, dh : dh + top + bottom + 1, dw : dw + left + right + 1] = taps
        return grad_x, grad_w


def fft_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A stride-1 convolution with Keras "same" padding, by FFT: equal to `direct_conv2d` up to rounding.

    Args:
        x: images (N, C, H, W).
        weight: kernels (O, C, kh, kw), odd or even, smaller or larger than the image.
        bias: (O,) or None.

    Returns:
        (N, O, H, W), in the type of `x`. The frequency domain is float32 (float64 for float64 input), also under
        autocast.
    """
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"expected x (N, C, H, W) and weight (O, C, kh, kw), got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    with torch.autocast(x.device.type, enabled=False):
        y = _FFTConv2d.apply(x, weight)
        return y if bias is None else y + bias.to(y.dtype)[:, None, None]


class LargeKernelConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and Keras "same" padding that computes directly or by FFT.

    `mode` "auto" takes the FFT from the kernel size at which it was measured to be faster on the device
    (`CROSSOVER`); "fft" and "direct" force one way. All modes share one state dict.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True, mode: Mode = "auto"):
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)
        self.mode: Mode = mode

    def uses_fft(self, device: str) -> bool:
        """Whether this layer takes the frequency domain on `device` ("cpu", "cuda", …)."""
        if self.mode != "auto":
            return self.mode == "fft"
        return max(self.kernel_size) >= CROSSOVER.get(device, CROSSOVER_ELSEWHERE)

    def forward(self, input: Tensor) -> Tensor:
        convolve = fft_conv2d if self.uses_fft(input.device.type) else direct_conv2d
        return convolve(input, self.weight, self.bias)
