"""The panel of notebook 12: choose a picture, move sliders, see what the network says. It holds widgets and no formula.

What it shows are the figures of `fermoe.plots`, drawn again after every move.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import matplotlib.pyplot as plt
import traitlets
from matplotlib.axes import Axes

from fermoe.data.perturbations import PERTURBATIONS, SEVERITIES
from fermoe.errors import LONGEST, UserError, shortened
from fermoe.plots.grad_cam import plot_own_maps
from fermoe.plots.show import described
from fermoe.plots.style import class_name, png
from fermoe.plots.try_a_face import plot_answer
from fermoe.use.face import Answer, Face, ask, drawn_emotions, open_drawn, open_face
from fermoe.use.trained import Trained, load_trained

FIRST = "happy"
"""The drawn face that is shown where no picture is named."""
DRAWN = "quick"
"""Of the networks that come with fermoe, the one that was trained on drawn faces."""
USUAL = {"occlusion": "occluded mouth", "light": "side lighting", "camera": "rotation"}
"""What the slider of a group begins with; a group that is not here begins with its first."""


class Camera(anywidget.AnyWidget):
    """A snapshot by the browser's camera, where it has one: `picture` is a PNG, empty until one is taken."""

    _esm = Path(__file__).with_name("camera.js")
    picture = traitlets.Bytes(b"").tag(sync=True, from_json=lambda value, _: bytes(value))  # it comes as a memoryview


@dataclass(frozen=True)
class Networks:
    """Which network is asked about drawn faces, and which about a reader's own pictures."""

    drawn: Trained
    own: Trained

    def first_face(self, picture: str = "") -> Face:
        """The picture of that path, or a drawn face where none is named.

        Raises:
            UserError: the picture cannot be read.
        """
        return open_face(self.own, picture) if picture else open_drawn(self.drawn, FIRST)


def open_networks(weights: str = "") -> Networks:
    """The network of a file or of a short name for every picture; of those that come with fermoe, one for each kind.

    Raises:
        UserError: the weights cannot be used.
    """
    if weights:
        return Networks(*[load_trained(weights)] * 2)
    return Networks(load_trained(DRAWN), load_trained())


def draw_answer(face: Face, answer: Answer, before: Answer | None = None) -> Axes:
    """The picture with its box, the probabilities and the gates; marks where they were `before`."""
    box = face.box if face.outcome == "detected" else None
    title = f"The picture{'' if before is None else ' before the change'}: {face.outcome}"
    then = None if before is None else (before.probabilities, before.gates)
    return plot_answer(face.picture, box, answer.probabilities, answer.gates, then, title)


def draw_maps(answer: Answer) -> Axes:
    """What the network sees, and each branch's map for the likeliest class."""
    label = class_name(str(answer.probabilities.idxmax()))
    return plot_own_maps(answer.seen, answer.maps, title=f"Where each branch finds “{label}”")


class Panel:
    """The widgets and their wiring.

    Figures are drawn once a browser shows them: where none does, as when papermill runs the notebook and keeps what
    widgets hold, no copy of a reader's picture stays behind.

    Attributes:
        face, answer: what is shown now.
        choice, upload, camera: where a picture comes from.
        kinds, sliders: by group of perturbations, which one and how severe.
        said: the answer, or what was wrong with a picture, in words.
        note: what is to be known of the network that gave it.
        pictures: the figures, empty until they are `seen`.
        box: all of them.
    """

    def __init__(self, face: Face, networks: Networks) -> None:
        self.networks = networks
        self.choice = widgets.Dropdown(
            options=[(f"drawn: {class_name(name)}", name) for name in drawn_emotions()],
            value=face.emotion,
            description="Face",
        )
        self.upload = widgets.FileUpload(accept="image/*", description="Upload a picture", layout={"width": "auto"})
        self.camera = Camera()
        groups = dict.fromkeys(kind.group for kind in PERTURBATIONS.values())
        self.kinds = {group: _kinds(group) for group in groups}
        self.sliders = {group: _slider(group) for group in groups}
        self.said, self.note = widgets.HTML(), widgets.HTML()
        self.pictures = {name: widgets.Image(format="png", layout={"max_width": "100%"}) for name in ("answer", "maps")}
        changes = [widgets.HBox([self.kinds[group], self.sliders[group]]) for group in groups]
        source = widgets.HBox([self.choice, self.upload, self.camera], layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([source, *changes, self.said, self.note, *self.pictures.values()])
        self.seen = False
        self._take(lambda: face)
        self.camera.on_msg(self._shown)
        self.choice.observe(self._chosen, "value")
        self.upload.observe(self._uploaded, "value")
        self.camera.observe(self._photographed, "picture")
        for widget in (*self.kinds.values(), *self.sliders.values()):
            widget.observe(lambda _: self._show(), "value")

    @property
    def changes(self) -> dict[str, int]:
        """Severities by perturbation, as the sliders stand."""
        return {self.kinds[group].value: slider.value for group, slider in self.sliders.items()}

    def _shown(self, _: Any, content: Any, __: Any) -> None:
        if content == "shown" and not self.seen:
            self.seen = True
            self._show()

    def _chosen(self, change: dict[str, Any]) -> None:
        if change["new"] is not None:
            self._take(lambda: open_drawn(self.networks.drawn, change["new"]))

    def _uploaded(self, change: dict[str, Any]) -> None:
        for file in change["new"]:
            self._own(bytes(file["content"]), file["name"])

    def _photographed(self, change: dict[str, Any]) -> None:
        self._own(change["new"], "the camera's picture")

    def _own(self, content: bytes, name: str) -> None:
        """A reader's picture: a file for as long as it takes to look at it."""
        with tempfile.TemporaryDirectory(prefix="fermoe-face-") as folder:
            path = Path(folder, "picture")
            path.write_bytes(content)
            if self._take(lambda: open_face(self.networks.own, path, name), name):
                self.choice.value = None

    def _take(self, opened: Callable[[], Face], name: str = "") -> bool:
        """Show another face; where that fails say why, in one line, and leave the last one."""
        self.said.value = _status("Looking for the face …")
        try:
            self.face = opened()
        except UserError as error:
            self.said.value = _status(f"{name}: {error.what}" if name else error.what)
            return False
        self.unchanged = ask(self.face)
        self.note.value = f"<p>{escape(self.face.note)}</p>"
        self._show()
        return True

    def _show(self) -> None:
        changed = any(self.changes.values())
        self.answer = ask(self.face, self.changes) if changed else self.unchanged
        before = self.unchanged if changed else None
        if self.seen:
            self.pictures["answer"].value = as_png(draw_answer(self.face, self.answer, before))
            self.pictures["maps"].value = as_png(draw_maps(self.answer))
        self.said.value = _status(f"{self.face.name}: {self.answer.sentence}")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The widgets, and a sentence for where there are none."""
        bundle: dict[str, Any] = self.box._repr_mimebundle_(**options)
        return bundle | {"text/plain": "Run this cell in JupyterLab: the sliders need a kernel."}


def as_png(ax: Axes) -> bytes:
    """The figure of some axes as notebooks show it; it is closed."""
    figure = described(ax).figure
    content = png(figure)
    plt.close(figure)
    return content


def _kinds(group: str) -> widgets.Dropdown:
    names = [name for name, kind in PERTURBATIONS.items() if kind.group == group]
    return widgets.Dropdown(options=names, value=USUAL.get(group, names[0]), description=group.capitalize())


def _slider(group: str) -> widgets.IntSlider:
    return widgets.IntSlider(
        0, 0, max(SEVERITIES), description="severity", continuous_update=False, tooltip=f"How severe: {group}"
    )


def _status(text: str) -> str:
    """A line that screen readers read out when it changes; names come from users' files."""
    return f'<p role="status"><b>{escape(shortened(text, LONGEST))}</b></p>'
