"""How well a classifier does on labelled texts: accuracy, F1 of each label, and which labels it confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from whybert.errors import InputError, require

if TYPE_CHECKING:
    from rich.console import Group

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

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        return {
            "count": self.count,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "labels": [asdict(score) for score in self.scores],
            "confusion": [list(row) for row in self.confusion],
        }

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        from whybert.render.tables import NumberTable

        head = Text(f"accuracy {self.accuracy:.4f} · macro F1 {self.macro_f1:.4f} · {self.count} texts\n")
        rows = []
        for score in self.scores:
            shares = [f"{share:.4f}" for share in (score.precision, score.recall, score.f1)]
            rows.append((score.label, [*shares, str(score.support)]))
        table = NumberTable("label", ("precision", "recall", "F1", "texts"), rows)
        if len(self.labels) > _LARGEST_MATRIX:
            return Group(head, table)
        counts = [(name, [*map(str, row)]) for name, row in zip(self.labels, self.confusion, strict=True)]
        return Group(head, table, Text(), NumberTable("label \\ predicted", self.labels, counts))


def classification_report(labels: Sequence[str], true: Sequence[int], predicted: Sequence[int]) -> Report:
    """Compare predictions with the truth; both are indices into `labels`.

    Raises:
        InputError: there are none, their numbers differ, or an index has no label.
        MissingExtraError: scikit-learn is not installed.
    """
    columns = {"true": [int(index) for index in true], "predicted": [int(index) for index in predicted]}
    if len(columns["true"]) != len(columns["predicted"]):
        raise InputError(
            f"expected a prediction for each text, found {len(columns['predicted'])} predictions "
            f"for {len(columns['true'])} texts"
        )
    if not columns["true"]:
        raise InputError("expected at least one text to report on, found none")
    for name, indices in columns.items():
        for row, index in enumerate(indices):
            if not 0 <= index < len(labels):
                raise InputError(
                    f"{name}[{row}] is {index}; expected an index of one of the {len(labels)} labels, "
                    f"0 to {len(labels) - 1}"
                )
    metrics = require("sklearn.metrics", "a classification report", "train")
    known = list(range(len(labels)))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        columns["true"], columns["predicted"], labels=known, zero_division=0
    )
    pairs = Counter(zip(columns["true"], columns["predicted"], strict=True))
    occurring = sorted({*columns["true"], *columns["predicted"]})
    return Report(
        accuracy=float(metrics.accuracy_score(columns["true"], columns["predicted"])),
        macro_f1=float(sum(f1[index] for index in occurring) / len(occurring)),
        scores=tuple(
            LabelScores(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(labels)
        ),
        confusion=tuple(tuple(pairs[row, column] for column in known) for row in known),
    )
