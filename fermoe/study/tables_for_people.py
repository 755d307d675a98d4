"""A study's tables as a reader wants them: names for people, per cent with one decimal and interval, a dozen rows.

The CSV that a table was made from has every row, digit and run id; each table here names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fermoe import seeds
from fermoe.evidence import curves
from fermoe.evidence.findings import (
    AXES,
    CLEAR,
    COMPARED,
    Finding,
    Outcome,
    by_composition,
    findings,
    over_seeds,
    rows_of,
    share,
    signed,
)
from fermoe.evidence.sizes import in_precision, lead_by_size
from fermoe.network.variants import VARIANTS
from fermoe.paper import published
from fermoe.paper.part_rules import ALPHA, DROPS, MEASURES
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.plots.imbalance import COMPOSITION_NAMES

INPUT = [axis for axis in AXES if axis != "dataset"]
"""What trainings of a dataset have in common that differ in their seed alone."""

LONGEST = 12
"""Rows of a table on a page; the rest stands in its CSV."""

INPUTS = {
    "none": "whole pictures", "blazeface": "cropped", "masked": "face painted over", "imagenet": "ImageNet's colours",
    "bgr_unit": "BGR in 0–1", "audited": "audited", "published": "as published", "kept": "twins kept",
    "apart": "without twins", "float32": "float32", "as_given": "all training images", "equal": "classes equally often",
    "proportional": "classes as in the dataset", "rare_happy": "happy as rare as fear",
}  # fmt: skip
"""What tables call crops, pixel values, protocols, twins, precisions and mixtures of classes."""


@dataclass(frozen=True)
class PeopleTable:
    """A table for a page; the first column names the row. `csv` is the table of the study that it was made from."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    csv: str = ""

    @property
    def shown(self) -> Sequence[Sequence[str]]:
        return self.rows[:LONGEST]

    @property
    def left_out(self) -> int:
        """How many rows only the CSV has."""
        return len(self.rows) - len(self.shown)


def input_name(value: str) -> str:
    """What tables call a value of a setting."""
    first, plus, _ = str(value).partition("+")
    return INPUTS.get(first, first) + (", with augmentation" if plus else "")


@dataclass(frozen=True)
class Compared:
    """One comparison of ablation.csv: the first of two beside the second, by measure; positive: the first is better."""

    first: str
    second: str
    setting: str
    findings: Mapping[str, Finding]

    @property
    def title(self) -> str:
        return f"{self.first} beside {self.second}"


def comparisons(tables: Tables, contrasts: Sequence[str]) -> list[Compared]:
    """Every comparison of these contrasts, in the table's order, the audited protocol first.

    The full network comes first beside a variant of it; else what the study changed beside what it began with.
    """
    table = rows_of(tables, "ablation", *COMPARED)
    table = table[table["contrast"].isin(contrasts) & table["measure"].isin(MEASURES)]
    found = []
    for (contrast, baseline, alternative, *_), rows in table.groupby(
        ["contrast", "baseline", "alternative", *AXES], sort=False
    ):
        whole = contrast == "variant" and baseline == "full"
        names = [_name(contrast, str(side)) for side in (baseline, alternative)]
        first, second = names if whole else names[::-1]
        found.append(
            (rows.iloc[0], Compared(first, second, _setting(rows.iloc[0]), findings(rows, -1 if whole else 1)))
        )

    variants = [*VARIANTS]

    def place(entry: tuple[pd.Series, Compared]) -> tuple[int, bool, bool, int]:
        row = entry[0]
        variant = variants.index(row["alternative"]) if row["alternative"] in variants else 0
        return contrasts.index(row["contrast"]), row["protocol"] == "published", "+" in row["pipeline"], variant

    return [compared for _, compared in sorted(found, key=place)]


def _name(contrast: str, value: str) -> str:
    if contrast == "variant":
        return style.variant_name(value)
    return f"tested on {input_name(value)}" if contrast == "test_crop" else input_name(value)


def _setting(row: pd.Series) -> str:
    """What both sides have in common, in words: protocol, network, pixel values."""
    parts = [row["protocol"] and input_name(row["protocol"])]
    parts += [style.variant_name(row["variant"])] if row["variant"] else []
    parts += [input_name(row["pipeline"])] if row["pipeline"] else []
    parts += [input_name(row["crop"])] if row["crop"] == "masked" else []
    parts += _unusual(*(row[axis] for axis in ("protocol", "twins", "precision", "composition")))
    return ", ".join(filter(None, parts))


def selection_rows(tables: Tables, *columns: str) -> pd.DataFrame:
    """The rows of selection.csv, one per training.

    How it is tested later changes no epoch: these are counted on cropped images, as validation sees them.
    """
    rows = rows_of(tables, "selection", *columns, "seed").assign(test_crop="")
    return in_order(rows.drop_duplicates([*AXES, "seed"]))


def advantages(found: Sequence[Compared]) -> pd.DataFrame:
    """Comparisons for `plots.ablation.plot_advantages`: comparison, setting, measure, advantage, low, high, clear.

    `clear`: the difference can be told also when it is corrected for the study's other comparisons.
    """
    rows = [
        (one.title, one.second, one.setting, measure, it.value, it.low, it.high, it.outcome in CLEAR)
        for one in found
        for measure, it in one.findings.items()
    ]
    columns = ["comparison", "second", "setting", "measure", "advantage", "low", "high", "clear"]
    return pd.DataFrame(rows, columns=columns)


def comparison_table(found: Sequence[Compared], caption: str) -> PeopleTable:
    """Comparisons with their three measures."""
    same = len({one.first for one in found}) == 1
    head = f"{found[0].first[0].upper()}{found[0].first[1:]} beside" if same else "Comparison"
    columns = (head, "Setting", "Seeds", *(f"{name[0].upper()}{name[1:]}, points" for name in MEASURES.values()))
    rows = []
    for one in found:
        first = next(iter(one.findings.values()))
        cells = [one.findings[name].text() if name in one.findings else "" for name in MEASURES]
        rows.append((one.second if same else one.title, one.setting, str(first.seeds), *cells))
    return PeopleTable(caption, columns, rows, "ablation.csv")


def number(value: float, scale: float = 100, digits: int = 1) -> str:
    """A number without a plus; what rounds to nothing has no sign."""
    return signed(value, scale, digits).removeprefix("+")


def mean(values: pd.Series, scale: float = 100, digits: int = 1) -> str:
    """A mean over seeds with its interval, from three seeds on; nothing where there is no value."""
    found = over_seeds(values)
    if not found.seeds:
        return ""
    text = number(found.value, scale, digits)
    ends = ", ".join(number(end, scale, digits) for end in (found.low, found.high))
    return text if found.outcome is Outcome.FEW else f"{text} [{ends}]"


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by protocol, audited first, then by variant in the order of `VARIANTS`."""
    places = {variant: place for place, variant in enumerate(VARIANTS)}
    order = rows.assign(_v=rows["variant"].map(places).fillna(len(places)), _p=rows["protocol"] == "published")
    return order.sort_values(["_p", "_v", "pipeline"], kind="stable")


def published_accuracies(tables: Tables) -> PeopleTable:
    """00: the paper's accuracies, counted again."""
    rows = [
        (row.dataset, f"{100 * row.published:.2f} %", share(row.accuracy, row.ci_low, row.ci_high), f"{row.images:,}")
        for row in published.recomputed_accuracies().itertuples()
    ]
    columns = ("Dataset", "Published", "Counted again from the matrix, with Wilson's interval", "Test images")
    return PeopleTable("The paper's four accuracies", columns, rows)


def leaked(tables: Tables) -> PeopleTable:
    """01: what leaked test images are worth."""
    table = in_order(rows_of(tables, "leaks", "leaks", "leaked_images", "images", "leaked_accuracy", "clean_accuracy"))
    rows = []
    for (kind, *names), group in table.groupby(["leaks", *INPUT], sort=False):
        setting = dict(zip(INPUT, names, strict=True))
        leaks, images = int(group["leaked_images"].iloc[0]), int(group["images"].iloc[0])
        if setting["variant"] in ("full", "backbone") and setting["crop"] != "masked":
            rows.append(
                (
                    _network(**setting),
                    f"{kind}: {leaks:,} of {images:,}",
                    str(group["seed"].nunique()),
                    number(group["leaked_accuracy"].mean()),
                    number(group["clean_accuracy"].mean()),
                    mean(group["difference"]),
                    mean(group["standardised"]),
                )
            )
    columns = (
        "Network",
        "Leaked images",
        "Seeds",
        "Accuracy on them, %",
        "On the others, %",
        "With − without them, points",
    )
    caption = "Test images that occur in the training set, and the accuracy on all images minus that without them"
    return PeopleTable(caption, (*columns, "Within classes, points"), rows, "leaks.csv")


def inputs(tables: Tables) -> PeopleTable:
    """02: cropping and pixel values."""
    found = comparisons(tables, ("crop", "test_crop", "pipeline", "twins", "precision", "composition", "protocol"))
    caption = "What the network sees: the first beside the second, in points; positive: the first is better"
    return comparison_table(found, caption)


def trained(tables: Tables) -> PeopleTable:
    """03: what was trained, and from which weights."""
    table = in_order(rows_of(tables, "accuracy", "split", "model", "initial_weights", "train_images", "seed"))
    table, rows = table[table["split"] == "test"], []
    keys = ["model", "initial_weights", "protocol", "variant"]
    for (model, weights, protocol, variant), group in table.groupby(keys, sort=False):
        network = f"{style.variant_name(variant)}, {input_name(protocol)}"
        start, images = str(weights).split(":")[0], sorted({f"{n:,}" for n in group["train_images"]})
        runs = len(group.drop_duplicates("run")) if "run" in group else len(group)
        rows.append((network, str(model).replace("_", " "), start, ", ".join(images), str(runs)))
    columns = ("Network", "Size", "Initial weights", "Training images", "Trainings")
    return PeopleTable("What was trained", columns, rows, "accuracy.csv")


def epochs(tables: Tables) -> PeopleTable:
    """04: how long trainings ran."""
    table = in_order(rows_of(tables, "accuracy", "split", "epochs", "epochs_run", "best_epoch", "learning_rate"))
    table, rows = table[table["split"] == "test"], []
    gains = curves.last_gains(rows_of(tables, "curves", *curves.COLUMNS)).set_index("run")
    for names, group in table.groupby(INPUT, sort=False):
        network = _network(*names)
        cells = [_range(group[name]) for name in ("epochs", "epochs_run", "best_epoch")]
        mine = gains[gains.index.isin(group["run"])] if "run" in group else gains.iloc[:0]
        cells += [mean(mine["val_accuracy"]), over_seeds(mine["gain"]).text() if len(mine) else ""]
        rows.append((network, f"{group['learning_rate'].iloc[0]:g}", *cells))
    columns = ("Network", "Learning rate", "Epochs at most", "Epochs run", "Best epoch")
    more = ("Validation accuracy after the last, %", "The last epoch added, points")
    caption = "How long trainings ran, and whether they still gained: means over trainings with Student's interval"
    return PeopleTable(caption, (*columns, *more), rows, "curves.csv" if "curves" in tables else "accuracy.csv")


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}–{high}"


def accuracies(tables: Tables) -> PeopleTable:
    """05: how good each network is."""
    table = in_order(rows_of(tables, "accuracy", "split", "accuracy", "balanced_accuracy", "macro_f1", "seed"))
    table, rows = table[table["split"] == "test"], []
    for names, group in table.groupby(INPUT, sort=False):
        cells = [mean(group[measure]) for measure in MEASURES]
        network = _network(*names)
        rows.append((network, str(group["seed"].nunique()), *cells))
    columns = ("Network", "Seeds", "Accuracy, %", "Balanced accuracy, %", "Macro-F1, %")
    return PeopleTable(
        "Test results: means over seeds, with Student's interval over them", columns, rows, "accuracy.csv"
    )


def _network(
    protocol: str, variant: str, crop: str, test_crop: str, pipeline: str, twins: str, precision: str, composition: str
) -> str:
    """A network and what it was trained and tested on, in words: the values of `INPUT`."""
    parts = [style.variant_name(variant), *map(input_name, (protocol, pipeline, crop))]
    parts += [f"tested on {input_name(test_crop)}"] if test_crop not in ("", crop) else []
    return ", ".join([*parts, *_unusual(protocol, twins, precision, composition)])


def _unusual(protocol: str, twins: str, precision: str, composition: str) -> list[str]:
    """What is said of a training only where it is not as usual."""
    kept = protocol == "audited" and twins == "kept"  # the published protocol always keeps them
    said = [input_name(twins)] if kept else []
    said += [input_name(precision)] if precision not in ("", "float32") else []
    return said + ([input_name(composition)] if composition not in ("", "as_given") else [])


def maps(tables: Tables) -> PeopleTable:
    """06: what Grad-CAM's maps mark."""
    table = in_order(rows_of(tables, "grad_cam", "branch", "group", "measure", "value", "layer"))
    table, rows = table[(table["group"] == "all") & (table["variant"] == "full")], []
    measures = {
        "faithfulness_gain": (100, 1), "other_training_correlation": (1, 2), "random_weights_correlation": (1, 2),
        "area_above_half": (100, 0),
    }  # fmt: skip
    for (branch, layer, protocol), group in table.groupby(["branch", "layer", "protocol"], sort=False):
        by = {name: group.loc[group["measure"] == name, "value"] for name in measures}
        cells = [mean(by[name], scale, digits) for name, (scale, digits) in measures.items()]
        side = f"{int(group['side'].iloc[0])}×{int(group['side'].iloc[0])} cells" if "side" in group else layer
        rows.append((f"{style.branch_name(branch)}, {side}, {input_name(protocol)}", *cells))
    columns = (
        "Layer of the full network",
        "Marked parts cost more, points of probability",
        "Maps of two trainings, rank correlation",
        "Trained and random weights, rank correlation",
        "Picture above half of the highest value, %",
    )
    return PeopleTable("What Grad-CAM's maps mark: means over seeds", columns, rows, "grad_cam.csv")


def gates(tables: Tables) -> PeopleTable:
    """07: how experts are used."""
    table = in_order(rows_of(tables, "experts", "mixture", "measure", "value", "seed"))
    table = table[table["mixture"].isin(["cnn", "expression"])]
    rows = []
    for (protocol, variant, pipeline, mixture), group in table.groupby(
        ["protocol", "variant", "pipeline", "mixture"], sort=False
    ):
        by = {name: group.loc[group["measure"] == name, "value"] for name in group["measure"].unique()}
        empty = group["value"].iloc[:0]
        dead = by.get("dead_experts", empty)
        rows.append(
            (
                f"{style.mixture_name(mixture)}: {style.variant_name(variant)}, {input_name(protocol)}, "
                f"{input_name(pipeline)}",
                str(group["seed"].nunique()),
                mean(by.get("mutual_information", empty), 1, 2),
                mean(by.get("shuffled_gates_drop", empty)),
                mean(by.get("uniform_gates_drop", empty)),
                f"{int(dead.sum())} of {4 * len(dead)}" if len(dead) else "",
            )
        )
    columns = (
        "Mixture",
        "Seeds",
        "First choice tells about the class, bits",
        "Lost with another image's gates, points",
        "Lost with all experts alike, points",
        "Experts hardly ever among the two chosen",
    )
    return PeopleTable("How experts are used: means over seeds", columns, rows, "experts.csv")


def variants(tables: Tables) -> PeopleTable:
    """08: the full network beside what lacks a part."""
    caption = "The full network beside its variants, in points; positive: the full network is better"
    return comparison_table(comparisons(tables, ("variant",)), caption)


def lost(tables: Tables) -> pd.DataFrame:
    """The rows of robustness_means.csv as findings: variant, drop, finding, advantage, low, high."""
    numbers = ("difference", "crossed_low", "crossed_high", "p_crossed_holm", "p_equal", "detectable")
    table = rows_of(tables, "robustness_means", "drop", "seeds", "images", *numbers)
    rows = []
    for row in table[table["difference"].notna() & table["drop"].isin(DROPS)].itertuples():
        finding = Finding(
            row.difference, row.crossed_low, row.crossed_high, int(row.seeds), int(row.images), row.p_crossed_holm,
            row.p_equal < ALPHA, row.detectable,
        )  # fmt: skip
        interval = (math.nan, math.nan) if finding.seeds < seeds.MIN_SEEDS else (finding.low, finding.high)
        rows.append((row.variant, row.drop, finding, finding.value, *interval))
    return pd.DataFrame(rows, columns=["variant", "drop", "finding", "advantage", "low", "high"])


def losses(tables: Tables) -> PeopleTable:
    """09: what occlusion and light cost each variant beyond the full network."""
    found, rows = lost(tables), []
    for variant, group in found.groupby("variant", sort=False):
        by, first = group.set_index("drop")["finding"], group["finding"].iloc[0]
        cells = [by[drop].text() if drop in by.index else "" for drop in DROPS]
        rows.append((style.variant_name(variant), str(first.seeds), f"{first.images:,}", *cells))
    columns = (
        "Variant",
        "Seeds",
        "Test images",
        "Loses more, points",
        "More of what is above chance, %",
        "More of its accuracy, %",
    )
    caption = (
        "Mean loss under occlusion and changed light beside the full network's; positive: the full network is better"
    )
    return PeopleTable(caption, columns, rows, "robustness_means.csv")


def imbalance(tables: Tables) -> PeopleTable:
    """Recall by class under other shares of the classes in training."""
    table = by_composition(tables, "measure", "training_images", "seeds", "value", "ci_low")
    wanted = table["measure"].str.startswith(("recall_", "gap_")).astype(bool) | table["measure"].isin(MEASURES)
    rows, compositions = [], [name for name in COMPOSITION_NAMES if name in set(table["composition"])]
    for measure, group in table[wanted].groupby("measure", sort=False):
        cells = []
        for composition in compositions:
            for row in group[group["composition"] == composition].itertuples():
                interval = "" if pd.isna(row.ci_low) else f" [{100 * row.ci_low:.1f}, {100 * row.ci_high:.1f}]"
                cells.append(f"{100 * row.value:.1f}{interval} ({row.training_images:.0f})")
        kind, _, name = str(measure).partition("_")
        named = {"recall": f"recall of {name}", "gap": f"happy's lead over {name}"}.get(
            kind, MEASURES.get(str(measure), "")
        )
        rows.append((named, *cells))
    titles = ("Measure, % or points (training images)", *(COMPOSITION_NAMES[name] for name in compositions))
    caption = "Test results by the shares of the classes in training; sets of one size"
    return PeopleTable(caption, titles, rows, "imbalance.csv")


def beside(tables: Tables) -> PeopleTable:
    """Other models on the same test images."""
    columns = (
        "other",
        "test_images",
        "measure",
        "seeds",
        "images",
        "value",
        "difference",
        "crossed_low",
        "crossed_high",
    )
    table = rows_of(tables, "beside", *columns, "p_crossed_holm", "p_equal", "detectable")
    rows = []
    for (other, kept), group in table.groupby(["other", "test_images"], sort=False):
        found, by = findings(group, -1), group.set_index("measure")["value"]
        cells = [f"{number(by[name])}; {found[name].text()}" for name in MEASURES]
        rows.append((f"{other}, {kept}", f"{group['images'].iloc[0]:,}", str(group["seeds"].iloc[0]), *cells))
    heads = [f"{name[0].upper()}{name[1:]}, %; the full network's lead, points" for name in MEASURES.values()]
    titles = ("Other model, test images", "Images", "Seeds of the full network", *heads)
    caption = "Other models on the same test images; positive: the full network is better"
    return PeopleTable(caption, titles, rows, "beside.csv")


def sizes(table: pd.DataFrame) -> PeopleTable:
    """The hybrid's lead by size; `table` is of `sizes.sizes_table`."""
    rows, by_measure = [], {name: lead_by_size(table, name) for name in table["measure"].unique()}
    for size, group in table.groupby("model", sort=False):
        first = group.iloc[0]
        leads = [by_measure[name][str(size)].text() for name in group["measure"]]
        about = (style.size_name(str(size)), f"{first['parameters'] / 1e6:.2g}", f"{first['mmac']:.0f}")
        many = (str(first["seeds"]), f"{first['epochs']}{in_precision(first)}")
        rows.append((*about, f"{first['mmac'] / first['backbone_mmac']:.1f}", *many, *leads))
    columns = (
        "Network", "Parameters, millions", "Million multiply-adds", "Times its ResNet's", "Seeds of each", "Epochs",
        *(f"{name[0].upper()}{name[1:]}, points" for name in style.MEASURE_NAMES.values()),
    )  # fmt: skip
    caption = "The hybrid beside its backbone by size; positive: the hybrid is better"
    return PeopleTable(caption, columns, rows, "sizes.csv")


TABLES: Mapping[str, Callable[[Tables], PeopleTable]] = {
    "00_published_claims": published_accuracies,
    "01_data": leaked,
    "02_preprocessing": inputs,
    "03_model": trained,
    "04_training": epochs,
    "05_confusion_matrices": accuracies,
    "06_grad_cam": maps,
    "07_expert_utilization": gates,
    "08_ablations": variants,
    "09_robustness": losses,
}
"""Each notebook's table on a page."""
