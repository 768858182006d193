"""What panels share: how they show errors, explanations and what can be saved.  All of it is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import Concatenate, Final, ParamSpec

from whybert.errors import WhybertError
from whybert.render import visible
from whybert.web.state import State

__all__ = ["guarded", "refused", "safe", "saving", "side_by_side"]

_More = ParamSpec("_More")

FILES: Final = {"html": "HTML", "png": "PNG", "json": "JSON"}
"""What explanations can be saved as, and what the buttons say."""


def safe(text: object) -> str:
    """Text within HTML, control characters as symbols."""
    return escape(visible(str(text)))


def refused(message: object) -> str:
    """An error that is meant for people, in place of an answer."""
    return f'<div role="alert" class="refused">{safe(message)}</div>'


def guarded(
    answer: Callable[Concatenate[State, _More], str],
) -> Callable[Concatenate[State, _More], str]:
    """An error that is meant for people is the answer."""

    def guard(state: State, /, *args: _More.args, **more: _More.kwargs) -> str:
        try:
            return answer(state, *args, **more)
        except WhybertError as error:
            return refused(error)

    return guard


def side_by_side(cards: Iterable[str]) -> str:
    """Pieces of HTML beside one another where there is room, else one under another."""
    return f'<div class="cards">{"".join(f"<div class=card>{each}</div>" for each in cards)}</div>'


def saving() -> str:
    """Buttons that save what the nearest element with the `data-query` of a state shows, as files."""
    files = "".join(
        f'<button type="button" data-save="{kind}">{name}</button>' for kind, name in FILES.items()
    )
    return (
        '<div class="actions"><button type="button" data-copy>Copy link</button>'
        f'<span role="group" aria-label="Save the explanations">Save {files}</span></div>'
    )
