"""What a method is."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor

from whybert.errors import UsageError
from whybert.lrp.composites import Composite
from whybert.methods.question import Question
from whybert.targets import ResolvedTarget
from whybert.typed import check, written

Reduction = Literal["sum", "absolute", "squared_norm"]
KINDS: Final = ("gradient", "relevance", "attention", "decomposition", "perturbation", "control")


@dataclasses.dataclass(frozen=True)
class Method(ABC):
    """An attribution method, a value: its fields are its options, checked by their type hints.

    A subclass in a module of this package is found by its `name`; one from elsewhere is given as an object.

    Fields:
        name, summary, source: a line for people, and the paper.
        kind: the family of methods that it is one of, an entry of `KINDS`.
        needs: what it asks for beside a model and its inputs, such as "a mask token"; empty for nothing.
        given: the option that it is nothing without, such as a masked language model; empty for none.
        short: whether it refuses texts of more than a few words, so that it is not one of "all".
        place: where lists have it; those of one place are ordered by name.
        signed: scores below 0 speak against the target; else scores are magnitudes.
        complete: the relevance, or the scores where there is none, are meant to sum to the explained output,
            see `is_complete`.
        rest: what `biases` are: the model's biases, or the output at the method's "baseline".
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    kind: ClassVar[str]
    needs: ClassVar[str] = ""
    given: ClassVar[str] = ""
    short: ClassVar[bool] = False
    place: ClassVar[int] = 100
    signed: ClassVar[bool] = True
    complete: ClassVar[bool] = False
    rest: ClassVar[str] = "biases"
    needs_attention: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check(self, f" of {self.name}")
        for name, value in self.options.items():
            if isinstance(value, str) and (not value or value != value.strip()):
                raise UsageError(
                    f"expected {name} of {self.name} to be text without blanks around it, found {value!r}; "
                    f"give another, or leave {name} out"
                )

    @property
    def options(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def spec(self) -> str:
        """The method in one line, its options as far as they are not the default: "gi:reduction=sum"."""
        default = {field.name: field.default for field in dataclasses.fields(self)}
        given = {name: value for name, value in self.options.items() if value != default[name]}
        options = ",".join(f"{name}={written(value)}" for name, value in given.items())
        return f"{self.name}:{options}" if options else self.name

    @property
    def accounts(self) -> bool:
        """Whether the scores and `biases` are all of the output, but for rounding, on every model."""
        return False

    @property
    def is_signed(self) -> bool:
        return self.signed

    def is_complete(self, target: ResolvedTarget) -> bool:
        """Whether tokens and rest are meant to sum to this output.

        What LRP hands down from dy/dlogits sums, with the biases, to dy/dlogits . logits: to y itself only
        where y is linear in the logits.  What is held against a baseline sums to the change of any y.
        """
        return self.complete and (target.is_linear or self.rest == "baseline")

    @property
    def passes(self) -> str:
        """What a text costs with these options: "1 forward, 1 backward", "1 + 1000 forward"."""
        return "1 forward, 1 backward"

    def composites(self) -> tuple[Composite, ...]:
        """What `attribute` sweeps the shared forward pass by; none where it needs no backward pass of it."""
        return ()

    @property
    def needs_sub_layers(self) -> bool:
        return False

    @property
    def needs_inside(self) -> bool:
        return False

    @property
    def gradient_form(self) -> Composite | None:
        """The rules by which the relevance of any tensor inside of the model is the tensor * its gradient.

        None where the relevance is no such product, so that there is none of layers and heads.
        """
        return None

    @property
    def looks_inside(self) -> bool:
        """Whether it is known to need more of a model than its answers."""
        asks_only = getattr(self, "kind", "control") in ("perturbation", "control")
        return bool(self.composites() or self.needs_attention or self.needs_sub_layers) or not asks_only

    def biases(self, question: Question) -> Tensor | None:
        """The part (batch,) of the output that no token holds, see `rest`; None where there are no books."""
        return None

    @abstractmethod
    def attribute(self, question: Question) -> tuple[Tensor, Tensor | None]:
        """Scores (batch, seq) and the relevance (batch, seq, hidden) they come from, or None."""


def reduce_hidden(relevance: Tensor, reduction: Reduction | Literal["norm"]) -> Tensor:
    """Token scores (batch, seq) from relevance (batch, seq, hidden); half precision sums in float32."""
    relevance = relevance.to(torch.promote_types(relevance.dtype, torch.float32))
    match reduction:
        case "sum":
            return relevance.sum(-1)
        case "absolute":
            return relevance.abs().sum(-1)
        case "norm":
            return relevance.square().sum(-1).sqrt()
        case "squared_norm":
            return relevance.square().sum(-1)
