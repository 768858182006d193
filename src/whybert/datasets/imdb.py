"""The Large Movie Review Dataset (Maas et al., ACL 2011): whole film reviews, positive or negative.

It is distributed as aclImdb_v1.tar.gz, with a text file for each review.  The reviews still hold the tags
that break their lines; each run of them becomes a blank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from whybert.datasets.archive import SUFFIXES, files_in
from whybert.datasets.base import TEST, TRAIN, DatasetError, DatasetSpec, Example, HubSource, Layout, Loaded
from whybert.datasets.tabular import Columns, decode, read_bytes, table_layout

LABELS = ("negative", "positive")
_FOLDERS = {"neg": 0, "pos": 1}
_REVIEW = re.compile(r"(?:^|/)(train|test)/(neg|pos)/([0-9]{1,9})_([0-9]{1,9})\.txt$")
# Not \s: some reviews hold U+0085 where it is no white space but a character of another encoding.
_BLANKS = " \t\r\n"
_LINE_BREAKS = re.compile(rf"(?:<br ?/?>[{_BLANKS}]*)+", re.IGNORECASE)
_ARCHIVES = ("aclImdb_v1.tar.gz", "aclImdb.tar.gz", "IMDb.tar.gz")


def without_line_breaks(text: str) -> str:
    """The review with a blank for each run of `<br />` and white space around it, and none at its ends."""
    # No pattern for the blanks before: it would be tried anew at each of a long run of them.
    return " ".join(part.rstrip(_BLANKS) for part in _LINE_BREAKS.split(text)).strip(_BLANKS)


def _in_order(reviews: Mapping[tuple[str, int, int, int], str]) -> Loaded:
    """The reviews by (split, label, number, rating), sorted: no matter in which order the files came."""
    splits: dict[str, list[Example]] = {split: [] for split in (TRAIN, TEST)}
    for (split, label, _, _), text in sorted(reviews.items()):
        splits[split].append(Example(text, None, label))
    return Loaded({split: rows for split, rows in splits.items() if rows})


def _key(match: re.Match[str]) -> tuple[str, int, int, int]:
    return match[1], _FOLDERS[match[2]], int(match[3]), int(match[4])


def _decode(content: bytes, place: str) -> str:
    text = decode(content, place)
    if not text.strip():
        raise DatasetError(f"{place} is empty; expected a review, or remove the file")
    return text


@dataclass(frozen=True)
class Folder(Layout):
    """The archive unpacked: {train,test}/{pos,neg}/NUMBER_RATING.txt, in the folder or in its aclImdb."""

    name: str = "unpacked archive"

    @property
    def expected(self) -> str:
        return "aclImdb/{train,test}/{pos,neg}/*.txt"

    def find(self, place: Path) -> Mapping[str, tuple[Path, ...]]:
        for root in (place, place / "aclImdb", *sorted(place.glob("*/aclImdb"))):
            found = {split: tuple(root / split / label for label in _FOLDERS) for split in (TRAIN, TEST)}
            found = {split: folders for split, folders in found.items() if any(f.is_dir() for f in folders)}
            if found:
                return found
        return {}

    def read(self, found: Mapping[str, tuple[Path, ...]]) -> Loaded:
        reviews = {}
        for folder in (folder for folders in found.values() for folder in folders):
            if not folder.is_dir():
                raise DatasetError(f"there is no folder {str(folder)!r}; expected one beside its counterpart")
            for path in folder.iterdir():
                if match := _REVIEW.search(path.as_posix()):
                    reviews[_key(match)] = _decode(read_bytes(path), repr(str(path)))
        if not reviews:
            raise DatasetError(f"no reviews NUMBER_RATING.txt in {str(folder)!r}; unpack the archive again")
        return _in_order(reviews)


@dataclass(frozen=True)
class Archive(Layout):
    """The archive as it is: the file itself, or a folder that it is in.  It is read without unpacking it."""

    name: str = "archive"

    @property
    def expected(self) -> str:
        return " or ".join(_ARCHIVES)

    def find(self, place: Path) -> Mapping[str, tuple[Path, ...]]:
        candidates = [place / name for name in _ARCHIVES]
        if place.name.endswith(SUFFIXES):
            candidates = [place]
        # Its splits are only known once it has been read, and an unpacked one is preferred.
        return next(({TRAIN: (path,)} for path in candidates if path.is_file()), {})

    def read(self, found: Mapping[str, tuple[Path, ...]]) -> Loaded:
        [[path]] = found.values()
        reviews: dict[tuple[str, int, int, int], str] = {}
        for name, content in files_in(path, _REVIEW.search):
            [key] = map(_key, _REVIEW.finditer(name))
            if key in reviews:
                raise DatasetError(f"{str(path)!r} holds the review {name!r} twice; unpack it and remove one")
            reviews[key] = _decode(content, f"{str(path)!r}, {name!r}")
        if not reviews:
            raise DatasetError(f"no reviews in {str(path)!r}: expected {{train,test}}/{{pos,neg}}/*.txt")
        return _in_order(reviews)


SPECS = (
    DatasetSpec(
        "imdb",
        "sentiment of film reviews",
        LABELS,
        (
            Folder(),
            Archive(),
            table_layout(
                "table",
                {TRAIN: "train_IMDb.csv", TEST: "test_IMDb.csv"},
                Columns(text=("text", 0), label=("label", 1)),
                {"0": 0, "1": 1},
            ),
        ),
        HubSource("stanfordnlp/imdb", names=("neg", "pos")),
        clean=without_line_breaks,
        source="Maas et al., ACL 2011",
    ),
)
