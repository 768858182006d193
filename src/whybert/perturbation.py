"""Ways to take tokens away from a text, and how many inputs are answered together.

Inputs that are the same are answered once and those of one length in one batch, so that no batch holds
padding and the rounding of two batches does not tell equal inputs apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor

from whybert.errors import UnknownNameError, UsageError

Features = Mapping[str, Sequence[int]]
Columns = tuple[tuple[int, ...], ...]
"""The values of a text's inputs, hashable; their names are kept once for all texts."""

_TOKENS_PER_TEXT: Final = 64  # how long a text is taken to be when a batch is filled up by its tokens


@dataclass(frozen=True)
class Perturbation:
    """A way to take tokens away.

    values: (names of a text's inputs, tokenizer) -> what each input holds at the tokens that are taken away;
        an input that is not named keeps its own, and None leaves the tokens out.
    """

    name: str
    summary: str
    values: Callable[[Collection[str], Any], Mapping[str, int] | None]

    def apply(self, features: Features, positions: Sequence[int], tokenizer: Any) -> dict[str, Sequence[int]]:
        """The inputs of a text without these tokens."""
        values, gone = self.values(features, tokenizer), set(positions)
        if values is None:
            return {
                name: [value for position, value in enumerate(column) if position not in gone]
                for name, column in features.items()
            }
        changed = dict(features)
        for name, value in values.items():
            changed[name] = [value if place in gone else own for place, own in enumerate(features[name])]
        return changed

    def applied(
        self, inputs: Mapping[str, Tensor], removed: Tensor, tokenizer: Any
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """The same for many removals from one text at once: those that leave inputs of one length together.

        Args:
            inputs: of the text, (tokens,) by name.
            removed: bool (removals, tokens); True is taken away.
            tokenizer: as for `apply`.

        Returns:
            Indices of removals, and for them the inputs (their number, length) by name.
        """
        values = self.values(inputs, tokenizer)
        if values is not None:
            columns = {name: tensor.expand(removed.shape) for name, tensor in inputs.items()}
            for name, value in values.items():
                columns[name] = columns[name].masked_fill(removed, value)
            yield list(range(len(removed))), columns
            return
        kept = ~removed
        counts = kept.sum(1)
        for count in sorted(set(counts.tolist())):
            rows = (counts == count).nonzero()[:, 0]
            places = kept[rows].nonzero()[:, 1].view(len(rows), count)
            yield rows.tolist(), {name: tensor[places] for name, tensor in inputs.items()}


def _mask(names: Collection[str], tokenizer: Any) -> dict[str, int]:
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is None:
        raise UsageError(
            "the perturbation 'mask' needs a tokenizer with a mask token, and there is none; use 'delete'"
        )
    return {"input_ids": mask}


def _pad(names: Collection[str], tokenizer: Any) -> dict[str, int]:
    padding = getattr(tokenizer, "pad_token_id", None)
    if padding is None or "attention_mask" not in names:
        raise UsageError(
            "the perturbation 'pad' needs a tokenizer with a padding token that returns an attention mask, "
            "and there is none; use 'delete'"
        )
    return {"input_ids": padding, "attention_mask": 0}


PERTURBATIONS: Final[Mapping[str, Perturbation]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Perturbation("delete", "the tokens are left out, and the text is shorter", lambda *_: None),
            Perturbation("mask", "the tokens become the tokenizer's mask token", _mask),
            Perturbation("pad", "the tokens become padding, their attention mask 0", _pad),
            Perturbation(
                "zero",
                "the tokens get the id 0, the attention mask stays 1 (the 2020 code)",
                lambda *_: {"input_ids": 0},
            ),
        )
    }
)


def perturbation(name: str) -> Perturbation:
    """The perturbation of that name.  Raises UnknownNameError."""
    if name not in PERTURBATIONS:
        raise UnknownNameError("perturbation", name, PERTURBATIONS)
    return PERTURBATIONS[name]


def most_together(length: int, batch_size: int) -> int:
    """How many texts of that length fill a batch that is as large as `batch_size` texts of 64 tokens."""
    return max(1, batch_size * _TOKENS_PER_TEXT // max(1, length))


def alike(inputs: Iterable[Columns], batch_size: int) -> Iterator[list[Columns]]:
    """Each input once, in batches of one length, the longest first.

    batch_size: how many texts of 64 tokens a batch is as large as.
    """
    by_length: dict[int, list[Columns]] = {}
    for columns in dict.fromkeys(inputs):
        by_length.setdefault(len(columns[0]), []).append(columns)
    for length in sorted(by_length, reverse=True):
        size = most_together(length, batch_size)
        listed = by_length[length]
        yield from (listed[start : start + size] for start in range(0, len(listed), size))
