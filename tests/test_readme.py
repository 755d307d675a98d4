"""What README and results/README say is what the committed tables say, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from fermoe.evidence import answers
from fermoe.evidence.findings import Finding, Outcome, comparison, findings
from fermoe.files import results_dir
from fermoe.metrics import MEASURES
from fermoe.network.cost import variant_cost
from fermoe.paper.part_rules import UNTRAINED_GATES
from fermoe.plots import style
from fermoe.study.tables import read_tables
from fermoe.study.tables_for_people import accuracies, inputs, variants
from fermoe.use.trained import load_trained

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "results" / "README.md").read_text()
FIRST_SCREEN = README.partition("## ")[0]
TEN, LONG, SHORT = "fer2013-ten-miniature", "fer2013-long-miniature", "fer2013-miniature"
CAUSES, MIDDLE, PRECISION = "fer2013-causes-miniature", "fer2013-middle", "bfloat16-miniature"
PAPER64 = "fer2013-paper64"


def rows_after(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading of its columns."""
    lines = text[text.index(heading) :].splitlines()[2:]
    table = lines[: next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_readme_fits_a_reader() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "results" / "README.md"], ids=["README", "results"])
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def stands_in(found: Finding, text: str) -> bool:
    """Whether a text has the difference with its interval, as "+3.8 [+1.6, +5.9]" or "+3.8 points [+1.6, +5.9]"."""
    value, _, interval = found.text().partition(" ")
    return re.search(rf"{re.escape(value)}( points)? {re.escape(interval)}", " ".join(text.split())) is not None


@pytest.mark.parametrize(
    ("study", "variant"),
    [
        (LONG, "backbone"),
        (MIDDLE, "backbone"),
        (PAPER64, "backbone"),
        *((TEN, name) for name in ("backbone", "backbone_x2", "backbone_x3", "no_moe", "no_cnn1", "no_cnn2")),
        (CAUSES, "frozen_gate"),
        (CAUSES, "no_cnn1_two_mixtures"),
        (LONG, "no_cnn2"),
        (PRECISION, "backbone"),  # both networks with one rate
    ],
)
def test_the_answer_of_readme_is_the_tables(study: str, variant: str) -> None:
    found = findings(comparison(read_tables(results_dir() / study), "variant", "full", variant), -1)
    assert set(found) == {*MEASURES}
    for measure, finding in found.items():
        if measure == "accuracy" or (variant == "backbone" and study != PRECISION):
            assert stands_in(finding, FIRST_SCREEN), (measure, finding.text())
            assert f"{finding.images:,} test images" in FIRST_SCREEN


@pytest.mark.parametrize(("study", "said"), [(PAPER64, "reaches {} of accuracy within three"), (TEN, "within six {})")])
def test_what_readme_says_the_resnet_reaches_is_the_mean_of_its_trainings(study: str, said: str) -> None:
    table = pd.read_csv(results_dir() / study / "tables" / "accuracy.csv")
    plain = table[(table["variant"] == "backbone") & (table["split"] == "test") & (table["pipeline"] == "imagenet")]
    assert said.format(f"{100 * plain['accuracy'].mean():.1f} %") in " ".join(FIRST_SCREEN.split())


def test_what_readme_says_of_the_largest_networks_validation_loss_is_their_last_epochs() -> None:
    curves = pd.read_csv(results_dir() / PAPER64 / "tables" / "curves.csv")
    last = curves[curves["epoch"] == curves["epoch"].max()].sort_values("seed").set_index("variant")["val_loss"]
    first, second, third = last["backbone"]
    full = f"{last['full'].min():.1f} to {last['full'].max():.1f}"
    said = f"is {first:.1f}, {second:.1f} and {third:.1f} in its three seeds, the hybrid's {full}."
    assert said in " ".join(FIRST_SCREEN.split())


def test_what_readme_says_of_equal_operations_names_the_parameters_too() -> None:
    full, wide = (variant_cost("miniature", variant) for variant in ("full", "backbone_x2"))
    assert wide.mmac / full.mmac == pytest.approx(1, abs=0.1)
    said = f"one of equal operations ({wide.parameters / full.parameters:.1f} times the parameters)"
    assert said in " ".join(FIRST_SCREEN.split())


def test_what_readme_says_of_augmentation_is_the_table() -> None:
    ablation = read_tables(results_dir() / TEN)["ablation"]
    of_full = {"ablation": ablation[ablation["variant"] == "full"]}
    found = findings(comparison(of_full, "pipeline", "imagenet", "imagenet+augment"))
    assert stands_in(found["accuracy"], FIRST_SCREEN)
    assert stands_in(found["macro_f1"], FIRST_SCREEN)
    assert (found["accuracy"].outcome, found["macro_f1"].outcome) == (Outcome.SIGN_WORSE, Outcome.WORSE)
    assert {finding.seeds for finding in found.values()} == {10}


def test_what_readme_says_of_cropping_is_the_table() -> None:
    found = findings(comparison(read_tables(results_dir() / SHORT), "crop", "none", "blazeface"))
    assert stands_in(found["accuracy"], FIRST_SCREEN)
    rates = pd.read_csv(results_dir() / "fer2013" / "tables" / "crops.csv")
    rate = rates[(rates["split"] == "test") & (rates["label"] == "all")]["rate"].iloc[0]
    assert f"{100 * rate:.1f} % of the test images" in " ".join(FIRST_SCREEN.split())


def test_the_count_of_verdicts_in_readme_is_the_table() -> None:
    claims = pd.read_csv(results_dir() / "verdicts.csv")
    assert answers.verdicts({"claims": claims}) in " ".join(FIRST_SCREEN.split())


def test_the_verdicts_of_readme_are_those_over_all_studies() -> None:
    claims = pd.read_csv(results_dir() / "verdicts.csv")
    shown = [(row[0].split()[0], row[1].strip("*"), row[2]) for row in rows_after(README, "| claim | verdict | why |")]
    assert shown == list(claims[["claim", "verdict", "why"]].itertuples(index=False, name=None))


def test_the_results_of_readme_are_in_the_leaderboard() -> None:
    board = rows_after(RESULTS, "| network and setting | study |")
    known = {row[3] for row in board}
    for row in rows_after(README, "| dataset | paper | network, size |"):
        for cell in row[3:]:
            assert cell in known | {"–", ""} or cell.startswith("needs the data"), row


@pytest.mark.parametrize("studies", [(TEN, MIDDLE, PAPER64, LONG, SHORT), ("quick",)], ids=["FER-2013", "drawn"])
def test_the_leaderboard_has_every_setting_once_the_best_first(studies: tuple[str, ...]) -> None:
    part = RESULTS if studies != ("quick",) else RESULTS.partition("## Drawn faces")[2]
    board = rows_after(part, "| network and setting | study |")
    expected = [
        [row[0], f"[{study}]({study}/report.html)", *row[1:]]
        for study in studies
        for row in accuracies(read_tables(results_dir() / study)).rows
    ]
    assert sorted(board) == sorted(expected)
    reached = [float(row[3].split()[0]) for row in board]
    assert reached == sorted(reached, reverse=True)


def test_the_differences_of_the_leaderboard_are_the_tables() -> None:
    for study, table in ((TEN, variants), (TEN, inputs), (LONG, variants), (SHORT, variants), (SHORT, inputs)):
        for row in table(read_tables(results_dir() / study)).rows:
            assert f"| {' | '.join(row)} |" in RESULTS
    untrained = {style.variant_name(name) for name in UNTRAINED_GATES}
    gates = [row for row in variants(read_tables(results_dir() / CAUSES)).rows if row[0] in untrained]
    assert len(gates) == len(UNTRAINED_GATES)
    for row in gates:
        assert f"| {' | '.join(row)} |" in RESULTS


def test_the_figure_of_readme_is_that_of_the_leading_question_by_size() -> None:
    """`test_page` draws it again from the tables."""
    assert "](results/sizes.svg)" in FIRST_SCREEN
    assert "](results/sizes.csv)" in FIRST_SCREEN


def test_what_readme_says_of_the_network_that_comes_along_is_its_card() -> None:
    score = load_trained("fer2013").about.score
    reached, low, high = (f"{100 * value:.1f}" for value in (score.accuracy, score.ci_low, score.ci_high))
    assert f"is right on {reached} % [{low}, {high}] of FER-2013's test images" in " ".join(README.split())


def test_what_readme_says_of_the_baseline_is_the_table() -> None:
    table = pd.read_csv(results_dir() / LONG / "tables" / "beside.csv")
    rows = table[(table["other"] == "hog_svm") & (table["measure"] == "accuracy")].set_index("test_images")
    every, clean = rows.loc["all"], rows.loc["without twins"]
    behind, low, high = (f"{-100 * every[name]:.1f}" for name in ("difference", "crossed_high", "crossed_low"))
    said = " ".join(README.split())
    assert f"reaches {100 * every['value']:.1f} % on FER-2013, {behind} points [{low}, {high}] below" in said
    ahead = [f"{-100 * clean[name]:.1f}" for name in ("difference", "crossed_high", "crossed_low")]
    assert f"{100 * clean['value']:.1f} %, {ahead[0]} points [{ahead[1]}, {ahead[2]}] below it, without" in said


def test_the_floor_in_results_is_the_table() -> None:
    table = pd.read_csv(results_dir() / LONG / "tables" / "beside.csv")
    said = " ".join(RESULTS.split())
    rows = table[table["other"] == "hog_svm"].pivot(index="test_images", columns="measure", values="value").mul(100)
    every, clean = rows.loc["all"], rows.loc["without twins"]
    assert (
        f"reach {every['accuracy']:.1f} % accuracy, {every['balanced_accuracy']:.1f} % balanced accuracy and "
        f"{every['macro_f1']:.1f} % macro-F1, and {clean['accuracy']:.1f}, {clean['balanced_accuracy']:.1f} and "
        f"{clean['macro_f1']:.1f} % on the {table.loc[table['test_images'] != 'all', 'images'].iloc[0]:,} test images"
    ) in said
