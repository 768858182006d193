"""The one mechanism: a function mode that lets a model's own forward pass follow other rules backward.

`Interception` is a `torch.overrides.TorchFunctionMode`.  Inside its `with` block, in this thread only,
every torch function that the forward pass calls comes by here.  The ones that some composite has a
rule for run as functions of `whybert.lrp.rules`, whose value is the same and whose backward pass asks
for the rule; all others run as they are.  The model is not changed: no patch, no replaced module,
no flag.  Its parameters enter as constants, so no weight gradient is ever computed.

The point of attribution is the output of the embedding block (after its LayerNorm), which is cut out
of the graph there.  See `ForwardPass` for what is left when the block ends.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from whybert.anatomy import embedding_block
from whybert.errors import UnsupportedModelError, UnsupportedOperationError
from whybert.lrp import operations as ops
from whybert.lrp.composites import REFUSED, Composite
from whybert.lrp.functions import (
    Activation,
    ComposedActivation,
    InnerFunction,
    LayerNorm,
    Linear,
    Share,
    Sweep,
    total_share,
)
from whybert.targets import ResolvedTarget

Handler = Callable[["Interception", Any, tuple[Any, ...], dict[str, Any]], Any]

# Notes kept on tensors of this forward pass (never on the model's): what they are a function of.
_ELEMENTWISE: Final = "_whybert_elementwise"  # (x, scale): the tensor is g(x); scale where it is scale * x
_ATTENTION: Final = "_whybert_attention"  # the softmax output that the tensor is a reshaped view of


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
class SubLayer:
    """x -> LayerNorm(dense(x) + x): a block of BERT's kind, as the forward pass came by it."""

    x: Tensor
    dense: Tensor
    total: Tensor
    normalised: bool = False


@dataclass
class ForwardPass:
    """One forward pass, ready to be swept backward any number of times.

    embedding: the attribution point, (batch, seq, hidden), a leaf.  logits: (batch, labels).
    attention: weights of each layer, first layer first, or what they are computed from.
    sub_layers: the blocks of BERT's kind in order; `not_post_norm` says why there are none.
    """

    embedding: Tensor
    logits: Tensor
    sweep: Sweep
    attention: Sequence[Tensor | AttentionInputs] = ()
    sub_layers: Sequence[SubLayer] = ()
    not_post_norm: str | None = None
    _gradients: dict[tuple[Composite, ResolvedTarget], Tensor] = field(default_factory=dict)

    def backward(self, composite: Composite, output: Tensor, relevance: Tensor, to: Tensor) -> Tensor:
        """Sweep `relevance` from `output` back to `to` by the rules of `composite`.

        The result has the shape of `to`, and is zero where nothing arrives.
        """
        self.sweep.composite = composite
        try:
            (passed,) = torch.autograd.grad(output, to, relevance, retain_graph=True, allow_unused=True)
        finally:
            self.sweep.composite = None
        return torch.zeros_like(to) if passed is None else passed

    def gradient(self, composite: Composite, target: ResolvedTarget) -> Tensor:
        """The sweep of dy/dlogits down to the embedding, (batch, seq, hidden), made once."""
        key = (composite, target)
        if key not in self._gradients:
            seed = target.seed(self.logits.detach())
            self._gradients[key] = self.backward(composite, self.logits, seed, self.embedding)
        return self._gradients[key]


class Interception(TorchFunctionMode):
    """See the module.  One object serves one forward pass.

    composites: the rules that later sweeps will follow.
    attention: keep what the attention weights are computed from.
    sub_layers: keep the blocks of BERT's kind, for the released LRP.
    """

    def __init__(
        self, composites: Iterable[Composite], *, attention: bool = False, sub_layers: bool = False
    ) -> None:
        super().__init__()
        self.composites = tuple(composites)
        self.sweep = Sweep()
        self.embedding: Tensor | None = None
        self.attention: list[Tensor | AttentionInputs] = []
        self.sub_layers: list[SubLayer] = []
        self.not_post_norm: str | None = None
        self._keep_attention = attention
        self._keep_sub_layers = sub_layers
        self._linear_inputs: dict[int, Tensor] = {}
        self._closed = next((c for c in self.composites if c.closed), None)
        self._handlers = self._handlers_in_use()

    # --- the mode ----------------------------------------------------------------------------------

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs) if kwargs else {}
        if self.embedding is None:  # still in the embedding block: nothing above it is asked for
            with torch.no_grad():
                return func(*args, **kwargs)
        handler = self._handlers.get(func)
        if handler is not None:
            return handler(self, func, args, kwargs)
        if getattr(func, "__name__", "") == "__get__":  # an attribute such as .shape
            return func(*args, **kwargs)
        args, kwargs = _constants(args), {name: _constant(value) for name, value in kwargs.items()}
        if self._closed is not None and func not in _KNOWN:
            output = func(*args, **kwargs)
            if any(tensor.requires_grad for tensor in _tensors(output)):
                raise UnsupportedOperationError(resolve_name(func) or str(func), self._closed.name)
            return output
        return func(*args, **kwargs)

    def _handlers_in_use(self) -> dict[Any, Handler]:
        """The handlers that some composite, the attention tap or the sub-layers need; else none.

        Plain functions, not bound methods: those would make a reference cycle that keeps every activation
        alive until the cycle collector comes by.
        """
        used: dict[Any, Handler] = {}

        def use(functions: Iterable[Any], handler: Handler) -> None:
            used.update(dict.fromkeys(functions, handler))

        use(ops.DROPOUTS, Interception._dropout)
        follow_attention = self._keep_attention or self._has_rule("attention_values")
        if follow_attention:
            use(ops.SOFTMAXES, Interception._softmax)
            use(ops.STRUCTURAL, Interception._structural)
        if follow_attention or self._closed is not None:
            use(ops.MATRIX_PRODUCTS, Interception._matrix_product)
            use(ops.FUSED_ATTENTION, Interception._fused_attention)
        if self._closed is not None:
            use(ops.LINEAR_LAYERS, Interception._linear)
            use(ops.CONVOLUTIONS, Interception._convolution)
            use(ops.LAYER_NORMS, Interception._layer_norm)
            use(ops.GELU_FUNCTIONS, Interception._gelu)
            use(ops.ELEMENTWISE, Interception._activation)
            use(ops.POWERS, Interception._power)
            use(ops.ROOTS, Interception._root)
            use(ops.INNER_FUNCTIONS, Interception._inner_function)
            use(ops.PRODUCTS, Interception._product)
            use(ops.QUOTIENTS, Interception._quotient)
            use(ops.SUMS, Interception._sum)
            use(ops.IN_PLACE, Interception._in_place)
        return used

    def _has_rule(self, kind: str) -> bool:
        return any(composite.rule(kind) is not None for composite in self.composites)

    def check_graph(self, logits: Tensor) -> None:
        """Refuse what the mode cannot see: scripted functions, `autograd.Function`s of the model, vmap.

        Every node between the logits and the embedding must be one that a handler or a known function makes.
        Raises UnsupportedOperationError.
        """
        if self._closed is None or logits.grad_fn is None:
            return
        allowed = _KNOWN_NODES | {
            node for kind, nodes in _NODES_BY_KIND.items() if not self._has_rule(kind) for node in nodes
        }
        waiting, seen = [logits.grad_fn], {logits.grad_fn}
        while waiting:
            node = waiting.pop()
            ours = getattr(node, "_forward_cls", None) in _FUNCTIONS
            name = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
            if not ours and name not in allowed and not name.startswith("ScaledDotProduct"):
                raise UnsupportedOperationError(node.name(), self._name())
            for following, _ in node.next_functions:
                if following is not None and following not in seen:
                    seen.add(following)
                    waiting.append(following)

    # --- linear layers, LayerNorm, convolutions ------------------------------------------------------

    def _linear(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias = _bind(args, kwargs, ("input", "weight", "bias"))
        x, weight, bias = _constant(x), _constant(weight), _constant(bias)
        if not x.requires_grad:
            return F.linear(x, weight, bias)
        if weight.requires_grad or (bias is not None and bias.requires_grad):
            raise UnsupportedOperationError("linear with a weight that depends on the input", self._name())
        if self._keep_sub_layers:
            self._linear_inputs[id(x)] = x
            if self.sub_layers and not self.sub_layers[-1].normalised:
                self.not_post_norm = "a residual sum enters the next layer without a LayerNorm"
        if self._has_rule("linear"):
            return _apply(Linear, x, weight, bias, self.sweep)
        return F.linear(x, weight, bias)

    def _convolution(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        args, kwargs = _constants(args), {name: _constant(value) for name, value in kwargs.items()}
        y: Tensor = func(*args, **kwargs)
        refusing = next((c for c in self.composites if c.rule("convolution") is REFUSED), None)
        if y.requires_grad and refusing is not None:
            raise UnsupportedOperationError(resolve_name(func) or str(func), refusing.name)
        return y

    def _layer_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, bias, eps = _bind(
            args, kwargs, ("input", "normalized_shape", "weight", "bias", "eps")
        )
        eps = 1e-5 if eps is None else eps
        x, weight, bias = _constant(x), _constant(weight), _constant(bias)
        shape = tuple(shape)
        if not x.requires_grad:
            return F.layer_norm(x, shape, weight, bias, eps)
        if self.sub_layers and x is self.sub_layers[-1].total:
            self.sub_layers[-1].normalised = True
        if self._has_rule("layer_norm"):
            return _apply(LayerNorm, x, shape, weight, bias, eps, self.sweep)
        return F.layer_norm(x, shape, weight, bias, eps)

    # --- element-wise functions ----------------------------------------------------------------------

    def _gelu(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, approximate = _bind(args, kwargs, ("input", "approximate"))
        function = ops.GELU_TANH if approximate == "tanh" else ops.GELU
        return self._elementwise(x, function, "activation")

    def _activation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = _bind(args, {"input": kwargs.get("input")}, ("input",))
        return self._elementwise(x, ops.ELEMENTWISE[func], "activation")

    def _root(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = _bind(args, kwargs, ("input",))
        return self._elementwise(x, ops.SQRT, "power")

    def _power(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, exponent = _bind(args, kwargs, ("input", "exponent"))
        exponent = 2 if exponent is None else exponent  # torch.square
        if not isinstance(exponent, int | float):
            refused: Tensor = self._refuse(func, args, kwargs)
            return refused
        function = ops.Elementwise(
            f"x ** {exponent}",
            lambda x: x**exponent,
            lambda gradient, x, _: gradient * (exponent * x ** (exponent - 1)),
            lambda x, _: x ** (exponent - 1),
        )
        return self._elementwise(x, function, "power")

    def _elementwise(self, x: Tensor, function: ops.Elementwise, kind: str) -> Tensor:
        if not x.requires_grad:
            return function.value(x)
        y = _apply(Activation, x, function, kind, self.sweep) if self._has_rule(kind) else function.value(x)
        return _note_elementwise(y, _origin(x)[0], None)

    def _inner_function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = _bind(args, kwargs, ("input",))
        if not x.requires_grad:
            value: Tensor = func(x)
            return value
        y = _apply(InnerFunction, x, func, resolve_name(func) or str(func), self.sweep)
        return _note_elementwise(y, _origin(x)[0], None)

    # --- products and quotients ----------------------------------------------------------------------

    def _product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = _bind(args, kwargs, ("input", "other"))
        a, b = _constant(a), _constant(b)
        if not (_tracked(a) and _tracked(b)):
            return self._scaled(torch.mul, a, b)
        (x, scale_a), (x_b, scale_b) = _origin(a), _origin(b)
        if x is x_b and (scale_a is not None or scale_b is not None):
            if scale_a is None:
                a, b, scale_a = b, a, scale_b
            y = _apply(ComposedActivation, a, b, x, scale_a, self.sweep)
            return _note_elementwise(y, x, None)
        a, b = self._share(a, ("product", 0)), self._share(b, ("product", 1))
        return torch.mul(a, b)

    def _quotient(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = _bind(args, kwargs, ("input", "other"))
        a, b = _constant(a), _constant(b)
        if kwargs.get("rounding_mode") is not None:
            return self._refuse(func, args, kwargs)
        if not _tracked(b):
            return self._scaled(torch.div, a, b)
        if not _tracked(a):  # a constant over the input: all relevance would be dropped without a word
            return self._refuse(func, args, kwargs)
        if self.sub_layers:
            self.sub_layers[-1].normalised = True  # a LayerNorm written out: (x - mean) / deviation
        return torch.div(self._share(a, ("quotient", 0)), self._share(b, ("quotient", 1)))

    def _scaled(self, func: Callable[..., Any], a: Any, b: Any) -> Any:
        """a * b or a / b with at most one factor that depends on the input."""
        y = func(a, b)
        tracked, other = (a, b) if _tracked(a) else (b, a)
        if _tracked(tracked) and _is_number(other):
            x, scale = _origin(tracked)
            _note_elementwise(y, x, None if scale is None else float(func(scale, other)))
        return y

    def _sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = _constants(args), {name: _constant(value) for name, value in kwargs.items()}
        a, b = _bind(args, kwargs, ("input", "other"))
        y = func(*args, **kwargs)
        if _tracked(a) and _tracked(b):
            (x_a, scale_a), (x_b, scale_b) = _origin(a), _origin(b)
            if x_a is x_b:
                # `add(a, b, alpha=2)` would scale b: then only that it is element-wise is known
                known = scale_a is not None and scale_b is not None and not kwargs
                _note_elementwise(y, x_a, (scale_a or 0.0) + (scale_b or 0.0) if known else None)
            elif self._keep_sub_layers:
                self._residual_sum(a, b, y)
        elif _tracked(a) and _is_number(b):
            _note_elementwise(y, _origin(a)[0], None)
        elif _tracked(b) and _is_number(a):
            _note_elementwise(y, _origin(b)[0], None)
        return y

    def _in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """x += y and the like: whatever was noted of x is no longer so."""
        x = args[0]
        if self._keep_sub_layers and any(
            id(operand) in self._linear_inputs for operand in args if _tracked(operand)
        ):
            self.not_post_norm = "it adds to a layer's input in place"
        for name in (_ELEMENTWISE, _ATTENTION):
            if hasattr(x, name):
                delattr(x, name)
        return func(*_constants(args), **{name: _constant(value) for name, value in kwargs.items()})

    def _residual_sum(self, a: Tensor, b: Tensor, total: Tensor) -> None:
        """Tell whether a + b closes a sub-layer: one operand is what the sub-layer's first layers read."""
        a_is_input, b_is_input = id(a) in self._linear_inputs, id(b) in self._linear_inputs
        if any(operand is sub_layer.total for sub_layer in self.sub_layers for operand in (a, b)):
            self.not_post_norm = "its residual stream has no LayerNorm behind the sum (pre-norm)"
        elif a_is_input != b_is_input:
            x, dense = (a, b) if a_is_input else (b, a)
            self.sub_layers.append(SubLayer(x, dense, total))

    def _matrix_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = _bind(args, kwargs, ("input", "other" if func is not torch.bmm else "mat2"))
        a, b = _constant(a), _constant(b)
        weights: Tensor | None = getattr(a, _ATTENTION, None)
        if weights is not None:
            if self._keep_attention:
                self.attention.append(weights)
            a, b = self._share(a, ("attention_values", 0)), self._share(b, ("attention_values", 1))
        elif _tracked(a) and _tracked(b):
            a, b = self._share(a, ("product", 0)), self._share(b, ("product", 1))
        return func(a, b)

    # --- attention -----------------------------------------------------------------------------------

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        y: Tensor = func(*args, **kwargs)
        if y.dim() == 4:  # (batch, heads, queries, keys)
            setattr(y, _ATTENTION, y.detach())  # not y itself: that would be a reference cycle
        return y

    def _structural(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        y = func(*_constants(args), **kwargs)
        if args and isinstance(args[0], Tensor) and isinstance(y, Tensor):
            weights = getattr(args[0], _ATTENTION, None)
            if weights is not None and y is not args[0]:
                setattr(y, _ATTENTION, weights)
        return y

    def _fused_attention(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query, key, value, mask, dropout, is_causal, scale, grouped = _bind(
            args,
            kwargs,
            ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"),
        )
        if dropout:
            raise UnsupportedModelError("attention dropout is active: call model.eval() first")
        if mask is not None and _constant(mask).requires_grad:
            raise UnsupportedOperationError("attention with a mask that depends on the input", self._name())
        if self._keep_attention:
            width = query.shape[-1] ** -0.5 if scale is None else float(scale)
            self.attention.append(
                AttentionInputs(query.detach(), key.detach(), _constant(mask), bool(is_causal), width)
            )
        through_scores: tuple[tuple[str, int], ...] = (("attention_values", 0),)
        query = self._share(query, *through_scores, ("product", 0))
        key = self._share(key, *through_scores, ("product", 1))
        value = self._share(value, ("attention_values", 1))
        output: Tensor = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=_constant(mask),
            is_causal=bool(is_causal),
            scale=scale,
            enable_gqa=bool(grouped),
        )
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
        """Run an operation that has no rule, unless it would carry relevance."""
        y = func(*_constants(args), **kwargs)
        if any(tensor.requires_grad for tensor in _tensors(y)):
            raise UnsupportedOperationError(resolve_name(func) or str(func), self._name())
        return y

    def _name(self) -> str:
        return self._closed.name if self._closed is not None else "lat"


_KNOWN: Final[frozenset[Any]] = ops.STRUCTURAL | ops.LINEAR | ops.IN_PLACE | ops.SOFTMAXES


_FUNCTIONS: Final = (Activation, ComposedActivation, InnerFunction, LayerNorm, Linear, Share)

# The names of autograd's nodes, without "Backward0", that the known functions leave in the graph.  Which
# of several a function leaves depends on the device, the data type and the shapes.
_KNOWN_NODES: Final = frozenset(
    """
    AccumulateGrad BackwardHookFunction
    Add Addmm Baddbmm Addbmm Addmv Mv Bmm Mm Dot Linear MkldnnLinear T Mul Div Sub Rsub Neg Sum Mean
    Convolution View UnsafeView ViewAs Reshape ReshapeAlias AsStrided Alias Transpose Permute Expand Repeat
    Clone Copy CopySlices ToCopy To Contiguous Squeeze Unsqueeze Unflatten Flatten Slice Select Narrow Index
    IndexSelect IndexPut Gather Chunk Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes Unbind Cat Stack
    MaskedFill Where Softmax SafeSoftmax Detach
    """.split()  # noqa: SIM905 - a list literal would be one name a line
)
# These are an operation's ordinary derivative: right only where no method of the call has a rule for it.
_NODES_BY_KIND: Final = {
    "layer_norm": ("NativeLayerNorm", "FusedLayerNorm"),
    "power": ("Pow", "Sqrt", "Square"),
}


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

    The logits are those of the plain model on the same inputs.  Without composites no graph is built.
    at: a change of the embedding; the leaf is what it returns.

    Raises UnsupportedModelError and UnsupportedOperationError.
    """
    mode = Interception(composites, attention=attention, sub_layers=sub_layers)
    with torch.set_grad_enabled(bool(mode.composites)), _cut_at_embedding(model, mode, at), mode:
        output = model(**inputs)
    logits = getattr(output, "logits", output[0] if isinstance(output, tuple) else None)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        found = f"logits of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else "no logits"
        raise UnsupportedModelError(
            f"expected a sequence classifier with logits (batch, labels), found {type(model).__name__} "
            f"with {found}"
        )
    if mode.embedding is None:
        raise UnsupportedModelError(f"{type(model).__name__} did not call its embedding block")
    mode.check_graph(logits)
    not_post_norm = mode.not_post_norm
    if sub_layers and not_post_norm is None and not mode.sub_layers:
        not_post_norm = "it has no residual sum of a layer's input and output"
    return ForwardPass(mode.embedding, logits, mode.sweep, mode.attention, mode.sub_layers, not_post_norm)


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
            raise UnsupportedModelError(
                f"expected the embedding block {type(module).__name__} to return one tensor "
                "(batch, seq, hidden), once a forward pass"
            )
        with torch._C.DisableTorchFunction(), torch.no_grad():
            changed = output.detach() if at is None else at(output.detach())
            mode.embedding = changed.detach().requires_grad_(bool(mode.composites))
        with torch._C.DisableTorchFunction():
            # not the leaf itself: a model may change what it gets in place
            return mode.embedding.clone()

    handle = block.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()


# --- small tools -----------------------------------------------------------------------------------------


def _bind(args: tuple[Any, ...], kwargs: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Positional and keyword arguments by name; None for one that was not given."""
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    output: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


def _constant(value: Any) -> Any:
    """A parameter, or any other leaf that requires a gradient, as a constant; anything else as it is."""
    if isinstance(value, Tensor) and value.requires_grad and value.grad_fn is None:
        return value.detach()
    return value


def _constants(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        [
            type(arg)(_constant(item) for item in arg) if type(arg) in (list, tuple) else _constant(arg)
            for arg in args
        ]
    )


def _tracked(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and value.dim() == 0)


def _origin(x: Tensor) -> tuple[Tensor, float | None]:
    """(source, scale): x is an element-wise function of source, scale * source where scale is known."""
    origin: tuple[Tensor, float | None] = getattr(x, _ELEMENTWISE, (x, 1.0))
    return origin


def _note_elementwise(y: Tensor, source: Tensor, scale: float | None) -> Tensor:
    setattr(y, _ELEMENTWISE, (source, scale))
    return y


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
