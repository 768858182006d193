"""What is learnt: the labels of a data set as a model's targets, their weights, the loss and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from whybert.datasets.base import MULTI, REGRESSION
from whybert.datasets.tabular import number
from whybert.errors import InputError, UnknownNameError, UsageError, quoted
from whybert.scoring import MultiLabelReport, report

if TYPE_CHECKING:
    from whybert.datasets import TextDataset

F1_OF: Final = "f1 of "  # the scores of single labels are called so
_LEFT_OUT: Final = -100  # labels that the Trainer does not count


def check_labels(data: TextDataset, *scored: str) -> None:
    """See that there is something to tell apart, and that nothing is asked for that no training row has."""
    columns = {name: data.split(name)["label"][:] for name in ("train", *scored)}
    if data.problem_type == REGRESSION:
        found = set(map(str, columns["train"]))
        if any(_LEFT_OUT in column for column in columns.values()):
            raise InputError(f"{data.name} has the label {_LEFT_OUT}, transformers' sign for none; shift all")
    else:
        rows = {name: [_indices(row) for row in column] for name, column in columns.items()}
        found = {"+".join(data.labels[index] for index in row) or "no label" for row in rows["train"]}
        occurring = {name: {index for row in rows[name] for index in row} for name in rows}
        for name in scored:
            if lacking := sorted(occurring[name] - occurring["train"]):
                raise InputError(
                    f"no training row of {data.name} has {', '.join(data.labels[i] for i in lacking[:20])} "
                    f"of its {name} split; add such rows, leave these labels out, or raise train_limit"
                )
    if len(found) < 2:
        what = "two different numbers" if data.problem_type == REGRESSION else "at least two labels"
        raise InputError(
            f"expected training rows of {what}, found only {', '.join(found)} in {data.name}; "
            "there is nothing to tell apart"
        )


def _indices(label: int | Sequence[int]) -> tuple[int, ...]:
    return (label,) if isinstance(label, int) else tuple(label)


def class_weights(asked: str | None, data: TextDataset) -> list[float] | None:
    """How much a label counts in the loss: of a text that has it, or where a text has several, if it has it.

    Args:
        asked: None or "none"; "balanced", by which a label counts the more the rarer it is in training;
            "A=2,B=1", where labels that are not named count 1.
        data: what is learnt.

    Raises:
        UnknownNameError: a label that the data have not.
        UsageError: something else is asked for, or for a regression.
    """
    if asked in (None, "none"):
        return None
    if data.problem_type == REGRESSION:
        raise UsageError(
            f"class_weights are for labels, and {data.name} is learnt as numbers; leave them out"
        )
    weights = dict.fromkeys(data.labels, 1.0)
    if asked != "balanced":
        for entry in str(asked).split(","):
            label, _, value = (part.strip() for part in entry.rpartition("="))
            if (weight := number(value)) is None or weight <= 0:
                raise UsageError(
                    f"expected class_weights to be balanced, none or A=2,B=1, found {quoted(asked)}"
                )
            if label not in weights:
                raise UnknownNameError("label in class_weights", label, data.labels)
            weights[label] = weight
        return list(weights.values())
    from sklearn.utils.class_weight import compute_class_weight

    column = data.split("train")["label"][:]
    if data.problem_type == MULTI:
        for index, label in enumerate(data.labels):
            has = [index in row for row in column]
            if 0 < sum(has) < len(has):
                without, with_it = compute_class_weight("balanced", classes=np.array([False, True]), y=has)
                weights[label] = float(with_it / without)
    else:
        present = np.unique(column)
        balanced = compute_class_weight("balanced", classes=present, y=column)
        weights |= {
            data.labels[index]: float(weight) for index, weight in zip(present, balanced, strict=True)
        }
    return list(weights.values())


def targets(data: TextDataset, labels: Sequence[Any]) -> list[Any]:
    """The cells of a label column as the loss takes them: indices, numbers, or 0 or 1 for each label."""
    if data.problem_type != MULTI:
        return list(labels)
    return [[float(index in row) for index in range(len(data.labels))] for row in labels]


def loss(
    problem_type: str,
    weights: Sequence[float] | None,
    outputs: Any,
    labels: torch.Tensor,
    num_items_in_batch: Any = None,
) -> torch.Tensor:
    """The mean loss of an optimiser step's labels: cross entropy, binary cross entropy or squared error.

    Args:
        problem_type: which of them.
        weights: a factor for each label, None for 1: of a text's loss that of its label; where a text may
            have several, of the loss of those that it has.  The mean is over texts, whatever their weights.
        outputs: of the model, with `logits` (texts, labels).
        labels: (texts,) or, of several, (texts, labels).
        num_items_in_batch: how many labels these are, over all parts of the batch.  The mean of the parts'
            means is another number where the last part is smaller.
    """
    logits = outputs.logits.float()
    factors = None if weights is None else logits.new_tensor(weights)
    if problem_type == REGRESSION:
        losses = torch.nn.functional.mse_loss(logits[:, 0], labels.float(), reduction="sum")
    elif problem_type == MULTI:
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, labels.float(), reduction="sum", pos_weight=factors
        )
    else:
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="sum", weight=factors)
    return losses / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


def scores(data: TextDataset, prediction: Any) -> dict[str, float]:
    """What the Trainer is told of its predictions; of several labels the F1 of each too."""
    true = prediction.label_ids.tolist()
    if data.problem_type == MULTI:
        true = [[index for index, has in enumerate(row) if has] for row in true]
    found = report(data.problem_type, data.labels, true, prediction.predictions.tolist())
    each = found.scores if isinstance(found, MultiLabelReport) else ()
    return {**found.measures, **{f"{F1_OF}{score.label}": score.f1 for score in each}}
