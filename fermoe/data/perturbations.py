"""What can go wrong with a picture of a face: occlusion, light, and the camera, each in five severities.

Every perturbation takes float32 RGB images (N, 3, S, S) in [0, 1], as the crop leaves them and before normalisation,
and gives the same shape. What is random is drawn from one generator per image, seeded by the perturbation, its severity
and the image's place in the test set: every network sees the same pictures, whatever the batches.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fermoe.errors import UserError

GREY = 0.5
SEVERITIES = (1, 2, 3, 4, 5)

# Where the eyes and the mouth lie in an upright picture that the face fills, as shares of its width and height: used
# for photographs, whose true boxes nobody knows. x0, y0, x1, y1.
USUAL_BOXES = {"eyes": (0.14, 0.20, 0.86, 0.48), "mouth": (0.26, 0.64, 0.74, 0.90)}
Boxes = Mapping[str, np.ndarray]  # by part ("eyes", "mouth"): (N, 4) pixels x0, y0, x1, y1


@dataclass(frozen=True)
class Batch:
    """Images (N, 3, S, S), the boxes of their parts, and one generator for each image."""

    images: Tensor
    boxes: Boxes
    generators: Sequence[torch.Generator]

    def uniform(self, numbers: int) -> Tensor:
        """(N, numbers) from 0 to 1, each row by its image's own generator."""
        return torch.stack([torch.rand(numbers, generator=generator) for generator in self.generators])


@dataclass(frozen=True)
class Perturbation:
    """A group (occlusion, light, camera), five values from mild to severe with their unit, and how to apply one."""

    group: str
    unit: str
    values: tuple[float, float, float, float, float]
    apply: Callable[[Batch, float], Tensor]


def _covered(batch: Batch, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> Tensor:
    """Grey rectangles, one per image; a pixel is covered if its centre is."""
    centres = torch.arange(batch.images.shape[-1]) + 0.5
    columns = (centres >= x0[:, None]) & (centres < x1[:, None])  # (N, S)
    rows = (centres >= y0[:, None]) & (centres < y1[:, None])
    return batch.images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], GREY)


def _cover(part: str, batch: Batch, share: float) -> Tensor:
    """Cover the middle of a part's box, `share` of its area."""
    x0, y0, x1, y1 = torch.from_numpy(np.asarray(batch.boxes[part], dtype=np.float32)).unbind(1)
    x, y, half = (x0 + x1) / 2, (y0 + y1) / 2, math.sqrt(share) / 2
    return _covered(batch, x - half * (x1 - x0), y - half * (y1 - y0), x + half * (x1 - x0), y + half * (y1 - y0))


def _cover_patch(batch: Batch, share: float) -> Tensor:
    """Cover a square of `share` of the picture at a random place inside it."""
    size = batch.images.shape[-1]
    side = math.sqrt(share) * size
    x, y = (batch.uniform(2) * (size - side)).unbind(1)
    return _covered(batch, x, y, x + side, y + side)


def _side_light(batch: Batch, strength: float) -> Tensor:
    """Light from one side, left or right at random: brightness falls linearly to 1 − strength at the other."""
    ramp = torch.linspace(1, 1 - strength, batch.images.shape[-1])
    from_left = batch.uniform(1) < 0.5  # (N, 1)
    return batch.images * torch.where(from_left, ramp, ramp.flip(0))[:, None, None, :]


def _torchvision() -> Any:
    from torchvision.transforms.v2 import functional  # here: it takes longer than PyTorch, and few need it

    return functional


def _blur(batch: Batch, percent: float) -> Tensor:
    sigma = percent / 100 * batch.images.shape[-1]
    return _torchvision().gaussian_blur(batch.images, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)


def _noise(batch: Batch, sd: float) -> Tensor:
    noise = torch.stack([torch.randn(batch.images.shape[1:], generator=g) for g in batch.generators])
    return (batch.images + sd * noise).clamp(0, 1)


def _jpeg(batch: Batch, quality: float) -> Tensor:
    pixels = (batch.images * 255).round().to(torch.uint8)
    return torch.stack([_torchvision().jpeg(image, int(quality)) for image in pixels]).float() / 255


def _rotate(batch: Batch, degrees: float) -> Tensor:
    """Turn clockwise or not, at random; what comes in from outside is grey."""
    left = (batch.uniform(1) < 0.5)[:, None, None]  # (N, 1, 1, 1)
    turned = partial(_torchvision().rotate, batch.images, interpolation="bilinear", fill=[GREY] * 3)
    return torch.where(left, turned(degrees), turned(-degrees))


def _of_images(name: str) -> Callable[[Batch, float], Tensor]:
    """torchvision's function of that name."""
    return lambda batch, value: getattr(_torchvision(), name)(batch.images, value)


PERTURBATIONS: dict[str, Perturbation] = {
    "occluded eyes": Perturbation("occlusion", "share of the box", (0.2, 0.4, 0.6, 0.8, 1.0), partial(_cover, "eyes")),
    "occluded mouth": Perturbation(
        "occlusion", "share of the box", (0.2, 0.4, 0.6, 0.8, 1.0), partial(_cover, "mouth")
    ),
    "random patch": Perturbation("occlusion", "share of the picture", (0.03, 0.07, 0.13, 0.21, 0.32), _cover_patch),
    "brightness": Perturbation("light", "factor", (0.8, 0.6, 0.45, 0.3, 0.18), _of_images("adjust_brightness")),
    "gamma": Perturbation("light", "exponent", (1.3, 1.7, 2.2, 3.0, 4.0), _of_images("adjust_gamma")),
    "contrast": Perturbation("light", "factor", (0.75, 0.55, 0.4, 0.27, 0.16), _of_images("adjust_contrast")),
    "side lighting": Perturbation("light", "loss at the dark side", (0.3, 0.5, 0.7, 0.85, 1.0), _side_light),
    "blur": Perturbation("camera", "σ, % of the side", (0.8, 1.4, 2.2, 3.2, 4.5), _blur),
    "noise": Perturbation("camera", "standard deviation", (0.03, 0.06, 0.1, 0.15, 0.22), _noise),
    "JPEG": Perturbation("camera", "quality", (50, 30, 18, 10, 5), _jpeg),
    "rotation": Perturbation("camera", "degrees", (5, 10, 17, 25, 35), _rotate),
}
"""By name: a new perturbation is one entry."""


def usual_boxes(images: int, size: int) -> dict[str, np.ndarray]:
    """`USUAL_BOXES` in pixels, the same for each of `images` pictures of `size`: by part (N, 4)."""
    return {part: np.tile(np.array(box) * size, (images, 1)) for part, box in USUAL_BOXES.items()}


def perturb(name: str, severity: int, images: Tensor, boxes: Boxes, places: np.ndarray, seed: int = 0) -> Tensor:
    """Images (N, 3, S, S) under perturbation `name` at `severity` 1 to 5; 0 leaves them as they are.

    `places` (N,) are the images' positions in the test set, which with `seed` fix what is random about each.

    Raises:
        UserError: an unknown perturbation or severity.
    """
    if name not in PERTURBATIONS:
        raise UserError(f"unknown perturbation '{name}'", fix=f"choose from {', '.join(PERTURBATIONS)}")
    if severity not in (0, *SEVERITIES):
        raise UserError(f"severity is {severity}", fix="give a whole number from 0 (none) to 5")
    if severity == 0:
        return images
    seeds = [zlib.crc32(f"{seed}/{name}/{severity}/{place}".encode()) for place in places]
    batch = Batch(images, boxes, [torch.Generator().manual_seed(value) for value in seeds])
    return PERTURBATIONS[name].apply(batch, PERTURBATIONS[name].values[severity - 1])
