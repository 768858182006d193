"""Why: the decision with its probabilities, and a heat map a method, whose words can be edited."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from importlib import resources
from typing import Final

import gradio as gr

from whybert.comparing import Pair, compare
from whybert.errors import WhybertError
from whybert.explanation import Explanation, Level, at_place
from whybert.methods.specs import METHODS
from whybert.render import Piece, ends, number, prediction_line, shorten
from whybert.render.html import figure
from whybert.web.controls import Controls
from whybert.web.service import Service, level_of
from whybert.web.showing import guarded, refused, safe, saving, side_by_side
from whybert.web.state import State

__all__ = ["build", "probabilities"]

CLASSES: Final = 6
"""So many of a model's classes are shown; the others are folded."""

CHANGED: Final = 4
"""So many words are named whose scores an edit changed most."""

LATER: Final = '<p class="hint" role="status">asks the model many times …</p>'

WORDS: Final = resources.files("whybert.web").joinpath("words.js").read_text(encoding="utf-8")


def build(controls: Controls, service: Service) -> None:
    """The panel: it answers as one types, and those methods last that take long."""
    answer = gr.HTML(elem_id="answer", apply_default_css=False, js_on_load=WORDS)

    def at_first(state: State) -> str | None:
        try:
            later = service.slow(state)
        except WhybertError:  # it is said with the answer
            later = ()
        return _answer(service, state, later) if later else None

    def said(state: State) -> str:
        return _answer(service, state)

    controls.answers(guarded(said), [answer], at_first=at_first)


def _answer(service: Service, state: State, later: Collection[str] = ()) -> str:
    """What is said of the state; the methods that come later are named."""
    if not state.text.strip():
        return '<p class="hint">Type a text, or pick an example.</p>'
    level = level_of(state)
    if not state.methods:
        return '<p class="hint">Choose a method.</p>'
    found, wrong = _explained(
        service, replace(state, methods=tuple(each for each in state.methods if each not in later))
    )
    if not found and not later:
        return "".join(map(refused, dict.fromkeys(wrong.values())))
    cards = [
        _card(found[spec], level)
        if spec in found
        else f"<h3>{safe(spec)}</h3>{refused(wrong[spec]) if spec in wrong else LATER}"
        for spec in state.methods
    ]
    if not found:
        return side_by_side(cards)
    spec, first = next(iter(found.items()))
    return (
        f'<div data-query="{safe(state.query)}"><div class="decision">{probabilities(first)}{saving()}</div>'
        f"{_edited(service, state, spec, first, level)}{side_by_side(cards)}</div>"
    )


def _explained(service: Service, state: State) -> tuple[dict[str, Explanation], dict[str, str]]:
    """The explanations by the spec as it was asked for, and what was said against the others."""
    if not state.methods:
        return {}, {}
    try:
        return dict(zip(state.methods, service.explain(state).values(), strict=True)), {}
    except WhybertError as error:
        if len(state.methods) == 1:
            return {}, {state.methods[0]: str(error)}
    # One of several methods does not fit the model or the text: the others are shown.
    found, wrong = {}, {}
    for spec in state.methods:
        try:
            (found[spec],) = service.explain(replace(state, methods=(spec,))).values()
        except WhybertError as error:
            wrong[spec] = str(error)
    return found, wrong


def probabilities(explanation: Explanation) -> str:
    """The decision, and what the model says of each class, as bars and in numbers."""
    head = f"<h2>{safe(at_place(explanation, explanation.prediction))}</h2>"
    if not explanation.probabilities:
        answers = zip(explanation.labels, explanation.logits, strict=True)
        said = "".join(
            f"<li><span>{safe(label)}</span> <b>{number(each, False)}</b></li>" for label, each in answers
        )
        return (
            f'<div class="said-by-model"><h2>{safe(prediction_line(explanation))}</h2><ul>{said}</ul></div>'
        )
    rows = sorted(zip(explanation.probabilities, explanation.labels, strict=True), key=lambda each: -each[0])
    bars = [
        f'<li><span class="label"><bdi>{safe(label)}</bdi></span>'
        f'<span class="bar" aria-hidden="true"><span style="width:{100 * share:.2f}%"></span></span>'
        f'<span class="number">{share:.3f}</span></li>'
        for share, label in rows
    ]
    rest = (
        f'<details><summary>{len(bars) - CLASSES} more classes</summary><ol class="bars">'
        f"{''.join(bars[CLASSES:])}</ol></details>"
        if len(bars) > CLASSES
        else ""
    )
    shown = "".join(bars[:CLASSES])
    return (
        f'<div class="said-by-model"><div class="name">The model says</div>{head}'
        f'<ol class="bars" aria-label="Probabilities">{shown}</ol>{rest}</div>'
    )


def _card(explanation: Explanation, level: Level) -> str:
    """A heat map whose words can be edited, under the line that says what the method does."""
    kind = METHODS.get(explanation.method)
    summary = "" if kind is None else f'<p class="summary">{safe(kind.summary)}</p>'
    supports = ends(explanation)

    def more(piece: Piece) -> str:
        return _button(piece, supports, explanation.signed)

    return f"{summary}{figure(explanation, level, more=more)}"


def _button(piece: Piece, supports: tuple[str, str], signed: bool) -> str:
    """A word as a button that a screen reader reads as "superb, 0.42 for positive"."""
    unit = piece.unit
    if unit is None or piece.score is None or unit.sequence is None or unit.start == unit.end:
        return ""
    said = number(piece.score, False)
    if signed:
        side = supports[1] if piece.score >= 0 else supports[0]
        said = f"{number(abs(piece.score), False)} {side.replace('supports ', 'for ')}"
    return (
        f' role="button" tabindex="-1" data-place="{unit.sequence}:{unit.start}:{unit.end}"'
        f' aria-label="{safe(shorten(piece.text, 200))}, {safe(said)}"'
    )


def _edited(service: Service, state: State, spec: str, now: Explanation, level: Level) -> str:
    """What the decision was before a word was edited, and which words' scores changed most.

    Both explain one class: where none was chosen, the class that is predicted now.
    """
    if not state.before:
        return ""
    target = state.target or now.target.label
    earlier = replace(state, text=state.before, pair=state.before_pair, methods=(spec,), target=target)
    try:
        (before,) = service.explain(earlier).values()
        changed = sorted(compare(before, now, level).pairs, key=_change, reverse=True)[:CHANGED]
    except WhybertError as error:
        return refused(f"what it was before the edit is not known: {error}")
    words = "".join(
        f"<li><bdi>{safe(shorten(pair.text))}</bdi> {_or_none(pair.first)} → {_or_none(pair.second)}</li>"
        for pair in changed
    )
    turned = ""
    if before.probabilities and before.predicted != now.predicted:
        share = now.probabilities[before.predicted]
        turned = f" <b>The decision changed</b>: {safe(before.prediction)} has {share:.3f} now."
    return (
        f'<div class="edited" role="status"><div>Before the edit {safe(prediction_line(before))}, '
        f"now <b>{safe(prediction_line(now))}</b>.{turned}</div>"
        f'<div class="changes">Scores of {safe(now.method)} for {safe(now.explained)} that changed most: '
        f'<ul>{words}</ul></div><button type="button" data-undo>Undo</button></div>'
    )


def _change(pair: Pair) -> float:
    """Of the scores as they are: both are of one method, for one class."""
    return abs((pair.second or 0.0) - (pair.first or 0.0))


def _or_none(score: float | None) -> str:
    return "(not there)" if score is None else number(score)
