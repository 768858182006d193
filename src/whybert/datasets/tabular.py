"""Tables in files: CSV, TSV, JSON lines and Parquet, and data sets made of them.

Text files are UTF-8, with or without a byte order mark, and their lines end with "\\n" or "\\r\\n" and with
no other character: texts may hold U+0085 and U+2028.  In TSV, quotes are nothing special and a tab always
ends a cell; in CSV, cells may be quoted and may then hold line breaks.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import csv
import io
import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from whybert.datasets.base import (
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    DatasetError,
    Example,
    FileLayout,
    Loaded,
    TextDataset,
    build,
    hugging_face,
    readable,
)
from whybert.errors import UsageError, one_line, quoted
from whybert.files import parquet_libraries

TEXT_COLUMNS = ("text", "sentence", "review", "text_a", "sentence1")
PAIR_COLUMNS = ("pair", "text_b", "sentence2")
LABEL_COLUMNS = ("label", "sentiment", "class")
# The words by which the name of a file tells its split.
_SPLIT_WORDS = {"train": TRAIN, "dev": VALIDATION, "val": VALIDATION, "valid": VALIDATION}
_SPLIT_WORDS |= {"validation": VALIDATION, "test": TEST}
_FIELD_LIMIT = 2**31 - 1  # the largest that the csv module takes on every system
_MOST_COLUMNS = 1000
_BATCH = 1024  # rows of Parquet at a time
_LARGEST_TABLE = (
    2**33
)  # bytes of a Parquet file as it unpacks: one text can stand for a thousand million rows
_FIELD_LIMIT_LOCK = threading.Lock()
# How files of other kinds begin that are given as text, and what to do about them.
_BEGINNINGS: Mapping[bytes, str] = {
    b"PK\x03\x04": "a ZIP archive, as spreadsheets (.xlsx) are too; unpack it, or export the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or document of an old Office; export it as CSV",
    b"\x1f\x8b": "compressed by gzip; unpack it (gunzip)",
    b"BZh": "compressed by bzip2; unpack it (bunzip2)",
    b"\xfd7zXZ": "compressed by xz; unpack it (unxz)",
    b"PAR1": "a Parquet file; give it a name that ends with .parquet",
    b"%PDF-": "a PDF; export its text",
    codecs.BOM_UTF16_LE: "UTF-16; save the file as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16; save the file as UTF-8",
}
_WHOLE = re.compile(r"([+-]?(?:0|[1-9][0-9]{0,17}))(?:\.0*)?")  # however it is spelled
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")

Row = TypeVar("Row")
Label: TypeAlias = str | tuple[str, ...] | None
"""What stands in a label column: a label, several of them, or none."""


# Reading.


@dataclass(frozen=True)
class Table:
    """The rows of a file, with the number that each has in the file.

    Fields:
        path: the file.
        columns: the names of the columns.
        rows: number and cells of each row; a cell is a string, or what JSON and Parquet hold.
        unit: what the numbers count, "line" or "row"; both from 1.
        label_names: the names of the integers of a column, where the file tells them.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Iterable[tuple[int, Sequence[Any]]]
    unit: str = "line"
    label_names: Mapping[str, tuple[str, ...]] | None = None

    def error(self, number: int, problem: str) -> DatasetError:
        """The error about a row."""
        return DatasetError(f"{str(self.path)!r}, {self.unit} {number}: {problem}")


def read_bytes(path: Path) -> bytes:
    """The content of a file.  Raises DatasetError if it cannot be read."""
    with readable(path):
        return path.read_bytes()


def kind_of(content: bytes) -> str | None:
    """What a file is, and the way out, where its first bytes say that it is no text in UTF-8."""
    return next((kind for start, kind in _BEGINNINGS.items() if content.startswith(start)), None)


def decode(content: bytes, place: str) -> str:
    """UTF-8 without its byte order mark.

    Raises:
        DatasetError: it is something else, which is named, or has a byte that is not UTF-8.
    """
    kind = kind_of(content)
    if kind is not None:
        raise DatasetError(f"{place} is {kind}")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{place}, line {line}: byte {error.start} (0x{content[error.start]:02x}) is not UTF-8; "
            "save the file as UTF-8"
        ) from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1.

    Raises:
        DatasetError: the file cannot be read or is not UTF-8.
    """
    return _lines(read_bytes(path), repr(str(path)))


def _lines(content: bytes, place: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(decode(content, place).split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip(" "):
            yield number, line


def json_objects(content: bytes, place: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of lines that are not blank, with the numbers of the lines from 1.

    Raises:
        DatasetError: a line of `place` is something else.
    """
    for number, line in _lines(content, place):
        yield number, _json_object(line, f"{place}, line {number}")


def read_tsv(path: Path) -> Table:
    """A file with a header whose cells end with a tab.

    Raises:
        DatasetError: there is no header, or a row has more or fewer cells.
    """
    lines = read_lines(path)
    columns = tuple(name.strip() for name in _header(path, lines).split("\t"))

    def rows() -> Iterator[tuple[int, Sequence[Any]]]:
        for number, line in lines:
            cells = line.split("\t")
            _check_width(table, number, cells)
            yield number, cells

    table = Table(path, columns, rows())
    return table


def read_csv(path: Path, headerless: tuple[str, ...] = ()) -> Table:
    """A file of comma-separated cells with a header.

    `headerless` names the columns of a file without one: it is taken for such a file if its first row has
    as many cells and begins with a whole number.

    Raises:
        DatasetError: there is no header, a row has more or fewer cells, or quotes are not closed.
    """
    records = _csv_records(path, decode(read_bytes(path), repr(str(path))))
    number, first = _header(path, ((number, (number, cells)) for number, cells in records))
    is_headerless = len(first) == len(headerless) > 0 and re.fullmatch(r"\s*[0-9]+\s*", first[0]) is not None
    columns = headerless if is_headerless else tuple(name.strip() for name in first)

    def rows() -> Iterator[tuple[int, Sequence[Any]]]:
        if is_headerless:
            yield number, first
        for later, cells in records:
            _check_width(table, later, cells)
            yield later, cells

    table = Table(path, columns, rows())
    return table


def read_json_lines(path: Path) -> Table:
    """A file with one JSON object on each line; the columns are the names that occur in any of them.

    Raises:
        DatasetError: a line is something else, or there are too many columns.
    """
    objects: list[tuple[int, dict[str, Any]]] = []
    columns: dict[str, None] = {}
    for number, value in json_objects(read_bytes(path), repr(str(path))):
        objects.append((number, value))
        columns.update(dict.fromkeys(value))
        if len(columns) > _MOST_COLUMNS:  # each row has a cell for each of them
            raise DatasetError(
                f"{str(path)!r}, line {number}: more than {_MOST_COLUMNS} different names so far; "
                "expected the same few in each line"
            )
    if not objects:
        raise DatasetError(f"{str(path)!r} is empty; expected one JSON object a line")
    names = tuple(columns)
    return Table(path, names, ((number, [value.get(name) for name in names]) for number, value in objects))


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise DatasetError(f"{place}: not JSON: {reason}; expected one JSON object a line") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{place}: expected a JSON object, found {type(value).__name__}")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of whose names none stands there twice: which one is meant, nobody can tell."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {quoted(twice)} stands there twice")
    return found


def read_parquet(path: Path) -> Table:
    """A Parquet file; label names that Hugging Face's library wrote into it are used.

    Raises:
        DatasetError: it is none, or is damaged.
    """
    library = hugging_face()
    _, parquet = parquet_libraries()
    raw = read_bytes(path)
    names = {}
    try:
        content = parquet.ParquetFile(io.BytesIO(raw))
        schema = content.schema_arrow
        if schema.metadata and b"huggingface" in schema.metadata:
            features = library.Features.from_arrow_schema(schema)
            names = {
                name: tuple(map(str, one.names))
                for name, feature in features.items()
                if hasattr(one := getattr(feature, "feature", feature), "names")
            }
        cells: list[list[Any]] = [[] for _ in schema.names]
        unpacked = 0
        for batch in content.iter_batches(_BATCH):
            unpacked += batch.nbytes
            if unpacked > _LARGEST_TABLE:
                raise ValueError(f"it unpacks to more than {_LARGEST_TABLE} bytes")  # noqa: TRY301
            for column, values in zip(cells, batch.columns, strict=True):
                column.extend(values.to_pylist())
    except Exception as error:  # of pyarrow, of JSON in the metadata, of values that Python has not
        raise DatasetError(
            f"{str(path)!r} is not a Parquet file that can be read: {one_line(error)}; write it again"
        ) from error
    rows = enumerate(zip(*cells, strict=True), 1)
    return Table(path, tuple(schema.names), rows, "row", names)


READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
}
"""The reader of each suffix that `load` takes."""


def _header(path: Path, rows: Iterator[tuple[int, Row]]) -> Row:
    for _, row in rows:
        return row
    raise DatasetError(f"{str(path)!r} is empty; expected a header and rows")


def _check_width(table: Table, number: int, cells: Sequence[Any]) -> None:
    if len(cells) != len(table.columns):
        raise table.error(
            number,
            f"expected {len(table.columns)} cells ({_listed(table.columns)}), found {len(cells)}",
        )


def _csv_records(path: Path, content: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the number of its first line."""
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    while True:
        start = reader.line_num + 1
        try:
            with _long_fields():
                record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DatasetError(
                f"{str(path)!r}, line {start}: not CSV: {error}; "
                "quote cells that hold quotes, and double those"
            ) from error
        if len(record) > 1 or (record and record[0].strip()):
            yield start, record


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module has one limit for the whole process: lift it, and put it back."""
    with _FIELD_LIMIT_LOCK:
        before = csv.field_size_limit(_FIELD_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)


# From tables to rows.


@dataclass(frozen=True)
class Columns:
    """The names that each column may have, the likeliest first; without `pair` the rows are single texts.

    A number is a column by its position from 0, for files whose header is not known.
    """

    text: tuple[str | int, ...]
    label: tuple[str | int, ...]
    pair: tuple[str | int, ...] = ()


def table_layout(
    name: str,
    files: Mapping[str, str],
    columns: Columns,
    values: Mapping[str, int | None],
    read_table: Callable[[Path], Table] | None = None,
    reason: str = "",
) -> FileLayout:
    """A layout of one table for each split.

    `files` names the file of each split and `values` gives the index for what stands in the label column;
    None leaves such rows out for the `reason` given.  A test split may come without labels.  Without
    `read_table` the suffix of the file decides how it is read.
    """

    def read_file(path: Path, split: str) -> Iterator[Example | None]:
        table = (read_table or reader_for(path))(path)
        text = _find(table, "text", columns.text)
        pair = _find(table, "pair", columns.pair) if columns.pair else None
        is_unlabelled = split == TEST and not any(_position(table, label) for label in columns.label)
        label = None if is_unlabelled else _find(table, "label", columns.label)
        for number, cells in table.rows:
            first = _text_of(table, number, cells, text)
            second = None if pair is None else _text_of(table, number, cells, pair)
            if label is None:
                yield Example(first, second, None)
                continue
            value = _label_of(table, number, cells, label)
            if not isinstance(value, str) or value not in values:
                raise table.error(number, f"unknown label {value!r:.60}; known: {', '.join(values)}")
            index = values[value]
            yield None if index is None else Example(first, second, index)

    return FileLayout(name, files, read_file, reason)


def reader_for(path: Path) -> Callable[[Path], Table]:
    """The reader for the suffix of a file.  Raises UsageError for a suffix that has none."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{str(path)!r} is none of the formats that can be read; expected a file that ends with "
            f"{', '.join(READERS)}"
        )
    return reader


def load_table(
    place: Path,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    gaps: bool = False,
) -> TextDataset:
    """Read any CSV, TSV, JSON lines or Parquet file, or a folder with such a file for each split.

    The name of a file tells its split by one of the words train, dev, val, valid, validation and test; a
    single file without one is the train split.  The columns are guessed where they are not given.  The
    labels are the values of the label column in sorted order, whole numbers by their size and without a
    fraction of zeros; a column of a Parquet file that carries label names keeps them.  A test split may have
    no label column, and neither may any where none is named and none found.

    Each row has any number of labels where its cell is a list (in a CSV or TSV file written as JSON or Python
    write one), or where `label_column` names several columns with commas between them: each is a label,
    which a row has where the cell is 1 or true and has not where it is 0 or false.

    With `gaps` a row may lack its text, which is then an empty one, and its label.

    Raises:
        DatasetError: naming file and row, for what cannot be read, and for splits without a common label.
        UsageError: files of another kind.
    """
    paths = _split_files(place)
    tables = {split: reader_for(path)(path) for split, path in paths.items()}
    flags = _flags(label_column, tables)
    if not (label_column is None or flags or any(_position(t, label_column) for t in tables.values())):
        _find(next(iter(tables.values())), "label", (), label_column)  # which says so
    is_labelled = label_column is not None or any(
        _position(table, name) for table in tables.values() for name in LABEL_COLUMNS
    )
    splits: dict[str, list[tuple[str, str | None, Label]]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for split, table in tables.items():
        text = _find(table, "text", TEXT_COLUMNS, text_column)
        pair = _pair_position(table, text_column, pair_column)
        marks = _flag_positions(table, split, flags)
        label = _label_position(table, split, label_column) if is_labelled and not flags else None
        if label is not None and table.label_names:
            names[split] = table.label_names.get(table.columns[label], ())
        rows = list(_rows(table, text, pair, label, marks, gaps))
        if split == TEST and all(value == "-1" for _, _, value in rows):  # withheld labels
            rows = [(first, second, None) for first, second, _ in rows]
        splits[split] = rows
    if len({rows[0][1] is None for rows in splits.values() if rows}) > 1:
        raise DatasetError(
            f"{str(place)!r}: some files have a column for the second text and others have not"
        )
    if (
        len({isinstance(rows[0][2], tuple) for rows in splits.values() if rows and rows[0][2] is not None})
        > 1
    ):
        raise DatasetError(f"{str(place)!r}: some files have lists of labels and others have not")
    found = {split: {each for *_, value in rows for each in _each(value)} for split, rows in splits.items()}
    labels, index_of, are_ordered = _labels(
        place, {split: found[split] for split in found if found[split]}, names
    )
    if flags:
        labels, index_of, are_ordered = flags, lambda _, name: flags.index(name), True

    def index(split: str, value: Label) -> int | tuple[int, ...] | None:
        if isinstance(value, tuple):
            return tuple(sorted({index_of(split, each) for each in value}))
        return None if value is None else index_of(split, value)

    examples = {
        split: [Example(text, pair, index(split, value)) for text, pair, value in rows]
        for split, rows in splits.items()
    }
    return build(place.stem, labels, Loaded(examples), str(place), labels_are_ordered=are_ordered)


def _rows(
    table: Table, text: int, pair: int | None, label: int | None, flags: Mapping[str, int], gaps: bool
) -> Iterator[tuple[str, str | None, Label]]:
    """The text, its pair and its label in each row, from the columns at these positions.

    flags: the columns that are labels themselves.  gaps: see `load_table`.
    """
    are_several: bool | None = None
    for number, cells in table.rows:
        first = _text_of(table, number, cells, text, gaps)
        second = None if pair is None else _text_of(table, number, cells, pair, gaps)
        value: Label = None
        if flags:
            value = tuple(name for name, place in flags.items() if _is_set(table, number, cells, place))
        elif label is not None and not (gaps and _is_gap(cells[label])):
            value = _label_of(table, number, cells, label)
        if are_several not in (None, isinstance(value, tuple)):
            raise table.error(number, "expected a list of labels in each row or in none; write them alike")
        are_several = isinstance(value, tuple)
        yield first, second, value


def read_columns(data: TextDataset, split: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of the table that a data set was read from, as they stand there, a cell for each of its rows.

    Args:
        data: what `load_table` read.
        split: the name of one of its splits.
        names: of the columns.

    Raises:
        DatasetError: there is no such column; it lists those that there are.
        UsageError: the data set is no table.
    """
    place = Path(data.source)
    paths = _split_files(place) if place.exists() else {}
    if split not in paths or paths[split].suffix.lower() not in READERS:
        raise UsageError(f"{data.name} is no table, so it has no columns to take along; leave --columns out")
    table = reader_for(paths[split])(paths[split])
    positions = {name: _find(table, "output", (), name) for name in names}
    rows = [cells for _, cells in table.rows]
    if len(rows) != data.splits[split].num_rows:
        raise DatasetError(f"{str(paths[split])!r} was changed while it was read; leave it as it is")
    return {name: [cells[index] for cells in rows] for name, index in positions.items()}


def _each(value: Label) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _flags(label_column: str | None, tables: Mapping[str, Table]) -> tuple[str, ...]:
    """The columns that are labels themselves, where several are named."""
    if label_column is None or any(_position(table, label_column) for table in tables.values()):
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in label_column.split(",")))
    return names if len(names) > 1 else ()


def _flag_positions(table: Table, split: str, flags: Sequence[str]) -> dict[str, int]:
    if split == TEST and not any(_position(table, name) for name in flags):
        return {}
    return {name: _find(table, "label", (), name) for name in flags}


def _is_set(table: Table, number: int, cells: Sequence[Any], index: int) -> bool:
    """Whether a row has the label that the column is."""
    value = _label_of(table, number, cells, index)
    if value in ("1", "0", "true", "false", "True", "False"):
        return value in ("1", "true", "True")
    raise table.error(number, f"{table.columns[index]} must be 0 or 1, not {quoted(cells[index])}")


def _split_files(place: Path) -> dict[str, Path]:
    if not place.exists():
        raise DatasetError(f"there is no file or folder {str(place)!r}; check its path")
    if place.is_file():
        return {split_of(place) or TRAIN: place}
    found: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        split = split_of(path)
        if split is None or path.suffix.lower() not in READERS or not path.is_file():
            continue
        if split in found:
            raise UsageError(
                f"{str(place)!r} has two files for the split {split!r}: {found[split].name} and {path.name}; "
                "keep one of them, or give the path of a file"
            )
        found[split] = path
    if not found:
        raise DatasetError(
            f"no table in {str(place)!r}: expected train, validation or test files that end with "
            f"{', '.join(READERS)}"
        )
    return {split: found[split] for split in SPLITS if split in found}


def split_of(path: Path) -> str | None:
    """The split that the name of a file tells, or None."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    return next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), None)


def _pair_position(table: Table, text_column: str | None, pair_column: str | None) -> int | None:
    if pair_column is None and text_column is not None:
        return None  # whoever names the columns names all that are to be used
    if pair_column is not None or any(_position(table, name) for name in PAIR_COLUMNS):
        return _find(table, "pair", PAIR_COLUMNS, pair_column)
    return None


def _label_position(table: Table, split: str, label_column: str | None) -> int | None:
    names = LABEL_COLUMNS if label_column is None else (label_column,)
    if split == TEST and not any(_position(table, name) for name in names):
        return None
    return _find(table, "label", LABEL_COLUMNS, label_column)


def _labels(
    place: Path, found: Mapping[str, set[str]], names: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], Callable[[str, str], int], bool]:
    """The labels of a table, the index of a split's value, and whether the files tell the order.

    found: the values of each split that has any.  names: what the integers of a split are called, where its
    file tells; if all files that do agree, it holds for the others too.
    """
    told = set(filter(None, names.values()))
    own = {split: names.get(split) or (next(iter(told)) if len(told) == 1 else ()) for split in found}
    numbers = {split: {str(index): name for index, name in enumerate(own[split])} for split in found}
    labels = {
        split: {numbers[split].get(value, value) for value in values} for split, values in found.items()
    }
    for split, values in labels.items():
        for other, others in labels.items():
            if values.isdisjoint(others) and not any(map(have_fractions, (values, others))):
                raise DatasetError(
                    f"{str(place)!r}: the splits {split} ({_listed(sorted(values))}) and {other} "
                    f"({_listed(sorted(others))}) have no label in common; spell them alike"
                )
    known = set().union(*labels.values())
    [ordered] = told if len(told) == 1 and known <= set(*told) else [_in_order(known)]
    index = {label: place for place, label in enumerate(ordered)}
    return ordered, lambda split, value: index[numbers[split].get(value, value)], ordered in told


def number(label: str) -> float | None:
    """The finite number that the name of a label is, if it is one."""
    return value if _NUMBER.fullmatch(label) and math.isfinite(value := float(label)) else None


def have_fractions(labels: Iterable[str]) -> bool:
    """Whether the names of labels are numbers, and not only whole ones."""
    values = list(map(number, labels))
    return None not in values and any(value != int(value) for value in values if value is not None)


def _in_order(labels: set[str]) -> tuple[str, ...]:
    """Sorted, whole numbers by their size."""
    are_numbers = all(_WHOLE.fullmatch(label) and "." not in label for label in labels)
    return tuple(sorted(labels, key=int) if are_numbers else sorted(labels))


def _position(table: Table, name: str | int) -> tuple[int, ...]:
    """Where the columns of that name are, whatever their case."""
    if isinstance(name, int):
        return (name,) if name < len(table.columns) else ()
    return tuple(index for index, column in enumerate(table.columns) if column.casefold() == name.casefold())


def _find(table: Table, role: str, guesses: Sequence[str | int], name: str | None = None) -> int:
    """The index of the column with that name, or without one of the first guess that there is."""
    for candidate in guesses if name is None else (name,):
        found = _position(table, candidate)
        exact = tuple(index for index in found if table.columns[index] == candidate)
        found = exact if len(exact) == 1 else found
        if len(found) > 1:
            raise DatasetError(f"{str(table.path)!r} has {len(found)} columns {candidate!r}; rename one")
        if found:
            return found[0]
    names = [repr(guess) if isinstance(guess, str) else f"number {guess + 1}" for guess in guesses]
    wanted = repr(name) if name is not None else " or ".join(names)
    raise DatasetError(
        f"{str(table.path)!r} has no column {wanted} for the {role}; found {_listed(table.columns)}"
    )


def _listed(columns: Sequence[str]) -> str:
    shown = [name if len(name) <= 40 else name[:39] + "…" for name in columns[:20]]
    return ", ".join(shown) + ", ..." * (len(columns) > 20)


def _is_gap(cell: Any) -> bool:
    """Whether nothing stands there: nothing at all, blanks, or NaN."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def _text_of(table: Table, number: int, cells: Sequence[Any], index: int, gaps: bool = False) -> str:
    text = cells[index]
    if gaps and _is_gap(text):
        return ""
    if not isinstance(text, str):
        raise table.error(number, f"{table.columns[index]} must be a text, not {quoted(text)}")
    if not text.strip():
        raise table.error(number, f"{table.columns[index]} is empty; expected a text, or remove the row")
    if not text.isascii() and (found := _SURROGATE.search(text)):
        raise table.error(
            number, f"{table.columns[index]} holds the lone surrogate {found[0]!a}; expected text"
        )
    return text


def _label_of(table: Table, number: int, cells: Sequence[Any], index: int) -> str | tuple[str, ...]:
    """What stands in the label column, without white space at its ends; 1.0, +1 and 1 are "1"."""
    value = cells[index]
    if isinstance(value, str) and value.lstrip().startswith("[") and value.rstrip().endswith("]"):
        value = _list_in(value)
    if isinstance(value, list):
        names = [_label_name(each) for each in value]
        if None not in names:
            return tuple(name for name in names if name is not None)
    elif (name := _label_name(value)) is not None:
        return name
    raise table.error(number, f"{table.columns[index]} must be a word or a number, not {quoted(value)}")


def _label_name(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str | int) and str(value).strip():
        name = str(value).strip()
        whole = _WHOLE.fullmatch(name)
        return str(int(whole[1])) if whole else name
    return None


def _list_in(cell: str) -> object:
    """The list that a cell holds as JSON or as Python writes it; the cell itself where it holds none."""
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            found = read(cell.strip())
            if isinstance(found, list) and all(isinstance(each, str | int) for each in found):
                return found
    return cell
