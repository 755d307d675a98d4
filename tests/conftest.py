"""What every test shares: a cache of its own, never the user's."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.check_notebooks import ROOT, extract_committed

FUZZ_SEED = int(os.environ.get("FERMOE_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
"""What the inputs of `test_fuzz` are drawn from: another one every time, unless it is named."""

os.environ["FERMOE_FUZZ_SEED"] = str(FUZZ_SEED)  # for the processes that share the tests of one session


QUICK = ("results/quick", "results/index.html")
"""What `make study` writes anew, on its own processor."""


def committed_quick_study(folder: Path) -> Path:
    """A folder of results like the checkout's, with the quick study as committed; returns it."""
    results = folder / "results"
    extract_committed(folder, *QUICK)
    for path in (ROOT / "results").iterdir():
        if not (results / path.name).exists():
            (results / path.name).symlink_to(path)
    return results


def quick_study_ran_here() -> bool:
    """Whether the quick study's tables are no longer the committed ones."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return False
    changed = ["git", "status", "--porcelain", "--", f"{QUICK[0]}/tables"]
    return subprocess.run(changed, cwd=ROOT, capture_output=True).stdout != b""


# Before any test module asks for the folder, and once: processes that share the tests inherit it.
if "FERMOE_RESULTS" not in os.environ and quick_study_ran_here():
    _kept = tempfile.TemporaryDirectory()
    os.environ["FERMOE_RESULTS"] = str(committed_quick_study(Path(_kept.name)))


def pytest_report_header() -> str:
    return f"fuzz seed: {FUZZ_SEED} (FERMOE_FUZZ_SEED={FUZZ_SEED} repeats it)"


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Detections and image arrays go to a folder of this session; processes that a test starts inherit it."""
    path = tmp_path_factory.mktemp("cache")
    before = os.environ.get("FERMOE_CACHE")
    os.environ["FERMOE_CACHE"] = str(path)
    yield path
    if before is None:
        del os.environ["FERMOE_CACHE"]
    else:
        os.environ["FERMOE_CACHE"] = before


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    path = tmp_path / "cache"
    monkeypatch.setenv("FERMOE_CACHE", str(path))
    return path
