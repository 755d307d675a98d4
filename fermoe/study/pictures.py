"""The report's figures, drawn from a study's tables: one message each, in the title, and a sentence for who cannot see.

Where a notebook's best figure needs more than tables, it is the file that the notebook saved.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fermoe.evidence import curves
from fermoe.evidence.findings import (
    CLEAR,
    Finding,
    Outcome,
    by_composition,
    counted,
    dataset_title,
    findings,
    grouped,
    in_one_setting,
    listed,
    over_seeds,
    rows_of,
    span,
)
from fermoe.evidence.sizes import who_is_ahead
from fermoe.metrics import MEASURES
from fermoe.paper import published
from fermoe.paper.verdicts import Tables
from fermoe.plots import style
from fermoe.plots.ablation import plot_advantages, plot_sizes
from fermoe.plots.accuracy import plot_accuracy_intervals
from fermoe.plots.beside import plot_beside
from fermoe.plots.crops import plot_rates
from fermoe.plots.imbalance import plot_gaps
from fermoe.plots.show import Drawn
from fermoe.plots.training import plot_curves
from fermoe.study.tables_for_people import Compared, advantages, comparisons, in_order, input_name, lost

WIDEST = 62
"""Letters in a line of a title or of an axis's name."""
UNBROKEN = "\u00a0"
"""The space at which no title wraps."""

SAVED = {
    "01_data": (("01_faces.png", "Drawn faces of every class."), ("01_balance.png", "Images of every class by split.")),
    "03_model": (("03_parameters.png", "The parameters of every block beside the published ones."),),
}
"""By notebook: the files that its figure may be in, the best first, and what they show."""


@dataclass(frozen=True)
class Picture:
    """A figure as bytes, with the sentence that stands for it."""

    content: bytes
    alt: str
    kind: str = "svg+xml"

    @property
    def uri(self) -> str:
        """The figure inside a page."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode()}"


def _svg(figure: Figure) -> str:
    """The figure as an SVG that is the same bytes every time."""
    content = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "fermoe", "svg.fonttype": "path"}):
        figure.savefig(
            content, format="svg", facecolor="white", bbox_inches="tight", metadata={"Date": None, "Creator": None}
        )
    return content.getvalue()


def as_picture(drawn: Drawn) -> Picture:
    """The drawn figure, which is closed."""
    drawn.ax.set_xlabel(_titled(drawn.ax.get_xlabel()))
    content = _svg(drawn.figure)
    plt.close(drawn.figure)
    return Picture(content.encode(), drawn.alt)


def saved(folder: Path, notebook: str) -> Picture | None:
    """The best of the figures that the notebook saved; None where there is none."""
    for name, alt in SAVED.get(notebook, ()):
        path = folder / "figures" / name
        if path.is_file():
            return Picture(path.read_bytes(), alt, "png")
    return None


def _titled(text: str) -> str:
    return textwrap.fill(text, WIDEST).replace(UNBROKEN, " ")


def _names(names: Sequence[str]) -> str:
    """Names that hold commas, in a title: it wraps after a dot and in no name."""
    return " · ".join(names).replace(" ", UNBROKEN).replace(f"·{UNBROKEN}", "· ")


def _sentence(found: pd.DataFrame, what: str) -> str:
    """What an alt text says of a forest: how many rows lie where."""
    right, left = int((found["low"] > 0).sum()), int((found["high"] < 0).sum())
    open_ones = len(found) - right - left
    many = f"{right} of {len(found)} intervals lie right of the line"
    return f"{what}: {many}, {left} left of it, {open_ones} on it or unknown."


def _shown(what: str, found: pd.DataFrame, one: str, many: str) -> str:
    """In how many rows of a forest an advantage can be told; those of too few trainings for an interval beside it."""
    known = found.dropna(subset=["low"])
    title = f"{what} in {(known['low'] > 0).sum()} of {counted(len(known), one, many)}"
    few = len(found) - len(known)
    return f"{title}; {few} more of too few seeds" if few else title


def lead(tables: Tables) -> Drawn | None:
    """The figure of the first screen: the hybrid beside its backbone, by measure and setting."""
    found = [one for one in comparisons(tables, ("variant",)) if one.second == style.variant_name("backbone")]
    if not found:
        return None
    data = pd.concat([_with_seeds(one) for one in found], ignore_index=True)
    title = _who_leads(found[0].findings)
    x = "Hybrid − backbone (points, 95 % over trainings and images); right: the hybrid is better"
    ax = plot_advantages(data, None, _titled(title), "measure", "setting", x, "Measure")
    return Drawn(ax, _sentence(data, "The hybrid's advantage over its backbone, by measure and setting"))


def _with_seeds(one: Compared) -> pd.DataFrame:
    """The advantages of one setting, which says how many trainings stand behind it."""
    seeds = counted(next(iter(one.findings.values())).seeds, "seed")
    return advantages([one]).assign(setting=lambda data: data["setting"] + f" ({seeds})")


def _who_leads(found: Mapping[str, Finding]) -> str:
    """The leading question's answer by measure, in a title."""
    better, worse = (
        listed([style.measure_name(name) for name, one in found.items() if one.outcome is outcome])
        for outcome in (Outcome.BETTER, Outcome.WORSE)
    )
    if better and worse:
        return f"The hybrid beats its backbone in {better} and is beaten in {worse}"
    if better or worse:
        return (
            f"The hybrid beats its backbone in {better}"
            if better
            else f"The backbone alone beats the hybrid in {worse}"
        )
    if {one.outcome for one in found.values()} & {Outcome.SIGN_BETTER, Outcome.SIGN_WORSE}:
        return "Hybrid or backbone: a sign, but no proof"
    return "Hybrid or backbone: these trainings cannot tell"


def published_accuracies(tables: Tables) -> Drawn:
    """00: how precise the paper's accuracies are."""
    data = published.recomputed_accuracies()
    half = 50 * (data["ci_high"] - data["ci_low"]).max()
    title = f"The paper's accuracies are known to ±{half:.1f} points"
    alt = "The paper's four accuracies with Wilson's intervals of the test images."
    return Drawn(plot_accuracy_intervals(data.assign(source="published"), title=title), alt)


def input_differences(tables: Tables) -> Drawn | None:
    """02: what each change of the input gains; None where the study made none."""
    data = advantages(comparisons(tables, ("crop", "test_crop", "pipeline")))
    if data.empty:
        return None
    known = data[data["low"].notna()]
    clear = f"{known['clear'].sum()} of {counted(len(known), 'difference')} can be told, corrected for the others"
    title = f"What the network sees: {clear if len(known) else 'too few trainings for intervals'}"
    data["comparison"] = [textwrap.fill(text, 34) for text in data["comparison"] + ", " + data["setting"]]
    x = "First − second (points, 95 % over trainings and images)"
    return Drawn(plot_advantages(data, None, title, x=x), _sentence(data, "What changes of the input gain"))


def inputs(tables: Tables) -> Drawn | None:
    """02: what each change of the input gains where that is known of any, else how often a face is found."""
    data = advantages(comparisons(tables, ("crop", "test_crop", "pipeline")))
    if data["low"].notna().any():
        return input_differences(tables)
    crops = rows_of(tables, "crops", "split", "label", "rate", "ci_low", "ci_high", "framing")
    crops = crops[crops["label"] == "all"]
    if crops.empty:
        return None
    data = crops.assign(place=[f"{dataset_title(row.dataset)}, {row.framing}" for row in crops.itertuples()])
    title = (
        f"The detector finds a face in {100 * crops['rate'].min():.0f} to {100 * crops['rate'].max():.0f} % of pictures"
    )
    ax = plot_rates(data, None, title, "place", "split", "Dataset and framing")
    return Drawn(ax, "How often the paper's detector finds a face, by dataset, framing and split.")


def learning_curves(tables: Tables) -> Drawn | None:
    """04: each network's validation accuracy by epoch, and what the last one added."""
    table = rows_of(tables, "curves", *curves.COLUMNS)
    if table.empty:
        return None
    shown = pd.concat([in_one_setting(table, variant) for variant in dict.fromkeys(table["variant"])])
    gains = curves.last_gains(shown).groupby("variant")["gain"].mean()
    what = f"On average the last epoch added {span(gains)} points" if len(gains) else "Validation accuracy by epoch"
    many = ", by network" if len(gains) > 1 else ""
    alt = (
        "Validation accuracy by epoch, mean over the seeds that still trained; shaded: the full network from its "
        "lowest to its highest seed."
    )
    return Drawn(plot_curves(shown, None, _titled(what + many)), alt)


def accuracies(tables: Tables) -> Drawn | None:
    """05: every network's accuracy with its interval over seeds."""
    table = rows_of(tables, "accuracy", "split", "accuracy", "seed")
    table, rows = table[(table["split"] == "test") & (table["crop"] != "masked")], []
    keys = ["protocol", "variant", "crop", "test_crop", "pipeline"]
    for (protocol, variant, crop, test_crop, pipeline), group in table.groupby(keys, sort=True):
        if crop == "blazeface" and not (protocol == "audited" and test_crop not in ("", crop)):
            found = over_seeds(group["accuracy"])
            few = found.outcome is Outcome.FEW
            ends = (float("nan"), float("nan")) if few else (found.low, found.high)
            setting = f"{input_name(protocol)}, {input_name(pipeline)}"
            rows.append((variant, setting, found.value, *ends))
    if not rows:
        return None
    data = pd.DataFrame(rows, columns=["variant", "setting", "accuracy", "ci_low", "ci_high"])
    best = data.loc[data["accuracy"].idxmax()]
    title = f"Highest mean: {style.variant_name(best['variant'])}, {100 * best['accuracy']:.1f} % ({best['setting']})"
    ax = plot_accuracy_intervals(data, None, _titled(title), "variant", "setting")
    ax.set_xlabel("Test accuracy (%, mean over seeds, 95 % over seeds from three on)")
    return Drawn(ax, "Mean test accuracy of every network and setting, with its interval over seeds.")


def maps(tables: Tables) -> Drawn | None:
    """06: whether what a map marks is needed."""
    table = rows_of(tables, "grad_cam", "branch", "group", "measure", "value", "seed")
    table = table[(table["group"] == "all") & (table["measure"] == "faithfulness_gain") & (table["variant"] == "full")]
    rows = []
    for branch, group in table.groupby("branch", sort=True):
        found = over_seeds(group["value"])
        ends = (float("nan"), float("nan")) if found.outcome is Outcome.FEW else (found.low, found.high)
        rows.append((branch, "removal", found.value, *ends))
    if not rows:
        return None
    data = pd.DataFrame(rows, columns=["branch", "kind", "advantage", "low", "high"])
    title = _shown("That a map marks what is needed can be told", data, "branch", "branches")
    x = "Probability lost by removing what is marked − as much elsewhere (points, 95 % over seeds)"
    ax = plot_advantages(data, None, _titled(title), "branch", (), x, "Branch of the full network")
    return Drawn(ax, _sentence(data, "What removing marked parts costs beyond removing others, by branch"))


def gates(tables: Tables) -> Drawn | None:
    """07: whether an image needs its own gates."""
    table = rows_of(tables, "experts", "mixture", "measure", "value", "seed")
    table = in_order(table[(table["measure"] == "shuffled_gates_drop") & (table["mixture"] != "both")])
    rows = []
    for (protocol, variant, pipeline, mixture), group in table.groupby(
        ["protocol", "variant", "pipeline", "mixture"], sort=False
    ):
        found = over_seeds(group["value"])
        ends = (float("nan"), float("nan")) if found.outcome is Outcome.FEW else (found.low, found.high)
        setting = f"{style.variant_name(variant)}, {input_name(protocol)}, {input_name(pipeline)}"
        rows.append((setting, mixture, found.value, *ends))
    if not rows:
        return None
    data = pd.DataFrame(rows, columns=["setting", "mixture", "advantage", "low", "high"])
    title = _shown("That another image's gates cost accuracy can be told", data, "mixture", "mixtures")
    x = "Accuracy lost with another image's gates (points, 95 % over seeds)"
    ax = plot_advantages(data, None, _titled(title), "setting", "mixture", x, "Network")
    return Drawn(ax, _sentence(data, "Accuracy lost when images get each other's gates, by network and mixture"))


def variants(tables: Tables, chosen: Collection[str] = ()) -> Drawn | None:
    """08: the full network beside what lacks a part; only beside the `chosen` variants where any are named."""
    names = {style.variant_name(variant) for variant in chosen}
    found = [one for one in comparisons(tables, ("variant",)) if not names or one.second in names]
    if not found:
        return None
    first = found[0].setting
    shown = [one for one in found if one.setting == first]
    data = advantages(shown)
    outcomes = {one.second: one.findings[next(iter(MEASURES))].outcome for one in shown}
    more, less = (
        [name for name, outcome in outcomes.items() if outcome is side] for side in (Outcome.BETTER, Outcome.WORSE)
    )
    said = [f"More accurate than: {_names(more)}"] if more else []
    said += [f"{'less' if more else 'Less'} accurate than: {_names(less)}"] if less else []
    title = "; ".join(said) or "No variant is clearly less accurate than the whole"
    x = "Full network − variant (points, 95 % over trainings and images); right: the full network is better"
    ax = plot_advantages(data, None, _titled(title), "second", "measure", x, f"Variant ({first})")
    return Drawn(ax, _sentence(data, "The full network's advantage over each variant, by measure"))


def losses(tables: Tables) -> Drawn | None:
    """09: who loses more under occlusion and light."""
    data = lost(tables)
    if data.empty:
        return None
    names = {"absolute": "points", "corrected": "% of what is above chance", "relative": "% of its accuracy"}
    data["counted"] = data["drop"].map(names)
    clear = sum(one.outcome in CLEAR for one in data["finding"])
    title = f"Occlusion and light: {clear} of {len(data)} differences in loss can be told"
    x = "Variant's loss − the full network's (95 % over trainings and images); right: the full network is better"
    ax = plot_advantages(data, None, _titled(title), "variant", "counted", x, "Variant")
    return Drawn(ax, _sentence(data, "What variants lose beyond the full network under occlusion and light"))


WITH_EQUAL_SHARES = {
    Outcome.WORSE: "smaller over",
    Outcome.BETTER: "larger over",
    Outcome.SIGN_WORSE: "smaller, though not after correction, over",
    Outcome.SIGN_BETTER: "larger, though not after correction, over",
    Outcome.SAME: "the same within a point over",
    Outcome.OPEN: "not known to change over",
    Outcome.FEW: "measured in too few trainings over",
}
"""What a title says of happy's lead where classes are equally frequent, by how it changes."""


def imbalance(tables: Tables) -> Drawn | None:
    """What other shares of the classes in training do to the gaps, where they were tried."""
    numbers = ("value", "ci_low", "ci_high", "seeds", "difference", "crossed_low", "crossed_high", "p_crossed_holm")
    table = by_composition(tables, "measure", "baseline_value", *numbers)
    table = table[table["measure"].str.startswith("gap_").astype(bool)]
    if table.empty:
        return None
    changes = []
    for row in table[table["composition"] == "equal"].itertuples():
        change = Finding(row.difference, row.crossed_low, row.crossed_high, row.seeds, p=row.p_crossed_holm)
        ends = f"{100 * row.baseline_value:.0f} → {100 * row.value:.0f} points"
        changes.append((change.outcome, f"{str(row.measure).removeprefix('gap_')} ({ends})"))
    title = f"With equal shares happy's lead in recall is {grouped(changes, WITH_EQUAL_SHARES)}"
    alt = "Happy's lead in recall over fear and disgust by the shares of the classes in training, with intervals."
    return Drawn(plot_gaps(table, None, _titled(title)), alt)


def beside(tables: Tables) -> Drawn | None:
    """Other models, where any stands beside the study."""
    table = rows_of(tables, "beside", "other", "test_images", "images", "measure", "difference", "crossed_low")
    if table.empty:
        return None
    groups = table.groupby(["other", "test_images"])
    clear = sum(one.outcome is Outcome.BETTER for _, rows in groups for one in findings(rows, -1).values())
    others = listed(sorted(set(table["other"])))
    title = f"The full network is better than {others} in {clear} of {counted(len(table), 'comparison')}"
    shown = table.assign(low=-table["crossed_high"], high=-table["crossed_low"])
    alt = _sentence(shown, "The full network's advantage over other models, by model, test images and measure")
    return Drawn(plot_beside(table, None, _titled(title)), alt)


def sizes(table: pd.DataFrame) -> Drawn | None:
    """How the hybrid's lead goes with the size of the network; `table` is of `sizes.sizes_table`."""
    if table.empty:
        return None
    alt = "The hybrid's lead over its backbone in three measures against the size of the network, with intervals."
    return Drawn(plot_sizes(table, None, _titled(who_is_ahead(table))), alt)


PICTURES: Mapping[str, Callable[[Tables], Drawn | None]] = {
    "00_published_claims": published_accuracies,
    "02_preprocessing": inputs,
    "04_training": learning_curves,
    "05_confusion_matrices": accuracies,
    "06_grad_cam": maps,
    "07_expert_utilization": gates,
    "08_ablations": variants,
    "09_robustness": losses,
}
"""Each notebook's figure, drawn from the tables."""


def picture(tables: Tables, folder: Path, notebook: str) -> Picture | None:
    """A notebook's figure: from the tables, else the one that it saved; None where there is none."""
    drawn = PICTURES[notebook](tables) if notebook in PICTURES else None
    return as_picture(drawn) if drawn is not None else saved(folder, notebook)
