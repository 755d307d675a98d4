"""A JupyterLab of this machine on copies of the notebooks, for the checks in a browser."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
PATIENCE = 300  # seconds for what takes a few on a machine that does nothing else
ERROR = '[data-mime-type="application/vnd.jupyter.error"]'
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is drawn
}


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


@contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab on copies of the notebooks, with settings and files of its own in `folder`."""
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
