"""Gradients at texts whose embeddings are shaken: their mean, and how much they vary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from whybert.methods.base import Method, reduce_hidden
from whybert.methods.path import summed
from whybert.methods.question import Question
from whybert.positions import in_order


@dataclass(frozen=True)
class Shaken(Method):
    """Gradients g_k = dy/dE (E + n_k), n_k of a normal distribution at each token that is no padding.

    Where a model looks its words up in several places, n_k is another one in each.

    samples: how many.
    noise: the standard deviation of n_k, in those of the numbers of the text's own E, of the first place.
    seed: of what is drawn; the same text is shaken in the same way wherever it stands.
    """

    kind: ClassVar[str] = "gradient"
    signed: ClassVar[bool] = False

    samples: int = field(default=50, metadata={"least": 1})
    noise: float = field(default=0.1, metadata={"least": 0})
    seed: int = field(default=0, metadata={"least": 0})

    @property
    def passes(self) -> str:
        return f"{self.samples + 1} forward, {self.samples} backward"

    def shaken(self, question: Question) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The rows and the points of `Question.gradients`, which are asked for once and in order."""
        embedding = question.shared.forward.embedding.detach()
        wide = torch.promote_types(embedding.dtype, torch.float32)
        is_token = question.is_token
        standing = question.shared.forward.standing or in_order(question.inputs["input_ids"])
        counts = is_token.sum(1).tolist()
        scale = torch.stack(
            [
                row[kept].std(correction=0)
                for row, kept in zip(embedding.to(wide), standing.first(is_token), strict=True)
            ]
        )
        generators = question.generators(self.seed)
        rows = torch.arange(len(embedding), device=embedding.device).repeat(self.samples)

        def points(places: Tensor) -> Tensor:
            found = embedding[rows[places]].to(wide)
            for point, row in zip(found, rows[places].tolist(), strict=True):
                shape = counts[row], embedding.shape[-1]
                draw = partial(torch.randn, shape, generator=generators[row], dtype=torch.float64)
                drawn = standing.drawn(is_token, row, draw)
                point += self.noise * scale[row] * drawn.to(point)
            return found.to(embedding.dtype)

        return rows, points


@dataclass(frozen=True)
class SmoothGrad(Shaken):
    """`smoothgrad`: the mean of the gradients of a text that is shaken.

    g = mean_k dy/dE (E + n_k).

    samples, noise, seed: see `Shaken`; the paper's noise is relative to the range of the input, which in a
        transformer a few of the hidden dimensions make.
    reduction: "norm" is the norm of g over hidden, "absolute" the sum of its absolute values, "input" the
        signed sum of E * g.
    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017 (arXiv 1706.03825).
    """

    name: ClassVar[str] = "smoothgrad"
    summary: ClassVar[str] = "SmoothGrad: the mean gradient of a text that is shaken"
    source: ClassVar[str] = "Smilkov et al. 2017"
    place: ClassVar[int] = 25

    reduction: Literal["norm", "absolute", "input"] = "norm"

    @property
    def is_signed(self) -> bool:
        return self.reduction == "input"

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        embedding = question.shared.forward.embedding.detach()
        rows, points = self.shaken(question)
        wide = torch.promote_types(embedding.dtype, torch.float32)
        weights = torch.full(rows.shape, 1.0 / self.samples, dtype=wide, device=rows.device)
        mean = summed(question, rows, points, weights)
        if self.reduction == "input":
            mean = mean * embedding
        return reduce_hidden(mean, "sum" if self.reduction == "input" else self.reduction), mean


@dataclass(frozen=True)
class VarGrad(Shaken):
    """`vargrad`: how much the gradients of a text vary when it is shaken.

    R = mean_k g_k^2 - (mean_k g_k)^2 for each number of E, summed over hidden.

    samples, noise, seed: see `Shaken`.
    Source: Adebayo et al., "Local explanation methods for deep neural networks lack sensitivity to parameter
    values", 2018 (arXiv 1810.03307).
    """

    name: ClassVar[str] = "vargrad"
    summary: ClassVar[str] = "VarGrad: the variance of the gradients of a text that is shaken"
    source: ClassVar[str] = "Adebayo et al. 2018"
    place: ClassVar[int] = 27

    samples: int = field(default=50, metadata={"least": 2})  # one has no variance
    noise: float = field(default=0.1, metadata={"above": 0})

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        embedding = question.shared.forward.embedding.detach()
        mean = torch.zeros_like(embedding, dtype=torch.promote_types(embedding.dtype, torch.float32))
        squares, seen = torch.zeros_like(mean), [0] * len(embedding)
        rows, points = self.shaken(question)
        for places, gradients in question.gradients(rows, points):
            each = zip(rows[places].tolist(), gradients.to(mean.dtype), strict=True)
            for row, gradient in each:  # Welford 1962
                seen[row] += 1
                change = gradient - mean[row]
                mean[row] += change / seen[row]
                squares[row] += change * (gradient - mean[row])
        variance = squares / self.samples
        return variance.sum(-1), variance
