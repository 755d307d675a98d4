"""A CSV of another model's answers becomes a run, or one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fermoe.data.datasets import Dataset, load_dataset
from fermoe.training.foreign import Answers, foreign_runs, leaked, read_answers, write_foreign
from fermoe.training.runs import finished_runs
from tests.helpers import trees
from tests.helpers.trees import refused


@pytest.fixture
def faces(tmp_path: Path, own_cache: Path) -> Dataset:
    """FER-2013's layout, two test images a class."""
    return load_dataset("fer2013", trees.fer2013_tree(tmp_path / "data"))


def answers(dataset: Dataset, column: str = "image") -> pd.DataFrame:
    """All test images, in another order than the dataset's, each called by its true class."""
    test = dataset.table[dataset.table["split"] == "test"]
    return pd.DataFrame({"image": test[column], "label": test["emotion"]}).sample(frac=1, random_state=1)


def written(table: pd.DataFrame, folder: Path) -> Path:
    table.to_csv(folder / "answers.csv", index=False)
    return folder / "answers.csv"


def truth(dataset: Dataset) -> np.ndarray:
    return dataset.table.loc[dataset.table["split"] == "test", "label"].to_numpy()


def with_probabilities(dataset: Dataset) -> pd.DataFrame:
    table = answers(dataset)
    for name in reversed(dataset.labels):  # in another order than the dataset's
        table[f"p_{name}"] = np.where(table["label"] == name, 0.4, 0.1)
    return table


@pytest.mark.parametrize("named", ["path", "absolute path", "file name", "with backslashes"])
def test_images_are_known_by_path_or_by_a_file_name_that_is_unique(faces: Dataset, tmp_path: Path, named: str) -> None:
    table = answers(faces, "path" if named == "absolute path" else "image")
    if named == "file name":
        table["image"] = table["image"].str.rsplit("/", n=1).str[1]
    if named == "with backslashes":
        table["image"] = ".\\" + table["image"].str.replace("/", "\\")
    found = read_answers(written(table, tmp_path), faces, tmp_path / "data")
    np.testing.assert_array_equal(found.predicted, truth(faces))
    assert not found.graded


def test_other_words_for_a_class_are_understood(faces: Dataset, tmp_path: Path) -> None:
    table = answers(faces)
    words = {"angry": "Anger", "happy": "happiness", "sad": "sadness", "surprise": "surprised"}
    table["label"] = table["label"].replace(words)
    np.testing.assert_array_equal(read_answers(written(table, tmp_path), faces).predicted, truth(faces))


def test_probabilities_are_kept_in_the_datasets_order(faces: Dataset, tmp_path: Path) -> None:
    found = read_answers(written(with_probabilities(faces), tmp_path), faces)
    assert found.graded
    rows = np.arange(len(found.predicted))
    np.testing.assert_allclose(found.probabilities[rows, truth(faces)], 0.4)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


SPOILT = {
    "a missing image": (lambda t: t.iloc[1:], "1 of 14 test images are missing"),
    "an image twice": (lambda t: pd.concat([t, t.iloc[:1]]), "on line 16 is there before, on line 2"),
    "an unknown image": (
        lambda t: t.assign(image=t["image"].where(t.index != t.index[0], "test/happy/nobody.jpg")),
        "1 images are none of the dataset's test images, the first, on line 2: test/happy/nobody.jpg",
    ),
    "a training image": (
        lambda t: pd.concat([t, pd.DataFrame({"image": ["train/angry/Training_0.jpg"], "label": "angry"})]),
        "on line 16: train/angry/Training_0.jpg",
    ),
    "an unknown class": (lambda t: t.assign(label="bored"), "label 'bored' on line 2 is no class of fer2013"),
    "no label": (lambda t: t.drop(columns="label"), "column 'label' is missing"),
    "an empty label": (lambda t: t.assign(label=""), "label '' on line 2"),
    "some probabilities": (lambda t: t.assign(p_happy=1.0), "probabilities of 1 of 7 classes"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_does_not_fit_is_one_line(faces: Dataset, tmp_path: Path, case: str) -> None:
    spoil, said = SPOILT[case]
    with refused(said):
        read_answers(written(spoil(answers(faces)), tmp_path), faces)


@pytest.mark.parametrize(
    ("value", "said"), [("0.9", "add up to 1"), ("-0.1", "add up to 1"), ("nan", "add up to 1"), ("x", "add up to 1")]
)
def test_probabilities_that_are_none_are_one_line(faces: Dataset, tmp_path: Path, value: str, said: str) -> None:
    with refused("line 2", said):
        table = with_probabilities(faces).astype({"p_fear": str})
        table.iloc[0, table.columns.get_loc("p_fear")] = value
        read_answers(written(table, tmp_path), faces)


def test_a_label_that_its_own_probabilities_contradict_is_one_line(faces: Dataset, tmp_path: Path) -> None:
    table = with_probabilities(faces)
    table["label"] = np.roll(table["label"], 1)
    with refused("is not the most probable class"):
        read_answers(written(table, tmp_path), faces)


def test_a_file_name_of_several_images_needs_its_path(tmp_path: Path, own_cache: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            for k in range(2):
                trees.picture(tmp_path / "data" / split / label / f"{k}.png", seed=k)
    dataset = load_dataset("folder", tmp_path / "data")
    table = pd.DataFrame({"image": ["0.png", "1.png"], "label": "cat"})
    with refused("'0.png' on line 2 is the name of 2 test images"):
        read_answers(written(table, tmp_path), dataset)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n", b'image,label\n"a'])
def test_no_csv_is_one_line(faces: Dataset, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "answers.csv").write_bytes(content)
    with refused("answers.csv"):
        read_answers(tmp_path / "answers.csv", faces)
    with refused("not a CSV file"):
        read_answers(tmp_path / "nowhere.csv", faces)


def test_a_foreign_run_is_kept_and_is_no_training(faces: Dataset, tmp_path: Path) -> None:
    run = write_foreign(tmp_path / "s", "other", faces, Answers.of_classes(truth(faces), 7), {"file": "answers.csv"})
    assert [found.name for found in foreign_runs(tmp_path / "s")] == ["other"]
    assert finished_runs(tmp_path / "s") == []
    assert run.result["metrics"]["test"]["accuracy"] == 1
    assert "ece" not in run.result["metrics"]["test"]  # it gave no probabilities
    assert run.predictions["image"].tolist() == faces.table.loc[faces.table["split"] == "test", "image"].tolist()
    assert str(tmp_path) not in (run.directory / "result.json").read_text()


def test_test_images_that_are_training_images_too_are_marked(tmp_path: Path, own_cache: Path) -> None:
    root = trees.fer2013_tree(tmp_path / "data")
    first = sorted((root / "train" / "fear").iterdir())[0]
    copied = sorted((root / "test" / "sad").iterdir())[1]  # under another class: a twin is a twin
    copied.write_bytes(first.read_bytes())
    dataset = load_dataset("fer2013", root)
    test = dataset.table[dataset.table["split"] == "test"].reset_index(drop=True)
    assert test.loc[leaked(dataset), "image"].tolist() == [f"test/sad/{copied.name}"]
    run = write_foreign(tmp_path / "s", "m", dataset, Answers.of_classes(truth(dataset), 7), {})
    np.testing.assert_array_equal(run.twins, leaked(dataset))


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 61, "a b", "a\n"])
def test_a_name_that_is_no_folders_is_refused(faces: Dataset, tmp_path: Path, name: str) -> None:
    with refused("cannot be the model's name"):
        write_foreign(tmp_path / "s", name, faces, Answers.of_classes(truth(faces), 7), {})
    assert not (tmp_path / "s").exists()
