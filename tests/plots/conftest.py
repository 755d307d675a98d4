"""Figures are drawn without a screen, in the kit's look, and closed after each test."""

import matplotlib
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fermoe.plots import style


@pytest.fixture(autouse=True)
def _style():
    with plt.rc_context():
        style.use_style()
        yield
    plt.close("all")
