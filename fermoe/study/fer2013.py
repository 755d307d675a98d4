"""Notebook 11: what the kept studies of FER-2013 answer, each question by the richest study that can answer it.

A study's tables and packed predictions are enough: no dataset is read, and nothing is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from IPython.display import HTML, Markdown

from fermoe.errors import UserError
from fermoe.evidence import answers, answers_on_parts, answers_on_runs, answers_on_the_lead, confusions, messages, sizes
from fermoe.evidence.answers_on_budgets import budgets
from fermoe.evidence.findings import counted, full_network, rows_of, share
from fermoe.files import results_dir
from fermoe.network.model import OTHER_PROPORTIONS
from fermoe.network.variants import variants
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.plots.show import Drawn
from fermoe.study import pictures, pictures_in_notebooks, tables_for_people, tables_in_notebooks, tables_of_claims
from fermoe.study.archive import runs_at_hand
from fermoe.study.page import study_title
from fermoe.study.reading import printed, said, what_follows
from fermoe.study.tables import read_tables
from fermoe.study.tables_for_people import PeopleTable
from fermoe.study.verdicts import strongest
from fermoe.study.verdicts import studies as kept_studies

NOTEBOOK, DATASET = "11_fer2013", "fer2013"


class Confused(NamedTuple):
    """The full network's confusion matrix under the audited protocol, a sum over its trainings, and the paper's.

    `pairs` is of `confusions.confused_pairs`; classes are named for people.
    """

    ours: pd.DataFrame
    theirs: pd.DataFrame
    pairs: pd.DataFrame
    trainings: int


@dataclass(frozen=True, eq=False)
class Study:
    """A study's folder and its tables."""

    folder: Path
    tables: Tables

    @property
    def named(self) -> str:
        """What a sentence calls it: its title, and the folder's name."""
        title = study_title(self.folder, self.tables)
        return f"{title}, {self.folder.name}" if title != self.folder.name else title

    @property
    def is_of_fer2013(self) -> bool:
        return set(rows_of(self.tables, "accuracy", "split")["dataset"]) == {DATASET}

    @property
    def rank(self) -> tuple[bool, bool, int, int, int, str]:
        """The richest study has the lowest: `studies`."""
        trainings = rows_of(self.tables, "accuracy", "split", "seed", "epochs", "model")
        audited = (trainings["split"] == "test") & (trainings["protocol"] == "audited")
        rows = full_network(trainings[audited])
        longest = int(rows["epochs"].max()) if len(rows) else 0
        mixed = not rows["composition"].isin(["", "as_given"]).all()
        other = bool(rows["model"].isin(OTHER_PROPORTIONS).any())
        return mixed, other, -rows["seed"].nunique(), -longest, -len(trainings), self.folder.name

    @functools.cached_property
    def confused(self) -> Confused | None:
        """From its runs, or the packed ones; None where it has no audited training of the full network."""
        with runs_at_hand(self.folder) as runs:
            audited = [run for run in runs if run.config.protocol == "audited"]
            mine = next(iter(confusions.full_trainings(audited).values()), [])
            if not mine or mine[0].config.variant != "full":
                return None
            ours = confusions.pooled(mine)
            theirs = confusions.paper_matrix(DATASET, ours)
            assert theirs is not None  # the paper published this dataset's
            names = {"index": style.class_name, "columns": style.class_name}
            pairs = style.for_people(confusions.confused_pairs(mine))
            return Confused(ours.rename(**names), theirs.rename(**names), pairs, len(mine))


def studies(study: str | Path = "", results: Path | None = None) -> list[Study]:
    """The studies of FER-2013 in the folder of results, the richest first; `study`, where it is given, before them.

    Studies of smaller copies of the paper's network come before those of other proportions (`OTHER_PROPORTIONS`), and
    those that train on other shares of the classes than the dataset's last (`fermoe.data.composition`). The
    richest has most seeds of the full network under the audited protocol; between equals, the one that may train for
    most epochs, then the one with most trainings, then the first by name.

    Raises:
        UserError: there is none, or `study` is not a folder with tables of FER-2013 alone.
    """
    results = results or results_dir()
    found = [Study(results / name, tables) for name, tables in kept_studies(results).items()]
    found = sorted((one for one in found if one.is_of_fer2013), key=lambda one: one.rank)
    if study:
        asked = Study(Path(study), read_tables(study))
        if not asked.is_of_fer2013:
            raise UserError("no tables of FER-2013 alone", where=study, fix="give the folder of a study of FER-2013")
        found = [asked, *(one for one in found if one.folder.resolve() != asked.folder.resolve())]
    if not found:
        fix = "run one: fermoe study fer2013 --set root=DIR; a checkout has those that are kept"
        raise UserError("no study of FER-2013 with tables", where=results, fix=fix)
    return found


@dataclass(frozen=True)
class Question:
    """What a section asks of a study. A study can answer it where its table has rows; else it lacks what it `needs`."""

    needs: str
    answer: Callable[[Study], str]
    table: Callable[[Study], PeopleTable]
    figure: Callable[[Study], Drawn | None]


def _asked(
    needs: str,
    answer: Callable[[Tables], str],
    table: Callable[[Tables], PeopleTable],
    figure: Callable[[Tables], Drawn | None],
) -> Question:
    """A question that tables alone answer."""
    return Question(
        needs, lambda one: answer(one.tables), lambda one: table(one.tables), lambda one: figure(one.tables)
    )


def _classes(tables: Tables) -> str:
    found = tables_in_notebooks.recalls(tables)
    title = messages.by_class(found, style.variant_name("full"), style.variant_name("backbone"))
    return f"{title}. {answers_on_the_lead.hardest_class(found)}"


def _confused(study: Study) -> str:
    found = study.confused
    if found is None:
        return ""
    ours, theirs = (share(float(matrix.to_numpy().trace() / matrix.to_numpy().sum())) for matrix in found[:2])
    together = f"{counted(found.trainings, 'training')} together, {ours} right; the paper's one training {theirs}"
    return f"{messages.confusions(found.pairs)} ({together}). {messages.furthest(found.ours, found.theirs)}."


def _pairs(study: Study) -> PeopleTable:
    found = study.confused
    pairs = pd.DataFrame(columns=["true"]) if found is None else found.pairs
    return tables_in_notebooks.confused_pairs(pairs.head(8), found.theirs if found else pd.DataFrame())


def _matrices(study: Study) -> Drawn | None:
    found = study.confused
    return None if found is None else pictures_in_notebooks.confusions(found.ours, found.theirs, found.pairs)


QUESTIONS: Mapping[str, Question] = {
    "lead": _asked(
        "trainings of the full network and of its backbone from the same seeds",
        answers_on_runs.accuracy,
        tables_in_notebooks.lead,
        pictures.lead,
    ),
    "budgets": _asked(
        "trainings of a wider or deeper ResNet beside the full network's",
        budgets,
        lambda tables: tables_in_notebooks.chosen_variants(tables, variants("budget")),
        lambda tables: pictures.variants(tables, ["backbone", *variants("budget")]),
    ),
    "parts": _asked(
        "trainings of networks that lack a part",
        answers_on_parts.each_part,
        lambda tables: tables_in_notebooks.chosen_variants(tables, [*answers_on_parts.PARTS]),
        lambda tables: pictures.variants(tables, [*answers_on_parts.PARTS]),
    ),
    "causes": _asked(
        "trainings of networks with a changed extractor",
        answers_on_parts.causes,
        lambda tables: tables_in_notebooks.chosen_variants(tables, [*answers_on_parts.CAUSES]),
        lambda tables: pictures.variants(tables, [*answers_on_parts.CAUSES]),
    ),
    "classes": _asked(
        "recalls of the full network and of its backbone",
        _classes,
        tables_in_notebooks.classes,
        pictures_in_notebooks.by_class,
    ),
    "confusions": Question("predictions of the full network, packed or not", _confused, _pairs, _matrices),
    "seeds": _asked(
        "trainings of the full network and of its backbone",
        answers_on_the_lead.single_trainings,
        tables_in_notebooks.single_trainings,
        pictures_in_notebooks.seeds,
    ),
    "augmentation": _asked(
        "trainings with and without augmentation",
        answers.augmentation,
        tables_in_notebooks.augmentation,
        pictures_in_notebooks.augmentation,
    ),
    "leaks": _asked(
        "a list of the test images that occur in the training set",
        answers_on_the_lead.leaked,
        tables_for_people.leaked,
        pictures_in_notebooks.leaks,
    ),
    "selection": _asked(
        "trainings under the published protocol",
        answers_on_the_lead.chosen_on_test,
        tables_of_claims.selection,
        pictures_in_notebooks.selection,
    ),
    "robustness": _asked(
        "answers on occluded and darkened test images", answers.robustness, tables_for_people.losses, pictures.losses
    ),
    "beside": _asked(
        "another model's answers beside its own", answers_on_runs.beside, tables_for_people.beside, pictures.beside
    ),
}
"""What the notebook asks, section by section."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A question with the study that answers it; without one, what is missing."""

    question: Question
    study: Study | None

    @property
    def answer(self) -> Markdown:
        if self.study is None:
            return said("**Not known.**", f"No study of FER-2013 here has {self.question.needs}.")
        return said(f"**{self.study.named}.**", self.question.answer(self.study))

    @property
    def table(self) -> HTML | None:
        return None if self.study is None else printed(self.question.table(self.study))

    @property
    def figure(self) -> Drawn | None:
        return None if self.study is None else self.question.figure(self.study)


def read(found: Sequence[Study], name: str) -> Reading:
    """One of `QUESTIONS`, read from the first of the studies that can answer it."""
    question = QUESTIONS[name]
    return Reading(question, next((one for one in found if question.table(one).rows), None))


def answer(found: Sequence[Study]) -> Markdown:
    """Does the hybrid beat its backbone on real faces, in which measure, how sure, and at equal cost?"""
    leading, sized = read(found, "lead").study, read(found, "budgets").study
    if leading is None:
        return said("**Answer.**", f"Not known: no study of FER-2013 here has {QUESTIONS['lead'].needs}.")
    words = f"{answers.leading_question(leading.tables)} Read from {leading.named}."
    paragraphs = [said("**Answer.**", words)]
    if sized is not None and (equal := budgets(sized.tables, equal_alone=True)):
        place = "" if sized is leading else f" Read from {sized.named}."
        paragraphs.append(said("*Does it beat a ResNet that costs as much?*", equal + place))
    compared = by_size(found).compared
    if compared["model"].nunique() > 1:
        paragraphs.append(said("*Does that hold at other sizes?*", f"{sizes.who_is_ahead(compared)} (section 3)."))
    paragraphs.append(said("*Is it the paper's network?*", answers_on_runs.model(leading.tables)))
    return Markdown("\n\n".join(one.data for one in paragraphs))


@dataclass(frozen=True, eq=False)
class Sizes:
    """The leading question by the size of the network, read from every study; `compared` is of `sizes.sizes_table`."""

    compared: pd.DataFrame

    @property
    def answer(self) -> Markdown:
        words = sizes.sizes(self.compared) or f"No study of FER-2013 here has {QUESTIONS['lead'].needs}."
        return said("**Every study.**", words)

    @property
    def table(self) -> HTML:
        return printed(replace(tables_for_people.sizes(self.compared), csv=""))  # it is beside the studies, not in one

    @property
    def figure(self) -> Drawn | None:
        return pictures.sizes(self.compared)


def by_size(found: Sequence[Study]) -> Sizes:
    """Does the answer depend on how large the network is?"""
    return Sizes(sizes.sizes_table({one.folder.name: one.tables for one in found}, DATASET))


def twins(found: Sequence[Study]) -> Markdown:
    """Whether the trainings of the leading question saw twins of test images."""
    leading = read(found, "lead").study
    return said(f"**{leading.named}.**", answers_on_the_lead.twins(leading.tables)) if leading else Markdown("")


def follows(found: Sequence[Study]) -> Markdown:
    """The claims that the notebook bears on, each by the strongest evidence of these studies."""
    known = {one.folder.name: one.tables for one in found if "claims" in one.tables}
    claims = strongest(known)
    reasons = "(" + claims["decided_by"] + ") " + claims["why"]  # the study first: a long reason is cut short
    return what_follows({"claims": claims.assign(reason=reasons)}, NOTEBOOK)
