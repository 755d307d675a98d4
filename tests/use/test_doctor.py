"""`fermoe doctor` finds what is there and says what to do about what is not."""

from __future__ import annotations

import importlib.util
import platform
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.use import doctor
from fermoe.use.doctor import Finding, examine
from tests.helpers import trees


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, home and cache, and no checkout whose data/ could be found."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(doctor, "checkout", lambda: None)
    return tmp_path / "here"


def found(*folders: Path) -> dict[str, list[Finding]]:
    by: dict[str, list[Finding]] = {}
    for finding in examine(folders):
        by.setdefault(finding.what, []).append(finding)
    return by


def test_what_is_installed_is_named_with_its_version() -> None:
    here = found()
    assert here["Python"] == [Finding("Python", platform.python_version())]
    assert here["PyTorch"][0].found.startswith(torch.__version__)
    assert here["networks"][0].found.split(", ")[-1] == "quick"


def test_a_missing_extra_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name in ("onnx", "mediapipe") else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    here = found()
    assert "pip install 'fermoe[onnx]'" in here["onnx"][0].advice
    assert here["face detector"][0].advice == "pip install 'fermoe[blazeface]'"


@pytest.mark.parametrize(("version", "advised"), [((3, 10), True), ((3, 11), False), ((3, 12), False), ((3, 13), True)])
def test_a_python_that_is_not_supported_is_noticed(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], advised: bool
) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", version)
    assert bool(next(iter(examine())).advice) is advised


@pytest.mark.parametrize(("speed", "advice"), [(1.0, "float32"), (2.5, "precision=bfloat16")])
def test_bfloat16_is_advised_where_it_was_measured_to_be_fast(
    monkeypatch: pytest.MonkeyPatch, speed: float, advice: str
) -> None:
    monkeypatch.setattr(doctor, "bfloat16_speed", lambda device: speed)
    (finding,) = found()["bfloat16"]
    assert advice in finding.advice
    assert f"{speed:.1f} times" in finding.found


def test_a_full_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    assert "FERMOE_CACHE" in found()["images in"][0].advice
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(10**12, 0, 10**12))
    assert found()["images in"][0].advice == ""


def test_datasets_are_found_by_their_layout_here_in_data_and_where_one_says(alone: Path, tmp_path: Path) -> None:
    trees.fer2013_tree(alone / "data" / "fer")
    trees.rafdb_tree(alone / "raf")
    trees.folder_tree(tmp_path / "elsewhere" / "pets")
    (alone / "notes").mkdir()
    datasets = {(f.found, f.advice) for f in found(tmp_path / "elsewhere")["dataset"]}
    fer, raf, pets = alone / "data" / "fer", alone / "raf", tmp_path / "elsewhere" / "pets"
    assert datasets == {
        (f"fer2013, 35 images in {fer}", f"fermoe study fer2013 --set root={fer}"),
        (f"rafdb, 35 images in {raf}", f"fermoe study rafdb --set root={raf}"),
        (f"folder, 12 images in {pets}", f"fermoe study folder --set root={pets}"),
    }


def test_without_any_dataset_it_says_so() -> None:
    (finding,) = found()["dataset"]
    assert finding.found == "none found"


def test_every_finding_is_one_line_of_the_command() -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == sum(1 for _ in examine())
    assert all(":" in line for line in lines)
