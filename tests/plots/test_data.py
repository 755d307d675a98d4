"""Figures of a dataset show its classes, faces and colours; photographs are refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fermoe.data import audit
from fermoe.data.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.paper import published
from fermoe.plots import data as data_plots
from fermoe.plots import style
from tests.plots.helpers import legend_names, row_names

FACES = load_dataset("synthetic", train=14, test=2)


def balance(dataset="fer2013"):
    counts = published.class_counts()
    return counts[counts["dataset"] == dataset]


def histogram():
    return audit.colour_histograms(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8))


RNG = np.random.default_rng(0)
SHARES = {"a": RNG.random(9), "b": RNG.random(5)}
TONES = np.array([0, 0.05, 0.1, 0.99, 1])
FIGURES = {
    "class balance": lambda **k: data_plots.plot_class_balance(balance(), **k),
    "contact sheet": lambda **k: data_plots.plot_contact_sheet(data_plots.contact_rows(FACES, 2), **k),
    "colour histograms": lambda **k: data_plots.plot_colour_histograms(histogram(), **k),
    "distribution": lambda **k: data_plots.plot_distribution(SHARES, **k),
    "skin share": lambda **k: data_plots.plot_skin_share(TONES, TONES, **k),
}


def test_class_balances_of_all_datasets_have_one_order_of_classes():
    for dataset in ("affectnet8", "rafdb", "fer2013"):
        counts = balance(dataset)
        ax = data_plots.plot_class_balance(counts)
        names = [text.get_text() for text in ax.get_xticklabels()]
        assert names == [name for name in style.CLASS_ORDER if name != "contempt" or dataset == "affectnet8"]
        assert legend_names(ax) == ["train", "test"]
        for bars, split in zip(ax.containers, ("train", "test"), strict=True):
            images = counts[counts["split"] == split].set_index("label")["images"].rename(style.class_name)
            assert [bar.get_height() for bar in bars] == images[names].tolist()


def test_angry_and_anger_are_one_class():
    counts = pd.DataFrame([("angry", "train", 3), ("anger", "train", 4)], columns=["label", "split", "images"])
    (bars,) = data_plots.plot_class_balance(counts).containers
    assert [bar.get_height() for bar in bars] == [7]


def test_contact_rows_are_in_label_order():
    rows = data_plots.contact_rows(FACES, 1).table
    assert rows["label"].tolist() == list(range(7))
    assert data_plots.contact_rows(FACES, 100).table["label"].is_monotonic_increasing


def test_a_contact_sheet_has_a_row_per_emotion_with_its_faces():
    rows = data_plots.contact_rows(FACES, 2)
    ax = data_plots.plot_contact_sheet(rows)
    names = row_names(ax)
    assert names == [name for name in style.CLASS_ORDER if name != "contempt"]
    first = {image.get_extent()[3]: image for image in ax.images if image.get_extent()[0] == 0}
    drawn = [np.asarray(first[y].get_array()) for y in sorted(first)]
    emotions = rows.table["emotion"]
    faces = style.drawn_faces(rows.subset(~emotions.duplicated()))
    for name, face in zip(emotions.drop_duplicates(), faces, strict=True):
        assert (drawn[names.index(style.class_name(name))] == face).all()


def test_grey_faces_are_drawn_too():
    grey = load_dataset("synthetic", train=7, test=1, framing="tight")
    ax = data_plots.plot_contact_sheet(grey)
    assert len(ax.get_yticklabels()) == 7
    assert len(ax.images) == len(grey)


def test_photographs_are_refused():
    with pytest.raises(UserError, match="photographs"):
        data_plots.plot_contact_sheet(dataclasses.replace(FACES, table=FACES.table.drop(columns="framing")))


def test_every_channel_has_its_line():
    data = histogram()
    ax = data_plots.plot_colour_histograms(data)
    for line in ax.lines:
        rows = data[data["channel"] == line.get_label()]
        np.testing.assert_allclose(line.get_ydata(), 100 * rows["share"])
    assert len(ax.lines) == 3


def test_a_distribution_is_of_shares_of_each_vector():
    ax = data_plots.plot_distribution(SHARES)
    tops = [patch.get_xy()[:, 1] for patch in ax.patches]
    assert len(tops) == 2
    for top, values in zip(tops, SHARES.values(), strict=True):
        assert top.max() >= 100 / len(values)
        assert set(np.round(top * len(values) / 100, 6)) <= set(range(len(values) + 1))
    assert legend_names(ax) == ["a", "b"]


def test_medians_of_skin_shares_are_of_eighths_of_the_tones():
    ax = data_plots.plot_skin_share(TONES, np.array([0.1, 0.3, 0.2, 0.5, 0.7]))
    x, y = ax.lines[1].get_data()
    assert list(x) == [1 / 16, 15 / 16]
    assert list(y) == pytest.approx([20, 60])
