"""Every family, attention implementation and method: the properties that hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models import CASES, EAGER_ONLY, FAMILIES, PRE_NORM, inputs, make, shared_model, working_dtype
from whybert import STANDARD, Attribution, UnsupportedModelError, attribute
from whybert.anatomy import embedding_block
from whybert.interception import run

METHOD_CASES: list[tuple[str, dict[str, Any]]] = [
    ("gs", {}),
    ("gi", {}),
    ("lrp", {"residual": "released"}),
    ("lrp", {"residual": "once"}),
    ("lat", {}),
    ("attnlrp", {}),
    ("cp_lrp", {}),
]
assert {name for name, _ in METHOD_CASES} == set(STANDARD)  # a new method joins this table


def every_method(
    family: str, model: nn.Module, batch: dict[str, Tensor]
) -> Iterator[tuple[str, Attribution]]:
    for method, options in METHOD_CASES:
        if not (options.get("residual") == "released" and family in PRE_NORM):
            yield f"{method} {options}", attribute(model, batch, method, **options)


def borrowed(family: str, attention: str) -> nn.Module:
    return shared_model(family, attention, working_dtype(family, attention))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-300))


def tolerance(model: nn.Module, family: str, method: str) -> float:
    """How far two orders of summing the same numbers may be apart, relative to the whole row.

    A batch of another size, and SDPA beside eager attention, sum in another order.  In float64 that
    leaves 1e-14 or so.  DeBERTa computes its LayerNorm in float32 whatever the model's type
    (`DebertaLayerNorm` casts), so there rounding is 1e-7, and so it is for models in float32.

    `lrp` rescales each row by its sum, and the row has just come through a LayerNorm's derivative, so
    that its sum is zero but for rounding, against a stabiliser of 1e-7 (design, fact 2).  With
    residual="once" that is all there is: rounding of 1e-16 / 1e-7 in float64, some more each layer, and
    of 1e-7 / 1e-7 in float32, where two orders of summing have nothing in common: not compared (infinite).
    With "released" the ordinary gradient outweighs it.
    """
    narrow = family == "deberta" or next(model.parameters()).dtype == torch.float32
    if "once" in method:
        return float("inf") if narrow else 1e-6
    if method.startswith("lrp"):
        return 0.05 if narrow else 1e-6
    return 1e-4 if narrow else 1e-10


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_logits_are_the_models_own_and_padding_gets_nothing(family: str, attention: str) -> None:
    model = borrowed(family, attention)
    batch = inputs(model)
    with torch.no_grad():
        expected = model(**batch).logits
    for name, found in every_method(family, model, batch):
        assert torch.equal(found.logits, expected), name
        assert found.scores.shape == batch["input_ids"].shape, name
        padding = batch["attention_mask"] == 0
        assert not found.scores[padding].any(), name
        assert (found.scores[~padding] != 0).all(), name
        if found.relevance is not None:
            width = 16 if family in ("electra", "albert") else 32  # these embed into fewer dimensions
            assert found.relevance.shape == (*batch["input_ids"].shape, width), name
            assert not found.relevance[padding].any(), name


LEFT_CASES = [case for case in CASES if case[0] not in ("modernbert", "deberta", "deberta-v2")]


@pytest.mark.filterwarnings("ignore:the texts are padded on the left")
@pytest.mark.parametrize(("family", "attention"), LEFT_CASES)
def test_left_padding_gets_nothing(family: str, attention: str) -> None:
    """But for the first token: these models pool token 0 whatever it is, and a residual stream begins there.

    ModernBERT and DeBERTa are left out: in the one a padding token's local window may hold nothing but
    padding, the other masks a padding token's own row too, and both then attend to all alike, so that the
    pooled token 0 does read the other padding.
    """
    model = borrowed(family, attention)
    batch = inputs(model, left=True)
    with torch.no_grad():
        expected = model(**batch).logits
    padding = batch["attention_mask"] == 0
    padding[:, 0] = False
    for name, found in every_method(family, model, batch):
        assert torch.equal(found.logits, expected), name
        assert not found.scores[padding].any(), name
        assert (found.scores[:, -4:] != 0).all(), name


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert", "mpnet"])
def test_position_ids_are_the_models_own_under_left_padding(family: str) -> None:
    """These count positions from the first token that is no padding: shifted by `inputs_embeds`, so the
    logits would be others."""
    model = borrowed(family, "eager")
    right, left = inputs(model, (7, 4)), inputs(model, (7, 4), left=True)
    left["input_ids"][1] = right["input_ids"][1].roll(3)
    assert torch.equal(left["attention_mask"][1], right["attention_mask"][1].roll(3))
    forwards = [run(model, batch, []) for batch in (right, left)]
    # The same tokens at the same counted positions have the same embeddings, wherever they stand.
    torch.testing.assert_close(
        forwards[1].embedding[1, 3:], forwards[0].embedding[1, :4], rtol=1e-12, atol=1e-13
    )
    with torch.no_grad():
        assert torch.equal(forwards[1].logits, model(**left).logits)


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_batched_equals_one_by_one(family: str, attention: str) -> None:
    model = borrowed(family, attention)
    batch = inputs(model)
    alone = [
        {key: value[row : row + 1, : int(batch["attention_mask"][row].sum())] for key, value in batch.items()}
        for row in range(3)
    ]
    together = dict(every_method(family, model, batch))
    for row, single in enumerate(alone):
        length = single["input_ids"].shape[1]
        for name, found in every_method(family, model, single):
            error = relative(together[name].scores[row, :length], found.scores[0])
            assert error < tolerance(model, family, name), f"{name}, row {row}: {error:.1e}"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in EAGER_ONLY])
def test_sdpa_equals_eager(family: str) -> None:
    dtype = working_dtype(family, "eager")
    sdpa, eager = shared_model(family, "sdpa", dtype), shared_model(family, "eager", dtype)
    batch = inputs(sdpa)
    expected = dict(every_method(family, eager, batch))
    for name, found in every_method(family, sdpa, batch):
        error = relative(found.scores, expected[name].scores)
        assert error < tolerance(sdpa, family, name), f"{name}: {error:.1e}"


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_gradients_are_autograds(family: str, attention: str) -> None:
    """`gs` and `gi` beside a forward hook and plain autograd."""
    model = borrowed(family, attention)
    batch = inputs(model)
    held: list[Tensor] = []

    def hold(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        held.append(output.detach().requires_grad_())
        return held[0]

    handle = embedding_block(model).register_forward_hook(hold)
    try:
        logits = model(**batch).logits
    finally:
        handle.remove()
    y = logits[torch.arange(3), [2, 0, 1]]
    (gradient,) = torch.autograd.grad(y.sum(), held[0])
    g = (y[:, None, None] * gradient).detach()
    # The same operations; `lat` and others may share the pass, so that sums are taken in another order.
    bound = tolerance(model, family, "gs")
    for method, expected in (("gs", g), ("gi", g * held[0].detach())):
        found = attribute(model, batch, method, [2, 0, 1])
        assert found.relevance is not None
        assert relative(found.relevance, expected) < bound
        assert relative(found.scores, expected.square().sum(-1)) < bound


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_cp_lrp_without_biases_is_all_of_the_logit(family: str, attention: str) -> None:
    model = make(family, attention, working_dtype(family, attention), biases=False)
    for target in (None, 1, (0, 2)):
        found = attribute(model, inputs(model), "cp_lrp", target)
        assert found.relevance_sum is not None
        # Exact but for rounding: in float64 1e-12.  DeBERTa's LayerNorm computes in float32, see `tolerance`.
        narrow = family == "deberta" or found.logits.dtype == torch.float32
        bound = 2e-5 if narrow else 1e-12
        scale = found.logits.abs().max().to(found.relevance_sum)
        error = float((found.relevance_sum - found.output).abs().max() / scale)
        assert error < bound, f"{target}: {error:.1e}"


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_cp_lrp_and_the_books_of_biases_are_all_of_the_logit(family: str, attention: str) -> None:
    model = borrowed(family, attention)
    for target in (None, 1, (0, 2)):
        found = attribute(model, inputs(model), "cp_lrp", target)
        assert found.relevance_sum is not None
        assert found.biases is not None
        assert (found.biases.abs() > 1e-3 * found.output.abs()).all()  # the biases do take part
        narrow = family == "deberta" or found.logits.dtype == torch.float32
        scale = torch.stack([found.relevance_sum, found.biases, found.logits.abs().amax(-1)]).abs().amax(0)
        error = float(((found.relevance_sum + found.biases - found.output).abs() / scale).max())
        assert error < (2e-5 if narrow else 1e-12), f"{target}: {error:.1e}"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_released_is_refused_by_name_where_it_is_not_defined(attention: str) -> None:
    for model in (borrowed("modernbert", attention), models.pre_norm()):
        batch = inputs(model)
        with pytest.raises(
            UnsupportedModelError, match=r"residual='released' is defined for.*residual='once'"
        ):
            attribute(model, batch, "lrp")
        assert torch.isfinite(attribute(model, batch, "lrp", residual="once").scores).all()


def test_pre_norm_models_work_otherwise() -> None:
    model = models.pre_norm()
    batch = inputs(model)
    for name, found in every_method("modernbert", model, batch):
        assert not found.scores[batch["attention_mask"] == 0].any(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("family", "attention"), CASES)
def test_half_precision(family: str, attention: str, dtype: torch.dtype) -> None:
    """Finite everywhere; scores are in float32; and the well-conditioned methods still say the same."""
    model = shared_model(family, attention, dtype)
    batch = inputs(model)
    exact = dict(every_method(family, shared_model(family, attention, torch.float32), batch))
    for name, found in every_method(family, model, batch):
        assert torch.isfinite(found.scores).all(), name
        assert found.scores.dtype == torch.float32, name
        assert found.logits.dtype == dtype, name
        if found.relevance is not None:
            assert found.relevance.dtype == dtype, name
        if name.startswith("lat"):
            # Attention weights are probabilities: three decimals in bfloat16, a few operations.
            assert relative(found.scores, exact[name].scores) < (0.1 if dtype == torch.bfloat16 else 0.02), (
                name
            )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("layers", "heads", "labels", "rows"), [(1, 1, 1, 1), (3, 2, 5, 4), (1, 8, 2, 4), (3, 4, 1, 1)]
)
def test_any_size(family: str, layers: int, heads: int, labels: int, rows: int) -> None:
    """Nothing is hard-coded: LAT has all heads' weights, CP-LRP all of the logit, at every size."""
    attention = "eager" if family in EAGER_ONLY else "sdpa"
    changes = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_labels": labels}
    model = make(family, attention, biases=False, **changes)
    batch = inputs(model, (5, 3, 4, 5)[:rows])
    for name, found in every_method(family, model, batch):
        assert found.logits.shape == (rows, labels), name
        assert found.scores.shape == (rows, 5), name
        if name.startswith("lat"):
            assert len(run(model, batch, [], attention=True).attention) == layers
            # Attention rows sum to 1, so the weight 1 a head starts with is all there at the end.
            torch.testing.assert_close(found.scores.sum(1), torch.full((rows,), float(heads)).double())
        if name.startswith("cp_lrp"):
            bound = 1e-4 if family == "deberta" else 1e-10  # DeBERTa: see `tolerance`
            torch.testing.assert_close(found.relevance_sum, found.output, rtol=bound, atol=bound)


@pytest.mark.parametrize("family", ["bert", "electra", "albert"])
def test_segment_ids_reach_the_model(family: str) -> None:
    model = borrowed(family, "sdpa")
    batch = inputs(model)
    segments = torch.zeros_like(batch["input_ids"])
    segments[:, 3:] = 1
    with torch.no_grad():
        expected = model(**batch, token_type_ids=segments).logits
    without = dict(every_method(family, model, batch))
    for name, found in every_method(family, model, {**batch, "token_type_ids": segments}):
        assert torch.equal(found.logits, expected), name
        assert not torch.equal(found.scores, without[name].scores), name


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "electra", "albert", "mpnet", "deberta-v2", "modernbert"]
)
def test_position_ids_reach_the_model(family: str) -> None:
    attention = "eager" if family in EAGER_ONLY else "sdpa"
    model = borrowed(family, attention)
    batch = inputs(model, (6, 6))
    batch["position_ids"] = torch.tensor([[5, 4, 3, 2, 6, 7], [9, 11, 13, 2, 3, 4]])
    with torch.no_grad():
        expected = model(**batch).logits
    for name, found in every_method(family, model, batch):
        assert torch.equal(found.logits, expected), name


def test_without_a_mask_all_tokens_count() -> None:
    model = borrowed("bert", "sdpa")
    batch = inputs(model, (5, 5))
    for name, found in every_method("bert", model, {"input_ids": batch["input_ids"]}):
        with_mask = dict(every_method("bert", model, batch))[name]
        # With a mask of ones SDPA may take another kernel.
        assert relative(found.scores, with_mask.scores) < tolerance(model, "bert", name), name
