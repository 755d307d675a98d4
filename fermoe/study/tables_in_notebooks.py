"""The tables that only notebooks print, in the form of `tables_for_people`: what a page has no room for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from fermoe.evidence.ablation import seed_table
from fermoe.evidence.answers_on_the_lead import compared_runs, pairs_ahead
from fermoe.evidence.confusions import published_recalls
from fermoe.evidence.crops import quality_summary
from fermoe.evidence.findings import AXES, COMPARED, Finding, Outcome, comparison, findings, rows_of, share
from fermoe.paper import published
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.study.tables_for_people import (
    Compared,
    PeopleTable,
    comparison_table,
    comparisons,
    in_order,
    input_name,
    mean,
    number,
)


def _recall_rows(tables: Tables) -> pd.DataFrame:
    """The rows of ablation.csv with the recalls of full network and backbone, `label` in the classes' order."""
    table = rows_of(tables, "ablation", *COMPARED)
    chosen = comparison(tables, "variant", "full", "backbone")
    if chosen.empty:
        return chosen.assign(label="")
    first = chosen.iloc[0]
    for axis in (*(axis for axis in AXES if axis != "variant"), "baseline", "alternative", "contrast"):
        table = table[table[axis] == first[axis]]
    table = table[table["measure"].str.startswith("recall_")]
    table = table.assign(label=table["measure"].str.removeprefix("recall_").map(style.class_name))
    return style.in_order(table, "label")


def recalls(tables: Tables) -> dict[str, Finding]:
    """What the full network's recall is ahead of its backbone's, by class in the classes' order."""
    found, table = {}, _recall_rows(tables)
    for row in table.itertuples():
        one = pd.DataFrame([table.loc[row.Index]]).assign(measure="accuracy")
        found[str(row.label)] = findings(one, -1)["accuracy"]
    return found


def by_class(found: dict[str, Finding]) -> pd.DataFrame:
    """Findings by class for `plots.ablation.plot_advantages`: label, advantage, low, high."""
    rows = [(label, one.value, one.low, one.high) for label, one in found.items()]
    return pd.DataFrame(rows, columns=["label", "advantage", "low", "high"])


def classes(tables: Tables) -> PeopleTable:
    """11: recall by class of the full network and its backbone, and the paper's where it published this dataset's."""
    found, table, rows = recalls(tables), _recall_rows(tables), []
    theirs = published_recalls()
    title = published.TITLES.get(str(table["dataset"].iloc[0])) if len(table) else None
    paper = theirs[theirs["source"] == title]
    of = paper.assign(label=paper["label"].map(style.class_name)).set_index("label")
    for row in table.itertuples():
        means = (number(row.baseline_value), number(row.baseline_value + row.difference))
        known = (f"{of.at[row.label, 'images']:,}", number(of.at[row.label, "recall"])) if row.label in of.index else ()
        rows.append((str(row.label), *means, found[str(row.label)].text(), *(known or ("", ""))))
    columns = (
        "Class",
        "Full network, %",
        "ResNet alone, %",
        "Full network ahead, points",
        "Test images",
        "The paper's, %",
    )
    caption = "Recall by class, means over seeds; intervals with trainings and images drawn"
    return PeopleTable(caption, columns, rows, "ablation.csv")


def lead(tables: Tables) -> PeopleTable:
    """11: the full network beside its backbone by the three measures, and how sure that is."""
    chosen, rows = comparison(tables, "variant", "full", "backbone"), []
    found = findings(chosen, -1)
    for row in chosen.itertuples():
        one = found[row.measure]
        means = (number(row.baseline_value), number(row.baseline_value + row.difference))
        sure = (
            ("", "")
            if one.outcome is Outcome.FEW
            else (f"{one.p:.3f}" if one.p >= 0.001 else "< 0.001", number(one.detectable))
        )
        rows.append((style.measure_name(row.measure), str(one.seeds), *means, one.text(), *sure))
    columns = ("Measure", "Seeds of each", "Full network, %", "ResNet alone, %", "Full network ahead, points")
    caption = "The hybrid beside its own backbone; intervals with trainings and images drawn"
    more = ("p, corrected", "Found from, points")
    return PeopleTable(caption, (*columns, *more), rows, "ablation.csv")


def single_trainings(tables: Tables) -> PeopleTable:
    """11: how far seeds move each network, and in how many pairs of trainings the full network is ahead of it."""
    compared, rows = compared_runs(tables), []
    by_seed = {measure: seed_table(compared, measure) for measure in style.MEASURE_NAMES} if len(compared) else {}
    for variant in by_seed.get("accuracy", pd.DataFrame()):
        values = by_seed["accuracy"][variant].dropna()
        ends = f"{number(values.min())} to {number(values.max())}"
        asked = variant != "full" and "full" in by_seed["accuracy"]
        ahead = ["{} of {}".format(*pairs_ahead(table, variant)) if asked else "" for table in by_seed.values()]
        rows.append((style.variant_name(variant), str(len(values)), mean(values), ends, *ahead))
    columns = (
        "Network",
        "Seeds",
        "Accuracy, %",
        "Lowest to highest",
        *(f"Full ahead in {name}" for name in style.MEASURE_NAMES.values()),
    )
    caption = "One network's trainings, and pairs of one training of each in which the full network is ahead"
    return PeopleTable(caption, columns, rows, "accuracy.csv")


def confused_pairs(pairs: pd.DataFrame, paper: pd.DataFrame) -> PeopleTable:
    """11: which class is taken for which; `pairs` is of `confusions.confused_pairs`, `paper` the published counts."""
    rows = []
    for row in pairs.itertuples():
        theirs = paper.at[row.true, row.predicted] / paper.loc[row.true].sum()
        rows.append((row.true, row.predicted, share(row.share, row.low, row.high), share(theirs)))
    columns = ("True class", "Taken for", "Of its images, mean over seeds", "In the paper's matrix")
    return PeopleTable("What is taken for what most often", columns, rows)


def chosen_variants(tables: Tables, chosen: Collection[str]) -> PeopleTable:
    """11: the full network beside some of its variants."""
    names = {style.variant_name(variant) for variant in chosen}
    found = [one for one in comparisons(tables, ("variant",)) if one.second in names]
    return comparison_table(found, "The full network beside other networks; positive: the full network is better")


def augmentation(tables: Tables) -> PeopleTable:
    """11: what augmentation changes, by network."""
    rows = []
    for one in augmentations(tables):
        cells = [one.findings[name].text() if name in one.findings else "" for name in style.MEASURE_NAMES]
        rows.append((one.setting, str(next(iter(one.findings.values())).seeds), *cells))
    heads = [f"{name[0].upper()}{name[1:]}, points" for name in style.MEASURE_NAMES.values()]
    caption = "With augmentation − without it, in the same colours; positive: augmentation is better"
    return PeopleTable(caption, ("Protocol and network", "Seeds", *heads), rows, "ablation.csv")


def augmentations(tables: Tables) -> list[Compared]:
    """The comparisons of trainings with and without augmentation, in the same colours."""
    return [one for one in comparisons(tables, ("pipeline",)) if one.first.startswith(f"{one.second}, ")]


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


def pipelines(values: dict[str, np.ndarray]) -> PeopleTable:
    """02: what each input pipeline hands on of one crop, (3, S, S) by name."""
    used = {
        "bgr_unit": "the authors (published protocol)",
        "rgb_unit": "comparison",
        "imagenet": "weights from ImageNet",
        "vggface2": "what the VGGFace2 weights were trained on",
    }
    rows = [
        (name, *(number(end, 1, 2) for end in (value.min(), value.mean(), value.max())), used.get(name, ""))
        for name, value in values.items()
    ]
    columns = ("Pipeline", "Lowest value", "Mean", "Highest value", "Used by")
    return PeopleTable("What the network is given of this face", columns, rows)


def crop_quality(quality: dict[str, pd.DataFrame]) -> PeopleTable:
    """02: how much of a face a crop keeps, by framing; the values are of `crops.crop_quality`."""
    names = {
        "kept": "of the face is inside",
        "background": "of the crop is background",
        "iou": "overlap of crop and face",
        "detector_iou": "overlap of BlazeFace's box and face",
        "crop_side": "side of the crop, of the picture's",
    }
    rows = []
    for framing, table in quality.items():
        spread = quality_summary(table).set_index("measure") if len(table) else pd.DataFrame()
        for measure, name in names.items():
            if measure in spread.index:
                cells = (share(spread.at[measure, end]) for end in ("p10", "median", "p90"))
                rows.append((f"{framing}: {name}", f"{len(table):,}", *cells))
    columns = ("Measure", "Crops", "Lowest tenth", "Median", "Highest tenth")
    return PeopleTable("What the crop keeps where a face is found", columns, rows)


def results(metrics: Mapping[str, Mapping[str, float]]) -> PeopleTable:
    """04: one training's measures by split, from its result.json."""
    rows = [
        (
            split,
            f"{int(of['images']):,}",
            share(of["accuracy"], of["ci_low"], of["ci_high"]),
            *(share(of[name]) for name in ("balanced_accuracy", "macro_f1")),
            number(of["ece"]),
        )
        for split, of in metrics.items()
    ]
    columns = ("Split", "Images", "Accuracy", "Balanced accuracy", "Macro-F1", "Calibration error, points")
    return PeopleTable("What this training reached", columns, rows)
