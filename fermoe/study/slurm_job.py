"""One run as a job of a Slurm cluster: python -m fermoe.study.slurm_job TASKS.json, as a task of a job array.

It writes how it ended into its run's folder; a job that was ended by the cluster writes nothing and is begun again.
Little is imported here: every run is a process that begins with this.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from fermoe.files import temporary_prefix, write_json
from fermoe.study.notebooks import execute

LATE = 124
"""The code of a run that was stopped after its time, as the command `timeout` has it."""


@dataclass(frozen=True)
class Task:
    """A run as its job sees it: files by name, minutes that it may take, and what its environment adds."""

    notebook: str
    executed: str
    parameters: str
    log: str
    ended: str
    timeout: float | None
    environment: dict[str, str]


def write_tasks(path: Path, tasks: list[Task]) -> None:
    """The tasks of an array, by index."""
    write_json(path, [asdict(task) for task in tasks])


def run_task(task: Task) -> None:
    """Execute the run's notebook in this process and write how it ended: its code, and the seconds that it took."""
    started = time.perf_counter()

    def finish(code: int) -> None:
        write_json(task.ended, {"code": code, "seconds": round(time.perf_counter() - started, 1)})

    def leave(number: int, frame: FrameType | None) -> Any:
        """The kernel has a session of its own and must be ended first, or it writes beside the run's next job."""
        for child in psutil.Process().children(recursive=True):
            child.kill()
        for path in Path(task.executed).parent.glob(f"{temporary_prefix('kernel')}*"):
            path.unlink(missing_ok=True)
        if number == signal.SIGALRM:
            finish(LATE)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGALRM):  # the cluster ends the job; the run is out of time
        signal.signal(number, leave)
    # submitit lets the cluster send it 90 seconds before the job's time is over, which the run can use.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 60 * (task.timeout or 0))
    os.environ.update(task.environment)
    with open(task.log, "wb", buffering=0) as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    code = 1
    try:
        code = execute(task.notebook, task.executed, task.parameters)
    finally:
        finish(code)


if __name__ == "__main__":
    tasks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    run_task(Task(**tasks[int(os.environ["SLURM_ARRAY_TASK_ID"])]))
