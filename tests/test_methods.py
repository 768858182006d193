"""The methods: names, options and inputs, several at once, and what each one computes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor, nn
from transformers import (
    BatchEncoding,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
)

import models
import oracles
from models import Toy, inputs, make, shared_model
from whybert import (
    METHODS,
    STANDARD,
    InputError,
    NonFiniteError,
    TargetError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    attribute,
)
from whybert.interception import AttentionInputs
from whybert.methods import create, create_all
from whybert.methods.base import reduce_hidden

ALL = STANDARD


@pytest.fixture
def model() -> nn.Module:
    return shared_model("bert", "sdpa")


@pytest.fixture
def batch(model: nn.Module) -> dict[str, Tensor]:
    return inputs(model)


# --- names and options ------------------------------------------------------------------------------------


def test_names() -> None:
    assert ALL == ("gs", "gi", "lrp", "lat", "attnlrp", "cp_lrp")
    for name, method in METHODS.items():
        assert method.name == name
        assert method.summary
        assert method.source
    with pytest.raises(TypeError):
        METHODS["new"] = METHODS["gs"]  # type: ignore[index]


@pytest.mark.parametrize("written", ["cp_lrp", "CP-LRP", " cp-lrp ", "Cp_Lrp"])
def test_names_as_people_write_them(written: str) -> None:
    assert create(written, {}).name == "cp_lrp"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("atnlrp", {}, r"unknown method 'atnlrp'; did you mean 'attnlrp'"),
        ("zzz", {}, "unknown method 'zzz'; known: gs, gi, lrp, lat, attnlrp, cp_lrp"),
        ("lrp", {"residuals": "once"}, "unknown option of lrp 'residuals'; did you mean 'residual'"),
        ("lrp", {"residual": "onec"}, "unknown residual of lrp 'onec'; did you mean 'once'"),
        ("gi", {"reduction": "abs"}, "unknown reduction of gi 'abs'; did you mean 'absolute'"),
        ("gs", {"reduction": "sum"}, "unknown option of gs 'reduction'; none are known"),
        ("attnlrp", {"alpha": 1.0}, "unknown option of attnlrp 'alpha'; none are known"),
    ],
    ids=str,
)
def test_unknown_names(
    name: str, options: dict[str, Any], message: str, model: nn.Module, batch: dict[str, Tensor]
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        attribute(model, batch, name, **options)


@pytest.mark.parametrize(
    "alpha",
    ["x", "0.5", None, math.nan, math.inf, -0.1, 1.1, True, 10**400, [0.5], torch.tensor(0.5)],
    ids=str,
)
def test_alpha_is_a_number_from_0_to_1(alpha: Any, model: nn.Module, batch: dict[str, Tensor]) -> None:
    with pytest.raises(UsageError, match=r"alpha of lrp (to be a number|of at least 0 and of at most 1), "):
        attribute(model, batch, "lrp", alpha=alpha)


@pytest.mark.parametrize("method", [None, 3, ["gs", 3], [None], []], ids=str)
def test_methods_that_are_no_names(method: Any, model: nn.Module, batch: dict[str, Tensor]) -> None:
    with pytest.raises(UsageError, match="method"):
        attribute(model, batch, method)


def test_methods_are_values() -> None:
    assert create("lrp", {"alpha": 0.25}) == create("lrp", {"alpha": 0.25}) != create("lrp", {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        create("lrp", {}).alpha = 1.0  # type: ignore[attr-defined]
    assert create("lrp", {"residual": "once"}).options == {
        "residual": "once", "reduction": "absolute", "alpha": 0.5,
    }  # fmt: skip


def test_signs() -> None:
    signed = {name: create(name, {}).is_signed for name in ALL}
    assert signed == {
        "gs": False, "gi": False, "lrp": False, "lat": False, "attnlrp": True, "cp_lrp": True,
    }  # fmt: skip
    assert create("gi", {"reduction": "sum"}).is_signed
    assert create("lrp", {"reduction": "sum"}).is_signed
    assert not create("gi", {"reduction": "absolute"}).is_signed


# --- several at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "attention"), [("bert", "sdpa"), ("bert", "eager"), ("albert", "eager"),
                                                   ("deberta-v2", "eager")])  # fmt: skip
def test_several_methods_equal_single_calls(family: str, attention: str) -> None:
    model = shared_model(family, attention)
    batch = inputs(model)
    together = attribute(model, batch, ALL, target=[0, (1, 2), None])
    assert tuple(together) == ALL
    for name, found in together.items():
        alone = attribute(model, batch, name, target=[0, (1, 2), None])
        assert found.method == alone.method == name
        assert found.options == alone.options
        assert torch.equal(found.logits, alone.logits)
        assert torch.equal(found.target, alone.target)
        # The same forward pass to the bit; backward, a derivative may come from whybert's closed form where
        # other methods share the pass, and from torch where they do not.  `lrp` amplifies rounding (see
        # test_families.tolerance).
        bound = 1e-6 if name == "lrp" else 1e-11
        torch.testing.assert_close(found.scores, alone.scores, rtol=bound, atol=bound)


def test_they_share_one_forward_pass(model: nn.Module, batch: dict[str, Tensor]) -> None:
    calls: list[nn.Module] = []
    counted = make("bert", "sdpa")
    counted.bert.register_forward_hook(lambda module, *_: calls.append(module))
    attribute(counted, batch, ALL)
    assert len(calls) == 1
    attribute(counted, batch, "lat")
    assert len(calls) == 2


def test_gs_and_gi_share_one_sweep(monkeypatch: pytest.MonkeyPatch, model: nn.Module, batch: Any) -> None:
    sweeps = []
    original = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: sweeps.append(1) or original(*a, **k))
    attribute(model, batch, ["gs", "gi"])
    assert len(sweeps) == 1
    attribute(model, batch, "lat")  # down to the last hidden states, to see what the head reads
    assert len(sweeps) == 2


def test_options_go_to_the_methods_that_have_them(model: nn.Module, batch: dict[str, Tensor]) -> None:
    found = attribute(model, batch, ["gs", "gi", "lrp"], reduction="sum", residual="once")
    assert list(found) == ["gs", "gi:reduction=sum", "lrp:residual=once,reduction=sum"]
    for spec, options in zip(
        found,
        ({}, {"reduction": "sum"}, {"residual": "once", "reduction": "sum", "alpha": 0.5}),
        strict=True,
    ):
        assert found[spec].options == options
        assert found[spec].method == spec.partition(":")[0]
        alone = attribute(model, batch, found[spec].method, **options)
        torch.testing.assert_close(found[spec].scores, alone.scores)
    with pytest.raises(UnknownNameError, match="unknown option of gs, gi 'residual'"):
        create_all(["gs", "gi"], {"residual": "once"})
    with pytest.raises(
        UsageError, match=r"expected alpha of lrp once, found it in 'lrp:alpha=0\.2' and beside"
    ):
        create_all(["lrp:alpha=0.2"], {"alpha": 0.3})
    with pytest.raises(UnknownNameError, match="unknown option of methods that are objects 'reduction'"):
        create_all([METHODS["gi"]()], {"reduction": "sum"})


def test_two_variants_of_one_method_share_a_forward_pass(batch: dict[str, Tensor]) -> None:
    """Each by its own rules: two tables of one name must not be taken for one another."""
    counted = make("bert", "sdpa")
    calls: list[nn.Module] = []
    counted.bert.register_forward_hook(lambda module, *_: calls.append(module))
    specs = ["gi", "gi:reduction=sum", "lrp:residual=once", "lrp:residual=once,alpha=1", "lrp:alpha=0"]
    found = attribute(counted, batch, [specs[0], create(specs[1]), *specs[2:]])
    assert list(found) == specs
    assert len(calls) == 1
    for spec in specs:
        alone = attribute(counted, batch, spec)
        torch.testing.assert_close(found[spec].scores, alone.scores, rtol=1e-6, atol=1e-9)
    assert not torch.allclose(found[specs[2]].scores, found[specs[3]].scores, rtol=1e-2)


@pytest.mark.parametrize("names", [["gs", "gs"], ["attnlrp", "AttnLRP"], ["cp-lrp", "gi", "cp_lrp"]], ids=str)
def test_duplicates_are_refused(names: list[str], model: nn.Module, batch: dict[str, Tensor]) -> None:
    with pytest.raises(UsageError, match="each method once"):
        attribute(model, batch, names)


def test_a_list_of_one_is_a_dict_of_one(model: nn.Module, batch: dict[str, Tensor]) -> None:
    found = attribute(model, batch, ["lat"])
    assert list(found) == ["lat"]
    assert torch.equal(found["lat"].scores, attribute(model, batch, "lat").scores)


# --- what they compute --------------------------------------------------------------------------------------


def test_reductions() -> None:
    relevance = torch.tensor([[[3.0, -4.0], [0.0, 2.0]]])
    assert reduce_hidden(relevance, "sum").tolist() == [[-1.0, 2.0]]
    assert reduce_hidden(relevance, "absolute").tolist() == [[7.0, 2.0]]
    assert reduce_hidden(relevance, "squared_norm").tolist() == [[25.0, 4.0]]
    # 300^2 is beyond half precision, and so is a long sum.
    half = torch.full((1, 1, 4), 300.0, dtype=torch.float16)
    assert reduce_hidden(half, "squared_norm").tolist() == [[360000.0]]
    assert reduce_hidden(half, "sum").dtype == torch.float32
    assert reduce_hidden(relevance.double(), "sum").dtype == torch.float64


@pytest.mark.parametrize("name", ALL)
def test_the_fields_of_an_attribution(name: str, model: nn.Module, batch: dict[str, Tensor]) -> None:
    for target in (1, (2, 0)):
        found = attribute(model, batch, name, target)
        assert found.method == name
        assert found.signed == create(name, {}).is_signed
        assert found.scores.dtype == torch.float64
        expected = found.logits[:, 1] if target == 1 else found.logits[:, 2] - found.logits[:, 0]
        torch.testing.assert_close(found.output, expected, rtol=1e-14, atol=1e-15)
        if name in ("attnlrp", "cp_lrp", "lrp"):
            assert found.complete
            assert found.relevance is not None
            torch.testing.assert_close(found.relevance_sum, found.relevance.sum((1, 2)))
        else:
            assert not found.complete
            assert found.relevance_sum is None
        assert (found.relevance is None) == (name == "lat")
        for tensor in (found.scores, found.logits, found.target, found.output):
            assert not tensor.requires_grad
            assert tensor.grad_fn is None


def test_relevance_sums_in_float32_for_half_models() -> None:
    model = shared_model("bert", "sdpa", torch.bfloat16)
    found = attribute(model, inputs(model))
    assert found.relevance_sum is not None
    assert found.relevance_sum.dtype == torch.float32


def test_scores_are_reductions_of_relevance(model: nn.Module, batch: dict[str, Tensor]) -> None:
    reductions = {
        "gs": "squared_norm",
        "gi": "squared_norm",
        "lrp": "absolute",
        "attnlrp": "sum",
        "cp_lrp": "sum",
    }
    by_hand = {
        "sum": lambda r: r.sum(2),
        "absolute": lambda r: r.abs().sum(2),
        "squared_norm": lambda r: r.norm(dim=2) ** 2,
    }
    for name, reduction in reductions.items():
        found = attribute(model, batch, name)
        torch.testing.assert_close(found.scores, by_hand[reduction](found.relevance), rtol=1e-12, atol=1e-15)
    for name in ("gi", "lrp"):
        for reduction, function in by_hand.items():
            found = attribute(model, batch, name, reduction=reduction)
            torch.testing.assert_close(found.scores, function(found.relevance), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_lat_head_by_head(attention: str) -> None:
    model = shared_model("bert", attention)
    batch = inputs(model, (7, 4))
    found = attribute(model, batch, "lat")
    bert = oracles.Bert(model.state_dict(), model.config.num_attention_heads, model.config.layer_norm_eps)
    for row, length in enumerate((7, 4)):
        expected = bert.lat(bert.forward(bert.embed(batch["input_ids"][row, :length])))
        torch.testing.assert_close(found.scores[row, :length], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("mask", ["none", "boolean", "float", "causal"])
@pytest.mark.parametrize("key_heads", [4, 2], ids=["one-to-one", "grouped"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_weights_of_fused_attention(mask: str, key_heads: int, scale: float | None) -> None:
    """With the identity for values, fused attention returns its own weights."""
    query = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    key = torch.randn(2, key_heads, 5, 3, dtype=torch.float64)
    values = torch.eye(5, dtype=torch.float64).expand(2, key_heads, 5, 5)
    allowed = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.bool)[:, None, None]
    given = {
        "boolean": allowed,
        "float": 0.5 * allowed.double() - 1e300 * (~allowed).double(),
    }.get(mask)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, values, given, is_causal=mask == "causal", scale=scale, enable_gqa=key_heads != 4
    )
    taken = AttentionInputs(query, key, given, mask == "causal", 3**-0.5 if scale is None else scale)
    torch.testing.assert_close(taken.weights(), expected, rtol=1e-12, atol=1e-14)  # rounding in float64


def test_lat_does_not_depend_on_the_target(model: nn.Module, batch: dict[str, Tensor]) -> None:
    first, second = (attribute(model, batch, "lat", target) for target in (0, (1, 2)))
    assert torch.equal(first.scores, second.scores)
    assert not torch.equal(first.output, second.output)


def test_lat_needs_attention() -> None:
    with pytest.raises(UnsupportedModelError, match="no attention was found"):
        attribute(Toy(), {"input_ids": torch.tensor([[1, 2]])}, "lat")


def test_gradient_methods_are_seeded_with_the_logit() -> None:
    """Twice the last layer is twice the logit and twice its derivative: 4 in the relevance, 16 in the
    square.  A seed of 1 would give 2 and 4."""
    model = make("bert", "sdpa")
    batch = inputs(model)
    before = attribute(model, batch, ["gs", "gi", "attnlrp", "lrp"], target=1)
    with torch.no_grad():
        model.classifier.weight.mul_(2.0)
        model.classifier.bias.mul_(2.0)
    after = attribute(model, batch, ["gs", "gi", "attnlrp", "lrp"], target=1)
    # Powers of 2 are exact; `lrp` is linear in R but for its stabilisers of 1e-7.
    assert torch.equal(after["gs"].scores, 16 * before["gs"].scores)
    assert torch.equal(after["gi"].scores, 16 * before["gi"].scores)
    assert torch.equal(after["attnlrp"].scores, 2 * before["attnlrp"].scores)
    torch.testing.assert_close(after["lrp"].scores, 2 * before["lrp"].scores, rtol=1e-3, atol=1e-6)


def test_a_contrast_starts_lrp_with_both_logits() -> None:
    """R is y at the class and -y at the one it is held against."""
    model = shared_model("bert", "sdpa")
    batch = inputs(model, (4,))
    found = attribute(model, batch, "lrp", (0, 2), residual="once")
    bert = oracles.Bert(model.state_dict(), 4, model.config.layer_norm_eps)
    trace = bert.forward(bert.embed(batch["input_ids"][0]))
    seed = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    expected = bert.released(trace, seed, residual="once")
    torch.testing.assert_close(found.relevance[0], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_against_captum(family: str) -> None:
    """captum's gradient (x activation) at the embedding block; the released scores are of y times it."""
    model = shared_model(family, "eager")
    batch = inputs(model)
    target = torch.tensor([0, 2, 1])

    def logits(ids: Tensor, mask: Tensor) -> Tensor:
        return model(input_ids=ids, attention_mask=mask).logits

    for method, multiply in (
        ("gs", False),
        ("gi", True),
        ("gi:reduction=absolute", True),
        ("gi:reduction=sum", True),
    ):
        captum = LayerGradientXActivation(logits, model.base_model.embeddings, multiply_by_inputs=multiply)
        expected = captum.attribute(
            batch["input_ids"], target=target, additional_forward_args=(batch["attention_mask"],)
        )
        found = attribute(model, batch, method, target)
        assert found.relevance is not None
        if not found.signed:
            expected = expected * found.output[:, None, None]
        # The same derivative, by the same torch, in float64.
        torch.testing.assert_close(found.relevance, expected.detach(), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found.scores, expected.detach().sum(-1), rtol=1e-10, atol=1e-13)


def test_signed_scores_do_not_turn_round_with_the_logit(model: nn.Module) -> None:
    """Another bias of the head moves the logit and no derivative, so it changes no signed score."""
    changed = make("bert", "sdpa")
    batch = inputs(changed)
    with torch.no_grad():
        changed.classifier.bias.add_(5.0)
        above = attribute(changed, batch, "gi:reduction=sum", 1)
        changed.classifier.bias.sub_(10.0)
        below = attribute(changed, batch, "gi:reduction=sum", 1)
    assert bool((above.output > 0).all() & (below.output < 0).all())
    assert torch.equal(above.scores, below.scores)


@pytest.mark.parametrize("words", [3, 5])
def test_shapley_values_of_a_linear_model(words: int) -> None:
    """For a model that is linear in the embeddings, AttnLRP, CP-LRP and gradient x input are the exact
    Shapley values of the tokens, beside embeddings of zero."""
    model = Toy()
    ids = torch.tensor([[7, 9, 2, 30, 11, 0, 0][: words + 2]])
    mask = torch.ones_like(ids)
    mask[0, words:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    embedding = model.embeddings.words(ids).detach()

    for target, weights in ((1, [0.0, 1.0]), ((0, 1), [1.0, -1.0])):

        def value(present: frozenset[int], weights: list[float] = weights) -> float:
            kept = [embedding[0, i] if i in present else torch.zeros(6).double() for i in range(words)]
            logits = model.head(sum(kept[1:], kept[0]) / words)
            return float(logits.detach() @ torch.tensor(weights).double())

        expected = torch.tensor(oracles.shapley(value, words), dtype=torch.float64)
        for method in ("attnlrp", "cp_lrp"):
            found = attribute(model, batch, method, target)
            torch.testing.assert_close(found.scores[0, :words], expected, rtol=1e-11, atol=1e-14)
            assert not found.scores[0, words:].any()
        found = attribute(model, batch, "gi", target, reduction="sum")
        torch.testing.assert_close(found.scores[0, :words], expected, rtol=1e-11, atol=1e-14)


def test_shapley_by_hand() -> None:
    """The twin itself: a product of two players is shared in halves, a sum is not shared."""
    assert oracles.shapley(lambda s: float({0, 1} <= s), 2) == [0.5, 0.5]
    assert oracles.shapley(lambda s: 3.0 * (0 in s) + 1.0 * (2 in s), 3) == pytest.approx([3.0, 0.0, 1.0])


# --- inputs ------------------------------------------------------------------------------------------------


def test_inputs_as_people_have_them(model: nn.Module, batch: dict[str, Tensor]) -> None:
    expected = attribute(model, batch).scores
    lists = {name: tensor.tolist() for name, tensor in batch.items()}
    extra = {
        **batch,
        "labels": torch.tensor([0, 1, 2]),
        "offset_mapping": torch.zeros(3, 9, 2),
        "special_tokens_mask": batch["attention_mask"],
        "overflow_to_sample_mapping": torch.arange(3),
        "token_type_ids": None,
    }
    integers = {name: tensor.int() for name, tensor in batch.items()}
    boolean = {**batch, "attention_mask": batch["attention_mask"].bool()}
    for written in (lists, BatchEncoding(batch), BatchEncoding(lists), extra, integers, boolean):
        assert torch.equal(attribute(model, written).scores, expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "expected input_ids among the inputs, found none"),
        ({"attention_mask": [[1, 1]]}, "expected input_ids among the inputs, found attention_mask"),
        ({"inputs_embeds": torch.zeros(1, 2, 32)}, "expected input_ids, found inputs_embeds"),
        ({"input_ids": [[5, 6]], "inputs_embeds": torch.zeros(1, 2, 32)}, "found inputs_embeds"),
        ({"input_ids": [5, 6, 7]}, r"shape \(batch, seq\), found \(3,\)"),
        ({"input_ids": torch.zeros(1, 2, 3, dtype=torch.long)}, r"shape \(batch, seq\), found \(1, 2, 3\)"),
        ({"input_ids": [[5, 6], [7]]}, "padding=True"),
        ({"input_ids": "text"}, "found str"),
        ({"input_ids": torch.zeros(0, 4, dtype=torch.long)}, r"found \(0, 4\)"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.long)}, r"found \(2, 0\)"),
        ({"input_ids": [[5.0, 6.0]]}, "integers, found torch.float32"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.bool)}, "integers, found torch.bool"),
        ({"input_ids": torch.ones(1, 3, dtype=torch.complex64)}, "integers, found torch.complex64"),
        ({"input_ids": [[5, 60]]}, "token ids from 0 to 59, found 5 to 60: the tokenizer does not belong"),
        ({"input_ids": [[5, -1]]}, "token ids from 0 to 59, found -1 to 5"),
        ({"input_ids": torch.full((1, 41), 7)}, "at most 40 tokens a text, found 41.*truncation=True"),
        ({"input_ids": [[5, 6]], "attention_mask": [[1, 1, 1]]}, "attention_mask of shape"),
        ({"input_ids": [[5, 6]], "attention_mask": [[1, 1], [1, 1]]}, "attention_mask of shape"),
        ({"input_ids": [[5, 6]], "token_type_ids": [[0]]}, "token_type_ids of shape"),
        ({"input_ids": [[5, 6]], "token_types": [[0, 0]]}, "token_types"),
        ([[5, 6]], r"\(a mapping\), found list"),
        (torch.tensor([[5, 6]]), "found Tensor"),
        ("a text", "found str"),
        (None, "found NoneType"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_inputs(wrong: Any, message: str) -> None:
    model = shared_model("bert", "sdpa")
    with pytest.raises(InputError, match=message) as caught:
        attribute(model, wrong)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_the_longest_text_works_and_the_next_is_refused(family: str) -> None:
    """RoBERTa's kind counts positions from its padding id on, so that it takes fewer than
    max_position_embeddings tokens; DeBERTa-v2 and ModernBERT have no table of positions."""
    model = shared_model(family, "eager")
    limit = 38 if family in ("roberta", "xlm-roberta", "camembert", "mpnet") else 40
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 60, (1, limit + 1), generator=generator)
    assert torch.isfinite(attribute(model, {"input_ids": ids[:, :-1]}).scores).all()
    with pytest.raises(InputError, match=f"at most {limit} tokens a text, found {limit + 1}"):
        attribute(model, {"input_ids": ids})


@pytest.mark.parametrize("name", ["token_type_ids", "position_ids"])
@pytest.mark.parametrize("value", [-1, 99])
def test_other_ids_out_of_range_are_refused(name: str, value: int, model: nn.Module) -> None:
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(InputError, match=name):
        attribute(model, {"input_ids": ids, name: torch.full_like(ids, value)})


def test_an_explicit_signature_names_what_it_takes() -> None:
    with pytest.raises(InputError, match="Toy takes no 'token_type_ids'; it takes input_ids, attention_mask"):
        attribute(Toy(), {"input_ids": [[5, 6]], "token_type_ids": [[0, 0]]})


# --- models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["attnlrp", "lat"])
def test_models_that_classify_no_sequences(method: str) -> None:
    config = models.configs(num_labels=2)["bert"]
    ids = {"input_ids": torch.tensor([[5, 6, 7]])}
    with pytest.raises(UnsupportedModelError, match=r"expected a sequence classifier.*BertModel"):
        attribute(BertModel(config).eval(), ids, method)
    for kind in (BertForTokenClassification, BertForMaskedLM, BertForQuestionAnswering):
        with pytest.raises(TargetError, match=r"says whether|names a word|column"):
            attribute(kind(config).eval(), ids, method)


def test_models_of_another_kind() -> None:
    ids = {"input_ids": torch.tensor([[5, 6, 7]])}
    gpt = GPT2ForSequenceClassification(
        GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=2, pad_token_id=0)
    )
    assert attribute(gpt.eval(), ids).scores.all()
    with pytest.raises(UnsupportedModelError, match="expected a torch model, found str"):
        attribute("bert-base-uncased", ids)  # type: ignore[arg-type]

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, input_ids: Tensor) -> Tensor:
            return self.linear(input_ids.float())

    with pytest.raises(UnsupportedModelError, match="expected a tensor of Bare in which"):
        attribute(Bare().eval(), ids)


@pytest.mark.parametrize(
    "look_up",
    [
        lambda words, ids: words(ids),
        lambda words, ids: words.weight[ids.view_as(ids)],
        lambda words, ids: words.weight.data[ids],
        lambda words, ids: words.weight.index_select(0, ids[0]),
    ],
)
def test_words_that_are_looked_up_again_behind_the_embedding_are_no_constants(look_up: Any) -> None:
    class Again(BertForSequenceClassification):
        used = True

        def forward(self, input_ids: Tensor, **inputs: Any) -> Tensor:
            states = self.bert(input_ids, **inputs)[0][:, 0]
            vectors = look_up(self.bert.embeddings.word_embeddings, input_ids)
            return self.classifier(states + vectors.mean(-2) if self.used else states)

    model = Again(make("bert", "sdpa").config).eval()
    for method in STANDARD:
        with pytest.raises(UnsupportedModelError, match="looks up its words once more"):
            attribute(model, inputs(model), method)
    model.used = False
    assert attribute(model, inputs(model)).scores.abs().sum() > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    model = make("bert", "sdpa")
    with torch.no_grad():
        model.classifier.weight.fill_(value)
    with pytest.raises(NonFiniteError, match=r"row 0 are not finite.*the weights of classifier.weight are"):
        attribute(model, inputs(model))


def test_a_type_too_narrow_is_told() -> None:
    model = make("bert", "sdpa")
    with torch.no_grad():
        model.classifier.weight.mul_(1e6)
    with pytest.raises(
        NonFiniteError, match=r"the weights of classifier.weight are not finite|too narrow.*float\(\)"
    ):
        attribute(model.half(), inputs(model))


def test_the_widest_of_usual_types_is_not_advised_to_itself() -> None:
    model = make("bert", "sdpa", dtype=torch.float32)
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
    with pytest.raises(NonFiniteError, match=r"float32 is too narrow: try model\.double\(\)"):
        attribute(model, inputs(model))


class _AssertsInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise AssertionError("call model.train()\nfirst")


def test_a_backward_pass_that_fails_is_one_line() -> None:
    """As in Reformer, whose reversible layers refuse it in eval mode."""
    ids = {"input_ids": torch.arange(3, 9)[None]}
    with pytest.raises(
        UnsupportedModelError, match=r"backward pass through the model fails: call model\.train"
    ):
        attribute(Toy(_AssertsInBackward.apply), ids, "gs")


def test_a_forward_pass_that_asserts_is_one_line() -> None:
    def asserts(x: Tensor) -> Tensor:
        raise AssertionError("even lengths only")

    with pytest.raises(UnsupportedModelError, match=r"Toy fails on inputs of shape .*even lengths only"):
        attribute(Toy(asserts), {"input_ids": torch.arange(3, 9)[None]}, "gs")


def test_sparse_inputs_are_refused(model: nn.Module, batch: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="expected input_ids as a plain tensor"):
        attribute(model, {"input_ids": batch["input_ids"].to_sparse()})
