"""What this machine has, as far as fermoe cares, and what to do about what is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from fermoe.data.datasets import DATASETS, load_dataset
from fermoe.data.faces import require_detector
from fermoe.errors import UserError
from fermoe.files import cache_dir, checkout, results_dir
from fermoe.training.inference import pick_device
from fermoe.training.precision import WORTH, bfloat16_speed
from fermoe.training.runs import provenance
from fermoe.use.trained import committed

PYTHONS = ((3, 11), (3, 12))
ROOM = 5e9  # bytes: the prepared images of the largest dataset at 224×224, twice
EXTRAS = {
    "onnx": ("onnx", "fermoe export RUN --onnx FILE"),
    "onnxruntime": ("onnx", "to run what was exported"),
    "submitit": ("slurm", "studies on a Slurm cluster"),
}
"""By module: the extra that installs it, and what it is for."""
USUAL = ("data", "datasets")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was found, and what to do; nothing where it is well."""

    what: str
    found: str
    advice: str = ""

    @property
    def line(self) -> str:
        advice = f" → {self.advice}" if self.advice else ""
        return f"{self.what + ':':15} {self.found}{advice}"


def examine(folders: Sequence[Path] = ()) -> Iterator[Finding]:
    """Look at everything, one finding after the other; datasets also in `folders`."""
    yield from _software()
    yield from _processors()
    yield _detector()
    for module, (extra, purpose) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        advice = "" if there else f"for {purpose}: pip install 'fermoe[{extra}]'"
        yield Finding(module, "installed" if there else "not installed", advice)
    yield from _disk()
    yield Finding("networks", ", ".join(committed()) or "none")
    yield from _datasets(folders)


def _software() -> Iterator[Finding]:
    good = sys.version_info[:2] in PYTHONS
    names = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    yield Finding("Python", platform.python_version(), "" if good else f"install Python {names}")
    code = provenance()["code"]
    root = checkout()
    yield Finding("fermoe", f"{code['fermoe']}, " + (f"checkout {root} at {code['commit']}" if root else "installed"))
    yield Finding("PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _processors() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    size = f"{memory.total / 2**30:.1f} GiB memory, {memory.available / 2**30:.1f} free"
    yield Finding("processor", f"{provenance()['hardware']['processor']}, {os.cpu_count()} cores, {size}")
    device = pick_device()
    if device.type == "cuda":
        yield Finding("GPU", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    elif device.type == "mps":
        yield Finding("GPU", "Apple's, by MPS")
    else:
        built = "this PyTorch is built for CPUs" if torch.version.cuda is None else "no NVIDIA driver or device"
        yield Finding("GPU", f"none ({built})", "the miniature network needs none")
    speed = bfloat16_speed(device)
    fast = speed >= WORTH
    advice = "train with precision=bfloat16" if fast else "stay with float32"
    yield Finding("bfloat16", f"{speed:.1f} times as fast as float32", advice)


def _detector() -> Finding:
    try:
        require_detector()
    except UserError as error:
        return Finding("face detector", error.what, error.fix)
    return Finding("face detector", "BlazeFace, by MediaPipe")


def _disk() -> Iterator[Finding]:
    for what, folder in (("images in", cache_dir()), ("results in", results_dir())):
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
        free, writable = shutil.disk_usage(there).free, os.access(there, os.W_OK)
        advice = "" if writable else "choose a folder that can be written"
        if free < ROOM:
            advice = "free some space" + (", or set FERMOE_CACHE=DIR" if folder == cache_dir() else "")
        yield Finding(what, f"{folder}, {free / 1e9:.1f} GB free", advice)


def _datasets(folders: Sequence[Path]) -> Iterator[Finding]:
    """Datasets in the given folders, in the current one, and in data/ or datasets/ of it, the checkout or the home."""
    places = [Path.cwd(), *(base / name for base in (Path.cwd(), checkout(), Path.home()) if base for name in USUAL)]
    roots = [Path(folder).expanduser() for folder in folders]
    for place in dict.fromkeys([*roots, *places]):
        with contextlib.suppress(OSError):
            roots += [place, *sorted(path for path in place.iterdir() if path.is_dir())]
    found = [(root, name, size) for root in dict.fromkeys(roots) for name, size in _dataset_in(root)]
    for root, name, size in found:
        yield Finding("dataset", f"{name}, {size} images in {root}", f"fermoe study {name} --set root={root}")
    if not found:
        yield Finding("dataset", "none found", "drawn faces need none; else fermoe doctor --data DIR")


def _dataset_in(root: Path) -> Iterator[tuple[str, int]]:
    """The first dataset whose layout a folder has: any class tree would do for "folder", which comes last."""
    for name, spec in DATASETS.items():
        if spec.load is not None:
            with contextlib.suppress(UserError, OSError):
                yield name, len(load_dataset(name, root, skip_unreadable=True))
                return
