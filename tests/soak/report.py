"""results/benchmarks/soak.md: what the long tests found the last time, a section for each."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from fermoe.files import results_dir, write_text

TITLE = """# What takes too long for every time

Each section is written by the command that it names; `make soak` runs them.
"""
ORDER = (
    "Kills",
    "Kills on FER-2013",
    "Two processes",
    "Ten thousand images",
    "AffectNet's number of images",
    "Two hundred runs",
)


def write_section(title: str, body: str, path: Path | None = None) -> Path:
    """Put a section in the place of its last version; returns the report's path."""
    path = path or results_dir() / "benchmarks" / "soak.md"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = dict(re.findall(r"^## (.+?)\n\n(.*?)\s*(?=^## |\Z)", before, re.MULTILINE | re.DOTALL))
    sections[title] = body.strip()
    kept = [f"## {name}\n\n{sections[name]}\n" for name in ORDER if name in sections]
    write_text(path, "\n".join([TITLE, *kept]))
    return path


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
