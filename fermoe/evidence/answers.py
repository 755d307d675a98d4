"""The questions and what a study's tables answer: each function returns one to three plain sentences.

Everything is interpolated from the tables, so that a sentence is true of whatever study it is asked of: it says yes,
no, or that it cannot be told, and why. Below three seeds no interval over trainings is ever named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fermoe import seeds
from fermoe.evidence.answers_on_budgets import budgets
from fermoe.evidence.answers_on_parts import (
    causes,
    each_part,
    large_kernels,
    mixtures,
    small_kernels,
    trained_gate,
)
from fermoe.evidence.answers_on_runs import accuracy, data, leaks, model, selection, training
from fermoe.evidence.findings import (
    NO_SEEDS,
    Finding,
    Outcome,
    by_measures,
    comparison,
    could_see,
    counted,
    dataset_title,
    each_over_seeds,
    each_welch,
    findings,
    full_network,
    grouped,
    in_one_setting,
    lead,
    listed,
    network,
    rows_of,
    share,
    signed,
    size,
)
from fermoe.paper import published
from fermoe.paper.part_rules import ALPHA, MIXTURES
from fermoe.paper.verdicts import CONTRADICTED, INCONCLUSIVE, NOT_TESTED, SUPPORTED, Tables, of_each

BRANCHES = {"cnn1": "extractor 1", "cnn2": "extractor 2", "resnet": "the ResNet"}
NO_CAUSES = f"Not asked: the study has no trainings of the full network and of one with a changed extractor {NO_SEEDS}."
NO_BUDGETS = f"Not asked: the study has no trainings of wider or deeper ResNets {NO_SEEDS}."


# --- What the parts are worth: ablation.csv -----------------------------------------------------------------


def leading_question(tables: Tables, protocol: str | None = None) -> str:
    """Does the hybrid beat its own backbone?"""
    rows = comparison(tables, "variant", "full", "backbone", protocol)
    if rows.empty:
        return f"Not asked: the study has no trainings of the full network and of its backbone alone {NO_SEEDS}."
    found, where = findings(rows, -1), rows.iloc[0]
    first = next(iter(found.values()))
    place = f"on {dataset_title(where['dataset'])}, {where['protocol']} protocol, {size(first)}"
    return f"{lead(found)}. The hybrid beside its own backbone ({place}): {by_measures(found)}." + could_see(first)


def parts(tables: Tables) -> str:
    """08: which parts carry the accuracy?"""
    return " ".join(filter(None, [leading_question(tables), budgets(tables), each_part(tables), causes(tables)]))


def cropping(tables: Tables) -> str:
    """02: what does the paper's crop do to the accuracy, and how often does it crop at all?"""
    rows = comparison(tables, "crop", "none", "blazeface")
    if rows.empty:
        compared = f"Not asked of the accuracy: the study has no trainings with and without the crop {NO_SEEDS}."
    else:
        found = findings(rows)
        first = next(iter(found.values()))
        name = network(rows["variant"].iloc[0])
        compared = f"{lead(found)}. Cropped beside whole pictures ({name}, {size(first)}): {by_measures(found)}."
        compared += could_see(first)
    return " ".join(filter(None, [compared, detection(tables)]))


def detection(tables: Tables) -> str:
    """How often does the paper's detector find a face? Nothing where the study has not looked."""
    rows = rows_of(tables, "crops", "split", "label", "rate", "ci_low", "ci_high", "images", "framing")
    rows = rows[(rows["label"] == "all") & (rows["split"] == "test")]
    known = set(rows_of(tables, "accuracy", "split")["dataset"])
    rows = rows[rows["dataset"].isin(known)] if rows["dataset"].isin(known).any() else rows
    if rows.empty:
        return ""
    framed = {"original": ""}
    each = [
        f"{share(row.rate, row.ci_low, row.ci_high)} of {row.images:,} test images of {dataset_title(row.dataset)}"
        + framed.get(row.framing, f", framed {row.framing}")
        for row in rows.itertuples()
    ]
    return f"The paper's detector finds a face in {'; in '.join(each)}. Where it finds none the whole picture is taken."


def augmentation(tables: Tables) -> str:
    """Does augmentation help, and whom?"""
    table = rows_of(tables, "ablation", "contrast", "baseline", "alternative", "measure", "seeds")
    mine = table[(table["contrast"] == "pipeline") & (table["measure"] == "accuracy")]
    pairs = [(str(row.variant), str(row.baseline), str(row.alternative)) for row in mine.itertuples()]
    said = []
    for variant, baseline, alternative in dict.fromkeys(pairs):
        if alternative.startswith(f"{baseline}+"):
            only = {"ablation": table[table["variant"] == variant]}
            found = findings(comparison(only, "pipeline", baseline, alternative))
            verdict, first = lead(found), next(iter(found.values()))
            verdict = verdict[0].lower() + verdict[1:]
            said.append(f"For {network(variant)} ({size(first)}), {verdict}: {by_measures(found)}.")
    return " ".join(said) or f"Not asked: the study has no trainings with and without augmentation {NO_SEEDS}."


# --- What the parts do: experts.csv, grad_cam.csv, robustness_means.csv ---------------------------------------

_TOLD = {
    Outcome.BETTER: "it tells more",
    Outcome.SIGN_BETTER: "there is a sign, no proof, that it tells more",
    Outcome.SIGN_WORSE: "there is a sign, no proof, that it tells less",
    Outcome.WORSE: "it tells less",
    Outcome.OPEN: "no difference can be told",
}
_SWAPPED = {
    Outcome.BETTER: "costs accuracy",
    Outcome.SIGN_BETTER: "shows a sign, no proof, of a cost",
    Outcome.SIGN_WORSE: "shows a sign, no proof, of a gain",
    Outcome.WORSE: "gains accuracy",
    Outcome.SAME: "changes accuracy by less than a point",
    Outcome.OPEN: "costs nothing that can be told",
    Outcome.FEW: "was tried in too few trainings to judge",
}


def experts(tables: Tables) -> str:
    """07: are experts chosen by content, and does it matter?"""
    table = rows_of(tables, "experts", "mixture", "measure", "value", "seed")
    full = full_network(table)
    if full.empty:
        return "Not asked: the study has no measures of the full network's experts."
    informed, dropped = {}, {}
    untrained = in_one_setting(table, "frozen_gate", only=True)
    for mixture, name in MIXTURES.items():
        information, null, drop = (
            rows.loc[(rows["mixture"] == mixture) & (rows["measure"] == measure), "value"].dropna()
            for rows, measure in (
                (full, "mutual_information"),
                (untrained, "mutual_information"),
                (full, "shuffled_gates_drop"),
            )
        )
        if min(len(information), len(null)) >= seeds.MIN_SEEDS:
            informed[name] = (null, information)
        if len(drop):
            dropped[name] = drop
    told = [(one.outcome, f"{name} ({one.text(1, 2)} bits)") for name, one in each_welch(informed).items()]
    costs = [(one.outcome, f"{name} ({one.text()} points)") for name, one in each_over_seeds(dropped).items()]
    said = f"What the chosen expert tells about the class, beside an untrained gate's choice: {grouped(told, _TOLD)}."
    if not told:
        needed = f"{seeds.MIN_SEEDS} seeds of an untrained gate"
        said = f"Whether experts are chosen by content cannot be told without {needed}."
    if costs:
        said += f" Giving an image another image's gates {grouped(costs, _SWAPPED)}; positive is a loss."
    dead = full.loc[(full["measure"] == "dead_experts") & full["mixture"].isin([*MIXTURES]), "value"]
    if len(dead):
        idle, seen = counted(int(dead.sum()), "expert"), counted(full["seed"].nunique(), "seed")
        said += f" In {counted(len(dead), 'mixture')} of {seen}, {idle} hardly ever served."
    return said


_MARKED = {
    Outcome.BETTER: "costs more in",
    Outcome.SIGN_BETTER: "shows a sign, no proof, of costing more in",
    Outcome.SIGN_WORSE: "shows a sign, no proof, of costing less in",
    Outcome.WORSE: "costs less in",
    Outcome.SAME: "makes less than a point's difference in",
    Outcome.OPEN: "makes no difference that can be told in",
    Outcome.FEW: "was tried in too few trainings of",
}


def grad_cam(tables: Tables) -> str:
    """06: where does each branch look, and do its maps mark what it needs?"""
    table = rows_of(tables, "grad_cam", "branch", "group", "measure", "value", "seed", "layer")
    rows, gains, alike = full_network(table[table["group"] == "all"]), {}, []
    for branch, name in BRANCHES.items():
        mine = rows[rows["branch"] == branch].dropna(subset=["value"])
        gain, checked = (
            mine[mine["measure"] == measure] for measure in ("faithfulness_gain", "random_weights_correlation")
        )
        if len(gain):
            gains[name] = gain["value"]
        other = mine[(mine["measure"] == "other_training_correlation") & mine["layer"].isin(checked["layer"])]
        if len(other):
            pair = [signed(part["value"].mean(), 1, 2) for part in (other, checked)]
            alike.append(f"{pair[0]} beside {pair[1]} for {name}")
    if not gains:
        return "Not asked: the study has no checked maps of the full network."
    found = [(one.outcome, f"{name} ({one.text()} points)") for name, one in each_over_seeds(gains).items()]
    said = f"Removing what a map marks, beside as much elsewhere, {grouped(found, _MARKED)}, in points of probability."
    if alike:
        said += f" Maps of two trainings correlate, beside maps of trained and random weights, by {listed(alike)}."
    return said


_LOSES = {
    Outcome.BETTER: "it loses clearly less than",
    Outcome.WORSE: "it loses clearly more than",
    Outcome.SAME: "it loses as much, within a point, as",
    Outcome.OPEN: "no difference can be told from",
    Outcome.FEW: "there are too few trainings to compare it with",
}


def robustness(tables: Tables) -> str:
    """09: does the full network lose less under occlusion and changed light?"""
    numbers = ("difference", "crossed_low", "crossed_high", "p_crossed_holm", "p_equal", "detectable")
    table = rows_of(tables, "robustness_means", "drop", "seeds", "images", *numbers)
    table = table[table["drop"].isin(["absolute", "corrected"]) & table["difference"].notna()]
    found, missed = [], []
    for variant, rows in table.groupby("variant", sort=False):
        of = {
            str(row.drop): Finding(
                row.difference,
                row.crossed_low,
                row.crossed_high,
                int(row.seeds),
                int(row.images),
                row.p_crossed_holm,
                row.p_equal < ALPHA,
                row.detectable,
            )
            for row in rows.itertuples()
        }
        outcomes = {finding.outcome for finding in of.values()}
        agreed = outcomes.pop() if len(outcomes) == 1 else Outcome.OPEN
        shown = of.get("absolute", next(iter(of.values())))
        share = f"; {of['corrected'].text()} %" if "corrected" in of else "; one of its trainings is at chance level"
        agreed = agreed if "corrected" in of else Outcome.OPEN
        found.append((agreed, f"{network(str(variant))} ({shown.text()}{share})"))
        missed += [shown.detectable] if shown.outcome is Outcome.OPEN else []
    if not found:
        return "Not asked: the study compares no variant with the full network under occlusion and light."
    words = _LOSES | {Outcome.SIGN_BETTER: _LOSES[Outcome.OPEN], Outcome.SIGN_WORSE: _LOSES[Outcome.OPEN]}
    images, each = int(table["images"].iloc[0]), of_each(table["seeds"])
    more = f" Differences under {100 * max(missed):.1f} points may have been missed." if missed else ""
    return (
        f"The full network under occlusion and changed light ({each}, {images:,} test images): "
        f"{grouped(found, words)}: what the other loses more, in points of accuracy and in % of what it has above "
        f"chance.{more}"
    )


# --- What is published, and the verdicts ------------------------------------------------------------------------


def published_claims(tables: Tables) -> str:
    """00: what does the paper say, and does it add up?"""
    stated, balance = published.recomputed_accuracies(), published.imbalance()
    agree = int(((stated["published"] - stated["accuracy"]).abs() < 5e-5).sum())
    half = 100 * (stated["ci_high"] - stated["ci_low"]) / 2
    pooled, without = published.pooled_correlation(), published.pooled_correlation(without="happy")
    return (
        f"{agree} of {len(stated)} published accuracies follow from their matrices, each known to ±{half.min():.1f} to "
        f"±{half.max():.1f} points. Happy leads fear and disgust on {int(balance['happy_leads'].sum())} of "
        f"{len(balance)} datasets. Recall goes with a class's training images (rank correlation {pooled.rho:.2f}, "
        f"p = {pooled.p_value:.3f}; without happy {without.rho:.2f}, p = {without.p_value:.3f}); whether they are the "
        "reason no published figure can show."
    )


def verdicts(tables: Tables) -> str:
    """10: what is the verdict?"""
    claims = rows_of(tables, "claims", "claim", "verdict")
    if claims.empty:
        return "Not known: the study has no table of claims."
    said = [] if (claims["verdict"] == SUPPORTED).any() else ["none supported"]
    for verdict in (SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_TESTED):
        mine = claims.loc[claims["verdict"] == verdict, "claim"].tolist()
        said += [f"{len(mine)} {verdict} ({', '.join(mine)})"] if mine else []
    return f"Of {counted(len(claims), 'claim')}: {listed(said)}."


QUESTIONS: Mapping[str, Callable[[Tables], str]] = {
    "Does the hybrid beat its own backbone?": leading_question,
    "Does it beat a ResNet that costs as much?": lambda tables: budgets(tables) or NO_BUDGETS,
    "Do the mixtures of experts help?": mixtures,
    "Is a trained gate better than an untrained one?": trained_gate,
    "Do the large kernels, with their mixture, help?": large_kernels,
    "Do the small kernels help?": small_kernels,
    "What in an extractor matters?": lambda tables: causes(tables) or NO_CAUSES,
    "What does cropping do?": cropping,
    "Does augmentation help?": augmentation,
    "What are leaked test images worth?": leaks,
    "What is choosing the epoch on the test set worth?": selection,
    "Does the hybrid lose less under occlusion and changed light?": robustness,
    "Are experts chosen by content, and does it matter?": experts,
    "Do the maps mark what a branch needs?": grad_cam,
}
"""What a reader asks, the leading question first."""

NOTEBOOKS: Mapping[str, Callable[[Tables], str]] = {
    "00_published_claims": published_claims,
    "01_data": data,
    "02_preprocessing": cropping,
    "03_model": model,
    "04_training": training,
    "05_confusion_matrices": accuracy,
    "06_grad_cam": grad_cam,
    "07_expert_utilization": experts,
    "08_ablations": parts,
    "09_robustness": robustness,
    "10_report": verdicts,
}
"""What each notebook found, as a function of the study's tables."""

TOUCHES = {
    "00_published_claims": ("C5", "C6"),
    "01_data": ("C1", "C2", "C3", "C4"),
    "02_preprocessing": ("C8",),
    "03_model": ("C1", "C2", "C3", "C4"),
    "05_confusion_matrices": ("C1", "C2", "C3", "C4", "C6"),
    "06_grad_cam": ("C10",),
    "07_expert_utilization": ("C9",),
    "08_ablations": ("C9", "C10"),
    "09_robustness": ("C7",),
    "11_fer2013": ("C4", "C6", "C7", "C9", "C10"),
}
"""The claims that a notebook's answer bears on."""


DRAWN = "On drawn faces"
OF_FIGURES = {"00_published_claims": "", "10_report": "From the published figures and drawn faces"}
"""What the answers of notebooks are of that also, or only, read the published figures, where faces are drawn."""


def answer(tables: Tables, notebook: str) -> str:
    """What a notebook found; where faces are drawn that is said first, since they show mechanisms and no benchmark."""
    return _of_drawn(tables, NOTEBOOKS[notebook](tables), OF_FIGURES.get(notebook, DRAWN))


def reply(tables: Tables, question: str) -> str:
    """What the tables answer to one of `QUESTIONS`; where faces are drawn that is said first."""
    return _of_drawn(tables, QUESTIONS[question](tables), DRAWN)


def _of_drawn(tables: Tables, found: str, begin: str) -> str:
    drawn = set(rows_of(tables, "accuracy", "split")["dataset"]) == {"synthetic"}
    said = "drawn faces" in found.lower() or found.startswith("Not asked")
    return f"{begin}: {found}" if drawn and begin and not said else found


def follows(tables: Tables, notebook: str) -> str:
    """What follows from a notebook: the verdicts of the claims that it touches, as they stand in claims.csv."""
    claims = rows_of(tables, "claims", "claim", "verdict").set_index("claim")["verdict"]
    said: dict[str, list[str]] = {}
    for claim in TOUCHES.get(notebook, ()):
        if claim in claims.index:
            said.setdefault(claims[claim], []).append(claim)
    each = [f"{listed(names)} {'is' if len(names) == 1 else 'are'} {verdict}" for verdict, names in said.items()]
    return f"{listed(each)}." if each else ""
