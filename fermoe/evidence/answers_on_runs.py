"""What a study's trainings are, and what their numbers are worth: one answer from the tables each, as in `answers`."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from fermoe import seeds
from fermoe.evidence import curves
from fermoe.evidence.findings import (
    Finding,
    Outcome,
    by_composition,
    by_measures,
    counted,
    dataset_title,
    findings,
    full_network,
    listed,
    network,
    over_seeds,
    rows_of,
    share,
    signed,
    span,
)
from fermoe.paper import published
from fermoe.paper.verdicts import Tables, of_each


def leaks(tables: Tables) -> str:
    """What are test images worth that also occur in the training set?"""
    table = rows_of(tables, "leaks", "leaks", "leaked_images", "images", "difference", "standardised", "seed")
    rows = full_network(table)
    if rows.empty:
        return "Not asked: the study has no table of leaked images for the full network."
    rows = rows[rows["leaks"] == ("identical" if (rows["leaks"] == "identical").any() else rows["leaks"].iloc[0])]
    leaked, images = int(rows["leaked_images"].iloc[0]), int(rows["images"].iloc[0])
    found, within = over_seeds(rows["difference"], seeds.EQUAL), over_seeds(rows["standardised"])
    what = {
        Outcome.BETTER: "With them the full network's accuracy is higher than without",
        Outcome.WORSE: "With them the full network's accuracy is lower than without",
        Outcome.SAME: "With them the full network's accuracy is less than a point from that without",
        Outcome.OPEN: "Whether the full network's accuracy is higher with them than without cannot be told",
    }.get(found.outcome, "So few trainings give no interval of what they change")
    count = f"{leaked:,} of {images:,} test images ({share(leaked / images)})"
    if rows["leaks"].iloc[0] == "identical":
        seen = f"{count} occur in the training set, pixel for pixel"
    else:  # a perceptual hash takes pictures for near that are not; drawn faces have no twins at all
        alarm = ", false alarms among drawn faces" if rows["dataset"].iloc[0] == "synthetic" else ""
        seen = f"No test image occurs in the training set pixel for pixel; {count} look to a hash like one of it{alarm}"
    more = f", {within.text()} within classes" if within.seeds else ""
    said = f"{seen}. {what}: {found.text()} points{more} ({counted(found.seeds, 'seed')})."
    return " ".join(filter(None, [said, _caused(rows)]))


def _caused(leaks: pd.DataFrame) -> str:
    """What training on twins adds, where networks were trained without them too; nothing where there are no twins."""
    if (leaks["leaks"] != "identical").all():
        return ""
    if "causal" not in leaks or leaks["causal"].isna().all():
        return "Whether for having been trained on or for being easier images was not measured."
    return f"Training on them adds {over_seeds(leaks['causal']).text()} points to the accuracy on all test images."


def selection(tables: Tables) -> str:
    """What is choosing the epoch on the test set worth?"""
    rows = full_network(rows_of(tables, "selection", "optimism", "full_size", "seed", "epochs"))
    if rows.empty:
        return "Not asked: the study has no trainings of the full network under the published protocol."
    halves, whole = over_seeds(rows["optimism"], seeds.EQUAL), over_seeds(rows["full_size"])
    what = {
        Outcome.BETTER: "Choosing the epoch on the test set flatters the full network's accuracy",
        Outcome.WORSE: "Choosing the epoch on the test set does not flatter the full network's accuracy",
        Outcome.SAME: "Choosing the epoch on the test set is worth less than a point of the full network's accuracy",
        Outcome.OPEN: "Whether choosing the epoch on the test set flatters the full network's accuracy cannot be told",
    }.get(halves.outcome, "So few trainings give no interval of what choosing the epoch on the test set is worth")
    more = f", {whole.text(digits=2)} simulated at the size of the whole test set" if whole.seeds else ""
    among = f"{counted(halves.seeds, 'seed')}, {_span(rows['epochs'])} epochs to choose from"
    return f"{what}: {halves.text(digits=2)} points by split halves{more} ({among})."


def _span(numbers: pd.Series) -> str:
    return span(numbers, 1, 0).replace("+", "")


def accuracy(tables: Tables) -> str:
    """05: how good is it?"""
    table = rows_of(tables, "accuracy", "split", "accuracy", "seed", "model")
    table, said = table[table["split"] == "test"], []
    for protocol in ("audited", "published"):
        rows = full_network(table[table["protocol"] == protocol])
        if len(rows):
            found = over_seeds(rows["accuracy"])
            interval = () if found.outcome is Outcome.FEW else (found.low, found.high)
            said.append(f"{share(found.value, *interval)} {protocol} ({counted(found.seeds, 'seed')})")
    if not said:
        return "Not known: the study has no test result of the full network."
    name = dataset_title(table["dataset"].iloc[0])
    text = f"The full network reaches {listed(said)} on {name}."
    stated = published.recomputed_accuracies().set_index("dataset")
    if name in stated.index:
        row = stated.loc[name]
        ours = "" if (table["model"] == "paper").all() else ", of its full-size network"
        text += f" The paper reports {share(row['accuracy'], row['ci_low'], row['ci_high'])}{ours}."
    return text


def model(tables: Tables) -> str:
    """03: is this the paper's network?"""
    rows = rows_of(tables, "accuracy", "model", "initial_weights", "split")
    if rows.empty:
        return "Not known: the study has no finished training."
    names = sorted({str(name).replace("_", " ") for name in rows["model"]})
    weights = sorted({str(name).split(":")[0] for name in rows["initial_weights"]})
    if names != ["paper"]:
        return (
            f"No: these trainings are of the {listed(names)} network from {listed(weights)} weights. They compare "
            "parts of the method with each other and decide no published accuracy."
        )
    if weights != ["vggface2"]:
        return f"In shape yes, but from {listed(weights)} weights, not VGGFace2's: no published accuracy is decided."
    return "Yes: these trainings are of the paper's network at full size, from VGGFace2 weights."


def data(tables: Tables) -> str:
    """01: is this the data the paper used?"""
    rows = rows_of(tables, "accuracy", "split", "images")
    rows = rows[rows["split"] == "test"]
    if rows.empty:
        return "Not known: the study has no finished training."
    name, images = rows["dataset"].iloc[0], int(rows["images"].iloc[0])
    counts = published.class_counts()
    paper = int(counts.loc[(counts["dataset"] == name) & (counts["split"] == "test"), "images"].sum())
    if not paper:
        said = f"No: {dataset_title(name)} are not among the paper's datasets, and decide no published accuracy."
    elif paper == images:
        said = f"Yes, in number: {images:,} test images of {dataset_title(name)}, as in the paper."
    else:
        said = f"No: {images:,} test images of {dataset_title(name)}, where the paper has {paper:,}."
    return f"{said} {leaks(tables)}"


def training(tables: Tables) -> str:
    """04: how does it train?"""
    rows = rows_of(tables, "accuracy", "split", "epochs", "epochs_run", "best_epoch", "run")
    rows = rows[(rows["split"] == "test") & rows["epochs_run"].notna()].drop_duplicates("run")
    if rows.empty:
        return "Not known: the study has no finished training."
    early, last = rows[rows["epochs_run"] < rows["epochs"]], (rows["best_epoch"] == rows["epochs_run"]).sum()
    limit = f"at most {_span(rows['epochs'])} epochs"
    if "patience" in rows and (rows["patience"] >= rows["epochs"]).all():
        whole = f"ran {_span(rows['epochs'])} epochs: early stopping waits for as many, so none could stop"
        said = f"{counted(len(rows), 'training')} {whole}."
    elif early.empty:
        said = f"None of {counted(len(rows), 'training')} of {limit} stopped early."
    else:
        when = f"after {_span(early['epochs_run'])} of {limit}"
        said = f"{len(early)} of {counted(len(rows), 'training')} stopped early, {when}."
    more = ": more epochs might have helped" if last else ""
    return f"{said} In {last} the last epoch was the best{more}.{_last_epoch(tables)}"


def rates(tables: Tables) -> str:
    """Whether the networks that a study compares had one learning rate or each its own."""
    rows = rows_of(tables, "accuracy", "variant", "learning_rate")
    of = {rate: sorted(set(group["variant"])) for rate, group in rows.groupby("learning_rate")}
    networks = rows["variant"].nunique()
    if not of:
        return ""
    if len(of) == 1:
        one = f"the learning rate {next(iter(of)):g}"
        every = f"Every network was trained with {one}, none with one of its own."
        return every if networks > 1 else f"Trained with {one}."
    if sum(map(len, of.values())) > networks:
        return f"Networks were trained with several learning rates each: {listed([f'{rate:g}' for rate in of])}."
    usual = max(of, key=lambda rate: len(of[rate]))
    own = [
        f"{rate:g} for {listed([network(name) for name in names])}"
        for rate, names in of.items()
        if rate != usual or len(names) < 3
    ]
    others = [f"{usual:g} for all others"] if len(of[usual]) > 2 else []
    return f"Learning rates: {'; '.join([*own, *others])}. The study file says how they were chosen."


def _last_epoch(tables: Tables) -> str:
    """What the last epoch added to the validation accuracy of the full network; nothing where that is not known."""
    gains = full_network(curves.last_gains(rows_of(tables, "curves", *curves.COLUMNS)))
    if gains.empty:
        return ""
    found = over_seeds(gains["gain"], seeds.EQUAL)
    what = {
        Outcome.BETTER: "The full network was still gaining: its last epoch added",
        Outcome.WORSE: "The full network was past its best: its last epoch added",
    }.get(found.outcome, "The full network's last epoch added")
    return f" {what} {found.text()} points of validation accuracy ({counted(found.seeds, 'seed')})."


def imbalance(tables: Tables) -> str:
    """Does happy lead because it is more frequent? Nothing where no training set had other shares of the classes."""
    numbers = ("value", "baseline_value", "crossed_low", "crossed_high", "p_crossed_holm", "half_low", "half_high")
    table = by_composition(tables, "measure", "seeds", "images", *numbers)
    gaps = table[table["measure"].str.startswith("gap_").astype(bool)]
    equal, rare = (gaps[gaps["composition"] == name] for name in ("equal", "rare_happy"))
    if equal.empty:
        return ""
    said = [f"{_gap(row)}; {_left(row)}" for _, row in equal.iterrows()]
    sides = gaps[gaps["composition"].isin(["equal", "proportional"])]
    trained = f"{of_each(sides['seeds'])}, {equal['images'].iloc[0]:,.0f} test images"
    text = (
        f"With all classes equally frequent in training ({trained}), happy's lead in recall goes {', and '.join(said)}."
        f"{_recalls(table)}{_collapsed(sides)}"
    )
    if rare.empty:
        return text
    changes = listed([_gap(row) for _, row in rare.iterrows()])
    return f"{text} With happy as rare as fear ({counted(int(rare['seeds'].iloc[0]), 'seed')}) it goes {changes}."


def _recalls(table: pd.DataFrame) -> str:
    """Which side of a lead moved, and whether its number of training images did."""
    equal, own = (table[table["composition"] == name].set_index("measure") for name in ("equal", "proportional"))
    found = []
    for name in ("happy", "fear", "disgust"):
        measure = f"recall_{name}"
        if measure in equal.index and measure in own.index:
            row, before = equal.loc[measure], own.at[measure, "training_images"]
            found.append(
                f"of {name} from {100 * row['baseline_value']:.1f} to {100 * row['value']:.1f} % "
                f"({_change(row).text()}; {before:.0f} → {row['training_images']:.0f} training images)"
            )
    return f" Recall goes {listed(found)}." if found else ""


SHARES = {"equal": "of the trainings with equal shares", "proportional": "of those with the dataset's own"}


def _collapsed(gaps: pd.DataFrame) -> str:
    """What trainings that name too few classes do to the gaps with equal shares; nothing where there are none."""
    if "collapsed" not in gaps or not gaps["collapsed"].any():
        return ""
    counts = gaps.groupby("composition")["collapsed"].max()
    of = [f"{int(counts.get(name, 0))} {what}" for name, what in SHARES.items()]
    rest = [
        f"{100 * row.rest_value:.1f} points over {row.measure.removeprefix('gap_')}{_beyond_half(row)}"
        for row in gaps[gaps["composition"] == "equal"].itertuples()
        if math.isfinite(row.rest_value)
    ]
    left = f"; without such trainings the lead is {listed(rest)}" if rest else ""
    return f" Fewer than half of the classes are named by {listed(of)}: they count{left}."


def _beyond_half(row: Any) -> str:
    """What that is beyond half of the lead under the dataset's own shares; "" where no interval is known."""
    if not math.isfinite(row.rest_half_low):
        return ""
    ends = f"[{signed(row.rest_half_low)}, {signed(row.rest_half_high)}]"
    return f" ({ends} beyond half of that under the dataset's own shares)"


def _gap(row: pd.Series) -> str:
    """What other shares of the classes do to happy's lead over one class; a row of imbalance.csv."""
    before, after = (signed(row[name]).removeprefix("+") for name in ("baseline_value", "value"))
    return f"over {str(row['measure']).removeprefix('gap_')} from {before} to {after} points ({_change(row).text()})"


def _change(row: pd.Series) -> Finding:
    change, ends = row["value"] - row["baseline_value"], (row["crossed_low"], row["crossed_high"])
    return Finding(change, *ends, int(row["seeds"]), int(row["images"]))


def _left(row: pd.Series) -> str:
    """How much of the lead equal shares leave, by the rule of C6."""
    if row["half_low"] > 0:
        return "more than half of it is left: the classes' shares, or their numbers, make less than half of it"
    if row["half_high"] < 0 and row["crossed_high"] < 0:
        return "less than half of it is left: the classes' shares, or their numbers, make most of it"
    if row["seeds"] < seeds.MIN_SEEDS:
        return "too few trainings say how much is left"
    return "whether more or less than half of it is left cannot be told"


def beside(tables: Tables) -> str:
    """How does the full network do beside other models? Nothing where none stands beside it."""
    columns = ("other", "test_images", "measure", "seeds", "images", "difference", "crossed_low", "crossed_high")
    table = rows_of(tables, "beside", *columns, "p_crossed_holm", "p_equal", "detectable")
    sentences = []
    for other, rows in table[table["test_images"] == "all"].groupby("other", sort=True):
        # findings() reads comparisons of two networks; here the network's advantage is minus the other's.
        found = findings(rows, -1)
        one = next(iter(found.values()))
        sentences.append(
            f"Beside {other} the full network ({counted(one.seeds, 'seed')}, {one.images:,} test images) is "
            f"{by_measures(found)}."
        )
    return " ".join(sentences)
