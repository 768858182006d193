"""The tab of saved explanations in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import whybert
from browser import browser, served
from whybert import Classifier

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXTS = ["A dull <script>alert(1)</script> mess.", "A charming film.", "A dull, charming mess \U0001f600."]
TRUTHS = ["negative", "negative", None]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load("builtin")


@pytest.fixture(scope="module")
def file(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = whybert.explain(classifier, TEXTS, ["attnlrp", "gi"])
    path = tmp_path_factory.mktemp("saved") / "why.jsonl"
    whybert.save({name: rows.with_truth(TRUTHS) for name, rows in found.items()}, path)
    return path


@pytest.fixture(scope="module")
def page(classifier: Classifier) -> Iterator[Page]:
    with browser() as launched, served({"builtin": classifier}) as address:
        opened = launched.new_page()
        wrong: list[str] = []
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("dialog", lambda dialog: wrong.append(dialog.message))
        opened.goto(address)
        opened.get_by_role("tab", name="Saved").click()
        yield opened
        assert not wrong


def _opened(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chosen:
        page.locator("#saved-file").click()
    chosen.value.set_files(path)


def test_from_a_word_to_its_texts_and_their_heat_map(page: Page, file: Path) -> None:
    _opened(page, file)
    texts = page.locator("#saved-texts tbody tr")
    page.get_by_text("Texts 1 to 3 of 3").wait_for()
    assert "6 explanations by attnlrp, gi" in page.locator("#saved-about").inner_text()
    page.locator("#saved-words").get_by_role("button", name="charming", exact=True).first.click()
    page.get_by_text("Texts 1 to 2 of 2").wait_for()
    texts.first.get_by_role("button").click()
    page.locator("#saved-figure figure").wait_for()
    assert "charming" in page.locator("#saved-figure figure").inner_text()
    page.get_by_label("With the word").fill("script")
    page.get_by_text("Texts 1 to 1 of 1").wait_for()
    texts.first.get_by_role("button").click()
    page.locator("#saved-figure").get_by_text("<script>").first.wait_for()
    assert page.locator("#saved-figure script, #saved-texts script").count() == 0


def test_the_two_sliders_stand_on_one_line(page: Page) -> None:
    page.set_viewport_size({"width": 1400, "height": 900})
    low, high = (page.locator(f"#saved-{end} input[type=range]").bounding_box() for end in ("low", "high"))
    assert low is not None
    assert high is not None
    assert low["y"] == high["y"]


def test_only_the_wrong_ones(page: Page, file: Path) -> None:
    page.get_by_label("With the word").fill("")
    page.get_by_text("Texts 1 to 3 of 3").wait_for()
    page.locator("#saved-verdict input").click()
    page.get_by_role("option", name="wrong").click()
    page.get_by_text("Texts 1 to 1 of 1").wait_for()
    assert "(wrong)" in page.locator("#saved-texts tbody tr").inner_text()


def test_what_is_no_such_file_is_said(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("<script>alert(1)</script>\n")
    _opened(page, path)
    alert = page.locator("#saved-about [role=alert]")
    alert.wait_for()
    assert alert.inner_text().startswith("'notes.jsonl', line 1, is no JSON")
    assert page.locator("#saved").is_hidden()
