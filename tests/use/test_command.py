"""`fermoe predict` and `fermoe export` as people and pipes use them: what is printed, written and refused."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
from click.testing import CliRunner, Result
from PIL import Image

from fermoe.cli import main
from fermoe.use.drawn import write_drawn
from fermoe.use.pictures import Picture
from fermoe.use.predict import predict_pictures
from fermoe.use.trained import load_trained
from tests.helpers.trees import picture
from tests.use.conftest import Example
from tests.use.test_pictures import video


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def test_csv_is_printed_and_everything_else_goes_to_stderr(example: Example) -> None:
    result = predict(*example.faces[:3], "--weights", example.weights)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(io.StringIO(result.stdout))
    expected = predict_pictures(example.trained, example.faces[:3], progress=False).table
    assert table.columns.tolist() == expected.columns.tolist()
    assert table["label"].tolist() == expected["label"].tolist()
    for name in (column for column in table if column.startswith(("p_", "gate_"))):
        np.testing.assert_allclose(table[name], expected[name], atol=1e-8)
    assert example.trained.about.accuracy in result.stderr
    assert "3 pictures" in result.stderr


def test_a_network_of_drawn_faces_says_that_photographs_are_beyond_it(example: Example) -> None:
    assert "knows nothing about photographs" in predict(example.faces[0], "--weights", example.weights).stderr


def test_json_is_one_object_a_line_with_every_number_in_full(example: Example) -> None:
    result = predict(*example.faces[:3], "--weights", example.weights, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    table = predict_pictures(example.trained, example.faces[:3], progress=False).table
    for row, (_, expected) in zip(rows, table.iterrows(), strict=True):
        assert (row["file"], row["label"], row["frame"]) == (expected["file"], expected["label"], None)
        assert row["box"] == [expected[corner] for corner in ("x0", "y0", "x1", "y1")]
        assert [np.float32(p) for p in row["probabilities"].values()] == [
            expected[f"p_{name}"] for name in row["probabilities"]
        ]
        assert len(row["gates"]["cnn"]) == len(row["gates"]["expression"]) == 4


def test_a_run_and_the_file_that_it_was_exported_to_say_the_same(example: Example) -> None:
    from_run = predict(*example.faces[:3], "--run", example.run.directory)
    from_file = predict(*example.faces[:3], "--weights", example.weights)
    assert from_run.stdout == from_file.stdout != ""


def test_out_is_written_instead_of_printed(example: Example, tmp_path: Path) -> None:
    printed = predict(example.faces[0], "--weights", example.weights).stdout
    result = predict(example.faces[0], "--weights", example.weights, "--out", tmp_path / "new" / "labels.csv")
    assert result.stdout == ""
    assert (tmp_path / "new" / "labels.csv").read_text() == printed


def test_without_a_name_the_network_that_comes_with_fermoe_is_asked(example: Example) -> None:
    result = predict(example.faces[0])
    assert result.exit_code == 0
    assert f"network {load_trained().name}" in result.stderr


def test_frames_of_a_video_are_rows_with_their_numbers(example: Example, tmp_path: Path) -> None:
    path = video(tmp_path / "film.avi", 5)
    result = predict(path, example.faces[0], "--every", 2, "--weights", example.weights)
    table = pd.read_csv(io.StringIO(result.stdout), dtype={"frame": "Int64"})
    assert table["file"].tolist() == [example.faces[0], *[str(path)] * 3]
    assert table["frame"].tolist() == [pd.NA, 0, 2, 4]


def one_pixel(path: Path) -> Path:
    return picture(path, size=(1, 1))


def large(path: Path) -> Path:
    Image.new("RGB", (8000, 1000)).save(path)
    return path


def cmyk(path: Path) -> Path:
    Image.open(picture(path)).convert("CMYK").save(path.with_suffix(".jpg"))
    return path.with_suffix(".jpg")


def animated(path: Path) -> Path:
    frames = [Image.open(picture(path, seed)).convert("P") for seed in range(3)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    return path.with_suffix(".gif")


def markup(path: Path) -> Path:
    return picture(path.parent / "<b onload=alert(1)>,\"x'.png")


@pytest.mark.parametrize("make", [one_pixel, large, cmyk, animated, markup])
def test_a_strange_picture_is_a_row_and_one_line_says_that_it_has_no_face(
    example: Example, tmp_path: Path, make: object
) -> None:
    path = make(tmp_path / "a.png")  # type: ignore[operator]
    result = predict(path, "--weights", example.weights)
    assert result.exit_code == 0, result.output
    row = pd.read_csv(io.StringIO(result.stdout)).iloc[0]
    with Image.open(path) as image:
        assert (row["x0"], row["y0"], row["x1"], row["y1"]) == (0, 0, *image.size)
    assert (row["file"], row["outcome"]) == (str(path), "no face")
    assert result.stderr.count("no face was found") == 1


NOTHING = {
    "no such file": lambda folder: folder / "nothing.png",
    "an empty folder": lambda folder: folder,
    "HTML": lambda folder: _file(folder / "page.png", b"<html>"),
    "an empty file": lambda folder: _file(folder / "a.png", b""),
    "a video without frames": lambda folder: video(folder / "none.avi", 0),
    "PostScript, which would start a program": lambda folder: _file(folder / "a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
}


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("case", NOTHING)
def test_where_nothing_could_be_looked_at_it_is_one_line_and_exit_code_2(
    example: Example, tmp_path: Path, case: str
) -> None:
    path = NOTHING[case](tmp_path)
    result = predict(path, "--weights", example.weights, "--out", tmp_path / "labels.csv")
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("fermoe: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"fermoe: {path}: ")
    assert result.stdout == ""
    assert not (tmp_path / "labels.csv").exists()


def test_where_something_could_be_looked_at_the_rest_is_a_line_each_and_exit_code_0(
    example: Example, tmp_path: Path
) -> None:
    paths = [tmp_path / "nothing.png", _file(tmp_path / "page.png", b"<html>"), example.faces[0]]
    result = predict(*paths, "--weights", example.weights)
    assert result.exit_code == 0
    assert result.stderr.count("\nfermoe: ") == 2
    assert len(pd.read_csv(io.StringIO(result.stdout))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "nonsense"], "no such weights"),
        (["--run", "nonsense"], "no such finished run"),
        (["--run", "a", "--weights", "b"], "give one of them"),
    ],
)
def test_a_network_that_is_not_there_is_one_line(example: Example, arguments: list[str], said: str) -> None:
    result = predict(example.faces[0], *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
def test_names_of_any_bytes_come_out_as_they_went_in(example: Example, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    os.rename(picture(tmp_path / "a.png"), name)
    result = predict(os.fsdecode(name), "--weights", example.weights)
    assert result.exit_code == 0
    assert name in result.stdout_bytes


def test_a_hundred_photographs_of_a_folder_are_all_labelled(example: Example, tmp_path: Path) -> None:
    photos = [getattr(skimage.data, name)() for name in ("astronaut", "camera", "chelsea", "coffee", "rocket")]
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(100):
        rolled = np.roll(photos[n % len(photos)], n, axis=1)  # no two are the same
        Image.fromarray(rolled).save(folder / f"{n:03d}.jpg")
    result = predict(folder, "--weights", example.weights)
    table = pd.read_csv(io.StringIO(result.stdout))
    assert table["file"].tolist() == [str(path) for path in sorted(folder.iterdir())]
    assert (table.loc[table["file"].str.contains("000|001"), "outcome"] == "detected").all()


def test_export_writes_the_file_and_its_card_and_says_where(example: Example, tmp_path: Path) -> None:
    path = tmp_path / "out" / "w.safetensors"
    result = CliRunner().invoke(main, ["export", str(example.run.directory), "--weights", str(path)])
    assert result.exit_code == 0, result.output
    assert path.read_bytes() == example.weights.read_bytes()
    assert path.with_suffix(".md").exists()
    assert str(path) in result.stdout


def test_export_without_a_name_writes_into_the_current_folder(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["export", str(example.run.directory)]).exit_code == 0
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".md", ".safetensors"]


def test_the_bars_and_the_box_are_drawn_beside_and_on_the_picture(example: Example, tmp_path: Path) -> None:
    predict(*example.faces, "--weights", example.weights, "--show", tmp_path)
    table = predict_pictures(example.trained, example.faces, progress=False).table
    found = table[table["outcome"] == "detected"].iloc[0]
    original = np.asarray(Image.open(found["file"]))
    shown = np.asarray(Image.open(tmp_path / f"{Path(found['file']).name}.png"))
    height, width = original.shape[:2]
    changed = (shown[:height, :width] != original).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (columns[0], rows[0]) == (found["x0"], found["y0"])
    assert (columns[-1] + 1, rows[-1] + 1) == (found["x1"], found["y1"])
    panel = shown[:, width:].reshape(-1, 3)
    chosen = (panel == (0x00, 0x72, 0xB2)).all(1).sum()
    others = (panel == (0x56, 0xB4, 0xE9)).all(1).sum()
    share = found[f"p_{found['label']}"]
    assert chosen / (chosen + others) == pytest.approx(share, abs=0.1)


def test_pictures_of_one_name_and_the_originals_are_all_kept(example: Example, tmp_path: Path) -> None:
    first, second = (
        picture(tmp_path / "a" / "x.png", 1).rename(tmp_path / "a" / "x"),
        picture(tmp_path / "b" / "x.png", 2),
    )
    before = second.read_bytes()
    result = predict(first, second, "--weights", example.weights, "--show", second.parent)
    assert result.exit_code == 0, result.output
    assert second.read_bytes() == before
    assert sorted(p.name for p in second.parent.iterdir()) == ["x-2.png", "x.png", "x.png.png"]


def test_pictures_of_one_name_in_two_parts_are_both_shown(example: Example, tmp_path: Path) -> None:
    pictures = [picture(tmp_path / folder / "x.png", seed) for seed, folder in enumerate("ab")]
    table = predict_pictures(example.trained, pictures, progress=False).table
    taken: set[Path] = set()
    for place, path in enumerate(pictures):
        part, rows = [Picture(str(path), str(path))], table.iloc[[place]]
        write_drawn(tmp_path / "shown", part, rows, example.trained.about.labels, taken)
    assert sorted(path.name for path in (tmp_path / "shown").iterdir()) == ["x.png-2.png", "x.png.png"]


def test_what_is_said_holds_no_line_break(example: Example, tmp_path: Path) -> None:
    name = tmp_path / "two\nlines.png"
    name.write_bytes(b"")
    result = predict(name, "--weights", example.weights)
    assert result.exit_code == 2
    assert re.search(r"^fermoe: .*two lines\.png: unreadable image", result.stderr, re.MULTILINE)
