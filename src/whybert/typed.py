"""Settings as frozen dataclasses: what a field may hold is said once, by its type hint and its bounds.

A bound is an entry of a field's metadata: `least`, `above`, `most` or `below`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import operator
from collections.abc import Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from whybert.errors import InputError, UnknownNameError, UsageError, quoted

_BOUNDS: Final = {
    "least": ("of at least", operator.ge),
    "above": ("above", operator.gt),
    "most": ("of at most", operator.le),
    "below": ("below", operator.lt),
}
_EXPECTED: Final = {
    str: "text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a list",
    dict: "keys and values",
}


def hinted(kind: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """The fields of a dataclass that it is made from, each with its type hint."""
    return ((field, _hints(kind)[field.name]) for field in dataclasses.fields(kind) if field.init)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)  # evaluates the annotations anew each time it is asked


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one that it is."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def fits(hint: Any, value: object) -> bool:
    """Whether a value is what the type hint says; a float may be written as an int, True is no number."""
    for kind in alternatives(hint):
        if get_origin(kind) is Literal:
            found = any(type(value) is type(each) and value == each for each in get_args(kind))
        elif get_origin(kind) is tuple:
            found = isinstance(value, tuple) and all(fits(get_args(kind)[0], each) for each in value)
        elif get_origin(kind) is dict:
            hints = get_args(kind)
            found = isinstance(value, dict) and all(all(map(fits, hints, pair)) for pair in value.items())
        elif kind in (int, float):
            wanted = int if kind is int else (int, float)
            found = isinstance(value, wanted) and not isinstance(value, bool)
        else:
            found = isinstance(value, get_origin(kind) or kind)
        if found:
            return True
    return False


def check(settings: Any, of: str = "") -> None:
    """See that each field holds what its type hint, its bounds and its "check" allow.

    Args:
        settings: a dataclass.
        of: what messages say after the field's name, such as " of run 'a'".

    Raises:
        UsageError: one does not.
    """
    for field, hint in hinted(type(settings)):
        value, name = getattr(settings, field.name), field.name + of
        if not fits(hint, value):
            if isinstance(value, str) and (choices := choices_of(hint)):
                raise UnknownNameError(name, value, map(written, choices))
            raise UsageError(f"expected {name} to be {expected(hint)}, found {_shown(value)}")
        if isinstance(value, int | float):
            finite = not isinstance(value, float) or math.isfinite(value)
            if not finite or not all(holds(value, bound) for _, holds, bound in _bounds(field)):
                said = bounds_of(field) or "that is finite"
                raise UsageError(f"expected {name} {said}, found {_shown(value)}; give another number")
        if "check" in field.metadata:
            field.metadata["check"](value)


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Raise UsageError unless it is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"expected {name} to be a whole number of at least {least}, found {quoted(value)}")


def _bounds(field: dataclasses.Field[Any]) -> list[tuple[str, Any, float]]:
    return [(*_BOUNDS[key], bound) for key, bound in field.metadata.items() if key in _BOUNDS]


def bounds_of(field: dataclasses.Field[Any]) -> str:
    """What a number may be, for people; empty without bounds."""
    return " and ".join(f"{words} {bound}" for words, _, bound in _bounds(field))


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The values of the Literals in a type hint."""
    return tuple(
        each for kind in alternatives(hint) if get_origin(kind) is Literal for each in get_args(kind)
    )


def written(value: Any) -> str:
    """A plain value as a command line has it: a text with a comma or a quotation mark as JSON quotes it."""
    if isinstance(value, str) and ("," in value or '"' in value):
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)


def unwritten(hint: Any, text: str) -> Any:
    """The value that was written so by its type hint; the text itself where it is none, for `check`."""
    kinds = alternatives(hint)
    words = {bool: (True, False), NoneType: (None,)}
    for value in (*choices_of(hint), *(word for kind in kinds for word in words.get(kind, ()))):
        if written(value) in (text, text.casefold()):
            return value
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(text)
    if str in kinds and text.startswith('"'):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text


def read(hint: Any, value: object, name: str, place: str) -> Any:
    """A value of plain types, as JSON and YAML hold them, as what a type hint says.

    Args:
        hint: of a dataclass, whose fields a mapping names, a tuple of one type, or a plain type.
        value: what was found; null stands for a field that is not there.
        name: of the value in messages.
        place: where it stands, such as the name of a file.

    Raises:
        InputError: it is of another type, or a field without a default is not there.
        UnknownNameError: a key that is no field.
    """
    for kind in alternatives(hint):
        if dataclasses.is_dataclass(kind):
            return _read_fields(kind, value, f"{name} in {place}" if name else place)
        if get_origin(kind) is tuple and isinstance(value, list):
            [entry, _] = get_args(kind)
            single = name.strip("'").removesuffix("s")
            return tuple(read(entry, each, f"{single} {n}", place) for n, each in enumerate(value, 1))
        if fits(kind, value):
            return value
    raise InputError(f"expected {name} in {place} to be {expected(hint)}, found {_shown(value)}")


def _read_fields(kind: Any, given: object, place: str) -> Any:
    known = {field.name: (field, hint) for field, hint in hinted(kind)}
    if not isinstance(given, dict):
        raise InputError(
            f"expected keys and values in {place}, found {_shown(given)}; known keys: {', '.join(known)}"
        )
    found = {}
    for key, value in given.items():
        if key not in known:
            raise UnknownNameError("key", key, known, f" (in {place})")
        if value is not None:
            found[key] = read(known[key][1], value, repr(key), place)
    for name, (field, _) in known.items():
        if name not in found and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"expected {name!r} in {place}, found none; add it")
    return kind(**found)


def expected(hint: Any) -> str:
    """What a type hint wants, for people."""
    said = []
    for kind in alternatives(hint):
        if get_origin(kind) is Literal:
            said += [repr(each) for each in get_args(kind)]
        elif kind is not NoneType:
            said.append(_EXPECTED.get(get_origin(kind) or kind, f"a {getattr(kind, '__name__', kind)}"))
    return " or ".join(said)


def _shown(value: object) -> str:
    return "nothing" if value is None else quoted(value)
