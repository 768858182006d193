"""Where in a text its tokens are, for tokenizers that do not say it: found by spelling, and checked.

Text and tokens are compared character by character, from the first to the last, as both are spelled once the
tokenizer's normalisation is undone as far as it is known: each token must be what comes next in the text, and
nothing but white space may be left over.  Where several ways to place the tokens remain, or none, there is no
answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from whybert.words import Span

_Text = list[tuple[str, int]]
"""The letters of a text as they are compared, each with the index of the character that it is of."""


class _Reading(NamedTuple):
    """A way to compare: the letters of a character of the text, those of a token, and what is left of it.

    content: the token without the signs of its kind of tokenizer.
    """

    of_text: Callable[[str], list[str]]
    of_token: Callable[[str], list[str]]
    content: Callable[[str], str]


_MOST_WAYS: Final = 2  # to place tokens that are looked for; more than one is no answer


# --- how letters are compared ---------------------------------------------------------------------------


def _exact(character: str) -> str:
    return "" if character.isspace() else character


def _clean(character: str) -> str:
    """Without the characters that are not seen."""
    invisible = unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs") or character == "\ufffd"
    return "" if invisible else _exact(character)


def _lower(character: str) -> str:
    return _clean(character).lower()


@cache
def _unaccented(character: str) -> str:
    """Without accents and marks either."""
    return _without_marks(unicodedata.normalize("NFD", unicodedata.normalize("NFD", character).lower()))


@cache
def _compatible(character: str) -> str:
    """Characters that Unicode calls compatible are the same, whatever their case."""
    return "".join(map(_exact, _decomposed(character)))


@cache
def _visible(character: str) -> str:
    """The same without the characters that are not seen."""
    return "".join(map(_clean, _decomposed(character)))


def _decomposed(character: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())


@cache
def _bare(character: str) -> str:
    """The same without accents and marks."""
    return _without_marks(_decomposed(character))


def _without_marks(characters: str) -> str:
    return "".join(_clean(each) for each in characters if not _is_mark(each))


_FOLDS: Final = (_exact, _clean, _lower, _unaccented, _compatible, _visible, _bare)


# --- what tokens are written with -----------------------------------------------------------------------


def _plain(token: str) -> str:
    return token


def _after_hashes(token: str) -> str:
    return token[2:] if token.startswith("##") and len(token) > 2 else token


def _before_at(token: str) -> str:
    return token[:-2] if token.endswith("@@") and len(token) > 2 else token


def _before_end(token: str) -> str:
    return token.removesuffix("</w>")


def _after_blank(token: str) -> str:
    return token.replace("\u2581", " ")


_SPELLINGS: Final = (_plain, _after_hashes, _before_at, _before_end, _after_blank)


def _reading(fold: Callable[[str], str], spelling: Callable[[str], str]) -> _Reading:
    def letters(characters: str) -> list[str]:
        return [letter for character in characters for letter in fold(character)]

    return _Reading(letters, lambda token: letters(spelling(token)), spelling)


def _readings(folds: Sequence[Callable[[str], str]] = _FOLDS) -> Iterator[_Reading]:
    for fold in folds:
        for spelling in _SPELLINGS:
            yield _reading(fold, spelling)
    for bytes_of in (_bytes_of_gpt, _bytes_of_characters):
        yield _Reading(_bytes_of_text, bytes_of, lambda token: "")  # no letters: nothing but blanks


@cache
def _alphabet() -> dict[str, int]:
    """The characters that GPT-2 writes bytes as."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {
        **{chr(byte): byte for byte in shown},
        **{chr(256 + index): byte for index, byte in enumerate(hidden)},
    }


_BLANKS: Final = frozenset(b" \t\n\r\v\f\x1c\x1d\x1e\x1f")


def _letters(numbers: Sequence[int]) -> list[str]:
    return [chr(byte) for byte in numbers if byte not in _BLANKS]


def _bytes_of_text(character: str) -> list[str]:
    return _letters(character.encode("utf-8", "surrogatepass"))


def _bytes_of_gpt(token: str) -> list[str]:
    alphabet = _alphabet()
    if all(character in alphabet for character in token):
        return _letters([alphabet[character] for character in token])
    return _letters(token.encode("utf-8", "surrogatepass"))  # a token that was added


def _bytes_of_characters(token: str) -> list[str]:
    if len(token) == 1 and ord(token) < 256:
        return _letters([ord(token)])
    return _letters(token.encode("utf-8", "surrogatepass"))


# --- placing ---------------------------------------------------------------------------------------------


def aligned(
    text: str,
    tokens: Sequence[str],
    unknown: str | None = None,
    split: Callable[[str], list[str]] | None = None,
) -> list[Span] | None:
    """The span of each token in the text, without white space at its ends; None if it cannot be told.

    Args:
        text: that the tokens are of.
        tokens: as the tokenizer spells them, in order, without those that it adds.
        unknown: the token that stands for words it does not know; None where there is none.
        split: the tokenizer's own `tokenize`, which tells to which word an unknown token belongs.

    Returns:
        `(start, end)` in characters of the text; empty for a token that stands for white space alone.
    """
    for reading in _readings():
        found = _placed(text, tokens, reading)
        if found is not None:
            return found
    if unknown is None or unknown not in tokens:
        return None
    words = _by_word(text, tokens, split) or [((0, len(text)), list(tokens))]
    # what is not seen is a part of no word that is not known
    for in_pieces in (True, False):
        for reading in _readings(_FOLDS[1:]):
            spans: list[Span] = []
            for (start, end), own in words:
                part = _placed_around(text[start:end], own, unknown, reading, in_pieces)
                if part is None:
                    break
                spans += [(start + first, start + last) for first, last in part]
            else:
                return spans
    return None


def _spelled(tokens: Sequence[str], unknown: str | None, reading: _Reading) -> list[list[str] | None] | None:
    """The letters of each token, None for the unknown one; None if one has none that is more than blank."""
    spelled = [None if token == unknown else reading.of_token(token) for token in tokens]
    for token, letters in zip(tokens, spelled, strict=True):
        if letters == [] and reading.content(token).strip():
            return None
    return spelled


def _by_word(
    text: str, tokens: Sequence[str], split: Callable[[str], list[str]] | None
) -> list[tuple[Span, list[str]]] | None:
    """The words between white space, with the tokens of each; None where a tokenizer does not split there."""
    found: list[tuple[Span, list[str]]] = []
    if split is None:
        return None
    position = 0
    for word in text.split():
        start = text.index(word, position)
        position = start + len(word)
        found.append(((start, position), split(word)))
    return found if [token for _, own in found for token in own] == list(tokens) else None


def _letters_of(text: str, reading: _Reading) -> _Text:
    return [(letter, index) for index, character in enumerate(text) for letter in reading.of_text(character)]


def _placed(text: str, tokens: Sequence[str], reading: _Reading) -> list[Span] | None:
    """The span of each token where all are spelled out."""
    letters, spelled = _letters_of(text, reading), _spelled(tokens, None, reading)
    if spelled is None or [each for token in spelled for each in token or ()] != [
        each for each, _ in letters
    ]:
        return None
    places = [0, *accumulate(len(token or ()) for token in spelled)]
    return _spans(text, letters, list(pairwise(places)))


def _placed_around(
    text: str, tokens: Sequence[str], unknown: str, reading: _Reading, in_pieces: bool
) -> list[Span] | None:
    """The span of each token where the unknown one stands for a piece, or for any number of characters."""
    letters, spelled = _letters_of(text, reading), _spelled(tokens, unknown, reading)
    if spelled is None:
        return None
    pieces = _pieces(text, letters)
    whole = {0, len(letters)} | {
        place for place in range(1, len(letters)) if letters[place][1] != letters[place - 1][1]
    }
    ways = _ways(
        letters,
        spelled,
        lambda first, last: (first, last) in pieces if in_pieces else first in whole and last in whole,
    )
    if len(ways) != 1:
        return None
    spans = _spans(text, letters, ways[0])
    for index, ((start, end), token) in enumerate(zip(spans, tokens, strict=True)):
        while token == unknown and 0 < start < end - 1 and _is_mark(text[start]):
            start += 1  # it belongs to the letter before
        spans[index] = (start, end)
    return spans


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) == "Mn"


def _ways(
    letters: _Text, tokens: Sequence[list[str] | None], is_unknown: Callable[[int, int], bool]
) -> list[list[Span]]:
    """The ways to place the tokens, at most `_MOST_WAYS` of them."""
    states: dict[int, list[list[Span]]] = {0: [[]]}
    for token in tokens:
        following: dict[int, list[list[Span]]] = {}
        for position, ways in states.items():
            if token is None:
                ends = [end for end in range(position + 1, len(letters) + 1) if is_unknown(position, end)]
            else:
                end = position + len(token)
                ends = [end] if [letter for letter, _ in letters[position:end]] == token else []
            for end in ends:
                known = following.setdefault(end, [])
                known += [[*way, (position, end)] for way in ways[: _MOST_WAYS - len(known)]]
        states = following
    return states.get(len(letters), [])


def _pieces(text: str, letters: _Text) -> set[Span]:
    """Where words without punctuation, and marks of punctuation and ideographs by themselves, are."""
    found: set[Span] = set()
    start = 0
    for index in range(1, len(letters) + 1):
        if index < len(letters) and not (
            _stands_alone(text[letters[index][1]]) or _stands_alone(text[letters[index - 1][1]])
        ):
            continue
        found.add((start, index))
        start = index
    return found


def _stands_alone(character: str) -> bool:
    code = ord(character)
    return (
        unicodedata.category(character)[0] == "P"
        or (code < 128 and not character.isalnum())
        or 0x4E00 <= code <= 0x9FFF
    )


def _spans(text: str, letters: _Text, ends: Sequence[Span]) -> list[Span]:
    """Spans of letters as spans of the text."""
    spans = []
    for first, last in ends:
        place = letters[first][1] if first < len(letters) else len(text)
        spans.append((place, place if first == last else letters[last - 1][1] + 1))
    return spans
