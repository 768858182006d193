"""`whybert predict`: of texts, of lines, and of the rows of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

from whybert.cli import options
from whybert.cli.data import InputOptions, match
from whybert.cli.options import OUTPUT_PANEL, told
from whybert.cli.output import console_for, opened, show, show_result
from whybert.cli.progress import Answering
from whybert.corpus import sinks
from whybert.corpus.sources import Item, Rows
from whybert.datasets.base import MULTI
from whybert.errors import InputError, UsageError, require_all

if TYPE_CHECKING:
    from whybert.classifier import Prediction
    from whybert.encoding import Text

_Predictions = Iterator[list[tuple[Item, "Prediction"]]]


@options.spread
def predict_command(
    given: InputOptions,
    model: options.ModelOptions,
    reading: options.LongOptions,
    batch_size: options.BatchSizeOption = 32,
    report: bool = told(
        OUTPUT_PANEL,
        "The scores on --data, by the model's problem type; -o writes the predictions too.",
        default=False,
    ),
    format: Annotated[str | None, options.format_option(sinks.PREDICTIONS)] = None,
    output: options.OutputOption = None,
) -> None:
    """Show what the classifier says, without explaining it.

    Of a data set, the file of -o and the formats json and csv hold a row for each text, its own label too.
    """
    mapping, how = given.mapping, reading.how
    reported = report and output is None  # instead of the predictions
    # The report goes to stdout, where --format is about it; then the file's name alone says what it holds.
    wanted = sinks.chosen(sinks.PREDICTIONS, None if report and output else format, output)
    if report and given.data is None:
        raise UsageError("--report is for data sets; give --data NAME_OR_FILE, or leave it out")
    if report:
        require_all(("scipy", "sklearn"), "a report", "train")
    source = given.source("predict", gaps=not report)
    if report and isinstance(source, Rows) and not source.has_labels:
        raise InputError(
            f"expected labels in the {source.split} split of {source.data.name} for --report, found none; "
            "name another --split, or leave --report out"
        )
    with nullcontext() if reported else opened(output, given.files) as stream:
        from whybert.classifier import predict_batches

        classifier = model.load()
        truth = match(source, classifier, mapping, needed=report)

        def ask(batch: list[Text]) -> Iterator[tuple[int, Prediction]]:
            for indices, predictions in predict_batches(classifier, batch, batch_size, **how):
                yield from zip(indices, predictions, strict=True)

        true: list[Any] = []
        logits: list[tuple[float, ...]] = []

        def counted(chunks: _Predictions) -> _Predictions:
            for chunk in chunks:
                for item, found in chunk:
                    if report and item.label is not None:
                        true.append(_true(item.label, truth))
                        logits.append(found.logits)
                yield chunk

        answering = Answering(source, classifier, batch_size, stream is None or not stream.isatty())
        chunks = counted(answering.answers(ask))
        labels = classifier.labels
        answer = sinks.NUMBER if classifier.is_regression else sinks.PROBABILITY
        several = classifier.problem_type == MULTI
        if stream is None:
            for _ in chunks:
                pass
        elif wanted == sinks.TERMINAL:
            has_truth = isinstance(source, Rows) and source.has_labels
            widest = ["|".join(labels)] if several else labels
            _show(chunks, sinks.predicted(labels, several), widest, answer, has_truth, stream)
        elif isinstance(source, Rows):
            columns = sinks.columns_of_rows(labels, answer, source.columns)
            records = sinks.records_of_rows(chunks, labels, answer, several)
            sinks.PREDICTIONS[wanted].write(records, columns, stream)
        else:
            records = sinks.records_of_texts(chunks, labels, answer, several)
            sinks.PREDICTIONS[wanted].write(records, sinks.columns_of_texts(answer), stream)
    if report and true:
        from whybert import scoring

        scored = scoring.report(cast(Rows, source).data.problem_type, labels, true, logits)
        show_result(cast(Any, scored), records=[scored.to_dict()] if format == "json" else None)
    answering.finish()


def _true(label: Any, truth: tuple[int, ...]) -> Any:
    """The label of a row among the model's, the list of them, or its number."""
    if isinstance(label, list):
        return [truth[index] for index in label]
    return truth[label] if truth else label


def _show(
    chunks: _Predictions,
    name: Callable[[Prediction], str],
    widest: Sequence[str],
    answer: str,
    has_truth: bool,
    stream: TextIO,
) -> None:
    """One table, printed chunk by chunk: the widths of its columns are those of the first chunk.

    name: of what is predicted.  widest: names of which none is longer.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text as RichText

    from whybert.render import shorten, visible
    from whybert.render.tables import LOOK

    def shown(text: str) -> str:
        return shorten(visible(" ".join(text[:1000].split())), 200)

    console = console_for(stream)
    names = [shown(label) for label in sinks.told_apart(widest)]
    headings = ["label", "predicted"] if has_truth else ["label"]
    most = (console.width - 15) // (len(headings) + 2)
    label_width = min(max(map(cell_len, [*names, *headings])), max(5, most))
    widths: list[int] = []
    for chunk in chunks:
        rows = []
        for item, prediction in chunk:
            parts = [prediction.text] if prediction.pair is None else [prediction.text, prediction.pair]
            said = [shown(item.truth or "")] * has_truth + [shown(name(prediction)) or "-"]
            rows.append(([shown(part) for part in parts], [*said, f"{prediction.answer:.3f}"]))
        if not rows:
            continue
        is_first = not widths
        if is_first:
            count = len(rows[0][0])
            taken = len(headings) * (label_width + 2) + 11 + 2 * (count + 1)
            room = max(4, (console.width - taken) // count)
            widths = [min(room, 60, max(4, *(cell_len(parts[i]) for parts, _ in rows))) for i in range(count)]
        table = Table(**LOOK, show_header=is_first)
        for heading, width in zip(("text", "pair"), widths, strict=False):
            table.add_column(heading, width=width, no_wrap=True, overflow="ellipsis")
        for heading in headings:
            table.add_column(heading, width=label_width, no_wrap=True, overflow="ellipsis")
        table.add_column(answer, min_width=11, justify="right", no_wrap=True)
        for parts, cells in rows:
            table.add_row(*map(RichText, [*parts, *cells]))
        show(console, table)
        stream.flush()
