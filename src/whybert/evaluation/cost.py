"""Cost: how long an explanation takes, and how much memory."""

from __future__ import annotations

import math
import os
import statistics
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from torch.autograd.profiler import profile

from whybert.anatomy import device_of
from whybert.attribution import attribute_all
from whybert.classifier import batches
from whybert.encoding import Encoding
from whybert.evaluation.metric import ModelMetric, Score, Subject, Work, table
from whybert.explaining import explain_batches
from whybert.methods import Method

if TYPE_CHECKING:
    from whybert.classifier import Classifier

Cost = Callable[[Sequence[Subject], Encoding], float]
"""What says the cost of a batch: its subjects, and the same as tensors on the CPU."""

# Above the highest level that the profiler's library logs at.
_SILENT: Final = "99"
_LOG_LEVEL: Final = "KINETO_LOG_LEVEL"


@dataclass(frozen=True, kw_only=True)
class CostMetric(ModelMetric):
    """A cost of one text: that of the batch that it is in, over the number of the batch's texts.

    Each method is measured by itself, so what several methods of one call would share is counted for each.

    rounds: how often each batch is measured; the median counts, so that a pause of the machine does not.
    """

    rounds: int = 1

    higher_is_better: bool = False
    group: Literal["cost"] = "cost"
    texts: int | None = 25

    def steps(self, classifier: Classifier, methods: Sequence[object]) -> int:
        return len(methods)

    def judge(self, work: Work) -> dict[str, list[Score]]:
        prepared = list(batches(work.classifier, [each.text for each in work.subjects], work.batch_size))
        found = {}
        for method in work.methods:
            cost = self.measure(work.classifier, method)
            scores = [Score(math.nan)] * len(work.subjects)
            for place, (indices, batch) in enumerate(prepared):
                judged = [work.subjects[index] for index in indices]
                if place == 0:
                    cost(judged, batch)  # what only a first call does, such as the choice of kernels
                costs = [cost(judged, batch) for _ in range(self.rounds)]
                score = Score(statistics.median(costs) / len(judged))
                for index in indices:
                    scores[index] = score
            found[method.spec] = scores
            work.advance()
        return found

    @abstractmethod
    def measure(self, classifier: Classifier, method: Method) -> Cost:
        """What says the cost of a batch by this method."""


@dataclass(frozen=True, kw_only=True)
class Seconds(CostMetric):
    """Wall clock from the text to the finished explanation, after one untimed batch, in seconds a text.

    The median of five rounds.
    """

    rounds: int = 5

    def measure(self, classifier: Classifier, method: Method) -> Cost:
        device = device_of(classifier.model)

        def cost(subjects: Sequence[Subject], batch: Encoding) -> float:
            texts = [subject.text for subject in subjects]
            targets = [subject.target for subject in subjects]
            _synchronise(device)
            start = time.perf_counter()
            for _ in explain_batches(classifier, texts, [method], targets, batch_size=len(texts)):
                pass
            _synchronise(device)
            return time.perf_counter() - start

        return cost


@dataclass(frozen=True, kw_only=True)
class PeakMemory(CostMetric):
    """Bytes a text that attribution needs at its peak, beyond the model and all else that is there before.

    Measured is what torch's allocator gives out for tensors: on CUDA by the allocator's own peak, which is
    set back before, elsewhere on the CPU by the profiler, see `peak_of_allocations`.  NaN on other devices
    and where the profiler says nothing.
    """

    def measure(self, classifier: Classifier, method: Method) -> Cost:
        device = device_of(classifier.model)

        def cost(subjects: Sequence[Subject], batch: Encoding) -> float:
            targets = [subject.target for subject in subjects]

            def run() -> None:
                attribute_all(
                    classifier.model,
                    batch.inputs,
                    [method],
                    targets,
                    tokenizer=classifier.tokenizer,
                    rows=batch.rows,
                )

            return peak_memory(run, device)

        return cost


def peak_memory(run: Callable[[], object], device: torch.device) -> float:
    """The most bytes that tensors take while `run` is called, beyond those before; NaN where unknown."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - before)
    return peak_of_allocations(run) if device.type == "cpu" else math.nan


def peak_of_allocations(run: Callable[[], object]) -> float:
    """The highest running sum of what tensors on the CPU allocate and release during `run`, in bytes.

    Tensors of before do not count, released or not.  NaN if the profiler saw no allocation.
    """
    with _quiet_profiler(), profile(profile_memory=True) as profiler:
        run()
    results: Any = profiler.kineto_results
    events = results.events() if results is not None else ()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    if not changes:
        return math.nan
    changes.sort(key=lambda change: change[0])
    total = peak = 0
    for _, size in changes:
        total += size
        peak = max(peak, total)
    return float(peak)


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """The profiler's library writes to the terminal that it starts and stops, and asks only this variable."""
    before = os.environ.get(_LOG_LEVEL)
    os.environ.setdefault(_LOG_LEVEL, _SILENT)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_LOG_LEVEL, None)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


COST: Final[Mapping[str, ModelMetric]] = table(
    Seconds("seconds", "wall clock of one text in seconds, each method by itself", "-"),
    PeakMemory("peak-memory", "bytes a text that attribution needs at its peak, beyond the model", "-"),
)
