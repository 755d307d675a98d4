"""The gaps between happy and rare classes, drawn where their table says."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from fermoe.plots.imbalance import COMPOSITION_NAMES, plot_gaps


def test_each_composition_has_its_mark_and_its_interval_in_the_row_of_the_class() -> None:
    rows = [
        (composition, f"gap_{name}", value, value - 0.1, value + 0.1)
        for name, start in (("fear", 0.4), ("disgust", 0.6))
        for composition, value in zip(COMPOSITION_NAMES, (start, start - 0.2, start - 0.1), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["composition", "measure", "value", "ci_low", "ci_high"])
    other = pd.DataFrame([("equal", "recall_fear", 0.9, 0.8, 1.0)], columns=table.columns)
    ax = plot_gaps(pd.concat([other, table]))
    drawn = {container.get_label(): sorted(container[0].get_xdata()) for container in ax.containers}
    assert drawn == {
        "the dataset's own shares": pytest.approx([40, 60]),
        "all classes equally often": pytest.approx([20, 40]),
        "happy as rare as fear": pytest.approx([30, 50]),
    }
    assert sorted(label.get_text() for label in ax.get_yticklabels()) == ["than disgust", "than fear"]
    plt.close("all")
