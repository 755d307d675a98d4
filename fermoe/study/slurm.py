"""A study's runs on a Slurm cluster, through submitit: one job array for each stage.

The runs' own files stay the truth: a job says in its run's folder how it ended, and `squeue` only tells whether it is
still there; accounting (`sacct`) is not needed. A job that is gone without a word was ended by the cluster (its time
limit, preemption, a lost machine, `scancel`): its run is submitted again and goes on from its checkpoint. Jobs are
plain shell commands: nothing is pickled.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from fermoe.errors import UserError, shortened
from fermoe.files import digest
from fermoe.schema import checked, parse_yaml
from fermoe.study.plan import Run
from fermoe.study.progress import Progress
from fermoe.study.runner import Outcome, ended, environment_of, late, log_of, prepare, record
from fermoe.study.slurm_job import LATE, Task, write_tasks
from fermoe.training.runs import CHECKPOINT

TRIES = 3  # jobs of a run that may be ended by the cluster without a new checkpoint before the run has failed
LOOK = 2.0  # seconds between two looks at the runs' files
ASK = 5  # looks for each question to the cluster


@dataclass(frozen=True)
class SlurmConfig:
    """What every job asks the cluster for. Runs that do not end in `time` minutes go on in another job."""

    partition: Annotated[str, Field(min_length=1)] | None = None
    time: Annotated[int, Field(ge=1)] = 240
    gpus: Annotated[int, Field(ge=0)] = 0
    cpus: Annotated[int, Field(ge=0)] = 0  # 0: as many as a run has threads
    memory: Annotated[int, Field(ge=0)] = 0  # gigabytes; 0: what the cluster gives
    parallel: Annotated[int, Field(ge=1)] = 16
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None


def slurm_config(text: str) -> SlurmConfig:
    """`key=value,key=value` as the command line has it.

    Raises:
        UserError: something else, an unknown key or a wrong value.
    """
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            fix = "such as --slurm partition=gpu,time=120,gpus=1,parallel=8"
            raise UserError(f"--slurm '{shortened(part)}' is not key=value", fix=fix)
        try:
            values[key] = parse_yaml(value, "--slurm")
        except yaml.YAMLError:
            values[key] = value
        if key in ("partition", "account", "qos", "constraint"):
            values[key] = value  # may be called like a number
    return checked(SlurmConfig, values, where="--slurm")


@dataclass(frozen=True)
class _Job:
    """A run with the job that it has now."""

    run: Run
    id: str  # as squeue prints it: array, underscore, index; empty while it waits for room
    checkpoint: int  # when the run's checkpoint was written, as it was at submission
    fruitless: int = 0  # jobs before this one that ended without a word and without a newer checkpoint
    missing: bool = False  # at the last question; files of another machine may be seen later than its job's end

    @property
    def ended(self) -> Path:
        return _ended(self.run)


def _ended(run: Run) -> Path:
    return run.directory / "ended.json"


def _checkpoint(run: Run) -> int:
    with contextlib.suppress(OSError):
        return (run.directory / CHECKPOINT).stat().st_mtime_ns
    return 0


class SlurmRunner:
    """Executes runs as jobs, at most `parallel` at once, and goes on past a failed one.

    Jobs of the same study that a killed process left behind are cancelled first: their runs go on in new ones.
    """

    def __init__(self, folder: Path, config: SlurmConfig, threads: int = 0, timeout: float | None = None):
        """`folder` is the study's; each run takes `threads` and is stopped after `timeout` minutes of one job.

        Raises:
            UserError: submitit or Slurm's commands are not there.
        """
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise UserError("--slurm needs submitit", fix="pip install 'fermoe[slurm]'") from None
        for program in ("sbatch", "squeue", "scancel", "srun"):
            if shutil.which(program) is None:
                raise UserError(f"there is no '{program}' here", fix="start the study on a machine of a Slurm cluster")
        self.folder, self.config, self.timeout = folder / "slurm", config, timeout
        self.workers = config.parallel
        self.threads = threads or config.cpus or 1
        self.name = f"fermoe-{digest(str(folder.resolve()), 12)}"
        self.submitted = 0
        self.stop()
        while self._queue():
            time.sleep(LOOK / 4)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.executor = SlurmExecutor(self.folder)
        wanted = {
            "job_name": self.name,
            "partition": config.partition,
            "time": config.time,
            "gpus_per_node": config.gpus or None,
            "cpus_per_task": config.cpus or self.threads,
            "mem": f"{config.memory}GB" if config.memory else None,
            "account": config.account,
            "qos": config.qos,
            "constraint": config.constraint,
            "array_parallelism": config.parallel,
            "signal_delay_s": 0,  # a warning before the end of a job's time; a run has its checkpoint anyway
        }
        self.executor.update_parameters(**{key: value for key, value in wanted.items() if value is not None})

    def execute(self, runs: Sequence[Run], progress: Progress) -> list[Outcome]:
        """Execute runs that may run side by side; returns their outcomes in order."""
        outcomes: dict[str, Outcome] = {}
        try:
            jobs = self._submit([_Job(run, "", 0) for run in runs])
            look = 0
            while jobs:
                time.sleep(LOOK)
                look += 1
                jobs = [job for job in jobs if not self._finished(job, outcomes, progress)]
                if look % ASK == 0:
                    jobs = self._missing(jobs, outcomes, progress)
        except BaseException:
            self.stop()
            raise
        return [outcomes[run.id] for run in runs]

    def stop(self) -> None:
        """Cancel the study's jobs; what they finished stays."""
        ours = ["--user", getpass.getuser(), "--name", self.name]
        subprocess.run(["scancel", *ours], capture_output=True, check=False)

    def _submit(self, jobs: Sequence[_Job]) -> list[_Job]:
        """The same runs with their new jobs, all of one array."""
        if not jobs:
            return []
        tasks = [Task(*prepare(job.run), str(job.ended), self.timeout, environment_of(self.threads)) for job in jobs]
        for job in jobs:
            job.ended.unlink(missing_ok=True)
        self.submitted += 1
        listing = self.folder / f"tasks-{self.submitted}.json"
        write_tasks(listing, tasks)
        command = [sys.executable, "-m", "fermoe.study.slurm_job", str(listing)]
        self.executor.parameters["map_count"] = len(jobs)  # makes it an array
        array = self._sbatch(shlex.join(command))
        return [
            replace(job, id=f"{array}_{index}", checkpoint=_checkpoint(job.run), missing=False)
            for index, job in enumerate(jobs)
        ]

    def _sbatch(self, command: str) -> str:
        from submitit.core.utils import FailedJobError

        try:
            return str(self.executor._submit_command(command).job_id)  # submitit's way for a command without pickles
        except (FailedJobError, OSError, subprocess.SubprocessError) as error:
            lines = [line for line in str(error).splitlines() if "error" in line.lower()] or [str(error)]
            what = f"the cluster takes no job ({shortened(lines[-1], 200)})"
            raise UserError(what, where=self.folder, fix="correct --slurm, or ask who runs the cluster") from None

    def _queue(self) -> dict[str, str] | None:
        """The state of each of the study's jobs that are there, by id; None where the cluster gives no answer."""
        command = ["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--name", self.name]
        done = subprocess.run([*command, "--format", "%F_%K %T"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return None
        return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)

    def _finished(self, job: _Job, outcomes: dict[str, Outcome], progress: Progress) -> bool:
        """Whether the job has said how it ended; then that is its run's outcome."""
        try:
            said = json.loads(job.ended.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        code = int(said["code"])
        outcome = late(job.run, self.timeout or 0) if code == LATE else ended(job.run, code)
        self._end(replace(outcome, seconds=float(said["seconds"])), outcomes, progress)
        return True

    def _missing(self, jobs: list[_Job], outcomes: dict[str, Outcome], progress: Progress) -> list[_Job]:
        """The jobs that are still there, with new ones for those that the cluster ended, as far as there is room.

        Each array limits its own jobs alone.
        """
        queue = self._queue()
        if queue is None:
            return jobs  # it may be down for a while; its jobs are not
        counts = Counter(queue.get(job.id, "gone" if job.id else "waiting") for job in jobs)
        progress.position(", ".join(f"{count} {state.lower()}" for state, count in counts.items()))
        kept, again = [], []
        for job in jobs:
            if not job.id:
                again.append(job)
            elif job.id in queue:
                kept.append(replace(job, missing=False))
            elif not job.missing:
                kept.append(replace(job, missing=True))
            else:
                newer = _checkpoint(job.run) > job.checkpoint
                fruitless = 0 if newer else job.fruitless + 1
                log = self.folder / f"{job.id}_0_log.err"
                if fruitless >= TRIES:
                    what = f"the cluster ended its job {fruitless} times without a new checkpoint"
                    self._end(Outcome(job.run, f"{what} (see {log} and {log_of(job.run)})"), outcomes, progress)
                else:
                    progress.say(f"  again {job.run.id}: the cluster ended its job (see {log})")
                    again.append(replace(job, id="", fruitless=fruitless))
        room = max(0, self.config.parallel - len(kept))
        return kept + self._submit(again[:room]) + again[room:]

    def _end(self, outcome: Outcome, outcomes: dict[str, Outcome], progress: Progress) -> None:
        outcomes[outcome.run.id] = outcome
        _ended(outcome.run).unlink(missing_ok=True)
        record(outcome, progress)
