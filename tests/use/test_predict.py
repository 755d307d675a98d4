"""What is said of files is, bit for bit, what the run's evaluation and the notebooks say of the same pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fermoe.data.faces import detect_faces
from fermoe.training.predictions import gates_of, probabilities_of
from fermoe.use.predict import predict_pictures
from fermoe.use.trained import load_trained
from tests.helpers.trees import picture, refused
from tests.use.conftest import Example, make_example


def test_files_get_the_answers_of_the_notebooks_to_the_bit(example: Example) -> None:
    table = predict_pictures(load_trained(example.weights), example.faces, progress=False).table
    rows = example.opened.rows()
    out = example.opened.predict(example.opened.images(rows), features=False)
    assert np.array_equal(probabilities_of(table), out.logits.softmax(1).numpy().astype(float))
    for mixture, gates in gates_of(table).items():
        assert np.array_equal(gates, out.gates[mixture].numpy().astype(float))
    names = example.opened.data.label_names
    assert table["label"].tolist() == [names[i] for i in out.logits.argmax(1)]


def test_files_get_the_answers_that_evaluation_wrote(example: Example) -> None:
    table = predict_pictures(example.trained, example.faces, progress=False).table
    kept = example.run.predictions
    assert np.array_equal(probabilities_of(table).round(8), probabilities_of(kept))
    assert table["label"].tolist() == [example.trained.about.labels[i] for i in kept["predicted"]]


def test_the_box_is_the_one_that_evaluation_cut_out(example: Example) -> None:
    table = predict_pictures(example.trained, example.faces, progress=False).table
    found = detect_faces(example.opened.data.dataset.subset(example.opened.rows()), progress=False)
    for column in ("outcome", "x0", "y0", "x1", "y1"):
        assert table[column].tolist() == found[column].tolist()
    assert (table["outcome"] == "detected").any()


@pytest.mark.parametrize(
    "parameters",
    [
        {"crop": "none", "variant": "backbone"},
        {"crop": "none", "variant": "backbone", "protocol": "published"},
        {"crop": "none", "variant": "no_moe", "normalisation": "vggface2"},
        {"crop": "none", "variant": "backbone", "framing": "tight"},
    ],
    ids=["whole images", "the authors' pixel values", "another normalisation", "grey pictures"],
)
def test_crop_and_pixel_values_travel_with_the_weights(tmp_path: Path, parameters: dict[str, str]) -> None:
    example = make_example(tmp_path, **parameters)
    table = predict_pictures(load_trained(example.weights), example.faces, progress=False).table
    rows = example.opened.rows()
    out = example.opened.predict(example.opened.images(rows), features=False)
    assert np.array_equal(probabilities_of(table), out.logits.softmax(1).numpy().astype(float))
    assert set(table["outcome"]) == {"whole image"}
    side = 48 if "framing" in parameters else 128
    assert set(zip(table["x0"], table["y0"], table["x1"], table["y1"], strict=True)) == {(0, 0, side, side)}


def test_the_size_of_a_batch_changes_no_label(example: Example) -> None:
    whole, single = (
        predict_pictures(example.trained, example.faces, batch_size=size, progress=False).table for size in (128, 1)
    )
    assert whole["label"].tolist() == single["label"].tolist()
    np.testing.assert_allclose(probabilities_of(whole), probabilities_of(single), atol=1e-5)


def test_a_file_that_cannot_be_read_leaves_the_others_as_they_are(example: Example, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(example.faces[0]).read_bytes()[:200])
    alone = predict_pictures(example.trained, example.faces[:3], progress=False)
    found = predict_pictures(example.trained, [example.faces[0], str(broken), *example.faces[1:3]], progress=False)
    assert found.table.equals(alone.table)
    (problem,) = found.problems
    assert problem.startswith(f"{broken}: unreadable image")
    assert alone.problems == []


def test_a_network_that_saw_painted_faces_is_refused(tmp_path: Path) -> None:
    example = make_example(tmp_path, crop="masked", variant="backbone")
    with refused("masked", "true face boxes"):
        predict_pictures(example.trained, example.faces, progress=False)


def test_a_network_of_grey_faces_sees_no_colour(tmp_path: Path) -> None:
    example = make_example(tmp_path, "tight", crop="none", variant="backbone")
    colour = picture(tmp_path / "colour.png", size=(80, 60))
    Image.open(colour).convert("L").save(tmp_path / "grey.png")
    paths = [str(colour), str(tmp_path / "grey.png")]
    first, second = probabilities_of(predict_pictures(example.trained, paths, progress=False).table)
    assert np.array_equal(first, second)
