"""What `fermoe import` and `fermoe baseline` do: set another model beside a study's networks, on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from fermoe.data.datasets import Dataset, check_options
from fermoe.errors import UserError
from fermoe.evidence import beside
from fermoe.files import exclusive, write_csv
from fermoe.metrics import metric_intervals
from fermoe.study.archive import packs, unpack
from fermoe.training.baseline import baseline
from fermoe.training.feed import dataset_of
from fermoe.training.foreign import Answers, ForeignRun, read_answers, write_foreign
from fermoe.training.predictions import confusion_table
from fermoe.training.runs import StudyResults, finished_runs


def import_predictions(name: str, path: Path, dataset_name: str, root: Path | None, study: Path) -> int:
    """Set the answers of a CSV beside a study's networks; returns the command's exit code.

    Raises:
        UserError: the study, the dataset or the CSV cannot be used.
    """
    dataset = _dataset(dataset_name, root, study)
    return _stand_beside(study, name, dataset, read_answers(path, dataset, root), {"file": path.name})


def run_baseline(kind: str, dataset_name: str, root: Path | None, study: Path) -> int:
    """Train a baseline and set it beside a study's networks; returns the command's exit code."""
    train = baseline(kind)
    dataset = _dataset(dataset_name, root, study)
    answers, how = train(dataset, click.echo)
    return _stand_beside(study, kind, dataset, answers, how)


def _dataset(name: str, root: Path | None, study: Path) -> Dataset:
    """The dataset as the study's networks saw it: drawn faces have options, which its runs name."""
    check_options(name, {})
    if not study.is_dir():
        raise UserError("no such study", where=study, fix="give its folder, or its name in results/")
    with exclusive(study / "runs" / ".lock", "this study"):
        if packs(study):
            unpack(study)
    runs = finished_runs(study)
    if not runs:
        raise UserError("no finished training to stand beside", where=study, fix="run the study first")
    config = runs[0].config
    if config.dataset != name:
        what = f"the study is about '{config.dataset}', not '{name}'"
        raise UserError(what, where=study, fix=f"give --dataset {config.dataset}, or another study")
    return dataset_of(replace(config, root=None if root is None else str(root)))


def _stand_beside(study: Path, name: str, dataset: Dataset, answers: Answers, source: Mapping[str, Any]) -> int:
    with exclusive(study / "runs" / ".lock", "this study"):
        run = write_foreign(study, name, dataset, answers, dict(source))
        table = beside.TABLE.rebuild(StudyResults(study))
        assert table is not None  # there is one other model at least
        write_csv(study / "tables" / "beside.csv", table)
    _show(run, table[table["other"] == name])
    click.echo(f"run: {run.directory}\ntable: {study / 'tables' / 'beside.csv'}")
    return 0


def _show(run: ForeignRun, rows: pd.DataFrame) -> None:
    """The model's own measures, and what it is beside the full network, where the two saw the same images."""
    twins = int(run.twins.sum())
    click.echo(
        f"{run.name}: {len(run.predictions)} test images, {twins} of them are training images of {run.dataset} too"
    )
    if rows.empty:
        counts = confusion_table(run.predictions).to_numpy()
        for row in metric_intervals(counts, np.random.default_rng(0)).itertuples():
            click.echo(f"  {row.metric:17} {100 * row.value:6.2f} % [{100 * row.low:.2f}, {100 * row.high:.2f}]")
        click.echo("  the study has no full network that was tested on the same images: nothing stands beside it")
        return
    click.echo("  the model's own value, and its difference to the full network's, in points:")
    for row in rows.to_dict("records"):
        over_all = math.isfinite(row["crossed_low"])
        low, high = (row["crossed_low"], row["crossed_high"]) if over_all else (row["ci_low"], row["ci_high"])
        what = f"over images and {row['seeds']} trainings" if over_all else "over images alone"
        click.echo(
            f"  {row['test_images']:13} {row['measure']:17} {100 * row['value']:6.2f} % "
            f"[{100 * row['low']:.2f}, {100 * row['high']:.2f}] "
            f"{100 * row['difference']:+6.2f} [{100 * low:+.2f}, {100 * high:+.2f}] {what}"
        )
