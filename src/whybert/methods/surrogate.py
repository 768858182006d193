"""Linear models of what the classifier says without some words: LIME and Kernel SHAP."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from whybert.methods.game import GameMethod, all_subsets, check_samples, subsets
from whybert.methods.question import Question


@dataclass(frozen=True)
class LIME(GameMethod):
    """`lime`: the coefficients of a linear model of the output around the text.

    z in {0, 1}^n says which of n units are left.  The first of the `samples` is the text itself; in the rest
    the number of units that are taken away is uniform over 1 .. n, and so is which they are.  With weights pi
    and z' = z - sum(pi z) / sum(pi), y' likewise,

        beta = (Z'^T diag(pi) Z' + ridge I)^-1 Z'^T diag(pi) y'
        pi(z) = sqrt(exp(-d(z)^2 / kernel_width^2)),   d(z) = 100 (1 - cos(z, 1)) = 100 (1 - sqrt(|z| / n))

    which is `LimeTextExplainer` of the authors' package with its defaults (cosine distance, width 25, ridge
    1), but for two things: a word is one place in the text, not all places that it stands at, and all words
    are in the model.  The intercept is no token's, so there are no books.
    Source: Ribeiro, Singh and Guestrin 2016 (arXiv 1602.04938), equations 1 and 2, and the package lime.
    """

    name: ClassVar[str] = "lime"
    summary: ClassVar[str] = "LIME: a linear model of the output on texts with words taken away"
    source: ClassVar[str] = "Ribeiro et al. 2016"
    place: ClassVar[int] = 62

    samples: int = field(default=1000, metadata={"least": 2})
    seed: int = field(default=0, metadata={"least": 0})
    kernel_width: float = field(default=25.0, metadata={"above": 0})
    ridge: float = field(default=1.0, metadata={"above": 0})

    @property
    def passes(self) -> str:
        return f"{self.samples} forward"

    def values(self, question: Question) -> list[Tensor]:
        kept = []
        for count, generator in zip(self.players(question), question.generators(self.seed), strict=True):
            check_samples(self.samples, count)
            sizes = torch.randint(1, count + 1, (self.samples - 1,), generator=generator) if count else None
            sets = torch.ones(self.samples, count, dtype=torch.bool)
            if sizes is not None:
                sets[1:] = ~subsets(sizes, count, generator)
            kept.append(sets)
        outputs = self.worth(question, kept)
        return [self._fit(z.double(), y) for z, y in zip(kept, outputs, strict=True)]

    def _fit(self, z: Tensor, y: Tensor) -> Tensor:
        """The coefficients (units,) from sets (sets, units) and outputs (sets,)."""
        distance = 100.0 * (1.0 - (z.sum(1) / max(1, z.shape[1])).sqrt())
        weights = torch.exp(-distance.square() / self.kernel_width**2).sqrt()
        shares = weights / weights.sum()
        z, y = z - shares @ z, y - shares @ y
        weighted = z.T * weights
        ridge = self.ridge * torch.eye(z.shape[1], dtype=torch.float64)
        solved: Tensor = torch.linalg.solve(weighted @ z + ridge, weighted @ y)
        return solved


@dataclass(frozen=True)
class KernelSHAP(GameMethod):
    """`kernel_shap`: Shapley values as the linear model that weighs sets of units by the Shapley kernel.

    v(S) is the output when only the units of S are left, n how many there are, s = |S|:

        min over phi of sum over S of k(s) (v(S) - v({}) - sum of phi_i in S)^2,   0 < s < n
        so that sum of phi_i = v(all) - v({});   k(s) = (n - 1) / (C(n, s) s (n - s))

    Where all 2^n sets are within `samples` each is asked once, and the values are the Shapley values.  Else
    the sizes 1 and n - 1, 2 and n - 2, ... are asked whole as long as their part of the budget lets them; the
    other sets are drawn by the kernel, each with its complement, and share its weight (as the package shap
    does, without its selection of features).  The sum is exact in any case.  Where a fit is not determined,
    the values nearest to equal ones are taken.
    Source: Lundberg and Lee 2017 (arXiv 1705.07874), theorem 2; paired draws: Covert and Lee 2021.
    """

    name: ClassVar[str] = "kernel_shap"
    summary: ClassVar[str] = "Kernel SHAP: Shapley values by a linear model with the Shapley kernel"
    source: ClassVar[str] = "Lundberg and Lee 2017"
    place: ClassVar[int] = 63
    complete: ClassVar[bool] = True

    samples: int = field(default=1000, metadata={"least": 4})
    seed: int = field(default=0, metadata={"least": 0})

    @property
    def passes(self) -> str:
        return f"at most {self.samples} forward"

    def values(self, question: Question) -> list[Tensor]:
        drawn = [
            _by_kernel(count, self.samples - 2, generator)
            for count, generator in zip(self.players(question), question.generators(self.seed), strict=True)
        ]
        ends = [
            torch.stack([torch.zeros(sets.shape[1]), torch.ones(sets.shape[1])]).bool() for sets, _ in drawn
        ]
        kept = [torch.cat([pair, sets]) for pair, (sets, _) in zip(ends, drawn, strict=True)]
        found = zip(drawn, self.worth(question, kept), strict=True)
        return [_constrained(sets.double(), weights, outputs) for (sets, weights), outputs in found]


def _by_kernel(players: int, budget: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sets (sets, players) that are neither empty nor whole, and the weights of each in the fit."""
    sizes = range(1, players)
    mass = {size: (players - 1) / (size * (players - size)) for size in sizes}  # of all sets of a size
    if players < 2:
        return torch.zeros(0, players, dtype=torch.bool), torch.zeros(0, dtype=torch.float64)
    check_samples(budget + 2, players, are_distinct=True)
    if 2**players - 2 <= budget:
        sets = all_subsets(players)[1:-1]
        counts = sets.sum(1).tolist()
        weights = [mass[count] / math.comb(players, count) for count in counts]
        return sets, torch.tensor(weights, dtype=torch.float64)
    kept, weights = [], []
    for size in range(1, players // 2 + 1):
        both = {size, players - size}
        whole = len(both) * math.comb(players, size)
        left = sum(mass.values())
        if whole > budget * sum(mass[each] for each in both) / left:
            break
        chosen = torch.combinations(torch.arange(players), size)
        sets = torch.zeros(len(chosen), players, dtype=torch.bool).scatter_(1, chosen, True)
        for each in both:
            kept.append(sets if each == size else ~sets)
            weights += [mass.pop(each) / len(sets)] * len(sets)
        budget -= whole
    pairs = budget // 2
    if mass and pairs:
        chances = torch.tensor(list(mass.values()), dtype=torch.float64)
        drawn = torch.multinomial(chances, pairs, replacement=True, generator=generator)
        sets = subsets(torch.tensor(list(mass))[drawn], players, generator)
        kept += [sets, ~sets]
        weights += [float(chances.sum()) / (2 * pairs)] * (2 * pairs)
    return torch.cat(kept), torch.tensor(weights, dtype=torch.float64)


def _constrained(z: Tensor, weights: Tensor, outputs: Tensor) -> Tensor:
    """phi (players,) whose sum is exact, the least squares solution nearest to equal parts.

    outputs: (2 + sets,), those of nobody and of all first.
    """
    nobody, everybody = map(float, outputs[:2])
    players = z.shape[1]
    equal = (everybody - nobody) / max(1, players)
    root = weights.sqrt()
    y = outputs[2:] - nobody - z.sum(1) * equal
    z = z - z.mean(1, keepdim=True)  # what is added to equal parts sums to 0
    if not len(z):
        return torch.full((players,), equal, dtype=torch.float64)
    solved: Tensor = torch.linalg.lstsq(z * root[:, None], (y * root)[:, None], driver="gelsd").solution[:, 0]
    return solved + (equal - float(solved.mean()))
