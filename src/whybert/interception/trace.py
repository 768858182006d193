"""The trace of attention: the weights of each layer, and where what the classifier reads is looked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from whybert.interception.calls import name_of
from whybert.interception.graph import nodes_of
from whybert.interception.notes import ATTENTION, SCORES, note, noted
from whybert.lrp import contractions
from whybert.lrp import operations as ops


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """The weights of one attention, (batch, heads, queries, keys).

    at: where their gradient arrives.  order: of its axes; None where it has that of the weights.
    """

    kept: Tensor
    at: GradientEdge
    order: tuple[int, ...] | None = None

    def weights(self) -> Tensor:
        return self.kept

    def gradient(self, passed: Tensor) -> Tensor:
        """The gradient of the weights from what arrives at `at`."""
        return (passed if self.order is None else passed.permute(self.order)).reshape(self.kept.shape)


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """What one fused attention call was given; its weights are computed when they are asked for.

    at: its output, from whose gradient that of the weights is computed.
    """

    query: Tensor
    key: Tensor
    mask: Tensor | None
    is_causal: bool
    scale: float
    value: Tensor | None = None
    at: GradientEdge | None = None

    def gradient(self, passed: Tensor) -> Tensor:
        """O = A V, so dy/dA = dy/dO V^T; `passed` is dy/dO."""
        return torch.matmul(passed, of_heads(cast(Tensor, self.value), passed.shape[-3]).mT)

    def scores(self) -> Tensor:
        """Q K^T * scale + mask, (batch, heads, queries, keys)."""
        key = of_heads(self.key, self.query.shape[-3])
        scores = torch.matmul(self.query, key.transpose(-2, -1)) * self.scale
        return masked(scores, self.mask, self.is_causal)

    def weights(self) -> Tensor:
        return weights_of(self.scores())


def of_heads(x: Tensor, heads: int) -> Tensor:
    """Keys or values (..., heads, positions, width), each head as often as grouped queries share it."""
    return x if x.shape[-3] == heads else x.repeat_interleave(heads // x.shape[-3], -3)


def scale_of(query: Tensor, scale: float | None) -> float:
    """What SDPA multiplies its scores by."""
    return query.shape[-1] ** -0.5 if scale is None else float(scale)


def weights_of(scores: Tensor) -> Tensor:
    """The softmax of scores; zeros, as SDPA has them, for a padding token that may see no key."""
    return torch.softmax(scores, -1).nan_to_num(0.0)


def masked(scores: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """Scores of attention (..., queries, keys), as SDPA takes its mask."""
    if is_causal:
        above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(above, float("-inf"))
    if mask is None:
        return scores
    return scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask


Attention: TypeAlias = AttentionWeights | AttentionInputs


@dataclass(slots=True)
class LastAttention:
    """Where what the classifier reads is looked for.

    output: of the last attention, with the queries along `axis`.  hidden: the last states (batch, positions,
    hidden) behind it that are known to be one position each; None if there are none.
    """

    output: GradientEdge
    axis: int
    hidden: GradientEdge | None = None


class AttentionTrace:
    """Keeps what the attention weights of each layer are computed from, as the forward pass comes by them.

    wanted: whether anything is kept.  size: (batch, positions), known once the pass is at the embedding.
    kept: of each layer, first layer first.  reason: why these are not all there is to trace.
    last: where what the classifier reads is looked for.
    wise: whether the call that is at work is known to keep positions apart.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.size: tuple[int, ...] = ()
        self.kept: list[Attention] = []
        self.reason: str | None = None
        self.last: LastAttention | None = None
        self.wise = False
        self._open: dict[int, str | None] = {}
        self._reordered: str | None = None  # an operation that may have put positions into another order
        self._is_mixed = False  # whether something behind the last attention may have mixed positions
        self._below: Any = None  # the node of the output of the last attention that was kept

    @property
    def untraceable(self) -> str | None:
        """Why what is kept is not all there is to trace; None if it is."""
        still_open = next(filter(None, self._open.values()), None)
        return self.reason or (still_open and f"{still_open} was not seen to become attention")

    def scores_among(self, func: Any, given: Iterable[Tensor]) -> frozenset[int]:
        """Which products of activations the result of a call still is, on their way into a softmax."""
        if not self.wanted or func not in ops.CARRYING:
            return frozenset()
        return frozenset().union(*(noted(tensor, SCORES) or () for tensor in given))

    def opened(self, y: Any, what: str) -> Any:
        """y, which must come to be attention if the trace is to be whole: scores, or a softmax of them."""
        if self.wanted and isinstance(y, Tensor):
            self._open[len(self._open)] = what
            note(y, SCORES, frozenset({len(self._open) - 1}))
        return y

    def closed_by(self, tensor: Tensor) -> None:
        for number in noted(tensor, SCORES) or ():
            self._open[number] = None

    def settle(self, func: Any, args: tuple[Any, ...], tracked: Sequence[Tensor], output: Any) -> None:
        """What a call that is done, whose results are tracked, may have done to positions."""
        if not self.wanted:
            return
        if func in ops.FLIPS:
            self._reordered = name_of(func)
        if tracked and func in ops.CONVOLUTIONS and (len(args) < 2 or args[1].shape[2:].numel() > 1):
            self.reason = f"a convolution ({name_of(func)}) mixes positions beside its attention"
        if tracked and func not in ops.SELECTING:
            y = tracked[-1]
            wise, self.wise = self.wise or func in ops.POSITION_WISE, False
            # Behind what may mix positions the states say no more which of them is read.
            self._is_mixed = self._is_mixed or not wise
            states = y.dim() == 3 and y.shape[:2] == self.size and isinstance(output, Tensor)
            if self.last is not None and states and not self._is_mixed:
                self.last.hidden = get_gradient_edge(y)  # not y, which may be changed in place

    def attended(self, y: Tensor, axis: int | None) -> None:
        """y is the output of an attention, with the queries along `axis`, if that is known."""
        if self.wanted and y.requires_grad:
            self._below, self.wise, self._is_mixed = y.grad_fn, True, False
            self.last = None if axis is None else LastAttention(get_gradient_edge(y), axis)

    def keep(self, weights: Tensor, axes: contractions.Axes | None, first: bool) -> int | None:
        """Keep attention weights as (batch, heads, queries, keys), if they can be told to be that.

        Returns the axis of the queries in the product with the values.
        """
        self.closed_by(weights)
        batch, positions = self.size
        if axes is not None:
            own, other = (axes.first, axes.second) if first else (axes.second, axes.first)
            heads = [name for name in own if name in other and name in axes.result]
            queries = [name for name in own if name in axes.result and name not in other]
            keys = [name for name in own if name not in axes.result]
            axis = axes.result.index(queries[0]) if len(queries) == 1 else None
            for output, at in noted(weights, ATTENTION):
                if output.dim() == 4 and (len(output), *output.shape[2:]) == (batch, positions, positions):
                    self._add(AttentionWeights(output, at), [weights])
                    return axis
            if len(queries) == len(keys) == 1 and len(heads) in (1, 2):
                order = tuple(own.index(name) for name in (*heads, *queries, *keys))
                kept = weights.detach().permute(order)
                kept = kept.unsqueeze(1) if len(heads) == 1 else kept
                if kept.shape[0] == batch and kept.shape[2] == kept.shape[3] == positions:
                    self._add(AttentionWeights(kept, get_gradient_edge(weights), order), [weights])
                    return axis
        self.reason = (
            f"attention weights of shape {tuple(weights.shape)} are not (batch, heads, queries, keys) over "
            f"the {positions} positions (banded, sparse, prefix or folded attention)"
        )
        return None

    def keep_fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        is_causal: bool,
        scale: float | None,
        output: Tensor,
    ) -> None:
        """The same of a call that computes its weights inside."""
        if not self.wanted:
            return
        batch, positions = self.size
        if query.dim() == 4 and query.shape[0] == batch and query.shape[2] == key.shape[2] == positions:
            given = query.detach(), key.detach(), mask, is_causal, scale_of(query, scale)
            self._add(AttentionInputs(*given, value.detach(), get_gradient_edge(output)), [query, key])
        else:
            self.reason = (
                f"attention of queries {tuple(query.shape)} to keys {tuple(key.shape)} is not over the "
                f"{positions} positions (prefix or folded attention)"
            )

    def _add(self, kept: Attention, sources: Sequence[Tensor]) -> None:
        """Keep what must be another layer's: one whose weights depend on the attention before."""
        before, self._below = self._below, None
        if self._reordered is not None:
            self.reason = f"{self._reordered} puts positions into another order"
        if isinstance(kept, AttentionWeights) and bool((kept.kept.sum(-1) > 1.001).any()):
            self.reason = "what the values are multiplied by sums to more than 1 over the keys"
        if before is not None and not any(
            node is before for source in sources if source.grad_fn for node in nodes_of(source.grad_fn)
        ):
            self.reason = "heads or branches of attention stand side by side, not one above the other"
        self.kept.append(kept)
