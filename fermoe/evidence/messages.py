"""What a figure shows, in the words of its title: from the numbers that it draws, true of whatever study it is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fermoe.evidence.findings import Finding, Outcome, counted, listed, signed


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
    if said:
        return f"{first[0].upper()}{first[1:]} recognises {' and '.join(said)}"
    return f"{first[0].upper()}{first[1:]} or {second}: for no class a difference can be told"


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
    name, count = str(names.mode().iloc[0]), int(names.value_counts().max())
    return f"{name.capitalize()} is easiest on {count} of {len(names)} datasets"


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
    return "No variant differs in more conditions than chance between trainings"


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
