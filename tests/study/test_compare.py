"""Two results folders agree, or are told apart by name: on made-up studies, real trainings and the committed runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import ttest_ind

from fermoe import seeds
from fermoe.cli import main
from fermoe.files import results_dir
from fermoe.metrics import metrics
from fermoe.study import archive
from fermoe.study.compare import Comparison, Row, compare, judged
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TrainConfig
from fermoe.training.predictions import class_names, probabilities_of, read_predictions, write_predictions
from fermoe.training.runs import finished_runs
from tests.helpers.runs import OPTIONS, make_run, quietly
from tests.helpers.trees import refused

SEEDS = (0, 1, 2)
BFLOAT16 = results_dir() / "bfloat16-miniature"


def a_study(folder: Path, accuracy: float = 0.7, drawn: tuple[int, ...] = SEEDS, **parameters: object) -> Path:
    """The full network and its backbone on 600 test images; other learning rates draw other predictions."""
    for variant in ("full", "backbone"):
        for seed in drawn:
            make_run(folder, 600, accuracy + 0.01 * seed, variant=variant, seed=seed, **parameters)
    rebuild_tables(folder)
    return folder


def tables_alone(study: Path, folder: Path) -> Path:
    shutil.copytree(study / "tables", folder / "tables")
    return folder


def outcomes(found: Comparison) -> dict[str, str]:
    return {table.name: table.outcome for table in found.tables}


def change(study: Path, what: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """Change every run's predictions, and what follows from them."""
    for run in finished_runs(study):
        table = what(read_predictions(run.directory / "predictions.csv"))
        write_predictions(run.directory / "predictions.csv", table)
        result = json.loads((run.directory / "result.json").read_text())
        result["metrics"]["test"] = metrics(table["label"], table["predicted"], probabilities_of(table))
        (run.directory / "result.json").write_text(json.dumps(result))
    rebuild_tables(study)
    return study


def exchanged(table: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """The answers of networks that learned two classes under each other's name."""
    names = class_names(table)
    a, b = names.index(one), names.index(other)
    table = table.assign(predicted=table["predicted"].replace({a: b, b: a}))
    table[[f"p_{one}", f"p_{other}"]] = table[[f"p_{other}", f"p_{one}"]].to_numpy()
    return table


# --- Two folders that agree ---------------------------------------------------------------------------------


def test_a_folder_is_identical_to_itself_and_says_so_with_exit_code_0(tmp_path: Path) -> None:
    study = a_study(tmp_path / "a")
    result = CliRunner().invoke(main, ["compare", str(study), str(study)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "identical (5 identical)"
    assert "predictions to the last digit: equal in 6 of 6 runs" in result.output


def test_other_trainings_of_the_same_networks_are_within_the_spread_of_seeds(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b", learning_rate=0.002)
    for found in (compare(one, other), compare(tables_alone(one, tmp_path / "c"), tables_alone(other, tmp_path / "d"))):
        assert outcomes(found)["accuracy"] == outcomes(found)["ablation"] == "within"
        assert found.exit_code == 0
        assert found.summary.startswith("within the spread of seeds")
        assert any("learning_rate" in note for note in found.notes)


def test_trainings_on_other_shares_of_the_classes_are_no_trainings_of_the_same(tmp_path: Path) -> None:
    """One folder has fewer seeds of one composition, of which each run is the other's to the byte."""
    for name, few in (("a", (0, 1, 2)), ("b", (0, 1, 2, 3, 4, 5))):
        for composition, accuracy, drawn in (("equal", 0.5, few), ("proportional", 0.9, (0, 1, 2))):
            for seed in drawn:
                make_run(tmp_path / name, 600, accuracy, seed=seed, composition=composition)
        rebuild_tables(tmp_path / name)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert outcomes(found)["accuracy"] == "within"


def test_folders_that_agree_are_seldom_outside_however_many_rows_they_have() -> None:
    """Three seeds a side, drawn from one distribution: 5 % of tables may be outside at most, here of a hundred."""
    rng, wrong = np.random.default_rng(4), 0
    for _ in range(100):
        drawn = rng.normal(0, rng.uniform(0.2, 5, (20, 1, 1)), (20, 2, 3))
        wrong += judged("t", [Row("r", seeds.welch(*pair)) for pair in drawn], "").p < 0.05
    assert wrong <= 11  # exceeded by one in a hundred such counts


def test_a_clean_run_again_is_identical_and_another_thread_count_is_within(tmp_path: Path, own_cache: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for name, count, again in (("one", 1, SEEDS), ("two", 2, SEEDS), ("first", 1, (0,)), ("second", 1, (0,))):
            torch.set_num_threads(count)
            for seed in again:
                config = TrainConfig(dataset_options=OPTIONS, variant="backbone", seed=seed, epochs=1, batch_size=16)
                quietly(config, tmp_path / name / "runs" / config.run_id)
            rebuild_tables(tmp_path / name)
    finally:
        torch.set_num_threads(threads)
    assert compare(tmp_path / "first", tmp_path / "second").summary.startswith("identical")
    found = compare(tmp_path / "two", tmp_path / "one")
    assert found.exit_code == 0
    assert set(outcomes(found).values()) <= {"identical", "within"}


# --- Two folders that do not --------------------------------------------------------------------------------


@pytest.mark.parametrize("at_hand", ["predictions", "tables alone"])
def test_networks_that_learned_two_classes_under_each_others_name_are_outside(tmp_path: Path, at_hand: str) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b", learning_rate=0.002)
    change(other, lambda table: exchanged(table, "a", "b"))
    if at_hand == "tables alone":
        one, other = tables_alone(one, tmp_path / "c"), tables_alone(other, tmp_path / "d")
    found = compare(other, one)
    assert found.exit_code == 1
    assert found.summary.startswith("outside: accuracy.csv")
    (accuracy,) = (table for table in found.tables if table.name == "accuracy")
    assert ("recall_" in " ".join(accuracy.details)) == (at_hand == "predictions")


def test_test_images_with_other_labels_are_outside_exactly(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b")
    swap = {0: 1, 1: 0}
    change(other, lambda t: exchanged(t, "a", "b").assign(label=t["label"].replace(swap)))
    found = compare(other, one)
    assert outcomes(found)["accuracy"] == "outside"
    (accuracy,) = (table for table in found.tables if table.name == "accuracy")
    assert "600 of 600 test images are the same, 400 of these have another label" in accuracy.details[0]


def test_another_number_of_test_images_is_outside_exactly(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b")
    change(other, lambda table: table.iloc[:-1])
    one, other = tables_alone(one, tmp_path / "c"), tables_alone(other, tmp_path / "d")
    found = compare(other, one)
    assert outcomes(found)["accuracy"] == "outside"
    assert "599 | 600 images" in " ".join(found.tables[0].details)


def test_a_table_about_the_data_alone_must_be_equal_in_every_row(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b")
    crops = pd.DataFrame({"dataset": "d", "label": ["a", "b"], "images": [10, 20], "detected": [9, 20]})
    crops.to_csv(one / "tables" / "crops.csv", index=False)
    crops.iloc[::-1].to_csv(other / "tables" / "crops.csv", index=False)
    assert outcomes(compare(other, one))["crops"] == "within"
    crops.assign(detected=[10, 20]).to_csv(other / "tables" / "crops.csv", index=False)
    found = compare(other, one)
    assert found.summary.startswith("outside: crops.csv (")
    assert "+ d, a, 10, 10" in next(table.details for table in found.tables if table.name == "crops")


def test_an_empty_table_about_the_data_is_not_one_with_rows(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b")
    (one / "tables" / "leaked_images.csv").write_text("image,kind\n")
    (other / "tables" / "leaked_images.csv").write_text("image,kind\ni0,near\ni0,near\n")
    (leaked,) = (table for table in compare(other, one).tables if table.name == "leaked_images")
    assert (leaked.outcome, leaked.details) == ("outside", ("+ i0, near",) * 2)


def test_contradicting_verdicts_are_outside_and_lost_decisions_are_named(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b")
    claims = pd.read_csv(one / "tables" / "claims.csv")
    for verdicts, outcome in ((("supported", "inconclusive"), "within"), (("supported", "contradicted"), "outside")):
        for study, verdict in zip((one, other), verdicts, strict=True):
            changed = claims.assign(verdict=claims["verdict"].where(claims["claim"] != "C10", verdict))
            changed.to_csv(study / "tables" / "claims.csv", index=False)
        (found,) = (table for table in compare(one, other).tables if table.name == "claims")
        assert found.outcome == outcome
        assert found.details == (f"C10: {verdicts[0]} | {verdicts[1]}",)
        assert "10 of 11 equal" in found.statistic


# --- What cannot be judged ----------------------------------------------------------------------------------


def test_two_seeds_know_no_spread_and_are_not_judged(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a", drawn=(0, 1)), a_study(tmp_path / "b", drawn=(0, 1), learning_rate=0.002)
    for folder in (one, other):
        for name in ("selection", "curves", "claims"):
            (folder / "tables" / f"{name}.csv").unlink()
    found = compare(one, other)
    assert set(outcomes(found).values()) == {"not judged"}
    assert found.exit_code == 2
    assert found.summary == "cannot be compared: accuracy.csv could not be judged (2 not judged)"


def test_a_table_of_one_folder_alone_is_named_and_not_judged(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b")
    (other / "tables" / "ablation.csv").unlink()
    found = compare(one, other)
    assert outcomes(found)["ablation"] == "not judged"
    assert found.exit_code == 0


def test_tables_of_a_version_that_knew_fewer_columns_are_judged_by_what_they_have(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b", learning_rate=0.002)
    one, other = tables_alone(one, tmp_path / "c"), tables_alone(other, tmp_path / "d")
    for name, lost in (("accuracy", ["precision", "twins", "macro_f1"]), ("ablation", ["measure"])):
        path = one / "tables" / f"{name}.csv"
        pd.read_csv(path, keep_default_na=False).drop(columns=lost).to_csv(path, index=False)
    found = {table.name: table for table in compare(other, one).tables}
    assert found["accuracy"].outcome == "within"
    assert found["accuracy"].statistic.startswith("4 rows")
    assert found["ablation"].outcome == "not judged"
    assert "no column measure" in found["ablation"].statistic


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x00", b'a,b\n"1,2\n1,2,3,4\n'])
def test_a_damaged_table_is_one_line_or_not_judged(tmp_path: Path, content: bytes) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b")
    (one / "tables" / "accuracy.csv").write_bytes(content)
    result = CliRunner().invoke(main, ["compare", str(one), str(other)])
    assert result.exit_code == 2
    assert "cannot be read" in result.output or "cannot be compared" in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_missing_folder_or_one_without_tables_is_one_line(tmp_path: Path) -> None:
    study = a_study(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with refused("no such results folder"):
        compare(tmp_path / "nowhere", study)
    with refused("no tables"):
        compare(study, tmp_path / "empty")
    assert CliRunner().invoke(main, ["compare", str(study), str(tmp_path / "nowhere")]).exit_code == 2


# --- The numbers, beside independent ones ------------------------------------------------------------------


def test_cells_are_judged_by_welchs_test_over_seeds(tmp_path: Path) -> None:
    one, other = a_study(tmp_path / "a"), a_study(tmp_path / "b", accuracy=0.6, learning_rate=0.002)
    found = compare(tables_alone(other, tmp_path / "d"), tables_alone(one, tmp_path / "c"))
    tables, p = [pd.read_csv(study / "tables" / "accuracy.csv") for study in (one, other)], []
    for variant in ("full", "backbone"):
        for measure in ("accuracy", "balanced_accuracy", "macro_f1"):
            sides = [table.loc[table["variant"] == variant, measure] for table in tables]
            p.append(ttest_ind(sides[1], sides[0], equal_var=False).pvalue)
    (accuracy,) = (table for table in found.tables if table.name == "accuracy")
    assert accuracy.p == pytest.approx(min(1, 6 * min(p)), rel=1e-9)


# --- float32 beside bfloat16, from the committed runs -------------------------------------------------------


@pytest.fixture(scope="module")
def precisions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The committed study of precisions, cut in two."""
    found = {}
    for precision in ("float32", "bfloat16"):
        found[precision] = tmp_path_factory.mktemp(precision)
        archive.unpack(BFLOAT16, found[precision])
        for run in finished_runs(found[precision]):
            if run.config.precision != precision:
                shutil.rmtree(run.directory)
        rebuild_tables(found[precision])
    return found


def test_float32_beside_bfloat16_is_a_verdict_with_intervals(precisions: dict[str, Path]) -> None:
    found = compare(precisions["bfloat16"], precisions["float32"])
    assert found.exit_code == 0
    assert any(note == "compared across: precision bfloat16 | float32" for note in found.notes)
    (accuracy,) = (table for table in found.tables if table.name == "accuracy")
    assert accuracy.outcome == "within"
    assert "20 rows: paired on the same images" in accuracy.statistic  # two networks, three measures, seven recalls
    (clearest,) = accuracy.shown
    assert re.search(r"[+-]0\.\d{4} \[[+-]0\.\d{4}, [+-]0\.\d{4}\], p .*would have been found", clearest)


def test_real_networks_that_learned_sad_as_happy_are_outside(precisions: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(precisions["float32"], tmp_path / "swapped")
    change(tmp_path / "swapped", lambda table: exchanged(table, "sad", "happy"))
    found = compare(tmp_path / "swapped", precisions["float32"])
    assert found.exit_code == 1
    assert found.named("outside") == ["accuracy"]


def test_packed_runs_are_read_and_nothing_is_written_into_either_folder() -> None:
    before = sorted(path.name for path in BFLOAT16.iterdir())
    found = compare(BFLOAT16, BFLOAT16)
    assert "predictions to the last digit: equal in 12 of 12 runs" in found.notes
    assert sorted(path.name for path in BFLOAT16.iterdir()) == before
