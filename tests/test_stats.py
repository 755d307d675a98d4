"""Statistics agree with SciPy, scikit-learn, closed forms, or a plain loop."""

import math
from itertools import product

import numpy as np
import pytest
import scipy.stats
from scipy import special
from sklearn.metrics import balanced_accuracy_score, f1_score

from fermoe import metrics, stats


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("correct", "images"), [(0, 10), (10, 10), (3, 7), (2586, 3068)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_ends_of_wilsons_interval_are_the_shares_that_the_score_test_just_rejects(correct, images, confidence):
    """They solve (k/n − p)² = z² p (1 − p) / n."""
    z2, share = scipy.stats.norm.ppf(0.5 + confidence / 2) ** 2, correct / images
    roots = np.roots([1 + z2 / images, -2 * share - z2 / images, share**2])
    assert stats.wilson_interval(correct, images, confidence) == pytest.approx(tuple(sorted(roots)), abs=1e-9)


def test_wilson_interval_without_images_is_undefined_and_nonsense_is_refused():
    assert all(map(math.isnan, stats.wilson_interval(0, 0)))
    for correct, images, confidence in [(5, 4, 0.95), (-1, 4, 0.95), (1, 4, 95)]:
        with pytest.raises(ValueError, match="must lie between"):
            stats.wilson_interval(correct, images, confidence)


@pytest.mark.parametrize(
    ("first", "second", "published"),
    [
        ((48, 80), (56, 70), (0.0524, 0.3339)),
        ((3, 10), (9, 10), (0.1705, 0.8090)),
        ((0, 20), (0, 10), (-0.1611, 0.2775)),
    ],
)
def test_the_interval_of_a_difference_is_newcombes_where_the_two_are_proportions(first, second, published):
    """Newcombe 1998, Statistics in Medicine 17:873-890, table II, method 10; and the same with its sides exchanged."""
    one, two = ((k / n, *stats.wilson_interval(k, n)) for k, n in (first, second))
    low, high = published
    value = second[0] / second[1] - first[0] / first[1]
    assert stats.difference_interval(one, two) == pytest.approx((value, low, high), abs=1e-4)
    assert stats.difference_interval(two, one) == pytest.approx((-value, -high, -low), abs=1e-4)


def test_the_interval_of_a_difference_holds_the_true_one_as_often_as_it_says():
    """Means of ten and of three values with unequal spread, each with Student's interval."""
    draw, held = generator(3), 0
    for _ in range(2000):
        one, two = draw.normal(1, 0.5, 10), draw.normal(3, 2, 3)
        _, low, high = stats.difference_interval(stats.mean_interval(one), stats.mean_interval(two))
        held += low <= 2 <= high
    assert 0.935 <= held / 2000 <= 0.985


def test_mean_interval_is_students_t():
    values = [0.71, 0.74, 0.69, 0.72]
    expected = scipy.stats.t.interval(0.95, 3, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert stats.mean_interval(values) == pytest.approx((np.mean(values), *expected))
    assert stats.mean_sd(values) == pytest.approx((np.mean(values), np.std(values, ddof=1)))


def test_one_seed_has_no_interval():
    mean, low, high = stats.mean_interval([0.7])
    assert mean == 0.7
    assert math.isnan(low)
    assert math.isnan(high)


def accuracy_of(labels, predicted, axis):
    return (labels == predicted).mean(axis=axis)


def test_bca_interval_of_an_accuracy_lies_near_wilsons():
    labels = generator().integers(0, 4, 400)
    predicted = np.where(generator(1).random(400) < 0.8, labels, (labels + 1) % 4)
    interval = stats.bca_interval(accuracy_of, labels, predicted, rng=generator())
    correct = int((labels == predicted).sum())
    assert interval == pytest.approx(stats.wilson_interval(correct, 400), abs=0.01)
    assert stats.bca_interval(accuracy_of, labels, predicted, rng=generator()) == interval


def test_bca_interval_without_spread_is_the_estimate():
    assert stats.bca_interval(np.mean, np.ones(9), rng=generator()) == (1.0, 1.0)


def test_bca_interval_refuses_vectors_of_different_length():
    with pytest.raises(ValueError, match="one length"):
        stats.bca_interval(accuracy_of, np.ones(3), np.ones(4), rng=generator())


@pytest.mark.parametrize(
    ("statistic", "score"),
    [
        (metrics.macro_f1, lambda a, b: f1_score(a, b, average="macro")),
        (metrics.balanced_accuracy, balanced_accuracy_score),
    ],
)
def test_confusion_interval_is_scipys_bca_over_images(statistic, score):
    labels = generator().choice(3, 200, p=[0.6, 0.3, 0.1])
    predicted = np.where(generator(1).random(200) < 0.75, labels, generator(2).integers(0, 3, 200))
    expected = scipy.stats.bootstrap(
        (labels, predicted), score, paired=True, vectorized=False, n_resamples=1500, rng=generator()
    ).confidence_interval
    matrix = metrics.confusion(labels, predicted, 3)
    got = stats.counts_bca_interval(statistic, matrix, rng=generator(), resamples=20_000)
    assert got == pytest.approx((expected.low, expected.high), abs=0.015)


def test_confusion_interval_of_an_empty_or_perfect_matrix():
    empty = stats.counts_bca_interval(metrics.accuracy, np.zeros((2, 2), int), rng=generator())
    assert all(map(math.isnan, empty))
    perfect = stats.counts_bca_interval(metrics.accuracy, np.diag([5, 5]), rng=generator())
    assert perfect == (1.0, 1.0)
    with pytest.raises(ValueError, match="counts"):
        stats.counts_bca_interval(metrics.accuracy, -np.ones((2, 2)), rng=generator())


def test_mcnemar_is_the_binomial_sum_over_discordant_images():
    a = np.array([1] * 8 + [0] * 2 + [1] * 5, dtype=bool)
    b = np.array([0] * 8 + [1] * 2 + [1] * 5, dtype=bool)
    expected = 2 * sum(math.comb(10, k) for k in range(3)) / 2**10
    assert stats.mcnemar_exact(a, b) == pytest.approx(expected)
    assert stats.mcnemar_exact(a, a) == 1.0
    with pytest.raises(ValueError, match="same images"):
        stats.mcnemar_exact(a, b[:-1])


def test_paired_difference_is_scipys_bca_of_the_mean_difference():
    a = generator().random(300) < 0.7
    b = np.where(generator(1).random(300) < 0.85, a, ~a)
    difference, low, high = stats.paired_difference(a, b, generator())
    expected = scipy.stats.bootstrap((b * 1.0 - a,), np.mean, n_resamples=9999, rng=generator()).confidence_interval
    assert difference == pytest.approx(b.mean() - a.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_paired_difference_over_seeds_averages_seeds_and_resamples_images():
    a = generator().random((3, 250)) < 0.6
    b = generator(1).random((2, 250)) < 0.7
    difference, low, high = stats.paired_difference(a, b, generator())
    per_image = b.mean(axis=0) - a.mean(axis=0)
    expected = scipy.stats.bootstrap((per_image,), np.mean, n_resamples=9999, rng=generator()).confidence_interval
    assert difference == pytest.approx(per_image.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_paired_difference_of_a_model_with_itself_is_zero_without_width():
    a = generator().random(50) < 0.5
    assert stats.paired_difference(a, a, generator()) == (0.0, 0.0, 0.0)


def test_paired_difference_refuses_swapped_axes_and_other_images():
    seeds_last = np.ones((50, 3))
    with pytest.raises(ValueError, match="swapped"):
        stats.paired_difference(seeds_last, seeds_last, generator())
    with pytest.raises(ValueError, match="same images"):
        stats.paired_difference(np.ones(5), np.ones(6), generator())


def test_paired_permutation_is_the_share_of_all_sign_flips_at_least_as_large():
    a = np.array([[1, 0, 1, 0, 0, 1, 0, 1], [1, 0, 0, 0, 0, 1, 0, 1]])
    b = np.array([[1, 1, 1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 0]])
    d = b.mean(axis=0) - a.mean(axis=0)
    sums = [abs(np.dot(signs, d)) for signs in product([1, -1], repeat=d.size)]
    exact = np.mean(np.array(sums) >= abs(d.sum()) - 1e-9)
    assert stats.paired_permutation(a, b, generator(), 50_000) == pytest.approx(exact, abs=0.01)


def test_paired_permutation_of_one_seed_is_mcnemar():
    a = generator().random(200) < 0.7
    b = np.where(generator(1).random(200) < 0.9, a, ~a)
    p = stats.paired_permutation(a, b, generator(), 50_000)
    assert p == pytest.approx(stats.mcnemar_exact(a, b), abs=0.01)


def test_holm_is_the_step_down_rule_and_leaves_nan_out():
    # Worked by hand: sorted 0.01·4, 0.02·3, 0.03·2, 0.04·1, each at least its predecessor.
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    with_nan = stats.holm([0.01, np.nan, 0.6, 0.7])
    assert with_nan == pytest.approx([0.03, np.nan, 1.0, 1.0], nan_ok=True)
    assert stats.holm([]).size == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.holm([1.2])


def loop_ece(probabilities, labels, bins):
    total = 0.0
    for k in range(bins):
        rows = [i for i, p in enumerate(probabilities) if k / bins < p.max() <= (k + 1) / bins]
        if rows:
            confidence = np.mean([probabilities[i].max() for i in rows])
            accuracy = np.mean([probabilities[i].argmax() == labels[i] for i in rows])
            total += len(rows) * abs(confidence - accuracy)
    return total / len(labels)


def test_calibration_error_is_the_loop_over_bins():
    probabilities = generator().dirichlet(np.ones(5), 300)
    labels = generator(1).integers(0, 5, 300)
    got = stats.expected_calibration_error(probabilities, labels, 15)
    assert got == pytest.approx(loop_ece(probabilities, labels, 15))
    table = stats.reliability_bins(probabilities, labels)
    assert table.images.sum() == 300
    assert np.isnan(table.accuracy[table.images == 0]).all()


def test_calibration_error_of_sure_and_right_is_zero_and_without_images_undefined():
    assert stats.expected_calibration_error(np.eye(3), [0, 1, 2]) == 0
    assert math.isnan(stats.expected_calibration_error(np.empty((0, 3)), []))


def test_calibration_refuses_swapped_axes_and_logits():
    with pytest.raises(ValueError, match="need probabilities"):
        stats.expected_calibration_error(np.full((3, 10), 0.1).T, [0, 1, 2])
    with pytest.raises(ValueError, match="add up to 1"):
        stats.reliability_bins(np.array([[2.0, 1.0]]), [0])


def test_temperature_undoes_a_known_sharpening():
    logits = generator().normal(size=(4000, 4)) * 2
    labels = np.array([generator(i).choice(4, p=row) for i, row in enumerate(special.softmax(logits, 1))])
    original = stats.fit_temperature(logits, labels)
    assert original == pytest.approx(1, abs=0.08)
    assert stats.fit_temperature(3 * logits, labels) == pytest.approx(3 * original, rel=1e-3)
    log_probabilities = special.log_softmax(3 * logits, axis=1)
    assert stats.fit_temperature(log_probabilities, labels) == pytest.approx(3 * original, rel=1e-3)


def test_spearman_is_scipys_with_fishers_interval():
    x, y = np.array([1, 2, 3, 4, 5, 6, 7.0]), np.array([2, 1, 4, 3, 7, 5, 6.0])
    rho, low, high = stats.spearman_interval(x, y)
    assert rho == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / 4)
    assert (low, high) == pytest.approx((math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)))


def test_spearman_of_a_perfect_order_still_has_a_wide_interval_and_a_constant_has_none():
    rho, low, high = stats.spearman_interval(range(7), range(7))
    assert rho == pytest.approx(1)
    assert high == pytest.approx(1)
    assert low < 0.95
    assert all(map(math.isnan, stats.spearman_interval(range(7), [1] * 7)))


def test_best_of_equal_independent_epochs_is_optimistic_by_the_expected_maximum():
    draws = generator(5).standard_normal((200_000, 10)).max(axis=1).mean()
    expected = math.sqrt(0.75 * 0.25 / 5000) * draws
    got = stats.best_of_epochs_optimism([0.75] * 10, 5000, correlation=0, rng=generator())
    assert got[0] == pytest.approx(expected, rel=0.02)


def test_optimism_vanishes_with_one_epoch_or_full_correlation_and_falls_between():
    def mean(epochs, correlation):
        accuracies = [0.75] * epochs
        return stats.best_of_epochs_optimism(accuracies, 5000, correlation=correlation, rng=generator())[0]

    assert mean(1, 0) == pytest.approx(0, abs=2e-4)
    assert mean(10, 1) == pytest.approx(0, abs=2e-4)
    assert mean(10, 0) > mean(10, 0.5) > mean(10, 0.9) > 0
