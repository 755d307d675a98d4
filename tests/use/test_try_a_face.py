"""A moved slider shows what the network says of the changed picture; whatever is uploaded is an answer or one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fermoe.data.perturbations import PERTURBATIONS, Perturbation, perturb, usual_boxes
from fermoe.training.predictions import gates_of, probabilities_of
from fermoe.use.face import Face, ask, open_drawn, open_face
from fermoe.use.predict import predict_pictures
from fermoe.use.trained import load_trained
from fermoe.use.try_a_face import Networks, Panel, as_png, draw_answer, draw_maps, open_networks
from tests.helpers.trees import picture, refused
from tests.use.conftest import Example, make_example


@pytest.fixture(scope="module")
def networks() -> Networks:
    return open_networks("quick")


@pytest.fixture(scope="module")
def face(networks: Networks) -> Face:
    return networks.first_face()


@pytest.fixture
def panel(face: Face, networks: Networks) -> Iterator[Panel]:
    yield looked_at(Panel(face, networks))
    plt.close("all")


def looked_at(panel: Panel) -> Panel:
    panel.camera._handle_custom_msg("shown", [])  # as the browser does
    return panel


def shown(panel: Panel) -> dict[str, bytes]:
    return {name: widget.value for name, widget in panel.pictures.items()}


def upload(panel: Panel, name: str, content: bytes) -> None:
    file = {"name": name, "type": "image/png", "size": len(content), "content": content}
    panel.upload.value = ({**file, "last_modified": datetime(2026, 1, 1)},)


def test_an_answer_is_that_of_fermoe_predict_to_the_bit(example: Example) -> None:
    table = predict_pictures(example.trained, example.faces[:1], progress=False).table
    opened = open_face(example.trained, example.faces[0])
    answer = ask(opened)
    assert np.array_equal(answer.probabilities.to_numpy().astype(float), probabilities_of(table)[0])
    for mixture, gates in gates_of(table).items():
        assert np.array_equal(answer.gates[mixture].to_numpy().astype(float), gates[0])
    assert opened.box == tuple(table.loc[0, ["x0", "y0", "x1", "y1"]])
    assert opened.outcome == table.loc[0, "outcome"]


def test_widgets_hold_no_copy_of_a_picture_that_no_browser_shows(face: Face, networks: Networks) -> None:
    panel = Panel(face, networks)
    assert face.name in panel.said.value
    assert set(shown(panel).values()) == {b""}
    assert all(bytes(content).startswith(b"\x89PNG") for content in shown(looked_at(panel)).values())


def test_a_moved_slider_shows_what_the_network_says_of_the_changed_picture(panel: Panel, face: Face) -> None:
    before = shown(panel)
    panel.sliders["camera"].value = 3
    images = perturb("rotation", 3, face.shown, usual_boxes(1, 64), np.array([0]))
    direct = face.trained.network.predict(images)
    assert np.array_equal(panel.answer.probabilities, direct.logits.softmax(1)[0])
    assert np.array_equal(panel.answer.gates["expression"], direct.gates["expression"][0])
    assert np.array_equal(panel.answer.seen, images[0])
    assert not np.array_equal(panel.answer.probabilities, ask(face).probabilities)
    assert all(after != before[name] for name, after in shown(panel).items())
    drawn = {"answer": draw_answer(face, panel.answer, ask(face)), "maps": draw_maps(panel.answer)}
    assert shown(panel) == {name: as_png(ax) for name, ax in drawn.items()}
    assert panel.answer.sentence in panel.said.value


def test_a_slider_moved_back_shows_the_picture_as_it_was(panel: Panel) -> None:
    before, said = shown(panel), panel.said.value
    panel.sliders["light"].value = 5
    assert panel.said.value != said
    panel.sliders["light"].value = 0
    assert (shown(panel), panel.said.value) == (before, said)


def test_changes_are_made_one_after_the_other(panel: Panel, face: Face) -> None:
    panel.kinds["light"].value = "brightness"
    for group, severity in (("camera", 2), ("light", 4), ("occlusion", 5)):
        panel.sliders[group].value = severity
    images = face.shown
    for name, severity in (("occluded mouth", 5), ("brightness", 4), ("rotation", 2)):
        images = perturb(name, severity, images, usual_boxes(1, 64), np.array([0]))
    assert np.array_equal(panel.answer.seen, images[0])


def test_every_perturbation_can_be_chosen_and_a_new_one_is_there_at_once(
    face: Face, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Perturbation("weather", "share", (0.1, 0.2, 0.3, 0.4, 0.5), lambda batch, value: batch.images * (1 - value))
    monkeypatch.setitem(PERTURBATIONS, "fog", new)
    panel = Panel(face, networks)
    offered = {name: group for group, kinds in panel.kinds.items() for name in kinds.options}
    assert offered == {name: kind.group for name, kind in PERTURBATIONS.items()}
    panel.sliders["weather"].value = 5
    assert np.allclose(panel.answer.seen, face.shown[0] / 2)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(50)], ids=["empty", "text", "torn"])
def test_an_unreadable_upload_is_one_line_and_the_last_face_stays(
    panel: Panel, face: Face, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    before = shown(panel)
    upload(panel, "<b>mine</b>.png", content)
    assert panel.said.value.startswith('<p role="status"><b>&lt;b&gt;mine&lt;/b&gt;.png: unreadable image')
    assert len(panel.said.value.splitlines()) == 1
    assert "skip-unreadable" not in panel.said.value
    assert capfd.readouterr() == ("", "")
    assert panel.face is face
    assert shown(panel) == before


def test_an_uploaded_picture_is_looked_at_as_a_file_is(panel: Panel, face: Face, tmp_path: Path) -> None:
    path = picture(tmp_path / "no face.png", size=(80, 60))
    assert panel.choice.value == "happy"
    upload(panel, path.name, path.read_bytes())
    assert panel.face.outcome == "no face"
    assert panel.face.box == (0, 0, 80, 60)
    assert panel.choice.value is None
    assert panel.said.value.startswith('<p role="status"><b>no face.png: ')
    assert np.array_equal(panel.answer.probabilities, ask(open_face(face.trained, path)).probabilities)


def test_a_snapshot_of_the_camera_is_looked_at_under_the_changes_that_are_set(panel: Panel, face: Face) -> None:
    panel.sliders["occlusion"].value = 5
    panel.camera.set_state({"picture": memoryview(drawn_png(face))})  # as the browser does
    assert panel.face.name == "the camera's picture"
    assert panel.face.box == face.box
    assert np.array_equal(panel.answer.probabilities, ask(face, {"occluded mouth": 5}).probabilities)


def drawn_png(face: Face) -> bytes:
    content = BytesIO()
    Image.fromarray(face.picture).save(content, "PNG")
    return content.getvalue()


def test_every_picture_is_shown_to_the_network_that_knows_its_kind() -> None:
    both, one = open_networks(), open_networks("quick")
    assert both.drawn.about.drawn
    assert both.own.name == load_trained().name
    assert one.drawn is one.own


def test_what_a_network_has_never_seen_stands_beside_its_answer(panel: Panel, face: Face) -> None:
    meaningless = "its answer means nothing"
    assert "knows nothing about photographs." in panel.note.value
    assert meaningless not in panel.note.value
    upload(panel, "mine.png", drawn_png(face))
    assert f"on one, {meaningless}" in panel.note.value
    assert panel.box.children.index(panel.note) == panel.box.children.index(panel.said) + 1
    photographs = load_trained("fer2013")
    assert f"on a drawn face, {meaningless}" in open_drawn(photographs, "happy").note
    assert meaningless not in replace(face, trained=photographs, emotion=None).note


def test_where_there_is_no_kernel_a_sentence_stands_in_for_the_widgets(panel: Panel) -> None:
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == "Run this cell in JupyterLab: the sliders need a kernel."
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.box.model_id


def test_a_chosen_drawn_face_is_shown(panel: Panel, face: Face) -> None:
    panel.choice.value = "anger"
    assert panel.said.value.startswith('<p role="status"><b>drawn face, anger: ')
    assert np.array_equal(panel.answer.probabilities, ask(open_drawn(face.trained, "anger")).probabilities)


def test_an_emotion_that_is_not_drawn_is_refused_by_name(face: Face) -> None:
    with refused("no face is drawn for 'bored'", "surprise"):
        open_drawn(face.trained, "bored")


def test_a_network_without_extractors_and_mixtures_has_one_map_and_no_gates(tmp_path: Path) -> None:
    trained = make_example(tmp_path, crop="none", variant="backbone").trained
    panel = Panel(open_drawn(trained, "sad"), Networks(trained, trained))
    assert panel.face.outcome == "whole image"
    assert [*panel.answer.maps] == ["resnet"]
    assert panel.answer.gates.empty


def test_a_network_that_saw_painted_faces_is_refused(tmp_path: Path) -> None:
    trained = make_example(tmp_path, crop="masked", variant="backbone").trained
    with refused("masked", "true face boxes"):
        Networks(trained, trained).first_face()
