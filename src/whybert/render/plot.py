"""Explanations as matplotlib figures, for papers and slides.

Colour is never the only sign: under each word, or in each cell, lies a line as thick as the score is large,
whole where the word supports the target and broken where it speaks against it.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from whybert.errors import InputError, UnknownNameError, UsageError
from whybert.explanation import Explanation, Level, Sentence, Unit, units_of
from whybert.render import (
    Piece,
    as_sequence,
    check_one_text,
    ends,
    method_line,
    number,
    output_name,
    own_name,
    pieces,
    prediction_line,
    remarks,
    shorten,
    target_line,
    visible,
)
from whybert.render.figures import (
    INK,
    MARGIN,
    Sheet,
    drawing,
    font_note,
    headed,
    matplotlib,
    style,
    text_width,
    wrapped,
)
from whybert.render.grids import Grid, head_grid, layer_grid, pair_grid
from whybert.render.scale import Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["picture", "plot", "plot_methods"]

SHOWN: Final = 300  # words of a heat map; more are for a page that scrolls
BARS: Final = 25  # words of a bar chart
DOTS: Final = 15  # words of a chart of several methods
GRID: Final = 40  # rows of a grid of layers or heads
ROWS: Final = 20  # explanations of one figure
HATCH: Final = "////"  # of what speaks against
GREY: Final = "#5a5a5a"
_TEXT: Final = 10.5  # points
_BLANK: Final = 3.0
_STRIP: Final = 9.0  # height of a cell, and of the room for the line under a word
_NAME: Final = 130.0  # width of the names of methods, at most
_DIFFERENT: Final = (
    "expected explanations with the same {}s, got different ones; level='word' fits models with different "
    "tokenizers"
)
_THICK: Final = 4.5  # of the line at the end of the scale
_DASH: Final = 3.4


# One explanation.


def plot(explanation: Explanation, kind: str = "heat", level: Level = "word") -> Figure:
    """A picture of one explanation; see `Explanation.plot`."""
    if kind not in _KINDS:
        raise UnknownNameError("kind", kind, tuple(_KINDS))
    units_of(explanation, level)  # an unknown level is an error of any kind
    return _KINDS[kind](explanation, level)


def picture(explanations: Explanation | Iterable[Explanation], level: Level = "word") -> Figure:
    """One figure of several explanations: those of one text method by method, others one below the other.

    Args:
        explanations: 20 at most.
        level: as for `Explanation.plot`.

    Returns:
        The figure.

    Raises:
        InputError: there are none.
        UsageError: there are more than a figure can show.
        UnknownNameError: no such level.
        MissingExtraError: matplotlib is not installed.
    """
    rows = as_sequence(explanations)
    if len(rows) > ROWS:
        raise UsageError(
            f"expected at most {ROWS} explanations for one picture, got {len(rows)}; a page has room for all "
            "of them: give the file the suffix .html, or save fewer"
        )
    if len(rows) > 1 and len({(row.text, row.pair) for row in rows}) == 1:
        return plot_methods(rows, level=level)
    return _sheets(rows, level)


def _sheets(rows: Sequence[Explanation], level: Level) -> Figure:
    said = "".join(map(_all_text, rows))
    with drawing(said) as figure_of:
        sheet = Sheet()
        for row in rows:
            sheet.y += 10 if row is not rows[0] else 0
            _put(sheet, row, level)
        if note := font_note(said):
            sheet.say(note)
        return sheet.figure(figure_of)


def _put(sheet: Sheet, explanation: Explanation, level: Level) -> None:
    scale = Scale.of(explanation, level)
    sheet.say(visible(_heading(explanation)), 10, bold=True)
    sheet.y += 4
    shown, left = _limited(pieces(explanation, level, uncovered_limit=200), SHOWN)
    for place, line in enumerate(shown):
        if len(shown) > 1:
            sheet.say(("Text", "Pair")[place])
        _flow(sheet, line, _is_rightward(line), [(scale, line)])
    if left:
        sheet.say(_left_out(explanation, level, left, True))
    _legend(sheet, explanation, scale.maximum)
    for note in remarks(explanation):
        sheet.say(visible(note))


def _heading(explanation: Explanation) -> str:
    facts = (prediction_line(explanation), target_line(explanation), method_line(explanation))
    return " · ".join(fact for fact in facts if fact)


def _all_text(explanation: Explanation) -> str:
    parts = (explanation.text, explanation.pair or "", *(token.text for token in explanation.tokens))
    return visible("".join((*parts, *explanation.labels, method_line(explanation))))


def _left_out(explanation: Explanation, level: Level, left: int, is_alone: bool) -> str:
    units = units_of(explanation, level)
    told = ""
    if is_alone:
        sizes = [abs(unit.score) if math.isfinite(unit.score) else 0.0 for unit in units]
        share = sum(sizes[-left:]) / sum(sizes) if sum(sizes) else 0.0
        told = f"; they hold {share:.0%} of the sizes of all scores"
    shown = f"… the last {left:,} of {len(units):,} {level}s are not shown"
    return f"{shown}{told}.  A page (.html) has room for all."


def _limited(lines: Sequence[Sequence[Piece]], limit: int) -> tuple[list[list[Piece]], int]:
    """The first `limit` scored pieces, with what lies between them, and how many are left out."""
    shown: list[list[Piece]] = []
    count = 0
    left = 0
    for line in lines:
        kept = []
        for piece in line:
            counted = piece.score is not None and not piece.special
            if count < limit:
                kept.append(piece)
                count += counted
            else:
                left += counted
        shown.append(kept)
    return shown, left


def _is_rightward(line: Sequence[Piece]) -> bool:
    """Whether a text runs from left to right: as its first letter of a script with a direction does."""
    for piece in line:
        for letter in piece.text:
            direction = unicodedata.bidirectional(letter)
            if direction in ("L", "R", "AL"):
                return direction == "L"
    return True


@dataclass(frozen=True)
class _Cell:
    """A piece of text, or a part of a long one, with its place in the line and its width in points."""

    text: str
    place: int  # of the piece
    piece: Piece
    x: float
    width: float


def _lines(line: Sequence[Piece], width: float) -> Iterator[list[_Cell]]:
    """The pieces of a text as lines of a width."""
    row: list[_Cell] = []
    x = 0.0
    for place, piece in enumerate(line):
        size = _TEXT * (0.8 if piece.special else 1.0)
        words = visible(piece.text) + "?" * piece.unknown
        # A text that was never read is one piece; scored ones stay whole unless they are longer than a line.
        parts = words.split() if piece.score is None else [words]
        smaller = [each for part in parts for each in wrapped(part, width - 4, size) or [part]]
        for number_, part in enumerate(smaller):
            wide = text_width(part, size) + 3
            gap = _BLANK if row and (piece.blank or number_) else 0.0
            if row and x + gap + wide > width:
                yield row
                row, x, gap = [], 0.0, 0.0
            row.append(_Cell(part, place, piece, x + gap, wide))
            x += gap + wide
    if row:
        yield row


def _flow(
    sheet: Sheet,
    line: Sequence[Piece],
    rightward: bool,
    rows: Sequence[tuple[Scale, Sequence[Piece]]],
    names: Sequence[str] = (),
) -> None:
    """A wrapped text: each word on its colour, or over a row of cells for each method."""
    left = MARGIN + max((text_width(name, 8) + 8 for name in names), default=0.0)
    width = sheet.room - (left - MARGIN)
    if not line:
        sheet.say("(empty text)")
    for cells in _lines(line, width):
        top = sheet.y
        for cell in cells:
            x = left + (cell.x if rightward else width - cell.x - cell.width)
            ink = GREY if cell.piece.score is None else INK
            middle = x + cell.width / 2
            how: dict[str, Any] = {"ha": "center", "color": ink}
            size = _TEXT
            if cell.piece.special:
                how, size = how | {"style": "italic"}, _TEXT * 0.8
            if names:
                sheet.text(middle, top + _TEXT + 1, cell.text, size, **how)
                for place, (scale, own) in enumerate(rows):
                    y = top + _TEXT + 5 + place * (_STRIP + 2)
                    if (score := own[cell.place].score) is not None:
                        sheet.box(x, y, cell.width - 0.8, _STRIP, scale.colour(score).background)
                        _line(sheet, x, y, cell.width - 0.8, scale, score)
                continue
            scale = rows[0][0]
            if cell.piece.score is not None:
                colour = scale.colour(cell.piece.score)
                how["color"] = colour.foreground
                sheet.box(x, top, cell.width, _TEXT + 4, colour.background)
                _line(sheet, x, top + _TEXT + 3, cell.width, scale, cell.piece.score)
            sheet.text(middle, top + _TEXT, cell.text, size, **how)
        if names:
            for place, name in enumerate(names):
                y = top + _TEXT + 5 + place * (_STRIP + 2) + _STRIP - 2
                sheet.text(left - 5, y, name, 8, ha="right")
            sheet.y = top + _TEXT + 5 + len(rows) * (_STRIP + 2) + 7
        else:
            sheet.y = top + _TEXT + 3 + _STRIP + 4


def _line(sheet: Sheet, x: float, y: float, width: float, scale: Scale, score: float) -> None:
    """The size of a score as a thickness, in the middle of a strip."""
    position = scale.position(score)
    height = _THICK * abs(position)
    if abs(position) < 0.02:
        return
    y += (_STRIP - height) / 2
    if position > 0:
        sheet.box(x + 1, y, width - 2, height, INK)
        return
    count = max(2, round((width - 2) / _DASH))
    step = (width - 2) / (count - 0.45)
    for place in range(count):
        sheet.box(x + 1 + place * step, y, step * 0.55, height, INK)


def _legend(sheet: Sheet, explanation: Explanation, maximum: float | None) -> None:
    """The scale of colours with its bars; maximum: None where each row has its own."""
    scale = Scale(1.0, explanation.signed)
    low, high = map(visible, ends(explanation))
    steps = 21
    wide = 7.0
    at_low, at_high = ("-1", "+1") if explanation.signed else ("0", "1")
    title = "share of the row's largest |score|"
    if maximum is not None:
        at_low = number(-maximum) if explanation.signed else "0"
        at_high = number(maximum, explanation.signed)
        title = f"score {unit(explanation)}"
    sheet.y += 4
    low_text = f"{shorten(low)}  {at_low}" if explanation.signed else at_low
    high_text = f"{at_high}  {shorten(high)}"
    before = text_width(low_text, 8)
    x = MARGIN + before + 5
    sheet.text(x - 5, sheet.y + 9, low_text, 8, ha="right")
    start = -1.0 if explanation.signed else 0.0
    for step in range(steps):
        position = start + (1.0 - start) * step / (steps - 1)
        sheet.box(x + step * wide, sheet.y, wide, 12, scale.colour(position).background)
        _line(sheet, x + step * wide, sheet.y + 12, wide, scale, position)
    sheet.text(x + steps * wide + 5, sheet.y + 9, high_text, 8)
    sheet.y += 13 + _STRIP
    whole = ", whole for and broken against" if explanation.signed else ""
    sheet.say(f"{title}; lines are as thick as it is large{whole}", 8)


def unit(explanation: Explanation) -> str:
    """What a score is measured in, in brackets."""
    if explanation.completeness is None:  # it adds up to nothing
        return f"(raw, of {visible(explanation.method)})"
    return f"(part of the {output_name(explanation)})"


def _bars(explanation: Explanation, level: Level) -> Figure:
    said = _all_text(explanation)
    units = units_of(explanation, level)
    scores = [one.score if math.isfinite(one.score) else 0.0 for one in units]
    order = sorted(range(len(units)), key=lambda place: -abs(scores[place]))
    names = [_label(units[place]) for place in order[:BARS]]
    if others := order[BARS:]:
        names.append(f"{len(others):,} other {level}s, sum")
    drawn = [scores[place] for place in order[:BARS]]
    drawn += [sum(scores[place] for place in others)] if others else []
    low, high = map(visible, ends(explanation))
    with drawing(said) as figure_of:
        height = 95 + 15 * max(6, len(names))
        figure = headed(figure_of, visible(_heading(explanation)), height, size=10, bold=True)
        axes: Any = figure.subplots()
        places = range(len(names))
        for place, score in zip(places, drawn, strict=True):
            against = score < 0
            axes.barh(
                place,
                score,
                height=0.72,
                color=end_colour(explanation.signed, against),
                edgecolor=INK,
                linewidth=0.6,
                hatch=HATCH if against else None,
            )
            axes.annotate(
                number(score, explanation.signed),
                (score, place),
                (-3 if against else 3, 0),
                textcoords="offset points",
                ha="right" if against else "left",
                va="center",
                fontsize=8,
            )
        name_rows(axes, names)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.margins(x=0.14)
        axes.set_xlabel(f"score {unit(explanation)}")
        axes.set_ylabel(f"{level}s, strongest first")
        handles = sign_legend(explanation.signed, shorten(low), shorten(high))
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5)
        note = " · ".join(visible(each) for each in (*remarks(explanation), font_note(said)) if each)
        if note:
            axes.set_title("\n".join(wrapped(note, 400, 7.5)), fontsize=7.5, loc="left")
        return figure


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """Words as the names of rows, the first on top."""
    axes.set_yticks(range(len(names)), labels=names, fontsize=9, parse_math=False)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)


def sign_legend(signed: bool, low: str, high: str) -> list[Any]:
    """What a filled and a hatched bar mean."""
    patch = matplotlib(".patches").Patch
    found = [patch(facecolor=end_colour(signed, False), edgecolor=INK, label=high)]
    if signed:
        found.append(patch(facecolor=end_colour(signed, True), edgecolor=INK, hatch=HATCH, label=low))
    return found


def end_colour(signed: bool, against: bool) -> str:
    """The colour of a bar that supports or speaks against."""
    # One step before the end: hatches and black edges stay visible on it.
    return Scale(1.0, signed).colour_at(-0.6 if against else 0.75).background


def _label(one: Unit) -> str:
    mark = "" if isinstance(one, Sentence) else "?" * one.unknown
    return (shorten(visible(" ".join(one.text.split())), 28) or "␣") + mark


def _layers(explanation: Explanation, level: Level) -> Figure:
    _check_asked(explanation.layers, "layers")
    return _grid(explanation, layer_grid(explanation, level))


def _heads(explanation: Explanation, level: Level) -> Figure:
    _check_asked(explanation.heads, "heads")
    return _grid(explanation, head_grid(explanation))


def _pairs(explanation: Explanation, level: Level) -> Figure:
    if explanation.pairs is None:
        raise UsageError(
            "expected an explanation with pairs for this picture, got one without; ask for them: "
            "similarity(..., pairs=True)"
        )
    return _grid(explanation, pair_grid(explanation, level))


def _check_asked(found: object, name: str) -> None:
    if not found:
        raise UsageError(
            f"expected an explanation with {name} for this picture, got one without; ask for them: "
            f"explain(..., {name}=True)"
        )


def _grid(explanation: Explanation, grid: Grid) -> Figure:
    """Scores in rows and columns, each a cell with its colour and its line."""
    said = _all_text(explanation)
    sizes = [max((abs(score) for score in row if math.isfinite(score)), default=0.0) for _, row in grid.rows]
    kept = sorted(sorted(range(len(sizes)), key=lambda place: -sizes[place])[:GRID])
    with drawing(said) as figure_of:
        names = [_fitting(visible(name), _NAME) for name, _ in (grid.rows[place] for place in kept)]
        sheet = Sheet()
        sheet.say(visible(_heading(explanation)), 10, bold=True)
        sheet.say(grid.note)
        left = MARGIN + max(text_width(name, 8) for name in (*names, grid.title)) + 8
        wide = min(34.0, (MARGIN + sheet.room - left) / len(grid.columns))
        heads = [_fitting(visible(name), _NAME / 2) for name in grid.columns]
        widest = max(text_width(name, 8) for name in heads)
        step = math.ceil((widest + 2) / wide)
        is_upright = step > 1 and not all(name.isdecimal() for name in heads)  # of words none is left out
        sheet.y += widest + 6 if is_upright else 12
        sheet.text(left - 5, sheet.y, grid.title, 8, ha="right", weight="bold")
        for column, name in enumerate(heads):
            middle = left + (column + 0.5) * wide
            if is_upright:
                sheet.text(middle, sheet.y, name, 8, ha="center", va="bottom", rotation=90)
            elif column % step == 0:
                sheet.text(middle, sheet.y, name, 8, ha="center")
        sheet.y += 4
        for name, place in zip(names, kept, strict=True):
            sheet.text(left - 5, sheet.y + _STRIP, name, 8, ha="right")
            for column, score in enumerate(grid.rows[place][1]):
                x = left + column * wide
                sheet.box(x, sheet.y, wide - 0.8, _STRIP + 3, grid.scale.colour(score).background)
                _line(sheet, x, sheet.y + 1.5, wide - 0.8, grid.scale, score)
            sheet.y += _STRIP + 3.8
        sheet.y += 4
        if len(kept) < len(sizes):
            sheet.say(f"the {len(kept)} strongest of {len(sizes):,} rows, in their order")
        _legend(sheet, explanation, grid.scale.maximum)
        for note in (*remarks(explanation), *([each] if (each := font_note(said)) else [])):
            sheet.say(visible(note))
        return sheet.figure(figure_of)


_KINDS: Final[Mapping[str, Callable[[Explanation, Level], Figure]]] = {
    "heat": lambda explanation, level: _sheets([explanation], level),
    "bar": _bars,
    "layers": _layers,
    "heads": _heads,
    "pairs": _pairs,
}


# Several methods on one text.


def plot_methods(
    explanations: Mapping[str, Explanation | Sequence[Explanation]] | Iterable[Explanation],
    kind: str = "heat",
    level: Level = "word",
) -> Figure:
    """A picture of several explanations of one text: methods, options, classes or models.

    Each method is scaled to its own largest score, as methods differ in units.

    Args:
        explanations: by name, as `explain` returns them for several methods of one text, or one after
            another, which are named by their methods.
        kind: "heat" for the text with a row of cells for each method, "dot" for the strongest words with a
            marker for each method.
        level: as for `Explanation.plot`.

    Returns:
        The figure.

    Raises:
        InputError: there are none, or they explain different texts.
        UnknownNameError: no such kind or level.
        MissingExtraError: matplotlib is not installed.
    """
    if kind not in _METHOD_KINDS:
        raise UnknownNameError("kind", kind, tuple(_METHOD_KINDS))
    named = _named(explanations)
    return _METHOD_KINDS[kind](named, level)


def _named(
    explanations: Mapping[str, Explanation | Sequence[Explanation]] | Iterable[Explanation],
) -> dict[str, Explanation]:
    if isinstance(explanations, Mapping):
        named = {}
        for name, given in explanations.items():
            listed = as_sequence(given)
            if len(listed) > 1:
                raise InputError(
                    f"expected explanations of one text, got {len(listed)} for {name!r}; pass those of one: "
                    "{name: listed[0] for name, listed in found.items()}"
                )
            named[str(name)] = listed[0]
        as_sequence(named.values())
    else:
        rows = as_sequence(explanations)
        named = {}
        for row in rows:
            name = own_name(row, rows)
            named[name if name not in named else f"{name} ({len(named) + 1})"] = row
    check_one_text(named.values())
    return named


def _shared_heading(named: Mapping[str, Explanation]) -> str:
    predictions = {prediction_line(row): None for row in named.values()}
    targets = {target_line(row): None for row in named.values()}
    facts = [next(iter(predictions)) if len(predictions) == 1 else "predictions differ"]
    facts += [target for target in targets if target] if len(targets) == 1 else ["targets differ"]
    return " · ".join(facts)


def _heat_rows(named: Mapping[str, Explanation], level: Level) -> Figure:
    rows = list(named.values())
    said = "".join((*map(_all_text, rows), *named))
    scales = [Scale.of(row, level) for row in rows]
    limit = max(30, SHOWN * 4 // (4 + len(rows)))
    limited = [_limited(pieces(row, level, uncovered_limit=200), limit) for row in rows]
    if len({tuple(tuple(piece.text for piece in line) for line in shown) for shown, _ in limited}) > 1:
        raise InputError(_DIFFERENT.format(level))
    with drawing(said) as figure_of:
        names = [_fitting(visible(name), _NAME - 8) for name in named]
        sheet = Sheet()
        sheet.say(visible(_shared_heading(named)), 10, bold=True)
        sheet.y += 4
        shown, left = limited[0]
        for place, line in enumerate(shown):
            if len(shown) > 1:
                sheet.say(("Text", "Pair")[place])
            cells = [(scale, own[place]) for scale, (own, _) in zip(scales, limited, strict=True)]
            _flow(sheet, line, _is_rightward(line), cells, names)
        if left:
            sheet.say(_left_out(rows[0], level, left, False))
        for row in {ends(row): row for row in rows}.values():
            _legend(sheet, row, None)
        for remark in _shared_remarks(rows):
            sheet.say(remark)
        if note := font_note(said):
            sheet.say(note)
        return sheet.figure(figure_of)


def _fitting(text: str, width: float, size: float = 8.0) -> str:
    """A text cut to a width in points, its middle left out: options stand at the end."""
    if text_width(text, size) <= width:
        return text
    keep = len(text)
    while keep > 2 and text_width(_cut(text, keep), size) > width:
        keep -= 1
    return _cut(text, keep)


def _cut(text: str, keep: int) -> str:
    head = (keep + 1) // 2
    return f"{text[:head]}…{text[len(text) - (keep - head) :]}"


def _dots(named: Mapping[str, Explanation], level: Level) -> Figure:
    rows = list(named.values())
    said = "".join((*map(_all_text, rows), *named))
    scales = [Scale.of(row, level) for row in rows]
    columns = [
        [scale.position(one.score) for one in units_of(row, level)]
        for scale, row in zip(scales, rows, strict=True)
    ]
    units = units_of(rows[0], level)
    if len({len(column) for column in columns}) > 1:
        raise InputError(
            f"expected explanations with the same {level}s, got different ones; use level='word'"
        )
    sizes = [sum(abs(column[place]) for column in columns) for place in range(len(units))]
    order = sorted(range(len(units)), key=lambda place: -sizes[place])[:DOTS]
    with drawing(said) as figure_of:
        names = [_fitting(visible(name), 150, 8.5) for name in named]
        per_row = max(1, min(4, int(430 // (max(text_width(name, 8.5) for name in names) + 40))))
        lines = math.ceil(len(names) / per_row)
        height = 95 + 22 * max(1, len(order)) + 13 * lines
        figure = headed(figure_of, visible(_shared_heading(named)), height, size=10, bold=True)
        axes: Any = figure.subplots()
        spread = 0.6 / max(1, len(names) - 1)
        for place, (name, column) in enumerate(zip(names, columns, strict=True)):
            colour, how = style(place)
            shift = place * spread - 0.3 if len(names) > 1 else 0.0
            axes.plot(
                [column[unit_] for unit_ in order],
                [row + shift for row in range(len(order))],
                color=colour,
                label=name,
                markersize=5,
                **(how | {"linestyle": "none"}),
            )
        for row in range(len(order) - 1):
            axes.axhline(row + 0.5, color="#d0d0d0", linewidth=0.6)
        axes.axvline(0, color=INK, linewidth=0.8)
        name_rows(axes, [_label(units[place]) for place in order])
        signed = any(row.signed for row in rows)
        axes.set_xlim(-1.08 if signed else -0.03, 1.08)
        low, high = ends(next((row for row in rows if row.signed), rows[0]))
        sides = f"← {shorten(visible(low))}     {shorten(visible(high))} →" if signed else "more relevant →"
        axes.set_xlabel(f"share of each method's largest |score|\n{sides}")
        axes.set_ylabel(f"{level}s, strongest over all methods first")
        figure.legend(loc="outside lower center", ncols=per_row, fontsize=8.5)
        note = [f"the {len(order)} strongest of {len(units):,} {level}s"] if len(order) < len(units) else []
        note += [*_shared_remarks(rows), *([each] if (each := font_note(said)) else [])]
        if note:
            axes.set_title("\n".join(wrapped(" · ".join(note), 350, 7.5)), fontsize=7.5, loc="left")
        return figure


def _shared_remarks(rows: Sequence[Explanation]) -> list[str]:
    """What is to say of the text of several explanations, and not of one of them."""
    said = [remarks(replace(row, completeness=None)) for row in rows]  # the books are a method's own
    return [visible(each) for each in said[0] if all(each in other for other in said)]


_METHOD_KINDS: Final[Mapping[str, Callable[[Mapping[str, Explanation], Level], Figure]]] = {
    "heat": _heat_rows,
    "dot": _dots,
}
