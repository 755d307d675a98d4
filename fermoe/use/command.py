"""What `fermoe predict` and `fermoe export` do: ask or write a network, and say so in plain lines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from fermoe.errors import LONGEST, UserError, shortened
from fermoe.files import write_text
from fermoe.plots.style import class_name
from fermoe.use.pictures import Picture
from fermoe.use.predict import CORNERS, predict_pictures
from fermoe.use.trained import Trained, export_run, load_run, load_trained

DECIMALS = 8  # as in predictions.csv: float32 needs no more


def predict_command(
    paths: Sequence[str],
    run: str | None,
    weights: str | None,
    out: Path | None,
    as_json: bool,
    show: Path | None,
    every: int,
    batch_size: int,
) -> int:
    """Print or write what a network says of pictures; 2 where it could look at none of them, else 0."""
    if run is not None and weights is not None:
        raise UserError("both --run and --weights are given", fix="give one of them")
    trained = load_run(run) if run is not None else load_trained(weights)
    _introduce(trained)

    taken: set[Path] = set()

    def shown(pictures: Sequence[Picture], table: pd.DataFrame) -> None:
        from fermoe.use.drawn import write_drawn

        assert show is not None
        write_drawn(show, pictures, table, trained.about.labels, taken)

    found = predict_pictures(
        trained,
        paths,
        every=every,
        batch_size=batch_size,
        progress=sys.stderr.isatty(),
        shown=shown if show is not None else None,
    )
    for problem in found.problems:
        click.echo(f"fermoe: {shortened(problem, LONGEST)}", err=True)
    if found.table.empty:
        return 2
    content = as_lines(found.table, trained.about.labels) if as_json else as_csv(found.table)
    if out is None:
        click.echo(content.encode("utf-8", "surrogateescape"), nl=False)
    else:
        write_text(out, content)
    _summary(found.table, out, show)
    return 0


def _introduce(trained: Trained) -> None:
    about = trained.about
    click.echo(f"network {trained.name}: {about.accuracy} of its own test pictures right", err=True)
    if about.drawn:
        what = "this network was trained on drawn faces alone and knows nothing about photographs"
        click.echo(f"note: {what}: on one, its answer means nothing", err=True)


def as_csv(table: pd.DataFrame) -> str:
    """The table as a file holds it: probabilities with eight decimals."""
    return table.to_csv(index=False, float_format=f"%.{DECIMALS}f", lineterminator="\n")


def as_lines(table: pd.DataFrame, labels: Sequence[str]) -> str:
    """One JSON object a line and picture, numbers in full."""
    gates = [name for name in table if str(name).startswith("gate_")]
    mixtures = dict.fromkeys(str(name).removeprefix("gate_").rsplit("_", 1)[0] for name in gates)
    lines = []
    for row in table.to_dict("records"):
        value = {
            "file": row["file"],
            "frame": None if pd.isna(row["frame"]) else int(row["frame"]),
            "outcome": row["outcome"],
            "score": _number(row["score"]),
            "box": [int(row[corner]) for corner in CORNERS],
            "label": row["label"],
            "probabilities": {name: _number(row[f"p_{name}"]) for name in labels},
            "gates": {m: [_number(row[g]) for g in gates if str(g).rsplit("_", 1)[0] == f"gate_{m}"] for m in mixtures},
        }
        lines.append(json.dumps(value, ensure_ascii=False) + "\n")
    return "".join(lines)


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _summary(table: pd.DataFrame, out: Path | None, show: Path | None) -> None:
    counts = ", ".join(f"{class_name(str(label))} {n}" for label, n in table["label"].value_counts().items())
    click.echo(f"{len(table)} picture{'s' * (len(table) != 1)}: {counts}", err=True)
    missed = table.loc[table["outcome"].isin(["no face", "empty crop"]), "file"]
    if len(missed):
        more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
        what = f"no face was found in {shortened(missed.iloc[0], LONGEST)}{more}"
        click.echo(f"note: {what}: the network was shown the whole image, as in its training", err=True)
    for place in filter(None, (out, show)):
        click.echo(f"written to {place}", err=True)


def export_command(run: str, weights: Path | None, onnx: Path | None) -> int:
    """Write a finished run as files that travel; without a name for either, the weights into the current folder."""
    trained = load_run(run)
    if onnx is not None:
        from fermoe.use.onnx import export_onnx

        click.echo(f"{export_onnx(trained, onnx)}: {_size(onnx)}, {trained.size}×{trained.size}, ONNX")
    if weights is not None or onnx is None:
        path, card = export_run(trained, weights or Path(f"{trained.name}.safetensors"))
        click.echo(f"{path}: {_size(path)}\n{card}: its model card")
        click.echo(f"try it: fermoe predict PICTURE --weights {path}", err=True)
    return 0


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.2f} MB"
