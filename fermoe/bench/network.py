"""How fast the paper's network is on this machine, beside a plain port of it and beside a ResNet-50 alone.

The two sides of a comparison run in one process and take turns, so that whatever else the machine does meets both.
A ratio is `other_ms` over `ours_ms`, above 1 where this library is faster: the median over the repeats of the
ratio of neighbours in time, with its lowest and highest. Ratios are the result; the times beside them belong to
the machine.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fermoe.bench.plain_port import strong_port
from fermoe.data.datasets import load_dataset
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.training.adam import EPSILON
from fermoe.training.config import TrainConfig
from fermoe.training.feed import Data, Feed
from fermoe.training.inference import place, slices
from fermoe.training.precision import PRECISIONS, WORTH, autocast, bfloat16_speed
from fermoe.training.runs import provenance

PLAIN, RESNET50 = "plain port", "torchvision's ResNet-50"
FLOAT32, ALONE = "the same in float32", "its ResNet alone"
CLASSES = 7
CPU = torch.device("cpu")
BRANCHES = {"cnn1": "extractor 1", "cnn2": "extractor 2", "resnet": "ResNet"}
Run = Callable[[], object]
Pairs = list[tuple[float, float]]  # milliseconds of (ours, other)


class Timed(NamedTuple):
    """What was timed, against what, for which batch, and the repeats."""

    what: str
    other: str
    batch: int
    pairs: Pairs


def alternate(ours: Run, other: Run, repeats: int, wait: Run = lambda: None) -> Pairs:
    """Milliseconds of (ours, other), `repeats` times in turns, after one run of each that is not counted.

    `wait` returns when the device has done what it was given.
    """
    pairs = []
    for repeat in range(repeats + 1):
        pair = []
        for run in (ours, other):
            wait()
            started = time.perf_counter()
            run()
            wait()
            pair.append(1000 * (time.perf_counter() - started))
        if repeat > 0:
            pairs.append((pair[0], pair[1]))
    return pairs


class Networks:
    """This library's network, the strongest plain port, and torchvision's ResNet-50, on one device.

    All get a fused Adam and their best memory order: channels last in a ResNet, first in the port's extractors, whose
    75×75 layer takes 3.5 times as long otherwise.
    """

    def __init__(self, model: str, device: str, repeats: int):
        self.model, self.device, self.repeats = model, torch.device(device), repeats
        shape = ModelConfig.named(model, CLASSES)
        self.side = shape.image_size
        torch.manual_seed(0)
        self.ours = place(ExpressNetMoE(shape), self.device)
        self.plain = strong_port(shape).to(self.device)
        self.resnet50 = resnet50().to(self.device)

    def whole(self, batch: int, training: bool) -> Iterator[Timed]:
        """A training step (forward, loss, backward, Adam) or an evaluation, against both other networks."""
        what = "training step: whole network" if training else "inference: whole network"
        for other, model in ((PLAIN, self.plain), (RESNET50, self.resnet50)):
            runs = [self._work(network, batch, training) for network in (self.ours, model)]
            yield Timed(what, other, batch, alternate(runs[0], runs[1], self.repeats, self._wait))

    def precisions(self, batch: int) -> Iterator[Timed]:
        """A training step on the CPU in bfloat16 against the same in float32, where bfloat16 is fast."""
        if self.device.type == "cpu" and bfloat16_speed(self.device) >= WORTH:
            runs = [self._work(self.ours, batch, True, precision) for precision in ("bfloat16", "float32")]
            pairs = alternate(runs[0], runs[1], self.repeats, self._wait)
            yield Timed("training step: whole network, bfloat16", FLOAT32, batch, pairs)

    def blocks(self, batch: int) -> Iterator[Timed]:
        """Each block alone, forward and backward and in evaluation, against the port's.

        Branches get images, the rest (fusion, mixtures, head) fixed features of the branches.
        """
        images = self._images(batch, torch.channels_last)
        with torch.no_grad():
            features = {name: getattr(self.ours.eval(), name)(images) for name in BRANCHES}
        for mode, work in (("training", forward_backward), ("inference", inference)):
            for block, title in {**BRANCHES, "rest": "rest"}.items():
                runs = []
                for model in (self.ours, self.plain):
                    module = _rest(model, features) if block == "rest" else getattr(model, block)
                    order = torch.channels_last if block == "resnet" else self._order(model)
                    runs.append(partial(work, module, self._images(batch, order)))
                yield Timed(f"{mode}: {title}", PLAIN, batch, alternate(runs[0], runs[1], self.repeats, self._wait))

    def loader(self, batch: int, batches: int = 8) -> Timed:
        """A batch as training gets it, from a memory-mapped array of grey images, against the step that uses it.

        The array is in the page cache, as it is from the second epoch on.
        """
        with tempfile.TemporaryDirectory() as folder:
            feed = _feed(self.model, Path(folder), batches * batch, self.side, self.device)
            rows = np.random.default_rng(0).permutation(batches * batch)

            def load() -> None:
                for chosen in slices(rows, batch):
                    feed.batch("train", chosen)

            pairs = alternate(load, self._work(self.ours, batch, training=True), self.repeats, self._wait)
        return Timed("loader", "training step", batch, [(load_ms / batches, step_ms) for load_ms, step_ms in pairs])

    def _order(self, model: nn.Module) -> torch.memory_format:
        return torch.contiguous_format if model is self.plain else torch.channels_last

    def _images(self, batch: int, order: torch.memory_format) -> Tensor:
        return random_images(batch, self.side).to(self.device).contiguous(memory_format=order)

    def _work(self, model: nn.Module, batch: int, training: bool, precision: str = "float32") -> Run:
        images = self._images(batch, self._order(model))
        if not training:
            return partial(inference, model, images)
        return partial(training_step, model, images, adam(model), precision)

    def _wait(self) -> None:
        wait_for(self.device)


class _Fixed(nn.Module):
    """Stands in for a branch: gives the same features at no cost, and takes their gradient."""

    def __init__(self, features: Tensor):
        super().__init__()
        self.features = nn.Parameter(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.features


def _rest(model: ExpressNetMoE, features: dict[str, Tensor]) -> nn.Module:
    """The fusion, the mixtures and the head of `model` (the same parameters), behind fixed branches."""
    with torch.device("meta"):
        rest = ExpressNetMoE(model.config)
    for name, child in model.named_children():
        setattr(rest, name, _Fixed(features[name]) if name in features else child)
    return rest


def resnet50() -> nn.Module:
    """torchvision's ResNet-50 with a head for seven classes, channels last."""
    from torchvision import models  # not on top: whoever imports this module may not need torchvision

    return models.resnet50(num_classes=CLASSES).to(memory_format=torch.channels_last)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    """A fused Adam with the study's rate and ε."""
    return torch.optim.Adam(model.parameters(), lr=1e-4, eps=EPSILON, fused=True)


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def random_images(batch: int, side: int) -> Tensor:
    """(N, 3, side, side), normally distributed, the same on every machine."""
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def _output(model: nn.Module, images: Tensor, precision: str = "float32") -> Tensor:
    """The model's logits or features, on CUDA always in bfloat16."""
    with autocast(images.device, "bfloat16" if images.device.type == "cuda" else precision):
        output = model(images)
    return output if isinstance(output, Tensor) else output.logits


def training_step(
    model: nn.Module, images: Tensor, optimizer: torch.optim.Optimizer, precision: str = "float32"
) -> None:
    """One step as `Trainer` takes it: forward, loss, backward, update."""
    target = torch.arange(len(images), device=images.device) % CLASSES
    loss = F.cross_entropy(_output(model.train(), images, precision).float(), target, label_smoothing=0.1)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def step_of(network: nn.Module, side: int, batch: int, device: torch.device = CPU) -> partial[None]:
    """A training step of this network, channels last, on a batch of random images of that side; takes a precision."""
    images = random_images(batch, side).to(device, memory_format=torch.channels_last)
    return partial(training_step, network, images, adam(network))


def forward_backward(module: nn.Module, images: Tensor) -> None:
    module.zero_grad(set_to_none=True)
    output = _output(module.train(), images)
    output.backward(torch.ones_like(output))


@torch.inference_mode()
def inference(module: nn.Module, images: Tensor) -> None:
    _output(module.eval(), images)


def _feed(model: str, folder: Path, images: int, side: int, device: torch.device) -> Feed:
    """A training's `Feed` whose images lie in a memory map like FER-2013's: grey, uint8 (N, 1, side, side)."""
    faces = load_dataset("synthetic", train=images - 2, test=2, size=48, framing="tight")
    array = np.random.default_rng(0).integers(0, 256, (images, 1, side, side), dtype=np.uint8)
    np.save(folder / "images.npy", array)
    mapped = np.load(folder / "images.npy", mmap_mode="r")
    splits = {name: np.arange(images) for name in ("train", "validation", "test")}
    return Feed(Data(faces, splits, dict.fromkeys(splits, mapped)), TrainConfig(model=model), device)


IMPORTS = ("import and build", "import torch, torchvision")

# The least ratio that this library promises for the paper's network on two cores, by (what, other, batch).
GOALS: dict[tuple[str, str, int], float] = {
    ("training step: whole network", PLAIN, 8): 7,
    ("training: extractor 1", PLAIN, 8): 25,
    ("training step: whole network", RESNET50, 8): 0.85,
    ("training step: whole network, bfloat16", FLOAT32, 8): 1.6,
    ("inference: whole network", PLAIN, 8): 4.5,
    ("inference: whole network", PLAIN, 32): 4.5,
    ("training step: miniature", ALONE, 32): 1 / 2.8,
    ("loader", "training step", 32): 10,
    (*IMPORTS, 0): 2 / 3,
}

MEMORY_GOAL_MIB = 8 * 1024
COLUMNS = ["what", "device", "threads", "batch", "ours_ms", "other", "other_ms"]


COLUMNS += ["ratio", "ratio_low", "ratio_high", "repeats", "goal"]


@dataclass(frozen=True)
class BenchConfig:
    """What is measured. The defaults take about six minutes on two cores, four of them in the plain port."""

    model: str = "paper"
    training_batches: tuple[int, ...] = (2, 8)
    inference_batches: tuple[int, ...] = (1, 8, 32)
    block_batch: int = 8
    loader_batch: int = 32
    memory_batch: int = 32
    sizes: tuple[str, ...] = ("miniature", "paper64")
    size_batch: int = 32
    repeats: int = 3

    @classmethod
    def quick(cls) -> BenchConfig:
        """The miniature, few and small batches: shows that everything runs, says nothing about the paper's network."""
        return cls(
            "miniature",
            (2,),
            (2,),
            block_batch=2,
            loader_batch=4,
            memory_batch=2,
            sizes=("miniature",),
            size_batch=2,
            repeats=2,
        )


def network_benchmark(config: BenchConfig | None = None, log: Callable[[str], object] | None = None) -> pd.DataFrame:
    """Every comparison, on the CPU and on CUDA where there is one.

    Columns: what, device, threads (of the CPU), batch (0: none), ours_ms, other, other_ms (medians, for one batch or
    one import), ratio, ratio_low, ratio_high, repeats, goal (the least ratio promised for the paper's network on two
    cores, else NaN), then the machine and the versions. `log` is told each row as it is done.
    """
    config = config or BenchConfig()
    rows = []
    for device, timed in _measure(config):
        row = comparison(timed, device, promised=config.model == "paper" and device == "cpu")
        if log is not None:
            log(f"{row['what']} ({device}, batch {row['batch']}) against {row['other']}: {row['ratio']:.2f}")
        rows.append(row)
    return _with_machine(pd.DataFrame(rows, columns=COLUMNS))


def memory_benchmark(config: BenchConfig | None = None) -> pd.DataFrame:
    """Peak resident memory of two training steps on the CPU, each network in a process of its own.

    Columns: what, batch, peak_mib (interpreter and libraries included), goal_mib (the most that is promised for the
    paper's network, else NaN), then the machine and the versions.
    """
    config = config or BenchConfig()
    rows = []
    for what in ("whole network", RESNET50):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            peak = pool.submit(_peak_of_training, what, config.model, config.memory_batch).result()
        promised = config.model == "paper" and what != RESNET50
        rows.append((what, config.memory_batch, peak, MEMORY_GOAL_MIB if promised else math.nan))
    return _with_machine(pd.DataFrame(rows, columns=["what", "batch", "peak_mib", "goal_mib"]))


def comparison(timed: Timed, device: str, promised: bool) -> dict[str, Any]:
    """One row of the table; `promised` adds the goal, where there is one."""
    ours_ms, other_ms = zip(*timed.pairs, strict=True)
    ratios = [other / ours for ours, other in timed.pairs]
    goal = GOALS.get((timed.what, timed.other, timed.batch), math.nan) if promised else math.nan
    where = (timed.what, device, torch.get_num_threads(), timed.batch)
    times = (statistics.median(ours_ms), timed.other, statistics.median(other_ms))
    spread = (statistics.median(ratios), min(ratios), max(ratios), len(ratios))
    return dict(zip(COLUMNS, (*where, *times, *spread, goal), strict=True))


def _measure(config: BenchConfig) -> Iterator[tuple[str, Timed]]:
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        networks = Networks(config.model, device, config.repeats)
        for training, batches in ((True, config.training_batches), (False, config.inference_batches)):
            for batch in batches:
                for timed in networks.whole(batch, training):
                    yield device, timed
        for timed in networks.precisions(config.block_batch):
            yield device, timed
        for timed in networks.blocks(config.block_batch):
            yield device, timed
        yield device, networks.loader(config.loader_batch)
        for size in config.sizes:
            yield device, _full_against_backbone(size, device, config)
    yield "cpu", _imports(config)


def _full_against_backbone(size: str, device: str, config: BenchConfig) -> Timed:
    """A training step of a scale model against one of its ResNet alone."""
    shapes = [ModelConfig.named(size, CLASSES, variant) for variant in ("full", "backbone")]
    where, batch = torch.device(device), config.size_batch
    full, alone = (step_of(place(ExpressNetMoE(shape), where), shape.image_size, batch, where) for shape in shapes)
    pairs = alternate(full, alone, 3 * config.repeats, partial(wait_for, where))
    return Timed(f"training step: {size}", ALONE, batch, pairs)


def _imports(config: BenchConfig) -> Timed:
    """A fresh interpreter that imports and builds the network, against one that imports PyTorch and torchvision."""
    ours, other = IMPORTS
    named = f"ModelConfig.named('{config.model}', {CLASSES})"
    build = f"from fermoe.network.model import ExpressNetMoE, ModelConfig; ExpressNetMoE({named})"
    pairs = [(_fresh_ms(build), _fresh_ms(other)) for _ in range(config.repeats + 1)]
    return Timed(ours, other, 0, pairs[1:])


def _fresh_ms(statement: str) -> float:
    code = f"import time; t = time.perf_counter(); {statement}; print(1000 * (time.perf_counter() - t))"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


FER2013_TRAINING = 25_838
"""Images of an epoch of FER-2013 whose validation set is carved from its training set."""


def epoch_benchmark(config: BenchConfig | None = None) -> pd.DataFrame:
    """How long an epoch of FER-2013 takes on the CPU, by size, variant and precision, from the speed of a step.

    Columns: model, variant, precision, threads, batch, ms_per_image (the fastest of the repeats), epoch_minutes (of
    `FER2013_TRAINING` images, without evaluation), then the machine and the versions.
    """
    config, rows = config or BenchConfig(), []
    precisions = PRECISIONS if bfloat16_speed(CPU) >= WORTH else PRECISIONS[:1]
    for size, batch in {**dict.fromkeys(config.sizes, 2 * config.size_batch), config.model: config.block_batch}.items():
        for variant in ("full", "backbone"):
            shape = ModelConfig.named(size, CLASSES, variant)
            step = step_of(ExpressNetMoE(shape), shape.image_size, batch)
            for precision in precisions:
                pairs = alternate(partial(step, precision), lambda: None, config.repeats)
                fastest = min(ours for ours, _ in pairs) / batch
                minutes = fastest * FER2013_TRAINING / 60_000
                rows.append((size, variant, precision, torch.get_num_threads(), batch, fastest, minutes))
    columns = ["model", "variant", "precision", "threads", "batch", "ms_per_image", "epoch_minutes"]
    return _with_machine(pd.DataFrame(rows, columns=columns))


def _peak_of_training(what: str, model: str, batch: int) -> float:
    shape = ModelConfig.named(model, CLASSES)
    step = step_of(resnet50() if what == RESNET50 else ExpressNetMoE(shape), shape.image_size, batch)
    for _ in range(2):
        step()
    return peak_resident_mib()


def peak_resident_mib() -> float:
    """The most memory that this process has held at once.

    On Linux from /proc: `ru_maxrss` there starts at what the parent held when it started this process.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    return float(status.split("VmHWM:")[1].split()[0]) / 2**10


def _with_machine(table: pd.DataFrame) -> pd.DataFrame:
    made = provenance()
    hardware = made["hardware"]
    table["processor"], table["cores"], table["gpu"] = hardware["processor"], hardware["cores"], hardware["gpu"] or ""
    for package in ("torch", "torchvision"):
        table[package] = made["versions"].get(package)
    return table
