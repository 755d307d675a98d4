"""What every test shares: a cache of its own, never the user's."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

FUZZ_SEED = int(os.environ.get("FERMOE_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
"""What the inputs of `test_fuzz` are drawn from: another one every time, unless it is named."""

os.environ["FERMOE_FUZZ_SEED"] = str(FUZZ_SEED)  # for the processes that share the tests of one session


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
