"""How many texts, or words, a claim needs before a study can tell whether it holds.

A sample is large enough if a difference of the size that is claimed would be found with a probability of
`POWER` by a test at the level of the study's intervals.  Below that, not to find a difference says nothing,
and one that is found is exaggerated: Card et al. 2020, "With Little Power Comes Great Responsibility".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from whybert.evaluation.statistics import CONFIDENCE, scipy_stats

POWER: Final = 0.8
FEWEST: Final = 30
"""No smaller sample tells: percentile bootstrap intervals are too narrow there.

Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap".
"""
_SURE: Final = 0.8  # the confidence with which the spread is no larger


def texts_needed(differences: Sequence[float], effect: float) -> int | None:
    """How many pairs tell that a mean difference of `effect` is not 0; None if no number does.

    n = ((z(1 - alpha / 2) + z(power)) s / effect)^2, source: Cohen 1988, "Statistical Power Analysis for the
    Behavioral Sciences", chapter 2, for paired differences.  s is the upper 80 % confidence limit of their
    standard deviation, so that a small sample does not promise too much; source: Browne 1995, "On the use of
    a pilot sample for sample size determination".

    Args:
        differences: those that were found; NaN is left out.
        effect: the difference that is claimed.
    """
    known = np.asarray(differences, dtype=np.float64)
    known = known[~np.isnan(known)]
    if effect == 0:
        return None
    if len(known) < 2:
        return FEWEST
    freedom = len(known) - 1
    spread = known.std(ddof=1) * math.sqrt(freedom / scipy_stats().chi2.ppf(1 - _SURE, freedom))
    return max(FEWEST, math.ceil((_quantiles() * float(spread) / effect) ** 2))


def words_needed(first: float, second: float | None = None) -> int | None:
    """How many words tell that a correlation is not 0, or that two are not the same; None if no number does.

    n = ((z(1 - alpha / 2) + z(power)) / q)^2 + 3 with q = atanh(first), for two correlations twice the square
    with q = atanh(first) - atanh(second).  Source: Cohen 1988, chapters 3 and 4.  The two are taken as
    independent, which asks for more words than those over one vocabulary need.

    Args:
        first: the correlation that is claimed.
        second: the other one; None for 0.
    """
    q = math.atanh(first) - math.atanh(second or 0.0)
    if q == 0:
        return None
    return max(FEWEST, math.ceil((1 if second is None else 2) * (_quantiles() / q) ** 2 + 3))


def order_needed(pairs: Sequence[int | None], least: float) -> int | None:
    """How many tell so many pairs of an order apart that Kendall's tau can be told to be `least` or more.

    Args:
        pairs: how many each pair needs.
        least: the tau.
    """
    wanted = math.ceil((1 + least) / 2 * len(pairs) - 1e-9)  # pairs in the same order, of all
    listed = sorted(math.inf if each is None else each for each in pairs)
    needed = listed[wanted - 1]
    return None if math.isinf(needed) else int(needed)


def _quantiles() -> float:
    normal = scipy_stats().norm
    return float(normal.ppf((1 + CONFIDENCE) / 2) + normal.ppf(POWER))
