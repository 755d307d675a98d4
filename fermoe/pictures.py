"""A dataset row → its picture: read from its file, or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fermoe.drawing import draw_face
from fermoe.images import read_image


def picture(row: Mapping[str, Any], channels: int) -> np.ndarray:
    """uint8 (H, W) for one channel, (H, W, 3) RGB for three. Synthetic rows carry their factors."""
    return draw_face(row) if "framing" in row else read_image(row["path"], channels)
