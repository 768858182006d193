"""A function mode that follows what descends from the embedding through a forward pass, and keeps books."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from whybert.errors import ModelError, UnsupportedModelError, UnsupportedOperationError
from whybert.foreign import Part, Point
from whybert.interception import states
from whybert.interception.calls import (
    applied,
    mapped,
    name_of,
    sources_of,
    tensors_in,
)
from whybert.interception.graph import (
    FUSED_ATTENTION,
    KNOWN_NODES,
    NODES_BY_KIND,
    NODES_WITHOUT_DERIVATIVE,
    has_no_derivative,
    leaves_of,
    nodes_of,
)
from whybert.interception.notes import (
    ATTENTION,
    CHOSEN,
    DECAY,
    DESCENT,
    GATE,
    INSIDE,
    LOST,
    PRODUCT,
    RECIPROCAL,
    SCORES,
    STATE,
    TIMES,
    WEIGHT,
    note,
    noted,
)
from whybert.interception.sites import Sites
from whybert.interception.sub_layers import SubLayers
from whybert.interception.trace import AttentionTrace
from whybert.lrp import functions as lrp
from whybert.lrp import operations as ops
from whybert.lrp.composites import ORDINARY, Composite, Mixed
from whybert.points import LOOKED_UP, Descent, Joined, made

_KNOWN: Final[frozenset[Any]] = (
    ops.STRUCTURAL
    | ops.MIXING
    | ops.LINEAR
    | ops.STRIDED
    | ops.IN_PLACE_SUMS
    | ops.SOFTMAXES
    | ops.SHAPE_ONLY
    | ops.INDICES
)

_CARRIED: Final = frozenset({ATTENTION, RECIPROCAL, GATE, CHOSEN, PRODUCT, DECAY, TIMES})
"""What is linear in tensors of which this is noted is that itself, if it holds for all of them."""

_ASIDE: Final = (
    "the model looks up its words once more, behind its attribution point, so all scores would leave out "
    "what comes of that; let it take them from its embedding"
)

_NODE: Final[Any] = vars(torch._C.TensorBase)["grad_fn"].__get__

_OTHERWISE: Final = (
    "the model embeds its words in another way than when it was first asked: name the part whose output "
    "(batch, seq, hidden) enters the first layer: embedding='its.name'"
)


def _is_in_place(func: Any) -> bool:
    """Whether a function changes its first argument, by the names that torch has for such."""
    name: str = getattr(func, "__name__", "")
    return bool(re.fullmatch(r"__i\w+__|__setitem__|__set__|(?!__).*[^_]_", name))


class Following(TorchFunctionMode):
    """See the module.  One object serves one forward pass.

    composites: the rules that later sweeps will follow.
    attention: keep what the attention weights are computed from.
    sub_layers: keep the blocks of BERT's kind, for the released LRP.
    inside: keep what each layer reads and what its heads hand on.
    inputs: of the model, to tell a linear layer's weight from what is computed from them.
    words: the table whose vectors the embedding is made of.
    ids, point: the ids of the tokens, and where what is made of them is cut, if no part of the model says so.
    joined: what the parts of a point of several are.
    at, of_words: a change of the embedding at the cut, and of the words as they are looked up.
    """

    def __init__(
        self,
        composites: Iterable[Composite],
        *,
        attention: bool = False,
        sub_layers: bool = False,
        inside: bool = False,
        inputs: Iterable[Tensor] = (),
        words: Tensor | None = None,
        ids: Tensor | None = None,
        point: Point | None = None,
        joined: Joined | None = None,
        at: Callable[[Tensor], Tensor] | None = None,
        of_words: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.composites = tuple(composites)
        self.sweep = lrp.Sweep()
        self.embedding: Tensor | None = None
        self.books: Tensor | None = None
        self.drawn: str | None = None  # a function that drew random numbers
        self.trace = AttentionTrace(attention)
        self.sub_layers = SubLayers(sub_layers)
        self._tables = tuple(part for composite in self.composites for part in composite.parts)
        self.sites = Sites(
            inside or any(isinstance(c, Mixed) and c.by_depth for c in self.composites),
            is_turned=point is not None and all(part.order[0] == 1 for part in point.parts),
        )
        self._loses = self._records = False
        self._decays = False  # whether something that may be a state was multiplied by an exponential
        self._keep_books = any(composite.keeps_books for composite in self.composites)
        self._closed = next((c for c in self.composites if c.closed), None)
        self._inputs, self._words = {id(tensor) for tensor in inputs}, words
        self._pending = [] if point is None else list(point.parts)  # of the point, those that are to come
        self._joined, self._at, self._of_words = joined, at, of_words
        self._descent = None if point is None or ids is None else Descent(ids)
        self._handlers = self._handlers_in_use()

    @property
    def needs_graph(self) -> bool:
        return bool(self.composites) or self.trace.wanted

    def begin(self, embedding: Tensor) -> None:
        """From here on, what descends from the embedding, (batch, positions, hidden), is tracked."""
        self.embedding = embedding
        self.trace.size = self.sites.size = tuple(embedding.shape[:2])
        if self._keep_books:
            kind = torch.promote_types(embedding.dtype, torch.float32)
            self.books = torch.ones(
                len(embedding) + 1, dtype=kind, device=embedding.device, requires_grad=True
            )

    def cut(self, embedding: Tensor) -> Tensor:
        """Begin at the embedding, (batch, positions, hidden); the model goes on with what is returned.

        Of several parts that is before any of them is there.
        """
        with torch.no_grad():
            changed = embedding.detach() if self._at is None else self._at(embedding.detach()).detach()
        self.begin(changed.requires_grad_(self.needs_graph))
        # not the leaf itself: a model may change what it gets in place
        return changed.clone()

    def tracked(self, value: Any) -> bool:
        """Whether the value is a tensor that descends from the embedding, differentiably."""
        if not isinstance(value, Tensor) or not value.requires_grad:
            return False
        if getattr(value, DESCENT, None) is self.sweep:
            return True
        # What no function of this mode made: a parameter, a tensor that a module keeps from before, or the
        # result of a function that the mode does not see.  Its graph tells.
        if value.grad_fn is None or not any(node is self.embedding for node in leaves_of(value.grad_fn)):
            return False
        setattr(value, DESCENT, self.sweep)
        return True

    def _constant(self, value: Tensor) -> Tensor:
        if value.is_inference():  # it could not be saved for the backward pass
            value = value.clone()
        if not value.requires_grad or self.tracked(value):
            return value
        constant = value.detach()
        setattr(constant, WEIGHT, (self.sweep, True))
        return constant

    def _operands(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, what does not descend from the embedding as constants.

        torch multiplies rows that do not lie side by side one batch at a time, unless the other factor
        requires a gradient, and rounds otherwise then.  So weights that do still do here.
        """
        constants = mapped((args, kwargs), self._constant)
        x = args[0] if args else None
        if func in ops.FOLDED and isinstance(x, Tensor) and x.dim() > 2 and not x.is_contiguous():
            for given, constant in zip(tensors_in((args, kwargs)), tensors_in(constants), strict=True):
                if given.requires_grad and constant is not given:
                    constant.requires_grad_()
        return cast("tuple[tuple[Any, ...], dict[str, Any]]", constants)

    def _is_weight(self, value: Tensor) -> bool:
        """Whether a constant is one of the model's numbers, or was computed from one."""
        sweep, is_weight = getattr(value, WEIGHT, (None, True))
        return is_weight if sweep is self.sweep else id(value) not in self._inputs

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in ops.ABOUT:
            return func(*args)
        kwargs = dict(kwargs) if kwargs else {}
        if self.embedding is None:
            return self._embed(func, args, kwargs)
        if func in ops.WRITTEN:
            with self:
                return ops.WRITTEN[func](*args, **kwargs)
        if self._records and func != _NODE:  # what a hook asks for is the node of the model's own call
            args = mapped(args, self._recorded)
            kwargs = {key: mapped(value, self._recorded) for key, value in kwargs.items()}
        sources = sources_of(func, args, kwargs)
        given = [tensor for tensor in tensors_in(sources) if tensor.requires_grad]
        name = self._lost_among(tensors_in(sources))  # before the call, which may change them in place
        if not given:
            return self._untracked(func, args, kwargs, name, func(*args, **kwargs))
        if not any(self.tracked(tensor) for tensor in given):
            with torch.no_grad():  # a constant, whichever way it is computed from parameters
                output = mapped(
                    func(*args, **kwargs),
                    # not a parameter that is where it should be: what asks for it may keep it as such
                    lambda y: y.detach() if y.requires_grad and not any(y is t for t in given) else y,
                )
            return self._untracked(func, args, kwargs, name, output)
        if func in ops.ESCAPES:
            raise self._lost(name_of(func))
        if kwargs.get("out") is not None:
            raise self._lost(f"{name_of(func)} with out=")
        if name is not None and torch.is_grad_enabled():
            raise self._lost(name)
        # The released recursion reads sub-layers off the model's own calls, not off what stands in for them.
        follows = self._closed is not None and not self.sub_layers.wanted
        if follows and not torch.is_grad_enabled() and not _is_in_place(func):
            return self._record(func, args, kwargs, given)
        return self._answer(func, args, kwargs, given)

    def _answer(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: Sequence[Tensor]
    ) -> Any:
        """The result of a call with what is tracked among what is given."""
        is_rounded = kwargs.get("rounding_mode") is not None
        if torch.is_grad_enabled() and (is_rounded or func in ops.STEPS):
            raise self._lost(f"{name_of(func)} with a rounding mode" if is_rounded else name_of(func))
        scores = self.trace.scores_among(func, given)
        depths = self.sub_layers.depths_of(tensor for tensor in given if self.tracked(tensor))
        handler = self._handlers.get(func) if torch.is_grad_enabled() else None
        if handler is not None:
            output = handler(self, func, *self._operands(func, args, kwargs))
        else:
            output = self._plain(func, args, kwargs)
        self._settle(func, args, output)
        if depths:
            self.sub_layers.deepen(args, output, depths)
        for tensor in (
            tensors_in(output if output is not None else args[:1]) if scores else ()
        ):  # None: x[...] = y
            note(tensor, SCORES, scores | (noted(tensor, SCORES) or frozenset()))
        return output

    def _record(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: Sequence[Tensor]
    ) -> Any:
        """The result of a call where no gradient is recorded, with a note of the same that has its graph.

        So it is inside the forward of an `autograd.Function`, whose operations say what it computes: where
        its result comes back with a derivative of its own, these stand in for it in sweeps by rules.
        """
        try:
            with torch.enable_grad():
                output = self._answer(func, args, kwargs, given)
        except UnsupportedOperationError:
            return self._answer(func, args, kwargs, given)

        def plain(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad or any(tensor is each for each in given):
                return tensor
            self._records = True
            bare = tensor.detach()
            self._lose(func, name_of(func), [bare])
            return note(bare, INSIDE, tensor)

        return mapped(output, plain)

    def _recorded(self, tensor: Tensor) -> Tensor:
        """What was noted of a tensor by `_record`, where it may stand in for it."""
        inside: Tensor | None = noted(tensor, INSIDE)
        if inside is None or (torch.is_grad_enabled() and not tensor.requires_grad):
            return tensor
        if not torch.is_grad_enabled():
            return inside
        # A backward pass comes by whatever is in the graph, and some functions raise then.
        by_rules = all(each.closed for each in self.composites)
        alone = self._closed is not None and by_rules and not (self.trace.wanted or self.sites.wanted)
        either = applied(lrp.Either, tensor.detach() if alone else tensor, inside, self.sweep)
        setattr(either, DESCENT, self.sweep)
        return either

    def seen(self, output: Tensor) -> Tensor:
        """The model's output, as what follows it would see it."""
        return self._recorded(output) if self._records and torch.is_grad_enabled() else output

    def _embed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Still below the attribution point, of which nothing is asked."""
        with torch.no_grad():
            output = self._untracked(func, args, kwargs, None, func(*args, **kwargs))
            if self._of_words is not None and func is F.embedding and args[1] is self._words:
                output = self._of_words(output)
        return self._followed(func, args, kwargs, output)

    def _followed(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        """What was made of words or, where that is a part of the point, what the model goes on with."""
        if self._descent is None or self._descent.follow(func, args, kwargs, output) is None:
            return output
        found = made(args, output)
        for tensor in found:  # of what passes by the cut no score would tell
            note(tensor, LOST, _ASIDE)
        self._loses = True
        part = next(filter(None, (self._descent.part_of(tensor, self._pending) for tensor in found)), None)
        if part is None:
            return output
        self._pending.remove(part)
        if len(found) != 1 or found[0].dim() != len(part.order):
            raise UnsupportedModelError(_OTHERWISE)
        back = sorted(range(len(part.order)), key=part.order.__getitem__)
        with torch.set_grad_enabled(self.needs_graph):
            embedding = self._cut_part(part, found[0].permute(part.order)).permute(back)
            if output is found[0] and not any(output is given for given in tensors_in(args)):
                return embedding
            found[0].copy_(embedding)  # it was changed in place: the model holds it itself
        return output

    def _cut_part(self, part: Part, words: Tensor) -> Tensor:
        """What the model goes on with in place of a part of the point, (batch, positions, hidden)."""
        if self._joined is None:
            return self.cut(words)
        embedding = self._joined.of(part, cast(Tensor, self.embedding))
        if embedding.shape != words.shape:
            raise UnsupportedModelError(_OTHERWISE)
        return embedding.clone()

    def _plain(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation that no rule is for: refused if it has no place in the table of a closed composite."""
        is_attribute = getattr(func, "__name__", "") == "__get__"
        constants = (args, kwargs) if is_attribute else self._operands(func, args, kwargs)
        output = func(*constants[0], **constants[1])
        known = func in _KNOWN or (is_attribute and func.__self__.__name__ in ops.TRANSPOSING_ATTRIBUTES)
        if self._closed is not None and not known and any(y.requires_grad for y in tensors_in(output)):
            if any(
                has_no_derivative(y) for y in tensors_in(output)
            ):  # to no method, and none is to be advised
                raise self._lost(name_of(func))
            raise UnsupportedOperationError(name_of(func), self._closed.name)
        return output

    def _settle(self, func: Any, args: tuple[Any, ...], output: Any) -> None:
        """Mark what descends from the embedding, and refuse a number that no longer does."""
        found = list(tensors_in(output if output is not None else args[:1]))  # None: x[...] = y
        tracked = [tensor for tensor in found if tensor.requires_grad]
        for tensor in tracked:
            setattr(tensor, DESCENT, self.sweep)
            if has_no_derivative(tensor):
                raise self._lost(name_of(func))
        self.trace.settle(func, args, tracked, output)
        self.sites.settle(func, args, tracked)
        # A handler may make a constant of it on purpose.
        on_purpose = func in self._handlers and torch.is_grad_enabled()
        if tracked or not found or func in ops.SHAPE_ONLY or on_purpose:
            return
        self._lose(func, name_of(func), found)

    def _lose(self, func: Any, name: str, found: Iterable[Tensor]) -> None:
        """Mark numbers that descend from the embedding, but not differentiably; asked for, they are refused.

        Only when they are asked for: what an `autograd.Function` computes inside is lost as well until it
        gets its derivative at the end, and what just becomes a comparison or a place is a constant almost
        everywhere.
        """
        for tensor in found:
            if tensor.dtype != torch.bool and (func not in ops.INDICES or tensor.is_floating_point()):
                note(tensor, LOST, name)
                self._loses = True

    def _untracked(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None, output: Any
    ) -> Any:
        """The result of a call without an operand that descends from the embedding differentiably.

        name: where one of the numbers that it was made of lost its gradient.
        """
        given = list(tensors_in(sources_of(func, args, kwargs)))
        if func in ops.RANDOM:
            self.drawn = name_of(func)
        if self._has_rule("linear"):
            # of numbers that come from elsewhere it is not known
            is_weight = func in ops.TYPED_BY_ANOTHER or any(self._is_weight(tensor) for tensor in given)
            for tensor in tensors_in(output):
                if not any(tensor is other for other in given):  # x.contiguous() may be the model's own x
                    setattr(tensor, WEIGHT, (self.sweep, is_weight))
        if self.embedding is not None and self._pending:
            output = self._followed(func, args, kwargs, output)
            name = None if name is _ASIDE else name  # words that are still to come to the point
        elif self.embedding is not None and self._looks_up_words(func, args, kwargs, given, output):
            self._lose(func, _ASIDE, tensors_in(output))
        if name is not None and func not in ops.SHAPE_ONLY:
            found = list(tensors_in(output if output is not None else args[:1]))
            if func in ops.ESCAPES or (
                func not in ops.CHOOSING  # of which the places may be all that is asked for
                and torch.is_grad_enabled()
                and any(tensor.is_floating_point() for tensor in found)
            ):
                raise self._lost(name)
            self._lose(func, name, found)
        return output

    def _looks_up_words(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        given: Sequence[Tensor],
        output: Any,
    ) -> bool:
        """Whether a call is of the table of words and of places in it, as numbers or as ones among zeros."""
        if self._descent is not None and self._descent.follow(func, args, kwargs, output) == LOOKED_UP:
            return True
        words = self._words
        if words is None or len(given) < 2:
            return False
        is_table = [
            each is words or (each.shape == words.shape and each.data_ptr() == words.data_ptr())
            for each in given
        ]
        return any(is_table) and any(
            not table and (not each.is_floating_point() or not self._is_weight(each))
            for table, each in zip(is_table, given, strict=True)
        )

    def _lost_among(self, given: Iterable[Tensor]) -> str | None:
        """Where one of the tensors lost its gradient."""
        if not self._loses:
            return None
        return next((name for t in given if not t.requires_grad and (name := noted(t, LOST))), None)

    def _lost(self, name: str) -> ModelError:
        if name is _ASIDE:
            return UnsupportedModelError(_ASIDE)
        name += ", which cuts the gradient off"
        return UnsupportedOperationError(
            name, self.composites[0].name if self.composites else "lat", lost=True
        )

    def _handlers_in_use(self) -> dict[Any, Callable[..., Any]]:
        """What handles which function; those that no handler is for keep their ordinary derivative."""
        return {}

    def _has_rule(self, kind: str) -> bool:
        return any(table.rule(kind) is not None for table in self._tables)

    def _has_shares(self, kind: str) -> bool:
        return any(table.shares(kind) != ORDINARY for table in self._tables)

    def check_graph(self, logits: Tensor) -> None:
        """Refuse what the mode cannot see: scripted functions, `autograd.Function`s of the model, vmap.

        Every node between the logits and the embedding must be one that a handler or a known function makes;
        where only the gradient is asked for, one that has a derivative.
        Raises UnsupportedOperationError.
        """
        if not self.composites or logits.grad_fn is None:
            return
        allowed = KNOWN_NODES | {
            node for kind, nodes in NODES_BY_KIND.items() if not self._has_rule(kind) for node in nodes
        }
        for node in nodes_of(logits.grad_fn, below=self._by_rules):
            name = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
            if name in NODES_WITHOUT_DERIVATIVE:
                raise UnsupportedOperationError(
                    "a kernel without a derivative (of 8-bit weights?)", self.composites[0].name, lost=True
                )
            if self._closed is None or getattr(node, "_forward_cls", None) in lrp.FUNCTIONS:
                continue
            if name not in allowed and not name.startswith(tuple(allowed.intersection(FUSED_ATTENTION))):
                raise UnsupportedOperationError(node.name(), self._name())

    def _by_rules(self, node: Any) -> Any:
        """The edges below a node that a sweep by rules follows."""
        own = self._closed is not None and getattr(node, "_forward_cls", None) is lrp.Either
        return node.next_functions[1:] if own else node.next_functions

    def _layer(self, x: Tensor, weight: Tensor, bias: Tensor | None, compute: Callable[[], Tensor]) -> Tensor:
        return applied(lrp.Linear, x, weight, bias, compute, self._has_rule("linear"), self.books, self.sweep)

    def _offset(self, y: Tensor, constant: Tensor | None) -> Tensor:
        """y, to which the constant was added, with the constant in the books."""
        if self.books is None or constant is None or not y.requires_grad or constant.dtype == torch.bool:
            return y
        return self._entered(y, constant.detach(), y.clone)

    def _entered(
        self, x: Tensor, constant: Tensor, compute: Callable[[], Tensor], slope: float = 1.0
    ) -> Tensor:
        """slope * x + constant, as `compute` says it, with the constant in the books."""
        return applied(lrp.Offset, x, constant, compute, slope, self.books, self.sweep)

    def _valued(self, y: Tensor, value: Callable[[], Tensor]) -> Tensor:
        """y, with the value of the model's own operation, which is it but for rounding."""
        return applied(lrp.Valued, y, value())

    def _guarded(self, x: Tensor) -> Tensor:
        """x, refused where relevance arrives that would go into an exponential by way of a factor."""
        if noted(x, DECAY) is None:
            return x
        return applied(lrp.InnerFunction, x, torch.clone, "torch.exp", None, self.sweep)

    def _weighed(self, weights: Tensor, y: Tensor) -> Tensor:
        """y, in which constants are weighed by something tracked; see `lrp.Weighed` for attention weights."""
        is_constant = any(table.shares("attention_values")[0] is None for table in self._tables)
        if noted(weights, ATTENTION) is None or not is_constant or not y.requires_grad:
            return y
        return cast(Tensor, self._carried([weights], applied(lrp.Weighed, y, self.books, self.sweep)))

    @staticmethod
    def _all_noted(operands: Sequence[Tensor], name: str) -> bool:
        return bool(operands) and all(noted(operand, name) is not None for operand in operands)

    def _carried(
        self, operands: Sequence[Tensor], y: Any, moved: bool = False, keeps_last: bool = True
    ) -> Any:
        """y, which is linear in the operands: it descends from a softmax if all of them do, and so on.

        moved: whether it holds the same numbers.  keeps_last: whether its last axis is theirs.
        """
        for name in _CARRIED.intersection(vars(operands[0])) if operands else ():
            notes = [noted(operand, name) for operand in operands]
            if all(note is not None for note in notes):
                for tensor in tensors_in(y):
                    note(tensor, name, notes[0] if moved else ())
        if any(STATE in vars(operand) for operand in operands):
            for tensor in tensors_in(y):
                states.carry(operands, tensor, keeps_last)
        return y

    def _share(self, operand: Tensor, *positions: tuple[str, int]) -> Tensor:
        """`operand`, whose backward pass will be multiplied by its share in each sweep."""
        if not operand.requires_grad:
            return operand
        shares = {lrp.total_share(table, positions) for table in self._tables}
        if shares == {None}:  # a constant in every sweep: cut here, so that nothing is kept for it
            return operand.detach()
        operand = self._guarded(operand)
        return operand if shares <= {1.0} else applied(lrp.Share, operand, positions, self.sweep)

    def _refuse(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation that has no rule: only the gradient passes it."""
        if self._closed is not None:
            raise UnsupportedOperationError(name_of(func), self._closed.name)
        return func(*args, **kwargs)

    def _rule_owner(self, kind: str) -> str:
        return next(table.name for table in self._tables if table.rule(kind) is not None)

    def _name(self) -> str:
        return self._closed.name if self._closed is not None else "lat"
