"""What of a target is explained: logit, probability, margin, entropy; and every class at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import models
import tiny
from commands import caller
from whybert import (
    METHODS,
    STANDARD,
    Attribution,
    Classifier,
    Explanation,
    TargetError,
    UnknownNameError,
    UsageError,
    attribute,
    explain,
    load,
)
from whybert.cli.explain import QuantityOption
from whybert.explanation import Explanations
from whybert.methods import GROUPS, Method, Question
from whybert.render.terminal import comparison, plain_text, terminal
from whybert.targets import QUANTITIES, Link, resolve, resolve_each

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
CURVED = [name for name, each in QUANTITIES.items() if not each.linear]
CASES = [
    (name, link) for name, each in QUANTITIES.items() for link in ("softmax", "sigmoid") if link in each.links
]
TARGET = [2, 0, 1]
LABELS = ("a", "b", "c")
SATURATED = torch.tensor([[25.0, 0.0, 1.0], [-5.0, 3.0, 25.0]], dtype=torch.float64)


def literal(name: str, link: str, logits: Tensor, index: Tensor) -> Tensor:
    """The textbook's formulas, row by row."""
    found = []
    for row, c in zip(logits, index.tolist(), strict=True):
        p = row.softmax(0) if link == "softmax" else row.sigmoid()
        others = [row[j] for j in range(len(row)) if j != c]
        match name:
            case "logit":
                value = row[c]
            case "probability":
                value = p[c]
            case "log_probability":
                value = p[c].log()
            case "margin":
                value = row[c] - torch.stack(others).max()
            case "entropy" if link == "softmax":
                value = -(p * p.log()).sum()
            case "entropy":
                value = -(p * p.log() + (1 - p) * (1 - p).log()).sum()
        found.append(value)
    return torch.stack(found)


def model_of(link: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    return models.make("bert", "sdpa", dtype, problem_type=SINGLE if link == "softmax" else MULTI)


def plain(model: nn.Module, batch: dict[str, Tensor], change: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The output of the embedding block and the logits of the plain model, to be differentiated."""
    seen: list[Tensor] = []

    def cut(module: Any, args: Any, output: Tensor) -> Tensor:
        seen.append((output.detach() + (0 if change is None else change)).requires_grad_())
        return seen[0]

    handle = model.base_model.embeddings.register_forward_hook(cut)
    logits = model(**batch).logits
    handle.remove()
    return seen[0], logits


# --- the numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "link"), CASES)
def test_output_and_seed_are_the_formula_and_its_derivative(name: str, link: Link) -> None:
    logits = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    target = resolve(TARGET, logits, LABELS, name, link)
    leaf = logits.clone().requires_grad_()
    expected = literal(name, link, leaf, target.index)
    (derivative,) = torch.autograd.grad(expected.sum(), leaf)
    for surroundings in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        with surroundings:
            torch.testing.assert_close(target.output(logits), expected.detach(), rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(target.seed(logits), derivative, rtol=1e-10, atol=1e-13)
    assert torch.autograd.gradcheck(target.output, (leaf,))
    assert target.is_linear == torch.allclose((derivative * logits).sum(1), expected.detach())


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_differences_of_two_classes(link: Link) -> None:
    """Row by row: where one has none, it is the number of its own class."""
    logits = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    likely = logits.softmax(1) if link == "softmax" else logits.sigmoid()
    pairs = [(2, 0), 1, (0, 1)]
    for name, numbers in (("logit", logits), ("probability", likely), ("log_probability", likely.log())):
        found = resolve(pairs, logits, LABELS, name, link)
        n = numbers
        expected = torch.stack([n[0, 2] - n[0, 0], n[1, 1], n[2, 0] - n[2, 1]])
        torch.testing.assert_close(found.output(logits), expected, rtol=1e-12, atol=1e-14)
        assert torch.autograd.gradcheck(found.output, (logits.clone().requires_grad_(),))
        chosen = found.select(torch.tensor([2, 0])).repeat(2)
        torch.testing.assert_close(chosen.output(logits[[2, 0, 2, 0]]), expected[[2, 0, 2, 0]])


def test_the_margin_is_to_the_largest_other_logit_at_those_logits() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0]])
    target = resolve(0, logits, LABELS, "margin")
    for changed, second in (([3.0, 1.0, 2.0], 2), ([3.0, 5.0, 2.0], 1)):
        other = torch.tensor([changed])
        assert target.output(other).tolist() == [3.0 - changed[second]]
        assert target.seed(other).tolist() == [[1.0 if i == 0 else -float(i == second) for i in range(3)]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CURVED)
def test_derivatives_keep_their_digits_where_a_probability_is_all_but_1(
    name: str, dtype: torch.dtype
) -> None:
    """1 - p is 1e-10 here: in float32 the softmax is exactly 1, and its derivative at the class exactly 0."""
    for row in SATURATED:
        logits = row[None].to(dtype)
        exact = logits.double()
        p = exact.softmax(1)
        for index in range(3):
            seed = resolve(index, logits, LABELS, name).seed(logits).double()
            odds = exact[0, index] - torch.cat([exact[0, :index], exact[0, index + 1 :]]).logsumexp(0)
            if name == "entropy":
                assert bool((seed != 0).any())
            else:
                expected = (-odds).sigmoid() * (p[0, index] if name == "probability" else 1)
                torch.testing.assert_close(seed[0, index], expected, rtol=1e-5, atol=0)
            assert float(seed.sum()) == pytest.approx(0, abs=1e-6 * float(seed.abs().max()))
            assert bool(torch.isfinite(seed).all())


# --- methods ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "link"), CASES)
def test_gradients_are_those_of_the_formula(name: str, link: str) -> None:
    """gi's relevance is E * dq/dE, gs's q * dq/dE, by autograd through the plain model and by differences."""
    model = model_of(link)
    batch = models.inputs(model)
    embedding, logits = plain(model, batch)
    q = literal(name, link, logits, torch.tensor(TARGET) if name != "entropy" else logits.argmax(1))
    (gradient,) = torch.autograd.grad(q.sum(), embedding)
    found = attribute(model, batch, ["gi:reduction=sum", "gs"], TARGET, quantity=name)
    gi, gs = found.values()
    torch.testing.assert_close(gi.relevance, embedding.detach() * gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gs.relevance, q[:, None, None].detach() * gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gi.output, q.detach(), rtol=1e-12, atol=1e-14)
    assert (gi.quantity, gs.quantity) == (name, name)
    direction = torch.randn(embedding.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    step = 1e-5
    index = gi.target
    with torch.no_grad():
        above, below = (
            literal(name, link, plain(model, batch, sign * step * direction)[1], index) for sign in (1, -1)
        )
    slope = (gi.relevance / embedding.detach() * direction).flatten(1).sum(1)
    torch.testing.assert_close((above - below) / (2 * step), slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "method", ["input_x_gradient", "attnlrp", "cp_lrp", "epsilon", "gamma", "alpha_beta", "decompx"]
)
@pytest.mark.parametrize(("name", "link"), CASES)
def test_relevance_is_that_of_the_classes_weighted_by_the_derivative(
    method: str, name: str, link: str
) -> None:
    """Exact: the sweep is linear in what it begins with."""
    model = model_of(link)
    batch = models.inputs(model)
    classes = [attribute(model, batch, method, c) for c in range(3)]
    found = attribute(model, batch, method, TARGET, quantity=name)
    leaf = found.logits.clone().requires_grad_()
    (weights,) = torch.autograd.grad(literal(name, link, leaf, found.target).sum(), leaf)
    expected = sum(weights[:, c, None] * each.scores for c, each in enumerate(classes))
    torch.testing.assert_close(found.scores, expected, rtol=1e-9, atol=1e-12)
    if QUANTITIES[name].linear and classes[0].biases is not None:
        biases = sum(weights[:, c] * each.biases for c, each in enumerate(classes))
        torch.testing.assert_close(found.biases, biases, rtol=1e-9, atol=1e-13)
        if method == "cp_lrp":
            torch.testing.assert_close(
                found.relevance_sum + found.biases, found.output, rtol=1e-9, atol=1e-12
            )


@pytest.mark.parametrize("name", QUANTITIES)
def test_no_sum_is_claimed_that_there_is_not(name: str) -> None:
    model = model_of("softmax")
    found = attribute(model, models.inputs(model), ["attnlrp", "cp_lrp", AgainstBaseline()], quantity=name)
    against = found.pop("against")
    assert against.complete
    torch.testing.assert_close(against.relevance_sum + against.biases, against.output)
    for each in found.values():
        assert each.complete == QUANTITIES[name].linear
        assert (each.relevance_sum is None) == (each.biases is None) == (not each.complete)


@dataclass(frozen=True)
class AgainstBaseline(Method):
    """The change of the output when all tokens go, on the first one: path and Shapley methods book so."""

    name: ClassVar[str] = "against"
    summary: ClassVar[str] = "the output and the output at the baseline"
    source: ClassVar[str] = "a test"
    kind: ClassVar[str] = "control"
    complete: ClassVar[bool] = True
    rest: ClassVar[str] = "baseline"

    def biases(self, question: Question) -> Tensor:
        return question.target.output(question.forward(at=torch.zeros_like).logits)

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        scores = torch.zeros(question.inputs["input_ids"].shape, dtype=torch.float64)
        scores[:, 0] = question.target.output(question.logits) - self.biases(question)
        return scores, None


def test_the_released_lrp_shares_out_only_what_is_a_sum_of_logits() -> None:
    model = model_of("softmax")
    batch = models.inputs(model)
    margin = attribute(model, batch, "lrp", TARGET, quantity="margin")
    second = [
        int(row.index_fill(0, torch.tensor(c), -99).argmax())
        for row, c in zip(margin.logits, TARGET, strict=True)
    ]
    contrast = attribute(model, batch, "lrp", list(zip(TARGET, second, strict=True)))
    torch.testing.assert_close(margin.scores, contrast.scores, rtol=1e-9, atol=1e-12)
    for name in CURVED:
        with pytest.raises(UsageError, match=f"the {name} is no sum of them; use quantity='logit'"):
            attribute(model, batch, "lrp", quantity=name)


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_batch_is_its_rows_and_padding_is_zero(name: str) -> None:
    model = model_of("softmax")
    batch = models.inputs(model)
    methods = [each for each in STANDARD if each != "lrp" or QUANTITIES[name].linear]
    together = attribute(model, batch, methods, TARGET, quantity=name)
    for row, target in enumerate(TARGET):
        length = int(batch["attention_mask"][row].sum())
        one = {key: value[row : row + 1, :length] for key, value in batch.items()}
        alone = attribute(model, one, methods, target, quantity=name)
        for spec, each in together.items():
            torch.testing.assert_close(
                each.scores[row, :length], alone[spec].scores[0], rtol=1e-8, atol=1e-12
            )
            assert not each.scores[row, length:].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CURVED)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """Finite, and not lost where the derivative is less than float16 holds: 1 - p is 1e-9 here."""
    model = model_of("softmax", torch.float32)
    batch = models.inputs(model, (6,))
    with torch.no_grad():
        logits = model(**batch).logits[0]
        model.classifier.bias += torch.tensor([20.0, 0.0, 0.0]) - logits
    methods = ["gi:reduction=sum", "attnlrp"]
    exact = attribute(model, batch, methods, 0, quantity=name)
    for spec, found in attribute(model.to(dtype), batch, methods, 0, quantity=name).items():
        expected = exact[spec].scores.double()
        assert 0 < float(expected.abs().max()) < 1e-6
        error = (found.scores.double() - expected).norm() / expected.norm()
        assert float(error) < 0.2


# --- every class --------------------------------------------------------------------------------------------


def assert_rows(found: Attribution, singles: list[Attribution], same: Callable[..., None]) -> None:
    """Row b * labels + c of what was found is row b of the explanation of class c."""
    for name in ("scores", "relevance", "logits", "target", "output", "biases"):
        parts = [getattr(each, name) for each in singles]
        if parts[0] is None:
            assert getattr(found, name) is None
            continue
        for c, part in enumerate(parts):
            same(getattr(found, name)[c :: len(singles)], part)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", ["logit", "probability"])
def test_every_class_is_what_each_is_alone(name: str, link: str) -> None:
    model = model_of(link)
    batch = models.inputs(model)
    methods = [each for each in STANDARD if each != "lrp" or name == "logit"]
    forwards: list[int] = []
    handle = model.base_model.embeddings.register_forward_hook(lambda *call: forwards.append(len(call[-1])))
    found = attribute(model, batch, methods, "all", quantity=name)
    handle.remove()
    assert forwards == [3]
    assert list(found) == methods
    for method in methods:
        singles = [attribute(model, batch, method, c, quantity=name) for c in range(3)]
        assert found[method].scores.shape == (9, 9)
        assert_rows(found[method], singles, torch.testing.assert_close)
        assert found[method].quantity == name
        assert found[method].relevance_sum is None or len(found[method].relevance_sum) == 9


def test_a_single_output_has_one_class() -> None:
    model = models.make("bert", num_labels=1)
    batch = models.inputs(model)
    assert_rows(attribute(model, batch, target="all"), [attribute(model, batch, target=0)], torch.equal)


def test_classes_share_what_is_asked_without_tokens() -> None:
    @dataclass(frozen=True)
    class LeaveOneOut(Method):
        name: ClassVar[str] = "one_out"
        summary: ClassVar[str] = "a test"
        source: ClassVar[str] = "a test"
        kind: ClassVar[str] = "perturbation"

        def attribute(self, question: Question) -> tuple[Tensor, None]:
            width = question.inputs["input_ids"].shape[1]
            outputs = question.outputs(torch.eye(width, dtype=torch.bool), "delete")
            return question.target.output(question.logits)[:, None] - outputs.T, None

    model = model_of("softmax")
    batch = models.inputs(model)
    rows: list[int] = []
    handle = model.base_model.embeddings.register_forward_hook(lambda *call: rows.append(len(call[-1])))
    single = [attribute(model, batch, LeaveOneOut(), c, quantity="probability") for c in range(3)]
    alone, rows[:] = sum(rows) / 3, []
    found = attribute(model, batch, LeaveOneOut(), "all", quantity="probability")
    handle.remove()
    assert sum(rows) == alone
    assert_rows(found, single, torch.testing.assert_close)


def test_a_label_named_all_is_that_label() -> None:
    logits = torch.zeros(2, 3)
    for labels in (("none", "all", "some"), ("none", "All", "some")):
        assert [each.index.tolist() for each in resolve_each("all", logits, labels)] == [[1, 1]]
    assert [each.index.tolist() for each in resolve_each("ALL", logits, LABELS)] == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(TargetError, match="expected one class, found 'all'"):
        resolve_each(["all", 0], logits, LABELS)


# --- what has no meaning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "name", "target", "message"),
    [
        (
            "identity",
            "probability",
            None,
            "the model has no probability: its answers are numbers; use quantity='l",
        ),
        ("identity", "entropy", None, "the model has no entropy: its answers are numbers"),
        ("sigmoid", "margin", 1, "the model has no margin: its labels do not exclude one another"),
        ("softmax", "margin", (0, 1), "a contrast of two classes has no margin; use quantity='logit'"),
        ("softmax", "entropy", [None, (0, 1)], "a contrast of two classes has no entropy"),
        ("softmax", "entropy", "all", "one number of all classes together; leave target='all' out"),
    ],
)
def test_what_a_target_does_not_have(link: Link, name: str, target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        resolve_each(target, torch.zeros(2, 3), LABELS, name, link)
    assert "\n" not in str(caught.value)


def test_unknown_quantities_and_numbers() -> None:
    model = models.make("bert", num_labels=1)
    batch = models.inputs(model)
    with pytest.raises(
        UnknownNameError, match=r"unknown quantity 'probabilty'; did you mean 'probability' or 'log_pro"
    ):
        attribute(model, batch, quantity="probabilty")
    with pytest.raises(TargetError, match="its answers are numbers"):
        attribute(model, batch, quantity="probability")


# --- texts --------------------------------------------------------------------------------------------------

TEXTS = ["the film was good and the actors were great", "a bad film", "good"]


def classifier_of(link: str, **options: Any) -> Classifier:
    tokenizer = tiny.wordpiece()
    kinds = {"softmax": (3, SINGLE), "sigmoid": (3, MULTI), "identity": (1, "regression")}
    count, kind = kinds[link]
    labels = dict(enumerate(["red", "green", "blue"][:count]))
    model = tiny.bert(tokenizer, num_labels=count, problem_type=kind, id2label=labels)
    return Classifier(model.double(), tokenizer, **options)


def assert_same(found: Explanation, expected: Explanation) -> None:
    assert found.scores == pytest.approx(expected.scores, rel=1e-10, abs=1e-13)
    for name in ("target", "quantity", "method", "options", "text", "prediction", "windows", "signed"):
        assert getattr(found, name) == getattr(expected, name)
    if expected.completeness is None:
        assert found.completeness is None
    else:
        assert found.completeness.logit == pytest.approx(expected.completeness.logit)
        assert found.completeness.relevance_sum == pytest.approx(expected.completeness.relevance_sum)


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("how", [{}, {"batch_size": 2}, {"long": "windows", "stride": 1}])
def test_every_class_of_a_text_after_the_other(link: str, how: dict[str, Any]) -> None:
    """Text by text and class by class, also where batches come out of order and a text is read in windows."""
    classifier = classifier_of(link, max_length=8 if "long" in how else None)
    quantity = "logit" if link == "identity" else "probability"
    methods = ["attnlrp", "gi:reduction=sum", AgainstBaseline()]
    found = explain(classifier, TEXTS[::-1], methods, "all", quantity=quantity, **how)
    labels = classifier.labels
    for spec, listed in found.items():
        method = next(each for each in methods if spec in (each, getattr(each, "spec", None)))
        singles = [explain(classifier, TEXTS[::-1], method, c, quantity=quantity, **how) for c in labels]
        expected = [single[i] for i in range(len(TEXTS)) for single in singles]
        assert [each.target.label for each in listed] == list(labels) * len(TEXTS)
        for one, other in zip(listed, expected, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("name", GROUPS["all"])
def test_every_method_with_a_probability(name: str) -> None:
    """It says that it cannot, or each class is as it is alone, and no sum is claimed that there is not."""
    classifier = classifier_of("sigmoid")
    fields = METHODS[name].__dataclass_fields__
    method = METHODS[name](
        **{key: value for key, value in {"samples": 12, "n_steps": 8}.items() if key in fields}
    )
    try:
        found = explain(classifier, TEXTS, method, "all", quantity="probability")
    except UsageError as error:
        said = str(error)
        found = Explanations()
    assert found or ("probability" in said and "use quantity='logit'" in said)
    for c, label in enumerate(classifier.labels if found else ()):
        for one, alone in zip(
            found[c::3], explain(classifier, TEXTS, method, label, quantity="probability"), strict=True
        ):
            assert_same(one, alone)
    for each in found:
        if each.completeness is not None:
            assert each.completeness.rest == "baseline"
            assert each.completeness.logit == pytest.approx(each.probabilities[each.target.index])


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [
        ("integrated_gradients:n_steps=64", 1e-3),
        ("exact_shapley", 1e-9),
        ("shapley_sampling:samples=2", 1e-9),
        ("partition_shap", 1e-9),
        ("kernel_shap", 1e-9),
    ],
)
def test_changes_from_a_baseline_sum_to_any_quantity(method: str, tolerance: float, name: str) -> None:
    [found] = explain(classifier_of("softmax"), TEXTS[1], method, "red", quantity=name)
    books = found.completeness
    assert books is not None
    logits = torch.tensor([found.logits], dtype=torch.float64)
    expected = literal(name, "softmax", logits, torch.tensor([0]))
    assert books.logit == pytest.approx(float(expected), rel=1e-9)
    assert sum(found.scores) == pytest.approx(books.relevance_sum)
    assert abs(books.remainder) < tolerance * max(map(abs, (books.relevance_sum, books.logit)))


def test_of_windows_the_mean_of_their_own_is_explained() -> None:
    classifier = classifier_of("softmax", max_length=8)
    [found] = explain(classifier, TEXTS[0], AgainstBaseline(), "red", long="windows", quantity="probability")
    assert len(found.windows) > 1
    assert found.completeness is not None
    own = [float(torch.tensor(each.logits).softmax(0)[0]) for each in found.windows]
    mean = sum(each.weight * p for each, p in zip(found.windows, own, strict=True))
    assert found.completeness.logit == pytest.approx(mean, abs=1e-6)
    assert found.completeness.open_share < 1e-9
    assert "= mean probability of the windows 0." in plain_text(terminal(found), 200)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_know_the_quantity(tmp_path: Path, suffix: str) -> None:
    found = explain(classifier_of("softmax"), TEXTS, target="all", quantity="log_probability")
    found.save(tmp_path / f"a.{suffix}")
    assert load(tmp_path / f"a.{suffix}") == found
    assert set(found.to_pandas()["quantity"]) == {"log_probability"}
    old = found[0].to_dict()
    del old["quantity"]
    assert Explanation.from_dict(old).quantity == "logit"


def test_a_function_of_texts_has_probabilities_and_no_logits() -> None:
    def function(texts: list[str]) -> list[list[float]]:
        return [[0.9, 0.1] if "bad" in text else [0.3, 0.7] for text in texts]

    classifier = Classifier.of(function)
    for quantity, change in (
        (None, 0.6),
        ("probability", 0.6),
        ("log_probability", math.log(3)),
        ("margin", math.log(9) - math.log(3 / 7)),
    ):
        first, second = explain(classifier, "a bad film", "occlusion", "all", quantity=quantity)
        assert first.words()[1].score == pytest.approx(change)
        assert first.quantity == second.quantity == (quantity or "probability")


def test_what_people_see() -> None:
    classifier = classifier_of("softmax")
    for quantity, said in (
        ("probability", "target probability of red"),
        ("log_probability", "target log-probability of red"),
        ("margin", "target margin of red"),
        ("entropy", "target entropy"),
    ):
        [found] = explain(classifier, TEXTS[0], "cp_lrp", "red", quantity=quantity)
        assert said in repr(found).replace("='", " ")
        assert said in plain_text(terminal(found), 200)
        assert said.replace("-", "{-}") in found.to_latex()
        assert said in found.to_html()
    assert "makes it less sure" in found.to_html()
    contrast = explain(classifier, TEXTS[0], AgainstBaseline(), ("red", "blue"), quantity="probability")[0]
    assert "= probability difference " in plain_text(terminal(contrast), 200)
    rows = explain(classifier, TEXTS[0], target="all")
    shown = plain_text(comparison(rows), 200)
    for row in rows:
        label = row.target.label
        assert f"attnlrp for {label}" in shown
        assert f"probability {row.probabilities[row.target.index]:.3f}" in shown
    page = rows.to_html()
    assert page.count("<section>") == 1
    assert page.count("<figure") == 3
    mixed = [*rows, *explain(classifier, TEXTS[0], target="all", quantity="margin")]
    assert "attnlrp for margin of" in plain_text(comparison(mixed), 200)


def test_at_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [each.value for each in QuantityOption] == list(QUANTITIES)
    classifier = classifier_of("sigmoid")
    model = str(tiny.save(tmp_path / "model", classifier.model.float(), classifier.tokenizer))
    run = caller(monkeypatch, capsys)
    line = ["explain", *TEXTS[:2], "--model", model, "--target", "all", "--method", "attnlrp,gi"]
    records = run(*line, "--quantity", "probability", "--format", "json").records
    expected = [(i, m, label) for i in (0, 1) for m in ("attnlrp", "gi") for label in classifier.labels]
    assert [(each["index"], each["method"], each["target"]["label"]) for each in records] == expected
    assert {each["quantity"] for each in records} == {"probability"}
    assert "gi for probability of" in run(*line, "--quantity", "probability").out
    assert "its labels do not exclude one another" in run(*line, "--quantity", "margin").err
