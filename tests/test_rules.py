"""Each rule against a literal twin (`oracles`), and AttnLRP, CP-LRP and the released LRP as a whole."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import mpmath
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.activations import ACT2FN

import models
import oracles
from whybert import UnsupportedOperationError, attribute
from whybert.lrp import functions, operations, rules
from whybert.lrp.composites import ATTN_LRP, CP_LRP, GRADIENT, REFUSED, Composite, released_lrp

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
FUNCTIONS = {
    "gelu": operations.GELU,
    "gelu_tanh": operations.GELU_TANH,
    "relu": operations.RELU,
    "silu": operations.SILU,
    "tanh": operations.TANH,
}
POINTS = [0.0, 1e-300, 1e-30, 1e-8, 6e-8, 9.9e-5, 1.1e-4, 1e-3, 0.1, 0.5, 1.0, 2.5, 6.0, 20.0, 200.0, 6e4]


def points(dtype: torch.dtype) -> Tensor:
    return torch.tensor([sign * value for value in POINTS for sign in (1.0, -1.0)]).to(dtype)


# --- f(x) / x -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ratio_is_f_of_x_over_x(name: str, dtype: torch.dtype) -> None:
    function, x = FUNCTIONS[name], points(dtype)
    found = rules.ratio(torch.ones_like(x), rules.SavedElementwise(x, function.value(x), function))
    assert found.dtype == dtype
    assert torch.isfinite(found).all()
    expected = oracles.apply(oracles.RATIOS[name], x)
    # The ratio is between 0 and 1, computed in `dtype` in a few steps: 8 units in the last place of 1.
    # (0.044715 x^3 overflows to inf in half precision at 6e4, where tanh makes a 1 of it: no NaN.)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_ordinary_derivative(name: str) -> None:
    function = FUNCTIONS[name]
    x = torch.linspace(-5, 5, 101, dtype=torch.float64).requires_grad_()
    y = function.value(x)
    above = torch.randn_like(x)
    (expected,) = torch.autograd.grad(y, x, above)
    found = function.derivative(above, x.detach(), y.detach())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)  # the same formulas in float64


@settings(max_examples=50, deadline=None)
@given(st.floats(-50, 50), st.floats(-10, 10))
def test_ratio_hands_on_all_relevance(x: float, above: float) -> None:
    """x * (R * f(x)/x) = f(x) * R: nothing is lost in an element-wise function."""
    at = torch.tensor([x], dtype=torch.float64)
    for function in FUNCTIONS.values():
        y = function.value(at)
        passed = rules.ratio(
            torch.tensor([above], dtype=torch.float64), rules.SavedElementwise(at, y, function)
        )
        # GELU near -50 is a product with erfc of 1e-500 either way: absolute rounding of 1 + erf.
        torch.testing.assert_close(at * passed, y * above, rtol=1e-12, atol=1e-12)


# Functions of torch, what they take behind x, and the formula that says (f(x) - f(0)) / x in many digits.
FORMULAS: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "sigmoid": (torch.sigmoid, (), lambda x: 1 / (1 + mpmath.exp(-x))),
    "logsigmoid": (F.logsigmoid, (), lambda x: -mpmath.log1p(mpmath.exp(-x))),
    "softplus": (F.softplus, (), lambda x: mpmath.log1p(mpmath.exp(x))),
    "softplus of 3x": (F.softplus, (3.0, 1e9), lambda x: mpmath.log1p(mpmath.exp(3 * x)) / 3),
    "erf": (torch.erf, (), mpmath.erf),
    "erfc": (torch.erfc, (), mpmath.erfc),
    "ndtr": (torch.special.ndtr, (), mpmath.ncdf),
    "mish": (F.mish, (), lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x)))),
    "elu": (F.elu, (), lambda x: x if x > 0 else mpmath.expm1(x)),
    "elu, 0.3": (F.elu, (0.3,), lambda x: x if x > 0 else 0.3 * mpmath.expm1(x)),
    "selu": (F.selu, (), lambda x: SELU[0] * (x if x > 0 else SELU[1] * mpmath.expm1(x))),
    "celu, 2": (F.celu, (2.0,), lambda x: x if x > 0 else 2 * mpmath.expm1(x / 2)),
    "leaky_relu": (F.leaky_relu, (0.2,), lambda x: x if x > 0 else mpmath.mpf(0.2) * x),
    "prelu": (F.prelu, (torch.tensor([0.25]),), lambda x: x if x > 0 else x / 4),
    "hardtanh": (F.hardtanh, (), lambda x: min(max(x, -1), 1)),
    "relu6": (F.relu6, (), lambda x: min(max(x, 0), 6)),
    "clamp above 0": (torch.clamp, (0.25, 2.0), lambda x: min(max(x, 0.25), 2)),
    "clamp below 0": (torch.clamp, (-2.0, -0.5), lambda x: min(max(x, -2), -0.5)),
    "clamp_min": (torch.clamp_min, (-0.75,), lambda x: max(x, -0.75)),
    "clamp_max": (torch.clamp_max, (0.75,), lambda x: min(x, 0.75)),
    "hardswish": (F.hardswish, (), lambda x: x * min(max(x + 3, 0), 6) / 6),
    "hardsigmoid": (F.hardsigmoid, (), lambda x: min(max(x + 3, 0), 6) / 6),
    "softsign": (F.softsign, (), lambda x: x / (1 + abs(x))),
    "tanhshrink": (F.tanhshrink, (), lambda x: x - mpmath.tanh(x)),
    "softshrink": (F.softshrink, (), lambda x: mpmath.sign(x) * max(abs(x) - 0.5, 0)),
    "hardshrink": (F.hardshrink, (), lambda x: x if abs(x) > 0.5 else 0 * x),
    "threshold": (F.threshold, (0.5, 0.0), lambda x: x if x > 0.5 else 0 * x),
    "abs": (torch.abs, (), abs),
}
SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)


def elementwise(name: str, dtype: torch.dtype = torch.float64) -> operations.Elementwise:
    function, given, _ = FORMULAS[name]
    given = tuple(each.to(dtype) if isinstance(each, Tensor) else each for each in given)
    names, make = operations.ELEMENTWISE[function]
    return make(**dict(zip(names, given, strict=False)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_ratio_is_what_the_formula_says(name: str, dtype: torch.dtype) -> None:
    function, formula, x = elementwise(name, dtype), FORMULAS[name][2], points(dtype)
    x = x[x != 0.0]
    found = rules.ratio(torch.ones_like(x), rules.SavedElementwise(x, function.value(x), function))
    assert found.dtype == dtype
    with mpmath.workdps(400):  # 1e-300 beside 1
        at_zero = formula(mpmath.mpf(0))
        expected = [float((formula(mpmath.mpf(v)) - at_zero) / mpmath.mpf(v)) for v in x.tolist()]
    torch.testing.assert_close(
        found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=12 * torch.finfo(dtype).eps
    )
    assert math.isclose(function.at_zero, float(at_zero), abs_tol=1e-15)
    zero = torch.zeros(1, dtype=dtype)
    assert torch.isfinite(function.ratio(zero, function.value(zero))).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_the_ordinary_derivative_of_the_others(name: str) -> None:
    function, given, _ = FORMULAS[name]
    given = tuple(each.double() if isinstance(each, Tensor) else each for each in given)
    x = torch.linspace(-5, 5, 100, dtype=torch.float64).requires_grad_()
    y = function(x, *given)
    above = torch.randn_like(x)
    (expected,) = torch.autograd.grad(y, x, above)
    assert torch.equal(elementwise(name).value(x), y)
    assert torch.equal(elementwise(name).derivative(above, x.detach(), y.detach()), expected)


def test_identity_is_the_identity() -> None:
    R = torch.randn(3)
    assert rules.identity(R, rules.SavedElementwise(R, R, operations.TANH)) is R


@pytest.mark.parametrize("name", sorted(ACT2FN))
def test_every_activation_of_transformers_is_exact_or_refused(name: str) -> None:
    """Through the whole engine: an activation written out in parts gets f(x) / x or is refused, and its
    ordinary derivative is autograd's."""
    function = ACT2FN[name].double() if isinstance(ACT2FN[name], nn.Module) else ACT2FN[name]
    model = models.Toy(lambda x: function(model.dense(x)))
    ids = {"input_ids": torch.arange(12).view(2, 6)}
    ordinary = attribute(model, ids, "gi", 1)
    torch.testing.assert_close(
        ordinary.relevance, plain_gradient_times_input(model, ids, 1), rtol=1e-10, atol=1e-13
    )
    try:
        found = attribute(model, ids, "attnlrp", 1)
    except UnsupportedOperationError:
        assert name not in EXACT
        return
    x = model.dense(model.embeddings.words(ids["input_ids"])).detach()
    passed_by = OFFSET.get(name, lambda x: function(x) / x)(x)  # no x is near 0 here
    passed = (passed_by * model.head.weight[1] / 6) @ model.dense.weight
    expected = model.embeddings.words(ids["input_ids"]) * passed
    # float64, but the closed forms add 1 + erf where the quotient cancels for large negative x: 1e-10.
    torch.testing.assert_close(found.relevance, expected.detach(), rtol=1e-9, atol=1e-11)
    assert found.biases is not None
    torch.testing.assert_close(found.relevance_sum + found.biases, found.output, rtol=1e-9, atol=1e-11)


# These are not 0 at 0: what they pass on of each number, term by term.
_SCALE, _SHIFT = 0.282095 * math.sqrt(2.0), 0.707107
OFFSET: dict[str, Any] = {
    "sigmoid": lambda x: (x.sigmoid() - 0.5) / x,
    "sqrtsoftplus": lambda x: (F.softplus(x) - math.log(2.0)) / x / F.softplus(x).sqrt(),
    "laplace": lambda x: 0.5 * torch.erf((x - _SHIFT) / _SCALE) / (x - _SHIFT),
}
# Those that may not be refused.
EXACT = set(ACT2FN)


def plain_gradient_times_input(model: nn.Module, ids: dict[str, Tensor], target: int) -> Tensor:
    held: list[Tensor] = []
    handle = model.embeddings.register_forward_hook(lambda _m, _i, output: held.append(output))
    try:
        y = model(**ids).logits[:, target]
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(y.sum(), held[0])
    return (y[:, None, None] * gradient * held[0]).detach()


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("gelu_new", "gelu_tanh"),
        ("gelu_fast", "gelu_tanh"),
        ("gelu_python", "gelu"),
        ("quick_gelu", "quick_gelu"),
        ("silu", "silu"),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_composed_activations_at_zero_and_far_out(name: str, twin: str, dtype: torch.dtype) -> None:
    """f(x) / x of an activation written out as x * g(x), where a division would give 0 / 0."""
    function = ACT2FN[name]
    x = torch.tensor([0.0, 1e-30, -1e-30, 1e-7, -1e-7, 0.5, -0.5, 3.0, -3.0, 30.0, -30.0]).to(dtype)
    found = modified_derivative(function, x)
    assert torch.isfinite(found).all()
    # quick_gelu and gelu_* round inside: as above, a dozen units in the last place of 1; gelu_fast's and
    # gelu_python's own constants (0.7978845608, 1.41421) stand for sqrt(2 / pi) and sqrt(2) to 1e-10.
    tolerance = 16 * torch.finfo(dtype).eps + 1e-9
    torch.testing.assert_close(found.double(), oracles.apply(oracles.RATIOS[twin], x), rtol=0, atol=tolerance)


def modified_derivative(function: Any, x: Tensor) -> Tensor:
    """What the engine's AttnLRP hands to x for each number: 1 comes from above."""
    from whybert.interception import Interception

    leaf = x.clone().requires_grad_()
    mode = Interception([ATTN_LRP])
    mode.embedding = leaf
    inner = leaf.clone()  # inside, a leaf counts as a parameter, which is a constant
    with mode:
        y = function(inner)
    mode.sweep.composite = ATTN_LRP
    (passed,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
    return passed


# --- linear layers --------------------------------------------------------------------------------------


def saved_linear(rows: int, width: int, out: int, bias: bool, seed: int) -> tuple[Tensor, rules.SavedLinear]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, W, b, R = normal(rows, width), normal(out, width), normal(out) if bias else None, normal(rows, out)
    return R, rules.SavedLinear(x, W, b, F.linear(x, W, b))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 7), st.integers(1, 5), st.booleans(),
    st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0]),
)  # fmt: skip
def test_alpha_beta_by_the_number(
    rows: int, width: int, out: int, bias: bool, seed: int, alpha: float
) -> None:
    R, saved = saved_linear(rows, width, out, bias, seed)
    found = rules.WeightSignAlphaBeta(alpha)(R, saved)
    expected = oracles.alpha_beta(R, saved.x, saved.weight, saved.bias, alpha)
    # z- = z - z+ loses digits where it is small beside z+, and R / z- then passes them on; x W- n is a
    # difference (W n - W+ n).  That leaves a few eps times the largest such ratio, of the largest number.
    z_plus = F.linear(saved.x, saved.weight.clamp_min(0), None if bias is False else saved.bias.clamp_min(0))
    lost = float((z_plus.abs().max() + 1) / (saved.y - z_plus).abs().min().clamp_min(1e-7))
    largest = float(expected.abs().max() + 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=(1e-9 + 1e-14 * lost) * largest)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_alpha_beta_where_all_weights_have_one_sign(sign: float) -> None:
    """z- or z+ is then nothing but the stabiliser, and its part of the relevance goes nowhere."""
    R, saved = saved_linear(3, 5, 4, bias=False, seed=3)
    W = sign * saved.weight.abs()
    saved = rules.SavedLinear(saved.x, W, None, F.linear(saved.x, W))
    found = rules.WeightSignAlphaBeta(0.5)(R, saved)
    expected = oracles.alpha_beta(R, saved.x, W, None, 0.5)
    assert torch.isfinite(found).all()
    # W-^T n = W^T n - W+^T n with n = R / 1e-7: rounding of 1e-16 / 1e-7 is 1e-9 of the whole.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * float(expected.abs().max()))


def test_alpha_beta_keeps_the_sum_of_each_row() -> None:
    """Where a row's relevance has one sign, the rescaling makes it conservative up to the epsilon."""
    R, saved = saved_linear(4, 6, 5, bias=True, seed=8)
    found = rules.WeightSignAlphaBeta(0.5)(R.abs(), saved)
    torch.testing.assert_close(found.sum(-1), R.abs().sum(-1), rtol=1e-6, atol=0)
    assert (found >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_alpha_beta_in_narrow_types(dtype: torch.dtype) -> None:
    """It works in float32 inside; what remains is the rounding of what was saved."""
    R, saved = saved_linear(3, 8, 5, bias=True, seed=4)
    narrow = rules.SavedLinear(*(t.to(dtype) if t is not None else None for t in saved))
    found = rules.WeightSignAlphaBeta(0.5)(R.to(dtype), narrow)
    assert found.dtype == dtype
    exact = rules.SavedLinear(*(t.double() if t is not None else None for t in narrow))
    exact = exact._replace(y=F.linear(exact.x, exact.weight, exact.bias))
    expected = rules.WeightSignAlphaBeta(0.5)(R.to(dtype).double(), exact)
    # y was rounded to `dtype`, so z- = y - z+ is off by eps * |y| / |z-|: a few eps of the largest.
    torch.testing.assert_close(
        found.double(), expected, rtol=0, atol=20 * torch.finfo(dtype).eps * float(expected.abs().max())
    )


# --- LayerNorm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_with_a_constant_deviation(affine: bool) -> None:
    x = torch.randn(3, 7, dtype=torch.float64)
    weight = torch.rand(7, dtype=torch.float64) + 0.5 if affine else None
    bias = torch.randn(7, dtype=torch.float64) if affine else None
    y, mean, rstd = torch.native_layer_norm(x, (7,), weight, bias, 1e-5)
    above = torch.randn_like(x)
    found = rules.constant_deviation(above, rules.SavedLayerNorm(x, mean, rstd, weight, (7,)))
    # In terms of relevance: R_out = y * above comes in, R_in = x * found goes out.
    one = torch.ones(7, dtype=torch.float64) if weight is None else weight
    expected = oracles.normalisation(y * above, x, one, y, 1e-5)
    torch.testing.assert_close(x * found, expected, rtol=1e-11, atol=1e-13)  # rounding in float64


def test_layer_norm_over_two_dimensions() -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    weight = torch.rand(3, 4, dtype=torch.float64)
    _, mean, rstd = torch.native_layer_norm(x, (3, 4), weight, None, 1e-5)
    above = torch.randn_like(x)
    found = rules.constant_deviation(above, rules.SavedLayerNorm(x, mean, rstd, weight, (3, 4)))
    deviation = (x.var((1, 2), unbiased=False, keepdim=True) + 1e-5).sqrt()
    leaf = x.clone().requires_grad_()
    y = (leaf - leaf.mean((1, 2), keepdim=True)) / deviation * weight
    (expected,) = torch.autograd.grad(y, leaf, above)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


def test_a_layer_norm_written_out_gets_the_same_rule() -> None:
    """DeBERTa and others write (x - mean) / sqrt(variance + eps): power, root and quotient."""

    def fused(x: Tensor) -> Tensor:
        return F.layer_norm(x, (6,), eps=1e-5)

    def squared(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)

    def starred(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / ((centred**2).mean(-1, keepdim=True) + 1e-5) ** 0.5

    ids = {"input_ids": torch.arange(6).view(2, 3)}
    for method in ("attnlrp", "cp_lrp", "gi"):
        expected = attribute(models.Toy(fused), ids, method, 0).relevance
        for written_out in (squared, starred):
            found = attribute(models.Toy(written_out), ids, method, 0).relevance
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)  # rounding in float64


# --- composites -----------------------------------------------------------------------------------------


def test_composites_are_tables() -> None:
    assert dict(GRADIENT.table) == {}
    assert not GRADIENT.closed
    assert ATTN_LRP.closed
    assert ATTN_LRP.shares("attention_values") == (0.5, 0.5)
    assert CP_LRP.shares("attention_values") == (None, 1.0)
    assert CP_LRP.shares("product") == (0.5, 0.5)
    assert CP_LRP.rule("linear") is None
    assert released_lrp(0.25).rule("linear") == rules.WeightSignAlphaBeta(0.25)
    assert released_lrp(0.25).rule("convolution") is REFUSED
    with pytest.raises(TypeError):
        ATTN_LRP.table["linear"] = rules.identity  # type: ignore[index]


def test_total_share() -> None:
    composite = Composite("c", {"product": (0.5, 0.25), "attention_values": (0.5, None)})
    assert functions.total_share(None, (("product", 0),)) == 1.0
    assert functions.total_share(composite, (("product", 1),)) == 0.25
    assert functions.total_share(composite, (("attention_values", 0), ("product", 0))) == 0.25
    assert functions.total_share(composite, (("attention_values", 1), ("product", 0))) is None
    assert functions.total_share(composite, (("other", 0),)) == 1.0


@pytest.mark.parametrize(
    "product", [torch.mul, lambda a, b: a * b, lambda a, b: b.mul(a)], ids=["mul", "*", ".mul"]
)
def test_a_gate_hands_half_to_each_factor(product: Any) -> None:
    """(u . a)(v . b) of two tokens: half to each, which is also its Shapley value."""

    def body(x: Tensor) -> Tensor:
        return product(x[:, 0], x[:, 1])

    for method in ("attnlrp", "cp_lrp"):
        found = attribute(models.Toy(body), {"input_ids": torch.tensor([[7, 9], [3, 4]])}, method)
        torch.testing.assert_close(
            found.scores, found.output[:, None].expand(2, 2) / 2, rtol=1e-12, atol=1e-15
        )


# --- whole models ---------------------------------------------------------------------------------------

CASES = [("attnlrp", {}), ("cp_lrp", {}), ("lrp", {}), ("lrp", {"residual": "once"}), ("lrp", {"alpha": 0.8})]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("method", "options"), CASES, ids=str)
def test_tiny_bert_against_the_literal_twin(method: str, options: dict[str, Any], attention: str) -> None:
    """A padded batch with segments, explained at once; the twin explains each row without padding."""
    model = models.shared_model("bert", attention)
    lengths = (6, 3)
    batch = models.inputs(model, lengths)
    batch["token_type_ids"] = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0]])
    targets: list[Any] = [1, (2, 0)]
    found = attribute(model, batch, method, targets, **options)
    assert found.relevance is not None
    bert = oracles.Bert(model.state_dict(), model.config.num_attention_heads, model.config.layer_norm_eps)
    for row, length in enumerate(lengths):
        embedding = bert.embed(batch["input_ids"][row, :length], batch["token_type_ids"][row, :length])
        trace = bert.forward(embedding)
        seed = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]][row], dtype=torch.float64)
        if method == "lrp":
            expected = bert.released(
                trace, seed, residual=options.get("residual", "released"), alpha=options.get("alpha", 0.5)
            )
        else:
            expected = bert.modern(trace, seed, attention_constant=method == "cp_lrp")
        assert not found.relevance[row, length:].any()
        error = float((found.relevance[row, :length] - expected).norm() / expected.norm())
        # Both in float64; measured 1e-15 (modern) and 1e-13 (lrp, whose row sums nearly cancel).
        assert error < 1e-10, f"relative L2 error {error:.2e}"
        per_token = expected.abs().sum(-1) if method == "lrp" else expected.sum(-1)
        torch.testing.assert_close(found.scores[row, :length], per_token, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found.logits[row], trace.logits, rtol=1e-12, atol=1e-13)


def test_the_twins_conserve() -> None:
    """The twin itself: with zero biases CP-LRP's relevance is all of the logit (and the embedding's LayerNorm
    bias is no matter, E is what is explained)."""
    model = models.make("bert", biases=False)
    bert = oracles.Bert(model.state_dict(), 4, model.config.layer_norm_eps)
    trace = bert.forward(bert.embed(torch.tensor([5, 9, 12, 8])))
    seed = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    relevance = bert.modern(trace, seed, attention_constant=True)
    assert math.isclose(float(relevance.sum()), float(trace.logits[2]), rel_tol=1e-11)


def test_toy_has_no_hidden_nonlinearity() -> None:
    """The custom classifier of these tests is what it says: with no body, linear in the embeddings."""
    model = models.Toy()
    assert isinstance(model.config, SimpleNamespace)
    found = attribute(model, {"input_ids": torch.tensor([[7, 9, 2]])})
    torch.testing.assert_close(found.relevance_sum, found.output, rtol=1e-13, atol=0)
