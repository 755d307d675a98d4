"""The commands that README names for datasets nobody may share: tried on trees of the real layout and counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.data.datasets import DATASETS
from fermoe.files import results_dir
from fermoe.study.command import default_out
from fermoe.study.plan import load_study, training_configs
from tests.helpers import trees


def published(name: str) -> dict[tuple[str, str], int]:
    counts = DATASETS[name].published_counts()
    assert counts is not None
    return {(row.split, row.label): row.images for row in counts.itertuples()}


def rafdb(root: Path) -> Path:
    return trees.rafdb_tree(root, published("rafdb"), linked=True)


def affectnet(root: Path) -> Path:
    eight = published("affectnet8")
    totals = {label: eight["train", label] + eight["test", label] for label in DATASETS["affectnet8"].labels}
    return trees.affectnet_tree(root, totals, linked=True)


@pytest.mark.parametrize(("name", "tree"), [("rafdb", rafdb), ("affectnet7", affectnet), ("affectnet8", affectnet)])
def test_the_study_of_a_full_tree_expands_to_all_its_runs(
    tmp_path: Path, name: str, tree: Callable[[Path], Path]
) -> None:
    root = tree(tmp_path / "data")
    command = ["study", name, "--set", f"root={root}", "--out", str(tmp_path / "out"), "--dry-run"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    for config in training_configs(load_study(name)):
        assert f"to do  {config.run_id}" in result.output
    assert {config.protocol for config in training_configs(load_study(name))} == {"published", "audited"}


@pytest.mark.parametrize("name", ["rafdb", "affectnet7", "affectnet8", "fer2013"])
def test_a_study_of_the_network_and_its_backbone_has_three_seeds_in_both_protocols(name: str) -> None:
    configs = training_configs(load_study(name))
    for protocol in ("published", "audited"):
        for variant in ("full", "backbone"):
            seeds = {c.seed for c in configs if (c.protocol, c.variant) == (protocol, variant)}
            assert seeds == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "model", "folder"),
    [
        ("fer2013", "miniature", "fer2013-miniature"),
        ("fer2013-middle-rates", "middle", "fer2013-middle-rates"),
        ("fer2013-middle-rates", "paper64", "fer2013-middle-rates-paper64"),
        ("rafdb", "paper", "rafdb"),
        ("quick", "miniature", "quick"),  # drawn faces: no benchmark of any network
    ],
)
def test_results_of_a_scale_model_say_so_in_the_folders_name_once(name: str, model: str, folder: str) -> None:
    assert default_out(load_study(name, [f"model={model}"])) == results_dir() / folder


def test_a_small_tree_is_trained_and_tabled_by_the_command_in_the_readme(tmp_path: Path) -> None:
    root = trees.rafdb_tree(tmp_path / "data", {(s, label): 4 for s in ("train", "test") for label in trees.RAFDB})
    settings = [f"root={root}", "epochs=1", "batch_size=8", "variants=[backbone]", "crops=[none]", "seeds=[0]"]
    settings += ["extra=[]", "notebooks=[04_training]"]
    command = ["study", "rafdb", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command + [part for s in settings for part in ("--set", s)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "tables" / "accuracy.csv")
    assert set(table["protocol"]) == {"published", "audited"}
    assert (table.loc[table["split"] == "test", "images"] == 28).all()
