"""Attribution patching: what the output would lose if a hidden state were that of a corrupted text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from whybert.errors import UsageError
from whybert.lrp.composites import RULES, Composite
from whybert.methods.base import Method, reduce_hidden
from whybert.methods.baselines import check_baseline, start
from whybert.methods.question import Question


@dataclass(frozen=True)
class AttributionPatching(Method):
    """`attribution_patching`: (h - h') g, summed over hidden.

    h (seq, hidden) are the states that a layer reads, h' those of the same text with its words replaced, and
    g = dy/dh.  Putting h' in place of h at one position changes the explained output y by (h' - h) g, to
    first order; so much speaks against the position, or for it if it is negative.  With the rules of AttnLRP
    or CP-LRP g is what they hand down instead of the gradient ("RelP").

    layer: 0 is the embedding, 1 what the second layer reads, and so on; the last is the last layer's output.
    rules: what g follows.  baseline: what the words become, see `whybert.methods.baselines`.
    Source: Nanda, "Attribution Patching", 2023; Syed et al. 2023 (arXiv 2310.10348); with LRP's rules
    Jafari et al., "RelP", 2025 (arXiv 2508.21258).
    """

    name: ClassVar[str] = "attribution_patching"
    summary: ClassVar[str] = "attribution patching: each hidden state against that of a masked text"
    source: ClassVar[str] = "Nanda 2023, Syed et al. 2023"
    kind: ClassVar[str] = "gradient"
    place: ClassVar[int] = 30
    needs: ClassVar[str] = "a mask token, or another baseline"

    layer: int = field(default=0, metadata={"least": 0})
    rules: Literal["gradient", "attnlrp", "cp_lrp"] = "gradient"
    baseline: str = field(default="mask", metadata={"check": check_baseline})

    @property
    def passes(self) -> str:
        return f"{2 + (self.layer > 0)} forward, 1 backward"

    @property
    def needs_inside(self) -> bool:
        return self.layer > 0

    def composites(self) -> tuple[Composite, ...]:
        return (RULES[self.rules],)

    def attribute(self, question: Question) -> tuple[Tensor, Tensor]:
        (rules,) = self.composites()
        embedding = start(question, self.baseline).embedding
        forward = question.forward((rules,), inside=self.needs_inside)
        if not self.layer:
            state, changed = forward.embedding.detach(), embedding
            gradient = forward.gradient(rules, question.target)
        else:
            states = forward.states(rules, question.target)
            if self.layer >= len(states):
                raise UsageError(
                    f"expected a layer of {self.name} from 0 (the embedding) to {len(states) - 1} (what the "
                    f"last layer hands on), found {self.layer}"
                )
            state, gradient = states[self.layer]
            changed = self._changed(question, rules, embedding)
        relevance = (state - changed) * gradient
        return reduce_hidden(relevance, "sum"), relevance

    def _changed(self, question: Question, rules: Composite, embedding: Tensor) -> Tensor:
        """h', once for all targets."""
        key = (self.name, self.layer, rules, self.baseline)
        if key not in question.found:
            corrupted = question.forward((rules,), at=lambda _: embedding, inside=True)
            question.found[key] = corrupted.state_values()[self.layer]
        changed: Tensor = question.found[key]
        return changed
