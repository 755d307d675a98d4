"""A run's images: decoded once, and batch by batch on their way to what the network sees."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fermoe.data.arrays import pixels, readable
from fermoe.data.composition import composed
from fermoe.data.datasets import Dataset, load_dataset, protocol_splits
from fermoe.data.transforms import NORMALISATIONS, as_images, augment
from fermoe.data.twins import picture_numbers
from fermoe.errors import UserError
from fermoe.training.config import TrainConfig, model_config


@dataclass(frozen=True, eq=False)
class Data:
    """A run's dataset, row positions of its splits, and its images as the network's crop gives them."""

    dataset: Dataset
    splits: dict[str, np.ndarray]
    images: dict[str, np.ndarray]  # by split: uint8 (N of the whole table, C, S, S)

    @property
    def table(self) -> pd.DataFrame:
        return self.dataset.table

    @property
    def labels(self) -> np.ndarray:
        return self.table["label"].to_numpy()

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.dataset.labels


def dataset_of(config: TrainConfig) -> Dataset:
    """The dataset that a run sees: without the files that cannot be read, where it leaves them out."""
    skip = config.skip_unreadable
    dataset = load_dataset(config.dataset, config.root, skip_unreadable=skip, **config.dataset_options)
    return readable(dataset)[0] if skip and not dataset.drawn else dataset


def load_data(config: TrainConfig, *, progress: bool = True) -> Data:
    """The dataset of a run, its splits, and its images at the model's size."""
    dataset = dataset_of(config)
    pictures = picture_numbers(dataset, progress=progress) if config.twins == "apart" else None
    splits = protocol_splits(dataset, config.protocol, pictures=pictures)
    labels = dataset.table["label"].to_numpy()[splits["train"]]
    splits["train"] = splits["train"][composed(labels, dataset.labels, config.composition, config.seed)]
    if len(splits["train"]) < 2:
        raise UserError(f"dataset '{config.dataset}' has too few training images", fix="give at least two")
    size = model_config(config, len(dataset.labels)).image_size
    # The authors validate on cropped images even where they test uncropped ones.
    crops = {"train": config.crop, "validation": config.crop, "test": str(config.test_crop)}
    arrays = {crop: pixels(dataset, crop, size, progress=progress) for crop in dict.fromkeys(crops.values())}
    return Data(dataset, splits, {split: arrays[crop] for split, crop in crops.items()})


def test_data(config: TrainConfig, images: int) -> tuple[Data, str]:
    """That many of a run's test images, evenly spread over its test split, and the whole dataset's fingerprint.

    No other image is drawn, read or searched for a face: a few are enough for who looks at what a network does. A run
    that leaves out unreadable files reads them all, to know which these are.
    """
    dataset = dataset_of(config)
    rows = spread(protocol_splits(dataset, "published")["test"], images)  # the same in both protocols
    few = dataset.subset(rows)
    size = model_config(config, len(dataset.labels)).image_size
    arrays = {"test": pixels(few, str(config.test_crop), size, progress=False)}
    return Data(few, {"test": np.arange(len(few))}, arrays), dataset.fingerprint


def spread(rows: np.ndarray, images: int | None) -> np.ndarray:
    """That many of some rows, evenly spread; all where there are no more or `images` is None.

    Tables are sorted by class or at random, so an even spread keeps every class.
    """
    if images is None or images >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, images).round().astype(int)]


class Feed:
    """Batches of a run's images on its device, as its input pipeline makes them."""

    def __init__(self, data: Data, config: TrainConfig, device: torch.device):
        self.normalise, self.augmented = NORMALISATIONS[str(config.normalisation)], config.augmentation != "none"
        self.device, self.seconds = device, 0.0  # spent waiting for batches (on a GPU, for them to be ordered)
        arrays = {id(array): array for array in data.images.values()}  # splits may share one
        kept = {key: resident(array, device) for key, array in arrays.items()}
        self.images = {split: kept[id(array)] for split, array in data.images.items()}

    def batch(self, split: str, rows: np.ndarray, generator: torch.Generator | None = None) -> Tensor:
        """Images `rows` (N,) of the table → (N, 3, S, S), channels last; a generator's are for training: augmented."""
        started = time.perf_counter()
        images = as_images(take(self.images[split], rows, self.device))
        if generator is not None and self.augmented:
            images = augment(images, generator)
        batch = self.normalise(images).contiguous(memory_format=torch.channels_last)
        self.seconds += time.perf_counter() - started
        return batch


def resident(images: np.ndarray, device: torch.device, room: int | None = None) -> np.ndarray | Tensor:
    """Images on the device, or as they are where they need more than `room` bytes (by default half of a GPU's free)."""
    if room is None:
        room = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0
    if images.nbytes > room:
        return images
    copy = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), 1024):  # a copy of the whole would fill the host's memory
        copy[start : start + 1024] = torch.from_numpy(images[start : start + 1024].copy())
    return copy


def take(images: np.ndarray | Tensor, rows: np.ndarray, device: torch.device) -> Tensor:
    """Images `rows` (N,) on the device."""
    if isinstance(images, Tensor):
        return images[torch.from_numpy(rows).to(images.device, non_blocking=True)]
    return torch.from_numpy(images[rows]).to(device, non_blocking=True)
