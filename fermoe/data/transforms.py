"""Input pipelines as data: pixels (uint8) → what the network sees, each way named once.

A pipeline is a normalisation and an augmentation; its name is "<normalisation>" or "<normalisation>+<augmentation>".
Everything works on whole batches on the batch's own device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fermoe.errors import UserError

IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VGGFACE2_MEAN_BGR = (91.4953, 103.8827, 131.0912)  # keras_vggface, preprocess_input version 2


def _constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]


NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # The authors': OpenCV's BGR order, divided by 255, nothing else.
    "bgr_unit": lambda x: x.flip(1),
    "rgb_unit": lambda x: x,
    "imagenet": lambda x: (x - _constant(IMAGENET_MEAN, x)) / _constant(IMAGENET_SD, x),
    # What the VGGFace2 weights were trained on: BGR from 0 to 255 minus the channel means.
    "vggface2": lambda x: x.flip(1) * 255.0 - _constant(VGGFACE2_MEAN_BGR, x),
}
"""By name: a new normalisation is one entry."""

AUGMENTATIONS = ("none", "augment")


@dataclass(frozen=True)
class Augmentation:
    """Mirror, small rotation, shift and scale, and a rectangle erased in a quarter of the images."""

    flip: float = 0.5
    degrees: float = 10.0
    shift: float = 0.08
    scale: float = 0.1
    erase: float = 0.25
    erase_side: tuple[float, float] = (0.15, 0.4)


def pipeline_name(normalisation: str, augmentation: str) -> str:
    """The name used in tables and study files; refuses unknown parts."""
    if normalisation not in NORMALISATIONS:
        raise UserError(f"unknown normalisation '{normalisation}'", fix=f"choose one of {', '.join(NORMALISATIONS)}")
    if augmentation not in AUGMENTATIONS:
        raise UserError(f"unknown augmentation '{augmentation}'", fix=f"choose one of {', '.join(AUGMENTATIONS)}")
    return normalisation if augmentation == "none" else f"{normalisation}+{augmentation}"


def pipeline_parts(name: str) -> tuple[str, str]:
    """Normalisation and augmentation of a pipeline's name: what `pipeline_name` joined."""
    normalisation, _, augmentation = name.partition("+")
    return normalisation, augmentation or "none"


def as_images(pixels: Tensor) -> Tensor:
    """uint8 (N, 1 or 3, H, W) → float32 RGB (N, 3, H, W) in [0, 1]; grey is repeated."""
    return (pixels.float() / 255.0).expand(-1, 3, -1, -1)


def augment(images: Tensor, generator: torch.Generator, settings: Augmentation | None = None) -> Tensor:
    """Augment images (N, 3, H, W) in [0, 1], each by its own draw from `generator` (a CPU generator).

    Drawing on the CPU keeps the augmentations of a seed the same on every device.
    """
    # Not torchvision's transforms: they draw one set of parameters a call, the same for a whole batch.
    settings = settings or Augmentation()
    n, _, height, width = images.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle = torch.deg2rad(uniform(-settings.degrees, settings.degrees))
    zoom = torch.exp(uniform(-settings.scale, settings.scale))
    mirror = torch.where(uniform(0, 1) < settings.flip, -1.0, 1.0)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    dx, dy = (2 * uniform(-settings.shift, settings.shift) for _ in range(2))
    theta = torch.stack([torch.stack([cos * mirror, -sin, dx], 1), torch.stack([sin * mirror, cos, dy], 1)], 1)
    grid = F.affine_grid(theta.to(images.device), [n, 1, height, width], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    erased = uniform(0, 1) < settings.erase
    side = uniform(*settings.erase_side)
    aspect = torch.exp(uniform(-math.log(2), math.log(2)) / 2)
    half_h, half_w = side * aspect / 2, side / aspect / 2
    y, x = uniform(0, 1), uniform(0, 1)
    rows = ((torch.arange(height) + 0.5) / height - y[:, None]).abs() < half_h[:, None]  # (N, H)
    columns = ((torch.arange(width) + 0.5) / width - x[:, None]).abs() < half_w[:, None]  # (N, W)
    hole = erased[:, None, None] & rows[:, :, None] & columns[:, None, :]
    return images.masked_fill(hole[:, None].to(images.device), 0.5)
