"""What a forward pass notes on its tensors, until they are changed in place."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

# Notes kept on tensors of this forward pass (never on the model's).  One that was written before its tensor
# was changed in place, under whatever name, no longer holds: see `noted`.
DESCENT: Final = "_whybert_descent"  # the tensor descends from the embedding of this very forward pass
DEPTH: Final = "_whybert_depth"  # (least, most): linear layers on the ways to it from the last sub-layer
LOST: Final = "_whybert_lost"  # the name of the operation at which the tensor lost its gradient
WEIGHT: Final = "_whybert_weight"  # (sweep, whether the model's weights went into this constant)
SCORES: Final = "_whybert_scores"  # numbers of the products and softmaxes that it holds, see `AttentionTrace`
RECIPROCAL: Final = "_whybert_reciprocal"  # (): the tensor is one over something; times it is a quotient
WEIGHTED: Final = "_whybert_weighted"  # the axes along which the tensor was multiplied by other weights
ELEMENTWISE: Final = "_whybert_elementwise"  # (x, scale): the tensor is g(x); scale where it is scale * x
# The tensor is linear in the output of a softmax: ((output, its gradient's edge),) where it holds the same
# numbers and the softmax was over the last axis, else ().
ATTENTION: Final = "_whybert_attention"
# (): the tensor is linear in a sigmoid, or in softmax weights of which some were chosen.  Each number that it
# is multiplied by, one by one, it lets through in part, and it is no attention between positions.
GATE: Final = "_whybert_gate"
CHOSEN: Final = "_whybert_chosen"  # (): the tensor is linear in the largest of some numbers
PRODUCT: Final = "_whybert_product"  # (): the tensor is linear in sums of products of two activations
DECAY: Final = "_whybert_decay"  # (): the tensor is linear in an exponential
TIMES: Final = "_whybert_times"  # (): the tensor is linear in products of two activations number by number
STATE: Final = "_whybert_state"  # of which outer products the tensor is a sum, see `states`; () if unknown
SUM_OF: Final = "_whybert_sum_of"  # the softmax weights, or gates, of which the tensor is a sum
# The tensor was computed where no gradient is recorded: the same, with its graph; see `Interception._record`.
INSIDE: Final = "_whybert_inside"
LOG_SUM: Final = "_whybert_log_sum"  # (x, its version, axis): the tensor is log sum exp x over the axis
LOG_WEIGHTS: Final = "_whybert_log_weights"  # (x, its version, axis): exp of the tensor is softmax(x)
LINEAR: Final = "_whybert_linear"  # the tensor is a linear layer whose bias may still come


def note(tensor: Tensor, name: str, value: Any) -> Tensor:
    setattr(tensor, name, (tensor._version, value))
    return tensor


def noted(tensor: Any, name: str) -> Any:
    """What was noted of the tensor; None if nothing was, or if the tensor was changed in place since."""
    version, value = getattr(tensor, name, (None, None))
    return value if version is not None and version == tensor._version else None


def lineage(x: Tensor) -> list[tuple[Tensor, float | None]]:
    """(source, scale): x and whatever it is an element-wise function of, the nearest first.

    It is scale * source where scale is known.
    """
    found: list[tuple[Tensor, float | None]] = [(x, 1.0)]
    while True:
        at, scale = found[-1]
        source, own, version = noted(at, ELEMENTWISE) or (at, 1.0, at._version)
        if source is at or source._version != version:
            return found
        found.append((source, None if scale is None or own is None else scale * own))


def origin(x: Tensor) -> tuple[Tensor, float | None]:
    """The farthest of `lineage`."""
    return lineage(x)[-1]


def common(a: Tensor, b: Tensor) -> tuple[Tensor | None, float | None, float | None]:
    """The nearest that both are element-wise functions of, one a known multiple of it; and both scales.

    None, three times, if there is nothing such.
    """
    of_b = lineage(b)
    for x, scale_a in lineage(a):
        for other, scale_b in of_b:
            if other is x and (scale_a is not None or scale_b is not None):
                return x, scale_a, scale_b
    return None, None, None


def note_elementwise(y: Tensor, source: Tensor, scale: float | None) -> Tensor:
    """Note that y is an element-wise function of `source`, scale * source where that is known."""
    return note(y, ELEMENTWISE, (source, scale, source._version))
