"""environment.yml from requirements.lock: the same pins for conda users. Run by `make lock`, checked by a test."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def locked_pins(lock: str) -> list[str]:
    """The lock's requirements without hashes: "name==version", with the marker where there is one."""
    lines = re.sub(r"\\\n", " ", lock).splitlines()
    return [re.sub(r"\s+", " ", line.split("--hash")[0]).strip() for line in lines if line and not line.startswith("#")]


def environment_yml(lock: str) -> str:
    pins = "\n".join(f'      - "{pin}"' for pin in locked_pins(lock))
    return (
        "# Written by `make lock` from requirements.lock: the same packages for conda users.\n"
        "name: fermoe\n"
        "channels:\n"
        "  - conda-forge\n"
        "dependencies:\n"
        "  - python=3.11\n"
        "  - pip\n"
        "  - pip:\n"
        f"{pins}\n"
        "      - -e .\n"
    )


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment_yml((ROOT / "requirements.lock").read_text()))
