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
    opened.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else wrong.append(asked.url),
    )
    opened.goto(address)
    yield opened
    opened.close()
    assert not wrong


def test_a_text_is_explained_as_it_is_typed(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill("A dull mess.")
    page.locator("#answer figure").first.wait_for()
    assert "negative" in page.locator("#answer").inner_text()
