"""A text as a cooperative game: its units are the players, the explained output is what they are worth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor

from whybert.errors import UsageError
from whybert.methods.base import Method
from whybert.methods.infilled import infilling, language_model
from whybert.methods.question import Question, Unit
from whybert.perturbation import Perturbation

By = Literal["mask", "delete", "pad", "zero", "infill"]
"""How units are taken away, see `whybert.perturbation`; "infill" lets a masked language model write there."""

_MOST: Final = 50_000_000  # units in all sets of a text together: about 2 GB while they are drawn


@dataclass(frozen=True)
class GameMethod(Method):
    """A method that asks what is left of the output when units of the text are taken away.

    A unit's value is shared equally by its tokens; tokens that the tokenizer added stay and have none.

    unit: what is taken away as one.  by: how.
    model: for by=infill, the masked language model: a folder or hub id.  It is asked once for each set.
    """

    kind: ClassVar[str] = "perturbation"
    needs: ClassVar[str] = "a mask token, unless by=delete"
    rest: ClassVar[str] = "baseline"

    unit: Unit = "word"
    by: By = "mask"
    model: str | None = None

    @abstractmethod
    def values(self, question: Question) -> Sequence[Sequence[float] | Tensor]:
        """Of each row the value of each unit."""

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        found = [torch.as_tensor(row, dtype=torch.float64).tolist() for row in self.values(question)]
        return question.spread(found, self.unit), None

    def biases(self, question: Question) -> Tensor | None:
        """The output with all units taken away, where the values share out what is above it."""
        if not self.complete:
            return None
        nothing = [torch.zeros(1, count, dtype=torch.bool) for count in self.players(question)]
        return torch.cat(self.worth(question, nothing)).to(question.logits.device)

    def players(self, question: Question) -> list[int]:
        """How many units each row has."""
        return [len(units) for units in question.units(self.unit)]

    def worth(self, question: Question, kept: Sequence[Tensor]) -> list[Tensor]:
        """The output (sets,) of each row when only the units of each set are left: bool (sets, units)."""
        if self.model is not None and self.by != "infill":
            raise UsageError(
                f"expected no model of {self.name} with by={self.by}, which asks none, found {self.model!r}; "
                "leave it out, or give by=infill"
            )
        return question.worth(kept, self.unit, self._infilling if self.by == "infill" else self.by)

    @cached_property
    def _infilling(self) -> Perturbation:
        return infilling(language_model(self.model, "by=infill"))


def check_samples(samples: int, players: int, *, each: int = 1, are_distinct: bool = False) -> None:
    """See that the sets of so many samples can be held in memory.

    each: sets of a sample.  are_distinct: no set is held twice, so there are at most 2^players.
    Raises UsageError.
    """
    most = _MOST // max(1, players * each)
    if samples > most and not (are_distinct and 2**players <= most):
        raise UsageError(
            f"expected at most {most} samples for a text of {players} units, found {samples}; give fewer, "
            "or a larger unit (unit=sentence)"
        )


def subsets(sizes: Tensor, players: int, generator: torch.Generator) -> Tensor:
    """Of each size one of the subsets of the players, all of them equally likely: bool (sizes, players)."""
    ranks = torch.rand(len(sizes), players, generator=generator, dtype=torch.float64).argsort(1).argsort(1)
    return ranks < sizes[:, None]


def all_subsets(players: int) -> Tensor:
    """Each subset, bool (2^players, players): player i is in subset s if bit i of the number s is 1."""
    return (torch.arange(2**players)[:, None] >> torch.arange(players)) % 2 == 1
