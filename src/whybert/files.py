"""Tidy tables as files: each appears as a whole, or not at all."""

from __future__ import annotations

import csv
import importlib
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from whybert.errors import MissingExtraError

Rows = Sequence[Sequence[Any]]

_LOST: Final = re.compile("[\ud800-\udfff]")  # surrogates, which UTF-8 cannot hold


def write_whole(path: Path, fill: Callable[[Path], Any]) -> Path:
    """Let `fill` write a file beside `path`, and put it in its place once it is complete."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        fill(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Rows) -> Path:
    """A CSV with a heading; None and NaN are empty cells."""

    def fill(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow(["" if cell is None else cell for cell in map(_plain, row)])

    return write_whole(path, fill)


def write_parquet(path: Path, columns: Sequence[str], rows: Rows) -> Path:
    """A Parquet file; None and NaN are null.  A column of nothing else is one of numbers.

    Raises MissingExtraError if pyarrow is not installed.
    """
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("a Parquet file", "evaluate") from error
    arrays = []
    for cells in zip(*rows, strict=True):
        plain = list(map(_plain, cells))
        kind = None if any(cell is not None for cell in plain) else arrow.float64()
        arrays.append(arrow.array(plain, kind))
    table = arrow.table(arrays, names=list(columns))
    return write_whole(path, lambda temporary: parquet.write_table(table, temporary))


def _plain(cell: Any) -> Any:
    if isinstance(cell, str):
        return _LOST.sub("\ufffd", cell)
    return None if isinstance(cell, float) and math.isnan(cell) else cell
