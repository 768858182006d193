"""Literal twins of encoder-decoder classifiers: T5 and BART, AttnLRP and CP-LRP, in float64.

Nothing here comes from whybert or from a model's code.  The forward pass is written out from the weights, one
text at a time and without padding, with what a method holds constant detached and the shares of products
written out; the derivative is torch's own.  Relevance is then E * dy/dE at both places where words are looked
up: the encoder's, and the decoder's, whose words are those of the text, one place to the right, behind a
start token.

T5: Raffel et al. 2020 (arXiv 1910.10683) and, for the gated kind, Shazeer 2020 (arXiv 2002.05202).
BART: Lewis et al. 2020 (arXiv 1910.13461).
AttnLRP: Achtibat et al. 2024 (arXiv 2402.05602); CP-LRP: Ali et al. 2022 (arXiv 2202.07304).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b, number by number, of whose relevance each factor gets a half."""
    return (a * b.detach() + a.detach() * b) / 2


def matrices(a: Tensor, b: Tensor) -> Tensor:
    """The same of a product of matrices."""
    return (a @ b.detach() + a.detach() @ b) / 2


def identity(x: Tensor, y: Tensor) -> Tensor:
    """y = f(x), of which x gets all that y has: x times the constant f(x) / x."""
    return x * (y / x).detach()


def gelu(x: Tensor) -> Tensor:
    return identity(x, x * 0.5 * (1 + torch.erf(x / math.sqrt(2))))


def gelu_tanh(x: Tensor) -> Tensor:
    return identity(x, 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def relu(x: Tensor) -> Tensor:
    return x * (x > 0).double()


def tanh(x: Tensor) -> Tensor:
    return identity(x, torch.tanh(x))


def root_mean_square(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x over a constant root mean square.  T5 takes it in float32, whatever its own precision."""
    mean = x.detach().float().pow(2).mean(-1, keepdim=True)
    return x * torch.rsqrt(mean + eps).double() * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """The deviation is a constant, the mean is none."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.detach().pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def attended(scores: Tensor, values: Tensor, rules: str) -> Tensor:
    """A V of one head.  AttnLRP: half to each, and softmax keeps its derivative; CP-LRP: A is a constant."""
    weights = torch.exp(scores - scores.detach().amax(-1, keepdim=True))
    weights = weights / weights.sum(-1, keepdim=True)
    return weights.detach() @ values if rules == "cp_lrp" else matrices(weights, values)


@dataclass
class Twin:
    """weights: by the names of the model's.  heads: of each attention.  eps: of norms.  rules: the method."""

    weights: Weights
    heads: int
    eps: float
    rules: str

    def linear(self, x: Tensor, name: str) -> Tensor:
        y = x @ self.weights[f"{name}.weight"].T
        return y + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else y

    def attention(
        self,
        name: str,
        parts: tuple[str, str, str, str],
        x: Tensor,
        read: Tensor,
        scale: float,
        bias: Tensor | None,
        causal: bool,
    ) -> Tensor:
        """Of the positions x to those of `read`; bias: (heads, queries, keys)."""
        q, k, v = (
            self.linear(source, f"{name}.{part}").view(len(source), self.heads, -1).unbind(1)
            for source, part in zip((x, read, read), parts[:3], strict=True)
        )
        found = []
        for head in range(self.heads):
            scores = matrices(q[head], k[head].T) * scale
            if bias is not None:
                scores = scores + bias[head]
            if causal:
                scores = scores + torch.full_like(scores, -math.inf).triu(1)
            found.append(attended(scores, v[head], self.rules))
        return self.linear(torch.cat(found, -1), f"{name}.{parts[3]}")

    def encoded(self, words: Tensor) -> Tensor:
        raise NotImplementedError

    def decoded(self, words: Tensor, encoded: Tensor) -> Tensor:
        raise NotImplementedError

    def embedded(self, ids: Tensor, part: str) -> Tensor:
        """What the first layer of the encoder, or of the decoder, reads."""
        raise NotImplementedError

    def head(self, state: Tensor) -> Tensor:
        state = tanh(self.linear(state, "classification_head.dense"))
        return self.linear(state, "classification_head.out_proj")

    def relevance(self, ids: Tensor, start: int, end: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
        """The logits, and the relevance of the encoder's and of the decoder's positions.

        The class is read where the text, as the decoder's, has its last token `end`.
        """
        shifted = torch.cat([torch.tensor([start]), ids[:-1]])
        words = [
            self.embedded(each, part).detach().requires_grad_()
            for each, part in ((ids, "encoder"), (shifted, "decoder"))
        ]
        states = self.decoded(words[1], self.encoded(words[0]))
        logits = self.head(states[int((ids == end).nonzero()[-1])])
        gradients = torch.autograd.grad(logits[target], words)
        found = [(each * gradient).sum(-1).detach() for each, gradient in zip(words, gradients, strict=True)]
        return logits.detach(), found[0], found[1]


@dataclass
class T5(Twin):
    """layers: of the encoder and the decoder.  buckets, distance: of its relative positions."""

    layers: int
    buckets: int
    distance: int
    is_gated: bool

    def bucket(self, relative: int, both: bool) -> int:
        """Which bias keys so far behind a query have: near ones each their own, far ones in a logarithm."""
        count, first = self.buckets, 0
        if both:
            count //= 2
            first = count if relative > 0 else 0
            away = abs(relative)
        else:
            away = max(-relative, 0)
        exact = count // 2
        if away < exact:
            return first + away
        far = math.log(away / exact) / math.log(self.distance / exact) * (count - exact)
        return first + min(exact + int(far), count - 1)

    def positions(self, part: str, count: int) -> Tensor:
        """(heads, queries, keys)."""
        table = self.weights[
            f"transformer.{part}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        ]
        rows = [
            [table[self.bucket(key - query, part == "encoder")] for key in range(count)]
            for query in range(count)
        ]
        return torch.stack([torch.stack(row) for row in rows]).permute(2, 0, 1)

    def embedded(self, ids: Tensor, part: str) -> Tensor:
        return self.weights["transformer.shared.weight"][ids]

    def norm(self, x: Tensor, name: str) -> Tensor:
        return root_mean_square(x, self.weights[f"{name}.weight"], self.eps)

    def forward_layer(self, x: Tensor, name: str) -> Tensor:
        normed, name = self.norm(x, f"{name}.layer_norm"), f"{name}.DenseReluDense"
        if self.is_gated:
            gate = gelu_tanh(self.linear(normed, f"{name}.wi_0"))
            return x + self.linear(product(gate, self.linear(normed, f"{name}.wi_1")), f"{name}.wo")
        return x + self.linear(relu(self.linear(normed, f"{name}.wi")), f"{name}.wo")

    def stack(self, part: str, x: Tensor, encoded: Tensor | None) -> Tensor:
        names = ("q", "k", "v", "o")
        bias = self.positions(part, len(x))
        for number in range(self.layers):
            block = f"transformer.{part}.block.{number}.layer"
            normed = self.norm(x, f"{block}.0.layer_norm")
            own = f"{block}.0.SelfAttention"
            x = x + self.attention(own, names, normed, normed, 1.0, bias, encoded is not None)
            if encoded is not None:
                normed = self.norm(x, f"{block}.1.layer_norm")
                cross = f"{block}.1.EncDecAttention"
                x = x + self.attention(cross, names, normed, encoded, 1.0, None, False)
            x = self.forward_layer(x, f"{block}.{1 if encoded is None else 2}")
        return self.norm(x, f"transformer.{part}.final_layer_norm")

    def encoded(self, words: Tensor) -> Tensor:
        return self.stack("encoder", words, None)

    def decoded(self, words: Tensor, encoded: Tensor) -> Tensor:
        return self.stack("decoder", words, encoded)


@dataclass
class Bart(Twin):
    """layers: of the encoder and the decoder."""

    layers: int

    def embedded(self, ids: Tensor, part: str) -> Tensor:
        places = self.weights[f"model.{part}.embed_positions.weight"][2 : 2 + len(ids)]
        return self.norm(
            self.weights["model.shared.weight"][ids] + places, f"model.{part}.layernorm_embedding"
        )

    def norm(self, x: Tensor, name: str) -> Tensor:
        return layer_norm(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def stack(self, part: str, x: Tensor, encoded: Tensor | None) -> Tensor:
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        scale = (x.shape[-1] // self.heads) ** -0.5
        for number in range(self.layers):
            layer = f"model.{part}.layers.{number}"
            own = self.attention(f"{layer}.self_attn", names, x, x, scale, None, encoded is not None)
            x = self.norm(x + own, f"{layer}.self_attn_layer_norm")
            if encoded is not None:
                cross = self.attention(f"{layer}.encoder_attn", names, x, encoded, scale, None, False)
                x = self.norm(x + cross, f"{layer}.encoder_attn_layer_norm")
            inner = gelu(self.linear(x, f"{layer}.fc1"))
            x = self.norm(x + self.linear(inner, f"{layer}.fc2"), f"{layer}.final_layer_norm")
        return x

    def encoded(self, words: Tensor) -> Tensor:
        return self.stack("encoder", words, None)

    def decoded(self, words: Tensor, encoded: Tensor) -> Tensor:
        return self.stack("decoder", words, encoded)
