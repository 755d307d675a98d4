"""Tables in Markdown that people write: the rows between two marks are written anew from the studies' tables.

    <!-- rows: settings of fer2013-ten-miniature, fer2013-miniature -->
    | network and setting | …
    <!-- end of rows -->

A person writes what stands around them. `fermoe report` writes them in results/README.md and in the README beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fermoe.errors import UserError
from fermoe.evidence.sizes import sizes_table
from fermoe.files import write_text
from fermoe.paper.part_rules import MEASURES, UNTRAINED_GATES
from fermoe.paper.verdicts import CONTRADICTED, SUPPORTED, Tables
from fermoe.plots import style
from fermoe.study.tables_for_people import PeopleTable, accuracies, inputs, sizes, variants

README = "README.md"

MARKED = re.compile(r"(<!-- rows: (?P<what>[^\n]+?) -->\n).*?(?=<!-- end of rows -->)", re.DOTALL)


def settings(studies: Mapping[str, Tables]) -> PeopleTable:
    """Every setting of several studies, the highest accuracy first."""
    rows = [
        (network, f"[{name}]({name}/report.html)", *cells)
        for name, tables in studies.items()
        for network, *cells in accuracies(tables).rows
    ]
    rows.sort(key=lambda row: -float(row[3].split()[0]))
    measures = [f"{name}, %" for name in MEASURES.values()]
    return PeopleTable("", ("network and setting", "study", "seeds", *measures), rows)


def untrained_gates(tables: Tables) -> PeopleTable:
    """The full network beside gates that learn nothing."""
    table, names = variants(tables), {style.variant_name(name) for name in UNTRAINED_GATES}
    return PeopleTable("", table.columns, [row for row in table.rows if row[0] in names])


OF_ONE_STUDY: dict[str, Callable[[Tables], PeopleTable]] = {
    "variants": variants, "inputs": inputs, "untrained gates": untrained_gates,
}  # fmt: skip


def verdicts(claims: pd.DataFrame, titles: Mapping[str, str]) -> PeopleTable:
    """The claims in a line each, what was decided in bold; `titles` are what the text calls them."""
    rows = [
        (
            titles.get(row.claim, str(row.claim)),
            f"**{row.verdict}**" if row.verdict in (SUPPORTED, CONTRADICTED) else str(row.verdict),
            str(row.why),
        )
        for row in claims.itertuples()
    ]
    return PeopleTable("", ("claim", "verdict", "why"), rows)


def with_rows(text: str, studies: Mapping[str, Tables], claims: pd.DataFrame, where: Path | None = None) -> str:
    """A Markdown text with the rows between its marks as the tables have them.

    `claims` is of `verdicts.strongest`. Rows of a study that is not among `studies` stay as they are, and so do the
    words that name a claim.

    Raises:
        UserError: a mark asks for rows that nobody makes.
    """

    def anew(found: re.Match[str]) -> str:
        what = found["what"]
        kind, _, named = what.partition(" of ")
        names = named.split(", ") if named else []
        if set(names) - studies.keys():
            return found[0]
        if kind == "settings" and names:
            table = settings({name: studies[name] for name in names})
        elif kind in OF_ONE_STUDY and len(names) == 1:
            table = OF_ONE_STUDY[kind](studies[names[0]])
        elif what == "sizes":
            table = sizes(sizes_table(studies))
        elif what == "verdicts":
            titles = {title.split()[0]: title for title in re.findall(r"^\| (C\d+ [^|]+?) \|", found[0], re.MULTILINE)}
            table = verdicts(claims, titles)
        else:
            kinds = ", ".join(
                ["settings of STUDY, …", *(f"{name} of STUDY" for name in OF_ONE_STUDY), "sizes", "verdicts"]
            )
            raise UserError(f"no rows are called '{what}'", where=where, fix=f"one of: {kinds}")
        return found[1] + _markdown(table)

    return MARKED.sub(anew, text)


def _markdown(table: PeopleTable) -> str:
    lines: Sequence[Sequence[str]] = [table.columns, *table.rows]
    head, *rows = (f"| {' | '.join(cells)} |\n" for cells in lines)
    return head + "|" + "---|" * len(table.columns) + "\n" + "".join(rows)


def write_rows(results: Path, studies: Mapping[str, Tables], claims: pd.DataFrame) -> Sequence[Path]:
    """Write the marked rows of the README in the folder of results, and of the one beside that folder, anew.

    `studies` and `claims` as for `with_rows`. Returns the files that have marks.
    """
    written = []
    for path in (results / README, results.parent / README):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if MARKED.search(text):
            write_text(path, with_rows(text, studies, claims, path))
            written.append(path)
    return written
