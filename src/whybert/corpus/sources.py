"""What a command works on: the texts among its arguments, and the lines of files and of stdin."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import typer

from whybert.cli.output import note
from whybert.errors import FileError, InputError, UsageError

if TYPE_CHECKING:
    from whybert.classifier import Classifier
    from whybert.encoding import Text


@dataclass(frozen=True)
class Item:
    """One text, or one pair, of the input; or why a line is none.

    index: counts all texts and lines from 0, the unusable ones too.  place: how messages name it.
    """

    index: int
    place: str
    text: Text | None
    problem: str = ""


@dataclass(frozen=True)
class _Source:
    """An argument: a text or a pair, or where lines are to be read from (None: stdin)."""

    text: Text | None
    path: str | None = None


class Inputs:
    """The texts of a command, in order, read only as far as they are asked for.

    Lines are UTF-8 and end with "\\n" (or "\\r\\n"), and with no other character.  A line that cannot be
    used (blank, not UTF-8, no token) is reported on stderr and left out; `finish` then exits with 1.

    Raises UsageError where the arguments contradict each other.
    """

    def __init__(self, texts: Sequence[str], pairs: Sequence[str], tab_pairs: bool) -> None:
        self.failed = 0
        self.tab_pairs = tab_pairs
        if pairs and tab_pairs:
            raise UsageError("--pair and --tab-pairs exclude each other; --tab-pairs is for lines")
        if texts.count("-") > 1:
            raise UsageError("stdin can be read only once; give - once")
        self.sources = [
            _Source(None, None if text == "-" else text) if text == "-" or _is_file(text) else _Source(text)
            for text in texts
        ]
        self._lines = [source for source in self.sources if source.text is None]
        if pairs and self._lines:
            name = "stdin" if self._lines[0].path is None else repr(self._lines[0].path)
            raise UsageError(
                f"--pair goes with texts given as arguments, and {name} is read line by line; "
                "write text<TAB>pair in each line and use --tab-pairs"
            )
        if pairs and len(pairs) != len(texts):
            raise UsageError(f"expected one --pair for each of the {len(texts)} texts, found {len(pairs)}")
        if tab_pairs and len(self._lines) < len(texts):
            raise UsageError(
                "--tab-pairs is for the lines of files and of stdin; use --pair with texts given as arguments"
            )
        if pairs:
            self.sources = [_Source((text, pair)) for text, pair in zip(texts, pairs, strict=True)]

    def check_arguments(self, classifier: Classifier) -> None:
        """Raise InputError for a text given as an argument that cannot be encoded."""
        from whybert.encoding import tokenize

        for number, source in enumerate(self.sources, 1):
            if source.text is not None:
                try:
                    tokenize(classifier.tokenizer, [source.text], classifier.max_length)
                except InputError as error:
                    raise InputError(error.about(f"text {number}"), error.index) from error

    def is_typed(self) -> bool:
        """Whether lines come from a person at a terminal."""
        return any(s.path is None for s in self._lines) and sys.stdin is not None and sys.stdin.isatty()

    def total(self) -> int | None:
        """How many items there are, or None where only reading would tell."""
        count = 0
        for source in self.sources:
            if source.text is not None:
                count += 1
            elif source.path is None or not os.path.isfile(source.path):
                return None
            else:
                with open(source.path, "rb") as file:
                    count += sum(1 for _ in file)
        return count

    def __iter__(self) -> Iterator[Item]:
        index = 0
        for argument, source in enumerate(self.sources, 1):
            if source.text is not None:
                yield Item(index, f"text {argument}", source.text)
                index += 1
                continue
            with _line_stream(source.path) as stream:
                name = "stdin" if source.path is None else source.path
                for number, line in enumerate(_lines(stream), 1):
                    place = f"line {number}" if len(self._lines) == 1 else f"{name}: line {number}"
                    yield self._item(index, place, line)
                    index += 1

    def _item(self, index: int, place: str, line: str | UnicodeDecodeError) -> Item:
        if isinstance(line, UnicodeDecodeError):
            byte = line.object[line.start]
            problem = f"not UTF-8: byte 0x{byte:02x} at position {line.start}; convert it first (iconv)"
            return Item(index, place, None, problem)
        if not line.strip():
            return Item(index, place, None, "text is empty; leave it out")
        if not self.tab_pairs:
            return Item(index, place, line)
        parts = line.split("\t")
        if len(parts) != 2:
            return Item(index, place, None, f"expected one tab, text<TAB>pair, found {len(parts) - 1}")
        return Item(index, place, (parts[0], parts[1]))

    def reject(self, item: Item, problem: str) -> None:
        """Say on stderr that a line is left out."""
        self.failed += 1
        note(f"{item.place}: {problem}")

    def finish(self) -> None:
        """Exit with 1 if a line was left out."""
        if self.failed:
            raise typer.Exit(1)


def _is_file(name: str) -> bool:
    """Whether it names something that can be read as lines: a file, or a pipe such as <(command)."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


@contextmanager
def _line_stream(path: str | None) -> Iterator[BinaryIO]:
    if path is not None:
        note(f"reading the lines of {path!r}", dim=True)
        with open(path, "rb") as file:
            yield file
    elif sys.stdin is None:
        raise FileError("there is no stdin to read from")
    else:
        yield sys.stdin.buffer


def _lines(stream: BinaryIO) -> Iterator[str | UnicodeDecodeError]:
    for number, raw in enumerate(stream):  # bytes are split at b"\n" only, unlike text
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 0 else raw
        line = line.removesuffix(b"\r\n") if line.endswith(b"\r\n") else line.removesuffix(b"\n")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield error
