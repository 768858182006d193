"""What the output loses when a piece of the text is taken away: windows of units, and one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from whybert.errors import UsageError
from whybert.methods.game import GameMethod
from whybert.methods.question import Question


@dataclass(frozen=True)
class Occlusion(GameMethod):
    """`occlusion`: a unit's value is the mean drop of the output over the windows that hold it.

    v(all) - v(all without the window).  Windows of `window` neighbouring units begin at each `stride`-th one;
    the last one ends with the text.
    Source: Zeiler and Fergus 2014 (arXiv 1311.2901), section 4.2; for words Li, Monroe and Jurafsky 2016
    (arXiv 1612.08220).
    """

    name: ClassVar[str] = "occlusion"
    summary: ClassVar[str] = "occlusion: the drop of the output without a window of words"
    source: ClassVar[str] = "Zeiler and Fergus 2014"
    place: ClassVar[int] = 61

    window: int = field(default=1, metadata={"least": 1})
    stride: int = field(default=1, metadata={"least": 1})

    @property
    def passes(self) -> str:
        return f"1 + n{f'/{self.stride}' * (self.stride > 1)} forward for n {self.unit}s"

    def values(self, question: Question) -> list[Tensor]:
        if self.stride > self.window:
            raise UsageError(
                f"expected stride of {self.name} of at most its window, so that each {self.unit} is in one, "
                f"found stride {self.stride} and window {self.window}"
            )
        kept = []
        for count in self.players(question):
            last = max(0, count - self.window)
            starts = torch.tensor([*range(0, last, self.stride), last])
            places = torch.arange(count)
            windows = (places >= starts[:, None]) & (places < starts[:, None] + self.window)
            kept.append(~windows)
        outputs = self.worth(question, [torch.cat([torch.ones_like(sets[:1]), sets]) for sets in kept])
        found = []
        for sets, (whole, *without) in zip(kept, outputs, strict=True):
            drops = whole - torch.stack(without)
            windows = (~sets).double()
            found.append(drops @ windows / windows.sum(0))
        return found


@dataclass(frozen=True)
class LeaveOneOut(GameMethod):
    """`leave_one_out`: the drop of the output without the unit, v(all) - v(all without it).

    It is `occlusion` with windows of one unit.
    Source: Li, Monroe and Jurafsky 2016 (arXiv 1612.08220).
    """

    name: ClassVar[str] = "leave_one_out"
    summary: ClassVar[str] = "leave one out: the drop of the output without the word"
    source: ClassVar[str] = "Li et al. 2016"
    place: ClassVar[int] = 60

    @property
    def passes(self) -> str:
        return f"1 + n forward for n {self.unit}s"

    def values(self, question: Question) -> list[Tensor]:
        return Occlusion(self.unit, self.by, self.model).values(question)
