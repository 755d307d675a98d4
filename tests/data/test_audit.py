"""The audit on small trees whose faults are known, against plain loops, and on the real FER-2013 where it is there."""

import io
import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fermoe.data import audit
from fermoe.data.datasets import load_dataset

FER2013 = Path(os.environ.get("FERMOE_FER2013", "no-such-folder"))


def smooth(rng, side=64, channels=3):
    """A random picture with large shapes, so that re-encoding changes pixels but not the perceptual hash."""
    small = rng.integers(0, 256, (6, 6, channels), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path):
    """Two classes; each fault once."""
    rng = np.random.default_rng(1)
    a, b, c, d, e, f = (smooth(rng) for _ in range(6))
    save(tmp_path / "train/calm/a.png", a)
    save(tmp_path / "train/calm/b.png", b)
    save(tmp_path / "train/calm/b_again.bmp", b)  # another file type, the same pixels
    save(tmp_path / "train/glad/a_other_label.png", a)
    save(tmp_path / "train/glad/d.png", d)
    save(tmp_path / "test/calm/b_leaked.png", b)
    save(tmp_path / "test/calm/c.png", c)
    save(tmp_path / "test/glad/a_leaked.png", a)
    save(tmp_path / "test/glad/e.png", e)
    save(tmp_path / "test/glad/f.png", f)
    (tmp_path / "test/glad/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    buffer = io.BytesIO()
    Image.fromarray(d).save(buffer, "JPEG", quality=60)
    (tmp_path / "test/glad/d_as_jpeg.jpg").write_bytes(buffer.getvalue())
    return tmp_path


def check(dataset, **options):
    return audit.check_dataset(dataset, progress=False, **options)


def test_exact_duplicates_and_leaks(tree):
    report = check(load_dataset("folder", tree))
    groups = [set(group) for _, group in report.duplicates.groupby("group")["image"]]
    assert groups == [
        {"train/calm/a.png", "train/glad/a_other_label.png", "test/glad/a_leaked.png"},
        {"train/calm/b.png", "train/calm/b_again.bmp", "test/calm/b_leaked.png"},
    ]
    leaks = report.train_test_duplicates.set_index("test_image")
    assert list(leaks.index) == ["test/calm/b_leaked.png", "test/glad/a_leaked.png"]
    assert leaks["train_copies"].tolist() == [2, 2]
    # One of the two train copies of `a` has the test image's label, the other does not.
    assert leaks["labels_agree"].tolist() == [True, False]
    assert report.near_duplicates is None
    expected = pd.DataFrame(
        [("identical", "train", 4, 2), ("identical", "test", 0, 0), ("identical", "test in train", 2, 1)],
        columns=["kind", "where", "images", "labels_agree"],
    )
    pd.testing.assert_frame_equal(report.summary, expected)


def test_near_duplicates_by_re_encoding(tree):
    report = check(load_dataset("folder", tree), perceptual=True)
    assert report.near_duplicates is not None
    assert len(report.near_duplicates) == 1
    pair = report.near_duplicates.iloc[0]
    assert (pair["image_a"], pair["image_b"]) == ("train/glad/d.png", "test/glad/d_as_jpeg.jpg")
    assert (pair["split_a"], pair["split_b"], pair["label_a"], pair["label_b"]) == ("train", "test", "glad", "glad")
    assert pair["distance"] <= audit.NEAR_DISTANCE
    summary = report.summary.set_index(["kind", "where"])
    assert tuple(summary.loc[("near", "test in train")]) == (1, 1)
    assert tuple(summary.loc[("either", "test in train")]) == (3, 2)
    assert tuple(summary.loc[("either", "train")]) == (4, 2)


def test_unreadable_and_missing_are_named(tree):
    dataset = load_dataset("folder", tree)
    (tree / "train/calm/b.png").unlink()  # after the listing
    report = check(dataset)
    assert [line.split(":")[0] for line in report.unreadable] == ["test/glad/broken.jpg"]
    assert [line.split(":")[0] for line in report.missing] == ["train/calm/b.png"]
    assert all("\n" not in line for line in report.unreadable + report.missing)
    assert "train/calm/b.png" not in set(report.duplicates["image"])


def test_skipped_images_are_missing(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        pd.DataFrame({"image": ["x.png", "y.png"], "label": [1, 2]}).to_csv(tmp_path / f"{split}_labels.csv")
        save(tmp_path / f"DATASET/{split}/1/x.png", smooth(rng))
    report = check(load_dataset("rafdb", tmp_path, skip_unreadable=True))
    assert [line.split(":")[0] for line in report.missing] == ["DATASET/train/2/y.png", "DATASET/test/2/y.png"]


def test_counts_against_published(tmp_path):
    rng = np.random.default_rng(0)
    labels = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    for split, label in itertools.product(("train", "test"), labels):
        prefix = "Training" if split == "train" else "PublicTest"
        save(tmp_path / split / label / f"{prefix}_1.png", smooth(rng, channels=3))
    report = check(load_dataset("fer2013", tmp_path))
    assert report.matches_published is False
    assert report.counts["label"].tolist() == [*labels, *labels]
    first = report.counts.iloc[0]
    assert (first["split"], first["images"], first["published"], first["difference"]) == ("train", 1, 3995, -3994)
    assert report.usage is not None
    assert report.usage.columns.tolist() == ["label", "Training", "PublicTest"]


def test_unpublished_counts_are_unknown(tree):
    report = check(load_dataset("folder", tree))
    assert report.matches_published is None
    assert report.usage is None
    assert report.counts["published"].isna().all()
    assert report.counts["images"].tolist() == [3, 2, 2, 5]


@pytest.mark.parametrize("options", [{}, {"framing": "tight"}])
def test_synthetic_faces(options):
    """More than one chunk, so that they are drawn in processes."""
    report = check(load_dataset("synthetic", train=60, test=10, **options), workers=2, perceptual=True)
    assert report.missing == report.unreadable == []
    assert len(report.duplicates) == 0
    assert report.counts["images"].sum() == 70


def test_one_worker_finds_the_same(tree):
    dataset = load_dataset("folder", tree)
    one, many = check(dataset, workers=1, perceptual=True), check(dataset, workers=4, perceptual=True)
    pd.testing.assert_frame_equal(one.duplicates, many.duplicates)
    pd.testing.assert_frame_equal(one.near_duplicates, many.near_duplicates)


@pytest.mark.parametrize("distance", [0, 1, 4, 8])
def test_near_pairs_equal_a_plain_loop(distance):
    rng = np.random.default_rng(distance)
    centres = rng.integers(0, 2**63, 12, dtype=np.uint64)
    hashes = []
    for centre in rng.choice(centres, 150):
        flips = rng.choice(64, rng.integers(0, 7), replace=False)
        hashes.append(int(centre) ^ sum(1 << int(bit) for bit in flips))
    expected = [
        (i, j, bits)
        for i, j in itertools.combinations(range(len(hashes)), 2)
        if (bits := (hashes[i] ^ hashes[j]).bit_count()) <= distance
    ]
    assert audit.near_pairs(np.array(hashes, dtype=np.uint64), distance).tolist() == [list(p) for p in expected]


@pytest.mark.parametrize("number", [0, 1])
def test_near_pairs_of_few(number):
    assert audit.near_pairs(np.zeros(number, dtype=np.uint64)).shape == (0, 3)


def test_summary_equals_a_plain_loop():
    """Random pictures and labels: count the images with twins one by one."""
    rng = np.random.default_rng(3)
    n, contents = 80, 40
    content = pd.factorize(rng.integers(0, contents, n))[0]
    images = pd.DataFrame(
        {
            "image": [str(i) for i in range(n)],
            "split": rng.choice(["train", "test"], n),
            "label": rng.choice(["x", "y"], n),
            "content": content,
        }
    )
    number = content.max() + 1
    near = {tuple(sorted(rng.choice(number, 2, replace=False))) for _ in range(15)}
    pairs = np.array([(a, b, 2) for a, b in sorted(near)])
    rows = images.to_dict("records")

    def related(kind, i, j):
        same = rows[i]["content"] == rows[j]["content"] and i != j
        close = tuple(sorted((rows[i]["content"], rows[j]["content"]))) in near
        return {"identical": same, "near": close, "either": same or close}[kind]

    expected = []
    for kind in ("identical", "near", "either"):
        for where, of, within in audit._PLACES:
            have = agree = 0
            for i in range(n):
                twins = [j for j in range(n) if rows[j]["split"] == within and related(kind, i, j)]
                if rows[i]["split"] == of and twins:
                    have += 1
                    agree += all(rows[j]["label"] == rows[i]["label"] for j in twins)
            expected.append((kind, where, have, agree))
    assert [tuple(row) for row in audit._summary(images, pairs).itertuples(index=False)] == expected


def test_class_balance():
    counts = pd.DataFrame({"split": ["train"] * 2 + ["test"] * 2, "label": ["x", "y"] * 2, "images": [30, 10, 5, 0]})
    balance = audit.class_balance(counts).set_index("split")
    assert balance.at["train", "ratio"] == 3
    assert balance.at["train", "effective_classes"] == pytest.approx(np.exp(0.75 * np.log(4 / 3) + 0.25 * np.log(4)))
    assert balance.at["test", "ratio"] == np.inf
    assert balance.at["test", "effective_classes"] == 1


def test_colour_histograms_are_shares():
    pixels = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    pixels[:, 0] = 255
    table = audit.colour_histograms(pixels, bins=16).set_index(["channel", "value"])["share"]
    assert table.groupby("channel").sum().eq(1).all()
    assert table["red"].idxmax() == 247.5
    assert table["blue"].idxmax() == 7.5
    assert audit.colour_histograms(pixels[:, :1])["channel"].unique().tolist() == ["grey"]


def test_skin_share_of_known_colours():
    skin, sky = np.array([205, 152, 115], dtype=np.uint8), np.array([80, 140, 230], dtype=np.uint8)
    image = np.empty((1, 3, 4, 8), dtype=np.uint8)
    image[..., :2] = skin[:, None, None]
    image[..., 2:] = sky[:, None, None]
    assert audit.skin_share(image).tolist() == [0.25]
    with pytest.raises(ValueError, match="RGB"):
        audit.skin_share(image[:, :1])


@pytest.mark.skipif(not FER2013.is_dir(), reason="set FERMOE_FER2013 to the FER-2013 folder (train/, test/)")
def test_the_real_fer2013():
    report = check(load_dataset("fer2013", FER2013))
    assert report.matches_published
    assert report.missing == report.unreadable == []
    assert report.usage is not None
    totals = report.usage.drop(columns="label").sum()
    assert totals.to_dict() == {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}
    assert len(report.train_test_duplicates) == 568
    assert report.train_test_duplicates["labels_agree"].sum() == 540
