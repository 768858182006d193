"""Functions of texts as classifiers: what they are asked, what is served, and what is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import tiny
from whybert import (
    METHODS,
    BlackBox,
    Classifier,
    TargetError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    attribute,
    audit,
    evaluate,
    explain,
)
from whybert.black_box import WordTokenizer
from whybert.evaluation.bench import EvaluationData
from whybert.methods import Method, Question
from whybert.methods.question import Unit

RANDOM = np.random.default_rng(0)
TEXTS = ["the film was good and the actors were great", "a bad film", "good"]


@dataclass(frozen=True)
class Left(Method):
    """The drop of the output without each unit."""

    name: ClassVar[str] = "left"
    summary: ClassVar[str] = "a test"
    source: ClassVar[str] = "a test"
    kind: ClassVar[str] = "perturbation"

    unit: Unit = "word"
    by: Literal["mask", "delete", "pad", "zero"] = "mask"

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        units = question.units(self.unit)
        kept = [~torch.eye(len(each), dtype=torch.bool) for each in units]
        whole = question.target.output(question.logits).cpu()
        drops = [whole[row] - found for row, found in enumerate(question.worth(kept, self.unit, self.by))]
        return question.spread([drop.tolist() for drop in drops], self.unit), None


@pytest.fixture
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer).double(), tokenizer)


def probabilities(classifier: Classifier) -> Callable[[list[Any]], Any]:
    """The plain model of transformers, which reads an empty text too."""

    def function(texts: list[Any]) -> Tensor:
        rows = [classifier.tokenizer(text, return_tensors="pt") for text in texts]
        return torch.cat([classifier.model(**row).logits.softmax(-1) for row in rows])

    return function


class Counter:
    """A function of texts that writes down what it was asked."""

    def __init__(self, labels: int = 2) -> None:
        self.labels = labels
        self.asked: list[list[Any]] = []

    def __call__(self, texts: list[Any]) -> np.ndarray:
        self.asked.append(list(texts))
        joined = [" ".join(text) if isinstance(text, tuple) else text for text in texts]
        scores = [
            [text.count(letter) / (1 + len(text)) for letter in "aeiou"[: self.labels]] for text in joined
        ]
        exponents = np.exp(scores)
        return exponents / exponents.sum(1, keepdims=True)

    @property
    def texts(self) -> list[Any]:
        return [text for batch in self.asked for text in batch]


# --- what it is asked --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "  The  film\twas GOOD , don't you\n think?  ",
        "good",
        "caf\u00e9 \u4f60\u597d \U0001f1e9\U0001f1ea \ud800 end",
        ("  one  text ", "\tand its pair . "),
    ],
)
def test_an_intact_text_is_asked_as_it_was_written(text: Any) -> None:
    function = Counter()
    [prediction] = Classifier.of(function, labels=["no", "yes"]).predict(text)
    assert function.texts == [text, text]  # once more to see that the answer is the same
    expected = function([text])[0]
    assert prediction.probabilities == pytest.approx(tuple(expected), abs=1e-15)
    assert prediction.label == ("no", "yes")[int(expected.argmax())]
    found = explain(BlackBox(function), text, Left())
    assert function.texts[-1] != text
    words = [token.text for token in found[0].tokens if not token.special]
    assert [word.text for word in found[0].words()] == words


@given(st.text(min_size=1), st.text())
def test_any_text_is_put_together_again(first: str, second: str) -> None:
    tokenizer = WordTokenizer("[MASK]")
    for row, text in zip(
        [*tokenizer.rows([first, second], None, None), *tokenizer.rows([first], [second], None)],
        [first, second, (first, second)],
        strict=True,
    ):
        columns = (row.features[name] for name in ("input_ids", "token_type_ids", "blanks"))
        assert tokenizer.text(*columns) == text


def test_words_are_left_out_with_their_blank_and_masked_in_their_place() -> None:
    text = " Don't  go, it was  bad. "
    wanted = {
        "delete": {"go, it was  bad.", "Don't, it was  bad.", "Don't  go it was  bad.", "Don't  go, it was."},
        "mask": {"[MASK]  go, it was  bad.", "Don't  go, [MASK] was  bad.", "Don't  go, it was  bad[MASK]"},
        "pad": {"go, it was  bad.", "Don't  go, it  bad."},
        "zero": {"go, it was  bad.", "Don't  go, it  bad."},
    }
    for by, texts in wanted.items():
        function = Counter()
        explain(BlackBox(function), text, Left(by=by))
        assert {f" {each} " for each in texts} <= set(function.texts)
        assert len(set(function.texts)) == 1 + 1 + 7  # the probe, the text, and each of its words gone
    function = Counter()
    explain(BlackBox(function, mask="..."), text, Left())
    assert " Don't  go, it ...  bad. " in function.texts
    function, deleted = Counter(), Counter()
    explain(BlackBox(function, mask=""), text, Left())
    explain(BlackBox(deleted), text, Left(by="delete"))
    assert function.texts == deleted.texts


def test_pairs_and_sentences() -> None:
    function = Counter()
    pair = ("One film. A good one.", "Is it good?")
    found = explain(
        BlackBox(function, labels=["a", "b"]), pair, [Left("sentence", "delete"), Left(by="delete")]
    )
    assert (" A good one.", "Is it good?") not in function.texts
    assert ("A good one.", "Is it good?") in function.texts
    assert ("One film.", "Is it good?") in function.texts
    assert ("One film. A good one.", "") in function.texts
    by_sentence = found["left:unit=sentence,by=delete"][0]
    assert len(by_sentence.sentences()) == 3


def test_it_is_asked_in_batches_and_once_about_what_is_equal() -> None:
    function = Counter()
    black_box = BlackBox(function, labels=["a", "b"], batch_size=4)
    explain(black_box, [*TEXTS, TEXTS[1]], [Left(), Left(by="delete")])
    assert max(map(len, function.asked)) <= 4
    intact, removed = function.texts[:5], function.texts[5:]
    assert sorted(intact) == sorted([*TEXTS, TEXTS[1], TEXTS[0]])  # the first once more
    assert len(removed) == len(set(removed)) == 2 * (9 + 3 + 1)


# --- what it answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor, lambda rows: torch.tensor(rows).float()])
def test_answers_of_any_kind(kind: Callable[[Any], Any]) -> None:
    classifier = Classifier.of(lambda texts: kind([[0.25, 0.75]] * len(texts)), labels=["no", "yes"])
    [prediction] = classifier.predict("a film")
    assert prediction.probabilities == pytest.approx((0.25, 0.75), abs=1e-7)
    assert prediction.logits == pytest.approx((np.log(0.25), np.log(0.75)), abs=1e-7)
    assert (classifier.labels, classifier.problem_type) == (("no", "yes"), "single_label_classification")
    assert classifier.is_black_box


def test_certain_answers_have_finite_logarithms() -> None:
    [prediction] = Classifier.of(lambda texts: [[0.0, 1.0]] * len(texts)).predict("a film")
    assert prediction.probabilities == pytest.approx((0.0, 1.0), abs=1e-14)
    assert prediction.logits[0] == pytest.approx(np.log(1e-15))
    [prediction] = Classifier.of(lambda texts: [[1.0]] * len(texts)).predict("a film")
    assert prediction.probabilities == pytest.approx((1.0,), abs=1e-14)


def test_labels_of_which_several_hold_and_numbers() -> None:
    def several(texts: list[str]) -> list[list[float]]:
        return [[0.9, 0.8, 0.1]] * len(texts)

    many = Classifier.of(BlackBox(several, ["a", "b", "c"], problem_type="multi_label_classification"))
    assert many.predict("a film")[0].probabilities == pytest.approx((0.9, 0.8, 0.1))
    one = Classifier.of(lambda texts: [[0.7]] * len(texts))
    assert one.predict("a film")[0].probabilities == pytest.approx((0.7,))
    assert one.problem_type == "multi_label_classification"
    stars = Classifier.of(BlackBox(lambda texts: [[4.5]] * len(texts), problem_type="regression"))
    assert stars.predict("a film")[0].logits == (4.5,)
    assert stars.is_regression
    unnamed = Classifier.of(lambda texts: [[0.2, 0.3, 0.5]] * len(texts))
    assert unnamed.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    with pytest.raises(UnknownNameError, match="unknown problem_type 'multi'"):
        Classifier.of(BlackBox(several, problem_type="multi"))


@pytest.mark.parametrize("by", ["mask", "delete"])
@pytest.mark.parametrize("target", [None, 1, (1, 0)])
def test_where_words_are_tokens_it_is_explained_like_its_model(
    classifier: Classifier, by: Any, target: Any
) -> None:
    """The model reads the mask in a text as its own; a token is a word of these texts."""
    black = explain(BlackBox(probabilities(classifier), ["n", "p"]), TEXTS, Left(by=by), target=target)
    for text, found in zip(TEXTS, black, strict=True):
        inputs = classifier.tokenizer(text, return_tensors="pt")
        white = attribute(
            classifier.model,
            inputs,
            Left("token", by),
            target,
            tokenizer=classifier.tokenizer,
            quantity="probability",
        )
        expected = white.scores[0, 1:-1].tolist()
        assert [word.score for word in found.words()] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert found.probabilities == pytest.approx(classifier.predict(text)[0].probabilities, rel=1e-12)


ASKS = sorted(name for name, method in METHODS.items() if not method().looks_inside and not method.given)


@pytest.mark.parametrize("name", ASKS)
def test_methods_that_only_ask_say_of_it_what_they_say_of_its_model(
    classifier: Classifier, name: str
) -> None:
    black_box = BlackBox(probabilities(classifier), ["negative", "positive"])
    black = explain(black_box, TEXTS[1:], name, target=1)
    white = explain(classifier, TEXTS[1:], name, target=1, quantity="probability")
    for one, other in zip(black, white, strict=True):
        assert [word.text for word in one.words()] == [word.text for word in other.words()]
        expected = [word.score for word in other.words()]
        if name == "random" or METHODS[name]().options.get("seed") is not None:
            assert all(math.isfinite(word.score) for word in one.words())  # drawn by the ids of the tokens
        else:
            assert [word.score for word in one.words()] == pytest.approx(expected, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("name", ["lime", "kernel_shap", "shapley_sampling", "sobol", "random"])
def test_what_is_drawn_does_not_depend_on_other_texts(name: str) -> None:
    """Neither on those beside it nor on those before it."""
    function = Counter()
    once = Classifier.of(BlackBox(function, ["a", "b"]))
    together = explain(once, TEXTS, name)
    for text, found in zip(TEXTS, together, strict=True):
        for asked in (once, BlackBox(function, ["a", "b"])):
            [alone] = explain(asked, text, name)
            expected = [word.score for word in found.words()]
            assert [word.score for word in alone.words()] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_sampled_methods_are_near_the_exact_values(classifier: Classifier) -> None:
    black_box = BlackBox(probabilities(classifier))
    exact = explain(black_box, TEXTS[1], "exact_shapley")[0].words()
    for name in ("kernel_shap", "shapley_sampling"):
        found = explain(black_box, TEXTS[1], name)[0].words()
        assert [w.score for w in found] == pytest.approx([w.score for w in exact], abs=0.003)


def test_evaluate_judges_it(classifier: Classifier) -> None:
    black_box = BlackBox(probabilities(classifier), ["negative", "positive"], "mine")
    data = EvaluationData("texts", tuple(TEXTS), (1, 0, 1))
    found = evaluate(black_box, data, methods=[Left()])
    white = evaluate(classifier, data, methods=[Left()])
    assert (found.model, found.methods) == ("mine", ("left", "random"))
    for metric in ("comprehensiveness", "sufficiency", "morf", "aopc", "naopc", "loo-kendall"):
        for one, other in zip(found.cell("random", metric), white.cell("random", metric), strict=True):
            assert one.value == pytest.approx(other.value, rel=1e-6, abs=1e-9, nan_ok=True)
    other = evaluate(BlackBox(Counter(), ["negative", "positive"], "mine"), data, methods=[Left()])
    assert other.settings["model_digest"] != found.settings["model_digest"]
    timed = evaluate(black_box, data, methods=[Left()], metrics=["cost"], limit=1)
    assert timed.cell("left", "seconds")[0].value > 0


def test_the_probability_is_explained_and_no_logit(classifier: Classifier) -> None:
    black_box = BlackBox(probabilities(classifier), ["n", "p"])
    by_default, named = (explain(black_box, TEXTS, Left(), quantity=each) for each in (None, "probability"))
    assert by_default == named
    assert {each.quantity for each in by_default} == {"probability"}
    for quantity in ("log_probability", "margin", "entropy"):
        black = explain(black_box, TEXTS, Left(), quantity=quantity)
        white = explain(classifier, TEXTS, Left(), quantity=quantity)
        for one, other in zip(black, white, strict=True):
            expected = [word.score for word in other.words()]
            assert [word.score for word in one.words()] == pytest.approx(expected, rel=1e-9, abs=1e-12)
            assert one.quantity == quantity
    with pytest.raises(TargetError, match="answers probabilities, and has no logits; use quantity='prob"):
        explain(black_box, TEXTS, Left(), quantity="logit")
    numbers = BlackBox(lambda texts: [[len(text)] for text in texts], problem_type="regression")
    [found] = explain(numbers, "a bad film", Left(by="delete"))
    assert [(word.text, word.score) for word in found.words()] == [("a", 2), ("bad", 4), ("film", 5)]
    assert found.quantity == "logit"


# --- what is refused ---------------------------------------------------------------------------------------


INSIDE = sorted(name for name, method in METHODS.items() if method().looks_inside and not method.given)


@pytest.mark.parametrize("name", INSIDE)
def test_methods_that_look_inside_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"^{name} needs the inside of a model") as caught:
        explain(Counter(), "a good film", name)
    assert "Counter is a function of texts; use a perturbation method" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_methods_that_look_inside_without_saying_so_are_refused_too() -> None:
    @dataclass(frozen=True)
    class Inside(Left):
        name: ClassVar[str] = "inside"

        def attribute(self, question: Question) -> tuple[Tensor, None]:
            return question.forward(at=lambda embedding: embedding + 1).embedding.sum(-1), None

    with pytest.raises(UnsupportedModelError, match=r"^inside needs the inside of a model"):
        explain(Counter(), "a good film", Inside())
    with pytest.raises(UnsupportedModelError, match=r"^an audit needs the inside of a model"):
        audit(Counter())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: [[0.5, 0.5]], r"numbers of shape \(3, 2\) from f, found \(1, 2\)"),
        (lambda texts: [[0.2, 0.3, 0.5]] * len(texts), r"numbers of shape \(3, 2\) from f, found \(3, 3\)"),
        (lambda texts: [0.5] * len(texts), r"found \(3,\); of the probability p of one of two labels make"),
        (lambda texts: ["no"] * len(texts), "expected numbers .* found .'no', 'no', 'no'.; return an array"),
        (lambda texts: [[0.5, float("nan")]] * len(texts), r"finite numbers from f, found \(0.5, nan\) for"),
        (lambda texts: [[3.0, -1.5]] * len(texts), r"from 0 to 1 from f, found \(3, -1.5\) for .*; make"),
        (lambda texts: [[0.9, 0.8]] * len(texts), "sum to 1 from f, .* problem_type='multi_label"),
        (lambda texts: RANDOM.dirichlet([1, 1], len(texts)), "f answers .* and then .*: it is r"),
        (lambda texts: [[0.5, 0.5]] if len(texts) == 1 else 1 / 0, "f fails on 3 texts, and on none of them"),
        (lambda texts: [[1.0, 0.0] for t in texts if t != "good" or 1 / 0], "f fails on 'good': ZeroDivis"),
    ],
)  # fmt: skip
def test_answers_that_are_none(answer: Callable[[list[str]], Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        Classifier.of(BlackBox(answer, ["no", "yes"], "f")).predict(TEXTS)
    assert "\n" not in str(caught.value)


def test_what_is_no_function_of_texts(classifier: Classifier) -> None:
    with pytest.raises(UsageError, match="found 3; a model of torch needs its tokenizer"):
        BlackBox(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a model of torch needs its tokenizer"):
        BlackBox(classifier.model)
    with pytest.raises(UsageError, match="batch_size to be a whole number of at least 1, found 0"):
        BlackBox(Counter(), batch_size=0)
    with pytest.raises(UsageError, match="mask to be text, found None"):
        BlackBox(Counter(), mask=None)  # type: ignore[arg-type]
    for value in (classifier, BlackBox(Counter()), classifier.model, "builtin"):
        with pytest.raises(UsageError, match=r"labels are of a function of texts, and .* says its own"):
            Classifier.of(value, labels=["a", "b"])

    class Sklearn:
        def predict_proba(self, texts: list[str]) -> None:
            """Never called."""

    with pytest.raises(UsageError, match=r"found Sklearn; pass its function of a list of texts: it\.p"):
        Classifier.of(Sklearn())
    made = Classifier.of(Counter())
    with pytest.raises(UsageError, match="reads each text as a whole; leave max_length out"):
        Classifier(made.model, made.tokenizer, 3).predict("a film")
