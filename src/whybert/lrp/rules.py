"""The rules: how relevance passes backward through one operation.

Relevance travels as a gradient.  A rule that is a changed derivative (AttnLRP, CP-LRP) moves
R / x; one that is written for relevance itself (the released alpha-beta rule) moves R.  Either way it
is a function of what came from above and of what the operation saved.
"""

from __future__ import annotations

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


# --- element-wise functions ------------------------------------------------------------------------


def identity(relevance: Tensor, saved: SavedElementwise) -> Tensor:
    """R passes unchanged (the released code, for GELU and tanh)."""
    return relevance


def ratio(relevance: Tensor, saved: SavedElementwise) -> Tensor:
    """f(x) / x in place of f'(x): all of f(x)'s relevance belongs to x (AttnLRP's identity rule)."""
    return relevance * saved.function.ratio(saved.x, saved.y)


# --- LayerNorm -------------------------------------------------------------------------------------


def constant_deviation(relevance: Tensor, saved: SavedLayerNorm) -> Tensor:
    """The standard deviation is a constant, the mean is not (Ali et al. 2022; AttnLRP)."""
    scaled = relevance * saved.rstd if saved.weight is None else relevance * saved.weight * saved.rstd
    dimensions = tuple(range(-len(saved.shape), 0))
    return scaled if saved.mean is None else scaled - scaled.mean(dimensions, keepdim=True)
