"""Heat maps for the terminal, as rich renderables.

Everything from outside is put into ``rich.text.Text`` after ``visible``, never into markup strings, so
neither escape sequences nor rich's own markup take effect.  Rich drops the colours where they are not
wanted (NO_COLOR, a pipe); the list of top words then still tells the result.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console, Group
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from whybert.errors import InputError
from whybert.explanation import Explanation, Level
from whybert.render import (
    Piece,
    as_sequence,
    ends,
    method_line,
    notes,
    number,
    pieces,
    prediction_line,
    shorten,
    target_line,
    top_units,
    visible,
)
from whybert.render.scale import Scale

__all__ = ["comparison", "terminal"]

_DIM = Style(dim=True)
_BOLD = Style(bold=True)
_PLAIN = Style(bold=False)
_UNCOVERED_LIMIT = 300  # a cut-off book must not scroll the result away
_BAR_CELLS = 24


def terminal(explanation: Explanation, level: Level = "word", show_scores: bool = False) -> Group:
    """One explanation: header, heat map, legend and the top words or tokens.

    Raises:
        UnknownNameError: no such level.
    """
    scale = Scale.of(explanation, level)
    facts = [target_line(explanation), f"method {method_line(explanation)}", *notes(explanation)]
    header = _header(prediction_line(explanation), facts)
    heat_maps = _heat_maps(explanation, level, scale, show_scores)
    return Group(
        header, Text(), *heat_maps, Text(), _legend(explanation, scale), _top(explanation, level, scale)
    )


def several(explanations: Sequence[Explanation], level: Level = "word", limit: int = 5) -> Group:
    """The first of a list, and how many there are."""
    parts: list[Group | Text] = []
    for explanation in explanations[:limit]:
        parts += [terminal(explanation, level), Text()]
    more = f", the first {limit} are shown" if len(explanations) > limit else ""
    return Group(*parts, Text(f"{len(explanations)} explanations{more}", style=_DIM))


def plain_text(explanation: Explanation, level: Level = "word", width: int = 100) -> str:
    """What a terminal without colours shows, as text.

    Raises:
        UnknownNameError: no such level.
    """
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False, force_terminal=False)
    console.print(terminal(explanation, level))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def comparison(explanations: Iterable[Explanation], level: Level = "word") -> Group:
    """Several explanations of the same text, one row each, on one scale of colours.

    Each row is scaled to its own maximum, as methods differ in units.

    Raises:
        InputError: there are none, or they explain different texts.
        UnknownNameError: no such level.
    """
    rows = as_sequence(explanations)
    first = rows[0]
    for other in rows[1:]:
        if (other.text, other.pair) != (first.text, first.pair):
            raise InputError(
                "expected explanations of the same text, got different texts; "
                "show them one by one, or group them by text first"
            )
    shared_prediction = len({prediction_line(row) for row in rows}) == 1
    shared_target = len({target_line(row) for row in rows}) == 1
    prediction = prediction_line(first) if shared_prediction else "predictions differ"
    facts = [target_line(first) if shared_target else None]
    facts += ["each row is scaled to its own maximum"] if len(rows) > 1 else []

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=24, overflow="fold")
    table.add_column(ratio=1)
    repeated = len({row.method for row in rows}) < len(rows)
    for row in rows:
        scale = Scale.of(row, level)
        name = Text(visible(method_line(row) if repeated else row.method), style=_BOLD)
        details = [] if shared_prediction else [prediction_line(row)]
        details += [] if shared_target else [target_line(row) or f"target {row.target.name}"]
        details += notes(row)
        below = [Text(visible(" · ".join(details)), style=_DIM)] if details else []
        cell = Group(*_heat_maps(row, level, scale, False), _top(row, level, scale, 3), *below)
        table.add_row(name, Padding(cell, (0, 0, 1, 0)))

    legends, seen = [], set()
    for row in rows:
        if (key := ends(row)) not in seen:
            seen.add(key)
            legends.append(_legend(row, None))
    return Group(_header(prediction, facts), Text(), table, *legends)


def _header(prediction: str, facts: Sequence[str | None]) -> Text:
    header = Text(visible(prediction), style=_BOLD)
    for fact in facts:
        if fact:
            header.append(" · ", _PLAIN).append(visible(fact), _PLAIN)
    return header


def _heat_maps(explanation: Explanation, level: Level, scale: Scale, show_scores: bool) -> list[Text | Table]:
    texts = [
        _heat_map(line, scale, show_scores)
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


def _heat_map(line: Sequence[Piece], scale: Scale, show_scores: bool) -> Text:
    text = Text()
    covered_before = False
    for piece in line:
        covered = piece.score is not None
        if piece.blank:
            # The blank between two words is "paper" like a word of score 0, so that a line has no gaps.
            text.append(" ", _style(scale, 0.0) if covered and covered_before else None)
        if piece.score is None:
            text.append(visible(piece.text), _DIM)
        else:
            style = _style(scale, piece.score)
            if piece.special:
                # Dim letters would be lost on a dark background.
                dim = scale.colour(piece.score).foreground != "#ffffff"
                style += Style(italic=True, dim=dim)
            text.append(visible(piece.text), style)
            if show_scores:
                text.append(f"({number(piece.score, scale.signed)})", _DIM)
        covered_before = covered
    return text if line else Text("(empty text)", style=_DIM)


def _style(scale: Scale, score: float) -> Style:
    if not scale.maximum:
        return Style()
    colour = scale.colour(score)
    return Style(color=colour.foreground, bgcolor=colour.background)


def _legend(explanation: Explanation, scale: Scale | None) -> Text:
    """The colour bar between its two labels; with the scores at its ends where a scale is given."""
    signed = explanation.signed
    painter = Scale(1.0, signed)
    low, high = ends(explanation)
    maximum = None if scale is None else scale.maximum
    legend = Text(visible(low))
    if signed and maximum is not None:
        legend.append(f" {number(-maximum)}" if maximum else "")
    legend.append(" ")
    start = -1.0 if signed else 0.0
    for cell in range(_BAR_CELLS + 1):
        position = start + (1.0 - start) * cell / _BAR_CELLS
        middle = signed and cell == _BAR_CELLS // 2
        legend.append("0" if middle else " ", _style(painter, position))
    legend.append(" ")
    if maximum:
        legend.append(f"{number(maximum, signed)} ")
    return legend.append(visible(high))


def _top(explanation: Explanation, level: Level, scale: Scale, k: int = 5) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for heading, units in top_units(explanation, level, k):
        listed = Text()
        for unit in units:
            listed.append("  " if listed else "")
            listed.append(visible(shorten(" ".join(unit.text.split()))), _style(scale, unit.score))
            listed.append(f" {number(unit.score, scale.signed)}")
        table.add_row(Text(heading, style=_DIM), listed if units else Text("(none)", style=_DIM))
    return table
