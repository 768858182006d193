"""`whybert explain`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from whybert.cli import options
from whybert.cli.data import InputOptions, match
from whybert.cli.options import METHOD_PANEL, OUTPUT_PANEL, told
from whybert.cli.output import console_for, opened, show
from whybert.cli.progress import Answering
from whybert.corpus import sinks
from whybert.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from whybert.classifier import Classifier
    from whybert.encoding import Text
    from whybert.explanation import Explanation, Level
    from whybert.heads import Head
    from whybert.saving import Format

DEFAULT_METHOD = "attnlrp"


class QuantityOption(StrEnum):
    LOGIT = "logit"
    PROBABILITY = "probability"
    LOG_PROBABILITY = "log_probability"
    MARGIN = "margin"
    ENTROPY = "entropy"


class LevelOption(StrEnum):
    WORD = "word"
    TOKEN = "token"  # noqa: S105 - no password
    SENTENCE = "sentence"


@options.spread
def explain_command(
    given: InputOptions,
    model: options.ModelOptions,
    reading: options.LongOptions,
    batch_size: options.BatchSizeOption = 32,
    method: options.MethodOption = None,
    target: str | None = told(
        METHOD_PANEL,
        "The label to explain, instead of the predicted one; all: each.  Of a model that answers at each "
        "position Paris:B-LOC, start:Paris or [MASK]:is, with the word or its number from 0.",
        "LABEL|INDEX|all|WORD:LABEL",
    ),
    contrast: tuple[str, str] | None = told(METHOD_PANEL, "Why label A rather than B.", "A B"),
    quantity: QuantityOption = told(
        METHOD_PANEL, "What of the label is explained.", default=QuantityOption.LOGIT
    ),
    layers: bool = told(METHOD_PANEL, "Also what the tokens are worth at each layer.", default=False),
    heads: bool = told(METHOD_PANEL, "Also what each attention head hands on.", default=False),
    format: Annotated[str | None, options.format_option(sinks.EXPLANATIONS)] = None,
    output: options.OutputOption = None,
    level: LevelOption = told(OUTPUT_PANEL, "Whole words, tokens, or sentences.", default=LevelOption.WORD),
    top: int | None = told(
        OUTPUT_PANEL,
        "List only the K strongest words, tokens or sentences; in JSON, add them as top.",
        "K",
        min=1,
    ),
) -> None:
    """Show which words made the classifier decide as it did."""
    if target is not None and contrast is not None:
        raise UsageError("--target and --contrast exclude each other; --contrast A B explains A against B")
    wanted_format = sinks.chosen(sinks.EXPLANATIONS, format, output)
    sink = sinks.EXPLANATIONS.get(wanted_format)
    if top is not None and sink is not None and not sink.shows_top:
        others = [sinks.TERMINAL, *(name for name, each in sinks.EXPLANATIONS.items() if each.shows_top)]
        raise UsageError(f"--top is for the formats {', '.join(others)}, not {wanted_format}; leave it out")
    if layers or heads:
        _check_shown("--layers" if layers else "--heads", wanted_format, sink, top)
    mapping, source, how = given.mapping, given.source("explain"), reading.how

    with opened(output, given.files) as stream:
        from whybert.attribution import check_inside
        from whybert.explaining import explain_batches
        from whybert.methods import create_all

        chosen = create_all([DEFAULT_METHOD] if method is None else options.methods(method))
        check_inside(chosen, layers, heads)
        classifier = model.load()
        match(source, classifier, mapping)
        wanted = find_target(classifier, target, contrast, quantity.value)

        def ask(batch: list[Text]) -> Iterator[tuple[int, list[Explanation]]]:
            for indices, rows in explain_batches(
                classifier,
                batch,
                chosen,
                wanted,
                batch_size=batch_size,
                quantity=quantity.value,
                layers=layers,
                heads=heads,
                **how,
            ):
                found: dict[int, list[Explanation]] = {}
                for listed in (rows[method.spec] for method in chosen):
                    for index, row in zip(indices, listed, strict=True):
                        found.setdefault(index, []).append(row)
                yield from found.items()

        answering = Answering(source, classifier, batch_size, not stream.isatty())
        write = _show if sink is None else sink.write
        write(answering.answers(ask), level.value, top, stream)
    answering.finish()


def _check_shown(option: str, wanted: str, sink: Format | None, top: int | None) -> None:
    """Raise UsageError where what the option asks for would be computed and not shown."""
    if sink is None and top is not None:
        raise UsageError(
            f"{option} and --top exclude each other in a terminal: a list of words has no layers"
        )
    if sink is not None and not sink.shows_inside:
        others = [sinks.TERMINAL, *(name for name, each in sinks.EXPLANATIONS.items() if each.shows_inside)]
        raise UsageError(f"{option} is for the formats {', '.join(others)}, not {wanted}; leave it out")


def find_target(
    classifier: Classifier, target: str | None, contrast: tuple[str, str] | None, quantity: str = "logit"
) -> Any:
    """The options --target and --contrast as a target, once it is known to fit the classifier and quantity.

    What looks like a number is a label if there is such a label, and else an index.
    """
    import torch

    from whybert.heads import LABELS
    from whybert.targets import resolve_each

    def one(name: str, labels: Sequence[str] = classifier.labels) -> int | str:
        return int(name) if name not in labels and re.fullmatch(r"[+-]?[0-9]{1,9}", name) else name

    head = LABELS if target is None and contrast is None else classifier.head
    if head.has_places:
        named = [target] if contrast is None else contrast
        places = tuple(_at_place(head, str(name), one) for name in named)
        return places[0] if len(places) == 1 else places

    found: int | str | tuple[int | str, int | str] | None
    found = None if target is None else one(target)
    if contrast is not None:
        found = (one(contrast[0]), one(contrast[1]))
    logits = torch.zeros(1, len(classifier.labels))
    resolve_each(found, logits, classifier.labels, quantity, classifier.link)
    return found


def _at_place(head: Head, name: str, one: Callable[..., int | str]) -> tuple[Any, Any]:
    """A place and what is explained there: "Paris:B-LOC", "5:B-LOC", "start:Paris", and what may be left out.

    A colon may be in a word and in a label, so it is one behind which a label stands.
    """
    if head.kind == "spans":
        side, _, word = name.partition(":")
        return side, one(word, ()) if word else None
    for colon in re.finditer(":", name):
        place, found = name[: colon.start()], name[colon.end() :]
        if place and (found in (*head.labels, "all") or re.fullmatch("[0-9]{1,9}", found)):
            return one(place, ()), one(found, head.labels)
    if head.kind == "vocabulary":
        place, _, found = name.rpartition(":")
        return (one(place, ()), found) if place and found else (None, name)
    place, colon_found, found = name.rpartition(":")
    return (one(place, ()), found) if colon_found and place and found else (one(name, ()), None)


def _show(chunks: sinks.Explained, level: Level, top: int | None, stream: TextIO) -> None:
    console = console_for(stream)
    for number, (item, explanations) in enumerate(answer for chunk in chunks for answer in chunk):
        if number:
            console.print()
        labelled = [replace(each, truth=item.truth) for each in explanations]
        show(console, _explained(labelled, level, top))
        stream.flush()


def _explained(explanations: list[Explanation], level: Level, top: int | None) -> RenderableType:
    from rich.console import Group
    from rich.text import Text as RichText

    from whybert.render.terminal import comparison, terminal

    if top is not None:
        parts: list[RenderableType] = []
        for explanation in explanations:
            parts += [RichText()] if parts else []
            parts.append(_top_list(explanation, level, top))
        return Group(*parts)
    if len(explanations) == 1:
        return terminal(explanations[0], level)
    return comparison(explanations, level)


def _top_list(explanation: Explanation, level: Level, top: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text as RichText

    from whybert.render import method_line, number, prediction_line, short_name, target_line, visible

    head = RichText(visible(prediction_line(explanation)), style="bold")
    for fact in (target_line(explanation), f"method {method_line(explanation)}"):
        head.append(visible(f" · {fact}") if fact else "", "not bold")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    for unit in explanation.top(top, level):
        table.add_row(RichText(number(unit.score, explanation.signed)), RichText(visible(short_name(unit))))
    return Group(head, table)
