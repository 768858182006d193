"""Attention that is not one softmax(Q K^T) V: beside the same attention written out as a dense matrix.

The twins know nothing of whybert.  They compute a text at a time in plain torch, with a whole matrix of
scores in which a mask or a gather says which key a query sees, and follow the rules by factors that are
constants to autograd: f(x) / x for f'(x), a half of each factor of a product (AttnLRP) or none of the
attention weights (CP-LRP), and no derivative of a deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BigBirdConfig,
    ConvBertConfig,
    DebertaV2Config,
    LongformerConfig,
    PreTrainedConfig,
    ReformerConfig,
    XLNetConfig,
)

from models import Toy, inputs
from whybert import attribute
from whybert.errors import ModelError, UnsupportedModelError

VOCABULARY, HIDDEN, HEADS, TARGET = 60, 16, 2, 1
WIDTH = HIDDEN // HEADS


def make(config: PreTrainedConfig) -> nn.Module:
    torch.manual_seed(2)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
            elif "norm" in name.lower():
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0.0, 0.3)
    return model.double().eval()


def batch(lengths: tuple[int, ...], left: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(3, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, -length:] = 1 if left else 0
        mask[row, :length] = mask[row, :length] if left else 1
    return {"input_ids": ids * mask, "attention_mask": mask}


@dataclass
class Rules:
    """How relevance passes, written as the ordinary derivative of functions with constant factors."""

    constant_weights: bool

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return (a + a.detach()) / 2 @ ((b + b.detach()) / 2)

    def attend(self, weights: Tensor, values: Tensor) -> Tensor:
        return weights.detach() @ values if self.constant_weights else self.product(weights, values)

    def apply(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return x * (function(x) / x).detach()

    def normalise(self, x: Tensor, norm: Any) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach()
        return centred / deviation * norm.weight + norm.bias


RULES = {"attnlrp": Rules(constant_weights=False), "cp_lrp": Rules(constant_weights=True)}


def linear(module: Any, x: Tensor) -> Tensor:
    return x @ module.weight.T + (0.0 if module.bias is None else module.bias)


def heads(x: Tensor) -> Tensor:
    """(seq, hidden) -> (heads, seq, width)."""
    return x.view(len(x), HEADS, WIDTH).transpose(0, 1)


def merged(x: Tensor) -> Tensor:
    return x.transpose(0, 1).reshape(x.shape[1], HIDDEN)


def check(
    model: nn.Module,
    inputs: dict[str, Tensor],
    method: str,
    embed: Callable[[Tensor], Tensor],
    twin: Callable[[Tensor, Rules], Tensor],
    tolerance: float = 1e-10,
) -> None:
    """The scores of a batch beside those of the twin, a text at a time, and the books of both.

    embed: the embedding (batch, seq, hidden) of the model; twin: the logits of what one text has of it.
    """
    found = attribute(model, inputs, method, TARGET)
    with torch.no_grad():
        assert torch.equal(found.logits, model(**inputs).logits)
        embedding = embed(inputs["input_ids"])
    keep = inputs["attention_mask"].bool()
    assert not found.scores[~keep].any()
    for row, own in enumerate(keep):
        E = embedding[row][own].requires_grad_()
        logits = twin(E, RULES[method])
        torch.testing.assert_close(logits.detach(), found.logits[row], rtol=tolerance, atol=tolerance)
        (gradient,) = torch.autograd.grad(logits[TARGET], E)
        expected = (gradient * E).sum(-1).detach()
        error = (found.scores[row][own] - expected).norm() / expected.norm()
        assert error < tolerance, f"text {row}: {error:.1e}"
    if method == "cp_lrp":
        assert found.biases is not None
        rest = 0.0 if found.elsewhere is None else found.elsewhere
        total = found.scores.sum(1) + found.biases + rest
        torch.testing.assert_close(total, found.output, rtol=0, atol=tolerance)


# --- Longformer: Beltagy et al. 2020 (arXiv 2004.05150), section 3.1 ------------------------------


def longformer(window: int) -> nn.Module:
    return make(
        LongformerConfig(
            vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=HEADS,
            intermediate_size=24, max_position_embeddings=60, num_labels=3, attention_window=window,
            pad_token_id=0, sep_token_id=2, type_vocab_size=1,
        )
    )  # fmt: skip


def banded(model: Any, E: Tensor, rules: Rules, window: int, everywhere: list[int]) -> Tensor:
    """A token sees those at most half a window away and the global ones; a global token, with projections of
    its own, sees all."""
    length = len(E)
    places = torch.arange(length)
    sees = (places[:, None] - places).abs() <= window // 2
    is_global = torch.zeros(length, dtype=torch.bool)
    is_global[everywhere] = True
    sees = sees | is_global
    x = E
    for layer in model.longformer.encoder.layer:
        own = layer.attention.self

        def attended(names: list[str], sees: Tensor, own: Any = own, x: Tensor = x) -> Tensor:
            q, k, v = (heads(linear(getattr(own, name), x)) for name in names)
            scores = rules.product(q / math.sqrt(WIDTH), k.mT).masked_fill(~sees, -math.inf)
            return merged(rules.attend(scores.softmax(-1), v))

        local = attended(["query", "key", "value"], sees)
        whole = attended(["query_global", "key_global", "value_global"], torch.ones_like(sees))
        context = torch.where(is_global[:, None], whole, local)
        x = rules.normalise(
            x + linear(layer.attention.output.dense, context), layer.attention.output.LayerNorm
        )
        inner = rules.apply(F.gelu, linear(layer.intermediate.dense, x))
        x = rules.normalise(x + linear(layer.output.dense, inner), layer.output.LayerNorm)
    pooled = rules.apply(torch.tanh, linear(model.classifier.dense, x[0]))
    return linear(model.classifier.out_proj, pooled)


# Those of the whole are padded to a multiple of the window, with and without padding beside it.
BANDED = {
    "shorter than a window": (8, (5, 3)),
    "one window": (4, (4, 4)),
    "as many texts as tokens": (4, (4, 4, 3, 2)),
    "several windows": (4, (19, 11, 2)),
    "a wide window": (6, (14, 13)),
}


@pytest.fixture
def softmax_as_wide_as_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longformer takes its softmax in float32, which would be all the difference there is."""
    monkeypatch.setattr(F, "softmax", lambda x, dim, dtype=None: torch.softmax(x, dim))


@pytest.mark.usefixtures("softmax_as_wide_as_the_model")
@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("case", BANDED)
def test_banded_attention_against_a_dense_twin(case: str, method: str) -> None:
    window, lengths = BANDED[case]
    model, inputs = longformer(window), batch(lengths)
    check(
        model,
        inputs,
        method,
        model.longformer.embeddings,
        lambda E, rules: banded(model, E, rules, window, [0]),
    )


def test_banded_attention_in_float32_softmax() -> None:
    """As it is: the rounding of float32, and no more."""
    model, inputs = longformer(4), batch((11, 6))
    check(
        model, inputs, "attnlrp", model.longformer.embeddings,
        lambda E, rules: banded(model, E, rules, 4, [0]), 1e-6,
    )  # fmt: skip


@pytest.mark.usefixtures("softmax_as_wide_as_the_model")
@pytest.mark.parametrize("method", RULES)
def test_several_global_tokens(method: str) -> None:
    model, inputs = longformer(4), batch((11,))
    inputs["global_attention_mask"] = torch.zeros_like(inputs["input_ids"])
    inputs["global_attention_mask"][:, [0, 7]] = 1
    check(
        model, inputs, method, model.longformer.embeddings,
        lambda E, rules: banded(model, E, rules, 4, [0, 7]),
    )  # fmt: skip


# --- XLNet: Dai et al. 2019 (arXiv 1901.02860), section 3.3, and Yang et al. 2019 (arXiv 1906.08237), 2.5


def xlnet() -> nn.Module:
    return make(
        XLNetConfig(
            vocab_size=VOCABULARY, d_model=HIDDEN, n_layer=2, n_head=HEADS, d_inner=24, num_labels=3,
            ff_activation="gelu", summary_type="last", summary_activation="tanh", pad_token_id=0,
        )
    )  # fmt: skip


def relative(model: Any, E: Tensor, rules: Rules, segments: Tensor | None) -> Tensor:
    """score_ij = (q_i + u) k_j + (q_i + v) W_r r_{i-j} + (q_i + b) s_ij."""
    length = len(E)
    places = torch.arange(length)
    apart = places[:, None] - places
    # The model makes these in float32.
    frequencies = 1.0 / torch.pow(10000.0, torch.arange(0, HIDDEN, 2.0) / HIDDEN)
    angles = torch.arange(-length, length + 1.0)[:, None] * frequencies
    r = torch.cat([angles.sin(), angles.cos()], -1).double()
    x = E
    for layer in model.transformer.layer:
        own = layer.rel_attn
        q, k, v = (torch.einsum("sh,hnd->nsd", x, weight) for weight in (own.q, own.k, own.v))
        W_r = torch.einsum("th,hnd->ntd", r, own.r)
        scores = rules.product(q + own.r_w_bias[:, None], k.mT)
        by_place = (q + own.r_r_bias[:, None]) @ W_r.mT
        scores = scores + by_place.gather(2, (apart + length).expand(HEADS, -1, -1))
        if segments is not None:
            other = (segments[:, None] != segments).long()
            by_segment = (q + own.r_s_bias[:, None]) @ own.seg_embed.permute(1, 2, 0)
            scores = scores + by_segment.gather(2, other.expand(HEADS, -1, -1))
        attended = rules.attend((scores / math.sqrt(WIDTH)).softmax(-1), v)
        x = rules.normalise(torch.einsum("nsd,hnd->sh", attended, own.o) + x, own.layer_norm)
        inner = linear(layer.ff.layer_2, rules.apply(F.gelu, linear(layer.ff.layer_1, x)))
        x = rules.normalise(inner + x, layer.ff.layer_norm)
    pooled = rules.apply(torch.tanh, linear(model.sequence_summary.summary, x[-1]))
    return linear(model.logits_proj, pooled)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("lengths", [(7, 4), (3, 3, 3), (5,)], ids=str)
def test_relative_attention_against_a_dense_twin(lengths: tuple[int, ...], method: str) -> None:
    model, inputs = xlnet(), batch(lengths, left=True)
    check(
        model, inputs, method, model.transformer.word_embedding,
        lambda E, rules: relative(model, E, rules, None),
    )  # fmt: skip


@pytest.mark.parametrize("method", RULES)
def test_relative_attention_with_segments(method: str) -> None:
    model, inputs = xlnet(), batch((6, 6))
    segments = torch.tensor([0, 0, 0, 1, 1, 2])
    inputs["token_type_ids"] = segments.expand(2, -1)
    check(
        model, inputs, method, model.transformer.word_embedding,
        lambda E, rules: relative(model, E, rules, segments),
    )  # fmt: skip


# --- BigBird: Zaheer et al. 2020 (arXiv 2007.14062), section 2 ------------------------------------


def big_bird() -> nn.Module:
    return make(
        BigBirdConfig(
            vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=HEADS,
            intermediate_size=24, max_position_embeddings=60, num_labels=3, block_size=2, num_random_blocks=1,
            attention_type="block_sparse", hidden_act="gelu", pad_token_id=0,
        )
    )  # fmt: skip


def blocks_seen(blocks: int) -> Tensor:
    """How often each block of queries sees each block of keys, (blocks, blocks).

    The first and the last see all; others the first, the last, themselves, their neighbours and a random one,
    which transformers takes to be the first where it does not train.
    """
    seen = torch.zeros(blocks, blocks)
    seen[[0, -1]] = 1
    for block in range(1, blocks - 1):
        for other in {0, block - 1, block, block + 1, blocks - 1}:
            seen[block, other] += 1
        seen[block, 0] += 1
    return seen


def block_sparse(model: Any, E: Tensor, rules: Rules, size: int, total: int) -> Tensor:
    seen = blocks_seen(total // size).repeat_interleave(size, 0).repeat_interleave(size, 1)
    mask = seen[: len(E), : len(E)].double().log()  # a key that is seen twice counts twice
    x = E
    for layer in model.bert.encoder.layer:
        own, output = layer.attention.self, layer.attention.output
        q, k, v = (heads(linear(part, x)) for part in (own.query, own.key, own.value))
        weights = (rules.product(q, k.mT) / math.sqrt(WIDTH) + mask).softmax(-1)
        x = rules.normalise(x + linear(output.dense, merged(rules.attend(weights, v))), output.LayerNorm)
        inner = rules.apply(F.gelu, linear(layer.intermediate.dense, x))
        x = rules.normalise(x + linear(layer.output.dense, inner), layer.output.LayerNorm)
    pooled = rules.apply(F.gelu, linear(model.classifier.dense, x[0]))
    return linear(model.classifier.out_proj, pooled)


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("lengths", [(19, 16), (16,)], ids=str)
def test_block_sparse_attention_against_a_dense_twin(lengths: tuple[int, ...], method: str) -> None:
    model, inputs = big_bird(), batch(lengths)
    total = max(lengths) + max(lengths) % 2
    check(
        model, inputs, method, model.bert.embeddings,
        lambda E, rules: block_sparse(model, E, rules, 2, total),
    )  # fmt: skip
    assert model.bert.attention_type == "block_sparse"  # of shorter texts it sees all


# --- what stands beside attention -------------------------------------------------------------------


def conv_bert(layers: int = 2) -> nn.Module:
    return make(
        ConvBertConfig(
            vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=layers, num_attention_heads=4,
            intermediate_size=24, embedding_size=HIDDEN, max_position_embeddings=60, num_labels=3,
            conv_kernel_size=3, num_groups=1, pad_token_id=0,
        )
    )  # fmt: skip


def span_based(model: Any, E: Tensor, rules: Rules) -> Tensor:
    """Jiang et al. 2020 (arXiv 2008.02496), equations 5 and 6: beside attention each head has a convolution
    whose kernel, a softmax, is made of the words around it: attention to a window."""
    x = E
    length, size, kernel = len(E), 4, 3  # two heads of width 4
    for layer in model.convbert.encoder.layer:
        own, output = layer.attention.self, layer.attention.output

        def split(x: Tensor) -> Tensor:
            return x.view(length, -1, size).transpose(0, 1)

        q, k, v = (linear(part, x) for part in (own.query, own.key, own.value))
        windows = F.pad(x, (0, 0, 1, 1)).unfold(0, kernel, 1)  # (seq, hidden, kernel)
        separable = own.key_conv_attn_layer
        around = (windows * separable.depthwise.weight[:, 0]).sum(-1) @ separable.pointwise.weight[..., 0].T
        around = around + separable.bias[:, 0]
        spans = (around + around.detach()) / 2 * ((q + q.detach()) / 2)
        kernels = linear(own.conv_kernel_layer, spans).view(length, -1, kernel).softmax(-1)
        values = F.pad(linear(own.conv_out_layer, x), (0, 0, 1, 1)).unfold(0, kernel, 1)
        values = values.reshape(length, -1, size, kernel).mT
        convolved = rules.attend(kernels[:, :, None], values)[:, :, 0]
        weights = (rules.product(split(q), split(k).mT) / math.sqrt(size)).softmax(-1)
        attended = rules.attend(weights, split(v)).transpose(0, 1)
        context = torch.cat([attended, convolved], 1).reshape(length, HIDDEN)
        x = rules.normalise(x + linear(output.dense, context), output.LayerNorm)
        inner = rules.apply(F.gelu, linear(layer.intermediate.dense, x))
        x = rules.normalise(x + linear(layer.output.dense, inner), layer.output.LayerNorm)
    pooled = rules.apply(F.gelu, linear(model.classifier.dense, x[0]))
    return linear(model.classifier.out_proj, pooled)


@pytest.mark.parametrize("method", RULES)
def test_span_based_convolution_against_a_twin(method: str) -> None:
    """A window at the end of a text sees padding, so no text here has any."""
    model, inputs = conv_bert(), batch((6, 6))
    check(model, inputs, method, model.convbert.embeddings, lambda E, rules: span_based(model, E, rules))


def test_attentions_side_by_side_are_one_layer() -> None:
    model, inputs = conv_bert(layers=4), batch((5, 5))
    scores = {
        below: attribute(model, inputs, "mixed_lrp", TARGET, below=below).scores for below in (0.5, 2, 4)
    }
    assert torch.equal(scores[0.5], scores[2])
    assert not torch.equal(scores[2], scores[4])
    assert torch.equal(scores[4], attribute(model, inputs, "attnlrp", TARGET).scores)
    layers = attribute(model, inputs, "cp_lrp", TARGET, layers=True).layers
    assert layers is not None
    assert layers.shape[1] == 5


@pytest.mark.parametrize("method", ["lat", "rollout", "attention", "value_zeroing"])
def test_attention_is_not_traced_past_a_convolution(method: str) -> None:
    model = make(
        DebertaV2Config(
            vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=HEADS,
            intermediate_size=24, max_position_embeddings=60, num_labels=3, conv_kernel_size=3,
        )
    )  # fmt: skip
    inputs = batch((6, 4))
    assert attribute(model, inputs, "attnlrp", TARGET).scores.isfinite().all()
    with pytest.raises(ModelError, match="convolution"):
        attribute(model, inputs, method, TARGET)


# --- scores with a term that depends on the text, as in Doge's dynamic mask -------------------------------


def fused(q: Tensor, k: Tensor, v: Tensor, term: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=term)


def written_out(q: Tensor, k: Tensor, v: Tensor, term: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5 + term, -1) @ v


@pytest.mark.parametrize("which", ["all", "values", "the term", "scores", "the term and values"])
@pytest.mark.parametrize("method", ["gi:reduction=sum", "attnlrp", "cp_lrp", "gim", "libragrad"])
def test_a_term_of_the_scores_that_depends_on_the_text(method: str, which: str) -> None:
    """What SDPA adds to the scores takes relevance as the same sum does where it is written out."""

    def body(attention: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        def attend(x: Tensor) -> Tensor:
            heads = x.unflatten(-1, (2, 3)).transpose(1, 2)
            fixed = torch.linspace(-1.0, 1.0, heads.numel(), dtype=x.dtype).view_as(heads)
            scores = which in ("all", "scores")
            q, k = (heads.roll(1, -1), heads.flip(-1)) if scores else (fixed, fixed.flip(-1))
            v = heads if which in ("all", "values", "the term and values") else fixed
            term = (heads if "term" in which or which == "all" else fixed).sum(-1)[:, :, None, :]
            term = torch.tanh(term).expand(*term.shape[:2], x.shape[1], -1)
            return x + attention(q, k, v, term).transpose(1, 2).flatten(2)

        return attend

    found, expected = (
        attribute(model, inputs(model, (6, 6)), method, TARGET)
        for model in (Toy(body(fused)), Toy(body(written_out)))
    )
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-12, atol=1e-14)
    assert found.scores.abs().max() > 1e-6


# --- layers of attention weights, as talking heads are -----------------------------------------------------

MIX = torch.linspace(-0.7, 1.0, 4, dtype=torch.float64).view(2, 2)
SHIFT = torch.tensor([0.1, -0.3], dtype=torch.float64)
SCALE = torch.tensor([0.8, 1.2], dtype=torch.float64)


def over_heads(weights: Tensor) -> Tensor:
    return F.linear(weights.movedim(1, -1), MIX, SHIFT).movedim(-1, 1)


def added_product(weights: Tensor) -> Tensor:
    rows = weights.movedim(1, -1)
    return torch.addmm(SHIFT, rows.reshape(-1, 2), MIX.T).view(rows.shape).movedim(-1, 1)


def added_products(weights: Tensor) -> Tensor:
    rows = weights.movedim(1, -1).flatten(1, 2)
    found = torch.baddbmm(SHIFT, rows, MIX.T.expand(len(rows), -1, -1))
    return found.view_as(weights.movedim(1, -1)).movedim(-1, 1)


LAYERS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "addmm": (over_heads, added_product),
    "baddbmm": (over_heads, added_products),
    "convolution": (over_heads, lambda weights: F.conv2d(weights, MIX[..., None, None], SHIFT)),
    "batch_norm": (
        lambda weights: weights * SCALE.view(-1, 1, 1) + SHIFT.view(-1, 1, 1),
        lambda weights: F.batch_norm(weights, 0 * SHIFT, 1 + 0 * SHIFT, SCALE, SHIFT, eps=0.0),
    ),
}


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_attention_weights_is_attention_in_each_spelling(name: str, method: str) -> None:
    def body(layer: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def attend(x: Tensor) -> Tensor:
            heads = x.unflatten(-1, (2, 3)).transpose(1, 2)
            weights = layer(torch.softmax(heads @ heads.mT, -1))
            return (weights @ heads).transpose(1, 2).flatten(2)

        return attend

    expected, found = (
        attribute(model, inputs(model, (6, 6)), method, TARGET) for model in map(Toy, map(body, LAYERS[name]))
    )
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.biases, expected.biases, rtol=1e-10, atol=1e-12)


# --- Reformer: Kitaev et al. 2020 (arXiv 2001.04451), sections 2 and 3 ------------------------------


def reformer(**changes: Any) -> nn.Module:
    settings = {
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_labels": 3,
        "attention_head_size": WIDTH, "feed_forward_size": 24, "max_position_embeddings": 60,
        "axial_pos_embds": False, "attn_layers": ["local", "local"], "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4, "num_buckets": 2, "pad_token_id": 0, "is_decoder": False, "hash_seed": 1,
    }  # fmt: skip
    return make(ReformerConfig(**{**settings, **changes}))


def reversible(model: Any, E: Tensor, rules: Rules) -> Tensor:
    """Two streams, y_1 = x_1 + attention(x_2) and y_2 = x_2 + feed(y_1); a chunk of tokens sees itself and
    the chunk before, which for the first is the last."""
    chunks = torch.arange(len(E)) // 4
    behind = (chunks[:, None] - chunks) % (len(E) // 4)
    sees = behind <= 1
    first = second = E
    for layer in model.reformer.encoder.layers:
        own, feed = layer.attention, layer.feed_forward
        x = rules.normalise(second, own.layer_norm)
        q, k, v = (heads(linear(getattr(own.self_attention, n), x)) for n in ("query", "key", "value"))
        scores = rules.product(q, k.mT / math.sqrt(WIDTH)).masked_fill(~sees, -math.inf)
        first = first + linear(own.output.dense, merged(rules.attend(scores.softmax(-1), v)))
        x = rules.normalise(first, feed.layer_norm)
        inner = rules.apply(torch.relu, linear(feed.dense.dense, x))
        second = second + linear(feed.output.dense, inner)
    both = rules.normalise(torch.cat([first, second], -1), model.reformer.encoder.layer_norm)
    pooled = rules.apply(torch.tanh, linear(model.classifier.dense, both[0]))
    return linear(model.classifier.out_proj, pooled)


@pytest.mark.parametrize("method", RULES)
def test_reversible_layers_of_local_attention_against_a_twin(method: str) -> None:
    """They are an `autograd.Function` of the model's own, whose operations inside are followed."""
    model, inputs = reformer(), batch((12, 12))
    check(model, inputs, method, model.reformer.embeddings, lambda E, rules: reversible(model, E, rules))


@pytest.mark.parametrize("hashes", [1, 2])
def test_hashed_attention_accounts_for_the_logit(hashes: int) -> None:
    model = reformer(attn_layers=["lsh", "local"], num_hashes=hashes)
    inputs = batch((12, 7))
    found = attribute(model, inputs, "cp_lrp", TARGET)
    assert found.biases is not None
    total = found.scores.sum(1) + found.biases + (0.0 if found.elsewhere is None else found.elsewhere)
    torch.testing.assert_close(total, found.output, rtol=0, atol=1e-12)
    assert not found.scores[inputs["attention_mask"] == 0].any()
    assert torch.equal(found.scores, attribute(model, inputs, "cp_lrp", TARGET).scores)


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
def test_answers_that_are_drawn_at_random_are_refused(method: str) -> None:
    model = reformer(attn_layers=["lsh", "lsh"], hash_seed=None)
    with pytest.raises(UnsupportedModelError, match=r"random numbers.*otherwise each time"):
        attribute(model, batch((40, 33)), method, TARGET)
