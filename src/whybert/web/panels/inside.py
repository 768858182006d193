"""Inside: where the scores come from, layer by layer and head by head, and where attention comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import gradio as gr
import torch

from whybert.anatomy import plain
from whybert.asking import asked
from whybert.classifier import Classifier
from whybert.errors import WhybertError
from whybert.explaining import explain
from whybert.explanation import Explanation, Level
from whybert.methods.attention import LayerwiseAttentionTracing
from whybert.methods.specs import create
from whybert.render import method_line
from whybert.render.grids import head_grid, layer_grid, unit_grid
from whybert.render.html import grid
from whybert.web.controls import Controls
from whybert.web.service import Service, level_of, text_of
from whybert.web.showing import guarded, refused, safe
from whybert.web.state import State

__all__ = ["Traced", "build", "inside", "traced", "tracing"]

ROWS: Final = 60
"""Of longer texts only so many words are shown, the strongest."""

ALL: Final = "mean of all"

_NOTE: Final = (
    "Attention says where a layer reads from, not what it does with it: the weights know nothing of the "
    "values they are multiplied by, of the residual stream that goes around them, or of the class that is "
    "explained. Above the first layer a position is no word any more: it has taken up those around it."
)


def build(controls: Controls, service: Service) -> None:
    """The panel: it answers as one types."""
    relevance = gr.HTML(elem_id="inside", elem_classes="wb", apply_default_css=False)
    controls.answers(guarded(partial(inside, service)), [relevance])
    gr.Markdown("### Attention tracing (`lat`)")
    with gr.Row():
        head = gr.Dropdown([ALL], value=ALL, label="Head", elem_id="head", min_width=140)
        layer = gr.Dropdown(["1"], value="1", label="Heads at layer", elem_id="layer", min_width=140)
    answer = gr.HTML(elem_id="traced", elem_classes="wb", apply_default_css=False)

    def traced_now(state: State, head: str, layer: str) -> tuple[Any, Any, Any]:
        if not state.text.strip():
            return "", gr.skip(), gr.skip()
        try:
            found, level = service.ask(state, lambda classifier: traced(classifier, state)), level_of(state)
        except WhybertError as error:
            return refused(error), gr.skip(), gr.skip()
        heads, layers = [ALL, *_names(found.heads)], _names(found.layers)
        head, layer = (head if head in heads else ALL), (layer if layer in layers else "1")
        return (
            tracing(found, level, None if head == ALL else int(head) - 1, int(layer)),
            gr.update(choices=heads, value=head),
            gr.update(choices=layers, value=layer),
        )

    shown = [answer, head, layer]
    controls.answers(traced_now, shown, inputs=[head, layer])
    for each in (head, layer):
        controls.answers(traced_now, shown, inputs=[head, layer], on=each.input)


def _names(count: int) -> list[str]:
    return [str(number + 1) for number in range(count)]


def inside(service: Service, state: State) -> str:
    """Layers and heads of each method that has them, from the pass that made the scores."""
    if not state.text.strip():
        return '<p class="hint">Type a text, or pick an example.</p>'
    parts, without = [], []
    for spec in state.methods:
        if create(spec).gradient_form is None:
            without.append(spec)
            continue
        try:
            (found,) = service.explain(replace(state, methods=(spec,)), layers=True, heads=True).values()
            parts.append(
                f"<h3>{safe(method_line(found))} on {safe(found.explained)}</h3>"
                f"{grid(layer_grid(found, level_of(state)).strongest(ROWS))}{grid(head_grid(found))}"
            )
        except WhybertError as error:
            parts.append(f"<h3>{safe(spec)}</h3>{refused(error)}")
    if without:
        parts.append(
            f'<p class="note">No layers and heads of {safe(", ".join(without))}: they are of methods whose '
            "relevance is the input times a gradient, such as attnlrp, cp_lrp and gi:reduction=sum.</p>"
        )
    if len(parts) > bool(without):
        parts.append(
            '<p class="note">A row is of a position: in higher layers it has taken up the words around it. '
            "Heads sum to nothing, and two that cancel each other may do nothing together.</p>"
        )
    return "".join(parts)


@dataclass(frozen=True)
class Traced:
    """Where the attention of what the classifier reads comes from.

    Fields:
        explanation: by `lat`, of the same text.
        weights: for each layer from the embedding (0) to what is read, for each head, of each token its share
            of the head's weight.
    """

    explanation: Explanation
    weights: Sequence[Sequence[Sequence[float]]]

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.weights) - 1

    @property
    def heads(self) -> int:
        """How many heads a layer has."""
        return len(self.weights[0])

    def shares(self, head: int | None) -> list[list[float]]:
        """For each layer the share of each token, of one head or of all."""
        if head is not None:
            return [list(heads[head]) for heads in self.weights]
        return [[sum(each) / len(heads) for each in zip(*heads, strict=True)] for heads in self.weights]


def traced(classifier: Classifier, state: State) -> Traced:
    """The tracing of the text of a state."""
    [explanation] = explain(classifier, text_of(state), "lat")
    question = asked(classifier, text_of(state))
    assert question.rows is not None
    with plain(classifier.model, backward=True):
        steps = torch.stack([*LayerwiseAttentionTracing().steps(question)], 1)[0]  # (layers, heads, seq)
    if (standing := question.shared.forward.standing) is not None:
        steps = standing.folded(steps[None], 3)[0]
    weights = steps[..., list(question.rows[0].positions)].double().cpu().flip(0)
    return Traced(explanation, weights.tolist())


def tracing(found: Traced, level: Level, head: int | None, layer: int) -> str:
    """The weights of one head, or of all, by layer, and those at one layer by head.

    Args:
        found: what is shown.
        level: of the rows.
        head: counted from 0; None for the mean of all.
        layer: counted from 1.
    """
    count = found.layers
    whose = "the mean of all heads" if head is None else f"head {head + 1}"
    by_layer = unit_grid(
        found.explanation,
        level,
        f"by layer, {whose}: what share of the weight lies where the classifier reads ({count}), and how it "
        "has spread below each layer down to the embedding (0); there the sum over heads is the score",
        tuple(map(str, range(count, -1, -1))),
        found.shares(head)[::-1],
    )
    by_head = unit_grid(
        found.explanation,
        level,
        f"by head: its share of the weight below layer {layer}",
        tuple(_names(found.heads)),
        found.weights[layer - 1],
    )
    return (
        f"{grid(by_layer.strongest(ROWS))}{grid(by_head.strongest(ROWS))}"
        f'<p class="note">What it does not say: {_NOTE}</p>'
    )
