"""The embedded dataset: faces drawn from facial action units, with every factor of every image known.

A table row holds all that `fermoe.data.drawing.draw_face` needs. Only the `au_*` columns depend on the class, so a
model that is right has looked at what the action units moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fermoe.data.drawing import FRAMINGS, FULL_DROP, UNITS, Frame
from fermoe.errors import UserError

ACTION_UNITS: dict[str, tuple[int, ...]] = {
    "anger": (4, 5, 7, 23),
    "contempt": (12, 14),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 20, 26),
    "happy": (6, 12),
    "neutral": (),
    "sad": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
}
"""The action units of each emotion; contempt's move one side of the face only."""

EMOTIONS: tuple[str, ...] = tuple(sorted(ACTION_UNITS))
MOST = 1_000_000  # faces of a split: indices have six digits
_DEFAULT_SIZE = {"scene": 128, "tight": 48}
_GOLDEN = (math.sqrt(5) - 1) / 2

# The order of these tables is the order of the random draws: append to them, never reorder, or every
# published image changes. Lengths are in half head heights, angles in degrees.
_RANGES: dict[str, tuple[float, float]] = {
    "skin_tone": (0.0, 1.0),  # 0 lightest, 1 darkest
    "skin_warmth": (-1.0, 1.0),
    "hair_colour": (0.0, 1.0),  # black, browns, red, blond, grey
    "brow_thickness": (0.030, 0.060),
    "brow_height": (0.26, 0.31),  # above the middle of the face
    "brow_tilt": (-0.025, 0.025),  # > 0: the inner end rests lower
    "face_width": (0.68, 0.80),
    "jaw_width": (0.0, 1.0),  # 0 pointed, 1 square
    "eye_size": (0.160, 0.200),
    "eye_openness": (0.42, 0.56),  # share of eye_size
    "eye_spacing": (0.29, 0.34),
    "iris_colour": (0.0, 1.0),
    "nose_width": (0.10, 0.16),
    "nose_length": (0.30, 0.38),
    "mouth_width": (0.25, 0.32),
    "mouth_height": (0.57, 0.63),
    "mouth_rest": (-0.02, 0.02),  # > 0: the corners rest lower
    "lip_thickness": (0.045, 0.075),
    "face_height": (0.45, 0.70),  # of the face box, share of the picture (scene framing)
    "crop": (0.90, 1.12),  # picture over face box (tight framing)
    "brightness": (0.80, 1.15),
    "side_light": (-0.35, 0.35),  # change from the picture's middle to its right edge
    "contrast": (0.80, 1.15),
    "noise": (0.0, 6.0),  # standard deviation, grey levels
    "blur": (0.0, 0.8),  # box radius, pixels
    "expressiveness": (0.45, 1.0),  # how far an expression, if any, goes
}
_CENTRED = {"roll": 24.0, "yaw": 26.0, "pitch": 14.0}  # largest angle; small ones are commoner
_CHOICES: dict[str, tuple[str, ...]] = {
    "hair_style": ("short", "short", "long", "bun", "curly", "bald"),
    "background": ("plain", "gradient", "shapes", "clutter"),
    "occlusion": ("glasses", "hand", "mask", "hair"),
}
_EXTRA = ("place_x", "place_y", "occlusion_shade", "occluded", "side", "texture")
_COLUMNS = (*_RANGES, *_CENTRED, *_CHOICES, *_EXTRA, *(f"au_{unit}" for unit in UNITS))


@dataclass(frozen=True)
class SyntheticConfig:
    """What to draw. Index i gives the same face whatever `train`, `test` and the other indices are.

    `proportions` gives each label's weight (any positive numbers); None means uniform. `size` is the side of
    the square picture in pixels: None means 128 for "scene" (colour) and 48 for "tight" (grey).
    """

    train: int = 2800
    test: int = 700
    framing: str = "scene"
    size: int | None = None
    labels: tuple[str, ...] = tuple(name for name in EMOTIONS if name != "contempt")
    proportions: Mapping[str, float] | None = None
    occluded: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is None and self.framing in FRAMINGS:
            object.__setattr__(self, "size", _DEFAULT_SIZE[self.framing])
        object.__setattr__(self, "labels", tuple(self.labels))
        names, weights = set(self.labels), self.proportions
        weighed = weights is None or (set(weights) == names and all(0 < w < math.inf for w in weights.values()))
        named = names and len(names) == len(self.labels) and names <= set(EMOTIONS)
        for field, good, fix in (
            ("train", _whole(self.train, 1, MOST), f"give a whole number from 1 to {MOST:,}"),
            ("test", _whole(self.test, 0, MOST), f"give a whole number from 0 to {MOST:,}"),
            ("seed", _whole(self.seed, 0), "give a whole number of at least 0"),
            ("framing", self.framing in FRAMINGS, f"give one of {', '.join(FRAMINGS)}"),
            ("size", _whole(self.size, 32, 512), "give a whole number of pixels from 32 to 512, or None"),
            ("labels", named, f"give different names out of {', '.join(EMOTIONS)}"),
            ("proportions", weighed, "give a positive weight for each label and for nothing else"),
            ("occluded", 0 <= self.occluded <= 1, "give a share from 0 to 1"),
        ):
            if not good:
                value = getattr(self, field)
                raise UserError(f"{field} = {value!r} cannot be used", where="SyntheticConfig", fix=fix)


def _whole(value: Any, low: int, high: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def labels_of(config: SyntheticConfig, indices: np.ndarray) -> np.ndarray:
    """The labels (int64, positions in `config.labels`) of `indices` (n,).

    A golden-ratio sequence through the inverse cumulative distribution keeps each prefix of the indices balanced,
    however many there are in all.
    """
    weights = [1.0 if config.proportions is None else config.proportions[name] for name in config.labels]
    edges = np.cumsum(weights) / np.sum(weights)
    points = np.mod((indices + 1) * _GOLDEN, 1.0)
    return np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1).astype(np.int64)


def _factors(config: SyntheticConfig, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Everything but the class: one array (n,) per factor, from one row of uniform numbers per index."""
    rows = [np.random.default_rng([config.seed, int(index)]).random(len(_COLUMNS)) for index in indices]
    uniform = dict(zip(_COLUMNS, np.array(rows).reshape(-1, len(_COLUMNS)).T, strict=True))
    factors = {name: low + (high - low) * uniform[name] for name, (low, high) in _RANGES.items()}
    for name, largest in _CENTRED.items():
        centred = 2 * uniform[name] - 1
        factors[name] = largest * centred * np.abs(centred)
    for name, choices in _CHOICES.items():
        factors[name] = np.array(choices)[(uniform[name] * len(choices)).astype(int)]
    factors["occlusion"] = np.where(uniform["occluded"] < config.occluded, factors["occlusion"], "none")
    factors |= {name: uniform[name] for name in ("place_x", "place_y", "occlusion_shade")}
    factors["side"] = np.where(uniform["side"] < 0.5, -1, 1)
    factors["texture_seed"] = (uniform["texture"] * 2**32).astype(np.int64)
    for unit in UNITS:
        strength = factors["expressiveness"] + 0.4 * (uniform[f"au_{unit}"] - 0.5)
        factors[f"au_{unit}"] = np.clip(strength, 0.25, 1.0)
    return factors


def _boxes(f: Mapping[str, Any]) -> dict[str, int]:
    """The box columns of one row of factors `f`."""
    frame = Frame(f)
    face = np.clip([np.floor(frame.box[0]), np.ceil(frame.box[1])], 0, f["size"])
    eyes, brows = f["eye_spacing"] + f["eye_size"] + 0.08, -f["brow_height"] - 0.17
    lips, wide = f["mouth_height"], f["mouth_width"] + 0.10
    found = {"face": face}
    for name, x, top, low in (("eyes", eyes, brows, 0.16), ("mouth", wide, lips - 0.16, lips + 0.14 + FULL_DROP)):
        rim = frame.pixels(frame.rotated(np.array([(u * x, y) for u in (-1, 0, 1) for y in (top, low)])))
        found[name] = np.clip([np.floor(rim.min(axis=0)), np.ceil(rim.max(axis=0))], *face)
    corners = ("x0", "y0", "x1", "y1")
    return {f"{name}_{at}": int(v) for name, box in found.items() for at, v in zip(corners, box.flat, strict=True)}


def face_table(config: SyntheticConfig) -> pd.DataFrame:
    """One row per image, in the order of the indices; train first, then test.

    Columns: index, path (unique, names no file), label (position in `config.labels`), emotion, split ("train" or
    "test"), framing, size, seed; the factors of identity, pose, light, occlusion and background; au_1 ... au_26,
    intensities from 0 (absent) to 1; au_side, the side of a one-sided expression (-1 the picture's left, 1 its right,
    before roll; 0 for both); and three boxes, `face`, `eyes` (with the brows) and `mouth`, each as _x0, _y0, _x1, _y1
    in whole pixels, the last column and row excluded. The boxes have room for the fullest movement of every action
    unit, and so do not depend on the class.
    """
    indices = np.arange(config.train + config.test)
    label = labels_of(config, indices)
    emotion = np.array(config.labels)[label]
    factors = _factors(config, indices)
    for unit in UNITS:
        having = [name for name, units in ACTION_UNITS.items() if unit in units]
        factors[f"au_{unit}"] = np.where(np.isin(emotion, having), factors[f"au_{unit}"], 0.0)
    factors["au_side"] = np.where(emotion == "contempt", factors["side"], 0)
    paths = [f"synthetic/{config.framing}/{config.seed}/{index:06d}" for index in indices]
    split = np.where(indices < config.train, "train", "test")
    each = {"index": indices, "path": paths, "label": label, "emotion": emotion, "split": split}
    all_alike = {"framing": config.framing, "size": config.size, "seed": config.seed}
    table = pd.DataFrame({**each, **all_alike, **factors})
    return table.join(pd.DataFrame([_boxes(row) for row in table.to_dict("records")]))
