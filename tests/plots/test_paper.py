"""The published recalls stand beside the numbers of training images."""

import itertools

import pandas as pd
import pytest

from fermoe.paper import published
from fermoe.plots import paper as paper_plots
from fermoe.plots import style

FIGURES = {
    dataset: lambda dataset=dataset, **k: paper_plots.plot_recall_vs_frequency(
        published.recall_and_frequency(dataset), **k
    )
    for dataset in published.TITLES
}


@pytest.mark.parametrize("dataset", published.TITLES)
def test_every_class_has_its_point_and_a_name_that_covers_no_other(dataset):
    data = published.recall_and_frequency(dataset)
    ax = paper_plots.plot_recall_vs_frequency(data)
    x, y = ax.containers[0].lines[0].get_data()
    assert x.tolist() == data["train_images"].tolist()
    assert y.tolist() == pytest.approx((100 * data["recall"]).tolist())
    assert [text.get_text() for text in ax.texts] == [style.class_name(label) for label in data["label"]]
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_names_of_close_points_cover_neither_each_other_nor_an_interval():
    data = pd.DataFrame(
        {
            "label": ["disgust", "fear", "sad"],
            "train_images": [1000, 1080, 3000],
            "test_images": 100,
            "correct": [50, 52, 90],
        }
    )
    ax = paper_plots.plot_recall_vs_frequency(data.assign(recall=data["correct"] / 100))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for segment in ax.containers[0].lines[2][0].get_segments():
        (x, low), (_, high) = ax.transData.transform(segment)
        assert not any(box.x0 < x < box.x1 and box.y0 < high and low < box.y1 for box in boxes)
