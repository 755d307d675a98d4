"""Tables are rebuilt from finished runs alone, and equal what one computes from the predictions by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, ttest_ind

from fermoe.evidence import robustness
from fermoe.evidence.ablation import ablation_table
from fermoe.evidence.accuracy import accuracy_table
from fermoe.evidence.robustness import Outcomes
from fermoe.files import write_json
from fermoe.study.reading import printed
from fermoe.study.tables import TABLES, read_tables, rebuild_tables
from fermoe.study.tables_for_people import PeopleTable
from fermoe.study.tables_of_claims import SECTIONS, comparison, further
from fermoe.training.runs import finished_runs
from tests.helpers.runs import make_run


def correct(study: Path, run: str) -> np.ndarray:
    table = pd.read_csv(study / "runs" / run / "predictions.csv")
    return (table["label"] == table["predicted"]).to_numpy()


def test_accuracy_rows_name_their_runs_and_equal_the_predictions(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, seed=seed) for seed in (0, 1)]
    table = accuracy_table(finished_runs(tmp_path))
    assert table["run"].tolist() == runs
    for row in table.itertuples():
        assert row.correct == correct(tmp_path, row.run).sum()
        assert row.accuracy == pytest.approx(row.correct / row.images)
        assert row.ci_low < row.accuracy < row.ci_high


def test_a_single_seed_is_compared_by_mcnemar_and_several_by_their_mean(tmp_path: Path) -> None:
    full = [make_run(tmp_path, accuracy=0.9, seed=seed) for seed in (0, 1, 2)]
    backbone = [make_run(tmp_path, accuracy=0.5, variant="backbone", seed=seed) for seed in (0, 1, 2)]
    lone = make_run(tmp_path, accuracy=0.6, variant="no_moe", seed=1)
    table = ablation_table(finished_runs(tmp_path))
    table = table[table["measure"] == "accuracy"].set_index("alternative")
    assert set(table.index) == {"backbone", "no_moe"}
    assert (table["baseline"] == "full").all()

    difference = np.mean(
        [correct(tmp_path, b).mean() - correct(tmp_path, f).mean() for f, b in zip(full, backbone, strict=True)]
    )
    assert table.at["backbone", "difference"] == pytest.approx(difference)
    assert table.at["backbone", "seeds"] == 3
    shares = ([correct(tmp_path, run).mean() for run in runs] for runs in (backbone, full))
    over_seeds = ttest_ind(*shares, equal_var=False).confidence_interval()
    assert table.loc["backbone", ["seeds_low", "seeds_high"]].tolist() == pytest.approx(
        [over_seeds.low, over_seeds.high]
    )
    assert np.isnan(table.at["no_moe", "seeds_low"])
    assert set(table.at["backbone", "runs"].split()) == {*full, *backbone}

    a, b = correct(tmp_path, full[1]), correct(tmp_path, lone)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    assert table.at["no_moe", "seeds"] == 1
    assert table.at["no_moe", "p_value"] == pytest.approx(binomtest(only_b, only_a + only_b, 0.5).pvalue)
    assert (table["p_holm"] >= table["p_value"]).all()


def test_a_contrast_varies_one_axis_only(tmp_path: Path) -> None:
    make_run(tmp_path, crop="none")
    make_run(tmp_path, crop="blazeface")
    make_run(tmp_path, crop="blazeface", protocol="published")
    make_run(tmp_path, crop="none", variant="backbone")
    table = ablation_table(finished_runs(tmp_path))
    found = {tuple(row) for row in table[["contrast", "baseline", "alternative"]].to_numpy()}
    assert found == {
        ("crop", "none", "blazeface"),
        ("protocol", "published", "audited"),
        ("variant", "full", "backbone"),
    }


def test_protocols_are_compared_each_with_its_own_input_without_augmentation(tmp_path: Path) -> None:
    published = make_run(tmp_path, protocol="published")
    audited = make_run(tmp_path)
    make_run(tmp_path, augmentation="augment")
    make_run(tmp_path, normalisation="bgr_unit")
    table = ablation_table(finished_runs(tmp_path))
    (row,) = table[(table["contrast"] == "protocol") & (table["measure"] == "accuracy")].itertuples()
    assert row.runs == f"{published} {audited}"


def test_networks_tested_otherwise_than_trained_are_a_contrast_of_their_own(tmp_path: Path) -> None:
    for crop, tested in (("none", None), ("blazeface", None), ("blazeface", "none")):
        make_run(tmp_path, crop=crop, test_crop=tested)
    table = ablation_table(finished_runs(tmp_path))
    found = {tuple(row) for row in table[["contrast", "crop", "baseline", "alternative"]].to_numpy()}
    assert found == {("crop", "", "none", "blazeface"), ("test_crop", "blazeface", "blazeface", "none")}


def test_the_published_mismatch_is_compared_with_the_same_protocol_tested_cropped(tmp_path: Path) -> None:
    make_run(tmp_path, dataset="fer2013", protocol="published", crop="blazeface")
    make_run(tmp_path, dataset="fer2013", protocol="published", crop="blazeface", test_crop="blazeface")
    row = ablation_table(finished_runs(tmp_path)).iloc[0]
    assert (row.contrast, row.baseline, row.alternative) == ("test_crop", "blazeface", "none")


def test_runs_on_other_test_images_are_not_paired(tmp_path: Path) -> None:
    make_run(tmp_path)
    make_run(tmp_path, images=30, variant="backbone")
    assert ablation_table(finished_runs(tmp_path)).empty


def test_runs_that_are_not_the_studys_are_left_out(tmp_path: Path) -> None:
    mine, _ = make_run(tmp_path, seed=0), make_run(tmp_path, seed=1)
    write_json(tmp_path / "runs" / "study.json", {"runs": [mine]})
    assert accuracy_table(finished_runs(tmp_path))["run"].tolist() == [mine]


def test_an_empty_study_gives_empty_tables_and_claims_that_say_so(tmp_path: Path) -> None:
    tables = rebuild_tables(tmp_path)
    assert tables["accuracy"].empty
    assert tables["ablation"].empty
    assert tables["claims"]["claim"].tolist() == [f"C{i}" for i in range(1, 12)]
    assert set(tables["claims"].set_index("claim").loc[["C1", "C2", "C3", "C4"], "verdict"]) == {"not tested"}


def test_rebuilding_gives_the_same_bytes_without_times_or_hosts(tmp_path: Path) -> None:
    for variant in ("full", "backbone"):
        for seed in (0, 1, 2):
            make_run(tmp_path, variant=variant, seed=seed)
    contents = []
    for _ in range(2):
        rebuild_tables(tmp_path)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / "tables").glob("*.csv")})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"accuracy.csv", "ablation.csv", "selection.csv", "curves.csv", "claims.csv"}
    assert str(tmp_path).encode() not in b"".join(contents[0].values())


def test_robustness_is_rebuilt_from_the_answers_unless_they_are_of_other_trainings(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    answers = Outcomes((run,), (("gamma", 1),), np.arange(6) % 3, np.zeros((1, 2, 6), np.uint8))
    robustness.TABLE.keep(tmp_path / "runs" / robustness.NOTEBOOK, answers)
    (row,) = rebuild_tables(tmp_path)["robustness"].itertuples()
    assert (row.perturbation, row.accuracy, row.runs) == ("gamma", pytest.approx(1 / 3), run)
    (tmp_path / "runs" / run / "result.json").unlink()
    said: list[str] = []
    assert "robustness" not in rebuild_tables(tmp_path, said.append)
    assert not (tmp_path / "tables" / "robustness.csv").exists()
    assert [line.partition(".csv")[0].split()[-1].split("/")[-1] for line in said] == ["robustness", "robustness_means"]
    assert all(robustness.NOTEBOOK in line for line in said)


def test_a_table_stays_where_nobody_kept_its_answers(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "tables").mkdir()
    kept = tmp_path / "tables" / "robustness.csv"
    kept.write_text(",".join(robustness.COLUMNS) + "\n")
    rebuild_tables(tmp_path)
    assert kept.exists()


def test_drawn_faces_stand_for_none_of_the_papers_datasets(tmp_path: Path) -> None:
    make_run(tmp_path)
    beside = comparison(rebuild_tables(tmp_path)["accuracy"])
    assert len(beside) == 4
    assert (beside["ours, audited"] == "needs the data").all()


def test_none_stays_a_word_in_tables_that_are_read_back(tmp_path: Path) -> None:
    make_run(tmp_path, crop="none")
    rebuild_tables(tmp_path)
    assert read_tables(tmp_path)["accuracy"]["crop"].tolist() == ["none"]


def test_several_crops_stand_in_rows_of_their_own_beside_the_paper(tmp_path: Path) -> None:
    for crop, accuracy in (("none", 0.9), ("blazeface", 0.4)):
        for seed in (0, 1):
            make_run(tmp_path, dataset="rafdb", crop=crop, seed=seed, accuracy=accuracy, images=400)
    table = accuracy_table(finished_runs(tmp_path))
    beside = comparison(table, "my-study")
    assert beside["command"].value_counts()["fermoe study my-study --set root=DIR"] == 2
    assert "fermoe study affectnet7 --set root=DIR" in beside["command"].tolist()
    rafdb = beside[beside["dataset"] == "RAF-DB"].set_index("crop")
    assert len(beside) == 5
    for crop in ("none", "blazeface"):
        mine = table[(table["crop"] == crop) & (table["split"] == "test")]["accuracy"]
        assert rafdb.at[crop, "ours, audited"].startswith(f"{100 * mine.mean():.1f} % [")
        assert "2 seeds" in rafdb.at[crop, "ours, audited"]
        assert rafdb.at[crop, "ours, published"] == "not run"


def test_runs_with_another_input_than_their_protocols_stand_not_beside_the_paper(tmp_path: Path) -> None:
    run = make_run(tmp_path, dataset="fer2013", crop="blazeface", images=400)
    make_run(tmp_path, dataset="fer2013", crop="blazeface", test_crop="none", images=400, accuracy=0.2)
    make_run(tmp_path, dataset="fer2013", crop="blazeface", normalisation="bgr_unit", images=400, accuracy=0.2)
    beside = comparison(accuracy_table(finished_runs(tmp_path))).set_index("dataset")
    assert beside.at["FER-2013", "ours, audited"].startswith(f"{100 * correct(tmp_path, run).mean():.1f} % [")
    assert beside.at["FER-2013", "ours, audited"].endswith("1 seed")


def test_a_study_without_the_full_network_has_nothing_beside_the_paper(tmp_path: Path) -> None:
    make_run(tmp_path, dataset="rafdb", variant="backbone")
    beside = comparison(accuracy_table(finished_runs(tmp_path)))
    assert len(beside) == 4
    assert (beside["ours, audited"] == "needs the data").all()


def test_a_table_without_a_section_in_the_report_is_shown_under_its_name() -> None:
    assert set(SECTIONS) <= {table.name for table in TABLES}
    known = {name: pd.DataFrame({"a": [1]}) for name in SECTIONS}
    assert further(known) == []
    new = pd.DataFrame({"variant": ["full"], "a_share": [0.12345], "run": ["an id"], "text": ["<b>"]})
    (table,) = further({**known, "new": new})
    assert (table.caption, table.csv) == ("new.csv", "new.csv")
    assert table.columns == ("Variant", "A share", "Text")
    assert table.rows == [["full network", "0.123", "<b>"]]


def test_a_printed_table_is_a_page_long_names_its_csv_and_shows_names_as_they_are_written() -> None:
    evil = "<script>alert(1)</script>"
    table = PeopleTable("Caption", ("Name", evil), [(evil, str(number)) for number in range(15)], "ablation.csv")
    page = printed(table).data
    assert page.count("<tr>") == 1 + 12
    assert "3 more rows, and every digit: tables/ablation.csv" in page
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 1 + 12
    assert "<style" not in page
    assert page.count("text-align:left") >= page.count("<td")
    assert "nothing to show" in printed(PeopleTable("Caption", ("Name",), ())).data
