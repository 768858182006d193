"""The result of explaining one text: a frozen value that knows neither torch nor transformers.

Scores are kept raw, as the method produced them; normalising happens only where they are displayed
(``whybert.render``).  A value can be compared, hashed, copied, pickled and written as JSON.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, cast, overload

from whybert.errors import InputError, UnknownNameError, UsageError, quoted
from whybert.schema import read, write
from whybert.sentences import words_of_sentences
from whybert.typed import written
from whybert.words import tokens_of_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from rich.console import RenderableType

    from whybert.encoding import EncodedText

__all__ = [
    "Completeness",
    "Explanation",
    "Explanations",
    "Level",
    "OptionValue",
    "Options",
    "Place",
    "Ranking",
    "Sentence",
    "Target",
    "Token",
    "TokenPairs",
    "Unit",
    "UnitPair",
    "Window",
    "Word",
]

Level: TypeAlias = Literal["word", "token", "sentence"]
Ranking: TypeAlias = Literal["absolute", "positive", "negative"]
OptionValue: TypeAlias = str | int | float | bool | None

LEVELS: tuple[str, ...] = ("word", "token", "sentence")
RANKINGS: tuple[str, ...] = ("absolute", "positive", "negative")
SCHEMA = 1
_OUTSIZED = 5.0  # times the largest logit, see `Explanation.caution`


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model's input.

    Fields:
        text: as the tokenizer spells it (``"##ing"``, ``"Ġfilm"``).
        start, end: character offsets into the text of its sequence (0, 0 for special tokens).
        sequence: 0 for the text, 1 for the pair, None for special tokens.
        word: index into ``Explanation.word_spans``, or None.
        special: whether the tokenizer added it (``[CLS]``, ``</s>``).
        score: raw attribution, in units of the explained output for relevance methods.
        unknown: whether it stands for text that the tokenizer does not know (``[UNK]``).
    """

    text: str
    start: int
    end: int
    sequence: int | None
    word: int | None
    special: bool
    score: float
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One whole word of the original text.

    Fields:
        text: the slice ``[start:end]`` of the text of its sequence.
        start, end: character offsets.
        sequence: 0 for the text, 1 for the pair.
        tokens: indices into ``Explanation.tokens``.
        score: sum of the scores of these tokens.
        unknown: whether the tokenizer does not know it, or a part of it.
    """

    text: str
    start: int
    end: int
    sequence: int
    tokens: tuple[int, ...]
    score: float
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the original text, as far as the model read it; see ``whybert.sentences``.

    Fields:
        text: the slice ``[start:end]`` of the text of its sequence.
        start, end: character offsets, of its first word and its last.
        sequence: 0 for the text, 1 for the pair.
        words: indices into ``Explanation.words()``.
        tokens: indices into ``Explanation.tokens``.
        score: sum of the scores of these tokens.
    """

    text: str
    start: int
    end: int
    sequence: int
    words: tuple[int, ...]
    tokens: tuple[int, ...]
    score: float


Unit: TypeAlias = Word | Token | Sentence


@dataclass(frozen=True, slots=True)
class UnitPair:
    """A word, token or sentence of a text and one of its pair.

    Fields:
        first, second: the two.
        score: what they make of the similarity together.
    """

    first: Unit
    second: Unit
    score: float


@dataclass(frozen=True, slots=True)
class Window:
    """One part of a text that is too long for the model to read at once; see ``whybert.windows``.

    Fields:
        start, end: the tokens it holds of what is cut, of a pair the longer part, as a range of indices into
            ``Explanation.tokens``.  Special tokens, and the other part of a pair, are in every window.
        size: the number of tokens that the model read, those in every window included.
        weight: its share in the logits and scores of the whole; the weights sum to 1.
        logits: what the model says of this window.
    """

    start: int
    end: int
    size: int
    weight: float
    logits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Completeness:
    """What the explained output is made of, as far as the method keeps books.

    Fields:
        relevance_sum: sum of the relevance of all tokens, special ones included.
        logit: the explained output: a logit, or a difference of two.
        biases: the part that no token holds, see `rest`; None where the method keeps no account of it.
        elsewhere: relevance of positions that are no token's, such as virtual tokens, or the start token of a
            decoder; None where the model has none.
        rest: what `biases` are: "biases", the relevance that stays with the model's constants, its biases
            above all, or "baseline", the output for the text that the method takes for nothing.
    """

    relevance_sum: float
    logit: float
    biases: float | None = None
    elsewhere: float | None = None
    rest: str = "biases"

    @property
    def remainder(self) -> float:
        """What neither tokens nor biases nor other positions account for, in units of the output."""
        return self.logit - self.relevance_sum - (self.biases or 0.0) - (self.elsewhere or 0.0)

    @property
    def open_share(self) -> float:
        """`|remainder|` relative to the largest of the parts and the output."""
        largest = max(map(abs, (self.relevance_sum, self.logit, self.biases or 0.0, self.elsewhere or 0.0)))
        return abs(self.remainder) / largest if largest else 0.0

    @property
    def is_exact(self) -> bool:
        """Whether the parts are known to make up the output, but for rounding: to a thousandth."""
        return self.biases is not None and self.open_share <= 1e-3

    @property
    def difference(self) -> float:
        """``relevance_sum - logit``."""
        return self.relevance_sum - self.logit

    @property
    def error(self) -> float:
        """``|difference| / |logit|``; infinite where the logit is 0."""
        return abs(self.difference) / abs(self.logit) if self.logit else math.inf


@dataclass(frozen=True, slots=True)
class TokenPairs:
    """What each token of a text and each token of its pair make of a similarity together.

    With the parts that stay with the model's constants they sum to the similarity, as far as a method keeps
    books: those of a row, with its part beside the constants, are what the row's token makes of it.

    Fields:
        values: a row for each token of the text and in it a number for each of the pair, special ones too.
        first: of each token of the text, what it makes with the constants on the side of the pair.
        second: the same of each token of the pair.
        constants: what the constants of both sides make together.  The last three are empty and None where
            there are no books.
    """

    values: tuple[tuple[float, ...], ...]
    first: tuple[float, ...] = ()
    second: tuple[float, ...] = ()
    constants: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The output that is explained: the logit of a label, or its difference from another label's.

    Fields:
        index, label: the label whose logit is explained.
        against, against_label: the label whose logit is subtracted, or None.
    """

    index: int
    label: str
    against: int | None = None
    against_label: str | None = None

    @property
    def name(self) -> str:
        """``"positive"``, or ``"positive - negative"`` for a difference."""
        return self.label if self.against_label is None else f"{self.label} - {self.against_label}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is read that answers at each position of a text.

    Fields:
        token: index into ``Explanation.tokens``; None where all positions are the classes.
        name: what it is called: the word that begins there, or "start" or "end" of an answer.
    """

    token: int | None
    name: str


class Options(Mapping[str, OptionValue]):
    """The options a method ran with: an immutable, hashable mapping, ordered by name.

    A MappingProxyType would do, but for pickling, copying and hashing.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, OptionValue] | None = None) -> None:
        given = dict(values or {})
        for name, value in given.items():
            if not isinstance(name, str):
                raise InputError(f"expected option names that are strings, got {quoted(name)}; rename it")
            if value is not None and not isinstance(value, str | int | float):
                raise InputError(
                    f"expected option {name!r} to be a string, number, bool or None, got {quoted(value)}; "
                    "pass its name or number"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"expected option {name!r} to be finite, got {value}; use None for no limit")
        self._values = dict(sorted(given.items()))

    def __getitem__(self, name: str) -> OptionValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return f"Options({self._values!r})"


class _Shown:
    """What one explanation and a list of them become alike: tables, pages and files."""

    __slots__ = ()

    def to_pandas(self: Any, level: Level = "word") -> DataFrame:
        """A table with a row for each word, token or sentence of each text.

        Its columns: index (of the explanation in its list), classifier, method, options, target, quantity,
        prediction, truth, probability, logit (of the prediction), sequence (0 for the text, 1 for its pair),
        start and end (in characters), the text of the unit under the name of the level, unknown, score.

        Args:
            level: "word", "token" or "sentence".

        Raises:
            UnknownNameError: no such level.
        """
        from whybert.saving import data_frame

        return data_frame(self, level)

    def to_html(self: Any, level: Level = "word") -> str:
        """A self-contained HTML document with the heat maps, see `whybert.html`.

        Args:
            level: "word", "token" or "sentence".

        Raises:
            InputError: the list is empty.
            UnknownNameError: no such level.
        """
        from whybert.render.html import html

        return html(self, level)

    def to_latex(self: Any, level: Level = "word") -> str:
        """A LaTeX snippet with the heat maps; it needs xcolor (``whybert.render.latex``).

        Args:
            level: "word", "token" or "sentence".

        Raises:
            InputError: the list is empty.
            UnknownNameError: no such level.
        """
        from whybert.render.latex import latex

        return latex(self, level)

    def save(self: Any, path: str | Path, level: Level = "word") -> None:
        """Write a file whose suffix says what it holds, see `whybert.save`.

        Args:
            path: of the file; an existing one is replaced.
            level: "word", "token" or "sentence", where the format shows scores.

        Raises:
            InputError: the list is empty.
            UsageError: no format has this suffix.
            FileError: the file cannot be written.
            MissingExtraError: the format needs a package that is not installed.
        """
        from whybert.saving import save

        save(self, path, level)


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(_Shown):
    """Why a classifier decided as it did about one text, or one pair of texts.

    Fields:
        text, pair: the original input; pair is None for a single text.
        tokens: the model's input, special tokens included, padding left out.
        word_spans: (sequence, start, end) of each word that tokens refer to, offsets in characters.
        prediction: the label that the model chose.
        probabilities, logits, labels: one entry for each label, in the model's order.  A regression has no
            probabilities: its answers are the logits.
        target: the output that is explained.
        method, options: what produced the scores.
        signed: False for methods whose scores are magnitudes (>= 0).
        truncated: whether tokens were cut off to fit the model.
        completeness: relevance sum against the explained output; None for methods that promise none.
        predicted: the index of the prediction, which tells labels of one name apart; where it is not given,
            of the labels with that name it is the one with the highest logit.
        windows: the parts in which a long text was read, in order; none where it was read at once.  The
            logits, scores and books are then the weighted sums over the windows.
        classifier: the name of the model; empty where it is not known.
        truth: the label that the text has in its data; None where it is not known.
        quantity: what of the target is explained: "logit", "probability", "log_probability", "margin" (the
            logit less the largest other one) or "entropy" (of no class).  Of a text in windows it is the
            weighted mean of the windows' own, which but for the logit is not that of the mean logits.
        layers: the raw score of each token at what each layer reads, the first reading the embedding, and at
            what the last one hands on; a row for each.  Empty where they were not asked for.
        heads: the raw score of what each head hands on; a row for each layer.  Empty where not asked for.
        pairs: what the tokens of two texts make of their similarity two by two; None for all else.
        place: where a model is read that answers at each position: labels, prediction and target are of that
            place.  Of a vocabulary only the largest logits are there, and the explained ones.  None for a
            classifier of whole texts.

    Raises:
        InputError: the fields contradict each other.
    """

    text: str
    pair: str | None
    tokens: tuple[Token, ...]
    word_spans: tuple[tuple[int, int, int], ...]
    prediction: str
    probabilities: tuple[float, ...]
    logits: tuple[float, ...]
    labels: tuple[str, ...]
    target: Target
    method: str
    options: Mapping[str, OptionValue]
    signed: bool
    truncated: bool
    completeness: Completeness | None
    predicted: int = -1
    windows: tuple[Window, ...] = ()
    classifier: str = ""
    truth: str | None = None
    quantity: str = "logit"
    layers: tuple[tuple[float, ...], ...] = ()
    heads: tuple[tuple[float, ...], ...] = ()
    pairs: TokenPairs | None = None
    place: Place | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "probabilities", "logits", "labels", "windows"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        spans = tuple((sequence, start, end) for sequence, start, end in self.word_spans)
        object.__setattr__(self, "word_spans", spans)
        for name in ("layers", "heads"):
            object.__setattr__(self, name, tuple(map(tuple, getattr(self, name))))
        object.__setattr__(self, "options", Options(self.options))
        self._check_outputs()
        self._check_tokens()
        self._check_windows()
        self._check_inside()

    def _check_outputs(self) -> None:
        count = len(self.labels)
        if not count or len(self.logits) != count or len(self.probabilities) not in (0, count):
            raise InputError(
                "expected one logit and one probability for each label (a regression has none), got "
                f"{count} labels, {len(self.logits)} logits and {len(self.probabilities)} probabilities; "
                "pass the model's full output"
            )
        named = [index for index, label in enumerate(self.labels) if label == self.prediction]
        if not named:
            raise InputError(
                f"expected a prediction among the labels {quoted(self.labels)}, "
                f"got {quoted(self.prediction)}; pass the label, not its index"
            )
        if self.predicted == -1:
            object.__setattr__(self, "predicted", max(named, key=self.logits.__getitem__))
        elif self.predicted not in named:
            raise InputError(
                f"expected predicted to be an index of {quoted(self.prediction)} in the labels "
                f"{quoted(self.labels)}, got {self.predicted}; take both from the model"
            )
        target = self.target
        if (target.against is None) != (target.against_label is None):
            raise InputError(
                "expected target.against and target.against_label both set or both None, "
                f"got {target.against!r} and {quoted(target.against_label)}; set both for a difference"
            )
        for index, label in ((target.index, target.label), (target.against, target.against_label)):
            if index is None:
                continue
            if not 0 <= index < count or self.labels[index] != label:
                raise InputError(
                    f"expected a target whose index and label agree with the labels {quoted(self.labels)}, "
                    f"got index {index} for {quoted(label)}; take both from the model"
                )

    def _check_tokens(self) -> None:
        lengths = [len(self.text)] if self.pair is None else [len(self.text), len(self.pair)]
        for index, (sequence, start, end) in enumerate(self.word_spans):
            if not (0 <= sequence < len(lengths) and 0 <= start <= end <= lengths[sequence]):
                raise InputError(
                    f"expected word_spans[{index}] to be (sequence, start, end) inside the text, "
                    f"got {(sequence, start, end)}; sequence 1 needs a pair, offsets count characters"
                )
        for index, token in enumerate(self.tokens):
            if token.sequence is None:
                if not token.special:
                    raise InputError(
                        f"expected tokens[{index}].sequence to be 0 or 1, got None; "
                        "only special tokens may have none"
                    )
            elif not (
                0 <= token.sequence < len(lengths)
                and 0 <= token.start <= token.end <= lengths[token.sequence]
            ):
                raise InputError(
                    f"expected tokens[{index}] to lie inside the text of its sequence, got sequence "
                    f"{token.sequence}, offsets {token.start} to {token.end}; "
                    "sequence 1 needs a pair, offsets count characters"
                )
            if token.word is not None:
                if not 0 <= token.word < len(self.word_spans):
                    raise InputError(
                        f"expected tokens[{index}].word below {len(self.word_spans)}, got {token.word}; "
                        "it is an index into word_spans"
                    )
                if token.sequence != self.word_spans[token.word][0]:
                    raise InputError(
                        f"expected tokens[{index}] in the sequence of its word, "
                        f"{self.word_spans[token.word][0]}, got {token.sequence}; "
                        "give the words of a pair spans of their own"
                    )
            if not self.signed and token.score < 0:
                raise InputError(
                    f"expected scores of an unsigned method to be >= 0, got {token.score} "
                    f"at tokens[{index}]; pass signed=True"
                )

        if self.place is not None and self.place.token not in (None, *range(len(self.tokens))):
            raise InputError(
                f"expected place.token below {len(self.tokens)}, got {self.place.token}; it is an index into "
                "tokens"
            )

    def _check_windows(self) -> None:
        for index, window in enumerate(self.windows):
            if not 0 <= window.start < window.end <= len(self.tokens):
                raise InputError(
                    f"expected windows[{index}] inside the {len(self.tokens)} tokens, got {window.start} "
                    f"to {window.end}; start and end count tokens"
                )
            if len(window.logits) != len(self.labels):
                raise InputError(
                    f"expected windows[{index}] to have {len(self.labels)} logits, got {len(window.logits)}; "
                    "pass the model's full output"
                )

    def _check_inside(self) -> None:
        for index, row in enumerate(self.layers):
            if len(row) != len(self.tokens):
                raise InputError(
                    f"expected layers[{index}] to have a score for each of the {len(self.tokens)} tokens, "
                    f"got {len(row)}; special tokens count"
                )
        if self.pairs is not None:
            rows, columns = len(self.pairs.values), {len(row) for row in self.pairs.values}
            if len(columns) != 1 or rows + sum(columns) != len(self.tokens):
                raise InputError(
                    f"expected pairs with a row for each token of the text and a column for each of its "
                    f"pair, {len(self.tokens)} together, got {rows} rows of {sorted(columns)}"
                )
        if len({len(row) for row in self.heads}) > 1:
            raise InputError(
                "expected heads with as many numbers in each layer, got "
                f"{', '.join(str(len(row)) for row in self.heads)}; pass one for each head"
            )

    def __repr__(self) -> str:
        prediction, words = quoted(self.prediction), []
        rankings: list[tuple[str, Ranking]] = [("+" if self.signed else "", "positive"), ("-", "negative")]
        for sign, ranking in rankings:
            top = [quoted(word.text, 20) for word in self.top(3, by=ranking)]
            if top:
                words.append(" ".join(([sign] if sign else []) + top))
        parts = [f"<Explanation {at_place(self, prediction)} ({self.answer:.3f})"]
        if not self.explains_prediction or self.quantity != "logit":
            parts.append(f"target={quoted(self.explained)}")
        if words:
            parts.append("because " + " ".join(words))
        parts.append(f"method={quoted(self.method)[1:-1]}>")
        return " ".join(parts)

    @property
    def scores(self) -> tuple[float, ...]:
        """The raw score of each token, special tokens included."""
        return tuple(token.score for token in self.tokens)

    @property
    def probability(self) -> float | None:
        """The model's probability of its prediction; None for a regression, whose answer is a number."""
        return self.probabilities[self.predicted] if self.probabilities else None

    @property
    def answer(self) -> float:
        """What the model says: the probability of its prediction, or the number of a regression."""
        return (self.probabilities or self.logits)[self.predicted]

    @property
    def caution(self) -> str | None:
        """That the sizes of the scores mislead, and why; None where they do not.

        The books may be right and yet say little: where a model's constants hold -41.1 of a logit of 0.91,
        its tokens hold 42, and no word makes the model say what its score says.  So it is where the sum of
        the tokens is more than 5 times the largest logit, and the constants weigh more than half of what the
        sizes of all scores add up to.  By the first alone each text would be one on which the classes are
        almost even; there tokens cancel each other, and the constants are small beside them.  (Of 400 texts
        of a fine-tuned MiniLM, made to be uncertain, both hold of 1.2 % by CP-LRP and of none by AttnLRP,
        the first alone of 8 % and 2 %.)
        """
        found = self.completeness
        if found is None or found.biases is None or found.rest != "biases":
            return None
        largest = max(map(abs, (found.logit, *self.logits)))
        sizes = math.fsum(abs(token.score) for token in self.tokens)
        if not (abs(found.relevance_sum) > _OUTSIZED * largest and abs(found.biases) > sizes / 2):
            return None
        name = "largest logit" if self.probabilities else "output"
        times = f"{abs(found.relevance_sum) / largest:.0f} times" if largest else "not 0 as"
        return (
            f"the tokens' relevance is {times} the {name}: the model's constants hold {found.biases:.3g} "
            f"beside the tokens' {found.relevance_sum:.3g}; read the ranking of the words, not the sizes"
        )

    @property
    def explains_prediction(self) -> bool:
        """Whether the target is the class that the model chose."""
        return (self.target.index, self.target.against) == (self.predicted, None)

    @property
    def explained(self) -> str:
        """What is: "positive", "positive - negative", "probability of positive", "entropy", "Paris: B-LOC".

        A label that is not the only one of its name is there with its index, and before it is the place where
        a model is read that has several.
        """
        index, against = self.target.index, self.target.against
        name = at_place(self, label(self, index) + ("" if against is None else f" - {label(self, against)}"))
        quantity = self.quantity.replace("_", "-")
        entropy = at_place(self, quantity)
        return {"logit": name, "entropy": entropy}.get(self.quantity, f"{quantity} of {name}")

    def words(self) -> tuple[Word, ...]:
        """The words of the original text that have tokens, in order; special tokens are left out.

        A word's score is the sum of its tokens' scores, so the words together carry exactly the score
        of the non-special tokens that belong to a word.
        """
        members = tokens_of_words(
            (token.word for token in self.tokens), (token.special for token in self.tokens)
        )
        texts = (self.text, self.pair or "")
        words = []
        for word in sorted(members, key=lambda index: (self.word_spans[index], index)):
            sequence, start, end = self.word_spans[word]
            tokens = [self.tokens[index] for index in members[word]]
            score, unknown = float(sum(t.score for t in tokens)), any(t.unknown for t in tokens)
            text = texts[sequence][start:end]
            words.append(Word(text, start, end, sequence, members[word], score, unknown))
        return tuple(words)

    def sentences(self) -> tuple[Sentence, ...]:
        """The sentences that have words, in order; each word is in exactly one.

        A sentence's score is the sum of its tokens' scores: the sentences together carry what the words do.
        """
        words = self.words()
        texts = (self.text,) if self.pair is None else (self.text, self.pair)
        sentences = []
        for members in words_of_sentences(texts, [(word.sequence, word.start, word.end) for word in words]):
            sequence, start = words[members[0]].sequence, words[members[0]].start
            end = max(words[index].end for index in members)
            tokens = tuple(token for index in members for token in words[index].tokens)
            score = float(sum(self.tokens[token].score for token in tokens))
            text = texts[sequence][start:end]
            sentences.append(Sentence(text, start, end, sequence, members, tokens, score))
        return tuple(sentences)

    @overload
    def top(self, k: int = ..., level: Literal["word"] = ..., by: Ranking = ...) -> tuple[Word, ...]: ...

    @overload
    def top(self, k: int = ..., *, level: Literal["token"], by: Ranking = ...) -> tuple[Token, ...]: ...

    @overload
    def top(self, k: int = ..., *, level: Literal["sentence"], by: Ranking = ...) -> tuple[Sentence, ...]: ...

    @overload
    def top(self, k: int = ..., level: Level = ..., by: Ranking = ...) -> tuple[Unit, ...]: ...

    def top(
        self, k: int = 5, level: Level = "word", by: Ranking = "absolute"
    ) -> tuple[Word, ...] | tuple[Token, ...] | tuple[Sentence, ...] | tuple[Unit, ...]:
        """The k words, tokens or sentences that matter most, highest first; ties keep their order.

        Special tokens are left out.  NaN counts as 0.

        Args:
            k: how many; there may be fewer.
            level: "word", "token" or "sentence".
            by: "absolute", or "positive" for scores above 0 only, or "negative" for those below 0 only, the
                most negative first.

        Raises:
            UnknownNameError: no such level or ranking.
            InputError: k is negative or no integer.
        """
        units = units_of(self, level)
        if by not in RANKINGS:
            raise UnknownNameError("ranking", by, RANKINGS)
        if not isinstance(k, int) or isinstance(k, bool) or k < 0:
            raise InputError(f"expected k to be an integer >= 0, got {k!r}; pass the number of words wanted")
        sign = -1 if by == "negative" else 1

        def strength(unit: Unit) -> float:
            score = 0.0 if math.isnan(unit.score) else unit.score
            return abs(score) if by == "absolute" else sign * score

        if by != "absolute":
            units = [unit for unit in units if strength(unit) > 0]
        return tuple(sorted(units, key=strength, reverse=True)[:k])  # sorting is stable, also in reverse

    def top_pairs(self, k: int = 5, level: Level = "word") -> tuple[UnitPair, ...]:
        """The k pairs of a word of the text and one of its pair that make most of their similarity.

        Args:
            k: how many at most.
            level: "word", "token" or "sentence".

        Raises:
            UnknownNameError: no such level.
            UsageError: there are no pairs; `whybert.similarity(..., pairs=True)` finds them.
        """
        if self.pairs is None:
            raise UsageError(
                "expected an explanation with pairs, got one without; ask for them: "
                "similarity(..., pairs=True)"
            )
        rows, columns = sides_of(self, level)
        found = [
            UnitPair(first, second, math.fsum(self.pairs.values[i][j] for i in own for j in other))
            for first, own in rows
            for second, other in columns
            if not _is_special(first) and not _is_special(second)
        ]
        return tuple(sorted(found, key=lambda each: -abs(each.score))[:k])

    def to_dict(self) -> dict[str, object]:
        """The explanation in plain JSON types, its `caution` too; ``from_dict`` reads it back exactly.

        A number that JSON cannot hold is written as ``"nan"``, ``"inf"`` or ``"-inf"``, and a text in
        which two lone surrogates meet as a list of its parts, because JSON would fuse them.
        """
        caution = self.caution
        return {"schema": SCHEMA, **write(self), **({} if caution is None else {"caution": caution})}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Explanation:
        """Read what ``to_dict`` wrote.

        Args:
            data: what it wrote; keys that are not known are ignored.

        Raises:
            InputError: a key is missing or has the wrong type, or the schema is not known.
        """
        return read(cls, data, SCHEMA)

    @classmethod
    def of_row(
        cls,
        row: EncodedText,
        scores: Sequence[float],
        *,
        labels: Sequence[str],
        logits: Sequence[float],
        probabilities: Sequence[float],
        target: tuple[int, int | None],
        method: str,
        options: Mapping[str, OptionValue],
        signed: bool,
        completeness: Completeness | None = None,
        windows: Sequence[Window] = (),
        classifier: str = "",
        quantity: str = "logit",
        layers: Sequence[Sequence[float]] = (),
        heads: Sequence[Sequence[float]] = (),
        pairs: TokenPairs | None = None,
        place: Place | None = None,
    ) -> Explanation:
        """The explanation of a text as the model reads it; the prediction is the class of the highest logit.

        Args:
            row: the text.
            scores: one for each of its tokens, special ones included.
            labels, logits, probabilities: as the fields of these names.
            target: the class that is explained, and the one that it is held against, or None.
            method, options, signed, completeness, windows, classifier: as these fields.
            quantity, layers, heads, pairs, place: the same.

        Raises:
            InputError: there is not one score for each token, or what else contradicts itself.
        """
        if len(scores) != row.token_count:
            raise InputError(
                f"expected one score for each of the {row.token_count} tokens, got {len(scores)}; "
                "special tokens count"
            )
        index, against = target
        predicted = max(range(len(logits)), key=logits.__getitem__)
        unknown = row.unknown or (False,) * row.token_count
        parts = (row.tokens, row.offsets, row.sequence_ids, row.word_ids, row.special, scores, unknown)
        return cls(
            text=row.text,
            pair=row.pair,
            tokens=tuple(
                Token(text, start, end, sequence, word, special, float(score), is_unknown)
                for text, (start, end), sequence, word, special, score, is_unknown in zip(*parts, strict=True)
            ),
            word_spans=row.word_spans,
            prediction=labels[predicted],
            probabilities=tuple(probabilities),
            logits=tuple(logits),
            labels=tuple(labels),
            target=Target(index, labels[index], against, None if against is None else labels[against]),
            method=method,
            options=options,
            signed=signed,
            truncated=row.truncated,
            completeness=completeness,
            predicted=predicted,
            windows=tuple(windows),
            classifier=classifier,
            quantity=quantity,
            layers=tuple(map(tuple, layers)),
            heads=tuple(map(tuple, heads)),
            pairs=pairs,
            place=place,
        )

    def plot(self, kind: str = "heat", level: Level = "word") -> Figure:
        """A matplotlib figure, which shows itself in notebooks and is saved with `.savefig("why.pdf")`.

        Args:
            kind: "heat" for the text with each word on its colour, "bar" for the 25 strongest words,
                "layers", "heads" and "pairs" for a grid of what was asked for with `layers=True`,
                `heads=True` or, of `whybert.similarity`, `pairs=True`.
            level: "word", "token" or "sentence".

        Returns:
            The figure, made without pyplot.

        Raises:
            UnknownNameError: no such kind or level.
            MissingExtraError: matplotlib is not installed.
        """
        from whybert.render.plot import plot

        return plot(self, kind, level)

    def _repr_html_(self) -> str:
        from whybert.render.html import fragment

        return fragment(self)

    def __rich__(self) -> RenderableType:
        from whybert.render.terminal import terminal

        return terminal(self)


class Explanations(_Shown, list[Explanation]):
    """A list of explanations that shows itself in a notebook and a terminal, and goes into files and tables.

    Args:
        explanations: what it holds; any iterable.
    """

    __slots__ = ()

    def __init__(self, explanations: Iterable[Explanation] = ()) -> None:
        super().__init__(explanations)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Explanation: ...

    @overload
    def __getitem__(self, index: slice[Any, Any, Any], /) -> Explanations: ...

    def __getitem__(self, index: SupportsIndex | slice[Any, Any, Any], /) -> Explanation | Explanations:
        found = super().__getitem__(index)
        return Explanations(found) if isinstance(found, list) else found

    def copy(self) -> Explanations:
        """A list of the same explanations."""
        return Explanations(self)

    def with_truth(self, labels: Iterable[str | int | None]) -> Explanations:
        """The same explanations that know the labels which their texts have in the data.

        Args:
            labels: one for each, in order: its name, its index among the model's, or None where there is
                none.  Data sets and Series of them will do.

        Raises:
            InputError: there is not one label for each.
            UnknownNameError: the model has no such label.
        """
        if isinstance(labels, str) or not isinstance(cast(object, labels), Iterable):
            raise InputError(f"expected a list of labels, one for each explanation, got {quoted(labels)}")
        listed = list(labels)
        if len(listed) != len(self):
            raise InputError(
                f"expected one label for each of the {len(self)} explanations, got {len(listed)}; "
                "None stands for a label that is not known"
            )
        return Explanations(
            replace(each, truth=_truth(each, label, index))
            for index, (each, label) in enumerate(zip(self, listed, strict=True))
        )

    def __repr__(self) -> str:
        methods = ", ".join(dict.fromkeys(quoted(each.method)[1:-1] for each in self))
        counts = Counter(each.prediction for each in self).most_common(4)
        said = ", ".join(f"{count} {quoted(label, 20)}" for label, count in counts[:3])
        more = ", ..." if len(counts) > 3 else ""
        about = f" by {methods[:60]}: {said}{more}" if self else ""
        return f"<{len(self)} Explanation{'s' * (len(self) != 1)}{about}>"

    def _repr_html_(self) -> str:
        from whybert.render.html import fragments

        return fragments(self)

    def __rich__(self) -> RenderableType:
        from whybert.render.terminal import several

        return several(self)


def _truth(explanation: Explanation, label: object, index: int) -> str | None:
    """The name of a label that is given as such or as an index; a number of numpy is one."""
    if label is None or label in explanation.labels:
        return None if label is None else str(label)
    place = label.__index__() if hasattr(label, "__index__") else -1
    if not 0 <= place < len(explanation.labels):
        raise UnknownNameError("label", label, explanation.labels, f" (label {index})")
    return explanation.labels[place]


def each_of(given: Any) -> Iterator[Explanation]:
    """One explanation or several, one by one.

    Raises:
        InputError: it is something else, or one of them is.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    for each in given if several else (given,):
        if not isinstance(each, Explanation):
            raise InputError(
                f"expected explanations, got {type(each).__name__}; pass what explain() returned"
            )
        yield each


def label(explanation: Explanation, index: int) -> str:
    """The name of a label, with its index where another has the same name."""
    name = explanation.labels[index]
    return f"{name} ({index})" if explanation.labels.count(name) > 1 else name


def at_place(explanation: Explanation, said: str) -> str:
    """What is said of a place, with its name before it; as it is where there is only one place."""
    return said if explanation.place is None else f"{explanation.place.name}: {said}"


def options_line(explanation: Explanation, between: str = ",") -> str:
    """The options of the method as a command line has them, without those that were left out."""
    given = {name: value for name, value in explanation.options.items() if value is not None}
    return between.join(f"{name}={written(value)}" for name, value in given.items())


def units_of(explanation: Explanation, level: Level) -> list[Unit]:
    """The words, the sentences, or the tokens that are not special, in order.

    Raises:
        UnknownNameError: no such level.
    """
    if level not in LEVELS:
        raise UnknownNameError("level", level, LEVELS)
    if level == "word":
        return list(explanation.words())
    if level == "sentence":
        return list(explanation.sentences())
    return [token for token in explanation.tokens if not token.special]


def sides_of(
    explanation: Explanation, level: Level
) -> tuple[list[tuple[Unit, tuple[int, ...]]], list[tuple[Unit, tuple[int, ...]]]]:
    """The units of the text and of its pair, special tokens too, each with its rows, or columns, of `pairs`.

    Raises:
        UnknownNameError: no such level.
    """
    count = 0 if explanation.pairs is None else len(explanation.pairs.values)
    units: list[tuple[tuple[int, ...], Unit]] = [
        ((place,), token) for place, token in enumerate(explanation.tokens) if token.special
    ]
    single = (place for place, token in enumerate(explanation.tokens) if not token.special)
    units += [
        ((next(single),) if isinstance(unit, Token) else unit.tokens, unit)
        for unit in units_of(explanation, level)
    ]
    units.sort(key=lambda each: each[0])
    return (
        [(unit, own) for own, unit in units if own[0] < count],
        [(unit, tuple(place - count for place in own)) for own, unit in units if own[0] >= count],
    )


def _is_special(unit: Unit) -> bool:
    return isinstance(unit, Token) and unit.special
