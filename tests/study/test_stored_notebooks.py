"""What the repository's notebooks show is what its tables say: answers, what follows, and every printed table."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from fermoe.evidence import answers
from fermoe.files import notebooks_dir, results_dir
from fermoe.study import fer2013, tables_for_people, tables_of_claims
from fermoe.study.reading import answer, printed, what_follows
from fermoe.study.tables import read_tables
from tests.check_notebooks import KEPT, ROOT, committed_results

QUICK = results_dir() / "quick"
ASKED = [name for name in answers.NOTEBOOKS if name not in ("01_data", "03_model", "04_training")]
"""Notebooks whose answer comes from a study's tables; the others ask data, network and one training themselves."""
ANSWERING = [*answers.NOTEBOOKS, fer2013.NOTEBOOK]


@pytest.fixture(scope="module")
def tables():
    return read_tables(QUICK)


def notebook(name: str):
    return nbformat.read(notebooks_dir() / f"{name}.ipynb", as_version=4)


def outputs(name: str, kind: str) -> list[str]:
    found = [output for cell in notebook(name).cells for output in cell.get("outputs", [])]
    return [output.data[kind] for output in found if kind in output.get("data", {})]


@pytest.mark.parametrize("name", ASKED)
def test_a_stored_answer_is_what_the_kept_tables_answer(name: str, tables) -> None:
    said = outputs(name, "text/markdown")
    assert said[0] == answer(tables, name).data
    if name in answers.TOUCHES:
        assert said[-1] == what_follows(tables, name).data


@pytest.mark.parametrize("name", ANSWERING)
def test_a_notebook_opens_with_its_question_and_its_answer_and_checks_what_it_quotes(name: str) -> None:
    cells = notebook(name).cells
    assert "**" in cells[0].source
    assert "?" in cells[0].source
    first = next(cell for cell in cells if any("text/markdown" in o.get("data", {}) for o in cell.get("outputs", [])))
    assert cells.index(first) == 3
    assert "Answer." in first.outputs[0].data["text/markdown"]
    assert "nbval-check-output" in first.metadata.tags
    assert any(cell.source.startswith("## What follows") for cell in cells)
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert "if figures" not in source


@pytest.mark.parametrize("name", ANSWERING)
def test_figures_have_a_sentence_and_tables_need_no_style_sheet(name: str) -> None:
    found = [output for cell in notebook(name).cells for output in cell.get("outputs", [])]
    pictures = [output for output in found if "image/png" in output.get("data", {})]
    assert pictures
    assert all(len(picture.metadata["image/png"]["alt"]) > 20 for picture in pictures)
    for page in outputs(name, "text/html"):
        assert "<style" not in page
        assert "<script" not in page
        assert not re.search(r"-seed\d+-[0-9a-f]{8}", page), "run ids belong into the CSV"


def cells_of(page: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)] for row in rows]


KNOWN = {
    "05_confusion_matrices": (tables_for_people.accuracies,),
    "06_grad_cam": (tables_for_people.maps,),
    "07_expert_utilization": (tables_for_people.gates,),
    "08_ablations": (tables_for_people.variants,),
    "09_robustness": (tables_for_people.losses,),
    "02_preprocessing": (tables_for_people.inputs, tables_of_claims.crops),
    "10_report": (
        tables_of_claims.verdicts, tables_for_people.trained, tables_for_people.accuracies, tables_of_claims.selection,
        tables_for_people.leaked, tables_for_people.gates, tables_for_people.maps, tables_for_people.losses,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_stored_table_is_made_from_the_kept_csv(name: str, tables) -> None:
    pages = outputs(name, "text/html")
    for made in KNOWN[name]:
        assert printed(made(tables)).data in pages


def test_numbers_of_a_stored_table_are_those_of_its_csv(tables) -> None:
    """Counted anew, and not by what made the table."""
    accuracy = tables["accuracy"]
    mine = accuracy[
        (accuracy["split"] == "test") & (accuracy["protocol"] == "audited") & (accuracy["variant"] == "full")
    ]
    (row,) = (
        row
        for page in outputs("05_confusion_matrices", "text/html")
        for row in cells_of(page)
        if row and row[0] == "full network, audited, ImageNet's colours, cropped"
    )
    assert row[1] == str(mine["seed"].nunique())
    assert row[2].startswith(f"{100 * mine['accuracy'].mean():.1f} [")
    ablation = tables["ablation"]
    first = ablation[(ablation["alternative"] == "backbone") & (ablation["protocol"] == "audited")]
    value = -100 * float(first[first["measure"] == "accuracy"]["difference"].iloc[0])
    assert any(
        f"{abs(value):.1f}" in cell
        for page in outputs("08_ablations", "text/html")
        for row in cells_of(page)
        for cell in row
    )


def test_what_notebook_11_says_of_real_faces_is_what_the_kept_studies_answer(tmp_path: Path) -> None:
    found = fer2013.studies(results=committed_results(tmp_path))
    said, pages = outputs(fer2013.NOTEBOOK, "text/markdown"), outputs(fer2013.NOTEBOOK, "text/html")
    assert said[0] == fer2013.answer(found).data
    assert said[-1] == fer2013.follows(found).data
    assert fer2013.twins(found).data in said
    for name in fer2013.QUESTIONS:
        reading = fer2013.read(found, name)
        assert reading.answer.data in said
        assert reading.table is None or reading.table.data in pages


def test_the_check_of_the_notebooks_sees_kept_tables_and_packs_alone(tmp_path: Path) -> None:
    results = committed_results(tmp_path)
    files = [path.relative_to(results) for path in results.rglob("*") if path.is_file()]
    assert all(path.parts[1] == "tables" or re.fullmatch(r"runs.*\.tar\.xz", path.parts[1]) for path in files)
    assert sorted(path.name for path in (results / "quick").iterdir()) == ["runs.tar.xz", "tables"]
    assert (results / "quick" / "runs.tar.xz").stat().st_size == (ROOT / KEPT[0]).stat().st_size
    assert (results / fer2013.studies(results=results)[0].folder.name / "runs.tar.xz").is_file()
    code = "from fermoe.files import results_dir; print(results_dir())"
    environment = {**os.environ, "FERMOE_RESULTS": str(results)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(results)
