"""What is worked on, item by item: texts, the lines of files and of stdin, the rows of a data set."""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from whybert.errors import FileError, InputError, UsageError

if TYPE_CHECKING:
    from whybert.classifier import Classifier
    from whybert.datasets import TextDataset
    from whybert.encoding import Text

_FILE_NAME: Final = re.compile(
    r"\S*\.(txt|text|md|csv|tsv|tab|json|jsonl|ndjson|parquet|html?|xml|ya?ml|xlsx?|docx?|pdf|log|gz|zip)",
    re.IGNORECASE,
)
_PATH: Final = re.compile(rf"([\w.~+@=:%#-]*[/{re.escape(os.sep)}])+[\w.~+@=:%#-]*")
FORCE_TEXT: Final = "if it is a text, give it with --text"


@dataclass(frozen=True)
class Item:
    """One text, or one pair, of the input; or why a line is none.

    Fields:
        index: counts all texts and lines from 0, the unusable ones too.
        place: how messages name it.
        text: or pair; None where it is none.
        problem: what is wrong where there is no text; empty where the line is blank.
        label: of a row the index of its label among those of the data set, the list of them where it may have
            several, or its number; None where it has none.
        truth: what that label is called.
        columns: what else of the row goes into the output, by the names of its columns.
    """

    index: int
    place: str
    text: Text | None
    problem: str = ""
    label: Any = None
    truth: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """Whether it is a line with nothing on it."""
        return self.text is None and not self.problem


@dataclass(frozen=True)
class _Source:
    """An argument: a text or a pair, or where lines are to be read from (None: stdin)."""

    text: Text | None
    path: str | None = None


class Inputs:
    """Texts, and the lines of the files among them, in order, read only as far as they are asked for.

    Lines are UTF-8 and end with "\\n" (or "\\r\\n"), and with no other character.

    Args:
        arguments: each a text, "-" for the lines of stdin, or the name of a file for its lines.
        pairs: the second text of each, where they are pairs.
        tab_pairs: whether each line is text<TAB>pair.
        texts: more of them, which are texts whatever they look like.
        say: is told which file is being read.

    Raises:
        UsageError: the arguments contradict each other, or one is the name of a file that is not there or
            that is no file of lines.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        pairs: Sequence[str] = (),
        tab_pairs: bool = False,
        texts: Sequence[str] = (),
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.tab_pairs, self.say = tab_pairs, say
        if pairs and tab_pairs:
            raise UsageError("--pair and --tab-pairs exclude each other; --tab-pairs is for lines")
        if arguments.count("-") > 1:
            raise UsageError("stdin can be read only once; give - once")
        self.sources = [*(_source(text, tab_pairs) for text in arguments), *map(_Source, texts)]
        self._lines = [source for source in self.sources if source.text is None]
        count = len(self.sources)
        if pairs and self._lines:
            name = "stdin" if self._lines[0].path is None else repr(self._lines[0].path)
            raise UsageError(
                f"--pair goes with texts given as arguments, and {name} is read line by line; "
                "write text<TAB>pair in each line and use --tab-pairs"
            )
        if pairs and len(pairs) != count:
            raise UsageError(f"expected one --pair for each of the {count} texts, found {len(pairs)}")
        if tab_pairs and len(self._lines) < count:
            raise UsageError(
                "--tab-pairs is for the lines of files and of stdin; use --pair with texts given as arguments"
            )
        if pairs:
            self.sources = [
                _Source((str(source.text), pair)) for source, pair in zip(self.sources, pairs, strict=True)
            ]

    def check(self, classifier: Classifier) -> None:
        """Raise InputError for a text given as an argument that cannot be encoded."""
        for number, source in enumerate(self.sources, 1):
            if source.text is not None:
                try:
                    classifier.tokenize([source.text])
                except InputError as error:
                    raise error.at(f"text {number}") from error

    @property
    def unit(self) -> str:
        """What its items are called."""
        return "line" if len(self._lines) == len(self.sources) else "text"

    @property
    def name(self) -> str:
        """What messages call all of it."""
        return ", ".join("stdin" if each.path is None else each.path for each in self._lines) or "the texts"

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
            with self._stream(source.path) as stream:
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
            return Item(index, place, None)
        if not self.tab_pairs:
            return Item(index, place, line)
        parts = line.split("\t")
        if len(parts) != 2:
            return Item(index, place, None, f"expected one tab, text<TAB>pair, found {len(parts) - 1}")
        return Item(index, place, (parts[0], parts[1]))

    @contextmanager
    def _stream(self, path: str | None) -> Iterator[BinaryIO]:
        if path is not None:
            self.say(f"reading the lines of {path!r}")
            with open(path, "rb") as file:
                yield file
        elif sys.stdin is None:
            raise FileError("there is no stdin to read from")
        else:
            yield sys.stdin.buffer


class Rows:
    """The rows of a split of a data set.

    Args:
        data: the data set.
        split: the name of one of its splits; None takes "test", or the only one.
        limit: only so many, the first; None for all.
        columns: the names of more columns of its table, which each item has.

    Raises:
        UnknownNameError: there is no such split, or no such column.
        UsageError: columns are asked of a data set that is no table.
    """

    unit = "row"

    def __init__(
        self,
        data: TextDataset,
        split: str | None = None,
        limit: int | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        from whybert.datasets import texts
        from whybert.datasets.tabular import read_columns

        self.data, self.split = data, split or data.default_split
        rows = data.split(self.split)
        rows = rows.select(range(min(limit or len(rows), len(rows))))
        self._texts: Sequence[Text] = texts(rows)
        self.columns = read_columns(data, self.split, columns) if columns else {}
        self.has_labels = "label" in rows.column_names
        self.label_names = data.labels
        """What its labels are called; a caller may have other names for them."""
        self._labels = rows["label"][:] if self.has_labels else [None] * len(rows)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.data.name

    def read_as(self, problem_type: str) -> None:
        """Take the labels as a model of that problem type has them, see `whybert.datasets.problems`."""
        from whybert.datasets.problems import read_as

        self.data = read_as(self.data, problem_type)
        self.label_names = self.data.labels
        self._labels = self.data.split(self.split)["label"][: len(self._labels)]

    def check(self, classifier: Classifier) -> None:
        """Nothing is known before the rows are read."""

    def is_typed(self) -> bool:
        """No."""
        return False

    def total(self) -> int:
        """How many rows there are."""
        return len(self._labels)

    def __iter__(self) -> Iterator[Item]:
        for index, label in enumerate(self._labels):
            truth = None if label is None else self._named(label)
            more = {name: cells[index] for name, cells in self.columns.items()}
            text = self._texts[index]
            is_empty = not all(part.strip() for part in ((text,) if isinstance(text, str) else text))
            yield Item(
                index,
                f"row {index + 1}",
                None if is_empty else text,
                "it has no text" if is_empty else "",
                label,
                truth,
                more,
            )

    def _named(self, label: Any) -> str:
        if isinstance(label, float):
            return repr(label).removesuffix(".0")
        indices = label if isinstance(label, list) else [label]
        return "|".join(self.label_names[index] for index in indices)


def _source(argument: str, tab_pairs: bool) -> _Source:
    if argument == "-":
        return _Source(None)
    if _is_file(argument):
        from whybert.datasets.tabular import READERS, kind_of

        suffix = Path(argument).suffix.lower()
        if suffix in READERS and not (tab_pairs and suffix == ".tsv"):
            raise UsageError(
                f"{argument!r} is a table; give it with --data {argument}, or its lines as they are through -"
            )
        if suffix == ".json":
            raise UsageError(
                f"{argument!r} is JSON; make it JSON lines (.jsonl) for --data, or give its lines as they "
                "are through -"
            )
        start = _start_of(argument)
        kind = kind_of(start) or ("no text file" if b"\0" in start else None)
        if kind is not None:
            raise UsageError(f"{argument!r} is {kind}")
        return _Source(None, argument)
    if _PATH.fullmatch(argument) or _FILE_NAME.fullmatch(argument):
        what = "is a folder" if os.path.isdir(argument) else "looks like the name of a file that is not there"
        raise UsageError(f"{argument!r} {what}; check the path, or {FORCE_TEXT}")
    return _Source(argument)


def _is_file(name: str) -> bool:
    """Whether it names something that can be read as lines: a file, or a pipe such as <(command)."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def _start_of(name: str) -> bytes:
    """The first bytes of a file; none of a pipe, whose bytes can be read only once, or of what is closed."""
    try:
        with open(name, "rb") if os.path.isfile(name) else io.BytesIO() as file:
            return file.read(1024)
    except OSError:  # who reads its lines says why
        return b""


def _lines(stream: BinaryIO) -> Iterator[str | UnicodeDecodeError]:
    for number, raw in enumerate(stream):  # bytes are split at b"\n" only, unlike text
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 0 else raw
        line = line.removesuffix(b"\r\n") if line.endswith(b"\r\n") else line.removesuffix(b"\n")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield error
