"""A trained network, opened again: with the images of its run, which evidence is measured on, or without.

The one place where a network is asked, whoever asks. Nothing here trains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fermoe.data.transforms import NORMALISATIONS, as_images
from fermoe.errors import UserError
from fermoe.network.model import ExpressNetMoE, ExpressNetOutput, joined
from fermoe.network.weights import load_weights
from fermoe.training.config import TrainConfig, model_config
from fermoe.training.feed import Data, load_data, spread, test_data
from fermoe.training.precision import autocast
from fermoe.training.runs import FinishedRun


def pick_device() -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def place(model: ExpressNetMoE, device: torch.device) -> ExpressNetMoE:
    """The same model, moved to its device and into the memory order that is fastest there."""
    model.to(device)
    if device.type != "cpu":  # there it is as it was built (`network.cpu.optimised`)
        model.to(memory_format=torch.channels_last)
    return model


@torch.inference_mode()
def predict(
    model: ExpressNetMoE, batches: Iterable[Tensor], features: bool = True, precision: str = "float32"
) -> ExpressNetOutput:
    """What a network answers, on the CPU in float32: the only place where one is evaluated.

    Args:
        model: on its device; it is switched to evaluation.
        batches: (N, 3, S, S) each, as the network's input pipeline makes them.
        features: False leaves out the features, which are much larger than the rest.
        precision: in which it was trained.
    """
    model.eval()
    device, parts = next(model.parameters()).device, []
    for batch in batches:
        with autocast(device, precision):
            out = model(batch.to(device))
        gates, kept = (
            {k: v.float().cpu() for k, v in named.items()} for named in (out.gates, out.features if features else {})
        )
        parts.append(ExpressNetOutput(out.logits.float().cpu(), gates, kept))
    return joined(parts)


def slices(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows in batches of `size`; the last may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


BATCH = 128


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A trained network (in evaluation mode, on `device`) and the configuration that says what it is to be shown."""

    config: TrainConfig
    model: ExpressNetMoE
    device: torch.device

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1] → what the network sees, on its device."""
        return NORMALISATIONS[str(self.config.normalisation)](images.to(self.device))

    def predict(
        self,
        images: Tensor,
        change: Callable[[Tensor], Tensor] | None = None,
        features: bool = True,
        batch_size: int = BATCH,
    ) -> ExpressNetOutput:
        """Logits, gates and features on the CPU for images (N, 3, S, S) in [0, 1], changed first batch by batch."""
        batches = images.split(batch_size)
        seen = (self.normalise(batch if change is None else change(batch)) for batch in batches)
        return predict(self.model, seen, features, self.config.precision)


def open_network(config: TrainConfig, classes: int, weights: Path) -> TrainedNetwork:
    """The network of a configuration with the weights of a file, on the fastest device there is.

    Raises:
        UserError: the file cannot be read, or its weights are another network's.
    """
    device = pick_device()
    model = ExpressNetMoE(model_config(config, classes))
    load_weights(model, weights)
    return TrainedNetwork(config, place(model, device).eval(), device)


@dataclasses.dataclass(frozen=True)
class TrainedRun(TrainedNetwork):
    """A run's network, its name and its data."""

    name: str
    data: Data

    def rows(self, images: int | None = None) -> np.ndarray:
        """Positions of the test images in the table; with `images`, that many, evenly spread over the test split."""
        return spread(self.data.splits["test"], images)

    def images(self, rows: np.ndarray) -> Tensor:
        """Test images as the run's crop gives them: float32 RGB (N, 3, S, S) in [0, 1], on the CPU."""
        return as_images(torch.from_numpy(self.data.images["test"][rows]))

    def labels(self, rows: np.ndarray) -> np.ndarray:
        return self.data.labels[rows]


def open_run(
    run: FinishedRun, root: str | None = None, data: Data | None = None, images: int | None = None
) -> TrainedRun:
    """Open a finished run: its data from `root`, its weights from its directory.

    `data` of another run of the same dataset, protocol and crop may be given to load them once. With `images`, that
    many of its test images are all that is loaded (`feed.test_data`).

    Raises:
        UserError: the weights are missing, or the dataset is not the one it was trained on.
    """
    config = dataclasses.replace(run.config, root=root or None)
    weights = run.weights
    if images is not None:
        data, fingerprint = test_data(config, images)
    else:
        data = data or load_data(config, progress=False)
        fingerprint = data.dataset.fingerprint
    if run.result["data"]["fingerprint"] != fingerprint:
        raise UserError(f"the data are not those of run {run.name}", where=root, fix="give the same dataset folder")
    network = open_network(config, len(data.label_names), weights)
    return TrainedRun(network.config, network.model, network.device, run.name, data)


# Runs that agree in these show the network the same pictures.
_SAME_IMAGES = ("dataset", "dataset_options", "protocol", "crop", "test_crop", "model", "skip_unreadable", "twins")


def open_runs(runs: Sequence[FinishedRun], root: str | None = None) -> Iterator[TrainedRun]:
    """Open one run after the other; neighbours with the same images share them."""
    key, data = None, None
    for run in runs:
        own = [getattr(run.config, name) for name in _SAME_IMAGES]
        trained = open_run(run, root, data if own == key else None)
        key, data = own, trained.data
        yield trained
