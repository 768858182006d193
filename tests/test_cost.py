"""Time and memory of explanations."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from test_borrowed import assert_unchanged, snapshot
from test_sanity import ALL, TEXTS, case, explained
from whybert import attribute
from whybert.evaluation import cost
from whybert.evaluation.cost import COST, peak_memory, peak_of_allocations
from whybert.explaining import explain_batches

KILO = 250  # floats in 1000 bytes


def test_a_known_pattern_has_its_peak() -> None:
    """At most 12 MB at a time, of 19 MB in all; torch takes a few bytes for scalars beside."""

    def run() -> Tensor:
        first = torch.ones(4000 * KILO)  # 4 MB
        second = first + 1.0  # 8 MB
        del first  # 4 MB
        third = second * 2.0  # 8 MB
        fourth = third * 2.0  # 12 MB
        del second, third  # 4 MB
        last = torch.ones(3000 * KILO)  # 7 MB
        return fourth[0] + last[0]

    assert peak_of_allocations(run) == pytest.approx(12e6, rel=1e-3)


def test_what_was_there_before_does_not_count() -> None:
    held = [torch.ones(4000 * KILO)]

    def run() -> None:
        held.append(torch.ones(1000 * KILO))
        held.pop(0)  # the 4 MB of before
        held.append(torch.ones(2000 * KILO))

    assert peak_of_allocations(run) == pytest.approx(3e6, rel=1e-3)


def test_gradients_count() -> None:
    weight = torch.ones(1000 * KILO, requires_grad=True)

    def run() -> None:
        torch.autograd.grad((weight * 2.0).exp().sum(), weight)

    # 2 w, its exponential that the backward pass needs, and two gradients on the way down
    assert 2e6 <= peak_of_allocations(run) <= 4.01e6


def test_nothing_seen_is_unknown() -> None:
    assert math.isnan(peak_of_allocations(lambda: None))
    assert math.isnan(peak_memory(lambda: torch.ones(9), torch.device("meta")))


def test_on_cuda_the_allocators_own_peak_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the allocator: 100 bytes of before, 70 more at the peak, 30 of them kept."""
    now, peak, asked = 100, 900, []

    def reset(device: torch.device) -> None:
        nonlocal peak
        peak = now
        asked.append(device)

    def run() -> None:
        nonlocal now, peak
        peak, now = now + 70, now + 30

    fake = SimpleNamespace(
        synchronize=asked.append,
        reset_peak_memory_stats=reset,
        memory_allocated=lambda device: now,
        max_memory_allocated=lambda device: peak,
    )
    monkeypatch.setattr(cost, "torch", SimpleNamespace(cuda=fake))
    device = torch.device("cuda", 0)
    assert peak_memory(run, device) == 70.0
    assert asked == [device] * 3  # waited for before and after


def test_the_profiler_leaves_no_trace(capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    before = dict(os.environ)
    peak_of_allocations(lambda: torch.ones(9))

    def fail() -> None:
        raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        peak_of_allocations(fail)
    assert dict(os.environ) == before
    monkeypatch.setenv("KINETO_LOG_LEVEL", "50")
    peak_of_allocations(lambda: torch.ones(9))
    assert os.environ["KINETO_LOG_LEVEL"] == "50"
    assert capfd.readouterr() == ("", "")


def test_memory_of_a_text_is_that_of_its_batch_over_its_texts() -> None:
    judged, rows, given = case()
    found = COST["peak-memory"](judged, rows, given, batch_size=3)
    longest_first = sorted(range(4), key=lambda index: -rows[index].row.token_count)
    for indices in (longest_first[:3], longest_first[3:]):
        ((_, batch),) = cost.batches(judged, [TEXTS[index] for index in indices], 3)
        targets = [rows[index].target for index in indices]
        for method in ALL:
            gc.collect()
            expected = peak_of_allocations(
                lambda method=method, batch=batch, targets=targets: attribute(
                    judged.model, batch.inputs, method, targets
                )
            )
            for index in indices:
                value = found[method][index].value
                assert value == pytest.approx(expected / len(indices), rel=0.02), method
    assert all(scores[0].value > scores[3].value > 0.0 for scores in found.values())
    assert found["lat"][0].value < found["lrp"][0].value  # no graph, no backward pass


class _Clock:
    """A second passes each time one looks at it."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


def test_time_of_a_text_is_that_of_its_batch_over_its_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, rows, given = case()
    given = {"lrp:residual=once" if method == "lrp" else method: each for method, each in given.items()}
    calls: list[tuple[int, tuple[str, ...]]] = []

    def spy(asked: Any, texts: Any, methods: Any, target: Any, **options: Any) -> Iterator[Any]:
        calls.append((len(texts), tuple(method.spec for method in methods)))
        assert target == [rows[TEXTS.index(text)].target for text in texts]
        return explain_batches(asked, texts, methods, target, **options)

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=_Clock().perf_counter))
    monkeypatch.setattr(cost, "explain_batches", spy)
    found = COST["seconds"](judged, rows, given, batch_size=3)
    shortest = TEXTS.index("good")
    for method in given:
        values = [score.value for score in found[method]]
        assert values.pop(shortest) == 1.0
        assert values == [pytest.approx(1 / 3)] * 3
    # each method by itself: a batch untimed, then both five times
    sizes = [3, *[3] * 5, *[1] * 5]
    assert [(size, *methods) for size, methods in calls] == [(n, m) for m in given for n in sizes]


def test_a_pause_of_the_machine_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of five rounds takes a thousand times as long."""
    judged, rows, given = case(methods=["gi"])
    values = iter([0.0, 1.0, 0.0, 1.0, 0.0, 1000.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: next(values)))
    found = COST["seconds"](judged, rows, given, batch_size=4)["gi"]
    assert [score.value for score in found] == [0.25] * 4


def test_seconds_are_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause in the explanation is in the number."""
    judged, rows, given = case(methods=["gi"])
    real = COST["seconds"](judged, rows, given)["gi"]
    assert all(0.0 < score.value < 60.0 for score in real)

    def slow(*arguments: Any, **options: Any) -> Iterator[Any]:
        cost.time.sleep(0.2)
        return explain_batches(*arguments, **options)

    monkeypatch.setattr(cost, "explain_batches", slow)
    assert all(score.value >= 0.05 for score in COST["seconds"](judged, rows, given)["gi"])


@pytest.mark.parametrize("name", COST)
def test_the_model_is_untouched(name: str) -> None:
    judged, _, _ = case()
    rows, given = explained(judged, ALL, TEXTS)
    before, state = snapshot(judged.model), torch.get_rng_state()
    calls: list[None] = []
    found = COST[name](judged, rows, given, advance=lambda: calls.append(None))
    assert_unchanged(before, snapshot(judged.model))
    assert torch.equal(state, torch.get_rng_state())
    assert len(calls) == COST[name].steps(judged, ALL) == len(ALL)
    assert list(found) == list(ALL)
    assert COST[name](judged, [], {"gi": []}) == {"gi": []}


def test_the_table() -> None:
    assert list(COST) == ["seconds", "peak-memory"] == [metric.name for metric in COST.values()]
    assert all(metric.group == "cost" and not metric.higher_is_better for metric in COST.values())
    assert all(metric.texts == 25 for metric in COST.values())
