"""Faithfulness: does the model decide otherwise without the words that an explanation calls important?

Each metric is a walk: it asks for what the model says without certain units (words or tokens) of a text
and makes a number of the answers.  x is the text, p(x) the probability of the explained class, n the number
of units, and x without the k units of the highest scores is written x - k.  Special tokens always stay.
A regression has no probabilities: its number takes their place, so drops are in its units.
A share q of the units is round(q n) of them, halves up, and at least one where q > 0.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from whybert.classifier import BATCH_SIZE
from whybert.errors import InputError
from whybert.evaluation.metric import Metric, Score, Subject, table
from whybert.evaluation.statistics import Floats, kendall, ranking
from whybert.evaluation.walks import Job, Outcomes, Walk, run
from whybert.explanation import Explanation, Level

if TYPE_CHECKING:
    from whybert.classifier import Classifier

Output = Literal["probability", "logit", "kept"]
Order = Literal["morf", "lerf", "abpc"]
UNDEFINED: Final = Score(math.nan)

WORD_COUNTS: Final = tuple(range(1, 11))
ERASER_BINS: Final = (0.01, 0.05, 0.1, 0.2, 0.5)
DECILES: Final = tuple(step / 10 for step in range(1, 11))
CURVE: Final = tuple(step / 10 for step in range(11))


@dataclass(frozen=True, kw_only=True)
class FaithfulnessMetric(Metric):
    """A metric that takes units away and asks the model again.

    level: what a unit is.  perturbation: how it is taken away, a name of `PERTURBATIONS`.
    """

    group: Literal["faithfulness"] = "faithfulness"
    level: Level = "word"
    perturbation: str = "delete"

    def job(self, subject: Subject, explanation: Explanation) -> Job:
        """The walk that judges `explanation`, to be run with others by `whybert.evaluation.walks.run`.

        Raises:
            InputError: the explanation is not of the subject's text, or a score is NaN.
        """
        scores = subject.unit_scores(explanation, self.level)
        return Job(subject, self.level, self.perturbation, self._walk_or_none(subject, scores))

    def _walk_or_none(self, subject: Subject, scores: Sequence[float]) -> Walk:
        if not self.applies(subject):
            return UNDEFINED
        return (yield from self.walk(subject, scores))

    def applies(self, subject: Subject) -> bool:
        """Whether the metric is defined for the text."""
        return bool(subject.units(self.level))

    @abstractmethod
    def walk(self, subject: Subject, scores: Sequence[float]) -> Walk:
        """Ask for removals, bits of an integer each, and return the score.  scores: one for each unit."""

    def __call__(
        self,
        classifier: Classifier,
        subjects: Sequence[Subject],
        explanations: Sequence[Explanation],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[Score]:
        """The score of each explanation, in order; all of them are answered together.

        Args:
            classifier: what is explained.
            subjects: of the same texts, see `whybert.evaluation.subjects`.
            explanations: one of each subject.
            batch_size: how many texts of 64 tokens a batch is as large as.

        Raises:
            InputError: an explanation does not belong to its subject.
            NonFiniteError: the model answers what is no number.
        """
        if len(subjects) != len(explanations):
            raise InputError(
                f"expected an explanation of each of the {len(subjects)} texts, found {len(explanations)}"
            )
        jobs = [self.job(*pair) for pair in zip(subjects, explanations, strict=True)]
        return run(classifier, jobs, batch_size=batch_size)

    def output(self, subject: Subject, outcomes: Outcomes, of: Output = "probability") -> Floats:
        """(removals,) the number that the metric watches."""
        if of == "kept":
            return outcomes.kept(subject.prediction)
        return (outcomes.probabilities if of == "probability" else outcomes.logits)[:, subject.target]


def share(q: float, n: int) -> int:
    """The number of units that are a share q of n: rounded, halves up, at least 1 where q and n are not 0."""
    return min(n, max(1, math.floor(q * n + 0.5 + 1e-9))) if q > 0 else 0


def union(units: Sequence[int]) -> int:
    """Units as the bits of an integer."""
    return reduce(or_, (1 << unit for unit in units), 0)


@dataclass(frozen=True, kw_only=True)
class Deletion(FaithfulnessMetric):
    """Accuracy or probability after the k highest scored units are taken away, mean over k = 1 to 10.

    of: "kept" is 1 where the predicted class stays what it was: on texts that the model decides rightly,
        their mean is the accuracy.  "probability" is p(x - k).
    least: how many units a text must have.  Where it has fewer than k, all of them are taken away.
    only_correct: leave texts out whose label the model does not predict, or whose label is not known.

    The lower the better.  Source: Wu and Ong 2020 (arXiv 2101.00196): tokens get the id 0, their attention
    mask stays 1, texts of at least 10 tokens that the model decides rightly.  The code released with it
    explains the last class whatever the model predicts and can take [SEP] away; here it is the predicted
    class, and special tokens stay.
    """

    higher_is_better: bool = False
    of: Output = "kept"
    counts: tuple[int, ...] = WORD_COUNTS
    least: int = 1
    only_correct: bool = False

    @property
    def grid(self) -> tuple[float, ...]:
        return tuple(float(count) for count in self.counts)

    @property
    def curve_of(self) -> str:
        if self.of == "kept":
            return "accuracy" if self.only_correct else "predictions that stay"
        return self.of

    def applies(self, subject: Subject) -> bool:
        if self.of == "kept" and not subject.probabilities:
            return False  # the number of a regression is no class that could stay
        if self.only_correct and (subject.label is None or subject.label != subject.prediction):
            return False
        return len(subject.units(self.level)) >= self.least

    def walk(self, subject: Subject, scores: Sequence[float]) -> Walk:
        order = ranking(scores, subject.tie_seed)
        outcomes = yield [union(order[:count]) for count in self.counts]
        values = self.output(subject, outcomes, self.of)
        return Score(float(values.mean()), tuple(values.tolist()))


@dataclass(frozen=True, kw_only=True)
class Comprehensiveness(FaithfulnessMetric):
    """Mean over the shares q of p(x) - p(x without its highest scored q n words).  The higher the better.

    Source: DeYoung et al., "ERASER", ACL 2020, section 4.2: shares of 1, 5, 10, 20 and 50 %.
    """

    higher_is_better: bool = True
    shares: tuple[float, ...] = ERASER_BINS

    def taken(self, order: Sequence[int], count: int) -> Sequence[int]:
        """What goes, of units in the order of their scores, where `count` of them are a share."""
        return order[:count]

    def walk(self, subject: Subject, scores: Sequence[float]) -> Walk:
        order = ranking(scores, subject.tie_seed)
        outcomes = yield [union(self.taken(order, share(q, len(order)))) for q in self.shares]
        drop = subject.answers[subject.target] - self.output(subject, outcomes)
        return Score(float(drop.mean()))


@dataclass(frozen=True, kw_only=True)
class Sufficiency(Comprehensiveness):
    """Mean over the shares q of p(x) - p(only the highest scored q n words).  The lower the better.

    Source: DeYoung et al., "ERASER", ACL 2020, section 4.2: shares of 1, 5, 10, 20 and 50 %.
    """

    higher_is_better: bool = False

    def taken(self, order: Sequence[int], count: int) -> Sequence[int]:
        return order[count:]


@dataclass(frozen=True, kw_only=True)
class PerturbationCurve(FaithfulnessMetric):
    """The area under the curve of an output over the share of units that are taken away, 0 to 100 %.

    order: "morf" takes the most relevant first (the lower the better), "lerf" the least relevant first (the
        higher the better), "abpc" is the area between the two, LeRF - MoRF (the higher the better).
    of: "probability" of the explained class, or its "logit".

    Eleven points, trapezoids.  Source: Samek et al. 2017 (MoRF, LeRF); Bluecher et al. 2024 (area between).
    """

    of: Output = "probability"
    order: Order

    @property
    def grid(self) -> tuple[float, ...]:
        return CURVE

    @property
    def curve_of(self) -> str:
        return f"{self.of} (LeRF - MoRF)" if self.order == "abpc" else self.of

    def walk(self, subject: Subject, scores: Sequence[float]) -> Walk:
        order = ranking(scores, subject.tie_seed)
        counts = [share(q, len(order)) for q in CURVE]
        most = [union(order[:count]) for count in counts]
        least = [union(order[len(order) - count :]) for count in counts]
        asked = {"morf": most, "lerf": least, "abpc": [*least, *most]}[self.order]
        values = self.output(subject, (yield asked), self.of)
        if self.order == "abpc":
            values = values[: len(counts)] - values[len(counts) :]
        return Score(float(np.trapezoid(values, CURVE)), tuple(values.tolist()))


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(FaithfulnessMetric):
    """Kendall's tau-b between the scores and the drops p(x) - p(x without the one unit).  Higher is better.

    Undefined where all scores or all drops are equal.  Source: Jain and Wallace, NAACL 2019; Attanasio et
    al., "ferret", EACL 2023.
    """

    higher_is_better: bool = True

    def applies(self, subject: Subject) -> bool:
        return len(subject.units(self.level)) > 1

    def walk(self, subject: Subject, scores: Sequence[float]) -> Walk:
        outcomes = yield [1 << unit for unit in range(len(scores))]
        drops = subject.answers[subject.target] - self.output(subject, outcomes)
        return Score(kendall(scores, drops.tolist()))


@dataclass(frozen=True, kw_only=True)
class NormalisedAOPC(FaithfulnessMetric):
    """(AOPC - lower) / (upper - lower), where the limits are those of all orders in which units can go.

    AOPC is the mean over k = 1 to n of p(x) - p(x - k).  The limits are exact for texts of up to `exact`
    units, by dynamic programming over all 2^n removals; above, a beam search of `beam` removals a step finds
    limits from inside, so that a value may leave [0, 1] a little.  The higher the better.  Unlike AOPC itself
    it can be compared between models.  Texts with more than `most` units are left out: the search asks for
    about `beam` n^2 removals.  Source: Edin et al., "Normalized AOPC", ACL 2025 (arXiv 2408.08137).
    """

    higher_is_better: bool = True
    exact: int = 12
    beam: int = 5
    most: int = 24

    def applies(self, subject: Subject) -> bool:
        return 0 < len(subject.units(self.level)) <= self.most

    def walk(self, subject: Subject, scores: Sequence[float]) -> Walk:
        order = ranking(scores, subject.tie_seed)
        lower, upper = yield from self.limits(subject)
        outcomes = yield [union(order[:count]) for count in range(1, len(order) + 1)]
        aopc = float((subject.answers[subject.target] - self.output(subject, outcomes)).mean())
        # No order matters: the text has one unit, or the model does not read it.  Rounding in float32 is
        # about 1e-7.
        if upper - lower < 1e-6:
            return UNDEFINED
        return Score((aopc - lower) / (upper - lower))

    def limits(self, subject: Subject) -> Generator[Sequence[int], Outcomes, tuple[float, float]]:
        """The lowest and the highest AOPC of any order; a part of a walk."""
        n = len(subject.units(self.level))
        probability = subject.answers[subject.target]
        if n > self.exact:
            return (yield from self._search(subject, n, probability))
        outcomes = yield list(range(1, 1 << n))
        drops = np.concatenate([[0.0], probability - self.output(subject, outcomes)])
        return _best_order(drops, n, np.minimum) / n, _best_order(drops, n, np.maximum) / n

    def _search(
        self, subject: Subject, n: int, probability: float
    ) -> Generator[Sequence[int], Outcomes, tuple[float, float]]:
        beams: list[dict[int, float]] = [{0: 0.0}, {0: 0.0}]  # removals with the sum of drops up to them
        signs = (-1.0, 1.0)  # of what the lower and the upper limit look for
        for _ in range(n):
            grown = [_grown(beam, n) for beam in beams]
            asked = sorted({removal for candidates in grown for removal in candidates})
            values = self.output(subject, (yield asked))
            drop = dict(zip(asked, (probability - values).tolist(), strict=True))
            for side, sign in enumerate(signs):
                sums = {removal: total + drop[removal] for removal, total in grown[side].items()}
                kept = sorted(sums, key=lambda removal, s=sums, g=sign: (-g * s[removal], removal))  # type: ignore[misc]
                beams[side] = {removal: sums[removal] for removal in kept[: self.beam]}
        return min(beams[0].values()) / n, max(beams[1].values()) / n


def _grown(beam: dict[int, float], n: int) -> dict[int, float]:
    """The removals of one unit more, each with the best sum that leads to it: beams are stored best first."""
    grown: dict[int, float] = {}
    for removal, total in beam.items():
        for unit in range(n):
            if not removal >> unit & 1:
                grown.setdefault(removal | 1 << unit, total)
    return grown


def _best_order(drops: Floats, n: int, better: Callable[..., Floats]) -> float:
    """The least or greatest sum of drops along any order in which the n units can go.

    drops: (2^n,) by removal.  best[S] = drops[S] + better over the units u of S of best[S without u].
    """
    removals = np.arange(1 << n)
    sizes = np.bitwise_count(removals)
    best = np.zeros(1 << n)
    worst = np.inf if better is np.minimum else -np.inf
    for size in range(1, n + 1):
        layer = removals[sizes == size]
        before = np.full(len(layer), worst)
        for unit in range(n):
            has = (layer >> unit & 1).astype(bool)
            before[has] = better(before[has], best[layer[has] ^ (1 << unit)])
        best[layer] = drops[layer] + before
    return float(best[-1])


_WU_AND_ONG: Final = "Wu and Ong 2020"


def _deletions(perturbation: str, how: str) -> Iterator[Deletion]:
    said: tuple[tuple[str, Output, str], ...] = (
        ("", "kept", "share of predictions that stay"),
        ("-probability", "probability", "probability of the explained class"),
    )
    for suffix, of, what in said:
        yield Deletion(
            f"deletion-{perturbation}{suffix}",
            f"{what} when the top 1 to 10 words are {how}",
            _WU_AND_ONG,
            perturbation=perturbation,
            of=of,
        )


def _eraser(suffix: str, shares: tuple[float, ...], which: str) -> Iterator[FaithfulnessMetric]:
    for kind, how in ((Comprehensiveness, "without"), (Sufficiency, "with only")):
        yield kind(
            f"{kind.__name__.lower()}{suffix}",
            f"drop of the probability {how} the top {which} % of the words",
            "DeYoung et al. 2020 (ERASER)",
            shares=shares,
        )


def _curves(of: Output, suffix: str = "") -> Iterator[PerturbationCurve]:
    said: tuple[tuple[Order, str], ...] = (
        ("morf", f"area under the {of}, most relevant words left out first"),
        ("lerf", f"area under the {of}, least relevant words left out first"),
        ("abpc", f"area between the two curves of the {of}: LeRF - MoRF"),
    )
    for order, summary in said:
        yield PerturbationCurve(
            f"{order}{suffix}",
            summary,
            "Samek et al. 2017; Bluecher et al. 2024",
            higher_is_better=order != "morf",
            order=order,
            of=of,
        )


FAITHFULNESS: Final[Mapping[str, FaithfulnessMetric]] = table(
    Deletion(
        "deletion-paper",
        "accuracy after the top 1 to 10 tokens get the id 0 (10 tokens or more, right)",
        _WU_AND_ONG,
        level="token",
        perturbation="zero",
        least=10,
        only_correct=True,
    ),
    *_deletions("mask", "masked"),
    *_deletions("delete", "left out"),
    *_deletions("pad", "padded, attention mask 0"),
    *_eraser("", ERASER_BINS, "1, 5, 10, 20, 50"),
    *_eraser("-deciles", DECILES, "10, 20 ... 100"),
    Comprehensiveness(
        "aopc",
        "drop of the probability with the top 10, 20 ... 90 % of the tokens masked",
        "Modarressi et al. 2023 (DecompX)",
        level="token",
        perturbation="mask",
        shares=DECILES[:9],
    ),
    *_curves("probability"),
    *_curves("logit", "-logit"),
    NormalisedAOPC(
        "naopc",
        "AOPC between the lowest (0) and the highest (1) that any order of the words reaches",
        "Edin et al. 2025",
        texts=25,
    ),
    LeaveOneOut(
        "loo-kendall",
        "Kendall's tau with the drops of the probability when one word is left out",
        "Jain and Wallace 2019; Attanasio et al. 2023",
    ),
)
