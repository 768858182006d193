"""Llama, Qwen2, Qwen3, Gemma and Gemma 2 against a literal twin, and what holds for all with RMSNorm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import llamas
import models
from whybert import Attribution, attribute

_LLAMA: dict[str, Any] = {
    "vocab_size": models.VOCABULARY,
    "num_labels": models.LABELS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GEMMA_2: dict[str, Any] = {
    **_LLAMA,
    "query_pre_attn_scalar": 12,
    "attn_logit_softcapping": 2.0,
    "sliding_window": 5,
}
# The classes of configurations, and what is set in them.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {**_LLAMA, "attention_bias": True}),
    "qwen2": ("Qwen2Config", _LLAMA),
    "qwen3": ("Qwen3Config", _LLAMA),
    "gemma": ("GemmaConfig", _LLAMA),
    "gemma2": ("Gemma2Config", _GEMMA_2),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma3_text": ("Gemma3TextConfig", {**_GEMMA_2, "attn_logit_softcapping": None}),
    "mistral": ("MistralConfig", {**_LLAMA, "sliding_window": 5}),
    "ministral": ("MinistralConfig", {**_LLAMA, "sliding_window": 5}),
    "phi3": ("Phi3Config", {k: v for k, v in _LLAMA.items() if k != "head_dim"}),
    "olmo": ("OlmoConfig", _LLAMA),
    "olmo2": ("Olmo2Config", _LLAMA),
    "olmo3": ("Olmo3Config", _LLAMA),
    "smollm3": ("SmolLM3Config", _LLAMA),
    "glm": ("GlmConfig", _LLAMA),
    "glm4": ("Glm4Config", _LLAMA),
    "helium": ("HeliumConfig", _LLAMA),
    "exaone4": ("Exaone4Config", _LLAMA),
    "seed_oss": ("SeedOssConfig", _LLAMA),
    "arcee": ("ArceeConfig", _LLAMA),
    "diffllama": ("DiffLlamaConfig", {**_LLAMA, "head_dim": 8}),
    "hunyuan": ("HunYuanDenseV1Config", _LLAMA),
}


class InDouble(TorchFunctionMode):
    """What a model casts to float32 whatever its type stays in float64: else rounding of 1e-7 hides much."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        x = args[0] if args else None
        if func is torch.Tensor.float:
            return x.double()
        if func is torch.Tensor.to and isinstance(x, Tensor):
            narrow = torch.float32 in args or kwargs.get("dtype") == torch.float32
            return x.double() if narrow else func(*args, **kwargs)
        if kwargs.get("dtype") == torch.float32 and func in (F.softmax, torch.softmax):
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


@cache
def made(kind: str, attention: str = "eager") -> nn.Module:
    """A classifier in float64 with random weights, biases and norms: look, don't touch."""
    name, settings = {**KINDS, **OTHERS}[kind]
    model = models.make(getattr(transformers, name)(**settings), attention)
    for part in model.modules():
        for buffer in ("inv_freq", "original_inv_freq"):
            if hasattr(part, buffer) and "Rotary" in type(part).__name__:
                width = 2 * len(getattr(part, buffer))
                theta = part.config.rope_parameters.get("rope_theta")
                if theta is not None:
                    exact = theta ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
                    torch.testing.assert_close(getattr(part, buffer), exact, rtol=1e-6, atol=1e-9)
                    getattr(part, buffer).copy_(exact)
    return model


@cache
def found(kind: str, attention: str, method: str) -> Attribution:
    model = made(kind, attention)
    with InDouble():
        return attribute(model, models.inputs(model), method, 1)


def twin_of(kind: str) -> llamas.Llama:
    model = made(kind)
    config = model.config
    gemma = kind.startswith("gemma")
    capped = kind == "gemma2"
    windows = [
        config.sliding_window if each == "sliding_attention" else None
        for each in getattr(config, "layer_types", None) or [None] * config.num_hidden_layers
    ]
    return llamas.Llama(
        state={name: tensor.double() for name, tensor in model.state_dict().items()},
        heads=config.num_attention_heads,
        groups=config.num_key_value_heads,
        width=config.head_dim if hasattr(config, "head_dim") else config.hidden_size // 4,
        eps=config.rms_norm_eps,
        theta=config.rope_parameters["rope_theta"],
        scale=(config.query_pre_attn_scalar if capped else 8) ** -0.5,
        windows=tuple(windows),
        act=llamas.gelu_tanh if gemma else llamas.silu,
        added=1.0 if gemma else 0.0,
        factor=float(model.model.embed_tokens.embed_scale) if gemma else 1.0,  # a float32
        bound=config.attn_logit_softcapping if capped else None,
    )


def off(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("kind", KINDS)
def test_twin(kind: str, method: str) -> None:
    model, twin = made(kind), twin_of(kind)
    inputs, answer = models.inputs(model), found(kind, "eager", method)
    assert answer.relevance is not None
    for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
        relevance, logits = twin.relevance(
            inputs["input_ids"][row, :length], 1, attention_constant=method == "cp_lrp"
        )
        assert off(answer.logits[row], logits) < 1e-10
        assert off(answer.relevance[row, :length], relevance) < 1e-9
        assert not answer.relevance[row, length:].any()


CASES = [
    *((kind, "eager") for kind in KINDS),
    *((kind, "sdpa") for kind in (*KINDS, *OTHERS) if kind != "gemma2"),  # for which transformers has none
]


@pytest.mark.parametrize(("kind", "attention"), CASES)
def test_books_are_all_of_the_logit(kind: str, attention: str) -> None:
    """CP-LRP, the biases where a model has any, and no share for padding."""
    answer = found(kind, attention, "cp_lrp")
    assert answer.relevance_sum is not None
    assert answer.biases is not None
    parts = torch.stack([answer.output, answer.relevance_sum, answer.biases])
    assert (
        float(((answer.relevance_sum + answer.biases - answer.output) / parts.abs().amax(0)).abs().max())
        < 1e-10
    )
    padding = models.inputs(made(kind))["attention_mask"] == 0
    assert not answer.scores[padding].any()
    assert (answer.scores[~padding] != 0).all()


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "glm4", "diffllama"])
def test_logits_gradients_and_rules_in_one_call(kind: str) -> None:
    """The model's own logits; a gradient beside the rules is autograd's; a batch is its texts."""
    attention = "sdpa" if (kind, "sdpa") in CASES else "eager"
    model = made(kind, attention)
    inputs = models.inputs(model)
    point: list[Tensor] = []

    def hold(module: nn.Module, args: Any, kwargs: Any) -> Any:
        point.append(args[0].detach().requires_grad_())
        return (point[0], *args[1:]), kwargs

    with InDouble():
        together = attribute(model, inputs, ["gi:reduction=sum", "attnlrp", "cp_lrp"], 1)
        handle = model.model.layers[0].register_forward_pre_hook(hold, with_kwargs=True)
        try:
            logits = model(**inputs).logits
        finally:
            handle.remove()
    assert torch.equal(together["attnlrp"].logits, logits)
    y = logits[:, 1]
    (gradient,) = torch.autograd.grad(y.sum(), point[0])
    assert off(together["gi:reduction=sum"].relevance, (gradient * point[0]).detach()) < 1e-9
    single = {name: value[1:2, :6] for name, value in inputs.items()}
    for method in ("attnlrp", "cp_lrp"):
        with InDouble():
            alone = attribute(model, single, method, 1)
        assert off(alone.scores[0], together[method].scores[1, :6]) < 1e-9
        half = attribute(models.make(model.config, attention, torch.bfloat16), inputs, method, 1)
        assert torch.isfinite(half.scores).all()
