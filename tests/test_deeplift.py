"""DeepLIFT: what it hands down is the change of the output, on any model, by the rules that it says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLift
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForSequenceClassification

from models import CASES, LABELS, VOCABULARY, Toy, inputs, make, pre_norm, shared_model, working_dtype
from test_gradients import TARGET, Tokenizer, batch_of
from whybert import UnsupportedModelError, UnsupportedOperationError, attribute
from whybert.methods.deeplift import slope_of
from whybert.targets import resolve


@pytest.mark.parametrize("quantity", ["logit", "probability", "margin"])
@pytest.mark.parametrize(("family", "attention"), [*CASES, ("pre-norm", "eager")])
def test_tokens_and_the_output_at_the_baseline_are_the_output(
    family: str, attention: str, quantity: str
) -> None:
    if family == "pre-norm":
        model = pre_norm()
    else:
        model = shared_model(family, attention, working_dtype(family, attention))
    batch = batch_of(model)
    how = {"method": "deeplift", "tokenizer": Tokenizer(), "quantity": quantity}
    found = attribute(model, batch, target=TARGET, **how)
    narrow = family in ("deberta", "modernbert")  # they compute in float32 inside
    bound = 2e-6 if narrow else 1e-12
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=0, atol=bound)
    assert not found.scores[batch["attention_mask"] == 0].any()
    alone = {name: tensor[1:2, :6] for name, tensor in batch.items()}
    single = attribute(model, alone, target=TARGET[1:2], **how)
    close = {"rtol": 1e-4, "atol": 1e-6} if narrow else {"rtol": 1e-8, "atol": 1e-11}
    torch.testing.assert_close(single.scores, found.scores[1:2, :6], **close)


@pytest.mark.parametrize("baseline", ["pad", "zero", "mean", "so, what"])
def test_other_baselines(baseline: str) -> None:
    model = shared_model("roberta", "sdpa")
    batch = batch_of(model)
    found, path = (
        attribute(model, batch, method, TARGET, tokenizer=Tokenizer(), baseline=baseline)
        for method in ("deeplift", "integrated_gradients")
    )
    torch.testing.assert_close(found.biases, path.biases)
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=0, atol=1e-12)
    assert not torch.allclose(found.scores, path.scores, rtol=0.01)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
@pytest.mark.parametrize("heads", [1, 4])
def test_decoders_whose_numbers_are_small(baseline: str, heads: int) -> None:
    """As they are initialised: 1 / root bends much over differences that are small by themselves."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(2)
    model = LlamaForSequenceClassification(
        LlamaConfig(
            **sizes, num_key_value_heads=heads, vocab_size=VOCABULARY, num_labels=LABELS, pad_token_id=0
        )
    )
    model = model.double().eval()
    found = attribute(model, inputs(model), "deeplift", TARGET, tokenizer=Tokenizer(), baseline=baseline)
    # its norms compute in float32
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=1e-4, atol=1e-5)


class Perceptron(nn.Module):
    """Of the last axis, with modules that captum's DeepLift knows; each function is one of them once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Linear(6, 9),
            nn.ReLU(),
            nn.Linear(9, 9),
            nn.Tanh(),
            nn.Linear(9, 9),
            nn.SiLU(),
            nn.Linear(9, 6),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_without_attention_it_is_the_rescale_rule_of_captum() -> None:
    class Whole(nn.Module):
        def __init__(self, toy: Toy) -> None:
            super().__init__()
            self.body, self.head = toy.body, toy.head

        def forward(self, embedding: Tensor) -> Tensor:
            return self.head(self.body(embedding).mean(1))

    body = Perceptron().double()
    body.layers[5] = nn.ReLU()  # captum's table has no SiLU
    model = Toy(body)
    ids = torch.tensor([[7, 8, 9, 10], [11, 12, 13, 14]])
    found = attribute(model, {"input_ids": ids}, "deeplift", 1, tokenizer=Tokenizer())
    words = model.embeddings.words
    with pytest.warns(UserWarning, match="forward, backward hooks"):
        expected = DeepLift(Whole(model)).attribute(words(ids), words(torch.full_like(ids, 4)), target=1)
    torch.testing.assert_close(found.relevance, expected.detach(), rtol=1e-8, atol=1e-10)


# --- each operation against its rule, in plain numbers ------------------------------------------------------


def slope(f: Callable[[float], float], x: float, x0: float) -> float:
    return (f(x) - f(x0)) / (x - x0)


def by_softmax(x: list[float], x0: list[float], m: list[float]) -> list[float]:
    def soft(z: list[float]) -> list[float]:
        return [math.exp(each) / sum(map(math.exp, z)) for each in z]

    logarithmic = [(y - y0) / (math.log(y) - math.log(y0)) for y, y0 in zip(soft(x), soft(x0), strict=True)]
    common = sum(a * b for a, b in zip(m, logarithmic, strict=True)) / sum(logarithmic)
    return [share * (above - common) for share, above in zip(logarithmic, m, strict=True)]


def by_layer_norm(x: list[float], x0: list[float], m: list[float]) -> list[float]:
    size = len(x)
    c, c0 = ([each - sum(v) / size for each in v] for v in (x, x0))
    v, v0 = (sum(each * each for each in row) / size + 1e-5 for row in (c, c0))
    r, r0 = v**-0.5, v0**-0.5
    to_root = sum(above * (a + b) / 2 for above, a, b in zip(m, c, c0, strict=True))
    to_square = to_root * (r - r0) / (v - v0)
    inner = [above * (r + r0) / 2 + to_square * (a + b) / size for above, a, b in zip(m, c, c0, strict=True)]
    return [each - sum(inner) / size for each in inner]


def by_quotient(x: list[float], x0: list[float], m: list[float]) -> list[float]:
    """Of x / (1 + x^2), as the product of x and a reciprocal."""
    found = []
    for a, a0, above in zip(x, x0, m, strict=True):
        d, d0 = 1 + a * a, 1 + a0 * a0
        found.append(above * ((1 / d + 1 / d0) / 2 - (a + a0) / 2 / (d * d0) * (a + a0)))
    return found


def by_gate(x: list[float], x0: list[float], m: list[float]) -> list[float]:
    """Of tanh(x) * relu(x)."""
    found = []
    for a, a0, above in zip(x, x0, m, strict=True):
        gate, gate0, rest, rest0 = math.tanh(a), math.tanh(a0), max(a, 0.0), max(a0, 0.0)
        to_tanh, to_relu = (rest + rest0) / 2, (gate + gate0) / 2
        tanh, relu = slope(math.tanh, a, a0), slope(lambda each: max(each, 0.0), a, a0)
        found.append(above * (to_tanh * tanh + to_relu * relu))
    return found


def by_gelu(x: list[float], x0: list[float], m: list[float]) -> list[float]:
    def gelu(each: float) -> float:
        return each * (1 + math.erf(each / 2**0.5)) / 2

    return [above * slope(gelu, a, a0) for a, a0, above in zip(x, x0, m, strict=True)]


OPERATIONS = {
    "softmax": (lambda x: F.softmax(x, -1), by_softmax),
    "layer_norm": (lambda x: F.layer_norm(x, (6,)), by_layer_norm),
    "layer_norm written out": (
        lambda x: (
            (x - x.mean(-1, keepdim=True))
            / torch.sqrt((x - x.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True) + 1e-5)
        ),
        None,
    ),
    "quotient": (lambda x: x / (1 + x * x), by_quotient),
    "quotient as a product": (lambda x: x * torch.reciprocal(1 + x.pow(2)), by_quotient),
    "gate": (lambda x: torch.tanh(x) * torch.relu(x), by_gate),
    "gelu": (F.gelu, by_gelu),
    "gelu written out": (lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))), by_gelu),
    "products of rows": (lambda x: torch.matmul(torch.softmax(x @ x.mT / 3, -1), x), None),
    "rms norm": (lambda x: F.rms_norm(x, (6,), eps=1e-5), None),
    "rms norm written out": (lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5), None),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_follows_its_rule(name: str) -> None:
    operation, rule = OPERATIONS[name]
    model = Toy(operation)
    ids = torch.tensor([[7, 8, 9]])
    found = attribute(model, {"input_ids": ids}, "deeplift:baseline=zero", 1)
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=0, atol=1e-12)
    found = attribute(model, {"input_ids": ids}, "deeplift", 1, tokenizer=Tokenizer())
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=0, atol=1e-12)
    words, above = model.embeddings.words.weight.detach(), (model.head.weight[1] / 3).tolist()
    for place, token in enumerate(ids[0].tolist() if rule else ()):
        x, x0 = words[token].tolist(), words[4].tolist()
        expected = [m * (a - b) for m, a, b in zip(rule(x, x0, above), x, x0, strict=True)]
        assert found.relevance[0, place].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_of_a_linear_model_it_is_the_gradient_times_the_change() -> None:
    model = Toy()
    batch = inputs(model)
    found, path = (
        attribute(model, batch, method, tokenizer=Tokenizer())
        for method in ("deeplift", "integrated_gradients:n_steps=1")
    )
    torch.testing.assert_close(found.relevance, path.relevance, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("quantity", ["logit", "probability", "log_probability", "margin", "entropy"])
def test_slopes_of_each_quantity(quantity: str) -> None:
    generator = torch.Generator().manual_seed(3)
    logits, begin = (torch.randn(8, 4, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    begin[0] = logits[0]
    target = resolve(None, logits, tuple("abcd"), quantity) if quantity == "entropy" else None
    target = target or resolve([0, 1, 2, 3] * 2, logits, tuple("abcd"), quantity)
    found = (slope_of(target, logits, begin) * (logits - begin)).sum(-1)
    torch.testing.assert_close(found, target.output(logits) - target.output(begin), rtol=1e-10, atol=1e-12)
    if quantity == "logit":
        assert torch.equal(slope_of(target, logits, begin), target.seed(logits))


def test_what_has_no_slope_is_refused() -> None:
    batch = {"input_ids": torch.tensor([[7, 8, 9], [10, 11, 12]])}
    with pytest.raises(UnsupportedOperationError, match="sin"):
        attribute(Toy(torch.sin), batch, "deeplift:baseline=zero")
    with pytest.raises(UnsupportedModelError, match=r"the parts sum to .* such as integrated_gradients"):
        attribute(Toy(lambda x: x * (x > 0)), batch, "deeplift", tokenizer=Tokenizer())
    crossed = Toy(lambda x: torch.tanh(x.flatten(0, 1)[:5]).mean(0).expand(len(x), 6))
    with pytest.raises(UnsupportedModelError, match="along the first axis"):
        attribute(crossed, batch, "deeplift:baseline=zero")


def test_single_precision() -> None:
    model = make("bert", "sdpa", torch.float32)
    found = attribute(model, batch_of(model), "deeplift", tokenizer=Tokenizer())
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=0, atol=1e-5)
