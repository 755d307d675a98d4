"""The benchmark compares like with like: the same numbers on both sides, turn by turn, and ratios with their spread.

Nothing here depends on how fast anything is.
"""

from __future__ import annotations

import itertools
import math
import resource
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fermoe.bench import network
from fermoe.bench.network import PLAIN, RESNET50, BenchConfig, Networks, Timed, alternate, comparison
from fermoe.bench.plain_port import PaddedConv2d, plain_port, strong_port
from fermoe.network.cpu import Dropout
from fermoe.network.large_kernel import LargeKernelConv2d
from fermoe.network.model import ExpressNetMoE, ExtractorConfig, ModelConfig
from fermoe.network.resnet import ResNetConfig

SMALL = ModelConfig(
    num_classes=7,
    image_size=32,
    cnn1=ExtractorConfig((21, 14, 7, 3), (2, 3, 4, 5)),
    cnn2=ExtractorConfig((15, 5, 3), (2, 3, 4)),
    resnet=ResNetConfig(depths=(1, 1), stem=4, widths=(2, 4)),
    width=8,
    block_dropout=0.0,
    dropout=0.0,
)


@pytest.fixture
def pair() -> tuple[ExpressNetMoE, ExpressNetMoE]:
    torch.manual_seed(0)
    ours, plain = ExpressNetMoE(SMALL), plain_port(SMALL)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def test_the_plain_port_has_none_of_this_librarys_layers() -> None:
    kinds = [type(module) for module in plain_port(SMALL).modules()]
    assert not {LargeKernelConv2d, Dropout} & set(kinds)
    assert kinds.count(PaddedConv2d) == 7
    ours = [type(module) for module in ExpressNetMoE(SMALL).modules()]
    assert kinds.count(nn.Dropout) == ours.count(Dropout) == 5


@pytest.mark.parametrize("kernel", [1, 2, 3, 14, 75])
def test_a_plain_convolution_pads_as_keras_does(kernel: int) -> None:
    layer = PaddedConv2d(2, 3, kernel)
    x = torch.randn(1, 2, 9, 9)
    before, after = (kernel - 1) // 2, kernel // 2
    wide = torch.zeros(1, 2, 9 + before + after, 9 + before + after)
    wide[:, :, before : before + 9, before : before + 9] = x
    torch.testing.assert_close(layer(x), F.conv2d(wide, layer.weight, layer.bias))
    assert layer(x).shape == (1, 3, 9, 9)


@pytest.mark.parametrize("gradients", [True, False])
def test_both_sides_evaluate_to_the_same_numbers(pair: tuple[ExpressNetMoE, ExpressNetMoE], gradients: bool) -> None:
    images = torch.randn(8, 3, 32, 32)
    for model in pair:
        network.training_step(model, images, torch.optim.SGD(model.parameters(), lr=0.0))  # moves the norms
    pair[1].load_state_dict(pair[0].state_dict())
    with torch.set_grad_enabled(gradients):
        ours, plain = (model.eval()(images) for model in pair)
    torch.testing.assert_close(ours.logits, plain.logits, rtol=1e-4, atol=1e-5)
    for name, feature in ours.features.items():
        torch.testing.assert_close(feature, plain.features[name], rtol=1e-4, atol=1e-5)


def test_both_sides_take_the_same_training_step(pair: tuple[ExpressNetMoE, ExpressNetMoE]) -> None:
    images = torch.randn(4, 3, 32, 32)
    gradients = []
    for model in pair:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        network.training_step(model, images, optimizer)
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    scale = max(g.abs().max() for g in gradients[1].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-5 * scale, msg=name)
    for (name, ours), plain in zip(pair[0].named_buffers(), pair[1].buffers(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("variant", ["backbone", "no_cnn1", "no_cnn2"])
def test_every_variant_has_a_plain_port(variant: str) -> None:
    config = ModelConfig.miniature(7, variant)
    model = plain_port(config)
    model.load_state_dict(ExpressNetMoE(config).state_dict())
    assert not any(isinstance(m, LargeKernelConv2d) for m in model.modules())


def test_the_two_sides_take_turns_and_the_first_turn_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = itertools.count(), []
    times = {"ours": 0.002, "other": 0.010}
    now = 0.0

    def work(name: str) -> None:
        nonlocal now
        calls.append(name)
        now += times[name] * (100 if next(clock) < 2 else 1)  # the first run of each plans and allocates

    monkeypatch.setattr(network.time, "perf_counter", lambda: now)
    pairs = alternate(lambda: work("ours"), lambda: work("other"), 3, wait=lambda: calls.append("wait"))
    assert calls == ["wait", "ours", "wait", "wait", "other", "wait"] * 4
    assert [(round(a, 6), round(b, 6)) for a, b in pairs] == [(2.0, 10.0)] * 3


def test_a_row_is_the_median_ratio_of_neighbours_with_its_range() -> None:
    timed = Timed("training step: whole network", PLAIN, 8, [(10.0, 70.0), (20.0, 100.0), (10.0, 80.0)])
    row = comparison(timed, "cpu", promised=True)
    assert list(row) == network.COLUMNS
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (7.0, 5.0, 8.0)
    assert (row["ours_ms"], row["other_ms"], row["repeats"]) == (10.0, 80.0, 3)
    assert row["goal"] == 7
    assert math.isnan(comparison(timed, "cpu", promised=False)["goal"])
    assert math.isnan(comparison(timed._replace(batch=2), "cpu", promised=True)["goal"])


def test_the_rest_is_the_network_behind_fixed_branches() -> None:
    torch.manual_seed(0)
    model = ExpressNetMoE(SMALL).eval()
    images = torch.randn(2, 3, 32, 32)
    out = model(images)
    features = {name: out.features[name].detach() for name in network.BRANCHES}
    rest = network._rest(model, features)
    assert torch.equal(rest.eval()(torch.zeros(0)).logits, out.logits)
    network.forward_backward(rest, images)
    assert rest.cnn1.features.grad is not None
    assert model.fusion.weight.grad is not None
    assert all(p.grad is None for p in model.cnn1.parameters())


@pytest.fixture(scope="module")
def tables(session_cache):
    config = BenchConfig.quick()
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        # A fresh interpreter takes seconds to import PyTorch: the statements are run in this one.
        patch.setattr(
            network, "_fresh_ms", lambda statement: exec(statement) or (3.0 if "vision" in statement else 2.0)
        )
        table = network.network_benchmark(config, log=told.append)
    return table, told


def test_every_comparison_has_a_row(tables) -> None:
    table, told = tables
    assert list(table.columns[:12]) == network.COLUMNS
    assert {"processor", "cores", "torch", "torchvision"} <= set(table.columns)
    cpu = table[table["device"] == "cpu"]
    blocks = [f"{mode}: {b}" for mode in ("training", "inference") for b in (*network.BRANCHES.values(), "rest")]
    whole = [f"{what}: whole network" for what in ("training step", "inference")]
    expected = list(itertools.product(whole, (PLAIN, RESNET50)))
    expected += [(what, PLAIN) for what in blocks]
    expected += [("loader", "training step"), ("training step: miniature", network.ALONE), network.IMPORTS]
    rows = list(zip(cpu["what"], cpu["other"], strict=True))
    half = ("training step: whole network, bfloat16", network.FLOAT32)
    assert [row for row in rows if row != half] == expected  # bfloat16 is compared where it is fast
    assert len(told) == len(table)


def test_ratios_are_positive_and_lie_in_their_spread(tables) -> None:
    table, _ = tables
    assert (table[["ours_ms", "other_ms", "ratio"]] > 0).all(axis=None)
    assert ((table["ratio_low"] <= table["ratio"]) & (table["ratio"] <= table["ratio_high"])).all()
    sizes = table["other"] == network.ALONE  # short steps, repeated more often
    assert (table["repeats"] == BenchConfig.quick().repeats * (1 + 2 * sizes)).all()
    assert table["goal"].isna().all()  # the promises are about the paper's network
    imports = table[table["what"] == network.IMPORTS[0]].iloc[0]
    assert (imports["ours_ms"], imports["other_ms"], imports["ratio"]) == (2.0, 3.0, 1.5)


def test_every_goal_belongs_to_a_row_of_the_default_run() -> None:
    config = BenchConfig()
    batches = {"training step": config.training_batches, "inference": config.inference_batches}
    for what, other, batch in network.GOALS:
        kind, _, part = what.partition(": ")
        if part in config.sizes:
            assert (other, batch) == (network.ALONE, config.size_batch)
        elif part.endswith("bfloat16"):
            assert (other, batch) == (network.FLOAT32, config.block_batch)
        elif part == "whole network":
            assert batch in batches[kind]
            assert other in (PLAIN, RESNET50)
        elif part:
            assert part in network.BRANCHES.values()
            assert batch == config.block_batch
        else:
            assert (what, batch) in {("loader", config.loader_batch), (network.IMPORTS[0], 0)}


def test_a_statement_is_timed_in_an_interpreter_of_its_own() -> None:
    assert network._fresh_ms("import sys; assert 'torch' not in sys.modules") >= 0
    assert network._fresh_ms("time.sleep(0.05)") >= 50


class Here:
    """Stands in for a pool of one fresh process, whose start takes seconds: calls in this one."""

    def __init__(self, workers: int, context: object) -> None:
        assert (workers, context.get_start_method()) == (1, "spawn")

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, work, *args) -> Here:
        self.done = work(*args)
        return self

    def result(self) -> float:
        return self.done


def test_peak_memory_has_a_row_per_network_and_a_goal_for_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(network, "resnet50", lambda: nn.Sequential(nn.Conv2d(3, 7, 64), nn.Flatten()))
    table = network.memory_benchmark(BenchConfig.quick())
    assert table["what"].tolist() == ["whole network", RESNET50]
    assert (table["batch"] == 2).all()
    assert (table["peak_mib"] > 0).all()
    assert table["goal_mib"].isna().all()
    monkeypatch.setattr(network, "_peak_of_training", lambda what, model, batch: 1000.0)
    assert network.memory_benchmark()["goal_mib"].tolist()[0] == 8192


def test_the_peak_is_no_less_than_what_is_held_and_no_more_than_the_systems_count() -> None:
    held = torch.ones(200 * 2**20 // 4)  # 200 MiB
    peak = network.peak_resident_mib()
    assert held.nbytes / 2**20 < peak
    unit = 2**20 if sys.platform == "darwin" else 2**10
    assert peak <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit + 1


def test_the_loader_reads_grey_pictures_as_training_does(session_cache) -> None:
    timed = Networks("miniature", "cpu", repeats=1).loader(batch=4, batches=2)
    assert timed[:3] == ("loader", "training step", 4)
    assert len(timed.pairs) == 1


def test_the_strong_port_has_torchvisions_resnet_and_no_layer_of_this_library() -> None:
    with torch.device("meta"):
        port = strong_port(ModelConfig())
        images = torch.zeros(1, 3, 224, 224)
    kinds = {type(module) for module in port.modules()}
    assert type(port.resnet).__module__.startswith("torchvision")
    assert not {LargeKernelConv2d, Dropout} & kinds
    assert port.eval()(images).logits.shape == (1, 7)
