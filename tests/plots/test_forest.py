"""A forest plot shows the numbers it is given, each in a row, a colour and a marker that say whose it is."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from fermoe.plots import style
from tests.plots.helpers import intervals, legend_names, looks, points, row_names


def table(**columns):
    data = pd.DataFrame(columns)
    return data.assign(ci_low=data["value"] - 0.25, ci_high=data["value"] + 0.5)


def test_it_draws_exactly_the_numbers_given_in_the_order_given():
    data = table(row=["c", "a", "b"], value=[0.5, 0.25, 0.75])
    ax = style.forest(data, "value", "row", scale=100)
    assert row_names(ax) == ["c", "a", "b"]
    (drawn,) = points(ax).values()
    assert drawn == [(50, 0), (25, 1), (75, 2)]
    assert intervals(ax) == [(25, 100), (0, 75), (50, 125)]
    assert ax.yaxis_inverted()  # row 0 is at the top


def test_every_series_has_its_points_and_each_lies_in_its_row():
    data = table(row=["b", "a", "b", "a"], series=["y", "x", "x", "y"], value=[4.0, 1, 2, 3])
    ax = style.forest(data, "value", "row", "series")
    assert row_names(ax) == ["b", "a"]
    drawn = points(ax)
    assert {name: [(x, round(y)) for x, y in pairs] for name, pairs in drawn.items()} == {
        "y": [(4, 0), (3, 1)],
        "x": [(1, 1), (2, 0)],
    }
    heights = [y for pairs in drawn.values() for _, y in pairs]
    assert len(set(heights)) == 4
    assert sorted(intervals(ax)) == [(0.75, 1.5), (1.75, 2.5), (2.75, 3.5), (3.75, 4.5)]
    assert legend_names(ax) == ["y", "x"]


def test_repetitions_lie_beside_each_other_in_their_order_around_the_middle_of_the_row():
    data = table(row=["a", "a", "a", "b"], series="x", value=[1.0, 2, 3, 4])
    (drawn,) = points(style.forest(data, "value", "row", "series")).values()
    heights = [y for _, y in drawn]
    assert heights[0] < heights[1] < heights[2]
    assert heights[1] == pytest.approx(0)
    assert heights[3] == pytest.approx(1)
    assert max(heights[:3]) < 0.5


def test_a_point_without_an_interval_is_drawn_without_a_bar():
    data = table(row=["a", "b"], value=[1.0, 2.0])
    data.loc[0, ["ci_low", "ci_high"]] = np.nan
    ax = style.forest(data, "value", "row")
    assert list(points(ax).values()) == [[(1, 0), (2, 1)]]
    assert intervals(ax) == [(1.75, 2.5)]


def test_angry_and_anger_are_one_row():
    data = table(label=["angry", "boredom", "anger"], source=["fer2013", "fer2013", "rafdb"], value=[1.0, 2, 3])
    ax = style.forest(data, "value", "label", "source")
    assert row_names(ax) == ["anger", "boredom"]
    drawn = points(ax)
    assert [(x, round(y)) for x, y in drawn["fer2013"]] == [(1, 0), (2, 1)]
    assert [(x, round(y)) for x, y in drawn["rafdb"]] == [(3, 0)]
    assert drawn["fer2013"][0] != drawn["rafdb"][0]


@pytest.mark.parametrize("series", ["variant", ()])
def test_a_variant_keeps_place_name_colour_and_marker_whatever_else_is_drawn(series):
    variants = ["no_cnn2", "mine", "backbone", "no_cnn1"]
    for chosen in (variants, variants[2:], variants[:1]):
        data = table(variant=chosen, value=range(len(chosen)))
        ax = style.forest(data, "value", "variant", series)
        found = looks(ax)
        known = sorted(set(chosen) - {"mine"}, key=list(style.VARIANTS).index)
        assert row_names(ax) == [style.variant_name(v) for v in known] + ["mine"] * ("mine" in chosen)
        for variant in chosen:
            expected = (style.variant_colour(variant), style.variant_marker(variant))
            assert found[style.variant_name(variant)] == expected


def test_two_columns_of_series_give_the_colour_and_the_marker():
    data = table(
        row="a", variant=["backbone", "full", "full"], branch=["resnet", "resnet", "cnn1"], value=[1.0, 2.0, 3.0]
    )
    ax = style.forest(data, "value", "row", ("variant", "branch"))
    full, backbone = (style.variant_name(variant) for variant in ("full", "backbone"))
    found = looks(ax)
    assert list(found) == [f"{full}: extractor 1", f"{full}: ResNet", f"{backbone}: ResNet"]
    assert found[f"{full}: ResNet"][0] == style.variant_colour("full") == found[f"{full}: extractor 1"][0]
    assert found[f"{backbone}: ResNet"][0] == style.variant_colour("backbone")
    assert found[f"{full}: ResNet"][1] == found[f"{backbone}: ResNet"][1] != found[f"{full}: extractor 1"][1]


def test_a_reference_is_a_line_at_its_value_with_its_name():
    data = table(row=["a"], value=[1.0])
    named = style.forest(data, "value", "row", reference=(0.5, "chance"), scale=100)
    assert [line.get_xdata() for line in named.lines if line.get_linestyle() == "--"] == [[0.5, 0.5]]
    assert legend_names(named) == ["chance"]
    unnamed = style.forest(data, "value", "row", reference=(0, ""))
    assert [line.get_xdata() for line in unnamed.lines if line.get_linestyle() == "--"] == [[0, 0]]
    assert unnamed.get_legend() is None


def test_a_legend_lies_beside_the_axes():
    data = table(row=["a", "a"], series=["x", "y"], value=[1.0, 2.0])
    ax = style.forest(data, "value", "row", "series")
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.bbox.x1


def test_nothing_to_show_is_an_empty_figure():
    ax = style.forest(table(row=[], value=[], variant=[]), "value", "row", "variant", reference=(0, ""))
    assert row_names(ax) == []
    assert points(ax) == {}


def test_long_names_of_series_stand_below_and_leave_the_marks_their_width():
    long = "a" * style.LONGEST_BESIDE
    widths = {}
    for name in (long, long + "a"):
        ax = style.forest(table(row=["a", "b"], series=name, value=[1.0, 2.0]), "value", "row", "series")
        ax.figure.canvas.draw()
        widths[name] = ax.get_position().width
        legends = [*ax.figure.legends, *filter(None, [ax.get_legend()])]
        assert [text.get_text() for one in legends for text in one.get_texts()] == [name]
        box, marks = legends[0].get_window_extent(), ax.get_window_extent()
        assert box.x0 > marks.x1 if name == long else box.y1 < marks.y0
    assert widths[long + "a"] > 1.5 * widths[long]


def test_in_axes_that_are_given_long_names_stay_beside_for_the_figure_is_not_its_own():
    ax = plt.subplots(1, 2)[1][1]
    data = table(row=["a", "b"], series="a" * 50, value=[1.0, 2.0])
    assert legend_names(style.forest(data, "value", "row", "series", ax=ax)) == ["a" * 50]
    assert ax.figure.legends == []
