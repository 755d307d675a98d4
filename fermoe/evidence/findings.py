"""What a difference or a mean amounts to: better, worse, the same, or not to be told; and how that is said.

One convention: a positive difference says that the full network, or what the paper does, is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd

from fermoe import seeds
from fermoe.data.arrays import CONTROLS
from fermoe.data.transforms import pipeline_parts
from fermoe.network.variants import VARIANTS
from fermoe.paper import published
from fermoe.paper.part_rules import ALPHA, MEASURES
from fermoe.paper.verdicts import PAPER_CROP, Tables
from fermoe.stats import holm
from fermoe.training.runs import AXES

COMPARED = (
    "contrast", "baseline", "alternative", "measure", "seeds", "images", "difference", "crossed_low", "crossed_high",
    "p_crossed_holm", "p_equal", "detectable",
)  # fmt: skip
"""The columns of ablation.csv that a comparison is read from."""

NO_SEEDS = "from the same seeds"
"""What ends a sentence on trainings that a study lacks."""


class Outcome(Enum):
    """What an interval says."""

    BETTER = "better"
    SIGN_BETTER = "better, until it is corrected for the other comparisons"
    SAME = "the same within a point"
    OPEN = "cannot be told"
    SIGN_WORSE = "worse, until it is corrected for the other comparisons"
    WORSE = "worse"
    FEW = "too few trainings for an interval"


CLEAR = (Outcome.BETTER, Outcome.WORSE)
"""The two sides can be told apart, also after correction for the study's other comparisons."""

IN_MEASURES = {
    Outcome.BETTER: "better in",
    Outcome.SIGN_BETTER: "better, though not after correction for the other comparisons, in",
    Outcome.SAME: "the same within a point in",
    Outcome.OPEN: "no difference can be told in",
    Outcome.SIGN_WORSE: "worse, though not after correction for the other comparisons, in",
    Outcome.WORSE: "worse in",
    Outcome.FEW: "too few trainings for an interval in",
}
"""How `by_measures` begins each outcome's measures."""


@dataclass(frozen=True)
class Finding:
    """A value with its interval over trainings (and images); NaN where there is none.

    Args:
        p: corrected for the other comparisons; NaN where the interval alone decides.
        same: whether a difference of a point or more is excluded.
        detectable: what such a comparison finds in four of five cases.
    """

    value: float
    low: float
    high: float
    seeds: int
    images: int = 0
    p: float = math.nan
    same: bool = False
    detectable: float = math.nan

    @property
    def outcome(self) -> Outcome:
        """Never below three seeds: two trainings say next to nothing of how trainings differ."""
        if self.seeds < seeds.MIN_SEEDS or not math.isfinite(self.low):
            return Outcome.FEW
        proven = math.isnan(self.p) or self.p < ALPHA
        if self.low > 0:
            return Outcome.BETTER if proven else Outcome.SIGN_BETTER
        if self.high < 0:
            return Outcome.WORSE if proven else Outcome.SIGN_WORSE
        return Outcome.SAME if self.same else Outcome.OPEN

    def text(self, scale: float = 100, digits: int = 1) -> str:
        """+3.8 [+1.6, +5.9]; the value alone where there is no interval."""
        value = signed(self.value, scale, digits)
        if self.outcome is Outcome.FEW:
            return value
        return f"{value} [{signed(self.low, scale, digits)}, {signed(self.high, scale, digits)}]"


def signed(value: float, scale: float = 100, digits: int = 1) -> str:
    """A difference with its sign, in points unless `scale` says otherwise; what rounds to nothing has none."""
    text = f"{abs(scale * value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def share(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """A share in per cent with one decimal, and its interval where there is one."""
    text = f"{100 * value:.1f} %"
    return text if math.isnan(low) else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def listed(texts: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def counted(number: int, one: str, many: str = "") -> str:
    """1 seed, 2 seeds."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def span(values: Sequence[float] | pd.Series, scale: float = 100, digits: int = 1) -> str:
    """+0.1 to +0.6, or one value where the two are the same."""
    low, high = (signed(end(values), scale, digits) for end in (min, max))
    return low if low == high else f"{low} to {high}"


def dataset_title(name: str) -> str:
    """What sentences call a dataset."""
    return {"synthetic": "drawn faces"}.get(name, published.TITLES.get(name, name))


def over_seeds(values: pd.Series, margin: float = 0) -> Finding:
    """The mean over trainings with Student's interval; `margin` is what counts as no difference."""
    known = values.dropna()
    mean, low, high = seeds.mean_over_seeds(known)
    return Finding(mean, low, high, len(known), same=bool(max(-low, high) < margin))


def each_over_seeds(values: Mapping[str, pd.Series]) -> dict[str, Finding]:
    """By name: the mean over trainings with Student's interval, and its p value corrected for the others (Holm).

    Less than a point (`seeds.EQUAL`) counts as no difference. What is not known (NaN) is left out, and with it a name
    of which nothing is.
    """
    known = {name: of for name, each in values.items() if len(of := each.dropna())}
    effects = {name: seeds.welch(np.zeros(len(of)), of, paired=True) for name, of in known.items()}
    return _corrected(effects, {name: len(of) for name, of in known.items()}, seeds.EQUAL)


def each_welch(sides: Mapping[str, tuple[pd.Series, pd.Series]]) -> dict[str, Finding]:
    """By name: the second side's mean over trainings − the first's, with p values corrected for the others (Holm).

    No value may be NaN.
    """
    effects = {name: seeds.welch(*pair) for name, pair in sides.items()}
    return _corrected(effects, {name: min(map(len, pair)) for name, pair in sides.items()})


def _corrected(effects: Mapping[str, seeds.Effect], counts: Mapping[str, int], margin: float = 0) -> dict[str, Finding]:
    """`counts` are trainings; `margin` is what counts as no difference."""
    p_values = holm([one.p_value for one in effects.values()])
    return {
        name: Finding(
            one.value, one.low, one.high, counts[name], p=float(p), same=bool(max(-one.low, one.high) < margin)
        )
        for (name, one), p in zip(effects.items(), p_values, strict=True)
    }


def grouped(found: Sequence[tuple[Outcome, str]], words: Mapping[Outcome, str]) -> str:
    """What has one outcome together, behind its word: "better in a and b; no difference can be told in c"."""
    groups = {outcome: [text for mine, text in found if mine is outcome] for outcome in Outcome}
    return "; ".join(f"{words[outcome]} {listed(texts)}" for outcome, texts in groups.items() if texts)


def rows_of(tables: Tables, name: str, *columns: str) -> pd.DataFrame:
    """The named table, empty where it is missing or lacks one of the columns; axes that it does not know are blank."""
    table = tables.get(name)
    if table is None or not set(columns) <= set(table.columns):
        return pd.DataFrame(columns=[*dict.fromkeys((*AXES, *columns))])
    return table.assign(**{axis: "" for axis in AXES if axis not in table}).fillna(dict.fromkeys(AXES, ""))


def by_composition(tables: Tables, *columns: str) -> pd.DataFrame:
    """The rows of imbalance.csv about the full network in one setting.

    The one that C6 is judged by, if it is there: audited, the paper's crop, float32, of these one without augmentation.
    """
    table = rows_of(tables, "imbalance", "composition", *columns)
    table = table[table["variant"].isin(["full", ""]) & ~table["crop"].isin(CONTROLS)]
    setting = [axis for axis in AXES if axis not in ("variant", "composition")]

    def usual(rows: pd.DataFrame) -> tuple[bool, ...]:
        one = rows.iloc[0]
        judged = (one["protocol"] == "audited", one["crop"] == PAPER_CROP, one["precision"] in ("", "float32"))
        return *judged, is_plain(one["pipeline"])

    return max((rows for _, rows in table.groupby(setting, sort=True)), key=usual, default=table)


def is_plain(pipeline: str) -> bool:
    """Whether the pipeline augments nothing."""
    return pipeline_parts(str(pipeline))[1] == "none"


def _usual(setting: pd.Series) -> tuple[bool, bool, bool]:
    """What is asked first of a study with several settings: audited; nothing augmented; float32, own class shares."""
    plain = setting["precision"] in ("", "float32") and setting["composition"] in ("", "as_given", "proportional")
    return setting["protocol"] == "audited", is_plain(setting["pipeline"]), plain


def comparison(
    tables: Tables, contrast: str, baseline: str, alternative: str, protocol: str | None = None
) -> pd.DataFrame:
    """The rows of ablation.csv, one per measure, of one such comparison: audited, without augmentation, most seeds.

    Controls, whose faces are painted over, are never taken. Empty where the study has no such comparison.
    """
    table = rows_of(tables, "ablation", *COMPARED)
    mine = table[(table["contrast"] == contrast) & (table["baseline"] == baseline)]
    mine = mine[(mine["alternative"] == alternative) & mine["measure"].isin(MEASURES) & ~mine["crop"].isin(CONTROLS)]
    if protocol is not None:
        mine = mine[mine["protocol"] == protocol]
    groups = [group for _, group in mine.groupby([axis for axis in AXES if axis != contrast], sort=True)]

    def rank(group: pd.DataFrame) -> tuple[bool, bool, bool, int]:
        return *_usual(group.iloc[0]), int(group["seeds"].iloc[0])

    return max(groups, key=rank) if groups else mine


def full_network(table: pd.DataFrame) -> pd.DataFrame:
    """The full network's rows of a table about single runs, in one setting: chosen as by `comparison`."""
    groups, rows = _settings(table, "full")
    return max(groups.values(), key=_rank) if groups else rows


def in_one_setting(table: pd.DataFrame, variant: str, only: bool = False) -> pd.DataFrame:
    """A variant's rows of a table about single runs, in the setting of `full_network` where it has that.

    Else in its own most usual one; with `only`, none.
    """
    groups, rows = _settings(table, variant)
    full = full_network(table)
    if len(full) and (same := tuple(full.iloc[0][list(_SETTING)])) in groups:
        return groups[same]
    if only:
        return rows.iloc[:0]
    return max(groups.values(), key=_rank) if groups else rows


_SETTING = tuple(axis for axis in AXES if axis != "variant")


def _settings(table: pd.DataFrame, variant: str) -> tuple[dict[tuple[str, ...], pd.DataFrame], pd.DataFrame]:
    """A variant's rows of a table about single runs by setting, without controls, and all of them."""
    rows = table[(table["variant"] == variant) & ~table["crop"].isin(CONTROLS)]
    return dict(iter(rows.groupby(list(_SETTING), sort=True))), rows


def _rank(group: pd.DataFrame) -> tuple[bool, bool, bool, int]:
    return *_usual(group.iloc[0]), group["seed"].nunique()


def findings(rows: pd.DataFrame, sign: int = 1) -> dict[str, Finding]:
    """By measure: sign · (alternative − baseline), with trainings and images drawn. `rows` are of `comparison`."""
    found = {}
    for measure in MEASURES:
        for _, row in rows[rows["measure"] == measure].iterrows():
            low, high = sorted((sign * float(row["crossed_low"]), sign * float(row["crossed_high"])))
            found[measure] = Finding(
                value=sign * float(row["difference"]),
                low=low,
                high=high,
                seeds=int(row["seeds"]),
                images=int(row["images"]),
                p=float(row["p_crossed_holm"]),
                same=bool(row["p_equal"] < ALPHA),
                detectable=float(row["detectable"]),
            )
    return found


def lead(found: Mapping[str, Finding]) -> str:
    """The answer in a word or two to: is it better?"""
    outcomes = {finding.outcome for finding in found.values()}
    better = [MEASURES[name] for name, finding in found.items() if finding.outcome is Outcome.BETTER]
    worse = [MEASURES[name] for name, finding in found.items() if finding.outcome is Outcome.WORSE]
    if outcomes == {Outcome.BETTER}:
        return "Yes, by every measure"
    if better and worse:
        return "It depends on the measure"
    if better:
        return f"Yes in {listed(better)}, not by every measure"
    if worse:
        return "No, it is worse" if outcomes == {Outcome.WORSE} else f"No, it is worse in {listed(worse)}"
    if outcomes == {Outcome.SAME}:
        return "No, it makes no difference of a point"
    if outcomes & {Outcome.SIGN_BETTER, Outcome.SIGN_WORSE}:
        return "There is a sign, but no proof"
    if Outcome.SAME in outcomes:
        same = [MEASURES[name] for name, finding in found.items() if finding.outcome is Outcome.SAME]
        return f"It makes no difference of a point in {listed(same)}; otherwise it cannot be told"
    return "It cannot be told" if outcomes != {Outcome.FEW} else "It cannot be told from so few trainings"


def by_measures(found: Mapping[str, Finding]) -> str:
    """Every measure with its numbers: "better in accuracy (+3.8 [+1.6, +5.9] points)"."""
    return grouped([(f.outcome, f"{MEASURES[name]} ({f.text()} points)") for name, f in found.items()], IN_MEASURES)


def network(variant: str) -> str:
    """A variant in a sentence: the ResNet alone, the network without mixtures."""
    title = VARIANTS[variant].title if variant in VARIANTS else variant
    if title.startswith("without"):
        return f"the network {title}"
    return f"the network with a {title}" if title.endswith("gate") else f"the {title}"


def size(finding: Finding) -> str:
    """How many trainings and images a comparison stands on."""
    images = f", {finding.images:,} test images" if finding.images else ""
    return f"{counted(finding.seeds, 'seed')} of each{images}"


def could_see(finding: Finding) -> str:
    """What a comparison that told no difference would have shown, as a sentence; nothing where it told one."""
    if finding.outcome is not Outcome.OPEN or not math.isfinite(finding.detectable):
        return ""
    return f" A difference of {100 * finding.detectable:.1f} points would have been found in four of five cases."
