"""What makes the network fast changes nothing: cheap masks, early pooling, folded norms, pictures in parts."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fermoe.network import cpu
from fermoe.network.cpu import Dropout, MaxPool2, optimised, relu_dropout
from fermoe.network.model import ExpressNetMoE, ExpressNetOutput, ModelConfig
from fermoe.network.variants import variants


def miniature(variant: str = "full", least: float = 0.5, fast: bool = True) -> ExpressNetMoE:
    """A miniature without dropout and with uneven batch norms, as after training; each has a weight of `least`."""
    torch.manual_seed(0)
    config = dataclasses.replace(ModelConfig.miniature(7, variant), block_dropout=0.0, dropout=0.0)
    network = ExpressNetMoE(config, fast=fast)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
        nn.init.normal_(norm.running_mean, 0, 0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        with torch.no_grad():
            norm.weight[0] = least
    return network


def numbers(out: ExpressNetOutput) -> dict[str, Tensor]:
    """Everything that a network computes, by name."""
    return {"logits": out.logits, **out.gates, **out.features}


# The whole network


def test_a_network_is_fast_unless_it_is_asked_to_be_plain() -> None:
    ours, plain = (ExpressNetMoE(ModelConfig.miniature(), fast=fast) for fast in (True, False))
    assert {type(module) for module in ours.modules()} >= set(cpu.FAST.values())
    assert not {type(module) for module in plain.modules()} & set(cpu.FAST.values())
    assert list(ours.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("least", [0.5, -0.5])  # one weight below zero: pooling waits for the norm
@pytest.mark.parametrize("variant", variants())
def test_both_ways_evaluate_to_the_same_numbers(variant: str, least: float, order: torch.memory_format) -> None:
    ours, plain = (miniature(variant, least, fast).eval() for fast in (True, False))
    images = torch.randn(3, 3, 64, 64).contiguous(memory_format=order)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            found, expected = numbers(ours(images)), numbers(plain(images))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("training", [True, False])
def test_both_ways_give_the_same_gradients(training: bool) -> None:
    images = torch.randn(4, 3, 64, 64)
    gradients, statistics = [], []
    for fast in (True, False):
        network = miniature(fast=fast).train(training)
        F.cross_entropy(network(images).logits, torch.arange(4)).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
        statistics.append(dict(network.named_buffers()))
    scale = max(gradient.abs().max() for gradient in gradients[1].values())
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-3, atol=1e-5 * scale, msg=name)
    for name, expected in statistics[1].items():
        torch.testing.assert_close(statistics[0][name], expected, rtol=1e-4, atol=1e-5, msg=name)


def test_a_deep_copy_computes_the_same_and_shares_nothing() -> None:
    network, images = miniature().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(images).logits
        copied = copy.deepcopy(network)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(copied(images).logits, expected)


@pytest.mark.parametrize("images", [3, 4, 7])
def test_large_pictures_that_pass_a_few_at_a_time_give_the_same(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, pictures, seen = miniature().resnet.eval(), torch.rand(images, 3, 64, 64), []
    for stage in network.stages:
        stage.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(cpu, "PART", 3)
    with torch.no_grad():
        whole = network(pictures)
        assert seen == 4 * [images]
        seen.clear()
        monkeypatch.setattr(cpu, "LARGE", 64 * 64)
        parts = network(pictures)
    sizes = {3: [3], 4: [3, 1], 7: [3, 3, 1]}[images]
    assert seen == [size for size in sizes for _ in network.stages]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("least", "early"), [(0.5, True), (0.0, True), (-1.5, False)])
def test_pooling_before_the_norm_gives_the_same_to_the_bit_where_the_norm_turns_nothing_round(
    least: float, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, pictures = miniature(least=least).eval(), torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert network.cnn1.blocks._pools_early() == early
        found = [block(pictures) for block in (network.cnn1.blocks, network.cnn2.blocks)]
        monkeypatch.setattr(cpu.FastExtractor, "_pools_early", lambda *_: False)
        plain = [block(pictures) for block in (network.cnn1.blocks, network.cnn2.blocks)]
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


def test_pictures_stay_together_where_gradients_are_wanted_and_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "PART", 1)
    monkeypatch.setattr(cpu, "LARGE", 1)
    network, seen = miniature(), []
    network.resnet.stages[0].register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    network(torch.rand(3, 3, 64, 64))
    network.eval()(torch.rand(3, 3, 64, 64))
    assert seen == [3, 3]


@pytest.fixture(autouse=True)
def _pools_of_any_size_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "SMALL", 0)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_1x1_convolution_of_a_small_map_is_a_product_that_equals_it(stride: int, order: torch.memory_format) -> None:
    layer = nn.Conv2d(6, 10, 1, stride).double()
    x = torch.randn(3, 6, 7, 9, dtype=torch.float64).contiguous(memory_format=order).requires_grad_()
    fast = copy.deepcopy(layer)
    optimised(fast)
    outputs = [module(x) for module in (layer, fast)]
    torch.testing.assert_close(outputs[1], outputs[0])
    weight = torch.randn_like(outputs[0])
    gradients = [
        torch.autograd.grad(output, (x, *module.parameters()), weight)
        for output, module in zip(outputs, (layer, fast), strict=True)
    ]
    torch.testing.assert_close(gradients[1], gradients[0])


class Operations(TorchDispatchMode):
    """The names of what PyTorch computed."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__.partition(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_is_one_product_and_not_one_for_each_row_of_each_picture(
    precision: torch.dtype, stride: int, bias: bool
) -> None:
    """For those PyTorch copies the weights as often: once that took twenty times as long as the rest of the network."""
    layer = optimised(nn.Conv2d(6, 10, 1, stride, bias=bias)).requires_grad_(False)  # as batch norms fold weights
    x = torch.randn(3, 6, 4, 4).contiguous(memory_format=torch.channels_last)
    with (
        torch.no_grad(),
        torch.autocast("cpu", precision, enabled=precision != torch.float32),
        Operations() as computed,
    ):
        layer(x)
    assert "bmm" not in computed.names
    assert sum(name in ("mm", "addmm", "linear", "mkldnn_linear") for name in computed.names) == 1


# Dropout


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_relu_and_dropout_in_one_pass_are_the_two_layers(
    monkeypatch: pytest.MonkeyPatch, order: torch.memory_format, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(cpu, "PIECE", 64)  # several pieces, the last one short
    x = torch.randn(3, 5, 6, 7).to(dtype).contiguous(memory_format=order).requires_grad_()
    weight = torch.randn_like(x)
    found = []
    for run in (lambda t: relu_dropout(t, 0.3), lambda t: dropped(0.3, F.relu(t))):
        torch.manual_seed(0)
        y = run(x * 1)
        found.append((y.detach(), *torch.autograd.grad(y, x, weight)))
    torch.testing.assert_close(found[0], found[1])


def test_relu_and_dropout_of_rate_0_are_relu() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(relu_dropout(x.clone(), 0.0), F.relu(x))


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


# Pooling


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
    for ours, expected in zip(pooled(MaxPool2(2), x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
        assert torch.equal(ours, expected)
    with torch.no_grad():
        assert torch.equal(MaxPool2(2)(x), F.max_pool2d(x, 2))


def test_every_order_of_four_pixels_is_decided_as_in_pytorch() -> None:
    x = torch.cartesian_prod(*[torch.arange(3.0)] * 4).view(81, 1, 2, 2) - 1
    for ours, expected in zip(pooled(MaxPool2(2), x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_images_that_are_pooled_in_parts_give_the_same(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 3, 6, 8)
    monkeypatch.setattr(cpu, "CHUNK", images * x[0].numel() * 4)
    for ours, expected in zip(pooled(MaxPool2(2), x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
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
    for ours, expected in zip(pooled(MaxPool2(2), x), pooled(lambda t: F.max_pool2d(t, 2), x), strict=True):
        assert torch.equal(ours, expected)


def test_not_a_number_is_not_hidden() -> None:
    for place in range(4):
        x = torch.zeros(1, 1, 2, 2)
        x.view(-1)[place] = torch.nan
        assert MaxPool2(2)(x).isnan().all()
        assert MaxPool2(2)(x.requires_grad_()).isnan().all()
