"""What a question costs, told before it is asked: from the passes that a method says it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from whybert.errors import UsageError

if TYPE_CHECKING:
    from whybert.encoding import EncodedText
    from whybert.methods import Method

__all__ = ["check_cost", "check_options", "passes_of", "work_of"]

# What a visitor may not set: it loads what it names, or says how much memory is taken.
CLOSED: Final = ("model", "batch_size", "memory")
# Options of which a cost is a multiple, so that fewer is a way out.
_COUNTS: Final = ("samples", "n_steps", "steps")

_PART: Final = re.compile(
    r"(?:at most )?([\dn ()+\-/^.]+?) (?:forward|backward|of the language model)", re.ASCII
)
_PIECE: Final = re.compile(r"\d+(?:\.\d+)?|[n()+\-/^]", re.ASCII)
_ENDLESS: Final = 1e300


def passes_of(method: Method, row: EncodedText) -> float:
    """How often a method asks the model about a text, backwards too: what its `passes` say of this text."""
    said = method.passes
    units = row.token_count if " tokens" in said else len(row.word_spans)
    parts = _PART.findall(said.replace(" and ", " "))
    return sum(_sum(_PIECE.findall(each), float(units)) for each in parts)


def _sum(pieces: list[str], n: float) -> float:
    """What is read from the front of pieces such as those of "2 + 32 (n - 1)"."""
    found = _product(pieces, n)
    while pieces and pieces[0] in "+-":
        sign = 1 if pieces.pop(0) == "+" else -1
        found += sign * _product(pieces, n)
    return found


def _product(pieces: list[str], n: float) -> float:
    found = _power(pieces, n)
    while pieces and pieces[0] not in "+-)":
        if pieces[0] == "/":
            pieces.pop(0)
            found /= _power(pieces, n)
        else:
            found *= _power(pieces, n)
    return found


def _power(pieces: list[str], n: float) -> float:
    piece = pieces.pop(0)
    if piece == "(":
        found = _sum(pieces, n)
        pieces.pop(0)
    else:
        found = n if piece == "n" else min(float(piece), _ENDLESS)
    if pieces and pieces[0] == "^":
        pieces.pop(0)
        try:
            return float(found ** _power(pieces, n))
        except OverflowError:
            return _ENDLESS
    return found


def work_of(method: Method, row: EncodedText) -> float:
    """The passes of a text times its tokens."""
    return passes_of(method, row) * row.token_count


def check_options(methods: Sequence[Method]) -> None:
    """Refuse options that are not for visitors.

    Raises:
        UsageError: one is given.
    """
    for method in methods:
        default: dict[str, Any] = type(method)().options
        closed = [name for name in CLOSED if name in default and method.options[name] != default[name]]
        if method.given or method.options.get("by") == "infill":
            raise UsageError(
                f"{method.spec} needs a language model of its own, which a page does not load for visitors; "
                "run it with whybert explain, or take occlusion"
            )
        if closed:
            raise UsageError(
                f"the option {closed[0]} of {method.name} cannot be set here; leave it out, or run "
                "whybert explain"
            )


def check_cost(methods: Sequence[Method], row: EncodedText, most: int) -> float:
    """The work of all methods for a text, if it is not too much.

    Args:
        methods: what is asked for.
        row: the text as the model reads it.
        most: passes times tokens.

    Raises:
        UsageError: it is more; the message names the method and the way out.
    """
    works = [work_of(method, row) for method in methods]
    if sum(works) <= most:
        return sum(works)
    work, method = max(zip(works, methods, strict=True), key=lambda each: each[0])
    if work <= most:
        raise UsageError(
            f"these {len(methods)} methods together cost more than is allowed here; choose fewer (the "
            f"dearest is {method.spec})"
        )
    ways = [f"shorten the text ({row.token_count} tokens)"]
    for name in _COUNTS:
        fewer = math.floor(method.options.get(name, 0) * most / work)
        if fewer >= 10:
            ways.append(f"give fewer {name} ({method.name}:{name}={fewer})")
    ways.append("take a method of few passes, such as attnlrp or gi")
    raise UsageError(
        f"{method.spec} would ask the model {_count(passes_of(method, row))} times about this text, more "
        f"than is allowed here: {', '.join(ways[:-1])}, or {ways[-1]}"
    )


def _count(passes: float) -> str:
    return f"{passes:,.0f}" if passes < 1e9 else "more than a billion"
