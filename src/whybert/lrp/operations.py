"""Which torch functions are which operation.

A forward pass is a sequence of calls of torch functions.  This table gives each one that a rule is
written for its name; the functions of `STRUCTURAL` move or select numbers and those of `LINEAR` are
linear in their tracked argument, so their ordinary derivative is their rule.  Whatever
is differentiable and stands in neither list has no rule, and the interception refuses it by name.

Nothing here depends on a model family.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MappingProxyType
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

TorchFunction = Callable[..., Any]


def _named(*names: str, places: tuple[Any, ...] = (torch, torch.Tensor)) -> frozenset[TorchFunction]:
    """The functions of these names among the functions of torch and the methods of a tensor."""
    return frozenset(getattr(place, name) for name in names for place in places if hasattr(place, name))


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A function applied to each number, in the closed forms that the rules need.

    name: the operation's name.  value: f(x).  derivative: (gradient, x, y) -> gradient * f'(x).
    ratio: (x, y) -> f(x) / x, with its limit at 0, never by a division by x: 0 / 0 is NaN,
    and in half precision so is the quotient of two small numbers.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor, Tensor], Tensor]
    ratio: Callable[[Tensor, Tensor], Tensor]


def _normal_cdf(x: Tensor) -> Tensor:
    """Phi(x), the cumulative distribution function of the standard normal."""
    return (x * math.sqrt(0.5)).erf_().add_(1.0).mul_(0.5)


def _gelu_tanh_cdf(x: Tensor) -> Tensor:
    """0.5 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): the approximation's stand-in for Phi(x)."""
    return (x + 0.044715 * x**3).mul_(math.sqrt(2.0 / math.pi)).tanh_().add_(1.0).mul_(0.5)


def _tanh_ratio(x: Tensor, y: Tensor) -> Tensor:
    """tanh(x) / x.  Near 0 the series 1 - x^2 / 3, whose error there is below x^4."""
    near_zero = x.abs() < 1e-4
    return torch.where(near_zero, 1.0 - x * x / 3.0, y / torch.where(near_zero, torch.ones_like(x), x))


GELU: Final = Elementwise(
    "gelu",
    F.gelu,
    lambda gradient, x, _: torch.ops.aten.gelu_backward(gradient, x),
    lambda x, _: _normal_cdf(x),
)
GELU_TANH: Final = Elementwise(
    "gelu(approximate='tanh')",
    lambda x: F.gelu(x, approximate="tanh"),
    lambda gradient, x, _: torch.ops.aten.gelu_backward(gradient, x, approximate="tanh"),
    lambda x, _: _gelu_tanh_cdf(x),
)
RELU: Final = Elementwise(
    "relu", torch.relu, lambda gradient, x, _: gradient * (x > 0), lambda x, _: (x > 0).to(x.dtype)
)
TANH: Final = Elementwise("tanh", torch.tanh, lambda gradient, _, y: gradient * (1.0 - y * y), _tanh_ratio)
SILU: Final = Elementwise(
    "silu",
    F.silu,
    lambda gradient, x, _: torch.ops.aten.silu_backward(gradient, x),
    lambda x, _: torch.sigmoid(x),
)
SQRT: Final = Elementwise(
    "sqrt", torch.sqrt, lambda gradient, _, y: gradient / (2.0 * y), lambda _, y: 1.0 / y
)

# The parts from which Hugging Face builds some activations (`gelu_new`, `quick_gelu`, ...): each is
# g(x) in a product x * g(x), and the product as a whole is the activation.  The rules are for the
# product; the parts themselves carry relevance nowhere else and are refused where they stand alone
# (see `Interception`).
INNER_FUNCTIONS: Final[frozenset[TorchFunction]] = frozenset(
    {torch.erf, torch.Tensor.erf, torch.sigmoid, torch.Tensor.sigmoid, F.sigmoid}
)

ELEMENTWISE: Final[dict[TorchFunction, Elementwise]] = {
    torch.tanh: TANH,
    torch.Tensor.tanh: TANH,
    F.tanh: TANH,
    torch.relu: RELU,
    torch.Tensor.relu: RELU,
    F.relu: RELU,
    F.silu: SILU,
}
GELU_FUNCTIONS: Final[frozenset[TorchFunction]] = frozenset({F.gelu})
POWERS: Final[frozenset[TorchFunction]] = frozenset(
    {torch.pow, torch.Tensor.pow, torch.Tensor.__pow__, torch.square, torch.Tensor.square}
)
RECIPROCALS: Final[frozenset[TorchFunction]] = frozenset(
    {torch.rsqrt, torch.Tensor.rsqrt, torch.reciprocal, torch.Tensor.reciprocal}
)
ROOTS: Final[frozenset[TorchFunction]] = frozenset({torch.sqrt, torch.Tensor.sqrt})

LINEAR_LAYERS: Final[frozenset[TorchFunction]] = frozenset({F.linear})
CONVOLUTIONS: Final = _named(
    *(f"conv{kind}{d}d" for kind in ("", "_transpose") for d in (1, 2, 3)), places=(torch, F)
)
LAYER_NORMS: Final[frozenset[TorchFunction]] = frozenset({F.layer_norm, torch.layer_norm})
TRANSPOSING_ATTRIBUTES: Final = ("T", "mT", "H", "mH")
RMS_NORMS: Final[frozenset[TorchFunction]] = frozenset({F.rms_norm, torch.rms_norm})
SOFTMAXES: Final[frozenset[TorchFunction]] = frozenset(
    {F.softmax, torch.softmax, torch.Tensor.softmax, torch.special.softmax}
)
FUSED_ATTENTION: Final[frozenset[TorchFunction]] = frozenset({F.scaled_dot_product_attention})
INNER_PRODUCTS: Final[frozenset[TorchFunction]] = frozenset({torch.inner, torch.Tensor.inner})
MATRIX_PRODUCTS: Final = _named("matmul", "mm", "bmm", "mv", "dot", "__matmul__") | {torch.linalg.matmul}
CONTRACTIONS: Final = (
    INNER_PRODUCTS | MATRIX_PRODUCTS | {torch.Tensor.__rmatmul__, torch.einsum, torch.tensordot}
)
ADDED_PRODUCTS: Final = _named("addmm", "baddbmm", "addmv")
# x @ W where each group of rows has a matrix of its own, as the experts of a mixture have.
GROUPED_PRODUCTS: Final[frozenset[TorchFunction]] = frozenset({torch._grouped_mm})
PRODUCTS: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.mul,
        torch.multiply,
        torch.Tensor.mul,
        torch.Tensor.multiply,
        torch.Tensor.__mul__,
        torch.Tensor.__rmul__,
    }
)
QUOTIENTS: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.div,
        torch.true_divide,
        torch.Tensor.div,
        torch.Tensor.true_divide,
        torch.Tensor.__truediv__,
        torch.Tensor.__div__,
    }
)
DIFFERENCES: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.sub,
        torch.subtract,
        torch.Tensor.sub,
        torch.Tensor.__sub__,
        torch.Tensor.__rsub__,
        torch.rsub,
    }
)
SUMS: Final[frozenset[TorchFunction]] = DIFFERENCES | frozenset(
    {torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__}
)
# Linear, but for a constant, in what they change and in what they put there.
IN_PLACE_SUMS: Final = _named(
    "add_",
    "__iadd__",
    "sub_",
    "__isub__",
    "neg_",
    "zero_",
    "fill_",
    "fill_diagonal_",
    "copy_",
    "__setitem__",
    "masked_fill_",
    "masked_scatter_",
    "index_add_",
    "index_copy_",
    "index_fill_",
    "index_put_",
    "scatter_",
    "scatter_add_",
    places=(torch.Tensor,),
)
IN_PLACE_QUOTIENTS: Final[frozenset[TorchFunction]] = frozenset(
    {torch.Tensor.div_, torch.Tensor.__itruediv__, torch.Tensor.__idiv__}
)
IN_PLACE_PRODUCTS: Final[frozenset[TorchFunction]] = IN_PLACE_QUOTIENTS | frozenset(
    {torch.Tensor.mul_, torch.Tensor.__imul__}
)
DROPOUTS: Final[frozenset[TorchFunction]] = frozenset({F.dropout, torch.dropout})

LINEAR: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.neg,
        torch.Tensor.neg,
        torch.Tensor.__neg__,
        torch.sum,
        torch.Tensor.sum,
        torch.mean,
        torch.Tensor.mean,
    }
)
# Windows of the memory in which the operand lies.
STRIDED: Final[frozenset[TorchFunction]] = frozenset({torch.as_strided, torch.Tensor.as_strided})

REDUCTIONS: Final[frozenset[TorchFunction]] = frozenset(
    {torch.sum, torch.Tensor.sum, torch.mean, torch.Tensor.mean}
)
# The same numbers in the same order, in another shape.
FOLDING: Final = _named("view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel")
# Bijections between the numbers of their operand and those of their result.
MOVING: Final[frozenset[TorchFunction]] = FOLDING | frozenset(
    {
        torch.Tensor.transpose,
        torch.transpose,
        torch.swapaxes,
        torch.Tensor.swapaxes,
        torch.swapdims,
        torch.Tensor.swapdims,
        torch.Tensor.permute,
        torch.permute,
        torch.movedim,
        torch.Tensor.movedim,
        torch.Tensor.t,
        torch.t,
        torch.adjoint,
        torch.Tensor.adjoint,
        torch.Tensor.contiguous,
        torch.Tensor.clone,
        torch.clone,
        torch.Tensor.squeeze,
        torch.squeeze,
        torch.Tensor.squeeze_,
        torch.Tensor.unsqueeze,
        torch.unsqueeze,
        torch.Tensor.unsqueeze_,
        *(getattr(torch.Tensor, name).__get__ for name in TRANSPOSING_ATTRIBUTES),
    }
)
# Of several operands, whose numbers all come into the result.
JOINING: Final = _named(
    "cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "complex"
)
# They choose some of their operand's numbers by their size: these, and the places where they stand.  Which
# are chosen does not change with a small change of the operand, so that they are taken as any others are.
CHOOSING: Final[frozenset[TorchFunction]] = frozenset(
    getattr(place, name)
    for name in ("topk", "sort", "kthvalue", "max", "min")
    for place in (torch, torch.Tensor)
)
# They take numbers of their operand from given places along a dimension.
TAKING: Final[frozenset[TorchFunction]] = frozenset(
    getattr(place, name)
    for name in ("gather", "index_select", "take_along_dim")
    for place in (torch, torch.Tensor)
)
PICKING: Final[frozenset[TorchFunction]] = TAKING | frozenset({torch.Tensor.__getitem__})
# They may put other numbers in the place of some, beside them, or add others to some.
FILLING: Final = (
    JOINING
    | _named(
        "where",
        "masked_fill",
        "masked_scatter",
        "index_fill",
        "index_copy",
        "index_put",
        "index_add",
        "scatter",
        "scatter_add",
        "slice_scatter",
        "select_scatter",
        "diagonal_scatter",
    )
    | {F.pad}
)
# Linear in their operand; they may sum its positions, leave some out, or put them into another order.
MIXING: Final = (
    _named(
        "broadcast_to",
        "conj",
        "cumsum",
        "diag",
        "diag_embed",
        "diagonal",
        "diff",
        "dsplit",
        "flip",
        "fliplr",
        "flipud",
        "hsplit",
        "imag",
        "masked_select",
        "real",
        "resolve_conj",
        "roll",
        "rot90",
        "sum_to_size",
        "take",
        "take_along_dim",
        "tensor_split",
        "tile",
        "trace",
        "tril",
        "triu",
        "unfold",
        "view_as_complex",
        "view_as_real",
        "vsplit",
    )
    | _named(
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "avg_pool1d",
        "avg_pool2d",
        "fold",
        "interpolate",
        "pixel_shuffle",
        "pixel_unshuffle",
        "unfold",
        "upsample",
        places=(torch, F),
    )
    | _named(
        *(f"{kind}fft{axes}" for kind in ("", "i", "r", "ir") for axes in ("", "2", "n")),
        "hfft",
        "ihfft",
        "fftshift",
        "ifftshift",
        places=(torch.fft,),
    )
    | {torch.Tensor.real.__get__, torch.Tensor.imag.__get__}  # type: ignore[attr-defined]
)
CASTS: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.Tensor.to,
        torch.Tensor.type,
        torch.Tensor.type_as,
        torch.Tensor.float,
        torch.Tensor.double,
        torch.Tensor.half,
        torch.Tensor.bfloat16,
    }
)
# Each number of the result is one of the operand's, and none stands there twice.
PLACING: Final[frozenset[TorchFunction]] = (
    MOVING
    | CASTS
    | frozenset(
        {
            torch.Tensor.__getitem__,
            torch.Tensor.chunk,
            torch.chunk,
            torch.Tensor.split,
            torch.split,
            torch.Tensor.unbind,
            torch.unbind,
            torch.Tensor.index_select,
            torch.index_select,
            torch.Tensor.select,
            torch.select,
            torch.Tensor.narrow,
            torch.narrow,
        }
    )
)
STRUCTURAL: Final[frozenset[TorchFunction]] = (
    PLACING
    | FILLING
    | CHOOSING
    | frozenset(
        {
            torch.Tensor.__iter__,
            torch.view_as_complex,
            torch.view_as_real,
            torch.Tensor.expand,
            torch.Tensor.expand_as,
            torch.Tensor.repeat,
            torch.Tensor.repeat_interleave,
            torch.repeat_interleave,
            torch.Tensor.gather,
            torch.gather,
            torch.Tensor.take_along_dim,
            torch.take_along_dim,
            torch.Tensor.requires_grad_,
        }
    )
)
# Hidden states are the same before and after these; see `ForwardPass.read_positions`.
SELECTING: Final[frozenset[TorchFunction]] = (
    (
        STRUCTURAL
        | DROPOUTS
        | LINEAR
        | PRODUCTS
        | IN_PLACE_PRODUCTS
        | IN_PLACE_SUMS - {torch.Tensor.add_, torch.Tensor.__iadd__}
    )
    - frozenset(
        getattr(torch.Tensor, name) for name in ("index_add", "index_add_", "scatter_add", "scatter_add_")
    )
    - {torch.index_add, torch.scatter_add}
)
# What these make of attention scores, or of the softmax of them, is still that.
CARRYING: Final[frozenset[TorchFunction]] = (
    STRUCTURAL
    | STRIDED
    | SUMS
    | PRODUCTS
    | QUOTIENTS
    | IN_PLACE_SUMS
    | IN_PLACE_PRODUCTS
    | DROPOUTS
    | frozenset(ELEMENTWISE)  # such as a tanh that bounds the scores
)
# Each position of the result descends from the same position of the operands.
POSITION_WISE: Final[frozenset[TorchFunction]] = (
    SUMS
    | PRODUCTS
    | QUOTIENTS
    | LINEAR_LAYERS
    | LAYER_NORMS
    | RMS_NORMS
    | GELU_FUNCTIONS
    | frozenset(ELEMENTWISE)
    | INNER_FUNCTIONS
    | POWERS
    | ROOTS
    | RECIPROCALS
    | IN_PLACE_SUMS
    | IN_PLACE_PRODUCTS
    | frozenset(
        {torch.exp, torch.Tensor.exp, torch.Tensor.relu_, torch.Tensor.tanh_, F.elu, F.leaky_relu, F.softplus}
    )
)
# These put positions, or texts, into another order.
FLIPS: Final[frozenset[TorchFunction]] = frozenset(
    {torch.flip, torch.Tensor.flip, torch.fliplr, torch.flipud, torch.roll, torch.Tensor.roll}
)

# What follows holds for the gradient as well.

# Their second operand says no more than a shape or a type.
SHAPED_BY_ANOTHER: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.Tensor.to,
        torch.Tensor.type_as,
        torch.Tensor.view_as,
        torch.Tensor.reshape_as,
        torch.Tensor.expand_as,
    }
)

# Their first operand says no more than a type and a device.
TYPED_BY_ANOTHER: Final[frozenset[TorchFunction]] = frozenset({torch.Tensor.new_tensor})

# The result depends on the shape of the operand alone.
SHAPE_ONLY: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.zeros_like,
        torch.ones_like,
        torch.empty_like,
        torch.full_like,
        torch.rand_like,
        torch.randn_like,
        torch.Tensor.new_zeros,
        torch.Tensor.new_ones,
        torch.Tensor.new_empty,
        torch.Tensor.new_full,
    }
)
# The result is a place or a count, or one of the results is, which is a constant almost everywhere.
INDICES: Final[frozenset[TorchFunction]] = CHOOSING | frozenset(
    {
        torch.argmax,
        torch.Tensor.argmax,
        torch.argmin,
        torch.Tensor.argmin,
        torch.argsort,
        torch.Tensor.argsort,
        torch.nonzero,
        torch.Tensor.nonzero,
        torch.count_nonzero,
        torch.Tensor.count_nonzero,
        torch.searchsorted,
        torch.bucketize,
    }
)
# The number leaves torch, and autograd with it.
ESCAPES: Final[frozenset[TorchFunction]] = frozenset(
    {
        torch.Tensor.item,
        torch.Tensor.tolist,
        torch.Tensor.numpy,
        torch.Tensor.__array__,
        torch.Tensor.__float__,
        torch.Tensor.__int__,
        torch.Tensor.__complex__,
        torch.Tensor.__index__,
    }
)
# Steps, whose derivative is 0 wherever it is defined: what comes through them would get nothing.
STEPS: Final[frozenset[TorchFunction]] = frozenset(
    getattr(place, name)
    for name in ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "floor_divide", "heaviside")
    for place in (torch, torch.Tensor)
) | frozenset({torch.Tensor.__floordiv__, torch.fake_quantize_per_tensor_affine})


def picks(arguments: tuple[Any, ...]) -> bool:
    """Whether x[...] takes numbers from places that a tensor holds."""
    index = arguments[1] if isinstance(arguments[1], tuple | list) else [arguments[1]]
    return any(isinstance(each, Tensor) and each.dim() > 0 and each.dtype != torch.bool for each in index)


def _in_the_open(function: Any) -> TorchFunction:
    """A copy of a function of torch that does not hand itself on to a function mode, but runs."""
    code: CodeType = function.__code__
    known = {name: _never for name in code.co_names if name.startswith("has_torch_function")}
    copied = FunctionType(
        code, {**function.__globals__, **known}, code.co_name, function.__defaults__, function.__closure__
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def _never(*arguments: object) -> bool:
    return False


# What is written in Python of functions that have rules, and would hide them: what runs in its place.
WRITTEN: Final[Mapping[TorchFunction, TorchFunction]] = MappingProxyType(
    {F.multi_head_attention_forward: _in_the_open(F.multi_head_attention_forward)}
)


def _lerp(input: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    return input + weight * (end - input)


def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return input + value * (tensor1 * tensor2)


def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return input + value * (tensor1 / tensor2)


def _bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = (torch.einsum("...j,oij->...oi", input2, weight) * input1.unsqueeze(-2)).sum(-1)
    return y if bias is None else y + bias


# What is a sum of products, in one call: the same in calls that have rules.  Its value stays what it is.
RESTATED: Final[Mapping[TorchFunction, TorchFunction]] = MappingProxyType(
    {
        F.bilinear: _bilinear,
        **{
            function: restated
            for name, restated in (("lerp", _lerp), ("addcmul", _addcmul), ("addcdiv", _addcdiv))
            for function in _named(name)
        },
    }
)
