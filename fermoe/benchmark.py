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
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fermoe.bench_networks import (
    CLASSES,
    PLAIN,
    RESNET50,
    Networks,
    Timed,
    adam,
    random_images,
    resnet50,
    training_step,
)
from fermoe.model import ExpressNetMoE, ModelConfig
from fermoe.runs import provenance
from fermoe.training import place

IMPORTS = ("import and build", "import torch, torchvision")

# The least ratio that this library promises for the paper's network on two cores, by (what, other, batch).
GOALS: dict[tuple[str, str, int], float] = {
    ("training step: whole network", PLAIN, 8): 6,
    ("training: extractor 1", PLAIN, 8): 25,
    ("training step: whole network", RESNET50, 8): 0.7,
    ("inference: whole network", PLAIN, 32): 4,
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
    inference_batches: tuple[int, ...] = (1, 32)
    block_batch: int = 8
    loader_batch: int = 32
    memory_batch: int = 32
    repeats: int = 3

    @classmethod
    def quick(cls) -> BenchConfig:
        """The miniature, few and small batches: shows that everything runs, says nothing about the paper's network."""
        return cls("miniature", (2,), (2,), block_batch=2, loader_batch=4, memory_batch=2, repeats=2)


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
        for timed in networks.blocks(config.block_batch):
            yield device, timed
        yield device, networks.loader(config.loader_batch)
    yield "cpu", _imports(config)


def _imports(config: BenchConfig) -> Timed:
    """A fresh interpreter that imports and builds the network, against one that imports PyTorch and torchvision."""
    ours, other = IMPORTS
    named = f"ModelConfig.named('{config.model}', {CLASSES})"
    build = f"from fermoe.model import ExpressNetMoE, ModelConfig; ExpressNetMoE({named})"
    pairs = [(_fresh_ms(build), _fresh_ms(other)) for _ in range(config.repeats + 1)]
    return Timed(ours, other, 0, pairs[1:])


def _fresh_ms(statement: str) -> float:
    code = f"import time; t = time.perf_counter(); {statement}; print(1000 * (time.perf_counter() - t))"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def _peak_of_training(what: str, model: str, batch: int) -> float:
    shape = ModelConfig.named(model, CLASSES)
    network = resnet50() if what == RESNET50 else place(ExpressNetMoE(shape), torch.device("cpu"))
    images = random_images(batch, shape.image_size).contiguous(memory_format=torch.channels_last)
    optimizer = adam(network, fused=True)
    for _ in range(2):
        training_step(network, images, optimizer)
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
