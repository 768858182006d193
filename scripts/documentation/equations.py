"""Equations as MathML, which browsers show themselves: no script, and nothing from another host."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Final

_EQUATION: Final = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def render(site: Path) -> None:
    """Replace the TeX that Markdown's extension has marked in every page."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if _EQUATION.search(text):
            page.write_text(_EQUATION.sub(_mathml, text), encoding="utf-8")


def _mathml(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    tex = html.unescape(found["tex"]).strip()
    block = found["open"] == "["
    math = convert(tex, display="block" if block else "inline")
    math = math.replace("<math ", f'<math aria-label="{html.escape(tex)}" ', 1)
    return f'<{found["tag"]} class="equation">{math}</{found["tag"]}>'
