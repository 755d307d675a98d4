"""The file that holds a run's predictions, and what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fermoe.errors import UserError
from fermoe.files import write_csv
from fermoe.metrics import confusion

_CLASSES = ("label", "predicted")


def predictions_table(
    images: Sequence[str],
    labels: ArrayLike,
    probabilities: ArrayLike,
    label_names: Sequence[str],
    gates: Mapping[str, ArrayLike] | None = None,
) -> pd.DataFrame:
    """One row per image: image, label, predicted, p_<label name>…, gate_<mixture>_<expert>….

    `probabilities` (N, C) in the order of `label_names`; `gates` (N, E) per mixture. The prediction is the
    most probable class, the first of equals.
    """
    rows, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    if rows.shape != (len(images), len(label_names)) or truth.shape != (len(images),):
        raise ValueError(
            f"{len(images)} images and {len(label_names)} label names do not fit "
            f"labels {truth.shape} and probabilities {rows.shape}"
        )
    columns: dict[str, Any] = {
        "image": [str(image) for image in images],
        "label": truth.astype(np.int64),
        "predicted": rows.argmax(axis=1) if rows.size else np.empty(0, dtype=np.int64),
    }
    columns |= {f"p_{name}": rows[:, i] for i, name in enumerate(label_names)}
    for mixture, weights in (gates or {}).items():
        gate = np.asarray(weights, dtype=float)
        if gate.ndim != 2 or len(gate) != len(images):
            raise ValueError(f"gates of {mixture!r} must be (images, experts), not {gate.shape}")
        columns |= {f"gate_{mixture}_{i}": gate[:, i] for i in range(gate.shape[1])}
    return pd.DataFrame(columns)


def write_predictions(path: str | Path, table: pd.DataFrame) -> None:
    """Write predictions.csv atomically, probabilities and gates with eight decimals.

    The network's numbers are float32: above 1/8, where the largest of up to eight classes or experts lies, two
    different ones are more than 1e-8 apart, so that no decision changes by rounding.
    """
    write_csv(path, table, decimals=8)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read predictions.csv; image ids stay strings ("007", "NA")."""
    try:
        words: dict[str, Any] = {"dtype": {"image": str}, "keep_default_na": False, "na_values": [""]}
        table = pd.read_csv(path, encoding_errors="surrogateescape", **words)
    except FileNotFoundError:
        raise UserError("no predictions", where=path, fix="run the study that writes them") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        raise UserError("predictions cannot be read", where=path, fix="delete the run and repeat it") from None
    missing = [name for name in ("image", "label", "predicted") if name not in table.columns]
    if missing or not class_names(table):
        what = ", ".join(missing) or "p_<class>"
        raise UserError(f"predictions lack {what}", where=path, fix="delete the run and repeat it")
    classes = len(class_names(table))
    whole = all(table[name].dtype.kind == "i" and table[name].between(0, classes - 1).all() for name in _CLASSES)
    numbers = table.drop(columns=["image", *_CLASSES])
    if not whole or table["image"].isna().any() or not np.all([kind.kind in "if" for kind in numbers.dtypes]):
        what = "predictions hold something else than images, classes and numbers"
        raise UserError(what, where=path, fix="delete the run and repeat it")
    return table


def class_names(table: pd.DataFrame) -> list[str]:
    """The label names of a predictions table, in the order of the class indices."""
    return [name.removeprefix("p_") for name in table.columns if name.startswith("p_")]


def probabilities_of(table: pd.DataFrame) -> NDArray[np.float64]:
    """(N, C) probabilities of a predictions table."""
    return table[[f"p_{name}" for name in class_names(table)]].to_numpy(dtype=float)


def gates_of(table: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """(N, E) gates per mixture of a predictions table; empty where the model has none."""
    columns = [name for name in table.columns if name.startswith("gate_")]
    mixtures = dict.fromkeys(name.removeprefix("gate_").rsplit("_", 1)[0] for name in columns)
    return {
        mixture: table[[name for name in columns if name.rsplit("_", 1)[0] == f"gate_{mixture}"]].to_numpy(float)
        for mixture in mixtures
    }


def confusion_table(table: pd.DataFrame) -> pd.DataFrame:
    """The confusion matrix of a predictions table, index "true" and columns "predicted" by label name."""
    names = class_names(table)
    counts = confusion(table["label"], table["predicted"], len(names))
    return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=pd.Index(names, name="predicted"))
