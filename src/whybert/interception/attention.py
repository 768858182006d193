"""What moves numbers, and attention: softmax, fused attention, and the traces of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from whybert.errors import UnsupportedModelError, UnsupportedOperationError
from whybert.interception.calls import (
    ATTENTION_PARAMETERS,
    applied,
    bind,
    mapped,
    moves_rows,
    name_of,
    of_operand,
    scatters_rows,
    tensors_in,
    value_of,
)
from whybert.interception.following import Following
from whybert.interception.notes import (
    ATTENTION,
    CHOSEN,
    GATE,
    LINEAR,
    SUM_OF,
    WEIGHTED,
    note,
    noted,
)
from whybert.interception.trace import AttentionInputs, of_heads, scale_of, weights_of
from whybert.lrp import functions as lrp
from whybert.lrp import operations as ops

_MASK: Final = 1e4  # what is added or filled in to mask attention scores is larger, in every data type


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """y = x W^T + b, spelled in some layout: if a constant is added next, it is (a part of) the bias.

    index: where in y, flattened, each number of the tensor stands; None if they stand in y's own order.
    is_placed: whether that is known.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    shape: torch.Size
    index: Tensor | None = None
    is_placed: bool = True


def without_tracked(value: Tensor) -> Tensor:
    """Zeros in the place of what is differentiated."""
    return torch.zeros_like(value) if value.requires_grad else value


def without_mask(constant: Tensor) -> Tensor:
    """A mask of attention scores is a number beyond all others; no relevance is meant to stay with it."""
    return constant.detach().masked_fill(constant.abs() >= _MASK, 0.0)


class Attending(Following):
    """`Following`, with rules for what moves numbers and for attention."""

    def _homogeneous(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A maximum, a norm, ...: its derivative; constants that it is also of go into the books."""
        if 0 in (kwargs.get("p"), kwargs.get("ord"), *(args[1:2] if "norm" in func.__name__ else ())):
            return self._refuse(func, args, kwargs)  # a count
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if self.books is not None and len(given) > 1:
            shape = torch.broadcast_tensors(*given)[0].shape  # type: ignore[no-untyped-call]

            def entered(constant: Tensor) -> Tensor:
                if self.tracked(constant):
                    return constant
                constant = constant.expand(shape)
                return self._entered(constant, without_mask(constant), constant.clone)

            args, kwargs = mapped(args, entered), mapped(kwargs, entered)
        return self._carried([value for value in given if self.tracked(value)], func(*args, **kwargs))

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        self.trace.closed_by(bind(args, kwargs, ("input",))[0])
        x, axis = bind(args, kwargs, ("input", "dim"))
        if self._has_rule("softmax"):
            if axis is None:
                return cast(Tensor, self._refuse(func, args, kwargs))
            y = applied(lrp.Softmax, x, lambda: func(*args, **kwargs), axis, self.sweep)
        else:
            y = func(*args, **kwargs)
        self.trace.opened(y, "a softmax")
        # not y itself: that would be a reference cycle
        is_last = axis in (-1, y.dim() - 1) and y.requires_grad
        if noted(x, CHOSEN) is not None:
            note(y, GATE, ())
        return note(y, ATTENTION, ((y.detach(), get_gradient_edge(y)),) if is_last else ())

    def _restated(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Several operations in one call: its own value, with the rules of the calls it stands for."""
        with self:
            written = ops.RESTATED[func](*args, **kwargs)
        return self._valued(written, lambda: value_of(func, args, kwargs))

    def _structural(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What moves, selects or adds up numbers; constants among its operands go into the books."""
        sources = args[:1] if func in ops.SHAPED_BY_ANOTHER else [args, kwargs]
        tracked = [tensor for tensor in tensors_in(sources) if self.tracked(tensor)]
        if func in ops.REDUCTIONS and noted(tracked[0], WEIGHTED):
            self._check_weighted_sum(func, tracked[0], args, kwargs)
        if func in ops.CHOOSING and sum(1 for _ in tensors_in([args, kwargs])) > 1:
            return self._homogeneous(func, args, kwargs)  # the larger of two
        y = func(*args, **kwargs)
        if self.books is not None and not self.sweep.is_moved:
            self.sweep.is_moved = moves_rows(func, args, kwargs, tracked[0], y)
        if self.books is not None and not self.sweep.is_scattered:
            self.sweep.is_scattered = scatters_rows(func, args, kwargs, tracked[0])
        if self.books is not None and func in ops.FILLING:
            constants = mapped([list(args), kwargs], without_tracked)
            fill = without_mask(func(*constants[0], **constants[1]))
            if bool(fill.any()):
                y = self._entered(y, fill, y.clone)
        layer: WeightedSum | None = next(filter(None, (noted(x, LINEAR) for x in tracked)), None)
        if layer is not None:
            found = list(tensors_in(y))
            indices: list[Tensor | None] = [None] * len(found)
            if func in ops.PLACING and layer.is_placed:
                x, before = tracked[0], layer.index
                if before is None:
                    before = torch.arange(x.numel(), device=x.device).view(x.shape)
                if func not in ops.CASTS:
                    indices = list(tensors_in(of_operand(func, args, kwargs, x)(before)))
                else:
                    indices = [before]
            for tensor, index in zip(found, indices, strict=True):
                if not any(tensor is x for x in tracked):
                    note(tensor, LINEAR, replace(layer, index=index, is_placed=index is not None))
        if func in ops.REDUCTIONS and (noted(tracked[0], ATTENTION) or noted(tracked[0], GATE)) is not None:
            note(y, SUM_OF, (tracked[0], tracked[0]._version))
        chooses = func in ops.CHOOSING
        if chooses or func in ops.PICKING:
            is_attention = all(noted(x, ATTENTION) is not None for x in tracked)
            is_picked = chooses or func is not torch.Tensor.__getitem__ or ops.picks(args)
            for tensor in tensors_in(y):
                if chooses:
                    note(tensor, CHOSEN, ())
                if is_attention and is_picked:
                    note(tensor, GATE, ())
        keeps_last = ops.keeps_last_axis(func, args, tracked[0])
        return self._carried(tracked, y, moved=func in ops.MOVING | ops.CASTS, keeps_last=keeps_last)

    def _strided(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Windows of the memory in which x lies, if that holds x and nothing else."""
        x, size, stride, offset = bind(args, kwargs, ("input", "size", "stride", "storage_offset"))

        def last(shape: Sequence[int], strides: Sequence[int]) -> int:
            return sum((n - 1) * step for n, step in zip(shape, strides, strict=True))

        start = 0 if offset is None else offset - x.storage_offset()
        own = last(x.shape, x.stride())
        if own + 1 != x.numel() or start < 0 or start + last(size, stride) > own:
            raise self._lost(f"{name_of(func)} of a tensor that is a part of another")
        return self._structural(func, args, kwargs)

    def _check_weighted_sum(
        self, func: Any, x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Refuse a linear layer that is spelled as a product and a sum, which its rule would not see."""
        axes = bind(args, kwargs, ("input", "dim"))[1]
        axes = range(x.dim()) if axes is None else axes if isinstance(axes, list | tuple) else [axes]
        if any((axis % x.dim()) - x.dim() in noted(x, WEIGHTED) for axis in axes):
            raise UnsupportedOperationError(
                f"{name_of(func)} of numbers that were multiplied by weights, a linear layer written out",
                self._rule_owner("linear"),
            )

    def _fused_attention(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query, key, value, mask, dropout, is_causal, scale, grouped = bind(args, kwargs, ATTENTION_PARAMETERS)
        if dropout:
            raise UnsupportedModelError("attention dropout is active: call model.eval() first")
        given = query, key, value, None if mask is None else mask.detach(), bool(is_causal), scale
        self.sub_layers.enters_attention(value)
        # A product with a constant is linear, and nothing of it is shared.
        q, k, v, m = (self.tracked(operand) for operand in (query, key, value, mask))
        through_scores: tuple[tuple[str, int], ...] = (("attention_values", 0),) if v else ()
        query = self._share(query, *through_scores, *((("product", 0),) if k else ()))
        key = self._share(key, *through_scores, *((("product", 1),) if q else ()))
        value = self._share(value, *((("attention_values", 1),) if q or k or m else ()))
        mask = self._share(mask[...], *through_scores) if m else mask
        written_out = self._has_rule("softmax")
        output: Tensor = F.scaled_dot_product_attention(
            query.detach() if written_out else query,
            key.detach() if written_out else key,
            value.detach() if written_out else value,
            attn_mask=mask.detach() if written_out and m else mask,
            is_causal=bool(is_causal),
            scale=scale,
            enable_gqa=bool(grouped),
        )
        if written_out and query.dim() < 3:
            return cast(Tensor, self._refuse(func, args, kwargs))
        if written_out:
            scores = AttentionInputs(query, key, mask, bool(is_causal), scale_of(query, scale)).scores()
            weights = applied(lrp.Softmax, scores, lambda: weights_of(scores), -1, self.sweep)
            attended = torch.matmul(weights, of_heads(value, scores.shape[-3]))
            output = applied(lrp.Valued, attended, output)
        if not v and output.requires_grad:
            output = self._weighed(note(output, ATTENTION, ()), output)
        self.trace.keep_fused(*given, output)
        self.trace.attended(output, output.dim() - 2)
        self.sites.attended_fused(output)
        return output

    def _dropout(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, p, training = bind(args, kwargs, ("input", "p", "training"))
        if p and (training is None or training):
            raise UnsupportedModelError("dropout is active: call model.eval() first")
        output: Tensor = x
        return output
