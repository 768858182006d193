r"""Sentiment of tweets: SemEval task "Sentiment Analysis in Twitter", subtask A (Rosenthal et al. 2017).

The tweets of 2013 to 2016 come in a file for each year and part, `id<TAB>label<TAB>text`, and are escaped in
a different way in each; `_CONVENTIONS` tells how.  The splits are

* train: the training and development files of 2013, 2015 and 2016,
* validation: those of 2016 for development and for testing during development,
* test: the test file of 2016, as published,
* test2017: the test file of 2017, as published.

The files overlap.  A tweet of train or validation is left out if its id or its text is in a test file, one
of train also if it is in validation, and a text that occurs again within the split stays only once, with
its first label.  The test files stay as they are, repetitions included, so that results can be compared.
The test files of 2013 to 2015 are in no split; `read_tweets` reads them too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from whybert.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    DatasetError,
    DatasetSpec,
    Example,
    HubSource,
    Layout,
    Loaded,
)
from whybert.datasets.tabular import Columns, read_lines, table_layout

LABELS = ("negative", "neutral", "positive")
TEST_2017 = "test2017"

_INDICES = {label: index for index, label in enumerate(LABELS)}
# Later splits are the more important ones: what is in one of them is not in those before it.
_FILES = {
    TRAIN: (
        "twitter-2013train-A.tsv",
        "twitter-2013dev-A.tsv",
        "twitter-2015train-A.tsv",
        "twitter-2016train-A.tsv",
    ),
    VALIDATION: ("twitter-2016dev-A.tsv", "twitter-2016devtest-A.tsv"),
    TEST: ("twitter-2016test-A.tsv",),
    TEST_2017: ("SemEval2017-task4-test.subtask-A.english.txt",),
}
_FOLDERS = ("downloaded", "gold", ".")


@dataclass(frozen=True)
class _Convention:
    """How the texts of a file are written.

    Fields:
        quoted: texts with a comma or a quote are in quotes, and the quotes in them are doubled.
        stray_quote: some texts lost one of the two quotes they were in; the other is dropped.
        escaped: the texts hold backslash escapes of characters and of quotes.
    """

    quoted: bool = False
    stray_quote: bool = False
    escaped: bool = False


# By the part of the file's name.  The files that are not here have plain texts, quotes included.
_CONVENTIONS = {
    "2013train": _Convention(quoted=True, escaped=True),
    "2013dev": _Convention(quoted=True, escaped=True),
    "2013test": _Convention(quoted=True),
    "2014test": _Convention(quoted=True),
    "2014sarcasm": _Convention(quoted=True, stray_quote=True),
    "2015train": _Convention(quoted=True, escaped=True),
    "2015test": _Convention(quoted=True),
    "2016test": _Convention(quoted=True),
}
_PART = re.compile(r"twitter-(\w+)-A\.tsv")
_UNICODE_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
# With its semicolon: "&copy=1" is a part of a link.
_ENTITY = re.compile(r"&#?\w{1,32};")
_QUOTE_ESCAPE = re.compile(r'\\"+')


@dataclass(frozen=True)
class Tweet:
    """A row of a file, its text unescaped."""

    id: str
    text: str
    label: int


def unescaped(text: str, convention: _Convention) -> str:
    """The tweet as it was written, without white space at its ends."""
    if convention.quoted and len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"')
    elif convention.stray_quote:
        if text.count('"') % 2:
            text = text[:-1] if text.endswith('"') else text.removeprefix('"')
        text = text.replace('""', '"')
    if convention.escaped:
        text = _UNICODE_ESCAPES.sub(_characters, text)
        text = _QUOTE_ESCAPE.sub('"', text)
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text).strip()


def _characters(match: re.Match[str]) -> str:
    """What a run of escapes stands for; two of them can be one character."""
    units = bytes.fromhex(match[0].replace("\\u", ""))
    return units.decode("utf-16-be", errors="replace")


def read_tweets(path: Path) -> Iterator[Tweet]:
    """The rows of one of the published files.

    Raises:
        DatasetError: naming the line, for a row that is not id, label and text.
    """
    match = _PART.fullmatch(path.name)
    convention = _CONVENTIONS.get(match[1] if match else "", _Convention())
    for number, line in read_lines(path):
        place = f"{str(path)!r}, line {number}"
        cells = line.split("\t")
        if len(cells) == 4:  # of 2016test: empty, or when the tweet was written
            del cells[3]
        if len(cells) != 3:
            raise DatasetError(f"{place}: expected 3 cells (id, label, text), found {len(cells)}")
        identity, label, raw = cells
        if label not in _INDICES:
            raise DatasetError(f"{place}: unknown label {label!r:.60}; known: {', '.join(LABELS)}")
        text = unescaped(raw, convention)
        if not text:
            raise DatasetError(f"{place}: the text is empty; expected a tweet, or remove the row")
        yield Tweet(identity, text, _INDICES[label])


@dataclass(frozen=True)
class PublishedFiles(Layout):
    """The files as the organisers give them out, in the folders downloaded and gold or without those."""

    name: str = "published files"

    @property
    def expected(self) -> str:
        return "downloaded/twitter-YEARPART-A.tsv such as " + ", ".join(
            f"downloaded/{_FILES[split][-1]}" for split in (TRAIN, VALIDATION, TEST)
        )

    def find(self, place: Path) -> Mapping[str, tuple[Path, ...]]:
        found = {}
        for split, names in _FILES.items():
            candidates = [[place / folder / name for folder in _FOLDERS] for name in names]
            paths = (next((path for path in paths if path.is_file()), None) for paths in candidates)
            found[split] = tuple(path for path in paths if path is not None)
        return {split: paths for split, paths in found.items() if paths}

    def read(self, found: Mapping[str, tuple[Path, ...]]) -> Loaded:
        tweets = {split: [t for path in paths for t in read_tweets(path)] for split, paths in found.items()}
        later_ids: set[str] = set()
        later_texts: set[str] = set()
        splits: dict[str, list[Example]] = {}
        notes: dict[str, list[str]] = {split: [] for split in _FILES}
        for split in reversed(_FILES):
            if split not in tweets:
                continue
            rows = tweets[split]
            kept = rows
            if split in (TRAIN, VALIDATION):
                kept = [row for row in rows if row.id not in later_ids and row.text not in later_texts]
                first = {row.text: row for row in reversed(kept)}
                overlapping, repeated = len(rows) - len(kept), len(kept) - len(first)
                kept = [row for row in kept if first[row.text] is row]
                if overlapping or repeated:
                    notes[split].append(
                        f"{split}: {overlapping} rows left out (id or text also in a later split) "
                        f"and {repeated} (text repeated)"
                    )
                names = {path.name for path in found[split]}
                if missing := [name for name in _FILES[split] if name not in names]:
                    notes[split].append(
                        f"{split}: without {', '.join(missing)}, which the folder does not hold"
                    )
            later_ids.update(row.id for row in rows)
            later_texts.update(row.text for row in rows)
            splits[split] = [Example(row.text, None, row.label) for row in kept]
        ordered = {split: splits[split] for split in _FILES if split in splits}
        return Loaded(ordered, tuple(note for split in ordered for note in notes[split]))


SPECS = (
    DatasetSpec(
        "semeval",
        "sentiment of tweets",
        LABELS,
        (
            PublishedFiles(),
            table_layout(
                "table",
                {TRAIN: "train_SemEval.csv", VALIDATION: "dev_SemEval.csv", TEST: "test_SemEval.csv"},
                Columns(text=("text", 0), label=("label", 1)),
                {**{str(index): index for index in range(3)}, **_INDICES},
            ),
        ),
        HubSource("cardiffnlp/tweet_eval", "sentiment"),
        source="Rosenthal et al., SemEval 2017; on the hub: Barbieri et al., Findings of EMNLP 2020",
    ),
)
