"""The page in a real browser: what a visitor sees and does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from browser import browser, served
from whybert import Classifier

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def address(chromium: Browser) -> Iterator[str]:
    with served({"builtin": Classifier.load("builtin")}) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """A fresh visitor on the page, which must not write to the console that something is wrong."""
    opened = chromium.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else wrong.append(asked.url),
    )
    opened.goto(address)
    opened.locator("#answer figure").first.wait_for()
    yield opened
    opened.close()
    assert not wrong


def decision(page: Page) -> str:
    return page.locator("#answer .said-by-model h2").inner_text()


def decided(page: Page, label: str) -> None:
    page.locator("#answer .said-by-model h2").get_by_text(label, exact=True).wait_for()


def test_the_first_example_is_explained_at_once(page: Page) -> None:
    assert decision(page) == "positive"
    assert page.locator("#answer figure").count() == 2


def test_a_text_is_explained_as_it_is_typed(page: Page) -> None:
    text = page.get_by_label("Text", exact=True)
    text.fill("A dull mess.")
    decided(page, "negative")
    assert text.evaluate("each => each === document.activeElement")


def test_a_word_is_edited_with_the_mouse(page: Page) -> None:
    page.get_by_role("button", name="A dull, overlong mess.", exact=True).click()
    decided(page, "negative")
    page.locator("#answer").get_by_role("button", name="dull, ").first.click()
    page.keyboard.type("superb")
    page.keyboard.press("Enter")
    page.locator("#answer .edited").wait_for()
    assert page.get_by_label("Text", exact=True).input_value() == "A superb, overlong mess."
    assert "negative" in page.locator("#answer .edited").inner_text()
    page.get_by_role("button", name="Undo").click()
    page.locator("#answer .edited").wait_for(state="detached")
    assert page.get_by_label("Text", exact=True).input_value() == "A dull, overlong mess."
