"""The cheap mask is dropout: its rate, its expectation, its gradient, and nothing in evaluation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fermoe.network.cpu import Dropout

RATES = (0.05, 0.1, 0.2, 0.5, 0.9)


def dropped(rate: float, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return Dropout(rate).train()(x)


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_within_the_binomial_error(rate: float) -> None:
    n = 400_000
    zeros = (dropped(rate, torch.ones(n)) == 0).sum().item()
    assert abs(zeros - n * rate) < 4 * math.sqrt(n * rate * (1 - rate)) + n / 65536


@pytest.mark.parametrize("rate", RATES)
def test_what_is_kept_is_scaled_so_that_the_expectation_stays(rate: float) -> None:
    out = dropped(rate, torch.ones(400_000))
    scale = 65536 / (65536 - round(rate * 65536))
    assert set(out.unique().tolist()) == {0.0, torch.tensor(scale).item()}
    assert scale == pytest.approx(1 / (1 - rate), rel=2e-4)
    deviation = math.sqrt(rate / (1 - rate) / 400_000)
    assert out.mean().item() == pytest.approx(1.0, abs=4 * deviation)


def test_places_are_dropped_independently_of_their_neighbours() -> None:
    kept = (dropped(0.5, torch.ones(100_000, 8)) > 0).double() - 0.5
    correlation = 4 * kept.T @ kept / len(kept)  # columns 0 to 3 and 4 to 7 share a 64-bit draw
    assert (correlation - torch.eye(8)).abs().max() < 0.02


def test_the_gradient_is_the_mask() -> None:
    x = torch.randn(6, 5, 4, 4, requires_grad=True)
    out = dropped(0.3, x)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    mask = dropped(0.3, torch.ones(6, 5, 4, 4))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, mask * weight)
    torch.testing.assert_close(out.detach(), mask * x.detach())


def test_evaluation_is_the_identity() -> None:
    x = torch.randn(10, 10)
    assert torch.equal(Dropout(0.5).eval()(x), x)


@pytest.mark.parametrize("rate", [0.0, 1.0, 1e-6, 1 - 1e-6])
def test_the_ends_are_those_of_pytorch(rate: float) -> None:
    x = torch.randn(50, 50)
    torch.manual_seed(0)
    expected = nn.Dropout(round(rate)).train()(x)
    ours = dropped(rate, x)
    assert torch.isfinite(ours).all()
    if rate in (0.0, 1.0):
        assert torch.equal(ours, expected)
    else:
        assert ((ours == 0) == (expected == 0)).double().mean() > 0.99


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x,
        lambda x: x.transpose(0, 1),
        lambda x: x.permute(3, 2, 1, 0),
        lambda x: x[:, :, ::2],
        lambda x: x[0, 0].t(),
        lambda x: x[0].permute(2, 0, 1),
        lambda x: x[:1, :1, 0, 0].expand(6, 7),
        lambda x: x[0, 0, 0, 0],
        lambda x: x[:0],
        lambda x: x.double(),
        lambda x: x.bfloat16(),
    ],
)
def test_any_shape_type_and_memory_order_is_kept(make) -> None:
    x = make(torch.rand(4, 6, 10, 8) + 1)
    out = dropped(0.5, x)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    kept = out != 0
    assert torch.equal(out[kept], 2 * x[kept])
    if x.numel() > 40:
        assert 0.2 < kept.double().mean() < 0.8
        assert (
            out.is_contiguous(memory_format=torch.channels_last)
            or x.ndim != 4
            or not x.is_contiguous(memory_format=torch.channels_last)
        )


def test_channels_last_stays_channels_last() -> None:
    x = torch.rand(4, 6, 10, 8).contiguous(memory_format=torch.channels_last)
    assert dropped(0.5, x).stride() == x.stride()


def test_the_mask_is_decided_by_the_seed() -> None:
    x = torch.ones(1000)
    assert torch.equal(dropped(0.5, x, seed=3), dropped(0.5, x, seed=3))
    assert not torch.equal(dropped(0.5, x, seed=3), dropped(0.5, x, seed=4))
    torch.manual_seed(3)
    layer = Dropout(0.5).train()
    assert not torch.equal(layer(x), layer(x))
