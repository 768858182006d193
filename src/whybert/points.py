"""Where a model that embeds its words itself is cut: the input of its first layer.

Such a model has no part around its embedding whose output could be taken.  Its attribution point is the last
tensor in which each position is made of its own word alone, by sums, linear maps and normalisations, and
which every way from the looked-up words to the logits passes: with all that is added to the words at their
positions, and nothing of the layers.  That is seen in the graph of a forward pass, and no name of a module is
asked.  The tensor is found again in another pass by counting the calls that make words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from whybert.foreign import Point
from whybert.lrp import operations as ops
from whybert.positions import Lookup, frozen

_KIND: Final = (
    "_whybert_words"  # (descent, kind): the tensor holds ids of tokens, words, or what layers made of them
)
LOOKED_UP: Final = "looked up"
_IDS, _MOVED, _WORDS, _STATES = "ids", "moved ids", "words", "states"

# What these make of ids, as in a hash of them, stands where they stood.
_IN_PLACE: Final = ops.IN_PLACE_SUMS | ops.IN_PLACE_PRODUCTS
_OF_IDS: Final = (
    ops.SUMS
    | ops.PRODUCTS
    | ops.CASTS
    | (_IN_PLACE - {torch.Tensor.__setitem__, torch.Tensor.copy_})
    | {
        each
        for name in (
            *(
                "remainder",
                "__mod__",
                "fmod",
                "floor_divide",
                "__floordiv__",
                "clamp",
                "clip",
                "where",
                "clone",
            ),
            *("masked_fill", "contiguous", "bitwise_xor", "__xor__", "bitwise_and", "__and__", "one_hot"),
        )
        for place in (torch, torch.Tensor, F)
        if (each := getattr(place, name, None)) is not None
    }
)

# What may be done to words before the first layer; no more than one operand of a product is made of them.
_OF_WORDS: Final = (
    ops.STRUCTURAL
    | ops.SUMS
    | ops.IN_PLACE_SUMS
    | ops.LINEAR_LAYERS
    | ops.LAYER_NORMS
    | ops.RMS_NORMS
    | ops.DROPOUTS
)
_PRODUCTS: Final = (
    ops.PRODUCTS | ops.IN_PLACE_PRODUCTS | ops.QUOTIENTS | ops.CONTRACTIONS | ops.ADDED_PRODUCTS
)


class Descent:
    """Follows what a model makes of the ids of its tokens, up to its first layer.

    The floating-point numbers that are made of ids are words: rows of a table, or ones among zeros.  What
    other functions than sums, linear maps and normalisations make of words is states.  What is made of a
    comparison of ids, such as a mask or a position, is none of these.

    ids: (batch, seq), of the model's input.  calls: how many have made words.
    """

    def __init__(self, ids: Tensor) -> None:
        self.ids, self.calls = ids, 0

    def kind(self, tensor: Tensor) -> str | None:
        if tensor is self.ids:
            return _IDS
        owner, kind = getattr(tensor, _KIND, (None, None))
        return kind if owner is self else None

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> str | None:
        """What a call that is done has made: "looked up", "words" or "states"; None for anything else."""
        if func in ops.SHAPE_ONLY:
            return None
        sources = args[:1] if func in ops.SHAPED_BY_ANOTHER else (args, kwargs)
        kinds = [self.kind(tensor) for tensor in tensors_of(sources)]
        if not any(kinds):
            return None
        found = made(args, output)
        numbers = [tensor for tensor in found if tensor.is_floating_point()]
        if _WORDS not in kinds and _STATES not in kinds:
            if numbers:
                return self._mark(numbers, _WORDS) and LOOKED_UP
            if func not in ops.INDICES:
                ids = [each for each in found if each.dtype != torch.bool and each is not self.ids]
                self._mark(ids, _IDS if func in _OF_IDS and _MOVED not in kinds else _MOVED)
            return None
        of_words = func in _OF_WORDS or (func in _PRODUCTS and kinds.count(_WORDS) == 1)
        return self._mark(numbers, _STATES if _STATES in kinds or not of_words else _WORDS)

    def _mark(self, tensors: list[Tensor], kind: str) -> str | None:
        self.calls += kind == _WORDS and bool(tensors)
        for tensor in tensors:
            setattr(tensor, _KIND, (self, kind))
        return kind if tensors else None


def made(args: tuple[Any, ...], output: Any) -> list[Tensor]:
    """The tensors that a call made, or changed in place: x[...] = y returns nothing."""
    return list(tensors_of(output if output is not None else args[:1]))


def tensors_of(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


@dataclass(frozen=True, slots=True)
class _Made:
    """A tensor as a call made it: the number of that call, and its version then."""

    tensor: Tensor
    output: int
    call: int
    version: int


@dataclass(frozen=True, slots=True)
class Root:
    """Words as they were looked up: a leaf, and its axes of (batch, positions), if they are known."""

    vectors: Tensor
    axes: tuple[int, int] | None


@dataclass
class Watch(TorchFunctionMode):
    """A forward pass in which words are looked up as leaves, and what is made of them is kept.

    ids: (batch, seq), of the model's input.  roots: the words.  lookups: in all tables.
    """

    ids: Tensor
    roots: list[Root] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._descent = Descent(self.ids)
        self._made: dict[Any, _Made] = {}  # by their nodes

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # What only the weights' gradients would need is not kept, so the model may change it in place.
        output = func(*tree_map_only(Tensor, frozen, args), **tree_map_only(Tensor, frozen, dict(kwargs)))
        if func is F.embedding:
            self.lookups.append(Lookup(args[0], args[1], output))
        of = self._descent.follow(func, args, kwargs, output)
        if of == LOOKED_UP and isinstance(output, Tensor) and output.dim() >= 2:
            leaf = output.detach().requires_grad_()
            self.roots.append(Root(leaf, self._axes_of(args, kwargs)))
            output = leaf.clone()
            setattr(output, _KIND, (self._descent, _WORDS))
        for tensor in made(args, output) if of in (LOOKED_UP, _WORDS) else ():
            node = tensor.grad_fn
            is_operand = any(tensor is given for given in args)
            if node is None or tensor.dim() != 3 or (is_operand and func not in _IN_PLACE):
                continue
            self._made[node] = _Made(tensor, tensor.output_nr, self._descent.calls, tensor._version)
            if tensor is output and not is_operand and not tensor._is_view():
                output = tensor.clone()  # the model may change in place what it gets
                setattr(output, _KIND, (self._descent, _WORDS))
        return output

    def _axes_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int] | None:
        """The axes of (batch, positions) in what is looked up; None where that cannot be told."""
        for given in tensors_of((args, kwargs)):
            kind = self._descent.kind(given)
            for axes, ids in (((0, 1), self.ids), ((1, 0), self.ids.T)):
                if kind is not None and torch.equal(given, ids):
                    return axes
            if kind == _IDS and given.shape[:2] == self.ids.shape:
                return 0, 1
        return None

    def point(self, logits: Tensor) -> Point | None:
        """The attribution point of a forward pass that is done; None if there is none."""
        if logits.grad_fn is None or not self.roots or any(root.axes is None for root in self.roots):
            return None
        found = None
        ways = [*cuts(logits.grad_fn, {id(root.vectors) for root in self.roots})]
        for node, outputs in reversed(ways):
            place = self._made.get(node)
            if outputs is None or place is None or not outputs <= {place.output}:
                continue
            if place.tensor._version != place.version:
                continue
            order = self._order(place.tensor)
            if order is None and found is not None:
                break
            if order is not None:
                found = Point(place.call, order)
        return found

    def _order(self, tensor: Tensor) -> tuple[int, int, int] | None:
        """The axes of (batch, positions, hidden) in a tensor whose positions are of one word each."""
        for order in ((0, 1, 2), (1, 0, 2)):
            shape = tensor.shape[order[0]], tensor.shape[order[1]]
            if shape == self.ids.shape and all(
                stands_apart(root.vectors, own, tensor, axis)
                for root in self.roots
                for own, axis in zip(root.axes or (), order, strict=False)
            ):
                return order
        return None


def stands_apart(vectors: Tensor, own: int, output: Tensor, axis: int) -> bool:
    """Whether no vector reaches a place along an axis of the output that is not its own, along `own`.

    Told from the gradients of sums over those places whose number has a 1, and a 0, in each binary place.
    """
    count = output.shape[axis]
    numbers = torch.arange(count, device=output.device)
    weights = torch.linspace(1.0, 2.0, output.shape[-1]).to(output)
    rows = (output * weights).movedim(axis, 0).flatten(1).sum(1)
    for bit in range((count - 1).bit_length()):
        for value in (0, 1):
            chosen = (numbers >> bit) & 1 == value
            (gradient,) = torch.autograd.grad(
                rows[chosen].sum(), vectors, retain_graph=True, allow_unused=True
            )
            if gradient is not None and bool((gradient.movedim(own, 0)[~chosen] != 0).any()):
                return False
    return True


def cuts(root: Any, leaves: Collection[int]) -> Iterator[tuple[Any, set[int] | None]]:
    """The nodes on the ways from `root` to leaves of these ids, from the top down.

    With each comes which of its outputs are used, or None where some way goes around it.
    """
    following: dict[Any, list[tuple[Any, int]]] = {}
    order: dict[Any, bool] = {}  # whether a leaf is below; each node behind those it leads to
    ends: set[Any] = set()
    waiting = [root]
    while waiting:
        node = waiting[-1]
        if node not in following:
            following[node] = [edge for edge in node.next_functions if edge[0] is not None]
            waiting += [each for each, _ in following[node] if each not in following]
            continue
        waiting.pop()
        if node not in order:
            if id(getattr(node, "variable", None)) in leaves:
                ends.add(node)
            order[node] = node in ends or any(order[each] for each, _ in following[node])
    around, arriving = 0, Counter[Any]()  # the edges that lead past the node at hand, and to each
    outputs: dict[Any, set[int]] = {}
    for node in reversed(order):
        if order[node]:
            # of several leaves each way has to pass a node, wherever in this order the others stand
            around -= arriving[node] if node not in ends or len(ends) == 1 else 0
            yield node, None if around else outputs.get(node, set())
            for each, output in following[node]:
                if order[each]:
                    around += 1
                    arriving[each] += 1
                    outputs.setdefault(each, set()).add(output)
