"""What is explained: a number that the logits say, of one class or the difference of two, for each row."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from whybert.errors import InputError, TargetError, UnknownNameError, quoted

TargetLike: TypeAlias = "int | str | tuple[int | str, int | str] | Sequence[Any] | Set[Any] | Tensor | None"
"""None (the predicted class), a class by index or label, `(a, b)` for the difference of two, or a list with
one of these for each row; or several of each row: a set of classes and differences, or "all" for each class,
unless a label has that name."""

Link: TypeAlias = Literal["softmax", "sigmoid", "identity"]
"""How logits become probabilities: all together, each by itself, or not at all (a regression)."""

ALL: Final = "all"


@dataclass(frozen=True)
class Quantity:
    """A number that logits say of a class.

    value: (logits (rows, labels), class of each row (rows,), link) -> (rows,), differentiable.
    linear: whether it is the product of its derivative and the logits, as a difference of logits is: what
        LRP hands down to the tokens and biases then sums to it.
    contrasts: whether the difference of two classes' says something that neither says.
    links: of the models that have it.
    """

    name: str
    summary: str
    value: Callable[[Tensor, Tensor, Link], Tensor]
    linear: bool = False
    contrasts: bool = True
    links: tuple[Link, ...] = ("softmax", "sigmoid")


def _logit(logits: Tensor, index: Tensor, link: Link) -> Tensor:
    return logits.gather(1, index[:, None])[:, 0]


def _others(logits: Tensor, index: Tensor) -> Tensor:
    return logits.scatter(1, index[:, None], -torch.inf)


def _margin(logits: Tensor, index: Tensor, link: Link) -> Tensor:
    return _logit(logits, index, link) - _others(logits, index).amax(1)


def _log_probability(logits: Tensor, index: Tensor, link: Link) -> Tensor:
    """By the log of the odds, so that the derivative 1 - p keeps its digits where p is all but 1."""
    odds = _logit(logits, index, link)
    return logsigmoid(odds if link == "sigmoid" else odds - _others(logits, index).logsumexp(1))


def _probability(logits: Tensor, index: Tensor, link: Link) -> Tensor:
    return _log_probability(logits, index, link).exp()


def _entropy(logits: Tensor, index: Tensor, link: Link) -> Tensor:
    """In nats; of labels that do not exclude each other the sum of each one's own."""
    if link == "softmax":
        parts = logits.log_softmax(1)
        return -(parts.exp() * parts).sum(1)
    return -torch.stack([each.sigmoid() * logsigmoid(each) for each in (logits, -logits)]).sum((0, 2))


QUANTITIES: Final[Mapping[str, Quantity]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Quantity(
                "logit",
                "the logit of the class, or the difference of two",
                _logit,
                linear=True,
                links=("softmax", "sigmoid", "identity"),
            ),
            Quantity("probability", "the probability of the class", _probability),
            Quantity("log_probability", "its logarithm, which does not level off near 0", _log_probability),
            Quantity(
                "margin",
                "the logit of the class less the largest other logit",
                _margin,
                linear=True,
                contrasts=False,
                links=("softmax",),
            ),
            Quantity("entropy", "how uncertain the model is, whatever the class", _entropy, contrasts=False),
        )
    }
)
"""What can be explained of a target, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedTarget:
    """The explained classes of a batch, and what of them is explained.

    index: (batch,), the class.  against: (batch,) or None, the class whose number is subtracted; where a row
    has none while another has, it holds -1.  quantity: an entry of `QUANTITIES`.  link: of the model.
    weights: (batch, labels) where no class is explained, but the sum of all logits, each times its weight.
    """

    index: Tensor
    against: Tensor | None = None
    quantity: str = "logit"
    link: Link = "softmax"
    weights: Tensor | None = None

    @property
    def is_linear(self) -> bool:
        """Whether y = dy/dlogits . logits, see `Quantity`."""
        return QUANTITIES[self.quantity].linear

    def output(self, logits: Tensor) -> Tensor:
        """The explained number y of each row, (batch,), differentiable.

        In the type of the logits, or float32 at least where it is not linear, as `seed`: numbers near 0, such
        as 1 - p, are lost in half precision.
        """
        return self._value(_wide(logits)).to(self._precision(logits))

    def seed(self, logits: Tensor) -> Tensor:
        """dy / dlogits at these logits, (batch, labels): of a logit 1 at the class, -1 at the other one's."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = _wide(logits.detach()).clone().requires_grad_()
            torch.autograd.backward(self._value(leaf).sum())
        assert leaf.grad is not None
        return leaf.grad.to(self._precision(logits))

    def _precision(self, logits: Tensor) -> torch.dtype:
        return logits.dtype if self.is_linear else torch.promote_types(logits.dtype, torch.float32)

    def _value(self, logits: Tensor) -> Tensor:
        if self.weights is not None:
            return (logits * self.weights.to(logits)).sum(1)
        value = QUANTITIES[self.quantity].value
        found = value(logits, self.index, self.link)
        if self.against is None:
            return found
        other = value(logits, self.against.clamp_min(0), self.link)
        return found - torch.where(self.against >= 0, other, 0.0)

    def repeat(self, times: int) -> ResolvedTarget:
        """The target of `times` copies of the batch, one behind the other."""
        return self.select(torch.arange(len(self.index), device=self.index.device).repeat(times))

    def select(self, rows: Tensor) -> ResolvedTarget:
        """The target of these rows (rows,), as often as each is named."""
        rows = rows.to(self.index.device)
        against = None if self.against is None else self.against[rows]
        weights = None if self.weights is None else self.weights[rows.to(self.weights.device)]
        return replace(self, index=self.index[rows], against=against, weights=weights)

    def as_tensor(self) -> Tensor:
        """(batch,) class indices, or (batch, 2) where a contrast is explained (-1: no second class)."""
        return self.index if self.against is None else torch.stack([self.index, self.against], 1)


def _wide(logits: Tensor) -> Tensor:
    """In float64, where the device has it: 1 - p has few digits in float32."""
    return logits.float() if logits.device.type == "mps" else logits.double()


def is_all(target: TargetLike, labels: Sequence[str]) -> bool:
    """Whether each class is meant, in turn: "all" is, where it is not the name of a label."""
    return isinstance(target, str) and target.casefold() == ALL and ALL not in map(str.casefold, labels)


def several(target: TargetLike, labels: Sequence[str]) -> list[int | tuple[int, int]] | None:
    """The classes and differences of each row where one target means several, in the order of the labels.

    Raises:
        TargetError: it is a set of none, or of what is no class.
        UnknownNameError: there is no such label.
    """
    if is_all(target, labels):
        return list(range(len(labels)))
    if not isinstance(target, Set):
        return None
    if not target or any(each is None or is_all(each, labels) for each in target):
        raise TargetError(
            f"expected a set of classes, which are each explained, found {quoted(target)}; name them, or say "
            "'all'"
        )
    found = {_resolve_row(each, 0, len(labels), labels) for each in target}
    ordered = sorted(found, key=lambda each: (each[0], -1 if each[1] is None else each[1]))
    return [first if second is None else (first, second) for first, second in ordered]


def resolve_each(
    target: TargetLike | ResolvedTarget,
    logits: Tensor,
    labels: Sequence[str],
    quantity: str = "logit",
    link: Link = "softmax",
) -> list[ResolvedTarget]:
    """`resolve`, and one target for each of `several`; what is resolved already stays so."""
    if isinstance(target, ResolvedTarget):
        return [target]
    classes = several(target, labels)
    if classes is None:
        return [resolve(target, logits, labels, quantity, link)]
    check_quantity(quantity, target, labels, link)
    found = [resolve(each, logits, labels, quantity, link) for each in classes]
    none = torch.full_like(found[0].index, -1)
    if all(each.against is None for each in found):
        return found
    return [replace(each, against=none) if each.against is None else each for each in found]


def check_quantity(quantity: str, target: TargetLike, labels: Sequence[str], link: Link) -> None:
    """See that a model with this link has the quantity, and a target of all rows, or of one, too.

    Raises:
        UnknownNameError: there is no such quantity.
        TargetError: the model does not have it, or it is of no class, or of no two.
    """
    if not isinstance(quantity, str) or quantity not in QUANTITIES:
        raise UnknownNameError("quantity", quantity, QUANTITIES)
    found = QUANTITIES[quantity]
    if link not in found.links:
        reason = "labels do not exclude one another" if link == "sigmoid" else "answers are numbers"
        raise TargetError(f"the model has no {quantity}: its {reason}; use quantity='logit'")
    is_contrast = [isinstance(each, tuple) for each in (target if isinstance(target, Set) else (target,))]
    if not found.contrasts and any(is_contrast):
        raise TargetError(f"a contrast of two classes has no {quantity}; use quantity='logit', or one class")
    if quantity == "entropy" and (is_all(target, labels) or isinstance(target, Set)):
        raise TargetError(
            f"the entropy is one number of all classes together; leave target={quoted(target)} out"
        )


def resolve(
    target: TargetLike, logits: Tensor, labels: Sequence[str], quantity: str = "logit", link: Link = "softmax"
) -> ResolvedTarget:
    """Turn what a user may write into class indices.

    Args:
        target: as `TargetLike`, but for "all".
        logits: (batch, labels).
        labels: the model's label names in the order of the logits.
        quantity: an entry of `QUANTITIES`.
        link: of the model.

    Raises:
        TargetError: it is out of range, of another number of rows or type, or a name of several labels, or
            has no such quantity.
        UnknownNameError: there is no such label, or quantity.
    """
    batch, count = logits.shape
    listed = per_row(target, batch, "rows")
    rows = [target] * batch if listed is None else listed
    for row in (target, *rows):
        check_quantity(quantity, row, labels, link)
    predicted = logits.argmax(-1).tolist()
    pairs = [_resolve_row(row, predicted[i], count, labels) for i, row in enumerate(rows)]
    index = torch.tensor([a for a, _ in pairs], device=logits.device)
    if all(b is None for _, b in pairs):
        return ResolvedTarget(index, None, quantity, link)
    against = [-1 if b is None else b for _, b in pairs]
    return ResolvedTarget(index, torch.tensor(against, device=logits.device), quantity, link)


def label_names(config: Any, count: int | None = None) -> tuple[str, ...]:
    """The label names of a model's config in the order of the logits, `LABEL_i` where one is missing.

    Names with the numbers 1 to `count` were counted from 1, and are those of the logits 0 to `count` - 1.

    Args:
        config: with or without an `id2label`.
        count: the number of logits; None trusts the config.
    """
    given = getattr(config, "id2label", None) or {}
    names = {
        int(index): str(name)
        for index, name in (given.items() if isinstance(given, Mapping) else enumerate(given))
        if str(index).isdecimal()
    }
    if count is None:
        count = max(names, default=-1) + 1
    if sorted(names) == list(range(1, count + 1)):
        names = {index - 1: name for index, name in names.items()}
    return tuple(names.get(index, f"LABEL_{index}") for index in range(count))


_INDEX: Final = re.compile(r"(?:LABEL_)?(0|[1-9][0-9]{0,8})")  # the name that is only the label's index


def match_labels(
    model: Sequence[str],
    data: Sequence[str],
    name: str,
    label_map: Mapping[str, str | int] | None = None,
    *,
    ordered: bool = False,
) -> tuple[tuple[int, ...], str]:
    """Which label of a data set is which of a model's: by `label_map`, by name, or by names that are indices.

    Names are compared as they are, then whatever their case.  Names that are indices are "0", "1" ... and
    "LABEL_0" ...: those of the data are looked up by index only where they begin with 0, and where the model
    has no other names, a data set is that says in which order its labels are.  Nothing is told by order else.

    Args:
        model: the model's labels, in the order of its logits.
        data: those of the data set.
        name: of the data set, for messages.
        label_map: for labels of the data the model's label or its index.
        ordered: whether the order of `data` is the data set's own, rather than sorted.

    Returns:
        For each label of the data the index of the model's, and a line about labels matched by index, empty
        where there are none.

    Raises:
        InputError: a label of the data is none of the model's.
        UnknownNameError: `label_map` has a label that the data or the model have not.
    """
    mapping = dict(label_map or {})
    for label, target in mapping.items():
        if label not in data:
            raise UnknownNameError(f"label of {name} to map", label, data)
        if _named_or_index(target, model) is None:
            raise UnknownNameError(f"label of the model to map {label!r} to", target, model)
    found = [
        _named_or_index(mapping[label], model) if label in mapping else named_label(label, model)
        for label in data
    ]
    message = ""
    if None in found and not mapping:
        indices = [_index_of(label, len(model)) for label in data]
        if ordered and [_index_of(label, len(model)) for label in model] == list(range(len(data))):
            indices = list(range(len(data)))
        if 0 in indices and None not in indices:  # counted from 1, or a part of them: who knows
            found = indices
            pairs = ", ".join(
                f"{there} is {model[index]}"
                for there, index in zip(data, found, strict=True)
                if index is not None
            )
            message = f"the labels of {name} and of the model are matched by index: {pairs}"
    table = tuple(index for index in found if index is not None)
    if len(table) == len(found):
        return table, message
    lacking = [label for label, index in zip(data, found, strict=True) if index is None]
    option = ",".join(f"{label}=..." for label in lacking[:20])
    raise InputError(
        f"the labels of {name} ({_listed(data)}) are not those of the model ({_listed(model)}); say which of "
        f"the model's each is: --label-map {shlex.quote(option)} (in Python and YAML: "
        f"label_map={{{lacking[0]!r}: ...}}), or leave their rows out"
    )


def named_label(label: str | int, labels: Sequence[str]) -> int | None:
    """The index of the one label of that name, whatever its case where there is none as it is spelled."""
    if isinstance(label, str):
        for fold in (str, str.casefold):
            folded = [fold(each) for each in labels]
            if folded.count(fold(label)) == 1:
                return folded.index(fold(label))
    return None


def _named_or_index(label: str | int, labels: Sequence[str]) -> int | None:
    found = named_label(label, labels)
    return _index_of(label, len(labels)) if found is None else found


def _index_of(label: str | int, count: int) -> int | None:
    """The index that a name says, None for another name and for an index of `count` and above."""
    match = _INDEX.fullmatch(str(label))
    return int(match[1]) if match and int(match[1]) < count else None


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:20]) + ", ..." * (len(labels) > 20)


def per_row(target: TargetLike, count: int, what: str) -> list[Any] | None:
    """The target of each of `count` rows, or None if the same target holds for all.

    Args:
        target: as `TargetLike`; a tensor, array or Series holds whole numbers or labels, one for all rows, or
            (rows,), or (rows, 2) as in `ResolvedTarget.as_tensor`.
        count: the number of rows.
        what: what a row is, for messages.

    Raises:
        TargetError: it is something else, or of another length.
    """
    if target is None or isinstance(target, str | tuple | int | Set):
        return None
    rows: Any = target
    if hasattr(rows, "tolist"):  # of torch, NumPy or pandas
        rows, kind = rows.tolist(), str(getattr(target, "dtype", ""))
        shape = getattr(target, "shape", ())
        if len(shape) > 2 or "float" in kind or "complex" in kind:
            raise TargetError(
                "expected a target of integers or labels (batch,) or (batch, 2), found "
                f"{tuple(shape)} of {kind}"
                + "; where some are missing, leave their texts out"
                * ("float" in kind)
            )
        if not isinstance(rows, list):
            return None
        rows = [(row[0] if row[1:] == [-1] else tuple(row)) if isinstance(row, list) else row for row in rows]
    if hasattr(rows, "__index__"):
        return None
    if not isinstance(rows, Iterable) or isinstance(rows, bytes | Mapping) or hasattr(rows, "columns"):
        raise TargetError(
            "expected a target that is None, an int, a label, a tuple (a, b) or a list with one a row, "
            f"found {type(target).__name__}"
        )
    listed = list(rows)
    if len(listed) != count:
        raise TargetError(
            f"expected one target for each of the {count} {what}, found {len(listed)}; "
            "a contrast of two classes is a tuple (a, b), and several classes of each are a set {a, b}"
        )
    return listed


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
    if not isinstance(name, str) and getattr(name, "ndim", None) == 0:
        name = name.item()
    if isinstance(name, str):
        for fold in (str, str.casefold):
            found = [index for index, label in enumerate(labels) if fold(label) == fold(name)]
            if len(found) == 1:
                return found[0]
            if found:
                listed = ", ".join(f"{index} ({labels[index]!r})" for index in found)
                raise TargetError(f"{name!r} names {len(found)} labels: {listed}; give the index of one")
        if name.casefold() == ALL:
            raise TargetError(
                f"expected one class, found {name!r}, which asks `explain` for all of each text"
            )
        raise UnknownNameError("label", name, labels)
    if isinstance(name, bool) or not hasattr(name, "__index__"):
        way = "; a contrast of two classes is a tuple (a, b)" if isinstance(name, list) else ""
        raise TargetError(f"expected a class as an int or a label, found {quoted(name)}{way}")
    index = int(name.__index__())
    if not 0 <= index < count:
        raise TargetError(f"expected a class from 0 to {count - 1}, found {index}")
    return index
