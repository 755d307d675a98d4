"""Geometry of one face: its outline, and where it lies in its picture.

Face coordinates: x to the picture's right, y down, the middle of the head at (0, 0), half the head's height
as unit (skull top at y = -1, chin of a closed mouth at y = 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

FACE_TOP = -0.80
"""Where the face box starts: above the highest brow, below the skull's top."""
FULL_DROP = 0.22
"""How far the fullest jaw drop lowers the chin, in half head heights."""
TURN = np.linspace(0, 2 * np.pi, 49)[:-1]
"""The angles of an outline's 48 points."""
_MARGIN = 2  # pixels around the outline, so that no blur carries the expression out of the box


def head_outline(f: Mapping[str, Any], drop: float) -> np.ndarray:
    """The head's outline (48, 2) with the chin lowered by `drop`."""
    x, y = np.cos(TURN), np.sin(TURN)
    power = np.where(y > 0, 0.95 - 0.3 * f["jaw_width"], 0.95)
    x = f["face_width"] * np.sign(x) * np.abs(x) ** power * (1 - 0.12 * np.clip(y, 0, 1))
    share = np.clip((y - 0.25) / 0.6, 0, 1)  # a dropping jaw moves nothing above the nose tip
    return np.stack([x, y + drop * share * share * (3 - 2 * share)], axis=1)


class Frame:
    """Where a face lies in its picture: face coordinates to pixels."""

    def __init__(self, f: Mapping[str, Any], framing: str, size: int) -> None:
        self.f, self.size = f, size
        roll = math.radians(f["roll"])
        self.turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
        yaw, pitch = math.radians(f["yaw"]), math.radians(f["pitch"])
        self.yaw, self.pitch = (math.cos(yaw), math.sin(yaw)), math.sin(pitch)
        outline = head_outline(f, FULL_DROP)
        outline[:, 1] = np.maximum(outline[:, 1], FACE_TOP)
        turned = outline @ self.turn
        low, high = turned.min(axis=0), turned.max(axis=0)
        if framing == "scene":
            self.scale = f["face_height"] * size / (1 + FULL_DROP - FACE_TOP)
            spare = size - 2 * (_MARGIN + 1) - (high - low) * self.scale
            # Hair above and a neck below need some room, as in a picture that somebody composed.
            share = np.array([0.1 + 0.8 * f["place_x"], 0.35 + 0.45 * f["place_y"]])
            corner = _MARGIN + 1 + spare * share
        else:
            self.scale = size / (f["crop"] * float((high - low).max()))
            spare = size - (high - low) * self.scale
            corner = spare / 2 + 0.06 * size * (np.array([f["place_x"], f["place_y"]]) - 0.5)
        self.origin = corner - low * self.scale
        self.box = (corner - _MARGIN, corner + (high - low) * self.scale + _MARGIN)

    def pixels(self, xy: np.ndarray) -> np.ndarray:
        """Face coordinates (n, 2) to pixels (n, 2)."""
        return self.origin + (xy @ self.turn) * self.scale

    def rotated(self, xy: np.ndarray, depth: float = 0.0) -> np.ndarray:
        """Points (n, 2) on the face's front after yaw and pitch; `depth` is how far they stand out."""
        x, y = xy[:, 0], xy[:, 1]
        bulge = 1 - (x / (1.15 * self.f["face_width"])) ** 2 - (0.6 * y) ** 2
        z = 0.5 * np.sqrt(np.clip(bulge, 0.0, 1.0)) + depth
        cosine, sine = self.yaw
        return np.stack([x * cosine + z * sine, y + z * self.pitch], axis=1)
