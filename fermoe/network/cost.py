"""What each block of the network costs: multiply-accumulates, and time on this machine.

Operations are counted on the meta device, where nothing is computed, with every convolution taken directly: one
multiply-accumulate (MAC) per kernel tap, channel pair and output pixel, as papers count them. Padding counts,
normalisation, activations and pooling do not. PyTorch's counter knows no FFT, so the cost of a convolution in the
frequency domain is given by `fft_macs`.
"""

from __future__ import annotations

import functools
import math
import time
import timeit
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from fermoe.errors import UserError
from fermoe.network.large_kernel import direct_conv2d, fast_length, fft_conv2d, same_padding
from fermoe.network.model import SIZES, ExpressNetMoE, ModelConfig, parameter_counts
from fermoe.network.variants import VARIANTS
from fermoe.paper.published import block_parameters


def block_macs(config: ModelConfig) -> dict[str, float]:
    """Multiply-accumulates for one image, forward, per block that has any, convolutions computed directly."""
    model = _on_meta(replace(config, convolution="direct")).eval()
    images = torch.empty(1, 3, config.image_size, config.image_size, device="meta")
    from torch.utils.flop_counter import FlopCounterMode  # here: it takes a third of a second, and few need it

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(images)
    counts, whole = counter.get_flop_counts(), type(model).__name__
    blocks = {name: sum(counts.get(f"{whole}.{name}", {}).values()) for name, _ in model.named_children()}
    return {name: flops / 2 for name, flops in blocks.items() if flops}  # it counts a MAC as two operations


def block_costs(
    config: ModelConfig | None = None, batch: int = 2, device: str | torch.device = "cpu", repeats: int = 3
) -> pd.DataFrame:
    """Parameters, operations and time of each block, in the order of the published table.

    Columns: block, title, parameters, published_parameters (NaN for other shapes than the paper's), gmac_direct
    (one image), forward_ms (one image, evaluation), training_ms (one image, forward and backward). Times are
    the fastest of `repeats` runs of a batch, divided by `batch`; each block runs alone on the input it gets in the
    whole network, in float32.
    """
    config = config or ModelConfig()
    device = torch.device(device)
    macs = block_macs(config)
    model = ExpressNetMoE(config).to(device)
    counts = parameter_counts(model)
    size = (batch, 3, config.image_size, config.image_size)
    inputs = _block_inputs(model, torch.rand(size, generator=torch.Generator().manual_seed(0)).to(device))
    known = block_parameters(config.num_classes).set_index("block")
    known = known[known.index.isin(macs)]
    is_paper = config == ModelConfig(config.num_classes, convolution=config.convolution)

    def milliseconds(run: Callable[[nn.Module, Tensor], None]) -> list[float]:
        runs = [partial(run, getattr(model, block), inputs[block]) for block in known.index]
        return [_fastest_ms(run, device, repeats) / batch for run in runs]

    table = {
        "block": known.index,
        "title": known["title"].to_list(),
        "parameters": [counts[block] for block in known.index],
        "published_parameters": known["parameters"].to_list() if is_paper else math.nan,
        "gmac_direct": [macs[block] / 1e9 for block in known.index],
        "forward_ms": milliseconds(_forward),
        "training_ms": milliseconds(_train),
    }
    return pd.DataFrame(table)


def _block_inputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What each block is given in a training step; it asks for a gradient where the block's input has one."""
    inputs: dict[str, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Any, ...], name: str) -> None:
        inputs[name] = args[0].detach().requires_grad_(args[0].requires_grad)

    hooks = [child.register_forward_pre_hook(partial(keep, name=name)) for name, child in model.named_children()]
    model.train()(images)
    for hook in hooks:
        hook.remove()
    return inputs


@torch.no_grad()
def _forward(module: nn.Module, x: Tensor) -> None:
    module.eval()(x)


def _train(module: nn.Module, x: Tensor) -> None:
    output = module.train()(x)
    output = output[0] if isinstance(output, tuple) else output  # a mixture also gives its gates
    output.sum().backward()


def _fastest_ms(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The least disturbed of `repeats` runs, after one that plans and allocates and is not counted."""

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return 1000 * min(timeit.Timer(run, timer=clock).repeat(1 + repeats, number=1)[1:])


def direct_macs(kernel: int, in_channels: int, out_channels: int, side: int) -> float:
    """Multiply-accumulates of a stride-1 "same" convolution of one side × side image: k² · side² · C · O."""
    return float(kernel**2 * side**2 * in_channels * out_channels)


def fft_macs(kernel: int, in_channels: int, out_channels: int, side: int, batch: int = 1) -> float:
    """The same convolution by FFT, per image, in multiply-accumulates of two operations each.

    A real two-dimensional transform of L × L takes about 2.5 L² log2(L²) operations; an image needs C of them there
    and O back, and the C · O of the kernels are shared by the batch. The product of the spectra takes four
    multiply-accumulates for each of L (L/2 + 1) frequencies and each channel pair.
    """
    length = fast_length(side + max(min(padding, side - 1) for padding in same_padding(kernel)))
    transforms = in_channels + out_channels + in_channels * out_channels / batch
    transform = 2.5 * length**2 * math.log2(length**2) / 2
    return transforms * transform + 4.0 * in_channels * out_channels * length * (length // 2 + 1)


@torch.no_grad()
def compare_convolutions(
    config: ModelConfig | None = None, batch: int = 4, device: str | torch.device = "cpu", repeats: int = 1
) -> pd.DataFrame:
    """Each layer of extractor 1, directly and by FFT: the same function, two costs.

    Columns: layer, kernel, side, in_channels, out_channels, gmac_direct, gmac_fft (one image), direct_ms, fft_ms,
    speed_up (direct over FFT), largest_difference (between the two outputs, relative to the largest output). Times
    are per image of the batch, forward, in float32.
    """
    config = config or ModelConfig()
    if config.cnn1 is None:
        raise UserError(f"variant '{config.variant}' has no extractor 1", fix="take the full network")
    device = torch.device(device)
    generator = torch.Generator().manual_seed(0)
    rows = []
    channels = (3, *config.cnn1.channels)
    for index, kernel in enumerate(config.cnn1.kernels):
        inputs, outputs, side = channels[index], channels[index + 1], config.image_size // 2**index
        x = torch.rand(batch, inputs, side, side, generator=generator).to(device)
        weight = (torch.rand(outputs, inputs, kernel, kernel, generator=generator) - 0.5).to(device)
        direct, fft = (partial(convolve, x, weight) for convolve in (direct_conv2d, fft_conv2d))
        row = {"layer": index + 1, "kernel": kernel, "side": side, "in_channels": inputs, "out_channels": outputs}
        row["gmac_direct"] = direct_macs(kernel, inputs, outputs, side) / 1e9
        row["gmac_fft"] = fft_macs(kernel, inputs, outputs, side, batch) / 1e9
        row["direct_ms"] = _fastest_ms(direct, device, repeats) / batch
        row["fft_ms"] = _fastest_ms(fft, device, repeats) / batch
        row["speed_up"] = row["direct_ms"] / row["fft_ms"]
        row["largest_difference"] = float((direct() - fft()).abs().max() / direct().abs().max())
        rows.append(row)
    return pd.DataFrame(rows)


class Cost(NamedTuple):
    """Parameters, and millions of multiply-accumulates for one image."""

    parameters: int
    mmac: float


@functools.cache
def variant_cost(size: str, variant: str = "full", num_classes: int = 7) -> Cost:
    """What a variant costs in one of `SIZES`, counted once: a network takes a second to build."""
    config = ModelConfig.named(size, num_classes, variant)
    return Cost(parameter_counts(_on_meta(config))["total"], sum(block_macs(config).values()) / 1e6)


def variant_costs(size: str, num_classes: int = 7) -> pd.DataFrame:
    """Every variant in one of `SIZES`: variant, and the columns of `Cost`."""
    costs = [variant_cost(size, name, num_classes) for name in VARIANTS]
    return pd.DataFrame(costs, columns=Cost._fields).assign(variant=[*VARIANTS])[["variant", *Cost._fields]]


def variant_table(num_classes: int = 7) -> pd.DataFrame:
    """Every variant as the paper's network and as the miniature.

    Columns: variant, what, parameters, gmac, miniature_parameters, miniature_mmac (millions).
    """
    table = pd.DataFrame([(name, variant.what) for name, variant in VARIANTS.items()], columns=["variant", "what"])
    paper, miniature = (variant_costs(size, num_classes) for size in ("paper", "miniature"))
    table = table.assign(parameters=paper["parameters"], gmac=paper["mmac"] / 1000)
    return table.assign(miniature_parameters=miniature["parameters"], miniature_mmac=miniature["mmac"])


def shape_table(num_classes: int = 7) -> pd.DataFrame:
    """The full network in every size: one row per property, columns property, paper, miniature."""
    columns = {size: _shape(ModelConfig.named(size, num_classes)) for size in SIZES}
    return pd.DataFrame(columns).rename_axis("property").reset_index()


def _shape(config: ModelConfig) -> dict[str, str]:
    shape = {"picture": f"{config.image_size} × {config.image_size}"}
    for number, extractor in enumerate((config.cnn1, config.cnn2), start=1):
        for what in ("kernels", "channels"):
            shape[f"extractor {number}, {what}"] = ", ".join(map(str, getattr(extractor, what, ["none"])))
    return shape | {
        "ResNet, blocks per stage": ", ".join(map(str, config.resnet.depths)),
        "ResNet, features": f"{config.resnet.out_features:,}",
        "width of dense layers": str(config.width),
        "experts, used per image": f"{config.experts}, {config.top_k}",
        "dropout in blocks, elsewhere": f"{config.block_dropout}, {config.dropout}",
    }


def share_table(num_classes: int = 7) -> pd.DataFrame:
    """What each block takes of the full network in every size: size, block, operations, parameters (shares of 1)."""
    rows = []
    for size in SIZES:
        config = ModelConfig.named(size, num_classes)
        macs, counts = block_macs(config), parameter_counts(_on_meta(config))
        whole = sum(macs.values())
        rows += [(size, block, macs[block] / whole, counts[block] / counts["total"]) for block in macs]
    return pd.DataFrame(rows, columns=["size", "block", "operations", "parameters"])


def _on_meta(config: ModelConfig) -> ExpressNetMoE:
    """The network without its numbers: for counting."""
    with torch.device("meta"):
        return ExpressNetMoE(config)
