"""`fermoe report` writes the rows between marks from the tables, and nothing else of a text that a person wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.evidence.sizes import sizes_table
from fermoe.files import results_dir
from fermoe.study.tables_in_markdown import MARKED, with_rows, write_rows
from fermoe.study.verdicts import strongest, studies
from tests.helpers.trees import refused

ROOT = Path(__file__).resolve().parents[2]
TEN = "fer2013-ten-miniature"


def marked(what: str, rows: str = "| old |\n") -> str:
    return f"Before.\n\n<!-- rows: {what} -->\n{rows}<!-- end of rows -->\n\nAfter.\n"


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"][2:]


def test_the_kept_texts_are_what_the_command_writes(tmp_path: Path) -> None:
    for folder in results_dir().glob("*/tables"):
        shutil.copytree(folder, tmp_path / "results" / folder.parent.name / "tables")
    for page in ("README.md", "results/README.md"):
        shutil.copy(ROOT / page, tmp_path / page)
    found = studies(tmp_path / "results")
    assert len(write_rows(tmp_path / "results", found, strongest(found))) == 2
    for page in ("README.md", "results/README.md"):
        assert (tmp_path / page).read_text() == (ROOT / page).read_text(), "fermoe report makes it again"


def test_rows_are_written_anew_and_the_words_around_them_stay() -> None:
    found = {TEN: studies(results_dir())[TEN]}
    text = with_rows(marked(f"settings of {TEN}"), found, strongest(found))
    assert text.startswith("Before.\n\n<!-- rows")
    assert text.endswith("<!-- end of rows -->\n\nAfter.\n")
    rows, accuracy = cells(text), found[TEN]["accuracy"]
    full = accuracy[
        (accuracy["split"] == "test") & (accuracy["variant"] == "full") & (accuracy["pipeline"] == "imagenet")
    ]
    (row,) = [row for row in rows if row[0].startswith("full network") and "augmentation" not in row[0]]
    assert row[2] == str(full["seed"].nunique())
    assert row[3].startswith(f"{100 * full['accuracy'].mean():.1f} [")
    assert [float(row[3].split()[0]) for row in rows] == sorted(
        (float(row[3].split()[0]) for row in rows), reverse=True
    )
    assert with_rows(text, found, strongest(found)) == text


def test_the_lead_by_size_has_a_row_for_each_size_with_its_cost() -> None:
    found = studies(results_dir())
    table = sizes_table(found)
    rows = cells(with_rows(marked("sizes"), found, strongest(found)))
    assert [row[0] for row in rows] == [name.replace("_", " ") for name in table["model"].unique()]
    for row, (_, size) in zip(rows, table.groupby("model", sort=False), strict=True):
        assert row[3] == f"{(size['mmac'] / size['backbone_mmac']).iloc[0]:.1f}"
        for cell, lead in zip(row[-3:], size["lead"], strict=True):
            assert cell.split()[0].replace("−", "-") == f"{100 * lead:+.1f}"


def test_a_claim_keeps_the_words_that_name_it_and_takes_its_verdict_from_the_tables() -> None:
    found = studies(results_dir())
    rows = "| claim | verdict | why |\n|---|---|---|\n| C5 as I call it | open | because |\n"
    claims = strongest(found)
    shown = {row[0].split()[0]: row for row in cells(with_rows(marked("verdicts", rows), found, claims))}
    assert shown["C5"][0] == "C5 as I call it"
    assert set(shown) == set(claims["claim"])
    for row in claims.itertuples():
        bold = row.verdict in ("supported", "contradicted")
        assert shown[row.claim][1:] == [f"**{row.verdict}**" if bold else row.verdict, row.why]


def test_rows_of_a_study_that_is_not_there_stay() -> None:
    text = marked("variants of elsewhere")
    assert with_rows(text, {}, pd.DataFrame()) == text


@pytest.mark.parametrize("what", ["nonsense", f"nonsense of {TEN}", f"variants of {TEN}, {TEN}", "settings"])
def test_a_mark_that_nobody_knows_is_one_line(what: str) -> None:
    found = {TEN: {"accuracy": pd.DataFrame()}}
    with refused(what, "variants of STUDY"):
        with_rows(marked(what), found, pd.DataFrame())


def test_the_command_names_the_texts_that_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    shutil.copytree(results_dir() / TEN / "tables", results / TEN / "tables")
    (results / "README.md").write_text(marked(f"variants of {TEN}"))
    (tmp_path / "README.md").write_text("No mark.\n")
    monkeypatch.setenv("FERMOE_RESULTS", str(results))
    done = CliRunner().invoke(main, ["report"])
    assert done.exit_code == 0, done.output
    assert str(results / "README.md") in done.stdout
    assert str(tmp_path / "README.md") not in done.stdout
    assert len(cells((results / "README.md").read_text())) > 3
    assert (tmp_path / "README.md").read_text() == "No mark.\n"
    assert MARKED.search((results / "README.md").read_text())
