"""Which parts carry the accuracy? The table ablation.csv, and variants with their seeds side by side.

Three measures and two kinds of interval stand beside each other. Over images: would other test images say the same of
these trained networks? Over trainings and images: would other trainings of these networks say the same?
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fermoe import seeds, stats
from fermoe.data.arrays import CONTROLS
from fermoe.data.transforms import pipeline_parts
from fermoe.evidence.measures import Difference, Resampler, same_images
from fermoe.evidence.table import Table
from fermoe.metrics import MEASURES
from fermoe.network.cost import variant_costs
from fermoe.network.variants import VARIANTS
from fermoe.training.config import follows_protocol, own_normalisation
from fermoe.training.runs import AXES, FinishedRun, at_one_rate, largest_setting, places_at_one_rate

COLUMNS = (
    "dataset", "protocol", "contrast", "baseline", "alternative", "variant", "crop", "pipeline", "seeds", "images",
    "difference", "ci_low", "ci_high", "p_value", "p_holm", "runs", "seeds_low", "seeds_high", "measure",
    "baseline_value", "crossed_low", "crossed_high", "p_crossed", "p_crossed_holm", "p_equal", "detectable",
    "test_crop", "twins", "precision", "composition",
)  # fmt: skip

# What a comparison is against. Every other axis must agree between the two sides, but for what follows the compared
# one: protocols are compared each with its own pixel values, without augmentation, its own test crop and its twins.
BASELINES = {
    "variant": "full", "crop": "none", "test_crop": "", "pipeline": "imagenet", "twins": "kept", "precision": "float32",
    "composition": "proportional", "protocol": "published",
}  # fmt: skip
FOLLOWING = {"protocol": ("pipeline", "test_crop", "twins"), "crop": ("test_crop",)}
SETTING_OF_VARIANTS = ("crop", "test_crop", "pipeline", "twins", "precision", "composition")
SAME_TRAINING = ("test_crop",)
"""The contrasts whose two sides are one and the same training, tested in two ways."""

Side = Mapping[int, FinishedRun]
"""One side of a comparison: its runs by seed."""


def ablation_table(runs: Sequence[FinishedRun], resampler: Resampler | None = None) -> pd.DataFrame:
    """Differences on the test images, alternative − baseline, on the same images and seeds, one row per measure.

    One contrast varies one axis and holds the others (`BASELINES`, `FOLLOWING`). "test_crop" compares networks tested
    as they were trained with networks tested otherwise, the published mismatch on FER-2013; "twins" is what training
    on test images' twins adds. `measure` is one of `MEASURES`, or, for the backbone against the full network, the
    recall of a class.

    Over images (`ci_low`, `ci_high`, `p_value`): `Resampler.differences`. Over trainings, from three seeds on: the
    crossed bootstrap of `seeds.crossed` (`crossed_low`, `crossed_high`, `p_crossed`), which draws images too; Welch's
    interval over the seeds alone (`seeds_low`, `seeds_high`); the p of a difference of a point or more (`p_equal`);
    and the difference that would be found with 80 % (`detectable`). `p_holm` and `p_crossed_holm` correct over
    all rows of one measure; recalls count as one.
    """
    resampler, rows, runs = resampler or Resampler(), [], at_one_rate(runs)
    trained_on = _twins_of_protocols(runs)
    for contrast in BASELINES:
        held = [axis for axis in AXES if axis != contrast and axis not in FOLLOWING.get(contrast, ())]
        groups: dict[tuple[Any, ...], dict[Any, dict[int, FinishedRun]]] = {}
        for run in runs:
            config = run.config
            usual = {
                "test_crop": config.tested_as_usual,
                "pipeline": config.pipeline == own_normalisation(config.protocol, config.weights),
                "twins": config.twins == trained_on[config.protocol],
            }
            if all(usual[axis] for axis in FOLLOWING.get(contrast, ())):
                sides = groups.setdefault(tuple(getattr(config, axis) for axis in held), {})
                sides.setdefault(getattr(config, contrast), {}).setdefault(config.seed, run)
        for key, sides in sorted(groups.items()):
            fixed = dict(zip(held, key, strict=True))
            baseline = BASELINES[contrast] or fixed["crop"]
            for alternative in sorted(sides.keys() - {baseline} if baseline in sides else ()):
                names = {"contrast": contrast, "baseline": baseline, "alternative": alternative}
                found = _compare(resampler, sides[baseline], sides[alternative], names)
                rows += [{**dict.fromkeys(AXES[1:], ""), **fixed, **names, **row} for row in found]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for p, corrected in (("p_value", "p_holm"), ("p_crossed", "p_crossed_holm")):
        for _, family in table.groupby(table["measure"].where(table["measure"].isin(MEASURES), "recall")):
            table.loc[family.index, corrected] = stats.holm(family[p].to_numpy(float))
    return table


def _twins_of_protocols(runs: Sequence[FinishedRun]) -> dict[str, str]:
    """Which trainings stand for each protocol: those without twins, where there are any."""
    found: dict[str, str] = {}
    for run in runs:
        if found.get(run.config.protocol) != "apart":
            found[run.config.protocol] = str(run.config.twins)
    return found


def _compare(resampler: Resampler, baseline: Side, alternative: Side, names: Mapping[str, str]) -> list[dict[str, Any]]:
    shared = sorted(baseline.keys() & alternative.keys())
    pairs = [(baseline[seed], alternative[seed]) for seed in shared]
    if not pairs or not same_images([run for pair in pairs for run in pair]):
        return []  # not the same test images: nothing is paired
    fixed: dict[str, Any] = {"seeds": len(pairs), "images": len(pairs[0][0].predictions)}
    fixed["runs"] = " ".join(run.name for pair in pairs for run in pair)
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    found = resampler.differences(before, after, paired=names["contrast"] in SAME_TRAINING)
    by_class = (names["baseline"], names["alternative"]) == ("full", "backbone")
    return [{**fixed, **_row(one)} for one in found if by_class or one.measure in MEASURES]


def _row(found: Difference) -> dict[str, Any]:
    both = found.crossed
    return {
        "measure": found.measure, "baseline_value": found.baseline, "difference": found.value,
        "ci_low": found.over_images[0], "ci_high": found.over_images[1], "p_value": found.p_images,
        "seeds_low": found.over_seeds.low, "seeds_high": found.over_seeds.high,
        "crossed_low": both.low, "crossed_high": both.high, "p_crossed": both.p_value,
        "p_equal": seeds.equivalence(both), "detectable": seeds.detectable(both),
    }  # fmt: skip


TABLE = Table("ablation", COLUMNS, lambda study, _: ablation_table(study.runs), drawn=("difference",))


def main_runs(accuracy: pd.DataFrame, protocol: str = "audited") -> pd.DataFrame:
    """The test rows of accuracy.csv in which a protocol's variants are compared (`largest_setting`).

    Of a network that was trained with several learning rates those of one, as in ablation.csv (`at_one_rate`).
    """
    rows = accuracy[accuracy["split"] == "test"]
    networks = [*rows[[*AXES]].itertuples(index=False, name=None)]
    rows = rows.iloc[places_at_one_rate(networks, [*zip(rows["variant"], rows["learning_rate"], strict=True)])]
    rows = rows[(rows["protocol"] == protocol) & ~rows["crop"].isin(CONTROLS)].reset_index(drop=True)
    plain = [
        follows_protocol(row.dataset, row.protocol, row.crop, row.test_crop, row.pipeline, row.initial_weights)
        and pipeline_parts(row.pipeline)[1] == "none"
        for row in rows.itertuples()
    ]
    settings = list(rows[list(SETTING_OF_VARIANTS)].itertuples(index=False, name=None))
    return rows.iloc[largest_setting(settings, rows["variant"].tolist(), plain)].reset_index(drop=True)


def seed_table(rows: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """A measure by seed (rows) and variant (columns, in the order of `VARIANTS`); NaN where a run is missing."""
    table = rows.pivot_table(index="seed", columns="variant", values=measure, aggfunc="first")
    return table[[variant for variant in VARIANTS if variant in table]]


def variant_summary(rows: pd.DataFrame, runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per variant of `rows` (of `main_runs`) and measure: seeds, mean, standard deviation between seeds.

    And two intervals of the mean: `ci_low`, `ci_high` with trainings and images drawn (`seeds.crossed_mean`),
    `seeds_low`, `seeds_high` Student's over the seeds. Below three seeds there is none (NaN).
    """
    columns = ["variant", "measure", "seeds", "mean", "sd", "ci_low", "ci_high", "seeds_low", "seeds_high"]
    known, resampler, summary = {run.name: run for run in runs}, Resampler(), []
    for variant in seed_table(rows):
        mine = [known[name] for name in rows.loc[rows["variant"] == variant, "run"]]
        for measure in MEASURES:
            drawn = resampler.drawn(mine, measure)
            both = seeds.crossed_mean(drawn, np.random.default_rng(zlib.crc32(f"{mine[0].name} {measure}".encode())))
            mean, sd = stats.mean_sd(drawn.values)
            _, low, high = seeds.mean_over_seeds(drawn.values)
            summary.append((variant, measure, len(mine), mean, sd, both.low, both.high, low, high))
    return pd.DataFrame(summary, columns=columns)


def costs(rows: pd.DataFrame, runs: Sequence[FinishedRun], num_classes: int) -> pd.DataFrame:
    """What a variant costs beside what it reaches: variant, parameters, mmac (millions per image), ms_per_image.

    And each of `MEASURES` with its interval over trainings and images (`<measure>_low`, `<measure>_high`; NaN below
    three seeds). `ms_per_image` is the training time per image and epoch on the machine that ran it, the median over
    the seeds, without evaluation; it belongs beside a table, never in one that is compared between machines.
    """
    shape = variant_costs(rows["model"].iloc[0], num_classes).set_index("variant")
    results = {run.name: run.result for run in runs}
    seconds = {
        name: 1000 * r["seconds"] / (r["epochs_run"] * r["data"]["images"]["train"]) for name, r in results.items()
    }
    found = rows.assign(ms_per_image=rows["run"].map(seconds)).groupby("variant")
    table = found.agg(ms_per_image=("ms_per_image", "median"))
    for measure, reached in variant_summary(rows, runs).groupby("measure", sort=False):
        reached = reached.set_index("variant")
        table[measure] = reached["mean"]
        table[[f"{measure}_low", f"{measure}_high"]] = reached[["ci_low", "ci_high"]]
    for name in ("mmac", "parameters"):
        table.insert(0, name, shape[name].reindex(table.index))
    return table.reindex([variant for variant in VARIANTS if variant in table.index]).reset_index()
