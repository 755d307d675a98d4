"""The paper's claims C1–C11 as data, and the table of their verdicts.

Sentences are ours. The rules stand in `claim_rules` and `claim_comparisons`, fixed before any result is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from fermoe.paper import published, rules
from fermoe.paper.rules import NOT_TESTED, Tables, Verdict


@dataclass(frozen=True)
class Claim:
    """A claim in our own words, its place in the paper, the tables that decide it, and its rule."""

    id: str
    sentence: str
    where: str
    evidence: str
    rule: str
    decide: Callable[[Tables], Verdict]


def _future_work(tables: Tables) -> Verdict:
    return Verdict(NOT_TESTED, "states plans, no result: there is nothing to test", "none")


def _accuracy_claim(id: str, dataset: str) -> Claim:
    percent = 100 * float(published.accuracies().set_index("dataset").at[dataset, "accuracy"])
    return Claim(
        id=id,
        sentence=f"The network reaches {percent:.2f} % accuracy on {published.TITLES[dataset]}.",
        where="abstract",
        evidence="accuracy.csv",
        rule=(
            f"At least {rules.MIN_SEEDS} seeds of the paper's network from VGGFace2 weights under the "
            "published protocol. Supported: the t interval over seeds contains the number or lies above "
            f"it, and is no wider than ±{100 * rules.MAX_HALF_WIDTH:.0f} points. Contradicted: it ends "
            f"more than {100 * rules.REPRODUCTION_MARGIN:.0f} points below."
        ),
        decide=partial(rules.accuracy, dataset),
    )


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
        "Contradicted: on the same RAF-DB test images the paper's Wilson interval ends below its own "
        "backbone alone and below every listed neighbour. Supported: it starts above the backbone, and the "
        "network beats neighbours measured on the same AffectNet images. Where test images differ, nothing "
        "is decided.",
        rules.neighbours,
    ),
    Claim(
        "C6",
        "Happy is recognised better than fear and disgust, and class imbalance is the reason.",
        "results",
        "published/confusion_*.csv and published/class_counts.csv",
        "Part 1: happy's Wilson interval of recall lies above those of fear and disgust. Part 2: the rank "
        "correlation of recall with training frequency has an interval above 0. Supported: both on all four "
        "datasets. Contradicted: part 1 fails on one, or a correlation is clearly negative.",
        rules.happy_and_imbalance,
    ),
    Claim(
        "C7",
        "Dynamic expert selection and multi-scale features help under occlusion and changes of lighting.",
        "discussion",
        "robustness.csv",
        "The full network's relative drop against no_moe (selection), no_cnn1 and no_cnn2 (scales) and "
        "backbone. A comparison is supported if most conditions are clearly better and none clearly worse, "
        "contradicted if none is clearly better and most exclude half a point. Both causes must hold; either "
        "can fall.",
        rules.robustness,
    ),
    Claim(
        "C8",
        "Face cropping in preprocessing lowers the accuracy on RAF-DB.",
        "discussion",
        "ablation.csv, contrast crop",
        "RAF-DB only. Supported: the whole image beats the paper's crop, interval above 0 and Holm-corrected "
        "p < 0.05. Contradicted: the interval excludes a cost of half a point.",
        rules.crop,
    ),
    Claim(
        "C9",
        "The model dynamically chooses the experts that fit the image.",
        "abstract",
        "experts.csv, and ablation.csv for random_gate",
        "Supported: in every seed and mixture the gates tell more about the class than a permutation null, "
        "another image's gates cost accuracy and no expert is dead, and the full network beats random_gate. "
        "Contradicted: no seed shows information, or shuffling or a random gate costs under half a point.",
        rules.experts,
    ),
    Claim(
        "C10",
        "Multi-scale extraction, large and small kernels, adds global and local features that help.",
        "abstract",
        "ablation.csv, contrast variant",
        "Supported: removing either extractor costs accuracy (interval and Holm-corrected p). Contradicted: "
        "removing each costs less than half a point.",
        rules.scales,
    ),
    Claim(
        "C11",
        "Attention, fine-tuning for rare emotions and finer features would improve the model.",
        "future work",
        "none",
        "Plans are not results.",
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
        columns=["claim", "sentence", "verdict", "reason", "evidence"],
    )
