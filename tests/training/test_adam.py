"""Adam without PyTorch's optimiser class takes that class's steps."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from fermoe.training.adam import EPSILON, Adam


def twins() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours, theirs = (nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def backward(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    model(torch.randn(8, 5, generator=generator)).square().sum().backward()


def test_steps_equal_those_of_torchs_class_to_the_bit() -> None:
    ours, theirs = twins()
    for model in (ours, theirs):
        model[0].bias.requires_grad_(False)  # a frozen parameter stays
    mine = Adam(ours.parameters())
    reference = torch.optim.Adam(theirs.parameters(), eps=EPSILON, fused=True)
    for step, rate in enumerate((0.1, 0.03, 0.2)):
        reference.param_groups[0]["lr"] = rate
        for model in (ours, theirs):
            backward(model, step)
        mine.step(rate)
        reference.step()
        reference.zero_grad()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)
            assert one.grad is None


def test_a_parameter_without_a_gradient_keeps_its_place() -> None:
    model, _ = twins()
    optimizer = Adam(model.parameters())
    before = [parameter.clone() for parameter in model.parameters()]
    model[2].weight.sum().backward()
    optimizer.step(0.1)
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True)]
    assert changed == [False, False, True, False]
    assert [int(step) for step in optimizer.steps] == [0, 0, 1, 0]


def test_a_restored_state_goes_on_as_if_never_saved() -> None:
    one, other = twins()
    first = Adam(one.parameters())
    for step in range(2):
        backward(one, step)
        first.step(0.1)
    second = Adam(other.parameters())
    other.load_state_dict(one.state_dict())
    second.load_state_dict({name: [t.clone() for t in tensors] for name, tensors in first.state_dict().items()})
    for model, optimizer in ((one, first), (other, second)):
        backward(model, 2)
        optimizer.step(0.1)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("module", ["torch._dynamo", "scipy.stats", "sklearn", "seaborn", "papermill"])
def test_a_step_loads_neither_pytorchs_compiler_nor_what_a_training_does_without(module: str) -> None:
    code = (
        "import sys, torch; from torch import nn; from fermoe.training import train; from fermoe.plots import training;"
        "p = nn.Parameter(torch.ones(3)); o = train.Adam([p]); p.sum().backward(); o.step(0.1);"
        f"sys.exit({module!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
