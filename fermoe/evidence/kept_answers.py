"""A network's answers under perturbations, kept on disk condition by condition.

A measurement that was killed goes on where it stopped, and a second study with the same network and images asks
nothing again. The file's name holds what an answer depends on: the weights, the images and the code that makes and
changes them. Of the network's own code it holds nothing; the golden values say when that computes something else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fermoe.data.recipe import modules_of, recipe
from fermoe.errors import UserError
from fermoe.files import cache_dir, digest, reading_arrays, write_arrays
from fermoe.training.inference import TrainedRun


class KeptAnswers:
    """The class that one network gives each of the test images `rows`, by condition: (images,) each."""

    def __init__(self, run: TrainedRun, rows: NDArray[np.int64], seed: int):
        dataset = run.data.dataset
        identity = [
            _weights_of(run), run.config.parameters(), dataset.fingerprint, dataset.times, rows.tolist(), seed,
            recipe("arrays", "faces", "perturbations", "transforms", *modules_of(dataset.drawn)),
        ]  # fmt: skip
        self.path: Path = cache_dir() / "answers" / f"{run.config.variant}-{digest(identity, 24)}.npz"
        self.known: dict[str, NDArray[np.uint8]] = {}
        if self.path.exists():
            try:
                with reading_arrays(self.path, fix="nothing to do") as content:
                    kept = {name: content[name] for name in content}
            except UserError:
                kept = {}  # damaged: asked again
            self.known = {name: array for name, array in kept.items() if array.shape == rows.shape}

    def get(self, name: str, severity: int) -> NDArray[np.uint8] | None:
        return self.known.get(f"{name}/{severity}")

    def put(self, name: str, severity: int, predicted: NDArray[np.uint8]) -> None:
        """Keep what was answered under a condition; it is on disk when this returns."""
        self.known[f"{name}/{severity}"] = predicted
        write_arrays(self.path, **self.known)


def _weights_of(run: TrainedRun) -> str:
    content = hashlib.sha256()
    for name, tensor in run.model.state_dict().items():
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()
