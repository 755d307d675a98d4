"""How the gates of a study's runs use their experts: the table experts.csv, and what is read from it.

Two steps: networks classify test images with their gates changed (`measure`, the only part that needs weights), and
the table follows from those answers and from the gates that the runs' predictions keep (`expert_table`).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fermoe.errors import UserError
from fermoe.evidence.gates import Agreement, agreement, class_by_expert, gate_entropy, gate_rows
from fermoe.evidence.interventions import BOTH, Answers, accuracy_drops, ask, open_mixtures
from fermoe.evidence.table import Table
from fermoe.files import reading_arrays
from fermoe.seeds import mean_over_seeds, welch
from fermoe.training.inference import open_runs
from fermoe.training.predictions import class_names, gates_of
from fermoe.training.runs import EPOCHS, KEY, SETTING, FinishedRun, StudyResults, at_one_rate

NOTEBOOK = "07_expert_utilization"
COLUMNS = (*KEY, "mixture", "measure", "expert", "value", "ci_low", "ci_high", "p_value", "images", "run")

PER_RUN = (
    *("gate_entropy", "gate_margin", "dead_experts", "load_imbalance", "peak_load", "mutual_information"),
    *("shuffled_gates_drop", "uniform_gates_drop"),
)
"""The measures that have one value per run and mixture, comparable between seeds; experts have no common numbering."""


def gated_runs(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The finished runs whose experts are measured: those with a gate, on faces, tested as their protocol says.

    In the order in which they share their images, so that these are loaded once; augmented trainings come last, for
    the first of a protocol stands for it in the figures.

    Raises:
        UserError: there is none.
    """
    faces = [run for run in runs if run.config.tested_as_usual and not run.is_control]
    found = [run for run in at_one_rate(faces) if gates_of(run.predictions)]
    if not found:
        raise UserError("no finished run has a gate", fix="train the variant full: fermoe study quick")
    return sorted(
        found, key=lambda r: (r.config.dataset, r.config.protocol, r.config.crop, r.config.augmentation != "none")
    )


def class_shares(run: FinishedRun) -> dict[str, pd.DataFrame]:
    """`class_by_expert` of every mixture of a run, with the label names as index."""
    names = class_names(run.predictions)
    return {
        mixture: pd.DataFrame(
            class_by_expert(gates, run.predictions["label"], len(names)), index=pd.Index(names, name="class")
        )
        for mixture, gates in gates_of(run.predictions).items()
    }


def measure(
    runs: Sequence[FinishedRun], root: str | None = None, images: int | None = 1000, seed: int = 0
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


def pack(answers: Mapping[str, Answers]) -> dict[str, NDArray[Any]]:
    """The answers of every run as named arrays."""
    arrays: dict[str, NDArray[Any]] = {"runs": np.array(list(answers), dtype=np.str_)}
    for i, found in enumerate(answers.values()):
        names = [f"{mixture}/{change}/{'' if expert is None else expert}" for mixture, change, expert in found.changes]
        arrays |= {f"changes_{i}": np.array(names, dtype=np.str_), f"correct_{i}": found.correct}
        arrays |= {f"information_{i}_{mixture}": values for mixture, values in found.information.items()}
        arrays |= {f"similarity_{i}_{mixture}": values for mixture, values in found.similarity.items()}
    return arrays


def unpack(content: Mapping[str, NDArray[Any]]) -> dict[str, Answers]:
    """What `pack` packed. ValueError: its parts do not fit together."""
    found = {}
    for i, run in enumerate(content["runs"].tolist()):
        names = [name.split("/") for name in content[f"changes_{i}"].tolist()]
        changes = tuple((mixture, change, int(expert) if expert else None) for mixture, change, expert in names)
        correct = content[f"correct_{i}"]
        if correct.dtype != bool or correct.shape[:1] != (len(changes),) or correct.ndim != 2:
            raise ValueError("its parts do not fit together")
        information, similarity = (
            {name.removeprefix(start): content[name] for name in content if name.startswith(start)}
            for start in (f"information_{i}_", f"similarity_{i}_")
        )
        found[run] = Answers(changes, correct, information, similarity)
    return found


def expert_table(
    runs: Sequence[FinishedRun], answers: Mapping[str, Answers], permutations: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The rows of experts.csv (`COLUMNS`): what the gates of every run do, and what the accuracy owes to them.

    Gates are those of all test images, in the run's predictions; `answers` are of `measure`, and runs without are left
    out. Random numbers are seeded by `seed` and the run's name, so that a run's rows do not depend on the others.

    Raises:
        UserError: no run has a gate.
    """
    rows = []
    for run in gated_runs(runs):
        if run.name not in answers:
            continue
        rng = np.random.default_rng([seed, zlib.crc32(run.name.encode())])
        start = {**run.key, "run": run.name}
        for mixture, gates in gates_of(run.predictions).items():
            found = gate_rows(gates, run.predictions["label"], rng, permutations)
            found += _beyond_gates(answers[run.name], mixture)
            rows += [{**start, "mixture": mixture, **row} for row in found]
        rows += [{**start, **drop.row()} for drop in accuracy_drops(answers[run.name], rng)]
        rows += [{**start, **row} for row in (*_coupling(run), *_saturation(run))]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"expert": "Int64", "p_value": float})
    return table.sort_values([*KEY, "run"], kind="stable", ignore_index=True)


def _beyond_gates(answers: Answers, mixture: str) -> list[dict[str, Any]]:
    """What random linear gates tell about the class, and how alike the experts' outputs are (off the diagonal)."""
    rows: list[dict[str, Any]] = []
    asked = {"images": answers.correct.shape[1]}
    if mixture in answers.information:
        values = answers.information[mixture]
        high = float(np.quantile(values, 0.95))
        rows.append({"measure": "random_gate_information", "value": float(values.mean()), "ci_high": high, **asked})
    if mixture in answers.similarity:
        table = answers.similarity[mixture]
        apart = table[~np.eye(len(table), dtype=bool)]
        rows.append({"measure": "expert_similarity", "value": float(apart.mean()), **asked})
    return rows


def _coupling(run: FinishedRun) -> list[dict[str, Any]]:
    """How far the two mixtures sort the images alike (`Agreement.adjusted_information`); nothing for one mixture."""
    gates = list(gates_of(run.predictions).values())
    if len(gates) < 2:
        return []
    value = agreement(*(one.argmax(axis=1) for one in gates)).adjusted_information
    return [{"mixture": BOTH, "measure": "coupling", "value": value, "images": len(gates[0])}]


SATURATED = 0.99
"""A gate that gives one expert more than this has made up its mind."""


def saturation(run: FinishedRun) -> pd.DataFrame:
    """How the gates settle while the run trains, from its epochs.npz; empty where that does not hold gates.

    One row per epoch and mixture: epoch, mixture, entropy (mean over the validation images, logarithm to base E),
    saturated (the share of images whose largest gate exceeds `SATURATED`), images.
    """
    kept, rows = run.directory / EPOCHS, []
    if kept.exists():
        with reading_arrays(kept, fix="run its study again to train it") as arrays:
            for name in sorted(name for name in arrays if name.startswith("gates_")):
                for epoch, gates in enumerate(arrays[name].astype(float) / 255, 1):
                    shares = gates / gates.sum(axis=1, keepdims=True)
                    entropy, top = float(gate_entropy(shares).mean()), float((shares.max(axis=1) > SATURATED).mean())
                    rows.append((epoch, name.removeprefix("gates_"), entropy, top, len(gates)))
    return pd.DataFrame(rows, columns=["epoch", "mixture", "entropy", "saturated", "images"])


def _saturation(run: FinishedRun) -> list[dict[str, Any]]:
    """The first and the last epoch of `saturation`."""
    rows = []
    for mixture, epochs in saturation(run).groupby("mixture", sort=True):
        for which, row in (("first", epochs.iloc[0]), ("last", epochs.iloc[-1])):
            for name in ("entropy", "saturated"):
                measured = {"measure": f"{which}_epoch_{name}", "value": float(row[name]), "images": row["images"]}
                rows.append({"mixture": mixture, **measured})
    return rows


def _build(study: StudyResults, answers: Mapping[str, Answers]) -> pd.DataFrame | None:
    analysis = study.analysis(NOTEBOOK)
    if analysis is None:
        return None
    return expert_table(study.runs, answers, analysis["parameters"]["permutations"], analysis["parameters"]["seed"])


TABLE = Table("experts", COLUMNS, _build, NOTEBOOK, pack, unpack, runs=lambda answers: answers, drawn=("value",))


def seed_agreement(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """`agreement` of every two seeds of the same setting and mixture on the same test images; empty for one seed."""
    choices: dict[tuple[Any, ...], list[tuple[int, pd.Series]]] = {}
    for run in gated_runs(runs):
        for mixture, gates in gates_of(run.predictions).items():
            choice = pd.Series(gates.argmax(axis=1), index=run.predictions["image"])
            setting = (*(run.key[name] for name in SETTING), mixture)
            choices.setdefault(setting, []).append((run.config.seed, choice))
    rows = []
    for key, found in sorted(choices.items(), key=lambda item: item[0]):
        ordered = sorted(found, key=lambda item: item[0])
        for (seed, first), (other_seed, second) in itertools.combinations(ordered, 2):
            if first.index.equals(second.index):
                rows.append((*key, seed, other_seed, len(first), *agreement(first, second)))
    return pd.DataFrame(rows, columns=[*SETTING, "mixture", "seed", "other_seed", "images", *Agreement._fields])


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The measures `PER_RUN` by setting and mixture: mean over the seeds with Student's t interval (from three on).

    `table` is of `expert_table`; columns SETTING, mixture, measure, seeds, mean, ci_low, ci_high, lowest, highest.
    """
    kept = table[table["measure"].isin(PER_RUN)]
    rows = []
    for key, group in kept.groupby([*SETTING, "mixture", "measure"], sort=False):
        values = group["value"]
        rows.append((*key, len(values), *mean_over_seeds(values), values.min(), values.max()))
    names = [*SETTING, "mixture", "measure", "seeds", "mean", "ci_low", "ci_high", "lowest", "highest"]
    return pd.DataFrame(rows, columns=names)


def against(table: pd.DataFrame, baseline: str = "full") -> pd.DataFrame:
    """The measures `PER_RUN` of every other variant minus those of `baseline`, on the seeds both have, mean over them.

    The interval is Welch's over seeds: it says what other trainings would change. Below three there is none. Columns
    SETTING, mixture, measure, seeds, baseline, value (both means), difference, ci_low, ci_high.
    """
    kept = table[table["measure"].isin(PER_RUN)]
    same = [name for name in (*SETTING, "seed", "mixture", "measure") if name != "variant"]
    pairs = kept.merge(kept.loc[kept["variant"] == baseline, [*same, "value"]], on=same, suffixes=("", "_baseline"))
    rows = []
    for key, group in pairs[pairs["variant"] != baseline].groupby([*SETTING, "mixture", "measure"], sort=False):
        means = group[["value_baseline", "value"]].mean()
        effect = welch(group["value_baseline"], group["value"])
        rows.append((*key, len(group), *means, effect.value, effect.low, effect.high))
    names = [*SETTING, "mixture", "measure", "seeds", "baseline", "value", "difference", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)
