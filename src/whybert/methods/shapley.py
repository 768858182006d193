"""Shapley values of the units of a text, and Owen values, those of a hierarchy: exact and by budget."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from whybert.errors import UsageError, quoted
from whybert.methods.game import GameMethod, all_subsets, check_samples
from whybert.methods.question import Question, Unit

MOST: Final = 12  # units whose 4096 sets are asked by `exact_shapley`
TOGETHER: Final = 16  # branches of a text that are opened before the next are chosen, by `partition_shap`


@dataclass(frozen=True)
class ExactShapley(GameMethod):
    """`exact_shapley`: Shapley values by asking all 2^n sets of n units, for n of at most 12.

    phi_i = sum over S without i of s! (n - s - 1)! / n! (v(S + i) - v(S)), where v(S) is the output when only
    the units of S are left and s = |S|.
    Source: Shapley 1953.
    """

    name: ClassVar[str] = "exact_shapley"
    summary: ClassVar[str] = "exact Shapley values: all sets of words are asked"
    source: ClassVar[str] = "Shapley 1953"
    needs: ClassVar[str] = f"a mask token, unless by=delete; at most {MOST} words a text"
    place: ClassVar[int] = 67
    short: ClassVar[bool] = True
    complete: ClassVar[bool] = True

    @property
    def passes(self) -> str:
        return f"2^n forward for n {self.unit}s"

    def values(self, question: Question) -> list[Tensor]:
        players = self.players(question)
        for row, count in enumerate(players):
            if count > MOST:
                where = f"row {row}" if question.rows is None else quoted(question.rows[row].text, 40)
                raise UsageError(
                    f"expected at most {MOST} {self.unit}s for {self.name}, found {count} in {where}; use "
                    f"kernel_shap or shapley_sampling, or a larger unit (unit=sentence)"
                )
        outputs = self.worth(question, [all_subsets(count) for count in players])
        return [_shapley(own, count) for own, count in zip(outputs, players, strict=True)]


def _shapley(outputs: Tensor, players: int) -> Tensor:
    """From the outputs (2^players,) in the order of `all_subsets`."""
    sets = torch.arange(2**players)
    sizes = all_subsets(players).sum(1)
    table = [
        math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
        for size in range(players)
    ]
    weights = torch.tensor(table, dtype=torch.float64)
    found = []
    for player in range(players):
        without = sets[(sets >> player) % 2 == 0]
        found.append((weights[sizes[without]] * (outputs[without + 2**player] - outputs[without])).sum())
    return torch.tensor(found, dtype=torch.float64)


@dataclass(frozen=True)
class ShapleySampling(GameMethod):
    """`shapley_sampling`: Shapley values as the mean over random orders in which the units come.

    A unit's value in an order is what it adds to those before it; the mean is unbiased, and each order's
    values sum exactly to the output above that of the text without units.

    samples: orders; each costs n - 1 passes for n units.
    antithetic: whether each order is followed by its reverse, which takes away much of the noise.
    Source: Castro, Gomez and Tejada 2009; Strumbelj and Kononenko 2010; reverse orders: Mitchell et al. 2022
    (arXiv 2104.12199).
    """

    name: ClassVar[str] = "shapley_sampling"
    summary: ClassVar[str] = "sampled Shapley values: random orders in which the words come"
    source: ClassVar[str] = "Castro et al. 2009"
    place: ClassVar[int] = 66
    complete: ClassVar[bool] = True

    samples: int = field(default=32, metadata={"least": 1})
    seed: int = field(default=0, metadata={"least": 0})
    antithetic: bool = True

    @property
    def passes(self) -> str:
        return f"2 + {self.samples} (n - 1) forward for n {self.unit}s"

    def values(self, question: Question) -> list[Tensor]:
        orders = [
            self._orders(count, generator)
            for count, generator in zip(self.players(question), question.generators(self.seed), strict=True)
        ]
        kept = []
        for own in orders:
            count = own.shape[1]
            come = own.argsort(1)[:, None] < torch.arange(count + 1)[:, None]  # (orders, steps, units)
            kept.append(come.flatten(0, 1))
        found = []
        for own, outputs in zip(orders, self.worth(question, kept), strict=True):
            added = outputs.view(len(own), -1).diff(dim=1)  # in the order in which they come
            found.append(torch.zeros_like(added).scatter_(1, own, added).mean(0))
        return found

    def _orders(self, players: int, generator: torch.Generator) -> Tensor:
        """(samples, players): which unit comes first, second, ..."""
        check_samples(self.samples, players, each=players + 1)
        drawn = self.samples if not self.antithetic else (self.samples + 1) // 2
        orders = torch.rand(drawn, players, generator=generator, dtype=torch.float64).argsort(1)
        if self.antithetic:
            orders = torch.stack([orders, orders.flip(1)], 1).flatten(0, 1)[: self.samples]
        return orders


Span = tuple[int, int]


@dataclass(frozen=True)
class _Branch:
    """A span of neighbouring units in one company: what the output is with it and without it.

    weight: of this company among all of them that the span can be in.
    """

    span: Span
    company: Tensor
    without: float
    within: float
    weight: float

    @property
    def credit(self) -> float:
        return self.weight * (self.within - self.without)


@dataclass(frozen=True)
class PartitionSHAP(GameMethod):
    """`partition_shap`: Owen values over a hierarchy of the text, as the Partition explainer of shap.

    The hierarchy is a tree of halves: a pair is split into its texts, the sentences of a text into two halves
    of neighbouring sentences, and so on down to one; then its words into halves of neighbouring words.  A
    branch that is split into a and b in the company S of others, has their Shapley values to share,

        a:  1/2 (v(S + a) - v(S)) + 1/2 (v(S + a + b) - v(S + b)),   and b likewise

    and both are split again in both companies.  So n units need about 3/4 n^2 passes for their exact Owen
    values: `samples` 500 are enough for 26.  With fewer, the branches with the largest |credit| are opened
    first, sixteen at a time, and what is not opened is shared equally by its units: the sum is always exact.
    Without texts (at the level of tensors) there is one sentence.

    samples: how many times the model is asked at most.
    Source: Owen 1977; the package shap (Lundberg and Lee 2017).
    """

    name: ClassVar[str] = "partition_shap"
    summary: ClassVar[str] = "Partition SHAP: Owen values over halves of sentences and of their words"
    source: ClassVar[str] = "Owen 1977, Lundberg and Lee 2017"
    place: ClassVar[int] = 64
    complete: ClassVar[bool] = True

    samples: int = field(default=500, metadata={"least": 2})

    @property
    def passes(self) -> str:
        return f"at most {self.samples} forward"

    def values(self, question: Question) -> list[Tensor]:
        trees = hierarchies(question, self.unit)
        found = [torch.zeros(len(units), dtype=torch.float64) for units in question.units(self.unit)]
        number = itertools.count()
        heaps: list[list[tuple[float, int, _Branch]]] = [[] for _ in found]

        def add(row: int, branch: _Branch) -> None:
            start, end = branch.span
            if end - start == 1:
                found[row][start] += branch.credit
            elif start < end:
                heapq.heappush(heaps[row], (-abs(branch.credit), next(number), branch))

        ends = [torch.stack([torch.zeros_like(own), torch.ones_like(own)]).bool() for own in found]
        for row, outputs in enumerate(self.worth(question, ends)):
            nobody, everybody = outputs.tolist()
            add(row, _Branch((0, len(found[row])), ends[row][0], nobody, everybody, 1.0))
        budgets = [self.samples - 2] * len(found)
        while True:
            opened = [
                [heapq.heappop(heap)[2] for _ in range(min(TOGETHER, len(heap), budget // 2))]
                for heap, budget in zip(heaps, budgets, strict=True)
            ]
            if not any(opened):
                break
            asked = []
            for row, branches in enumerate(opened):
                budgets[row] -= 2 * len(branches)
                sets = torch.stack([ends[row][0], *(b.company for b in branches for _ in range(2))])[1:]
                for index, branch in enumerate(branches):
                    (start, end), middle = branch.span, trees[row][branch.span]
                    sets[2 * index, start:middle] = True
                    sets[2 * index + 1, middle:end] = True
                asked.append(sets)
            for row, outputs in enumerate(self.worth(question, asked)):
                pairs = asked[row].view(len(opened[row]), 2, len(found[row]))
                for branch, (left, right), (with_left, with_right) in zip(
                    opened[row], outputs.view(-1, 2).tolist(), pairs, strict=True
                ):
                    (start, end), middle, half = branch.span, trees[row][branch.span], branch.weight / 2
                    add(row, _Branch((start, middle), branch.company, branch.without, left, half))
                    add(row, _Branch((start, middle), with_right, right, branch.within, half))
                    add(row, _Branch((middle, end), branch.company, branch.without, right, half))
                    add(row, _Branch((middle, end), with_left, left, branch.within, half))
        for row, heap in enumerate(heaps):
            for _, _, branch in heap:
                start, end = branch.span
                found[row][start:end] += branch.credit / (end - start)
        return found


def hierarchies(question: Question, unit: Unit) -> list[dict[Span, int]]:
    """Of each row, for each span of units that is split in two, where: see `PartitionSHAP`."""
    found = []
    for row, units in enumerate(question.units(unit)):
        keys: list[tuple[int | None, int]] = [(0, 0)] * len(units)  # (sequence, sentence) of each unit
        if question.rows is not None:
            text = question.rows[row]
            sequences = dict(zip(text.positions, text.sequence_ids, strict=True))
            sentences = enumerate(question.units("sentence")[row])
            places = {place: index for index, places in sentences for place in places}
            keys = [(sequences[own[0]], places.get(own[0], -1)) for own in units]
        runs = [(key, [*own]) for key, own in itertools.groupby(range(len(units)), keys.__getitem__)]
        parts = itertools.groupby(runs, lambda run: run[0][0])
        splits: dict[Span, int] = {}
        if units:
            _split([[own for _, own in part] for _, part in parts], splits)
        found.append(splits)
    return found


def _split(items: Sequence[Any], splits: dict[Span, int]) -> Span:
    """Enter the halves of lists of lists of ... units, and say which span it is."""
    while len(items) == 1:
        if isinstance(items[0], int):
            return items[0], items[0] + 1
        items = items[0]
    middle = (len(items) + 1) // 2
    (start, end), (_, last) = _split(items[:middle], splits), _split(items[middle:], splits)
    splits[start, last] = end
    return start, last
