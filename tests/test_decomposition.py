"""Attention and decomposition methods, against literal twins in float64 written from the papers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, LlamaConfig

import oracles
from models import CASES, LABELS, VOCABULARY, Toy, inputs, make, pre_norm, shared_model, working_dtype
from whybert import METHODS, UnknownNameError, UnsupportedModelError, UsageError, attribute
from whybert.interception import run
from whybert.interception.parts import Parts, run_copies

NAMES = ("attention", "rollout", "gradient_attention", "attcat", "value_zeroing", "alti", "decompx")
TARGET = [0, (1, 2), 2]
SEEDS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
LENGTHS = (9, 6, 4)
SMALL = {
    "vocab_size": VOCABULARY,
    "num_labels": LABELS,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return shared_model("bert", "sdpa")


@pytest.fixture(scope="module")
def bert(model: nn.Module) -> oracles.Bert:
    return oracles.Bert(model.state_dict(), model.config.num_attention_heads, model.config.layer_norm_eps)


@pytest.fixture(scope="module")
def traces(model: nn.Module, bert: oracles.Bert) -> list[oracles.Trace]:
    batch = inputs(model, LENGTHS)
    return [
        bert.forward(bert.embed(ids[:length]))
        for ids, length in zip(batch["input_ids"], LENGTHS, strict=True)
    ]


def check(found: Tensor, expected: list[Tensor], rtol: float = 1e-9, atol: float = 1e-11) -> None:
    """Each row is its twin, and nothing stands behind its end."""
    for row, twin in zip(found, expected, strict=True):
        torch.testing.assert_close(row[: len(twin)], twin, rtol=rtol, atol=atol)
        assert not row[len(twin) :].any()


# --- against the papers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("layer", [0, 1, -1, -2])
def test_raw_attention(layer: int, attention: str, bert: oracles.Bert, traces: list[oracles.Trace]) -> None:
    model = shared_model("bert", attention)
    found = attribute(model, inputs(model, LENGTHS), f"attention:layer={layer}")
    check(found.scores, [bert.attention(trace, layer) for trace in traces])


def test_a_layer_that_is_not_there(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="attention from 0 to 1, or from -1, the last, to -2, found 2"):
        attribute(model, inputs(model), "attention", layer=2)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rollout(attention: str, bert: oracles.Bert, traces: list[oracles.Trace]) -> None:
    model = shared_model("bert", attention)
    found = attribute(model, inputs(model, LENGTHS), "rollout")
    check(found.scores, [bert.rollout(trace) for trace in traces])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_gradient_attention(attention: str, bert: oracles.Bert, traces: list[oracles.Trace]) -> None:
    model = shared_model("bert", attention)
    found = attribute(model, inputs(model, LENGTHS), ["gradient_attention", "cp_lrp", "attnlrp"], TARGET)
    twins = [bert.gradient_attention(trace, seed) for trace, seed in zip(traces, SEEDS, strict=True)]
    check(found["gradient_attention"].scores, twins)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attcat(attention: str, bert: oracles.Bert, traces: list[oracles.Trace]) -> None:
    model = shared_model("bert", attention)
    found = attribute(model, inputs(model, LENGTHS), "attcat", TARGET)
    check(found.scores, [bert.attcat(trace, seed) for trace, seed in zip(traces, SEEDS, strict=True)])


def test_contrast_cat(bert: oracles.Bert, traces: list[oracles.Trace], model: nn.Module) -> None:
    """The reference: all tokens masked, or others in their place; at the level of tensors all are words."""
    batch, twins = inputs(model, LENGTHS), {}
    tokenizer = SimpleNamespace(mask_token_id=3, all_special_ids=[])
    found = attribute(model, batch, "contrast_cat", TARGET, tokenizer=tokenizer)
    for trace, seed in zip(traces, SEEDS, strict=True):
        masked = torch.full((len(trace.embedding),), 3)
        reference = bert.forward(bert.embed(masked))
        twins[len(masked)] = bert.attcat(trace, seed, reference)
    check(found.scores, [twins[length] for length in LENGTHS])
    with pytest.raises(UsageError, match="needs a tokenizer with a mask token"):
        attribute(model, batch, "contrast_cat")
    with pytest.raises(UnknownNameError, match="unknown baseline 'maks'; did you mean 'mask'"):
        attribute(model, batch, "contrast_cat", baseline="maks")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_value_zeroing(attention: str, bert: oracles.Bert, traces: list[oracles.Trace]) -> None:
    model = shared_model("bert", attention)
    found = attribute(model, inputs(model, LENGTHS), "value_zeroing")
    check(found.scores, [bert.value_zeroing(trace) for trace in traces])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_alti(attention: str, bert: oracles.Bert, traces: list[oracles.Trace]) -> None:
    model = shared_model("bert", attention)
    found = attribute(model, inputs(model, LENGTHS), "alti")
    check(found.scores, [bert.alti(trace) for trace in traces])


def test_alti_of_a_residual_stream() -> None:
    """Pre-norm: behind the attention of each layer stands x + W_o sum_h A_h (W_v LN(x) + b_v) + b_o."""
    model = pre_norm()
    batch = {"input_ids": inputs(model, (7,))["input_ids"]}
    found = attribute(model, batch, "alti")
    output = model.base_model(**batch, output_hidden_states=True, output_attentions=True)
    joint = torch.eye(7, dtype=torch.float64)
    for layer, x, weights in zip(
        model.base_model.encoder.layer, output.hidden_states, output.attentions, strict=False
    ):
        heads = weights[0].detach()
        x, own = x[0].detach(), layer.attention
        values = own.self.value(own.LayerNorm(x)).detach().view(7, len(heads), -1)
        dense = own.output.dense
        sent = torch.einsum("hij,jhd->ijhd", heads, values).flatten(2) @ dense.weight.detach().T
        parts = sent + torch.eye(7)[:, :, None] * x
        whole = (parts.sum(1) + dense.bias).detach()[:, None]
        C = (whole.abs().sum(-1) - (whole - parts).abs().sum(-1)).clamp(min=0)
        joint = C / C.sum(-1, keepdim=True) @ joint
    torch.testing.assert_close(found.scores[0], joint[0], rtol=1e-9, atol=1e-11)


DECODERS = {
    "gpt2": (GPT2Config(n_embd=32, n_layer=2, n_head=4, **SMALL), "transformer.drop"),
    "llama": (LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                          intermediate_size=48, **SMALL), "model.embed_tokens"),
}  # fmt: skip


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", DECODERS)
def test_decoders(name: str, attention: str) -> None:
    """Biases added by `addmm`, grouped queries, a normalisation that is written out, the last token read."""
    config, embedding = DECODERS[name]
    model = make(config, attention)
    batch = inputs(model, LENGTHS)
    together = attribute(model, batch, NAMES, TARGET, embedding=embedding)
    decompx = together["decompx"]
    torch.testing.assert_close(decompx.scores.sum(1), decompx.output, rtol=1e-5, atol=1e-6)
    for found in together.values():
        for row, length in enumerate(LENGTHS):
            assert not found.scores[row, length:].any()
            assert found.scores[row, length - 1].abs() > 0
        single = {key: tensor[2:, : LENGTHS[2]] for key, tensor in batch.items()}
        alone = attribute(model, single, found.method, TARGET[2], embedding=embedding)
        torch.testing.assert_close(alone.scores[0], found.scores[2, : LENGTHS[2]], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("biases", [True, False])
def test_decompx(biases: bool, attention: str, bert: oracles.Bert, traces: list[oracles.Trace]) -> None:
    model = shared_model("bert", attention)
    found = attribute(model, inputs(model, LENGTHS), "decompx", TARGET, include_biases=biases)
    twins = [bert.decompx(trace, biases) @ seed for trace, seed in zip(traces, SEEDS, strict=True)]
    check(found.scores, twins)
    if biases:
        torch.testing.assert_close(found.scores.sum(1), found.output, rtol=1e-10, atol=1e-12)
        assert found.biases is None


def test_parts_that_take_too_much(model: nn.Module) -> None:
    batch = inputs(model, LENGTHS)
    with pytest.raises(
        UsageError, match=r"9 tokens take about .* GB, and 0\.0001 are granted; use include_b"
    ):
        attribute(model, batch, "decompx", memory=1e-4)
    attribute(model, batch, "decompx", memory=1e-4, include_biases=False)


@pytest.mark.parametrize("name", ["value_zeroing", "alti"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_few_parts_at_a_time(name: str, batch_size: int, model: nn.Module) -> None:
    """A batch of one text of 64 tokens holds 7 copies of 9 tokens, and that of 2 a text and its copies."""
    batch = inputs(model, LENGTHS)
    few, all_at_once = (attribute(model, batch, name, batch_size=size) for size in (batch_size, 1000))
    torch.testing.assert_close(few.scores, all_at_once.scores, rtol=1e-11, atol=1e-13)


# --- what holds of all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_every_family(family: str, attention: str) -> None:
    """Batch and single texts agree, padding has nothing; parts sent through the model are CP-LRP, forward."""
    model = shared_model(family, attention, working_dtype(family, attention))
    narrow = family == "deberta" or next(model.parameters()).dtype == torch.float32
    close = {"rtol": 1e-3, "atol": 1e-5} if narrow else {"rtol": 1e-8, "atol": 1e-10}
    batch = inputs(model, LENGTHS)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = hooks_of(model)
    names = [name for name in NAMES if (name, family) != ("alti", "deberta")]  # its LayerNorm is written out
    together = attribute(model, batch, [*names, "decompx:include_biases=false", "cp_lrp"], TARGET)
    without, cp_lrp = (together.pop(name) for name in ("decompx:include_biases=false", "cp_lrp"))
    assert torch.equal(without.relevance, cp_lrp.relevance)
    assert torch.equal(without.biases, cp_lrp.biases)
    forward = run(model, batch, ())
    shares = torch.eye(11, 9).roll(2, 0).to(forward.embedding)
    shares[0] = 1.0
    parts = (shares[:, None, :, None] * forward.embedding).flatten(0, 1)
    expected = cp_lrp.logits
    logits = run_copies(model, batch, parts, partial(Parts, copies=11), (), lambda seen: seen, expected)[1]
    whole, rest, *sources = logits.view(11, 3, -1)
    seed = SEEDS.to(logits)
    torch.testing.assert_close(whole, expected, **close)
    torch.testing.assert_close((torch.stack(sources) * seed).sum(-1).T, cp_lrp.scores, **close)
    torch.testing.assert_close((rest * seed).sum(-1), cp_lrp.biases, **close)
    for name, found in together.items():
        assert found.signed == METHODS[name]().is_signed
        for row, length in enumerate(LENGTHS):
            assert not found.scores[row, length:].any(), name
            assert found.scores[row, :length].any(), name
            single = {key: tensor[row : row + 1, :length] for key, tensor in batch.items()}
            alone = attribute(model, single, name, TARGET[row])
            torch.testing.assert_close(alone.scores[0], found.scores[row, :length], **close, msg=name)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert hooks_of(model) == hooks


def hooks_of(model: torch.nn.Module) -> list[list[int]]:
    """By module; transformers leaves some of its own on a model that was once asked for attention weights."""
    return [[*module._forward_hooks, *module._forward_pre_hooks] for module in model.modules()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, exact = make("bert", "sdpa", dtype), shared_model("bert", "sdpa")
    batch = inputs(model, LENGTHS)
    target = [0, 1, 2]
    for name, found in attribute(model, batch, NAMES, target).items():
        expected = attribute(exact, batch, name, target).scores
        assert found.scores.dtype == torch.float32
        far = (found.scores - expected).norm() / expected.norm()
        assert float(far) < 0.2, name


@pytest.mark.parametrize("name", ["attention", "rollout", "gradient_attention"])
def test_models_without_attention_are_refused(name: str) -> None:
    toy = Toy()
    with pytest.raises(UnsupportedModelError, match=f"{name} traces .*no attention was found; use another"):
        attribute(toy, {"input_ids": torch.tensor([[5, 6]])}, name)


def test_threads_do_not_meet(model: nn.Module) -> None:
    """The hooks of one thread are not the other's, on one model."""
    batch = inputs(model, LENGTHS)
    names = ["value_zeroing", "alti", "decompx", "attcat"]
    expected = attribute(model, batch, names, TARGET)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(attribute, model, batch, names, TARGET) for _ in range(8)]
        for call in calls:
            for name, found in call.result().items():
                torch.testing.assert_close(found.scores, expected[name].scores, rtol=1e-12, atol=1e-14)


def test_parts_are_made_once_for_all_classes(model: nn.Module) -> None:
    batch = inputs(model, LENGTHS)
    counts = []
    for target in (0, "all"):
        passes = []
        block = model.base_model.embeddings
        handle = block.register_forward_hook(lambda *call, passes=passes: passes.append(len(call[-1])))
        attribute(model, batch, "decompx", target)
        handle.remove()
        counts.append(passes)
    assert counts[0] == counts[1] == [3, 1, 33]
