"""Two explanations side by side: how they are matched, what changes, and how it is shown."""

from __future__ import annotations

import csv
import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

import whybert
from test_explanation import explanations, scored
from test_render import HOSTILE, Page, explain, hostile_everywhere, printed, unbalanced_braces
from whybert import Comparison, Comparisons, compare
from whybert.errors import FileError, InputError, UnknownNameError, UsageError
from whybert.explanation import Explanation, Target, Token

TEXT = "good but slow film"


def pair_of(found: Comparison, text: str) -> Any:
    [pair] = [each for each in found.pairs if each.text == text]
    return pair


def test_words_of_one_text_are_matched_by_place() -> None:
    found = compare(explain(TEXT, [2.0, -0.5, -1.0, 0.2]), explain(TEXT, [1.0, 0.5, -4.0, 0.4], method="gi"))
    assert [pair.text for pair in found.pairs] == TEXT.split()
    assert found.names == ("attnlrp", "gi")
    but = pair_of(found, "but")
    assert (but.first, but.second, but.first_share, but.second_share) == (-0.5, 0.5, -0.25, 0.125)
    assert (but.first_rank, but.second_rank, but.moved, but.change) == (3, 3, 0, 0.375)
    assert found.changed_sign() == (but,)
    good, slow = pair_of(found, "good"), pair_of(found, "slow")
    assert (good.first_rank, good.second_rank, good.moved) == (1, 2, -1)
    assert (slow.first_rank, slow.second_rank, slow.moved) == (2, 1, 1)
    assert [pair.text for pair in found.changed(2)] == ["good", "slow"]
    assert found.is_same_text
    assert found.is_same_prediction
    assert found.rank_correlation == pytest.approx(0.8)
    assert repr(found) == "<Comparison attnlrp / gi: rank correlation 0.80, 1 changed sign>"


def test_what_overlaps_is_taken_together() -> None:
    """Tokens of two tokenizers: each character counts once on either side."""

    def cut(*ends: int) -> Explanation:
        starts = (0, *ends[:-1])
        tokens = [Token("x", a, b, 0, 0, False, float(b)) for a, b in zip(starts, ends, strict=True)]
        return dataclasses.replace(explain("abcdefgh"), tokens=tuple(tokens))

    found = compare(cut(2, 4, 8), cut(3, 4, 6, 8), "token")
    assert [(pair.text, pair.first, pair.second) for pair in found.pairs] == [
        ("abcd", 6.0, 7.0),
        ("efgh", 8.0, 14.0),
    ]


def test_a_correlation_of_few_words_says_of_how_many() -> None:
    found = compare(explain("The good film", [0.1, 2.0, 0.5]), explain("the bad end", [0.2, -2.0, 0.5]))
    assert [pair.text for pair in found.shared] == ["The"]
    assert "1 of 5 words in both · no rank correlation · 0 of 1 word changed sign" in printed(found)
    found = compare(explain("The good film", [0.1, 2.0, 0.5]), explain("the bad film", [0.9, -2.0, 0.5]))
    assert "rank correlation -1.00 of the 2 of 4 words in both" in repr(found)
    assert "2 of 4 words in both · rank correlation -1.00 · 0 of 2 words changed sign" in printed(found)


def test_words_of_two_texts_are_matched_by_what_they_say() -> None:
    found = compare(explain("The good film", [0.1, 2.0, 0.5]), explain("the bad film", [0.2, -2.0, 0.5]))
    assert [(pair.text, pair.first, pair.second) for pair in found.pairs] == [
        ("The", 0.1, 0.2),
        ("good", 2.0, None),
        ("bad", None, -2.0),
        ("film", 0.5, 0.5),
    ]
    good = pair_of(found, "good")
    assert (good.second_share, good.second_rank, good.moved, good.changed_sign) == (0.0, None, None, False)
    assert not found.is_same_text
    assert found.names == ("first", "second")


def test_pairs_are_matched_part_by_part() -> None:
    found = compare(explain("a b", [1.0, 2.0], pair="b a"), explain("b a", [1.0, 2.0], pair="a b"))
    assert [(pair.text, pair.first, pair.second) for pair in found.pairs[:3]] == [
        ("b", None, 1.0), ("a", 1.0, 2.0), ("b", 2.0, None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"classifier": "other"}, ("first", "other")),
        ({"method": "gi", "options": {"reduction": "sum"}}, ("attnlrp", "gi")),
        ({"options": {"reduction": "sum"}}, ("first", "reduction=sum")),
        ({"target": Target(0, "negative")}, ("why positive", "why negative")),
        ({"method": "gi", "target": Target(0, "negative")}, ("attnlrp, why positive", "gi, why negative")),
    ],
)
def test_names_are_what_tells_them_apart(changes: dict[str, Any], names: tuple[str, str]) -> None:
    assert compare(explain("a", [1.0]), explain("a", [1.0], **changes)).names == names


def test_magnitudes_have_no_sign_to_change() -> None:
    found = compare(explain("a b c", [1.0, -2.0, 3.0]), explain("a b c", [3.0, 2.0, 1.0], signed=False))
    assert found.changed_sign() == ()
    assert found.rank_correlation == pytest.approx(-1.0)
    assert pair_of(found, "b").change == pytest.approx(0.0)
    assert "only one has signs, so magnitudes are compared" in printed(found)


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, 1.0]])
def test_no_correlation_where_there_is_none(scores: list[float]) -> None:
    found = compare(scored(*scores), scored(*scores))
    assert found.rank_correlation is None
    assert "no rank correlation" in printed(found)
    assert compare([scored(*scores)], [scored(*scores)]).rank_correlation is None


@given(st.lists(st.tuples(*[st.integers(-4, 4)] * 2), min_size=3, max_size=12))
def test_the_rank_correlation_is_spearmans(scores: list[tuple[int, int]]) -> None:
    one, other = ([float(pair[side]) for pair in scores] for side in (0, 1))
    assume(len(set(one)) > 1 < len(set(other)))
    found = compare(scored(*one), scored(*other)).rank_correlation
    assert found == pytest.approx(scipy.stats.spearmanr(one, other).statistic)


@given(explanations(), st.sampled_from(["word", "token", "sentence"]))
def test_nothing_differs_from_itself(one: Explanation, level: Any) -> None:
    found = compare(one, one, level)
    assert found.changed() == ()
    assert sum(pair.first or 0.0 for pair in found.pairs) == pytest.approx(
        sum(unit.score for unit in whybert.explanation.units_of(one, level)), abs=1e-3
    )
    assert found.rank_correlation in (None, pytest.approx(1.0))


def test_scores_that_are_no_numbers() -> None:
    found = compare(scored(float("nan"), 1.0, float("inf")), scored(1.0, float("-inf"), 2.0))
    assert [pair.first_share for pair in found.pairs] == [0.0, 1.0, 0.0]
    assert "nan" in printed(found)
    assert found.rank_correlation is None  # no unit has a number on both sides
    nan = float("nan")
    found = compare(scored(nan, 1.0, 2.0, -3.0), scored(4.0, 1.0, 3.0, 2.0))
    assert found.rank_correlation == compare(scored(1.0, 2.0, -3.0), scored(1.0, 3.0, 2.0)).rank_correlation


def test_lists_are_compared_one_by_one(tmp_path: Path) -> None:
    first = [explain(TEXT, [2.0, 1.0, -1.0, 0.2]), explain("bad film", [-1.0, 2.0])]
    second = [
        explain(TEXT, [2.0, 1.0, -1.0, 0.2], method="gi"),
        explain("bad film", [2.0, -1.0], method="gi"),
    ]
    second[1] = dataclasses.replace(second[1], prediction="negative", predicted=0)
    found = compare(first, second)
    assert isinstance(found, Comparisons)
    assert found.rank_correlation == pytest.approx(0.0)
    assert repr(found) == "<2 Comparisons: mean rank correlation 0.00>"
    assert found.differing == [found[1]]
    assert found.least_alike(1) == [found[1]]
    table = found.to_pandas()
    assert list(table["changed_sign"]) == ["", "bad film"]
    assert list(table["second_prediction"]) == ["positive", "negative"]
    assert list(found[0].to_pandas()["text"]) == TEXT.split()
    found.save(tmp_path / "all.csv")
    found[0].save(tmp_path / "one.csv")
    for name, column, values in (
        ("all", "first", ["attnlrp"] * 2),
        ("one", "first_rank", ["1", "2", "2", "4"]),
    ):
        with open(tmp_path / f"{name}.csv", newline="", encoding="utf-8") as stream:
            assert [row[column] for row in csv.DictReader(stream)] == values
    shown = printed(found)
    assert "2 comparisons · mean rank correlation 0.00 · predictions differ in 1" in shown
    assert "some word changed sign in 1" in shown
    assert shown.index("bad") < shown.index("slow")
    assert list(Comparisons().to_pandas().columns) == list(table.columns)


@pytest.mark.parametrize("wrong", [(1, 2), ("a", "b"), (scored(1.0), [scored(1.0)]), ([1], [2]), (None, [])])
def test_something_else_is_refused(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        compare(*wrong)


def test_lists_of_two_lengths_and_unknown_levels_are_refused() -> None:
    with pytest.raises(InputError, match="same length, got 2 and 1"):
        compare([scored(1.0)] * 2, [scored(1.0)])
    with pytest.raises(UnknownNameError, match="level"):
        compare(scored(1.0), scored(1.0), "words")  # type: ignore[call-overload]


def test_the_value_is_frozen_and_copies() -> None:
    found = compare(explain("a b", [1.0, 2.0]), explain("a b", [2.0, 1.0]))
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found) == hash(compare(found.first, found.second))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.level = "token"  # type: ignore[misc]


# How it is shown


def test_every_renderer_shows_both_and_what_changed(tmp_path: Path) -> None:
    found = compare(
        explain(TEXT, [2.0, -0.5, -1.0, 0.2]),
        explain(
            TEXT, [1.0, 0.5, -4.0, 0.4], method="gi", prediction="negative", target=Target(0, "negative")
        ),
    )
    shown = [printed(found), Page(found._repr_html_()).text, Page(found.to_html()).text, found.to_latex()]
    for output in (each.replace("{-}", "-") for each in shown):
        for part in ("attnlrp", "gi", "predictions differ: positive 0.998 / negative 0.002"):
            assert part in output
        assert "rank correlation 0.80" in output
        assert "1 of 4 words changed sign: but" in output
        assert "yes" in output
    assert "but" in shown[0].split("sign changed")[1]
    for suffix in (".html", ".tex", ".txt", ".csv"):
        found.save(tmp_path / f"a{suffix}")
        assert "slow" in (tmp_path / f"a{suffix}").read_text(encoding="utf-8")
    assert "style" not in {tag for tag, _ in Page(found._repr_html_()).tags}
    assert "<script" not in found.to_html()


def test_narrow_terminals() -> None:
    found = compare(explain(TEXT, [2.0, -0.5, -1.0, 0.2]), explain(TEXT, [1.0, 0.5, -4.0, 0.4], method="gi"))
    for width in (40, 80):
        assert max(map(len, printed(found, width=width).split("\n"))) <= width


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_gets_through(text: str) -> None:
    found = compare(hostile_everywhere(text), dataclasses.replace(hostile_everywhere(text), method="<i>"))
    tags = {tag for tag, _ in Page(found.to_html()).tags}
    assert not {"script", "img", "i", "link"} & tags
    assert unbalanced_braces(found.to_latex()) == 0
    assert "\x1b" not in printed(found)
    found.to_latex().encode()


def test_many_comparisons_are_a_page_of_those_that_are_least_alike(tmp_path: Path) -> None:
    one, other = explain("a b", [1.0, 2.0]), explain("a b", [2.0, 1.0], method="gi")
    found = compare([one] * 200, [*[one] * 199, other])
    page = Page(found.to_html())
    assert [tag for tag, _ in page.tags].count("section") == 50
    assert "200 comparisons" in page.text
    assert "the 50 least alike are shown" in page.text
    assert page.text.index("gi") < page.text.index("first / second")
    assert len(found._repr_html_()) < 60_000
    for suffix in (".html", ".tex", ".txt", ".csv"):
        Comparisons(found[-2:]).save(tmp_path / f"a{suffix}")


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    found = compare(scored(1.0, 2.0), scored(2.0, 1.0))
    with pytest.raises(UsageError, match=r"ends with \.html, \.htm, \.csv, \.tex, \.txt, got"):
        found.save(tmp_path / "a.png")
    with pytest.raises(FileError, match="create it first"):
        found.save(tmp_path / "no" / "a.html")
    with pytest.raises(InputError, match="at least one comparison"):
        Comparisons().save(tmp_path / "a.html")
    assert os.listdir(tmp_path) == []


def test_colours_are_kept_where_there_are_some() -> None:
    found = compare(explain("a b", [1.0, 2.0]), explain("a b", [2.0, 1.0], method="gi"))
    assert "++" not in printed(found, force_terminal=True, color_system="truecolor", no_color=False)
