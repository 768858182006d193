"""Gradients along ways from a baseline to the text, whose sums are changes of the output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from whybert.lrp.composites import GRADIENT, Composite
from whybert.methods.base import Method, reduce_hidden
from whybert.methods.baselines import (
    Start,
    at_tokens,
    check_baseline,
    check_random_baseline,
    start,
    vocabulary,
)
from whybert.methods.question import Question, Unit

Rule = Literal["gauss_legendre", "midpoint"]


def quadrature(rule: Rule, count: int) -> tuple[Tensor, Tensor]:
    """Shares of the way and their weights, (count,) each, for an integral over (0, 1).

    The nodes of Gauss and Legendre are the eigenvalues of a tridiagonal matrix, their weights twice the
    squares of the first entries of its eigenvectors, both for (-1, 1) (Golub and Welsch 1969).
    """
    if rule == "midpoint":
        nodes = (torch.arange(count).double() + 0.5) / count
        return nodes, torch.full_like(nodes, 1.0 / count)
    order = torch.arange(1, count).double()
    beside = order / (4 * order**2 - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


def summed(
    question: Question,
    rows: Tensor,
    points: Callable[[Tensor], Tensor],
    weights: Tensor,
    composite: Composite = GRADIENT,
) -> Tensor:
    """The weighted sum of the gradients at the points of each row, (batch, positions, hidden).

    Args:
        rows, points, composite: see `Question.gradients`.
        weights: (points,), or (points, positions) where they differ within a point.
    """
    total = torch.zeros_like(question.shared.forward.embedding, dtype=weights.dtype)
    for places, gradient in question.gradients(rows, points, composite):
        weighted = gradient.to(weights.dtype) * weights[places].view(len(places), -1, 1)
        # a product of matrices, since a sum by index has no order of its own on a GPU
        owners = F.one_hot(rows[places], len(total)).to(weights.dtype)
        total += torch.einsum("kb,kph->bph", owners, weighted)
    return total


def integral(question: Question, begin: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """(E - B) * sum_s w_s dy/dE (B + a_s (E - B)), (batch, positions, hidden); as for `along`."""
    mean = along(question, begin, shares, weights)
    return (question.shared.forward.embedding.detach() - begin).to(mean.dtype) * mean


def along(
    question: Question, begin: Tensor, shares: Tensor, weights: Tensor, composite: Composite = GRADIENT
) -> Tensor:
    """sum_s w_s dy/dE (B + a_s (E - B)), (batch, positions, hidden), by the rules of a composite.

    Args:
        begin: B, (batch, positions, hidden).
        shares, weights: a and w, (steps,) for all rows or (steps, batch).
    """
    end = question.shared.forward.embedding.detach()
    wide = torch.promote_types(end.dtype, torch.float32)
    batch, steps = len(end), len(shares)
    flat = [
        each.to(end.device, wide).view(steps, -1).expand(-1, batch).flatten() for each in (shares, weights)
    ]
    rows = torch.arange(batch, device=end.device).repeat(steps)
    way = (end - begin).to(wide)

    def points(places: Tensor) -> Tensor:
        chosen = rows[places]
        return (begin[chosen] + flat[0][places].view(-1, 1, 1) * way[chosen]).to(end.dtype)

    return summed(question, rows, points, flat[1], composite)


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """`integrated_gradients`: (E - B) * the mean gradient on the straight way from a baseline B to E.

    R = (E - B) * integral over a from 0 to 1 of dy/dE (B + a (E - B)), summed over hidden; the scores and the
    output at the baseline sum to the output, but for the error of the integral.

    n_steps: points on the way.
    baseline: what the words become, an entry of `BASELINES` or a text; see `whybert.methods.baselines`.
    rule: where the points are: "gauss_legendre" is exact for polynomials of degree 2 n_steps - 1.
    Source: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017
    (arXiv 1703.01365), equation 1.
    """

    name: ClassVar[str] = "integrated_gradients"
    summary: ClassVar[str] = (
        "integrated gradients: the gradient averaged on the way from a baseline to the text"
    )
    source: ClassVar[str] = "Sundararajan et al. 2017"
    kind: ClassVar[str] = "gradient"
    needs: ClassVar[str] = "a mask token, or another baseline"
    place: ClassVar[int] = 21
    complete: ClassVar[bool] = True
    rest: ClassVar[str] = "baseline"

    n_steps: int = field(default=50, metadata={"least": 1, "most": 2000})
    baseline: str = field(default="mask", metadata={"check": check_baseline})
    rule: Rule = "gauss_legendre"

    @property
    def passes(self) -> str:
        return f"{self.n_steps + 2} forward, {self.n_steps} backward"

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        begin = start(question, self.baseline).embedding
        relevance = integral(question, begin, *quadrature(self.rule, self.n_steps))
        return reduce_hidden(relevance, "sum"), relevance

    def biases(self, question: Question) -> Tensor:
        return question.target.output(start(question, self.baseline).logits)


@dataclass(frozen=True)
class GradientShap(Method):
    """`gradient_shap`: expected gradients, integrated gradients averaged over random baselines and points.

    R = mean over baselines B and shares a of (E - B) * dy/dE (B + a (E - B)), summed over hidden.  The scores
    and the mean output at the baselines sum to the output in expectation.

    samples: gradients of a text; each baseline has as many as any other, at most one more, at random shares
        of equal parts of the way.
    baseline: "random" draws `texts` baselines for each text, in each of which every word token is one drawn
        uniformly from the vocabulary, special tokens left out; any other is a baseline of
        `IntegratedGradients`, and only the shares are random.
    texts: how many baselines are drawn.
    seed: of what is drawn; the same text has the same baselines wherever it stands.
    Source: Erion et al., "Improving performance of deep learning models with axiomatic attribution priors and
    expected gradients", 2021 (arXiv 1906.10670), equation 3; GradientExplainer of Lundberg and Lee.
    """

    name: ClassVar[str] = "gradient_shap"
    summary: ClassVar[str] = "expected gradients: integrated gradients over random baselines"
    source: ClassVar[str] = "Erion et al. 2021"
    kind: ClassVar[str] = "gradient"
    needs: ClassVar[str] = "a tokenizer, or another baseline"
    place: ClassVar[int] = 24
    complete: ClassVar[bool] = True
    rest: ClassVar[str] = "baseline"

    samples: int = field(default=50, metadata={"least": 1})
    baseline: str = field(default="random", metadata={"check": check_random_baseline})
    texts: int = field(default=10, metadata={"least": 1})
    seed: int = field(default=0, metadata={"least": 0})

    @property
    def passes(self) -> str:
        return f"{self.samples + self._starts + 1} forward, {self.samples} backward"

    @property
    def _starts(self) -> int:
        return min(self.texts, self.samples) if self.baseline == "random" else 1

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        generators = question.generators(self.seed)
        outputs = []
        relevance = torch.zeros((), device=question.logits.device)
        for index in range(self._starts):
            begin = self._start(question, generators)
            count = len(range(index, self.samples, self._starts))
            drawn = torch.stack(
                [torch.rand(count, generator=each, dtype=torch.float64) for each in generators], 1
            )
            shares = (torch.arange(count)[:, None] + drawn) / count
            weights = torch.full((count,), 1.0 / count / self._starts, dtype=torch.float64)
            relevance = relevance + integral(question, begin.embedding, shares, weights)
            outputs.append(begin.logits)
        question.found[self] = torch.stack(outputs)
        return reduce_hidden(relevance, "sum"), relevance

    def _start(self, question: Question, generators: list[torch.Generator]) -> Start:
        if self.baseline != "random":
            return start(question, self.baseline)
        known = vocabulary(question)
        lengths = [max(1, len(units)) for units in question.units("token")]
        drawn = [
            known[torch.randint(len(known), (length,), generator=generator)].tolist()
            for length, generator in zip(lengths, generators, strict=True)
        ]
        return at_tokens(question, drawn)

    def biases(self, question: Question) -> Tensor:
        return torch.stack([question.target.output(logits) for logits in question.found[self]]).mean(0)


@dataclass(frozen=True)
class SequentialIntegratedGradients(Method):
    """`sequential_ig`: for each token integrated gradients on the way on which it alone is changed.

    R_i = (E_i - B_i) * integral over a from 0 to 1 of dy/dE_i (E, with E_i moved to B_i + a (E_i - B_i)).
    Summed over hidden, as it is done, this is the change of the output when the token alone becomes the
    baseline: occlusion, up to the error of the integral, at `n_steps` times its cost.

    n_steps, baseline, rule: as for `IntegratedGradients`.
    unit: what is moved as one.
    Source: Enguehard, "Sequential Integrated Gradients: a simple but effective method for explaining language
    models", Findings of ACL 2023 (arXiv 2305.15853), equation 3.
    """

    name: ClassVar[str] = "sequential_ig"
    summary: ClassVar[str] = "sequential integrated gradients: for each token a way of its own"
    source: ClassVar[str] = "Enguehard 2023"
    kind: ClassVar[str] = "gradient"
    needs: ClassVar[str] = "a mask token, or another baseline"
    place: ClassVar[int] = 26

    n_steps: int = field(default=10, metadata={"least": 1, "most": 2000})
    baseline: str = field(default="mask", metadata={"check": check_baseline})
    rule: Rule = "gauss_legendre"
    unit: Unit = "token"

    @property
    def passes(self) -> str:
        return f"2 + {self.n_steps} n forward, {self.n_steps} n backward for n {self.unit}s"

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        end = question.shared.forward.embedding.detach()
        wide = torch.promote_types(end.dtype, torch.float32)
        way = (end - start(question, self.baseline).embedding).to(wide)
        shares, weights = (each.to(end.device, wide) for each in quadrature(self.rule, self.n_steps))
        units = [(row, unit) for row, found in enumerate(question.units(self.unit)) for unit in found]
        moved = torch.zeros((len(units), question.inputs["input_ids"].shape[1]), dtype=wide)
        for index, (_, unit) in enumerate(units):
            moved[index, list(unit)] = 1.0
        rows = torch.tensor([row for row, _ in units], dtype=torch.long, device=end.device)
        moved = question.positions(moved.to(end.device), rows)

        def points(places: Tensor) -> Tensor:
            unit, step = places // self.n_steps, places % self.n_steps
            back = moved[unit, :, None] * (1.0 - shares[step]).view(-1, 1, 1)
            return (end[rows[unit]] - back * way[rows[unit]]).to(end.dtype)

        each = moved.repeat_interleave(self.n_steps, 0) * weights.repeat(len(units))[:, None]
        relevance = way * summed(question, rows.repeat_interleave(self.n_steps), points, each)
        return reduce_hidden(relevance, "sum"), relevance
