"""The figures that only notebooks show, drawn from a study's tables as in `pictures`; None where it has no rows."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from fermoe.evidence import messages
from fermoe.evidence.ablation import seed_table
from fermoe.evidence.answers_on_the_lead import compared_runs
from fermoe.evidence.findings import Outcome, over_seeds, rows_of
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.plots.ablation import plot_advantages, plot_seeds
from fermoe.plots.accuracy import plot_confusion, plot_confusion_difference
from fermoe.plots.show import Drawn, described
from fermoe.study import tables_in_notebooks
from fermoe.study.tables_for_people import advantages, in_order, input_name, selection_rows


def by_class(tables: Tables) -> Drawn | None:
    """08, 11: what the full network's recall is ahead of its backbone's, by class."""
    recalls = tables_in_notebooks.recalls(tables)
    if not recalls:
        return None
    ax = plot_advantages(
        tables_in_notebooks.by_class(recalls),
        title=messages.by_class(recalls, style.variant_name("full"), style.variant_name("backbone")),
        row="label",
        series=(),
        x="Recall, full network − backbone (points, 95 % over trainings and images)",
        y="Class",
    )
    return described(ax)


def seeds(tables: Tables) -> Drawn | None:
    """11: one mark per training."""
    rows = compared_runs(tables)
    if rows.empty:
        return None
    by_seed = seed_table(rows)
    return described(plot_seeds(by_seed, title=messages.spread(by_seed)))


def augmentation(tables: Tables) -> Drawn | None:
    """11: what augmentation gains, by network and measure."""
    found = tables_in_notebooks.augmentations(tables)
    if not found:
        return None
    data = advantages(found)
    title = messages.augmentation([one.findings for one in found])
    x = "With − without augmentation (points, 95 % over trainings and images)"
    return described(plot_advantages(data, None, title, "setting", "measure", x, "Protocol and network"))


def leaks(tables: Tables) -> Drawn | None:
    """11: what test images that leaked into training add to each network's accuracy."""
    rows = rows_of(tables, "leaks", "leaks", "difference", "standardised", "seed")
    kinds = {"difference": "to its accuracy", "standardised": "within classes"}
    identical = in_order(rows[rows["leaks"] == "identical"])
    found = _over_seeds(identical[identical["variant"].isin(["full", "backbone"])], kinds)
    if found.empty:
        return None
    first = found[found["kind"] == next(iter(kinds.values()))]
    title = messages.leaks(dict(zip(first["setting"], first["finding"], strict=True)))
    x = "All test images − those without a twin in training (points of accuracy, 95 % over seeds, from three on)"
    return described(plot_advantages(found, None, title, "setting", "kind", x, "Network"))


def selection(tables: Tables) -> Drawn | None:
    """11: what choosing the epoch on the test set adds to each network's accuracy."""
    kinds = {"optimism": "by split halves", "full_size": "simulated at full size"}
    found = _over_seeds(selection_rows(tables, *kinds), kinds)
    if found.empty:
        return None
    title = messages.selection(found["finding"].tolist())
    x = "Points that choosing on the test images adds (95 % over seeds, from three on)"
    return described(plot_advantages(found, None, title, "setting", "kind", x, "Network"))


def _over_seeds(rows: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """Means over seeds of some columns, by network: setting, kind, finding, advantage, low, high."""
    found = []
    keys = ["protocol", "variant", "test_crop", "pipeline"]
    for (protocol, variant, test_crop, pipeline), group in rows.groupby(keys, sort=False):
        network = f"{style.variant_name(variant)}, {input_name(protocol)}, {input_name(pipeline)}"
        network += f", tested on {input_name(test_crop)}" if protocol == "published" and test_crop else ""
        for column, kind in kinds.items():
            one = over_seeds(group[column])
            ends = (float("nan"), float("nan")) if one.outcome is Outcome.FEW else (one.low, one.high)
            found.append((network, kind, one, one.value, *ends))
    return pd.DataFrame(found, columns=["setting", "kind", "finding", "advantage", "low", "high"])


def confusions(ours: pd.DataFrame, theirs: pd.DataFrame, pairs: pd.DataFrame) -> Drawn:
    """11: what is taken for what, and how that differs from the paper's matrix.

    The matrices are counts of the same labels, ours a sum over trainings; `pairs` is of `confusions.confused_pairs`.
    The classes of all are named for people.
    """
    _, axes = plt.subplots(1, 2, figsize=(12.4, 5.4))
    plot_confusion(ours, axes[0], messages.confusions(pairs))
    plot_confusion_difference(ours, theirs, axes[1], messages.furthest(ours, theirs))
    return described(axes[0].figure)
