"""What a word is.

A *word* is a piece of the original text and does not depend on the tokenizer, so that methods and
models can be compared: a run of letters, digits and marks (an inner apostrophe included), and each
other character by itself.  Only where a single token spans several such pieces are they one word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

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
_KANA = ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))


def split_words(text: str) -> Iterator[Span]:
    """The spans of the words of `text`, in order, before any tokenizer is asked.

    Runs of letters, digits and marks are words, with an apostrophe inside them ("don't") but no hyphen.
    An ideograph is a word, a run of kana is one, and so is each other character that is not white space.
    Marks and invisible format characters stay with what they follow, and emoji with their modifiers.
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
    return "letter" if category[0] in "LN" else "other"


def _within(code: int, ranges: Sequence[Span]) -> bool:
    return any(first <= code <= last for first, last in ranges)


def _is_flag_half(character: str) -> bool:
    return 0x1F1E6 <= ord(character) <= 0x1F1FF
