"""What decides the paper's claims: thresholds, and one rule for each claim.

Thresholds and rules stand in code before any result is read; they look at a study's tables and the published
figures, nothing else. A benchmark number can only be decided by the paper's network, started from the paper's
weights, on the paper's data. What is missing gives "not tested" and the way to get it.

Differences in the table "ablation" are alternative − baseline, in accuracy; in "robustness", drop_difference
is the variant's relative drop − the full network's, so that positive favours the full network. Synthetic
images and the miniature network show at most that a mechanism exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from fermoe import stats
from fermoe.paper import published

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE, NOT_TESTED = "inconclusive", "not tested"
ALPHA = 0.05
"""Two-sided level of every test; p values over several comparisons are Holm's."""

MIN_SEEDS = 3
"""Fewer training runs cannot tell an effect from the luck of one initialisation."""

REPRODUCTION_MARGIN = 0.02
"""A number counts as not reached only if the interval ends more than two points below it: choosing the best
of ten epochs on the test set is worth up to about one point, and another framework, resizing and random
numbers are granted as much again."""

MAX_HALF_WIDTH = 0.03
"""An interval over seeds wider than ± three points contains almost any number; it supports none."""

PRACTICAL = 0.005
"""Half a point of accuracy: below it a component makes no difference worth its cost."""

PAPER_WEIGHTS = "vggface2"
"""Prefix of initial_weights when the ResNet starts where the paper's did."""

WHOLE_IMAGE, PAPER_CROP = "none", "blazeface"
"""What the column crop calls the whole image, and the paper's BlazeFace rule (`fermoe.data.arrays.CROPS`)."""

PAPER_PIPELINE = "bgr_unit"
"""What the column pipeline calls the authors' input (`fermoe.data.transforms.NORMALISATIONS`)."""

OCCLUSION_OR_LIGHT = ("occlusion", "light")
"""The groups of perturbations that C7 is about; the camera's (blur, noise, compression, rotation) are not."""

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Verdict:
    """One of the four verdicts, one sentence with the numbers, and the table rows behind it."""

    verdict: str
    reason: str
    evidence: str = ""


def table_of(tables: Tables, name: str, *columns: str) -> pd.DataFrame:
    """The named table, or an empty one with these columns where it is missing, empty or lacks one."""
    table = tables.get(name)
    if table is None or table.empty or not set(columns) <= set(table.columns):
        return pd.DataFrame(columns=list(columns))
    return table


def run_names(values: pd.Series) -> list[str]:
    """The run directories that cells name, several to a cell separated by spaces, commas or semicolons."""
    return sorted({name for value in values.dropna() for name in re.split(r"[\s,;]+", str(value)) if name})


def cite(file: str, rows: pd.DataFrame, column: str) -> str:
    """The evidence: the file, how many of its rows, and the runs they name in `column`."""
    names = run_names(rows[column]) if column in rows else []
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{file} ({len(rows)} rows{'; runs ' + shown if names else ''})"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.2f}"


def interval_text(low: float, high: float, scale: float = 100, digits: int = 2) -> str:
    """An interval as [low, high], in percent unless `scale` says otherwise."""
    return f"[{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def needs(dataset: str) -> str:
    """What to run where this dataset has not been."""
    return f"needs {published.TITLES[dataset]}: fermoe study {dataset} --set root=DIR"


# --- C1–C4: the four accuracies -------------------------------------------------------------------------


def accuracy(dataset: str, tables: Tables) -> Verdict:
    """C1–C4: does the paper's network reach the published number?

    At least three seeds of the paper's network from VGGFace2 weights under the published protocol. Supported: the t
    interval over seeds contains the number or lies above it, and is no wider than ±3 points. Contradicted: it ends
    more than 2 points below.
    """
    columns = ("dataset", "protocol", "variant", "crop", "pipeline", "seed", "split", "accuracy")
    table = table_of(tables, "accuracy", *columns, "run", "model", "initial_weights")
    rows = table[
        (table["dataset"] == dataset)
        & (table["protocol"] == "published")
        & (table["variant"] == "full")
        & (table["split"] == "test")
        & (table["pipeline"] == PAPER_PIPELINE)
        & (table["crop"] == PAPER_CROP)
        & pd.to_numeric(table["accuracy"], errors="coerce").notna()
    ]
    if rows.empty:
        other = (table["dataset"] == dataset).any()
        why = "no test result of the full network with the published protocol, pipeline and crop; " if other else ""
        return Verdict(NOT_TESTED, why + needs(dataset))
    paper = rows[rows["model"] == "paper"]
    if paper.empty:
        mean = 100 * rows["accuracy"].mean()
        reason = f"only the miniature network was trained ({len(rows)} runs, mean {mean:.2f} %)"
        return Verdict(NOT_TESTED, reason, cite("accuracy.csv", rows, "run"))
    rows = paper[paper["initial_weights"].astype(str).str.startswith(PAPER_WEIGHTS)]
    if rows.empty:
        start = ", ".join(sorted(set(map(str, paper["initial_weights"]))))
        mean = 100 * paper["accuracy"].mean()
        reason = f"the ResNet started from {start} weights, not VGGFace2's (mean {mean:.2f} %)"
        return Verdict(INCONCLUSIVE, reason, cite("accuracy.csv", paper, "run"))
    evidence = cite("accuracy.csv", rows, "run")
    per_seed = rows.groupby("seed")["accuracy"].mean()
    if len(per_seed) < MIN_SEEDS:
        value = 100 * per_seed.mean()
        reason = f"{len(per_seed)} seed(s), mean {value:.2f} %; the interval over seeds needs {MIN_SEEDS}"
        return Verdict(NOT_TESTED, reason, evidence)
    target = float(published.accuracies().set_index("dataset").at[dataset, "accuracy"])
    mean, low, high = stats.mean_interval(per_seed)
    measured = f"{len(per_seed)} seeds give {100 * mean:.2f} % {interval_text(low, high)}"
    text = f"{measured}; published {100 * target:.2f} %"
    if high < target - REPRODUCTION_MARGIN:
        return Verdict(CONTRADICTED, text, evidence)
    if low > target or (high >= target and high - low <= 2 * MAX_HALF_WIDTH):
        return Verdict(SUPPORTED, text, evidence)
    wide = "the interval is too wide to support a number" if high >= target else "below, within the margin"
    return Verdict(INCONCLUSIVE, f"{text}: {wide}", evidence)


# --- C5 and C6: decided by the published figures ---------------------------------------------------------


def neighbours(tables: Tables) -> Verdict:
    """C5, from the published figures alone.

    Contradicted: on the same RAF-DB test images the paper's Wilson interval ends below its own backbone alone and
    below every listed neighbour. Supported: it starts above the backbone, and the network beats neighbours measured
    on the same AffectNet images, of which there are none so far. Where test images differ, nothing is decided.
    """
    ours = published.accuracies().set_index("dataset")
    others = published.neighbours()
    raf = others[(others["dataset"] == "rafdb") & others["same_test_images"]]
    correct, images = int(ours.at["rafdb", "correct"]), int(ours.at["rafdb", "test_images"])
    reached = f"{100 * correct / images:.2f} %"
    low, high = stats.wilson_interval(correct, images)
    lowest = raf.loc[raf["accuracy"].idxmin()]
    backbone = float(raf.loc[raf["method"] == published.BACKBONE_ALONE, "accuracy"].min())
    reason = (
        f"RAF-DB: {reached} {interval_text(low, high)} against {100 * backbone:.2f} % for "
        f"the backbone alone and {100 * lowest['accuracy']:.2f} % for the lowest of {len(raf)} neighbours "
        f"({lowest['method']}), same test images; AffectNet: undecided, "
    )
    affectnet = others[others["dataset"].isin(["affectnet7", "affectnet8"])]
    comparable = affectnet[affectnet["same_test_images"]]
    reason += "measured on a random fifth of a subset, the neighbours on the official validation set"
    evidence = "published/accuracy.csv; neighbours in published.py"
    if high < float(lowest["accuracy"]) and high < backbone:
        return Verdict(CONTRADICTED, reason, evidence)
    beaten = not comparable.empty and bool((comparable["accuracy"] < comparable["dataset"].map(ours["accuracy"])).all())
    return Verdict(SUPPORTED if beaten and low > backbone else INCONCLUSIVE, reason, evidence)


def happy_and_imbalance(tables: Tables) -> Verdict:
    """C6, from the published figures alone.

    Part 1: happy's Wilson interval of recall lies above those of fear and disgust. Part 2: the rank correlation of
    recall with training frequency has an interval above 0. Supported: both on all four datasets. Contradicted: part 1
    fails on one, or a correlation is clearly negative.
    """
    table = published.imbalance()
    texts = [
        f"{published.TITLES[row.dataset]} {100 * row.happy:.0f}/{100 * row.fear:.0f}/{100 * row.disgust:.0f} %, "
        f"rho {row.rho:.2f} {interval_text(row.low, row.high, 1)}"
        for row in table.itertuples()
    ]
    shown = int((table["low"] > 0).sum())
    part_one = f"happy above fear and disgust on {table['happy_leads'].sum()} of {len(table)} datasets"
    part_two = f"recall rises with training frequency, interval above 0, on {shown} of {len(table)}"
    reason = f"{part_one}; {part_two} (recall happy/fear/disgust, rank correlation: {'; '.join(texts)})"
    evidence = "published/confusion_*.csv, published/class_counts.csv"
    if not table["happy_leads"].all() or (table["high"] < 0).any():
        return Verdict(CONTRADICTED, reason, evidence)
    return Verdict(SUPPORTED if shown == len(table) else INCONCLUSIVE, reason, evidence)


def _shortfall(tables: Tables, dataset: str, protocol: str, runs: list[str]) -> str:
    """Why these runs are not the paper's network on the paper's data; empty if they are."""
    if dataset not in published.TITLES:
        return "not one of the paper's datasets"
    table = table_of(tables, "accuracy", "dataset", "protocol", "run", "model", "initial_weights")
    named = table[table["run"].astype(str).isin(runs)]
    used = named if len(named) else table[(table["dataset"] == dataset) & (table["protocol"] == protocol)]
    if used.empty:
        return "accuracy.csv does not say which network was trained"
    if (used["model"] != "paper").any():
        return "the miniature network"
    if not used["initial_weights"].astype(str).str.startswith(PAPER_WEIGHTS).all():
        return "initial weights other than VGGFace2's"
    return ""


def _by_dataset(
    tables: Tables,
    rows: pd.DataFrame,
    rule: Callable[[pd.DataFrame], tuple[str, str]],
    file: str,
    missing: str,
    only: tuple[str, ...] = tuple(published.TITLES),
) -> Verdict:
    """Apply `rule` to each dataset and protocol; the verdict is theirs if they agree, else inconclusive.

    Only the paper's network on the datasets in `only` counts; what the others say is reported as mechanism.
    """
    if rows.empty:
        return Verdict(NOT_TESTED, missing)
    column = "runs" if "runs" in rows else "run"
    verdicts, texts, mechanism = [], [], []
    for (dataset, protocol), group in rows.groupby(["dataset", "protocol"], sort=True):
        verdict, text = rule(group)
        place = f"{published.TITLES.get(dataset, dataset)}, {protocol} protocol"
        lacking = _shortfall(tables, dataset, protocol, run_names(group[column]) if column in group else [])
        if dataset not in only:
            lacking = lacking or "another dataset than the claim's"
        if lacking:
            mechanism.append((verdict, f"{place} ({lacking}; rule alone: {verdict}): {text}"))
        elif verdict != NOT_TESTED:
            verdicts.append(verdict)
            texts.append(f"{place}: {text}")
        else:
            texts.append(f"{place}: not tested, {text}")
    evidence = cite(file, rows, column)
    if verdicts:
        agreed = verdicts[0] if len(set(verdicts)) == 1 else INCONCLUSIVE
        return Verdict(agreed, "; ".join(texts), evidence)
    said = "; ".join(texts + [text for _, text in mechanism])
    if len(only) == 1 or all(verdict == NOT_TESTED for verdict, _ in mechanism):
        lead = f"{missing}; " if len(only) == 1 else ""  # which dataset would decide
        return Verdict(NOT_TESTED, f"{lead}mechanism only: {said}" if mechanism else said, evidence)
    return Verdict(INCONCLUSIVE, f"mechanism only: {said}", evidence)


def _few_seeds(rows: pd.DataFrame) -> str:
    count = pd.to_numeric(rows["seeds"], errors="coerce").min() if "seeds" in rows else rows["seed"].nunique()
    return "" if count >= MIN_SEEDS else f"{count:.0f} seed(s), {MIN_SEEDS} needed"


def _robustness_rule(rows: pd.DataFrame) -> tuple[str, str]:
    few = _few_seeds(rows)
    if few:
        return NOT_TESTED, few
    outcomes, texts = {}, []
    for variant, group in rows.groupby("variant", sort=True):
        gains, half = int((group["diff_low"] > 0).sum()), len(group) / 2
        refuted = int((group["diff_high"] < PRACTICAL).sum())
        losses = int((group["diff_high"] < 0).sum())
        if gains > half and losses == 0:
            outcomes[variant] = SUPPORTED
        else:
            outcomes[variant] = CONTRADICTED if refuted > half and gains == 0 else INCONCLUSIVE
        mean = group["drop_difference"].mean()
        texts.append(f"{variant} loses {points(mean)} points more than full (clear in {gains}/{len(group)})")
    selection = [outcomes[v] for v in ("no_moe",) if v in outcomes]
    scales = [outcomes[v] for v in ("no_cnn1", "no_cnn2") if v in outcomes]
    text = ", ".join(texts)
    if any(part and set(part) == {CONTRADICTED} for part in (selection, scales)):
        return CONTRADICTED, text
    if not selection or not scales:
        return NOT_TESTED, f"{text}; needs no_moe and one of no_cnn1, no_cnn2"
    return (SUPPORTED if set(outcomes.values()) == {SUPPORTED} else INCONCLUSIVE), text


def robustness(tables: Tables) -> Verdict:
    """C7: is the full network's relative drop under occlusion and lighting smaller than its variants'?

    The full network against no_moe (selection), no_cnn1 and no_cnn2 (scales) and backbone. A comparison is supported
    if most conditions are clearly better for the full network and none clearly worse, contradicted if none is clearly
    better and most exclude a gain of half a point. Both causes must hold; either can fall.
    """
    numbers = ["drop_difference", "diff_low", "diff_high"]
    table = table_of(tables, "robustness", "dataset", "protocol", "variant", "group", "seeds", *numbers, "runs")
    compared = table["variant"].isin(["backbone", "no_moe", "no_cnn1", "no_cnn2"])
    rows = table[table["group"].isin(OCCLUSION_OR_LIGHT) & compared].dropna(subset=numbers)
    missing = "no rows with occlusion or lighting for no_moe, no_cnn1, no_cnn2 or backbone in robustness.csv"
    return _by_dataset(tables, rows, _robustness_rule, "robustness.csv", missing)


def _ablation(tables: Tables, contrast: str) -> pd.DataFrame:
    numbers = ["difference", "ci_low", "ci_high", "p_holm"]
    columns = ("dataset", "protocol", "contrast", "baseline", "alternative", "seeds", *numbers, "runs")
    table = table_of(tables, "ablation", *columns)
    return table[table["contrast"] == contrast].dropna(subset=numbers)


def _effect(row: pd.Series, sign: int = 1) -> tuple[bool, bool, str]:
    """Of sign · (alternative − baseline): clearly positive, `PRACTICAL` excluded, the numbers."""
    low, high = sorted((sign * float(row["ci_low"]), sign * float(row["ci_high"])))
    size = points(sign * float(row["difference"]))
    text = f"{size} points {interval_text(low, high)}, p = {row['p_holm']:.3f}"
    return low > 0 and row["p_holm"] < ALPHA, high < PRACTICAL, text


def _crop_rule(rows: pd.DataFrame) -> tuple[str, str]:
    few = _few_seeds(rows)
    if few:
        return NOT_TESTED, few
    # The table may hold the contrast in either direction; the effect is always what cropping costs.
    results = [_effect(row, -1 if row["baseline"] == WHOLE_IMAGE else 1) for _, row in rows.iterrows()]
    costs, none = all(r[0] for r in results), all(r[1] for r in results)
    text = "cropping costs " + "; ".join(r[2] for r in results)
    return (SUPPORTED if costs else CONTRADICTED if none else INCONCLUSIVE), text


def crop(tables: Tables) -> Verdict:
    """C8: on RAF-DB, does the paper's crop cost accuracy against the whole image?

    RAF-DB only. Supported: the whole image beats the paper's crop, interval above 0 and Holm-corrected p < 0.05.
    Contradicted: the interval excludes a cost of half a point.
    """
    rows = _ablation(tables, "crop")
    first, second = rows["baseline"], rows["alternative"]
    pairs = ((first == WHOLE_IMAGE) & (second == PAPER_CROP)) | ((first == PAPER_CROP) & (second == WHOLE_IMAGE))
    return _by_dataset(tables, rows[pairs], _crop_rule, "ablation.csv", needs("rafdb"), only=("rafdb",))


def _expert_rule(ablation: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, str]:
    few = _few_seeds(rows)
    if few:
        return NOT_TESTED, few
    by_measure = {name: group for name, group in rows.groupby("measure")}
    empty = rows.iloc[:0]
    information = by_measure.get("mutual_information", empty).dropna(subset=["value", "p_value"])
    # Knocking an expert out hurts whatever the gate does; only giving an image another image's gate asks
    # whether the chosen expert was the pertinent one.
    shuffled = by_measure.get("shuffled_gates_drop", empty).dropna(subset=["value", "ci_low", "ci_high"])
    dead = by_measure.get("dead_experts", empty)["value"].dropna()
    random = ablation[
        (ablation["dataset"] == rows["dataset"].iloc[0])
        & (ablation["protocol"] == rows["protocol"].iloc[0])
        & (ablation["baseline"] == "full")
        & (ablation["alternative"] == "random_gate")
    ]
    parts = {
        "mutual_information": len(information),
        "shuffled_gates_drop": len(shuffled),
        "dead_experts": len(dead),
        "full against random_gate": len(random),
    }
    texts, refuted = [], False
    if len(information):
        clear = int((information["p_value"] < ALPHA).sum())
        refuted |= clear == 0
        mean = information["value"].mean()
        texts.append(f"mutual information {mean:.3f}, beyond its null in {clear}/{len(information)}")
    if len(shuffled):
        refuted |= bool((shuffled["ci_high"] < PRACTICAL).all())
        matter = int((shuffled["ci_low"] > 0).sum())
        drop = shuffled["value"].mean()
        texts.append(f"shuffled gates cost {points(drop)} points, clearly in {matter}/{len(shuffled)}")
    if len(dead):
        texts.append(f"{dead.sum():.0f} dead experts in {len(dead)} mixtures")
    gate_helps = False
    for _, row in random.iterrows():
        gate_helps, no_gain, text = _effect(row, -1)
        refuted |= no_gain
        texts.append(f"the trained gate gains {text} on a random one")
    missing = ", ".join(name for name, count in parts.items() if not count)
    text = "; ".join(texts)
    if refuted:
        return CONTRADICTED, text
    if missing:
        return NOT_TESTED, "; ".join(filter(None, [text, f"lacks {missing}"]))
    shown = bool((information["p_value"] < ALPHA).all() and (shuffled["ci_low"] > 0).all())
    return (SUPPORTED if shown and dead.sum() == 0 and gate_helps else INCONCLUSIVE), text


def experts(tables: Tables) -> Verdict:
    """C9: does the gate choose by content, does its choice matter, and is it better than an untrained gate?

    Supported: in every seed and mixture the gates tell more about the class than a permutation null, another image's
    gates cost accuracy and no expert is dead, and the full network beats random_gate. Contradicted: no seed shows
    information, or shuffling or a random gate costs under half a point.
    """
    columns = ["dataset", "protocol", "variant", "seed", "mixture", "measure", "value", "ci_low", "ci_high"]
    table = table_of(tables, "experts", *columns, "p_value", "run")
    # "both" rows change the two mixtures at once: they belong to neither.
    rows = table[(table["variant"] == "full") & (table["mixture"] != "both")]
    ablation = _ablation(tables, "variant")
    missing = "no rows of the full network in experts.csv: run a study with expert measures"
    return _by_dataset(tables, rows, lambda group: _expert_rule(ablation, group), "experts.csv", missing)


def _scales_rule(rows: pd.DataFrame) -> tuple[str, str]:
    few = _few_seeds(rows)
    if few:
        return NOT_TESTED, few
    effects = {row["alternative"]: _effect(row, -1) for _, row in rows.iterrows()}
    text = "; ".join(f"{name.removeprefix('no_')} adds {effect[2]}" for name, effect in effects.items())
    if len(effects) < 2:
        return NOT_TESTED, f"{text}; needs no_cnn1 and no_cnn2"
    helps, useless = all(e[0] for e in effects.values()), all(e[1] for e in effects.values())
    return (SUPPORTED if helps else CONTRADICTED if useless else INCONCLUSIVE), text


def scales(tables: Tables) -> Verdict:
    """C10: does each extractor, large and small kernels, add accuracy to the full network?

    Supported: removing either extractor costs accuracy (interval and Holm-corrected p). Contradicted: removing each
    costs less than half a point.
    """
    rows = _ablation(tables, "variant")
    rows = rows[(rows["baseline"] == "full") & rows["alternative"].isin(["no_cnn1", "no_cnn2"])]
    missing = "no rows full against no_cnn1 and no_cnn2 in ablation.csv: run a study with these variants"
    return _by_dataset(tables, rows, _scales_rule, "ablation.csv", missing)
