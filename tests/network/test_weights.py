"""Weights go out and come back to the bit; a file that does not fit is one line and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet18, resnet50

from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.network.weights import load_initial_weights, load_weights, save_weights
from tests.helpers.trees import refused


def model(seed: int = 0, variant: str = "full", classes: int = 7) -> ExpressNetMoE:
    torch.manual_seed(seed)
    return ExpressNetMoE(ModelConfig.miniature(classes, variant))


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def copied(network: ExpressNetMoE) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_saved_weights_come_back_to_the_bit(tmp_path: Path, memory_format: torch.memory_format) -> None:
    ours, theirs = model(0).to(memory_format=memory_format), model(1)
    ours.train()(torch.rand(4, 3, 64, 64))  # batch norm's moving statistics are part of it
    save_weights(ours, tmp_path / "best.safetensors")
    load_weights(theirs, tmp_path / "best.safetensors")
    assert equal(ours.state_dict(), theirs.state_dict())
    save_weights(theirs, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "best.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors", "best.safetensors"]


@pytest.mark.parametrize("other", [{"variant": "backbone"}, {"variant": "no_moe"}, {"classes": 8}])
def test_weights_of_another_configuration_are_refused(tmp_path: Path, other: dict) -> None:
    save_weights(model(), tmp_path / "best.safetensors")
    theirs = model(**other)
    before = copied(theirs)
    with refused("another configuration", "best.safetensors"):
        load_weights(theirs, tmp_path / "best.safetensors")
    assert equal(theirs.state_dict(), before)


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-10], lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"no weights" * 9, lambda c: c[:9] + c],
)
def test_damaged_weights_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(model(), path)
    path.write_bytes(damage(path.read_bytes()))
    with refused("cannot be read", "best.safetensors", "train again"):
        load_weights(model(), path)


def test_absent_weights_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with refused("cannot be read", str(path)):
            load_weights(model(), path)


# Initial weights


def backbone() -> ExpressNetMoE:
    torch.manual_seed(0)
    return ExpressNetMoE(ModelConfig(variant="backbone"))


def test_torchvisions_resnet50_is_read_from_a_file(tmp_path: Path) -> None:
    theirs = resnet50(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    network = backbone()
    head = network.head.weight.clone()
    load_initial_weights(network, f"imagenet:{tmp_path / 'resnet50.pth'}")
    assert torch.equal(network.resnet.stem.weight, theirs.conv1.weight)
    assert torch.equal(network.resnet.stages[3][2].increase.weight, theirs.layer4[2].conv3.weight)
    assert torch.equal(network.resnet.stages[1][0].project.weight, theirs.layer2[0].downsample[0].weight)
    assert torch.equal(network.head.weight, head)


def test_random_initial_weights_change_nothing() -> None:
    network = model()
    before = copied(network)
    load_initial_weights(network, "random")
    assert equal(network.state_dict(), before)


def test_initial_weights_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    text, other, listed = tmp_path / "text.pth", tmp_path / "resnet18.pth", tmp_path / "list.pth"
    text.write_text("no weights")
    torch.save(resnet18(weights=None).state_dict(), other)
    torch.save([1, 2, 3], listed)
    network = model()
    before = copied(network)
    for source, words in {
        "vggface3": ("'vggface3'", "vggface2:"),
        "vggface2": ("'vggface2'", "vggface2:"),
        "": ("''", "random"),
        f"vggface2:{tmp_path / 'absent.h5'}": ("no such weight file", "absent.h5"),
        f"vggface2:{text}": ("not a Keras weight file", "text.pth"),
        f"imagenet:{tmp_path / 'absent.pth'}": ("cannot be read", "absent.pth"),
        f"imagenet:{text}": ("cannot be read", "text.pth"),
        f"imagenet:{other}": ("resnet50",),
        f"imagenet:{listed}": ("resnet50",),
    }.items():
        with refused(*words):
            load_initial_weights(network, source)
        assert equal(network.state_dict(), before), source


def test_imagenet_weights_do_not_fit_the_miniature(tmp_path: Path) -> None:
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "resnet50.pth")
    network = model()
    before = copied(network)
    with refused("'conv1.weight'", "model=paper"):
        load_initial_weights(network, f"imagenet:{tmp_path / 'resnet50.pth'}")
    assert equal(network.state_dict(), before)
