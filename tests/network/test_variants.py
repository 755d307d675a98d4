"""Variants that change one thing, compared with what they are made from."""

from __future__ import annotations

import torch

from fermoe.network.cost import variant_costs
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.network.variants import RENAMED, VARIANTS


def miniature(variant: str) -> ExpressNetMoE:
    return ExpressNetMoE(ModelConfig.miniature(7, variant))


def test_a_wider_resnet_has_every_width_times_the_factor_and_a_deeper_one_twice_the_blocks() -> None:
    backbone, wide, deep = (miniature(name).resnet for name in ("backbone", "backbone_x3", "backbone_deep"))
    shapes = {name: p.shape for name, p in backbone.named_parameters()}
    for name, p in wide.named_parameters():
        grown = [3 * n for n in shapes[name][:2]]
        if name == "stem.weight":
            grown[1] = 3  # colours
        assert list(p.shape[:2]) == grown[: p.dim()], name
    assert [len(stage) for stage in deep.stages] == [2 * len(stage) for stage in backbone.stages]


def test_the_twice_as_wide_resnet_costs_what_the_whole_network_costs() -> None:
    costs = variant_costs("miniature").set_index("variant")["mmac"]
    assert 0.9 < costs["backbone_x2"] / costs["full"] < 1.1


def test_extractor_2_with_large_kernels_keeps_its_channels_and_its_average() -> None:
    own, large = miniature("full"), miniature("cnn2_large")
    assert large.config.cnn2.kernels == own.config.cnn1.kernels[:5]  # type: ignore[union-attr]
    assert large.config.cnn2.channels == own.config.cnn2.channels  # type: ignore[union-attr]
    assert large.cnn2(torch.rand(2, 3, 64, 64)).shape == own.cnn2(torch.rand(2, 3, 64, 64)).shape


def test_extractor_1_averaged_does_not_see_where_something_is() -> None:
    network = miniature("cnn1_pooled").eval()
    seen: list[torch.Tensor] = []
    network.cnn1.dense.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(images := torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(seen[0], network.cnn1.blocks(images).mean((2, 3)))
    assert miniature("full").cnn1.dense.in_features == 4 * network.cnn1.dense.in_features  # maps of 2 × 2


def test_without_extractor_1_both_mixtures_see_the_fused_features() -> None:
    network = miniature("no_cnn1_two_mixtures").eval()
    out = network(torch.rand(3, 3, 64, 64))
    assert set(out.gates) == {"cnn", "expression"}
    torch.testing.assert_close(out.features["moe_cnn"], network.moe_cnn(out.features["fused"])[0])
    assert network.head.in_features == miniature("full").head.in_features


def test_an_earlier_name_is_the_variant_of_today() -> None:
    assert ModelConfig(variant="random_gate") == ModelConfig(variant="frozen_gate")
    assert set(RENAMED.values()) <= VARIANTS.keys()
    assert not set(RENAMED) & VARIANTS.keys()
