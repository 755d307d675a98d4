"""Convolution with very large kernels, computed in the frequency domain.

The paper's first extractor opens with a 75×75 convolution at 224×224. Computed directly, its cost grows with
the kernel's area; by the convolution theorem it is a product of spectra, whose cost does not depend on the
kernel at all. `fft_conv2d` is the same function as a stride-1 `F.conv2d` with Keras "same" padding, forward and
backward; `LargeKernelConv2d` is an `nn.Conv2d` (same parameters, same state dict) that picks the faster way.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Mode = Literal["auto", "fft", "direct"]

# The kernel size from which the FFT is faster, forward and backward, at the channels and sizes of the paper's
# two extractors (two Zen 4 cores: 15×15 by FFT 3–12 times faster, 9×9 at 14×14 1.7 times, 7×7 1.1 times, 5×5 not). No
# other device was measured yet; 9 also keeps the 75, 50, 25 and 15 kernels in the frequency domain there.
CROSSOVER = 9
# From this many input channels on, spectra are kept with their frequencies in front.
FREQUENCIES_FIRST = 8
# Bytes of the largest spectrum that is made at once on a CPU. Larger buffers leave the cache, and the C library returns
# them to the system after each use, which then clears every page anew.
CHUNK = 16 * 2**20
# Up to so many terms, or results of each, a product of spectra is summed term by term.
FEW = 16
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


def blocked_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same, of images with even sides, on squares of 2×2 pixels as four channels each.

    oneDNN computes sixteen output channels where fewer are asked for; this gives it four times as many of a quarter of
    the pixels (the space-to-depth transform of MLPerf's ResNet stems).
    """
    out, channels, *kernel = weight.shape
    (top, bottom), (left, right) = (same_padding(k) for k in kernel)
    # Squares before and after the centre's, and zeros that make both halves of a square see whole squares.
    squares = [(-(-before // 2), -(-after // 2)) for before, after in ((top, bottom), (left, right))]
    rows, columns = (before + after + 1 for before, after in squares)
    first, start = 1 + 2 * squares[0][0] - top, 1 + 2 * squares[1][0] - left
    pads = (start, 2 * columns + 1 - kernel[1] - start, first, 2 * rows + 1 - kernel[0] - first)
    padded = F.pad(weight, pads)
    shifted = [padded[..., 1 - i : 1 - i + 2 * rows, 1 - j : 1 - j + 2 * columns] for i in (0, 1) for j in (0, 1)]
    taps = torch.stack(shifted, 1).view(out * 4, channels, rows, 2, columns, 2)
    taps = taps.permute(0, 3, 5, 1, 2, 4).reshape(out * 4, 4 * channels, rows, columns)
    n, _, height, width = x.shape
    # Channels last, a square's pixels are two runs of memory; pixel_unshuffle takes three times as long.
    pairs = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2 * channels)
    images = torch.cat([pairs[:, :, 0], pairs[:, :, 1]], -1).permute(0, 3, 1, 2)  # (N, 4 C, H / 2, W / 2)
    (before, after), (start, end) = squares
    y = F.conv2d(F.pad(images, (start, end, before, after)), taps, None if bias is None else bias.repeat_interleave(4))
    pixels = y.permute(0, 2, 3, 1).reshape(n, height // 2, width // 2, out, 2, 2)  # the last: left and right
    pixels = torch.view_as_complex(pixels).permute(0, 3, 1, 4, 2).contiguous()  # two numbers move as one
    return torch.view_as_real(pixels).view(n, out, height, width)


@functools.lru_cache(maxsize=256)
def fast_length(minimum: int) -> int:
    """The smallest even length of at least `minimum` with no prime factor above 7: FFTs like those."""
    length = minimum + minimum % 2
    while pow(2 * 3 * 5 * 7, length.bit_length(), length):  # no other prime: a high power of their product is divisible
        length += 2
    return length


@dataclass(frozen=True)
class _Axis:
    """One axis of the transform: an image of `size` pixels and taps from `before` the centre to `after` it.

    Taps further than size − 1 from the centre only ever meet padding, so `cut` of them are left out in front, and the
    rest behind. A circular convolution of length size + max(before, after) is enough: what wraps around lands in the
    border that "same" padding discards.
    """

    size: int
    cut: int
    before: int
    after: int
    length: int

    @classmethod
    def of(cls, size: int, kernel: int) -> _Axis:
        before, after = (min(p, size - 1) for p in same_padding(kernel))
        return cls(size, same_padding(kernel)[0] - before, before, after, fast_length(size + max(before, after)))

    @property
    def taps(self) -> slice:
        return slice(self.cut, self.cut + self.before + self.after + 1)


@functools.lru_cache(maxsize=256)
def _waves(axis: _Axis, half: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """exp(2πi f p / length) for frequencies f (to the middle one if `half`) and taps p: (frequencies, taps).

    A kernel has far fewer taps than its spectrum has frequencies, so a product with this matrix is cheaper than an
    FFT of the padded kernel; and the taps' places, the centre at zero, are built in.
    """
    with torch.inference_mode(False):  # a matrix made during evaluation serves training too
        taps = torch.arange(-axis.before, axis.after + 1, dtype=torch.float64)
        frequencies = torch.arange(axis.length // 2 + 1 if half else axis.length, dtype=torch.float64)
        phase = (frequencies[:, None] * taps) % axis.length * (2 * math.pi / axis.length)
        return torch.polar(torch.ones_like(phase), phase).to(device, dtype)


def _real_type(x: Tensor) -> torch.dtype:
    """Half-precision FFTs exist only for powers of two and lose too many digits: float32 at least."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class _ChannelsFirst:
    """Spectra as (N, C, F) and (C, O, F), F = rows × columns, as the FFT gives them: for few channels."""

    rows: _Axis
    columns: _Axis

    def of_images(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(x, s=(self.rows.length, self.columns.length)).flatten(2)

    def images(self, spectrum: Tensor) -> Tensor:
        rows = torch.fft.ifft(spectrum.unflatten(2, (self.rows.length, -1)), dim=2)[:, :, : self.rows.size]
        return torch.fft.irfft(rows, n=self.columns.length)[..., : self.columns.size]

    def of_kernels(self, taps: Tensor, row_waves: Tensor, column_waves: Tensor) -> Tensor:
        out, channels, height, width = taps.shape
        waves = torch.view_as_real(column_waves).transpose(0, 1).flatten(1)  # (kw, columns · 2)
        half = taps.transpose(0, 1).reshape(-1, width) @ waves
        half = torch.view_as_complex(half.view(channels * out, height, -1, 2))
        return (row_waves @ half).view(channels, out, -1)

    def kernels(self, spectrum: Tensor, row_waves: Tensor, column_waves: Tensor) -> Tensor:
        channels, out, _ = spectrum.shape
        height, width = row_waves.shape[1], column_waves.shape[1]
        half = row_waves.T @ spectrum.view(channels * out, self.rows.length, -1)  # (C · O, kh, columns)
        waves = torch.view_as_real(column_waves.conj().resolve_conj()).transpose(1, 2).reshape(-1, width)
        taps = torch.view_as_real(half).reshape(channels * out * height, -1) @ waves  # the product's real part
        return taps.view(channels, out, height, width).transpose(0, 1)

    @staticmethod
    def swapped(spectrum: Tensor) -> Tensor:
        return spectrum.transpose(0, 1)

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        """Σ_c a[n, c, f] · b[c, o, f] for every frequency f: (N, C, F), (C, O, F) → (N, O, F).

        A running sum over a few terms, or of a few, is 2–5 times faster than `torch.bmm`, which needs the frequencies
        in front.
        """
        if a.shape[1] <= FEW or len(a) * b.shape[1] <= FEW:
            product = a[:, 0, None] * b[0]
            for c in range(1, a.shape[1]):
                product.addcmul_(a[:, c, None], b[c])
            return product
        return torch.bmm(a.permute(2, 0, 1).contiguous(), b.permute(2, 0, 1).contiguous()).permute(1, 2, 0).contiguous()


@dataclass(frozen=True)
class _FrequenciesFirst:
    """Spectra as (F, N, C) and (F, C, O), F = columns × rows: one small matrix product per frequency."""

    rows: _Axis
    columns: _Axis

    def of_images(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, s=(self.rows.length, self.columns.length))
        return spectrum.permute(3, 2, 0, 1).reshape(-1, *x.shape[:2])

    def images(self, spectrum: Tensor) -> Tensor:
        rows = torch.fft.ifft(spectrum.unflatten(0, (-1, self.rows.length)), dim=1)[:, : self.rows.size]
        return torch.fft.irfft(rows.permute(2, 3, 1, 0), n=self.columns.length)[..., : self.columns.size]

    def of_kernels(self, taps: Tensor, row_waves: Tensor, column_waves: Tensor) -> Tensor:
        out, channels, height, width = taps.shape
        pairs = taps.permute(3, 2, 1, 0).reshape(width, -1)  # (kw, kh · C · O)
        half = torch.complex(column_waves.real @ pairs, column_waves.imag @ pairs)
        return (row_waves @ half.view(-1, height, channels * out)).view(-1, channels, out)

    def kernels(self, spectrum: Tensor, row_waves: Tensor, column_waves: Tensor) -> Tensor:
        _, channels, out = spectrum.shape
        height, width = row_waves.shape[1], column_waves.shape[1]
        half = (row_waves.T @ spectrum.view(-1, self.rows.length, channels * out)).flatten(1)  # (columns, kh · C · O)
        taps = column_waves.real.T @ half.real - column_waves.imag.T @ half.imag
        return taps.view(width, height, channels, out).permute(3, 2, 1, 0)

    @staticmethod
    def swapped(spectrum: Tensor) -> Tensor:
        return spectrum.transpose(1, 2)

    @staticmethod
    def product(a: Tensor, b: Tensor) -> Tensor:
        return torch.bmm(a, b)


class _FFTConv2d(torch.autograd.Function):
    """Keeps the two spectra of the forward pass: both gradients are products with them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rows, columns = (_Axis.of(size, kernel) for size, kernel in zip(x.shape[-2:], weight.shape[-2:], strict=True))
        order = _FrequenciesFirst if x.shape[1] >= FREQUENCIES_FIRST else _ChannelsFirst
        layout, real = order(rows, columns), _real_type(x)
        kind = (torch.complex128 if real == torch.float64 else torch.complex64, x.device)
        waves = (_waves(rows, False, *kind), _waves(columns, True, *kind))
        # A correlation is a product with the kernel's conjugate spectrum, which the waves' sign gives.
        w_hat = layout.of_kernels(weight[:, :, rows.taps, columns.taps].to(real), *waves)

        ctx.images = _images_at_once(max(weight.shape[:2]) * rows.length * columns.length * real.itemsize, x.device)
        spectra = []
        y = x.new_empty(len(x), len(weight), *x.shape[-2:])
        for images, result in zip(x.split(ctx.images), y.split(ctx.images), strict=True):
            spectra.append(layout.of_images(images.to(real)))
            result.copy_(layout.images(layout.product(spectra[-1], w_hat)))
        ctx.save_for_backward(w_hat, *spectra)
        ctx.layout, ctx.waves, ctx.shapes = layout, waves, (x.shape, weight.shape)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (grad,) = grads
        w_hat, *spectra = ctx.saved_tensors
        layout, (row_waves, column_waves) = ctx.layout, ctx.waves
        rows, columns = layout.rows, layout.columns
        x_shape, w_shape = ctx.shapes
        to_x, to_w = ctx.needs_input_grad
        grad_x = grad.new_empty(x_shape) if to_x else None
        grad_w = w_grad_hat = None
        for i, (x_hat, part) in enumerate(zip(spectra, grad.split(ctx.images), strict=True)):
            g_hat = layout.of_images(part.to(_real_type(grad)))
            if grad_x is not None:
                images = layout.images(layout.product(g_hat, layout.swapped(w_hat).conj()))
                grad_x[i * ctx.images :][: len(part)] = images
            if to_w:
                product = layout.product(layout.swapped(x_hat), g_hat.conj())
                w_grad_hat = product if w_grad_hat is None else w_grad_hat.add_(product)
        if w_grad_hat is not None:
            # The inverse transform's 1 / length², and every frequency but the first and the middle one counted twice.
            share = torch.full((columns.length // 2 + 1, 1), 2.0, dtype=row_waves.real.dtype, device=grad.device)
            share[0] = share[-1] = 1.0
            scaled = column_waves * (share / (rows.length * columns.length))
            grad_w = grad.new_zeros(w_shape)
            grad_w[:, :, rows.taps, columns.taps] = layout.kernels(w_grad_hat, row_waves, scaled)
        return grad_x, grad_w


def _images_at_once(bytes_per_image: int, device: torch.device) -> int:
    """How many images go through the frequency domain together: on a CPU as many as stay near the cache."""
    return max(1, CHUNK // bytes_per_image) if device.type == "cpu" else 2**31


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
        return y if bias is None else y.add_(bias.to(y.dtype)[:, None, None])


class LargeKernelConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and Keras "same" padding that computes directly or by FFT.

    `mode` "auto" takes the FFT from the kernel size at which it was measured to be faster (`CROSSOVER`); "fft" and
    "direct" force one way. All modes share one state dict.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True, mode: Mode = "auto"):
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)
        self.mode: Mode = mode

    @property
    def uses_fft(self) -> bool:
        """Whether this layer takes the frequency domain."""
        return self.mode == "fft" or (self.mode == "auto" and max(self.kernel_size) >= CROSSOVER)

    def _uses_squares(self, x: Tensor) -> bool:
        """Whether a large map's few channels are better taken as four times as many (Zen 4: 4×4 1.1, 5×5 1.4 times)."""
        few = max(self.weight.shape[:2]) <= 4 and min(self.kernel_size) >= 4
        even = x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0
        return self.mode == "auto" and x.device.type == "cpu" and few and even and x.shape[-2:].numel() >= 48 * 48

    def forward(self, input: Tensor) -> Tensor:
        if self.uses_fft:
            return fft_conv2d(input, self.weight, self.bias)
        convolve = blocked_conv2d if self._uses_squares(input) else direct_conv2d
        return convolve(input, self.weight, self.bias)
