"""Every figure draws on the axes given, with a title and named axes; photographs are refused."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from fermoe.plots import grad_cam as grad_cam_plots
from fermoe.plots import style

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fermoe.data.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.evidence import faithfulness

TABLE = load_dataset("synthetic", train=3, test=1).table
RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 3, 16, 16)).astype(np.float32)
MAPS = {branch: RNG.random((4, 16, 16)).astype(np.float32) for branch in ("cnn1", "resnet")}
BOXES = {part: np.tile([2.0, 3, 9, 8], (4, 1)) for part in ("eyes", "mouth", "face")}
NAMES = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def _style():
    with plt.rc_context():
        style.use_style()
        yield
    plt.close("all")


def curves():
    kinds = (faithfulness.SALIENT, faithfulness.OTHER, faithfulness.RANDOM)
    probability = {kind: np.sort(RNG.random((5, 6)), axis=0)[::-1] for kind in kinds}
    correct = {kind: values > 0.5 for kind, values in probability.items()}
    return faithfulness.removal_table(faithfulness.Removal(np.arange(6), probability, correct), RNG)


def measures(series=("full: cnn1", "full: resnet"), rows=("eyes", "mouth"), seeds=2):
    data = [(row, kind, 1 + 0.1 * seed) for seed in range(seeds) for kind in series for row in rows]
    table = pd.DataFrame(data, columns=["row", "series", "value"])
    return table.assign(ci_low=table["value"] - 0.2, ci_high=table["value"] + 0.1)


FIGURES = {
    "overlays": lambda ax: grad_cam_plots.plot_overlays(TABLE, IMAGES, MAPS, NAMES, BOXES, ax=ax),
    "overlays without boxes": lambda ax: grad_cam_plots.plot_overlays(TABLE, IMAGES, MAPS, NAMES, {}, ax=ax),
    "class maps": lambda ax: grad_cam_plots.plot_class_maps(MAPS, NAMES, BOXES, ax=ax),
    "removal": lambda ax: grad_cam_plots.plot_removal(curves(), ax=ax),
    "accuracy": lambda ax: grad_cam_plots.plot_removal(curves(), ax=ax, measure="accuracy"),
    "measures": lambda ax: grad_cam_plots.plot_measures(measures(), ax=ax, reference=(1, "no preference")),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_on_the_axes_given(name):
    _, ax = plt.subplots()
    assert FIGURES[name](ax) is ax
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    ax.figure.canvas.draw()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_make_their_own_axes(name):
    assert FIGURES[name](None).figure.axes


def test_photographs_are_refused():
    with pytest.raises(UserError, match="photographs"):
        grad_cam_plots.plot_overlays(TABLE.drop(columns="framing"), IMAGES, MAPS, NAMES)


def test_an_overlay_has_a_row_per_branch_and_names_empty_maps():
    maps = {"cnn1": MAPS["cnn1"] * np.array([1, 0, 1, 0])[:, None, None], "cnn2": MAPS["cnn1"]}
    ax = grad_cam_plots.plot_overlays(TABLE, IMAGES, maps, NAMES)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["picture", "cnn1", "cnn2"]
    assert [label.get_text() for label in ax.get_xticklabels()] == NAMES
    assert len(ax.images) == 4 * 3
    assert [text.get_text() for text in ax.texts] == ["empty map"] * 2


def test_an_overlay_shows_the_map_where_it_is():
    """On a black picture the brightest pixel is that of the map's highest value."""
    maps = np.zeros((1, 16, 16), np.float32)
    maps[0, 3, 12] = 1
    ax = grad_cam_plots.plot_overlays(TABLE.head(1), np.zeros((1, 3, 16, 16)), {"cnn1": maps}, ["a"])
    tile = ax.images[1]
    assert np.unravel_index(np.asarray(tile.get_array()).sum(axis=2).argmax(), (16, 16)) == (3, 12)
    left, right, bottom, top = tile.get_extent()
    assert left < right
    assert top < bottom
    assert ax.yaxis_inverted()  # row 0 is at the top


def test_even_maps_have_no_line_at_half_and_warn_of_nothing(recwarn):
    maps = {"cnn1": np.ones((1, 16, 16), np.float32)}
    grad_cam_plots.plot_overlays(TABLE.head(1), IMAGES[:1], maps, ["a"]).figure.canvas.draw()
    assert not recwarn.list


def test_a_class_without_images_is_left_blank():
    maps = {"cnn1": MAPS["cnn1"].copy(), "resnet": MAPS["resnet"].copy()}
    for values in maps.values():
        values[2] = np.nan
    boxes = {part: np.where(np.arange(4)[:, None] == 2, np.nan, box) for part, box in BOXES.items()}
    ax = grad_cam_plots.plot_class_maps(maps, NAMES, boxes)
    assert len(ax.images) == 3 * 2
    assert len(ax.patches) == 3 * 2 * 2 * 2  # two parts, each drawn twice: dark under light


def test_map_colours_grow_lighter_with_the_value():
    """So that a grey print keeps their order."""
    colours = matplotlib.colormaps[grad_cam_plots.MAP_COLOURS](np.linspace(0, 1, 50))[:, :3]
    assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_measures_place_every_seed_and_name_every_series_once():
    ax = grad_cam_plots.plot_measures(measures(seeds=3), reference=(1, "no preference"))
    points = [(x, y) for line in ax.containers for x, y in zip(*line.lines[0].get_data(), strict=True)]
    assert len(points) == 2 * 2 * 3
    assert len({y for _, y in points}) == len(points)
    for _, y in points:
        assert abs(y - round(y)) < 0.5
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["full: cnn1", "full: resnet", "no preference"]


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
