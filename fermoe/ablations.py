"""Which parts carry the accuracy: variants with seeds as rows, and their paired differences against the full network.

Pure functions on the study's tables. Two kinds of interval stand side by side and answer different questions: over
seeds (would another training differ?) and over images (would other test images differ?).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fermoe.model import VARIANTS
from fermoe.profiling import variant_table
from fermoe.statistics import mean_interval, mean_sd

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
