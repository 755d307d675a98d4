"""How notebooks are executed, and whether one was.

python -m fermoe.study.notebooks notebooks/*.ipynb   makes the outputs again that the repository keeps

Little is imported here: every run of a study is a process that begins as a copy of one with this module in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from fermoe.files import checkout, notebooks_dir, write_text

CELL_TIMEOUT = 7 * 24 * 3600  # seconds; a training is one cell, and a dead kernel is noticed without it


def execute(notebook: str, executed: str, parameters: str) -> int:
    """Run a notebook with the parameters of a YAML file; 1 where a cell failed, which the executed notebook shows.

    What papermill's own command does, but for the end: the kernel is killed once its last cell is done. Every file is
    whole by then, and taking torch apart politely costs a second or two of each of a study's runs.
    """
    try:
        papermill.execute_notebook(
            notebook,
            executed,
            parameters=yaml.safe_load(Path(parameters).read_text(encoding="utf-8")),
            kernel_name="python3",
            cwd=str(checkout() or Path.cwd()),
            progress_bar=False,
            execution_timeout=CELL_TIMEOUT,
            shutdown_kernel="immediate",
            config=_kernel_config(),
        )
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def execute_apart(notebook: str, executed: str, parameters: str, log: str, environment: Mapping[str, str]) -> None:
    """`execute` as the whole of a process, in a session of its own; what it and its kernel say goes to the log."""
    if hasattr(os, "setsid"):
        os.setsid()
    if sys.platform == "linux":
        _die_with_parent()
    os.environ.update(environment)
    with open(log, "wb", buffering=0) as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    sys.exit(execute(notebook, executed, parameters))


def _die_with_parent() -> None:
    """On Linux, when the study is killed its runs get SIGTERM; their kernels watch for that themselves."""
    with contextlib.suppress(OSError):
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _kernel_config() -> Config:
    """On Linux the kernel is spoken to over sockets with a name of this process's own, which end with it.

    Kernels that start at once race for free TCP ports.
    """
    if sys.platform != "linux":
        return Config()
    return Config(KernelManager={"transport": "ipc", "ip": f"@fermoe-{os.getpid()}-{secrets.token_hex(4)}"})


def refresh(path: Path) -> None:
    """Execute one notebook in a fresh kernel with its default parameters and save it in place.

    What a second run would change without meaning is left out (execution times, the kernel's version), so that a diff
    of a notebook is a change of its results.
    """
    from nbclient import NotebookClient  # here: a study's runs do without it

    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(checkout() or Path.cwd())}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, resources=resources).execute()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    write_text(path, nbformat.writes(notebook) + "\n")


def parameters_of(notebook: str) -> set[str]:
    """The names in a notebook's cell tagged "parameters"."""
    return set(papermill.inspect_notebook(str(notebooks_dir() / f"{notebook}.ipynb")))


def is_whole(path: Path) -> bool:
    """Whether every code cell of an executed notebook ran, to the last, without an error."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except (OSError, ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError):
        return False
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    failed = any(output.output_type == "error" for cell in code for output in cell.outputs)
    return bool(code) and not failed and all(cell.execution_count is not None for cell in code)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        refresh(Path(name))
