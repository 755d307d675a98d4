"""Data that changed between two runs of a study are noticed and named, whatever their size and time say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.data.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.files import exclusive
from fermoe.study import changes
from fermoe.study.changes import LISTING, refuse_changed
from tests.helpers import trees


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.folder_tree(tmp_path / "data")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs of which one is finished."""
    folder = tmp_path / "out" / "runs"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "result.json").write_text("{}")
    return folder


def look(root: Path, runs: Path) -> None:
    refuse_changed(load_dataset("folder", root), runs, "choose another --out")


def first_of(root: Path) -> tuple[str, Path]:
    row = load_dataset("folder", root).table.iloc[0]
    return str(row["image"]), Path(row["path"])


def test_the_same_data_elsewhere_are_the_same_data(root: Path, runs: Path, tmp_path: Path) -> None:
    look(root, runs)
    shutil.copytree(root, tmp_path / "copy")
    look(tmp_path / "copy", runs)
    look(root, runs)


def test_a_changed_image_of_the_same_size_is_named(root: Path, runs: Path) -> None:
    look(root, runs)
    image, path = first_of(root)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, (1, 1))
    with trees.refused("1 changed", image):
        look(root, runs)


def test_images_that_came_and_went_are_named(root: Path, runs: Path) -> None:
    look(root, runs)
    image, path = first_of(root)
    path.rename(path.with_name(f"another{path.suffix}"))
    with trees.refused("1 gone", "1 new", image, "another"):
        look(root, runs)


def test_files_that_look_the_same_are_not_read_again(root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look(root, runs)
    before = (runs / LISTING).read_bytes()
    monkeypatch.setattr(changes, "_content", None)
    look(root, runs)
    assert (runs / LISTING).read_bytes() == before


def test_where_nothing_is_finished_or_the_note_is_damaged_the_data_are_taken_as_they_are(
    root: Path, runs: Path
) -> None:
    look(root, runs)
    first_of(root)[1].unlink()
    (runs / "x" / "result.json").unlink()
    look(root, runs)
    assert len(pd.read_csv(runs / LISTING)) == len(load_dataset("folder", root))
    (runs / LISTING).write_text("no table")
    look(root, runs)


STUDY = "title: T\ndataset: folder\nprotocols: [audited]\nnotebooks: [04_training]\n"


def test_a_study_of_changed_data_is_one_line_and_runs_nothing(root: Path, runs: Path, tmp_path: Path) -> None:
    look(root, runs)
    first_of(root)[1].write_bytes(b"another")
    (tmp_path / "s.yaml").write_text(STUDY)
    command = ["study", str(tmp_path / "s.yaml"), "--set", f"root={root}", "--out", str(runs.parent)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "1 changed" in line
    assert not list(runs.glob("folder-*"))


def test_a_second_study_in_the_same_folder_is_refused_and_touches_nothing(
    root: Path, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text(STUDY)
    command = ["study", str(tmp_path / "s.yaml"), "--set", f"root={root}", "--out", str(runs.parent)]
    with exclusive(runs / ".lock", "this study"):
        before = sorted(runs.parent.rglob("*"))
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert "another process works on this study" in result.stderr
        assert sorted(runs.parent.rglob("*")) == before


def test_drawn_data_need_no_note(runs: Path) -> None:
    refuse_changed(load_dataset("synthetic", train=3, test=2), runs, "")
    assert not (runs / LISTING).exists()
    with pytest.raises(UserError):
        refuse_changed(load_dataset("folder", runs / "nowhere"), runs, "")
