"""Gradient sensitivity and gradient x input (Wu and Ong 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from whybert.interception import ForwardPass
from whybert.lrp.composites import GRADIENT, Composite
from whybert.methods.base import Method, Reduction, reduce_hidden
from whybert.targets import ResolvedTarget


def _scaled_gradient(forward: ForwardPass, target: ResolvedTarget) -> Tensor:
    """g = y * dy/dE, (batch, seq, hidden): the released code seeds the backward pass with y itself."""
    logits = forward.logits.detach()
    gradient = forward.gradient(GRADIENT, target)
    return gradient * target.output(logits)[:, None, None]


@dataclass(frozen=True)
class GradientSensitivity(Method):
    """`gs`: g = y * dy/dE; a token's score is the squared L2 norm of g over hidden.

    y is the explained output, E the output of the embedding block.
    Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "gs"
    summary: ClassVar[str] = "gradient sensitivity: how fast the output changes with each token"
    source: ClassVar[str] = "Wu and Ong 2020"
    signed: ClassVar[bool] = False

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def attribute(self, forward: ForwardPass, target: ResolvedTarget) -> tuple[Tensor, Tensor]:
        relevance = _scaled_gradient(forward, target)
        return reduce_hidden(relevance, "squared_norm"), relevance


@dataclass(frozen=True)
class GradientTimesInput(Method):
    """`gi`: g * E with g = y * dy/dE; by default the squared L2 norm over hidden.

    reduction: "squared_norm" (the released code) or "sum" (signed, as the field computes it today).
    Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "gi"
    summary: ClassVar[str] = "gradient x input: the gradient weighted by the token's embedding"
    source: ClassVar[str] = "Wu and Ong 2020"

    reduction: Reduction = "squared_norm"

    @property
    def is_signed(self) -> bool:
        return self.reduction == "sum"

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def attribute(self, forward: ForwardPass, target: ResolvedTarget) -> tuple[Tensor, Tensor]:
        relevance = _scaled_gradient(forward, target) * forward.embedding.detach()
        return reduce_hidden(relevance, self.reduction), relevance
