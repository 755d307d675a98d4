"""What each branch makes of the test images, laid out in the plane: neighbours there are neighbours in its features."""

from __future__ import annotations

import pandas as pd
from sklearn.manifold import TSNE

from fermoe.training.inference import TrainedRun

MIXTURE_OF = {"cnn1": "cnn", "cnn2": "expression", "resnet": "expression"}
"""By branch: the mixture whose gate sees its features, alone or in the fusion."""


def embed(trained: TrainedRun, images: int = 400, seed: int = 0) -> pd.DataFrame:
    """t-SNE (van der Maaten & Hinton 2008) of every branch's features of evenly spread test images.

    Columns branch, x, y, label (class name), expert (the first choice of the mixture behind the branch; -1 without a
    gate). Distances between groups mean nothing, nor do axes; another seed gives another picture of the same features.
    """
    rows = trained.rows(images)
    out = trained.predict(trained.images(rows))
    labels = [trained.data.label_names[label] for label in trained.labels(rows)]
    parts = []
    for branch, mixture in MIXTURE_OF.items():
        if branch in out.features:
            features = out.features[branch].flatten(1).numpy()
            layout = TSNE(perplexity=min(30, (len(rows) - 1) / 3), random_state=seed, n_jobs=1).fit_transform(features)
            expert = out.gates[mixture].argmax(1).numpy() if mixture in out.gates else -1
            part = {"branch": branch, "x": layout[:, 0], "y": layout[:, 1], "label": labels, "expert": expert}
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)
