"""Methods that follow attention weights: tracing, raw weights, rollout, and weights by their gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor

from whybert.errors import UnsupportedModelError, UsageError
from whybert.interception import Attention, ForwardPass
from whybert.lrp.composites import GRADIENT, Composite
from whybert.methods.base import Method
from whybert.methods.baselines import check_baseline, start
from whybert.methods.question import Question


@dataclass(frozen=True)
class AttentionMethod(Method):
    """What the classifier reads is handed down through the attention of each layer."""

    kind: ClassVar[str] = "attention"
    signed: ClassVar[bool] = False
    needs_attention: ClassVar[bool] = True

    @property
    def passes(self) -> str:
        return "1 forward"

    def traced(self, question: Question) -> ForwardPass:
        """The forward pass, whose attention is known whole.  Raises UnsupportedModelError."""
        forward = question.forward(self.composites(), attention=True, inside=self.needs_inside)
        if forward.untraceable is not None or not forward.attention:
            raise UnsupportedModelError(
                f"{self.name} traces attention weights over the positions of the text, from layer to layer, "
                f"and here {forward.untraceable or 'no attention was found'}; use another method, such as "
                "attnlrp"
            )
        return forward


def mean_of_heads(layer: Attention) -> Tensor:
    """(batch, queries, keys); half precision in float32."""
    weights = layer.weights().detach()
    return weights.to(torch.promote_types(weights.dtype, torch.float32)).mean(1)


def handed_down(read: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """r C_L ... C_1, (batch, seq): `matrices` (batch, seq, seq) from the first layer to the last."""

    def down(row: Tensor, matrix: Tensor) -> Tensor:
        return (row.to(matrix.dtype)[:, None] @ matrix)[:, 0]

    return reduce(down, reversed(matrices), read)


@dataclass(frozen=True)
class LayerwiseAttentionTracing(AttentionMethod):
    """`lat`: weight 1 on what the classifier reads, handed down through each head's attention.

    It starts in every head at the positions that the model's head uses: the first token, as in the paper,
    the last one, or a mean of several, told by `ForwardPass.read_positions`.  From the last layer to the
    first the weights of a head are multiplied by that head's attention matrix; a token's score is the sum
    over heads.  It does not depend on the target.
    Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "lat"
    summary: ClassVar[str] = "layerwise attention tracing: where the attention of what is read comes from"
    source: ClassVar[str] = "Wu and Ong 2020"
    place: ClassVar[int] = 4

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        *_, traced = self.steps(question)
        return traced.to(torch.promote_types(traced.dtype, torch.float32)).sum(1), None

    def steps(self, question: Question) -> Iterator[Tensor]:
        """Weights (batch, heads, seq): of what the classifier reads, then below each layer, the last first.

        Raises UnsupportedModelError.
        """
        forward = self.traced(question)
        traced = forward.read_positions()[:, None, None]  # (batch, 1, 1, seq)
        yield traced[:, :, 0].expand(-1, forward.attention[-1].weights().shape[1], -1)
        with torch.no_grad():
            for layer in reversed(forward.attention):
                weights = layer.weights()
                traced = torch.matmul(traced.to(weights.dtype), weights)
                yield traced[:, :, 0]


@dataclass(frozen=True)
class RawAttention(AttentionMethod):
    """`attention`: r mean_h A^h of one layer, with r what the classifier reads (see `lat`).

    layer: counted from 0 at the first layer, or from -1 at the last.
    It does not depend on the target.  The attention of a layer says what that layer reads, of states that
    have mixed the words of the text already.
    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv 1706.03762).
    """

    name: ClassVar[str] = "attention"
    summary: ClassVar[str] = "raw attention: the weights of one layer, the mean of its heads"
    source: ClassVar[str] = "Vaswani et al. 2017"
    place: ClassVar[int] = 41

    layer: int = -1

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        forward = self.traced(question)
        depth = len(forward.attention)
        if not -depth <= self.layer < depth:
            raise UsageError(
                f"expected layer of attention from 0 to {depth - 1}, or from -1, the last, to -{depth}, "
                f"found {self.layer}"
            )
        weights = mean_of_heads(forward.attention[self.layer])
        return handed_down(forward.read_positions(self.name), [weights]), None


@dataclass(frozen=True)
class AttentionRollout(AttentionMethod):
    """`rollout`: r C_L ... C_1 with C_l = (mean_h A_l^h + I) / 2, r what the classifier reads.

    The identity stands for the residual connection.  It does not depend on the target.
    Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020 (arXiv 2005.00928).
    """

    name: ClassVar[str] = "rollout"
    summary: ClassVar[str] = "attention rollout: mean attention and the residual, multiplied over layers"
    source: ClassVar[str] = "Abnar and Zuidema 2020"
    place: ClassVar[int] = 40

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        forward = self.traced(question)
        weights = [mean_of_heads(layer) for layer in forward.attention]
        mixed = [(each + torch.eye(each.shape[-1]).to(each)) / 2 for each in weights]
        return handed_down(forward.read_positions(self.name), mixed), None


@dataclass(frozen=True)
class GradientAttention(AttentionMethod):
    """`gradient_attention`: R <- R + mean_h (dy/dA^h * A^h)^+ R from R = I upward, and r R.

    r is what the classifier reads.  The identity that R starts from is in the scores: a token that the
    classifier reads has its share of 1 there.
    Source: Chefer et al., "Generic Attention-model Explainability", ICCV 2021 (arXiv 2103.15679), eq. 5-6.
    """

    name: ClassVar[str] = "gradient_attention"
    summary: ClassVar[str] = (
        "gradient attention: attention times its gradient, the positive part, over layers"
    )
    source: ClassVar[str] = "Chefer et al. 2021"
    place: ClassVar[int] = 42

    @property
    def passes(self) -> str:
        return "1 forward, 1 backward"

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        forward = self.traced(question)
        mixed = []
        for layer, gradient in zip(forward.attention, forward.of_attention(question.target), strict=True):
            weights = layer.weights().detach()
            wide = torch.promote_types(weights.dtype, torch.float32)
            relevance = (gradient.to(wide) * weights.to(wide)).clamp_min(0.0).mean(1)
            mixed.append(relevance + torch.eye(relevance.shape[-1]).to(relevance))
        return handed_down(forward.read_positions(self.name), mixed), None


@dataclass(frozen=True)
class AttCAT(AttentionMethod):
    """`attcat`: sum_l a_l * (h_l . dy/dh_l) of each token, with h_l what layer l reads.

    a_l is the attention that the token gets in layer l, the mean over heads and queries (padding does not
    ask).  The released code scales the scores of a text to 0 to 1; here they keep their signs.
    Source: Qiang et al., "AttCAT", NeurIPS 2022, and the code released with it.
    """

    name: ClassVar[str] = "attcat"
    summary: ClassVar[str] = (
        "AttCAT: gradient x state in each layer, weighted by the attention that a token gets"
    )
    source: ClassVar[str] = "Qiang et al. 2022"
    place: ClassVar[int] = 43
    signed: ClassVar[bool] = True

    @property
    def passes(self) -> str:
        return "1 forward, 1 backward"

    @property
    def needs_inside(self) -> bool:
        return True

    def composites(self) -> tuple[Composite, ...]:
        return (GRADIENT,)

    def reference(self, question: Question) -> list[Tensor | float]:
        """What is taken from h_l in each layer, the first one first."""
        return [0.0] * len(question.forward(self.composites(), attention=True, inside=True).attention)

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        forward = self.traced(question)
        states = forward.states(GRADIENT, question.target)
        asking = torch.ones_like(forward.embedding[..., 0])
        if "attention_mask" in question.inputs:
            hidden = question.positions(1 - question.inputs["attention_mask"].to(asking))
            asking = asking - hidden
        total = torch.zeros_like(asking, dtype=torch.promote_types(asking.dtype, torch.float32))
        layers = zip(states, forward.attention, self.reference(question), strict=False)
        for (state, gradient), layer, reference in layers:
            got = mean_of_heads(layer)
            got = handed_down(asking / asking.sum(1, keepdim=True).to(got), [got])
            activation = (state - reference).to(total.dtype) * gradient.to(total.dtype)
            total += got * activation.sum(-1)
        return total, None


@dataclass(frozen=True)
class ContrastCAT(AttCAT):
    """`contrast_cat`: AttCAT of h_l - r_l, with r_l what layer l reads of a reference text.

    baseline: the reference, as of `integrated_gradients`: a name of `BASELINES`, which changes the words of
    the text and keeps its length, or a text whose tokens stand in for those of the words.
    The paper takes the states of up to 30 training texts that the model gives another class, scales each map
    to 0 to 1 and averages those which do best in a deletion test on the text itself.  Here nothing is chosen
    by the metric that methods are judged by, and a reference needs no training set: unscaled maps are linear
    in r_l, so that one mean reference stands for many.
    Source: Han et al., "Contrast-CAT", UAI 2025 (arXiv 2507.21186).
    """

    name: ClassVar[str] = "contrast_cat"
    summary: ClassVar[str] = "Contrast-CAT: AttCAT of what differs from the states of a reference text"
    source: ClassVar[str] = "Han et al. 2025"
    needs: ClassVar[str] = "a mask token, or another baseline"
    place: ClassVar[int] = 44

    baseline: str = field(default="mask", metadata={"check": check_baseline})

    @property
    def passes(self) -> str:
        return "3 forward, 1 backward"

    def reference(self, question: Question) -> list[Tensor | float]:
        begin = start(question, self.baseline).embedding
        forward = question.forward(self.composites(), inside=True, at=lambda _: begin)
        return [*forward.state_values()]
