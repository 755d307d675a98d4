"""Does the hybrid beat a ResNet that costs as much? One sentence from the tables, as in `answers`."""

from __future__ import annotations

from fermoe.evidence.findings import by_measures, comparison, could_see, findings, lead, rows_of, size
from fermoe.network.cost import variant_cost
from fermoe.network.variants import VARIANTS, variants
from fermoe.paper.verdicts import Tables

EQUAL_WITHIN = 0.1
"""A tenth more or less is the same budget."""


def _beside_full(model: str, variant: str) -> tuple[float, float]:
    """A variant's operations and parameters as multiples of the whole network's."""
    mine, whole = variant_cost(model, variant), variant_cost(model)
    return mine.mmac / whole.mmac, mine.parameters / whole.parameters


def budget(model: str, variant: str) -> str:
    """What a variant costs beside the whole network: "95 % of its operations, 2.6 times its parameters", say."""
    operations, parameters = _beside_full(model, variant)
    return f"{_times(operations)} its operations, {_times(parameters)} its parameters"


def _times(ratio: float) -> str:
    return f"{100 * ratio:.0f} % of" if ratio < 1.5 else f"{ratio:.1f} times"


def equal_operations(model: str) -> list[str]:
    """The ResNets whose operations are those of the whole network, within a tenth."""
    return [name for name in ("backbone", *variants("budget")) if abs(_beside_full(model, name)[0] - 1) <= EQUAL_WITHIN]


def budgets(tables: Tables, equal_alone: bool = False) -> str:
    """Does the hybrid beat a ResNet that costs as much? `equal_alone`: nothing of ResNets that cost more or less.

    Each ResNet of another width or depth that the study trained is named with its cost. Operations and parameters
    follow from the network; how long trainings took depends on the machine and stands in notebook 08.
    """
    accuracy, said = rows_of(tables, "accuracy", "model", "split"), []
    if accuracy.empty:
        return ""
    model = str(accuracy["model"].iloc[0])
    for variant in variants("budget"):
        rows = comparison(tables, "variant", "full", variant)
        if len(rows) and ((equal := variant in equal_operations(model)) or not equal_alone):
            found = findings(rows, -1)
            first = next(iter(found.values()))
            verdict = lead(found)
            start = "At equal operations" if equal else "Otherwise sized"
            text = f"{start}, beside the {VARIANTS[variant].title} ({budget(model, variant)}; {size(first)}): "
            said.append(
                (not equal, f"{text}{verdict[0].lower()}{verdict[1:]}: {by_measures(found)}.{could_see(first)}")
            )
    return " ".join(text for _, text in sorted(said, key=lambda entry: entry[0]))
