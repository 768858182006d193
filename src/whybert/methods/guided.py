"""A linear model of what the classifier says without some words, with AttnLRP as its prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from whybert.methods.few import WAYS, FewPasses, drawn
from whybert.methods.question import Question, Unit


@dataclass(frozen=True)
class GuidedSHAP(FewPasses):
    """`guided_shap`: a linear surrogate on perturbed forward passes, drawn towards c times AttnLRP.

    z in {0, 1}^n says which of n units are left, y is the output of what is left, a the units' AttnLRP:

        y = b + z w + noise,  noise ~ N(0, s^2),  w ~ N(c a, t^2 I)

    The scores are the posterior mean of w; c, t and s are those that make the outputs most likely (type II
    maximum likelihood, c at least 0).  Where AttnLRP predicts the outputs the scores are c a; with many
    samples they are the least squares surrogate, as LIME's without its kernel.  The parts are drawn as by
    `sampled_attnlrp`, the whole text is one more, and with `by` "both" each way of removal has its own b.
    Where they are too few for a fit, as for a single unit, the scores are AttnLRP's.

    samples: the number of perturbed forward passes.
    by: how units are taken away; "both" masks in one half of the samples and deletes in the other.
    Source: whybert; the evidence of linear models after MacKay 1992, "Bayesian interpolation".
    """

    name: ClassVar[str] = "guided_shap"
    summary: ClassVar[str] = "guided SHAP: a linear model on perturbed texts, with AttnLRP as its prior"
    source: ClassVar[str] = "whybert; after MacKay 1992"
    needs: ClassVar[str] = "a mask token, unless by=delete"
    kind: ClassVar[str] = "perturbation"
    place: ClassVar[int] = 65

    samples: int = field(default=256, metadata={"least": 1})
    by: Literal["both", "mask", "delete"] = "both"
    unit: Unit = "word"
    seed: int = field(default=0, metadata={"least": 0})

    @property
    def passes(self) -> str:
        return f"{self.samples + 1} forward, 1 backward"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        units = question.units(self.unit)
        prior = [
            torch.stack([scores[list(members)].sum() for members in own] or [scores[:0].sum()])[: len(own)]
            for own, scores in zip(units, self.of_the_whole(question), strict=True)
        ]
        sets: list[list[Tensor]] = [[] for _ in units]
        outputs: list[list[Tensor]] = [[] for _ in units]
        counts, known = [len(own) for own in units], question.target.output(question.logits).cpu().double()
        for by, kept, _ in drawn(question, counts, self.samples, WAYS[self.by], self.seed):
            for row, found in enumerate(question.worth(kept, self.unit, by)):
                whole = torch.ones(1, counts[row], dtype=torch.float64)  # whose output is known
                sets[row].append(torch.cat([kept[row].double(), whole]))
                outputs[row].append(torch.cat([found.double(), known[row, None]]))
        values = [posterior(*each).tolist() for each in zip(sets, outputs, prior, strict=True)]
        return question.spread(values, self.unit), None


def posterior(sets: Sequence[Tensor], outputs: Sequence[Tensor], prior: Tensor) -> Tensor:
    """The posterior mean of w (units,) in y = b + z w + noise with w ~ N(c prior, t^2 I).

    Args:
        sets: of each way of removal z, (samples, units).
        outputs: of each way y, (samples,); each has its own b, whose prior is flat.
        prior: (units,).

    With z = U S V^T (the columns centred) and q = s^2 / t^2, in the basis of U each output has the variance
    1 + S^2 / q, in units of s^2.  c and s^2 have a closed form for each q, and of q the best on a grid over
    16 decades is taken, whose ends are the prior alone and least squares alone.
    """
    z = torch.cat([each - each.mean(0) for each in sets])
    y = torch.cat([each - each.mean() for each in outputs])
    free = len(y) - len(sets)  # what the b leave of the samples
    if free < 2:
        return prior
    left, stretch, right = torch.linalg.svd(z, full_matrices=False)
    kept = stretch > 1e-10 * stretch.max()
    left, stretch, right = left[:, kept], stretch[kept], right[kept]
    seen, expected = left.T @ y, stretch * (right @ prior)
    unseen = (y.square().sum() - seen.square().sum()).clamp_min(0.0)  # what no w could make of z
    ratio = stretch.max() ** 2 * torch.logspace(-8, 8, 321, dtype=torch.float64)
    variance = 1.0 + stretch**2 / ratio[:, None]
    size = (expected**2 / variance).sum(1)
    scale = ((expected * seen / variance).sum(1) / size).nan_to_num(0.0).clamp_min(0.0)
    rest = seen - scale[:, None] * expected
    noise = ((rest**2 / variance).sum(1) + unseen) / free
    evidence = -(free * noise.clamp_min(torch.finfo(torch.float64).tiny).log() + variance.log().sum(1)) / 2
    best = int(evidence.argmax())
    mean: Tensor = scale[best] * prior + right.T @ (stretch / (stretch**2 + ratio[best]) * rest[best])
    return mean
