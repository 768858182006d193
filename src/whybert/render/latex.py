r"""Heat maps as LaTeX: a snippet of ``\colorbox`` for papers.  The only package it needs is xcolor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from whybert.comparing import Comparison
from whybert.explanation import Explanation, Level
from whybert.render import (
    Piece,
    as_sequence,
    comparison_facts,
    comparison_table,
    ends,
    method_line,
    number,
    pieces,
    prediction_line,
    remarks,
    target_line,
    visible,
)
from whybert.render.scale import Scale

__all__ = ["compared", "latex"]

_HEAD = """% needs \\usepackage{xcolor}
% letters beyond Latin, and emoji, need lualatex and a font that has them
"""
_UNCOVERED_LIMIT = 300
_REPLACEMENTS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "&": r"\&",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    # The braces keep TeX from joining --, '', `` and ?` into other characters.
    "-": "{-}",
    "'": "{'}",
    "`": r"\textasciigrave{}",
    "\u2423": r"\textvisiblespace{}",
    "…": r"\ldots{}",
    "·": r"\textperiodcentered{}",
    "→": r"$\rightarrow$",
}


def latex(explanations: Explanation | Iterable[Explanation], level: Level = "word") -> str:
    r"""A snippet to ``\input``; the line of its legend also suits a caption.

    Raises:
        InputError: there are none.
        UnknownNameError: no such level.
    """
    snippets = [_snippet(explanation, level) for explanation in as_sequence(explanations)]
    return _HEAD + "\n\\bigskip\n".join(snippets)


def compared(found: Comparison) -> str:
    r"""Two heat maps under one another, and a table of what changes most."""
    snippets = []
    for name, each in zip(found.names, (found.first, found.second), strict=True):
        snippets.append(f"\\noindent\\textit{{{escape(name)}}}\\par\n{_snippet(each, found.level)}")
    heads, *rows = (" & ".join(map(escape, row)) for row in comparison_table(found))
    table = f"\\begin{{tabular}}{{lrrrrl}}\n{heads} \\\\\n\\hline\n" + "".join(
        f"{row} \\\\\n" for row in rows
    )
    said = "; ".join(map(escape, comparison_facts(found)))
    end = f"\n\\noindent {said}\\par\n\\noindent\n{table}\\end{{tabular}}\\par\n"
    return _HEAD + "\n\\bigskip\n".join(snippets) + (end if rows else f"\n\\noindent {said}\\par\n")


def _snippet(explanation: Explanation, level: Level) -> str:
    scale = Scale.of(explanation, level)
    facts = [target_line(explanation), method_line(explanation), *remarks(explanation)]
    header = "; ".join(escape(fact) for fact in facts if fact)
    lines = [f"\\noindent\\textbf{{{escape(prediction_line(explanation))}}}; {header}\\par"]
    for line in pieces(explanation, level, uncovered_limit=_UNCOVERED_LIMIT):
        # One group for each text: the setting of the boxes ends with it.
        lines.append("{\\setlength{\\fboxsep}{1pt}\\noindent\\raggedright")
        lines.append(_heat_map(line, scale) + "\\par}")
    lines += ["\\noindent", _legend(explanation, scale), "\\par"]  # \par on its own: a caption cannot hold it
    return "\n".join(lines) + "\n"


def _heat_map(line: Sequence[Piece], scale: Scale) -> str:
    parts: list[str] = []
    before = ""
    for piece in line:
        if piece.blank:
            parts.append("\n")
        elif before and before[-1].isalnum() and piece.text[:1].isalnum():
            parts.append("\\allowbreak ")  # scripts without blanks; punctuation stays with its word
        parts.append(_box(piece, scale))
        before = piece.text
    return "".join(parts) or "(empty text)"


def _box(piece: Piece, scale: Scale) -> str:
    text = escape(piece.text)
    if piece.score is None:
        return f"\\textcolor[HTML]{{6B6B6B}}{{{text}}}"
    if piece.special:
        text = f"\\textit{{{text}}}"
    return _colorbox(text, scale, piece.score) + "\\textsuperscript{?}" * piece.unknown


def _colorbox(text: str, scale: Scale, score: float) -> str:
    if scale.mark(score).startswith("-"):
        text = f"\\underline{{{text}}}"  # in black and white the colours of both ends are one
    colour = scale.colour(score)
    background, foreground = colour.background[1:].upper(), colour.foreground[1:].upper()
    return f"\\colorbox[HTML]{{{background}}}{{\\textcolor[HTML]{{{foreground}}}{{\\strut {text}}}}}"


def _legend(explanation: Explanation, scale: Scale) -> str:
    low, high = map(escape, ends(explanation))
    painter = Scale(1.0, scale.signed)
    boxes = [_colorbox(low, painter, -1.0), _colorbox("0", painter, 0.0)] if scale.signed else []
    boxes.append(_colorbox(high, painter, 1.0))
    legend = " ".join(boxes)
    if not scale.signed:
        legend = _colorbox(low, painter, 0.0) + " " + legend
    if scale.maximum:
        sign = "$\\pm$" if scale.signed else ""
        legend += f"; full colour at {sign}{escape(number(scale.maximum, False))}"
    # Both are fragile: without \protect they break in \caption.
    return legend.replace("\\colorbox", "\\protect\\colorbox").replace("\\underline", "\\protect\\underline")


def escape(text: str) -> str:
    # Symbols for control characters are missing from TeX's fonts: their numbers are shown instead.
    return "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    if character in _REPLACEMENTS:
        return _REPLACEMENTS[character]
    shown = visible(character)
    if shown == " " or shown == character:
        return shown
    return f"\\texttt{{U+{ord(character):04X}}}"
