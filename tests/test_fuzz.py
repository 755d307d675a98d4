"""Whatever a user gives, the answer is right or one line: never a traceback, another exit code, or a file elsewhere.

Each test draws its own inputs; `FERMOE_FUZZ_SEED` repeats those of a run, whose seed pytest prints above its tests.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import shutil
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, event, given, seed, settings
from hypothesis import strategies as st

from fermoe.cli import main
from fermoe.data.arrays import readable
from fermoe.data.datasets import Dataset, load_dataset
from fermoe.errors import UserError
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.network.weights import load_initial_weights, load_weights, save_weights
from fermoe.study.archive import NAME, pack, unpack
from fermoe.training.runs import StudyResults
from tests.conftest import FUZZ_SEED
from tests.helpers import trees
from tests.helpers.golden import GOLDEN
from tests.study.test_archive import a_study

Draw = Callable[[st.SearchStrategy[Any]], Any]

QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


def fuzz(cases: int) -> Callable[[Any], Any]:
    """Run a test on so many drawn inputs, from the seed of this session; `FERMOE_FUZZ_FACTOR` times as many to soak."""
    cases *= int(os.environ.get("FERMOE_FUZZ_FACTOR", "1"))
    limits = settings(max_examples=cases, deadline=None, database=None, suppress_health_check=QUIET)
    return lambda test: seed(FUZZ_SEED)(limits(test))


@contextlib.contextmanager
def right_or_one_line() -> Iterator[None]:
    """The block ends well or with a UserError of one line that is not too long to read."""
    said = ""
    try:
        yield
    except UserError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 2000


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder for every test function, in which each case makes its own."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path, ignore_errors=True)


# Studies

BASE: dict[str, Any] = {
    "title": "A study",
    "dataset": "synthetic",
    "dataset_options": {"train": 6, "test": 3, "framing": "tight", "size": 32, "labels": ["happy", "sad"]},
    "model": "miniature",
    "protocols": ["audited"],
    "variants": ["full", "backbone"],
    "crops": ["none"],
    "seeds": [0, 1],
    "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.001, "weights": "random"},
    "extra": [{"protocol": "published", "variant": ["full"], "seed": [0]}, {"crop": "masked"}],
    "notebooks": ["04_training", "09_robustness"],
    "analyses": {"09_robustness": {"images": 5}},
    "threads": 1,
}
KNOWN = ["full", "backbone", "none", "masked", "audited", "published", "imagenet", "vggface2:x", "scene", "synthetic"]
KNOWN += ["folder", "paper", "../x", "a/b", "~", "", "\0", "\ud800", "<script>", "x" * 3000, "[", "{", "é", "none\n"]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([0, 1, -1, 2, 3, 2**31, 2**63, 10**30, 10**400, 0.1, 1e308, -0.0]),
        st.floats(),
        st.sampled_from(KNOWN),
        st.text(max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*BASE, "seed", "name"]), inner),
    max_leaves=5,
)


PLAUSIBLE: dict[Any, list[Any]] = {
    "title": ["é", "<b>", "x\ny"], "train": [4, 9], "test": [2], "size": [33, None], "labels": [["fear", "happy"]],
    "framing": ["scene"], "protocols": ["published", ["published", "audited"]], "variants": ["no_moe", ["full"]],
    "crops": [["none", "masked"], "annotated"], "seeds": [[5], 7, [0, 2**32 - 1]], "epochs": [3], "batch_size": [2],
    "learning_rate": [1, 0.5], "weights": ["imagenet", "vggface2:~/x.h5", "vggface2:a b.h5"], "extra": [[], None, [{}]],
    "notebooks": [[], "04_training", ["01_data", "10_report"]], "images": [7, 0, "x"], "threads": [0, 4],
    "analyses": [{}, None], "training": [{}, None], "model": ["paper"], "crop": [["none", "annotated"]],
    "variant": ["backbone", []], "seed": [[1, 2], 3], "dataset_options": [{"train": 5, "test": 2}],
    "proportions": [{"happy": 1, "sad": 2.5}], "occluded": [0, 1, 0.5], "timeout": [1, 0.5],
    "augmentations": ["augment"],
}  # fmt: skip
"""By key: other values that a study may well have, so that some cases come far."""


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a tree of lists and mappings."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


KEYS = [".".join(map(str, path)) for path in places(BASE) if all(isinstance(part, str) for part in path)]
KEYS += ["extra", "root", "name", "weights", "timeout", "skip_unreadable", "epochs", "batch_size", "augmentations"]
KEYS += [
    "dataset_options.name",
    "dataset_options.proportions",
    "dataset_options.occluded",
    "training.patience",
    ".",
    "",
]
KEYS += ["dataset_options.root", "dataset_options.skip_unreadable", "training.precision", "a.b.c", "title.x"]
SNIPPETS = ['!!int "x"', "!!bool x", "!!timestamp x", "!!binary x", "!!python/object:os.system x", "&a [*a]", "|", ">"]
SNIPPETS += [
    "{a: 1, a: 2}",
    "{1: 2, b: 3}",
    "? [a]\n: b",
    "<<: {a: 1}",
    "9" * 5000,
    "1e999",
    "-.inf",
    ".nan",
    "0x",
    "1:30",
]
SNIPPETS += [
    "2020-01-01",
    "[" * 300,
    "&a {b: *a}",
    "---\na: 1\n---\n",
    "%",
    "@",
    "`",
    "\t",
    "\0",
    "'",
    '"\\uD800"',
    "[a]",
]
SNIPPETS += ["{x: …}", "[1]", "abc", "5", "true", "null", "~", "[]", "{}", "[{}]", "[[]]", "[null]", "0.1", "[1,[2]]"]


def dry_run(folder: Path, content: str, *arguments: str) -> None:
    """The study is listed, or refused in one line with exit code 2; nothing is written."""
    (folder / "study.yaml").write_bytes(content.encode(errors="surrogatepass"))
    command = ["study", str(folder / "study.yaml"), "--dry-run", "--out", str(folder / "out"), *arguments]
    result = CliRunner().invoke(main, command)
    event(f"exit code {result.exit_code}")
    if result.exit_code != 0:
        assert result.exit_code == 2, (result.exception, result.output)
        lines = result.stderr.strip().splitlines()
        assert isinstance(result.exception, SystemExit), result.exception
        assert len(lines) == 1, lines
        assert len(lines[0]) < 2000
    assert not (folder / "out").exists()


@fuzz(110)
@given(data=st.data())
def test_a_study_file_with_other_values(data: st.DataObject, folder: Path) -> None:
    tree = copy.deepcopy(BASE)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(sorted(places(tree), key=str)))
        at = tree
        for part in path[:-1]:
            at = at[part]
        likely = PLAUSIBLE.get(path[-1], [])
        at[path[-1]] = data.draw(st.sampled_from(likely) if likely and data.draw(st.booleans()) else VALUES)
    dry_run(folder, yaml.safe_dump(tree, allow_unicode=False))


@fuzz(80)
@given(data=st.data())
def test_a_study_file_with_strange_text_in_it(data: st.DataObject, folder: Path) -> None:
    text = yaml.safe_dump(BASE)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(SNIPPETS) | st.text(max_size=4)) + text[end:]
    dry_run(folder, text)


@fuzz(130)
@given(data=st.data())
def test_settings_on_the_command_line(data: st.DataObject, folder: Path) -> None:
    arguments = []
    for _ in range(data.draw(st.integers(1, 2))):
        key = data.draw(st.sampled_from(KEYS) | st.text(max_size=4))
        likely = [yaml.safe_dump(value, default_flow_style=True) for value in PLAUSIBLE.get(key.rpartition(".")[2], [])]
        strange = st.sampled_from(SNIPPETS) | st.sampled_from(KNOWN) | st.text(max_size=6)
        value = data.draw(st.sampled_from(likely) if likely and data.draw(st.booleans()) else strange)
        arguments += ["--set", data.draw(st.sampled_from([f"{key}={value}"] * 9 + [f"{key}{value}"]))]
    dry_run(folder, yaml.safe_dump(BASE), *arguments)


# Datasets


def below(dataset: Dataset, root: Path) -> None:
    """Every listed file lies in the dataset's folder."""
    for path in dataset.table["path"]:
        assert Path(path).resolve().is_relative_to(root.resolve()), path


def damaged(draw: Draw, content: bytes) -> bytes:
    """Bytes cut, overwritten or with something put in."""
    start = draw(st.integers(0, len(content)))
    end = min(len(content), start + draw(st.integers(0, 40)))
    return content[:start] + draw(st.binary(max_size=12)) + content[end : draw(st.sampled_from([end, len(content)]))]


CELLS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "",
    '"',
    "a\nb",
    "\0",
    "1",
    "happy",
    "é.jpg",
    "x" * 400,
    "con.jpg",
    "\r",
    ",",
]


@fuzz(60)
@given(data=st.data())
def test_label_files(data: st.DataObject, folder: Path) -> None:
    root = Path(tempfile.mkdtemp(dir=folder))
    name = data.draw(st.sampled_from(["rafdb", "affectnet7"]))
    (trees.rafdb_tree if name == "rafdb" else trees.affectnet_tree)(root, linked=True)
    (root.parent / "outside.jpg").write_bytes(b"")
    listed = root / data.draw(
        st.sampled_from(["train_labels.csv", "test_labels.csv"]) if name == "rafdb" else st.just("labels.csv")
    )
    content = listed.read_bytes()
    if data.draw(st.booleans()):
        content = damaged(data.draw, content)
    else:
        lines = content.decode().splitlines()
        cells = lines[row := data.draw(st.integers(0, len(lines) - 1))].split(",")
        cells[data.draw(st.integers(0, len(cells) - 1))] = data.draw(st.sampled_from([*CELLS, "../outside.jpg"]))
        lines[row] = ",".join(cells)
        content = "\n".join(lines).encode()
    listed.write_bytes(content)
    with right_or_one_line():
        dataset = load_dataset(name, root, skip_unreadable=data.draw(st.booleans()))
        below(dataset, root)
        event("listed")
        assert len(dataset.fingerprint) == 16


NAMES = [
    "train",
    "test",
    "cat",
    "dog",
    "a.jpg",
    "b.png",
    ".hidden",
    "c.JPG",
    "x\udcff.jpg",
    "sp ace.jpg",
    "d.jpg.txt",
    "<b>.jpg",
]


@fuzz(50)
@given(data=st.data())
def test_folder_trees(data: st.DataObject, folder: Path) -> None:
    root = Path(tempfile.mkdtemp(dir=folder))
    trees.folder_tree(root, train=2, test=1)
    (root.parent / "secret.jpg").write_bytes(b"secret")
    for _ in range(data.draw(st.integers(1, 4))):
        likely = st.sampled_from(["train/cat", "test/dog", "train", "test/fox"])
        parts = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
        path = root.joinpath(data.draw(likely | st.just("")), *parts[: data.draw(st.integers(1, 3))])
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and data.draw(st.booleans()) else None
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = data.draw(st.sampled_from(["picture", "bytes", "folder", "link", "loop"]))
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(root.parent / "secret.jpg")
            elif kind == "loop":
                path.symlink_to(path)
            else:
                path.write_bytes(
                    (root / "train/cat/0.png").read_bytes() if kind == "picture" else b"%!PS-Adobe-3.0 EPSF\n"
                )
    with right_or_one_line():
        dataset = load_dataset("folder", root, skip_unreadable=data.draw(st.booleans()))
        assert len(dataset.fingerprint) == 16
        readable(dataset)
        event("listed")


# Weights


@pytest.fixture(scope="module")
def network() -> ExpressNetMoE:
    return ExpressNetMoE(ModelConfig.miniature(2, "backbone"))


@fuzz(40)
@given(data=st.data())
def test_weight_files(data: st.DataObject, folder: Path, network: ExpressNetMoE) -> None:
    path = folder / "weights"
    kind = data.draw(st.sampled_from(["vggface2", "imagenet", "own"]))
    if kind == "own":
        save_weights(network, path)
        content = path.read_bytes()
        content = damaged(data.draw, content[:2000]) + content[2000:]
    else:
        content = damaged(data.draw, (GOLDEN / "keras_vggface_notop_layout.h5").read_bytes())
    path.write_bytes(content)
    with right_or_one_line():
        if kind == "own":
            load_weights(network, path)
        else:
            load_initial_weights(network, f"{kind}:{path}")


# Packs


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    study = tmp_path_factory.mktemp("study")
    a_study(study)
    return pack(study).read_bytes()


MEMBERS = [
    "runs/study.json",
    "runs/x/result.json",
    "../x",
    "/tmp/fermoe-was-here",
    "runs/../../x",
    "runs/x",
    "runs//result.json",
]
MEMBERS += ["runs/x/../../../y", "runs/./result.json", "", "runs/x/result.json/y", "runs/\udcff/result.json", "x" * 300]


@fuzz(40)
@given(data=st.data())
def test_packs(data: st.DataObject, folder: Path, packed: bytes) -> None:
    study = Path(tempfile.mkdtemp(dir=folder))
    if data.draw(st.booleans()):
        (study / NAME).write_bytes(damaged(data.draw, packed))
    else:
        with tarfile.open(study / NAME, "w:xz") as tar:
            for name in data.draw(st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=3)):
                content = data.draw(
                    st.sampled_from([b"", b"{}", b"[1]", b"\xff", b'{"runs": 3}', b'{"parameters": {}}'])
                )
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.type = data.draw(
                    st.sampled_from([tarfile.REGTYPE] * 4 + [tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
                )
                tar.addfile(member, io.BytesIO(content))
    before = {path for path in folder.iterdir()}
    with right_or_one_line():
        unpack(study)
        event("unpacked")
        found = StudyResults(study)
        assert isinstance(found.name, str)
        assert len(found.runs) >= 0
    assert {path for path in folder.iterdir()} == before
    assert not os.path.exists("/tmp/fermoe-was-here")
    assert {path.name for path in study.iterdir()} <= {NAME, "runs"}


@fuzz(30)
@given(data=st.data())
def test_runs_with_damaged_files(data: st.DataObject, folder: Path, packed: bytes) -> None:
    study = Path(tempfile.mkdtemp(dir=folder))
    (study / NAME).write_bytes(packed)
    unpack(study)
    file = data.draw(st.sampled_from(sorted(path.relative_to(study).as_posix() for path in study.glob("runs/*/*"))))
    path = study / file
    if path.suffix == ".json" and data.draw(st.booleans()):
        content = json.loads(path.read_text())
        at: Any = content
        for part in (place := data.draw(st.sampled_from(sorted(places(content), key=str))))[:-1]:
            at = at[part]
        at[place[-1]] = data.draw(VALUES)
        path.write_text(json.dumps(content))
    else:
        path.write_bytes(damaged(data.draw, path.read_bytes()))
    result = CliRunner().invoke(main, ["tables", str(study)])
    event(f"exit code {result.exit_code}")
    assert result.exit_code in (0, 2), "".join(traceback.format_exception(*result.exc_info))[-1500:]
