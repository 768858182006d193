"""Explanations in files: a table of formats, which are told by the suffix, and what is read back of them."""

from __future__ import annotations

import importlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeAlias, cast, overload

from whybert.comparing import Comparison, Comparisons, Pair
from whybert.errors import FileError, InputError, UnknownNameError, UsageError, one_line
from whybert.explanation import (
    LEVELS,
    SCHEMA,
    Explanation,
    Explanations,
    Sentence,
    Word,
    at_place,
    each_of,
    options_line,
    units_of,
)
from whybert.files import csv_row, json_line, parquet_libraries, plain, writing
from whybert.schema import cells, column_types, from_text

if TYPE_CHECKING:
    from pandas import DataFrame

    from whybert.explanation import Level

__all__ = ["FORMATS", "Entry", "Format", "beside", "data_frame", "html", "load", "of_parquet", "read", "save"]

Given: TypeAlias = Explanation | Iterable[Explanation] | Mapping[str, Iterable[Explanation]]
Entry: TypeAlias = tuple[int, Mapping[str, Any], Explanation]
"""An explanation after the index of its text, and the columns of the text's row that go along."""

DATA: Final = "data_"  # before the name of a column that a row brings along, where that is taken

_ROW_GROUP: Final = 2048
_NAMES: Final = ("text", "start", "end", "sequence", "score")


@dataclass(frozen=True)
class Format:
    """A format of files.

    Fields:
        suffixes: of files that hold it; the first one is the usual one.
        write: writes what it gets as it comes to a text stream whose `buffer` takes bytes; of explanations
            it takes `(entries, stream, level, top)`.
        read: yields the place of each line or row of a file and what it holds; it takes the path, and what
            messages call it.  None where nothing can be read back.
        shows_top: whether it shows the strongest words of an explanation by themselves.
        shows_inside: whether it holds layers and heads.
        in_files_only: whether it is of no use in a terminal.
    """

    suffixes: tuple[str, ...]
    write: Callable[..., None]
    read: Callable[[Path, str], Iterator[tuple[str, Any]]] | None = None
    shows_top: bool = False
    shows_inside: bool = False
    in_files_only: bool = False


def save(explanations: Given, path: str | Path, level: Level = "word") -> None:
    """Write explanations to a file whose suffix says what it holds.

    `.jsonl` (also `.json`, `.ndjson`) and `.parquet` hold all there is to know, and `load` reads it back
    exactly; both are written as the explanations come, so that thousands need no memory.  `.html` is a page,
    `.csv` a table with a row for each word, `.tex` are heat maps for papers, `.txt` what a terminal shows,
    `.png`, `.svg` and `.pdf` pictures.  The file appears as a whole or not at all.

    Args:
        explanations: one, any iterable of them, or a dict of these by method.
        path: of the file; an existing one is replaced.
        level: "word", "token" or "sentence", where the format shows scores.

    Returns:
        Nothing.

    Raises:
        InputError: there are none, or one is something else.
        UsageError: no format has this suffix.
        UnknownNameError: no such level.
        FileError: the file cannot be written.
        MissingExtraError: the format needs a package that is not installed.
    """
    wanted = _format_of(path, FORMATS)
    entries = _some(explanations, level)
    with _file(path) as stream:
        wanted.write(entries, stream, level)


def load(path: str | Path) -> Explanations:
    """Read the explanations that `save`, or `whybert explain -o`, wrote as JSON lines or Parquet.

    Args:
        path: of the file.

    Returns:
        The explanations in the order of the file, equal to those that were written.

    Raises:
        UsageError: the suffix is that of no format that can be read back.
        FileError: the file cannot be read, or a line or row of it, which is named, is no explanation.
    """
    return Explanations(read(path))


def read(path: str | Path, name: str = "") -> Iterator[Explanation]:
    """The same one after another, so that a file may be larger than the memory.

    Args:
        path: of the file.
        name: what messages call it; empty for its path.

    Raises:
        WhybertError: what `load` raises, as soon as it is met.
    """
    wanted = _format_of(path, {format: each for format, each in FORMATS.items() if each.read})
    path, name = Path(path), name or str(path)
    assert wanted.read is not None
    try:
        for place, record in wanted.read(path, name):
            yield _explanation(record, f"{name!r}, {place}")
    except OSError as error:
        raise FileError(f"cannot read {name!r}: {error.strerror or one_line(error)}") from error


def _explanation(record: Any, place: str) -> Explanation:
    try:
        return Explanation.from_dict(record)
    except InputError as error:
        raise FileError(f"{place}, is no explanation: {error}") from error


def of_parquet(row: dict[str, Any], place: str) -> Explanation:
    """The explanation of a row of a Parquet file; `place` is what messages call it.

    Raises:
        FileError: it is none.
    """
    return _explanation(_record(row), place)


@overload
def html(
    explanations: Given, path: None = None, *, level: Level = ..., title: str = ..., date: str | None = ...
) -> str: ...


@overload
def html(
    explanations: Given, path: str | Path, *, level: Level = ..., title: str = ..., date: str | None = ...
) -> None: ...


def html(
    explanations: Given,
    path: str | Path | None = None,
    *,
    level: Level = "word",
    title: str = "Why the model answered so",
    date: str | None = None,
) -> str | None:
    """One page with the heat maps of all explanations, those of the same text one under another.

    It needs no network.  A page of many texts has an index with a filter, for which it has a script of its
    own; one of a few texts has none.

    Args:
        explanations: one, any iterable of them, or a dict of these by method.
        path: of the file to write; None returns the page.
        level: "word", "token" or "sentence".
        title: of the page.
        date: that the page names; None takes today's.

    Returns:
        The page; None where it went to a file.

    Raises:
        InputError: there are none, or one is something else.
        UnknownNameError: no such level.
        FileError: the file cannot be written.
    """
    from whybert.render.html import html as page

    written = page([each for *_, each in _some(explanations, level)], level, title, date)
    if path is None:
        return written
    with _file(path) as stream:
        stream.write(written)
    return None


def data_frame(explanations: Given, level: Level = "word") -> DataFrame:
    """The rows of a CSV as a table of pandas, see `Explanations.to_pandas`."""
    if level not in LEVELS:
        raise UnknownNameError("level", level, LEVELS)
    rows, types = list(_rows(_entries(explanations), level)), _columns(level)
    return _data_frame(rows, types, dtype=object).astype(types)


def _data_frame(rows: Iterable[Any], columns: Iterable[str], **how: Any) -> DataFrame:
    import pandas

    return cast("DataFrame", pandas.DataFrame(rows, columns=list(columns), **how))


def data_frame_of_pairs(found: Comparison) -> DataFrame:
    """The units of a comparison as a table of pandas."""
    return _data_frame(_rows_of_pairs(found), _PAIRED)


def data_frame_of_comparisons(found: Comparisons) -> DataFrame:
    """Comparisons as a table of pandas, one a row."""
    return _data_frame(_rows_of_comparisons(found), _COMPARED)


def save_comparisons(found: Comparisons, path: str | Path) -> None:
    """Write comparisons to a file whose suffix says what it holds, see `Comparisons.save`."""
    wanted = _format_of(path, COMPARISONS)
    if not found:
        raise InputError("expected at least one comparison, got none; compare two explanations first")
    with _file(path) as stream:
        wanted.write(found, stream)


@contextmanager
def _file(path: str | Path) -> Iterator[TextIO]:
    """A file that appears as a whole or not at all; what the system says against it as a FileError."""
    try:
        with writing(path) as stream:
            yield stream
    except OSError as error:
        raise FileError(f"cannot write to {str(path)!r}: {error.strerror or one_line(error)}") from error


def _entries(given: Given) -> Iterator[Entry]:
    """The explanations one by one.

    Raises:
        InputError: something else is among them.
    """
    lists: Iterable[Any] = given.values() if isinstance(given, Mapping) else (given,)
    for listed in lists:
        yield from ((index, {}, each) for index, each in enumerate(each_of(listed)))


def _some(given: Given, level: str) -> Iterator[Entry]:
    """The same, at least one of them, once the level is known to be one."""
    if level not in LEVELS:
        raise UnknownNameError("level", level, LEVELS)
    found = _entries(given)
    first = next(found, None)
    if first is None:
        raise InputError("expected at least one explanation, got none: there is no text to explain")
    return itertools.chain((first,), found)


def _format_of(path: str | Path, formats: Mapping[str, Format]) -> Format:
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"expected the path of a file, got {type(path).__name__}; give its name")
    by_suffix = {suffix: each for each in formats.values() for suffix in each.suffixes}
    found = by_suffix.get(Path(path).suffix.lower())
    if found is None:
        raise UsageError(
            f"expected a file that ends with {', '.join(by_suffix)}, got {str(path)!r}; rename it"
        )
    return found


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


# JSON lines


def _write_lines(entries: Iterable[Entry], stream: TextIO, level: Level, top: int | None = None) -> None:
    for index, columns, explanation in entries:
        own = explanation.to_dict()
        record: dict[str, Any] = {"index": index}
        record |= {**beside((*own, *record, "top"), columns), **own}
        if top is not None:
            units = explanation.top(top, level)
            record["top"] = [{name: getattr(unit, name) for name in _NAMES} for unit in units]
        stream.write(json_line(record))


def _read_lines(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                if text := line.decode("utf-8-sig" if number == 1 else "utf-8").strip():
                    yield f"line {number}", json.loads(text)
            except (ValueError, RecursionError) as error:
                raise FileError(
                    f"{name!r}, line {number}, is no JSON: {one_line(error, 100)}; the file may be cut "
                    "off or of another kind"
                ) from error


# Parquet


def _write_parquet(entries: Iterable[Entry], stream: TextIO, level: Level, top: int | None = None) -> None:
    arrow, parquet = parquet_libraries()
    word = [(name, kind) for name, kind in column_types(arrow, Word).items() if name in _NAMES]
    columns = {"index": arrow.int64(), "schema": arrow.int64(), **column_types(arrow, Explanation)}
    columns |= {"words": arrow.list_(arrow.struct(word)), "exact": arrow.string()}
    columns["data"] = arrow.map_(arrow.string(), arrow.string())
    schema = arrow.schema(list(columns.items()))
    entries = iter(entries)
    with parquet.ParquetWriter(cast(Any, stream).buffer, schema, compression="zstd") as writer:
        while rows := _rows_of_parquet(entries, arrow, schema):
            writer.write_table(rows)


def _rows_of_parquet(entries: Iterator[Entry], arrow: Any, schema: Any) -> Any:
    """The next of them as a table; an empty list where there are none."""
    group = list(itertools.islice(entries, _ROW_GROUP))
    rows = [_row(*entry) for entry in group]
    try:
        return rows and arrow.Table.from_pylist(rows, schema)
    except UnicodeEncodeError:  # half a character somewhere
        kept = [_kept_as_json(row, each) for row, (*_, each) in zip(rows, group, strict=True)]
        return arrow.Table.from_pylist(kept, schema)


def _row(index: int, columns: Mapping[str, Any], explanation: Explanation) -> dict[str, Any]:
    """A row: the fields, the words for those who query them, and the columns that go along."""
    words = [{name: getattr(word, name) for name in _NAMES} for word in explanation.words()]
    row = {"index": index, "schema": SCHEMA, **cells(explanation), "words": words}
    row["data"] = cells(columns)
    return row


def _kept_as_json(row: dict[str, Any], explanation: Explanation) -> dict[str, Any]:
    """The row with U+FFFD for what UTF-8 cannot hold, and beside it, where there is such, it all as JSON."""
    clean: dict[str, Any] = _clean(row)
    if clean != row:
        clean["exact"] = json_line(explanation.to_dict())
    return clean


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {name: _clean(each) for name, each in value.items()}
    return type(value)(map(_clean, value)) if isinstance(value, list | tuple) else value


def _read_parquet(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    arrow, parquet = parquet_libraries()
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROW_GROUP):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", _record(row)
    except (arrow.ArrowException, ValueError, RecursionError) as error:
        raise FileError(
            f"cannot read {name!r}: {one_line(error, 100)}; the file may be cut off or of another kind"
        ) from error


def _record(row: dict[str, Any]) -> Any:
    """What `Explanation.from_dict` reads, of a row as pyarrow gives it."""
    if row.get("exact") is not None:
        return json.loads(row["exact"])
    if isinstance(row.get("options"), list):
        return {**row, "options": {name: from_text(text) for name, text in row["options"]}}
    return row


# A table


def _columns(level: Level) -> dict[str, str]:
    """The columns of the table and their types for pandas."""
    texts = dict.fromkeys(
        ("classifier", "method", "options", "target", "quantity", "prediction", "truth"), "object"
    )
    answer = dict.fromkeys(("probability", "logit"), "float64")
    place = dict.fromkeys(("sequence", "start", "end"), "int64")
    unit = {level: "object", "unknown": "bool", "score": "float64"}
    return {"index": "int64", **texts, **answer, **place, **unit}


def _rows(entries: Iterable[Entry], level: Level) -> Iterator[tuple[Any, ...]]:
    for index, columns, each in entries:
        method = (each.classifier, each.method, options_line(each))
        names = (*method, at_place(each, each.target.name), each.quantity, each.prediction, each.truth)
        answer = (each.probability, each.logits[each.predicted])
        for unit in units_of(each, level):
            unknown = not isinstance(unit, Sentence) and unit.unknown
            place = (unit.sequence, unit.start, unit.end, unit.text, unknown, unit.score)
            yield (index, *names, *answer, *place, *columns.values())


def _write_csv(entries: Iterable[Entry], stream: TextIO, level: Level, top: int | None = None) -> None:
    rest = iter(entries)
    first = list(itertools.islice(rest, 1))  # all have the same columns
    own = _columns(level)
    csv_row(stream, [*own, *(name for _, columns, _ in first for name in beside(own, columns))])
    for row in _rows(itertools.chain(first, rest), level):
        csv_row(stream, row)


# What people look at


def _document(name: str) -> Callable[..., None]:
    """One document of all explanations, by the renderer of that name."""

    def write(entries: Iterable[Entry], stream: TextIO, level: Level, top: int | None = None) -> None:
        render = getattr(importlib.import_module(f"whybert.render.{name}"), name)
        stream.write(render([each for *_, each in entries], level))

    return write


def _write_text(entries: Iterable[Entry], stream: TextIO, level: Level, top: int | None = None) -> None:
    from whybert.render.terminal import plain_text, terminal

    for number, (*_, explanation) in enumerate(entries):
        stream.write("\n" * (number > 0) + plain_text(terminal(explanation, level)))


def _picture(kind: str) -> Callable[..., None]:
    """One picture of all explanations."""

    def write(entries: Iterable[Entry], stream: TextIO, level: Level, top: int | None = None) -> None:
        from whybert.render import figures
        from whybert.render.plot import picture

        figures.matplotlib()  # before the entries, which are explained as they are taken
        drawn = picture((each for *_, each in entries), level)
        figures.write(drawn, cast(Any, stream).buffer, kind)

    return write


FORMATS: Final[Mapping[str, Format]] = {
    "html": Format((".html", ".htm"), _document("html"), shows_inside=True),
    "json": Format(
        (".jsonl", ".json", ".ndjson"), _write_lines, _read_lines, shows_top=True, shows_inside=True
    ),
    "parquet": Format((".parquet",), _write_parquet, _read_parquet, shows_inside=True, in_files_only=True),
    "csv": Format((".csv",), _write_csv),
    "latex": Format((".tex",), _document("latex")),
    "text": Format((".txt",), _write_text, shows_inside=True),
    "png": Format((".png",), _picture("png"), in_files_only=True),
    "svg": Format((".svg",), _picture("svg"), in_files_only=True),
    "pdf": Format((".pdf",), _picture("pdf"), in_files_only=True),
}


# Two explanations side by side

_PAIRED: Final = (
    *(each.name for each in fields(Pair) if each.name != "comparable"),
    "change",
    "changed_sign",
)
_NAMED: Final = ("index", "text", "first", "second", "first_prediction", "second_prediction")
_COMPARED: Final = (*_NAMED, "rank_correlation", "changed_sign")


def _rows_of_pairs(found: Comparison) -> list[tuple[Any, ...]]:
    return [tuple(getattr(pair, name) for name in _PAIRED) for pair in found.pairs]


def _rows_of_comparisons(found: Comparisons) -> list[tuple[Any, ...]]:
    rows = []
    for index, each in enumerate(found):
        predictions = (each.first.prediction, each.second.prediction)
        changed = " ".join(pair.text for pair in each.changed_sign())
        rows.append((index, each.first.text, *each.names, *predictions, each.rank_correlation, changed))
    return rows


def _write_comparisons_csv(found: Comparisons, stream: TextIO) -> None:
    """The units of one, or a row for each of several."""
    several = (_COMPARED, *_rows_of_comparisons(found))
    for row in several if len(found) > 1 else (_PAIRED, *_rows_of_pairs(found[0])):
        csv_row(stream, row)


def _write_comparisons_text(found: Comparisons, stream: TextIO) -> None:
    from whybert.render.terminal import compared, compared_list, plain_text

    stream.write(plain_text(compared(found[0]) if len(found) == 1 else compared_list(found)))


COMPARISONS: Final[Mapping[str, Format]] = {
    "html": Format((".html", ".htm"), lambda found, stream: stream.write(found.to_html())),
    "csv": Format((".csv",), _write_comparisons_csv),
    "latex": Format((".tex",), lambda found, stream: stream.writelines(each.to_latex() for each in found)),
    "text": Format((".txt",), _write_comparisons_text),
}
