"""Tables of numbers for people, whatever the number of their columns and the width of the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from whybert.render import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

LOOK: Final[Mapping[str, Any]] = {
    "box": SIMPLE_HEAD,
    "pad_edge": False,
    "show_edge": False,
    "padding": (0, 1, 0, 0),
}
"""Of every table in the terminal, numbers or not."""
_NARROW: Final = 12  # characters of a heading that is broken where room is short
_GAP: Final = 2  # between columns
_LEAST: Final = 8  # characters that the names of the rows have at least


@dataclass(frozen=True)
class NumberTable:
    """A table with names of rows in its first column and numbers in all others.

    Columns that do not fit side by side follow below, the names of the rows before them again: none is
    lost, and no number is broken.

    Fields:
        title: of the first column.
        columns: the headings of the others.
        rows: the name of each row, and its cells; a plain string is made safe to print.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[Text | str, Sequence[Text | str]]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        rows = [(_text(name), [_text(cell) for cell in cells]) for name, cells in self.rows]
        headings = [visible(heading) for heading in self.columns]
        numbers = [max((_width(cells[i]) for _, cells in rows), default=0) for i in range(len(headings))]
        widths = [max(pair) for pair in zip(numbers, map(cell_len, headings), strict=True)]
        first = max(cell_len(visible(self.title)), *(_width(name) for name, _ in rows), _LEAST)
        room = options.max_width
        if first + sum(width + _GAP for width in widths) > room:
            widths = [max(number, min(width, _NARROW)) for number, width in zip(numbers, widths, strict=True)]
            first = max(_LEAST, min(first, room - _GAP - max(widths, default=0)))
        start = 0
        while start < len(widths) or start == 0:
            stop, used = start, first
            while stop < len(widths) and (stop == start or used + widths[stop] + _GAP <= room):
                used += widths[stop] + _GAP
                stop += 1
            table = Table(**LOOK)
            table.add_column(Text(visible(self.title)), width=first, overflow="fold")
            for heading, width in zip(headings[start:stop], widths[start:stop], strict=True):
                table.add_column(Text(_broken(heading, width)), width=width, justify="right", overflow="fold")
            for name, cells in rows:
                if stop - start == len(widths) or any(cell.plain.strip() for cell in cells[start:stop]):
                    table.add_row(name, *cells[start:stop])
            if start:
                yield Text()  # an empty line
            yield table
            start = max(stop, 1)


@dataclass(frozen=True)
class TextTable:
    """A table of texts, the first column kept whole; where there is little room, a paragraph for each row.

    Fields:
        columns: their headings.
        rows: the cells of each; there may be fewer than headings.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Text | str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text | Padding]:
        rows = [[_text(cell) for cell in row] for row in self.rows]
        first = max((_width(row[0]) for row in rows), default=0)
        if (options.max_width - first) // max(len(self.columns) - 1, 1) - _GAP >= _NARROW:
            table = Table(**LOOK)
            for index, heading in enumerate(self.columns):
                table.add_column(Text(visible(heading)), no_wrap=index == 0, overflow="fold")
            for row in rows:
                table.add_row(*row)
            yield table
            return
        for number, (name, *cells) in enumerate(rows):
            if number:
                yield Text()
            yield Text.assemble(name, style="bold", overflow="fold")
            for heading, cell in zip(self.columns[1:], cells, strict=False):
                told = Text.assemble((f"{visible(heading)}: ", "dim"), cell, overflow="fold")
                yield Padding(told, (0, 0, 0, 2))


def _text(cell: Text | str) -> Text:
    return Text(visible(cell)) if isinstance(cell, str) else cell


def _broken(heading: str, width: int) -> str:
    """On several lines where it is longer than that, and between its parts if it has some."""
    lines = [""]
    for part in re.split(r"(?<=[:,_ -])|(?==\D)", heading):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _width(text: Text) -> int:
    return max(cell_len(line) for line in text.plain.split("\n"))
