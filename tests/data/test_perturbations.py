"""Perturbations do what their names say, more so with severity, and the same to an image whoever looks at it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fermoe.data.perturbations import GREY, PERTURBATIONS, SEVERITIES, perturb, usual_boxes
from tests.helpers.trees import refused

SIZE = 64
BOXES = usual_boxes(4, SIZE)
PLACES = np.arange(4) * 7


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear") * 0.8 + 0.1


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_severity_0_changes_nothing_and_each_next_one_changes_more(images: torch.Tensor, name: str) -> None:
    assert torch.equal(perturb(name, 0, images, BOXES, PLACES), images)
    changes = [(perturb(name, s, images, BOXES, PLACES) - images).abs().mean().item() for s in SEVERITIES]
    assert changes == sorted(changes)
    assert changes[0] > 0


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_an_image_is_perturbed_alike_in_any_batch_and_stays_an_image(images: torch.Tensor, name: str) -> None:
    together = perturb(name, 3, images, BOXES, PLACES, seed=5)
    assert (together.shape, together.dtype) == (images.shape, torch.float32)
    assert 0 <= together.min() <= together.max() <= 1
    for i in range(4):
        boxes = {part: box[i : i + 1] for part, box in BOXES.items()}
        alone = perturb(name, 3, images[i : i + 1], boxes, PLACES[i : i + 1], seed=5)
        assert torch.allclose(alone[0], together[i], atol=1e-6)


@pytest.mark.parametrize("name", ["random patch", "side lighting", "noise", "rotation"])
def test_what_is_random_depends_on_the_place_and_the_seed(images: torch.Tensor, name: str) -> None:
    same = images[:1].expand(40, -1, -1, -1)
    boxes = usual_boxes(40, SIZE)
    first = perturb(name, 4, same, boxes, np.arange(40))
    assert not torch.equal(first[0].expand_as(first), first)
    assert not torch.equal(first, perturb(name, 4, same, boxes, np.arange(40), seed=1))


@pytest.mark.parametrize("part", ["eyes", "mouth"])
def test_a_whole_box_is_grey_inside_and_untouched_outside(images: torch.Tensor, part: str) -> None:
    covered = perturb(f"occluded {part}", 5, images, BOXES, PLACES)
    for i, (x0, y0, x1, y1) in enumerate(BOXES[part]):
        inside = np.zeros((SIZE, SIZE), bool)
        for y in range(SIZE):
            for x in range(SIZE):
                inside[y, x] = x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1
        assert (covered[i][:, inside] == GREY).all()
        assert torch.equal(covered[i][:, ~inside], images[i][:, ~inside])


def test_a_patch_covers_its_share_of_the_picture() -> None:
    white = torch.ones(200, 3, SIZE, SIZE)
    for severity, share in zip(SEVERITIES, PERTURBATIONS["random patch"].values, strict=True):
        covered = (perturb("random patch", severity, white, {}, np.arange(200)) == GREY).float().mean().item()
        assert covered == pytest.approx(share, rel=0.03)


def test_light_follows_its_formulas(images: torch.Tensor) -> None:
    third = {name: PERTURBATIONS[name].values[2] for name in PERTURBATIONS}
    assert torch.allclose(perturb("brightness", 3, images, BOXES, PLACES), images * third["brightness"])
    assert torch.allclose(perturb("gamma", 3, images, BOXES, PLACES), images ** third["gamma"], atol=1e-6)
    white = torch.ones(8, 3, SIZE, SIZE)
    lit = perturb("side lighting", 3, white, BOXES, np.arange(8))
    for image in lit:
        row = image[0, 0] if image[0, 0, 0] == 1 else image[0, 0].flip(0)
        assert torch.allclose(row, torch.linspace(1, 1 - third["side lighting"], SIZE))


def test_jpeg_is_what_pillow_makes_of_it(images: torch.Tensor) -> None:
    quality = int(PERTURBATIONS["JPEG"].values[3])
    pixels = (images[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file), dtype=np.float32).transpose(2, 0, 1) / 255
    found = perturb("JPEG", 4, images[:1], BOXES, PLACES[:1])[0].numpy()
    assert np.abs(found - expected).mean() < 0.01


def test_each_group_has_its_perturbations_and_the_rule_of_c7_counts_two_of_them() -> None:
    named = {group: [name for name, p in PERTURBATIONS.items() if p.group == group] for group in ("occlusion", "light")}
    assert named == {
        "occlusion": ["occluded eyes", "occluded mouth", "random patch"],
        "light": ["brightness", "gamma", "contrast", "side lighting"],
    }
    assert {perturbation.group for perturbation in PERTURBATIONS.values()} == {"occlusion", "light", "camera"}


def test_unknown_names_and_severities_are_refused(images: torch.Tensor) -> None:
    with refused("unknown perturbation"):
        perturb("fog", 1, images, BOXES, PLACES)
    with refused("severity"):
        perturb("blur", 6, images, BOXES, PLACES)
