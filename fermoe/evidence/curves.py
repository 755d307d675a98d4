"""How did the trainings go, and were they at their end? The table curves.csv.

A training that stops while it still gains decides less than one that has come to its end: whoever compares networks of
few epochs must be able to see which it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fermoe.errors import UserError
from fermoe.evidence.table import Table
from fermoe.training.runs import HISTORY, FinishedRun

MEASURED = ("learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")
COLUMNS = (
    "dataset", "protocol", "variant", "crop", "test_crop", "pipeline", "twins", "precision", "composition", "seed",
    "epoch", *MEASURED, "run",
)  # fmt: skip


def curves_table(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """One row per run and epoch: the rate, and loss and accuracy on training and validation images.

    Training values are means over the epoch while weights move and dropout is at work; those of validation are of its
    end. Under the published protocol the validation images are the test images. Runs without history.csv are left out.

    Raises:
        UserError: a history.csv cannot be read or lacks a column.
    """
    found = []
    for run in runs:
        path = run.directory / HISTORY
        if not path.exists():
            continue
        try:
            rows = pd.read_csv(path)[["epoch", *MEASURED]].astype({"epoch": int} | dict.fromkeys(MEASURED, float))
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            fix = "delete the run and repeat it"
            raise UserError(f"the training's history cannot be read ({reason})", where=path, fix=fix) from None
        found.append(rows.assign(**run.key, test_crop=run.config.test_crop, run=run.name))
    return pd.concat(found, ignore_index=True)[list(COLUMNS)] if found else pd.DataFrame(columns=list(COLUMNS))


def last_gains(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of each run of two epochs or more, and in the column `gain` what validation accuracy it added.

    `table` is of `curves_table`.
    """
    table = table.sort_values(["run", "epoch"], kind="stable")
    gains = table.groupby("run", sort=False)["val_accuracy"].diff()
    last = table.assign(gain=gains).groupby("run", sort=False).tail(1)
    return last[last["gain"].notna()]


TABLE = Table("curves", COLUMNS, lambda study, _: curves_table(study.runs), drawn=("val_accuracy",))
