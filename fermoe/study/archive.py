"""A study's runs as one small file that a repository can keep: predictions and results, no pictures.

From `results/<study>/runs.tar.xz` every table can be rebuilt and every notebook read without training anything. Weights
stay behind, but for those of the one network that stands for the study where something is computed anew, if that is
small. What other models answered on the test images is a file of its own beside it: adding one leaves the large file as
it is.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import os
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from fermoe.errors import UserError
from fermoe.evidence.experts import NOTEBOOK as EXPERTS
from fermoe.evidence.table import ANSWERS
from fermoe.files import atomic, one_at_a_time, remove_abandoned, temporary_prefix
from fermoe.training.foreign import foreign_runs
from fermoe.training.runs import (
    EPOCHS,
    HISTORY,
    PREDICTIONS,
    RESULT,
    VALIDATION,
    WEIGHTS,
    FinishedRun,
    example_runs,
    finished_runs,
    study_listing,
)

NAME, BESIDE = "runs.tar.xz", "beside.tar.xz"

# By run: what its tables are computed from. Weights, checkpoints, executed notebooks and logs stay behind.
KEPT = (RESULT, HISTORY, PREDICTIONS, VALIDATION, EPOCHS, ANSWERS)
PART = 40  # trainings in one archive
LIGHT = 4 * 2**20  # bytes of weights that are packed: a million parameters
LARGEST = 64 * 2**20  # bytes of one file; a real one has a few


def pack(study: str | Path) -> Path:
    """Write the study's finished runs into `runs.tar.xz`: the same runs give the same bytes. Returns its path.

    With more than `PART` trainings each seed is a file of its own, `runs-seed0.tar.xz` and so on, beside that of the
    analyses: seeds that are added later leave the files of the others as they are.

    Raises:
        UserError: there is no finished run.
    """
    folder = Path(study)
    listing = study_listing(folder)
    runs = [name for name in sorted(listing.get("runs", [])) if (folder / "runs" / name / RESULT).exists()]
    if not runs:
        raise UserError("no finished run to pack", where=folder, fix="run the study first: fermoe study NAME")
    trained = finished_runs(folder)
    # Of the audited protocol, if it was run: the published one chose its epoch on the test images.
    examples = sorted(example_runs(trained), key=lambda run: run.config.protocol)[:1]
    seeds = {run.directory.name: run.config.seed for run in trained} if len(trained) > PART else {}
    parts: dict[str, list[str]] = {NAME: []}
    for run in runs:
        parts.setdefault(f"runs-seed{seeds[run]}.tar.xz" if run in seeds else NAME, []).append(run)
    # Read by the tables on choosing an epoch and on how gates settle alone, and half of a long training's pack.
    settles = any(run.startswith(EXPERTS) for run in runs)
    by_epoch = {run.directory.name for run in trained if settles or run.config.protocol == "published"}
    written = []
    for part, names in parts.items():
        head = {"runs/study.json": json.dumps(listing, indent=1).encode()} if part == NAME else {}
        for example in (run.directory for run in examples if run.directory.name in names):
            if (example / WEIGHTS).exists() and (example / WEIGHTS).stat().st_size <= LIGHT:
                head[f"runs/{example.name}/{WEIGHTS}"] = (example / WEIGHTS).read_bytes()
        written.append(_write(folder / part, names, head, by_epoch))
    for path in set(folder.glob("runs*.tar.xz")) - set(written):
        path.unlink()  # of an earlier division
    return folder / NAME


def packs(study: Path) -> list[Path]:
    """The archives of a study, those of its own runs first."""
    return [*sorted(study.glob("runs*.tar.xz")), *study.glob(BESIDE)]


def packed_runs(study: str | Path) -> set[str]:
    """The runs whose answers a study's packs hold: trainings, and analyses that asked networks.

    Raises:
        UserError: there is no pack, or one is damaged.
    """
    folder, found = Path(study), set()
    paths = sorted(folder.glob("runs*.tar.xz"))
    if not paths:
        raise UserError("no packed runs", where=folder / NAME, fix="leave out --packed, or get the file")
    for path in paths:
        with _reading(path) as tar:
            names = [Path(name).parts for name in tar.getnames()]
        found |= {parts[1] for parts in names if len(parts) == 3 and parts[2] in (PREDICTIONS, ANSWERS)}
    return found


def pack_beside(study: str | Path) -> Path | None:
    """Write `beside.tar.xz` from what other models answered, as `pack` does; None where there is no other model."""
    folder = Path(study)
    others = [run.directory.name for run in foreign_runs(folder)]
    return _write(folder / BESIDE, others, {}, ()) if others else None


def _write(path: Path, runs: Sequence[str], head: dict[str, bytes], by_epoch: Collection[str]) -> Path:
    with atomic(path) as temporary, tarfile.open(temporary, "w:xz", preset=9) as tar:
        for name, content in head.items():
            _add(tar, name, content)
        # File by file, so that the image names of all predictions lie side by side and pack to nearly nothing.
        for kept in KEPT:
            for run in runs:
                file = path.parent / "runs" / run / kept
                if file.exists() and (kept != EPOCHS or run in by_epoch):
                    _add(tar, f"runs/{run}/{kept}", file.read_bytes())
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add bytes under a name without owner or date."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def unpack(study: str | Path, into: Path | None = None) -> int:
    """Restore the runs of a study's `packs` that are not there; returns how many files were written.

    A run that is there is left as it is, whole or not. Runs appear whole, and the study's list of them last: whoever
    sees it sees all. Only plain files of the expected names are taken. `into`: another folder than the study's own.

    Raises:
        UserError: there is no archive, or one is damaged or holds something else.
    """
    folder = Path(study)
    found = packs(folder)
    if not found:
        raise UserError("no packed runs", where=folder / NAME, fix="run the study first: fermoe study NAME")
    runs = (into or folder) / "runs"
    with one_at_a_time(runs / ".unpacking"):
        remove_abandoned(runs)
        present = {path.name for path in runs.glob("*")}
        waiting = Path(tempfile.mkdtemp(dir=runs, prefix=temporary_prefix("packed")))
        try:
            written = sum(_restore(path, waiting, present) for path in found)
            for one in sorted(waiting.iterdir(), key=Path.is_file):
                if not (runs / one.name).exists():
                    os.replace(one, runs / one.name)
        finally:
            shutil.rmtree(waiting, ignore_errors=True)
    return written


def _restore(path: Path, runs: Path, present: set[str]) -> int:
    """Write what a pack holds of runs that are not `present` into the folder `runs`; returns how many files."""
    written = 0
    with _reading(path) as tar:
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
            target = runs.joinpath(*parts[1:])
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content.read())
            written += 1
    return written


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[tarfile.TarFile]:
    """A pack, open; that it is damaged is one line."""
    try:
        with tarfile.open(path, "r:xz") as tar:
            yield tar
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise UserError(f"the packed runs cannot be read ({error})", where=path, fix="get the file again") from None


@contextlib.contextmanager
def runs_at_hand(study: Path) -> Iterator[list[FinishedRun]]:
    """A study's finished runs: its own, else those of its pack, which is unpacked elsewhere while the block runs."""
    runs = finished_runs(study)
    if runs or not (study / NAME).exists():
        yield runs
        return
    with tempfile.TemporaryDirectory(prefix="fermoe-") as folder:
        unpack(study, Path(folder))
        yield finished_runs(folder)
