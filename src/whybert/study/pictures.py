"""The pictures of a study as SVG text: functions of what was found.

A picture has no background and draws its ink as `currentColor`, so that it fits light and dark pages; methods
differ in colour (Okabe and Ito's, safe for colour-blind people), in line style and in marker, and the first
twenty without their colour too.  The same values give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from whybert.evaluation.agreement import WordScore, word_correlation
from whybert.evaluation.plots import NAME, Line, columns_of_legend, draw_lines, method_style
from whybert.render import shorten, visible
from whybert.render.figures import drawing, matplotlib

_INK: Final = "#010203"  # stands for the colour of the text around; nothing else is drawn in it
_POINTS: Final = 300  # of a scatter; more would make the file large and the picture no clearer
_SETTINGS: Final = {"ink": _INK, "paper": "none", "svg.fonttype": "none", "font.family": "sans-serif"}


def curves(
    name: str,
    title: str,
    lines: Sequence[Line],
    methods: Sequence[str],
    *,
    x_label: str,
    y_label: str,
    text: str,
) -> str:
    """One curve a method, with a band for the 95 % interval of the control.

    Args:
        name: unique among the pictures of a page.
        title: what is shown.
        lines: the curves.
        methods: those of the whole page, so that each looks the same in every picture of it.
        x_label: of the axis across.
        y_label: of the axis up.
        text: what is shown, in words.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = [shorten(visible(line.method), NAME) for line in lines]
    columns = columns_of_legend(names)
    rows = math.ceil(len(lines) / columns)
    with drawing(**_SETTINGS) as figure_of:
        figure = figure_of(72 * 5.4, 72 * (3.3 + 0.18 * rows))  # the legend takes nothing from the curves
        axes: Any = figure.subplots()
        draw_lines(axes, lines, methods, names, ink=_INK)  # bands of all methods would hide each other
        axes.set_xlabel(visible(x_label))
        axes.set_ylabel(visible(y_label))
        figure.legend(loc="outside lower center", ncols=columns, handlelength=2.6, fontsize=8.5)
        return _svg(figure, name, title, text)


def word_grid(
    name: str,
    title: str,
    scores: Mapping[str, Mapping[str, WordScore]],
    method: str,
    methods: Sequence[str],
    *,
    text: str,
) -> str:
    """Word scores of one method on several data sets, two by two.

    Below the diagonal a point for each word that both have (300 at most, evenly taken), on the diagonal how
    the scores are spread, above it Pearson's r over all shared words.  Axes are cut at the 99.5 % quantile.

    Args:
        name, title, text: as for `curves`.
        scores: by the name of the run, two or more.
        method: whose scores they are.
        methods: those of the whole page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = list(scores)
    count = len(names)
    colour, _ = method_style(method, methods, _INK)
    with drawing(**_SETTINGS) as figure_of:
        size = 72 * 1.9 * count
        figure = figure_of(size, size * 0.94)
        grid: Any = figure.subplots(count, count, squeeze=False)
        limits = [_limits(scores[each]) for each in names]
        for row, column in np.ndindex(count, count):
            axes = grid[row, column]
            first, second = scores[names[column]], scores[names[row]]
            axes.tick_params(labelsize=7, length=2)
            axes.locator_params(nbins=3)
            if row == column:
                low, high = limits[row]
                values = [min(max(score.mean, low), high) for score in first.values()]
                if values:
                    axes.hist(values, bins=20, range=(low, high), color=colour, alpha=0.75)
                axes.set_xlim(low, high)
                axes.set_yticks([])
            elif row > column:
                shared = sorted(first.keys() & second.keys())
                taken = shared[:: math.ceil(len(shared) / _POINTS)] if shared else []
                axes.plot(
                    [first[word].mean for word in taken],
                    [second[word].mean for word in taken],
                    linestyle="none",
                    marker="o",
                    markersize=2.4,
                    markeredgewidth=0,
                    color=colour,
                    alpha=0.55,
                )
                axes.set_xlim(limits[column])
                axes.set_ylim(limits[row])
            else:
                r, words = word_correlation(first, second)
                shown = "-" if math.isnan(r) else f"{r:.2f}"
                axes.set_axis_off()
                axes.text(0.5, 0.56, shown, ha="center", va="center", fontsize=17, transform=axes.transAxes)
                axes.text(
                    0.5, 0.3, f"{words} words", ha="center", va="center", fontsize=8, transform=axes.transAxes
                )
            if row == count - 1:
                axes.set_xlabel(shorten(visible(names[column]), 20))
            if column == 0:
                axes.set_ylabel(shorten(visible(names[row]), 20))
        return _svg(figure, name, title, text)


def _limits(scores: Mapping[str, WordScore]) -> tuple[float, float]:
    values = [score.mean for score in scores.values()]
    if not values:
        return 0.0, 1.0
    low, high = np.quantile(values, [0.005, 0.995])
    margin = 0.04 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _svg(figure: Any, name: str, title: str, text: str) -> str:
    """The figure as an SVG element for an HTML page, its ids made unique by the picture's name."""
    stream = io.StringIO()
    with matplotlib().rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # Only the width of such a letter is unknown: the text is drawn by whoever shows the picture.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, format="svg", metadata={"Date": None})
    raw = stream.getvalue()
    raw = raw[raw.index("<svg") :].strip()
    raw = re.sub(r"<metadata>.*?</metadata>\s*", "", raw, count=1, flags=re.DOTALL)
    raw = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", raw, count=1, flags=re.DOTALL)
    raw = re.sub(r"<!--.*?-->\s*", "", raw, flags=re.DOTALL)
    key = re.sub(r"[^a-zA-Z0-9-]", "-", name)
    raw = re.sub(r'(?<= )id="', f'id="{key}-', raw)
    raw = raw.replace('xlink:href="#', f'href="#{key}-').replace("url(#", f"url(#{key}-")
    raw = re.sub(r"(?<=px )'[^;\"]*sans-serif", "system-ui, sans-serif", raw).replace(_INK, "currentColor")
    raw = _compact(raw)
    view = re.search(r'viewBox="[^"]*"', raw)
    body = raw[raw.index(">") + 1 :]
    box = view[0] if view else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" stroke-linejoin="round" '
        f'aria-labelledby="{key}-title {key}-text"><title id="{key}-title">{_escape(title)}</title>'
        f'<desc id="{key}-text">{_escape(text)}</desc>{body}'
    )


def _compact(svg: str) -> str:
    """Half the size: coordinates to a hundredth of a point, one style for all marks of a line, no indents."""

    def rounded(tag: re.Match[str]) -> str:
        return re.sub(r' (?:d|x|y)="[^"]*"', lambda attribute: shortened(attribute[0]), tag[0])

    def shortened(attribute: str) -> str:
        return re.sub(r"\d+\.\d{3,}", lambda figure: f"{float(figure[0]):.2f}", attribute)

    def grouped(marks: re.Match[str]) -> str:
        return f'<g style="{marks[1]}">' + re.sub(r' style="[^"]*"', "", marks[0]) + "</g>\n"

    svg = re.sub(r"<(?:use|path) [^>]*>", rounded, svg)
    svg = re.sub(r'<use [^>]*style="([^"]*)"/>\s*(?:<use [^>]*style="\1"/>\s*)+', grouped, svg)
    return re.sub(r"\n +", "\n", svg)


def _escape(text: str) -> str:
    return escape(visible(text), quote=True)
