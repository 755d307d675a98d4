"""The tables that only notebooks print, in the form of `tables_for_people`: what a page has no room for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fermoe.evidence.findings import AXES, COMPARED, Finding, comparison, findings, rows_of, share
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.study.tables_for_people import PeopleTable, in_order, input_name, mean, number


def recalls(tables: Tables) -> dict[str, Finding]:
    """What the full network's recall is ahead of its backbone's, by class in the classes' order."""
    table = rows_of(tables, "ablation", *COMPARED)
    chosen = comparison(tables, "variant", "full", "backbone")
    if chosen.empty:
        return {}
    first = chosen.iloc[0]
    for axis in (*(axis for axis in AXES if axis != "variant"), "baseline", "alternative", "contrast"):
        table = table[table[axis] == first[axis]]
    table = table[table["measure"].str.startswith("recall_")]
    table = table.assign(label=table["measure"].str.removeprefix("recall_").map(style.class_name))
    found = {}
    for row in style.in_order(table, "label").itertuples():
        one = pd.DataFrame([table.loc[row.Index]]).assign(measure="accuracy")
        found[str(row.label)] = findings(one, -1)["accuracy"]
    return found


def by_class(found: dict[str, Finding]) -> pd.DataFrame:
    """Findings by class for `plots.ablation.plot_advantages`: label, advantage, low, high."""
    rows = [(label, one.value, one.low, one.high) for label, one in found.items()]
    return pd.DataFrame(rows, columns=["label", "advantage", "low", "high"])


def means(summary: pd.DataFrame) -> PeopleTable:
    """08: every variant's mean by the three measures; `summary` is of `ablation.variant_summary`."""
    rows = []
    for variant, group in summary.groupby("variant", sort=False):
        of = group.set_index("measure")
        cells = [share(*of.loc[name, ["mean", "ci_low", "ci_high"]]) for name in style.MEASURE_NAMES]
        spread = of["sd"].iloc[0]
        cells.append("" if np.isnan(spread) else number(spread))
        rows.append((style.variant_name(str(variant)), str(of["seeds"].iloc[0]), *cells))
    columns = ("Variant", "Seeds", "Accuracy", "Balanced accuracy", "Macro-F1", "Accuracy's spread, points")
    caption = "Means over trainings; intervals with trainings and images drawn, from three seeds on"
    return PeopleTable(caption, columns, rows, "accuracy.csv")


def costs(table: pd.DataFrame) -> PeopleTable:
    """08: what each variant costs; `table` is of `ablation.costs`. Times are left out: they are of one machine."""
    rows = [
        (style.variant_name(row.variant), f"{row.parameters:,}", f"{row.mmac:.1f}", share(row.accuracy))
        for row in table.itertuples()
    ]
    columns = ("Variant", "Parameters", "Multiply-adds an image, millions", "Mean accuracy")
    return PeopleTable("What each network costs", columns, rows, "accuracy.csv")


def class_recalls(table: pd.DataFrame) -> PeopleTable:
    """05: recall by class; `table` is of `confusions.class_recalls`."""
    sources = list(dict.fromkeys(table["source"]))
    named, rows = style.in_order(style.for_people(table), "label"), []
    for label, group in named.groupby("label", sort=False):
        of = group.set_index("source")
        cells = [share(*of.loc[source, ["recall", "recall_low", "recall_high"]]) for source in sources]
        rows.append((str(label), f"{int(group['images'].iloc[0]):,}", *cells))
    caption = "Recall by class: means over seeds, with Student's interval over them from three on"
    return PeopleTable(caption, ("Class", "Test images", *(f"{name[0].upper()}{name[1:]}" for name in sources)), rows)


def halves(tables: Tables) -> PeopleTable:
    """05: PublicTest and PrivateTest apart, which FER-2013 alone has."""
    table = rows_of(tables, "accuracy", "split", "accuracy", "balanced_accuracy", "macro_f1", "seed", "images")
    table, rows = table[table["split"].isin(["PublicTest", "PrivateTest"])], []
    keys = ["protocol", "variant", "crop", "test_crop", "pipeline", "twins", "composition"]
    for _, group in in_order(table).groupby([*keys, "split"], sort=False):
        first = group.iloc[0]
        network = f"{style.variant_name(first['variant'])}, {input_name(first['protocol'])}"
        network += f", {input_name(first['pipeline'])}, {input_name(first['crop'])}"
        cells = [mean(group[measure]) for measure in style.MEASURE_NAMES]
        rows.append((network, first["split"], f"{int(first['images']):,}", str(group["seed"].nunique()), *cells))
    columns = ("Network", "Part", "Images", "Seeds", "Accuracy, %", "Balanced accuracy, %", "Macro-F1, %")
    return PeopleTable("PublicTest and PrivateTest apart", columns, rows, "accuracy.csv")
