"""What people hold goes in as it is: pipelines, pairs, and what is none of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny
from whybert import Classifier, attribute, audit, evaluate, explain
from whybert.errors import (
    InputError,
    MissingInputWarning,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
)
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
        (lambda: pipeline({"function_to_apply": "softmax"}, num_labels=1), "softmax of a single label"),
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
    assert Classifier(model, tokenizer, labels={0: "bad", 1: "good"}).labels == ours.labels
    (prediction,) = ours.predict("a film")
    assert sum(prediction.probabilities) != pytest.approx(1)
    (explanation,) = explain(ours, "a film", target="GOOD")
    assert explanation.target.label == "good"
    for labels in (["a"], ["a", "b", "c"]):
        with pytest.raises(InputError, match="a label for each of the 2 logits"):
            Classifier(model, tokenizer, labels=labels)
    for wrong in ("ab", [1, 2], {"a": 0, "b": 1}, [], 3):
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


# sentence-transformers and SetFit

PAIRS = list(zip(TEXTS, TEXTS[::-1], strict=True))


def cross_encoder(folder: Path, labels: int, activation: Any = None) -> Any:
    from sentence_transformers import CrossEncoder

    model, tokenizer = parts(num_labels=labels)
    return CrossEncoder(str(tiny.save(folder, model, tokenizer)), activation_fn=activation, device="cpu")


@pytest.mark.parametrize(
    ("labels", "activation", "made"),
    [
        (1, None, "probabilities"),
        (1, torch.nn.Identity(), "logits"),
        (3, None, "logits"),
        (3, torch.nn.Softmax(-1), "probabilities"),
        (3, torch.nn.Sigmoid(), "probabilities"),
    ],
)
def test_a_cross_encoder_answers_as_before(tmp_path: Path, labels: int, activation: Any, made: str) -> None:
    held = cross_encoder(tmp_path / "model", labels, activation)
    ours = Classifier.of(held)
    expected = torch.as_tensor(held.predict(PAIRS)).view(len(PAIRS), labels).tolist()
    for theirs, prediction in zip(expected, ours.predict(PAIRS), strict=True):
        assert getattr(prediction, made) == pytest.approx(theirs, abs=1e-5)
    (explanation,) = explain(held, PAIRS[1], "cp_lrp")
    assert (explanation.text, explanation.pair) == PAIRS[1]
    assert explanation.logits == pytest.approx(ours.predict(PAIRS[1])[0].logits, abs=1e-5)


def test_a_cross_encoder_of_several_parts(tmp_path: Path) -> None:
    """A head of its own after the encoder, instead of one of transformers."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    encoder = Transformer(str(_encoder(tmp_path)))
    size = encoder.get_embedding_dimension()
    dense = Dense(size, 1, module_output_name="scores", activation_function=torch.nn.Identity())
    held = CrossEncoder(modules=[encoder, Pooling(size), dense], device="cpu")
    expected = held.predict(PAIRS).tolist()
    assert [each.answer for each in Classifier.of(held).predict(PAIRS)] == pytest.approx(expected, abs=1e-5)
    assert audit(held, PAIRS, ["gi", "cp_lrp", "attnlrp"]).passed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_fn": torch.nn.Tanh()}, r"by Tanh.*problem_type="),
        ({"prompts": {"query": "query: "}, "default_prompt_name": "query"}, "the prompt 'query: '"),
    ],
)
def test_what_a_cross_encoder_would_lose_is_said(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    held = cross_encoder(tmp_path / "model", 1)
    for name, value in change.items():
        setattr(held, name, value)
    with pytest.raises(UsageError, match=message):
        explain(held, PAIRS)


def test_a_cross_encoder_of_which_nobody_knows_the_answer_is_held_against_its_own(tmp_path: Path) -> None:
    held = cross_encoder(tmp_path / "model", 1, torch.nn.Sigmoid())
    held.predict = lambda pair: [0.99]
    with pytest.raises(UsageError, match=r"the CrossEncoder answers 0\.99 to a sentence"):
        Classifier.of(held)


def _encoder(folder: Path) -> Path:
    tokenizer = tiny.wordpiece()
    model = transformers.BertModel(tiny.bert_config(tokenizer))
    return tiny.save(folder / "encoder", model, tokenizer)


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    encoder = Transformer(str(_encoder(tmp_path_factory.mktemp("setfit"))))
    return SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension())], device="cpu")


def setfit(body: Any, head: Any, answers: Any, normalise: bool = False, **options: Any) -> Any:
    from setfit import SetFitModel

    if not isinstance(head, torch.nn.Module):
        vectors = body.encode(TEXTS * 4, normalize_embeddings=normalise) * 5
        head.fit(vectors, answers)
    return SetFitModel(body, head, normalize_embeddings=normalise, **options)


def heads() -> dict[str, Any]:
    from setfit import SetFitHead
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.multioutput import MultiOutputClassifier

    many = [[0, 1], [1, 1], [1, 0]] * 4
    torch.manual_seed(0)
    return {
        "binary": (LogisticRegression(), [0, 1, 0] * 4, ("0", "1")),
        "names": (LogisticRegression(), ["bad", "good", "fair"] * 4, ("bad", "fair", "good")),
        "one or more": (OneVsRestClassifier(LogisticRegression()), many, ("LABEL_0", "LABEL_1")),
        "each": (MultiOutputClassifier(LogisticRegression()), many, ("LABEL_0", "LABEL_1")),
        "torch": (SetFitHead(16, 3, device="cpu"), None, ("LABEL_0", "LABEL_1", "LABEL_2")),
        "torch, many": (
            SetFitHead(16, 2, temperature=2.0, multitarget=True, device="cpu"),
            None,
            ("LABEL_0", "LABEL_1"),
        ),
    }


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("kind", ["binary", "names", "one or more", "each", "torch", "torch, many"])
def test_a_setfit_model_answers_as_before(body: Any, kind: str, normalise: bool) -> None:
    head, answers, labels = heads()[kind]
    held = setfit(body, head, answers, normalise)
    ours = Classifier.of(held)
    assert ours.labels == labels
    expected = torch.as_tensor(held.predict_proba(TEXTS))
    expected = expected[..., 1] if expected.dim() == 3 else expected
    for theirs, prediction in zip(expected.tolist(), ours.predict(TEXTS), strict=True):
        assert prediction.probabilities == pytest.approx(theirs, abs=1e-6)
    found = audit(ours, TEXTS, ["gi", "attnlrp", "cp_lrp"])
    assert found.passed, found.failures
    if kind == "binary":  # the two logits are the decision function, for and against
        decision = head.decision_function(held.encode(TEXTS)).tolist()
        contrasts = explain(held, TEXTS, "gi", target=("1", "0"))
        assert [each.logits[1] - each.logits[0] for each in contrasts] == pytest.approx(decision, abs=1e-5)


@pytest.mark.parametrize("kind", ["binary", "names", "one or more", "each"])
def test_a_sentence_transformer_and_a_head_of_scikit_learn(body: Any, kind: str) -> None:
    head, answers, labels = heads()[kind]
    head.fit(body.encode(TEXTS * 4) * 5, answers)
    ours = Classifier.of((body, head))
    assert ours.labels == labels
    expected = head.predict_proba(body.encode(TEXTS))
    if isinstance(expected, list):
        expected = torch.stack([torch.as_tensor(each)[:, 1] for each in expected], 1)
    for theirs, prediction in zip(expected.tolist(), ours.predict(TEXTS), strict=True):
        assert prediction.probabilities == pytest.approx(theirs, abs=1e-6)
    [explanation] = explain((body, head), TEXTS[2], "cp_lrp")
    assert explanation.completeness is not None
    assert explanation.completeness.is_exact


def test_labels_of_a_setfit_model(body: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    held = setfit(body, LogisticRegression(), [0, 1, 0] * 4, labels=["bad", "good"])
    assert Classifier.of(held).labels == ("bad", "good")
    assert [each.label for each in Classifier.of(held).predict(TEXTS)] == list(held.predict(TEXTS))


def test_heads_of_setfit_that_are_no_linear_layer_are_refused(body: Any) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.multioutput import ClassifierChain
    from sklearn.neighbors import KNeighborsClassifier

    many = [[0, 1], [1, 1], [1, 0]] * 4
    for head, answers in (
        (ClassifierChain(LogisticRegression()), many),
        (KNeighborsClassifier(), [0, 1, 0] * 4),
        (OneVsRestClassifier(LogisticRegression()), [0, 1, 2] * 4),
    ):
        with pytest.raises(UnsupportedModelError, match=f"found a {type(head).__name__} for its head"):
            explain(setfit(body, head, answers), TEXTS)
    with pytest.raises(UsageError, match="it makes vectors of texts"):
        explain(body, TEXTS)


def test_a_model_of_pages_says_that_it_was_not_told_where_words_stand() -> None:
    tokenizer = tiny.wordpiece()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.LayoutLMConfig(vocab_size=len(tokenizer), **sizes)
    model = transformers.LayoutLMForSequenceClassification(config).eval()
    with pytest.warns(MissingInputWarning, match=r"reads bbox too.*whybert.attribute takes them"):
        explain((model, tokenizer), "a film")
    inputs = dict(tokenizer(["a film"], return_tensors="pt"))
    inputs["bbox"] = torch.arange(16).reshape(1, 4, 4).sort().values
    assert torch.equal(attribute(model, inputs, "gi").logits, model(**inputs).logits)
