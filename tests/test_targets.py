"""What is explained: classes, labels and contrasts, for all rows or for each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import models
import tiny
from whybert import Classifier, TargetError, UnknownNameError, UsageError, attribute, explain
from whybert.targets import ResolvedTarget, label_names, resolve, several

LABELS = ("negative", "Neutral", "positive")
# Row 0 predicts 1, row 1 predicts 0, row 2 predicts 2.
LOGITS = torch.tensor([[0.5, 2.0, -1.0], [1.5, 0.25, 0.0], [-3.0, -2.0, -1.0]])


def found(target: Any) -> list[Any]:
    return resolve(target, LOGITS, LABELS).as_tensor().tolist()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, [1, 0, 2]),
        (2, [2, 2, 2]),
        (0, [0, 0, 0]),
        ("positive", [2, 2, 2]),
        ("POSITIVE", [2, 2, 2]),
        ("neutral", [1, 1, 1]),
        ((2, 0), [[2, 0]] * 3),
        (("positive", "negative"), [[2, 0]] * 3),
        (("Positive", 1), [[2, 1]] * 3),
        ([0, 1, 2], [0, 1, 2]),
        (["negative", 2, None], [0, 2, 2]),
        ([None, None, None], [1, 0, 2]),
        ([(0, 1), 2, None], [[0, 1], [2, -1], [2, -1]]),
        ([("positive", 0), (1, 2), (0, "neutral")], [[2, 0], [1, 2], [0, 1]]),
        (torch.tensor([2, 1, 0]), [2, 1, 0]),
        (torch.tensor([2, 1, 0], dtype=torch.int32), [2, 1, 0]),
        (torch.tensor([[2, 1], [0, 1], [1, 0]]), [[2, 1], [0, 1], [1, 0]]),
        ([torch.tensor(2), 1, 0], [2, 1, 0]),
    ],
    ids=str,
)
def test_what_may_be_written(target: Any, expected: list[Any]) -> None:
    assert found(target) == expected


def test_an_exact_label_goes_before_case() -> None:
    """Two labels that differ in case alone are both reachable, and a third spelling is ambiguous."""
    labels = ("pos", "POS", "x")
    assert resolve("POS", LOGITS, labels).index.tolist() == [1] * 3
    assert resolve("pos", LOGITS, labels).index.tolist() == [0] * 3
    with pytest.raises(TargetError, match=r"'Pos' names 2 labels: 0 \('pos'\), 1 \('POS'\); give the index"):
        resolve("Pos", LOGITS, labels)


def test_an_unknown_label_names_the_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown label 'positve'; did you mean 'positive'\?"):
        found("positve")
    with pytest.raises(UnknownNameError, match="known: negative, Neutral, positive"):
        found("zzz")
    with pytest.raises(KeyError):
        found(("positive", "zzz"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "from 0 to 2, found 3"),
        (-1, "from 0 to 2, found -1"),
        ((0, 3), "from 0 to 2, found 3"),
        (True, "an int or a label, found True"),
        ([True, False, True], "an int or a label, found True"),
        (torch.tensor([True, False, True]), "an int or a label, found True"),
        (1.0, "found float"),
        ([1.0, 0, 0], "found 1.0"),
        ((0,), r"two classes \(a, b\), found \(0,\)"),
        ((0, 1, 2), r"found \(0, 1, 2\)"),
        ((1, 1), "two different classes"),
        (("neutral", 1), "two different classes"),
        ([0, 1], "3 rows, found 2; a contrast of two classes is a tuple"),
        ([], "3 rows, found 0"),
        (torch.tensor([1, 2]), "3 rows, found 2"),
        (torch.tensor([[0, 1, 2]] * 3), "two classes"),
        (torch.zeros(3), "integers"),
        (torch.zeros(3, 2, 1, dtype=torch.long), "integers"),
        ({0: 1}, "found dict"),
        (object(), "found object"),
        ([[0, 1], [1, 0], [0, 2]], r"found \[0, 1\]"),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_what_may_not(target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        found(target)
    assert isinstance(caught.value, UsageError | ValueError)
    assert "\n" not in str(caught.value)


def test_output_and_seed() -> None:
    """The explained number, and its derivative by the logits."""
    mixed = resolve([1, (2, 0), (0, 1)], LOGITS, LABELS)
    assert mixed.output(LOGITS).tolist() == [2.0, 0.0 - 1.5, -3.0 + 2.0]
    assert mixed.seed(LOGITS).tolist() == [[0, 1, 0], [-1, 0, 1], [1, -1, 0]]
    logits = LOGITS.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(mixed.output(logits).sum(), logits)
    assert torch.equal(derivative, mixed.seed(LOGITS))


def test_label_names() -> None:
    assert label_names(SimpleNamespace(id2label={0: "a", 1: "b"}), 2) == ("a", "b")
    assert label_names(SimpleNamespace(id2label={"1": "b", "0": "a"}), 2) == ("a", "b")  # as JSON has them
    assert label_names(SimpleNamespace(id2label={0: "a"}), 3) == ("a", "LABEL_1", "LABEL_2")
    assert label_names(SimpleNamespace(id2label=None), 1) == ("LABEL_0",)
    assert label_names(None, 1) == ("LABEL_0",)


def test_rows_are_explained_by_their_own_target() -> None:
    """A mixed list through the whole engine: each row as if it had been asked for alone."""
    model = models.shared_model("bert")
    batch = models.inputs(model)
    wanted: list[Any] = [2, (0, 1), None]
    together = attribute(model, batch, target=wanted)
    assert together.target[:, 1].tolist() == [-1, 1, -1]
    for row, target in enumerate(wanted):
        alone = attribute(model, {k: v[row : row + 1] for k, v in batch.items()}, target=target)
        # The same float64 operations on a batch of another size: sums may be taken in another order.
        torch.testing.assert_close(together.scores[row], alone.scores[0], rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(together.output[row], alone.output[0], rtol=1e-12, atol=1e-14)


def test_labels_come_from_the_config() -> None:
    model = models.make("bert")
    model.config.id2label = dict(enumerate(LABELS))
    batch = models.inputs(model)
    by_name, by_index = attribute(model, batch, target="POSITIVE"), attribute(model, batch, target=2)
    assert torch.equal(by_name.scores, by_index.scores)
    with pytest.raises(UnknownNameError, match="did you mean 'positive'"):
        attribute(model, batch, target="positiv")


def test_a_contrast_is_the_difference_of_two_classes() -> None:
    """The modern rules are linear in the seed, so a contrast's relevance is a difference."""
    model = models.shared_model("bert", "sdpa")
    batch = models.inputs(model)
    for method in ("attnlrp", "cp_lrp"):
        a, b, contrast = (attribute(model, batch, method, t) for t in (0, 2, (0, 2)))
        assert contrast.relevance is not None
        assert a.relevance is not None
        assert b.relevance is not None
        # Linear in exact arithmetic; 1e-12 is rounding in float64.
        torch.testing.assert_close(contrast.relevance, a.relevance - b.relevance, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(contrast.output, a.output - b.output, rtol=1e-13, atol=1e-14)


def test_resolved_targets_do_not_compare_by_value() -> None:
    """They key a cache of gradients; equality of tensors would make that key an error."""
    index = torch.tensor([0])
    first, second = ResolvedTarget(index), ResolvedTarget(index)
    assert first == first
    assert first != second
    assert len({first, second}) == 2


@pytest.mark.parametrize(
    ("target", "index"),
    [
        (torch.tensor(2), [2, 2, 2]),
        (np.array(2), [2, 2, 2]),
        (np.int64(2), [2, 2, 2]),
        (np.array([0, 2, 1]), [0, 2, 1]),
        (np.array(["positive", "negative", "positive"]), None),
        ([np.int64(0), torch.tensor(2), 1], [0, 2, 1]),
    ],
    ids=str,
)
def test_numbers_of_other_packages(target: Any, index: list[int] | None) -> None:
    found = resolve(target, LOGITS, LABELS).index.tolist()
    assert found == (index or [LABELS.index(name) for name in target])


@pytest.mark.parametrize(
    "target", [np.array([0.0, 1.0, 2.0]), np.zeros((3, 2, 1), dtype=int), b"neutral"], ids=str
)
def test_arrays_that_are_no_targets(target: Any) -> None:
    with pytest.raises(TargetError):
        resolve(target, LOGITS, LABELS)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"positive", "negative"}, [0, 2]),
        (frozenset({2, "NEUTRAL", 1}), [1, 2]),
        ({("positive", "negative"), "positive", 0}, [0, 2, (2, 0)]),
        ({"neutral"}, [1]),
        ("all", [0, 1, 2]),
        (None, None),
        (1, None),
        (["positive", 0, None], None),
    ],
)
def test_a_set_is_several_classes_of_each_row(target: Any, expected: Any) -> None:
    assert several(target, LABELS) == expected


@pytest.mark.parametrize("target", [set(), {None}, {"all", 1}, {"none of them"}, {7}, {(1, 1)}])
def test_sets_that_are_no_targets(target: Any) -> None:
    with pytest.raises((TargetError, UnknownNameError)):
        several(target, LABELS)


def test_a_set_in_one_pass_is_its_classes_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.shared_model("bert")
    batch = models.inputs(model)
    calls = []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    found = attribute(model, batch, "cp_lrp", {2, (1, 0)})
    assert len(calls) == 1
    for place, target in enumerate([(1, 0), 2]):
        alone = attribute(model, batch, "cp_lrp", target)
        torch.testing.assert_close(found.scores[place::2], alone.scores, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.output[place::2], alone.output)
    with pytest.raises(TargetError, match="entropy"):
        attribute(model, batch, "gi", {0, 1}, quantity="entropy")
    with pytest.raises(TargetError, match="margin"):
        attribute(model, batch, "gi", {0, (1, 2)}, quantity="margin")


@pytest.mark.parametrize("long", ["truncate", "windows"])
def test_several_labels_of_a_multi_label_classifier(long: str) -> None:
    tokenizer = tiny.wordpiece()
    names = {0: "joy", 1: "anger", 2: "fear"}
    model = tiny.bert(tokenizer, id2label=names, problem_type="multi_label_classification")
    classifier = Classifier(model, tokenizer, max_length=8)
    texts = ["a film", "the film was good and the actors were great"]
    found = explain(classifier, texts, "cp_lrp", {"fear", "joy"}, long=long)
    assert [each.target.label for each in found] == ["joy", "fear"] * 2
    for place, label in enumerate(["joy", "fear"]):
        alone = explain(classifier, texts, "cp_lrp", label, long=long)
        for one, other in zip(found[place::2], alone, strict=True):
            assert one.scores == pytest.approx(other.scores, rel=1e-4, abs=1e-6)
            assert one.completeness is not None
            assert one.completeness.logit == pytest.approx(one.logits[one.target.index], abs=1e-5)
