"""What a figure shows, read back from its axes."""

import numpy as np
from matplotlib.axes import Axes


def row_names(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def legend_names(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def points(ax: Axes) -> dict[str, list[tuple[float, float]]]:
    """The (x, y) of the marks of every series drawn with `errorbar`, by the series' label."""
    found = {}
    for container in ax.containers:
        if hasattr(container, "has_xerr"):
            pairs = zip(*container.lines[0].get_data(), strict=True)
            found[container.get_label()] = [(float(x), float(y)) for x, y in pairs]
    return found


def looks(ax: Axes) -> dict[str, tuple[str, str]]:
    """The colour and marker of every series drawn with `errorbar`, by the name of its label or of its first row."""
    found = {}
    for container in ax.containers:
        if hasattr(container, "has_xerr"):
            line = container.lines[0]
            label, row = str(container.get_label()), row_names(ax)[round(float(line.get_ydata()[0]))]
            found[row if label.startswith("_") else label] = (line.get_color(), line.get_marker())
    return found


def intervals(ax: Axes) -> list[tuple[float, float]]:
    """The ends of all horizontal bars drawn with `errorbar`, where there are any."""
    bars = [bar for c in ax.containers if hasattr(c, "has_xerr") for bar in c.lines[2]]
    segments = [segment for bar in bars for segment in bar.get_segments() if np.size(segment)]
    return [(float(segment[0, 0]), float(segment[-1, 0])) for segment in segments if np.isfinite(segment).all()]
