"""The network has the paper's shape; its variants differ from it by exactly the part they are named after."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fermoe.errors import UserError
from fermoe.network import model, resnet
from fermoe.network.model import (
    VARIANTS,
    ExpressNetMoE,
    MixtureOfExperts,
    ModelConfig,
    load_balancing_loss,
    parameter_counts,
)

PUBLISHED = {
    "cnn1": 8_619_824,
    "cnn2": 458_208,
    "resnet": 23_561_152,
    "fusion": 1_180_160,
    "moe_cnn": 1_052_676,
    "moe_expression": 1_052_676,
}


@pytest.mark.parametrize(("classes", "head", "trainable"), [(7, 7_175, 35_876_751), (8, 8_200, 35_877_776)])
def test_parameters_equal_the_published_counts_to_the_unit(classes: int, head: int, trainable: int) -> None:
    counts = parameter_counts(ExpressNetMoE(ModelConfig(num_classes=classes)))
    assert {name: counts[name] for name in PUBLISHED} == PUBLISHED
    assert counts["head"] == head
    assert counts["trainable"] == trainable
    assert counts["moving_statistics"] == 55_120
    assert counts["total"] == trainable + 55_120


def miniature(variant: str = "full", classes: int = 7) -> ExpressNetMoE:
    torch.manual_seed(0)
    return ExpressNetMoE(ModelConfig.miniature(classes, variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_and_evaluates_deterministically(variant: str) -> None:
    model = miniature(variant)
    images = torch.rand(4, 3, 64, 64)
    out = model(images)
    (F.cross_entropy(out.logits, torch.tensor([0, 1, 2, 3])) + model.auxiliary_loss(out)).backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert trained | frozen == {name for name, _ in model.named_parameters()}
    model.eval()
    assert torch.equal(model(images).logits, model(images).logits)


@pytest.mark.parametrize("images", [3, 4, 7])
def test_large_pictures_that_pass_a_few_at_a_time_give_the_same(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, pictures, seen = miniature().resnet.eval(), torch.rand(images, 3, 64, 64), []
    for stage in network.stages:
        stage[0].register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(resnet, "PART", 3)
    with torch.no_grad():
        whole = network(pictures)
        assert seen == 4 * [images]
        seen.clear()
        monkeypatch.setattr(resnet, "LARGE", 64 * 64)
        parts = network(pictures)
    sizes = {3: [3], 4: [3, 1], 7: [3, 3, 1]}[images]
    assert seen == [size for size in sizes for _ in network.stages]
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("least", "early"), [(0.5, True), (0.0, True), (-1.5, False)])
def test_pooling_before_the_norm_gives_the_same_to_the_bit_where_the_norm_turns_nothing_round(
    least: float, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, pictures = miniature().eval(), torch.randn(4, 3, 64, 64)
    for name, module in network.named_modules():
        if ".norms." in name:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            with torch.no_grad():
                module.weight[0] = least
    with torch.no_grad():
        assert network.cnn1.blocks._pools_early(pictures) == early
        found = [block(pictures) for block in (network.cnn1.blocks, network.cnn2.blocks)]
        monkeypatch.setattr(model.Extractor, "_pools_early", lambda *_: False)
        plain = [block(pictures) for block in (network.cnn1.blocks, network.cnn2.blocks)]
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


def test_pictures_stay_together_where_gradients_are_wanted_and_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet, "PART", 1)
    monkeypatch.setattr(resnet, "LARGE", 1)
    network, seen = miniature(), []
    network.resnet.stages[0].register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    network(torch.rand(3, 3, 64, 64))
    network.eval()(torch.rand(3, 3, 64, 64))
    assert seen == [3, 3]


@pytest.mark.parametrize(
    ("variant", "features", "gates"),
    [
        ("full", {"cnn1", "cnn2", "resnet", "fused", "moe_cnn", "moe_expression"}, {"cnn", "expression"}),
        ("backbone", {"resnet"}, set()),
        ("no_cnn1", {"cnn2", "resnet", "fused", "moe_expression"}, {"expression"}),
        ("no_cnn2", {"cnn1", "resnet", "fused", "moe_cnn", "moe_expression"}, {"cnn", "expression"}),
        ("no_moe", {"cnn1", "cnn2", "resnet", "fused", "moe_cnn", "moe_expression"}, set()),
    ],
)
def test_a_variant_lacks_what_its_name_says(variant: str, features: set[str], gates: set[str]) -> None:
    out = miniature(variant).eval()(torch.rand(2, 3, 64, 64))
    assert set(out.features) == features
    assert set(out.gates) == gates
    for gate in out.gates.values():
        assert gate.shape == (2, 4)
        torch.testing.assert_close(gate.sum(1), torch.ones(2))


def test_a_mixture_equals_a_plain_loop_over_images_and_experts() -> None:
    torch.manual_seed(1)
    mixture = MixtureOfExperts(width=8, experts=4, top_k=2)
    x = torch.randn(5, 8)
    mixed, gates = mixture(x)
    for n in range(5):
        softmax = (mixture.gate(x[n])).softmax(0)
        expected = torch.zeros(8)
        for e in sorted(range(4), key=lambda e: -softmax[e])[:2]:
            expected += softmax[e] * F.relu(mixture.experts[e](x[n]))  # not renormalised
        torch.testing.assert_close(mixed[n], expected)
        torch.testing.assert_close(gates[n], softmax)


def test_the_dense_gate_keeps_every_expert_and_the_random_gate_never_trains() -> None:
    dense = MixtureOfExperts(8, 4, 2, "dense")
    gates = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    assert torch.equal(dense.weights(gates), gates)
    random = MixtureOfExperts(8, 4, 2, "random")
    assert not any(p.requires_grad for p in random.gate.parameters())
    assert torch.equal(random.weights(gates), torch.tensor([[0.4, 0.3, 0.0, 0.0]]))


def test_the_balancing_loss_is_one_when_balanced_and_largest_when_collapsed() -> None:
    balanced = torch.eye(4) * 0.6 + torch.eye(4).roll(1, 0) * 0.4
    assert load_balancing_loss(balanced, 2).item() == pytest.approx(1.0)
    collapsed = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).repeat(8, 1)
    assert load_balancing_loss(collapsed, 2).item() == pytest.approx(2.0)  # E / k


def test_only_the_balanced_variant_has_an_auxiliary_loss() -> None:
    images = torch.rand(4, 3, 64, 64)
    for variant in ("full", "balanced_gate"):
        model = miniature(variant)
        loss = model.auxiliary_loss(model(images)).item()
        assert (loss > 0) == (variant == "balanced_gate")


@pytest.mark.parametrize("wrong", [{"variant": "ful"}, {"num_classes": 1}, {"image_size": 8}, {"convolution": "magic"}])
def test_a_wrong_configuration_is_refused_in_one_line(wrong: dict) -> None:
    with pytest.raises(UserError) as error:
        ModelConfig(**wrong)
    assert "\n" not in str(error.value)
    assert str(next(iter(wrong.values()))) in str(error.value)
