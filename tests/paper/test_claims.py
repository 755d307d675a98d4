"""Each rule decides made-up tables as its sentence says, and never crashes or invents on what is missing."""

import numpy as np
import pandas as pd
import pytest

from fermoe import stats
from fermoe.data.perturbations import PERTURBATIONS
from fermoe.paper import published
from fermoe.paper.claims import CLAIMS, claims_table
from fermoe.paper.rules import CONTRADICTED, INCONCLUSIVE, MIN_SEEDS, NOT_TESTED, PAPER_CROP, SUPPORTED, WHOLE_IMAGE

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
            "pipeline": "bgr_unit",
            "seed": range(len(values)),
            "split": "test",
            "accuracy": values,
            "run": [f"run{i}" for i in range(len(values))],
            "model": model,
            "initial_weights": weights,
        }
    )
    return table.assign(**changes)


def ablation(contrast, rows, dataset="rafdb", seeds=MIN_SEEDS):
    """Rows of (baseline, alternative, difference, low, high, p_holm)."""
    names = ["baseline", "alternative", "difference", "ci_low", "ci_high", "p_holm"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(dataset=dataset, protocol="published", contrast=contrast, seeds=seeds, runs="run0 run1 run2")


REAL = accuracy([0.84, 0.84, 0.84])
"""What says that run0…run2 are the paper's network on RAF-DB."""


def test_there_are_eleven_claims_with_a_rule_in_words_and_in_code():
    assert [claim.id for claim in CLAIMS] == [f"C{i}" for i in range(1, 12)]
    assert all(claim.sentence and claim.rule and claim.where and claim.evidence for claim in CLAIMS)


def test_without_tables_only_what_the_published_figures_decide_is_decided():
    table = claims_table({})
    assert list(table.columns) == ["claim", "sentence", "verdict", "reason", "evidence"]
    decided = table[table["verdict"] != NOT_TESTED].set_index("claim")["verdict"].to_dict()
    assert decided == {"C5": CONTRADICTED, "C6": INCONCLUSIVE}
    reasons = table.set_index("claim")["reason"]
    assert reasons["C3"] == "needs RAF-DB: fermoe study rafdb --set root=DIR"
    assert "fermoe study rafdb" in reasons["C8"]


@pytest.mark.parametrize("name", ["accuracy", "ablation", "experts", "robustness"])
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
    assert verdict("C3", accuracy=accuracy(good, weights="random"))[0] == INCONCLUSIVE
    others = [
        {"dataset": "synthetic"},
        {"protocol": "audited"},
        {"variant": "backbone"},
        {"split": "validation"},
        {"pipeline": "imagenet"},
        {"crop": WHOLE_IMAGE},
    ]
    for changes in others:
        result, reason = verdict("C3", accuracy=accuracy(good, **changes))
        assert result == NOT_TESTED
        assert reason.endswith("needs RAF-DB: fermoe study rafdb --set root=DIR")


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
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], SUPPORTED),
        ([0.3, 0.2, 0.8, 0.4, 0.5, 0.6, 0.2, 0.3, 0.9], INCONCLUSIVE),  # happy leads, no correlation shown
        ([0.5, 0.9, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], CONTRADICTED),  # happy does not lead fear
        ([0.8, 0.7, 0.69, 0.6, 0.5, 0.4, 0.3, 0.2, 0.9], INCONCLUSIVE),
    ],
)
def test_imbalance_needs_the_order_and_the_correlation(monkeypatch, recall, expected):
    recalls(monkeypatch, recall)
    assert verdict("C6")[0] == expected


def test_imbalance_reports_both_parts_with_their_numbers():
    reason = verdict("C6")[1]
    assert reason.startswith("happy above fear and disgust on 4 of 4 datasets; ")
    assert "on 0 of 4" in reason
    assert "FER-2013 84/29/36 %, rho 0.64" in reason


def robustness(intervals, seeds=MIN_SEEDS, dataset="rafdb", perturbations=("occluded eyes", "brightness", "gamma")):
    """Three conditions per variant, all with the variant's interval of drop_difference."""
    rows = [
        (
            dataset,
            "published",
            variant,
            PERTURBATIONS[name].group,
            name,
            1,
            seeds,
            sum(ends) / 2,
            *ends,
            "run0 run1 run2",
        )
        for variant, ends in intervals.items()
        for name in perturbations
    ]  # fmt: skip
    names = ["dataset", "protocol", "variant", "group", "perturbation", "severity", "seeds"]
    return pd.DataFrame(rows, columns=[*names, "drop_difference", "diff_low", "diff_high", "runs"])


BETTER, SAME, UNSURE = (0.01, 0.03), (-0.003, 0.004), (-0.02, 0.03)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ({"no_moe": BETTER, "no_cnn1": BETTER, "no_cnn2": BETTER, "backbone": BETTER}, SUPPORTED),
        ({"no_moe": SAME, "no_cnn1": BETTER, "backbone": BETTER}, CONTRADICTED),  # selection falls
        ({"no_moe": BETTER, "no_cnn1": SAME, "no_cnn2": SAME}, CONTRADICTED),  # scales fall
        ({"no_moe": BETTER, "no_cnn1": SAME, "no_cnn2": BETTER}, INCONCLUSIVE),
        ({"no_moe": UNSURE, "no_cnn1": UNSURE}, INCONCLUSIVE),
        ({"no_moe": BETTER}, NOT_TESTED),
    ],
)
def test_robustness_needs_selection_and_scales(intervals, expected):
    assert verdict("C7", accuracy=REAL, robustness=robustness(intervals))[0] == expected


def test_robustness_looks_at_occlusion_and_light_only():
    table = robustness({"no_moe": BETTER, "no_cnn1": BETTER}, perturbations=("blur", "JPEG"))
    assert verdict("C7", accuracy=REAL, robustness=table)[0] == NOT_TESTED


def test_robustness_with_one_seed_or_undefined_intervals_is_not_tested():
    both = {"no_moe": BETTER, "no_cnn1": BETTER}
    assert verdict("C7", accuracy=REAL, robustness=robustness(both, seeds=1))[0] == NOT_TESTED
    table = robustness(both).assign(diff_low=np.nan)
    assert verdict("C7", accuracy=REAL, robustness=table)[0] == NOT_TESTED


def test_synthetic_images_show_a_mechanism_and_never_more():
    table = robustness({"no_moe": BETTER, "no_cnn1": BETTER}, dataset="synthetic")
    result, reason = verdict("C7", robustness=table)
    assert result == INCONCLUSIVE
    assert reason.startswith("mechanism only: synthetic")
    assert "rule alone: supported" in reason


def test_the_miniature_network_and_random_weights_show_a_mechanism_and_never_more():
    table = robustness({"no_moe": BETTER, "no_cnn1": BETTER})
    for change in ({"model": "miniature"}, {"initial_weights": "random"}):
        assert verdict("C7", accuracy=REAL.assign(**change), robustness=table)[0] == INCONCLUSIVE
    assert verdict("C7", robustness=table)[0] == INCONCLUSIVE


def test_datasets_that_disagree_are_inconclusive():
    intervals = {"no_moe": BETTER, "no_cnn1": BETTER}
    against = robustness({"no_moe": SAME, "no_cnn1": SAME}, dataset="fer2013").assign(runs="run9")
    both = pd.concat([robustness(intervals), against])
    runs = pd.concat([REAL, accuracy([0.6], dataset="fer2013").assign(run="run9")])
    assert verdict("C7", accuracy=runs, robustness=both)[0] == INCONCLUSIVE


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
    assert verdict("C8", accuracy=REAL, ablation=ablation("crop", [row]))[0] == expected


def test_cropping_on_another_dataset_leaves_rafdb_untested_and_reports_the_mechanism():
    table = ablation("crop", [(CROP, WHOLE, 0.03, 0.02, 0.04, 0.001)], dataset="fer2013")
    result, reason = verdict("C8", accuracy=accuracy([0.6] * 3, dataset="fer2013"), ablation=table)
    assert result == NOT_TESTED
    assert "needs RAF-DB" in reason
    assert "+3.00 points [2.00, 4.00]" in reason


def experts(information=0.001, shuffled=(0.02, 0.04), dead=0, seeds=SEEDS, dataset="rafdb"):
    """The full network's two mixtures: p of the mutual information, shuffled gates' drop, dead experts."""
    rows = []
    for seed in seeds:
        for mixture in ("cnn", "expression"):
            rows.append((seed, mixture, "mutual_information", 0.3, np.nan, np.nan, information))
            rows.append((seed, mixture, "shuffled_gates_drop", sum(shuffled) / 2, *shuffled, np.nan))
            rows.append((seed, mixture, "dead_experts", dead, np.nan, np.nan, np.nan))
    names = ["seed", "mixture", "measure", "value", "ci_low", "ci_high", "p_value"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(dataset=dataset, protocol="published", variant="full", run="run0")


GATE_HELPS = ablation("variant", [("full", "random_gate", -0.02, -0.03, -0.01, 0.01)])
GATE_IDLE = ablation("variant", [("full", "random_gate", 0.0, -0.004, 0.004, 1.0)])


@pytest.mark.parametrize(
    ("table", "gate", "expected"),
    [
        (experts(), GATE_HELPS, SUPPORTED),
        (experts(dead=1), GATE_HELPS, INCONCLUSIVE),
        (experts(information=0.4), GATE_HELPS, CONTRADICTED),
        (experts(shuffled=(-0.002, 0.003)), GATE_HELPS, CONTRADICTED),
        (experts(), GATE_IDLE, CONTRADICTED),
        (experts(shuffled=(-0.01, 0.03)), GATE_HELPS, INCONCLUSIVE),
        (experts(), None, NOT_TESTED),
        (experts(seeds=[0]), GATE_HELPS, NOT_TESTED),
    ],
)
def test_expert_choice_needs_information_consequence_and_a_gate_better_than_random(table, gate, expected):
    tables = {"accuracy": REAL, "experts": table} | ({} if gate is None else {"ablation": gate})
    assert verdict("C9", **tables)[0] == expected


@pytest.mark.parametrize(
    ("without_cnn1", "without_cnn2", "expected"),
    [
        ((-0.02, -0.03, -0.01, 0.01), (-0.02, -0.03, -0.01, 0.01), SUPPORTED),
        ((0.0, -0.004, 0.004, 1.0), (0.001, -0.003, 0.005, 1.0), CONTRADICTED),
        ((-0.02, -0.03, -0.01, 0.01), (0.0, -0.004, 0.004, 1.0), INCONCLUSIVE),
        ((-0.02, -0.03, -0.01, 0.01), None, NOT_TESTED),
    ],
)
def test_scales_need_both_extractors_to_add_accuracy(without_cnn1, without_cnn2, expected):
    rows = [("full", "no_cnn1", *without_cnn1)]
    rows += [("full", "no_cnn2", *without_cnn2)] if without_cnn2 else []
    assert verdict("C10", accuracy=REAL, ablation=ablation("variant", rows))[0] == expected


def test_future_work_has_nothing_to_test():
    assert verdict("C11", accuracy=REAL) == (
        NOT_TESTED,
        "states plans, no result: there is nothing to test",
    )
