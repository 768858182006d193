"""Why: the decision with its probabilities, and a heat map a method, side by side."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import gradio as gr

from whybert.errors import WhybertError
from whybert.render import html
from whybert.web.controls import Controls
from whybert.web.service import Service
from whybert.web.state import State

__all__ = ["build"]


def build(controls: Controls, service: Service) -> None:
    """The panel: it answers as one types."""
    answer = gr.HTML(elem_id="answer", padding=True)
    controls.answers(guarded(lambda state: _answer(service, state)), [answer])


def _answer(service: Service, state: State) -> str:
    if not state.text.strip():
        return "<p>Type a text, or pick an example.</p>"
    found = service.explain(state)
    return "".join(html.fragment(each, state.level) for each in found.values())  # type: ignore[arg-type]


def guarded(answer: Callable[[State], str]) -> Callable[[State], str]:
    """An error that is meant for people is the answer."""

    def guard(state: State) -> str:
        try:
            return answer(state)
        except WhybertError as error:
            return f'<div role="alert" class="refused">{escape(str(error))}</div>'

    return guard
