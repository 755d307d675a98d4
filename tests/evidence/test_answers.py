"""Answers say yes, no, or that it cannot be told, as the tables do; and never an interval over two trainings."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fermoe.evidence import answers, answers_on_runs
from fermoe.evidence.findings import Finding, Outcome, counted, each_over_seeds, each_welch, lead, listed, signed
from fermoe.files import results_dir
from fermoe.study import pictures
from fermoe.study.tables import read_tables

SETTING = {
    "dataset": "fer2013", "protocol": "audited", "crop": "blazeface", "test_crop": "blazeface", "pipeline": "imagenet",
    "twins": "kept", "precision": "float32",
}  # fmt: skip
STUDIES = sorted(path.parent.parent for path in results_dir().glob("*/tables/claims.csv"))


def compared(alternative: str, *effects: tuple[float, float, float], seeds: int = 3, **changed: object) -> pd.DataFrame:
    """Rows of ablation.csv: what the full network is ahead of the alternative, by measure, in points."""
    rows = []
    for measure, (value, low, high) in zip(("accuracy", "balanced_accuracy", "macro_f1"), effects, strict=False):
        row = {
            **SETTING, "contrast": "variant", "baseline": "full", "alternative": alternative, "variant": "",
            "measure": measure, "seeds": seeds, "images": 1000, "difference": -value / 100, "crossed_low": -high / 100,
            "crossed_high": -low / 100, "p_crossed_holm": 0.001, "p_equal": 0.9, "detectable": 0.03,
        }  # fmt: skip
        if seeds < 3:
            row |= dict.fromkeys(("crossed_low", "crossed_high", "p_crossed_holm", "p_equal", "detectable"), np.nan)
        rows.append(row | changed)
    return pd.DataFrame(rows)


BETTER, WORSE, OPEN = (4.0, 2.0, 6.0), (-4.0, -6.0, -2.0), (0.5, -3.0, 4.0)
LEADS = {
    "Yes, by every measure": (BETTER, BETTER, BETTER),
    "Yes in accuracy, not by every measure": (BETTER, OPEN, OPEN),
    "It depends on the measure": (BETTER, OPEN, WORSE),
    "No, it is worse in balanced accuracy": (OPEN, WORSE, OPEN),
    "No, it is worse": (WORSE, WORSE, WORSE),
    "It cannot be told": (OPEN, OPEN, OPEN),
}
QUESTIONS = {
    "backbone": answers.leading_question,
    "no_moe": answers.mixtures,
    "no_cnn1": answers.large_kernels,
    "no_cnn2": answers.small_kernels,
    "frozen_gate": answers.trained_gate,
}


@pytest.mark.parametrize("variant", QUESTIONS)
@pytest.mark.parametrize("lead", LEADS)
def test_a_part_is_answered_as_its_intervals_say(lead: str, variant: str) -> None:
    text = QUESTIONS[variant]({"ablation": compared(variant, *LEADS[lead])})
    assert text.startswith(f"{lead}. ")
    assert "3 seeds of each, 1,000 test images" in text


def test_positive_says_that_the_full_network_is_better() -> None:
    text = answers.leading_question({"ablation": compared("backbone", BETTER, OPEN, WORSE)})
    assert "better in accuracy (+4.0 [+2.0, +6.0] points)" in text
    assert "no difference can be told in balanced accuracy (+0.5 [−3.0, +4.0] points)" in text
    assert "worse in macro-F1 (−4.0 [−6.0, −2.0] points)" in text


def test_what_the_correction_takes_back_is_a_sign_and_no_proof() -> None:
    text = answers.leading_question({"ablation": compared("backbone", BETTER, OPEN, OPEN, p_crossed_holm=0.2)})
    assert text.startswith("There is a sign, but no proof.")
    assert "better, though not after correction for the other comparisons, in accuracy" in text


def test_a_shown_equality_is_not_called_unknown() -> None:
    text = answers.mixtures({"ablation": compared("no_moe", (0.1, -0.5, 0.7), p_equal=0.01)})
    assert text.startswith("No, it makes no difference of a point.")


def test_an_open_comparison_says_what_it_would_have_found() -> None:
    text = answers.large_kernels({"ablation": compared("no_cnn1", OPEN)})
    assert text.endswith("A difference of 3.0 points would have been found in four of five cases.")


def test_a_measure_without_a_difference_of_a_point_is_named_before_those_that_cannot_be_told() -> None:
    same, open_one = (Finding(0.001, -0.012, 0.011, 3, same=same) for same in (True, False))
    found = {"accuracy": same, "balanced_accuracy": open_one, "macro_f1": open_one}
    assert lead(found) == "It makes no difference of a point in accuracy; otherwise it cannot be told"
    assert lead(dict.fromkeys(found, same)) == "No, it makes no difference of a point"


def test_two_trainings_get_no_interval_and_no_verdict() -> None:
    for variant, ask in QUESTIONS.items():
        text = ask({"ablation": compared(variant, BETTER, seeds=2)})
        assert text.startswith("It cannot be told from so few trainings.")
        assert "[" not in text


def test_the_audited_protocol_without_augmentation_is_answered_first() -> None:
    others = [
        compared("backbone", WORSE, protocol="published"),
        compared("backbone", WORSE, pipeline="imagenet+augment"),
        compared("backbone", WORSE, crop="masked"),
    ]
    tables = {"ablation": pd.concat([*others, compared("backbone", BETTER)], ignore_index=True)}
    assert answers.leading_question(tables).startswith("Yes")
    assert answers.leading_question(tables, "published").startswith("No")


@pytest.mark.parametrize(("effect", "lead"), [(BETTER, "Yes"), (WORSE, "No"), (OPEN, "It cannot be told")])
def test_cropping_and_augmentation_are_answered_alike(effect: tuple[float, float, float], lead: str) -> None:
    turned = tuple(-value for value in effect)
    value, low, high = turned[0], min(turned[1:]), max(turned[1:])
    crop = compared("blazeface", (value, low, high), contrast="crop", baseline="none", variant="backbone", crop="")
    assert answers.cropping({"ablation": crop}).startswith(f"{lead}")
    pipes = {"contrast": "pipeline", "baseline": "imagenet", "pipeline": "", "variant": "full"}
    augmented = compared("imagenet+augment", (value, low, high), **pipes)
    text = answers.augmentation({"ablation": augmented})
    assert text.startswith("For the full network (3 seeds of each, 1,000 test images), " + lead[0].lower() + lead[1:])


def test_the_detector_is_quoted_for_the_studys_own_dataset() -> None:
    row = {"split": "test", "label": "all", "images": 500, "ci_low": 0.03, "ci_high": 0.05, "rate": 0.04}
    crops = pd.DataFrame(
        [{**row, "dataset": "fer2013", "framing": "original"}, {**row, "dataset": "synthetic", "framing": "scene"}]
    )
    text = answers.cropping({"crops": crops, "accuracy": pd.DataFrame([{**SETTING, "split": "test"}])})
    assert "finds a face in 4.0 % [3.0, 5.0] of 500 test images of FER-2013." in text
    assert "drawn faces" not in text


def single(values: list[float], **columns: object) -> pd.DataFrame:
    """One row per seed of the full network."""
    return pd.DataFrame(
        [{**SETTING, "variant": "full", "seed": i, "value": v, **columns} for i, v in enumerate(values)]
    )


CASES = {
    "yes": [0.05, 0.052, 0.048],
    "no": [-0.05, -0.052, -0.048],
    "open": [0.05, -0.04, 0.01],
    "same": [0.001, 0.0, -0.001],
    "few": [0.05, 0.052],
}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("yes", "With them the full network's accuracy is higher than without"),
        ("no", "With them the full network's accuracy is lower than without"),
        ("open", "cannot be told"),
        ("same", "is less than a point from that without"),
        ("few", "So few trainings"),
    ],
)
def test_leaks(case: str, said: str) -> None:
    table = single(CASES[case], leaks="identical", leaked_images=50, images=1000)
    text = answers.leaks({"leaks": table.assign(difference=table["value"], standardised=table["value"])})
    assert text.startswith("50 of 1,000 test images (5.0 %) occur in the training set, pixel for pixel.")
    assert said in text
    assert ("[" in text) is (case != "few")
    assert text.endswith("or for being easier images was not measured.")


def test_near_pictures_are_no_leaks_and_among_drawn_faces_false_alarms() -> None:
    table = single(CASES["yes"], leaks="identical or near", leaked_images=3, images=1000, difference=0, standardised=0)
    begin = "No test image occurs in the training set pixel for pixel; 3 of 1,000 test images (0.3 %) look to a"
    assert answers.leaks({"leaks": table}).startswith(f"{begin} hash like one of it. ")
    drawn = answers.leaks({"leaks": table.assign(dataset="synthetic")})
    assert drawn.startswith(f"{begin} hash like one of it, false alarms among drawn faces. ")
    assert drawn.endswith("(3 seeds).")  # there is nothing to be trained on


def test_what_training_on_leaked_images_adds_is_said_where_it_was_measured() -> None:
    table = single(CASES["open"], leaks="identical", leaked_images=50, images=1000).rename(columns={"value": "causal"})
    text = answers.leaks({"leaks": table.assign(difference=0.01, standardised=0.01, causal=[0.3, 0.32, 0.28])})
    assert text.endswith("Training on them adds +30.0 [+25.0, +35.0] points to the accuracy on all test images.")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("yes", "flatters"),
        ("no", "does not flatter"),
        ("open", "cannot be told"),
        ("same", "less than a point"),
        ("few", "So few trainings"),
    ],
)
def test_selection(case: str, said: str) -> None:
    table = single(CASES[case], epochs=9, protocol="published")
    text = answers.selection({"selection": table.assign(optimism=table["value"], full_size=table["value"])})
    assert said in text
    assert ("[" in text) is (case != "few")


def lost(variant: str, effect: tuple[float, float, float], seeds: int = 3) -> pd.DataFrame:
    value, low, high = (part / 100 for part in effect)
    row = {
        **SETTING, "variant": variant, "seeds": seeds, "images": 600, "difference": value, "crossed_low": low,
        "crossed_high": high, "p_crossed_holm": 0.001, "p_equal": 0.9, "detectable": 0.04,
    }  # fmt: skip
    return pd.DataFrame([{**row, "drop": drop} for drop in ("absolute", "corrected", "relative")])


@pytest.mark.parametrize(
    ("effect", "seeds", "said"),
    [
        (BETTER, 3, "it loses clearly less than the ResNet alone (+4.0 [+2.0, +6.0]; +4.0 [+2.0, +6.0] %)"),
        (WORSE, 3, "it loses clearly more than the ResNet alone (−4.0 [−6.0, −2.0]; −4.0 [−6.0, −2.0] %)"),
        (OPEN, 3, "no difference can be told from the ResNet alone (+0.5 [−3.0, +4.0]; +0.5 [−3.0, +4.0] %)"),
        (BETTER, 2, "too few trainings to compare it with the ResNet alone (+4.0; +4.0 %)"),
    ],
)
def test_robustness(effect: tuple[float, float, float], seeds: int, said: str) -> None:
    text = answers.robustness({"robustness_means": lost("backbone", effect, seeds)})
    assert said in text
    assert ("Differences under 4.0 points may have been missed." in text) is ("no difference" in said)


def test_a_training_at_chance_level_leaves_open_who_loses_less() -> None:
    table = lost("no_moe", BETTER, 3)
    table.loc[table["drop"] == "corrected", ["difference", "crossed_low", "crossed_high"]] = math.nan
    text = answers.robustness({"robustness_means": table})
    assert "no difference can be told from the network without mixtures (+4.0 [+2.0, +6.0]; one of its" in text
    assert "at chance level)" in text


def experts(value: float, spread: float, drop: list[float], seeds: int = 3) -> dict[str, pd.DataFrame]:
    rows = [
        single(drop, mixture="cnn", measure="shuffled_gates_drop"),
        single([0.0] * len(drop), mixture="cnn", measure="dead_experts"),
        single([value + i * spread for i in range(seeds)], mixture="cnn", measure="mutual_information"),
        single([0.1, 0.11, 0.12], mixture="cnn", measure="mutual_information").assign(variant="frozen_gate"),
    ]
    return {"experts": pd.concat(rows, ignore_index=True)}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (experts(0.5, 0.01, CASES["yes"]), ("it tells more on extractor 1", "costs accuracy on extractor 1")),
        (experts(0.0, 0.01, CASES["no"]), ("it tells less on extractor 1", "gains accuracy on extractor 1")),
        (experts(0.1, 0.2, CASES["open"]), ("no difference can be told on", "costs nothing that can be told on")),
        (experts(0.1, 0.2, CASES["few"], 2), ("cannot be told without 3 seeds", "too few trainings to judge on")),
    ],
)
def test_experts(tables: dict[str, pd.DataFrame], said: tuple[str, str]) -> None:
    text = answers.experts(tables)
    assert all(part in text for part in said), text
    # Untrained gates of another setting say nothing of this one.
    other = single([5.0] * 3, mixture="cnn", measure="mutual_information").assign(variant="frozen_gate", crop="other")
    assert answers.experts({"experts": pd.concat([*tables.values(), other])}) == text


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("yes", "costs more in extractor 1 (+5.0 ["),
        ("no", "costs less in extractor 1 (−5.0 ["),
        ("open", "makes no difference that can be told in extractor 1"),
        ("few", "too few trainings of extractor 1 (+5.1 points)"),
    ],
)
def test_grad_cam(case: str, said: str) -> None:
    rows = [
        single(CASES[case], measure="faithfulness_gain"),
        single([0.3] * 3, measure="other_training_correlation"),
        single([0.9] * 3, measure="other_training_correlation").assign(layer="finer"),
        single([-0.02] * 3, measure="random_weights_correlation"),
    ]
    table = pd.concat(rows, ignore_index=True).assign(branch="cnn1", group="all")
    table["layer"] = table.get("layer", pd.Series(dtype=str)).fillna("last")
    text = answers.grad_cam({"grad_cam": table})
    assert said in text
    assert "+0.30 beside −0.02 for extractor 1" in text


def test_means_and_differences_of_several_parts_are_corrected_for_each_other_as_by_scipy_and_holm() -> None:
    values = {
        "a": pd.Series([0.01, 0.012, 0.011]),
        "b": pd.Series([0.006, 0.009, 0.007]),
        "c": pd.Series([-0.01, 0.02]),
    }
    found = each_over_seeds(values)
    first, second = (stats.ttest_1samp(values[name], 0).pvalue for name in "ab")
    assert found["a"].p == pytest.approx(2 * first)
    assert found["b"].p == pytest.approx(second)
    assert [found[name].outcome for name in "abc"] == [Outcome.BETTER, Outcome.BETTER, Outcome.FEW]
    sides = {"a": (values["b"], values["a"]), "b": (values["a"], values["a"] + 0.0005)}
    compared_sides = each_welch(sides)
    (first, second) = (stats.ttest_ind(after, before, equal_var=False).pvalue for before, after in sides.values())
    assert compared_sides["a"].p == pytest.approx(min(1, 2 * first))
    assert compared_sides["b"].p == pytest.approx(max(second, 2 * first))


def test_what_the_other_mixture_takes_back_is_a_sign_and_no_cost() -> None:
    drops = [0.01, 0.02, 0.022]  # p is 0.043: below 0.05 and, twice as much, above
    assert stats.ttest_1samp(drops, 0).pvalue < 0.05 < 2 * stats.ttest_1samp(drops, 0).pvalue
    alone, beside = (
        pd.concat([single(drops, measure="shuffled_gates_drop", mixture=name) for name in names], ignore_index=True)
        for names in (["cnn"], ["cnn", "expression"])
    )
    assert "costs accuracy on extractor 1" in answers.experts({"experts": alone})
    assert "shows a sign, no proof, of a cost on extractor 1" in answers.experts({"experts": beside})


def test_what_drawn_faces_say_is_said_to_be_of_drawn_faces() -> None:
    rows = single([0.5, 0.51, 0.52], split="test", model="miniature", epochs=5, epochs_run=5, best_epoch=4, run="a")
    table = rows.rename(columns={"value": "accuracy"})
    assert answers.answer({"accuracy": table}, "04_training").startswith("None of 1 training")
    drawn = {"accuracy": table.assign(dataset="synthetic")}
    assert answers.answer(drawn, "04_training").startswith("On drawn faces: None of 1 training")
    assert answers.answer(drawn, "05_confusion_matrices") == answers.accuracy(drawn)  # says it itself
    question = "Do the mixtures of experts help?"
    assert answers.reply(drawn, question) == answers.QUESTIONS[question](drawn)  # not asked
    asked = {**drawn, "ablation": compared("no_moe", OPEN)}
    assert answers.reply(asked, question) == f"On drawn faces: {answers.mixtures(asked)}"
    assert answers.answer(drawn, "10_report").startswith("From the published figures and drawn faces: ")
    assert "drawn faces" in answers.accuracy(drawn)


def test_accuracy_stands_beside_the_papers_with_its_own_network() -> None:
    table = single([0.5, 0.51, 0.52], split="test", model="miniature").rename(columns={"value": "accuracy"})
    text = answers.accuracy({"accuracy": table})
    assert text.startswith("The full network reaches 51.0 % [48.5, 53.5] audited (3 seeds) on FER-2013.")
    assert "64.7 % [63.5, 65.8], of its full-size network." in text
    assert "full-size" not in answers.accuracy({"accuracy": table.assign(model="paper")})
    assert "50.5 % audited (2 seeds)" in answers.accuracy({"accuracy": table.head(2)})


def test_whether_it_is_the_papers_network_and_data() -> None:
    row = {**SETTING, "variant": "full", "split": "test", "images": 7178, "initial_weights": "vggface2:abc"}
    ours = pd.DataFrame([{**row, "model": "first_miniature", "initial_weights": "random"}])
    assert "No: these trainings are of the first miniature network from random weights" in answers.model(
        {"accuracy": ours}
    )
    assert answers.model({"accuracy": pd.DataFrame([{**row, "model": "paper"}])}).startswith("Yes")
    other = pd.DataFrame([{**row, "model": "paper", "initial_weights": "imagenet"}])
    assert answers.model({"accuracy": other}).startswith("In shape yes")
    assert answers.data({"accuracy": ours}).startswith("Yes, in number: 7,178")
    assert answers.data({"accuracy": ours.assign(images=7000)}).startswith("No: 7,000")
    assert answers.data({"accuracy": ours.assign(dataset="mine")}).startswith("No: mine are not among")


def test_how_trainings_ended() -> None:
    row = {**SETTING, "split": "test", "epochs": 15}
    table = pd.DataFrame([{**row, "run": i, "epochs_run": run, "best_epoch": 9} for i, run in enumerate((9, 11, 15))])
    text = answers.training({"accuracy": table})
    assert text.startswith("2 of 3 trainings stopped early, after 9 to 11 of at most 15 epochs.")
    assert text.endswith("In 1 the last epoch was the best: more epochs might have helped.")
    assert "None of 1 training of at most 15 epochs stopped early" in answers.training({"accuracy": table.tail(1)})
    patient = answers.training({"accuracy": table.tail(1).assign(patience=15)})
    assert patient.startswith("1 training ran 15 epochs: early stopping waits for as many, so none could stop.")


def test_whether_networks_had_learning_rates_of_their_own() -> None:
    table = pd.DataFrame({"variant": ["backbone", "full", "no_moe", "full"], "learning_rate": [0.012, *[0.006] * 3]})
    table = table.assign(**{name: value for name, value in SETTING.items() if name not in table})

    def said(rates: list[float], rows: pd.DataFrame = table) -> str:
        return answers_on_runs.rates({"accuracy": rows.assign(learning_rate=rates)})

    assert said([0.012, 0.006, 0.006, 0.006]).startswith(
        "Learning rates: 0.006 for the full network and the network without mixtures; 0.012 for the ResNet alone."
    )
    more = pd.concat([table, table.tail(1).assign(variant="no_cnn1")])
    assert "0.012 for the ResNet alone; 0.006 for all others." in said([0.012, *[0.006] * 4], more)
    assert said([0.1] * 4) == "Every network was trained with the learning rate 0.1, none with one of its own."
    assert said([0.1], table.head(1)) == "Trained with the learning rate 0.1."
    assert said([0.1, 0.1, 0.1, 0.2]) == "Networks were trained with several learning rates each: 0.1 and 0.2."
    assert answers_on_runs.rates({}) == ""


def test_verdicts_are_counted_and_what_follows_names_them() -> None:
    claims = pd.DataFrame({"claim": ["C8", "C9", "C10"], "verdict": ["not tested", "supported", "contradicted"]})
    assert answers.verdicts({"claims": claims}) == (
        "Of 3 claims: 1 supported (C9), 1 contradicted (C10) and 1 not tested (C8)."
    )
    nothing = claims.assign(verdict=["not tested", "inconclusive", "contradicted"])
    assert answers.verdicts({"claims": nothing}).startswith("Of 3 claims: none supported, 1 contradicted (C10), ")
    assert answers.follows({"claims": claims}, "08_ablations") == "C9 is supported and C10 is contradicted."
    assert answers.follows({"claims": claims}, "04_training") == ""


@pytest.mark.parametrize("name", answers.NOTEBOOKS)
def test_every_notebook_has_an_answer_without_any_table(name: str) -> None:
    assert answers.NOTEBOOKS[name]({}).endswith(".")


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_the_kept_studies_are_answered_in_whole_sentences(study: object) -> None:
    tables = read_tables(study)  # type: ignore[arg-type]
    for answer in answers.NOTEBOOKS.values():
        text = answer(tables)
        assert text[0].isupper() or text[0].isdigit()
        assert text.endswith(".")
        assert "nan" not in text


def test_numbers_are_said_as_a_person_would() -> None:
    assert [signed(value) for value in (0.0384, -0.0038, 0.0001, -0.0001)] == ["+3.8", "−0.4", "0.0", "0.0"]
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert [counted(n, "seed") for n in (1, 2)] == ["1 seed", "2 seeds"]
    assert Finding(0.1, math.nan, math.nan, 5).outcome is Outcome.FEW


GAPS = ["value", "baseline_value", "crossed_low", "crossed_high", "p_crossed_holm", "half_low", "half_high"]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (
            (0.1, 0.5, -0.5, -0.3, 0.001, -0.2, -0.1),
            "less than half of it is left: the classes' shares, or their numbers, make most of it",
        ),
        (
            (0.45, 0.5, -0.15, 0.05, 0.4, 0.1, 0.3),
            "more than half of it is left: the classes' shares, or their numbers, make less than half of it",
        ),
        ((0.25, 0.5, -0.4, -0.1, 0.001, -0.1, 0.1), "whether more or less than half of it is left cannot be told"),
    ],
)
def test_what_equal_shares_leave_of_a_gap_is_said_as_its_interval_says(numbers: tuple, said: str) -> None:
    start = {"composition": "equal", "measure": "gap_fear", "seeds": 5, "images": 7178, "dataset": "fer2013"}
    table = pd.DataFrame([start | dict(zip(GAPS, numbers, strict=True))])
    text = answers_on_runs.imbalance({"imbalance": table})
    assert f"over fear from 50.0 to {100 * numbers[0]:.1f} points" in text
    assert said in text
    assert "5 seeds of each, 7,178 test images" in text


def test_what_a_rare_happy_does_is_said_after_what_equal_shares_do() -> None:
    start = {"measure": "gap_fear", "seeds": 5, "images": 7178, "dataset": "fer2013"}
    numbers = {
        "equal": (0.45, 0.5, -0.15, 0.05, 0.4, 0.1, 0.3),
        "rare_happy": (-0.1, 0.5, -0.8, -0.4, 0.001, -0.5, -0.2),
    }
    rows = [start | {"composition": name} | dict(zip(GAPS, values, strict=True)) for name, values in numbers.items()]
    text = answers_on_runs.imbalance({"imbalance": pd.DataFrame(rows)})
    assert text.endswith(
        "With happy as rare as fear (5 seeds) it goes over fear from 50.0 to −10.0 points (−60.0 [−80.0, −40.0])."
    )


def test_what_moved_a_lead_and_which_trainings_collapsed_is_said_beside_it() -> None:
    def row(composition: str, measure: str, before: float, after: float, images: int) -> dict[str, object]:
        values = dict(zip(GAPS, (after, before, after - before - 0.1, after - before + 0.1, 0.01, 0, 0), strict=True))
        start = {"composition": composition, "measure": measure, "seeds": 5, "images": 7178, "dataset": "fer2013"}
        return {**start, **values, "training_images": images, "collapsed": 0}

    gap = row("equal", "gap_fear", 0.6, 0.4, 0)
    gap |= {"collapsed": 1, "rest_value": 0.45, "rest_half_low": 0.1, "rest_half_high": 0.2}
    rows = [gap]
    for name, before, after, images in (("happy", 0.7, 0.45, 350), ("fear", 0.1, 0.05, 352)):
        rows += [row("equal", f"recall_{name}", before, after, images)]
        rows += [row("proportional", f"recall_{name}", before, before, {"happy": 630, "fear": 351}[name])]
    text = answers_on_runs.imbalance({"imbalance": pd.DataFrame(rows)})
    assert (
        "Recall goes of happy from 70.0 to 45.0 % (−25.0 [−35.0, −15.0]; 630 → 350 training images) and of fear from "
        "10.0 to 5.0 % (−5.0 [−15.0, +5.0]; 351 → 352 training images)."
    ) in text
    assert text.startswith("With all classes equally frequent in training (5 seeds of each, 7,178 test images)")
    assert (
        " Fewer than half of the classes are named by 1 of the trainings with equal shares and 0 of those with the "
        "dataset's own: they count; without such trainings the lead is 45.0 points over fear ([+10.0, +20.0] beyond "
        "half of that under the dataset's own shares)."
    ) in text
    alone = pd.DataFrame([gap | {"rest_value": math.nan, "rest_half_low": math.nan}])
    assert answers_on_runs.imbalance({"imbalance": alone}).endswith("0 of those with the dataset's own: they count.")


def test_of_too_few_trainings_no_share_of_a_gap_is_said_and_without_any_nothing() -> None:
    start = {"composition": "equal", "measure": "gap_fear", "seeds": 2, "images": 7178, "dataset": "fer2013"}
    row = start | {"value": 0.2, "baseline_value": 0.5} | dict.fromkeys(GAPS[2:], math.nan)
    assert "too few trainings" in answers_on_runs.imbalance({"imbalance": pd.DataFrame([row])})
    assert answers_on_runs.imbalance({}) == ""


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [
        (-0.5, -0.3, 0.01, "is smaller over fear (50 → 10 points)"),
        (-0.5, -0.3, 0.20, "is smaller, though not after correction, over fear (50 → 10 points)"),
        (-0.9, 0.1, 0.20, "is not known to change over fear (50 → 10 points)"),
    ],
)
def test_the_figure_of_imbalance_says_what_its_interval_says(low: float, high: float, p: float, said: str) -> None:
    start = {"measure": "gap_fear", "seeds": 5, "images": 7178, "dataset": "fer2013"}
    numbers = {
        "proportional": {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6},
        "equal": {"value": 0.1, "ci_low": 0.0, "ci_high": 0.2, "baseline_value": 0.5, "difference": -0.4},
    }
    table = pd.DataFrame([start | {"composition": name} | row for name, row in numbers.items()])
    table.loc[table["composition"] == "equal", ["crossed_low", "crossed_high", "p_crossed_holm"]] = low, high, p
    drawn = pictures.imbalance({"imbalance": table})
    assert drawn is not None
    title = drawn.ax.get_title(loc="left") or drawn.ax.get_title()
    assert said in " ".join(title.replace("\u00a0", " ").split())
    plt.close(drawn.figure)
