"""What each block of the network costs: multiply-accumulates, and time on this machine.

Operations are counted on the meta device, where nothing is computed, with every convolution taken directly: one
multiply-accumulate (MAC) per kernel tap, channel pair and output pixel, as papers count them. Padding counts,
normalisation, activations and pooling do not. PyTorch's counter knows no FFT, so the cost of a convolution in the
frequency domain is given by `fft_macs`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fermoe.network.large_kernel import fast_length, fft_conv2d, same_padding
from fermoe.network.model import VARIANTS, ExpressNetMoE, ModelConfig, parameter_counts
from fermoe.paper.published import block_parameters


def block_macs(config: ModelConfig) -> dict[str, float]:
    """Multiply-accumulates for one image, forward, per block that has any, convolutions computed directly."""
    with torch.device("meta"):
        model = ExpressNetMoE(replace(config, convolution="direct")).eval()
        images = torch.empty(1, 3, config.image_size, config.image_size)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(images)
    counts = counter.get_flop_counts()
    blocks = {
        name: sum(counts.get(f"{type(model).__name__}.{name}", {}).values()) for name, _ in model.named_children()
    }
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
    is_paper = config == ModelConfig(config.num_classes, convolution=config.convolution)
    rows = []
    for block, title in known["title"].items():
        if block not in macs:
            continue
        module, x = getattr(model, str(block)), inputs[str(block)]
        rows.append(
            {
                "block": block,
                "title": title,
                "parameters": counts[str(block)],
                "published_parameters": known.at[block, "parameters"] if is_paper else math.nan,
                "gmac_direct": macs[str(block)] / 1e9,
                "forward_ms": _fastest_ms(partial(_forward, module, x), device, repeats) / batch,
                "training_ms": _fastest_ms(partial(_train, module, x), device, repeats) / batch,
            }
        )
    return pd.DataFrame(rows)


def _block_inputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What each block is given in a training step; it asks for a gradient where the block's input has one."""
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            inputs[name] = args[0].detach().requires_grad_(args[0].requires_grad)

        return hook

    hooks = [child.register_forward_pre_hook(keep(name)) for name, child in model.named_children()]
    model.train()(images)
    for hook in hooks:
        hook.remove()
    return inputs


def _forward(module: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        module.eval()(x)


def _train(module: nn.Module, x: Tensor) -> None:
    output = module.train()(x)
    output = output[0] if isinstance(output, tuple) else output  # a mixture also gives its gates
    output.sum().backward()


def _fastest_ms(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The least disturbed of `repeats` runs, after one that plans and allocates and is not counted."""
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds[1:])


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


def _padded_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    """The direct convolution at its best: told to pad by 37, oneDNN falls back to a loop a hundred times slower
    than on a picture that was padded beforehand."""
    before, after = same_padding(weight.shape[-1])
    return F.conv2d(F.pad(x, (before, after, before, after)), weight)


def compare_convolutions(
    config: ModelConfig | None = None, batch: int = 4, device: str | torch.device = "cpu", repeats: int = 1
) -> pd.DataFrame:
    """Each layer of extractor 1, directly and by FFT: the same function, two costs.

    Columns: layer, kernel, side, in_channels, out_channels, gmac_direct, gmac_fft (one image), direct_ms, fft_ms,
    speed_up (direct over FFT), largest_difference (between the two outputs, relative to the largest output). Times
    are per image of the batch, forward, in float32.
    """
    config = config or ModelConfig()
    device = torch.device(device)
    generator = torch.Generator().manual_seed(0)
    rows = []
    channels = (3, *config.cnn1.channels)
    for index, kernel in enumerate(config.cnn1.kernels):
        shape = (kernel, channels[index], channels[index + 1], config.image_size // 2**index)
        _, inputs, outputs, side = shape
        x = torch.rand(batch, inputs, side, side, generator=generator).to(device)
        weight = (torch.rand(outputs, inputs, kernel, kernel, generator=generator) - 0.5).to(device)
        with torch.no_grad():
            direct, fft = _padded_conv2d(x, weight), fft_conv2d(x, weight)
            direct_ms = _fastest_ms(partial(_padded_conv2d, x, weight), device, repeats) / batch
            fft_ms = _fastest_ms(partial(fft_conv2d, x, weight), device, repeats) / batch
        rows.append(
            {
                "layer": index + 1,
                "kernel": kernel,
                "side": side,
                "in_channels": inputs,
                "out_channels": outputs,
                "gmac_direct": direct_macs(*shape) / 1e9,
                "gmac_fft": fft_macs(*shape, batch) / 1e9,
                "direct_ms": direct_ms,
                "fft_ms": fft_ms,
                "speed_up": direct_ms / fft_ms,
                "largest_difference": float((direct - fft).abs().max() / direct.abs().max()),
            }
        )
    return pd.DataFrame(rows)


def variant_table(num_classes: int = 7) -> pd.DataFrame:
    """The eight variants, paper's size and miniature: variant, what, parameters, gmac, miniature_parameters,
    miniature_mmac (millions)."""
    rows = []
    for variant, what in VARIANTS.items():
        row: dict[str, Any] = {"variant": variant, "what": what}
        for prefix, unit, scale, size in (("", "gmac", 1e9, "paper"), ("miniature_", "mmac", 1e6, "miniature")):
            config = ModelConfig.named(size, num_classes, variant)
            with torch.device("meta"):
                row[f"{prefix}parameters"] = parameter_counts(ExpressNetMoE(config))["total"]
            row[f"{prefix}{unit}"] = sum(block_macs(config).values()) / scale
        rows.append(row)
    return pd.DataFrame(rows)


def shape_table(num_classes: int = 7) -> pd.DataFrame:
    """The paper's network beside the miniature: one row per property, columns property, paper, miniature."""

    def describe(config: ModelConfig) -> dict[str, str]:
        return {
            "picture": f"{config.image_size} × {config.image_size}",
            "extractor 1, kernels": ", ".join(map(str, config.cnn1.kernels)),
            "extractor 1, channels": ", ".join(map(str, config.cnn1.channels)),
            "extractor 2, kernels": ", ".join(map(str, config.cnn2.kernels)),
            "extractor 2, channels": ", ".join(map(str, config.cnn2.channels)),
            "ResNet, blocks per stage": ", ".join(map(str, config.resnet.depths)),
            "ResNet, features": f"{config.resnet.out_features:,}",
            "width of dense layers": str(config.width),
            "experts, used per image": f"{config.experts}, {config.top_k}",
            "dropout in blocks, elsewhere": f"{config.block_dropout}, {config.dropout}",
        }

    paper, miniature = (describe(ModelConfig.named(size, num_classes)) for size in ("paper", "miniature"))
    return pd.DataFrame({"property": list(paper), "paper": list(paper.values()), "miniature": list(miniature.values())})
