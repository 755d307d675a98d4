"""Figures of the network: parameters, operations and time. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fermoe.plots.style import COLOURS, HATCHES, MARKERS, _axes, _finish


def plot_parameters(blocks: pd.DataFrame, ax: Axes | None = None, title: str = "Parameters by block") -> Axes:
    """One bar per block with its count written beside it; `blocks` has the columns title, parameters."""
    ax = _axes(ax, (7.5, 1.4 + 0.38 * len(blocks)))
    millions = blocks["parameters"] / 1e6
    bars = ax.barh(blocks["title"], millions, color=COLOURS["sky"], edgecolor=COLOURS["blue"])
    ax.bar_label(bars, labels=[f"{count:,}" for count in blocks["parameters"]], padding=4, fontsize=9.5)
    ax.set_xlim(0, 1.28 * millions.max())
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return _finish(ax, title, "Parameters (millions)", "Block")


def plot_block_costs(costs: pd.DataFrame, ax: Axes | None = None, title: str = "Where the cost lies") -> Axes:
    """Each block's share of the network's parameters, operations and times; `costs` is of `profiling.block_costs`."""
    measures = {
        "parameters": "parameters",
        "gmac_direct": "multiply-accumulates",
        "forward_ms": "time, forward",
        "training_ms": "time, training",
    }
    if ax is None:
        _, ax = plt.subplots(figsize=(8.4, 1.4 + 0.62 * len(costs)))
    height = 0.8 / len(measures)
    colours = (COLOURS["sky"], COLOURS["blue"], COLOURS["orange"], COLOURS["vermillion"])
    for index, (column, name) in enumerate(measures.items()):
        share = 100 * costs[column] / costs[column].sum()
        place = np.arange(len(costs)) + (index - (len(measures) - 1) / 2) * height
        hatch, colour = HATCHES[index], colours[index]
        bars = ax.barh(place, share, height, color=colour, hatch=hatch, edgecolor="white", label=name)
        labels = [f"{s:.1f}" if s >= 0.05 else "<0.1" for s in share]
        ax.bar_label(bars, labels=labels, padding=3, fontsize=8)
    ax.set_yticks(range(len(costs)), costs["title"])
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right")
    ax.set(title=title, xlabel="Share of the whole network (%)", ylabel="Block")
    return ax


def plot_convolutions(layers: pd.DataFrame, ax: Axes | None = None, title: str = "Direct and FFT convolution") -> Axes:
    """Time of each layer both ways, on a logarithmic scale; `layers` is of `profiling.compare_convolutions`."""
    if ax is None:
        _, ax = plt.subplots()
    places = np.arange(len(layers))
    for index, (column, name, colour) in enumerate((("direct_ms", "direct", "blue"), ("fft_ms", "FFT", "vermillion"))):
        ax.plot(places, layers[column], MARKERS[index], ls=("-", "--")[index], color=COLOURS[colour], label=name)
    names = [f"{r.kernel}×{r.kernel}\non {r.side}×{r.side}" for r in layers.itertuples()]
    ax.set_xticks(places, names)
    ax.set_yscale("log")
    ax.legend(loc="best")
    ax.set(title=title, xlabel="Kernel and picture of the layer (pixels)", ylabel="Time per image, forward (ms)")
    return ax
