"""How a gate uses its experts: load, importance, certainty, and what the choice tells about the class.

Axis legend: N images, E experts, C classes. `gates` is the gate's full softmax (N, E), as predictions.csv keeps it.
Those files keep six decimals, so the small gates of one image can be equal: places that equal gates compete for are
shared between them, and no expert gains by its number.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from sklearn.metrics import adjusted_mutual_info_score

from fermoe.config import own_test_crop
from fermoe.errors import UserError
from fermoe.evaluation import class_names, gates_of, read_predictions
from fermoe.interventions import accuracy_drops, open_mixtures
from fermoe.model import ModelConfig
from fermoe.statistics import mean_interval, wilson_interval
from fermoe.trained import open_runs

Floats = NDArray[np.float64]

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

DEAD_BELOW = 0.01
"""An expert among the two chosen for less than one image in a hundred is called dead."""


def _gates(gates: ArrayLike) -> Floats:
    array = np.asarray(gates, dtype=float)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] < 2:
        raise ValueError(f"gates must be (images, experts) with at least two experts, not {array.shape}")
    if (array < 0).any() or not np.allclose(array.sum(axis=1), 1, atol=1e-3):
        raise ValueError("each row of gates must be a softmax: not negative, adding up to 1")
    return array


def chosen(gates: ArrayLike, k: int) -> Floats:
    """Gates (N, E) → (N, E): 1 for each image's k largest, 0 for the rest; equal gates share the places left."""
    array = _gates(gates)
    if not 1 <= k <= array.shape[1]:
        raise ValueError(f"k must lie between 1 and {array.shape[1]}, not {k}")
    least = np.sort(array, axis=1)[:, -k][:, None]
    above, level = array > least, array == least
    return above + level * (k - above.sum(axis=1, keepdims=True)) / level.sum(axis=1, keepdims=True)


def top_k_load(gates: ArrayLike, k: int) -> Floats:
    """Share of the images that have each expert among their k largest gates: (E,), k in total."""
    return chosen(gates, k).mean(axis=0)


def importance(gates: ArrayLike) -> Floats:
    """Mean gate value of each expert: (E,), 1 in total (Switch Transformer, Fedus et al. 2022, eq. 6)."""
    return _gates(gates).mean(axis=0)


def gate_entropy(gates: ArrayLike) -> Floats:
    """Entropy of each image's gates with logarithms to base E: (N,), 0 for one expert, 1 for all alike."""
    array = _gates(gates)
    # Adding 0 turns the −0 of a certain gate into 0.
    return np.asarray(stats.entropy(array, axis=1)) / math.log(array.shape[1]) + 0.0


def gate_margin(gates: ArrayLike) -> Floats:
    """Largest minus second largest gate of each image: (N,)."""
    ordered = np.sort(_gates(gates), axis=1)
    return ordered[:, -1] - ordered[:, -2]


def load_imbalance(load: ArrayLike) -> float:
    """Squared coefficient of variation of the load (E,), as Shazeer et al. 2017 (appendix A) penalise it.

    0 when even; at most E/k − 1, where the same k experts take every image.
    """
    values = np.asarray(load, dtype=float)
    return float(values.var() / values.mean() ** 2)


def peak_load(load: ArrayLike) -> float:
    """Largest load over mean load (E,): 1 when even, at most E/k; what a device that holds one expert must hold."""
    values = np.asarray(load, dtype=float)
    return float(values.max() / values.mean())


def dead_experts(gates: ArrayLike, k: int = 2, below: float = DEAD_BELOW) -> int:
    """How many experts have a top-k load below `below`."""
    return int((top_k_load(gates, k) < below).sum())


def class_by_expert(gates: ArrayLike, labels: ArrayLike, classes: int) -> Floats:
    """Share of each class's images whose first choice is each expert: (C, E); NaN for a class without images."""
    first, truth = chosen(gates, 1), np.asarray(labels)
    if truth.shape != first.shape[:1]:
        raise ValueError(f"labels must be (images,), not {truth.shape} for {len(first)} images")
    member = truth[:, None] == np.arange(classes)  # (N, C)
    images = member.sum(axis=0)[:, None]
    shares = member.T.astype(float) @ first
    return np.divide(shares, images, out=np.full(shares.shape, np.nan), where=images > 0)


def _counts(first: ArrayLike, second: ArrayLike) -> NDArray[np.int64]:
    """Contingency table of two vectors of values, those that occur only."""
    one, other = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != other.shape or one.size == 0:
        raise ValueError(f"both must be vectors over the same images, not {one.shape} and {other.shape}")
    rows, columns = np.unique(one, return_inverse=True)[1], np.unique(other, return_inverse=True)[1]
    table = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def _information(tables: NDArray[Any]) -> Floats:
    """Mutual information in bits of contingency tables (..., R, S) with positive margins: (...)."""
    joint = tables / tables.sum(axis=(-2, -1), keepdims=True)
    apart = joint.sum(axis=-1, keepdims=True) * joint.sum(axis=-2, keepdims=True)
    ratio = np.divide(joint, apart, out=np.ones_like(joint), where=joint > 0)
    return (joint * np.log2(ratio)).sum(axis=(-2, -1))


def mutual_information(labels: ArrayLike, choice: ArrayLike) -> float:
    """Mutual information of class and chosen expert (two vectors over the images), in bits, from their frequencies.

    At most the entropy of either. It is above 0 by chance alone: compare it with `mutual_information_test`.
    """
    return max(0.0, float(_information(_counts(labels, choice))))


class InformationTest(NamedTuple):
    """Mutual information in bits, the mean and 95 % quantile of its null, and its p value."""

    value: float
    null_mean: float
    null_high: float
    p_value: float


def mutual_information_test(
    labels: ArrayLike, choice: ArrayLike, rng: np.random.Generator, permutations: int = 2000
) -> InformationTest:
    """Is `mutual_information` more than what permuted labels give?

    Permuting labels gives tables with the same margins, which are drawn directly (Patefield 1981). The observed
    table counts as one of the permutations, so p is never 0 (Phipson & Smyth 2010).
    """
    counts = _counts(labels, choice)
    drawn = stats.random_table(counts.sum(axis=1), counts.sum(axis=0)).rvs(permutations, random_state=rng)
    null = np.maximum(_information(np.asarray(drawn)), 0)
    value = mutual_information(labels, choice)
    # Equal tables with their cells added in another order are equal.
    p_value = (1 + int((null >= value - 1e-12).sum())) / (1 + permutations)
    return InformationTest(value, float(null.mean()), float(np.quantile(null, 0.95)), p_value)


class Agreement(NamedTuple):
    """How far two gates sort the same images alike, whatever numbers their experts have.

    `adjusted_information` is 1 for the same partition and 0 on average for unrelated ones. `matched` is the share of
    images sent to corresponding experts under the best one-to-one correspondence, `matched_by_chance` the share that
    two unrelated gates with the same loads would reach.
    """

    adjusted_information: float
    matched: float
    matched_by_chance: float


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Agreement of two gates' first choices (two vectors over the same images).

    Experts correspond as the Hungarian algorithm (Kuhn 1955) matches them; adjusted mutual information is that of
    Vinh, Epps & Bailey 2010, by scikit-learn, with the arithmetic mean of the entropies.
    """
    joint = _counts(first, second) / np.size(first)

    def matched(table: Floats) -> float:
        return float(table[optimize.linear_sum_assignment(table, maximize=True)].sum())

    unrelated = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    information = float(adjusted_mutual_info_score(np.asarray(first), np.asarray(second)))
    return Agreement(information, matched(joint), matched(unrelated))


# --- over the runs of a study ---------------------------------------------------------------------------


def gated_runs(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The finished runs whose experts are measured: those with a gate, on faces, tested as their protocol says.

    In the order in which they share their images, so that these are loaded once.

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
    return sorted(found, key=lambda run: [run["parameters"][key] for key in ("dataset", "protocol", "crop")])


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


def gate_rows(gates: ArrayLike, labels: ArrayLike, rng: np.random.Generator, permutations: int) -> list[dict[str, Any]]:
    """Every measure of one mixture's gates (N, E): measure, expert, value, ci_low, ci_high, p_value, images.

    Loads have Wilson intervals, means over images (importance, entropy, margin) Student's t. "load_imbalance" and
    "peak_load" are of the top-2 load. "mutual_information_null" holds the null's mean and, as ci_high, its 95 %
    quantile.
    """
    array = _gates(gates)
    images, experts = array.shape
    rows: list[dict[str, Any]] = []

    def add(measure: str, value: float, low: float = math.nan, high: float = math.nan, **more: Any) -> None:
        rows.append({"measure": measure, "value": value, "ci_low": low, "ci_high": high, "images": images, **more})

    loads = {k: top_k_load(array, k) for k in (1, 2)}
    for k, load in loads.items():
        for expert in range(experts):
            # Shared places make fractions of an image.
            interval = wilson_interval(round(load[expert] * images), images)
            add(f"top{k}_load", load[expert], *interval, expert=expert)
    for expert in range(experts):
        add("importance", *mean_interval(array[:, expert]), expert=expert)
    add("gate_entropy", *mean_interval(gate_entropy(array)))
    add("gate_margin", *mean_interval(gate_margin(array)))
    add("dead_experts", dead_experts(array))
    add("load_imbalance", load_imbalance(loads[2]))
    add("peak_load", peak_load(loads[2]))
    test = mutual_information_test(labels, array.argmax(axis=1), rng, permutations)
    add("mutual_information", test.value, p_value=test.p_value)
    add("mutual_information_null", test.null_mean, high=test.null_high)
    return rows


def expert_table(
    runs: Sequence[dict[str, Any]],
    root: str | None = None,
    images: int | None = 1000,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The rows of experts.csv (`COLUMNS`): what the gates of every run do, and what the accuracy owes to them.

    Gates are those of all test images, in the run's predictions; interventions (`accuracy_drops`) run the network on
    `images` of them, evenly spread, which needs a real dataset's `root`. Random numbers are seeded by `seed` and the
    run's name, so that a run's rows do not depend on the others.

    Raises:
        UserError: no run has a gate, weights are missing, or the dataset is not the runs'.
    """
    rows = []
    gated = gated_runs(runs)
    for run, trained in zip(gated, open_runs(gated, root), strict=True):
        p = run["parameters"]
        rng = np.random.default_rng([seed, zlib.crc32(run["run"].encode())])
        start = {**{name: p[name] for name in (*SETTING, "seed")}, "run": run["run"]}
        table = _predictions(run)
        for mixture, gates in gates_of(table).items():
            found = gate_rows(gates, table["label"], rng, permutations)
            rows += [{**start, "mixture": mixture, **row} for row in found]
        rows += [{**start, **drop.row()} for drop in accuracy_drops(open_mixtures(trained, images), rng)]
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
