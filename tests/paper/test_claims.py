"""Each rule decides made-up tables as its sentence says, and never crashes or invents on what is missing."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fermoe import stats
from fermoe.paper import published
from fermoe.paper.claims import CLAIMS, claims_table
from fermoe.paper.rules import PAPER_SETTINGS
from fermoe.paper.verdicts import (
    CONTRADICTED,
    INCONCLUSIVE,
    MIN_SEEDS,
    NOT_TESTED,
    PAPER_CROP,
    PAPER_NETWORK,
    PUBLISHED_FIGURES,
    SCALE_MODEL,
    SUPPORTED,
    WHOLE_IMAGE,
)
from tests.helpers.trees import refused

SEEDS = range(MIN_SEEDS)


def verdict(claim, **tables):
    row = claims_table(tables).set_index("claim").loc[claim]
    return row["verdict"], row["reason"]


def accuracy(values, dataset="rafdb", model="paper", weights="vggface2:weights.h5", **changes):
    """Runs of the full network, one per value and seed."""
    table = pd.DataFrame(
        {
            "dataset": dataset,
            "protocol": "published",
            "variant": "full",
            "crop": PAPER_CROP,
            "test_crop": WHOLE_IMAGE if dataset == "fer2013" else PAPER_CROP,
            "pipeline": "bgr_unit",
            "images": 3000,
            "seed": range(len(values)),
            "split": "test",
            "accuracy": values,
            "run": [f"run{i}" for i in range(len(values))],
            "model": model,
            "initial_weights": weights,
        }
    )
    return table.assign(**PAPER_SETTINGS | changes)


SETTING = {"variant": "", "crop": PAPER_CROP, "test_crop": PAPER_CROP, "pipeline": "bgr_unit", "twins": "kept"}


def ablation(contrast, rows, dataset="rafdb", seeds=MIN_SEEDS, measure="accuracy", **changes):
    """Rows of (baseline, alternative, difference, low, high, p_holm), the latter three over seeds and images."""
    names = ["baseline", "alternative", "difference", "crossed_low", "crossed_high", "p_crossed_holm"]
    table = pd.DataFrame(rows, columns=names).assign(**SETTING | changes)
    table = table.assign(dataset=dataset, protocol="published", contrast=contrast, seeds=seeds, runs="run0 run1 run2")
    return table.assign(measure=measure, ci_low=-1.0, ci_high=1.0, p_holm=0.001)  # over images alone: never read


NEEDS_RAFDB = (
    "needs RAF-DB and the paper's network from VGGFace2 weights: fermoe study rafdb --set root=DIR with the "
    "settings that the head of notebooks/studies/rafdb.yaml names"
)
REAL = accuracy([0.84, 0.84, 0.84])
"""What says that run0…run2 are the paper's network on RAF-DB."""


def test_there_are_eleven_claims_with_a_rule_in_words_and_in_code():
    assert [claim.id for claim in CLAIMS] == [f"C{i}" for i in range(1, 12)]
    assert all(claim.sentence and claim.rule and claim.where and claim.evidence for claim in CLAIMS)


def test_without_tables_only_what_the_published_figures_decide_is_decided():
    table = claims_table({})
    assert list(table.columns) == [
        "claim",
        "sentence",
        "verdict",
        "reason",
        "evidence",
        "rule",
        "changed_after_results",
        "scope",
    ]
    decided = table[table["verdict"] != NOT_TESTED].set_index("claim")["verdict"].to_dict()
    assert decided == {"C5": CONTRADICTED, "C6": INCONCLUSIVE}
    reasons = table.set_index("claim")["reason"]
    assert reasons["C3"] == NEEDS_RAFDB
    assert "fermoe study rafdb" in reasons["C8"]


@pytest.mark.parametrize("name", ["accuracy", "ablation", "experts", "robustness_means"])
def test_empty_or_foreign_tables_are_as_good_as_none(name):
    expected = claims_table({})
    for table in (pd.DataFrame(), pd.DataFrame({"x": [1]}), pd.DataFrame(columns=["dataset", "accuracy"])):
        pd.testing.assert_frame_equal(claims_table({name: table}), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.840, 0.845, 0.842], SUPPORTED),  # the interval contains 84.29
        ([0.900, 0.901, 0.902], SUPPORTED),  # it lies above
        ([0.780, 0.781, 0.782], CONTRADICTED),  # it ends more than two points below
        ([0.830, 0.831, 0.832], INCONCLUSIVE),  # it ends below, within the margin
        ([0.60, 0.84, 0.95], INCONCLUSIVE),  # it contains the number only because it is wide
        ([0.84, 0.84], NOT_TESTED),
        ([0.84], NOT_TESTED),
        ([np.nan] * 3, NOT_TESTED),
    ],
)
def test_an_accuracy_is_decided_by_the_interval_over_seeds(values, expected):
    assert verdict("C3", accuracy=accuracy(values))[0] == expected


def test_the_reason_of_an_accuracy_holds_students_interval():
    values = [0.840, 0.845, 0.842]
    _, low, high = stats.mean_interval(values)
    reason = verdict("C3", accuracy=accuracy(values))[1]
    assert reason == f"3 seeds give 84.23 % [{100 * low:.2f}, {100 * high:.2f}]; published 84.29 %"


def test_an_accuracy_cites_its_runs():
    row = claims_table({"accuracy": REAL}).set_index("claim").loc["C3"]
    assert row["evidence"] == "accuracy.csv (3 rows; runs run0, run1, run2)"


def test_other_runs_do_not_decide_an_accuracy():
    good = [0.84, 0.845, 0.842]
    assert verdict("C3", accuracy=accuracy(good, model="miniature"))[0] == NOT_TESTED
    assert verdict("C3", accuracy=accuracy(good, weights="random")) == (
        NOT_TESTED,
        "the ResNet started from random weights, not VGGFace2's (3 runs, mean 84.23 %)",
    )
    others = [
        {"dataset": "synthetic"},
        {"protocol": "audited"},
        {"variant": "backbone"},
        {"split": "validation"},
        {"pipeline": "imagenet"},
        {"crop": WHOLE_IMAGE},
        {"test_crop": WHOLE_IMAGE},
    ]
    for changes in others:
        result, reason = verdict("C3", accuracy=accuracy(good, **changes))
        assert result == NOT_TESTED
        assert reason.endswith(NEEDS_RAFDB)


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 3e-4), ("batch_size", 16), ("epochs", 4), ("decay", 1)])
def test_an_accuracy_needs_the_papers_training_settings(name, value):
    good = [0.84, 0.845, 0.842]
    result, reason = verdict("C3", accuracy=accuracy(good, **{name: value}))
    assert result == NOT_TESTED
    assert f"{name} {value:g}, not {PAPER_SETTINGS[name]:g}" in reason
    mixed = pd.concat([accuracy(good), accuracy(good, **{name: value}).assign(accuracy=0.2)])
    assert verdict("C3", accuracy=mixed)[0] == SUPPORTED  # the others decide nothing
    assert verdict("C3", accuracy=accuracy(good).drop(columns=name))[0] == NOT_TESTED


def test_two_results_of_one_seed_are_an_error_and_not_a_mean():
    twice = pd.concat([accuracy([0.84, 0.845, 0.842]), accuracy([0.2])])
    with refused("conflicting rows", "seed 0", "accuracy.csv"):
        claims_table({"accuracy": twice})


def neighbours_at(monkeypatch, accuracy, same=True):
    """Replace every neighbour's accuracy, and say whether AffectNet's test images are the paper's."""
    table = published.neighbours()
    table["accuracy"] = accuracy
    table["same_test_images"] |= same
    monkeypatch.setattr(published, "neighbours", lambda: table)


def test_competitive_falls_with_the_papers_own_backbone():
    result, reason = verdict("C5")
    assert result == CONTRADICTED
    assert "84.29 %" in reason
    assert "88.75 %" in reason
    assert "AffectNet: undecided" in reason


def test_competitive_needs_the_same_test_images_to_be_supported(monkeypatch):
    neighbours_at(monkeypatch, 0.6)
    assert verdict("C5")[0] == SUPPORTED


def test_competitive_stays_open_on_other_test_images(monkeypatch):
    neighbours_at(monkeypatch, 0.6, same=False)
    assert verdict("C5")[0] == INCONCLUSIVE


def recalls(monkeypatch, recall):
    """Published classes with these recalls, 1,000 test images each, in ascending order of frequency."""
    names = ["disgust", "fear", "a", "b", "c", "d", "e", "f", "happy"]
    table = pd.DataFrame(
        {
            "label": names,
            "train_images": range(100, 1000, 100),
            "test_images": 1000,
            "correct": [int(1000 * r) for r in recall],
            "recall": recall,
        }
    )
    monkeypatch.setattr(published, "recall_and_frequency", lambda dataset: table)


@pytest.mark.parametrize(
    ("recall", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], INCONCLUSIVE),  # frequency shows no cause
        ([0.3, 0.2, 0.8, 0.4, 0.5, 0.6, 0.2, 0.3, 0.9], INCONCLUSIVE),  # happy leads, no correlation shown
        ([0.5, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], CONTRADICTED),  # happy does not lead fear
        ([0.8, 0.7, 0.69, 0.6, 0.5, 0.4, 0.3, 0.2, 0.9], INCONCLUSIVE),
    ],
)
def test_imbalance_needs_the_order_and_the_correlation(monkeypatch, recall, expected):
    recalls(monkeypatch, recall)
    assert verdict("C6")[0] == expected


def test_imbalance_reports_its_parts_with_their_numbers():
    reason = verdict("C6")[1]
    assert reason.startswith("happy above fear and disgust on 4 of 4 datasets; ")
    assert "the cause was not tested here: fermoe study fer2013-imbalance" in reason
    assert "FER-2013 84/29/36 %, rho 0.64" in reason


def shares(
    fear: tuple[float, float], disgust: tuple[float, float], half: tuple[float, float], dataset: str = "fer2013"
):
    """imbalance.csv: with equal shares the change of either gap (interval), and what is left beyond half of it."""
    rows = [
        (dataset, "equal", f"gap_{name}", 5, 0.4 + sum(ends) / 2, 0.4, *ends, 0.001 if ends[1] < 0 else 0.5, *half)
        for name, ends in (("fear", fear), ("disgust", disgust))
    ]
    numbers = ["value", "baseline_value", "crossed_low", "crossed_high", "p_crossed_holm", "half_low", "half_high"]
    table = pd.DataFrame(rows, columns=["dataset", "composition", "measure", "seeds", *numbers])
    setting = {"protocol": "audited", "variant": "full", "crop": CROP, "pipeline": "imagenet", "twins": "apart"}
    return table.assign(runs="run0 run1 run2", precision="float32", **setting)


CLOSES, STAYS = (-0.35, -0.25), (-0.05, 0.05)


@pytest.mark.parametrize(
    ("fear", "disgust", "half", "expected"),
    [
        (CLOSES, CLOSES, (-0.2, -0.1), SUPPORTED),
        (STAYS, STAYS, (0.1, 0.2), CONTRADICTED),  # more than half is left
        (CLOSES, CLOSES, (-0.1, 0.1), INCONCLUSIVE),
        (STAYS, CLOSES, (-0.2, -0.1), INCONCLUSIVE),  # one gap has not clearly shrunk
    ],
)
def test_equal_shares_decide_whether_imbalance_is_the_reason(fear, disgust, half, expected):
    table = shares(fear, disgust, half)
    assert verdict("C6", imbalance=table)[0] == expected
    assert scope("C6", imbalance=table) == SCALE_MODEL
    assert "with equal shares the gap of happy goes to fear 40.0 →" in verdict("C6", imbalance=table)[1]
    left = "more than half is left over fear and disgust" in verdict("C6", imbalance=table)[1]
    assert left == (expected == CONTRADICTED)
    drawn = shares(fear, disgust, half, dataset="synthetic")
    assert (verdict("C6", imbalance=drawn)[0], scope("C6", imbalance=drawn)) == (INCONCLUSIVE, PUBLISHED_FIGURES)


def test_trainings_on_other_shares_of_the_classes_decide_the_cause_and_no_published_number():
    mixed = accuracy([0.5, 0.5, 0.5]).assign(dataset="fer2013", model="miniature", composition="equal")
    reason = verdict("C6", imbalance=shares(CLOSES, CLOSES, (-0.2, -0.1)), accuracy=mixed)[1]
    assert "(5 seeds of each, the miniature network)" in reason
    uneven = shares(CLOSES, CLOSES, (-0.2, -0.1))
    uneven = pd.concat([uneven, uneven.assign(composition="proportional", seeds=3)])
    assert "(3 to 5 seeds of each, the miniature network)" in verdict("C6", imbalance=uneven, accuracy=mixed)[1]
    stuck = uneven.assign(collapsed=1, rest_value=0.3, rest_half_low=0.05, rest_half_high=0.1)
    found = verdict("C6", imbalance=stuck, accuracy=mixed)
    assert found[0] == SUPPORTED  # judged by all trainings
    assert "1 of the trainings with equal shares collapsed, without which (the rule asks for all) the lead" in found[1]
    assert "30.0 points over fear, beyond half of the former [5.0, 10.0] and 30.0 points over disgust" in found[1]
    none_left = stuck.assign(rest_value=math.nan, rest_half_low=math.nan, rest_half_high=math.nan)
    found = verdict("C6", imbalance=none_left, accuracy=mixed)
    assert "1 of the trainings with equal shares collapsed (recall happy/fear/disgust" in found[1]
    assert "network was trained" not in verdict("C4", accuracy=mixed)[1]


def test_the_cause_is_read_from_the_full_network_and_needs_both_gaps():
    closed, open_ = shares(CLOSES, CLOSES, (-0.2, -0.1)), shares(STAYS, STAYS, (0.1, 0.2))
    others = [open_.assign(variant="backbone"), open_.assign(precision="bfloat16"), open_.assign(protocol="published")]
    assert verdict("C6", imbalance=pd.concat([*others, closed])) == verdict("C6", imbalance=closed)
    others = [open_.assign(crop="masked"), open_.assign(crop=WHOLE), open_.assign(pipeline="bgr_unit+augment")]
    assert verdict("C6", imbalance=pd.concat([*others, closed])) == verdict("C6", imbalance=closed)
    assert verdict("C6", imbalance=closed.assign(twins=math.nan))[0] == SUPPORTED
    assert verdict("C6", imbalance=closed[closed["measure"] == "gap_fear"])[0] == INCONCLUSIVE
    papers = accuracy([0.5, 0.5, 0.5]).assign(dataset="fer2013")
    assert scope("C6", imbalance=closed, accuracy=papers) == PAPER_NETWORK
    with refused("conflicting rows", "imbalance.csv"):
        verdict("C6", imbalance=pd.concat([closed, open_]))


def test_recall_and_frequency_are_compared_within_each_dataset():
    found = published.pooled_correlation()
    each = [
        scipy.stats.spearmanr(table["recall"], table["train_images"]).statistic
        for table in map(published.recall_and_frequency, published.TITLES)
    ]
    assert found.rho == pytest.approx(np.mean(each))
    assert found.p_value < 0.05 < published.pooled_correlation(without="happy").p_value


def robustness(intervals, seeds=MIN_SEEDS, dataset="rafdb", images=3000, drops=("absolute", "corrected"), **changes):
    """The mean loss under occlusion and light: each variant's interval, the same for both ways to count."""
    rows = [
        (dataset, "published", variant, drop, seeds, sum(ends) / 2, *ends, 0.001 if ends[0] > 0 else 1.0)
        for variant, ends in intervals.items()
        for drop in drops
    ]
    numbers = ["difference", "crossed_low", "crossed_high", "p_crossed_holm"]
    table = pd.DataFrame(rows, columns=["dataset", "protocol", "variant", "drop", "seeds", *numbers])
    setting = {"crop": PAPER_CROP, "pipeline": "bgr_unit", "twins": "kept"}
    return table.assign(**setting | changes, images=images, runs="run0 run1 run2")


BETTER, SAME, UNSURE = (0.01, 0.03), (-0.003, 0.004), (-0.02, 0.03)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ({"no_moe": BETTER, "no_cnn1": BETTER, "no_cnn2": BETTER, "backbone": BETTER}, SUPPORTED),
        ({"no_moe": SAME, "no_cnn1": BETTER, "backbone": BETTER}, CONTRADICTED),  # selection falls
        ({"no_moe": BETTER, "no_cnn1": SAME, "no_cnn2": SAME}, CONTRADICTED),  # scales fall
        ({"no_moe": BETTER, "no_cnn1": SAME, "no_cnn2": BETTER}, INCONCLUSIVE),
        ({"no_moe": UNSURE, "no_cnn1": UNSURE}, INCONCLUSIVE),
        ({"no_moe": (-0.2, 0.15), "no_cnn1": (-0.2, 0.15)}, INCONCLUSIVE),
        ({"no_moe": BETTER}, NOT_TESTED),
    ],
)
def test_robustness_needs_selection_and_scales(intervals, expected):
    assert verdict("C7", accuracy=REAL, robustness_means=robustness(intervals))[0] == expected


def test_robustness_is_decided_by_points_and_by_what_is_above_chance_and_not_by_the_relative_loss():
    both = {"no_moe": BETTER, "no_cnn1": BETTER}
    table = robustness(both)
    relative = robustness(dict.fromkeys(both, SAME), drops=("relative",))
    assert verdict("C7", accuracy=REAL, robustness_means=pd.concat([table, relative]))[0] == SUPPORTED
    one_way = pd.concat(
        [robustness(both, drops=("absolute",)), robustness(dict.fromkeys(both, SAME), drops=("corrected",))]
    )
    assert verdict("C7", accuracy=REAL, robustness_means=one_way)[0] == INCONCLUSIVE


def test_robustness_on_a_part_of_the_test_images_is_not_tested():
    table = robustness({"no_moe": BETTER, "no_cnn1": BETTER}, images=600)
    result, reason = verdict("C7", accuracy=REAL, robustness_means=table)
    assert result == NOT_TESTED
    assert "on 600 of 3000 test images" in reason


def test_robustness_with_one_seed_or_undefined_intervals_is_not_tested():
    both = {"no_moe": BETTER, "no_cnn1": BETTER}
    assert verdict("C7", accuracy=REAL, robustness_means=robustness(both, seeds=1))[0] == NOT_TESTED
    assert verdict("C7", accuracy=REAL, robustness_means=robustness(both).assign(difference=np.nan))[0] == NOT_TESTED


DRAWN = accuracy([0.9] * 3, dataset="synthetic")


def test_drawn_faces_leave_a_claim_untested_and_report_the_mechanism():
    table = robustness({"no_moe": BETTER, "no_cnn1": BETTER}, dataset="synthetic")
    result, reason = verdict("C7", accuracy=DRAWN, robustness_means=table)
    assert result == NOT_TESTED
    assert reason.startswith("mechanism only: synthetic")
    assert "rule alone: supported" in reason
    rows = [("full", "no_cnn1", -0.02, -0.03, -0.01, 0.01), ("full", "no_cnn2", -0.02, -0.03, -0.01, 0.01)]
    result, reason = verdict("C10", accuracy=DRAWN, ablation=ablation("variant", rows, dataset="synthetic"))
    assert (result, "rule alone: supported" in reason) == (NOT_TESTED, True)
    tables = {"experts": experts(dataset="synthetic"), "ablation": GATE_HELPS.assign(dataset="synthetic")}
    result, reason = verdict("C9", accuracy=DRAWN, **tables)
    assert (result, "rule alone: supported" in reason) == (NOT_TESTED, True)


def scope(claim: str, **tables: pd.DataFrame) -> str:
    return str(claims_table(tables).set_index("claim").at[claim, "scope"])


def test_a_scale_model_decides_how_the_network_works_and_the_verdict_says_so():
    table = robustness({"no_moe": BETTER, "no_cnn1": BETTER})
    assert scope("C7", accuracy=REAL, robustness_means=table) == PAPER_NETWORK
    for change in ({"model": "miniature"}, {"initial_weights": "random"}):
        tables = {"accuracy": REAL.assign(**change), "robustness_means": table}
        found, reason = verdict("C7", **tables)
        assert (found, scope("C7", **tables)) == (SUPPORTED, SCALE_MODEL)
        assert reason.startswith("on a scale model: RAF-DB")
    assert scope("C7", robustness_means=table) == SCALE_MODEL  # nothing says which network it was
    assert scope("C7", accuracy=DRAWN, robustness_means=robustness({"no_moe": BETTER}, dataset="synthetic")) == ""


def test_a_scale_model_is_silent_where_the_papers_network_was_trained():
    better, same = (dict.fromkeys(("no_moe", "no_cnn1"), ends) for ends in (BETTER, SAME))
    small = robustness(same, dataset="fer2013").assign(runs="run9")
    runs = pd.concat([REAL, accuracy([0.6], dataset="fer2013").assign(run="run9", model="miniature")])
    tables = {"accuracy": runs, "robustness_means": pd.concat([robustness(better), small])}
    assert (verdict("C7", **tables)[0], scope("C7", **tables)) == (SUPPORTED, PAPER_NETWORK)


def test_other_precisions_and_compositions_decide_no_claim():
    table = robustness({"no_moe": BETTER, "no_cnn1": BETTER}).assign(precision="float32", composition="as_given")
    assert verdict("C7", accuracy=REAL, robustness_means=table)[0] == SUPPORTED
    for change in ({"precision": "bfloat16"}, {"composition": "equal"}):
        assert verdict("C7", accuracy=REAL, robustness_means=table.assign(**change))[0] == NOT_TESTED


def test_settings_that_disagree_are_inconclusive_and_never_pooled():
    better, same = (dict.fromkeys(("no_moe", "no_cnn1"), ends) for ends in (BETTER, SAME))
    against = robustness(same, dataset="fer2013").assign(runs="run9")
    runs = pd.concat([REAL, accuracy([0.6], dataset="fer2013").assign(run="run9")])
    assert verdict("C7", accuracy=runs, robustness_means=pd.concat([robustness(better), against]))[0] == INCONCLUSIVE
    for change in ({"pipeline": "vggface2"}, {"twins": "apart"}, {"crop": WHOLE_IMAGE}):
        both = pd.concat([robustness(better), robustness(same, **change)])
        assert verdict("C7", accuracy=REAL, robustness_means=both)[0] == INCONCLUSIVE


CROP, WHOLE = PAPER_CROP, WHOLE_IMAGE


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((CROP, WHOLE, 0.03, 0.02, 0.04, 0.001), SUPPORTED),
        ((WHOLE, CROP, -0.03, -0.04, -0.02, 0.001), SUPPORTED),  # the same, told the other way round
        ((CROP, WHOLE, -0.03, -0.04, -0.02, 0.001), CONTRADICTED),
        ((CROP, WHOLE, 0.0, -0.004, 0.004, 1.0), CONTRADICTED),  # a cost of half a point is excluded
        ((CROP, WHOLE, 0.01, -0.01, 0.03, 0.3), INCONCLUSIVE),
        ((CROP, WHOLE, 0.03, 0.001, 0.06, 0.06), INCONCLUSIVE),  # not after Holm
        ((CROP, WHOLE, np.nan, np.nan, np.nan, np.nan), NOT_TESTED),
    ],
)
def test_cropping_is_decided_on_rafdb(row, expected):
    table = ablation("crop", [row], crop="", test_crop="", variant="full")
    assert verdict("C8", accuracy=REAL, ablation=table)[0] == expected


@pytest.mark.parametrize("row", [(CROP, WHOLE, 0.03, -0.20, 0.15, 1.0), (CROP, WHOLE, -0.03, -0.20, 0.15, 1.0)])
def test_seeds_that_scatter_over_35_points_decide_nothing_however_sure_the_images_are(row):
    table = ablation("crop", [row]).assign(ci_low=0.02, ci_high=0.04, p_holm=0.001)
    assert verdict("C8", accuracy=REAL, ablation=table)[0] == INCONCLUSIVE


def test_every_measure_stands_in_the_reason_and_accuracy_decides():
    row = (CROP, WHOLE, 0.03, 0.02, 0.04, 0.001)
    others = [
        ablation("crop", [(CROP, WHOLE, 0.0, -0.01, 0.01, 1.0)], measure=m) for m in ("balanced_accuracy", "macro_f1")
    ]
    result, reason = verdict("C8", accuracy=REAL, ablation=pd.concat([ablation("crop", [row]), *others]))
    assert result == SUPPORTED
    assert "+3.00 [2.00, 4.00] in accuracy, +0.00 [−1.00, 1.00] in balanced accuracy, +0.00" in reason
    assert "in macro-F1" in reason


def test_two_answers_to_one_question_are_an_error_and_not_the_last_one():
    rows = [(CROP, WHOLE, 0.03, 0.02, 0.04, 0.001), (CROP, WHOLE, -0.03, -0.04, -0.02, 0.001)]
    for table in (ablation("crop", rows), ablation("crop", [rows[0], (WHOLE, CROP, *rows[0][2:])])):
        with refused("conflicting rows", "ablation.csv"):
            claims_table({"accuracy": REAL, "ablation": table})
    with refused("conflicting rows", "experts.csv"):
        claims_table({"accuracy": REAL, "experts": pd.concat([experts(), experts(information=0.1)])})
    with refused("conflicting rows", "robustness_means.csv"):
        claims_table({"robustness_means": pd.concat([robustness({"no_moe": SAME}), robustness({"no_moe": BETTER})])})


def test_cropping_on_another_dataset_leaves_rafdb_untested_and_reports_the_mechanism():
    table = ablation("crop", [(CROP, WHOLE, 0.03, 0.02, 0.04, 0.001)], dataset="fer2013")
    result, reason = verdict("C8", accuracy=accuracy([0.6] * 3, dataset="fer2013"), ablation=table)
    assert result == NOT_TESTED
    assert "needs RAF-DB" in reason
    assert "+3.00 [2.00, 4.00] in accuracy" in reason


def experts(
    information=0.2,
    shuffled=0.03,
    dead=0,
    seeds=SEEDS,
    dataset="rafdb",
    images=3000,
    untrained=True,
    linear=None,
    **changes,
):
    """Two mixtures: the full network's information beyond frozen_gate's, shuffled gates' drop, dead experts."""
    rows = []
    for seed in seeds:
        luck = 0.002 * (seed - 1)
        for mixture in ("cnn", "expression"):
            rows.append((seed, "full", mixture, "mutual_information", 0.1 + information + luck))
            rows.append((seed, "full", mixture, "shuffled_gates_drop", shuffled + luck))
            rows.append((seed, "full", mixture, "dead_experts", dead))
            rows += [] if linear is None else [(seed, "full", mixture, "random_gate_information", linear)]
            rows += [(seed, "frozen_gate", mixture, "mutual_information", 0.1 - luck)] if untrained else []
    table = pd.DataFrame(rows, columns=["seed", "variant", "mixture", "measure", "value"])
    setting = {"crop": PAPER_CROP, "pipeline": "bgr_unit", "twins": "kept"} | changes
    return table.assign(dataset=dataset, protocol="published", images=images, run="run0", **setting)


GATE_HELPS = ablation("variant", [("full", "frozen_gate", -0.02, -0.03, -0.01, 0.01)])
HASH_IDLE = ablation("variant", [("full", "hash_gate", 0.0, -0.004, 0.004, 1.0)])
GATE_IDLE = ablation("variant", [("full", "frozen_gate", 0.0, -0.004, 0.004, 1.0)])


@pytest.mark.parametrize(
    ("table", "gate", "expected"),
    [
        (experts(), GATE_HELPS, SUPPORTED),
        (experts(dead=1), GATE_HELPS, INCONCLUSIVE),
        (experts(information=0.0), GATE_HELPS, INCONCLUSIVE),  # an untrained gate follows the features as well
        (experts(information=-0.05), GATE_HELPS, CONTRADICTED),
        (experts(shuffled=-0.004), GATE_HELPS, CONTRADICTED),
        (experts(shuffled=0.003), GATE_HELPS, INCONCLUSIVE),
        (experts(), GATE_IDLE, CONTRADICTED),
        (experts(linear=0.2), GATE_HELPS, SUPPORTED),
        (experts(linear=0.3), GATE_HELPS, INCONCLUSIVE),  # random linear gates on the same features tell as much
        (experts(linear=0.4), GATE_HELPS, CONTRADICTED),
        (experts(), pd.concat([GATE_HELPS, HASH_IDLE]), CONTRADICTED),  # routing blindly does as well
        (experts(), None, NOT_TESTED),
        (experts(untrained=False), GATE_HELPS, NOT_TESTED),
        (experts(images=1000), GATE_HELPS, NOT_TESTED),
        (experts(seeds=[0]), GATE_HELPS, NOT_TESTED),
    ],
)
def test_expert_choice_needs_information_consequence_and_a_gate_better_than_random(table, gate, expected):
    tables = {"accuracy": REAL, "experts": table} | ({} if gate is None else {"ablation": gate})
    assert verdict("C9", **tables)[0] == expected


def test_an_untrained_gate_of_two_seeds_is_no_null_and_its_missing_interval_is_not_printed():
    table = experts()
    table = table[(table["variant"] == "full") | (table["seed"] < 2)]
    result, reason = verdict("C9", accuracy=REAL, experts=table, ablation=GATE_HELPS)
    assert result == NOT_TESTED
    assert "lacks mutual_information of 3 seeds of frozen_gate" in reason
    assert "nan" not in reason


def test_experts_of_different_input_pipelines_are_not_pooled():
    other = experts(shuffled=-0.01, pipeline="vggface2")
    gates = pd.concat([GATE_HELPS, GATE_HELPS.assign(pipeline="vggface2")])
    result, reason = verdict("C9", accuracy=REAL, experts=pd.concat([experts(), other]), ablation=gates)
    assert result == INCONCLUSIVE
    assert "RAF-DB, published protocol, pixels as bgr_unit" in reason
    assert "RAF-DB, published protocol, pixels as vggface2" in reason


@pytest.mark.parametrize(
    ("without_cnn1", "without_cnn2", "expected"),
    [
        ((-0.02, -0.03, -0.01, 0.01), (-0.02, -0.03, -0.01, 0.01), SUPPORTED),
        ((0.0, -0.004, 0.004, 1.0), (0.001, -0.003, 0.005, 1.0), CONTRADICTED),
        ((-0.02, -0.03, -0.01, 0.01), (0.0, -0.004, 0.004, 1.0), CONTRADICTED),  # it falls with either
        ((-0.02, -0.03, -0.01, 0.01), (-0.01, -0.03, 0.01, 0.3), INCONCLUSIVE),
        ((-0.02, -0.03, -0.01, 0.01), None, NOT_TESTED),
    ],
)
def test_scales_need_both_extractors_to_add_accuracy(without_cnn1, without_cnn2, expected):
    rows = [("full", "no_cnn1", *without_cnn1)]
    rows += [("full", "no_cnn2", *without_cnn2)] if without_cnn2 else []
    result, reason = verdict("C10", accuracy=REAL, ablation=ablation("variant", rows))
    assert result == expected
    if expected == CONTRADICTED:
        assert ("falls with extractor 2:" in reason) == (without_cnn1[0] < 0)


def test_rules_say_their_version_and_date_and_what_was_changed_after_results():
    table = claims_table({}).set_index("claim")
    assert table["rule"].str.fullmatch(r"version \d+, \d{4}-\d\d-\d\d").all()
    changed = table["changed_after_results"] != ""
    assert set(table.index[~changed]) == {"C5", "C11"}
    assert table.loc[changed, "rule"].str.match("version [23]").all()
    assert table.loc[~changed, "rule"].str.startswith("version 1").all()


def test_future_work_has_nothing_to_test():
    assert verdict("C11", accuracy=REAL) == (
        NOT_TESTED,
        "states plans, no result: there is nothing to test",
    )
