"""Figures of a training show its history."""

import pandas as pd
import pytest

from fermoe.paper import published
from fermoe.plots import training as training_plots


def history():
    table = published.training_history()
    return table[table["dataset"] == "rafdb"]


def seeds():
    """Two seeds of the full network, one of its backbone."""
    runs = {("full", 0): (0.3, 0.4), ("full", 1): (0.5, 0.5), ("backbone", 0): (0.2, 0.6)}
    rows = [
        (variant, seed, epoch, share)
        for (variant, seed), curve in runs.items()
        for epoch, share in enumerate(curve, start=1)
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", "epoch", "val_accuracy"])


FIGURES = {
    "history": lambda **k: training_plots.plot_history(history(), **k),
    "loss": lambda **k: training_plots.plot_history(history(), measure="loss", chosen_epoch=3, **k),
    "beside published": lambda **k: training_plots.plot_beside_published(history(), published.training_history(), **k),
    "curves": lambda **k: training_plots.plot_curves(seeds(), **k),
}


def test_history_marks_the_chosen_epoch_and_draws_what_there_is():
    ax = training_plots.plot_history(history(), chosen_epoch=9)
    assert any(list(line.get_xdata()) == [9, 9] for line in ax.lines)
    only_training = training_plots.plot_history(history()[["epoch", "loss"]], measure="loss")
    assert len(only_training.lines) == 1
    assert only_training.lines[0].get_ydata().tolist() == history()["loss"].tolist()


def test_the_published_histories_are_a_band_under_ours():
    theirs = published.training_history()
    ax = training_plots.plot_beside_published(history(), theirs)
    curves = {line.get_label(): line for line in ax.lines}
    assert list(curves["this training"].get_ydata()) == [100 * value for value in history()["val_accuracy"]]
    assert curves["the paper's, RAF-DB"].get_ydata().tolist() == curves["this training"].get_ydata().tolist()
    (band,) = ax.collections
    first = theirs[theirs["epoch"] == 1]["val_accuracy"]
    heights = [y for x, y in band.get_paths()[0].vertices if x == 1]
    assert (min(heights), max(heights)) == (100 * first.min(), 100 * first.max())


def test_curves_are_means_over_seeds_and_the_band_reaches_the_full_networks_lowest_and_highest():
    ax = training_plots.plot_curves(seeds())
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    assert lines == {"full network (2)": pytest.approx([40, 45]), "ResNet alone (1)": pytest.approx([20, 60])}
    (band,) = ax.collections
    corners = {(x, round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 30), (1, 50), (2, 40), (2, 50)}
