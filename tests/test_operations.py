"""Norms, gates, activations and maxima in a model of one such operation: books, zeros, refusals."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Toy
from whybert import Attribution, UnsupportedOperationError, attribute

IDS = {
    "input_ids": torch.tensor([[5, 9, 11, 7], [8, 4, 6, 3]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def _batch_norm() -> nn.Module:
    module = nn.BatchNorm1d(6, dtype=torch.float64).eval()
    torch.manual_seed(2)
    with torch.no_grad():
        for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
            tensor.uniform_(0.5, 1.5)
    return module


BATCH_NORM = _batch_norm()
# Of hidden states (batch, positions, hidden) the same, or (batch, hidden).
SERVED: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "hardsigmoid": F.hardsigmoid,
    "elu": F.elu,
    "selu": F.selu,
    "mish": F.mish,
    "hardtanh": lambda x: F.hardtanh(x, -0.2, 0.3),
    "clamped above 0": lambda x: x.clamp(0.1, 0.4),
    "learned swish": lambda x: x * torch.sigmoid(x * torch.linspace(0.5, 2.0, 6, dtype=x.dtype)),
    "gated tanh": lambda x: torch.tanh(x) * torch.sigmoid(x.flip(-1)),
    "glu": lambda x: F.glu(torch.cat([x, x.flip(-1)], -1)),
    "softcap": lambda x: 0.3 * torch.tanh(x / 0.3),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "std": lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6),
    "group_norm": lambda x: F.group_norm(x.reshape(-1, 6), 2).view(x.shape),
    "batch_norm": lambda x: BATCH_NORM(x.mT).mT,
    "max": lambda x: x.max(1).values,
    "amax": lambda x: x.amax(1),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "a norm as it is": lambda x: x.norm(dim=1),
    "beside a constant": lambda x: torch.maximum(x, torch.tensor(0.1, dtype=x.dtype)),
    "sigmoid of a norm": lambda x: x * torch.sigmoid(x.norm(dim=-1, keepdim=True)),
}
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_": lambda x: x.relu_(),
    "sigmoid_": lambda x: x.sigmoid_(),
    "a slice": lambda x: (x[..., :3].tanh_(), x)[1],
    "clamp_": lambda x: x.clamp_(-0.2, 0.2),
    "elu, in a module": lambda x: nn.ELU(inplace=True)(x),
    "mul_ by itself": lambda x: x.mul_(x),
}
# 0 / 0 in the model itself, or a type of its own.
AT_ZERO_NAN = {"normalize", "std", "a norm as it is", "sigmoid of a norm", "batch_norm"}
REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "exp as a factor": (lambda x: x.flip(-1) * torch.exp(x), "exp"),
    "a softmax written out": (lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True), "exp"),
    "log_softmax alone": (lambda x: F.log_softmax(x, -1), "log_softmax"),
    "instance_norm": (F.instance_norm, "instance_norm"),
    "batch_norm that trains": (lambda x: F.batch_norm(x.mT, None, None, training=True).mT, "batch_norm"),
    "a variance as it is": (lambda x: x * x.var(-1, keepdim=True), "var"),
    "a count": (lambda x: x * x.norm(0, -1, True), "norm"),
    "divided by a reciprocal": (lambda x: x / (1 / (x.flip(-1) + 3.0)), "div"),
    "prelu of what is tracked": (lambda x: F.prelu(x, x.mean().view(1)), "prelu"),
}
# Of x and a constant.
IN_TWO_WAYS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "add": (torch.add, lambda x, c: torch.add(input=x, other=c)),
    "add to a constant": (lambda x, c: torch.add(c, x), lambda x, c: torch.add(input=c, other=x)),
    "rsub": (torch.rsub, lambda x, c: torch.rsub(input=x, other=c)),
    "reciprocal": (
        lambda x, c: x * torch.reciprocal(x.norm() + c),
        lambda x, c: x * torch.reciprocal(input=x.norm() + c),
    ),
    "var": (lambda x, c: x / torch.var(x).sqrt(), lambda x, c: x / torch.var(input=x).sqrt()),
    "relu_": (lambda x, c: torch.relu_(x + c), lambda x, c: torch.relu_(input=x + c)),
    "maximum": (torch.maximum, lambda x, c: torch.maximum(input=x, other=c)),
    "moveaxis": (lambda x, c: x.mT.mT * c, lambda x, c: x.moveaxis(0, 1).moveaxis(1, 0) * c),
    "absolute_": (lambda x, c: (x * c).abs(), lambda x, c: (x * c).absolute_()),
    "divide": (torch.div, torch.divide),
    "subtract": (torch.sub, lambda x, c: x.subtract(c)),
    "negative": (lambda x, c: c - x, lambda x, c: c + torch.negative(x)),
    "subtract_": (torch.sub, lambda x, c: x.clone().subtract_(c)),
    "multiply_": (torch.mul, lambda x, c: x.clone().multiply_(c)),
    "divide_": (torch.div, lambda x, c: x.clone().divide_(c)),
    "negative_": (lambda x, c: c - x, lambda x, c: x.clone().negative_() + c),
    "a slice of a layer": (
        lambda x, c: torch.narrow(x, -1, 0, 6) + c,
        lambda x, c: torch.narrow(input=x, dim=-1, start=0, length=6) + c,
    ),
}


@pytest.mark.parametrize("name", IN_TWO_WAYS)
def test_keywords_and_other_names_change_nothing(name: str) -> None:
    constant = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)
    methods = ["attnlrp", "cp_lrp", "gi:reduction=sum"]
    for is_of_layer in (False, True):
        plain, named = (_found(operation, constant, is_of_layer, methods) for operation in IN_TWO_WAYS[name])
        for method in methods:
            assert plain[method].scores.any()
            assert_same(named[method].scores, plain[method].scores)
            assert_same(named[method].biases, plain[method].biases)


def _found(
    operation: Callable[[Tensor, Tensor], Tensor], constant: Tensor, is_of_layer: bool, methods: list[str]
) -> dict[str, Attribution]:
    model = Toy(lambda x: operation(model.dense(x) if is_of_layer else x, constant))
    return attribute(model, IDS, methods, 1)


def assert_same(found: Tensor | None, expected: Tensor | None) -> None:
    if found is not None or expected is not None:
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp", "epsilon"])
@pytest.mark.parametrize("name", [*SERVED, *IN_PLACE])
def test_tokens_and_constants_are_the_logit(name: str, method: str) -> None:
    operation = {**SERVED, **IN_PLACE}[name]
    model = Toy(lambda x: operation(model.dense(x)))
    if name == "batch_norm" and method == "epsilon":
        with pytest.raises(UnsupportedOperationError, match="batch_norm"):
            attribute(model, IDS, method, 1)
        return
    found = attribute(model, IDS, method, 1)
    with torch.no_grad():
        assert torch.equal(found.logits, model(**IDS).logits)
    assert found.biases is not None
    if method != "epsilon":  # to which another sum is relevance
        assert found.relevance_sum is not None
        torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", sorted({*SERVED} - AT_ZERO_NAN))
def test_nothing_is_nan_at_zero(name: str, dtype: torch.dtype) -> None:
    """All hidden states are 0, where f(x) / x is 0 / 0."""
    model = Toy(lambda x: SERVED[name](model.dense(x)))
    with torch.no_grad():
        model.dense.weight.zero_()
        model.dense.bias.zero_()
    model = model.to(dtype)
    for method in ("attnlrp", "cp_lrp"):
        assert torch.isfinite(attribute(model, IDS, method, 1).scores).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name: str) -> None:
    operation, named = REFUSED[name]
    model = Toy(lambda x: operation(model.dense(x)))
    for method in ("attnlrp", "cp_lrp"):
        with pytest.raises(UnsupportedOperationError, match=named):
            attribute(model, IDS, method, 1)
    found = attribute(model, IDS, "gi:reduction=sum", 1)
    assert torch.isfinite(found.scores).all()


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "round": torch.round,
    "special.round": torch.special.round,
    "round_": lambda x: x.clone().round_(),
    "sign_": lambda x: x.clone().sign_(),
    "trunc_": lambda x: torch.trunc_(x.clone()),
    "//=": lambda x: operator.ifloordiv(x.clone(), 0.1),
    "gt_": lambda x: x.clone().gt_(0.1),
    "logical_not_": lambda x: x.clone().logical_not_(),
    "div": lambda x: torch.div(x, 0.1, rounding_mode="floor"),
    "div_": lambda x: x.clone().div_(0.1, rounding_mode="floor"),
}


@pytest.mark.parametrize("method", ["gs", "gi:reduction=sum", "attnlrp"])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_refused_by_gradients_too(name: str, method: str) -> None:
    """Its derivative is 0 everywhere, and so would be all scores."""
    with pytest.raises(UnsupportedOperationError, match="cuts the gradient off"):
        attribute(Toy(STEPS[name]), IDS, method, 1)


def test_the_winner_takes_all_and_padding_nothing() -> None:
    """Of each hidden number the relevance is that of the position where it is largest."""
    keep = IDS["attention_mask"].bool()[..., None]
    model = Toy(lambda x: x.masked_fill(~keep, float("-inf")).max(1).values)
    x = model.embeddings.words(IDS["input_ids"]).detach()
    largest = x.masked_fill(~keep, float("-inf")).argmax(1, keepdim=True)
    taken = torch.zeros_like(x).scatter(1, largest, 1.0)
    expected = x * taken * model.head.weight[1].detach()
    for method in ("attnlrp", "cp_lrp", "gi:reduction=sum"):
        found = attribute(model, IDS, method, 1)
        torch.testing.assert_close(found.relevance, expected, rtol=1e-12, atol=1e-15)
        assert found.scores[1, 3] == 0


def test_one_call_has_gradients_and_rules() -> None:
    """A gradient beside the rules is autograd's, of a sigmoid, a norm and a maximum."""

    def body(x: Tensor) -> Tensor:
        h = F.normalize(model.dense(x), dim=-1) * torch.sigmoid(model.dense(x).flip(-1))
        return F.elu(h).amax(1)

    model = Toy(body)
    x = model.embeddings.words(IDS["input_ids"]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad((body(x) @ model.head.weight.T)[:, 1].sum(), x)
    found = attribute(model, IDS, ["gi:reduction=sum", "attnlrp", "cp_lrp"], 1)
    torch.testing.assert_close(
        found["gi:reduction=sum"].relevance, (gradient * x).detach(), rtol=1e-12, atol=1e-15
    )
    assert not torch.equal(found["attnlrp"].scores, found["gi:reduction=sum"].scores)
