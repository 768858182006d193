"""Slow, literal twins of what whybert computes, in float64, from the papers' own formulas.

Nothing here comes from whybert or from a model's code: the forward pass is written out from the weights,
relevance is handed on as relevance (R, not R / x), one row of a batch at a time and without padding.

* `epsilon`, `alpha_beta`, `split`, ...  one rule each.
* `Bert`  a BERT classifier: forward pass, AttnLRP, CP-LRP, the released recursion, LAT, gradients.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.functional import jacobian

EPS = 1e-7  # of the released code

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(R, x, W, b): what a linear layer hands on."""
Unary = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(R, x, f(x)): what a function of x hands on."""

# --- element-wise functions, on Python floats --------------------------------------------------------


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def gelu_tanh_gate(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def tanh_over_x(x: float) -> float:
    return 1.0 if x == 0.0 else math.tanh(x) / x


# f(x) / x of each activation, with its limit (for ReLU the value from the left) at 0.
RATIOS: dict[str, Callable[[float], float]] = {
    "gelu": normal_cdf,
    "gelu_tanh": gelu_tanh_gate,
    "relu": lambda x: 1.0 if x > 0 else 0.0,
    "silu": logistic,
    "tanh": tanh_over_x,
    "quick_gelu": lambda x: logistic(1.702 * x),
}


def apply(function: Callable[[float], float], x: Tensor) -> Tensor:
    """function of each number, in float64."""
    values = [function(float(number)) for number in x.double().flatten()]
    return torch.tensor(values, dtype=torch.float64).view(x.shape)


# --- rules for one operation ------------------------------------------------------------------------


def epsilon(R: Tensor, x: Tensor, W: Tensor, y: Tensor) -> Tensor:
    """R_i = sum_j x_i w_ji / y_j R_j: each output hands its relevance out by contribution; the bias
    keeps its own part.  x: (rows, in), W: (out, in), y and R: (rows, out)."""
    found = torch.zeros_like(x)
    for row in range(len(x)):
        share = W * x[row][None, :] / y[row][:, None]  # (out, in)
        found[row] = share.T @ R[row]
    return found


def alpha_beta(R: Tensor, x: Tensor, W: Tensor, b: Tensor | None, alpha: float = 0.5) -> Tensor:
    """The released rule, number by number: positive and negative part of the WEIGHT, the absolute
    value, the rescaling of each row.  R: (rows, out), x: (rows, in), W: (out, in), b: (out,)."""
    outputs, inputs = W.shape
    w, bias = W.tolist(), [0.0] * outputs if b is None else b.tolist()
    found = []
    for above, numbers in zip(R.tolist(), x.tolist(), strict=True):
        total = [0.0] * inputs
        for j in range(outputs):
            positive = [max(weight, 0.0) for weight in w[j]]
            negative = [min(weight, 0.0) for weight in w[j]]
            z_plus = sum(p * v for p, v in zip(positive, numbers, strict=True)) + max(bias[j], 0.0) + EPS
            z_minus = sum(n * v for n, v in zip(negative, numbers, strict=True)) + min(bias[j], 0.0) - EPS
            plus, minus = alpha * above[j] / z_plus, (1.0 - alpha) * above[j] / z_minus
            for i in range(inputs):
                total[i] += numbers[i] * (positive[i] * plus + negative[i] * minus)
        new = [abs(value) for value in total]
        scale = (sum(above) + EPS) / (sum(new) + EPS)
        found.append([value * scale for value in new])
    return torch.tensor(found, dtype=torch.float64)


def stabilised(R: Tensor, x: Tensor, W: Tensor, b: Tensor, *, eps: float) -> Tensor:
    """LRP-epsilon, number by number: R_i = sum_j x_i w_ji R_j / (y_j + eps sign(y_j))."""

    def shares(parts: list[float]) -> list[float]:
        y = sum(parts)
        return [part / (y + math.copysign(eps, y)) for part in parts]

    return _by_contribution(R, x, W, b, shares)


def favouring(R: Tensor, x: Tensor, W: Tensor, b: Tensor, *, gamma: float) -> Tensor:
    """LRP-gamma for inputs of both signs: contributions of the sign of the output count 1 + gamma times."""

    def shares(parts: list[float]) -> list[float]:
        y = sum(parts)
        counted = [part * (1.0 + gamma) if part * y > 0 else part for part in parts]
        return [part / sum(counted) for part in counted]

    return _by_contribution(R, x, W, b, shares)


def by_sign(R: Tensor, x: Tensor, W: Tensor, b: Tensor, *, alpha: float) -> Tensor:
    """LRP-alpha-beta on the sign of the contribution; where all have one sign, they share all there is."""

    def shares(parts: list[float]) -> list[float]:
        plus, minus = sum(p for p in parts if p > 0), sum(p for p in parts if p < 0)
        if not plus or not minus:
            return [part / ((plus + minus) or 1.0) for part in parts]
        return [alpha * part / plus if part > 0 else (1.0 - alpha) * part / minus for part in parts]

    return _by_contribution(R, x, W, b, shares)


def _by_contribution(
    R: Tensor, x: Tensor, W: Tensor, b: Tensor, shares: Callable[[list[float]], list[float]]
) -> Tensor:
    """Each output hands out its relevance by the shares of x_i w_ji and of its bias, which keeps its own."""
    found = []
    for above, numbers in zip(R.tolist(), x.tolist(), strict=True):
        row = [0.0] * len(numbers)
        for R_j, weights, bias in zip(above, W.tolist(), b.tolist(), strict=True):
            parts = shares([*(v * w for v, w in zip(numbers, weights, strict=True)), bias])
            row = [total + part * R_j for total, part in zip(row, parts, strict=False)]  # not the bias's
        found.append(row)
    return torch.tensor(found, dtype=torch.float64)


def normalisation(R: Tensor, x: Tensor, weight: Tensor, y: Tensor, eps: float) -> Tensor:
    """LayerNorm with its deviation as a constant: y = D (x - mean(x)) + b is linear, so `epsilon`
    with the matrix D (1 - 1/n), D = diag(weight / deviation), a matrix a row."""
    width = x.shape[1]
    centre = torch.eye(width, dtype=x.dtype) - torch.full((width, width), 1.0 / width, dtype=x.dtype)
    found = torch.zeros_like(x)
    for row in range(len(x)):
        variance = ((x[row] - x[row].mean()) ** 2).mean()
        matrix = torch.diag(weight / torch.sqrt(variance + eps)) @ centre
        found[row] = epsilon(R[row : row + 1], x[row : row + 1], matrix, y[row : row + 1])[0]
    return found


def softmax(R: Tensor, x: Tensor, s: Tensor) -> Tensor:
    """Achtibat et al., proposition 3.1: R_i = x_i (R_i - s_i sum_j R_j), over the last dimension."""
    return x * (R - s * R.sum(-1, keepdim=True))


def split(
    R: Tensor, a: Tensor, b: Tensor, y: Tensor, to_a: float = 0.5, to_b: float = 0.5
) -> tuple[Tensor, Tensor]:
    """y = a b, (m, n) = (m, k) (k, n): each summand a_mk b_kn hands its part of R_mn to its factors."""
    R_a, R_b = torch.zeros_like(a), torch.zeros_like(b)
    for m, k, n in itertools.product(range(a.shape[0]), range(a.shape[1]), range(b.shape[1])):
        part = a[m, k] * b[k, n] / y[m, n] * R[m, n]
        R_a[m, k] += to_a * part
        R_b[k, n] += to_b * part
    return R_a, R_b


def through(function: Callable[[Tensor], Tensor], x: Tensor, R: Tensor) -> Tensor:
    """R as a gradient: the whole Jacobian matrix of `function` at x, transposed, times R."""
    matrix = jacobian(function, x, vectorize=True).reshape(R.numel(), x.numel())
    return (matrix.T @ R.reshape(-1)).view(x.shape)


# --- a BERT classifier, written out ---------------------------------------------------------------------


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


@dataclass
class Layer:
    """What one encoder layer computed, (seq, width) each; scores and weights a matrix for each head."""

    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    scores: list[Tensor]
    weights: list[Tensor]
    context: Tensor
    dense: Tensor
    middle_sum: Tensor
    middle: Tensor
    inner: Tensor
    active: Tensor
    out: Tensor
    out_sum: Tensor
    y: Tensor


@dataclass
class Trace:
    embedding: Tensor
    layers: list[Layer]
    pooled: Tensor
    pooled_active: Tensor
    logits: Tensor


class Bert:
    """The weights of a `BertForSequenceClassification`, and everything computed from them for one text."""

    def __init__(self, state: Mapping[str, Tensor], heads: int, eps: float) -> None:
        self.state = {name: tensor.detach().double() for name, tensor in state.items()}
        self.heads, self.eps = heads, eps
        self.depth = len({name.split(".")[3] for name in state if name.startswith("bert.encoder.layer.")})

    def _w(self, name: str) -> tuple[Tensor, Tensor]:
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        W, b = self._w(name)
        return x @ W.T + b

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return layer_norm(x, *self._w(name), self.eps)

    def embed(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        parts = "bert.embeddings.{}_embeddings.weight"
        segments = torch.zeros_like(ids) if segments is None else segments
        total = (
            self.state[parts.format("word")][ids]
            + self.state[parts.format("token_type")][segments]
            + self.state[parts.format("position")][: len(ids)]
        )
        return self._norm("bert.embeddings.LayerNorm", total)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        width = q.shape[1] // self.heads
        parts = [slice(h * width, (h + 1) * width) for h in range(self.heads)]
        scores = [q[:, part] @ k[:, part].T / math.sqrt(width) for part in parts]
        weights = []
        for matrix in scores:
            e = torch.exp(matrix - matrix.max(-1, keepdim=True).values)
            weights.append(e / e.sum(-1, keepdim=True))
        context = [A @ v[:, part] for A, part in zip(weights, parts, strict=True)]
        return scores, weights, torch.cat(context, 1)

    def _heads(self, x: Tensor) -> list[Tensor]:
        width = x.shape[1] // self.heads
        return [x[:, h * width : (h + 1) * width] for h in range(self.heads)]

    def forward(self, embedding: Tensor, given: Mapping[int, Tensor] | None = None, first: int = 0) -> Trace:
        """given: of a layer the weights (heads, seq, seq) that its attention has instead of its own.
        first: the layer that reads what is given as the embedding."""
        layers = []
        x = embedding
        for i in range(first, self.depth):
            at = f"bert.encoder.layer.{i}"
            q, k, v = (self._linear(f"{at}.attention.self.{n}", x) for n in ("query", "key", "value"))
            scores, weights, context = self._attend(q, k, v)
            if given is not None and i in given:
                weights = list(given[i])
                context = torch.cat([A @ part for A, part in zip(weights, self._heads(v), strict=True)], 1)
            dense = self._linear(f"{at}.attention.output.dense", context)
            middle = self._norm(f"{at}.attention.output.LayerNorm", dense + x)
            inner = self._linear(f"{at}.intermediate.dense", middle)
            active = gelu(inner)
            out = self._linear(f"{at}.output.dense", active)
            y = self._norm(f"{at}.output.LayerNorm", out + middle)
            layers.append(
                Layer(x, q, k, v, scores, weights, context, dense, dense + x, middle, inner, active, out,
                      out + middle, y)
            )  # fmt: skip
            x = y
        pooled = self._linear("bert.pooler.dense", x[:1])
        active = torch.tanh(pooled)
        return Trace(embedding, layers, pooled, active, self._linear("classifier", active)[0])

    # --- the methods, each (seq, hidden) at the embedding ------------------------------------------

    def gradient(self, embedding: Tensor, seed: Tensor) -> Tensor:
        """d (seed . logits) / d embedding, from the whole Jacobian."""
        return through(lambda e: self.forward(e).logits, embedding, seed)

    def modern(self, trace: Trace, seed: Tensor, **how: Any) -> Tensor:
        """AttnLRP, CP-LRP or a variant of them, at the embedding; see `modern_inside`."""
        return self.modern_inside(trace, seed, **how)[0][0]

    def modern_inside(
        self,
        trace: Trace,
        seed: Tensor,
        *,
        attention_constant: bool | Sequence[bool],
        linear: Rule | Mapping[str, Rule] | None = None,
        gelu: Unary = lambda R, x, y: R,
        tanh: Unary = lambda R, x, y: R,
        softmax: Unary = softmax,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The relevance at the input of each layer and at the last one's output, (seq, hidden) each, from the
        bottom up, and at what the heads of each layer hand on.

        attention_constant: AttnLRP, or CP-LRP where the attention weights are constants; or which of the two
            in each layer.
        linear: the rule of linear layers, or of those whose name begins so; for others and for None it is
            `epsilon`, in which nothing is stabilised.
        gelu, tanh, softmax: what these hand on.  f(x) / x as a derivative is R handed on as it is.
        """

        def layer_rule(name: str, R: Tensor, x: Tensor, y: Tensor) -> Tensor:
            W, b = self._w(name)
            rules = linear if isinstance(linear, Mapping) else {"": linear}
            rule = next((rule for start, rule in rules.items() if rule and name.startswith(start)), None)
            return epsilon(R, x, W, y) if rule is None else rule(R, x, W, b)

        if isinstance(attention_constant, bool):
            attention_constant = [attention_constant] * self.depth
        R = layer_rule("classifier", (trace.logits * seed)[None], trace.pooled_active, trace.logits[None])
        R = tanh(R, trace.pooled, trace.pooled_active)
        last = trace.layers[-1].y
        first = layer_rule("bert.pooler.dense", R, last[:1], trace.pooled)
        R = torch.zeros_like(last)
        R[0] = first[0]
        states, contexts = [R], []
        for i, layer in reversed(list(enumerate(trace.layers))):
            at = f"bert.encoder.layer.{i}"
            R, context = self._modern_layer(at, layer, R, attention_constant[i], layer_rule, gelu, softmax)
            states.insert(0, R)
            contexts.insert(0, context)
        return states, contexts

    def _modern_layer(
        self,
        at: str,
        layer: Layer,
        R: Tensor,
        attention_constant: bool,
        linear: Callable[[str, Tensor, Tensor, Tensor], Tensor],
        gelu: Unary,
        softmax: Unary,
    ) -> tuple[Tensor, Tensor]:
        R = normalisation(R, layer.out_sum, self._w(f"{at}.output.LayerNorm")[0], layer.y, self.eps)
        R_out, R_middle = R * layer.out / layer.out_sum, R * layer.middle / layer.out_sum
        R_active = linear(f"{at}.output.dense", R_out, layer.active, layer.out)
        R_inner = gelu(R_active, layer.inner, layer.active)
        R_middle += linear(f"{at}.intermediate.dense", R_inner, layer.middle, layer.inner)
        norm = self._w(f"{at}.attention.output.LayerNorm")[0]
        R = normalisation(R_middle, layer.middle_sum, norm, layer.middle, self.eps)
        R_dense, R_x = R * layer.dense / layer.middle_sum, R * layer.x / layer.middle_sum
        R_context = linear(f"{at}.attention.output.dense", R_dense, layer.context, layer.dense)
        R_q, R_k, R_v = (torch.zeros_like(t) for t in (layer.q, layer.k, layer.v))
        width = layer.q.shape[1] // self.heads
        for h in range(self.heads):
            part = slice(h * width, (h + 1) * width)
            to_weights, to_values = (0.0, 1.0) if attention_constant else (0.5, 0.5)
            R_weights, R_v[:, part] = split(
                R_context[:, part], layer.weights[h], layer.v[:, part], layer.context[:, part],
                to_weights, to_values,
            )  # fmt: skip
            R_scores = softmax(R_weights, layer.scores[h], layer.weights[h])
            products = layer.scores[h] * math.sqrt(width)
            R_q[:, part], R_k_T = split(R_scores, layer.q[:, part], layer.k[:, part].T, products)
            R_k[:, part] = R_k_T.T
        for name, R_y, y in (("query", R_q, layer.q), ("key", R_k, layer.k), ("value", R_v, layer.v)):
            R_x += linear(f"{at}.attention.self.{name}", R_y, layer.x, y)
        return R_x, R_context

    def released(self, trace: Trace, seed: Tensor, *, residual: str, alpha: float = 0.5) -> Tensor:
        """The code released in 2021, layer by layer; `residual` as in the README of the references."""
        R = (trace.logits * seed)[None]
        R = alpha_beta(R, trace.pooled_active, *self._w("classifier"), alpha)
        last = trace.layers[-1].y
        first = alpha_beta(R, last[:1], *self._w("bert.pooler.dense"), alpha)
        R = torch.zeros_like(last)
        R[0] = first[0]
        for i, layer in reversed(list(enumerate(trace.layers))):
            at = f"bert.encoder.layer.{i}"
            R = self._sub_layer(
                R, layer.middle, f"{at}.output.LayerNorm", residual,
                dense=lambda x, at=at: self._linear(
                    f"{at}.output.dense", gelu(self._linear(f"{at}.intermediate.dense", x))
                ),
                rule=lambda total, at=at, layer=layer: alpha_beta(
                    alpha_beta(total, layer.active, *self._w(f"{at}.output.dense"), alpha),
                    layer.middle, *self._w(f"{at}.intermediate.dense"), alpha,
                ),
            )  # fmt: skip
            R = self._sub_layer(
                R, layer.x, f"{at}.attention.output.LayerNorm", residual,
                dense=lambda x, at=at: self._attention_block(at, x),
                rule=lambda total, at=at, layer=layer: self._released_attention(at, layer, total, alpha),
            )  # fmt: skip
        return R

    def _sub_layer(
        self,
        R: Tensor,
        x: Tensor,
        norm: str,
        residual: str,
        dense: Callable[[Tensor], Tensor],
        rule: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """x -> LayerNorm(dense(x) + x)."""
        total = through(lambda t: self._norm(norm, t), dense(x) + x, R)
        if residual == "once":
            return total + rule(total)
        return through(lambda x: self._norm(norm, dense(x) + x), x, R) + rule(total)

    def _attention_block(self, at: str, x: Tensor) -> Tensor:
        q, k, v = (self._linear(f"{at}.attention.self.{n}", x) for n in ("query", "key", "value"))
        return self._linear(f"{at}.attention.output.dense", self._attend(q, k, v)[2])

    def _released_attention(self, at: str, layer: Layer, total: Tensor, alpha: float) -> Tensor:
        R = alpha_beta(total, layer.context, *self._w(f"{at}.attention.output.dense"), alpha)
        q, k, v = layer.q, layer.k, layer.v
        above = {
            "query": through(lambda q: self._attend(q, k, v)[2], q, R),
            "key": through(lambda k: self._attend(q, k, v)[2], k, R),
            "value": through(lambda v: self._attend(q, k, v)[2], v, R),
        }
        found = torch.zeros_like(layer.x)
        for name, R_y in above.items():
            found += alpha_beta(R_y, layer.x, *self._w(f"{at}.attention.self.{name}"), alpha)
        return found

    def lat(self, trace: Trace) -> Tensor:
        """Layerwise attention tracing, head by head and token by token, (seq,)."""
        length = len(trace.embedding)
        total = [0.0] * length
        for h in range(self.heads):
            weight = [1.0] + [0.0] * (length - 1)
            for layer in reversed(trace.layers):
                A = layer.weights[h].tolist()
                weight = [sum(weight[a] * A[a][b] for a in range(length)) for b in range(length)]
            total = [t + w for t, w in zip(total, weight, strict=True)]
        return torch.tensor(total, dtype=torch.float64)

    # --- attention and decomposition, (seq,) each ----------------------------------------------------------

    def attention(self, trace: Trace, layer: int) -> Tensor:
        return sum(trace.layers[layer].weights)[0] / self.heads  # type: ignore[index]

    def rollout(self, trace: Trace) -> Tensor:
        """Abnar and Zuidema 2020, section 3: A = W / 2 + I / 2, multiplied from the first layer up."""
        joint = torch.eye(len(trace.embedding), dtype=torch.float64)
        for layer in trace.layers:
            joint = (sum(layer.weights) / self.heads / 2 + torch.eye(len(joint)) / 2) @ joint
        return joint[0]

    def gradient_attention(self, trace: Trace, seed: Tensor) -> Tensor:
        """Chefer et al. 2021, equations 5 and 6."""
        R = torch.eye(len(trace.embedding), dtype=torch.float64)
        for i, layer in enumerate(trace.layers):
            A = torch.stack(layer.weights)
            gradient = through(lambda A, i=i: self.forward(trace.embedding, {i: A}).logits, A, seed)
            R = R + (gradient * A).clamp(min=0).mean(0) @ R
        return R[0]

    def attcat(self, trace: Trace, seed: Tensor, reference: Trace | None = None) -> Tensor:
        """Qiang et al. 2022 and, with a reference, Han et al. 2025, as their code has it, unscaled."""
        total = torch.zeros(len(trace.embedding), dtype=torch.float64)
        for i, layer in enumerate(trace.layers):
            gradient = through(lambda x, i=i: self.forward(x, first=i).logits, layer.x, seed)
            attention = torch.stack(layer.weights).mean(0).mean(0)
            state = layer.x if reference is None else layer.x - reference.layers[i].x
            total += attention * (gradient * state).sum(-1)
        return total

    def value_zeroing(self, trace: Trace) -> Tensor:
        """Mohebbi et al. 2023, and their rollout, which adds no identity."""
        length = len(trace.embedding)
        joint = torch.eye(length, dtype=torch.float64)
        for i, layer in enumerate(trace.layers):
            C = torch.zeros(length, length, dtype=torch.float64)
            for j in range(length):
                v = layer.v.clone()
                v[j] = 0.0
                context = torch.cat(
                    [A @ part for A, part in zip(layer.weights, self._heads(v), strict=True)], 1
                )
                y = self._behind_attention(f"bert.encoder.layer.{i}", layer.x, context)
                for row in range(length):
                    a, b = layer.y[row], y[row]
                    C[row, j] = 1.0 - (a @ b) / (a.norm() * b.norm())
            joint = (C / C.sum(-1, keepdim=True)) @ joint
        return joint[0]

    def _behind_attention(self, at: str, x: Tensor, context: Tensor) -> Tensor:
        dense = self._linear(f"{at}.attention.output.dense", context)
        middle = self._norm(f"{at}.attention.output.LayerNorm", dense + x)
        active = gelu(self._linear(f"{at}.intermediate.dense", middle))
        return self._norm(f"{at}.output.LayerNorm", self._linear(f"{at}.output.dense", active) + middle)

    def _centred(self, norm: str, z: Tensor, whole: Tensor) -> Tensor:
        """What LayerNorm makes of a part z of `whole`, whose deviation it has, without its bias."""
        deviation = torch.sqrt(((whole - whole.mean()) ** 2).mean() + self.eps)
        return (z - z.mean(-1, keepdim=True)) / deviation * self._w(norm)[0]

    def alti(self, trace: Trace) -> Tensor:
        """Ferrando et al. 2022, section 3, with the bias of the values in them as in their code."""
        length = len(trace.embedding)
        joint = torch.eye(length, dtype=torch.float64)
        for i, layer in enumerate(trace.layers):
            at = f"bert.encoder.layer.{i}.attention.output"
            W_o = self._w(f"{at}.dense")[0]
            C = torch.zeros(length, length, dtype=torch.float64)
            for row in range(length):
                y = layer.middle[row]
                for j in range(length):
                    heads = [
                        A[row, j] * part[j]
                        for A, part in zip(layer.weights, self._heads(layer.v), strict=True)
                    ]
                    T = W_o @ torch.cat(heads) + (layer.x[j] if row == j else 0.0)
                    T = self._centred(f"{at}.LayerNorm", T, layer.middle_sum[row])
                    C[row, j] = max(0.0, float(y.abs().sum() - (y - T).abs().sum()))
            joint = (C / C.sum(-1, keepdim=True)) @ joint
        return joint[0]

    def decompx(self, trace: Trace, biases: bool) -> Tensor:
        """Modarressi et al. 2023, section 3: the logits (labels,) of each token, (seq, labels).

        x[i][k] is the part of token k at position i.  Activations through the origin, "AbsDot" biases.
        """
        length = len(trace.embedding)

        def shared(b: Tensor, z: Tensor) -> Tensor:
            """z: (parts, width)."""
            if not biases:
                return z
            weights = (z @ b).abs()
            return z + (weights / weights.sum())[:, None] * b

        def rows(function: Callable[[int], Tensor]) -> Tensor:
            return torch.stack([function(row) for row in range(length)])

        x = torch.eye(length, dtype=torch.float64)[:, :, None] * trace.embedding
        for i, layer in enumerate(trace.layers):
            at = f"bert.encoder.layer.{i}"
            (W_v, b_v), (W_o, b_o) = (self._w(f"{at}.attention.{n}") for n in ("self.value", "output.dense"))
            moved = torch.zeros_like(x)
            for h, A in enumerate(layer.weights):
                width = len(b_v) // self.heads
                part = slice(h * width, (h + 1) * width)
                for row, source in itertools.product(range(length), range(length)):
                    moved[row] += A[row, source] * (x[source] @ W_v[part].T) @ W_o[:, part].T
            x = rows(lambda row, x=x, m=moved, W=W_o, b=b_v, c=b_o: shared(W @ b + c, m[row] + x[row]))
            norm = f"{at}.attention.output.LayerNorm"
            x = rows(lambda row, x=x, n=norm, s=layer.middle_sum: shared(
                self._w(n)[1], self._centred(n, x[row], s[row])))  # fmt: skip
            (W, b), (W_2, b_2) = (self._w(f"{at}.{n}.dense") for n in ("intermediate", "output"))
            slope = layer.active / layer.inner
            inner = rows(lambda row, x=x, W=W, b=b, s=slope: shared(b, x[row] @ W.T) * s[row])
            x = x + rows(lambda row, a=inner, W=W_2, b=b_2: shared(b, a[row] @ W.T))
            norm = f"{at}.output.LayerNorm"
            x = rows(lambda row, x=x, n=norm, s=layer.out_sum: shared(
                self._w(n)[1], self._centred(n, x[row], s[row])))  # fmt: skip
        W, b = self._w("bert.pooler.dense")
        pooled = shared(b, x[0] @ W.T) * (trace.pooled_active / trace.pooled)
        W, b = self._w("classifier")
        return shared(b, pooled @ W.T)


# --- Shapley values -------------------------------------------------------------------------------------


def shapley(value: Callable[[frozenset[int]], float], players: int) -> list[float]:
    """Exact Shapley values by the definition, over all subsets."""
    found = []
    for player in range(players):
        others = [p for p in range(players) if p != player]
        total = 0.0
        for size in range(players):
            weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            for subset in itertools.combinations(others, size):
                without = frozenset(subset)
                total += weight * (value(without | {player}) - value(without))
        found.append(total)
    return found
