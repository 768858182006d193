"""The rules beside AttnLRP's and CP-LRP's: each against a literal twin (`oracles`), and what it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import oracles
from models import CASES, Toy, inputs, make, shared_model, working_dtype
from whybert import UnknownNameError, UnsupportedModelError, UsageError, attribute
from whybert.interception import run
from whybert.lrp import rules
from whybert.lrp.composites import ATTN_LRP, CP_LRP, GRADIENT, Composite, Mixed, linear_lrp, released_lrp
from whybert.methods.relevance import ModifiedGradient

Linear = Callable[[Tensor, rules.SavedLinear], Tensor]
RULES: dict[str, tuple[Linear, oracles.Rule]] = {
    "epsilon:epsilon=0.3": (rules.Epsilon(0.3), partial(oracles.stabilised, eps=0.3)),
    "gamma": (rules.Gamma(0.05), partial(oracles.favouring, gamma=0.05)),
    "gamma:gamma=100.0": (rules.Gamma(100.0), partial(oracles.favouring, gamma=100.0)),
    "alpha_beta": (rules.AlphaBeta(1.0), partial(oracles.by_sign, alpha=1.0)),
    "alpha_beta:alpha=2.0": (rules.AlphaBeta(2.0), partial(oracles.by_sign, alpha=2.0)),
}
CONSERVING = [name for name in RULES if not name.startswith("epsilon")]
ATTENTION = ("attnlrp", "cp_lrp")


def saved(x: Tensor, W: Tensor, b: Tensor | None = None) -> rules.SavedLinear:
    return rules.SavedLinear(x, W, b, F.linear(x, W, b))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- one linear layer -----------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_its_literal_version(name: str, bias: bool) -> None:
    rule, twin = RULES[name]
    layer = saved(normal(4, 7, seed=1), normal(5, 7, seed=2), normal(5, seed=3) if bias else None)
    R = normal(4, 5, seed=4)
    found = layer.x * rule(R / layer.y, layer)  # a changed gradient, so R / y comes in
    expected = twin(R, layer.x, layer.weight, torch.zeros(5) if layer.bias is None else layer.bias)
    # float64; sums of signed numbers taken as half of a sum and a difference: some digits of the smallest
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CONSERVING)
def test_without_a_bias_nothing_is_lost(name: str) -> None:
    layer = saved(normal(6, 9, seed=5), normal(8, 9, seed=6))
    R = normal(6, 8, seed=7)
    found = layer.x * RULES[name][0](R / layer.y, layer)
    torch.testing.assert_close(found.sum(-1), R.sum(-1), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_zeros_and_single_signs(name: str, dtype: torch.dtype) -> None:
    """No input, inputs that cancel, no weight, contributions of one sign: finite, and by the twin's rule."""
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [-1.0, 3.0], [1e-7, 1e-7]]).to(dtype)
    W = torch.tensor([[1.0, -1.0], [0.0, 0.0], [2.0, 3.0], [-1.0, 0.5], [1.0, 0.0]]).to(dtype)
    layer = saved(x, W)
    g = torch.ones_like(layer.y)
    found = RULES[name][0](g, layer)
    assert found.dtype == dtype
    assert torch.isfinite(found).all()
    R = layer.y.double()
    kept = (R != 0).double()  # where y is 0, R is 0, and the twin would divide 0 by 0
    rows = []
    for row in range(len(x)):  # one output at a time, those without relevance left out
        parts = [torch.zeros(1, 2, dtype=torch.float64)]
        for j in range(len(W)):
            if kept[row, j]:
                one = slice(j, j + 1)
                parts.append(
                    RULES[name][1](
                        R[row : row + 1, one],
                        x[row : row + 1].double(),
                        W[one].double(),
                        torch.zeros(1, dtype=torch.float64),
                    )
                )
        rows.append(torch.cat(parts).sum(0))
    expected = torch.stack(rows)
    # what is rounded: y to `dtype`, and what is handed on, each to a few units in the last place
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 8 * torch.finfo(dtype).eps)
    torch.testing.assert_close(x.double() * found.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_narrow_types_work_in_float32(name: str, dtype: torch.dtype) -> None:
    narrow = saved(normal(3, 8, seed=8).to(dtype), normal(5, 8, seed=9).to(dtype), normal(5).to(dtype))
    exact = saved(narrow.x.double(), narrow.weight.double(), narrow.bias.double())
    g = normal(3, 5, seed=10).to(dtype)
    expected = RULES[name][0](g.double(), exact)
    found = RULES[name][0](g, narrow)
    # epsilon's y is the rounded one, and its product is of `dtype`; eight summands
    bound = 20 * torch.finfo(dtype).eps * float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", RULES)
def test_a_weight_for_each_head_is_a_layer_for_each(name: str) -> None:
    x, W = normal(2, 3, 4, 6, seed=11), normal(3, 5, 6, seed=12)
    y = x @ W.mT
    R = normal(*y.shape, seed=13)
    found = RULES[name][0](R / y, rules.SavedLinear(x, W, None, y))
    for head in range(3):
        expected = RULES[name][0](R[:, head] / y[:, head], saved(x[:, head], W[head]))
        torch.testing.assert_close(found[:, head], expected, rtol=1e-9, atol=1e-11)


# --- a model of BERT's kind, written out ----------------------------------------------------------


@cache
def written_out(
    layers: int = 2, attention: str = "sdpa"
) -> tuple[nn.Module, oracles.Bert, Any, dict[str, Tensor]]:
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 20,
        "num_attention_heads": 2,
        "num_hidden_layers": layers,
    }
    model = make("bert", attention, **sizes)
    batch = inputs(model, (5,))
    twin = oracles.Bert(model.state_dict(), 2, model.config.layer_norm_eps)
    return model, twin, twin.forward(twin.embed(batch["input_ids"][0])), batch


def assert_same(found: Tensor, expected: Tensor) -> None:
    """To 1e-7 of the largest: R as relevance divides by sums that may be near 0, R as a gradient does not."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 * float(expected.abs().max()))


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", RULES)
def test_a_model_is_its_literal_version(name: str, attention: str) -> None:
    model, twin, trace, batch = written_out()
    found = attribute(model, batch, name, 1, attention=attention)
    seed = torch.tensor([0.0, 1.0, 0.0]).double()
    expected = twin.modern(trace, seed, attention_constant=attention == "cp_lrp", linear=RULES[name][1])
    assert_same(found.relevance[0], expected)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", ["epsilon:epsilon=0.0", "gamma:gamma=0.0"])
def test_without_a_rule_for_linear_layers_it_is_the_one_of_attention(name: str, attention: str) -> None:
    model, *_, batch = written_out()
    found = attribute(model, batch, f"{name},attention={attention}")
    assert torch.equal(found.scores, attribute(model, batch, attention).scores)


def test_small_options_are_near_to_none() -> None:
    model, *_, batch = written_out()
    expected = attribute(model, batch, "attnlrp").scores
    for name in ("epsilon:epsilon=1e-9", "gamma:gamma=1e-9"):
        found = attribute(model, batch, name).scores
        # of the order of 1e-9 over the smallest output of a layer
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
        assert not torch.equal(found, expected)


def through_gelu(R: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """By its derivative: R_in = x f'(x) R / f(x)."""
    slope = 0.5 * (1 + torch.erf(x / 2**0.5)) + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5
    return x * slope * R / y


def through_tanh(R: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x * (1 - y * y) * R / y


def tempered(R: Tensor, x: Tensor, s: Tensor, temperature: float) -> Tensor:
    soft = torch.exp(x / temperature) / torch.exp(x / temperature).sum(-1, keepdim=True)
    g = R / s
    return x * soft * (g - (soft * g).sum(-1, keepdim=True))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_gim_is_its_literal_version(temperature: float, attention: str) -> None:
    model, twin, trace, batch = written_out(2, attention)
    found = attribute(model, batch, "gim", 2, temperature=temperature)
    expected = twin.modern(
        trace,
        torch.tensor([0.0, 0.0, 1.0]).double(),
        attention_constant=False,
        gelu=through_gelu,
        tanh=through_tanh,
        softmax=partial(tempered, temperature=temperature),
    )
    assert_same(found.relevance[0], expected)
    assert found.relevance_sum is None  # it claims nothing
    assert found.biases is None


def test_libragrad_is_cp_lrp_but_for_the_tanh_of_the_pooler() -> None:
    model, twin, trace, batch = written_out()
    found = attribute(model, batch, "libragrad", 0)
    seed = torch.tensor([1.0, 0.0, 0.0]).double()
    assert_same(found.relevance[0], twin.modern(trace, seed, attention_constant=True, tanh=through_tanh))
    for family in ("distilbert", "modernbert", "albert"):
        other = shared_model(family, "sdpa")
        both = attribute(other, inputs(other), ["libragrad", "cp_lrp"])
        is_same = torch.equal(both["libragrad"].scores, both["cp_lrp"].scores)
        assert is_same == (family != "albert")  # which has a pooler with a tanh


# --- tables mixed by depth and by name ------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "constant"),
    [
        (0.0, [True, True, True]),
        (1.0, [False, True, True]),
        (0.5, [False, False, True]),
        (2.0, [False, False, True]),
        (0.99, [False, False, False]),
        (7.0, [False, False, False]),
    ],
)
def test_lower_layers_follow_attnlrp_and_upper_ones_cp_lrp(below: float, constant: list[bool]) -> None:
    model, twin, trace, batch = written_out(3)
    seed = torch.tensor([0.0, 1.0, 0.0]).double()
    found = attribute(model, batch, "mixed_lrp", 1, below=below)
    assert_same(found.relevance[0], twin.modern(trace, seed, attention_constant=constant))
    turned = attribute(model, batch, "mixed_lrp", 1, below=below, lower="cp_lrp", upper="attnlrp")
    expected = twin.modern(trace, seed, attention_constant=[not each for each in constant])
    assert_same(turned.relevance[0], expected)


@dataclass(frozen=True)
class OfTable(ModifiedGradient):
    """A method of one's own: a table."""

    name: ClassVar[str] = "own"
    summary: ClassVar[str] = "a table of one's own"
    source: ClassVar[str] = "here"

    table: Composite = CP_LRP

    @property
    def composite(self) -> Composite:
        return self.table


GAMMA = linear_lrp("gamma 0.5", rules.Gamma(0.5), "attnlrp")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("modules", "constant", "linear"),
    [
        ({"bert.encoder.layer.1": ATTN_LRP}, [True, False, True], ()),
        ({"*.layer.[02].attention.self": ATTN_LRP}, [False, True, False], ()),
        ({"*.layer.1": ATTN_LRP, "*.layer.1.attention": CP_LRP}, [True, True, True], ()),
        ({"*.layer.0": GAMMA}, [False, True, True], ("bert.encoder.layer.0.",)),
        ({"*.layer.2.intermediate": GAMMA}, [True] * 3, ("bert.encoder.layer.2.intermediate",)),
        ({"*.intermediate.dense": GAMMA, "*.pooler": GAMMA, "classifier": GAMMA}, [True] * 3,
         (*(f"bert.encoder.layer.{i}.intermediate" for i in range(3)), "bert.pooler", "classifier")),
    ],
)  # fmt: skip
def test_a_module_is_named(
    modules: dict[str, Composite], constant: list[bool], linear: tuple[str, ...], attention: str
) -> None:
    model, twin, trace, batch = written_out(3, attention)
    found = attribute(model, batch, OfTable(Mixed("own", below=0, modules=modules)), 1)
    twins = dict.fromkeys(linear, partial(oracles.favouring, gamma=0.5))
    seed = torch.tensor([0.0, 1.0, 0.0]).double()
    assert_same(found.relevance[0], twin.modern(trace, seed, attention_constant=constant, linear=twins))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_a_mixed_sweep_is_two_sweeps_one_behind_the_other(family: str, attention: str) -> None:
    """Down to the end of the first layer by one table, and on by the other: layers that share weights too."""
    model = shared_model(family, attention, working_dtype(family, attention))
    batch = inputs(model)
    found = attribute(model, batch, ["attnlrp", "mixed_lrp:below=1", "cp_lrp"], 1)
    forward = run(model, batch, [ATTN_LRP, CP_LRP], inside=True)
    seed = F.one_hot(torch.ones(3, dtype=torch.long), 3).to(forward.logits)
    edge = forward.inside.states[0].edge
    (above,) = forward.swept(CP_LRP, forward.logits, seed, [edge])
    expected = forward.embedding * forward.backward(ATTN_LRP, edge, above, forward.embedding)
    narrow = family == "deberta" or forward.logits.dtype == torch.float32
    bound = (1e-5 if narrow else 1e-12) * float(expected.detach().abs().max())
    mixed = found["mixed_lrp:below=1"]
    torch.testing.assert_close(mixed.relevance, expected.detach(), rtol=0, atol=bound)
    for other in ("attnlrp", "cp_lrp"):
        assert float((mixed.relevance - found[other].relevance).abs().max()) > 1e3 * bound


def test_mixed_tables_are_checked() -> None:
    model, *_, batch = written_out()
    with pytest.raises(UnknownNameError, match=r"unknown module of the model for own '\*.layers.0'"):
        attribute(model, batch, OfTable(Mixed("own", modules={"*.layers.0": CP_LRP})))
    for part in (released_lrp(0.5), GRADIENT, Mixed("inner")):
        with pytest.raises(UsageError, match=f"that are changed gradients.*found {part.name}"):
            Mixed("own", upper=part)
    with pytest.raises(UsageError, match=r"a number of layers, or a share of them below 1, found 1\.5"):
        attribute(model, batch, "mixed_lrp:below=1.5")
    toy = Toy()
    with pytest.raises(UnsupportedModelError, match=r"cannot be told apart: it has no attention.*attnlrp"):
        attribute(toy, {"input_ids": torch.arange(6).view(2, 3)}, "mixed_lrp")
    assert attribute(toy, {"input_ids": torch.arange(6).view(2, 3)}, "mixed_lrp", below=0).scores.any()


# --- every family ---------------------------------------------------------------------------------

SPECS = ["epsilon", "gamma", "alpha_beta", "alpha_beta:alpha=2.0", "mixed_lrp", "libragrad", "gim"]


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_families(family: str, attention: str) -> None:
    """Logits, padding, a batch and its rows, and books that hold what no token does."""
    model = shared_model(family, attention, working_dtype(family, attention))
    batch = inputs(model)
    with torch.no_grad():
        logits = model(**batch).logits
    narrow = family == "deberta" or logits.dtype == torch.float32
    specs = [f"{spec}{',' if ':' in spec else ':'}attention=cp_lrp" for spec in SPECS[:4]]
    together = attribute(model, batch, [*SPECS, *specs], 1)
    alone = {key: value[1:2, :6] for key, value in batch.items()}
    for name, found in together.items():
        assert torch.equal(found.logits, logits), name
        assert not found.scores[batch["attention_mask"] == 0].any(), name
        assert (found.scores[batch["attention_mask"] == 1] != 0).all(), name
        single = attribute(model, alone, name, 1).scores[0]
        # float64, or float32 inside DeBERTa's LayerNorm; alpha = 2 multiplies rounding with each layer
        bound = (1e-2 if narrow else 1e-8) * float(single.abs().max())
        torch.testing.assert_close(found.scores[1, :6], single, rtol=0, atol=bound)
        if "cp_lrp" in name:
            scale = max(1.0, float(found.relevance.abs().sum((1, 2)).max()))
            missing = found.relevance_sum + found.biases - found.output
            assert float(missing.abs().max()) < (1e-3 if narrow else 1e-10) * scale, name


@pytest.mark.parametrize(("family", "attention"), [case for case in CASES if case[1] == "eager"])
def test_without_biases_gamma_and_alpha_beta_hand_on_all(family: str, attention: str) -> None:
    model = make(family, attention, working_dtype(family, attention), biases=False)
    narrow = family == "deberta" or next(model.parameters()).dtype == torch.float32
    for name in ("gamma", "alpha_beta", "alpha_beta:alpha=2.0"):
        found = attribute(model, inputs(model), name, (0, 2), attention="cp_lrp")
        scale = max(1.0, float(found.relevance.abs().sum((1, 2)).max()))
        assert float((found.relevance_sum - found.output).abs().max()) < (1e-3 if narrow else 1e-10) * scale
        assert float(found.biases.abs().max()) < (1e-3 if narrow else 1e-10) * scale


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype: torch.dtype) -> None:
    for family in ("bert", "modernbert", "albert"):
        model = shared_model(family, "sdpa", dtype)
        for name, found in attribute(model, inputs(model), [*SPECS[:3], *SPECS[4:]]).items():
            assert torch.isfinite(found.scores).all(), name
            assert found.scores.dtype == torch.float32, name


def test_one_forward_pass_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model, *_, batch = written_out()
    names = ["attnlrp", "gi", "lrp", "epsilon", "gamma", "alpha_beta", "cp_lrp"]
    passes: list[int] = []
    handle = model.bert.embeddings.register_forward_hook(lambda *_: passes.append(1))
    together = attribute(model, batch, names)
    handle.remove()
    assert len(passes) == 1
    for name in names:
        alone = attribute(model, batch, name)
        torch.testing.assert_close(together[name].scores, alone.scores, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("epsilon:epsilon=-1.0", "expected epsilon of epsilon of at least 0, found -1"),
        ("gamma:gamma=-0.5", "expected gamma of gamma of at least 0, found -0.5"),
        ("alpha_beta:alpha=0.5", "expected alpha of alpha_beta of at least 1, found 0.5"),
        ("gamma:attention=rollout", "attention of gamma 'rollout'"),
    ],
)
def test_options_are_checked(spec: str, message: str) -> None:
    model, *_, batch = written_out()
    with pytest.raises(UsageError, match=message):
        attribute(model, batch, spec)
