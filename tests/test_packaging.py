"""pyproject.toml, requirements.lock and environment.yml name the same packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from tests.environment import ROOT, environment_yml, locked_pins

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = {r.name.lower().replace("_", "-"): r for r in map(Requirement, locked_pins(LOCK))}


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
    text = (ROOT / "environment.yml").read_text()
    assert text == environment_yml(LOCK), "run: make lock"
    dependencies = yaml.safe_load(text)["dependencies"]
    pip = next(entry["pip"] for entry in dependencies if isinstance(entry, dict))
    assert pip[:-1] == locked_pins(LOCK)
    assert pip[-1] == "-e ."
    python = next(entry for entry in dependencies if str(entry).startswith("python="))
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
