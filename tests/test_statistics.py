"""Rankings, correlations and intervals against their definitions, written out as loops."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from whybert.errors import InputError
from whybert.evaluation import statistics
from whybert.evaluation.statistics import (
    bootstrap,
    differs,
    has_ties,
    kendall,
    mean,
    pearson,
    ranking,
    spearman,
)

# Sums of a few dozen numbers of size 10 in float64: 1e-16 each, so far below 1e-12.
EXACT = 1e-12

# Ranking


def test_ranking_puts_the_highest_first() -> None:
    assert ranking([0.5, -2.0, 3.0, 1.0], seed=0) == (2, 3, 0, 1)
    assert ranking([0.5, -2.0, 3.0, 1.0], seed=0, ascending=True) == (1, 0, 3, 2)
    assert ranking([], seed=0) == ()
    assert ranking([math.inf, 0.0, -math.inf], seed=3) == (0, 1, 2)


@pytest.mark.parametrize("ascending", [False, True])
def test_ranking_is_sorted_and_complete_with_ties(ascending: bool) -> None:
    generator = np.random.default_rng(1)
    for seed in range(50):
        scores = generator.integers(-2, 3, size=9).tolist()
        order = ranking(scores, seed, ascending=ascending)
        assert sorted(order) == list(range(9))
        in_order = [scores[index] for index in order]
        assert in_order == sorted(scores, reverse=not ascending)
        assert all(type(index) is int for index in order)  # they become bits of Python integers


def test_the_seed_alone_draws_the_order_of_equal_scores() -> None:
    scores = [1.0] * 8
    assert ranking(scores, 5) == ranking(list(scores), 5)
    assert len({ranking(scores, seed) for seed in range(20)}) > 10


@pytest.mark.parametrize("ascending", [False, True])
def test_each_order_of_equal_scores_comes_equally_often(ascending: bool) -> None:
    # Three equal scores among two others have 3! = 6 orders.  Of 3000 seeds each gets 500 on average, with
    # a standard deviation of sqrt(3000 * 1/6 * 5/6) = 20.4; five of them are 102.
    scores = [7.0, 1.0, 7.0, 0.0, 7.0]
    orders = Counter(ranking(scores, seed, ascending=ascending) for seed in range(3000))
    ends = (3, 1) if ascending else (1, 3)
    expected = {
        (*ends, *first) if ascending else (*first, *ends) for first in itertools.permutations((0, 2, 4))
    }
    assert set(orders) == expected
    assert all(abs(count - 500) < 102 for count in orders.values())


@pytest.mark.parametrize("scores", [[math.nan], [1.0, 2.0, math.nan, 0.0, math.nan]])
def test_ranking_refuses_nan_and_says_where(scores: list[float]) -> None:
    place = next(index for index, score in enumerate(scores) if math.isnan(score))
    with pytest.raises(InputError, match=f"NaN at place {place};"):
        ranking(scores, 0)


def test_has_ties() -> None:
    assert not has_ties([])
    assert not has_ties([1.0, 2.0, -1.0])
    assert has_ties([1.0, 2.0, 1.0])
    assert has_ties([0.0, -0.0])


# Correlations


def slow_kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Tau-b: (concordant - discordant) / sqrt(pairs not tied on one side * on the other)."""
    concordant = discordant = untied_first = untied_second = 0
    for i, j in itertools.combinations(range(len(first)), 2):
        one = (first[i] > first[j]) - (first[i] < first[j])
        two = (second[i] > second[j]) - (second[i] < second[j])
        concordant += one * two > 0
        discordant += one * two < 0
        untied_first += one != 0
        untied_second += two != 0
    return (concordant - discordant) / math.sqrt(untied_first * untied_second)


def slow_pearson(first: Sequence[float], second: Sequence[float]) -> float:
    mean_first, mean_second = math.fsum(first) / len(first), math.fsum(second) / len(second)
    covariance = math.fsum((x - mean_first) * (y - mean_second) for x, y in zip(first, second, strict=True))
    spread_first = math.fsum((x - mean_first) ** 2 for x in first)
    spread_second = math.fsum((y - mean_second) ** 2 for y in second)
    return covariance / math.sqrt(spread_first * spread_second)


def slow_spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's r of the ranks, of which equal values have the mean."""

    def ranks(values: Sequence[float]) -> list[float]:
        # The places that a value's equals take are below + 1 ... below + equal.
        return [
            sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
            for value in values
        ]

    return slow_pearson(ranks(first), ranks(second))


Correlation = Callable[[Sequence[float], Sequence[float]], float]
CORRELATIONS: dict[Correlation, Correlation] = {
    kendall: slow_kendall,
    spearman: slow_spearman,
    pearson: slow_pearson,
}
correlations = pytest.mark.parametrize("correlation", CORRELATIONS, ids=lambda each: each.__name__)


@correlations
def test_correlations_are_what_their_definitions_say(correlation: Correlation) -> None:
    generator = np.random.default_rng(7)
    compared = with_ties = 0
    for size in (2, 3, 5, 12, 30):
        for _ in range(12):
            first = generator.integers(-3, 4, size=size).astype(float).tolist()  # many ties
            second = generator.normal(size=size).tolist()
            if generator.random() < 0.5:
                second = generator.integers(0, 3, size=size).astype(float).tolist()
            if len(set(first)) < 2 or len(set(second)) < 2:
                continue
            found = correlation(first, second)
            assert found == pytest.approx(CORRELATIONS[correlation](first, second), abs=EXACT)
            assert correlation(second, first) == pytest.approx(found, abs=EXACT)
            compared += 1
            with_ties += has_ties(first) and has_ties(second)
    assert compared > 40
    assert with_ties > 10


def test_correlations_by_hand() -> None:
    # Pairs of (1, 2, 3, 4) and (1, 3, 2, 2): + + + - - 0, so 3 concordant, 2 discordant, one tied in the
    # second: tau-b = 1 / sqrt(6 * 5).
    assert kendall([1, 2, 3, 4], [1, 3, 2, 2]) == pytest.approx(1 / math.sqrt(30), abs=EXACT)
    # Ranks (1, 2, 3, 4) and (1, 4, 2.5, 2.5), both with mean 2.5: sum of products
    # 1.5 * 1.5 - 0.5 * 1.5 = 1.5, squares 5 and 4.5.
    assert spearman([1, 2, 3, 4], [1, 3, 2, 2]) == pytest.approx(1.5 / math.sqrt(5 * 4.5), abs=EXACT)
    # Means 2 and 1: products (-1)(-1) + 0 + 1 * 2 = 3, squares 2 and 6: 3 / sqrt(12).
    assert pearson([1, 2, 3], [0, 0, 3]) == pytest.approx(math.sqrt(3) / 2, abs=EXACT)


@correlations
def test_correlations_of_a_constant_side_are_undefined(correlation: Correlation) -> None:
    assert math.isnan(correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    assert math.isnan(correlation([1.0, 2.0, 3.0], [0.0, -0.0, 0.0]))
    assert math.isnan(correlation([1.0], [2.0]))
    assert math.isnan(correlation([], []))


@correlations
def test_correlations_need_two_sides_of_one_length(correlation: Correlation) -> None:
    with pytest.raises(InputError, match="found 2 and 3"):
        correlation([1.0, 2.0], [1.0, 2.0, 3.0])


def test_rank_correlations_only_see_the_order() -> None:
    first, second = [0.1, 0.4, 0.2, 0.9], [3.0, 1.0, 2.0, 5.0]
    for correlation in (kendall, spearman):
        assert correlation([x**3 for x in first], second) == correlation(first, second)
        assert correlation([-x for x in first], second) == pytest.approx(-correlation(first, second))


# Intervals


def test_bootstrap_leaves_nan_out_and_counts_it() -> None:
    values = [math.nan, 1.0, 4.0, math.nan, 7.0]
    interval = bootstrap(values, seed=3)
    assert interval.mean == pytest.approx(4.0, abs=EXACT)  # (1 + 4 + 7) / 3
    assert (interval.size, interval.undefined) == (3, 2)
    assert interval == bootstrap([1.0, 4.0, 7.0], seed=3)._replace(undefined=2)
    assert 1.0 <= interval.low < 4.0 < interval.high <= 7.0


@pytest.mark.parametrize("values", [[], [math.nan], [math.nan] * 4])
def test_bootstrap_without_a_number_is_undefined(values: list[float]) -> None:
    interval = bootstrap(values)
    assert all(math.isnan(number) for number in interval[:3])
    assert (interval.size, interval.undefined) == (0, len(values))


def test_bootstrap_of_one_number_is_that_number() -> None:
    assert bootstrap([0.25]) == (0.25, 0.25, 0.25, 1, 0)
    assert bootstrap([0.25, math.nan]) == (0.25, 0.25, 0.25, 1, 1)


def test_bootstrap_is_the_middle_of_all_resamples() -> None:
    # Of all 4^4 = 256 resamples of (0, 0, 0, 1) the sum is binomial(4, 1/4): P(0) = 81/256 = 0.316,
    # P(at most 2) = 243/256 = 0.949, P(at most 3) = 255/256 = 0.996.  So the 2.5 % quantile of the mean is 0
    # and the 97.5 % quantile 3/4.  Of 2000 draws a share of 0.949 strays by sqrt(0.949 * 0.051 / 2000)
    # = 0.005, a fifth of what would move the upper end.
    exact = sorted(sum(draw) / 4 for draw in itertools.product((0, 0, 0, 1), repeat=4))
    assert (exact[round(0.025 * 256)], exact[round(0.975 * 256)]) == (0.0, 0.75)
    for seed in range(5):
        assert bootstrap([0.0, 0.0, 0.0, 1.0], seed) == (0.25, 0.0, 0.75, 4, 0)


def test_bootstrap_depends_on_its_seed_alone() -> None:
    values = np.random.default_rng(0).normal(size=20).tolist()
    assert bootstrap(values, 1) == bootstrap(values, 1)
    assert bootstrap(values, 1) != bootstrap(values, 2)
    assert bootstrap(values) == bootstrap(values, 0)


def test_bootstrap_covers_the_true_mean_in_95_of_100_cases() -> None:
    # The bootstrap's spread of the mean is s' / sqrt(n) with s' = s sqrt((n - 1) / n), so for normal numbers
    # it covers with P(|t(99)| < 1.96 sqrt(0.99) = 1.950) = 0.946 at n = 100.  In 1000 repetitions the share
    # strays by sqrt(0.946 * 0.054 / 1000) = 0.0071; four of them are 0.029.  An interval of 90 % or of 99 %
    # would be outside.
    generator = np.random.default_rng(11)
    covered = 0
    for repetition in range(1000):
        interval = bootstrap((3.0 + 2.0 * generator.normal(size=100)).tolist(), repetition)
        covered += interval.low <= 3.0 <= interval.high
    assert abs(covered / 1000 - 0.946) < 0.029


@pytest.mark.parametrize("size", [2, 7, 200, 700])
def test_bootstrap_is_what_its_definition_says(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size)
    drawn = np.random.default_rng(5).integers(0, size, (statistics.RESAMPLES, size))
    means = [math.fsum(values[row]) / size for row in drawn]
    low, high = np.quantile(means, [0.025, 0.975])
    interval = bootstrap(values.tolist(), 5)
    # The published intervals stand on these draws: they must not change with scipy or with the batches.
    assert interval[:3] == pytest.approx((values.mean(), low, high), abs=EXACT)


def test_the_mean_leaves_nan_out() -> None:
    assert mean([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(mean([math.nan]))
    assert math.isnan(mean([]))


def test_differs() -> None:
    better = [0.5, 0.7, 0.6, 0.9, 0.8, 0.6]
    worse = [0.4, 0.5, 0.5, 0.7, 0.7, 0.5]  # lower each time, so that no resample of differences reaches 0
    assert differs(better, worse)
    assert differs(worse, better)
    assert not differs(better, better)
    # Differences +1 and -1 alike: their mean is 0, and the interval lies around it.
    assert not differs([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0])


def test_differs_pairs_the_texts() -> None:
    # Texts differ a lot among each other, but on each one method is 0.1 ahead.
    texts = np.random.default_rng(0).normal(scale=10.0, size=12)
    assert differs((texts + 0.1).tolist(), texts.tolist())
    assert not differs((texts + 0.1).tolist(), texts[::-1].tolist())


def test_differs_ignores_pairs_with_nan() -> None:
    nan = math.nan
    assert differs([1.0, nan, 1.2, 0.0, 1.1], [0.0, 5.0, 0.0, nan, 0.0])
    assert not differs([nan, 1.0], [1.0, nan])
    assert not differs([], [])


def test_differs_finds_no_difference_where_there_is_none() -> None:
    # As above, about 1 - 0.946 = 0.054 false alarms; in 300 repetitions the share strays by
    # sqrt(0.054 * 0.946 / 300) = 0.013; four of them are 0.052.
    generator = np.random.default_rng(5)
    alarms = sum(
        differs(generator.normal(size=100).tolist(), generator.normal(size=100).tolist(), repetition)
        for repetition in range(300)
    )
    assert abs(alarms / 300 - 0.054) < 0.052
