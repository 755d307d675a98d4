"""The order of the rooms is kept, and the check that says so notices what breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the library with its contracts, to be spoilt."""
    shutil.copytree(ROOT / "fermoe", tmp_path / "fermoe", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(house: Path) -> tuple[bool, str]:
    """Whether all contracts are kept, and what lint-imports says, its lines joined."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)
    return done.returncode == 0, " ".join((done.stdout + done.stderr).split())


def add(path: Path, lines: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(lines)


def test_the_rooms_import_downwards_and_in_no_circle(house: Path) -> None:
    kept, said = lint(house)
    assert kept, said


UPWARDS = {
    "the network looks at evidence": ("network/cpu.py", "from fermoe.evidence import maps", "evidence"),
    "inside a function": ("paper/published.py", "def f():\n    import fermoe.plots.style", "plots"),
    "for a type checker": ("data/images.py", "if TYPE_CHECKING:\n    from fermoe.training import feed", "training"),
    "through the public names": ("paper/published.py", "from fermoe import load_dataset", "data"),
    "the network looks at data": ("network/cpu.py", "from fermoe.data import images", "data"),
    "data look at the network": ("data/images.py", "from fermoe.network import cpu", "network"),
    "the study looks at benchmarks": ("study/archive.py", "from fermoe.bench import crops", "bench"),
    "the ground has a room's knowledge": ("files.py", "from fermoe.paper import published", "paper"),
    "errors look at files": ("errors.py", "from fermoe import files", "files"),
    "statistics look at metrics": ("stats.py", "import fermoe.metrics", "metrics"),
}


@pytest.mark.parametrize("case", UPWARDS)
def test_an_import_upwards_or_sideways_is_found(house: Path, case: str) -> None:
    path, lines, above = UPWARDS[case]
    add(house / "fermoe" / path, f"\n{lines}\n")
    kept, said = lint(house)
    importer = path.partition("/")[0].removesuffix(".py")
    assert not kept
    assert f"fermoe.{importer} is not allowed to import fermoe.{above}" in said


def test_a_circle_within_a_room_is_found(house: Path) -> None:
    add(house / "fermoe" / "paper" / "first.py", "from fermoe.paper import second\n")
    add(house / "fermoe" / "paper" / "second.py", "def f():\n    from fermoe.paper import first\n")
    kept, said = lint(house)
    assert not kept
    assert "No cycles are allowed in fermoe.paper" in said


@pytest.mark.parametrize("module", ["attic/__init__.py", "shed.py"])
def test_a_room_or_file_that_no_layer_names_is_found(house: Path, module: str) -> None:
    add(house / "fermoe" / module, "")
    kept, said = lint(house)
    assert not kept
    assert module.partition("/")[0].removesuffix(".py") in said
