"""What every rule is made of: verdicts, the rows of a study's tables, and how they are cited.

A benchmark number can only be decided by the paper's network, started from the paper's weights, on the paper's data.
A claim about how the network works can also be decided by a scale model on the paper's data; the verdict then says so
(its scope). What drawn faces show is a mechanism and decides nothing. What is missing gives "not tested" and the
way to get it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fermoe import seeds
from fermoe.errors import UserError
from fermoe.paper import published

SUPPORTED, CONTRADICTED = "supported", "contradicted"
INCONCLUSIVE, NOT_TESTED = "inconclusive", "not tested"

PAPER_NETWORK, SCALE_MODEL, PUBLISHED_FIGURES = "the paper's network", "scale model", "published figures"

MIN_SEEDS = seeds.MIN_SEEDS
PAPER_WEIGHTS = "vggface2"
"""Prefix of initial_weights when the ResNet starts where the paper's did."""

WHOLE_IMAGE, PAPER_CROP = "none", "blazeface"
"""What the column crop calls the whole image, and the paper's BlazeFace rule (`fermoe.data.arrays.CROPS`)."""

PAPER_PIPELINE = "bgr_unit"
"""What the column pipeline calls the authors' input (`fermoe.data.transforms.NORMALISATIONS`)."""

TESTED_WHOLE = ("fer2013",)
"""The datasets whose test images the authors do not crop."""

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Verdict:
    """One of the four verdicts, one sentence with the numbers, the table rows behind it, and what it holds for.

    `scope` is one of `PAPER_NETWORK`, `SCALE_MODEL` and `PUBLISHED_FIGURES`, or "" where nothing is decided.
    """

    verdict: str
    reason: str
    evidence: str = ""
    scope: str = ""


def table_of(tables: Tables, name: str, *columns: str) -> pd.DataFrame:
    """The named table, or an empty one with these columns where it is missing, empty or lacks one."""
    table = tables.get(name)
    if table is None or table.empty or not set(columns) <= set(table.columns):
        return pd.DataFrame(columns=list(columns))
    return table


def run_names(values: pd.Series) -> list[str]:
    """The run directories that cells name, several to a cell separated by spaces, commas or semicolons."""
    return sorted({name for value in values.dropna() for name in re.split(r"[\s,;]+", str(value)) if name})


def cite(file: str, rows: pd.DataFrame, column: str) -> str:
    """The evidence: the file, how many of its rows, and the runs they name in `column`."""
    names = run_names(rows[column]) if column in rows else []
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{file} ({len(rows)} rows{'; runs ' + shown if names else ''})"


def one_each(rows: pd.DataFrame, columns: Sequence[str], file: str) -> pd.DataFrame:
    """The rows, of which no two may answer the same question: be equal in `columns`.

    Raises:
        UserError: two are, so that a verdict would depend on which of them is read.
    """
    twice = rows[rows.duplicated(list(columns), keep=False)]
    if len(twice):
        first = ", ".join(f"{name} {value}" for name, value in twice[list(columns)].iloc[0].items())
        fix = "rebuild the tables of one study: fermoe tables STUDY"
        raise UserError(f"conflicting rows, the first for {first}", where=file, fix=fix)
    return rows


def own_test_crop(dataset: str, protocol: str, crop: str) -> str:
    """How a network trained on `crop` is tested, unless a study asks for another way."""
    return WHOLE_IMAGE if protocol == "published" and dataset in TESTED_WHOLE else crop


def points(value: float, scale: float = 100, digits: int = 2) -> str:
    """A difference with its sign, in percentage points unless `scale` says otherwise; nothing is +0."""
    return f"{round(scale * value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def interval_text(low: float, high: float, scale: float = 100, digits: int = 2) -> str:
    """An interval as [low, high], in percent unless `scale` says otherwise."""
    return f"[{scale * low:.{digits}f}, {scale * high:.{digits}f}]".replace("-", "−")


def needs(dataset: str, weights: bool = False) -> str:
    """What to run where this dataset has not been; with `weights`, where only the paper's network decides."""
    name, command = published.TITLES[dataset], f"fermoe study {dataset} --set root=DIR"
    if not weights:
        return f"needs {name}: {command}"
    more = f"with the settings that the head of notebooks/studies/{dataset}.yaml names"
    return f"needs {name} and the paper's network from VGGFace2 weights: {command} {more}"


def few_seeds(rows: pd.DataFrame) -> str:
    """What to say where there are too few trainings, else nothing."""
    count = pd.to_numeric(rows["seeds"], errors="coerce").min() if "seeds" in rows else rows["seed"].nunique()
    return "" if count >= MIN_SEEDS else f"{count:.0f} seed(s), {MIN_SEEDS} needed"


def of_each(counts: Iterable[float]) -> str:
    """How many trainings of each network stand behind a reason: 3 seeds of each, or 3 to 5."""
    few, *_, many = sorted([int(count) for count in counts] * 2)
    return f"{few} seeds of each" if few == many else f"{few} to {many} seeds of each"


def test_images(tables: Tables, runs: Sequence[str]) -> int:
    """How many test images accuracy.csv counts for these runs; 0 where it does not say."""
    table = table_of(tables, "accuracy", "run", "split", "images")
    found = table[table["run"].astype(str).isin(runs) & (table["split"] == "test")]["images"]
    return int(found.max()) if len(found) else 0


def by_setting(
    tables: Tables,
    rows: pd.DataFrame,
    rule: Callable[[pd.DataFrame], tuple[str, str]],
    setting: Sequence[str],
    file: str,
    missing: str,
    only: tuple[str, ...] = tuple(published.TITLES),
) -> Verdict:
    """Apply `rule` to the rows of each setting; the verdict is theirs if they agree, else inconclusive.

    `setting` names the columns that no two trainings may differ in to be taken together, dataset and protocol first.
    Only the paper's network on the datasets in `only` counts, or, without any of its trainings, its scale models on
    these; what drawn faces or a stranger's folder say is reported as mechanism and leaves the claim untested.
    """
    if rows.empty:
        return Verdict(NOT_TESTED, missing)
    column = "runs" if "runs" in rows else "run"
    verdicts, texts, scaled, mechanism = [], [], [], []
    for key, group in rows.groupby(list(setting), sort=True, dropna=False):
        verdict, text = rule(group)
        named = {name: value for name, value in zip(setting, key, strict=True) if isinstance(value, str) and value}
        dataset, protocol = named["dataset"], named["protocol"]
        place = _place(**named)
        lacking = shortfall(tables, dataset, protocol, run_names(group[column]) if column in group else [])
        if lacking and dataset in only and verdict != NOT_TESTED:
            scaled.append((verdict, f"{place} ({lacking}): {text}"))
        elif dataset not in only or lacking:
            lacking = lacking or "another dataset than the claim's"
            mechanism.append(f"{place} ({lacking}; rule alone: {verdict}): {text}")
        elif verdict != NOT_TESTED:
            verdicts.append(verdict)
            texts.append(f"{place}: {text}")
        else:
            texts.append(f"{place}: not tested, {text}")
    evidence = cite(file, rows, column)
    if verdicts:
        return Verdict(_agreed(verdicts), "; ".join(texts), evidence, PAPER_NETWORK)
    if scaled:
        said = "; ".join(text for _, text in scaled)
        return Verdict(_agreed([v for v, _ in scaled]), f"on a scale model: {said}", evidence, SCALE_MODEL)
    said, lead = "; ".join(texts + mechanism), f"{missing}; " if len(only) == 1 else ""  # which dataset would decide
    return Verdict(NOT_TESTED, f"{lead}mechanism only: {said}" if mechanism else said, evidence)


def _agreed(verdicts: Sequence[str]) -> str:
    return verdicts[0] if len(set(verdicts)) == 1 else INCONCLUSIVE


CROP_WORDS = {WHOLE_IMAGE: "whole pictures", PAPER_CROP: "cropped"}


def _place(
    dataset: str,
    protocol: str,
    variant: str = "",
    pipeline: str = "",
    crop: str = "",
    test_crop: str = "",
    twins: str = "",
) -> str:
    """A setting in words."""
    words = [published.TITLES.get(dataset, dataset), f"{protocol} protocol"]
    words += [f"network {variant}"] if variant else []
    words += [f"pixels as {pipeline}"] if pipeline else []
    words += [CROP_WORDS.get(crop, f"crop {crop}")] if crop else []
    words += [f"tested on {CROP_WORDS.get(test_crop, test_crop)}"] if test_crop and test_crop != crop else []
    return ", ".join(words + ([f"test images' twins {twins}"] if twins else []))


def p_text(p: float) -> str:
    """A p value as text; never 0."""
    return f"p = {p:.3f}" if p >= 0.0005 else "p < 0.001"


def shortfall(tables: Tables, dataset: str, protocol: str, runs: Sequence[str]) -> str:
    """Why these runs are not the paper's network on the paper's data; empty if they are."""
    if dataset not in published.TITLES:
        return "not one of the paper's datasets"
    table = table_of(tables, "accuracy", "dataset", "protocol", "run", "model", "initial_weights")
    named = table[table["run"].astype(str).isin(runs)]
    used = named if len(named) else table[(table["dataset"] == dataset) & (table["protocol"] == protocol)]
    if used.empty:
        return "accuracy.csv does not say which network was trained"
    if (used["model"] != "paper").any():
        models = sorted({str(name).replace("_", " ") for name in used["model"]} - {"paper"})
        return f"the {' and '.join(models)} network"
    if not used["initial_weights"].astype(str).str.startswith(PAPER_WEIGHTS).all():
        return "initial weights other than VGGFace2's"
    return ""
