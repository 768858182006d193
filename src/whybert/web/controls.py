"""The controls above the tabs: the model, the text, the methods and what is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import gradio as gr

from whybert.explanation import LEVELS
from whybert.methods import METHODS
from whybert.targets import QUANTITIES
from whybert.web.service import Service
from whybert.web.state import State

__all__ = ["Controls"]

# What a visitor can pick first; the built-in model is one of sentiment.
EXAMPLES = (
    "The plot is predictable, but the acting is superb and I loved every minute of it.",
    "It is not without charm, yet I was bored to tears.",
    "A dull, overlong mess.",
)


class Controls:
    """The controls, in the order of the fields of a `State`, and what listens to them.

    Built within the Blocks of the page.  `controls` maps a field of `State` to its component.

    Args:
        service: whose models can be chosen.
        first: the name of the tab that is shown first.
    """

    def __init__(self, service: Service, first: str = "") -> None:
        names = list(service.models)
        labels = service.classifier().labels
        with gr.Group():
            model = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1)
            text = gr.Textbox(label="Text", lines=3, elem_id="text", value=EXAMPLES[0])
            pair = gr.Textbox(label="Pair (optional second text)", lines=1, elem_id="pair")
            gr.Examples([[each] for each in EXAMPLES], [text], label="Examples")
            with gr.Row():
                methods = gr.Dropdown(
                    list(METHODS),
                    value=["attnlrp", "gi"],
                    multiselect=True,
                    label="Methods",
                    elem_id="methods",
                )
                target = gr.Dropdown(["", *labels], value="", label="Target", elem_id="target")
                against = gr.Dropdown(["", *labels], value="", label="Against", elem_id="against")
                quantity = gr.Dropdown(["", *QUANTITIES], value="", label="Quantity", elem_id="quantity")
                level = gr.Radio(list(LEVELS), value="word", label="Level", elem_id="level")
        self.controls: dict[str, Any] = {
            "model": model,
            "text": text,
            "pair": pair,
            "methods": methods,
            "target": target,
            "against": against,
            "quantity": quantity,
            "level": level,
            "tab": gr.Textbox(value=first, visible=False),
        }
        self._within: tuple[str, gr.Tab] | None = None

    def within(self, name: str, tab: gr.Tab) -> Controls:
        """The same for a panel in a tab, which answers while one looks at it."""
        tab.select(None, None, self.controls["tab"], js=f"() => {name!r}", api_visibility="private")
        found = copy(self)
        found._within = (name, tab)
        return found

    @property
    def inputs(self) -> list[Any]:
        """The components, for the `inputs` of an event whose function begins with `state_of(*values)`."""
        return list(self.controls.values())

    def state_of(self, *values: Any) -> State:
        """The state of the values of `inputs`."""
        given: dict[str, Any] = {
            name: "" if value is None else value for name, value in zip(self.controls, values, strict=True)
        }
        given["methods"] = tuple(given["methods"] or ())
        return State(**given)

    def answers(self, answer: Callable[[State], Any], outputs: Sequence[Any]) -> None:
        """Show what a function says of the state, at once and again whenever a control changes.

        Within a tab that is not looked at it is asked when that tab is chosen.
        """
        name, tab = self._within or ("", None)

        def looked_at(*values: Any) -> Any:
            state = self.state_of(*values)
            if tab is not None and state.tab != name:
                return gr.skip() if len(outputs) == 1 else (gr.skip(),) * len(outputs)
            return answer(state)

        def chosen(*values: Any) -> Any:
            return answer(replace(self.state_of(*values), tab=name))

        how: dict[str, Any] = {
            "inputs": self.inputs,
            "outputs": list(outputs),
            "queue": False,
            "show_progress": "hidden",
            "trigger_mode": "always_last",
            "api_visibility": "private",
        }
        changes = [each.change for field, each in self.controls.items() if field != "tab"]
        gr.on(changes, looked_at, **how)
        if tab is not None:
            tab.select(chosen, **how)
