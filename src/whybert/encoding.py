"""Texts to tokens, tokens to words, and rows of tokens to padded tensors.

This module knows the interface of the tokenizers, and torch for the tensors.  It knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from whybert.errors import PLACE, InputError, UnsupportedModelError, one_line
from whybert.tokenizers import Placed, Row, check_tokenizer, rows_of
from whybert.words import Span, split_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Text = str | tuple[str, str]

# A tokenizer that was never told its length says 1e30.  No real one comes near this.
_NO_LENGTH = 10**9
# What the padding of each kind of input is; every other kind, the attention mask too, is padded with 0.
_PADDING = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id"}


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text, or one pair of texts, as the tokenizer splits it and as its words group the tokens.

    Every tuple but `word_spans` has one entry for each token, special tokens included, padding not.
    Spans are `(start, end)` in characters of the original string: `text` for sequence 0, `pair` for 1.
    """

    text: str
    pair: str | None
    tokens: tuple[str, ...]
    """The tokens as the tokenizer spells them."""
    offsets: tuple[Span, ...]
    """The span of each token without white space at its ends; empty for special and blank tokens."""
    sequence_ids: tuple[int | None, ...]
    """0 for tokens of the text, 1 for those of its pair, None for those that the tokenizer added."""
    special: tuple[bool, ...]
    """Whether the tokenizer added the token ("[CLS]"); False where the text itself spells it out."""
    word_ids: tuple[int | None, ...]
    """The index into `word_spans` of the one word that the token belongs to; None for special tokens."""
    word_spans: tuple[tuple[int, int, int], ...]
    """`(sequence, start, end)` of each word that has a token: disjoint, in order, sequence 0 first."""
    positions: tuple[int, ...]
    """The columns of the batch that the tokens stand in."""
    truncated: bool
    """Whether tokens were left out because the text is longer than the maximum."""
    features: Mapping[str, tuple[int, ...]] = field(repr=False, compare=False)
    """What goes to the model, unpadded: one integer for each token under each input's name."""
    unknown: tuple[bool, ...] = ()
    """Whether the token stands for text that the tokenizer does not know; empty where none does."""

    @property
    def token_count(self) -> int:
        """The number of tokens, special tokens included, padding not."""
        return len(self.tokens)

    @property
    def words(self) -> tuple[str, ...]:
        """The words as slices of the original strings, one for each of `word_spans`."""
        sequences = (self.text, self.pair or "")
        return tuple(sequences[sequence][start:end] for sequence, start, end in self.word_spans)


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """A batch: `inputs`, integer tensors of shape (rows, columns) by name, and the text of each row."""

    inputs: dict[str, torch.Tensor]
    rows: tuple[EncodedText, ...]

    def to(self, device: torch.device | str) -> Encoding:
        """The same batch with its tensors on `device`."""
        return Encoding({name: tensor.to(device) for name, tensor in self.inputs.items()}, self.rows)


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int | None = None
) -> Encoding:
    """Tokenize `texts`, all strings or all `(text, pair)` tuples, into one padded batch.

    The tokenizer's own settings for truncation and padding do not apply, and nothing of it is changed.

    Args:
        tokenizer: one that exists in Python alone is asked text by text.
        texts: at least one.
        max_length: in tokens, special tokens included; longer texts are cut (of a pair, the longer part
            first) and marked `truncated`.  None cuts nothing.

    Raises:
        InputError: a text cannot be encoded; the error has its index.
        UnsupportedModelError: the tokenizer does not know where in the text its tokens are.
    """
    return collate(tokenizer, tokenize(tokenizer, texts, max_length))


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int | None = None
) -> tuple[EncodedText, ...]:
    """The rows of `encode` before they are padded: row i has the positions 0, 1, ... of its own tokens."""
    check_tokenizer(tokenizer)
    firsts, seconds = _checked(texts)
    special_count = tokenizer.num_special_tokens_to_add(pair=seconds is not None)
    least = special_count + (1 if seconds is None else 2)
    if max_length is not None and (
        isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < least
    ):
        raise InputError(
            f"max_length must be a whole number of at least {least}: {special_count} special tokens "
            f"and one for each text, not {max_length!r}"
        )

    try:
        found = rows_of(tokenizer, firsts, seconds, max_length)
    except (InputError, UnsupportedModelError):
        raise
    except BaseException as error:
        # What breaks in the tokenizers' Rust is no Exception, so that Python code does not go on by mistake.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if len(texts) == 1:
            raise InputError(f"the tokenizer fails on {PLACE}: {one_line(error)}; leave it out", 0) from error
        for index, text in enumerate(texts):
            try:
                tokenize(tokenizer, [text], max_length)
            except InputError as wrong:
                raise wrong.at(f"text {index}", index) from error
        raise
    sequences: list[tuple[str, ...]] = [(text,) for text in firsts]
    if seconds is not None:
        sequences = list(zip(firsts, seconds, strict=True))
    return tuple(
        _encoded(index, own, row, tokenizer.unk_token_id, max_length)
        for index, (own, row) in enumerate(zip(sequences, found, strict=True))
    )


def _encoded(
    index: int, sequences: tuple[str, ...], row: Row, unknown_id: int | None, max_length: int | None
) -> EncodedText:
    """The text of this index, or the pair, as its tokenizer reads it; InputError where it reads nothing."""
    sequence_ids, offsets = _places(row, sequences)
    for sequence, name in enumerate((PLACE, f"second part of {PLACE}")[: len(sequences)]):
        if not _is_seen(sequence, sequence_ids, offsets):
            if any(_is_seen(sequence, *_places(rest, sequences)) for rest in row.cut()):
                raise InputError(
                    f"{name} begins with more white space than max_length={max_length} has room "
                    "for; strip it",
                    index,
                )
            raise InputError(
                f"{name} has no character that the tokenizer knows as a token; leave it out", index
            )
    word_ids, word_spans = _words(sequences, offsets, sequence_ids)
    special = tuple(sequence is None for sequence in sequence_ids)
    unknown = tuple(
        number == unknown_id and not is_special
        for number, is_special in zip(row.features["input_ids"], special, strict=True)
    )
    return EncodedText(
        text=sequences[0],
        pair=sequences[1] if len(sequences) > 1 else None,
        tokens=row.tokens,
        offsets=offsets,
        sequence_ids=sequence_ids,
        special=special,
        word_ids=word_ids,
        word_spans=word_spans,
        positions=tuple(range(len(special))),
        truncated=row.truncated,
        features=MappingProxyType(row.features),
        unknown=unknown if any(unknown) else (),
    )


def collate(tokenizer: PreTrainedTokenizerBase, rows: Sequence[EncodedText]) -> Encoding:
    """Pad `rows` of `tokenize` to the longest of them, on the tokenizer's padding side.

    Raises:
        InputError: there are several rows, and the tokenizer has no token for padding.
    """
    if len(rows) > 1 and tokenizer.pad_token_id is None:
        raise InputError(
            f"{len(rows)} texts cannot be one batch because the tokenizer has no padding token; "
            "give one text at a time (batch_size=1), or set tokenizer.pad_token"
        )
    width = max(row.token_count for row in rows)
    left = tokenizer.padding_side == "left"
    inputs = {}
    for name in rows[0].features:
        pad = getattr(tokenizer, _PADDING[name]) if name in _PADDING else 0
        columns = []
        for row in rows:
            values, padding = list(row.features[name]), [pad] * (width - row.token_count)
            columns.append(padding + values if left else values + padding)
        inputs[name] = torch.tensor(columns, dtype=torch.long)
    placed = []
    for row in rows:
        first = width - row.token_count if left else 0
        placed.append(replace(row, positions=tuple(range(first, first + row.token_count))))
    return Encoding(inputs, tuple(placed))


def maximum_length(tokenizer: PreTrainedTokenizerBase, positions: int | None) -> int | None:
    """The most tokens a text may have, special tokens included; None if nothing limits it.

    positions: how many the model has for tokens, None for any number.
    """
    limits = [] if positions is None else [positions]
    length = tokenizer.model_max_length
    if length is not None and 0 < length < _NO_LENGTH:
        limits.append(int(length))
    return min(limits, default=None)


def check_text(index: int, text: object) -> None:
    """Raise InputError unless `text` is a string, or a tuple of two, with more in it than white space.

    index: the text's, which the error names and carries.
    """
    if isinstance(text, tuple):
        if len(text) != 2:
            raise InputError(f"{PLACE} is a tuple of {len(text)}; a pair is a tuple of two strings", index)
        for part, name in zip(text, ("first", "second"), strict=True):
            if not isinstance(part, str):
                raise InputError(f"the {name} part of {PLACE} must be a str, not {_kind(part)}", index)
            if not part.strip():
                raise InputError(f"the {name} part of {PLACE} is empty; leave this pair out", index)
    elif not isinstance(text, str):
        raise InputError(f"{PLACE} must be a str or a tuple of two, not {_kind(text)}", index)
    elif not text.strip():
        raise InputError(f"{PLACE} is empty; leave it out", index)


def _checked(texts: Sequence[Text]) -> tuple[list[str], list[str] | None]:
    """The texts, and their pairs if they have any, once all are known to be good and of one kind."""
    if isinstance(texts, str | bytes):
        raise InputError(f"texts must be a sequence of texts, not one {_kind(texts)}; put it in a list")
    if not texts:
        raise InputError("there is no text to encode; give at least one")
    firsts: list[str] = []
    seconds: list[str] = []
    for index, text in enumerate(texts):
        check_text(index, text)
        if isinstance(text, tuple) != isinstance(texts[0], tuple):
            kinds = ("a pair", "a single text") if isinstance(text, tuple) else ("a single text", "a pair")
            raise InputError(
                f"{PLACE} is {kinds[0]} but text 0 is {kinds[1]}; encode texts and pairs separately",
                index,
            )
        if isinstance(text, tuple):
            firsts.append(text[0])
            seconds.append(text[1])
        else:
            firsts.append(text)
    return firsts, seconds or None


def _places(
    placed: Row | Placed, sequences: Sequence[str]
) -> tuple[tuple[int | None, ...], tuple[Span, ...]]:
    """The sequence and the span of each token, without white space at its ends."""
    offsets = tuple(
        (0, 0) if sequence is None else _stripped(sequences[sequence], span)
        for sequence, span in zip(placed.sequence_ids, placed.offsets, strict=True)
    )
    return placed.sequence_ids, offsets


def _is_seen(sequence: int, sequence_ids: Sequence[int | None], offsets: Sequence[Span]) -> bool:
    """Whether a token stands for more of the sequence than white space."""
    return any(
        found == sequence and start < end for found, (start, end) in zip(sequence_ids, offsets, strict=True)
    )


def _kind(value: object) -> str:
    """What a value is that is no text, for messages."""
    kind = type(value).__name__
    if value is None or kind in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return f"{value} (a missing value; leave it out, as series.dropna() does)"
    ways = {"bytes": " (decode it)", "dict": " (take the texts out of it)", "list": " (a pair is a tuple)"}
    return kind + ways.get(kind, "")


def _stripped(text: str, span: Span) -> Span:
    """The span without white space at its ends; an empty one stays where the white space ended."""
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _words(
    sequences: Sequence[str], offsets: Sequence[Span], sequence_ids: Sequence[int | None]
) -> tuple[tuple[int | None, ...], tuple[tuple[int, int, int], ...]]:
    """The word of each token, and the words that have tokens."""
    word_ids: list[int | None] = [None] * len(offsets)
    word_spans: list[tuple[int, int, int]] = []
    for sequence, text in enumerate(sequences):
        columns = [column for column, found in enumerate(sequence_ids) if found == sequence]
        first_word = len(word_spans)
        spans = [offsets[column] for column in columns]
        for start, end in _merged(list(split_words(text)), spans):
            word_spans.append((sequence, start, end))
        # The word at each character, so that a token finds its own by looking.
        at: list[int | None] = [None] * (len(text) + 1)
        for index in range(first_word, len(word_spans)):
            _, start, end = word_spans[index]
            at[start:end] = [index] * (end - start)
        for column, (start, _) in zip(columns, spans, strict=True):
            word_ids[column] = at[start]
        # Blank tokens ("\u2581" alone) that touch no word lead to the next one, and the last to the last.
        for ordered in (reversed(columns), columns):
            nearest: int | None = None
            for column in ordered:
                nearest = word_ids[column] = nearest if word_ids[column] is None else word_ids[column]
    return tuple(word_ids), tuple(word_spans)


def _merged(pieces: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """The pieces that a token overlaps, those that share a token as one."""
    reaches: list[Span] = []
    for token_start, token_end in sorted(span for span in spans if span[0] < span[1]):
        if reaches and token_start < reaches[-1][1]:
            reaches[-1] = (reaches[-1][0], max(reaches[-1][1], token_end))
        else:
            reaches.append((token_start, token_end))
    # `reaches` are the stretches of text that tokens share.  Pieces and stretches that overlap are
    # chained; both lists are in order, so one pass finds all chains.
    marked = sorted([(*piece, True) for piece in pieces] + [(*reach, False) for reach in reaches])
    words: list[Span] = []
    start = end = -1
    has_token = False
    for piece_start, piece_end, is_piece in marked:
        if piece_start < end:
            end = max(end, piece_end)
            has_token = has_token or not is_piece
            continue
        if has_token:
            words.append((start, end))
        start, end, has_token = piece_start, piece_end, not is_piece
    if has_token:
        words.append((start, end))
    return words
