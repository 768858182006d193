"""The one mechanism: a function mode that lets a model's own forward pass follow other rules backward.

`Interception` is a `torch.overrides.TorchFunctionMode`.  Inside its `with` block, in this thread only,
every torch function that the forward pass calls comes by here.  The ones that some composite has a
rule for run as functions of `whybert.lrp.functions`, whose value is the same and whose backward pass asks
for the rule; all others run as they are.  The model is not changed: no patch, no replaced module, no flag.

Descent decides.  The point of attribution is the output of the embedding block (after its LayerNorm), which
is cut out of the graph there.  What descends from it is *tracked*; all else, the parameters and whatever is
computed from them alone, is a constant, so no weight gradient is ever computed.  See `ForwardPass` for what
is left when the block ends.
"""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode, handle_torch_function, resolve_name

from whybert.anatomy import FAILURES, embedding_block, failures, logits_of, word_embeddings
from whybert.errors import UnsupportedModelError, UnsupportedOperationError, WhybertError, one_line
from whybert.foreign import bare, kind_of
from whybert.lrp import contractions
from whybert.lrp import operations as ops
from whybert.lrp.composites import REFUSED, Composite
from whybert.lrp.functions import (
    Activation,
    ComposedActivation,
    InnerFunction,
    LayerNorm,
    Linear,
    Offset,
    RMSNorm,
    Share,
    Sweep,
    total_share,
)
from whybert.positions import own_positions
from whybert.quantised import dense, is_linear, linear_layer, quantised_layers, refused
from whybert.targets import ResolvedTarget

Handler = Callable[["Interception", Any, tuple[Any, ...], dict[str, Any]], Any]

# Notes kept on tensors of this forward pass (never on the model's).  One that was written before its tensor
# was changed in place, under whatever name, no longer holds: see `_noted`.
_DESCENT: Final = "_whybert_descent"  # the tensor descends from the embedding of this very forward pass
_DEPTH: Final = "_whybert_depth"  # (least, most): linear layers on the ways to it from the last sub-layer
_LOST: Final = "_whybert_lost"  # the name of the operation at which the tensor lost its gradient
_WEIGHT: Final = "_whybert_weight"  # (sweep, whether the model's weights went into this constant)
_SCORES: Final = "_whybert_scores"  # numbers of the products and softmaxes that it holds, see `open`
_RECIPROCAL: Final = "_whybert_reciprocal"  # (): the tensor is one over something; times it is a quotient
_WEIGHTED: Final = "_whybert_weighted"  # the axes along which the tensor was multiplied by other weights
_ELEMENTWISE: Final = "_whybert_elementwise"  # (x, scale): the tensor is g(x); scale where it is scale * x
# The tensor is linear in the output of a softmax: (output,) where it holds the same numbers and the softmax
# was over the last axis, else ().
_ATTENTION: Final = "_whybert_attention"
_LINEAR: Final = "_whybert_linear"  # `_Unbiased`: the tensor is a linear layer whose bias may still come


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """What one fused attention call was given; its weights are computed when they are asked for."""

    query: Tensor
    key: Tensor
    mask: Tensor | None
    is_causal: bool
    scale: float

    def weights(self) -> Tensor:
        """softmax(Q K^T * scale + mask), (batch, heads, queries, keys)."""
        key = self.key
        if key.shape[-3] != self.query.shape[-3]:  # grouped queries
            key = key.repeat_interleave(self.query.shape[-3] // key.shape[-3], -3)
        scores = torch.matmul(self.query, key.transpose(-2, -1)) * self.scale
        if self.is_causal:
            above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(above, float("-inf"))
        if self.mask is not None:
            if self.mask.dtype == torch.bool:
                scores = scores.masked_fill(~self.mask, float("-inf"))
            else:
                scores = scores + self.mask
        # A row whose keys are all masked is that of a padding token.  SDPA gives it zeros.
        return torch.softmax(scores, -1).nan_to_num(0.0)


@dataclass(slots=True)
class LastAttention:
    """Where what the classifier reads is looked for.

    output: of the last attention, with the queries along `axis`.  hidden: the last states (batch, positions,
    hidden) behind it that are known to be one position each; None if there are none.
    """

    output: GradientEdge
    axis: int
    hidden: GradientEdge | None = None


@dataclass(slots=True)
class SubLayer:
    """x -> LayerNorm(dense(x) + x): a block of BERT's kind, as the forward pass came by it."""

    x: Tensor
    dense: Tensor
    total: Tensor
    normalised: bool = False


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


@dataclass
class ForwardPass:
    """One forward pass, ready to be swept backward any number of times.

    embedding: the attribution point, (batch, positions, hidden), a leaf.  logits: (batch, labels).
    own: (seq,) the positions of the embedding that stand for the tokens of the input, where there are others
        beside them, such as virtual tokens of prompt tuning; None where each position is a token's.
    attention: weights of each layer, first layer first, or what they are computed from.
    untraceable: why the attention is not all there is to trace; None if it is.
    sub_layers: the blocks of BERT's kind in order; `not_post_norm` says why there are none.
    """

    embedding: Tensor
    logits: Tensor
    sweep: Sweep
    own: Tensor | None = None
    attention: Sequence[Tensor | AttentionInputs] = ()
    untraceable: str | None = None
    sub_layers: Sequence[SubLayer] = ()
    not_post_norm: str | None = None
    books: Tensor | None = None
    last: LastAttention | None = None
    _gradients: dict[tuple[Composite, ResolvedTarget], tuple[Tensor, Tensor | None]] = field(
        default_factory=dict
    )

    def backward(self, composite: Composite, output: Tensor, relevance: Tensor, to: Tensor) -> Tensor:
        """Sweep `relevance` from `output` back to `to` by the rules of `composite`.

        The result has the shape of `to`, and is zero where nothing arrives.
        """
        (passed,) = self.swept(composite, output, relevance, [to])
        return torch.zeros_like(to) if passed is None else passed

    def gradient(self, composite: Composite, target: ResolvedTarget) -> Tensor:
        """The sweep of dy/dlogits down to the embedding, (batch, positions, hidden), made once.

        Raises UnsupportedModelError if nothing arrives there.
        """
        return self._gradient(composite, target)[0]

    def biases(self, composite: Composite, target: ResolvedTarget) -> Tensor | None:
        """The relevance that stays with the model's constants, (batch,), from the sweep of `gradient`.

        In gradient form the relevance of a constant is the constant times the gradient that arrives at it.
        None for a composite that keeps no books, and where constants were added to tensors from which the
        row of the batch cannot be told.
        """
        share = self._gradient(composite, target)[1]
        return None if share is None or bool(share[-1] != 0) else share[:-1]

    def read_positions(self) -> Tensor:
        """What part of its decision the classifier reads at each position, (batch, positions); rows sum to 1.

        Told by the dependence of the logits: 1 at the one position whose output of the last attention they
        depend on, or, where there are several, the parts of a mean over the hidden states behind it.  Raises
        UnsupportedModelError where it cannot be told.
        """
        reason = "the logits do not depend on the output of its last attention"
        passed = None if self.last is None else self._by_position(self.last.output)
        if self.last is not None and passed is not None:
            queries = passed.movedim(self.last.axis, 1).flatten(2).any(2)  # (batch, positions)
            rows = len(self.logits)
            if len(queries) != rows and bool((queries == queries[:1]).all()):  # heads folded into the batch
                queries = queries[:1].expand(rows, -1)
            if len(queries) == rows and bool((queries.sum(1) == 1).all()):
                return queries.to(torch.promote_types(passed.dtype, torch.float32))
            reason = "its head reads several positions, and of what hidden states was not found"
            passed = None if self.last.hidden is None else self._by_position(self.last.hidden)
            if passed is not None and bool(passed.flatten(1).any(1).all()):
                passed = passed.to(torch.promote_types(passed.dtype, torch.float32))
                norms = passed.norm(dim=-1)
                strongest = passed[torch.arange(len(passed)), norms.argmax(-1)][:, None]
                parts = (passed * strongest).sum(-1) / strongest.square().sum(-1)
                rest = (passed - parts[..., None] * strongest).norm(dim=-1)
                tolerance = 100 * torch.finfo(self.logits.dtype).eps * norms.amax(-1, keepdim=True)
                if bool((rest <= tolerance).all()) and bool((parts >= 0).all()):
                    return parts / parts.sum(-1, keepdim=True)
                reason = "its head reads several positions, each in a way of its own"
        raise UnsupportedModelError(
            "lat starts at the positions that the classifier reads (the first token, the last, or a mean), "
            f"and these cannot be told here: {reason}; use another method, such as attnlrp"
        )

    def _by_position(self, at: GradientEdge) -> Tensor | None:
        """How the logits, in a sum that none of them is likely to cancel, depend on an inner tensor."""
        if not self.logits.requires_grad:
            return None
        seed = torch.linspace(1.0, 2.0, self.logits.shape[-1]).to(self.logits).expand_as(self.logits)
        return self.swept(Composite("gradient", closed=False), self.logits, seed, [at])[0]

    def _gradient(self, composite: Composite, target: ResolvedTarget) -> tuple[Tensor, Tensor | None]:
        key = (composite, target)
        if key not in self._gradients:
            to = (
                [self.embedding]
                if self.books is None or not composite.keeps_books
                else [self.embedding, self.books]
            )
            passed, *share = self.swept(composite, self.logits, target.seed(self.logits.detach()), to)
            if passed is None:
                raise UnsupportedModelError(
                    "no gradient arrives at the embedding: the model's logits do not depend on it, or an "
                    "operation of it has no derivative; scores would all be zero"
                )
            self._gradients[key] = (
                passed,
                (torch.zeros_like(to[1]) if share[0] is None else share[0]) if share else None,
            )
        return self._gradients[key]

    def swept(
        self, composite: Composite, output: Tensor, relevance: Tensor, to: Sequence[Tensor | GradientEdge]
    ) -> tuple[Tensor | None, ...]:
        """The same to several tensors, `books` among them if wanted; None where nothing arrives."""
        self.sweep.composite, self.sweep.books = composite, len(to) > 1
        try:
            return torch.autograd.grad(
                output,
                cast("Sequence[Tensor]", to),
                relevance,
                retain_graph=True,
                allow_unused=True,
            )
        except (WhybertError, torch.OutOfMemoryError):
            raise
        except FAILURES as error:
            if "inplace operation" not in str(error):
                raise UnsupportedModelError(
                    f"a backward pass through the model fails: {one_line(error)}; see that its logits can be "
                    "differentiated in eval mode"
                ) from error
            raise UnsupportedModelError(
                "the model changes a tensor in place that its own gradient needs, so that no backward pass "
                "through it is possible; write the operation out of place"
            ) from error
        finally:
            self.sweep.composite, self.sweep.books = None, False


class Interception(TorchFunctionMode):
    """See the module.  One object serves one forward pass.

    composites: the rules that later sweeps will follow.
    attention: keep what the attention weights are computed from.
    sub_layers: keep the blocks of BERT's kind, for the released LRP.
    inputs: of the model, to tell a linear layer's weight from what is computed from them.
    """

    def __init__(
        self,
        composites: Iterable[Composite],
        *,
        attention: bool = False,
        sub_layers: bool = False,
        inputs: Iterable[Tensor] = (),
    ) -> None:
        super().__init__()
        self.composites = tuple(composites)
        self.sweep = Sweep()
        self.embedding: Tensor | None = None
        self.books: Tensor | None = None
        self.attention: list[Tensor | AttentionInputs] = []
        self.untraceable: str | None = None
        self.last: LastAttention | None = None
        self.sub_layers: list[SubLayer] = []
        self.not_post_norm: str | None = None
        self._loses = False
        self._open: dict[int, str | None] = {}
        self._keep_attention = attention
        self._keep_sub_layers = sub_layers
        self._keep_books = any(composite.keeps_books for composite in self.composites)
        self._linear_inputs: dict[int, Tensor] = {}
        self._values: Tensor | None = None  # those of the attention that is at work
        self._entered = False  # whether the call that is at work is a linear layer
        self._closed = next((c for c in self.composites if c.closed), None)
        self._inputs = {id(tensor) for tensor in inputs}
        self._reordered: str | None = None  # an operation that may have put positions into another order
        self._wise = False  # whether the call that is at work is known to keep positions apart
        self._is_mixed = False  # whether something behind the last attention may have mixed positions
        self._below: Any = None  # the node of the output of the last attention that was kept
        self._handlers = self._handlers_in_use()

    @property
    def needs_graph(self) -> bool:
        return bool(self.composites) or self._keep_attention

    @property
    def _size(self) -> tuple[int, ...]:
        """(batch, positions)"""
        return tuple(cast(Tensor, self.embedding).shape[:2])

    def begin(self, embedding: Tensor) -> None:
        """From here on, what descends from the embedding, (batch, positions, hidden), is tracked."""
        self.embedding = embedding
        if self._keep_books:
            kind = torch.promote_types(embedding.dtype, torch.float32)
            self.books = torch.ones(
                len(embedding) + 1, dtype=kind, device=embedding.device, requires_grad=True
            )

    # --- descent -----------------------------------------------------------------------------------

    def tracked(self, value: Any) -> bool:
        """Whether the value is a tensor that descends from the embedding, differentiably."""
        if not isinstance(value, Tensor) or not value.requires_grad:
            return False
        if getattr(value, _DESCENT, None) is self.sweep:
            return True
        # What no function of this mode made: a parameter, a tensor that a module keeps from before, or the
        # result of a function that the mode does not see.  Its graph tells.
        if value.grad_fn is None or not any(node is self.embedding for node in _leaves(value.grad_fn)):
            return False
        setattr(value, _DESCENT, self.sweep)
        return True

    def _constant(self, value: Tensor) -> Tensor:
        if value.is_inference():  # it could not be saved for the backward pass
            value = value.clone()
        if not value.requires_grad or self.tracked(value):
            return value
        constant = value.detach()
        setattr(constant, _WEIGHT, (self.sweep, True))
        return constant

    def _constants(self, value: Any) -> Any:
        """The arguments of a call, what does not descend from the embedding as constants."""
        return _mapped(value, self._constant)

    def _is_weight(self, value: Tensor) -> bool:
        """Whether a constant is one of the model's numbers, or was computed from one."""
        sweep, is_weight = getattr(value, _WEIGHT, (None, True))
        return is_weight if sweep is self.sweep else id(value) not in self._inputs

    # --- the mode ----------------------------------------------------------------------------------

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs) if kwargs else {}
        if self.embedding is None:
            return self._embed(func, args, kwargs)
        if func in ops.WRITTEN:
            with self:
                return ops.WRITTEN[func](*args, **kwargs)
        sources = args[:1] if func in ops.SHAPED_BY_ANOTHER else (args, kwargs)
        given = [tensor for tensor in _tensors(sources) if tensor.requires_grad]
        name = self._lost_among(_tensors(sources))  # before the call, which may change them in place
        if not given:
            return self._untracked(func, sources, name, args, func(*args, **kwargs))
        if not any(self.tracked(tensor) for tensor in given):
            with torch.no_grad():  # a constant, whichever way it is computed from parameters
                output = _mapped(
                    func(*args, **kwargs),
                    # not a parameter that is where it should be: what asks for it may keep it as such
                    lambda y: y.detach() if y.requires_grad and not any(y is t for t in given) else y,
                )
            return self._untracked(func, sources, name, args, output)
        if func in ops.ESCAPES or (func in ops.STEPS and torch.is_grad_enabled()):
            raise self._lost(name_of(func))
        if kwargs.get("out") is not None:
            raise self._lost(f"{name_of(func)} with out=")
        if name is not None and torch.is_grad_enabled():
            raise self._lost(name)
        scores = self._scores_among(func, given)
        depths = (
            [getattr(t, _DEPTH, (0, 0)) for t in given if self.tracked(t)] if self._keep_sub_layers else []
        )
        handler = self._handlers.get(func)
        if handler is not None:
            output = handler(self, func, self._constants(args), self._constants(kwargs))
        else:
            output = self._plain(func, args, kwargs)
        self._settle(func, args, output)
        if depths:
            self._deepen(args, output, depths)
        for tensor in _tensors(output) if scores else ():
            _note(tensor, _SCORES, scores | (_noted(tensor, _SCORES) or frozenset()))
        return output

    def _deepen(self, args: tuple[Any, ...], output: Any, depths: Sequence[tuple[int, int]]) -> None:
        """Note by how many linear layers since the last sub-layer the result was come to: least and most."""
        entered, self._entered = int(self._entered), False
        if self._values is not None:  # an attention is as deep as its values; scores come in several ways
            depths, self._values = [getattr(self._values, _DEPTH, (0, 0))], None
        depth = min(low for low, _ in depths) + entered, max(high for _, high in depths) + entered
        for tensor in _tensors(output if output is not None else args[:1]):
            is_total = bool(self.sub_layers) and tensor is self.sub_layers[-1].total
            setattr(tensor, _DEPTH, (0, 0) if is_total else depth)

    def _scores_among(self, func: Any, given: Iterable[Tensor]) -> frozenset[int]:
        """Which products of activations the result of a call still is, on their way into a softmax."""
        if not self._keep_attention or func not in ops.CARRYING:
            return frozenset()
        return frozenset().union(*(_noted(tensor, _SCORES) or () for tensor in given))

    def _opened(self, y: Any, what: str) -> Any:
        """y, which must come to be attention if the trace is to be whole: scores, or a softmax of them."""
        if self._keep_attention and isinstance(y, Tensor):
            self._open[len(self._open)] = what
            _note(y, _SCORES, frozenset({len(self._open) - 1}))
        return y

    def _closed_by(self, tensor: Tensor) -> None:
        for number in _noted(tensor, _SCORES) or ():
            self._open[number] = None

    @property
    def open(self) -> str | None:
        """A product of activations or a softmax that was not seen to become attention."""
        return next(filter(None, self._open.values()), None)

    def _embed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Still in the embedding block: nothing above it is asked for."""
        with torch.no_grad():
            return self._untracked(func, (args, kwargs), None, args, func(*args, **kwargs))

    def _plain(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation that no rule is for: refused if it has no place in the table of a closed composite."""
        is_attribute = getattr(func, "__name__", "") == "__get__"
        output = (
            func(*args, **kwargs) if is_attribute else func(*self._constants(args), **self._constants(kwargs))
        )
        known = func in _KNOWN or (is_attribute and func.__self__.__name__ in ops.TRANSPOSING_ATTRIBUTES)
        if self._closed is not None and not known and any(y.requires_grad for y in _tensors(output)):
            if any(
                _has_no_derivative(y) for y in _tensors(output)
            ):  # to no method, and none is to be advised
                raise self._lost(name_of(func))
            raise UnsupportedOperationError(name_of(func), self._closed.name)
        return output

    def _settle(self, func: Any, args: tuple[Any, ...], output: Any) -> None:
        """Mark what descends from the embedding, and refuse a number that no longer does."""
        found = list(_tensors(output if output is not None else args[:1]))  # None: x[...] = y
        tracked = [tensor for tensor in found if tensor.requires_grad]
        for tensor in tracked:
            setattr(tensor, _DESCENT, self.sweep)
            if _has_no_derivative(tensor):
                raise self._lost(name_of(func))
        if self._keep_attention and func in ops.FLIPS:
            self._reordered = name_of(func)
        if self._keep_attention and tracked and func not in ops.SELECTING:
            y = tracked[-1]
            wise, self._wise = self._wise or func in ops.POSITION_WISE, False
            # Behind what may mix positions the states say no more which of them is read.
            self._is_mixed = self._is_mixed or not wise
            states = y.dim() == 3 and y.shape[:2] == self._size and isinstance(output, Tensor)
            if self.last is not None and states and not self._is_mixed:
                self.last.hidden = get_gradient_edge(y)  # not y, which may be changed in place
        if tracked or not found or func in ops.SHAPE_ONLY or func in self._handlers:
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
                _note(tensor, _LOST, name)
                self._loses = True

    def _untracked(
        self, func: Any, sources: Any, name: str | None, args: tuple[Any, ...], output: Any
    ) -> Any:
        """The result of a call without an operand that descends from the embedding differentiably.

        sources: what numbers it was made of.  name: where one of them lost its gradient.
        """
        given = list(_tensors(sources))
        if self._has_rule("linear"):
            is_weight = any(self._is_weight(tensor) for tensor in given)
            for tensor in _tensors(output):
                if not any(tensor is other for other in given):  # x.contiguous() may be the model's own x
                    setattr(tensor, _WEIGHT, (self.sweep, is_weight))
        if name is not None and func not in ops.SHAPE_ONLY:
            found = list(_tensors(output if output is not None else args[:1]))
            if func in ops.ESCAPES or (
                torch.is_grad_enabled() and any(tensor.is_floating_point() for tensor in found)
            ):
                raise self._lost(name)
            self._lose(func, name, found)
        return output

    def _lost_among(self, given: Iterable[Tensor]) -> str | None:
        """Where one of the tensors lost its gradient."""
        if not self._loses:
            return None
        return next((name for t in given if not t.requires_grad and (name := _noted(t, _LOST))), None)

    def _lost(self, name: str) -> UnsupportedOperationError:
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

        def use(functions: Iterable[Any], handler: Handler) -> None:
            used.update(dict.fromkeys(functions, handler))

        use(ops.DROPOUTS, Interception._dropout)
        use([linear_layer], Interception._quantised_layer)
        if self._keep_attention or self._closed is not None:
            use(ops.SOFTMAXES, Interception._softmax)
            use(ops.STRUCTURAL, Interception._structural)
            use(ops.LINEAR, Interception._structural)
            use(ops.CONTRACTIONS, Interception._contraction)
            use(ops.ADDED_PRODUCTS, Interception._added_product)
            use(ops.FUSED_ATTENTION, Interception._fused_attention)
            use(ops.PRODUCTS, Interception._product)
            use(ops.QUOTIENTS, Interception._quotient)
            use(ops.SUMS, Interception._sum)
            use(ops.IN_PLACE_SUMS, Interception._in_place_sum)
        if self._closed is not None:
            use(ops.LINEAR_LAYERS, Interception._linear)
            use(ops.CONVOLUTIONS, Interception._convolution)
            use(ops.LAYER_NORMS, Interception._layer_norm)
            use(ops.RMS_NORMS, Interception._rms_norm)
            use(ops.GELU_FUNCTIONS, Interception._gelu)
            use(ops.ELEMENTWISE, Interception._activation)
            use(ops.POWERS, Interception._power)
            use(ops.ROOTS, Interception._root)
            use(ops.INNER_FUNCTIONS, Interception._inner_function)
            use(ops.RECIPROCALS, Interception._reciprocal)
            use(ops.IN_PLACE_PRODUCTS, Interception._in_place_product)
        return used

    def _has_rule(self, kind: str) -> bool:
        return any(composite.rule(kind) is not None for composite in self.composites)

    def check_graph(self, logits: Tensor) -> None:
        """Refuse what the mode cannot see: scripted functions, `autograd.Function`s of the model, vmap.

        Every node between the logits and the embedding must be one that a handler or a known function makes;
        where only the gradient is asked for, one that has a derivative.
        Raises UnsupportedOperationError.
        """
        if not self.composites or logits.grad_fn is None:
            return
        allowed = _KNOWN_NODES | {
            node for kind, nodes in _NODES_BY_KIND.items() if not self._has_rule(kind) for node in nodes
        }
        for node in _nodes(logits.grad_fn):
            name = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
            if name in _NODES_WITHOUT_DERIVATIVE:
                raise UnsupportedOperationError(
                    "a kernel without a derivative (of 8-bit weights?)", self.composites[0].name, lost=True
                )
            if self._closed is None or getattr(node, "_forward_cls", None) in _FUNCTIONS:
                continue
            if name not in allowed and not name.startswith("ScaledDotProduct"):
                raise UnsupportedOperationError(node.name(), self._name())

    # --- linear layers, LayerNorm, convolutions ------------------------------------------------------

    def _linear(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias = _bind(args, kwargs, ("input", "weight", "bias"))
        if self.tracked(weight) or self.tracked(bias):
            raise UnsupportedOperationError("linear with a weight that depends on the input", self._name())
        self._enters_linear(x)
        if not self._has_rule("linear") and (bias is None or self.books is None):
            y = F.linear(x, weight, bias)
        else:
            y = self._layer(x, weight, bias, lambda: F.linear(x, weight, bias))
            if self._has_rule("linear"):
                _note(y, _LINEAR, _Layer(x, weight, bias, y.shape))
        return cast(Tensor, self._carried([x], y))

    def _quantised_layer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias, value = args
        self._enters_linear(x)
        self._wise = True
        y = self._layer(x, weight, bias, lambda: value)
        if self._has_rule("linear"):
            _note(y, _LINEAR, _Layer(x, weight, bias, y.shape))
        return cast(Tensor, self._carried([x], y))

    def _layer(self, x: Tensor, weight: Tensor, bias: Tensor | None, compute: Callable[[], Tensor]) -> Tensor:
        return _apply(Linear, x, weight, bias, compute, self._has_rule("linear"), self.books, self.sweep)

    def _enters_linear(self, x: Tensor) -> None:
        if self._keep_sub_layers:
            self._linear_inputs[id(x)] = x
            self._entered = True
            if self.sub_layers and not self.sub_layers[-1].normalised:
                self.not_post_norm = "a residual sum enters the next layer without a LayerNorm"

    def _offset(self, y: Tensor, constant: Tensor | None) -> Tensor:
        """y, to which the constant was added, with the constant in the books."""
        if self.books is None or constant is None or not y.requires_grad or not constant.is_floating_point():
            return y
        return _apply(Offset, y, constant.detach(), y.clone, 1.0, self.books, self.sweep)

    def _contraction(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A sum of products: a linear layer if one operand is a constant, else a product of activations."""
        found = _operands(func, args, kwargs)
        if found is None:
            return self._refuse(func, args, kwargs)
        a, b, call, axes = found
        if self.tracked(a) and self.tracked(b):
            return self._activations_product(func, a, b, call, axes)
        x = a if self.tracked(a) else b
        if isinstance(x, Tensor) and x.dim() > 1:
            self._enters_linear(x)
        if axes is not None and x.dim() > 1:
            position = (axes.first if x is a else axes.second)[1]
            self._wise = x.shape[:2] == self._size and axes.result[1:2] == (position,)
        # A constant that no weight went into, such as the shares of a mean, pools; it is no layer.
        if not self._has_rule("linear") or not self._is_weight(b if x is a else a):
            return self._carried([x], call(a, b))
        form = None if axes is None else contractions.canonical(axes, x, b if x is a else a, x is a)
        if form is None:
            raise UnsupportedOperationError(
                f"{name_of(func)} with a constant that is no weight matrix", self._rule_owner("linear")
            )
        plain = [operand.detach() for operand in (a, b)]
        y = self._layer(form.x, form.weight, None, lambda: form.into(call(*plain)))
        index = form.back(torch.arange(y.numel(), device=y.device).view(y.shape))
        spelled = form.back(y)
        _note(spelled, _LINEAR, _Layer(form.x, form.weight, None, y.shape, index))
        return self._carried([x], spelled)

    def _activations_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        """A product of two activations, of attention weights and values if one descends from a softmax."""
        first, second = (_noted(operand, _ATTENTION) is not None for operand in (a, b))
        if not (first or second):
            y = call(self._share(a, ("product", 0)), self._share(b, ("product", 1)))
            return y if axes is None else self._opened(y, f"a product of two activations ({name_of(func)})")
        axis = self._keep(a if first else b, axes, first) if self._keep_attention else None
        weights, values = (0, 1) if first else (1, 0)
        y = call(self._share(a, ("attention_values", weights)), self._share(b, ("attention_values", values)))
        self._values = b if first else a
        self._attended(y, axis)
        return y

    def _attended(self, y: Tensor, axis: int | None) -> None:
        """y is the output of an attention, with the queries along `axis`, if that is known."""
        if self._keep_attention and y.requires_grad:
            self._below, self._wise, self._is_mixed = y.grad_fn, True, False
            self.last = None if axis is None else LastAttention(get_gradient_edge(y), axis)

    def _keep(self, weights: Tensor, axes: contractions.Axes | None, first: bool) -> int | None:
        """Keep attention weights as (batch, heads, queries, keys), if they can be told to be that.

        Returns the axis of the queries in the product with the values.
        """
        self._closed_by(weights)
        batch, positions = self._size
        if axes is not None:
            own, other = (axes.first, axes.second) if first else (axes.second, axes.first)
            heads = [name for name in own if name in other and name in axes.result]
            queries = [name for name in own if name in axes.result and name not in other]
            keys = [name for name in own if name not in axes.result]
            axis = axes.result.index(queries[0]) if len(queries) == 1 else None
            for output in _noted(weights, _ATTENTION):
                if output.dim() == 4 and (len(output), *output.shape[2:]) == (batch, positions, positions):
                    self._add_attention(output, [weights])
                    return axis
            if len(queries) == len(keys) == 1 and len(heads) in (1, 2):
                kept = weights.detach().permute([own.index(name) for name in (*heads, *queries, *keys)])
                kept = kept.unsqueeze(1) if len(heads) == 1 else kept
                if kept.shape[0] == batch and kept.shape[2] == kept.shape[3] == positions:
                    self._add_attention(kept, [weights])
                    return axis
        self.untraceable = (
            f"attention weights of shape {tuple(weights.shape)} are not (batch, heads, queries, keys) over "
            f"the {positions} positions (banded, sparse, prefix or folded attention)"
        )
        return None

    def _add_attention(self, kept: Tensor | AttentionInputs, sources: Sequence[Tensor]) -> None:
        """Keep what must be another layer's: one whose weights depend on the attention before."""
        before, self._below = self._below, None
        if self._reordered is not None:
            self.untraceable = f"{self._reordered} puts positions into another order"
        if isinstance(kept, Tensor) and bool((kept.sum(-1) > 1.001).any()):
            self.untraceable = "what the values are multiplied by sums to more than 1 over the keys"
        if before is not None and not any(
            node is before for source in sources if source.grad_fn for node in _nodes(source.grad_fn)
        ):
            self.untraceable = "heads or branches of attention stand side by side, not one above the other"
        self.attention.append(kept)

    def _added_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """input + a @ b, as `addmm` and `baddbmm` compute it."""
        names = ("input", "mat1", "mat2") if "addmm" in func.__name__ else ("input", "batch1", "batch2")
        if len(args) > 3 or func.__name__ not in ("addmm", "baddbmm"):
            return self._refuse(func, args, kwargs)
        added, a, b = _bind(args, kwargs, names)
        scales = {name: kwargs[name] for name in ("alpha", "beta") if name in kwargs}
        if self.tracked(a) and self.tracked(b):
            if self._keep_attention:
                self.untraceable = f"{name_of(func)} of two activations may be attention"
            if _noted(a, _ATTENTION) is not None or _noted(b, _ATTENTION) is not None:
                return self._refuse(func, args, kwargs)
            a, b = self._share(a, ("product", 0)), self._share(b, ("product", 1))
        elif self.tracked(a) or self.tracked(b):
            x = a if self.tracked(a) else b
            self._enters_linear(x)
            if self._has_rule("linear") and self._is_weight(b if x is a else a):
                form = contractions.canonical(contractions.matmul(a, b), x, b if x is a else a, x is a)
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
        if self.tracked(added):
            return y
        return self._offset(y, added * scales["beta"] if "beta" in scales else added)

    def _convolution(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias, *settings = _bind(
            args, kwargs, ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        )
        if self.tracked(weight) or self.tracked(bias):
            raise UnsupportedOperationError(
                "a convolution with a kernel that depends on the input", self._name()
            )
        plain = all(s in (d, (d,), None) for s, d in zip(settings, (1, 0, 1, 1), strict=True))
        self._enters_linear(x)
        if plain and weight.shape[-1] == 1 and x.dim() == 3 and self._has_rule("linear"):
            # (batch, channels, seq): a linear layer of each position's channels
            y = self._layer(
                x.transpose(1, 2), weight[..., 0], bias, lambda: func(x, weight, bias).transpose(1, 2)
            )
            return y.transpose(1, 2)
        refusing = next((c for c in self.composites if c.rule("convolution") is REFUSED), None)
        if refusing is not None:
            raise UnsupportedOperationError(name_of(func), refusing.name)
        y = func(*args, **kwargs)
        return y if bias is None else self._offset(y, bias[:, None])

    def _rms_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, eps = _bind(args, kwargs, ("input", "normalized_shape", "weight", "eps"))
        if self.tracked(weight) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if not self._has_rule("layer_norm"):
            return F.rms_norm(x, tuple(shape), weight, eps)
        return _apply(RMSNorm, x, tuple(shape), weight, eps, self.sweep)

    def _layer_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, bias, eps = _bind(
            args, kwargs, ("input", "normalized_shape", "weight", "bias", "eps")
        )
        eps = 1e-5 if eps is None else eps
        shape = tuple(shape)
        if self.tracked(weight) or self.tracked(bias) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if self.sub_layers and x is self.sub_layers[-1].total:
            self.sub_layers[-1].normalised = True
        if self._has_rule("layer_norm"):
            return _apply(LayerNorm, x, shape, weight, bias, eps, self.books, self.sweep)
        return F.layer_norm(x, shape, weight, bias, eps)

    # --- element-wise functions ----------------------------------------------------------------------

    def _gelu(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, approximate = _bind(args, kwargs, ("input", "approximate"))
        function = ops.GELU_TANH if approximate == "tanh" else ops.GELU
        return self._elementwise(x, function, "activation")

    def _activation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, inplace = _bind(args, kwargs, ("input", "inplace"))
        if inplace:
            return cast(Tensor, self._refuse(func, args, kwargs))
        return self._elementwise(x, ops.ELEMENTWISE[func], "activation")

    def _root(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = _bind(args, kwargs, ("input",))
        return self._elementwise(x, ops.SQRT, "power")

    def _power(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, exponent = _bind(args, kwargs, ("input", "exponent"))
        exponent = 2 if exponent is None else exponent  # torch.square
        if not isinstance(exponent, int | float) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if exponent < 0:
            return self._reciprocal(func, (x, exponent), {})
        return self._elementwise(x, self._power_of(exponent), "power")

    def _reciprocal(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """One over a root, a power or another denominator: what is multiplied by it is a quotient."""
        x = next(tensor for tensor in _tensors([args, kwargs]) if self.tracked(tensor))

        def of(value: Tensor) -> Tensor:
            return cast(Tensor, func(*_mapped(args, lambda t: value if t is x else t), **kwargs))

        return _note(_apply(InnerFunction, x, of, name_of(func), "quotient", self.sweep), _RECIPROCAL, ())

    @staticmethod
    def _power_of(exponent: float) -> ops.Elementwise:
        return ops.Elementwise(
            f"x ** {exponent}",
            lambda x: x**exponent,
            lambda gradient, x, _: gradient * (exponent * x ** (exponent - 1)),
            lambda x, _: x ** (exponent - 1),
        )

    def _elementwise(self, x: Tensor, function: ops.Elementwise, kind: str) -> Tensor:
        y = _apply(Activation, x, function, kind, self.sweep) if self._has_rule(kind) else function.value(x)
        return _note_elementwise(y, _origin(x)[0], None)

    def _inner_function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = _bind(args, kwargs, ("input",))
        y = _apply(InnerFunction, x, func, name_of(func), None, self.sweep)
        return _note_elementwise(y, _origin(x)[0], None)

    # --- products and quotients ----------------------------------------------------------------------

    def _product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = _bind(args, kwargs, ("input", "other"))
        if not (self.tracked(a) and self.tracked(b)):
            return self._scaled(torch.mul, a, b)
        if a is b and self._closed is not None:
            return self._elementwise(a, self._power_of(2), "power")
        if _noted(a, _RECIPROCAL) is not None or _noted(b, _RECIPROCAL) is not None:
            numerator, denominator = (1, 0) if _noted(a, _RECIPROCAL) is not None else (0, 1)
            return self._divided(torch.mul, a, b, numerator, denominator)
        (x, scale_a), (x_b, scale_b) = _origin(a), _origin(b)
        if x is x_b and (scale_a is not None or scale_b is not None) and self._closed is not None:
            if scale_a is None:
                a, b, scale_a = b, a, scale_b
            y = _apply(ComposedActivation, a, b, x, scale_a, self.sweep)
            return _note_elementwise(y, x, None)
        return self._activations_product(func, a, b, torch.mul, None)

    def _quotient(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = _bind(args, kwargs, ("input", "other"))
        if kwargs.get("rounding_mode") is not None:
            raise self._lost(f"{name_of(func)} with a rounding mode")
        if not self.tracked(b):
            return self._scaled(torch.div, a, b)
        if not self.tracked(a):
            return self._reciprocal(func, args, kwargs) if self._closed is not None else torch.div(a, b)
        return self._divided(torch.div, a, b, 0, 1)

    def _divided(self, func: Callable[..., Tensor], a: Tensor, b: Tensor, first: int, second: int) -> Tensor:
        """A quotient of a and b, or its reciprocal spelling; first, second: which of the two each is."""
        if self.sub_layers:
            self.sub_layers[-1].normalised = True  # a LayerNorm written out: (x - mean) / deviation
        y = func(self._share(a, ("quotient", first)), self._share(b, ("quotient", second)))
        numerator = a if first == 0 else b
        return _note(y, _ATTENTION, ()) if _noted(numerator, _ATTENTION) is not None else y

    def _scaled(self, func: Callable[..., Any], a: Any, b: Any) -> Any:
        """a * b or a / b with at most one factor that depends on the input."""
        y = func(a, b)
        tracked, other = (a, b) if self.tracked(a) else (b, a)
        if _is_number(other):
            x, scale = _origin(tracked)
            _note_elementwise(y, x, None if scale is None else float(func(scale, other)))
        elif self._has_rule("linear") and self._is_weight(other):
            strides = other.expand(y.shape).stride()
            _note(y, _WEIGHTED, frozenset(i - y.dim() for i, stride in enumerate(strides) if stride))
        return self._carried([tracked], y)

    def _sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A sum or a difference."""
        a, b = _bind(args, kwargs, ("input", "other"))
        if not (self.tracked(a) and self.tracked(b)):
            return self._sum_with_constant(
                func, args, kwargs, a if self.tracked(a) else b, b if self.tracked(a) else a
            )
        y = func(*args, **kwargs)
        (x_a, scale_a), (x_b, scale_b) = _origin(a), _origin(b)
        if func not in ops.DIFFERENCES and x_a is x_b:
            # `add(a, b, alpha=2)` would scale b: then only that it is element-wise is known
            known = scale_a is not None and scale_b is not None and not kwargs
            _note_elementwise(y, x_a, (scale_a or 0.0) + (scale_b or 0.0) if known else None)
        elif self._keep_sub_layers and func not in ops.DIFFERENCES and not kwargs:
            self._residual_sum(a, b, y)
        return self._carried([a, b], y)

    def _sum_with_constant(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, constant: Any
    ) -> Tensor:
        layer: _Layer | None = _noted(x, _LINEAR)
        if layer is not None and isinstance(constant, int | float) and constant == 0:  # as `sum` begins
            y = _note(func(*args, **kwargs), _LINEAR, layer)
        elif layer is not None:
            y = self._with_bias(func, args, kwargs, layer, x, constant)
        elif self.books is None:
            y = func(*args, **kwargs)
        else:
            y = self._booked_sum(func, args, kwargs, x, constant)
        if _is_number(constant):
            _note_elementwise(y, _origin(x)[0], None)
        return cast(Tensor, self._carried([x], y))

    def _booked_sum(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, constant: Any
    ) -> Tensor:
        def of(value: Tensor) -> Tensor:
            return cast(Tensor, func(*_mapped(args, lambda t: value if t is x else t), **kwargs))

        zero = x.new_zeros(())
        offset = of(zero)  # the constant with its sign and its factor, of any shape that fits
        shape = torch.broadcast_tensors(x.detach(), offset)[0].shape  # type: ignore[no-untyped-call]
        x = x if x.shape == shape else x.expand(shape)
        slope = (
            1.0 if func not in ops.DIFFERENCES and not kwargs else float((of(zero + 1) - offset).flatten()[0])
        )
        return _apply(Offset, x, offset, lambda: of(x.detach()), slope, self.books, self.sweep)

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
        value = func(*_mapped(args, lambda t: t.detach() if t is x else t), **kwargs)
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
                return _note(spelled, _LINEAR, _Layer(layer.x, weight, added, y.shape, placed))
        raise UnsupportedOperationError(
            f"{name_of(func)} of a linear layer and a constant that is not its bias",
            self._rule_owner("linear"),
        )

    def _in_place_sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """x += y and the like; a note of x no longer holds, see `_noted`."""
        x = args[0]
        operands = [operand for operand in args if self.tracked(operand)]
        if self._keep_sub_layers and any(id(operand) in self._linear_inputs for operand in operands):
            self.not_post_norm = "it adds to a layer's input in place"
        if _noted(x, _LINEAR) is not None and len(operands) == 1:
            return self._refuse(func, args, kwargs)
        carried = self._all_attention(operands)
        place = 2 if func is torch.Tensor.__setitem__ else 1
        value = args[place] if len(args) > place and func is not torch.Tensor.masked_fill_ else None
        if self.books is not None and isinstance(value, Tensor) and not self.tracked(value):
            value = self._booked(value.expand(x.shape) if place == 1 else value)
            args = (*args[:place], value, *args[place + 1 :])
        y = func(*args, **kwargs)  # None for x[i] = v
        if carried:
            _note(x, _ATTENTION, ())
        return y

    def _in_place_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """x *= c; two factors that both depend on the input are refused."""
        x, other = _bind(args, kwargs, ("input", "other"))
        if self.tracked(other) or kwargs.get("rounding_mode") is not None:
            return self._refuse(func, args, kwargs)
        carried = self._all_attention([x])
        y = func(x, other)
        return _note(y, _ATTENTION, ()) if carried else y

    def _residual_sum(self, a: Tensor, b: Tensor, total: Tensor) -> None:
        """Tell whether a + b closes a sub-layer: one operand is what the sub-layer's first layers read."""
        a_is_input, b_is_input = id(a) in self._linear_inputs, id(b) in self._linear_inputs
        if any(operand is sub_layer.total for sub_layer in self.sub_layers for operand in (a, b)):
            self.not_post_norm = "its residual stream has no LayerNorm behind the sum (pre-norm)"
        elif a_is_input != b_is_input:
            x, dense = (a, b) if a_is_input else (b, a)
            self.check_depth(x)
            self.check_depth(dense)
            self.sub_layers.append(SubLayer(x, dense, total))

    def check_depth(self, tensor: Tensor) -> None:
        """All ways to a tensor pass as many linear layers, or one goes around some: a residual not seen."""
        least, most = getattr(tensor, _DEPTH, (0, 0))
        if least != most:
            self.not_post_norm = "a way goes around some of its layers that is not seen to be a residual sum"

    # --- attention -----------------------------------------------------------------------------------

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self._closed_by(_bind(args, kwargs, ("input",))[0])
        y = self._opened(func(*args, **kwargs), "a softmax")
        axis = _bind(args, kwargs, ("input", "dim"))[1]
        # not y itself: that would be a reference cycle
        return _note(y, _ATTENTION, (y.detach(),) if axis in (-1, y.dim() - 1) else ())

    def _structural(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What moves, selects or adds up numbers; constants among its operands go into the books."""
        tracked = [tensor for tensor in _tensors([args, kwargs]) if self.tracked(tensor)]
        if func in ops.REDUCTIONS and _noted(tracked[0], _WEIGHTED):
            self._check_weighted_sum(func, tracked[0], args, kwargs)
        joins = self.books is not None and func in ops.JOINING
        if joins:
            args = _mapped(
                args, lambda t: t if self.tracked(t) or not t.is_floating_point() else self._booked(t)
            )
        y = func(*args, **kwargs)
        if self.books is not None and func in ops.FILLING:
            fill = func(
                *_mapped(args, lambda t: torch.zeros_like(t) if t.is_floating_point() else t), **kwargs
            )
            # A mask of attention scores is a number beyond all others; no relevance is meant to stay with it.
            if bool(((fill != 0) & (fill.abs() < _MASK)).any()):
                y = _apply(
                    Offset,
                    y,
                    fill.masked_fill(fill.abs() >= _MASK, 0.0),
                    y.clone,
                    1.0,
                    self.books,
                    self.sweep,
                )
        layer: _Layer | None = next(filter(None, (_noted(x, _LINEAR) for x in tracked)), None)
        if layer is not None:
            found = list(_tensors(y))
            indices: list[Tensor | None] = [None] * len(found)
            if func in ops.PLACING and layer.is_placed:
                x, before = tracked[0], layer.index
                if before is None:
                    before = torch.arange(x.numel(), device=x.device).view(x.shape)
                if func not in ops.CASTS:
                    indices = list(
                        _tensors(func(*_mapped(args, lambda t: before if t is x else t), **kwargs))
                    )
                else:
                    indices = [before]
            for tensor, index in zip(found, indices, strict=True):
                if not any(tensor is x for x in tracked):
                    _note(tensor, _LINEAR, replace(layer, index=index, is_placed=index is not None))
        return self._carried(tracked, y, moved=func in ops.MOVING | ops.CASTS)

    def _check_weighted_sum(
        self, func: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Refuse a linear layer that is spelled as a product and a sum, which its rule would not see."""
        axes = _bind(args, kwargs, ("input", "dim"))[1]
        axes = range(x.dim()) if axes is None else axes if isinstance(axes, list | tuple) else [axes]
        if any((axis % x.dim()) - x.dim() in _noted(x, _WEIGHTED) for axis in axes):
            raise UnsupportedOperationError(
                f"{name_of(func)} of numbers that were multiplied by weights, a linear layer written out",
                self._rule_owner("linear"),
            )

    def _booked(self, constant: Tensor) -> Tensor:
        """A constant among operands that are joined or added, which takes its share of the relevance."""
        return _apply(Offset, constant, constant, constant.clone, 1.0, self.books, self.sweep)

    def _all_attention(self, operands: Sequence[Tensor]) -> bool:
        return bool(operands) and all(_noted(operand, _ATTENTION) is not None for operand in operands)

    def _carried(self, operands: Sequence[Tensor], y: Any, moved: bool = False) -> Any:
        """y, which is linear in the operands: it descends from a softmax if all of them do, and so on."""
        for name in (_ATTENTION, _RECIPROCAL):
            notes = [_noted(operand, name) for operand in operands]
            if notes and all(note is not None for note in notes):
                for tensor in _tensors(y):
                    _note(tensor, name, notes[0] if moved else ())
        return y

    def _fused_attention(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query, key, value, mask, dropout, is_causal, scale, grouped = _bind(
            args,
            kwargs,
            ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"),
        )
        if dropout:
            raise UnsupportedModelError("attention dropout is active: call model.eval() first")
        if self.tracked(mask):
            raise UnsupportedOperationError("attention with a mask that depends on the input", self._name())
        if self._keep_attention:
            batch, positions = self._size
            if query.dim() == 4 and query.shape[0] == batch and query.shape[2] == key.shape[2] == positions:
                width = query.shape[-1] ** -0.5 if scale is None else float(scale)
                kept = AttentionInputs(query.detach(), key.detach(), mask, bool(is_causal), width)
                self._add_attention(kept, [query, key])
            else:
                self.untraceable = (
                    f"attention of queries {tuple(query.shape)} to keys {tuple(key.shape)} is not over the "
                    f"{positions} positions (prefix or folded attention)"
                )
        self._values = value
        # A product with a constant is linear, and nothing of it is shared.
        q, k, v = (self.tracked(operand) for operand in (query, key, value))
        through_scores: tuple[tuple[str, int], ...] = (("attention_values", 0),) if v else ()
        query = self._share(query, *through_scores, *((("product", 0),) if k else ()))
        key = self._share(key, *through_scores, *((("product", 1),) if q else ()))
        value = self._share(value, *((("attention_values", 1),) if q or k else ()))
        output: Tensor = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=bool(is_causal),
            scale=scale,
            enable_gqa=bool(grouped),
        )
        self._attended(output, output.dim() - 2)
        return output

    def _dropout(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, p, training = _bind(args, kwargs, ("input", "p", "training"))
        if p and (training is None or training):
            raise UnsupportedModelError("dropout is active: call model.eval() first")
        output: Tensor = x
        return output

    # --- helpers -------------------------------------------------------------------------------------

    def _share(self, operand: Tensor, *positions: tuple[str, int]) -> Tensor:
        """`operand`, whose backward pass will be multiplied by its share in each sweep."""
        if not operand.requires_grad:
            return operand
        shares = {total_share(composite, positions) for composite in self.composites}
        if shares <= {1.0}:
            return operand
        if shares == {None}:  # a constant in every sweep: cut here, so that nothing is kept for it
            return operand.detach()
        return _apply(Share, operand, positions, self.sweep)

    def _refuse(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation that has no rule: only the gradient passes it."""
        if self._closed is not None:
            raise UnsupportedOperationError(name_of(func), self._closed.name)
        return func(*args, **kwargs)

    def _rule_owner(self, kind: str) -> str:
        return next(composite.name for composite in self.composites if composite.rule(kind) is not None)

    def _name(self) -> str:
        return self._closed.name if self._closed is not None else "lat"


_MASK: Final = 1e4  # what is added or filled in to mask attention scores is larger, in every data type


_KNOWN: Final[frozenset[Any]] = (
    ops.STRUCTURAL | ops.LINEAR | ops.IN_PLACE_SUMS | ops.SOFTMAXES | ops.SHAPE_ONLY | ops.INDICES
)


_FUNCTIONS: Final = (Activation, ComposedActivation, InnerFunction, LayerNorm, Linear, Offset, RMSNorm, Share)

# The names of autograd's nodes, without "Backward0", that the known functions leave in the graph.  Which
# of several a function leaves depends on the device, the data type and the shapes.
_KNOWN_NODES: Final = frozenset(
    """
    AccumulateGrad BackwardHookFunction
    Add Addmm Baddbmm Addbmm Addmv Mv Bmm Mm Dot Linear MkldnnLinear T Mul Div Sub Rsub Neg Sum Mean
    Convolution View UnsafeView ViewAs Reshape ReshapeAlias AsStrided Alias Transpose Permute Expand Repeat
    Clone Copy CopySlices ToCopy To Contiguous Squeeze Unsqueeze Unflatten Flatten Slice Select Narrow Index
    IndexSelect IndexPut Gather Chunk Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes Unbind Cat Stack
    MaskedFill Where Softmax SafeSoftmax Detach ConstantPadNd
    """.split()  # noqa: SIM905 - a list literal would be one name a line
)
# These are an operation's ordinary derivative: right only where no method of the call has a rule for it.
_NODES_BY_KIND: Final = {
    "layer_norm": ("NativeLayerNorm", "FusedLayerNorm"),
    "power": ("Pow", "Sqrt", "Square"),
}
# What autograd leaves where a kernel has no derivative: backward it hands on nothing, with a warning.
_NODES_WITHOUT_DERIVATIVE: Final = frozenset(
    {"WarnNotImplemented", "NotImplemented", "Error", "DelayedError"}
)


def _operands(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any, Callable[[Tensor, Tensor], Any], contractions.Axes | None] | None:
    """The two operands of a contraction, the same contraction of two others, and the labels of its axes.

    None for one of more or fewer operands.
    """
    if func is torch.einsum:
        equation, *listed = args
        if len(listed) == 1 and isinstance(listed[0], list | tuple):
            listed = list(listed[0])
        if not isinstance(equation, str) or len(listed) != 2:
            return None
        a, b = listed
        return a, b, lambda a, b: func(equation, a, b), contractions.einsum(equation, a, b)
    if func is torch.tensordot:
        a, b, dims = _bind(args, kwargs, ("a", "b", "dims"))
        dims = 2 if dims is None else dims
        return a, b, lambda a, b: func(a, b, dims), contractions.tensordot(a, b, dims)
    a, b = _bind(args, kwargs, ("input", "other"))
    if b is None:
        b = next((kwargs[name] for name in ("mat2", "tensor2", "vec", "tensor") if name in kwargs), None)
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return None
    if func in (torch.Tensor.__rmatmul__,):
        return b, a, torch.matmul, contractions.matmul(b, a)
    axes = contractions.inner(a, b) if func in ops.INNER_PRODUCTS else contractions.matmul(a, b)
    return a, b, func, axes


# --- the whole forward pass ----------------------------------------------------------------------------


def run(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    composites: Iterable[Composite],
    *,
    attention: bool = False,
    sub_layers: bool = False,
    at: Callable[[Tensor], Tensor] | None = None,
) -> ForwardPass:
    """Run `model(**inputs)` under an `Interception` and return what its sweeps need.

    The logits are those of the plain model on the same inputs.  Without composites and attention no graph is
    built.

    at: a change of the embedding (batch, positions, hidden) at the cut, such as noise or a point on the way
        to a baseline; the leaf is what it returns.

    Raises UnsupportedModelError and UnsupportedOperationError.
    """
    mode = Interception(composites, attention=attention, sub_layers=sub_layers, inputs=inputs.values())
    with (
        failures(model, inputs),
        torch.set_grad_enabled(mode.needs_graph),
        _cut_at_embedding(model, mode, at),
        _quantised_as_linear(model, mode),
        mode,
    ):
        output = model(**inputs)
    logits = logits_of(output, model, len(inputs.get("input_ids", next(iter(inputs.values())))))
    if mode.embedding is None:
        raise UnsupportedModelError(f"{kind_of(model)} did not call its embedding block")
    if mode.composites and not mode.tracked(logits) and _noted(logits, _LOST):
        raise mode._lost(_noted(logits, _LOST))
    if mode.composites and not mode.tracked(logits):
        raise UnsupportedModelError(
            f"the logits of {kind_of(model)} do not depend on its embedding block in a way that has a "
            "derivative (is it run under no_grad, or detached?); scores would all be zero"
        )
    mode.check_graph(logits)
    if sub_layers:
        mode.check_depth(logits)
    own = None
    if "input_ids" in inputs:
        words = getattr(word_embeddings(model), "weight", None)
        own = own_positions(model, inputs, tuple(mode.embedding.shape[:2]), words)
    not_post_norm = mode.not_post_norm
    if sub_layers and not_post_norm is None and not mode.sub_layers:
        not_post_norm = "it has no residual sum of a layer's input and output"
    return ForwardPass(
        mode.embedding,
        logits,
        mode.sweep,
        own,
        mode.attention,
        mode.untraceable or (mode.open and f"{mode.open} was not seen to become attention"),
        mode.sub_layers,
        not_post_norm,
        mode.books,
        mode.last,
    )


@contextmanager
def _cut_at_embedding(
    model: nn.Module, mode: Interception, at: Callable[[Tensor], Tensor] | None
) -> Iterator[None]:
    """Make the embedding block's output the leaf `mode.embedding`, for this thread's forward pass.

    A forward hook is the only exact way to know where the block ends.  It acts in this thread alone
    and goes when the block is left, also after an error.
    """
    block = embedding_block(model)
    owner = threading.get_ident()

    def cut(module: nn.Module, args: Any, output: Any) -> Tensor | None:
        if threading.get_ident() != owner:
            return None
        if mode.embedding is not None or not isinstance(output, Tensor) or output.dim() != 3:
            found = (
                "shape " + str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
            )
            raise UnsupportedModelError(
                f"expected the embedding block {type(module).__name__} to return one tensor (batch, seq, "
                f"hidden), once a forward pass, found {found if mode.embedding is None else 'another'}; "
                "supported are encoders of BERT's kind with a module for the embeddings, and no decoders"
            )
        with torch._C.DisableTorchFunction():
            with torch.no_grad():
                changed = output.detach() if at is None else at(output.detach()).detach()
            mode.begin(changed.requires_grad_(mode.needs_graph))
            # not the leaf itself: a model may change what it gets in place
            return changed.clone()

    handle = block.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _quantised_as_linear(model: nn.Module, mode: Interception) -> Iterator[None]:
    """Let quantised layers be the linear ones that they are; their kernels say the value, of constants.

    What is no such layer is refused.  Its library may have a derivative for it, but not that of its answers.
    """
    owner = threading.get_ident()
    held: list[Tensor | None] = []

    def before(module: nn.Module, args: Any) -> Any:
        if threading.get_ident() != owner or not args:
            return None
        tracked = mode.embedding is not None and mode.tracked(args[0])
        held.append(args[0] if tracked else None)
        with torch._C.DisableTorchFunction():
            return (args[0].detach(), *args[1:]) if tracked else None

    def after(name: str, module: nn.Module, args: Any, output: Any) -> Any:
        x = held.pop() if threading.get_ident() == owner and args else None
        if x is None:
            return None
        with torch._C.DisableTorchFunction(), torch.no_grad():
            weight, bias = dense(module, args[0])
            served = is_linear(module, args[0], weight, bias, output)
            weight, bias = weight.to(output.dtype), None if bias is None else bias.to(output.dtype)
        if served:
            return handle_torch_function(linear_layer, (x,), x, weight, bias, output.detach())
        raise refused(name, module)

    handles = []
    for name, module in quantised_layers(bare(model)):
        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(partial(after, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nodes(root: Any) -> Iterator[Any]:
    """Every node of autograd's graph below `root`, once, the nearest first."""
    waiting, seen = deque([root]), {root}
    while waiting:
        node = waiting.popleft()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def _leaves(root: Any) -> Iterator[Tensor]:
    return (node.variable for node in _nodes(root) if hasattr(node, "variable"))


# --- small tools -----------------------------------------------------------------------------------------


def _bind(args: tuple[Any, ...], kwargs: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Positional and keyword arguments by name; None for one that was not given."""
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    output: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The arguments of a call with each tensor changed, those in lists, tuples and mappings too."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(_mapped(item, change) for item in value)
    if type(value) is dict:
        return {name: _mapped(item, change) for name, item in value.items()}
    return value


def name_of(func: Any) -> str:
    if getattr(func, "__name__", "") in ("__get__", "__set__"):
        return f"torch.Tensor.{func.__self__.__name__}"
    name = resolve_name(func) or ".".join(
        str(getattr(func, part, "")) for part in ("__module__", "__qualname__")
    )
    return name.strip(".") or str(func)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and value.dim() == 0)


def _has_no_derivative(tensor: Tensor) -> bool:
    """Whether autograd would hand on nothing from here."""
    node = tensor.grad_fn
    return node is not None and node.name().rpartition("::")[2] in _NODES_WITHOUT_DERIVATIVE


def _note(tensor: Tensor, name: str, value: Any) -> Tensor:
    setattr(tensor, name, (tensor._version, value))
    return tensor


def _noted(tensor: Any, name: str) -> Any:
    """What was noted of the tensor; None if nothing was, or if the tensor was changed in place since."""
    version, value = getattr(tensor, name, (None, None))
    return value if version is not None and version == tensor._version else None


def _origin(x: Tensor) -> tuple[Tensor, float | None]:
    """(source, scale): x is an element-wise function of source, scale * source where scale is known."""
    source, scale, version = _noted(x, _ELEMENTWISE) or (x, 1.0, x._version)
    return (source, scale) if source._version == version else (x, 1.0)


def _note_elementwise(y: Tensor, source: Tensor, scale: float | None) -> Tensor:
    return _note(y, _ELEMENTWISE, (source, scale, source._version))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
