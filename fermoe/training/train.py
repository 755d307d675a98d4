"""Training and evaluation of one run, as the paper does it or as an audit would.

Each epoch draws from generators seeded by (seed, epoch), so a resumed run repeats the uninterrupted one exactly.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fermoe import metrics
from fermoe.errors import UserError
from fermoe.files import atomic, digest, exclusive, write_arrays, write_csv
from fermoe.network.model import ExpressNetMoE, ExpressNetOutput, parameter_counts
from fermoe.network.weights import load_initial_weights, load_weights, save_weights
from fermoe.training import predictions
from fermoe.training.adam import Adam
from fermoe.training.config import TrainConfig, model_config
from fermoe.training.distributed import World, joined
from fermoe.training.feed import Data, Feed, load_data
from fermoe.training.inference import pick_device, place, predict, slices
from fermoe.training.precision import autocast, require_fast
from fermoe.training.runs import (
    CHECKPOINT,
    EPOCHS,
    HISTORY,
    PREDICTIONS,
    RESULT,
    TRAINING,
    VALIDATION,
    WEIGHTS,
    read_result,
    write_result,
)


def _seed(seed: int, epoch: int, purpose: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint32)[0])


class Trainer:
    """A model with its optimiser and history; one `epoch()` at a time, saved and restored between epochs."""

    def __init__(self, config: TrainConfig, data: Data, device: torch.device, world: World | None = None):
        self.config, self.data, self.device, self.world = config, data, device, world or World()
        self.feed = Feed(data, config, device)
        self.identity = digest([config.parameters(), data.dataset.fingerprint], 16)  # which checkpoints are its own
        torch.manual_seed(_seed(config.seed, 0, 0))
        self.model = ExpressNetMoE(model_config(config, len(data.label_names)))
        load_initial_weights(self.model, config.weights)
        place(self.model, device)
        self.network = self.world.shared(self.model)
        self.optimizer = Adam(self.model.parameters())
        self.history: list[dict[str, float]] = []
        self.choices: list[Tensor] = []  # by epoch: the class predicted for each validation image
        self.gates: list[dict[str, Tensor]] = []  # by epoch and mixture: its gates for each, in 255ths

    def epoch(self, progress: bool) -> None:
        """Train for one epoch, evaluate on the validation images, append a row to the history."""
        config, world, epoch = self.config, self.world, len(self.history) + 1
        torch.manual_seed(_seed(config.seed, epoch, 1) + world.rank)  # dropout
        generator = torch.Generator().manual_seed(_seed(config.seed, epoch, 2))  # order and augmentation
        rate = config.learning_rate * config.decay**epoch  # the first epoch's is multiplied too
        rows = self.data.splits["train"]
        rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        world.apart(generator)
        labels = torch.from_numpy(self.data.labels)
        targets = labels[rows].to(self.device)
        # Nothing is read back before the epoch ends: a GPU never waits for the host.
        totals = torch.zeros(2, dtype=torch.float32 if self.device.type == "mps" else torch.float64, device=self.device)
        seen = steps = position = 0
        started, waited = time.perf_counter(), self.feed.seconds
        self.model.train()
        description = f"epoch {epoch}/{config.epochs}"
        with tqdm(total=len(rows), desc=description, unit="image", leave=False, disable=not progress) as bar:
            for batch in slices(rows, config.batch_size):
                mine = world.part(len(batch))
                target = targets[position : position + len(batch)][mine]
                position += len(batch)
                if not world.enough(len(batch)):
                    continue
                with autocast(self.device, config.precision):
                    out = self.network(self.feed.batch("train", batch[mine], generator))
                    loss = F.cross_entropy(out.logits.float(), target, label_smoothing=config.label_smoothing)
                    pooled = partial(world.pooled, rows=len(batch))
                    objective = loss + self.model.auxiliary_loss(out, pooled)
                (objective * world.weight(len(batch))).backward()
                self.optimizer.step(rate)
                correct = (out.logits.detach().argmax(1) == target).sum()
                totals += torch.stack([loss.detach() * len(target), correct])
                seen, steps = seen + len(batch), steps + 1
                bar.update(len(batch))
        mean_loss, accuracy = (world.sum(totals) / max(seen, 1)).tolist()
        world.agree(self.model)
        seconds = time.perf_counter() - started
        if not math.isfinite(mean_loss):
            raise UserError(f"training diverged in epoch {epoch}", fix="lower learning_rate")
        validation = self.predict("validation")
        self.choices.append(validation.logits.argmax(1).to(torch.uint8))
        self.gates.append({name: (255 * gate).round().to(torch.uint8) for name, gate in validation.gates.items()})
        target = labels[self.data.splits["validation"]]
        val_loss = F.cross_entropy(validation.logits, target, label_smoothing=config.label_smoothing)
        self.history.append(
            {
                "epoch": epoch,
                "steps": steps,
                "epoch_seconds": seconds,
                "data_seconds": self.feed.seconds - waited,
                "learning_rate": rate,
                "loss": mean_loss,
                "accuracy": accuracy,
                "val_loss": val_loss.item(),
                "val_accuracy": (validation.logits.argmax(1) == target).double().mean().item(),
            }
        )

    def predict(self, split: str, batch_size: int = 256) -> ExpressNetOutput:
        """Logits and gates for a whole split, in its order, on the CPU; features are left out."""
        rows = self.data.splits[split]
        mine = rows[self.world.part(len(rows))]
        if not len(mine):
            mine = rows[:1]  # fewer images than ranks: this answer is not gathered
        batches = (self.feed.batch(split, some) for some in slices(mine, batch_size))
        out = predict(self.model, batches, features=False, precision=self.config.precision)
        return self.world.gathered(out, len(rows), self.device)

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy, the first of equals, as Keras' checkpoint keeps it."""
        scores = [row["val_accuracy"] for row in self.history]
        return scores.index(max(scores)) + 1 if scores else 0

    @property
    def finished(self) -> bool:
        """All epochs done, or no better validation loss for `patience` epochs (early stopping)."""
        losses = [row["val_loss"] for row in self.history]
        stale = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return len(losses) >= self.config.epochs or stale >= self.config.patience

    def save(self, path: Path) -> None:
        state = {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "choices": self.choices,
            "gates": self.gates,
        }
        with atomic(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same configuration and data.

        Raises:
            UserError: the file is damaged or belongs to another configuration or to other data.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception:  # torch.load fails in many ways; each is one line to the user
            raise UserError("the checkpoint cannot be read", where=path, fix="delete it to start again") from None
        if not isinstance(state, dict) or state.get("identity") != self.identity:
            what = "the checkpoint belongs to another configuration or to other data"
            raise UserError(what, where=path, fix="delete it or choose another folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.choices, self.gates = state["history"], state["choices"], state["gates"]


def train(config: TrainConfig, directory: str | Path, *, progress: bool = True) -> dict[str, Any]:
    """Train, evaluate and record one run; a finished run is returned as it is, an interrupted one goes on.

    Writes into `directory`: last.pt (while it runs), best.safetensors, history.csv, predictions.csv (test),
    validation.csv, epochs.npz (`by_epoch`), and result.json last.

    Returns:
        The content of result.json.
    """
    directory = Path(directory)
    with joined() as world, exclusive(directory / ".lock", "this run") if world.first else contextlib.nullcontext():
        with world.in_turn():
            data = load_data(config, progress=progress and world.first)
        print_of_data = data.dataset.fingerprint
        checkpoint, best = directory / CHECKPOINT, directory / WEIGHTS
        done = read_result(directory)
        # Unpacked runs come without weights: they are trained again before anything looks into the network.
        if done and best.exists() and _is_result_of(done, config, print_of_data):
            checkpoint.unlink(missing_ok=True)
            return done
        device = pick_device()
        require_fast(device, config.precision)
        trainer = Trainer(config, data, device, world)
        if checkpoint.exists():
            trainer.restore(checkpoint)
        world.wait()
        (directory / RESULT).unlink(missing_ok=True)  # of other parameters or data: from here on not true
        for name in (checkpoint.name, best.name) if world.first else ():
            for leftover in directory.glob(f".{name}.*"):  # of a process that was killed while it wrote
                leftover.unlink()
        started = time.perf_counter()
        while not trainer.finished:
            trainer.epoch(progress and world.first)
            if world.first:
                if trainer.best_epoch == len(trainer.history):
                    save_weights(trainer.model, best)
                write_csv(directory / HISTORY, pd.DataFrame(trainer.history), decimals=9)
                trainer.save(checkpoint)
        world.wait()
        load_weights(trainer.model, best)
        found = _evaluate(trainer, directory)
        if world.first:
            _record(trainer, directory, found, time.perf_counter() - started)
            checkpoint.unlink(missing_ok=True)
        world.wait()
        result = read_result(directory)
        assert result is not None  # it was just written
        return result


def _record(trainer: Trainer, directory: Path, found: Mapping[str, Any], seconds: float) -> None:
    """What each epoch predicted, and last the result, which says that the run is done."""
    data = trainer.data
    write_arrays(directory / EPOCHS, **by_epoch(trainer))
    write_result(
        directory,
        TRAINING,
        trainer.config.parameters(),
        data={
            "fingerprint": data.dataset.fingerprint,
            "labels": list(data.label_names),
            "images": {split: len(rows) for split, rows in data.splits.items()},
            "training_classes": _counts(data, "train"),
        },
        model_parameters=parameter_counts(trainer.model)["total"],
        processes=trainer.world.size,
        epochs_run=len(trainer.history),
        best_epoch=trainer.best_epoch,
        metrics=found,
        seconds=round(sum(row["epoch_seconds"] for row in trainer.history), 1),
        seconds_this_session=round(seconds, 1),
    )


def _counts(data: Data, split: str) -> dict[str, int]:
    """How many images each class has in a split."""
    counts = np.bincount(data.labels[data.splits[split]], minlength=len(data.label_names))
    return dict(zip(data.label_names, counts.tolist(), strict=True))


def by_epoch(trainer: Trainer) -> dict[str, NDArray[np.uint8]]:
    """What each epoch made of the N validation images: `predicted` (epochs, N), and for each mixture its gates.

    `gates_cnn` and `gates_expression` (epochs, N, E) hold the full softmax in 255ths: enough to see a router saturate.
    """
    names = trainer.gates[0] if trainer.gates else {}
    gates = {f"gates_{name}": torch.stack([gates[name] for gates in trainer.gates]).numpy() for name in names}
    return {"predicted": torch.stack(trainer.choices).numpy(), **gates}


def _is_result_of(result: Mapping[str, Any], config: TrainConfig, data: str) -> bool:
    same = digest(result["parameters"]) == digest(config.parameters())  # JSON knows no tuples: compare as JSON
    return same and isinstance(result.get("data"), dict) and result["data"].get("fingerprint") == data


def _evaluate(trainer: Trainer, directory: Path) -> dict[str, dict[str, float | int]]:
    """Predict validation and test with the kept weights; metrics by split (FER-2013: also by its own parts)."""
    data, found = trainer.data, {}
    for split, name in (("validation", VALIDATION), ("test", PREDICTIONS)):
        rows = data.splits[split]
        out = trainer.predict(split)
        probabilities = out.logits.softmax(1).numpy()
        gates = {mixture: gate.numpy() for mixture, gate in out.gates.items()}
        images = data.table["image"].iloc[rows].tolist()
        table = predictions.predictions_table(images, data.labels[rows], probabilities, data.label_names, gates)
        if trainer.world.first:
            predictions.write_predictions(directory / name, table)
        parts = {split: np.ones(len(rows), bool)}
        if split == "test" and "usage" in data.table:
            usage = data.table["usage"].to_numpy()[rows]
            parts |= {part: usage == part for part in ("PublicTest", "PrivateTest") if (usage == part).any()}
        for part, mask in parts.items():
            found[part] = metrics.metrics(table["label"][mask], table["predicted"][mask], probabilities[mask])
    return found
