"""The audit passes what is right, and finds what is not: broken models, each by the check that is for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForSequenceClassification

import tiny
import whybert
from commands import Run, caller, one_error
from test_borrowed import assert_unchanged, snapshot
from whybert import STANDARD, Classifier, audit
from whybert.auditing import CHECKS, Audit
from whybert.render.terminal import plain_text

ALL = tuple(STANDARD)


def classifier(dropout: Callable[[Tensor], Tensor] | None = None, **options: Any) -> Classifier:
    """A tiny BERT, in which something may stand between the pooled token and the last layer."""
    tokenizer = tiny.wordpiece(**options)
    model = tiny.bert(tokenizer)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2, generator=generator)
    if dropout is not None:
        model.dropout = Between(dropout)
    return Classifier(model, tokenizer)


class Between(nn.Module):
    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


def status(found: Audit) -> dict[tuple[str, str], str]:
    return {(check.name, check.method): check.status for check in found.checks}


def failed(found: Audit) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for check in found.failures:
        names.setdefault(check.name, set()).add(check.method)
    return names


def told(found: Audit, name: str, method: str) -> str:
    return next(check.explanation for check in found.checks if (check.name, check.method) == (name, method))


def test_a_model_that_is_explained_rightly() -> None:
    judged = classifier()
    before = snapshot(judged.model)
    found = audit(judged)
    assert_unchanged(before, snapshot(judged.model))
    assert found.passed, found.failures
    assert found.methods == ALL
    assert len(set(found.lengths)) == 3
    expected = {name: set(ALL) for name in CHECKS}
    expected |= {"books": {"attnlrp", "cp_lrp"}, "gradient": {"gs", "gi"}, "reads": {"lat"}}
    assert {(name, method) for name, methods in expected.items() for method in methods} == set(status(found))
    assert {key for key, value in status(found).items() if value != "ok"} == {("books", "attnlrp")}
    assert "starts at the first token" in told(found, "reads", "lat")


def test_the_figures_are_those_of_the_arithmetic() -> None:
    """In float64 nothing is left but its rounding."""
    judged = classifier()
    judged.model.double()
    found = {(check.name, check.method): check for check in audit(judged).checks}
    assert found["float64", "gi"].status == "skipped"
    for key in (("batch", "gi"), ("books", "cp_lrp"), ("batch", "attnlrp")):
        figure = found[key].figure
        assert figure is not None
        assert 0 < figure < 1e-12, key
    assert found["gradient", "gs"].figure < 1e-7  # type: ignore[operator]


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return gradient * torch.linspace(1.9, 2.1, gradient.shape[-1]).to(gradient)


def test_a_gradient_that_is_wrong_is_found_by_differences() -> None:
    found = audit(classifier(WrongGradient.apply))
    assert failed(found) == {"gradient": {"gs", "gi"}}
    for method in ("attnlrp", "cp_lrp"):  # rules follow what the function computes
        assert status(found)["served", method] == "ok"
    assert status(found)["served", "lrp"] == "refused"  # the released recursion reads the model's own calls
    assert status(found)["books", "cp_lrp"] == "ok"


def test_a_model_that_bends_at_long_steps_and_rounds_at_short_ones() -> None:
    """As T5 does, with its kinks and its roots in float32: only the steps between tell its gradient."""
    found = audit(classifier(lambda x: (x + (x * 350).sin() / 350).float().to(x)), methods=["gi"])
    assert not failed(found)


def test_a_model_that_answers_otherwise_each_time() -> None:
    calls = iter(range(10_000))
    found = audit(classifier(lambda x: x * (1 + 0.01 * next(calls))), methods=["gi", "lat", "attnlrp"])
    assert failed(found)["logits"] == {"gi", "lat", "attnlrp"}
    assert failed(found)["batch"] == {"gi", "attnlrp"}
    assert "otherwise each time" in told(found, "logits", "lat")


@pytest.mark.parametrize(("by", "fails"), [(0.0, False), (2e-7, False), (1e-4, True)])
def test_logits_that_are_not_the_models(by: float, fails: bool) -> None:
    """A model that computes otherwise where it is watched, as one does that asks for other kernels."""

    def change(x: Tensor) -> Tensor:
        return x * (1.0 + by * (torch._C._len_torch_function_stack() > 0))

    found = audit(classifier(change), methods="gi")
    check = next(check for check in found.checks if check.name == "logits")
    assert (check.status == "fail") == fails
    assert ("by rounding" in check.explanation) == (by == 2e-7)


def _filled(x: Tensor) -> Tensor:
    return x.masked_fill(torch.arange(x.shape[-1]) > 10, 0.7)


def _padded(x: Tensor) -> Tensor:
    return F.pad(x, (2, 0), value=0.7)[:, 2:] + F.pad(x[:, :-1], (1, 0), value=0.7)


def _chosen(x: Tensor) -> Tensor:
    return torch.where(torch.arange(x.shape[-1]) > 10, -0.7, x)


def _filled_in_place(x: Tensor) -> Tensor:
    return x.clone().masked_fill_(torch.arange(x.shape[-1]) > 10, 0.7)


@pytest.mark.parametrize("change", [_filled, _filled_in_place, _padded, _chosen])
def test_numbers_that_are_filled_in_are_in_the_books(change: Callable[[Tensor], Tensor]) -> None:
    found = audit(classifier(change), methods=["cp_lrp"])
    assert found.passed, found.failures


def test_where_relevance_is_lost_the_operation_is_named() -> None:
    judged = classifier(lambda x: x + x.softmax(-1))
    before = snapshot(judged.model)
    found = audit(judged, methods=["gi", "cp_lrp"])
    assert_unchanged(before, snapshot(judged.model))
    assert failed(found) == {"books": {"cp_lrp"}}
    assert "lost at torch.Tensor.softmax," in told(found, "books", "cp_lrp")


def test_padding_on_the_left_where_texts_of_one_length_share_a_batch() -> None:
    """As `explain` does it where padding would move the positions: nothing is padded, and all is well."""
    found = audit(classifier(padding_side="left"), methods=["gi", "cp_lrp"])
    assert found.passed, found.failures
    assert status(found)["padding", "gi"] == "skipped"


def test_padding_that_the_model_reads() -> None:
    left = tiny.wordpiece(padding_side="left")
    judged = Classifier(First(len(left)), left)  # type: ignore[arg-type]
    assert audit(judged, methods=["gi", "cp_lrp"]).passed  # texts of other lengths share no batch

    class Mean(First):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return super().forward(input_ids, torch.ones_like(attention_mask))

    tokenizer = tiny.wordpiece()
    judged = Classifier(Mean(len(tokenizer)), tokenizer)  # type: ignore[arg-type]
    found = audit(judged, methods=["gi", "cp_lrp"])
    assert found.passed
    assert told(found, "padding", "gi") == "the model reads padding, so texts of one length share a batch"
    judged = Classifier(Leaking(len(tokenizer)), tokenizer)  # type: ignore[arg-type]
    found = audit(judged, methods=["gi", "cp_lrp"])
    assert failed(found)["padding"] == {"gi", "cp_lrp"}
    assert audit(judged, "a single text", "gi").passed
    assert "batch_size=1" in told(found, "padding", "gi")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_weights_of_8_bits_are_refused_by_name() -> None:
    judged = classifier()
    quantized = torch.ao.quantization.quantize_dynamic(judged.model, {nn.Linear}, dtype=torch.qint8)
    found = audit(Classifier(quantized, judged.tokenizer))
    assert found.passed
    assert {key for key, value in status(found).items() if value == "refused"} == {
        ("served", method) for method in ALL
    }
    # no method is advised in place of another, for none can see through such a kernel
    assert all("gs, gi" not in check.explanation for check in found.checks if check.status == "refused")


class Bag(nn.Module):
    """Without attention: the mean of the words' vectors, and two layers."""

    def __init__(self, words: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(id2label={0: "no", 1: "yes"}, pad_token_id=0)
        self.embeddings = nn.Sequential(nn.Embedding(words, 8))
        self.dense, self.classifier = nn.Linear(8, 8), nn.Linear(8, 2)
        self.eval()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings[0]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        mask = attention_mask[:, :, None].to(self.dense.weight.dtype)
        mean = (self.embeddings(input_ids) * mask).sum(1) / mask.sum(1)
        return SimpleNamespace(logits=self.classifier(torch.tanh(self.dense(mean))))


class First(Bag):
    """Reads the first token, and whatever stands in its place."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        states = self.embeddings(input_ids)
        return SimpleNamespace(logits=self.classifier(torch.tanh(self.dense(states[:, 0] + states.mean(1)))))


class Leaking(Bag):
    """Reads of padding less than is seen by asking it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        states = self.embeddings(input_ids)
        mixed = states[:, 0] + 1e-6 * states.mean(1)
        return SimpleNamespace(logits=self.classifier(torch.tanh(self.dense(mixed))))


def test_a_model_without_attention() -> None:
    tokenizer = tiny.wordpiece()
    found = audit(Classifier(Bag(len(tokenizer)), tokenizer))  # type: ignore[arg-type]
    assert found.passed, found.failures
    assert status(found)["served", "lat"] == "refused"
    assert "no attention" in told(found, "served", "lat")
    assert status(found)["books", "cp_lrp"] == "ok"


def test_what_is_changed_is_named() -> None:
    """A method that leaves a trace on the model, as a hook that is not taken away does."""
    from whybert.methods.gradient import GradientTimesInput

    class Careless(GradientTimesInput):
        def attribute(self, question: Any) -> Any:
            question.model.bert.pooler.register_forward_hook(lambda *_: None)
            return super().attribute(question)

    found = audit(classifier(), methods=[Careless()])
    assert failed(found) == {"unchanged": {"gi"}}
    assert "module bert.pooler" in told(found, "unchanged", "gi")


def test_numbers_that_are_not_finite_fail() -> None:
    from whybert.methods.gradient import GradientTimesInput

    class Endless(GradientTimesInput):
        def attribute(self, question: Any) -> Any:
            scores, relevance = super().attribute(question)
            narrow = question.logits.dtype == torch.bfloat16
            return (scores * float("inf") if narrow else scores), relevance

    found = audit(classifier(), methods=[Endless()])
    assert failed(found) == {"bfloat16": {"gi"}}


def test_a_classifier_that_always_says_zero() -> None:
    judged = classifier()
    with torch.no_grad():
        judged.model.classifier.weight.zero_()
        judged.model.classifier.bias.zero_()
    constant = audit(judged, methods=["gs", "gi", "lat", "attnlrp", "cp_lrp"])
    assert constant.passed, constant.failures
    assert status(constant)["served", "lat"] == "refused"  # it cannot be told what the classifier reads


def test_own_texts_and_pairs() -> None:
    found = audit(classifier(), [("the film", "was good"), ("a b c d", "e f g h")], "attnlrp")
    assert found.passed
    assert found.lengths == (7, 11)
    alike = audit(classifier(), ["the film", "was good"], "gi:reduction=sum")
    assert status(alike)["padding", "gi:reduction=sum"] == "skipped"


@pytest.mark.slow
def test_the_built_in_model() -> None:
    pytest.importorskip("whybert.builtin")
    try:
        judged = Classifier.load("builtin")
    except whybert.MissingExtraError as error:
        pytest.skip(str(error))
    found = audit(judged)
    assert found.passed, found.failures
    assert "refused" not in status(found).values()


# --- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def test_the_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    judged = classifier()
    folder = str(tiny.save(tmp_path / "good", judged.model, judged.tokenizer))
    shown = run("audit", folder)
    assert shown.code == 0
    assert "nothing failed" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    for words in CHECKS.values():
        assert words in shown.out
    assert "ok lat: start of the trace is known: it starts at the first token" in shown.out
    assert "tokens + biases" not in run("audit", folder, "--method", "gi").out  # which it has no part in
    written = json.loads(run("audit", folder, "--method", "gi", "--text", "a film", "--format", "json").out)
    assert written["passed"] is True
    assert {check["method"] for check in written["checks"]} == {"gi"}
    assert written["lengths"] == [4]


def test_the_command_says_what_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.wordpiece()
    judged = Classifier(Leaking(len(tokenizer)), tokenizer)  # type: ignore[arg-type]
    monkeypatch.setattr(Classifier, "load", lambda *_, **__: judged)
    shown = run("audit", "leaking", "--method", "gi,lat")
    assert shown.code == 1
    assert "FAIL gi: padding gets nothing: a padding token's score is" in shown.out
    assert "refused lat: every operation has a rule: lat traces" in shown.out
    assert "1 of 9 checks failed; 1 of 2 methods refuse the model" in shown.out
    written = run("audit", "leaking", "--format", "json")
    assert written.code == 1
    assert json.loads(written.out)["passed"] is False
    one_error(run("audit", "leaking", "--method", "nothing"), 2, "nothing")


def test_what_cannot_be_asked_is_an_error() -> None:
    with pytest.raises(whybert.InputError, match="at least one text"):
        audit(classifier(), [])
    judged = classifier()
    with pytest.raises(whybert.UnsupportedModelError, match="train mode"):
        audit(Classifier(judged.model.train(), judged.tokenizer))
    with pytest.raises(whybert.NonFiniteError):
        audit(classifier(lambda x: x * float("inf")))


def rules(found: Audit, method: str) -> dict[str, tuple[int, str]]:
    return {each.kind: (each.count, each.rule) for each in found.rules if each.method == method}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_what_an_explanation_stands_on(attention: str) -> None:
    """A BERT of two layers: six linear layers each and two more, two norms each, a GELU each and a tanh."""
    own = classifier()
    own.model.config._attn_implementation = attention
    found = audit(own, methods=["gi", "attnlrp", "cp_lrp", "gamma", "lat"])
    assert found.passed
    assert found.point == "the output of bert.embeddings (BertEmbeddings)"
    expected = {
        "linear": (14, "derivative"),
        "activation": (3, "f(x) / x"),
        "layer_norm": (4, "constant deviation"),
        "product": (2, "one factor 0.5 and the other 0.5"),
        "attention_values": (2, "weights 0.5 and values 0.5"),
    }
    assert rules(found, "attnlrp") == expected
    assert rules(found, "cp_lrp") == expected | {"attention_values": (2, "weights constant and values 1")}
    assert rules(found, "gamma")["linear"] == (14, "Gamma(gamma=0.05)")
    assert rules(found, "gi") == rules(found, "lat") == {}
    books = {each.method: each.accounts for each in found.books}
    assert {method: len(each) for method, each in books.items()} == {"attnlrp": 3, "cp_lrp": 3, "gamma": 3}
    assert all(account.open_share < 1e-4 for account in books["cp_lrp"])
    written = json.loads(json.dumps(found.to_dict()))
    assert written["point"] == found.point
    assert len(written["rules"]) == len(found.rules)
    said = shown(found)
    for words in ("relevance is of the output of bert.embeddings", "14 linear layers: derivative", "sums"):
        assert words in said


def test_what_a_decoder_stands_on() -> None:
    tokenizer = tiny.wordpiece()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    model = LlamaForSequenceClassification(config).eval()
    found = audit((model, tokenizer), methods=["cp_lrp", "lrp"])
    assert found.passed
    assert found.point == "the input of the first layer, call 1 that makes something of model.embed_tokens"
    own = rules(found, "cp_lrp")
    assert own["quotient"] == (5, "numerator 1 and denominator constant")
    assert own["linear"] == (15, "derivative")
    assert own["attention_values"] == (2, "weights constant and values 1")
    assert "refused lrp" in shown(found)


def shown(found: Audit) -> str:
    return " ".join(plain_text(found, 200).split())
