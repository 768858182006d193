"""The arguments and results of a call of a torch function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import resolve_name

from whybert.lrp import contractions
from whybert.lrp import operations as ops

# The parameters of functions of torch, in their order, for `bind`.
ATTENTION_PARAMETERS: Final = (
    "query",
    "key",
    "value",
    "attn_mask",
    "dropout_p",
    "is_causal",
    "scale",
    "enable_gqa",
)
LAYER_NORM_PARAMETERS: Final = ("input", "normalized_shape", "weight", "bias", "eps")
RMS_NORM_PARAMETERS: Final = ("input", "normalized_shape", "weight", "eps")


def bind(args: tuple[Any, ...], kwargs: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Positional and keyword arguments by name; None for one that was not given."""
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    output: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The arguments of a call with each tensor changed, those in lists, tuples and mappings too."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(mapped(item, change) for item in value)
    if type(value) is dict:
        return {name: mapped(item, change) for name, item in value.items()}
    return value


def called(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Tensor], Any]) -> Any:
    """The result of a call with each of its tensors changed, however they are given."""
    return func(*mapped(args, change), **mapped(kwargs, change))


def value_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    value: Tensor = called(func, args, kwargs, torch.Tensor.detach)
    return value


def of_operand(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> Callable[[Any], Any]:
    """A call as a function of one of its operands."""
    return lambda value: called(func, args, kwargs, lambda tensor: value if tensor is x else tensor)


def name_of(func: Any) -> str:
    if getattr(func, "__name__", "") in ("__get__", "__set__"):
        return f"torch.Tensor.{func.__self__.__name__}"
    name = resolve_name(func) or ".".join(
        str(getattr(func, part, "")) for part in ("__module__", "__qualname__")
    )
    return name.strip(".") or str(func)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and value.dim() == 0)


def sources_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What numbers a call makes its result of, among its arguments."""
    if func in ops.SHAPED_BY_ANOTHER:
        return args[:1]
    return (args[1:] if func in ops.TYPED_BY_ANOTHER else args, kwargs)


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def operands_of(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any, Callable[[Tensor, Tensor], Any], contractions.Axes | None] | None:
    """The two operands of a contraction, the same contraction of two others, and the labels of its axes.

    None for one of more or fewer operands.
    """
    if func is torch.einsum:
        equation, listed = contractions.einsum_terms(args) or ("", [])
        if len(listed) != 2:
            return None
        axes = contractions.einsum(equation, *listed)
        return listed[0], listed[1], lambda a, b: func(equation, a, b), axes
    if func is torch.tensordot:
        a, b, dims = bind(args, kwargs, ("a", "b", "dims"))
        dims = 2 if dims is None else dims
        return a, b, lambda a, b: func(a, b, dims), contractions.tensordot(a, b, dims)
    a, b = bind(args, kwargs, ("input", "other"))
    if b is None:
        b = next((kwargs[name] for name in ("mat2", "tensor2", "vec", "tensor") if name in kwargs), None)
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return None
    if func is torch.Tensor.__rmatmul__:
        return b, a, torch.matmul, contractions.matmul(b, a)
    axes = contractions.inner(a, b) if func in ops.INNER_PRODUCTS else contractions.matmul(a, b)
    return a, b, func, axes


def scatters_rows(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> bool:
    """Whether a call takes rows of x one by one, so that those of a text may stand anywhere."""
    if func is torch.Tensor.__getitem__:
        first = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
        return isinstance(first, list | Tensor) and (
            torch.as_tensor(first).flatten().tolist() != list(range(len(x)))
        )
    if func in ops.TAKING or func in ops.CHOOSING:
        behind = func.__name__ in ("take_along_dim", "topk", "kthvalue")  # behind places, or a number of them
        return bind(args, kwargs, ("input", "k", "dim") if behind else ("input", "dim"))[-1] in (0, -x.dim())
    return False


def moves_rows(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, result: Any) -> bool:
    """Whether what stands along the first axis of x may stand elsewhere in what a call made of it."""
    y = next(tensors_in(result), x)
    if func in ops.FOLDING:
        return False
    if func in ops.FLIPS:
        return True
    if y.shape[:1] != x.shape[:1]:
        return True
    if func in ops.MOVING:
        return y.dim() == x.dim() > 0 and y.stride(0) != x.stride(0)
    if scatters_rows(func, args, kwargs, x):
        return True
    if func is torch.Tensor.__getitem__ or func in ops.TAKING or func in ops.CHOOSING:
        return False
    return y.dim() > x.dim()  # stacked, or repeated along new axes, which come first
