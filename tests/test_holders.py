"""What people hold goes in as it is: pipelines, pairs, and what is none of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny
from whybert import Classifier, audit, evaluate, explain
from whybert.errors import InputError, UnknownNameError, UsageError
from whybert.evaluation.bench import EvaluationData

TEXTS = ["a film", "don't you think so?", "the film was good and the actors were great"]


def parts(**options: Any) -> tuple[Any, Any]:
    tokenizer = tiny.wordpiece()
    return tiny.bert(tokenizer, **options), tokenizer


def pipeline(
    settings: dict[str, Any] | None = None, task: str = "text-classification", **options: Any
) -> Any:
    model, tokenizer = parts(**options)
    return transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **(settings or {}))


def test_a_pair_and_a_classifier() -> None:
    model, tokenizer = parts()
    ours = Classifier(model, tokenizer)
    assert Classifier.of(ours) is ours
    for pair in ((model, tokenizer), [model, tokenizer]):
        assert Classifier.of(pair).model is model
        assert explain(pair, TEXTS[0]) == explain(ours, TEXTS[0])
    assert audit((model, tokenizer), TEXTS, "gi") == audit(ours, TEXTS, "gi")


def test_a_folder(tmp_path: Path) -> None:
    model, tokenizer = parts()
    folder = tiny.save(tmp_path / "model", model, tokenizer)
    expected = explain((model, tokenizer), TEXTS)
    for source in (folder, str(folder)):
        found = explain(source, TEXTS)
        assert [each.scores for each in found] == [each.scores for each in expected]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, {}),
        ({"num_labels": 3}, {"top_k": None}),
        ({"num_labels": 3}, {"function_to_apply": "sigmoid"}),
        ({"num_labels": 3}, {"function_to_apply": "none"}),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, {}),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, {"function_to_apply": "softmax"}),
        ({"num_labels": 1}, {}),
        ({"num_labels": 1, "problem_type": "regression"}, {}),
        ({}, {"truncation": True, "max_length": 6}),
    ],
)
def test_a_pipeline_answers_as_before(options: dict[str, Any], settings: dict[str, Any]) -> None:
    held = pipeline(settings, **options)
    with torch.no_grad():
        held.model.classifier.bias += torch.arange(held.model.config.num_labels) + 0.5
    expected = held(TEXTS)
    for theirs, prediction in zip(expected, Classifier.of(held).predict(TEXTS), strict=True):
        best = theirs[0] if isinstance(theirs, list) else theirs
        assert prediction.label == best["label"]
        assert prediction.answer == pytest.approx(best["score"], abs=1e-5)
    for theirs, explanation in zip(expected, explain(held, TEXTS, "gi"), strict=True):
        best = theirs[0] if isinstance(theirs, list) else theirs
        assert explanation.answer == pytest.approx(best["score"], abs=1e-5)


def test_a_pipeline_names_its_model(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model", *parts())
    loaded = transformers.pipeline("sentiment-analysis", str(folder), device="cpu")
    assert Classifier.of(loaded).name == str(folder)
    assert Classifier.of(pipeline()).name == "BertForSequenceClassification"


class _Trainer:
    model, processing_class = "a model", "a tokenizer"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: parts()[0], r"found BertForSequenceClassification; .*\(model, tokenizer\)"),
        (lambda: parts()[::-1], "the model comes first"),
        (lambda: ("a film", "bad"), "texts come after the classifier"),
        (lambda: (*parts(), 3), "texts come after the classifier"),
        (lambda: None, "found NoneType"),
        (lambda: 3, "found int"),
        (_Trainer, r"\(it.model, it.processing_class\)"),
        (lambda: pipeline({"add_special_tokens": False}), "add_special_tokens, which would be lost"),
        (lambda: pipeline({"candidate_labels": "a,b"}, "zero-shot-classification"), "zero-shot"),
    ],
)
def test_what_holds_no_classifier_is_said(value: Any, message: str) -> None:
    for ask in (explain, audit, lambda value, texts: evaluate(value, EvaluationData("", (texts,), (None,)))):
        with pytest.raises(UsageError, match=message) as caught:
            ask(value(), "a film")
        assert "\n" not in str(caught.value)


def test_labels_and_the_problem_type_can_be_said() -> None:
    model, tokenizer = parts()
    ours = Classifier(model, tokenizer, labels=["bad", "good"], problem_type="multi_label_classification")
    assert ours.labels == ("bad", "good")
    (prediction,) = ours.predict("a film")
    assert sum(prediction.probabilities) != pytest.approx(1)
    (explanation,) = explain(ours, "a film", target="GOOD")
    assert explanation.target.label == "good"
    for labels in (["a"], ["a", "b", "c"]):
        with pytest.raises(InputError, match="a label for each of the 2 logits"):
            Classifier(model, tokenizer, labels=labels)
    for wrong in ("ab", [1, 2], {"a": 0, "b": 1}, []):
        with pytest.raises(InputError, match="expected labels as names"):
            Classifier(model, tokenizer, labels=wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="problem_type"):
        Classifier(model, tokenizer, problem_type="multi_label")


@pytest.mark.parametrize("progress", [False, True])
def test_progress_is_on_stderr_and_only_where_it_is_wanted(
    progress: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich writes as to a terminal
    ours = Classifier.of(parts())
    data = EvaluationData("data", tuple(TEXTS), (None,) * len(TEXTS))
    for call in (
        lambda: explain(ours, TEXTS, progress=progress),
        lambda: ours.predict(TEXTS, progress=progress),
        lambda: audit(ours, TEXTS, "gi", progress=progress),
        lambda: evaluate(ours, data, methods=["gi"], metrics=["comprehensiveness"], progress=progress),
    ):
        call()
        out, err = capsys.readouterr()
        assert out == ""
        assert ("1/1" in err or "3/3" in err) is progress


def test_progress_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(UsageError):
        explain(parts(), TEXTS, target="neither", progress=True)
    assert capsys.readouterr().out == ""
