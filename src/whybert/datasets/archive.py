"""Tar archives, plain or gzip, read in one pass and in bounded memory and time.  Nothing is ever written.

Not `tarfile`: it reads an extended header of any length into memory, searches it in quadratic time, takes a
damaged header for the end, and calls itself once for each of them in a row.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from whybert.datasets.base import DatasetError
from whybert.errors import one_line

SUFFIXES: Final = (".tar.gz", ".tgz", ".tar")
TOTAL: Final = 2**30  # bytes of an archive as it unpacks; IMDb, the largest that is meant, has about 3e8
_FILE: Final = 2**24  # bytes of a file that is read; the largest that is known has 3 million
_HEADER: Final = 2**20  # bytes of an extended header
_MEMBERS: Final = 2**19  # IMDb has 1e5
_BLOCK: Final = 512
_CHUNK: Final = 2**20
_REGULAR, _LONG_NAME, _EXTENDED = (b"0", b"\0", b"7"), b"L", b"x"


def files_in(
    path: Path, is_wanted: Callable[[str], object], total: int = TOTAL
) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the regular files in an archive whose names are wanted; links are none.

    Args:
        path: the archive.
        is_wanted: of a name, which is as the archive has it and may point anywhere: open nothing by it.
        total: how many bytes the archive may have when it is unpacked.

    Raises:
        DatasetError: the archive is damaged or cut short, or unpacks to more than any that is meant here.
    """
    try:
        with open(path, "rb") as raw:
            is_packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if is_packed else raw
            yield from _files(_Unpacked(path, stream, total), is_wanted)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{str(path)!r} cannot be read as an archive: {one_line(error)}") from error


class _Unpacked:
    """The bytes of the archive, in order, no more than are allowed."""

    def __init__(self, path: Path, stream: Any, total: int) -> None:
        self.path, self.stream, self.total, self.position = path, stream, total, 0

    def refuse(self, problem: str) -> DatasetError:
        return DatasetError(f"{str(self.path)!r} {problem}; if that is right, unpack it first")

    def read(self, size: int, *, is_end: bool = False) -> bytes:
        """So many bytes, or none where the archive may end."""
        self._allow(size)
        content: bytes = self.stream.read(size)
        if len(content) != size and (content or not is_end):
            raise EOFError("it is cut short")
        return content

    def skip(self, size: int) -> None:
        self._allow(size)
        while size > 0:
            found = len(self.stream.read(min(size, _CHUNK)))
            if not found:
                raise EOFError("it is cut short")
            size -= found

    def finish(self) -> None:
        """Read what is left, so that the checksum of all that was packed is compared."""
        while content := self.stream.read(_CHUNK):
            self._allow(len(content))

    def _allow(self, size: int) -> None:
        self.position += size
        if self.position > self.total:
            raise self.refuse(f"unpacks to more than {self.total} bytes")


def _files(archive: _Unpacked, is_wanted: Callable[[str], object]) -> Iterator[tuple[str, bytes]]:
    extended: dict[bytes, bytes] = {}  # what headers say about the file that follows
    members = 0
    while (block := archive.read(_BLOCK, is_end=True)).strip(b"\0"):
        members += 1
        if members > _MEMBERS:
            raise archive.refuse(f"has more than {_MEMBERS} members")
        if _number(block[148:156]) != sum(block[:148]) + 8 * 0x20 + sum(block[156:]):
            raise ValueError(f"the header of member {members} is damaged")
        kind, size = block[156:157], _number(block[124:136])
        if kind in (_LONG_NAME, _EXTENDED):
            if size > _HEADER:
                raise archive.refuse(f"has a header of {size} bytes")
            content = archive.read(size)
            extended |= {b"path": content} if kind == _LONG_NAME else _records(content)
            archive.skip(-size % _BLOCK)
            continue
        size = _number(extended[b"size"], 10) if b"size" in extended else size
        padding = -size % _BLOCK
        name = extended.get(b"path", _name(block)).split(b"\0")[0].decode("utf-8", "replace")
        is_sparse = any(key.startswith(b"GNU.sparse.") for key in extended)
        extended = {}
        if kind not in _REGULAR or is_sparse or not is_wanted(name):
            archive.skip(size + padding)
            continue
        if size > _FILE:
            raise archive.refuse(f"has {size} bytes in {name!r:.80}")
        yield name, archive.read(size)
        archive.skip(padding)
    archive.finish()
    if not members:
        raise EOFError("it is empty")


def _name(block: bytes) -> bytes:
    name, prefix = block[:100].split(b"\0")[0], block[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _number(field: bytes, base: int = 8) -> int:
    """A size or checksum: digits, or the bytes of a number that has more of them than there is room for."""
    if field[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not digits.isdigit() or len(digits) > 12:
        raise ValueError(f"{digits!r:.30} is no size")
    return int(digits, base)


def _records(content: bytes) -> dict[bytes, bytes]:
    """The lines "length key=value" of an extended header."""
    found, start = {}, 0
    while start < len(content):
        digits = content[start : start + 8].split(b" ")[0]
        end = start + int(digits) if digits.isdigit() else 0
        if not start + len(digits) < end <= len(content):
            raise ValueError("an extended header is damaged")
        key, _, value = content[start + len(digits) + 1 : end - 1].partition(b"=")
        found[key] = value
        start = end
    return found
