"""Which torch functions are which operation.

A forward pass is a sequence of calls of torch functions.  These tables say which of them a rule is written
for, and which move, select or add up numbers, whose ordinary derivative is their rule (`STRUCTURAL`,
`LINEAR`, `MIXING`).  Whatever is differentiable and stands in none of them has no rule, and the interception
refuses it by name.

Nothing here depends on a model family.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType, MappingProxyType
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor

TorchFunction = Callable[..., Any]


def named(*names: str, places: tuple[Any, ...] = (torch, torch.Tensor)) -> frozenset[TorchFunction]:
    """The functions of these names among the functions of torch and the methods of a tensor."""
    return frozenset(getattr(place, name) for name in names for place in places if hasattr(place, name))


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A function applied to each number, in the closed forms that the rules need.

    name: the operation's name.  value: f(x).  derivative: (gradient, x, y) -> gradient * f'(x).
    ratio: (x, y) -> (f(x) - f(0)) / x, with its limit at 0, never by a division by an x near 0: 0 / 0 is
    NaN, and in half precision so is the quotient of two small numbers.
    at_zero: f(0), which is a constant that is added, as a bias is.
    is_gated: whether it is x g(x) with a gate g, as GELU and ReLU are.  is_gate: whether it is a gate itself,
        between 0 and 1, as a sigmoid is.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor, Tensor], Tensor]
    ratio: Callable[[Tensor, Tensor], Tensor]
    at_zero: float = 0.0
    is_gated: bool = False
    is_gate: bool = False


def _normal_cdf(x: Tensor) -> Tensor:
    """Phi(x), the cumulative distribution function of the standard normal."""
    return (x * math.sqrt(0.5)).erf_().add_(1.0).mul_(0.5)


def _gelu_tanh_cdf(x: Tensor) -> Tensor:
    """0.5 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): the approximation's stand-in for Phi(x)."""
    return (x + 0.044715 * x**3).mul_(math.sqrt(2.0 / math.pi)).tanh_().add_(1.0).mul_(0.5)


def _by_x(numerator: Tensor, x: Tensor, series: Tensor) -> Tensor:
    """numerator / x, and what its series says near 0."""
    near_zero = x.abs() < 1e-4
    return torch.where(near_zero, series, numerator / torch.where(near_zero, torch.ones_like(x), x))


def _tanh_ratio(x: Tensor, y: Tensor) -> Tensor:
    """tanh(x) / x.  The series is 1 - x^2 / 3, whose error near 0 is below x^4."""
    return _by_x(y, x, 1.0 - x * x / 3.0)


GELU: Final = Elementwise(
    "gelu",
    F.gelu,
    lambda gradient, x, _: torch.ops.aten.gelu_backward(gradient, x),
    lambda x, _: _normal_cdf(x),
    is_gated=True,
)
GELU_TANH: Final = Elementwise(
    "gelu(approximate='tanh')",
    lambda x: F.gelu(x, approximate="tanh"),
    lambda gradient, x, _: torch.ops.aten.gelu_backward(gradient, x, approximate="tanh"),
    lambda x, _: _gelu_tanh_cdf(x),
    is_gated=True,
)
RELU: Final = Elementwise(
    "relu",
    torch.relu,
    lambda gradient, x, _: gradient * (x > 0),
    lambda x, _: (x > 0).to(x.dtype),
    is_gated=True,
)
TANH: Final = Elementwise("tanh", torch.tanh, lambda gradient, _, y: gradient * (1.0 - y * y), _tanh_ratio)
SILU: Final = Elementwise(
    "silu",
    F.silu,
    lambda gradient, x, _: torch.ops.aten.silu_backward(gradient, x),
    lambda x, _: torch.sigmoid(x),
    is_gated=True,
)
SQRT: Final = Elementwise(
    "sqrt", torch.sqrt, lambda gradient, _, y: gradient / (2.0 * y), lambda _, y: 1.0 / y
)


def _derivative_of(value: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The ordinary derivative, from autograd."""

    def derivative(gradient: Tensor, x: Tensor, _: Tensor) -> Tensor:
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            above = torch.ones_like(gradient) if gradient.requires_grad else gradient
            (passed,) = torch.autograd.grad(value(at), at, above)
        return passed * gradient if gradient.requires_grad else passed

    return derivative


def _function(
    name: str,
    value: Callable[[Tensor], Tensor],
    ratio: Callable[[Tensor], Tensor],
    at_zero: float = 0.0,
    is_gated: bool = False,
    is_gate: bool = False,
) -> Elementwise:
    return Elementwise(name, value, _derivative_of(value), lambda x, _: ratio(x), at_zero, is_gated, is_gate)


def _expm1_ratio(x: Tensor) -> Tensor:
    """(e^x - 1) / x."""
    return _by_x(torch.expm1(x), x, 1.0 + x / 2.0 + x * x / 6.0 + x**3 / 24.0)


def _erf_ratio(x: Tensor) -> Tensor:
    """erf(x) / x."""
    return _by_x(torch.erf(x), x, (1.0 - x * x / 3.0) * (2.0 / math.sqrt(math.pi)))


def _sigmoid_ratio(x: Tensor) -> Tensor:
    """(sigmoid(x) - 1/2) / x = tanh(x / 2) / (2 x)."""
    half = x / 2.0
    return _tanh_ratio(half, torch.tanh(half)) / 4.0


def _softplus_ratio(x: Tensor) -> Tensor:
    """(ln(1 + e^x) - ln 2) / x = 1/2 + ln(cosh(x / 2)) / x, where cosh is 1 + 2 sinh^2 of the half."""
    half = x.abs() / 2.0
    small = torch.log1p(2.0 * torch.sinh(half.clamp(max=1.0) / 2.0).square())
    large = half + torch.log1p(torch.exp(-2.0 * half)) - math.log(2.0)
    return 0.5 + _by_x(torch.where(half < 1.0, small, large), x, x / 8.0 - x**3 / 192.0)


def _clipped(
    low: float, high: float, value: Callable[[Tensor], Tensor] | None = None, slope: float = 1.0
) -> Elementwise | None:
    """slope * x between two bounds of x, and no more than there beyond them; None unless they are numbers."""
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low <= high):
        return None
    at_zero = min(max(0.0, low), high)

    def ratio(x: Tensor) -> Tensor:
        moved = x.clamp(low, high) - at_zero
        if at_zero == 0.0:
            one = (x >= low) & (x <= high)
            return slope * torch.where(one, torch.ones_like(x), moved / x.masked_fill(one, 1.0))
        return slope * moved / x.masked_fill(moved == 0.0, 1.0)

    name = "clamp" if value is None else "hardsigmoid"
    if value is None:
        return _function(name, lambda x: x.clamp(low, high), ratio, at_zero)
    return _function(name, value, ratio, float(value(torch.zeros(()))), is_gate=True)


def _clamp(min: float | Tensor | None = None, max: float | Tensor | None = None) -> Elementwise | None:
    low, high = (
        each.item() if isinstance(each, Tensor) and each.dim() == 0 and not each.requires_grad else each
        for each in (min, max)
    )
    return _clipped(-math.inf if low is None else low, math.inf if high is None else high)  # type: ignore[arg-type]


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Elementwise | None:
    return _clipped(min_val, max_val)


def _leaky_relu(negative_slope: float = 0.01) -> Elementwise:
    return _function(
        "leaky_relu",
        lambda x: F.leaky_relu(x, negative_slope),
        lambda x: torch.where(x > 0, torch.ones_like(x), negative_slope),
        is_gated=True,
    )


def _prelu(weight: Tensor) -> Elementwise:
    def ratio(x: Tensor) -> Tensor:
        slope = weight if weight.numel() == 1 else weight.view(-1, *[1] * max(x.dim() - 2, 0))
        return torch.where(x > 0, torch.ones_like(x), slope.to(x.dtype))

    return _function("prelu", lambda x: F.prelu(x, weight), ratio, is_gated=True)


def _elu(alpha: float = 1.0, scale: float = 1.0, width: float = 1.0) -> Elementwise:
    """scale * x, and below 0 scale * alpha * (e^(x / width) - 1)."""

    def value(x: Tensor) -> Tensor:
        return F.celu(x, alpha) if width != 1.0 else F.elu(x, alpha) if scale == 1.0 else F.selu(x)

    def ratio(x: Tensor) -> Tensor:
        below = alpha / width * _expm1_ratio(x.clamp(max=0.0) / width)
        return scale * torch.where(x > 0, torch.ones_like(x), below)

    return _function("elu", value, ratio)


def _softplus(beta: float = 1.0, threshold: float = 20.0) -> Elementwise:
    return _function(
        "softplus",
        lambda x: F.softplus(x, beta, threshold),
        lambda x: _softplus_ratio((beta * x).clamp(torch.finfo(x.dtype).min, torch.finfo(x.dtype).max)),
        math.log(2.0) / beta,
    )


def _threshold(threshold: float, value: float) -> Elementwise | None:
    if value != 0.0:
        return None
    return _function(
        "threshold",
        lambda x: F.threshold(x, threshold, 0.0),
        lambda x: (x > threshold).to(x.dtype),
        is_gated=True,
    )


def _softshrink(lambd: float = 0.5) -> Elementwise:
    def ratio(x: Tensor) -> Tensor:
        is_shrunk = x.abs() <= lambd
        return torch.where(is_shrunk, 0.0, 1.0 - lambd / x.abs().masked_fill(is_shrunk, 1.0))

    return _function("softshrink", lambda x: F.softshrink(x, lambd), ratio)


def _hardshrink(lambd: float = 0.5) -> Elementwise:
    return _function(
        "hardshrink", lambda x: F.hardshrink(x, lambd), lambda x: (x.abs() > lambd).to(x.dtype), is_gated=True
    )


def _same(function: Elementwise) -> Elementwise:
    return function


_PLACES: Final = (torch, torch.Tensor, F, torch.special)
_FIXED: Final[tuple[tuple[tuple[str, ...], Elementwise], ...]] = (
    (("tanh",), TANH),
    (("relu",), RELU),
    (("silu",), SILU),
    (("sigmoid", "expit"), _function("sigmoid", torch.sigmoid, _sigmoid_ratio, 0.5, is_gate=True)),
    (("erf",), _function("erf", torch.erf, _erf_ratio)),
    (("erfc",), _function("erfc", torch.erfc, lambda x: -_erf_ratio(x), 1.0)),
    (
        ("ndtr",),
        _function(
            "ndtr", torch.special.ndtr, lambda x: _erf_ratio(x * 0.5**0.5) * 0.125**0.5, 0.5, is_gate=True
        ),
    ),
    (("logsigmoid",), _function("logsigmoid", F.logsigmoid, lambda x: _softplus_ratio(-x), -math.log(2.0))),
    (("mish",), _function("mish", F.mish, lambda x: torch.tanh(F.softplus(x)), is_gated=True)),
    (("hardswish",), _function("hardswish", F.hardswish, lambda x: F.relu6(x + 3.0) / 6.0, is_gated=True)),
    (("hardsigmoid",), cast(Elementwise, _clipped(-3.0, 3.0, F.hardsigmoid, 1.0 / 6.0))),
    (("relu6",), cast(Elementwise, _clipped(0.0, 6.0))),
    (("softsign",), _function("softsign", F.softsign, lambda x: 1.0 / (1.0 + x.abs()), is_gated=True)),
    (("tanhshrink",), _function("tanhshrink", F.tanhshrink, lambda x: 1.0 - _tanh_ratio(x, torch.tanh(x)))),
    (("abs", "absolute"), _function("abs", torch.abs, torch.sign)),
    (("expm1",), _function("expm1", torch.expm1, _expm1_ratio)),
    (
        ("log1p",),
        _function("log1p", torch.log1p, lambda x: _by_x(torch.log1p(x), x, 1.0 - x / 2.0 + x * x / 3.0)),
    ),
)
_OTHERS: Final[tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[..., Elementwise | None]], ...]] = (
    (("gelu",), ("approximate",), lambda approximate="none": GELU_TANH if approximate == "tanh" else GELU),
    (("clamp", "clip"), ("min", "max"), _clamp),
    (("clamp_min",), ("min",), _clamp),
    (("clamp_max",), ("max",), _clamp),
    (("hardtanh",), ("min_val", "max_val", "inplace"), _hardtanh),
    (("leaky_relu",), ("negative_slope", "inplace"), _leaky_relu),
    (("prelu",), ("weight",), _prelu),
    (("elu",), ("alpha", "inplace"), _elu),
    (("selu",), ("inplace",), lambda: _elu(1.6732632423543772, 1.0507009873554805)),
    (("celu",), ("alpha", "inplace"), lambda alpha=1.0: _elu(alpha, width=alpha)),
    (("softplus",), ("beta", "threshold"), _softplus),
    (("threshold",), ("threshold", "value", "inplace"), _threshold),
    (("softshrink",), ("lambd",), _softshrink),
    (("hardshrink",), ("lambd",), _hardshrink),
)
# The parameters of each behind the first, and what makes the function of them; None is none that has a rule.
ELEMENTWISE: Final[Mapping[TorchFunction, tuple[tuple[str, ...], Callable[..., Elementwise | None]]]] = (
    MappingProxyType(
        {
            function: (("inplace",), partial(_same, elementwise))
            for names, elementwise in _FIXED
            for function in named(*names, places=_PLACES)
        }
        | {
            function: (parameters, make)
            for names, parameters, make in _OTHERS
            for function in named(*names, places=_PLACES)
        }
        | {torch._C._nn.silu: ((), partial(_same, SILU))}
    )
)
# g(x) in a product or a quotient of x, of which the whole is the activation; or a term of a sum.  In other
# products, such as a softmax written out, it has no rule (see `Interception`).
EXPONENTIALS: Final = named("exp")
EXPONENTIAL: Final = _function("exp", torch.exp, _expm1_ratio, 1.0)
# Of degree 1: f(c x) = c f(x) for c > 0.  By Euler's theorem sum x_i df/dx_i = f(x), so that the ordinary
# derivative is a rule that keeps all relevance; of a maximum the winner takes it.
HOMOGENEOUS: Final[frozenset[TorchFunction]] = frozenset(
    named(
        "norm", "vector_norm", "std", "amax", "amin", "maximum", "minimum", "fmax", "fmin", "msort", "cummax",
        "cummin", "median", "max_pool1d", "max_pool2d", "adaptive_max_pool1d",
        places=(torch, torch.Tensor, torch.linalg, F),
    )
)  # fmt: skip
# Of degree 2, inside the root of a deviation.
SQUARES: Final = named("var")
BATCH_NORMS: Final[frozenset[TorchFunction]] = frozenset({F.batch_norm, torch.batch_norm})
POWERS: Final = named("pow", "__pow__", "square")
RECIPROCALS: Final = named("rsqrt", "reciprocal", "__rtruediv__", "__rdiv__")
ROOTS: Final = named("sqrt")

LINEAR_LAYERS: Final[frozenset[TorchFunction]] = frozenset({F.linear})
CONVOLUTIONS: Final = named(
    *(f"conv{kind}{d}d" for kind in ("", "_transpose") for d in (1, 2, 3)), places=(torch, F)
)
LAYER_NORMS: Final[frozenset[TorchFunction]] = frozenset({F.layer_norm, torch.layer_norm})
TRANSPOSING_ATTRIBUTES: Final = ("T", "mT", "H", "mH")
RMS_NORMS: Final[frozenset[TorchFunction]] = frozenset({F.rms_norm, torch.rms_norm})
SOFTMAXES: Final[frozenset[TorchFunction]] = named("softmax", places=(torch, torch.Tensor, torch.special, F))
# A softmax may be written of them: exp(x - logsumexp(x)).
LOG_SUMS: Final = named("logsumexp", places=(torch, torch.Tensor, torch.special))
LOG_SOFTMAXES: Final = named("log_softmax", places=(torch, torch.Tensor, torch.special, F))
FUSED_ATTENTION: Final[frozenset[TorchFunction]] = frozenset({F.scaled_dot_product_attention})
INNER_PRODUCTS: Final = named("inner")
MATRIX_PRODUCTS: Final = named(
    "matmul", "mm", "bmm", "mv", "dot", "__matmul__", places=(torch, torch.Tensor, torch.linalg)
)
CONTRACTIONS: Final = INNER_PRODUCTS | MATRIX_PRODUCTS | named("__rmatmul__", "einsum", "tensordot")
ADDED_PRODUCTS: Final = named("addmm", "baddbmm", "addmv")
# x @ W where each group of rows has a matrix of its own, as the experts of a mixture have.
GROUPED_PRODUCTS: Final[frozenset[TorchFunction]] = frozenset(
    {torch._grouped_mm} if hasattr(torch, "_grouped_mm") else ()  # since torch 2.8
)
# How they are computed depends on whether their second operand requires a gradient.
FOLDED: Final[frozenset[TorchFunction]] = LINEAR_LAYERS | (CONTRACTIONS - {torch.einsum, torch.tensordot})
PRODUCTS: Final = named("mul", "multiply", "__mul__", "__rmul__")
QUOTIENTS: Final = named("div", "divide", "true_divide", "__truediv__", "__div__")
DIFFERENCES: Final = named("sub", "subtract", "__sub__", "__rsub__", "rsub")
# Of the first operand and the second, in this order.
REMAINDERS: Final = DIFFERENCES - {torch.rsub, torch.Tensor.__rsub__}
SUMS: Final = DIFFERENCES | named("add", "__add__", "__radd__")
# Linear, but for a constant, in what they change and in what they put there.
IN_PLACE_SUMS: Final = named(
    "add_",
    "__iadd__",
    "sub_",
    "subtract_",
    "__isub__",
    "neg_",
    "negative_",
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
IN_PLACE_QUOTIENTS: Final = named("div_", "divide_", "true_divide_", "__itruediv__", "__idiv__")
IN_PLACE_PRODUCTS: Final = IN_PLACE_QUOTIENTS | named("mul_", "multiply_", "__imul__")
# What changes its first operand in place: what it is out of place.
IN_PLACE: Final[Mapping[TorchFunction, TorchFunction]] = MappingProxyType(
    {
        getattr(place, f"{name}_"): getattr(torch, name, None) or getattr(F, name)
        for name in (
            "relu", "tanh", "sigmoid", "erf", "erfc", "abs", "absolute", "expm1", "log1p", "clamp", "clip",
            "clamp_min", "clamp_max", "leaky_relu", "elu", "selu", "celu", "hardtanh", "threshold", "exp",
            "sqrt", "rsqrt", "reciprocal", "square", "pow",
        )
        for place in (torch, torch.Tensor, F)
        if hasattr(place, f"{name}_")
    }
    | dict.fromkeys(IN_PLACE_PRODUCTS - IN_PLACE_QUOTIENTS, torch.mul)
    | dict.fromkeys(IN_PLACE_QUOTIENTS, torch.div)
)  # fmt: skip
DROPOUTS: Final[frozenset[TorchFunction]] = frozenset({F.dropout, torch.dropout})

NEGATIONS: Final = named("neg", "negative", "__neg__")
# Windows of the memory in which the operand lies.
STRIDED: Final = named("as_strided")

REDUCTIONS: Final = named("sum", "mean")
LINEAR: Final = NEGATIONS | REDUCTIONS
# The same numbers in the same order, in another shape.
FOLDING: Final = named("view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel")
# Bijections between the numbers of their operand and those of their result.
MOVING: Final = (
    FOLDING
    | named(
        "transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "t", "adjoint", "contiguous",
        "clone", "squeeze", "squeeze_", "unsqueeze", "unsqueeze_",
    )
    | {getattr(torch.Tensor, name).__get__ for name in TRANSPOSING_ATTRIBUTES}
)  # fmt: skip
# Of several operands, whose numbers all come into the result.
JOINING: Final = named(
    "cat",
    "concat",
    "concatenate",
    "stack",
    "hstack",
    "vstack",
    "dstack",
    "row_stack",
    "column_stack",
    "complex",
)
# They choose some of their operand's numbers by their size: these, and the places where they stand.  Which
# are chosen does not change with a small change of the operand, so that they are taken as any others are.
CHOOSING: Final = named("topk", "sort", "kthvalue", "max", "min")
# They take numbers of their operand from given places along a dimension.
TAKING: Final = named("gather", "index_select", "take_along_dim")
PICKING: Final[frozenset[TorchFunction]] = TAKING | frozenset({torch.Tensor.__getitem__})
# They may put other numbers in the place of some, beside them, or add others to some.
FILLING: Final = (
    JOINING
    | named(
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
    named(
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
        "masked_select",
        "resolve_conj",
        "roll",
        "rot90",
        "sum_to_size",
        "take",
        "tensor_split",
        "tile",
        "trace",
        "tril",
        "triu",
        "unfold",
        "vsplit",
    )
    | named(
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
    | named(
        *(f"{kind}fft{axes}" for kind in ("", "i", "r", "ir") for axes in ("", "2", "n")),
        "hfft",
        "ihfft",
        "fftshift",
        "ifftshift",
        places=(torch.fft,),
    )
    | {torch.real, torch.imag, torch.Tensor.real.__get__, torch.Tensor.imag.__get__}  # type: ignore[attr-defined]
)
CASTS: Final = named("to", "type", "type_as", "float", "double", "half", "bfloat16", places=(torch.Tensor,))
# Each number of the result is one of the operand's, and none stands there twice.
PLACING: Final = (
    MOVING | CASTS | named("__getitem__", "chunk", "split", "unbind", "index_select", "select", "narrow")
)
STRUCTURAL: Final = (
    PLACING
    | FILLING
    | CHOOSING
    | TAKING
    | named(
        "__iter__", "view_as_complex", "view_as_real", "expand", "expand_as", "repeat", "repeat_interleave",
        "requires_grad_",
    )
)  # fmt: skip
# Hidden states are the same before and after these; see `ForwardPass.read_positions`.
SELECTING: Final = (STRUCTURAL | DROPOUTS | LINEAR | PRODUCTS | IN_PLACE_PRODUCTS | IN_PLACE_SUMS) - named(
    "add_", "__iadd__", "index_add", "index_add_", "scatter_add", "scatter_add_"
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
    | frozenset(ELEMENTWISE)
    | frozenset(IN_PLACE)
    | EXPONENTIALS
    | POWERS
    | ROOTS
    | RECIPROCALS
    | IN_PLACE_SUMS
    | IN_PLACE_PRODUCTS
)
# These put positions, or texts, into another order.
FLIPS: Final = named("flip", "fliplr", "flipud", "roll")

# What follows holds for the gradient as well.

# Their second operand says no more than a shape or a type.
SHAPED_BY_ANOTHER: Final = named("to", "type_as", "view_as", "reshape_as", "expand_as")

# Their first operand says no more than a type and a device.
TYPED_BY_ANOTHER: Final[frozenset[TorchFunction]] = frozenset({torch.Tensor.new_tensor})

# What they say of a tensor is none.
ABOUT: Final[frozenset[TorchFunction]] = frozenset(
    getattr(torch.Tensor, name).__get__
    for name in (
        "shape",
        "dtype",
        "device",
        "layout",
        "ndim",
        "is_leaf",
        "requires_grad",
        "grad_fn",
        "_version",
    )
)
# They draw numbers at random.
RANDOM: Final = named(
    "randn", "rand", "randint", "randperm", "randn_like", "rand_like", "randint_like", "normal", "bernoulli",
    "multinomial", "poisson", "normal_", "uniform_", "bernoulli_", "exponential_", "random_",
)  # fmt: skip
# The result depends on the shape of the operand alone.
SHAPE_ONLY: Final = named(
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros", "new_ones",
    "new_empty", "new_full",
)  # fmt: skip
# The result is a place or a count, or one of the results is, which is a constant almost everywhere.
INDICES: Final = CHOOSING | named(
    "argmax", "argmin", "argsort", "nonzero", "count_nonzero", "searchsorted", "bucketize"
)
# The number leaves torch, and autograd with it.
ESCAPES: Final = named(
    "item", "tolist", "numpy", "__array__", "__float__", "__int__", "__complex__", "__index__",
    places=(torch.Tensor,),
)  # fmt: skip
# Steps, whose derivative is 0 wherever it is defined: what comes through them would get nothing.
STEPS: Final = named(
    *(
        f"{name}{end}"
        for name in ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "floor_divide", "heaviside")
        for end in ("", "_")
    ),
    "__floordiv__", "__ifloordiv__", "fake_quantize_per_tensor_affine", "eq_", "ne_", "not_equal_", "gt_",
    "greater_", "ge_", "greater_equal_", "lt_", "less_", "le_", "less_equal_", "logical_not_", "logical_and_",
    "logical_or_", "logical_xor_",
    places=(torch, torch.Tensor, torch.special),
)  # fmt: skip


def picks(arguments: tuple[Any, ...]) -> bool:
    """Whether x[...] takes numbers from places that a tensor holds."""
    index = arguments[1] if isinstance(arguments[1], tuple | list) else [arguments[1]]
    return any(isinstance(each, Tensor) and each.dim() > 0 and each.dtype != torch.bool for each in index)


def keeps_last_axis(function: TorchFunction, arguments: tuple[Any, ...], x: Tensor) -> bool:
    """Whether the last axis of x is that of what a structural function makes of it, if that is known."""
    if function in CASTS or function in (torch.Tensor.contiguous, torch.Tensor.clone, torch.clone):
        return True
    if function is not torch.Tensor.__getitem__:
        return False
    index = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
    if not all(isinstance(each, int | slice) for each in index):
        return False
    return len(index) < x.dim() or index[-1] == slice(None)


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


def _glu(input: Tensor, dim: int = -1) -> Tensor:
    a, b = input.chunk(2, dim)
    return a * torch.sigmoid(b)


def _group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    groups = input.reshape(len(input), num_groups, -1)
    y = F.layer_norm(groups, groups.shape[-1:], None, None, eps).view(input.shape)
    channels = (1, -1, *[1] * (input.dim() - 2))
    y = y if weight is None else y * weight.view(channels)
    return y if bias is None else y + bias.view(channels)


# What is written in Python of functions that have rules, and would hide them: what runs in its place.
WRITTEN: Final[Mapping[TorchFunction, TorchFunction]] = MappingProxyType(
    {each: _in_the_open(each) for each in (F.multi_head_attention_forward, F.normalize)}
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


# What is one call of several operations that have rules: the same in these.  Its value stays what it is.
RESTATED: Final[Mapping[TorchFunction, TorchFunction]] = MappingProxyType(
    {
        F.glu: _glu,
        F.group_norm: _group_norm,
        F.bilinear: _bilinear,
        **{
            function: restated
            for name, restated in (("lerp", _lerp), ("addcmul", _addcmul), ("addcdiv", _addcdiv))
            for function in named(name)
        },
    }
)
