"""One small classifier in many spellings: every operation it is made of is looked up in a table.

`SPELLINGS[operation][name]` computes the same numbers whatever the name; the first name of each operation is
the plain spelling.  `Classifier.how` says which is in use, by operation, (operation, site) or (operation,
block), as a name or a function.  Nothing here comes from whybert: `TWINS` are further entries of the same
tables, with which plain autograd computes what a method means (a factor that is a constant is detached).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

Spelling = Callable[..., Any]
VOCABULARY, HIDDEN, INNER, HEADS, WIDTH, LENGTH, LABELS = 20, 8, 12, 2, 4, 5, 3
LOWEST = torch.finfo(torch.float64).min
INFINITE = float("-inf")

SPELLINGS: dict[str, dict[str, Spelling]] = {}

# Parameters of which every function is a constant: exp(ZERO) is 1, sigmoid(ZERO) a half.
ZERO = nn.Parameter(torch.zeros((), dtype=torch.float64))
ZEROS = nn.Parameter(torch.zeros(2, dtype=torch.float64))
TEMPERATURE = nn.Parameter(torch.tensor(WIDTH**-0.5, dtype=torch.float64).log())


def spelling(operation: str, name: str) -> Callable[[Spelling], Spelling]:
    def enter(function: Spelling) -> Spelling:
        SPELLINGS.setdefault(operation, {})[name] = function
        return function

    return enter


# --- the classifier -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """What is computed, as opposed to how it is written.

    norm, feed, pool: operations of that name.  post: the norm stands behind the residual sum, else before the
    sub-layer.  grouped: both heads of queries share one of keys and values.
    """

    norm: str = "layer_norm"
    feed: str = "gelu"
    pool: str = "pool_first"
    post: bool = True
    causal: bool = False
    grouped: bool = False
    biases: bool = True
    padded: bool = True

    def operations(self) -> list[str]:
        feed = ["silu", "gate"] if self.feed == "gated" else [self.feed]
        attention = "grouped_attention" if self.grouped else "attention"
        return [
            "linear", "projections", attention, "split", "scores", "mask", "softmax", "values", "merge",
            "dropout", "residual", "identity", self.norm, *feed, self.pool, "tanh",
        ]  # fmt: skip


BERT = Network()
LLAMA = Network(norm="rms_norm", feed="gated", pool="pool_last", post=False, causal=True, grouped=True)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class Dense(nn.Module):
    """A linear layer, and with `forms` the same weight in every form in which models keep one.

    The weights are multiples of 1/64, so that int8 and float32 hold them exactly.
    """

    def __init__(self, inputs: int, outputs: int, biases: bool, forms: bool) -> None:
        super().__init__()

        def random(*shape: int) -> Tensor:
            return (torch.randn(shape, dtype=torch.float64) * 24).round().clamp(-127, 127) / 64

        W, b, other, second = (
            random(outputs, inputs),
            random(outputs) * biases,
            random(3, inputs),
            random(outputs, inputs),
        )
        down, up = random(2, inputs), random(outputs, 2)
        self.weight, self.bias = nn.Parameter(W), nn.Parameter(b)
        if forms:
            with torch.random.fork_rng(devices=[]):  # what follows has the same weights with and without
                self._add_forms(W, b, other, second, down, up)

    def _add_forms(
        self, W: Tensor, b: Tensor, other: Tensor, second: Tensor, down: Tensor, up: Tensor
    ) -> None:
        outputs, inputs = W.shape
        self.transposed = nn.Parameter(W.T.contiguous())
        self.larger = nn.Parameter(torch.cat([other, W, other]))
        self.fused = nn.Parameter(torch.stack([W, second]))
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)
        self.base = nn.Parameter(W - up @ down)
        self.direction = nn.Parameter(W.clone())
        self.gain = nn.Parameter(W.norm(dim=1, keepdim=True))
        self.kernel = nn.Parameter(W[:, :, None].clone())
        self.single = nn.Parameter(W.float())
        self.register_buffer("buffer", W.clone())
        self.register_buffer("integers", (W * 64).to(torch.int8))
        self.register_buffer("step", torch.tensor(1 / 64, dtype=torch.float64))
        self.plain = W.clone()
        self.augmented = nn.Parameter(torch.cat([W, b[:, None]], 1))
        self.columns = nn.ParameterList([nn.Parameter(W[:, :3].clone()), nn.Parameter(W[:, 3:].clone())])
        self.table = nn.Embedding(outputs, inputs, _weight=W.clone())
        self.module = nn.Linear(inputs, outputs, dtype=torch.float64)
        self.module.weight, self.module.bias = self.weight, self.bias
        self.convolution = nn.Conv1d(inputs, outputs, 1, dtype=torch.float64)
        self.weight_norm = parametrizations.weight_norm(self._copy(W, b))
        self.doubled = self._copy(W / 2, b)
        parametrize.register_parametrization(self.doubled, "weight", Doubled())
        self.bilinear = nn.Parameter(W[:, :, None].clone())
        with torch.no_grad():
            self.convolution.weight.copy_(W[:, :, None])
            self.convolution.bias.copy_(b)

    @staticmethod
    def _copy(weight: Tensor, bias: Tensor) -> nn.Linear:
        module = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            module.weight.copy_(weight)
            module.bias.copy_(bias)
        return module


class Norm(nn.Module):
    """The weights of a LayerNorm or RMSNorm."""

    eps = 1e-3

    def __init__(self, biases: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(HIDDEN, dtype=torch.float64).uniform_(0.5, 1.5))
        self.bias = nn.Parameter(torch.randn(HIDDEN, dtype=torch.float64) * 0.3 * biases)
        self.layer_module = nn.LayerNorm(HIDDEN, self.eps, dtype=torch.float64)
        self.layer_module.weight, self.layer_module.bias = self.weight, self.bias
        self.rms_module = nn.RMSNorm(HIDDEN, self.eps, dtype=torch.float64)
        self.rms_module.weight = self.weight
        self.batch_module = nn.BatchNorm1d(HIDDEN, self.eps, dtype=torch.float64)
        self.batch_module.weight, self.batch_module.bias = self.weight, self.bias
        with torch.no_grad():
            self.batch_module.running_mean.copy_(self.weight.flip(0) - 1.0)
            self.batch_module.running_mean.mul_(biases)
            self.batch_module.running_var.copy_(self.weight)


class Block(nn.Module):
    def __init__(self, network: Network, forms: bool) -> None:
        super().__init__()
        kept = WIDTH if network.grouped else HIDDEN
        for name, inputs, outputs in (
            ("query", HIDDEN, HIDDEN), ("key", HIDDEN, kept), ("value", HIDDEN, kept),
            ("output", HIDDEN, HIDDEN), ("up", HIDDEN, INNER), ("gate", HIDDEN, INNER),
            ("down", INNER, HIDDEN),
        ):  # fmt: skip
            self.add_module(name, Dense(inputs, outputs, network.biases, forms))
        parts = (self.query, self.key, self.value)
        self.kept = kept
        self.fused = nn.Parameter(torch.cat([part.weight.detach() for part in parts]))
        self.fused_bias = nn.Parameter(torch.cat([part.bias.detach() for part in parts]))
        self.first_norm, self.second_norm = Norm(network.biases), Norm(network.biases)
        identity = torch.eye(HIDDEN, dtype=torch.float64)
        self.multihead = nn.MultiheadAttention(
            HIDDEN, HEADS, batch_first=True, kdim=HIDDEN, vdim=HIDDEN, dtype=torch.float64
        )
        with torch.no_grad():
            self.multihead.in_proj_weight.copy_(identity.repeat(3, 1))
            self.multihead.in_proj_bias.zero_()
            self.multihead.out_proj.weight.copy_(identity)
            self.multihead.out_proj.bias.zero_()


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, HIDDEN, dtype=torch.float64)
        self.positions = nn.Parameter(torch.randn(12, HIDDEN, dtype=torch.float64) * 0.3)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.word_embeddings(input_ids) + self.positions[: input_ids.shape[1]]


class Classifier(nn.Module):
    """forms: can spell its linear layers, at the cost of many modules."""

    def __init__(self, network: Network, forms: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.network = network
        self.embeddings = Embeddings()
        self.blocks = nn.ModuleList([Block(network, forms), Block(network, forms)])
        self.last_norm = Norm(network.biases)
        self.dense = Dense(HIDDEN, HIDDEN, network.biases, forms)
        self.output = Dense(HIDDEN, LABELS, network.biases, forms)
        self.how: Mapping[Any, str | Spelling] = {}
        self.twice = False  # each sub-layer's derivative is added to what it passes, see `TWINS`
        self.eval()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def do(self, operation: str, site: str, *arguments: Any) -> Any:
        block = site.partition(".")[0]
        keys = [key for key in ((operation, site), (operation, block), operation) if key in self.how]
        chosen = self.how[keys[0]] if keys else None
        table = SPELLINGS[operation]
        function = next(iter(table.values())) if chosen is None else table.get(chosen, chosen)
        return function(*arguments)

    @contextmanager
    def spelled(self, how: Mapping[Any, str | Spelling]) -> Iterator[Classifier]:
        before, self.how = self.how, how
        try:
            yield self
        finally:
            self.how = before

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.head(self.embeddings(input_ids), attention_mask))

    def head(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        if attention_mask is None:
            attention_mask = torch.ones(x.shape[:2], dtype=torch.long)
        keep = attention_mask.bool()
        for index, block in enumerate(self.blocks):
            x = self.block(str(index), block, self.do("identity", str(index), x), keep)
        if not self.network.post:
            x = self.do(self.network.norm, "last", self.last_norm, x)
        pooled = self.do(self.network.pool, "pool", x, keep)
        pooled = self.do("tanh", "dense", self.do("linear", "dense", self.dense, pooled))
        return self.do("linear", "output", self.output, pooled)

    def block(self, site: str, block: Block, x: Tensor, keep: Tensor) -> Tensor:
        if self.network.post:
            x = self.residual(site + ".attention", x, self.dense_path(self.attend, site, block, x, keep))
            x = self.do(self.network.norm, site + ".attention", block.first_norm, x)
            x = self.residual(site + ".feed", x, self.dense_path(self.feed, site, block, x))
            return self.do(self.network.norm, site + ".feed", block.second_norm, x)
        normed = self.do(self.network.norm, site + ".attention", block.first_norm, x)
        x = self.residual(site + ".attention", x, self.attend(site, block, normed, keep))
        normed = self.do(self.network.norm, site + ".feed", block.second_norm, x)
        return self.residual(site + ".feed", x, self.feed(site, block, normed))

    def dense_path(self, part: Callable[..., Tensor], *arguments: Any) -> Tensor:
        dense = part(*arguments)
        if self.twice:
            with self.spelled({}):
                once_more = part(*arguments)
            dense = dense + (once_more - once_more.detach())
        return dense

    def residual(self, site: str, x: Tensor, dense: Tensor) -> Tensor:
        return self.do("residual", site, x, self.do("dropout", site, dense))

    def attend(self, site: str, block: Block, x: Tensor, keep: Tensor) -> Tensor:
        def linear(name: str, x: Tensor) -> Tensor:
            return self.do("linear", f"{site}.{name}", getattr(block, name), x)

        q, k, v = self.do("projections", site, linear, block, x)
        allowed = keep[:, None, None, :]
        if self.network.causal:
            allowed = allowed & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        operation = "grouped_attention" if self.network.grouped else "attention"

        def do(name: str, *arguments: Any) -> Any:
            return self.do(name, site, *arguments)

        return linear("output", self.do(operation, site, do, q, k, v, allowed, block))

    def feed(self, site: str, block: Block, x: Tensor) -> Tensor:
        inner = self.do("linear", f"{site}.up", block.up, x)
        if self.network.feed == "glu":
            gate = self.do("linear", f"{site}.gate", block.gate, x)
            inner = self.do("glu", site, inner, gate)
        elif self.network.feed == "gated":
            gate = self.do("silu", site, self.do("linear", f"{site}.gate", block.gate, x))
            inner = self.do("gate", site, gate, inner)
        else:
            inner = self.do(self.network.feed, site, inner)
        return self.do("linear", f"{site}.down", block.down, inner)


@cache
def _classifier(network: Network, forms: bool) -> Classifier:
    return Classifier(network, forms)


def classifier(network: Network, how: Mapping[Any, str | Spelling] = MappingProxyType({})) -> Classifier:
    """One that can be `spelled` so, made once for all tests: change nothing else."""
    return _classifier(network, any("linear" in (key, key[0]) for key in how))


def batch(network: Network) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, VOCABULARY, (2, LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    if network.padded:
        mask[1, 3:] = 0
    return {"input_ids": ids, "attention_mask": mask}


# --- linear layers ------------------------------------------------------------------------------------------


def flat(function: Callable[[Dense, Tensor], Tensor]) -> Spelling:
    """`function` on the rows of x, (rows, in)."""

    def spelled(layer: Dense, x: Tensor) -> Tensor:
        y = function(layer, x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], y.shape[-1])

    return spelled


def three(function: Callable[[Dense, Tensor], Tensor]) -> Spelling:
    """`function` on x as (batch, seq, in)."""

    def spelled(layer: Dense, x: Tensor) -> Tensor:
        return function(layer, x) if x.dim() == 3 else function(layer, x[:, None])[:, 0]

    return spelled


SPELLINGS["linear"] = {
    "F.linear": lambda layer, x: F.linear(x, layer.weight, layer.bias),
    "nn.Linear": lambda layer, x: layer.module(x),
    "torch._C._nn.linear": lambda layer, x: torch._C._nn.linear(x, layer.weight, layer.bias),
    "F.linear by keyword": lambda layer, x: F.linear(input=x, weight=layer.weight, bias=layer.bias),
    "F.linear + bias": lambda layer, x: F.linear(x, layer.weight) + layer.bias,
    "bias + F.linear": lambda layer, x: layer.bias + F.linear(x, layer.weight),
    "F.linear transposed": lambda layer, x: F.linear(x, layer.transposed.T, layer.bias),
    "F.linear on rows": flat(lambda layer, x: F.linear(x, layer.weight, layer.bias)),
    "F.linear of one row": lambda layer, x: torch.stack(
        [F.linear(row, layer.weight, layer.bias) for row in x.unbind(0)]
    ),
    "@ .T": lambda layer, x: x @ layer.weight.T + layer.bias,
    "@ .mT": lambda layer, x: x @ layer.weight.mT + layer.bias,
    "@ .H": lambda layer, x: x @ layer.weight.H + layer.bias,
    "@ .t()": lambda layer, x: x @ layer.weight.t() + layer.bias,
    "@ .adjoint()": lambda layer, x: x @ layer.weight.adjoint() + layer.bias,
    "@ torch.t": lambda layer, x: x @ torch.t(layer.weight) + layer.bias,
    "@ transpose": lambda layer, x: x @ layer.weight.transpose(0, 1) + layer.bias,
    "@ torch.transpose": lambda layer, x: x @ torch.transpose(layer.weight, 0, 1) + layer.bias,
    "@ swapaxes": lambda layer, x: x @ layer.weight.swapaxes(0, 1) + layer.bias,
    "@ permute": lambda layer, x: x @ layer.weight.permute(1, 0) + layer.bias,
    "@ movedim": lambda layer, x: x @ layer.weight.movedim(0, 1) + layer.bias,
    "@ einsum transposed": lambda layer, x: x @ torch.einsum("oi->io", layer.weight) + layer.bias,
    "@ kept transposed": lambda layer, x: x @ layer.transposed + layer.bias,
    "x.matmul": lambda layer, x: x.matmul(layer.weight.T) + layer.bias,
    "torch.matmul": lambda layer, x: torch.matmul(x, layer.weight.T) + layer.bias,
    "torch.matmul by keyword": lambda layer, x: torch.matmul(input=x, other=layer.weight.T) + layer.bias,
    "torch.linalg.matmul": lambda layer, x: torch.linalg.matmul(x, layer.weight.T) + layer.bias,
    "torch.mm": flat(lambda layer, x: torch.mm(x, layer.weight.T) + layer.bias),
    "x.mm": flat(lambda layer, x: x.mm(layer.transposed) + layer.bias),
    "multi_dot": flat(lambda layer, x: torch.linalg.multi_dot([x, layer.weight.T]) + layer.bias),
    "torch.bmm": three(lambda layer, x: torch.bmm(x, layer.weight.T.expand(len(x), -1, -1)) + layer.bias),
    "x.bmm": three(lambda layer, x: x.bmm(layer.transposed[None].repeat(len(x), 1, 1)) + layer.bias),
    "torch.mv": flat(lambda layer, x: torch.stack([torch.mv(layer.weight, row) for row in x]) + layer.bias),
    "torch.dot": flat(
        lambda layer, x: (
            torch.stack([torch.stack([torch.dot(row, w) for w in layer.weight]) for row in x]) + layer.bias
        )
    ),
    "torch.addmv": flat(
        lambda layer, x: torch.stack([torch.addmv(layer.bias, layer.weight, row) for row in x])
    ),
    "weight on the left": three(lambda layer, x: (layer.weight @ x.mT).mT + layer.bias),
    "weight.matmul": three(
        lambda layer, x: layer.weight.matmul(x.transpose(1, 2)).transpose(1, 2) + layer.bias
    ),
    "weight.mm": flat(lambda layer, x: layer.weight.mm(x.T).T + layer.bias),
    "bmm on the left": three(
        lambda layer, x: (
            torch.bmm(layer.weight.expand(len(x), -1, -1), x.transpose(1, 2)).transpose(1, 2) + layer.bias
        )
    ),
    "__rmatmul__": three(lambda layer, x: x.mT.__rmatmul__(layer.weight).mT + layer.bias),
    "torch.addmm": flat(lambda layer, x: torch.addmm(layer.bias, x, layer.weight.T)),
    "bias.addmm": flat(lambda layer, x: layer.bias.addmm(x, layer.weight.T)),
    "addmm with alpha": flat(
        lambda layer, x: torch.addmm(layer.bias, x, layer.weight.T, beta=2, alpha=0.5) * 2 - 3 * layer.bias
    ),
    "addmm on the left": flat(lambda layer, x: torch.addmm(layer.bias[:, None], layer.weight, x.T).T),
    "torch.baddbmm": three(
        lambda layer, x: torch.baddbmm(layer.bias, x, layer.weight.T.expand(len(x), -1, -1))
    ),
    "bias.baddbmm": three(
        lambda layer, x: layer.bias.expand(len(x), x.shape[1], -1).baddbmm(
            x, layer.weight.T.expand(len(x), -1, -1)
        )
    ),
    "einsum": three(lambda layer, x: torch.einsum("bsi,oi->bso", x, layer.weight) + layer.bias),
    "einsum other letters": three(
        lambda layer, x: torch.einsum("x y z, w z -> x y w", x, layer.weight) + layer.bias
    ),
    "einsum ellipsis": lambda layer, x: torch.einsum("...i,oi->...o", x, layer.weight) + layer.bias,
    "einsum weight first": lambda layer, x: torch.einsum("oi,...i->...o", layer.weight, x) + layer.bias,
    "einsum sublists": three(
        lambda layer, x: torch.einsum(x, [0, 1, 2], layer.weight, [3, 2], [0, 1, 3]) + layer.bias
    ),
    "einsum operands as a list": three(
        lambda layer, x: torch.einsum("bsi,oi->bso", [x, layer.weight]) + layer.bias
    ),
    "einsum of three": lambda layer, x: (
        torch.einsum("...i,or,ri->...o", x, layer.up, layer.down) + F.linear(x, layer.base, layer.bias)
    ),
    "tensordot": lambda layer, x: torch.tensordot(x, layer.weight, dims=([-1], [1])) + layer.bias,
    "torch.inner": lambda layer, x: torch.inner(x, layer.weight) + layer.bias,
    "F.bilinear": lambda layer, x: F.bilinear(x, x.new_ones(*x.shape[:-1], 1), layer.bilinear, layer.bias),
    "product and sum": lambda layer, x: (x[..., None, :] * layer.weight).sum(-1) + layer.bias,
    "F.conv1d": three(lambda layer, x: F.conv1d(x.transpose(1, 2), layer.kernel, layer.bias).transpose(1, 2)),
    "torch.conv1d": three(
        lambda layer, x: torch.conv1d(x.transpose(1, 2), layer.kernel, layer.bias).transpose(1, 2)
    ),
    "nn.Conv1d": three(lambda layer, x: layer.convolution(x.transpose(1, 2)).transpose(1, 2)),
    "F.conv2d": three(
        lambda layer, x: F.conv2d(x.mT[..., None], layer.kernel[..., None], layer.bias)[..., 0].mT
    ),
    "F.conv1d of kernel 3": three(
        lambda layer, x: F.conv1d(x.mT, F.pad(layer.kernel, (1, 1)), layer.bias, padding=1).mT
    ),
    "F.conv1d in two groups": three(
        lambda layer, x: (
            F.conv1d(torch.cat([x, x], -1).mT, torch.cat([layer.kernel, layer.kernel]), groups=2).mT[
                ..., : len(layer.bias)
            ]
            + layer.bias
        )
    ),
    "F.conv_transpose1d": three(
        lambda layer, x: F.conv_transpose1d(x.mT, layer.kernel.transpose(0, 1), layer.bias).mT
    ),
    "slice of rows": lambda layer, x: F.linear(x, layer.larger[3:-3], layer.bias),
    "slice of rows @": lambda layer, x: x @ layer.larger[3:-3].T + layer.bias,
    "narrow @": lambda layer, x: x @ layer.larger.narrow(0, 3, len(layer.bias)).mT + layer.bias,
    "split @": lambda layer, x: x @ layer.larger.split([3, len(layer.bias), 3])[1].T + layer.bias,
    "entry of a stack": lambda layer, x: F.linear(x, layer.fused[0], layer.bias),
    "entry of a stack @": lambda layer, x: x @ layer.fused.mT[0] + layer.bias,
    "unbind @": lambda layer, x: x @ layer.fused.unbind(0)[0].T + layer.bias,
    "view @": lambda layer, x: x @ layer.weight.view(-1).view(layer.weight.shape).T + layer.bias,
    "weight.data": lambda layer, x: x @ layer.weight.data.T + layer.bias.data,
    "weight.detach": lambda layer, x: x @ layer.weight.detach().T + layer.bias.detach(),
    "weight.clone": lambda layer, x: x @ layer.weight.clone().T + layer.bias.clone(),
    "weight.contiguous": lambda layer, x: x @ layer.weight.T.contiguous() + layer.bias,
    "weight.to": lambda layer, x: F.linear(x, layer.single.to(x.dtype), layer.bias),
    "weight.to @": lambda layer, x: x @ layer.single.to(x.dtype).T + layer.bias,
    "weight.double @": lambda layer, x: x @ layer.single.T.double() + layer.bias,
    "weight.type_as": lambda layer, x: F.linear(x, layer.single.type_as(x), layer.bias),
    "buffer": lambda layer, x: F.linear(x, layer.buffer, layer.bias),
    "buffer @": lambda layer, x: x @ layer.buffer.T + layer.bias,
    "plain tensor @": lambda layer, x: x @ layer.plain.T + layer.bias,
    "int8 weight": lambda layer, x: F.linear(x, layer.integers * layer.step, layer.bias),
    "int8 weight @": lambda layer, x: x @ (layer.integers.to(x.dtype) / 64).T + layer.bias,
    "int8 scale behind": lambda layer, x: (x @ layer.integers.to(x.dtype).T) * layer.step + layer.bias,
    "tied embedding": lambda layer, x: F.linear(x, layer.table.weight, layer.bias),
    "tied embedding @": lambda layer, x: x @ layer.table.weight.T + layer.bias,
    "rows of an embedding": lambda layer, x: x @ layer.table(torch.arange(len(layer.bias))).T + layer.bias,
    "weight norm": lambda layer, x: layer.weight_norm(x),
    "weight norm @": lambda layer, x: x @ layer.weight_norm.weight.T + layer.bias,
    "weight norm written out": lambda layer, x: F.linear(
        x, layer.gain * layer.direction / layer.direction.norm(dim=1, keepdim=True), layer.bias
    ),
    "weight norm written out @": lambda layer, x: (
        x @ (layer.direction * (layer.gain / layer.direction.pow(2).sum(1, keepdim=True).sqrt())).mT
        + layer.bias
    ),
    "parametrised": lambda layer, x: layer.doubled(x),
    "parametrised @": lambda layer, x: x @ layer.doubled.weight.t() + layer.bias,
    "LoRA merged": lambda layer, x: F.linear(x, layer.base + layer.up @ layer.down, layer.bias),
    "LoRA merged @": lambda layer, x: x @ (layer.base + layer.up @ layer.down).T + layer.bias,
    "LoRA addmm": lambda layer, x: x @ torch.addmm(layer.base, layer.up, layer.down).T + layer.bias,
    "LoRA beside": lambda layer, x: (
        F.linear(x, layer.base, layer.bias) + F.linear(F.linear(x, layer.down), layer.up)
    ),
    "LoRA beside @": lambda layer, x: x @ layer.base.T + x @ layer.down.T @ layer.up.T + layer.bias,
    "columns apart": lambda layer, x: (
        F.linear(x[..., :3], layer.columns[0]) + F.linear(x[..., 3:], layer.columns[1]) + layer.bias
    ),
    "weight of columns": lambda layer, x: F.linear(x, torch.cat(list(layer.columns), 1), layer.bias),
    "rows apart": lambda layer, x: torch.cat(
        [F.linear(x, layer.weight[:2], layer.bias[:2]), F.linear(x, layer.weight[2:], layer.bias[2:])], -1
    ),
    "scaled behind": lambda layer, x: F.linear(x, layer.weight * 2) / 2 + layer.bias,
    "scaled before": lambda layer, x: F.linear(x * 2, layer.weight / 2, layer.bias),
    "bias as a column": lambda layer, x: F.linear(
        torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1), layer.augmented
    ),
    "torch.add": lambda layer, x: torch.add(x @ layer.weight.T, layer.bias),
    "torch.add with alpha": lambda layer, x: torch.add(x @ layer.weight.T, layer.bias, alpha=1),
    "add half twice": lambda layer, x: torch.add(x @ layer.weight.T, layer.bias / 2, alpha=2),
    "y.add": lambda layer, x: (x @ layer.weight.T).add(layer.bias),
    "bias.add": lambda layer, x: layer.bias.add(x @ layer.weight.T),
    "minus -bias": lambda layer, x: x @ layer.weight.T - (-layer.bias),
    "torch.sub": lambda layer, x: torch.sub(x @ layer.weight.T, layer.bias, alpha=-1),
    "bias expanded": lambda layer, x: x @ layer.weight.T + layer.bias.expand(*x.shape[:-1], -1),
    "y.add_": lambda layer, x: (x @ layer.weight.T).add_(layer.bias),
    "F.linear add_": lambda layer, x: F.linear(x, layer.weight).add_(layer.bias),
    "y.sub_": lambda layer, x: (x @ layer.weight.T).sub_(-layer.bias),
}


SPELLINGS["linear"] |= {
    "aten.linear": lambda layer, x: torch.ops.aten.linear(x, layer.weight, layer.bias),
    "aten.matmul": lambda layer, x: torch.ops.aten.matmul(x, layer.weight.T) + layer.bias,
    "aten.addmm": flat(lambda layer, x: torch.ops.aten.addmm(layer.bias, x, layer.weight.T)),
    "functional_call": lambda layer, x: torch.func.functional_call(
        layer.module, {"weight": layer.direction, "bias": layer.bias}, (x,)
    ),
    "weight through numpy": lambda layer, x: F.linear(
        x, torch.from_numpy(layer.weight.detach().numpy()), layer.bias
    ),
    "weight through a list": lambda layer, x: x @ x.new_tensor(layer.transposed.tolist()) + layer.bias,
    "weight by items": lambda layer, x: (
        F.linear(x, layer.weight / 3.0, None) * float(ZERO.detach().exp() * 3.0) + layer.bias
    ),
    "sparse weight": flat(
        lambda layer, x: torch.sparse.mm(layer.weight.detach().to_sparse(), x.T).T + layer.bias
    ),
    "gated by parameters": lambda layer, x: F.linear(x, layer.weight, layer.bias) * torch.sigmoid(ZERO) * 2.0,
    "one weight a text": three(
        lambda layer, x: torch.stack([row @ layer.weight.T + layer.bias for row in x.unbind(0)])
    ),
    "mix of weights": lambda layer, x: F.linear(
        x,
        torch.einsum("k,koi->oi", ZEROS.softmax(0), torch.stack([layer.weight, layer.direction])),
        layer.bias,
    ),
    "padded weight": lambda layer, x: (
        F.linear(x, F.pad(layer.weight, (0, 0, 0, 2)))[..., : len(layer.bias)] + layer.bias
    ),
    "bias as a parameter of shape (1, out)": lambda layer, x: x @ layer.weight.T + layer.bias[None],
    "bias twice": lambda layer, x: F.linear(x, layer.weight, layer.bias / 2) + layer.bias / 2,
    "bias expanded and summed": lambda layer, x: sum([x @ layer.weight.T, layer.bias]),
    "own autograd.Function": lambda layer, x: _OwnLinear.apply(x, layer.weight.detach(), layer.bias.detach()),
}


class _OwnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return gradient @ weight, None, None


@spelling("linear", "weight under no_grad")
def _(layer: Dense, x: Tensor) -> Tensor:
    with torch.no_grad():
        weight = layer.weight.T.contiguous()
    return x @ weight + layer.bias


@spelling("linear", "weight under inference_mode")
def _(layer: Dense, x: Tensor) -> Tensor:
    with torch.inference_mode():
        weight = layer.weight.T.contiguous()
    return x @ weight + layer.bias


@spelling("linear", "out= a buffer")
def _(layer: Dense, x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    y = torch.mm(rows, layer.plain.T, out=x.new_empty(len(rows), len(layer.bias)))
    return y.view(*x.shape[:-1], -1) + layer.bias


@spelling("linear", "data.add_")
def _(layer: Dense, x: Tensor) -> Tensor:
    y = F.linear(x, layer.weight)
    y.data.add_(layer.bias.data)
    return y


@spelling("linear", "y += bias")
def _(layer: Dense, x: Tensor) -> Tensor:
    y = x @ layer.weight.T
    y += layer.bias
    return y


@spelling("linear", "out=")
def _(layer: Dense, x: Tensor) -> Tensor:
    return torch.matmul(x, layer.weight.T, out=None) + layer.bias


@spelling("linear", "written into slices")
def _(layer: Dense, x: Tensor) -> Tensor:
    y = x.new_zeros(*x.shape[:-1], len(layer.bias))
    y[..., :2] = F.linear(x, layer.weight[:2], layer.bias[:2])
    y[..., 2:] = F.linear(x, layer.weight[2:], layer.bias[2:])
    return y


@spelling("linear", "addmm_")
def _(layer: Dense, x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    y = layer.bias.detach().expand(len(rows), -1).clone().addmm_(rows, layer.weight.T)
    return y.view(*x.shape[:-1], -1)


@spelling("linear", "vmap")
def _(layer: Dense, x: Tensor) -> Tensor:
    return torch.vmap(lambda row: F.linear(row, layer.weight, layer.bias))(x)


def _fused(linear: Any, block: Block, x: Tensor) -> Tensor:
    return F.linear(x, block.fused, block.fused_bias)


def _sizes(block: Block) -> list[int]:
    return [HIDDEN, block.kept, block.kept]


def _by_slices(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Spelling:
    def spelled(linear: Any, block: Block, x: Tensor) -> list[Tensor]:
        ends = [0, HIDDEN, HIDDEN + block.kept, HIDDEN + 2 * block.kept]
        cuts = [slice(a, b) for a, b in itertools.pairwise(ends)]
        return [function(x, block.fused[cut], block.fused_bias[cut]) for cut in cuts]

    return spelled


def _rotated(x: Tensor) -> Tensor:
    """Rotary positions with angles of 0."""
    pairs = x.unflatten(-1, (-1, 2))
    angles = torch.zeros(x.shape[1], dtype=x.dtype)[:, None]
    turned = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
    return x * torch.cos(angles) + turned * torch.sin(angles)


SPELLINGS["projections"] = {
    "three layers": lambda linear, b, x: [linear(name, x) for name in ("query", "key", "value")],
    "slices of a fused weight": _by_slices(F.linear),
    "slices of a fused weight @": _by_slices(lambda x, W, bias: x @ W.T + bias),
    "chunks of a fused weight": lambda linear, b, x: [
        F.linear(x, W, bias)
        for W, bias in zip(b.fused.split(_sizes(b)), b.fused_bias.split(_sizes(b)), strict=True)
    ],
    "fused, split": lambda linear, b, x: _fused(linear, b, x).split(_sizes(b), -1),
    "fused, torch.split": lambda linear, b, x: torch.split(_fused(linear, b, x), _sizes(b), dim=-1),
    "fused, tensor_split": lambda linear, b, x: torch.tensor_split(
        _fused(linear, b, x), (HIDDEN, HIDDEN + b.kept), -1
    ),
    "fused, slices": lambda linear, b, x: [
        _fused(linear, b, x)[..., :HIDDEN],
        _fused(linear, b, x)[..., HIDDEN : HIDDEN + b.kept],
        _fused(linear, b, x)[..., HIDDEN + b.kept :],
    ],
    "fused @, split": lambda linear, b, x: (x @ b.fused.T + b.fused_bias).split(_sizes(b), -1),
    "rotary": lambda linear, b, x: [
        *(_rotated(linear(name, x)) for name in ("query", "key")),
        linear("value", x),
    ],
    "norm of queries": lambda linear, b, x: [
        linear(name, x) * (ZERO.exp() if name == "query" else 1.0) for name in ("query", "key", "value")
    ],
    "values first": lambda linear, b, x: [linear(name, x) for name in ("value", "key", "query")][::-1],
}

# --- attention ----------------------------------------------------------------------------------------------
# scores, softmax, values: (batch, heads, queries, keys or width).  mask: True where a key may be read.

SCALE = WIDTH**-0.5


def _fold(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])


SPELLINGS["split"] = {
    "view, transpose": lambda x, heads: x.view(*x.shape[:2], heads, -1).transpose(1, 2),
    "reshape, permute": lambda x, heads: x.reshape(*x.shape[:2], heads, -1).permute(0, 2, 1, 3),
    "unflatten": lambda x, heads: x.unflatten(-1, (heads, -1)).transpose(1, 2),
    "torch.reshape": lambda x, heads: torch.transpose(torch.reshape(x, (*x.shape[:2], heads, WIDTH)), 1, 2),
    "stack of chunks": lambda x, heads: torch.stack(x.chunk(heads, -1), 1),
    "stack of splits": lambda x, heads: torch.stack(torch.split(x, WIDTH, -1), dim=1),
    "swapaxes": lambda x, heads: x.view(*x.shape[:2], heads, -1).swapaxes(1, 2).contiguous(),
    "movedim": lambda x, heads: torch.movedim(x.view(*x.shape[:2], heads, -1), 2, 1),
    "einsum": lambda x, heads: torch.einsum("bnhd->bhnd", x.view(*x.shape[:2], heads, -1)),
    "cat": lambda x, heads: torch.cat([part[:, None] for part in x.split(WIDTH, -1)], 1),
    "by row": lambda x, heads: torch.stack([row.view(len(row), heads, -1).transpose(0, 1) for row in x]),
    "unfold": lambda x, heads: x.unfold(-1, WIDTH, WIDTH).transpose(1, 2),
}
SPELLINGS["merge"] = {
    "transpose, reshape": lambda c: c.transpose(1, 2).reshape(c.shape[0], c.shape[2], -1),
    "contiguous, view": lambda c: c.transpose(1, 2).contiguous().view(c.shape[0], c.shape[2], -1),
    "permute, flatten": lambda c: c.permute(0, 2, 1, 3).flatten(2),
    "torch.flatten": lambda c: torch.flatten(torch.permute(c, (0, 2, 1, 3)), 2, 3),
    "cat": lambda c: torch.cat(list(c.unbind(1)), -1),
    "concat": lambda c: torch.concat([c[:, head] for head in range(c.shape[1])], dim=-1),
    "cat of splits": lambda c: torch.cat(c.split(1, 1), -1).squeeze(1),
    "einsum": lambda c: torch.einsum("bhnd->bnhd", c).reshape(c.shape[0], c.shape[2], -1),
    "movedim": lambda c: c.movedim(1, 2).flatten(-2),
}
SPELLINGS["scores"] = {
    "@, * scale": lambda q, k: q @ k.transpose(-1, -2) * SCALE,
    "/ sqrt": lambda q, k: torch.matmul(q, k.transpose(2, 3)) / math.sqrt(WIDTH),
    "torch.div": lambda q, k: torch.div(q.matmul(k.mT), math.sqrt(WIDTH)),
    "scale first": lambda q, k: (q * SCALE) @ k.mT,
    "scale on both": lambda q, k: (q * SCALE**0.5) @ (k.mT * SCALE**0.5),
    "scale by a tensor": lambda q, k: q @ k.mT * torch.tensor(SCALE, dtype=q.dtype),
    "scale by the width": lambda q, k: q @ k.mT / torch.sqrt(torch.tensor(k.shape[-1], dtype=q.dtype)),
    "scale *=": lambda q, k: (q @ k.mT).mul_(SCALE),
    "scale /=": lambda q, k: (q @ k.mT).div_(math.sqrt(WIDTH)),
    "einsum": lambda q, k: torch.einsum("bhqd,bhkd->bhqk", q, k) * SCALE,
    "einsum ellipsis": lambda q, k: torch.einsum("...qd,...kd->...qk", q * SCALE, k),
    "keys first": lambda q, k: (k @ q.mT).mT * SCALE,
    "einsum keys first": lambda q, k: torch.einsum("bhkd,bhqd->bhqk", k, q) * SCALE,
    "bmm": lambda q, k: torch.bmm(_fold(q), _fold(k).transpose(1, 2)).view(*q.shape[:3], -1) * SCALE,
    "baddbmm": lambda q, k: torch.baddbmm(
        q.new_zeros(1, 1, 1), _fold(q), _fold(k).mT, beta=0, alpha=SCALE
    ).view(*q.shape[:3], -1),
    "baddbmm, and a constant": lambda q, k: torch.zeros(
        q.shape[0] * q.shape[1], 1, k.shape[2], dtype=q.dtype
    ).add(0.5).baddbmm(batch1=_fold(q), batch2=_fold(k).mT, beta=2, alpha=SCALE).view(*q.shape[:3], -1),
    "baddbmm of empty": lambda q, k: torch.baddbmm(
        torch.zeros(q.shape[0] * q.shape[1], q.shape[2], k.shape[2], dtype=q.dtype),
        _fold(q), _fold(k).mT, beta=1, alpha=SCALE,
    ).view(*q.shape[:3], -1),
    "scale of a parameter": lambda q, k: q @ k.mT * TEMPERATURE.exp(),
    "divided by a parameter": lambda q, k: q @ k.mT / torch.exp(-TEMPERATURE),
    "plus a bias of parameters": lambda q, k: q @ k.mT * SCALE + ZERO.expand(q.shape[-2], k.shape[-2]),
    "aten": lambda q, k: torch.ops.aten.bmm(_fold(q), _fold(k).mT).view(*q.shape[:3], -1) * SCALE,
    "product and sum": lambda q, k: (q[..., :, None, :] * k[..., None, :, :]).sum(-1) * SCALE,
    "F.linear": lambda q, k: torch.stack(
        [torch.stack([F.linear(q[b, h], k[b, h]) for h in range(q.shape[1])]) for b in range(len(q))]
    ) * SCALE,
    "torch.inner": lambda q, k: torch.stack(
        [torch.stack([torch.inner(q[b, h], k[b, h]) for h in range(q.shape[1])]) for b in range(len(q))]
    ) * SCALE,
    "mm": lambda q, k: torch.stack(
        [torch.stack([q[b, h].mm(k[b, h].T) for h in range(q.shape[1])]) for b in range(len(q))]
    ) * SCALE,
}  # fmt: skip
SPELLINGS["mask"] = {
    "masked_fill": lambda s, keep: s.masked_fill(~keep, INFINITE),
    "torch.masked_fill": lambda s, keep: torch.masked_fill(s, keep.logical_not(), LOWEST),
    "masked_fill lowest": lambda s, keep: s.masked_fill(keep == 0, torch.finfo(s.dtype).min),
    "added lowest": lambda s, keep: s + (1.0 - keep.to(s.dtype)) * LOWEST,
    "added -inf": lambda s, keep: s + torch.zeros_like(keep, dtype=s.dtype).masked_fill(~keep, INFINITE),
    "mask + s": lambda s, keep: (~keep).to(s.dtype) * -1e30 + s,
    "torch.add": lambda s, keep: torch.add(s, torch.where(keep, 0.0, INFINITE).to(s.dtype)),
    "torch.where": lambda s, keep: torch.where(keep, s, torch.tensor(LOWEST, dtype=s.dtype)),
    "torch.where scalar": lambda s, keep: torch.where(keep, s, INFINITE),
    "s.where": lambda s, keep: s.where(keep, torch.full_like(s, INFINITE)),
    "masked_fill_": lambda s, keep: s.masked_fill_(~keep, INFINITE),
    "add_": lambda s, keep: s.add_((~keep).to(s.dtype) * -1e30),
    "index put": lambda s, keep: _index_put(s, keep),
    "times and plus": lambda s, keep: s * keep - 1e30 * (1 - keep.to(s.dtype)),
}


def _index_put(s: Tensor, keep: Tensor) -> Tensor:
    s = s.clone()
    s[~keep.expand_as(s)] = INFINITE
    return s


def _by_sum(s: Tensor) -> Tensor:
    e = torch.exp(s)
    return e / e.sum(-1, keepdim=True)


def _by_max(s: Tensor, constant: bool) -> Tensor:
    peak = s.max(-1, keepdim=True).values
    e = (s - (peak.detach() if constant else peak)).exp()
    return e / e.sum(dim=-1, keepdim=True)


SPELLINGS["softmax"] = {
    "F.softmax": lambda s: F.softmax(s, dim=-1),
    "torch.softmax": lambda s: torch.softmax(s, -1),
    "s.softmax": lambda s: s.softmax(-1),
    "s.softmax(3)": lambda s: s.softmax(dim=3),
    "nn.Softmax": lambda s: nn.Softmax(dim=-1)(s),
    "torch.special.softmax": lambda s: torch.special.softmax(s, -1),
    "dtype": lambda s: F.softmax(s, dim=-1, dtype=torch.float64).to(s.dtype),
    "s.softmax dtype": lambda s: s.softmax(-1, dtype=torch.float64),
    "transposed": lambda s: s.mT.softmax(-2).mT,
    "F.softmin": lambda s: F.softmin(-s, -1),
    "log_softmax": lambda s: F.log_softmax(s, -1).exp(),
    "logsumexp": lambda s: torch.exp(s - torch.logsumexp(s, -1, keepdim=True)),
    "exp / sum": _by_sum,
    "exp * 1 / sum": lambda s: s.exp() * s.exp().sum(-1, keepdim=True).reciprocal(),
    "F.normalize": lambda s: F.normalize(s.exp(), p=1.0, dim=-1, eps=0.0),
    "max subtracted": lambda s: _by_max(s, False),
    "max detached": lambda s: _by_max(s, True),
    "amax subtracted": lambda s: F.softmax(s - s.amax(-1, keepdim=True), -1),
    "then dropout": lambda s: F.dropout(F.softmax(s, -1), 0.1, training=False),
    "then nan_to_num": lambda s: F.softmax(s, -1).nan_to_num(0.0),
    "then contiguous": lambda s: F.softmax(s, -1).contiguous().clone().type_as(s),
    "then view_as": lambda s: F.softmax(s, -1).view_as(s),
    "then reshape_as": lambda s: F.softmax(s, -1).reshape_as(s),
    "then expand_as": lambda s: F.softmax(s, -1).expand_as(s),
    "then to": lambda s: F.softmax(s, -1).to(s, copy=True),
    "divided by its sum": lambda s: (lambda a: a / a.sum(-1, keepdim=True))(F.softmax(s, -1)),
    "divided by its sum in place": lambda s: (lambda a: a.div_(a.sum(-1, keepdim=True)))(F.softmax(s, -1)),
    "then * 1": lambda s: F.softmax(s, -1) * 1.0,
    "then masked": lambda s: F.softmax(s, -1).masked_fill(s <= -1e29, 0.0),
    "then times a mask": lambda s: F.softmax(s, -1) * (s > -1e29),
    "aten": lambda s: torch.ops.aten.softmax.int(s, -1),
    "aten._softmax": lambda s: torch.ops.aten._softmax(s, -1, False),
    "mean of two": lambda s: (s.softmax(-1) + s.softmax(-1)) / 2,
    "stack, mean": lambda s: torch.stack([s.softmax(-1), s.softmax(-1)]).mean(0),
    "parts put together": lambda s: torch.cat(F.softmax(s, -1).split(2, -1), -1),
    "written into zeros": lambda s: torch.zeros_like(s).copy_(F.softmax(s, -1)),
    "times parameters": lambda s: F.softmax(s, -1) * ZERO.exp(),
    "plus a constant": lambda s: F.softmax(s, -1) + torch.zeros_like(s),
    "clamped": lambda s: F.softmax(s, -1).clamp(0.0, 1.0),
    "renormalised": lambda s: F.softmax(s, -1) / F.softmax(s, -1).sum(-1, keepdim=True),
    "inverted twice": lambda s: 1.0 - (1.0 - F.softmax(s, -1)),
    "rows apart": lambda s: torch.cat([row.softmax(-1) for row in s.split(1, -2)], -2),
    "heads apart": lambda s: torch.stack([head.softmax(-1) for head in s.unbind(1)], 1),
}
SPELLINGS["values"] = {
    "@": lambda a, v: a @ v,
    "torch.matmul": lambda a, v: torch.matmul(a, v),
    "torch.matmul by keyword": lambda a, v: torch.matmul(input=a, other=v),
    "a.matmul": lambda a, v: a.matmul(v),
    "bmm": lambda a, v: torch.bmm(_fold(a), _fold(v)).view(*a.shape[:3], -1),
    "a.bmm": lambda a, v: _fold(a).bmm(_fold(v)).unflatten(0, a.shape[:2]),
    "baddbmm": lambda a, v: torch.baddbmm(
        torch.zeros((), dtype=a.dtype), _fold(a), _fold(v), beta=0
    ).view(*a.shape[:3], -1),
    "einsum": lambda a, v: torch.einsum("bhqk,bhkd->bhqd", a, v),
    "einsum values first": lambda a, v: torch.einsum("bhkd,bhqk->bhqd", v, a),
    "einsum, queries first": lambda a, v: torch.einsum("bhqk,bhkd->bqhd", a, v).transpose(1, 2),
    "values on the left": lambda a, v: (v.mT @ a.mT).mT,
    "product and sum": lambda a, v: (a[..., None] * v[..., None, :, :]).sum(-2),
    "heads apart": lambda a, v: torch.stack([a[:, head] @ v[:, head] for head in range(a.shape[1])], 1),
    "mm": lambda a, v: torch.stack(
        [torch.stack([torch.mm(a[b, h], v[b, h]) for h in range(a.shape[1])]) for b in range(len(a))]
    ),
    "F.linear": lambda a, v: torch.stack(
        [torch.stack([F.linear(a[b, h], v[b, h].T) for h in range(a.shape[1])]) for b in range(len(a))]
    ),
    "queries apart": lambda a, v: torch.cat([row @ v for row in a.split(2, -2)], -2),
    "einsum without batch": lambda a, v: torch.einsum("nqk,nkd->nqd", _fold(a), _fold(v)).view(v.shape),
    "with a constant one": lambda a, v: (a @ torch.cat([v, torch.ones_like(v[..., :1])], -1))[..., :-1],
    "values doubled": lambda a, v: (a @ (2 * v)) / 2,
    "weights doubled": lambda a, v: ((2 * a) @ v) / 2,
    "added to zeros": lambda a, v: torch.zeros_like(v) + torch.matmul(a, v),
    "by keys": lambda a, v: sum(a[..., i : i + 1] * v[..., i : i + 1, :] for i in range(v.shape[-2])),
    "halves of the keys": lambda a, v: a[..., :2] @ v[..., :2, :] + a[..., 2:] @ v[..., 2:, :],
}  # fmt: skip


@spelling("attention", "4-D")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    return do("merge", do("values", do("softmax", do("mask", do("scores", q, k), keep)), v))


@spelling("attention", "3-D")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """(batch * heads, seq, width)."""
    n = q.shape[1]
    q, k, v = (_fold(do("split", x, HEADS)) for x in (q, k, v))
    allowed = keep.expand(-1, HEADS, n, -1).reshape(-1, n, keep.shape[-1])
    a = do("softmax", do("mask", torch.bmm(q, k.transpose(1, 2)) * SCALE, allowed)[:, None])[:, 0]
    return do("merge", torch.bmm(a, v).view(-1, HEADS, n, WIDTH))


@spelling("attention", "3-D plain")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    n = q.shape[1]
    q, k, v = (_fold(do("split", x, HEADS)) for x in (q, k, v))
    allowed = keep.expand(-1, HEADS, n, -1).reshape(-1, n, keep.shape[-1])
    a = (q @ k.mT * SCALE).masked_fill(~allowed, INFINITE).softmax(-1)
    return (a @ v).view(-1, HEADS, n, WIDTH).transpose(1, 2).flatten(2)


@spelling("attention", "heads before the batch")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """(heads * batch, seq, width), as the first transformer codes had it."""
    n = q.shape[1]
    q, k, v = (torch.cat(x.split(WIDTH, -1), 0) for x in (q, k, v))
    allowed = keep.expand(-1, 1, n, -1)[:, 0].repeat(HEADS, 1, 1)
    a = torch.softmax((q @ k.mT * SCALE).masked_fill(~allowed, INFINITE), -1)
    return torch.cat(torch.bmm(a, v).chunk(HEADS, 0), -1)


@spelling("attention", "sequence first")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """fairseq's: (seq, batch * heads, width) turned to (batch * heads, seq, width)."""
    b, n = q.shape[:2]
    q, k, v = (
        x.transpose(0, 1).contiguous().view(n, b * HEADS, WIDTH).transpose(0, 1) for x in (q * SCALE, k, v)
    )
    allowed = keep.expand(-1, HEADS, n, -1)
    scores = torch.bmm(q, k.transpose(1, 2)).view(b, HEADS, n, n).masked_fill(~allowed, INFINITE)
    a = F.softmax(scores.view(b * HEADS, n, n), dim=-1)
    return torch.bmm(a, v).transpose(0, 1).contiguous().view(n, b, HIDDEN).transpose(0, 1)


@spelling("attention", "5-D")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (do("split", x, HEADS)[:, None] for x in (q, k, v))
    a = (q @ k.mT * SCALE).masked_fill(~keep[:, None], INFINITE).softmax(-1)
    return do("merge", (a @ v).squeeze(1))


@spelling("attention", "heads apart")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    found = []
    for queries, keys, values in zip(q.split(WIDTH, -1), k.split(WIDTH, -1), v.split(WIDTH, -1), strict=True):
        scores = (queries @ keys.mT * SCALE).masked_fill(~keep[:, 0], INFINITE)
        found.append(scores.softmax(-1) @ values)
    return torch.cat(found, -1)


@spelling("attention", "texts and heads apart")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    rows = []
    for row in range(len(q)):
        heads = [
            (q[row, head] @ k[row, head].T * SCALE).masked_fill(~keep[row, 0], INFINITE).softmax(-1)
            @ v[row, head]
            for head in range(HEADS)
        ]
        rows.append(torch.cat(heads, -1))
    return torch.stack(rows)


@spelling("attention", "queries apart")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """In blocks of queries, to save memory."""
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    allowed = keep.expand(-1, -1, q.shape[2], -1)
    found = [
        (q[:, :, at : at + 2] @ k.mT * SCALE).masked_fill(~allowed[:, :, at : at + 2], INFINITE).softmax(-1)
        @ v
        for at in range(0, q.shape[2], 2)
    ]
    return do("merge", torch.cat(found, 2))


@spelling("attention", "keys apart")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """In blocks of keys with a sum of exponentials that grows, as flash attention has it."""
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    above, below = 0.0, 0.0
    for at in range(0, k.shape[2], 2):
        e = torch.exp(q @ k[:, :, at : at + 2].mT * SCALE) * keep[..., at : at + 2]
        above, below = above + e @ v[:, :, at : at + 2], below + e.sum(-1, keepdim=True)
    return do("merge", above / below)


@spelling("attention", "normalised behind")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    e = torch.exp(q @ k.mT * SCALE) * keep
    return do("merge", (e @ v) / e.sum(-1, keepdim=True))


@spelling("attention", "einsum bnhd")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (x.unflatten(-1, (HEADS, WIDTH)) for x in (q, k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * SCALE
    a = do("softmax", do("mask", scores, keep))
    return torch.einsum("bhqk,bkhd->bqhd", a, v).flatten(2)


@spelling("attention", "einsum, keys last but one")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """(batch, queries, keys, heads): softmax over dimension 2."""
    q, k, v = (x.unflatten(-1, (HEADS, WIDTH)) for x in (q, k, v))
    scores = torch.einsum("bqhd,bkhd->bqkh", q * SCALE, k)
    a = scores.masked_fill(~keep.permute(0, 2, 3, 1), INFINITE).softmax(2)
    return torch.einsum("bqkh,bkhd->bqhd", a, v).reshape(*q.shape[:2], -1)


@spelling("attention", "transposed")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """K Q^T with the softmax over dimension -2."""
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    a = torch.softmax((k @ q.mT * SCALE).masked_fill(~keep.mT, INFINITE), dim=-2)
    return do("merge", (v.mT @ a).mT)


@spelling("attention", "transposed, a.mT @ v")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    a = torch.softmax((k @ q.mT * SCALE).masked_fill(~keep.mT, INFINITE), dim=2)
    return do("merge", a.mT @ v)


@spelling("attention", "values projected first")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """Three factors in one einsum: A V and a constant matrix."""
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    a = do("softmax", do("mask", do("scores", q, k), keep))
    return do("merge", torch.einsum("bhqk,bhkd,de->bhqe", a, v, torch.eye(WIDTH, dtype=v.dtype)))


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, keep: Tensor, do: Any, **options: Any) -> Tensor:
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    return do("merge", F.scaled_dot_product_attention(q, k, v, **options))


SPELLINGS["attention"] |= {
    "SDPA": lambda do, q, k, v, keep, _: _fused_attention(q, k, v, keep, do, attn_mask=keep),
    "SDPA additive mask": lambda do, q, k, v, keep, _: _fused_attention(
        q, k, v, keep, do, attn_mask=torch.zeros(keep.shape, dtype=q.dtype).masked_fill(~keep, INFINITE)
    ),
    "SDPA lowest": lambda do, q, k, v, keep, _: _fused_attention(
        q, k, v, keep, do, attn_mask=(1 - keep.to(q.dtype)) * LOWEST
    ),
    "SDPA expanded mask": lambda do, q, k, v, keep, _: _fused_attention(
        q, k, v, keep, do, attn_mask=keep.expand(-1, HEADS, q.shape[1], -1)
    ),
    "SDPA scale": lambda do, q, k, v, keep, _: _fused_attention(
        q, k, v, keep, do, attn_mask=keep, scale=SCALE
    ),
    "SDPA scaled before": lambda do, q, k, v, keep, _: _fused_attention(
        q * SCALE, k, v, keep, do, attn_mask=keep, scale=1.0
    ),
    "torch._C._nn": lambda do, q, k, v, keep, _: do(
        "merge",
        torch._C._nn.scaled_dot_product_attention(*(do("split", x, HEADS) for x in (q, k, v)), keep),
    ),
}  # fmt: skip


@spelling("attention", "SDPA 3-D")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    n = q.shape[1]
    q, k, v = (_fold(do("split", x, HEADS)) for x in (q, k, v))
    allowed = keep.expand(-1, HEADS, n, -1).reshape(-1, n, n)
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    return do("merge", context.view(-1, HEADS, n, WIDTH))


@spelling("attention", "SDPA heads apart")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    parts = zip(q.split(WIDTH, -1), k.split(WIDTH, -1), v.split(WIDTH, -1), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*part, attn_mask=keep[:, 0]) for part in parts], -1)


@spelling("attention", "SDPA texts apart")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    rows = zip(q, k, v, keep, strict=True)
    return do(
        "merge", torch.stack([F.scaled_dot_product_attention(*row[:3], attn_mask=row[3]) for row in rows])
    )


@spelling("attention", "SDPA of valid tokens")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """No mask: each text is cut to its own tokens (not with a causal mask)."""
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    rows = []
    for row in range(len(q)):
        own = int(keep[row].any(-2).sum()) if keep.shape[-2] == 1 else None
        if own is None:
            rows.append(F.scaled_dot_product_attention(q[row], k[row], v[row], attn_mask=keep[row]))
        else:
            rows.append(F.scaled_dot_product_attention(q[row], k[row, :, :own], v[row, :, :own]))
    return do("merge", torch.stack(rows))


@spelling("attention", "one row")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """The tokens of all texts in one row, (1, heads, batch * seq, width), kept apart by a mask."""
    b, n = q.shape[:2]
    q, k, v = (do("split", x.reshape(1, b * n, -1), HEADS) for x in (q, k, v))
    allowed = torch.block_diag(*keep.expand(-1, 1, n, -1)[:, 0].double()).bool()
    return do("merge", F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)).view(b, n, -1)


@spelling("attention", "one row, written out")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    b, n = q.shape[:2]
    q, k, v = (do("split", x.reshape(1, b * n, -1), HEADS) for x in (q, k, v))
    allowed = torch.block_diag(*keep.expand(-1, 1, n, -1)[:, 0].double()).bool()
    a = (q @ k.mT * SCALE).masked_fill(~allowed, INFINITE).softmax(-1)
    return do("merge", a @ v).view(b, n, -1)


@spelling("attention", "texts swapped")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """The rows of the batch in another order, as where texts are sorted by length."""
    q, k, v = (do("split", x.flip(0), HEADS) for x in (q, k, v))
    return do("merge", F.scaled_dot_product_attention(q, k, v, attn_mask=keep.flip(0))).flip(0)


@spelling("attention", "tokens turned round")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """Keys and values in another order than the tokens."""
    q, k, v = (do("split", x, HEADS) for x in (q, k.flip(1), v.flip(1)))
    a = (q @ k.mT * SCALE).masked_fill(~keep.flip(-1), INFINITE).softmax(-1)
    return do("merge", a @ v)


@spelling("attention", "queries turned round")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = (do("split", x, HEADS) for x in (q.flip(1), k, v))
    allowed = keep.expand(-1, -1, q.shape[2], -1).flip(2)
    a = (q @ k.mT * SCALE).masked_fill(~allowed, INFINITE).softmax(-1)
    return do("merge", a @ v).flip(1)


@spelling("attention", "a key that nothing comes from")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """One key more than tokens, masked."""
    q, k, v = (do("split", x, HEADS) for x in (q, k, v))
    k, v = (F.pad(x, (0, 0, 1, 0)) for x in (k, v))
    a = (q @ k.mT * SCALE).masked_fill(~F.pad(keep, (1, 0)), INFINITE).softmax(-1)
    return do("merge", a @ v)


@spelling("attention", "nn.MultiheadAttention")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    allowed = keep.expand(-1, HEADS, q.shape[1], -1).reshape(-1, q.shape[1], q.shape[1])
    return block.multihead(q, k, v, attn_mask=~allowed)[0]


@spelling("attention", "nn.MultiheadAttention without weights")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    allowed = keep.expand(-1, HEADS, q.shape[1], -1).reshape(-1, q.shape[1], q.shape[1])
    return block.multihead(q, k, v, attn_mask=~allowed, need_weights=False)[0]


def _grouped(spread: Callable[[Tensor], Tensor]) -> Spelling:
    """Keys and values of one head, (batch, 1, seq, width), made to serve both heads by `spread`."""

    def spelled(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
        q, k, v = do("split", q, HEADS), spread(do("split", k, 1)), spread(do("split", v, 1))
        return do("merge", do("values", do("softmax", do("mask", do("scores", q, k), keep)), v))

    return spelled


SPELLINGS["grouped_attention"] = {
    "repeat_interleave": _grouped(lambda x: x.repeat_interleave(HEADS, 1)),
    "torch.repeat_interleave": _grouped(lambda x: torch.repeat_interleave(x, repeats=HEADS, dim=1)),
    "expand": _grouped(lambda x: x.expand(-1, HEADS, -1, -1)),
    "expand, reshape": _grouped(
        lambda x: x[:, :, None].expand(-1, 1, HEADS, -1, -1).reshape(len(x), HEADS, -1, WIDTH)
    ),
    "repeat": _grouped(lambda x: x.repeat(1, HEADS, 1, 1)),
    "cat": _grouped(lambda x: torch.cat([x, x], 1)),
    "index": _grouped(lambda x: x[:, [0, 0]]),
}


@spelling("grouped_attention", "broadcast")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = do("split", q, HEADS), k[:, None], v[:, None]
    a = do("softmax", do("mask", q @ k.mT * SCALE, keep))
    return do("merge", a @ v)


@spelling("grouped_attention", "einsum without heads")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    scores = torch.einsum("bhqd,bkd->bhqk", do("split", q, HEADS), k) * SCALE
    return do("merge", torch.einsum("bhqk,bkd->bhqd", do("softmax", do("mask", scores, keep)), v))


@spelling("grouped_attention", "heads as queries")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    """(batch, heads * queries, width) against (batch, keys, width)."""
    n = q.shape[1]
    q = do("split", q, HEADS).flatten(1, 2)
    allowed = keep.expand(-1, HEADS, n, -1).flatten(1, 2)
    a = torch.bmm(q, k.mT).mul(SCALE).masked_fill(~allowed, INFINITE).softmax(-1)
    return do("merge", torch.bmm(a, v).unflatten(1, (HEADS, n)))


@spelling("grouped_attention", "SDPA")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = do("split", q, HEADS), do("split", k, 1), do("split", v, 1)
    return do("merge", F.scaled_dot_product_attention(q, k, v, attn_mask=keep, enable_gqa=True))


@spelling("grouped_attention", "SDPA repeated")
def _(do: Any, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, block: Block) -> Tensor:
    q, k, v = do("split", q, HEADS), *(do("split", x, 1).repeat_interleave(HEADS, 1) for x in (k, v))
    return do("merge", F.scaled_dot_product_attention(q, k, v, attn_mask=keep))


# --- LayerNorm and RMSNorm ----------------------------------------------------------------------------------


def _normed(normalised: Callable[[Tensor, float], Tensor]) -> Spelling:
    """weight * normalised + bias, of a LayerNorm."""
    return lambda norm, x: normalised(x, norm.eps) * norm.weight + norm.bias


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(-1, keepdim=True)
    return mean, ((x - mean) ** 2).mean(-1, keepdim=True)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _by_var_mean(x: Tensor, eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, -1, unbiased=False, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps)


SPELLINGS["layer_norm"] = {
    "F.layer_norm": lambda n, x: F.layer_norm(x, (HIDDEN,), n.weight, n.bias, n.eps),
    "nn.LayerNorm": lambda n, x: n.layer_module(x),
    "torch.layer_norm": lambda n, x: torch.layer_norm(x, (HIDDEN,), n.weight, n.bias, n.eps),
    "F.layer_norm by keyword": lambda n, x: F.layer_norm(
        input=x, normalized_shape=[HIDDEN], weight=n.weight, bias=n.bias, eps=n.eps
    ),
    "torch.native_layer_norm": lambda n, x: torch.native_layer_norm(x, (HIDDEN,), n.weight, n.bias, n.eps)[0],
    "affine behind": lambda n, x: F.layer_norm(x, (HIDDEN,), eps=n.eps) * n.weight + n.bias,
    "affine before": lambda n, x: n.bias + n.weight * F.layer_norm(x, (HIDDEN,), None, None, n.eps),
    "bias behind": lambda n, x: F.layer_norm(x, (HIDDEN,), n.weight, None, n.eps) + n.bias,
    "addcmul": lambda n, x: torch.addcmul(n.bias, F.layer_norm(x, (HIDDEN,), eps=n.eps), n.weight),
    "sqrt": _normed(lambda x, eps: (x - _moments(x)[0]) / torch.sqrt(_moments(x)[1] + eps)),
    "weight first": lambda n, x: n.weight * _centred(x) / torch.sqrt(_moments(x)[1] + n.eps) + n.bias,
    "x.sqrt": _normed(lambda x, eps: _centred(x) / (_moments(x)[1] + eps).sqrt()),
    "rsqrt": _normed(lambda x, eps: _centred(x) * torch.rsqrt(_moments(x)[1] + eps)),
    "x.rsqrt": _normed(lambda x, eps: _centred(x).mul((_moments(x)[1] + eps).rsqrt())),
    "rsqrt first": lambda n, x: n.weight * ((_moments(x)[1] + n.eps).rsqrt() * _centred(x)) + n.bias,
    "** 0.5": _normed(lambda x, eps: _centred(x) / (_moments(x)[1] + eps) ** 0.5),
    "** -0.5": _normed(lambda x, eps: _centred(x) * (_moments(x)[1] + eps) ** -0.5),
    "pow(-0.5)": _normed(lambda x, eps: _centred(x) * (_moments(x)[1] + eps).pow(-0.5)),
    "1 / sqrt": _normed(lambda x, eps: _centred(x) * (1.0 / torch.sqrt(_moments(x)[1] + eps))),
    "reciprocal": _normed(lambda x, eps: _centred(x) * torch.reciprocal(torch.sqrt(_moments(x)[1] + eps))),
    "x.reciprocal": _normed(lambda x, eps: _centred(x) * (_moments(x)[1] + eps).sqrt().reciprocal()),
    "torch.var": _normed(
        lambda x, eps: _centred(x) / torch.sqrt(torch.var(x, -1, keepdim=True, unbiased=False) + eps)
    ),
    "x.var": _normed(lambda x, eps: _centred(x) * (x.var(-1, keepdim=True, correction=0) + eps).rsqrt()),
    "x.var unbiased": _normed(
        lambda x, eps: _centred(x) / (x.var(-1, keepdim=True) * ((HIDDEN - 1) / HIDDEN) + eps).sqrt()
    ),
    "var_mean": _normed(_by_var_mean),
    "pow(2)": _normed(
        lambda x, eps: _centred(x) / (_centred(x).pow(2).mean(-1, keepdim=True) + eps).sqrt()
    ),
    "torch.pow": _normed(
        lambda x, eps: torch.div(_centred(x), torch.sqrt(torch.pow(_centred(x), 2).mean(-1, True) + eps))
    ),
    "square": _normed(
        lambda x, eps: _centred(x) / (torch.square(_centred(x)).mean(-1, keepdim=True) + eps).sqrt()
    ),
    "x * x": _normed(
        lambda x, eps: _centred(x) / ((_centred(x) * _centred(x)).mean(-1, keepdim=True) + eps).sqrt()
    ),
    "E[x^2] - E[x]^2": _normed(
        lambda x, eps: _centred(x)
        / ((x * x).mean(-1, keepdim=True) - x.mean(-1, keepdim=True) ** 2 + eps).sqrt()
    ),
    "sum / n": _normed(
        lambda x, eps: (x - x.sum(-1, keepdim=True) / HIDDEN)
        / torch.sqrt((_centred(x) ** 2).sum(-1, keepdim=True) / HIDDEN + eps)
    ),
    "torch.mean": _normed(
        lambda x, eps: (x - torch.mean(x, dim=-1, keepdim=True))
        / torch.sqrt(torch.mean((x - torch.mean(x, dim=-1, keepdim=True)) ** 2, dim=-1, keepdim=True) + eps)
    ),
    "unsqueezed mean": _normed(
        lambda x, eps: (x - x.mean(-1)[..., None]) / (_moments(x)[1] + eps).sqrt()
    ),
    "expanded root": _normed(
        lambda x, eps: _centred(x) / (_moments(x)[1] + eps).sqrt().expand_as(x)
    ),
    "linalg norm": _normed(
        lambda x, eps: _centred(x)
        / torch.sqrt(torch.linalg.vector_norm(_centred(x), dim=-1, keepdim=True) ** 2 / HIDDEN + eps)
    ),
    "in place": _normed(lambda x, eps: _centred(x).div_(torch.sqrt(_moments(x)[1] + eps))),
    "F.group_norm": lambda n, x: F.group_norm(
        x.reshape(-1, HIDDEN), 1, n.weight, n.bias, n.eps
    ).view(x.shape),
    "F.instance_norm": _normed(lambda x, eps: F.instance_norm(x, eps=eps)),
    "F.batch_norm": _normed(
        lambda x, eps: F.batch_norm(
            x.reshape(-1, HIDDEN).T, None, None, training=True, eps=eps
        ).T.view(x.shape)
    ),
    "aten.layer_norm": lambda n, x: torch.ops.aten.layer_norm(x, [HIDDEN], n.weight, n.bias, n.eps),
    "of a copy": lambda n, x: F.layer_norm(x.clone(), (HIDDEN,), n.weight, n.bias, n.eps),
    "weights of parameters": lambda n, x: F.layer_norm(
        x, (HIDDEN,), n.weight * ZERO.exp(), n.bias + ZERO, n.eps
    ),
    "two dimensions": lambda n, x: F.layer_norm(
        x.view(*x.shape[:-1], 2, WIDTH), (2, WIDTH), n.weight.view(2, WIDTH), n.bias.view(2, WIDTH), n.eps
    ).flatten(-2),
}  # fmt: skip


def _mean_square(x: Tensor) -> Tensor:
    return x.pow(2).mean(-1, keepdim=True)


SPELLINGS["rms_norm"] = {
    "F.rms_norm": lambda n, x: F.rms_norm(x, (HIDDEN,), n.weight, n.eps),
    "torch.rms_norm": lambda n, x: torch.rms_norm(x, (HIDDEN,), n.weight, n.eps),
    "nn.RMSNorm": lambda n, x: n.rms_module(x),
    "weight behind": lambda n, x: F.rms_norm(x, (HIDDEN,), eps=n.eps) * n.weight,
    "x * rsqrt": lambda n, x: n.weight * (x * torch.rsqrt(_mean_square(x) + n.eps)),
    "rsqrt * x": lambda n, x: torch.rsqrt(_mean_square(x) + n.eps) * x * n.weight,
    "x.mul(rsqrt)": lambda n, x: x.mul((x.square().mean(-1, keepdim=True) + n.eps).rsqrt()).mul(n.weight),
    "weight and rsqrt first": lambda n, x: x * (n.weight * torch.rsqrt(_mean_square(x) + n.eps)),
    "weighted x": lambda n, x: (x * n.weight) * torch.rsqrt(_mean_square(x) + n.eps),
    "x / sqrt": lambda n, x: x / torch.sqrt(_mean_square(x) + n.eps) * n.weight,
    "x / x.sqrt": lambda n, x: n.weight * x / (_mean_square(x) + n.eps).sqrt(),
    "x * x": lambda n, x: x / torch.sqrt((x * x).mean(-1, keepdim=True) + n.eps) * n.weight,
    "x ** 2": lambda n, x: x * ((x**2).mean(-1, keepdim=True) + n.eps) ** -0.5 * n.weight,
    "torch.pow": lambda n, x: x * torch.pow(torch.mean(torch.pow(x, 2), -1, True) + n.eps, -0.5) * n.weight,
    "1 / sqrt": lambda n, x: x * (1 / torch.sqrt(_mean_square(x) + n.eps)) * n.weight,
    "reciprocal": lambda n, x: x * (_mean_square(x) + n.eps).sqrt().reciprocal() * n.weight,
    "sum / n": lambda n, x: x / ((x * x).sum(-1, keepdim=True) / HIDDEN + n.eps).sqrt() * n.weight,
    "norm": lambda n, x: x / torch.sqrt(x.norm(dim=-1, keepdim=True) ** 2 / HIDDEN + n.eps) * n.weight,
    "linalg norm": lambda n, x: x
    / (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / HIDDEN + n.eps).sqrt()
    * n.weight,
    "x @ x": lambda n, x: x / ((x[..., None, :] @ x[..., None])[..., 0] / HIDDEN + n.eps).sqrt() * n.weight,
    "einsum": lambda n, x: x
    * (torch.einsum("...i,...i->...", x, x)[..., None] / HIDDEN + n.eps).rsqrt() * n.weight,
    "1 + (weight - 1)": lambda n, x: x * torch.rsqrt(_mean_square(x) + n.eps) * (1.0 + (n.weight - 1.0)),
    "in double": lambda n, x: n.weight
    * (x.to(torch.float64) * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + n.eps)).type_as(x),
    "in place": lambda n, x: (x * torch.rsqrt(_mean_square(x) + n.eps)).mul_(n.weight),
}  # fmt: skip

# --- element-wise functions ---------------------------------------------------------------------------------

ROOT = math.sqrt(2.0)
TANH_SCALE = math.sqrt(2.0 / math.pi)

SPELLINGS["l2_norm"] = {
    "x / x.norm": lambda n, x: x / x.norm(dim=-1, keepdim=True) * n.weight,
    "F.normalize": lambda n, x: F.normalize(x, dim=-1, eps=n.eps) * n.weight,
    "F.normalize by keyword": lambda n, x: F.normalize(input=x, p=2.0, dim=x.dim() - 1, eps=n.eps) * n.weight,
    "x.norm(p=2)": lambda n, x: n.weight * (x / x.norm(p=2, dim=-1, keepdim=True).clamp(min=n.eps)),
    "x.norm(2, -1, True)": lambda n, x: n.weight * x.div(x.norm(2, -1, True).expand_as(x)),
    "torch.norm": lambda n, x: x / torch.norm(x, dim=-1, keepdim=True) * n.weight,
    "linalg.norm": lambda n, x: x / torch.linalg.norm(x, dim=-1, keepdim=True) * n.weight,
    "linalg.vector_norm": lambda n, x: x * n.weight / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
    "1 / norm": lambda n, x: x * (1.0 / x.norm(dim=-1, keepdim=True)) * n.weight,
    "norm ** -1": lambda n, x: x * x.norm(dim=-1, keepdim=True) ** -1 * n.weight,
    "sqrt(sum)": lambda n, x: x / x.pow(2).sum(-1, keepdim=True).sqrt() * n.weight,
    "rsqrt(sum)": lambda n, x: x * torch.rsqrt((x * x).sum(-1, keepdim=True)) * n.weight,
    "in place": lambda n, x: x.clone().div_(x.norm(dim=-1, keepdim=True)).mul_(n.weight),
    "maximum": lambda n, x: (
        x / torch.maximum(x.norm(dim=-1, keepdim=True), torch.tensor(n.eps, dtype=x.dtype)) * n.weight
    ),
}


def _channels(function: Callable[[Norm, Tensor], Tensor]) -> Spelling:
    """`function` on (texts, channels, positions)."""
    return lambda n, x: function(n, x.view(len(x), -1, HIDDEN).mT).mT.reshape(x.shape)


def _rows(function: Callable[[Norm, Tensor], Tensor]) -> Spelling:
    return lambda n, x: function(n, x.reshape(-1, HIDDEN)).view(x.shape)


def _moments_kept(n: Norm) -> tuple[Tensor, Tensor]:
    return n.batch_module.running_mean, n.batch_module.running_var


# In eval mode it is a scale and a constant for each channel.
SPELLINGS["batch_norm"] = {
    "F.batch_norm": _rows(lambda n, x: F.batch_norm(x, *_moments_kept(n), n.weight, n.bias, eps=n.eps)),
    "F.batch_norm, channels": _channels(
        lambda n, x: F.batch_norm(x, *_moments_kept(n), n.weight, n.bias, False, 0.1, n.eps)
    ),
    "nn.BatchNorm1d": _rows(lambda n, x: n.batch_module(x)),
    "nn.BatchNorm1d, channels": _channels(lambda n, x: n.batch_module(x)),
    "affine behind": _rows(lambda n, x: F.batch_norm(x, *_moments_kept(n), eps=n.eps) * n.weight + n.bias),
    "written out": lambda n, x: (
        (x - _moments_kept(n)[0]) / torch.sqrt(_moments_kept(n)[1] + n.eps) * n.weight + n.bias
    ),
    "rsqrt": lambda n, x: (
        (x - _moments_kept(n)[0]) * (_moments_kept(n)[1] + n.eps).rsqrt() * n.weight + n.bias
    ),
}
SPELLINGS["gelu"] = {
    "F.gelu": lambda x: F.gelu(x),
    "nn.GELU": lambda x: nn.GELU()(x),
    "torch._C._nn.gelu": lambda x: torch._C._nn.gelu(x),
    "F.gelu by keyword": lambda x: F.gelu(input=x, approximate="none"),
    "x * 0.5 * (1 + erf)": lambda x: x * 0.5 * (1.0 + torch.erf(x / ROOT)),
    "0.5 * x * (1 + erf)": lambda x: 0.5 * x * (1.0 + torch.erf(x / ROOT)),
    "x * (0.5 * (1 + erf))": lambda x: x * (0.5 * (1.0 + torch.erf(x / ROOT))),
    "(erf + 1) * x / 2": lambda x: (torch.erf(x * (1 / ROOT)) + 1.0) * x / 2.0,
    "x.erf": lambda x: 0.5 * x * (x.div(ROOT).erf().add(1.0)),
    "torch.mul": lambda x: torch.mul(x, torch.mul(torch.add(torch.erf(torch.div(x, ROOT)), 1.0), 0.5)),
    "torch.special.erf": lambda x: x * 0.5 * (1.0 + torch.special.erf(x / ROOT)),
    "erfc": lambda x: 0.5 * x * torch.erfc(-x / ROOT),
    "ndtr": lambda x: x * torch.special.ndtr(x),
    "normal cdf": lambda x: x * torch.distributions.Normal(0.0, 1.0, validate_args=False).cdf(x),
    "sum of two": lambda x: 0.5 * x + 0.5 * x * torch.erf(x / ROOT),
    "erf in place": lambda x: torch.erf(x / ROOT).add_(1.0).mul_(x).mul_(0.5),
    "through a view": lambda x: F.gelu(x.reshape(-1, INNER)).view(x.shape),
    "aten.gelu": lambda x: torch.ops.aten.gelu(x),
    "own autograd.Function": lambda x: _OwnGelu.apply(x),
    "scripted": lambda x: _scripted_gelu()(x),
    "by a factor of parameters": lambda x: x * ZERO.exp() * 0.5 * (1.0 + torch.erf(x / ROOT)),
    "of a copy": lambda x: x.clone() * 0.5 * (1.0 + torch.erf(x.contiguous().clone() / ROOT)),
    "of a view": lambda x: (x[..., None] * 0.5 * (1.0 + torch.erf(x[..., None] / ROOT)))[..., 0],
    "in parts": lambda x: torch.cat([F.gelu(part) for part in x.split(5, -1)], -1),
}


class _OwnGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        density = torch.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        return gradient * (0.5 * (1.0 + torch.erf(x / ROOT)) + x * density)


def _written_gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / 1.4142135623730951))


@cache
def _scripted_gelu() -> Spelling:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(_written_gelu)


SPELLINGS["gelu_tanh"] = {
    "F.gelu": lambda x: F.gelu(x, approximate="tanh"),
    "nn.GELU": lambda x: nn.GELU("tanh")(x),
    "x ** 3": lambda x: 0.5 * x * (1.0 + torch.tanh(TANH_SCALE * (x + 0.044715 * x**3))),
    "torch.pow": lambda x: 0.5 * x * (1.0 + torch.tanh(TANH_SCALE * (x + 0.044715 * torch.pow(x, 3.0)))),
    "x * x * x": lambda x: 0.5 * x * (1.0 + torch.tanh(TANH_SCALE * (x + 0.044715 * x * x * x))),
    "fast": lambda x: 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608028654 * (1.0 + 0.044715 * x * x))),
    "x * (0.5 * ...)": lambda x: x * (0.5 * (1.0 + (TANH_SCALE * (x + 0.044715 * x.pow(3))).tanh())),
    "sigmoid": lambda x: x * torch.sigmoid(2 * TANH_SCALE * (x + 0.044715 * x**3)),
    "sum of two": lambda x: 0.5 * x + 0.5 * x * torch.tanh(TANH_SCALE * (x + 0.044715 * x**3)),
}
SPELLINGS["quick_gelu"] = {
    "x * torch.sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "x.sigmoid": lambda x: (1.702 * x).sigmoid() * x,
    "F.sigmoid": lambda x: torch.mul(F.sigmoid(x * 1.702), x),
    "torch.special.expit": lambda x: x * torch.special.expit(1.702 * x),
    "silu": lambda x: F.silu(1.702 * x) / 1.702,
    "x / (1 + exp)": lambda x: x / (1.0 + torch.exp(-1.702 * x)),
    "tanh": lambda x: x * (0.5 * (1.0 + torch.tanh(0.851 * x))),
}
SPELLINGS["silu"] = {
    "F.silu": lambda x: F.silu(x),
    "nn.SiLU": lambda x: nn.SiLU()(x),
    "torch._C._nn.silu": lambda x: torch._C._nn.silu(x),
    "F.silu in place": lambda x: F.silu(x, inplace=True),
    "x * torch.sigmoid": lambda x: x * torch.sigmoid(x),
    "x.sigmoid": lambda x: x.sigmoid() * x,
    "nn.Sigmoid": lambda x: x.mul(nn.Sigmoid()(x)),
    "x / (1 + exp)": lambda x: x / (1.0 + torch.exp(-x)),
    "logsigmoid": lambda x: x * F.logsigmoid(x).exp(),
    "F.glu": lambda x: F.glu(torch.cat([x, x], -1), -1),
    "x.clone() * sigmoid": lambda x: x.clone() * torch.sigmoid(x),
    "swish of 1": lambda x: x * torch.sigmoid(x * torch.ones(INNER, dtype=x.dtype)),
    "sigmoid_": lambda x: x.clone().sigmoid_().mul_(x),
}
SPELLINGS["relu"] = {
    "F.relu": lambda x: F.relu(x),
    "torch.relu": lambda x: torch.relu(x),
    "x.relu": lambda x: x.relu(),
    "nn.ReLU": lambda x: nn.ReLU()(x),
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "nn.ReLU in place": lambda x: nn.ReLU(inplace=True)(x),
    "relu_": lambda x: x.relu_(),
    "torch.relu_": lambda x: torch.relu_(x),
    "clamp": lambda x: x.clamp(min=0),
    "clamp to a tensor": lambda x: torch.clamp(x, min=torch.zeros(())),
    "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "clamp_": lambda x: x.clamp_(min=0.0),
    "torch.clip": lambda x: torch.clip(x, 0.0),
    "F.hardtanh": lambda x: F.hardtanh(x, 0.0, 1e9),
    "torch.maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "torch.max": lambda x: torch.max(x, x.new_zeros(())),
    "torch.fmax": lambda x: torch.fmax(x, torch.zeros_like(x)),
    "x * (x > 0)": lambda x: x * (x > 0),
    "x * mask": lambda x: x * (x > 0).to(x.dtype),
    "torch.where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "torch.where scalar": lambda x: torch.where(x > 0, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.0),
    "masked_fill_": lambda x: x.masked_fill_(x < 0, 0.0),
    "index put": lambda x: _rectified(x),
    "F.threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "F.leaky_relu": lambda x: F.leaky_relu(x, 0.0),
    "F.prelu": lambda x: F.prelu(x, x.new_zeros(1)),
    "(x + |x|) / 2": lambda x: (x + x.abs()) / 2,
    "heaviside": lambda x: x * torch.heaviside(x, x.new_zeros(())),
    "sign": lambda x: x * (torch.sign(x) + 1) / 2,
}
SPELLINGS["tanh"] = {
    "torch.tanh": lambda x: torch.tanh(x),
    "x.tanh": lambda x: x.tanh(),
    "F.tanh": lambda x: F.tanh(x),
    "nn.Tanh": lambda x: nn.Tanh()(x),
    "torch.tanh_": lambda x: torch.tanh_(x),
    "x.tanh_": lambda x: x.tanh_(),
    "clone, tanh_": lambda x: x.clone().tanh_(),
    "sigmoid": lambda x: 2.0 * torch.sigmoid(2.0 * x) - 1.0,
    "exponentials": lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)),
    "sinh / cosh": lambda x: torch.sinh(x) / torch.cosh(x),
    "expm1": lambda x: torch.expm1(2 * x) / (torch.expm1(2 * x) + 2),
    "through a view": lambda x: torch.tanh(x[:, None])[:, 0],
    "aten.tanh": lambda x: torch.ops.aten.tanh(x),
    "of a scaled x": lambda x: torch.tanh(2.0 * x / 2.0),
    "F.hardtanh behind": lambda x: F.hardtanh(torch.tanh(x)),
}


def _rectified(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0.0
    return x


SPELLINGS["leaky_relu"] = {
    "F.leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "nn.LeakyReLU": lambda x: nn.LeakyReLU(0.1)(x),
    "in place": lambda x: F.leaky_relu(x, 0.1, inplace=True),
    "nn.LeakyReLU in place": lambda x: nn.LeakyReLU(0.1, inplace=True)(x),
    "F.leaky_relu_": lambda x: F.leaky_relu_(x, 0.1),
    "F.prelu": lambda x: F.prelu(x, x.new_full((1,), 0.1)),
    "F.prelu, channels": lambda x: F.prelu(x.reshape(-1, INNER), x.new_full((INNER,), 0.1)).view(x.shape),
    "torch.where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "torch.max": lambda x: torch.max(x, 0.1 * x),
    "maximum": lambda x: torch.maximum(0.1 * x, x),
    "relu of both": lambda x: torch.relu(x) - 0.1 * torch.relu(-x),
    "clamp of both": lambda x: x.clamp(min=0.0) + 0.1 * x.clamp(max=0.0),
    "|x|": lambda x: 0.55 * x + 0.45 * x.abs(),
}
SPELLINGS["elu"] = {
    "F.elu": lambda x: F.elu(x),
    "nn.ELU": lambda x: nn.ELU()(x),
    "in place": lambda x: F.elu(x, inplace=True),
    "F.elu_": lambda x: F.elu_(x),
    "F.celu": lambda x: F.celu(x),
    "torch.where": lambda x: torch.where(x > 0, x, torch.expm1(x)),
    "torch.where exp": lambda x: torch.where(x > 0, x, torch.exp(x) - 1.0),
    "relu + expm1": lambda x: torch.relu(x) + torch.expm1(x.clamp(max=0.0)),
    "relu + min": lambda x: torch.relu(x) + torch.minimum(torch.expm1(x), torch.zeros_like(x)),
}
SPELLINGS["sigmoid"] = {
    "torch.sigmoid": lambda x: torch.sigmoid(x),
    "x.sigmoid": lambda x: x.sigmoid(),
    "F.sigmoid": lambda x: F.sigmoid(x),
    "nn.Sigmoid": lambda x: nn.Sigmoid()(x),
    "expit": lambda x: torch.special.expit(x),
    "sigmoid_": lambda x: x.sigmoid_(),
    "tanh": lambda x: 0.5 * (1.0 + torch.tanh(x / 2.0)),
    "of -x": lambda x: 1.0 - torch.sigmoid(-x),
    "1 / (1 + exp)": lambda x: 1.0 / (1.0 + torch.exp(-x)),
    "exp of logsigmoid": lambda x: F.logsigmoid(x).exp(),
}
SPELLINGS["mish"] = {
    "F.mish": lambda x: F.mish(x),
    "nn.Mish": lambda x: nn.Mish()(x),
    "in place": lambda x: F.mish(x, inplace=True),
    "x * tanh(softplus)": lambda x: x * torch.tanh(F.softplus(x)),
    "tanh(softplus) * x": lambda x: F.softplus(x).tanh() * x,
    "softplus in place": lambda x: F.softplus(x).tanh_().mul_(x),
    "log1p(exp)": lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
}
SPELLINGS["hardswish"] = {
    "F.hardswish": lambda x: F.hardswish(x),
    "nn.Hardswish": lambda x: nn.Hardswish()(x),
    "in place": lambda x: F.hardswish(x, inplace=True),
    "x * relu6": lambda x: x * F.relu6(x + 3.0) / 6.0,
    "x * clamp": lambda x: x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
    "x * hardtanh": lambda x: x * F.hardtanh(x / 6.0 + 0.5, 0.0, 1.0),
}
SPELLINGS["softplus"] = {
    "F.softplus": lambda x: F.softplus(x),
    "nn.Softplus": lambda x: nn.Softplus()(x),
    "logsigmoid": lambda x: -F.logsigmoid(-x),
    "log1p(exp)": lambda x: torch.log1p(torch.exp(x)),
    "log(1 + exp)": lambda x: torch.log(1.0 + torch.exp(x)),
    "logaddexp": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "scaled": lambda x: F.softplus(2.0 * x, 0.5) / 2.0,
}
SPELLINGS["softsign"] = {
    "F.softsign": lambda x: F.softsign(x),
    "nn.Softsign": lambda x: nn.Softsign()(x),
    "x / (1 + |x|)": lambda x: x / (1.0 + x.abs()),
    "x / (|x| + 1)": lambda x: x.div(torch.abs(x) + 1.0),
    "of a copy": lambda x: x.clone() / (1.0 + x.abs()),
    "reciprocal": lambda x: x * (1.0 + x.abs()).reciprocal(),
}
SPELLINGS["relu_squared"] = {
    "square": lambda x: torch.square(F.relu(x)),
    "relu ** 2": lambda x: F.relu(x) ** 2,
    "pow": lambda x: torch.relu(x).pow(2),
    "relu * relu": lambda x: torch.relu(x) * torch.relu(x),
    "x * relu": lambda x: x * x.relu(),
    "square_": lambda x: torch.relu(x).square_(),
    "relu_ ** 2": lambda x: x.relu_() ** 2,
    "clamp": lambda x: x.clamp(min=0.0).square(),
}


def _both(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a, b], -1)


SPELLINGS["glu"] = {
    "a * sigmoid(b)": lambda a, b: a * torch.sigmoid(b),
    "sigmoid(b) * a": lambda a, b: b.sigmoid() * a,
    "F.glu": lambda a, b: F.glu(_both(a, b)),
    "F.glu, dim": lambda a, b: F.glu(_both(a, b), dim=-1),
    "nn.GLU": lambda a, b: nn.GLU()(_both(a, b)),
    "chunk": lambda a, b: (lambda x, y: x * F.sigmoid(y))(*_both(a, b).chunk(2, -1)),
    "slices": lambda a, b: _both(a, b)[..., :INNER] * _both(a, b)[..., INNER:].sigmoid(),
    "mul_": lambda a, b: torch.sigmoid(b).mul_(a),
    "in place": lambda a, b: b.sigmoid_() * a,
    "einsum": lambda a, b: torch.einsum("...i,...i->...i", a, b.sigmoid()),
    "through views": lambda a, b: (a[..., None] * b[..., None].sigmoid())[..., 0],
}
SPELLINGS["gate"] = {
    "a * b": lambda a, b: a * b,
    "b * a": lambda a, b: b * a,
    "torch.mul": lambda a, b: torch.mul(a, b),
    "torch.multiply": lambda a, b: torch.multiply(a, b),
    "a.mul": lambda a, b: a.mul(b),
    "by keyword": lambda a, b: torch.mul(input=a, other=b),
    "mul_": lambda a, b: a.mul_(b),
    "b.mul_": lambda a, b: b.mul_(a),
    "clone, mul_": lambda a, b: a.clone().mul_(b),
    "einsum": lambda a, b: torch.einsum("...i,...i->...i", a, b),
    "prod": lambda a, b: torch.stack([a, b]).prod(0),
    "addcmul": lambda a, b: torch.addcmul(torch.zeros_like(a), a, b),
    "matmul": lambda a, b: (a[..., None, None] @ b[..., None, None])[..., 0, 0],
    "a / (1 / b)": lambda a, b: a / (1 / b),
    "aten.mul": lambda a, b: torch.ops.aten.mul.Tensor(a, b),
    "halves doubled": lambda a, b: (0.5 * a) * (b * 2.0),
    "with a parameter": lambda a, b: a * (b * ZERO.exp()),
    "of views": lambda a, b: (a[..., None] * b[..., None]).squeeze(-1),
    "outer": lambda a, b: torch.einsum("...i,...j->...ij", a, b).diagonal(dim1=-2, dim2=-1),
    "chunked": lambda a, b: torch.mul(*torch.cat([a, b], -1).chunk(2, -1)),
    "diag_embed": lambda a, b: (torch.diag_embed(a) @ b[..., None])[..., 0],
}
SPELLINGS["residual"] = {
    "x + y": lambda x, y: x + y,
    "y + x": lambda x, y: y + x,
    "torch.add": lambda x, y: torch.add(x, y),
    "x.add": lambda x, y: x.add(y),
    "alpha": lambda x, y: torch.add(x, y, alpha=1),
    "by keyword": lambda x, y: torch.add(input=y, other=x),
    "x - -y": lambda x, y: x - (-y),
    "torch.sub": lambda x, y: torch.sub(x, y, alpha=-1),
    "x.sub(-y)": lambda x, y: x.sub(y.neg()),
    "y.add_": lambda x, y: y.add_(x),
    "x.add_": lambda x, y: x.add_(y),
    "clone, add_": lambda x, y: x.clone().add_(y),
    "stack, sum": lambda x, y: torch.stack([x, y]).sum(0),
    "stack, mean": lambda x, y: torch.stack([x, y]).mean(0) * 2,
    "sum": lambda x, y: sum([x, y]),
    "cat, sum": lambda x, y: torch.cat([x[:, None], y[:, None]], 1).sum(1),
    "scaled": lambda x, y: 2.0 * (x * 0.5 + y * 0.5),
    "scaled by tensors": lambda x, y: torch.ones(HIDDEN, dtype=x.dtype) * x + y,
    "lerp": lambda x, y: torch.lerp(x, y, 0.5) * 2,
    "addcmul": lambda x, y: torch.addcmul(x, y, torch.ones_like(y)),
    "addcdiv": lambda x, y: torch.addcdiv(x, y, torch.ones_like(y)),
    "einsum": lambda x, y: torch.einsum("sbni->bni", torch.stack([x, y])),
    "index_add": lambda x, y: x.clone().index_add(0, torch.arange(len(x)), y),
    "plus zero": lambda x, y: x + y + 0.0,
    "scaled by a parameter": lambda x, y: x + y * ZERO.exp(),
    "parameter times x": lambda x, y: ZERO.exp() * x + y,
    "divided by a parameter": lambda x, y: x + y / ZERO.exp(),
    "gated by a parameter": lambda x, y: x + 2.0 * torch.sigmoid(ZERO) * y,
    "addcmul with a parameter": lambda x, y: torch.addcmul(x, y, ZERO.exp()),
    "plus a parameter": lambda x, y: x + (y + ZERO),
    "scalar mix": lambda x, y: 2.0 * (torch.stack([x, y]) * ZEROS.softmax(0)[:, None, None, None]).sum(0),
    "scalar mix, einsum": lambda x, y: (
        2.0 * torch.einsum("k,kbni->bni", ZEROS.softmax(0), torch.stack([x, y]))
    ),
    "scalar mix, tensordot": lambda x, y: 2.0 * torch.tensordot(ZEROS.softmax(0), torch.stack([x, y]), 1),
    "aten.add": lambda x, y: torch.ops.aten.add.Tensor(x, y),
    "where": lambda x, y: torch.where(torch.ones_like(x, dtype=torch.bool), x + y, x),
    "highway": lambda x, y: torch.lerp(x, y, torch.sigmoid(ZERO)) * 2.0,
    "halves": lambda x, y: torch.cat([x[..., :3] + y[..., :3], x[..., 3:] + y[..., 3:]], -1),
}


@spelling("residual", "y += x")
def _(x: Tensor, y: Tensor) -> Tensor:
    y += x
    return y


@spelling("residual", "x += y")
def _(x: Tensor, y: Tensor) -> Tensor:
    x += y
    return x


@spelling("residual", "slices +=")
def _(x: Tensor, y: Tensor) -> Tensor:
    y = y.clone()
    y[..., :3] += x[..., :3]
    y[..., 3:] += x[..., 3:]
    return y


SPELLINGS["dropout"] = {
    "F.dropout": lambda x: F.dropout(x, 0.1, training=False),
    "nn.Dropout": lambda x: nn.Dropout(0.1).eval()(x),
    "torch.dropout": lambda x: torch.dropout(x, 0.1, False),
    "by keyword": lambda x: F.dropout(input=x, p=0.1, training=False),
    "in place": lambda x: F.dropout(x, 0.1, training=False, inplace=True),
    "p = 0": lambda x: F.dropout(x, 0.0, training=True),
    "none": lambda x: x,
    "nn.Identity": lambda x: nn.Identity()(x),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.1, training=False),
    "feature_alpha_dropout": lambda x: F.feature_alpha_dropout(x, 0.1, training=False),
    "dropout1d": lambda x: F.dropout1d(x, 0.1, training=False),
    "dropout2d": lambda x: nn.Dropout2d(0.1).eval()(x[None])[0],
    "native_dropout": lambda x: torch.native_dropout(x, 0.1, False)[0],
    "stochastic depth": lambda x: x * torch.ones(len(x), 1, 1, dtype=x.dtype),
    "divided by what is kept": lambda x: x.div(1.0),
}

# --- moving numbers about: x itself -------------------------------------------------------------------------


def _cut(x: Tensor) -> Tensor:
    return x[:, :2], x[:, 2:]


SPELLINGS["identity"] = {
    "x": lambda x: x,
    "clone": lambda x: x.clone(),
    "contiguous": lambda x: x.contiguous(),
    "to": lambda x: x.to(torch.float64).double().type_as(x),
    "to and back": lambda x: x.mT.mT.transpose(0, 1).transpose(1, 0),
    ".T": lambda x: x[0].T.T[None] if len(x) == 1 else torch.stack([row.T.T for row in x]),
    "view": lambda x: x.reshape(-1, HIDDEN).view(x.shape).view_as(x).reshape_as(x),
    "flatten": lambda x: x.flatten(1).unflatten(1, (x.shape[1], HIDDEN)),
    "ravel": lambda x: x.ravel().reshape(x.shape),
    "nn.Flatten": lambda x: nn.Unflatten(1, (x.shape[1], HIDDEN))(nn.Flatten()(x)),
    "permute": lambda x: torch.permute(x.permute(2, 0, 1), (1, 2, 0)),
    "movedim": lambda x: x.movedim(0, 2).movedim(2, 0),
    "swapdims": lambda x: torch.swapdims(x.swapaxes(0, 1), 0, 1),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1)[..., None].squeeze(-1),
    "expand": lambda x: x.expand(*x.shape).expand_as(x).broadcast_to(x.shape),
    "repeat": lambda x: x.repeat(1, 2, 1)[:, : x.shape[1]],
    "tile": lambda x: torch.tile(x, (2, 1, 1))[: len(x)],
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "cat": lambda x: torch.cat(_cut(x), 1),
    "cat of splits": lambda x: torch.cat(x.split(3, -1), -1),
    "cat of chunks": lambda x: torch.concatenate(x.chunk(3, 2), dim=2),
    "tensor_split": lambda x: torch.cat(torch.tensor_split(x, 3, 1), 1),
    "hstack": lambda x: torch.hstack(_cut(x)),
    "vstack": lambda x: torch.vstack([x[:1], x[1:]]),
    "stack": lambda x: torch.stack(x.unbind(1), 1),
    "stack of rows": lambda x: torch.stack(list(x)),
    "stack of selected": lambda x: torch.stack([x.select(1, i) for i in range(x.shape[1])], dim=1),
    "flip": lambda x: x.flip(1).flip(1),
    "roll": lambda x: x.roll(2, 1).roll(-2, 1),
    "index": lambda x: x[:, list(range(x.shape[1]))],
    "index_select": lambda x: torch.index_select(x, 1, torch.arange(x.shape[1])),
    "permuted": lambda x: x[:, torch.arange(x.shape[1] - 1, -1, -1)][:, torch.arange(x.shape[1] - 1, -1, -1)],
    "gather": lambda x: x.gather(1, torch.arange(x.shape[1])[None, :, None].expand(x.shape)),
    "take_along_dim": lambda x: x.take_along_dim(torch.arange(x.shape[1])[None, :, None].expand(x.shape), 1),
    "torch.take": lambda x: torch.take(x, torch.arange(x.numel())).view(x.shape),
    "masked_select": lambda x: x.masked_select(torch.ones_like(x, dtype=torch.bool)).view(x.shape),
    "narrow": lambda x: torch.cat([x.narrow(1, 0, 2), torch.narrow(x, 1, 2, x.shape[1] - 2)], 1),
    "padded": lambda x: F.pad(x, (0, 0, 1, 2))[:, 1:-2],
    "constant pad": lambda x: nn.ConstantPad1d(1, 0.0)(x)[..., 1:-1],
    "as_strided": lambda x: x.contiguous().as_strided(x.shape, x.contiguous().stride()),
    "unfold": lambda x: x.unfold(1, 1, 1)[..., 0],
    "times one": lambda x: x * 1 / 1 + 0,
    "minus zero": lambda x: x.neg().neg() - 0.0,
    "masked": lambda x: x.masked_fill(torch.zeros_like(x, dtype=torch.bool), 0.0),
    "where": lambda x: torch.where(torch.ones_like(x, dtype=torch.bool), x, 0.0),
    "where of both": lambda x: torch.where(torch.arange(HIDDEN) < 3, x, x.clone()),
    "nan_to_num": lambda x: torch.nan_to_num(x),
    "einsum": lambda x: torch.einsum("bni->nib", x).permute(2, 0, 1),
    "einsum of one": lambda x: torch.einsum("bni,n->bni", x, x.new_ones(x.shape[1])),
    "cumsum": lambda x: torch.cat([x.cumsum(1)[:, :1], x.cumsum(1).diff(dim=1)], 1),
    "tril + triu": lambda x: x.tril() + x.triu(1),
    "diagonal": lambda x: torch.diag_embed(x).diagonal(dim1=-2, dim2=-1),
    "real": lambda x: torch.view_as_real(torch.complex(x, x))[..., 0],
    "fft": lambda x: torch.fft.ifft(torch.fft.fft(x, dim=1), dim=1).real,
    "fft of both": lambda x: torch.real(torch.fft.ifftn(torch.fft.fftn(x, dim=(1, 2)), dim=(1, 2))),
    "rfft": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=-1), n=x.shape[-1], dim=-1),
    "complex": lambda x: torch.view_as_real(
        torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(x.new_ones(4), x.new_zeros(4))
    ).flatten(-2),
    "plus a complex number": lambda x: (torch.complex(x, 2 * x) + torch.complex(x.new_ones(1), x)).real - 1.0,
    "mul_ and div_": lambda x: x.clone().mul_(2.0).div_(x.new_full((HIDDEN,), 2.0)),
    "add_ a number": lambda x: x.clone().add_(1.0) - 1.0,
    "sub_ with alpha": lambda x: x.clone().sub_(x.new_full((HIDDEN,), 0.5), alpha=2) + 1.0,
    "added to ones": lambda x: x.new_ones(x.shape).add_(x) - 1.0,
    "masked_fill_ of a number": lambda x: _refilled(x, lambda y, at: y.masked_fill_(at, 0.5)),
    "masked_fill of a number": lambda x: _refilled(x, lambda y, at: y.masked_fill(at, 0.5)),
    "where of a number": lambda x: _refilled(x, lambda y, at: torch.where(at, 0.5, y)),
    "where of a tensor": lambda x: _refilled(x, lambda y, at: torch.where(at, torch.full_like(y, 0.5), y)),
    "index_fill": lambda x: _refilled(x, lambda y, at: y.index_fill(1, torch.tensor([1]), 0.5)),
    "index_fill_": lambda x: _refilled(x, lambda y, at: y.index_fill_(1, torch.tensor([1]), 0.5)),
    "index put of a number": lambda x: _refilled(x, lambda y, at: _written(y, at)),
    "index_put_": lambda x: _refilled(x, lambda y, at: y.index_put_((at,), torch.tensor(0.5, dtype=x.dtype))),
    "index_put": lambda x: _refilled(x, lambda y, at: y.index_put((at,), torch.tensor(0.5, dtype=x.dtype))),
    "fill_ of a part": lambda x: _refilled(x, lambda y, at: (y[:, 1].fill_(0.5), y)[1]),
    "scatter_ of a number": lambda x: _refilled(
        x, lambda y, at: y.scatter_(1, torch.ones(len(x), 1, HIDDEN, dtype=torch.long), 0.5)
    ),
    "into a constant": lambda x: _refilled(
        x, lambda y, at: torch.full_like(y, 0.5).masked_scatter(~at, y[~at])
    ),
    "into a constant, in place": lambda x: _refilled(x, lambda y, at: _into(torch.full_like(y, 0.5), y)),
    "into a part of a constant": lambda x: _refilled(
        x, lambda y, at: _into_parts(torch.full_like(y, 0.5), y)
    ),
    "index_copy_": lambda x: torch.zeros_like(x).index_copy_(1, torch.arange(x.shape[1]), x),
    "index_add_": lambda x: torch.ones_like(x).index_add_(1, torch.arange(x.shape[1]), x) - 1.0,
    "scatter_add_": lambda x: torch.ones_like(x).scatter_add_(
        1, torch.arange(x.shape[1])[None, :, None].expand(x.shape), x
    ) - 1.0,
    "select_scatter": lambda x: torch.select_scatter(x.clone(), x[:, 1], 1, 1),
    "F.unfold": lambda x: F.unfold(x[:, None], (1, HIDDEN)).mT,
    "F.fold": lambda x: F.fold(x.mT, (x.shape[1], HIDDEN), (1, HIDDEN))[:, 0],
    "depthwise conv1d": lambda x: F.conv1d(
        x.mT, F.pad(x.new_ones(HIDDEN, 1, 1), (1, 1)), x.new_ones(HIDDEN), padding=1, groups=HIDDEN
    ).mT - 1.0,
    "plus a new tensor": lambda x: x + x.new_tensor([1.0] * HIDDEN) - 1.0,
    "depthwise conv2d": lambda x: F.conv2d(
        x[:, None], F.pad(x.new_ones(1, 1, 1, 1), (1, 1, 1, 1)), x.new_ones(1), padding=1
    )[:, 0] - 1.0,
    "avg_pool1d": lambda x: F.avg_pool1d(x.mT.repeat_interleave(2, -1), 2).mT,
    "flip of a sum": lambda x: (x.fliplr() + x.flip(1)).flip(1) / 2,
    "diff": lambda x: torch.cat([x[:, :1], x.diff(dim=1)], 1).cumsum(1),
    "lerp of itself": lambda x: torch.lerp(x, x.new_ones(HIDDEN), 0.5) * 2 - 1.0,
    "new slices": lambda x: _slices(x),
    "copy_": lambda x: torch.empty_like(x).copy_(x),
    "unpadded": lambda x: _unpadded(x),
    "index_copy": lambda x: torch.zeros_like(x).index_copy(1, torch.arange(x.shape[1]), x),
    "index_add": lambda x: torch.zeros_like(x).index_add(1, torch.arange(x.shape[1]), x),
    "scatter": lambda x: torch.zeros_like(x).scatter(
        1, torch.arange(x.shape[1])[None, :, None].expand(x.shape), x
    ),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(
        1, torch.arange(x.shape[1])[None, :, None].expand(x.shape), x
    ),
    "masked_scatter": lambda x: torch.zeros_like(x).masked_scatter(torch.ones_like(x, dtype=torch.bool), x),
    "slice_scatter": lambda x: torch.slice_scatter(x, x[:, 1:3], 1, 1, 3),
    "sort": lambda x: x[:, torch.argsort(torch.arange(x.shape[1]))],
    "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(lambda y: y.clone(), x, use_reentrant=False),
    "nn.Identity": lambda x: nn.Sequential(nn.Identity(), nn.Identity())(x),
    "max of one": lambda x: x[..., None].max(-1).values,
    "upsampled": lambda x: F.interpolate(x.mT, scale_factor=2, mode="nearest").mT[:, ::2],
    "pixel": lambda x: x.view(len(x), x.shape[1], 2, 4).permute(0, 2, 3, 1).reshape(len(x), HIDDEN, -1).mT,
    "requires_grad": lambda x: x.requires_grad_(x.requires_grad),
    "isfinite": lambda x: x if bool(torch.isfinite(x).all()) else x.nan_to_num(),
    "clamped far out": lambda x: torch.clamp(x, -1e9, 1e9),
    "abs * sign": lambda x: x.abs() * x.sign(),
    "scalar mix of one": lambda x: (torch.stack([x, x]) * ZEROS.softmax(0).view(2, 1, 1, 1)).sum(0),
    "plus and minus": lambda x: (x + 1.0) - 1.0 + (x - x),
    "zero times x": lambda x: x + 0.0 * x,
    "rows by index put": lambda x: x.clone().index_put((torch.arange(len(x)),), x),
    "aten": lambda x: torch.ops.aten.transpose.int(torch.ops.aten.transpose.int(x, 1, 2), 1, 2),
    "set in place": lambda x: _set_in_place(x),
    "swapped in place": lambda x: x.clone().transpose_(1, 2).transpose_(1, 2).unsqueeze_(0).squeeze_(0),
}  # fmt: skip


def _slices(x: Tensor) -> Tensor:
    y = x.new_zeros(x.shape)
    y[:, :2] = x[:, :2]
    y[:, 2:] = x[:, 2:]
    return y


def _set_in_place(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for row in range(len(x)):
        y[row] = x[row]
    y.masked_fill_(torch.zeros_like(y, dtype=torch.bool), 0.0)
    return y


def _refilled(x: Tensor, fill: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """x, after the second position was given up for 0.5 by `fill`, and put back."""
    at = (torch.arange(x.shape[1]) == 1)[None, :, None].expand(x.shape)
    return fill(x.clone(), at) + (x - 0.5) * at


def _written(y: Tensor, at: Tensor) -> Tensor:
    y[at] = 0.5
    return y


def _into(y: Tensor, x: Tensor) -> Tensor:
    y[:, 0], y[:, 2:] = x[:, 0], x[:, 2:]
    return y


def _into_parts(y: Tensor, x: Tensor) -> Tensor:
    for part, own in ((y[:, :1], x[:, :1]), (y[:, 2:], x[:, 2:])):
        part.copy_(own)
    return y


def _unpadded(x: Tensor) -> Tensor:
    """The tokens of all texts in one row and back, as kernels of variable length want them."""
    indices = torch.arange(x.shape[0] * x.shape[1])
    rows = x.reshape(-1, HIDDEN)[indices]
    y = torch.zeros(x.shape[0] * x.shape[1], HIDDEN, dtype=x.dtype)
    y[indices] = rows
    return y.view(x.shape)


# --- pooling ------------------------------------------------------------------------------------------------


def _one_hot(position: Tensor, x: Tensor) -> Tensor:
    return F.one_hot(position, x.shape[1]).to(torch.float64)


SPELLINGS["pool_first"] = {
    "x[:, 0]": lambda x, keep: x[:, 0],
    "x[:, 0, :]": lambda x, keep: x[:, 0, :],
    "select": lambda x, keep: x.select(1, 0),
    "torch.select": lambda x, keep: torch.select(x, 1, 0),
    "index_select": lambda x, keep: x.index_select(1, torch.tensor([0])).squeeze(1),
    "gather": lambda x, keep: x.gather(1, torch.zeros(len(x), 1, HIDDEN, dtype=torch.long))[:, 0],
    "take_along_dim": lambda x, keep: x.take_along_dim(torch.zeros(1, 1, 1, dtype=torch.long), 1)[:, 0],
    "narrow": lambda x, keep: x.narrow(1, 0, 1).squeeze(1),
    "unbind": lambda x, keep: x.unbind(1)[0],
    "split": lambda x, keep: x.split(1, 1)[0][:, 0],
    "chunk": lambda x, keep: torch.chunk(x, x.shape[1], 1)[0].flatten(1),
    "transpose": lambda x, keep: x.transpose(0, 1)[0],
    "arange": lambda x, keep: x[torch.arange(len(x)), 0],
    "flatten": lambda x, keep: x.flatten(1)[:, :HIDDEN],
    "stack": lambda x, keep: torch.stack([row[0] for row in x]),
    "einsum": lambda x, keep: torch.einsum("bni,n->bi", x, _one_hot(torch.tensor(0), x)),
    "bmm": lambda x, keep: torch.bmm(_one_hot(torch.zeros(len(x), 1, dtype=torch.long), x), x)[:, 0],
    "mask, sum": lambda x, keep: (x * _one_hot(torch.tensor(0), x)[:, None]).sum(1),
    "boolean": lambda x, keep: x[(torch.arange(x.shape[1]) == 0).expand(len(x), -1)],
    "position of the first": lambda x, keep: x[torch.arange(len(x)), keep.int().argmax(-1)],
}


def _last(keep: Tensor) -> Tensor:
    return keep.sum(-1) - 1


def _is_last(x: Tensor, keep: Tensor) -> Tensor:
    return _one_hot(_last(keep), x)


SPELLINGS["pool_last"] = {
    "x[arange, last]": lambda x, keep: x[torch.arange(len(x)), _last(keep)],
    "argmax of a cumulated mask": lambda x, keep: x[torch.arange(len(x)), keep.int().cumsum(-1).argmax(-1)],
    "flipped argmax": lambda x, keep: x[
        torch.arange(len(x)), x.shape[1] - 1 - keep.int().flip(-1).argmax(-1)
    ],
    "largest kept position": lambda x, keep: x[
        torch.arange(len(x)), (torch.arange(x.shape[1]) * keep).argmax(-1)
    ],
    "gather": lambda x, keep: x.gather(1, _last(keep)[:, None, None].expand(-1, 1, HIDDEN)).squeeze(1),
    "take_along_dim": lambda x, keep: torch.take_along_dim(x, _last(keep)[:, None, None], 1)[:, 0],
    "index_select on rows": lambda x, keep: x.reshape(-1, HIDDEN).index_select(
        0, _last(keep) + torch.arange(len(x)) * x.shape[1]
    ),
    "stack": lambda x, keep: torch.stack([row[int(i)] for row, i in zip(x, _last(keep), strict=True)]),
    "boolean": lambda x, keep: x[_is_last(x, keep).bool()],
    "mask, sum": lambda x, keep: (x * _is_last(x, keep)[..., None]).sum(1),
    "bmm": lambda x, keep: torch.bmm(_is_last(x, keep)[:, None], x).squeeze(1),
    "einsum": lambda x, keep: torch.einsum("bn,bni->bi", _is_last(x, keep), x),
    "where": lambda x, keep: torch.where(_is_last(x, keep).bool()[..., None], x, 0.0).sum(1),
    "flattened boolean": lambda x, keep: x.flatten(0, 1)[_is_last(x, keep).bool().flatten()],
}


def _weights(x: Tensor, keep: Tensor) -> Tensor:
    mask = keep.to(x.dtype)
    return mask / mask.sum(-1, keepdim=True)


SPELLINGS["pool_mean"] = {
    "* mask, sum, / count": lambda x, keep: (
        (x * keep[..., None].to(x.dtype)).sum(1) / keep.sum(1, keepdim=True).to(x.dtype)
    ),
    "clamped count": lambda x, keep: (
        torch.sum(x * keep.unsqueeze(-1).expand(x.size()).to(x.dtype), 1)
        / torch.clamp(keep.unsqueeze(-1).expand(x.size()).to(x.dtype).sum(1), min=1e-9)
    ),
    "masked_fill": lambda x, keep: x.masked_fill(~keep[..., None], 0.0).sum(1) / keep.sum(1)[:, None],
    "masked_fill_": lambda x, keep: x.masked_fill_(~keep[..., None], 0.0).sum(1) / keep.sum(1)[:, None],
    "* bool mask": lambda x, keep: (x * keep[..., None]).sum(1).div(keep.sum(1)[:, None]),
    "where": lambda x, keep: torch.where(keep[..., None], x, 0.0).sum(1) / keep.sum(1, keepdim=True),
    "weights, sum": lambda x, keep: (x * _weights(x, keep)[..., None]).sum(1),
    "bmm": lambda x, keep: torch.bmm(_weights(x, keep)[:, None], x).squeeze(1),
    "@": lambda x, keep: (_weights(x, keep)[:, None] @ x)[:, 0],
    "x.mT @": lambda x, keep: (x.mT @ _weights(x, keep)[..., None])[..., 0],
    "einsum": lambda x, keep: torch.einsum("bni,bn->bi", x, _weights(x, keep)),
    "einsum, weights first": lambda x, keep: torch.einsum("bn,bni->bi", _weights(x, keep), x),
    "texts apart": lambda x, keep: torch.stack([row[own].mean(0) for row, own in zip(x, keep, strict=True)]),
    "slices": lambda x, keep: torch.stack(
        [row[: int(own.sum())].mean(dim=0) for row, own in zip(x, keep, strict=True)]
    ),
    "mean, rescaled": lambda x, keep: (
        (x * keep[..., None]).mean(1) * (x.shape[1] / keep.sum(1).to(x.dtype))[:, None]
    ),
    "index_add": lambda x, keep: (
        torch.zeros(len(x), HIDDEN, dtype=x.dtype).index_add(0, keep.nonzero()[:, 0], x[keep])
        / keep.sum(1)[:, None]
    ),
    "nanmean": lambda x, keep: x.masked_fill(~keep[..., None], float("nan")).nanmean(1),
    "cumsum": lambda x, keep: (x * keep[..., None]).cumsum(1)[:, -1] / keep.sum(1)[:, None],
    "multiplied by 1 / count": lambda x, keep: torch.mul(
        (x * keep[..., None]).sum(1), 1 / keep.sum(1)[:, None].to(x.dtype)
    ),
    "avg_pool1d": lambda x, keep: (
        F.avg_pool1d((x * keep[..., None]).mT, x.shape[1])[..., 0]
        * (x.shape[1] / keep.sum(1).to(x.dtype))[:, None]
    ),
    "adaptive_avg_pool1d": lambda x, keep: (
        F.adaptive_avg_pool1d((x * keep[..., None]).mT, 1).squeeze(-1)
        * (x.shape[1] / keep.sum(1).to(x.dtype))[:, None]
    ),
    "softmax of the mask": lambda x, keep: (
        torch.zeros(keep.shape, dtype=x.dtype).masked_fill(~keep, INFINITE).softmax(-1)[:, None] @ x
    )[:, 0],
}
SPELLINGS["pool_topk"] = {
    "topk, mean": lambda x, keep: x.masked_fill(~keep[..., None], INFINITE).topk(2, 1).values.mean(1),
    "torch.topk": lambda x, keep: torch.topk(x.masked_fill(~keep[..., None], INFINITE), 2, dim=1)[0].mean(1),
    "sort": lambda x, keep: (
        x.masked_fill(~keep[..., None], INFINITE).sort(1, descending=True)[0][:, :2].mean(1)
    ),
    "gather": lambda x, keep: x.gather(1, x.masked_fill(~keep[..., None], INFINITE).topk(2, 1).indices).mean(
        1
    ),
    "sum / 2": lambda x, keep: torch.topk(x.masked_fill(~keep[..., None], LOWEST), 2, 1).values.sum(1) / 2,
    "texts apart": lambda x, keep: torch.stack(
        [row[own].topk(2, 0).values.mean(0) for row, own in zip(x, keep, strict=True)]
    ),
}
SPELLINGS["pool_max"] = {
    "max": lambda x, keep: x.masked_fill(~keep[..., None], LOWEST).max(1).values,
    "torch.max": lambda x, keep: torch.max(x.masked_fill(~keep[..., None], INFINITE), dim=1)[0],
    "amax": lambda x, keep: x.masked_fill(~keep[..., None], INFINITE).amax(1),
    "torch.amax": lambda x, keep: torch.amax(x.masked_fill(~keep[..., None], -1e9), dim=1),
    "texts apart": lambda x, keep: torch.stack(
        [row[own].max(0).values for row, own in zip(x, keep, strict=True)]
    ),
    "gather": lambda x, keep: x.gather(1, x.masked_fill(~keep[..., None], INFINITE).argmax(1, keepdim=True))[
        :, 0
    ],
    "topk": lambda x, keep: x.masked_fill(~keep[..., None], INFINITE).topk(1, 1).values[:, 0],
    "sort": lambda x, keep: x.masked_fill(~keep[..., None], INFINITE).sort(1).values[:, -1],
    "max_pool1d": lambda x, keep: F.max_pool1d(x.masked_fill(~keep[..., None], -1e9).mT, x.shape[1])[..., 0],
    "adaptive_max_pool1d": lambda x, keep: F.adaptive_max_pool1d(x.masked_fill(~keep[..., None], -1e9).mT, 1)[
        ..., 0
    ],
    "maximum": lambda x, keep: _running_maximum(x.masked_fill(~keep[..., None], -1e9)),
    "cummax": lambda x, keep: x.masked_fill(~keep[..., None], -1e9).cummax(1).values[:, -1],
}


READER = torch.linspace(-1.0, 1.0, HIDDEN, dtype=torch.float64)


def _reading(x: Tensor, keep: Tensor) -> Tensor:
    return (x @ READER).masked_fill(~keep, INFINITE).softmax(-1)


# Attention with one query of constants: the softmax of a score of each token weighs the tokens.
SPELLINGS["pool_attention"] = {
    "bmm": lambda x, keep: torch.bmm(_reading(x, keep)[:, None], x)[:, 0],
    "@": lambda x, keep: (_reading(x, keep)[:, None] @ x).squeeze(1),
    "x.mT @": lambda x, keep: (x.mT @ _reading(x, keep)[..., None]).squeeze(-1),
    "product and sum": lambda x, keep: (_reading(x, keep)[..., None] * x).sum(1),
    "x * weights": lambda x, keep: torch.sum(x * _reading(x, keep).unsqueeze(-1), dim=1),
    "einsum": lambda x, keep: torch.einsum("bn,bni->bi", _reading(x, keep), x),
    "softmax over dimension 1": lambda x, keep: (
        torch.softmax((x @ READER[:, None]).masked_fill(~keep[..., None], INFINITE), dim=1) * x
    ).sum(1),
    "SDPA": lambda x, keep: F.scaled_dot_product_attention(
        READER.expand(len(x), 1, HIDDEN), x, x, attn_mask=keep[:, None], scale=1.0
    )[:, 0],
    "texts apart": lambda x, keep: torch.stack(
        [(row[own] @ READER).softmax(-1) @ row[own] for row, own in zip(x, keep, strict=True)]
    ),
    "exp / sum": lambda x, keep: (
        ((x @ READER).exp() * keep)[:, None].matmul(x)[:, 0]
        / ((x @ READER).exp() * keep).sum(1, keepdim=True)
    ),
}


def _running_maximum(x: Tensor) -> Tensor:
    found = x[:, 0]
    for i in range(1, x.shape[1]):
        found = torch.maximum(found, x[:, i])
    return found


OPERATIONS = tuple(SPELLINGS)


def network_of(operation: str) -> Network:
    """The network in which `operation` is tried."""
    if operation in ("rms_norm", "l2_norm", "batch_norm"):
        return Network(norm=operation)
    if operation in _FUNCTIONS and operation not in ("tanh", "silu"):
        return Network(feed=operation)
    if operation in ("silu", "gate"):
        return Network(feed="gated")
    if operation == "glu":
        return Network(feed="glu")
    if operation.startswith("pool"):
        return Network(pool=operation)
    return Network(grouped=operation == "grouped_attention")


# --- the methods, by plain autograd -------------------------------------------------------------------------


def half(x: Tensor) -> Tensor:
    """x, of which half the gradient passes."""
    return 0.5 * x + 0.5 * x.detach()


def _ratio(function: Callable[[Tensor], Tensor]) -> Spelling:
    """f(x) whose gradient is (f(x) - f(0)) / x, f(0) being a constant; no x of these tests is 0."""

    def spelled(x: Tensor) -> Tensor:
        at_zero = function(torch.zeros_like(x))
        return at_zero + x * ((function(x) - at_zero) / x).detach()

    return spelled


def _identity(function: Callable[[Tensor], Tensor]) -> Spelling:
    """f(x) whose gradient is 1."""
    return lambda x: x + (function(x) - x).detach()


def _root(x: Tensor, eps: float) -> Tensor:
    return (x.pow(2).mean(-1, keepdim=True) + eps).sqrt().detach()


_GATED = ("gelu", "gelu_tanh", "quick_gelu", "silu", "relu", "leaky_relu", "mish", "hardswish")
_FUNCTIONS = {
    name: next(iter(SPELLINGS[name].values()))
    for name in (*_GATED, "tanh", "elu", "sigmoid", "softplus", "softsign", "relu_squared")
}

_MODERN: dict[str, Spelling] = {
    "layer_norm": lambda n, x: _centred(x) / _root(_centred(x), n.eps) * n.weight + n.bias,
    "rms_norm": lambda n, x: x / _root(x, n.eps) * n.weight,
    "l2_norm": lambda n, x: x / x.norm(dim=-1, keepdim=True).detach() * n.weight,
    "gate": lambda a, b: half(a) * half(b),
    "scores": lambda q, k: half(q) @ half(k).mT * SCALE,
    **{name: _ratio(function) for name, function in _FUNCTIONS.items()},
}


class _AlphaBeta(torch.autograd.Function):
    """The released rule, alpha = 0.5, with the sign of the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None, None]:
        x, W, b = ctx.saved_tensors
        parts = []
        for sign in (1.0, -1.0):
            signed, offset = (sign * W).clamp(min=0) * sign, (sign * b).clamp(min=0) * sign
            parts.append(0.5 * x * ((R / (F.linear(x, signed, offset) + sign * 1e-7)) @ signed))
        new = (parts[0] + parts[1]).abs()
        return new * (R.sum(-1, keepdim=True) + 1e-7) / (new.sum(-1, keepdim=True) + 1e-7), None, None


def _read_by_a_linear_layer(x: Tensor, keep: Tensor) -> Tensor:
    scores = _AlphaBeta.apply(x, READER[None], READER.new_zeros(1))[..., 0]
    return (scores.masked_fill(~keep, INFINITE).softmax(-1)[..., None] * x).sum(1)


TWINS: dict[str, dict[str, Spelling]] = {
    "gs": {},
    "gi": {},
    "gi:reduction=sum": {},
    "attnlrp": {
        **_MODERN,
        "values": lambda a, v: half(a) @ half(v),
        "glu": lambda a, b: half(a) * half(_ratio(torch.sigmoid)(b)),
        "pool_attention": lambda x, keep: (half(_reading(x, keep))[..., None] * half(x)).sum(1),
    },
    "cp_lrp": {
        **_MODERN,
        "values": lambda a, v: a.detach() @ v,
        "glu": lambda a, b: a * torch.sigmoid(b).detach(),
        "pool_attention": lambda x, keep: (_reading(x, keep).detach()[..., None] * x).sum(1),
    },
    "lrp:residual=once": {
        "linear": lambda layer, x: _AlphaBeta.apply(x, layer.weight.detach(), layer.bias.detach()),
        "pool_attention": _read_by_a_linear_layer,
        **{name: _identity(_FUNCTIONS[name]) for name in (*_GATED, "tanh")},
    },
}


TWINS["lrp"] = TWINS["lrp:residual=once"]  # and `Classifier.twice`


def traced(network: Network) -> Tensor:
    """`lat`'s scores, (batch, seq): from the positions that are pooled down through each head's weights."""
    model, inputs = classifier(network), batch(network)
    weights: list[Tensor] = []

    def softmax(s: Tensor) -> Tensor:
        weights.append(s.softmax(-1))
        return weights[-1]

    with torch.no_grad(), model.spelled({"softmax": softmax}):
        model(**inputs)
    keep = inputs["attention_mask"].bool()
    starts = {
        "pool_first": _one_hot(torch.zeros(len(keep), dtype=torch.long), keep),
        "pool_last": _one_hot(_last(keep), keep),
        "pool_mean": keep.double() / keep.sum(1, keepdim=True),
    }
    trace = starts[network.pool][:, None, None]
    for layer in reversed(weights):
        trace = trace @ layer
    return trace[:, :, 0].sum(1)


def twin_defined(method: str, network: Network) -> bool:
    if method.startswith("lrp"):  # as it hands on R, it is one rule for what is x g(x) and for tanh alone
        released = network.feed in (*_GATED, "tanh", "gated") and network.norm != "batch_norm"
        return released and (network.post or method != "lrp")
    return method in TWINS


def twin(
    method: str, model: Classifier, embedding: Tensor, attention_mask: Tensor, target: int
) -> tuple[Tensor, Tensor]:
    """(relevance, scores) of `method` at the output of the embedding block, without whybert.

    The released code seeds its backward pass with the output itself, whatever comes of it.
    """
    embedding = embedding.detach().requires_grad_()
    model.twice = method == "lrp"
    try:
        with model.spelled(TWINS[method]):
            output = model.head(embedding, attention_mask)[:, target]
    finally:
        model.twice = False
    released = method.startswith("lrp")
    seed = output.detach() if released or method in ("gs", "gi") else torch.ones_like(output)
    (passed,) = torch.autograd.grad(output, embedding, seed)
    relevance = (passed if released or method == "gs" else passed * embedding).detach()
    if released:
        return relevance, relevance.abs().sum(-1)
    return relevance, (relevance.square() if method in ("gs", "gi") else relevance).sum(-1)
