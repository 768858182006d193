"""The page in a real browser: what a visitor sees and does.

WHYBERT_SCREENSHOTS=DIR makes the pictures of the documents anew, as DIR/page-*.png.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import whybert
from browser import browser, served
from tiny import bert, wordpiece
from whybert import Classifier
from whybert.web.panels.explain import probabilities
from whybert.web.service import Limits
from whybert.web.state import State

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

LABELS = ("entailment", "neutral", "contradiction")
MOST = 40_000  # characters


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def address(chromium: Browser) -> Iterator[str]:
    tokenizer = wordpiece()
    pairs = Classifier(bert(tokenizer, num_labels=3), tokenizer, name="pairs", labels=LABELS)
    models = {"builtin": Classifier.load("builtin"), "pairs": pairs}
    with served(models, Limits(characters=MOST)) as found:
        yield found


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """One for all pages: what Gradio sends is sent once."""
    with chromium.new_context(permissions=["clipboard-read", "clipboard-write"]) as found:
        yield found


@pytest.fixture
def visit(context: BrowserContext, address: str) -> Iterator[Callable[..., Page]]:
    """Opens pages, each a visitor; none must write to the console that something is wrong."""
    opened: list[Page] = []
    wrong: list[str] = []

    def open_page(
        query: str = "",
        answered: bool = True,
        size: tuple[int, int] = (1280, 800),
        scheme: Any = "light",
        broken: bool = False,
    ) -> Page:
        found = context.new_page()
        found.set_viewport_size({"width": size[0], "height": size[1]})
        found.emulate_media(color_scheme=scheme)
        opened.append(found)
        found.on("pageerror", lambda error: wrong.append(str(error)))
        if not broken:
            found.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        found.on(
            "request",
            lambda asked: (
                None if asked.url.startswith((address, "data:", "blob:")) else wrong.append(asked.url)
            ),
        )
        found.on("dialog", lambda dialog: wrong.append(dialog.message))
        found.goto(f"{address}/?{query}")
        if answered:
            found.locator("#answer figure").first.wait_for()
        return found

    yield open_page
    for each in opened:
        each.close()
    assert not wrong


def text_of(page: Page) -> str:
    return page.get_by_label("Text", exact=True).input_value()


def write(page: Page, text: str) -> None:
    page.get_by_label("Text", exact=True).fill(text)


def decided(page: Page, label: str) -> None:
    page.locator("#answer .said-by-model h2").get_by_text(label, exact=True).wait_for()


def word(page: Page, name: str) -> object:
    return page.locator("#answer figure").first.get_by_role("button", name=f"{name}, ").first


def settled(page: Page) -> None:
    page.wait_for_timeout(300)  # longer than the page waits after a key
    page.wait_for_function("!document.body.classList.contains('asking')")


def test_the_first_example_is_explained_at_once(visit: Callable[..., Page]) -> None:
    page = visit()
    decided(page, "positive")
    assert page.locator("#answer figure").count() == 2
    assert page.get_by_label("Probabilities").locator("li").count() == 2


def test_a_text_is_explained_as_it_is_typed_and_keeps_the_focus(visit: Callable[..., Page]) -> None:
    page = visit()
    write(page, "")
    page.get_by_label("Text", exact=True).press_sequentially("A dull mess.", delay=20)
    decided(page, "negative")
    settled(page)
    assert page.locator("#answer [data-query]").get_attribute("data-query").count("A+dull+mess.") == 1
    assert page.evaluate("document.activeElement.name") == "text"


def test_methods_and_targets_are_switched(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_label("Explained class").select_option("negative")
    page.locator("#answer figcaption", has_text="target negative").first.wait_for()
    page.get_by_label("Against", exact=True).select_option("positive")
    page.locator("#answer figcaption", has_text="negative - positive").first.wait_for()
    page.get_by_role("button", name="Remove cp_lrp").click()
    page.wait_for_function("document.querySelectorAll('#answer figure').length === 1")
    page.get_by_text("Choose methods").click()
    page.get_by_label("With options").fill("gi:reduction=sum")
    page.keyboard.press("Enter")
    page.locator("#answer figcaption", has_text="gi (reduction=sum)").wait_for()
    page.locator(".menu").get_by_text("saliency", exact=True).click()
    page.locator("#answer figcaption", has_text="saliency").wait_for()
    assert "methods=attnlrp&methods=gi%3Areduction%3Dsum&methods=saliency" in page.url


@pytest.mark.parametrize("level", ["token", "sentence"])
def test_levels_are_switched(visit: Callable[..., Page], level: str) -> None:
    page = visit()
    page.get_by_role("radio", name=f"{level}s").check()
    page.locator("#answer th", has_text=level.capitalize()).first.wait_for(state="attached")


def test_a_model_of_pairs_has_its_labels_and_shows_the_pair(visit: Callable[..., Page]) -> None:
    page = visit()
    assert page.get_by_label("Second text", exact=True).is_hidden()
    page.get_by_label("Model", exact=True).select_option("pairs")
    page.get_by_label("Second text", exact=True).fill("the actors were good")
    page.locator("#answer figure", has_text="actors").first.wait_for()
    labels = page.get_by_label("Explained class").locator("option").all_inner_texts()
    assert labels[1:] == list(LABELS)
    assert page.locator("#answer figure").first.locator("[lang='']").count() == 2


def test_a_word_is_edited_with_the_mouse(visit: Callable[..., Page]) -> None:
    page = visit(urlencode({"text": "A dull, overlong mess.", "methods": "attnlrp"}))
    word(page, "dull").click()
    page.keyboard.type("superb")
    page.keyboard.press("Enter")
    line = page.locator("#answer .edited")
    line.wait_for()
    assert text_of(page) == "A superb, overlong mess."
    assert "negative 0.999" in line.inner_text()
    assert "dull" in line.inner_text()
    assert "for negative" in line.inner_text()
    page.get_by_role("button", name="Undo").click()
    line.wait_for(state="detached")
    assert text_of(page) == "A dull, overlong mess."


def test_words_are_edited_with_the_keyboard(visit: Callable[..., Page]) -> None:
    page = visit(urlencode({"text": "A superb film.", "methods": "attnlrp"}))
    decided(page, "positive")
    word(page, "A").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "superb"
    assert page.evaluate("document.activeElement.ariaLabel").endswith(" for positive")
    page.keyboard.press("Enter")
    page.keyboard.type("x")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "superb"
    assert text_of(page) == "A superb film."
    page.keyboard.press("Enter")
    page.keyboard.type("dreadful")
    page.keyboard.press("Enter")
    decided(page, "negative")
    settled(page)
    assert page.evaluate("document.activeElement.textContent") == "dreadful"
    page.keyboard.press("Delete")
    page.locator("#answer .edited", has_text="(not there)").wait_for()
    settled(page)
    assert text_of(page) == "A film."
    assert page.evaluate("document.activeElement.textContent") == "film"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    settled(page)
    assert text_of(page) == "A superb film."


def test_an_edit_finds_its_place_behind_characters_of_two_units(visit: Callable[..., Page]) -> None:
    page = visit(urlencode({"text": "😀😀 A superb film 😀", "methods": "attnlrp"}))
    word(page, "superb").focus()
    page.keyboard.press("Delete")
    page.locator("#answer .edited").wait_for()
    assert text_of(page) == "😀😀 A film 😀"


def test_markup_is_text(visit: Callable[..., Page]) -> None:
    page = visit()
    nasty = "A <script>alert(1)</script> <img src=x onerror=alert(2)> \"'`${alert(3)} {{x}} mess"
    write(page, nasty)
    page.locator("#answer figure", has_text="onerror").first.wait_for()
    settled(page)
    assert page.locator("#answer img, #answer script").count() == 0
    page.reload()
    page.locator("#answer figure", has_text="${alert").first.wait_for()
    assert text_of(page) == nasty


TEXTS = (
    "😀 ❤️ 👩‍👩‍👧‍👦 superb one",
    "هذا الفيلم superb רע מאוד two",
    "a\u200bb\u202ec \u2060 superb three",
    "これは素晴らしい映画です superb four",
    "e\u0301tonnant superb\n\n\tmess five",
)


def test_texts_of_all_kinds(visit: Callable[..., Page]) -> None:
    page = visit()
    for text in TEXTS:
        write(page, text)
        page.locator("#answer figure", has_text=text.split()[-1]).nth(1).wait_for()
        settled(page)
        assert text_of(page) == text
        assert page.locator("#answer [role=alert]").count() == 0


def test_no_text_and_too_much_of_it(visit: Callable[..., Page]) -> None:
    page = visit()
    for blank in ("", " \n\t "):
        write(page, blank)
        page.locator("#answer", has_text="Type a text").wait_for()
        write(page, "A mess.")
        page.locator("#answer figure").first.wait_for()
    write(page, "x" * (MOST + 1))
    assert "at most 40,000 characters" in page.locator("#answer [role=alert]").inner_text()


def test_five_thousand_words(visit: Callable[..., Page]) -> None:
    page = visit()
    write(page, "superb mess " * 2500)
    page.locator("#answer figure", has_text="the model did not read the rest").nth(1).wait_for()
    assert len(page.url) < 1000
    page.get_by_role("button", name="Copy link").click()
    assert "too long for a link" in page.get_by_role("status").first.inner_text()


def test_a_method_that_is_wrong_does_not_hide_the_others(visit: Callable[..., Page]) -> None:
    page = visit(urlencode({"text": "A mess.", "methods": ["nosuch", "gi"]}, doseq=True))
    assert "unknown method 'nosuch'" in page.locator("#answer [role=alert]").inner_text()
    assert page.locator("#answer figure").count() == 1


FILES = {"HTML": "html", "PNG": "png", "JSON": "jsonl"}


def test_methods_of_many_passes_come_after_the_others_and_never_for_a_text_of_before(
    visit: Callable[..., Page],
) -> None:
    page = visit("methods=attnlrp&methods=lime:samples=1000&text=A+charming+film+of+a+man+and+his+old+dog.")
    figures, waiting = page.locator("#answer figure"), page.locator("#answer .card .hint")
    waiting.wait_for()
    assert figures.count() == 1
    write(page, "A dull mess of a man and his old dog.")
    decided(page, "negative")
    waiting.wait_for()
    write(page, "A lovely film of a man and his old dog.")
    decided(page, "positive")
    figures.nth(1).wait_for()
    assert all("lovely" in text for text in figures.all_inner_texts())
    assert waiting.count() == 0


@pytest.mark.parametrize("button", FILES)
def test_downloads(visit: Callable[..., Page], tmp_path: Path, button: str) -> None:
    page = visit(urlencode({"text": "Ça, a <b>mess</b>.", "methods": ["attnlrp", "gi"]}, doseq=True))
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    name = waiting.value.suggested_filename
    assert name == f"whybert-ca-a-b-mess-b.{FILES[button]}"
    path = tmp_path / name
    waiting.value.save_as(path)
    if button == "JSON":
        found = whybert.load(path)
        assert [each.method for each in found] == ["attnlrp", "gi"]
        assert found[0].text == "Ça, a <b>mess</b>."
    elif button == "PNG":
        assert path.read_bytes().startswith(b"\x89PNG")
    else:
        assert "&lt;b&gt;" in path.read_text() or "&lt;" in path.read_text()


def test_a_link_restores_everything(visit: Callable[..., Page]) -> None:
    one = visit()
    one.get_by_label("Model", exact=True).select_option("pairs")
    write(one, "the film was good")
    one.get_by_label("Second text", exact=True).fill("the actors were bad")
    one.get_by_label("Explained class").select_option("neutral")
    one.get_by_label("Against", exact=True).select_option("entailment")
    one.get_by_role("radio", name="sentences").check()
    one.get_by_role("button", name="Remove attnlrp").click()
    one.get_by_role("tab", name="Saved").click()
    one.wait_for_url("**tab=saved**")
    settled(one)
    query = one.url.partition("?")[2]
    asked = State.of_query(query)
    assert asked == State(
        model="pairs",
        text="the film was good",
        pair="the actors were bad",
        methods=("cp_lrp",),
        target="neutral",
        against="entailment",
        level="sentence",
        tab="saved",
    )
    other = visit(query, answered=False)
    other.get_by_role("tab", name="Saved", selected=True).wait_for()
    settled(other)
    assert other.url == one.url
    assert other.locator("#answer figure").count() == 0  # a tab that is not shown asks nothing
    other.get_by_role("tab", name="Why").click()
    other.locator("#answer figcaption", has_text="neutral - entailment").wait_for()
    other.get_by_role("button", name="Copy link").click()
    other.get_by_text("Link copied.").wait_for()
    assert other.evaluate("navigator.clipboard.readText()") == other.url


def test_a_link_that_is_wrong_says_so(visit: Callable[..., Page]) -> None:
    page = visit("text=A+mess.&model=xx&level=page&target=%3Cb%3E&tab=foo&quantity=zz&against=negative&q=1")
    said = page.get_by_role("status").first.inner_text()
    for wrong in ("“xx”", "“page”", "“<b>”", "“foo”", "“zz”", "“negative”"):
        assert wrong in said
    decided(page, "negative")


def test_two_visitors_do_not_see_one_another(visit: Callable[..., Page]) -> None:
    one, other = visit(), visit()
    write(one, "A dull mess.")
    write(other, "A superb journey.")
    decided(one, "negative")
    decided(other, "positive")
    assert one.locator("#answer figure", has_text="superb").count() == 0


# The text of all that is to be read, with less contrast than 4.5 : 1 to what lies behind it.
FAINT = """() => {
  const light = (colour) => {
    const [red, green, blue] = colour.map((each) => {
      const part = each / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const found = parts(getComputedStyle(each).backgroundColor);
      if (found.length < 4 || found[3] === 1) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const each of document.querySelectorAll("gradio-app *")) {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (getComputedStyle(each).backgroundImage !== "none") continue; // the scale, whose middle is white
    if (!own || !each.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const [one, other] = [light(parts(getComputedStyle(each).color).slice(0, 3)), light(behind(each))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5 && !each.disabled) found.push(`${each.outerHTML.slice(0, 90)} ${contrast.toFixed(2)}`);
  }
  return found;
}"""


def test_the_layout_holds_in_narrow_and_wide_windows_light_and_dark(visit: Callable[..., Page]) -> None:
    text = f"A superb {'x' * 300} mess."
    page = visit(urlencode({"text": text, "methods": ["attnlrp", "gi"], "before": "A mess."}, doseq=True))
    page.get_by_text("Choose methods").click()
    for scheme, ground in (("light", "rgb(246, 246, 244)"), ("dark", "rgb(20, 21, 23)")):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"getComputedStyle(document.body).backgroundColor === '{ground}'")
        page.wait_for_timeout(500)  # colours fade
        assert page.evaluate(FAINT) == []
        for width in (360, 1400):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_all_controls_have_a_name(visit: Callable[..., Page]) -> None:
    page = visit(urlencode({"text": "A mess.", "before": "A superb mess."}))
    page.get_by_text("Choose methods").click()
    tree = page.locator("body").aria_snapshot()
    roles = ("button", "textbox", "combobox", "checkbox", "radio", "tab", "dialog", "figure", "group")
    for line in tree.splitlines():
        role = line.strip(" -:").partition(" ")[0]
        assert role not in roles or '"' in line or role == "group", line


def test_no_answer_is_said(visit: Callable[..., Page]) -> None:
    page = visit(broken=True)
    page.route("**/gradio_api/**", lambda route: route.fulfill(status=500, body="{}"))
    write(page, "A mess.")
    page.get_by_role("status").filter(has_text="No answer came").wait_for()
    page.unroute("**/gradio_api/**")
    page.get_by_label("Text", exact=True).press("Control+Enter")
    decided(page, "negative")


def explained(count: int, **more: Any) -> Any:
    tokenizer = wordpiece()
    model = Classifier(bert(tokenizer, num_labels=count), tokenizer, **more)
    return whybert.explain(model, "the film was good")[0]


def test_of_many_classes_the_first_are_shown() -> None:
    shown = probabilities(explained(9, labels=[f"<{number}>" for number in range(9)]))
    assert "<summary>3 more classes</summary>" in shown
    assert "<8>" not in shown
    assert all(f"&lt;{number}&gt;" in shown for number in range(9))


def test_a_regression_says_its_number() -> None:
    found = explained(1)
    assert f"{found.logits[0]:.3f}" in probabilities(found)


def test_pictures_of_the_page(visit: Callable[..., Page]) -> None:
    folder = os.environ.get("WHYBERT_SCREENSHOTS")
    if not folder:
        pytest.skip("WHYBERT_SCREENSHOTS names no folder")
    edited = {
        "text": "The plot is predictable, but the acting is dreadful and I loved every minute of it.",
        "before": "The plot is predictable, but the acting is superb and I loved every minute of it.",
        "methods": ["attnlrp", "gi:reduction=sum"],
    }
    for name, query, size, scheme in (
        ("why", "", (1400, 760), "light"),
        ("edited", urlencode(edited, doseq=True), (1400, 800), "light"),
        ("dark", "", (1400, 760), "dark"),
    ):
        page = visit(query, size=size, scheme=scheme)
        settled(page)
        page.screenshot(path=Path(folder, f"page-{name}.png"))


texts = st.text(st.characters(codec="utf-8"), max_size=30)


@given(
    st.builds(
        State,
        **dict.fromkeys(State.__dataclass_fields__.keys() - {"methods"}, texts),
        methods=st.lists(texts.filter(bool), max_size=4).map(tuple),
    )
)
def test_a_state_and_its_query_are_the_same(state: State) -> None:
    assert State.of_query(state.query) == state
    assert State.of_query(f"?utm=1&{state.query}") == state


@given(st.text(st.characters(), max_size=60))
def test_no_query_is_refused(query: str) -> None:
    State.of_query(query)
