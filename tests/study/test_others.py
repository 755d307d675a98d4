"""The commands that set another model beside a study, from a CSV and from the baseline, and what they leave behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fermoe.cli import main
from fermoe.data.datasets import load_dataset
from fermoe.files import results_dir, write_json
from fermoe.study.archive import BESIDE, pack, pack_beside, unpack
from fermoe.study.page import write_report
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TrainConfig
from fermoe.training.foreign import foreign_runs
from fermoe.training.runs import finished_runs
from tests.helpers.runs import quietly
from tests.helpers.trees import refused

OPTIONS = {"train": 120, "test": 42, "framing": "tight", "size": 48}
LONG = results_dir() / "fer2013-long-miniature"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one training on drawn faces."""
    study = tmp_path_factory.mktemp("study")
    config = TrainConfig(dataset_options=OPTIONS, epochs=1, batch_size=16)
    quietly(config, study / "runs" / config.run_id)
    write_json(study / "runs" / "study.json", {"study": "mine", "runs": [config.run_id]})
    rebuild_tables(study)
    return study


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "study")
    return tmp_path / "study"


def command(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def answers(path: Path) -> Path:
    """A model that is right on two of three images."""
    faces = load_dataset("synthetic", **OPTIONS)
    test = faces.table[faces.table["split"] == "test"].reset_index(drop=True)
    wrong = test["label"].map(lambda label: faces.labels[(label + 1) % len(faces.labels)])
    test["label"] = test["emotion"].where(test.index % 3 > 0, wrong)
    test[["image", "label"]].to_csv(path, index=False)
    return path


def test_a_csv_becomes_rows_beside_the_full_network(study: Path, tmp_path: Path) -> None:
    result = command("import", "mine", answers(tmp_path / "a.csv"), "--dataset", "synthetic", "--study", study)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(study / "tables" / "beside.csv")
    assert table["measure"].tolist() == ["accuracy", "balanced_accuracy", "macro_f1"]
    assert table["value"].iloc[0] == pytest.approx(28 / 42)
    assert f"{100 * 28 / 42:.2f} %" in result.output
    assert len(finished_runs(study)) == 1


def test_the_same_name_again_takes_the_place_of_the_first(study: Path, tmp_path: Path) -> None:
    path = answers(tmp_path / "a.csv")
    for value in (28, 42):
        assert command("import", "mine", path, "--dataset", "synthetic", "--study", study).exit_code == 0
        (run,) = foreign_runs(study)
        assert run.result["metrics"]["test"]["correct"] == value
        faces = load_dataset("synthetic", **OPTIONS).table
        faces.loc[faces["split"] == "test", ["image", "emotion"]].set_axis(["image", "label"], axis=1).to_csv(path)


def test_the_baseline_is_one_command_and_the_report_shows_it(study: Path) -> None:
    result = command("baseline", "hog_svm", "--dataset", "synthetic", "--study", study)
    assert result.exit_code == 0, result.output
    (run,) = foreign_runs(study)
    assert run.name == "hog_svm"
    assert run.result["parameters"]["source"]["train_images"] == 108
    before = write_report(study, "T").read_text()
    assert "Other models on the same test images" in before
    assert "hog_svm" in before
    (study / "tables" / "beside.csv").unlink()
    assert "hog_svm" not in write_report(study, "T").read_text()


def test_other_models_are_packed_in_a_file_of_their_own(study: Path, tmp_path: Path) -> None:
    assert pack_beside(study) is None
    alone = pack(study).read_bytes()
    command("import", "mine", answers(tmp_path / "a.csv"), "--dataset", "synthetic", "--study", study)
    assert command("pack", study).exit_code == 0
    assert pack(study).read_bytes() == alone
    table = (study / "tables" / "beside.csv").read_bytes()
    (run,) = foreign_runs(study)
    kept = {path.name: path.read_bytes() for path in run.directory.iterdir()}
    shutil.rmtree(study / "runs")
    unpack(study)
    assert {path.name: path.read_bytes() for path in foreign_runs(study)[0].directory.iterdir()} == kept
    rebuild_tables(study)
    assert (study / "tables" / "beside.csv").read_bytes() == table


def test_packed_runs_are_restored_before_another_model_is_set_beside_them(study: Path, tmp_path: Path) -> None:
    pack(study)
    shutil.rmtree(study / "runs")
    result = command("import", "mine", answers(tmp_path / "a.csv"), "--dataset", "synthetic", "--study", study)
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(study / "tables" / "beside.csv")) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--dataset": "fer2013"}, "the study is about 'synthetic', not 'fer2013'"),
        ({"--dataset": "nothing"}, "unknown dataset 'nothing'"),
        ({"--study": "nowhere"}, "no such study"),
        ({"name": "a/b"}, "cannot be the model's name"),
        ({"path": "nowhere.csv"}, "not a CSV file"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(
    study: Path, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    given = {"name": "m", "path": answers(tmp_path / "a.csv"), "--dataset": "synthetic", "--study": study, **change}
    result = command(
        "import", given["name"], given["path"], "--dataset", given["--dataset"], "--study", given["--study"]
    )
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert foreign_runs(study) == []


def test_a_study_without_trainings_and_an_unknown_baseline_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    result = command("import", "m", "a.csv", "--dataset", "synthetic", "--study", tmp_path / "s")
    assert result.exit_code == 2
    assert "no finished training" in result.output
    result = command("baseline", "x", "--dataset", "synthetic", "--study", tmp_path / "s")
    assert "unknown baseline 'x'" in result.output


@pytest.mark.skipif(not (LONG / BESIDE).exists(), reason="needs the committed answers of the baseline")
def test_the_committed_baseline_is_the_floor_of_the_committed_study(tmp_path: Path) -> None:
    """From the pack alone: its accuracy, by hand, and no answer of a path or a picture."""
    shutil.copy(LONG / BESIDE, tmp_path)
    unpack(tmp_path)
    (run,) = foreign_runs(tmp_path)
    right = (run.predictions["label"] == run.predictions["predicted"]).to_numpy()
    table = pd.read_csv(LONG / "tables" / "beside.csv").set_index(["test_images", "measure"])
    assert table.loc[("all", "accuracy"), "value"] == pytest.approx(right.mean(), abs=1e-6)
    assert table.loc[("without twins", "accuracy"), "value"] == pytest.approx(right[~run.twins].mean(), abs=1e-6)
    assert np.count_nonzero(run.twins) == 568
    assert (table["crossed_high"] < 0).all()  # the network is better by every measure
    assert sorted(path.name for path in run.directory.iterdir()) == ["predictions.csv", "result.json"]


def test_an_archive_of_other_models_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / BESIDE).write_bytes(b"no archive")
    with refused("cannot be read", BESIDE):
        unpack(tmp_path)
