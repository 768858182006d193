"""The few-pass methods: LRP of several changed versions of a text, put together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor

from whybert.lrp.composites import RULES, Composite, Rules
from whybert.methods.base import Method, reduce_hidden
from whybert.methods.baselines import check_baseline, start
from whybert.methods.game import all_subsets, check_samples, subsets
from whybert.methods.path import along, quadrature
from whybert.methods.question import Question, Unit

WAYS: Final = MappingProxyType({"both": ("mask", "delete"), "mask": ("mask",), "delete": ("delete",)})


@dataclass(frozen=True)
class FewPasses(Method):
    """rules: those of the backward passes, `attnlrp` or `cp_lrp`."""

    kind: ClassVar[str] = "relevance"

    rules: Rules = "attnlrp"

    @property
    def composite(self) -> Composite:
        return RULES[self.rules]

    def composites(self) -> tuple[Composite, ...]:
        return (self.composite,)

    def of_the_whole(self, question: Question) -> Tensor:
        """The scores (batch, seq) of the unchanged text, float64 on the CPU."""
        forward = question.forward(self.composites())
        relevance = forward.embedding.detach() * forward.gradient(self.composite, question.target)
        scores = reduce_hidden(relevance, "sum").cpu().double()
        return scores if forward.standing is None else forward.standing.folded(scores)


def as_scores(scores: Tensor, question: Question) -> Tensor:
    """Scores (batch, seq) on the model's device, in its own precision or float32."""
    return scores.to(question.logits.device, torch.promote_types(question.logits.dtype, torch.float32))


@dataclass(frozen=True)
class SampledAttnLRP(FewPasses):
    """`sampled_attnlrp`: AttnLRP averaged over random parts of the text.

    A part holds some of the units; the others are masked in one half of the parts and deleted in the other.
    A token's score is the weighted mean, over the parts that hold it and the whole text, of E * g summed
    over hidden, E and g those of the part.  Special tokens are in every part.  How the parts are drawn is
    said by `draw`; it depends on the seed and the row's own ids.  A text of one unit has the whole alone.

    samples: the number of parts, half of them masked and half deleted with `removal` "both".
    removal: "both", or "mask" or "delete" alone.
    whole: the weight of the whole text, in parts; None for a quarter as many as there are samples.
    unit: what is kept or taken away as one.
    Source: whybert, after Achtibat et al. 2024 (arXiv 2402.05602) and RISE, Petsiuk et al. 2018
    (arXiv 1806.07421).
    """

    name: ClassVar[str] = "sampled_attnlrp"
    summary: ClassVar[str] = "sampled AttnLRP: its mean over random parts of the text, masked and deleted"
    source: ClassVar[str] = "whybert; after Achtibat et al. 2024"
    needs: ClassVar[str] = "a mask token, unless removal=delete"
    place: ClassVar[int] = 10

    samples: int = field(default=8, metadata={"least": 1})
    removal: Literal["both", "mask", "delete"] = "both"
    whole: float | None = field(default=None, metadata={"least": 0})
    unit: Unit = "word"
    seed: int = field(default=0, metadata={"least": 0})

    @property
    def passes(self) -> str:
        return f"{self.samples + 1} forward, {self.samples + 1} backward"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        weight = self.samples / 4 if self.whole is None else self.whole
        scores = self.of_the_whole(question)
        total, held = weight * scores, torch.full_like(scores, weight)
        units = question.units(self.unit)
        counts = [len(row) for row in units]
        for by, kept, weights in drawn(question, counts, self.samples, WAYS[self.removal], self.seed):
            parts = question.parts(kept, self.unit, by, self.composite)
            for row, (swept, sets, own) in enumerate(zip(parts, kept, weights, strict=True)):
                total[row] += own @ swept
                holding = held[row] + own.sum()  # special tokens are in every part
                for members, part in zip(units[row], (own @ sets.double()).tolist(), strict=True):
                    holding[list(members)] = held[row, list(members)] + part
                held[row] = holding
        return as_scores(torch.where(held > 0, total / held, scores), question), None


def drawn(
    question: Question, units: Sequence[int], samples: int, ways: Sequence[str], seed: int
) -> Iterator[tuple[str, list[Tensor], list[Tensor]]]:
    """For each way of removal what `draw` draws for each row: pairs of parts go to the ways by turns."""
    generators = question.generators(seed)
    pairs, left = math.ceil(samples / 2), samples
    for place, by in enumerate(ways):
        count = min(left, 2 * len(range(place, pairs, len(ways))))
        left -= count
        found = [draw(own, count, generator) for own, generator in zip(units, generators, strict=True)]
        yield by, [kept for kept, _ in found], [weights for _, weights in found]


def draw(units: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Parts of a text of so many units: which of them each holds, (parts, units), and the parts' weights.

    A part holds k units with probability 1 / (units - 1) for each k from 1 to units - 1, and every set of k
    is equally likely.  The sizes are drawn by strata, and samples come in pairs of a part and its complement,
    so that an even number of them holds each unit equally often.  If there are no more than `samples`
    different parts, each comes once, weighted by its probability; a single unit has none.  The weights,
    float64, sum to `samples`.
    """
    if units < 2:
        return torch.zeros(0, units, dtype=torch.bool), torch.zeros(0, dtype=torch.float64)
    check_samples(samples, units, are_distinct=True)
    if 2 ** min(units, 64) - 2 <= samples:
        kept = all_subsets(units)[1:-1]
        chances = [1 / ((units - 1) * math.comb(units, size)) for size in kept.sum(1).tolist()]
        return kept, samples * torch.tensor(chances, dtype=torch.float64)
    pairs = math.ceil(samples / 2)
    shares = (torch.arange(pairs) + torch.rand(pairs, generator=generator, dtype=torch.float64)) / (2 * pairs)
    smaller = subsets(1 + (shares * (units - 1)).long(), units, generator)
    kept = torch.stack([~smaller, smaller], 1).flatten(0, 1)[:samples]
    return kept, torch.ones(len(kept), dtype=torch.float64)


@dataclass(frozen=True)
class IntegratedAttnLRP(FewPasses):
    """`integrated_attnlrp`: E * the mean of AttnLRP's g on the straight way from a baseline B to E.

    relevance = E * 1/n sum_k g(B + (k - 1/2) / n (E - B)), k = 1 to n, summed over hidden.  B is the
    embedding of the text whose words are masked; unlike integrated gradients the factor is E, not E - B.

    n_steps: the points on the way.
    baseline: what the words become, see `integrated_gradients`.
    Source: whybert, after Achtibat et al. 2024 (arXiv 2402.05602) and Sundararajan et al. 2017
    (arXiv 1703.01365).
    """

    name: ClassVar[str] = "integrated_attnlrp"
    summary: ClassVar[str] = "integrated AttnLRP: its mean between the masked and the real embedding"
    source: ClassVar[str] = "whybert; after Achtibat et al. 2024"
    needs: ClassVar[str] = "a mask token, or another baseline"
    place: ClassVar[int] = 12

    n_steps: int = field(default=8, metadata={"least": 1, "most": 2000})
    baseline: str = field(default="mask", metadata={"check": check_baseline})

    @property
    def passes(self) -> str:
        return f"{self.n_steps + 2} forward, {self.n_steps} backward"

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        begin = start(question, self.baseline).embedding
        mean = along(question, begin, *quadrature("midpoint", self.n_steps), self.composite)
        relevance = question.shared.forward.embedding.detach() * mean
        return reduce_hidden(relevance, "sum"), relevance


@dataclass(frozen=True)
class IterativeAttnLRP(FewPasses):
    """`iterative_attnlrp`: an order of the words, re-explained after each tenth of them is taken away.

    Of the units that are left those of the highest scores in the text without the others are next.  A unit's
    score is the one that it has when its turn comes, in a text in which those before it are missing.  Where
    these scores rise along the order they are levelled (`levelled`), so that the scores tell the order; what
    a unit gains or loses by it is shared equally by its tokens.  Special tokens have none.

    steps: how many times it is explained; a text of fewer units is once for each.
    by: how units are taken away.
    Source: whybert, after Achtibat et al. 2024 (arXiv 2402.05602).
    """

    name: ClassVar[str] = "iterative_attnlrp"
    summary: ClassVar[str] = "iterative AttnLRP: an order, again after each tenth of the words is taken away"
    source: ClassVar[str] = "whybert; after Achtibat et al. 2024"
    needs: ClassVar[str] = "a mask token, unless by=delete"
    place: ClassVar[int] = 11

    steps: int = field(default=10, metadata={"least": 1})
    by: Literal["mask", "delete"] = "mask"
    unit: Unit = "word"

    @property
    def passes(self) -> str:
        return f"{self.steps} forward, {self.steps} backward"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        units = question.units(self.unit)
        stops = [
            sorted({math.ceil(step * len(row) / self.steps) for step in range(self.steps + 1)})
            for row in units
        ]
        found = list(self.of_the_whole(question)[:, None])
        scores = torch.zeros(len(found), found[0].shape[1], dtype=torch.float64)
        orders: list[dict[int, float]] = [{} for _ in units]  # units with their values, as they are taken
        for turn in range(1, self.steps + 1):
            for row, order in enumerate(orders):
                if turn < len(stops[row]):
                    value = {
                        unit: float(found[row][0, list(members)].sum())
                        for unit, members in enumerate(units[row])
                        if unit not in order
                    }
                    ranked = sorted(value, key=value.__getitem__, reverse=True)
                    for unit in ranked[: stops[row][turn] - len(order)]:
                        order[unit] = value[unit]
                        scores[row, list(units[row][unit])] = found[row][0, list(units[row][unit])]
            left = [
                torch.tensor([[unit not in order for unit in range(len(units[row]))]], dtype=torch.bool)
                for row, order in enumerate(orders)
            ]
            kept = [sets[: turn + 1 < len(own)] for sets, own in zip(left, stops, strict=True)]
            if not any(map(len, kept)):
                break
            found = question.parts(kept, self.unit, self.by, self.composite)
        for row, order in enumerate(orders):
            levels = levelled(list(order.values()))
            for (unit, own), level in zip(order.items(), levels, strict=True):
                members = list(units[row][unit])
                scores[row, members] += (level - own) / len(members)
        return as_scores(scores, question), None


def levelled(values: Sequence[float]) -> list[float]:
    """The nearest values that never rise, by least squares, less a 1e-5th of the largest at each step.

    Pool adjacent violators: a run that rises is its mean; the steps keep the places in it apart.
    """
    pools: list[list[float]] = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and math.fsum(pools[-2]) * len(pools[-1]) < math.fsum(pools[-1]) * len(
            pools[-2]
        ):
            pools[-2:] = [pools[-2] + pools[-1]]
    step = 1e-5 * max(map(abs, values), default=0.0)
    means = (math.fsum(pool) / len(pool) for pool in pools for _ in pool)
    return [mean - place * step for place, mean in enumerate(means)]
