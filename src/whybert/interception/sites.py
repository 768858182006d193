"""The layers of a model and their heads, found in the graph of a forward pass.

Every way from the logits to the embedding passes the input of a layer: residual streams and all else that
goes around a part of the model meet there.  So whatever the output is made of is in that tensor or in
constants above it, and relevance at it sums to the output as it does at the embedding.  Which tensors are
such *cuts* the graph says; layers are told apart by the attention between them.  No name of a module is
asked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from whybert.interception.notes import ATTENTION, noted
from whybert.lrp import contractions
from whybert.lrp import operations as ops
from whybert.points import cuts


@dataclass(frozen=True, slots=True)
class Site:
    """A tensor inside of a forward pass: its value, detached, and where its gradient arrives.

    is_turned: whether texts stand along the second axis of the gradient, as they do not in the value.
    """

    value: Tensor
    edge: GradientEdge
    is_turned: bool = False

    def by_text(self, gradient: Tensor) -> Tensor:
        """The gradient, texts first."""
        return gradient.transpose(0, 1) if self.is_turned else gradient


@dataclass(frozen=True, slots=True)
class Inside:
    """What a forward pass has inside, from the bottom up.

    batch: how many texts there are.
    states: (batch, positions, width), what each layer but the first reads, and what comes out of the last.
    heads: what the heads of each attention hand on, see `by_head`.
    axes: of batch and heads in each of these.
    layers: how many there are; None if that cannot be told.
    no_states, no_heads: why these cannot be told; empty if they can.
    is_ambiguous: whether there are as many heads or positions as texts, so that only the dependence of the
        logits tells which axis is the batch's.
    """

    batch: int
    states: tuple[Site, ...] = ()
    heads: tuple[Site, ...] = ()
    axes: tuple[tuple[int, int], ...] = ()
    layers: int | None = None
    no_states: str = ""
    no_heads: str = ""
    is_ambiguous: bool = False

    def by_head(self, place: int, tensor: Tensor) -> Tensor:
        """What stands at `heads[place]`, or its gradient, as (batch, heads, queries, width)."""
        if tensor.dim() == 3:  # heads are folded into the batch
            tensor = tensor.view(self.batch, -1, *tensor.shape[1:])
        return tensor.movedim(self.axes[place], (0, 1))


@dataclass(slots=True)
class _Kept:
    """A tensor as it was when it was made."""

    tensor: Tensor
    edge: GradientEdge
    version: int

    @classmethod
    def of(cls, tensor: Tensor) -> _Kept:
        return cls(tensor, get_gradient_edge(tensor), tensor._version)

    def site(self, is_turned: bool = False) -> Site:
        if self.tensor._version != self.version:
            raise _UnknownError("it changes hidden states in place")
        value = self.tensor.detach()
        return Site(value.transpose(0, 1) if is_turned else value, self.edge, is_turned)


class _UnknownError(Exception):
    """Something cannot be told; the message says why."""


@dataclass(slots=True)
class _Attended:
    """The output of an attention.

    axes: of batch and heads in it; None where these are not known.
    queries: how many positions of a text it is for; None where that is not known.
    is_ambiguous: whether its shape leaves open which axis is the batch's.
    """

    kept: _Kept
    axes: tuple[int, int] | None
    queries: int | None
    is_ambiguous: bool


@dataclass(slots=True)
class Sites:
    """Collects states and attentions as the forward pass comes by them; does nothing unless it is wanted.

    size: (batch, positions) of the embedding.  is_turned: whether the model has its positions first.
    """

    wanted: bool
    size: tuple[int, ...] = ()
    is_turned: bool = False
    _states: dict[Any, _Kept] = field(default_factory=dict)  # by their nodes
    _attended: list[_Attended] = field(default_factory=list)
    _is_swapped: bool = False  # whether positions and width of a state may have changed places

    def settle(self, func: Any, args: tuple[Any, ...], tracked: Sequence[Tensor]) -> None:
        """A call is done, and these of its results are tracked."""
        for y in tracked if self.wanted else ():
            if y.dim() == 3 and y.grad_fn is not None:
                if y.shape[:2] == (self.size[::-1] if self.is_turned else self.size):
                    self._states[y.grad_fn] = _Kept.of(y)
                x = args[0] if args else None
                if func in ops.MOVING and isinstance(x, Tensor) and x.dim() == 3:
                    self._is_swapped = self._is_swapped or x.stride() != y.stride()

    def attended(self, y: Tensor, weights: Tensor, axes: contractions.Axes | None, first: bool) -> None:
        """y is a product of attention weights, its first factor or its second, and values."""
        if not self.wanted or y.grad_fn is None:
            return
        batch, found, count = self.size[0], None, None
        of_batch: list[int] = []
        if axes is not None:
            own, other = (axes.first, axes.second) if first else (axes.second, axes.first)
            shared = [axes.result.index(name) for name in own if name in other and name in axes.result]
            queries = [name for name in own if name in axes.result and name not in other]
            count = math.prod(y.shape[axes.result.index(name)] for name in queries)
            of_batch = [axis for axis in shared if y.shape[axis] == batch]
            if len(shared) == 2 and len(queries) == 1 and of_batch:
                found = of_batch[0], next(axis for axis in shared if axis != of_batch[0])
            elif len(shared) == 1 and y.dim() == 3 and self._is_folded(weights):
                found = 0, 1
        self._attended.append(_Attended(_Kept.of(y), found, count, len(of_batch) > 1))

    def attended_fused(self, y: Tensor) -> None:
        """y is the output of a fused attention, (batch, heads, queries, width)."""
        if self.wanted and y.grad_fn is not None:
            axes = (0, 1) if y.dim() == 4 and y.shape[0] == self.size[0] else None
            self._attended.append(_Attended(_Kept.of(y), axes, y.shape[-2], y.shape[0] == y.shape[1]))

    def _is_folded(self, weights: Tensor) -> bool:
        """Whether the first axis of attention weights holds the heads of the first text, then the next's."""
        return any(
            output.dim() == 4
            and len(output) == self.size[0]
            and len(weights) == math.prod(output.shape[:2])
            and torch.equal(weights.detach().reshape(output.shape), output)
            for output, _ in noted(weights, ATTENTION) or ()
        )

    def found(self, embedding: Tensor, logits: Tensor) -> Inside | None:
        """What there is between the embedding and the logits; None unless it is wanted."""
        if not self.wanted or logits.grad_fn is None:
            return None
        batch, positions = self.size
        states: list[Site] = []
        layers: int | None = None
        no_states = ""
        try:
            states, layers = self._layers(logits.grad_fn, embedding)
        except _UnknownError as error:
            no_states = str(error)
        heads, no_heads = [], ""
        try:
            heads = [each.kept.site() for each in self._attended]
        except _UnknownError as error:
            no_heads = str(error)
        axes = [each.axes for each in self._attended]
        known = tuple(each for each in axes if each is not None)
        sizes = {
            site.value.shape[axes[1]] if site.value.dim() == 4 else len(site.value) // batch
            for site, axes in zip(heads, known, strict=False)
        }
        if not heads:
            no_heads = no_heads or "it has no attention"
        elif len(known) < len(axes):
            shape = tuple(heads[axes.index(None)].value.shape)
            no_heads = f"an attention's output of shape {shape} is not (batch, heads, positions, width)"
        elif len(sizes) > 1:
            no_heads = f"its attentions have {' and '.join(map(str, sorted(sizes)))} heads"
        is_ambiguous = batch > 1 and (batch == positions or any(each.is_ambiguous for each in self._attended))
        return Inside(
            batch,
            tuple(states),
            () if no_heads else tuple(heads),
            known,
            layers,
            no_states,
            no_heads,
            is_ambiguous,
        )

    def _layers(self, root: Any, embedding: Tensor) -> tuple[list[Site], int]:
        """The states at which one layer ends and the next begins, the last that the logits are made of, and
        how many layers there are.

        Raises _UnknownError.
        """
        attentions = {each.kept.edge.node for each in self._attended}
        nodes = list(cuts(root, {id(embedding)}))
        below = sum(node in attentions for node, _ in nodes)
        if not below:
            raise _UnknownError("it has no attention, by which they are told apart")
        found: dict[int, list[_Kept]] = {}  # those that are states, from the top down, by attentions below
        for node, outputs in nodes:
            if outputs is not None:
                kept = self._states.get(node)
                is_whole = kept is not None and outputs <= {kept.edge.output_nr}
                found.setdefault(below, []).extend([kept] if kept is not None and is_whole else [])
            below -= node in attentions
        widths = Counter(
            width for each in found.values() for width in {kept.tensor.shape[2] for kept in each}
        )
        widths[embedding.shape[2]] += 1
        usual = max(widths, key=widths.__getitem__)  # parts of a layer, and the classifier's head, differ
        sites = []
        for level in sorted(found)[1:]:
            states = [each for each in found[level] if each.tensor.shape[2] == usual]
            if states:
                sites.append(states[0].site(self.is_turned))
            elif level < max(found) or self._attended[-1].queries != 1:  # the last may be read at one place
                raise _UnknownError(
                    f"behind its attention {level} there is no state (batch, positions, width) through which "
                    "all of the output comes"
                )
        if self._is_swapped and any(site.value.shape[1] == site.value.shape[2] > 1 for site in sites):
            raise _UnknownError("there are as many positions as the states are wide, and it swaps the two")
        return sites, len(found) - 1  # attentions side by side, as in ConvBERT, are one layer
