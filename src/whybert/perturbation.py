"""Ways to take tokens away from a text, and how many inputs are answered together.

Inputs that are the same are answered once and those of one length in one batch, so that no batch holds
padding and the rounding of two batches does not tell equal inputs apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from whybert.errors import UnknownNameError, UsageError

Features = Mapping[str, Sequence[int]]
Columns = tuple[tuple[int, ...], ...]
"""The values of a text's inputs, hashable; their names are kept once for all texts."""

_TOKENS_PER_TEXT: Final = 64  # how long a text is taken to be when a batch is filled up by its tokens


@dataclass(frozen=True)
class Perturbation:
    """A way to take tokens away.

    apply: (inputs of a text, positions, tokenizer) -> inputs without these tokens.
    """

    name: str
    summary: str
    apply: Callable[[Features, Sequence[int], Any], dict[str, Sequence[int]]]


def _replaced(features: Features, name: str, positions: Sequence[int], value: int) -> list[int]:
    column = list(features[name])
    for position in positions:
        column[position] = value
    return column


def _mask(features: Features, positions: Sequence[int], tokenizer: Any) -> dict[str, Sequence[int]]:
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is None:
        raise UsageError(
            "the perturbation 'mask' needs a tokenizer with a mask token, and there is none; use 'delete'"
        )
    ids = _replaced(features, "input_ids", positions, mask)
    return {**features, "input_ids": ids}


def _delete(features: Features, positions: Sequence[int], tokenizer: Any) -> dict[str, Sequence[int]]:
    gone = set(positions)
    return {
        name: [value for position, value in enumerate(column) if position not in gone]
        for name, column in features.items()
    }


def _pad(features: Features, positions: Sequence[int], tokenizer: Any) -> dict[str, Sequence[int]]:
    padding = getattr(tokenizer, "pad_token_id", None)
    if padding is None or "attention_mask" not in features:
        raise UsageError(
            "the perturbation 'pad' needs a tokenizer with a padding token that returns an attention mask, "
            "and there is none; use 'delete'"
        )
    return {
        **features,
        "input_ids": _replaced(features, "input_ids", positions, padding),
        "attention_mask": _replaced(features, "attention_mask", positions, 0),
    }


def _zero(features: Features, positions: Sequence[int], tokenizer: Any) -> dict[str, Sequence[int]]:
    return {**features, "input_ids": _replaced(features, "input_ids", positions, 0)}


PERTURBATIONS: Final[Mapping[str, Perturbation]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Perturbation("delete", "the tokens are left out, and the text is shorter", _delete),
            Perturbation("mask", "the tokens become the tokenizer's mask token", _mask),
            Perturbation("pad", "the tokens become padding, their attention mask 0", _pad),
            Perturbation(
                "zero", "the tokens get the id 0, the attention mask stays 1 (the 2020 code)", _zero
            ),
        )
    }
)


def perturbation(name: str) -> Perturbation:
    """The perturbation of that name.  Raises UnknownNameError."""
    if name not in PERTURBATIONS:
        raise UnknownNameError("perturbation", name, PERTURBATIONS)
    return PERTURBATIONS[name]


def alike(inputs: Iterable[Columns], batch_size: int) -> Iterator[list[Columns]]:
    """Each input once, in batches of one length, the longest first.

    batch_size: how many texts of 64 tokens a batch is as large as.
    """
    by_length: dict[int, list[Columns]] = {}
    for columns in dict.fromkeys(inputs):
        by_length.setdefault(len(columns[0]), []).append(columns)
    for length in sorted(by_length, reverse=True):
        size = max(1, batch_size * _TOKENS_PER_TEXT // max(1, length))
        listed = by_length[length]
        yield from (listed[start : start + size] for start in range(0, len(listed), size))
