"""Figures of perturbations and of what they cost: `plot_x(data, ax=None) → ax`, in the look of `plots`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fermoe.data.perturbations import PERTURBATIONS, SEVERITIES, Boxes, perturb
from fermoe.evidence.robustness import COMPARED
from fermoe.plots.style import COLOURS, LINES, MARKERS, _axes, _colour, _errors, _finish

_GAP = 3  # pixels between pictures


def plot_perturbations(
    image: Tensor,
    boxes: Boxes,
    names: Sequence[str] = tuple(PERTURBATIONS),
    ax: Axes | None = None,
    title: str = "One synthetic face under every perturbation",
) -> Axes:
    """One row per perturbation, one column per severity, 0 first. `image` (3, S, S) must be a synthetic face.

    `boxes` are those of the one image, by part (1, 4).
    """
    size, severities = image.shape[-1], (0, *SEVERITIES)
    step = size + _GAP
    sheet = np.ones((len(names) * step - _GAP, len(severities) * step - _GAP, 3), dtype=np.float32)
    for y, name in enumerate(names):
        for x, severity in enumerate(severities):
            picture = perturb(name, severity, image[None], boxes, np.array([0]))[0]
            sheet[y * step : y * step + size, x * step : x * step + size] = picture.permute(1, 2, 0).numpy()
    ax = _axes(ax, (7.2, 1.0 + 0.86 * len(names)))
    ax.imshow(sheet.clip(0, 1), interpolation="nearest")
    ax.set_xticks([x * step + size / 2 for x in range(len(severities))], [str(s) for s in severities])
    ax.set_yticks([y * step + size / 2 for y in range(len(names))], list(names))
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return _finish(ax, title, "Severity (0: as it is)", "")


def plot_severity(data: pd.DataFrame, ax: Axes | None = None, title: str = "") -> Axes:
    """Accuracy by severity of one perturbation, a line with its interval per variant; severity 0 is the clean accuracy.

    `data` holds the rows of robustness.csv for that perturbation.
    """
    ax = _axes(ax, (5.0, 3.6))
    for variant, rows in data.groupby("variant", sort=False):
        index = COMPARED.index(str(variant))
        rows = rows.sort_values("severity")
        severity = [0, *rows["severity"]]
        accuracy = 100 * np.array([rows["clean_accuracy"].iloc[0], *rows["accuracy"]])
        line, marker = LINES[index % len(LINES)], MARKERS[index]
        ax.plot(severity, accuracy, ls=line, marker=marker, ms=5, color=_colour(index), label=str(variant))
        if variant == "full":  # one band, or nothing can be told apart
            low, high = 100 * rows["ci_low"], 100 * rows["ci_high"]
            ax.fill_between(rows["severity"], low, high, color=_colour(index), alpha=0.15, lw=0)
    ax.set_xticks([0, *SEVERITIES])
    ax.set_ylim(0, 100)
    unit = PERTURBATIONS[data["perturbation"].iloc[0]].unit
    return _finish(ax, title or f"{data['perturbation'].iloc[0]} ({unit})", "Severity", "Accuracy (%)")


def plot_all_severities(table: pd.DataFrame) -> Figure:
    """Small multiples of `plot_severity`, one per perturbation, with one legend."""
    names = list(dict.fromkeys(table["perturbation"]))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 2.9 * rows + 0.4), squeeze=False, sharex=True, sharey=True
    )
    for name, ax in zip(names, axes.flat, strict=False):
        plot_severity(table[table["perturbation"] == name], ax)
        ax.set_title(ax.get_title(loc="left") or ax.get_title(), fontsize=9.5)
        ax.set(xlabel="", ylabel="")
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel("Severity (0: clean)", fontsize=11)
    figure.supylabel("Accuracy (%)", fontsize=11)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def plot_drop_differences(
    summary: pd.DataFrame, ax: Axes | None = None, title: str = "Relative loss beyond the full network's (95 %)"
) -> Axes:
    """One row per perturbation, one marker per variant; right of the line the full network loses less.

    `summary` has the columns perturbation, variant, drop_difference, diff_low, diff_high (shares), such as the rows of
    robustness.csv at one severity.
    """
    names = list(dict.fromkeys(summary["perturbation"]))
    variants = [variant for variant in COMPARED if variant in set(summary["variant"]) and variant != "full"]
    ax = _axes(ax, (7.6, 1.4 + 0.55 * max(1, len(names))))
    step = 0.7 / max(1, len(variants))
    for index, variant in enumerate(variants):
        rows = summary[summary["variant"] == variant]
        ax.errorbar(
            100 * rows["drop_difference"],
            [names.index(name) + (index - (len(variants) - 1) / 2) * step for name in rows["perturbation"]],
            xerr=100 * _errors(rows["drop_difference"], rows["diff_low"], rows["diff_high"]),
            fmt=MARKERS[COMPARED.index(variant)],
            color=_colour(COMPARED.index(variant)),
            capsize=2,
            ms=5,
            lw=1,
            label=variant,
        )
    ax.axvline(0, color=COLOURS["black"], lw=1, ls="--")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(max(1, len(names)) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    if variants:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _finish(ax, title, "Variant's relative drop − full's (points)", "")
