"""What a method is, and the table of methods."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_type_hints

import torch
from torch import Tensor

from whybert.errors import UnknownNameError, UsageError
from whybert.interception import ForwardPass
from whybert.lrp.composites import Composite
from whybert.targets import ResolvedTarget

Reduction = Literal["sum", "absolute", "squared_norm"]


@dataclasses.dataclass(frozen=True)
class Method(ABC):
    """An attribution method.  Its fields are its options; a subclass registers by its `name`.

    summary, source: a line for people and the paper.
    signed: scores below 0 speak against the target; else scores are magnitudes.
    complete: the relevance is meant to sum to the explained output.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    signed: ClassVar[bool] = True
    complete: ClassVar[bool] = False
    needs_attention: ClassVar[bool] = False

    def __post_init__(self) -> None:
        hints = _type_hints(type(self))
        for option in dataclasses.fields(self):
            allowed = get_args(hints[option.name])
            value = getattr(self, option.name)
            if allowed and value not in allowed:
                raise UnknownNameError(f"{option.name} of {self.name}", value, map(str, allowed))
            if hints[option.name] is float:
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if not number or not math.isfinite(value):
                    raise UsageError(f"expected {option.name} of {self.name} as a number, found {value!r}")

    @property
    def options(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def is_signed(self) -> bool:
        return self.signed

    def composites(self) -> tuple[Composite, ...]:
        """The composites that `attribute` sweeps by; none where no backward pass is needed."""
        return ()

    @property
    def needs_sub_layers(self) -> bool:
        return False

    @abstractmethod
    def attribute(self, forward: ForwardPass, target: ResolvedTarget) -> tuple[Tensor, Tensor | None]:
        """Scores (batch, seq) and the relevance (batch, seq, hidden) they come from, or None."""


@cache
def _type_hints(method: type[Method]) -> dict[str, Any]:
    return get_type_hints(method)  # evaluates the annotations anew each time it is asked


def reduce_hidden(relevance: Tensor, reduction: Reduction) -> Tensor:
    """Token scores (batch, seq) from relevance (batch, seq, hidden); half precision sums in float32."""
    relevance = relevance.to(torch.promote_types(relevance.dtype, torch.float32))
    match reduction:
        case "sum":
            return relevance.sum(-1)
        case "absolute":
            return relevance.abs().sum(-1)
        case "squared_norm":
            return relevance.square().sum(-1)


def create(name: str, options: Mapping[str, Any]) -> Method:
    """The method called `name` with `options`.

    Raises UnknownNameError, naming the close matches, for a method or an option that does not exist.
    """
    from whybert.methods import METHODS

    if not isinstance(name, str):
        raise UsageError(f"expected the name of a method, found {name!r}; known: {', '.join(METHODS)}")
    known = {key.replace("-", "_"): key for key in METHODS}
    key = known.get(name.strip().casefold().replace("-", "_"))
    if key is None:
        raise UnknownNameError("method", name, METHODS)
    method = METHODS[key]
    fields = [option.name for option in dataclasses.fields(method)]
    for option in options:
        if option not in fields:
            raise UnknownNameError(f"option of {key}", option, fields)
    return method(**options)


def create_all(names: Sequence[str], options: Mapping[str, Any]) -> list[Method]:
    """Several methods; each takes those of the options that it has, and each option must find one.

    Raises UnknownNameError and, for a method named twice, UsageError.
    """
    from whybert.methods import METHODS

    if not names:
        raise UsageError(f"expected at least one method; known: {', '.join(METHODS)}")
    plain = [create(name, {}) for name in names]
    methods = []
    for method in plain:
        fields = {option.name for option in dataclasses.fields(method)}
        methods.append(create(method.name, {k: v for k, v in options.items() if k in fields}))
    all_fields = {option.name for method in plain for option in dataclasses.fields(method)}
    for option in options:
        if option not in all_fields:
            raise UnknownNameError(f"option of {', '.join(m.name for m in plain)}", option, all_fields)
    if len({method.name for method in methods}) < len(methods):
        raise UsageError(f"expected each method once, found {', '.join(m.name for m in methods)}")
    return methods
