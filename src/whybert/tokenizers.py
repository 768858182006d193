"""What tokenizers make of texts, with the place of each token, and nothing of theirs changed.

Fast ones say where their tokens are.  Those that exist in Python alone are asked how they split a text, and
where the tokens are is found by their spelling.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from whybert.alignment import aligned
from whybert.errors import PLACE, InputError, UnsupportedModelError
from whybert.words import Span

if TYPE_CHECKING:
    from tokenizers import Encoding as BackendEncoding
    from transformers import PreTrainedTokenizerBase

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# How a tokenizer is asked that exists in Python alone.
_ASKED: Final = ("tokenize", "convert_tokens_to_ids", "build_inputs_with_special_tokens", "prepare_for_model")


class Placed(NamedTuple):
    """Where the tokens of a row, or of what was cut from it, are; with white space at their ends."""

    sequence_ids: tuple[int | None, ...]
    offsets: tuple[Span, ...]


class Row(NamedTuple):
    """A row as a tokenizer reads it.  Tokens that it added have no sequence."""

    tokens: tuple[str, ...]
    sequence_ids: tuple[int | None, ...]
    offsets: tuple[Span, ...]
    features: dict[str, tuple[int, ...]]
    truncated: bool
    cut: Callable[[], Iterable[Placed]]
    """What was cut from it, in pieces."""


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise UnsupportedModelError unless the tokenizer says where its tokens are, or can be asked."""
    if getattr(tokenizer, "is_fast", False) or hasattr(tokenizer, "rows"):
        return
    if not all(hasattr(tokenizer, name) for name in _ASKED):
        raise UnsupportedModelError(
            f"a tokenizer of transformers is needed, one that knows where in the text its tokens are or that "
            f"can be asked how it splits one, not {type(tokenizer).__name__}; load it with AutoTokenizer"
        )


def rows_of(
    tokenizer: PreTrainedTokenizerBase,
    firsts: Sequence[str],
    seconds: Sequence[str] | None,
    max_length: int | None,
) -> list[Row]:
    """The rows of texts, or of pairs.

    Raises:
        InputError: a tokenizer in Python alone does not let it be told where the tokens of a text are.
        UnsupportedModelError: or which of them are the text's.
    """
    if hasattr(tokenizer, "rows"):  # one of ours, see `whybert.black_box`
        found: list[Row] = tokenizer.rows(firsts, seconds, max_length)
        return found
    read = _read_fast if getattr(tokenizer, "is_fast", False) else _read_slow
    return read(tokenizer, _encodable(firsts), None if seconds is None else _encodable(seconds), max_length)


def _encodable(texts: Sequence[str]) -> list[str]:
    # The tokenizers refuse half a surrogate pair.  One character for one keeps all spans valid.
    return [_SURROGATE.sub("\ufffd", str(text)) for text in texts]


def _read_fast(
    tokenizer: PreTrainedTokenizerBase, firsts: list[str], seconds: list[str] | None, max_length: int | None
) -> list[Row]:
    batch = _private(tokenizer)(
        firsts,
        seconds,
        add_special_tokens=True,
        padding=False,
        truncation="do_not_truncate" if max_length is None else "longest_first",
        max_length=max_length,
        verbose=False,
    )

    def placed(encoded: BackendEncoding) -> Placed:
        sequence_ids = tuple(
            None if is_special else sequence or 0
            for sequence, is_special in zip(encoded.sequence_ids, encoded.special_tokens_mask, strict=True)
        )
        return Placed(sequence_ids, tuple(encoded.offsets))

    return [
        Row(
            tuple(one.tokens),
            *placed(one),
            {name: tuple(values[index]) for name, values in batch.items()},
            bool(one.overflowing),
            partial(map, placed, one.overflowing),
        )
        for index, one in enumerate(batch.encodings)
    ]


def _read_slow(
    tokenizer: PreTrainedTokenizerBase, firsts: list[str], seconds: list[str] | None, max_length: int | None
) -> list[Row]:
    """Rows of a tokenizer that does not say where its tokens are: found by their spelling, and checked."""
    rows = []
    for index, first in enumerate(firsts):
        texts = [first] if seconds is None else [first, seconds[index]]
        row = _read_by_spelling(tokenizer, texts, max_length)
        if row is None:
            raise InputError(
                f"it cannot be told by their spelling where in {PLACE} the tokens are that "
                f"{type(tokenizer).__name__} makes of it; leave it out, or use a fast tokenizer (with a "
                "tokenizer.json)",
                index,
            )
        rows.append(row)
    return rows


def _read_by_spelling(tokenizer: Any, texts: list[str], max_length: int | None) -> Row | None:
    """The ids are the tokenizer's own; which of them it added is seen in what it makes of other numbers.

    None where it cannot be told where the tokens are.
    """
    split = [tokenizer.tokenize(text) for text in texts]
    found = [
        aligned(text, tokens, tokenizer.unk_token, tokenizer.tokenize)
        for text, tokens in zip(texts, split, strict=True)
    ]
    tokens = [
        (token, sequence, span)
        for sequence, (own, spans) in enumerate(zip(split, found, strict=True))
        for token, span in zip(own, spans or (), strict=spans is not None)
    ]
    if None in found:
        return None
    ids = tokenizer.convert_tokens_to_ids([token for token, *_ in tokens])
    ends = list(accumulate(map(len, split), initial=0))
    parts = [range(start, end) for start, end in pairwise(ends)]

    def features(kept: Sequence[range]) -> dict[str, tuple[int, ...]]:
        own = [[ids[number] for number in part] for part in kept]
        encoded = tokenizer.prepare_for_model(*own, add_special_tokens=True, truncation=False, verbose=False)
        return {name: tuple(values) for name, values in encoded.items()}

    whole = tokenizer(*texts, add_special_tokens=True, padding=False, truncation=False, verbose=False)
    kept = parts
    if max_length is not None and len(whole["input_ids"]) > max_length:
        kept = _cut(parts, len(whole["input_ids"]) - max_length, tokenizer.truncation_side == "left")
    # no id is below 0: where a number is that is, a token of the text is
    layout = tokenizer.build_inputs_with_special_tokens(*([-1 - number for number in part] for part in kept))
    of = [None if number >= 0 else -1 - number for number in layout]
    read = features(kept)
    expected = tuple(
        number if place is None else ids[place] for number, place in zip(layout, of, strict=True)
    )
    if read["input_ids"] != expected or features(parts) != {k: tuple(v) for k, v in whole.items()}:
        raise UnsupportedModelError(
            f"{type(tokenizer).__name__} puts its tokens together in a way that is not known, so that it "
            "cannot be told which are the text's; use a fast tokenizer (with a tokenizer.json)"
        )
    names = tokenizer.convert_ids_to_tokens(list(expected))
    added = [(name, None, (0, 0)) for name in names]
    columns = [added[i] if place is None else tokens[place] for i, place in enumerate(of)]
    cut = [tokens[number] for number in range(len(tokens)) if not any(number in part for part in kept)]
    return Row(
        tuple(token for token, *_ in columns),
        tuple(sequence for _, sequence, _ in columns),
        tuple(span for *_, span in columns),
        read,
        bool(cut),
        lambda: [Placed(tuple(each for _, each, _ in cut), tuple(each for *_, each in cut))],
    )


def _cut(parts: Sequence[range], excess: int, left: bool) -> list[range]:
    """The parts without so many tokens, as transformers cuts what is too long, the longer part first."""
    removed = [excess]
    if len(parts) == 2:
        first, second = map(len, parts)
        apart = min(abs(first - second), excess)
        fewer, more = (excess - apart) // 2, (excess - apart + 1) // 2
        removed = [apart + fewer, more] if first > second else [fewer, apart + more]
    return [
        part[count:] if left else part[: max(0, len(part) - count)]
        for part, count in zip(parts, removed, strict=True)
    ]


def _private(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A tokenizer of the same parts whose truncation and padding are its own.

    Both are state of a tokenizer, and its owner and other threads may set them at any time.  The parts,
    the vocabulary first, are shared and not copied, so this takes a fraction of a millisecond and what is
    changed in them, or added to the tokenizer, counts.
    """
    backend = tokenizer.backend_tokenizer
    private = type(backend)(backend.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (value := getattr(backend, part)) is not None:
            setattr(private, part, value)
    private.encode_special_tokens = backend.encode_special_tokens
    added = backend.get_added_tokens_decoder()
    private.add_tokens([added[number] for number in sorted(added)])
    if private.get_added_tokens_decoder() != added:  # numbers with gaps, which only a file can give
        private = type(backend).from_str(backend.to_str())
        private.no_truncation()
        private.no_padding()
    clone = copy.copy(tokenizer)
    clone._tokenizer = private
    return clone
