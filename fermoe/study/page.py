"""Pages: a study's report and the page over all studies, from tables and templates.

A page stands alone, needs no script, and holds no time, host or path: equal tables give an equal file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fermoe.errors import UserError
from fermoe.evidence import answers, answers_on_runs
from fermoe.evidence.findings import listed, rows_of
from fermoe.evidence.sizes import sizes, sizes_table
from fermoe.files import notebooks_dir, results_dir, write_csv, write_text
from fermoe.network.model import SIZE_TITLES
from fermoe.paper.rules import PAPER_SETTINGS
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.plots.show import Drawn
from fermoe.study import pictures, tables_for_people, verdicts
from fermoe.study.plan import load_study
from fermoe.study.provenance import provenance
from fermoe.study.tables import read_tables
from fermoe.study.tables_for_people import TABLES, PeopleTable
from fermoe.study.tables_in_markdown import write_rows

REPORT, LEAD, INDEX = "report.html", "figures/lead.svg", "index.html"
VERDICTS, SIZES, SIZES_FIGURE = "verdicts.csv", "sizes.csv", "sizes.svg"
T = TypeVar("T")
TEMPLATES = Path(__file__).parent / "templates"

TITLES = {
    "00_published_claims": "What does the paper say, and does it add up?",
    "01_data": "Is this the data the paper used?",
    "02_preprocessing": "What does cropping do?",
    "03_model": "Is this the paper's network?",
    "04_training": "How does it train?",
    "05_confusion_matrices": "How good is it?",
    "06_grad_cam": "Where does each branch look?",
    "07_expert_utilization": "Are experts chosen, and does it matter?",
    "08_ablations": "Which parts carry the accuracy?",
    "09_robustness": "Does the hybrid help under occlusion and lighting?",
}
"""What each notebook asks, and its section answers."""

QUESTION = "Does the hybrid, two extra CNNs and two mixtures of experts, beat its own ResNet-50?"

HOW_TO_GET = (
    "RAF-DB and AffectNet are given by their owners on request, FER-2013 and the AffectNet subset lie on Kaggle "
    "(msambare/fer2013, noamsegal/affectnet-training-data), and the VGGFace2 weights are keras-vggface's "
    "rcmalli_vggface_tf_notop_resnet50.h5. With them, and in the same way for the other datasets:"
)
HOW_TO_RUN = " \\\n    ".join(
    ["fermoe study rafdb --set root=DIR --set model=paper", "--set weights=vggface2:FILE --set threads=0"]
    + [
        f"--set training.{name}={value:g}"
        for name, value in PAPER_SETTINGS.items()
        if name != "label_smoothing"  # as the study has it
    ]
)
"""With the settings without which a training decides no published number (`rules.accuracy`)."""


@dataclass(frozen=True)
class Section:
    """What a report says of one notebook."""

    notebook: str
    answer: str
    follows: str
    picture: pictures.Picture | None
    table: PeopleTable

    @property
    def title(self) -> str:
        return f"{self.notebook[:2]} · {TITLES[self.notebook]}"


@dataclass(frozen=True)
class Further:
    """A section that only some studies have."""

    name: str
    title: str
    answer: str
    picture: pictures.Picture | None
    table: PeopleTable


FURTHER = {
    "imbalance": (
        "Are rare classes recognised worse because they are rare?",
        answers_on_runs.imbalance,
        pictures.imbalance,
        tables_for_people.imbalance,
    ),
    "others": (
        "Other models on the same test images",
        answers_on_runs.beside,
        pictures.beside,
        tables_for_people.beside,
    ),
}
"""What a report says where the study has the table: title, answer, figure, table."""


def _unbroken(value: Any) -> Any:
    """A text whose numbers stay on one line with their intervals and units."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value  # what a macro made holds texts that were here before
    together = re.sub(r" \[([^\s\]]+), ([^\s\]]+)\]", "\N{NO-BREAK SPACE}[\\1,\N{NO-BREAK SPACE}\\2]", value)
    return together.replace(" %", "\N{NO-BREAK SPACE}%")


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=_unbroken,
    )


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def study_title(folder: Path, tables: Tables) -> str:
    """The title that the study file of the folder's name gives, with the network that was trained; else that name.

    A study file may train another network today than when the tables were made: the tables say which it was.
    """
    for name in (folder.name, folder.name.removesuffix("-miniature")):
        if (notebooks_dir() / "studies" / f"{name}.yaml").is_file():
            return f"{load_study(name).title}{_trained(tables)}"
    return folder.name


def _trained(tables: Tables) -> str:
    """Which networks a study trained, and whether twins of test images were left in all of its training sets."""
    rows = rows_of(tables, "accuracy", "model", "twins")
    networks = listed([f"{SIZE_TITLES[size]} network" for size in SIZE_TITLES if size in set(rows["model"])])
    twins = ", twins kept" if len(rows) and set(rows["twins"]) == {"kept"} else ""
    return f" (the {networks}{twins})" if networks else ""


def _drawn(draw: Callable[[T], Drawn | None], data: T) -> pictures.Picture | None:
    """A figure in the look of every figure; None where the data have nothing to show."""
    with plt.rc_context():
        style.use_style()
        drawn = draw(data)
        return None if drawn is None else pictures.as_picture(drawn)


def lead_picture(tables: Tables) -> pictures.Picture | None:
    """The figure of the leading question; None where it was not asked."""
    return _drawn(pictures.lead, tables)


def report_page(tables: Tables, folder: Path, title: str) -> str:
    """A study's report as HTML."""
    with plt.rc_context():
        style.use_style()
        further = [
            Further(
                name, title, answer, pictures.as_picture(drawn) if (drawn := picture(tables)) else None, table(tables)
            )
            for name, (title, said, picture, table) in FURTHER.items()
            if (answer := said(tables))
        ]
        sections = [
            Section(
                name,
                answers.answer(tables, name),
                answers.follows(tables, name),
                pictures.picture(tables, folder, name),
                TABLES[name](tables),
            )
            for name in TITLES
        ]
    lines = verdicts.claim_lines(tables)
    waiting = [line for line in lines if verdicts.needs_more(line["verdict"], line["reason"])]
    runs = sorted(set(rows_of(tables, "accuracy", "run")["run"]))
    return _render(
        "report.html",
        title=title,
        question=QUESTION,
        answer=answers.leading_question(tables),
        picture=lead_picture(tables),
        verdicts=answers.verdicts(tables),
        claims={
            "Decided here": [line for line in lines if line not in waiting],
            "Needs the data or the weights": waiting,
        },
        how_to_get=HOW_TO_GET,
        how_to_run=HOW_TO_RUN,
        questions={asked: answers.reply(tables, asked) for asked in answers.QUESTIONS},
        sections=sections,
        further=further,
        rates=answers_on_runs.rates(tables),
        files=[f"{name}.csv" for name in tables],
        folder=folder.name,
        runs=runs,
        provenance=provenance(folder, tables),
    )


def write_report(folder: Path, title: str = "") -> Path:
    """Write a study's report and the figure of its leading question from its tables; returns the report's path.

    Raises:
        UserError: the folder has no table of claims.
    """
    tables = read_tables(folder)
    if "claims" not in tables:
        raise UserError("no table of claims", where=folder, fix="run the study first: fermoe study NAME")
    if (first := lead_picture(tables)) is not None:
        write_text(folder / LEAD, first.content.decode())
    named = f"{title}{_trained(tables)}" if title else study_title(folder, tables)
    write_text(folder / REPORT, report_page(tables, folder, named))
    return folder / REPORT


def write_index(results: Path | None = None, texts: bool = False) -> Sequence[Path]:
    """Write the page over all studies, verdicts.csv, and the leading question by size with its figure.

    With `texts` also the marked rows of the READMEs (`tables_in_markdown`); a study does not ask for that, as what it
    found here is not what a README is about. Returns the paths of what was written; there is no figure without a study
    of FER-2013 that compares both networks.

    Raises:
        UserError: there is no study with a table of claims.
    """
    results = results or results_dir()
    found = verdicts.studies(results)
    if not found:
        raise UserError("no study has a table of claims", where=results, fix="run one first: fermoe study quick")
    claims = verdicts.strongest(found)
    write_csv(results / VERDICTS, claims)
    by_size = sizes_table(found)
    write_csv(results / SIZES, by_size)
    written = [INDEX, VERDICTS, SIZES]
    if (figure := _drawn(pictures.sizes, by_size)) is not None:
        write_text(results / SIZES_FIGURE, figure.content.decode())
        written.append(SIZES_FIGURE)
    titles = {name: study_title(results / name, tables) for name, tables in found.items()}
    write_text(results / INDEX, index_page(found, claims, titles, by_size, figure))
    rows = write_rows(results, found, claims) if texts else []
    return [*(results / name for name in written), *rows]


def index_page(
    found: Mapping[str, Tables],
    claims: Any,
    titles: Mapping[str, str],
    by_size: pd.DataFrame,
    size_figure: pictures.Picture | None,
) -> str:
    """The page over all studies as HTML; `by_size` is of `sizes.sizes_table`, and `size_figure` shows it."""
    lines = [
        {**row, "folder": row["decided_by"] if row["decided_by"] in found else ""} for row in claims.to_dict("records")
    ]
    return _render(
        "index.html",
        title="Which claims stand?",
        answer=answers.verdicts({"claims": claims}),
        by_size=sizes(by_size),
        size_figure=size_figure,
        size_table=tables_for_people.sizes(by_size),
        claims=lines,
        studies=[
            {
                "folder": name,
                "title": titles[name],
                "answer": answers.leading_question(tables),
                "verdicts": answers.verdicts(tables),
            }
            for name, tables in found.items()
        ],
    )
