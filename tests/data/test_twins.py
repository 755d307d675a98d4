"""Images of one picture have one number, and the audited protocol never trains on a twin of what it looks at."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fermoe.data.datasets import Dataset, load_dataset, protocol_splits
from fermoe.data.twins import picture_numbers
from fermoe.training.config import TrainConfig
from fermoe.training.feed import load_data
from tests.helpers import trees
from tests.helpers.trees import refused


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Cats and dogs: test images copied from training images, and copies within the training images."""
    root = trees.folder_tree(tmp_path / "pets", train=40, test=6)
    cats, dogs = (sorted((root / "train" / name).iterdir()) for name in ("cat", "dog"))
    for source, copy in [
        (cats[0], "test/cat/copy.png"),
        (dogs[3], "test/dog/copy.png"),
        (cats[0], "train/cat/copy.png"),  # a second training twin of the same test image
        *((cats[k], f"train/cat/again{k}.png") for k in range(10, 30)),
        (dogs[5], "train/cat/mislabelled.png"),
    ]:
        shutil.copy(source, root / copy)
    return root


def shared(numbers: np.ndarray, one: np.ndarray, other: np.ndarray) -> int:
    return int(np.isin(numbers[one], numbers[other]).sum())


def test_images_have_the_same_number_exactly_where_their_pixels_are_the_same(root: Path, own_cache: Path) -> None:
    faces = load_dataset("folder", root)
    numbers = picture_numbers(faces, progress=False)
    pictures = [faces.read(i).tobytes() for i in range(len(faces))]
    for i in range(len(faces)):
        assert [a == numbers[i] for a in numbers] == [a == pictures[i] for a in pictures]


def test_numbers_are_kept_and_a_damaged_file_is_made_again(root: Path, own_cache: Path) -> None:
    faces = load_dataset("folder", root)
    first = picture_numbers(faces, progress=False)
    (kept,) = (own_cache / "twins").iterdir()
    before = kept.stat().st_mtime_ns
    assert np.array_equal(picture_numbers(faces, progress=False), first)
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(b"damaged")
    assert np.array_equal(picture_numbers(faces, progress=False), first)


def test_set_apart_no_test_or_validation_image_has_a_twin_in_training(root: Path, own_cache: Path) -> None:
    faces = load_dataset("folder", root)
    numbers = picture_numbers(faces, progress=False)
    kept, apart = (protocol_splits(faces, "audited", pictures=p) for p in (None, numbers))
    assert shared(numbers, kept["test"], kept["train"]) > 0
    for split in ("test", "validation"):
        assert shared(numbers, apart[split], apart["train"]) == 0
    assert shared(numbers, apart["validation"], apart["test"]) == 0
    lost = set(faces.table["image"]) - {faces.table["image"][i] for rows in apart.values() for i in rows}
    assert len(lost) == 3  # the twins of two test images: two and one
    assert all(name.startswith("train/") for name in lost)


def test_without_twins_the_split_is_the_one_without_numbers() -> None:
    faces = load_dataset("synthetic", train=300, test=30)
    numbers = picture_numbers(faces, progress=False)
    for name, rows in protocol_splits(faces, "audited", pictures=numbers).items():
        assert np.array_equal(rows, protocol_splits(faces, "audited")[name])


def test_the_published_protocol_keeps_twins_whatever_their_numbers(root: Path) -> None:
    faces = load_dataset("folder", root)
    splits = protocol_splits(faces, "published", pictures=np.zeros(len(faces), int))
    assert len(splits["train"]) == (faces.table["split"] == "train").sum()


def test_numbers_of_other_images_are_refused() -> None:
    faces = load_dataset("synthetic", train=20, test=2)
    with pytest.raises(ValueError, match="one picture number"):
        protocol_splits(faces, "audited", pictures=np.arange(5))


def test_a_run_sets_twins_apart_unless_it_is_told_to_keep_them(root: Path, own_cache: Path) -> None:
    numbers = picture_numbers(load_dataset("folder", root), progress=False)
    for twins, found in ((None, 0), ("apart", 0), ("kept", 2)):
        config = TrainConfig(dataset="folder", root=str(root), twins=twins)
        splits = load_data(config, progress=False).splits
        assert shared(numbers, splits["test"], splits["train"]) == found
    assert TrainConfig(protocol="published").twins == "kept"
    with refused("the published protocol keeps twins"):
        TrainConfig(protocol="published", twins="apart")
    with refused("'near'", "apart, kept"):
        TrainConfig(twins="near")


def fer2013() -> Dataset:
    root = os.environ.get("FERMOE_FER2013", "")
    if not Path(root, "train").is_dir():
        pytest.skip("needs the real images: FERMOE_FER2013=DIR with train/<emotion>/*.jpg and test/<emotion>/*.jpg")
    return load_dataset("fer2013", root)


def test_on_fer2013_the_audited_protocol_had_hundreds_of_twins_in_training_and_has_none() -> None:
    faces = fer2013()
    numbers = picture_numbers(faces, progress=False)
    kept, apart = (protocol_splits(faces, "audited", pictures=p) for p in (None, numbers))
    counts = [[shared(numbers, s[split], s["train"]) for split in ("test", "validation")] for s in (kept, apart)]
    assert counts == [[525, 214], [0, 0]]
    assert [len(apart[split]) for split in ("train", "validation", "test")] == [25_211, 2_795, 7_178]
