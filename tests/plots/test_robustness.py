"""Figures of robustness show every perturbation and variant."""

import numpy as np
import pandas as pd
import pytest

from fermoe.data.perturbations import PERTURBATIONS, SEVERITIES
from fermoe.evidence import robustness
from fermoe.plots import robustness as robustness_plots
from fermoe.plots import style
from tests.plots.helpers import intervals, legend_names, looks, points, row_names

FACE = robustness.example_face(32, seed=0)


def table(variants=("no_cnn1", "full"), perturbations=("gamma", "blur")):
    rng, rows = np.random.default_rng(0), []
    for variant in variants:
        for perturbation in perturbations:
            for severity in SEVERITIES[::-1]:
                accuracy, gap = rng.random(), np.nan if variant == "full" else rng.normal(0, 0.1)
                row = {"variant": variant, "perturbation": perturbation, "severity": severity, "accuracy": accuracy}
                row |= {"clean_accuracy": 0.9, "ci_low": accuracy - 0.1, "ci_high": accuracy + 0.1}
                rows.append(row | {"drop_difference": gap, "diff_low": gap - 0.1, "diff_high": gap + 0.2})
    return pd.DataFrame(rows)


def differences():
    data = table(("no_cnn1", "full", "backbone"))
    return data[data["severity"] == 3]


FIGURES = {
    "perturbations": lambda **k: robustness_plots.plot_perturbations(*FACE, **k),
    "severity": lambda **k: robustness_plots.plot_severity(table(perturbations=["gamma"]), **k),
    "drop differences": lambda **k: robustness_plots.plot_drop_differences(differences(), **k),
}


def test_every_perturbation_is_shown_at_every_severity():
    ax = robustness_plots.plot_perturbations(*FACE)
    assert row_names(ax) == list(PERTURBATIONS)
    assert len(ax.images) == len(PERTURBATIONS) * (1 + len(SEVERITIES))
    assert (np.asarray(ax.images[0].get_array()) == FACE[0].permute(1, 2, 0).numpy()).all()


def test_lines_start_at_the_clean_accuracy_and_follow_the_severities():
    data = table(perturbations=["gamma"])
    ax = robustness_plots.plot_severity(data)
    assert [line.get_label() for line in ax.lines] == [style.variant_name(v) for v in ("full", "no_cnn1")]
    for line, variant in zip(ax.lines, ("full", "no_cnn1"), strict=True):
        rows = data[data["variant"] == variant].sort_values("severity")
        assert line.get_xdata().tolist() == [0, *SEVERITIES]
        np.testing.assert_allclose(line.get_ydata(), [90, *(100 * rows["accuracy"])])
        assert line.get_color() == style.variant_colour(variant)
        assert line.get_marker() == style.variant_marker(variant)


def test_there_is_one_panel_per_perturbation_and_one_legend():
    figure = robustness_plots.plot_all_severities(table())
    assert [ax.get_title(loc="left").split()[0] for ax in figure.axes] == ["gamma", "blur"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [style.variant_name(variant) for variant in ("full", "no_cnn1")]


def test_titles_of_panels_cover_no_other():
    figure = robustness_plots.plot_all_severities(table(perturbations=PERTURBATIONS))
    figure.canvas.draw()
    boxes = [ax._left_title.get_window_extent() for ax in figure.axes if ax.get_title(loc="left")]
    assert len(boxes) == len(PERTURBATIONS)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_differences_to_the_full_network_are_drawn_without_the_full_network():
    data = differences()
    ax = robustness_plots.plot_drop_differences(data)
    assert row_names(ax) == ["gamma", "blur"]
    assert legend_names(ax) == [style.variant_name(variant) for variant in ("backbone", "no_cnn1")]
    others = data[data["variant"] != "full"]
    for variant, rows in others.groupby("variant"):
        drawn = [x for x, _ in points(ax)[style.variant_name(variant)]]
        assert drawn == pytest.approx((100 * rows["drop_difference"]).tolist())
    assert len(intervals(ax)) == len(others)
    assert looks(ax)[style.variant_name("no_cnn1")][0] == style.variant_colour("no_cnn1")


def test_nothing_to_compare_is_an_empty_figure():
    assert points(robustness_plots.plot_drop_differences(differences().head(0))) == {}
