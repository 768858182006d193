"""`whybert predict`: of texts, of lines, and of the rows of a labelled data set."""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, TextIO, cast

import typer

from whybert.cli.data import DataSource
from whybert.cli.options import (
    FORMAT_OPTION,
    INPUT_PANEL,
    OUTPUT_PANEL,
    BatchSizeOption,
    DataDirOption,
    DataOption,
    DeviceOption,
    DtypeOption,
    LabelColumnOption,
    LabelMapOption,
    MaxLengthOption,
    ModelOption,
    OutputOption,
    PairColumnOption,
    PairOption,
    SplitOption,
    TabPairsOption,
    TextColumnOption,
    read_label_map,
)
from whybert.cli.output import console_for, note, opened, show
from whybert.corpus.sources import Inputs, Item
from whybert.corpus.work import answers
from whybert.errors import InputError, MissingExtraError, UsageError
from whybert.files import json_line

if TYPE_CHECKING:
    from whybert.classifier import Classifier, Prediction
    from whybert.encoding import Text

_LOST = re.compile("[\ud800-\udfff]")  # surrogates, which UTF-8 cannot hold
_SUFFIXES: Final = (".parquet", ".csv", ".jsonl")


class PredictionFormat(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"
    CSV = "csv"


def predict_command(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...",
            help="A text; - reads lines from stdin; the name of a file reads its lines.",
            show_default=False,
        ),
    ] = None,
    pair: PairOption = None,
    tab_pairs: TabPairsOption = False,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    split: SplitOption = None,
    text_column: TextColumnOption = None,
    pair_column: PairColumnOption = None,
    label_column: LabelColumnOption = None,
    label_map: LabelMapOption = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Only the first rows of --data.", rich_help_panel=INPUT_PANEL
        ),
    ] = None,
    model: ModelOption = "builtin",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    max_length: MaxLengthOption = None,
    batch_size: BatchSizeOption = 32,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Accuracy, F1 and confusions on --data; -o writes the predictions too.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False,
    format: Annotated[PredictionFormat, FORMAT_OPTION] = PredictionFormat.TERMINAL,
    output: OutputOption = None,
) -> None:
    """Show what the classifier says, without explaining it.

    Of a data set, -o writes a row for each text as the file's name says: .parquet, .csv or .jsonl.
    """

    def classifier() -> Classifier:
        from whybert.classifier import Classifier

        return Classifier.load(model, device=device, dtype=dtype, max_length=max_length)

    if data is not None:
        if texts or pair or tab_pairs:
            raise UsageError("--data and texts, --pair or --tab-pairs exclude each other; leave one out")
        mapping = read_label_map(label_map)
        source = DataSource(data, data_dir, split, text_column, pair_column, label_column, mapping)
        _predict_rows(source, limit, classifier, batch_size, report, format, output)
        return
    options = {
        "--data-dir": data_dir,
        "--split": split,
        "--text-column": text_column,
        "--pair-column": pair_column,
        "--label-column": label_column,
        "--label-map": label_map or None,
        "--limit": limit,
        "--report": report or None,
    }
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{name} is for data sets; give --data NAME_OR_FILE, or leave it out")
    if not texts:
        raise UsageError("missing argument 'TEXT', or --data (see whybert predict --help)")
    inputs = Inputs(texts, pair or [], tab_pairs)
    with opened(output) as stream:
        asked = classifier()
        _WRITERS[format](_predictions(inputs, asked, batch_size, not stream.isatty()), asked, stream)
    inputs.finish()


def _predictions(
    inputs: Inputs, classifier: Classifier, batch_size: int, show_progress: bool
) -> Iterator[list[tuple[Item, Prediction]]]:
    def ask(batch: list[Text]) -> Iterator[tuple[int, Prediction]]:
        return enumerate(classifier.predict(cast(Any, batch), batch_size))

    return answers(inputs, classifier, ask, batch_size, show_progress)


_Predictions = Iterator[list[tuple[Item, "Prediction"]]]


def _write_table(chunks: _Predictions, classifier: Classifier, stream: TextIO) -> None:
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
        table.add_column("probability", width=11, justify="right")
        for parts, prediction in rows:
            cells = [*parts, shown(prediction.label), f"{prediction.probability:.3f}"]
            table.add_row(*map(RichText, cells))
        show(console, table)
        stream.flush()


def _write_lines(chunks: _Predictions, classifier: Classifier, stream: TextIO) -> None:
    for chunk in chunks:
        for item, prediction in chunk:
            record = {"index": item.index, **prediction.to_dict(), "labels": list(classifier.labels)}
            stream.write(json_line(record))
        stream.flush()


def _write_csv(chunks: _Predictions, classifier: Classifier, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["index", "text", "pair", "label", "probability", "truncated"])
    for chunk in chunks:
        for item, found in chunk:
            cells = [found.text, found.pair or "", found.label]
            cells = [_LOST.sub("\ufffd", cell) for cell in cells]
            writer.writerow([item.index, *cells, found.probability, str(found.truncated).lower()])
        stream.flush()


_WRITERS: Final = {
    PredictionFormat.TERMINAL: _write_table,
    PredictionFormat.JSON: _write_lines,
    PredictionFormat.CSV: _write_csv,
}


# The rows of a data set.


class _Rows(Inputs):
    """The rows of a split in the place of lines."""

    def __init__(self, rows: Sequence[Any]) -> None:
        super().__init__([], [], False)
        self.rows = rows

    def total(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Item]:
        return (Item(index, f"row {index + 1}", text) for index, text in enumerate(self.rows))


def _predict_rows(
    source: DataSource,
    limit: int | None,
    load_classifier: Callable[[], Classifier],
    batch_size: int,
    report: bool,
    format: PredictionFormat,
    output: Path | None,
) -> None:
    """Ask for every row; the report goes to stdout, the predictions to the file, or to stdout without one."""
    from whybert.datasets import texts
    from whybert.targets import match_labels

    suffix = "" if output is None else output.suffix.lower()
    if output is not None and suffix not in _SUFFIXES:
        raise UsageError(
            f"expected a file of predictions that ends with {', '.join(_SUFFIXES)}, found {str(output)!r}"
        )
    data = source.load()
    split, rows = source.rows(data)
    rows = rows.select(range(min(limit or len(rows), len(rows))))
    has_labels = "label" in rows.column_names
    if report and not has_labels:
        raise InputError(
            f"expected labels in the {split} split of {data.name} for --report, found none; "
            "name another --split, or leave --report out"
        )
    classifier = load_classifier()
    table: tuple[int, ...] = ()
    if has_labels:
        table, message = match_labels(
            classifier.labels, data.labels, data.name, source.label_map, ordered=data.labels_are_ordered
        )
        if message:
            note(message)
    truth = [table[index] for index in rows["label"][:]] if has_labels else None
    inputs = _Rows(texts(rows))
    true: list[int] = []
    predicted: list[int] = []

    def noted(chunks: _Predictions) -> _Predictions:
        for chunk in chunks:
            if truth is not None:
                true.extend(truth[item.index] for item, _ in chunk)
                predicted.extend(classifier.labels.index(found.label) for _, found in chunk)
            yield chunk

    with nullcontext() if output is None and report else opened(output) as stream:
        quiet = stream is not None and stream.isatty()
        chunks = noted(_predictions(inputs, classifier, batch_size, not quiet))
        if stream is None:
            for _ in chunks:
                pass
        elif output is None and format is PredictionFormat.TERMINAL:
            _write_table(chunks, classifier, stream)
        else:
            kind = suffix or {PredictionFormat.CSV: ".csv", PredictionFormat.JSON: ".jsonl"}[format]
            _ROW_WRITERS[kind](_records(chunks, classifier, truth), classifier, stream)
    if report and true:
        from whybert.scoring import classification_report

        found = classification_report(classifier.labels, true, predicted)
        with opened(None) as stream:
            if format is PredictionFormat.JSON:
                stream.write(json_line(found.to_dict()))
            else:
                show(console_for(stream), cast(Any, found))
    inputs.finish()


_Records = Iterator[dict[str, Any]]


def _records(chunks: _Predictions, classifier: Classifier, truth: Sequence[int] | None) -> _Records:
    for chunk in chunks:
        for item, found in chunk:
            label = None if truth is None else classifier.labels[truth[item.index]]
            cells = (item.index, found.text, found.pair, label, found.label, found.probability)
            yield dict(zip(_columns(classifier), (*cells, *found.probabilities), strict=True))


def _columns(classifier: Classifier) -> list[str]:
    fixed = ["index", "text", "pair", "label", "predicted", "probability"]
    return [*fixed, *(f"probability_{label}" for label in classifier.labels)]


def _write_rows_as_lines(records: _Records, classifier: Classifier, stream: TextIO) -> None:
    for record in records:
        stream.write(json_line(record))


def _write_rows_as_csv(records: _Records, classifier: Classifier, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_columns(classifier))
    for record in records:
        writer.writerow([_LOST.sub("\ufffd", v) if isinstance(v, str) else v for v in record.values()])


def _write_rows_as_parquet(records: _Records, classifier: Classifier, stream: TextIO) -> None:
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("a Parquet file", "train") from error
    texts = {"text", "pair", "label", "predicted"}
    types = {"index": arrow.int64(), **dict.fromkeys(texts, arrow.string())}
    schema = arrow.schema([(name, types.get(name, arrow.float64())) for name in _columns(classifier)])
    binary: BinaryIO = cast(Any, stream).buffer
    with parquet.ParquetWriter(binary, schema) as writer:
        while chunk := list(islice(records, _ROW_GROUP)):
            writer.write_table(arrow.Table.from_pylist(chunk, schema))


_ROW_GROUP: Final = 8192
_ROW_WRITERS: Final = {
    ".jsonl": _write_rows_as_lines,
    ".csv": _write_rows_as_csv,
    ".parquet": _write_rows_as_parquet,
}
