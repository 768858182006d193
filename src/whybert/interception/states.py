"""States of a selective scan: sums of outer products that are kept from position to position, and decay.

h_t = a_t h_(t-1) + B_t u_t and y_t = C_t h_t, where a, B and C are made of the input (Mamba).  A product
number by number of which only one factor has the last axis may become such a state; once it has decayed, and
is read by a sum over that axis, the factor that the axis belongs to was B, and the other the value u.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from whybert.interception.notes import STATE, TIMES, note, noted

Positions = list[tuple[str, int]]  # as of `whybert.lrp.functions.Share`; changed when the state is read


@dataclass(eq=False, slots=True)
class Outer:
    """A product number by number.

    positions: where in the tables the share of each factor is found.
    key: the factor that alone has the last axis.
    is_clear: whether the other factor is no product itself, of which it is not known what the value is.
    """

    positions: tuple[Positions, Positions]
    key: int
    is_clear: bool

    def read(self) -> None:
        """The key is a constant, and all comes from the value."""
        self.positions[self.key][:] = [("state", 0)]
        self.positions[1 - self.key][:] = [("state", 1)]


def outer(a: Tensor, b: Tensor) -> Outer | None:
    """The product of two tensors if one of them is the same number along the last axis."""
    sizes = [x.shape[-1] if x.dim() else 1 for x in (a, b)]
    if (sizes[0] == 1) == (sizes[1] == 1):
        return None
    key = int(sizes[1] > 1)
    return Outer(([("product", 0)], [("product", 1)]), key, noted((a, b)[1 - key], TIMES) is None)


def carry(operands: Sequence[Tensor], y: Tensor, keeps_last: bool) -> None:
    """Note what y is that is linear in the operands, of which some are states."""
    found = [noted(x, STATE) for x in operands]
    whole = keeps_last and all(found) and all(x.shape[-1:] == y.shape[-1:] for x in operands)
    note(y, STATE, tuple(dict.fromkeys(each for of in found for each in of)) if whole else ())
