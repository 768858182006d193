"""Relevance inside of the model: at every layer, of every head, and by patching hidden states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
import oracles
from models import CASES, Toy, inputs, make, shared_model, working_dtype
from whybert import Attribution, UnsupportedModelError, UsageError, attribute
from whybert.interception import run
from whybert.lrp.composites import CP_LRP

METHODS = ("attnlrp", "cp_lrp", "gi:reduction=sum")


def asked(model: nn.Module, batch: dict[str, Tensor], method: str, **how: Any) -> Attribution:
    found = attribute(model, batch, method, layers=True, heads=True, **how)
    assert found.layers is not None
    assert found.heads is not None
    return found


def row_of(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    length = int(batch["attention_mask"][row].sum())
    return {name: value[row : row + 1, :length] for name, value in batch.items()}


# --- against twins and the plain model --------------------------------------------------------------------


@pytest.mark.parametrize("method", ["attnlrp", "cp_lrp"])
def test_layers_and_heads_are_those_of_the_literal_twin(method: str) -> None:
    model = shared_model("bert")
    batch = inputs(model)
    found = asked(model, batch, method, target=1)
    twin = oracles.Bert(model.state_dict(), 4, model.config.layer_norm_eps)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        trace = twin.forward(twin.embed(batch["input_ids"][row, :length]))
        seed = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
        states, contexts = twin.modern_inside(trace, seed, attention_constant=method == "cp_lrp")
        assert found.layers is not None
        assert found.heads is not None
        expected = torch.stack([state.sum(1) for state in states])
        torch.testing.assert_close(found.layers[row, :, :length], expected, rtol=1e-9, atol=1e-11)
        of_heads = torch.stack([context.unflatten(1, (4, -1)).sum((0, 2)) for context in contexts])
        torch.testing.assert_close(found.heads[row], of_heads, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_the_layers_are_those_that_the_model_calls_its_hidden_states(family: str, attention: str) -> None:
    """Gradient x state, both from the plain model."""
    model = shared_model(family, attention, working_dtype(family, attention))
    batch = inputs(model)
    found = asked(model, batch, "gi:reduction=sum", target=2)
    output = model(**batch, output_hidden_states=True)
    states = output.hidden_states
    gradients = torch.autograd.grad(output.logits[:, 2].sum(), states)
    expected = torch.stack([(s * g).sum(-1) for s, g in zip(states, gradients, strict=True)], 1).detach()
    assert found.layers is not None
    # ALBERT and ELECTRA map the embedding to the width of their layers, and call what comes out their first.
    torch.testing.assert_close(found.layers[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-5)
    if working_dtype(family, attention) == torch.float64 and family != "deberta":
        torch.testing.assert_close(found.layers[:, 1:], expected[:, 1:], rtol=1e-9, atol=1e-11)


def test_heads_are_what_hooks_of_the_plain_model_see() -> None:
    model = make("bert")
    batch = inputs(model)
    found = asked(model, batch, "gi:reduction=sum", target=0)
    contexts: list[Tensor] = []
    for layer in model.bert.encoder.layer:
        layer.attention.output.dense.register_forward_pre_hook(lambda module, args: contexts.append(args[0]))
    gradients = torch.autograd.grad(model(**batch).logits[:, 0].sum(), contexts)
    expected = [(c * g).unflatten(2, (4, -1)).sum((1, 3)) for c, g in zip(contexts, gradients, strict=True)]
    torch.testing.assert_close(found.heads, torch.stack(expected, 1).detach(), rtol=1e-9, atol=1e-11)


# --- what holds for every family --------------------------------------------------------------------------


def tolerance(family: str, attention: str) -> float:
    """DeBERTa computes its LayerNorm in float32, see `test_families.tolerance`."""
    return 1e-12 if working_dtype(family, attention) == torch.float64 and family != "deberta" else 1e-5


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_without_biases_every_layer_sums_to_the_logit(family: str, attention: str) -> None:
    model = make(family, attention, working_dtype(family, attention), biases=False)
    found = asked(model, inputs(model), "cp_lrp", target=[0, 1, 2])
    assert found.layer_sums is not None
    assert found.layer_sums.shape == (3, 3)
    within = tolerance(family, attention)
    torch.testing.assert_close(
        found.layer_sums, found.output[:, None].expand(-1, 3), rtol=within, atol=within
    )


@pytest.mark.parametrize(("family", "attention"), CASES)
@pytest.mark.parametrize("method", METHODS)
def test_inside_of_every_family(family: str, attention: str, method: str) -> None:
    """What is asked besides changes no number; padding gets nothing; texts are explained as if alone."""
    model = shared_model(family, attention, working_dtype(family, attention))
    batch = inputs(model)
    plain, found = attribute(model, batch, method), asked(model, batch, method)
    assert torch.equal(found.logits, plain.logits)
    assert torch.equal(found.scores, plain.scores)
    assert found.biases is None or torch.equal(found.biases, plain.biases)
    assert (plain.layers, plain.layer_sums, plain.heads) == (None, None, None)
    layers, heads = found.layers, found.heads
    assert layers is not None
    assert heads is not None
    assert layers.shape == (3, 3, 9)
    assert heads.shape == (3, 2, 4)
    assert torch.equal(layers[:, 0], found.scores)
    assert not layers[(batch["attention_mask"] == 0)[:, None].expand_as(layers)].any()
    assert (layers[:, :2, :4] != 0).all()
    within = 1e-10 if tolerance(family, attention) == 1e-12 else 1e-4
    for row in range(3):
        single = row_of(batch, row)
        alone, length = asked(model, single, method), single["input_ids"].shape[1]
        torch.testing.assert_close(layers[row, :, :length], alone.layers[0], rtol=within, atol=within)
        torch.testing.assert_close(heads[row], alone.heads[0], rtol=within, atol=within)


def test_in_half_precision_numbers_are_finite_and_summed_in_float32() -> None:
    model = make("bert", "sdpa", torch.bfloat16)
    found = asked(model, inputs(model), "attnlrp")
    for each in (found.layers, found.layer_sums, found.heads):
        assert each is not None
        assert each.dtype == torch.float32
        assert torch.isfinite(each).all()


def test_methods_and_targets_share_a_forward_pass_and_each_has_one_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = shared_model("bert", "sdpa")
    batch, passes, sweeps = inputs(model), [0], [0]
    grad: Callable[..., Any] = torch.autograd.grad

    def counted(*args: Any, **kwargs: Any) -> Any:
        sweeps[0] += 1
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    handle = model.register_forward_pre_hook(lambda module, args: passes.__setitem__(0, passes[0] + 1))
    try:
        attribute(model, batch, list(METHODS), layers=True, heads=True)
    finally:
        handle.remove()
    assert (passes[0], sweeps[0]) == (1, 3)


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    model = shared_model("bert", "sdpa")
    assert run(model, inputs(model), [CP_LRP]).inside is None


# --- which axis is which, and what is refused -------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert"])
@pytest.mark.parametrize("lengths", [(4, 4, 4, 4), (9, 6, 4, 8), (3, 3, 2)])
def test_as_many_texts_as_heads_or_positions(family: str, lengths: tuple[int, ...]) -> None:
    model = shared_model(family, "eager" if family in models.EAGER_ONLY else "sdpa")
    batch = inputs(model, lengths)
    found = asked(model, batch, "attnlrp")
    assert found.layers is not None
    assert found.heads is not None
    for row in range(len(lengths)):
        single = row_of(batch, row)
        alone, length = asked(model, single, "attnlrp"), single["input_ids"].shape[1]
        torch.testing.assert_close(found.layers[row, :, :length], alone.layers[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(found.heads[row], alone.heads[0], rtol=1e-9, atol=1e-11)


class Attention(nn.Module):
    """One layer of attention with a residual sum, (batch, seq, hidden)."""

    def __init__(self, heads: int = 2, hidden: int = 6) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.heads = heads
        self.parts = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def context(self, h: Tensor) -> Tensor:
        q, k, v = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in self.parts(h).chunk(3, 2))
        return torch.matmul(F.softmax(torch.matmul(q, k.transpose(2, 3)), -1), v)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.out(self.context(h).transpose(1, 2).flatten(2))


class Layers(Toy):
    """`change` of the states, two layers of attention, and the change taken back."""

    def __init__(self, change: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Attention(), Attention()]).double().eval()

        def body(h: Tensor) -> Tensor:
            h = change(h)
            for layer in self.layers:
                h = layer(h)
            return back(h)

        self.body = body


def ids(rows: int, columns: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"input_ids": torch.randint(5, 60, (rows, columns), generator=generator)}


def test_a_model_of_ones_own_has_layers_too() -> None:
    model = Layers(lambda h: h, lambda h: h)
    found = asked(model, ids(2, 5), "cp_lrp")
    assert found.layers is not None
    assert found.layers.shape == (2, 3, 5)


def test_positions_before_texts_are_refused_whatever_their_number() -> None:
    """(seq, batch, hidden) behind the embedding: with as many texts as positions only shapes agree."""
    model = Layers(lambda h: h.transpose(0, 1), lambda h: h.transpose(0, 1))
    attribute(model, ids(4, 4), "cp_lrp")
    for size in ((2, 5), (4, 4)):
        with pytest.raises(UnsupportedModelError, match="leave layers out"):
            attribute(model, ids(*size), "cp_lrp", layers=True)


def test_positions_and_width_that_change_places_are_refused_whatever_their_number() -> None:
    """(batch, hidden, seq), where a layer mixes features: as many positions as features hide it."""
    model = Layers(lambda h: h.transpose(1, 2), lambda h: h.transpose(1, 2))
    attribute(model, ids(2, 6), "cp_lrp")
    with pytest.raises(UnsupportedModelError, match="as many positions as the states are wide"):
        attribute(model, ids(2, 6), "cp_lrp", layers=True)


def test_states_that_are_made_in_place_are_those_that_are_read() -> None:
    class Doubled(Attention):
        def forward(self, h: Tensor) -> Tensor:
            return super().forward(h).mul_(2.0)

    model, twin = Layers(lambda h: h, lambda h: h), Layers(lambda h: h, lambda h: h)
    model.layers[0] = Doubled().double().eval()
    twin.layers[0].register_forward_hook(lambda module, args, output: output * 2.0)
    torch.testing.assert_close(
        asked(model, ids(2, 5), "cp_lrp").layers, asked(twin, ids(2, 5), "cp_lrp").layers
    )


@pytest.mark.parametrize("way", ["a view", "afterwards"])
def test_states_that_are_changed_behind_their_back_are_refused(way: str) -> None:
    """No gradient misses the old numbers, but the relevance of what a layer read does."""

    class Changed(Attention):
        def forward(self, h: Tensor) -> Tensor:
            if way == "a view":
                h[:, 0].add_(1.0)
            found = super().forward(h)
            if way == "afterwards":
                h.mul_(0.5)
            return found

    model = Layers(lambda h: h, lambda h: h)
    model.layers[1] = Changed().double().eval()
    attribute(model, ids(2, 5), "cp_lrp", heads=True)
    with pytest.raises(UnsupportedModelError, match="it changes hidden states in place"):
        attribute(model, ids(2, 5), "cp_lrp", layers=True)


@pytest.mark.parametrize("method", ["gs", "gi", "lrp", "lat"])
def test_other_methods_are_refused_by_name(method: str) -> None:
    model = shared_model("bert")
    for how in ({"layers": True}, {"heads": True}):
        with pytest.raises(UsageError, match=f"{method}.* is none; name one of these"):
            attribute(model, inputs(model), ["attnlrp", method], **how)


def test_a_model_without_attention_is_refused() -> None:
    batch = ids(2, 5)
    with pytest.raises(UnsupportedModelError, match="it has no attention"):
        attribute(Toy(), batch, "cp_lrp", layers=True)
    with pytest.raises(UnsupportedModelError, match="it has no attention"):
        attribute(Toy(), batch, "cp_lrp", heads=True)
