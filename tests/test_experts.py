"""Mixtures of experts: routing is a constant, the weight of an expert a gate, however it is computed."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig
from transformers.models.mixtral import MixtralConfig
from transformers.models.qwen2_moe import Qwen2MoeConfig
from transformers.models.qwen3_moe import Qwen3MoeConfig

from experts import Twin, half, sigmoid
from models import Toy
from whybert import Attribution, UnsupportedOperationError, attribute

EXPERTS, CHOSEN, HEADS, GROUPS, WIDTH = 5, 2, 4, 2, 8
COMMON: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS,
    "intermediate_size": 24,
    "moe_intermediate_size": 24,
    "num_experts_per_tok": CHOSEN,
    "max_position_embeddings": 32,
    "num_labels": 3,
    "pad_token_id": 0,
    "initializer_range": 0.3,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
}
KINDS: dict[str, PreTrainedConfig] = {
    "mixtral": MixtralConfig(**COMMON, num_local_experts=EXPERTS),
    "qwen3_moe": Qwen3MoeConfig(**COMMON, num_experts=EXPERTS, head_dim=WIDTH, norm_topk_prob=True),
    "qwen3_moe, no sum of 1": Qwen3MoeConfig(
        **COMMON, num_experts=EXPERTS, head_dim=WIDTH, norm_topk_prob=False
    ),
    "qwen2_moe": Qwen2MoeConfig(**COMMON, num_experts=EXPERTS, shared_expert_intermediate_size=16),
}
TEXTS = ([7, 12, 33, 41, 5, 28, 19], [50, 8, 9, 9], [22])


class Wide:
    """torch, to which float32 is float64."""

    float32 = float = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that compute their normalisation and their softmax in float32 do so in float64."""
    for kind in ("mixtral", "qwen2_moe", "qwen3_moe"):
        module = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
        monkeypatch.setattr(module, "torch", Wide())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def make(kind: str, experts: str = "eager", dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(KINDS[kind], attn_implementation="eager")
    model.set_experts_implementation(experts)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
    return model.to(dtype).eval()


def ask(model: nn.Module, method: str, texts: Any = TEXTS) -> Attribution:
    length = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in texts])
    inputs = {"input_ids": ids, "attention_mask": mask}
    return attribute(model, inputs, method, 1)


def twin(kind: str, model: nn.Module, method: str) -> list[tuple[Tensor, Tensor]]:
    config = KINDS[kind]
    found = Twin(
        {name: tensor.detach().double() for name, tensor in model.state_dict().items()},
        HEADS,
        GROUPS,
        WIDTH,
        CHOSEN,
        getattr(config, "norm_topk_prob", True),
        attention_constant=method == "cp_lrp",
    )
    return [found.relevance(torch.tensor(text), 1) for text in TEXTS]


def off(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("experts", ["eager", "batched_mm"])
@pytest.mark.parametrize("kind", KINDS)
def test_twin(kind: str, experts: str, method: str) -> None:
    model = make(kind, experts)
    found = ask(model, method)
    assert found.relevance is not None
    for row, (relevance, logits) in enumerate(twin(kind, model, method)):
        assert off(found.logits[row], logits) < 1e-9
        assert off(found.relevance[row, : len(relevance)], relevance) < 1e-9
        assert not found.relevance[row, len(relevance) :].any()


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp", "gi", "epsilon"])
@pytest.mark.parametrize("experts", ["batched_mm", "grouped_mm"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_implementation_says_the_same(kind: str, experts: str, method: str) -> None:
    dtype = torch.float32  # `grouped_mm` has no float64
    expected, found = (ask(make(kind, each, dtype), method) for each in ("eager", experts))
    assert off(found.scores, expected.scores.double()) < 1e-4
    if method == "cp_lrp":
        assert found.relevance_sum is not None
        assert found.biases is not None
        torch.testing.assert_close(
            found.relevance_sum + found.biases, found.output, rtol=1e-4, atol=1e-4, check_dtype=False
        )


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("experts", ["eager", "batched_mm"])
@pytest.mark.parametrize("kind", KINDS)
def test_cp_lrp_is_all_of_the_logit(kind: str, experts: str) -> None:
    found = ask(make(kind, experts), "cp_lrp")
    assert found.relevance_sum is not None
    assert found.biases is not None
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=1e-10, atol=1e-12)
    assert bool(found.biases.any()) == (kind == "qwen2_moe")  # the others have no constants


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision(kind: str) -> None:
    model = make(kind, "grouped_mm", torch.bfloat16)
    for method in ("attnlrp", "cp_lrp", "gi"):
        found = ask(model, method)
        assert torch.isfinite(found.scores).all()
        assert not found.scores[2, 1:].any()


class Mixture(nn.Module):
    """Two experts of four; `choose` says the weights and the places of what is chosen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.router = nn.Linear(6, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(4))

    def forward(self, x: Tensor, choose: Any) -> Tensor:
        weights, places = choose(self.router(x))
        every = torch.stack([expert(x) for expert in self.experts], -2)
        chosen = every.gather(-2, places[..., None].expand(*places.shape, 6))
        return x + (chosen * weights[..., None]).sum(-2)


def _divided(logits: Tensor) -> tuple[Tensor, Tensor]:
    weights, places = logits.softmax(-1).topk(2)
    return weights / weights.sum(-1, keepdim=True), places


def _in_place(logits: Tensor) -> tuple[Tensor, Tensor]:
    weights, places = torch.topk(torch.softmax(logits, -1), 2)
    weights /= weights.sum(-1, keepdim=True)
    return weights, places


def _stabilised(logits: Tensor) -> tuple[Tensor, Tensor]:
    weights, places = logits.softmax(-1).sort(-1, descending=True)
    weights, places = weights[..., :2], places[..., :2]
    return weights / (weights.sum(-1, keepdim=True) + 1e-20), places


def _gathered(logits: Tensor) -> tuple[Tensor, Tensor]:
    scores = logits.softmax(-1)
    places = scores.detach().topk(2).indices
    weights = scores.gather(-1, places)
    return weights * 1.0 / weights.sum(-1, keepdim=True), places


def _masked(logits: Tensor) -> tuple[Tensor, Tensor]:
    places = logits.topk(2)[1]
    kept = torch.zeros_like(logits).scatter_(-1, places, 1.0)
    scores = logits.masked_fill(~kept.bool(), -torch.inf).softmax(-1)
    return scores.gather(-1, places), places


ROUTERS = {
    "divided by the sum": _divided,
    "in place": _in_place,
    "sorted, stabilised": _stabilised,
    "gathered": _gathered,
    "masked": _masked,
}


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp", "gi", "libragrad"])
@pytest.mark.parametrize("router", ROUTERS)
def test_weights_of_the_chosen_however_they_are_written(router: str, method: str) -> None:
    """The softmax of those that are chosen is the softmax of all, divided by its sum over them."""

    def plain(logits: Tensor) -> tuple[Tensor, Tensor]:
        chosen, places = logits.topk(2)
        return chosen.softmax(-1), places

    ids = {"input_ids": torch.arange(1, 13).view(2, 6)}
    mixture = Mixture().double()
    expected = attribute(Toy(lambda x: mixture(x, plain)), ids, method, 1)
    found = attribute(Toy(lambda x: mixture(x, ROUTERS[router])), ids, method, 1)
    assert off(found.logits, expected.logits) < 1e-12
    assert off(found.scores, expected.scores) < 1e-9


LINEAR_ATTENTION = {
    "by weights": lambda q, k, v: (q @ k.mT * torch.ones(6, 6).double().tril()) @ v,
    "by a state": lambda q, k, v: q @ (k.mT @ v),
    "by a state of several": lambda q, k, v: q @ (k[:, :3].mT @ v[:, :3] * 0.9 + k[:, 3:].mT @ v[:, 3:]),
    "by a state, einsum": lambda q, k, v: torch.einsum("btk,bkd->btd", q, torch.einsum("bsk,bsd->bkd", k, v)),
}


@pytest.mark.parametrize("name", LINEAR_ATTENTION)
def test_a_state_that_is_a_product_is_no_value(name: str) -> None:
    torch.manual_seed(2)
    parts = [nn.Linear(6, 6).double() for _ in range(3)]
    model = Toy(lambda x: x + LINEAR_ATTENTION[name](*(part(x) for part in parts)))
    ids = {"input_ids": torch.arange(1, 13).view(2, 6)}
    assert torch.isfinite(attribute(model, ids, "gi", 1).scores).all()
    for method in ("attnlrp", "cp_lrp"):
        if name == "by weights":
            attribute(model, ids, method, 1)
        else:
            with pytest.raises(UnsupportedOperationError, match="a state that is a product of two"):
                attribute(model, ids, method, 1)


def _gates(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The router of DeepSeek-V3 (2024, arXiv 2412.19437, section 2.1.2): gates, a bias that only chooses."""
    scores = logits.sigmoid()
    biased = scores + torch.tensor([0.1, 0.0, 0.3, -0.2], dtype=torch.float64)
    groups = biased.unflatten(-1, (2, 2)).sum(-1).topk(1)[1]
    kept = torch.zeros(*logits.shape[:-1], 2, dtype=torch.float64).scatter_(-1, groups, 1.0)
    kept = kept[..., None].expand(*logits.shape[:-1], 2, 2).flatten(-2)
    places = biased.masked_fill(~kept.bool(), -torch.inf).topk(2, sorted=False)[1]
    weights = scores.gather(-1, places)
    weights /= weights.sum(-1, keepdim=True) + 1e-20
    return weights * 2.5, places


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
def test_gates_of_experts(method: str) -> None:
    """Half to gate and expert, or the gate a constant; a gate is a half and what x makes of it."""
    mixture = Mixture().double()
    model = Toy(lambda x: mixture(x, _gates))
    ids = {"input_ids": torch.arange(1, 13).view(2, 6)}
    x = model.embeddings(ids["input_ids"]).detach().requires_grad_()
    rows = []
    for row in x.flatten(0, 1):
        logits = mixture.router(row)
        weights, places = _gates(logits.detach())
        gates = sigmoid(logits)[places]
        weights = 2.5 * gates / gates.sum()
        out = torch.stack([mixture.experts[int(place)](row) for place in places])
        weighted = (
            weights.detach()[:, None] * out if method == "cp_lrp" else half(weights)[:, None] * half(out)
        )
        rows.append(row + weighted.sum(0))
    logits = model.head(torch.stack(rows).view_as(x).mean(1))
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    found = attribute(model, ids, method, 1)
    assert found.relevance is not None
    assert off(found.logits, logits.detach()) < 1e-12
    assert off(found.relevance, (x * gradient).detach()) < 1e-10


def test_layers_are_told_apart_by_attention_alone() -> None:
    """The weights of experts are no attention."""
    for kind in ("mixtral", "qwen2_moe"):
        found = ask(make(kind), "mixed_lrp:below=1")
        inside = attribute(make(kind), {"input_ids": torch.tensor([TEXTS[0]])}, "cp_lrp", 1, layers=True)
        assert inside.layers is not None
        assert inside.layers.shape[1] == KINDS[kind].num_hidden_layers + 1
        assert torch.isfinite(found.scores).all()


class Layer(nn.Module):
    """The same mixture, mixed in several ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.router = nn.Linear(6, 4, bias=False)
        self.up = nn.Parameter(torch.randn(4, 6, 5) / 2)
        self.bias = nn.Parameter(torch.randn(4, 6) / 4)
        self.down = nn.Parameter(torch.randn(4, 5, 6) / 2)

    def expert(self, number: int, x: Tensor) -> Tensor:
        return torch.relu(x @ self.up[number]) @ self.down[number] + self.bias[number]

    def forward(self, x: Tensor, mix: Any) -> Tensor:
        rows = x.flatten(0, 1)
        weights, places = self.router(rows).softmax(-1).topk(2)
        y: Tensor = mix(self, rows, weights, places)
        return x + y.view(x.shape)


def _one_by_one(layer: Layer, x: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    return torch.stack(
        [
            sum(weights[i, j] * layer.expert(int(places[i, j]), x[i]) for j in range(2))  # type: ignore[misc]
            for i in range(len(x))
        ]
    )


def _added(layer: Layer, x: Tensor, weights: Tensor, places: Tensor, how: str) -> Tensor:
    y = torch.zeros_like(x)
    for number in range(4):
        rows, chosen = torch.where(places == number)
        out = layer.expert(number, x[rows]) * weights[rows, chosen, None]
        if how == "index_add_":
            y.index_add_(0, rows, out)
        elif how == "index_add":
            y = torch.index_add(y, 0, rows, out)
        elif how == "+=":
            y[rows] += out
        elif how == "index_put_":
            y.index_put_((rows,), out, accumulate=True)
        elif how == "scatter_add_":
            y.scatter_add_(0, rows[:, None].expand(-1, 6), out)
        elif how == "index_copy":
            y = y + torch.zeros_like(y).index_copy(0, rows, out)
        else:
            new = layer.expert(number, x[rows])
            new.mul_(weights[rows, chosen, None])
            y[rows] = y[rows] + new
    return y


def _every(layer: Layer, x: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """All experts of all tokens, weighed by 0 where they are not chosen."""
    dense = torch.zeros(len(x), 4, dtype=x.dtype).scatter(1, places, weights)
    every = torch.stack([layer.expert(number, x) for number in range(4)], 1)
    return (every * dense[..., None]).sum(1)


def _every_einsum(layer: Layer, x: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    dense = torch.zeros(len(x), 4, dtype=x.dtype).scatter_(1, places, weights)
    inner = torch.relu(torch.einsum("sh,ehi->sei", x, layer.up))
    return torch.einsum("se,seh->sh", dense, torch.einsum("sei,eih->seh", inner, layer.down) + layer.bias)


def _masked_sum(layer: Layer, x: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    hot = torch.nn.functional.one_hot(places, 4).to(x.dtype)
    shares = (hot * weights[..., None]).sum(1)
    return sum(shares[:, [number]] * layer.expert(number, x) for number in range(4))  # type: ignore[return-value]


def _dispatched(layer: Layer, x: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """To a place of its own in a buffer for each expert, and back (GShard, 2020, arXiv 2006.16668)."""
    hot = torch.nn.functional.one_hot(places, 4).sum(1)
    place = torch.nn.functional.one_hot(hot.cumsum(0) * hot, len(x) + 1)[..., 1:].to(x.dtype)
    shares = torch.zeros(len(x), 4, dtype=x.dtype).scatter(1, places, weights)
    given = torch.einsum("sec,sh->ech", place, x)
    out = torch.stack([layer.expert(number, given[number]) for number in range(4)])
    return torch.einsum("sec,ech->sh", place * shares[..., None], out)


MIXED: dict[str, Any] = {
    **{
        how: partial(_added, how=how)
        for how in (
            "index_add_", "index_add", "+=", "index_put_", "scatter_add_", "index_copy", "mul_"
        )
    },
    "every expert": _every,
    "every expert, einsum": _every_einsum,
    "masks": _masked_sum,
    "dispatched": _dispatched,
}  # fmt: skip


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp", "gi"])
@pytest.mark.parametrize("name", MIXED)
def test_experts_are_mixed_in_many_ways(name: str, method: str) -> None:
    layer = Layer().double()
    ids = {"input_ids": torch.arange(1, 13).view(2, 6)}
    expected = attribute(Toy(lambda x: layer(x, _one_by_one)), ids, method, 1)
    found = attribute(Toy(lambda x: layer(x, MIXED[name])), ids, method, 1)
    assert off(found.logits, expected.logits) < 1e-12
    assert off(found.scores, expected.scores) < 1e-11
    if method == "cp_lrp":
        assert found.biases is not None
        torch.testing.assert_close(found.scores.sum(1) + found.biases, found.output, rtol=1e-12, atol=1e-12)
