"""Which operations of a model follow which rules: a mode that counts them as they are called."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from torch import Tensor

from whybert.interception.calls import tensors_in
from whybert.interception.mode import Handler, Interception

_KINDS: Final = {
    "_linear": "linear",
    "_quantised_layer": "linear",
    "_convolution": "linear",
    "_contraction": "linear",
    "_added_product": "linear",
    "_grouped_product": "linear",
    "_layer_norm": "layer_norm",
    "_rms_norm": "layer_norm",
    "_activation": "activation",
    "_power": "power",
    "_root": "power",
    "_softmax": "softmax",
}
"""The kind of operation that a handler is for, as tables of rules name them; what it shares says more."""


class Counting(Interception):
    """An `Interception` that knows afterwards how many operations of each kind there were.

    counts: by kind, of those whose result descends from the embedding.
    """

    def __init__(self, *given: Any, **how: Any) -> None:
        self.counts: Counter[str] = Counter()
        self._shared: list[str] = []
        super().__init__(*given, **how)

    def _handlers_in_use(self) -> dict[Any, Handler]:
        return {func: _counted(handler) for func, handler in super()._handlers_in_use().items()}

    def _share(self, operand: Tensor, *positions: tuple[str, int]) -> Tensor:
        # of the two operands of one operation the second is counted
        self._shared += [kind for kind, place in positions if place == 1 and operand.requires_grad]
        return super()._share(operand, *positions)

    def _composed(self, *given: Any) -> Tensor:
        self._shared.append("activation")
        return super()._composed(*given)


def _counted(handler: Handler) -> Handler:
    kind = _KINDS.get(handler.__name__)

    def called(mode: Interception, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert isinstance(mode, Counting)
        mode._shared = []
        output = handler(mode, func, args, kwargs)
        found = mode._shared or ([kind] if kind else [])
        if any(tensor.requires_grad for tensor in tensors_in(output)):
            mode.counts.update(found)
        return output

    return called
