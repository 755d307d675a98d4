"""Figures of a training show its history."""

from fermoe.paper import published
from fermoe.plots import training as training_plots


def history():
    table = published.training_history()
    return table[table["dataset"] == "rafdb"]


def rates():
    return history()[["epoch"]].assign(learning_rate=1e-3)


FIGURES = {
    "history": lambda **k: training_plots.plot_history(history(), **k),
    "loss": lambda **k: training_plots.plot_history(history(), measure="loss", chosen_epoch=3, **k),
    "learning rate": lambda **k: training_plots.plot_learning_rate(rates(), **k),
}


def test_history_marks_the_chosen_epoch_and_draws_what_there_is():
    ax = training_plots.plot_history(history(), chosen_epoch=9)
    assert any(list(line.get_xdata()) == [9, 9] for line in ax.lines)
    only_training = training_plots.plot_history(history()[["epoch", "loss"]], measure="loss")
    assert len(only_training.lines) == 1
    assert only_training.lines[0].get_ydata().tolist() == history()["loss"].tolist()


def test_the_learning_rate_is_that_of_every_epoch():
    (line,) = training_plots.plot_learning_rate(rates()).lines
    assert line.get_xdata().tolist() == history()["epoch"].tolist()
    assert set(line.get_ydata()) == {1e-3}
