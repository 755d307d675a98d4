"""The paper's claims C1–C11 as data, and the table of their verdicts.

Sentences are ours. The rules stand in `rules`, fixed before any result is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from fermoe.paper import published, rules
from fermoe.paper.rules import NOT_TESTED, Tables, Verdict

COLUMNS = ("claim", "sentence", "verdict", "reason", "evidence")


@dataclass(frozen=True)
class Claim:
    """A claim in our own words, its place in the paper, the tables that decide it, and its rule."""

    id: str
    sentence: str
    where: str
    evidence: str
    decide: Callable[[Tables], Verdict]

    @property
    def rule(self) -> str:
        """The rule in words: what the docstring of `decide` says after its first line."""
        function = self.decide.func if isinstance(self.decide, partial) else self.decide
        return " ".join((inspect.getdoc(function) or "").partition("\n\n")[2].split())


def _future_work(tables: Tables) -> Verdict:
    """C11: is there anything to test?

    Plans are not results.
    """
    return Verdict(NOT_TESTED, "states plans, no result: there is nothing to test", "none")


def _accuracy_claim(id: str, dataset: str) -> Claim:
    percent = 100 * float(published.accuracies().set_index("dataset").at[dataset, "accuracy"])
    sentence = f"The network reaches {percent:.2f} % accuracy on {published.TITLES[dataset]}."
    return Claim(id, sentence, "abstract", "accuracy.csv", partial(rules.accuracy, dataset))


CLAIMS = (
    _accuracy_claim("C1", "affectnet7"),
    _accuracy_claim("C2", "affectnet8"),
    _accuracy_claim("C3", "rafdb"),
    _accuracy_claim("C4", "fer2013"),
    Claim(
        "C5",
        "The network is competitive on RAF-DB and better than existing models on AffectNet-7 and -8.",
        "results",
        "published/accuracy.csv and the neighbours in published.py",
        rules.neighbours,
    ),
    Claim(
        "C6",
        "Happy is recognised better than fear and disgust, and class imbalance is the reason.",
        "results",
        "published/confusion_*.csv and published/class_counts.csv",
        rules.happy_and_imbalance,
    ),
    Claim(
        "C7",
        "Dynamic expert selection and multi-scale features help under occlusion and changes of lighting.",
        "discussion",
        "robustness.csv",
        rules.robustness,
    ),
    Claim(
        "C8",
        "Face cropping in preprocessing lowers the accuracy on RAF-DB.",
        "discussion",
        "ablation.csv, contrast crop",
        rules.crop,
    ),
    Claim(
        "C9",
        "The model dynamically chooses the experts that fit the image.",
        "abstract",
        "experts.csv, and ablation.csv for random_gate",
        rules.experts,
    ),
    Claim(
        "C10",
        "Multi-scale extraction, large and small kernels, adds global and local features that help.",
        "abstract",
        "ablation.csv, contrast variant",
        rules.scales,
    ),
    Claim(
        "C11",
        "Attention, fine-tuning for rare emotions and finer features would improve the model.",
        "future work",
        "none",
        _future_work,
    ),
)


def claims_table(tables: Tables) -> pd.DataFrame:
    """One row per claim: claim, sentence, verdict, reason, evidence.

    `tables` maps names ("accuracy", "ablation", "robustness", "experts", …) to a study's tables; all are
    optional, and a claim whose table is missing, empty or lacks a column is "not tested".
    """
    rows = [(claim, claim.decide(tables)) for claim in CLAIMS]
    return pd.DataFrame(
        # Where there is no row yet, the table that would decide.
        [(c.id, c.sentence, v.verdict, v.reason, v.evidence or f"{c.evidence} (no rows yet)") for c, v in rows],
        columns=list(COLUMNS),
    )
