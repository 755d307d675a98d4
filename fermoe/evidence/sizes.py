"""Does the hybrid's lead over its backbone depend on how large the network is? The table results/sizes.csv.

No study trains the paper's network without its weights and a GPU. What can be said of it is how the lead goes from one
smaller copy to the next: this looks at several studies at once, each of one size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import pandas as pd

from fermoe.evidence.answers_on_the_lead import STANDS
from fermoe.evidence.findings import (
    Finding,
    Outcome,
    comparison,
    counted,
    findings,
    full_network,
    grouped,
    listed,
    rows_of,
)
from fermoe.network.cost import variant_cost
from fermoe.network.model import OTHER_PROPORTIONS, SIZE_TITLES, SIZES
from fermoe.paper.part_rules import ALPHA, MEASURES
from fermoe.paper.verdicts import Tables
from fermoe.stats import difference_interval
from fermoe.training.precision import PRECISIONS

COLUMNS = (
    "model", "smaller_copy", "parameters", "mmac", "backbone_mmac", "epochs", "precision", "measure", "seeds", "images",
    "full", "lead", "low", "high", "p_crossed_holm", "p_equal", "study",
)  # fmt: skip


def sizes_table(studies: Mapping[str, Tables], dataset: str = "fer2013") -> pd.DataFrame:
    """One row per size and measure, the smallest copy of the paper's network first, other proportions last.

    Of the studies of this dataset alone that compare the two networks under the audited protocol, the one with most
    seeds speaks for a size, between equals the one that may train for most epochs, then the first by name. `lead` is
    full − backbone in shares, its interval over trainings and images (`seeds.crossed`); `full` the whole network's
    mean. `smaller_copy` is False where the blocks' shares are not those of the paper's network (`OTHER_PROPORTIONS`).
    `epochs` may be trained at most, in `precision`. `mmac` counts millions of multiply-accumulates for one image.
    """
    chosen: dict[str, tuple[tuple[int, int, str], list[dict[str, object]]]] = {}
    for name, tables in studies.items():
        table = rows_of(tables, "accuracy", "model", "split", "seed", "epochs")
        compared = comparison(tables, "variant", "full", "backbone", "audited")
        if compared.empty or set(table["dataset"]) != {dataset}:
            continue
        size, epochs = str(table["model"].iloc[0]), int(full_network(table)["epochs"].max())
        rank = (-int(compared["seeds"].iloc[0]), -epochs, name)
        if size in SIZES and (size not in chosen or rank < chosen[size][0]):
            about = {"model": size, "smaller_copy": size not in OTHER_PROPORTIONS, "epochs": epochs, "study": name}
            about["precision"] = compared["precision"].iloc[0] or PRECISIONS[0]  # older tables do not say it
            chosen[size] = rank, [{**about, **row} for row in _rows(size, compared)]
    table = pd.DataFrame([row for _, rows in chosen.values() for row in rows], columns=list(COLUMNS))
    order = table.assign(other=~table["smaller_copy"].astype(bool)).sort_values(["other", "mmac"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)


def _rows(size: str, compared: pd.DataFrame) -> Iterator[dict[str, object]]:
    full, backbone, of = variant_cost(size), variant_cost(size, "backbone"), compared.set_index("measure")
    for measure, one in findings(compared, -1).items():
        yield {
            "parameters": full.parameters, "mmac": full.mmac, "backbone_mmac": backbone.mmac,
            "measure": measure, "seeds": one.seeds, "images": one.images, "full": of.at[measure, "baseline_value"],
            "lead": one.value, "low": one.low, "high": one.high, "p_crossed_holm": one.p,
            "p_equal": of.at[measure, "p_equal"],
        }  # fmt: skip


def lead_by_size(table: pd.DataFrame, measure: str = "accuracy") -> dict[str, Finding]:
    """By size: the lead in one measure; `table` is of `sizes_table`."""
    rows = table[table["measure"] == measure]
    return {
        str(row.model): Finding(
            row.lead, row.low, row.high, row.seeds, row.images, row.p_crossed_holm, bool(row.p_equal < ALPHA)
        )
        for row in rows.itertuples()
    }


def who_is_ahead(table: pd.DataFrame) -> str:
    """At which sizes the hybrid is ahead of its backbone in accuracy, and at which behind; `table` as for `sizes`."""
    leads, said = lead_by_size(table), []
    for side, outcome in (("ahead", Outcome.BETTER), ("behind", Outcome.WORSE)):
        names = [SIZE_TITLES[size] for size, lead in leads.items() if lead.outcome is outcome]
        if names:
            said.append(f"{side} in the {listed(names)} {'network' if len(names) == 1 else 'networks'}")
    return (
        f"In accuracy the hybrid is {', '.join(said)}" if said else "At no size can hybrid and backbone be told apart"
    )


def sizes(table: pd.DataFrame) -> str:
    """Does the hybrid beat its backbone at every size? `table` is of `sizes_table`; nothing where it is empty."""
    if table.empty:
        return ""
    copies, others = (table[table["smaller_copy"] == copy] for copy in (True, False))
    said = [_copies(copies)] if len(copies) else []
    for size, one in lead_by_size(others).items():
        said.append(
            f"In the {SIZE_TITLES[size]} network, whose extractors take more of it than the paper's do, "
            f"{STANDS[one.outcome]}: {one.text()} points ({counted(one.seeds, 'seed')})."
        )
    return " ".join(said)


def _copies(table: pd.DataFrame) -> str:
    found = {name: lead_by_size(table, name) for name in dict.fromkeys(table["measure"])}
    first, rows = found[next(iter(MEASURES))], table.drop_duplicates("model").set_index("model")
    each = listed([f"{one.text()} in the {_about(name, rows.loc[name])}" for name, one in first.items()])
    start = f"The hybrid's lead in accuracy is {each}, in points"
    if len(first) == 1:
        return f"Only one smaller copy of the paper's network was trained, so how the lead goes is not known. {start}."
    every = "in both" if len(first) == 2 else f"in all {len(first)}"
    where = [(one.outcome, f"in the {SIZE_TITLES[name]} network") for name, one in first.items()]
    (outcome, _), alike = where[0], len({outcome for outcome, _ in where}) == 1
    verdict = f"{every} {STANDS[outcome]}" if alike else grouped(where, STANDS)
    small, *_, large = first
    moved = listed([f"{_change(of[small], of[large]).text()} in {MEASURES[name]}" for name, of in found.items()])
    steps = listed([_change(*pair).text() for pair in itertools.pairwise(first.values())])
    by_step = f"From each to the next the lead in accuracy changes by {steps}, from" if len(first) > 2 else "From"
    return (
        f"{start}: {verdict}. {by_step} the smallest to the largest the lead changes by {moved} (each interval by "
        f"itself{_otherwise(rows.loc[small], rows.loc[large])})."
    )


def _otherwise(small: pd.Series, large: pd.Series) -> str:
    """What else than the size is other between two sizes, of what the table knows."""
    costs = [f"{row['mmac'] / row['backbone_mmac']:.1f}" for row in (small, large)]
    changed = [f"the cost beside the ResNet ({costs[0]} → {costs[1]} times)"] if costs[0] != costs[1] else []
    for what in ("epochs", "precision"):
        changed += [f"the {what} ({small[what]} → {large[what]})"] if small[what] != large[what] else []
    return f"; with the size change {listed(changed)}" if changed else ""


def _about(size: str, row: pd.Series) -> str:
    """A size, what it costs, and what stands behind its lead."""
    trained = f"{counted(row['seeds'], 'seed')}, {counted(row['epochs'], 'epoch')}{in_precision(row)}"
    return f"{SIZE_TITLES[size]} network ({row['mmac']:.0f} million multiply-adds, {trained})"


def in_precision(row: pd.Series) -> str:
    """in bfloat16, say, of a row of `sizes_table`; nothing where the precision is the usual one."""
    return "" if row["precision"] == PRECISIONS[0] else f" in {row['precision']}"


def _change(small: Finding, large: Finding) -> Finding:
    """What a lead gains from one size to another; too wide an interval, as both are measured on the same images."""
    ends = [(one.value, one.low, one.high) for one in (small, large)]
    return Finding(*difference_interval(*ends), min(small.seeds, large.seeds), small.images)
