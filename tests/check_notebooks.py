"""Run every notebook from top to bottom with its defaults, and compare the checked cells with their stored outputs.

python -m tests.check_notebooks [NOTEBOOK …]   from the root of a checkout

The notebooks see a results folder made for this check: the tables of every study, and the packed runs of the quick
study and of those of FER-2013, as the repository keeps them. What a study has left in results/ since changes nothing
here, and nothing is written there.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ("results/quick/runs.tar.xz", "results/fer2013*/runs*.tar.xz", "results/*/tables/*.csv")
LIMIT = 120  # seconds a cell may take; on two busy cores none takes half of it


def extract_committed(folder: Path, *paths: str) -> None:
    """Copy what HEAD has at these paths of the checkout into `folder`."""
    archive = subprocess.run(["git", "archive", "HEAD", "--", *paths], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as content:
        content.extractall(folder)


def committed_results(folder: Path) -> Path:
    """Copy what the repository keeps of its studies into `folder`; returns the folder of results.

    As committed, where git knows: a study that ran here since has written its own tables, on its own processor.
    """
    if (ROOT / ".git").exists():
        extract_committed(folder, *KEPT)
    else:
        for path in (found for pattern in KEPT for found in ROOT.glob(pattern)):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return folder / "results"


def main(notebooks: Sequence[str]) -> int:
    """The exit status of the check of these notebooks, of all where none is named."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "FERMOE_RESULTS": str(committed_results(Path(folder)))}
        check = [sys.executable, "-m", "pytest", "--nbval-lax", f"--nbval-cell-timeout={LIMIT}"]
        side_by_side = ["-n", "2", "--dist", "loadfile"]  # the cells of one notebook stay together
        command = [*check, *side_by_side, *(notebooks or ["notebooks"])]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
