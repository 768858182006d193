"""Heat maps for the terminal, as rich renderables.

Everything from outside is put into ``rich.text.Text`` after ``visible``, never into markup strings, so
neither escape sequences nor rich's own markup take effect.  Where colours are not wanted (NO_COLOR, a pipe)
signs before the words stand for them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from whybert.comparing import Comparison, Comparisons
from whybert.explanation import Explanation, Level, units_of
from whybert.render import (
    COMPARISON_NOTE,
    Piece,
    as_sequence,
    check_one_text,
    comparison_facts,
    comparison_table,
    ends,
    method_line,
    notes,
    number,
    own_name,
    pieces,
    prediction_line,
    short_name,
    summary_facts,
    target_line,
    top_units,
    visible,
    warning,
)
from whybert.render.grids import grids
from whybert.render.scale import FAINT, MEDIUM, Scale
from whybert.render.tables import NumberTable

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

__all__ = ["compared", "compared_list", "comparison", "plain_text", "several", "terminal"]

_DIM = Style(dim=True)
_BOLD = Style(bold=True)
_PLAIN = Style(bold=False)
_WARNING = Style(bold=True, color="yellow")
_UNCOVERED_LIMIT = 300  # a cut-off book must not scroll the result away
_BAR = (9, 25)  # cells of the colour bar; odd, so that it has a middle
_COLUMNS = 16  # of a table of words by words
_TOO_MANY = "too many for a terminal; top_pairs() lists the strongest, a page (.html) shows all"
_NARROW = 60  # columns from which on the names of methods have room beside their heat maps


@dataclass(frozen=True)
class Painted:
    """What is drawn in another way where there are no colours, or little room.

    Fields:
        draw: makes it for a terminal with colours or without, and for its width in columns.
    """

    draw: Callable[[bool, int], RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.draw(console.color_system is not None and not console.no_color, options.max_width)


def terminal(explanation: Explanation, level: Level = "word", show_scores: bool = False) -> Painted:
    """One explanation: header, heat map, legend and the top words or tokens.

    Raises:
        UnknownNameError: no such level.
    """
    scale = Scale.of(explanation, level)

    def draw(coloured: bool, width: int) -> RenderableType:
        facts = [target_line(explanation), f"method {method_line(explanation)}", *notes(explanation)]
        return Group(
            _header(prediction_line(explanation), facts),
            *_warnings([explanation]),
            Text(),
            *_heat_maps(explanation, level, scale, coloured, show_scores),
            Text(),
            *_legend(explanation, scale, coloured, width),
            _top(explanation, level, scale, coloured),
            *_grids(explanation, level),
        )

    return Painted(draw)


def several(explanations: Sequence[Explanation], limit: int = 5) -> Group:
    """The first of a list, and how many there are."""
    parts: list[RenderableType] = []
    for explanation in explanations[:limit]:
        parts += [terminal(explanation), Text()]
    count = f"{len(explanations)} explanation{'s' * (len(explanations) != 1)}"
    more = f", the first {limit} are shown" if len(explanations) > limit else ""
    return Group(*parts, Text(count + more, style=_DIM))


def plain_text(renderable: RenderableType, width: int = 100) -> str:
    """What a terminal without colours shows, as text."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False, force_terminal=False).print(renderable)
    return "".join(f"{line.rstrip(' ')}\n" for line in out.getvalue().removesuffix("\n").split("\n"))


def comparison(explanations: Iterable[Explanation], level: Level = "word") -> Painted:
    """Several explanations of the same text, one row each.

    Each row is scaled to its own maximum, as methods differ in units.

    Raises:
        InputError: there are none, or they explain different texts.
        UnknownNameError: no such level.
    """
    rows = as_sequence(explanations)
    first = rows[0]
    check_one_text(rows)
    for row in rows:
        units_of(row, level)  # an unknown level is an error
    shared_prediction = len({prediction_line(row) for row in rows}) == 1
    shared_target = len({target_line(row) for row in rows}) == 1
    prediction = prediction_line(first) if shared_prediction else "predictions differ"
    facts = [target_line(first) if shared_target else None]
    facts += ["each row is scaled to its own maximum"] if len(rows) > 1 else []

    def draw(coloured: bool, width: int) -> RenderableType:
        names = [own_name(row, rows) for row in rows]
        details = []
        for row in rows:
            own = [] if shared_prediction else [prediction_line(row)]
            if not shared_target and row.probabilities and row.target.against is None:
                own.append(f"probability {row.probabilities[row.target.index]:.3f}")
            details.append([*own, *notes(row)])
        table = _side_by_side(rows, names, details, level, coloured, width)
        below = [
            part for row, name in zip(rows, names, strict=True) for part in _grids(row, level, f"{name} ")
        ]
        return Group(
            _header(prediction, facts),
            *_warnings(rows),
            Text(),
            table,
            *_legends(rows, coloured, width),
            *below,
        )

    return Painted(draw)


def _side_by_side(
    rows: Sequence[Explanation],
    names: Sequence[str],
    details: Sequence[Sequence[str]],
    level: Level,
    coloured: bool,
    width: int,
) -> Table:
    """Heat maps under one another, their names beside them where there is room."""
    table = Table.grid(padding=(0, 2, 0, 0))
    if width >= _NARROW:
        table.add_column(max_width=24, overflow="fold")
    table.add_column(ratio=1)
    for row, said, own in zip(rows, names, details, strict=True):
        name, scale = Text(visible(said), style=_BOLD), Scale.of(row, level)
        cell: list[RenderableType] = [
            *_heat_maps(row, level, scale, coloured, False),
            _top(row, level, scale, coloured, 3),
            *([Text(visible(" · ".join(own)), style=_DIM)] if own else []),
        ]
        beside = [name] if width >= _NARROW else []
        below = cell if beside else [name, *cell]
        table.add_row(*beside, Padding(Group(*below), (0, 0, 1, 0)))
    return table


def _legends(rows: Sequence[Explanation], coloured: bool, width: int) -> list[Text]:
    legends = {ends(row): row for row in reversed(rows)}
    return [line for row in reversed(legends.values()) for line in _legend(row, None, coloured, width)]


def compared(found: Comparison) -> Painted:
    """Two explanations under one another, and what changes most."""
    rows = (found.first, found.second)

    def draw(coloured: bool, width: int) -> RenderableType:
        details = [[prediction_line(row), *filter(None, [target_line(row)]), *notes(row)] for row in rows]
        (title, *columns), *changed = comparison_table(found)
        table = NumberTable(title, columns, [(name, cells) for name, *cells in changed])
        below: list[RenderableType] = [Text(), table, Text(COMPARISON_NOTE, style=_DIM)] if changed else []
        return Group(
            _header(" / ".join(found.names), comparison_facts(found)),
            *_warnings(rows),
            Text(),
            _side_by_side(rows, found.names, details, found.level, coloured, width),
            *_legends(rows, coloured, width),
            *below,
        )

    return Painted(draw)


def compared_list(found: Comparisons, limit: int = 5) -> Group:
    """What many comparisons say together, and those that are least alike."""
    parts: list[RenderableType] = [Text(" · ".join(summary_facts(found)), style=_BOLD)]
    for each in found.least_alike(limit):
        parts += [Text(), compared(each)]
    if len(found) > limit:
        parts += [Text(), Text(f"the {limit} least alike are shown", style=_DIM)]
    return Group(*parts)


def _header(prediction: str, facts: Sequence[str | None]) -> Text:
    header = Text(visible(prediction), style=_BOLD)
    for fact in facts:
        if fact:
            header.append(" · ", _PLAIN).append(visible(fact), _PLAIN)
    return header


def _warnings(explanations: Sequence[Explanation]) -> list[Text]:
    said = dict.fromkeys(filter(None, map(warning, explanations)))
    return [Text("warning: ", style=_WARNING).append(line, _PLAIN) for line in said]


def _heat_maps(
    explanation: Explanation, level: Level, scale: Scale, coloured: bool, show_scores: bool
) -> list[Text | Table]:
    texts = [
        _heat_map(line, scale, coloured, show_scores)
        for line in pieces(explanation, level, uncovered_limit=_UNCOVERED_LIMIT)
    ]
    if len(texts) == 1:
        return [texts[0]]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for label, text in zip(("text", "pair"), texts, strict=True):
        table.add_row(Text(label, style=_DIM), text)
    return [table]


def _heat_map(line: Sequence[Piece], scale: Scale, coloured: bool, show_scores: bool) -> Text:
    text = Text()
    for piece in line:
        text.append(" " if piece.blank else "")
        if piece.score is None:
            text.append(visible(piece.text), _DIM)
            continue
        mark = "" if coloured or show_scores else scale.mark(piece.score)
        style = _style(scale, piece.score) + Style(italic=piece.special)
        text.append(mark + visible(piece.text), style)
        text.append("?" if piece.unknown else "", _BOLD)
        if show_scores:
            text.append(f"({number(piece.score, scale.signed)})", _DIM)
    return text if line else Text("(empty text)", style=_DIM)


def _style(scale: Scale, score: float) -> Style:
    return _style_at(scale, scale.position(score))


def _style_at(scale: Scale, position: float) -> Style:
    background, foreground = scale.on_any_at(position)
    return Style(color=foreground, bgcolor=background)


def _legend(explanation: Explanation, scale: Scale | None, coloured: bool, width: int) -> list[Text]:
    """What the colours or signs mean, with the scores at the ends where a scale is given."""
    low, high = map(visible, ends(explanation))
    signed, maximum = explanation.signed, None if scale is None else scale.maximum
    if not coloured:
        sign = ("++ + ", "-- - ") if signed else ("** * ", "")
        said = f"{sign[0]}{high}" + (f"; {sign[1]}{low}" if signed else "")
        of = "its row's highest" if maximum is None else number(maximum, False)
        return [Text(f"{said} (one sign from a fifth of {of} on, two from half)" if maximum != 0 else said)]
    before = f"{number(-maximum)} " if signed and maximum else ""
    after = f" {number(maximum, signed)}" if maximum else ""
    around = cell_len(before + after)
    painter = Scale(1.0, signed)
    room = width - around - cell_len(low) - cell_len(high) - 2
    if room >= _BAR[0]:
        bar = _bar(painter, before, min(room, _BAR[1]), after)
        return [Text(f"{low} ").append_text(bar).append(f" {high}")]
    bar = _bar(painter, before, max(3, min(width - around, _BAR[1])), after)
    below = [Text("left: ").append(low, _style_at(painter, -1.0))] if signed else []
    return [bar, *below, Text("right: ").append(high, _style_at(painter, 1.0))]


def _bar(painter: Scale, before: str, cells: int, after: str) -> Text:
    """The colours from end to end, in an odd number of cells."""
    bar = Text(before)
    steps = cells - (cells % 2 == 0) - 1
    start = -1.0 if painter.signed else 0.0
    for cell in range(steps + 1):
        position = start + (1.0 - start) * cell / steps
        is_letters = FAINT <= abs(position) < MEDIUM
        middle = painter.signed and cell == steps // 2
        bar.append("0" if middle else "▪" if is_letters else " ", _style_at(painter, position))
    return bar.append(after)


def _grids(explanation: Explanation, level: Level, before: str = "") -> list[RenderableType]:
    """What is known of the inside of the model, a table of numbers on their colours for each grid."""
    parts: list[RenderableType] = []
    for grid in grids(explanation, level):
        if explanation.pairs is not None and len(grid.columns) > _COLUMNS:
            parts += [Text(), Text(f"{visible(before)}pairs: {_TOO_MANY}", _DIM)]
            continue
        rows: list[tuple[Text | str, list[Text | str]]] = [
            (name, [Text(grid.shown(score), _style(grid.scale, score)) for score in scores])
            for name, scores in grid.rows
        ]
        if grid.total:
            rows.append(("sum", [grid.shown(score) for score in grid.total]))
        parts += [
            Text(),
            Text(visible(before + grid.note), _DIM),
            NumberTable(grid.title, grid.columns, rows),
        ]
    return parts


def _top(explanation: Explanation, level: Level, scale: Scale, coloured: bool, k: int = 5) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for heading, units in top_units(explanation, level, k):
        listed = Text()
        for unit in units:
            listed.append("  " if listed else "")
            listed.append(visible(short_name(unit)), _style(scale, unit.score))
            listed.append(f" {number(unit.score, scale.signed)}")
        table.add_row(Text(heading, style=_DIM), listed if units else Text("(none)", style=_DIM))
    return table
