"""The service of the page: questions in turn, together, within limits, and without those who have left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

import tiny
from whybert import Classifier, explain
from whybert.errors import InputError, TargetError, UnknownNameError, UsageError
from whybert.methods import METHODS, create
from whybert.web import cost
from whybert.web.cache import Cache, size_of
from whybert.web.service import (
    BusyError,
    Limits,
    Service,
    TimeLimitError,
    TooLargeError,
    WithdrawnError,
)
from whybert.web.state import State

TEXT = "a charming film with a good cast"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer, max_position_embeddings=512), tokenizer, name="tiny")


@contextmanager
def served(classifier: Classifier, **limits: Any) -> Iterator[Service]:
    service = Service({"tiny": classifier}, Limits(**limits))
    try:
        yield service
    finally:
        service.close()


@pytest.fixture
def service(classifier: Classifier) -> Iterator[Service]:
    with served(classifier) as found:
        yield found


class Held:
    """A question that keeps its thread until it is let go."""

    def __init__(self) -> None:
        self.runs, self.may_end = threading.Event(), threading.Event()

    def __call__(self, classifier: Classifier) -> str:
        self.runs.set()
        assert self.may_end.wait(20)
        return "held"


@contextmanager
def threads_held(service: Service, count: int = 2) -> Iterator[None]:
    """All threads of short questions are busy, as long as the block lasts."""
    held = [Held() for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        answers = [pool.submit(service.ask, State(text=TEXT), each) for each in held]
        for each in held:
            assert each.runs.wait(20)
        try:
            yield
        finally:
            for each in held:
                each.may_end.set()
        assert [each.result() for each in answers] == ["held"] * count


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def waiting(service: Service) -> int:
    return len(service._short._queue)


def test_answers_are_those_of_explain(service: Service, classifier: Classifier) -> None:
    found = service.explain(State(text=TEXT, methods=("gi", "lat"), target="LABEL_1"))
    assert found == {
        spec: rows[0] for spec, rows in explain(classifier, [TEXT], ["gi", "lat"], "LABEL_1").items()
    }
    assert service.predict(State(text=TEXT)) == classifier.predict(TEXT)[0]


def test_questions_that_wait_are_answered_together(
    service: Service, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    answer = explain

    def counted(classifier: Classifier, texts: list[str], *rest: Any, **how: Any) -> Any:
        sizes.append(len(texts))
        return answer(classifier, texts, *rest, **how)

    monkeypatch.setattr("whybert.web.service.explain", counted)
    texts = [f"a {word} film" for word in ("good", "bad", "dull", "moving", "bleak", "charming")]
    with ThreadPoolExecutor(len(texts)) as pool:
        with threads_held(service):
            answers = [pool.submit(service.explain, State(text=each, methods=("gi",))) for each in texts]
            until(lambda: waiting(service) == len(texts))
        found = [each.result()["gi"] for each in answers]
    assert [each.text for each in found] == texts
    assert sum(sizes) == len(texts)
    assert len(sizes) < len(texts)
    alone = [explain(classifier, each, "gi")[0] for each in texts]
    for each, other in zip(found, alone, strict=True):
        assert [token.score for token in each.tokens] == pytest.approx(
            [t.score for t in other.tokens], abs=1e-6
        )


def test_an_error_of_one_text_is_not_that_of_the_others(service: Service) -> None:
    class Wrong(Exception):
        pass

    def answer_all(given: list[str]) -> list[str]:
        if "bad" in given:
            raise Wrong
        return [each.upper() for each in given]

    from whybert.web.lanes import Question

    model = service.classifier().model
    texts = ["one", "bad", "three"]
    with ThreadPoolExecutor(3) as pool:
        with threads_held(service):
            answers = [
                pool.submit(service._short.ask, Question(model, "key", each, answer_all, 5)) for each in texts
            ]
            until(lambda: waiting(service) == 3)
        assert answers[0].result() == "ONE"
        assert answers[2].result() == "THREE"
        with pytest.raises(Wrong):
            answers[1].result()


def test_texts_of_unlike_length_are_no_batch(service: Service) -> None:
    from whybert.web.lanes import Question

    model = service.classifier().model
    short, longer, long = (Question(model, "key", "", list, size) for size in (10, 20, 200))
    assert short.goes_with(longer)
    assert longer.goes_with(short)
    assert not short.goes_with(long)
    assert not short.goes_with(Question(model, "other", "", list, 10))


def test_long_questions_hold_up_no_short_ones(service: Service) -> None:
    held = Held()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.ask, State(text=TEXT), held, long=True)
        assert held.runs.wait(20)
        assert service.explain(State(text=TEXT, methods=("gi",)))
        assert not answer.done()
        held.may_end.set()
        assert answer.result() == "held"


def test_more_than_may_wait_is_refused(classifier: Classifier) -> None:
    with served(classifier, waiting=2) as service, ThreadPoolExecutor(2) as pool:
        with threads_held(service):
            answers = [pool.submit(service.predict, State(text=f"{TEXT} {i}")) for i in range(2)]
            until(lambda: waiting(service) == 2)
            with pytest.raises(BusyError, match="2 questions wait already"):
                service.predict(State(text=TEXT))
        assert all(each.result() for each in answers)


def test_a_question_that_takes_too_long_is_stopped(classifier: Classifier) -> None:
    def endless(classifier: Classifier) -> None:
        while True:
            classifier.predict(TEXT)

    with served(classifier, seconds=0.2) as service:
        for long in (False, True):
            with pytest.raises(TimeLimitError, match=r"stopped after 0\.2 seconds"):
                service.ask(State(text=TEXT), endless, long=long)
        assert service.explain(State(text=TEXT, methods=("gi",)))
    assert not any(each._forward_pre_hooks for each in classifier.model.modules())


def test_the_latest_question_of_a_visitor_takes_the_place_of_his_others(service: Service) -> None:
    """Of what waits, and of what runs."""

    def endless(classifier: Classifier) -> None:
        runs.set()
        while True:
            classifier.predict(TEXT)

    def asked(what: Callable[[Classifier], Any], visitor: str = "someone") -> Any:
        with service.latest(visitor):
            return service.ask(State(text=TEXT), what)

    runs = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(asked, endless)
        assert runs.wait(20)
        assert asked(lambda _: "other", "another visitor") == "other"
        assert asked(lambda _: "second") == "second"
        with pytest.raises(WithdrawnError):
            running.result(20)
        with threads_held(service):
            waits = pool.submit(asked, lambda _: "never")
            until(lambda: waiting(service) == 1)
            last = pool.submit(asked, lambda _: "last")
            with pytest.raises(WithdrawnError):
                waits.result(20)
        assert last.result(20) == "last"


def test_it_is_stopped_as_a_whole(classifier: Classifier) -> None:
    def endless(classifier: Classifier) -> None:
        runs.set()
        while True:
            classifier.predict(TEXT)

    runs = threading.Event()
    service = Service({"tiny": classifier})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.ask, State(text=TEXT), endless)
        assert runs.wait(20)
        service.close()
        with pytest.raises(BusyError, match="being stopped"):
            answer.result(20)
    with pytest.raises(BusyError, match="being stopped"):
        service.predict(State(text=TEXT))
    for lane in (service._short, service._long):
        for thread in lane._threads:
            thread.join(20)
            assert not thread.is_alive()


def test_what_was_answered_is_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    first = service.explain(State(text=TEXT, methods=("gi",)))
    asked = []
    answer = explain

    def noted(classifier: Classifier, texts: list[str], methods: list[Any], *rest: Any, **how: Any) -> Any:
        asked.append([each.spec for each in methods])
        return answer(classifier, texts, methods, *rest, **how)

    monkeypatch.setattr("whybert.web.service.explain", noted)
    both = service.explain(State(text=TEXT, methods=("lat", "gi")))
    assert list(both) == ["lat", "gi"]
    assert both["gi"] is first["gi"]
    assert asked == [["lat"]]
    for change in ({"target": "LABEL_1"}, {"quantity": "probability"}, {"pair": "a bad plot"}):
        service.explain(replace(State(text=TEXT, methods=("gi",)), **change))
    assert len(asked) == 4


def test_what_is_kept_is_bounded(classifier: Classifier) -> None:
    rows = explain(classifier, [f"a good film {number}" for number in range(20)], "gi")
    cache = Cache(5 * max(map(size_of, rows)))
    for row in rows:
        cache.keep(row.text, row)
        cache.keep(row.text, row)
        assert cache.bytes <= cache.most
    kept = [row.text for row in rows if cache.get(row.text)]
    assert len(kept) >= 5
    assert kept == [row.text for row in rows[-len(kept) :]]
    nothing = Cache(0)
    nothing.keep("one", rows[0])
    assert nothing.get("one") is None


def test_the_size_of_an_explanation_is_not_far_off(classifier: Classifier) -> None:
    import copy
    import tracemalloc

    [row] = explain(classifier, "a good film " * 30, "attnlrp", layers=True, heads=True)
    data = row.to_dict()
    tracemalloc.start()
    try:
        kept = [type(row).from_dict(copy.deepcopy(data)) for _ in range(8)]
        taken = tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()
    assert 0.5 * taken < size_of(row) < 3 * taken


@pytest.mark.parametrize("name", METHODS)
def test_each_method_says_what_it_costs(name: str, classifier: Classifier) -> None:
    few, many = classifier.tokenize(["a good film", "a good film " * 20])
    method = METHODS[name]()
    assert (cost.passes_of(method, few) == 0) == (name == "random")
    assert cost.passes_of(method, few) <= cost.passes_of(method, many)
    numbered = " for n " in method.passes
    assert (cost.passes_of(method, few) < cost.passes_of(method, many)) == numbered


def test_passes_are_counted_in_units(classifier: Classifier) -> None:
    [row] = classifier.tokenize(["a good film"])
    words, tokens = len(row.word_spans), row.token_count
    assert cost.passes_of(create("occlusion"), row) == 1 + words
    assert cost.passes_of(create("exact_shapley"), row) == 2**words
    assert cost.passes_of(create("decompx"), row) == 4 + tokens
    assert cost.passes_of(create("shapley_sampling:samples=10"), row) == 2 + 10 * (words - 1)
    assert cost.passes_of(create("integrated_gradients"), row) == 102
    assert cost.passes_of(create("occlusion:stride=2"), row) == 1 + words / 2


def test_what_costs_too_much_is_refused_before_it_is_asked(service: Service) -> None:
    def refused(text: str, *methods: str) -> str:
        with pytest.raises(UsageError) as caught:
            service.explain(State(text=text, methods=methods))
        return str(caught.value)

    said = refused("good film " * 25, "exact_shapley")
    assert "exact_shapley would ask the model more than a billion times" in said
    assert "attnlrp" in said
    assert "decompx would ask" in refused("good film " * 300, "decompx")
    assert "kernel_shap:samples=" in refused("good film " * 250, "kernel_shap")
    together = refused("good film " * 80, "kernel_shap", "lime")
    assert "together" in together
    assert service._long._queue == service._short._queue


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("occlusion:model=/etc/passwd", "option model"),
        ("alti:batch_size=1000000", "option batch_size"),
        ("decompx:memory=1000000", "option memory"),
        ("occlusion:by=infill", "language model"),
        ("input_marginalisation", "language model"),
        ("input_marginalisation:model=./lm", "language model"),
    ],
)
def test_visitors_load_nothing(spec: str, word: str, service: Service) -> None:
    with pytest.raises(UsageError, match=word):
        service.explain(State(text=TEXT, methods=(spec,)))


def test_what_is_wrong_is_said(service: Service) -> None:
    with pytest.raises(TooLargeError, match="at most 50,000 characters"):
        service.explain(State(text="a" * 50_001))
    with pytest.raises(UsageError, match="at most 8 methods"):
        service.explain(State(text=TEXT, methods=tuple(METHODS)[:9]))
    with pytest.raises(UnknownNameError, match="model"):
        service.explain(State(model="other", text=TEXT))
    with pytest.raises(UnknownNameError, match="method"):
        service.explain(State(text=TEXT, methods=("nonsense",)))
    with pytest.raises(UnknownNameError, match="label"):
        service.explain(State(text=TEXT, target="nobody"))
    with pytest.raises(TargetError, match="expected one class"):
        service.explain(State(text=TEXT, target="all"))
    with pytest.raises(TargetError, match="the explained class too"):
        service.explain(State(text=TEXT, against="LABEL_1"))
    with pytest.raises(InputError):
        service.explain(State(text=""))
    with pytest.raises(UsageError, match="seconds"):
        Limits(seconds=0)
    with pytest.raises(UsageError, match="at least one model"):
        Service({})


def test_many_threads_get_their_own_answers(service: Service) -> None:
    states = [State(text=f"a good film number {number}", methods=("gi",)) for number in range(30)]
    with ThreadPoolExecutor(15) as pool:
        found = list(pool.map(service.explain, states))
    assert [each["gi"].text for each in found] == [each.text for each in states]
    assert torch.is_grad_enabled()
