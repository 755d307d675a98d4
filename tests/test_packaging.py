"""pyproject.toml, requirements.lock and environment.yml agree; a wheel alone runs a study; public names are lazy."""

from __future__ import annotations

import re
import site
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement

import fermoe

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


def test_no_file_of_the_project_is_larger_than_two_megabytes() -> None:
    for folder in ("fermoe", "notebooks", "tests"):
        for path in Path(ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.stat().st_size < 2_000_000, path


@pytest.mark.parametrize("name", sorted(fermoe.__all__))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fermoe, name) is not None
    assert name in dir(fermoe)


def test_importing_the_package_alone_loads_no_heavy_library() -> None:
    code = "import sys, fermoe; print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of a fresh environment that holds the wheel, and sees this one's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    wheels = folder / "wheels"
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, *build, "-w", str(wheels), str(ROOT)], check=True)
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    (wheel,) = wheels.glob("*.whl")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([scripts / "python", *install], check=True)
    (own,) = (folder / "venv").rglob("site-packages")
    (own / "the-other-packages.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return scripts


def test_a_wheel_alone_runs_a_study_into_the_current_folder(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    where = subprocess.run(
        [installed / "python", "-c", "import fermoe; print(fermoe.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    package = Path(where.stdout.strip()).parent
    assert package.is_relative_to(installed.parent)
    before = {path for path in package.rglob("*") if "__pycache__" not in path.parts}
    settings = ["dataset_options={train: 40, test: 14}", "variants=[backbone]", "crops=[none]", "seeds=[0]", "extra=[]"]
    settings += ["epochs=1", "notebooks=[04_training, 05_confusion_matrices, 10_report]"]
    command = [installed / "fermoe", "study", "quick", *(part for s in settings for part in ("--set", s))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    table = pd.read_csv(tmp_path / "results" / "quick" / "tables" / "accuracy.csv")
    assert table["variant"].tolist() == ["backbone"] * 2
    assert (tmp_path / "results" / "quick" / "report.html").exists()
    assert {path for path in package.rglob("*") if "__pycache__" not in path.parts} == before
