"""`whybert predict`: of texts, of lines, and of the rows of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

from whybert.cli import options
from whybert.cli.data import source_of
from whybert.cli.options import OUTPUT_PANEL, option
from whybert.cli.output import console_for, note, opened, show, show_result
from whybert.cli.progress import Answering
from whybert.corpus import sinks
from whybert.corpus.sources import Item, Rows
from whybert.errors import InputError

if TYPE_CHECKING:
    from whybert.classifier import Classifier, Prediction
    from whybert.encoding import Text

_Predictions = Iterator[list[tuple[Item, "Prediction"]]]


def predict_command(
    texts: options.TextsArgument = None,
    text: options.TextOption = None,
    pair: options.PairOption = None,
    tab_pairs: options.TabPairsOption = False,
    data: options.DataOption = None,
    data_dir: options.DataDirOption = None,
    split: options.SplitOption = None,
    text_column: options.TextColumnOption = None,
    pair_column: options.PairColumnOption = None,
    label_column: options.LabelColumnOption = None,
    label_map: options.LabelMapOption = None,
    limit: options.LimitOption = None,
    model: options.ModelOption = "builtin",
    device: options.DeviceOption = None,
    dtype: options.DtypeOption = None,
    max_length: options.MaxLengthOption = None,
    batch_size: options.BatchSizeOption = 32,
    report: Annotated[
        bool,
        option(
            OUTPUT_PANEL, "--report", "Accuracy, F1 and confusions on --data; -o writes the predictions too."
        ),
    ] = False,
    format: Annotated[str | None, options.format_option(sinks.PREDICTIONS)] = None,
    output: options.OutputOption = None,
) -> None:
    """Show what the classifier says, without explaining it.

    Of a data set, the file of -o and the formats json and csv hold a row for each text, its own label too.
    """
    mapping = options.read_label_map(label_map)
    reported = report and output is None  # instead of the predictions
    # The report goes to stdout, where --format is about it; then the file's name alone says what it holds.
    wanted = sinks.chosen(sinks.PREDICTIONS, None if report and output else format, output)
    columns = {"text_column": text_column, "pair_column": pair_column, "label_column": label_column}
    where = {"data_dir": data_dir, "split": split, **columns, "label_map": label_map or None, "limit": limit}
    source = source_of("predict", texts, text, pair, tab_pairs, data, **where, report=report or None)
    if report and isinstance(source, Rows) and not source.has_labels:
        raise InputError(
            f"expected labels in the {source.split} split of {source.data.name} for --report, found none; "
            "name another --split, or leave --report out"
        )
    with nullcontext() if reported else opened(output) as stream:
        from whybert.classifier import Classifier, predict_batches
        from whybert.targets import match_labels

        classifier = Classifier.load(model, device=device, dtype=dtype, max_length=max_length)
        truth: tuple[int, ...] = ()
        if report and classifier.is_regression:
            raise InputError("expected a model that tells labels for --report; this one answers a number")
        if isinstance(source, Rows) and classifier.is_regression:
            source.leave_out_labels()
        if isinstance(source, Rows) and source.has_labels:
            rows = source.data
            truth, message = match_labels(
                classifier.labels, rows.labels, rows.name, mapping, ordered=rows.labels_are_ordered
            )
            if message:
                note(message)

        def ask(batch: list[Text]) -> Iterator[tuple[int, Prediction]]:
            for indices, predictions in predict_batches(classifier, batch, batch_size):
                yield from zip(indices, predictions, strict=True)

        true: list[int] = []
        predicted: list[int] = []

        def counted(chunks: _Predictions) -> _Predictions:
            for chunk in chunks:
                for item, found in chunk:
                    if item.label is not None:
                        true.append(truth[item.label])
                        predicted.append(found.predicted)
                yield chunk

        answering = Answering(source, classifier, batch_size, stream is None or not stream.isatty())
        chunks = counted(answering.answers(ask))
        labels = classifier.labels
        answer = sinks.NUMBER if classifier.is_regression else sinks.PROBABILITY
        if stream is None:
            for _ in chunks:
                pass
        elif wanted == sinks.TERMINAL:
            _show(chunks, classifier, answer, stream)
        elif isinstance(source, Rows):
            records = sinks.records_of_rows(chunks, labels, truth, answer)
            sinks.PREDICTIONS[wanted].write(records, sinks.columns_of_rows(labels, answer), stream)
        else:
            records = sinks.records_of_texts(chunks, labels, answer)
            sinks.PREDICTIONS[wanted].write(records, sinks.columns_of_texts(answer), stream)
    if report and true:
        from whybert.scoring import classification_report

        scored = classification_report(labels, true, predicted)
        show_result(cast(Any, scored), records=[scored.to_dict()] if format == "json" else None)
    answering.finish()


def _show(chunks: _Predictions, classifier: Classifier, answer: str, stream: TextIO) -> None:
    """One table, printed chunk by chunk: the widths of its columns are those of the first chunk."""
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text as RichText

    from whybert.render import shorten, visible

    def shown(text: str) -> str:
        return shorten(visible(" ".join(text[:1000].split())), 200)

    console = console_for(stream)
    names = [shown(label) for label in classifier.labels]
    label_width = min(max(cell_len(name) for name in [*names, "label"]), 24)
    widths: list[int] = []
    for chunk in chunks:
        rows = []
        for _, prediction in chunk:
            parts = [prediction.text] if prediction.pair is None else [prediction.text, prediction.pair]
            rows.append(([shown(part) for part in parts], prediction))
        if not rows:
            continue
        is_first = not widths
        if is_first:
            parts_count = len(rows[0][0])
            room = max(10, (console.width - label_width - 11 - 2 * (parts_count + 2)) // parts_count)
            widths = [
                min(room, 60, max(4, *(cell_len(parts[i]) for parts, _ in rows))) for i in range(parts_count)
            ]
        table = Table(box=SIMPLE_HEAD, show_header=is_first, pad_edge=False)
        table.show_edge = False
        for heading, width in zip(("text", "pair"), widths, strict=False):
            table.add_column(heading, width=width, no_wrap=True, overflow="ellipsis")
        table.add_column("label", width=label_width, no_wrap=True, overflow="ellipsis")
        table.add_column(answer, min_width=11, justify="right", no_wrap=True)
        for parts, prediction in rows:
            cells = [*parts, shown(prediction.label), f"{prediction.answer:.3f}"]
            table.add_row(*map(RichText, cells))
        show(console, table)
        stream.flush()
