"""Each trait of an extractor is answered by the network that changes it alone."""

from __future__ import annotations

import pandas as pd

from fermoe.evidence import answers_on_parts
from fermoe.network.variants import variants
from tests.evidence.test_answers import BETTER, OPEN, WORSE, compared


def test_each_changed_trait_of_an_extractor_is_said_with_its_own_outcome() -> None:
    traits = {"no_cnn1_two_mixtures": BETTER, "cnn1_pooled": WORSE, "cnn2_large": OPEN}
    ablation = pd.concat([compared(variant, effect) for variant, effect in traits.items()], ignore_index=True)
    assert answers_on_parts.causes({"ablation": ablation}) == (
        "Of the extractors' traits, each changed alone, in points of accuracy: accuracy is added by extractor 1 by "
        "itself, both mixtures kept (+4.0 [+2.0, +6.0], 3 seeds of each); nothing can be told of extractor 2's small "
        "kernels in place of large ones (+0.5 [−3.0, +4.0], 3 seeds of each); accuracy is lost by extractor 1's "
        "flattened map in place of its average (−4.0 [−6.0, −2.0], 3 seeds of each)."
    )
    assert answers_on_parts.causes({"ablation": compared("no_cnn1", BETTER)}) == ""  # leaves out more than one trait
    assert set(answers_on_parts.CAUSES) == set(variants("cause"))
