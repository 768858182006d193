"""Literal twins of two decoders, one text at a time: nothing comes from whybert or from a model's code.

Each is the forward pass written out from the weights, in which what a method takes for a constant is
detached and what it shares is shared, so that the embedding times its gradient is the relevance:

* LayerNorm's deviation is a constant (Ali et al. 2022, arXiv 2202.07304; AttnLRP, arXiv 2402.05602).
* An activation f(x) is x times the constant f(x) / x (the identity rule of AttnLRP).
* AttnLRP: half of a product to each factor, Q K^T as A V (the uniform rule).  CP-LRP: A is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

Method = Literal["attnlrp", "cp_lrp"]
State = Mapping[str, Tensor]


def half(x: Tensor) -> Tensor:
    """x, of which half the gradient passes."""
    return 0.5 * x + 0.5 * x.detach()


def layer_norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    deviation = ((centred**2).mean(-1, keepdim=True) + eps).sqrt()
    return centred / deviation.detach() * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * (0.5 * torch.erfc(-x / math.sqrt(2.0))).detach()


def gelu_tanh(x: Tensor) -> Tensor:
    return x * (0.5 * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))).detach()


def attended(q: Tensor, k: Tensor, v: Tensor, method: Method) -> Tensor:
    """One head's causal attention, (seq, width)."""
    width, length = q.shape[1], q.shape[0]
    scores = half(q) @ half(k).T / math.sqrt(width)
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    e = torch.exp(scores.masked_fill(later, -math.inf) - scores.detach().amax(-1, keepdim=True))
    weights = e / e.sum(-1, keepdim=True)
    return half(weights) @ half(v) if method == "attnlrp" else weights.detach() @ v


def gpt2(state: State, x: Tensor, heads: int, method: Method) -> Tensor:
    """The logits (labels,) of GPT-2 from the input of its first layer, (seq, hidden).

    Each block is x + attention(norm(x)), then x + mlp(norm(x)); a weight of a `Conv1D` is (in, out).
    """

    def dense(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"] + state[f"{name}.bias"]

    for i in range(_depth(state, "transformer.h.")):
        at = f"transformer.h.{i}"
        q, k, v = dense(f"{at}.attn.c_attn", layer_norm(state, f"{at}.ln_1", x, 1e-5)).chunk(3, -1)
        parts = zip(*(each.chunk(heads, -1) for each in (q, k, v)), strict=True)
        context = torch.cat([attended(*part, method) for part in parts], -1)
        x = x + dense(f"{at}.attn.c_proj", context)
        inner = dense(f"{at}.mlp.c_fc", layer_norm(state, f"{at}.ln_2", x, 1e-5))
        x = x + dense(f"{at}.mlp.c_proj", gelu_tanh(inner))
    return layer_norm(state, "transformer.ln_f", x, 1e-5)[-1] @ state["score.weight"].T


def turned(x: Tensor) -> Tensor:
    """Rotary embeddings (arXiv 2104.09864) of one head, (seq, width): pairs (i, i + width / 2) are turned.

    The angles are computed in float32, as the library does.
    """
    length, width = x.shape
    speeds = 1.0 / 10000.0 ** (torch.arange(0, width, 2).float() / width)
    angles = torch.arange(length).float()[:, None] * speeds
    cos, sin = angles.cos().double(), angles.sin().double()
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def falcon(state: State, x: Tensor, heads: int, method: Method) -> Tensor:
    """The logits (labels,) of Falcon from the input of its first layer, (seq, hidden).

    Each block is x + attention(norm(x)) + mlp(norm(x)), one norm for both; all heads of queries read one head
    of keys and values.
    """

    def dense(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T

    for i in range(_depth(state, "transformer.h.")):
        at = f"transformer.h.{i}"
        normed = layer_norm(state, f"{at}.input_layernorm", x, 1e-5)
        *queries, k, v = dense(f"{at}.self_attention.query_key_value", normed).chunk(heads + 2, -1)
        context = torch.cat([attended(turned(q), turned(k), v, method) for q in queries], -1)
        inner = gelu(dense(f"{at}.mlp.dense_h_to_4h", normed))
        x = x + dense(f"{at}.self_attention.dense", context) + dense(f"{at}.mlp.dense_4h_to_h", inner)
    return layer_norm(state, "transformer.ln_f", x, 1e-5)[-1] @ state["score.weight"].T


def _depth(state: State, start: str) -> int:
    return len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})


def embedded(state: State, ids: Tensor) -> Tensor:
    """The input of the first layer of one text, (seq, hidden): words, and positions if there is a table."""
    names = {name.split(".")[1]: name for name in state if name.startswith("transformer.w")}
    x = state[names.get("wte", names.get("word_embeddings", ""))][ids]
    return x + state[names["wpe"]][: len(ids)] if "wpe" in names else x


def relevance(
    twin: Callable[[State, Tensor, int, Method], Tensor],
    weights: State,
    ids: Tensor,
    heads: int,
    method: Method,
    target: int,
) -> tuple[Tensor, Tensor]:
    """The relevance (seq, hidden) at the input of the first layer of one text, and the logits."""
    state = {name: tensor.detach().double() for name, tensor in weights.items()}
    x = embedded(state, ids).requires_grad_()
    logits = twin(state, x, heads, method)
    (gradient,) = torch.autograd.grad(logits[target], x)
    return (x * gradient).detach(), logits.detach()
