"""Change: the fewest words that decide, words put in their place, and words that count together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import gradio as gr

from whybert.changing import Flip, Flips, Removal, flips, read_replacements, smallest_removal
from whybert.classifier import Classifier
from whybert.errors import UsageError
from whybert.interacting import EXACT, PAIR_METHODS, Interactions, interactions
from whybert.perturbation import PERTURBATIONS
from whybert.render import number, shorten
from whybert.render.html import table
from whybert.web.controls import Controls
from whybert.web.long import Long
from whybert.web.service import Service, level_of, target_of, text_of
from whybert.web.showing import safe
from whybert.web.state import State
from whybert.words import split_words

__all__ = ["build", "shown_flips", "shown_pairs", "shown_removal"]

BUDGET: Final = 2000
"""Inputs of the model that one search may ask about."""

MOST: Final = 6000
"""Inputs of the model up to which pairs are asked about."""

SHOWN: Final = 5
"""Texts with other words that are shown."""

PUT: Final = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-put]");
  if (button) whybert.put(button.dataset.put, button.dataset.pair ?? "");
});
"""


def build(controls: Controls, service: Service) -> None:
    """The panel: what is found is asked for with buttons."""
    by = gr.Dropdown(
        list(PERTURBATIONS), value="delete", label="Words are taken away by", elem_id="by", min_width=200
    )
    gr.Markdown("### The smallest removal that changes the decision")
    Long(
        controls,
        service,
        "Find the smallest removal",
        lambda state, classifier, by: shown_removal(
            smallest_removal(classifier, text_of(state), by=by, unit=level_of(state), budget=BUDGET)
        ),
        estimate=lambda state: f"{_words(state):,} to {BUDGET:,} inputs of the model",
        name="removal",
        inputs=[by],
        script=PUT,
    )
    gr.Markdown("### Other words in their place")
    words = gr.Textbox(
        label="What may stand in the place of what, a line a word (or words that may stand for each other)",
        placeholder="good: bad, fine\nfilm, movie, picture",
        lines=3,
        elem_id="replacements",
        max_length=service.limits.characters,
    )
    Long(
        controls,
        service,
        "Find words that flip it",
        lambda state, classifier, words: shown_flips(_flips(state, classifier, words)),
        estimate=lambda state: f"at most {BUDGET:,} inputs of the model",
        name="flips",
        inputs=[words],
        script=PUT,
    )
    gr.Markdown("### Words that count together")
    method = gr.Dropdown(
        [(f"{name}: {each.summary}", name) for name, each in PAIR_METHODS.items()],
        value=next(iter(PAIR_METHODS)),
        label="Pairs by",
        elem_id="pairs-by",
    )
    Long(
        controls,
        service,
        "Find the strongest pairs",
        lambda state, classifier, method, by: shown_pairs(_pairs(state, classifier, method, by)),
        estimate=lambda state: f"about {_pair_cost(state):,} inputs of the model by shapley_taylor",
        name="pairs",
        inputs=[method, by],
    )


def _words(state: State) -> int:
    return sum(1 for text in (state.text, state.pair) for _ in split_words(text))


def _pair_cost(state: State) -> int:
    count = _words(state)
    return 2**count if count <= EXACT else 8 * count**2


def _flips(state: State, classifier: Classifier, words: str) -> Flips:
    table = read_replacements(words)
    if not table:
        raise UsageError(
            "expected lines that say what may stand in the place of what, such as good: bad, fine"
        )
    return flips(classifier, text_of(state), table, top=SHOWN, budget=BUDGET)


def _pairs(state: State, classifier: Classifier, method: str, by: str) -> Interactions:
    count, cost = _words(state), _pair_cost(state)
    cost = cost if method == "shapley_taylor" else 2 * count**2
    if state.level != "sentence" and cost > MOST:
        raise UsageError(
            f"pairs of {count} words by {method} take about {cost:,} inputs, and the page asks about at most "
            f"{MOST:,}: choose scores of sentences, a method that asks less, or a part of the text"
        )
    return interactions(
        classifier,
        text_of(state),
        method,
        target_of(state),
        quantity=state.quantity or None,
        unit=level_of(state),
        by=by,
    )


def shown_removal(found: Removal) -> str:
    """The text with what goes struck through, the new decision, and a button that asks about the rest."""
    before = f"{found.label} {found.probability:.3f}"
    cost = f"{found.evaluations:,} inputs of the model"
    some = f"{len(found.removed)} of {found.count} {found.unit}s"
    if found.new_label is None or found.new_probability is None:
        sure = "no set of them does" if found.is_proven else "none was found within the budget"
        return f"<p><b>{safe(before)}</b> stays, whichever {found.unit}s are taken away ({sure}; {cost}).</p>"
    sure = "no fewer do" if found.is_proven else "fewer may do, too: not all were asked"
    spans = [
        [(each.start, each.end) for each in found.removed if each.sequence == sequence] for sequence in (0, 1)
    ]
    texts = [found.text, found.pair or ""]
    marked = [_marked(text, own) for text, own in zip(texts, spans, strict=True)]
    rest = [_without(text, own) for text, own in zip(texts, spans, strict=True)]
    how = (
        ""
        if found.by == "delete"
        else (
            f'<p class="note">They were taken away by <code>{safe(found.by)}</code>; the text without them '
            "is another input, and may be decided otherwise.</p>"
        )
    )
    return (
        f"<p><b>{safe(before)} → {safe(found.new_label)} {found.new_probability:.3f}</b> without {some} "
        f"({sure}; {cost}).</p>{_papers(marked, found.pair is not None)}{how}{_put(rest)}"
    )


def shown_flips(found: Flips) -> str:
    """The texts with other words, what the model says of them, and a button for each."""
    before = f"{found.label} {found.probability:.3f}"
    cost = f"{found.candidates:,} replacements, {found.evaluations:,} inputs of the model"
    if not found.found:
        sure = "all were tried" if found.is_proven else "not all were tried"
        return f"<p><b>{safe(before)}</b> stays with all of these words ({sure}; {cost}).</p>"
    sure = "" if found.is_proven else " Fewer words may do, too: not all were asked."
    parts = [
        f"<li><p><b>{safe(each.label)} {each.probability:.3f}</b></p>"
        f"{_papers(_replaced(found, each), found.pair is not None)}{_put([each.text, each.pair or ''])}</li>"
        for each in found.found
    ]
    return (
        f"<p><b>{safe(before)}</b> becomes another ({cost}).{sure}</p>"
        f'<ol style="padding-left:1.5em;margin:0">{"".join(parts)}</ol>'
    )


def shown_pairs(found: Interactions) -> str:
    """The strongest pairs, and what each word is worth alone."""
    if not found.pairs:
        return '<p class="note">There is no pair in a text of one word.</p>'
    least = 1e-9 * max(abs(each.strength) for each in found.pairs)
    how = "all subsets asked" if found.exact else f"{found.options['samples']} orders drawn"
    rows = [
        (
            " + ".join(shorten(" ".join(word.split())) for word in found.words(each)),
            number(each.strength, found.signed),
            f"± {number(each.error, False)}" if each.error > least else "",
            *(number(found.parts[place].effect) for place in (each.first, each.second)),
        )
        for each in found.top(10)
    ]
    caption = (
        f"Strongest pairs for {found.explained} by {found.method}, {how}, {found.evaluations:,} inputs; all "
        f"words make {number(found.output)}, none {number(found.baseline)}"
    )
    meaning = (
        "Above 0 the two speak for it more together than alone, below 0 less."
        if found.signed
        else "The strength is a magnitude: how much the two depend on each other."
    )
    asked = f"{found.text} | {found.pair}" if found.pair else found.text
    return (
        f"<p>Of <q>{safe(shorten(asked, 100))}</q>:</p>"
        + table(caption, ("pair", "together", "error", "first alone", "second alone"), rows)
        + f'<p class="note">{meaning} Words are taken away by <code>{safe(found.options["by"])}</code>; '
        "strengths far above what all words make often come from texts that are nothing the model knows.</p>"
    )


def _replaced(found: Flips, flip: Flip) -> list[str]:
    marked = []
    for sequence, text in enumerate((found.text, found.pair or "")):
        parts, place = [], 0
        for each in (one for one in flip.replaced if one.sequence == sequence):
            old, new = safe(each.old), safe(each.new)
            parts.append(f"{safe(text[place : each.start])}<del>{old}</del> <ins>{new}</ins>")
            place = each.end
        marked.append("".join([*parts, safe(text[place:])]))
    return marked


def _marked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts, place = [], 0
    for start, end in spans:
        parts.append(f"{safe(text[place:start])}<del>{safe(text[start:end])}</del>")
        place = end
    return "".join([*parts, safe(text[place:])])


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts, place = [], 0
    for start, end in spans:
        parts.append(text[place:start])
        place = end
    return " ".join("".join([*parts, text[place:]]).split())


def _papers(marked: Sequence[str], is_pair: bool) -> str:
    return "".join(f'<p dir="auto" lang="" class="changed">{each}</p>' for each in marked[: 1 + is_pair])


def _put(texts: Sequence[str]) -> str:
    text, pair = map(safe, texts)
    return (
        f'<button type="button" class="put" data-put="{text}" data-pair="{pair}">Ask about this text</button>'
    )
