"""Saved explanations as rows that can be asked: which texts, which words, how often, for what.

The rows are those of the Parquet files that whybert writes, in which each explanation has a list of its
words; JSON lines become such a file first.  DuckDB asks the file itself, column by column, so that what is
asked need not fit into memory.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import duckdb

from whybert import saving
from whybert.errors import FileError, InputError, UnknownNameError, one_line
from whybert.explanation import Explanation

__all__ = ["TEXT_ORDERS", "VERDICTS", "WORD_ORDERS", "Facts", "Filter", "Rows", "TextRow", "WordRow"]

# What the queries stand on: a table with a row for each explanation, and one with a row for each word.
# A score is a share of the largest of its text, because the logits of texts differ in size.
_TEXTS: Final = """
CREATE VIEW texts AS SELECT
    file_row_number AS row, text, pair, prediction, truth, signed,
    CASE WHEN predicted >= 0 AND predicted < len(probabilities) THEN probabilities[predicted + 1] END
    AS confidence,
    CASE WHEN list_contains(labels, truth) THEN truth = prediction END AS is_right,
    target.label || coalesce(' - ' || target.against_label, '') AS target,
    method || CASE WHEN cardinality(options) = 0 THEN '' ELSE ':' || array_to_string(list_transform(
        map_entries(options), lambda option: option.key || '=' || trim(option.value, '"')
    ), ',') END AS method,
    list_max(list_filter(
        list_transform(words, lambda word: abs(word.score)), lambda score: isfinite(score)
    )) AS largest,
    words
FROM file
"""
_WORDS: Final = """
CREATE VIEW words AS SELECT
    row, word.text AS word, lower(word.text) AS key, word.score AS score,
    word.score / nullif(largest, 0) AS share,
    texts.* EXCLUDE (row, words, largest)
FROM texts, UNNEST(words) AS unnested(word)
WHERE isfinite(word.score)
"""

VERDICTS: Final = MappingProxyType({"all": "true", "wrong": "NOT is_right", "right": "is_right"})
"""Which texts: their name, and the condition; a text whose label is not known is neither wrong nor right."""

TEXT_ORDERS: Final = MappingProxyType(
    {
        "as in the file": "row",
        "least sure first": "confidence NULLS LAST, row",
        "surest first": "confidence DESC NULLS LAST, row",
    }
)
WORD_ORDERS: Final = MappingProxyType(
    {
        "strongest in all": "abs(share * texts) DESC",
        "most for": "share DESC",
        "most against": "share",
        "most frequent": "texts DESC",
    }
)


@dataclass(frozen=True)
class Filter:
    """Which rows are asked for; an empty field asks for all.

    Fields:
        method: the spec of the method, for a file that holds several.
        prediction, target: the label that the model chose, and what is explained.
        verdict: a name of `VERDICTS`.
        low, high: between which the probability of the prediction lies; a row without one is left out unless
            they are 0 and 1.
        word: which must be in the text, in any case.
    """

    method: str = ""
    prediction: str = ""
    target: str = ""
    verdict: str = "all"
    low: float = 0.0
    high: float = 1.0
    word: str = ""


@dataclass(frozen=True)
class Facts:
    """What a file holds: how many explanations, of which methods, predictions and targets.

    Fields:
        has_truth: whether some text has a label in its data.
        has_confidence: whether some row has probabilities.
    """

    count: int
    methods: tuple[str, ...]
    predictions: tuple[str, ...]
    targets: tuple[str, ...]
    has_truth: bool
    has_confidence: bool


@dataclass(frozen=True)
class TextRow:
    """A row: its number in the file, counted from 0, and what a list shows of it.

    Fields:
        confidence: the probability of the prediction; None where there is none.
        is_right: whether the prediction is the label in the data; None where that is not known.
    """

    row: int
    text: str
    pair: str | None
    prediction: str
    confidence: float | None
    truth: str | None
    is_right: bool | None
    target: str
    method: str


@dataclass(frozen=True)
class WordRow:
    """A word over all texts that are asked for, for one thing explained.

    Fields:
        word: in lower case.
        texts: in how many it is.
        score: the mean raw score where it stands.
        share: the mean of its score as a share of the largest absolute score of its text, from -1 to 1.
        signed: False where the scores are magnitudes.
    """

    word: str
    target: str
    texts: int
    score: float
    share: float
    signed: bool


class Rows:
    """A file of explanations that is open to questions; a context that closes it.

    Made by `Rows.open`.  Several threads may ask at once.
    """

    def __init__(self, path: Path, name: str, folder: tempfile.TemporaryDirectory[str]) -> None:
        self._name, self._folder = name, folder
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        with ExitStack() as undone, self._reading():
            undone.callback(self._connection.close)
            self._connection.read_parquet(str(path), file_row_number=True).create_view("file")
            for statement in (_TEXTS, _WORDS):
                self._connection.execute(statement)
            for setting in (
                f"SET memory_limit = '{_MEMORY}'",
                f"SET temp_directory = '{path.parent / 'spilled'}'",
                f"SET allowed_directories = ['{path.parent}']",
                "SET enable_external_access = false",  # a query reads this folder and nothing else
                "SET lock_configuration = true",
            ):
                self._connection.execute(setting)
            self._connection.execute("SELECT * EXCLUDE words FROM texts LIMIT 1").fetchall()
            undone.pop_all()

    @classmethod
    def open(cls, path: str | Path, name: str = "", limit: int | None = None) -> Rows:
        """The rows of a file that whybert wrote as JSON lines or Parquet.

        Args:
            path: of the file, which may go away afterwards.
            name: what messages call it; empty for its own.
            limit: the most explanations that it may hold.

        Raises:
            FileError: it cannot be read, holds no explanations, or more than the limit.
            UsageError: the suffix is that of no format that can be read back.
        """
        path, name = Path(path), name or str(path)
        folder = tempfile.TemporaryDirectory(prefix="whybert-", ignore_cleanup_errors=True)
        with ExitStack() as undone:
            undone.callback(folder.cleanup)
            own = Path(folder.name) / "rows.parquet"
            try:
                if path.suffix.lower() == own.suffix:
                    shutil.copyfile(path, own)
                else:
                    saving.save(_at_most(saving.read(path, name), limit), own)
            except InputError as error:  # there are none
                raise FileError(f"{name!r} holds no explanations") from error
            except OSError as error:
                raise FileError(f"cannot read {name!r}: {error.strerror or one_line(error)}") from error
            found = cls(own, name, folder)
            undone.callback(found.close)
            if limit is not None and found.facts().count > limit:
                raise FileError(_too_many(limit))
            undone.pop_all()
        return found

    def close(self) -> None:
        """Forget the file."""
        self._connection.close()
        self._folder.cleanup()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def facts(self) -> Facts:
        """What the file holds."""
        [[count, methods, predictions, targets, has_truth, has_confidence]] = self._asked(
            "SELECT count(*), list(DISTINCT method ORDER BY method), "
            "list(DISTINCT prediction ORDER BY prediction), list(DISTINCT target ORDER BY target), "
            "coalesce(bool_or(is_right IS NOT NULL), false), "
            "coalesce(bool_or(confidence IS NOT NULL), false) FROM texts"
        )
        if not count:
            raise FileError(f"{self._name!r} holds no explanations")
        [[hollow]] = self._asked(
            "SELECT min(row) FROM texts WHERE (text || prediction || target || method) IS NULL"
        )
        if hollow is not None:
            raise FileError(
                f"{self._name!r}, row {hollow + 1}, is no explanation: its text, prediction, target or "
                "method is missing; write the file with explanations.save"
            )
        return Facts(
            count, tuple(methods), tuple(predictions), tuple(targets), bool(has_truth), bool(has_confidence)
        )

    def count(self, wanted: Filter) -> int:
        """How many explanations there are."""
        condition, values = _condition(wanted)
        [[count]] = self._asked(f"SELECT count(*) FROM texts WHERE {condition}", values)
        return int(count)

    def texts(
        self, wanted: Filter, order: str = "as in the file", limit: int = 20, offset: int = 0
    ) -> tuple[TextRow, ...]:
        """Some of them, in order.

        Raises:
            UnknownNameError: no such order.
        """
        condition, values = _condition(wanted)
        columns = "row, text, pair, prediction, confidence, truth, is_right, target, method"
        found = self._asked(
            f"SELECT {columns} FROM texts WHERE {condition} ORDER BY {_named('order', order, TEXT_ORDERS)} "
            "LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return tuple(TextRow(*each) for each in found)

    def words(
        self, wanted: Filter, order: str = "strongest in all", limit: int = 50, least: int = 1
    ) -> tuple[WordRow, ...]:
        """The words of these texts, each once for each thing explained; `least` is in how many it must be.

        Raises:
            UnknownNameError: no such order.
        """
        condition, values = _condition(wanted)
        found = self._asked(
            "SELECT * FROM (SELECT key AS word, target, count(DISTINCT row) AS texts, avg(score) AS score, "
            f"avg(coalesce(share, 0)) AS share, bool_or(signed) AS signed FROM words WHERE {condition} "
            "AND regexp_matches(key, '[\\p{L}\\p{N}]') GROUP BY key, target) WHERE texts >= ? "
            f"ORDER BY {_named('order', order, WORD_ORDERS)}, texts DESC, word, target LIMIT ?",
            (*values, least, limit),
        )
        return tuple(WordRow(*each) for each in found)

    def explanation(self, row: int) -> Explanation:
        """The explanation of a row.

        Raises:
            FileError: it is none.
            InputError: there is no such row.
        """
        with self._reading():
            query = "SELECT * EXCLUDE file_row_number FROM file WHERE file_row_number = ?"
            read = self._connection.cursor().sql(query, params=(row,)).to_arrow_table().to_pylist()
        if not read:
            raise InputError(f"{self._name!r} has no row {row}")
        return saving.of_parquet(read[0], f"{self._name!r}, row {row + 1}")

    def _asked(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        timer = threading.Timer(_SECONDS, cursor.interrupt)
        timer.daemon = True
        timer.start()
        try:
            with self._reading():
                return cursor.execute(query, values).fetchall()
        finally:
            timer.cancel()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            raise FileError(
                f"{self._name!r} is too large to be looked through here (allowed: {_SECONDS} seconds and "
                f"{_MEMORY}): save fewer explanations at once"
            ) from error
        except duckdb.Error as error:
            raise FileError(
                f"{self._name!r} is no Parquet file of explanations: whybert explain -o why.parquet writes "
                "one, and explanations.save('why.parquet')"
            ) from error


_MEMORY: Final = "512MB"
_SECONDS: Final = 30  # of one question to a file


def _at_most(explanations: Iterable[Explanation], limit: int | None) -> Iterator[Explanation]:
    for number, each in enumerate(explanations):
        if number == limit:
            raise FileError(_too_many(number))
        yield each


def _too_many(limit: int) -> str:
    return f"expected at most {limit:,} explanations in a file: save fewer at once"


def _condition(wanted: Filter) -> tuple[str, list[object]]:
    """The condition of SQL and its values; only fixed text goes into the first."""
    conditions, values = [_named("verdict", wanted.verdict, VERDICTS)], list[object]()
    for column in ("method", "prediction", "target"):
        if value := getattr(wanted, column):
            conditions.append(f"{column} = ?")
            values.append(value)
    if (wanted.low, wanted.high) != (0.0, 1.0):
        conditions.append("confidence BETWEEN ? AND ?")
        values += [wanted.low, wanted.high]
    if word := wanted.word.strip():
        conditions.append("row IN (SELECT row FROM words WHERE key = lower(?))")
        values.append(word)
    return " AND ".join(conditions), values


def _named(kind: str, name: str, known: MappingProxyType[str, str]) -> str:
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return known[name]
