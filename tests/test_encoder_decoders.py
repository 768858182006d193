"""Models that look their words up in several places: for an encoder, and again for a decoder."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BigBirdPegasusConfig,
    MBartConfig,
    MT5Config,
    MvpConfig,
    PLBartConfig,
    PreTrainedConfig,
    T5Config,
    T5Gemma2Config,
    T5GemmaConfig,
    UMT5Config,
)

import encoder_decoders
import tiny
from models import LABELS, make
from whybert import Classifier, UnsupportedModelError, attribute, explain
from whybert.finding import made_known

VOCABULARY = 60
LENGTHS = (9, 6, 4)
_T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "num_labels": LABELS,
    "decoder_start_token_id": 0,
}
_BART: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 40,
    "num_labels": LABELS,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "bos_token_id": 0,
    "init_std": 0.2,
}
_GEMMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "sliding_window": 8,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


def _gemma() -> PreTrainedConfig:
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "num_labels": LABELS}
    return T5GemmaConfig(encoder=_GEMMA, decoder=_GEMMA, vocab_size=VOCABULARY, **special)


def _gemma_2() -> PreTrainedConfig:
    images = {"image_token_index": 59, "boi_token_index": 57, "eoi_token_index": 58}
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "num_labels": LABELS}
    encoder = {"text_config": _GEMMA, "vision_config": _VISION, "mm_tokens_per_image": 4, **images}
    return T5Gemma2Config(encoder=encoder, decoder=dict(_GEMMA), image_token_index=59, **special)


CONFIGS: dict[str, PreTrainedConfig] = {
    "t5": T5Config(**_T5),
    "t5-gated": T5Config(**_T5, feed_forward_proj="gated-gelu"),
    "mt5": MT5Config(**_T5, feed_forward_proj="gated-gelu"),
    "umt5": UMT5Config(**_T5, feed_forward_proj="gated-gelu"),
    "bart": BartConfig(**_BART),
    "mbart": MBartConfig(**_BART),
    "plbart": PLBartConfig(**_BART),
    "mvp": MvpConfig(**_BART),
    "bigbird_pegasus": BigBirdPegasusConfig(**_BART, attention_type="original_full"),
    "t5gemma": _gemma(),
    "t5gemma2": _gemma_2(),
}
# They read one position behind the last token where there is padding, and the last one where there is none.
READS_PADDING = ("t5gemma", "t5gemma2")
EAGER_ONLY = ("mvp", "bigbird_pegasus", "t5gemma")
# In float64 its eager attention, with a softmax in float32, has rows of nothing but -inf.
SDPA_ONLY = ("t5gemma2",)
CASES = [
    (family, attention)
    for family in CONFIGS
    for attention in ("eager", "sdpa")
    if (attention == "eager" or family not in EAGER_ONLY) and (attention == "sdpa" or family not in SDPA_ONLY)
]


@cache
def model_of(family: str, attention: str = "eager") -> nn.Module:
    """Look, don't touch."""
    return make(CONFIGS[family], attention)


def texts(model: nn.Module, lengths: tuple[int, ...] = LENGTHS) -> dict[str, Tensor]:
    """Random tokens, each text with the end at which its class is read."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 57, (len(lengths), max(lengths)), generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        ids[row, length - 1] = model.config.eos_token_id
    ids[mask == 0] = model.config.pad_token_id
    return {"input_ids": ids, "attention_mask": mask}


def _twin(family: str, rules: str) -> encoder_decoders.Twin:
    model = model_of(family)
    config: Any = model.config
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    if family == "bart":
        return encoder_decoders.Bart(weights, 4, 1e-5, rules, 2)
    spread = config.relative_attention_num_buckets, config.relative_attention_max_distance
    return encoder_decoders.T5(weights, 4, config.layer_norm_epsilon, rules, 2, *spread, family == "t5-gated")


@pytest.mark.parametrize("rules", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("family", ["t5", "t5-gated", "bart"])
def test_scores_are_those_of_a_literal_twin(family: str, rules: str) -> None:
    """Both places where words are looked up, the decoder's a place further, its start token's for none."""
    model = model_of(family)
    batch = texts(model)
    found = attribute(model, batch, rules, 1)
    assert found.elsewhere is not None
    for row, length in enumerate(LENGTHS):
        start, end = model.config.decoder_start_token_id, model.config.eos_token_id
        ids = batch["input_ids"][row, :length]
        logits, encoder, decoder = _twin(family, rules).relevance(ids, start, end, 1)
        expected = encoder.clone()
        expected[:-1] += decoder[1:]
        torch.testing.assert_close(found.logits[row], logits, rtol=1e-12, atol=1e-12)
        assert (found.scores[row, :length] - expected).norm() <= 1e-12 * expected.norm()
        assert float((found.elsewhere[row] - decoder[0]).abs()) <= 1e-12 * float(expected.norm())


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_what_holds_for_all(family: str, attention: str) -> None:
    model = model_of(family, attention)
    batch = texts(model)
    with torch.no_grad():
        expected = model(**batch).logits
    padding = batch["attention_mask"] == 0
    # These compute parts of a layer in float32, whatever their own precision.
    tolerance = 1e-6 if family.startswith("t5gemma") else 1e-11
    for name, found in attribute(model, batch, ["gi", "attnlrp", "cp_lrp"]).items():
        assert torch.equal(found.logits, expected), name
        assert not found.scores[padding].any(), name
        assert (found.scores[~padding] != 0).all(), name
        if name == "cp_lrp":
            assert found.biases is not None
            assert (found.elsewhere is None) == (family in ("mbart", "plbart"))  # these have no start token
            total = found.scores.sum(1) + found.biases + (0.0 if found.elsewhere is None else found.elsewhere)
            torch.testing.assert_close(total, found.output, rtol=tolerance, atol=tolerance)
        for row, length in enumerate(LENGTHS):
            if family not in READS_PADDING:
                alone = attribute(
                    model, {key: each[row : row + 1, :length] for key, each in batch.items()}, name
                )
                torch.testing.assert_close(alone.scores[0], found.scores[row, :length], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("family", "shift", "repeats_last"), [("t5", 1, False), ("bart", 1, False), ("mbart", 1, True)]
)
def test_what_the_positions_of_a_decoder_stand_for(family: str, shift: int, repeats_last: bool) -> None:
    """T5 and BART begin with a start token; mBART with the last token, which is its language."""
    known = made_known(model_of(family), texts(model_of(family), (5, 5)))
    first, second = known.block.parts  # type: ignore[union-attr]
    assert (first.shift, first.repeats_last) == (0, False)
    assert (second.shift, second.repeats_last) == (shift, repeats_last)


@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "t5gemma"])
def test_gradients_are_those_of_autograd(family: str) -> None:
    """Both embeddings, made leaves by hand; what a token has in the decoder stands where its id was found."""
    model = model_of(family)
    batch = texts(model, (7, 7))
    leaves: list[Tensor] = []
    ids: list[Tensor] = []

    def made_leaf(module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        leaves.append(leaf)
        return leaf.clone()

    norms = [part for name, part in model.named_modules() if name.endswith("layernorm_embedding")]
    tables = [part for name, part in model.named_modules() if name.endswith("coder.embed_tokens")]
    handles = [part.register_forward_hook(made_leaf) for part in norms or tables]
    handles += [part.register_forward_pre_hook(lambda _, args: ids.append(args[0])) for part in tables]
    try:
        logits = model(**batch).logits
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(logits[:, 2].sum(), leaves)
    # T5Gemma multiplies what it looks up by a constant, of which E * dy/dE takes no notice.
    parts = [(leaf * gradient).sum(-1).detach() for leaf, gradient in zip(leaves, gradients, strict=True)]
    expected = parts[0].clone()
    expected[:, :-1] += parts[1][:, 1:]
    if family == "mbart":
        assert torch.equal(ids[1][:, 0], batch["input_ids"][:, -1])
        expected[:, -1] += parts[1][:, 0]
    found = attribute(model, batch, "gi:reduction=sum", 2)
    torch.testing.assert_close(found.scores, expected, rtol=1e-9, atol=1e-11)


def test_the_path_of_integrated_gradients_is_that_of_both_embeddings() -> None:
    """Scores, the start token's and the output at the baseline sum to the output as the steps grow.

    Not from zeros: there a root mean square has nothing to divide by, and the output jumps.
    """
    model = model_of("t5-gated")
    batch = texts(model)
    gaps = []
    for steps in (5, 100):
        found = attribute(model, batch, "integrated_gradients", baseline="mean", n_steps=steps)
        assert found.biases is not None
        assert found.elsewhere is not None
        gaps.append(float((found.scores.sum(1) + found.elsewhere + found.biases - found.output).abs().max()))
    assert gaps[1] < 1e-6
    assert gaps[1] < gaps[0]


def test_a_shaken_text_is_shaken_alike_alone_and_in_a_batch() -> None:
    """In a batch a shorter text has one place more in the decoder, whose numbers nothing reads."""
    model = model_of("mbart")
    batch = texts(model)
    for method in ("smoothgrad:samples=3", "vargrad:samples=3"):
        found = attribute(model, batch, method)
        for row, length in enumerate(LENGTHS):
            alone = attribute(
                model, {key: each[row : row + 1, :length] for key, each in batch.items()}, method
            )
            torch.testing.assert_close(alone.scores[0], found.scores[row, :length], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("method", ["lat", "rollout", "attcat", "alti", "decompx", "lrp", "mixed_lrp"])
def test_what_needs_one_text_from_layer_to_layer_is_refused(method: str) -> None:
    with pytest.raises(UnsupportedModelError, match="words are looked up in several places"):
        attribute(model_of("bart"), texts(model_of("bart")), method)


def test_layers_are_refused_and_heads_are_those_of_each_attention() -> None:
    """CP-LRP has only the values' ways: what the heads of the last attention hand on is the whole output."""
    model = model_of("t5")
    with pytest.raises(
        UnsupportedModelError, match=r"layers .* cannot be told apart: the words are looked up"
    ):
        attribute(model, texts(model), "cp_lrp", layers=True)
    found = attribute(model, texts(model), "cp_lrp", heads=True)
    assert found.heads is not None
    assert found.heads.shape == (
        len(LENGTHS),
        6,
        4,
    )  # 2 of the encoder, 2 of the decoder, each with one across


def test_a_language_that_padding_on_the_left_moves_is_refused() -> None:
    """mBART begins with the token in the column of as high a number as the text has tokens."""
    model = model_of("mbart")
    batch = texts(model)
    left = {
        name: torch.stack([row.roll(9 - length) for row, length in zip(tensor, LENGTHS, strict=True)])
        for name, tensor in batch.items()
    }
    with pytest.raises(UnsupportedModelError, match=r"looks up its words in 2 places.*pad on the right"):
        attribute(model, left)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_half_precision(family: str, dtype: torch.dtype) -> None:
    """In float16 T5 cuts its states at the largest number there is, which is a tensor."""
    model = make(CONFIGS[family], "sdpa", dtype)
    batch = texts(model)
    for name, found in attribute(model, batch, ["gi:reduction=sum", "attnlrp", "cp_lrp"], 1).items():
        expected = attribute(model_of(family, "sdpa"), batch, name, 1).scores
        assert (found.scores - expected).norm() < 0.2 * expected.norm(), name
        assert not found.scores[batch["attention_mask"] == 0].any(), name


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece(eos_token="[SEP]")
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    config = BartConfig(**{**_BART, **special, "vocab_size": len(tokenizer)})
    return Classifier(make(config, "sdpa"), tokenizer)


def test_texts_and_pairs(classifier: Classifier) -> None:
    """Of different lengths in a batch, cut to what the model reads, word by word."""
    listed = ["the film was good", "a bad film, don't you think so? a well-made film", "good " * 90]
    found = explain(classifier, listed, "cp_lrp")
    assert [each.truncated for each in found] == [False, False, True]
    assert [word.text for word in found[0].words()] == ["the", "film", "was", "good"]
    for text, each in zip(listed, found, strict=True):
        assert explain(classifier, text, "cp_lrp")[0].scores == pytest.approx(each.scores, abs=1e-9)
        assert each.completeness is not None
        assert each.completeness.elsewhere is not None
        assert each.completeness.remainder == pytest.approx(0.0, abs=1e-9)
    pair = explain(classifier, ("a good film", "a bad film"), "cp_lrp")[0]
    assert [word.text for word in pair.words()] == ["a", "good", "film", "a", "bad", "film"]


def test_methods_of_several_passes(classifier: Classifier) -> None:
    text = "the film was good and the actors were great"
    for method in ("sampled_attnlrp", "iterative_attnlrp", "integrated_attnlrp", "integrated_gradients"):
        found = explain(classifier, [text, "a bad film"], method)
        alone = explain(classifier, text, method)[0]
        assert alone.scores == pytest.approx(found[0].scores, abs=1e-9)


def test_words_of_ones_own_for_the_decoder_are_refused() -> None:
    model = model_of("t5")
    batch = texts(model)
    with pytest.raises(UnsupportedModelError, match="looks up its words once more"):
        attribute(model, {**batch, "decoder_input_ids": batch["input_ids"]})
