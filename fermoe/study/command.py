"""What the commands do: run a study, check a dataset, detect its faces, prepare its images."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click
import pandas as pd

from fermoe.data.arrays import pixels
from fermoe.data.datasets import DATASETS, load_dataset
from fermoe.data.faces import detect_faces
from fermoe.errors import LONGEST, UserError, shortened
from fermoe.evidence.crops import detection_table
from fermoe.files import (
    exclusive,
    extract,
    keep_temporary_files_together,
    remove_abandoned,
    results_dir,
    write_csv,
    write_json,
)
from fermoe.network.model import ModelConfig
from fermoe.study.archive import packed_runs, unpack
from fermoe.study.changes import refuse_changed
from fermoe.study.plan import Run, Study, expand, load_study, phases, training_configs, with_inputs
from fermoe.study.progress import Progress
from fermoe.study.runner import Outcome, Place, Runner, default_workers
from fermoe.study.slurm import SlurmRunner, slurm_config
from fermoe.study.tables import TABLES, rebuild_tables
from fermoe.training.distributed import is_first
from fermoe.training.feed import load_data
from fermoe.training.runs import RESULT, read_result
from fermoe.training.train import train

if TYPE_CHECKING:
    from fermoe.data.audit import DatasetReport


def default_out(study: Study) -> Path:
    """results/<study>; what another network than the paper's learned from a real dataset says so in its name."""
    scaled = DATASETS[study.dataset].load is not None and study.model != "paper"
    suffix = f"-{study.model}" if scaled and study.model not in study.name.split("-") else ""
    return results_dir() / (study.name + suffix)


def run_study(
    name: str,
    settings: Sequence[str],
    out: Path | None,
    workers: int | None,
    dry_run: bool,
    retry_failed: bool = False,
    slurm: str | None = None,
    quiet: bool = False,
    packed: bool = False,
) -> int:
    """Run a study and return the command's exit code: 0 done, 1 a run failed, 2 by the user's input, 130 stopped.

    With `retry_failed` no training is begun but those that failed before; what follows from them is made again.
    With `slurm` the runs are jobs of a cluster, and it says what they ask for (`fermoe.study.slurm.SlurmConfig`).
    With `quiet` nothing is said but what failed. With `packed` the trainings in the study's packs are not repeated, nor
    are analyses that would ask their networks, which are not here: other commits and machines made them.
    """
    study = load_study(name, settings)
    cluster = None if slurm is None else slurm_config(slurm)
    directory = (out or default_out(study)).resolve()
    runs = expand(study, directory)
    dataset = load_dataset(
        study.dataset, study.root, skip_unreadable=study.skip_unreadable, **dict(study.dataset_options)
    )
    kept = packed_runs(directory) if packed else set()
    if dry_run:
        _list_runs(runs, directory, kept)
        return 0
    _refuse_occupied(directory, runs)
    keep_temporary_files_together()
    with exclusive(directory / "runs" / ".lock", "this study"), _sigterm_as_interrupt():
        if packed:
            unpack(directory)
        refuse_changed(dataset, directory / "runs", "give the same files as before, or choose another --out")
        write_json(directory / "runs" / "study.json", {"study": study.name, "runs": [run.id for run in runs]})
        seconds: dict[str, float] = {}
        try:
            place: Place
            if cluster is not None:
                place = SlurmRunner(directory, cluster, study.threads, study.timeout)
            else:
                place = Runner(workers or default_workers(study.threads), study.threads, study.timeout)
            with _timed(seconds, "images"):
                _prepare_images(study, not quiet and sys.stderr.isatty())
            with Progress(len(runs), study.name, quiet) as progress:
                progress.say(f"{study.title}: {len(runs)} runs, {place.workers} at a time, into {_short(directory)}")
                outcomes = _execute(runs, directory, place, retry_failed, seconds, progress, kept)
        except KeyboardInterrupt:
            click.echo("\nstopped: what is done is kept, and the same command goes on from here", err=True)
            return 130
        finally:
            for folder in (directory, directory / "tables", directory / "figures", *(run.directory for run in runs)):
                remove_abandoned(folder)  # of an earlier start that was killed, in a run that it finished
    return _summary(study, outcomes, len(runs), directory, seconds, quiet)


def _refuse_occupied(directory: Path, runs: list[Run]) -> None:
    """A file where the study needs a folder, or a folder where it writes a file, is said before anything runs."""
    folders = [directory / name for name in ("runs", "tables", "figures")] + [run.directory for run in runs]
    files = [directory / "report.html", *(directory / "tables" / f"{table.name}.csv" for table in TABLES)]
    files += [path for run in runs for path in (run.executed, run.directory / RESULT)]
    for path in folders:
        if path.exists() and not path.is_dir():
            what = f"'{path.name}' is a file, and the study needs a folder of that name"
            raise UserError(what, where=path.parent, fix="move it away, or choose another --out")
    for path in files:
        if path.is_dir():
            what = f"'{path.name}' is a folder, and the study writes a file of that name"
            raise UserError(what, where=path.parent, fix="move it away, or choose another --out")


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


@contextlib.contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add how long the block took to the phase's seconds."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - started


def _prepare_images(study: Study, progress: bool) -> None:
    """Crop and decode once, before any run: problems with images surface here, as one line."""
    prepared = set()
    for config in training_configs(study):
        crops = (config.crop, config.test_crop)
        if crops not in prepared:
            load_data(config, progress=progress)
            prepared.add(crops)


def _execute(
    runs: list[Run],
    directory: Path,
    place: Place,
    retry_failed: bool,
    seconds: dict[str, float],
    progress: Progress,
    kept: Collection[str],
) -> list[Outcome]:
    """Phase by phase; the tables are made anew before a phase that reads them, and at the end.

    `seconds` is told how long each phase took, by the clock. Of the runs `kept` in a pack the result is enough.
    """
    outcomes: list[Outcome] = []
    for name, phase in phases(runs).items():
        if name != "trainings":
            with _timed(seconds, "tables"):
                rebuild_tables(directory, progress.say)
            phase = with_inputs(phase, runs, directory)
        done = [run for run in phase if run.done or _from_pack(run, kept)]
        todo = [run for run in phase if run not in done]
        if retry_failed and name == "trainings":
            todo = [run for run in todo if run.failure.exists()]
        progress.found(len(done))
        outcomes += [Outcome(run) for run in done]
        with _timed(seconds, name):
            outcomes += place.execute(todo, progress)
    if not phases(runs)["report"]:  # which changes no table, and before which they were made anew
        with _timed(seconds, "tables"):
            rebuild_tables(directory, progress.say)
    return outcomes


def _list_runs(runs: list[Run], directory: Path, kept: Collection[str]) -> None:
    """What is done and what would run: whatever waits for a run that is to be made is to be made again."""
    done: dict[str, bool] = {}
    for name, phase in phases(runs).items():
        waits = not all(done.values())
        looked_at = phase if name == "trainings" else with_inputs(phase, runs, directory)
        done |= {run.id: run.done and not waits for run in looked_at}
        done |= {run.id: True for run in phase if _from_pack(run, kept)}
    for run in runs:
        click.echo(f"{'done' if done[run.id] else 'to do':6} {run.id}")
    click.echo(f"{sum(done.values())} of {len(runs)} runs are done in {directory}")


def _from_pack(run: Run, kept: Collection[str]) -> bool:
    """Whether a run `kept` in a pack is taken from there: not where it is here without a result."""
    return run.id in kept and (not run.directory.exists() or read_result(run.directory) is not None)


def _summary(
    study: Study, outcomes: list[Outcome], runs: int, directory: Path, seconds: dict[str, float], quiet: bool
) -> int:
    from fermoe.study.page import write_index, write_report  # here: --dry-run does without figures and templates

    failed = [outcome for outcome in outcomes if outcome.error]
    fresh = sum(outcome.seconds > 0 and not outcome.error for outcome in outcomes)
    said = [f"\n{len(outcomes) - len(failed)} of {runs} runs done ({fresh} of them now)"]
    said += ["time: " + ", ".join(f"{phase} {spent:.0f} s" for phase, spent in seconds.items())]
    said += [f"tables: {_short(directory / 'tables')}"]
    if (directory / "tables" / "claims.csv").exists():
        said += [f"report: {_short(write_report(directory, study.title))}"]
        if directory.parent == results_dir():
            said += [f"all studies: {_short(write_index()[0])}"]
    if not quiet:
        click.echo("\n".join(said))
    for outcome in failed:
        click.echo(f"failed {outcome.run.id}: {outcome.error}", err=True)
    if not failed:
        return 0
    return 2 if all(outcome.user_error for outcome in failed) else 1


def _short(path: Path) -> Path:
    """Relative to the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def train_run(name: str, run: str, settings: Sequence[str], out: Path | None) -> int:
    """Train one run of a study, under torchrun in several processes; returns the command's exit code.

    Raises:
        UserError: the study has no such training.
    """
    study = load_study(name, settings)
    configs = {config.run_id: config for config in training_configs(study)}
    if run not in configs:
        fix = f"see fermoe study {name} --dry-run, such as {next(iter(configs))}"
        raise UserError(f"the study has no training '{shortened(run)}'", fix=fix)
    result = train(configs[run], (out or default_out(study)).resolve() / "runs" / run)
    if is_first():
        click.echo(f"{run}: test accuracy {100 * result['metrics']['test']['accuracy']:.1f} %")
    return 0


SHOWN = 5  # of a long list; the count tells the rest


def check_data(name: str, root: Path | None, skip_unreadable: bool, perceptual: bool) -> int:
    """Print the audit of a dataset; 1 where its counts differ from the published ones, else 0.

    Raises:
        UserError: the dataset cannot be listed, or holds unreadable images and `skip_unreadable` is not set.
    """
    from fermoe.data.audit import check_dataset

    dataset = load_dataset(name, root, skip_unreadable=skip_unreadable)
    report = check_dataset(dataset, perceptual=perceptual)
    bad = [*report.missing, *report.unreadable]
    if bad and not skip_unreadable:
        raise UserError(
            f"{len(bad)} of {len(dataset)} images cannot be read, the first: {bad[0]}",
            where=root,
            fix="replace them, or leave them out with --skip-unreadable",
        )
    click.echo(f"{DATASETS[name].title}: {len(dataset)} images" + (f" in {root}" if root else ""))
    click.echo("\n" + _counts(report.counts))
    if report.usage is not None:
        click.echo("\nby FER-2013's own split (from the file names)\n" + report.usage.to_string(index=False))
    _list("missing", report.missing)
    _list("unreadable", report.unreadable)
    _show_twins(report)
    if report.matches_published is None:
        click.echo("\nno published counts to compare with")
        return 0
    click.echo(f"\ncounts {'equal' if report.matches_published else 'DIFFER FROM'} the published ones")
    return 0 if report.matches_published else 1


def _counts(counts: pd.DataFrame) -> str:
    known = counts.dropna(axis=1, how="all")
    totals = known.groupby("split", sort=False).sum(numeric_only=True).reset_index()
    both = pd.concat([known, totals.assign(label="all")], ignore_index=True)
    whole = {c: "int64" for c in both.columns if both[c].dtype.kind == "f" and both[c].notna().all()}
    return both.astype(whole).to_string(index=False)


def _show_twins(report: DatasetReport) -> None:
    click.echo("\nimages with a twin, and how many agree in label with all their twins")
    click.echo(report.summary.to_string(index=False))


def _list(title: str, lines: list[str]) -> None:
    if lines:
        click.echo(f"\n{len(lines)} {title}")
        for line in lines[:SHOWN]:
            click.echo(f"  {shortened(line, LONGEST)}")
        if len(lines) > SHOWN:
            click.echo(f"  … and {len(lines) - SHOWN} more")


def crop_data(name: str, root: Path | None, out: Path | None, workers: int | None, skip_unreadable: bool) -> int:
    """Detect every face of a dataset once, print what came of it, write crops.csv and train-test duplicates."""
    from fermoe.data.audit import check_dataset

    dataset = load_dataset(name, root, skip_unreadable=skip_unreadable)
    detections = detect_faces(dataset, workers=workers)
    crops = detection_table(dataset, detections)
    folder = (out or results_dir() / name) / "tables"
    write_csv(folder / "crops.csv", crops)
    report = check_dataset(dataset, perceptual=True)
    write_csv(folder / "duplicates.csv", report.summary)
    click.echo(crops.round(4).to_string(index=False))
    _show_twins(report)
    click.echo(f"\ntables: {folder}")
    return 0


def prepare_data(name: str, root: Path, archive: Path | None, crops: tuple[str, ...], model: str) -> int:
    """Extract where an archive is given, then make the arrays of each crop at the model's image size."""
    if archive is not None:
        extract(archive, root)
    dataset = load_dataset(name, root)
    size = ModelConfig.named(model, num_classes=len(dataset.labels)).image_size
    click.echo(f"{len(dataset)} images in {root}")
    for crop in crops:
        array = pixels(dataset, crop, size)
        click.echo(f"{crop}: {array.shape[2]}×{array.shape[3]}, {array.nbytes / 1e6:.0f} MB")
    return 0
