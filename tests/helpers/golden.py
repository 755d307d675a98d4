"""Weights and images of the golden values, drawn from their names as on the Keras side."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent.parent / "golden"


def keras_array(key: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    gain = 0.3 if "_1x1_increase/bn" in key else 1.0
    value = {
        "kernel": lambda: z * np.sqrt(2 / np.prod(shape[:-1])),
        "gamma": lambda: gain * (1 + 0.1 * z),
        "moving_variance": lambda: 1 + 0.1 * np.abs(z),
    }.get(kind, lambda: 0.1 * z)()
    return value.astype(np.float32)


def keras_weights() -> dict[str, np.ndarray]:
    listing = json.loads((GOLDEN / "expressnet_keras.json").read_text())
    return {w["key"]: keras_array(w["key"], tuple(w["shape"]), w["kind"]) for w in listing}


def keras_images() -> np.ndarray:
    """(4, 224, 224, 3), float32."""
    images = []
    for i in range(4):
        rng = np.random.default_rng(zlib.crc32(f"image{i}".encode()))
        blocks = np.kron(rng.random((7, 7, 3)), np.ones((32, 32, 1)))
        images.append(0.8 * blocks + 0.2 * rng.random((224, 224, 3)))
    return np.stack(images).astype(np.float32)


def keras_values() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "expressnet_keras.npz"))
