"""bfloat16 is asked for, measured, named, and refused where it gains nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fermoe.errors import UserError
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.training import precision
from fermoe.training.config import TrainConfig
from fermoe.training.inference import predict
from fermoe.training.precision import FORCE, autocast, bfloat16_speed, require_fast
from fermoe.training.runs import FinishedRun
from fermoe.training.train import train

CPU = torch.device("cpu")


def test_float32_is_the_default_and_other_names_are_refused() -> None:
    assert TrainConfig().precision == "float32"
    assert TrainConfig().parameters()["precision"] == "float32"
    with pytest.raises(UserError, match=r"precision is 'half'.*float32, bfloat16"):
        TrainConfig(precision="half")


def test_the_speed_is_measured_and_positive() -> None:
    assert bfloat16_speed(CPU, side=64, repeats=2) > 0


def test_a_slow_bfloat16_is_refused_with_its_speed_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bfloat16_speed", lambda _device: 0.5)
    require_fast(CPU, "float32")
    with pytest.raises(UserError, match=r"0\.5 times float32, measured.*FERMOE_FORCE_BFLOAT16"):
        require_fast(CPU, "bfloat16")
    monkeypatch.setenv(FORCE, "1")
    require_fast(CPU, "bfloat16")
    monkeypatch.delenv(FORCE)
    monkeypatch.setattr(precision, "bfloat16_speed", lambda _device: 1.9)
    require_fast(CPU, "bfloat16")


def test_dense_layers_compute_in_bfloat16_and_the_frequency_domain_in_float32() -> None:
    torch.manual_seed(0)
    model = ExpressNetMoE(ModelConfig.miniature(3)).eval()
    images = torch.rand(2, 3, 64, 64)
    seen: list[torch.dtype] = []
    assert model.cnn1.blocks.convs[0].uses_fft
    for module in (model.cnn1.blocks.convs[0], model.head):
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with autocast(CPU, "bfloat16"), torch.no_grad():
        model(images)
    assert seen == [torch.float32, torch.bfloat16]


def test_answers_in_bfloat16_are_float32_numbers_near_those_of_float32() -> None:
    torch.manual_seed(0)
    model = ExpressNetMoE(ModelConfig.miniature(3))
    batches = [torch.rand(4, 3, 64, 64)]
    full, half = (predict(model, batches, precision=name).logits.softmax(1) for name in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, atol=0.05, rtol=0)


def test_a_training_in_bfloat16_names_it_in_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, "1")
    options = {"train": 20, "test": 10}
    config = TrainConfig(dataset_options=options, epochs=1, batch_size=10, variant="backbone", precision="bfloat16")
    result = train(config, tmp_path / "run", progress=False)
    assert result["parameters"]["precision"] == "bfloat16"
    assert FinishedRun(tmp_path / "run", result).key["precision"] == "bfloat16"
    assert config.run_id != TrainConfig(dataset_options=options, epochs=1, batch_size=10, variant="backbone").run_id


def test_a_run_that_names_no_precision_was_of_the_first_miniature(tmp_path: Path) -> None:
    old = FinishedRun(tmp_path, {"run": "old", "parameters": {"model": "miniature"}})
    assert (old.config.model, old.config.precision) == ("first_miniature", "float32")
    new = FinishedRun(tmp_path, {"run": "new", "parameters": {"model": "miniature", "precision": "float32"}})
    assert new.config.model == "miniature"
    paper = FinishedRun(tmp_path, {"run": "paper", "parameters": {"model": "paper"}})
    assert paper.config.model == "paper"
