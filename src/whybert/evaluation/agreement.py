"""Agreement: do two methods, data sets or seeds score the same words highest?

Agreement is no proof of truth: two methods can agree and both be wrong.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from whybert.errors import InputError
from whybert.evaluation.metric import Metric, Subject, table
from whybert.evaluation.statistics import kendall, pearson, ranking, spearman
from whybert.explanation import Explanation


@dataclass(frozen=True, kw_only=True)
class AgreementMetric(Metric):
    """A metric that compares two explanations of one text over its words; symmetric.

    `higher_is_better` is only the direction in which two methods agree more.  All metrics are undefined for a
    text with one word.  Scores are compared as they are: a strong word against the class is at the bottom for
    a method whose scores have signs, and at the top for one whose scores are magnitudes.

    Source: Jain and Wallace, NAACL 2019; Krishna et al. 2022, "The Disagreement Problem".
    """

    group: Literal["agreement"] = "agreement"
    higher_is_better: bool = True

    def __call__(self, subject: Subject, first: Explanation, second: Explanation) -> float:
        """The agreement of two explanations, NaN where it is not defined.

        Raises:
            InputError: an explanation is of another text or has a NaN score; the error carries the index.
        """
        one, other = (subject.unit_scores(explanation, "word") for explanation in (first, second))
        return math.nan if len(one) < 2 else self.compare(subject, one, other)

    @abstractmethod
    def compare(self, subject: Subject, first: Sequence[float], second: Sequence[float]) -> float:
        """The value.  first, second: a score for each of the words, which are two or more."""


@dataclass(frozen=True, kw_only=True)
class RankAgreement(AgreementMetric):
    """The rank correlation of two scores of each word; undefined where one side scores all words alike."""

    correlation: Callable[[Sequence[float], Sequence[float]], float]

    def compare(self, subject: Subject, first: Sequence[float], second: Sequence[float]) -> float:
        return self.correlation(first, second)


@dataclass(frozen=True, kw_only=True)
class TopAgreement(AgreementMetric):
    """The share of the k highest scored words of one explanation that are also among those of the other.

    k: how many words, at most those of the text; so it is 1 for every text with no more than k words, and
        about k / n by chance in a text of n words.  Ties fall for both sides as the same seed has it.
    """

    k: int = 5

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"expected k to be at least 1, found {self.k}; it is a number of words")

    def compare(self, subject: Subject, first: Sequence[float], second: Sequence[float]) -> float:
        count = min(self.k, len(first))
        tops = [set(ranking(scores, subject.tie_seed)[:count]) for scores in (first, second)]
        return len(tops[0] & tops[1]) / count


_SOURCE: Final = "Jain and Wallace 2019; Krishna et al. 2022"

AGREEMENT: Final[Mapping[str, AgreementMetric]] = table(
    RankAgreement("agreement-kendall", "Kendall's tau-b of two methods' words", _SOURCE, correlation=kendall),
    RankAgreement(
        "agreement-spearman", "Spearman's rho of two methods' words", _SOURCE, correlation=spearman
    ),
    TopAgreement("agreement-top", "share of one method's top 5 words that are among the other's", _SOURCE),
)
"""The metrics by name."""


# Between data sets and seeds.


@dataclass(frozen=True, slots=True)
class WordScore:
    """The score of a word over many texts.

    Fields:
        mean: over its occurrences.
        count: how often it occurs.
    """

    mean: float
    count: int


Normalise = bool | Literal["signed"]


def word_scores(
    explanations: Iterable[Explanation],
    *,
    minimum_count: int = 2,
    minimum_words: int = 1,
    normalise: Normalise = True,
) -> dict[str, WordScore]:
    """The mean score of each word, upper and lower case as one, over all explanations; in sorted order.

    Wu and Ong normalise over the tokens of a text, here it is over its words, which do not depend on the
    tokenizer.  Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.

    Args:
        explanations: of the texts.
        minimum_count: words that occur less often are left out.
        minimum_words: texts with fewer words are left out.
        normalise: what becomes of the scores s of a text's words first, as texts differ in scale.  True makes
            them softmax(|s|), in the manner of Wu and Ong 2020; "signed" makes them s / sum |s|, which keeps
            the sign; False leaves them as they are.

    Raises:
        InputError: a score is not finite; the place of the explanation comes with it.
    """
    if minimum_count < 1 or minimum_words < 1:
        raise InputError(
            "expected minimum_count and minimum_words to be at least 1, found "
            f"{minimum_count} and {minimum_words}"
        )
    found = word_occurrences(explanations, minimum_words=minimum_words, normalise=normalise)
    return {
        word: WordScore(math.fsum(scores) / len(scores), len(scores))
        for word, scores in found.items()
        if len(scores) >= minimum_count
    }


def word_occurrences(
    explanations: Iterable[Explanation], *, minimum_words: int = 1, normalise: Normalise = True
) -> dict[str, list[float]]:
    """The score of each place where a word stands, by word as for `word_scores`; in sorted order.

    Raises:
        InputError: as for `word_scores`.
    """
    if normalise not in (True, False, "signed"):
        raise InputError(f"expected normalise to be True, False or 'signed', found {normalise!r}")
    found: dict[str, list[float]] = {}
    for index, explanation in enumerate(explanations):
        words = explanation.words()
        scores = [word.score for word in words]
        if not all(math.isfinite(score) for score in scores):
            raise InputError(
                f"expected finite scores, text {index} has others by {explanation.method!r}; leave it out",
                index,
            )
        if len(words) < minimum_words:
            continue
        for word, score in zip(words, _normalised(scores, normalise), strict=True):
            found.setdefault(word.text.casefold(), []).append(score)
    return dict(sorted(found.items()))


def _normalised(scores: Sequence[float], normalise: Normalise) -> list[float]:
    if not scores or not normalise:
        return list(scores)
    sizes = [abs(score) for score in scores]
    if normalise == "signed":
        total = math.fsum(sizes)
        return [score / total if total else 0.0 for score in scores]
    largest = max(sizes)  # without it, exp would overflow
    weights = [math.exp(size - largest) for size in sizes]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def word_correlation(first: Mapping[str, WordScore], second: Mapping[str, WordScore]) -> tuple[float, int]:
    """Pearson's r between the means of the words that both have, and how many these are.

    NaN for fewer than 3 words, and where one side has one mean only.  Source: Wu and Ong 2020.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 3:
        return math.nan, len(shared)
    return pearson([first[word].mean for word in shared], [second[word].mean for word in shared]), len(shared)
