"""Agreement of methods, and of words between data sets and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_plausibility import explained, subject_of
from whybert.errors import InputError
from whybert.evaluation.agreement import AGREEMENT, TopAgreement, WordScore, word_correlation, word_scores
from whybert.explanation import Explanation, Token

NAMES = list(AGREEMENT)
in_any_time = settings(deadline=None)  # the first call imports scipy


def value(name: str, first: Sequence[float], second: Sequence[float], seed: int = 0) -> float:
    words = [f"w{place}" for place in range(len(first))]
    one, other = explained(words, first), explained(words, second)
    return AGREEMENT[name](subject_of(one, seed=seed), one, other)


pairs = st.integers(1, 9).flatmap(
    lambda count: st.tuples(
        *[st.lists(st.integers(-3, 3).map(float), min_size=count, max_size=count) for _ in range(2)]
    )
)


def literal_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b, pair by pair."""
    signs = [
        (np.sign(first[i] - first[j]), np.sign(second[i] - second[j]))
        for i in range(len(first))
        for j in range(i)
    ]
    varied = [sum(pair[side] != 0 for pair in signs) for side in (0, 1)]
    return float(sum(a * b for a, b in signs) / math.sqrt(varied[0] * varied[1])) if all(varied) else math.nan


@in_any_time
@given(pairs)
def test_kendall_is_pair_by_pair(pair: tuple[list[float], list[float]]) -> None:
    assert value("agreement-kendall", *pair) == pytest.approx(literal_tau(*pair), nan_ok=True)


@in_any_time
@given(st.permutations(range(1, 8)))
def test_spearman_is_the_formula_of_rank_differences(order: list[int]) -> None:
    squares = sum((place - rank) ** 2 for place, rank in enumerate(order, 1))
    expected = 1 - 6 * squares / (7 * (49 - 1))
    found = value(
        "agreement-spearman", [float(place) for place in range(1, 8)], [float(rank) for rank in order]
    )
    assert found == pytest.approx(expected)


@in_any_time
@given(st.permutations(range(8)), st.permutations(range(8)), st.integers(1, 12))
def test_top_is_the_overlap_of_sets(first: list[int], second: list[int], k: int) -> None:
    metric = replace(AGREEMENT["agreement-top"], k=k)
    words = [f"w{place}" for place in range(8)]
    one, other = explained(words, [float(s) for s in first]), explained(words, [float(s) for s in second])
    size = min(k, 8)
    tops = [{place for place in range(8) if scores[place] >= 8 - size} for scores in (first, second)]
    assert metric(subject_of(one), one, other) == len(tops[0] & tops[1]) / size


def test_by_hand() -> None:
    first, second = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 5.0, 4.0, 3.0, 2.0, 6.0]
    assert value("agreement-top", first, second) == 4 / 5  # 0-4 and 1-5
    assert value("agreement-kendall", first, second) == pytest.approx((6 - 9) / 15)
    assert value("agreement-spearman", first, second) == pytest.approx(1 - 6 * 50 / (6 * 35))


@in_any_time
@given(pairs)
def test_agreement_is_symmetric_and_whole_with_itself(pair: tuple[list[float], list[float]]) -> None:
    first, second = pair
    for name in NAMES:
        assert value(name, first, second) == pytest.approx(value(name, second, first), nan_ok=True)
        itself = value(name, first, first)
        if len(first) > 1 and (name == "agreement-top" or len(set(first)) > 1):
            assert itself == pytest.approx(1.0)
        else:
            assert math.isnan(itself)
        grown = [math.exp(score) for score in second]
        assert value(name, first, grown) == pytest.approx(value(name, first, second), nan_ok=True)


def test_scores_are_those_of_words() -> None:
    """Two tokens of a word count together, special tokens not at all."""
    one = explained(["good", "film", "here"], [2.0, 3.0, 1.0])
    split = (
        *one.tokens[:1],
        Token("go", 0, 2, 0, 0, False, 2.0),
        Token("##od", 2, 4, 0, 0, False, 2.0),
        *one.tokens[2:],
    )
    one = replace(one, tokens=split)
    other = replace(one, tokens=tuple(replace(token, score=token.score**2) for token in split))
    assert one.words()[0].score == 4.0  # against 8, 9 and 1 of the squares
    assert AGREEMENT["agreement-kendall"](subject_of(one), one, other) == pytest.approx(1 / 3)


def test_one_word_is_undefined() -> None:
    assert all(math.isnan(value(name, [1.0], [1.0])) for name in NAMES)


def test_other_texts_and_nan_are_named() -> None:
    one = explained(["a", "film"], [1.0, 2.0])
    bad = explained(["a", "film"], [1.0, math.nan])
    for other in (explained(["the", "film"], [1.0, 2.0]), bad):
        for name in NAMES:
            with pytest.raises(InputError, match="text 4") as raised:
                AGREEMENT[name](subject_of(one, index=4), one, other)
            assert raised.value.index == 4


def test_top_needs_a_word() -> None:
    with pytest.raises(InputError, match="at least 1, found 0"):
        TopAgreement(name="top", summary="", source="", k=0)


def test_the_table() -> None:
    assert NAMES == ["agreement-kendall", "agreement-spearman", "agreement-top"]
    for name, metric in AGREEMENT.items():
        assert (metric.name, metric.group, metric.higher_is_better) == (name, "agreement", True)
        assert metric.summary
        assert metric.source


# Words between data sets and seeds.


TEXTS = [
    explained(["Good", "film"], [2.0, -1.0]),
    explained(["good", "bad", "film"], [1.0, -4.0, 0.0]),
    explained(["bad"], [-3.0]),
]


def test_raw_means_by_hand() -> None:
    assert word_scores(TEXTS, normalise=False) == {
        "bad": WordScore(-3.5, 2),
        "film": WordScore(-0.5, 2),
        "good": WordScore(1.5, 2),
    }


def test_signed_shares_by_hand() -> None:
    found = word_scores(TEXTS, normalise="signed")
    assert found["bad"].mean == pytest.approx((-4 / 5 - 1) / 2)
    assert found["good"].mean == pytest.approx((2 / 3 + 1 / 5) / 2)
    assert found["film"].mean == pytest.approx((-1 / 3 + 0) / 2)
    nothing = word_scores([explained(["a", "b"], [0.0, 0.0])], normalise="signed", minimum_count=1)
    assert nothing == {"a": WordScore(0.0, 1), "b": WordScore(0.0, 1)}


def test_softmax_of_magnitudes_by_hand() -> None:
    e = math.e
    found = word_scores(TEXTS)
    assert found["good"].mean == pytest.approx((e**2 / (e**2 + e) + e / (e + e**4 + 1)) / 2)
    assert found["film"].mean == pytest.approx((e / (e**2 + e) + 1 / (e + e**4 + 1)) / 2)
    assert found["bad"].mean == pytest.approx((e**4 / (e + e**4 + 1) + 1) / 2)


def test_rare_words_and_short_texts_are_left_out() -> None:
    rare = [*TEXTS, explained(["film", "noir"], [1.0, 1.0])]
    assert "noir" not in word_scores(rare)
    assert word_scores(rare, minimum_count=1)["noir"].count == 1
    assert set(word_scores(rare, minimum_count=3)) == {"film"}
    assert word_scores(rare, minimum_words=2, normalise=False)["film"] == WordScore(0.0, 3)
    longer = word_scores(rare, minimum_words=3, minimum_count=1, normalise=False)
    assert longer == {"bad": WordScore(-4.0, 1), "film": WordScore(0.0, 1), "good": WordScore(1.0, 1)}


@in_any_time
@given(st.lists(st.lists(st.floats(-800, 800), min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_text_has_one_in_all(texts: list[list[float]]) -> None:
    """Also where exp of the scores would overflow."""
    explanations = [explained(["w"] * len(scores), scores) for scores in texts]
    count = sum(map(len, texts))
    assert word_scores(explanations, minimum_count=1)["w"].count == count
    assert word_scores(explanations, minimum_count=1)["w"].mean == pytest.approx(len(texts) / count)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_named(score: float) -> None:
    with pytest.raises(InputError, match="text 1 has others") as raised:
        word_scores([TEXTS[0], explained(["a"], [score])])
    assert raised.value.index == 1


def test_bad_options_are_named() -> None:
    with pytest.raises(InputError, match="at least 1, found 0 and 1"):
        word_scores(TEXTS, minimum_count=0)
    with pytest.raises(InputError, match="found 'softmax'"):
        word_scores(TEXTS, normalise="softmax")  # type: ignore[arg-type]


def test_special_tokens_and_the_order_of_texts_change_nothing() -> None:
    def louder(explanation: Explanation) -> Explanation:
        tokens = (replace(token, score=-7.0) if token.special else token for token in explanation.tokens)
        return replace(explanation, tokens=tuple(tokens))

    assert word_scores([louder(text) for text in reversed(TEXTS)]) == word_scores(TEXTS)


def of_means(means: dict[str, float]) -> dict[str, WordScore]:
    return {word: WordScore(mean, 2) for word, mean in means.items()}


def test_correlation_by_hand() -> None:
    first = of_means({"a": 1.0, "b": 2.0, "c": 3.0, "only here": 100.0})
    second = of_means({"c": 2.0, "b": 4.0, "a": 3.0, "only there": -100.0})
    # Deviations -1, 0, 1 and 0, 1, -1.
    assert word_correlation(first, second) == (pytest.approx(-1 / 2), 3)
    assert word_correlation(second, first) == (pytest.approx(-1 / 2), 3)


def test_correlation_is_undefined_for_few_words() -> None:
    first = of_means({"a": 1.0, "b": 2.0})
    for other, size in ((first, 2), ({}, 0)):
        correlation, found = word_correlation(first, other)
        assert math.isnan(correlation)
        assert found == size
    assert math.isnan(
        word_correlation(of_means(dict.fromkeys("abc", 1.0)), of_means({"a": 1, "b": 2, "c": 3}))[0]
    )


@in_any_time
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=9))
def test_correlation_is_the_formula(values: list[tuple[int, int]]) -> None:
    first = of_means({f"w{place}": float(a) for place, (a, _) in enumerate(values)})
    second = of_means({f"w{place}": float(b) for place, (_, b) in enumerate(values)})
    centers = [Fraction(sum(pair[side] for pair in values), len(values)) for side in (0, 1)]
    away = [[pair[side] - centers[side] for pair in values] for side in (0, 1)]
    sizes = [sum(x * x for x in side) for side in away]
    found, size = word_correlation(first, second)
    assert size == len(values)
    if all(sizes):
        expected = sum(a * b for a, b in zip(*away, strict=True)) / math.sqrt(sizes[0] * sizes[1])
        assert found == pytest.approx(float(expected), abs=1e-9)
    else:
        assert math.isnan(found)
