"""An exported network gives, by ONNX Runtime, what PyTorch gives, and says itself what it is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.training.config import TrainConfig
from fermoe.training.inference import TrainedNetwork
from fermoe.use.onnx import OPSET, export_onnx
from fermoe.use.trained import KEY, About, Trained, load_trained
from tests.helpers.trees import refused
from tests.use.conftest import Example

CPU = torch.device("cpu")


def untrained(variant: str = "full", model: str = "miniature", normalisation: str = "imagenet") -> Trained:
    """A network with random weights and random moving statistics, as none of its parts may be left out unseen."""
    torch.manual_seed(0)
    network = ExpressNetMoE(ModelConfig.named(model, 7, variant)).eval()
    with torch.no_grad():
        for value in network.buffers():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5)
    config = TrainConfig(variant=variant, model=model, normalisation=normalisation)
    about = About(1, "run", config.parameters(), {}, tuple("abcdefg"), 3, {}, {}, (), "")
    return Trained("untrained", about, TrainedNetwork(config, network, CPU))


def ask(path: Path, images: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images.numpy()}), strict=True))


def assert_equal(trained: Trained, path: Path, pictures: int) -> None:
    images = torch.rand(pictures, 3, trained.size, trained.size, generator=torch.Generator().manual_seed(pictures))
    found, expected = ask(path, images), trained.network.predict(images, features=False)
    assert set(found) == {"probabilities", *(f"gate_{name}" for name in expected.gates)}
    np.testing.assert_allclose(found["probabilities"], expected.logits.softmax(1), atol=1e-4)
    for name, gates in expected.gates.items():
        np.testing.assert_allclose(found[f"gate_{name}"], gates, atol=1e-4)


@pytest.mark.parametrize("variant", ["full", "backbone", "no_cnn1", "no_moe", "dense_gate", "no_cnn1_two_mixtures"])
def test_a_variant_answers_as_in_pytorch_for_any_number_of_pictures(tmp_path: Path, variant: str) -> None:
    trained = untrained(variant)
    path = export_onnx(trained, tmp_path / "n.onnx")
    for pictures in (1, 5):
        assert_equal(trained, path, pictures)


@pytest.mark.parametrize("normalisation", ["bgr_unit", "rgb_unit", "vggface2"])
def test_pixel_values_are_made_in_the_file(tmp_path: Path, normalisation: str) -> None:
    trained = untrained("backbone", normalisation=normalisation)
    assert_equal(trained, export_onnx(trained, tmp_path / "n.onnx"), 3)


def test_the_papers_network_with_its_large_kernels_answers_as_in_pytorch(tmp_path: Path) -> None:
    """At 64×64, where kernels are up to 21×21; PyTorch takes them in the frequency domain, the file does not."""
    trained = untrained("full", "paper64")
    path = export_onnx(trained, tmp_path / "n.onnx")
    assert_equal(trained, path, 2)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "Conv" in kinds
    assert not any("FT" in kind for kind in kinds)


def test_the_committed_network_gives_the_same_labels_for_drawn_faces(tmp_path: Path, example: Example) -> None:
    trained = load_trained("quick")
    path = export_onnx(trained, tmp_path / "n.onnx")
    images = example.opened.images(example.opened.rows())
    found, expected = ask(path, images)["probabilities"], trained.network.predict(images, features=False).logits
    assert found.argmax(1).tolist() == expected.argmax(1).tolist()


def test_the_file_says_what_it_is(tmp_path: Path, example: Example) -> None:
    path = tmp_path / "n.onnx"
    result = CliRunner().invoke(main, ["export", str(example.run.directory), "--onnx", str(path)])
    assert result.exit_code == 0, result.output
    assert str(path) in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["n.onnx"]
    model = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    (said,) = (json.loads(entry.value) for entry in model.metadata_props if entry.key == KEY)
    assert said["labels"] == list(example.trained.about.labels)
    assert said["test"]["accuracy"] == example.trained.about.score.accuracy


def test_a_hash_of_pixels_is_refused(tmp_path: Path) -> None:
    with refused("hash_gate", "another variant"):
        export_onnx(untrained("hash_gate"), tmp_path / "n.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def missing(name: str, *rest: Any) -> Any:
        return None if name == "onnx" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with refused("pip install 'fermoe[onnx]'"):
        export_onnx(untrained("backbone"), tmp_path / "n.onnx")
