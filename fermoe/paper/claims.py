"""The paper's claims C1–C11 as data, and the table of their verdicts.

Sentences are ours. The rules stand in `rules` and `part_rules`. Each has a version and the date of the commit that
fixed it; where that was after results it judges were known, the claim says what was changed and which those were.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from fermoe.paper import part_rules, published, rules
from fermoe.paper.verdicts import NOT_TESTED, Tables, Verdict

COLUMNS = ("claim", "sentence", "verdict", "reason", "evidence", "rule", "changed_after_results", "scope")

USUAL = {"precision": "float32", "composition": "as_given"}
"""Claims are decided by trainings in the usual precision on all training images; imbalance.csv is about the others."""

_KNOWN = "after the runs of quick, fer2013-miniature and fer2013-long-miniature"
_SCALED = (
    "scale models on the paper's data decide where the paper's network was not trained, marked in the column scope"
)


@dataclass(frozen=True)
class Claim:
    """A claim in our own words, its place in the paper, the tables that decide it, and its rule."""

    id: str
    sentence: str
    where: str
    evidence: str
    decide: Callable[[Tables], Verdict]
    version: int = 1
    fixed: str = "2026-11-22"
    changed: str = ""
    mixed: bool = False  # trainings on other shares of the classes than the dataset's decide it

    @property
    def rule(self) -> str:
        """The rule in words: what the docstring of `decide` says after its first line."""
        function = self.decide.func if isinstance(self.decide, partial) else self.decide
        return " ".join((inspect.getdoc(function) or "").partition("\n\n")[2].split())

    @property
    def stamp(self) -> str:
        """The rule's version, and since when it stands."""
        return f"version {self.version}, {self.fixed}"


def _future_work(tables: Tables) -> Verdict:
    """C11: is there anything to test?

    Plans are not results.
    """
    return Verdict(NOT_TESTED, "states plans, no result: there is nothing to test", "none")


def _accuracy_claim(id: str, dataset: str) -> Claim:
    percent = 100 * float(published.accuracies().set_index("dataset").at[dataset, "accuracy"])
    sentence = f"The network reaches {percent:.2f} % accuracy on {published.TITLES[dataset]}."
    changed = f"{_KNOWN}: only trainings with the paper's settings count; other weights leave the claim untested"
    decide = partial(rules.accuracy, dataset)
    return Claim(id, sentence, "abstract", "accuracy.csv", decide, 2, "2026-11-24", changed)


CLAIMS = (
    _accuracy_claim("C1", "affectnet7"),
    _accuracy_claim("C2", "affectnet8"),
    _accuracy_claim("C3", "rafdb"),
    _accuracy_claim("C4", "fer2013"),
    Claim(
        "C5",
        "The network is competitive on RAF-DB and better than existing models on AffectNet-7 and -8.",
        "results",
        "fermoe/paper/accuracy.csv and the neighbours in fermoe/paper/published.py",
        rules.neighbours,
    ),
    Claim(
        "C6",
        "Happy is recognised better than fear and disgust, and class imbalance is the reason.",
        "results",
        "imbalance.csv; fermoe/paper/confusion_*.csv and fermoe/paper/class_counts.csv",
        rules.happy_and_imbalance,
        2,
        "2026-11-24",
        "when the published figures were known and no training with other shares of the classes had been made: those "
        "trainings decide the reason, not the figures",
        mixed=True,
    ),
    Claim(
        "C7",
        "Dynamic expert selection and multi-scale features help under occlusion and changes of lighting.",
        "discussion",
        "robustness_means.csv",
        part_rules.robustness,
        3,
        "2026-11-24",
        f"{_KNOWN}: {_SCALED}; seeds are drawn besides images, all test images are needed, "
        "one mean loss replaces the count of "
        "conditions, and losses in points and above chance replace the relative one",
    ),
    Claim(
        "C8",
        "Face cropping in preprocessing lowers the accuracy on RAF-DB.",
        "discussion",
        "ablation.csv, contrast crop",
        part_rules.crop,
        3,
        "2026-11-24",
        f"{_KNOWN}: {_SCALED}; seeds are drawn besides images",
    ),
    Claim(
        "C9",
        "The model dynamically chooses the experts that fit the image.",
        "abstract",
        "experts.csv, and ablation.csv for frozen_gate and hash_gate",
        part_rules.experts,
        3,
        "2026-11-24",
        f"{_KNOWN}: {_SCALED}; "
        "untrained gates replace a permutation as the null, all test images are needed, intervals are "
        "over seeds, and input pipelines are not pooled",
    ),
    Claim(
        "C10",
        "Multi-scale extraction, large and small kernels, adds global and local features that help.",
        "abstract",
        "ablation.csv, contrast variant",
        part_rules.scales,
        3,
        "2026-11-24",
        f"{_KNOWN}: {_SCALED}; seeds are drawn besides images, "
        "and one extractor that adds nothing is enough to contradict",
    ),
    Claim(
        "C11",
        "Attention, fine-tuning for rare emotions and finer features would improve the model.",
        "future work",
        "none",
        _future_work,
    ),
)


def _usual(table: pd.DataFrame) -> pd.DataFrame:
    for name, value in USUAL.items():
        if name in table:
            table = table[table[name] == value]
    return table


def claims_table(tables: Tables) -> pd.DataFrame:
    """One row per claim: claim, sentence, verdict, reason, evidence, rule (version and date), changed_after_results,
    scope (what the verdict holds for: the paper's network, a scale model of it, or the published figures).

    `tables` maps names ("accuracy", "ablation", "robustness_means", "experts", …) to a study's tables; all are
    optional, and a claim whose table is missing, empty or lacks a column is "not tested".

    Raises:
        UserError: a table answers one question twice (`verdicts.one_each`).
    """
    usual = {name: _usual(table) for name, table in tables.items()}
    rows = [(claim, claim.decide(tables if claim.mixed else usual)) for claim in CLAIMS]
    return pd.DataFrame(
        # Where there is no row yet, the table that would decide.
        [
            (
                c.id,
                c.sentence,
                v.verdict,
                v.reason,
                v.evidence or f"{c.evidence} (no rows yet)",
                c.stamp,
                c.changed,
                v.scope,
            )
            for c, v in rows
        ],
        columns=list(COLUMNS),
    )
