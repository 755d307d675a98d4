"""What decides the paper's claims: thresholds, and the rules for accuracies and published figures (C1–C6).

Thresholds and rules stand in code before any result is read; they look at a study's tables and the published
figures, nothing else. A benchmark number can only be decided by the paper's network, started from the paper's
weights, on the paper's data. What is missing gives "not tested" and the way to get it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fermoe import published, statistics

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE, NOT_TESTED = "inconclusive", "not tested"

ALPHA = 0.05
"""Two-sided level of every test; p values over several comparisons are Holm's."""

MIN_SEEDS = 3
"""Fewer training runs cannot tell an effect from the luck of one initialisation."""

REPRODUCTION_MARGIN = 0.02
"""A number counts as not reached only if the interval ends more than two points below it: choosing the best
of ten epochs on the test set is worth up to about one point, and another framework, resizing and random
numbers are granted as much again."""

MAX_HALF_WIDTH = 0.03
"""An interval over seeds wider than ± three points contains almost any number; it supports none."""

PRACTICAL = 0.005
"""Half a point of accuracy: below it a component makes no difference worth its cost."""

PAPER_WEIGHTS = "vggface2"
"""Prefix of initial_weights when the ResNet starts where the paper's did."""

WHOLE_IMAGE, PAPER_CROP = "none", "blazeface"
"""What the column crop calls the whole image, and the paper's BlazeFace rule (`fermoe.pixels.CROPS`)."""

PAPER_PIPELINE = "bgr_unit"
"""What the column pipeline calls the authors' input (`fermoe.transforms.NORMALISATIONS`)."""

OCCLUSION_OR_LIGHT = (
    *("occlu", "mask", "glasses", "hand", "eyes", "mouth", "patch", "cutout"),
    *("bright", "dark", "light", "illumin", "gamma", "contrast", "shadow", "exposure"),
)
"""A perturbation belongs to C7 if its name contains one of these; blur, noise and compression do not."""

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Verdict:
    """One of the four verdicts, one sentence with the numbers, and the table rows behind it."""

    verdict: str
    reason: str
    evidence: str = ""


def table_of(tables: Tables, name: str, *columns: str) -> pd.DataFrame:
    """The named table, or an empty one with these columns where it is missing, empty or lacks one."""
    table = tables.get(name)
    if table is None or table.empty or not set(columns) <= set(table.columns):
        return pd.DataFrame(columns=list(columns))
    return table


def run_names(values: pd.Series) -> list[str]:
    """The run directories that cells name, several to a cell separated by spaces, commas or semicolons."""
    return sorted({name for value in values.dropna() for name in re.split(r"[\s,;]+", str(value)) if name})


def cite(file: str, rows: pd.DataFrame, column: str) -> str:
    """The evidence: the file, how many of its rows, and the runs they name in `column`."""
    names = run_names(rows[column]) if column in rows else []
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{file} ({len(rows)} rows{'; runs ' + shown if names else ''})"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.2f}"


def interval_text(low: float, high: float, scale: float = 100, digits: int = 2) -> str:
    """An interval as [low, high], in percent unless `scale` says otherwise."""
    return f"[{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def needs(dataset: str) -> str:
    """What to run where this dataset has not been."""
    return f"needs {published.TITLES[dataset]}: fermoe study {dataset} --set root=DIR"


# --- C1–C4: the four accuracies -------------------------------------------------------------------------


def accuracy(dataset: str, tables: Tables) -> Verdict:
    """C1–C4: does the t interval over seeds of the paper's network reach the published number?"""
    columns = ("dataset", "protocol", "variant", "crop", "pipeline", "seed", "split", "accuracy")
    table = table_of(tables, "accuracy", *columns, "run", "model", "initial_weights")
    rows = table[
        (table["dataset"] == dataset)
        & (table["protocol"] == "published")
        & (table["variant"] == "full")
        & (table["split"] == "test")
        & (table["pipeline"] == PAPER_PIPELINE)
        & (table["crop"] == PAPER_CROP)
        & pd.to_numeric(table["accuracy"], errors="coerce").notna()
    ]
    if rows.empty:
        other = (table["dataset"] == dataset).any()
        why = "no test result of the full network with the published protocol, pipeline and crop; " if other else ""
        return Verdict(NOT_TESTED, why + needs(dataset))
    paper = rows[rows["model"] == "paper"]
    if paper.empty:
        mean = 100 * rows["accuracy"].mean()
        reason = f"only the miniature network was trained ({len(rows)} runs, mean {mean:.2f} %)"
        return Verdict(NOT_TESTED, reason, cite("accuracy.csv", rows, "run"))
    rows = paper[paper["initial_weights"].astype(str).str.startswith(PAPER_WEIGHTS)]
    if rows.empty:
        start = ", ".join(sorted(set(map(str, paper["initial_weights"]))))
        mean = 100 * paper["accuracy"].mean()
        reason = f"the ResNet started from {start} weights, not VGGFace2's (mean {mean:.2f} %)"
        return Verdict(INCONCLUSIVE, reason, cite("accuracy.csv", paper, "run"))
    evidence = cite("accuracy.csv", rows, "run")
    per_seed = rows.groupby("seed")["accuracy"].mean()
    if len(per_seed) < MIN_SEEDS:
        value = 100 * per_seed.mean()
        reason = f"{len(per_seed)} seed(s), mean {value:.2f} %; the interval over seeds needs {MIN_SEEDS}"
        return Verdict(NOT_TESTED, reason, evidence)
    target = float(published.accuracies().set_index("dataset").at[dataset, "accuracy"])
    mean, low, high = statistics.mean_interval(per_seed)
    measured = f"{len(per_seed)} seeds give {100 * mean:.2f} % {interval_text(low, high)}"
    text = f"{measured}; published {100 * target:.2f} %"
    if high < target - REPRODUCTION_MARGIN:
        return Verdict(CONTRADICTED, text, evidence)
    if low > target or (high >= target and high - low <= 2 * MAX_HALF_WIDTH):
        return Verdict(SUPPORTED, text, evidence)
    wide = "the interval is too wide to support a number" if high >= target else "below, within the margin"
    return Verdict(INCONCLUSIVE, f"{text}: {wide}", evidence)


# --- C5 and C6: decided by the published figures ---------------------------------------------------------


def neighbours(tables: Tables) -> Verdict:
    """C5, from the published figures alone.

    Contradicted if the whole network's interval on RAF-DB ends below its own backbone and below every listed
    neighbour on the same test images; supported only if it starts above the backbone and beats neighbours
    measured on the same AffectNet images, of which there are none so far.
    """
    ours = published.accuracies().set_index("dataset")
    others = published.neighbours()
    raf = others[(others["dataset"] == "rafdb") & others["same_test_images"]]
    correct, images = int(ours.at["rafdb", "correct"]), int(ours.at["rafdb", "test_images"])
    reached = f"{100 * correct / images:.2f} %"
    low, high = statistics.wilson_interval(correct, images)
    lowest = raf.loc[raf["accuracy"].idxmin()]
    backbone = float(raf.loc[raf["method"] == published.BACKBONE_ALONE, "accuracy"].min())
    reason = (
        f"RAF-DB: {reached} {interval_text(low, high)} against {100 * backbone:.2f} % for "
        f"the backbone alone and {100 * lowest['accuracy']:.2f} % for the lowest of {len(raf)} neighbours "
        f"({lowest['method']}), same test images; AffectNet: undecided, "
    )
    affectnet = others[others["dataset"].isin(["affectnet7", "affectnet8"])]
    comparable = affectnet[affectnet["same_test_images"]]
    reason += "measured on a random fifth of a subset, the neighbours on the official validation set"
    evidence = "published/accuracy.csv; neighbours in published.py"
    if high < float(lowest["accuracy"]) and high < backbone:
        return Verdict(CONTRADICTED, reason, evidence)
    beaten = not comparable.empty and bool((comparable["accuracy"] < comparable["dataset"].map(ours["accuracy"])).all())
    return Verdict(SUPPORTED if beaten and low > backbone else INCONCLUSIVE, reason, evidence)


def happy_and_imbalance(tables: Tables) -> Verdict:
    """C6, from the published figures alone.

    Part 1: the recall interval of happy lies above those of fear and disgust. Part 2: recall is
    rank-correlated with training frequency, interval above 0. Supported if both hold on every dataset;
    contradicted if part 1 fails anywhere or a correlation is clearly negative; else inconclusive.
    """
    table = published.imbalance()
    texts = [
        f"{published.TITLES[row.dataset]} {100 * row.happy:.0f}/{100 * row.fear:.0f}/{100 * row.disgust:.0f} %, "
        f"rho {row.rho:.2f} {interval_text(row.low, row.high, 1)}"
        for row in table.itertuples()
    ]
    shown = int((table["low"] > 0).sum())
    part_one = f"happy above fear and disgust on {table['happy_leads'].sum()} of {len(table)} datasets"
    part_two = f"recall rises with training frequency, interval above 0, on {shown} of {len(table)}"
    reason = f"{part_one}; {part_two} (recall happy/fear/disgust, rank correlation: {'; '.join(texts)})"
    evidence = "published/confusion_*.csv, published/class_counts.csv"
    if not table["happy_leads"].all() or (table["high"] < 0).any():
        return Verdict(CONTRADICTED, reason, evidence)
    return Verdict(SUPPORTED if shown == len(table) else INCONCLUSIVE, reason, evidence)
