"""Files appear whole or not at all, whoever writes them."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from whybert.errors import FileError
from whybert.files import (
    json_line,
    read_json,
    write_bytes,
    write_csv,
    write_json,
    write_parquet,
    writing,
)

COLUMNS = ("name", "value")
ROWS = [("a \udcff\u2028", 0.5), ("b", math.nan), (None, 1.0)]

WRITERS: list[Callable[[Path], Path]] = [
    lambda path: write_csv(path, COLUMNS, ROWS),
    lambda path: write_parquet(path, COLUMNS, ROWS),
    lambda path: write_json(path, {"rows": "a \udcff", "more": [1, None]}),
    lambda path: write_bytes(path, b"\x00\xff"),
]


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_replaces_another_and_keeps_its_permissions(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    write(tmp_path / "new")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~mask
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == (tmp_path / "new").read_bytes()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link", "new", "real"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_any_end_of_the_writer_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with writing(tmp_path / "file") as stream:
            stream.write("half")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("write", WRITERS)
def test_pipes_and_devices_are_written_through(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    write(Path(os.devnull))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    write(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join(10)
    assert got == [(tmp_path / "file").read_bytes()]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_places_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match="it is a folder"):
        write_bytes(tmp_path, b"")
    with pytest.raises(FileError, match="there is no folder"):
        write_bytes(tmp_path / "no" / "file", b"")

    def refuse(path: str, *_: Any) -> int:
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Read-only") as caught:
        write_bytes(tmp_path / "file", b"")
    assert caught.value.filename == str(tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_told_by_the_name_of_the_file(write: Callable[[Path], Path]) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write(Path("/dev/full"))
    assert caught.value.filename == "/dev/full"


def test_long_names_are_written(tmp_path: Path) -> None:
    name = "n" * 250 + ".csv"  # a longer one for the file beside it could not be
    write_csv(tmp_path / name, COLUMNS, ROWS)
    assert os.listdir(tmp_path) == [name]


def test_what_tables_hold(tmp_path: Path) -> None:
    with write_csv(tmp_path / "t.csv", COLUMNS, ROWS).open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [list(COLUMNS), ["a \ufffd\u2028", "0.5"], ["b", ""], ["", "1.0"]]
    table = pyarrow.parquet.read_table(write_parquet(tmp_path / "t.parquet", COLUMNS, ROWS))
    assert table.to_pydict() == {"name": ["a \ufffd\u2028", "b", None], "value": [0.5, None, 1.0]}


def test_json_holds_what_utf_8_cannot(tmp_path: Path) -> None:
    value = {"text": "\udcff\u2028 ä", "n": 1}
    assert read_json(write_json(tmp_path / "a", value, ensure_ascii=False)) == value
    assert json.loads(json_line(value)) == value
    assert len(json_line(value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"\0", b"[" * 10**5, b"nul"])
def test_damaged_json_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        read_json(tmp_path / "file")
