"""The one mechanism: a function mode that lets a model's own forward pass follow other rules backward."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode

from whybert.errors import ModelError, UnsupportedModelError, UnsupportedOperationError
from whybert.foreign import Part, Point
from whybert.interception import states
from whybert.interception.calls import (
    ATTENTION_PARAMETERS,
    LAYER_NORM_PARAMETERS,
    RMS_NORM_PARAMETERS,
    applied,
    bind,
    is_number,
    mapped,
    moves_rows,
    name_of,
    operands_of,
    scatters_rows,
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
    ELEMENTWISE,
    GATE,
    INSIDE,
    LINEAR,
    LOG_SUM,
    LOG_WEIGHTS,
    LOST,
    PRODUCT,
    RECIPROCAL,
    SCORES,
    STATE,
    SUM_OF,
    TIMES,
    WEIGHT,
    WEIGHTED,
    common,
    note,
    note_elementwise,
    noted,
    origin,
)
from whybert.interception.sites import Sites
from whybert.interception.sub_layers import SubLayers
from whybert.interception.trace import AttentionInputs, AttentionTrace, of_heads
from whybert.lrp import contractions
from whybert.lrp import functions as lrp
from whybert.lrp import operations as ops
from whybert.lrp.composites import ORDINARY, REFUSED, Composite, Mixed
from whybert.points import LOOKED_UP, Descent, Joined, made
from whybert.quantised import linear_layer


def _same_numbers(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors are one, or a copy or a view of it, however the model came by it."""
    return x is y or (x.shape == y.shape and x.dtype == y.dtype and torch.equal(x, y))


def _source_of(a: Tensor, b: Tensor) -> tuple[Tensor | None, float | None, float | None]:
    """`common` of a and b, or what they come of as the same numbers: such as a tensor and a copy of it."""
    found = common(a, b)
    if found is not None:
        return found
    (x, scale_a), (other, scale_b) = origin(a), origin(b)
    if scale_a is None:
        x, other = other, x
    one = (scale_a is None) != (scale_b is None) and _same_numbers(x, other)
    return (x, scale_a, scale_b) if one else (None, None, None)


def _value_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    value: Tensor = func(*mapped(args, torch.Tensor.detach), **mapped(kwargs, torch.Tensor.detach))
    return value


Handler = Callable[["Interception", Any, tuple[Any, ...], dict[str, Any]], Any]

_MASK: Final = 1e4  # what is added or filled in to mask attention scores is larger, in every data type

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
    "the model looks up its words once more, behind its embedding block, so all scores would leave out what "
    "comes of that; let it take them from the output of that block"
)


_NODE: Final[Any] = vars(torch._C.TensorBase)["grad_fn"].__get__
_OTHERWISE: Final = (
    "the model embeds its words in another way than when it was first asked: name the part whose output "
    "(batch, seq, hidden) enters the first layer: embedding='its.name'"
)

# The parameters of functions that add a product.
_ADDED: Final = {
    "addmm": ("input", "mat1", "mat2"),
    "addmv": ("input", "mat", "vec"),
    "baddbmm": ("input", "batch1", "batch2"),
}


def _is_in_place(func: Any) -> bool:
    """Whether a function changes its first argument, by the names that torch has for such."""
    name: str = getattr(func, "__name__", "")
    return bool(re.fullmatch(r"__i\w+__|__setitem__|__set__|(?!__).*[^_]_", name))


@dataclass(frozen=True, slots=True)
class _Layer:
    """y = x W^T + b, spelled in some layout: if a constant is added next, it is (a part of) the bias.

    index: where in y, flattened, each number of the tensor stands; None if they stand in y's own order.
    is_placed: whether that is known.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    shape: torch.Size
    index: Tensor | None = None
    is_placed: bool = True


class Interception(TorchFunctionMode):
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

    # --- descent -----------------------------------------------------------------------------------

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

    # --- the mode ----------------------------------------------------------------------------------

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
        if func in ops.ESCAPES or (func in ops.STEPS and torch.is_grad_enabled()):
            raise self._lost(name_of(func))
        if kwargs.get("out") is not None:
            raise self._lost(f"{name_of(func)} with out=")
        if name is not None and torch.is_grad_enabled():
            raise self._lost(name)
        if self._closed is not None and not torch.is_grad_enabled() and not _is_in_place(func):
            return self._record(func, args, kwargs, given)
        return self._answer(func, args, kwargs, given)

    def _answer(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: Sequence[Tensor]
    ) -> Any:
        """The result of a call with what is tracked among what is given."""
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
        """Still in the embedding block: nothing above it is asked for."""
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

    def _handlers_in_use(self) -> dict[Any, Handler]:
        """The handlers that some composite, the attention tap or the sub-layers need; else none.

        Plain functions, not bound methods: those would make a reference cycle that keeps every activation
        alive until the cycle collector comes by.
        """
        used: dict[Any, Handler] = {}
        kind = type(self)

        def use(functions: Iterable[Any], handler: Handler) -> None:
            used.update(dict.fromkeys(functions, handler))

        use(ops.DROPOUTS, kind._dropout)
        use([linear_layer], kind._quantised_layer)
        use(ops.STRIDED, kind._strided)
        if self.trace.wanted or self.sites.wanted or self._closed is not None or self._has_rule("softmax"):
            use(ops.SOFTMAXES, kind._softmax)
            use(ops.STRUCTURAL, kind._structural)
            use(ops.LINEAR, kind._structural)
            use(ops.MIXING, kind._structural)
            use(ops.CONTRACTIONS, kind._contraction)
            use(ops.ADDED_PRODUCTS, kind._added_product)
            use(ops.GROUPED_PRODUCTS, kind._grouped_product)
            use(ops.FUSED_ATTENTION, kind._fused_attention)
            use(ops.PRODUCTS, kind._product)
            use(ops.QUOTIENTS, kind._quotient)
            use(ops.SUMS, kind._sum)
            use(ops.IN_PLACE_SUMS, kind._in_place_sum)
        if self._closed is not None:
            use(ops.LINEAR_LAYERS, kind._linear)
            use(ops.CONVOLUTIONS, kind._convolution)
            use(ops.LAYER_NORMS, kind._layer_norm)
            use(ops.RMS_NORMS, kind._rms_norm)
            use(ops.BATCH_NORMS, kind._batch_norm)
            use(ops.ELEMENTWISE, kind._activation)
            use(ops.HOMOGENEOUS - ops.CHOOSING, kind._homogeneous)
            use(ops.SQUARES, kind._square)
            use(ops.NEGATIONS, kind._negative)
            use(ops.FUSED, kind._fused)
            use(ops.IN_PLACE, kind._in_place)
            use(ops.POWERS, kind._power)
            use(ops.ROOTS, kind._root)
            use(ops.INNER_FUNCTIONS, kind._inner_function)
            use(ops.LOG_SUMS, kind._log_sum)
            use(ops.LOG_SOFTMAXES, kind._log_softmax)
            use(ops.RECIPROCALS, kind._reciprocal)
            use(ops.IN_PLACE_PRODUCTS, kind._in_place_product)
            use(ops.RESTATED, kind._restated)
        return used

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

    # --- linear layers, LayerNorm, convolutions ------------------------------------------------------

    def _linear(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias = bind(args, kwargs, ("input", "weight", "bias"))
        if self.tracked(weight) or self.tracked(bias):
            raise UnsupportedOperationError("linear with a weight that depends on the input", self._name())
        self.sub_layers.enters_linear(x)
        if not self._has_rule("linear") and (bias is None or self.books is None):
            y = F.linear(x, weight, bias)
        else:
            y = self._layer(x, weight, bias, lambda: F.linear(x, weight, bias))
            if self._has_rule("linear"):
                note(y, LINEAR, _Layer(x, weight, bias, y.shape))
        return cast(Tensor, self._carried([x], y))

    def _quantised_layer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias, value = args
        self.sub_layers.enters_linear(x)
        self.trace.wise = True
        y = self._layer(x, weight, bias, lambda: value)
        if self._has_rule("linear"):
            note(y, LINEAR, _Layer(x, weight, bias, y.shape))
        return cast(Tensor, self._carried([x], y))

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

    def _contraction(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A sum of products: a linear layer if one operand is a constant, else a product of activations."""
        found = operands_of(func, args, kwargs)
        if found is None:
            several = contractions.einsum_terms(args) if func is torch.einsum else None
            return self._refuse(func, args, kwargs) if several is None else self._several(func, *several)
        a, b, call, axes = found
        if axes is None or axes.result[:1] != (axes.first if self.tracked(a) else axes.second)[:1]:
            self.sweep.is_moved = True
        if self.tracked(a) and self.tracked(b):
            return self._activations_product(func, a, b, call, axes)
        x = a if self.tracked(a) else b
        if isinstance(x, Tensor) and x.dim() > 1:
            self.sub_layers.enters_linear(x)
        if axes is not None and x.dim() > 1:
            position = (axes.first if x is a else axes.second)[1]
            self.trace.wise = x.shape[:2] == self.trace.size and axes.result[1:2] == (position,)
        # A constant that no weight went into, such as the shares of a mean, pools; it is no layer.
        if not self._has_rule("linear") or not self._is_weight(b if x is a else a):
            return self._weighed(x, self._carried([x], call(a, b)))
        form = None if axes is None else contractions.canonical(axes, x, b if x is a else a, x is a)
        if form is None:
            raise UnsupportedOperationError(
                f"{name_of(func)} with a constant that is no weight matrix", self._rule_owner("linear")
            )
        plain = [operand.detach() for operand in (a, b)]
        y = self._layer(form.x, form.weight, None, lambda: form.into(call(*plain)))
        index = form.back(torch.arange(y.numel(), device=y.device).view(y.shape))
        spelled = form.back(y)
        note(spelled, LINEAR, _Layer(form.x, form.weight, None, y.shape, index))
        return self._carried([x], spelled)

    def _weighed(self, weights: Tensor, y: Tensor) -> Tensor:
        """y, in which constants are weighed by something tracked; see `lrp.Weighed` for attention weights."""
        is_constant = any(table.shares("attention_values")[0] is None for table in self._tables)
        if noted(weights, ATTENTION) is None or not is_constant or not y.requires_grad:
            return y
        return cast(Tensor, self._carried([weights], applied(lrp.Weighed, y, self.books, self.sweep)))

    def _several(self, func: Any, equation: str, operands: list[Tensor]) -> Any:
        """An einsum of one operand, or of three and more: linear in each of them.

        With two that are tracked it is a product of two activations; of more the shares are not known.
        """
        places = [place for place, operand in enumerate(operands) if self.tracked(operand)]
        tracked = [operands[place] for place in places]

        def call(*values: Tensor) -> Any:
            listed = list(operands)
            for place, value in zip(places, values, strict=True):
                listed[place] = value
            return func(equation, *listed)

        self.sweep.is_moved = True
        if len(operands) == 1:
            return self._structural(func, (equation, *operands), {})
        if self._has_rule("linear") and any(
            self._is_weight(operand) for operand in operands if not self.tracked(operand)
        ):
            raise UnsupportedOperationError(
                f"{name_of(func)} of {len(operands)} operands, weights among them", self._rule_owner("linear")
            )
        if len(tracked) == 1:
            return self._weighed(tracked[0], self._carried(tracked, call(*tracked)))
        if len(tracked) == 2:
            return self._activations_product(func, tracked[0], tracked[1], call, None)
        return self._refuse(func, (equation, *operands), {})

    def _activations_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        """A product of two activations, of attention weights and values if one descends from a softmax."""
        first, second = (noted(operand, ATTENTION) is not None for operand in (a, b))
        gates = [noted(operand, GATE) is not None for operand in (a, b)]
        if any(gates) and (call is torch.mul or not (first or second)):
            return self._gated(call, a, b, 0 if gates[0] else 1)
        if first and second:  # weights of weights, as where attention is approximated by landmarks
            y = call(self._share(a, ("product", 0)), self._share(b, ("product", 1)))
            return self._carried([a, b], y)
        if not (first or second):
            read = self._state_product(func, a, b, call, axes)
            if read is not None:
                return read
            self._check_not_state(func, a, b, axes)
            y = call(self._share(a, ("product", 0)), self._share(b, ("product", 1)))
            if axes is None:
                return note(y, TIMES, ())
            return note(self.trace.opened(y, f"a product of two activations ({name_of(func)})"), PRODUCT, ())
        axis = self.trace.keep(a if first else b, axes, first) if self.trace.wanted else None
        weights, values = (0, 1) if first else (1, 0)
        y = call(self._share(a, ("attention_values", weights)), self._share(b, ("attention_values", values)))
        self.sub_layers.enters_attention(b if first else a)
        self.trace.attended(y, axis)
        self.sites.attended(y, a if first else b, axes, first)
        return y

    def _state_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        """A product that makes a state, lets it decay, or reads it, see `states`; None for another."""
        if not self._has_shares("product"):
            return None
        if axes is None:
            for x, other in ((a, b), (b, a)):
                if noted(x, DECAY) is not None and noted(other, STATE) is not None:
                    self._decays = True
                    y = call(self._share(x, ("state", 0)), self._share(other, ("state", 1)))
                    states.carry([other], y, keeps_last=True)
                    return y
            made = states.outer(a, b)
            if made is None:
                return None
            given = zip((a, b), made.positions, strict=True)
            y = call(*(applied(lrp.Share, self._guarded(x), positions, self.sweep) for x, positions in given))
            return note(note(y, TIMES, ()), STATE, (made,))
        for x, labels, other, others in ((a, axes.first, b, axes.second), (b, axes.second, a, axes.first)):
            state = noted(x, STATE) if self._decays else None
            if state is None:
                continue
            summed = [name for name in labels if name in others and name not in axes.result]
            own = [size for name, size in zip(others, other.shape, strict=True) if name not in labels]
            if (
                not state
                or not all(each.is_clear for each in state)
                or summed != [labels[-1]]
                or set(own) - {1}
            ):
                raise UnsupportedOperationError(
                    f"{name_of(func)} of a state of which it is not clear what its value is", self._name()
                )
            for each in state:
                each.read()
            read = self._share(other, ("state", 0))
            return call(x, read) if x is a else call(read, x)
        return None

    def _check_not_state(self, func: Any, a: Tensor, b: Tensor, axes: contractions.Axes | None) -> None:
        """Refuse q (k^T v), where (q k^T) v is the same: halves in the one order are not those in the other.

        So linear attention keeps a state of what came before.  In the order of attention q and k get a
        quarter each, and v half; which of the factors of a state is its value is only known when it is read.
        """
        if axes is None or not axes.result or not self._has_shares("product"):
            return
        owners = [x for x, labels in ((a, axes.first), (b, axes.second)) if axes.result[-1] in labels]
        if any(noted(x, PRODUCT) is not None for x in owners):
            raise UnsupportedOperationError(
                f"{name_of(func)} of an activation and a state that is a product of two (linear attention, "
                "state spaces)",
                self._name(),
            )

    def _gated(self, call: Callable[[Tensor, Tensor], Any], a: Tensor, b: Tensor, gate: int) -> Any:
        """A product whose factor number `gate` is a sigmoid, or the weight that a softmax gave to one of what
        was chosen, such as the experts of a mixture.

        A gate is to what it lets through as attention weights are to values, and a sigmoid is the softmax of
        two numbers of which one is 0.  So AttnLRP gives half to each factor and CP-LRP all to what is let
        through, as `GateWeightMultiplication` does in the Mixtral of Achtibat et al. 2024 (arXiv 2402.05602;
        LXT), uniform in the one and behind a stopped gate in the other.  Which are chosen is a constant: it
        is the same for all inputs that are near enough.
        """
        return call(
            self._share(a, ("attention_values", gate)), self._share(b, ("attention_values", 1 - gate))
        )

    def _added_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """beta * input + alpha * a @ b, as `addmm`, `addmv` and `baddbmm` compute it."""
        names = next((names for name, names in _ADDED.items() if name == func.__name__), None)
        if len(args) > 3 or names is None:
            return self._refuse(func, args, kwargs)
        added, a, b = bind(args, kwargs, names)
        scales = {name: kwargs[name] for name in ("alpha", "beta") if name in kwargs}
        axes = contractions.matmul(a, b)
        if axes.result[:1] != (axes.second if self.tracked(b) and not self.tracked(a) else axes.first)[:1]:
            self.sweep.is_moved = True
        if self.tracked(a) and self.tracked(b):
            y = self._activations_product(func, a, b, lambda a, b: func(added, a, b, **scales), axes)
            if self.trace.wanted and self.tracked(added):
                self.trace.reason = f"{name_of(func)} adds to a product of two activations"
        elif self.tracked(a) or self.tracked(b):
            x = a if self.tracked(a) else b
            self.sub_layers.enters_linear(x)
            if self._has_rule("linear") and self._is_weight(b if x is a else a):
                form = contractions.canonical(axes, x, b if x is a else a, x is a)
                bias = added.reshape(-1) if added.numel() == added.shape[-1] else None
                if (
                    form is None
                    or x is b
                    or bias is None
                    or self.tracked(added)
                    or set(scales.values()) - {1}
                ):
                    raise UnsupportedOperationError(
                        f"{name_of(func)} that is no linear layer with a bias", self._rule_owner("linear")
                    )
                plain = [operand.detach() for operand in (a, b)]
                return form.back(
                    self._layer(form.x, form.weight, bias, lambda: form.into(func(added, *plain, **scales)))
                )
            y = func(added, a, b, **scales)
        else:
            y = func(added, a, b, **scales)
        if not self.tracked(added):
            whole = self._offset(y, added * scales["beta"] if "beta" in scales else added)
            return note(whole, SCORES, noted(y, SCORES)) if noted(y, SCORES) else whole
        if self.tracked(a) or self.tracked(b):
            return y
        return self._offset(y, func(torch.zeros_like(added), a, b, **scales))

    def _grouped_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rows of x, (rows, in), each group of them times a matrix of its own, (groups, in, out)."""
        x, weight = bind(args, kwargs, ("self", "mat2"))
        ends, bias = kwargs.get("offs"), kwargs.get("bias")
        if self.tracked(weight) or bias is not None or ends is None or x.dim() != 2 or weight.dim() != 3:
            return self._refuse(func, args, kwargs)
        if not self._has_rule("linear"):
            return func(*args, **kwargs)
        value, parts, start = func(x.detach(), weight, **kwargs), [], 0
        for end, matrix in zip(ends.tolist(), weight, strict=True):
            own = value[start:end]
            parts.append(self._layer(x[start:end], matrix.mT, None, own.clone))
            start = end
        y = torch.cat([*parts, value[start:]])
        return note(y, LINEAR, _Layer(x, weight, None, y.shape, is_placed=False))

    def _convolution(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias, *settings = bind(
            args, kwargs, ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        )
        if self.tracked(weight) or self.tracked(bias):
            raise UnsupportedOperationError(
                "a convolution with a kernel that depends on the input", self._name()
            )
        plain = all(s in (d, (d,), None) for s, d in zip(settings, (1, 0, 1, 1), strict=True))
        self.sub_layers.enters_linear(x)
        one = weight.shape[-1] == 1 and x.dim() == 3 and "transpose" not in func.__name__
        if plain and one and self._has_rule("linear"):
            # (batch, channels, seq): a linear layer of each position's channels
            y = self._layer(
                x.transpose(1, 2), weight[..., 0], bias, lambda: func(x, weight, bias).transpose(1, 2)
            )
            return y.transpose(1, 2)
        refusing = next((table for table in self._tables if table.rule("convolution") is REFUSED), None)
        if refusing is not None:
            raise UnsupportedOperationError(name_of(func), refusing.name)
        y = func(*args, **kwargs)
        return y if bias is None else self._offset(y, bias.view(-1, *[1] * (weight.dim() - 2)))

    def _rms_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, eps = bind(args, kwargs, RMS_NORM_PARAMETERS)
        if self.tracked(weight) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if not self._has_rule("layer_norm"):
            return F.rms_norm(x, tuple(shape), weight, eps)
        return applied(lrp.RMSNorm, x, tuple(shape), weight, eps, self.sweep)

    def _layer_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, bias, eps = bind(args, kwargs, LAYER_NORM_PARAMETERS)
        eps = 1e-5 if eps is None else eps
        shape = tuple(shape)
        if self.tracked(weight) or self.tracked(bias) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        self.sub_layers.normalises(x)
        if self._has_rule("layer_norm"):
            return applied(lrp.LayerNorm, x, shape, weight, bias, eps, self.books, self.sweep)
        return F.layer_norm(x, shape, weight, bias, eps)

    def _batch_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A scale and a constant for each channel, where the moments are kept ones; a bias, to the books."""
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        x, mean, variance, weight, bias, training, _, eps = bind(args, kwargs, names)
        constants = (mean, variance, weight, bias)
        if training or mean is None or variance is None or any(map(self.tracked, constants)):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if self._has_rule("linear"):
            raise UnsupportedOperationError(name_of(func), self._rule_owner("linear"))
        scale = (variance + (1e-5 if eps is None else eps)).rsqrt()
        scale = scale if weight is None else scale * weight
        offset = -mean * scale if bias is None else bias - mean * scale
        channels = (1, -1, *[1] * (x.dim() - 2))
        scaled = x * scale.view(channels).to(x.dtype)
        offset = offset.view(channels).to(x.dtype).expand_as(x)
        if self.books is None:
            return self._valued(scaled + offset, lambda: _value_of(func, args, kwargs))
        return self._entered(scaled, offset, lambda: _value_of(func, args, kwargs))

    # --- element-wise functions ----------------------------------------------------------------------

    def _activation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        names, make = ops.ELEMENTWISE[func]
        x, *given = bind(args, kwargs, ("input", *names))
        settings = {name: value for name, value in zip(names, given, strict=True) if value is not None}
        in_place = settings.pop("inplace", False)
        is_of_x = self.tracked(x) and not any(self.tracked(value) for value in settings.values())
        function = make(**settings) if is_of_x else None
        if function is None:
            return cast(Tensor, self._refuse(func, args, kwargs))

        def of(x: Tensor) -> Tensor:
            y = self._elementwise(x, function, "activation")
            return cast(Tensor, self._carried([x], note(y, GATE, ()) if function.is_gate else y))

        return self._changed(x, of) if in_place else of(x)

    def _in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """x.relu_() and the like: what it is out of place, of a copy of x."""
        x = args[0]

        def of(copy: Tensor) -> Tensor:
            with self:
                y: Tensor = ops.IN_PLACE[func](*mapped(args, lambda t: copy if t is x else t), **kwargs)
            return y

        return self._changed(x, of)

    def _changed(self, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """x with what is computed of a copy of it in its place."""

        def pass_on(before: Tensor, after: Tensor) -> None:
            for name in (ELEMENTWISE, ATTENTION, RECIPROCAL, GATE):
                value = noted(before, name)
                if value is not None:
                    note(after, name, value)

        copy = x.clone()
        if self.tracked(x):
            setattr(copy, DESCENT, self.sweep)
        pass_on(x, copy)
        y = compute(copy)
        if y.shape != x.shape or (x.is_leaf and x.requires_grad):
            raise self._lost("an operation in place")
        x.copy_(y)
        pass_on(y, x)
        return x

    def _fused(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        with self:
            y: Tensor = ops.FUSED[func](*args, **kwargs)
        return self._valued(y, lambda: _value_of(func, args, kwargs))

    def _valued(self, y: Tensor, value: Callable[[], Tensor]) -> Tensor:
        """y, with the value of the model's own operation, which is it but for rounding."""
        return applied(lrp.Valued, y, value())

    def _homogeneous(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A maximum, a norm, ...: its derivative; constants that it is also of go into the books."""
        if 0 in (kwargs.get("p"), kwargs.get("ord"), *(args[1:2] if "norm" in func.__name__ else ())):
            return self._refuse(func, args, kwargs)  # a count
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if self.books is not None and len(given) > 1:
            shape = torch.broadcast_tensors(*given)[0].shape  # type: ignore[no-untyped-call]

            def entered(constant: Tensor) -> Tensor:
                if self.tracked(constant):
                    return constant
                constant = constant.expand(shape)
                return self._entered(constant, _without_mask(constant), constant.clone)

            args, kwargs = mapped(args, entered), mapped(kwargs, entered)
        return self._carried([value for value in given if self.tracked(value)], func(*args, **kwargs))

    def _square(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A variance: the deviation is a constant, and it is nothing else."""
        (x,) = bind(args, kwargs, ("input",))

        def of(value: Tensor) -> Tensor:
            return cast(Tensor, func(*mapped(args, lambda t: value if t is x else t), **kwargs))

        return applied(lrp.InnerFunction, x, of, name_of(func), "power", self.sweep)

    def _root(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = bind(args, kwargs, ("input",))
        return self._elementwise(x, ops.SQRT, "power")

    def _power(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, exponent = bind(args, kwargs, ("input", "exponent"))
        exponent = 2 if exponent is None else exponent  # torch.square
        if not isinstance(exponent, int | float) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if exponent < 0:
            return self._reciprocal(func, (x, exponent), {})
        return self._elementwise(x, self._power_of(exponent), "power")

    def _reciprocal(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """One over a root, a power or another denominator: what is multiplied by it is a quotient."""
        x = next(tensor for tensor in tensors_in([args, kwargs]) if self.tracked(tensor))

        def of(value: Tensor) -> Tensor:
            return cast(Tensor, func(*mapped(args, lambda t: value if t is x else t), **kwargs))

        return note(applied(lrp.InnerFunction, x, of, name_of(func), "quotient", self.sweep), RECIPROCAL, ())

    @staticmethod
    def _power_of(exponent: float) -> ops.Elementwise:
        return ops.Elementwise(
            f"x ** {exponent}",
            lambda x: x**exponent,
            lambda gradient, x, _: gradient * (exponent * x ** (exponent - 1)),
            lambda x, _: x ** (exponent - 1),
        )

    def _elementwise(self, x: Tensor, function: ops.Elementwise, kind: str) -> Tensor:
        if not self._has_rule(kind):
            return note_elementwise(function.value(x), x, None)
        books = self.books if function.at_zero else None
        y = applied(lrp.Activation, self._guarded(x), function, kind, books, self.sweep)
        return note_elementwise(y, x, None)

    def _negative(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        y = self._structural(func, args, kwargs)
        return note_elementwise(y, bind(args, kwargs, ("input",))[0], -1.0)

    def _inner_function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = bind(args, kwargs, ("input",))
        scores, version, axis = noted(x, LOG_WEIGHTS) or (x, None, None)
        if scores._version == version:
            weights = self._softmax(torch.softmax, (scores, axis), {})
            valued = applied(lrp.Valued, weights, func(x.detach()))
            return cast(Tensor, self._carried([weights], valued, moved=True))
        # Of another function it would be one with it, such as exp(logsigmoid(x)), which is a sigmoid.
        is_own = origin(x)[1] is not None
        if is_own and self._has_rule("activation") and all(table.as_gradient for table in self._tables):
            return note(self._elementwise(x, ops.EXPONENTIAL, "activation"), DECAY, ())
        y = applied(lrp.InnerFunction, x, func, name_of(func), None, self.sweep)
        return note_elementwise(y, x, None)

    def _guarded(self, x: Tensor) -> Tensor:
        """x, refused where relevance arrives that would go into an exponential by way of a factor."""
        if noted(x, DECAY) is None:
            return x
        return applied(lrp.InnerFunction, x, torch.clone, "torch.exp", None, self.sweep)

    def _log_sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """log sum exp x = sum_i p_i x_i + H(p) with p = softmax(x): the derivative is p, the books hold H."""
        x, axis = bind(args, kwargs, ("input", "dim"))
        y = func(*args, **kwargs)
        if not isinstance(axis, int):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if self.books is not None:
            mean = (x.softmax(axis) * x).nan_to_num(0.0).sum(axis, keepdim=y.dim() == x.dim())
            y = self._entered(y, (y - mean).detach(), y.clone)
        return note(y, LOG_SUM, (x, x._version, axis))

    def _log_softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, axis = bind(args, kwargs, ("input", "dim"))
        others = {name: value for name, value in kwargs.items() if name != "input"}

        def of(x: Tensor) -> Tensor:
            return cast(Tensor, func(x, *args[1:], **others))

        y = applied(lrp.InnerFunction, x, of, name_of(func), None, self.sweep)
        return note(y, LOG_WEIGHTS, (x, x._version, axis))

    # --- products and quotients ----------------------------------------------------------------------

    def _product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = bind(args, kwargs, ("input", "other"))
        if not (self.tracked(a) and self.tracked(b)):
            return self._scaled(torch.mul, a, b)
        if a is b and self._closed is not None:
            return self._elementwise(a, self._power_of(2), "power")
        if noted(a, RECIPROCAL) is not None or noted(b, RECIPROCAL) is not None:
            numerator, denominator = (1, 0) if noted(a, RECIPROCAL) is not None else (0, 1)
            return self._divided(torch.mul, a, b, numerator, denominator)
        if self._closed is not None:
            x, scale_a, scale_b = _source_of(a, b)
            if scale_a is None:
                a, b, scale_a = b, a, scale_b
            if scale_a is not None and x is not None:
                return note_elementwise(self._composed(a, b, x, scale_a), x, None)
        return self._activations_product(func, a, b, torch.mul, None)

    def _composed(self, a: Tensor, b: Tensor, x: Tensor, scale: float | None) -> Tensor:
        """a * b, where a = scale * x and b = g(x): an activation written out."""
        return applied(lrp.ComposedActivation, a, b, x, scale, self.sweep)

    def _quotient(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = bind(args, kwargs, ("input", "other"))
        if kwargs.get("rounding_mode") is not None:
            raise self._lost(f"{name_of(func)} with a rounding mode")
        if not self.tracked(b):
            return self._scaled(torch.div, a, b)
        if not self.tracked(a):
            return self._reciprocal(func, args, kwargs) if self._closed is not None else torch.div(a, b)
        if noted(b, RECIPROCAL) is not None:  # a product, whose second factor would be taken for a constant
            return self._refuse(func, args, kwargs)
        x, scale, scale_b = _source_of(a, b)
        if x is not None and scale is not None and scale_b is None and self._closed is not None:  # x / g(x)
            y = self._composed(a, self._reciprocal(torch.reciprocal, (b,), {}), x, scale)
            return note_elementwise(self._valued(y, lambda: torch.div(a.detach(), b.detach())), x, None)
        return self._divided(torch.div, a, b, 0, 1)

    def _divided(self, func: Callable[..., Tensor], a: Tensor, b: Tensor, first: int, second: int) -> Tensor:
        """A quotient of a and b, or its reciprocal spelling; first, second: which of the two each is."""
        self.sub_layers.normalises(None)  # it may be a LayerNorm written out
        numerator, denominator = (a, b) if first == 0 else (b, a)
        if self._is_sum_of(denominator, numerator):
            if func is not torch.div:
                return cast(Tensor, self._refuse(func, (a, b), {}))
            y = func(a, b)
        else:
            y = func(self._share(a, ("quotient", first)), self._share(b, ("quotient", second)))
        for name in (ATTENTION, GATE):
            if noted(numerator, name) is not None:
                note(y, name, ())
        return y

    @staticmethod
    def _is_sum_of(denominator: Tensor, numerator: Tensor) -> bool:
        """Whether weights of a softmax, or gates, are divided by their sum.

        softmax(x) over all, divided by its sum over some, is softmax(x) over these: a part of it, with its
        derivative, and no normalisation by a constant.  So it is for gates, as of `NormWeight` in the code of
        Achtibat et al. 2024 for Mixtral, which has the epsilon rule: the ordinary derivative.
        """
        weights, version = noted(denominator, SUM_OF) or (None, None)
        return (
            weights is not None
            and weights._version == version
            and _same_numbers(origin(weights)[0], origin(numerator)[0])
        )

    def _scaled(self, func: Callable[..., Any], a: Any, b: Any) -> Any:
        """a * b or a / b with at most one factor that depends on the input."""
        y = func(a, b)
        tracked, other = (a, b) if self.tracked(a) else (b, a)
        if noted(tracked, DECAY) is not None and isinstance(other, Tensor) and not bool(other.any()):
            self._decays = True  # a state as it begins
            return y.detach()
        if is_number(other):
            note_elementwise(y, tracked, float(func(1.0, other)))
        elif y.shape == tracked.shape:
            note_elementwise(y, tracked, None)
        if not is_number(other) and self._has_rule("linear") and self._is_weight(other):
            strides = other.expand(y.shape).stride()
            note(y, WEIGHTED, frozenset(i - y.dim() for i, stride in enumerate(strides) if stride))
        return self._carried([tracked], y)

    def _sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A sum or a difference."""
        a, b = bind(args, kwargs, ("input", "other"))
        if not (self.tracked(a) and self.tracked(b)):
            return self._sum_with_constant(
                func, args, kwargs, a if self.tracked(a) else b, b if self.tracked(a) else a
            )
        y = func(*args, **kwargs)
        of = noted(b, LOG_SUM)
        if of is not None and of[0] is a and func in ops.REMAINDERS and not kwargs and y.shape == a.shape:
            note(y, LOG_WEIGHTS, of)
        x, scale_a, scale_b = common(a, b) or (None, None, None)
        x = origin(a)[0] if x is None and origin(a)[0] is origin(b)[0] else x
        if func not in ops.DIFFERENCES and x is not None:
            # `add(a, b, alpha=2)` would scale b: then only that it is element-wise is known
            known = scale_a is not None and scale_b is not None and not kwargs
            note_elementwise(y, x, (scale_a or 0.0) + (scale_b or 0.0) if known else None)
        elif self.sub_layers.wanted and func not in ops.DIFFERENCES and not kwargs:
            self.sub_layers.residual_sum(a, b, y)
        return self._carried([a, b], y)

    def _sum_with_constant(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, constant: Any
    ) -> Tensor:
        layer: _Layer | None = noted(x, LINEAR)
        if layer is not None and isinstance(constant, int | float) and constant == 0:  # as `sum` begins
            y = note(func(*args, **kwargs), LINEAR, layer)
        elif layer is not None:
            y = self._with_bias(func, args, kwargs, layer, x, constant)
        elif self.books is None:
            y = func(*args, **kwargs)
        else:
            y = self._booked_sum(func, args, kwargs, x, constant)
        if y.shape == x.shape:
            note_elementwise(y, x, None)
            if noted(x, SUM_OF) is not None:
                note(y, SUM_OF, noted(x, SUM_OF))
        return cast(Tensor, self._carried([x], y))

    def _booked_sum(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, constant: Any
    ) -> Tensor:
        def of(value: Tensor) -> Tensor:
            return cast(Tensor, func(*mapped(args, lambda t: value if t is x else t), **kwargs))

        zero = x.new_zeros(())
        offset = of(zero)  # the constant with its sign and its factor, of any shape that fits
        shape = torch.broadcast_tensors(x.detach(), offset)[0].shape  # type: ignore[no-untyped-call]
        x = x if x.shape == shape else x.expand(shape)
        slope = (
            1.0 if func not in ops.DIFFERENCES and not kwargs else float((of(zero + 1) - offset).flatten()[0])
        )
        return self._entered(x, offset, lambda: of(x.detach()), slope)

    def _with_bias(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        layer: _Layer,
        x: Tensor,
        constant: Any,
    ) -> Tensor:
        """x + constant, where x is a linear layer: the constant belongs to its bias.

        Raises UnsupportedOperationError where it is another constant in each row: that is no layer.
        """
        value = func(*mapped(args, lambda t: t.detach() if t is x else t), **kwargs)
        width = layer.shape[-1]
        index = layer.index
        if index is None:
            index = torch.arange(x.numel(), device=x.device).view(x.shape)
        # The features that are left of the layer, and whether each of them is there in every row.
        features, column = torch.unique(index.flatten() % width, return_inverse=True)
        place = index.flatten() // width * len(features) + column
        shape = (*layer.shape[:-1], len(features))
        constant = torch.as_tensor(constant, dtype=x.dtype, device=x.device)
        bias = constant.new_empty(math.prod(shape))
        whole = layer.is_placed and value.shape == x.shape and len(place) == bias.numel()
        if whole and len(place.unique()) == len(place) and func not in ops.DIFFERENCES and not kwargs:
            bias[place] = constant.expand(x.shape).flatten()
            rows = bias.view(-1, len(features))
            if bool((rows == rows[0]).all()):
                weight = layer.weight if len(features) == width else layer.weight[..., features, :]
                added = rows[0] if layer.bias is None else rows[0] + layer.bias[features]
                y = self._layer(
                    layer.x,
                    weight,
                    added,
                    lambda: value.new_empty(len(place)).index_copy_(0, place, value.flatten()).view(shape),
                )
                placed = None if layer.index is None else place.view(x.shape)
                spelled = y if placed is None else y.flatten()[placed]
                return note(spelled, LINEAR, _Layer(layer.x, weight, added, y.shape, placed))
        raise UnsupportedOperationError(
            f"{name_of(func)} of a linear layer and a constant that is not its bias",
            self._rule_owner("linear"),
        )

    def _in_place_sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """x += y, x[i] = y and the like; a note of x no longer holds, see `noted`."""
        x = args[0]
        operands = [operand for operand in tensors_in([args, kwargs]) if self.tracked(operand)]
        self.sub_layers.changes_in_place(operands)
        if noted(x, LINEAR) is not None and len(operands) == 1:
            return self._refuse(func, args, kwargs)
        carried = [name for name in (ATTENTION, GATE) if self._all_noted(operands, name)]
        source = origin(x)[0] if operands and all(operand is x for operand in operands) else x
        offset = None if self.books is None else self._offset_in_place(func, args, kwargs)
        is_state = any(noted(operand, STATE) is not None for operand in operands)
        y = func(*args, **kwargs)  # None for x[i] = v
        if is_state:
            note(x, STATE, ())
        if offset is not None:
            self._enter_in_place(x, offset)
        for name in carried:
            note(x, name, ())
        if source is not x:
            note_elementwise(x, source, None)
        return y

    def _offset_in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """What a function that is linear in x and in values will put into x, or add to it, of constants.

        If x is a constant itself, or a window of one, its numbers enter the books here: those that the call
        leaves there are what the relevance will arrive at.
        """
        x = args[0]
        if not self.tracked(x):
            whole = x if x._base is None else x._base
            self._enter_in_place(whole, whole.clone())
            _ = x.grad_fn  # a window of what was changed learns of it when it is asked
        if all(self.tracked(value) for value in (*args[1:][-1:], *kwargs.values())):
            return None
        blank = torch.zeros_like(x)
        constants = mapped([list(args[1:]), kwargs], _without_tracked)
        func(blank, *constants[0], **constants[1])
        return blank

    def _enter_in_place(self, x: Tensor, constant: Tensor) -> None:
        """Put a constant that is among the numbers of x into the books, and leave x as it is."""
        constant = _without_mask(constant)
        if bool(constant.any()):
            zero = torch.zeros_like(constant)
            x.add_(self._entered(zero, constant, zero.clone))

    def _in_place_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """x *= y and x /= y."""
        x, other = bind(args, kwargs, ("input", "other"))
        if kwargs.get("rounding_mode") is not None:
            return self._refuse(func, args, kwargs)
        if self.tracked(other):
            return self._in_place(func, args, kwargs)
        carried = [name for name in (ATTENTION, GATE) if noted(x, name) is not None]
        source = origin(x)[0]
        y = func(x, other)
        for name in carried:
            note(y, name, ())
        return y if source is x else note_elementwise(y, source, None)

    # --- attention -----------------------------------------------------------------------------------

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self.trace.closed_by(bind(args, kwargs, ("input",))[0])
        x, axis = bind(args, kwargs, ("input", "dim"))
        if self._has_rule("softmax"):
            if axis is None:
                return cast(Tensor, self._refuse(func, args, kwargs))
            y = applied(lrp.Softmax, x, lambda: func(*args, **kwargs), axis, self.sweep)
        else:
            y = func(*args, **kwargs)
        self.trace.opened(y, "a softmax")
        # not y itself: that would be a reference cycle
        is_last = axis in (-1, y.dim() - 1) and y.requires_grad
        if noted(x, CHOSEN) is not None:
            note(y, GATE, ())
        return note(y, ATTENTION, ((y.detach(), get_gradient_edge(y)),) if is_last else ())

    def _restated(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A sum of products in one call: the value that it has, with the rules of the calls it stands for."""
        with self:
            written = ops.RESTATED[func](*args, **kwargs)
        return self._valued(written, lambda: _value_of(func, args, kwargs))

    def _structural(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What moves, selects or adds up numbers; constants among its operands go into the books."""
        sources = args[:1] if func in ops.SHAPED_BY_ANOTHER else [args, kwargs]
        tracked = [tensor for tensor in tensors_in(sources) if self.tracked(tensor)]
        if func in ops.REDUCTIONS and noted(tracked[0], WEIGHTED):
            self._check_weighted_sum(func, tracked[0], args, kwargs)
        if func in ops.CHOOSING and sum(1 for _ in tensors_in([args, kwargs])) > 1:
            return self._homogeneous(func, args, kwargs)  # the larger of two
        y = func(*args, **kwargs)
        if self.books is not None and not self.sweep.is_moved:
            self.sweep.is_moved = moves_rows(func, args, kwargs, tracked[0], y)
        if self.books is not None and not self.sweep.is_scattered:
            self.sweep.is_scattered = scatters_rows(func, args, kwargs, tracked[0])
        if self.books is not None and func in ops.FILLING:
            constants = mapped([list(args), kwargs], _without_tracked)
            fill = _without_mask(func(*constants[0], **constants[1]))
            if bool(fill.any()):
                y = self._entered(y, fill, y.clone)
        layer: _Layer | None = next(filter(None, (noted(x, LINEAR) for x in tracked)), None)
        if layer is not None:
            found = list(tensors_in(y))
            indices: list[Tensor | None] = [None] * len(found)
            if func in ops.PLACING and layer.is_placed:
                x, before = tracked[0], layer.index
                if before is None:
                    before = torch.arange(x.numel(), device=x.device).view(x.shape)
                if func not in ops.CASTS:
                    indices = list(
                        tensors_in(func(*mapped(args, lambda t: before if t is x else t), **kwargs))
                    )
                else:
                    indices = [before]
            for tensor, index in zip(found, indices, strict=True):
                if not any(tensor is x for x in tracked):
                    note(tensor, LINEAR, replace(layer, index=index, is_placed=index is not None))
        if func in ops.REDUCTIONS and (noted(tracked[0], ATTENTION) or noted(tracked[0], GATE)) is not None:
            note(y, SUM_OF, (tracked[0], tracked[0]._version))
        chooses = func in ops.CHOOSING
        if chooses or func in ops.PICKING:
            is_attention = all(noted(x, ATTENTION) is not None for x in tracked)
            is_picked = chooses or func is not torch.Tensor.__getitem__ or ops.picks(args)
            for tensor in tensors_in(y):
                if chooses:
                    note(tensor, CHOSEN, ())
                if is_attention and is_picked:
                    note(tensor, GATE, ())
        keeps_last = ops.keeps_last_axis(func, args, tracked[0])
        return self._carried(tracked, y, moved=func in ops.MOVING | ops.CASTS, keeps_last=keeps_last)

    def _strided(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Windows of the memory in which x lies, if that holds x and nothing else."""
        x, size, stride, offset = bind(args, kwargs, ("input", "size", "stride", "storage_offset"))

        def last(shape: Sequence[int], strides: Sequence[int]) -> int:
            return sum((n - 1) * step for n, step in zip(shape, strides, strict=True))

        start = 0 if offset is None else offset - x.storage_offset()
        own = last(x.shape, x.stride())
        if own + 1 != x.numel() or start < 0 or start + last(size, stride) > own:
            raise self._lost(f"{name_of(func)} of a tensor that is a part of another")
        return self._structural(func, args, kwargs)

    def _check_weighted_sum(
        self, func: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Refuse a linear layer that is spelled as a product and a sum, which its rule would not see."""
        axes = bind(args, kwargs, ("input", "dim"))[1]
        axes = range(x.dim()) if axes is None else axes if isinstance(axes, list | tuple) else [axes]
        if any((axis % x.dim()) - x.dim() in noted(x, WEIGHTED) for axis in axes):
            raise UnsupportedOperationError(
                f"{name_of(func)} of numbers that were multiplied by weights, a linear layer written out",
                self._rule_owner("linear"),
            )

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

    def _fused_attention(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query, key, value, mask, dropout, is_causal, scale, grouped = bind(args, kwargs, ATTENTION_PARAMETERS)
        if dropout:
            raise UnsupportedModelError("attention dropout is active: call model.eval() first")
        given = query, key, value, None if mask is None else mask.detach(), bool(is_causal), scale
        self.sub_layers.enters_attention(value)
        # A product with a constant is linear, and nothing of it is shared.
        q, k, v, m = (self.tracked(operand) for operand in (query, key, value, mask))
        through_scores: tuple[tuple[str, int], ...] = (("attention_values", 0),) if v else ()
        query = self._share(query, *through_scores, *((("product", 0),) if k else ()))
        key = self._share(key, *through_scores, *((("product", 1),) if q else ()))
        value = self._share(value, *((("attention_values", 1),) if q or k or m else ()))
        mask = self._share(mask[...], *through_scores) if m else mask
        written_out = self._has_rule("softmax")
        output: Tensor = F.scaled_dot_product_attention(
            query.detach() if written_out else query,
            key.detach() if written_out else key,
            value.detach() if written_out else value,
            attn_mask=mask.detach() if written_out and m else mask,
            is_causal=bool(is_causal),
            scale=scale,
            enable_gqa=bool(grouped),
        )
        if written_out and query.dim() < 3:
            return cast(Tensor, self._refuse(func, args, kwargs))
        if written_out:
            size = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
            scores = AttentionInputs(query, key, mask, bool(is_causal), size).scores()

            def weights() -> Tensor:  # of a padding token that may see no key: zeros, as SDPA has them
                return torch.softmax(scores, -1).nan_to_num(0.0)

            values = of_heads(value, scores.shape[-3])
            attended = torch.matmul(applied(lrp.Softmax, scores, weights, -1, self.sweep), values)
            output = applied(lrp.Valued, attended, output)
        if not v and output.requires_grad:
            output = self._weighed(note(output, ATTENTION, ()), output)
        self.trace.keep_fused(*given, output)
        self.trace.attended(output, output.dim() - 2)
        self.sites.attended_fused(output)
        return output

    def _dropout(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, p, training = bind(args, kwargs, ("input", "p", "training"))
        if p and (training is None or training):
            raise UnsupportedModelError("dropout is active: call model.eval() first")
        output: Tensor = x
        return output

    # --- helpers -------------------------------------------------------------------------------------

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


def _without_tracked(value: Tensor) -> Tensor:
    """Zeros in the place of what is differentiated."""
    return torch.zeros_like(value) if value.requires_grad else value


def _without_mask(constant: Tensor) -> Tensor:
    """A mask of attention scores is a number beyond all others; no relevance is meant to stay with it."""
    return constant.detach().masked_fill(constant.abs() >= _MASK, 0.0)
