"""A file of weights says all that is needed to use it, and whatever else it may be is refused in one line."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fermoe.files import results_dir
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.network.weights import save_weights
from fermoe.stats import wilson_interval
from fermoe.use import trained as module
from fermoe.use.trained import committed, export_run, find_run, load_run, load_trained, read_about
from tests.helpers.trees import refused
from tests.use.conftest import Example


def test_what_a_file_says_is_what_the_run_says(example: Example) -> None:
    about, run = read_about(example.weights), example.run
    assert about.config == run.config
    assert about.labels == list(example.opened.data.label_names)
    assert about.channels == example.opened.data.dataset.channels
    assert about.fingerprint == example.opened.data.dataset.fingerprint
    assert about.code["commit"] == run.result["code"]["commit"]
    test = run.result["metrics"]["test"]
    assert {name: test[name] for name in about.test} == about.test
    low, high = wilson_interval(test["correct"], test["images"])
    assert about.accuracy == f"{100 * test['accuracy']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def test_the_recall_of_each_class_is_counted_from_the_predictions(example: Example) -> None:
    table = example.run.predictions
    for i, (name, score) in enumerate(read_about(example.weights).recalls.items()):
        mine = table[table["label"] == i]
        assert (name, score.images) == (example.opened.data.label_names[i], len(mine))
        assert score.correct == (mine["predicted"] == i).sum()


def test_a_network_comes_back_as_it_was(example: Example) -> None:
    loaded = load_trained(example.weights).network.model.state_dict()
    kept = example.opened.model.state_dict()
    assert loaded.keys() == kept.keys()
    assert all(torch.equal(loaded[name], kept[name]) for name in kept)


def test_the_same_network_gives_the_same_bytes(example: Example, tmp_path: Path) -> None:
    path, card = export_run(load_trained(example.weights), tmp_path / "mine.safetensors")
    assert path.read_bytes() == example.weights.read_bytes()
    assert card.read_text() == example.weights.with_suffix(".md").read_text()


def test_the_card_says_what_was_measured_and_what_it_is_not_for(example: Example) -> None:
    card, about = example.weights.with_suffix(".md").read_text(), load_trained(example.weights).about
    assert about.accuracy in card
    for score in about.recalls.values():
        assert module.percent(*score.recall) in card
    for word in ("drawn by a program", "hiring", "diagnose", "watch people", "BlazeFace"):
        assert word in card
    assert "{{" not in card
    assert "<" not in card


def test_a_run_is_found_by_its_folder_and_by_its_name(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "results_dir", lambda: tmp_path)
    shutil.copytree(example.run.directory, tmp_path / "first" / "runs" / example.run.name)
    assert find_run(example.run.name).directory == tmp_path / "first" / "runs" / example.run.name
    assert find_run(example.run.directory).directory == example.run.directory
    shutil.copytree(example.run.directory, tmp_path / "second" / "runs" / example.run.name)
    with refused("2 studies"):
        find_run(example.run.name)
    with refused("no such finished run"):
        find_run("nonsense")


def test_a_run_without_weights_says_how_to_get_them(example: Example, tmp_path: Path) -> None:
    shutil.copytree(example.run.directory, tmp_path / "run", ignore=shutil.ignore_patterns("*.safetensors"))
    with refused("weights are not there", "run its study again"):
        load_run(tmp_path / "run")


class Trap:
    """Whoever unpickles this leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["w.pt", "w.pkl", "w.safetensors"])
@pytest.mark.parametrize("write", [lambda v, p: p.write_bytes(pickle.dumps(v)), torch.save], ids=["pickle", "PyTorch"])
def test_a_pickle_is_refused_and_never_executed(tmp_path: Path, write: Callable[[Any, Path], Any], name: str) -> None:
    write(Trap(tmp_path / "sprung"), tmp_path / name)
    with refused("a pickle could run any program", name):
        load_trained(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def said(path: Path) -> dict[str, Any]:
    """What a file says of its network, unchecked."""
    with safe_open(path, "pt") as content:
        found: dict[str, Any] = json.loads(content.metadata()[module.KEY])
    return found


def spoilt(example: Example, path: Path, **changes: object) -> Path:
    save_file(load_file(example.weights), path, {module.KEY: json.dumps(said(example.weights) | changes)})
    return path


def test_weights_of_another_architecture_are_refused(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    backbone = ExpressNetMoE(ModelConfig.miniature(7, "backbone"))
    save_weights(backbone, path, {module.KEY: json.dumps(said(example.weights))})
    with refused("belong to another configuration"):
        load_trained(path)


BAD: dict[str, tuple[dict[str, object], str]] = {
    "another format": ({"format": 99}, "format 99"),
    "one label": ({"labels": ["a"]}, "labels"),
    "labels that fit no score": ({"labels": ["a", "b"]}, "labels"),
    "a label on two lines": ({"labels": ["a\nb", *"cdefgh"[:6]]}, "labels"),
    "no such model": ({"parameters": {"model": "huge"}}, "huge"),
    "a model of another shape": ({"network": {"width": 5}}, "another one"),
    "a crop of nothing": ({"channels": 7}, "channels"),
    "no accuracy": ({"test": {}}, "missing"),
    "an accuracy above one": ({"test": {"accuracy": 3.0}}, ""),
    "text for parameters": ({"parameters": "all"}, "parameters"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_says_something_strange_is_one_line(example: Example, tmp_path: Path, case: str) -> None:
    changes, word = BAD[case]
    with refused(word):
        load_trained(spoilt(example, tmp_path / "w.safetensors", **changes))


@pytest.mark.parametrize(
    "content", [b"", b"<html>Not found</html>", bytes(100), b"\xff" * 100], ids=["empty", "HTML", "zeros", "ones"]
)
def test_a_file_of_something_else_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with refused("not a safetensors file"):
        load_trained(tmp_path / "w.safetensors")


def test_bare_weights_say_how_to_export_them(example: Example) -> None:
    with refused("does not say how its network is used", "fermoe export"):
        load_trained(example.run.directory / "best.safetensors")


def test_a_name_that_is_no_file_is_answered_with_those_that_are_there() -> None:
    with refused("no such weights", *committed()):
        load_trained("nonsense")


def test_weights_are_written_as_safetensors_alone(example: Example, tmp_path: Path) -> None:
    with refused("travel as .safetensors"):
        export_run(example.trained, tmp_path / "w.pt")
    assert list(tmp_path.iterdir()) == []


def test_the_networks_that_come_with_fermoe_are_small_and_whole() -> None:
    assert "quick" in committed()
    for name, path in committed().items():
        loaded = load_trained(name)
        assert path.stat().st_size < 1e6
        assert (loaded.name, loaded.about.drawn) == (name, name == "quick")
        assert path.with_suffix(".md").read_text() == module.model_card(loaded, path.name)


def test_real_faces_are_preferred_to_drawn_ones(example: Example, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    for name in ("other", "quick"):
        shutil.copy(example.weights, tmp_path / f"{name}.safetensors")
    assert load_trained().name == "quick"
    shutil.copy(example.weights, tmp_path / "fer2013.safetensors")
    assert list(committed()) == ["fer2013", "quick", "other"]
    assert load_trained().name == "fer2013"


@pytest.mark.parametrize(("name", "study"), [("quick", "quick"), ("fer2013", "fer2013-ten-miniature")])
def test_a_committed_network_is_that_of_a_kept_study(name: str, study: str) -> None:
    """Its file and the committed tables tell the same run and the same score."""
    table = pd.read_csv(results_dir() / study / "tables" / "accuracy.csv")
    about = load_trained(name).about
    row = table[(table["run"] == about.run) & (table["split"] == "test")].iloc[0]
    assert (row["correct"], row["images"]) == (about.score.correct, about.score.images)
    assert np.isclose(row["ci_low"], about.score.ci_low, atol=1e-6)
    assert (about.config.variant, about.config.protocol, about.config.seed) == ("full", "audited", 0)
