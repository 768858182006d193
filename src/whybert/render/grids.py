"""What an explanation knows beside its scores: grids of words by layers, layers by heads, words by words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whybert.explanation import Explanation, Level, Token, sides_of, units_of
from whybert.render import number, short_name
from whybert.render.scale import Scale


@dataclass(frozen=True, slots=True)
class Grid:
    """Scores in rows and columns.

    Fields:
        title: what the rows are.
        note: what the columns are, in a line.
        columns: their headings.
        rows: the name of each and its scores.
        total: the sum over the rows; empty where it says nothing.
        scale: of the scores; special tokens do not set its end, see `whybert.render.scale`.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    total: tuple[float, ...]
    scale: Scale

    def strongest(self, count: int) -> Grid:
        """Of more rows than `count` only those with the largest scores, in their order, and a note of it."""
        if len(self.rows) <= count:
            return self
        by_size = sorted(self.rows, key=lambda row: -max(map(abs, row[1]), default=0.0))[:count]
        kept = {id(row) for row in by_size}
        note = f"{self.note}; the {count} strongest of {len(self.rows)} rows"
        return replace(self, note=note, rows=tuple(row for row in self.rows if id(row) in kept))

    def shown(self, score: float) -> str:
        """A score with as many decimals as tell a hundredth of the largest one."""
        largest = self.scale.maximum
        if not 1e-6 < largest < 1e6 or not math.isfinite(score):
            return number(score, self.scale.signed, 2)
        digits = max(0, 2 - math.floor(math.log10(largest)))
        return f"{score:{'+' if self.scale.signed else ''}.{digits}f}" if score else "0"


def grids(explanation: Explanation, level: Level) -> tuple[Grid, ...]:
    """Those that the explanation has, none where neither layers, heads nor pairs were asked for."""
    found = []
    if explanation.pairs is not None:
        found.append(pair_grid(explanation, level))
    if explanation.layers:
        found.append(layer_grid(explanation, level))
    if explanation.heads:
        found.append(head_grid(explanation))
    return tuple(found)


def layer_grid(explanation: Explanation, level: Level) -> Grid:
    """Words, tokens or sentences, and the special tokens among them, by layer."""
    count = len(explanation.layers)
    note = f"by layer: at the embedding (0), and behind each of the {count - 1} layers"
    return unit_grid(explanation, level, note, tuple(map(str, range(count))), explanation.layers)


def unit_grid(
    explanation: Explanation,
    level: Level,
    note: str,
    columns: tuple[str, ...],
    scores: Sequence[Sequence[float]],
) -> Grid:
    """Words, tokens or sentences, and the special tokens among them, by anything that scores tokens.

    note: says what the columns are.  scores: of each column, a number for each token.
    """
    tokens = explanation.tokens
    places: list[tuple[tuple[int, ...], str, bool]] = [
        ((place,), token.text, True) for place, token in enumerate(tokens) if token.special
    ]
    single = (place for place, token in enumerate(tokens) if not token.special)
    for unit in units_of(explanation, level):
        own = (next(single),) if isinstance(unit, Token) else unit.tokens
        places.append((own, short_name(unit), False))
    rows = [
        (name, tuple(sum(column[place] for place in own) for column in scores), special)
        for own, name, special in sorted(places)
    ]
    total = tuple(math.fsum(column) if all(map(math.isfinite, column)) else math.nan for column in scores)
    return Grid(
        level,
        note,
        columns,
        tuple((name, values) for name, values, _ in rows),
        total,
        _scale(explanation, [values for _, values, special in rows if not special]),
    )


def pair_grid(explanation: Explanation, level: Level) -> Grid:
    """Words, tokens or sentences of a text by those of its pair, and what each makes with the constants."""
    found = explanation.pairs
    assert found is not None
    rows, columns = sides_of(explanation, level)
    cells = [
        (
            short_name(first),
            [math.fsum(found.values[i][j] for i in own for j in other) for _, other in columns],
            own,
            isinstance(first, Token) and first.special,
        )
        for first, own in rows
    ]
    special = [isinstance(unit, Token) and unit.special for unit, _ in columns]
    inner = [
        [value for value, is_special in zip(values, special, strict=True) if not is_special]
        for _, values, _, is_special in cells
        if not is_special
    ]
    names = [short_name(unit) for unit, _ in columns]
    listed = [(name, values) for name, values, _, _ in cells]
    if found.constants is not None:
        names.append("biases")
        listed = [
            (name, [*values, math.fsum(found.first[place] for place in own)])
            for name, values, own, _ in cells
        ]
        below = [math.fsum(found.second[place] for place in other) for _, other in columns]
        listed.append(("biases", [*below, found.constants]))
    return Grid(
        level,
        f"{level}s of the text (rows) by {level}s of its pair: what two make of it together",
        tuple(names),
        tuple((name, tuple(values)) for name, values in listed),
        tuple(math.fsum(column) for column in zip(*(values for _, values in listed), strict=True)),
        _scale(explanation, [tuple(values) for values in inner]),
    )


def head_grid(explanation: Explanation) -> Grid:
    """Layers by heads."""
    return Grid(
        "layer",
        "by head: what each hands on, over all tokens",
        tuple(str(head + 1) for head in range(len(explanation.heads[0]))),
        tuple((str(layer + 1), scores) for layer, scores in enumerate(explanation.heads)),
        (),
        _scale(explanation, explanation.heads),
    )


def _scale(explanation: Explanation, rows: list[tuple[float, ...]] | tuple[tuple[float, ...], ...]) -> Scale:
    finite = [abs(score) for row in rows for score in row if math.isfinite(score)]
    return Scale(max(finite, default=0.0), explanation.signed)
