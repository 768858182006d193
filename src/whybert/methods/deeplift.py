"""DeepLIFT: what changes between a baseline and the text, handed down by slopes instead of derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from whybert.errors import UnsupportedModelError
from whybert.foreign import kind_of
from whybert.interception import run
from whybert.interception.pairs import SLOPES, Pairs
from whybert.methods.base import Method, reduce_hidden
from whybert.methods.baselines import check_baseline, start
from whybert.methods.path import quadrature
from whybert.methods.question import Question
from whybert.perturbation import most_together
from whybert.targets import ResolvedTarget


@dataclass(frozen=True)
class DeepLift(Method):
    """`deeplift`: (E - B) * multipliers, which are slopes between a baseline B and the text.

    Each operation hands on (f(x) - f(x0)) / (x - x0) in place of f'(x); how this is for products, softmax and
    LayerNorm is said by `whybert.interception.pairs`.  The scores and the output at the baseline sum to the
    output exactly, of any quantity: a model in which they do not is refused.

    baseline: what the words become, as for `IntegratedGradients`.
    Source: Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating Activation
    Differences", ICML 2017 (arXiv 1704.02685), section 3.5.1; products, softmax and LayerNorm are whybert's.
    """

    name: ClassVar[str] = "deeplift"
    summary: ClassVar[str] = "DeepLIFT: slopes between a baseline and the text, exact through attention"
    source: ClassVar[str] = "Shrikumar et al. 2017"
    kind: ClassVar[str] = "gradient"
    needs: ClassVar[str] = "a mask token, or another baseline"
    place: ClassVar[int] = 23
    complete: ClassVar[bool] = True
    rest: ClassVar[str] = "baseline"

    baseline: str = field(default="mask", metadata={"check": check_baseline})

    @property
    def passes(self) -> str:
        return "4 forward, 2 backward"

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        end, begin = question.shared.forward.embedding.detach(), start(question, self.baseline).embedding
        wide = torch.promote_types(end.dtype, torch.float32)
        found = []
        size = most_together(end.shape[1], 32)
        for first in range(0, len(end), size):
            rows = torch.arange(first, min(first + size, len(end)), device=end.device)
            both = torch.cat([end[rows], begin[rows]])
            forward = run(
                question.model,
                question.inputs_of(rows.repeat(2)),
                (SLOPES,),
                at=lambda _, both=both: both,  # type: ignore[misc]
                kind=Pairs,
            )
            seed = slope_of(question.target.select(rows), *forward.logits.detach().chunk(2))
            seed = torch.cat([seed, torch.zeros_like(seed)]).to(forward.logits.dtype)
            multipliers = forward.backward(SLOPES, forward.logits, seed, forward.embedding)[: len(rows)]
            found.append((end[rows] - begin[rows]).to(wide) * multipliers.to(wide))
        relevance = torch.cat(found)
        self._check(question, relevance)
        return reduce_hidden(relevance, "sum"), relevance

    def biases(self, question: Question) -> Tensor:
        return question.target.output(start(question, self.baseline).logits)

    def _check(self, question: Question, relevance: Tensor) -> None:
        """Raise where the property that everything rests on does not hold: some operation was misread."""
        output, rest = question.target.output(question.logits), self.biases(question)
        sizes = relevance.abs().flatten(1).sum(1) + output.abs() + rest.abs()
        gap = (output - rest - relevance.flatten(1).sum(1)).abs()
        worst = int((gap / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)).argmax())
        if gap[worst] > max(1e-4, 10 * torch.finfo(question.logits.dtype).eps) * sizes[worst]:
            raise UnsupportedModelError(
                f"deeplift takes what changes in {kind_of(question.model)} from a baseline apart, and the "
                f"parts sum to {float(relevance[worst].sum()):.3g} where the output changes by "
                f"{float(output[worst] - rest[worst]):.3g}; use another method, such as integrated_gradients"
            )


def slope_of(target: ResolvedTarget, logits: Tensor, begin: Tensor) -> Tensor:
    """Multipliers m (batch, labels) with sum m (z - z0) = y(z) - y(z0), z the logits and z0 the baseline's.

    The mean of dy/dz on the straight way; what the integral leaves, as at the kinks of a margin, goes to the
    logits by their own change.
    """
    logits, begin = logits.double(), begin.double()
    way = logits - begin
    seed = torch.zeros_like(logits)
    for share, weight in zip(*quadrature("gauss_legendre", 1 if target.is_linear else 32), strict=True):
        seed += weight.item() * target.seed(begin + share.item() * way)
    left = target.output(logits) - target.output(begin) - (seed * way).sum(-1)
    length = way.square().sum(-1, keepdim=True)
    return seed + left[:, None] * way / length.masked_fill(length == 0.0, 1.0)
