"""Figures of the experts show every load, measure and change."""

import numpy as np
import pandas as pd
import pytest

from fermoe.evidence.experts import PER_RUN
from fermoe.evidence.gates import gate_rows
from fermoe.plots import experts as experts_plots
from fermoe.plots import style
from tests.plots.helpers import legend_names, points, row_names


def table(variants=("full",), seeds=(0,), protocols=("audited",)):
    """Rows of experts.csv from random gates, with made-up drops."""
    rng, rows = np.random.default_rng(0), []
    labels = rng.integers(0, 4, 80)
    for protocol, variant, seed in ((p, v, s) for p in protocols for v in variants for s in seeds):
        start = {"dataset": "synthetic", "protocol": protocol, "variant": variant, "crop": "none", "pipeline": protocol}
        start |= {"seed": seed, "run": f"{protocol}-{variant}-{seed}"}
        for mixture in ("cnn", "expression"):
            found = gate_rows(rng.dirichlet(np.ones(4), 80), labels, rng, 5)
            rows += [{**start, "mixture": mixture, **row} for row in found]
        for mixture in ("cnn", "expression", "both"):
            drops = [(name, None) for name in ("shuffled_gates_drop", "uniform_gates_drop")]
            if mixture != "both":
                drops += [(name, e) for name in ("knock_out_drop", "forced_drop") for e in range(4)]
            for measure, expert in drops:
                value = rng.normal(0.1, 0.02)
                row = {"mixture": mixture, "measure": measure, "expert": expert, "value": value, "images": 80}
                rows.append({**start, **row, "ci_low": value - 0.02, "ci_high": value + 0.03})
    return pd.DataFrame(rows).astype({"expert": "Int64"})


def shares():
    values = np.array([[0.5, 0.5, 0, 0], [0, 0.25, 0.75, 0], [np.nan] * 4])
    return pd.DataFrame(values, index=pd.Index(["happiness", "angry", "fear"], name="class"))


def layout():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(30, 2)), columns=["x", "y"])
    return table.assign(branch="cnn1", label=[["angry", "fear", "happy"][i % 3] for i in range(30)], expert=[3, 0] * 15)


FIGURES = {
    "embedding by class": lambda **k: experts_plots.plot_embedding(layout(), "label", **k),
    "embedding by expert": lambda **k: experts_plots.plot_embedding(layout(), "expert", **k),
    "expert_load": lambda **k: experts_plots.plot_expert_load(table().query("mixture == 'cnn'"), **k),
    "class_experts": lambda **k: experts_plots.plot_class_experts(shares(), **k),
    "drops": lambda **k: experts_plots.plot_drops(table(), **k),
    **{
        measure: lambda measure=measure, **k: experts_plots.plot_measure(table(seeds=(0, 1)), measure, **k)
        for measure in PER_RUN
    },
}


@pytest.mark.parametrize("name", ["expert_load", "class_experts", "drops", "mutual_information"])
def test_the_same_figure_is_the_same_bytes(name):
    one, two = (style.png(FIGURES[name]().figure) for _ in range(2))
    assert one == two


def test_bars_are_the_tables_values():
    data = table().query("mixture == 'expression'")
    ax = experts_plots.plot_expert_load(data)
    drawn = [[bar.get_height() / 100 for bar in bars] for bars in ax.containers if hasattr(bars, "patches")]
    for measure, heights in zip(("top1_load", "importance", "top2_load"), drawn, strict=True):
        assert heights == pytest.approx(data.loc[data["measure"] == measure, "value"].tolist())
    lines = {line.get_label(): line.get_ydata()[0] for line in ax.get_lines() if "even" in str(line.get_label())}
    assert list(lines.values()) == [25, 50]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2", "3"]


def test_loads_have_their_intervals():
    data = table().query("mixture == 'expression'")
    bars = experts_plots.plot_expert_load(data).collections
    for bar, measure in zip(bars, ("top1_load", "importance", "top2_load"), strict=True):
        rows = data[data["measure"] == measure]
        ends = [segment[:, 1] / 100 for segment in bar.get_segments()]
        np.testing.assert_allclose(ends, rows[["ci_low", "ci_high"]].to_numpy(float))


def test_classes_of_a_heat_map_are_in_the_order_of_all_figures():
    ax = experts_plots.plot_class_experts(shares())
    assert row_names(ax) == ["anger", "fear", "happy"]
    drawn = np.ma.filled(ax.collections[0].get_array().reshape(3, 4), np.nan)
    np.testing.assert_allclose(drawn, 100 * shares().loc[["angry", "fear", "happiness"]])


def test_every_seed_has_a_place_of_its_own():
    data = table(("balanced_gate", "full"), (0, 1, 2), ("audited", "published"))
    ax = experts_plots.plot_measure(data, "mutual_information")
    full, balanced = (style.variant_name(variant) for variant in ("full", "balanced_gate"))
    settings = [f"{protocol}, {name}" for protocol in ("as published", "audited") for name in (full, balanced)]
    assert row_names(ax) == settings
    drawn = [pair for pairs in points(ax).values() for pair in pairs]
    heights = [y for _, y in drawn]
    assert len(heights) == len(set(np.round(heights, 9))) == 24
    rows = data[data["measure"] == "mutual_information"]
    named = experts_plots.setting_names(rows)
    for (x, y), mixture in ((pair, name) for name, pairs in points(ax).items() for pair in pairs):
        mine = rows[(named == settings[round(y)]) & (rows["mixture"].map(style.mixture_name) == mixture)]
        assert x in mine["value"].tolist()


def test_every_mark_has_the_bar_of_its_own_chance():
    data = table(("balanced_gate", "full"), (0, 1), ("audited", "published"))
    ax = experts_plots.plot_measure(data, "mutual_information")
    pairs = {"mutual_information": {}, "mutual_information_null": {}}
    for measure, found in pairs.items():
        rows = data[data["measure"] == measure].set_index(["run", "mixture"])
        found.update(rows["value" if measure == "mutual_information" else "ci_high"])
    expected = {value: pairs["mutual_information_null"][key] for key, value in pairs["mutual_information"].items()}
    bars = {round(bar.get_y() + bar.get_height() / 2, 6): bar.get_width() for bar in ax.patches}
    drawn = {x: bars[round(y, 6)] for series in points(ax).values() for x, y in series}
    assert drawn == pytest.approx(expected)


def test_settings_say_what_tells_them_apart():
    data = table(("full", "no_cnn1"))
    full, other = (style.variant_name(variant) for variant in ("full", "no_cnn1"))
    assert set(experts_plots.setting_names(data)) == {f"audited, {full}", f"audited, {other}"}
    cropped = pd.concat([data, data.assign(crop="blazeface")], ignore_index=True)
    assert f"audited, {full}, blazeface" in set(experts_plots.setting_names(cropped))
    augmented = pd.concat([data, data.assign(pipeline="augmented")], ignore_index=True)
    assert f"audited, {full}, augmented" in set(experts_plots.setting_names(augmented))
    two = pd.concat([data, data.assign(dataset="rafdb")], ignore_index=True)
    assert f"rafdb, audited, {full}" in set(experts_plots.setting_names(two))


def test_every_change_has_its_row():
    data = table()
    ax = experts_plots.plot_drops(data)
    names = row_names(ax)
    assert names[:4] == [f"without expert {e}" for e in range(4)]
    assert names[4:] == [*(f"only expert {e}" for e in range(4)), "gates of another image", "all experts alike"]
    assert legend_names(ax) == ["mixture on extractor 1", "mixture on the fusion", "both mixtures"]
    rows = data[(data["measure"] == "forced_drop") & (data["mixture"] == "cnn")]
    drawn = [x for x, y in points(ax)["mixture on extractor 1"] if "only" in names[round(y)]]
    assert drawn == pytest.approx((100 * rows["value"]).tolist())


def test_experts_are_counted_in_whole_numbers_also_from_a_file():
    ax = experts_plots.plot_drops(table().astype({"expert": float}))
    assert row_names(ax)[:2] == ["without expert 0", "without expert 1"]


def test_features_are_coloured_by_class_and_by_expert_in_their_order():
    assert legend_names(experts_plots.plot_embedding(layout(), "label")) == ["anger", "fear", "happy"]
    ax = experts_plots.plot_embedding(layout(), "expert")
    assert legend_names(ax) == ["expert 0", "expert 3"]
    assert sum(len(points.get_offsets()) for points in ax.collections) == len(layout())
