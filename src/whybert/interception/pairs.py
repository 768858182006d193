"""Forward passes of texts beside their baselines, whose derivatives are the slopes between the two.

Such a pass has two rows for each text: the text and, one batch behind it, its baseline.  Each operation has
its own value and, as a derivative, multipliers m with sum m (x - x0) = f(x) - f(x0), x0 what the baseline has
there.  Multipliers that have this property have it when they are chained (DeepLIFT, Shrikumar et al. 2017).

| operation          | multiplier                                                                       |
|--------------------|----------------------------------------------------------------------------------|
| linear             | its derivative                                                                   |
| element-wise f     | (f(x) - f(x0)) / (x - x0), the rescale rule; f' between them where they are near |
| product a * b      | (b + b0) / 2 for a, (a + a0) / 2 for b, which are its Shapley values             |
| quotient a / b     | that of the product a * (1 / b)                                                  |
| softmax y of z     | dy = L (dz - sum_j L_j dz_j / sum_j L_j), L = (y - y0) / (ln y - ln y0)          |
| LayerNorm, RMSNorm | that of the product of x - mean and 1 / root, its square and its root            |

All are exact.  In that of softmax L is the logarithmic mean of y and y0: ln y - ln y0 is dz less the change
of the log of the sum of exponents, and this change is found from sum_i (y_i - y0_i) = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from whybert.errors import UnsupportedOperationError
from whybert.interception.calls import (
    ATTENTION_PARAMETERS,
    LAYER_NORM_PARAMETERS,
    RMS_NORM_PARAMETERS,
    bind,
    name_of,
    of_operand,
    tensors_in,
    value_of,
)
from whybert.interception.parts import Copies
from whybert.interception.trace import masked, of_heads, scale_of, weights_of
from whybert.lrp import contractions
from whybert.lrp import operations as ops
from whybert.lrp.composites import Composite

SLOPES = Composite("deeplift")  # closed: an operation that is not in the table has no rule


class Pairs(Copies):
    """The mode of such a pass."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, copies=2, **options)
        self._keep_books = False

    # --- what an operation hands on ----------------------------------------------------------------------

    def mean(self, x: Tensor) -> Tensor:
        """The mean of the text's numbers and its baseline's, in the rows of both: constants."""
        rows = self.rows(x.detach())
        return rows.mean(0, keepdim=True).expand_as(rows).flatten(0, 1)

    def product(self, call: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        linear = call(a, self.mean(b)) + call(self.mean(a), b)
        return valued(call(a.detach(), b.detach()), linear)

    def applied(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(x) of each number, by the rescale rule."""
        fixed = x.detach()
        y = function(fixed).detach()
        wide = torch.promote_types(x.dtype, torch.float32)
        (first, second), (value, other) = self.rows(fixed).to(wide), self.rows(y).to(wide)
        with torch.enable_grad():
            between = ((first + second) / 2).requires_grad_()
            (derivative,) = torch.autograd.grad(function(between).sum(), between)
        # The slope's error is that of rounding over the difference, that of f' its square: here they meet.
        # What is near in x may be far in f: 1 / root of a small mean square.
        least = torch.finfo(x.dtype).eps ** (1 / 3)
        far = (first - second).abs() > least
        far |= (value - other).abs() > least * torch.maximum(value.abs(), other.abs())
        slope = torch.where(far, (value - other) / torch.where(far, first - second, 1.0), derivative)
        return valued(y, x * torch.cat([slope, slope]).to(x.dtype))

    def _softmaxed(self, z: Tensor, y: Tensor, axis: int) -> Tensor:
        """y, the softmax of z."""
        wide = torch.promote_types(z.dtype, torch.float32)
        first, second = self.rows(torch.softmax(z.detach().to(wide), axis).nan_to_num(0.0))  # all is masked
        axis = axis % z.dim()
        log_first, log_second = self.rows(torch.log_softmax(z.detach().to(wide), axis))
        way = (log_first - log_second).nan_to_num(0.0, 0.0, 0.0)  # of what is masked in both
        squared = (way / 2) ** 2
        near = (first * second).sqrt() * (1 + squared / 6 * (1 + squared / 20 * (1 + squared / 42)))
        far = way.abs() > 0.1
        mean = torch.where(far, (first - second) / torch.where(far, way, 1.0), near)
        shares = torch.cat([mean, mean]).to(z.dtype)
        total = shares.sum(axis, keepdim=True)
        moved = torch.where(torch.isfinite(z), z, 0.0)
        common = (shares * moved).sum(axis, keepdim=True) / total.masked_fill(total == 0.0, 1.0)
        return valued(y.detach(), shares * (moved - common))

    def _normalised(
        self, x: Tensor, y: Tensor, over: tuple[int, ...], eps: float, weight: Tensor | None
    ) -> Tensor:
        """y, x / sqrt(mean x^2 + eps) * weight and what constant is added."""
        square = valued(x.detach().square(), 2 * self.mean(x) * x).mean(over, keepdim=True) + eps
        root = square.detach().rsqrt()
        first, second = self.rows(root)
        slope = -((first * second) ** 2) / (first + second)
        root = valued(root, torch.cat([slope, slope]) * square)
        scaled = self.product(torch.mul, x, root)
        return valued(y.detach(), (scaled if weight is None else scaled * weight).to(y.dtype))

    # --- handlers ----------------------------------------------------------------------------------------

    def _elementwise(self, x: Tensor, function: ops.Elementwise, kind: str) -> Tensor:
        return self.applied(x, function.value)

    def _exponential(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = bind(args, kwargs, ("input",))
        return self.applied(x, func)

    def _reciprocal(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x = next(tensor for tensor in tensors_in([args, kwargs]) if self.tracked(tensor))
        return self.applied(x, of_operand(func, args, kwargs, x))

    def _homogeneous(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise UnsupportedOperationError(name_of(func), SLOPES.name)

    _square = _homogeneous

    def _divided(self, func: Callable[..., Tensor], a: Tensor, b: Tensor, place: int) -> Tensor:
        return valued(func(a, b), self.product(torch.mul, a, self.applied(b, torch.reciprocal)))

    def _activations_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        return self.product(call, a, b)

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        z, axis = bind(args, kwargs, ("input", "dim"))
        if axis is None:
            raise UnsupportedOperationError(name_of(func), SLOPES.name)
        y: Tensor = func(*args, **kwargs)
        return self._softmaxed(z, y, axis)

    def _fused_attention(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query, key, value, mask, dropout, is_causal, scale, _ = bind(args, kwargs, ATTENTION_PARAMETERS)
        if dropout or self.tracked(mask) or not all(map(self.tracked, (query, key, value))):
            raise UnsupportedOperationError(name_of(func), SLOPES.name)
        output = value_of(func, args, kwargs)
        key, value = (of_heads(each, query.shape[-3]) for each in (key, value))
        query = query * scale_of(query, scale)
        scores = masked(self.product(torch.matmul, query, key.mT), mask, bool(is_causal))
        weights = weights_of(scores.detach())
        return valued(output, self.product(torch.matmul, self._softmaxed(scores, weights, -1), value))

    def _layer_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, bias, eps = bind(args, kwargs, LAYER_NORM_PARAMETERS)
        if self.tracked(weight) or self.tracked(bias) or not self.tracked(x):
            raise UnsupportedOperationError(name_of(func), SLOPES.name)
        over = tuple(range(-len(tuple(shape)), 0))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(over, keepdim=True)
        return self._normalised(centred, func(*args, **kwargs), over, 1e-5 if eps is None else eps, weight)

    def _rms_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, eps = bind(args, kwargs, RMS_NORM_PARAMETERS)
        if self.tracked(weight) or not self.tracked(x):
            raise UnsupportedOperationError(name_of(func), SLOPES.name)
        over = tuple(range(-len(tuple(shape)), 0))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        return self._normalised(wide, func(*args, **kwargs), over, eps, weight)

    def _share(self, operand: Tensor, *positions: tuple[str, int]) -> Tensor:
        """Of what no handler above has met."""
        raise UnsupportedOperationError("a product of two tensors in one operation", SLOPES.name)

    def _composed(self, a: Tensor, b: Tensor, x: Tensor, scale: float | None) -> Tensor:
        return self.product(torch.mul, a, b)  # with b by the rescale rule it is the rescale rule of a * b


def valued(value: Tensor, linear: Tensor) -> Tensor:
    """The value, with the derivative of something linear."""
    return value.detach() + (linear - linear.detach())
