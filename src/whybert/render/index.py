"""What a page of many texts does not hold before it is looked at: data, and a script that shows them.

The script is our own and the only one that the page's policy lets run.  It gets all text as data and puts it
into the page as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

from whybert.explanation import Explanation, Level, label
from whybert.render import (
    Piece,
    is_right,
    method_line,
    notes,
    number,
    pieces,
    prediction_line,
    scored_ends,
    short_name,
    target_line,
    top_units,
    visible,
    warning,
)
from whybert.render.scale import Scale

_STEPS: Final = 20  # of a palette, from 0 to its end
_UNSAFE: Final = re.compile("[<>&\u2028\u2029]")
_BLANK, _SPECIAL, _UNKNOWN = 1, 2, 4


def script() -> str:
    """The script of the page."""
    return resources.files(__package__).joinpath("index.js").read_text(encoding="utf-8")


def style() -> str:
    """The style of what the script shows, the palettes among it."""
    own = resources.files(__package__).joinpath("index.css").read_text(encoding="utf-8")
    rules = []
    for prefix, signed in (("s", True), ("m", False)):
        painter = Scale(1.0, signed)
        for step in range(-_STEPS if signed else 0, _STEPS + 1):
            colour = painter.colour_at(step / _STEPS)
            name = f"{prefix}{step}".replace("-", "n")
            rules.append(f".{name}{{background:{colour.background};color:{colour.foreground}}}")
        rules.append(f".bar-{prefix}{{background:linear-gradient(to right,{','.join(painter.stops)})}}")
    return "\n" + own + "\n".join(rules)


def integrity(source: str) -> str:
    """The hash by which a policy knows a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def body(groups: Sequence[Sequence[Explanation]], level: Level, source: str, first: str) -> str:
    """The content of the page: the first texts for those without scripts, the data, and the script."""
    data = {"level": level, "steps": _STEPS, "items": [_item(group, level) for group in groups]}
    shown = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", shown)
    return f"""<noscript>
<p>This page has {len(groups)} texts.  Its index, and all texts but the first, need the script inside it;
scripts are turned off.</p>
{first}
</noscript>
<div id="index" hidden></div>
<script type="application/json" id="data">{safe}</script>
<script>{source}</script>"""


def _item(group: Sequence[Explanation], level: Level) -> dict[str, Any]:
    """A text: what its line in the index says, and its heat maps."""
    first = group[0]
    same = len({prediction_line(each) for each in group}) == 1
    item: dict[str, Any] = {
        "label": visible(label(first, first.predicted)),
        "line": visible(prediction_line(first)) if same else "predictions differ",
        "answer": first.answer if math.isfinite(first.answer) else None,
        "figures": [_figure(each, level, with_prediction=not same) for each in group],
    }
    if first.truth is not None:
        item["truth"] = visible(first.truth)
        if is_right(first) is not None:
            item["wrong"] = not all(map(is_right, group))
    return item


def _figure(explanation: Explanation, level: Level, with_prediction: bool) -> dict[str, Any]:
    scale = Scale.of(explanation, level)
    facts = [prediction_line(explanation) if with_prediction else None, target_line(explanation)]
    said = warning(explanation)
    figure: dict[str, Any] = {
        "method": visible(method_line(explanation)),
        "facts": [visible(fact) for fact in (*facts, *notes(explanation)) if fact],
        "signed": scale.signed,
        "ends": list(map(visible, scored_ends(explanation, scale.maximum))),
        "lines": [[_piece(piece, scale) for piece in line] for line in pieces(explanation, level)],
        "top": [
            [heading, [[visible(short_name(unit)), *_shown(unit.score, scale)] for unit in units]]
            for heading, units in top_units(explanation, level)
        ],
    }
    if said:
        figure["warning"] = visible(said)
    return figure


def _piece(piece: Piece, scale: Scale) -> list[Any]:
    flags = _BLANK * piece.blank + _SPECIAL * piece.special + _UNKNOWN * piece.unknown
    score = [None, 0] if piece.score is None else _shown(piece.score, scale)
    return [visible(piece.text), *score, flags]


def _shown(score: float, scale: Scale) -> list[Any]:
    """A score as it is written, and its place in the palette."""
    return [number(score, scale.signed), round(scale.position(score) * _STEPS)]
