"""The table of drops equals plain arithmetic on the answers; what is missing stays missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy

from fermoe.data.perturbations import PERTURBATIONS
from fermoe.evidence import robustness
from fermoe.evidence.robustness import (
    TABLE,
    Outcomes,
    means_table,
    measure,
    regrouped,
    robustness_table,
    runs_to_compare,
)
from fermoe.evidence.table import ANSWERS
from fermoe.paper import part_rules
from fermoe.paper.verdicts import INCONCLUSIVE, NOT_TESTED
from fermoe.plots import robustness as robustness_plots
from fermoe.plots.style import variant_name
from fermoe.training.config import TrainConfig
from fermoe.training.inference import open_runs
from fermoe.training.runs import FinishedRun, finished_runs
from tests.helpers.runs import OPTIONS, made_up, quietly
from tests.helpers.trees import refused

# Toy sets lack some class, and evaluation says so.
pytestmark = pytest.mark.filterwarnings("ignore:no test images of class")

IMAGES = 400


def a_run(variant: str, seed: int, name: str = "", **parameters: Any) -> FinishedRun:
    values = {"crop": "blazeface", "variant": variant, "seed": seed, **parameters}
    return made_up(name or f"{variant}{seed}", **values)


def answers(accuracies: list[list[float]], runs: list[FinishedRun]) -> Outcomes:
    """Networks that are right with these probabilities: (runs, 1 + conditions)."""
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % 5
    right = rng.random((len(runs), len(accuracies[0]), IMAGES)) < np.array(accuracies)[..., None]
    predicted = np.where(right, labels, (labels + 1) % 5).astype(np.uint8)
    conditions = (("gamma", 1), ("blur", 5))[: len(accuracies[0]) - 1]
    return Outcomes(tuple(run.name for run in runs), conditions, labels, predicted)


def test_drops_are_those_of_mean_accuracies_and_differences_use_the_shared_seeds() -> None:
    runs = [a_run("full", 0), a_run("full", 1), a_run("no_moe", 1), a_run("no_moe", 2)]
    outcomes = answers([[0.9, 0.8, 0.5]] * 2 + [[0.8, 0.6, 0.2]] * 2, runs)
    table = robustness_table(outcomes, runs).set_index(["variant", "perturbation"])
    share = outcomes.correct.mean(axis=2)  # (runs, conditions)
    full = table.loc[("full", "gamma")]
    clean, dark = share[:2, 0].mean(), share[:2, 1].mean()
    assert full["accuracy"] == pytest.approx(dark)
    assert full["relative_drop"] == pytest.approx((clean - dark) / clean)
    assert np.isnan(full["drop_difference"])
    other = table.loc[("no_moe", "gamma")]
    mine, theirs = (1 - share[i, 1] / share[i, 0] for i in (2, 1))  # seed 1 is the one both have
    assert other["drop_difference"] == pytest.approx(mine - theirs)
    # The rest of the row is about that seed as well, and names no other run.
    assert other["seeds"] == 1
    assert other["runs"].split() == ["no_moe1", "full1"]
    assert other["accuracy"] == pytest.approx(share[2, 1])
    assert other["relative_drop"] == pytest.approx(mine)
    assert other["diff_low"] < other["drop_difference"] < other["diff_high"]


def test_a_variant_without_a_seed_of_the_full_network_stands_alone() -> None:
    runs = [a_run("full", 0), a_run("no_moe", 1), a_run("no_moe", 2)]
    outcomes = answers([[0.9, 0.8], [0.8, 0.6], [0.8, 0.4]], runs)
    row = robustness_table(outcomes, runs).set_index("variant").loc["no_moe"]
    assert row["accuracy"] == pytest.approx(outcomes.correct[1:, 1].mean())
    assert (row["seeds"], row["runs"]) == (2, "no_moe1 no_moe2")
    assert row[["drop_difference", "diff_low", "diff_high"]].isna().all()


def test_a_single_seed_and_missing_variants_leave_c7_not_tested() -> None:
    runs = [a_run("full", 0), a_run("no_moe", 0)]
    table = means_table(answers([[0.9, 0.8], [0.9, 0.2]], runs), runs)
    assert table["difference"].notna().all()
    assert table[["crossed_low", "seeds_low", "p_crossed", "p_equal", "detectable"]].isna().all(axis=None)
    verdict = part_rules.robustness({"robustness_means": table})
    assert verdict.verdict == NOT_TESTED
    assert "1 seed(s)" in verdict.reason


def test_a_class_without_test_images_changes_nothing_but_the_count() -> None:
    runs = [a_run("full", 0)]
    whole = answers([[0.9, 0.5]], runs)
    kept = whole.labels != 3
    part = dataclasses.replace(whole, labels=whole.labels[kept], predicted=whole.predicted[:, :, kept])
    (row,) = robustness_table(part, runs).itertuples()
    assert (row.images, row.accuracy) == (kept.sum(), pytest.approx(whole.correct[0, 1, kept].mean()))


def test_runs_that_do_not_belong_together_are_refused() -> None:
    runs = [a_run("full", 0), a_run("backbone", 0, crop="none")]
    with pytest.raises(ValueError, match="differ in"):
        robustness_table(answers([[0.9, 0.8]] * 2, runs), runs)
    twice = [a_run("full", 0), a_run("full", 0, name="again")]
    with pytest.raises(ValueError, match="two runs of full have seed 0"):
        robustness_table(answers([[0.9, 0.8]] * 2, twice), twice)


def six(light: float, camera: float = 0.7) -> tuple[Outcomes, list[FinishedRun]]:
    """Three trainings of each of two networks, of which one has this accuracy under gamma, and the other 0.7."""
    runs = [a_run(variant, seed) for variant in ("full", "no_moe") for seed in (0, 1, 2)]
    return answers([[0.9, 0.7, 0.7]] * 3 + [[0.9, light, camera]] * 3, runs), runs


def test_the_mean_loss_is_counted_in_three_ways_over_occlusion_and_light_alone() -> None:
    outcomes, runs = six(light=0.5, camera=0.1)
    table = means_table(outcomes, runs).set_index("drop")
    share = outcomes.correct.mean(axis=2)
    clean, dark = share[:, 0], share[:, 1]  # blur is the camera's
    ways = {"absolute": clean - dark, "corrected": (clean - dark) / (clean - 1 / 5), "relative": 1 - dark / clean}
    for way, drops in ways.items():
        row = table.loc[way]
        assert row["difference"] == pytest.approx(drops[3:].mean() - drops[:3].mean(), abs=1e-12)
        assert (row["full"], row["value"]) == pytest.approx((drops[:3].mean(), drops[3:].mean()), abs=1e-12)
        assert row["ci_low"] < row["difference"] < row["ci_high"]
        assert row["crossed_low"] < row["ci_low"]  # other trainings are one more thing that could differ
        expected = scipy.stats.ttest_ind(drops[3:], drops[:3], equal_var=False).confidence_interval()
        assert (row["seeds_low"], row["seeds_high"]) == pytest.approx((expected.low, expected.high))
    assert set(table["conditions"]) == {1}
    assert (table["crossed_low"] > 0).all()


def test_a_network_thrown_back_to_chance_has_lost_all_it_had_above_it_however_good_it_was() -> None:
    runs = [a_run(variant, seed) for variant in ("full", "backbone") for seed in (0, 1, 2)]
    outcomes = answers([[0.9, 0.2]] * 3 + [[0.6, 0.2]] * 3, runs)
    table = means_table(outcomes, runs).set_index("drop")
    assert table.loc["corrected", ["full", "value"]].tolist() == pytest.approx([1, 1], abs=0.07)
    assert table.at["relative", "difference"] < -0.08  # the better network seems to lose more
    assert table.at["absolute", "difference"] < -0.25


def test_perturbations_are_asked_by_group_and_an_unknown_group_is_one_line() -> None:
    chosen = robustness.of_groups("light occlusion")
    assert {PERTURBATIONS[name].group for name in chosen} == {"occlusion", "light"}
    assert set(PERTURBATIONS) - {*chosen} == {"blur", "noise", "JPEG", "rotation"}
    assert robustness.of_groups("") == [*PERTURBATIONS]
    with refused("there is no group of perturbations 'dark'", "occlusion, light, camera"):
        robustness.of_groups("light dark")


def test_the_control_regroups_the_same_trainings_under_the_same_conditions() -> None:
    outcomes, runs = six(light=0.3, camera=0.1)
    (row,) = regrouped(outcomes, runs).itertuples()
    assert (row.variant, row.seeds, row.conditions, row.clearly_different) == ("no_moe", 3, 1, 1)
    assert row.regroupings == 9  # C(6, 3) / 2 ways, and one of them is the true one
    table = robustness_table(outcomes, runs).set_index(["variant", "perturbation"])
    assert table.at[("no_moe", "gamma"), "diff_low"] > 0
    assert regrouped(outcomes, runs, groups=("camera",)).at[0, "conditions"] == 1
    same, runs = six(light=0.7)
    (row,) = regrouped(same, runs).itertuples()
    assert row.p > 0.1
    assert row.clearly_different <= row.most_by_chance or row.clearly_different == 0


def test_with_many_trainings_regroupings_are_drawn_and_the_true_one_is_counted() -> None:
    groupings = robustness._groupings(5, seed=0)
    assert len(groupings) == len(set(groupings)) == 1 + robustness.REGROUPINGS
    assert groupings[0] == frozenset(range(5))
    assert all(len(one) == 5 and 0 in one for one in groupings)


def test_twenty_trainings_a_side_are_regrouped_without_counting_all_the_ways() -> None:
    groupings = robustness._groupings(20, seed=0)  # 68,923,264,410 of them
    assert len(set(groupings)) == 1 + robustness.REGROUPINGS
    assert all(len(one) == 20 and one <= set(range(40)) for one in groupings)


def test_a_training_at_chance_level_leaves_c7_open_and_says_so() -> None:
    runs = [a_run(variant, seed) for variant in ("full", "no_moe", "no_cnn1") for seed in (0, 1, 2)]
    found = answers([[0.7, 0.5]] * 9, runs)
    found.predicted[3] = 0  # names one class alone: its accuracy is chance
    table = means_table(found, runs).assign(dataset="fer2013")
    verdict = part_rules.robustness({"robustness_means": table.assign(images=0)})
    assert verdict.verdict == INCONCLUSIVE
    assert "the network without mixtures loses" in verdict.reason
    assert "(points), of which a training is at chance level; " in verdict.reason
    assert "nan" not in verdict.reason


def test_intervals_agree_with_a_bootstrap_done_image_by_image() -> None:
    runs = [a_run("full", 0), a_run("backbone", 0)]
    outcomes = answers([[0.9, 0.7], [0.85, 0.5]], runs)
    row = robustness_table(outcomes, runs).set_index("variant").loc["backbone"]
    rng, found = np.random.default_rng(1), []
    for _ in range(1000):
        drawn = outcomes.correct[:, :, rng.integers(IMAGES, size=IMAGES)].mean(axis=2)
        found.append((1 - drawn[1, 1] / drawn[1, 0]) - (1 - drawn[0, 1] / drawn[0, 0]))
    assert [row["diff_low"], row["diff_high"]] == pytest.approx(np.quantile(found, [0.025, 0.975]), abs=0.015)


def test_the_table_is_the_same_bytes_twice() -> None:
    runs = [a_run("full", 0), a_run("backbone", 0)]
    outcomes = answers([[0.9, 0.7], [0.85, 0.5]], runs)
    assert robustness_table(outcomes, runs).to_csv() == robustness_table(outcomes, runs).to_csv()


def test_a_network_that_is_never_right_has_no_relative_drop() -> None:
    runs = [a_run("full", 0)]
    row = robustness_table(answers([[0.0, 0.0]], runs), runs).iloc[0]
    assert row["accuracy"] == 0
    assert np.isnan(row["relative_drop"])
    assert np.isnan(row["drop_low"])


def test_without_runs_or_perturbations_the_table_is_empty_and_c7_not_tested() -> None:
    runs = [a_run("full", 0)]
    table = robustness_table(answers([[0.9]], runs), runs)
    assert table.empty
    none = means_table(answers([[0.9]], runs), runs)
    assert none.empty
    assert part_rules.robustness({"robustness_means": none}).verdict == NOT_TESTED
    nobody = measure([], 10)
    assert robustness_table(nobody, []).empty
    assert means_table(nobody, []).empty
    assert regrouped(nobody, []).empty


def test_only_runs_of_the_setting_most_variants_share_are_compared() -> None:
    mine = [a_run("full", 0), a_run("backbone", 0), a_run("no_moe", 0)]
    others = [
        a_run("backbone", 0, crop="none", test_crop="none"),
        a_run("backbone", 1, test_crop="none"),
        a_run("full", 0, protocol="published"),
        a_run("dense_gate", 0),
        a_run("full", 3, crop="masked"),
        a_run("full", 0, learning_rate=0.1),
    ]
    assert runs_to_compare(others + mine, "audited") == mine
    own_rate = [a_run("no_cnn1", seed, learning_rate=0.05) for seed in (0, 1)]
    tried = [a_run("no_cnn1", 0, learning_rate=0.2)]
    assert runs_to_compare([*mine, *tried, *own_rate], "audited") == [*mine, *own_rate]
    assert runs_to_compare([], "audited") == []


def test_trained_networks_answer_for_every_condition_and_the_answers_survive_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variant in ("full", "backbone"):
        config = TrainConfig(dataset_options=OPTIONS, variant=variant, epochs=1, batch_size=16)
        quietly(config, tmp_path / "runs" / config.run_id)
    runs = runs_to_compare(finished_runs(tmp_path), "audited")
    opened = list(open_runs(runs))
    assert opened[0].data is opened[1].data
    outcomes = measure(opened, 10, ["gamma", "occluded eyes"])
    assert outcomes.predicted.shape == (2, 11, 10)
    for run, predicted in zip(opened, outcomes.predicted, strict=True):
        rows = run.rows(10)
        assert (run.predict(run.images(rows)).logits.argmax(1).numpy() == predicted[0]).all()
    monkeypatch.setattr(robustness, "CHUNK", 4)
    monkeypatch.setenv("FERMOE_CACHE", str(tmp_path / "another cache"))
    assert (measure(opened, 10, ["gamma", "occluded eyes"]).predicted == outcomes.predicted).all()
    TABLE.keep(tmp_path, outcomes)
    again = TABLE.kept(tmp_path)
    assert again.conditions == outcomes.conditions
    assert robustness_table(again, runs).equals(robustness_table(outcomes, runs))


def test_what_was_asked_before_is_not_asked_again_and_a_killed_measurement_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERMOE_CACHE", str(tmp_path / "cache"))
    config = TrainConfig(dataset_options=OPTIONS, variant="backbone", epochs=1, batch_size=16)
    quietly(config, tmp_path / "runs" / config.run_id)
    (run,) = open_runs(finished_runs(tmp_path))
    asked: list[int] = []

    class Asked(type(run.model)):  # type: ignore[misc]
        def forward(self, images):  # type: ignore[no-untyped-def]
            asked.append(len(images))
            if len(asked) == 4:
                raise KeyboardInterrupt
            return super().forward(images)

    run.model.__class__ = Asked
    with pytest.raises(KeyboardInterrupt):
        measure([run], 10, ["gamma"])  # clean and five severities: three are answered
    first = measure([run], 10, ["gamma"])
    assert len(asked) == 4 + 3
    assert (measure([run], 10, ["gamma"]).predicted == first.predicted).all()
    assert len(asked) == 7
    measure([run], 10, ["gamma"], seed=1)
    assert len(asked) == 13
    (path, other) = sorted((tmp_path / "cache" / "answers").iterdir())
    for damaged in (path, other):
        damaged.write_bytes(b"no arrays")
    assert (measure([run], 10, ["gamma"]).predicted == first.predicted).all()


def test_damaged_answers_and_those_of_other_perturbations_are_refused_in_one_line(tmp_path: Path) -> None:
    path, outcomes = tmp_path / ANSWERS, answers([[0.9, 0.8]], [a_run("full", 0)])
    TABLE.keep(tmp_path, outcomes)
    whole = path.read_bytes()
    for damaged in (b"", b"PK", whole[: len(whole) // 2], whole[:80] + bytes(40) + whole[120:]):
        path.write_bytes(damaged)
        with refused("cannot be read"):
            TABLE.kept(tmp_path)
    path.unlink()
    with refused("cannot be read"):
        TABLE.kept(tmp_path)
    TABLE.keep(tmp_path, dataclasses.replace(outcomes, conditions=(("fog", 1),)))
    with refused("unknown perturbation fog"):
        TABLE.kept(tmp_path)
    TABLE.keep(tmp_path, dataclasses.replace(outcomes, labels=outcomes.labels[1:]))
    with refused("do not fit"):
        TABLE.kept(tmp_path)


def test_plots_show_every_perturbation_and_variant() -> None:
    runs = [a_run("full", 0), a_run("backbone", 0)]
    table = robustness_table(answers([[0.9, 0.7, 0.5], [0.85, 0.5, 0.4]], runs), runs)
    figure = robustness_plots.plot_all_severities(table)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*map(variant_name, ("full", "backbone"))]
    assert sum(ax.get_visible() for ax in figure.axes) == 2
    ax = robustness_plots.plot_drop_differences(table.dropna(subset=["drop_difference"]))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["gamma", "blur"]
    ax = robustness_plots.plot_perturbations(*robustness.example_face(32, seed=0))
    assert [label.get_text() for label in ax.get_yticklabels()] == list(PERTURBATIONS)
    nothing = pd.DataFrame(columns=table.columns)
    robustness_plots.plot_drop_differences(nothing)
    plt.close("all")
