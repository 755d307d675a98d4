"""Which pictures were meant: image files, folders, patterns and videos → files that are read as a dataset's are.

Frames of a video become lossless image files for as long as they are looked at, so that a frame goes the way of every
other picture.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from fermoe.data.images import IMAGE_SUFFIXES
from fermoe.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
# How the containers of these suffixes begin: (offset, bytes). FFmpeg goes by content, whatever a file is called, and
# some contents, such as playlists, make it open other files or connections.
CONTAINERS = (
    *((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (8, b"AVI "),
    (0, b"\x1a\x45\xdf\xa3"),
)
EVERY = 25  # about one frame a second
PART = 1024  # pictures that are read, cropped and shown to the network together
FRAMES = 256  # as many of a video: each takes some megabytes in the temporary folder

# FFmpeg writes to stderr by itself.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True)
class Picture:
    """A picture: the file that the user named, the number of its frame if that is a video, and the file to open."""

    file: str
    path: str
    frame: int | None = None

    @property
    def name(self) -> str:
        """What it is called in messages: "clip.mp4 frame 25"."""
        return self.file if self.frame is None else f"{self.file} frame {self.frame}"


@dataclass
class Pictures:
    """The pictures behind some paths, in the order of the paths and sorted within a folder or pattern, each once.

    Attributes:
        every: of a video, every how many frames one is taken; the first is always.
        problems: one line for each path or video of which nothing can be used, filled as they are come by.
    """

    paths: Sequence[str]
    every: int = EVERY
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        files = [file for path in self.paths for file in self._files(path)]
        self.files = list(dict.fromkeys(files))

    def _files(self, path: str) -> list[str]:
        """The files of a path that exists, else of a pattern."""
        if os.path.isdir(path):
            found = sorted(str(p) for p in Path(path).rglob("*") if _is_image(p, Path(path)))
            missing = "no pictures in this folder"
        elif os.path.exists(path):
            return [path]
        else:
            found = sorted(p for p in glob.glob(path, recursive=True) if os.path.isfile(p))
            missing = "no such file, folder or pattern"
        if not found:
            self.problems.append(f"{path}: {missing}")
        return found

    def parts(self) -> Iterator[list[Picture]]:
        """The pictures, `PART` at a time; the files behind the frames of a video are there until the next part."""
        images = [Picture(file, file) for file in self.files if not _is_video(file)]
        for start in range(0, len(images), PART):
            yield images[start : start + PART]
        for file in filter(_is_video, self.files):
            try:
                yield from self._frames(file)
            except UserError as error:
                self.problems.append(f"{file}: {error.what}")

    def _frames(self, file: str) -> Iterator[list[Picture]]:
        """The frames 0, `every`, 2 · `every`, … of a video as files in a temporary folder.

        Raises:
            UserError: it is no video that can be read, or has no frame.
        """
        video = open_video(file)
        number = 0
        try:
            while True:
                with tempfile.TemporaryDirectory(prefix="fermoe-frames-") as folder:
                    part: list[Picture] = []
                    while len(part) < FRAMES and video.grab():
                        if number % self.every == 0 and (picture := _write(video, file, number, folder)):
                            part.append(picture)
                        number += 1
                    if part:
                        yield part
                if len(part) < FRAMES:
                    break
        finally:
            video.release()
        if number == 0:
            raise UserError("a video without frames", where=file, fix="give another one")


def _is_image(path: Path, folder: Path) -> bool:
    """By its suffix; hidden files and folders are no pictures: Jupyter leaves .ipynb_checkpoints wherever it looked."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def _is_video(file: str) -> bool:
    return Path(file).suffix.lower() in VIDEO_SUFFIXES


def open_video(file: str) -> cv2.VideoCapture:
    """A video, to be read frame by frame.

    Raises:
        UserError: it cannot be opened, or is something else.
    """
    try:
        with open(file, "rb") as content:
            head = content.read(12)
    except OSError as error:
        raise UserError(f"unreadable video ({error.strerror})", where=file, fix="give another one") from None
    video = cv2.VideoCapture()
    level = cv2.setLogLevel(0)  # a video is read or refused, and nothing is said in between
    try:
        opened = any(head[at:].startswith(kind) for at, kind in CONTAINERS) and video.open(file, cv2.CAP_FFMPEG)
    finally:
        cv2.setLogLevel(level)
    if not opened:
        raise UserError("unreadable video", where=file, fix=f"give one of {', '.join(VIDEO_SUFFIXES)}")
    return video


def _write(video: cv2.VideoCapture, file: str, number: int, folder: str) -> Picture | None:
    """The frame that was grabbed last as a file; None where it cannot be decoded."""
    good, frame = video.retrieve()
    path = os.path.join(folder, f"{number}.png")
    if not good or not cv2.imwrite(path, frame, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        return None
    return Picture(file, path, number)
