"""Trust: whether methods agree on this text, whether the model heeds what they name, and their books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import gradio as gr

from whybert.classifier import Classifier
from whybert.errors import UsageError, WhybertError
from whybert.evaluation.faithfulness import CURVE, FAITHFULNESS
from whybert.evaluation.metric import Score
from whybert.evaluation.subjects import subjects
from whybert.evaluation.walks import run
from whybert.explaining import explain
from whybert.explanation import Explanation
from whybert.render import number
from whybert.render.agreement import agreement, books
from whybert.render.curves import Curve, chart
from whybert.render.html import table
from whybert.web.controls import Controls
from whybert.web.long import Long, StoppedError
from whybert.web.service import Service, level_of, target_of, text_of
from whybert.web.showing import guarded, refused, safe
from whybert.web.state import State
from whybert.words import split_words

__all__ = ["Judged", "agreed", "build", "curves", "judged"]

WAYS: Final = {"delete": "left out", "mask": "masked"}
ORDERS: Final = {
    "morf": "most relevant first (MoRF): the sooner it falls, the better",
    "lerf": "least relevant first (LeRF): the longer it stays, the better",
}
METRICS: Final = ("morf", "lerf", "abpc", "comprehensiveness", "sufficiency")
HEADS: Final = ("area MoRF ↓", "area LeRF ↑", "between ↑", "comprehensiveness ↑", "sufficiency ↓")
DRAWN: Final = 5
"""Random orders, whose mean and range are the control."""

_ANECDOTE: Final = (
    "One text is an anecdote: a method that does well here may do badly on the next one. whybert evaluate "
    "judges methods on many texts, with intervals. Texts without words are also none that the model was "
    "trained on: see whether both ways of taking them away say the same."
)


def build(controls: Controls, service: Service) -> None:
    """The panel: agreement answers as one types, the curves are asked for."""
    agreeing = gr.HTML(elem_id="agreement", elem_classes="wb", apply_default_css=False)
    controls.answers(guarded(partial(agreed, service)), [agreeing])
    gr.Markdown("### Does the model heed the words that the methods name?")
    Long(controls, service, "Draw the faithfulness curves", curves, estimate=_estimate, name="curves")


def agreed(service: Service, state: State) -> str:
    """Tables of agreement and of books of the chosen methods."""
    if not state.text.strip():
        return '<p class="hint">Type a text, or pick an example.</p>'
    found: list[Explanation] = []
    wrong: list[str] = []
    for spec in state.methods:
        try:
            found += service.explain(replace(state, methods=(spec,))).values()
        except WhybertError as error:
            wrong.append(f"<h3>{safe(spec)}</h3>{refused(error)}")
    parts = []
    if len(found) > 1:
        parts.append(
            f"{agreement(found, level_of(state))}"
            '<p class="note">Agreement is no proof: two methods can agree and both be wrong.</p>'
        )
    else:
        parts.append('<p class="note">Choose two methods or more to see whether they agree.</p>')
    return "".join([*parts, books(found) if found else "", *wrong])


def _estimate(state: State) -> str:
    words = sum(1 for text in (state.text, state.pair) for _ in split_words(text))
    removals = 2 * min(words, len(CURVE) - 1) + 2 * min(words, 5)
    return f"at most {len(WAYS) * (len(state.methods) + DRAWN) * removals:,} inputs of the model"


@dataclass(frozen=True)
class Judged:
    """What the model says as the words of a text are taken away in one way.

    Fields:
        scores: of each method by metric, in the order of `METRICS`.
        control: the same of each random order.
        watched: what the curves are of.
        wrong: of methods that could not explain the text, why.
    """

    scores: Mapping[str, Sequence[Score]]
    control: Sequence[Sequence[Score]]
    watched: str
    wrong: Mapping[str, str]


def judged(classifier: Classifier, state: State, way: str) -> Judged:
    """Ask the model without words, in the orders of the methods and in random ones.

    Raises:
        UsageError: there is no method.
        WhybertError: what the methods and metrics raise.
    """
    if not state.methods:
        raise UsageError("expected a method to judge, found none; choose one")
    found: dict[str, Explanation] = {}
    wrong: dict[str, str] = {}
    drawn = [f"random:seed={seed}" for seed in range(DRAWN)]
    for spec in dict.fromkeys((*state.methods, *drawn)):
        try:
            [found[spec]] = explain(
                classifier, text_of(state), spec, target_of(state), quantity=state.quantity or None
            )
        except StoppedError:
            raise
        except WhybertError as error:
            wrong[spec] = str(error)
    [subject] = subjects(classifier, [text_of(state)], target=state.target or None)
    metrics = [replace(FAITHFULNESS[name], level=level_of(state), perturbation=way) for name in METRICS]
    scores = run(classifier, [metric.job(subject, each) for each in found.values() for metric in metrics])
    of_each = {spec: scores[place * len(METRICS) :][: len(METRICS)] for place, spec in enumerate(found)}
    return Judged(
        {spec: of_each[spec] for spec in state.methods if spec in found},
        [of_each[spec] for spec in drawn],
        "probability" if subject.probabilities else "output",
        wrong,
    )


def curves(state: State, classifier: Classifier) -> str:
    """Charts and tables of what the model says without words, in each of the `WAYS`."""
    level, parts = level_of(state), []
    for way, said in WAYS.items():
        try:
            parts.append(_shown(state, judged(classifier, state, way), said))
        except StoppedError:
            raise
        except WhybertError as error:
            parts.append(f"<h4>{level.capitalize()}s {said}</h4>{refused(error)}")
    what = state.target or "the predicted class"
    against = ""
    if state.against and state.target:
        against = f'<p class="note">The methods explain what is for it and against {safe(state.against)}.</p>'
    return (
        f"<p>What the model still says of {safe(what)} as {level}s of the text go: "
        f"<q>{safe(state.text[:80])}{'…' * (len(state.text) > 80)}</q></p>"
        f'{against}{"".join(parts)}<p class="note">{_ANECDOTE}</p>'
    )


def _shown(state: State, found: Judged, said: str) -> str:
    charts = []
    for order, title in ORDERS.items():
        place = METRICS.index(order)
        lines = [Curve(spec, scores[place].curve) for spec, scores in found.scores.items()]
        drawn = [*zip(*(scores[place].curve for scores in found.control), strict=True)]
        mean = tuple(sum(each) / len(each) for each in drawn)
        name = f"{DRAWN} random orders, mean and range"
        lines.append(Curve(name, mean, tuple(map(min, drawn)), tuple(map(max, drawn)), True))
        charts.append(chart(title, f"share of {state.level}s {said}", found.watched, CURVE, lines))
    rows = [(spec, *(number(score.value, True) for score in scores)) for spec, scores in found.scores.items()]
    control = [[scores[place].value for scores in found.control] for place in range(len(METRICS))]
    rows.append(
        (
            f"random, {DRAWN} orders",
            *(
                f"{number(sum(each) / DRAWN)} ({number(min(each))} to {number(max(each))})"
                for each in control
            ),
        )
    )
    caption = f"{state.level.capitalize()}s {said}: ↑ higher is better, ↓ lower is better"
    wrong = "".join(refused(f"{spec}: {why}") for spec, why in found.wrong.items())
    return (
        f"<h4>{state.level.capitalize()}s {said}</h4>{wrong}"
        f'<div style="display:flex;flex-wrap:wrap;gap:1em 2em">{"".join(charts)}</div>'
        f"{table(caption, ('method', *HEADS), rows)}"
    )
