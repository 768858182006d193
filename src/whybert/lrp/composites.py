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
| `softmax`          | a function of (relevance, saved softmax); fused attention is written out then |
| `attention_values` | the shares of attention weights A and values V in A V                         |
| `state`            | the shares of what weighs a state that decays, and of the state               |
| `convolution`      | only ever `REFUSED`: it is linear, so no table needs a rule of its own        |

A *share* multiplies what its operand is handed by the ordinary derivative: 1 leaves it, 1/2 halves
it, `None` makes the operand a constant.  A product of two factors would otherwise hand the whole of
its relevance to each of them and so double it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal

from torch import Tensor

from whybert.errors import UnknownNameError, UsageError
from whybert.lrp import rules

Table = Mapping[str, Any]
Rules = Literal["attnlrp", "cp_lrp"]
"""Which of the two is meant, an entry of `RULES`."""
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
    "softmax",
    "attention_values",
    "state",
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
    table: Table = field(default_factory=dict)
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

    @property
    def parts(self) -> tuple[Composite, ...]:
        """The tables of which some operation follows one."""
        return (self,)

    def at(self, place: Place) -> Composite:
        """The table of the operations at a place in the model."""
        return self

    def rule(self, kind: str) -> Any:
        """The rule for `kind`; None stands for the ordinary derivative."""
        return self.table.get(kind)

    def shares(self, kind: str) -> Shares:
        """The shares of the two operands; both 1 stands for the ordinary derivative."""
        shares: Shares = self.table.get(kind, ORDINARY)
        return shares


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a model an operation is.

    layer: the number of its layer, from 0; what is behind the last layer has the number of layers there are.
    layers: how many there are; None if they cannot be told apart.
    modules: the names of the modules it runs in, of those that are asked for, the innermost last.
    """

    layer: int
    layers: int | None
    modules: tuple[str, ...] = ()


GRADIENT: Final = Composite("gradient", closed=False)

# The same where fused attention, whose kernels have no second derivative, is written out.
WRITTEN_OUT: Final = Composite("gradient", {"softmax": rules.derivative}, closed=False)

# Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers", ICML
# 2024 (arXiv 2402.05602), section 3: element-wise functions pass f(x) / x (the identity rule), a product
# of two activations half to each factor (the uniform rule), softmax keeps its derivative (a Taylor
# expansion), normalisation has a constant deviation.  Linear layers follow the epsilon rule, which in
# gradient form is the ordinary derivative.  It has no rule for the states of a selective scan, and the
# uniform one would halve them at each step: there it is the rule of Jafari et al., "MambaLRP", NeurIPS 2024
# (arXiv 2406.07592), section 4: A, B and C, which are made of the input, are constants.
ATTN_LRP: Final = Composite(
    "attnlrp",
    {
        "activation": rules.ratio,
        "power": rules.ratio,
        "layer_norm": rules.constant_deviation,
        "quotient": (1.0, None),
        "product": (0.5, 0.5),
        "attention_values": (0.5, 0.5),
        "state": (None, 1.0),
    },
)

# Ali et al., "XAI for Transformers: Better Explanations through Conservative Propagation", ICML 2022
# (arXiv 2202.07304): the attention weights and LayerNorm's deviation are constants.
CP_LRP: Final = Composite("cp_lrp", {**ATTN_LRP.table, "attention_values": (None, 1.0)})


@dataclass(frozen=True, eq=False)
class Mixed(Composite):
    """Other tables in other parts of a model, told by depth or by the names of modules.

    lower, upper: of the layers below, and of all else above.
    below: how many layers `lower` is for, from the embedding on; below 1 as a share of all layers, to the
        nearest number.
    modules: tables by the names of modules, in which * stands for anything; of several that an operation
        runs in, the innermost counts, before any depth.

    Raises UsageError where tables cannot stand in one sweep.
    """

    lower: Composite = ATTN_LRP
    upper: Composite = CP_LRP
    below: float = 0.5
    modules: Mapping[str, Composite] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", MappingProxyType(dict(self.modules)))
        if self.table:
            raise UsageError(f"expected the rules of {self.name} in its parts, found a table of its own")
        for part in self.parts:
            if not part.keeps_books or len(part.parts) > 1:
                raise UsageError(
                    f"expected parts of {self.name} that are changed gradients, each with a table, found "
                    f"{part.name}"
                )
        if self.below < 0 or (self.below > 1 and self.below != int(self.below)):
            raise UsageError(
                f"expected below of {self.name} to be a number of layers, or a share of them below 1, found "
                f"{self.below}"
            )

    @property
    def by_depth(self) -> bool:
        """Whether layers have to be told apart."""
        return self.lower is not self.upper and self.below > 0

    @property
    def parts(self) -> tuple[Composite, ...]:
        return tuple(dict.fromkeys((self.upper, self.lower, *self.modules.values())))

    def at(self, place: Place) -> Composite:
        for name in reversed(place.modules):
            for pattern, composite in self.modules.items():
                if fnmatchcase(name, pattern):
                    return composite
        if not self.by_depth or place.layers is None:
            return self.upper
        count = self.below if self.below >= 1 else math.floor(self.below * place.layers + 0.5)
        return self.lower if place.layer < min(count, place.layers) else self.upper


RULES: Final[Mapping[str, Composite]] = MappingProxyType(
    {"gradient": GRADIENT, "attnlrp": ATTN_LRP, "cp_lrp": CP_LRP}
)
"""By the names that the options of methods have for them."""

# Mehri et al., "LibraGrad", CVPR 2025 (arXiv 2411.16760): attention weights, the gates of x g(x) and
# LayerNorm's deviation are constants, products are halved.  CP-LRP, but for a tanh, which has no gate.
LIBRAGRAD: Final = Composite("libragrad", {**CP_LRP.table, "activation": rules.gate})


@cache
def gim(temperature: float) -> Composite:
    """Edin et al., "GIM", 2025 (arXiv 2505.17630): softmax's derivative at a temperature, LayerNorm's
    deviation a constant, products halved; activations keep their derivative."""
    table = {kind: rule for kind, rule in ATTN_LRP.table.items() if kind not in ("activation", "power")}
    return Composite("gim", {**table, "softmax": rules.Tempered(temperature)})


@cache
def mixed_lrp(lower: Rules, upper: Rules, below: float) -> Composite:
    """One of AttnLRP and CP-LRP in the lower layers, the other above."""
    return Mixed("mixed_lrp", lower=RULES[lower], upper=RULES[upper], below=below)


@cache  # one table for one rule: a forward pass that was run for it is known by it
def linear_lrp(name: str, rule: Callable[[Tensor, rules.SavedLinear], Tensor], attention: Rules) -> Composite:
    """A rule for linear layers, which is a changed gradient; the rest is as in `attention`."""
    return Composite(name, {**RULES[attention].table, "linear": rule, "convolution": REFUSED})


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
