"""The diagram's blocks and connections are those of the forward pass, of every variant."""

from __future__ import annotations

import pytest
import torch

from fermoe.network.graph import IMAGES, flow
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.network.variants import VARIANTS

FULL = {
    "resnet": {IMAGES}, "cnn2": {IMAGES}, "cnn1": {IMAGES}, "fusion": {"cnn2", "resnet"}, "moe_cnn": {"cnn1"},
    "moe_expression": {"fusion"}, "head": {"moe_cnn", "moe_expression"},
}  # fmt: skip


def blocks(variant: str):
    return flow(ExpressNetMoE(ModelConfig.miniature(5, variant)), torch.rand(2, 3, 64, 64))


def test_the_whole_network_is_connected_as_the_paper_draws_it() -> None:
    found = blocks("full")
    assert {block.name: set(block.inputs) for block in found} == FULL
    depths = {block.name: block.depth for block in found}
    assert depths["resnet"] == depths["cnn1"] == 1
    assert depths["head"] == 4
    assert {block.name: block.shape for block in found}["head"] == (2, 5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_block_leads_from_the_images_to_the_head(variant: str) -> None:
    found = {block.name: block for block in blocks(variant)}
    model = ExpressNetMoE(ModelConfig.miniature(5, variant))
    assert sum(block.parameters for block in found.values()) == sum(
        value.numel() for value in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point()))
    )
    reached, waiting = set(), ["head"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += found[name].inputs if name in found else ()
    assert reached == {*found, IMAGES}
