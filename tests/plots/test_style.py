"""One look for every figure: colours, names and order, and what is printed or saved."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from fermoe.network.variants import VARIANTS
from fermoe.paper import published
from fermoe.plots import network as network_plots
from fermoe.plots import style


def test_every_place_has_a_pair_of_colour_and_marker_of_its_own():
    pairs = {(style.colour(place), style.marker(place)) for place in range(64)}
    assert len(pairs) == 64


def test_every_variant_has_its_own_look_in_the_order_of_the_variants():
    looks = [(style.variant_colour(variant), style.variant_marker(variant)) for variant in VARIANTS]
    assert len(set(looks)) == len(VARIANTS)
    assert looks == [(style.colour(place), style.marker(place)) for place in range(len(VARIANTS))]
    assert (style.variant_colour("new"), style.variant_marker("new")) not in looks


def test_people_read_no_code_names():
    assert style.variant_name("no_cnn1") == "without extractor 1"
    assert style.branch_name("resnet") == "ResNet"
    assert style.mixture_name("expression") == "mixture on the fusion"
    assert style.protocol_name("published") == "as published"
    names = [style.variant_name(variant) for variant in VARIANTS]
    assert len(set(names)) == len(VARIANTS)
    assert not any("_" in name for name in names)
    assert style.variant_name("of the reader") == "of the reader"


@pytest.mark.parametrize(("label", "name"), [("angry", "anger"), ("happiness", "happy"), ("sadness", "sad")])
def test_an_emotion_has_one_name(label, name):
    assert style.class_name(label) == style.class_name(name) == name
    assert style.class_name("fear") == "fear"


def test_classes_of_all_datasets_have_one_order():
    labels = ["surprise", "sad", "boredom", "angry", "contempt", "awe", "neutral", "happiness", "fear", "disgust"]
    table = style.classes_in_order(pd.DataFrame({"x": range(10)}, index=labels))
    assert table.index.tolist() == [*style.CLASS_ORDER, "boredom", "awe"]
    assert table["x"].tolist() == [3, 4, 9, 8, 7, 6, 1, 0, 2, 5]


def test_rows_are_sorted_by_the_order_of_variants_and_then_as_they_come():
    table = pd.DataFrame({"variant": ["mine", "backbone", "full", "backbone"], "seed": [0, 1, 2, 3]})
    assert style.in_order(table, "variant")["seed"].tolist() == [2, 1, 3, 0]
    other = pd.DataFrame({"seed": [5, 3, 5, 4]})
    assert style.in_order(other, "seed").index.tolist() == [0, 2, 1, 3]


def test_for_people_names_columns_and_leaves_everything_else():
    table = pd.DataFrame(
        {
            "variant": ["no_cnn1", "mine"],
            "alternative": ["no_cnn2", "blazeface"],
            "mixture": ["cnn", "both"],
            "branch": ["cnn1", "resnet"],
            "protocol": ["published", "audited"],
            "label": ["angry", "all"],
            "predicted": [3, 4],
            "value": [0.5, 0.25],
            "run": ["full", "angry"],
        }
    )
    named = style.for_people(table)
    assert named["variant"].tolist() == ["without extractor 1", "mine"]
    assert named["alternative"].tolist() == ["without extractor 2", "blazeface"]
    assert named["mixture"].tolist() == ["mixture on extractor 1", "both mixtures"]
    assert named["branch"].tolist() == ["extractor 1", "ResNet"]
    assert named["protocol"].tolist() == ["as published", "audited"]
    assert named["label"].tolist() == ["anger", "all"]
    kept = ["predicted", "value", "run"]
    pd.testing.assert_frame_equal(named[kept], table[kept])
    assert table["label"].tolist() == ["angry", "all"]


def test_for_people_names_the_levels_of_both_axes():
    table = pd.DataFrame({"variant": ["full", "no_cnn1"], "emotion": "angry", "seed": 0, "x": [1, 2]})
    wide = table.pivot(index=["emotion", "seed"], columns="variant", values="x")
    named = style.for_people(wide)
    assert named.index.tolist() == [("anger", 0)]
    assert named.index.names == ["emotion", "seed"]
    assert named.columns.tolist() == [style.variant_name("full"), "without extractor 1"]
    assert named.columns.name == "variant"
    matrix = published.confusion_matrix("fer2013")
    assert set(style.for_people(matrix).index) == set(style.for_people(matrix).columns) < set(style.CLASS_ORDER)


def test_bars_can_be_told_apart_in_a_grey_print():
    _, ax = plt.subplots()
    bars = style.grouped_bars(ax, pd.DataFrame({"train": [3, 1], "test": [2, 4]}, index=["a", "b"]))
    assert [[bar.get_height() for bar in group] for group in bars] == [[3, 1], [2, 4]]
    assert [group[0].get_hatch() for group in bars] == list(style.HATCHES[:2])


def test_a_heat_map_leaves_what_is_not_there_blank():
    _, ax = plt.subplots()
    style.heat_map(ax, pd.DataFrame([[1.0, 2.0], [np.nan, np.nan]]), "Images", 4)
    drawn = np.ma.filled(ax.collections[0].get_array().reshape(2, 2), np.nan)
    assert drawn[0].tolist() == [1, 2]
    assert np.isnan(drawn[1]).all()
    assert [text.get_text() for text in ax.texts] == ["1", "2"]
    assert not any(line.get_visible() for line in (*ax.get_xgridlines(), *ax.get_ygridlines()))


def test_the_same_figure_is_the_same_bytes():
    one, two = (style.png(network_plots.plot_parameters(published.block_parameters()).figure) for _ in range(2))
    assert one == two
    assert b"Software" not in one
