"""The tables behind C7 and C9, computed again in plain NumPy from the committed packs: to the CSV's last digit.

The packs keep every network's answers under perturbations and under changed gates, and every image's gates. Nothing of
the library's statistics is used: loops over images, conditions and seeds, and SciPy's t distribution.
"""

from __future__ import annotations

import csv
import functools
import io
import math
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as students

from tests.helpers.plain import degrees, welch

RESULTS = Path(__file__).resolve().parents[2] / "results"
LAST_DIGIT = 1.01e-6
OCCLUSION = ("occluded eyes", "occluded mouth", "random patch")
LIGHT = ("brightness", "gamma", "contrast", "side lighting")
WAYS = {"absolute": lambda a: 1.0, "corrected": lambda a: a - 1 / 7, "relative": lambda a: a}
"""What a loss of accuracy is a share of, given the clean accuracy `a`."""


@functools.cache
def packed(study: str) -> dict[str, bytes]:
    """The kept answers and predictions of a study by their names in its packs."""
    found = {}
    for file in sorted((RESULTS / study).glob("runs*.tar.xz")):
        with tarfile.open(file) as archive:
            for member in archive:
                if member.name.endswith(("outcomes.npz", "predictions.csv")):
                    content = archive.extractfile(member)
                    assert content is not None
                    found[member.name.removeprefix("runs/")] = content.read()
    return found


def studies(table: str) -> list[str]:
    """The committed studies of FER-2013 with this table and the runs behind it."""
    found = [path.parents[1] for path in sorted(RESULTS.glob(f"fer2013-*/tables/{table}.csv"))]
    return [study.name for study in found if any(study.glob("runs*.tar.xz"))]


def table(study: str, name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / study / "tables" / f"{name}.csv")


ROBUST = studies("robustness_means")
GATED = studies("experts")


@pytest.mark.parametrize("study", ROBUST)
def test_the_mean_losses_under_occlusion_and_light(study: str) -> None:
    kept = np.load(io.BytesIO(packed(study)["09_robustness/outcomes.npz"]))
    right = kept["predicted"] == kept["labels"]  # (runs, 1 + conditions, images)
    conditions = [name.rpartition("/")[0] for name in kept["conditions"]]
    chosen = [1 + k for k, name in enumerate(conditions) if name in (*OCCLUSION, *LIGHT)]
    place = {str(name): k for k, name in enumerate(kept["runs"])}
    rows = table(study, "robustness_means")
    assert set(rows["conditions"]) == {len(chosen)} == {35}
    assert set(rows["images"]) == {right.shape[2]}
    rng = np.random.default_rng(5)
    for row in rows.itertuples():
        names = row.runs.split()
        sides = []
        for runs in (names[0::2], names[1::2]):  # the full network's and the variant's, seed by seed
            losses = []
            for run in runs:
                clean, hit = right[place[run], 0].mean(), right[place[run], chosen].mean()
                losses.append((clean - hit) / WAYS[row.drop](clean))
            sides.append(np.array(losses))
        assert all("-full-" in name for name in names[0::2])
        assert (row.full, row.value) == pytest.approx((sides[0].mean(), sides[1].mean()), abs=LAST_DIGIT)
        assert row.difference == pytest.approx(sides[1].mean() - sides[0].mean(), abs=LAST_DIGIT)
        assert (row.seeds_low, row.seeds_high) == pytest.approx(welch(*sides), abs=LAST_DIGIT)
        if row.drop in ("absolute", "corrected") and len(sides[0]) >= 3:  # what decides the claim
            by_image = [
                np.array([[right[place[run], 0], right[place[run]][chosen].mean(axis=0)] for run in runs])
                for runs in (names[0::2], names[1::2])
            ]
            means = []
            for _ in range(1500):
                images = rng.integers(0, right.shape[2], right.shape[2])
                ends = []
                for one in by_image:  # one seed fewer: what keeps a mean of few from looking too sure
                    clean, hit = one[rng.integers(0, len(one), len(one) - 1)][:, :, images].mean(axis=2).T
                    ends.append(((clean - hit) / WAYS[row.drop](clean)).mean())
                means.append(ends[1] - ends[0])
            error = np.std(means, ddof=1)
            half = students.ppf(0.975, degrees(error, *sides)) * error
            assert (row.crossed_high - row.crossed_low) / 2 == pytest.approx(half, rel=0.12)


def gates(content: bytes) -> tuple[list[int], dict[str, list[int]]]:
    """The labels, and by mixture the expert with the largest weight, the first of equals."""
    labels, chosen = [], defaultdict(list)
    for row in csv.DictReader(io.StringIO(content.decode())):
        labels.append(int(row["label"]))
        weights = defaultdict(list)
        for name, value in row.items():
            if name.startswith("gate_"):
                weights[name.removeprefix("gate_").rpartition("_")[0]].append(float(value))
        for mixture, given in weights.items():
            chosen[mixture].append(given.index(max(given)))
    return labels, chosen


def information(labels: list[int], choice: list[int]) -> float:
    """Mutual information in bits, cell by cell."""
    n, cells, rows, columns = (
        len(labels), Counter(zip(labels, choice, strict=True)), Counter(labels), Counter(choice)
    )  # fmt: skip
    return sum(k / n * math.log2(k * n / (rows[a] * columns[b])) for (a, b), k in cells.items())


@pytest.mark.parametrize("study", GATED)
def test_what_gates_tell_about_the_class_and_what_another_images_gates_cost(study: str) -> None:
    content, rows = packed(study), table(study, "experts")
    kept = np.load(io.BytesIO(content["07_expert_utilization/outcomes.npz"]))
    seen = 0
    for k, run in enumerate(map(str, kept["runs"])):
        mine = rows[rows["run"] == run].set_index(["mixture", "measure"])
        labels, chosen = gates(content[f"{run}/predictions.csv"])
        for mixture, choice in chosen.items():
            told = mine.loc[[(mixture, "mutual_information")], "value"].item()
            assert told == pytest.approx(information(labels, choice), abs=1e-4)  # gates have six digits in the CSV
            seen += 1
        changes = [name.split("/") for name in kept[f"changes_{k}"]]
        right = kept[f"correct_{k}"].mean(axis=1)
        unchanged = next(value for (_, what, _), value in zip(changes, right, strict=True) if what.startswith("unch"))
        shuffled = defaultdict(list)
        for (mixture, what, _), value in zip(changes, right, strict=True):
            if what == "shuffled_gates_drop":
                shuffled[mixture].append(unchanged - value)
        for mixture, lost in shuffled.items():
            written = mine.loc[[(mixture, "shuffled_gates_drop")], "value"].item()
            assert written == pytest.approx(np.mean(lost), abs=LAST_DIGIT)
    assert seen >= 2
