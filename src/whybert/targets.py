"""What is explained: a logit, or the difference of two, for each row of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from whybert.errors import TargetError, UnknownNameError

TargetLike: TypeAlias = "int | str | tuple[int | str, int | str] | Sequence[Any] | Tensor | None"
"""None (the predicted class), a class by index or label, `(a, b)` for logit[a] - logit[b], or a list
with one of these for each row."""


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedTarget:
    """The explained classes of a batch.

    index: (batch,), the class whose logit is explained.  against: (batch,) or None, the class whose
    logit is subtracted; where a row has none while another has, it holds -1.
    """

    index: Tensor
    against: Tensor | None = None

    def output(self, logits: Tensor) -> Tensor:
        """The explained number y of each row, (batch,)."""
        return (self.seed(logits) * logits).sum(-1)

    def seed(self, logits: Tensor) -> Tensor:
        """dy / dlogits, (batch, labels): 1 at the class, -1 at the one it is held against."""
        seed = torch.zeros_like(logits)
        seed.scatter_(1, self.index[:, None], 1.0)
        if self.against is not None:
            rows = (self.against >= 0).nonzero()[:, 0]
            seed[rows, self.against[rows]] -= 1.0
        return seed

    def as_tensor(self) -> Tensor:
        """(batch,) class indices, or (batch, 2) where a contrast is explained (-1: no second class)."""
        return self.index if self.against is None else torch.stack([self.index, self.against], 1)


def resolve(target: TargetLike, logits: Tensor, labels: Sequence[str]) -> ResolvedTarget:
    """Turn what a user may write into class indices.

    logits: (batch, labels).  labels: the model's label names in the order of the logits.

    Raises TargetError (wrong range, wrong number of rows, wrong type) and UnknownNameError (a label).
    """
    batch, count = logits.shape
    if isinstance(target, Tensor):
        target = from_tensor(target)
    if target is None or isinstance(target, str | tuple) or hasattr(target, "__index__"):
        rows: Sequence[Any] = [target] * batch
    elif isinstance(target, Sequence):
        rows = target
        if len(rows) != batch:
            raise TargetError(
                f"expected one target for each of the {batch} rows, found {len(rows)}; "
                "a contrast of two classes is a tuple (a, b)"
            )
    else:
        raise TargetError(
            "expected a target that is None, an int, a label, a tuple (a, b) or a list with one a row, "
            f"found {type(target).__name__}"
        )
    predicted = logits.argmax(-1).tolist()
    pairs = [_resolve_row(row, predicted[i], count, labels) for i, row in enumerate(rows)]
    index = torch.tensor([a for a, _ in pairs], device=logits.device)
    if all(b is None for _, b in pairs):
        return ResolvedTarget(index)
    against = [-1 if b is None else b for _, b in pairs]
    return ResolvedTarget(index, torch.tensor(against, device=logits.device))


def label_names(config: Any, count: int | None = None) -> tuple[str, ...]:
    """The label names of a model's config in the order of the logits, `LABEL_i` where one is missing.

    count: the number of logits; None trusts the config.
    """
    names = {int(index): str(name) for index, name in (getattr(config, "id2label", None) or {}).items()}
    if count is None:
        count = max(names, default=-1) + 1
    return tuple(names.get(index, f"LABEL_{index}") for index in range(count))


def from_tensor(target: Tensor) -> list[Any]:
    """The rows of a target tensor, (batch,) or (batch, 2) as in `ResolvedTarget.as_tensor`."""
    if target.dim() > 2 or target.is_floating_point():
        raise TargetError(
            "expected a target tensor of integers (batch,) or (batch, 2), "
            f"found {tuple(target.shape)} of {target.dtype}"
        )
    rows = target.reshape(1).tolist() if target.dim() == 0 else target.tolist()
    return [(row[0] if row[1:] == [-1] else tuple(row)) if isinstance(row, list) else row for row in rows]


def _resolve_row(row: Any, predicted: int, count: int, labels: Sequence[str]) -> tuple[int, int | None]:
    if row is None:
        return predicted, None
    if isinstance(row, tuple):
        if len(row) != 2:
            raise TargetError(f"expected a contrast of two classes (a, b), found {row!r}")
        first, second = (_resolve_class(name, count, labels) for name in row)
        if first == second:
            raise TargetError(f"expected two different classes to contrast, found {row!r}")
        return first, second
    return _resolve_class(row, count, labels), None


def _resolve_class(name: Any, count: int, labels: Sequence[str]) -> int:
    if isinstance(name, str):
        if name in labels:
            return list(labels).index(name)
        folded = [label.casefold() for label in labels]
        if folded.count(name.casefold()) == 1:
            return folded.index(name.casefold())
        raise UnknownNameError("label", name, labels)
    if isinstance(name, bool) or not hasattr(name, "__index__"):
        raise TargetError(f"expected a class as an int or a label, found {name!r}")
    index = int(name.__index__())
    if not 0 <= index < count:
        raise TargetError(f"expected a class from 0 to {count - 1}, found {index}")
    return index
