"""What judges explanations, as HTML: tables of agreement and of books, and curves."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from whybert.errors import InputError
from whybert.explanation import Completeness, Explanation, Target, Token
from whybert.render.agreement import agreement, books
from whybert.render.curves import Curve, chart
from whybert.render.grids import layer_grid


def explanation(method: str, *scores: float, signed: bool = True) -> Explanation:
    """Of a text of one-letter words, the first of which is a tag."""
    words = ["<script>", *"bcdefghij"][: len(scores)]
    starts = [sum(len(word) + 1 for word in words[:place]) for place in range(len(words))]
    spans = tuple((0, start, start + len(word)) for start, word in zip(starts, words, strict=True))
    return Explanation(
        text=" ".join(words),
        pair=None,
        tokens=tuple(
            Token(word, start, end, 0, place, False, score)
            for place, (word, (_, start, end), score) in enumerate(zip(words, spans, scores, strict=True))
        ),
        word_spans=spans,
        prediction="good",
        probabilities=(0.2, 0.8),
        logits=(-1.0, 1.0),
        labels=("bad", "good"),
        target=Target(1, "good"),
        method=method,
        options={},
        signed=signed,
        truncated=False,
        completeness=None,
    )


class _Cells(HTMLParser):
    """The text of each cell, row by row."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._inside = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            assert tag == "td" or ("scope", "col") in attrs or ("scope", "row") in attrs
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def test_agreement_says_who_agrees_with_whom() -> None:
    found = [explanation("one", 3, 2, 1), explanation("two", 1, 2, 3), explanation("flat", 0, 0, 0)]
    rows = _Cells(agreement(found, k=2)).rows
    assert rows[:4] == [
        ["method", "one", "two", "flat"],
        ["one", "", "-1.00", "-"],
        ["two", "-1.00", "", "-"],
        ["flat", "-", "-", ""],
    ]
    assert rows[5] == ["one", "", "1 of 2", "0 of 2"]
    assert rows[8:] == [["method", "1", "2"], ["one", "<script>", "b"], ["two", "c", "b"], ["flat", "", ""]]


def test_what_all_have_among_their_strongest_is_marked() -> None:
    rows = _Cells(agreement([explanation("one", 3, 2, 1), explanation("two", 1, 2, 3)], k=2)).rows
    assert rows[-2:] == [["one", "<script>", "b*"], ["two", "c", "b*"]]


def test_magnitudes_are_compared_with_magnitudes() -> None:
    found = [explanation("one", -3, 2, 1), explanation("two", 3, 2, 1, signed=False)]
    assert _Cells(agreement(found)).rows[1] == ["one", "", "+1.00"]


def test_only_explanations_of_one_text_can_agree() -> None:
    with pytest.raises(InputError, match="same text"):
        agreement([explanation("one", 1, 2), explanation("one", 1, 2, 3)])


def test_books_say_what_is_not_accounted_for() -> None:
    found = [
        replace(explanation("one", 1, 2), completeness=Completeness(3.0, 5.0, 2.0)),
        replace(explanation("two", 1, 2), completeness=Completeness(3.0, 5.0)),
        explanation("three", 1, 2),
    ]
    rows = _Cells(books(found)).rows
    assert rows[1] == ["one", "+3.00", "+2.00", "-", "+5.00", "logit", "exact"]
    assert rows[2] == ["two", "+3.00", "-", "-", "+5.00", "logit", "+2.00 not accounted for"]
    assert rows[3][-1] == "promises no sum"


def test_a_chart_can_be_heard_and_has_its_numbers() -> None:
    found = chart(
        "<script>",
        "share of words",
        "probability",
        (0.0, 0.5, 1.0),
        [Curve("<b>one", (1.0, 0.5, 0.25)), Curve("random", (1.0, 0.5, 0.5), (1, 0, 0), (1, 1, 1), True)],
    )
    cells = _Cells(found)
    assert not cells.tags & {"script", "b"}
    assert (
        'role="img" aria-label="&lt;script&gt;, probability by share of words: &lt;b&gt;one from 1' in found
    )
    assert cells.rows == [
        ["method", "0%", "50%", "100%"],
        ["<b>one", "1.00", "0.50", "0.25"],
        ["random", "1.00", "0.50", "0.50"],
    ]
    assert found.count("<polyline") == 2
    assert found.count("<polygon") == 1


def test_what_is_below_0_or_above_1_stays_in_the_chart() -> None:
    found = chart("of a number", "share", "output", (0.0, 1.0), [Curve("one", (3.0, -2.0))])
    top, bottom = (float(pair.split(",")[1]) for pair in found.split('points="')[1].split('"')[0].split())
    assert top < bottom
    assert 0 <= top <= 210 >= bottom >= 0


def test_of_many_rows_the_strongest_are_kept_in_their_order() -> None:
    found = replace(explanation("one", 1, -5, 2, 4), layers=((1, -5, 2, 4),))
    grid = layer_grid(found, "word").strongest(2)
    assert [name for name, _ in grid.rows] == ["b", "d"]
    assert grid.note.endswith("the 2 strongest of 4 rows")
    assert grid.total == (2,)
