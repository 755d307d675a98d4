"""The claims for a reader: each in one line, and each claim's strongest evidence over all studies (verdicts.csv)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fermoe.evidence.findings import listed
from fermoe.paper import published
from fermoe.paper.part_rules import DROPS, PRACTICAL
from fermoe.paper.verdicts import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTED,
    PAPER_NETWORK,
    PUBLISHED_FIGURES,
    SUPPORTED,
    Tables,
    of_each,
)
from fermoe.study.tables import read_tables

COLUMNS = ("claim", "sentence", "verdict", "decided_by", "why", "evidence", "others", "scope")
PUBLISHED = "the published figures"
"""What decides a claim about the paper's own numbers, whatever was trained."""

NOBODY = "no study so far"
UNTRIED = ("needs ", "no test result of ")
"""How a reason begins where the study has no training that the claim is about."""

OF_EACH = r"(\d+)(?: to (\d+))? seeds of each"
"""How a reason says how many trainings stand behind it (`of_each`): the fewest, then the most."""

LITTLE = "less than half a point"
"""What a gain amounts to where `PRACTICAL` is excluded, in points or in percent."""

_STRENGTH = {SUPPORTED: 3, CONTRADICTED: 3, INCONCLUSIVE: 2, NOT_TESTED: 1}
_MECHANISM = "mechanism only"
_POINTS = r"(\S+ \[[^\]]+\])"
"""A difference with its interval, in a reason."""
_SHORT = {
    "not one of the paper's datasets": "seen on drawn faces alone",
    "another dataset than the claim's": "seen on another dataset",
}


def needs_more(verdict: str, reason: str) -> bool:
    """Whether the claim waits for data or weights that the study did not have."""
    return verdict == NOT_TESTED or reason.startswith(_MECHANISM)


def why(claim: str, verdict: str, reason: str) -> str:
    """The reason in short."""
    if claim == "C5" and (chosen := re.search(r"^RAF-DB.*validation images by (\d+) of (\d+) neighbours", reason)):
        ours, backbone, lowest = re.findall(r"(\d+\.\d+) %", reason)[:3]
        held_out, methods = chosen.groups()
        return (
            f"RAF-DB {ours} %, where others report {backbone} % for the backbone alone and {lowest} % at "
            f"the lowest ({methods} results, of which {held_out} is known to have chosen its weights on validation "
            "images); AffectNet cannot be compared"
        )
    if claim == "C6" and "happy above" in reason:
        leads = re.findall(r"on (\d+ of \d+)", reason)[0]
        return f"happy leads on {leads} datasets; {_cause(reason)}"
    where = ", on a scale model" if reason.startswith("on a scale model") else ""
    if where and (counts := _seeds_of_each(reason)):
        where += f", {of_each(counts)}"
    if claim == "C7" and where and (lost := re.findall(rf"(the [\w ]+?) loses {_POINTS} absolute(.*?) more", reason)):
        return f"under occlusion and light {_losses(lost, verdict)}{where}"
    if (
        claim == "C9"
        and where
        and (gains := re.findall(rf"beside (.+?) the trained gate gains {_POINTS} in accuracy", reason))
    ):
        said = [f"{_amount(points)} over {gate} ({points})" for gate, points in gains]
        swapped = re.search(r"shuffled gates cost (.+?) points of accuracy", reason)
        cost = f"; with another picture's gates it loses {swapped[1]}" if swapped else ""
        return f"in points of accuracy a trained gate gains {listed(said)}{cost}{where}"
    if claim == "C10" and (adds := re.findall(rf"(extractor \d[a-z ]*) adds {_POINTS} in accuracy", reason)):
        said = [f"{name} adds {_amount(points)} ({points})" for name, points in adds]
        return f"in points of accuracy {listed(said)}{where}"
    if found := re.match(r"on a scale model: .*?\(the [^()]* network\): (.*)", reason, re.DOTALL):
        first = re.split(r"[;:] | [(]|(?<=in accuracy), ", found[1])[0]
        return f"{first}{where}"
    if reason.startswith("under the published protocol only the "):
        return f"{reason}: needs the paper's network from VGGFace2 weights"
    if reason.startswith("needs "):
        return reason.partition(":")[0] + _mechanism(reason)
    if _MECHANISM in reason:
        return _mechanism(reason).removeprefix("; ")
    return re.split(r"[;:] | \(", reason)[0]


def _cause(reason: str) -> str:
    """What C6's reason says of trainings with equal shares of the classes."""
    gaps = re.findall(r"to (\w+) (\S+ → \S+) points, change (\[[^\]]+\]), beyond half of it (\[[^\]]+\])", reason)
    if not gaps:
        return "the cause was not tested here"
    changes = listed([f"over {name} {gap} (change {moved}; left above half {half})" for name, gap, moved, half in gaps])
    left = re.search(r"more than half is left over (\w+(?: and \w+)?)", reason)
    more = f"more than half of that lead is left over {left[1]}: " if left else ""
    recalls = listed([f"of {name} {move}" for name, move in re.findall(r"of (\w+) (\S+ → \S+) %", reason)])
    itself = f" (recall {recalls} %)" if recalls else ""
    scale = "" if f", {PAPER_NETWORK})" in reason else ", on a scale model"
    place = f"{scale}, {of_each(counts)}" if (counts := _seeds_of_each(reason)) else ""
    if collapsed := re.search(r"(\d+) of the trainings with equal shares collapsed", reason):
        others = listed(re.findall(r"(\S+ points over \w+), beyond half", reason))
        without = f" (without: {others})" if others else ""
        place += f", of which {collapsed[1]} with equal shares collapsed{without}"
    return f"{more}with equal shares of the classes its lead in recall goes {changes} points{itself}{place}"


def _losses(lost: Sequence[tuple[str, str, str]], verdict: str) -> str:
    """What C7's reason says of networks without a part: the name, the points lost, and the other ways to count them."""
    shares = [re.findall(f"{_POINTS} {DROPS['corrected']}", others) for _, _, others in lost]
    said = [
        f"{name} loses {_amount(points)} more than the whole ({points} points; {share} % {DROPS['corrected']})"
        for (name, points, _), found in zip(lost, shares, strict=True)
        for share in found
        if _amount(points) == _amount(share) == LITTLE
    ]
    if said and verdict == CONTRADICTED:
        return listed(said)
    (first, points), *rest = [(name, points) for name, points, _ in lost]
    said = [f"{first} loses {points}", *(f"{name} {more}" for name, more in rest)]
    return f"{listed(said)} points more than the whole"


def _seeds_of_each(reason: str) -> list[int]:
    """The numbers of trainings that a reason names (`of_each`)."""
    return [int(count) for ends in re.findall(OF_EACH, reason) for count in ends if count]


def _amount(points: str) -> str:
    """What a gain with its interval, "+0.1 [−0.2, 0.4]" in points, amounts to by the rules of parts."""
    low, high = (float(end.replace("−", "-")) for end in re.findall(r"[-−+]?\d+\.\d+", points)[1:])
    if high < 100 * PRACTICAL:
        return LITTLE
    return "more than nothing" if low > 0 else "nothing that can be told"


def _alone(reason: str) -> str:
    """What the rule says of runs that cannot decide the claim; "" where there are none."""
    found = re.search(r"rule alone: ([a-z ]+)\)", reason)
    return found[1] if found else ""


def _mechanism(reason: str) -> str:
    """How far what was seen goes, with the rule's word on it."""
    found = re.search(r"(?:mechanism only: |; )([^,(;:]+)[^(;]*\(([^();]+); rule alone: ", reason)
    if found is None:
        return ""
    dataset, lacking = found[1].strip(), found[2]
    place = f"seen on {dataset} in {lacking} alone" if lacking.endswith(" network") else f"seen with {lacking}"
    seen = f"; {_SHORT.get(lacking, place)}"
    images = re.search(r"on (\d+) of (\d+) test images", reason)
    if _alone(reason) != NOT_TESTED:
        return f"{seen}, there {_alone(reason)}"
    few = ", from too few trainings" if "seed(s)" in reason else ", without all that the rule needs"
    return f"{seen}, on {images[1]} of {images[2]} test images" if images else f"{seen}{few}"


def claim_lines(tables: Tables) -> list[dict[str, str]]:
    """One entry per claim of a study: its columns as text, `why`, and the table that decides it as `csv`."""
    columns = ("claim", "sentence", "verdict", "reason", "evidence", "rule", "scope")
    lines = []
    for row in tables["claims"].fillna("").astype(str).to_dict("records"):
        found, empty = re.match(r"(\w+\.csv)", row["evidence"]), "no rows yet" in row["evidence"]
        lines.append(
            {
                **{name: row.get(name, "") for name in columns},
                "changed": row.get("changed_after_results", ""),
                "why": why(row["claim"], row["verdict"], row["reason"]),
                "csv": found[1] if found and found[1].removesuffix(".csv") in tables and not empty else "",
            }
        )
    return lines


def studies(results: Path) -> dict[str, Tables]:
    """The studies that have a table of claims, by folder, in the order of their names."""
    folders = sorted(path.parent.parent for path in results.glob("*/tables/claims.csv"))
    return {folder.name: read_tables(folder) for folder in folders}


def strongest(all_studies: Mapping[str, Tables]) -> pd.DataFrame:
    """One row per claim: its strongest verdict, the study that it is from, why, and why the others did not decide.

    A decision counts more than "inconclusive", and that more than "not tested", then the paper's network more than a
    scale model, then what the rule says of runs that cannot decide, then a study that tried (to read published figures
    is no try); between equals real faces count more than drawn ones, then more seeds of what the claim compares, then
    longer training, then more trainings.
    Where two studies decide against each other the claim is inconclusive.
    """
    entries: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for name, tables in all_studies.items():
        for line in claim_lines(tables):
            entries.setdefault(line["claim"], []).append((name, line))
    rows = []
    for claim, found in entries.items():
        ranked = sorted(found, key=lambda entry: _rank(all_studies[entry[0]], entry[1]), reverse=True)
        name, line = ranked[0]
        verdict, reason = line["verdict"], line["why"]
        if {SUPPORTED, CONTRADICTED} <= {other["verdict"] for _, other in found}:
            verdict, reason = INCONCLUSIVE, f"studies decide against each other; {name}: {line['verdict']}, {reason}"
        by_paper = line["evidence"].startswith("fermoe/paper") or line["evidence"] == "none"
        others = [f"{other}: {entry['verdict']}, {entry['why']}" for other, entry in ranked[1:]]
        if line["reason"].startswith(UNTRIED) and not _alone(line["reason"]):
            name, others = NOBODY, []
        rows.append(
            {
                "claim": claim,
                "sentence": line["sentence"],
                "verdict": verdict,
                "decided_by": PUBLISHED if by_paper else name,
                "why": reason,
                "evidence": line["evidence"],
                "others": "" if by_paper else "; ".join(others),
                "scope": line["scope"],
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rank(tables: Tables, line: Mapping[str, str]) -> tuple[int, bool, int, bool, bool, int, float, int]:
    accuracy = tables.get("accuracy", pd.DataFrame())
    real = "dataset" in accuracy and bool(accuracy["dataset"].isin([*published.TITLES]).any())
    epochs = float(accuracy["epochs_run"].max()) if "epochs_run" in accuracy and len(accuracy) else 0.0
    # A study may have measured a claim on a few of its trainings alone.
    seeds = min(_seeds_of_each(line["reason"]), default=accuracy["seed"].nunique() if "seed" in accuracy else 0)
    by_paper, alone = line["scope"] == PAPER_NETWORK, _STRENGTH.get(_alone(line["reason"]), 0)
    tried = not line["reason"].startswith(UNTRIED) and line["scope"] != PUBLISHED_FIGURES
    return _STRENGTH.get(line["verdict"], 0), by_paper, alone, tried, real, seeds, epochs, len(accuracy)
