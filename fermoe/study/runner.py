"""Runs in processes of this machine, `default_workers` at once, and what is said and kept of how a run ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import psutil
import yaml

from fermoe.files import is_alive, notebooks_dir, remove_abandoned, write_json, write_text
from fermoe.study import notebooks
from fermoe.study.notebooks import errors_of
from fermoe.study.plan import Run
from fermoe.study.progress import Progress
from fermoe.training.runs import HISTORY, RESULT, read_result

# Runs are forked from a process that has papermill in it and nothing else: importing it takes two seconds.
_PROCESSES: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
_PROCESSES.set_forkserver_preload(["papermill", notebooks.__name__])

MOST_WORKERS = 8  # by default; each takes about a gigabyte of memory


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `error` is None when it is done; `user_error` when the user can mend it."""

    run: Run
    error: str | None = None
    user_error: bool = False
    seconds: float = 0.0


def default_workers(threads: int = 0) -> int:
    """One process per GPU; on a CPU-only machine as many as have `threads` cores each, by default one with all."""
    import torch

    gpus = torch.cuda.device_count()
    cores = os.cpu_count() or 1
    return gpus or (max(1, min(MOST_WORKERS, cores // threads)) if threads else 1)


class Place(Protocol):
    """Where runs are executed: `Runner`, this machine, or `fermoe.study.slurm.SlurmRunner`, a cluster."""

    workers: int

    def execute(self, runs: Sequence[Run], progress: Progress) -> list[Outcome]:
        """Execute runs that may run side by side; returns their outcomes in order."""


class Runner:
    """Executes runs in at most `workers` processes at once and goes on past a failed one.

    `threads` is how many each takes; 0 shares the cores out. A run that takes longer than `timeout` minutes is stopped.
    """

    def __init__(self, workers: int, threads: int = 0, timeout: float | None = None):
        self.workers = workers
        self.timeout = timeout
        self.threads = threads or max(1, (os.cpu_count() or 1) // workers)
        self.stopping = threading.Event()
        self.slots = list(range(workers))
        self.lock = threading.Lock()

    def execute(self, runs: Sequence[Run], progress: Progress) -> list[Outcome]:
        """Execute runs that may run side by side; returns their outcomes in order."""
        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(self._one, run, progress) for run in runs]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self.stop()
                for future in futures:
                    future.cancel()
                raise

    def stop(self) -> None:
        """Have every child ended with its kernel, and no other begun; what they finished stays."""
        self.stopping.set()

    def _one(self, run: Run, progress: Progress) -> Outcome:
        if self.stopping.is_set():
            return Outcome(run, "stopped")
        with self.lock:
            slot = self.slots.pop()
        started = time.perf_counter()
        try:
            outcome = self._papermill(run, slot, progress)
        finally:
            with self.lock:
                self.slots.append(slot)
        outcome = replace(outcome, seconds=time.perf_counter() - started)
        if not self.stopping.is_set():
            record(outcome, progress)
        return outcome

    def _papermill(self, run: Run, slot: int, progress: Progress) -> Outcome:
        files = prepare(run)
        child = _PROCESSES.Process(target=notebooks.execute_apart, args=(*files, self._environment(slot)))
        child.start()
        started = time.monotonic()
        try:
            while (code := _wait(child, 0.5)) is None:
                if self.stopping.is_set():
                    end(child, patience=2.0)
                    return Outcome(run, "stopped")
                if self.timeout is not None and time.monotonic() - started > 60 * self.timeout:
                    end(child)
                    return late(run, self.timeout)
                progress.position(_position(run))
        finally:
            remove_abandoned(run.directory)  # of a kernel that was ended while it wrote
        return ended(run, code)

    def _environment(self, slot: int) -> dict[str, str]:
        """The environment of the run of a slot."""
        import torch

        environment = {**os.environ, **environment_of(self.threads)}
        gpus = torch.cuda.device_count()
        if gpus > 1 and self.workers > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(slot % gpus)
        return environment


def environment_of(threads: int) -> dict[str, str]:
    """What differs from the study's own environment in a run that takes so many threads."""
    environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a warning of the kernel's debugger, nobody's business
    return environment


def prepare(run: Run) -> tuple[str, str, str, str]:
    """Make a run's folder ready for it: the notebook, where it is executed to, its parameters and its log."""
    run.directory.mkdir(parents=True, exist_ok=True)
    if run.inputs:  # an analysis whose result is of other inputs; a training looks after its own
        (run.directory / RESULT).unlink(missing_ok=True)
    run.failure.unlink(missing_ok=True)
    parameters = run.directory / "parameters.yaml"
    write_text(parameters, yaml.safe_dump(dict(run.parameters), sort_keys=False, allow_unicode=True))
    return str(notebooks_dir() / f"{run.notebook}.ipynb"), str(run.executed), str(parameters), str(log_of(run))


def ended(run: Run, code: int) -> Outcome:
    """How a run ended whose process did with `code`; what it was made from is noted where it is done."""
    if code == 0 and run.made:
        write_text(run.seen, run.inputs)
        return Outcome(run)
    return _failure(run, code, log_of(run))


def late(run: Run, timeout: float) -> Outcome:
    """How a run ended that was stopped after its time."""
    return Outcome(run, f"took longer than {timeout:g} minutes and was stopped (see {log_of(run)})")


def record(outcome: Outcome, progress: Progress) -> None:
    """Keep the reason of a failure beside the run's log, and say how the run ended."""
    run, seconds, note = outcome.run, outcome.seconds, outcome.error or _headline(outcome.run)
    if outcome.error:
        write_json(run.failure, {"reason": outcome.error, "log": log_of(run).name, "seconds": round(seconds, 1)})
    progress.ended(f"{'failed' if outcome.error else 'done'} {run.id} ({seconds:.1f} s){': ' + note if note else ''}")


def log_of(run: Run) -> Path:
    """Where a run's process writes what it says."""
    return run.directory / "log.txt"


def end(child: BaseProcess, patience: float = 5.0) -> None:
    """End a process with all that it started, by force after `patience` seconds: a kernel may hang in its own loop."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(child.pid)
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        until = time.monotonic() + patience
        while any(is_alive(member.pid) for member in family) and time.monotonic() < until:
            time.sleep(0.05)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()  # as the same process: psutil knows when it began
    child.join()


def _wait(child: BaseProcess, seconds: float) -> int | None:
    child.join(seconds)
    return child.exitcode


def _position(run: Run) -> str:
    """Where a training stands, from the history it writes."""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        history = pd.read_csv(run.directory / HISTORY)
        epochs, last = run.parameters["epochs"], history.iloc[-1]
        return f"{run.id}: epoch {int(last['epoch'])}/{epochs}, validation {100 * last['val_accuracy']:.1f} %"
    return run.id


def _headline(run: Run) -> str:
    test = ((read_result(run.directory) or {}).get("metrics") or {}).get("test")
    return f"test accuracy {100 * test['accuracy']:.1f} %" if test else ""


MEMORY = re.compile(
    r"MemoryError|OutOfMemoryError|out of memory|can\W?t allocate memory|cannot allocate memory|unable to allocate"
    r"|bad_alloc|failed to map segment",
    re.IGNORECASE,
)
"""How Python, NumPy, PyTorch, C++ and the loader of libraries say that memory ran out."""


def _failure(run: Run, code: int, log: Path) -> Outcome:
    """One line about a failed run: the error its notebook stopped at, else how the process ended."""
    for name, value in errors_of(run.executed):
        line = " ".join(value.split())
        if MEMORY.search(f"{name}: {line}"):
            return _without_memory(run, log)
        user = name in ("UserError", "UnreadableImage")
        return Outcome(run, line if user else f"{name}: {line[:200]} (see {run.executed})", user)
    said = log.read_bytes()[-20_000:].decode(errors="replace")
    if code == -signal.SIGKILL or "DeadKernelError" in said or MEMORY.search(said):
        return _without_memory(run, log, certain=bool(MEMORY.search(said)))
    return Outcome(run, f"papermill ended with code {code} (see {log})")


def _without_memory(run: Run, log: Path, certain: bool = True) -> Outcome:
    what = "memory ran out" if certain else "it was killed from outside, most likely because memory ran out"
    fix = "try fewer --workers, a smaller batch_size or a machine with more memory"
    return Outcome(run, f"{what}: {fix} (see {log})", user_error=certain)
