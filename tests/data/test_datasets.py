"""Every dataset loads from its real layout with the published counts; a wrong folder is one line that helps."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from fermoe.data.datasets import DATASETS, Dataset, load_dataset, protocol_splits
from fermoe.data.drawing import draw_face
from fermoe.paper.published import class_counts
from tests.helpers import trees
from tests.helpers.trees import AFFECTNET8, FER2013, RAFDB, refused

PUBLISHED = class_counts()
PUBLISHED_IMAGES = {
    "fer2013": {"train": 28_709, "test": 7_178},
    "rafdb": {"train": 12_271, "test": 3_068},
    "affectnet8": {"train": 22_540, "test": 5_635},
    "affectnet7": {"train": 19_944, "test": 4_987},
}


def published(dataset: str) -> dict[tuple[str, str], int]:
    rows = PUBLISHED[PUBLISHED["dataset"] == dataset]
    return {(split, label): n for split, label, n in zip(rows["split"], rows["label"], rows["images"], strict=True)}


def counted(dataset: Dataset) -> dict[tuple[str, str], int]:
    return dataset.table.groupby(["split", "emotion"]).size().to_dict()


# What is known before a file is seen


@pytest.mark.parametrize("name", PUBLISHED_IMAGES)
def test_the_published_counts_are_in_the_specification(name: str) -> None:
    counts = DATASETS[name].published_counts()
    assert counts is not None
    assert counts.groupby("split")["images"].sum().to_dict() == PUBLISHED_IMAGES[name]
    assert set(counts["label"]) == set(DATASETS[name].labels)
    assert DATASETS["folder"].published_counts() is None


def test_labels_keep_the_order_that_each_dataset_has_on_disk() -> None:
    assert DATASETS["fer2013"].labels == FER2013 == tuple(sorted(FER2013))
    assert DATASETS["rafdb"].labels == RAFDB
    assert DATASETS["affectnet8"].labels == AFFECTNET8 == tuple(sorted(AFFECTNET8))
    assert DATASETS["affectnet7"].labels == tuple(label for label in AFFECTNET8 if label != "contempt")


def test_only_fer2013_is_grey_and_tested_uncropped() -> None:
    assert [name for name, spec in DATASETS.items() if spec.channels == 1] == ["fer2013"]
    assert [name for name, spec in DATASETS.items() if not spec.tested_cropped] == ["fer2013"]


# Trees as they lie on disk


def test_fer2013_is_read_from_class_folders(tmp_path: Path) -> None:
    counts = {(split, label): i + 1 for i, (split, label) in enumerate(trees.even(FER2013))}
    dataset = load_dataset("fer2013", trees.fer2013_tree(tmp_path, counts))
    assert counted(dataset) == counts
    assert dataset.labels == FER2013
    assert dataset.channels == 1
    for row in dataset.table.itertuples():
        split, label, _ = row.image.split("/")
        assert (row.split, row.emotion, FER2013[row.label]) == (split, label, label)
        assert row.path == str(tmp_path / row.image)


def test_fer2013_file_names_tell_public_from_private_test_images(tmp_path: Path) -> None:
    trees.fer2013_tree(tmp_path, trees.even(FER2013, train=2, test=4))
    trees.picture(tmp_path / "test/happy/0001.jpg")
    usage = load_dataset("fer2013", tmp_path).table.groupby("split")["usage"].value_counts().to_dict()
    assert usage == {
        ("train", "Training"): 14,
        ("test", "PublicTest"): 14,
        ("test", "PrivateTest"): 14,
        ("test", "unknown"): 1,
    }


@pytest.mark.skipif(not os.environ.get("FERMOE_FER2013"), reason="FERMOE_FER2013 names no folder with the real images")
def test_the_real_fer2013_has_the_published_counts() -> None:
    dataset = load_dataset("fer2013", os.environ["FERMOE_FER2013"])
    assert counted(dataset) == published("fer2013")
    table = dataset.table
    assert table["split"].value_counts().to_dict() == PUBLISHED_IMAGES["fer2013"]
    assert table["usage"].value_counts().to_dict() == {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}


def test_rafdb_is_read_from_its_label_files(tmp_path: Path) -> None:
    counts = {(split, label): i + 1 for i, (split, label) in enumerate(trees.even(RAFDB))}
    dataset = load_dataset("rafdb", trees.rafdb_tree(tmp_path, counts))
    assert counted(dataset) == counts
    assert dataset.table["path"].map(os.path.isfile).all()
    for row in dataset.table.itertuples():
        _, split, number, name = row.image.split("/")
        assert (row.split, row.label) == (split, int(number) - 1)
        assert name.startswith(split)


def test_a_full_rafdb_has_the_published_counts(tmp_path: Path) -> None:
    dataset = load_dataset("rafdb", trees.rafdb_tree(tmp_path, published("rafdb"), linked=True))
    assert counted(dataset) == published("rafdb")
    assert dataset.table["image"].is_unique


LAYOUTS = {
    "as listed": {},
    "listed with the split folder": {"pth": "train/{label}/{name}"},
    "listed without the split folder": {"on_disk": "train/{label}/{name}"},
    "listed without the split folder, capital": {"on_disk": "Train/{label}/{name}"},
    "listed with a split folder that the disk lacks": {"pth": "train/{label}/{name}", "on_disk": "{label}/{name}"},
    "listed in capitals": {"pth": "{Label}/{name}", "on_disk": "{label}/{name}"},
    "capitals on disk": {"pth": "{label}/{name}", "on_disk": "{Label}/{name}"},
    "capitals and split folder on disk": {"pth": "{label}/{name}", "on_disk": "Train/{Label}/{name}"},
    "Windows separators": {"pth": "{label}\\{name}", "on_disk": "{label}/{name}"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_affectnet_is_found_whatever_casing_and_split_folder_its_copy_has(tmp_path: Path, layout: str) -> None:
    root = trees.affectnet_tree(tmp_path, dict.fromkeys(AFFECTNET8, 5), **LAYOUTS[layout])  # type: ignore[arg-type]
    dataset = load_dataset("affectnet8", root)
    assert counted(dataset) == {(split, label): n for split, n in (("train", 4), ("test", 1)) for label in AFFECTNET8}
    for row in dataset.table.itertuples():
        assert Path(row.path).is_file()
        assert Path(row.path).parent.name.lower() == row.emotion == AFFECTNET8[row.label]
    assert dataset.table["path"].is_unique


def test_the_full_affectnet_subset_splits_into_the_published_counts(tmp_path: Path) -> None:
    totals = {
        label: published("affectnet8")["train", label] + published("affectnet8")["test", label] for label in AFFECTNET8
    }
    root = trees.affectnet_tree(tmp_path, totals, linked=True)
    eight, seven = load_dataset("affectnet8", root), load_dataset("affectnet7", root)
    assert counted(eight) == published("affectnet8")
    assert counted(seven) == published("affectnet7")
    assert "contempt" not in set(seven.table["emotion"])
    again = load_dataset("affectnet8", root)
    assert (again.table["split"] == eight.table["split"]).all()


@pytest.mark.parametrize("name", ["affectnet7", "affectnet8"])
def test_affectnet_test_images_are_those_that_the_authors_draw(tmp_path: Path, name: str) -> None:
    table = load_dataset(name, trees.affectnet_tree(tmp_path, dict.fromkeys(AFFECTNET8, 11))).table
    listed = pd.read_csv(tmp_path / "labels.csv")
    listed = listed[listed["label"] != "contempt"] if name == "affectnet7" else listed
    _, test = train_test_split(listed, test_size=0.2, random_state=52, stratify=listed["label"])
    assert set(table["image"][table["split"] == "test"]) == set(test["pth"])


def test_affectnet_labels_may_be_capitalised_or_nouns(tmp_path: Path) -> None:
    trees.affectnet_tree(tmp_path)
    labels = tmp_path / "labels.csv"
    plain = load_dataset("affectnet8", tmp_path).table
    labels.write_text(labels.read_text().replace(",happy,", ", Happiness,").replace(",sad,", ",Sadness,"))
    pd.testing.assert_frame_equal(load_dataset("affectnet8", tmp_path).table, plain)


def test_any_folder_of_class_folders_is_a_dataset(tmp_path: Path) -> None:
    dataset = load_dataset("folder", trees.folder_tree(tmp_path, ("dog", "cat", "bird"), train=3, test=1))
    assert dataset.labels == ("bird", "cat", "dog")
    assert counted(dataset) == trees.even(("bird", "cat", "dog"), train=3, test=1)


def test_what_is_no_image_and_hidden_folders_are_not_listed(tmp_path: Path) -> None:
    trees.folder_tree(tmp_path)
    before = load_dataset("folder", tmp_path).table
    (tmp_path / "train" / "cat" / "Thumbs.db").write_bytes(b"\0")
    for hidden in (".ipynb_checkpoints", ".cache"):
        (tmp_path / "train" / hidden).mkdir()
    (tmp_path / "test" / ".ipynb_checkpoints").mkdir()
    pd.testing.assert_frame_equal(load_dataset("folder", tmp_path).table, before)


def test_a_home_folder_may_be_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    trees.folder_tree(tmp_path / "pets")
    assert len(load_dataset("folder", "~/pets")) == 12


def test_the_synthetic_dataset_takes_its_options_as_yaml_gives_them() -> None:
    dataset = load_dataset("synthetic", train=6, test=4, labels=["happy", "sad"], framing="tight")
    assert dataset.table["split"].value_counts().to_dict() == {"train": 6, "test": 4}
    assert dataset.labels == ("happy", "sad")
    assert dataset.channels == 1
    assert set(load_dataset("synthetic", train=20, test=1).table["emotion"]) == set(AFFECTNET8) - {"contempt"}


# Wrong input is one line: what, where, what to do


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


DAMAGE: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "root missing": ("fer2013", shutil.rmtree, ("no such dataset folder", "train/<emotion>")),
    "split folder missing": ("fer2013", lambda r: shutil.rmtree(r / "test"), ("'test' is missing", "train/<emotion>")),
    "class folder missing": ("fer2013", lambda r: shutil.rmtree(r / "train/fear"), ("'fear' is missing", "train")),
    "class unknown": ("fer2013", lambda r: (r / "test/bored").mkdir(), ("unknown class folder 'bored'", "surprise")),
    "no image at all": (
        "fer2013",
        lambda r: [p.unlink() for p in r.rglob("*.jpg")],
        ("no images found", "train/<emotion>"),
    ),
    "one class only": ("folder", lambda r: [shutil.rmtree(r / s / "cat") for s in ("train", "test")], ("1 class",)),
    "no train folder": ("folder", lambda r: shutil.rmtree(r / "train"), ("'train' is missing",)),
    "label file missing": ("rafdb", lambda r: (r / "test_labels.csv").unlink(), ("test_labels.csv", "missing")),
    "label file empty": ("rafdb", lambda r: write(r / "train_labels.csv", ""), ("train_labels.csv", "image, label")),
    "label file is a picture": (
        "rafdb",
        lambda r: shutil.copy(next(r.rglob("*.jpg")), r / "train_labels.csv"),
        ("train_labels.csv", "image, label"),
    ),
    "only a header": ("rafdb", lambda r: write(r / "test_labels.csv", "image,label\n"), ("test_labels.csv", "no line")),
    "column missing": (
        "rafdb",
        lambda r: write(r / "train_labels.csv", "image,class\na.jpg,1\n"),
        ("column 'label' is missing", "train_labels.csv"),
    ),
    "label out of range": (
        "rafdb",
        lambda r: write(r / "train_labels.csv", "image,label\na.jpg,1\nb.jpg,8\n"),
        ("label '8' on line 3", "train_labels.csv", "1 to 7"),
    ),
    "incomplete line": (
        "rafdb",
        lambda r: write(r / "train_labels.csv", "image,label\na.jpg,1\nb.jpg,\n"),
        ("line 3 is incomplete", "train_labels.csv"),
    ),
    "image absent": (
        "rafdb",
        lambda r: sorted(r.rglob("*.jpg"))[0].unlink(),
        ("1 listed images", "DATASET/test/1", "--skip-unreadable"),
    ),
    "affectnet label unknown": (
        "affectnet7",
        lambda r: write(r / "labels.csv", "pth,label\na.jpg,happy\nb.jpg,bored\n"),
        ("label 'bored' on line 3", "contempt"),
    ),
    "affectnet column missing": ("affectnet8", lambda r: write(r / "labels.csv", "path,label\na,sad\n"), ("'pth'",)),
    "affectnet header only": ("affectnet8", lambda r: write(r / "labels.csv", "pth,label\n"), ("labels.csv",)),
    "affectnet too small to split": (
        "affectnet8",
        lambda r: write(r / "labels.csv", "pth,label\na.jpg,sad\nb.jpg,sad\nc.jpg,fear\n"),
        ("80/20", "labels.csv"),
    ),
}
TREES = {
    "fer2013": trees.fer2013_tree,
    "rafdb": trees.rafdb_tree,
    "affectnet7": trees.affectnet_tree,
    "affectnet8": trees.affectnet_tree,
    "folder": trees.folder_tree,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_wrong_folder_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    name, spoil, words = DAMAGE[damage]
    root = tmp_path / "data"
    TREES[name](root)
    load_dataset(name, root)
    spoil(root)
    with refused(str(root), *words):
        load_dataset(name, root)


def test_another_datasets_folder_is_refused(tmp_path: Path) -> None:
    for name in TREES:
        TREES[name](tmp_path / name)
    for name in ("rafdb", "affectnet8", "fer2013"):
        for other in set(TREES) - {name, "affectnet7"}:
            with refused(str(tmp_path / other)):
                load_dataset(name, tmp_path / other)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    with refused("no such dataset folder", "fer.zip"):
        load_dataset("fer2013", trees.picture(tmp_path / "fer.png").rename(tmp_path / "fer.zip"))


def test_unknown_names_and_options_are_refused(tmp_path: Path) -> None:
    with refused("'ferplus'", "synthetic, fer2013, rafdb, affectnet7, affectnet8, folder"):
        load_dataset("ferplus", tmp_path)
    with refused("'fer2013'", "no option 'size'"):
        load_dataset("fer2013", tmp_path, size=3)
    with refused("unknown key 'sise'", "occluded"):
        load_dataset("synthetic", sise=3)
    with refused("'rafdb' needs its folder", "--root"):
        load_dataset("rafdb")


@pytest.mark.parametrize("name", ["rafdb", "affectnet8"])
def test_absent_images_can_be_left_out_and_are_listed(tmp_path: Path, name: str) -> None:
    whole = load_dataset(name, TREES[name](tmp_path)).table
    absent = [whole["image"].iloc[i] for i in (0, 7)]
    for image in absent:
        (tmp_path / image).unlink()
    dataset = load_dataset(name, tmp_path, skip_unreadable=True)
    assert dataset.skipped == tuple(absent)
    table = dataset.table
    assert list(table.index) == list(range(len(whole) - 2))
    kept = whole[~whole["image"].isin(absent)].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, kept)  # the others keep their split


# Fingerprints


def test_the_fingerprint_does_not_depend_on_where_the_data_lies(tmp_path: Path) -> None:
    trees.rafdb_tree(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "far" / "away")
    here, away = (load_dataset("rafdb", tmp_path / name).fingerprint for name in ("here", "far/away"))
    assert here == away
    assert len(here) == 16


def test_the_fingerprint_changes_with_files_labels_and_splits(tmp_path: Path) -> None:
    dataset = load_dataset("folder", trees.folder_tree(tmp_path))
    table, seen = dataset.table, {dataset.fingerprint}
    for column, value in (("label", 1 - table["label"]), ("split", table["split"].shift(1, fill_value="test"))):
        seen.add(dataclasses.replace(dataset, table=table.assign(**{column: value})).fingerprint)
    seen.add(dataset.subset(range(len(dataset) - 1)).fingerprint)
    Path(table["path"][0]).write_bytes(Path(table["path"][0]).read_bytes() + b"\0")
    seen.add(load_dataset("folder", tmp_path).fingerprint)
    assert len(seen) == 5


def test_the_synthetic_fingerprint_changes_with_whatever_is_drawn() -> None:
    base = {"train": 4, "test": 2}
    variants: list[dict[str, object]] = [
        {}, {"train": 5}, {"seed": 1}, {"framing": "tight"}, {"size": 64}, {"occluded": 0.5}, {"labels": ["sad"]}
    ]  # fmt: skip
    prints = [load_dataset("synthetic", **{**base, **options}).fingerprint for options in variants]
    assert len(set(prints)) == len(prints)
    assert prints[0] == load_dataset("synthetic", **base).fingerprint


def test_fingerprints_are_those_that_results_on_disk_carry(tmp_path: Path) -> None:
    """Recorded when result.json files began to carry them; the second also step by step."""
    assert load_dataset("synthetic").fingerprint == "d186e32d566dec6e"
    images = [f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("cat", "dog") for i in range(3)]
    for size, image in enumerate(images):
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).write_bytes(bytes(size))
    dataset = load_dataset("folder", tmp_path)
    assert dataset.fingerprint == "e5e022e41d94c899"
    lines = [f"{x}\0{int('dog' in x)}\0{x.split('/')[0]}\0{size}\n" for size, x in enumerate(images)]
    assert dataset.fingerprint == hashlib.sha256(("('cat', 'dog')" + "".join(lines)).encode()).hexdigest()[:16]


def test_a_dataset_takes_its_fingerprint_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("folder", trees.folder_tree(tmp_path))
    first = dataset.fingerprint
    monkeypatch.setattr(os, "stat", None)
    assert dataset.fingerprint == first


# The dataset as an object


def test_a_subset_keeps_its_order_and_all_that_is_known(tmp_path: Path) -> None:
    trees.rafdb_tree(tmp_path)
    next((tmp_path / "DATASET/train/1").iterdir()).unlink()
    whole = load_dataset("rafdb", tmp_path, skip_unreadable=True)
    part = whole.subset([7, 2, 30])
    assert part.table["image"].tolist() == [whole.table["image"][i] for i in (7, 2, 30)]
    assert list(part.table.index) == [0, 1, 2]
    assert (part.name, part.labels, part.channels, part.skipped) == ("rafdb", RAFDB, 3, whole.skipped)
    assert len(part) == 3
    assert len(whole.skipped) == 1
    assert part.fingerprint != whole.fingerprint


def test_a_mask_gives_the_subset_that_its_positions_give() -> None:
    whole = load_dataset("synthetic", train=9, test=3, framing="tight", occluded=0.4)
    mask = whole.table["split"] == "test"
    for part in (whole.subset(mask), whole.subset(mask.tolist()), whole.subset(np.flatnonzero(mask))):
        assert part.table["index"].tolist() == [9, 10, 11]
        assert (part.drawing, part.channels, part.drawn) == ("tight 48 0.4", 1, True)


@pytest.mark.parametrize("name", ["fer2013", "rafdb"])
def test_reading_an_image_is_reading_its_file(tmp_path: Path, name: str) -> None:
    dataset = load_dataset(name, TREES[name](tmp_path))
    for i in (0, 11, len(dataset) - 1):
        expected = np.asarray(Image.open(dataset.table["path"][i]))
        np.testing.assert_array_equal(dataset.read(i), expected)
    assert dataset.read(0).shape == ((12, 12) if name == "fer2013" else (12, 12, 3))


def test_reading_a_drawn_face_draws_it() -> None:
    dataset = load_dataset("synthetic", train=3, test=1)
    np.testing.assert_array_equal(dataset.read(2), draw_face(dataset.table.to_dict("records")[2]))


def test_only_drawn_faces_have_true_boxes(tmp_path: Path) -> None:
    drawn, files = load_dataset("synthetic", train=1, test=1), load_dataset("folder", trees.folder_tree(tmp_path))
    assert (drawn.drawn, drawn.has_boxes) == (True, True)
    assert (files.drawn, files.has_boxes) == (False, False)


# Splits of the two protocols


@pytest.fixture(scope="module")
def faces() -> Dataset:
    return load_dataset("synthetic", train=700, test=70)


def test_the_published_protocol_validates_on_the_test_set(faces: Dataset) -> None:
    splits = protocol_splits(faces, "published")
    assert np.array_equal(splits["validation"], splits["test"])
    assert np.array_equal(splits["train"], np.arange(700))
    assert np.array_equal(splits["test"], np.arange(700, 770))


def test_the_audited_protocol_validates_on_a_stratified_tenth_of_the_training_set(faces: Dataset) -> None:
    splits = protocol_splits(faces, "audited")
    train, validation, test = (splits[name] for name in ("train", "validation", "test"))
    assert len(validation) == 70
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(700))
    assert np.array_equal(test, np.arange(700, 770))
    labels = faces.table["label"].to_numpy()
    shares = np.bincount(labels[validation]) / np.bincount(labels[:700])
    assert shares == pytest.approx(np.full(7, 0.1), abs=0.01)
    for name, again in protocol_splits(faces, "audited").items():
        assert np.array_equal(again, splits[name])
    assert not np.array_equal(protocol_splits(faces, "audited", seed=1)["validation"], validation)


@pytest.mark.parametrize("train", [2, 3, 7, 10, 30, 69, 70])
def test_tiny_sets_are_split_too(train: int) -> None:
    splits = protocol_splits(load_dataset("synthetic", train=train, test=1), "audited")
    assert len(splits["train"]) >= 1
    assert len(splits["validation"]) == -(-train // 10)
    assert not set(splits["train"]) & set(splits["validation"])


def test_a_class_with_one_image_or_none_does_not_stop_the_split(tmp_path: Path) -> None:
    counts = {**trees.even(FER2013, train=20, test=1), ("train", "disgust"): 1, ("train", "fear"): 0}
    (tmp_path / "train" / "fear").mkdir(parents=True)
    splits = protocol_splits(load_dataset("fer2013", trees.fer2013_tree(tmp_path, counts)), "audited")
    assert len(splits["train"]) + len(splits["validation"]) == 101


def test_a_set_that_cannot_be_split_and_an_unknown_protocol_are_refused(faces: Dataset) -> None:
    with refused("'audit'", "published, audited"):
        protocol_splits(faces, "audit")
    with refused("1 training image"):
        protocol_splits(load_dataset("synthetic", train=1, test=1), "audited")
    for protocol in ("published", "audited"):
        with refused("no test images"):
            protocol_splits(load_dataset("synthetic", train=20, test=0), protocol)
