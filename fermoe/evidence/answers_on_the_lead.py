"""What would become of the leading answer with one training of each, without leaked images, chosen on the test set.

One answer from the tables each, as in `answers`; each is true whether the hybrid is ahead, behind, or neither.
"""

from __future__ import annotations

import pandas as pd

from fermoe import seeds
from fermoe.evidence.ablation import SETTING_OF_VARIANTS, main_runs, seed_table
from fermoe.evidence.answers import leading_question
from fermoe.evidence.answers_on_runs import leaks, selection
from fermoe.evidence.findings import (
    AXES,
    NO_SEEDS,
    Finding,
    Outcome,
    comparison,
    full_network,
    listed,
    rows_of,
    size,
)
from fermoe.paper.part_rules import MEASURES
from fermoe.paper.verdicts import Tables

STANDS = {
    Outcome.BETTER: "the full network is ahead",
    Outcome.SIGN_BETTER: "there is a sign, no proof, that the full network is ahead",
    Outcome.SAME: "the two are less than a point apart",
    Outcome.SIGN_WORSE: "there is a sign, no proof, that the full network is behind",
    Outcome.OPEN: "no difference can be told",
    Outcome.WORSE: "the full network is behind",
    Outcome.FEW: "too few trainings say how sure that is",
}
"""How two networks stand to each other, by the outcome of the full network's lead."""


def compared_runs(tables: Tables) -> pd.DataFrame:
    """The test rows of accuracy.csv in which the audited protocol's variants are compared; empty without any."""
    columns = ("split", "seed", "initial_weights", "learning_rate", *SETTING_OF_VARIANTS, *MEASURES)
    return main_runs(rows_of(tables, "accuracy", *columns))


def pairs_ahead(by_seed: pd.DataFrame, other: str) -> tuple[int, int]:
    """In how many pairs of one training of each the full network is ahead of another: (ahead, pairs).

    `by_seed` (seeds, variants) is of `ablation.seed_table`.
    """
    first, second = (by_seed[variant].dropna().to_numpy() for variant in ("full", other))
    return int((first[:, None] > second).sum()), first.size * second.size


def single_trainings(tables: Tables) -> str:
    """What would one training of each have said? The paper has one of the whole network, and none of its ResNet."""
    rows = compared_runs(tables)
    if not {"full", "backbone"} <= set(rows["variant"]):
        return f"Not asked: the study has no trainings of the full network and of its backbone alone {NO_SEEDS}."
    found = {name: pairs_ahead(seed_table(rows, measure), "backbone") for measure, name in MEASURES.items()}
    pairs = max(pairs for _, pairs in found.values())
    if pairs == 1:
        return "There is one training of each: what luck adds is not known."
    ahead = listed([f"{ahead} by {name}" for name, (ahead, _) in found.items()])
    lucky = [name for name, (ahead, pairs) in found.items() if 0 < ahead < pairs]
    said = f"by {listed(lucky)} some pairs tell the opposite" if lucky else "no pair tells it otherwise"
    return (
        "With one training of each (the paper has one of the whole, none of the ResNet), the full network would have "
        f"been ahead of the ResNet alone in this many of {pairs} possible pairs: {ahead}; {said}."
    )


def without_leaks(tables: Tables) -> str:
    """What is left of the full network's lead where test images with a twin in training do not count?"""
    columns = ("leaks", "leaked_images", "images", "accuracy", "clean_accuracy", "seed")
    table = rows_of(tables, "leaks", *columns)
    full = full_network(table)
    kind = "identical" if (full["leaks"] == "identical").any() else full["leaks"].iloc[0] if len(full) else ""
    mine, other = (_of(table, full, variant, kind) for variant in ("full", "backbone"))
    if mine.empty or other.empty:
        return ""
    every, clean = (_lead(other[column], mine[column]) for column in ("accuracy", "clean_accuracy"))
    images = int(mine["images"].iloc[0])
    left = images - int(mine["leaked_images"].iloc[0])
    before, after = STANDS[every.outcome], STANDS[clean.outcome]
    said = f"with them and without them {before}" if before == after else f"with them {before}, without them {after}"
    return (
        f"In accuracy the full network's lead over the ResNet alone is {every.text()} points on all {images:,} test "
        f"images and {clean.text()} on the {left:,} others (intervals over trainings alone): {said}."
    )


def _of(table: pd.DataFrame, full: pd.DataFrame, variant: str, kind: str) -> pd.DataFrame:
    """A variant's rows in the setting of the full network's."""
    rows = table[(table["variant"] == variant) & (table["leaks"] == kind)]
    for axis in (axis for axis in AXES if axis != "variant"):
        rows = rows[rows[axis].isin(full[axis])]
    return rows


def _lead(other: pd.Series, mine: pd.Series) -> Finding:
    found = seeds.welch(other.to_numpy(float), mine.to_numpy(float))
    return Finding(found.value, found.low, found.high, min(len(other), len(mine)))


def twins(tables: Tables) -> str:
    """Had the trainings of the leading question seen identical twins of test images? Nothing where it was not asked."""
    rows = comparison(tables, "variant", "full", "backbone")
    if rows.empty:
        return ""
    kept = {"apart": "never saw a test image's identical twin", "kept": "saw the identical twins of test images"}
    trained = kept.get(str(rows["twins"].iloc[0]), "do not say whether they saw identical twins of test images")
    return f"The trainings that decide the leading question {trained}."


def leaked(tables: Tables) -> str:
    """What are leaked test images worth, and does the leading answer stand without them?"""
    return " ".join(filter(None, [leaks(tables), without_leaks(tables)]))


def chosen_on_test(tables: Tables) -> str:
    """What is choosing the epoch on the test set worth, and what is the leading answer in that protocol?"""
    said = selection(tables)
    if comparison(tables, "variant", "full", "backbone", "published").empty:
        return said
    return f"{said} The leading question in that protocol: {leading_question(tables, 'published')}"


def hardest_class(found: dict[str, Finding]) -> str:
    """For which class the two networks differ most, with its numbers; nothing without classes."""
    if not found:
        return ""
    name = max(found, key=lambda label: abs(found[label].value))
    one = found[name]
    return f"They differ most for {name}: {one.text()} points of recall ({size(one)})."
