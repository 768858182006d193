"""What the labels of a data set are to a model: one of several, any number of several, or a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from whybert.datasets.base import (
    MULTI,
    PROBLEMS,
    REGRESSION,
    SINGLE,
    DatasetError,
    TextDataset,
    hugging_face,
)
from whybert.datasets.tabular import have_fractions, number
from whybert.errors import UnknownNameError, UsageError, quoted

SEPARATORS: Final = ("|", ";", ",")
"""What may stand between the labels of a cell; that which does, where none is given."""


def told(data: TextDataset) -> tuple[str, str]:
    """The problem type that the labels look like, and a line on it where they could be read otherwise."""
    if data.problem_type != SINGLE:
        return data.problem_type, f"a row of {data.name} may have several labels: {MULTI}"
    shown = ", ".join(data.labels[:5]) + ", ..." * (len(data.labels) > 5)
    if data.labels_are_ordered:
        return SINGLE, ""
    if None in map(number, data.labels):
        return SINGLE, _meant_otherwise(data, shown)
    if have_fractions(data.labels):
        return REGRESSION, (
            f"the labels of {data.name} are numbers with fractions ({shown}): {REGRESSION}; for classes with "
            f"such names give --problem-type {SINGLE}"
        )
    if len(data.labels) < 3:
        return SINGLE, ""
    return SINGLE, (
        f"the labels of {data.name} are whole numbers ({shown}), each a class without an order: {SINGLE}; "
        f"to learn them as numbers give --problem-type {REGRESSION}"
    )


def _meant_otherwise(data: TextDataset, shown: str) -> str:
    """A line where words look like numbers or like several labels, each of them being a class."""
    if None not in (number(label.replace(",", ".", 1)) for label in data.labels):
        return (
            f"the labels of {data.name} ({shown}) are taken as names of classes: {SINGLE}; to learn them as "
            "numbers write their decimals with a point"
        )
    for each in SEPARATORS:
        parts = {part.strip() for label in data.labels if each in label for part in label.split(each)}
        if parts & set(data.labels):
            return (
                f"the labels of {data.name} ({shown}) are taken as they are, each a class: {SINGLE}; if "
                f"{each!r} stands between several labels of a row, give --problem-type {MULTI}"
            )
    return ""


def read_as(
    data: TextDataset, problem_type: str, *, separator: str | None = None, name: str = "score"
) -> TextDataset:
    """The same rows with their labels as a problem type has them.

    Args:
        data: as `load` gives it.
        problem_type: one of `PROBLEMS`.
        separator: stands between the labels of a cell, for several labels a row in one word; None takes the
            one of `SEPARATORS` that occurs.
        name: of the number of a regression.

    Raises:
        UnknownNameError: there is no such problem type.
        DatasetError: a label is none of that kind; it names split and row.
        UsageError: labels were read otherwise already, or no separator can be told.
    """
    if problem_type not in PROBLEMS:
        raise UnknownNameError("problem type", problem_type, PROBLEMS)
    if problem_type == data.problem_type:
        return data
    if data.problem_type != SINGLE:
        raise UsageError(
            f"a row of {data.name} may have several labels, which is {data.problem_type} and not "
            f"{problem_type}; take a model, or a problem type, of that kind"
        )
    library = hugging_face()
    if problem_type == REGRESSION:
        values = [number(label) for label in data.labels]
        if None not in values:
            return _relabelled(data, (name,), REGRESSION, library.Value("float64"), values.__getitem__)
        wrong = values.index(None)
        way = "decimals are written with a point" if "," in data.labels[wrong] else "leave the row out"
        raise DatasetError(
            f"{_first_row(data, wrong)}: expected a finite number as the label, found "
            f"{quoted(data.labels[wrong])}; {way}"
        )
    between = _separator(data, separator)
    parts = [
        tuple(part.strip() for part in label.split(between)) if between else (label,) for label in data.labels
    ]
    for index, names in enumerate(parts):
        if "" in names:
            raise DatasetError(
                f"{_first_row(data, index)}: expected a label on each side of {between!r}, found "
                f"{quoted(data.labels[index])}"
            )
    labels = tuple(sorted({part for names in parts for part in names}))
    several = [sorted({labels.index(part) for part in names}) for names in parts]
    feature = library.List(library.ClassLabel(names=list(labels)))
    return _relabelled(data, labels, MULTI, feature, several.__getitem__)


def _relabelled(
    data: TextDataset, labels: Sequence[str], problem_type: str, feature: Any, label_of: Callable[[int], Any]
) -> TextDataset:
    splits = {}
    for name, split in data.splits.items():
        splits[name] = split
        if "label" in split.column_names:
            column = [label_of(index) for index in split["label"][:]]
            splits[name] = split.remove_columns("label").add_column("label", column, feature=feature)
    return replace(data, labels=tuple(labels), splits=splits, problem_type=problem_type)


def _first_row(data: TextDataset, label: int) -> str:
    """The place of the first row with that label."""
    for name, split in data.splits.items():
        found = split["label"][:] if "label" in split.column_names else []
        if label in found:
            return f"{data.name}, row {list(found).index(label) + 1} of {name}"
    return data.name


def _separator(data: TextDataset, given: str | None) -> str | None:
    if given is not None:
        return given
    found = [each for each in SEPARATORS if any(each in label for label in data.labels)]
    if len(found) > 1:
        raise UsageError(
            f"the labels of {data.name} hold {' and '.join(map(repr, found))}; say which one stands between "
            "labels (finetune --label-separator), or write each cell as a JSON list"
        )
    return found[0] if found else None
