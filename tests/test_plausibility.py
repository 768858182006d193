"""Plausibility against literal twins, and on cases small enough to count by hand."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whybert.datasets.annotated import Annotation
from whybert.encoding import EncodedText
from whybert.errors import InputError, MissingExtraError
from whybert.evaluation.metric import GROUPS, Subject
from whybert.evaluation.plausibility import PLAUSIBILITY, OverlapF1, PlausibilityMetric, TokenF1, side_of
from whybert.explanation import Explanation, Target, Token

LABELS = ("negative", "neutral", "positive")
RATIONALE = [name for name, metric in PLAUSIBILITY.items() if metric.kind == "rationale"]
in_any_time = settings(deadline=None)  # the first call imports scikit-learn
SENTIMENT = [name for name, metric in PLAUSIBILITY.items() if metric.kind == "sentiment"]


def explained(words: Sequence[str], scores: Sequence[float], **changes: Any) -> Explanation:
    """The words with a blank between them, one token for each, and special tokens with large scores."""
    spans, start = [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    tokens = [
        Token(word, *span, 0, index, False, score)
        for index, (word, span, score) in enumerate(zip(words, spans, scores, strict=True))
    ]
    special = [Token(text, 0, 0, None, None, True, 99.0) for text in ("[CLS]", "[SEP]")]
    fields: dict[str, Any] = {
        "text": " ".join(words),
        "pair": None,
        "tokens": (special[0], *tokens, special[1]),
        "word_spans": tuple((0, *span) for span in spans),
        "prediction": "positive",
        "probabilities": (0.2, 0.1, 0.7),
        "logits": (0.0, -1.0, 1.0),
        "labels": LABELS,
        "target": Target(2, "positive"),
        "method": "by hand",
        "options": {},
        "signed": True,
        "truncated": False,
        "completeness": None,
    }
    return Explanation(**(fields | changes))


def subject_of(explanation: Explanation, index: int = 0, seed: int = 0) -> Subject:
    tokens = explanation.tokens
    row = EncodedText(
        text=explanation.text,
        pair=explanation.pair,
        tokens=tuple(token.text for token in tokens),
        offsets=tuple((token.start, token.end) for token in tokens),
        sequence_ids=tuple(token.sequence for token in tokens),
        special=tuple(token.special for token in tokens),
        word_ids=tuple(token.word for token in tokens),
        word_spans=explanation.word_spans,
        positions=tuple(range(len(tokens))),
        truncated=explanation.truncated,
        features={},
    )
    return Subject(index, row, explanation.logits, explanation.probabilities, target=2, seed=seed)


def annotated(words: Sequence[str], marks: Sequence[float]) -> Annotation:
    explanation = explained(words, [0.0] * len(words))
    return Annotation(
        explanation.text, None, tuple(span[1:] for span in explanation.word_spans), tuple(marks)
    )


def value(
    metric: str | PlausibilityMetric,
    scores: Sequence[float],
    marks: Sequence[float],
    label: str = "positive",
    seed: int = 0,
    **changes: Any,
) -> float:
    words = [f"w{place}" for place in range(len(scores))]
    target = Target(0, label) if label not in LABELS else Target(LABELS.index(label), label)
    labels = (label, "other", "third") if label not in LABELS else LABELS
    changes |= {"labels": labels, "target": target, "prediction": label}
    explanation = explained(words, scores, **changes)
    chosen = PLAUSIBILITY[metric] if isinstance(metric, str) else metric
    return chosen(subject_of(explanation, seed=seed), explanation, annotated(words, marks)).value


@st.composite
def cases(draw: st.DrawFn, marks: Sequence[float], ties: bool = True) -> tuple[list[float], list[float]]:
    count = draw(st.integers(2, 9))
    scores = draw(
        st.lists(
            st.integers(-3, 3) if ties else st.integers(-50, 50),
            min_size=count,
            max_size=count,
            unique=not ties,
        )
    )
    found = draw(st.lists(st.sampled_from(list(marks)), min_size=count, max_size=count))
    return [float(score) for score in scores], found


# Literal twins.


def top(scores: Sequence[float], count: int) -> set[int]:
    """The highest scored units; for scores without ties."""
    return set(sorted(range(len(scores)), key=lambda unit: scores[unit], reverse=True)[:count])


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0


def literal_runs(units: set[int], count: int) -> list[set[int]]:
    """Every stretch of units that cannot be made longer, found by trying all."""
    stretches = [set(range(*ends)) for ends in itertools.combinations(range(count + 1), 2)]
    inside = [stretch for stretch in stretches if stretch <= units]
    return [stretch for stretch in inside if not any(stretch < other for other in inside)]


def literal_iou_f1(scores: Sequence[float], marks: Sequence[float], count: int) -> float:
    found = literal_runs(top(scores, count), len(scores))
    wanted = literal_runs({unit for unit, mark in enumerate(marks) if mark}, len(marks))
    hit = [run for run in found if any(len(run & other) / len(run | other) >= 0.5 for other in wanted)]
    reached = [other for other in wanted if any(len(run & other) / len(run | other) >= 0.5 for run in found)]
    assert len(hit) == len(reached)  # runs of one side do not touch
    return f1(len(hit) / len(found), len(hit) / len(wanted))


def points(scores: Sequence[float], is_wanted: Sequence[bool]) -> list[tuple[float, float]]:
    """(recall, precision) at each threshold from the highest score down."""
    found = []
    for threshold in sorted(set(scores), reverse=True):
        taken = [wanted for score, wanted in zip(scores, is_wanted, strict=True) if score >= threshold]
        found.append((sum(taken) / sum(is_wanted), sum(taken) / len(taken)))
    return found


def literal_auprc(scores: Sequence[float], is_wanted: Sequence[bool]) -> float:
    curve = [(0.0, 1.0), *points(scores, is_wanted)]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(curve))


def literal_average_precision(scores: Sequence[float], is_wanted: Sequence[bool]) -> float:
    curve = [(0.0, 1.0), *points(scores, is_wanted)]
    return sum((b[0] - a[0]) * b[1] for a, b in itertools.pairwise(curve))


@in_any_time
@given(cases((0.0, 1.0), ties=False), st.sampled_from([None, 0.1, 0.3, 0.5, 1.0]))
def test_token_and_run_f1_are_those_of_sets(
    case: tuple[list[float], list[float]], length: float | None
) -> None:
    scores, marks = case
    token, run = (
        replace(PLAUSIBILITY["token-f1"], length=length),
        replace(PLAUSIBILITY["iou-f1"], length=length),
    )
    marked = {unit for unit, mark in enumerate(marks) if mark}
    if not marked:
        assert math.isnan(value(token, scores, marks))
        assert math.isnan(value(run, scores, marks))
        return
    count = len(marked) if length is None else max(1, math.floor(length * len(scores) + 0.5))
    chosen = top(scores, count)
    expected = f1(len(chosen & marked) / len(chosen), len(chosen & marked) / len(marked))
    assert value(token, scores, marks) == pytest.approx(expected)
    assert value(run, scores, marks) == pytest.approx(literal_iou_f1(scores, marks, count))


@in_any_time
@given(cases((0.0, 1.0)))
def test_area_is_that_of_the_trapezoids(case: tuple[list[float], list[float]]) -> None:
    scores, marks = case
    if 0 < sum(marks) < len(marks):
        expected = literal_auprc(scores, [mark > 0 for mark in marks])
        assert value("auprc", scores, marks) == pytest.approx(expected)
    else:
        assert math.isnan(value("auprc", scores, marks))


@in_any_time
@given(cases((-2.0, -1.0, 0.0, 1.0, 2.0)), st.sampled_from([("positive", 1), ("Very Negative", -1)]))
def test_average_precision_is_its_sum(case: tuple[list[float], list[float]], side: tuple[str, int]) -> None:
    scores, marks = case
    leans = [side[1] * mark > 0 for mark in marks]
    found = value("sentiment-ap", scores, marks, side[0])
    if 0 < sum(leans) < len(leans):
        assert found == pytest.approx(literal_average_precision(scores, leans))
    else:
        assert math.isnan(found)


@in_any_time
@given(cases((-2.0, -1.0, 0.0, 1.0, 2.0)))
def test_rho_is_the_correlation_of_mean_ranks(case: tuple[list[float], list[float]]) -> None:
    def mean_ranks(values: Sequence[float]) -> list[float]:
        below = [sum(other < value for other in values) for value in values]
        equal = [sum(other == value for other in values) for value in values]
        return [low + (same + 1) / 2 for low, same in zip(below, equal, strict=True)]

    scores, marks = case
    found = value("sentiment-spearman", scores, marks, "negative")
    if len(set(scores)) == 1 or len(set(marks)) == 1:
        assert math.isnan(found)
        return
    first, second = mean_ranks(scores), mean_ranks([-mark for mark in marks])
    center = (len(scores) + 1) / 2
    covariance = sum((a - center) * (b - center) for a, b in zip(first, second, strict=True))
    sizes = [sum((rank - center) ** 2 for rank in ranks) for ranks in (first, second)]
    assert found == pytest.approx(covariance / math.sqrt(sizes[0] * sizes[1]), abs=1e-9)


# By hand.


def test_token_f1_by_hand() -> None:
    marks = [0, 1, 1, 0, 0, 0]
    scores = [5.0, 4.0, 1.0, 3.0, 2.0, 0.0]
    assert value("token-f1", scores, marks) == 0.5  # units 0 and 1 against 1 and 2
    wider = TokenF1(name="f", summary="", source="", length=0.75)  # 4.5 of 6 units are 5
    assert value(wider, scores, marks) == pytest.approx(4 / 7)
    narrow = replace(wider, length=0.01)
    assert value(narrow, scores, marks) == 0.0
    assert value(narrow, scores[::-1], marks) == 0.0
    assert value(narrow, [0.0, 9.0, 0.0, 0.0, 0.0, 0.0], marks) == pytest.approx(2 / 3)


def test_run_f1_by_hand() -> None:
    metric = OverlapF1(name="f", summary="", source="", length=0.4)  # 4 of 10
    marks = [1, 1, 1, 0, 0, 0, 1, 0, 0, 0]
    # Runs 1-2 and 8-9: the first has 2 of 3 units in common with 0-2, the other meets nothing.
    assert value(metric, [0, 9, 8, 0, 0, 0, 0, 0, 7, 6], marks) == pytest.approx(0.5)
    # Runs 0-1 (2/3) and 6-7 (1/2, exactly the limit): both are hits.
    assert value(metric, [9, 8, 0, 0, 0, 0, 7, 6, 0, 0], marks) == 1.0
    # Run 2-5 has 1 of 6 units in common with 0-2 and touches the other without meeting it.
    assert value(metric, [0, 0, 9, 8, 7, 6, 0, 0, 0, 0], marks) == 0.0
    # Three runs 0, 2 and 5-6: hits are only 5-6 (1/2).
    assert value(metric, [9, 0, 8, 0, 0, 7, 6, 0, 0, 0], marks) == pytest.approx(2 * (1 / 3) * 0.5 / (5 / 6))


def test_precision_recall_by_hand() -> None:
    # Precision 1, 1/2, 2/3, 1/2 at recall 1/2, 1/2, 1, 1.
    scores, marks = [4.0, 3.0, 2.0, 1.0], [1, 0, 1, 0]
    assert value("auprc", scores, marks) == pytest.approx(0.5 + 0.5 * (0.5 + 2 / 3) / 2)
    assert value("sentiment-ap", scores, marks) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert value("sentiment-ap", scores, [-2, 1, -1, 0], "very negative") == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert value("auprc", [1.0] * 4, [1, 0, 0, 0]) == pytest.approx((1 + 1 / 4) / 2)  # as documented
    assert value("sentiment-ap", [1.0] * 4, [1, 0, 0, 0]) == pytest.approx(1 / 4)


# Properties.


@in_any_time
@given(cases((0.0, 1.0)))
def test_an_oracle_of_rationales_reaches_one(case: tuple[list[float], list[float]]) -> None:
    _, marks = case
    if 0 < sum(marks) < len(marks):
        assert {value(name, marks, marks) for name in RATIONALE} == {1.0}


@in_any_time
@given(cases((-2.0, -1.0, 0.0, 1.0, 2.0)))
def test_an_oracle_of_sentiment_reaches_one(case: tuple[list[float], list[float]]) -> None:
    _, marks = case
    for side, label in ((1, "positive"), (-1, "negative")):
        oracle = [side * mark for mark in marks]
        if any(mark > 0 for mark in oracle) and any(mark <= 0 for mark in oracle):
            found = [value(name, oracle, marks, label) for name in SENTIMENT]
            assert found == pytest.approx([1.0, 1.0])
            reverse = [-score for score in oracle]
            assert value("sentiment-spearman", reverse, marks, label) == pytest.approx(-1.0)


@in_any_time
@given(st.integers(1, 5), st.integers(1, 5))
def test_the_worst_order_reaches_the_minimum(others: int, marked: int) -> None:
    scores = [float(-place) for place in range(others + marked)]
    marks = [0.0] * others + [1.0] * marked
    lowest = sum(hits / (others + hits) for hits in range(1, marked + 1)) / marked
    assert value("sentiment-ap", scores, marks) == pytest.approx(lowest)
    everywhere = [
        value("sentiment-ap", scores, [float(unit in chosen) for unit in range(len(scores))])
        for chosen in itertools.combinations(range(len(scores)), marked)
    ]
    assert min(everywhere) == pytest.approx(lowest)
    if marked <= others:
        assert value("token-f1", scores, marks) == 0.0
        assert value("iou-f1", scores, marks) == 0.0


@in_any_time
@given(cases((0.0, 1.0)))
def test_only_the_order_of_the_scores_matters(case: tuple[list[float], list[float]]) -> None:
    scores, marks = case
    for name in PLAUSIBILITY:
        before = value(name, scores, marks)
        for change in (lambda score: 1e6 * score - 5, lambda score: math.exp(score)):
            after = value(name, [change(score) for score in scores], marks)
            assert after == pytest.approx(before, nan_ok=True, abs=1e-12)


@pytest.mark.parametrize("score", [math.inf, -math.inf, math.nan])
def test_scores_that_are_no_numbers_are_refused(score: float) -> None:
    for name in PLAUSIBILITY:
        with pytest.raises(InputError, match="finite numbers"):
            value(name, [score, 1.0, 0.0], [1, 0, 0])


def test_ties_fall_as_the_seed_has_it() -> None:
    found = {value("token-f1", [1.0] * 4, [1, 0, 0, 0], seed=seed) for seed in range(20)}
    assert found == {0.0, 1.0}
    assert len({value("token-f1", [1.0] * 4, [1, 0, 0, 0], seed=7) for _ in range(3)}) == 1


# Where a metric is not defined.


@pytest.mark.parametrize("name", SENTIMENT)
@pytest.mark.parametrize("label", ["neutral", "LABEL_1", "positive or negative"])
def test_classes_without_a_side_are_undefined(name: str, label: str) -> None:
    assert math.isnan(value(name, [2.0, 1.0, 0.0], [1, 0, -1], label))
    assert value(name, [2.0, 1.0, 0.0], [1, 0, -1], "POSITIVE") == pytest.approx(1.0)


def test_sides() -> None:
    names = ("very negative", "Negative", "neutral", "positive", "VERY POSITIVE", "")
    assert [side_of(name) for name in names] == [-1, -1, 0, 1, 1, 0]


def test_magnitudes_have_no_side() -> None:
    assert math.isnan(value("sentiment-spearman", [2.0, 1.0, 0.0], [1, 0, -1], signed=False))
    assert value("sentiment-ap", [2.0, 1.0, 0.0], [1, 0, -1], signed=False) == 1.0


@pytest.mark.parametrize("marks", [[0, 0, 0], [1, 1, 1]])
def test_one_kind_of_words_is_undefined(marks: list[float]) -> None:
    undefined = {name for name in PLAUSIBILITY if math.isnan(value(name, [3.0, 2.0, 1.0], marks))}
    assert undefined == set(PLAUSIBILITY) - ({"token-f1", "iou-f1"} if any(marks) else set())


def test_words_that_were_cut_off_do_not_count() -> None:
    words = ["a", "bad", "film", "really"]
    whole = explained(words, [0.0, 3.0, 1.0, 2.0])
    cut = replace(whole, tokens=whole.tokens[:3], word_spans=whole.word_spans[:2], truncated=True)
    for marks, expected in (([0, 1, 0, 1], 1.0), ([0, 0, 0, 1], math.nan)):
        found = PLAUSIBILITY["token-f1"](subject_of(cut), cut, annotated(words, marks)).value
        assert found == pytest.approx(expected, nan_ok=True)


# Bad input.


def test_other_texts_are_named() -> None:
    explanation = explained(["a", "film"], [1.0, 2.0])
    subject = subject_of(explanation, index=17)
    with pytest.raises(InputError, match=r"text 17 that was annotated \('the film'\)") as raised:
        PLAUSIBILITY["auprc"](subject, explanation, annotated(["the", "film"], [0, 1]))
    assert raised.value.index == 17
    with pytest.raises(InputError, match="text 17") as raised:
        PLAUSIBILITY["auprc"](subject, explained(["the", "film"], [1, 2]), annotated(["a", "film"], [0, 1]))
    assert raised.value.index == 17


def test_nan_is_named() -> None:
    explanation = explained(["a", "film"], [1.0, math.nan])
    with pytest.raises(InputError, match="found NaN for the token 'film' of text 3") as raised:
        PLAUSIBILITY["token-f1"](subject_of(explanation, 3), explanation, annotated(["a", "film"], [0, 1]))
    assert raised.value.index == 3


@pytest.mark.parametrize("name", RATIONALE)
def test_sentiment_is_no_rationale(name: str) -> None:
    explanation = explained(["a", "film"], [1.0, 2.0])
    with pytest.raises(InputError, match=r"marks of 0 or 1 for .* text 5") as raised:
        PLAUSIBILITY[name](subject_of(explanation, 5), explanation, annotated(["a", "film"], [0, -1]))
    assert raised.value.index == 5


@pytest.mark.parametrize("length", [0.0, -1.0, 1.5, math.nan])
def test_a_length_is_a_share(length: float) -> None:
    with pytest.raises(InputError, match="share of the units"):
        TokenF1(name="f", summary="", source="", length=length)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingExtraError, match=r"whybert\[evaluate\]"):
        value("auprc", [2.0, 1.0], [1, 0])


def test_the_table() -> None:
    assert list(PLAUSIBILITY) == ["token-f1", "iou-f1", "auprc", "sentiment-ap", "sentiment-spearman"]
    for name, metric in PLAUSIBILITY.items():
        assert metric.name == name
        assert metric.group == "plausibility"
        assert metric.group in GROUPS
        assert metric.higher_is_better
        assert metric.summary
        assert metric.source
        assert "\n" not in metric.summary
