"""What holds for every method of the table, whatever it computes: a new one is held to it by being there."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy
import pytest
import torch

import tiny
from whybert import METHODS, Classifier, Explanation, attribute, explain, load, save
from whybert.explanation import Explanations
from whybert.methods import GROUPS, Method
from whybert.methods.base import KINDS

FEW: Final[Mapping[str, Any]] = {"samples": 12, "n_steps": 4}
"""Options of methods of many passes, small enough for a test."""
TEXTS: Final = [
    "the film was good, and the actors were great.",
    "a bad film",
    "good",
    "bad? don't you think so",
]
NAMES: Final = GROUPS["all"]


def small(name: str, **options: Any) -> Method:
    """The method, of few passes."""
    known = METHODS[name].__dataclass_fields__
    return METHODS[name](**{key: value for key, value in {**FEW, **options}.items() if key in known})


@cache
def classifier(kind: str = "bert", dtype: torch.dtype = torch.float64) -> Classifier:
    tokenizer = tiny.wordpiece() if kind == "bert" else tiny.byte_level()
    model = (tiny.bert if kind == "bert" else tiny.roberta)(tokenizer)
    return Classifier(model.to(dtype), tokenizer)


@cache
def explained(name: str) -> Explanations:
    return explain(classifier(), TEXTS, small(name))


def assert_same(found: Explanation, expected: Explanation, tolerance: float = 1e-9) -> None:
    assert [token.text for token in found.tokens] == [token.text for token in expected.tokens]
    largest = max(map(abs, expected.scores))
    assert found.scores == pytest.approx(expected.scores, rel=tolerance, abs=tolerance * largest)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name: str) -> None:
    method = METHODS[name]()
    assert method.kind in KINDS
    assert all((method.summary, method.source, method.passes))
    assert "forward" in method.passes or method.kind == "control"
    assert method.rest in ("biases", "baseline")
    assert not method.given or method.given in method.options
    assert not method.given or method.needs


@pytest.mark.parametrize("name", NAMES)
def test_a_text_alone_is_explained_as_in_a_batch_and_in_any_order(name: str) -> None:
    alone = [explain(classifier(), text, small(name))[0] for text in TEXTS]
    turned = explain(classifier(), TEXTS[::-1], small(name), batch_size=3)[::-1]
    for batched, single, other in zip(explained(name), alone, turned, strict=True):
        assert_same(batched, single)
        assert_same(other, single)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_again_and_leaves_no_trace(name: str) -> None:
    """Not in the model, and not in anybody's random numbers."""
    model = classifier().model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    states = random.getstate(), torch.get_rng_state(), numpy.random.get_state()[1].tolist()
    again = explain(classifier(), TEXTS, small(name))
    assert states[0] == random.getstate()
    assert torch.equal(states[1], torch.get_rng_state())
    assert states[2] == numpy.random.get_state()[1].tolist()
    for found, expected in zip(again, explained(name), strict=True):
        assert found.scores == expected.scores
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    for module in model.modules():
        assert not any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks))
        assert not module.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_padding_has_no_score_and_other_tokens_have(name: str) -> None:
    whole = classifier()
    batch = whole.tokenizer(TEXTS, padding=True, return_tensors="pt")
    method = small(name, unit="token")
    found = attribute(whole.model, batch, method, tokenizer=whole.tokenizer)
    padding = batch["attention_mask"] == 0
    assert padding.any()
    assert (found.scores[padding] == 0).all()
    assert found.scores[~padding].any()
    assert found.scores.dtype in (torch.float32, torch.float64)
    if not found.signed:
        assert (found.scores >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_finite_and_near(name: str) -> None:
    """bfloat16 has 8 bits, and methods of differences lose some: the scores of the longest text are alike."""
    half = explain(classifier(dtype=torch.bfloat16), TEXTS, small(name), target=1)
    assert all(numpy.isfinite(each.scores).all() for each in half)
    [expected] = explain(classifier(), TEXTS[0], small(name), target=1)
    assert numpy.corrcoef(half[0].scores, expected.scores)[0, 1] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_its_books_are_true_and_it_can_be_kept(name: str, tmp_path: Any) -> None:
    for each in explained(name):
        books = each.completeness
        assert (books is None) != METHODS[name].complete
        if books is not None:
            assert books.rest == METHODS[name].rest
            if each.signed:
                assert books.relevance_sum == pytest.approx(sum(each.scores), rel=1e-9, abs=1e-12)
    save(explained(name), tmp_path / "kept.jsonl")
    assert list(load(tmp_path / "kept.jsonl")) == list(explained(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_and_another_family(name: str) -> None:
    pair = ("the film was good", "a bad film?")
    for kind in ("bert", "roberta"):
        [found] = explain(classifier(kind), pair, small(name))
        assert all(map(numpy.isfinite, found.scores))
        assert any(word.score for word in found.words())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["good", "?", "good good good good"])
def test_texts_of_one_word_and_of_equal_words(name: str, text: str) -> None:
    [found] = explain(classifier(), text, small(name))
    assert all(map(numpy.isfinite, found.scores))
