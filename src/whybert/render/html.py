"""Heat maps as HTML: one file that needs no script and no network.

Every explanation is drawn with inline styles only, so a fragment changes nothing around it in a notebook.
The heat map lies on white "paper" in light and in dark surroundings, because white means a score of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from html import escape

from whybert.comparing import Comparison, Comparisons
from whybert.explanation import Explanation, Level, Unit, units_of
from whybert.render import (
    COMPARISON_NOTE,
    Piece,
    as_sequence,
    by_text,
    comparison_facts,
    comparison_table,
    index,
    is_right,
    method_line,
    notes,
    number,
    pieces,
    prediction_line,
    scored_ends,
    short_name,
    shorten,
    summary_facts,
    target_line,
    top_units,
    visible,
    warning,
)
from whybert.render.grids import Grid, grids
from whybert.render.scale import Scale

__all__ = [
    "compared",
    "compared_list",
    "compared_page",
    "figure",
    "fragment",
    "fragments",
    "grid",
    "html",
    "table",
]

_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; background: #fbfbfa; color: #1c1c1c; }
main { max-width: 52rem; margin: 0 auto; padding: 2rem 1.25rem; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
.about { margin: 0 0 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
section + section { margin-top: 2.5rem; padding-top: 1.5rem; border-top: 1px solid #8886; }
@media (prefers-color-scheme: dark) { body { background: #17181a; color: #ececec; } }
""".strip()
FEW = 50
"""More texts than these get an index with a filter, and a script that shows what is asked for."""

_WITHOUT_SCRIPTS = 10  # of many texts, so many are there for those without scripts

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PAPER = (
    "margin:.35em 0;padding:.5em .7em;background:#ffffff;color:#000000;border:1px solid #8886;"
    "border-radius:6px;line-height:1.9;overflow-wrap:anywhere"
)
_UNIT = "padding:.12em 0;border-radius:2px;"  # no side padding: punctuation stays close
_UNCOVERED = "color:#6b6b6b"  # 5.3:1 on the paper
_UNKNOWN = "<sup>?</sup>"
AGAINST_LINE = "border-bottom:2px dotted #555555"  # in black and white the colours of both ends are one
_ALERT = "margin:.35em 0;padding:.2em .7em;border-left:4px solid #d98e04;overflow-wrap:anywhere"
_CELL = "padding:.1em 1.2em .1em 0;text-align:left;border:0;background:transparent"


# What is too wide scrolls, with the keyboard too.
_SCROLLS = 'tabindex="0" role="group" aria-label="Table" style="overflow-x:auto'

_NUMBER = "padding:.1em .35em;text-align:right;border:0;font-variant-numeric:tabular-nums"


def html(
    explanations: Explanation | Iterable[Explanation],
    level: Level = "word",
    title: str = "Why the model answered so",
    date: str | None = None,
) -> str:
    """A complete HTML document; explanations of the same text are shown one under another.

    It has no script, but for an index where there are more than FEW texts.  `date` is the one that it names;
    None takes today's.

    Raises:
        InputError: there are none.
        UnknownNameError: no such level.
    """
    listed = as_sequence(explanations)
    units_of(listed[0], level)  # an unknown level is an error
    groups = by_text(listed)
    first = groups if len(groups) <= FEW else groups[:_WITHOUT_SCRIPTS]
    sections = "\n".join(_section(group, level) for group in first)
    policy, style, content = _POLICY, "", sections
    if len(groups) > FEW:
        script = index.script()
        policy += f"; script-src '{index.integrity(script)}'"
        style = index.style()
        content = index.body(groups, level, script, sections)
    return _page(
        title, _about(listed, f"{len(groups)} text{'s' * (len(groups) > 1)}", date), content, policy, style
    )


def _page(title: str, about: str, content: str, policy: str = _POLICY, style: str = "") -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_escape(title)}</title>
<style>
{_PAGE_STYLE}{style}
</style>
</head>
<body>
<main>
<h1>{_escape(title)}</h1>
<p class="about">{_escape(about)}</p>
{content}
</main>
</body>
</html>
"""


def _about(explanations: Sequence[Explanation], counted: str, date: str | None) -> str:
    """Where the page comes from: the models, the methods, how many texts, the version and the date."""
    from whybert import __version__

    models = list(dict.fromkeys(each.classifier for each in explanations if each.classifier))
    methods = list(dict.fromkeys(map(method_line, explanations)))
    # What one model says of a text is one answer, by whatever methods it is explained.
    answers = [group[0] for group in by_text(explanations)] if len(models) < 2 else []
    judged = [right for right in map(is_right, answers) if right is not None]
    return " · ".join(
        [
            *(["model" + "s" * (len(models) > 1) + " " + ", ".join(models)] if models else []),
            "method" + "s" * (len(methods) > 1) + " " + ", ".join(methods),
            counted,
            *([f"{sum(judged)} of {len(judged)} predictions right"] if judged else []),
            f"whybert {__version__}",
            datetime.now().date().isoformat() if date is None else date,
        ]
    )


def fragment(explanation: Explanation, level: Level = "word") -> str:
    """The heat map as one element with inline styles, for notebooks.

    Raises:
        UnknownNameError: no such level.
    """
    return (
        '<div style="max-width:52rem;margin:.5em 0;line-height:1.5">'
        f"<div><strong>{_escape(prediction_line(explanation))}</strong></div>"
        f"{figure(explanation, level)}</div>"
    )


def fragments(explanations: Sequence[Explanation], limit: int = 5) -> str:
    """The first heat maps of a list, and how many there are, for notebooks."""
    shown = "".join(fragment(explanation) for explanation in explanations[:limit])
    more = f"the first {limit} are shown; " if len(explanations) > limit else ""
    return f"<div>{shown}<div>{len(explanations)} explanations: {more}whybert.html() makes a page</div></div>"


def compared(found: Comparison) -> str:
    """Two explanations side by side, and what changes most, as one element with inline styles."""
    sides = "".join(
        f'<div style="flex:1 1 20rem;min-width:0"><div><strong>{_escape(name)}</strong>: '
        f"{_escape(prediction_line(each))}</div>{figure(each, found.level)}</div>"
        for name, each in zip(found.names, (found.first, found.second), strict=True)
    )
    columns, *changed = comparison_table(found)
    return (
        '<div style="max-width:72rem;margin:.5em 0;line-height:1.5">'
        f"<div><strong>{_escape(' / '.join(found.names))}</strong> · "
        f"{' · '.join(map(_escape, comparison_facts(found)))}</div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:0 2rem;margin-top:.5em">{sides}</div>'
        f"{table(COMPARISON_NOTE, columns, changed) if changed else ''}</div>"
    )


def compared_list(found: Comparisons, limit: int = 5) -> str:
    """What many comparisons say together, and those that are least alike, for notebooks."""
    shown = "".join(f"<hr>{compared(each)}" for each in found.least_alike(limit))
    more = f"<div>the {limit} least alike are shown</div>" if len(found) > limit else ""
    return f"<div><div>{_escape(' · '.join(summary_facts(found)))}</div>{shown}{more}</div>"


def compared_page(found: Comparisons) -> str:
    """A complete HTML document of comparisons, of many the FEW that are least alike.

    Raises:
        InputError: there are none.
    """
    sides = as_sequence([side for each in found for side in (each.first, each.second)])
    shown = found.least_alike(FEW) if len(found) > FEW else found
    summary = [*summary_facts(found), *([f"the {FEW} least alike are shown"] if len(found) > FEW else [])]
    content = f"<p>{_escape(' · '.join(summary))}</p>" if len(found) > 1 else ""
    content += "\n".join(f"<section>{compared(each)}</section>" for each in shown)
    about = _about(sides, f"{len(found)} pair{'s' * (len(found) > 1)} of explanations", None)
    return _page("Two explanations side by side", about, content, style="\nmain { max-width: 72rem; }")


def _section(group: list[Explanation], level: Level) -> str:
    lines = {prediction_line(explanation) for explanation in group}
    shared = len(lines) == 1
    heading = f"<h2>{_escape(lines.pop())}</h2>" if shared else "<h2>Predictions differ</h2>"
    figures = "\n".join(figure(explanation, level, with_prediction=not shared) for explanation in group)
    return f"<section>\n{heading}\n{figures}\n</section>"


def figure(
    explanation: Explanation,
    level: Level = "word",
    with_prediction: bool = False,
    more: Callable[[Piece], str] = lambda piece: "",
) -> str:
    """The heat map with what goes along, without the prediction, as one element with inline styles.

    Args:
        explanation: what is shown.
        level: "word", "token" or "sentence".
        with_prediction: whether a line says the prediction.
        more: further attributes of the element of a piece that has a score, escaped, after a blank.

    Raises:
        UnknownNameError: no such level.
    """
    scale = Scale.of(explanation, level)
    facts = [
        f"<strong>{_escape(method_line(explanation))}</strong>",
        _escape(prediction_line(explanation)) if with_prediction else "",
        _escape(target_line(explanation) or ""),
        *map(_escape, notes(explanation)),
    ]
    lines = pieces(explanation, level)
    labels = ("Text", "Pair") if len(lines) > 1 else ("",)
    paper = "".join(
        (f'<div style="font-size:.85em">{label}</div>' if label else "")
        # The language of the text is unknown (lang=""); its direction is the browser's to find out.
        + f'<div dir="auto" lang="" style="{_PAPER}">{_heat_map(line, scale, more)}</div>'
        for label, line in zip(labels, lines, strict=True)
    )
    top = top_units(explanation, level)
    said = warning(explanation)
    alert = f'<div style="{_ALERT}">{_escape(said)}</div>' if said else ""
    return (
        f'<figure aria-label="{_escape(_summary(explanation, top))}" style="margin:0 0 1.4em">'
        f'<figcaption style="overflow-wrap:anywhere">{" · ".join(filter(None, facts))}</figcaption>'
        f"{alert}{paper}{_legend(explanation, scale)}{_top(top, scale)}"
        f"{''.join(map(grid, grids(explanation, level)))}"
        f"{_table(explanation, level, scale)}</figure>"
    )


def _heat_map(line: tuple[Piece, ...], scale: Scale, more: Callable[[Piece], str]) -> str:
    if not line:
        return f'<span style="{_UNCOVERED}">(empty text)</span>'
    parts = []
    for piece in line:
        parts.append(" " if piece.blank else "")
        text = _escape(piece.text)
        if piece.score is None:
            parts.append(f'<span style="{_UNCOVERED}" title="not seen by the model">{text}</span>')
            continue
        colour = scale.colour(piece.score)
        style = f"{_UNIT}background:{colour.background};color:{colour.foreground}"
        style += ";font-size:.8em;font-style:italic" if piece.special else ""
        style += f";{AGAINST_LINE}" if scale.mark(piece.score).startswith("-") else ""
        remark = " (unknown to the tokenizer)" if piece.unknown else ""
        tooltip = _escape(f"{shorten(piece.text)}: {number(piece.score, scale.signed)}{remark}")
        shown = f'<span style="{style}" title="{tooltip}"{more(piece)}>{text}</span>'
        parts.append(shown + _UNKNOWN * piece.unknown)
    return "".join(parts)


def _legend(explanation: Explanation, scale: Scale) -> str:
    low, high = map(_escape, scored_ends(explanation, scale.maximum))
    middle = "0" if scale.signed else ""
    return (
        '<div style="display:flex;flex-wrap:wrap;align-items:center;gap:.6em;font-size:.85em">'
        f'<span style="{AGAINST_LINE if scale.signed else ""}">{low}</span>'
        f'<span style="display:inline-block;width:11em;height:1.35em;line-height:1.35em;text-align:center;'
        f'color:#000000;border:1px solid #8886;background:linear-gradient(to right,{",".join(scale.stops)})">'
        f"{middle}</span>"
        f"<span>{high}</span></div>"
    )


def _top(top: tuple[tuple[str, tuple[Unit, ...]], ...], scale: Scale) -> str:
    rows = []
    for heading, units in top:
        listed = ", ".join(
            f"<bdi>{_escape(short_name(unit))}</bdi>&nbsp;{number(unit.score, scale.signed)}"
            for unit in units
        )
        rows.append(f"<div><strong>{heading.capitalize()}</strong> {listed or '(none)'}</div>")
    return f'<div style="font-size:.85em;margin-top:.3em;overflow-wrap:anywhere">{"".join(rows)}</div>'


def _table(explanation: Explanation, level: Level, scale: Scale) -> str:
    """All scores as text, folded: colours and tooltips are not for everyone."""
    units: Iterable[Unit] = explanation.tokens if level == "token" else units_of(explanation, level)
    rows = "".join(_row(unit.text, number(unit.score, scale.signed)) for unit in units)
    return (
        '<details style="font-size:.85em;margin-top:.3em"><summary>All scores</summary>'
        '<table style="border-collapse:collapse;margin:.4em 0">'
        f'<thead><tr><th scope="col" style="{_CELL}">{level.capitalize()}</th>'
        f'<th scope="col" style="{_CELL}">Score</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def grid(found: Grid) -> str:
    """Layers or heads as a table of numbers on their colours, with inline styles."""
    heads = "".join(
        f'<th scope="col" style="{_NUMBER}"><bdi>{_escape(name)}</bdi></th>' for name in found.columns
    )
    rows = "".join(
        f'<tr><th scope="row" style="{_CELL};font-weight:normal"><bdi>{_escape(name)}</bdi></th>'
        f"{''.join(_cell(score, found) for score in scores)}</tr>"
        for name, scores in found.rows
    )
    total = "".join(f'<td style="{_NUMBER}">{found.shown(score)}</td>' for score in found.total)
    foot = f'<tfoot><tr><th scope="row" style="{_CELL}">sum</th>{total}</tr></tfoot>' if total else ""
    title = f'<th scope="col" style="{_CELL}">{_escape(found.title.capitalize())}</th>'
    return (
        f'<div {_SCROLLS};font-size:.85em;margin-top:.6em">'
        '<table style="border-collapse:collapse">'
        f"{_caption(found.note)}<thead><tr>{title}{heads}</tr></thead><tbody>{rows}</tbody>{foot}</table></div>"
    )


def _caption(text: str) -> str:
    """Of a table that may be wider than the window: it stays in sight where that scrolls."""
    return (
        '<caption style="text-align:left"><span style="display:inline-block;position:sticky;left:0;'
        f'max-width:85vw">{_escape(text)}</span></caption>'
    )


def _cell(score: float, found: Grid) -> str:
    colour = found.scale.colour(score)
    style = f"{_NUMBER};background:{colour.background};color:{colour.foreground}"
    style += f";{AGAINST_LINE}" if found.scale.mark(score).startswith("-") else ""
    return f'<td style="{style}">{found.shown(score)}</td>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text with inline styles; the first of each row is its heading."""
    number = f"{_CELL};white-space:nowrap;font-variant-numeric:tabular-nums"
    head = "".join(f'<th scope="col" style="{_CELL}">{_escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row" style="{_CELL};font-weight:normal"><bdi>{_escape(name)}</bdi></th>'
        + "".join(f'<td style="{number}">{_escape(each)}</td>' for each in cells)
        + "</tr>"
        for name, *cells in rows
    )
    # As wide as its caption needs, where there is room: a caption alone makes no table wider.
    return (
        f'<div {_SCROLLS};font-size:.85em;margin:.6em 0">'
        '<table style="border-collapse:collapse;min-width:min(34rem,100%)">'
        f"{_caption(caption)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(name: str, *numbers: str) -> str:
    cells = "".join(
        f'<td style="{_CELL};font-variant-numeric:tabular-nums">{_escape(each)}</td>' for each in numbers
    )
    return f'<tr><td style="{_CELL}"><bdi>{_escape(name)}</bdi></td>{cells}</tr>'


def _summary(explanation: Explanation, top: tuple[tuple[str, tuple[Unit, ...]], ...]) -> str:
    """The heat map in one sentence, for those who hear it."""
    said = [
        f"{heading}: "
        + ", ".join(f"{short_name(unit)} {number(unit.score, explanation.signed)}" for unit in units)
        for heading, units in top
        if units
    ]
    name = f"{explanation.method} on {explanation.explained}"
    return "; ".join([name, *said] if said else [name, "no score differs from 0"])


def _escape(text: str) -> str:
    return escape(visible(text), quote=True)
