"""Compare: the text beside another, or the model beside another, method by method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import gradio as gr

from whybert.comparing import Comparison, compare
from whybert.errors import WhybertError
from whybert.render import number
from whybert.render.html import compared
from whybert.web.controls import Controls, paired
from whybert.web.service import Service, level_of
from whybert.web.showing import guarded, refused, safe
from whybert.web.state import State

__all__ = ["build", "compared_texts"]


def build(controls: Controls, service: Service) -> None:
    """The panel: it answers as one types."""
    several = len(service.models) > 1
    pairs = any(map(paired, service.models.values()))
    with gr.Row():
        text = gr.Textbox(label="Other text", lines=2, elem_id="other-text", placeholder="the same text")
        pair = gr.Textbox(
            label="Other second text",
            lines=2,
            elem_id="other-pair",
            placeholder="the same second text",
            visible=pairs or "hidden",
        )
        model = gr.Dropdown(
            [("the same model", ""), *((name, name) for name in service.models)],
            value="",
            label="Other model",
            visible=several or "hidden",
            elem_id="other-model",
        )
    for name, component in (("other_text", text), ("other_pair", pair), ("other_model", model)):
        controls.add(name, component)
    answer = gr.HTML(elem_id="compared", elem_classes="wb", apply_default_css=False)
    controls.answers(guarded(partial(compared_texts, service)), [answer])


def compared_texts(service: Service, state: State) -> str:
    """The two explanations of each method side by side, and what changes most."""
    if not state.text.strip():
        return '<p class="hint">Type a text, or pick an example.</p>'
    other = replace(
        state,
        text=state.other_text or state.text,
        pair=state.other_pair or state.pair,
        model=state.other_model or state.model,
    )
    if (other.text, other.pair, other.model) == (state.text, state.pair, state.model):
        models = ", or choose another model" if len(service.models) > 1 else ""
        return f'<p class="note">Type another text to hold it against this one{models}.</p>'
    parts, notes = list[str](), list[str]()
    for spec in state.methods:
        try:
            found = _pair(service, replace(state, methods=(spec,)), replace(other, methods=(spec,)))
        except WhybertError as error:
            parts.append(f"<h3>{safe(spec)}</h3>{refused(error)}")
            continue
        parts.append(compared(found))
        notes += _notes(found, bool(state.target))
    said = "".join(f'<p class="note">{safe(note)}</p>' for note in dict.fromkeys(notes))
    return f"{said}{'<hr>'.join(parts)}"


def _pair(service: Service, one: State, other: State) -> Comparison:
    (first,) = service.explain(one).values()
    if not one.target and first.target.label in service.classifier(other.model).labels:
        # Scores for two classes would differ in sign where the two say the same.
        other = replace(other, target=first.target.label)
    (second,) = service.explain(other).values()
    return compare(first, second, level_of(one))


def _notes(found: Comparison, is_chosen: bool) -> Iterator[str]:
    """What is explained in both, and how it fares."""
    first, second = found.first, found.second
    name = first.target.label
    if first.target.name != second.target.name:
        yield f"The first says what speaks for {first.target.name}, the second for {second.target.name}."
        return
    if not found.is_same_prediction and not is_chosen:
        yield f"Both say what speaks for {name}, which is predicted of the first."
    if first.probabilities and second.probabilities:
        before, after = (each.probabilities[each.target.index] for each in (first, second))
        yield f"{name}: {before:.3f} in the first, {after:.3f} in the second ({number(after - before)})."
