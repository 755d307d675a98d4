"""Figures of the network: parameters, operations and time. `plot_x(data, ax=None) → ax`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from statistics import fmean

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from fermoe.network.graph import IMAGES, Block
from fermoe.paper import published
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


def plot_network(
    blocks: Sequence[Block], ax: Axes | None = None, title: str = "The network", images: str = "images"
) -> Axes:
    """A diagram: one box per block with what it gives and its parameters, arrows from what it reads, images left.

    `blocks` is of `graph.flow`; `images` names the input in its box.
    """
    columns = 1 + max(block.depth for block in blocks)
    ax = style.axes_or_new(ax, (2.75 * columns, 4.6))
    names = published.block_parameters().set_index("block")["title"]
    places = {IMAGES: (0.0, 0.0)}
    for depth in range(1, columns):
        mine = {block.name: fmean(places[one][1] for one in block.inputs) for block in blocks if block.depth == depth}
        height = -1.1 * (len(mine) - 1) / 2 if depth == 1 else -math.inf
        for name in sorted(mine, key=lambda name: mine[name]):  # beside what it reads, or the paths would cross
            height = height if depth == 1 else max(mine[name], height)
            places[name] = (float(depth), height)
            height += 1.1
    for block in blocks:
        for source in block.inputs:
            start, end = places[source], places[block.name]
            ends = ((start[0] + 0.41, start[1]), (end[0] - 0.41, end[1]))
            ax.annotate("", ends[1], ends[0], arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.2})
    said = {IMAGES: images} | {
        block.name: f"{textwrap.fill(names.get(block.name, block.name), 20)}\n"
        f"→ {' × '.join(map(str, block.shape[1:]))}\n{block.parameters:,}"
        for block in blocks
    }
    for name, (x, y) in places.items():
        box = FancyBboxPatch((x - 0.38, y - 0.36), 0.76, 0.72, "round,pad=0.02", fc="white", lw=1.5)
        box.set_edgecolor(style.COLOURS["blue"])
        ax.add_patch(box)
        ax.text(x, y, said[name], ha="center", va="center", fontsize=9)
    ax.set_xlim(-0.5, columns - 0.5)
    heights = [y for _, y in places.values()]
    ax.set_ylim(min(heights) - 0.6, max(heights) + 0.6)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return style.finish(ax, title, "From the images to the classes", "Paths")
