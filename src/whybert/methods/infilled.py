"""What would stand there instead: a masked language model in the place of tokens that are taken away."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from whybert.errors import UsageError
from whybert.infilling import MaskedLanguageModel
from whybert.methods.base import Method
from whybert.methods.question import Question
from whybert.perturbation import Perturbation
from whybert.targets import ResolvedTarget


def language_model(path: str | None, name: str) -> MaskedLanguageModel:
    """The masked language model that an option names.  Raises UsageError where it names none."""
    if path is None:
        raise UsageError(
            f"{name} needs a masked language model of the classifier's own vocabulary: give the folder or "
            "the hub id of the one that it was fine-tuned from, model=..."
        )
    return MaskedLanguageModel.of(path)


def infilling(model: MaskedLanguageModel) -> Perturbation:
    """Tokens become what the masked language model holds most likely where they all are masked."""
    return _Infilling("infill", "the tokens become what a masked language model writes", _no_values, model)


def _no_values(names: Any, tokenizer: Any) -> None:
    return None


@dataclass(frozen=True)
class _Infilling(Perturbation):
    model: MaskedLanguageModel

    def applied(
        self, inputs: Mapping[str, Tensor], removed: Tensor, tokenizer: Any
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        self.model.check_fits(tokenizer)
        features = {name: column.tolist() for name, column in inputs.items()}
        positions = [own.nonzero()[:, 0].tolist() for own in removed]
        columns = {name: column.expand(removed.shape) for name, column in inputs.items()}
        ids = columns["input_ids"].clone()
        found = self.model.candidates([features] * len(removed), positions, 1)
        for row, places, own in zip(ids, positions, found, strict=True):
            row[places] = own.ids[:, 0]
        yield list(range(len(removed))), {**columns, "input_ids": ids}


@dataclass(frozen=True)
class InputMarginalisation(Method):
    """`input_marginalisation`: how much more evidence the token is than what else could stand in its place.

    With q the masked language model's probability of token w where token i is masked,

        score_i = log2 odds(p(c | x)) - log2 odds(sum over w of q(w) p(c | x with w at i))
        odds(p) = p / (1 - p)

    over the `samples` most likely w, whose q is scaled to sum to 1 (the paper takes those of 1e-5 and more).
    For a contrast of two classes the odds are p(a) / p(b), or in a multi-label model the ratio of their odds.
    Where another number than a logit is explained, or the model answers with numbers and not with
    probabilities, it is that of x less that of the sum.

    model: the masked language model, a folder or hub id; of the classifier's own vocabulary.
    samples: how many tokens stand in for each.
    Source: Kim et al. 2020 (arXiv 2010.13984), equations 4 to 6.
    """

    name: ClassVar[str] = "input_marginalisation"
    summary: ClassVar[str] = (
        "input marginalisation: the evidence of the token over what else could stand there"
    )
    source: ClassVar[str] = "Kim et al. 2020"
    kind: ClassVar[str] = "perturbation"
    needs: ClassVar[str] = "a masked language model of the same vocabulary"
    given: ClassVar[str] = "model"
    place: ClassVar[int] = 69

    model: str | None = None
    samples: int = field(default=32, metadata={"least": 1})

    @cached_property
    def _language_model(self) -> MaskedLanguageModel:
        return language_model(self.model, self.name)

    @property
    def passes(self) -> str:
        return f"1 + {self.samples} n forward for n tokens, and n of the language model"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        language = self._language_model
        language.check_fits(question.tokenizer)
        units = question.units("token")
        texts = question.texts()
        features = [{name: column.tolist() for name, column in own.items()} for own in texts]
        asked = [(row, [place]) for row, places in enumerate(units) for (place,) in places]
        likely = language.candidates(
            [features[row] for row, _ in asked], [place for _, place in asked], self.samples
        )
        variants: list[list[Tensor]] = [[] for _ in units]
        chances: list[list[Tensor]] = [[] for _ in units]
        for (row, place), found in zip(asked, likely, strict=True):
            own = texts[row]["input_ids"].repeat(found.ids.shape[1], 1)
            own[:, place[0]] = found.ids[0]
            variants[row].append(own)
            chances[row].append(found.probabilities[0] / found.probabilities[0].sum())
        ids = [torch.cat([texts[row]["input_ids"][None][:0], *own]) for row, own in enumerate(variants)]
        values = []
        for row, answers in enumerate(question.answers_to(ids)):
            target = question.target.select(torch.tensor([row]))
            whole = question.logits[row : row + 1].cpu().double()
            parts = torch.split(answers, [len(each) for each in chances[row]])
            values.append(
                [
                    _evidence(whole, target) - _evidence(_mean(logits, shares, target), target)
                    for logits, shares in zip(parts, chances[row], strict=True)
                ]
            )
        return question.spread(values, "token"), None


def _mean(logits: Tensor, shares: Tensor, target: ResolvedTarget) -> Tensor:
    """Logits (1, labels) of the mean of what these logits (variants, labels) are probabilities of."""
    if target.link == "identity":
        return (shares[:, None] * logits).sum(0, keepdim=True)
    if target.link == "softmax":
        return (logits.log_softmax(1) + shares.log()[:, None]).logsumexp(0)[None]
    yes, no = (
        (torch.nn.functional.logsigmoid(each) + shares.log()[:, None]).logsumexp(0)
        for each in (logits, -logits)
    )
    return (yes - no)[None]


def _evidence(logits: Tensor, target: ResolvedTarget) -> float:
    """The log2 odds where a logit of probabilities is explained, else the explained number."""
    if target.quantity == "logit" and target.link != "identity":
        index = target.index.cpu()
        if target.against is not None and int(target.against[0]) >= 0:
            odds = target.output(logits.to(target.index.device))
        elif target.link == "softmax":
            own = logits.gather(1, index[:, None])[:, 0]
            odds = own - logits.scatter(1, index[:, None], -torch.inf).logsumexp(1)
        else:
            odds = logits.gather(1, index[:, None])[:, 0]
        return float(odds[0]) / math.log(2)
    return float(target.output(logits.to(target.index.device))[0])
