"""What answers become in files and pipes: a table of formats for predictions and one for explanations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from whybert.corpus.sources import Item
from whybert.errors import UnknownNameError, UsageError
from whybert.files import csv_row, json_line, parquet_libraries, plain
from whybert.saving import FORMATS, Entry, Format, beside
from whybert.schema import column_type

if TYPE_CHECKING:
    from whybert.classifier import Prediction
    from whybert.explanation import Explanation, Level

TERMINAL: Final = "terminal"  # what people read; it is up to the caller
PROBABILITY: Final = "probability"
NUMBER: Final = "number"  # of a regression
_ROW_GROUP: Final = 8192

Records = Iterable[list[dict[str, Any]]]
Explained = Iterable[list[tuple[Item, list["Explanation"]]]]


def chosen(formats: Mapping[str, Format], asked: str | None, path: Path | None) -> str:
    """The name of the wanted format: the one asked for, that of the file's suffix, or else TERMINAL.

    Raises:
        UnknownNameError: there is no such format.
        UsageError: the file's suffix is that of no format, or of another one than was asked for.
    """
    known = {suffix: name for name, each in formats.items() for suffix in each.suffixes} | {".txt": TERMINAL}
    if asked is not None and asked not in (TERMINAL, *formats):
        raise UnknownNameError("format", asked, (TERMINAL, *formats))
    suffix = "" if path is None else path.suffix.lower()
    said = known.get(suffix)
    if suffix and said is None and asked is None:
        raise UsageError(
            f"expected a file that ends with {', '.join(known)}, found {str(path)!r}; or say its --format"
        )
    if asked and said and asked != said:
        raise UsageError(
            f"--format {asked} and the file {str(path)!r} contradict each other; leave --format out, or give "
            "the file another suffix"
        )
    name = asked or said or TERMINAL
    if path is None and name in formats and formats[name].in_files_only:
        raise UsageError(f"the format {name} is for files; use -o FILE{formats[name].suffixes[0]}")
    return name


# Predictions.  `write` takes chunks of records, the columns of their table with the types, and a stream.


def predicted(labels: Sequence[str], several: bool) -> Callable[[Prediction], str]:
    """What a prediction is called: its label or, of a model with several a text, those likelier than not."""
    names = told_apart(labels)
    if not several:
        return lambda found: names[found.predicted]
    return lambda found: "|".join(
        name for name, chance in zip(names, found.probabilities, strict=True) if chance > 0.5
    )


def records_of_texts(
    chunks: Iterable[list[tuple[Item, Prediction]]], labels: Sequence[str], answer: str, several: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """A record of each prediction on a text.

    answer: what the model answers, PROBABILITY or NUMBER, which is the name of its column.
    several: whether a text may have several labels, which then stand as `label` with | between them.
    """
    name = predicted(labels, several)
    for chunk in chunks:
        yield [
            {"index": item.index, **found.to_dict(), "label": name(found)}
            | {answer: found.answer, "labels": list(labels)}
            for item, found in chunk
        ]


def columns_of_texts(answer: str) -> dict[str, type]:
    """The columns of a table of `records_of_texts`."""
    return {"index": int, "text": str, "pair": str, "label": str, answer: float, "truncated": bool}


def records_of_rows(
    chunks: Iterable[list[tuple[Item, Prediction]]], labels: Sequence[str], answer: str, several: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """A record of each prediction on a row, its own label beside the one that is predicted.

    answer, several: as for `records_of_texts`.
    """
    columns, name = columns_of_rows(labels, answer), predicted(labels, several)
    for chunk in chunks:
        records = []
        for item, found in chunk:
            cells = (item.index, found.text, found.pair, item.truth, name(found), found.answer)
            record = dict(zip(columns, (*cells, *(found.probabilities or found.logits)), strict=True))
            records.append(record | beside(columns, item.columns))
        yield records


def columns_of_rows(
    labels: Sequence[str], answer: str, more: Mapping[str, Sequence[Any]] = MappingProxyType({})
) -> dict[str, type]:
    """The columns of `records_of_rows`; labels of one name are told apart by their index.

    more: the columns that rows bring along, with their cells.
    """
    names = [label if labels.count(label) == 1 else f"{label}_{index}" for index, label in enumerate(labels)]
    texts = dict.fromkeys(("text", "pair", "label", "predicted"), str)
    numbers = dict.fromkeys((answer, *(f"{answer}_{name}" for name in names)), float)
    own: dict[str, type] = {"index": int, **texts, **numbers}
    return own | beside(own, {name: _kind(cells) for name, cells in more.items()})


def told_apart(labels: Sequence[str]) -> list[str]:
    """The labels, with the index of each whose name another has too."""
    return [label if labels.count(label) == 1 else f"{label} ({index})" for index, label in enumerate(labels)]


def _kind(cells: Sequence[Any]) -> type:
    """The type of a column of a table: that of its cells, or else text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    return kinds.pop() if len(kinds) == 1 and kinds <= {int, float, bool, str} else str


def _lines(records: Records, columns: Mapping[str, type], stream: TextIO) -> None:
    for chunk in records:
        stream.writelines(map(json_line, chunk))
        stream.flush()


def _csv(records: Records, columns: Mapping[str, type], stream: TextIO) -> None:
    csv_row(stream, list(columns))
    for chunk in records:
        for record in chunk:
            csv_row(stream, [_cell(record[name], kind) for name, kind in columns.items()])
        stream.flush()


def _cell(value: Any, kind: type) -> Any:
    """A cell of a column of that type."""
    if kind is not str or value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _parquet(records: Records, columns: Mapping[str, type], stream: TextIO) -> None:
    arrow, parquet = parquet_libraries()
    schema = arrow.schema([(name, column_type(arrow, kind)) for name, kind in columns.items()])
    with parquet.ParquetWriter(cast(Any, stream).buffer, schema) as writer:
        group: list[dict[str, Any]] = []
        for chunk in records:
            group += [
                {name: plain(_cell(record[name], kind)) for name, kind in columns.items()} for record in chunk
            ]
            if len(group) >= _ROW_GROUP:
                writer.write_table(arrow.Table.from_pylist(group, schema))
                group = []
        if group:
            writer.write_table(arrow.Table.from_pylist(group, schema))


PREDICTIONS: Final[Mapping[str, Format]] = {
    "parquet": Format((".parquet",), _parquet, in_files_only=True),
    "csv": Format((".csv",), _csv),
    "json": Format((".jsonl", ".json", ".ndjson"), _lines),
}


# Explanations.  `write` takes chunks of them, one for each method, the level, how many are the top, a stream.


def _explanations(form: Format) -> Format:
    """A format of files of explanations as one of answers, which come in chunks."""

    def write(chunks: Explained, level: Level, top: int | None, stream: TextIO) -> None:
        form.write(_flat(chunks, stream), stream, level, top)

    return replace(form, write=write)


def _flat(chunks: Explained, stream: TextIO) -> Iterator[Entry]:
    for chunk in chunks:
        for item, explanations in chunk:
            for explanation in explanations:
                yield item.index, item.columns, replace(explanation, truth=item.truth)
        stream.flush()


EXPLANATIONS: Final = {name: _explanations(form) for name, form in FORMATS.items() if name != "text"}
