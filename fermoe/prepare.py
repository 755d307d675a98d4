"""An archive of a dataset → its folder and the memory-mapped arrays that training reads.

For machines that are lent for minutes: one file travels, and nothing is decoded twice.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import click

from fermoe.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.model import ModelConfig
from fermoe.pixels import pixels


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
    waiting = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                _refuse_unsafe(archive, content.namelist())
                content.extractall(waiting)
        else:
            with tarfile.open(archive) as tar:
                _refuse_unsafe(archive, [member.name for member in tar if not member.isdir()])
                tar.extractall(waiting, filter="data")
        inside = list(waiting.iterdir())
        content_root = inside[0] if len(inside) == 1 and inside[0].is_dir() else waiting
        content_root.chmod(0o755)
        content_root.rename(root)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"the archive cannot be extracted ({error})", where=archive, fix="get it again") from None
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return root


def _refuse_unsafe(archive: Path, names: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"'{name}' leads out of the archive", where=archive, fix="do not use this file")


def prepare_data(name: str, root: Path, archive: Path | None, crops: tuple[str, ...], model: str) -> int:
    """Extract where an archive is given, then make the arrays of each crop at the model's image size."""
    if archive is not None:
        extract(archive, root)
    table = load_dataset(name, root)
    size = ModelConfig.named(model, num_classes=len(table.attrs["labels"])).image_size
    click.echo(f"{len(table)} images in {root}")
    for crop in crops:
        array = pixels(table, crop, size)
        click.echo(f"{crop}: {array.shape[2]}×{array.shape[3]}, {array.nbytes / 1e6:.0f} MB")
    return 0
