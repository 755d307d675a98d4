"""Each input pipeline is the arithmetic it is named after; augmentation is a function of its generator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from fermoe.data.transforms import AUGMENTATIONS, NORMALISATIONS, Augmentation, as_images, augment, pipeline_name
from tests.helpers.trees import refused

STILL = Augmentation(flip=0, degrees=0, shift=0, scale=0, erase=0)


def bytes_of(n: int = 3, channels: int = 3, size: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def pictures(n: int = 8, size: int = 32) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def drawn_by(seed: int, images: Tensor, settings: Augmentation | None = None) -> Tensor:
    return augment(images, torch.Generator().manual_seed(seed), settings)


# Normalisations


def test_bytes_become_rgb_between_zero_and_one() -> None:
    colour, grey = bytes_of(), bytes_of(channels=1)
    np.testing.assert_array_equal(as_images(torch.from_numpy(colour)), colour.astype(np.float32) / np.float32(255))
    repeated = as_images(torch.from_numpy(grey))
    assert repeated.shape == (3, 3, 20, 20)
    for channel in range(3):
        np.testing.assert_array_equal(repeated[:, channel], grey[:, 0].astype(np.float32) / np.float32(255))


def by_hand(name: str, pixels: np.ndarray) -> np.ndarray:
    """The pipelines in plain NumPy, from bytes (N, 3, H, W) in RGB order."""
    red, green, blue = (pixels[:, i].astype(np.float64) for i in range(3))
    channels = {
        "bgr_unit": (blue / 255, green / 255, red / 255),
        "rgb_unit": (red / 255, green / 255, blue / 255),
        "imagenet": (
            (red / 255 - 0.485) / 0.229,
            (green / 255 - 0.456) / 0.224,
            (blue / 255 - 0.406) / 0.225,
        ),
        "vggface2": (blue - 91.4953, green - 103.8827, red - 131.0912),
    }
    return np.stack(channels[name], axis=1)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_normalisation_is_its_plain_arithmetic(name: str) -> None:
    pixels = bytes_of()
    ours = NORMALISATIONS[name](as_images(torch.from_numpy(pixels)))
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours, by_hand(name, pixels), rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_normalisation_takes_grey_images_and_leaves_its_input(name: str) -> None:
    images = as_images(torch.from_numpy(bytes_of(channels=1)))
    before = images.clone()
    assert NORMALISATIONS[name](images).shape == (3, 3, 20, 20)
    assert torch.equal(images, before)


def test_pipelines_are_named_after_their_parts() -> None:
    assert pipeline_name("bgr_unit", "none") == "bgr_unit"
    assert pipeline_name("imagenet", "augment") == "imagenet+augment"
    with refused("'bgr'", "bgr_unit, rgb_unit, imagenet, vggface2"):
        pipeline_name("bgr", "none")
    with refused("'flip'", ", ".join(AUGMENTATIONS)):
        pipeline_name("imagenet", "flip")


# Augmentation


def test_augmentation_is_decided_by_its_generator() -> None:
    images = pictures()
    assert torch.equal(drawn_by(1, images), drawn_by(1, images))
    assert not torch.equal(drawn_by(1, images), drawn_by(2, images))
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    first = augment(images, generator)
    torch.manual_seed(9)
    assert torch.equal(first, drawn_by(1, images))  # nothing comes from the global generator
    assert not torch.equal(augment(images, generator), first)  # a second epoch draws on


def test_augmentation_keeps_shape_and_range_and_its_input() -> None:
    for size in (1, 7, 48):
        images = pictures(16, size)
        before = images.clone()
        out = drawn_by(0, images)
        assert out.shape == images.shape
        assert out.min() >= 0
        assert out.max() <= 1
        assert torch.equal(images, before)


def test_each_image_has_its_own_draw() -> None:
    out = drawn_by(0, pictures(1).repeat(6, 1, 1, 1))
    assert all(not torch.equal(out[i], out[j]) for i in range(6) for j in range(i))


def test_a_still_augmentation_changes_nothing() -> None:
    images = pictures()
    assert (drawn_by(0, images, STILL) - images).abs().max() < 1e-5


def test_flip_alone_mirrors_left_and_right() -> None:
    images = pictures()
    mirrored = drawn_by(0, images, dataclasses.replace(STILL, flip=1))
    assert (mirrored - images.flip(3)).abs().max() < 1e-5
    half = drawn_by(0, pictures(1).repeat(2000, 1, 1, 1)[..., :8, :8], dataclasses.replace(STILL, flip=0.5))
    share = ((half - half[:1]).abs().amax((1, 2, 3)) < 1e-5).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.05)


def centre(images: Tensor) -> Tensor:
    """The centre of brightness (N, 2) as (x, y), in shares of the picture."""
    size = images.shape[-1]
    places = (torch.arange(size) + 0.5) / size
    weight = images.mean(1)
    total = weight.sum((1, 2))
    return torch.stack([(weight.sum(1) * places).sum(1) / total, (weight.sum(2) * places).sum(1) / total], 1)


def blob(x: float, y: float, n: int = 500, size: int = 64) -> Tensor:
    places = (torch.arange(size) + 0.5) / size
    spot = torch.exp(-((places[None, :] - x) ** 2 + (places[:, None] - y) ** 2) / 0.003)
    return spot.expand(n, 3, size, size)


def test_shifts_stay_within_the_documented_share_of_the_picture() -> None:
    moved = centre(drawn_by(0, blob(0.5, 0.5), dataclasses.replace(STILL, shift=0.08))) - 0.5
    assert moved.abs().max() < 0.08 + 0.005
    assert moved.abs().amax(0).min() > 0.07
    assert moved.mean(0).abs().max() < 0.01


def test_rotation_and_zoom_stay_within_their_limits() -> None:
    turned = centre(drawn_by(0, blob(0.75, 0.5), dataclasses.replace(STILL, degrees=10.0))) - 0.5
    angles = torch.rad2deg(torch.atan2(turned[:, 1], turned[:, 0]))
    assert 9 < angles.abs().max() < 10.5
    assert turned.norm(dim=1).sub(0.25).abs().max() < 0.005
    zoomed = centre(drawn_by(0, blob(0.75, 0.5), dataclasses.replace(STILL, scale=0.1)))[:, 0] - 0.5
    ratios = zoomed / 0.25
    assert ratios.min() == pytest.approx(np.exp(-0.1), abs=0.02)
    assert ratios.max() == pytest.approx(np.exp(0.1), abs=0.02)


def test_a_quarter_of_the_images_lose_a_rectangle_of_the_documented_size() -> None:
    size, n = 40, 4000
    images = torch.ones(n, 3, size, size)
    erased = (drawn_by(0, images, dataclasses.replace(STILL, erase=0.25)) == 0.5).all(1)
    assert erased.any(2).any(1).double().mean().item() == pytest.approx(0.25, abs=0.025)

    every = (drawn_by(1, images, dataclasses.replace(STILL, erase=1)) == 0.5).all(1)
    rng = np.random.default_rng(0)
    side, ratio = rng.uniform(0.15, 0.4, 100_000), np.exp(rng.uniform(-np.log(2), np.log(2), 100_000))
    height, width = side * np.sqrt(ratio), side / np.sqrt(ratio)
    inside = (height - height**2 / 4) * (width - width**2 / 4)  # its centre is anywhere: the border cuts some off
    assert every.double().mean().item() == pytest.approx(inside.mean(), rel=0.05)
    rows, columns = every.any(2), every.any(1)
    assert torch.equal(every, rows[:, :, None] & columns[:, None, :])  # rectangles
    largest = 0.4 * np.sqrt(2) * size
    assert max(rows.sum(1).max(), columns.sum(1).max()) <= largest + 1
