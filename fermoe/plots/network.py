"""Figures of the network: parameters, operations and time. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from fermoe.plots import style


def plot_parameters(blocks: pd.DataFrame, ax: Axes | None = None, title: str = "Parameters by block") -> Axes:
    """One bar per block with its count written beside it; `blocks` has the columns title, parameters."""
    ax = style.axes_or_new(ax, (7.5, 1.4 + 0.38 * len(blocks)))
    millions = blocks["parameters"] / 1e6
    bars = ax.barh(blocks["title"], millions, color=style.COLOURS["sky"], edgecolor=style.COLOURS["blue"])
    ax.bar_label(bars, labels=[f"{count:,}" for count in blocks["parameters"]], padding=4, fontsize=9.5)
    ax.set_xlim(0, 1.28 * millions.max())
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return style.finish(ax, title, "Parameters (millions)", "Block")


def plot_block_costs(costs: pd.DataFrame, ax: Axes | None = None, title: str = "Where the cost lies") -> Axes:
    """Each block's share of the network's parameters, operations and times; `costs` is of `cost.block_costs`."""
    names = ["parameters", "multiply-accumulates", "time, forward", "time, training"]
    values = costs.set_index("title")[["parameters", "gmac_direct", "forward_ms", "training_ms"]]
    ax = style.axes_or_new(ax, (8.4, 1.4 + 0.62 * len(costs)))
    for bars in style.grouped_bars(ax, (100 * values / values.sum()).set_axis(names, axis=1), kind="barh"):
        ax.bar_label(bars, fmt=lambda share: f"{share:.1f}" if share >= 0.05 else "<0.1", padding=3, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.legend(loc="lower right")
    return style.finish(ax, title, "Share of the whole network (%)", "Block")


def plot_convolutions(layers: pd.DataFrame, ax: Axes | None = None, title: str = "Direct and FFT convolution") -> Axes:
    """Time of each layer both ways, on a logarithmic scale; `layers` is of `cost.compare_convolutions`."""
    ax = style.axes_or_new(ax)
    times = pd.DataFrame({"direct": layers["direct_ms"], "FFT": layers["fft_ms"]}).reset_index(drop=True)
    times.plot(ax=ax, style=["o-", "s--"], color=[style.COLOURS[c] for c in ("blue", "vermillion")], logy=True)
    names = [f"{r.kernel}×{r.kernel}\non {r.side}×{r.side}" for r in layers.itertuples()]
    ax.set_xticks(range(len(layers)), names)
    return style.finish(ax, title, "Kernel and picture of the layer (pixels)", "Time per image, forward (ms)")
