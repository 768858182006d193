"""Gradients along ways, at shaken texts and of one pass: against captum and differences of outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    GradientShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn

import tiny
from models import Toy, inputs, make, shared_model
from whybert import Classifier, UnknownNameError, UnsupportedModelError, UsageError, attribute, explain
from whybert.methods.path import quadrature


class Tokenizer:
    """What methods ask a tokenizer at the level of tensors; 5 and above are words."""

    mask_token_id, pad_token_id, all_special_ids = 4, 0, (0, 1, 2, 3, 4)

    def __len__(self) -> int:
        return 60

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [5 + ord(letter) % 50 for letter in text]}


TARGET = torch.tensor([0, 2, 1])


def batch_of(model: nn.Module) -> dict[str, Tensor]:
    """Rows that begin and end with special tokens, and padding."""
    batch = inputs(model)
    batch["input_ids"][:, 0] = 2
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        batch["input_ids"][row, length - 1] = 3
    return batch


def words_as(batch: dict[str, Tensor], token: int) -> Tensor:
    ids = batch["input_ids"]
    return torch.where((ids >= 5) & batch["attention_mask"].bool(), token, ids)


def logits_of(model: nn.Module) -> Any:
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits


@pytest.mark.parametrize("rule", ["gauss_legendre", "midpoint"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_integrated_gradients_are_those_of_captum(family: str, rule: str) -> None:
    model = shared_model(family)
    batch = batch_of(model)
    captum = LayerIntegratedGradients(logits_of(model), model.base_model.embeddings)
    expected = captum.attribute(
        batch["input_ids"],
        words_as(batch, 4),
        target=TARGET,
        additional_forward_args=(batch["attention_mask"],),
        n_steps=7,
        method={"gauss_legendre": "gausslegendre", "midpoint": "riemann_middle"}[rule],
    ).detach()
    spec = f"integrated_gradients:n_steps=7,rule={rule}"
    found = attribute(model, batch, spec, TARGET, tokenizer=Tokenizer())
    torch.testing.assert_close(found.relevance, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.scores, expected.sum(-1), rtol=1e-6, atol=1e-7)


def test_nodes_of_gauss_and_legendre_integrate_polynomials() -> None:
    for count in (1, 2, 5, 50):
        shares, weights = quadrature("gauss_legendre", count)
        for power in range(2 * count):
            assert float((weights * shares**power).sum()) == pytest.approx(1 / (power + 1), rel=1e-12)


@pytest.mark.parametrize("baseline", ["mask", "pad", "zero", "mean", "so, what"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_tokens_and_the_output_at_the_baseline_are_the_output(family: str, baseline: str) -> None:
    model = make(family)
    batch = batch_of(model)
    found = attribute(
        model,
        batch,
        "integrated_gradients",
        TARGET,
        tokenizer=Tokenizer(),
        n_steps=200,
        baseline=baseline,
        quantity="probability",
    )
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=0, atol=1e-6)
    assert not found.scores[batch["attention_mask"] == 0].any()
    assert not found.scores[batch["input_ids"] < 5].any()  # they are the baseline's as well


@pytest.mark.parametrize("baseline", ["mask", "so, what"])
def test_sequential_integrated_gradients_are_those_of_each_token(baseline: str) -> None:
    """Of captum, with the token alone at the baseline; and their sum is what the output loses without it."""
    model, tokenizer = shared_model("roberta"), Tokenizer()
    batch = batch_of(model)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    spec = {"method": "sequential_ig", "baseline": baseline, "tokenizer": tokenizer}
    found = attribute(model, batch, target=TARGET, n_steps=6, **spec)
    many = attribute(model, batch, target=TARGET, n_steps=60, **spec)
    captum = LayerIntegratedGradients(logits_of(model), model.base_model.embeddings)
    tokens = tokenizer("so, what", False)["input_ids"] if baseline != "mask" else [4]
    for row in range(3):
        single = (ids[row : row + 1], mask[row : row + 1])
        before = model(*single).logits[0, TARGET[row]]
        for place in range(1, int(mask[row].sum()) - 1):
            changed = single[0].clone()
            changed[0, place] = tokens[(place - 1) % len(tokens)]
            expected = captum.attribute(
                single[0], changed, int(TARGET[row]), additional_forward_args=single[1:], n_steps=6
            ).detach()
            torch.testing.assert_close(found.relevance[row, place], expected[0, place], rtol=1e-6, atol=1e-7)
            drop = (before - model(changed, single[1]).logits[0, TARGET[row]]).detach()
            torch.testing.assert_close(many.scores[row, place], drop, rtol=1e-7, atol=1e-9)
    assert not found.scores[(ids < 5) | (mask == 0)].any()
    assert not found.complete


def test_sequential_integrated_gradients_of_words() -> None:
    tokenizer = tiny.wordpiece()
    classifier = Classifier(tiny.bert(tokenizer).double(), tokenizer)
    [found] = explain(classifier, "qz film xy", "sequential_ig", 1, unit="word", n_steps=60)
    plain = tokenizer("qz film xy", return_tensors="pt")
    assert plain["input_ids"].shape == (1, 7)  # [CLS] q ##z film x ##y [SEP]
    before = classifier.model(**plain).logits[0, 1].detach()
    for word, places in zip(found.words(), ([1, 2], [3], [4, 5]), strict=True):
        changed = plain["input_ids"].clone()
        changed[0, places] = tokenizer.mask_token_id
        after = classifier.model(**{**plain, "input_ids": changed}).logits[0, 1].detach()
        assert word.score == pytest.approx(float(before - after), rel=1e-7, abs=1e-9)


# --- points of one's own ------------------------------------------------------------------------------------


@contextmanager
def points_of(model: nn.Module) -> Iterator[list[Tensor]]:
    """What the first layer reads in each forward pass."""
    seen: list[Tensor] = []
    layer = model.base_model.encoder.layer[0]
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    yield seen
    handle.remove()


def from_embedding(model: nn.Module, ids: Tensor) -> Any:
    """The logits as a function of the output of the embedding block, for captum."""

    def logits(embedding: Tensor) -> Tensor:
        handle = model.base_model.embeddings.register_forward_hook(lambda *_: embedding)
        try:
            return model(ids.expand(len(embedding), -1)).logits
        finally:
            handle.remove()

    return logits


@pytest.mark.parametrize("spec", ["smoothgrad", "smoothgrad:reduction=absolute", "vargrad"])
def test_shaken_gradients_are_those_of_captum_at_the_same_points(spec: str) -> None:
    model = shared_model("bert")
    ids = batch_of(model)["input_ids"][:1]
    with points_of(model) as seen:
        found = attribute(model, {"input_ids": ids}, spec, 2, samples=400, noise=0.3, seed=5)
    embedding, *shaken = torch.cat(seen).detach()
    noise = torch.stack(shaken) - embedding
    assert len(noise) == 400
    scale = float(noise.std())
    assert scale == pytest.approx(0.3 * float(embedding.std(correction=0)), rel=0.01)
    assert float(noise.mean()) == pytest.approx(0.0, abs=4 * scale / noise.numel() ** 0.5)
    assert float(noise.std(0).std()) < 0.1 * scale  # alike for all numbers of all tokens

    tunnel = NoiseTunnel(Saliency(from_embedding(model, ids)))
    tunnel._add_noise_to_inputs = lambda *_: (
        torch.stack(shaken).requires_grad_(),
    )  # its own noise has no seed of its own
    kind = spec.partition(":")[0]
    expected = tunnel.attribute(embedding[None], nt_type=kind, nt_samples=400, target=2, abs=False).detach()
    torch.testing.assert_close(found.relevance, expected, rtol=1e-9, atol=1e-12)
    reduced = {
        "smoothgrad": expected.norm(dim=-1),
        "smoothgrad:reduction=absolute": expected.abs().sum(-1),
        "vargrad": expected.sum(-1),
    }
    torch.testing.assert_close(found.scores, reduced[spec], rtol=1e-9, atol=1e-12)
    signed = attribute(model, {"input_ids": ids}, "smoothgrad:reduction=input,noise=0.0", 2, samples=3)
    torch.testing.assert_close(
        signed.scores, attribute(model, {"input_ids": ids}, "input_x_gradient", 2).scores
    )
    assert (signed.signed, found.signed) == (True, False)


def test_expected_gradients_are_those_of_captum_at_the_same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_model("bert")
    ids = batch_of(model)["input_ids"][:1]
    with points_of(model) as seen:
        found = attribute(
            model, {"input_ids": ids}, "gradient_shap:baseline=mask", 2, tokenizer=Tokenizer(), samples=7
        )
    end, begin, *points = torch.cat(seen).detach()
    way = end - begin
    shares = [float(((point - begin) * way).sum() / way.square().sum()) for point in points]
    for index, (point, share) in enumerate(zip(points, shares, strict=True)):
        torch.testing.assert_close(point, begin + share * way)
        assert index < 7 * share < index + 1
    monkeypatch.setattr(np.random, "uniform", lambda *_: np.array(shares))
    captum = GradientShap(from_embedding(model, ids))
    expected = captum.attribute(end[None], begin[None], n_samples=7, stdevs=0.0, target=2).detach()
    torch.testing.assert_close(found.relevance, expected, rtol=1e-9, atol=1e-12)


def test_random_baselines_are_texts_of_the_same_length() -> None:
    """Words of the vocabulary, others in each; in expectation, and with many samples, the books balance."""
    model, tokenizer = make("bert"), Tokenizer()
    batch = batch_of(model)
    seen: list[Tensor] = []
    handle = model.base_model.embeddings.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    found = attribute(model, batch, "gradient_shap", TARGET, tokenizer=tokenizer, samples=2000, texts=4)
    handle.remove()
    ids, special = batch["input_ids"], batch["input_ids"] < 5
    drawn = [each for each in seen[1:] if len(each) == 3 and not bool((each == ids).all())]
    assert len(drawn) == 4
    for each in drawn:
        assert bool((each[special] == ids[special]).all())
        assert bool((each[~special] >= 5).all())
    assert len({tuple(each[0].tolist()) for each in drawn}) == 4
    outputs = torch.stack(
        [model(each, batch["attention_mask"]).logits[torch.arange(3), TARGET] for each in drawn]
    )
    torch.testing.assert_close(found.biases, outputs.mean(0).detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=0, atol=5e-4)
    assert not found.scores[special].any()


@pytest.mark.parametrize("spec", ["smoothgrad", "vargrad", "gradient_shap"])
def test_what_is_drawn_depends_on_the_seed_and_the_text(spec: str) -> None:
    model = shared_model("bert")
    batch = batch_of(model)
    batch["input_ids"][2] = batch["input_ids"][0]  # another text beside it, and padding where none was
    other = {name: tensor[:2].flip(0) for name, tensor in batch.items()}
    how = {"method": spec, "tokenizer": Tokenizer(), "samples": 5}
    first, turned = attribute(model, batch, **how, target=1), attribute(model, other, **how, target=1)
    torch.testing.assert_close(turned.scores, first.scores[:2].flip(0), rtol=1e-10, atol=1e-13)
    alone = {name: tensor[1:2, :6] for name, tensor in batch.items()}
    torch.testing.assert_close(
        attribute(model, alone, **how, target=1).scores, first.scores[1:2, :6], rtol=1e-10, atol=1e-13
    )
    assert torch.equal(attribute(model, batch, **how, target=1).scores, first.scores)
    changed = attribute(model, batch, **how, seed=1, target=1).scores
    assert not torch.allclose(changed, first.scores, rtol=1e-3)


# --- of one pass --------------------------------------------------------------------------------------------


def test_input_x_gradient_and_saliency() -> None:
    model = shared_model("bert")
    batch = batch_of(model)
    found = attribute(model, batch, ["input_x_gradient", "saliency", "saliency:reduction=absolute"], TARGET)
    captum = LayerGradientXActivation(logits_of(model), model.base_model.embeddings)
    args = {"target": TARGET, "additional_forward_args": (batch["attention_mask"],)}
    expected = captum.attribute(batch["input_ids"], **args).detach()
    torch.testing.assert_close(found["input_x_gradient"].relevance, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found["input_x_gradient"].scores, expected.sum(-1), rtol=1e-9, atol=1e-12)
    captum = LayerGradientXActivation(logits_of(model), model.base_model.embeddings, multiply_by_inputs=False)
    expected = captum.attribute(batch["input_ids"], **args).detach()
    torch.testing.assert_close(found["saliency"].scores, expected.norm(dim=-1), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        found["saliency:reduction=absolute"].scores, expected.abs().sum(-1), rtol=1e-9, atol=1e-12
    )


# --- what a baseline needs ----------------------------------------------------------------------------------


def test_words_are_replaced_and_positions_stay() -> None:
    """RoBERTa counts the positions of what is no padding: not padding's id stands in but its vector."""
    model, tokenizer = shared_model("roberta"), Tokenizer()
    batch = {name: tensor[:1] for name, tensor in batch_of(model).items()}
    words = model.get_input_embeddings().weight
    places = torch.arange(1, 8)
    expected = {"pad": words[0], "zero": torch.zeros(32), "mean": words.mean(0)}
    for baseline, vector in expected.items():
        handle = model.get_input_embeddings().register_forward_hook(
            lambda _, args, output, vector=vector: output.index_copy(
                1, places, vector.expand(1, 7, -1).to(output)
            )
        )
        before = model(**batch).logits.detach()
        handle.remove()
        found = attribute(
            model, batch, "integrated_gradients", 1, tokenizer=tokenizer, n_steps=1, baseline=baseline
        )
        torch.testing.assert_close(found.biases, before[:, 1], rtol=1e-9, atol=1e-12)


def test_baselines_that_cannot_be() -> None:
    model = shared_model("bert")
    batch = batch_of(model)
    for baseline, message in {
        "mask": "'mask' needs a tokenizer with a mask token, and there is none; use baseline=zero",
        "pad": "'pad' needs a tokenizer with a padding token",
        "so": "the baseline 'so' is a text and needs a tokenizer",
    }.items():
        with pytest.raises(UsageError, match=message):
            attribute(model, batch, "integrated_gradients", baseline=baseline)
    with pytest.raises(UsageError, match="drawn from the vocabulary of a tokenizer"):
        attribute(model, batch, "gradient_shap")
    found = attribute(model, batch, "integrated_gradients", baseline="zero", n_steps=2)
    assert bool(torch.isfinite(found.scores).all())
    with pytest.raises(UnknownNameError, match="unknown baseline 'maks'; did you mean 'mask'"):
        attribute(model, batch, "sequential_ig", baseline="maks", tokenizer=Tokenizer())
    tokenizer = tiny.wordpiece()
    classifier = Classifier(tiny.bert(tokenizer), tokenizer)
    with pytest.raises(UsageError, match="expected a baseline with at least one token, found"):
        explain(classifier, "good", "integrated_gradients", baseline="\u200b")


def test_words_that_are_looked_up_otherwise_are_refused() -> None:
    model = Toy()
    model.embeddings.forward = lambda input_ids: model.embeddings.words.weight[input_ids]
    batch = inputs(model)
    with pytest.raises(UnsupportedModelError, match=r"looks up its words 0 times.* use baseline=mask"):
        attribute(model, batch, "integrated_gradients:baseline=zero")
    found = attribute(model, batch, "integrated_gradients:n_steps=1", tokenizer=Tokenizer())
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output)  # the toy is linear


def test_a_baseline_of_the_padding_token_is_refused_as_a_text() -> None:
    """RoBERTa would count the positions of the other tokens anew, and [CLS] would have a score."""
    tokenizer = tiny.byte_level()
    classifier = Classifier(tiny.roberta(tokenizer), tokenizer)
    with pytest.raises(UsageError, match="use baseline=pad"):
        explain(classifier, "a bad film", "integrated_gradients:baseline=<pad>")
