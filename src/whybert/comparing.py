"""Two explanations side by side: which words changed their sign or their rank, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from statistics import correlation
from typing import TYPE_CHECKING, TypeAlias, overload

from whybert.errors import InputError
from whybert.explanation import Explanation, Level, Unit, each_of, options_line, units_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import RenderableType

__all__ = ["Comparison", "Comparisons", "Pair", "compare"]

_Place: TypeAlias = tuple[int, int, int]  # sequence, start, end
_NOTICED = 0.05  # of the strongest word: below that a sign says nothing


@dataclass(frozen=True, slots=True)
class Pair:
    """A word (or token, or sentence) in two explanations.

    Fields:
        text: as it stands in the first text that has it.
        first, second: its scores; None where that text does not have it.
        first_share, second_share: these as shares of the highest absolute score of their explanation; 0 for
            None.
        first_rank, second_rank: its places by absolute score, 1 the highest; None where there is no score.
        comparable: whether both scores have a sign.
    """

    text: str
    first: float | None
    second: float | None
    first_share: float
    second_share: float
    first_rank: int | None
    second_rank: int | None
    comparable: bool

    @property
    def changed_sign(self) -> bool:
        """Whether it speaks for one target and against the other, by more than next to nothing in one."""
        noticed = max(abs(self.first_share), abs(self.second_share)) >= _NOTICED
        return self.comparable and noticed and self.first_share * self.second_share < 0

    @property
    def moved(self) -> int | None:
        """By how many ranks it is higher in the second explanation; negative where it is lower."""
        return (
            None
            if self.first_rank is None or self.second_rank is None
            else self.first_rank - self.second_rank
        )

    @property
    def change(self) -> float:
        """The second share less the first; of magnitudes where one of the two has no sign."""
        if self.comparable:
            return self.second_share - self.first_share
        return abs(self.second_share) - abs(self.first_share)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two explanations, unit by unit; see `compare`.

    Fields:
        first, second: the explanations.
        level: of the units.
        pairs: the units, in the order of the text.
    """

    first: Explanation
    second: Explanation
    level: Level
    pairs: tuple[Pair, ...]

    @property
    def is_same_text(self) -> bool:
        """Whether both are about one text."""
        return (self.first.text, self.first.pair) == (self.second.text, self.second.pair)

    @property
    def is_same_prediction(self) -> bool:
        """Whether both predict a label of the same name."""
        return self.first.prediction == self.second.prediction

    @property
    def names(self) -> tuple[str, str]:
        """What tells the two apart: their models, methods, options and targets, or else their texts."""
        methods = (self.first.method, self.second.method)
        options = (options_line(self.first), options_line(self.second))
        kinds = [
            (self.first.classifier, self.second.classifier),
            methods if methods[0] != methods[1] else options,
            (f"why {self.first.explained}", f"why {self.second.explained}"),
        ]
        told = [kind for kind in kinds if kind[0] != kind[1]]
        one, other = (
            (", ".join(filter(None, names)) for names in zip(*told, strict=True)) if told else ("", "")
        )
        return (one or "first", other or "second") if one != other else ("first", "second")

    @property
    def shared(self) -> tuple[Pair, ...]:
        """The units that both have: of two texts these may be few, and they alone have a rank correlation."""
        return tuple(pair for pair in self.pairs if pair.first is not None and pair.second is not None)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of the finite scores of units that both have; of magnitudes where one has no signs.

        None where there are fewer than two of them, or all of one explanation are equal.
        """
        shares = [
            (pair.first_share, pair.second_share)
            if pair.comparable
            else (abs(pair.first_share), abs(pair.second_share))
            for pair in self.shared
            if math.isfinite(pair.first or 0) and math.isfinite(pair.second or 0)
        ]
        return _spearman(shares)

    def changed_sign(self) -> tuple[Pair, ...]:
        """The units that speak for the one and against the other, those that change most first."""
        return self.changed(sign=True)

    def changed(self, k: int | None = None, sign: bool = False) -> tuple[Pair, ...]:
        """The units that change most, by the share of the strongest that they gain or lose.

        Args:
            k: how many; None for all.
            sign: only those that change their sign.
        """
        found = [pair for pair in self.pairs if pair.changed_sign or (not sign and pair.change)]
        return tuple(sorted(found, key=lambda pair: -abs(pair.change))[:k])

    def to_pandas(self) -> DataFrame:
        """A table with a row for each unit: text, scores, shares, ranks, change, whether the sign changed."""
        from whybert.saving import data_frame_of_pairs

        return data_frame_of_pairs(self)

    def to_html(self) -> str:
        """A self-contained HTML document."""
        return Comparisons([self]).to_html()

    def to_latex(self) -> str:
        """A LaTeX snippet with both heat maps and a table of what changes; it needs xcolor."""
        from whybert.render.latex import compared

        return compared(self)

    def save(self, path: str | Path) -> None:
        """Write a file whose suffix says what it holds: `.html`, `.tex`, `.txt`, or the table as `.csv`.

        Args:
            path: of the file; an existing one is replaced.

        Raises:
            UsageError: no format has this suffix.
            FileError: the file cannot be written.
        """
        Comparisons([self]).save(path)

    def __repr__(self) -> str:
        one, other = self.names
        found = self.rank_correlation
        said = "no rank correlation" if found is None else f"rank correlation {found:.2f}"
        if len(self.shared) < len(self.pairs):
            said += f" of the {len(self.shared)} of {len(self.pairs)} {self.level}s in both"
        return f"<Comparison {one} / {other}: {said}, {len(self.changed_sign())} changed sign>"

    def _repr_html_(self) -> str:
        from whybert.render.html import compared

        return compared(self)

    def __rich__(self) -> RenderableType:
        from whybert.render.terminal import compared

        return compared(self)


class Comparisons(list[Comparison]):
    """The comparisons of two lists of explanations, text by text.

    Args:
        comparisons: what it holds; any iterable.
    """

    __slots__ = ()

    def __init__(self, comparisons: Iterable[Comparison] = ()) -> None:
        super().__init__(comparisons)

    @property
    def rank_correlation(self) -> float | None:
        """The mean over the texts that have one; None where none has."""
        found = [each.rank_correlation for each in self]
        known = [each for each in found if each is not None]
        return math.fsum(known) / len(known) if known else None

    @property
    def differing(self) -> Comparisons:
        """Those in which the two predict different labels."""
        return Comparisons(each for each in self if not each.is_same_prediction)

    def least_alike(self, k: int | None = None) -> Comparisons:
        """Those with the lowest rank correlation first.

        Args:
            k: how many; None for all.
        """

        def likeness(each: Comparison) -> float:
            found = each.rank_correlation
            return 2.0 if found is None else found

        return Comparisons(sorted(self, key=likeness)[:k])

    def to_pandas(self) -> DataFrame:
        """A table with a row for each text: predictions, rank correlation, the units that changed sign."""
        from whybert.saving import data_frame_of_comparisons

        return data_frame_of_comparisons(self)

    def to_html(self) -> str:
        """A self-contained HTML document: a summary, and the texts on which the two are least alike."""
        from whybert.render.html import compared_page

        return compared_page(self)

    def save(self, path: str | Path) -> None:
        """Write a file whose suffix says what it holds: `.html`, `.tex`, `.txt`, or the table as `.csv`.

        Args:
            path: of the file; an existing one is replaced.

        Raises:
            InputError: there are none.
            UsageError: no format has this suffix.
            FileError: the file cannot be written.
        """
        from whybert.saving import save_comparisons

        save_comparisons(self, path)

    def __repr__(self) -> str:
        found = self.rank_correlation
        said = "" if found is None else f": mean rank correlation {found:.2f}"
        return f"<{len(self)} Comparison{'s' * (len(self) != 1)}{said}>"

    def _repr_html_(self) -> str:
        from whybert.render.html import compared_list

        return compared_list(self)

    def __rich__(self) -> RenderableType:
        from whybert.render.terminal import compared_list

        return compared_list(self)


@overload
def compare(first: Explanation, second: Explanation, level: Level = ...) -> Comparison: ...


@overload
def compare(
    first: Sequence[Explanation], second: Sequence[Explanation], level: Level = ...
) -> Comparisons: ...


def compare(
    first: Explanation | Sequence[Explanation],
    second: Explanation | Sequence[Explanation],
    level: Level = "word",
) -> Comparison | Comparisons:
    """Set two explanations side by side: of two methods, models or classes, or of two texts.

    Units of one text are matched by their place in it; where tokenizers cut it differently, units that
    overlap are taken together and their scores summed.  Those of two texts are matched by what they say, in
    order, and the others stand alone.

    Args:
        first, second: an explanation each, or two lists of the same length, whose entries are compared one
            by one.
        level: "word", "token" or "sentence".

    Returns:
        A `Comparison`; for lists `Comparisons`, which is a list of them.

    Raises:
        InputError: one is something else, or the lists differ in length.
        UnknownNameError: no such level.
    """
    if isinstance(first, Explanation) and isinstance(second, Explanation):
        return _compared(first, second, level)
    lists = []
    for given in (first, second):
        if isinstance(given, Explanation | str | bytes) or not isinstance(given, Iterable):
            kinds = " and ".join(type(each).__name__ for each in (first, second))
            raise InputError(f"expected two explanations or two lists of them, got {kinds}")
        lists.append(list(each_of(given)))
    if len(lists[0]) != len(lists[1]):
        raise InputError(
            f"expected two lists of the same length, got {len(lists[0])} and {len(lists[1])} explanations; "
            "explain the same texts"
        )
    return Comparisons(_compared(one, other, level) for one, other in zip(*lists, strict=True))


@dataclass(slots=True)
class _Unit:
    """One or several units that are compared as one."""

    text: str
    score: float


def _compared(first: Explanation, second: Explanation, level: Level) -> Comparison:
    is_same_text = (first.text, first.pair) == (second.text, second.pair)
    match = _by_place if is_same_text else _by_text
    matched = match(first, second, level)
    sides = [[pair[side] for pair in matched] for side in (0, 1)]
    shares, ranks = zip(*(_shares_and_ranks(side) for side in sides), strict=True)
    comparable = first.signed and second.signed
    pairs = tuple(
        Pair(
            text=(one or other or _Unit("", 0.0)).text,
            first=None if one is None else one.score,
            second=None if other is None else other.score,
            first_share=shares[0][place],
            second_share=shares[1][place],
            first_rank=ranks[0][place],
            second_rank=ranks[1][place],
            comparable=comparable,
        )
        for place, (one, other) in enumerate(matched)
    )
    return Comparison(first, second, level, pairs)


_Matched: TypeAlias = list[tuple[_Unit | None, _Unit | None]]


def _by_place(first: Explanation, second: Explanation, level: Level) -> _Matched:
    """The units of one text: each with those of the other side that it overlaps."""
    places = sorted(
        (
            ((unit.sequence or 0, unit.start, unit.end), side, unit)
            for side, explanation in enumerate((first, second))
            for unit in units_of(explanation, level)
        ),
        key=lambda entry: entry[:2],
    )
    texts = (first.text, first.pair or "")
    groups: list[tuple[_Place, list[list[float]]]] = []
    for (sequence, start, end), side, unit in places:
        if groups:
            (last_sequence, last_start, last_end), scores = groups[-1]
            if sequence == last_sequence and (start < last_end or (start, end) == (last_start, last_end)):
                scores[side].append(unit.score)
                groups[-1] = ((sequence, last_start, max(end, last_end)), scores)
                continue
        groups.append(((sequence, start, end), [[], []]))
        groups[-1][1][side].append(unit.score)
    matched: _Matched = []
    for (sequence, start, end), scores in groups:
        text = texts[sequence][start:end]
        one, other = (_Unit(text, float(sum(side))) if side else None for side in scores)
        matched.append((one, other))
    return matched


def _by_text(first: Explanation, second: Explanation, level: Level) -> _Matched:
    """The units of two texts: those that stand in both, in order, and between them those of one."""
    matched: _Matched = []
    sides = [units_of(explanation, level) for explanation in (first, second)]
    for sequence in (0, 1):
        one, other = ([unit for unit in side if unit.sequence == sequence] for side in sides)
        names = [[unit.text.casefold() for unit in side] for side in (one, other)]
        blocks = SequenceMatcher(a=names[0], b=names[1], autojunk=False).get_opcodes()
        for kind, a, b, c, d in blocks:
            if kind == "equal":
                matched += zip(map(_unit, one[a:b]), map(_unit, other[c:d]), strict=True)
            else:
                matched += [(_unit(unit), None) for unit in one[a:b]]
                matched += [(None, _unit(unit)) for unit in other[c:d]]
    return matched


def _unit(unit: Unit) -> _Unit:
    return _Unit(unit.text, unit.score)


def _shares_and_ranks(units: Sequence[_Unit | None]) -> tuple[list[float], list[int | None]]:
    sizes = [abs(unit.score) if unit and math.isfinite(unit.score) else 0.0 for unit in units]
    maximum = max(sizes, default=0.0)
    shares = [
        unit.score / maximum if unit and maximum and math.isfinite(unit.score) else 0.0 for unit in units
    ]
    ordered = sorted((size for size, unit in zip(sizes, units, strict=True) if unit), reverse=True)
    places = {size: place for place, size in reversed(list(enumerate(ordered, 1)))}
    return shares, [places[size] if unit else None for size, unit in zip(sizes, units, strict=True)]


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 2:
        return None
    ranks = [_ranks([pair[side] for pair in pairs]) for side in (0, 1)]
    if any(len(set(side)) < 2 for side in ranks):
        return None
    return max(-1.0, min(1.0, correlation(*ranks)))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1 up; equal values share the mean of theirs."""
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values), 1):
        places.setdefault(value, []).append(place)
    return [sum(places[value]) / len(places[value]) for value in values]
