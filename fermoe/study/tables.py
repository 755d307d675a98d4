"""The registry of a study's tables, rebuilt from its finished runs alone: no times, no dates, no host names.

Each module of evidence declares its own table; here they stand in the order in which one needs the other. Everything
random in them is seeded by what it computes, so equal runs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fermoe.evidence import (
    ablation,
    accuracy,
    beside,
    crops,
    curves,
    experts,
    grad_cam,
    imbalance,
    leaks,
    robustness,
    selection,
)
from fermoe.evidence.table import OtherRuns, Table
from fermoe.files import write_csv
from fermoe.paper.claims import COLUMNS as CLAIM_COLUMNS
from fermoe.paper.claims import claims_table
from fermoe.training.runs import StudyResults

EVIDENCE = (
    accuracy.TABLE,
    ablation.TABLE,
    beside.TABLE,
    crops.TABLE,
    leaks.LEAKED_IMAGES,
    leaks.TABLE,
    selection.TABLE,
    curves.TABLE,
    imbalance.TABLE,
    experts.TABLE,
    grad_cam.TABLE,
    robustness.TABLE,
    robustness.MEANS,
)
"""A new table is one entry here: it is then rebuilt, packed with its answers, cited and printed like the others."""

CLAIMS = Table("claims", CLAIM_COLUMNS, lambda study, _: claims_table(evidence_of(study)))
TABLES = (*EVIDENCE, CLAIMS)


def evidence_of(study: StudyResults) -> dict[str, pd.DataFrame]:
    """What claims are decided by: the tables of evidence that the study has, by name."""
    return {table.name: found for table in EVIDENCE if (found := study.table(table.name)) is not None}


def read_tables(study: str | Path | StudyResults) -> dict[str, pd.DataFrame]:
    """The tables a study has, by name."""
    results = study if isinstance(study, StudyResults) else StudyResults(Path(study))
    return {table.name: found for table in TABLES if (found := results.table(table.name)) is not None}


def tables_with(study: StudyResults, **found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The study's tables with those that a notebook has `found` just now in place of the kept ones, and their claims.

    A study writes its tables when the notebooks are done: a notebook that asks anew knows more than they say.
    """
    evidence = {**evidence_of(study), **found}
    return {**evidence, CLAIMS.name: claims_table(evidence)}


def rebuild_tables(study: str | Path, say: Callable[[str], object] = print) -> dict[str, pd.DataFrame]:
    """Write every table that follows from the finished runs' predictions and the answers kept beside them.

    Where there are no answers, a table that needs them stays as it is, as in a checkout without runs. Where they are of
    other runs than the study's, so is the table: it is removed, decides no claim, and `say` says so.
    """
    results = StudyResults(Path(study))
    for table in TABLES:
        path = results.folder / "tables" / f"{table.name}.csv"
        try:
            rows = table.rebuild(results)
        except OtherRuns:
            if path.exists():
                path.unlink()
                say(f"{path.name} was of other runs and is removed: notebook {table.notebook} makes it again")
            continue
        if rows is not None:
            write_csv(path, rows)
    return read_tables(results)
