"""Rankings, rank correlations and intervals: what several metrics share.  Nothing here knows a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whybert.errors import InputError, require

Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95


def scipy_stats() -> Any:
    return require("scipy.stats", "a correlation or interval", "evaluate")


def ranking(scores: Sequence[float], seed: int, *, ascending: bool = False) -> tuple[int, ...]:
    """Indices of `scores`, the highest first; equal scores come in an order that `seed` draws.

    A fixed rule, such as the order in the text, would favour methods that give many equal scores wherever
    the important words tend to stand at one end.

    Raises:
        InputError: a score is NaN.
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        place = int(np.isnan(values).nonzero()[0][0])
        raise InputError(f"expected scores that are numbers, found NaN at place {place}; leave this text out")
    tie_break = np.random.default_rng(seed).permutation(len(values))
    order = np.lexsort((tie_break, values if ascending else -values))
    return tuple(int(index) for index in order)


def has_ties(scores: Sequence[float]) -> bool:
    """Whether two of the scores are equal, so that the seed decides about their order."""
    return len(set(scores)) < len(scores)


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b; NaN where one side has fewer than two different values."""
    if not _both_vary(first, second):
        return math.nan
    return float(scipy_stats().kendalltau(first, second).statistic)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rho, ties with their mean rank; NaN where one side has fewer than two different values."""
    if not _both_vary(first, second):
        return math.nan
    return float(scipy_stats().spearmanr(first, second).statistic)


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's r; NaN where one side has fewer than two different values."""
    if not _both_vary(first, second):
        return math.nan
    return float(np.corrcoef(np.asarray(first, float), np.asarray(second, float))[0, 1])


def _both_vary(first: Sequence[float], second: Sequence[float]) -> bool:
    _check_lengths(first, second)
    return len(set(first)) > 1 and len(set(second)) > 1


def _check_lengths(first: Sequence[float], second: Sequence[float]) -> None:
    if len(first) != len(second):
        raise InputError(f"expected as many numbers on both sides, found {len(first)} and {len(second)}")


class Interval(NamedTuple):
    """A mean with its percentile bootstrap interval.

    size: how many values are numbers.  undefined: how many are NaN and were left out.
    """

    mean: float
    low: float
    high: float
    size: int
    undefined: int


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean of `values`, and the interval that holds 95 % of the means of 2000 resamples with replacement.

    NaN stands for an undefined value and is left out.  Source: Efron and Tibshirani 1993, chapter 13.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    given = np.asarray(values, dtype=np.float64)
    known = given[~np.isnan(given)]
    size = len(known)
    middle = float(known.mean()) if size else math.nan
    low = high = middle  # one value has no spread, and scipy refuses it
    if size > 1:
        low, high = (
            scipy_stats()
            .bootstrap(
                (known,),
                np.mean,
                n_resamples=RESAMPLES,
                batch=min(
                    500, max(1, 2**18 // size)
                ),  # memory does not grow with the texts, and caches serve
                vectorized=True,
                confidence_level=CONFIDENCE,
                method="percentile",
                rng=np.random.default_rng(seed),
            )
            .confidence_interval
        )
    return Interval(middle, float(low), float(high), size, len(given) - size)


def mean(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def differs(first: Sequence[float], second: Sequence[float], seed: int = 0) -> bool:
    """Whether the interval of the mean difference of pairs leaves 0 out; pairs with a NaN are ignored."""
    _check_lengths(first, second)
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    interval = bootstrap(difference.tolist(), seed)
    return interval.size > 0 and not interval.low <= 0.0 <= interval.high
