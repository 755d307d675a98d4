"""Comparisons over trainings equal SciPy's and plain arithmetic, and are right as often as they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from fermoe import seeds
from fermoe.seeds import MIN_SEEDS, Drawn

FIRST = np.array([0.51, 0.54, 0.53, 0.55])
SECOND = np.array([0.49, 0.50, 0.52, 0.47])


def drawn(values, images=400, resamples=2000, seed=0):
    """Trainings of these accuracies, right on random images of their own, and their accuracies on resamples."""
    rng = np.random.default_rng(seed)
    right = rng.random((len(values), images)) < np.array(values)[:, None]
    weights = np.random.default_rng(99).multinomial(images, np.full(images, 1 / images), size=resamples)
    return Drawn(right.mean(axis=1), weights @ right.T / images), right


def test_welchs_interval_and_p_are_scipys():
    found = seeds.welch(FIRST, SECOND)
    expected = scipy_stats.ttest_ind(SECOND, FIRST, equal_var=False)
    interval = expected.confidence_interval()
    assert found.value == pytest.approx(SECOND.mean() - FIRST.mean())
    assert (found.low, found.high, found.p_value) == pytest.approx((interval.low, interval.high, expected.pvalue))
    spread = math.sqrt(FIRST.var(ddof=1) / 4 + SECOND.var(ddof=1) / 4)
    assert found.error == pytest.approx(spread)


def test_the_same_trainings_tested_twice_are_compared_pair_by_pair():
    found = seeds.welch(FIRST, FIRST - [0.01, 0.012, 0.011, 0.010], paired=True)
    expected = scipy_stats.ttest_1samp([-0.01, -0.012, -0.011, -0.010], 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.high < 0
    assert seeds.welch(FIRST, FIRST - [0.01, 0.012, 0.011, 0.010]).high > 0  # as strangers they cannot be told apart


@pytest.mark.parametrize("count", [1, 2])
def test_below_three_seeds_there_is_neither_interval_nor_p(count):
    few, many = drawn(FIRST[:count])[0], drawn(FIRST)[0]
    rng = np.random.default_rng(0)
    effects = [
        seeds.welch(few.values, many.values),
        seeds.crossed(few, many, rng),
        seeds.crossed(many, few, rng),
        seeds.crossed_mean(few, rng),
    ]
    for effect in effects:
        assert math.isfinite(effect.value)
        assert all(math.isnan(x) for x in effect[1:])
        assert math.isnan(seeds.equivalence(effect))
        assert math.isnan(seeds.detectable(effect))
    assert all(math.isnan(x) for x in seeds.mean_over_seeds(few.values)[1:])
    assert MIN_SEEDS == 3


def test_the_crossed_interval_is_that_of_a_plain_loop_which_draws_both():
    (one, first), (two, second) = drawn(FIRST, seed=1), drawn(SECOND, seed=2)
    found = seeds.crossed(one, two, np.random.default_rng(3))
    rng, means = np.random.default_rng(4), []
    for _ in range(4000):
        images = rng.integers(0, first.shape[1], first.shape[1])
        means.append(second[rng.integers(0, 4, 3)][:, images].mean() - first[rng.integers(0, 4, 3)][:, images].mean())
    error = np.std(means)
    parts = [right.mean(axis=1).var(ddof=1) / 4 for right in (first, second)]
    df = error**4 / sum(part**2 / 3 for part in parts)
    half = scipy_stats.t.ppf(0.975, df) * error
    difference = second.mean() - first.mean()
    # Two Monte-Carlo estimates of a standard deviation, from 2,000 and 4,000 draws: 2 % apart at most in most cases.
    assert found.value == pytest.approx(difference, abs=1e-12)
    assert found.error == pytest.approx(error, rel=0.05)
    assert (found.low, found.high) == pytest.approx((difference - half, difference + half), abs=0.1 * half)


def test_drawing_one_training_less_gives_the_means_variance_without_bias():
    values = np.array([0.4, 0.5, 0.7])
    side = Drawn(values, np.tile(values, (200_000, 1)))  # images that never change anything
    spread = seeds.drawn_means(side, np.random.default_rng(0)).std()
    assert spread == pytest.approx(values.std(ddof=1) / math.sqrt(3), rel=0.01)


def test_the_crossed_interval_is_wider_than_either_question_alone():
    one, two = drawn(FIRST, images=200)[0], drawn(SECOND, images=200, seed=1)[0]
    both = seeds.crossed(one, two, np.random.default_rng(0)).error
    images = np.std((two.replicates - one.replicates).mean(axis=1))
    assert both > max(images, seeds.welch(one.values, two.values).error)


def test_trainings_without_any_spread_have_the_error_of_the_images_and_no_error_without_these():
    same = Drawn(np.full(3, 0.5), np.full((10, 3), 0.5))
    better = Drawn(np.full(3, 0.6), np.full((10, 3), 0.6))
    found = seeds.crossed(same, better, np.random.default_rng(0))
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    assert found.p_value == pytest.approx(0, abs=1e-6)
    assert seeds.welch(same.values, same.values).p_value == 1
    assert seeds.equivalence(seeds.welch(same.values, same.values)) == 0
    assert seeds.equivalence(seeds.welch(same.values, better.values)) == 1


def test_equivalence_is_the_larger_of_two_one_sided_tests():
    effect = seeds.welch(FIRST, FIRST[::-1] + 0.002)
    t = scipy_stats.t(effect.df)
    lower = t.sf((effect.value + 0.05) / effect.error)
    upper = t.cdf((effect.value - 0.05) / effect.error)
    assert seeds.equivalence(effect, margin=0.05) == pytest.approx(max(lower, upper))


def test_the_detectable_difference_is_found_with_its_power():
    """Simulated: two groups of ten whose means differ by what is said to be detectable with 80 %."""
    rng, ten = np.random.default_rng(5), (10,)
    error = math.sqrt(2 / 10)
    effect = seeds.Effect(0.0, -1.0, 1.0, 1.0, error, 18.0)
    gap = seeds.detectable(effect)
    found = [seeds.welch(rng.normal(0, 1, ten), rng.normal(gap, 1, ten)).p_value < 0.05 for _ in range(1500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_swapped_axes_are_refused():
    side = drawn(FIRST)[0]
    with pytest.raises(ValueError, match="replicates"):
        seeds.crossed_mean(Drawn(side.values, side.replicates.T), np.random.default_rng(0))
    with pytest.raises(ValueError, match="same resamples"):
        seeds.crossed(side, Drawn(side.values, side.replicates[:50]), np.random.default_rng(0))
