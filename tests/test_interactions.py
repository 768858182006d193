"""Pairs of words that count together: against literal definitions, and games whose pairs are known."""

from __future__ import annotations

import io
import json
import math
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import tiny
from whybert import (
    BlackBox,
    Classifier,
    InputError,
    Interactions,
    UnknownNameError,
    UsageError,
    interactions,
)

TEXT = "a bad film was good"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer).double(), tokenizer)


def game(classifier: Classifier, text: str, target: int, by: str = "mask") -> dict[frozenset[int], float]:
    """F of all sets of words, each asked of the plain model; a token is a word here."""
    tokenizer = classifier.tokenizer
    plain = tokenizer(text, return_tensors="pt")
    count = plain["input_ids"].shape[1] - 2
    found = {}
    for size in range(count + 1):
        for kept in combinations(range(count), size):
            gone = [place + 1 for place in range(count) if place not in kept]
            inputs = {name: tensor.clone() for name, tensor in plain.items()}
            if by == "mask":
                inputs["input_ids"][0, gone] = tokenizer.mask_token_id
            else:
                rest = [place for place in range(count + 2) if place not in gone]
                inputs = {name: tensor[:, rest] for name, tensor in inputs.items()}
            found[frozenset(kept)] = float(classifier.model(**inputs).logits[0, target].detach())
    return found


def together(worth: dict[frozenset[int], float], i: int, j: int, rest: frozenset[int]) -> float:
    return worth[rest | {i, j}] - worth[rest | {i}] - worth[rest | {j}] + worth[rest]


@pytest.mark.parametrize("by", ["mask", "delete"])
def test_shapley_taylor_is_the_mean_over_all_orders(classifier: Classifier, by: str) -> None:
    worth = game(classifier, TEXT, 1, by)
    found = interactions(classifier, TEXT, target=1, by=by)
    for pair in found.pairs:
        values = []
        for order in permutations(range(5)):
            first = min(order.index(pair.first), order.index(pair.second))
            values.append(together(worth, pair.first, pair.second, frozenset(order[:first])))
        assert pair.strength == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=1e-12)
    for place, part in enumerate(found.parts):
        assert part.effect == pytest.approx(worth[frozenset([place])] - worth[frozenset()], rel=1e-9)
        assert TEXT[part.start : part.end] == part.text
    sums = sum(part.effect for part in found.parts) + sum(pair.strength for pair in found.pairs)
    assert sums == pytest.approx(found.output - found.baseline, rel=1e-9)
    assert (found.exact, found.evaluations, len(found.pairs)) == (True, 32, 10)
    assert found.output == pytest.approx(worth[frozenset(range(5))], rel=1e-12)


def test_drawn_orders_are_exact_in_the_sum_and_near_in_the_pairs(classifier: Classifier) -> None:
    exact = interactions(classifier, TEXT)
    drawn = interactions(classifier, TEXT, samples=400, seed=1)
    for one, other in zip(exact.pairs, drawn.pairs, strict=True):
        assert other.error > 0
        assert abs(one.strength - other.strength) < 5 * other.error
    few = interactions(classifier, TEXT, samples=2)
    sums = sum(part.effect for part in few.parts) + sum(pair.strength for pair in few.pairs)
    assert sums == pytest.approx(few.output - few.baseline, rel=1e-9)
    assert few == interactions(classifier, TEXT, samples=2)
    assert few != interactions(classifier, TEXT, samples=2, seed=1)
    long = interactions(classifier, "the film was good and the actors were great a b c d e")
    assert (long.exact, long.options["samples"]) == (False, 16)
    assert math.isnan(interactions(classifier, TEXT, samples=1).pairs[0].error)


def test_arch_attribute_and_arch_detect(classifier: Classifier) -> None:
    worth = game(classifier, TEXT, 0)
    alone = interactions(classifier, TEXT, "arch_attribute", 0)
    contexts = interactions(classifier, TEXT, "arch_detect", 0)
    for one, other in zip(alone.pairs, contexts.pairs, strict=True):
        i, j = one.first, one.second
        assert one.strength == pytest.approx(worth[frozenset([i, j])] - worth[frozenset()], rel=1e-9)
        rest = frozenset(range(5)) - {i, j}
        squares = [together(worth, i, j, each) ** 2 for each in (frozenset(), rest)]
        assert other.strength == pytest.approx(sum(squares) / 2, rel=1e-9)
    assert (alone.signed, contexts.signed) == (True, False)


def test_a_function_in_which_two_words_count_only_together() -> None:
    def function(texts: list[str]) -> list[list[float]]:
        shares = [0.1 + 0.6 * ("not" in text and "bad" in text) + 0.2 * ("film" in text) for text in texts]
        return [[1 - share, share] for share in shares]

    for method, strength in (("shapley_taylor", 0.6), ("arch_attribute", 0.6), ("arch_detect", 0.36)):
        found = interactions(BlackBox(function, ["n", "p"]), "not a bad film", method, "p")
        assert found.words(found.top(1)[0]) == ("not", "bad")
        assert found.top(1)[0].strength == pytest.approx(strength)
        assert (found.quantity, found.target.label) == ("probability", "p")
    rest = interactions(BlackBox(function), "not a bad film", target=1).top()[1:]
    assert [pair.strength for pair in rest] == pytest.approx([0.0] * 5, abs=1e-12)
    assert interactions(BlackBox(function), "not a bad film", samples=5, target=1).top(1)[0].strength > 0.5


def test_pairs_sentences_and_other_quantities(classifier: Classifier) -> None:
    found = interactions(classifier, ("A film. It was good.", "Bad actors?"), unit="sentence", by="delete")
    assert [(part.text, part.sequence) for part in found.parts] == [
        ("A film.", 0),
        ("It was good.", 0),
        ("Bad actors?", 1),
    ]
    assert len(interactions(classifier, "wellmade", unit="token").parts) > 1
    assert interactions(classifier, "good").pairs == ()
    probability = interactions(classifier, TEXT, quantity="probability", target="LABEL_1")
    assert probability.output == pytest.approx(classifier.predict(TEXT)[0].probabilities[1], rel=1e-9)
    contrast = interactions(classifier, TEXT, target=(0, 1))
    parts = [interactions(classifier, TEXT, target=each) for each in (0, 1)]
    for three in zip(contrast.pairs, *(each.pairs for each in parts), strict=True):
        assert three[0].strength == pytest.approx(three[1].strength - three[2].strength, abs=1e-10)


def test_what_is_shown_and_saved(classifier: Classifier, tmp_path: Path) -> None:
    found = interactions(classifier, "a film, a film", target=1)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(found)
    shown = console.export_text()
    assert "LABEL_1" in shown
    assert "strongest pairs" in shown
    assert "a 1 + film 2" in shown
    saved = json.loads(found.save(tmp_path / "found.json").read_text())
    assert saved == json.loads(json.dumps(found.to_dict()))
    assert saved["pairs"][0] == {"first": 0, "second": 1, "strength": found.pairs[0].strength, "error": 0.0}
    matrix = np.array(found.matrix())
    assert (matrix == matrix.T).all()
    assert matrix[0, 1] == found.pairs[0].strength
    assert matrix[1, 1] == found.parts[1].effect


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ({"method": "shapley"}, UnknownNameError, "unknown method for interactions 'shapley'; did you mean"),
        ({"samples": 0}, UsageError, "samples to be a whole number of at least 1, found 0"),
        ({"samples": 5, "method": "arch_detect"}, UsageError, "samples are of shapley_taylor"),
        ({"seed": -1}, UsageError, "seed to be a whole number of at least 0"),
        ({"unit": "letter"}, UnknownNameError, "unknown unit 'letter'"),
        ({"by": "masks"}, UnknownNameError, "unknown perturbation 'masks'"),
        ({"target": "LABEL_7"}, UnknownNameError, "unknown label 'LABEL_7'"),
        ({"samples": 10**6}, UsageError, "would be asked 12500000 times; use unit='sentence'"),
        ({"text": ["a", "b"]}, UsageError, r"one text, or a tuple \(text, pair\), found list"),
        ({"text": " "}, InputError, "text 0 is empty"),
    ],
    ids=str,
)
def test_what_cannot_be(
    classifier: Classifier, how: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        interactions(classifier, **{"text": TEXT, **how})
    assert "\n" not in str(caught.value)


def test_the_model_is_untouched_and_answers_in_half_precision(classifier: Classifier) -> None:
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    interactions(classifier, TEXT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.model.state_dict().items())
    tokenizer = tiny.wordpiece()
    half = interactions(Classifier(tiny.bert(tokenizer).bfloat16(), tokenizer), TEXT)
    assert all(math.isfinite(pair.strength) for pair in half.pairs)
    assert isinstance(half, Interactions)


@pytest.mark.parametrize("method", ["shapley_taylor", "arch_attribute", "arch_detect"])
def test_a_text_of_one_word_has_no_pairs(method: str) -> None:
    tokenizer = tiny.wordpiece()
    found = interactions(Classifier(tiny.bert(tokenizer), tokenizer), "good", method)
    assert found.pairs == ()
    assert found.parts[0].effect == pytest.approx(found.output - found.baseline)
