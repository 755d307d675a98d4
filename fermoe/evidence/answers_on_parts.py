"""What is each part of the hybrid worth, and what in an extractor matters? One sentence each, as in `answers`."""

from __future__ import annotations

from collections.abc import Mapping

from fermoe.evidence.findings import (
    NO_SEEDS,
    Outcome,
    by_measures,
    comparison,
    could_see,
    counted,
    findings,
    grouped,
    lead,
    network,
    size,
)
from fermoe.paper.verdicts import Tables

PARTS = {
    "no_moe": ("the mixtures of experts", "dense layers in their place"),
    "no_cnn1": ("extractor 1 with its mixture, the large kernels", "the network without both"),
    "no_cnn2": ("extractor 2, the small kernels", "the network without it"),
    "frozen_gate": ("a trained gate", "an untrained one"),
}
"""By variant: the part that it lacks, and what stands beside it in the comparison."""

CAUSES = {
    "no_cnn1_two_mixtures": "extractor 1, without which its mixture sees the fused features",
    "cnn1_pooled": "extractor 1's flattened map in place of an average",
    "cnn2_large": "extractor 2's small kernels in place of large ones, which cost more",
}
"""By variant that takes an extractor apart: what the full network has instead.

Leaving out extractor 1 (`PARTS`) changes more than kernels: a mixture goes with it, and part of the head's width.
"""


def _part(tables: Tables, variant: str) -> str:
    """Does the part that this variant lacks help?"""
    part, other = PARTS[variant]
    rows = comparison(tables, "variant", "full", variant)
    if rows.empty:
        return f"Not asked: the study has no trainings of the full network and {network(variant)} {NO_SEEDS}."
    found = findings(rows, -1)
    first = next(iter(found.values()))
    said = f"{lead(found)}. {part[0].upper()}{part[1:]}, beside {other} ({size(first)}): {by_measures(found)}."
    return said + could_see(first)


def mixtures(tables: Tables) -> str:
    """Do the mixtures of experts help?"""
    return _part(tables, "no_moe")


def trained_gate(tables: Tables) -> str:
    """Is a trained gate better than an untrained one?"""
    return _part(tables, "frozen_gate")


def large_kernels(tables: Tables) -> str:
    """Does extractor 1, the large kernels, help?"""
    return _part(tables, "no_cnn1")


def small_kernels(tables: Tables) -> str:
    """Does extractor 2, the small kernels, help?"""
    return _part(tables, "no_cnn2")


_PARTS_SAID = {
    Outcome.BETTER: "accuracy is added by",
    Outcome.SIGN_BETTER: "there is a sign of a gain from",
    Outcome.SAME: "less than a point comes from",
    Outcome.OPEN: "nothing can be told of",
    Outcome.SIGN_WORSE: "there is a sign of a loss from",
    Outcome.WORSE: "accuracy is lost by",
    Outcome.FEW: "there are too few trainings to judge",
}


def _worth(tables: Tables, names: Mapping[str, str]) -> str:
    """What the full network has over each of these variants in accuracy; nothing where none was trained."""
    found = []
    for variant, name in names.items():
        mine = findings(comparison(tables, "variant", "full", variant), -1).get("accuracy")
        if mine is not None:
            found.append((mine.outcome, f"{name} ({mine.text()}, {counted(mine.seeds, 'seed')} of each)"))
    return grouped(found, _PARTS_SAID)


def each_part(tables: Tables) -> str:
    """What is each part of the hybrid worth in accuracy? Nothing where no network lacks one."""
    said = _worth(tables, {variant: part.partition(",")[0] for variant, (part, _) in PARTS.items()})
    return f"Of the parts, in points of accuracy: {said}." if said else ""


def causes(tables: Tables) -> str:
    """What in an extractor matters? Nothing where no network takes one apart."""
    said = _worth(tables, CAUSES)
    return f"Of what the extractors bring, taken apart, in points of accuracy: {said}." if said else ""
