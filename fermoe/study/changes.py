"""Has the data of a study changed since its runs were made? Which images have?

Beside the runs lies a listing of every image file: its size, when it was written, and a hash of its content. A file
whose size and time are the same counts as the same; any other is read.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pandas as pd

from fermoe.data.datasets import Dataset
from fermoe.data.images import Row, map_images
from fermoe.errors import UserError, shortened
from fermoe.files import write_csv
from fermoe.training.runs import RESULT

LISTING = "data.csv"
COLUMNS = ("image", "label", "split", "bytes", "written", "content")


def refuse_changed(dataset: Dataset, runs: Path, fix: str) -> None:
    """Note the dataset's files in the folder of a study's runs, if it is the first time, or compare them with the note.

    Raises:
        UserError: there are finished runs of other data; the images that differ are counted, and the first is named.
    """
    if dataset.drawn:
        return  # the parameters of a run say all about its faces
    before = _read(runs / LISTING)
    now = listing(dataset, before)
    if before is not None and any(runs.glob(f"*/{RESULT}")) and (what := difference(before, now)):
        raise UserError(f"the data are not those of this study's finished runs: {what}", where=runs, fix=fix)
    if before is None or not before.equals(now):
        write_csv(runs / LISTING, now)


def listing(dataset: Dataset, known: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every image file (columns `COLUMNS`), its content taken from `known` where size and time are still the same."""
    table = dataset.table[["image", "label", "split", "path"]].copy()
    stats = [os.stat(path) for path in table["path"]]
    table["bytes"], table["written"] = [s.st_size for s in stats], [s.st_mtime_ns for s in stats]
    table["content"] = ""
    if known is not None:
        places = pd.MultiIndex.from_frame(known[["image", "bytes", "written"]])
        contents = pd.Series(known["content"].to_numpy(), index=places)
        contents = contents[~contents.index.duplicated()]
        wanted = pd.MultiIndex.from_frame(table[["image", "bytes", "written"]])
        table["content"] = contents.reindex(wanted).fillna("").to_numpy()
    unread = table["content"] == ""
    read = map_images(_content, table[unread], "reading images", processes=False, progress=False)
    table.loc[unread, "content"] = list(read)
    return table[list(COLUMNS)].reset_index(drop=True)


def _content(row: Row) -> str:
    with open(row["path"], "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def difference(before: pd.DataFrame, now: pd.DataFrame) -> str:
    """In words, what differs between two listings; "" where nothing does."""
    old, new = ({row[0]: row[1:] for row in _facts(table)} for table in (before, now))
    found = {
        "changed": [image for image in new if image in old and new[image] != old[image]],
        "gone": [image for image in old if image not in new],
        "new": [image for image in new if image not in old],
    }
    parts = [f"{len(images)} {how} (such as {shortened(images[0])})" for how, images in found.items() if images]
    return ", ".join(parts)


def _facts(table: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(table[["image", "label", "split", "content"]].astype(str).itertuples(index=False, name=None))


def _read(path: Path) -> pd.DataFrame | None:
    """The listing, or None where there is none or it is damaged: then it is made from what is there."""
    try:
        kinds = {"image": str, "split": str, "content": str}
        table = pd.read_csv(path, dtype=kinds, keep_default_na=False, encoding_errors="surrogateescape")
    except (OSError, ValueError):
        return None
    return table if tuple(table.columns) == COLUMNS else None
