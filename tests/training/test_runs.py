"""What runs leave behind is found again, and those that a question is about are chosen by one rule."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.files import notebooks_dir
from fermoe.study.notebooks import execute
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TrainConfig
from fermoe.training.runs import at_one_rate, compared_protocol, example_runs, finished_runs, read_result, study_listing
from tests.helpers import trees
from tests.helpers.runs import made_up, make_run, quietly
from tests.helpers.trees import refused


def test_the_protocol_that_was_asked_for_is_compared_where_it_has_a_run() -> None:
    published, audited = made_up(protocol="published"), made_up(protocol="audited")
    control = made_up(protocol="audited", crop="masked")
    assert compared_protocol([published, audited], "audited") == "audited"
    assert compared_protocol([published, control], "audited") == "published"
    with refused("controls alone"):
        compared_protocol([control], "audited")


def test_of_several_learning_rates_of_a_network_one_is_compared() -> None:
    """No table names a run by its rate: the rate of most runs speaks, then the commonest, then the largest."""
    rates = {"full": (0.001, 0.002, 0.002), "no_moe": (0.001, 0.002), "no_cnn1": (0.003, 0.004), "no_cnn2": (0.005,)}
    runs = [
        made_up(f"{variant} {seed}", variant=variant, seed=seed % 2, learning_rate=rate)
        for variant, tried in rates.items()
        for seed, rate in enumerate(tried)
    ]
    runs.append(made_up("other", variant="full", seed=0, learning_rate=0.009, crop="blazeface"))
    kept = [run.name for run in at_one_rate(runs)]
    assert kept == ["full 1", "full 2", "no_moe 1", "no_cnn1 1", "no_cnn2 0", "other"]


def test_both_sides_of_a_comparison_take_one_rate_where_both_have_it() -> None:
    counts = {("equal", 0.001): 3, ("equal", 0.002): 1, ("proportional", 0.001): 1, ("proportional", 0.002): 4}
    runs = [
        made_up(f"{composition} {rate} {seed}", composition=composition, learning_rate=rate, seed=seed)
        for (composition, rate), many in counts.items()
        for seed in range(many)
    ]
    assert {run.config.learning_rate for run in at_one_rate(runs)} == {0.002}
    assert len(at_one_rate(runs)) == 5


def test_a_study_of_nothing_but_controls_has_an_example_too() -> None:
    control = made_up(crop="masked")
    assert example_runs([control]) == [control]


@pytest.mark.parametrize("content", ["[1]", "{", '{"runs": 3}', '{"runs": [1]}', '{"runs": null}'])
def test_a_strange_list_of_runs_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "study.json").write_text(content)
    assert study_listing(tmp_path) == {}


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
def test_a_run_reads_images_whatever_bytes_their_names_are_made_of(tmp_path: Path, own_cache: Path) -> None:
    root = trees.folder_tree(tmp_path / "data", train=8, test=4)
    name = os.fsdecode(b'caf\xe9 <b>,"x"\n.png')
    trees.picture(tmp_path / "one.png").rename(root / "test" / "cat" / name)
    config = TrainConfig(dataset="folder", root=str(root), variant="backbone", epochs=1, batch_size=8)
    quietly(config, tmp_path / "runs" / config.run_id)
    (run,) = finished_runs(tmp_path)
    assert f"test/cat/{name}" in run.predictions["image"].tolist()
    assert len(rebuild_tables(tmp_path)["accuracy"]) > 0
    result = CliRunner().invoke(main, ["data", "check", "folder", "--root", str(root)])
    assert result.exit_code == 0, result.output


def test_confusion_matrices_are_shown_of_a_study_that_lacks_its_full_network(tmp_path: Path) -> None:
    run = make_run(tmp_path, variant="backbone", protocol="published", dataset="folder")
    out = tmp_path / "runs" / "05_confusion_matrices"
    out.mkdir()
    given = {"study": str(tmp_path), "out": str(out), "resamples": 20}
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(given))
    notebook = notebooks_dir() / "05_confusion_matrices.ipynb"
    assert execute(str(notebook), str(out / "done.ipynb"), str(tmp_path / "given.yaml")) == 0
    assert (read_result(out) or {})["runs"] == [run] == [found.name for found in finished_runs(tmp_path)]
    assert "no test result of the full network" in (out / "done.ipynb").read_text()


def test_a_notebooks_variables_say_what_is_trained_and_empty_text_is_the_default() -> None:
    fields = {f.name: getattr(TrainConfig(), f.name) for f in dataclasses.fields(TrainConfig)}
    said = {
        "protocol": "published",
        "seed": 3,
        "root": "",
        "test_crop": "",
        "normalisation": "",
        "twins": "",
        "out": "x",
    }
    assert TrainConfig.of({**fields, **said}) == TrainConfig(protocol="published", seed=3)
