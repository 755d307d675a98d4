"""The accuracy without leaked images is what one gets by leaving those images out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fermoe.data.audit import check_dataset
from fermoe.data.datasets import load_dataset
from fermoe.evidence.leaks import leak_table, leaked_images
from fermoe.training.predictions import predictions_table, write_predictions
from fermoe.training.runs import FinishedRun
from tests.helpers import trees
from tests.helpers.runs import made_up


def a_run(folder: Path, correct: np.ndarray) -> FinishedRun:
    labels = np.arange(len(correct)) % 3
    probabilities = np.full((len(correct), 3), 0.1)
    probabilities[np.arange(len(correct)), np.where(correct, labels, (labels + 1) % 3)] = 0.8
    names = [f"i{k:03}" for k in range(len(correct))]
    write_predictions(folder / "predictions.csv", predictions_table(names, labels, probabilities, ("a", "b", "c")))
    return made_up(directory=folder, dataset="folder")


def test_a_copied_training_image_is_found_in_the_test_set(tmp_path: Path) -> None:
    root = trees.folder_tree(tmp_path, train=4, test=3)
    source = next((root / "train").rglob("*.png"))
    (root / "test" / source.parent.name / "copy.png").write_bytes(source.read_bytes())
    found = leaked_images(check_dataset(load_dataset("folder", root), progress=False, perceptual=True))
    assert [kind for image, kind in found.to_numpy() if image.endswith("copy.png")] == ["identical"]


def test_leaving_the_leaked_images_out_by_hand_gives_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inside = np.arange(300) < 60
    correct = rng.random(300) < np.where(inside, 0.95, 0.5)
    leaked = pd.DataFrame({"image": [f"i{k:03}" for k in range(60)], "kind": ["identical"] * 40 + ["near"] * 20})
    table = leak_table([a_run(tmp_path, correct)], leaked).set_index("leaks")
    assert set(table["test_crop"]) == {"none"}
    for kind, count in (("identical", 40), ("identical or near", 60)):
        row = table.loc[kind]
        assert row["leaked_images"] == count
        assert row["leaked_accuracy"] == pytest.approx(correct[:count].mean())
        assert row["clean_accuracy"] == pytest.approx(correct[count:].mean())
        assert row["difference"] == pytest.approx(correct.mean() - correct[count:].mean())
        assert 0 < row["ci_low"] < row["difference"] < row["ci_high"]


def test_without_leaks_there_is_no_row(tmp_path: Path) -> None:
    nothing = pd.DataFrame({"image": [], "kind": []})
    assert leak_table([a_run(tmp_path, np.ones(9, bool))], nothing).empty
