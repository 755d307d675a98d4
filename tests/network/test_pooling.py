"""The cheap pooling is `F.max_pool2d(x, 2)` to the bit, equal pixels included, and its gradient too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fermoe.network import cpu
from fermoe.network.cpu import max_pool2

SHAPES = [(1, 1, 2, 2), (3, 4, 8, 6), (2, 3, 7, 9), (5, 2, 1, 4), (4, 3, 5, 2)]


def pooled(pool, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = pool(x)
    weight = torch.arange(1.0, y.numel() + 1, dtype=y.dtype).view(y.shape)
    (grad,) = torch.autograd.grad(y, x, weight)
    return y.detach(), grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("levels", [2, 4, 10**6])  # of grey: few levels make equal pixels
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[2] > 1])
def test_value_and_gradient_equal_pytorchs(shape: tuple[int, ...], levels: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(levels)
    x = (torch.randint(levels, shape, generator=generator) - levels // 2).to(dtype)
    for ours, expected in zip(pooled(max_pool2, x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
        assert torch.equal(ours, expected)
    with torch.no_grad():
        assert torch.equal(max_pool2(x), F.max_pool2d(x, 2))


def test_every_order_of_four_pixels_is_decided_as_in_pytorch() -> None:
    x = torch.cartesian_prod(*[torch.arange(3.0)] * 4).view(81, 1, 2, 2) - 1
    for ours, expected in zip(pooled(max_pool2, x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_images_that_are_pooled_in_parts_give_the_same(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 3, 6, 8)
    monkeypatch.setattr(cpu, "CHUNK", images * x[0].numel() * 4)
    for ours, expected in zip(pooled(max_pool2, x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3),
        lambda x: x[:, :, ::2],
        lambda x: x[:0],
    ],
)
def test_any_memory_order_and_an_empty_batch(arrange) -> None:
    x = arrange(torch.randn(2, 3, 8, 12))
    for ours, expected in zip(pooled(max_pool2, x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
        assert torch.equal(ours, expected)


def test_not_a_number_is_not_hidden() -> None:
    for place in range(4):
        x = torch.zeros(1, 1, 2, 2)
        x.view(-1)[place] = torch.nan
        assert max_pool2(x).isnan().all()
        assert max_pool2(x.requires_grad_()).isnan().all()
