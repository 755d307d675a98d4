"""Tables about the paper: its numbers beside a study's and its neighbours', its claims, their rules and verdicts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fermoe.data.arrays import CONTROLS
from fermoe.data.transforms import pipeline_parts
from fermoe.evidence.findings import counted, dataset_title, over_seeds, rows_of, share, span
from fermoe.paper import published
from fermoe.paper.claims import CLAIMS
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.stats import wilson_interval
from fermoe.study.tables_for_people import PeopleTable, input_name, mean, number, selection_rows
from fermoe.training.config import follows_protocol


def verdicts(tables: Tables) -> PeopleTable:
    """10: every claim with its verdict and why."""
    claims = rows_of(tables, "claims", "claim", "sentence", "verdict", "reason")
    rows = [(row.claim, row.sentence, row.verdict, row.reason) for row in claims.itertuples()]
    return PeopleTable("The paper's claims", ("Claim", "The paper says", "Verdict", "Why"), rows, "claims.csv")


def rules() -> PeopleTable:
    """00: by which rule each claim is decided."""
    rows = [
        (
            claim.id,
            claim.sentence,
            claim.where,
            claim.rule,
            claim.evidence,
            f"{claim.stamp}; {claim.changed}" if claim.changed else claim.stamp,
        )
        for claim in CLAIMS
    ]
    columns = (
        "Claim",
        "The paper says (our words)",
        "Where",
        "Rule",
        "Decided by",
        "Since, and what was changed knowing what",
    )
    return PeopleTable("The claims and their rules", columns, rows)


def epochs_chosen() -> PeopleTable:
    """00: which epoch the authors kept, and what choosing by loss would have given."""
    rows = [
        (
            published.TITLES[row.dataset],
            f"{row.chosen_epoch} of {row.epochs}",
            share(row.val_accuracy),
            share(row.accuracy),
            str(row.lowest_loss_epoch),
            share(row.accuracy_at_lowest_loss),
        )
        for row in published.chosen_epochs().itertuples()
    ]
    columns = ("Dataset", "Epoch kept", "Test accuracy there", "Training accuracy there", "Epoch of lowest loss")
    caption = "The epoch that was kept: the best on the test split"
    return PeopleTable(caption, (*columns, "Test accuracy at it"), rows)


def optimism(table: pd.DataFrame) -> PeopleTable:
    """00: what choosing among the logged epochs may add; `table` is of `published.selection_optimism`."""
    rows = []
    for (dataset, taken), group in table.groupby(["dataset", "epochs_taken_as"], sort=False):
        cells = [number(value) for value in group["mean"]]
        rows.append((published.TITLES[str(dataset)], str(taken), *cells))
    heads = [f"Correlation {value:g}" for value in dict.fromkeys(table["correlation"])]
    caption = "Simulated mean gain from choosing the best epoch on the test set, in points"
    return PeopleTable(caption, ("Dataset", "Epochs taken as", *heads), rows)


def imbalance(confidence: float) -> PeopleTable:
    """00: recall and class balance by dataset."""
    rows = [
        (
            published.TITLES[row.dataset],
            f"{row.largest_to_smallest:.1f} to 1",
            *(share(value) for value in (row.happy, row.fear, row.disgust)),
            "yes" if row.happy_leads else "no",
            f"{number(row.rho, 1, 2)} [{number(row.low, 1, 2)}, {number(row.high, 1, 2)}]",
        )
        for row in published.imbalance(confidence).itertuples()
    ]
    columns = ("Dataset", "Largest to smallest class", "Happy", "Fear", "Disgust", "Happy leads clearly")
    return PeopleTable("Recall and class balance", (*columns, "Rank correlation of recall and frequency"), rows)


def neighbours() -> PeopleTable:
    """10: what others report, those first whose test images are the paper's."""
    table = published.neighbours().sort_values("same_test_images", ascending=False, kind="stable")
    rows = [
        (
            published.TITLES[row.dataset],
            row.method,
            f"{100 * row.accuracy:.1f} %",
            row.test_set,
            row.selection,
            "yes" if row.same_test_images else "no",
        )
        for row in table.itertuples()
    ]
    columns = ("Dataset", "Method", "Accuracy", "Test set", "How it was chosen", "The paper's test images")
    return PeopleTable("What others report", columns, rows)


def selection(tables: Tables) -> PeopleTable:
    """00, 10: what choosing the epoch on the test set added in the study's own runs."""
    table = selection_rows(tables, "epochs", "selected", "optimism", "full_size")
    rows = []
    for (protocol, variant, pipeline), group in table.groupby(["protocol", "variant", "pipeline"], sort=False):
        network = f"{style.variant_name(variant)}, {input_name(protocol)}, {input_name(pipeline)}"
        epochs = span(group["epochs"], 1, 0).replace("+", "")
        cells = (mean(group["selected"]), mean(group["optimism"], 100, 2), mean(group["full_size"], 100, 2))
        rows.append((network, str(group["seed"].nunique()), epochs, *cells))
    columns = ("Network", "Seeds", "Epochs", "Accuracy chosen on the test set, %", "Gain by split halves, points")
    caption = "What choosing the epoch on the test set is worth, over seeds"
    return PeopleTable(caption, (*columns, "Simulated at full size, points"), rows, "selection.csv")


def crops(tables: Tables) -> PeopleTable:
    """02, 10: how often the paper's detector finds a face."""
    table = rows_of(tables, "crops", "split", "label", "rate", "ci_low", "ci_high", "images", "detected", "framing")
    rows = [
        (
            f"{dataset_title(row.dataset)}, framed {row.framing}"
            if row.framing != "original"
            else dataset_title(row.dataset),
            row.split,
            f"{row.detected:,} of {row.images:,}",
            share(row.rate, row.ci_low, row.ci_high),
        )
        for row in table[table["label"] == "all"].itertuples()
    ]
    columns = ("Images", "Split", "Faces found", "Share, with Wilson's interval")
    return PeopleTable("How often the paper's detector finds a face", columns, rows, "crops.csv")


def comparison(accuracy: pd.DataFrame, study: str = "") -> pd.DataFrame:
    """The paper's accuracies beside the full network's here: one row per dataset, crop and augmentation.

    A cell of ours is the mean over seeds, its Wilson interval for one test set of that size, and the range of the
    seeds; "needs the data" where there is none. `study` is the one that made `accuracy`; a row without a result names
    the dataset's own study instead. Runs with another test crop or other pixel values than their protocol's are left
    out.
    """
    test = accuracy[(accuracy["split"] == "test") & (accuracy["variant"] == "full")]
    test = test[~test["crop"].isin(CONTROLS)]
    test = test.assign(augmentation=[pipeline_parts(name)[1] for name in test["pipeline"]])
    own = [
        follows_protocol(row.dataset, row.protocol, row.crop, row.test_crop, row.pipeline, row.initial_weights)
        for row in test.itertuples()
    ]
    test, rows = test[np.array(own, bool)], []
    for dataset, row in zip(
        published.accuracies()["dataset"], published.recomputed_accuracies().itertuples(), strict=True
    ):
        paper = {"dataset": published.TITLES[dataset], "paper": share(row.accuracy, row.ci_low, row.ci_high)}
        groups = list(test[test["dataset"] == dataset].groupby(["crop", "augmentation"]))
        command = {"command": f"fermoe study {(study if groups else '') or dataset} --set root=DIR"}
        if not groups:
            rows.append({**paper, **_ours(test.iloc[:0]), **command})
        for (crop, augmentation), ours in groups:
            rows.append({**paper, "crop": crop, "augmentation": augmentation, **_ours(ours), **command})
    columns = ["dataset", "paper", "crop", "augmentation", *_ours(test.iloc[:0]), "command"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def _ours(rows: pd.DataFrame) -> dict[str, str]:
    cells = {}
    for protocol in ("published", "audited"):
        mine = rows[rows["protocol"] == protocol]
        cells[f"ours, {protocol}"] = _mean(mine) if len(mine) else "needs the data" if rows.empty else "not run"
    cells["initial weights"] = ", ".join(sorted(rows["initial_weights"].unique()))
    cells["model"] = ", ".join(sorted(rows["model"].unique()))
    return cells


def _mean(rows: pd.DataFrame) -> str:
    found, images = over_seeds(rows["accuracy"]), int(rows["images"].iloc[0])
    text = share(found.value, *wilson_interval(round(found.value * images), images))
    if found.seeds == 1:
        return f"{text}, 1 seed"
    return (
        f"{text}, {counted(found.seeds, 'seed')} {100 * rows['accuracy'].min():.1f}–{100 * rows['accuracy'].max():.1f}"
    )


def beside_paper(tables: Tables, study: str = "") -> PeopleTable:
    """10: `comparison` for people."""
    if "accuracy" not in tables:
        return PeopleTable("The paper's accuracies beside ours", (), ())
    found = comparison(tables["accuracy"], study)
    named = found.assign(crop=[input_name(crop) if crop else "" for crop in found["crop"]])
    rows = [tuple(map(str, row)) for row in named.itertuples(index=False)]
    columns = tuple(f"{name[0].upper()}{name[1:]}" for name in named.columns)
    return PeopleTable("The paper's accuracies beside ours", columns, rows, "accuracy.csv")


SECTIONS = (
    "claims", "accuracy", "ablation", "selection", "leaks", "leaked_images", "crops", "experts", "grad_cam",
    "robustness", "robustness_means", "curves",
)  # fmt: skip
"""Tables that the report notebook has a section on, or that are too long for it; `further` shows any other."""


def further(tables: Mapping[str, pd.DataFrame]) -> list[PeopleTable]:
    """Every other table of the study as it is, without run ids and with three digits."""
    found = []
    for name, table in tables.items():
        if name not in SECTIONS:
            shown = style.for_people(table.drop(columns=["run", "runs"], errors="ignore").dropna(axis=1, how="all"))
            cells = [
                [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
                for row in shown.to_numpy(object)
            ]
            columns = tuple(str(column).replace("_", " ").capitalize() for column in shown.columns)
            found.append(PeopleTable(f"{name}.csv", columns, cells, f"{name}.csv"))
    return found
