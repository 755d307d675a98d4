"""Every figure of the experts draws on the axes given, says what its axes are, and hides nothing."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from fermoe.plots import style

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fermoe.evidence.experts import PER_RUN
from fermoe.evidence.gates import gate_rows
from fermoe.paper.rules import experts as experts_plots


@pytest.fixture(autouse=True)
def _style():
    with plt.rc_context():
        style.use_style()
        yield
    plt.close("all")


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
    return pd.DataFrame(values, index=pd.Index(["anger", "fear", "happy"], name="class"))


FIGURES = {
    "expert_load": lambda **k: experts_plots.plot_expert_load(table().query("mixture == 'cnn'"), **k),
    "class_experts": lambda **k: experts_plots.plot_class_experts(shares(), **k),
    "drops": lambda **k: experts_plots.plot_drops(table(), **k),
    **{
        measure: lambda measure=measure, **k: experts_plots.plot_measure(table(seeds=(0, 1)), measure, **k)
        for measure in PER_RUN
    },
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_uses_the_axes_given_and_names_everything(name):
    _, ax = plt.subplots()
    assert FIGURES[name](ax=ax, title="A title") is ax
    assert ax.get_title(loc="left") == "A title"
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("name", ["expert_load", "class_experts", "drops", "mutual_information", "dead_experts"])
def test_a_figure_of_its_own_is_whole_and_the_same_twice(name, tmp_path):
    figure = FIGURES[name]().figure
    style.save_figure(figure, tmp_path / "one.png")
    style.save_figure(FIGURES[name]().figure, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width + 0.01
    assert drawn.y1 <= height + 0.01


def test_bars_are_the_tables_values():
    data = table().query("mixture == 'expression'")
    ax = experts_plots.plot_expert_load(data)
    drawn = [[bar.get_height() / 100 for bar in bars] for bars in ax.containers if hasattr(bars, "patches")]
    for measure, heights in zip(("top1_load", "importance", "top2_load"), drawn, strict=True):
        assert heights == pytest.approx(data.loc[data["measure"] == measure, "value"].tolist())
    lines = {line.get_label(): line.get_ydata()[0] for line in ax.get_lines() if "even" in str(line.get_label())}
    assert list(lines.values()) == [25, 50]


def test_every_seed_has_a_place_of_its_own():
    data = table(("full", "balanced_gate"), (0, 1, 2), ("audited", "published"))
    ax = experts_plots.plot_measure(data, "mutual_information")
    settings = ["audited full", "audited balanced_gate", "published full", "published balanced_gate"]
    assert [label.get_text() for label in ax.get_yticklabels()] == settings
    points = [line for line in ax.get_lines() if line.get_marker() in ("o", "s")]
    heights = np.concatenate([line.get_ydata() for line in points]).astype(float)
    assert len(heights) == len(set(heights.round(9))) == 24
    values = np.concatenate([line.get_xdata() for line in points])
    assert sorted(values) == sorted(data.loc[data["measure"] == "mutual_information", "value"])
    chance = data.loc[data["measure"] == "mutual_information_null", "ci_high"]
    assert sorted(bar.get_width() for bar in ax.patches) == pytest.approx(sorted(chance))


def test_settings_say_what_tells_them_apart():
    data = table(("full", "no_cnn1"))
    assert set(experts_plots.setting_names(data)) == {"audited full", "audited no_cnn1"}
    cropped = pd.concat([data, data.assign(crop="blazeface")], ignore_index=True)
    assert "audited full blazeface" in set(experts_plots.setting_names(cropped))
    augmented = pd.concat([data, data.assign(pipeline="augmented")], ignore_index=True)
    assert "audited full augmented" in set(experts_plots.setting_names(augmented))
    two = pd.concat([data, data.assign(dataset="rafdb")], ignore_index=True)
    assert "rafdb audited full" in set(experts_plots.setting_names(two))


def test_every_change_has_its_row():
    ax = experts_plots.plot_drops(table())
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[:4] == [f"without expert {e}" for e in range(4)]
    assert names[4:] == [*(f"only expert {e}" for e in range(4)), "gates of another image", "all experts alike"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cnn", "expression", "both"]
