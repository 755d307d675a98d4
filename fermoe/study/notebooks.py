"""How notebooks are executed, and whether one was.

python -m fermoe.study.notebooks notebooks/*.ipynb   makes the outputs again that the repository keeps

Little is imported here: papermill and nbformat take seconds, which a list of runs does without.
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import multiprocessing.connection
import os
import secrets
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fermoe.files import checkout, notebooks_dir, temporary_prefix, write_text

CELL_TIMEOUT = 7 * 24 * 3600  # seconds; a training is one cell, and a dead kernel is noticed without it


def execute(notebook: str, executed: str, parameters: str) -> int:
    """Run a notebook with the parameters of a YAML file; 1 where a cell failed, which the executed notebook shows.

    What papermill's own command does, but for the end: the kernel is killed once its last cell is done. Every file is
    whole by then, and taking torch apart politely costs a second or two of each of a study's runs.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

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
            config=_kernel_config(Path(executed)),
        )
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def execute_apart(notebook: str, executed: str, parameters: str, log: str, environment: Mapping[str, str]) -> None:
    """`execute` as the whole of a process, in a session of its own; what it and its kernel say goes to the log."""
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    os.environ.update(environment)
    with open(log, "wb", buffering=0) as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    sys.exit(execute(notebook, executed, parameters))


def _end_with_the_study() -> None:
    """When the study is killed its runs get SIGTERM, and their kernels watch for that themselves.

    The parent that the system knows is the server they are forked from, which lives for as long as any of them.
    """
    if study := multiprocessing.parent_process():
        multiprocessing.connection.wait([study.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _kernel_config(executed: Path) -> Any:
    """How the kernel is spoken to: by a file beside the executed notebook, temporary as any other.

    On Linux over sockets with a name of this process's own, which end with it: kernels that start at once race for
    free TCP ports.
    """
    from traitlets.config import Config

    name = f"{temporary_prefix('kernel')}{secrets.token_hex(4)}"
    manager = {"connection_file": str(executed.with_name(name))}
    if sys.platform == "linux":
        manager |= {"transport": "ipc", "ip": f"@fermoe-{os.getpid()}-{secrets.token_hex(4)}"}
    return Config(KernelManager=manager)


def refresh(path: Path) -> None:
    """Execute one notebook in a fresh kernel with its default parameters and save it in place.

    What a second run would change without meaning is left out (execution times, the kernel's version), so that a diff
    of a notebook is a change of its results.
    """
    import nbformat
    from nbclient import NotebookClient  # here: a study's runs do without it

    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(checkout() or Path.cwd())}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, resources=resources).execute()
    _leave_out_widgets(notebook)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    write_text(path, nbformat.writes(notebook) + "\n")


def _leave_out_widgets(notebook: Any) -> None:
    """Widgets end with their kernel; what they say of themselves in words stays."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def parameters_of(notebook: str) -> set[str]:
    """The names that are given values in a notebook's cell tagged "parameters"."""
    for cell in _code_cells(notebooks_dir() / f"{notebook}.ipynb"):
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            return {name for statement in ast.parse(_source(cell)).body for name in _assigned(statement)}
    return set()


def _assigned(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.AnnAssign):
        targets: list[ast.expr] = [statement.target]
    else:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def is_whole(path: Path) -> bool:
    """Whether every code cell of an executed notebook ran, to the last, without an error."""
    try:
        code = [cell for cell in _code_cells(path) if _source(cell).strip()]
        return bool(code) and all(cell["execution_count"] is not None and not _errors(cell) for cell in code)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def errors_of(path: Path) -> list[tuple[str, str]]:
    """The kind and the words of every error that stopped an executed notebook; none where it cannot be read."""
    try:
        return [error for cell in _code_cells(path) for error in _errors(cell)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _code_cells(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def _source(cell: Mapping[str, Any]) -> str:
    return "".join(cell["source"])  # a text, or its lines


def _errors(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
    errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
    return [(str(error["ename"]), str(error["evalue"])) for error in errors]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        refresh(Path(name))
