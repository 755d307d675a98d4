"""The tables that notebooks print: a study's CSVs with what fits beside each other, in per cent and points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
from IPython.display import HTML

from fermoe.data.arrays import CONTROLS
from fermoe.data.transforms import pipeline_parts
from fermoe.paper import published
from fermoe.plots.style import for_people, text_table
from fermoe.stats import wilson_interval
from fermoe.training.config import follows_protocol

SECTIONS = (
    "claims", "accuracy", "ablation", "selection", "leaks", "leaked_images", "crops", "experts", "grad_cam",
    "robustness", "robustness_means",
)  # fmt: skip
"""The tables that the report notebook shows in words and sections of their own; `further_tables` prints any other."""

# The column that a table's one interval belongs to, most derived first.
_INTERVAL_OF = ("optimism", "difference", "rate", "accuracy")
# Further columns with an interval of their own.
_OWN_INTERVAL = {
    "balanced_accuracy": ("balanced_low", "balanced_high"), "macro_f1": ("f1_low", "f1_high"),
    "standardised": ("std_low", "std_high"), "causal": ("causal_low", "causal_high"),
    "full_size": ("full_low", "full_high"),
}  # fmt: skip
# Intervals of the value before them that take another view, in columns of their own.
_VIEWS = {
    "over trainings and images": ("crossed_low", "crossed_high"), "over trainings": ("seeds_low", "seeds_high")
}  # fmt: skip
_P_VALUES = ("p_holm", "p_crossed_holm", "p_equal")
_PER_CENT = (
    *("accuracy", "balanced_accuracy", "macro_f1", "leaked_accuracy", "clean_accuracy", "selected", "rate"),
    *("relative_drop", "baseline_value", "mean", "sd"),
)
_POINTS = (
    *("optimism", "full_size", "difference", "drop_difference", "shuffled_gates_drop", "uniform_gates_drop"),
    *("standardised", "causal", "detectable"),
)
_UNITS = {**dict.fromkeys(_PER_CENT, ", %"), **dict.fromkeys(_POINTS, ", points")}


def learned_from(accuracy: pd.DataFrame) -> pd.DataFrame:
    """What the study's trainings started from and saw: one row per dataset, model, protocol and variant."""
    test = accuracy[accuracy["split"] == "test"]
    keys = ["dataset", "model", "initial_weights", "protocol", "variant", "crop", "test_crop", "pipeline"]
    return test.groupby(keys, as_index=False).agg(
        seeds=("seed", "nunique"),
        train_images=("train_images", "first"),
        test_images=("images", "first"),
        epochs_run=("epochs_run", "mean"),
        accuracy=("accuracy", "mean"),
    )


def comparison(accuracy: pd.DataFrame, study: str = "") -> pd.DataFrame:
    """The paper's accuracies beside the full network's here, in per cent: one row per dataset, crop and augmentation.

    A cell of ours is the mean over seeds, its Wilson interval for one test set of that size, and the range of the
    seeds; "needs the data" where there is none. `study` is the one that made `accuracy`; a row without a result names
    the dataset's own study instead. Runs with another test crop or other pixel values than their protocol's are left
    out.
    """
    test = accuracy[(accuracy["split"] == "test") & (accuracy["variant"] == "full")]
    test = test[~test["crop"].isin(CONTROLS)]
    test = test.assign(augmentation=[pipeline_parts(name)[1] for name in test["pipeline"]])
    own = [
        follows_protocol(row.dataset, row.protocol, row.crop, row.test_crop, row.pipeline, row.initial_weights)
        for row in test.itertuples()
    ]
    test, rows = test[np.array(own, bool)], []
    for dataset, row in zip(
        published.accuracies()["dataset"], published.recomputed_accuracies().itertuples(), strict=True
    ):
        paper = {
            "dataset": published.TITLES[dataset],
            "paper": f"{100 * row.accuracy:.2f} {_interval(row.ci_low, row.ci_high)}",
        }
        groups = list(test[test["dataset"] == dataset].groupby(["crop", "augmentation"]))
        command = {"command": f"fermoe study {(study if groups else '') or dataset} --set root=DIR"}
        if not groups:
            rows.append({**paper, **_ours(test.iloc[:0]), **command})
        for (crop, augmentation), ours in groups:
            rows.append({**paper, "crop": crop, "augmentation": augmentation, **_ours(ours), **command})
    columns = ["dataset", "paper", "crop", "augmentation", *_ours(test.iloc[:0]), "command"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def _ours(rows: pd.DataFrame) -> dict[str, str]:
    cells = {}
    for protocol in ("published", "audited"):
        mine = rows[rows["protocol"] == protocol]
        cells[f"ours, {protocol}"] = _mean(mine) if len(mine) else "needs the data" if rows.empty else "not run"
    cells["initial weights"] = ", ".join(sorted(rows["initial_weights"].unique()))
    cells["model"] = ", ".join(sorted(rows["model"].unique()))
    return cells


def _mean(rows: pd.DataFrame) -> str:
    mean, images = rows["accuracy"].mean(), int(rows["images"].iloc[0])
    text = f"{100 * mean:.2f} {_interval(*wilson_interval(round(mean * images), images))}"
    seeds = rows["seed"].nunique()
    if seeds == 1:
        return f"{text}, 1 seed"
    return f"{text}, {seeds} seeds {100 * rows['accuracy'].min():.2f}–{100 * rows['accuracy'].max():.2f}"


def _interval(low: float, high: float) -> str:
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def measures_over_seeds(table: pd.DataFrame, keys: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """A long table (columns measure, value, seed) → one row per `keys`: seeds, and each measure's mean over them.

    Measures that the table lacks are left out; rows about single experts are averaged with the rest of their measure.
    """
    chosen = table[table["measure"].isin(measures)]
    if chosen.empty:
        return pd.DataFrame(columns=[*keys, "seeds", *measures])
    wide = chosen.pivot_table(index=list(keys), columns="measure", values="value", aggfunc="mean", sort=False)
    wide = wide[[measure for measure in measures if measure in wide]]
    wide.insert(0, "seeds", chosen.groupby(list(keys))["seed"].nunique())
    return wide.rename_axis(columns=None).reset_index()


def linked(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims table with a link to every table that its evidence names, relative to the study's report: its column
    `evidence` is HTML, the others are text."""
    evidence = claims["evidence"].fillna("").map(escape)
    evidence = evidence.str.replace(r"(?<![/\w])(\w+\.csv)", r'<a href="tables/\1">\1</a>', regex=True)
    return claims.assign(evidence=evidence)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A study's table for a page: the CSV has every column and digit, this what fits beside each other.

    Shares of images in per cent and differences of them in points, an interval over images beside its value, those in
    which trainings are drawn in columns of their own, spaces in headings. Left out: run ids, p-values before their
    correction, columns without an entry, the test images' crop where it is the training images', and the only
    dataset's name.
    """
    shown = table.drop(columns=[name for name in ("run", "runs", "p_value", "p_crossed") if name in table])
    shown = shown.dropna(axis="columns", how="all")
    if "test_crop" in shown and shown["test_crop"].equals(shown.get("crop")):
        shown = shown.drop(columns="test_crop")
    if "dataset" in shown and shown["dataset"].nunique() == 1:
        shown = shown.drop(columns="dataset")
    owner = next((name for name in _INTERVAL_OF if name in shown), "") if "ci_low" in shown else ""
    intervals = {owner: ("ci_low", "ci_high"), **{name: ends for name, ends in _OWN_INTERVAL.items() if name in shown}}
    ends = {end for pair in (*intervals.values(), *_OWN_INTERVAL.values(), *_VIEWS.values()) for end in pair}
    columns = {}
    for name in shown.columns.drop(list(ends), errors="ignore"):
        cells = shown[name]
        if name in _UNITS:
            cells = pd.Series(["" if np.isnan(value) else f"{100 * value:.2f}" for value in cells], index=cells.index)
        if name in intervals and intervals[name][0] in shown:
            cells = cells + [f" {text}" if text else "" for text in _intervals(shown, *intervals[name])]
        if name in _P_VALUES:
            texts = ["" if np.isnan(p) else f"{p:.4f}" if p >= 0.0001 else "<0.0001" for p in cells]
            cells = pd.Series(texts, index=cells.index)
        columns[name.replace("_", " ") + _UNITS.get(name, "")] = cells
    for heading, pair in _VIEWS.items():
        if pair[0] in shown:
            columns[heading] = _intervals(shown, *pair)
    return pd.DataFrame(columns)


def _intervals(table: pd.DataFrame, low: str, high: str) -> list[str]:
    """Intervals as texts, nothing where there is none."""
    bounds = zip(table[low], table[high], strict=True)
    return ["" if np.isnan(a) else _interval(a, b) for a, b in bounds]


def table_or_note(tables: Mapping[str, pd.DataFrame], name: str, shown: pd.DataFrame | None = None) -> HTML | str:
    """The table `name` of a study for printing, or what was made of it, or a sentence where it has no rows."""
    table = tables.get(name)
    if table is None or table.empty:
        return f"{name}.csv has no rows: the study has not made what it needs."
    return text_table(for_people(readable(table if shown is None else shown)).fillna(""), digits=4)


def further_tables(tables: Mapping[str, pd.DataFrame]) -> HTML | str:
    """Every table of the study that has no section of its own in the report, under its name."""
    found = {name: table for name, table in tables.items() if name not in SECTIONS}
    if not found:
        return "none"
    return HTML("\n".join(f"<h3>{escape(name)}.csv</h3>\n{_html(table_or_note(tables, name))}" for name in found))


def _html(shown: HTML | str) -> str:
    return f"<p>{escape(shown)}</p>" if isinstance(shown, str) else str(shown.data)
