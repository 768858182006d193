"""Walks: metrics that ask what a model says when some units of a text are taken away, answered in step.

A *removal* is a set of units (words or tokens) of one text, written as the bits of an integer: bit i stands
for unit i.  Removals of many texts, methods and metrics are answered together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import numpy as np
import torch

from whybert.classifier import BATCH_SIZE
from whybert.errors import NonFiniteError
from whybert.evaluation.metric import Score, Subject
from whybert.evaluation.statistics import Floats
from whybert.explanation import Level
from whybert.perturbation import Columns, alike, perturbation

if TYPE_CHECKING:
    from whybert.classifier import Classifier


@dataclass(frozen=True)
class Outcomes:
    """What the model says for each of a list of removals.

    logits, probabilities: (removals, labels), float64; a regression's probabilities are its numbers.
    """

    logits: Floats
    probabilities: Floats

    def kept(self, prediction: int) -> Floats:
        """(removals,) 1 where the class with the highest logit is still `prediction`, else 0."""
        kept: Floats = (self.logits.argmax(1) == prediction).astype(np.float64)
        return kept


Walk = Generator[Sequence[int], Outcomes, Score]
"""A metric at work on one explanation: it yields removals, is sent their outcomes, and returns a score."""


@dataclass(frozen=True)
class Job:
    """A walk, and what its removals mean."""

    subject: Subject
    level: Level
    perturbation: str
    walk: Walk


class _Removals:
    """The removals of one text under one perturbation and level, and the logits that are known of them."""

    def __init__(self, subject: Subject, level: Level) -> None:
        self.units = [sum(1 << token for token in unit) for unit in subject.units(level)]
        self.tokens: dict[int, int] = {0: 0}  # from units to tokens, both as bits

    def of(self, removal: int) -> int:
        found = self.tokens.get(removal)
        if found is None:
            lowest = removal & -removal
            found = self.tokens.get(removal ^ lowest)  # which is known where removals grow unit by unit
            missing = _bits(removal) if found is None else [lowest.bit_length() - 1]
            found = reduce(or_, (self.units[unit] for unit in missing), found or 0)
            self.tokens[removal] = found
        return found


def run(
    classifier: Classifier,
    jobs: Iterable[Job],
    *,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Score]:
    """Let all walks come to their end, in step, and return their scores in order.

    batch_size: how many texts of 64 tokens a batch is as large as.  advance: called with the number of
    inputs that were just answered.

    Raises NonFiniteError, naming the text, for logits that are not numbers.
    """
    listed = list(jobs)
    scores: dict[int, Score] = {}
    known: dict[tuple[int, str], dict[int, Floats]] = {}  # (subject, perturbation) -> tokens -> logits
    tables: dict[tuple[int, str], _Removals] = {}
    subjects: dict[int, Subject] = {}
    for job in listed:
        subjects[id(job.subject)] = job.subject
        key = (id(job.subject), job.perturbation)
        known.setdefault(key, {0: np.asarray(job.subject.logits, dtype=np.float64)})
        table = (id(job.subject), job.level)
        if table not in tables:
            tables[table] = _Removals(job.subject, job.level)

    waiting: dict[int, list[int]] = {}  # job -> its removals, as tokens

    def step(number: int, answer: Outcomes | None) -> None:
        job = listed[number]
        try:
            removals = next(job.walk) if answer is None else job.walk.send(answer)
        except StopIteration as stop:
            scores[number] = stop.value
            return
        table = tables[id(job.subject), job.level]
        waiting[number] = [table.of(removal) for removal in removals]

    for number in range(len(listed)):
        step(number, None)
    while waiting:
        wanted = {
            (id(listed[number].subject), listed[number].perturbation, tokens)
            for number, removals in waiting.items()
            for tokens in removals
            if tokens not in known[id(listed[number].subject), listed[number].perturbation]
        }
        _answer(classifier, wanted, subjects, known, batch_size, advance)
        asked, waiting = waiting, {}
        for number, removals in asked.items():
            answers = known[id(listed[number].subject), listed[number].perturbation]
            logits = np.stack([answers[tokens] for tokens in removals])
            step(number, outcomes(logits, classifier))
    return [scores[number] for number in range(len(listed))]


def outcomes(logits: Floats, classifier: Classifier) -> Outcomes:
    """Logits (removals, labels) with the probabilities that the model's problem type makes of them."""
    return Outcomes(logits, classifier.probabilities(torch.from_numpy(logits)).numpy())


def _answer(
    classifier: Classifier,
    wanted: Iterable[tuple[int, str, int]],
    subjects: Mapping[int, Subject],
    known: Mapping[tuple[int, str], dict[int, Floats]],
    batch_size: int,
    advance: Callable[[int], None],
) -> None:
    """Ask the model for the wanted removals and put the logits into `known`."""
    names = tuple(next(iter(subjects.values())).row.features)  # one tokenizer gives all texts the same ones
    asked: dict[Columns, list[tuple[int, str, int]]] = {}
    for key, name, tokens in sorted(wanted, key=lambda entry: (subjects[entry[0]].index, *entry[1:])):
        features = perturbation(name).apply(subjects[key].row.features, _bits(tokens), classifier.tokenizer)
        asked.setdefault(tuple(tuple(features[column]) for column in names), []).append((key, name, tokens))
    for part in alike(asked, batch_size):
        try:
            logits = classifier.logits([dict(zip(names, columns, strict=True)) for columns in part]).numpy()
        except NonFiniteError as error:
            index = subjects[asked[part[error.index or 0]][0][0]].index
            raise error.at(f"text {index}, perturbed,", index) from error
        for columns, row in zip(part, logits, strict=True):
            for key, name, tokens in asked[columns]:
                known[key, name][tokens] = row
        advance(len(part))


def _bits(number: int) -> list[int]:
    """The places of the bits that are 1, in order."""
    places = []
    while number:
        lowest = number & -number
        places.append(lowest.bit_length() - 1)
        number ^= lowest
    return places
