"""Packed runs give the study's tables back, byte by byte, and a strange archive is refused."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.files import write_json
from fermoe.study.archive import NAME, pack, packs, unpack
from fermoe.study.provenance import packed_results
from fermoe.study.tables import rebuild_tables
from fermoe.training.runs import StudyResults
from tests.helpers.runs import make_run
from tests.helpers.trees import refused


def a_study(folder: Path) -> list[str]:
    runs = [make_run(folder, variant=variant, seed=seed) for variant in ("full", "backbone") for seed in (0, 1)]
    for run in runs:
        (folder / "runs" / run / "best.safetensors").write_bytes(b"weights")
        (folder / "runs" / run / "validation.csv").write_text("image,label\n")
    write_json(folder / "runs" / "study.json", {"study": "mine", "runs": runs})
    return runs


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "tables").glob("*.csv")}


def test_tables_are_rebuilt_from_the_packed_runs_alone(tmp_path: Path) -> None:
    runs = a_study(tmp_path)
    rebuild_tables(tmp_path)
    before = tables(tmp_path)
    pack(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "tables")
    result = CliRunner().invoke(main, ["tables", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert tables(tmp_path) == before
    # The weights of the network that stands for the study, its full one's first seed, and of no other.
    full = next(run for run in runs if "full" in run and "seed0" in run)
    assert [path.parent.name for path in tmp_path.rglob("best.safetensors")] == [full]


def test_a_large_networks_weights_stay_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack of the paper's channels would be a hundred times as large, and refused when it is read."""
    monkeypatch.setattr("fermoe.study.archive.LIGHT", len(b"weights") - 1)
    a_study(tmp_path)
    pack(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    assert unpack(tmp_path) > 0
    assert not list(tmp_path.rglob("best.safetensors"))


@pytest.mark.parametrize(
    ("protocol", "analyses", "kept"),
    [("published", [], True), ("audited", [], False), ("audited", ["07_expert_utilization"], True)],
)
def test_answers_of_every_epoch_are_kept_where_a_table_reads_them(
    tmp_path: Path, protocol: str, analyses: list[str], kept: bool
) -> None:
    run = make_run(tmp_path, protocol=protocol)
    (tmp_path / "runs" / run / "epochs.npz").write_bytes(b"answers")
    for name in analyses:
        (tmp_path / "runs" / name).mkdir()
        write_json(tmp_path / "runs" / name / "result.json", {})
    write_json(tmp_path / "runs" / "study.json", {"study": "mine", "runs": [run, *analyses]})
    pack(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    unpack(tmp_path)
    assert (tmp_path / "runs" / run / "epochs.npz").exists() == kept
    assert (tmp_path / "runs" / run / "predictions.csv").exists()


def test_many_trainings_are_packed_by_seed_and_a_later_seed_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fermoe.study.archive.PART", 3)
    runs = a_study(tmp_path)
    rebuild_tables(tmp_path)
    before = tables(tmp_path)
    pack(tmp_path)
    assert [path.name for path in packs(tmp_path)] == ["runs-seed0.tar.xz", "runs-seed1.tar.xz", NAME]
    seeds = [path.read_bytes() for path in packs(tmp_path)[:2]]
    later = make_run(tmp_path, variant="full", seed=2)
    write_json(tmp_path / "runs" / "study.json", {"study": "mine", "runs": [*runs, later]})
    pack(tmp_path)
    assert [path.read_bytes() for path in packs(tmp_path)[:2]] == seeds
    write_json(tmp_path / "runs" / "study.json", {"study": "mine", "runs": runs})
    pack(tmp_path)
    assert len(packs(tmp_path)) == 3  # what is no longer the study's is gone
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "tables")
    unpack(tmp_path)
    rebuild_tables(tmp_path)
    assert tables(tmp_path) == before
    assert len(packed_results(packs(tmp_path), set(runs))) == len(runs)


def test_a_pack_keeps_the_studys_name_and_what_notebooks_show_of_its_runs(tmp_path: Path) -> None:
    runs = a_study(tmp_path)
    pack(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    unpack(tmp_path)
    assert StudyResults(tmp_path).name == "mine"
    assert [run.name for run in StudyResults(tmp_path).runs] == sorted(runs)
    assert all((tmp_path / "runs" / run / "validation.csv").exists() for run in runs)


def test_a_pack_of_an_earlier_version_without_a_name_is_still_read(tmp_path: Path) -> None:
    runs = a_study(tmp_path)
    write_json(tmp_path / "runs" / "study.json", {"runs": runs})
    pack(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    unpack(tmp_path)
    assert StudyResults(tmp_path).name == ""
    assert len(StudyResults(tmp_path).runs) == len(runs)


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    a_study(tmp_path)
    assert pack(tmp_path).read_bytes() == pack(tmp_path).read_bytes()


def test_an_interrupted_unpacking_leaves_no_half_run_and_is_made_good_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_study(tmp_path)
    rebuild_tables(tmp_path)
    before = tables(tmp_path)
    pack(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    written = Path.write_bytes

    def stopped(path: Path, content: bytes) -> int:
        if path.name == "predictions.csv":  # the pack holds every run's result.json before
            raise KeyboardInterrupt
        return written(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stopped)
        with pytest.raises(KeyboardInterrupt):
            unpack(tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".unpacking"]
    unpack(tmp_path)
    rebuild_tables(tmp_path)
    assert tables(tmp_path) == before


def test_runs_that_are_there_are_left_alone(tmp_path: Path) -> None:
    first, *_ = a_study(tmp_path)
    pack(tmp_path)
    result = tmp_path / "runs" / first / "result.json"
    result.write_text("mine")
    assert unpack(tmp_path) == 0
    assert result.read_text() == "mine"


def test_there_must_be_runs_to_pack_and_an_archive_to_unpack(tmp_path: Path) -> None:
    with refused("no finished run"):
        pack(tmp_path)
    with refused("no packed runs"):
        unpack(tmp_path)


@pytest.mark.parametrize(
    "name", ["../outside.csv", "runs/r/../../x", "/tmp/x", "runs/r/code.py", "runs/a/b/result.json"]
)
def test_a_member_that_does_not_belong_there_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / NAME, "w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with refused("does not belong"):
        unpack(tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {NAME, ".unpacking"}  # the latter is a lock


def test_a_link_in_the_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / NAME, "w:xz") as tar:
        member = tarfile.TarInfo("runs/r/result.json")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with refused("does not belong"):
        unpack(tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_archive_is_one_line(tmp_path: Path, keep: int) -> None:
    a_study(tmp_path)
    path = pack(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    shutil.rmtree(tmp_path / "runs")
    with refused("cannot be read"):
        unpack(tmp_path)
