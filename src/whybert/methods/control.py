"""Scores that know nothing, to hold others against."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from whybert.methods.base import Method
from whybert.methods.question import Question


@dataclass(frozen=True)
class Random(Method):
    """`random`: a number for each token that is uniform from -1 to 1, drawn by the seed and the text.

    It is the control of `evaluate`, which judges it beside the methods unless it is told not to.
    Source: none; scores without any meaning.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "random scores: a control, what is no better says nothing"
    source: ClassVar[str] = "whybert"
    kind: ClassVar[str] = "control"
    place: ClassVar[int] = 200

    seed: int = field(default=0, metadata={"least": 0})

    @property
    def passes(self) -> str:
        return "none"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        scores = torch.zeros(question.inputs["input_ids"].shape, dtype=torch.float64)
        places = [own.nonzero()[:, 0].tolist() for own in question.is_token.cpu()]
        texts: list[tuple[str, str | None]] = [
            (str(row.tolist()), None) for row in question.inputs["input_ids"]
        ]
        if question.rows is not None:
            places = [list(row.positions) for row in question.rows]
            texts = [(row.text, row.pair) for row in question.rows]
        for row, (own, text) in enumerate(zip(places, texts, strict=True)):
            scores[row, own] = torch.tensor(random_scores(self.seed, *text, len(own)), dtype=torch.float64)
        return scores.to(question.logits.device), None


def seed_of_text(seed: int, text: str, pair: str | None) -> int:
    """A number that is told by the seed and the text."""
    return zlib.crc32(f"{seed}\x00{text}\x00{pair}".encode("utf-8", "surrogatepass"))


def random_scores(seed: int, text: str, pair: str | None, count: int) -> list[float]:
    """Uniform from -1 to 1, another stream of numbers than the one that breaks ties."""
    drawn: list[float] = (
        np.random.default_rng([seed_of_text(seed, text, pair), 1]).uniform(-1.0, 1.0, count).tolist()
    )
    return drawn
