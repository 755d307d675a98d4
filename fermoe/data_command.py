"""`fermoe data check` and `fermoe crop`: what a dataset holds, and what cropping does to it."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from fermoe.audit import DatasetReport, check_dataset
from fermoe.crop_study import detection_table
from fermoe.datasets import DATASETS, load_dataset
from fermoe.errors import UserError
from fermoe.faces import detect_faces
from fermoe.files import PROJECT_ROOT, write_csv

SHOWN = 5  # of a long list; the count tells the rest


def check_data(name: str, root: Path | None, skip_unreadable: bool, perceptual: bool) -> int:
    """Print the audit of a dataset; 1 where its counts differ from the published ones, else 0.

    Raises:
        UserError: the dataset cannot be listed, or holds unreadable images and `skip_unreadable` is not set.
    """
    table = load_dataset(name, root, skip_unreadable=skip_unreadable)
    report = check_dataset(table, perceptual=perceptual)
    bad = [*report.missing, *report.unreadable]
    if bad and not skip_unreadable:
        raise UserError(
            f"{len(bad)} of {len(table)} images cannot be read, the first: {bad[0]}",
            where=root,
            fix="replace them, or leave them out with --skip-unreadable",
        )
    title = DATASETS[name].title if name in DATASETS else "synthetic faces"
    click.echo(f"{title}: {len(table)} images" + (f" in {root}" if root else ""))
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
            click.echo(f"  {line}")
        if len(lines) > SHOWN:
            click.echo(f"  … and {len(lines) - SHOWN} more")


def crop_data(name: str, root: Path | None, out: Path | None, workers: int | None, skip_unreadable: bool) -> int:
    """Detect every face of a dataset once, print what came of it, write crops.csv and train-test duplicates."""
    table = load_dataset(name, root, skip_unreadable=skip_unreadable)
    detections = detect_faces(table, workers=workers)
    crops = detection_table(table, detections)
    folder = (out or PROJECT_ROOT / "results" / name) / "tables"
    write_csv(folder / "crops.csv", crops)
    report = check_dataset(table, perceptual=True)
    write_csv(folder / "duplicates.csv", report.summary)
    click.echo(crops.round(4).to_string(index=False))
    _show_twins(report)
    click.echo(f"\ntables: {folder}")
    return 0
