"""What decides the claims about parts of the network, C7 to C10: thresholds, and one rule for each claim.

Every one of them compares trainings with trainings: the intervals are those in which seeds and test images are both
drawn (`fermoe.seeds.crossed`), or those over seeds where a measure has one value per training. Two trainings of one
network often differ at p < 0.05 over images alone, which therefore decide nothing here.

Differences in the table "ablation" are alternative − baseline; in "robustness_means", the variant's drop − the
full network's, so that positive favours the full network. Verdicts are about accuracy, the paper's measure; balanced
accuracy and macro-F1 stand beside it in every reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pandas as pd

from fermoe import seeds
from fermoe.paper.rules import ALPHA
from fermoe.paper.verdicts import (
    CONTRADICTED,
    INCONCLUSIVE,
    MIN_SEEDS,
    NOT_TESTED,
    PAPER_CROP,
    SUPPORTED,
    WHOLE_IMAGE,
    Tables,
    Verdict,
    by_setting,
    cite,
    few_seeds,
    interval_text,
    needs,
    of_each,
    one_each,
    own_test_crop,
    p_text,
    points,
    run_names,
    table_of,
    test_images,
)

PRACTICAL = 0.005
"""Half a point of accuracy: below it a component makes no difference worth its cost."""

OCCLUSION_OR_LIGHT = ("occlusion", "light")
"""The groups of perturbations that C7 is about; the camera's (blur, noise, compression, rotation) are not."""

NETWORKS = {
    "backbone": "the ResNet alone",
    "no_moe": "the network without mixtures",
    "no_cnn1": "the network without extractor 1 and its mixture",
    "no_cnn2": "the network without extractor 2",
}
"""What reasons call the networks that the whole one is compared with."""

MIXTURES = {"cnn": "on extractor 1", "expression": "on the fusion"}
"""What reasons call a mixture of experts, by what it mixes."""

DROPS = {"absolute": "absolute", "corrected": "of what is above chance", "relative": "relative"}
"""The three ways to count a loss of accuracy (`fermoe.evidence.robustness`), and what reasons call them."""

MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}
SETTING = ("dataset", "protocol", "variant", "crop", "test_crop", "pipeline", "twins")
_NUMBERS = ["difference", "crossed_low", "crossed_high", "p_crossed_holm"]


def _ablation(tables: Tables, contrast: str) -> pd.DataFrame:
    columns = (*SETTING, "contrast", "baseline", "alternative", "seeds", "measure", *_NUMBERS, "runs")
    table = table_of(tables, "ablation", *columns)
    rows = table[(table["contrast"] == contrast) & table["measure"].isin(MEASURES)]
    return one_each(rows, [*SETTING, "baseline", "alternative", "measure"], "ablation.csv")


def _effect(rows: pd.DataFrame, sign: int = 1) -> tuple[bool, bool, str]:
    """Of sign · (alternative − baseline) in accuracy: clearly positive, `PRACTICAL` excluded, and all the numbers.

    `rows` are those of one comparison, one per measure.
    """
    by_measure, texts = rows.set_index("measure"), []
    for measure, name in MEASURES.items():
        if measure in by_measure.index:
            row = by_measure.loc[measure]
            low, high = sorted((sign * float(row["crossed_low"]), sign * float(row["crossed_high"])))
            texts.append(f"{points(sign * float(row['difference']))} {interval_text(low, high)} in {name}")
    row = by_measure.loc["accuracy"]
    low, high = sorted((sign * float(row["crossed_low"]), sign * float(row["crossed_high"])))
    text = f"{', '.join(texts)} (points), {p_text(row['p_crossed_holm'])}"
    return low > 0 and row["p_crossed_holm"] < ALPHA, high < PRACTICAL, text


def _in_accuracy(rows: pd.DataFrame) -> bool:
    return bool((rows["measure"] == "accuracy").any() and rows[_NUMBERS].notna().all(axis=None))


# --- C7: occlusion and light ------------------------------------------------------------------------------


def _robustness_rule(tables: Tables, rows: pd.DataFrame) -> tuple[str, str]:
    if few := few_seeds(rows):
        return NOT_TESTED, few
    outcomes, texts = {}, []
    for variant, group in rows.groupby("variant", sort=True):
        drop = group.set_index("drop")
        fair = drop.reindex(["absolute", "corrected"])  # NaN where a training is at chance: nothing above it to lose
        clear = (fair["crossed_low"] > 0) & (fair["p_crossed_holm"] < ALPHA)
        none = fair["crossed_high"] < PRACTICAL
        outcomes[variant] = SUPPORTED if clear.all() else CONTRADICTED if none.all() else INCONCLUSIVE
        numbers = [
            f"{points(drop.at[kind, 'difference'])} "
            f"{interval_text(drop.at[kind, 'crossed_low'], drop.at[kind, 'crossed_high'])} {name}"
            for kind, name in DROPS.items()
            if kind in drop.index and math.isfinite(drop.at[kind, "crossed_low"])
        ]
        unknown = "" if fair["crossed_low"].notna().all() else ", of which a training is at chance level"
        texts.append(f"{NETWORKS[str(variant)]} loses {', '.join(numbers)} more than the whole (points){unknown}")
    text = "; ".join([*texts, of_each(rows["seeds"])])
    seen, all_images = int(rows["images"].min()), test_images(tables, run_names(rows["runs"]))
    selection = [outcomes[v] for v in ("no_moe",) if v in outcomes]
    scales = [outcomes[v] for v in ("no_cnn1", "no_cnn2") if v in outcomes]
    if seen < all_images:
        return NOT_TESTED, f"{text}; on {seen} of {all_images} test images, all are needed"
    if any(part and set(part) == {CONTRADICTED} for part in (selection, scales)):
        return CONTRADICTED, text
    if not selection or not scales:
        return NOT_TESTED, f"{text}; needs {NETWORKS['no_moe']} and one without an extractor"
    return (SUPPORTED if set(outcomes.values()) == {SUPPORTED} else INCONCLUSIVE), text


def robustness(tables: Tables) -> Verdict:
    """C7: does the full network lose less accuracy under occlusion and lighting than its variants?

    The full network against no_moe (selection), no_cnn1 and no_cnn2 (scales) and backbone, on all test images, in the
    mean loss over all conditions of occlusion and lighting, seeds and images both drawn. The loss is counted in points
    and as a share of what the network has above chance; a share of the whole accuracy, which counts against the
    better network, stands beside them and decides nothing. A comparison is supported if the variant loses clearly more
    by both (interval above 0, Holm-corrected p < 0.05), contradicted if both exclude that it loses half a point
    more. Both causes, selection and scales, must hold; either can fall.
    """
    setting = [name for name in SETTING if name not in ("variant", "test_crop")]
    numbers = [*_NUMBERS, "images"]
    table = table_of(tables, "robustness_means", *setting, "variant", "drop", "seeds", *numbers, "runs")
    compared = table["variant"].isin([*NETWORKS])
    rows = table[compared & table["difference"].notna()]
    one_each(rows, [*setting, "variant", "drop"], "robustness_means.csv")
    missing = (
        "no study of occlusion and light on these data: robustness_means.csv has no rows of networks without a part"
    )
    rule = partial(_robustness_rule, tables)
    return by_setting(tables, rows, rule, setting, "robustness_means.csv", missing)


# --- C8: cropping -------------------------------------------------------------------------------------------


def _crop_rule(rows: pd.DataFrame) -> tuple[str, str]:
    if few := few_seeds(rows):
        return NOT_TESTED, few
    if not _in_accuracy(rows):
        return NOT_TESTED, "a difference without an interval"
    # The table may hold the contrast in either direction; the effect is always what cropping costs.
    costs, none, text = _effect(rows, -1 if rows["baseline"].iloc[0] == WHOLE_IMAGE else 1)
    return (SUPPORTED if costs else CONTRADICTED if none else INCONCLUSIVE), f"cropping costs {text}"


def crop(tables: Tables) -> Verdict:
    """C8: on RAF-DB, does the paper's crop cost accuracy against the whole image?

    RAF-DB only, at least three seeds. Supported: the whole image beats the paper's crop, the interval in which seeds
    and images are drawn lies above 0, and Holm-corrected p < 0.05. Contradicted: that interval excludes a cost of half
    a point. The measure is accuracy.
    """
    rows = _ablation(tables, "crop")
    first, second = rows["baseline"], rows["alternative"]
    pairs = ((first == WHOLE_IMAGE) & (second == PAPER_CROP)) | ((first == PAPER_CROP) & (second == WHOLE_IMAGE))
    setting = [name for name in SETTING if name not in ("crop", "test_crop")]
    one_each(rows[pairs], [*setting, "measure"], "ablation.csv")  # nor the two directions of one contrast
    return by_setting(tables, rows[pairs], _crop_rule, setting, "ablation.csv", needs("rafdb"), only=("rafdb",))


# --- C9: the experts ----------------------------------------------------------------------------------------


def _over_seeds(rows: pd.DataFrame, null: pd.DataFrame | None = None) -> Mapping[str, seeds.Effect]:
    """By mixture: the mean over seeds of a measure, or of its difference to `null`'s, with its interval over seeds."""
    found = {}
    for mixture, group in rows.groupby("mixture", sort=True):
        if null is None:
            mean, low, high = seeds.mean_over_seeds(group["value"])
            found[str(mixture)] = seeds.Effect(mean, low, high, float("nan"), float("nan"), float("nan"))
        elif len(other := null.loc[null["mixture"] == mixture, "value"]):
            found[str(mixture)] = seeds.welch(other, group["value"])
    return found


def _text(effects: Mapping[str, seeds.Effect], scale: float = 1, digits: int = 3) -> str:
    texts = []
    for mixture, effect in effects.items():
        interval = f" {interval_text(effect.low, effect.high, scale, digits)}" if _known(effect) else ""
        texts.append(f"{points(effect.value, scale, digits)}{interval} ({MIXTURES.get(mixture, mixture)})")
    return ", ".join(texts)


def _known(effect: seeds.Effect) -> bool:
    """Whether there are seeds enough for an interval."""
    return math.isfinite(effect.low)


UNTRAINED_GATES = {
    "frozen_gate": "a frozen gate that chooses by the picture too",
    "hash_gate": "routing by a hash of the picture",
}
"""The gates that learn nothing: one that looks at the features, and one that is blind to what a picture shows."""


def _beyond_linear(full: pd.DataFrame) -> Mapping[str, seeds.Effect]:
    """By mixture: what the gate tells about the class beyond random linear gates on the same features, over seeds."""
    wide = full.pivot_table(index=["mixture", "seed"], columns="measure", values="value", aggfunc="first")
    if not {"mutual_information", "random_gate_information"} <= set(wide):
        return {}
    more = (wide["mutual_information"] - wide["random_gate_information"]).dropna().rename("value").reset_index()
    found = _over_seeds(more)
    return found if found and all(map(_known, found.values())) else {}


_GATES_SETTING = ["dataset", "protocol", "crop", "pipeline", "twins"]
"""What no two trainings may differ in to be taken together for C9."""


def _beside_untrained(ablation: pd.DataFrame, setting: pd.Series) -> pd.DataFrame:
    """The rows of ablation.csv in which the full network stands beside untrained gates in this setting."""
    here = (ablation["baseline"] == "full") & ablation["alternative"].isin(UNTRAINED_GATES)
    for name in _GATES_SETTING:
        here &= ablation[name] == setting[name]
    # Experts are measured where a network is tested as its protocol says; so is the comparison with an untrained gate.
    own = own_test_crop(setting["dataset"], setting["protocol"], setting["crop"])
    return ablation[here & (ablation["test_crop"] == own)]


def _expert_rule(tables: Tables, ablation: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, str]:
    full = rows[rows["variant"] == "full"]
    if few := few_seeds(full):
        return NOT_TESTED, few
    of = {name: group.dropna(subset=["value"]) for name, group in full.groupby("measure")}
    empty = rows.iloc[:0]
    untrained = rows[(rows["variant"] == "frozen_gate") & (rows["measure"] == "mutual_information")]
    information = _over_seeds(of.get("mutual_information", empty), untrained)
    shuffled = of.get("shuffled_gates_drop", empty)
    drops, dead = _over_seeds(shuffled), of.get("dead_experts", empty)["value"]
    gates = dict(iter(_beside_untrained(ablation, full.iloc[0]).groupby("alternative")))
    gate = gates.get("frozen_gate", ablation.iloc[:0])
    against = f"{MIN_SEEDS} seeds of full against frozen_gate in ablation.csv"
    parts: dict[str, bool] = {
        f"mutual_information of {MIN_SEEDS} seeds of frozen_gate": bool(information)
        and all(map(_known, information.values())),
        "shuffled_gates_drop": bool(drops),
        "dead_experts": len(dead) > 0,
        against: len(gate) > 0 and _in_accuracy(gate),
    }
    texts: list[str] = []
    beside: list[float] = []
    refuted, shown = False, True
    if information:
        shown &= all(e.low > 0 for e in information.values())
        refuted |= all(e.high < 0 for e in information.values())
        texts.append(f"gates tell more about the class than untrained ones by {_text(information)}")
    if beyond := _beyond_linear(full):
        shown &= all(e.low > 0 for e in beyond.values())
        refuted |= all(e.high < 0 for e in beyond.values())
        texts.append(f"than random linear gates on the same features by {_text(beyond)}")
    if drops:
        shown &= all(e.low > 0 for e in drops.values())
        refuted |= all(e.high < PRACTICAL for e in drops.values())
        texts.append(f"shuffled gates cost {_text(drops, 100, 2)} points of accuracy")
    if len(dead):
        shown &= float(dead.sum()) == 0
        texts.append(f"{dead.sum():.0f} experts hardly ever chosen in {len(dead)} mixtures")
    for name, what in UNTRAINED_GATES.items():
        if name in gates and _in_accuracy(gates[name]):
            helps, no_gain, text = _effect(gates[name], -1)
            shown &= helps
            refuted |= no_gain
            texts.append(f"beside {what} the trained gate gains {text}")
            beside += gates[name]["seeds"].tolist()
    text = "; ".join([*texts, of_each([*beside, full["seed"].nunique()])] if beside else texts)
    seen, all_images = (
        int(shuffled["images"].min()) if len(shuffled) else 0,
        test_images(tables, run_names(full["run"])),
    )
    if seen < all_images and drops:
        return NOT_TESTED, f"{text}; gates were shuffled on {seen} of {all_images} test images, all are needed"
    if refuted:
        return CONTRADICTED, text
    if missing := ", ".join(name for name, there in parts.items() if not there):
        return NOT_TESTED, "; ".join(filter(None, [text, f"lacks {missing}"]))
    return (SUPPORTED if shown else INCONCLUSIVE), text


def experts(tables: Tables) -> Verdict:
    """C9: does the gate choose by content, does its choice matter, and is it better than an untrained gate?

    Each dataset, protocol, crop, input pipeline and way with twins by itself, at least three seeds, all test images.
    "By content" has two nulls: the gates of frozen_gate, whose features learn to be routed by it, and random linear
    gates on the full network's own features. Supported: in both mixtures the gates tell more about the class than
    either (intervals over seeds above 0) and another image's gates cost accuracy (interval over seeds above 0), no
    expert is dead, and the full network beats frozen_gate, and hash_gate where it was trained, in accuracy (interval
    over seeds and images, Holm-corrected p < 0.05). Contradicted, by any one of these alone: the gates tell less than
    one of the two nulls in both mixtures, another image's gates exclude a cost of half a point in both, or what the
    trained gate gains over the frozen one, or over routing by a hash, has its interval below half a point. A frozen
    gate too chooses by what a picture shows: that part asks whether a gate must learn.
    """
    setting = _GATES_SETTING
    columns = [*setting, "variant", "seed", "mixture", "measure", "value", "images", "run"]
    table = table_of(tables, "experts", *columns)
    per_run = table["measure"].isin(
        ["mutual_information", "random_gate_information", "shuffled_gates_drop", "dead_experts"]
    )
    # "both" rows change the two mixtures at once: they belong to neither.
    rows = table[table["variant"].isin(["full", "frozen_gate"]) & (table["mixture"] != "both") & per_run]
    one_each(rows, [*setting, "variant", "seed", "mixture", "measure"], "experts.csv")
    rows = rows[rows.groupby(setting, dropna=False)["variant"].transform(lambda names: (names == "full").any())]
    missing = "no rows of the full network in experts.csv: run a study with expert measures"
    ablation = _ablation(tables, "variant")
    found = by_setting(tables, rows, partial(_expert_rule, tables, ablation), setting, "experts.csv", missing)
    if found.verdict == NOT_TESTED:
        return found
    beside = pd.concat([_beside_untrained(ablation, row) for _, row in rows.drop_duplicates(setting).iterrows()])
    if beside.empty:
        return found
    return replace(found, evidence=f"{cite('ablation.csv', beside, 'runs')}; {found.evidence}")


# --- C10: the scales ------------------------------------------------------------------------------------------


EXTRACTORS = {"no_cnn1": "extractor 1 with its mixture", "no_cnn2": "extractor 2"}
"""What the variant lacks, in words."""


def _scales_rule(rows: pd.DataFrame) -> tuple[str, str]:
    if few := few_seeds(rows):
        return NOT_TESTED, few
    if not all(_in_accuracy(group) for _, group in rows.groupby("alternative")):
        return NOT_TESTED, "a difference without an interval"
    effects = {EXTRACTORS[str(name)]: _effect(group, -1) for name, group in rows.groupby("alternative")}
    adds = [f"{name} adds {effect[2]}" for name, effect in effects.items()]
    text = "; ".join([*adds, of_each(rows["seeds"])])
    useless = [name for name, effect in effects.items() if effect[1]]
    if useless:
        return CONTRADICTED, f"falls with {' and '.join(useless)}: {text}"
    if len(effects) < 2:
        return NOT_TESTED, f"{text}; needs no_cnn1 and no_cnn2"
    return (SUPPORTED if all(e[0] for e in effects.values()) else INCONCLUSIVE), text


def scales(tables: Tables) -> Verdict:
    """C10: does each extractor, large and small kernels, add accuracy to the full network?

    At least three seeds. Extractor 1 is removed with its mixture. Supported: removing either extractor costs accuracy
    (the interval in which seeds and images are drawn, and Holm-corrected p < 0.05). Contradicted: for one of them that
    interval excludes a gain of half a point; the reason says for which. The measure is accuracy.
    """
    rows = _ablation(tables, "variant")
    rows = rows[(rows["baseline"] == "full") & rows["alternative"].isin(EXTRACTORS)]
    missing = "no rows full against no_cnn1 and no_cnn2 in ablation.csv: run a study with these variants"
    setting = [name for name in SETTING if name != "variant"]
    return by_setting(tables, rows, _scales_rule, setting, "ablation.csv", missing)
