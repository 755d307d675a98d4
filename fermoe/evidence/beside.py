"""How do other models do on the same test images? The table beside.csv."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fermoe import seeds, stats
from fermoe.evidence.measures import Resampler, same_images
from fermoe.evidence.table import Table
from fermoe.metrics import MEASURES
from fermoe.training.foreign import ForeignRun, foreign_runs
from fermoe.training.runs import SETTING, FinishedRun, StudyResults, main_setting

ALL, CLEAN = "all", "without twins"
"""The test images of a row: every one, or without those that are among the training images too."""

COLUMNS = (
    "dataset", "other", "variant", "protocol", "crop", "test_crop", "pipeline", "twins", "precision", "test_images",
    "measure", "seeds", "images", "value", "low", "high", "own_value", "difference", "ci_low", "ci_high",
    "crossed_low", "crossed_high", "p_crossed", "p_crossed_holm", "seeds_low", "seeds_high", "p_equal", "detectable",
    "runs",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A model's answers on some of the test images."""

    name: str
    predictions: pd.DataFrame

    @functools.cached_property
    def correct(self) -> pd.Series:
        return self.predictions["label"] == self.predictions["predicted"]


def beside_table(runs: Sequence[FinishedRun], others: Sequence[ForeignRun]) -> pd.DataFrame:
    """Every other model beside the study's full network on the same test images: one row per measure and `test_images`.

    `value` is the other model's, with a BCa interval over images (`low`, `high`); `own_value` the full network's in
    `main_setting`, a mean over its seeds; `difference` is value − own_value: positive favours the other model. Over
    images (`ci_low`, `ci_high`): paired BCa bootstrap. Over the network's trainings and the images: `crossed_low`,
    `crossed_high`, `p_crossed` (`seeds.crossed_mean` of the differences, one per training); over its trainings alone:
    `seeds_low`, `seeds_high`. The other model is one model and is not drawn. `p_crossed_holm` corrects over the rows of
    one measure; `p_equal` and `detectable` as in ablation.csv. A model that was tested on other images has no rows.
    """
    own = [run for run in main_setting(runs) if run.config.variant == "full"]
    rows = []
    for other in others:
        table = other.predictions
        if not own or not same_images([*own, other]):
            continue
        setting = {name: own[0].key[name] for name in SETTING}
        fixed = {**setting, "other": other.name, "test_crop": own[0].config.test_crop}
        fixed["runs"] = " ".join(run.name for run in own)
        parts = {ALL: np.ones(len(table), bool), CLEAN: ~other.twins}
        for images, chosen in parts.items():
            if images == ALL or 0 < chosen.sum() < len(table):
                mine = [Part(run.name, run.predictions[chosen].reset_index(drop=True)) for run in own]
                theirs = Part(other.name, table[chosen].reset_index(drop=True))
                rows += [{**fixed, "test_images": images, **row} for row in _compare(mine, theirs)]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    for _, family in found.groupby("measure"):
        found.loc[family.index, "p_crossed_holm"] = stats.holm(family["p_crossed"].to_numpy(float))
    return found


def _compare(own: Sequence[Part], other: Part) -> Iterator[dict[str, Any]]:
    resampler = Resampler()
    theirs, mine = resampler.measured(other), [resampler.measured(run) for run in own]
    name = " ".join(["beside", other.name, *(run.name for run in own)])
    for at, measure in enumerate(MEASURES):
        rng = np.random.default_rng([zlib.crc32(name.encode()), at])
        drawn = resampler.drawn(own, measure)
        value, replicates = float(theirs.values[at]), theirs.replicates[:, at]
        # One difference per training: the other model is the same in all of them.
        differences = seeds.Drawn(value - drawn.values, replicates[:, None] - drawn.replicates)
        both = seeds.crossed_mean(differences, rng)
        left_out = theirs.left_out[:, at]
        alone = stats.bca_of_replicates(value, replicates, left_out, np.ones(len(left_out)))
        paired = left_out - np.mean([m.left_out[:, at] for m in mine], axis=0)
        ends = stats.bca_of_replicates(both.value, differences.replicates.mean(axis=1), paired, np.ones(len(paired)))
        _, *over_seeds = seeds.mean_over_seeds(differences.values)
        yield {
            "measure": measure, "seeds": len(own), "images": len(other.predictions), "value": value,
            "low": alone[0], "high": alone[1], "own_value": float(drawn.values.mean()), "difference": both.value,
            "ci_low": ends[0], "ci_high": ends[1], "crossed_low": both.low, "crossed_high": both.high,
            "p_crossed": both.p_value, "seeds_low": over_seeds[0], "seeds_high": over_seeds[1],
            "p_equal": seeds.equivalence(both), "detectable": seeds.detectable(both),
        }  # fmt: skip


def _build(study: StudyResults, answers: None) -> pd.DataFrame | None:
    """None where no other model stands beside the study: such a study has no such table."""
    others = foreign_runs(study.folder)
    return beside_table(study.runs, others) if others else None


TABLE = Table("beside", COLUMNS, _build, drawn=("difference",))
