"""The explanation as a value: invariants, ranking, JSON, copying."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pathlib
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import whybert.explanation
from whybert.errors import InputError, UnknownNameError, UsageError
from whybert.explanation import Completeness, Explanation, Options, Target, Token

TEXT = "A charming film"


def example(**changes: Any) -> Explanation:
    fields: dict[str, Any] = {
        "text": TEXT,
        "pair": None,
        "tokens": (
            Token("[CLS]", 0, 0, None, None, True, 5.0),
            Token("a", 0, 1, 0, 0, False, 0.25),
            Token("charm", 2, 7, 0, 1, False, 1.5),
            Token("##ing", 7, 10, 0, 1, False, -0.5),
            Token("film", 11, 15, 0, 2, False, -2.0),
            Token("[SEP]", 0, 0, None, None, True, -1.0),
        ),
        "word_spans": ((0, 0, 1), (0, 2, 10), (0, 11, 15)),
        "prediction": "positive",
        "probabilities": (0.002, 0.998),
        "logits": (-3.0, 3.5),
        "labels": ("negative", "positive"),
        "target": Target(1, "positive"),
        "method": "attnlrp",
        "options": {"gamma": 0.25, "rule": None},
        "signed": True,
        "truncated": False,
        "completeness": Completeness(3.25, 3.5),
    }
    return Explanation(**(fields | changes))


def scored(*scores: float, **changes: Any) -> Explanation:
    """One word "x" for each score."""
    return example(
        text="x" * len(scores),
        tokens=tuple(Token("x", i, i + 1, 0, i, False, score) for i, score in enumerate(scores)),
        word_spans=tuple((0, i, i + 1) for i in range(len(scores))),
        completeness=None,
        **changes,
    )


any_text = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"]), max_size=20)


@st.composite
def explanations(draw: st.DrawFn) -> Explanation:
    """Explanations of any text, cut into words and tokens at any place."""
    texts = [draw(any_text), draw(st.none() | any_text)]
    score = st.floats(-1e6, 1e6)
    tokens = [Token("[CLS]", 0, 0, None, None, True, draw(score))]
    spans: list[tuple[int, int, int]] = []
    for sequence, text in enumerate(texts):
        if text is None:
            continue
        ends = sorted(draw(st.sets(st.integers(1, max(1, len(text))), max_size=5))) if text else []
        start = 0
        for end in ends:
            if draw(st.booleans()):
                spans.append((sequence, start, end))
                for cut in range(draw(st.integers(1, 2))):
                    tokens.append(
                        Token(
                            f"{cut}{text[start:end]}",
                            start,
                            end,
                            sequence,
                            len(spans) - 1,
                            False,
                            draw(score),
                        )
                    )
            start = end
    label = draw(any_text)
    return example(
        text=texts[0],
        pair=texts[1],
        tokens=tokens,
        word_spans=spans,
        labels=(label, label + "!"),
        prediction=label,
        target=Target(0, label, 1, label + "!"),
        truncated=draw(st.booleans()),
        completeness=draw(
            st.none() | st.builds(Completeness, score, score, st.none() | score, st.none() | score)
        ),
    )


@given(explanations())
def test_json_round_trip_is_exact(explanation: Explanation) -> None:
    written = json.dumps(explanation.to_dict(), allow_nan=False)
    assert Explanation.from_dict(json.loads(written)) == explanation
    assert Explanation.from_dict(explanation.to_dict()) == explanation


def test_adjacent_lone_surrogates_survive_json() -> None:
    text = "\ud83d\ude00"  # two characters to Python; JSON alone would make one of them
    explanation = example(text=text, tokens=(Token(text, 0, 2, 0, 0, False, 1.0),), word_spans=((0, 0, 2),))
    again = Explanation.from_dict(json.loads(json.dumps(explanation.to_dict())))
    assert again == explanation
    assert len(again.text) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_stay_valid_json(value: float) -> None:
    written = json.dumps(scored(value, 1.0).to_dict(), allow_nan=False)
    again = Explanation.from_dict(json.loads(written)).scores[0]
    assert again == value or (math.isnan(again) and math.isnan(value))


@given(explanations())
def test_words_carry_the_score_of_their_tokens(explanation: Explanation) -> None:
    members = [token.score for token in explanation.tokens if not token.special and token.word is not None]
    words = explanation.words()
    assert math.isclose(math.fsum(word.score for word in words), math.fsum(members), abs_tol=1e-6)
    assert sorted(index for word in words for index in word.tokens) == [
        index for index, token in enumerate(explanation.tokens) if not token.special
    ]
    assert [(word.sequence, word.start) for word in words] == sorted(
        (word.sequence, word.start) for word in words
    )


def test_words_are_slices_of_the_original_text() -> None:
    words = example().words()
    assert [(word.text, word.score, word.tokens) for word in words] == [
        ("A", 0.25, (1,)),
        ("charming", 1.0, (2, 3)),
        ("film", -2.0, (4,)),
    ]


def test_words_without_tokens_and_special_tokens_are_left_out() -> None:
    tokens = (*example().tokens[:2], Token("[MASK]", 11, 15, 0, 2, True, 9.0))
    assert [word.text for word in example(tokens=tokens, truncated=True).words()] == ["A"]


def test_words_of_a_pair_come_after_those_of_the_text() -> None:
    explanation = example(
        text="one",
        pair="two",
        tokens=(Token("two", 0, 3, 1, 0, False, 1.0), Token("one", 0, 3, 0, 1, False, 2.0)),
        word_spans=((1, 0, 3), (0, 0, 3)),
    )
    assert [(word.text, word.sequence) for word in explanation.words()] == [("one", 0), ("two", 1)]


def test_top_orders_by_score() -> None:
    explanation = example()
    assert [word.text for word in explanation.top()] == ["film", "charming", "A"]
    assert [word.text for word in explanation.top(by="positive")] == ["charming", "A"]
    assert [word.text for word in explanation.top(by="negative")] == ["film"]
    assert [token.text for token in explanation.top(2, level="token")] == ["film", "charm"]
    assert explanation.top(0) == ()


def test_top_breaks_ties_by_position() -> None:
    explanation = scored(1.0, -1.0, 1.0, -1.0, 0.5)
    assert [word.start for word in explanation.top(4)] == [0, 1, 2, 3]
    assert [word.start for word in explanation.top(by="positive")] == [0, 2, 4]
    assert [word.start for word in explanation.top(by="negative")] == [1, 3]


def test_top_ranks_nan_as_zero() -> None:
    explanation = scored(math.nan, 1.0, math.nan, -2.0, math.inf)
    assert [word.start for word in explanation.top()] == [4, 3, 1, 0, 2]
    assert [word.start for word in explanation.top(by="positive")] == [4, 1]


@pytest.mark.parametrize("arguments", [{"level": "words"}, {"by": "size"}])
def test_top_names_the_known_values(arguments: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean|known:"):
        example().top(**arguments)


@pytest.mark.parametrize("k", [-1, 2.0, True, "3"])
def test_top_refuses_a_wrong_k(k: Any) -> None:
    with pytest.raises(InputError, match="expected k"):
        example().top(k)


def test_completeness() -> None:
    completeness = Completeness(3.0, 4.0)
    assert (completeness.difference, completeness.error) == (-1.0, 0.25)
    assert Completeness(-3.0, -4.0).error == 0.25
    assert Completeness(0.0, 0.0).error == math.inf
    assert Completeness(2.0, 4.0, 1.0, 0.5).remainder == 0.5
    assert Completeness(2.0, 4.0).remainder == 2.0
    assert Completeness(2.0, 4.0, -6.0).open_share == pytest.approx(8.0 / 6.0)
    assert Completeness(0.0, 0.0, 0.0).open_share == 0.0
    assert not Completeness(4.0, 4.0).is_exact  # a method that keeps no books does not know
    assert Completeness(42.0, 0.9, -41.1 + 1e-5).is_exact
    assert not Completeness(2.0, 4.0, 1.99).is_exact


@pytest.mark.parametrize(
    ("scores", "books", "logits", "said"),
    [
        ((30.0, 12.0), (42.0, 0.91, -41.09), (-0.9, 0.91), "46 times the largest logit"),
        ((-30.0, -12.0), (-42.0, 0.91, 42.91), (-0.9, 0.91), "46 times the largest logit"),
        ((30.0, 12.0), (42.0, 0.0, -42.0), (0.0, 0.0), "not 0 as the largest logit"),
        ((30.0, 12.0), (42.0, 0.91, -41.09), (-9.0, 0.91), None),  # another logit is as large
        ((3.0, 1.2), (4.2, 0.91, -3.29), (-0.9, 0.91), None),
        ((0.9, -0.4), (0.5, 0.02, -0.48), (-0.02, 0.02), None),  # the classes are even, the tokens cancel
        ((0.5, 0.4), (0.9, 0.91, 0.01), (-0.9, 0.91), None),
        ((30.0, 12.0), (42.0, 0.91, None), (-0.9, 0.91), None),
        ((math.nan, 12.0), (math.nan, 0.91, -41.0), (-0.9, 0.91), None),
    ],
)
def test_sizes_that_mislead_are_said(scores: Any, books: Any, logits: Any, said: str | None) -> None:
    explanation = replace(scored(*scores, logits=logits), completeness=Completeness(*books))
    assert (explanation.caution is None) == (said is None)
    assert ("caution" in explanation.to_dict()) == (said is not None)
    if said is not None:
        assert said in str(explanation.caution)
        assert Explanation.from_dict(explanation.to_dict()) == explanation
    baseline = replace(explanation, completeness=Completeness(*books, rest="baseline"))
    assert baseline.caution is None


def test_of_a_regression_sizes_are_held_against_the_output() -> None:
    changes: dict[str, Any] = {"labels": ("stars",), "probabilities": (), "prediction": "stars"}
    explanation = scored(42.0, logits=(0.91,), target=Target(0, "stars"), **changes)
    found = replace(explanation, completeness=Completeness(42.0, 0.91, -41.09))
    assert "46 times the output: the model's constants hold -41.1" in str(found.caution)


def test_completeness_of_files_without_books_loads() -> None:
    data = json.loads(json.dumps(example(completeness=Completeness(3.25, 3.5, 0.2, 0.05)).to_dict()))
    assert Explanation.from_dict(data).completeness == Completeness(3.25, 3.5, 0.2, 0.05)
    data["completeness"] = {"relevance_sum": 3.25, "logit": 3.5}
    assert Explanation.from_dict(data).completeness == Completeness(3.25, 3.5)


def test_target_name() -> None:
    assert Target(1, "positive").name == "positive"
    assert Target(1, "positive", 0, "negative").name == "positive - negative"


def test_value_is_frozen_hashable_and_copies_equal() -> None:
    explanation = example()
    assert pickle.loads(pickle.dumps(explanation)) == explanation
    assert copy.deepcopy(explanation) == explanation
    assert hash(example()) == hash(explanation)
    assert dataclasses.replace(explanation, method="gi") != explanation
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.text = "other"  # type: ignore[misc]


def test_options_are_a_copy_and_immutable() -> None:
    given_options = {"gamma": 0.25}
    explanation = example(options=given_options)
    given_options["gamma"] = 1.0
    assert explanation.options == {"gamma": 0.25}
    with pytest.raises(TypeError):
        explanation.options["gamma"] = 2.0  # type: ignore[index]
    assert Options({"b": 1, "a": 2}) == Options({"a": 2, "b": 1})
    assert hash(Options({"b": 1, "a": 2})) == hash(Options({"a": 2, "b": 1}))


@pytest.mark.parametrize("options", [{"a": [1]}, {1: 2}, {"a": math.nan}])
def test_options_refuse_what_json_cannot_hold(options: Any) -> None:
    with pytest.raises(InputError, match="option"):
        Options(options)


def token(**changes: Any) -> tuple[Token, ...]:
    return (dataclasses.replace(example().tokens[1], **changes),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": (1.0,)}, "1 probabilities"),
        ({"labels": (), "logits": (), "probabilities": ()}, "0 labels"),
        ({"prediction": "neutral"}, "prediction among the labels"),
        ({"target": Target(0, "positive")}, "index and label agree"),
        ({"target": Target(2, "positive")}, "index and label agree"),
        ({"target": Target(-1, "positive")}, "index and label agree"),
        ({"target": Target(1, "positive", 0, "positive")}, "index and label agree"),
        ({"target": Target(1, "positive", 0)}, "both set or both None"),
        ({"tokens": token(word=3)}, "word below 3"),
        ({"tokens": token(word=-1)}, "word below 3"),
        ({"tokens": token(end=99)}, "inside the text"),
        ({"tokens": token(start=5, end=4)}, "inside the text"),
        ({"tokens": token(sequence=1)}, "inside the text"),
        ({"tokens": token(sequence=None)}, "only special tokens"),
        ({"tokens": token(sequence=1), "pair": "other"}, "sequence of its word"),
        ({"word_spans": ((0, 0, 99),) * 3}, "word_spans"),
        ({"word_spans": ((1, 0, 1),) * 3}, "word_spans"),
        ({"signed": False}, "unsigned"),
    ],
)
def test_contradictions_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        example(**changes)
    assert "\n" not in str(caught.value)


def change(data: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        data = data[int(parent) if isinstance(data, list) else parent]
    data[int(last) if isinstance(data, list) else last] = value


@pytest.mark.parametrize(
    "key",
    sorted(
        set(example().to_dict())
        - {"predicted", "windows", "classifier", "truth", "quantity", "layers", "heads", "pairs", "place"}
    ),
)
def test_from_dict_names_a_missing_key(key: str) -> None:
    data = example().to_dict()
    del data[key]
    with pytest.raises(InputError, match=f"expected the key '{key}'"):
        Explanation.from_dict(data)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("text", 3, "'text'"),
        ("pair", 3, "'pair'"),
        ("tokens", {}, "'tokens'"),
        ("tokens.1", "x", "'tokens[1]'"),
        ("tokens.1.score", "high", "'tokens[1].score'"),
        ("tokens.1.score", True, "'tokens[1].score'"),
        ("tokens.1.start", 1.5, "'tokens[1].start'"),
        ("tokens.1.special", 0, "'tokens[1].special'"),
        ("word_spans", [[0, 1]], "'word_spans[0]'"),
        ("target.index", "1", "'target.index'"),
        ("completeness.logit", None, "'completeness.logit'"),
        ("options", [], "'options'"),
        ("signed", "yes", "'signed'"),
        ("labels", [1, 2], "'labels[0]'"),
        ("schema", "1", "'schema'"),
    ],
)
def test_from_dict_names_a_wrong_value(path: str, value: Any, named: str) -> None:
    data = json.loads(json.dumps(example().to_dict()))
    change(data, path, value)
    with pytest.raises(InputError) as caught:
        Explanation.from_dict(data)
    assert f"at {named}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_from_dict_refuses_another_schema_and_no_dictionary() -> None:
    with pytest.raises(InputError, match="schema 1, got schema 2"):
        Explanation.from_dict({**example().to_dict(), "schema": 2})
    with pytest.raises(UsageError, match="expected a dictionary"):
        Explanation.from_dict([])  # type: ignore[arg-type]


def test_from_dict_ignores_further_keys() -> None:
    assert Explanation.from_dict({**example().to_dict(), "id": 7}) == example()


def test_repr_is_short_and_tells_why() -> None:
    assert repr(example()) == (
        "<Explanation 'positive' (0.998) because + 'charming' 'A' - 'film' method=attnlrp>"
    )
    contrast = example(target=Target(0, "negative", 1, "positive"))
    assert "target='negative - positive'" in repr(contrast)
    assert "because 'x'" in repr(scored(1.0, signed=False))
    assert "because" not in repr(scored(0.0))


@given(any_text)
def test_repr_is_one_printable_line(text: str) -> None:
    text = text * 500
    tokens = (Token(text, 0, len(text), 0, 0, False, 1.0),)
    shown = repr(example(text=text, tokens=tokens, word_spans=((0, 0, len(text)),)))
    assert shown.isprintable()
    assert len(shown) < 400


def test_the_value_and_the_renderers_know_no_model() -> None:
    # The package stands in for whybert/__init__.py, which may import what it likes.
    root = pathlib.Path(whybert.explanation.__file__).parent
    code = f"""
import sys, types
package = types.ModuleType("whybert")
package.__path__ = [{str(root)!r}]
sys.modules["whybert"] = package
import whybert.explanation
print(sorted({{"torch", "transformers", "rich", "whybert.render"}} & set(sys.modules)))
import whybert.render.html, whybert.render.latex, whybert.render.terminal
print(sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_lists_in_lists_in_lists_are_one_line() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for key in ("text", "options", "tokens", "schema"):
        data = {**example().to_dict(), key: {"a": deep} if key == "options" else deep}
        with pytest.raises(InputError) as caught:
            Explanation.from_dict(data)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_files_that_do_not_tell_the_index_of_the_prediction_are_read() -> None:
    """Of the labels with the name of the prediction, the model chose the one with the highest logit."""
    found = dataclasses.replace(
        example(),
        labels=("a", "b", "a"),
        logits=(1.0, 2.0, 3.0),
        probabilities=(0.1, 0.2, 0.7),
        prediction="a",
        predicted=2,
        target=Target(0, "a"),
    )
    data = found.to_dict()
    del data["predicted"]
    assert Explanation.from_dict(data) == found
    with pytest.raises(InputError, match="expected predicted to be an index of 'a'"):
        Explanation.from_dict({**data, "predicted": 1})
