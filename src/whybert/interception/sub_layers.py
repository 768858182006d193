"""The sub-layers of BERT's kind, x -> LayerNorm(dense(x) + x), told by how a forward pass comes by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from whybert.interception.calls import tensors_in
from whybert.interception.notes import DEPTH


@dataclass(slots=True)
class SubLayer:
    """x -> LayerNorm(dense(x) + x): a block of BERT's kind, as the forward pass came by it."""

    x: Tensor
    dense: Tensor
    total: Tensor
    normalised: bool = False


class SubLayers:
    """Collects them in order; all does nothing unless they are wanted.

    found: the sub-layers.  not_post_norm: why the model is none that is made of these.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.found: list[SubLayer] = []
        self.not_post_norm: str | None = None
        self._inputs: dict[int, Tensor] = {}  # of linear layers
        self._entered = False  # whether the call that is at work is a linear layer
        self._values: Tensor | None = None  # those of the attention that is at work

    def depths_of(self, tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
        """By how many linear layers since the last sub-layer each was come to: least and most."""
        return [getattr(tensor, DEPTH, (0, 0)) for tensor in tensors] if self.wanted else []

    def deepen(self, args: tuple[Any, ...], output: Any, depths: Sequence[tuple[int, int]]) -> None:
        """Note by how many linear layers since the last sub-layer the result was come to: least and most."""
        entered, self._entered = int(self._entered), False
        if self._values is not None:  # an attention is as deep as its values; scores come in several ways
            depths, self._values = [getattr(self._values, DEPTH, (0, 0))], None
        depth = min(low for low, _ in depths) + entered, max(high for _, high in depths) + entered
        for tensor in tensors_in(output if output is not None else args[:1]):
            is_total = bool(self.found) and tensor is self.found[-1].total
            setattr(tensor, DEPTH, (0, 0) if is_total else depth)

    def enters_linear(self, x: Tensor) -> None:
        """A linear layer reads x."""
        if self.wanted:
            self._inputs[id(x)] = x
            self._entered = True
            if self.found and not self.found[-1].normalised:
                self.not_post_norm = "a residual sum enters the next layer without a LayerNorm"

    def enters_attention(self, values: Tensor) -> None:
        """An attention reads these values."""
        if self.wanted:
            self._values = values

    def normalises(self, x: Tensor | None) -> None:
        """A LayerNorm reads x; None for one that is written out, (x - mean) / deviation."""
        if self.found and (x is None or x is self.found[-1].total):
            self.found[-1].normalised = True

    def changes_in_place(self, operands: Iterable[Tensor]) -> None:
        """Something is added to one of these, or one of them to something, in place."""
        if self.wanted and any(id(operand) in self._inputs for operand in operands):
            self.not_post_norm = "it adds to a layer's input in place"

    def residual_sum(self, a: Tensor, b: Tensor, total: Tensor) -> None:
        """Tell whether a + b closes a sub-layer: one operand is what the sub-layer's first layers read."""
        a_is_input, b_is_input = id(a) in self._inputs, id(b) in self._inputs
        if any(operand is sub_layer.total for sub_layer in self.found for operand in (a, b)):
            self.not_post_norm = "its residual stream has no LayerNorm behind the sum (pre-norm)"
        elif a_is_input != b_is_input:
            x, dense = (a, b) if a_is_input else (b, a)
            self.check_depth(x)
            self.check_depth(dense)
            self.found.append(SubLayer(x, dense, total))

    def check_depth(self, tensor: Tensor) -> None:
        """All ways to a tensor pass as many linear layers, or one goes around some: a residual not seen."""
        least, most = getattr(tensor, DEPTH, (0, 0))
        if least != most:
            self.not_post_norm = "a way goes around some of its layers that is not seen to be a residual sum"
