"""A study's tables, rebuilt from its finished runs alone: no times, no dates, no host names.

Everything random here is seeded by what it computes, so equal runs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fermoe.evidence import experts, grad_cam, robustness
from fermoe.evidence.ablation import ablation_table
from fermoe.evidence.accuracy import accuracy_table
from fermoe.evidence.leaks import leak_table
from fermoe.evidence.robustness import read_outcomes, robustness_table
from fermoe.evidence.selection import selection_table
from fermoe.files import write_csv
from fermoe.paper.claims import claims_table
from fermoe.training.runs import finished_runs, read_result

TABLES = (
    "accuracy", "ablation", "crops", "leaked_images", "leaks", "selection", "experts", "grad_cam", "robustness",
    "claims",
)  # fmt: skip


def read_tables(study: str | Path) -> dict[str, pd.DataFrame]:
    """The tables a study has, by name."""
    paths = {name: Path(study) / "tables" / f"{name}.csv" for name in TABLES}
    return {
        name: pd.read_csv(path, keep_default_na=False, na_values=[""]) for name, path in paths.items() if path.exists()
    }


def _from_answers(folder: Path, runs: Sequence[dict[str, Any]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables for which notebooks 06, 07 and 09 left the networks' answers, but for answers of other trainings."""
    names = {run["run"] for run in runs}
    path = folder / robustness.NOTEBOOK / "outcomes.npz"
    if path.exists():
        outcomes = read_outcomes(path)
        if set(outcomes.runs) <= names:
            yield "robustness", robustness_table(outcomes, runs)
    path, result = folder / experts.NOTEBOOK / "outcomes.npz", read_result(folder / experts.NOTEBOOK)
    if path.exists() and result:
        answers = experts.read_answers(path)
        if answers.keys() <= names:
            settings = (result["parameters"][key] for key in ("permutations", "seed"))
            yield "experts", experts.expert_table(runs, answers, *settings)
    path, result = folder / grad_cam.NOTEBOOK / "outcomes.npz", read_result(folder / grad_cam.NOTEBOOK)
    if path.exists() and result:
        evidence = grad_cam.read_evidence(path)
        if {item.run["run"] for item in evidence} <= names:
            yield "grad_cam", grad_cam.grad_cam_table(evidence, result["parameters"]["seed"])


def rebuild_tables(study: str | Path) -> dict[str, pd.DataFrame]:
    """Write what follows from the finished runs' predictions and kept answers, and the claims.

    The tables about the data alone, crops and leaked_images, are notebook 02's and 01's.
    """
    folder = Path(study) / "tables"
    runs = finished_runs(study)
    write_csv(folder / "accuracy.csv", accuracy_table(runs))
    write_csv(folder / "ablation.csv", ablation_table(runs))
    write_csv(folder / "selection.csv", selection_table(runs))
    leaked = read_tables(study).get("leaked_images")
    if leaked is not None:  # notebook 01 has looked
        write_csv(folder / "leaks.csv", leak_table(runs, leaked))
    for name, table in _from_answers(Path(study) / "runs", runs):
        write_csv(folder / f"{name}.csv", table)
    tables = read_tables(study)
    write_csv(folder / "claims.csv", claims_table({k: v for k, v in tables.items() if k != "claims"}))
    return read_tables(study)
