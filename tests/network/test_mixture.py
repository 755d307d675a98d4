"""How gates choose: by features, by a hash of the picture, or by chance."""

from __future__ import annotations

import pytest
import torch

from fermoe.network.mixture import MixtureOfExperts, hashed, load_balancing_loss
from fermoe.network.model import ExpressNetMoE, ModelConfig


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def splitmix64(key: int) -> int:
    """The finaliser of splitmix64, in Python's whole numbers."""
    mask = 2**64 - 1
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & mask
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & mask
    return key ^ (key >> 31)


def test_the_hash_is_that_of_a_plain_loop() -> None:
    images, experts, salt = pictures(3), 4, 1
    odd = torch.randint(-(2**62), 2**62, (3 * 8 * 8,), generator=torch.Generator().manual_seed(0)) * 2 + 1
    for image, scores in zip(images, hashed(images, experts, salt), strict=True):
        pixels = (image.flatten() * 256).round().long().tolist()
        key = sum(p * o for p, o in zip(pixels, odd.tolist(), strict=True))
        for expert in range(experts):
            mixed = splitmix64((key + (expert + 1 + experts * salt) * 0x9E3779B97F4A7C15) % 2**64)
            assert scores[expert].item() == pytest.approx((mixed >> 40) / 2**24, abs=0)


def test_hash_routing_knows_the_picture_and_not_its_content() -> None:
    mixture = MixtureOfExperts(8, 4, 2, "hash").eval()
    images = pictures(4000)
    _, gates = mixture(torch.randn(4000, 8), images)
    _, again = mixture(torch.randn(4000, 8), images)
    assert torch.equal(gates, again)  # whatever the features
    assert torch.equal(mixture(torch.randn(2, 8), images[5:7])[1], gates[5:7])  # and whatever the batch
    assert set(gates.unique().tolist()) == {0.0, 0.5}
    assert (gates.gt(0).float().mean(0) - 0.5).abs().max() < 0.04  # five standard errors
    # Brighter by one grey level is another picture with a choice of its own: two of four agree in a sixth of all cases.
    _, other = mixture(torch.randn(4000, 8), images + 1 / 128)
    assert (gates == other).all(1).float().mean().item() == pytest.approx(1 / 6, abs=0.03)


def test_the_two_mixtures_of_a_network_hash_apart() -> None:
    model = ExpressNetMoE(ModelConfig.miniature(7, "hash_gate")).eval()
    with torch.no_grad():
        gates = model(torch.rand(600, 3, 64, 64, generator=torch.Generator().manual_seed(1))).gates
    assert (gates["cnn"] == gates["expression"]).all(1).float().mean().item() == pytest.approx(1 / 6, abs=0.08)


def test_random_experts_change_in_training_and_stay_in_evaluation() -> None:
    mixture = MixtureOfExperts(8, 4, 2, "random")
    x, images = torch.randn(100, 8), pictures(100)
    assert not torch.equal(mixture(x, images)[1], mixture(x, images)[1])
    mixture.eval()
    assert torch.equal(mixture(x, images)[1], mixture(x, images)[1])


def test_routing_by_the_picture_needs_the_picture() -> None:
    with pytest.raises(ValueError, match="needs the images"):
        MixtureOfExperts(8, 4, 2, "hash")(torch.randn(2, 8))


def test_a_detached_gate_learns_and_its_input_does_not_learn_from_it() -> None:
    torch.manual_seed(0)
    mixture, x = MixtureOfExperts(8, 4, 2, "detached"), torch.randn(5, 8, requires_grad=True)
    mixed, gates = mixture(x)
    mixed.sum().backward()
    assert mixture.gate.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    other = x.detach().clone().requires_grad_()
    mixture.mix(other, mixture.weights(gates.detach())).sum().backward()  # the weights taken for constants
    torch.testing.assert_close(x.grad, other.grad)


def test_the_pooled_load_is_a_running_mean_that_evaluation_leaves_alone() -> None:
    mixture, expected = MixtureOfExperts(8, 4, 2, balance_batches=8), torch.full((4,), 0.25)
    for seed in range(5):
        load = torch.rand(4, generator=torch.Generator().manual_seed(seed))
        expected = expected * 7 / 8 + load / 8
        torch.testing.assert_close(mixture.running_load(load), expected)
    mixture.eval()
    torch.testing.assert_close(mixture.running_load(torch.ones(4)), expected)


def test_a_loss_over_pooled_loads_takes_them_for_the_batchs_own() -> None:
    gates = torch.tensor([[0.7, 0.2, 0.1, 0.0]] * 3)
    pooled = load_balancing_loss(gates, 2, lambda load: torch.full_like(load, 0.25))
    assert pooled.item() == pytest.approx(4 * 0.25)  # E · Σ ¼ · importance
