"""Files lie where the user expects them, appear whole or not at all, and have one writer at a time."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fermoe import files
from fermoe.files import atomic, cache_dir, checkout, exclusive, extract, notebooks_dir, results_dir
from tests.helpers.trees import refused

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package folder of a fermoe that was installed; the working directory is another one."""
    package, here = tmp_path / "site-packages" / "fermoe", tmp_path / "here"
    package.mkdir(parents=True)
    here.mkdir()
    (package.parent / "pyproject.toml").touch()  # as some other package's wheel may leave it
    monkeypatch.setattr(files, "PACKAGE", package)
    monkeypatch.chdir(here)
    return package


def test_a_checkout_keeps_everything_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FERMOE_CACHE")
    monkeypatch.delenv("FERMOE_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert checkout() == ROOT
    assert (notebooks_dir(), results_dir(), cache_dir()) == (ROOT / "notebooks", ROOT / "results", ROOT / ".cache")


def test_an_installed_package_writes_into_the_working_directory_and_the_users_cache(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FERMOE_CACHE")
    monkeypatch.delenv("FERMOE_RESULTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert checkout() is None
    assert notebooks_dir() == installed / "notebooks"
    assert results_dir() == tmp_path / "here" / "results"
    assert not cache_dir().is_relative_to(tmp_path / "here")
    if sys.platform == "linux":
        assert cache_dir() == tmp_path / "caches" / "fermoe"


@pytest.mark.usefixtures("installed")
def test_the_cache_that_the_environment_names_always_wins(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == own_cache
    monkeypatch.setattr(files, "PACKAGE", ROOT / "fermoe")
    assert cache_dir() == own_cache


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic(path) as temporary:
        shutil.copy(tmp_path / "nothing", temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_library_wrote_anew_in_its_place_can_be_read_by_others(tmp_path: Path) -> None:
    with atomic(tmp_path / "a.bin") as temporary:
        temporary.unlink()
        temporary.touch(0o600)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o644


KILLED = """
import os, signal, sys
from fermoe.files import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_gone_after_the_next_write_beside_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.npy")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_size == 1000
    (tmp_path / ".a.npy.mine").write_text("not a temporary file")
    with atomic(tmp_path / "b.npy") as mine, atomic(tmp_path / "c.npy"):
        assert not left.exists()
        assert mine.exists()  # a living process's
    assert {path.name for path in tmp_path.iterdir()} == {".a.npy.mine", "b.npy", "c.npy"}


HOLD = """
import sys, time
from fermoe.files import exclusive
with exclusive(sys.argv[1], "this run"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds tmp_path/run/.lock until it is killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_writes_into_is_refused_at_once_and_free_when_it_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    lock = tmp_path / "run" / ".lock"
    refusal = refused("another process works on this run", str(lock.parent), "wait for it, or choose another --out")
    with refusal, exclusive(lock, "this run"):
        pytest.fail("two processes hold it")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(lock, "this run"):
        assert lock.exists()


def test_a_lock_is_free_again_after_the_block_and_its_file_stays(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), exclusive(lock, "this run"):
            raise KeyboardInterrupt
        assert lock.exists()


def test_a_lock_holds_against_other_threads_of_the_process_too(tmp_path: Path) -> None:
    answers: list[str] = []

    def second() -> None:
        with refused("another process works on this run"), exclusive(tmp_path / ".lock", "this run"):
            answers.append("held")
        answers.append("refused")

    with exclusive(tmp_path / ".lock", "this run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert answers == ["refused"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    with refused("cannot write", "choose another --out"), exclusive(tmp_path / "run" / ".lock", "this run"):
        pytest.fail("there is no such folder")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder whose files do not compress, so that damage in the middle of its archive is damage to a file."""
    rng = np.random.default_rng(0)
    for name in ("train/happy/a.jpg", "train/sad/b.jpg", "test/happy/c.jpg"):
        path = tmp_path / "source" / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(20_000))
    return tmp_path / "source" / "faces"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def packed(tree: Path, kind: str, top: bool = False) -> Path:
    where = {"root_dir": tree.parent, "base_dir": tree.name} if top else {"root_dir": tree}
    return Path(shutil.make_archive(str(tree.parent.parent / "data"), kind, **where))


@pytest.mark.parametrize("kind", ["tar", "xztar", "gztar", "zip"])
@pytest.mark.parametrize("top", [True, False])
def test_an_archive_with_or_without_a_top_folder_becomes_the_folder(
    tmp_path: Path, tree: Path, kind: str, top: bool
) -> None:
    archive, made = packed(tree, kind, top), tmp_path / "made"
    assert extract(archive, made) == made
    assert contents(made) == contents(tree)
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "made", "source"}


def test_an_existing_folder_is_left_alone(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "made").mkdir()
    with refused("exists already"):
        extract(packed(tree, "gztar"), tmp_path / "made")
    assert not list((tmp_path / "made").iterdir())


@pytest.mark.parametrize("name", ["../outside.jpg", "/tmp/outside.jpg", "a/../../outside.jpg"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    archive = tmp_path / f"data.{kind}"
    if kind == "tar":
        with tarfile.open(archive, "w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    else:
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr(name, b"")
    with refused("leads out"):
        extract(archive, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("train/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "../../secret.jpg"
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        tar.addfile(link)
    with refused("cannot be extracted"):
        extract(tmp_path / "data.tar", tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["data.tar"]


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 3]


def blotted(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(200) + content[middle + 200 :]


def with_the_password_bit(content: bytes) -> bytes:
    """Every zip header says that its file is encrypted."""
    changed = bytearray(content)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            changed[at + flags] |= 1
            at = content.find(signature, at + 1)
    return bytes(changed)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("tar", cut_short), ("xztar", cut_short), ("gztar", cut_short), ("zip", cut_short), ("xztar", blotted),
        ("zip", blotted), ("zip", with_the_password_bit),
    ],
)  # fmt: skip
def test_an_archive_that_cannot_be_read_to_its_end_is_one_line_and_leaves_nothing(
    tmp_path: Path, tree: Path, kind: str, damage: Callable[[bytes], bytes]
) -> None:
    archive = packed(tree, kind)
    archive.write_bytes(damage(archive.read_bytes()))
    with refused("cannot be extracted", str(archive)):
        extract(archive, tmp_path / "made")
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "source"}


def test_a_missing_archive_is_one_line(tmp_path: Path) -> None:
    with refused("no such archive"):
        extract(tmp_path / "nothing.zip", tmp_path / "made")
