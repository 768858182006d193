"""Reviews of Yelp with their stars, or only negative (1 and 2 stars) and positive (4 and 5).

The balanced data sets are those of Zhang et al. (NIPS 2015): tables without a header, the label first, in
which a backslash and an n stand for a line break.  Tables with the stars as they are given (text, label1,
label2, the latter "Review Stars: 4.0") come from Yue et al. (ACL 2023).
"""

from __future__ import annotations

import re
from pathlib import Path

from whybert.datasets.base import TEST, TRAIN, VALIDATION, DatasetSpec, HubSource
from whybert.datasets.tabular import Columns, Table, read_csv, table_layout

TWO = ("negative", "positive")
FIVE = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")

_STARS = "Review Stars: {}.0"
_FIVE_VALUES = {str(stars): stars - 1 for stars in range(1, 6)}
_FIVE_VALUES |= {_STARS.format(stars): stars - 1 for stars in range(1, 6)}
_TWO_VALUES: dict[str, int | None] = {"1": 0, "2": 1}
_TWO_VALUES |= {_STARS.format(stars): index for stars, index in ((1, 0), (2, 0), (3, None), (4, 1), (5, 1))}

_ESCAPE = re.compile(r"\\([n\"])")
_ESCAPED = {"n": "\n", '"': '"'}
_COLUMNS = Columns(text=("text", 0), label=("label2", "label", 1))


def unescape(text: str) -> str:
    r"""The review with its line breaks and quotes, which Zhang et al. write as \n and \"."""
    return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)


def _read(path: Path) -> Table:
    return read_csv(path, headerless=("label", "text"))


def _spec(
    name: str, task: str, labels: tuple[str, ...], paper: str, values: dict[str, int | None], hub: HubSource
) -> DatasetSpec:
    files = {TRAIN: "train.csv", VALIDATION: "dev.csv", TEST: "test.csv"}
    own_files = {TRAIN: f"train_{paper}.csv", TEST: f"test_{paper}.csv"}
    return DatasetSpec(
        name,
        task,
        labels,
        (
            table_layout("table", files, _COLUMNS, values, _read, "3 stars"),
            table_layout("table of its own name", own_files, _COLUMNS, values, _read, "3 stars"),
        ),
        hub,
        clean=unescape,
        source="Zhang et al., NIPS 2015",
    )


_TWO_HUB = HubSource("fancyzhx/yelp_polarity", names=("1", "2"))
_FIVE_HUB = HubSource("Yelp/yelp_review_full", names=("1 star", "2 star", "3 stars", "4 stars", "5 stars"))

SPECS = (
    _spec("yelp2", "sentiment of reviews", TWO, "Yelp2", _TWO_VALUES, _TWO_HUB),
    _spec("yelp5", "stars of reviews", FIVE, "Yelp5", dict(_FIVE_VALUES), _FIVE_HUB),
)
