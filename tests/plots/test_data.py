"""Every figure draws on the axes given, with a title and named axes; photographs are refused."""

import dataclasses

import matplotlib
import numpy as np
import pandas as pd
import pytest

from fermoe.plots import crops as crops_plots
from fermoe.plots import network as network_plots
from fermoe.plots import style

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fermoe.data import audit
from fermoe.data.datasets import load_dataset
from fermoe.errors import UserError
from fermoe.network import cost
from fermoe.network.model import ModelConfig
from fermoe.plots import data as data_plots

FACES = load_dataset("synthetic", train=14, test=2)


@pytest.fixture(autouse=True)
def _style():
    with plt.rc_context():
        style.use_style()
        yield
    plt.close("all")


def detections(dataset):
    """The true box as the detector's, and no face in the first image."""
    box = dataset.table[["face_x0", "face_y0", "face_x1", "face_y1"]].to_numpy(dtype=float)
    box[0] = 0, 0, 128, 128
    found = np.arange(len(dataset)) > 0
    relative = np.where(found[:, None], box / 128, np.nan)
    return pd.DataFrame(
        {
            "outcome": np.where(found, "detected", "no face"),
            "xmin": relative[:, 0],
            "ymin": relative[:, 1],
            "width": relative[:, 2] - relative[:, 0],
            "height": relative[:, 3] - relative[:, 1],
            "image_width": 128,
            "image_height": 128,
            **{name: box[:, i].astype(int) for i, name in enumerate(("x0", "y0", "x1", "y1"))},
        }
    )


def rates():
    columns = ["value", "series", "rate", "ci_low", "ci_high"]
    return pd.DataFrame([("a", "x", 0.5, 0.3, 0.7), ("a", "y", 1.0, 0.8, 1.0)], columns=columns)


def histogram():
    return audit.colour_histograms(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8))


RNG = np.random.default_rng(0)
FIGURES = {
    "contact_sheet": lambda ax: data_plots.plot_contact_sheet(data_plots.contact_rows(FACES, 2), ax=ax),
    "crop_gallery": lambda ax: crops_plots.plot_crop_gallery(
        FACES.subset(range(4)), detections(FACES.subset(range(4))), ax=ax
    ),
    "rates": lambda ax: crops_plots.plot_rates(rates(), ax=ax, series="series"),
    "colour_histograms": lambda ax: data_plots.plot_colour_histograms(histogram(), ax=ax),
    "distribution": lambda ax: data_plots.plot_distribution({"a": RNG.random(9), "b": RNG.random(5)}, ax=ax),
    "skin_share": lambda ax: data_plots.plot_skin_share(RNG.random(30), RNG.random(30), ax=ax),
    "block_costs": lambda ax: network_plots.plot_block_costs(
        cost.block_costs(ModelConfig.miniature(), batch=2, repeats=1), ax=ax
    ),
    "convolutions": lambda ax: network_plots.plot_convolutions(
        cost.compare_convolutions(ModelConfig.miniature(), batch=1), ax=ax
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_on_the_axes_given(name):
    _, ax = plt.subplots()
    assert FIGURES[name](ax) is ax
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    ax.figure.canvas.draw()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_make_their_own_axes(name):
    assert FIGURES[name](None).figure.axes


def test_contact_rows_are_in_label_order():
    rows = data_plots.contact_rows(FACES, 1).table
    assert rows["label"].tolist() == list(range(7))
    assert data_plots.contact_rows(FACES, 100).table["label"].is_monotonic_increasing


def test_grey_faces_are_drawn_too():
    grey = load_dataset("synthetic", train=7, test=1, framing="tight")
    assert len(data_plots.plot_contact_sheet(grey).get_yticklabels()) == 7


def test_a_gallery_names_what_was_not_found():
    ax = crops_plots.plot_crop_gallery(FACES.subset(range(3)), detections(FACES.subset(range(3))))
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["1\nno face\nfound", "2", "3"]
    assert len(ax.patches) == 3 + 2 + 2  # every true face, and both other boxes where there was a detection


def test_photographs_are_refused():
    photographs = dataclasses.replace(FACES, table=FACES.table.drop(columns="framing"))
    for draw in (data_plots.plot_contact_sheet, lambda t: crops_plots.plot_crop_gallery(t, detections(FACES))):
        with pytest.raises(UserError, match="photographs"):
            draw(photographs)
