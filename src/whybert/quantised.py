"""Linear layers whose weights are kept in few bits: what they are in ordinary numbers.

A library for such weights runs a layer in a kernel of its own, which has no derivative or one that no rule
knows.  Where a layer answers as a linear one with these numbers does, it is that layer for every method.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whybert.anatomy import FAILURES
from whybert.errors import UnsupportedModelError

_PLAIN: Final = (Tensor, nn.Parameter, nn.Buffer)


def linear_layer(x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor) -> Tensor:
    """y = x W^T + b, of which the numbers are known: `value`.  A name for what is a call of torch's."""
    return value


def quantised_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The linear layers with weights in another form than a plain tensor of floating-point numbers.

    One around another, as an adapter's, is no such layer: the inner one is.
    """
    for name, module in model.named_modules():
        if (
            _is_layer(module)
            and not any(map(_is_layer, list(module.modules())[1:]))
            and _is_quantised(module)
        ):
            yield name, module


def _is_layer(module: nn.Module) -> bool:
    return hasattr(module, "in_features") and hasattr(module, "out_features")


def _stored(module: Any) -> Any:
    """The weights as the layer keeps them; until they are frozen, optimum-quanto makes them at each call."""
    made = getattr(module, "qweight", None)
    weight = getattr(module, "weight", made) if type(made) in (*_PLAIN, type(None)) else made
    return weight() if callable(weight) and not isinstance(weight, Tensor) else weight


def _is_quantised(module: nn.Module) -> bool:
    weight = _stored(module)
    if weight is None:  # under a name of their own
        own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        return any(each.dim() > 1 and not each.is_floating_point() for each in own)
    return isinstance(weight, Tensor) and (
        type(weight) not in _PLAIN
        or weight.is_quantized
        or not weight.is_floating_point()
        or weight.dtype.itemsize < 2
    )


def dense(module: Any, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """The weight (out, in) and the bias of a quantised layer in ordinary numbers, if it is linear at all.

    As its library says them, and else as it answers the unit vectors; `like` is one of its inputs.
    """
    weight, bias = _stored(module), getattr(module, "bias", None)
    bias = bias() if callable(bias) and not isinstance(bias, Tensor) else bias
    state = getattr(weight, "quant_state", None)  # of bitsandbytes' 4 bits
    found: Any = None
    with suppress(ImportError, *FAILURES):
        if state is None and (type(weight) not in _PLAIN or weight.is_quantized):
            found = weight.dequantize()
        elif state is not None and not _is_packed(state):
            found = importlib.import_module("bitsandbytes.functional").dequantize_4bit(weight.data, state)
    if type(found) not in _PLAIN or found.shape != (module.out_features, module.in_features):
        unit = torch.eye(module.in_features, dtype=like.dtype, device=like.device)
        bias = module.forward(torch.zeros_like(unit[:1]))[0]
        found = (module.forward(unit) - bias).t()
    return found.detach(), None if bias is None else bias.detach()


def _is_packed(state: Any) -> bool:
    """Whether bitsandbytes has put the 4 bits into the order of its kernel for the CPU."""
    return bool(getattr(state, "packing_format_for_cpu", False))


def is_linear(module: Any, x: Tensor, weight: Tensor, bias: Tensor | None, value: Tensor) -> bool:
    """Whether the layer's own value is that of the linear layer, or whether it rounds its inputs as well.

    To the numbers in which it computes, as every layer does, it may round them.
    """
    expected = F.linear(x.to(weight.dtype), weight, None if bias is None else bias.to(weight.dtype))
    if value.shape != expected.shape:
        return False
    computed = getattr(module, "compute_dtype", None) or value.dtype
    if _is_packed(getattr(_stored(module), "quant_state", None)):
        computed = torch.bfloat16
    tolerance = max(1e-4, 2 * torch.finfo(computed).eps)
    return bool((value.to(expected.dtype) - expected).norm() <= tolerance * expected.norm())


def refused(name: str, module: nn.Module) -> UnsupportedModelError:
    """The error for a quantised layer that is none of those."""
    return UnsupportedModelError(
        f"the layer {name!r} ({type(module).__name__}) has quantised weights and rounds its inputs as well, "
        "so it is no linear layer, and no rule is right for it; explain the model as it was before it was "
        "quantised, or with weights made float again (model.dequantize(), where transformers has it)"
    )
