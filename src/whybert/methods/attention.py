"""Layerwise attention tracing (Wu and Ong 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from whybert.errors import UnsupportedModelError
from whybert.methods.base import Method
from whybert.methods.question import Question


@dataclass(frozen=True)
class LayerwiseAttentionTracing(Method):
    """`lat`: weight 1 on the first token in every head, handed down through each head's attention.

    From the last layer to the first the weights of a head are multiplied by that head's attention
    matrix; a token's score is the sum over heads.  It needs no backward pass and does not depend on
    the target.  Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "lat"
    summary: ClassVar[str] = "layerwise attention tracing: where the attention of [CLS] comes from"
    source: ClassVar[str] = "Wu and Ong 2020"
    place: ClassVar[int] = 4
    signed: ClassVar[bool] = False
    needs_attention: ClassVar[bool] = True

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        forward = question.forward(attention=True)
        if not forward.attention:
            raise UnsupportedModelError(
                "lat traces attention weights, and no attention was found in this model: expected softmax "
                "over (batch, heads, queries, keys) or scaled_dot_product_attention"
            )
        traced: Tensor | None = None
        with torch.no_grad():
            for layer in reversed(forward.attention):
                weights = layer if isinstance(layer, Tensor) else layer.weights()
                # (batch, heads, 1, seq); the first step picks the row of the first token
                traced = weights[:, :, :1] if traced is None else torch.matmul(traced, weights)
            assert traced is not None
            scores = traced[:, :, 0].to(torch.promote_types(traced.dtype, torch.float32)).sum(1)
        return scores, None
