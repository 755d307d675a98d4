"""An archive becomes a dataset's folder and its arrays, whole or not at all."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.data.arrays import pixels
from fermoe.data.datasets import load_dataset
from fermoe.files import extract
from tests.helpers.trees import fer2013_tree, refused


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fer2013_tree(tmp_path / "source" / "fer2013")


@pytest.mark.parametrize("kind", ["xztar", "gztar", "zip"])
@pytest.mark.parametrize("top", [True, False])
def test_an_archive_with_or_without_a_top_folder_becomes_the_dataset(
    tmp_path: Path, tree: Path, kind: str, top: bool
) -> None:
    where = {"root_dir": tree.parent, "base_dir": tree.name} if top else {"root_dir": tree}
    archive = Path(shutil.make_archive(str(tmp_path / "data"), kind, **where))  # type: ignore[arg-type]
    made = load_dataset("fer2013", extract(archive, tmp_path / "made"))
    assert made.table["image"].tolist() == load_dataset("fer2013", tree).table["image"].tolist()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".made")]


def test_the_arrays_are_those_that_training_reads(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERMOE_CACHE", str(tmp_path / "cache"))
    archive = shutil.make_archive(str(tmp_path / "data"), "xztar", tree)
    command = ["data", "prepare", "fer2013", "--root", str(tmp_path / "made"), "--archive", archive, "--crop", "none"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    (kept,) = (tmp_path / "cache" / "pixels").glob("*.npy")
    written = kept.stat().st_mtime_ns
    array = pixels(load_dataset("fer2013", tmp_path / "made"), "none", 64, progress=False)
    assert kept.stat().st_mtime_ns == written
    assert np.array_equal(array, np.load(kept))


def test_an_existing_folder_is_left_alone(tmp_path: Path, tree: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "gztar", tree))
    (tmp_path / "made").mkdir()
    with refused("exists already"):
        extract(archive, tmp_path / "made")


@pytest.mark.parametrize("name", ["../outside.jpg", "/tmp/outside.jpg", "a/../../outside.jpg"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    archive = tmp_path / f"data.{kind}"
    if kind == "tar":
        with tarfile.open(archive, "w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    else:
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr(name, b"")
    with refused("leads out"):
        extract(archive, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_damaged_or_missing_archive_is_one_line_and_leaves_nothing(tmp_path: Path, tree: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "xztar", tree))
    archive.write_bytes(archive.read_bytes()[:200])
    with refused("cannot be extracted"):
        extract(archive, tmp_path / "made")
    with refused("no such archive"):
        extract(tmp_path / "nothing.zip", tmp_path / "made")
    assert not (tmp_path / "made").exists()
