"""What a run leaves behind: a directory whose result.json, written last, says that it is done and how it was made."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from fermoe import __version__
from fermoe.errors import UserError
from fermoe.files import PROJECT_ROOT, write_json

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "mediapipe", "papermill")


def write_result(directory: str | Path, notebook: str, parameters: dict[str, Any], **results: Any) -> dict[str, Any]:
    """Write `result.json`, the last act of a run: parameters, results, and where and with what they were made."""
    result = {"run": Path(directory).name, "notebook": notebook, "parameters": parameters, **results, **provenance()}
    write_json(Path(directory) / "result.json", result)
    return result


def read_result(directory: str | Path) -> dict[str, Any] | None:
    """The run's result, or None where there is none yet or it cannot be read (then the run is done again)."""
    try:
        result = json.loads((Path(directory) / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) and "parameters" in result else None


def finished_runs(study_dir: str | Path, notebook: str = "04_training") -> list[dict[str, Any]]:
    """The results of a study's finished runs of one notebook, by run id; each has its folder as "directory".

    Runs that other settings once left in the same folder are not the study's: runs/study.json lists those that are.
    """
    found = []
    runs = Path(study_dir) / "runs"
    try:
        mine = set(json.loads((runs / "study.json").read_text(encoding="utf-8"))["runs"])
    except (OSError, ValueError, KeyError):
        mine = None
    for path in sorted(runs.glob("*/result.json")):
        result = read_result(path.parent)
        wanted = result is not None and result.get("notebook") == notebook
        if result is not None and wanted and (mine is None or path.parent.name in mine):
            found.append({**result, "directory": str(path.parent)})
    return found


def study_name(study_dir: str | Path) -> str:
    """The name of the study that made a folder of results, "" where that is not known."""
    try:
        return str(json.loads((Path(study_dir) / "runs" / "study.json").read_text(encoding="utf-8"))["study"])
    except (OSError, ValueError, KeyError):
        return ""


def runs_table(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Finished training runs as a table: run, directory, and the parameters that tell them apart."""
    keys = ("dataset", "protocol", "variant", "crop", "pipeline", "seed")
    rows = [{"run": r["run"], "directory": r["directory"], **{k: r["parameters"].get(k) for k in keys}} for r in runs]
    return pd.DataFrame(rows, columns=["run", "directory", *keys])


@functools.cache
def _environment() -> dict[str, Any]:
    import torch

    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "code": {"fermoe": __version__, "commit": _commit()},
        "versions": {"python": platform.python_version(), **versions},
        "hardware": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpu": gpu,
        },
    }


def provenance() -> dict[str, Any]:
    """Code version, package versions and hardware of this process."""
    import torch

    environment = _environment()
    return {**environment, "hardware": {**environment["hardware"], "threads": torch.get_num_threads()}}


def _commit() -> str | None:
    """The checkout's commit, with "+" where tracked files were changed since; None outside a checkout."""
    command = ["git", "-C", str(PROJECT_ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def exclusive(path: str | Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs, so that two processes never write into one directory.

    Raises:
        UserError: another process holds it.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write ({reason})", where=path.parent, fix="choose another --out") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process works on {what}", where=path.parent, fix="wait for it, or choose another --out"
            ) from None
        yield


def running_in_notebook() -> bool:
    """Whether this is a Jupyter kernel: progress bars redraw badly in saved outputs."""
    return "ipykernel" in sys.modules
