"""Composites: which rule each kind of operation follows, one table a method.

A kind that a table does not name keeps its ordinary derivative, so the empty table is the gradient.

| kind               | the rule is                                                                   |
|--------------------|-------------------------------------------------------------------------------|
| `linear`           | a function of (relevance, saved linear layer), see `whybert.lrp.rules`        |
| `activation`       | a function of (relevance, saved activation): GELU, tanh, ReLU, ...            |
| `power`            | the same, for x^n and the square root inside a hand-written LayerNorm         |
| `layer_norm`       | a function of (relevance, saved LayerNorm)                                    |
| `quotient`         | the shares of numerator and denominator, where both depend on the input       |
| `product`          | the shares of the two factors of a gate or of Q K^T                           |
| `attention_values` | the shares of attention weights A and values V in A V                         |
| `convolution`      | only ever `REFUSED`: it is linear, so no table needs a rule of its own        |

A *share* multiplies what its operand is handed by the ordinary derivative: 1 leaves it, 1/2 halves
it, `None` makes the operand a constant.  A product of two factors would otherwise hand the whole of
its relevance to each of them and so double it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal

from torch import Tensor

from whybert.errors import UnknownNameError
from whybert.lrp import rules

Shares = tuple[float | None, float | None]
ORDINARY: Final[Shares] = (1.0, 1.0)
REFUSED: Final = "refused"
KINDS: Final = (
    "linear",
    "activation",
    "power",
    "layer_norm",
    "quotient",
    "product",
    "attention_values",
    "convolution",
)


@dataclass(frozen=True, eq=False)
class Composite:
    """A named table from kind of operation to rule.

    closed: whether an operation that has no rule is an error.  Only the gradient is open: every
        differentiable operation has a derivative, not every one has a rule.
    as_gradient: whether its relevance travels as R / x, a changed gradient, and not as R itself.

    Raises UnknownNameError for a kind of operation that does not exist.
    """

    name: str
    table: Mapping[str, Any] = field(default_factory=dict)
    closed: bool = True
    as_gradient: bool = True

    def __post_init__(self) -> None:
        for kind in self.table:
            if kind not in KINDS:
                raise UnknownNameError("kind of operation", kind, KINDS)
        object.__setattr__(self, "table", MappingProxyType(dict(self.table)))

    @property
    def keeps_books(self) -> bool:
        """Whether its sweep is a gradient, in which the relevance of a constant is constant * gradient."""
        return self.closed and self.as_gradient

    def rule(self, kind: str) -> Any:
        """The rule for `kind`; None stands for the ordinary derivative."""
        return self.table.get(kind)

    def shares(self, kind: str) -> Shares:
        """The shares of the two operands; both 1 stands for the ordinary derivative."""
        shares: Shares = self.table.get(kind, ORDINARY)
        return shares


GRADIENT: Final = Composite("gradient", closed=False)

# Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers", ICML
# 2024 (arXiv 2402.05602), section 3: element-wise functions pass f(x) / x (the identity rule), a product
# of two activations half to each factor (the uniform rule), softmax keeps its derivative (a Taylor
# expansion), normalisation has a constant deviation.  Linear layers follow the epsilon rule, which in
# gradient form is the ordinary derivative.
ATTN_LRP: Final = Composite(
    "attnlrp",
    {
        "activation": rules.ratio,
        "power": rules.ratio,
        "layer_norm": rules.constant_deviation,
        "quotient": (1.0, None),
        "product": (0.5, 0.5),
        "attention_values": (0.5, 0.5),
    },
)

# Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", ICML 2022
# (arXiv 2202.07304): the attention weights and LayerNorm's deviation are constants.
CP_LRP: Final = Composite("cp_lrp", {**ATTN_LRP.table, "attention_values": (None, 1.0)})


Attention = Literal["attnlrp", "cp_lrp"]
"""Which of the two treats attention, and whatever else is no linear layer."""


@cache  # one table for one rule: a forward pass that was run for it is known by it
def linear_lrp(
    name: str, rule: Callable[[Tensor, rules.SavedLinear], Tensor], attention: Attention
) -> Composite:
    """A rule for linear layers, which is a changed gradient; the rest is as in `attention`."""
    rest = ATTN_LRP if attention == "attnlrp" else CP_LRP
    return Composite(name, {**rest.table, "linear": rule, "convolution": REFUSED})


@cache
def released_lrp(alpha: float) -> Composite:
    """The rules of the code released with Wu and Ong 2020: alpha-beta on the sign of the weight.

    LayerNorm, residual sums, softmax and attention products keep their derivative; GELU and tanh
    hand relevance on unchanged.
    """
    return Composite(
        "lrp",
        {
            "linear": rules.WeightSignAlphaBeta(alpha),
            "activation": rules.identity,
            "convolution": REFUSED,
        },
        as_gradient=False,
    )
