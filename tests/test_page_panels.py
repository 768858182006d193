"""The panels that compare, look inside, ask whether to trust, and change: what they say, and in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from browser import browser, served, visiting
from whybert import BlackBox, Classifier, UsageError, explain, smallest_removal
from whybert.changing import flips
from whybert.errors import UnknownNameError
from whybert.evaluation.faithfulness import FAITHFULNESS
from whybert.evaluation.subjects import subjects
from whybert.web.long import StoppedError, watched
from whybert.web.panels.change import shown_flips, shown_removal
from whybert.web.panels.compare import compared_texts
from whybert.web.panels.inside import inside, traced, tracing
from whybert.web.panels.trust import METRICS, agreed, curves, judged
from whybert.web.service import Service
from whybert.web.state import State

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEXT = "The plot is predictable, but the acting is superb and I loved it."
TAG = "<script>document.title = 'caught'</script> is a superb film, and I loved it."


@pytest.fixture(scope="module")
def service() -> Service:
    return Service({"builtin": Classifier.load("builtin")})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def address(chromium: Browser, service: Service) -> Iterator[str]:
    with served(service.models) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    query = urlencode({"text": TEXT, "methods": ["attnlrp", "gi"]}, doseq=True)
    with visiting(chromium, address, query) as opened:
        yield opened


# What takes long.


def test_what_takes_long_counts_and_is_stopped(service: Service) -> None:
    state, stopped = State(text=TEXT), Event()

    def endless(classifier: Classifier) -> None:
        while True:
            classifier.predict([TEXT, "another"])

    work = watched(service, state, endless, stopped, every=0.01)
    counts = [next(work) for _ in range(30)]
    assert counts == sorted(counts)
    stopped.set()
    with pytest.raises(StoppedError):
        list(work)


def test_what_nobody_waits_for_ends(service: Service) -> None:
    ended = Event()

    def endless(classifier: Classifier) -> None:
        try:
            while True:
                classifier.predict(TEXT)
        finally:
            ended.set()

    work = watched(service, State(text=TEXT), endless, Event(), every=0.01)
    next(work)
    work.close()
    assert ended.wait(20)


def test_what_takes_long_is_found(service: Service) -> None:
    work = watched(service, State(text=TEXT), lambda classifier: classifier.predict(TEXT)[0].label, Event())
    found: list[str] = []

    def kept() -> Iterator[int]:
        found.append((yield from work))

    list(kept())
    assert found == ["positive"]


# What is said.


def test_another_text_is_explained_for_the_class_of_the_first(service: Service) -> None:
    state = State(text="A superb film.", other_text="A dull film.", methods=("attnlrp",))
    found = compared_texts(service, state)
    assert "Both say what speaks for positive" in found
    assert "predictions differ" in found
    assert found.count("<figure") == 2
    chosen = compared_texts(service, replace(state, target="negative"))
    assert "Both say" not in chosen
    assert "negative: 0" in chosen


def test_nothing_else_to_compare_with_is_said(service: Service) -> None:
    assert "Type another text" in compared_texts(service, State(text=TEXT))


def test_methods_without_an_inside_are_named(service: Service) -> None:
    found = inside(service, State(text=TEXT, methods=("cp_lrp", "lime", "gs")))
    assert "No layers and heads of lime, gs" in found
    assert found.count("<table") == 2


def test_tracing_hands_down_what_lat_scores(service: Service) -> None:
    classifier = service.classifier()
    [lat] = explain(classifier, TEXT, "lat")
    found = traced(classifier, State(text=TEXT))
    assert [sum(heads) for heads in zip(*found.weights[0], strict=True)] == pytest.approx(
        lat.scores, abs=1e-5
    )
    for heads in found.weights:
        assert [sum(weights) for weights in heads] == pytest.approx([1.0] * found.heads, abs=1e-5)
    assert found.shares(None)[-1][0] == 1.0  # [CLS], which this classifier reads
    assert "head 2: what share" in tracing(found, "word", 1, 3)
    assert "below layer 3" in tracing(found, "word", 1, 3)


def test_curves_are_those_of_the_metrics(service: Service) -> None:
    classifier = service.classifier()
    found = judged(classifier, State(text=TEXT, methods=("attnlrp",), target="negative"), "mask")
    [subject] = subjects(classifier, [TEXT], target="negative")
    rows = explain(classifier, TEXT, "attnlrp", "negative")
    for name, score in zip(METRICS, found.scores["attnlrp"], strict=True):
        [expected] = replace(FAITHFULNESS[name], perturbation="mask")(classifier, [subject], rows)
        assert (score.value, score.curve) == (expected.value, expected.curve)
    assert len({scores[0].value for scores in found.control}) > 1


def test_a_method_that_cannot_leaves_the_others(service: Service) -> None:
    black_box = BlackBox(lambda texts: [[0.1, 0.9] if "good" in each else [0.8, 0.2] for each in texts])
    found = curves(State(text="a good film", methods=("occlusion", "gi")), Classifier.of(black_box))
    assert found.count("<svg role") == 4
    assert found.count("gi needs the inside of a model") == 2
    with pytest.raises(UsageError, match="choose one"):
        judged(service.classifier(), State(text=TEXT, methods=()), "mask")
    with pytest.raises(UnknownNameError):
        judged(service.classifier(), State(text=TEXT, level="letter"), "mask")


def test_a_function_of_texts_is_refused_in_a_line() -> None:
    service = Service({"f": Classifier.of(BlackBox(lambda texts: [[0.1, 0.9] for _ in texts]))})
    assert "function of texts" in inside(service, State(text=TEXT, methods=("attnlrp",)))
    assert "function of texts" in agreed(service, State(text=TEXT, methods=("attnlrp", "occlusion")))


def test_what_is_taken_away_and_put_in_place_is_escaped(service: Service) -> None:
    classifier = service.classifier()
    removal = shown_removal(smallest_removal(classifier, TAG, by="delete"))
    flipped = shown_flips(flips(classifier, TAG, {"superb": "<b>dull", "loved": "hated"}))
    for found in (removal, flipped):
        assert "<script" not in found
        assert "<b>dull" not in found
        assert "<del>" in found
    assert "data-put=" in removal


def test_no_panel_lets_a_tag_of_the_text_through(service: Service) -> None:
    state = State(text=TAG, other_text="<script>", methods=("attnlrp", "gi:reduction=sum"), level="token")
    tracings = tracing(traced(service.classifier(), state), "word", None, 1)
    shown = (compared_texts(service, state), inside(service, state), agreed(service, state), tracings)
    assert not any("<script" in found for found in shown)


# In a browser.


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_two_texts_are_compared_as_one_types_and_the_link_holds_it(page: Page) -> None:
    tab(page, "Compare")
    page.get_by_text("Type another text").wait_for()
    page.get_by_label("Other text").fill("A dull mess.")
    page.locator("#compared figure").nth(3).wait_for()
    assert "predictions differ" in page.locator("#compared").inner_text()
    page.wait_for_function("location.search.includes('other_text=A+dull')")
    assert parse_qs(urlsplit(page.url).query)["tab"] == ["compare"]
    page.reload()
    page.locator("#compared figure").nth(3).wait_for()
    assert page.get_by_label("Other text").input_value() == "A dull mess."


def test_layers_heads_and_tracing(page: Page) -> None:
    tab(page, "Inside")
    page.locator("#inside table").nth(1).wait_for()
    page.locator("#traced").get_by_text("the mean of all heads").wait_for()
    page.get_by_label("Head", exact=True).click()
    page.get_by_role("option", name="3", exact=True).click()
    page.locator("#traced").get_by_text("by layer, head 3").wait_for()
    assert "What it does not say" in page.locator("#traced").inner_text()
    page.set_viewport_size({"width": 360, "height": 800})
    captions = page.locator("#inside caption span, #traced caption span").all()
    assert captions, "of tables that are wider than the window, what stands above them is seen whole"
    for caption in captions:
        box = caption.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 360


def test_agreement_and_curves(page: Page) -> None:
    tab(page, "Trust")
    page.locator("#agreement table").nth(3).wait_for()
    page.get_by_role("button", name="Draw the faithfulness curves").click()
    page.locator("#curves figure").nth(3).wait_for()
    assert page.get_by_role("img", name="least relevant first").count() == 2
    assert "anecdote" in page.locator("#curves").inner_text()


def test_what_decides_is_struck_through_and_the_rest_is_asked_about(page: Page) -> None:
    tab(page, "Change")
    page.get_by_role("button", name="Find the smallest removal").click()
    page.locator("#removal del").first.wait_for()
    page.locator("#removal").get_by_role("button", name="Ask about this text").click()
    text = page.get_by_label("Text", exact=True)
    removed = page.locator("#removal del").all_inner_texts()
    assert removed
    assert not any(each in text.input_value() for each in removed)
    tab(page, "Why")
    page.locator("#answer .edited").wait_for()
    assert page.locator("#answer .said-by-model h2").inner_text() == "negative"


def test_a_search_can_be_stopped(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(" ".join(f"word{number}" for number in range(26)))
    tab(page, "Change")
    page.get_by_role("button", name="Find the strongest pairs").click()
    page.locator("#pairs progress").wait_for()
    page.get_by_role("button", name="Stop").locator("visible=true").click()
    page.locator("#pairs").get_by_text("Stopped after").wait_for()
    page.get_by_role("button", name="Stop").locator("visible=true").wait_for(state="detached")
