"""Hand-made gates with known values; loops, scikit-learn and brute force; the table of small trained runs."""

import dataclasses
import itertools
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score

from fermoe.errors import UserError
from fermoe.evidence.experts import (
    COLUMNS,
    NOTEBOOK,
    PER_RUN,
    TABLE,
    against,
    class_shares,
    expert_table,
    gated_runs,
    measure,
    over_seeds,
    saturation,
    seed_agreement,
)
from fermoe.evidence.gates import (
    agreement,
    chosen,
    class_by_expert,
    dead_experts,
    gate_entropy,
    gate_margin,
    gate_rows,
    importance,
    load_imbalance,
    mutual_information,
    mutual_information_test,
    peak_load,
    top_k_load,
)
from fermoe.files import write_csv
from fermoe.paper import part_rules
from fermoe.stats import wilson_interval
from fermoe.study.tables import read_tables, rebuild_tables
from fermoe.training.config import TrainConfig
from fermoe.training.predictions import gates_of, read_predictions
from fermoe.training.runs import FinishedRun, finished_runs, write_result
from fermoe.training.train import train
from tests.helpers.runs import make_run
from tests.helpers.trees import refused

# Toy sets lack some class, and evaluation says so.
pytestmark = pytest.mark.filterwarnings("ignore:no test images of class")

LABELS = np.repeat([0, 1, 2, 3], [10, 20, 30, 40])
ONE_EXPERT = np.tile([0.0, 0.0, 1.0, 0.0], (100, 1))
UNIFORM = np.full((100, 4), 0.25)
BY_CLASS = 0.7 * np.eye(4)[LABELS] + 0.3 * np.eye(4)[(LABELS + 1) % 4]
"""The first choice is the class, the second the next class."""


ASKED = ("random_gate_information", "expert_similarity")
BY_EPOCH = ("first_epoch_entropy", "first_epoch_saturated", "last_epoch_entropy", "last_epoch_saturated")


def random_gates(images=200, experts=4, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(experts), images)


# --- known values ----------------------------------------------------------------------------------------


def test_all_load_on_one_expert():
    assert top_k_load(ONE_EXPERT, 1).tolist() == [0, 0, 1, 0]
    assert importance(ONE_EXPERT).tolist() == [0, 0, 1, 0]
    assert (gate_entropy(ONE_EXPERT) == 0).all()
    assert (gate_margin(ONE_EXPERT) == 1).all()
    assert load_imbalance(top_k_load(ONE_EXPERT, 1)) == 3  # experts − 1
    assert peak_load(top_k_load(ONE_EXPERT, 1)) == 4
    assert dead_experts(ONE_EXPERT, k=1) == 3
    assert mutual_information(LABELS, ONE_EXPERT.argmax(1)) == 0
    assert class_by_expert(ONE_EXPERT, LABELS, 4).tolist() == [[0, 0, 1, 0]] * 4


def test_uniform_gates_favour_no_expert():
    for k in (1, 2, 3, 4):
        assert top_k_load(UNIFORM, k).tolist() == [k / 4] * 4
    assert importance(UNIFORM).tolist() == [0.25] * 4
    assert gate_entropy(UNIFORM) == pytest.approx(1)
    assert (gate_margin(UNIFORM) == 0).all()
    assert load_imbalance(top_k_load(UNIFORM, 2)) == 0
    assert peak_load(top_k_load(UNIFORM, 2)) == 1
    assert dead_experts(UNIFORM) == 0
    assert (class_by_expert(UNIFORM, LABELS, 4) == 0.25).all()


def test_gates_that_follow_the_class():
    share = np.array([0.1, 0.2, 0.3, 0.4])
    assert top_k_load(BY_CLASS, 1) == pytest.approx(share)
    assert top_k_load(BY_CLASS, 2) == pytest.approx(share + np.roll(share, 1))
    assert importance(BY_CLASS) == pytest.approx(0.7 * share + 0.3 * np.roll(share, 1))
    assert gate_margin(BY_CLASS) == pytest.approx(0.4)
    bits = -(0.7 * math.log2(0.7) + 0.3 * math.log2(0.3))
    assert gate_entropy(BY_CLASS) == pytest.approx(bits / 2)  # base 4 is half of base 2
    assert class_by_expert(BY_CLASS, LABELS, 4).tolist() == np.eye(4).tolist()
    entropy = -(share * np.log2(share)).sum()
    assert mutual_information(LABELS, BY_CLASS.argmax(1)) == pytest.approx(entropy)
    test = mutual_information_test(LABELS, BY_CLASS.argmax(1), np.random.default_rng(0), 99)
    assert test.p_value == 0.01
    assert test.null_mean < test.null_high < entropy == pytest.approx(test.value)


def test_two_experts_for_everything_are_as_uneven_as_top_two_can_be():
    gates = np.tile([0.6, 0.4, 0, 0], (9, 1))
    assert load_imbalance(top_k_load(gates, 2)) == 1  # experts / 2 − 1
    assert peak_load(top_k_load(gates, 2)) == 2
    assert dead_experts(gates) == 2


def test_an_expert_is_dead_below_one_image_in_a_hundred():
    gates = np.tile([0.6, 0.4, 0, 0], (1000, 1))
    gates[:10] = [0.6, 0, 0.4, 0]
    gates[10:19] = [0.6, 0, 0, 0.4]
    assert top_k_load(gates, 2).tolist() == [1, 0.981, 0.01, 0.009]
    assert dead_experts(gates) == 1


# --- against something independent -----------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 4])
def test_load_equals_a_loop(k):
    gates = random_gates()
    counts = np.zeros(4)
    for row in gates:
        for expert in sorted(range(4), key=lambda e: -row[e])[:k]:
            counts[expert] += 1
    assert top_k_load(gates, k) == pytest.approx(counts / len(gates))


def test_equal_gates_share_the_places_left():
    gates = [[0.999998, 1e-6, 1e-6, 0], [0.4, 0.2, 0.2, 0.2], [0.5, 0.5, 0, 0]]
    expected = [[1, 0.5, 0.5, 0], [1, 1 / 3, 1 / 3, 1 / 3], [1, 1, 0, 0]]
    assert chosen(gates, 2) == pytest.approx(np.array(expected))


def test_class_by_expert_equals_a_loop():
    gates = random_gates(100)
    shares = class_by_expert(gates, LABELS, 5)
    for label, expert in itertools.product(range(4), range(4)):
        first = [row.argmax() == expert for row, truth in zip(gates, LABELS, strict=True) if truth == label]
        assert shares[label, expert] == pytest.approx(np.mean(first))
    assert np.isnan(shares[4]).all()


def test_mutual_information_equals_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 300)
    choice = np.where(rng.random(300) < 0.5, labels % 4, rng.integers(0, 4, 300))
    assert mutual_information(labels, choice) == pytest.approx(mutual_info_score(labels, choice) / math.log(2))


def test_independent_choices_carry_no_information():
    labels, choice = np.divmod(np.arange(28), 4)
    assert mutual_information(labels, choice) == pytest.approx(0)


def test_the_null_equals_that_of_permuted_labels():
    rng = np.random.default_rng(1)
    labels, choice = rng.integers(0, 7, 150), rng.choice(4, 150, p=[0.6, 0.3, 0.08, 0.02])
    test = mutual_information_test(labels, choice, rng, 4000)
    permuted = [mutual_info_score(rng.permutation(labels), choice) / math.log(2) for _ in range(400)]
    error = np.std(permuted) * math.sqrt(1 / 4000 + 1 / 400)
    assert test.null_mean == pytest.approx(np.mean(permuted), abs=4 * error)
    assert test.null_high == pytest.approx(np.quantile(permuted, 0.95), rel=0.1)


def test_p_values_without_information_are_uniform():
    rng = np.random.default_rng(2)
    tests = (rng.integers(0, 4, (2, 60)) for _ in range(300))
    p = np.array([mutual_information_test(*pair, rng, 99).p_value for pair in tests])
    assert 0.02 < (p <= 0.05).mean() < 0.09
    assert 0.42 < (p <= 0.5).mean() < 0.58


def test_experts_under_other_numbers_agree():
    choice = BY_CLASS.argmax(1)
    renamed = np.array([2, 0, 3, 1])[choice]
    assert agreement(choice, renamed)[:2] == pytest.approx((1, 1))


def test_unrelated_gates_agree_by_chance_only():
    first, second = np.random.default_rng(0).choice(4, (2, 5000), p=[0.7, 0.1, 0.1, 0.1])
    found = agreement(first, second)
    assert found.adjusted_information == pytest.approx(0, abs=0.005)
    assert found.matched_by_chance == pytest.approx(0.7**2 + 3 * 0.1**2, abs=0.02)
    assert found.matched == pytest.approx(found.matched_by_chance, abs=0.02)


def test_matching_equals_trying_every_correspondence():
    rng = np.random.default_rng(3)
    first = rng.integers(0, 4, 200)
    second = np.where(rng.random(200) < 0.6, 3 - first, rng.integers(0, 4, 200))
    best = max(np.mean(np.array(names)[first] == second) for names in itertools.permutations(range(4)))
    assert agreement(first, second).matched == pytest.approx(best)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: importance(UNIFORM.T), "softmax"),
        (lambda: importance(np.array([[1.5, -0.5]])), "softmax"),
        (lambda: importance(np.ones(4)), "images, experts"),
        (lambda: importance(np.empty((0, 4))), "images, experts"),
        (lambda: importance(np.ones((3, 1))), "at least two experts"),
        (lambda: top_k_load(UNIFORM, 5), "k must lie"),
        (lambda: class_by_expert(UNIFORM, LABELS[:5], 4), "labels must be"),
        (lambda: mutual_information(LABELS, LABELS[:5]), "same images"),
    ],
)
def test_wrong_shapes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_rows_of_hand_made_gates():
    rows = pd.DataFrame(gate_rows(BY_CLASS, LABELS, np.random.default_rng(0), 99)).set_index("measure")
    load = np.array([0.5, 0.3, 0.5, 0.7])  # of a class and the one before it
    assert rows.loc["top2_load", "value"].tolist() == pytest.approx(load.tolist())
    assert rows.loc["top2_load", "expert"].tolist() == [0, 1, 2, 3]
    assert rows.loc["top1_load", ["ci_low", "ci_high"]].iloc[0].tolist() == list(wilson_interval(10, 100))
    assert rows.at["load_imbalance", "value"] == pytest.approx(load.var() / 0.25)
    assert rows.at["peak_load", "value"] == pytest.approx(1.4)
    assert rows.at["dead_experts", "value"] == 0
    assert rows.at["gate_margin", "value"] == pytest.approx(0.4)
    assert rows.at["mutual_information", "p_value"] == 0.01
    assert rows.at["mutual_information_null", "value"] < rows.at["mutual_information_null", "ci_high"]
    mean = rows.loc["importance", ["value", "ci_low", "ci_high"]].iloc[1].tolist()
    half = 1.984217 * np.std(BY_CLASS[:, 1], ddof=1) / 10  # t of 99 degrees of freedom
    assert mean == pytest.approx([0.17, 0.17 - half, 0.17 + half])


# --- over runs -------------------------------------------------------------------------------------------

SHORT = {"dataset_options": {"train": 48, "test": 16}, "epochs": 1, "batch_size": 16, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two seeds of the full network and one of the balanced gate, each trained for a moment."""
    folder = tmp_path_factory.mktemp("study")
    for values in ({}, {"seed": 1}, {"variant": "balanced_gate"}):
        config = TrainConfig(**SHORT, **values)
        train(config, folder / "runs" / config.run_id, progress=False)
    return folder


def like(run, **parameters):
    """A run that differs in its parameters alone."""
    return FinishedRun(run.directory, {**run.result, "parameters": {**run.result["parameters"], **parameters}})


@pytest.fixture(scope="module")
def answers(study):
    return measure(finished_runs(study), images=12)


@pytest.fixture(scope="module")
def table(study, answers):
    return expert_table(finished_runs(study), answers, permutations=50)


def test_the_table_has_every_measure_of_every_gated_run(study, table):
    assert list(table.columns) == list(COLUMNS)
    kept = table.drop_duplicates("run")[["variant", "crop", "seed"]].to_numpy().tolist()
    assert kept == [["balanced_gate", "none", 0], ["full", "none", 0], ["full", "none", 1]]
    per_expert = {"top1_load", "top2_load", "importance", "knock_out_drop", "forced_drop"}
    for (_, mixture), rows in table.groupby(["run", "mixture"]):
        counts = rows["measure"].value_counts().to_dict()
        if mixture == "both":
            measures = ("unchanged_accuracy", "shuffled_gates_drop", "uniform_gates_drop", "coupling")
            assert counts == dict.fromkeys(measures, 1)
            continue
        names = {*PER_RUN, "mutual_information_null", *per_expert, *ASKED, *BY_EPOCH}
        assert counts == {name: 4 if name in per_expert else 1 for name in names}
        experts = rows[rows["measure"].isin(per_expert)].groupby("measure")["expert"].apply(list)
        assert (experts.apply(lambda numbers: numbers == [0, 1, 2, 3])).all()
    asked = table["measure"].str.endswith(("_drop", "accuracy")) | table["measure"].isin(ASKED)
    by_epoch = table["measure"].isin(BY_EPOCH)
    assert (table.loc[asked, "images"] == 12).all()
    assert (table.loc[by_epoch, "images"] == 5).all()  # a tenth of 48, for validation
    assert (table.loc[~asked & ~by_epoch, "images"] == 16).all()


def test_gates_by_epoch_are_those_of_the_validation_images(study, table):
    run = next(run for run in finished_runs(study) if run.config.variant == "full" and run.config.seed == 0)
    epochs = saturation(run)
    last = gates_of(read_predictions(run.directory / "validation.csv"))
    assert sorted(set(epochs["epoch"])) == list(range(1, run.result["epochs_run"] + 1))
    kept = epochs[epochs["epoch"] == run.result["best_epoch"]].set_index("mixture")
    for mixture, gates in last.items():
        assert kept.at[mixture, "entropy"] == pytest.approx(gate_entropy(gates).mean(), abs=0.01)  # in 255ths
        assert kept.at[mixture, "saturated"] == (gates.max(axis=1) > 0.99).mean()


def test_coupling_is_the_agreement_of_the_two_mixtures(study, table):
    for run in finished_runs(study):
        cnn, expression = (gates.argmax(axis=1) for gates in gates_of(run.predictions).values())
        (row,) = table[(table["run"] == run.name) & (table["measure"] == "coupling")].to_dict("records")
        assert row["value"] == pytest.approx(adjusted_mutual_info_score(cnn, expression))


def test_the_table_is_of_the_gates_in_the_predictions(study, table):
    for run in finished_runs(study):
        predictions = read_predictions(run.directory / "predictions.csv")
        for mixture, gates in gates_of(predictions).items():
            rows = table[(table["run"] == run.name) & (table["mixture"] == mixture)]
            if len(rows):
                values = rows.set_index("measure")["value"]
                assert values["importance"].tolist() == pytest.approx(gates.mean(0).tolist())
                assert values["gate_margin"] == pytest.approx(np.diff(np.sort(gates)[:, 2:]).mean())
                information = mutual_info_score(predictions["label"], gates.argmax(1)) / math.log(2)
                assert values["mutual_information"] == pytest.approx(information)


def test_intervals_contain_their_values(table):
    rows = table.dropna(subset=["ci_low"])
    assert set(rows["measure"]) >= {"top1_load", "top2_load", "importance", "gate_entropy", "shuffled_gates_drop"}
    inside = (rows["ci_low"] <= rows["value"] + 1e-9) & (rows["value"] <= rows["ci_high"] + 1e-9)
    assert inside.all()
    assert table.loc[table["measure"] == "mutual_information", "p_value"].between(1 / 51, 1).all()


def test_a_runs_rows_do_not_depend_on_the_others(study, table):
    alone = [run for run in finished_runs(study) if run.name == table["run"].iloc[-1]]
    answers = measure(alone, images=12)
    again = expert_table(alone, answers, permutations=50)
    rows = table[table["run"] == table["run"].iloc[-1]].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, rows)
    other = expert_table(alone, answers, permutations=50, seed=1)
    assert not other["p_value"].equals(rows["p_value"])


def test_the_table_is_rebuilt_from_the_kept_answers_without_the_networks(study, table, answers, tmp_path):
    shutil.copytree(study / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*.safetensors"))
    TABLE.keep(tmp_path / "runs" / NOTEBOOK, answers)
    write_result(tmp_path / "runs" / NOTEBOOK, NOTEBOOK, {"permutations": 50, "seed": 0})
    rebuild_tables(tmp_path)
    write_csv(tmp_path / "experts.csv", table)
    assert (tmp_path / "tables" / "experts.csv").read_bytes() == (tmp_path / "experts.csv").read_bytes()


def test_a_table_whose_answers_are_of_other_trainings_is_removed(study, answers, tmp_path):
    shutil.copytree(study / "runs", tmp_path / "runs")
    strange = {f"{name}-retrained": found for name, found in answers.items()}
    TABLE.keep(tmp_path / "runs" / NOTEBOOK, strange)
    write_result(tmp_path / "runs" / NOTEBOOK, NOTEBOOK, {"permutations": 50, "seed": 0})
    write_csv(tmp_path / "tables" / "experts.csv", pd.DataFrame(columns=COLUMNS))
    rebuild_tables(tmp_path)
    assert not (tmp_path / "tables" / "experts.csv").exists()


@pytest.mark.parametrize("damage", ["missing", "cut", "other shape"])
def test_answers_that_cannot_be_read_are_one_line(answers, tmp_path, damage):
    path = tmp_path / "outcomes.npz"
    name, found = next(iter(answers.items()))
    if damage == "other shape":
        found = dataclasses.replace(found, correct=found.correct[1:])
    if damage != "missing":
        TABLE.keep(tmp_path, {name: found})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    with refused("the answers cannot be read", "run notebook 07_expert_utilization again"):
        TABLE.kept(tmp_path)


def test_the_file_is_read_by_the_claims_rule(study, table):
    write_csv(study / "tables" / "experts.csv", table)
    text = (study / "tables" / "experts.csv").read_text().splitlines()
    assert ",top1_load,0," in text[1]
    for tables in (read_tables(study), {"experts": table}):
        verdict = part_rules.experts(tables)
        assert verdict.verdict == "not tested"
        assert "2 seed(s), 3 needed" in verdict.reason


def test_runs_without_gates_faces_or_their_own_test_images_are_left_out(study, tmp_path):
    runs = finished_runs(study)
    make_run(tmp_path, variant="backbone")
    others = [*finished_runs(tmp_path), like(runs[0], test_crop="annotated")]
    others.append(like(runs[0], crop="masked", test_crop="masked"))
    assert gated_runs([*others, *runs]) == runs
    with pytest.raises(UserError, match="no finished run has a gate"):
        gated_runs(others)


def test_runs_with_the_same_images_follow_each_other(study):
    run = finished_runs(study)[0]
    crops = ("none", "annotated", "none", "annotated")
    runs = [like(run, crop=crop, test_crop=crop, seed=seed) for seed, crop in enumerate(crops)]
    assert [r.config.crop for r in gated_runs(runs)] == ["annotated"] * 2 + ["none"] * 2


def test_class_shares_carry_the_label_names(study):
    run = gated_runs(finished_runs(study))[0]
    shares = class_shares(run)
    assert list(shares) == ["cnn", "expression"]
    assert list(shares["cnn"].index) == run.result["data"]["labels"]
    assert shares["cnn"].sum(axis=1).dropna().to_numpy() == pytest.approx(1)


def test_seeds_are_compared_within_a_setting(study):
    found = seed_agreement(finished_runs(study))
    assert found[["variant", "mixture", "seed", "other_seed", "images"]].to_numpy().tolist() == [
        ["full", "cnn", 0, 1, 16],
        ["full", "expression", 0, 1, 16],
    ]
    assert (found["matched"] >= found["matched_by_chance"] - 1e-9).all()


def rows_of(values):
    """Rows of one measure: (variant, seed, value)."""
    start = {"dataset": "d", "protocol": "audited", "crop": "none", "pipeline": "p", "twins": "kept"}
    start |= {"precision": "float32", "composition": "as_given", "mixture": "cnn"}
    measures = ({"variant": v, "seed": s, "measure": "gate_entropy", "value": x} for v, s, x in values)
    return pd.DataFrame([{**start, **row} for row in measures])


def test_means_over_seeds():
    values = [("full", 0, 0.2), ("full", 1, 0.3), ("full", 2, 0.7), ("balanced_gate", 0, 0.9)]
    found = over_seeds(rows_of(values)).set_index("variant")
    half = 4.302653 * np.std([0.2, 0.3, 0.7], ddof=1) / math.sqrt(3)  # t of two degrees of freedom
    assert found.loc["full", ["seeds", "lowest", "highest"]].tolist() == [3, 0.2, 0.7]
    assert found.loc["full", ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx([0.4, 0.4 - half, 0.4 + half])
    assert found.at["balanced_gate", "seeds"] == 1
    assert math.isnan(found.at["balanced_gate", "ci_low"])


def test_variants_are_compared_on_the_seeds_both_have():
    full, balanced = [0.2, 0.6, 0.4], [0.3, 0.75, 0.5]
    values = [("full", s, x) for s, x in enumerate(full)] + [("balanced_gate", s, x) for s, x in enumerate(balanced)]
    values += [("balanced_gate", 3, 0.0), ("dense_gate", 1, 0.1)]
    found = against(rows_of(values)).set_index("variant")
    interval = scipy.stats.ttest_ind(balanced, full, equal_var=False).confidence_interval()
    columns = ["seeds", "baseline", "value", "difference", "ci_low", "ci_high"]
    expected = [3, 0.4, np.mean(balanced), np.mean(balanced) - 0.4, interval.low, interval.high]
    assert found.loc["balanced_gate", columns].tolist() == pytest.approx(expected)
    assert math.isnan(found.at["dense_gate", "ci_low"])
    assert found.loc["dense_gate", columns[:4]].tolist() == pytest.approx([1, 0.6, 0.1, -0.5])
    assert len(found) == 2
    assert against(rows_of(values[:2])).empty
