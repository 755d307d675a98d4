"""Notebook 11 reads the richest study that can answer, says which, and is right whatever the study says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from fermoe.errors import UserError
from fermoe.files import results_dir
from fermoe.metrics import MEASURES
from fermoe.plots import style
from fermoe.study import fer2013, pictures, tables_for_people, tables_in_notebooks
from fermoe.study.archive import unpack
from fermoe.study.tables import read_tables
from fermoe.training.runs import finished_runs
from tests.evidence.test_answers import BETTER, LEADS, OPEN, SETTING, WORSE
from tests.evidence.test_answers import compared as _compared

Effect = tuple[float, float, float]
KEPT = [one.folder for one in fer2013.studies()]
CLAIMS = pd.DataFrame(columns=["claim", "sentence", "verdict", "reason", "evidence", "rule", "scope"])


@pytest.fixture(autouse=True)
def look() -> Iterator[None]:
    """Figures as notebooks draw them, none left open."""
    with plt.rc_context():
        style.use_style()
        yield
    plt.close("all")


def compared(alternative: str, *effects: Effect, seeds: int = 3, **changed: object) -> pd.DataFrame:
    """Rows of ablation.csv with the full network's own value."""
    return _compared(alternative, *effects, seeds=seeds, **changed).assign(baseline_value=0.5)


def accuracy(seeds: int = 3, epochs: int = 6, **changed: object) -> pd.DataFrame:
    """The test rows of accuracy.csv of a full network and its backbone."""
    row = {
        **SETTING, "composition": "as_given", "split": "test", "initial_weights": "random", "epochs": epochs,
        "images": 1000, "model": "miniature", **dict.fromkeys(MEASURES, 0.5),
    }  # fmt: skip
    variants = ("full", "backbone")
    return pd.DataFrame(
        [{**row, "variant": name, "seed": seed} | changed for name in variants for seed in range(seeds)]
    )


def kept(results: Path, name: str, **tables: pd.DataFrame) -> Path:
    """A study's folder with these tables, a table of claims among them."""
    folder = results / name / "tables"
    folder.mkdir(parents=True)
    for table, rows in ({"claims": CLAIMS, "accuracy": accuracy()} | tables).items():
        rows.to_csv(folder / f"{table}.csv", index=False)
    return folder.parent


def test_the_richest_study_comes_first_and_other_datasets_never(tmp_path: Path) -> None:
    kept(tmp_path, "short", accuracy=accuracy(3, epochs=4))
    kept(tmp_path, "long", accuracy=accuracy(3, epochs=15))
    kept(tmp_path, "ten", accuracy=accuracy(10))
    kept(tmp_path, "more-but-published", accuracy=accuracy(20, protocol="published"))
    kept(tmp_path, "drawn", accuracy=accuracy(30, dataset="synthetic"))
    kept(tmp_path, "a-long", accuracy=accuracy(3, epochs=15))
    kept(tmp_path, "no-copy", accuracy=accuracy(12, model="first_miniature"))
    kept(tmp_path, "mixed", accuracy=accuracy(13, composition="equal"))
    found = fer2013.studies(results=tmp_path)
    assert [one.folder.name for one in found] == [
        "ten",
        "a-long",
        "long",
        "short",
        "more-but-published",
        "no-copy",
        "mixed",
    ]


def test_a_study_that_is_named_comes_first_and_once(tmp_path: Path) -> None:
    small = kept(tmp_path / "results", "small", accuracy=accuracy(1))
    kept(tmp_path / "results", "large", accuracy=accuracy(5))
    names = [one.folder.name for one in fer2013.studies(small, tmp_path / "results")]
    assert names == ["small", "large"]
    elsewhere = kept(tmp_path / "elsewhere", "mine")
    assert [one.folder.name for one in fer2013.studies(elsewhere, tmp_path / "results")] == ["mine", "large", "small"]


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study of FER-2013 with tables \[.*\]: run one: fermoe study fer2013 .*"):
        fer2013.studies(results=tmp_path / "nothing")
    drawn = kept(tmp_path, "drawn", accuracy=accuracy(dataset="synthetic"))
    for folder in (drawn, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no tables of FER-2013 alone"):
            fer2013.studies(folder, tmp_path)


def selected(value: float) -> pd.DataFrame:
    row = {**SETTING, "protocol": "published", "variant": "full", "epochs": 9, "selected": 0.5, "composition": ""}
    return pd.DataFrame([{**row, "seed": seed, "optimism": value, "full_size": value} for seed in range(3)])


def test_a_section_reads_the_first_study_that_can_answer_and_names_it(tmp_path: Path) -> None:
    kept(tmp_path, "ten", accuracy=accuracy(10), ablation=compared("backbone", BETTER, BETTER, BETTER, seeds=10))
    kept(tmp_path, "five", accuracy=accuracy(5), selection=selected(0.03))
    kept(tmp_path, "three", selection=selected(0.0))
    found = fer2013.studies(results=tmp_path)
    lead, selection, leaks = (fer2013.read(found, name) for name in ("lead", "selection", "leaks"))
    assert lead.answer.data.startswith("**ten.** ")
    assert selection.answer.data.startswith("**five.** Choosing the epoch on the test set flatters")
    assert leaks.answer.data == (
        "**Not known.** No study of FER-2013 here has a list of the test images that occur in the training set."
    )
    assert leaks.table is None
    assert leaks.figure is None


def only(tmp_path: Path, **tables: pd.DataFrame) -> list[fer2013.Study]:
    kept(tmp_path, "one", **tables)
    return fer2013.studies(results=tmp_path)


@pytest.mark.parametrize("lead", LEADS)
def test_the_answer_is_yes_no_or_that_it_cannot_be_told(tmp_path: Path, lead: str) -> None:
    said = fer2013.answer(only(tmp_path, ablation=compared("backbone", *LEADS[lead]))).data
    assert said.startswith(f"**Answer.** {lead}. ")
    assert "(on FER-2013, audited protocol, 3 seeds of each, 1,000 test images)" in said
    for measure, (value, low, high) in zip(("accuracy", "balanced accuracy", "macro-F1"), LEADS[lead], strict=True):
        value, low, high = (f"{number:+.1f}".replace("-", "−") for number in (value, low, high))
        assert f"{measure} ({value} [{low}, {high}] points)" in said
    assert "Read from one." in said
    assert said.endswith("decide no published accuracy.")


@pytest.mark.parametrize(("effect", "said"), [(BETTER, "yes, by"), (WORSE, "no, it is worse"), (OPEN, "it cannot be")])
def test_equal_cost_is_part_of_the_answer_where_it_was_tried(tmp_path: Path, effect: Effect, said: str) -> None:
    both = [compared("backbone", BETTER, BETTER, BETTER), compared("backbone_x2", effect, effect, effect)]
    both.append(compared("backbone_x3", WORSE, WORSE, WORSE))
    found = only(tmp_path, ablation=pd.concat(both, ignore_index=True))
    text = fer2013.answer(found).data
    assert text.startswith("**Answer.** Yes, by every measure.")
    assert re.search(rf"At equal operations, beside the ResNet alone, twice as wide \(.*?\): {said}", text)
    assert "3 × as wide" not in text
    budgets = fer2013.read(found, "budgets")
    assert said in budgets.answer.data
    assert "3 × as wide" in budgets.answer.data
    assert budgets.figure is not None


def test_the_answer_says_at_which_sizes_it_is_another(tmp_path: Path) -> None:
    for name, model, effect in (("one", "miniature", WORSE), ("two", "paper64", BETTER)):
        rows = compared("backbone", effect, effect, effect, baseline_value=0.5)
        kept(tmp_path, name, accuracy=accuracy(3, model=model), ablation=rows)
    text = fer2013.answer(fer2013.studies(results=tmp_path)).data
    other = "*Does that hold at other sizes?* In accuracy the hybrid is ahead in the paper64 network, behind in the"
    assert f"{other} miniature network (section 3)." in text
    alone = fer2013.answer(fer2013.studies(results=tmp_path)[:1]).data
    assert "other sizes" not in alone


def test_without_a_backbone_the_answer_is_what_is_missing(tmp_path: Path) -> None:
    said = fer2013.answer(only(tmp_path)).data
    assert said.startswith("**Answer.** Not known: no study of FER-2013 here has trainings of the full network")
    assert said.endswith(".")


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (BETTER, "accuracy is added by the mixtures of experts (+4.0 [+2.0, +6.0], 3 seeds of each)"),
        (WORSE, "accuracy is lost by the mixtures of experts"),
        (OPEN, "nothing can be told of the mixtures of experts"),
    ],
)
def test_a_part_adds_loses_or_nothing_is_told(tmp_path: Path, effect: Effect, said: str) -> None:
    assert said in fer2013.read(only(tmp_path, ablation=compared("no_moe", effect, OPEN, OPEN)), "parts").answer.data


def test_a_sign_that_does_not_outlast_correction_is_no_title() -> None:
    proven, sign = (compared("no_moe", BETTER, OPEN, OPEN, p_crossed_holm=p) for p in (0.001, 0.2))
    titles = []
    for table in (proven, sign, compared("no_moe", WORSE, OPEN, OPEN)):
        drawn = pictures.variants({"ablation": table}, ["no_moe"])
        assert drawn is not None
        titles.append(drawn.ax.get_title(loc="left"))
    assert titles == [
        "More accurate than: without mixtures",
        "No variant is clearly less accurate than the whole",
        "Less accurate than: without mixtures",
    ]
    assert pictures.variants({"ablation": proven}, ["no_cnn1"]) is None


def test_a_title_of_several_networks_wraps_in_no_name() -> None:
    names = ("backbone", "backbone_x2", "backbone_x3")
    drawn = pictures.variants({"ablation": pd.concat([compared(name, WORSE, WORSE, WORSE) for name in names])})
    assert drawn is not None
    first, second = drawn.ax.get_title(loc="left").splitlines()
    assert first == "Less accurate than: ResNet alone ·"
    assert second == "ResNet alone, twice as wide · ResNet alone, 3 × as wide"


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ((BETTER, BETTER, OPEN), "The hybrid beats its backbone in accuracy and balanced accuracy"),
        ((OPEN, OPEN, WORSE), "The backbone alone beats the hybrid in macro-F1"),
        ((BETTER, OPEN, WORSE), "The hybrid beats its backbone in accuracy and is beaten in macro-F1"),
        ((OPEN, OPEN, OPEN), "Hybrid or backbone: these trainings cannot tell"),
    ],
)
def test_the_title_of_the_leading_figure_names_the_measures(effects: tuple[Effect, ...], said: str) -> None:
    drawn = pictures.lead({"ablation": compared("backbone", *effects)})
    assert drawn is not None
    assert " ".join(drawn.ax.get_title(loc="left").split()) == said


def test_the_title_of_what_the_network_sees_counts_what_outlasts_correction() -> None:
    rows = compared("blazeface", BETTER, BETTER, OPEN)
    rows = rows.assign(contrast="crop", baseline="none", variant="backbone", crop="", test_crop="")
    rows.loc[rows["measure"] == "balanced_accuracy", "p_crossed_holm"] = 0.2
    drawn = pictures.input_differences({"ablation": rows})
    assert drawn is not None
    title = " ".join(drawn.ax.get_title(loc="left").split())
    assert title == "What the network sees: 1 of 3 differences can be told, corrected for the others"
    few = pictures.input_differences({"ablation": rows.assign(seeds=2, crossed_low=np.nan, crossed_high=np.nan)})
    assert few is not None
    assert few.ax.get_title(loc="left") == "What the network sees: too few trainings for intervals"


def recalled(effects: Mapping[str, Effect]) -> pd.DataFrame:
    rows = [compared("backbone", effect).assign(measure=f"recall_{name}") for name, effect in effects.items()]
    return pd.concat([compared("backbone", OPEN, OPEN, OPEN), *rows], ignore_index=True)


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ({"happy": BETTER, "angry": OPEN}, "Full network recognises more happy than ResNet alone."),
        ({"happy": OPEN, "angry": WORSE}, "Full network recognises less anger than ResNet alone."),
        ({"happy": OPEN, "angry": OPEN}, "for no class a difference can be told."),
    ],
)
def test_classes_are_won_lost_or_not_to_be_told(tmp_path: Path, effects: Mapping[str, Effect], said: str) -> None:
    classes = fer2013.read(only(tmp_path, ablation=recalled(effects)), "classes")
    assert said in classes.answer.data
    assert "They differ most for" in classes.answer.data


def test_of_studies_that_are_equally_rich_the_one_with_most_trainings_is_first(tmp_path: Path) -> None:
    rows = accuracy(model="miniature")
    kept(tmp_path, "a_part_of_it", accuracy=rows)
    kept(tmp_path, "the_whole", accuracy=pd.concat([rows, rows.assign(variant="backbone")], ignore_index=True))
    assert [study.folder.name for study in fer2013.studies(results=tmp_path)] == ["the_whole", "a_part_of_it"]


def test_the_lead_by_size_reads_every_study(tmp_path: Path) -> None:
    for name, model, effect in (("small", "miniature", WORSE), ("large", "paper64", BETTER)):
        ablation = compared("backbone", effect, effect, effect)
        kept(tmp_path, name, accuracy=accuracy(model=model), ablation=ablation)
    found = fer2013.by_size(fer2013.studies(results=tmp_path))
    assert "the full network is ahead in the paper64 network; the full network is behind in the" in found.answer.data
    assert found.figure is not None
    assert " ".join(found.figure.ax.get_title(loc="left").split()) == (
        "In accuracy the hybrid is ahead in the paper64 network, behind in the miniature network"
    )
    assert [row[0] for row in tables_for_people.sizes(found.compared).rows] == ["miniature", "paper64"]
    nothing = fer2013.by_size([])
    assert nothing.answer.data == f"**Every study.** No study of FER-2013 here has {fer2013.QUESTIONS['lead'].needs}."
    assert nothing.figure is None


def test_nothing_to_read_has_no_rows_and_no_figure() -> None:
    empty = fer2013.Study(Path("nowhere"), {})
    for question in fer2013.QUESTIONS.values():
        assert not question.table(empty).rows
        assert question.figure(empty) is None


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_every_section_of_every_kept_study_is_whole_sentences_and_a_figure(folder: Path) -> None:
    found = fer2013.studies(folder)
    for name, question in fer2013.QUESTIONS.items():
        reading = fer2013.read(found, name)
        assert reading.answer.data.endswith(".")
        assert "nan" not in reading.answer.data
        if reading.study is not None:
            assert "nan" not in str(question.table(reading.study).rows)
            assert reading.figure is not None


def shares(name: str) -> list[list[str]]:
    """The rows of a section's table, read from the first kept study that has it."""
    reading = fer2013.read(fer2013.studies(), name)
    assert reading.study is not None
    return [list(row) for row in reading.question.table(reading.study).rows]


def test_the_leading_table_is_counted_anew_from_accuracy_csv() -> None:
    reading = fer2013.read(fer2013.studies(), "lead")
    assert reading.study is not None
    table = reading.study.tables["accuracy"]
    table = table[(table["split"] == "test") & (table["protocol"] == "audited") & (table["pipeline"] == "imagenet")]
    means = table[table["crop"] == "blazeface"].groupby("variant")[list(MEASURES)].mean()
    for row, measure in zip(shares("lead"), MEASURES, strict=True):
        assert row[2:4] == [f"{100 * means.at[variant, measure]:.1f}" for variant in ("full", "backbone")]
        ahead = 100 * (means.at["full", measure] - means.at["backbone", measure])
        assert abs(float(row[4].split()[0].replace("−", "-")) - ahead) <= 0.051


def test_the_confusions_are_counted_anew_from_the_packed_predictions(tmp_path: Path) -> None:
    folder = fer2013.studies()[0].folder
    unpack(folder, tmp_path)
    runs = finished_runs(tmp_path)
    mine = [
        run.predictions
        for run in runs
        if (run.config.variant, run.config.protocol, run.config.pipeline) == ("full", "audited", "imagenet")
    ]
    names = [column.removeprefix("p_") for column in mine[0] if column.startswith("p_")]
    true, taken, share, _ = shares("confusions")[0]
    at = [names.index({"anger": "angry"}.get(name, name)) for name in (true, taken)]
    each = [((table["label"] == at[0]) & (table["predicted"] == at[1])).sum() for table in mine]
    of = (mine[0]["label"] == at[0]).sum()
    assert share.startswith(f"{100 * np.mean(each) / of:.1f} %")


def test_pairs_of_trainings_are_counted_anew() -> None:
    table = pd.DataFrame({"full": [0.5, 0.6], "backbone": [0.55, 0.4]})
    rows = [
        {**SETTING, "composition": "", "initial_weights": "random", "split": "test", "variant": name, "seed": seed}
        | {"learning_rate": 0.006, **dict.fromkeys(MEASURES, value)}
        for name in table
        for seed, value in enumerate(table[name])
    ]
    full, backbone = tables_in_notebooks.single_trainings({"accuracy": pd.DataFrame(rows)}).rows
    assert full[1:4] == ("2", "55.0", "50.0 to 60.0")
    assert backbone[1:] == ("2", "47.5", "40.0 to 55.0", *["3 of 4"] * 3)


def test_what_follows_is_the_strongest_verdict_of_these_studies_and_names_its_study() -> None:
    found = fer2013.studies()
    said = fer2013.follows(found).data
    names = {one.folder.name for one in found}
    lines = said.splitlines()[2:]
    assert [re.match(r"- \*\*(C\d+)\*\*", line)[1] for line in lines] == ["C4", "C6", "C7", "C9", "C10"]  # type: ignore[index]
    assert all(any(name in line for name in names) or "the published figures" in line for line in lines)
    verdicts = read_tables(results_dir() / found[0].folder.name)["claims"].set_index("claim")["verdict"]
    assert f"**{verdicts['C4'].capitalize()}**" in lines[0]


@pytest.mark.parametrize(("p", "clear"), [(0.001, 1), (0.2, 0)])
def test_the_title_of_losses_counts_what_outlasts_correction(p: float, clear: int) -> None:
    rows = compared("no_moe", BETTER, OPEN, OPEN, p_crossed_holm=p)
    rows = rows.assign(drop=["absolute", "corrected", "relative"])
    drawn = pictures.losses({"robustness_means": rows})
    assert drawn is not None
    title = drawn.ax.get_title(loc="left")
    assert title == f"Occlusion and light: {clear} of 3 differences in loss can be told"


@pytest.mark.parametrize(("p", "clear"), [(0.001, 1), (0.2, 0)])
def test_the_title_beside_other_models_counts_what_outlasts_correction(p: float, clear: int) -> None:
    rows = compared("an SVM", BETTER, OPEN, OPEN, p_crossed_holm=p).assign(other="an SVM", test_images="all")
    drawn = pictures.beside({"beside": rows})
    assert drawn is not None
    title = " ".join(drawn.ax.get_title(loc="left").split())
    assert title == f"The full network is better than an SVM in {clear} of 3 comparisons"
