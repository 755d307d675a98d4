"""pyproject.toml, requirements.lock and environment.yml agree; a wheel alone runs a study; public names are lazy."""

from __future__ import annotations

import ast
import json
import re
import shutil
import site
import subprocess
import sys
import tomllib
import venv
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement

import fermoe
from tests.helpers.trees import picture

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def locked() -> list[str]:
    """The lock's requirements without hashes: "name==version", with the marker where there is one."""
    lines = re.sub(r"\\\n", " ", LOCK).splitlines()
    return [re.sub(r"\s+", " ", line.split("--hash")[0]).strip() for line in lines if line and not line.startswith("#")]


PINS = {r.name.lower().replace("_", "-"): r for r in map(Requirement, locked())}


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for group in (PROJECT["dependencies"], *extras) for text in group]


def test_every_declared_package_is_locked_within_its_range() -> None:
    for requirement in declared():
        pin = PINS[requirement.name.lower().replace("_", "-")]
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert requirement.specifier.contains(specifier.version), f"{requirement} is locked as {pin}"


def test_every_locked_package_has_hashes_and_no_host_is_named() -> None:
    assert "://" not in LOCK
    assert "index-url" not in LOCK
    for entry in re.sub(r"\\\n", " ", LOCK).splitlines():
        if entry and not entry.startswith("#"):
            assert "--hash=sha256:" in entry, entry[:60]


def test_conda_users_get_the_locked_packages() -> None:
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    *plain, pip = content["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    python = next(entry for entry in plain if entry.startswith("python="))
    assert PROJECT["requires-python"].startswith(">=" + python.partition("=")[2])


def test_the_torch_release_with_a_mismatched_cpu_build_is_excluded() -> None:
    torch = next(r for r in declared() if r.name == "torch")
    assert not torch.specifier.contains("2.13.0")


def test_the_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert "2510.13493" in str(citation["references"])


def test_no_file_of_the_project_is_larger_than_two_and_a_half_megabytes() -> None:
    for folder in ("fermoe", "notebooks", "tests"):
        for path in Path(ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.stat().st_size < 2_500_000, path


@pytest.mark.parametrize("name", sorted(fermoe.__all__))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fermoe, name) is not None
    assert name in dir(fermoe)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fermoe.nonsense


def test_type_checkers_see_the_same_names_in_the_same_modules() -> None:
    tree = ast.parse(Path(fermoe.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in guarded.body for alias in node.names}  # type: ignore[attr-defined]
    assert set(seen) == set(fermoe.__all__) - {"__version__"}
    for name, module in seen.items():
        assert getattr(fermoe, name) is getattr(import_module(module), name)


def test_importing_the_package_alone_loads_no_heavy_library() -> None:
    code = "import sys, fermoe; print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of a fresh environment that holds the wheel, and sees this one's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *alone, "--no-build-isolation", "-w", folder / "wheels", ROOT], check=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    venv.create(folder / "venv")
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([*pip, "--python", scripts / "python", "install", *alone, wheel], check=True)
    (own,) = (folder / "venv").rglob("site-packages")
    (own / "the-other-packages.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return scripts


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory from which nothing leads to the checkout."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share" / "jupyter"))  # its kernel lies there
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def package_of(scripts: Path) -> Path:
    package = Path(run(scripts / "python", "-c", "import fermoe; print(fermoe.__file__)").strip()).parent
    assert package.is_relative_to(scripts.parent)
    return package


@pytest.mark.usefixtures("outside")
def test_a_wheel_carries_the_notebooks_the_studies_and_no_other_file_beside_the_package(installed: Path) -> None:
    notebooks = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "notebooks" / "studies").glob("*.yaml")]
    expected = {f"notebooks/{path.relative_to(ROOT / 'notebooks').as_posix()}" for path in notebooks}
    assert set(files_in(package_of(installed))) == expected | set(files_in(ROOT / "fermoe"))


def test_a_wheel_alone_runs_a_study_into_the_current_folder(installed: Path, outside: Path) -> None:
    package = package_of(installed)
    before = files_in(package)
    settings = ["dataset_options={train: 40, test: 14}", "variants=[backbone]", "crops=[none]", "seeds=[0]", "extra=[]"]
    settings += ["epochs=1", "notebooks=[04_training, 10_report]"]
    run(installed / "fermoe", "study", "quick", *(part for setting in settings for part in ("--set", setting)))
    assert [path.name for path in outside.iterdir()] == ["results"]
    study = outside / "results" / "quick"
    accuracy = pd.read_csv(study / "tables" / "accuracy.csv")
    assert accuracy["variant"].tolist() == ["backbone"] * 2
    assert (study / "report.html").exists()
    (result,) = (study / "runs").glob("*backbone*/result.json")
    assert (
        json.loads(result.read_text())["code"]["commit"] is None
    )  # the kernel ran the wheel's code, not the checkout's
    tables = files_in(study / "tables")
    shutil.rmtree(study / "tables")
    run(installed / "fermoe", "tables", "quick")
    assert files_in(study / "tables") == tables
    assert files_in(package) == before


def test_a_wheel_alone_checks_a_dataset(installed: Path, outside: Path) -> None:
    for name in ("train/happy/a.png", "train/sad/b.png", "test/happy/c.png", "test/sad/d.png"):
        picture(outside / "faces" / name, seed=len(name))
    assert "4 images in faces" in run(installed / "fermoe", "data", "check", "folder", "--root", "faces")


def test_a_wheel_alone_labels_a_picture_with_the_network_that_it_carries(installed: Path, outside: Path) -> None:
    picture(outside / "face.png", size=(80, 60))
    header, row = run(installed / "fermoe", "predict", "face.png").splitlines()
    assert header.startswith("file,frame,outcome,score,x0,y0,x1,y1,label,p_")
    assert row.startswith("face.png,,no face,,0,0,80,60,")
