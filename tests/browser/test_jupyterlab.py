"""Every notebook in JupyterLab, as a reader finds it: stored outputs, not trusted, nothing run; and one run whole."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
RUN_WHOLE = "00_published_claims"
PATIENCE = 300  # seconds for what takes a few on a machine that does nothing else

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is drawn
}
PICTURES = "image/png", "image/svg+xml", "image/jpeg"
ERROR = '[data-mime-type="application/vnd.jupyter.error"]'

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


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: where it answers, and the folder with its notebooks."""

    url: str
    folder: Path

    def open(self, page: Page, name: str) -> Locator:
        """Open a notebook in a clean workspace; returns its cells once all are drawn."""
        page.goto(f"{self.url}lab/tree/{name}.ipynb?reset", timeout=PATIENCE * 1000)
        cells = page.locator(".jp-NotebookPanel .jp-Cell")
        expect(cells).to_have_count(len(stored(self.folder / f"{name}.ipynb")), timeout=PATIENCE * 1000)
        page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=PATIENCE * 1000)
        return cells


def stored(notebook: Path) -> list[dict[str, Any]]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def stored_figures(notebook: Path) -> int:
    """How many figures a notebook's outputs hold: as such, or as pictures inside of HTML."""
    data = [output.get("data", {}) for cell in stored(notebook) for output in cell.get("outputs", [])]
    return sum(
        any(kind in entry for kind in PICTURES) or "".join(entry.get("text/html", "")).count("<img") for entry in data
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address(runtime: Path, server: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server answers, which it writes down once it does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        for said in runtime.glob("jpserver-*.json"):
            if said.stat().st_size:
                return str(json.loads(said.read_text())["url"])
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on copies of the notebooks, with settings and files of its own."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    for path in NOTEBOOKS:
        shutil.copy(path, notebooks)
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",  # here too whether a notebook is trusted
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "FERMOE_CACHE": "cache",
    }
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={notebooks}"]
    command += [f"--ServerApp.port={free_port()}", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token="]
    command += ["--LabApp.extension_manager=readonly", "--LabApp.news_url="]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=notebooks, env=environment, stdout=log, stderr=log)
        try:
            yield Lab(address(folder / "runtime", server, folder / "log"), notebooks)
        finally:
            server.terminate()  # it ends its kernels
            server.wait(timeout=PATIENCE)


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
