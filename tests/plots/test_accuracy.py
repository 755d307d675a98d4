"""Figures of accuracies, confusion matrices, recalls and calibration show their tables."""

import numpy as np
import pandas as pd
import pytest

from fermoe import stats
from fermoe.data.datasets import load_dataset
from fermoe.evidence.confusions import published_recalls
from fermoe.paper import published
from fermoe.plots import accuracy as accuracy_plots
from fermoe.plots import style
from tests.plots.helpers import legend_names, looks, points, row_names


def accuracies():
    table = published.accuracies()
    bounds = [stats.wilson_interval(k, n) for k, n in zip(table["correct"], table["test_images"], strict=True)]
    low, high = zip(*bounds, strict=True)
    return table.assign(source="published", ci_low=low, ci_high=high)


def reliability():
    rng = np.random.default_rng(0)
    return stats.reliability_bins(rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200))


def pairs():
    rows = [("sad", "neutral", 0.3, 0.1, 0.5, 3), ("angry", "sad", 0.2, np.nan, np.nan, 3)]
    return pd.DataFrame(rows, columns=["true", "predicted", "share", "low", "high", "seeds"])


def difference(**options):
    ours = published.confusion_matrix("rafdb")
    return accuracy_plots.plot_confusion_difference(
        ours, ours.T.rename_axis(index="true", columns="predicted"), **options
    )


def mistakes(**options):
    faces = load_dataset("synthetic", train=1, test=2)
    return accuracy_plots.plot_mistakes(faces.subset([1, 2]), ["sad\n→ fear", "fear\n→ sad"], **options)


FIGURES = {
    "accuracy intervals": lambda **k: accuracy_plots.plot_accuracy_intervals(accuracies(), **k),
    "confusion": lambda **k: accuracy_plots.plot_confusion(published.confusion_matrix("rafdb"), **k),
    "confusion of images": lambda **k: accuracy_plots.plot_confusion(
        published.confusion_matrix("affectnet8"), normalise=False, **k
    ),
    "reliability": lambda **k: accuracy_plots.plot_reliability(reliability(), **k),
    "recalls": lambda **k: accuracy_plots.plot_recalls(published_recalls(), **k),
    "pairs": lambda **k: accuracy_plots.plot_pairs(pairs(), **k),
    "difference of confusions": difference,
    "mistakes": mistakes,
}


def test_confusion_draws_shares_of_the_true_class_with_the_matrix_labels():
    matrix = published.confusion_matrix("fer2013")
    ax = accuracy_plots.plot_confusion(matrix)
    drawn = np.asarray(ax.collections[0].get_array()).reshape(7, 7)
    labels = row_names(ax)
    assert labels == [name for name in style.CLASS_ORDER if name != "contempt"]
    assert [text.get_text() for text in ax.get_xticklabels()] == labels
    shares = matrix.div(matrix.sum(axis=1), axis=0)
    for true in matrix.index:
        for predicted in matrix.columns:
            at = labels.index(style.class_name(true)), labels.index(style.class_name(predicted))
            assert drawn[at] == pytest.approx(100 * shares.at[true, predicted])


def test_confusion_refuses_axes_with_different_labels():
    matrix = published.confusion_matrix("rafdb")
    with pytest.raises(ValueError, match="same labels"):
        accuracy_plots.plot_confusion(matrix[matrix.columns[::-1]])


def test_confusion_leaves_a_class_without_images_blank():
    matrix = pd.DataFrame([[3, 1], [0, 0]], index=["a", "b"], columns=["a", "b"])
    drawn = np.ma.filled(accuracy_plots.plot_confusion(matrix).collections[0].get_array().reshape(2, 2), np.nan)
    assert drawn[0] == pytest.approx([75, 25])
    assert np.isnan(drawn[1]).all()


def test_points_without_an_interval_are_still_drawn():
    table = accuracies().assign(ci_low=np.nan, ci_high=np.nan)
    ax = accuracy_plots.plot_accuracy_intervals(table)
    assert ax.lines[0].get_xdata() == pytest.approx(100 * table["accuracy"])


def test_recalls_of_all_datasets_stand_in_the_same_rows():
    ax = accuracy_plots.plot_recalls(published_recalls())
    assert row_names(ax) == list(style.CLASS_ORDER)
    assert legend_names(ax) == list(published.TITLES.values())
    for dataset, title in published.TITLES.items():
        matrix = published.confusion_matrix(dataset)
        recalls = {style.class_name(name): 100 * matrix.at[name, name] / matrix.loc[name].sum() for name in matrix}
        assert {style.CLASS_ORDER[round(y)]: x for x, y in points(ax)[title]} == pytest.approx(recalls)


def test_series_can_be_told_apart_in_grey_by_their_markers():
    ax = accuracy_plots.plot_recalls(published_recalls())
    assert len({marker for _, marker in looks(ax).values()}) == 4


def test_a_difference_of_confusions_is_in_points_of_the_true_class():
    ours = pd.DataFrame([[3, 1], [1, 1]], index=["happy", "sad"], columns=["happy", "sad"])
    theirs = pd.DataFrame([[5, 5], [0, 10]], index=["happy", "sad"], columns=["happy", "sad"])
    drawn = accuracy_plots.plot_confusion_difference(ours, theirs).collections[0].get_array().reshape(2, 2)
    assert np.asarray(drawn) == pytest.approx(np.array([[25, -25], [50, -50]]))
