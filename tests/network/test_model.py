"""The network has the paper's shape; its variants differ from it by exactly the part they are named after."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from fermoe.errors import UserError
from fermoe.network.cost import variant_table
from fermoe.network.mixture import MixtureOfExperts, load_balancing_loss
from fermoe.network.model import SIZES, ExpressNetMoE, ModelConfig, parameter_counts
from fermoe.network.variants import VARIANTS, Variant, variants
from fermoe.network.weights import load_keras_weights

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


def test_the_dense_gate_keeps_every_expert_and_the_frozen_gate_never_trains() -> None:
    dense = MixtureOfExperts(8, 4, 2, "dense")
    gates = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    assert torch.equal(dense.weights(gates), gates)
    frozen = MixtureOfExperts(8, 4, 2, "frozen")
    assert not any(p.requires_grad for p in frozen.gate.parameters())
    assert torch.equal(frozen.weights(gates), torch.tensor([[0.4, 0.3, 0.0, 0.0]]))


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


def test_variants_are_named_by_group_in_their_order() -> None:
    assert variants() == list(VARIANTS)
    assert variants("whole") == ["full"]
    assert variants("part") == ["backbone", "no_moe", "no_cnn1", "no_cnn2"]
    assert variants("whole", "budget") == [
        "full", "backbone_x1_4", "backbone_x2", "backbone_x3", "backbone_deep"
    ]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_changes_the_fields_it_names_and_no_other(size: str, variant: str) -> None:
    config, full = (ModelConfig.named(size, 5, name) for name in (variant, "full"))
    changed = {key: value for key, value in vars(config).items() if value != vars(full)[key]}
    changed.pop("variant", None)
    changes = VARIANTS[variant].changes
    assert changed == {key: value(full) if callable(value) else value for key, value in changes.items()}
    assert dataclasses.replace(config) == config
    direct = dataclasses.replace(config, convolution="direct")
    assert dataclasses.replace(direct, convolution="auto") == config


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> str:
    changes = {"cnn1": None, "gate": None}
    monkeypatch.setitem(VARIANTS, "no_large", Variant("ResNet and small kernels", "two branches, no mixtures", changes))
    return "no_large"


def test_a_new_variant_is_one_entry(added: str) -> None:
    assert variants("part")[-1] == added
    network = miniature(added)
    out = network(torch.rand(2, 3, 64, 64))
    out.logits.sum().backward()
    assert (set(out.features), out.gates) == ({"cnn2", "resnet", "fused", "moe_expression"}, {})
    row = variant_table().set_index("variant").loc[added]
    assert row["what"] == "two branches, no mixtures"
    assert row["miniature_parameters"] == parameter_counts(network)["total"]
    # The full network without its first extractor and mixture, and with one dense layer instead of the other mixture.
    paper = parameter_counts(ExpressNetMoE())
    left_out = paper["cnn1"] + paper["moe_cnn"] + paper["moe_expression"] + 512 * 7
    assert row["parameters"] == paper["total"] - left_out + 512 * 512 + 512
    with pytest.raises(UserError, match="no_large"):
        load_keras_weights(network, {})


@pytest.mark.parametrize("gone", [{"fusion": False}, {"fusion": False, "cnn2": None}, {"cnn1": None, "cnn2": None}])
def test_parts_can_be_left_out_in_any_combination(gone: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "new", Variant("new", "new", {**gone, "balance_weight": 0.1}))
    network = miniature("new")
    out = network(torch.rand(2, 3, 64, 64))
    assert out.logits.shape == (2, 7)
    assert network.auxiliary_loss(out).item() > 0


def test_a_variant_that_changes_no_known_field_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "typo", Variant("typo", "typo", {"cnn3": None}))
    with pytest.raises(UserError, match="'cnn3'"):
        ModelConfig(variant="typo")


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'huge'.*paper, paper64, middle, miniature"):
        ModelConfig.named("huge", 7)


@pytest.mark.parametrize(
    "wrong",
    [{"variant": "ful"}, {"num_classes": 1}, {"image_size": 8}, {"convolution": "magic"}, {"gate": "topk"}],
)
def test_a_wrong_configuration_is_refused_in_one_line(wrong: dict) -> None:
    with pytest.raises(UserError) as error:
        ModelConfig(**wrong)
    assert "\n" not in str(error.value)
    assert str(next(iter(wrong.values()))) in str(error.value)
