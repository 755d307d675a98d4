"""Figures of variants show every seed, difference and cost, each variant in its own place and look."""

import numpy as np
import pandas as pd
import pytest

from fermoe.network.variants import VARIANTS
from fermoe.plots import ablation as ablation_plots
from fermoe.plots import style
from tests.plots.helpers import intervals, looks, points, row_names

REVERSED = list(VARIANTS)[::-1]


def differences(variants=REVERSED):
    table = pd.DataFrame({"variant": variants, "advantage": np.linspace(-0.2, 0.3, len(variants))})
    return table.assign(low=table["advantage"] - 0.1, high=table["advantage"] + 0.1)


def advantages():
    rows = [("full beside ResNet", "accuracy", 0.04), ("full beside ResNet", "macro_f1", -0.01)]
    table = pd.DataFrame(rows, columns=["comparison", "measure", "advantage"])
    return table.assign(low=table["advantage"] - 0.02, high=[0.06, np.nan])


def seeds(variants=REVERSED):
    """Accuracies of two seeds; the second of the first variant is missing."""
    values = np.random.default_rng(0).random((2, len(variants)))
    values[1, 0] = np.nan
    return pd.DataFrame(values, index=pd.Index([0, 7], name="seed"), columns=pd.Index(variants, name="variant"))


def named(ax):
    """The lines of a figure that its legend names."""
    return [line for line in ax.lines if not line.get_label().startswith("_")]


def costs(variants=REVERSED):
    places = np.arange(len(variants))
    reached = places / 100
    ends = {"accuracy_low": reached - 0.01, "accuracy_high": reached + 0.02}
    table = pd.DataFrame(
        {"variant": variants, "mmac": 10.0 * places, "ms_per_image": 3.0 * places, "accuracy": reached}
    )
    return table.assign(**ends)


def by_size():
    rows = [("miniature", True, 10.0), ("paper64", True, 400.0), ("first_miniature", False, 40.0)]
    table = pd.DataFrame(rows, columns=["model", "smaller_copy", "mmac"])
    table = pd.concat([table.assign(measure=measure) for measure in ("accuracy", "macro_f1")], ignore_index=True)
    lead = np.linspace(-0.02, 0.03, len(table))
    return table.assign(lead=lead, low=lead - 0.01, high=lead + 0.02)


FIGURES = {
    "differences": lambda **k: ablation_plots.plot_advantages(differences(), row="variant", series=(), **k),
    "advantages": lambda **k: ablation_plots.plot_advantages(advantages(), **k),
    "seeds": lambda **k: ablation_plots.plot_seeds(seeds(), **k),
    "sizes": lambda **k: ablation_plots.plot_sizes(by_size(), **k),
    "cost": lambda **k: ablation_plots.plot_cost(costs(), **k),
}


def test_differences_are_drawn_in_points_beside_the_name_of_their_variant():
    table = differences()
    ax = ablation_plots.plot_advantages(table, row="variant", series=())
    assert row_names(ax) == [style.variant_name(variant) for variant in VARIANTS]
    drawn = {row_names(ax)[round(y)]: x for pairs in points(ax).values() for x, y in pairs}
    for row in table.itertuples():
        assert drawn[style.variant_name(row.variant)] == pytest.approx(100 * row.advantage)
    assert len(intervals(ax)) == len(table)


def test_an_advantage_lies_right_of_the_line_and_two_trainings_get_no_bar():
    ax = ablation_plots.plot_advantages(advantages().assign(low=[0.02, np.nan]))
    assert [x for x, _ in points(ax)["accuracy"]] == pytest.approx([4.0])
    assert [x for x, _ in points(ax)["macro-F1"]] == pytest.approx([-1.0])
    assert intervals(ax) == [pytest.approx((2.0, 6.0))]


@pytest.mark.parametrize(("index", "said"), [([2, 3, 4, 5], "seeds 2 to 5"), ([2, 3, 4, 6], "seeds 2, 3, 4, 6")])
def test_seeds_in_a_row_are_named_by_their_ends(index, said):
    table = pd.concat([seeds(), seeds()]).set_axis(pd.Index(index, name="seed"))
    assert ablation_plots.plot_seeds(table).get_ylabel() == f"Variant, {said} from above"


def test_every_seed_has_its_mark_and_every_variant_its_mean():
    table = seeds()
    ax = ablation_plots.plot_seeds(table)
    assert "seeds 0, 7 from above" in ax.get_ylabel()
    heights = {}
    for pairs in points(ax).values():
        for x, y in pairs:
            if np.isfinite(x):
                heights.setdefault(list(VARIANTS)[round(y)], []).append((y, x / 100))
    for variant in table:
        drawn = [value for _, value in sorted(heights[variant])]
        assert drawn == pytest.approx(table[variant].dropna().tolist())
    means = {round((y0 + y1) / 2): x for c in ax.collections for (x, y0), (_, y1) in c.get_segments() if y1 - y0 > 0.5}
    assert [means[place] for place in range(len(VARIANTS))] == pytest.approx(100 * table.mean()[list(VARIANTS)])


def test_costs_stand_where_their_table_says():
    table = costs()
    ax = ablation_plots.plot_cost(table)
    drawn = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in named(ax)}
    assert list(drawn) == [style.variant_name(variant) for variant in VARIANTS]
    for row in table.itertuples():
        assert drawn[style.variant_name(row.variant)] == pytest.approx((row.mmac, 100 * row.accuracy))
    bars = sorted(tuple(segment[:, 1]) for found in ax.collections for segment in found.get_segments())
    expected = sorted((100 * row.accuracy_low, 100 * row.accuracy_high) for row in table.itertuples())
    assert np.array(bars) == pytest.approx(np.array(expected))


def test_resnets_alone_are_joined_in_the_order_of_what_they_cost():
    table = costs()
    ax = ablation_plots.plot_cost(table, cost="ms_per_image")
    (joined,) = [line for line in ax.lines if line.get_label() == "_joined"]
    alone = table[table["variant"].str.startswith("backbone")].sort_values("ms_per_image")
    assert joined.get_xdata().tolist() == alone["ms_per_image"].tolist()
    assert joined.get_ydata() == pytest.approx(100 * alone["accuracy"].to_numpy())
    assert "Training time" in ax.get_xlabel()


def test_a_variant_looks_the_same_in_every_figure_whatever_else_is_drawn():
    for variants in (["no_cnn2", "backbone"], ["no_cnn2"], REVERSED):
        cost = ablation_plots.plot_cost(costs(variants))
        found = [
            looks(ablation_plots.plot_advantages(differences(variants), row="variant", series=())),
            looks(ablation_plots.plot_seeds(seeds(variants).fillna(0.5))),
            {line.get_label(): (line.get_color(), line.get_marker()) for line in named(cost)},
        ]
        expected = {style.variant_name(v): (style.variant_colour(v), style.variant_marker(v)) for v in variants}
        assert found == [expected] * 3


def test_leads_stand_at_their_size_and_other_proportions_are_hollow_and_not_joined():
    table = by_size()
    ax = ablation_plots.plot_sizes(table)
    assert {label.get_text() for label in ax.get_xticklabels()} == {
        "10\nminiature", "400\npaper64", "40\nfirst miniature"
    }  # fmt: skip
    drawn = [container.lines[0] for container in ax.containers]
    hollow = [line.get_markerfacecolor() == "white" for line in drawn]
    heights = [value for line in drawn for value in line.get_ydata()]
    assert sorted(heights) == pytest.approx(sorted(100 * table["lead"]))
    assert sum(len(line.get_ydata()) for line, is_hollow in zip(drawn, hollow, strict=True) if is_hollow) == 2
    joined = [line for line in ax.lines if line.get_label() == "_joined"]
    assert [len(line.get_xdata()) for line in joined] == [2, 2]
    for line in drawn:
        assert all(min(abs(np.log(x / at)) for at in (10, 40, 400)) < 0.1 for x in line.get_xdata())


def test_the_names_of_two_sizes_that_lie_close_to_each_other_do_not_touch():
    table = by_size().replace({"mmac": {40.0: 13.0}})
    ax = ablation_plots.plot_sizes(table)
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert [label.get_text().count("\n") for label in ax.get_xticklabels()] == [1, 2, 1]
    texts = [label.get_text().rpartition("\n")[2] for label in ax.get_xticklabels()]
    assert texts == [style.size_name(name) for name in ("miniature", "first_miniature", "paper64")]
    assert boxes[0].x1 > boxes[1].x0, "on one line they would touch"
    assert boxes[1].y0 < boxes[0].y0, "the second is written lower"
