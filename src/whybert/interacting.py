"""Which words count together: pairs whose joint effect is not the sum of what each has alone.

F(S) is the explained output where of a text only the words in S are left, and d(i, j, T) = F(T + i + j) -
F(T + i) - F(T + j) + F(T) how much more two words are worth together than alone, beside the words of T.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from whybert.asking import Saved, asked, spans_of
from whybert.classifier import Classifier, ClassifierLike
from whybert.encoding import Text
from whybert.errors import UnknownNameError, UsageError
from whybert.explanation import Options, Target
from whybert.methods.game import all_subsets
from whybert.methods.question import Unit
from whybert.targets import TargetLike
from whybert.typed import check_whole

if TYPE_CHECKING:
    from rich.console import RenderableType

Floats = np.ndarray[Any, np.dtype[np.float64]]
Game = Callable[[np.ndarray[Any, np.dtype[np.bool_]]], Floats]
"""From sets of players, bool (sets, players), to what each is worth, (sets,)."""

EXACT: Final = 12  # units up to which all subsets are asked where the number of samples is left open
_ORDERS: Final = 16  # that are drawn above
_MOST: Final = 200_000  # inputs of a call: more is taken for a mistake
_SHOWN: Final = 12  # units up to which the terminal shows the whole matrix


@dataclass(frozen=True, slots=True)
class Part:
    """A word, token or sentence that takes part.

    Fields:
        text: of it.  start, end: in characters of its sequence.  sequence: 0 for the text, 1 for its pair.
        effect: what it is worth alone: F({i}) - F({}).
    """

    text: str
    start: int
    end: int
    sequence: int
    effect: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two parts and how strongly they count together.

    Fields:
        first, second: their places in `Interactions.parts`.
        strength: above 0 where they speak for the target more together than alone; of "arch_detect" a
            magnitude.
        error: the standard error of the strength where orders were drawn; 0 where all were asked.
    """

    first: int
    second: int
    strength: float
    error: float = 0.0


@dataclass(frozen=True)
class Interactions(Saved):
    """What `interactions` found.

    Fields:
        text, pair: what was asked.
        truncated: whether the model reads a part of it only.
        classifier, method, options: what found it.
        target, quantity: what is explained, as of an `Explanation`.
        output, baseline: F of all parts, and of none.
        parts, pairs: in the order of the text.
        evaluations: how many inputs the classifier was asked about.
        exact: whether all was asked that the method needs, and nothing drawn.
        signed: whether a strength below 0 means "less together than alone".
    """

    text: str
    pair: str | None
    truncated: bool
    classifier: str
    method: str
    options: Options
    target: Target
    quantity: str
    output: float
    baseline: float
    parts: tuple[Part, ...]
    pairs: tuple[Pair, ...]
    evaluations: int
    exact: bool
    signed: bool

    def top(self, count: int = 10) -> tuple[Pair, ...]:
        """The strongest pairs, by magnitude.

        Args:
            count: how many at most.
        """
        return tuple(sorted(self.pairs, key=lambda each: -abs(each.strength))[:count])

    @property
    def explained(self) -> str:
        """What is: "positive", "probability of positive", "entropy"."""
        quantity = self.quantity.replace("_", "-")
        name = self.target.name
        return {"logit": name, "entropy": quantity}.get(self.quantity, f"{quantity} of {name}")

    def words(self, pair: Pair) -> tuple[str, str]:
        """The texts of a pair.

        Args:
            pair: one of `pairs`.
        """
        return self.parts[pair.first].text, self.parts[pair.second].text

    def matrix(self) -> list[list[float]]:
        """Strengths (parts, parts), the effects of single ones on the diagonal."""
        found = np.diag([part.effect for part in self.parts])
        for each in self.pairs:
            found[each.first, each.second] = found[each.second, each.first] = each.strength
        listed: list[list[float]] = found.tolist()
        return listed

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text as RichText

        from whybert.render import number, shorten, visible
        from whybert.render.tables import NumberTable

        least = 1e-9 * max((abs(value) for row in self.matrix() for value in row), default=0.0)

        def said(value: float, sign: bool, digits: int = 3) -> str:
            return number(value if abs(value) > least else 0.0, sign, digits)  # no rounding of sums

        names = [shorten(" ".join(part.text.split()), 20) for part in self.parts]
        if len(set(names)) < len(names):
            names = [f"{name} {place}" for place, name in enumerate(names, 1)]
        head = RichText(visible(self.explained), style="bold")
        how = "exact" if self.exact else f"{self.options['samples']} orders"
        facts = f" · {self.method}, {how} · {self.evaluations} inputs · all {number(self.output)}"
        head.append(f"{facts}, none {number(self.baseline)}", "not bold")
        shown: list[RenderableType] = [head]
        if 1 < len(names) <= _SHOWN:
            rows = [
                (name, [said(value, True, 2) for value in values])
                for name, values in zip(names, self.matrix(), strict=True)
            ]
            shown += [RichText(), NumberTable("alone / together", names, rows)]
        if self.pairs:
            top = [
                (
                    f"{names[each.first]} + {names[each.second]}",
                    [
                        said(each.strength, self.signed),
                        f"±{said(each.error, False)}" if each.error > least else "",
                    ],
                )
                for each in self.top()
            ]
            shown += [RichText(), NumberTable("strongest pairs", ["strength", ""], top)]
        return Group(*shown)


@dataclass(frozen=True)
class PairMethod:
    """A way to say how strongly two parts count together.

    find: (game, parts, what is drawn) -> strengths (parts, parts) and their standard errors.
    """

    name: str
    summary: str
    source: str
    signed: bool
    find: Callable[[Game, int, _Drawn], tuple[Floats, Floats]]


@dataclass(frozen=True)
class _Drawn:
    samples: int | None
    seed: int


def _shapley_taylor(game: Game, count: int, drawn: _Drawn) -> tuple[Floats, Floats]:
    """I(i, j) = 2/n sum over T without i, j of d(i, j, T) / C(n - 1, |T|)."""
    if drawn.samples is not None:
        return _sampled(game, count, drawn.samples, drawn.seed)
    subsets = np.arange(1 << count)
    members = all_subsets(count).numpy()
    worth, sizes = game(members), members.sum(1)
    strengths = np.zeros((count, count))
    for i in range(count):
        for j in range(i + 1, count):
            rest = subsets[~members[:, i] & ~members[:, j]]
            both = worth[rest | 1 << i | 1 << j] - worth[rest | 1 << i] - worth[rest | 1 << j] + worth[rest]
            shares = np.array([math.comb(count - 1, size) for size in sizes[rest].tolist()], dtype=np.float64)
            strengths[i, j] = strengths[j, i] = 2.0 / count * (both / shares).sum()
    return strengths, np.zeros_like(strengths)


def _sampled(game: Game, count: int, samples: int, seed: int) -> tuple[Floats, Floats]:
    """The mean over orders of d(i, j, T), T being what stands before both; exact in the mean.

    Of an order the sets are its first p parts with one that follows, the (p, q)-th, from which all pairs are
    told.
    """
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(count) for _ in range(samples)]
    places = [(p, q) for p in range(count) for q in range(p, count)]
    sets = np.zeros((samples, len(places) + 1, count), dtype=bool)
    for number, order in enumerate(orders):
        for row, (p, q) in enumerate(places):
            sets[number, row, order[:p]] = sets[number, row, order[q]] = True
    worth = game(sets.reshape(-1, count)).reshape(samples, -1)
    rows, columns = map(np.array, zip(*places, strict=True))
    drawn = np.zeros((samples, count, count))
    for number, order in enumerate(orders):
        ahead = np.zeros((count, count))  # F of the first p and the q-th
        ahead[rows, columns] = worth[number, :-1]
        own = ahead.diagonal()
        before = np.concatenate([worth[number, -1:], own[:-1]])  # F of the first p
        for p in range(count - 1):
            found = ahead[p + 1, p + 1 :] - own[p] - ahead[p, p + 1 :] + before[p]
            drawn[number, order[p], order[p + 1 :]] = drawn[number, order[p + 1 :], order[p]] = found
    error = drawn.std(0, ddof=1) / math.sqrt(samples) if samples > 1 else np.full((count, count), np.nan)
    return drawn.mean(0), error


def _contexts(game: Game, count: int) -> Iterator[tuple[tuple[int, int], Floats]]:
    """For each pair F of both, the first, the second and none of it, alone and beside all others, (2, 4)."""
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    sets = np.zeros((len(pairs), 2, 4, count), dtype=bool)
    for row, (i, j) in enumerate(pairs):
        sets[row, 1] = True
        sets[row, :, :, [i, j]] = np.array([[True, True, False, False], [True, False, True, False]])[:, None]
    yield from zip(pairs, game(sets.reshape(-1, count)).reshape(-1, 2, 4), strict=True)


def _arch_attribute(game: Game, count: int, drawn: _Drawn) -> tuple[Floats, Floats]:
    strengths = np.zeros((count, count))
    pairs = np.array([(i, j) for i in range(count) for j in range(i + 1, count)], int).reshape(-1, 2)
    sets = np.zeros((len(pairs) + 1, count), dtype=bool)
    sets[np.arange(len(pairs))[:, None], pairs] = True
    worth = game(sets)
    strengths[pairs[:, 0], pairs[:, 1]] = strengths[pairs[:, 1], pairs[:, 0]] = worth[:-1] - worth[-1]
    return strengths, np.zeros_like(strengths)


def _arch_detect(game: Game, count: int, drawn: _Drawn) -> tuple[Floats, Floats]:
    strengths = np.zeros((count, count))
    for (i, j), worth in _contexts(game, count):
        together = worth @ np.array([1.0, -1.0, -1.0, 1.0])
        strengths[i, j] = strengths[j, i] = np.square(together).mean()
    return strengths, np.zeros_like(strengths)


PAIR_METHODS: Final[Mapping[str, PairMethod]] = MappingProxyType(
    {
        each.name: each
        for each in (
            PairMethod(
                "shapley_taylor",
                "mean of d(i, j, T) over orders; effects and pairs sum to the output less the baseline",
                "Sundararajan, Dhamdhere and Agarwal 2020 (arXiv 1902.05622), equation 3",
                True,
                _shapley_taylor,
            ),
            PairMethod(
                "arch_attribute",
                "F({i, j}) - F({}): what the two say without all others",
                "Tsang, Rambhatla and Liu 2020 (arXiv 2006.10965), ArchAttribute",
                True,
                _arch_attribute,
            ),
            PairMethod(
                "arch_detect",
                "mean of d(i, j, T)^2 beside no other part and beside all others",
                "Tsang, Rambhatla and Liu 2020 (arXiv 2006.10965), ArchDetect",
                False,
                _arch_detect,
            ),
        )
    }
)
"""The ways to find pairs, by name."""


def interactions(
    classifier: ClassifierLike,
    text: Text,
    method: str = "shapley_taylor",
    target: TargetLike = None,
    *,
    quantity: str | None = None,
    unit: Unit = "word",
    by: str = "mask",
    samples: int | None = None,
    seed: int = 0,
) -> Interactions:
    """Say which pairs of words count together, and not only one by one.

    Args:
        classifier: anything that `Classifier.of` takes, functions of texts too.
        text: one, or a tuple `(text, pair)`; what is longer than the classifier reads is cut.
        method: a name of `whybert.interacting.PAIR_METHODS`.
        target, quantity: what is explained, as for `explain`.
        unit: "word", "token" or "sentence".
        by: how the others are taken away, a name of `whybert.perturbation.PERTURBATIONS`.
        samples: of "shapley_taylor", the orders that are drawn; None asks all subsets of up to 12 parts, and
            above draws 16 orders of about n^2 / 2 inputs each.
        seed: draws the orders.

    Returns:
        A frozen value, which shows and saves itself.

    Raises:
        UnknownNameError: there is no such method.
        UsageError: another option cannot be, or the text is too long for it.
        WhybertError: what `explain` raises.
    """
    if method not in PAIR_METHODS:
        raise UnknownNameError("method for interactions", method, PAIR_METHODS)
    if samples is not None:
        check_whole("samples", samples)
    check_whole("seed", seed, 0)
    if samples is not None and method != "shapley_taylor":
        raise UsageError(f"samples are of shapley_taylor, and {method} draws nothing; leave them out")
    classifier = Classifier.of(classifier)
    question = asked(classifier, text, target, quantity)
    assert question.rows is not None
    [row], [units] = question.rows, question.units(unit)
    count, found = len(units), PAIR_METHODS[method]
    if samples is None and method == "shapley_taylor" and count > EXACT:
        samples = _ORDERS
    wanted = (samples or 8) * count**2 // 2
    if wanted > _MOST:
        raise UsageError(
            f"the text has {count} {unit}s, so the classifier would be asked {wanted} times; use "
            "unit='sentence', fewer samples, or a part of the text"
        )

    def game(sets: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
        return question.worth([torch.from_numpy(sets)], unit, by)[0].numpy()

    strengths, errors = found.find(game, count, _Drawn(samples, seed))
    single = game(np.concatenate([np.eye(count, dtype=bool), np.zeros((1, count), dtype=bool)]))
    index, names = int(question.target.index[0]), classifier.labels
    against = None if question.target.against is None else int(question.target.against[0])
    places = zip(spans_of(row, units, unit), single[:-1] - single[-1], strict=True)
    return Interactions(
        text=row.text,
        pair=row.pair,
        truncated=row.truncated,
        classifier=classifier.name,
        method=method,
        options=Options({"unit": unit, "by": by, "samples": samples, "seed": seed}),
        target=Target(index, names[index], against, None if against is None else names[against]),
        quantity=question.target.quantity,
        output=float(question.target.output(question.logits)[0]),
        baseline=float(single[-1]),
        parts=tuple(Part(*span, float(effect)) for span, effect in places),
        pairs=tuple(
            Pair(i, j, float(strengths[i, j]), float(errors[i, j]))
            for i in range(count)
            for j in range(i + 1, count)
        ),
        evaluations=len(question.answered) + 1,
        exact=samples is None,
        signed=found.signed,
    )
