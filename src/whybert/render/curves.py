"""Curves as inline SVG with a table of their numbers: what a model still says as words are taken away.

The lines have the colour of the text around them and of `figures.COLOURS`, so they are read on light and on
dark, and differ in dashes and marks as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from whybert.render import number, visible
from whybert.render.figures import COLOURS
from whybert.render.html import table

__all__ = ["Curve", "chart"]

_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 8, 34
_DASHES: Final = ("", "7 3", "2 2", "9 3 2 3", "4 4", "1 4")


@dataclass(frozen=True, slots=True)
class Curve:
    """A method's line in a chart.

    Fields:
        name: of the method.
        values: along the places of the chart.
        low, high: the band around it; empty for none.
        is_control: whether it is what the others are held against.
    """

    name: str
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    is_control: bool = False


def chart(title: str, across: str, up: str, places: Sequence[float], curves: Sequence[Curve]) -> str:
    """Curves over shares from 0 to 1, with a legend, and their numbers in a folded table.

    Args:
        title: says what is drawn.
        across, up: what is along the two axes.
        places: shares, from 0 to 1.
        curves: each with a value for each place.
    """
    values = [value for each in curves for value in (*each.values, *each.low, *each.high)]
    low, high = min([0.0, *values]), max([1.0, *values])

    def x(place: float) -> float:
        return _LEFT + place * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def points(values: Sequence[float], along: Sequence[float] = places) -> str:
        return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(along, values, strict=True))

    drawn = [
        f'<line x1="{x(0):.1f}" x2="{x(1):.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="currentColor" '
        f'opacity=".2"/><text x="{_LEFT - 5}" y="{y(tick) + 4:.1f}" text-anchor="end">{_shown(tick)}</text>'
        for tick in (low + (high - low) * step / 4 for step in range(5))
    ]
    drawn += [
        f'<text x="{x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{tick:.0%}</text>'
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    drawn.append(f'<text x="{x(0.5):.1f}" y="{_HEIGHT - 4}" text-anchor="middle">{_escape(across)}</text>')
    legend = []
    for number_of, each in enumerate(curves):
        colour = "currentColor" if each.is_control else COLOURS[number_of % len(COLOURS)]
        dashes = "2 4" if each.is_control else _DASHES[number_of % len(_DASHES)]
        how = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        if each.low:
            band = f"{points(each.low)} {points(each.high[::-1], places[::-1])}"
            drawn.append(f'<polygon points="{band}" fill="{colour}" opacity=".13"/>')
        drawn.append(f'<polyline points="{points(each.values)}" {how}/>')
        legend.append(
            '<li style="display:flex;align-items:center;gap:.4em;margin:0"><svg aria-hidden="true" '
            f'width="34" height="8"><line x1="0" x2="34" y1="4" y2="4" {how}/></svg>{_escape(each.name)}</li>'
        )
    said = "; ".join(
        f"{each.name} from {_shown(each.values[0])} to {_shown(each.values[-1])}" for each in curves
    )
    numbers = table(
        f"{title}: {up} by {across}",
        ("method", *(f"{place:.0%}" for place in places)),
        [(each.name, *map(_shown, each.values)) for each in curves],
    )
    return (
        f'<figure style="flex:1 1 18rem;min-width:0;max-width:30rem;margin:0">'
        f'<figcaption style="font-size:.9em"><strong>{_escape(title)}</strong></figcaption>'
        f'<svg role="img" aria-label="{_escape(f"{title}, {up} by {across}: {said}")}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" font-size="9.5" fill="currentColor" '
        f'style="display:block;overflow:visible">{"".join(drawn)}</svg>'
        '<ul style="list-style:none;display:flex;flex-wrap:wrap;gap:.1em 1em;margin:.2em 0;padding:0;'
        f'font-size:.85em">{"".join(legend)}</ul>'
        f'<details style="font-size:.85em"><summary>Numbers</summary>{numbers}</details></figure>'
    )


def _shown(value: float) -> str:
    return number(value, False, 2)


def _escape(text: str) -> str:
    return escape(visible(text))
