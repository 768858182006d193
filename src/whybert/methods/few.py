"""The few-pass methods: LRP of several changed versions of a text, put together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whybert.errors import UsageError
from whybert.lrp.composites import ATTN_LRP, CP_LRP, Composite
from whybert.methods.base import Method, reduce_hidden
from whybert.methods.question import Question, Unit

Rules = Literal["attnlrp", "cp_lrp"]
COMPOSITES: Final = MappingProxyType({"attnlrp": ATTN_LRP, "cp_lrp": CP_LRP})
WAYS: Final = MappingProxyType({"both": ("mask", "delete"), "mask": ("mask",), "delete": ("delete",)})


@dataclass(frozen=True)
class FewPasses(Method):
    """rules: those of the backward passes, `attnlrp` or `cp_lrp`."""

    kind: ClassVar[str] = "relevance"

    rules: Rules = "attnlrp"

    @property
    def composite(self) -> Composite:
        return COMPOSITES[self.rules]

    def composites(self) -> tuple[Composite, ...]:
        return (self.composite,)

    def of_the_whole(self, question: Question) -> Tensor:
        """The scores (batch, seq) of the unchanged text, float64 on the CPU."""
        forward = question.forward(self.composites())
        relevance = forward.embedding.detach() * forward.gradient(self.composite, question.target)
        scores = reduce_hidden(relevance, "sum").cpu().double()
        return scores if forward.own is None else scores[:, forward.own]


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
    whole: the weight of the whole text, in parts; None for half as many as there are samples.
    unit: what is kept or taken away as one.
    Source: whybert, after Achtibat et al. 2024 (arXiv 2402.05602) and RISE, Petsiuk et al. 2018
    (arXiv 1806.07421).
    """

    name: ClassVar[str] = "sampled_attnlrp"
    summary: ClassVar[str] = "AttnLRP averaged over random parts of the text, masked and deleted"
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
        weight = self.samples / 2 if self.whole is None else self.whole
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
    """For each way of removal what `draw` draws for each row: pairs of parts go to the ways by turns.

    It depends on the seed and the row's own ids, not on the texts beside it.
    """
    ids = question.inputs["input_ids"]
    attended = question.inputs.get("attention_mask", torch.ones_like(ids)).bool()
    generators = [
        np.random.default_rng([seed, *row[own].tolist()]) for row, own in zip(ids, attended, strict=True)
    ]
    pairs, left = math.ceil(samples / 2), samples
    for place, by in enumerate(ways):
        count = min(left, 2 * len(range(place, pairs, len(ways))))
        left -= count
        found = [draw(own, count, generator) for own, generator in zip(units, generators, strict=True)]
        yield by, [kept for kept, _ in found], [weights for _, weights in found]


def draw(units: int, samples: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Parts of a text of so many units: which of them each holds, (parts, units), and the parts' weights.

    A part holds k units with probability 1 / (units - 1) for each k from 1 to units - 1, and every set of k
    is equally likely.  The sizes are drawn by strata, and samples come in pairs of a part and its complement,
    so that an even number of them holds each unit equally often.  If there are no more than `samples`
    different parts, each comes once, weighted by its probability; a single unit has none.  The weights,
    float64, sum to `samples`.
    """
    every = np.arange(units)
    parts: list[NDArray[np.bool_]] = []
    weights: list[float] = []
    if 1 < units < 32 and 2**units - 2 <= samples:
        for size in range(1, units):
            parts += [np.isin(every, kept) for kept in combinations(every, size)]
            weights += [samples / ((units - 1) * math.comb(units, size))] * math.comb(units, size)
    elif units > 1:
        pairs = math.ceil(samples / 2)
        for stratum in range(pairs):
            share = (stratum + generator.random()) / (2 * pairs)
            smaller = np.isin(every, generator.permutation(units)[: 1 + int(share * (units - 1))])
            parts += [~smaller, smaller]
        parts, weights = parts[:samples], [1.0] * samples
    kept = np.array(parts, dtype=bool).reshape(len(parts), units)
    return torch.from_numpy(kept), torch.tensor(weights, dtype=torch.float64)


@dataclass(frozen=True)
class IntegratedAttnLRP(FewPasses):
    """`integrated_attnlrp`: E * the mean of AttnLRP's g over the line from the masked embedding to E.

    relevance = E * 1/n sum_k g(B + (k - 1/2) / n (E - B)), k = 1 to n; B is the embedding of the text whose
    tokens, but for the special ones, are masked.  Unlike integrated gradients the factor is E, not E - B.

    n_steps: the midpoints of the line, swept together.
    Source: whybert, after Achtibat et al. 2024 (arXiv 2402.05602) and Sundararajan et al. 2017
    (arXiv 1703.01365).
    """

    name: ClassVar[str] = "integrated_attnlrp"
    summary: ClassVar[str] = "AttnLRP averaged between the masked and the real embedding"
    source: ClassVar[str] = "whybert; after Achtibat et al. 2024"
    needs: ClassVar[str] = "a mask token"
    place: ClassVar[int] = 11

    n_steps: int = field(default=8, metadata={"least": 1})

    @property
    def passes(self) -> str:
        return f"{self.n_steps + 2} forward, {self.n_steps} backward"

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        embedding = question.forward(self.composites()).embedding.detach()
        base = question.forward(inputs=masked(question)).embedding.detach()
        rows, seq = question.inputs["input_ids"].shape
        shares = embedding.new_tensor([(step + 0.5) / self.n_steps for step in range(self.n_steps)])
        copies = torch.arange(self.n_steps * rows, device=embedding.device)
        mean = torch.zeros_like(embedding, dtype=torch.promote_types(embedding.dtype, torch.float32))
        for chunk in torch.split(copies, max(1, 32 * 64 // seq)):
            row = chunk % rows
            points = base[row] + shares[chunk // rows, None, None] * (embedding[row] - base[row])
            inputs = {name: tensor[row] for name, tensor in question.inputs.items()}
            forward = question.forward(self.composites(), inputs=inputs, at=partial(_instead, points))
            gradient = forward.gradient(self.composite, question.target.select(row))
            mean.index_add_(0, row, gradient.to(mean.dtype) / self.n_steps)
        relevance = embedding * mean
        return reduce_hidden(relevance, "sum"), relevance


def _instead(points: Tensor, embedding: Tensor) -> Tensor:
    return points


def masked(question: Question) -> dict[str, Tensor]:
    """The inputs with every token masked but the special ones."""
    mask = getattr(question.tokenizer, "mask_token_id", None)
    if mask is None:
        raise UsageError(
            "integrated_attnlrp needs a tokenizer with a mask token, and there is none; use "
            "sampled_attnlrp with removal='delete'"
        )
    ids = question.inputs["input_ids"].clone()
    for row, units in zip(ids, question.units("token"), strict=True):
        row[[place for unit in units for place in unit]] = mask
    return {**question.inputs, "input_ids": ids}


@dataclass(frozen=True)
class IterativeAttnLRP(FewPasses):
    """`iterative_attnlrp`: an order of the words, re-explained after each tenth of them is taken away.

    Of the units that are left those of the highest scores in the text without the others are next.  The score
    of the r-th of n units is (n - r + 1) / n, divided equally among its tokens: an order, which says nothing
    of how much a word counts or whether it speaks for or against.

    steps: how many times it is explained; a text of fewer units is once for each.
    by: how units are taken away.
    Source: whybert, after Achtibat et al. 2024 (arXiv 2402.05602).
    """

    name: ClassVar[str] = "iterative_attnlrp"
    summary: ClassVar[str] = "an order: AttnLRP again after each tenth of the words is taken away"
    source: ClassVar[str] = "whybert; after Achtibat et al. 2024"
    needs: ClassVar[str] = "a mask token, unless by=delete"
    place: ClassVar[int] = 12
    signed: ClassVar[bool] = False

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
        orders: list[list[int]] = [[] for _ in units]
        found = list(self.of_the_whole(question)[:, None])
        for turn in range(1, self.steps + 1):
            for row, order in enumerate(orders):
                if turn < len(stops[row]):
                    value = {
                        unit: float(found[row][0, list(members)].sum())
                        for unit, members in enumerate(units[row])
                        if unit not in order
                    }
                    ranked = sorted(value, key=value.__getitem__, reverse=True)
                    order += ranked[: stops[row][turn] - len(order)]
            left = [
                torch.tensor([[unit not in order for unit in range(len(units[row]))]], dtype=torch.bool)
                for row, order in enumerate(orders)
            ]
            kept = [sets[: turn + 1 < len(own)] for sets, own in zip(left, stops, strict=True)]
            if not any(map(len, kept)):
                break
            found = question.parts(kept, self.unit, self.by, self.composite)
        values = [[1 - order.index(unit) / len(order) for unit in range(len(order))] for order in orders]
        return question.spread(values, self.unit), None
