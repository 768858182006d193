"""What answers become in files and pipes: a table of formats for predictions and one for explanations."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from whybert.corpus.sources import Item
from whybert.errors import InputError, UnknownNameError, UsageError, require
from whybert.files import csv_row, json_line, plain

if TYPE_CHECKING:
    from whybert.classifier import Prediction
    from whybert.explanation import Explanation, Level

TERMINAL: Final = "terminal"  # what people read; it is up to the caller
PROBABILITY: Final = "probability"
NUMBER: Final = "number"  # of a regression
DATA: Final = "data_"  # before the name of a column that a row brings along, where that is taken
_ROW_GROUP: Final = 8192

Records = Iterable[list[dict[str, Any]]]
Explained = Iterable[list[tuple[Item, list["Explanation"]]]]


@dataclass(frozen=True)
class Format:
    """A format of answers.

    Fields:
        suffixes: of files that hold it; the first one is the usual one.
        write: writes chunks of answers to a stream as they come; see the tables for what more it takes.
        shows_top: whether it shows the strongest words of an explanation by themselves.
        in_files_only: whether it is of no use in a terminal.
    """

    suffixes: tuple[str, ...]
    write: Callable[..., None]
    shows_top: bool = False
    in_files_only: bool = False


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


def records_of_texts(
    chunks: Iterable[list[tuple[Item, Prediction]]], labels: Sequence[str], answer: str
) -> Iterator[list[dict[str, Any]]]:
    """A record of each prediction on a text.

    answer: what the model answers, PROBABILITY or NUMBER, which is the name of its column.
    """
    for chunk in chunks:
        yield [
            {"index": item.index, **found.to_dict(), answer: found.answer, "labels": list(labels)}
            for item, found in chunk
        ]


def columns_of_texts(answer: str) -> dict[str, type]:
    """The columns of a table of `records_of_texts`."""
    return {"index": int, "text": str, "pair": str, "label": str, answer: float, "truncated": bool}


def records_of_rows(
    chunks: Iterable[list[tuple[Item, Prediction]]], labels: Sequence[str], answer: str
) -> Iterator[list[dict[str, Any]]]:
    """A record of each prediction on a row, its own label beside the one that is predicted.

    answer: as for `records_of_texts`.
    """
    columns, names = columns_of_rows(labels, answer), told_apart(labels)
    for chunk in chunks:
        records = []
        for item, found in chunk:
            cells = (item.index, found.text, found.pair, item.truth, names[found.predicted], found.answer)
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


def beside(own: Iterable[str], more: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a row brings along; one that is called like one of ours is DATA_ and its name.

    Raises:
        UsageError: that name is taken too.
    """
    taken = set(own)
    found: dict[str, Any] = {}
    for name, value in more.items():
        free = f"{DATA}{name}" if name in taken else name
        if free in taken or free in found:
            raise UsageError(f"the column {name!r} is called like one of the output; rename it")
        found[free] = value
    return found


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
    arrow, parquet = (require(name, "a Parquet file", "evaluate") for name in ("pyarrow", "pyarrow.parquet"))
    types = {int: arrow.int64(), str: arrow.string(), float: arrow.float64(), bool: arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
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


def _explanation_lines(chunks: Explained, level: Level, top: int | None, stream: TextIO) -> None:
    for chunk in chunks:
        for item, explanations in chunk:
            for explanation in explanations:
                own = explanation.to_dict()
                record: dict[str, Any] = {"index": item.index, "label": item.truth}
                record |= {**beside((*own, *record, "top"), item.columns), **own}
                if top is not None:
                    names = ("text", "start", "end", "sequence", "score")
                    units = explanation.top(top, level)
                    record["top"] = [{name: getattr(unit, name) for name in names} for unit in units]
                stream.write(json_line(record))
        stream.flush()


def _document(name: str) -> Callable[..., None]:
    """One document of all explanations, by the renderer of that name."""

    def write(chunks: Explained, level: Level, top: int | None, stream: TextIO) -> None:
        found = [explanation for chunk in chunks for _, listed in chunk for explanation in listed]
        if not found:
            raise InputError("there is no text to explain; give at least one")
        stream.write(getattr(importlib.import_module(f"whybert.render.{name}"), name)(found, level))

    return write


EXPLANATIONS: Final[Mapping[str, Format]] = {
    "html": Format((".html", ".htm"), _document("html")),
    "json": Format((".jsonl", ".json", ".ndjson"), _explanation_lines, shows_top=True),
    "latex": Format((".tex",), _document("latex")),
}
