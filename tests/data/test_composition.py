"""Compositions change the shares of the classes and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from fermoe.data.composition import COMPOSITIONS, SMALL, apportioned, composed
from fermoe.errors import UserError

NAMES = ("angry", "fear", "happy")
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 20, 50]))


def counts(composition: str, seed: int = 0) -> list[int]:
    return np.bincount(LABELS[composed(LABELS, NAMES, composition, seed)], minlength=3).tolist()


def test_classes_as_given_are_all_images_in_their_order() -> None:
    assert composed(LABELS, NAMES, "as_given", 0).tolist() == list(range(80))


def test_every_other_composition_has_the_same_size_and_its_own_shares() -> None:
    assert counts("equal") == [10, 10, 10]
    assert counts("proportional") == [4, 7, 19]  # 3.75, 7.5, 18.75
    assert counts("rare_happy") == [6, 12, 12]  # 10 : 20 : 20


@pytest.mark.parametrize("composition", SMALL)
def test_no_image_is_drawn_twice_and_the_draw_follows_the_seed(composition: str) -> None:
    drawn = composed(LABELS, NAMES, composition, 1)
    assert len(np.unique(drawn)) == len(drawn)
    assert drawn.tolist() == composed(LABELS, NAMES, composition, 1).tolist()
    assert drawn.tolist() != composed(LABELS, NAMES, composition, 2).tolist()


def test_of_one_seed_a_smaller_draw_of_a_class_is_part_of_a_larger_one() -> None:
    few, many = (set(composed(LABELS, NAMES, name, 3)[:]) for name in ("equal", "proportional"))
    happy = set(np.flatnonzero(LABELS == 2))
    assert few & happy < many & happy


def test_largest_remainders_add_up() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        weights, total = rng.integers(1, 100, 7), int(rng.integers(7, 500))
        found = apportioned(weights, total)
        assert found.sum() == total
        assert (np.abs(found - weights / weights.sum() * total) < 1).all()


def test_what_cannot_be_composed_is_one_line() -> None:
    with pytest.raises(UserError, match="as_given"):
        composed(LABELS, NAMES, "even", 0)
    with pytest.raises(UserError, match="sad"):
        composed(LABELS, (*NAMES, "sad"), "equal", 0)
    with pytest.raises(UserError, match="happy and fear"):
        composed(LABELS, ("a", "b", "c"), "rare_happy", 0)
    assert COMPOSITIONS[0] == "as_given"
