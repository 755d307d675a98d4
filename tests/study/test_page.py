"""The report and the page over all studies: whole, self-contained, escaped, readable, and the same bytes every time."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fermoe.cli import main
from fermoe.errors import UserError
from fermoe.files import results_dir
from fermoe.paper.part_rules import UNTRAINED_GATES
from fermoe.paper.rules import PAPER_SETTINGS
from fermoe.study import tables_for_people, verdicts
from fermoe.study.page import (
    HOW_TO_RUN,
    INDEX,
    REPORT,
    SIZES,
    SIZES_FIGURE,
    TITLES,
    VERDICTS,
    write_index,
    write_report,
)
from fermoe.study.plan import load_study, training_configs
from fermoe.study.provenance import provenance
from fermoe.study.tables import read_tables

RATE = "Learning rate"  # a setting, which has all its digits
STUDIES = sorted(path.parent.parent for path in results_dir().glob("*/tables/claims.csv"))
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, what is open around them, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.texts: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}, tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((" ".join(data.split()), tuple(self.open)))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def text(self, without: str = "style") -> str:
        return "\n".join(text for text, around in self.texts if without not in around and "style" not in around)


def check(html: str, folder: Path) -> Page:
    """What every page keeps."""
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert len(html.encode()) < 4_000_000
    assert [len(page.all(tag)) for tag in ("main", "nav", "h1", "title", "script", "link", "iframe")] == [1] * 4 + [
        0
    ] * 3
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert page.all("html") == [{"lang": "en"}]
    assert all(img["alt"].endswith(".") and img["src"].startswith("data:image/") for img in page.all("img"))
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        place, _, fragment = link["href"].partition("#")
        assert not re.match(r"\w+:|//", place)
        assert place or fragment in ids
        assert not place or (folder / place).exists(), place
    levels = [int(name[1]) for name, _, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    tables, captions = page.all("table"), page.all("caption")
    assert len(tables) == len(captions)
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    for _, _, around in (entry for entry in page.elements if entry[0] == "table"):
        assert around[-1] == "div"
    boxes = [box for box in page.all("div") if box.get("class") == "box"]
    assert len(boxes) == len(tables)
    assert all(box["tabindex"] == "0" and box["aria-labelledby"] in ids for box in boxes)
    assert "nan" not in re.findall(r"[a-z]+", page.text().lower())
    return page


@pytest.fixture(params=STUDIES, ids=lambda path: path.name)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a kept study: its tables, figures and packed runs."""
    folder = tmp_path / request.param.name
    shutil.copytree(request.param / "tables", folder / "tables")
    if (request.param / "figures").is_dir():  # only a study that compares the two networks has the leading figure
        shutil.copytree(request.param / "figures", folder / "figures")
    return folder


def test_a_report_is_whole_and_stands_alone(study: Path) -> None:
    html = write_report(study).read_text()
    page = check(html, study)
    sections = [attributes["aria-labelledby"] for attributes in page.all("section")]
    kept = {"imbalance": "imbalance", "others": "beside"}
    further = [name for name, table in kept.items() if (study / "tables" / f"{table}.csv").exists()]
    assert sections == ["claims", "questions", *TITLES, *further, "limits", "provenance"]
    text = page.text()
    for claim in (f"C{number}" for number in range(1, 12)):
        assert re.search(rf"^{claim}$", text, re.M)
    badges = [a["class"].split()[1].replace("-", " ") for a in page.all("span") if "badge" in a.get("class", "")]
    assert badges == [line for line in badges if line in ("supported", "contradicted", "inconclusive", "not tested")]
    assert len(badges) == 11
    for word in ("prefers-color-scheme: dark", "@media print", "size: A4"):
        assert word in html


def test_a_report_names_runs_where_one_asks_for_them_only(study: Path) -> None:
    page = Page(write_report(study).read_text())
    runs = set(read_tables(study)["accuracy"]["run"])
    assert not [run for run in runs if run in page.text(without="details")]
    assert all(run in page.text() for run in runs)


def test_a_report_is_the_same_bytes_every_time(study: Path) -> None:
    assert write_report(study).read_bytes() == write_report(study).read_bytes()


def test_no_table_of_a_page_is_longer_than_a_dozen_rows(study: Path) -> None:
    for build in tables_for_people.TABLES.values():
        table = build(read_tables(study))
        assert len(table.shown) <= tables_for_people.LONGEST
        assert len(table.shown) + table.left_out == len(table.rows)
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert table.caption
        cells = [cell for row in table.rows for name, cell in zip(table.columns, row, strict=True) if name != RATE]
        assert not any(re.search(r"\d\.\d{4,}|(?<!\w)-\d|−0\.0+\b|seed\d", cell) for cell in cells)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)
def test_the_kept_report_says_what_the_kept_tables_say(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("runs"))
    kept = Page((folder / REPORT).read_text()).text()
    assert Page(write_report(copy).read_text()).text() == kept, f"fermoe report {folder.name} makes it again"


def test_the_kept_index_says_what_the_kept_tables_say(tmp_path: Path) -> None:
    for folder in STUDIES:
        shutil.copytree(folder / "tables", tmp_path / folder.name / "tables")
        (tmp_path / folder.name / REPORT).touch()
    written = [path.name for path in write_index(tmp_path)]
    check((tmp_path / INDEX).read_text(), tmp_path)
    mine, kept = ({name: (folder / name).read_text() for name in written} for folder in (tmp_path, results_dir()))
    for name in (VERDICTS, SIZES):
        assert mine[name] == kept[name], "fermoe report makes it again"
    assert Page(mine[INDEX]).text() == Page(kept[INDEX]).text(), "fermoe report makes it again"
    texts = re.compile(r"<!-- (.*?) -->")  # glyphs may differ between versions of matplotlib
    assert texts.findall(mine[SIZES_FIGURE]) == texts.findall(kept[SIZES_FIGURE]), "fermoe report makes it again"


def test_what_looks_like_html_in_tables_is_shown_as_it_is_written(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    claims = pd.read_csv(STUDIES[0] / "tables" / "claims.csv").fillna("")
    claims[["sentence", "reason", "evidence", "rule", "changed_after_results"]] = evil
    accuracy = pd.read_csv(STUDIES[0] / "tables" / "accuracy.csv")
    accuracy[["dataset", "model", "run", "initial_weights", "pipeline"]] = evil
    (tmp_path / "tables").mkdir()
    claims.to_csv(tmp_path / "tables" / "claims.csv", index=False)
    accuracy.to_csv(tmp_path / "tables" / "accuracy.csv", index=False)
    html = write_report(tmp_path, evil).read_text()
    check(html, tmp_path)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 40


def test_a_study_with_nothing_but_claims_still_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    shutil.copy(STUDIES[0] / "tables" / "claims.csv", tmp_path / "tables")
    page = check(write_report(tmp_path).read_text(), tmp_path)
    assert "Not asked: the study has no trainings" in page.text()


def test_the_command_that_a_report_names_trains_as_the_paper_did(tmp_path: Path) -> None:
    words = shlex.split(HOW_TO_RUN.replace("\\\n", " "))
    assert words[:3] == ["fermoe", "study", "rafdb"]
    settings = [after.replace("DIR", str(tmp_path)) for word, after in itertools.pairwise(words) if word == "--set"]
    for config in training_configs(load_study("rafdb", settings)):
        assert {name: getattr(config, name) for name in PAPER_SETTINGS} == PAPER_SETTINGS
        assert config.model == "paper"


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no table of claims"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="no study has a table of claims"):
        write_index(tmp_path)


def test_the_command_makes_one_report_or_the_page_over_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / STUDIES[0].name
    shutil.copytree(STUDIES[0] / "tables", folder / "tables")
    monkeypatch.setenv("FERMOE_RESULTS", str(tmp_path))
    assert CliRunner().invoke(main, ["report", str(folder)]).output == f"{folder / REPORT}\n"
    done = CliRunner().invoke(main, ["report"])
    figures = [SIZES_FIGURE] if (tmp_path / SIZES_FIGURE).exists() else []
    assert done.output == "".join(f"{tmp_path / name}\n" for name in (INDEX, VERDICTS, SIZES, *figures))


def claims(verdict: str, reason: str, evidence: str = "ablation.csv (1 rows)") -> dict[str, pd.DataFrame]:
    row = {"claim": "C10", "sentence": "Kernels help.", "verdict": verdict, "reason": reason, "evidence": evidence}
    return {"claims": pd.DataFrame([row])}


def test_a_decision_counts_more_than_a_hint_and_a_hint_more_than_nothing() -> None:
    hint = claims("inconclusive", "mechanism only: FER-2013 (the miniature network; rule alone: supported): text")
    nothing = claims("not tested", "needs RAF-DB: fermoe study rafdb", "ablation.csv (no rows yet)")
    decided = claims("contradicted", "cnn1 adds nothing; p = 1")
    (row,) = verdicts.strongest({"a": nothing, "b": decided, "c": hint}).to_dict("records")
    assert (row["verdict"], row["decided_by"], row["why"]) == ("contradicted", "b", "cnn1 adds nothing")
    assert row["others"] == (
        "c: inconclusive, seen on FER-2013 in the miniature network alone, there supported; a: not tested, needs RAF-DB"
    )
    (row,) = verdicts.strongest({"a": nothing, "c": hint}).to_dict("records")
    assert (row["decided_by"], row["verdict"]) == ("c", "inconclusive")
    model = (
        "on a scale model: FER-2013, audited protocol (the miniature network): cnn1 adds -0.1 [-0.2, 0.0] in accuracy"
    )
    model += ", +0.3 [0.1, 0.5] in macro-F1 (points), p = 0.2"
    scaled = {"claims": claims("contradicted", model)["claims"].assign(scope="scale model")}
    (row,) = verdicts.strongest({"c": hint, "d": scaled}).to_dict("records")
    assert (row["decided_by"], row["why"]) == ("d", "cnn1 adds -0.1 [-0.2, 0.0] in accuracy, on a scale model")
    assert row["scope"] == "scale model"
    both = (
        "extractor 1 adds −0.1 [−0.2, 0.0] in accuracy, 0.1 [0.0, 0.2] in macro-F1 (points), p = 1; extractor 2 adds "
    )
    both = f"on a scale model: FER-2013 (the miniature network): {both}+3.0 [2.0, 4.0] in accuracy (points), p = 0.1"
    assert verdicts.why("C10", "contradicted", both) == (
        "in points of accuracy extractor 1 adds less than half a point (−0.1 [−0.2, 0.0]) and extractor 2 adds more "
        "than nothing (+3.0 [2.0, 4.0]), on a scale model"
    )
    assert verdicts.why("C10", "contradicted", f"{both}; 3 to 5 seeds of each; {both}; 10 seeds of each").endswith(
        ", on a scale model, 3 to 10 seeds of each"
    )
    assert verdicts.why("C10", "contradicted", f"{both}; 10 seeds of each").endswith(
        ", on a scale model, 10 seeds of each"
    )
    only = "under the published protocol only the miniature network was trained (3 runs, mean 53.00 %)"
    tried = claims("not tested", only, "accuracy.csv (3 rows)")
    untried = claims("not tested", "no test result of the full network with the published protocol; needs RAF-DB")
    (row,) = verdicts.strongest({"a": nothing, "f": tried, "z": untried}).to_dict("records")
    assert (row["decided_by"], row["why"]) == ("f", f"{only}: needs the paper's network from VGGFace2 weights")
    whole = {"claims": claims("contradicted", "cnn1 adds nothing")["claims"].assign(scope="the paper's network")}
    (row,) = verdicts.strongest({"d": scaled, "e": whole}).to_dict("records")
    assert row["decided_by"] == "e"
    (row,) = verdicts.strongest({"a": nothing}).to_dict("records")
    assert (row["decided_by"], row["others"]) == (verdicts.NOBODY, "")


def test_a_study_of_a_cause_counts_more_than_the_published_figures_beside_more_seeds() -> None:
    figures = claims("inconclusive", "the cause was not tested", "fermoe/paper/confusion_*.csv")["claims"]
    cause = claims("inconclusive", "with equal shares the lead goes", "imbalance.csv (2 rows)")["claims"]
    trained = {seeds: pd.DataFrame({"dataset": "fer2013", "seed": range(seeds)}) for seeds in (5, 10)}
    found = {
        "ten": {"claims": figures.assign(scope="published figures"), "accuracy": trained[10]},
        "imbalance": {"claims": cause.assign(scope="scale model"), "accuracy": trained[5]},
    }
    (row,) = verdicts.strongest(found).to_dict("records")
    assert (row["decided_by"], row["why"]) == ("imbalance", "with equal shares the lead goes")


def test_seeds_that_compared_a_claim_count_and_not_the_other_trainings_of_a_study() -> None:
    reason = "on a scale model: FER-2013 (the miniature network): it loses nothing; {} seeds of each"
    trained = pd.DataFrame({"dataset": "fer2013", "seed": range(10)})
    found = {
        name: {**claims("inconclusive", reason.format(seeds)), "accuracy": trained[:kept]}
        for name, seeds, kept in (("few", "3 to 10", 10), ("many", "6", 6))
    }
    (row,) = verdicts.strongest(found).to_dict("records")
    assert (row["decided_by"], row["why"]) == ("many", "it loses nothing, on a scale model, 6 seeds of each")


def test_studies_that_decide_against_each_other_decide_nothing() -> None:
    both = {"a": claims("supported", "helps"), "b": claims("contradicted", "does not help")}
    (row,) = verdicts.strongest(both).to_dict("records")
    assert row["verdict"] == "inconclusive"
    assert "against each other" in row["why"]


def test_a_reason_in_ten_words_says_how_far_what_was_seen_goes() -> None:
    few = "mechanism only: x (not one of the paper's datasets; rule alone: not tested): 2 seed(s), 3 needed"
    assert verdicts.why("C9", "not tested", few) == "seen on drawn faces alone, from too few trainings"
    part = "mechanism only: x (the miniature network; rule alone: not tested): a; on 600 of 7178 test images, all"
    assert (
        verdicts.why("C7", "not tested", part) == "seen on x in the miniature network alone, on 600 of 7178 test images"
    )
    scale = "on a scale model: FER-2013, cropped (the miniature network): "
    lost = (
        f"{scale}the ResNet alone loses +0.2 [0.1, 0.3] absolute, +1.0 [0.5, 1.5] relative more than the whole; "
        "the network without extractor 1 loses −0.1 [−0.2, 0.0] absolute more"
    )
    assert verdicts.why("C7", "inconclusive", lost) == (
        "under occlusion and light the ResNet alone loses +0.2 [0.1, 0.3] and the network without extractor 1 "
        "−0.1 [−0.2, 0.0] points more than the whole, on a scale model"
    )
    saved = (
        f"{scale}the ResNet alone loses +0.2 [−0.4, 0.8] absolute, +1.0 [0.5, 1.5] of what is above chance, +1.0 [0.5, "
        "1.5] relative more than the whole (points); the network without mixtures loses −0.8 [−1.8, 0.3] absolute, "
        "−3.3 [−6.0, −0.4] of what is above chance, −3.1 [−5.5, −0.2] relative more than the whole (points); 10 seeds "
        "of each"
    )
    assert verdicts.why("C7", "contradicted", saved) == (
        "under occlusion and light the network without mixtures loses less than half a point more than the whole "
        "(−0.8 [−1.8, 0.3] points; −3.3 [−6.0, −0.4] % of what is above chance), on a scale model, 10 seeds of each"
    )
    rounded = saved.replace("−0.8 [−1.8, 0.3]", "−0.8 [−1.8, 0.50]")  # 0.497 by the rule, which does not round
    assert verdicts.why("C7", "contradicted", rounded).startswith(
        "under occlusion and light the ResNet alone loses +0.2 [−0.4, 0.8] and the network without mixtures −0.8"
    )
    two = (
        "needs RAF-DB: fermoe study rafdb; mechanism only: RAF-DB, audited protocol: 2 seed(s), 3 needed; FER-2013, "
        "audited protocol, cropped (the miniature network; rule alone: inconclusive): cropping costs nothing"
    )
    seen = "needs RAF-DB; seen on FER-2013 in the miniature network alone, there inconclusive"
    assert verdicts.why("C8", "not tested", two) == seen
    older = "RAF-DB: 84.29 % against 88.75 %; text of an earlier version"
    assert verdicts.why("C5", "contradicted", older) == "RAF-DB"
    gates = (
        f"{scale}gates tell more by 0.1 (on the fusion); shuffled gates cost +0.5 [0.1, 1.0] (on the fusion) points of "
        f"accuracy; beside {UNTRAINED_GATES['frozen_gate']} the trained gate gains −1.5 [−3.0, 0.2] in accuracy, −1.2 "
        f"[−2.0, −0.2] in macro-F1; beside {UNTRAINED_GATES['hash_gate']} the trained gate gains +0.1 [−2.7, 2.8] in "
        "accuracy"
    )
    assert verdicts.why("C9", "contradicted", gates) == (
        "in points of accuracy a trained gate gains less than half a point over a frozen gate that chooses by the "
        "picture too (−1.5 [−3.0, 0.2]) and nothing that can be told over routing by a hash of the picture (+0.1 "
        "[−2.7, 2.8]); with another picture's gates it loses +0.5 [0.1, 1.0] (on the fusion), on a scale model"
    )
    shares = (
        "happy above fear and disgust on 4 of 4 datasets; with equal shares the gap of happy goes to fear 65.2 → 46.5 "
        "points, change [−39.6, 2.2], beyond half of it [−7.0, 34.8] and to disgust 77.4 → 16.8 points, change "
        "[−76.1, −45.0], beyond half of it [−40.1, −3.7] (5 seeds of each, the first miniature network); "
        "recall of happy 77.4 → 52.0 %, of fear 12.2 → 5.5 %"
    )
    said = (
        "happy leads on 4 of 4 datasets; with equal shares of the classes its lead in recall goes over fear 65.2 → "
        "46.5 (change [−39.6, 2.2]; left above half [−7.0, 34.8]) and over disgust 77.4 → 16.8 (change [−76.1, −45.0]; "
        "left above half [−40.1, −3.7]) points (recall of happy 77.4 → 52.0 and of fear 12.2 → 5.5 %), on a scale "
        "model, 5 seeds of each"
    )
    assert verdicts.why("C6", "inconclusive", f"{shares} (recall)") == said
    assert verdicts.why("C6", "contradicted", f"{shares}; more than half is left over fear (recall)") == said.replace(
        "datasets; with", "datasets; more than half of that lead is left over fear: with"
    )
    papers = shares.replace("the first miniature network", "the paper's network")
    assert verdicts.why("C6", "inconclusive", papers) == said.replace(", on a scale model", "")
    lost = (
        f"{shares}; 2 of the trainings with equal shares collapsed, without which (the rule asks for all) the lead "
        "goes to 50.7 points over fear, beyond half of the former [8.0, 29.2] and 17.5 points over disgust, beyond "
        "half of the former [−30.0, −12.0] (recall)"
    )
    assert verdicts.why("C6", "inconclusive", lost) == (
        f"{said}, of which 2 with equal shares collapsed (without: 50.7 points over fear and 17.5 points over disgust)"
    )
    figures = (
        "RAF-DB: 84.29 % [82.96, 85.53] against 88.75 % for the backbone alone and 86.41 % for the lowest of 7 "
        "neighbours (MEK ResNet-18); weights chosen on validation images by 1 of 7 neighbours, by the others not"
    )
    assert verdicts.why("C5", "contradicted", figures) == (
        "RAF-DB 84.29 %, where others report 88.75 % for the backbone alone and 86.41 % at the lowest (7 results, of "
        "which 1 is known to have chosen its weights on validation images); AffectNet cannot be compared"
    )


@pytest.mark.parametrize("folder", [path for path in STUDIES if (path / "runs.tar.xz").exists()], ids=lambda p: p.name)
def test_packed_runs_tell_how_they_were_made(folder: Path, tmp_path: Path) -> None:
    tables = read_tables(folder)
    said = provenance(folder, tables)
    assert said["Seeds"] == ", ".join(map(str, sorted(set(tables["accuracy"]["seed"]))))
    assert "hours over" in said["Training time"]
    assert "result.json" in provenance(tmp_path, tables)["Commit, processor, packages, time"]
