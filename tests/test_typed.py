"""Settings by type hints: what is read, what is refused, and that no value ends in another error."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whybert.errors import InputError, UnknownNameError, UsageError
from whybert.typed import check, fits, read


@dataclass(frozen=True)
class Inner:
    name: str
    share: float = field(default=0.5, metadata={"above": 0, "below": 1})

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Outer:
    inners: tuple[Inner, ...]
    size: int = field(default=3, metadata={"least": 1, "most": 9})
    order: Literal["up", "down"] = "up"
    some: int | tuple[str, ...] | None = None
    switch: bool = False

    def __post_init__(self) -> None:
        check(self)


PLAIN = {"inners": [{"name": "a", "share": 0.25}, {"name": "b"}], "size": 4, "order": "down", "some": ["x"]}


def test_plain_values_become_what_the_hints_say() -> None:
    expected = Outer((Inner("a", 0.25), Inner("b")), 4, "down", ("x",))
    assert read(Outer, PLAIN, "", "file") == expected
    assert read(Outer, json.loads(json.dumps(dataclasses.asdict(expected))), "", "file") == expected
    assert read(Outer, {"inners": [], "size": None}, "", "file") == Outer(())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": True}, "expected 'size' in file to be a whole number, found True"),
        ({"size": 1.5}, "expected 'size' in file to be a whole number, found 1.5"),
        ({"size": 0}, "expected size of at least 1 and of at most 9, found 0; give another number"),
        ({"size": 10**400}, "expected size of at least 1"),
        ({"order": "left"}, "expected 'order' in file to be 'up' or 'down', found 'left'"),
        ({"some": "x"}, "expected 'some' in file to be a whole number or a list, found 'x'"),
        ({"some": ["x", 1]}, "expected some 2 in file to be text in quotes, found 1"),
        ({"switch": 1}, "expected 'switch' in file to be true or false, found 1"),
        ({"inners": {}}, "expected 'inners' in file to be a list, found {}"),
        ({"inners": [{"share": 0.1}]}, "expected 'name' in inner 1 in file, found none; add it"),
        ({"inners": [{"name": "a", "share": 1}]}, "expected share above 0 and below 1, found 1"),
        ({"inners": [{"name": "a", "share": math.nan}]}, "expected share above 0 and below 1, found nan"),
        ({"inners": [3]}, "expected keys and values in inner 1 in file, found 3; known keys: name, share"),
    ],
)
def test_what_does_not_fit_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        read(Outer, PLAIN | change, "", "file")
    assert str(error.value).startswith(message)


def test_an_unknown_key() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'size'"):
        read(Outer, PLAIN | {"sise": 3}, "", "file")


PLAIN_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "share", 1]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["inners", "size", "order", "some", "switch"]), PLAIN_VALUES))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_plain_value_is_read_or_refused(plain: dict[str, Any]) -> None:
    found, refusal = None, ""
    try:
        found = read(Outer, plain, "", "file")
    except UsageError as error:
        refusal = str(error)
    assert "\n" not in refusal
    for each in () if found is None else dataclasses.fields(Outer):
        value = plain.get(each.name)
        assert each.name == "inners" or getattr(found, each.name) == (
            each.default if value is None else tuple(value) if isinstance(value, list) else value
        )


def test_the_types_of_values() -> None:
    assert fits(float, 1)
    assert not fits(float, True)
    assert not fits(int, 1.0)
    assert not fits(Literal[1], True)
    assert fits(tuple[int, ...], (1, 2))
    assert not fits(tuple[int, ...], (1, "2"))
    assert fits(dict[str, str | int], {"a": 1, "b": "c"})
    assert not fits(dict[str, str | int], {"a": None})
    assert not fits(dict[str, str | int], {1: "a"})
    with pytest.raises(InputError):
        read(int, "1", "'n'", "file")
