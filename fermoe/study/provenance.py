"""How a study's runs were made, as far as its folder says the same on every machine."""

from __future__ import annotations

import json
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fermoe.evidence.findings import counted, listed, rows_of
from fermoe.paper.verdicts import Tables
from fermoe.study.archive import packs
from fermoe.training.runs import RESULT

_SETTINGS = (
    "model",
    "initial_weights",
    "learning_rate",
    "decay",
    "batch_size",
    "epochs",
    "patience",
    "label_smoothing",
)


def provenance(folder: Path, tables: Tables) -> dict[str, str]:
    """Seeds and settings from accuracy.csv; the rest from the packed runs, where there are any.

    Runs that are not packed keep theirs in runs/<run>/result.json: a page about them does not change when they are
    made again.
    """
    accuracy = rows_of(tables, "accuracy", "run", "seed")
    said = {"Seeds": ", ".join(map(str, sorted(set(accuracy["seed"]))))}
    for name in _SETTINGS:
        if name in accuracy:
            values = sorted({f"{v:g}" if isinstance(v, float) else str(v) for v in accuracy[name].dropna()})
            said[name.replace("_", " ").capitalize()] = ", ".join(values)
    results = packed_results(packs(folder), set(accuracy["run"]))
    if not results:
        return said | {"Commit, processor, packages, time": "runs/<run>/result.json on the machine that ran it"}
    code, hardware, versions = (_different(results, part) for part in ("code", "hardware", "versions"))
    seconds = sum(float(result.get("seconds") or 0) for result in results)
    return said | {
        "Commits": listed(code["commit"]),
        "Processors": listed(hardware["processor"]),
        "Packages": ", ".join(f"{name} {listed(versions[name])}" for name in versions),
        "Training time": f"{seconds / 3600:.1f} hours over {counted(len(results), 'training')}",
    }


def packed_results(paths: Iterable[Path], runs: set[str]) -> list[Mapping[str, Any]]:
    """The result.json of these runs in a study's packs; none where one is damaged or they lack one of them."""
    found: dict[str, Mapping[str, Any]] = {}
    try:
        for path in paths:
            with tarfile.open(path, "r:xz") as tar:
                found |= _results_of(tar, runs)
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError, ValueError):
        return []
    return [found[run] for run in sorted(found)] if runs <= found.keys() else []


def _results_of(tar: tarfile.TarFile, runs: set[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for member in tar:
        run, name = Path(member.name).parts[-2:]
        if name == RESULT:
            content = tar.extractfile(member)
            if content is not None and run in runs:
                found[run] = json.loads(content.read())
        elif found:
            break  # after the first files, a pack's results stand together
    return found


def _different(results: Iterable[Mapping[str, Any]], part: str) -> dict[str, list[str]]:
    """By key of this part of the results: its different values, in order."""
    values: dict[str, set[str]] = {}
    for result in results:
        for name, value in (result.get(part) or {}).items():
            values.setdefault(name, set()).add(str(value))
    return {name: sorted(found) for name, found in sorted(values.items())}
