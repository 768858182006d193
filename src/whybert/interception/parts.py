"""Forward passes of a text beside changed copies of it, such as its parts, one for each token.

Such a pass has `copies` rows for each text, one block of the batch behind the other; row 0 is the
text itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from whybert.errors import UnsupportedModelError, UnsupportedOperationError
from whybert.interception.calls import (
    ATTENTION_PARAMETERS,
    LAYER_NORM_PARAMETERS,
    RMS_NORM_PARAMETERS,
    bind,
    called,
    name_of,
)
from whybert.interception.layers import at_layers, nothing_saved, same
from whybert.interception.mode import Interception
from whybert.interception.notes import ATTENTION, note, note_elementwise, noted
from whybert.interception.running import run
from whybert.interception.trace import AttentionInputs, of_heads, scale_of
from whybert.lrp import contractions
from whybert.lrp import functions as lrp
from whybert.lrp import operations as ops
from whybert.lrp.composites import CP_LRP


class Copies(Interception):
    """The mode of such a pass."""

    def __init__(self, *given: Any, copies: int, **options: Any) -> None:
        super().__init__(*given, **options)
        self.copies = copies
        self._zero: Tensor | None = None

    def begin(self, embedding: Tensor) -> None:
        super().begin(embedding)
        self._zero = (embedding * 0.0).sum()

    def rows(self, x: Tensor) -> Tensor:
        """(copies, batch, ...)"""
        if not x.dim() or x.shape[0] % self.copies:
            raise UnsupportedModelError(
                f"a tensor of shape {tuple(x.shape)} in the model does not hold its texts along the first "
                "axis, so that they cannot be run beside copies of them; use another method, such as cp_lrp"
            )
        return x.unflatten(0, (self.copies, -1))  # type: ignore[no-any-return, no-untyped-call]

    def enter(self, hidden: Tensor) -> Tensor:
        """What a layer reads instead of the hidden states that it is handed."""
        return hidden

    def leave(self, hidden: Tensor) -> Tensor:
        """What is looked at of a layer that returns these, (copies, batch, positions, hidden)."""
        return self.rows(hidden.detach())

    def whole(self, x: Tensor) -> Tensor:
        """The numbers of row 0 in every row, constants."""
        rows = self.rows(x.detach())
        return rows[:1].expand_as(rows).flatten(0, 1).contiguous()

    def _valued(self, y: Tensor, value: Callable[[], Tensor]) -> Tensor:
        """The rows are not those of the model's own operation."""
        return y

    def _tracked_as(self, y: Tensor) -> Tensor:
        """y, which descends from the embedding whatever it was computed from."""
        return y if y.requires_grad or self._zero is None else y + self._zero.to(y.dtype)


class Parts(Copies):
    """A text beside its parts: row 1 is the rest, what belongs to no source; the others are the sources.

    With attention weights and the deviations of LayerNorm taken from row 0, activations as f(x) / x times x,
    and each bias added to one row alone, every operation is linear in the other rows, and these sum to row 0
    all the way.  It is CP-LRP, forward: the logits of a source are what CP-LRP backward finds at its
    embedding.

    shared: biases are handed to the sources, see `_given_out`; else they stay in the rest.
    """

    def __init__(self, composites: Any, *, shared: bool = False, **options: Any) -> None:
        super().__init__((CP_LRP,), **options)
        self.shared = shared
        self.waits = False  # biases stay in the rest for now: they are given out at the next residual sum
        self._attended = False  # an attention was come by whose residual sum was not

    # --- constants ---------------------------------------------------------------------------------------

    def _settled(self, y: Tensor, constant: Tensor) -> Tensor:
        """y, to all rows of which the constant was just added: the sources do not have it.

        y is changed in place, since it may be all that memory holds.
        """
        with torch.no_grad():
            self.rows(y)[2:].sub_(self.rows(constant.expand(y.shape))[2:])
        return y if self.waits or not self.shared else self._given_out(y)

    def _given_out(self, y: Tensor) -> Tensor:
        """The rest b of each position to the sources z_k, by |b . z_k| / sum_j |b . z_j| (DecompX)."""
        with torch.no_grad():
            rest, sources = self.rows(y)[1], self.rows(y)[2:]
            weights = torch.einsum("...w,k...w->k...", rest, sources).abs()
            total = weights.sum(0)
            weights = torch.nan_to_num(weights / total, 0.0)
            for source, weight in zip(sources, weights, strict=True):
                source.addcmul_(rest, weight[..., None])
            rest.masked_fill_((total > 0.0)[..., None], 0.0)
        return y

    def _entered(
        self, x: Tensor, constant: Tensor, compute: Callable[[], Tensor], slope: float = 1.0
    ) -> Tensor:
        return self._settled(self._tracked_as(compute()), constant)

    def _layer(self, x: Tensor, weight: Tensor, bias: Tensor | None, compute: Callable[[], Tensor]) -> Tensor:
        y = compute()
        if not y.requires_grad:  # of a kernel of its own
            y = torch.nn.functional.linear(x, weight, bias)
        return y if bias is None else self._settled(y, bias)

    def _layer_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, bias, eps = bind(args, kwargs, LAYER_NORM_PARAMETERS)
        if self.tracked(weight) or self.tracked(bias) or not self.tracked(x):
            return self._refused(func)
        over = tuple(range(-len(tuple(shape)), 0))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance = self.whole(wide).var(over, correction=0, keepdim=True)
        y = (wide - wide.mean(over, keepdim=True)) * (variance + (1e-5 if eps is None else eps)).rsqrt()
        y = (y if weight is None else y * weight).to(x.dtype)
        return y if bias is None else self._settled(y + bias, bias)

    def _rms_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, eps = bind(args, kwargs, RMS_NORM_PARAMETERS)
        if self.tracked(weight) or not self.tracked(x):
            return self._refused(func)
        over = tuple(range(-len(tuple(shape)), 0))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        y: Tensor = wide * (self.whole(wide).square().mean(over, keepdim=True) + eps).rsqrt()
        return (y if weight is None else y * weight).to(x.dtype)

    # --- element-wise functions, products ----------------------------------------------------------------

    def _elementwise(self, x: Tensor, function: ops.Elementwise, kind: str) -> Tensor:
        rows = self.rows(x)
        whole = rows[:1].detach()
        value: Tensor = function.value(whole)
        y = torch.cat([value, rows[1:] * function.ratio(whole, value) + function.at_zero]).flatten(0, 1)
        if function.at_zero:
            y = self._settled(y, y.new_full((), function.at_zero))
        return note_elementwise(y, x, None)

    def _exponential(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (x,) = bind(args, kwargs, ("input",))
        return note_elementwise(self._tracked_as(func(self.whole(x))), x, None)

    def _homogeneous(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Such as of a norm, that all rows divide by."""
        y = called(func, args, kwargs, self._whole_if_tracked)
        return self._tracked_as(y) if isinstance(y, Tensor) else self._refused(func)

    _square = _homogeneous

    def _whole_if_tracked(self, x: Tensor) -> Tensor:
        return self.whole(x) if self.tracked(x) else x

    def _composed(self, a: Tensor, b: Tensor, x: Tensor, scale: float | None) -> Tensor:
        return a * self.whole(b)

    def _share(self, operand: Tensor, *positions: tuple[str, int]) -> Tensor:
        return operand if lrp.total_share(CP_LRP, positions) == 1.0 else self.whole(operand)

    def _activations_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        first, second = (noted(operand, ATTENTION) is not None for operand in (a, b))
        if not (first or second):
            return 0.5 * (call(a, self.whole(b)) + call(self.whole(a), b))
        self._attended = True
        return call(self.whole(a), b) if first else call(a, self.whole(b))

    # --- attention ---------------------------------------------------------------------------------------

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        y = func(*args, **kwargs)
        rows = self.rows(y)
        return note(self._tracked_as(rows[:1].expand_as(rows).flatten(0, 1).contiguous()), ATTENTION, ())

    def _fused_attention(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query, key, value, mask, dropout, is_causal, scale, _ = bind(args, kwargs, ATTENTION_PARAMETERS)
        if dropout or self.tracked(mask) or not self.tracked(value):
            return self._refused(func)
        query, key = (self.rows(tensor.detach())[0] for tensor in (query, key))
        if mask is not None and mask.dim() == 4 and len(mask) > 1:
            mask = self.rows(mask)[0]
        weights = AttentionInputs(query, key, mask, bool(is_causal), scale_of(query, scale)).weights()
        self._attended = True
        return torch.matmul(weights, self.rows(of_heads(value, query.shape[-3]))).flatten(0, 1)

    # --- the residual sum behind an attention ------------------------------------------------------------

    def _sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        y = super()._sum(func, args, kwargs)
        a, b = bind(args, kwargs, ("input", "other"))
        if self._attended and self.tracked(a) and self.tracked(b):
            self._attended = False
            y = self.residual_sum(a, b, y)
        return y

    def _in_place_sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._attended and all(self.tracked(operand) for operand in args[:2]):
            raise UnsupportedModelError(
                f"the model adds the output of an attention in place ({name_of(func)}), which its parts "
                "cannot follow; use another method, such as cp_lrp"
            )
        return super()._in_place_sum(func, args, kwargs)

    def enter(self, hidden: Tensor) -> Tensor:
        """The biases of its attention wait for the residual sum behind it."""
        self.waits = True
        return hidden

    def leave(self, hidden: Tensor) -> Tensor:
        if self.waits and self.shared:
            raise UnsupportedModelError(
                "decompx hands the biases of an attention out behind its residual sum, and a layer of this "
                "model has none; use include_biases=false"
            )
        return super().leave(hidden)

    def residual_sum(self, a: Tensor, b: Tensor, total: Tensor) -> Tensor:
        """total = a + b, the first sum behind an attention."""
        self.waits = False
        return self._given_out(total) if self.shared else total

    # --- helpers -----------------------------------------------------------------------------------------

    def _lose(self, func: Any, name: str, found: Sequence[Tensor]) -> None:  # type: ignore[override]
        """What is no more than a comparison or a place is that of row 0 for all."""
        for tensor in found:
            if not tensor.is_floating_point() and tensor.dim() and tensor.shape[0] % self.copies == 0:
                rows = self.rows(tensor)
                tensor.copy_(rows[:1].expand_as(rows).flatten(0, 1).clone())
        super()._lose(func, name, found)

    def _refused(self, func: Any) -> Tensor:
        raise UnsupportedOperationError(name_of(func), CP_LRP.name)

    def check_sum(self, y: Tensor, method: str) -> Tensor:
        """The rows of y, (copies, batch, ...); half precision in float32.

        Raises UnsupportedModelError where the others do not sum to row 0: the model does what cannot be
        followed.
        """
        rows = self.rows(y.detach()).to(torch.promote_types(y.dtype, torch.float32))
        gap = float((rows[0] - rows[1:].sum(0)).abs().max())
        if not gap <= max(1e-4, torch.finfo(y.dtype).eps ** 0.5) * float(rows.abs().max()):
            raise UnsupportedModelError(
                f"{method} takes the text apart, and in this model the parts do not sum to the whole (they "
                f"are {gap:.2g} apart); use another method, such as cp_lrp"
            )
        return rows


class ByValues(Copies):
    """Attention of which each row has the values of some positions alone.

    keep: (copies, positions), what the values of row 0 are multiplied by in each row.
    """

    def __init__(self, *given: Any, keep: Tensor, **options: Any) -> None:
        super().__init__(*given, copies=len(keep), **options)
        self.keep = keep

    def _kept(self, values: Tensor, axis: int) -> Tensor:
        rows = self.rows(self.whole(values))
        shape = [1] * rows.dim()
        shape[0], shape[axis + 1] = self.keep.shape
        return self._tracked_as((rows * self.keep.view(shape).to(rows)).flatten(0, 1))

    def _activations_product(
        self,
        func: Any,
        a: Tensor,
        b: Tensor,
        call: Callable[[Tensor, Tensor], Any],
        axes: contractions.Axes | None,
    ) -> Any:
        first = noted(a, ATTENTION) is not None
        if first or noted(b, ATTENTION) is not None:
            if axes is None:
                raise UnsupportedOperationError(name_of(func), self._name())
            weights, values = (axes.first, axes.second) if first else (axes.second, axes.first)
            axis = values.index(next(name for name in weights if name not in axes.result))
            a, b = (a, self._kept(b, axis)) if first else (self._kept(a, axis), b)
        return super()._activations_product(func, a, b, call, axes)

    def _fused_attention(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query, key, value, *others = bind(args, kwargs, ATTENTION_PARAMETERS)
        value = self._kept(value, value.dim() - 2)
        return super()._fused_attention(func, (query, key, value, *others), {})


class ZeroedValues(ByValues):
    """Each layer on its own, with the values of some positions at zero."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **{**options, "attention": True})

    def enter(self, hidden: Tensor) -> Tensor:
        return self._tracked_as(self.whole(hidden))

    def leave(self, hidden: Tensor) -> Tensor:
        self.trace.kept.clear()  # not wanted, only told
        return super().leave(hidden)


class Mixing(ByValues, Parts):
    """Each attention block on its own, taken apart by the positions that it reads: row 1 is the rest.

    An attention block is the attention, the residual sum behind it and, where this sum goes nowhere else, the
    LayerNorm of it.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._read: Tensor | None = None
        self._total: Tensor | None = None
        self._normed: Tensor | None = None
        self._goes_on = False

    def enter(self, hidden: Tensor) -> Tensor:
        rows = self.rows(self.whole(hidden)) * self.keep[:, None, :, None].to(hidden.dtype)
        self._read = self._tracked_as(rows.flatten(0, 1))
        self._total, self._normed, self._goes_on = None, None, False
        return self._read

    def leave(self, hidden: Tensor) -> Tensor:
        block = self._total if self._goes_on else self._normed
        if block is None:
            raise self._other(
                "no residual sum of what a layer reads and of its attention that goes on to another sum or "
                "to a LayerNorm"
            )
        return self.check_sum(block, "alti")

    def _other(self, found: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"alti is defined for layers of attention, residual sum and LayerNorm, and here there is "
            f"{found}; use another method, such as cp_lrp"
        )

    def residual_sum(self, a: Tensor, b: Tensor, total: Tensor) -> Tensor:
        if not any(same(operand, self._read) for operand in (a, b)):
            raise self._other("another sum behind an attention than that with what the layer reads")
        self._total = total
        return total

    def _sum(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = bind(args, kwargs, ("input", "other"))
        total = self._total
        if total is not None and func not in ops.DIFFERENCES and (a is total or b is total):
            self._goes_on = self._goes_on or (self.tracked(a) and self.tracked(b))
        return super()._sum(func, args, kwargs)

    def _layer_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        return self._normalised(super()._layer_norm(func, args, kwargs), args, kwargs)

    def _rms_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        return self._normalised(super()._rms_norm(func, args, kwargs), args, kwargs)

    def _normalised(self, y: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if self._total is not None and bind(args, kwargs, ("input",))[0] is self._total:
            self._normed = y
        return y


def run_copies(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    embedding: Tensor,
    mode: Callable[..., Copies],
    layers: Sequence[nn.Module],
    look: Callable[[Tensor], Tensor],
    expected: Tensor,
) -> tuple[Copies, Tensor, list[Tensor]]:
    """Run copies of the inputs in one pass, of which no numbers are kept for a backward pass.

    Args:
        model, inputs: of one copy.
        embedding: (copies * batch, positions, hidden), what they begin with.
        mode: makes the one that they are run in.
        layers: at which its `enter` and `leave` are asked.
        look: what is kept of what it looks at.
        expected: the model's own logits (batch, labels), which row 0 has to have.

    Returns:
        The mode, the logits (copies * batch, labels), and of each layer what `look` says.

    Raises UnsupportedModelError and UnsupportedOperationError.
    """
    batch = len(inputs["input_ids"])
    copied = {
        name: tensor.repeat(len(embedding) // batch, *[1] * (tensor.dim() - 1))
        if tensor.dim() and len(tensor) == batch
        else tensor
        for name, tensor in inputs.items()
    }
    made: list[Copies] = []
    seen: list[Tensor] = []

    @contextmanager
    def within(entered: Any) -> Iterator[None]:
        made.append(entered)
        with (
            nothing_saved(),
            at_layers(
                entered, layers, entered.enter, lambda hidden: seen.append(look(entered.leave(hidden)))
            ),
        ):
            yield

    logits = run(model, copied, (), at=lambda _: embedding, kind=mode, within=within).logits.detach()
    gap = (logits[:batch] - expected).abs().max()
    if not bool(gap <= max(1e-4, torch.finfo(logits.dtype).eps ** 0.5) * expected.abs().max().clamp_min(1.0)):
        raise UnsupportedModelError(
            f"beside copies of it a text has other logits, {float(gap):.2g} apart: the model mixes the rows "
            "of a batch, or does what cannot be followed; use another method, such as cp_lrp"
        )
    return made[0], logits, seen
