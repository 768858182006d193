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
    """`lat`: weight 1 on what the classifier reads, handed down through each head's attention.

    It starts in every head at the positions that the model's head uses: the first token, as in the paper,
    the last one, or a mean of several, told by `ForwardPass.read_positions`.  From the last layer to the
    first the weights of a head are multiplied by that head's attention matrix; a token's score is the sum
    over heads.  It does not depend on the target.
    Source: Wu and Ong 2020 (arXiv 2101.00196) and the code released with it.
    """

    name: ClassVar[str] = "lat"
    summary: ClassVar[str] = "layerwise attention tracing: where the attention of what is read comes from"
    source: ClassVar[str] = "Wu and Ong 2020"
    kind: ClassVar[str] = "attention"
    place: ClassVar[int] = 4
    signed: ClassVar[bool] = False
    needs_attention: ClassVar[bool] = True

    @property
    def passes(self) -> str:
        return "1 forward"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        forward = question.forward(attention=True)
        if forward.untraceable is not None or not forward.attention:
            raise UnsupportedModelError(
                "lat traces attention weights over the positions of the text, from layer to layer, and here "
                f"{forward.untraceable or 'no attention was found'}; use another method, such as attnlrp"
            )
        traced = forward.read_positions()[:, None, None]  # (batch, 1, 1, seq)
        with torch.no_grad():
            for layer in reversed(forward.attention):
                weights = layer if isinstance(layer, Tensor) else layer.weights()
                traced = torch.matmul(traced.to(weights.dtype), weights)
            return traced[:, :, 0].to(torch.promote_types(traced.dtype, torch.float32)).sum(1), None
