"""What a word is.

A *word* is a piece of the original text and does not depend on the tokenizer, so that methods and
models can be compared: a run of letters, digits and marks (an inner apostrophe included), and each
other character by itself.  In scripts that are written without blanks between words it is one letter
with its vowels and marks.  Only where a single token spans several such pieces are they one word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]

_APOSTROPHES = "'\u2019\uff07"
_ZERO_WIDTH_JOINER = "\u200d"
# The ideographs that BERT's tokenizers split off one by one.
_HAN = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2EBEF),
    (0x30000, 0x323AF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# Thai, Lao, Burmese and Khmer have no blanks between words.  What a reader takes as one character is a
# consonant with vowels before and after it, marks, and consonants that a sign stacks under it.
_NO_BLANKS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))
_VOWELS_BEFORE = ((0x0E40, 0x0E44), (0x0EC0, 0x0EC4))
_VOWELS_AFTER = ((0x0E30, 0x0E33), (0x0E45, 0x0E46), (0x0EB0, 0x0EB3), (0x0EC6, 0x0EC6))
_STACKERS = "\u1039\u17d2"
_KANA = ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))


def split_words(text: str) -> Iterator[Span]:
    """The spans of the words of `text`, in order, before any tokenizer is asked.

    Runs of letters, digits and marks are words, with an apostrophe inside them ("don't") but no hyphen.
    An ideograph is a word, a run of kana is one, and so is each other character that is not white space.
    Marks and invisible format characters stay with what they follow, and emoji with their modifiers; in
    Thai, Lao, Burmese and Khmer each such group of letters is a word.
    """
    start, kind = -1, "space"
    for index, character in enumerate(text):
        found = _character_kind(character)
        if "space" in (found, kind):
            joins = False
        elif found == "extension":
            joins, found = True, kind
        elif found in {"letter", "kana"} and found == kind:
            joins = True
        elif found == kind == "syllable":
            before = text[index - 1]
            joins = (
                before in _STACKERS
                or _within(ord(before), _VOWELS_BEFORE)
                or _within(ord(character), _VOWELS_AFTER)
            )
        elif (
            character in _APOSTROPHES
            and kind == "letter"
            and index + 1 < len(text)
            and _character_kind(text[index + 1]) == "letter"
        ):
            joins, found = True, "letter"
        else:
            joins = kind == found == "other" and (
                text[index - 1] == _ZERO_WIDTH_JOINER
                or (index - start == 1 and _is_flag_half(text[start]) and _is_flag_half(character))
            )
        if not joins:
            if kind != "space":
                yield start, index
            # A mark with nothing before it is a letter: what follows may belong to it.
            start, kind = index, "letter" if found == "extension" else found
    if kind != "space":
        yield start, len(text)


def tokens_of_words(word_ids: Iterable[int | None], special: Iterable[bool]) -> dict[int, tuple[int, ...]]:
    """The tokens of each word that has any, in order; special tokens are in none.

    Args:
        word_ids: of each token, the index of its word.
        special: of each token, whether the tokenizer added it.
    """
    members: dict[int, list[int]] = {}
    for token, (word, is_special) in enumerate(zip(word_ids, special, strict=True)):
        if word is not None and not is_special:
            members.setdefault(word, []).append(token)
    return {word: tuple(members[word]) for word in sorted(members)}


def _character_kind(character: str) -> str:
    code = ord(character)
    if character.isspace():
        return "space"
    if code < 0x80:
        return "letter" if character.isalnum() else "other"
    if _within(code, _HAN):
        return "ideograph"
    category = unicodedata.category(character)
    if category[0] == "M" or category == "Cf" or 0x1F3FB <= code <= 0x1F3FF:
        return "extension"
    if _within(code, _KANA) and category[0] == "L":
        return "kana"
    if category[0] == "L" and _within(code, _NO_BLANKS):
        return "syllable"
    return "letter" if category[0] in "LN" else "other"


def _within(code: int, ranges: Sequence[Span]) -> bool:
    return any(first <= code <= last for first, last in ranges)


def _is_flag_half(character: str) -> bool:
    return 0x1F1E6 <= ord(character) <= 0x1F1FF
