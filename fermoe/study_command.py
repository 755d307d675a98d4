"""`fermoe study`: expand, check, run, summarise, rebuild."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click
from tqdm import tqdm

from fermoe.batches import load_data
from fermoe.datasets import load_dataset
from fermoe.files import PROJECT_ROOT, digest, write_json
from fermoe.report import write_report
from fermoe.runner import Outcome, Runner, default_workers
from fermoe.runs import exclusive, finished_runs
from fermoe.study import ANALYSES_BEFORE, MODEL, REPORT, TRAINING, Run, Study, expand, load_study, training_configs
from fermoe.tables import rebuild_tables


def default_out(study: Study) -> Path:
    """results/<study>; what a miniature learned from a real dataset says so in its folder's name."""
    suffix = "-miniature" if study.model == "miniature" and study.dataset != "synthetic" else ""
    return PROJECT_ROOT / "results" / (study.name + suffix)


def run_study(name: str, settings: Sequence[str], out: Path | None, workers: int | None, dry_run: bool) -> int:
    """Run a study and return the command's exit code: 0 done, 1 a run failed, 2 by the user's input, 130 stopped."""
    study = load_study(name, settings)
    directory = (out or default_out(study)).resolve()
    runs = expand(study, directory)
    load_dataset(study.dataset, study.root, skip_unreadable=study.skip_unreadable, **dict(study.dataset_options))
    if dry_run:
        for run in runs:
            click.echo(f"{'done' if run.done else 'to do':6} {run.id}")
        click.echo(f"{sum(run.done for run in runs)} of {len(runs)} runs are done in {directory}")
        return 0
    with exclusive(directory / "runs" / ".lock", "this study"), _sigterm_as_interrupt():
        write_json(directory / "runs" / "study.json", {"study": study.name, "runs": [run.id for run in runs]})
        try:
            _prepare_images(study)
            outcomes = _execute(study, runs, directory, workers or default_workers(study.threads))
        except KeyboardInterrupt:
            click.echo("\nstopped: what is done is kept, and the same command goes on from here", err=True)
            return 130
    return _summary(study, outcomes, directory)


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A polite kill ends the study as Ctrl-C does: children are stopped, what is done stays."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare_images(study: Study) -> None:
    """Crop and decode once, before any run: problems with images surface here, as one line."""
    prepared = set()
    for config in training_configs(study):
        crops = (config.crop, config.test_crop)
        if crops not in prepared:
            load_data(config)
            prepared.add(crops)


def _execute(study: Study, runs: list[Run], directory: Path, workers: int) -> list[Outcome]:
    """Three phases: trainings, the evidence that sees the tables of all of them, the report that sees all evidence."""
    reports = [run for run in runs if run.notebook == REPORT]
    first = [run for run in runs if run.notebook in (*ANALYSES_BEFORE, TRAINING)]
    first.sort(key=lambda run: run.notebook == MODEL)  # short, and nothing waits for it: it fills the last gap
    evidence = [run for run in runs if run not in first and run not in reports]
    evidence.reverse()  # robustness, the longest, comes last in the list: nothing should wait for it at the end
    runner, outcomes = Runner(workers, study.threads), []
    click.echo(f"{study.title}: {len(runs)} runs, {workers} at a time, into {_short(directory)}")
    with tqdm(total=len(runs), desc=study.name, unit="run", dynamic_ncols=True) as bar:
        for phase in (first, evidence, reports):
            if phase in (evidence, reports):
                rebuild_tables(directory)
                # What they show depends on the trainings and their own parameters: others make them stale.
                seen = [(r["run"], r["metrics"]) for r in finished_runs(directory)]
                phase = [dataclasses.replace(run, inputs=digest([seen, dict(run.parameters)])) for run in phase]
            done = [run for run in phase if run.done]
            todo = [run for run in phase if run not in done]
            bar.update(len(done))
            outcomes += [Outcome(run) for run in done]
            outcomes += runner.execute(todo, bar)
    rebuild_tables(directory)
    return outcomes


def _summary(study: Study, outcomes: list[Outcome], directory: Path) -> int:
    failed = [outcome for outcome in outcomes if outcome.error]
    fresh = sum(outcome.seconds > 0 and not outcome.error for outcome in outcomes)
    click.echo(f"\n{len(outcomes) - len(failed)} of {len(outcomes)} runs done ({fresh} of them now)")
    for outcome in failed:
        click.echo(f"failed {outcome.run.id}: {outcome.error}", err=True)
    click.echo(f"tables: {_short(directory / 'tables')}")
    report = directory / "report.html"
    for outcome in outcomes:
        if outcome.run.notebook == REPORT and not outcome.error:
            write_report(outcome.run.executed, report, study.title)
            click.echo(f"report: {_short(report)}")
    if not failed:
        return 0
    return 2 if all(outcome.user_error for outcome in failed) else 1


def _short(path: Path) -> Path:
    """Relative to the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
