"""Layer-wise relevance propagation: the released rules, AttnLRP and CP-LRP."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from whybert.errors import UnsupportedModelError, UsageError
from whybert.interception import ForwardPass
from whybert.lrp.composites import (
    ATTN_LRP,
    CP_LRP,
    GRADIENT,
    LIBRAGRAD,
    RULES,
    Composite,
    Rules,
    gim,
    linear_lrp,
    mixed_lrp,
    released_lrp,
)
from whybert.lrp.rules import AlphaBeta, Epsilon, Gamma, SavedLinear
from whybert.methods.base import Method, Reduction, reduce_hidden
from whybert.methods.question import Question


@dataclass(frozen=True)
class ReleasedLRP(Method):
    """`lrp`: layer-wise relevance propagation as the code released with the paper computes it.

    R = dy/dlogits * logits, which is y at the explained logit, then the rules of
    `whybert.lrp.composites.released_lrp` down to the embedding block.  A token's score is the sum of
    absolute values over hidden.

    residual: "released" counts each residual branch as the released code does: what a sub-layer
    sends down is the LRP of its dense path plus the ordinary gradient of the *whole* sub-layer, which
    holds the dense path a second time.  "once" counts it once.  "released" is defined where a sub-layer
    is followed by a residual sum and a LayerNorm; other models are refused by name.
    alpha: the weight of the positive part (0.5 in the released code).
    What is shared out in the beginning is y, so y must be linear in the logits: other quantities are refused.
    Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "lrp"
    summary: ClassVar[str] = "layer-wise relevance propagation with the released alpha-beta rule"
    source: ClassVar[str] = "Wu and Ong 2020"
    kind: ClassVar[str] = "relevance"
    place: ClassVar[int] = 3
    complete: ClassVar[bool] = True

    residual: Literal["released", "once"] = "released"
    reduction: Reduction = "absolute"
    alpha: float = field(default=0.5, metadata={"least": 0, "most": 1})

    @property
    def is_signed(self) -> bool:
        return self.reduction == "sum"

    @property
    def needs_sub_layers(self) -> bool:
        return self.residual == "released"

    @property
    def passes(self) -> str:
        return "1 forward, 2 backward" if self.residual == "released" else "1 forward, 1 backward"

    def composites(self) -> tuple[Composite, ...]:
        rules = released_lrp(self.alpha)
        return (rules, GRADIENT) if self.residual == "released" else (rules,)

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        if not question.target.is_linear:
            raise UsageError(
                f"lrp shares the logits out, and the {question.target.quantity} is no sum of them; use "
                "quantity='logit' or 'margin', or another method, such as attnlrp"
            )
        forward = question.forward(self.composites(), sub_layers=self.needs_sub_layers)
        seed = question.target.seed(question.logits) * question.logits
        rules = released_lrp(self.alpha)
        if self.residual == "once":
            relevance = forward.backward(rules, forward.logits, seed, forward.embedding)
        else:
            relevance = self._released(forward, rules, seed)
        return reduce_hidden(relevance, self.reduction), relevance

    def _released(self, forward: ForwardPass, rules: Composite, seed: Tensor) -> Tensor:
        if forward.not_post_norm is not None:
            raise UnsupportedModelError(
                "lrp with residual='released' is defined for sub-layers that end in a residual sum and a "
                f"LayerNorm, and this model is built otherwise: {forward.not_post_norm}; use residual='once'"
            )
        output, relevance = forward.logits, seed
        for sub_layer in reversed(forward.sub_layers):
            total = forward.backward(rules, output, relevance, sub_layer.total)
            dense_path = forward.backward(rules, sub_layer.dense, total, sub_layer.x)
            gradient = forward.backward(GRADIENT, sub_layer.dense, total, sub_layer.x)
            output, relevance = sub_layer.x, total + dense_path + gradient
        if output is forward.embedding:
            return relevance
        return forward.backward(rules, output, relevance, forward.embedding)


@dataclass(frozen=True)
class ModifiedGradient(Method):
    """Relevance = E * (a backward pass by changed derivatives), signed, summed over hidden.

    The pass begins with dy/dlogits.  So of a y that is not linear in the logits, such as a probability, the
    relevance is that of each class's logit times dy/dlogit, and sums to no y.
    """

    kind: ClassVar[str] = "relevance"
    complete: ClassVar[bool] = True

    @property
    @abstractmethod
    def composite(self) -> Composite:
        """The rules of the backward pass."""

    def composites(self) -> tuple[Composite, ...]:
        return (self.composite,)

    @property
    def gradient_form(self) -> Composite:
        return self.composite

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        forward = question.forward(self.composites())
        relevance = forward.embedding.detach() * forward.gradient(self.composite, question.target)
        return reduce_hidden(relevance, "sum"), relevance

    def biases(self, question: Question) -> Tensor | None:
        if not self.complete:
            return None
        return question.forward(self.composites()).biases(self.composite, question.target)


@dataclass(frozen=True)
class AttnLRP(ModifiedGradient):
    """`attnlrp`: LRP whose rules cover attention; see `whybert.lrp.composites.ATTN_LRP`.

    Source: Achtibat et al., "AttnLRP", ICML 2024 (arXiv 2402.05602).
    """

    name: ClassVar[str] = "attnlrp"
    summary: ClassVar[str] = "AttnLRP: relevance through values, queries and keys (recommended)"
    source: ClassVar[str] = "Achtibat et al. 2024"
    place: ClassVar[int] = 5

    @property
    def composite(self) -> Composite:
        return ATTN_LRP


@dataclass(frozen=True)
class CPLRP(ModifiedGradient):
    """`cp_lrp`: conservative propagation, attention weights as constants; see `CP_LRP`.

    Source: Ali et al., "XAI for Transformers", ICML 2022 (arXiv 2202.07304).
    """

    name: ClassVar[str] = "cp_lrp"
    summary: ClassVar[str] = "CP-LRP: conservative propagation, attention weights held constant"
    source: ClassVar[str] = "Ali et al. 2022"
    place: ClassVar[int] = 6

    @property
    def composite(self) -> Composite:
        return CP_LRP

    @property
    def accounts(self) -> bool:
        return True


@dataclass(frozen=True)
class LinearLRP(ModifiedGradient):
    """A rule for linear layers; all else is as in AttnLRP or CP-LRP, whichever `attention` names."""

    attention: Rules = field(default="attnlrp", kw_only=True)

    @property
    @abstractmethod
    def rule(self) -> Callable[[Tensor, SavedLinear], Tensor] | None:
        """What linear layers follow; None for their derivative."""

    @property
    def composite(self) -> Composite:
        if self.rule is None:
            return RULES[self.attention]
        return linear_lrp(self.name, self.rule, self.attention)

    @property
    def accounts(self) -> bool:
        return self.attention == "cp_lrp"


@dataclass(frozen=True)
class EpsilonLRP(LinearLRP):
    """`epsilon`: linear layers by `whybert.lrp.rules.Epsilon`, all else as in AttnLRP or CP-LRP.

    epsilon: what is added to the size of each output; at 0 it is `attention` itself.
    attention: which of the two it is.
    Source: Bach et al. 2015 (PLOS ONE 10(7)).
    """

    name: ClassVar[str] = "epsilon"
    summary: ClassVar[str] = "LRP-epsilon: outputs of linear layers near 0 hand on less"
    source: ClassVar[str] = "Bach et al. 2015"
    place: ClassVar[int] = 13

    epsilon: float = field(default=0.1, metadata={"least": 0})

    @property
    def rule(self) -> Epsilon | None:
        return None if self.epsilon == 0 else Epsilon(self.epsilon)


@dataclass(frozen=True)
class GammaLRP(LinearLRP):
    """`gamma`: linear layers by `whybert.lrp.rules.Gamma`, all else as in AttnLRP or CP-LRP.

    gamma: how much more a contribution of its output's sign counts; at 0 it is `attention` itself.
    attention: which of the two it is.
    Source: Montavon et al. 2019 (LNCS 11700, chapter 10), Andeol et al. 2021 (arXiv 2106.04923).
    """

    name: ClassVar[str] = "gamma"
    summary: ClassVar[str] = "LRP-gamma: contributions of the sign of their output count more"
    source: ClassVar[str] = "Montavon et al. 2019"
    place: ClassVar[int] = 14

    gamma: float = field(default=0.05, metadata={"least": 0})

    @property
    def rule(self) -> Gamma | None:
        return None if self.gamma == 0 else Gamma(self.gamma)


@dataclass(frozen=True)
class AlphaBetaLRP(LinearLRP):
    """`alpha_beta`: linear layers by `whybert.lrp.rules.AlphaBeta`, all else as in AttnLRP or CP-LRP.

    The signs are those of contributions, not of weights as in `lrp`.

    alpha: what positive contributions share; negative ones share alpha - 1 with a minus.
    attention: which of the two it is.
    Source: Bach et al. 2015 (PLOS ONE 10(7)).
    """

    name: ClassVar[str] = "alpha_beta"
    summary: ClassVar[str] = "LRP-alpha-beta: positive and negative contributions share apart"
    source: ClassVar[str] = "Bach et al. 2015"
    place: ClassVar[int] = 15

    alpha: float = field(default=1.0, metadata={"least": 1})

    @property
    def rule(self) -> AlphaBeta:
        return AlphaBeta(self.alpha)


@dataclass(frozen=True)
class MixedLRP(ModifiedGradient):
    """`mixed_lrp`: one of AttnLRP and CP-LRP in the lower layers of the model, the other above.

    below: how many layers are the lower ones, counted from the embedding; below 1 as a share of all layers,
        to the nearest number.
    lower, upper: the rules there.
    Tables that differ by the names of modules, and others: `whybert.lrp.composites.Mixed`.
    Source: rules that differ by depth are in Montavon et al. 2019 (LNCS 11700, chapter 10).
    """

    name: ClassVar[str] = "mixed_lrp"
    summary: ClassVar[str] = "mixed LRP: AttnLRP in the lower layers, CP-LRP above"
    source: ClassVar[str] = "whybert; after Montavon et al. 2019"
    place: ClassVar[int] = 16

    below: float = field(default=0.5, metadata={"least": 0})
    lower: Rules = "attnlrp"
    upper: Rules = "cp_lrp"

    @property
    def composite(self) -> Composite:
        return mixed_lrp(self.lower, self.upper, self.below)


@dataclass(frozen=True)
class LibraGrad(ModifiedGradient):
    """`libragrad`: gradient x input where what would make gradients too large or small is a constant.

    Attention weights, gates of activations and LayerNorm's deviation are; products are halved.  That is
    CP-LRP, but for a tanh, such as that of BERT's pooler, which keeps its derivative.
    Source: Mehri et al., "LibraGrad", CVPR 2025 (arXiv 2411.16760).
    """

    name: ClassVar[str] = "libragrad"
    summary: ClassVar[str] = "LibraGrad: gradient x input with gates, attention and deviations as constants"
    source: ClassVar[str] = "Mehri et al. 2025"
    kind: ClassVar[str] = "gradient"
    place: ClassVar[int] = 28
    complete: ClassVar[bool] = False

    @property
    def composite(self) -> Composite:
        return LIBRAGRAD


@dataclass(frozen=True)
class GIM(ModifiedGradient):
    """`gim`: gradient x input with softmax's derivative at a higher temperature.

    LayerNorm's deviation is a constant, and products are halved: V gets 1/2, Q and K 1/4, as in AttnLRP.
    Activations keep their derivative.  The paper multiplies by E - E of another text, here it is E.

    temperature: of the softmax whose derivative is taken; the attention weights are the model's.
    Source: Edin et al., "GIM: Improved Interpretability for Large Language Models", 2025 (arXiv 2505.17630).
    """

    name: ClassVar[str] = "gim"
    summary: ClassVar[str] = "GIM: gradient x input with softmax's derivative at temperature 2"
    source: ClassVar[str] = "Edin et al. 2025"
    kind: ClassVar[str] = "gradient"
    place: ClassVar[int] = 29
    complete: ClassVar[bool] = False

    temperature: float = field(default=2.0, metadata={"above": 0})

    @property
    def composite(self) -> Composite:
        return gim(self.temperature)
