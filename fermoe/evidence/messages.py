"""What a figure shows, in the words of its title: from the numbers that it draws, true of whatever study it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fermoe.data.audit import DatasetReport
from fermoe.evidence.findings import Finding, Outcome, counted, dataset_title, listed, share, signed, span


def spread(by_seed: pd.DataFrame, what: str = "accuracy") -> str:
    """08: how far seeds alone move a network. `by_seed` (seeds, variants) holds shares, as `ablation.seed_table`."""
    ranges = (by_seed.max() - by_seed.min())[by_seed.notna().sum() > 1]
    if ranges.empty:
        return f"One seed each: what luck adds to {what} is not known"
    return f"Luck alone moves one network's {what} by up to {100 * ranges.max():.1f} points"


def by_class(found: dict[str, Finding], first: str, second: str) -> str:
    """Where the first of two networks recognises more, by class."""
    ahead, behind = (
        [name for name, one in found.items() if one.outcome is outcome] for outcome in (Outcome.BETTER, Outcome.WORSE)
    )
    said = [f"more {listed(ahead)} than {second}"] if ahead else []
    said += [f"less {listed(behind)} than {second}"] if behind else []
    first = f"{first[0].upper()}{first[1:]}"
    if said:
        return f"{first} recognises {' and '.join(said)}"
    signs = [name for name, one in found.items() if one.outcome in (Outcome.SIGN_BETTER, Outcome.SIGN_WORSE)]
    more = f"; signs for {listed(signs)} do not outlast correction" if signs else ""
    return f"{first} or {second}: for no class a difference can be told{more}"


def augmentation(found: Sequence[Mapping[str, Finding]]) -> str:
    """11: in how many comparisons augmentation helps and harms; `found` holds findings by measure."""
    outcomes = [one.outcome for each in found for one in each.values()]
    better, worse = (outcomes.count(outcome) for outcome in (Outcome.BETTER, Outcome.WORSE))
    many = counted(len(outcomes), "comparison")
    return f"Augmentation is clearly better in {better} of {many}, clearly worse in {worse}"


def leaks(found: Mapping[str, Finding]) -> str:
    """11: what is higher with leaked test images, by network and setting: the least and the most of the means."""
    values = [one.value for one in found.values()]
    clear = sum(one.outcome is Outcome.BETTER for one in found.values())
    many = counted(len(found), "network and setting", "networks and settings")
    return f"With identical twins counted accuracy changes by {span(values)} points, clearly so in {clear} of {many}"


def selection(found: Sequence[Finding]) -> str:
    """11: what choosing the epoch on the test set adds: the least and the most of some estimates."""
    clear = sum(one.outcome is Outcome.BETTER for one in found)
    return (
        f"Choosing the epoch on the test set adds {span([one.value for one in found], digits=2)} points, clearly so in "
        f"{clear} of {counted(len(found), 'estimate')}"
    )


def furthest(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """11: the cell in which two confusion matrices of the same labels differ most, as shares of the true class."""
    first, second = (one.div(one.sum(axis=1).replace(0, np.nan), axis=0) for one in (ours, theirs))
    off = (first - second).stack()
    true, taken = off.abs().idxmax()
    what = f"{true} recognised" if true == taken else f"{true} taken for {taken}"
    return f"Furthest from the paper's: {what}, {signed(off[true, taken], 100, 0)} points"


def cost(table: pd.DataFrame) -> str:
    """08: what the whole network costs beside its backbone; `table` is of `ablation.costs`."""
    of = table.set_index("variant")
    if not {"full", "backbone"} <= set(of.index):
        return "What each network computes, and what it reaches"
    times = of.at["full", "mmac"] / of.at["backbone", "mmac"]
    gain = of.at["full", "accuracy"] - of.at["backbone", "accuracy"]
    return f"{times:.1f} times the backbone's operations, for {signed(gain)} points of mean accuracy"


def calibration(confidence: float, accuracy: float, error: float, floor: float) -> str:
    """05: whether a network knows how sure it is: mean confidence beside accuracy, and ECE beside its noise floor."""
    if error <= floor:
        return f"As sure as it is right: ECE {100 * error:.1f} points, where chance alone gives up to {100 * floor:.1f}"
    off = "Too sure" if confidence > accuracy else "Not sure enough"
    return (
        f"{off}: {100 * confidence:.0f} % sure on average, {100 * accuracy:.0f} % right (ECE {100 * error:.1f} points)"
    )


def confusions(pairs: pd.DataFrame) -> str:
    """05: the pair of classes that is mistaken most; `pairs` is of `accuracy.confused_pairs`, names for people."""
    if pairs.empty:
        return "No image is mistaken"
    first = pairs.iloc[0]
    return f"Mistaken most: {first['true']} for {first['predicted']}, {100 * first['share']:.0f} % of its images"


def recalls(table: pd.DataFrame) -> str:
    """05: the classes that are recognised best and worst; `table` is of `confusions.class_recalls`."""
    first = table[table["source"] == table["source"].iloc[0]].dropna(subset=["recall"])
    best, worst = first.loc[first["recall"].idxmax()], first.loc[first["recall"].idxmin()]
    names = f"{best['label']} ({100 * best['recall']:.0f} %)", f"{worst['label']} ({100 * worst['recall']:.0f} %)"
    return f"Recognised best: {names[0]}, worst: {names[1]} ({first['source'].iloc[0]})"


def published_recalls(table: pd.DataFrame) -> str:
    """00: which class is the easiest in how many of the paper's matrices; `table` is of `confusions.class_recalls`."""
    best = table.loc[table.groupby("source", sort=False)["recall"].idxmax(), "label"]
    names = best.replace("happiness", "happy")
    easiest, times = str(names.mode().iloc[0]).capitalize(), int(names.value_counts().max())
    return f"{easiest} is easiest on {times} of {len(names)} datasets"


def agreement(table: pd.DataFrame) -> str:
    """07: whether two trainings divide the images alike; `table` is of `experts.seed_agreement`."""
    if table.empty:
        return "One training each: whether another divides the images alike is not known"
    low, high = table["adjusted_information"].min(), table["adjusted_information"].max()
    words = "alike" if low > 0.5 else "differently" if high < 0.5 else "sometimes alike, sometimes not"
    return f"Two trainings divide the images {words}: agreement {low:.2f} to {high:.2f} (1 is the same, 0 is chance)"


def information(table: pd.DataFrame) -> str:
    """07: in how many trainings the first choice tells more about the class than chance; `table` is experts.csv."""
    found = table[table["measure"] == "mutual_information"]
    null = table[table["measure"] == "mutual_information_null"].set_index(["run", "mixture"])["ci_high"]
    beyond = sum(row.value > null[row.run, row.mixture] for row in found.itertuples())
    return f"The first choice tells more about the class than chance in {beyond} of {counted(len(found), 'mixture')}"


def loads(rows: pd.DataFrame, mixture: str) -> str:
    """07: how one training's mixture shares its images out; `rows` are its rows of experts.csv."""
    load = rows[rows["measure"] == "top2_load"].set_index("expert")["value"]
    idle = int((load < 0.01).sum())
    most = f"{mixture[0].upper()}{mixture[1:]}: expert {load.idxmax()} serves {100 * load.max():.0f} % of the images"
    return most + (f", {counted(idle, 'expert')} hardly any" if idle else f", the least {100 * load.min():.0f} %")


def severities(table: pd.DataFrame, variant: str = "full") -> str:
    """09: the perturbation that costs a network most at the middle severity; `table` is robustness.csv."""
    mine = table[(table["variant"] == variant) & (table["severity"] == 3)]
    if mine.empty:
        return "Accuracy by severity"
    worst, least = mine.loc[mine["accuracy"].idxmin()], mine.loc[mine["accuracy"].idxmax()]
    clean = 100 * worst["clean_accuracy"]
    return (
        f"At severity 3 the full network falls from {clean:.0f} % to {100 * worst['accuracy']:.0f} % "
        f"({worst['perturbation']}) at most, to {100 * least['accuracy']:.0f} % ({least['perturbation']}) at least"
    )


def told(low: pd.Series, high: pd.Series, what: str) -> str:
    """How many of some intervals leave out 0, and on which side."""
    right, left = int((low > 0).sum()), int((high < 0).sum())
    return f"{what}: {right} of {len(low)} intervals right of the line, {left} left of it"


def regroupings(control: pd.DataFrame) -> str:
    """09: whether variants differ in more conditions than trainings dealt anew; `control` is of `regrouped`."""
    if control.empty:
        return "Too few trainings for a control"
    more = control[control["p"] < 0.05]
    if len(more):
        return (
            f"{counted(len(more), 'variant')} of {len(control)} differ in more conditions than chance between trainings"
        )
    return "Of no variant more differences can be told than chance makes between trainings"


def verdicts(claims: pd.DataFrame) -> str:
    """10: how many claims a study decides; `claims` is claims.csv."""
    decided = int(claims["verdict"].isin(["supported", "contradicted"]).sum())
    return f"{decided} of {counted(len(claims), 'claim')} decided"


def history(ours: pd.Series, theirs: pd.DataFrame) -> str:
    """04: our best validation accuracy beside the published ones; `theirs` is of `published.training_history`."""
    best = theirs.groupby("dataset")["val_accuracy"].max()
    return (
        f"Best epoch {100 * np.nanmax(ours):.1f} %; the paper's four trainings reach "
        f"{100 * best.min():.0f} to {100 * best.max():.0f} %"
    )


def same_network(blocks: pd.DataFrame, convolutions: pd.DataFrame) -> str:
    """03: whether every block has the published number of parameters, and FFT convolutions give the direct ones'.

    `blocks` has the columns published, here; `convolutions` is of `cost.compare_convolutions`.
    """
    other = int((blocks["published"] != blocks["here"]).sum())
    close = bool((convolutions["largest_difference"] < 1e-4).all())
    same = (
        f"every one of its {len(blocks)} blocks has the published number of parameters, {blocks['here'].sum():,} in all"
    )
    said = f"No: {other} of {len(blocks)} blocks have other parameters than published." if other else f"Yes: {same}."
    kernels = "agree with direct ones to one in ten thousand" if close else "DIFFER from direct ones"
    return f"{said} Its large kernels, computed by FFT, {kernels}."


def costs(table: pd.DataFrame) -> str:
    """03: what each block takes of the operations; `table` is of `cost.block_costs`, or has its columns."""
    whole = table["gmac_direct"].sum()
    of = table.set_index("block")["gmac_direct"]
    return (
        f"Extractor 1 takes {100 * of['cnn1'] / whole:.0f} % of {whole:.1f} GMAC; the whole network costs "
        f"{whole / of['resnet']:.1f} times its ResNet"
    )


def speed(convolutions: pd.DataFrame) -> str:
    """03: where the frequency domain is faster; `convolutions` is of `cost.compare_convolutions`."""
    faster = convolutions[convolutions["speed_up"] > 1]
    if faster.empty:
        return "By FFT no layer is faster here"
    best = faster.loc[faster["speed_up"].idxmax()]
    many = f"{best['speed_up']:.0f} times for {int(best['kernel'])}×{int(best['kernel'])}"
    return f"By FFT {len(faster)} of {len(convolutions)} layers are faster here, {many}"


def maps_on_parts(data: pd.DataFrame) -> str:
    """06: which branch's maps lie on which part of the face; `data` has branch and row names, value and its ends."""
    clear = data[data["ci_low"] > 1]
    if clear.empty:
        return "No map lies on a part of the face more than on the rest"
    best = clear.loc[clear["value"].idxmax()]
    most = f"most {best['branch']}: {best['value']:.1f} times on {best['row']}"
    return f"{len(clear)} of {len(data)} maps prefer a part of the face, {most}"


def checks_of_maps(verdicts: pd.Series) -> str:
    """06: how many maps depend on what was learned; `verdicts` are of `faithfulness.weights_verdict`."""
    counts = verdicts.value_counts()
    return "Maps beside random weights and another training: " + listed(
        [f"{count} of {len(verdicts)} {name}" for name, count in counts.items()]
    )


def detections(rates: pd.DataFrame) -> str:
    """02: for which classes a face is found most and least, in the framing where that differs most."""
    spread = rates.groupby("framing")["rate"].agg(lambda values: values.max() - values.min())
    mine = rates[rates["framing"] == spread.idxmax()]
    most, least = mine.loc[mine["rate"].idxmax()], mine.loc[mine["rate"].idxmin()]
    ends = [f"{100 * row['rate']:.0f} % of {row['label']}" for row in (most, least)]
    return f"Framed {most['framing']}, the detector finds {ends[0]} and {ends[1]} faces"


def conditions(factors: pd.DataFrame) -> str:
    """02: the condition under which fewest faces are found; `factors` is of `crops.detection_by_factor`."""
    worst = factors.loc[factors["rate"].idxmin()]
    return f"fewest with {worst['condition']} ({worst['detected']} of {worst['images']})"


def overlaps(quality: pd.DataFrame) -> str:
    """02: what the authors' rule does to the detector's box; `quality` is of `crops.crop_quality`."""
    better = float((quality["iou"] > quality["detector_iou"]).mean())
    before, after = quality["detector_iou"].median(), quality["iou"].median()
    return (
        f"The rule changes the overlap with the true face from {before:.2f} to {after:.2f} (medians), "
        f"for the better in {100 * better:.0f} % of {len(quality)} scenes"
    )


def trained(result: Mapping[str, Any]) -> str:
    """04: what one training reached, and whether it stopped for want of epochs; `result` is of `train`."""
    images, found = result["data"]["images"], result["metrics"]["test"]
    run, best = int(result["epochs_run"]), int(result["best_epoch"])
    named = dataset_title(str(result["parameters"]["dataset"]))
    reached = share(found["accuracy"], found["ci_low"], found["ci_high"])
    last = "the last epoch was the best: more might have helped" if best == run else f"epoch {best} was the best"
    chosen = "chosen on the test images" if result["parameters"].get("protocol") == "published" else "touched once"
    return (
        f"It reaches {reached} of {images['test']:,} test images of {named}, {chosen}, after {counted(run, 'epoch')} "
        f"of {images['train']:,} training images; {last}."
    )


def loss(history: pd.DataFrame) -> str:
    """04: whether the validation loss still falls at the end, or since which epoch it no longer does."""
    lowest = int(history.loc[history["val_loss"].idxmin(), "epoch"])
    if lowest == int(history["epoch"].max()):
        return "The validation loss still falls in the last epoch"
    return f"The validation loss is lowest in epoch {lowest} of {int(history['epoch'].max())}"


def _leaks(report: DatasetReport) -> tuple[int, int]:
    """How many test images occur in the training set pixel for pixel, of how many."""
    found = report.summary
    leaked = found.loc[(found["kind"] == "identical") & (found["where"] == "test in train"), "images"].sum()
    tests = report.counts.loc[report.counts["split"] == "test", "images"].sum()
    return int(leaked), int(tests)


def same_data(dataset: str, report: DatasetReport) -> str:
    """01: whether a dataset is the paper's, by its counts, and how much of its test set leaks."""
    leaked, tests = _leaks(report)
    name, images = dataset_title(dataset), int(report.counts["images"].sum())
    lost = len(report.missing) + len(report.unreadable)
    said = {
        True: f"Yes, in number: all {len(report.counts)} class counts of {name} equal the published ones.",
        False: f"No: class counts of {name} differ from the published ones.",
        None: f"No: {images:,} images of {name}, for which nothing was published; they decide no published number.",
    }[report.matches_published]
    opened = "Every one of them can be read" if not lost else f"{lost} of them are missing or unreadable"
    return (
        f"{said} {opened}; {leaked:,} of {tests:,} test images ({share(leaked / max(1, tests))}) occur in the training "
        "set, pixel for pixel."
    )


def balance(counts: pd.DataFrame) -> str:
    """01: how uneven the training classes are."""
    train = counts.loc[counts["split"] == "train", "images"]
    return f"{len(train)} classes, the largest {train.max() / max(1, train.min()):.1f} times the smallest"


def data_follows(dataset: str, report: DatasetReport) -> str:
    """01: what the data's check means for the claims."""
    leaked, tests = _leaks(report)
    decides = "C1 to C4 can be asked on their dataset" if report.matches_published else "C1 to C4 are not decided by it"
    worth = (
        f"up to {100 * leaked / max(1, tests):.1f} points of accuracy can come from memory" if leaked else "none leaks"
    )
    return f"{decides}. Of its test images {worth}: the audited protocol trains on no identical twin of a test image."
