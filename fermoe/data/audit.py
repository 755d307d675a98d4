"""Is this the data that was meant? Counts against the published ones, and every image opened.

`load_dataset` only lists files. Here each picture is decoded, so that damaged files, images that occur twice and
test images that were also trained on come to light before any network sees them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
import pandas as pd
import scipy  # its parts are loaded when they are first used
from PIL import Image

from fermoe.data.datasets import DATASETS, Dataset
from fermoe.data.images import Row, UnreadableImage, map_images, picture
from fermoe.data.twins import content_hash

NEAR_DISTANCE = 4
"""Perceptual hashes (64 bits) that differ in at most this many bits count as near duplicates.

Chosen on FER-2013, whose copies have been re-cropped and re-compressed: of 14 pairs looked at for each of 0, 2, 4 and
6 bits, 14, 14, 14 and 12 were the same photograph. Labels agree in about 0.8 of the pairs up to four bits, 0.73 at
six, 0.48 at eight; in two random images, 0.17."""

SPLITS = ("train", "test")
_PLACES = (("train", "train", "train"), ("test", "test", "test"), ("test in train", "test", "train"))


@dataclass(frozen=True)
class DatasetReport:
    """What `check_dataset` found.

    Attributes:
        counts: split, label, images, published, difference; the last two NaN where nothing is published.
        usage: fer2013 only: images by label and original set (Training, PublicTest, PrivateTest).
        missing: one line per listed image without a file.
        unreadable: one line per file that is no whole image.
        duplicates: group, image, split, label: the images whose decoded pixels occur more than once.
        train_test_duplicates: test_image, test_label, train_image, train_label, train_copies, labels_agree: every
            test image whose exact pixels occur in train, with the first of the train images. Labels agree if all
            train copies carry the test image's label.
        near_duplicates: image_a, split_a, label_a, image_b, split_b, label_b, distance: pairs of *different*
            pictures with perceptual hashes at most `NEAR_DISTANCE` bits apart, each picture standing for its
            exact copies; None if not asked for.
        summary: kind ("identical", "near", "either"), where ("train", "test", "test in train"), images,
            labels_agree: how many images have a twin there, and how many agree in label with all their twins.
    """

    counts: pd.DataFrame
    usage: pd.DataFrame | None
    missing: list[str]
    unreadable: list[str]
    duplicates: pd.DataFrame
    train_test_duplicates: pd.DataFrame
    near_duplicates: pd.DataFrame | None
    summary: pd.DataFrame

    @property
    def matches_published(self) -> bool | None:
        """Whether every class of every split has the published count; None where no counts are published."""
        known = self.counts["difference"].dropna()
        return bool((known == 0).all()) if len(known) else None


def check_dataset(
    dataset: Dataset, *, workers: int | None = None, progress: bool = True, perceptual: bool = False
) -> DatasetReport:
    """Open every image of a dataset and compare it with the others and with the published counts.

    `perceptual` also looks for near duplicates, by perceptual hash. `workers` are as in `map_images`.
    """
    table, one = dataset.table, partial(_open, channels=dataset.channels, perceptual=perceptual)
    opened = list(map_images(one, table, "opening images", workers=workers, progress=progress))
    missing = [f"{image}: listed, no such file" for image in dataset.skipped]
    unreadable: list[str] = []
    for image, path, found in zip(table["image"], table["path"], opened, strict=True):
        if found.problem is not None:
            (unreadable if Path(path).exists() else missing).append(f"{image}: {found.problem}")
    good = np.array([found.problem is None for found in opened], dtype=bool)
    images = table.loc[good, ["image", "split", "emotion"]].rename(columns={"emotion": "label"})
    images["content"] = pd.factorize(np.array([found.content for found in opened], dtype=object)[good])[0]
    pairs = None
    if perceptual:
        first = ~images["content"].duplicated().to_numpy()  # contents are numbered in the order they appear
        pairs = near_pairs(np.array([found.perceptual for found in opened], dtype=np.uint64)[good][first])
    return DatasetReport(
        counts=_counts(dataset),
        usage=_usage(dataset),
        missing=missing,
        unreadable=unreadable,
        duplicates=_duplicates(images),
        train_test_duplicates=_train_test_duplicates(images),
        near_duplicates=None if pairs is None else _near_duplicates(images, pairs),
        summary=_summary(images, pairs),
    )


class _Opened(NamedTuple):
    content: bytes  # a hash of shape and decoded pixels
    perceptual: int  # 64-bit hash; 0 if not asked for
    problem: str | None


def _open(row: Row, channels: int, perceptual: bool) -> _Opened:
    try:
        pixels = picture(row, channels)
    except UnreadableImage as error:
        return _Opened(b"", 0, error.what)
    return _Opened(content_hash(pixels), perceptual_hash(pixels) if perceptual else 0, None)


def _counts(dataset: Dataset) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([SPLITS, dataset.labels], names=["split", "label"])
    counts = dataset.table.groupby(["split", "emotion"]).size().rename_axis(["split", "label"])
    result = counts.reindex(index, fill_value=0).rename("images").reset_index()
    published = DATASETS[dataset.name].published_counts()
    if published is not None:
        published = published.set_index(["split", "label"])["images"].reindex(index).to_numpy(dtype=float)
    result["published"] = np.nan if published is None else published
    result["difference"] = result["images"] - result["published"]
    return result


def _usage(dataset: Dataset) -> pd.DataFrame | None:
    table = dataset.table
    if "usage" not in table:
        return None
    counts = pd.crosstab(table["emotion"], table["usage"]).reindex(list(dataset.labels), fill_value=0)
    order = [name for name in ("Training", "PublicTest", "PrivateTest", "unknown") if name in counts]
    return counts[order].rename_axis(index="label", columns=None).reset_index()


def _duplicates(images: pd.DataFrame) -> pd.DataFrame:
    repeated = images[images["content"].duplicated(keep=False)]
    result = repeated[["image", "split", "label"]].reset_index(drop=True)
    result.insert(0, "group", pd.factorize(repeated["content"])[0])
    return result.sort_values("group", kind="stable", ignore_index=True)


def _train_test_duplicates(images: pd.DataFrame) -> pd.DataFrame:
    train = images[images["split"] == "train"].groupby("content")
    test = images[images["split"] == "test"].rename(columns={"image": "test_image", "label": "test_label"})
    first = train.agg(train_image=("image", "first"), train_label=("label", "first"), train_copies=("image", "size"))
    both = test.join(first, on="content", how="inner").reset_index(drop=True)
    one_label = both["content"].map(train["label"].nunique() == 1).astype(bool)
    both["labels_agree"] = one_label & (both["test_label"] == both["train_label"])
    columns = ["test_image", "test_label", "train_image", "train_label", "train_copies", "labels_agree"]
    return both[columns]


def perceptual_hash(pixels: np.ndarray) -> int:
    """imagehash's 64-bit phash of (H, W) or (H, W, 3) uint8: signs of the low frequencies of a 32×32 thumbnail."""
    return int(str(imagehash.phash(Image.fromarray(pixels))), 16)


def near_pairs(hashes: np.ndarray, distance: int = NEAR_DISTANCE) -> np.ndarray:
    """All pairs of 64-bit hashes (N,) that differ in at most `distance` bits: (M, 3) first < second, bits.

    Exact, without comparing all pairs: cut into distance + 1 bands, two such hashes agree in one band at least
    (distance bits cannot spoil more bands than that), so only hashes that share a band are compared.
    """
    found = [np.empty((0, 3), dtype=np.int64)]
    for low, high in itertools.pairwise(np.linspace(0, 64, distance + 2).astype(int)):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(band, kind="stable")
        band = band[order]
        at = np.arange(len(band))
        for step in itertools.count(1):
            at = at[at + step < len(band)]
            at = at[band[at] == band[at + step]]  # sorted: equal at this step only if equal at all smaller ones
            if not len(at):
                break
            one, other = order[at], order[at + step]
            bits = np.unpackbits((hashes[one] ^ hashes[other]).view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
            pairs = np.stack([np.minimum(one, other), np.maximum(one, other), bits.astype(np.int64)], axis=1)
            found.append(pairs[bits <= distance])
    return np.unique(np.concatenate(found), axis=0)


def _near_duplicates(images: pd.DataFrame, pairs: np.ndarray) -> pd.DataFrame:
    first = images.drop_duplicates("content")[["image", "split", "label"]]
    one, other = (first.iloc[pairs[:, side]].reset_index(drop=True) for side in (0, 1))
    return one.join(other, lsuffix="_a", rsuffix="_b").assign(distance=pairs[:, 2])


def _summary(images: pd.DataFrame, pairs: np.ndarray | None) -> pd.DataFrame:
    """Images with a twin, by split. Works on pictures (contents), not on pairs of images: a picture that fills
    half a dataset would have a quarter of a billion pairs."""
    content, split = images["content"].to_numpy(), images["split"].to_numpy()
    codes, labels = pd.factorize(images["label"])
    pictures = content.max(initial=-1) + 1
    shape = (pictures, len(labels))
    # copies[s][picture, label]: how many images of split s show this picture under this label.
    copies = {s: _occurrences(content[split == s], codes[split == s], shape).toarray() for s in SPLITS}
    twins = {"identical": copies}  # per kind and split: how many twins a picture has there, by label
    if pairs is not None:
        alike = _occurrences(pairs[:, 0], pairs[:, 1], (pictures, pictures))
        near = {name: (alike + alike.T) @ copies[name] for name in SPLITS}
        twins |= {"near": near, "either": {name: copies[name] + near[name] for name in SPLITS}}
    rows = []
    for kind, among in twins.items():
        for where, of, within in _PLACES:
            mine = split == of
            found = among[within][content[mine]]
            own = codes[mine]
            total, same = found.sum(axis=1), found[np.arange(len(own)), own]
            if kind != "near" and of == within:  # an image is no twin of itself
                total, same = total - 1, same - 1
            rows.append((kind, where, int((total > 0).sum()), int(((total > 0) & (same == total)).sum())))
    return pd.DataFrame(rows, columns=["kind", "where", "images", "labels_agree"])


def _occurrences(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.coo_array:
    """How often each row meets each column."""
    return scipy.sparse.coo_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), shape)


def class_balance(counts: pd.DataFrame) -> pd.DataFrame:
    """How even the classes are: split, images, largest, smallest, ratio, effective_classes.

    `counts` has the columns split, label, images. The effective number of classes is exp(entropy): the number of
    equally large classes that would be as hard to guess.
    """
    sizes = counts.groupby("split", sort=False)["images"]
    result = sizes.agg(images="sum", largest="max", smallest="min")
    result["ratio"] = (result["largest"] / result["smallest"]).where(result["smallest"] > 0, np.inf)
    result["effective_classes"] = sizes.agg(lambda images: np.exp(scipy.stats.entropy(images)) if images.any() else 1.0)
    return result.reset_index()


def colour_histograms(pixels: np.ndarray, bins: int = 32) -> pd.DataFrame:
    """Shares of pixel values of uint8 (N, C, H, W), C = 1 or 3: channel, value (middle of the bin), share."""
    names = ("grey",) if pixels.shape[1] == 1 else ("red", "green", "blue")
    parts = []
    for index, name in enumerate(names):
        counts, edges = np.histogram(pixels[:, index], bins, range=(0, 256))
        share = counts / max(1, counts.sum())
        parts.append(pd.DataFrame({"channel": name, "value": (edges[:-1] + edges[1:] - 1) / 2, "share": share}))
    return pd.concat(parts, ignore_index=True)


def skin_share(pixels: np.ndarray) -> np.ndarray:
    """Share of each image's pixels in the usual skin range of YCrCb, 133 <= Cr <= 173 and 77 <= Cb <= 127.

    RGB uint8 (N, 3, H, W) → shares (N,). The range is a convention from Chai & Ngan (1999) that was fitted on few
    skins: it is used here to compare pictures, not to tell skin from other things.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"need RGB images (N, 3, H, W), not shape {pixels.shape}")
    strip = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).reshape(len(pixels), -1, 3)  # a row per image
    _, cr, cb = np.moveaxis(cv2.cvtColor(strip, cv2.COLOR_RGB2YCrCb), -1, 0)
    return ((cr >= 133) & (cr <= 173) & (cb >= 77) & (cb <= 127)).mean(axis=1)
