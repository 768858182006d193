"""How much of the output's variance each unit has a part in: total Sobol indices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from whybert.methods.game import GameMethod, check_samples
from whybert.methods.question import Question


@dataclass(frozen=True)
class Sobol(GameMethod):
    """`sobol`: the total Sobol index of each unit, where each is left or taken away with probability 1/2.

    T_i = E[Var(v(S) given all but i)] / Var(v(S)) is the share of the variance that i has a part in, alone or
    with others, and has no sign.  With i turned round in each of N designs A, Jansen's estimator is

        T_i = 1 / (4 N) sum over A of (v(A) - v(A with i turned round))^2 / Var over A of v(A)

    The designs are the first N points of a scrambled Sobol sequence, rounded to 0 and 1.  All units share the
    variance, so its error changes no order.

    samples: N; each costs n + 1 passes for n units, less what is the same.
    Source: Fel et al. 2021 (arXiv 2111.04138), equations 4 and 5, with masks of 0 and 1.
    """

    name: ClassVar[str] = "sobol"
    summary: ClassVar[str] = (
        "total Sobol indices: the share of the output's variance that a word has a part in"
    )
    source: ClassVar[str] = "Fel et al. 2021"
    place: ClassVar[int] = 68
    signed: ClassVar[bool] = False

    samples: int = field(default=32, metadata={"least": 2})
    seed: int = field(default=0, metadata={"least": 0})

    @property
    def passes(self) -> str:
        return f"{self.samples} (n + 1) forward for n {self.unit}s"

    def values(self, question: Question) -> list[Tensor]:
        kept = []
        for count, generator in zip(self.players(question), question.generators(self.seed), strict=True):
            check_samples(self.samples, count, each=count + 1)
            turned = torch.cat([torch.zeros(1, count), torch.eye(count)]).bool()
            kept.append((self._designs(count, generator)[:, None] ^ turned).flatten(0, 1))
        found = []
        for sets, outputs in zip(kept, self.worth(question, kept), strict=True):
            own = outputs.view(-1, sets.shape[1] + 1)
            variance = own[:, 0].var(correction=0)
            changed = (own[:, :1] - own[:, 1:]).square().mean(0) / 4
            found.append(changed / variance if variance > 0 else changed)
        return found

    def _designs(self, players: int, generator: torch.Generator) -> Tensor:
        """Sets of units (samples, players)."""
        engine: Any = SobolEngine  # it has no types
        engine = engine(max(1, players), scramble=True, seed=generator.initial_seed())
        drawn: Tensor = engine.draw(self.samples)
        return drawn[:, :players] >= 0.5
