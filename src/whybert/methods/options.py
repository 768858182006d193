"""The options of a method: read from text, checked and written by the type hints of its fields."""

from __future__ import annotations

import dataclasses
import math
import types
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from whybert.errors import UnknownNameError, UsageError

_KINDS: Final = {int: "a whole number", float: "a number", bool: "true | false", str: "text"}


@dataclass(frozen=True)
class Bounds:
    """What a number may be, both ends included: `Annotated[float, Bounds(0, 1)]`."""

    least: float = -math.inf
    most: float = math.inf

    def __str__(self) -> str:
        if math.inf in (-self.least, self.most):
            ends = (" of at least", self.least), (" of at most", self.most)
            return "".join(f"{word} {end:g}" for word, end in ends if math.isfinite(end))
        return f" from {self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Option:
    """An option, as its field's type hint says: int, float, bool, str or a Literal, or one of them or None.

    owner: the name of the method.  kind: the type, the Literal's values being in `choices` instead.
    """

    owner: str
    name: str
    default: Any
    kind: type | None
    choices: tuple[Any, ...] = ()
    optional: bool = False
    bounds: Bounds = Bounds()

    def __str__(self) -> str:
        """What it may be, for people."""
        what = " | ".join(map(_text, self.choices)) if self.kind is None else _KINDS[self.kind]
        return f"{what}{self.bounds}{' or none' if self.optional else ''}"

    def check(self, value: Any) -> Any:
        """The value as the option's own type.

        Raises:
            UsageError: it is none that the option may have.
        """
        if value is None and self.optional:
            return None
        if self.kind is None:
            for choice in self.choices:
                alike = isinstance(value, type(choice)) and isinstance(value, bool) is isinstance(
                    choice, bool
                )
                if alike and value == choice:
                    return choice
            raise UnknownNameError(f"{self.name} of {self.owner}", value, map(_text, self.choices))
        if self.kind is str:
            # what a spec can hold: a comma ends a value there
            fits = isinstance(value, str) and value == value.strip() != "" and "," not in value
        elif self.kind is bool:
            fits = isinstance(value, bool)
        else:
            fits = isinstance(value, Integral if self.kind is int else Real) and not isinstance(value, bool)
            fits = fits and self.bounds.least <= value <= self.bounds.most and math.isfinite(_float(value))
        if not fits:
            raise UsageError(f"expected {self.name} of {self.owner} as {self}, found {value!r}")
        return self.kind(value)

    def read(self, text: str) -> Any:
        """The value that is written so.

        Raises:
            UsageError: it is none that the option may have.
        """
        if self.optional and text.casefold() == "none":
            return None
        value: Any = text
        for choice in (True, False) if self.kind is bool else self.choices:
            if _text(choice) == text:
                value = choice
        if self.kind in (int, float):
            try:
                value = self.kind(text)
            except ValueError:
                value = text  # which the check refuses
        return self.check(value)

    def write(self, value: Any) -> str:
        """The text that `read` reads as the value."""
        return f"{self.name}={_text(value)}"


@cache
def options_of(method: type) -> tuple[Option, ...]:
    """The options of a class of methods, in the order of its fields."""
    hints = get_type_hints(method, include_extras=True)
    return tuple(
        _option(getattr(method, "name", method.__name__), field, hints[field.name])
        for field in dataclasses.fields(method)
    )


def _option(owner: str, field: dataclasses.Field[Any], hint: Any) -> Option:
    bounds, optional = Bounds(), False
    while get_origin(hint) in (Annotated, Union, types.UnionType):
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
            bounds = next((note for note in notes if isinstance(note, Bounds)), bounds)
        else:
            others = [each for each in get_args(hint) if each is not type(None)]
            hint, optional = others[0] if len(others) == 1 else tuple(others), True
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if not choices and hint not in _KINDS:
        raise TypeError(f"{field.name} of {owner}: an option is an int, float, bool, str or Literal, or None")
    return Option(owner, field.name, field.default, None if choices else hint, choices, optional, bounds)


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _text(value: Any) -> str:
    """A value as a spec writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
