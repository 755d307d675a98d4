"""Pictures with what a network said of them: the box it was shown, its word, and a bar per class."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from fermoe.data.images import read_image
from fermoe.files import atomic
from fermoe.plots.style import COLOURS, class_name
from fermoe.use.pictures import Picture

LONGEST = 640  # pixels of the longer side; small pictures are not enlarged
SHORTEST = 240  # pixels of the height, so that the bars have room
PANEL = 260  # pixels of the column with the bars
LINE = 24
MARGIN = 12


def write_drawn(
    folder: Path, pictures: Sequence[Picture], table: pd.DataFrame, labels: Sequence[str], taken: set[Path]
) -> None:
    """Write one PNG per picture into `folder`, named after its file and frame.

    No file of `pictures` and none of `taken` is overwritten; what is written is added there. Whoever writes in parts
    gives the same set each time.
    """
    sources = {Path(picture.path).resolve() for picture in pictures}
    for picture, (_, row) in zip(pictures, table.iterrows(), strict=True):
        path = _free(folder, picture, taken | sources)
        taken.add(path)
        with atomic(path) as temporary:
            sheet = drawn(read_image(picture.path), row.to_dict(), labels)
            sheet.save(temporary, compress_level=1)  # a photograph hardly shrinks further, and takes four times as long


def _free(folder: Path, picture: Picture, taken: set[Path]) -> Path:
    """A name of its own: two folders may hold files of one name."""
    stem = Path(picture.file).name + ("" if picture.frame is None else f"-{picture.frame:06d}")
    ends = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    return next(path for end in ends if (path := folder.resolve() / f"{stem}{end}.png") not in taken)


def drawn(image: Any, row: Mapping[str, Any], labels: Sequence[str]) -> Image.Image:
    """A picture (H, W, 3) uint8 with the box and the word of its `row` of the predictions, and the bars beside it."""
    picture = Image.fromarray(image)
    scale = min(1.0, LONGEST / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    height = max(size[1], SHORTEST, 2 * MARGIN + LINE * (len(labels) + 2))
    sheet = Image.new("RGB", (size[0] + PANEL, height), "white")
    sheet.paste(picture.resize(size), (0, 0))
    pen = ImageDraw.Draw(sheet)
    if row["outcome"] == "detected":
        x0, y0, x1, y1 = (row[corner] * scale for corner in ("x0", "y0", "x1", "y1"))
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=COLOURS["orange"], width=3)
    left, top = size[0] + MARGIN, MARGIN
    pen.text((left, top), class_name(row["label"]), fill="black", font=ImageFont.load_default(20))
    pen.text((left, top + LINE), row["outcome"], fill=COLOURS["grey"], font=ImageFont.load_default(13))
    for place, label in enumerate(labels, 2):
        _bar(pen, (left, top + place * LINE), label, float(row[f"p_{label}"]), label == row["label"])
    return sheet


def _bar(pen: ImageDraw.ImageDraw, at: tuple[int, int], label: str, share: float, chosen: bool) -> None:
    font, (x, y), start = ImageFont.load_default(13), at, 90
    width = PANEL - 2 * MARGIN - start - 44
    pen.text((x, y + 2), class_name(label)[:12], fill="black", font=font)
    pen.rectangle((x + start, y + 4, x + start + round(width * share), y + LINE - 6), fill=_colour(chosen))
    pen.text((x + start + width + 6, y + 2), f"{100 * share:.0f} %", fill="black", font=font)


def _colour(chosen: bool) -> str:
    return COLOURS["blue"] if chosen else COLOURS["sky"]
