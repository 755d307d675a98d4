"""A new dataset, variant, input pipeline and perturbation is one entry each, and is then found in every table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fermoe.data.datasets import DATASETS
from fermoe.data.perturbations import PERTURBATIONS, Perturbation
from fermoe.data.transforms import NORMALISATIONS
from fermoe.evidence import robustness
from fermoe.network.cost import variant_table
from fermoe.network.variants import VARIANTS, Variant
from fermoe.plots import style
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TrainConfig
from fermoe.training.inference import open_runs
from fermoe.training.runs import finished_runs
from tests.helpers import trees
from tests.helpers.runs import quietly

pytestmark = pytest.mark.filterwarnings("ignore:no test images of class")


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pd.DataFrame]:
    """Those of a study that uses one new entry of each kind beside the old ones."""
    pets = DATASETS["folder"]
    monkeypatch.setitem(DATASETS, "pets", type(pets)("pets", "Pets", pets.layout, pets.labels, 3, pets.load))
    small = Variant("small kernels alone", "extractor 2 and dense layers", {"cnn1": None, "gate": None})
    monkeypatch.setitem(VARIANTS, "small_kernels", small)
    monkeypatch.setitem(NORMALISATIONS, "negative", lambda images: 1 - images)
    upside_down = Perturbation("camera", "nothing", (1, 2, 3, 4, 5), lambda batch, value: batch.images.flip(2))
    monkeypatch.setitem(PERTURBATIONS, "upside down", upside_down)

    root = trees.folder_tree(tmp_path / "data", ("cat", "dog", "fox"), train=8, test=4)
    for values in ({}, {"variant": "small_kernels"}, {"normalisation": "negative"}):
        config = TrainConfig(dataset="pets", root=str(root), epochs=1, batch_size=8, **values)
        quietly(config, tmp_path / "runs" / config.run_id)
    runs = robustness.runs_to_compare(finished_runs(tmp_path), "audited")
    outcomes = robustness.measure(list(open_runs(runs, str(root))), images=12)
    robustness.TABLE.keep(tmp_path / "runs" / robustness.NOTEBOOK, outcomes)
    return rebuild_tables(tmp_path)


def test_one_entry_each_is_found_in_every_table(tables: dict[str, pd.DataFrame]) -> None:
    accuracy, ablation, rows = tables["accuracy"], tables["ablation"], tables["robustness"]
    assert set(accuracy["dataset"]) == {"pets"}
    assert set(accuracy["variant"]) == {"full", "small_kernels"}
    assert set(accuracy["pipeline"]) == {"imagenet", "negative"}
    contrasts = set(ablation[["contrast", "baseline", "alternative"]].itertuples(index=False, name=None))
    assert contrasts == {("variant", "full", "small_kernels"), ("pipeline", "imagenet", "negative")}
    assert set(rows["variant"]) == {"full", "small_kernels"}
    assert (rows["perturbation"] == "upside down").sum() == 2 * 5
    assert rows.loc[rows["variant"] == "small_kernels", "drop_difference"].notna().all()
    assert "small_kernels" in variant_table(7)["variant"].tolist()
    assert style.variant_name("small_kernels") == "small kernels alone"
