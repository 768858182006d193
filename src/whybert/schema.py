"""Frozen values as JSON and back: one writer and one reader, which go by the fields and their types.

What a value is made of: dataclasses, tuples, mappings from names to numbers or texts, texts, numbers,
booleans, and None where a type allows it.  `write` and `read` are exact inverses.  `column_types` and
`cells` are the same as a row of typed columns, for tables.
"""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin

from whybert.errors import InputError, quoted
from whybert.typed import alternatives, hinted

_Value = TypeVar("_Value")

_NAMES: Final = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_NOT_JSON: Final = ("nan", "inf", "-inf")


def write(value: object) -> Any:
    """The value in plain JSON types.

    A number that JSON cannot hold is written as `"nan"`, `"inf"` or `"-inf"`, and a text in which two lone
    surrogates meet as a list of its parts, because JSON would fuse them.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        parts = re.split("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])", value)
        return value if len(parts) == 1 else parts
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):
        return {field.name: write(getattr(value, field.name)) for field in fields(value)}
    assert isinstance(value, tuple), f"no field of a value is a {type(value).__name__}"
    return [write(entry) for entry in value]


def read(kind: type[_Value], data: object, version: int) -> _Value:
    """A value of the dataclass from what `write` made of it, and the number of its `schema` beside it.

    Keys that it does not know are ignored, and a field that has a default may be absent.

    Raises:
        InputError: a key is missing or has the wrong type, which the message names by its path, or the
            schema is not this version.
    """
    if isinstance(data, Mapping) and (found := _read_key(data, "schema", int, "")) != version:
        raise InputError(
            f"expected an {kind.__name__.lower()} with schema {version}, got schema {found}; "
            "read it with the version of whybert that wrote it, or a newer one"
        )
    value: _Value = _read(kind, data, "")
    return value


def column_types(arrow: Any, kind: type) -> dict[str, Any]:
    """The type of pyarrow of each field of a dataclass; `arrow` is that library."""
    return {field.name: column_type(arrow, hint) for field, hint in hinted(kind)}


def column_type(arrow: Any, kind: Any) -> Any:
    """The same of one type."""
    if isinstance(kind, type) and is_dataclass(kind):
        return arrow.struct([(field.name, column_type(arrow, hint)) for field, hint in hinted(kind)])
    if NoneType in (kinds := alternatives(kind)):
        return column_type(arrow, kinds[0])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        count = -1 if arguments[-1] is Ellipsis else len(arguments)
        return arrow.list_(column_type(arrow, arguments[0]), count)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return arrow.map_(arrow.string(), arrow.string())
    return {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}[kind]


def cells(value: object) -> Any:
    """The value as cells of `column_types`; each entry of a mapping is text, see `from_text`."""
    if value is None or type(value) in _NAMES:  # so are most, and there are many
        return value
    if isinstance(value, Mapping):
        return [(name, _as_text(each)) for name, each in value.items()]
    if is_dataclass(value):
        return {field.name: cells(getattr(value, field.name)) for field in fields(value)}
    return [cells(each) for each in value] if isinstance(value, tuple) else value


def _as_text(value: object) -> str:
    """A plain value as JSON, but for a text that no JSON could be mistaken for: that one as it stands."""
    return value if isinstance(value, str) and from_text(value) == value else json.dumps(value, default=str)


def from_text(text: str) -> Any:
    """The plain value that stands as text in a mapping of `cells`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@cache
def _parts(kind: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """The type that may also be None where it may, what it is made from, and of which types."""
    kinds = alternatives(kind)
    return kinds[0] if NoneType in kinds else None, get_origin(kind), get_args(kind)


def _read(kind: Any, data: object, path: str) -> Any:
    if type(data) is kind:  # so are most, and there are many
        return data
    if is_dataclass(kind):
        return _read_fields(kind, data, path)
    optional, origin, arguments = _parts(kind)
    if optional is not None:
        return None if data is None else _read(optional, data, path)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise _wrong(path, "a list", data)
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(data)
        if len(data) != len(arguments):
            raise _wrong(path, f"a list of {len(arguments)}", data)
        return tuple(
            _read(each, entry, f"{path}[{index}]")
            for index, (each, entry) in enumerate(zip(arguments, data, strict=True))
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise _wrong(path, "a dictionary", data)
        return dict(data)
    if kind is str and isinstance(data, list) and all(isinstance(part, str) for part in data):
        return "".join(data)
    if kind is float and isinstance(data, str) and data in _NOT_JSON:
        return float(data)
    accepted = (int, float) if kind is float else kind
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        raise _wrong(path, _NAMES[kind], data)
    return float(data) if kind is float else data


def _read_fields(kind: Any, data: object, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise _wrong(path or "the top level", "a dictionary", data)
    return kind(
        **{
            field.name: _read_key(data, field.name, hint, path)
            for field, hint in _fields(kind)
            if field.name in data or field.default is MISSING
        }
    )


@cache
def _fields(kind: Any) -> tuple[tuple[Field[Any], Any], ...]:
    return tuple(hinted(kind))


def _read_key(data: Mapping[Any, object], key: str, kind: Any, path: str) -> Any:
    here = f"{path}.{key}" if path else key
    if key not in data:
        raise InputError(f"expected the key {here!r}, got none; pass a dictionary that to_dict() wrote")
    return _read(kind, data[key], here)


def _wrong(path: str, expected: str, value: object) -> InputError:
    return InputError(
        f"expected {expected} at {path!r}, got {quoted(value)}; pass a dictionary that to_dict() wrote"
    )
