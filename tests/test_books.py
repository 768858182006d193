"""Constants enter in many ways; whichever it is, what they take of the relevance stands in the books.

Without attention every model below is a chain of maps that are linear in the embedding plus constants: the
scores of CP-LRP and its books sum to the logit, whatever the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import Toy, inputs
from whybert import attribute
from whybert.errors import ModelError

HALF = torch.full((9,), 0.5, dtype=torch.float64)
PLACES, HALVES = torch.zeros(3, 9, 1, dtype=torch.long), HALF[:, None].expand(3, 9, 1)


def changed(change: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """A copy that `change` changes in place."""

    def body(x: Tensor) -> Tensor:
        x = x.clone()
        change(x)
        return x

    return body


def written(buffer: Callable[[Tensor], Tensor], write: Callable[[Tensor, Tensor], Any]) -> Any:
    """Numbers that depend on the input, written into a buffer of constants."""

    def body(x: Tensor) -> Tensor:
        y = buffer(x)
        write(y, x)
        return y

    return body


def half_of(x: Tensor) -> Tensor:
    return x.new_full(x.shape, 0.5)


CONSTANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "x[...] = number": changed(lambda x: x.__setitem__((slice(None), slice(None), 0), 0.5)),
    "x[...] = tensor": changed(lambda x: x.__setitem__((slice(None), slice(None), 0), HALF)),
    "masked_fill_": changed(lambda x: x.masked_fill_(x > 0, 0.5)),
    "fill_ of a slice": changed(lambda x: x[:, :, 0].fill_(0.5)),
    "zero_ of a slice": changed(lambda x: x[:, :, 0].zero_()),
    "copy_ of a slice": changed(lambda x: x[:, :, 0].copy_(HALF)),
    "index_put_": changed(lambda x: x.index_put_((torch.arange(3),), HALF[:, None])),
    "add_ of a number": changed(lambda x: x.add_(0.5)),
    "add_ to a slice": changed(lambda x: x[:, :, 0].add_(HALF)),
    "add_ with alpha": changed(lambda x: x.add_(HALF[:, None], alpha=2)),
    "x += number": changed(lambda x: x.__iadd__(0.5)),
    "x -= number": changed(lambda x: x.__isub__(0.5)),
    "sub_": changed(lambda x: x.sub_(HALF[:, None])),
    "index_fill_": changed(lambda x: x.index_fill_(2, torch.tensor([0, 3]), 0.5)),
    "index_copy_": changed(lambda x: x.index_copy_(2, torch.tensor([3]), HALVES)),
    "index_add_": changed(lambda x: x.index_add_(2, torch.tensor([3]), HALVES)),
    "scatter_ of a number": changed(lambda x: x.scatter_(2, PLACES, 0.5)),
    "scatter_": changed(lambda x: x.scatter_(2, PLACES, HALVES)),
    "scatter_add_": changed(lambda x: x.scatter_add_(2, PLACES, HALVES)),
    "index_fill": lambda x: x.index_fill(2, torch.tensor([0]), 0.5),
    "scatter": lambda x: x.scatter(2, PLACES, 0.5),
    "scatter_add": lambda x: x.scatter_add(2, PLACES, HALVES),
    "index_add": lambda x: x.index_add(2, torch.tensor([3]), HALVES),
    "index_copy": lambda x: torch.index_copy(x, 2, torch.tensor([3]), HALVES),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.5),
    "where": lambda x: torch.where(x > 0, x, 0.5),
    "where of a tensor": lambda x: torch.where(x > 0, HALF[:, None], x),
    "logsumexp": lambda x: x + x.logsumexp(1, keepdim=True),
    "torch.logsumexp": lambda x: x + torch.logsumexp(x, -1)[..., None] / 2,
    "pad": lambda x: F.pad(x[:, :, 1:], (1, 0), value=0.5),
    "cat": lambda x: torch.cat([x[:, :, 1:], half_of(x)[:, :, :1]], -1),
    "into a full buffer": written(half_of, lambda y, x: y.__setitem__((..., slice(2, None)), x[..., 2:])),
    "into ones, in two steps": written(
        lambda x: x.new_ones(x.shape),
        lambda y, x: (y[..., 2:3].copy_(x[..., 2:3]), y[..., 0].add_(x[..., 0])),
    ),
    "into a window of a buffer": written(half_of, lambda y, x: y[:, 1:][..., 1].copy_(x[:, 1:, 1])),
    "scatter_ into ones": written(torch.ones_like, lambda y, x: y.scatter_(2, PLACES, x[..., :1])),
}


def gap(body: Callable[[Tensor], Tensor]) -> float:
    model = Toy(body)
    batch = inputs(model)
    with torch.no_grad():
        logits = model(**batch).logits
    found = attribute(model, batch, "cp_lrp", 1)
    assert torch.equal(found.logits, logits)
    assert found.biases is not None
    return float((found.scores.sum(1) + found.biases - found.output).abs().max())


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_stand_in_the_books(name: str) -> None:
    body = CONSTANTS[name]
    assert gap(body) < 1e-12
    if "zero" not in name:  # this one has no constant
        model = Toy(body)
        assert attribute(model, inputs(model), "cp_lrp", 1).biases.abs().max() > 1e-3


def scales(x: Tensor) -> Tensor:
    """Another number for each text."""
    return torch.arange(1.0, len(x) + 1.0, dtype=torch.float64)[:, None, None]


BIAS = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)

# Among them those of which the first text has but one, and the second more than its part.
SOME = torch.tensor([0, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 20])
ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch first": lambda x: x + BIAS,
    "sequence first": lambda x: (x.transpose(0, 1) + BIAS).transpose(0, 1),
    "sequence first, at the last token": lambda x: (x.transpose(0, 1) + BIAS)[-1],
    "hidden first": lambda x: (x.permute(2, 1, 0) + BIAS[:, None, None]).permute(2, 1, 0),
    "texts folded": lambda x: (x.reshape(-1, 6) + BIAS).view(x.shape),
    "tokens folded": lambda x: (
        (x.transpose(0, 1).reshape(-1, 6) + BIAS).view(-1, len(x), 6).transpose(0, 1)
    ),
    "expanded": lambda x: (x.expand(2, -1, -1, -1) + BIAS).sum(0),
    "heads first": lambda x: torch.cat([*(torch.stack(x.chunk(2, -1)) + BIAS[:3])], -1),
    "heads behind the batch": lambda x: (
        (x.unflatten(-1, (2, 3)).transpose(1, 2).flatten(0, 1) + BIAS[:3])
        .unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)
    ),
    "einsum": lambda x: torch.einsum(
        "sbi,oi->bso", x.transpose(0, 1) + BIAS, torch.eye(6, dtype=torch.float64).flip(0)
    ),
    "texts apart": lambda x: torch.stack([text + BIAS for text in x]),
    "texts in another order": lambda x: (x[[*range(1, len(x)), 0]] + BIAS * scales(x))[
        [len(x) - 1, *range(len(x) - 1)]
    ],
    "some of the tokens": lambda x: x.flatten(0, 1).index_add(
        0, SOME[x[..., 0].numel() > SOME], x.flatten(0, 1)[SOME[x[..., 0].numel() > SOME]] + BIAS
    ).view(x.shape),
}  # fmt: skip
LENGTHS = [(9, 6, 4), (3, 3, 3), (2, 2), (6, 6, 6, 6, 6, 6)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_books_are_kept_by_text(name: str, lengths: tuple[int, ...]) -> None:
    """Wherever the rows of the batch stand, even where there are as many of them as of something else."""
    model = Toy(ROWS[name])
    batch = inputs(model, lengths)
    found = attribute(model, batch, "cp_lrp", 1)
    expected = found.output - found.scores.sum(1)
    assert found.biases is not None
    torch.testing.assert_close(found.biases, expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 1e-3


STRIDED: dict[str, Callable[[Tensor], Tensor]] = {
    "windows side by side": lambda x: x.contiguous().as_strided((3, 4, 2, 6), (54, 12, 6, 1)).sum((1, 2)),
    "windows that overlap": lambda x: torch.as_strided(x.clone(), (3, 8, 2, 6), (54, 6, 6, 1)).sum((1, 2)),
    "of numbers in another order": lambda x: x.clone().mT.as_strided((3, 6, 9), (54, 1, 6)).mean(2),
    "behind an offset": lambda x: x.clone().as_strided((3, 6), (54, 1), 6),
}


@pytest.mark.parametrize("name", STRIDED)
def test_windows_of_memory(name: str) -> None:
    assert gap(STRIDED[name]) < 1e-12


@pytest.mark.parametrize("method", ["gi", "attnlrp", "cp_lrp"])
def test_windows_that_reach_beyond_their_tensor_are_refused(method: str) -> None:
    """Autograd hands on nothing of what a window reads outside of the tensor it is taken of."""
    model = Toy(lambda x: x.contiguous()[:, :3].as_strided((3, 8, 2, 6), (54, 6, 6, 1)).sum((1, 2)))
    with pytest.raises(ModelError, match="as_strided"):
        attribute(model, inputs(model), method)


def _weights(x: Tensor) -> Tensor:
    return (x @ x.mT).softmax(-1)


MEMORY = torch.linspace(-2.0, 1.0, 54, dtype=torch.float64).view(9, 6).sin()

OF_CONSTANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "attention to constants": lambda x: x + _weights(x) @ MEMORY,
    "attention to constants alone": lambda x: _weights(x) @ MEMORY + 0.0 * x,
    "fused": lambda x: x + F.scaled_dot_product_attention(x, x, MEMORY.expand(3, -1, -1)),
    "of the batch's own": lambda x: x + _weights(x) @ torch.ones_like(x).cumsum(1),
    "mixed by a matrix": lambda x: x + (_weights(x) @ MEMORY @ MEMORY.T).softmax(-1) @ x,
}


@pytest.mark.parametrize("name", OF_CONSTANTS)
def test_constants_that_attention_reads_are_constants_where_its_weights_are(name: str) -> None:
    """CP-LRP takes the weights for constants, so what they make of constants is one: it is in the books."""
    body = OF_CONSTANTS[name]
    assert gap(body) < 1e-12
    model = Toy(body)
    together = attribute(model, inputs(model), ["attnlrp", "cp_lrp"], 1)
    alone = attribute(model, inputs(model), "cp_lrp", 1)
    torch.testing.assert_close(together["cp_lrp"].scores, alone.scores, rtol=0, atol=1e-13)
    torch.testing.assert_close(together["cp_lrp"].biases, alone.biases, rtol=0, atol=1e-13)
    assert not torch.equal(together["attnlrp"].scores, alone.scores)  # to AttnLRP the weights are the input's


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
def test_weights_of_weights_are_weights(method: str) -> None:
    """(A B) V, as where attention is approximated by landmarks: A B is what the values are weighed by."""
    model = Toy(lambda x: (_weights(x) @ _weights(2 * x)) @ x)
    batch = inputs(model)
    found = attribute(model, batch, method, 1)

    def half(x: Tensor) -> Tensor:
        return x / 2 + x.detach() / 2

    def product(a: Tensor, b: Tensor) -> Tensor:
        return half(a) @ half(b)

    x = model.embeddings(batch["input_ids"]).detach().requires_grad_()
    first, second = product(x, x.mT).softmax(-1), product(2 * x, 2 * x.mT).softmax(-1)
    constant = method == "cp_lrp"
    attended = (first @ second).detach() @ x if constant else product(product(first, second), x)
    mask = batch["attention_mask"].to(x.dtype)[..., None]
    logits = model.head((attended * mask).sum(1) / mask.sum(1))
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    torch.testing.assert_close(found.scores, (gradient * x).sum(-1).detach(), rtol=1e-10, atol=1e-12)
