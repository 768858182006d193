"""Decoders of Llama's kind, written out from the papers: forward pass and relevance, in plain float64 torch.

Nothing here comes from whybert or from a model's code.  Relevance is handed down as relevance (R, not R / x),
one operation after the other by the rules of `oracles`, of one text without padding.

* Blocks: Zhang and Sennrich 2019 (RMSNorm), Su et al. 2021 (rotary positions), Ainslie et al. 2023 (grouped
  queries), Shazeer 2020 (SwiGLU, GEGLU), Henry et al. 2020 (norms of queries and keys: Qwen3), Gemma Team
  2024 (arXiv 2408.00118: a second norm behind each sub-layer, bounded scores, windows in each other layer).
* Rules: Achtibat et al. 2024 (arXiv 2402.05602: element-wise functions hand R on as it is, products half of
  it to each factor, an RMSNorm is a diagonal matrix, softmax its proposition 3.1) and Ali et al. 2022 (the
  weights of attention are constants).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

import oracles


def silu(x: Tensor) -> Tensor:
    return x / (1.0 + torch.exp(-x))


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


@dataclass
class Head:
    """One head of queries: what it computed, (seq, width) or (seq, seq)."""

    q: Tensor
    k: Tensor
    v: Tensor
    scores: Tensor
    weights: Tensor
    context: Tensor


@dataclass
class Layer:
    """What one layer computed, (seq, width) each; what is before and behind the rotation apart."""

    x: Tensor
    normed: Tensor
    projected: dict[str, Tensor] = field(default_factory=dict)
    turned: dict[str, Tensor] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)
    context: Tensor = field(default_factory=lambda: torch.empty(0))
    attended: Tensor = field(default_factory=lambda: torch.empty(0))
    middle: Tensor = field(default_factory=lambda: torch.empty(0))
    inner_normed: Tensor = field(default_factory=lambda: torch.empty(0))
    gate: Tensor = field(default_factory=lambda: torch.empty(0))
    active: Tensor = field(default_factory=lambda: torch.empty(0))
    up: Tensor = field(default_factory=lambda: torch.empty(0))
    product: Tensor = field(default_factory=lambda: torch.empty(0))
    down: Tensor = field(default_factory=lambda: torch.empty(0))
    y: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class Llama:
    """The parameters of a decoder and what its configuration says.

    state: by the names that transformers has for them.  groups: heads of keys and values.  scale: of scores.
    added: to the weight of each norm.  factor: of the words.  bound: of scores.  windows: of each layer, how
    far back a position sees; None for all.
    """

    state: Mapping[str, Tensor]
    heads: int
    groups: int
    width: int
    eps: float
    theta: float
    scale: float
    windows: tuple[int | None, ...]
    act: Callable[[Tensor], Tensor] = silu
    added: float = 0.0
    factor: float = 1.0
    bound: float | None = None

    def relevance(self, ids: Tensor, label: int, *, attention_constant: bool) -> tuple[Tensor, Tensor]:
        """(seq, hidden) of a logit at the embedding, and the logits (labels,)."""
        x = self.state["model.embed_tokens.weight"][ids] * self.factor
        layers = []
        for index in range(len(self.windows)):
            layers.append(self._forward(index, x))
            x = layers[-1].y
        last = self._norm("model.norm", x[-1:])
        logits = self._linear("score", last)
        seed = torch.zeros_like(logits)
        seed[0, label] = logits[0, label]
        R = torch.zeros_like(x)
        R[-1:] = oracles.epsilon(seed, last, self.state["score.weight"], logits)
        for index, layer in reversed(list(enumerate(layers))):
            R = self._backward(index, layer, R, attention_constant)
        return R, logits[0]

    # --- forward ----------------------------------------------------------------------------------------

    def _linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.state[f"{name}.weight"].T
        return y + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else y

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight = self.state.get(f"{name}.weight")
        root = torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + self.eps)
        return x if weight is None else x / root * (self.added + weight)

    def _rotation(self, position: int) -> Tensor:
        """(width, width): the pairs (i, i + width / 2) turned by position / theta^(2 i / width)."""
        half = self.width // 2
        matrix = torch.zeros(self.width, self.width, dtype=torch.float64)
        for i in range(half):
            angle = position / self.theta ** (2 * i / self.width)
            matrix[i, i] = matrix[i + half, i + half] = math.cos(angle)
            matrix[i, i + half], matrix[i + half, i] = -math.sin(angle), math.sin(angle)
        return matrix

    def _parts(self, x: Tensor) -> list[Tensor]:
        """Each head's own part of x."""
        return list(x.split(self.width, 1))

    def _forward(self, index: int, x: Tensor) -> Layer:
        at = f"model.layers.{index}"
        layer = Layer(x, self._norm(f"{at}.input_layernorm", x))
        for name in "qkv":
            projected = self._linear(f"{at}.self_attn.{name}_proj", layer.normed)
            layer.projected[name] = projected
            parts = [self._norm(f"{at}.self_attn.{name}_norm", part) for part in self._parts(projected)]
            if name != "v":
                rows = range(len(x))
                parts = [torch.stack([self._rotation(n) @ part[n] for n in rows]) for part in parts]
            layer.turned[name] = torch.cat(parts, 1)
        for head in range(self.heads):
            group = head * self.groups // self.heads
            q = self._parts(layer.turned["q"])[head]
            k, v = (self._parts(layer.turned[name])[group] for name in "kv")
            scores = q @ k.T * self.scale
            bounded = scores if self.bound is None else self.bound * torch.tanh(scores / self.bound)
            weights = torch.zeros_like(scores)
            for n in range(len(x)):
                window = self.windows[index]
                first = 0 if window is None else max(0, n - window + 1)
                exponents = torch.exp(bounded[n, first : n + 1] - bounded[n, first : n + 1].max())
                weights[n, first : n + 1] = exponents / exponents.sum()
            layer.heads.append(Head(q, k, v, scores, weights, weights @ v))
        layer.context = torch.cat([head.context for head in layer.heads], 1)
        layer.attended = self._linear(f"{at}.self_attn.o_proj", layer.context)
        second = f"{at}.pre_feedforward_layernorm"
        if f"{second}.weight" in self.state:  # then the other stands behind the attention
            layer.middle = x + self._norm(f"{at}.post_attention_layernorm", layer.attended)
        else:
            layer.middle, second = x + layer.attended, f"{at}.post_attention_layernorm"
        layer.inner_normed = self._norm(second, layer.middle)
        layer.gate = self._linear(f"{at}.mlp.gate_proj", layer.inner_normed)
        layer.active = self.act(layer.gate)
        layer.up = self._linear(f"{at}.mlp.up_proj", layer.inner_normed)
        layer.product = layer.active * layer.up
        layer.down = self._linear(f"{at}.mlp.down_proj", layer.product)
        layer.y = layer.middle + self._norm(f"{at}.post_feedforward_layernorm", layer.down)
        return layer

    # --- relevance, from the output of a layer to its input ---------------------------------------------

    def _backward(self, index: int, layer: Layer, R: Tensor, attention_constant: bool) -> Tensor:
        at = f"model.layers.{index}"

        def linear(name: str, R: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return oracles.epsilon(R, x, self.state[f"{at}.{name}.weight"], y)

        to_middle = layer.middle / layer.y * R
        R_down = R - to_middle
        R_product = linear("mlp.down_proj", R_down, layer.product, layer.down)
        R_normed = linear("mlp.gate_proj", R_product / 2, layer.inner_normed, layer.gate)
        R_normed = R_normed + linear("mlp.up_proj", R_product / 2, layer.inner_normed, layer.up)
        R = to_middle + R_normed
        to_x = layer.x / layer.middle * R
        R_context = linear("self_attn.o_proj", R - to_x, layer.context, layer.attended)
        turned = {name: torch.zeros_like(layer.turned[name]) for name in "qkv"}
        for number, head in enumerate(layer.heads):
            group = number * self.groups // self.heads
            own, shared = (slice(i * self.width, (i + 1) * self.width) for i in (number, group))
            shares = (0.0, 1.0) if attention_constant else (0.5, 0.5)
            R_weights, R_v = oracles.split(R_context[:, own], head.weights, head.v, head.context, *shares)
            turned["v"][:, shared] += R_v
            if not attention_constant:
                R_scores = self._softmax(head, R_weights)
                R_q, R_k = oracles.split(R_scores, head.q, head.k.T, head.scores / self.scale)
                turned["q"][:, own] += R_q
                turned["k"][:, shared] += R_k.T
        R_x = torch.zeros_like(layer.x)
        for name in "qkv":
            parts = self._parts(turned[name])
            if name != "v":
                parts = [self._turned_back(index, name, i, part, layer) for i, part in enumerate(parts)]
            R_name = torch.cat(parts, 1)  # a norm of queries or keys is a diagonal matrix
            R_x = R_x + linear(f"self_attn.{name}_proj", R_name, layer.normed, layer.projected[name])
        return to_x + R_x

    def _softmax(self, head: Head, R: Tensor) -> Tensor:
        """What bounded scores get; bounding them hands it on as it is."""
        bounded = head.scores if self.bound is None else self.bound * torch.tanh(head.scores / self.bound)
        return oracles.softmax(R, bounded, head.weights)

    def _turned_back(self, index: int, name: str, number: int, R: Tensor, layer: Layer) -> Tensor:
        before = self._norm(
            f"model.layers.{index}.self_attn.{name}_norm", self._parts(layer.projected[name])[number]
        )
        after = self._parts(layer.turned[name])[number]
        rows = [
            oracles.epsilon(R[n : n + 1], before[n : n + 1], self._rotation(n), after[n : n + 1])
            for n in range(len(R))
        ]
        return torch.cat(rows)
