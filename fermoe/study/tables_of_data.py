"""01: a dataset's counts, twins and balance, in the form of `tables_for_people`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fermoe.data.audit import class_balance
from fermoe.evidence.findings import dataset_title
from fermoe.paper import published
from fermoe.plots import style
from fermoe.study.tables_for_people import PeopleTable


def _whole(value: float) -> str:
    return "" if pd.isna(value) else f"{int(value):,}"


def counts(table: pd.DataFrame) -> PeopleTable:
    """Images by class, train and test, beside the published ones; `table` is the report's counts."""
    named, rows = style.in_order(style.for_people(table), "label"), []
    splits = list(dict.fromkeys(table["split"]))
    for label, group in named.groupby("label", sort=False):
        of = group.set_index("split")
        rows.append(
            (str(label), *(_whole(of[column].get(split)) for split in splits for column in ("images", "published")))
        )
    heads = [f"{split.capitalize()}{what}" for split in splits for what in ("", ", published")]
    return PeopleTable("Images by class", ("Class", *heads), rows)


def published_counts() -> PeopleTable:
    """How many images the paper counted in each dataset: what a real copy must have."""
    table = published.class_counts().pivot_table(index="dataset", columns="split", values="images", aggfunc="sum")
    rows = [
        (title, *(_whole(table.at[name, split]) for split in ("train", "test")))
        for name, title in published.TITLES.items()
    ]
    return PeopleTable("What the paper counted", ("Dataset", "Training images", "Test images"), rows)


def balance(dataset: str, table: pd.DataFrame) -> PeopleTable:
    """How uneven the classes are, here and in the paper's datasets."""
    theirs = published.class_counts()
    named = {dataset_title(dataset): table}
    named |= {title: theirs[theirs["dataset"] == name] for name, title in published.TITLES.items()}
    rows = [
        (title, str(row.split), f"{row.images:,}", f"{row.ratio:.1f} to 1", f"{row.effective_classes:.1f}")
        for title, part in named.items()
        for row in class_balance(part).itertuples()
    ]
    columns = ("Dataset", "Split", "Images", "Largest to smallest class", "Equal classes as hard to guess")
    return PeopleTable("Class balance", columns, rows)


def twins(summary: pd.DataFrame) -> PeopleTable:
    """Images that have a twin; `summary` is the report's."""
    rows = [(f"{row.kind}, {row.where}", f"{row.images:,}", f"{row.labels_agree:,}") for row in summary.itertuples()]
    return PeopleTable("Images with a twin", ("Kind and place", "Images", "Labels all agree"), rows)


def action_units(units: Mapping[str, Sequence[int]]) -> PeopleTable:
    """The muscle movements by which each drawn emotion is described."""
    rows = [(style.class_name(emotion), ", ".join(map(str, numbers)) or "none") for emotion, numbers in units.items()]
    caption = "Action units of the drawn emotions (Facial Action Coding System)"
    return PeopleTable(caption, ("Emotion", "Action units"), rows)
