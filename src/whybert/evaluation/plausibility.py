"""Plausibility: do the words that an explanation scores highest look right to people?

A plausible explanation need not be a true one: a model can decide rightly for reasons that no person has, and
then the true explanation is implausible.  Read these numbers beside those of faithfulness.

Each metric compares an explanation with an `Annotation`, over the human's units that the model saw (see
`unit_scores`), and asks no model.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from whybert.datasets.annotated import Annotation, Kind
from whybert.errors import InputError, require
from whybert.evaluation.faithfulness import share
from whybert.evaluation.metric import Metric, Score, Subject, check_explanation, table
from whybert.evaluation.statistics import ranking, spearman
from whybert.explanation import Explanation

UNDEFINED: Final = Score(math.nan)
OVERLAP: Final = 0.5
"""The intersection over union at which a run of units counts as found."""


@dataclass(frozen=True, kw_only=True)
class PlausibilityMetric(Metric):
    """A metric that compares an explanation with what people marked.

    kind: of the annotations that it is for.
    """

    group: Literal["plausibility"] = "plausibility"
    higher_is_better: bool = True
    kind: Kind

    def __call__(self, subject: Subject, explanation: Explanation, annotation: Annotation) -> Score:
        """The score of the explanation; NaN where the metric is not defined for the text.

        Raises:
            InputError: the explanation and the annotation are of other texts, a score is NaN, or the marks
                are not of the metric's kind; the error carries the subject's index.
        """
        check_explanation(subject, explanation)
        if self.kind == "rationale" and not annotation.is_rationale:
            raise InputError(
                f"expected marks of 0 or 1 for {self.name}, text {subject.index} has others; choose a metric "
                "for sentiment",
                subject.index,
            )
        scores, marks = unit_scores(explanation, annotation, subject.index)
        return Score(self.compare(subject, explanation, scores, marks))

    def of_length(self, share: float | None) -> PlausibilityMetric:
        """The metric for data whose annotators marked this share of the units; most metrics do not ask."""
        return self

    @abstractmethod
    def compare(
        self, subject: Subject, explanation: Explanation, scores: Sequence[float], marks: Sequence[float]
    ) -> float:
        """The value.  scores, marks: one for each of the human's units that the model saw, maybe none."""


def unit_scores(
    explanation: Explanation, annotation: Annotation, index: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Score and mark of each of the human's units that the model saw, two tuples of that many numbers.

    A unit's score is the sum, over the tokens of the explanation's text that are not special, of the token's
    score times the share of its characters that lie in the unit.  A token that stands for no character
    counts for the unit at which it stands.  Units without a token of their own, such as those that were cut
    off because the text was too long, are left out.

    Args:
        explanation: of the text.
        annotation: of the same text.
        index: the text's, which the error names and carries.

    Raises:
        InputError: the explanation is of another text.
    """
    if explanation.text != annotation.text:
        name = "the text" if index is None else f"text {index}"
        raise InputError(
            f"expected an explanation of {name} that was annotated ({annotation.text[:40]!r}), found one of "
            f"{explanation.text[:40]!r}; give explanations in the order of the annotations",
            index,
        )
    spans = annotation.spans
    starts = [start for start, _ in spans]
    scores, seen = [0.0] * len(spans), [False] * len(spans)
    for token in explanation.tokens:
        if token.special or token.sequence != 0:
            continue
        unit = max(0, bisect_right(starts, token.start) - 1)
        if token.start == token.end:
            if spans[unit][0] <= token.start < spans[unit][1]:
                scores[unit] += token.score
            continue
        while unit < len(spans) and spans[unit][0] < token.end:
            inside = min(token.end, spans[unit][1]) - max(token.start, spans[unit][0])
            if inside > 0:
                scores[unit] += token.score * (inside / (token.end - token.start))
                seen[unit] = True
            unit += 1
    found = [unit for unit in range(len(spans)) if seen[unit]]
    return tuple(scores[unit] for unit in found), tuple(annotation.marks[unit] for unit in found)


@dataclass(frozen=True, kw_only=True)
class _Chosen(PlausibilityMetric):
    """What the metrics share that choose the k highest scored of n units; ties fall as the seed has it.

    length: k as a share of n, k = round(length n), halves up and at least 1.  ERASER's k is the mean length
        of the rationales of the data set: give `AnnotatedTexts.rationale_share`.  None takes as many as the
        human marked in this very text, which is easier: it tells the explanation what only the human knows.

    Undefined where none of the units that the model saw is marked.
    """

    kind: Kind = "rationale"
    length: float | None = None

    def __post_init__(self) -> None:
        if self.length is not None and not 0 < self.length <= 1:
            raise InputError(
                f"expected a length above 0 and up to 1, found {self.length}; it is a share of the units"
            )

    def of_length(self, share: float | None) -> PlausibilityMetric:
        return self if self.length is not None or not share else replace(self, length=share)

    def compare(
        self, subject: Subject, explanation: Explanation, scores: Sequence[float], marks: Sequence[float]
    ) -> float:
        marked = {unit for unit, mark in enumerate(marks) if mark}
        if not marked:
            return math.nan
        count = len(marked) if self.length is None else share(self.length, len(scores))
        return self.compare_sets(set(ranking(scores, subject.tie_seed)[:count]), marked)

    @abstractmethod
    def compare_sets(self, chosen: set[int], marked: set[int]) -> float:
        """The value.  Neither set of units is empty."""


@dataclass(frozen=True, kw_only=True)
class TokenF1(_Chosen):
    """F1 of the chosen units C against the marked ones M: 2 |C & M| / (|C| + |M|).

    With `length=None` the sets are of one size, and precision, recall and F1 are one number.  Source: DeYoung
    et al., "ERASER", ACL 2020, section 4.1; the mean over texts is its macro average.
    """

    def compare_sets(self, chosen: set[int], marked: set[int]) -> float:
        return 2 * len(chosen & marked) / (len(chosen) + len(marked))


@dataclass(frozen=True, kw_only=True)
class OverlapF1(_Chosen):
    """F1 of runs: units in a row that are chosen, against units in a row that are marked.

    A chosen run is a hit if its intersection over union with one of the marked runs is at least 0.5.
    Precision is hits over chosen runs, recall is hits over marked runs, and F1 is 2 P R / (P + R), 0 where
    there is no hit.  As runs of one side do not touch, a run is hit by one run at most.

    Here a text has its own F1, and the mean is over texts.  ERASER's table has the F1 of the mean precision
    and the mean recall, and takes two of the human's spans that touch or overlap as two where here they are
    one run.  Source: DeYoung et al., "ERASER", ACL 2020, section 4.1; its code, `partial_match_score`.
    """

    def compare_sets(self, chosen: set[int], marked: set[int]) -> float:
        found, wanted = _runs(chosen), _runs(marked)
        hits = sum(any(_overlap(run, other) >= OVERLAP for other in wanted) for run in found)
        return 2 * hits / (len(found) + len(wanted))  # = 2 P R / (P + R)


def _runs(units: set[int]) -> list[range]:
    """The units as runs of neighbours, in order."""
    starts = sorted(unit for unit in units if unit - 1 not in units)
    ends = sorted(unit + 1 for unit in units if unit + 1 not in units)
    return [range(start, end) for start, end in zip(starts, ends, strict=True)]


def _overlap(first: range, second: range) -> float:
    """Intersection over union."""
    common = max(0, min(first.stop, second.stop) - max(first.start, second.start))
    return common / (len(first) + len(second) - common)


@dataclass(frozen=True, kw_only=True)
class PrecisionRecallArea(PlausibilityMetric):
    """The area under precision over recall as the threshold of the scores falls, by trapezoids.

    Undefined where no unit or every unit is marked.  As in ERASER, units of equal scores pass the threshold
    together and the curve between two thresholds is a straight line, which favours scores with many ties: an
    explanation that scores all units alike has (1 + share of marked units) / 2.  Source: DeYoung et al.,
    "ERASER", ACL 2020, section 4.1; its code, `score_soft_tokens`.
    """

    kind: Kind = "rationale"

    def compare(
        self, subject: Subject, explanation: Explanation, scores: Sequence[float], marks: Sequence[float]
    ) -> float:
        if not 0 < sum(marks) < len(marks):
            return math.nan
        metrics = _sklearn_metrics()
        precision, recall, _ = metrics.precision_recall_curve([mark > 0 for mark in marks], _ranks(scores))
        return float(metrics.auc(recall, precision))


@dataclass(frozen=True, kw_only=True)
class _Sided(PlausibilityMetric):
    """What the metrics share that look for words that lean to the side of the explained class.

    The side is 1 for a class whose name contains "positive" and -1 for "negative"; for any other name, and
    for one with both, the metrics are undefined.
    """

    kind: Kind = "sentiment"

    def compare(
        self, subject: Subject, explanation: Explanation, scores: Sequence[float], marks: Sequence[float]
    ) -> float:
        side = side_of(explanation.target.label)
        leanings = [side * mark for mark in marks]
        return self.compare_leanings(explanation, scores, leanings) if side else math.nan

    @abstractmethod
    def compare_leanings(
        self, explanation: Explanation, scores: Sequence[float], leanings: Sequence[float]
    ) -> float:
        """The value.  leanings: how far each word speaks for the explained class, -2 to 2."""


def side_of(label: str) -> int:
    """1 for a label that names the positive side, -1 for the negative one, 0 for others."""
    name = label.casefold()
    return ("positive" in name) - ("negative" in name)


@dataclass(frozen=True, kw_only=True)
class SentimentPrecision(_Sided):
    """Average precision of the scores at finding the words that lean to the side of the explained class.

    The sum, over the distinct scores from the highest down, of the gain in recall times the precision; words
    of equal scores are found together.  Scores without a sign are taken as they are: they can find words that
    matter, but do not tell the sides apart.  Undefined where no word or every word leans to that side.
    Source: the labels are those of Socher et al., EMNLP 2013; average precision as in scikit-learn.
    """

    def compare_leanings(
        self, explanation: Explanation, scores: Sequence[float], leanings: Sequence[float]
    ) -> float:
        leans = [leaning > 0 for leaning in leanings]
        if not 0 < sum(leans) < len(leans):
            return math.nan
        return float(_sklearn_metrics().average_precision_score(leans, _ranks(scores)))


@dataclass(frozen=True, kw_only=True)
class SentimentCorrelation(_Sided):
    """Spearman's rho between the scores and how far each word leans to the side of the explained class.

    Undefined for methods whose scores are magnitudes, which have no side, and where all scores or all words
    are alike.  Source: the labels are those of Socher et al., EMNLP 2013.
    """

    def compare_leanings(
        self, explanation: Explanation, scores: Sequence[float], leanings: Sequence[float]
    ) -> float:
        return spearman(scores, leanings) if explanation.signed else math.nan


def _ranks(scores: Sequence[float]) -> Any:
    """(n,) 0 for the lowest score, one more for each distinct one: scikit-learn takes no infinite scores."""
    return np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)[1]


def _sklearn_metrics() -> Any:
    return require("sklearn.metrics", "precision and recall", "evaluate")


_ERASER: Final = "DeYoung et al. 2020 (ERASER)"
_SST: Final = "Socher et al. 2013 (word labels)"

PLAUSIBILITY: Final[Mapping[str, PlausibilityMetric]] = table(
    TokenF1("token-f1", "F1 of the highest scored words against the words that people marked", _ERASER),
    OverlapF1(
        "iou-f1", "F1 of runs of the highest scored words; a run is found at an overlap of one half", _ERASER
    ),
    PrecisionRecallArea(
        "auprc", "area under precision over recall at finding the words that people marked", _ERASER
    ),
    SentimentPrecision(
        "sentiment-ap", "average precision at finding the words that lean to the explained class", _SST
    ),
    SentimentCorrelation(
        "sentiment-spearman",
        "Spearman's rho of the scores and how far the words lean to the explained class",
        _SST,
    ),
)
"""The metrics by name."""
