"""Does a re-run agree? Two results folders, table by table: identical, within the spread of seeds, or outside.

Networks that are trained again on another processor answer differently, as they do from another seed. So the question
is not whether bytes are equal, but whether the re-run could be further trainings of the same networks. What follows
from the data alone has no such spread and must be equal.

How it is decided:

- Equal bytes are identical.
- Tables about the data alone, the numbers of images and the labels of the test images are exact: any difference is
  outside.
- A table about networks is judged by the differences between the two folders' means over seeds. Where both have the
  predictions, those of accuracy.csv and ablation.csv are on the same test images, with trainings and images drawn
  (`seeds.crossed`), and the recall of every class is judged too. Else, and in tables with a row per run, it is Welch's
  t over the seeds' cells. A table with rows over all seeds is judged by the intervals over seeds that stand in it.
- Below three seeds on either side there is no spread to judge by, and such a row is not judged.
- Holm's correction over the rows of a table, then over the tables: between re-runs that agree, one comparison in
  twenty says "outside", however many rows there are.
- Verdicts are equal or not. Decisions that contradict each other are outside; one that is lost or gained is named, and
  the numbers behind it are judged in their own tables.

"Within" says that no difference can be told from that of other seeds, not that there is none: how many rows are shown
to be equal within a point (`seeds.equivalence`), and what difference would have been found, stands beside it.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy

from fermoe import seeds, stats
from fermoe.errors import UserError
from fermoe.evidence.measures import Resampler, same_images
from fermoe.evidence.table import Table
from fermoe.metrics import MEASURES
from fermoe.paper.part_rules import ALPHA
from fermoe.paper.verdicts import CONTRADICTED, NOT_TESTED, SUPPORTED
from fermoe.study.archive import runs_at_hand
from fermoe.study.tables import CLAIMS, TABLES, read_tables
from fermoe.training.runs import FinishedRun

IDENTICAL, WITHIN, OUTSIDE, NOT_JUDGED = "identical", "within", "outside", "not judged"
SHOWN = 5  # rows of a table that are named

SETTING = ("dataset", "protocol", "variant", "crop", "test_crop", "pipeline", "twins", "precision", "composition")
TRAINED = ("model", "initial_weights", "learning_rate", "decay", "batch_size", "epochs", "patience", "label_smoothing")
"""With `SETTING`, the columns of accuracy.csv in which two studies may differ on purpose."""

NUMBERED = ("expert", "severity", "epoch")  # columns of numbers that name a row; besides these, columns of text do
NO_NAMES = ("run", "runs")
BY_SEEDS = {"seeds", "seeds_low", "seeds_high"}
"""What a table with rows over all seeds has, if it can be judged."""


@dataclass(frozen=True)
class Row:
    """One number of both folders: `effect` is mine − committed, over trainings; NaN where it cannot be judged."""

    name: str
    effect: seeds.Effect
    p_holm: float = math.nan

    @property
    def text(self) -> str:
        value, low, high = (f"{number:+.4f}" for number in self.effect[:3])
        return f"{self.name} {value} [{low}, {high}], p {self.p_holm:.2g}"


@dataclass(frozen=True)
class Compared:
    """What came of one table. `p` is its smallest p, corrected over its rows; NaN where nothing was tested."""

    name: str
    outcome: str
    statistic: str
    details: tuple[str, ...] = ()
    p: float = math.nan
    clearest: str = ""  # what a table of rows shows where none of them is outside

    @property
    def shown(self) -> tuple[str, ...]:
        """The lines below the table's own."""
        return (self.clearest,) if self.clearest and self.outcome == WITHIN else self.details


@dataclass(frozen=True)
class Comparison:
    """What came of all tables, and what the two folders are."""

    notes: tuple[str, ...]
    tables: tuple[Compared, ...]

    def named(self, outcome: str) -> list[str]:
        return [table.name for table in self.tables if table.outcome == outcome]

    @property
    def exit_code(self) -> int:
        """0: identical or within; 1: outside; 2: nothing could be judged, or not what the networks reached."""
        if self.named(OUTSIDE):
            return 1
        unknown = "accuracy" in self.named(NOT_JUDGED) or not (self.named(IDENTICAL) or self.named(WITHIN))
        return 2 if unknown else 0

    @property
    def summary(self) -> str:
        if self.exit_code == 1:
            head = f"outside: {', '.join(f'{name}.csv' for name in self.named(OUTSIDE))}"
        elif self.exit_code == 2:
            unjudged = "accuracy.csv could not" if "accuracy" in self.named(NOT_JUDGED) else "no table could"
            head = f"cannot be compared: {unjudged} be judged"
        else:
            head = "within the spread of seeds" if self.named(WITHIN) else "identical"
        counts = [f"{len(self.named(outcome))} {outcome}" for outcome in (IDENTICAL, WITHIN, OUTSIDE, NOT_JUDGED)]
        return f"{head} ({', '.join(count for count in counts if not count.startswith('0 '))})"


@dataclass(frozen=True)
class _Side:
    """One results folder: its tables, its runs where they are at hand."""

    folder: Path
    tables: Mapping[str, pd.DataFrame]
    runs: Sequence[FinishedRun]


def compare(mine: Path, committed: Path) -> Comparison:
    """Compare two results folders.

    Raises:
        UserError: one of them is missing or has no tables.
    """
    found = {}
    for folder in (mine, committed):
        if not folder.is_dir():
            raise UserError("no such results folder", where=folder, fix="give a folder, or a study's name in results/")
        try:
            found[folder] = read_tables(folder)
        except ValueError as error:  # pandas' parser errors, an empty file's and a wrong encoding's
            raise UserError(f"a table cannot be read ({error})", where=folder / "tables", fix="restore it") from None
        if not found[folder]:
            raise UserError("no tables to compare", where=folder, fix="run the study first: fermoe study NAME")
    with runs_at_hand(mine) as my_runs, runs_at_hand(committed) as their_runs:
        sides = _Side(mine, found[mine], my_runs), _Side(committed, found[committed], their_runs)
        return _compare(*sides)


def _compare(mine: _Side, committed: _Side) -> Comparison:
    across = _on_purpose(mine, committed)
    results = []
    for table in TABLES:
        have = [table.name in side.tables for side in (mine, committed)]
        if all(have):
            results.append(_table(table, mine, committed, tuple(across)))
        elif any(have):
            owner = mine if have[0] else committed
            results.append(Compared(table.name, NOT_JUDGED, f"only {owner.folder} has it"))
    # Over tables: each is as likely to be wrongly outside as one test, and Holm takes them together.
    corrected = stats.holm([result.p for result in results])
    results = [
        replace(result, outcome=OUTSIDE if p < ALPHA else WITHIN)
        if math.isfinite(p) and result.outcome == ""
        else result
        for result, p in zip(results, corrected, strict=True)
    ]
    return Comparison(tuple(_notes(mine, committed, across)), tuple(results))


def _on_purpose(mine: _Side, committed: _Side) -> dict[str, tuple[str, str]]:
    """The axes that have one value in each folder, and not the same: the two were made to differ in these."""
    tables = [side.tables.get("accuracy", pd.DataFrame()) for side in (mine, committed)]
    found = {}
    for axis in (*SETTING, *TRAINED):
        values = [set(table[axis].astype(str)) if axis in table else set() for table in tables]
        if all(len(one) == 1 for one in values) and values[0] != values[1]:
            found[axis] = (values[0].pop(), values[1].pop())
    return found


def _notes(mine: _Side, committed: _Side, across: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    for side in (mine, committed):
        at_hand = f"predictions of {len(side.runs)} runs" if side.runs else "no predictions"
        yield f"{side.folder}: {len(side.tables)} tables, {at_hand}"
    if across:
        yield "compared across: " + "; ".join(f"{axis} {one} | {other}" for axis, (one, other) in across.items())
    theirs = {run.name: run for run in committed.runs}
    shared = [(run, theirs[run.name]) for run in mine.runs if run.name in theirs]
    if shared:
        equal = sum(one.predictions.equals(other.predictions) for one, other in shared)
        yield f"predictions to the last digit: equal in {equal} of {len(shared)} runs"


def _table(table: Table, mine: _Side, committed: _Side, across: Sequence[str]) -> Compared:
    content = [(side.folder / "tables" / f"{table.name}.csv").read_bytes() for side in (mine, committed)]
    if content[0] == content[1]:
        return Compared(table.name, IDENTICAL, "equal bytes")
    if table is CLAIMS:
        return _claims(mine.tables[table.name], committed.tables[table.name])
    if table.build is None:
        return _exact(table, mine.tables[table.name], committed.tables[table.name])
    if not table.drawn:
        return Compared(table.name, NOT_JUDGED, "differs, and holds no spread of seeds: its means are judged")
    return _networks(table, mine, committed, across)


def _claims(mine: pd.DataFrame, committed: pd.DataFrame) -> Compared:
    both = mine.merge(committed, on="claim", suffixes=("", "_committed"))
    equal = both["verdict"] == both["verdict_committed"]
    decisions = zip(both["verdict"], both["verdict_committed"], strict=True)
    opposite = any({*pair} == {SUPPORTED, CONTRADICTED} for pair in decisions)
    tested = ~both[["verdict", "verdict_committed"]].isin([NOT_TESTED]).any(axis=1)
    details = tuple(
        f"{row.claim}: {row.verdict} | {row.verdict_committed}" for row in both[~equal].itertuples(index=False)
    )
    statistic = f"verdicts: {int(equal.sum())} of {len(both)} equal, {int(tested.sum())} of them tested in both"
    return Compared("claims", OUTSIDE if opposite else WITHIN, statistic, details)


def _exact(table: Table, mine: pd.DataFrame, committed: pd.DataFrame) -> Compared:
    """A table about the data alone: the same rows, in whatever order."""
    lines = [Counter(", ".join(map(str, row)) for row in frame.itertuples(index=False)) for frame in (mine, committed)]
    only = [sorted((lines[0] - lines[1]).elements()), sorted((lines[1] - lines[0]).elements())]
    statistic = f"exact: {len(only[0])} rows only in the first, {len(only[1])} only in the second"
    if not any(only):
        return Compared(table.name, WITHIN, "exact: the same rows in another order")
    details = [f"{sign} {line}" for sign, side in zip("+-", only, strict=True) for line in side[:SHOWN]]
    return Compared(table.name, OUTSIDE, statistic, tuple(details))


def _networks(table: Table, mine: _Side, committed: _Side, across: Sequence[str]) -> Compared:
    if table.name == "accuracy":
        needed = {"split", "images", "seed"}
    else:
        needed = {"seed"} if "seed" in table.columns else {"runs", "measure"} if table.name == "ablation" else BY_SEEDS
    for side in (mine, committed):
        if lacking := sorted(needed - {*side.tables[table.name]}):
            return Compared(table.name, NOT_JUDGED, f"{side.folder} is of another version: no column {lacking[0]}")
    if table.name == "accuracy" and (other := list(_other_data(mine, committed, across))):
        return Compared(table.name, OUTSIDE, "exact: the data are not the same", tuple(other))
    paired = bool(mine.runs and committed.runs) and table.name in ("accuracy", "ablation")
    if paired:
        rows = list((_accuracy if table.name == "accuracy" else _ablation)(mine, committed, across))
        how = "paired on the same images, trainings and images drawn"
    elif "seed" in table.columns:
        rows, how = list(_by_seed(table, mine, committed, across)), "Welch's t over seeds"
    elif table.name == "ablation":
        rows, how = list(_differences_by_seed(mine, committed, across)), "Welch's t over the seeds' differences"
    else:
        rows, how = list(_by_interval(table, mine, committed, across)), "the intervals over seeds of both"
    return judged(table.name, rows, how)


def judged(name: str, rows: Sequence[Row], how: str) -> Compared:
    """A table by its rows: its smallest p, corrected over them; whether that is outside is decided over all tables."""
    known = [row for row in rows if math.isfinite(row.effect.p_value)]
    few = f", {len(rows) - len(known)} rows of too few seeds or without a spread" if len(rows) > len(known) else ""
    if not known:
        reason = "fewer than three seeds on a side, or none without a spread" if rows else "no row is in both"
        return Compared(name, NOT_JUDGED, f"differs; {reason}")
    corrected = stats.holm([row.effect.p_value for row in known])
    known = [replace(row, p_holm=float(p)) for row, p in zip(known, corrected, strict=True)]
    known.sort(key=lambda row: (row.p_holm, row.effect.p_value))
    equal = sum(seeds.equivalence(row.effect) < ALPHA for row in known)
    found = float(np.median([seeds.detectable(row.effect) for row in known]))
    statistic = f"{len(known)} rows{few}: {how}; {equal} shown equal within {seeds.EQUAL}"
    details = [row.text for row in known if row.p_holm < ALPHA]
    more = [f"… and {len(details) - SHOWN} more"] if len(details) > SHOWN else []
    clearest = f"clearest: {known[0].text}; in half of the rows {found:.4f} would have been found"
    return Compared(name, "", statistic, tuple(details[:SHOWN] + more), known[0].p_holm, clearest)


def _other_data(mine: _Side, committed: _Side, across: Sequence[str]) -> Iterator[str]:
    """What says that the two were not tested or trained on the same images."""
    if "dataset" in across:
        yield "another dataset"
    tables = [side.tables["accuracy"] for side in (mine, committed)]
    shared = [name for name in tables[0] if name in tables[1]]  # an earlier version knew fewer columns
    keys = [name for name in (*SETTING, "split") if name in shared and name not in across]
    tables = [table.fillna("") for table in tables]
    counted = ["images", "train_images"]
    if {"protocol", "twins"} & {*across}:  # these change what is trained and chosen on, but not what is tested on
        counted, tables = ["images"], [table[table["split"] != "validation"] for table in tables]
    both = tables[0].drop_duplicates(keys).merge(tables[1].drop_duplicates(keys), on=keys, suffixes=("", "_other"))
    for count in (count for count in counted if count in shared):
        for row in both[both[count] != both[f"{count}_other"]].head(SHOWN).to_dict("records"):
            yield f"{_name(row, keys, both)}: {row[count]} | {row[f'{count}_other']} {count}"
    for setting, sides in _settings(mine, committed, across).items():
        one, other = (runs[0].predictions.set_index("image")["label"] for runs in sides)
        if not same_images([runs[0] for runs in sides]):
            same = one.index.intersection(other.index)
            wrong = int((one[same].to_numpy() != other[same].to_numpy()).sum())
            name, images = " ".join((*setting, "test")), max(len(one), len(other))
            yield f"{name}: {len(same)} of {images} test images are the same, {wrong} of these have another label"


Setting = tuple[str, ...]


def _settings(
    mine: _Side, committed: _Side, across: Sequence[str]
) -> dict[Setting, tuple[list[FinishedRun], list[FinishedRun]]]:
    """The runs of both sides by setting, by seed; settings that only one side has are left out.

    A setting is named by the axes in which any two runs differ.
    """
    axes = [axis for axis in SETTING if axis not in across]
    axes = [a for a in axes if len({getattr(run.config, a) for side in (mine, committed) for run in side.runs}) > 1]
    found: dict[Setting, tuple[list[FinishedRun], list[FinishedRun]]] = {}
    for place, side in enumerate((mine, committed)):
        for run in sorted(side.runs, key=lambda run: run.config.seed):
            key = tuple(str(getattr(run.config, axis)) for axis in axes)
            found.setdefault(key, ([], []))[place].append(run)
    return {key: sides for key, sides in sorted(found.items()) if all(sides)}


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _accuracy(mine: _Side, committed: _Side, across: Sequence[str]) -> Iterator[Row]:
    """Every measure and recall of every setting, on the same images."""
    # A run has one name on both sides, and the resampler knows runs by their names.
    own, theirs = Resampler(), Resampler()
    for setting, (my_runs, their_runs) in _settings(mine, committed, across).items():
        for measure in own.measured(my_runs[0]).names:
            name = " ".join((*setting, measure))
            sides = theirs.drawn(their_runs, measure), own.drawn(my_runs, measure)
            yield Row(name, _no_certainty(seeds.crossed(*sides, _rng(name))))


def _ablation(mine: _Side, committed: _Side, across: Sequence[str]) -> Iterator[Row]:
    """Every comparison of ablation.csv on both sides: its difference by seed, on the same images."""
    resamplers = Resampler(), Resampler()
    runs = [{run.name: run for run in side.runs} for side in (mine, committed)]
    for name, measure, pairs in _contrasts(mine, committed, across):
        drawn = []
        for resampler, known, found in zip(resamplers, runs, pairs, strict=True):
            before, after = ([known[pair[k]] for pair in found if {*pair} <= known.keys()] for k in (0, 1))
            if before:
                one, other = (resampler.drawn(side, measure) for side in (before, after))
                drawn.append(seeds.Drawn(other.values - one.values, other.replicates - one.replicates))
        if len(drawn) == 2:
            yield Row(name, _no_certainty(seeds.crossed(drawn[1], drawn[0], _rng(name))))


def _differences_by_seed(mine: _Side, committed: _Side, across: Sequence[str]) -> Iterator[Row]:
    """The same from the cells of accuracy.csv, which has a row per run."""
    cells = []
    for side in (mine, committed):
        table = side.tables.get("accuracy", pd.DataFrame(columns=["run", "split", *MEASURES]))
        cells.append(table[table["split"] == "test"].set_index("run"))
    for name, measure, pairs in _contrasts(mine, committed, across):
        if measure not in MEASURES or not all(measure in rows for rows in cells):  # accuracy.csv has no recalls
            continue
        values = []
        for rows, found in zip(cells, pairs, strict=True):
            known = [pair for pair in found if {*pair} <= {*rows.index}]
            values.append([rows.at[after, measure] - rows.at[before, measure] for before, after in known])
        if all(values):
            yield Row(name, _no_certainty(seeds.welch(values[1], values[0])))


Pairs = list[tuple[str, str]]


def _contrasts(mine: _Side, committed: _Side, across: Sequence[str]) -> Iterator[tuple[str, str, tuple[Pairs, Pairs]]]:
    """The rows that both ablation.csv have: name, measure, and the runs of every seed, baseline first."""
    tables = [side.tables["ablation"] for side in (mine, committed)]
    for name, rows in _matched(tables, across):
        found = []
        for row in rows:
            names = str(row["runs"].iloc[0]).split()
            found.append(list(zip(names[::2], names[1::2], strict=False)))
        yield name, str(rows[0]["measure"].iloc[0]), (found[0], found[1])


def _by_seed(table: Table, mine: _Side, committed: _Side, across: Sequence[str]) -> Iterator[Row]:
    """The columns `drawn` of a table with a row per run."""
    for name, sides in _matched([side.tables[table.name] for side in (mine, committed)], across):
        if table.name == "accuracy" and "test" not in set(sides[0]["split"]):
            continue  # parts of the test images, and the images that training chose by
        for column in (column for column in table.drawn if all(column in rows for rows in sides)):
            values = [rows.groupby("seed")[column].mean().dropna().to_numpy(float) for rows in sides]
            if all(len(one) for one in values):
                yield Row(f"{name} {column}", _no_certainty(seeds.welch(values[1], values[0])))


def _by_interval(table: Table, mine: _Side, committed: _Side, across: Sequence[str]) -> Iterator[Row]:
    """The columns `drawn` of a table with a row over seeds, by the intervals over seeds beside them.

    An interval of S seeds a side has S − 1 to 2(S − 1) degrees of freedom; which is not in the table. Taking the
    standard error from the most and the test from the fewest errs on the careful side.
    """
    tables = [side.tables[table.name] for side in (mine, committed)]
    for name, sides in _matched(tables, across):
        (column,), errors = table.drawn, []
        for rows in sides:
            row = rows.iloc[0]
            freedom = 2 * (int(row["seeds"]) - 1)
            half = (row["seeds_high"] - row["seeds_low"]) / 2
            errors.append(half / scipy.stats.t.ppf(0.975, freedom) if freedom else math.nan)
        value = float(sides[0][column].iloc[0] - sides[1][column].iloc[0])
        error, fewest = math.hypot(*errors), min(int(rows["seeds"].iloc[0]) for rows in sides) - 1
        yield Row(name, _no_certainty(seeds.effect(value, error, fewest)))


def _matched(tables: Sequence[pd.DataFrame], across: Sequence[str]) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """The rows that both tables have, by the columns that name them: a name, and the rows of either side."""
    first = tables[0]
    named = [
        column
        for column in first.columns
        if (first[column].dtype == object or column in NUMBERED or column in SETTING)
        and column not in (*NO_NAMES, *across)
        and all(column in table for table in tables)
    ]
    if not named:
        return
    groups = [
        {key: rows for key, rows in table.astype(dict.fromkeys(named, str)).groupby(named, sort=True)}
        for table in tables
    ]
    varying = [k for k, column in enumerate(named) if first[column].nunique(dropna=False) > 1]
    for key in (key for key in groups[0] if key in groups[1]):
        words = [key[k] for k in varying if key[k] != "nan"]
        yield " ".join(words), [group[key] for group in groups]


def _name(row: Mapping[str, object], keys: Sequence[str], table: pd.DataFrame) -> str:
    return " ".join(str(row[key]) for key in keys if table[key].nunique() > 1 or key in ("variant", "split"))


def _no_certainty(effect: seeds.Effect) -> seeds.Effect:
    """Three equal values on both sides know nothing of the spread: such a difference is not judged, equality is."""
    return effect._replace(p_value=math.nan) if effect.error == 0 and effect.value != 0 else effect
