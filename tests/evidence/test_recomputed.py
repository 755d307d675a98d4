"""The tables of the committed FER-2013 runs, computed again in plain NumPy from the predictions: to 1e-9.

Nothing of the library's statistics is used here: loops over classes, seeds and draws, and SciPy's t distribution.
What is drawn at random agrees to its Monte-Carlo error.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as students

from fermoe.evidence.ablation import ablation_table
from fermoe.evidence.accuracy import accuracy_table
from fermoe.evidence.leaks import leak_table
from fermoe.study import archive
from fermoe.training.runs import FinishedRun, finished_runs
from tests.helpers.plain import degrees, welch

RESULTS = Path(__file__).resolve().parents[2] / "results"
PACKED = [
    name for name in ("fer2013-ten-miniature", "fer2013-long-miniature") if (RESULTS / name / archive.NAME).exists()
]
LEADING = pytest.mark.parametrize("pack", PACKED[:1], indirect=True, scope="module")
"""What is drawn a thousand times, for the study of the leading answer alone."""
RESNETS = ("backbone", "backbone_x2", "backbone_x3")
"""The ResNet alone, of equal operations, and one that takes longer to train; the long study has the first."""
CLASSES = 7
pytestmark = pytest.mark.skipif(not PACKED, reason="needs the committed runs of FER-2013")


@pytest.fixture(scope="module", params=PACKED)
def pack(request: pytest.FixtureRequest) -> Path:
    """A study whose leading table is computed again."""
    return RESULTS / request.param


@pytest.fixture(scope="module")
def runs(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> list[FinishedRun]:
    """The audited full network, its ResNet and wider ones, without augmentation."""
    folder = tmp_path_factory.mktemp("pack")
    for file in pack.glob("runs*.tar.xz"):
        shutil.copy(file, folder)
    archive.unpack(folder)
    return [
        run
        for run in finished_runs(folder)
        if run.config.variant in ("full", *RESNETS)
        and (run.config.protocol, run.config.pipeline) == ("audited", "imagenet")
    ]


@pytest.fixture(scope="module")
def answers(runs: list[FinishedRun]) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """(labels, predicted) by variant and seed, read with the csv module."""
    found = {}
    for run in runs:
        with (run.directory / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = (np.array([int(row[name]) for row in rows]) for name in ("label", "predicted"))
        found[run.config.variant, run.config.seed] = tuple(columns)
    return found


@pytest.fixture(scope="module")
def seeds(answers) -> list[int]:
    """The seeds of all networks, of which there are at least three."""
    found = {name: sorted(seed for variant, seed in answers if variant == name) for name, _ in answers}
    assert len({tuple(of) for of in found.values()}) == 1
    assert len(found["full"]) >= 3
    return found["full"]


def scores(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy, mean recall, mean F1 and every recall, class by class; drawn images may lack no class here."""
    recall, f1 = [], []
    for c in range(CLASSES):
        hits = np.sum((labels == c) & (predicted == c))
        recall.append(hits / np.sum(labels == c))
        precision = hits / max(np.sum(predicted == c), 1)
        f1.append(2 * precision * recall[-1] / (precision + recall[-1]) if hits else 0.0)
    names = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    return {
        "accuracy": float(np.mean(labels == predicted)),
        "balanced_accuracy": float(np.mean(recall)),
        "macro_f1": float(np.mean(f1)),
        **{f"recall_{name}": float(value) for name, value in zip(names, recall, strict=True)},
    }


@pytest.fixture(scope="module")
def table(runs: list[FinishedRun]) -> pd.DataFrame:
    return ablation_table(runs).set_index(["alternative", "measure"])


@pytest.fixture(params=RESNETS)
def resnet(request: pytest.FixtureRequest, table: pd.DataFrame) -> str:
    """One of the ResNets that the study compares with the full network."""
    if request.param not in table.index.get_level_values("alternative"):
        pytest.skip("the study trained no such ResNet")
    return request.param


def test_the_three_measures_of_every_run(runs, answers) -> None:
    found = accuracy_table(runs)
    for row in found[found["split"] == "test"].itertuples():
        expected = scores(*answers[row.variant, row.seed])
        for measure in ("accuracy", "balanced_accuracy", "macro_f1"):
            assert getattr(row, measure) == pytest.approx(expected[measure], abs=1e-9)
        assert row.balanced_low < row.balanced_accuracy < row.balanced_high
        assert row.f1_low < row.macro_f1 < row.f1_high


def test_differences_of_every_measure_and_welchs_interval(table: pd.DataFrame, answers, seeds, resnet: str) -> None:
    full, alone = ([scores(*answers[variant, seed]) for seed in seeds] for variant in ("full", resnet))
    assert len(table.loc[resnet]) == (10 if resnet == "backbone" else 3)  # recalls: beside the ResNet alone
    for measure, row in table.loc[resnet].iterrows():
        a, b = (np.array([one[measure] for one in side]) for side in (full, alone))
        assert row["difference"] == pytest.approx(b.mean() - a.mean(), abs=1e-9)
        assert row["baseline_value"] == pytest.approx(a.mean(), abs=1e-9)
        assert (row["seeds_low"], row["seeds_high"]) == pytest.approx(welch(a, b), abs=1e-9)


def test_equal_training_time_lies_between_the_two_wider_resnets(pack: Path, runs: list[FinishedRun]) -> None:
    """Trainings of one seed on one model of processor, side by side; README quotes the medians."""
    if pack.name != "fer2013-ten-miniature":
        pytest.skip("no other study has wider ResNets")
    taken = {
        (run.config.variant, run.config.seed, run.result["hardware"]["processor"]): run.result["seconds"]
        / run.result["epochs_run"]
        for run in runs
    }
    ratio = {}
    for resnet in ("backbone_x2", "backbone_x3"):
        pairs = [(time, taken.get(("full", *where))) for (variant, *where), time in taken.items() if variant == resnet]
        ratio[resnet] = np.array([time / whole for time, whole in pairs if whole])
        assert len(ratio[resnet]) >= 5
    assert (ratio["backbone_x2"] < 1).all()
    assert np.median(ratio["backbone_x3"]) > 1
    said = [f"takes {np.median(ratio[resnet]):.1f} times" for resnet in ("backbone_x2", "backbone_x3")]
    screen = " ".join((RESULTS.parent / "README.md").read_text().partition("\n## ")[0].split())
    assert f"{said[0]} the hybrid's training time" in screen
    assert f"{said[1]} it" in screen


@LEADING
def test_the_crossed_interval_equivalence_and_detectable_difference_to_monte_carlo_error(
    table: pd.DataFrame, answers, seeds, resnet: str
) -> None:
    rng, draws, n = np.random.default_rng(11), 1500, len(seeds)
    measures = ("accuracy", "balanced_accuracy", "macro_f1")
    means = {measure: np.empty(draws) for measure in measures}
    size = len(answers["full", 0][0])
    cells = {key: CLASSES * labels + predicted for key, (labels, predicted) in answers.items()}
    for key in (("full", 0), (resnet, 0)):
        plain = scores(*answers[key])
        assert of_cells(cells[key]) == pytest.approx({measure: plain[measure] for measure in measures})
    for k in range(draws):
        images = rng.integers(0, size, size)
        sides = {}
        for variant in ("full", resnet):
            drawn = [of_cells(cells[variant, s][images]) for s in rng.choice(seeds, n - 1)]
            sides[variant] = {m: np.mean([one[m] for one in drawn]) for m in measures}
        for m in measures:
            means[m][k] = sides[resnet][m] - sides["full"][m]
    for m in measures:
        error, row = means[m].std(ddof=1), table.loc[(resnet, m)]
        df = degrees(error, *(np.array([scores(*answers[v, s])[m] for s in seeds]) for v in ("full", resnet)))
        half = students.ppf(0.975, df) * error
        tolerance = 0.12 * half  # twice the 2.4 % of two such errors, and what they do to the degrees of freedom
        assert row["crossed_low"] == pytest.approx(row["difference"] - half, abs=tolerance)
        assert row["crossed_high"] == pytest.approx(row["difference"] + half, abs=tolerance)
        sizes = students.ppf(0.975, df) + students.ppf(0.8, df)
        assert row["detectable"] == pytest.approx(sizes * error, rel=0.12)
        p = students.sf((0.01 - abs(row["difference"])) / error, df)
        assert row["p_equal"] == pytest.approx(p, abs=0.03)


@LEADING
def test_intervals_over_images_are_those_of_resampled_predictions(table: pd.DataFrame, answers, seeds) -> None:
    rng, found = np.random.default_rng(12), []
    size = len(answers["full", 0][0])
    cells = {key: CLASSES * labels + predicted for key, (labels, predicted) in answers.items()}
    for _ in range(3000):  # of 600 the ends are too loose for this tolerance
        images = rng.integers(0, size, size)
        full, backbone = (
            np.mean([of_cells(cells[variant, s][images])["macro_f1"] for s in seeds])
            for variant in ("full", "backbone")
        )
        found.append(backbone - full)
    row = table.loc[("backbone", "macro_f1")]
    assert row["ci_high"] - row["ci_low"] == pytest.approx(np.ptp(np.quantile(found, [0.025, 0.975])), rel=0.12)


def of_cells(cells: np.ndarray) -> dict[str, float]:
    """The three measures of images in the cells true class · classes + predicted class of a confusion matrix."""
    counts = np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    hits, true, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    return {
        "accuracy": float(hits.sum() / counts.sum()),
        "balanced_accuracy": float(np.mean(hits / true)),
        "macro_f1": float(np.mean(2 * hits / (said + true))),
    }


def test_the_leaks_and_their_effect_within_classes(pack: Path, runs: list[FinishedRun], answers) -> None:
    if not (pack / "tables" / "leaked_images.csv").exists():
        pytest.skip("the study has no list of leaked images: its training sets hold no twins of test images")
    leaked = pd.read_csv(pack / "tables" / "leaked_images.csv")
    found = leak_table(runs, leaked)
    names = {kind: set(leaked["image"][leaked["kind"].isin(kind.split(" or "))]) for kind in found["leaks"].unique()}
    assert {kind: len(images) for kind, images in names.items()} == {"identical": 568, "identical or near": 851}
    known = {run.name: run for run in runs}
    for row in found.itertuples():
        labels, predicted = answers[row.variant, row.seed]
        right = labels == predicted
        inside = np.array([image in names[row.leaks] for image in known[row.run].predictions["image"]])
        assert row.difference == pytest.approx(right.mean() - right[~inside].mean(), abs=1e-9)
        gain = sum(
            np.mean(labels == c) * (right[labels == c].mean() - right[(labels == c) & ~inside].mean())
            for c in range(CLASSES)
        )
        assert row.standardised == pytest.approx(gain, abs=1e-9)
        assert row.std_low < gain < row.std_high
