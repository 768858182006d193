"""Zero-shot classification: the pipeline's own answers, and the words of the text and of the hypothesis."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

import tiny
from whybert import (
    Classifier,
    Explanation,
    InputError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    explain,
    html,
    zero_shot,
)

NAMES = {0: "contradiction", 1: "neutral", 2: "entailment"}
TEXTS = ["a film", "don't you think so?", "the film was good and the actors were great"]
LABELS = ["film", "great actors", "bad"]


def parts(names: dict[int, str] = NAMES) -> tuple[Any, Any]:
    tokenizer = tiny.wordpiece()
    return tiny.bert(tokenizer, id2label=names, label2id={v: k for k, v in names.items()}), tokenizer


def pipeline(names: dict[int, str] = NAMES, **settings: Any) -> Any:
    model, tokenizer = parts(names)
    return transformers.pipeline(
        "zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu", **settings
    )


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("template", ["This example is {}.", "a {} film"])
@pytest.mark.parametrize(
    "names", [NAMES, {0: "ENTAILMENT", 1: "neutral", 2: "contradiction"}, {0: "no", 1: "entails"}]
)
def test_answers_are_the_pipelines(names: dict[int, str], template: str, multi_label: bool) -> None:
    held = pipeline(names)
    found = zero_shot(held, TEXTS, LABELS, template=template, multi_label=multi_label)
    for text, explanation in zip(TEXTS, found, strict=True):
        theirs = held(text, LABELS, hypothesis_template=template, multi_label=multi_label)
        assert explanation.prediction == theirs["labels"][0]
        own = dict(zip(explanation.labels, explanation.probabilities, strict=True))
        assert own == pytest.approx(dict(zip(theirs["labels"], theirs["scores"], strict=True)), abs=1e-5)
        assert (explanation.text, explanation.pair) == (text, template.format(theirs["labels"][0]))
        assert explanation.explains_prediction


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_is_explained_is_the_logit_of_entailment(multi_label: bool) -> None:
    model, tokenizer = parts()
    [found] = zero_shot((model, tokenizer), TEXTS[2], LABELS, "cp_lrp", "bad", multi_label=multi_label)
    pair = (TEXTS[2], "This example is bad.")
    target: Any = ("entailment", "contradiction") if multi_label else "entailment"
    [expected] = explain((model, tokenizer), pair, "cp_lrp", target)
    assert found.scores == expected.scores
    assert found.completeness == expected.completeness
    assert found.completeness is not None
    assert found.completeness.is_exact
    assert found.completeness.logit == pytest.approx(found.logits[found.target.index], abs=1e-5)
    assert {word.sequence for word in found.words()} == {0, 1}
    assert found.target.label == "bad"


def test_each_label_and_several_methods() -> None:
    found = zero_shot(parts(), TEXTS, ", ".join(LABELS), ["gi", "attnlrp"], "all")
    assert set(found) == {"gi", "attnlrp"}
    assert [each.target.label for each in found["gi"]] == LABELS * len(TEXTS)
    [alone] = zero_shot(parts(), TEXTS[1], LABELS, "gi", 1)
    assert found["gi"][4].scores == pytest.approx(alone.scores, rel=1e-3, abs=1e-6)
    assert [each.target.label for each in zero_shot(parts(), TEXTS, LABELS, "gi", ["bad", None, 0])][::2] == [
        "bad",
        "film",
    ]


def test_a_single_label_may_hold_or_not() -> None:
    held = pipeline()
    [found] = zero_shot(held, TEXTS[0], ["film"])
    assert found.probabilities == pytest.approx(held(TEXTS[0], ["film"])["scores"], abs=1e-5)


def test_the_pipelines_own_settings_hold() -> None:
    held = pipeline(candidate_labels=LABELS, hypothesis_template="a {} film", multi_label=True)
    [found] = zero_shot(held, TEXTS[0])
    assert found.labels == tuple(LABELS)
    assert str(found.pair).startswith("a ")
    assert sum(found.probabilities) != pytest.approx(1.0, abs=1e-4)


def test_it_is_shown_and_written() -> None:
    [found] = zero_shot(pipeline(), TEXTS[0], LABELS)
    assert Explanation.from_dict(found.to_dict()) == found
    assert "Pair" in html(found)
    assert zero_shot(parts(), [], LABELS) == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: zero_shot(pipeline(), TEXTS), InputError, "expected labels"),
        (lambda: zero_shot(pipeline(), TEXTS, []), InputError, "expected labels"),
        (lambda: zero_shot(pipeline(), TEXTS, ["a", "a"]), InputError, "each once"),
        (lambda: zero_shot(pipeline(), TEXTS, ["a", " "]), InputError, "expected labels"),
        (lambda: zero_shot(pipeline(), TEXTS, LABELS, template="none"), InputError, "a template with {}"),
        (lambda: zero_shot(pipeline(), TEXTS, ["a"], template="none"), InputError, "a template with {}"),
        (lambda: zero_shot(pipeline(), TEXTS, LABELS, template="{a}"), InputError, "a template with {}"),
        (lambda: zero_shot(pipeline(), [("a", "b")], LABELS), InputError, "found a pair"),
        (lambda: zero_shot(pipeline(), TEXTS, LABELS, target="neutral"), UnknownNameError, "neutral"),
        (
            lambda: zero_shot(pipeline(), TEXTS, LABELS, target=("bad", "film")),
            UsageError,
            "one after the other",
        ),
        (
            lambda: zero_shot(pipeline(), TEXTS, LABELS, quantity="probability"),
            UsageError,
            "leave quantity out",
        ),
        (lambda: zero_shot(parts({0: "bad", 1: "good"}), TEXTS, LABELS), UnsupportedModelError, "'entail'"),
        (lambda: Classifier.of(pipeline()), UsageError, r"whybert.zero_shot\(pipeline"),
    ],
)
def test_what_is_wrong_is_said(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_pipeline_that_makes_something_else_of_its_texts_is_noticed() -> None:
    held = pipeline()
    inner = held._parse_and_tokenize
    held._parse_and_tokenize = lambda pairs, **how: inner([[b, a] for a, b in pairs], **how)
    with torch.no_grad():
        held.model.classifier.weight *= 5
    with pytest.raises(UsageError, match="gives a label another probability"):
        zero_shot(held, TEXTS[2], LABELS)
