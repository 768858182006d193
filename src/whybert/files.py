"""The one place that writes files: each appears as a whole, or not at all; and what is written in them."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO, cast

from whybert.errors import FileError

Rows = Sequence[Sequence[Any]]

_TEMPORARY: Final = ".whybert-{}.tmp"
_LOST: Final = re.compile("[\ud800-\udfff]")  # surrogates, which UTF-8 cannot hold
_JSON_ESCAPES: Final = re.compile("[\ud800-\udfff\u0085\u2028\u2029]")


@contextmanager
def writing(path: str | Path) -> Iterator[TextIO]:
    """A stream whose content becomes the file once all went well; on any error the file stays as it was.

    The text is UTF-8 with "\\n" on every system, and what UTF-8 cannot hold is escaped; bytes go to the
    stream's `buffer`.  Links are followed, permissions are kept, devices and pipes are written through.

    Args:
        path: of the file.  Its folder must exist.

    Raises:
        FileError: it is a folder, or its folder does not exist.
        OSError: the system refuses to write; it names the file.
    """
    try:
        with _writing(Path(path)) as stream:
            yield stream
    except OSError as error:
        is_full = error.filename is None and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        if is_full or (isinstance(error.filename, str) and is_temporary(Path(error.filename).name)):
            error.filename = str(path)  # it is the file that people know
        raise


@contextmanager
def _writing(path: Path) -> Iterator[TextIO]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if stat.S_ISDIR(mode):
        raise FileError(f"cannot write to {str(path)!r}: it is a folder; name a file in it")
    how: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
    if mode and not stat.S_ISREG(mode):  # /dev/null, a pipe: nothing that could be replaced
        with open(path, "w", **how) as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))  # what a link points to is written, not the link
    if not target.parent.is_dir():
        raise FileError(
            f"cannot write to {str(path)!r}: there is no folder {str(path.parent)!r}; create it first"
        )
    temporary = target.parent / _TEMPORARY.format(secrets.token_hex(8))
    try:
        # Unlike those of `tempfile`, the file gets the permissions of any other new file.
        handle = os.open(str(temporary), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with open(handle, "w", **how) as stream:
            yield stream
        if mode:
            temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_temporary(name: str) -> bool:
    """Whether a file of that name is what a writer leaves that was killed."""
    return name.startswith(".") and name.endswith(".tmp")


def write_bytes(path: Path, data: bytes) -> Path:
    """A file of these bytes."""
    with writing(path) as stream:
        cast(Any, stream).buffer.write(data)
    return path


def write_json(path: Path, value: Any, **how: Any) -> Path:
    """A JSON file; `how` is for `json.dumps`."""
    return write_bytes(path, (json.dumps(value, **how) + "\n").encode("utf-8", "backslashreplace"))


def json_line(value: Any) -> str:
    """JSON on one line, for those readers too that take U+2028 as its end; surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _JSON_ESCAPES.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is cut off, nested too deeply, not UTF-8, or otherwise no JSON.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def csv_row(stream: TextIO, cells: Sequence[Any]) -> None:
    """A row of a CSV; None and NaN are empty cells, True is "true"."""
    row = [str(cell).lower() if isinstance(cell, bool) else plain(cell) for cell in cells]
    csv.writer(stream, lineterminator="\n").writerow(["" if cell is None else cell for cell in row])


def write_csv(path: Path, columns: Sequence[str], rows: Rows) -> Path:
    """A CSV with a heading; None and NaN are empty cells."""
    with writing(path) as stream:
        for row in (columns, *rows):
            csv_row(stream, row)
    return path


def parquet_libraries() -> tuple[Any, Any]:
    """The library pyarrow, and its module of Parquet files; they are imported when a file asks for them."""
    import pyarrow
    import pyarrow.parquet

    return pyarrow, pyarrow.parquet


def write_parquet(path: Path, columns: Sequence[str], rows: Rows) -> Path:
    """A Parquet file; None and NaN are null.  A column of nothing else is one of numbers."""
    arrow, parquet = parquet_libraries()
    arrays = []
    for cells in zip(*rows, strict=True):
        column = list(map(plain, cells))
        kind = None if any(cell is not None for cell in column) else arrow.float64()
        arrays.append(arrow.array(column, kind))
    table = arrow.table(arrays, names=list(columns))
    with writing(path) as stream:
        parquet.write_table(table, cast(Any, stream).buffer)
    return path


def plain(cell: Any) -> Any:
    """A cell as every kind of file takes it: text that UTF-8 can hold, and None for NaN."""
    if isinstance(cell, str):
        return _LOST.sub("\ufffd", cell)
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def write_tables(folder: Path, tables: Mapping[str, tuple[Sequence[str], Rows]]) -> list[Path]:
    """Write columns and rows of each table as CSV and Parquet, under its name.

    A table without rows is not written, and what an earlier run wrote of it is removed.
    """
    written = []
    for name, (columns, rows) in tables.items():
        for ending, write_table in (("csv", write_csv), ("parquet", write_parquet)):
            path = folder / f"{name}.{ending}"
            if rows:
                written.append(write_table(path, columns, rows))
            else:
                path.unlink(missing_ok=True)
    return written
