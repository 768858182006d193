"""The dialect of whybert's docstrings for mkdocstrings: `Fields:`, and several names before one colon."""

from __future__ import annotations

import re
from typing import Any, Final

import griffe

_SEVERAL: Final = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +\S.*)*)", re.MULTILINE)


class Dialect(griffe.Extension):
    """Says what Google's style has other words for."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            text = re.sub(r"^( *)Fields:$", r"\1Attributes:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = _SEVERAL.sub(_each, text)


def _each(found: re.Match[str]) -> str:
    indent, names, said = found.groups()
    return "\n".join(f"{indent}{name}: {said}" for name in names.split(", "))
