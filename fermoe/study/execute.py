"""One run of a study, in a process of its own: `python -m fermoe.study.execute NOTEBOOK EXECUTED PARAMETERS.yaml`.

What papermill's own command does, but for the end: the kernel is killed once its last cell is done. Every file is
whole by then, and taking torch apart politely costs a second or two of each of a study's runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from fermoe.files import PROJECT_ROOT

CELL_TIMEOUT = 7 * 24 * 3600  # seconds; a training is one cell, and a dead kernel is noticed without it


def execute(notebook: str, executed: str, parameters: str) -> int:
    """Run a notebook with the parameters of a YAML file; 1 where a cell failed, which the executed notebook shows."""
    values = yaml.safe_load(Path(parameters).read_text(encoding="utf-8"))
    try:
        papermill.execute_notebook(
            notebook,
            executed,
            parameters=values,
            kernel_name="python3",
            cwd=str(PROJECT_ROOT),
            progress_bar=False,
            execution_timeout=CELL_TIMEOUT,
            shutdown_kernel="immediate",
        )
    except PapermillExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(execute(*sys.argv[1:]))
