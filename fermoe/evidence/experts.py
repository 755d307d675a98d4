"""How the gates of a study's runs use their experts: the table experts.csv, and what is read from it.

Two steps: networks classify test images with their gates changed (`measure`, the only part that needs weights), and
the table follows from those answers and from the gates that the runs' predictions keep (`expert_table`).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fermoe.data.transforms import is_augmented
from fermoe.errors import UserError
from fermoe.evidence.gates import Agreement, agreement, class_by_expert, gate_rows
from fermoe.evidence.interventions import Answers, accuracy_drops, ask, open_mixtures
from fermoe.files import reading_arrays, write_arrays
from fermoe.network.model import ModelConfig
from fermoe.stats import mean_interval
from fermoe.training.config import own_test_crop
from fermoe.training.inference import open_runs
from fermoe.training.predictions import class_names, gates_of, read_predictions

NOTEBOOK = "07_expert_utilization"


SETTING = ["dataset", "protocol", "variant", "crop", "pipeline"]
"""What runs that differ in their seed alone have in common."""


COLUMNS = [
    *(*SETTING, "seed", "mixture", "measure", "expert"),
    *("value", "ci_low", "ci_high", "p_value", "images", "run"),
]
"""Of experts.csv."""


PER_RUN = (
    *("gate_entropy", "gate_margin", "dead_experts", "load_imbalance", "peak_load", "mutual_information"),
    *("shuffled_gates_drop", "uniform_gates_drop"),
)
"""The measures that have one value per run and mixture, comparable between seeds; experts have no common numbering."""


def gated_runs(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The finished runs whose experts are measured: those with a gate, on faces, tested as their protocol says.

    In the order in which they share their images, so that these are loaded once; augmented trainings come last, for
    the first of a protocol stands for it in the figures.

    Raises:
        UserError: there is none.
    """
    found = []
    for run in runs:
        p = run["parameters"]
        own = p["test_crop"] == own_test_crop(p["dataset"], p["protocol"], p["crop"])
        if ModelConfig(variant=p["variant"]).gate is not None and own and p["crop"] != "masked":
            found.append(run)
    if not found:
        raise UserError("no finished run has a gate", fix="train the variant full: fermoe study quick")
    axes = ("dataset", "protocol", "crop")
    return sorted(found, key=lambda r: (*(r["parameters"][a] for a in axes), is_augmented(r["parameters"]["pipeline"])))


def _predictions(run: dict[str, Any]) -> pd.DataFrame:
    return read_predictions(Path(run["directory"]) / "predictions.csv")


def class_shares(run: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """`class_by_expert` of every mixture of a run, with the label names as index."""
    table = _predictions(run)
    names = class_names(table)
    return {
        mixture: pd.DataFrame(class_by_expert(gates, table["label"], len(names)), index=pd.Index(names, name="class"))
        for mixture, gates in gates_of(table).items()
    }


def measure(
    runs: Sequence[dict[str, Any]], root: str | None = None, images: int | None = 1000, seed: int = 0
) -> dict[str, Answers]:
    """What the networks of the gated runs answer with their gates changed (`interventions.ask`), by run.

    They see `images` test images, evenly spread; a real dataset needs its `root`. What is drawn is seeded by `seed` and
    the run's name, so that a run's answers do not depend on the others.

    Raises:
        UserError: no run has a gate, weights are missing, or the dataset is not the runs'.
    """
    found = {}
    for trained in open_runs(gated_runs(runs), root):
        rng = np.random.default_rng([seed, zlib.crc32(trained.name.encode()), 1])
        found[trained.name] = ask(open_mixtures(trained, images), rng)
    return found


def write_answers(path: str | Path, answers: Mapping[str, Answers]) -> None:
    """Keep the answers of every run in a compressed array file."""
    arrays: dict[str, NDArray[Any]] = {"runs": np.array(list(answers), dtype=np.str_)}
    for i, found in enumerate(answers.values()):
        names = [f"{mixture}/{change}/{'' if expert is None else expert}" for mixture, change, expert in found.changes]
        arrays |= {f"changes_{i}": np.array(names, dtype=np.str_), f"correct_{i}": found.correct}
    write_arrays(path, **arrays)


def read_answers(path: str | Path) -> dict[str, Answers]:
    """Read what `write_answers` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    found = {}
    with reading_arrays(path, fix="run notebook 07 again") as content:
        for i, run in enumerate(content["runs"].tolist()):
            names = [name.split("/") for name in content[f"changes_{i}"].tolist()]
            changes = tuple((mixture, change, int(expert) if expert else None) for mixture, change, expert in names)
            correct = content[f"correct_{i}"]
            if correct.dtype != bool or correct.shape[:1] != (len(changes),) or correct.ndim != 2:
                raise ValueError("its parts do not fit together")
            found[run] = Answers(changes, correct)
    return found


def expert_table(
    runs: Sequence[dict[str, Any]], answers: Mapping[str, Answers], permutations: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The rows of experts.csv (`COLUMNS`): what the gates of every run do, and what the accuracy owes to them.

    Gates are those of all test images, in the run's predictions; `answers` are of `measure`, and runs without are left
    out. Random numbers are seeded by `seed` and the run's name, so that a run's rows do not depend on the others.

    Raises:
        UserError: no run has a gate.
    """
    rows = []
    for run in gated_runs(runs):
        if run["run"] not in answers:
            continue
        p = run["parameters"]
        rng = np.random.default_rng([seed, zlib.crc32(run["run"].encode())])
        start = {**{name: p[name] for name in (*SETTING, "seed")}, "run": run["run"]}
        table = _predictions(run)
        for mixture, gates in gates_of(table).items():
            found = gate_rows(gates, table["label"], rng, permutations)
            rows += [{**start, "mixture": mixture, **row} for row in found]
        rows += [{**start, **drop.row()} for drop in accuracy_drops(answers[run["run"]], rng)]
    found_all = pd.DataFrame(rows, columns=COLUMNS).astype({"expert": "Int64", "p_value": float})
    return found_all.sort_values([*SETTING, "seed", "run"], kind="stable", ignore_index=True)


def seed_agreement(runs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """`agreement` of every two seeds of the same setting and mixture on the same test images; empty for one seed."""
    choices: dict[tuple[Any, ...], list[tuple[int, pd.Series]]] = {}
    for run in gated_runs(runs):
        p, table = run["parameters"], _predictions(run)
        for mixture, gates in gates_of(table).items():
            choice = pd.Series(gates.argmax(axis=1), index=table["image"])
            choices.setdefault((*(p[name] for name in SETTING), mixture), []).append((p["seed"], choice))
    rows = []
    for key, found in sorted(choices.items(), key=lambda item: item[0]):
        ordered = sorted(found, key=lambda item: item[0])
        for (seed, first), (other_seed, second) in itertools.combinations(ordered, 2):
            if first.index.equals(second.index):
                rows.append((*key, seed, other_seed, len(first), *agreement(first, second)))
    return pd.DataFrame(rows, columns=[*SETTING, "mixture", "seed", "other_seed", "images", *Agreement._fields])


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The measures `PER_RUN` by setting and mixture: mean over the seeds with Student's t interval (several seeds).

    `table` is of `expert_table`; columns SETTING, mixture, measure, seeds, mean, ci_low, ci_high, lowest, highest.
    """
    kept = table[table["measure"].isin(PER_RUN)]
    rows = []
    for key, group in kept.groupby([*SETTING, "mixture", "measure"], sort=False):
        values = group["value"]
        rows.append((*key, len(values), *mean_interval(values), values.min(), values.max()))
    names = [*SETTING, "mixture", "measure", "seeds", "mean", "ci_low", "ci_high", "lowest", "highest"]
    return pd.DataFrame(rows, columns=names)


def against(table: pd.DataFrame, baseline: str = "full") -> pd.DataFrame:
    """The measures `PER_RUN` of every other variant minus those of `baseline`, paired by seed, mean over the seeds.

    The interval is Student's t over seeds: it says what other trainings would change. One seed has none. Columns
    SETTING, mixture, measure, seeds, baseline, value (both means), difference, ci_low, ci_high.
    """
    kept = table[table["measure"].isin(PER_RUN)]
    same = [name for name in (*SETTING, "seed", "mixture", "measure") if name != "variant"]
    pairs = kept.merge(kept.loc[kept["variant"] == baseline, [*same, "value"]], on=same, suffixes=("", "_baseline"))
    rows = []
    for key, group in pairs[pairs["variant"] != baseline].groupby([*SETTING, "mixture", "measure"], sort=False):
        means = group[["value_baseline", "value"]].mean()
        rows.append((*key, len(group), *means, *mean_interval(group["value"] - group["value_baseline"])))
    names = [*SETTING, "mixture", "measure", "seeds", "baseline", "value", "difference", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)
