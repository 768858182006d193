"""What functions of single numbers hand on: activations, powers, reciprocals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from whybert.interception.attention import Attending
from whybert.interception.calls import applied, bind, name_of, of_operand, tensors_in
from whybert.interception.notes import (
    ATTENTION,
    DECAY,
    DESCENT,
    ELEMENTWISE,
    GATE,
    LOG_SUM,
    LOG_WEIGHTS,
    RECIPROCAL,
    note,
    note_elementwise,
    noted,
    origin,
)
from whybert.lrp import functions as lrp
from whybert.lrp import operations as ops


class Elementwise(Attending):
    """`Attending`, with rules for functions of single numbers."""

    def _activation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        names, make = ops.ELEMENTWISE[func]
        x, *given = bind(args, kwargs, ("input", *names))
        settings = {name: value for name, value in zip(names, given, strict=True) if value is not None}
        in_place = settings.pop("inplace", False)
        is_of_x = self.tracked(x) and not any(self.tracked(value) for value in settings.values())
        function = make(**settings) if is_of_x else None
        if function is None:
            return cast(Tensor, self._refuse(func, args, kwargs))

        def of(x: Tensor) -> Tensor:
            y = self._elementwise(x, function, "activation")
            return cast(Tensor, self._carried([x], note(y, GATE, ()) if function.is_gate else y))

        return self._changed(x, of) if in_place else of(x)

    def _in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """x.relu_() and the like: what it is out of place, of a copy of x."""
        (x,) = bind(args, kwargs, ("input",))

        def of(copy: Tensor) -> Tensor:
            with self:
                y: Tensor = of_operand(ops.IN_PLACE[func], args, kwargs, x)(copy)
            return y

        return self._changed(x, of)

    def _changed(self, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """x with what is computed of a copy of it in its place."""

        def pass_on(before: Tensor, after: Tensor) -> None:
            for name in (ELEMENTWISE, ATTENTION, RECIPROCAL, GATE):
                value = noted(before, name)
                if value is not None:
                    note(after, name, value)

        copy = x.clone()
        if self.tracked(x):
            setattr(copy, DESCENT, self.sweep)
        pass_on(x, copy)
        y = compute(copy)
        if y.shape != x.shape or (x.is_leaf and x.requires_grad):
            raise self._lost("an operation in place")
        x.copy_(y)
        pass_on(y, x)
        return x

    def _square(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A variance: the deviation is a constant, and it is nothing else."""
        (x,) = bind(args, kwargs, ("input",))
        of = of_operand(func, args, kwargs, x)
        return applied(lrp.InnerFunction, x, of, name_of(func), "power", self.sweep)

    def _root(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = bind(args, kwargs, ("input",))
        return self._elementwise(x, ops.SQRT, "power")

    def _power(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, exponent = bind(args, kwargs, ("input", "exponent"))
        exponent = 2 if exponent is None else exponent  # torch.square
        if not isinstance(exponent, int | float) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if exponent < 0:
            return self._reciprocal(func, (x, exponent), {})
        return self._elementwise(x, self._power_of(exponent), "power")

    def _reciprocal(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """One over a root, a power or another denominator: what is multiplied by it is a quotient."""
        x = next(tensor for tensor in tensors_in([args, kwargs]) if self.tracked(tensor))
        of = of_operand(func, args, kwargs, x)
        return note(applied(lrp.InnerFunction, x, of, name_of(func), "quotient", self.sweep), RECIPROCAL, ())

    @staticmethod
    def _power_of(exponent: float) -> ops.Elementwise:
        return ops.Elementwise(
            f"x ** {exponent}",
            lambda x: x**exponent,
            lambda gradient, x, _: gradient * (exponent * x ** (exponent - 1)),
            lambda x, _: x ** (exponent - 1),
        )

    def _elementwise(self, x: Tensor, function: ops.Elementwise, kind: str) -> Tensor:
        if not self._has_rule(kind):
            return note_elementwise(function.value(x), x, None)
        books = self.books if function.at_zero else None
        y = applied(lrp.Activation, self._guarded(x), function, kind, books, self.sweep)
        return note_elementwise(y, x, None)

    def _negative(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        y = self._structural(func, args, kwargs)
        return note_elementwise(y, bind(args, kwargs, ("input",))[0], -1.0)

    def _exponential(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = bind(args, kwargs, ("input",))
        scores, version, axis = noted(x, LOG_WEIGHTS) or (x, None, None)
        if scores._version == version:
            weights = self._softmax(torch.softmax, (scores, axis), {})
            valued = applied(lrp.Valued, weights, func(x.detach()))
            return cast(Tensor, self._carried([weights], valued, moved=True))
        # Of another function it would be one with it, such as exp(logsigmoid(x)), which is a sigmoid.
        is_own = origin(x)[1] is not None
        if is_own and self._has_rule("activation") and all(table.as_gradient for table in self._tables):
            return note(self._elementwise(x, ops.EXPONENTIAL, "activation"), DECAY, ())
        y = applied(lrp.InnerFunction, x, func, name_of(func), None, self.sweep)
        return note_elementwise(y, x, None)

    def _log_sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """log sum exp x = sum_i p_i x_i + H(p) with p = softmax(x): the derivative is p, the books hold H."""
        x, axis = bind(args, kwargs, ("input", "dim"))
        y = func(*args, **kwargs)
        if not isinstance(axis, int):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if self.books is not None:
            mean = (x.softmax(axis) * x).nan_to_num(0.0).sum(axis, keepdim=y.dim() == x.dim())
            y = self._entered(y, (y - mean).detach(), y.clone)
        return note(y, LOG_SUM, (x, x._version, axis))

    def _log_softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, axis = bind(args, kwargs, ("input", "dim"))
        of = of_operand(func, args, kwargs, x)
        y = applied(lrp.InnerFunction, x, of, name_of(func), None, self.sweep)
        return note(y, LOG_WEIGHTS, (x, x._version, axis))
