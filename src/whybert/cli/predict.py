"""`whybert predict`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO, cast

from whybert.cli.answering import answers
from whybert.cli.inputs import Inputs, Item
from whybert.cli.options import (
    FORMAT_OPTION,
    BatchSizeOption,
    DeviceOption,
    DtypeOption,
    MaxLengthOption,
    ModelOption,
    OutputOption,
    PairOption,
    TabPairsOption,
    TextsArgument,
)
from whybert.cli.output import console_for, json_line, opened, show

if TYPE_CHECKING:
    from whybert.classifier import Classifier, Prediction
    from whybert.encoding import Text


class PredictionFormat(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"
    CSV = "csv"


def predict_command(
    texts: TextsArgument,
    pair: PairOption = None,
    tab_pairs: TabPairsOption = False,
    model: ModelOption = "builtin",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    max_length: MaxLengthOption = None,
    batch_size: BatchSizeOption = 32,
    format: Annotated[PredictionFormat, FORMAT_OPTION] = PredictionFormat.TERMINAL,
    output: OutputOption = None,
) -> None:
    """Show what the classifier says, without explaining it."""
    inputs = Inputs(texts, pair or [], tab_pairs)
    with opened(output) as stream:
        from whybert.classifier import Classifier

        classifier = Classifier.load(model, device=device, dtype=dtype, max_length=max_length)

        def ask(batch: list[Text]) -> Iterator[tuple[int, Prediction]]:
            return enumerate(classifier.predict(cast(Any, batch), batch_size))

        chunks = answers(inputs, classifier, ask, batch_size, not stream.isatty())
        _WRITERS[format](chunks, classifier, stream)
    inputs.finish()


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
            cells = [re.sub("[\ud800-\udfff]", "\ufffd", cell) for cell in cells]
            writer.writerow([item.index, *cells, found.probability, str(found.truncated).lower()])
        stream.flush()


_WRITERS: Final = {
    PredictionFormat.TERMINAL: _write_table,
    PredictionFormat.JSON: _write_lines,
    PredictionFormat.CSV: _write_csv,
}
