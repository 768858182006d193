"""The table of methods, and how a method is written: `name` or `name:option=value,option=value`.

A text as a value may stand in quotation marks, and one with a comma must: `name:option="a film, maybe"`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from whybert.errors import UnknownNameError, UsageError
from whybert.methods.base import Method
from whybert.typed import hinted, unwritten


def _kinds() -> Iterator[type[Method]]:
    """The methods of this package: the named classes in its modules."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        module = importlib.import_module(f"{__package__}.{found.name}")
        for kind in vars(module).values():
            here = isinstance(kind, type) and kind.__module__ == module.__name__
            if here and issubclass(kind, Method) and "name" in vars(kind):
                yield kind


METHODS: Final[Mapping[str, type[Method]]] = MappingProxyType(
    {kind.name: kind for kind in sorted(_kinds(), key=lambda kind: (kind.place, kind.name))}
)
"""The classes of methods by name, in the order of their `place`."""

STANDARD: Final = ("gs", "gi", "lrp", "lat", "attnlrp", "cp_lrp")
"""What is compared where no method is named: the four of Wu and Ong 2020 and the two modern rules."""

_KNOWN: Final = f"{', '.join(STANDARD)} and {len(METHODS) - len(STANDARD)} more, see `whybert list methods`"

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "standard": STANDARD,
        "all": tuple(name for name, kind in METHODS.items() if not (kind.given or kind.short)),
    }
)
"""Names that stand for several methods: the standard ones, and all those that explain any text with nothing
given for it."""


def options_of(method: type[Method]) -> dict[str, Any]:
    """The names of the options in the order of the fields, with their type hints."""
    return {field.name: hint for field, hint in hinted(method)}


_PIECE: Final = re.compile(r'(?:=\s*"(?:\\.|[^"\\])*"|[^,])*')


def _pieces(text: str) -> Iterator[str]:
    """What stands between commas that are in no quotation marks."""
    start = 0
    while start <= len(text):
        found = cast("re.Match[str]", _PIECE.match(text, start))
        yield found[0].strip()
        start = found.end() + 1


def split(text: str) -> list[str]:
    """Several specs with commas between them: what reads `option=value` goes on with the one before."""
    found: list[str] = []
    for piece in _pieces(text):
        if found and "=" in piece.partition(":")[0]:
            found[-1] += f",{piece}"
        elif piece:
            found.append(piece)
    return found


def create(method: str | Method, options: Mapping[str, Any] = MappingProxyType({})) -> Method:
    """The one method of `create_all`."""
    return create_all([method], options)[0]


def create_all(methods: object, options: Mapping[str, Any] = MappingProxyType({})) -> list[Method]:
    """The methods that are written so.

    Args:
        methods: a spec or a `Method`, or several of them.
        options: each goes to those that have it and are given as a spec; it must find one.

    Raises:
        UnknownNameError: a method, an option or a choice that does not exist; it names the close ones.
        UsageError: no method, one twice, or an option of a wrong kind.
    """
    if isinstance(methods, str | Method):
        methods = [methods]
    if not isinstance(methods, Iterable):
        raise UsageError(f"expected a method by name, or a list of names, found {methods!r}")
    parsed = [(type(each), {}, each) if isinstance(each, Method) else _parse(each) for each in methods]
    if not parsed:
        raise UsageError(f"expected at least one method; known: {_KNOWN}")
    named = [kind for kind, _, given in parsed if not isinstance(given, Method)]
    fields = {name for kind in named for name in options_of(kind)}
    for option in options:
        if option not in fields:
            names = ", ".join(kind.name for kind in named) or "methods that are objects"
            raise UnknownNameError(f"option of {names}", option, fields)
    made = []
    for kind, own, given in parsed:
        if isinstance(given, Method):
            made.append(given)
            continue
        shared = {name: options[name] for name in options_of(kind) if name in options}
        for name in own.keys() & shared.keys():
            raise UsageError(f"expected {name} of {kind.name} once, found it in {given!r} and beside it")
        made.append(kind(**own, **shared))
    for spec, count in Counter(method.spec for method in made).items():
        if count > 1:
            raise UsageError(f"expected each method once, found {spec} {count} times")
    return made


def _parse(spec: object) -> tuple[type[Method], dict[str, Any], object]:
    """The class, the options that the spec names, and the spec."""
    if not isinstance(spec, str):
        raise UsageError(f"expected the name of a method, found {spec!r}; known: {_KNOWN}")
    written, colon, rest = (part.strip() for part in spec.partition(":"))
    if not colon and "=" in written:
        raise UsageError(f"expected options after a colon, as in gi:reduction=sum, found {spec!r}")
    known = {key.replace("-", "_"): key for key in METHODS}
    name = known.get(written.casefold().replace("-", "_"))
    if name is None and written in GROUPS:
        raise UsageError(
            f"{written!r} stands for several methods, in the commands and alone; here give their names, "
            f"list(whybert.methods.GROUPS[{written!r}])"
        )
    if name is None:
        raise UnknownNameError("method", written, METHODS)
    hints = options_of(METHODS[name])
    values: dict[str, Any] = {}
    for piece in _pieces(rest) if colon else ():
        option, equals, value = (part.strip() for part in piece.partition("="))
        if not equals:
            raise UsageError(f"expected option=value after {name + ':'!r}, found {piece!r} in {spec!r}")
        if option not in hints:
            raise UnknownNameError(f"option of {name}", option, hints)
        if option in values:
            raise UsageError(f"expected {option} of {name} once, found it twice in {spec!r}")
        values[option] = unwritten(hints[option], value)
    return METHODS[name], values, spec
