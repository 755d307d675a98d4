"""What is taken for what, over all trainings of a setting, beside counts made one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fermoe.evidence import confusions
from fermoe.training.runs import finished_runs
from tests.helpers.runs import make_run


@pytest.fixture
def trainings(tmp_path: Path):
    for seed, accuracy in enumerate((0.9, 0.6, 0.5)):
        make_run(tmp_path, seed=seed, accuracy=accuracy)
        make_run(tmp_path, seed=seed, accuracy=0.3, augmentation="augment")
    return confusions.full_trainings(finished_runs(tmp_path))


def test_trainings_of_a_protocol_are_its_plain_full_networks_and_named_by_their_number(trainings) -> None:
    ((name, runs),) = trainings.items()
    assert name == "audited, 3 seeds"
    assert [(run.config.seed, run.config.augmentation) for run in runs] == [(0, "none"), (1, "none"), (2, "none")]


def test_shares_of_pairs_and_recalls_are_means_over_the_trainings(trainings) -> None:
    (runs,) = trainings.values()
    pairs = confusions.confused_pairs(runs)
    recalls = confusions.class_recalls(trainings).set_index("label")
    names = list(recalls.index)

    def share(true: str, predicted: str) -> float:
        each = []
        for run in runs:
            mine = run.predictions[run.predictions["label"] == names.index(true)]
            each.append(np.mean([guess == names.index(predicted) for guess in mine["predicted"]]))
        return float(np.mean(each))

    assert pairs["share"].is_monotonic_decreasing
    assert not (pairs["true"] == pairs["predicted"]).any()
    for row in pairs.head(5).itertuples():
        assert row.share == pytest.approx(share(row.true, row.predicted))
    for name in names:
        assert recalls.at[name, "recall"] == pytest.approx(share(name, name))
    assert recalls[["recall_low", "recall_high"]].stack().between(0, 1).all()


def test_the_paper_stands_beside_its_own_datasets_only(trainings) -> None:
    (runs,) = trainings.values()
    matrix = confusions.pooled(runs)
    assert matrix.to_numpy().sum() == 3 * len(runs[0].predictions)
    assert confusions.paper_matrix("synthetic", matrix) is None
    renamed = confusions.published.confusion_matrix("rafdb").iloc[::-1, ::-1]
    assert list(confusions.paper_matrix("rafdb", renamed).index) == list(renamed.index)


def test_a_calibrated_network_is_within_its_floor_and_an_overconfident_one_is_not() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.full(4, 0.6), 1500)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    fair = confusions.calibration(probabilities, labels)
    sure = probabilities**4 / (probabilities**4).sum(axis=1, keepdims=True)
    bold = confusions.calibration(sure, labels)
    assert 0 < fair.error < fair.floor < bold.error
    assert bold.confidence > bold.accuracy == fair.accuracy
    assert fair.brier < bold.brier
