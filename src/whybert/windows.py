"""Texts that are longer than what the model reads at once, and what is said of their windows put together.

A window is a choice of the text's own tokens: all special tokens, and a run of the others that ends where a
word does.  Two windows share up to `stride` tokens.  Each token of the text has one vote, and where several
windows hold it, an equal part of it goes to each; the share of a window's votes is its weight w.  Then

    logits of the text          = sum over windows of w * logits of the window
    score of a token            = sum over the windows that hold it of w * its score there

What is explained, a logit or a difference of two, is the same weighted sum, with weights that do not depend
on the model.  So whatever is linear in the explained output, as gradients and relevance are, is of the whole
exactly this sum, and what adds up in each window (tokens and biases to the logit) adds up in the whole.
Of a quantity that is not linear in the logits, such as a probability, the weighted mean of the windows' own
is explained, which is not quite that of the mean logits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby
from types import MappingProxyType
from typing import Any, Final, TypeVar

from whybert.encoding import EncodedText
from whybert.errors import PLACE, InputError, UnknownNameError, UsageError
from whybert.progress import Progress, silent

LONG: Final = ("truncate", "windows")
"""How a text is read that is longer than the maximum: its beginning only, or all of it in windows."""

_OVERLAP: Final = 4  # unless it is said, two windows share one token in so many
_OF_TOKENS: Final = ("tokens", "offsets", "sequence_ids", "special", "word_ids", "unknown")
_LEAST_ROOM: Final = 8  # of a pair, one token in so many of a window at least is of the part that is cut

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Part:
    """A text or a window of one, as the model reads it.

    row: its tokens; its words are those of the whole text.
    columns: of each of its tokens the index among the tokens of the whole text.
    start, end: the range of those indices that only windows hold, as in `whybert.explanation.Window`.
    weight: its share in what is said of the whole; 1 for a text that is read at once.
    """

    row: EncodedText
    columns: Sequence[int]
    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Reading:
    """How a text is read: the text itself, and its parts in order, one where it is read at once."""

    row: EncodedText
    parts: tuple[Part, ...]

    @classmethod
    def at_once(cls, row: EncodedText) -> Reading:
        return cls(row, (Part(row, range(row.token_count), 0, row.token_count, 1.0),))

    def mean(self, values: Sequence[Sequence[float]]) -> list[float]:
        """Of numbers that each part has several of, their weighted sums."""
        if len(self.parts) == 1:
            return list(values[0])
        weights = [part.weight for part in self.parts]
        return [
            sum(weight * value for weight, value in zip(weights, column, strict=True))
            for column in zip(*values, strict=True)
        ]

    def predicted(self, logits: Sequence[Sequence[float]]) -> int:
        """The class of the highest logit of the whole, from those of the parts."""
        mean = self.mean(logits)
        return max(range(len(mean)), key=mean.__getitem__)

    def spread(self, scores: Sequence[Sequence[float]]) -> list[float]:
        """The weighted sums of the scores that the parts give to the tokens of the whole text."""
        if len(self.parts) == 1:
            return list(scores[0])
        total = [0.0] * self.row.token_count
        for part, found in zip(self.parts, scores, strict=True):
            for column, score in zip(part.columns, found, strict=True):
                total[column] += part.weight * score
        return total


@dataclass(frozen=True)
class Readings:
    """Texts as they are read, and their parts one after another."""

    texts: tuple[Reading, ...]

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """For each part the index of its text, and its own among the parts of that text."""
        return tuple((i, k) for i, text in enumerate(self.texts) for k in range(len(text.parts)))

    @property
    def rows(self) -> list[EncodedText]:
        """What the model reads, part for part."""
        return [part.row for text in self.texts for part in text.parts]

    def gathered(
        self, answers: Iterable[tuple[Sequence[int], Sequence[Value]]], progress: Progress = silent
    ) -> Iterator[tuple[tuple[int, ...], list[list[Value]]]]:
        """Texts, by index, of which all parts are answered, and the answers to their parts in order.

        Args:
            answers: to some of the parts, batch by batch, by their indices in `rows`.
            progress: is told the number of parts that are answered, where a text has several.
        """
        waiting: dict[int, dict[int, Value]] = {}
        count = 0
        for indices, values in answers:
            count += len(indices)
            if len(self.places) > len(self.texts):
                progress("windows", count, len(self.places))
            done = []
            for index, value in zip(indices, values, strict=True):
                text, part = self.places[index]
                found = waiting.setdefault(text, {})
                found[part] = value
                if len(found) == len(self.texts[text].parts):
                    done.append(text)
            if done:
                yield tuple(done), [[each for _, each in sorted(waiting.pop(text).items())] for text in done]


def check_long(long: str, stride: int | None) -> None:
    """Raise UsageError unless this is how long texts can be read."""
    if long not in LONG:
        raise UnknownNameError("way to read long texts", long, LONG)
    if stride is None:
        return
    if long != "windows":
        raise UsageError(
            f"stride={stride!r} is of windows; add long='windows', or leave it out; "
            "the stride of occlusion is written 'occlusion:window=2,stride=2'"
        )
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 0:
        raise UsageError(f"stride must be a whole number of tokens of at least 0, not {stride!r}")


def cut(row: EncodedText, max_length: int | None, stride: int | None = None, index: int = 0) -> Reading:
    """A whole text, nothing of it left out, in windows if it is longer than the maximum.

    Args:
        row: its tokens.
        max_length: the most tokens of a window, special ones included; None reads any text at once.
        stride: the most tokens that two windows share, special ones and the other part of a pair not counted;
            None for a quarter of what a window has room for.  It is less where a word would not be whole.
        index: the text's, for errors.

    Raises:
        InputError: a window has no room.
    """
    if max_length is None or row.token_count <= max_length:
        return Reading.at_once(row)
    sides = [[c for c, found in enumerate(row.sequence_ids) if found == side] for side in (0, 1)]
    side = 0 if len(sides[0]) >= len(sides[1]) else 1
    columns = sides[side]
    others = [column for column, found in enumerate(row.sequence_ids) if found != side]
    room = max_length - len(others)
    if row.pair is not None and room < max(1, max_length // _LEAST_ROOM):
        raise InputError(
            f"the {('second', 'first')[side]} part of {PLACE} has {len(sides[1 - side])} tokens, so windows "
            f"over the other part have no room in max_length={max_length}; shorten it, or do "
            "without windows",
            index,
        )
    if room < 1:
        raise InputError(
            f"max_length must be at least {len(others) + 1}, a token of a text and the special ones"
        )
    if stride is not None and stride >= room:
        raise InputError(
            f"stride must be less than the {room} tokens of {PLACE} that a window has room for, not {stride}",
            None if row.pair is None else index,
            "a text" if row.pair is None else None,
        )
    # What is not cut: a word, or of one that is longer than a window as much as that holds.
    words = [len(list(group)) for _, group in groupby(row.word_ids[column] for column in columns)]
    sizes = [min(room, size - start) for size in words for start in range(0, size, room)]
    spans = _spans(sizes, room, room // _OVERLAP if stride is None else stride)
    holders = [0] * len(sizes)
    for start, end in spans:
        for piece in range(start, end):
            holders[piece] += 1
    ends = [0, *accumulate(sizes)]
    parts = []
    for start, end in spans:
        chosen = columns[ends[start] : ends[end]]
        votes = sum(sizes[piece] / holders[piece] for piece in range(start, end))
        kept = sorted((*others, *chosen))
        parts.append(Part(_chosen(row, kept), kept, chosen[0], chosen[-1] + 1, votes / len(columns)))
    return Reading(row, tuple(parts))


def _spans(sizes: Sequence[int], room: int, overlap: int) -> list[tuple[int, int]]:
    """Runs of pieces that cover all: each as long as there is room, and begun inside the one before it."""
    spans: list[tuple[int, int]] = []
    start = 0
    while True:
        end, held = start, 0
        while end < len(sizes) and held + sizes[end] <= room:
            held += sizes[end]
            end += 1
        spans.append((start, end))
        if end == len(sizes):
            return spans
        # Back over the pieces that both share, but so that the next one has room too: it always goes on.
        start, shared = end, 0
        while shared + sizes[start - 1] <= min(overlap, room - sizes[end]):
            start -= 1
            shared += sizes[start]


def _chosen(row: EncodedText, columns: Sequence[int]) -> EncodedText:
    """The tokens of these columns; words and spans stay those of the whole text."""
    given = {name: getattr(row, name) for name in _OF_TOKENS}
    own: dict[str, Any] = {
        name: tuple(map(each.__getitem__, columns)) for name, each in given.items() if each
    }
    own["features"] = MappingProxyType(
        {name: tuple(map(values.__getitem__, columns)) for name, values in row.features.items()}
    )
    return replace(row, **own, positions=tuple(range(len(columns))))
