"""One name for the many spellings of a linear layer: which axes a product of two tensors sums over.

`F.linear(x, W)`, `x @ W.T`, `torch.mm`, `bmm` with an expanded weight, `einsum("bsi,oi->bso", x, W)` and
`tensordot` are the same layer y = x W^T.  Each is written down here as a label for every axis of the two
operands and of the result, and `canonical` brings whatever is such a layer into the one form that the rules
for linear layers are written for.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Labels = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Axes:
    """The labels of the axes of a product: of its operands, and of its result."""

    first: Labels
    second: Labels
    result: Labels


def matmul(a: Tensor, b: Tensor) -> Axes:
    """Of `torch.matmul` and of its strict kinds `mm`, `bmm`, `mv` and `dot`."""
    batch = max(a.dim(), b.dim()) - 2
    names = tuple(range(max(batch, 0)))

    def leading(tensor: Tensor) -> Labels:
        count = max(tensor.dim() - 2, 0)
        return names[len(names) - count :]

    rows: Labels = ("n",) if a.dim() > 1 else ()
    columns: Labels = ("m",) if b.dim() > 1 else ()
    return Axes((*leading(a), *rows, "k"), (*leading(b), "k", *columns), (*names, *rows, *columns))


def inner(a: Tensor, b: Tensor) -> Axes:
    """Of `torch.inner`: the sum over the last axis of both."""
    first = tuple(f"a{i}" for i in range(a.dim() - 1))
    second = tuple(f"b{i}" for i in range(b.dim() - 1))
    return Axes((*first, "k"), (*second, "k"), (*first, *second))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Axes | None:
    """Of `torch.tensordot`; None for dimensions that are not written as numbers."""
    if isinstance(dims, int):
        dims = (range(a.dim() - dims, a.dim()), range(dims))
    try:
        over_a, over_b = ([int(axis) for axis in axes] for axes in dims)
    except (TypeError, ValueError):
        return None
    first: list[Any] = [f"a{i}" for i in range(a.dim())]
    second: list[Any] = [f"b{i}" for i in range(b.dim())]
    for i, j in zip(over_a, over_b, strict=True):
        first[i] = second[j] = f"k{i % a.dim()}"
    result = [name for name in (*first, *second) if str(name)[0] != "k"]
    return Axes(tuple(first), tuple(second), tuple(result))


def einsum_terms(args: tuple[Any, ...]) -> tuple[str, list[Tensor]] | None:
    """The equation and the operands of a call of `torch.einsum`; None where they cannot be told.

    The axes may be written as letters or, behind each operand, as lists of numbers.
    """
    if args and isinstance(args[0], str):
        equation, *listed = args
        if len(listed) == 1 and isinstance(listed[0], list | tuple):
            listed = list(listed[0])
        return (equation, listed) if listed and all(isinstance(each, Tensor) for each in listed) else None
    operands, axes = list(args[: len(args) // 2 * 2 : 2]), list(args[1::2])
    result = list(args[-1:]) if len(args) % 2 else []
    if not operands or not all(isinstance(each, Tensor) for each in operands):
        return None
    letters = string.ascii_uppercase + string.ascii_lowercase  # in the order in which they are sorted
    try:
        terms = ["".join("..." if n is Ellipsis else letters[n] for n in each) for each in (*axes, *result)]
    except (TypeError, IndexError):
        return None
    return "->".join([",".join(terms[: len(axes)]), *terms[len(axes) :]]), operands


def einsum(equation: str, a: Tensor, b: Tensor) -> Axes | None:
    """Of `torch.einsum` with two operands; None where a letter stands twice in one operand."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    parts = terms.split(",")
    if len(parts) != 2:
        return None

    def expanded(term: str, count: int) -> Labels:
        before, dots, after = term.partition("...")
        if not dots:
            return tuple(term)
        return (*before, *(f"...{i}" for i in range(-count, 0)), *after)

    counts = [tensor.dim() - len(part.replace("...", "")) for part, tensor in zip(parts, (a, b), strict=True)]
    first, second = (expanded(part, count) for part, count in zip(parts, counts, strict=True))
    if len(set(first)) < len(first) or len(set(second)) < len(second):
        return None
    if arrow:
        return Axes(first, second, expanded(result, max(counts)))
    both = (*first, *second)
    dots = sorted({name for name in both if len(name) > 1}, key=lambda name: int(name[3:]))
    return Axes(first, second, (*dots, *sorted(n for n in set(both) if len(n) == 1 and both.count(n) == 1)))


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A product as y = x W^T.

    x: (..., in), a view of the tracked operand or a copy.  weight: (out, in), or (..., out, in) where it is
        another one for each head or row; x is (..., rows, in) then.
    into: from the result as it was spelled to y, (..., out).  back: the other way.
    """

    x: Tensor
    weight: Tensor
    into: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


def canonical(axes: Axes, tracked: Tensor, constant: Tensor, tracked_is_first: bool) -> LinearForm | None:
    """The product as a linear layer of its tracked operand; None if it is none.

    It is one where the constant is made up of the summed axes, of new ones, and perhaps of axes that all
    three share.  An axis along which the constant is the same everywhere (of size 1, or expanded) counts as
    none of the constant's.
    """
    of_x, of_weight = (axes.first, axes.second) if tracked_is_first else (axes.second, axes.first)
    own = list(of_weight)
    for axis in reversed(range(constant.dim())):
        if of_weight[axis] in of_x and of_weight[axis] in axes.result:
            slices = constant.movedim(axis, 0)
            if constant.stride(axis) == 0 or torch.equal(slices, slices[:1].expand_as(slices)):
                constant = constant.select(axis, 0)
                del own[axis]
    sizes = dict(zip(of_x, tracked.shape, strict=True))
    shared = [name for name in own if name in of_x and name in axes.result]
    summed = [name for name in own if name in of_x and name not in axes.result]
    new = [name for name in own if name not in of_x and name in axes.result]
    rest = [name for name in of_x if name not in shared and name not in summed]
    parts = {*shared, *summed, *new} == set(own) and {*shared, *rest, *new} == set(axes.result)
    if not new and of_x[-1:] != tuple(summed):
        return None  # a weighted sum over rows or over tensors side by side, not over features
    if not summed or not parts or any(constant.shape[own.index(name)] != sizes[name] for name in shared):
        return None
    x = _ordered(tracked, of_x, [*shared, *rest, *summed]).flatten(len(shared) + len(rest))
    weight = _ordered(constant, own, [*shared, *new, *summed])
    new_sizes = weight.shape[len(shared) : len(shared) + len(new)]
    weight = weight.reshape(*weight.shape[: len(shared)], math.prod(new_sizes), -1)
    kept = [sizes[name] for name in (*shared, *rest)]
    if shared:
        x = x.reshape(*kept[: len(shared)], -1, x.shape[-1])
    order = [*shared, *rest, *new]

    def into(y: Tensor) -> Tensor:
        y = _ordered(y, axes.result, order)
        return y.reshape(*x.shape[:-1], math.prod(new_sizes))

    def back(y: Tensor) -> Tensor:
        return _ordered(y.reshape(*kept, *new_sizes), order, axes.result)

    return LinearForm(x, weight, into, back)


def _ordered(tensor: Tensor, names: Sequence[Any], wanted: Sequence[Any]) -> Tensor:
    """The axes `names` of the tensor in the order `wanted`."""
    if list(names) == list(wanted):
        return tensor
    return tensor.permute([list(names).index(name) for name in wanted])
