"""Does a class that is rarer in training become a class that is recognised worse? The table imbalance.csv.

Networks trained on sets of one size that differ in the shares of their classes alone (`fermoe.data.composition`) are
tested on the same images. If rarity is why happy is recognised better than fear and disgust (C6), the gap closes where
all classes are equally frequent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fermoe import seeds, stats
from fermoe.data.composition import SMALL
from fermoe.evidence.measures import Resampler, same_images
from fermoe.evidence.table import Table
from fermoe.metrics import MEASURES
from fermoe.training.predictions import class_names
from fermoe.training.runs import SETTING, FinishedRun, at_one_rate

BASELINE = "proportional"
FREQUENT, RARE = "happy", ("fear", "disgust")
"""The classes of the claim: the gap is the recall of the first minus that of one of the others."""
NAMED = 0.01
"""A class is named by a training that answers it for at least this share of the images."""

COLUMNS = (
    *SETTING, "measure", "training_images", "seeds", "images", "value", "ci_low", "ci_high", "baseline_value",
    "difference", "crossed_low", "crossed_high", "p_crossed", "p_crossed_holm", "half_low", "half_high", "runs",
    "collapsed", "rest_value", "rest_half_low", "rest_half_high",
)  # fmt: skip


def imbalance_table(runs: Sequence[FinishedRun], resampler: Resampler | None = None) -> pd.DataFrame:
    """One row per setting, composition and measure; without runs of two compositions there are none.

    `measure` is one of `MEASURES`, "recall_<class>", or "gap_<class>": the recall of happy minus that of the class, in
    shares. `training_images` counts the class's images in training (of happy minus those of the class, for a gap).
    `value` is the mean over the seeds, its interval drawn over trainings and images (`seeds.crossed_mean`), NaN below
    three seeds. `difference` is to the dataset's own proportions, with its crossed interval and p value, corrected over
    all rows of gaps and, apart from these, over the rest. For gaps `half_low` and `half_high` bound what remains of
    the gap beyond half of that under the dataset's own proportions: above 0, rarity explains less than half of it.

    `collapsed` counts the trainings that name fewer than half of the classes (`NAMED`); no rule asks for it, and it was
    defined when the first ten seeds were known. They are part of every number before; `rest_value`, `rest_half_low`,
    `rest_half_high` are the same gap without them, on both sides, for the reader who asks whether they made the
    result: NaN where no training collapsed, or all of one side did, the bounds also below three that are left.
    """
    resampler = resampler or Resampler()
    groups: dict[tuple[Any, ...], dict[str, list[FinishedRun]]] = {}
    for run in at_one_rate(runs):
        if run.config.composition in SMALL:
            setting = tuple(run.key[name] for name in SETTING if name != "composition")
            groups.setdefault(setting, {}).setdefault(run.config.composition, []).append(run)
    rows = []
    for setting, compositions in sorted(groups.items()):
        sides = {
            name: sorted(compositions[name], key=lambda r: r.config.seed) for name in SMALL if name in compositions
        }
        if BASELINE in sides and len(sides) > 1 and same_images([run for side in sides.values() for run in side]):
            named = dict(zip((name for name in SETTING if name != "composition"), setting, strict=True))
            for composition, side in sides.items():
                rows += [{**named, **row} for row in _rows(resampler, composition, side, sides[BASELINE])]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for _, family in table.groupby(table["measure"].str.startswith("gap_").astype(bool)):
        table.loc[family.index, "p_crossed_holm"] = stats.holm(family["p_crossed"].to_numpy(float))
    return table


def _rows(
    resampler: Resampler, composition: str, side: Sequence[FinishedRun], baseline: Sequence[FinishedRun]
) -> Iterator[dict[str, Any]]:
    names = class_names(side[0].predictions)
    measures = [*MEASURES, *(f"recall_{name}" for name in names)]
    measures += [f"gap_{name}" for name in RARE if {FREQUENT, name} <= set(names)]
    stands = [[not _collapsed(run) for run in runs] for runs in (side, baseline)]
    for measure in measures:
        mine, other = (_drawn(resampler, runs, measure) for runs in (side, baseline))
        rng = np.random.default_rng(zlib.crc32(f"{measure} {' '.join(run.name for run in side)}".encode()))
        mean = seeds.crossed_mean(mine, rng)
        row = {
            "composition": composition, "measure": measure, "training_images": _training_images(side[0], measure),
            "seeds": len(side), "images": len(side[0].predictions), "value": mean.value, "ci_low": mean.low,
            "ci_high": mean.high, "runs": " ".join(run.name for run in side), "collapsed": len(side) - sum(stands[0]),
        }  # fmt: skip
        if composition != BASELINE:
            effect = seeds.crossed(other, mine, rng)
            row |= {"baseline_value": float(other.values.mean()), "difference": effect.value}
            row |= {"crossed_low": effect.low, "crossed_high": effect.high, "p_crossed": effect.p_value}
            if measure.startswith("gap_"):
                half = _beyond_half(other, mine, rng)
                row |= {"half_low": half.low, "half_high": half.high}
                if not all(map(all, stands)) and all(map(any, stands)):
                    mine, other = (_only(drawn, kept) for drawn, kept in zip((mine, other), stands, strict=True))
                    half = _beyond_half(other, mine, rng)
                    row |= {"rest_value": float(mine.values.mean())}
                    row |= {"rest_half_low": half.low, "rest_half_high": half.high}
        yield row


def _beyond_half(other: seeds.Drawn, mine: seeds.Drawn, rng: np.random.Generator) -> seeds.Effect:
    """What `mine` has beyond half of `other`."""
    return seeds.crossed(seeds.Drawn(other.values / 2, other.replicates / 2), mine, rng)


def _collapsed(run: FinishedRun) -> bool:
    """Whether a training names fewer than half of the classes. Which answers are right it does not ask."""
    shares = run.predictions["predicted"].value_counts(normalize=True)
    return 2 * int((shares >= NAMED).sum()) < len(class_names(run.predictions))


def _only(drawn: seeds.Drawn, kept: list[bool]) -> seeds.Drawn:
    return seeds.Drawn(drawn.values[kept], drawn.replicates[:, kept])


def _drawn(resampler: Resampler, runs: Sequence[FinishedRun], measure: str) -> seeds.Drawn:
    if not measure.startswith("gap_"):
        return resampler.drawn(runs, measure)
    frequent = resampler.drawn(runs, f"recall_{FREQUENT}")
    rare = resampler.drawn(runs, f"recall_{measure.removeprefix('gap_')}")
    return seeds.Drawn(frequent.values - rare.values, frequent.replicates - rare.replicates)


def _training_images(run: FinishedRun, measure: str) -> float:
    counts = run.result["data"].get("training_classes", {})
    kind, _, name = measure.partition("_")
    if kind == "gap":
        return float(counts.get(FREQUENT, np.nan)) - float(counts.get(name, np.nan))
    return float(counts.get(name, np.nan)) if kind == "recall" else float(run.result["data"]["images"]["train"])


def _build(runs: Sequence[FinishedRun]) -> pd.DataFrame | None:
    return imbalance_table(runs) if any(run.config.composition in SMALL for run in runs) else None


TABLE = Table("imbalance", COLUMNS, lambda study, _: _build(study.runs))
