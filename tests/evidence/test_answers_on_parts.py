"""What in an extractor matters is answered by the networks that take one apart."""

from __future__ import annotations

import pandas as pd

from fermoe.evidence import answers_on_parts
from fermoe.network.variants import variants
from tests.evidence.test_answers import BETTER, OPEN, WORSE, compared


def test_each_change_of_an_extractor_is_said_with_its_own_outcome() -> None:
    changes = {"no_cnn1_two_mixtures": BETTER, "cnn1_pooled": WORSE, "cnn2_large": OPEN}
    ablation = pd.concat([compared(variant, effect) for variant, effect in changes.items()], ignore_index=True)
    assert answers_on_parts.causes({"ablation": ablation}) == (
        "Of what the extractors bring, taken apart, in points of accuracy: accuracy is added by extractor 1, without "
        "which its mixture sees the fused features (+4.0 [+2.0, +6.0], 3 seeds of each); nothing can be told of "
        "extractor 2's small kernels in place of large ones, which cost more (+0.5 [−3.0, +4.0], 3 seeds of each); "
        "accuracy is lost by extractor 1's flattened map in place of an average (−4.0 [−6.0, −2.0], 3 seeds of each)."
    )
    assert answers_on_parts.causes({"ablation": compared("no_cnn1", BETTER)}) == ""  # a mixture goes with it
    assert set(answers_on_parts.CAUSES) == set(variants("cause"))
