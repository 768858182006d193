"""What the renderers show, and that nothing in a text, label or option gets through them unescaped."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from whybert import __version__
from whybert.errors import InputError, UnknownNameError
from whybert.explanation import Completeness, Explanation, Explanations, Level, Target, Token
from whybert.render import number, pieces, visible
from whybert.render.html import FEW, fragment, html
from whybert.render.latex import latex
from whybert.render.scale import AGAINST, RELEVANT, SUPPORTS, Scale, contrast
from whybert.render.terminal import comparison, terminal

HOSTILE = [
    "\ud83d",
    "\ude00\ud83d",
    "😀👩‍👩‍👧",
    "שלום \u202eevil",
    "\u061c\u200e\u200fevil\U000e0065\U000e0076",
    "e\u0301\u0323",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b31m",
    "a\x00b\rc\x7f",
    "line\u2028end",
    "<script>alert('1')</script>",
    '"><img src=x onerror=alert(1)>',
    "&amp;&lt;",
    "[red]not markup[/red] [/] :smile:",
    "\\input{/etc/passwd} % $x_1^2$ # ~ {}&",
    "}{\\end{document}",
]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

Render = Callable[[Explanation, Level], str]


def printed(renderable: Any, **options: Any) -> str:
    out = io.StringIO()
    settings: dict[str, Any] = {"width": 2000, "color_system": None} | options
    Console(file=out, **settings).print(renderable)
    return re.sub(" +\n", "\n", out.getvalue())


RENDERERS: dict[str, Render] = {
    "terminal": lambda explanation, level: printed(terminal(explanation, level, show_scores=True)),
    "colour": lambda explanation, level: printed(
        terminal(explanation, level), force_terminal=True, color_system="truecolor", no_color=False
    ),
    "comparison": lambda explanation, level: printed(comparison([explanation] * 2, level)),
    "html": lambda explanation, level: html(explanation, level),
    "fragment": lambda explanation, level: fragment(explanation, level),
    "latex": lambda explanation, level: latex(explanation, level),
}
every_renderer = pytest.mark.parametrize("name", RENDERERS)
every_level = pytest.mark.parametrize("level", ["word", "token"])


def explain(
    text: str, scores: list[float] | None = None, pair: str | None = None, **changes: Any
) -> Explanation:
    """One token for each word, words split at blanks, between special tokens of score 100."""
    tokens = [Token("[CLS]", 0, 0, None, None, True, 100.0)]
    spans = []
    left = list(scores or [])
    covered = changes.pop("covered", None)
    for sequence, part in enumerate([text] if pair is None else [text, pair]):
        for match in re.finditer(r"[^ \n]+", part):
            if covered is not None and match.end() > covered:
                break
            spans.append((sequence, *match.span()))
            score = left.pop(0) if left else 0.0
            tokens.append(Token(match[0], *match.span(), sequence, len(spans) - 1, False, score))
        tokens.append(Token("[SEP]", 0, 0, None, None, True, 100.0))
    fields: dict[str, Any] = {
        "prediction": "positive",
        "probabilities": (0.002, 0.998),
        "logits": (-3.0, 3.5),
        "labels": ("negative", "positive"),
        "target": Target(1, "positive"),
        "method": "attnlrp",
        "options": {},
        "signed": True,
        "truncated": False,
        "completeness": None,
    }
    return Explanation(
        text=text, pair=pair, tokens=tuple(tokens), word_spans=tuple(spans), **(fields | changes)
    )


def hostile_everywhere(text: str) -> Explanation:
    return explain(
        text,
        [1.0, -2.0, 3.0],
        pair=text,
        labels=(text, "other"),
        prediction=text,
        target=Target(0, text, 1, "other"),
        method=text,
        options={text: text},
        completeness=Completeness(1.0, 2.0),
    )


class Page(HTMLParser):
    """Reads a page and checks that its elements nest."""

    VOID = frozenset({"meta"})

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def unbalanced_braces(source: str) -> int:
    depth = 0
    for brace in re.sub(r"\\[^a-zA-Z]|%.*", "", source):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        assert depth >= 0
    return depth


# Scale


@pytest.mark.parametrize("signed", [True, False])
def test_text_is_readable_over_the_whole_scale(signed: bool) -> None:
    scale = Scale(1.0, signed)
    for step in range(-1000, 1001):
        colour = scale.colour_at(step / 1000)
        assert contrast(colour.foreground, colour.background) >= 4.5


def test_contrast_is_the_ratio_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_colours_at_the_ends_and_at_zero() -> None:
    scale = Scale(2.0, True)
    assert scale.colour(2.0).background == SUPPORTS[-1] == "#b2182b"
    assert scale.colour(-2.0).background == AGAINST[-1] == "#2166ac"
    assert scale.colour(0.0).background == "#ffffff"
    assert Scale(2.0, False).colour(2.0).background == RELEVANT[-1]
    assert Scale(2.0, False).colour(0.0).background == "#ffffff"


def test_special_tokens_do_not_set_the_scale_but_are_clipped() -> None:
    scale = Scale.of(explain("a b", [1.0, -4.0]))
    assert scale.maximum == 4.0
    assert scale.position(100.0) == 1.0
    assert scale.position(1.0) == 0.25
    assert scale.position(-1.0) == -0.25


def test_scale_of_words_and_tokens_differs() -> None:
    tokens = (Token("a", 0, 1, 0, 0, False, 3.0), Token("b", 1, 2, 0, 0, False, -2.0))
    explanation = dataclasses.replace(explain("ab"), tokens=tokens)
    assert Scale.of(explanation).maximum == 1.0
    assert Scale.of(explanation, "token").maximum == 3.0


def test_zero_and_non_finite_scores_have_no_colour() -> None:
    nan, inf = float("nan"), float("inf")
    assert Scale.of(explain("a b", [0.0, -0.0])).position(0.0) == 0.0
    assert Scale.of(explain("a b", [0.0, 0.0])).position(100.0) == 0.0
    scale = Scale.of(explain("a b c d", [nan, 2.0, inf, -inf]))
    assert scale.maximum == 2.0
    assert [scale.position(score) for score in (nan, inf, -inf)] == [0.0, 0.0, 0.0]
    assert Scale.of(explain("", [])).maximum == 0.0
    assert Scale.of(explain("a", [5e-324])).position(1e308) == 1.0


@pytest.mark.parametrize("name", ["terminal", "html", "fragment"])
def test_non_finite_scores_are_shown_as_written(name: str) -> None:
    output = RENDERERS[name](explain("a b c", [float("nan"), float("inf"), float("-inf")]), "word")
    assert {"nan", "inf", "-inf"} <= set(re.findall(r"-?\b(?:nan|inf)\b", output))


def test_numbers_keep_small_and_large_values() -> None:
    assert [number(value) for value in (1.0, -0.25, 0.0, 0.0001, -123456.0)] == [
        "+1.000",
        "-0.250",
        "+0.000",
        "+1.00e-04",
        "-1.23e+05",
    ]
    assert number(1.0, sign=False) == "1.000"


# Pieces


def test_pieces_read_as_the_text_with_single_blanks() -> None:
    explanation = explain(" a  film\n\nto see ", [1.0])
    (line,) = pieces(explanation)
    assert "".join(" " * piece.blank + piece.text for piece in line) == "a film to see"
    assert [piece.text for piece in pieces(explanation, "token")[0]] == [
        "[CLS]", "a", "film", "to", "see", "[SEP]"
    ]  # fmt: skip


def test_uncovered_text_has_no_score_and_can_be_cut() -> None:
    explanation = explain("one two three four", [1.0, 2.0], covered=7, truncated=True)
    (line,) = pieces(explanation)
    assert [(piece.text, piece.score) for piece in line] == [("one", 1.0), ("two", 2.0), ("three four", None)]
    (line,) = pieces(explanation, uncovered_limit=5)
    assert line[-1].text == "three… (5 more characters)"


def test_adjacent_words_have_no_blank() -> None:
    tokens = tuple(Token(c, i, i + 1, 0, i, False, 1.0) for i, c in enumerate("a,b"))
    spans = tuple((0, i, i + 1) for i in range(3))
    explanation = dataclasses.replace(explain("a,b"), tokens=tokens, word_spans=spans)
    assert [piece.blank for piece in pieces(explanation)[0]] == [False, False, False]
    assert [piece.blank for piece in pieces(explanation, "token")[0]] == [False, True, True]


def test_special_tokens_are_shown_with_the_text_before_them() -> None:
    first, second = pieces(explain("a", pair="b"), "token")
    assert [piece.text for piece in first] == ["[CLS]", "a", "[SEP]"]
    assert [piece.text for piece in second] == ["b", "[SEP]"]


def test_visible() -> None:
    assert visible("\x1b[0m\x00\n\x7f\x9b") == "␛[0m␀␊␡\ufffd"
    assert visible("\ud83d \u202e \u2066") == "\ufffd \ufffd \ufffd"
    for hidden in ("\u061c", "\u200e", "\u200f", "\U000e0001", "\U000e0041", "\U000e007f"):
        assert visible(f"a{hidden}b") == "a\ufffdb"
    assert visible("é שלום 😀 e\u0301") == "é שלום 😀 e\u0301"


# Hostile input


@every_renderer
@every_level
@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_gets_through(name: str, level: Level, text: str) -> None:
    output = RENDERERS[name](hostile_everywhere(text), level)
    output.encode("utf-8")
    allowed = re.sub(r"\x1b\[[0-9;]*m", "", output) if name == "colour" else output
    controls = r"\x00-\x09\x0b-\x1f\x7f-\x9f"
    hidden = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f"
    assert not re.search(f"[{controls}{hidden}]", allowed)
    if name in ("html", "fragment"):
        page = Page(output)
        assert not {"script", "img"} & {tag for tag, _ in page.tags}
        assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    if name == "latex":
        assert unbalanced_braces(output) == 0


@given(text=st.text(st.characters(), max_size=30), name=st.sampled_from(sorted(RENDERERS)))
def test_any_text_renders(text: str, name: str) -> None:
    output = RENDERERS[name](hostile_everywhere(text), "word")
    output.encode("utf-8")
    if name == "latex":
        assert unbalanced_braces(output) == 0
    if name in ("html", "fragment"):
        Page(output)


def test_escape_sequences_of_the_text_do_not_reach_the_terminal() -> None:
    output = RENDERERS["colour"](hostile_everywhere("\x1b[31mred"), "word")
    assert "\x1b[31m" not in output
    assert "␛[31mred" in output


def test_rich_markup_is_text() -> None:
    output = RENDERERS["terminal"](hostile_everywhere("[red]x[/red] :smile:"), "word")
    for place in (
        "[red]x[/red](+1.000) :smile:(-2.000)",
        "method [red]x[/red]",
        "for",
        "supports [red]x[/red]",
    ):
        assert place in output


def test_html_is_text() -> None:
    page = Page(html(hostile_everywhere("<b>&amp;</b>"), title="<i>"))
    assert "<b>&amp;</b>" in page.text
    assert "<i>" in page.text
    assert not {"b", "i"} & {tag for tag, _ in page.tags}


def test_latex_specials_are_escaped() -> None:
    output = latex(explain(r"\ % $ # _ { } ~ ^ & <>|"))
    for escaped in (
        r"\textbackslash{}", r"\%", r"\$", r"\#", r"\_", r"\{", r"\}", r"\textasciitilde{}",
        r"\textasciicircum{}", r"\&", r"\textless{}\textgreater{}\textbar{}",
    ):  # fmt: skip
        assert rf"\strut {escaped}}}" in output
    assert r"\texttt{U+001B}" in latex(explain("\x1b"))
    assert r"\texttt{U+D83D}" in latex(explain("\ud83d"))


# What is shown


def test_terminal_tells_the_whole_story_without_colour() -> None:
    explanation = explain(
        "a charming but slow film",
        [0.1, 2.5, 0.0, -1.25, 0.5],
        options={"gamma": 0.25},
        completeness=Completeness(2.21, 3.52, 1.29),
        truncated=True,
    )
    output = printed(terminal(explanation))
    assert "\x1b" not in output
    assert "positive 0.998 · method attnlrp (gamma=0.25)" in output
    assert "tokens 2.21, biases 1.29, logit 3.52 (0.02 unaccounted)" in output
    assert "\nwarning: the text was cut to 7 tokens, and the model did not read the rest; long=" in output
    assert "\na ++charming but --slow +film\n" in output
    assert (
        "++ + supports positive; -- - against positive (one sign from a fifth of 2.500 on, two from half)\n"
    ) in output
    assert re.search(r"for +charming \+2\.500  film \+0\.500  a \+0\.100", output)
    assert re.search(r"against +slow -1\.250", output)


def test_terminal_paints_words_by_score() -> None:
    output = RENDERERS["colour"](explain("good bad fair none", [2.0, -2.0, 0.4, 0.1]), "word")
    # In true colour, or in the nearest of 256: rich keeps the codes with which a style was first printed in
    # this process, and that may have been another test.
    assert re.search(r"\x1b\[[\d;]*48;(2;215;48;31|5;\d+)mgood", output)
    assert re.search(r"\x1b\[[\d;]*48;(2;22;104;208|5;\d+)mbad", output)
    assert re.search(r"\x1b\[38;(2;198;78;62|5;\d+)mfair\x1b\[0m none\n", output)  # on what the page is


def test_terminal_paints_nothing_where_all_scores_are_zero() -> None:
    heat_map = RENDERERS["colour"](explain("good bad"), "word").splitlines()[2]
    assert heat_map == "good bad"


def test_target_is_named_where_it_differs_from_the_prediction() -> None:
    for render in (
        RENDERERS["terminal"],
        lambda e, level: Page(html(e, level)).text,
        RENDERERS["comparison"],
    ):
        assert "target" not in render(explain("a", [1.0]), "word")
        assert "target negative" in render(explain("a", [1.0], target=Target(0, "negative")), "word")
        shown = render(explain("a", [1.0], target=Target(1, "positive", 0, "negative")), "word")
        assert "target positive - negative" in shown
        assert "supports negative" in shown


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (Completeness(2.1, 3.4, 1.3), "tokens 2.10 + biases 1.30 = logit 3.40"),
        (Completeness(2.1, 3.4 + 1e-5, 1.3), "tokens 2.10 + biases 1.30 = logit 3.40"),
        (Completeness(2.1, 3.5, 1.3), "tokens 2.10, biases 1.30, logit 3.50 (0.10 unaccounted)"),
        (Completeness(2.1, 3.4, 1.2, 0.1), "tokens 2.10 + biases 1.20 + other positions 0.10 = logit 3.40"),
        (Completeness(42.0, 0.9, -41.1), "tokens 42.00 + biases -41.10 = logit 0.90 (biases outweigh it)"),
        (Completeness(0.5, 0.0, -0.5), "tokens 0.50 + biases -0.50 = logit 0.00 (biases outweigh it)"),
        (Completeness(0.35, 3.42), "tokens 0.35, logit 3.42 (the rest is not accounted for)"),
    ],
)
def test_what_the_output_is_made_of(found: Completeness, shown: str) -> None:
    explanation = explain("a", completeness=found)
    assert f"{shown}\n" in printed(terminal(explanation))
    assert shown in Page(html(explanation)).text
    assert shown in latex(explanation).replace("{-}", "-")
    contrast = explain("a", target=Target(1, "positive", 0, "negative"), completeness=found)
    assert shown.replace("logit", "logit difference") in printed(terminal(contrast))


@every_renderer
def test_magnitudes_have_no_against(name: str) -> None:
    output = RENDERERS[name](explain("good bad", [2.0, 1.0], signed=False), "word")
    assert "more relevant" in output
    assert "gainst" not in output
    assert "+2.000" not in output


@every_renderer
@every_level
def test_both_texts_of_a_pair_are_shown(name: str, level: Level) -> None:
    output = RENDERERS[name](explain("premise", [1.0], pair="hypothesis"), level)
    assert output.index("premise") < output.index("hypothesis")
    if name != "latex":
        assert re.search("text|Text", output)
        assert re.search("pair|Pair", output)


@every_renderer
def test_cut_off_text_is_shown_and_noted(name: str) -> None:
    output = RENDERERS[name](explain("seen unseen", [1.0], covered=4, truncated=True), "word")
    assert "cut to 3 tokens" in output
    assert "unseen" in output


@every_renderer
def test_sizes_that_mislead_are_said(name: str) -> None:
    books = Completeness(230.0, 0.91, -229.09)  # its special tokens have 100 each
    output = RENDERERS[name](
        explain("good", [30.0], logits=(-0.9, 0.91), completeness=books, truncated=True), "word"
    )
    output = " ".join(output.split())
    for said in ("253 times the largest logit", "not the sizes", "was cut to"):
        assert said in output
    assert "times the largest" not in RENDERERS[name](explain("good", [3.0]), "word")


@every_renderer
def test_an_empty_text_renders(name: str) -> None:
    assert "(empty text)" in RENDERERS[name](explain(""), "word")


@every_renderer
def test_an_unknown_level_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'word'"):
        RENDERERS[name](explain("a"), "words")  # type: ignore[arg-type]


def test_comparison_shares_header_and_legends() -> None:
    rows = [
        explain("a film", [1.0, 2.0]),
        explain("a film", [2.0, -1.0], method="gi"),
        explain("a film", [2.0, 1.0], method="rollout", signed=False),
    ]
    output = printed(comparison(rows))
    assert output.count("positive 0.998") == 1
    assert re.search(r"^attnlrp +\+\+a \+\+film$", output, re.MULTILINE)
    assert re.search(r"^gi +\+\+a --film$", output, re.MULTILINE)
    assert re.search(r"^rollout +\*\*a \*\*film$", output, re.MULTILINE)
    assert output.count("supports positive") == 1
    assert output.count("more relevant") == 1


def test_comparison_tells_apart_what_differs() -> None:
    rows = [explain("a", [1.0], options={"k": 1}), explain("a", [1.0], options={"k": 2})]
    output = printed(comparison(rows))
    assert "(k=1)" in output
    assert "(k=2)" in output
    rows = [explain("a", [1.0]), explain("a", [1.0], prediction="negative", target=Target(0, "negative"))]
    output = printed(comparison(rows))
    assert "positive 0.998" in output
    assert "negative 0.002" in output


def test_comparison_refuses_different_texts_and_none() -> None:
    with pytest.raises(InputError, match="same text"):
        comparison([explain("a"), explain("b")])
    with pytest.raises(InputError, match="same text"):
        comparison([explain("a"), explain("a", pair="b")])
    with pytest.raises(InputError, match="at least one"):
        comparison([])


def test_html_needs_nothing_from_outside() -> None:
    source = html([explain("a", [1.0])])
    assert source.startswith("<!doctype html>")
    page = Page(source)
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert ("meta", {"charset": "utf-8"}) in page.tags
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not {"src", "href"} & {key for _, attributes in page.tags for key in attributes}
    assert "url(" not in source
    assert "prefers-color-scheme: dark" in source


def test_html_groups_methods_by_text() -> None:
    page = Page(html([explain("one"), explain("two"), explain("one", method="gi")]))
    tags = [tag for tag, _ in page.tags if tag in ("section", "figure")]
    assert tags == ["section", "figure", "figure", "section", "figure"]
    assert page.text.index("gi") < page.text.index("two")


def test_html_has_scores_as_tooltip_label_and_table() -> None:
    page = Page(html(explain("good bad", [2.0, -1.0])))
    titles = [attributes["title"] for _, attributes in page.tags if "title" in attributes]
    assert titles == ["good: +2.000", "bad: -1.000"]
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "figure"]
    assert labels == ["attnlrp on positive; for: good +2.000; against: bad -1.000"]
    assert [tag for tag, _ in page.tags].count("tr") == 3
    assert "background:#b2182b" in html(explain("good", [2.0]))


def test_fragment_leaves_the_page_around_it_alone() -> None:
    page = Page(fragment(explain("a", [1.0])))
    assert page.tags[0][0] == "div"
    assert not {"style", "html", "body", "head", "link"} & {tag for tag, _ in page.tags}
    assert not {"class", "id"} & {key for _, attributes in page.tags for key in attributes}


def test_latex_is_a_snippet_with_colours() -> None:
    output = latex([explain("good bad,", [2.0, -2.0]), explain("other")])
    assert output.startswith("% needs \\usepackage{xcolor}\n")
    assert "\\colorbox[HTML]{B2182B}{\\textcolor[HTML]{FFFFFF}{\\strut good}}\n\\colorbox" in output
    assert "\\colorbox[HTML]{2166AC}{\\textcolor[HTML]{FFFFFF}{\\strut \\underline{bad,}}}" in output
    assert "other" in output
    legend = next(line for line in output.splitlines() if "\\protect" in line)
    assert unbalanced_braces(legend) == 0
    assert "supports positive" in legend
    assert "\\par" not in legend  # \caption takes no paragraph


def test_latex_breaks_lines_between_words_without_blanks() -> None:
    tokens = tuple(Token(c, i, i + 1, 0, i, False, 1.0) for i, c in enumerate("電影。"))
    spans = tuple((0, i, i + 1) for i in range(3))
    output = latex(dataclasses.replace(explain("電影。"), tokens=tokens, word_spans=spans))
    assert output.count("\\allowbreak") == 1  # before 影, not before the full stop


def test_there_is_no_band_behind_words_of_no_weight() -> None:
    """A terminal may be dark or light: what has no colour is left as it is, what has one is readable."""
    for signed in (True, False):
        scale = Scale(1.0, signed)
        for step in range(-1000 if signed else 0, 1001):
            background, foreground = scale.on_any_at(step / 1000)
            if abs(step) < 100:
                assert (background, foreground) == (None, None)
            elif background is None:
                assert foreground is not None
                assert min(contrast(foreground, paper) for paper in ("#000000", "#ffffff")) >= 4.4
            else:
                assert foreground is not None
                assert contrast(foreground, background) >= 4.5
                assert contrast(background, "#ffffff") >= 1.9 <= contrast(background, "#000000")


@pytest.mark.parametrize(
    ("position", "mark"), [(1.0, "++"), (0.5, "++"), (0.3, "+"), (0.1, ""), (0, ""), (-0.2, "-"), (-1, "--")]
)
def test_marks_without_colours(position: float, mark: str) -> None:
    assert Scale(2.0, True).mark(2.0 * position) == mark
    assert Scale(2.0, False).mark(2.0 * abs(position)) == mark.replace("+", "*").replace("-", "*")
    assert Scale(2.0, True).mark(float("nan")) == ""


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "color_system": "truecolor"}])
def test_narrow_terminals(options: Any) -> None:
    """At 40 columns no line is longer, and neither the colour bar nor a label of the legend is broken."""
    long = {"labels": ("bad", "a label of some length"), "prediction": "a label of some length"}
    for changes in ({}, long | {"target": Target(1, "a label of some length")}):
        one = explain("a charming but slow film", [0.1, 2.5, 0.0, -1.25], truncated=True, **changes)
        for value in (terminal(one), comparison([one, dataclasses.replace(one, method="gi")])):
            plain = re.sub(r"\x1b\[[\d;]*m", "", printed(value, width=40, **options))
            assert max(map(len, plain.split("\n"))) <= 40
            if options:
                [bar] = {line for line in plain.split("\n") if "▪ 0 ▪" in line or "▪  0  ▪" in line}
                assert len(bar) <= 40
                assert f"\nright: supports {one.prediction}\n" in plain


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output = printed(terminal(explain("good", [1.0])), force_terminal=True, color_system="truecolor")
    assert "++good" in output
    assert "48;2" not in output


def unknown() -> Explanation:
    one = explain("a ☃ and ♥", [1.0, 0.5, 0.1, -1.0])
    return dataclasses.replace(
        one,
        tokens=tuple(
            dataclasses.replace(token, text="[UNK]", unknown=True) if token.text in "☃♥" else token
            for token in one.tokens
        ),
    )


@every_renderer
def test_unknown_words_are_marked_and_named(name: str) -> None:
    output = RENDERERS[name](unknown(), "word")
    assert "2 words are unknown to the tokenizer, which reads [UNK] (marked ?): ☃, ♥" in output
    expected = {
        "latex": "\\textsuperscript{?}",
        "html": '(unknown to the tokenizer)">☃</span><sup>?</sup>',
        "terminal": "☃?",
        "colour": "?",
        "comparison": "☃?",
    }
    assert expected.get(name, expected["html"]) in output
    assert "unknown" not in RENDERERS[name](explain("a", [1.0]), "word")


@every_renderer
def test_a_text_that_was_cut_is_a_warning_with_a_way_out(name: str) -> None:
    output = RENDERERS[name](explain("seen unseen", [1.0], covered=4, truncated=True), "word")
    assert "did not read the rest; long=" in output.replace("&quot;", '"').replace("\\textquotedbl{}", '"')
    assert "windows" in output
    assert "windows" not in RENDERERS[name](explain("seen"), "word")


def test_a_page_names_where_it_comes_from() -> None:
    one = explain("a", [1.0], classifier="my/model", truth="negative")
    text = Page(html([one, explain("b", method="gi", truth="positive")], date="2026-11-26")).text
    assert (
        "model my/model · methods attnlrp, gi · 2 texts · 1 of 2 predictions right · "
        f"whybert {__version__} · 2026-11-26\n"
    ) in text
    assert "label in the data negative" in text
    both = [explain("a", classifier=model, method=method) for model in "xy" for method in ("gi", "gs")]
    labelled = [dataclasses.replace(each, truth="positive") for each in both]
    assert " · 1 text · 1 of 1 predictions right · " in Page(html(labelled[:2])).text
    assert "models x, y · methods gi, gs · 1 text · whybert" in Page(html(labelled)).text
    assert re.search(
        r"method attnlrp · 1 text · whybert [\d.]+ · \d{4}-\d\d-\d\d\n", Page(html(explain("a"))).text
    )


# A page of many texts


def many(count: int = FEW + 1, **changes: Any) -> list[Explanation]:
    return [explain(f"text {number} is good", [0.0, 0.0, -1.0, 2.0], **changes) for number in range(count)]


def data_of(source: str) -> Any:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', source, re.DOTALL)
    return json.loads(found)


def test_a_page_of_a_few_texts_has_no_script() -> None:
    assert "<script" not in html(many(FEW))
    assert "<script" not in html([*many(FEW), *many(FEW, method="gi")])
    assert "<script" in html(many(FEW + 1))


def test_the_policy_of_a_page_of_many_texts_allows_its_script_only() -> None:
    source = html(many())
    page = Page(source)
    [policy] = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    [script] = re.findall("<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert [tag for tag, _ in page.tags].count("script") == 2
    for name in ("innerHTML", "eval", "insertAdjacent", "document.write", "setAttribute", "Function("):
        assert name not in script
    assert not {"src", "href"} & {key for _, attributes in page.tags for key in attributes}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)


def test_a_page_of_many_texts_holds_all_of_them_as_data() -> None:
    first = many(truth="negative")
    found = data_of(html([*first, *many(method="gi")]))
    assert len(found["items"]) == FEW + 1
    item = found["items"][3]
    assert (item["label"], item["line"], item["wrong"]) == ("positive", "positive 0.998", True)
    assert [figure["method"] for figure in item["figures"]] == ["attnlrp", "gi"]
    figure = item["figures"][0]
    assert figure["lines"][0][2:] == [["is", "-1.000", -10, 1], ["good", "+2.000", 20, 1]]
    assert figure["top"] == [["for", [["good", "+2.000", 20]]], ["against", [["is", "-1.000", -10]]]]
    assert figure["ends"] == ["against positive -2.000", "+2.000 supports positive"]


def test_a_text_that_stands_twice_in_the_data_comes_twice() -> None:
    assert len(data_of(html([explain("same", [1.0])] * (FEW + 2)))["items"]) == FEW + 2
    found = Page(html([explain("same"), explain("same"), explain("same", method="gi")]))
    assert [tag for tag, _ in found.tags].count("section") == 2


def test_a_page_of_many_texts_without_scripts_shows_the_first() -> None:
    page = Page(html(many(FEW + 7)))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("noscript") == 1
    assert tags.count("section") == 10
    assert f"This page has {FEW + 7} texts." in page.text


@pytest.mark.parametrize("text", [*HOSTILE, "</script><script>alert(1)</script>", "<!--<script>", "]]>"])
def test_nothing_hostile_gets_out_of_the_data(text: str) -> None:
    source = html([hostile_everywhere(text)] * (FEW + 1), title=text)
    source.encode("utf-8")
    page = Page(source)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not {"img"} & {tag for tag, _ in page.tags}
    [shown] = re.findall(r'id="data">(.*?)</script>', source, re.DOTALL)
    assert not re.search("[<>&\u2028\u2029\x00-\x1f\x7f-\x9f]", shown)
    assert data_of(source)["items"][0]["label"] == visible(text)


def test_numbers_that_are_none_do_not_break_the_page() -> None:
    one = explain(
        "a b", [float("nan"), float("inf")], logits=(float("nan"), 1.0), probabilities=(), signed=True
    )
    assert data_of(html([one] * (FEW + 1)))["items"][0]["figures"][0]["lines"][0][0][1] == "nan"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to look with")
def test_the_index_works_in_a_browser(tmp_path: Path) -> None:
    """The page as it is shows its index; then a script of the test, let in by another policy, uses it."""
    assert CHROMIUM is not None
    rows = [
        explain(f"text {n} is <b>good</b>", [0.0, 0.0, -1.0, 2.0 + n], truth="negative") for n in range(250)
    ]
    rows[7] = explain(
        "quite another ☃", [1.0, -1.0, 0.5], prediction="negative", target=Target(0, "negative")
    )
    page = html(rows, title="Many")

    def shown(source: str) -> str:
        (tmp_path / "page.html").write_text(source, encoding="utf-8")
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000"]
        command += [
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ]
        return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode()

    first = shown(page)
    assert "<output>250 of 250 texts</output>" in first
    assert "&lt;b&gt;good&lt;/b&gt;" in first
    assert first.count('<details class="text judged">') in (100, 200)  # not all of them at once
    use = """addEventListener("load", () => {
      const said = [], form = document.querySelector("form");
      const [label, verdict, order] = form.querySelectorAll("select");
      const [part, word] = form.querySelectorAll("input");
      const say = (control, value) => {
        control.value = value;
        form.dispatchEvent(new Event("input"));
        const rows = document.querySelectorAll("details.text").length;
        said.push(`${document.querySelector("output").textContent} ${rows}`);
        control.value = "";
      };
      say(label, "1"); say(verdict, "wrong"); say(part, "TEXT 24"); say(word, "another"); say(word, "text");
      say(order, "down"); say(part, "quite");
      document.querySelector("details.text").open = true;
      setTimeout(() => {
        said.push(document.querySelector("figure").textContent);
        document.title = said.join("|");
      }, 500);
    })"""
    policy = re.sub("script-src '[^']*'", "script-src 'unsafe-inline'", page)
    [title] = re.findall(
        "<title>(.*?)</title>", shown(policy.replace("</main>", f"<script>{use}</script></main>"))
    )
    *counts, figure = title.split("|")
    assert counts == [
        "1 of 250 texts 1", "249 of 250 texts 100", "11 of 250 texts 11", "1 of 250 texts 1",
        "0 of 250 texts 0", "250 of 250 texts 100", "1 of 250 texts 1",
    ]  # fmt: skip
    assert "attnlrpquite another ☃against negative -1.0000+1.000 supports negative" in figure


def test_lists_show_the_first_of_them() -> None:
    listed = Explanations(many(3000))
    assert len(listed._repr_html_()) < 30_000
    assert "3000 explanations: the first 5 are shown" in Page(listed._repr_html_()).text
    assert "3000 explanations, the first 5 are shown" in printed(listed)
    assert Page(Explanations(many(2))._repr_html_()).text.count("text 1 is good") == 1
    assert "0 explanations" in Explanations()._repr_html_()


def test_methods_of_the_value_render() -> None:
    explanation = explain("good", [1.0])
    assert explanation.to_html() == html(explanation)
    assert explanation.to_html("token") == html(explanation, "token")
    assert explanation.to_latex() == latex(explanation)
    assert explanation._repr_html_() == fragment(explanation)
    assert printed(explanation) == printed(terminal(explanation))
