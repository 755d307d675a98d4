"""Figures of Grad-CAM show the maps where they are, and every measure of every seed; photographs are refused."""

import dataclasses

import matplotlib
import numpy as np
import pandas as pd
import pytest

from fermoe.data.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.evidence import faithfulness
from fermoe.plots import grad_cam as grad_cam_plots
from fermoe.plots import style
from tests.plots.helpers import intervals, legend_names, looks, points, row_names

FACES = load_dataset("synthetic", train=3, test=1)
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 3, 16, 16)).astype(np.float32)
MAPS = {branch: RNG.random((4, 16, 16)).astype(np.float32) for branch in ("cnn1", "resnet")}
BOXES = {part: np.tile([2.0, 3, 9, 8], (4, 1)) for part in ("eyes", "mouth", "face")}
NAMES = ["a", "b", "c", "d"]


def curves():
    kinds = (faithfulness.SALIENT, faithfulness.OTHER, faithfulness.RANDOM)
    probability = {kind: np.sort(RNG.random((5, 6)), axis=0)[::-1] for kind in kinds}
    correct = {kind: values > 0.5 for kind, values in probability.items()}
    return faithfulness.removal_table(faithfulness.Removal(np.arange(6), probability, correct), RNG)


def measures(seeds=2):
    series = (("backbone", "resnet"), ("full", "resnet"), ("full", "cnn1"))
    data = [(row, *pair, 1 + 0.1 * seed) for seed in range(seeds) for pair in series for row in ("eyes", "mouth")]
    table = pd.DataFrame(data, columns=["row", "variant", "branch", "value"])
    return table.assign(ci_low=table["value"] - 0.2, ci_high=table["value"] + 0.1)


def overlays(faces, branches=("cnn1", "cnn2", "resnet"), boxes=BOXES, **options):
    """Maps of as many faces, those of `FACES` again and again."""
    again = np.arange(faces) % len(FACES)
    shown = {branch: MAPS["cnn1"][again] for branch in branches}
    names = ["surprise\n→ surprise"] * faces
    boxes = {part: box[again] for part, box in boxes.items()}
    return grad_cam_plots.plot_overlays(FACES.subset(again), IMAGES[again], shown, names, boxes, **options)


FIGURES = {
    "overlays of one": lambda **k: overlays(1, **k),
    "overlays of four": lambda **k: overlays(4, ("resnet",), **k),
    "overlays of six": lambda **k: overlays(6, **k),
    "overlays without boxes": lambda **k: overlays(4, boxes={}, **k),
    "class maps": lambda **k: grad_cam_plots.plot_class_maps(MAPS, NAMES, BOXES, **k),
    "removal": lambda **k: grad_cam_plots.plot_removal(curves(), **k),
    "accuracy": lambda **k: grad_cam_plots.plot_removal(curves(), measure="accuracy", **k),
    "measures": lambda **k: grad_cam_plots.plot_measures(measures(), reference=(1, "no preference"), **k),
}


def test_photographs_are_refused():
    with pytest.raises(UserError, match="photographs"):
        grad_cam_plots.plot_overlays(
            dataclasses.replace(FACES, table=FACES.table.drop(columns="framing")), IMAGES, MAPS, NAMES
        )


def test_an_overlay_has_a_row_per_branch_and_names_empty_maps():
    maps = {"cnn1": MAPS["cnn1"] * np.array([1, 0, 1, 0])[:, None, None], "cnn2": MAPS["cnn1"]}
    ax = grad_cam_plots.plot_overlays(FACES, IMAGES, maps, NAMES)
    assert row_names(ax) == ["picture", "extractor 1", "extractor 2"]
    assert [label.get_text() for label in ax.get_xticklabels()] == NAMES
    assert len(ax.images) == 4 * 3
    assert [text.get_text() for text in ax.texts] == ["empty map"] * 2


def test_an_overlay_shows_the_map_where_it_is():
    """On a black picture the brightest pixel is that of the map's highest value."""
    maps = np.zeros((1, 16, 16), np.float32)
    maps[0, 3, 12] = 1
    ax = grad_cam_plots.plot_overlays(FACES.subset([0]), np.zeros((1, 3, 16, 16)), {"cnn1": maps}, ["a"])
    tile = ax.images[1]
    assert np.unravel_index(np.asarray(tile.get_array()).sum(axis=2).argmax(), (16, 16)) == (3, 12)
    left, right, bottom, top = tile.get_extent()
    assert left < right
    assert top < bottom
    assert ax.yaxis_inverted()  # row 0 is at the top


def test_even_maps_have_no_line_at_half_and_warn_of_nothing(recwarn):
    maps = {"cnn1": np.ones((1, 16, 16), np.float32)}
    grad_cam_plots.plot_overlays(FACES.subset([0]), IMAGES[:1], maps, ["a"]).figure.canvas.draw()
    assert not recwarn.list


def test_a_class_without_images_is_left_blank():
    maps = {"cnn1": MAPS["cnn1"].copy(), "resnet": MAPS["resnet"].copy()}
    for values in maps.values():
        values[2] = np.nan
    boxes = {part: np.where(np.arange(4)[:, None] == 2, np.nan, box) for part, box in BOXES.items()}
    ax = grad_cam_plots.plot_class_maps(maps, NAMES, boxes)
    assert len(ax.images) == 3 * 2
    assert len(ax.patches) == 3 * 2 * 2 * 2  # two parts, each drawn twice: dark under light


def test_average_maps_stand_in_the_order_of_all_figures():
    values = np.stack([np.full((4, 4), value, np.float32) for value in (0.25, 0.5, 1)])
    boxes = {part: np.array([[0, 0, 1.0, 1], [1, 1, 2, 2], [2, 2, 3, 3]]) for part in ("eyes", "mouth")}
    ax = grad_cam_plots.plot_class_maps({"cnn1": values}, ["surprise", "happiness", "angry"], boxes)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["anger", "happy", "surprise"]
    colours = matplotlib.colormaps[grad_cam_plots.MAP_COLOURS]([1.0, 0.5, 0.25])[:, :3]
    for image, colour in zip(ax.images, colours, strict=True):
        np.testing.assert_allclose(np.asarray(image.get_array())[0, 0], colour)
    lefts = sorted({round(patch.get_x() % style.STEP, 6) for patch in ax.patches})
    assert lefts == [0, 0.25, 0.5]
    assert ax.patches[0].get_x() == pytest.approx(0.5)  # of "angry", now the first


def test_map_colours_grow_lighter_with_the_value():
    """So that a grey print keeps their order."""
    colours = matplotlib.colormaps[grad_cam_plots.MAP_COLOURS](np.linspace(0, 1, 50))[:, :3]
    assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_measures_place_every_seed_and_name_every_series_once():
    data = measures(seeds=3)
    ax = grad_cam_plots.plot_measures(data, reference=(1, "no preference"))
    drawn = [pair for pairs in points(ax).values() for pair in pairs]
    assert len(drawn) == len(intervals(ax)) == 3 * 2 * 3
    assert len({y for _, y in drawn}) == len(drawn)
    assert sorted(x for x, _ in drawn) == pytest.approx(sorted(data["value"]))
    for _, y in drawn:
        assert abs(y - round(y)) < 0.5
    full, backbone = (style.variant_name(variant) for variant in ("full", "backbone"))
    series = [f"{full}: extractor 1", f"{full}: ResNet", f"{backbone}: ResNet"]
    assert legend_names(ax) == ["no preference", *series]
    assert {name: colour for name, (colour, _) in looks(ax).items()} == dict(
        zip(series, map(style.variant_colour, ("full", "full", "backbone")), strict=True)
    )


def test_a_removal_curve_stands_where_its_table_says():
    table = curves()
    ax = grad_cam_plots.plot_removal(table, measure="accuracy")
    for container, kind in zip(ax.containers, table["kind"].unique(), strict=True):
        x, y = container.lines[0].get_data(orig=False)
        rows = table[table["kind"] == kind]
        np.testing.assert_allclose(y, 100 * rows["accuracy"])
        np.testing.assert_allclose(x, 100 * rows["removed"], atol=0.6)


@pytest.mark.parametrize(
    ("correct", "shown", "expected"),
    [
        ("++-+--", 4, [0, 1, 2, 4]),
        ("++++-", 4, [0, 1, 2, 4]),
        ("----+", 4, [4, 0, 1, 2]),
        ("++++", 3, [0, 1, 2]),
        ("--", 6, [0, 1]),
        ("+-+-+-", 3, [0, 1, 3]),
        ("+-", 0, []),
    ],
)
def test_faces_to_show(correct, shown, expected):
    found = grad_cam_plots.faces_to_show(np.array([c == "+" for c in correct]), shown)
    assert found.tolist() == expected
