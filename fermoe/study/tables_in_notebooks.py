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


def at_severity(table: pd.DataFrame, severity: int = 3) -> PeopleTable:
    """09: accuracy under every perturbation of one severity, clean above; `table` is robustness.csv."""
    mine = style.in_order(table[table["severity"] == severity], "variant")
    variants, rows = list(dict.fromkeys(mine["variant"])), []
    clean = mine.drop_duplicates("variant").set_index("variant")["clean_accuracy"]
    rows.append(("clean", "", *(share(clean[variant]) for variant in variants)))
    for (name, group), some in mine.groupby(["perturbation", "group"], sort=False):
        of = some.set_index("variant")
        cells = [share(*of.loc[v, ["accuracy", "ci_low", "ci_high"]]) if v in of.index else "" for v in variants]
        rows.append((str(name), str(group), *cells))
    caption = f"Accuracy at severity {severity}, mean over seeds; intervals over images"
    columns = ("Perturbation", "Kind", *(style.variant_name(variant) for variant in variants))
    return PeopleTable(caption, columns, rows, "robustness.csv")


def regrouped(control: pd.DataFrame) -> PeopleTable:
    """09: clearly different conditions beside those between trainings dealt anew; `control` is of `regrouped`."""
    rows = [
        (
            style.variant_name(row.variant),
            str(row.seeds),
            f"{row.clearly_different} of {row.conditions}",
            f"{row.by_chance:.1f}",
            str(row.most_by_chance),
            f"{row.p:.2f}",
        )
        for row in control.itertuples()
    ]
    columns = ("Variant", "Seeds", "Clearly different conditions", "By chance, mean", "By chance, most", "p")
    return PeopleTable("Clearly different conditions beside those that chance between trainings gives", columns, rows)


def agreement(table: pd.DataFrame) -> PeopleTable:
    """07: whether two trainings divide the images alike; `table` is of `experts.seed_agreement`."""
    rows = []
    keys = ["protocol", "variant", "pipeline", "mixture"]
    for (protocol, variant, pipeline, mixture), group in in_order(table).groupby(keys, sort=False):
        setting = f"{style.variant_name(variant)}, {input_name(protocol)}, {input_name(pipeline)}"
        measures = ("adjusted_information", "matched", "matched_by_chance")
        cells = [
            number(group[name].mean(), 100 if "matched" in name else 1, 0 if "matched" in name else 2)
            for name in measures
        ]
        rows.append((f"{style.mixture_name(mixture)}: {setting}", str(len(group)), *cells))
    columns = ("Mixture", "Pairs of seeds", "Agreement (1 the same, 0 chance)", "Experts matched, %", "By chance, %")
    return PeopleTable("Do two trainings divide the images alike?", columns, rows)


def best_alone(table: pd.DataFrame) -> PeopleTable:
    """07: what the best single expert costs beside choosing, of the full network; `table` is experts.csv."""
    alone = table[(table["measure"] == "forced_drop") & (table["variant"] == "full")]
    best = alone.loc[alone.groupby(["run", "mixture"], sort=False)["value"].idxmin()]
    rows = [
        (
            f"{style.mixture_name(row.mixture)}, {input_name(row.protocol)}, seed {row.seed}",
            str(row.expert),
            f"{int(row.images):,}",
            Finding(row.value, row.ci_low, row.ci_high, 3).text(),
        )
        for row in in_order(best).itertuples()
    ]
    columns = ("Mixture of the full network", "Expert", "Images", "Choosing gains over it, points")
    caption = "What choosing gains over always taking the one best expert, over images"
    return PeopleTable(caption, columns, rows, "experts.csv")


def gate_changes(table: pd.DataFrame, shown: dict[str, tuple[str, float, int]]) -> PeopleTable:
    """07: what other gates change; `table` is of `experts.against`, `shown` names measures, their scale and digits."""
    rows = []
    kept = in_order(table[table["measure"].isin(shown) & (table["mixture"] != "both")])
    for row in kept.itertuples():
        name, scale, digits = shown[row.measure]
        found = Finding(row.difference, row.ci_low, row.ci_high, row.seeds)
        setting = f"{style.variant_name(row.variant)}, {style.mixture_name(row.mixture)}"
        cells = (number(row.baseline, scale, digits), number(row.value, scale, digits), found.text(scale, digits))
        rows.append((setting, name, str(row.seeds), *cells))
    columns = ("Network", "Measure", "Seeds", "Full network", "This one", "Difference")
    return PeopleTable("Other gates beside the full network's, over seeds", columns, rows, "experts.csv")
