"""`fermoe train` makes one run from the keys of a study file, says where it lies, and refuses what is not one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fermoe.cli import main
from fermoe.files import write_text
from fermoe.study import single
from fermoe.study.plan import load_study, single_training, training_configs
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TrainConfig
from tests.helpers.trees import folder_tree, refused

SMALL = ("dataset_options={train: 40, test: 14}", "variant=backbone", "epochs=1")


def train(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def test_without_keys_it_is_a_run_of_the_defaults() -> None:
    assert single_training([]) == TrainConfig()


def test_a_run_of_a_study_file_is_the_same_run_from_the_command_line(tmp_path: Path) -> None:
    lines = ["title: T", "dataset: synthetic", "dataset_options: {train: 40, test: 14}", "protocols: [audited]"]
    lines += ["variants: [backbone]", "crops: [blazeface]", "augmentations: [augment]", "seeds: [3]"]
    lines += ["training: {epochs: 2, batch_size: 8, learning_rate: 0.005, decay: 0.8, twins: kept}"]
    write_text(tmp_path / "s.yaml", "\n".join(lines))
    (config,) = training_configs(load_study(str(tmp_path / "s.yaml")))
    settings = ["dataset_options={train: 40, test: 14}", "protocol=audited", "variant=backbone", "crop=blazeface"]
    settings += ["augmentation=augment", "seed=3", "epochs=2", "batch_size=8", "learning_rate=0.005"]
    assert single_training([*settings, "training.decay=0.8", "twins=kept"]).run_id == config.run_id


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["nonsense=1"], ("unknown key 'nonsense'", "variant")),
        (["variants=[full]"], ("unknown key 'variants'", "variant")),
        (["title=T"], ("unknown key 'title'",)),
        (["variant=nonsense"], ("nonsense", "backbone")),
        (["epochs=0"], ("epochs is 0",)),
        (["seed=[0,1]"], ("2 trainings", "one value per key")),
        (["quick"], ("not key=value",)),
        (["dataset=nonsense"], ("nonsense", "fer2013")),
        (["training=5"], ("training is 5",)),
        (["training.nonsense=5"], ("nonsense",)),
    ],
)
def test_what_is_not_one_run_is_one_line(settings: list[str], words: tuple[str, ...]) -> None:
    with refused(*words):
        single_training(settings)


def test_it_says_what_it_did_and_where_it_lies(tmp_path: Path) -> None:
    result = train(*SMALL, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    test = kept["metrics"]["test"]
    assert f"{test['correct']} of {test['images']}" in result.output
    assert f"run: {tmp_path / 'run'}" in result.output
    for name in ("predict PICTURES --run", "export"):
        assert f"fermoe {name} {tmp_path / 'run'}" in result.output


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(*SMALL, "--out", tmp_path / "run")
    before = (tmp_path / "run" / "result.json").read_bytes()
    assert train(*SMALL, "--out", tmp_path / "run").exit_code == 0
    assert (tmp_path / "run" / "result.json").read_bytes() == before


def test_runs_without_a_study_are_one_folder_of_results_that_tables_are_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "results_dir", lambda: tmp_path)
    root = folder_tree(tmp_path / "pets", train=8)
    for seed in (0, 1):
        settings = ("dataset=folder", f"root={root}", "variant=backbone", "epochs=1", "batch_size=4", f"seed={seed}")
        assert train(*settings).exit_code == 0
    assert set(rebuild_tables(tmp_path / "single")["accuracy"]["seed"]) == {0, 1}


def test_two_words_are_a_run_of_a_study(tmp_path: Path) -> None:
    result = train("quick", "nonsense", "--out", tmp_path)
    assert result.exit_code == 2
    assert "the study has no training 'nonsense'" in result.stderr


def test_of_several_processes_the_first_one_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "is_first", lambda: False)
    result = train(*SMALL, "--out", tmp_path / "run")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "run" / "result.json").exists()


def test_a_dataset_without_its_folder_is_one_line_and_exit_code_2() -> None:
    result = train("dataset=fer2013")
    assert result.exit_code == 2
    assert result.stderr.count("fermoe: ") == 1
    assert "root" in result.stderr
