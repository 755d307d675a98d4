"""Every figure draws on the axes given, with a title and named axes, and gives the same bytes twice."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from fermoe.plots import network as network_plots
from fermoe.plots import paper as paper_plots
from fermoe.plots import style
from fermoe.plots import training as training_plots

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fermoe import metrics, stats
from fermoe.paper import published
from fermoe.plots import accuracy as accuracy_plots
from fermoe.plots import data as data_plots


@pytest.fixture(autouse=True)
def _style():
    with plt.rc_context():
        style.use_style()
        yield
    plt.close("all")


def accuracies():
    table = published.accuracies()
    bounds = [stats.wilson_interval(k, n) for k, n in zip(table["correct"], table["test_images"], strict=True)]
    low, high = zip(*bounds, strict=True)
    return table.assign(source="published", ci_low=low, ci_high=high)


def history():
    table = published.training_history()
    return table[table["dataset"] == "rafdb"]


def balance():
    counts = published.class_counts()
    return counts[counts["dataset"] == "rafdb"]


def reliability():
    rng = np.random.default_rng(0)
    return stats.reliability_bins(rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200))


def per_class():
    return metrics.per_class(published.confusion_matrix("rafdb"))


FIGURES = {
    "accuracy_intervals": (accuracy_plots.plot_accuracy_intervals, accuracies),
    "confusion": (accuracy_plots.plot_confusion, lambda: published.confusion_matrix("rafdb")),
    "history": (training_plots.plot_history, history),
    "class_balance": (data_plots.plot_class_balance, balance),
    "recall_vs_frequency": (
        paper_plots.plot_recall_vs_frequency,
        lambda: published.recall_and_frequency("rafdb"),
    ),
    "reliability": (accuracy_plots.plot_reliability, reliability),
    "per_class": (accuracy_plots.plot_per_class, per_class),
    "parameters": (network_plots.plot_parameters, published.block_parameters),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_uses_the_axes_given_and_names_everything(name):
    plot, data = FIGURES[name]
    _, ax = plt.subplots()
    assert plot(data(), ax=ax, title="A title") is ax
    assert ax.get_title(loc="left") == "A title"
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_axes_makes_its_own_and_has_a_title(name):
    plot, data = FIGURES[name]
    ax = plot(data())
    assert ax.get_title(loc="left")
    assert ax.figure is plt.gcf()


def test_confusion_draws_shares_of_the_true_class_with_the_matrix_labels():
    matrix = published.confusion_matrix("fer2013")
    ax = accuracy_plots.plot_confusion(matrix)
    drawn = np.asarray(ax.collections[0].get_array()).reshape(7, 7)
    assert drawn == pytest.approx(100 * matrix.to_numpy() / matrix.to_numpy().sum(axis=1, keepdims=True))
    assert [text.get_text() for text in ax.get_yticklabels()] == list(matrix.index)
    assert [text.get_text() for text in ax.get_xticklabels()] == list(matrix.columns)


def test_confusion_refuses_axes_with_different_labels():
    matrix = published.confusion_matrix("rafdb")
    with pytest.raises(ValueError, match="same labels"):
        accuracy_plots.plot_confusion(matrix[matrix.columns[::-1]])


def test_confusion_leaves_a_class_without_images_blank():
    matrix = pd.DataFrame([[3, 1], [0, 0]], index=["a", "b"], columns=["a", "b"])
    drawn = np.ma.filled(accuracy_plots.plot_confusion(matrix).collections[0].get_array().reshape(2, 2), np.nan)
    assert drawn[0] == pytest.approx([75, 25])
    assert np.isnan(drawn[1]).all()


def test_history_marks_the_chosen_epoch_and_draws_what_there_is():
    ax = training_plots.plot_history(history(), chosen_epoch=9)
    assert any(list(line.get_xdata()) == [9, 9] for line in ax.lines)
    only_training = training_plots.plot_history(history()[["epoch", "loss"]], measure="loss")
    assert len(only_training.lines) == 1


def test_points_without_an_interval_are_still_drawn():
    table = accuracies().assign(ci_low=np.nan, ci_high=np.nan)
    ax = accuracy_plots.plot_accuracy_intervals(table)
    assert ax.lines[0].get_xdata() == pytest.approx(100 * table["accuracy"])


def test_colours_can_be_told_apart_in_grey_by_marker_and_hatch():
    tables = {title: per_class() for title in "abcd"}
    ax = accuracy_plots.plot_per_class(tables)
    markers = {line.get_marker() for line in ax.lines} & set(style.MARKERS)
    assert len(markers) == 4
    bars = data_plots.plot_class_balance(balance()).containers
    assert len({container[0].get_hatch() for container in bars}) == 2


def test_the_same_figure_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        style.save_figure(network_plots.plot_parameters(published.block_parameters()).figure, tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert b"Software" not in (tmp_path / "one.png").read_bytes()


def test_a_text_table_keeps_whole_sentences():
    sentence = "a long sentence " * 20
    table = pd.DataFrame({"claim": ["C1"], "reason": [sentence.strip()], "share": [0.12345]})
    html = style.text_table(table).data
    assert sentence.strip() in html
    assert "0.12<" in html
    assert html == style.text_table(table).data
