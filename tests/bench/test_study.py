"""The benchmark of a study reads the study's own words, and knows what a run is for."""

from __future__ import annotations

import pytest

from fermoe.bench.study import DONE, SETTINGS, phase_of
from fermoe.study.plan import expand, load_study, phases


def test_every_run_of_the_small_study_belongs_to_the_phase_that_runs_it(tmp_path) -> None:
    runs = expand(load_study("quick", SETTINGS), tmp_path)
    assert len(runs) == 8
    for phase, members in phases(runs).items():
        assert members
        assert {phase_of(run.id) for run in members} == {phase}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  done 08_ablations (14.2 s)", [("08_ablations", "14.2")]),
        ("  done a-full-seed0-1f (9.0 s): test accuracy 11.0 %", [("a-full-seed0-1f", "9.0")]),
        ("  failed 08_ablations (14.2 s): reason", []),
    ],
)
def test_a_line_about_a_run_that_is_done_is_read(line: str, expected: list[tuple[str, str]]) -> None:
    assert DONE.findall(line) == expected
