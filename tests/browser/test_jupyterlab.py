"""Every notebook in JupyterLab, as a reader finds it: stored outputs, not trusted, nothing run; and one run whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.lab import ERROR, NOTEBOOKS, PATIENCE, Lab, stored

pytestmark = pytest.mark.browser

RUN_WHOLE = "00_published_claims"

PICTURES = "image/png", "image/svg+xml", "image/jpeg"

# Figures stored as such and pictures inside stored HTML, drawn and not only there.
SHOWN_FIGURES = """
cells => cells.flatMap(cell => [...cell.querySelectorAll('.jp-OutputArea img, .jp-RenderedSVG svg')])
    .filter(e => e.tagName !== 'IMG' || e.complete && e.naturalWidth > 0)
    .filter(e => e.getBoundingClientRect().width > 0).length
"""
# Of each table's columns with prose (a cell of three words or more), the body cells that are not left-aligned.
RIGHT_ALIGNED_PROSE = """
cells => cells.flatMap(cell => [...cell.querySelectorAll('.jp-OutputArea table')]).flatMap(table => {
    const rows = [...table.tBodies].flatMap(body => [...body.rows]).map(row => [...row.cells]);
    const width = Math.max(0, ...rows.map(row => row.length));
    return [...Array(width).keys()]
        .map(column => rows.map(row => row[column]).filter(Boolean))
        .filter(column => column.some(cell => (cell.textContent.match(/[a-z]{2,}/gi) || []).length >= 3))
        .flat()
        .filter(cell => !['left', 'start', 'justify'].includes(getComputedStyle(cell).textAlign))
        .map(cell => cell.textContent);
})
"""


def stored_figures(notebook: Path) -> int:
    """How many figures a notebook's outputs hold: as such, or as pictures inside of HTML."""
    data = [output.get("data", {}) for cell in stored(notebook) for output in cell.get("outputs", [])]
    return sum(
        any(kind in entry for kind in PICTURES) or "".join(entry.get("text/html", "")).count("<img") for entry in data
    )


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_a_reader_sees_what_a_notebook_stores(name: str, lab: Lab, window: Page, pictures: Path) -> None:
    cells = lab.open(window, name)
    window.screenshot(path=pictures / f"lab-{name}.png")
    assert cells.locator(ERROR).all_inner_texts() == []
    assert cells.evaluate_all(SHOWN_FIGURES) >= stored_figures(lab.folder / f"{name}.ipynb")
    assert cells.evaluate_all(RIGHT_ALIGNED_PROSE) == []


def test_run_all_completes(lab: Lab, window: Page, pictures: Path) -> None:
    cells = lab.open(window, RUN_WHOLE)
    code = [cell for cell in stored(lab.folder / f"{RUN_WHOLE}.ipynb") if cell["cell_type"] == "code"]
    window.get_by_role("menuitem", name="Edit", exact=True).click()
    window.get_by_role("menuitem", name="Clear Outputs of All Cells").click()
    expect(window.locator(".jp-NotebookPanel .jp-OutputArea-output")).to_have_count(0)
    window.get_by_role("menuitem", name="Run", exact=True).click()
    window.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = window.locator(".jp-InputPrompt").get_by_text(f"[{len(code)}]:", exact=True)
    last.or_(cells.locator(ERROR)).first.wait_for(state="attached", timeout=PATIENCE * 1000)
    window.screenshot(path=pictures / f"lab-{RUN_WHOLE}-run.png")
    assert cells.locator(ERROR).all_inner_texts() == []
    assert cells.evaluate_all(SHOWN_FIGURES) >= stored_figures(lab.folder / f"{RUN_WHOLE}.ipynb")
