"""Saved: a file of explanations, its words over all texts, and its texts, each one click from the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Final

import gradio as gr

from whybert.errors import WhybertError
from whybert.explanation import LEVELS
from whybert.render import html, number, shorten
from whybert.render.scale import Scale
from whybert.web.controls import Controls
from whybert.web.rows import TEXT_ORDERS, VERDICTS, WORD_ORDERS, Facts, Filter, Rows, TextRow, WordRow
from whybert.web.service import Service
from whybert.web.showing import refused, safe

__all__ = ["build"]

PAGE: Final = 20  # texts
WORDS: Final = 40
AN_HOUR: Final = 3600

_STYLE: Final = """
.scrolled { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9em; }
caption { text-align: left; padding: .2em 0; }
th, td { text-align: left; padding: .2em .5em; vertical-align: top; border: 0; }
th { font-weight: normal; opacity: .8; }
tbody tr { border-top: 1px solid #8884; }
td:first-child { min-width: 6em; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; text-align: left;
  cursor: pointer; text-decoration: underline dotted; overflow-wrap: anywhere; }
button[aria-pressed=true] { font-weight: bold; }
.wrong { border-left: 4px solid #d98e04; }
"""

# A click on what carries data-pick says which it was.  What is shown is the server's, and escaped there.
_PICK: Final = """
element.addEventListener('click', (event) => {
  const picked = event.target.closest('[data-pick]');
  if (picked) trigger('select', {pick: picked.dataset.pick});
});
"""


def build(_: Controls, service: Service) -> None:
    """The panel; it does not look at the question."""
    rows = gr.State(None, time_to_live=AN_HOUR, delete_callback=_close)
    offset = gr.State(0)
    gr.Markdown(
        "Open what `whybert explain -o why.parquet`, `explanations.save(...)` or a download of this page "
        "wrote. The file stays on this server as long as this page is open, an hour at most."
    )
    file = gr.UploadButton(
        "Open a file (.jsonl, .parquet)",
        file_types=[".jsonl", ".json", ".ndjson", ".parquet"],
        size="md",
        elem_id="saved-file",
    )
    about = gr.HTML(elem_id="saved-about")
    with gr.Column(visible=False, elem_id="saved") as opened:
        with gr.Row():
            method = gr.Dropdown([], label="Method", elem_id="saved-method")
            prediction = gr.Dropdown([], label="Predicted class", elem_id="saved-prediction")
            verdict = gr.Dropdown(list(VERDICTS), value="all", label="Predictions", elem_id="saved-verdict")
            low = gr.Slider(0, 1, 0, step=0.01, label="Confidence from", elem_id="saved-low", scale=2)
            high = gr.Slider(0, 1, 1, step=0.01, label="Confidence to", elem_id="saved-high", scale=2)
            word = gr.Textbox(label="With the word", elem_id="saved-word")
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                with gr.Row():
                    word_order = gr.Dropdown(list(WORD_ORDERS), label="Words", elem_id="saved-word-order")
                    least = gr.Number(1, label="In at least so many texts", minimum=1, precision=0)
                words = gr.HTML(
                    elem_id="saved-words",
                    js_on_load=_PICK,
                    css_template=_STYLE,
                    apply_default_css=False,
                    padding=True,
                )
            with gr.Column(scale=3, min_width=300):
                with gr.Row():
                    text_order = gr.Dropdown(list(TEXT_ORDERS), label="Texts", elem_id="saved-text-order")
                    level = gr.Dropdown(list(LEVELS), label="Shown by", elem_id="saved-level")
                texts = gr.HTML(
                    elem_id="saved-texts",
                    js_on_load=_PICK,
                    css_template=_STYLE,
                    apply_default_css=False,
                    padding=True,
                )
                with gr.Row():
                    before = gr.Button("Previous", size="sm", elem_id="saved-before")
                    after = gr.Button("Next", size="sm", elem_id="saved-after")
        figure = gr.HTML(elem_id="saved-figure", padding=True)

    filters = [method, prediction, verdict, low, high, word]
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

    def open_file(path: str | None, old: Rows | None) -> list[Any]:
        _close(old)
        empty = [None, gr.update(visible=False), *[gr.skip()] * len(filters), ""]
        if not path:
            return [*empty, ""]
        try:
            found = Rows.open(path, Path(path).name, service.limits.explanations)
            facts = found.facts()
        except WhybertError as error:
            return [*empty, refused(error)]
        return [
            found,
            gr.update(visible=True),
            gr.update(choices=facts.methods, value=facts.methods[0], visible=len(facts.methods) > 1),
            gr.update(
                choices=[("all", ""), *zip(facts.predictions, facts.predictions, strict=True)], value=""
            ),
            gr.update(value="all", visible=facts.has_truth),
            gr.update(value=0, visible=facts.has_confidence),
            gr.update(value=1, visible=facts.has_confidence),
            "",
            "",
            _about(Path(path).name, facts),
        ]

    def listed(
        found: Rows | None, first: int, word_order: str, least: float, text_order: str, *values: Any
    ) -> tuple[str, str]:
        if found is None:
            return "", ""
        try:
            wanted = _filter(values)
            count = found.count(wanted)
            return (
                _words(found.words(wanted, word_order, WORDS, max(1, int(least or 1))), wanted),
                _texts(found.texts(wanted, text_order, PAGE, first), first, count),
            )
        except WhybertError as error:
            return "", refused(error)

    def shown(found: Rows | None, level: str, event: gr.EventData) -> str:
        try:
            explanation = found and found.explanation(int(event.pick))
        except (WhybertError, ValueError) as error:
            return refused(error)
        return html.fragment(explanation, level) if explanation else ""  # type: ignore[arg-type]

    def picked(event: gr.EventData) -> str:
        return str(event.pick)

    def turned(found: Rows | None, first: int, by: int, values: Sequence[Any]) -> int:
        count = 0 if found is None else found.count(_filter(values))
        return first + by if 0 <= first + by < count else first

    everything = [rows, offset, word_order, least, text_order, *filters]
    file.change(open_file, [file, rows], [rows, opened, *filters, figure, about], **quick).then(
        listed, everything, [words, texts], **quick
    )
    narrowed = [getattr(each, "change") for each in (*filters, text_order)]  # noqa: B009 - not known to mypy
    gr.on(narrowed, lambda: 0, None, [offset], trigger_mode="always_last", **quick).then(
        listed, everything, [words, texts], **quick
    )
    gr.on([word_order.change, least.change], listed, everything, [words, texts], **quick)
    for button, by in ((before, -PAGE), (after, PAGE)):

        def turn(found: Rows | None, first: int, *values: Any, by: int = by) -> int:
            return turned(found, first, by, values)

        button.click(turn, [rows, offset, *filters], [offset], **quick).then(
            listed, everything, [words, texts], **quick
        )
    words.select(picked, None, [word], **quick)
    texts.select(shown, [rows, level], [figure], **quick)


def _close(rows: Rows | None) -> None:
    if rows is not None:
        rows.close()


def _filter(values: Sequence[Any]) -> Filter:
    method, prediction, verdict, low, high, word = values
    return replace(
        Filter(),
        method=method or "",
        prediction=prediction or "",
        verdict=verdict,
        low=low,
        high=high,
        word=word or "",
    )


def _about(name: str, facts: Facts) -> str:
    labelled = "" if facts.has_truth else "; no label is known, so none is wrong or right"
    return (
        f"<p><strong>{safe(name)}</strong>: {facts.count:,} "
        f"explanation{'s' * (facts.count > 1)} by "
        f"{safe(', '.join(facts.methods))}{labelled}</p>"
    )


def _words(words: Sequence[WordRow], wanted: Filter) -> str:
    """The list of words; the colours are those of the heat maps, at the mean share of the largest score."""
    if not words:
        return "<p>No words.</p>"
    lines = []
    for each in words:
        scale = Scale(1.0, each.signed)
        colour = scale.colour(each.share)
        chosen = ' aria-pressed="true"' if each.word == wanted.word.lower() else ""
        lines.append(
            f'<tr><td><button type="button" data-pick="{_attribute(each.word)}"{chosen}>'
            f"<bdi>{safe(shorten(each.word))}</bdi></button></td>"
            f'<td><bdi>{safe(each.target)}</bdi></td><td class="number">{each.texts:,}</td>'
            f'<td class="number" style="background:{colour.background};color:{colour.foreground}">'
            f"{number(each.share, scale.signed, 2)}</td>"
            f'<td class="number">{number(each.score, scale.signed)}</td></tr>'
        )
    return (
        '<div class="scrolled"><table><caption>Words of these texts. <em>Share</em>: the mean of '
        "the word's score over the largest score of its text; a word shows its texts.</caption>"
        "<thead><tr>"
        + "".join(
            f'<th scope="col">{each}</th>' for each in ("Word", "Explained", "Texts", "Share", "Mean score")
        )
        + f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _texts(rows: Sequence[TextRow], first: int, count: int) -> str:
    if not rows:
        return "<p>No text is so.</p>"
    lines = []
    for each in rows:
        sure = "" if each.confidence is None else f"{each.confidence:.3f}"
        truth = "" if each.truth is None else safe(each.truth)
        mark = {True: "right", False: "wrong", None: ""}[each.is_right]
        text = " ".join((each.text if each.pair is None else f"{each.text} / {each.pair}").split())
        lines.append(
            f'<tr class="{mark}"><td><button type="button" data-pick="{each.row}">'
            f'<span dir="auto">{safe(shorten(text, 160)) or "(empty text)"}</span>'
            f"</button></td><td><bdi>{safe(each.prediction)}</bdi></td><td>{sure}</td>"
            f"<td><bdi>{truth}</bdi> {f'({mark})' if mark == 'wrong' else ''}</td></tr>"
        )
    last = first + len(rows)
    return (
        f'<div class="scrolled"><table><caption>Texts {first + 1:,} to {last:,} of {count:,}; '
        "a text shows its heat map below.</caption><thead><tr>"
        + "".join(f'<th scope="col">{each}</th>' for each in ("Text", "Predicted", "Confidence", "Label"))
        + f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _attribute(text: str) -> str:
    """Text as it is, for an attribute: what is picked must be what the rows hold."""
    return escape(text, quote=True)
