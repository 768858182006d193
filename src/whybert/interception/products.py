"""Products, quotients and sums of what descends from the embedding, and of constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, cast

import torch
from torch import Tensor

from whybert.errors import UnsupportedOperationError
from whybert.interception import states
from whybert.interception.attention import WeightedSum, without_mask, without_tracked
from whybert.interception.calls import (
    applied,
    bind,
    is_number,
    mapped,
    name_of,
    of_operand,
    operands_of,
    tensors_in,
)
from whybert.interception.elementwise import Elementwise
from whybert.interception.notes import (
    ATTENTION,
    DECAY,
    GATE,
    LINEAR,
    LOG_SUM,
    LOG_WEIGHTS,
    PRODUCT,
    RECIPROCAL,
    SCORES,
    STATE,
    SUM_OF,
    TIMES,
    WEIGHTED,
    common,
    lineage,
    note,
    note_elementwise,
    noted,
    origin,
)
from whybert.lrp import contractions
from whybert.lrp import functions as lrp
from whybert.lrp import operations as ops

# The parameters of functions that add a product.
_ADDED: Final = {
    "addmm": ("input", "mat1", "mat2"),
    "addmv": ("input", "mat", "vec"),
    "baddbmm": ("input", "batch1", "batch2"),
}


def _same_numbers(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors are one, or a copy or a view of it, however the model came by it."""
    return x is y or (x.shape == y.shape and x.dtype == y.dtype and torch.equal(x, y))


def _source_of(a: Tensor, b: Tensor) -> tuple[Tensor | None, float | None, float | None]:
    """`common` of a and b, or what they come of as the same numbers: such as a tensor and a copy of it."""
    found = common(a, b)
    if found[0] is not None:
        return found
    of_b = lineage(b)
    for x, scale_a in lineage(a):
        for other, scale_b in of_b:
            if (scale_a is None) != (scale_b is None) and _same_numbers(x, other):
                return (other if scale_a is None else x), scale_a, scale_b
    return None, None, None


class Products(Elementwise):
    """`Elementwise`, with rules for products, quotients and sums."""

    def _contraction(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A sum of products: a linear layer if one operand is a constant, else a product of activations."""
        found = operands_of(func, args, kwargs)
        if found is None:
            several = contractions.einsum_terms(args) if func is torch.einsum else None
            return self._refuse(func, args, kwargs) if several is None else self._several(func, *several)
        a, b, call, axes = found
        if axes is None or axes.result[:1] != (axes.first if self.tracked(a) else axes.second)[:1]:
            self.sweep.is_moved = True
        if self.tracked(a) and self.tracked(b):
            return self._activations_product(func, a, b, call, axes)
        x = a if self.tracked(a) else b
        if isinstance(x, Tensor) and x.dim() > 1:
            self.sub_layers.enters_linear(x)
        if axes is not None and x.dim() > 1:
            position = (axes.first if x is a else axes.second)[1]
            self.trace.wise = x.shape[:2] == self.trace.size and axes.result[1:2] == (position,)
        # A constant that no weight went into, such as the shares of a mean, pools; it is no layer.
        if not self._has_rule("linear") or not self._is_weight(b if x is a else a):
            return self._weighed(x, self._carried([x], call(a, b)))
        form = None if axes is None else contractions.canonical(axes, x, b if x is a else a, x is a)
        if form is None:
            raise UnsupportedOperationError(
                f"{name_of(func)} with a constant that is no weight matrix", self._rule_owner("linear")
            )
        plain = [operand.detach() for operand in (a, b)]
        y = self._layer(form.x, form.weight, None, lambda: form.into(call(*plain)))
        index = form.back(torch.arange(y.numel(), device=y.device).view(y.shape))
        spelled = form.back(y)
        note(spelled, LINEAR, WeightedSum(form.x, form.weight, None, y.shape, index))
        return self._carried([x], spelled)

    def _several(self, func: Any, equation: str, operands: list[Tensor]) -> Any:
        """An einsum of one operand, or of three and more: linear in each of them.

        With two that are tracked it is a product of two activations; of more the shares are not known.
        """
        places = [place for place, operand in enumerate(operands) if self.tracked(operand)]
        tracked = [operands[place] for place in places]

        def call(*values: Tensor) -> Any:
            listed = list(operands)
            for place, value in zip(places, values, strict=True):
                listed[place] = value
            return func(equation, *listed)

        self.sweep.is_moved = True
        if len(operands) == 1:
            return self._structural(func, (equation, *operands), {})
        if self._has_rule("linear") and any(
            self._is_weight(operand) for operand in operands if not self.tracked(operand)
        ):
            raise UnsupportedOperationError(
                f"{name_of(func)} of {len(operands)} operands, weights among them", self._rule_owner("linear")
            )
        if len(tracked) == 1:
            return self._weighed(tracked[0], self._carried(tracked, call(*tracked)))
        if len(tracked) == 2:
            return self._activations_product(func, tracked[0], tracked[1], call, None)
        return self._refuse(func, (equation, *operands), {})

    def _activations_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        """A product of two activations, of attention weights and values if one descends from a softmax."""
        first, second = (noted(operand, ATTENTION) is not None for operand in (a, b))
        gates = [noted(operand, GATE) is not None for operand in (a, b)]
        if any(gates) and (call is torch.mul or not (first or second)):
            return self._gated(call, a, b, 0 if gates[0] else 1)
        if first and second:  # weights of weights, as where attention is approximated by landmarks
            return self._carried([a, b], self._by_shares(call, a, b, "product"))
        if not (first or second):
            read = self._state_product(func, a, b, call, axes)
            if read is not None:
                return read
            self._check_not_state(func, a, b, axes)
            y = self._by_shares(call, a, b, "product")
            if axes is None:
                return note(y, TIMES, ())
            return note(self.trace.opened(y, f"a product of two activations ({name_of(func)})"), PRODUCT, ())
        axis = self.trace.keep(a if first else b, axes, first) if self.trace.wanted else None
        y = self._by_shares(call, a, b, "attention_values", 0 if first else 1)
        self.sub_layers.enters_attention(b if first else a)
        self.trace.attended(y, axis)
        self.sites.attended(y, a if first else b, axes, first)
        return y

    def _by_shares(
        self, call: Callable[[Tensor, Tensor], Any], a: Tensor, b: Tensor, kind: str, place: int = 0
    ) -> Any:
        """A call of two operands by the shares of a kind: a has that of this place, b the other one."""
        return call(self._share(a, (kind, place)), self._share(b, (kind, 1 - place)))

    def _state_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        """A product that makes a state, lets it decay, or reads it, see `states`; None for another."""
        if not self._has_shares("product"):
            return None
        if axes is None:
            for x, other in ((a, b), (b, a)):
                if noted(x, DECAY) is not None and noted(other, STATE) is not None:
                    self._decays = True
                    y = self._by_shares(call, a, b, "state", 0 if x is a else 1)
                    states.carry([other], y, keeps_last=True)
                    return y
            made = states.outer(a, b)
            if made is None:
                return None
            given = zip((a, b), made.positions, strict=True)
            y = call(*(applied(lrp.Share, self._guarded(x), positions, self.sweep) for x, positions in given))
            return note(note(y, TIMES, ()), STATE, (made,))
        for x, labels, other, others in ((a, axes.first, b, axes.second), (b, axes.second, a, axes.first)):
            state = noted(x, STATE) if self._decays else None
            if state is None:
                continue
            summed = [name for name in labels if name in others and name not in axes.result]
            own = [size for name, size in zip(others, other.shape, strict=True) if name not in labels]
            if (
                not state
                or not all(each.is_clear for each in state)
                or summed != [labels[-1]]
                or set(own) - {1}
            ):
                raise UnsupportedOperationError(
                    f"{name_of(func)} of a state of which it is not clear what its value is", self._name()
                )
            for each in state:
                each.read()
            read = self._share(other, ("state", 0))
            return call(x, read) if x is a else call(read, x)
        return None

    def _check_not_state(self, func: Any, a: Tensor, b: Tensor, axes: contractions.Axes | None) -> None:
        """Refuse q (k^T v), where (q k^T) v is the same: halves in the one order are not those in the other.

        So linear attention keeps a state of what came before.  In the order of attention q and k get a
        quarter each, and v half; which of the factors of a state is its value is only known when it is read.
        """
        if axes is None or not axes.result or not self._has_shares("product"):
            return
        owners = [x for x, labels in ((a, axes.first), (b, axes.second)) if axes.result[-1] in labels]
        if any(noted(x, PRODUCT) is not None for x in owners):
            raise UnsupportedOperationError(
                f"{name_of(func)} of an activation and a state that is a product of two (linear attention, "
                "state spaces)",
                self._name(),
            )

    def _gated(self, call: Callable[[Tensor, Tensor], Any], a: Tensor, b: Tensor, gate: int) -> Any:
        """A product whose factor number `gate` is a sigmoid, or the weight that a softmax gave to one of what
        was chosen, such as the experts of a mixture.

        A gate is to what it lets through as attention weights are to values, and a sigmoid is the softmax of
        two numbers of which one is 0.  So AttnLRP gives half to each factor and CP-LRP all to what is let
        through, as `GateWeightMultiplication` does in the Mixtral of Achtibat et al. 2024 (arXiv 2402.05602;
        LXT), uniform in the one and behind a stopped gate in the other.  Which are chosen is a constant: it
        is the same for all inputs that are near enough.
        """
        return self._by_shares(call, a, b, "attention_values", gate)

    def _added_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """beta * input + alpha * a @ b, as `addmm`, `addmv` and `baddbmm` compute it."""
        names = _ADDED.get(func.__name__)
        if len(args) > 3 or names is None:
            return self._refuse(func, args, kwargs)
        added, a, b = bind(args, kwargs, names)
        scales = {name: kwargs[name] for name in ("alpha", "beta") if name in kwargs}
        axes = contractions.matmul(a, b)
        if axes.result[:1] != (axes.second if self.tracked(b) and not self.tracked(a) else axes.first)[:1]:
            self.sweep.is_moved = True
        if self.tracked(a) and self.tracked(b):
            y = self._activations_product(func, a, b, lambda a, b: func(added, a, b, **scales), axes)
            if self.trace.wanted and self.tracked(added):
                self.trace.reason = f"{name_of(func)} adds to a product of two activations"
        elif self.tracked(a) or self.tracked(b):
            x = a if self.tracked(a) else b
            self.sub_layers.enters_linear(x)
            if self._has_rule("linear") and self._is_weight(b if x is a else a):
                form = contractions.canonical(axes, x, b if x is a else a, x is a)
                bias = added.reshape(-1) if added.numel() == added.shape[-1] else None
                if (
                    form is None
                    or x is b
                    or bias is None
                    or self.tracked(added)
                    or set(scales.values()) - {1}
                ):
                    raise UnsupportedOperationError(
                        f"{name_of(func)} that is no linear layer with a bias", self._rule_owner("linear")
                    )
                plain = [operand.detach() for operand in (a, b)]
                y = self._layer(form.x, form.weight, bias, lambda: form.into(func(added, *plain, **scales)))
                return self._carried([x], form.back(y))
            y = func(added, a, b, **scales)
            y = y if self.tracked(added) else self._carried([x], y)
        else:
            y = func(added, a, b, **scales)
        if not self.tracked(added):
            whole = self._carried([y], self._offset(y, added * scales["beta"] if "beta" in scales else added))
            return note(whole, SCORES, noted(y, SCORES)) if noted(y, SCORES) else whole
        if self.tracked(a) or self.tracked(b):
            return y
        return self._offset(y, func(torch.zeros_like(added), a, b, **scales))

    def _grouped_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rows of x, (rows, in), each group of them times a matrix of its own, (groups, in, out)."""
        x, weight = bind(args, kwargs, ("self", "mat2"))
        ends, bias = kwargs.get("offs"), kwargs.get("bias")
        if self.tracked(weight) or bias is not None or ends is None or x.dim() != 2 or weight.dim() != 3:
            return self._refuse(func, args, kwargs)
        if not self._has_rule("linear"):
            return self._carried([x], func(*args, **kwargs))
        value, parts, start = func(x.detach(), weight, **kwargs), [], 0
        for end, matrix in zip(ends.tolist(), weight, strict=True):
            own = value[start:end]
            parts.append(self._layer(x[start:end], matrix.mT, None, own.clone))
            start = end
        y = self._carried([x], torch.cat([*parts, value[start:]]))
        return note(y, LINEAR, WeightedSum(x, weight, None, y.shape, is_placed=False))

    def _product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = bind(args, kwargs, ("input", "other"))
        if not (self.tracked(a) and self.tracked(b)):
            return self._scaled(torch.mul, a, b)
        if a is b and self._closed is not None:
            return self._elementwise(a, self._power_of(2), "power")
        if noted(a, RECIPROCAL) is not None or noted(b, RECIPROCAL) is not None:
            return self._divided(torch.mul, a, b, 1 if noted(a, RECIPROCAL) is not None else 0)
        if self._closed is not None:
            x, scale_a, scale_b = _source_of(a, b)
            if scale_a is None:
                a, b, scale_a = b, a, scale_b
            if scale_a is not None and x is not None:
                return note_elementwise(self._composed(a, b, x, scale_a), x, None)
        return self._activations_product(func, a, b, torch.mul, None)

    def _composed(self, a: Tensor, b: Tensor, x: Tensor, scale: float | None) -> Tensor:
        """a * b, where a = scale * x and b = g(x): an activation written out."""
        return applied(lrp.ComposedActivation, a, b, x, scale, self.sweep)

    def _quotient(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = bind(args, kwargs, ("input", "other"))
        if not self.tracked(b):
            return self._scaled(torch.div, a, b)
        if not self.tracked(a):
            return self._reciprocal(func, args, kwargs) if self._closed is not None else torch.div(a, b)
        if noted(b, RECIPROCAL) is not None:  # a product, whose second factor would be taken for a constant
            return self._refuse(func, args, kwargs)
        x, scale, scale_b = _source_of(a, b)
        if x is not None and scale is not None and scale_b is None and self._closed is not None:  # x / g(x)
            y = self._composed(a, self._reciprocal(torch.reciprocal, (b,), {}), x, scale)
            return note_elementwise(self._valued(y, lambda: torch.div(a.detach(), b.detach())), x, None)
        return self._divided(torch.div, a, b, 0)

    def _divided(self, func: Callable[..., Tensor], a: Tensor, b: Tensor, place: int) -> Tensor:
        """A quotient of a and b, or its reciprocal spelling; place: 0 where a is the numerator, else 1."""
        self.sub_layers.normalises(None)  # it may be a LayerNorm written out
        numerator, denominator = (a, b) if place == 0 else (b, a)
        if self._is_sum_of(denominator, numerator):
            if func is not torch.div:
                return cast(Tensor, self._refuse(func, (a, b), {}))
            y = func(a, b)
        else:
            y = self._by_shares(func, a, b, "quotient", place)
        for name in (ATTENTION, GATE):
            if noted(numerator, name) is not None:
                note(y, name, ())
        return y

    @staticmethod
    def _is_sum_of(denominator: Tensor, numerator: Tensor) -> bool:
        """Whether weights of a softmax, or gates, are divided by their sum.

        softmax(x) over all, divided by its sum over some, is softmax(x) over these: a part of it, with its
        derivative, and no normalisation by a constant.  So it is for gates, as of `NormWeight` in the code of
        Achtibat et al. 2024 for Mixtral, which has the epsilon rule: the ordinary derivative.
        """
        weights, version = noted(denominator, SUM_OF) or (None, None)
        return (
            weights is not None
            and weights._version == version
            and _same_numbers(origin(weights)[0], origin(numerator)[0])
        )

    def _scaled(self, func: Callable[..., Any], a: Any, b: Any) -> Any:
        """a * b or a / b with at most one factor that depends on the input."""
        y = func(a, b)
        tracked, other = (a, b) if self.tracked(a) else (b, a)
        if noted(tracked, DECAY) is not None and isinstance(other, Tensor) and not bool(other.any()):
            self._decays = True  # a state as it begins
            return y.detach()
        if is_number(other):
            note_elementwise(y, tracked, float(func(1.0, other)))
        elif y.shape == tracked.shape:
            note_elementwise(y, tracked, None)
        if not is_number(other) and self._has_rule("linear") and self._is_weight(other):
            strides = other.expand(y.shape).stride()
            note(y, WEIGHTED, frozenset(i - y.dim() for i, stride in enumerate(strides) if stride))
        return self._carried([tracked], y)

    def _sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A sum or a difference."""
        a, b = bind(args, kwargs, ("input", "other"))
        if not (self.tracked(a) and self.tracked(b)):
            return self._sum_with_constant(
                func, args, kwargs, a if self.tracked(a) else b, b if self.tracked(a) else a
            )
        y = func(*args, **kwargs)
        of = noted(b, LOG_SUM)
        if of is not None and of[0] is a and func in ops.REMAINDERS and not kwargs and y.shape == a.shape:
            note(y, LOG_WEIGHTS, of)
        x, scale_a, scale_b = common(a, b)
        x = origin(a)[0] if x is None and origin(a)[0] is origin(b)[0] else x
        if func not in ops.DIFFERENCES and x is not None:
            # `add(a, b, alpha=2)` would scale b: then only that it is element-wise is known
            known = scale_a is not None and scale_b is not None and not kwargs
            note_elementwise(y, x, (scale_a or 0.0) + (scale_b or 0.0) if known else None)
        elif self.sub_layers.wanted and func not in ops.DIFFERENCES and not kwargs:
            self.sub_layers.residual_sum(a, b, y)
        return self._carried([a, b], y)

    def _sum_with_constant(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, constant: Any
    ) -> Tensor:
        layer: WeightedSum | None = noted(x, LINEAR)
        if layer is not None and isinstance(constant, int | float) and constant == 0:  # as `sum` begins
            y = note(func(*args, **kwargs), LINEAR, layer)
        elif layer is not None:
            y = self._with_bias(func, args, kwargs, layer, x, constant)
        elif self.books is None:
            y = func(*args, **kwargs)
        else:
            y = self._booked_sum(func, args, kwargs, x, constant)
        if y.shape == x.shape:
            note_elementwise(y, x, None)
            if noted(x, SUM_OF) is not None:
                note(y, SUM_OF, noted(x, SUM_OF))
        return cast(Tensor, self._carried([x], y))

    def _booked_sum(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor, constant: Any
    ) -> Tensor:
        of = of_operand(func, args, kwargs, x)
        zero = x.new_zeros(())
        offset = of(zero)  # the constant with its sign and its factor, of any shape that fits
        shape = torch.broadcast_tensors(x.detach(), offset)[0].shape  # type: ignore[no-untyped-call]
        x = x if x.shape == shape else x.expand(shape)
        slope = (
            1.0 if func not in ops.DIFFERENCES and not kwargs else float((of(zero + 1) - offset).flatten()[0])
        )
        return self._entered(x, offset, lambda: of(x.detach()), slope)

    def _with_bias(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        layer: WeightedSum,
        x: Tensor,
        constant: Any,
    ) -> Tensor:
        """x + constant, where x is a linear layer: the constant belongs to its bias.

        Raises UnsupportedOperationError where it is another constant in each row: that is no layer.
        """
        value = of_operand(func, args, kwargs, x)(x.detach())
        width = layer.shape[-1]
        index = layer.index
        if index is None:
            index = torch.arange(x.numel(), device=x.device).view(x.shape)
        # The features that are left of the layer, and whether each of them is there in every row.
        features, column = torch.unique(index.flatten() % width, return_inverse=True)
        place = index.flatten() // width * len(features) + column
        shape = (*layer.shape[:-1], len(features))
        constant = torch.as_tensor(constant, dtype=x.dtype, device=x.device)
        bias = constant.new_empty(math.prod(shape))
        whole = layer.is_placed and value.shape == x.shape and len(place) == bias.numel()
        if whole and len(place.unique()) == len(place) and func not in ops.DIFFERENCES and not kwargs:
            bias[place] = constant.expand(x.shape).flatten()
            rows = bias.view(-1, len(features))
            if bool((rows == rows[0]).all()):
                weight = layer.weight if len(features) == width else layer.weight[..., features, :]
                added = rows[0] if layer.bias is None else rows[0] + layer.bias[features]
                y = self._layer(
                    layer.x,
                    weight,
                    added,
                    lambda: value.new_empty(len(place)).index_copy_(0, place, value.flatten()).view(shape),
                )
                placed = None if layer.index is None else place.view(x.shape)
                spelled = y if placed is None else y.flatten()[placed]
                return note(spelled, LINEAR, WeightedSum(layer.x, weight, added, y.shape, placed))
        raise UnsupportedOperationError(
            f"{name_of(func)} of a linear layer and a constant that is not its bias",
            self._rule_owner("linear"),
        )

    def _in_place_sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """x += y, x[i] = y and the like; a note of x no longer holds, see `noted`."""
        x = args[0]
        operands = [operand for operand in tensors_in([args, kwargs]) if self.tracked(operand)]
        self.sub_layers.changes_in_place(operands)
        if noted(x, LINEAR) is not None and len(operands) == 1:
            return self._refuse(func, args, kwargs)
        carried = [name for name in (ATTENTION, GATE) if self._all_noted(operands, name)]
        source = origin(x)[0] if operands and all(operand is x for operand in operands) else x
        offset = None if self.books is None else self._offset_in_place(func, args, kwargs)
        is_state = any(noted(operand, STATE) is not None for operand in operands)
        y = func(*args, **kwargs)  # None for x[i] = v
        if is_state:
            note(x, STATE, ())
        if offset is not None:
            self._enter_in_place(x, offset)
        for name in carried:
            note(x, name, ())
        if source is not x:
            note_elementwise(x, source, None)
        return y

    def _offset_in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """What a function that is linear in x and in values will put into x, or add to it, of constants.

        If x is a constant itself, or a window of one, its numbers enter the books here: those that the call
        leaves there are what the relevance will arrive at.
        """
        x = args[0]
        if not self.tracked(x):
            whole = x if x._base is None else x._base
            self._enter_in_place(whole, whole.clone())
            _ = x.grad_fn  # a window of what was changed learns of it when it is asked
        if all(self.tracked(value) for value in (*args[1:][-1:], *kwargs.values())):
            return None
        blank = torch.zeros_like(x)
        constants = mapped([list(args[1:]), kwargs], without_tracked)
        func(blank, *constants[0], **constants[1])
        return blank

    def _enter_in_place(self, x: Tensor, constant: Tensor) -> None:
        """Put a constant that is among the numbers of x into the books, and leave x as it is."""
        constant = without_mask(constant)
        if bool(constant.any()):
            zero = torch.zeros_like(constant)
            x.add_(self._entered(zero, constant, zero.clone))

    def _in_place_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """x *= y and x /= y."""
        x, other = bind(args, kwargs, ("input", "other"))
        if self.tracked(other):
            return self._in_place(func, args, kwargs)
        carried = [name for name in (ATTENTION, GATE) if noted(x, name) is not None]
        source = origin(x)[0]
        y = func(x, other)
        for name in carried:
            note(y, name, ())
        return y if source is x else note_elementwise(y, source, None)
