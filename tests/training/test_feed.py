"""Batches are the images that were asked for, as their pipeline makes them, wherever the images lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fermoe.data.transforms import NORMALISATIONS
from fermoe.training import feed as feed_module
from fermoe.training.config import TrainConfig
from fermoe.training.feed import Feed, load_data, resident, take

CONFIG = TrainConfig(dataset_options={"train": 12, "test": 4})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2050, 1, 4, 4), dtype=np.uint8)


def test_images_that_fit_lie_on_the_device_and_others_stay_where_they_are(images: np.ndarray) -> None:
    kept = resident(images, CPU, room=images.nbytes)
    assert isinstance(kept, torch.Tensor)
    np.testing.assert_array_equal(kept.numpy(), images)
    assert resident(images, CPU, room=images.nbytes - 1) is images


@pytest.mark.parametrize("room", [0, 10**9])
def test_rows_are_taken_in_their_order_from_either_place(images: np.ndarray, room: int) -> None:
    rows = np.array([2049, 0, 7, 7, 1024])
    np.testing.assert_array_equal(take(resident(images, CPU, room), rows, CPU).numpy(), images[rows])


def test_a_read_only_memory_map_is_read_without_a_warning(images: np.ndarray, tmp_path, recwarn) -> None:
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert torch.equal(resident(mapped, CPU, mapped.nbytes), torch.from_numpy(images))
    assert not recwarn.list


def test_a_batch_is_its_rows_divided_by_255_and_normalised() -> None:
    data = load_data(CONFIG, progress=False)
    rows = np.array([5, 1, 3])
    batch = Feed(data, CONFIG, CPU).batch("train", rows)
    expected = NORMALISATIONS["imagenet"](torch.from_numpy(data.images["train"][rows] / np.float32(255)))
    torch.testing.assert_close(batch, expected.expand_as(batch))
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_images_on_the_device_give_the_same_batches_with_and_without_augmentation(monkeypatch) -> None:
    config = TrainConfig(dataset_options=CONFIG.dataset_options, augmentation="augment")
    data = load_data(config, progress=False)
    rows = np.arange(10)[::-1].copy()
    sent = Feed(data, config, CPU)
    kept = Feed(data, config, CPU)
    kept.images = {split: resident(array, CPU, 10**9) for split, array in data.images.items()}
    for seed in (None, 0, 1):
        first, second = (
            feed.batch("train", rows, None if seed is None else torch.Generator().manual_seed(seed))
            for feed in (sent, kept)
        )
        assert torch.equal(first, second)


def test_waiting_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 20.0, 23.0])
    feed = Feed(load_data(CONFIG, progress=False), CONFIG, CPU)
    monkeypatch.setattr(feed_module.time, "perf_counter", lambda: next(clock))
    for _ in range(2):
        feed.batch("train", np.arange(2))
    assert feed.seconds == 5
