"""Gradients along ways, at shaken texts and of one pass: against captum and differences of outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor, nn

from models import inputs, make, shared_model
from whybert import attribute
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
