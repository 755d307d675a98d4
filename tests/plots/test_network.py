"""Figures of the network's size and cost show their tables."""

import functools

import numpy as np
import pytest
import torch

from fermoe.network import cost, graph
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.paper import published
from fermoe.plots import network as network_plots
from tests.plots.helpers import legend_names, row_names


@functools.cache
def costs():
    return cost.block_costs(ModelConfig.miniature(), batch=2, repeats=1)


@functools.cache
def layers():
    return cost.compare_convolutions(ModelConfig.miniature(), batch=1)


@functools.cache
def blocks():
    return graph.flow(ExpressNetMoE(ModelConfig.miniature()), torch.rand(1, 3, 64, 64))


FIGURES = {
    "network": lambda **k: network_plots.plot_network(blocks(), **k),
    "parameters": lambda **k: network_plots.plot_parameters(published.block_parameters(), **k),
    "block costs": lambda **k: network_plots.plot_block_costs(costs(), **k),
    "convolutions": lambda **k: network_plots.plot_convolutions(layers(), **k),
}


def test_every_block_has_its_bar_and_its_count():
    blocks = published.block_parameters()
    ax = network_plots.plot_parameters(blocks)
    assert row_names(ax) == blocks["title"].tolist()
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(blocks["parameters"] / 1e6)
    assert [text.get_text() for text in ax.texts] == [f"{count:,}" for count in blocks["parameters"]]


def test_costs_are_shares_of_the_whole_network_each_with_its_number():
    table = costs()
    ax = network_plots.plot_block_costs(table)
    assert row_names(ax) == table["title"].tolist()
    assert legend_names(ax) == ["parameters", "multiply-accumulates", "time, forward", "time, training"]
    columns = ("parameters", "gmac_direct", "forward_ms", "training_ms")
    for bars, column in zip(ax.containers, columns, strict=True):
        assert [bar.get_width() for bar in bars] == pytest.approx(100 * table[column] / table[column].sum())
    assert len(ax.texts) == 4 * len(table)


def test_both_ways_of_convolving_have_a_time_for_every_layer():
    table = layers()
    ax = network_plots.plot_convolutions(table)
    drawn = {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    assert drawn == {"direct": table["direct_ms"].tolist(), "FFT": table["fft_ms"].tolist()}
    assert len(ax.get_xticks()) == len(table)
    assert ax.get_yscale() == "log"


def test_the_diagram_has_a_box_for_every_block_and_no_arrow_through_one():
    ax = network_plots.plot_network(blocks())
    boxes = [patch.get_path().get_extents(patch.get_patch_transform()) for patch in ax.patches]
    assert len(boxes) == 1 + len(blocks())
    said = [text.get_text() for text in ax.texts]
    for block in blocks():
        assert sum(f"{block.parameters:,}" in text for text in said) >= 1
    arrows = [(text.xyann, text.xy) for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert len(arrows) == sum(len(block.inputs) for block in blocks())
    for (x0, y0), (x1, y1) in arrows:
        for step in np.linspace(0.02, 0.98, 60):
            assert not any(box.contains(x0 + step * (x1 - x0), y0 + step * (y1 - y0)) for box in boxes)
