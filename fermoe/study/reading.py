"""What a notebook prints for people: its answer, what follows from it, and tables, all from the study's CSVs.

Styles stand in the elements themselves: JupyterLab drops style sheets from a notebook that is not trusted, and so do
the sites that show notebooks.
"""

from __future__ import annotations

import textwrap
from html import escape

from IPython.display import HTML, Markdown

from fermoe.evidence import answers
from fermoe.evidence.findings import counted, rows_of
from fermoe.paper.verdicts import Tables
from fermoe.study.tables_for_people import PeopleTable

CELL = "text-align:left;vertical-align:top;white-space:normal;padding:0.25em 1em 0.25em 0"
REASON = 300
"""Letters of a verdict's reason that a notebook shows."""
MARKUP = str.maketrans({"<": "&lt;", "*": "\\*", "`": "\\`", "_": "\\_", "~": "\\~", "|": "\\|", "$": "\\$"})


def answer(tables: Tables, notebook: str) -> Markdown:
    """What the study's tables answer to the notebook's question."""
    return said("**Answer.**", answers.answer(tables, notebook))


def said(begin: str, words: str) -> Markdown:
    """Words that Markdown shows as they are written, behind a beginning that is Markdown itself."""
    return Markdown(f"{begin} {_text(words)}")


def answers_to_questions(tables: Tables) -> Markdown:
    """Everything that a reader asks, with the study's answer."""
    asked = [f"- **{question}** {_text(answers.reply(tables, question))}" for question in answers.QUESTIONS]
    return Markdown("\n".join(asked))


def what_follows(tables: Tables, notebook: str) -> Markdown:
    """The claims that the notebook's answer bears on, each with its verdict and the reason for it."""
    said = answers.follows(tables, notebook)
    if not said:
        return Markdown("No claim of the paper is decided by this notebook.")
    claims = rows_of(tables, "claims", "claim", "sentence", "verdict", "reason")
    claims = claims[claims["claim"].isin(answers.TOUCHES[notebook])]
    lines = [
        f"- **{row.claim}**, {_text(row.sentence)} **{row.verdict.capitalize()}**: {_text(_short(row.reason))}"
        for row in claims.itertuples()
    ]
    return Markdown("\n".join([said, "", *lines]))


def _short(reason: str) -> str:
    """A reason that fits into a list; claims.csv has all of it."""
    return textwrap.shorten(str(reason), REASON, placeholder=" … (tables/claims.csv)")


def _text(words: str) -> str:
    """Words that Markdown shows as they are written."""
    return str(words).translate(MARKUP)


def printed(table: PeopleTable) -> HTML:
    """A table of a dozen rows at most, with the CSV that has the others; all rows where no CSV has them."""
    if not table.rows:
        return HTML(f"<p>{escape(table.caption)}: the study has nothing to show.</p>")
    shown = table.shown if table.csv else table.rows
    head = "".join(f'<th scope="col" style="{CELL}">{escape(name)}</th>' for name in table.columns)
    body = "\n".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escape(str(cell))}</td>' for cell in row) + "</tr>" for row in shown
    )
    more = f"{counted(table.left_out, 'more row')}, and every digit: " if table.left_out else "Every digit: "
    source = f'<p style="text-align:left">{more}tables/{escape(table.csv)} of the study</p>' if table.csv else ""
    caption = f'<caption style="{CELL};caption-side:top;font-weight:bold">{escape(table.caption)}</caption>'
    return HTML(
        f'<table style="margin-left:0;border-collapse:collapse">{caption}\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table>\n{source}"
    )
