"""The figure of other models: right of the line the full network is better."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from fermoe.plots.beside import plot_beside


def test_a_model_that_is_worse_lies_right_of_the_line_with_its_interval() -> None:
    row = {"other": "hog_svm", "test_images": "all", "images": 100, "measure": "accuracy"}
    numbers = {"difference": -0.05, "crossed_low": -0.08, "crossed_high": -0.02}
    ax = plot_beside(pd.DataFrame([{**row, **numbers}]))
    (container,) = ax.containers
    assert container[0].get_xdata() == pytest.approx([5])
    ends = container[2][0].get_segments()[0][:, 0]
    assert sorted(ends) == pytest.approx([2, 8])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["hog_svm, all (100 test images)"]
    plt.close("all")
