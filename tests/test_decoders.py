"""Decoders and their kin, as people fine-tune them: what holds for every family, and what a batch needs.

Each is built tiny from its configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig

import decoder_twins
import tiny
from whybert import Classifier, UnsupportedModelError, attribute, explain

VOCABULARY, LABELS = 64, 3
_COMMON: dict[str, Any] = {"vocab_size": VOCABULARY, "num_labels": LABELS, "pad_token_id": 0}
_LLAMA: dict[str, Any] = {
    **_COMMON,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT: dict[str, Any] = {
    **_COMMON,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 40,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_FALCON: dict[str, Any] = {name: value for name, value in _LLAMA.items() if name != "intermediate_size"}
_GROUPED: dict[str, Any] = {**_LLAMA, "num_key_value_heads": 2}

# By name: the class of the configuration, and what is set in it.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", _GPT),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            **{k: v for k, v in _LLAMA.items() if k not in ("num_hidden_layers", "num_attention_heads")},
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
        },
    ),
    "gpt_neox": ("GPTNeoXConfig", _LLAMA),
    "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 4}),
    "opt": ("OPTConfig", {**_LLAMA, "ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2}),
    "opt, projected": (
        "OPTConfig",
        {**_LLAMA, "ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False, "init_std": 0.2},
    ),
    "bloom": (
        "BloomConfig",
        {**_COMMON, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    ),
    "falcon": ("FalconConfig", _FALCON),
    "falcon, new": (
        "FalconConfig",
        {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
    ),
    "falcon, alibi": ("FalconConfig", {**_FALCON, "alibi": True, "parallel_attn": False, "bias": True}),
    "mpt": ("MptConfig", {**_COMMON, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 40}),
    "phi": ("PhiConfig", _LLAMA),
    "stablelm": ("StableLmConfig", _GROUPED),
    "stablelm, parallel": (
        "StableLmConfig",
        {**_GROUPED, "use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True},
    ),
    "persimmon": ("PersimmonConfig", _LLAMA),
    "ctrl": ("CTRLConfig", {**_GPT, "dff": 48}),
    "openai-gpt": ("OpenAIGPTConfig", _GPT),
    "xlm": (
        "XLMConfig",
        {**_COMMON, "emb_dim": 32, "n_layers": 2, "n_heads": 4, "pad_token_id": 2, "init_std": 0.2},
    ),
    "flaubert": (
        "FlaubertConfig",
        {**_COMMON, "emb_dim": 32, "n_layers": 2, "n_heads": 4, "pad_token_id": 2, "init_std": 0.2},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", _GPT),
    "biogpt": ("BioGptConfig", _LLAMA),
    "starcoder2": ("Starcoder2Config", _GROUPED),
    "nemotron": ("NemotronConfig", _GROUPED),
}  # fmt: skip
# In these transformers computes parts in float32 whatever the model's type, so that rounding is 1e-7.
NARROW = ("gpt_neo", "gptj", "mpt")


def made(config: PreTrainedConfig, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A classifier with random weights, biases and norms included, in eval mode."""
    torch.manual_seed(7)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
            elif "norm" in name.lower() or "ln" in name.lower():
                parameter.uniform_(0.5, 1.5)
    return model.to(dtype).eval()


@cache
def model_of(family: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    kind, settings = FAMILIES[family]
    return made(getattr(transformers, kind)(**settings), dtype)


def inputs(model: nn.Module, lengths: tuple[int, ...] = (9, 6, 4), left: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(11)
    width = max(lengths)
    ids = torch.randint(5, VOCABULARY, (len(lengths), width), generator=generator)
    columns = torch.arange(width)
    mask = torch.stack([columns >= width - n if left else columns < n for n in lengths]).long()
    ids[mask == 0] = model.config.pad_token_id
    return {"input_ids": ids, "attention_mask": mask}


def singles(batch: dict[str, Tensor]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    for row, own in enumerate(batch["attention_mask"].bool()):
        yield own, {key: value[row : row + 1, own] for key, value in batch.items()}


METHODS = ["gi", "attnlrp", "cp_lrp"]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_right(family: str) -> None:
    """The model's own logits, zero for padding, a batch as its rows, and all of the logit by `cp_lrp`."""
    model = model_of(family)
    batch = inputs(model)
    bound = 2e-6 if family in NARROW else 1e-10
    with torch.no_grad():
        expected = model(**batch).logits
    found = attribute(model, batch, METHODS, 1)
    padding = batch["attention_mask"] == 0
    alone = [(own, attribute(model, single, METHODS, 1)) for own, single in singles(batch)]
    for method, answer in found.items():
        assert torch.equal(answer.logits, expected), method
        assert not answer.scores[padding].any(), method
        for row, (own, single) in enumerate(alone):
            difference = answer.scores[row, own] - single[method].scores[0]
            assert difference.abs().max() < bound * answer.scores[row].abs().max(), (method, row)
    books = found["cp_lrp"]
    assert books.relevance_sum is not None
    assert books.biases is not None
    has_biases = any(name.endswith("bias") for name, _ in model.named_parameters())
    assert bool((books.biases.abs() > 1e-3).all()) == has_biases  # they do take part
    torch.testing.assert_close(books.relevance_sum + books.biases, books.output, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_autograds_beside_rules(family: str) -> None:
    """`gi` in one call with methods of rules, whose forward pass it shares, against plain autograd."""
    model = model_of(family)
    batch = inputs(model)
    held: list[Tensor] = []

    def hold(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        held.append(output.detach().requires_grad_())
        return held[-1] * 1.0

    handle = model.get_input_embeddings().register_forward_hook(hold)
    try:
        output = model(**batch).logits[:, 1]
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(output.sum(), held[0])
    expected = (output[:, None, None] * gradient * held[0]).detach()
    words = next(name for name, part in model.named_modules() if part is model.get_input_embeddings())
    found = attribute(model, batch, METHODS, 1, embedding=words)["gi"].relevance
    assert found is not None
    assert float((found - expected).norm() / expected.norm()) < (1e-5 if family in NARROW else 1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision(family: str) -> None:
    model = model_of(family, torch.bfloat16)
    for method, found in attribute(model, inputs(model), METHODS, 1).items():
        assert torch.isfinite(found.scores).all(), method
        assert found.scores.dtype == torch.float32, method


@pytest.mark.parametrize("family", FAMILIES)
def test_all_attention_is_traced(family: str) -> None:
    model = model_of(family)
    batch = inputs(model)
    found = attribute(model, batch, "lat", 1)
    heads = 4
    # rows of attention sum to 1, so the weight 1 that each head starts with is all there at the end
    torch.testing.assert_close(found.scores.sum(1).double(), torch.full((3,), float(heads)).double())


@pytest.mark.parametrize("target", [0, 2])
@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize(
    ("family", "twin"),
    [("gpt2", decoder_twins.gpt2), ("falcon", decoder_twins.falcon)],
    ids=["gpt2", "falcon"],
)
def test_literal_twins(family: str, twin: Any, method: Any, target: int) -> None:
    model = model_of(family)
    batch = inputs(model)
    found = attribute(model, batch, method, target)
    assert found.relevance is not None
    for row, own in enumerate(batch["attention_mask"].bool()):
        ids = batch["input_ids"][row, own]
        expected, logits = decoder_twins.relevance(twin, model.state_dict(), ids, 4, method, target)
        torch.testing.assert_close(found.logits[row], logits, rtol=1e-10, atol=1e-10)
        error = (found.relevance[row, own] - expected).norm() / expected.norm()
        assert error < 1e-10, f"{error:.1e}"


TEXTS = ["a good film", "a bad film and the actors were great, don't you think so?", "the film"]


def gpt2_without_words(padding: int | None, tokenizer: Any) -> nn.Module:
    settings = {**_GPT, "vocab_size": len(tokenizer), "pad_token_id": padding}
    return made(transformers.GPT2Config(**settings))


@pytest.mark.parametrize(
    ("own", "padding", "side"),
    [
        (None, None, "right"),
        ("<pad>", None, "right"),
        (None, 1, "right"),
        ("<pad>", 1, "right"),
        ("<pad>", 1, "left"),
        ("<pad>", 2, "right"),
        ("</s>", 2, "right"),
    ],
)
def test_texts_of_unlike_length(own: str | None, padding: int | None, side: str) -> None:
    """Several texts have the answers of each alone, whatever tokenizer and model say of padding.

    A model that pools the last token and has no token for padding takes one text at a time.
    """
    tokenizer = tiny.byte_level(pad_token=own, padding_side=side)
    classifier = Classifier(gpt2_without_words(padding, tokenizer), tokenizer)
    assert classifier.max_length == 40
    predictions = classifier.predict(TEXTS)
    methods = ["attnlrp", "cp_lrp", "occlusion", "integrated_gradients"]
    found = explain(classifier, TEXTS, methods)
    for place, text in enumerate(TEXTS):
        [own_answer] = classifier.predict(text)
        assert predictions[place].logits == pytest.approx(own_answer.logits, rel=1e-10)
        for method in methods:
            [alone] = explain(classifier, [text], method)
            assert found[method][place].scores == pytest.approx(alone.scores, rel=1e-9, abs=1e-12), method
    for each in found["cp_lrp"]:
        assert each.completeness.biases is not None
        assert each.completeness.is_exact


def test_a_batch_that_a_model_refuses_is_refused_in_words() -> None:
    model = gpt2_without_words(None, tiny.byte_level())
    batch = {"input_ids": torch.arange(6).view(2, 3)}
    with pytest.raises(UnsupportedModelError, match=r"no padding token is defined; .*one text at a time"):
        attribute(model, batch, "attnlrp")
    assert torch.isfinite(attribute(model, {"input_ids": batch["input_ids"][:1]}, "attnlrp").scores).all()


@pytest.mark.filterwarnings("ignore:the texts are padded on the left, but GPT2")  # it counts from the first
@pytest.mark.parametrize("family", ["gpt2", "opt", "falcon", "gpt_neox"])
def test_left_padding(family: str) -> None:
    model = model_of(family)
    batch = inputs(model, left=True)
    with torch.no_grad():
        expected = model(**batch).logits
    for method, found in attribute(model, batch, METHODS, 1).items():
        assert torch.equal(found.logits, expected), method
        assert not found.scores[batch["attention_mask"] == 0].any(), method
