"""A study's runs as one small file that a repository can keep: predictions and results, no pictures.

From `results/<study>/runs.tar.xz` every table can be rebuilt and every notebook read without training anything. Weights
stay behind, but for those of the one network that stands for the study where something is computed anew.
"""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from pathlib import Path

from fermoe.errors import UserError
from fermoe.evidence.table import ANSWERS
from fermoe.files import atomic
from fermoe.training.runs import example_runs, finished_runs, study_listing

NAME = "runs.tar.xz"

# By run: what its tables are computed from. Weights, checkpoints, executed notebooks and logs stay behind.
KEPT = ("result.json", "history.csv", "predictions.csv", "validation.csv", "epochs.npz", ANSWERS)
WEIGHTS = "best.safetensors"
LARGEST = 64 * 2**20  # bytes of one file; a real one has a few


def pack(study: str | Path) -> Path:
    """Write `runs.tar.xz` from the study's finished runs: the same runs give the same bytes. Returns its path.

    Raises:
        UserError: there is no finished run.
    """
    folder = Path(study)
    listing = study_listing(folder)
    runs = [name for name in sorted(listing.get("runs", [])) if (folder / "runs" / name / "result.json").exists()]
    # Of the audited protocol, if it was run: the published one chose its epoch on the test images.
    examples = sorted(example_runs(finished_runs(folder)), key=lambda run: run.config.protocol)
    weights = [f"runs/{run.directory.name}/{WEIGHTS}" for run in examples[:1]]
    if not runs:
        raise UserError("no finished run to pack", where=folder, fix="run the study first: fermoe study NAME")
    with atomic(folder / NAME) as temporary, tarfile.open(temporary, "w:xz", preset=9) as tar:
        _add(tar, "runs/study.json", json.dumps(listing, indent=1).encode())
        # File by file, so that the image names of all predictions lie side by side and pack to nearly nothing.
        for kept in KEPT:
            for run in runs:
                path = folder / "runs" / run / kept
                if path.exists():
                    _add(tar, f"runs/{run}/{kept}", path.read_bytes())
        for name in weights:
            if (folder / name).exists():
                _add(tar, name, (folder / name).read_bytes())
    return folder / NAME


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add bytes under a name without owner or date."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def unpack(study: str | Path) -> int:
    """Restore the runs of `runs.tar.xz` that are not there; returns how many files were written.

    A run that is there is left as it is, whole or not. Only plain files of the expected names are taken.

    Raises:
        UserError: there is no archive, or it is damaged or holds something else.
    """
    folder = Path(study)
    path, written = folder / NAME, 0
    if not path.exists():
        raise UserError("no packed runs", where=path, fix="run the study first: fermoe study NAME")
    present = {p.name for p in (folder / "runs").glob("*")}
    try:
        with tarfile.open(path, "r:xz") as tar:
            for member in tar:
                parts = Path(member.name).parts
                run = parts[1] if len(parts) == 3 else ""
                expected = parts == ("runs", "study.json") or (len(parts) == 3 and parts[2] in (*KEPT, WEIGHTS))
                if not (member.isfile() and parts[:1] == ("runs",) and ".." not in parts and expected):
                    raise UserError(f"'{member.name}' does not belong there", where=path, fix="get the file again")
                if member.size > LARGEST:
                    raise UserError(f"'{member.name}' is too large", where=path, fix="get the file again")
                if (run or "study.json") in present:
                    continue
                content = tar.extractfile(member)
                assert content is not None  # it is a plain file
                with atomic(folder / member.name) as temporary:
                    temporary.write_bytes(content.read())
                written += 1
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise UserError(f"the packed runs cannot be read ({error})", where=path, fix="get the file again") from None
    return written
