"""A classifier with a mixture of experts, written out from the papers in plain float64 torch.

Nothing here comes from whybert or from a model's code.  What a rule holds constant is detached, a factor that
gets half is halved; then relevance is the embedding times its gradient.

* Blocks: Zhang and Sennrich 2019 (RMSNorm), Su et al. 2021 (rotary positions), Ainslie et al. 2023 (grouped
  queries), Shazeer 2020 (SwiGLU), Jiang et al. 2024 (Mixtral: the softmax of the chosen experts' logits).
* Rules: Achtibat et al. 2024 (AttnLRP) and Ali et al. 2022 (CP-LRP); the weights of experts as in LXT's code
  for Mixtral, half to each factor in the one, constants in the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


def half(x: Tensor) -> Tensor:
    """x, with half of its gradient."""
    return x / 2 + x.detach() / 2


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), all of whose relevance is x's."""
    return x * torch.sigmoid(x).detach()


def sigmoid(x: Tensor) -> Tensor:
    """1 / 2 + x (sigmoid(x) - 1 / 2) / x: the first is a constant, the second all x's."""
    y = torch.sigmoid(x).detach()
    return 0.5 + x * ((y - 0.5) / x.detach())


@dataclass(frozen=True)
class Twin:
    """A decoder of Mixtral's kind for one text without padding.

    state: its parameters by the names that transformers has for them.
    renormalised: whether the weights of the experts that are chosen sum to 1.
    attention_constant: CP-LRP, else AttnLRP.
    """

    state: Mapping[str, Tensor]
    heads: int
    groups: int
    width: int
    chosen: int
    renormalised: bool
    attention_constant: bool
    eps: float = 1e-6
    theta: float = 10000.0

    def relevance(self, ids: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """(seq, hidden) at the embedding, of a logit, and the logits."""
        x = self.state["model.embed_tokens.weight"][ids].clone().requires_grad_()
        logits = self.logits(x)
        (gradient,) = torch.autograd.grad(logits[label], x)
        return (x * gradient).detach(), logits.detach()

    def logits(self, x: Tensor) -> Tensor:
        layers = {name.split(".")[2] for name in self.state if name.startswith("model.layers.")}
        for layer in range(len(layers)):
            at = f"model.layers.{layer}"
            x = x + self.attention(f"{at}.self_attn", self.norm(f"{at}.input_layernorm", x))
            x = x + self.feed(f"{at}.mlp", self.norm(f"{at}.post_attention_layernorm", x))
        return self.state["score.weight"] @ self.norm("model.norm", x)[-1]

    def norm(self, name: str, x: Tensor) -> Tensor:
        root = torch.sqrt((x**2).mean(-1, keepdim=True) + self.eps).detach()
        return x / root * self.state[f"{name}.weight"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        bias = self.state.get(f"{name}.bias")
        y = x @ self.state[f"{name}.weight"].T
        return y if bias is None else y + bias

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return half(a) * half(b)

    def weighted(self, weight: Tensor, value: Tensor) -> Tensor:
        """What a softmax or a gate says of the importance of something else."""
        return weight.detach() * value if self.attention_constant else half(weight) * half(value)

    def rotated(self, x: Tensor) -> Tensor:
        """Pairs of features turn with the position."""
        half_width = self.width // 2
        speeds = 1.0 / self.theta ** (torch.arange(0, self.width, 2).double() / self.width)
        angles = torch.arange(len(x)).double()[:, None] * speeds
        cos, sin = angles.cos(), angles.sin()
        first, second = x[:, :half_width], x[:, half_width:]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], 1)

    def attention(self, at: str, x: Tensor) -> Tensor:
        parts = [self.linear(f"{at}.{name}_proj", x).split(self.width, 1) for name in "qkv"]
        found = []
        for head in range(self.heads):
            shared = head * self.groups // self.heads
            q, k, v = parts[0][head], parts[1][shared], parts[2][shared]
            if f"{at}.q_norm.weight" in self.state:
                q, k = self.norm(f"{at}.q_norm", q), self.norm(f"{at}.k_norm", k)
            scores = half(self.rotated(q)) @ half(self.rotated(k)).T / self.width**0.5
            later = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
            weights = torch.softmax(scores.masked_fill(later, -torch.inf), -1)
            found.append(weights.detach() @ v if self.attention_constant else half(weights) @ half(v))
        return self.linear(f"{at}.o_proj", torch.cat(found, 1))

    def feed(self, at: str, x: Tensor) -> Tensor:
        rows = [self.mixed(at, row) for row in x]
        y = torch.stack(rows)
        if f"{at}.shared_expert_gate.weight" in self.state:
            inner = self.product(
                silu(self.linear(f"{at}.shared_expert.gate_proj", x)),
                self.linear(f"{at}.shared_expert.up_proj", x),
            )
            gate = sigmoid(self.linear(f"{at}.shared_expert_gate", x))
            y = y + self.weighted(gate, self.linear(f"{at}.shared_expert.down_proj", inner))
        return y

    def mixed(self, at: str, row: Tensor) -> Tensor:
        """Of one token."""
        logits = self.state[f"{at}.gate.weight"] @ row
        experts = sorted(range(len(logits)), key=logits.tolist().__getitem__, reverse=True)[: self.chosen]
        # Of the chosen alone, softmax(x) / its sum over them is the softmax of theirs.
        weights = torch.softmax(logits[experts] if self.renormalised else logits, -1)
        total = torch.zeros_like(row)
        for place, expert in enumerate(experts):
            gate, up = (self.state[f"{at}.experts.gate_up_proj"][expert] @ row).chunk(2)
            out = self.state[f"{at}.experts.down_proj"][expert] @ self.product(silu(gate), up)
            total = total + self.weighted(weights[place if self.renormalised else expert], out)
        return total
