"""What a metric is, and the text that it judges explanations of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from whybert.encoding import EncodedText, Text
from whybert.errors import PLACE, InputError
from whybert.explanation import Explanation, Level
from whybert.methods import Method, create_all
from whybert.methods.control import seed_of_text
from whybert.sentences import words_of_sentences
from whybert.words import tokens_of_words

if TYPE_CHECKING:
    from whybert.classifier import Classifier

Group = Literal["faithfulness", "plausibility", "sanity", "agreement", "cost"]
GROUPS: Final[tuple[Group, ...]] = ("faithfulness", "plausibility", "sanity", "agreement", "cost")


@dataclass(frozen=True)
class Metric(ABC):
    """A number that judges explanations; each is a callable, see its kind.

    Fields:
        name: as the command line spells it.
        summary: one line for people.
        source: the paper.
        higher_is_better: False where the lowest number wins.
        group: the kind of question it answers.
        texts: how many texts it is computed on at most, the first ones of the sample; None for all.
    """

    name: str
    summary: str
    source: str
    _: KW_ONLY
    higher_is_better: bool
    group: Group
    texts: int | None = None

    @property
    def grid(self) -> tuple[float, ...]:
        """Where the values of a score's `curve` lie, such as shares of words; empty for 1, 2, 3 ..."""
        return ()

    @property
    def curve_of(self) -> str:
        """What the curve shows, for the axis of a plot; empty for a metric without one."""
        return ""


_Kind = TypeVar("_Kind", bound=Metric)


def table(*metrics: _Kind) -> MappingProxyType[str, _Kind]:
    """The metrics by name."""
    return MappingProxyType({metric.name: metric for metric in metrics})


@dataclass(frozen=True, slots=True)
class Score:
    """What a metric says about one explanation.

    Fields:
        value: NaN where the metric is not defined for the text.
        curve: the values at the metric's `grid`, for metrics that walk along one; else empty.
    """

    value: float
    curve: tuple[float, ...] = ()


@dataclass(frozen=True)
class Subject:
    """A text whose explanations are judged: as the model reads it, and what the model makes of it.

    Fields:
        index: the row of the data; errors name it.
        row: the text as tokens, unpadded.
        logits, probabilities: the model's own, one for each label; a regression has no probabilities.
        target: the class whose explanation is judged.
        label: the true class, None where it is not known.
        seed: of the run; ties between scores are broken by it and the text.
    """

    index: int
    row: EncodedText
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    target: int
    label: int | None = None
    seed: int = 0
    _units: dict[str, tuple[tuple[int, ...], ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def text(self) -> Text:
        """The text, or the pair of texts, as `explain` takes it."""
        return self.row.text if self.row.pair is None else (self.row.text, self.row.pair)

    @property
    def answers(self) -> tuple[float, ...]:
        """What the model says of each label: the probabilities, or the numbers of a regression."""
        return self.probabilities or self.logits

    @cached_property
    def prediction(self) -> int:
        """The class with the highest logit."""
        return max(range(len(self.logits)), key=self.logits.__getitem__)

    @cached_property
    def tie_seed(self) -> int:
        """The seed that breaks ties in this text; the same for each method, and in each run with one seed."""
        return seed_of_text(self.seed, self.row.text, self.row.pair)

    def units(self, level: Level) -> tuple[tuple[int, ...], ...]:
        """The tokens of each word or sentence, or each token by itself; special tokens are in none."""
        if level not in self._units:
            self._units[level] = _units(self.row, level)
        return self._units[level]

    def unit_scores(self, explanation: Explanation, level: Level) -> tuple[float, ...]:
        """The score of each unit: the sum over its tokens.

        Raises:
            InputError: the explanation is of another text or other tokens, or a score is not finite.
        """
        check_explanation(self, explanation)
        scores = explanation.scores
        return tuple(sum(scores[token] for token in unit) for unit in self.units(level))


def _units(row: EncodedText, level: Level) -> tuple[tuple[int, ...], ...]:
    if level == "token":
        return tuple((token,) for token, special in enumerate(row.special) if not special)
    words = tokens_of_words(row.word_ids, row.special)
    if level == "word":
        return tuple(words.values())
    texts = (row.text,) if row.pair is None else (row.text, row.pair)
    listed = list(words)
    groups = words_of_sentences(texts, [row.word_spans[word] for word in listed])
    return tuple(tuple(token for each in group for token in words[listed[each]]) for group in groups)


def check_explanation(subject: Subject, explanation: Explanation) -> None:
    """Raise InputError unless the explanation is of the subject's text and tokens, its scores finite."""
    if (explanation.text, explanation.pair) != (subject.row.text, subject.row.pair):
        raise InputError(
            f"expected an explanation of {PLACE} ({subject.row.text[:40]!r}), found one of "
            f"{explanation.text[:40]!r}; give explanations in the order of the texts",
            subject.index,
        )
    if tuple(token.text for token in explanation.tokens) != subject.row.tokens:
        raise InputError(
            f"expected the explanation of {PLACE} to have the model's {len(subject.row.tokens)} tokens, "
            f"found {len(explanation.tokens)} others; explain it with the same model and the same max_length",
            subject.index,
        )
    for token in explanation.tokens:
        if not math.isfinite(token.score):
            found = "NaN" if math.isnan(token.score) else f"{token.score}"
            raise InputError(
                f"expected scores that are finite numbers, found {found} for the token {token.text!r} of "
                f"{PLACE} by {explanation.method!r}; leave this text out",
                subject.index,
            )


Explanations = Mapping[str, Sequence[Explanation]]
"""Explanations by the spec of the method, each a list in the order of the subjects."""


@dataclass(frozen=True)
class Work:
    """What a metric that explains again is given.

    Fields:
        subjects: the texts; explanations: of them, by the spec of the method, made with the intact model and
            the subjects' targets.
        methods: those of the explanations, in their order.
        advance: to be called `ModelMetric.steps` times, for a progress bar.
    """

    classifier: Classifier
    subjects: Sequence[Subject]
    explanations: Explanations
    methods: Sequence[Method]
    batch_size: int
    advance: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class ModelMetric(Metric):
    """A metric that explains the texts again: with a changed model, a changed input, or the clock running.

    It is for methods that can be run, not for explanations that come from elsewhere.
    """

    def __call__(
        self,
        classifier: Classifier,
        subjects: Sequence[Subject],
        explanations: Explanations,
        *,
        methods: Sequence[str | Method] | None = None,
        batch_size: int = 32,
        advance: Callable[[], None] = lambda: None,
    ) -> dict[str, list[Score]]:
        """The scores of each method, in the order of the subjects; see `Work`.

        methods: those of the explanations; None makes them from the explanations' specs.
        """
        for rows in explanations.values():
            for subject, explanation in zip(subjects, rows, strict=True):
                check_explanation(subject, explanation)
        if not subjects or not explanations:
            return {spec: [] for spec in explanations}
        made = create_all(list(explanations) if methods is None else methods)
        return self.judge(Work(classifier, subjects, explanations, made, batch_size, advance))

    @abstractmethod
    def judge(self, work: Work) -> dict[str, list[Score]]:
        """The scores of each method, in the order of the subjects; there are some of both."""

    def steps(self, classifier: Classifier, methods: Sequence[object]) -> int:
        """How often a call calls `advance`."""
        return 1
