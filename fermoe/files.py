"""Where files lie, how they come to be whole or not at all, and which process may write."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import lzma
import os
import re
import shutil
import socket
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from multiprocessing.util import Finalize
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from fermoe.errors import UserError

PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """The checkout that this package lies in, with notebooks/ and results/ beside it; None where it was installed."""
    root = PACKAGE.parent
    return root if (root / "notebooks" / "studies").is_dir() else None


def notebooks_dir() -> Path:
    """Where notebooks and study files are read from: the checkout's, else those that the wheel carries."""
    return (checkout() or PACKAGE) / "notebooks"


def results_dir() -> Path:
    """Where studies leave their results: $FERMOE_RESULTS, else results/ of the checkout, else of the current folder."""
    if chosen := os.environ.get("FERMOE_RESULTS"):
        return Path(chosen)
    return (checkout() or Path.cwd()) / "results"


def cache_dir() -> Path:
    """Where detections and images are kept: $FERMOE_CACHE, else .cache in the checkout, else the user's cache."""
    if chosen := os.environ.get("FERMOE_CACHE"):
        return Path(chosen)
    root = checkout()
    return root / ".cache" if root else user_cache_path("fermoe", appauthor=False)


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` when the block ends well.

    A reader, or a second process writing the same file, sees the old file or the new one, never a part.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path.name), suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # it was made private, by mkstemp or by what wrote it anew; results are meant to be read
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def temporary_prefix(name: str) -> str:
    """How the names of this process's temporary files begin; `remove_abandoned` knows them when it was killed."""
    return f".{name}.{_host()}-{os.getpid()}-"


@functools.cache
def keep_temporary_files_together() -> None:
    """From here on what this process and its children call temporary is in one folder, which ends with this process.

    Where it was killed, the next process that calls this removes the folder. Sockets lie in there too, and the path of
    one may have some hundred bytes: where the system's folder has a long name, all stays as it was.
    """
    place = Path(tempfile.gettempdir())
    if len(os.fsencode(place)) > 40:
        return
    remove_abandoned(place)
    folder = tempfile.mkdtemp(dir=place, prefix=temporary_prefix("fermoe"))
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    # Last of all: multiprocessing removes what it has in there with priority -100.
    Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-200)


@functools.cache
def _host() -> str:
    """Eight hex digits that tell this machine from others that share a folder with it."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def remove_abandoned(folder: Path) -> None:
    """Delete the temporary files and folders that processes of this machine left in `folder` when they were killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = re.match(rf"\..+\.{_host()}-(\d+)-[^.]*", entry.name)
            if found is None or is_alive(int(found[1])):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):  # another process was faster
                    os.unlink(entry.path)


def is_alive(process: int) -> bool:
    """Whether a process may still write; one that ended and that nobody asked how, as in many containers, cannot."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (psutil.AccessDenied, OverflowError):  # somebody else's, or no number of a process
        return True


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically; bytes of file names that are no UTF-8 stay what they are."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically: two-space indent, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: str | Path, table: pd.DataFrame, decimals: int = 6) -> None:
    """Write a table atomically, floats rounded to `decimals`, so that equal results give equal bytes."""
    with atomic(path) as temporary:
        form: dict[str, Any] = {"float_format": f"%.{decimals}f", "lineterminator": "\n", "errors": "surrogateescape"}
        table.to_csv(temporary, index=False, **form)


def digest(value: Any, length: int = 8) -> str:
    """The first `length` hex digits of the SHA-256 of a JSON value with sorted keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:length]


def write_arrays(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays of numbers or text atomically into one compressed file."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


@contextlib.contextmanager
def reading_arrays(path: str | Path, fix: str) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a file that `write_arrays` wrote; what cannot be read or does not fit is one line to the user.

    Raises:
        UserError: the file is missing or damaged, or what is done with it fails.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            yield content
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"the answers cannot be read ({error})", where=path, fix=fix) from None


@contextlib.contextmanager
def exclusive(path: str | Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs, so that two processes never write into one directory.

    The system lets go of it when a process dies, however it dies.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path, blocking=False).acquire()
    except Timeout:
        fix = "wait for it, or choose another --out"
        raise UserError(f"another process works on {what}", where=path.parent, fix=fix) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write ({reason})", where=path.parent, fix="choose another --out") from None
    with held:
        yield


@contextlib.contextmanager
def one_at_a_time(path: str | Path) -> Iterator[None]:
    """Hold a lock file while the block runs; another process waits until this one has left, or died."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def extract(archive: Path, root: Path) -> Path:
    """Extract a tar (.tar, .tar.xz, .tar.gz, …) or zip file into `root`, whole or not at all; returns `root`.

    A single folder at the top of the archive is the dataset itself. Names that lead out of `root` are refused.

    Raises:
        UserError: no such archive, not an archive, damaged, an unsafe name, or `root` exists.
    """
    if root.exists():
        raise UserError("the folder exists already", where=root, fix="choose another --root, or leave --archive out")
    if not archive.is_file():
        raise UserError("no such archive", where=archive, fix="give a .tar.xz, .tar.gz or .zip file")
    root.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root.parent)
    waiting = Path(tempfile.mkdtemp(dir=root.parent, prefix=temporary_prefix(root.name)))
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                _refuse_unsafe(archive, content.namelist())
                content.extractall(waiting)
        else:
            with tarfile.open(archive) as tar:
                _refuse_unsafe(archive, [member.name for member in tar if not member.isdir()])
                _extract_files(tar, waiting)
        inside = list(waiting.iterdir())
        content_root = inside[0] if len(inside) == 1 and inside[0].is_dir() else waiting
        content_root.chmod(0o755)
        content_root.rename(root)
    # A RuntimeError is zipfile's word for a password, or for a compression that it does not know.
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, RuntimeError) as error:
        fix = "get it again, or extract it by hand"
        raise UserError(f"the archive cannot be extracted ({error})", where=archive, fix=fix) from None
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return root


def _extract_files(tar: tarfile.TarFile, folder: Path) -> None:
    """All files of a dataset; Python before 3.11.4 has no filter for that, and takes plain files and folders alone."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    for member in tar.getmembers():
        if not (member.isreg() or member.isdir()):
            raise tarfile.ExtractError(f"'{member.name}' is neither a file nor a folder")
        member.mode = 0o755 if member.isdir() else 0o644
        tar.extract(member, folder)


def _refuse_unsafe(archive: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"'{name}' leads out of the archive", where=archive, fix="do not use this file")
