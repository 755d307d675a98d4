"""Plain models without a network, trained on a dataset's images as the floor that a network should stay above.

A baseline learns from the training images of the audited protocol, without test images' twins, chooses by the
validation images, and answers on every test image once. It takes whole images: no detector, no crop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fermoe.data.arrays import pixels
from fermoe.data.datasets import Dataset, protocol_splits
from fermoe.data.twins import picture_numbers
from fermoe.errors import UserError
from fermoe.training.foreign import Answers

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in a grey picture (ITU-R BT.601)."""


@dataclass(frozen=True)
class HogSvmConfig:
    """Histograms of oriented gradients (Dalal & Triggs 2005, CVPR) and one linear support vector machine per class.

    Args:
        size: side of the grey picture, in pixels.
        cell: side of a cell, which has one histogram of `bins` directions; four cells are normalised together.
        penalties: the machine's C, of which the one with the best validation accuracy is taken, the first of equals.
    """

    size: int = 48
    cell: int = 8
    bins: int = 9
    penalties: tuple[float, ...] = (0.01, 0.1, 1.0)


def hog_features(images: NDArray[np.uint8], config: HogSvmConfig) -> NDArray[np.float32]:
    """Grey or RGB pictures (N, C, size, size) → features (N, F), by OpenCV's HOG."""
    cell, block, window = ((side, side) for side in (config.cell, 2 * config.cell, config.size))
    describe = cv2.HOGDescriptor(window, block, cell, cell, config.bins).compute
    rows = []
    for image in images:
        grey = image[0] if len(image) == 1 else np.rint(np.tensordot(LUMA, image, 1)).astype(np.uint8)
        rows.append(np.asarray(describe(np.ascontiguousarray(grey)), dtype=np.float32).ravel())
    return np.stack(rows)


def hog_svm(
    dataset: Dataset, say: Callable[[str], object] = print, config: HogSvmConfig | None = None
) -> tuple[Answers, dict[str, Any]]:
    """Train and choose the machine, and let it answer on the test images; also how that was done.

    Nothing is drawn: the split is the audited protocol's, and the machine's optimum (scikit-learn's primal LinearSVC)
    does not depend on a seed. It gives classes and no probabilities.
    """
    from sklearn.svm import LinearSVC  # here: it takes half a second

    config = config or HogSvmConfig()
    splits = protocol_splits(dataset, "audited", pictures=picture_numbers(dataset))
    features = hog_features(pixels(dataset, "none", config.size), config)
    labels = dataset.table["label"].to_numpy()
    say(f"HOG + linear SVM: {features.shape[1]} features, {len(splits['train'])} training images")
    learn, choose = splits["train"], splits["validation"]
    machines, validation = {}, {}
    for penalty in config.penalties:
        machines[penalty] = LinearSVC(C=penalty, dual=False).fit(features[learn], labels[learn])
        validation[penalty] = float((machines[penalty].predict(features[choose]) == labels[choose]).mean())
        say(f"C = {penalty:g}: {100 * validation[penalty]:.2f} % of the validation images")
    chosen = max(validation, key=lambda penalty: validation[penalty])
    how = {
        "baseline": "hog_svm", **asdict(config), "penalty": chosen,
        "validation": {f"{penalty:g}": value for penalty, value in validation.items()},
        "train_images": len(learn), "validation_images": len(choose),
    }  # fmt: skip
    return Answers.of_classes(machines[chosen].predict(features[splits["test"]]), len(dataset.labels)), how


Baseline = Callable[[Dataset, Callable[[str], object]], tuple[Answers, dict[str, Any]]]

BASELINES: Mapping[str, Baseline] = {"hog_svm": hog_svm}
"""A baseline is one entry: dataset, and who is told → its answers on the test images, and how they came to be."""


def baseline(name: str) -> Baseline:
    """The named baseline.

    Raises:
        UserError: there is none of that name.
    """
    if name not in BASELINES:
        raise UserError(f"unknown baseline '{name}'", fix=f"choose one of {', '.join(BASELINES)}")
    return BASELINES[name]
