"""Figures of a training show its history."""

from fermoe.paper import published
from fermoe.plots import training as training_plots


def history():
    table = published.training_history()
    return table[table["dataset"] == "rafdb"]


FIGURES = {
    "history": lambda **k: training_plots.plot_history(history(), **k),
    "loss": lambda **k: training_plots.plot_history(history(), measure="loss", chosen_epoch=3, **k),
    "beside published": lambda **k: training_plots.plot_beside_published(history(), published.training_history(), **k),
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
