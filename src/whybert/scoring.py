"""How well a model does on labelled texts: one report for each problem type.

Of classes accuracy, F1 of each label and which labels it confuses; of several labels a text F1 and the texts
that got all of theirs right; of numbers how far off they are and whether their order is right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from whybert.datasets.base import MULTI, REGRESSION, SINGLE
from whybert.errors import InputError, require

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

MEASURES: Final[Mapping[str, str]] = {
    "accuracy": "accuracy",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "exact_match": "exact match",
    "mse": "MSE",
    "mae": "MAE",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
"""What people call the scores of the reports."""
BEST: Final[Mapping[str, str]] = {SINGLE: "macro_f1", MULTI: "macro_f1", REGRESSION: "mse"}
"""For each problem type the score that tells the better of two models."""
LEAST_IS_BEST: Final = frozenset({"mse", "mae"})

_LARGEST_MATRIX = 12  # labels whose confusions still fit on a screen


@dataclass(frozen=True, slots=True)
class LabelScores:
    """The scores of one label; precision, recall and F1 are 0 where they would be a division by 0."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """The number of texts that have the label."""


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of a classifier on a number of texts.

    Fields:
        accuracy: the share of texts that got their label.
        macro_f1: the mean of the F1 of those labels that occur, in the texts or in the predictions.
        scores: those of each label, in the order of their indices.
        confusion: the number of texts for each label (rows) and each prediction (columns).
    """

    accuracy: float
    macro_f1: float
    scores: tuple[LabelScores, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels in the order of their indices."""
        return tuple(score.label for score in self.scores)

    @property
    def count(self) -> int:
        """The number of texts."""
        return sum(score.support for score in self.scores)

    @property
    def measures(self) -> dict[str, float]:
        """The scores of the whole by their names in `MEASURES`."""
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1}

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        labels = [asdict(score) for score in self.scores]
        confusion = [list(row) for row in self.confusion]
        return {"count": self.count, **self.measures, "labels": labels, "confusion": confusion}

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        from whybert.render.tables import NumberTable

        parts = [_head(self.measures, self.count), Text(), _table(self.scores)]
        if len(self.labels) <= _LARGEST_MATRIX:
            counts = [(name, [*map(str, row)]) for name, row in zip(self.labels, self.confusion, strict=True)]
            parts += [Text(), NumberTable("label \\ predicted", self.labels, counts)]
        return Group(*parts)


@dataclass(frozen=True, slots=True)
class MultiLabelReport:
    """The scores of a model that gives each text any number of labels.

    Fields:
        micro_f1: F1 over all pairs of a text and a label.
        macro_f1: the mean of the F1 of those labels that occur, in the texts or in the predictions.
        exact_match: the share of texts that got all their labels and no other.
        scores: those of each label, in the order of their indices.
        count: the number of texts.
    """

    micro_f1: float
    macro_f1: float
    exact_match: float
    scores: tuple[LabelScores, ...]
    count: int

    @property
    def measures(self) -> dict[str, float]:
        """The scores of the whole by their names in `MEASURES`."""
        return {"micro_f1": self.micro_f1, "macro_f1": self.macro_f1, "exact_match": self.exact_match}

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        return {"count": self.count, **self.measures, "labels": [asdict(score) for score in self.scores]}

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        return Group(_head(self.measures, self.count), Text(), _table(self.scores))


@dataclass(frozen=True, slots=True)
class RegressionReport:
    """The scores of a model that answers a number.

    Fields:
        mse, mae: the mean squared and the mean absolute error.
        pearson, spearman: the correlation of answers and truth, and of their ranks; NaN where all answers or
            all true numbers are the same.
        count: the number of texts.
    """

    mse: float
    mae: float
    pearson: float
    spearman: float
    count: int

    @property
    def measures(self) -> dict[str, float]:
        """Those that are defined, by their names in `MEASURES`."""
        return {name: value for name in MEASURES if not math.isnan(value := getattr(self, name, math.nan))}

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold; None for what is not defined."""
        names = ("mse", "mae", "pearson", "spearman")
        return {"count": self.count, **{name: self.measures.get(name) for name in names}}

    def __rich__(self) -> RenderableType:
        return _head(self.measures, self.count)


def _head(measures: Mapping[str, float], count: int) -> RenderableType:
    from rich.text import Text

    named = [f"{MEASURES[name]} {value:.4f}" for name, value in measures.items()]
    return Text(" · ".join([*named, f"{count} texts"]))


def _table(scores: Sequence[LabelScores]) -> RenderableType:
    from whybert.render.tables import NumberTable

    rows = [
        (
            each.label,
            [*(f"{share:.4f}" for share in (each.precision, each.recall, each.f1)), str(each.support)],
        )
        for each in scores
    ]
    return NumberTable("label", ("precision", "recall", "F1", "texts"), rows)


def report(
    problem_type: str, labels: Sequence[str], true: Sequence[Any], logits: Sequence[Sequence[float]]
) -> Report | MultiLabelReport | RegressionReport:
    """Compare what a model says with the truth, as its problem type has it.

    Args:
        problem_type: of the model.
        labels: its labels.
        true: for each text the index of its label, the list of them, or its number.
        logits: for each text a logit for each label; the number, for a regression.

    Raises:
        InputError, MissingExtraError: as the reports raise them.
    """
    if problem_type == REGRESSION:
        return regression_report(true, [float(row[0]) for row in logits])
    if problem_type == MULTI:
        chosen = [[index for index, logit in enumerate(row) if logit > 0] for row in logits]
        return multi_label_report(labels, true, chosen)
    return classification_report(labels, true, [max(range(len(row)), key=row.__getitem__) for row in logits])


def multi_label_report(
    labels: Sequence[str], true: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]
) -> MultiLabelReport:
    """Compare the labels that each text got with those that it has; both are indices into `labels`.

    Raises:
        InputError: there are no texts, their numbers differ, or an index has no label.
        MissingExtraError: scikit-learn is not installed.
    """
    _check_counts(true, predicted)
    for name, column in (("true", true), ("predicted", predicted)):
        for row, indices in enumerate(column):
            for index in indices:
                _check_index(f"{name}[{row}]", index, labels)
    metrics = require("sklearn.metrics", "a report", "train")
    known = range(len(labels))
    both = [[[int(index in row) for index in known] for row in column] for column in (true, predicted)]
    scores = _of_labels(labels, metrics.precision_recall_fscore_support(*both, zero_division=0))
    occurring = (index for column in (true, predicted) for row in column for index in row)
    return MultiLabelReport(
        micro_f1=float(metrics.f1_score(*both, average="micro", zero_division=0)),
        macro_f1=_macro_f1(scores, occurring),
        exact_match=sum(one == other for one, other in zip(*both, strict=True)) / len(true),
        scores=scores,
        count=len(true),
    )


def _of_labels(labels: Sequence[str], found: Any) -> tuple[LabelScores, ...]:
    """The scores of each label as scikit-learn gives them: all precisions, all recalls and so on."""
    rows = zip(labels, *(column.tolist() for column in found), strict=True)
    return tuple(LabelScores(*row) for row in rows)


def _macro_f1(scores: Sequence[LabelScores], occurring: Iterable[int]) -> float:
    known = sorted(set(occurring))
    return sum(scores[index].f1 for index in known) / max(1, len(known))


def regression_report(true: Sequence[float], predicted: Sequence[float]) -> RegressionReport:
    """Compare numbers with the true ones.

    Raises:
        InputError: there are none, their numbers differ, or one is not finite.
        MissingExtraError: scikit-learn is not installed.
    """
    _check_counts(true, predicted)
    for name, column in (("true", true), ("predicted", predicted)):
        for row, value in enumerate(column):
            if not math.isfinite(value):
                raise InputError(f"{name}[{row}] is {value}; expected a finite number")
    metrics = require("sklearn.metrics", "a report", "train")
    stats = require("scipy.stats", "a report", "train")
    vary = all(len(set(map(float, column))) > 1 for column in (true, predicted))
    return RegressionReport(
        mse=float(metrics.mean_squared_error(true, predicted)),
        mae=float(metrics.mean_absolute_error(true, predicted)),
        pearson=float(stats.pearsonr(true, predicted).statistic) if vary else math.nan,
        spearman=float(stats.spearmanr(true, predicted).statistic) if vary else math.nan,
        count=len(true),
    )


def _check_counts(true: Sequence[Any], predicted: Sequence[Any]) -> None:
    if len(true) != len(predicted):
        raise InputError(
            f"expected a prediction for each text, found {len(predicted)} predictions for {len(true)} texts"
        )
    if not len(true):
        raise InputError("expected at least one text to report on, found none")


def _check_index(place: str, index: int, labels: Sequence[str]) -> None:
    if not 0 <= index < len(labels):
        raise InputError(
            f"{place} is {index}; expected an index of one of the {len(labels)} labels, "
            f"0 to {len(labels) - 1}"
        )


def classification_report(labels: Sequence[str], true: Sequence[int], predicted: Sequence[int]) -> Report:
    """Compare predictions with the truth; both are indices into `labels`.

    Raises:
        InputError: there are none, their numbers differ, or an index has no label.
        MissingExtraError: scikit-learn is not installed.
    """
    columns = {"true": [int(index) for index in true], "predicted": [int(index) for index in predicted]}
    _check_counts(columns["true"], columns["predicted"])
    for name, indices in columns.items():
        for row, index in enumerate(indices):
            _check_index(f"{name}[{row}]", index, labels)
    metrics = require("sklearn.metrics", "a classification report", "train")
    known = list(range(len(labels)))
    both = (columns["true"], columns["predicted"])
    found = metrics.precision_recall_fscore_support(*both, labels=known, zero_division=0)
    scores = _of_labels(labels, found)
    pairs = Counter(zip(*both, strict=True))
    return Report(
        accuracy=float(metrics.accuracy_score(*both)),
        macro_f1=_macro_f1(scores, (*both[0], *both[1])),
        scores=scores,
        confusion=tuple(tuple(pairs[row, column] for column in known) for row in known),
    )
