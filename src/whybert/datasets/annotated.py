"""What people marked in texts, and the scores of an explanation on the same units.

A human's unit is what the human could mark: a token between white space, or a leaf of a tree.  A model has
units of its own, so `unit_scores` shares the score of each token of the model out over the human's units.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from whybert.datasets.archive import SUFFIXES, files_in
from whybert.datasets.base import SPLITS, TEST, TRAIN, VALIDATION, DatasetError, readable
from whybert.datasets.sst import FIVE, read_trees, tree_nodes
from whybert.datasets.tabular import decode, json_objects, read_bytes
from whybert.errors import InputError, UnknownNameError, UsageError, quoted
from whybert.words import Span

Kind = Literal["rationale", "sentiment"]
_Row = TypeVar("_Row")

_ERASER: Final = "DeYoung et al. 2020 (ERASER)"
_SST: Final = "Socher et al. 2013 (Stanford Sentiment Treebank)"
_ERASER_LABELS: Final = {"NEG": "negative", "POS": "positive"}
_ERASER_FILES: Final = {TRAIN: "train.jsonl", VALIDATION: "val.jsonl", TEST: "test.jsonl"}
_TREE_FILES: Final = {TRAIN: "train.txt", VALIDATION: "dev.txt", TEST: "test.txt"}
_JSON_LINES: Final = (".jsonl", ".ndjson")
_TREES: Final = (".txt",)
_MEMBER: Final = re.compile(r"(?:^|.*/)(?:docs/[^/]+|(?:train|val|test)\.jsonl)$")
_LARGEST: Final = 2**28  # bytes of an archive as it unpacks; ERASER's film reviews have 13 million
_LEAF: Final = re.compile(r"\(([0-4]) +([^() ]+) *\)")
_NEUTRAL: Final = FIVE.index("neutral")
# How the Penn Treebank writes the characters that mean something to a reader of trees.
_ESCAPES: Final = (("-LRB-", "("), ("-RRB-", ")"), (r"\/", "/"), (r"\*", "*"))


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one person, or several as one, marked in a text.

    Fields:
        text: what was marked, and what is to be explained.
        label: the true class, None where it is not known.
        spans: (start, end) in characters of each of the human's units, in order and disjoint.
        marks: one number for each unit.  A rationale has 1 for a unit that is part of it and 0 for the
            others; sentiment goes from -2 (very negative) to 2.

    Raises:
        InputError: the fields contradict each other.
    """

    text: str
    label: str | None
    spans: tuple[Span, ...]
    marks: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "spans", tuple((start, end) for start, end in self.spans))
        object.__setattr__(self, "marks", tuple(self.marks))
        if not self.spans:
            raise InputError("expected at least one word, found none; leave empty texts out")
        if len(self.marks) != len(self.spans):
            raise InputError(f"expected a mark for each of {len(self.spans)} words, found {len(self.marks)}")
        last = 0
        for place, (start, end) in enumerate(self.spans):
            if not last <= start < end <= len(self.text):
                raise InputError(
                    f"expected the span of word {place} between characters {last} and {len(self.text)}, "
                    f"found {start} to {end}; give spans in order, disjoint and inside the text"
                )
            last = end
        for place, mark in enumerate(self.marks):
            if not math.isfinite(mark):
                raise InputError(f"expected marks that are numbers, found {mark} for word {place}")

    @property
    def units(self) -> tuple[str, ...]:
        """The human's units as slices of the text."""
        return tuple(self.text[start:end] for start, end in self.spans)

    @property
    def is_rationale(self) -> bool:
        """Whether every mark is 0 or 1."""
        return all(mark in (0, 1) for mark in self.marks)


@dataclass(frozen=True)
class AnnotatedTexts:
    """Texts with what people marked in them.

    Fields:
        name: that of the file or folder.
        kind: what the marks are: "rationale", 0 or 1, or "sentiment", -2 to 2.
        labels: the names of the true classes; empty where none are known.
        rows: in the order of the file.
        source: where the rows came from, for reports.
        notes: what was left out and why, a line each.

    Raises:
        InputError: a row does not fit the kind or the labels; its index is that of the row.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    rows: tuple[Annotation, ...]
    source: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            if self.kind == "rationale" and not row.is_rationale:
                raise InputError(f"expected marks of 0 or 1 in a rationale, text {index} has others", index)
            if self.kind == "sentiment" and not all(-2 <= mark <= 2 for mark in row.marks):
                raise InputError(f"expected sentiment from -2 to 2, text {index} has other marks", index)
            if row.label is not None and row.label not in self.labels:
                raise InputError(
                    f"unknown label {row.label!r} of text {index}; known: {', '.join(self.labels)}", index
                )

    @cached_property
    def rationale_share(self) -> float:
        """The mean over the texts of the share of units that are marked; NaN for sentiment and no texts.

        ERASER's k_d as a share: how long a rationale of this data set is on average.
        """
        if self.kind != "rationale" or not self.rows:
            return math.nan
        return math.fsum(sum(row.marks) / len(row.marks) for row in self.rows) / len(self.rows)


# Reading.


def load_annotations(path: str | Path, split: str | None = None) -> AnnotatedTexts:
    """Read annotated texts, whichever of these `path` is:

    - ERASER's film reviews: the folder with `docs` and {train,val,test}.jsonl, one above it, or the tar.gz.
      The text is the document's tokens with a blank between them.
    - the trees of the Stanford Sentiment Treebank: the folder with {train,dev,test}.txt, one above it, or one
      file.  The text is the leaves with a blank between them, with the characters for which the trees have
      other names (-LRB-, `\\/`); the marks are the leaves' labels, neutral as 0.
    - JSON lines with "text" or "tokens", "rationale" and perhaps "label".  A rationale is a list of
      [start, end] in characters, which marks each white-space token that it touches, or a list of one 0 or 1
      for each token.

    Args:
        path: of the file or folder.
        split: "train", "validation" or "test"; None takes the last of these that is there.

    Raises:
        DatasetError: naming file and row, for what cannot be read or does not fit.
        UnknownNameError: the split is not there.
        UsageError: a file of another kind.
    """
    if split is not None and split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    with readable(Path(path)):
        return _annotations(Path(path), split)


def _annotations(place: Path, split: str | None) -> AnnotatedTexts:
    if place.is_dir():
        if root := _root(place, _has_eraser):
            return _eraser(place, _Folder(root), split)
        if root := _root(place, _has_trees):
            files = {name: root / file for name, file in _TREE_FILES.items() if (root / file).is_file()}
            return _trees(place, files[_chosen(place, files, split)])
        raise DatasetError(
            f"no annotations in {str(place)!r}; expected docs and {{train,val,test}}.jsonl (ERASER), or "
            "trees in {train,dev,test}.txt"
        )
    if not place.is_file():
        raise DatasetError(f"there is no file or folder {str(place)!r}; check its path")
    name = place.name.lower()
    if name.endswith(SUFFIXES):
        return _eraser(place, _Archive(place), split)
    if not name.endswith(_JSON_LINES + _TREES):
        raise UsageError(
            f"{str(place)!r} is none of the annotations that can be read; expected a folder, or a file that "
            f"ends with {', '.join(SUFFIXES + _JSON_LINES + _TREES)}"
        )
    if split is not None and place.name not in (_TREE_FILES[split], _ERASER_FILES[split], f"{split}.jsonl"):
        raise UsageError(f"{str(place)!r} is one file without splits; leave the split {split!r} out")
    return _trees(place, place) if name.endswith(_TREES) else _json_lines(place)


def _root(place: Path, is_root: Callable[[Path], bool]) -> Path | None:
    """The first folder, of this one and those in it, that is the one looked for."""
    inner = sorted(folder for folder in place.iterdir() if folder.is_dir())
    return next((root for root in (place, *inner) if is_root(root)), None)


def _has_eraser(root: Path) -> bool:
    return (root / "docs").is_dir() and any((root / file).is_file() for file in _ERASER_FILES.values())


def _has_trees(root: Path) -> bool:
    return any((root / file).is_file() for file in _TREE_FILES.values())


def _chosen(place: Path, found: Iterable[str], split: str | None) -> str:
    there = [name for name in SPLITS if name in set(found)]
    if split is None:
        return there[-1]
    if split not in there:
        raise UnknownNameError(f"split of {str(place)!r}", split, there)
    return split


def _stem(place: Path) -> str:
    ending = next((ending for ending in SUFFIXES if place.name.lower().endswith(ending)), place.suffix)
    return place.name[: len(place.name) - len(ending)]


class _Folder:
    """The files of ERASER in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.splits = [split for split, file in _ERASER_FILES.items() if (root / file).is_file()]

    def place(self, name: str) -> str:
        return repr(str(self.root / name))

    def read(self, name: str) -> bytes | None:
        return read_bytes(self.root / name) if (self.root / name).is_file() else None


class _Archive:
    """The same in a tar file, which is read into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contents: dict[str, bytes] = {}
        for name, content in files_in(path, _MEMBER.match, _LARGEST):
            *_, folder, file = "", *name.split("/")
            key = file if file in _ERASER_FILES.values() else f"{folder}/{file}"
            if key in self.contents:
                raise DatasetError(f"{str(path)!r} holds {key!r} twice; unpack it and give one data set")
            self.contents[key] = content
        self.splits = [split for split, file in _ERASER_FILES.items() if file in self.contents]
        if not self.splits:
            raise DatasetError(
                f"no {{train,val,test}}.jsonl in {str(path)!r}; expected the archive of ERASER"
            )

    def place(self, name: str) -> str:
        return f"{str(self.path)!r}, {name!r}"

    def read(self, name: str) -> bytes | None:
        return self.contents.get(name)


def _rows(content: bytes, place: str, read: Callable[[Mapping[str, Any]], _Row]) -> list[_Row]:
    """What is read of the JSON object in each line; a ValueError becomes a DatasetError about the line."""
    rows = []
    for number, row in json_objects(content, place):
        try:
            rows.append(read(row))
        except ValueError as error:
            raise DatasetError(f"{place}, line {number}: {error}") from error
    return rows


def _eraser(place: Path, files: _Folder | _Archive, split: str | None) -> AnnotatedTexts:
    """One split of ERASER's film reviews."""
    chosen = _chosen(place, files.splits, split)
    file = _ERASER_FILES[chosen]
    found = _rows(files.read(file) or b"", files.place(file), lambda row: _eraser_row(row, files))
    rows = [annotation for annotation in found if annotation is not None]
    without = len(found) - len(rows)
    notes = [f"{chosen}: {without} documents left out (nothing is marked in them)"] if without else []
    return _made(
        place, _stem(place), "rationale", tuple(_ERASER_LABELS.values()), rows, f"{_ERASER}: {place}", notes
    )


def _eraser_row(row: Mapping[str, Any], files: _Folder | _Archive) -> Annotation | None:
    """The document with its evidence; None if it has none.  Raises ValueError for what does not fit."""
    label = row.get("classification")
    if not isinstance(label, str) or label not in _ERASER_LABELS:
        raise ValueError(f"unknown classification {quoted(label)}; known: {', '.join(_ERASER_LABELS)}")
    groups = row.get("evidences")
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise ValueError("expected evidences that are a list of lists")
    evidences = [evidence for group in groups for evidence in group]
    if not all(isinstance(evidence, dict) for evidence in evidences):
        raise ValueError("expected evidences that are JSON objects")
    documents = [evidence.get("docid") for evidence in evidences] or [row.get("annotation_id")]
    for document in documents:
        if not isinstance(document, str) or Path(document).name != document:
            raise ValueError(f"expected the name of a file in docs, found {quoted(document)}")
    if len(set(documents)) != 1:
        raise ValueError(
            f"expected evidence in one document, found it in {len(set(documents))}; split the row"
        )
    content = files.read(f"docs/{document}")
    if content is None:
        raise ValueError(f"there is no document {document!r} in docs; get the whole archive")
    tokens = decode(content, files.place(f"docs/{document}")).split()
    text, spans = _joined(tokens)
    ranges: list[Span] = []
    for evidence in evidences:
        start, end = evidence.get("start_token"), evidence.get("end_token")
        # Twenty evidences of the test split are empty; they mark nothing.
        if not _is_span(start, end, len(tokens), least=0):
            raise ValueError(
                f"expected evidence between the tokens 0 and {len(tokens)} of {document!r}, found "
                f"{quoted(start)} to {quoted(end)}"
            )
        found = text[spans[start][0] : spans[end - 1][1]] if start < end else ""
        if evidence.get("text", found) != found:
            raise ValueError(
                f"the evidence {quoted(evidence['text'])} is not what the tokens {start} to {end} of "
                f"{document!r} are ({found[:60]!r}); get the annotations and documents of one version"
            )
        ranges.append((start, end))
    marks = _marked(ranges, len(spans))
    return Annotation(text, _ERASER_LABELS[label], spans, marks) if any(marks) else None


def _trees(place: Path, path: Path) -> AnnotatedTexts:
    """The sentences of a file of trees."""
    rows = list(read_trees(path, _tree_row))
    return _made(place, place.stem, "sentiment", FIVE, rows, f"{_SST}: {path}", [])


def _tree_row(tree: str) -> Annotation:
    sentence, label = tree_nodes(tree)[0]
    leaves = _LEAF.findall(tree)
    if [word for _, word in leaves] != sentence.split(" "):
        raise ValueError("there is a word without a label of its own")
    text, spans = _joined([_unescaped(word) for _, word in leaves])
    return Annotation(text, FIVE[label], spans, tuple(float(int(mark) - _NEUTRAL) for mark, _ in leaves))


def _unescaped(word: str) -> str:
    for escape, character in _ESCAPES:
        word = word.replace(escape, character)
    return word


def _json_lines(path: Path) -> AnnotatedTexts:
    """The rationales of a file that a user wrote."""
    rows = _rows(read_bytes(path), repr(str(path)), _json_row)
    labels = tuple(sorted({row.label for row in rows if row.label is not None}))
    return _made(path, path.stem, "rationale", labels, rows, str(path), [])


def _json_row(row: Mapping[str, Any]) -> Annotation:
    """Raises ValueError for what does not fit."""
    if "evidences" in row:
        raise ValueError("this is a row of ERASER; give the folder that holds this file and docs")
    if ("text" in row) == ("tokens" in row):
        raise ValueError('expected either "text" or "tokens"')
    label = row.get("label")
    if label is not None and (isinstance(label, bool) or not isinstance(label, str | int)):
        raise ValueError(f"expected a label that is a string, found {quoted(label)}")
    if "text" in row:
        text = row["text"]
        if not isinstance(text, str) or not text.strip():
            raise ValueError("expected a text that is a string and not empty")
        spans = tuple(match.span() for match in re.finditer(r"\S+", text))
    else:
        tokens = row["tokens"]
        if not isinstance(tokens, list) or not all(isinstance(word, str) and word.strip() for word in tokens):
            raise ValueError("expected tokens that are a list of strings that are not empty")
        text, spans = _joined(tokens)
    rationale = row.get("rationale")
    if not isinstance(rationale, list):
        raise ValueError('expected a "rationale" that is a list')  # noqa: TRY004  # the file is wrong
    is_of_spans = all(isinstance(entry, list) for entry in rationale)
    marks = _marks_of_spans(rationale, text, spans) if is_of_spans else _checked_marks(rationale)
    return Annotation(text, None if label is None else str(label), spans, marks)


def _marks_of_spans(rationale: Sequence[Any], text: str, spans: Sequence[Span]) -> tuple[float, ...]:
    """1 for each word that a span of the rationale touches."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    ranges: list[Span] = []
    for entry in rationale:
        if len(entry) != 2 or not _is_span(entry[0], entry[1], len(text)):
            raise ValueError(
                f"expected [start, end] between the characters 0 and {len(text)}, found {quoted(entry)}"
            )
        start, end = entry
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        if first >= last:
            raise ValueError(f"there is no word at the characters {start} to {end}; leave this span out")
        ranges.append((first, last))
    return _marked(ranges, len(spans))


def _marked(ranges: Iterable[Span], count: int) -> tuple[float, ...]:
    """1 for each of `count` units that is in one of the ranges [first, last), 0 for the others."""
    changes = [0] * (count + 1)
    for first, last in ranges:
        changes[first] += 1
        changes[last] -= 1
    return tuple(float(depth > 0) for depth in accumulate(changes[:-1]))


def _checked_marks(rationale: Sequence[Any]) -> tuple[float, ...]:
    for place, mark in enumerate(rationale):
        if not isinstance(mark, int | float) or mark not in (0, 1):
            raise ValueError(f"expected marks of 0 or 1, found {quoted(mark)} at place {place}")
    return tuple(float(mark) for mark in rationale)


def _is_span(start: object, end: object, length: int, least: int = 1) -> bool:
    """Whether these are whole numbers from 0 to `length` that are at least `least` apart."""
    if not isinstance(start, int) or not isinstance(end, int):
        return False
    return (
        not isinstance(start, bool)
        and not isinstance(end, bool)
        and 0 <= start <= end - least <= length - least
    )


def _joined(tokens: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """The tokens with a blank between them, and the span of each."""
    spans, start = [], 0
    for token in tokens:
        spans.append((start, start + len(token)))
        start += len(token) + 1
    return " ".join(tokens), tuple(spans)


def _made(
    place: Path,
    name: str,
    kind: Kind,
    labels: tuple[str, ...],
    rows: Sequence[Annotation],
    source: str,
    notes: Sequence[str],
) -> AnnotatedTexts:
    if not rows:
        raise DatasetError(f"no annotated texts in {str(place)!r}; expected at least one row")
    return AnnotatedTexts(name, kind, labels, tuple(rows), source, tuple(notes))
