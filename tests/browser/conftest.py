"""One Chromium and one JupyterLab for all checks in a browser, and a folder for the pictures they take.

Without a Chromium these tests are skipped; where FERMOE_NEEDS_BROWSER is set, as in continuous integration, its absence
is an error.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.lab import Lab, running_lab

NAMES = ("chromium", "chromium-browser", "google-chrome")
PICTURES = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)"
        if os.environ.get("FERMOE_NEEDS_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path:
    """The folder of the screenshots, which the run names at its end; it stays, to be looked at."""
    folder = Path(tempfile.mkdtemp(prefix="fermoe-screenshots-"))
    request.config.stash[PICTURES] = folder
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if PICTURES in config.stash:
        terminalreporter.write_line(f"screenshots to look at: {config.stash[PICTURES]}")
