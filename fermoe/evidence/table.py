"""What every module of evidence declares about its CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fermoe.files import reading_arrays, write_arrays
from fermoe.training.runs import StudyResults

ANSWERS = "outcomes.npz"
"""In an analysis's folder: what networks answered there. A pack of a study keeps it, and its table follows from it."""


class OtherRuns(Exception):
    """The answers that a study keeps are of trainings that are not its own."""


@dataclass(frozen=True)
class Table:
    """One CSV of a study: its name, its columns, what it follows from, and how that is packed.

    `build(study, answers)` gives the rows, or None where the study lacks what they need; `answers` is None for a table
    that needs no network. `build` None: a table about the data alone, which `notebook` writes while it looks at them.
    For a table that needs networks, `notebook` is where they answer, `pack` and `unpack` turn their answers into named
    arrays and back, and `runs` names the runs that they are of. `drawn` are the columns that another training changes:
    between two studies they are judged against the spread of seeds.
    """

    name: str
    columns: tuple[str, ...]
    build: Callable[[StudyResults, Any], pd.DataFrame | None] | None
    notebook: str = ""
    pack: Callable[[Any], Mapping[str, np.ndarray]] | None = None
    unpack: Callable[[Mapping[str, np.ndarray]], Any] | None = None
    runs: Callable[[Any], Iterable[str]] | None = None
    drawn: tuple[str, ...] = ()

    def keep(self, directory: str | Path, answers: Any) -> None:
        """Keep what networks answered in the folder of the analysis that asked them, in one compressed file."""
        assert self.pack is not None, f"{self.name}.csv needs no answers"
        write_arrays(Path(directory) / ANSWERS, **self.pack(answers))

    def kept(self, directory: str | Path) -> Any:
        """Read what `keep` wrote.

        Raises:
            UserError: the file is missing, damaged, or made by a version that asked other questions.
        """
        assert self.unpack is not None, f"{self.name}.csv needs no answers"
        with reading_arrays(Path(directory) / ANSWERS, fix=f"run notebook {self.notebook} again") as arrays:
            return self.unpack(arrays)

    def answers(self, study: StudyResults, ask: Callable[[], Any], anew: bool) -> Any:
        """What networks answer: `ask`ed `anew`, or as the study keeps it where its answers are of its own runs."""
        directory = study.folder / "runs" / self.notebook
        if not anew and (directory / ANSWERS).exists():
            kept = self.kept(directory)
            if self.runs is None or set(self.runs(kept)) <= {run.name for run in study.runs}:
                return kept
        return ask()

    def rebuild(self, study: StudyResults) -> pd.DataFrame | None:
        """The table from what the study has; None where that is not enough.

        Raises:
            OtherRuns: there are answers, but of other trainings.
        """
        if self.build is None:
            return None
        if self.unpack is None:
            return self.build(study, None)
        directory = study.folder / "runs" / self.notebook
        if not (directory / ANSWERS).exists():
            return None
        answers = self.kept(directory)
        if self.runs is not None and not set(self.runs(answers)) <= {run.name for run in study.runs}:
            raise OtherRuns
        return self.build(study, answers)
