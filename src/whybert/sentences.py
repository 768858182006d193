"""What a sentence is.

A *sentence* is a piece of the original text, as a word is: it depends on no model, no language and no
tokenizer.  The rule is that of Unicode (UAX #29) with the properties of its characters, and what it is
known to get wrong is put right: abbreviations, initials, numbers of lists, and lines that are wrapped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final

import regex

from whybert.words import Span

_TITLES = "mr mrs ms mx dr prof st sr jr gen col capt cpt cmdr lt sgt rev hon gov sen rep pres supt messrs"
_OTHERS = "mt ft vs viz cf eg ie al ca approx bzw vgl ggf evtl sog hr fr dipl ing mme mlle mm sra srta dra ud"
_MONTHS = "jan feb mar apr jun jul aug sep sept oct nov dec"
_PARTS = "no nos nr num art fig figs eq eqs sec ch vol p pp pg abb abs bd ed op"
# After these a full stop ends no sentence, whatever follows; after those, none before a number.
_ABBREVIATIONS: Final = frozenset(f"{_TITLES} {_OTHERS}".split())
_BEFORE_NUMBERS: Final = frozenset(f"{_MONTHS} {_PARTS}".split())
_MARK = r"[\p{SB=ATerm}\p{SB=STerm}\u2026]"
_CLOSE = r"(?:[\p{Pe}\p{Pf}]|[\p{Pi}\"'](?![\p{L}\p{N}])|\p{SB=Sp}++[\p{Pe}\p{Pf}](?![\p{L}\p{N}]))"
_LINE = r"(?:\r\n|[\n\r\v\f\x85\u2028\u2029]|<br\s*/?>)"
_LINES = rf"{_LINE}(?:\s*{_LINE})*"
_PLACE: Final = regex.compile(
    rf"(?P<mark>{_MARK}(?:{_CLOSE}*+\p{{SB=Sp}}*+{_MARK})*+)(?P<close>{_CLOSE}*+)"
    rf"(?:\p{{SB=Sp}}*+(?P<lines>{_LINES}))?"
    rf"|(?P<lines>{_LINES})",
    regex.IGNORECASE,
)
_AHEAD: Final = regex.compile(
    r"(?P<space>\s*+)(?P<goes_on>\p{SB=SContinue})?[^\p{L}\p{N}\s]{0,8}+"
    r"(?:(?P<lower>\p{SB=Lower})|(?P<other>\p{SB=OLetter})|(?P<digit>\p{N}))?"
)
_BEFORE: Final = regex.compile(r"(?:^|[^\p{L}\p{M}\p{N}.'\u2019])((?:\p{L}\.)*[\p{L}\p{M}]+|\p{N}+)$")
_CAPITAL: Final = regex.compile(r"\p{SB=Upper}")
_GOES_ON: Final = regex.compile(r"\p{SB=SContinue}\s*$")
_EACH_LINE: Final = regex.compile(_LINE, regex.IGNORECASE)
_NEED_SPACE: Final = ".\u2024\ufe52\uff0e\u2026!?\u203c\u2047\u2048\u2049"  # they are also used inside words
_FULL_STOPS: Final = ".\u2024\ufe52\uff0e\u2026"
_NEAR: Final = 40  # characters before a full stop that are looked at


def split_sentences(text: str) -> Iterator[Span]:
    """The spans of the sentences of `text`, in order, without white space at their ends.

    A sentence ends after a mark that ends sentences in any script, with the quotes and brackets that close
    there; but a full stop or an ellipsis ends none before a small letter, and none after an initial, a listed
    abbreviation, or the number that begins an item of a list, and none where no white space follows.  A blank
    line ends it, and so does a single line break unless the next line begins with a small letter, or this one
    ends with a comma or the like.  In a text without capitals a small letter says nothing.
    """
    start, has_capitals = 0, _CAPITAL.search(text) is not None
    for place in _PLACE.finditer(text):
        if _is_end(text, place, start, has_capitals):
            yield from _stripped(text, start, place.end())
            start = place.end()
    yield from _stripped(text, start, len(text))


def words_of_sentences(
    texts: Sequence[str], word_spans: Sequence[tuple[int, int, int]]
) -> tuple[tuple[int, ...], ...]:
    """The words of each sentence that has any, as indices into `word_spans`; each word is in one.

    Args:
        texts: the text, and its pair if there is one.
        word_spans: (sequence, start, end) of each word.  A word that reaches over the end of a sentence makes
            one of the two.
    """
    ends = [[end for _, end in split_sentences(text)] for text in texts]
    found: list[list[int]] = []
    reached = (-1, 0)  # the sequence and the end of the last sentence
    for index in sorted(range(len(word_spans)), key=lambda each: word_spans[each]):
        sequence, start, end = word_spans[index]
        if (sequence, start) >= reached:
            found.append([])
        found[-1].append(index)
        place = bisect_left(ends[sequence], end)
        reached = max(reached, (sequence, ends[sequence][place] if place < len(ends[sequence]) else end))
    return tuple(map(tuple, found))


def _is_end(text: str, place: Any, start: int, has_capitals: bool) -> bool:
    """Whether a sentence that begins at `start` ends at a place that looks so."""
    lines = place["lines"] or ""
    if len(_EACH_LINE.findall(lines)) > 1 or "\f" in lines or "\u2029" in lines:
        return True
    ahead = _AHEAD.match(text, place.end())
    before_small = has_capitals and ahead["lower"] is not None
    mark = place["mark"]
    if mark is None:
        return not before_small and not _GOES_ON.search(text[max(0, place.start() - _NEAR) : place.start()])
    is_stop = mark[-1] in _FULL_STOPS
    if ahead["goes_on"] is not None and not lines:
        return False
    if mark[-1] in _NEED_SPACE and not (lines or ahead["space"] or place.end() == len(text)):
        return not is_stop and ahead["other"] is not None
    if before_small and (is_stop or place["close"]):
        return False
    return mark != "." or bool(place["close"]) or not _is_abbreviation(text, place.start(), start, ahead)


def _is_abbreviation(text: str, stop: int, start: int, ahead: Any) -> bool:
    """Whether what the full stop follows is written with one."""
    near = max(start, stop - _NEAR)
    before = _BEFORE.search(text[near:stop])
    if before is None:
        return False
    word = before[1]
    if word[-1].isdecimal():
        return not text[start : near + before.start(1)].strip()  # the number of an item
    name = word.casefold()
    return (
        len(word) == 1
        or "." in word
        or name in _ABBREVIATIONS
        or (name in _BEFORE_NUMBERS and ahead["digit"] is not None)
    )


def _stripped(text: str, start: int, end: int) -> Iterator[Span]:
    piece = text[start:end]
    if piece.strip():
        yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
