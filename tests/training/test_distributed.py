"""One run in two processes is the run in one: to rounding where nothing is random, in expectation else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.study.plan import load_study, training_configs
from fermoe.training.distributed import World
from fermoe.training.runs import read_result

STUDY = """
title: A study for two processes
dataset: synthetic
dataset_options: {train: 48, test: 17}
protocols: [audited]
variants: [balanced_gate]
training: {epochs: 2, batch_size: 16, learning_rate: 0.001}
"""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ALIKE = {"rtol": 1e-3, "atol": 1e-4}  # Adam makes a small difference of a small gradient larger


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(STUDY)
    return path


def trained(study: Path, out: Path, *launcher: str) -> Path:
    """The run's folder, after the study's one training with nothing random in it, started by `launcher`."""
    (config,) = training_configs(load_study(str(study)))
    program = [*launcher, "-m" if not launcher else "--module", "tests.training.train_exactly"]
    command = [sys.executable, *program, str(study), config.run_id, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("test accuracy") == 1  # one rank speaks
    return out / "runs" / config.run_id


def test_two_processes_train_what_one_trains(study: Path, tmp_path: Path) -> None:
    """43 training images in batches of 16, 16 and 11: the ranks' parts differ in size, and so do their loads."""
    one, two = trained(study, tmp_path / "one"), trained(study, tmp_path / "two", *TORCHRUN)
    kept = ["epoch", "steps", "loss", "accuracy", "val_loss", "val_accuracy"]
    histories = [pd.read_csv(folder / "history.csv")[kept] for folder in (one, two)]
    assert histories[0]["steps"].tolist() == [3, 3]
    np.testing.assert_allclose(histories[1], histories[0], **ALIKE)
    for name in ("predictions.csv", "validation.csv"):
        tables = [pd.read_csv(folder / name) for folder in (one, two)]
        assert tables[0]["image"].equals(tables[1]["image"])
        numbers = [table.filter(regex="^(p|gate)_") for table in tables]
        np.testing.assert_allclose(numbers[1], numbers[0], **ALIKE)
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    results = [read_result(folder) or {} for folder in (one, two)]
    assert [result["processes"] for result in results] == [1, 2]
    assert results[0]["parameters"] == results[1]["parameters"]


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 16])
def test_the_parts_of_all_ranks_are_the_whole_in_its_order(rows: int) -> None:
    parts = [np.arange(rows)[World(rank, 3).part(rows)] for rank in range(3)]
    assert np.concatenate(parts).tolist() == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_that_leaves_a_rank_too_little_is_skipped_by_all() -> None:
    for rows in range(1, 20):
        said = {World(rank, 4).enough(rows) for rank in range(4)}
        fewest = min(World(rank, 4).images(rows) for rank in range(4))
        assert said == {fewest >= 2}


def test_weighted_means_of_the_parts_average_to_the_mean_of_the_batch() -> None:
    losses = torch.rand(11)
    worlds = [World(rank, 3) for rank in range(3)]
    parts = [losses[world.part(11)].mean() * world.weight(11) for world in worlds]
    assert torch.stack(parts).mean().item() == pytest.approx(losses.mean().item())


def test_the_balancing_loss_of_a_part_takes_the_loads_of_the_batch() -> None:
    model = ExpressNetMoE(ModelConfig.miniature(variant="balanced_gate")).eval()
    out = model(torch.rand(6, 3, 64, 64))
    parts = [out._replace(gates={k: gate[rows] for k, gate in out.gates.items()}) for rows in (slice(4), slice(4, 6))]

    def whole_loads(name: str) -> torch.Tensor:
        gates = out.gates[name]
        return torch.zeros_like(gates).scatter(1, gates.topk(2, dim=1).indices, 0.5).mean(0)

    def loss(part: int) -> torch.Tensor:
        loads = iter([whole_loads(name) for name in out.gates])
        return model.auxiliary_loss(parts[part], lambda mine: next(loads))

    together = (4 * loss(0) + 2 * loss(1)) / 6
    assert together.item() == pytest.approx(model.auxiliary_loss(out).item())


def test_other_ranks_than_the_first_draw_their_own_dropout_and_augmentation() -> None:
    drawn = []
    for rank in range(3):
        generator = torch.Generator().manual_seed(5)
        order = torch.randperm(10, generator=generator)
        World(rank, 3).apart(generator)
        drawn.append((order.tolist(), torch.rand(3, generator=generator).tolist()))
    assert drawn[0][0] == drawn[1][0] == drawn[2][0]
    assert len({str(draws) for _, draws in drawn}) == 3


def test_a_run_that_the_study_lacks_is_one_line(study: Path) -> None:
    result = CliRunner().invoke(main, ["train", str(study), "no-such-run"])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "no-such-run" in line
