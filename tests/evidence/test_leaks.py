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


def test_the_standardised_effect_is_the_mean_of_the_classes_own(tmp_path: Path) -> None:
    """Leaked images of an easy class: the plain difference is the class's, and no leak's."""
    rng = np.random.default_rng(1)
    labels = np.arange(3000) % 3
    inside = (labels == 0) & (rng.random(3000) < 0.5)
    correct = rng.random(3000) < np.where(labels == 0, 0.9, 0.4)
    leaked = pd.DataFrame({"image": [f"i{k:03}" for k in np.flatnonzero(inside)], "kind": "identical"})
    row = leak_table([a_run(tmp_path, correct)], leaked).iloc[0]
    by_class = [correct[labels == c].mean() - correct[(labels == c) & ~inside].mean() for c in range(3)]
    assert row["standardised"] == pytest.approx(np.mean(by_class))
    assert row["std_low"] < 0 < row["std_high"]
    assert row["ci_low"] > 0.03  # without standardising, the easy class looks like a leak


def test_without_leaks_there_is_no_row(tmp_path: Path) -> None:
    nothing = pd.DataFrame({"image": [], "kind": []})
    assert leak_table([a_run(tmp_path, np.ones(9, bool))], nothing).empty


def test_the_causal_effect_is_what_the_same_training_without_twins_gets_less(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    kept, apart = (rng.random(600) < share for share in (0.7, 0.6))
    runs = [a_run(tmp_path / twins, right) for twins, right in (("kept", kept), ("apart", apart))]
    for run, twins in zip(runs, ("kept", "apart"), strict=True):
        run.result["parameters"]["twins"] = twins  # type: ignore[index]
        run.result["run"] = twins  # type: ignore[index]
    leaked = pd.DataFrame({"image": [f"i{k:03}" for k in range(90)], "kind": ["identical"] * 60 + ["near"] * 30})
    table = leak_table(runs, leaked).set_index(["run", "leaks"])
    row = table.loc[("kept", "identical")]
    assert row["causal"] == pytest.approx(kept.mean() - apart.mean())
    assert row["causal_low"] < row["causal"] < row["causal_high"]
    assert table["causal"].notna().sum() == 1
