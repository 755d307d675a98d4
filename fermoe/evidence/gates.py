"""How a gate uses its experts: load, importance, certainty, and what the choice tells about the class.

Axis legend: N images, E experts, C classes. `gates` is the gate's full softmax (N, E), as predictions.csv keeps it.
Those files keep eight decimals, so the small gates of one image can be equal: places that equal gates compete for are
shared between them, and no expert gains by its number.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are loaded when they are first used
from numpy.typing import ArrayLike, NDArray

from fermoe.stats import mean_interval, wilson_interval

Floats = NDArray[np.float64]
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
    return np.asarray(scipy.stats.entropy(array, axis=1)) / math.log(array.shape[1]) + 0.0


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
    from sklearn.metrics.cluster import contingency_matrix  # here: it takes half a second

    return np.asarray(contingency_matrix(one, other))


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
    drawn = scipy.stats.random_table(counts.sum(axis=1), counts.sum(axis=0)).rvs(permutations, random_state=rng)
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
        return float(table[scipy.optimize.linear_sum_assignment(table, maximize=True)].sum())

    unrelated = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    from sklearn.metrics import adjusted_mutual_info_score

    information = float(adjusted_mutual_info_score(np.asarray(first), np.asarray(second)))
    return Agreement(information, matched(joint), matched(unrelated))


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
