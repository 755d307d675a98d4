"""The frequency-domain convolution is `F.conv2d` with Keras "same" padding, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fermoe.network import large_kernel
from fermoe.network.large_kernel import LargeKernelConv2d, blocked_conv2d, direct_conv2d, fast_length, fft_conv2d

KERNELS = [1, 2, 3, 4, 5, 8, 9, 15, 24, 25, 50, 75]
SIZES = [(1, 1), (7, 5), (16, 16), (33, 20), (56, 56)]


def keras_same(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Written out independently: pad (k − 1) // 2 before and k // 2 after, then a valid convolution."""
    kh, kw = weight.shape[-2:]
    return F.conv2d(F.pad(x, ((kw - 1) // 2, kw // 2, (kh - 1) // 2, kh // 2)), weight, bias)


def relative_error(a: Tensor, b: Tensor) -> float:
    """Relative to the norm, or to 0.1 where a sum of few terms happens to cancel."""
    return ((a.double() - b).norm() / b.norm().clamp_min(0.1)).item()


@pytest.mark.parametrize(
    ("batch", "channels", "with_bias"),
    [(1, (1, 1), True), (3, (3, 4), True), (3, (3, 4), False), (2, (9, 5), True)],
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_value_and_gradients_equal_the_direct_convolution(
    kernel: int, size: tuple[int, int], batch: int, channels: tuple[int, int], with_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(kernel * 1000 + size[0])
    x = torch.randn(batch, channels[0], *size, generator=generator, requires_grad=True)
    weight = torch.randn(channels[1], channels[0], kernel, kernel, generator=generator, requires_grad=True)
    bias = torch.randn(channels[1], generator=generator, requires_grad=True) if with_bias else None
    inputs = [t for t in (x, weight, bias) if t is not None]

    ours = fft_conv2d(x, weight, bias)
    expected = keras_same(x.double(), weight.double(), None if bias is None else bias.double())
    grad = torch.randn(ours.shape, generator=generator)
    assert relative_error(ours, expected) < 1e-5
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, grad),
        torch.autograd.grad(expected, inputs, grad.double()),
        strict=True,
    ):
        assert relative_error(mine, theirs.double()) < 1e-5


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 4), (5, 5), (6, 7), (8, 5)])
@pytest.mark.parametrize("size", [(8, 8), (4, 10)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_on_squares_of_pixels_the_convolution_and_its_gradients_are_the_same(
    kernel: tuple[int, int], size: tuple[int, int], order: torch.memory_format
) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64).contiguous(memory_format=order).requires_grad_()
    weight = torch.randn(4, 3, *kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    ours, expected = blocked_conv2d(x, weight, bias), keras_same(x, weight, bias)
    torch.testing.assert_close(ours, expected)
    gradient = torch.randn_like(ours)
    found, wanted = (torch.autograd.grad(y, (x, weight, bias), gradient) for y in (ours, expected))
    torch.testing.assert_close(found, wanted)


def test_few_channels_of_a_large_even_map_go_by_squares_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for name in ("blocked_conv2d", "direct_conv2d", "fft_conv2d"):
        monkeypatch.setattr(large_kernel, name, lambda *_arguments, name=name: seen.append(name.partition("_")[0]))
    for channels, kernel, side in ((2, 5, 64), (2, 5, 63), (2, 5, 32), (8, 5, 64), (2, 3, 64), (2, 21, 64)):
        LargeKernelConv2d(3, channels, kernel)(torch.zeros(1, 3, side, side))
    LargeKernelConv2d(3, 2, 5, mode="direct")(torch.zeros(1, 3, 64, 64))
    assert seen == ["blocked", "direct", "direct", "direct", "direct", "fft", "direct"]


def test_rectangular_kernels_are_padded_per_axis() -> None:
    x, weight = torch.randn(2, 3, 20, 31), torch.randn(4, 3, 6, 15)
    assert relative_error(fft_conv2d(x, weight), keras_same(x.double(), weight.double(), None)) < 1e-5


@pytest.mark.parametrize("channels", [2, large_kernel.FREQUENCIES_FIRST])
def test_gradcheck_in_double_precision(channels: int) -> None:
    x = torch.randn(2, channels, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, channels, 4, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fft_conv2d, (x, weight), fast_mode=True)


@pytest.mark.parametrize("channels", [3, large_kernel.FREQUENCIES_FIRST])
@pytest.mark.parametrize("images", [1, 2, 4])
def test_images_that_go_through_in_parts_give_the_same(channels: int, images: int, monkeypatch) -> None:
    """A part of the batch at a time; the last part may be smaller."""
    x = torch.randn(5, channels, 12, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, channels, 9, 9, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    parts: list[int] = []
    monkeypatch.setattr(large_kernel, "_images_at_once", lambda size, device: parts.append(images) or images)
    ours, expected = fft_conv2d(x, weight, bias), keras_same(x, weight, bias)
    grad = torch.randn_like(ours)
    assert parts == [images]
    torch.testing.assert_close(ours, expected)
    for mine, theirs in zip(*(torch.autograd.grad(y, (x, weight, bias), grad) for y in (ours, expected)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_parts_stay_near_the_cache_on_a_cpu_and_are_whole_elsewhere() -> None:
    cpu, other = torch.device("cpu"), torch.device("cuda")
    assert large_kernel._images_at_once(large_kernel.CHUNK // 3, cpu) == 3
    assert large_kernel._images_at_once(2 * large_kernel.CHUNK, cpu) == 1
    assert large_kernel._images_at_once(2 * large_kernel.CHUNK, other) > 10**6


def test_training_goes_on_after_an_evaluation() -> None:
    """What evaluation keeps for later must not be barred from gradients."""
    large_kernel._waves.cache_clear()
    layer = LargeKernelConv2d(3, 4, 15)
    with torch.inference_mode():
        expected = layer(torch.ones(1, 3, 20, 20))
    result = layer(torch.ones(1, 3, 20, 20, requires_grad=True))
    result.sum().backward()
    assert layer.weight.grad is not None
    assert torch.equal(result, expected)


def test_only_the_needed_gradient_is_computed() -> None:
    x, weight = torch.randn(1, 3, 9, 9), torch.randn(2, 3, 5, 5, requires_grad=True)
    fft_conv2d(x, weight).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_under_autocast_the_frequency_domain_stays_float32() -> None:
    x, weight = torch.randn(1, 3, 30, 30), torch.randn(4, 3, 15, 15)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fft_conv2d(x, weight)
    assert relative_error(y, keras_same(x.double(), weight.double(), None)) < 1e-5


@pytest.mark.parametrize("kernel", [3, 25, 50])
def test_every_mode_has_the_state_dict_of_a_plain_convolution(kernel: int) -> None:
    plain = torch.nn.Conv2d(3, 4, kernel)
    x = torch.randn(2, 3, 28, 28)
    results = []
    for mode in ("auto", "fft", "direct"):
        layer = LargeKernelConv2d(3, 4, kernel, mode=mode)
        layer.load_state_dict(plain.state_dict())
        results.append(layer(x))
    for result in results:
        torch.testing.assert_close(result, keras_same(x, plain.weight, plain.bias), rtol=1e-4, atol=1e-4)


def test_auto_takes_the_fft_for_large_kernels_only() -> None:
    assert LargeKernelConv2d(3, 8, 75).uses_fft
    assert not LargeKernelConv2d(3, 8, 3).uses_fft
    assert not LargeKernelConv2d(3, 8, 75, mode="direct").uses_fft


@pytest.mark.parametrize("minimum", [1, 2, 97, 249, 261])
def test_fast_lengths_are_even_and_have_small_prime_factors(minimum: int) -> None:
    length = fast_length(minimum)
    assert length >= minimum
    assert length % 2 == 0
    for prime in (2, 3, 5, 7):
        while length % prime == 0:
            length //= prime
    assert length == 1


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="N, C, H, W"):
        fft_conv2d(torch.randn(3, 8, 8), torch.randn(4, 3, 3, 3))
    with pytest.raises(ValueError, match=r"\(1, 2, 8, 8\)"):
        fft_conv2d(torch.randn(1, 2, 8, 8), torch.randn(4, 3, 3, 3))


def test_direct_is_the_same_function() -> None:
    x, weight, bias = torch.randn(1, 2, 9, 9), torch.randn(3, 2, 4, 4), torch.randn(3)
    torch.testing.assert_close(direct_conv2d(x, weight, bias), keras_same(x, weight, bias))
