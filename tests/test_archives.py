"""Tar archives are read in bounded memory and time, as tarfile reads them, or refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whybert.datasets import DatasetError, archive, load
from whybert.datasets.annotated import load_annotations
from whybert.datasets.archive import files_in

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
ANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tar(files: list[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as made:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mtime = 0.5 if kind == tarfile.PAX_FORMAT else 0  # type: ignore[assignment]
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def header(name: bytes, size: int, kind: bytes = b"0") -> bytes:
    """A header that says what it likes."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136] = b"%011o\0" % size
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def saved(folder: Path, content: bytes, name: str = "a.tar.gz") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    return path


def everything(path: Path) -> list[tuple[str, bytes]]:
    return list(files_in(path, bool))


NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=130).filter(
    lambda name: name.strip("/") == name and "//" not in name
)


@ANY
@given(st.lists(st.tuples(NAME, st.binary(max_size=1200)), max_size=4), st.sampled_from(FORMATS[1:]))
def test_files_are_those_of_tarfile(tmp_path: Path, files: list[tuple[str, bytes]], kind: int) -> None:
    for name in ("a.tar", "a.tar.gz"):
        path = saved(tmp_path, tar(files, kind), name)
        if files:
            assert everything(path) == files
        else:
            with pytest.raises(DatasetError, match="it is empty"):
                everything(path)


def test_long_names_of_ustar(tmp_path: Path) -> None:
    files = [("folder/" * 20 + "file", b"content"), ("short", b"")]
    assert everything(saved(tmp_path, tar(files, tarfile.USTAR_FORMAT))) == files


@ANY
@given(st.data())
def test_a_damaged_archive_is_an_error_or_whole(tmp_path: Path, data: st.DataObject) -> None:
    """Never fewer files without a word."""
    files = [("a/" + "x" * 120, b"one" * 300), ("b", b"two" * 300), ("c", b"")]
    content = bytearray(tar(files))
    end = 512 * (3 * 3 + 2 + 2)  # three headers of three blocks, and the contents
    place = data.draw(st.integers(0, end - 1))
    if data.draw(st.booleans()):
        del content[place:]
        is_cut = True
    else:
        content[place] ^= data.draw(st.integers(1, 255))
        is_cut = False
    try:
        found = everything(saved(tmp_path, bytes(content), "a.tar"))
    except DatasetError:
        return
    assert (len(found) == 3) or (is_cut and place % 512 == 0)


@ANY
@given(st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_gzip_is_an_error(tmp_path: Path, place: int, change: int) -> None:
    files = [(f"{number}", bytes([number]) * 100) for number in range(20)]
    path = saved(tmp_path, tar(files))
    content = bytearray(path.read_bytes())
    place = place % len(content)
    whole = bytes(content)
    content[place] ^= change
    for damaged in (bytes(content), whole[:place]):
        path.write_bytes(damaged)
        with contextlib.suppress(DatasetError):  # the header of gzip has bytes that mean nothing
            assert everything(path) == files


def test_a_bomb_is_refused_at_a_stated_size(tmp_path: Path) -> None:
    zeros = bytes(2**20)
    path = saved(tmp_path, tar([(f"train/pos/{number}_1.txt", zeros) for number in range(40)]))
    assert path.stat().st_size < 400_000
    tracemalloc.start()
    with pytest.raises(DatasetError, match="unpacks to more than 8388608 bytes"):
        for _ in files_in(path, lambda name: False, 2**23):
            pass
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


@pytest.mark.parametrize("read", [lambda path: load("imdb", path), load_annotations])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        # Sizes are believed before anything is read.
        (header(b"other", 2**33 - 1), "unpacks to more than"),
        (header(b"x", 400 * 2**20, b"x"), "has a header of 419430400 bytes"),
        (header(b"x", 400 * 2**20, b"L"), "has a header of 419430400 bytes"),
        (header(b"x", 5, b"x") + b"9 a=b" + bytes(507), "an extended header is damaged"),
        (header(b"x", 12, b"x") + b"12 size=abc\n" + bytes(500) + header(b"y", 0), "is no size"),
        (header(b"train/pos/1_1.txt", 2**24 + 1) + header(b"docs/a", 2**24 + 1), "has 16777217 bytes in|cut"),
    ],
)
def test_what_the_headers_say(
    tmp_path: Path, content: bytes, message: str, read: Callable[[Path], object]
) -> None:
    with pytest.raises(DatasetError, match=message):
        read(saved(tmp_path, content + bytes(1024)))


def test_time_is_linear_and_the_stack_is_flat(tmp_path: Path) -> None:
    digits = b"%d a=%s\n" % (2**19, b"1" * (2**19 - 10))
    content = header(b"x", len(digits), b"x") + digits + bytes(-len(digits) % 512)
    content += (header(b"x", 2, b"L") + b"y" + bytes(511)) * 5000 + header(b"y", 0) + bytes(1024)
    start = time.perf_counter()
    assert everything(saved(tmp_path, content)) == [("y", b"")]
    assert time.perf_counter() - start < 5


def test_members_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MEMBERS", 3)
    files = [(str(number), b"") for number in range(4)]
    assert everything(saved(tmp_path, tar(files[:3], tarfile.GNU_FORMAT))) == files[:3]
    with pytest.raises(DatasetError, match="more than 3 members"):
        everything(saved(tmp_path, tar(files, tarfile.GNU_FORMAT)))


def test_a_review_twice(tmp_path: Path) -> None:
    files = [(f"{folder}/train/pos/1_7.txt", b"a film") for folder in ("a", "b")]
    with pytest.raises(DatasetError, match=r"holds the review 'b/train/pos/1_7\.txt' twice"):
        load("imdb", saved(tmp_path, tar(files)))
