"""A run can be stopped anywhere and goes on to the same end; what it writes is what it did."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fermoe.data import faces
from fermoe.data.datasets import load_dataset
from fermoe.files import exclusive, write_json
from fermoe.training import feed, inference, train
from fermoe.training.config import TrainConfig
from fermoe.training.feed import load_data
from fermoe.training.predictions import probabilities_of
from fermoe.training.runs import FinishedRun, finished_runs, read_result
from fermoe.training.train import Trainer
from tests.helpers import trees
from tests.helpers.runs import OPTIONS, quietly
from tests.helpers.trees import refused

# Toy sets lack some class, and evaluation says so.
pytestmark = pytest.mark.filterwarnings("ignore:no test images of class")

SHORT = TrainConfig(dataset_options=OPTIONS, epochs=3, batch_size=16, learning_rate=1e-3)
OUTPUTS = ("history.csv", "best.safetensors", "predictions.csv", "validation.csv", "epochs.npz", "result.json")


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def trace(directory: Path) -> tuple[str, bytes, bytes, bytes]:
    """What must not depend on interruptions: the history but for its times, the weights, the predictions."""
    history = pd.read_csv(directory / "history.csv", dtype=str).drop(columns=["epoch_seconds", "data_seconds"])
    files = [(directory / name).read_bytes() for name in ("best.safetensors", "predictions.csv", "validation.csv")]
    return (history.to_csv(index=False), *files)  # type: ignore[return-value]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums taken in one order: equal to the bit, however busy the machine is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of SHORT."""
    directory = tmp_path_factory.mktemp("runs") / SHORT.run_id
    quietly(SHORT, directory)
    return directory


@pytest.fixture(scope="module")
def result(finished: Path) -> dict[str, Any]:
    return json.loads((finished / "result.json").read_text())


# What a run leaves behind


def test_a_finished_run_holds_its_files_and_nothing_else(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {*OUTPUTS, ".lock"}


def test_the_learning_rate_is_multiplied_before_every_epoch_the_first_included(finished: Path) -> None:
    history = pd.read_csv(finished / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["learning_rate"].tolist() == pytest.approx([1e-3 * 0.95, 1e-3 * 0.95**2, 1e-3 * 0.95**3], rel=1e-5)
    assert history["steps"].tolist() == [3, 3, 3]  # 43 images in batches of 16
    assert np.isfinite(history.to_numpy()).all()
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_predictions_are_probabilities_of_the_test_images(finished: Path) -> None:
    table = load_dataset("synthetic", **OPTIONS).table
    predictions = pd.read_csv(finished / "predictions.csv")
    test = table[table["split"] == "test"]
    assert predictions["image"].tolist() == test["image"].tolist()
    assert predictions["label"].tolist() == test["label"].tolist()
    probabilities = probabilities_of(predictions)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (predictions["predicted"] == probabilities.argmax(1)).all()
    for mixture in ("cnn", "expression"):
        gates = predictions[[c for c in predictions if c.startswith(f"gate_{mixture}")]]
        assert gates.shape[1] == 4
        np.testing.assert_allclose(gates.sum(axis=1), 1, atol=1e-5)
    validation = pd.read_csv(finished / "validation.csv")
    assert set(validation["image"]) < set(table["image"][table["split"] == "train"])
    assert len(validation) == 5


def test_metrics_are_those_of_the_predictions(finished: Path, result: dict[str, Any]) -> None:
    for split, name in (("test", "predictions.csv"), ("validation", "validation.csv")):
        predictions = pd.read_csv(finished / name)
        correct = predictions["label"] == predictions["predicted"]
        assert result["metrics"][split]["accuracy"] == pytest.approx(correct.mean(), abs=1e-12)
    history = pd.read_csv(finished / "history.csv")
    best = history.loc[history["val_accuracy"].idxmax()]
    assert result["best_epoch"] == best["epoch"]
    assert result["metrics"]["validation"]["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)


def test_the_result_says_what_was_done_with_what_and_where(result: dict[str, Any]) -> None:
    assert result["run"] == SHORT.run_id
    assert result["parameters"] == json.loads(json.dumps(SHORT.parameters()))
    assert result["parameters"]["seed"] == 0
    assert "root" not in result["parameters"]
    assert torch.__version__.startswith(result["versions"]["torch"])
    assert result["versions"]["python"].startswith("3.")
    assert {"system", "processor", "cores", "gpu", "threads"} <= result["hardware"].keys()
    assert result["code"]["fermoe"]
    assert result["data"]["fingerprint"] == load_dataset("synthetic", **OPTIONS).fingerprint
    assert result["data"]["images"] == {"train": 43, "validation": 5, "test": 16}
    assert result["epochs_run"] == 3
    assert result["seconds"] > 0


def test_nothing_written_names_the_machines_folders(finished: Path) -> None:
    for path in finished.glob("*.[cj]s*"):
        assert str(finished.parent) not in path.read_text()


# The same run again


def test_a_finished_run_is_returned_without_training(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (finished / name).read_bytes() for name in OUTPUTS}
    monkeypatch.setattr(Trainer, "epoch", None)
    assert quietly(SHORT, finished) == json.loads(before["result.json"])
    assert {name: (finished / name).read_bytes() for name in OUTPUTS} == before


def test_a_finished_run_is_known_again_when_its_options_were_tuples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(dataset_options={"train": 20, "test": 6, "labels": ("happy", "sad")}, epochs=1)
    first = quietly(config, tmp_path)
    monkeypatch.setattr(Trainer, "epoch", None)
    assert quietly(config, tmp_path)["metrics"] == first["metrics"]
    listed = dataclasses.replace(config, dataset_options={"train": 20, "test": 6, "labels": ["happy", "sad"]})
    assert listed.run_id == config.run_id
    assert quietly(listed, tmp_path)["metrics"] == first["metrics"]


@pytest.mark.parametrize("content", ["", "[1]", '{"parameters": {}}'])
def test_a_result_that_says_nothing_is_trained_again(tmp_path: Path, content: str) -> None:
    config = TrainConfig(dataset_options={"train": 20, "test": 6}, epochs=1)
    (tmp_path / "result.json").write_text(content)
    assert quietly(config, tmp_path)["epochs_run"] == 1
    assert read_result(tmp_path) is not None


def test_equal_seeds_give_equal_runs_and_others_do_not(finished: Path, tmp_path: Path) -> None:
    quietly(SHORT, tmp_path / "again")
    assert trace(tmp_path / "again") == trace(finished)
    quietly(dataclasses.replace(SHORT, seed=1), tmp_path / "other")
    assert all(ours != theirs for ours, theirs in zip(trace(tmp_path / "other"), trace(finished), strict=True))


# Interruptions


class Interrupted(Exception):
    pass


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Stop after an epoch's first step, as Ctrl-C would."""
    whole, slices = Trainer.epoch, inference.slices

    def some(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
        yield next(slices(rows, size))
        raise Interrupted

    def epoch(self: Trainer, progress: bool) -> None:
        if len(self.history) + 1 == number:
            monkeypatch.setattr(train, "slices", some)
        whole(self, progress)

    monkeypatch.setattr(Trainer, "epoch", epoch)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interrupted_run_goes_on_to_the_same_end(finished: Path, tmp_path: Path, number: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_in_epoch(patch, number)
        with pytest.raises(Interrupted):
            quietly(SHORT, tmp_path)
    assert read_result(tmp_path) is None
    assert (tmp_path / "last.pt").exists() == (number > 1)
    result = quietly(SHORT, tmp_path)
    assert trace(tmp_path) == trace(finished)
    assert result["epochs_run"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {*OUTPUTS, ".lock"}


def test_a_run_stopped_between_training_and_result_is_evaluated_again(finished: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            quietly(SHORT, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "epoch", None)
        quietly(SHORT, tmp_path)
    assert trace(tmp_path) == trace(finished)


KILLED = """
import sys, torch
from fermoe import TrainConfig, train
torch.set_num_threads(1)
options = {"train": 48, "test": 16}
train(TrainConfig(dataset_options=options, epochs=3, batch_size=16, learning_rate=1e-3), sys.argv[1])
"""


def test_a_killed_process_loses_nothing_that_was_saved(finished: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "last.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_result(tmp_path) is None
    (tmp_path / ".last.pt.abc123.pt").write_bytes(b"half a checkpoint")  # as a kill during a save leaves it
    before = len(pd.read_csv(tmp_path / "history.csv"))
    assert before >= 1
    quietly(SHORT, tmp_path)
    assert trace(tmp_path) == trace(finished)
    assert {path.name for path in tmp_path.iterdir()} == {*OUTPUTS, ".lock"}


def test_two_processes_do_not_write_into_one_run(tmp_path: Path) -> None:
    with exclusive(tmp_path / ".lock", "this run"), refused("another process works on this run", str(tmp_path)):
        quietly(SHORT, tmp_path)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_in_epoch(patch, 2)
        with pytest.raises(Interrupted):
            quietly(SHORT, directory)
    return directory


@pytest.fixture
def interrupted(stopped: Path, tmp_path: Path) -> Path:
    """A run of SHORT that was interrupted in its second epoch."""
    return Path(shutil.copytree(stopped, tmp_path / "interrupted"))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"variant": "no_moe"}, {"epochs": 4}, {"dataset_options": {**OPTIONS, "seed": 5}}]
)
def test_a_checkpoint_of_another_run_is_refused_and_kept(interrupted: Path, change: dict[str, Any]) -> None:
    before = {path.name: path.read_bytes() for path in interrupted.iterdir()}
    with refused("another configuration", "last.pt", "delete it"):
        quietly(dataclasses.replace(SHORT, **change), interrupted)
    assert {path.name: path.read_bytes() for path in interrupted.iterdir()} == before


@pytest.mark.parametrize("damage", ["cut", "shorter", "empty", "text", "zeros", "other", "pickle"])
def test_a_damaged_checkpoint_is_refused_and_kept(interrupted: Path, damage: str) -> None:
    checkpoint = interrupted / "last.pt"
    content = checkpoint.read_bytes()
    spoilt = {
        "cut": content[: len(content) // 2],
        "shorter": content[:-7],
        "empty": b"",
        "text": b"this is no checkpoint\n" * 50,
        "zeros": bytes(len(content)),
    }
    if damage == "other":
        torch.save([1, 2], checkpoint)
    elif damage == "pickle":
        torch.save(SimpleNamespace(a=1), checkpoint)
    else:
        checkpoint.write_bytes(spoilt[damage])
    before = {path.name: path.read_bytes() for path in interrupted.iterdir()}
    with refused("checkpoint", "last.pt", "delete it"):
        quietly(SHORT, interrupted)
    assert {path.name: path.read_bytes() for path in interrupted.iterdir()} == before


# Early stopping and the kept epoch, on histories made by hand


def with_history(rows: list[tuple[float, float]], epochs: int = 15, patience: int = 5) -> Trainer:
    trainer = Trainer.__new__(Trainer)
    trainer.config = TrainConfig(epochs=epochs, patience=patience)
    trainer.history = [{"val_loss": loss, "val_accuracy": accuracy} for loss, accuracy in rows]
    return trainer


@pytest.mark.parametrize(
    ("losses", "patience", "finished"),
    [
        ([], 1, False),
        ([1.0], 1, False),
        ([1.0, 0.9, 0.8], 1, False),
        ([1.0, 1.1], 1, True),
        ([1.0, 1.0], 1, True),  # equal is not better
        ([1.0, 1.1, 1.1, 1.1, 1.1], 5, False),
        ([1.0, 1.1, 1.1, 1.1, 1.1, 1.1], 5, True),
        ([1.0, 1.1, 1.1, 1.1, 1.1, 0.9], 5, False),
        ([1.0, 1.1, 0.9, 1.1, 1.0, 1.1, 0.95, 0.9], 5, True),
        ([2.0 - 0.1 * i for i in range(14)], 5, False),
        ([2.0 - 0.1 * i for i in range(15)], 5, True),  # all epochs done
    ],
)
def test_training_ends_after_patience_epochs_without_a_better_loss(
    losses: list[float], patience: int, finished: bool
) -> None:
    assert with_history([(loss, 0.5) for loss in losses], patience=patience).finished is finished


@pytest.mark.parametrize(
    ("accuracies", "best"), [([], 0), ([0.2], 1), ([0.2, 0.4, 0.3], 2), ([0.2, 0.4, 0.4], 2), ([0.0, 0.0], 1)]
)
def test_the_best_epoch_is_the_first_with_the_best_accuracy_whatever_its_loss(
    accuracies: list[float], best: int
) -> None:
    assert with_history([(i, accuracy) for i, accuracy in enumerate(accuracies)]).best_epoch == best


def test_early_stopping_ends_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 1.2, 0.9, 1.2, 1.1])

    def epoch(self: Trainer, progress: bool) -> None:
        row = {"epoch": len(self.history) + 1, "epoch_seconds": 0.0, "val_loss": next(losses), "val_accuracy": 0.5}
        self.history.append(row)
        self.choices.append(self.predict("validation").logits.argmax(1))

    monkeypatch.setattr(Trainer, "epoch", epoch)
    result = quietly(TrainConfig(dataset_options={"train": 20, "test": 6}, epochs=9, patience=2), tmp_path)
    assert (result["epochs_run"], result["best_epoch"]) == (5, 1)


# Data


def folder_run(root: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(dataset="folder", root=str(root), epochs=2, **changes)


def test_a_run_is_trained_again_when_its_data_changed(tmp_path: Path) -> None:
    root, run = trees.folder_tree(tmp_path / "data", train=12, test=4), tmp_path / "run"
    first = quietly(folder_run(root), run)
    root.rename(tmp_path / "moved")
    assert quietly(folder_run(tmp_path / "moved"), run) == first  # elsewhere, but the same
    trees.picture(tmp_path / "moved/train/cat/new.png", seed=5)
    second = quietly(folder_run(tmp_path / "moved"), run)
    assert second["data"]["fingerprint"] != first["data"]["fingerprint"]
    assert sum(second["data"]["images"].values()) == sum(first["data"]["images"].values()) + 1


def test_an_interrupted_retraining_leaves_no_result_of_the_old_data(tmp_path: Path) -> None:
    root, run = trees.folder_tree(tmp_path / "data", train=12, test=4), tmp_path / "run"
    quietly(folder_run(root), run)
    trees.picture(root / "train/cat/new.png", seed=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            quietly(folder_run(root), run)
    assert read_result(run) is None


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    root, run = trees.folder_tree(tmp_path / "data", train=12, test=4), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_in_epoch(patch, 2)
        with pytest.raises(Interrupted):
            quietly(folder_run(root), run)
    trees.picture(root / "train/cat/new.png", seed=5)
    with refused("other data", "last.pt"):
        quietly(folder_run(root), run)


def test_unreadable_images_stop_a_run_or_are_left_out(tmp_path: Path) -> None:
    root = trees.folder_tree(tmp_path / "data", train=12, test=4)
    (root / "train/cat/3.png").write_text("no image")
    with refused("unreadable image", "train/cat/3.png", "--skip-unreadable"):
        quietly(folder_run(root), tmp_path / "run")
    result = quietly(folder_run(root, skip_unreadable=True), tmp_path / "run")
    assert sum(result["data"]["images"].values()) == 2 * 16 - 1
    config = folder_run(root, skip_unreadable=True)
    few, fingerprint = feed.test_data(config, 4)
    assert (len(few.table), fingerprint) == (4, feed.load_data(config, progress=False).dataset.fingerprint)


@pytest.mark.parametrize("protocol", ["published", "audited"])
def test_a_dataset_without_test_or_training_images_is_refused_before_training(tmp_path: Path, protocol: str) -> None:
    for options, word in (({"train": 20, "test": 0}, "no test images"), ({"train": 1, "test": 5}, "training image")):
        with refused(word):
            quietly(TrainConfig(dataset_options=options, protocol=protocol), tmp_path)


def test_a_last_batch_of_one_image_is_skipped(tmp_path: Path) -> None:
    # 37 images less a tenth for validation are 33: one batch of 32, and one image.
    result = quietly(TrainConfig(dataset_options={"train": 37, "test": 6}, epochs=1), tmp_path)
    assert result["data"]["images"]["train"] == 33
    assert pd.read_csv(tmp_path / "history.csv")["steps"].tolist() == [1]


# Protocols


@pytest.fixture
def faces_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def detect(todo: list[tuple[str, dict[str, Any]]], *_: object) -> Iterator[dict[str, tuple[float, ...]]]:
        yield {key: (0.9, 0.1, 0.1, 0.5, 0.5, 12, 12) for key, _ in todo}

    monkeypatch.setattr(faces, "_detect_all", detect)


def test_published_fer2013_is_trained_on_crops_and_tested_on_whole_images(
    tmp_path: Path, own_cache: Path, faces_found: None
) -> None:
    root = trees.fer2013_tree(tmp_path / "fer", trees.even(trees.FER2013, train=4, test=2))
    config = TrainConfig(dataset="fer2013", root=str(root), protocol="published", crop="blazeface", epochs=1)
    assert config.test_crop == "none"
    data = load_data(config, progress=False)
    assert np.array_equal(data.splits["validation"], data.splits["test"])
    assert data.images["validation"] is data.images["train"]  # the authors validate on crops
    assert not np.array_equal(data.images["test"], data.images["train"])
    whole = load_data(dataclasses.replace(config, crop="none"), progress=False)
    assert np.array_equal(data.images["test"], whole.images["train"])
    result = quietly(config, tmp_path / "run")
    assert result["parameters"]["test_crop"] == "none"
    assert result["parameters"]["pipeline"] == "bgr_unit"
    assert {"test", "PublicTest", "PrivateTest", "validation"} == set(result["metrics"])
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    correct = predictions["label"] == predictions["predicted"]
    for part in ("PublicTest", "PrivateTest"):
        of_part = predictions["image"].str.contains(part)
        assert of_part.sum() == 7
        assert result["metrics"][part]["accuracy"] == pytest.approx(correct[of_part].mean())


@pytest.mark.parametrize(
    ("dataset", "protocol", "expected"),
    [
        ("fer2013", "audited", "blazeface"),
        ("fer2013", "published", "none"),
        ("rafdb", "published", "blazeface"),
        ("affectnet8", "published", "blazeface"),
        ("synthetic", "published", "blazeface"),
    ],
)
def test_only_published_fer2013_is_tested_uncropped(dataset: str, protocol: str, expected: str) -> None:
    assert TrainConfig(dataset=dataset, protocol=protocol, crop="blazeface").test_crop == expected


def test_a_protocol_brings_its_own_normalisation() -> None:
    assert TrainConfig(protocol="published").pipeline == "bgr_unit"
    assert TrainConfig(protocol="published", weights="vggface2:f.h5").pipeline == "bgr_unit"
    assert TrainConfig(protocol="audited").pipeline == "imagenet"
    assert TrainConfig(protocol="audited", weights="vggface2:f.h5").pipeline == "vggface2"
    assert TrainConfig(normalisation="rgb_unit", augmentation="augment").pipeline == "rgb_unit+augment"


def test_augmentation_changes_training_but_not_evaluation(tmp_path: Path) -> None:
    config = TrainConfig(dataset_options={"train": 40, "test": 10}, augmentation="augment", epochs=1)
    data = load_data(config, progress=False)
    plain = dataclasses.replace(config, augmentation="none")
    trainers = [Trainer(c, data, torch.device("cpu")) for c in (config, plain)]
    logits = [trainer.predict("test").logits for trainer in trainers]
    assert torch.equal(*logits)
    for trainer in trainers:
        trainer.epoch(progress=False)
    assert trainers[0].history[0]["loss"] != trainers[1].history[0]["loss"]


def test_the_time_spent_waiting_for_batches_is_part_of_the_epoch(finished: Path) -> None:
    history = pd.read_csv(finished / "history.csv")
    assert (history["data_seconds"] > 0).all()
    assert (history["data_seconds"] < history["epoch_seconds"]).all()


def test_the_history_holds_the_mean_loss_and_accuracy_of_the_epochs_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(SHORT, load_data(SHORT, progress=False), torch.device("cpu"))
    steps: list[tuple[int, float, int]] = []
    original = train.F.cross_entropy

    def watched(logits: torch.Tensor, target: torch.Tensor, **settings: float) -> torch.Tensor:
        loss = original(logits, target, **settings)
        if trainer.model.training:
            steps.append((len(target), loss.item(), int((logits.argmax(1) == target).sum())))
        return loss

    monkeypatch.setattr(train.F, "cross_entropy", watched)
    trainer.epoch(progress=False)
    images = sum(count for count, _, _ in steps)
    assert images == len(trainer.data.splits["train"])
    assert trainer.history[0]["loss"] == pytest.approx(sum(n * loss for n, loss, _ in steps) / images, rel=1e-6)
    assert trainer.history[0]["accuracy"] == sum(right for _, _, right in steps) / images


def test_predictions_do_not_depend_on_the_batch_size_of_evaluation() -> None:
    data = load_data(SHORT, progress=False)
    trainer = Trainer(SHORT, data, torch.device("cpu"))
    whole, pieces = trainer.predict("test"), trainer.predict("test", batch_size=7)
    torch.testing.assert_close(whole.logits, pieces.logits, rtol=1e-4, atol=1e-5)
    assert whole.gates.keys() == {"cnn", "expression"}


# Configurations


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epochs": 0}, ("epochs is 0", "at least 1")),
        ({"epochs": "15"}, ("epochs is '15'", "at least 1")),
        ({"epochs": 1.5}, ("epochs is 1.5",)),
        ({"patience": 0}, ("patience is 0",)),
        ({"batch_size": 1}, ("batch_size is 1", "at least 2")),
        ({"seed": -1}, ("seed is -1", "at least 0")),
        ({"seed": None}, ("seed is None",)),
        ({"learning_rate": 0.0}, ("learning_rate is 0.0",)),
        ({"learning_rate": -1e-4}, ("learning_rate is -0.0001",)),
        ({"learning_rate": "1e-4"}, ("learning_rate is '1e-4'", "0.0001")),
        ({"learning_rate": math.nan}, ("learning_rate is nan",)),
        ({"learning_rate": math.inf}, ("learning_rate is inf",)),
        ({"decay": 0}, ("decay is 0",)),
        ({"label_smoothing": 1.5}, ("label_smoothing is 1.5", "from 0 to 1")),
        ({"label_smoothing": -0.1}, ("label_smoothing is -0.1",)),
        ({"normalisation": "bgr"}, ("'bgr'", "bgr_unit")),
        ({"augmentation": "flip"}, ("'flip'", "augment")),
        ({"protocol": "published", "augmentation": "augment"}, ("published protocol has no augmentation",)),
    ],
)
def test_a_wrong_configuration_is_refused_at_once(wrong: dict[str, Any], words: tuple[str, ...]) -> None:
    with refused(*words):
        TrainConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dataset": "ferplus"}, ("'ferplus'", "fer2013")),
        ({"dataset": "fer2013", "dataset_options": {}}, ("'fer2013' needs its folder",)),
        ({"dataset_options": {"trian": 9}}, ("'trian'",)),
        ({"protocol": "audit"}, ("'audit'", "published, audited")),
        ({"variant": "ful"}, ("'ful'", "no_moe")),
        ({"model": "huge"}, ("'huge'", "miniature")),
        ({"crop": "face"}, ("'face'", "annotated")),
        ({"weights": "magic"}, ("'magic'", "imagenet")),
    ],
)
def test_what_a_run_cannot_use_is_refused_before_it_trains(
    tmp_path: Path, wrong: dict[str, Any], words: tuple[str, ...]
) -> None:
    config = TrainConfig(**{"dataset_options": {"train": 20, "test": 6}, **wrong})
    with refused(*words):
        quietly(config, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


def test_a_run_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/fermoe")):
        with refused("cannot write", str(place)):
            quietly(SHORT, place)


def test_training_that_diverges_is_one_line(tmp_path: Path) -> None:
    config = TrainConfig(dataset_options={"train": 40, "test": 6}, learning_rate=1e30, epochs=3)
    with refused("diverged", "learning_rate"):
        quietly(config, tmp_path)


def test_the_run_id_names_the_run_and_hashes_every_parameter_but_the_place() -> None:
    base = TrainConfig(dataset="rafdb", root="/data/rafdb")
    assert base.run_id.startswith("rafdb-audited-full-none-imagenet-seed0-")
    assert dataclasses.replace(base, root="/elsewhere").run_id == base.run_id
    changes: list[dict[str, Any]] = [
        {"protocol": "published", "twins": None}, {"variant": "no_moe"}, {"crop": "blazeface"},
        {"augmentation": "augment"},
        {"seed": 1}, {"epochs": 14}, {"patience": 4}, {"batch_size": 16}, {"learning_rate": 1e-3}, {"decay": 0.9},
        {"label_smoothing": 0.0}, {"weights": "imagenet"}, {"model": "paper"}, {"skip_unreadable": True},
        {"normalisation": "vggface2"}, {"dataset": "fer2013"}, {"dataset": "synthetic", "dataset_options": {"seed": 1}},
        {"twins": "kept"},
    ]  # fmt: skip
    ids = [dataclasses.replace(base, **change).run_id for change in changes]
    assert len({base.run_id, *ids}) == len(changes) + 1
    assert all("/" not in run_id and " " not in run_id for run_id in ids)


def test_runs_from_before_there_was_a_choice_kept_their_twins_and_are_the_runs_that_are_told_to() -> None:
    today = TrainConfig(dataset="fer2013", twins="kept")
    stored = {name: value for name, value in today.parameters().items() if name != "twins"}
    found = FinishedRun(Path("nowhere"), {"run": "r", "parameters": stored})
    assert (found.config.twins, found.key["twins"]) == ("kept", "kept")
    assert found.config.run_id == today.run_id
    apart = TrainConfig(dataset="fer2013")
    assert FinishedRun(Path("nowhere"), {"run": "r", "parameters": apart.parameters()}).config.twins == "apart"


# Results on disk


def test_finished_runs_are_found_and_unfinished_ones_are_not(tmp_path: Path) -> None:
    result: dict[str, Any] = {"run": "a", "notebook": "04_training", "parameters": {"seed": 3}}
    result |= {
        "metrics": {},
        "data": {"images": {"train": 2, "validation": 1, "test": 1}},
        "epochs_run": 1,
        "best_epoch": 1,
    }
    write_json(tmp_path / "runs/a/result.json", result)
    write_json(tmp_path / "runs/b/result.json", {**result, "notebook": "05_confusion_matrices"})
    write_json(tmp_path / "runs/c/result.json", ["no result"])
    (tmp_path / "runs/d").mkdir()
    (tmp_path / "runs/d/result.json").write_text('{"run": "d", "param')
    (tmp_path / "runs/e").mkdir()
    (run,) = finished_runs(tmp_path)
    assert (run.name, run.directory, run.result, run.config.seed) == ("a", tmp_path / "runs/a", result, 3)
    assert finished_runs(tmp_path / "absent") == []
