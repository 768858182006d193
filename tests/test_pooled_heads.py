"""Heads of one's own on an encoder: each way to make a vector of hidden states, on tiny and real weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

import tiny
from whybert import Classifier, attribute, audit, explain
from whybert.builtin import encoder_folder

TEXTS = ["a film", "don't you think so?", "the film was good and the actors were great"]
Pool = Callable[["Headed", Tensor, Tensor], Tensor]


def _mean(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    shares = mask[..., None].to(h.dtype)
    return (h * shares).sum(1) / shares.sum(1).clamp(min=1e-9)


def _mean_of_filled(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    return h.masked_fill(mask[..., None] == 0, 0.0).sum(dim=1) / mask.sum(1, keepdim=True)


def _mean_by_product(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    shares = mask.to(h.dtype) / mask.sum(1, keepdim=True)
    return torch.einsum("bs,bsh->bh", shares, h)


def _first(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    return h[:, 0]


def _last(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    return h[torch.arange(len(h)), mask.sum(1) - 1]


def _last_gathered(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    places = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, h.shape[-1])
    return h.gather(1, places).squeeze(1)


def _max(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    return h.masked_fill(mask[..., None] == 0, -torch.inf).max(1).values


def _amax(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask[..., None] == 1, h, torch.finfo(h.dtype).min).amax(dim=1)


def _normalised(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    return F.normalize(_mean(head, h, mask), p=2, dim=1)


def _divided_by_norm(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    v = _first(head, h, mask)
    return v / v.norm(dim=-1, keepdim=True)


def _attention(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    scores = head.query(torch.tanh(head.key(h))).squeeze(-1)
    weights = scores.masked_fill(mask == 0, -torch.inf).softmax(-1)
    return (weights[..., None] * h).sum(1)


def _attention_by_bmm(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    scores = head.query(h) + (1.0 - mask[..., None].to(h.dtype)) * -1e4
    return torch.bmm(scores.softmax(1).transpose(1, 2), h)[:, 0]


def _mean_and_max(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    return torch.cat([_mean(head, h, mask), _max(head, h, mask)], -1)[:, : h.shape[-1]]


def _gate(head: Headed, h: Tensor, mask: Tensor) -> Tensor:
    """A sum of two vectors through a norm, an activation and a gate."""
    v = head.norm(_first(head, h, mask) + _mean(head, h, mask))
    return F.silu(v) * torch.sigmoid(head.key(v))


POOLS: dict[str, Pool] = {
    "mean": _mean,
    "mean of filled": _mean_of_filled,
    "mean by product": _mean_by_product,
    "first": _first,
    "last": _last,
    "last, gathered": _last_gathered,
    "max": _max,
    "amax": _amax,
    "normalised": _normalised,
    "divided by norm": _divided_by_norm,
    "attention": _attention,
    "attention by bmm": _attention_by_bmm,
    "mean and max": _mean_and_max,
    "gate": _gate,
}


class Headed(nn.Module):
    """An encoder, a pooling and a linear layer."""

    def __init__(self, encoder: nn.Module, pool: str) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        torch.manual_seed(5)
        self.encoder, self.pool = encoder, POOLS[pool]
        self.key, self.query, self.norm = nn.Linear(width, width), nn.Linear(width, 1), nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)
        self.to(next(encoder.parameters()).dtype).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(self.pool(self, states, attention_mask))


@cache
def small() -> tuple[nn.Module, Any]:
    tokenizer = tiny.wordpiece()
    torch.manual_seed(2)
    config = tiny.bert_config(tokenizer, initializer_range=0.3)
    model = transformers.BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
    return model.double().eval(), tokenizer


@cache
def real() -> tuple[nn.Module, Any]:
    folder = encoder_folder()
    model = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False)
    return model.double().eval(), transformers.AutoTokenizer.from_pretrained(folder)


def check(encoder: nn.Module, tokenizer: Any, pool: str) -> None:
    model = Headed(encoder, pool)
    classifier = Classifier(model, tokenizer)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        plain = model(**inputs)
    for method in ("gi", "attnlrp", "cp_lrp"):
        found = attribute(model, inputs, method, tokenizer=tokenizer)
        torch.testing.assert_close(found.logits, plain, rtol=1e-12, atol=1e-12)
        assert bool((found.scores[inputs["attention_mask"] == 0] == 0).all())
        together = explain(classifier, TEXTS, method)
        for text, each in zip(TEXTS, together, strict=True):
            [alone] = explain(classifier, text, method)
            assert each.scores == pytest.approx(alone.scores, rel=1e-7, abs=1e-9)
            if method == "cp_lrp":
                assert alone.completeness is not None
                assert alone.completeness.open_share < 1e-9, alone.completeness


@pytest.mark.parametrize("pool", POOLS)
def test_a_pooled_head_on_a_tiny_encoder(pool: str) -> None:
    check(*small(), pool)


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_a_pooled_head_on_real_weights(pool: str) -> None:
    check(*real(), pool)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["normalised", "attention", "max"])
def test_an_audit_of_a_pooled_head_on_real_weights(pool: str) -> None:
    encoder, tokenizer = real()
    found = audit((Headed(encoder, pool), tokenizer), methods=["gi", "attnlrp", "cp_lrp"])
    assert found.passed, found.failures
