"""Images, folders, patterns and videos give their pictures; what gives none is one line."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fermoe.data.images import read_image
from fermoe.use import pictures as module
from fermoe.use.pictures import Pictures
from tests.helpers.trees import picture


def video(path: Path, frames: int, codec: str = "MJPG") -> Path:
    """A video whose frame n is grey of level 8 · n."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (64, 48))
    for n in range(frames):
        writer.write(np.full((48, 64, 3), 8 * n, np.uint8))
    writer.release()
    return path


def names(pictures: Pictures) -> list[str]:
    return [p.name for part in pictures.parts() for p in part]


def test_a_folder_gives_its_images_at_any_depth_sorted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/er/c.webp", ".hidden/d.png", "e.txt.png.bak"):
        path = picture(tmp_path / (name if not name.endswith("bak") else "x.png"))
        path.rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    video(tmp_path / "film.avi", 3)
    found = Pictures([str(tmp_path)])
    assert names(found) == [str(tmp_path / name) for name in ("a.JPG", "b.png", "deep/er/c.webp")]
    assert found.problems == []


def test_patterns_and_names_keep_their_order_and_nothing_comes_twice(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.jpg"):
        picture(tmp_path / name)
    found = Pictures([str(tmp_path / "c.jpg"), str(tmp_path / "*.png"), str(tmp_path)])
    assert names(found) == [str(tmp_path / name) for name in ("c.jpg", "a.png", "b.png")]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    path = picture(tmp_path / "face [1].png")
    assert names(Pictures([str(path)])) == [str(path)]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nothing", "no such file, folder or pattern"),
        ("*.zzz", "no such file"),
        ("empty", "no pictures in this folder"),
    ],
)
def test_a_path_that_gives_nothing_is_one_line(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    found = Pictures([str(tmp_path / path)])
    assert names(found) == []
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path / path}: ")
    assert said in problem


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("mp4", "mp4v"), ("mkv", "mp4v"), ("mov", "mp4v")])
def test_of_a_video_every_nth_frame_is_taken_from_the_first_on(tmp_path: Path, suffix: str, codec: str) -> None:
    path = video(tmp_path / f"film.{suffix}", 30, codec)
    (part,) = Pictures([str(path)], every=10).parts()
    assert [(p.file, p.frame) for p in part] == [(str(path), frame) for frame in (0, 10, 20)]


def test_a_frame_is_read_as_it_was_filmed_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRAMES", 2)
    path, levels, folders = video(tmp_path / "film.avi", 5), [], set()
    for part in Pictures([str(path)], every=1).parts():
        assert len(part) <= 2
        levels += [read_image(p.path).mean() for p in part]
        folders |= {Path(p.path).parent for p in part}
    np.testing.assert_allclose(levels, [0, 8, 16, 24, 32], atol=3)
    assert not any(folder.exists() for folder in folders)


def test_a_video_without_frames_is_one_line(tmp_path: Path) -> None:
    found = Pictures([str(video(tmp_path / "none.avi", 0))])
    assert names(found) == []
    assert found.problems == [f"{tmp_path / 'none.avi'}: a video without frames"]


CONTENTS = {
    "a playlist": b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
    "a list of files": b"ffconcat version 1.0\nfile /etc/hostname\n",
    "HTML": b"<html></html>",
    "nothing": b"",
    "a container without content": b"\0\0\0\x18ftypisom" + bytes(200),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_what_only_calls_itself_a_video_is_one_line_and_silence(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.mp4").write_bytes(CONTENTS[case])
    found = Pictures([str(tmp_path / "film.mp4")])
    assert names(found) == []
    assert found.problems == [f"{tmp_path / 'film.mp4'}: unreadable video"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_video_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    path = video(tmp_path / "film.avi", 2)
    path.chmod(0)
    found = Pictures([str(path)])
    assert names(found) == []
    assert "Permission denied" in found.problems[0]
