"""The result of explaining one text: a frozen value that knows neither torch nor transformers.

Scores are kept raw, as the method produced them; normalising happens only where they are displayed
(``whybert.render``).  A value can be compared, hashed, copied, pickled and written as JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, overload

from whybert.errors import InputError, UnknownNameError
from whybert.words import tokens_of_words

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "Completeness",
    "Explanation",
    "Level",
    "OptionValue",
    "Options",
    "Ranking",
    "Target",
    "Token",
    "Word",
]

Level: TypeAlias = Literal["word", "token"]
Ranking: TypeAlias = Literal["absolute", "positive", "negative"]
OptionValue: TypeAlias = str | int | float | bool | None

LEVELS: tuple[str, ...] = ("word", "token")
RANKINGS: tuple[str, ...] = ("absolute", "positive", "negative")
SCHEMA = 1

_Read = TypeVar("_Read")


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
    """

    text: str
    start: int
    end: int
    sequence: int | None
    word: int | None
    special: bool
    score: float


@dataclass(frozen=True, slots=True)
class Word:
    """One whole word of the original text.

    Fields:
        text: the slice ``[start:end]`` of the text of its sequence.
        start, end: character offsets.
        sequence: 0 for the text, 1 for the pair.
        tokens: indices into ``Explanation.tokens``.
        score: sum of the scores of these tokens.
    """

    text: str
    start: int
    end: int
    sequence: int
    tokens: tuple[int, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Completeness:
    """How much of the explained output the relevance accounts for.

    Fields:
        relevance_sum: sum of the scores of all tokens, special ones included.
        logit: the explained output: a logit, or a difference of two.
    """

    relevance_sum: float
    logit: float

    @property
    def difference(self) -> float:
        """``relevance_sum - logit``."""
        return self.relevance_sum - self.logit

    @property
    def error(self) -> float:
        """``|difference| / |logit|``; infinite where the logit is 0."""
        return abs(self.difference) / abs(self.logit) if self.logit else math.inf


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


class Options(Mapping[str, OptionValue]):
    """The options a method ran with: an immutable, hashable mapping, ordered by name.

    A MappingProxyType would do, but for pickling, copying and hashing.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, OptionValue] | None = None) -> None:
        given = dict(values or {})
        for name, value in given.items():
            if not isinstance(name, str):
                raise InputError(f"expected option names that are strings, got {_short(name)}; rename it")
            if value is not None and not isinstance(value, str | int | float):
                raise InputError(
                    f"expected option {name!r} to be a string, number, bool or None, got {_short(value)}; "
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


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """Why a classifier decided as it did about one text, or one pair of texts.

    Fields:
        text, pair: the original input; pair is None for a single text.
        tokens: the model's input, special tokens included, padding left out.
        word_spans: (sequence, start, end) of each word that tokens refer to, offsets in characters.
        prediction: the label that the model chose.
        probabilities, logits, labels: one entry for each label, in the model's order.
        target: the output that is explained.
        method, options: what produced the scores.
        signed: False for methods whose scores are magnitudes (>= 0).
        truncated: whether tokens were cut off to fit the model.
        completeness: relevance sum against the explained output; None for methods that promise none.

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

    def __post_init__(self) -> None:
        for name in ("tokens", "probabilities", "logits", "labels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        spans = tuple((sequence, start, end) for sequence, start, end in self.word_spans)
        object.__setattr__(self, "word_spans", spans)
        object.__setattr__(self, "options", Options(self.options))
        self._check_outputs()
        self._check_tokens()

    def _check_outputs(self) -> None:
        counts = len(self.labels), len(self.logits), len(self.probabilities)
        if not counts[0] or len(set(counts)) != 1:
            raise InputError(
                "expected one logit and one probability for each label, got "
                "{} labels, {} logits and {} probabilities; pass the model's full output".format(*counts)
            )
        if self.prediction not in self.labels:
            raise InputError(
                f"expected a prediction among the labels {_short(self.labels)}, "
                f"got {_short(self.prediction)}; pass the label, not its index"
            )
        target = self.target
        if (target.against is None) != (target.against_label is None):
            raise InputError(
                "expected target.against and target.against_label both set or both None, "
                f"got {target.against!r} and {_short(target.against_label)}; set both for a difference"
            )
        for index, label in ((target.index, target.label), (target.against, target.against_label)):
            if index is None:
                continue
            if not 0 <= index < counts[0] or self.labels[index] != label:
                raise InputError(
                    f"expected a target whose index and label agree with the labels {_short(self.labels)}, "
                    f"got index {index} for {_short(label)}; take both from the model"
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

    def __repr__(self) -> str:
        prediction, words = _short(self.prediction), []
        rankings: list[tuple[str, Ranking]] = [("+" if self.signed else "", "positive"), ("-", "negative")]
        for sign, ranking in rankings:
            top = [_short(word.text, 20) for word in self.top(3, by=ranking)]
            if top:
                words.append(" ".join(([sign] if sign else []) + top))
        parts = [f"<Explanation {prediction} ({self.probability:.3f})"]
        if self.target.name != self.prediction:
            parts.append(f"target={_short(self.target.name)}")
        if words:
            parts.append("because " + " ".join(words))
        parts.append(f"method={_short(self.method)[1:-1]}>")
        return " ".join(parts)

    @property
    def scores(self) -> tuple[float, ...]:
        """The raw score of each token, special tokens included."""
        return tuple(token.score for token in self.tokens)

    @property
    def probability(self) -> float:
        """The model's probability of its prediction."""
        return self.probabilities[self.labels.index(self.prediction)]

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
            score = float(sum(self.tokens[index].score for index in members[word]))
            words.append(Word(texts[sequence][start:end], start, end, sequence, members[word], score))
        return tuple(words)

    @overload
    def top(self, k: int = ..., level: Literal["word"] = ..., by: Ranking = ...) -> tuple[Word, ...]: ...

    @overload
    def top(self, k: int = ..., *, level: Literal["token"], by: Ranking = ...) -> tuple[Token, ...]: ...

    @overload
    def top(self, k: int = ..., level: Level = ..., by: Ranking = ...) -> tuple[Word | Token, ...]: ...

    def top(
        self, k: int = 5, level: Level = "word", by: Ranking = "absolute"
    ) -> tuple[Word, ...] | tuple[Token, ...] | tuple[Word | Token, ...]:
        """The k words or tokens that matter most, highest first; ties keep their order in the text.

        Special tokens are left out.  ``by="positive"`` keeps only scores above 0, ``by="negative"`` only
        those below 0 (most negative first); either may return fewer than k.  NaN counts as 0.

        Raises:
            UnknownNameError: no such level or ranking.
            InputError: k is negative or no integer.
        """
        if level not in LEVELS:
            raise UnknownNameError("level", level, LEVELS)
        if by not in RANKINGS:
            raise UnknownNameError("ranking", by, RANKINGS)
        if not isinstance(k, int) or isinstance(k, bool) or k < 0:
            raise InputError(f"expected k to be an integer >= 0, got {k!r}; pass the number of words wanted")
        units: list[Word | Token] = (
            list(self.words()) if level == "word" else [token for token in self.tokens if not token.special]
        )
        sign = -1 if by == "negative" else 1

        def strength(unit: Word | Token) -> float:
            score = 0.0 if math.isnan(unit.score) else unit.score
            return abs(score) if by == "absolute" else sign * score

        if by != "absolute":
            units = [unit for unit in units if strength(unit) > 0]
        return tuple(sorted(units, key=strength, reverse=True)[:k])  # sorting is stable, also in reverse

    def to_dict(self) -> dict[str, object]:
        """The explanation in plain JSON types; ``from_dict`` reads it back exactly.

        A number that JSON cannot hold is written as ``"nan"``, ``"inf"`` or ``"-inf"``, and a text in
        which two lone surrogates meet as a list of its parts, because JSON would fuse them.
        """
        completeness = self.completeness and {
            "relevance_sum": _write_number(self.completeness.relevance_sum),
            "logit": _write_number(self.completeness.logit),
        }
        return {
            "schema": SCHEMA,
            "text": _write_text(self.text),
            "pair": None if self.pair is None else _write_text(self.pair),
            "prediction": _write_text(self.prediction),
            "labels": [_write_text(label) for label in self.labels],
            "probabilities": [_write_number(value) for value in self.probabilities],
            "logits": [_write_number(value) for value in self.logits],
            "target": {
                "index": self.target.index,
                "label": _write_text(self.target.label),
                "against": self.target.against,
                "against_label": None
                if self.target.against_label is None
                else _write_text(self.target.against_label),
            },
            "method": self.method,
            "options": dict(self.options),
            "signed": self.signed,
            "truncated": self.truncated,
            "completeness": completeness,
            "word_spans": [list(span) for span in self.word_spans],
            "tokens": [
                {
                    "text": _write_text(token.text),
                    "start": token.start,
                    "end": token.end,
                    "sequence": token.sequence,
                    "word": token.word,
                    "special": token.special,
                    "score": _write_number(token.score),
                }
                for token in self.tokens
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Explanation:
        """Read what ``to_dict`` wrote; keys it does not know are ignored.

        Raises:
            InputError: a key is missing or has the wrong type, or the schema is not known.
        """
        schema = _key(data, "schema", "", _read_integer)
        if schema != SCHEMA:
            raise InputError(
                f"expected an explanation with schema {SCHEMA}, got schema {schema}; "
                "read it with the version of whybert that wrote it, or a newer one"
            )
        return cls(
            text=_key(data, "text", "", _read_text),
            pair=_key(data, "pair", "", _optional(_read_text)),
            tokens=_key(data, "tokens", "", _list(_read_token)),
            word_spans=_key(data, "word_spans", "", _list(_read_span)),
            prediction=_key(data, "prediction", "", _read_text),
            probabilities=_key(data, "probabilities", "", _list(_read_number)),
            logits=_key(data, "logits", "", _list(_read_number)),
            labels=_key(data, "labels", "", _list(_read_text)),
            target=_key(data, "target", "", _read_target),
            method=_key(data, "method", "", _read_text),
            options=_key(data, "options", "", _read_options),
            signed=_key(data, "signed", "", _read_boolean),
            truncated=_key(data, "truncated", "", _read_boolean),
            completeness=_key(data, "completeness", "", _optional(_read_completeness)),
        )

    def to_html(self, level: Level = "word") -> str:
        """A self-contained HTML document with the heat map (``whybert.render.html``)."""
        from whybert.render.html import html

        return html(self, level)

    def to_latex(self, level: Level = "word") -> str:
        """A LaTeX snippet with the heat map; it needs xcolor (``whybert.render.latex``)."""
        from whybert.render.latex import latex

        return latex(self, level)

    def _repr_html_(self) -> str:
        from whybert.render.html import fragment

        return fragment(self)

    def __rich__(self) -> RenderableType:
        from whybert.render.terminal import terminal

        return terminal(self)


# Reading and writing JSON types.  Every reader takes a value and the path that names it in an error.


def _short(value: object, limit: int = 60) -> str:
    """The repr of a value, shortened; a repr also makes control characters and surrogates visible."""
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[: limit - 3] + "...")
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _write_number(value: float) -> float | str:
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _write_text(text: str) -> str | list[str]:
    parts = re.split("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])", text)
    return text if len(parts) == 1 else parts


def _wrong(path: str, expected: str, value: object) -> InputError:
    return InputError(
        f"expected {expected} at {path!r}, got {_short(value)}; pass a dictionary that to_dict() wrote"
    )


def _key(data: object, key: str, path: str, read: Callable[[object, str], _Read]) -> _Read:
    if not isinstance(data, Mapping):
        raise _wrong(path or "the top level", "a dictionary", data)
    here = f"{path}.{key}" if path else key
    if key not in data:
        raise InputError(f"expected the key {here!r}, got none; pass a dictionary that to_dict() wrote")
    return read(data[key], here)


def _optional(read: Callable[[object, str], _Read]) -> Callable[[object, str], _Read | None]:
    return lambda value, path: None if value is None else read(value, path)


def _list(read: Callable[[object, str], _Read]) -> Callable[[object, str], tuple[_Read, ...]]:
    def read_list(value: object, path: str) -> tuple[_Read, ...]:
        if not isinstance(value, list | tuple):
            raise _wrong(path, "a list", value)
        return tuple(read(entry, f"{path}[{index}]") for index, entry in enumerate(value))

    return read_list


def _read_text(value: object, path: str) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "".join(value)
    if not isinstance(value, str):
        raise _wrong(path, "a string", value)
    return value


def _read_integer(value: object, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(path, "an integer", value)
    return value


def _read_number(value: object, path: str) -> float:
    if value in ("nan", "inf", "-inf"):
        return float(str(value))
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(path, "a number", value)
    return float(value)


def _read_boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false", value)
    return value


def _read_span(value: object, path: str) -> tuple[int, int, int]:
    span = _list(_read_integer)(value, path)
    if len(span) != 3:
        raise _wrong(path, "[sequence, start, end]", value)
    return span[0], span[1], span[2]


def _read_options(value: object, path: str) -> Options:
    if not isinstance(value, Mapping):
        raise _wrong(path, "a dictionary", value)
    return Options(value)


def _read_token(value: object, path: str) -> Token:
    return Token(
        text=_key(value, "text", path, _read_text),
        start=_key(value, "start", path, _read_integer),
        end=_key(value, "end", path, _read_integer),
        sequence=_key(value, "sequence", path, _optional(_read_integer)),
        word=_key(value, "word", path, _optional(_read_integer)),
        special=_key(value, "special", path, _read_boolean),
        score=_key(value, "score", path, _read_number),
    )


def _read_target(value: object, path: str) -> Target:
    return Target(
        index=_key(value, "index", path, _read_integer),
        label=_key(value, "label", path, _read_text),
        against=_key(value, "against", path, _optional(_read_integer)),
        against_label=_key(value, "against_label", path, _optional(_read_text)),
    )


def _read_completeness(value: object, path: str) -> Completeness:
    return Completeness(
        relevance_sum=_key(value, "relevance_sum", path, _read_number),
        logit=_key(value, "logit", path, _read_number),
    )
