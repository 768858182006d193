"""The rules: how relevance passes backward through one operation.

Relevance travels as a gradient.  A rule that is a changed derivative (AttnLRP, CP-LRP) moves
R / x; one that is written for relevance itself (the released alpha-beta rule) moves R.  Either way it
is a function of what came from above and of what the operation saved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from whybert.lrp.operations import Elementwise

STABILISER = 1e-7
"""The constant that the released code adds to the denominators (its `epsilon`)."""


class SavedLinear(NamedTuple):
    """y = x W^T + b.  x: (..., in), weight: (out, in), bias: (out,) or None, y: (..., out).

    The weight is (..., out, in) where it is another one for each head or row of x, (..., rows, in).
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    y: Tensor


class SavedElementwise(NamedTuple):
    """y = f(x), f applied to each number."""

    x: Tensor
    y: Tensor
    function: Elementwise


class SavedLayerNorm(NamedTuple):
    """y = (x - mean) * rstd * weight + bias.  rstd is 1 / standard deviation.

    Of an RMSNorm mean is None, and rstd 1 / root mean square.
    """

    x: Tensor
    mean: Tensor | None
    rstd: Tensor
    weight: Tensor | None
    shape: tuple[int, ...]


class SavedSoftmax(NamedTuple):
    """y = softmax(x) over `axis`."""

    x: Tensor
    y: Tensor
    axis: int


# --- linear layers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightSignAlphaBeta:
    """The released alpha-beta rule, on the sign of the weight, with its rescaling of each row.

    R_in = | x * (alpha W+^T (R / z+) + (1 - alpha) W-^T (R / z-)) |, each row (the last dimension)
    rescaled by (sum R + eps) / (sum R_in + eps), with z+ = x W+ + b+ + eps and z- = x W- + b- - eps.
    Source: the code released with Wu and Ong 2020 (arXiv 2101.00196).

    Two of the four matrix products are saved: z- is z - z+, since the eps of the two cancel, and
    W-^T n = W^T n - W+^T n.
    """

    alpha: float

    def __call__(self, relevance: Tensor, saved: SavedLinear) -> Tensor:
        # Half precision cannot hold R / z for a z near 0, nor add 1e-7 to anything.
        working = torch.promote_types(relevance.dtype, torch.float32)
        R, x, W, z = (t.to(working) for t in (relevance, saved.x, saved.weight, saved.y))
        W_plus = W.clamp_min(0.0)
        b_plus = None if saved.bias is None else saved.bias.to(working).clamp_min(0.0)
        z_plus = torch.matmul(x, W_plus.mT) if W.dim() > 2 else F.linear(x, W_plus, b_plus)
        z_plus = (
            z_plus.add_(STABILISER)
            if W.dim() == 2 or b_plus is None
            else z_plus.add_(b_plus).add_(STABILISER)
        )
        # z - z+ is 0 only where rounding swallowed z- whole; the sign that eps would leave is minus.
        z_minus = torch.sub(z, z_plus)
        z_minus.masked_fill_(z_minus == 0.0, -STABILISER)
        minus = torch.div(R, z_minus, out=z_minus).mul_(1.0 - self.alpha)
        plus = torch.div(R, z_plus, out=z_plus).mul_(self.alpha).sub_(minus)
        new = torch.matmul(plus, W_plus).add_(torch.matmul(minus, W)).mul_(x).abs_()
        total = R.sum(-1, keepdim=True).add_(STABILISER)
        return new.mul_(total / new.sum(-1, keepdim=True).add_(STABILISER)).to(relevance.dtype)


@dataclass(frozen=True)
class Epsilon:
    """R_i = sum_j x_i w_ji R_j / (y_j + epsilon sign(y_j)): outputs near 0 hand on less than they have.

    As a gradient g = R / y: W^T (g |y| / (|y| + epsilon)).  The bias keeps its share, and so does epsilon.
    Source: Bach et al. 2015 (PLOS ONE 10(7)), equation 58.
    """

    epsilon: float

    def __call__(self, relevance: Tensor, saved: SavedLinear) -> Tensor:
        g, y = _wide(relevance), _wide(saved.y).abs()
        least = max(self.epsilon, torch.finfo(g.dtype).tiny)
        return torch.matmul((g * (y / (y + least))).to(relevance.dtype), saved.weight)


@dataclass(frozen=True)
class Gamma:
    """Contributions x_i w_ji of the sign of their output count 1 + gamma times.

    R_i = sum_j (c_ij + gamma c_ij^s) / (y_j + gamma z_j^s) R_j, where c_ij = x_i w_ji, ^s keeps what has the
    sign of y_j, and z_j^s is the sum of it; the bias is an input of 1.  As a gradient, all that goes up is
    multiplied by y / (y + gamma z^s), which is between 0 and 1: it needs no stabiliser.
    Source: Montavon et al. 2019 (LNCS 11700, chapter 10) for inputs of at least 0; Andeol et al. 2021
    (arXiv 2106.04923) for others, such as those of a transformer.
    """

    gamma: float

    def __call__(self, relevance: Tensor, saved: SavedLinear) -> Tensor:
        g = _wide(relevance)
        x, y, W, size = _contributions(saved)
        same = (y.abs() + size) / 2.0  # |z^s|
        whole = (y.abs() + self.gamma * same).clamp_min(torch.finfo(g.dtype).tiny)
        g = g * (y.abs() / whole)
        more = g * (1.0 + self.gamma)
        plus, minus = torch.where(y < 0.0, g, more), torch.where(y < 0.0, more, g)
        return _spread(x, W, plus, minus).to(relevance.dtype)


@dataclass(frozen=True)
class AlphaBeta:
    """Positive contributions x_i w_ji share alpha of R, negative ones -beta of it, beta = alpha - 1.

    R_i = sum_j (alpha c_ij^+ / z_j^+ - beta c_ij^- / z_j^-) R_j with c_ij = x_i w_ji; the bias is an input of
    1.  Where an output has contributions of one sign only, they share all of R.  One sign is all there is
    where the other has less than the square root of the rounding error of the whole: it is rounding itself.
    Source: Bach et al. 2015 (PLOS ONE 10(7)), equation 60.
    """

    alpha: float

    def __call__(self, relevance: Tensor, saved: SavedLinear) -> Tensor:
        g = _wide(relevance)
        x, y, W, size = _contributions(saved)
        above, below = (size + y) / 2.0, (size - y) / 2.0  # z^+ and -z^-
        least = math.sqrt(torch.finfo(g.dtype).eps) * size
        has_plus, has_minus = above > least, below > least
        relevance_of_y = g * y
        plus = torch.where(has_plus, relevance_of_y / above.masked_fill(~has_plus, 1.0), 0.0)
        minus = torch.where(has_minus, relevance_of_y / below.masked_fill(~has_minus, 1.0), 0.0)
        plus = plus * torch.where(has_minus, self.alpha, 1.0)
        minus = minus * torch.where(has_plus, self.alpha - 1.0, -1.0)
        return _spread(x, W, plus, minus).to(relevance.dtype)


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: half precision cannot hold the quotients."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _contributions(saved: SavedLinear) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, y and W, and the sum of |x_i w_ji| and |b_j| over i, (..., out): z^+ and z^- are (y +- it) / 2."""
    x, W = _wide(saved.x), _wide(saved.weight)
    b = None if saved.bias is None else _wide(saved.bias)
    size = torch.matmul(x.abs(), W.abs().mT)
    y = _wide(saved.y)
    if y.dtype != saved.y.dtype:  # what was saved is rounded, which would drown the smaller sign
        y = torch.matmul(x, W.mT)
        y = y if b is None else y + b
    return x, y, W, size if b is None else size + b.abs()


def _spread(x: Tensor, weight: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
    """sum_j w_ji * (plus_j where x_i w_ji > 0, minus_j where it is below 0); an x of 0 counts as positive."""
    size = torch.matmul(plus - minus, weight.abs())
    return (torch.matmul(plus + minus, weight) + torch.where(x < 0.0, -size, size)) / 2.0


# --- element-wise functions ------------------------------------------------------------------------


def identity(relevance: Tensor, saved: SavedElementwise) -> Tensor:
    """R passes unchanged (the released code, for GELU and tanh)."""
    return relevance


def ratio(relevance: Tensor, saved: SavedElementwise) -> Tensor:
    """f(x) / x in place of f'(x): all of f(x)'s relevance belongs to x (AttnLRP's identity rule).

    Where f(0) is not 0, as in a sigmoid, f(x) / x has no value at 0.  f(x) = f(0) + (f(x) - f(0)) is then
    taken for what it is: a constant, whose share stays with it as that of any bias, and a function for which
    the rule is defined.  It is the rescale rule of DeepLIFT between 0 and x (Shrikumar et al. 2017, arXiv
    1704.02685), and it gives tanh(x) and 2 sigmoid(2x) - 1 the same.
    """
    return _times(saved.function.ratio(saved.x, saved.y), relevance)


def gate(relevance: Tensor, saved: SavedElementwise) -> Tensor:
    """f(x) = x g(x) hands on by its gate g(x), a constant; what is no gate by its derivative (LibraGrad)."""
    if not saved.function.is_gated:
        return saved.function.derivative(relevance, saved.x, saved.y)
    return ratio(relevance, saved)


# --- softmax ---------------------------------------------------------------------------------------


def derivative(relevance: Tensor, saved: SavedSoftmax) -> Tensor:
    """The ordinary one: s (g - sum s g)."""
    return saved.y * (relevance - (saved.y * relevance).sum(saved.axis, keepdim=True))


@dataclass(frozen=True)
class Tempered:
    """The derivative of softmax where it is softer: s (g - sum s g) with s = softmax(x / temperature).

    Source: Edin et al. 2025 (arXiv 2505.17630), whose code leaves out the factor 1 / temperature too.
    """

    temperature: float

    def __call__(self, relevance: Tensor, saved: SavedSoftmax) -> Tensor:
        s = torch.softmax(_wide(saved.x) / self.temperature, saved.axis).nan_to_num(0.0)
        g = _wide(relevance)
        return (s * (g - (s * g).sum(saved.axis, keepdim=True))).to(relevance.dtype)


# --- LayerNorm -------------------------------------------------------------------------------------


def constant_deviation(relevance: Tensor, saved: SavedLayerNorm) -> Tensor:
    """The standard deviation is a constant, the mean is not (Ali et al. 2022; AttnLRP)."""
    scaled = relevance * saved.rstd if saved.weight is None else _times(relevance * saved.weight, saved.rstd)
    dimensions = tuple(range(-len(saved.shape), 0))
    return scaled if saved.mean is None else scaled.sub_(scaled.mean(dimensions, keepdim=True))


def _times(own: Tensor, other: Tensor) -> Tensor:
    """own * other, in the memory of `own`, which nothing else needs: large tensors are dear to make."""
    return own.mul_(other) if own.dtype == other.dtype else own * other
