"""The embedded faces: reproducible, balanced, and informative through their action units only."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fermoe.data.drawing import FRAMINGS, draw_face
from fermoe.data.synthetic import ACTION_UNITS, EMOTIONS, SyntheticConfig, face_table
from fermoe.errors import UserError

AU_COLUMNS = [f"au_{unit}" for unit in sorted(set().union(*ACTION_UNITS.values()))]
BOXES = {name: [f"{name}_{edge}" for edge in ("x0", "y0", "x1", "y1")] for name in ("face", "eyes", "mouth")}
ABOUT_THE_CLASS = {"index", "path", "label", "emotion", "split", "framing", "size", "seed", "au_side"}
HASH_PROGRAM = """
import hashlib
from fermoe.data.drawing import draw_face
from fermoe.data.synthetic import EMOTIONS, SyntheticConfig, face_table
digest = hashlib.sha256()
for framing in ("scene", "tight"):
    table = face_table(SyntheticConfig(train=12, test=4, framing=framing, labels=EMOTIONS, seed=3))
    for row in table.to_dict("records"):
        digest.update(draw_face(row).tobytes())
    digest.update(table.to_csv().encode())
print(digest.hexdigest())
"""


def with_full_expression(row: pd.Series, emotion: str, side: int = 0) -> pd.Series:
    """The same picture with another emotion's action units, each as strong as it can be."""
    changed = row.copy()
    changed[AU_COLUMNS] = 0.0
    changed[[f"au_{unit}" for unit in ACTION_UNITS[emotion]]] = 1.0
    changed["au_side"] = side
    return changed


def outside(row: pd.Series, picture: np.ndarray) -> np.ndarray:
    """The picture with its face box blanked."""
    x0, y0, x1, y1 = row[BOXES["face"]]
    blanked = picture.copy()
    blanked[y0:y1, x0:x1] = 0
    return blanked


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_face_does_not_depend_on_how_many_others_are_drawn(framing: str) -> None:
    many = face_table(SyntheticConfig(train=50, test=30, framing=framing))
    few = face_table(SyntheticConfig(train=5, test=2, framing=framing))
    pd.testing.assert_frame_equal(few.drop(columns="split"), many.drop(columns="split").head(7))
    assert np.array_equal(draw_face(few.iloc[6]), draw_face(many.iloc[6]))


def test_another_process_with_another_hash_seed_draws_the_same_bytes() -> None:
    def run(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", HASH_PROGRAM]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert run("1") == run("4242")


def test_drawing_leaves_the_global_random_state_alone() -> None:
    np.random.seed(7)  # noqa: NPY002 - the point is that this state is not used
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_face(face_table(SyntheticConfig(train=1, test=0)).iloc[0])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_adding_a_class_or_changing_the_framing_keeps_the_identities() -> None:
    seven = face_table(SyntheticConfig(train=40, test=0))
    eight = face_table(SyntheticConfig(train=40, test=0, framing="tight", labels=EMOTIONS))
    identity = set(seven) - ABOUT_THE_CLASS - set(AU_COLUMNS) - {edge for box in BOXES.values() for edge in box}
    assert {"skin_tone", "yaw", "occlusion", "texture_seed"} <= identity
    pd.testing.assert_frame_equal(seven[sorted(identity)], eight[sorted(identity)])
    assert (seven.emotion != eight.emotion).any()


def test_the_draws_come_in_their_published_order() -> None:
    factors = face_table(SyntheticConfig(train=4, test=0, seed=6)).iloc[3]
    draws = np.random.default_rng([6, 3]).random(26)
    assert factors.skin_tone == draws[0]
    assert factors.face_width == pytest.approx(0.68 + 0.12 * draws[6])
    assert factors.expressiveness == pytest.approx(0.45 + 0.55 * draws[25])


def test_another_seed_gives_other_faces() -> None:
    first, second = (face_table(SyntheticConfig(train=2, test=0, seed=seed)) for seed in (0, 1))
    assert not np.array_equal(draw_face(first.iloc[0]), draw_face(second.iloc[0]))
    assert not set(first.path) & set(second.path)


@pytest.mark.parametrize(
    "proportions",
    [None, {"anger": 5, "disgust": 1, "fear": 2, "happy": 20, "neutral": 11, "sad": 8, "surprise": 5}],
)
def test_every_prefix_has_the_wanted_class_proportions(proportions: dict[str, float] | None) -> None:
    config = SyntheticConfig(train=1200, test=300, proportions=proportions)
    table = face_table(config)
    weights = np.array([1.0 if proportions is None else proportions[name] for name in config.labels])
    counts = (table.label.to_numpy()[:, None] == np.arange(7)).cumsum(axis=0)
    wanted = np.arange(1, len(table) + 1)[:, None] * weights / weights.sum()
    assert np.abs(counts - wanted).max() < 3
    assert (np.array(config.labels)[table.label] == table.emotion).all()
    assert list(table.split) == ["train"] * 1200 + ["test"] * 300
    assert table.path.is_unique


def test_no_factor_but_the_action_units_is_associated_with_the_class() -> None:
    table = face_table(SyntheticConfig(train=4000, test=0, labels=EMOTIONS, seed=11))
    probabilities = {}
    for name in sorted(set(table) - ABOUT_THE_CLASS - set(AU_COLUMNS)):
        if table[name].nunique() <= 6:
            probabilities[name] = stats.chi2_contingency(pd.crosstab(table[name], table.label)).pvalue
        else:
            probabilities[name] = stats.f_oneway(*(part for _, part in table.groupby("label")[name])).pvalue
    # Bonferroni at 1 %; the action units show that the tests would notice.
    assert len(probabilities) > 40
    assert min(probabilities.values()) > 0.01 / len(probabilities), probabilities
    assert stats.f_oneway(*(part for _, part in table.groupby("label")["au_4"])).pvalue < 1e-100


def test_the_action_units_are_those_of_the_emotion_and_vary() -> None:
    table = face_table(SyntheticConfig(train=800, test=0, labels=EMOTIONS))
    for emotion, units in ACTION_UNITS.items():
        found = table.loc[table.emotion == emotion, AU_COLUMNS]
        present = [f"au_{unit}" for unit in units]
        assert found[present].stack().between(0.25, 1.0).all()
        assert (found[present].std() > 0.1).all()
        assert (found.drop(columns=present) == 0).all().all()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("occlusion", ["none", "mask", "hand"])
def test_the_expression_changes_nothing_outside_the_face_box(framing: str, occlusion: str) -> None:
    table = face_table(SyntheticConfig(train=24, test=0, framing=framing, seed=2))
    for _, row in table.iterrows():
        row = row.copy()
        # The widest blur and the loudest noise are the likeliest to carry something out.
        row["occlusion"], row["blur"], row["noise"] = occlusion, 0.8, 6.0
        rest = draw_face(with_full_expression(row, "neutral"))
        for emotion in ("anger", "disgust", "fear", "happy", "sad", "surprise"):
            moved = draw_face(with_full_expression(row, emotion))
            assert np.array_equal(outside(row, rest), outside(row, moved)), (row["index"], emotion)


def test_the_expression_moves_the_eyes_or_the_mouth() -> None:
    table = face_table(SyntheticConfig(train=12, test=0, occluded=0.0))
    for _, row in table.iterrows():
        rest = draw_face(with_full_expression(row, "neutral")).astype(int)

        def change(emotion: str, box: str, row: pd.Series = row, rest: np.ndarray = rest) -> float:
            x0, y0, x1, y1 = row[BOXES[box]]
            return float(np.abs(draw_face(with_full_expression(row, emotion)) - rest)[y0:y1, x0:x1].mean())

        assert change("neutral", "face") == 0
        assert change("happy", "mouth") > change("anger", "mouth") > 0
        assert change("anger", "eyes") > 1
        assert change("surprise", "mouth") > 2
        assert change("surprise", "eyes") > 1


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [None, 64])
def test_the_boxes_lie_in_the_picture_and_in_the_face(framing: str, size: int | None) -> None:
    config = SyntheticConfig(train=600, test=0, framing=framing, size=size)
    table = face_table(config)
    face, eyes, mouth = (table[columns].to_numpy() for columns in BOXES.values())
    assert (face[:, :2] >= 0).all()
    assert (face[:, 2:] <= config.size).all()
    for part in (eyes, mouth):
        assert (part[:, :2] >= face[:, :2]).all()
        assert (part[:, 2:] <= face[:, 2:]).all()
        assert (part[:, 2:] - part[:, :2] >= 4).all()
    upright = table.roll.abs() < 10
    assert (eyes[upright, 3] <= mouth[upright, 3]).all()
    assert (eyes[upright, 1] < mouth[upright, 1]).all()
    if framing == "scene":
        height = (table.face_y1 - table.face_y0)[upright] / config.size
        assert height.between(0.40, 0.80).all()
        assert height.std() > 0.05


def test_contempt_moves_one_side_only() -> None:
    config = SyntheticConfig(train=400, test=0, labels=EMOTIONS, occluded=0.0)
    table = face_table(config)
    contempt = table[table.emotion == "contempt"]
    assert 0.3 < (contempt.au_side == 1).mean() < 0.7
    assert (contempt.au_side != 0).all()
    assert (table.loc[table.emotion != "contempt", "au_side"] == 0).all()

    upright = contempt.iloc[0].copy()
    upright["roll"] = upright["yaw"] = upright["pitch"] = upright["blur"] = 0.0
    rest = draw_face(with_full_expression(upright, "neutral")).astype(int)
    x0, _, x1, _ = upright[BOXES["mouth"]]
    middle = (x0 + x1) // 2
    for side in (-1, 1):
        moved = np.abs(draw_face(with_full_expression(upright, "contempt", side)) - rest)
        left, right = moved[:, : middle - 1].sum(), moved[:, middle + 1 :].sum()
        still, moving = (right, left) if side < 0 else (left, right)
        assert moving > 20 * still


@pytest.mark.parametrize(("framing", "shape"), [("scene", (128, 128, 3)), ("tight", (48, 48))])
def test_a_picture_has_the_framing_s_shape(framing: str, shape: tuple) -> None:
    row = face_table(SyntheticConfig(train=1, test=0, framing=framing)).iloc[0]
    picture = draw_face(row)
    assert picture.shape == shape
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, draw_face(row.to_dict()))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_occluded_share_is_the_one_asked_for(share: float) -> None:
    table = face_table(SyntheticConfig(train=1500, test=0, occluded=share))
    assert (table.occlusion != "none").mean() == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    "wrong",
    [
        {"framing": "portrait"},
        {"size": 8},
        {"train": 0},
        {"test": -1},
        {"seed": -1},
        {"labels": ()},
        {"labels": ("happy", "happy")},
        {"labels": ("joy",)},
        {"proportions": {"happy": 1.0}},
        {"labels": ("happy", "sad"), "proportions": {"happy": 1.0, "sad": 0.0}},
        {"occluded": 1.5},
    ],
)
def test_a_wrong_setting_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(UserError, match=list(wrong)[-1]):
        SyntheticConfig(**wrong)


def test_blazeface_finds_scene_faces_and_misses_most_tight_ones() -> None:
    pytest.importorskip("mediapipe")
    from mediapipe.python.solutions.face_detection import FaceDetection

    rates = {}
    with FaceDetection(model_selection=1, min_detection_confidence=0.5) as detector:
        for framing in FRAMINGS:
            table = face_table(SyntheticConfig(train=300, test=0, framing=framing, occluded=0.0, seed=9))
            hits = []
            for row in table[table.frontal].to_dict("records"):
                picture = draw_face(row)
                colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
                hits.append(bool(detector.process(colour).detections))
            rates[framing] = np.mean(hits)
    assert rates["scene"] >= 0.95
    assert rates["tight"] <= 0.30
