"""Which parts carry the accuracy? The table ablation.csv, and variants with their seeds side by side.

Two kinds of interval stand beside each other and answer different questions: over images (would other test images
differ?) and over seeds (would another training differ?).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fermoe import stats
from fermoe.data.arrays import CONTROLS
from fermoe.data.transforms import pipeline_parts
from fermoe.evidence.table import Table
from fermoe.network.cost import variant_costs
from fermoe.network.model import VARIANTS
from fermoe.training.config import TrainConfig, follows_protocol, own_normalisation
from fermoe.training.runs import FinishedRun, largest_setting

COLUMNS = (
    "dataset", "protocol", "contrast", "baseline", "alternative", "variant", "crop", "pipeline", "seeds", "images",
    "difference", "ci_low", "ci_high", "p_value", "p_holm", "runs", "seeds_low", "seeds_high",
)  # fmt: skip

# What a comparison is against. Every other axis must agree between the two sides, but for what follows the compared
# one: protocols are compared each with its own pixel values, without augmentation, and its own test crop.
BASELINES = {"variant": "full", "crop": "none", "test_crop": "", "pipeline": "imagenet", "protocol": "published"}
AXES = ("dataset", "protocol", "variant", "crop", "test_crop", "pipeline")
FOLLOWING = {"protocol": ("pipeline", "test_crop"), "crop": ("test_crop",)}
Side = Mapping[int, FinishedRun]
"""One side of a comparison: its runs by seed."""


def ablation_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Paired differences in test accuracy, alternative − baseline, on the same images and the same seeds.

    One contrast varies one axis and holds the others (`BASELINES`, `FOLLOWING`). "test_crop" compares networks tested
    as they were trained with networks tested otherwise, the published mismatch on FER-2013. The interval is a paired
    bootstrap over images and holds the trainings fixed; `seeds_low` and `seeds_high` are Student's t interval over the
    seeds' differences, which holds the images fixed and needs two seeds. p is the exact McNemar test for one seed, a
    sign-flip permutation over images for several; `p_holm` corrects over the whole table.
    """
    rows = []
    for contrast in BASELINES:
        held = [axis for axis in AXES if axis != contrast and axis not in FOLLOWING.get(contrast, ())]
        groups: dict[tuple[Any, ...], dict[Any, dict[int, FinishedRun]]] = {}
        for run in runs:
            config = run.config
            usual = {"test_crop": config.tested_as_usual, "pipeline": config.pipeline == _own_pipeline(config)}
            if all(usual[axis] for axis in FOLLOWING.get(contrast, ())):
                sides = groups.setdefault(tuple(getattr(config, axis) for axis in held), {})
                sides.setdefault(getattr(config, contrast), {}).setdefault(config.seed, run)
        for key, sides in sorted(groups.items()):
            fixed = dict(zip(held, key, strict=True))
            baseline = BASELINES[contrast] or fixed["crop"]
            for alternative in sorted(sides.keys() - {baseline} if baseline in sides else ()):
                row = _compare(sides[baseline], sides[alternative])
                if row:
                    names = {"contrast": contrast, "baseline": baseline, "alternative": alternative}
                    rows.append({**dict.fromkeys(AXES[1:], ""), **fixed, **names, **row})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if len(table):
        table["p_holm"] = stats.holm(table["p_value"].to_numpy(float))
    return table


def _own_pipeline(config: TrainConfig) -> str:
    return own_normalisation(config.protocol, config.weights)


def _compare(baseline: Side, alternative: Side) -> dict[str, Any] | None:
    seeds = sorted(baseline.keys() & alternative.keys())
    pairs = [(baseline[seed].correct, alternative[seed].correct) for seed in seeds]
    if not pairs or any(not pairs[0][0].index.equals(side.index) for pair in pairs for side in pair):
        return None  # not the same test images: nothing is paired
    first, second = (np.stack([pair[i].to_numpy() for pair in pairs]) for i in (0, 1))  # (seeds, images)
    names = " ".join(side[seed].name for seed in seeds for side in (baseline, alternative))
    rng = np.random.default_rng(zlib.crc32(names.encode()))
    row: dict[str, Any] = {"seeds": len(seeds), "images": first.shape[1], "runs": names}
    row |= dict(zip(("difference", "ci_low", "ci_high"), stats.paired_difference(first, second, rng), strict=True))
    one = len(seeds) == 1
    row["p_value"] = stats.mcnemar_exact(first[0], second[0]) if one else stats.paired_permutation(first, second, rng)
    _, row["seeds_low"], row["seeds_high"] = stats.mean_interval(second.mean(axis=1) - first.mean(axis=1))
    return row


TABLE = Table("ablation", COLUMNS, lambda study, _: ablation_table(study.runs))


def main_runs(accuracy: pd.DataFrame, protocol: str = "audited") -> pd.DataFrame:
    """The test rows of accuracy.csv in which a protocol's variants are compared (`largest_setting`)."""
    rows = accuracy[(accuracy["split"] == "test") & (accuracy["protocol"] == protocol)]
    rows = rows[~rows["crop"].isin(CONTROLS)].reset_index(drop=True)
    plain = [
        follows_protocol(row.dataset, row.protocol, row.crop, row.test_crop, row.pipeline, row.initial_weights)
        and pipeline_parts(row.pipeline)[1] == "none"
        for row in rows.itertuples()
    ]
    settings = list(rows[["crop", "test_crop", "pipeline"]].itertuples(index=False, name=None))
    return rows.iloc[largest_setting(settings, rows["variant"].tolist(), plain)].reset_index(drop=True)


def seed_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy by seed (rows) and variant (columns, in the order of `VARIANTS`); NaN where a run is missing."""
    table = rows.pivot_table(index="seed", columns="variant", values="accuracy", aggfunc="first")
    return table[[variant for variant in VARIANTS if variant in table]]


def variant_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per variant: seeds, mean accuracy, its standard deviation and Student's t interval over the seeds.

    With one seed there is neither deviation nor interval (NaN).
    """
    columns = ["variant", "seeds", "accuracy", "sd", "ci_low", "ci_high"]
    summary = []
    for variant, values in seed_table(rows).items():
        known = values.dropna().to_numpy()
        mean, low, high = stats.mean_interval(known)
        summary.append((variant, len(known), mean, stats.mean_sd(known)[1], low, high))
    return pd.DataFrame(summary, columns=columns)


def variant_contrasts(ablation: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of ablation.csv that compare the variants of `rows` (of `main_runs`) with the full network."""
    chosen = ablation[ablation["contrast"] == "variant"]
    for key in ("protocol", "crop", "pipeline"):
        chosen = chosen[chosen[key].isin(rows[key].unique())]
    order = {variant: place for place, variant in enumerate(VARIANTS)}
    return chosen.sort_values("alternative", key=lambda names: names.map(order), ignore_index=True)


def missing_variants(rows: pd.DataFrame) -> list[str]:
    """The variants of which the study has no finished run."""
    return [variant for variant in VARIANTS if variant not in set(rows["variant"])]


def costs(rows: pd.DataFrame, runs: Sequence[FinishedRun], num_classes: int) -> pd.DataFrame:
    """What a variant costs beside what it reaches: variant, parameters, mmac (millions per image), training time.

    `ms_per_image` is the training time per image and epoch on the machine that ran it, without evaluation; it
    belongs beside a table, never in one that is compared between machines.
    """
    shape = variant_costs(rows["model"].iloc[0], num_classes).set_index("variant")
    results = {run.name: run.result for run in runs}
    seconds = {
        name: 1000 * r["seconds"] / (r["epochs_run"] * r["data"]["images"]["train"]) for name, r in results.items()
    }
    found = rows.assign(ms_per_image=rows["run"].map(seconds)).groupby("variant")
    table = found.agg(ms_per_image=("ms_per_image", "median"), accuracy=("accuracy", "mean"))
    for name in ("mmac", "parameters"):
        table.insert(0, name, shape[name].reindex(table.index))
    return table.reindex([variant for variant in VARIANTS if variant in table.index]).reset_index()
