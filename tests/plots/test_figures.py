"""What holds for every figure: it draws on the axes given, names everything, and is whole where it is on its own."""

import matplotlib.pyplot as plt
import pytest

from tests.plots import (
    test_ablation,
    test_accuracy,
    test_crops,
    test_data,
    test_experts,
    test_grad_cam,
    test_network,
    test_paper,
    test_robustness,
    test_training,
)

MODULES = (
    test_ablation,
    test_accuracy,
    test_crops,
    test_data,
    test_experts,
    test_grad_cam,
    test_network,
    test_paper,
    test_robustness,
    test_training,
)
FIGURES = {
    f"{module.__name__.rpartition('test_')[2]}: {name}": draw
    for module in MODULES
    for name, draw in module.FIGURES.items()
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_uses_the_axes_given_and_names_everything(name):
    _, ax = plt.subplots()
    assert FIGURES[name](ax=ax, title="A title") is ax
    assert ax.get_title(loc="left") == "A title"
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_its_own_is_named_and_nothing_of_it_is_cut_off(name):
    figure = FIGURES[name]().figure
    assert figure is plt.gcf()
    assert figure.axes[0].get_title(loc="left")
    figure.canvas.draw()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= -0.01
    assert drawn.y0 >= -0.01
    assert drawn.x1 <= width + 0.01
    assert drawn.y1 <= height + 0.01
