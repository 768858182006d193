"""The one mechanism: a function mode that lets a model's own forward pass follow other rules backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor

from whybert.errors import UnsupportedOperationError
from whybert.interception.attention import WeightedSum
from whybert.interception.calls import (
    LAYER_NORM_PARAMETERS,
    RMS_NORM_PARAMETERS,
    applied,
    bind,
    name_of,
    value_of,
)
from whybert.interception.notes import LINEAR, note
from whybert.interception.products import Products
from whybert.lrp import functions as lrp
from whybert.lrp import operations as ops
from whybert.lrp.composites import REFUSED
from whybert.quantised import linear_layer

Handler = Callable[["Interception", Any, tuple[Any, ...], dict[str, Any]], Any]


class Interception(Products):
    """The whole: `Products`, with rules for linear layers and norms, and the table of all handlers.

    One object serves one forward pass, and is made with what `Following` is made with.
    """

    def _handlers_in_use(self) -> dict[Any, Handler]:
        """The handlers that some composite, the attention tap or the sub-layers need; else none.

        Plain functions, not bound methods: those would make a reference cycle that keeps every activation
        alive until the cycle collector comes by.
        """
        used: dict[Any, Handler] = {}
        kind = type(self)

        def use(functions: Iterable[Any], handler: Handler) -> None:
            used.update(dict.fromkeys(functions, handler))

        use(ops.DROPOUTS, kind._dropout)
        use([linear_layer], kind._quantised_layer)
        use(ops.STRIDED, kind._strided)
        if self.trace.wanted or self.sites.wanted or self._closed is not None or self._has_rule("softmax"):
            use(ops.SOFTMAXES, kind._softmax)
            use(ops.STRUCTURAL, kind._structural)
            use(ops.LINEAR, kind._structural)
            use(ops.MIXING, kind._structural)
            use(ops.CONTRACTIONS, kind._contraction)
            use(ops.ADDED_PRODUCTS, kind._added_product)
            use(ops.GROUPED_PRODUCTS, kind._grouped_product)
            use(ops.FUSED_ATTENTION, kind._fused_attention)
            use(ops.PRODUCTS, kind._product)
            use(ops.QUOTIENTS, kind._quotient)
            use(ops.SUMS, kind._sum)
            use(ops.IN_PLACE_SUMS, kind._in_place_sum)
        if self._closed is not None:
            use(ops.LINEAR_LAYERS, kind._linear)
            use(ops.CONVOLUTIONS, kind._convolution)
            use(ops.LAYER_NORMS, kind._layer_norm)
            use(ops.RMS_NORMS, kind._rms_norm)
            use(ops.BATCH_NORMS, kind._batch_norm)
            use(ops.ELEMENTWISE, kind._activation)
            use(ops.HOMOGENEOUS, kind._homogeneous)
            use(ops.SQUARES, kind._square)
            use(ops.NEGATIONS, kind._negative)
            use(ops.IN_PLACE, kind._in_place)
            use(ops.POWERS, kind._power)
            use(ops.ROOTS, kind._root)
            use(ops.EXPONENTIALS, kind._exponential)
            use(ops.LOG_SUMS, kind._log_sum)
            use(ops.LOG_SOFTMAXES, kind._log_softmax)
            use(ops.RECIPROCALS, kind._reciprocal)
            use(ops.IN_PLACE_PRODUCTS, kind._in_place_product)
            use(ops.RESTATED, kind._restated)
        return used

    def _linear(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias = bind(args, kwargs, ("input", "weight", "bias"))
        if self.tracked(weight) or self.tracked(bias):
            raise UnsupportedOperationError("linear with a weight that depends on the input", self._name())
        self.sub_layers.enters_linear(x)
        if not self._has_rule("linear") and (bias is None or self.books is None):
            return cast(Tensor, self._carried([x], F.linear(x, weight, bias)))
        return self._whole_layer(x, weight, bias, lambda: F.linear(x, weight, bias))

    def _quantised_layer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias, value = args
        self.sub_layers.enters_linear(x)
        self.trace.wise = True
        return self._whole_layer(x, weight, bias, lambda: value)

    def _whole_layer(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, compute: Callable[[], Tensor]
    ) -> Tensor:
        y = self._layer(x, weight, bias, compute)
        if self._has_rule("linear"):
            note(y, LINEAR, WeightedSum(x, weight, bias, y.shape))
        return cast(Tensor, self._carried([x], y))

    def _convolution(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, weight, bias, *settings = bind(
            args, kwargs, ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        )
        if self.tracked(weight) or self.tracked(bias):
            raise UnsupportedOperationError(
                "a convolution with a kernel that depends on the input", self._name()
            )
        plain = all(s in (d, (d,), None) for s, d in zip(settings, (1, 0, 1, 1), strict=True))
        self.sub_layers.enters_linear(x)
        one = weight.shape[-1] == 1 and x.dim() == 3 and "transpose" not in func.__name__
        if plain and one and self._has_rule("linear"):
            # (batch, channels, seq): a linear layer of each position's channels
            y = self._layer(
                x.transpose(1, 2), weight[..., 0], bias, lambda: func(x, weight, bias).transpose(1, 2)
            )
            return cast(Tensor, self._carried([x], y.transpose(1, 2)))
        refusing = next((table for table in self._tables if table.rule("convolution") is REFUSED), None)
        if refusing is not None:
            raise UnsupportedOperationError(name_of(func), refusing.name)
        y = func(*args, **kwargs)
        y = y if bias is None else self._offset(y, bias.view(-1, *[1] * (weight.dim() - 2)))
        return cast(Tensor, self._carried([x], y))

    def _rms_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, eps = bind(args, kwargs, RMS_NORM_PARAMETERS)
        if self.tracked(weight) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if not self._has_rule("layer_norm"):
            return F.rms_norm(x, tuple(shape), weight, eps)
        return applied(lrp.RMSNorm, x, tuple(shape), weight, eps, self.sweep)

    def _layer_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x, shape, weight, bias, eps = bind(args, kwargs, LAYER_NORM_PARAMETERS)
        eps = 1e-5 if eps is None else eps
        shape = tuple(shape)
        if self.tracked(weight) or self.tracked(bias) or not self.tracked(x):
            return cast(Tensor, self._refuse(func, args, kwargs))
        self.sub_layers.normalises(x)
        if self._has_rule("layer_norm"):
            return applied(lrp.LayerNorm, x, shape, weight, bias, eps, self.books, self.sweep)
        return F.layer_norm(x, shape, weight, bias, eps)

    def _batch_norm(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """A scale and a constant for each channel, where the moments are kept ones; a bias, to the books."""
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        x, mean, variance, weight, bias, training, _, eps = bind(args, kwargs, names)
        constants = (mean, variance, weight, bias)
        if training or mean is None or variance is None or any(map(self.tracked, constants)):
            return cast(Tensor, self._refuse(func, args, kwargs))
        if self._has_rule("linear"):
            raise UnsupportedOperationError(name_of(func), self._rule_owner("linear"))
        scale = (variance + (1e-5 if eps is None else eps)).rsqrt()
        scale = scale if weight is None else scale * weight
        offset = -mean * scale if bias is None else bias - mean * scale
        channels = (1, -1, *[1] * (x.dim() - 2))
        scaled = x * scale.view(channels).to(x.dtype)
        offset = offset.view(channels).to(x.dtype).expand_as(x)
        if self.books is None:
            y = self._valued(scaled + offset, lambda: value_of(func, args, kwargs))
        else:
            y = self._entered(scaled, offset, lambda: value_of(func, args, kwargs))
        return cast(Tensor, self._carried([x], y))
