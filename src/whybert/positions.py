"""Which token each position of the embedding stands for, where these are not the same.

A model may put virtual tokens before the words (prompt tuning, P-tuning) or pad to a multiple of its window.
Its embedding then has more positions than the input has tokens, and a token's scores stand elsewhere than its
id.  Where they stand is seen in what is looked up and in what depends on it, not in any kind of model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from whybert.anatomy import embedding_block, hooked
from whybert.errors import UnsupportedModelError


@dataclass(frozen=True, slots=True)
class Standing:
    """Which token each position of the embedding stands for; a token may stand in several.

    token: (batch, positions), its column in the input, or -1 where a position is no token's.
    width: how many columns the input has.
    parts: where the words of each lookup stand.
    """

    token: Tensor
    width: int
    parts: tuple[slice, ...] = (slice(None),)

    def folded(self, numbers: Tensor, axis: int = 1) -> Tensor:
        """Of numbers with the positions along an axis, those of each token: the sum over its positions.

        The batch is along the first axis.  Half precision sums in float32.
        """
        moved = numbers.movedim(axis, 1)
        moved = moved.to(torch.promote_types(moved.dtype, torch.float32))
        # a product of matrices, since a sum by index has no order of its own on a GPU
        held = self._held().to(moved.dtype)
        found = torch.bmm(held.mT, moved.flatten(2) if moved.dim() > 2 else moved[..., None])
        return found.view(len(found), self.width, *moved.shape[2:]).movedim(1, axis)

    def elsewhere(self, scores: Tensor) -> Tensor | None:
        """Of scores (batch, positions) the sum over those that are no token's, (batch,); None of none."""
        if not bool((self.token < 0).any()):
            return None
        return torch.where(self.token < 0, scores, 0.0).sum(1)

    def spread(self, tokens: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Of numbers of each token, (rows, seq), those of each position, 0 where it is no token's."""
        token = self.token[rows]
        found = tokens.gather(1, token.clamp_min(0))
        return torch.where(token < 0, torch.zeros_like(found), found)

    def drawn(self, kept: Tensor, row: int, draw: Callable[[], Tensor]) -> Tensor:
        """Numbers on the CPU for each position of a row, (positions, hidden); 0 where no kept token stands.

        They are others in each part, and as many for a text alone as in a batch, where a decoder has one
        place more behind it.

        Args:
            kept: bool, (batch, seq).
            row: of the batch.
            draw: numbers for each token of the row that is kept, (tokens, hidden).
        """
        numbers = self.spread((kept.cumsum(1) * kept)[row : row + 1], slice(row, row + 1))[0].cpu()
        return torch.cat([F.pad(draw(), (0, 0, 1, 0))[numbers[part]] for part in self.parts])

    def first(self, kept: Tensor) -> Tensor:
        """Where tokens that are kept, (batch, seq), stand in the first part: bool, (batch, positions)."""
        found = torch.zeros_like(self.token, dtype=torch.bool)
        found[:, self.parts[0]] = self.spread(kept)[:, self.parts[0]]
        return found

    def _held(self) -> Tensor:
        """(batch, positions, seq): 1 where a position is a token's."""
        return F.one_hot(self.token + 1, self.width + 1)[..., 1:]


def in_order(ids: Tensor) -> Standing:
    """Each position of the embedding stands for its own token of ids (batch, seq)."""
    return Standing(torch.arange(ids.shape[1], device=ids.device).expand_as(ids), ids.shape[1])


class Lookup(NamedTuple):
    """Rows `ids` of a table, and their vectors, which a gradient can reach."""

    ids: Tensor
    table: Tensor
    vectors: Tensor


class TableLookups(TorchFunctionMode):
    """Sees what is looked up in tables: in each that is one, or in `table` alone."""

    def __init__(self, table: Tensor | None = None) -> None:
        super().__init__()
        self.table = table
        self.found: list[Lookup] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # What only the weights' gradients would need is not kept, so the model may change it in place.
        output = func(*tree_map_only(Tensor, frozen, args), **tree_map_only(Tensor, frozen, kwargs or {}))
        if func is F.embedding and (self.table is None or args[1] is self.table):
            vectors = output.detach().requires_grad_()
            self.found.append(Lookup(args[0], args[1], vectors))
            return vectors.clone()  # a model may change what it gets in place
        return output


def frozen(tensor: Tensor) -> Tensor:
    """A parameter as a constant."""
    return tensor.detach() if tensor.is_leaf and tensor.requires_grad else tensor


def embedding_in(output: Any) -> Any:
    """What of the output of an embedding block is the embedding: its one tensor that is no place or mask."""
    numbers = [each for each in tree_leaves(output) if isinstance(each, Tensor) and each.is_floating_point()]
    return numbers[0] if len(numbers) == 1 else output


class _EndOfEmbeddingError(Exception):
    """The embedding block is done; what follows is not asked for."""


def standing(
    model: nn.Module, inputs: Mapping[str, Tensor], size: tuple[int, ...], words: Tensor | None
) -> Standing | None:
    """Which tokens of the input the positions of the embedding stand for; None if each for its own.

    Args:
        inputs: of the model, `input_ids` (batch, seq) among them.
        size: (batch, positions) of the embedding.
        words: the table of word embeddings.

    Raises:
        UnsupportedModelError: it cannot be told.
    """
    ids = inputs["input_ids"]
    if size == tuple(ids.shape):
        return None
    found = None
    if size[0] == len(ids) and words is not None:
        lookups, embedding = embedded(model, inputs, words)
        if len(lookups) == 1 and embedding is not None:
            start, reached = _start(ids, lookups[0].ids), places(lookups[0].vectors, embedding)
            if start is not None and reached is not None:
                found = reached[start : start + ids.shape[1]]
    if found is None:
        raise UnsupportedModelError(
            f"the embedding block has {size[1]} positions in {size[0]} rows for input_ids of shape "
            f"{tuple(ids.shape)}, and it cannot be told which of them are the tokens'; a model is needed "
            "that embeds each token at a position of its own"
        )
    token = torch.full(size, -1, device=found.device)
    token[:, found] = torch.arange(len(found), device=found.device)
    return Standing(token, len(found))


def embedded(
    model: nn.Module, inputs: Mapping[str, Tensor], words: Tensor
) -> tuple[Sequence[Lookup], Tensor | None]:
    """The forward pass up to the end of the embedding block: what was looked up, and what came of it."""
    outputs: list[Any] = []

    def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        outputs.append(embedding_in(output))
        raise _EndOfEmbeddingError

    mode = TableLookups(words)
    with (
        suppress(_EndOfEmbeddingError),
        hooked([embedding_block(model)], after=end),
        torch.enable_grad(),
        mode,
    ):
        model(**inputs)
    return mode.found, next(iter(outputs), None)


def _start(ids: Tensor, looked_up: Tensor) -> int | None:
    """Where in what was looked up the input's ids stand; None if nowhere, or in several places."""
    width = ids.shape[1]
    if looked_up.dim() != 2 or len(looked_up) != len(ids):
        return None
    starts = [
        start
        for start in range(looked_up.shape[1] - width + 1)
        if torch.equal(looked_up[:, start : start + width], ids)
    ]
    return starts[0] if len(starts) == 1 else None


def places(vectors: Tensor, embedding: Tensor) -> Tensor | None:
    """The position of the embedding that depends on each vector that was looked up, (looked up,).

    None if a vector reaches no position or several, or two vectors one.  Told from the gradients of sums over
    those positions whose number has a 1, and a 0, in each binary place: twice the logarithm of their count.
    """
    count = embedding.shape[1]
    numbers = torch.arange(count, device=embedding.device)
    found = torch.zeros(vectors.shape[1], dtype=torch.long, device=embedding.device)
    weights = torch.linspace(1.0, 2.0, embedding.shape[-1]).to(embedding)
    for bit in range(max(1, (count - 1).bit_length())):
        reached = []
        for value in (0, 1):
            chosen = ((numbers >> bit) & 1 == value).to(embedding)
            (gradient,) = torch.autograd.grad(
                (embedding * weights * chosen[:, None]).sum(), vectors, retain_graph=True, allow_unused=True
            )
            nothing = torch.zeros_like(found, dtype=torch.bool)
            reached.append(nothing if gradient is None else (gradient != 0).any(-1).any(0))
        if not bool((reached[0] ^ reached[1]).all()):
            return None
        found |= reached[1].long() << bit
    return found if len(torch.unique(found)) == len(found) else None
