"""Where a model that embeds its words itself is cut: the input of its first layer.

Such a model has no part around its embedding whose output could be taken.  Its attribution point is the last
tensor in which each position is made of its own word alone, by sums, linear maps and normalisations, and
which every way from the looked-up words to the logits passes: with all that is added to the words at their
positions, and nothing of the layers.  That is seen in the graph of a forward pass, and no name of a module is
asked.  The tensor is found again in another pass by counting the calls that make words.

A model may look its words up in several places: an encoder-decoder does so for its encoder and again, behind
a start token, for its decoder.  Its point has as many parts then, and the embedding is these one after the
other along the positions.  What they are is asked before the pass that is cut (`joined`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from whybert.errors import UnsupportedModelError
from whybert.foreign import Part, Point, kind_of
from whybert.lrp import operations as ops
from whybert.positions import Lookup, Standing, frozen

# (descent, kind, roots): the tensor holds ids of tokens, words, or what layers made of them, and of which
# words these are.
_KIND: Final = "_whybert_words"
LOOKED_UP: Final = "looked up"
_IDS, _MOVED, _WORDS, _STATES = "ids", "moved ids", "words", "states"

# What these make of ids, as in a hash of them, stands where they stood.
_IN_PLACE: Final = ops.IN_PLACE_SUMS | ops.IN_PLACE_PRODUCTS
_OF_IDS: Final = (
    ops.SUMS
    | ops.PRODUCTS
    | ops.CASTS
    | (_IN_PLACE - {torch.Tensor.__setitem__, torch.Tensor.copy_})
    | ops.named(
        "remainder", "__mod__", "fmod", "floor_divide", "__floordiv__", "clamp", "clip", "where", "clone",
        "masked_fill", "contiguous", "bitwise_xor", "__xor__", "bitwise_and", "__and__", "one_hot",
        places=(torch, torch.Tensor, F),
    )
)  # fmt: skip

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

    ids: (batch, seq), of the model's input.  calls: of each call that looks words up, in order, how many have
        made words of these, itself the first.
    """

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids
        self.calls: list[int] = []

    def kind(self, tensor: Tensor) -> str | None:
        if tensor is self.ids:
            return _IDS
        owner, kind, _ = getattr(tensor, _KIND, (None, None, None))
        return kind if owner is self else None

    def roots(self, tensor: Tensor) -> frozenset[int]:
        """The numbers of the calls that looked up what the tensor is made of."""
        owner, _, roots = getattr(tensor, _KIND, (None, None, frozenset()))
        return roots if owner is self else frozenset()

    def part_of(self, tensor: Tensor, parts: Iterable[Part]) -> Part | None:
        """Which of these parts the call that is done has made, if any."""
        roots = self.roots(tensor)
        return next(
            (each for each in parts if each.root in roots and self.calls[each.root] == each.call), None
        )

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> str | None:
        """What a call that is done has made: "looked up", "words" or "states"; None for anything else."""
        if func in ops.SHAPE_ONLY:
            return None
        sources = args[:1] if func in ops.SHAPED_BY_ANOTHER else (args, kwargs)
        given = [tensor for tensor in tensors_of(sources) if self.kind(tensor) is not None]
        if not given:
            return None
        kinds = [self.kind(tensor) for tensor in given]
        roots = frozenset().union(*map(self.roots, given))
        found = made(args, output)
        numbers = [tensor for tensor in found if tensor.is_floating_point()]
        if _WORDS not in kinds and _STATES not in kinds:
            if numbers:
                self.calls.append(0)
                return self._mark(numbers, _WORDS, frozenset({len(self.calls) - 1})) and LOOKED_UP
            if func not in ops.INDICES:
                ids = [each for each in found if each.dtype != torch.bool and each is not self.ids]
                self._mark(ids, _IDS if func in _OF_IDS and _MOVED not in kinds else _MOVED, roots)
            return None
        of_words = func in _OF_WORDS or (func in _PRODUCTS and kinds.count(_WORDS) == 1)
        return self._mark(numbers, _STATES if _STATES in kinds or not of_words else _WORDS, roots)

    def _mark(self, tensors: list[Tensor], kind: str, roots: frozenset[int]) -> str | None:
        for root in roots if kind == _WORDS and tensors else ():
            self.calls[root] += 1
        for tensor in tensors:
            setattr(tensor, _KIND, (self, kind, roots))
        return kind if tensors else None


def made(args: tuple[Any, ...], output: Any) -> list[Tensor]:
    """The tensors that a call made, or changed in place: x[...] = y returns nothing."""
    return list(tensors_of(output if output is not None else args[:1]))


def tensors_of(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


@dataclass(frozen=True, slots=True)
class _Made:
    """A tensor as a call made it: the number of that call of each root, and its version then."""

    tensor: Tensor
    output: int
    calls: Mapping[int, int]
    version: int


@dataclass(frozen=True, slots=True)
class Root:
    """Words as they were looked up.

    vectors: a leaf.  axes: of (batch, positions), if they are known.
    is_moved: whether a position may be another token's.
    """

    vectors: Tensor
    axes: tuple[int, int] | None
    is_moved: bool = False


@dataclass
class Watch(TorchFunctionMode):
    """A forward pass in which words are looked up as leaves, and what is made of them is kept.

    ids: (batch, seq), of the model's input.  roots: the words, by their numbers.  lookups: in all tables.
    """

    ids: Tensor
    roots: dict[int, Root] = field(default_factory=dict)
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
            self.roots[len(self._descent.calls) - 1] = Root(leaf, *self._axes_of(args, kwargs))
            output = self._copied(output, leaf)
        for tensor in made(args, output) if of in (LOOKED_UP, _WORDS) else ():
            node = tensor.grad_fn
            is_operand = any(tensor is given for given in args)
            if node is None or tensor.dim() != 3 or (is_operand and func not in _IN_PLACE):
                continue
            calls = {root: self._descent.calls[root] for root in self._descent.roots(tensor)}
            self._made[node] = _Made(tensor, tensor.output_nr, calls, tensor._version)
            if tensor is output and not is_operand and not tensor._is_view():
                output = self._copied(tensor, tensor)  # the model may change in place what it gets
        return output

    def _copied(self, words: Tensor, numbers: Tensor) -> Tensor:
        """A copy of numbers that counts as these words."""
        copy = numbers.clone()
        setattr(copy, _KIND, getattr(words, _KIND))
        return copy

    def _axes_of(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[int, int] | None, bool]:
        """The axes of (batch, positions) in what is looked up, None where that cannot be told; and whether
        its positions may be of other tokens."""
        for given in tensors_of((args, kwargs)):
            kind = self._descent.kind(given)
            for axes, ids in (((0, 1), self.ids), ((1, 0), self.ids.T)):
                if kind is not None and torch.equal(given, ids):
                    return axes, False
            if kind == _IDS and given.shape[:2] == self.ids.shape:
                return (0, 1), False
            if kind == _MOVED and given.dim() == 2 and len(given) == len(self.ids):
                return (0, 1), True
        return None, True

    def point(self, logits: Tensor) -> Point | None:
        """The attribution point of a forward pass that is done; None if there is none."""
        if logits.grad_fn is None or not self.roots or any(root.axes is None for root in self.roots.values()):
            return None
        together = list(self._candidates(logits, self.roots).values())
        if together:  # all that is looked up comes together
            place, order = together[-1]
            root, call = min(place.calls.items())
            shape = place.tensor.shape[order[0]], place.tensor.shape[order[1]]
            is_own = shape == self.ids.shape and not self.roots[root].is_moved
            return Point((Part(root, call, order),)) if is_own else None
        of_each = {root: self._candidates(logits, [root]) for root in self.roots}
        parts: dict[Any, Part] = {}
        for root, candidates in of_each.items():
            if not candidates and not self._reaches(logits, root):
                continue
            chosen = None
            for node, (place, order) in candidates.items():
                if all(node in of_each.get(other, ()) for other in place.calls):
                    chosen = node, Part(root, place.calls[root], order)
            if chosen is None:
                return None
            parts.setdefault(*chosen)
        return Point(tuple(parts.values()))

    def _candidates(
        self, logits: Tensor, numbers: Collection[int]
    ) -> dict[Any, tuple[_Made, tuple[int, int, int]]]:
        """By their nodes, from the words up, the tensors that could be where these words enter the first
        layer, and the order of their axes."""
        found: dict[Any, tuple[_Made, tuple[int, int, int]]] = {}
        ways = [*cuts(logits.grad_fn, {id(self.roots[number].vectors) for number in numbers})]
        for node, outputs in reversed(ways):
            place = self._made.get(node)
            if outputs is None or place is None or not outputs <= {place.output}:
                continue
            if place.tensor._version != place.version:
                continue
            order = self._order(place)
            if order is None and found:
                break
            if order is not None:
                found[node] = place, order
        return found

    def _reaches(self, logits: Tensor, number: int) -> bool:
        """Whether the logits are made of these words at all."""
        return any(True for _ in cuts(logits.grad_fn, {id(self.roots[number].vectors)}))

    def _order(self, place: _Made) -> tuple[int, int, int] | None:
        """The axes of (batch, positions, hidden) in a tensor whose positions are of one word each."""
        tensor, roots = place.tensor, [self.roots[root] for root in place.calls if root in self.roots]
        for order in ((0, 1, 2), (1, 0, 2)):
            if any(root.is_moved for root in roots) and len(roots) > 1:
                break  # it is made of several tokens
            if all(
                tensor.shape[axis] == root.vectors.shape[own]
                and stands_apart(root.vectors, own, tensor, axis)
                for root in roots
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


# --- a point of several parts ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """What the parts of a point are in a forward pass.

    embedding: (batch, positions of all parts, hidden), one part after the other; narrower ones end in zeros.
    standing: which token each of these positions stands for.
    """

    embedding: Tensor
    standing: Standing
    _places: Mapping[Part, tuple[slice, int]]

    def of(self, part: Part, embedding: Tensor) -> Tensor:
        """(batch, positions, hidden) of a part in an embedding of all."""
        positions, width = self._places[part]
        return embedding[:, positions, :width]


Change = Callable[[Tensor], Tensor] | None


class _EndOfWordsError(Exception):
    """All parts of a point are there; what follows is not asked for."""


class _Looking(TorchFunctionMode):
    """A forward pass up to the last part of a point.

    found: of each part its tensor (batch, positions, hidden).  lookups: of each call that looks words up.
    """

    def __init__(self, ids: Tensor, point: Point, words: Tensor | None, of_words: Change) -> None:
        super().__init__()
        self._descent, self._pending = Descent(ids), list(point.parts)
        self._words, self._of_words = words, of_words
        self.found: dict[Part, Tensor] = {}
        self.lookups: list[Lookup | None] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if self._of_words is not None and func is F.embedding and args[1] is self._words:
            output = self._of_words(output)
        of = self._descent.follow(func, args, kwargs, output)
        if of == LOOKED_UP:
            self.lookups.append(Lookup(args[0], args[1], output) if func is F.embedding else None)
        for tensor in made(args, output) if of in (LOOKED_UP, _WORDS) else ():
            part = self._descent.part_of(tensor, self._pending)
            if part is not None:
                self._pending.remove(part)
                self.found[part] = tensor.permute(part.order).clone()
                if not self._pending:
                    raise _EndOfWordsError
        return output


def _looked_up(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    point: Point,
    words: Tensor | None = None,
    of_words: Change = None,
) -> dict[Part, tuple[Lookup, Tensor]]:
    """Of each part its words as they are looked up, and what it is."""
    looking = _Looking(inputs["input_ids"], point, words, of_words)
    with torch.no_grad(), suppress(_EndOfWordsError), looking:
        model(**inputs)
    found = {}
    for part in point.parts:
        lookup = looking.lookups[part.root] if part.root < len(looking.lookups) else None
        if lookup is None or part not in looking.found or lookup.ids.dim() != 2:
            raise UnsupportedModelError(
                f"{kind_of(model)} looks up its words in {len(point.parts)} places, and in another way than "
                "when it was first asked, or not in a table (nn.Embedding)"
            )
        found[part] = lookup, looking.found[part]
    return found


def joined(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    point: Point,
    words: Tensor | None = None,
    of_words: Change = None,
) -> Joined:
    """What the parts of a point of several are for these inputs, of a pass that ends at the last of them.

    Args:
        model, inputs: in eval mode, and what it is asked about.
        point: with what its positions stand for, see `placed`.
        words, of_words: a table, and a change of the vectors that are looked up in it.

    Raises:
        UnsupportedModelError: it cannot be told which tokens its positions stand for.
    """
    found = _looked_up(model, inputs, point, words, of_words)
    ids = inputs["input_ids"]
    width = max(tensor.shape[2] for _, tensor in found.values())
    places, tokens, end = {}, [], 0
    for part, (lookup, tensor) in found.items():
        start, end = end, end + tensor.shape[1]
        places[part] = slice(start, end), tensor.shape[2]
        token = torch.arange(end - start, device=ids.device) - part.shift
        token = torch.where(token < ids.shape[1], token, -1).expand(len(ids), -1).clone()
        token[:, : part.shift] = -1
        if part.repeats_last:
            token[:, part.shift - 1] = _last(inputs)
        if not torch.equal(torch.where(token < 0, lookup.ids, ids.gather(1, token.clamp_min(0))), lookup.ids):
            raise UnsupportedModelError(
                f"{kind_of(model)} looks up its words in {len(found)} places, and it cannot be told which "
                "tokens of these inputs those in one of them are; pad on the right, and give the decoder none"
            )
        tokens.append(token)
    embedding = torch.cat([F.pad(tensor, (0, width - tensor.shape[2])) for _, tensor in found.values()], 1)
    parts = tuple(positions for positions, _ in places.values())
    return Joined(embedding, Standing(torch.cat(tokens, 1), ids.shape[1], parts), places)


def _last(inputs: Mapping[str, Tensor]) -> Tensor:
    """The column of the last token of each text, (batch,)."""
    mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    return (mask.bool() * torch.arange(mask.shape[1], device=mask.device)).argmax(1)


def placed(model: nn.Module, inputs: Mapping[str, Tensor], point: Point) -> Point:
    """The point with what its positions stand for, found by asking about a text whose tokens all differ.

    Args:
        inputs: without padding.

    Raises:
        UnsupportedModelError: it cannot be told.
    """
    if len(point.parts) == 1:
        return point
    ids = inputs["input_ids"]
    width = ids.shape[1]
    rows = min(len(lookup.table) for lookup, _ in _looked_up(model, inputs, point).values())
    first = min(rows // 2, rows - width)  # those at both ends may be special
    if first < 0:
        raise UnsupportedModelError(
            f"expected a table of at least {width} words in {kind_of(model)}, which looks them up in "
            f"{len(point.parts)} places, found one of {rows}"
        )
    different = (first + torch.arange(width, device=ids.device)).expand_as(ids).contiguous()
    parts = []
    for part, (lookup, _) in _looked_up(model, {**inputs, "input_ids": different}, point).items():
        token = torch.where((lookup.ids >= first) & (lookup.ids < first + width), lookup.ids - first, -1)
        numbers = torch.arange(token.shape[1], device=ids.device)
        fitting = [
            replace(part, shift=shift, repeats_last=repeats)
            for shift in range(token.shape[1])
            for repeats in (False, True)[: 1 + (shift > 0)]
            if torch.equal(token, _expected(numbers, shift, repeats, width).expand_as(token))
        ]
        if not fitting:
            raise UnsupportedModelError(
                f"{kind_of(model)} looks up its words in {len(point.parts)} places, and it cannot be told "
                "which tokens those in one of them are: they are in another order"
            )
        parts.append(fitting[0])
    return Point(tuple(parts))


def _expected(numbers: Tensor, shift: int, repeats_last: bool, width: int) -> Tensor:
    """Which token stands at each position of a text without padding; -1 for none."""
    token = torch.where((numbers >= shift) & (numbers < shift + width), numbers - shift, -1)
    return torch.where(numbers == shift - 1, width - 1, token) if repeats_last else token
