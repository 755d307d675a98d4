"""What a person sees of `fermoe data check` and `fermoe crop`: counts, problems in one line, exit codes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fermoe.cli import main
from tests.helpers.trees import even, fer2013_tree, folder_tree, rafdb_tree


def fermoe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_counts_that_differ_from_the_published_ones_are_shown_and_exit_with_1(tmp_path: Path) -> None:
    root = fer2013_tree(tmp_path / "fer")
    result = fermoe("data", "check", "fer2013", "--root", root)
    assert result.exit_code == 1
    assert "DIFFER FROM the published" in result.stdout
    assert "7215" in result.stdout  # the published number of happy training images
    assert "PublicTest" in result.stdout


def test_a_dataset_nobody_published_has_nothing_to_differ_from(tmp_path: Path) -> None:
    result = fermoe("data", "check", "folder", "--root", folder_tree(tmp_path / "f"))
    assert result.exit_code == 0
    assert "no published counts" in result.stdout


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_an_unreadable_image_stops_the_check_unless_it_may_be_skipped(tmp_path: Path, content: bytes) -> None:
    root = folder_tree(tmp_path / "f")
    bad = next((root / "train" / "cat").iterdir())
    bad.write_bytes(content)
    stopped = fermoe("data", "check", "folder", "--root", root)
    assert stopped.exit_code == 2
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("fermoe:")]
    assert bad.name in line
    assert "--skip-unreadable" in line
    listed = fermoe("data", "check", "folder", "--root", root, "--skip-unreadable")
    assert listed.exit_code == 0
    assert "1 unreadable" in listed.stdout
    assert bad.name in listed.stdout


def test_a_listed_image_without_a_file_is_one_line(tmp_path: Path) -> None:
    root = rafdb_tree(tmp_path / "raf", even(("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")))
    gone = next((root / "DATASET" / "train" / "1").iterdir())
    gone.unlink()
    result = fermoe("data", "check", "rafdb", "--root", root)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert gone.name in result.stderr


def test_a_study_on_an_unreadable_image_stops_before_it_trains(tmp_path: Path, own_cache: Path) -> None:
    root = folder_tree(tmp_path / "f", train=12, test=6)
    bad = next((root / "test" / "dog").iterdir())
    bad.write_bytes(b"")
    study = tmp_path / "mine.yaml"
    study.write_text("title: Mine\ndataset: folder\nprotocols: [audited]\nnotebooks: [04_training]\n")
    result = fermoe("study", study, "--set", f"root={root}", "--out", tmp_path / "out")
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("fermoe:")]
    assert bad.name in line
    assert not list((tmp_path / "out").glob("runs/*/log.txt"))


@pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed")
def test_crop_writes_the_outcomes_by_class(tmp_path: Path, own_cache: Path) -> None:
    root = folder_tree(tmp_path / "f")
    result = fermoe("crop", "folder", "--root", root, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 0, result.output
    crops = pd.read_csv(tmp_path / "out" / "tables" / "crops.csv")
    everything = crops[crops["label"] == "all"].set_index("split")["images"]
    assert everything.to_dict() == {"train": 8, "test": 4}
    assert (tmp_path / "out" / "tables" / "duplicates.csv").exists()
