"""`fermoe data prepare` makes an archive into the arrays that training reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.data.arrays import pixels
from fermoe.data.datasets import load_dataset
from tests.helpers.trees import fer2013_tree


def test_the_arrays_are_those_that_training_reads(tmp_path: Path, own_cache: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "data"), "xztar", fer2013_tree(tmp_path / "source" / "fer2013"))
    command = ["data", "prepare", "fer2013", "--root", str(tmp_path / "made"), "--archive", archive, "--crop", "none"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    (kept,) = (own_cache / "pixels").glob("*.npy")
    written = kept.stat().st_mtime_ns
    array = pixels(load_dataset("fer2013", tmp_path / "made"), "none", 64, progress=False)
    assert kept.stat().st_mtime_ns == written
    assert np.array_equal(array, np.load(kept))
