"""Methods that take layers apart: what each token sends to each other one, and to the decision."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from whybert.errors import UsageError
from whybert.interception.layers import find_layers
from whybert.interception.parts import ByValues, Mixing, Parts, ZeroedValues, run_copies
from whybert.lrp.composites import CP_LRP, Composite
from whybert.methods.attention import AttentionMethod, handed_down
from whybert.methods.base import Method
from whybert.methods.question import Question
from whybert.methods.relevance import CPLRP
from whybert.perturbation import most_together

_AT_ONCE: Final = 2**13
"""Tokens of texts and their parts that go through the model together, where there are several texts."""
_COPIES: Final = 9
"""How often the widest tensor of a layer is held at once with all parts of a text (measured)."""


def layers_of(question: Question) -> tuple[nn.Module, ...]:
    """Told from the first text, once for all methods and targets of a call.

    Raises UnsupportedModelError where they cannot be told.
    """
    if "layers" not in question.found:
        first = slice(0, 1)
        embedding = question.shared.forward.embedding.detach()[first]
        inputs = question.inputs_of(first)
        question.found["layers"] = find_layers(question.model, inputs, lambda _: embedding)
    layers: tuple[nn.Module, ...] = question.found["layers"]
    return layers


@dataclass(frozen=True)
class LayerMixing(AttentionMethod):
    """What each layer mixes, a matrix C_l (queries, sources) whose rows sum to 1, and r C_L ... C_1.

    r is what the classifier reads.  The residual connection is in C_l, so that no identity is added.
    It does not depend on the target.

    batch_size: how many texts of 64 tokens go through the model at a time.
    """

    kind: ClassVar[str] = "decomposition"
    mode: ClassVar[type[ByValues]]
    own_rows: ClassVar[int]

    batch_size: int = field(default=128, metadata={"least": 1})

    @property
    def passes(self) -> str:
        return f"{2 + self.own_rows} + n forward for n tokens"

    def kept(self, chosen: Tensor) -> Tensor:
        """Of one-hot rows (sources, positions) what values each row of the pass has; see `ByValues`."""
        raise NotImplementedError

    def contributions(self, looked_at: Tensor) -> Tensor:
        """(sources, batch, queries) from what `mode` looks at of a layer."""
        raise NotImplementedError

    def attribute(self, question: Question) -> tuple[Tensor, None]:
        forward = self.traced(question)
        read = forward.read_positions(self.name)
        layers = layers_of(question)
        embedding = forward.embedding.detach()
        texts, length, _ = embedding.shape
        places = torch.eye(length, device=embedding.device)
        wide = torch.promote_types(embedding.dtype, torch.float32)
        found = [embedding.new_zeros(texts, length, length, dtype=wide) for _ in layers]
        at_once = most_together(length, self.batch_size)
        together = max(1, at_once // (length + self.own_rows))
        sources = max(1, at_once // together - self.own_rows)
        for rows in (slice(start, start + together) for start in range(0, texts, together)):
            inputs = question.inputs_of(rows)
            for chosen in (slice(first, first + sources) for first in range(0, length, sources)):
                keep = self.kept(places[chosen])
                copies = embedding[rows].repeat(len(keep), 1, 1)
                mode = partial(self.mode, keep=keep)
                seen = run_copies(
                    question.model, inputs, copies, mode, layers, self.contributions, question.logits[rows]
                )[-1]
                for matrix, parts in zip(found, seen, strict=True):
                    matrix[rows, :, chosen] = parts.to(wide).permute(1, 2, 0)
        matrices = []
        for layer, matrix in zip(forward.attention, found, strict=True):
            unread = (layer.weights().detach() == 0.0).all(1)
            matrix = self.without_unread(matrix, unread)
            matrices.append(torch.nan_to_num(matrix / matrix.sum(-1, keepdim=True), 0.0))
        return handed_down(read, matrices), None

    def without_unread(self, matrix: Tensor, unread: Tensor) -> Tensor:
        """unread: (batch, queries, keys), what no head attends to."""
        return matrix


@dataclass(frozen=True)
class ValueZeroing(LayerMixing):
    """`value_zeroing`: how far a layer's output at i turns when the value vector of token j is zero there.

    C_ij = 1 - cos(y_i, y_i without v_j), in all heads of one layer at a time, with the attention weights as
    they are; rows are divided by their sums.
    Source: Mohebbi et al., "Quantifying Context Mixing in Transformers", EACL 2023 (arXiv 2301.12971).
    """

    name: ClassVar[str] = "value_zeroing"
    summary: ClassVar[str] = "value zeroing: how a layer's output turns without a token's value vector"
    source: ClassVar[str] = "Mohebbi et al. 2023"
    place: ClassVar[int] = 52
    mode: ClassVar[type[ByValues]] = ZeroedValues
    own_rows: ClassVar[int] = 1

    def kept(self, chosen: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(chosen[:1]), 1.0 - chosen])

    def contributions(self, looked_at: Tensor) -> Tensor:
        rows = looked_at.double()
        return (1.0 - torch.cosine_similarity(rows[1:], rows[:1], -1)).clamp_min(0.0)

    def without_unread(self, matrix: Tensor, unread: Tensor) -> Tensor:
        return matrix.masked_fill(unread, 0.0)  # where what is left is rounding


@dataclass(frozen=True)
class ALTI(LayerMixing):
    """`alti`: how near what token j sends to i in an attention block comes to the block's whole output at i.

    The block is attention, residual sum and LayerNorm (before the attention in pre-norm models), with the
    weights A and the deviation of LayerNorm as constants: y_i = sum_j T_i(x_j) + bias.  Then
    C_ij = max(0, |y_i|_1 - |y_i - T_i(x_j)|_1), rows divided by their sums.  What stands behind the block in
    a layer mixes no tokens.
    Source: Ferrando et al., "Measuring the Mixing of Contextual Information in the Transformer", EMNLP 2022
    (arXiv 2203.04212).
    """

    name: ClassVar[str] = "alti"
    summary: ClassVar[str] = "ALTI: how much of each attention block's output a token's part of it makes up"
    source: ClassVar[str] = "Ferrando et al. 2022"
    place: ClassVar[int] = 51
    mode: ClassVar[type[ByValues]] = Mixing
    own_rows: ClassVar[int] = 2

    def kept(self, chosen: Tensor) -> Tensor:
        rest = 1.0 - chosen.sum(0, keepdim=True)
        return torch.cat([torch.ones_like(rest), rest, chosen])

    def contributions(self, looked_at: Tensor) -> Tensor:
        y, sent = looked_at[:1], looked_at[2:]
        return (y.abs().sum(-1) - (y - sent).abs().sum(-1)).clamp_min(0.0)


@dataclass(frozen=True)
class DecompX(Method):
    """`decompx`: the logit taken apart by tokens, through the whole model.

    The embedding of each token goes through the model on its own, with attention weights and deviations of
    LayerNorm as constants and activations as f(x) / x times x.

    include_biases: each bias b is handed to the parts z_k of its position by |b . z_k| / sum_j |b . z_j|
    where it is added, those of an attention behind its residual sum, so that the scores sum to the logit.
    It takes a part for each token, all at once.  False leaves the biases out: that is `cp_lrp`, in one
    backward pass.
    memory: how many GB the parts of a text may take; a text whose parts take more is refused.
    Source: Modarressi et al., "DecompX", ACL 2023 (arXiv 2306.02873); activations as "GeLU_ZO" there.
    """

    name: ClassVar[str] = "decompx"
    summary: ClassVar[str] = "DecompX: each token's part of the logit, biases handed to the tokens"
    source: ClassVar[str] = "Modarressi et al. 2023"
    kind: ClassVar[str] = "decomposition"
    place: ClassVar[int] = 50
    complete: ClassVar[bool] = True
    short: ClassVar[bool] = True

    include_biases: bool = True
    memory: float = field(default=8.0, metadata={"above": 0})

    @property
    def passes(self) -> str:
        return "4 + n forward for n tokens" if self.include_biases else "1 forward, 1 backward"

    def composites(self) -> tuple[Composite, ...]:
        return (CP_LRP,)

    @property
    def gradient_form(self) -> Composite | None:
        return None if self.include_biases else CP_LRP

    def biases(self, question: Question) -> Tensor | None:
        return None if self.include_biases else CPLRP().biases(question)

    def attribute(self, question: Question) -> tuple[Tensor, Tensor | None]:
        if not self.include_biases:
            return CPLRP().attribute(question)
        if self.name not in question.found:
            question.found[self.name] = self._parts(question)
        logits: Tensor = question.found[self.name]
        seed = question.target.seed(question.logits).to(logits)
        return (logits * seed[:, None]).sum(-1), None

    def _parts(self, question: Question) -> Tensor:
        """The logits of each token's part, (batch, positions, labels)."""
        embedding = question.forward(self.composites()).embedding.detach()
        texts, length, width = embedding.shape
        copies = length + 2
        widths = [getattr(module, "out_features", 0) for module in question.model.modules()]
        number = embedding.element_size() * max(4 * width, *widths)
        expected = _COPIES * copies * length * number / 1e9
        if expected > self.memory:
            most = int((self.memory * 1e9 / _COPIES / number) ** 0.5)
            raise UsageError(
                f"decompx takes a part for each token, all at once: {length} tokens take about "
                f"{expected:.2g} GB, and {self.memory:g} are granted; use include_biases=false, "
                f"memory={math.ceil(expected)} or max_length={most - 1}"
            )
        layers = layers_of(question)
        together = max(1, _AT_ONCE // (copies * length))
        shares = torch.eye(length + 2, length).roll(2, 0).to(embedding)
        shares[0] = 1.0
        found = []
        for start in range(0, texts, together):
            rows = slice(start, start + together)
            parts = (shares[:, None, :, None] * embedding[rows]).flatten(0, 1)
            inputs, made = question.inputs_of(rows), partial(Parts, copies=copies, shared=True)
            mode, logits, _ = run_copies(
                question.model, inputs, parts, made, layers, lambda seen: seen[:0], question.logits[rows]
            )
            assert isinstance(mode, Parts)
            found.append(mode.check_sum(logits, self.name)[2:].transpose(0, 1))
        return torch.cat(found)
