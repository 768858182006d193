"""The gradient of one pass: as Wu and Ong (2020) have it, and as the field has it today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from whybert.lrp.composites import GRADIENT, Composite
from whybert.methods.base import Method, Reduction, reduce_hidden
from whybert.methods.question import Question


def _output(question: Question) -> Tensor:
    """y, (batch, 1, 1): the released code seeds the backward pass with y itself, so its g is y * dy/dE."""
    return question.target.output(question.logits)[:, None, None]


@dataclass(frozen=True)
class GradientSensitivity(Method):
    """`gs`: g = y * dy/dE; a token's score is the squared L2 norm of g over hidden.

    y is the explained output, E the embedding at the attribution point.  The factor y is the same for all
    tokens of a text: it changes no rank, and where y is a log-probability near 0 all scores are near 0.
    Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "gs"
    summary: ClassVar[str] = "gradient sensitivity: how fast the output changes with each token"
    source: ClassVar[str] = "Wu and Ong 2020"
    kind: ClassVar[str] = "gradient"
    place: ClassVar[int] = 1
    signed: ClassVar[bool] = False

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        relevance = question.forward((GRADIENT,)).gradient(GRADIENT, question.target) * _output(question)
        return reduce_hidden(relevance, "squared_norm"), relevance


@dataclass(frozen=True)
class GradientTimesInput(Method):
    """`gi`: gradient x input.

    reduction: "squared_norm" is the released code's squared L2 norm of y * dy/dE * E over hidden, "absolute"
    the sum of its absolute values.  "sum" is the signed sum of dy/dE * E, as the field computes it today:
    without the factor y, which would turn all signs round where y is negative.
    Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "gi"
    summary: ClassVar[str] = "gradient x input: the gradient weighted by the token's embedding"
    source: ClassVar[str] = "Wu and Ong 2020"
    kind: ClassVar[str] = "gradient"
    place: ClassVar[int] = 2

    reduction: Reduction = "squared_norm"

    @property
    def is_signed(self) -> bool:
        return self.reduction == "sum"

    @property
    def gradient_form(self) -> Composite | None:
        return GRADIENT if self.reduction == "sum" else None

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        forward = question.forward((GRADIENT,))
        relevance = forward.gradient(GRADIENT, question.target) * forward.embedding.detach()
        if not self.is_signed:
            relevance = relevance * _output(question)
        return reduce_hidden(relevance, self.reduction), relevance


@dataclass(frozen=True)
class Saliency(Method):
    """`saliency`: the size of the gradient dy/dE.

    reduction: "norm" is its norm over hidden, "absolute" the sum of its absolute values.
    Source: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", 2013 (arXiv 1312.6034); for
    text Li et al. 2016 (arXiv 1506.01066).
    """

    name: ClassVar[str] = "saliency"
    summary: ClassVar[str] = "saliency: the size of the gradient at each token"
    source: ClassVar[str] = "Simonyan et al. 2013"
    kind: ClassVar[str] = "gradient"
    place: ClassVar[int] = 22
    signed: ClassVar[bool] = False

    reduction: Literal["norm", "absolute"] = "norm"

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        gradient = question.forward((GRADIENT,)).gradient(GRADIENT, question.target)
        return reduce_hidden(gradient, self.reduction), gradient


@dataclass(frozen=True)
class InputTimesGradient(Method):
    """`input_x_gradient`: E * dy/dE, signed, summed over hidden; `gi:reduction=sum` under its usual name.

    Source: Shrikumar et al., "Not just a black box", 2016 (arXiv 1605.01713).
    """

    name: ClassVar[str] = "input_x_gradient"
    summary: ClassVar[str] = "input x gradient: the gradient times the embedding, signed"
    source: ClassVar[str] = "Shrikumar et al. 2016"
    kind: ClassVar[str] = "gradient"
    place: ClassVar[int] = 20

    @property
    def gradient_form(self) -> Composite:
        return GRADIENT

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        return GradientTimesInput("sum").attribute(question)
