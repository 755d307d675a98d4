"""Which parts carry the accuracy: variants with seeds as rows, and their paired differences against the full network.

Pure functions on the study's tables. Two kinds of interval stand side by side and answer different questions: over
seeds (would another training differ?) and over images (would other test images differ?).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fermoe import stats
from fermoe.network.cost import variant_table
from fermoe.network.model import VARIANTS
from fermoe.stats import mean_interval, mean_sd
from fermoe.training.config import own_normalisation, own_test_crop
from fermoe.training.predictions import read_predictions

ABLATION_COLUMNS = (
    "dataset", "protocol", "contrast", "baseline", "alternative", "variant", "crop", "pipeline", "seeds", "images",
    "difference", "ci_low", "ci_high", "p_value", "p_holm", "runs",
    "seeds_low", "seeds_high",
)  # fmt: skip


# What a comparison is against. Every other axis must agree between the two sides, but for what follows the compared
# one: protocols are compared each with its own pixel values, without augmentation, and its own test crop.
BASELINES = {"variant": "full", "crop": "none", "test_crop": "", "pipeline": "imagenet", "protocol": "published"}


AXES = ("dataset", "protocol", "variant", "crop", "test_crop", "pipeline")


FOLLOWING = {"protocol": ("pipeline", "test_crop"), "crop": ("test_crop",)}


def ablation_table(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Paired differences in test accuracy, alternative − baseline, on the same images and the same seeds.

    One contrast varies one axis and holds the others (`BASELINES`, `FOLLOWING`). "test_crop" compares networks tested
    as they were trained with networks tested otherwise, the published mismatch on FER-2013. The interval is a paired
    bootstrap over images and holds the trainings fixed; `seeds_low` and `seeds_high` are Student's t interval over the
    seeds' differences, which holds the images fixed and needs two seeds. p is the exact McNemar test for one seed, a
    sign-flip permutation over images for several; `p_holm` corrects over the whole table.
    """
    correct = {run["run"]: _correct(run) for run in runs}
    rows = []
    for contrast in BASELINES:
        held = [axis for axis in AXES if axis != contrast and axis not in FOLLOWING.get(contrast, ())]
        groups: dict[tuple[Any, ...], dict[Any, dict[int, dict[str, Any]]]] = {}
        for run in runs:
            p = run["parameters"]
            own = {
                "test_crop": own_test_crop(p["dataset"], p["protocol"], p["crop"]),
                "pipeline": own_normalisation(p["protocol"], p["weights"]),
            }
            if any(p[axis] != own[axis] for axis in FOLLOWING.get(contrast, ())):
                continue
            side = groups.setdefault(tuple(p[a] for a in held), {}).setdefault(p[contrast], {})
            side.setdefault(p["seed"], run)
        for key, sides in sorted(groups.items()):
            fixed = dict(zip(held, key, strict=True))
            baseline = BASELINES[contrast] or fixed["crop"]
            for alternative in sorted(sides.keys() - {baseline} if baseline in sides else ()):
                row = _compare(sides[baseline], sides[alternative], correct)
                if row:
                    names = {"contrast": contrast, "baseline": baseline, "alternative": alternative}
                    rows.append({**dict.fromkeys(AXES[1:], ""), **fixed, **names, **row})
    table = pd.DataFrame(rows, columns=list(ABLATION_COLUMNS))
    if len(table):
        table["p_holm"] = stats.holm(table["p_value"].to_numpy(float))
    return table


def _correct(run: dict[str, Any]) -> pd.Series:
    """Whether each test image was classified correctly, by image id."""
    predictions = read_predictions(Path(run["directory"]) / "predictions.csv")
    return pd.Series((predictions["label"] == predictions["predicted"]).to_numpy(), index=predictions["image"])


def _compare(
    baseline: dict[int, dict[str, Any]], alternative: dict[int, dict[str, Any]], correct: dict[str, pd.Series]
) -> dict[str, Any] | None:
    seeds = sorted(baseline.keys() & alternative.keys())
    if not seeds:
        return None
    pairs = [(correct[baseline[s]["run"]], correct[alternative[s]["run"]]) for s in seeds]
    images = pairs[0][0].index
    if any(not images.equals(side.index) for pair in pairs for side in pair):
        return None  # not the same test images: nothing is paired
    first, second = (np.stack([pair[i].to_numpy() for pair in pairs]) for i in (0, 1))  # (seeds, images)
    names = [runs[s]["run"] for s in seeds for runs in (baseline, alternative)]
    rng = np.random.default_rng(zlib.crc32(" ".join(names).encode()))
    difference, low, high = stats.paired_difference(first, second, rng)
    if len(seeds) == 1:
        p_value = stats.mcnemar_exact(first[0], second[0])
    else:
        p_value = stats.paired_permutation(first, second, rng)
    _, seeds_low, seeds_high = stats.mean_interval(second.mean(axis=1) - first.mean(axis=1))
    return {
        "seeds": len(seeds),
        "images": len(images),
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "p_value": p_value,
        "runs": " ".join(names),
        "seeds_low": seeds_low,
        "seeds_high": seeds_high,
    }


# The backbone first: whether the hybrid beats its own ResNet is the leading question.
ORDER = ("backbone", *(variant for variant in VARIANTS if variant != "backbone"))


CONTROLS = ("masked",)  # crops that destroy the face on purpose


def main_runs(accuracy: pd.DataFrame, protocol: str = "audited") -> pd.DataFrame:
    """The test rows in which variants are compared: one protocol, and the crop and pipeline that most runs have.

    `accuracy` is the table of that name. Runs tested on another crop than their protocol's are left out.
    """
    rows = accuracy[(accuracy["split"] == "test") & (accuracy["protocol"] == protocol)]
    rows = rows[~rows["crop"].isin(CONTROLS)]
    if rows.empty:
        return rows
    variants = rows.groupby(["crop", "test_crop", "pipeline"])["variant"].nunique()
    sizes = rows.groupby(["crop", "test_crop", "pipeline"]).size()
    crop, test_crop, pipeline = max(variants.index, key=lambda key: (variants[key], sizes[key]))
    same = (rows["crop"] == crop) & (rows["test_crop"] == test_crop) & (rows["pipeline"] == pipeline)
    return rows[same].reset_index(drop=True)


def seed_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy by seed (rows) and variant (columns, the backbone first); NaN where a run is missing."""
    table = rows.pivot_table(index="seed", columns="variant", values="accuracy", aggfunc="first")
    return table[[variant for variant in ORDER if variant in table]]


def variant_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per variant: seeds, mean accuracy, its standard deviation and Student's t interval over the seeds.

    With one seed there is neither deviation nor interval (NaN).
    """
    summary = []
    for variant, values in seed_table(rows).items():
        known = values.dropna().to_numpy()
        mean, low, high = mean_interval(known)
        summary.append(
            {
                **{"variant": variant, "seeds": len(known), "accuracy": mean, "sd": mean_sd(known)[1]},
                **{"ci_low": low, "ci_high": high},
            }
        )
    return pd.DataFrame(summary, columns=["variant", "seeds", "accuracy", "sd", "ci_low", "ci_high"])


def seed_differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Each variant − the full network over the seeds both have: seeds, difference, t interval, seeds below full.

    The interval is over trainings, with as few as two or three it is wide, and that is the honest width.
    """
    table = seed_table(rows)
    columns = ["variant", "seeds", "difference", "ci_low", "ci_high", "below_full"]
    if "full" not in table:
        return pd.DataFrame(columns=columns)
    found: list[dict[str, Any]] = []
    for variant in table.columns.drop("full"):
        gaps = (table[variant] - table["full"]).dropna().to_numpy()
        if len(gaps):
            mean, low, high = mean_interval(gaps)
            numbers = {"difference": mean, "ci_low": low, "ci_high": high, "below_full": int((gaps < 0).sum())}
            found.append({"variant": variant, "seeds": len(gaps), **numbers})
    return pd.DataFrame(found, columns=columns)


def variant_contrasts(ablation: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of ablation.csv that compare the variants of `rows` (of `main_runs`) with the full network."""
    chosen = ablation[ablation["contrast"] == "variant"]
    for key in ("protocol", "crop", "pipeline"):
        chosen = chosen[chosen[key].isin(rows[key].unique())]
    order = {variant: place for place, variant in enumerate(ORDER)}
    return chosen.sort_values("alternative", key=lambda names: names.map(order), ignore_index=True)


def missing_variants(rows: pd.DataFrame, wanted: Sequence[str] = ORDER) -> list[str]:
    """The variants of which the study has no finished run."""
    return [variant for variant in wanted if variant not in set(rows["variant"])]


def costs(rows: pd.DataFrame, runs: Sequence[dict[str, Any]], num_classes: int) -> pd.DataFrame:
    """What a variant costs beside what it reaches: variant, parameters, mmac (millions per image), training time.

    `ms_per_image` is the training time per image and epoch on the machine that ran it, without evaluation; it
    belongs beside a table, never in one that is compared between machines.
    """
    shape = variant_table(num_classes).set_index("variant")
    if rows["model"].iloc[0] == "miniature":
        parameters, multiply_adds = shape["miniature_parameters"], shape["miniature_mmac"]
    else:
        parameters, multiply_adds = shape["parameters"], 1000 * shape["gmac"]
    seconds = {run["run"]: 1000 * run["seconds"] / (run["epochs_run"] * run["data"]["images"]["train"]) for run in runs}
    found = []
    for variant, group in rows.groupby("variant"):
        found.append(
            {
                "variant": variant,
                "parameters": int(parameters[variant]),
                "mmac": float(multiply_adds[variant]),
                "ms_per_image": float(group["run"].map(seconds).median()),
                "accuracy": float(group["accuracy"].mean()),
            }
        )
    table = pd.DataFrame(found).set_index("variant")
    return table.loc[[variant for variant in ORDER if variant in table.index]].reset_index()
