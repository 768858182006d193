"""What stands in the tables of linear operations is linear, and what functions of a model hide is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import Toy, inputs
from whybert import UnsupportedOperationError, attribute
from whybert.errors import ModelError
from whybert.interception.calls import name_of
from whybert.lrp import operations as ops

# --- what stands in the table is linear ---------------------------------------------------------------------

PLACES = torch.tensor([[[1], [0]], [[2], [1]]]).expand(2, 2, 4)
SHAPE = (2, 3, 4)

# By name: the arguments behind the operand, if there are any; and the operand's shape, if it is another.
SETTINGS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "adaptive_avg_pool1d": ((2,), {}),
    "adaptive_avg_pool2d": ((2,), {}),
    "avg_pool1d": ((2,), {}),
    "avg_pool2d": ((2,), {}),
    "broadcast_to": (((5, *SHAPE),), {}),
    "cumsum": ((1,), {}),
    "dsplit": ((2,), {}),
    "flip": (((1,),), {}),
    "fold": (((3, 4), (1, 1)), {}),
    "hsplit": (([1],), {}),
    "interpolate": ((), {"scale_factor": 2}),
    "masked_select": ((torch.arange(24).view(SHAPE) % 2 == 0,), {}),
    "pixel_shuffle": ((2,), {}),
    "pixel_unshuffle": ((2,), {}),
    "roll": ((1, 1), {}),
    "sum_to_size": ((1, 3, 4), {}),
    "take": ((torch.tensor([3, 1, 3]),), {}),
    "take_along_dim": ((PLACES, 1), {}),
    "tensor_split": (([1],), {"dim": 1}),
    "tile": (((1, 2, 1),), {}),
    "upsample": ((), {"scale_factor": 2}),
    "vsplit": (([1],), {}),
    "unfold": ((1, 2, 1), {}),
}
SHAPES: dict[str, tuple[int, ...]] = {
    "diag": (3, 3),
    "trace": (3, 3),
    "pixel_shuffle": (1, 4, 2, 2),
    "pixel_unshuffle": (1, 1, 4, 4),
    "view_as_complex": (3, 4, 2),
    "fold": (2, 3, 12),
}
VIEWS = {torch.take_along_dim, torch.view_as_complex, torch.view_as_real}
COMPLEX = ("imag", "view_as_real", "hfft")


def called(function: Any, x: Tensor) -> list[Tensor]:
    name = function.__name__
    given, named = SETTINGS.get(name, ((), {}))
    if function is F.unfold:
        given, x = ((1, 2),), x[:, None]
    y = function(x, *given, **named)
    return list(y) if isinstance(y, tuple | list) else [y]


def operand(function: Any, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    name = function.__self__.__name__ if function.__name__ == "__get__" else function.__name__
    kind = torch.complex128 if name in COMPLEX else torch.float64
    return torch.randn(SHAPES.get(name, SHAPE), dtype=kind, generator=generator)


@pytest.mark.filterwarnings("ignore:`nn.functional.upsample` is deprecated")
@pytest.mark.parametrize("function", sorted(ops.MIXING | VIEWS, key=name_of), ids=name_of)
def test_what_mixes_positions_is_linear(function: Any) -> None:
    """f(2 x - 3 z) = 2 f(x) - 3 f(z), so that f(0) = 0 and no constant is left out of the books."""
    x, z = operand(function, 1), operand(function, 2)
    together = called(function, 2 * x - 3 * z)
    for whole, of_x, of_z in zip(together, called(function, x), called(function, z), strict=True):
        torch.testing.assert_close(whole, 2 * of_x - 3 * of_z, rtol=1e-12, atol=1e-12)
        assert whole.abs().max() > 0


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.5


RESTATED: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "bilinear": ((numbers(2, 3, 4), numbers(2, 3, 5, seed=1), numbers(6, 4, 5, seed=2), numbers(6)), {}),
    "glu": ((numbers(2, 6),), {"dim": 1}),
    "group_norm": ((numbers(2, 6, 4), 3, numbers(6, seed=1), numbers(6, seed=2)), {"eps": 1e-3}),
    "lerp": ((numbers(2, 3), numbers(2, 3, seed=1), numbers(3, seed=2)), {}),
    "addcmul": ((numbers(2, 3), numbers(2, 3, seed=1), numbers(3, seed=2)), {"value": -0.5}),
    "addcdiv": ((numbers(2, 3), numbers(2, 3, seed=1), numbers(3, seed=2)), {"value": -0.5}),
}


@pytest.mark.parametrize("function", sorted(ops.RESTATED, key=name_of), ids=name_of)
def test_what_is_restated_is_the_same(function: Any) -> None:
    given, named = RESTATED[function.__name__]
    torch.testing.assert_close(function(*given, **named), ops.RESTATED[function](*given, **named))


def test_a_product_of_two_activations_is_halved_in_every_spelling() -> None:
    """x and x W by the same weights: a gate, a bilinear form with a unit weight, an einsum of three."""
    ones = torch.ones(6, dtype=torch.float64)
    unit = torch.diag_embed(torch.eye(6, dtype=torch.float64))
    bodies: dict[str, Callable[[Tensor], Tensor]] = {
        "product": lambda x: x.tanh() * x.roll(1, -1),
        "bilinear": lambda x: F.bilinear(x.tanh(), x.roll(1, -1), unit),
        "einsum": lambda x: torch.einsum("bsi,bsi,i->bsi", x.tanh(), x.roll(1, -1), ones),
        "addcmul": lambda x: torch.addcmul(torch.zeros_like(x), x.tanh(), x.roll(1, -1)),
        "lerp": lambda x: torch.lerp(torch.zeros_like(x), x.tanh(), x.roll(1, -1)),
    }
    found = {name: attribute(Toy(body), inputs(Toy()), "attnlrp", 1) for name, body in bodies.items()}
    for name, each in found.items():
        torch.testing.assert_close(each.relevance, found["product"].relevance, msg=name)
        assert each.biases is not None
        torch.testing.assert_close(each.scores.sum(1) + each.biases, each.output, msg=name)
    with pytest.raises(UnsupportedOperationError, match="einsum"):  # the shares of three are not known
        attribute(Toy(lambda x: torch.einsum("bsi,bsi,bsi->bsi", x, x + 1, x + 2)), inputs(Toy()), "attnlrp")


# --- functions with a derivative of their own ---------------------------------------------------------------


class OwnGelu(torch.autograd.Function):
    """An activation whose derivative is another: half of what it is handed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 0.5 * (1.0 + torch.erf(x / 2.0**0.5))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 0.5 * gradients[0]


class OwnDense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] @ ctx.saved_tensors[0], None, None


class Rounded(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


WEIGHT = torch.linspace(-1.0, 1.0, 36, dtype=torch.float64).view(6, 6)
BIAS = torch.linspace(0.0, 1.0, 6, dtype=torch.float64)


def test_rules_follow_what_a_function_computes_and_the_gradient_its_derivative() -> None:
    batch = inputs(Toy())
    own = Toy(lambda x: OwnGelu.apply(OwnDense.apply(x, WEIGHT, BIAS)))
    plain = Toy(lambda x: F.gelu(F.linear(x, WEIGHT, BIAS)))
    for methods in (["attnlrp"], ["gi", "attnlrp", "cp_lrp"]):  # alone, and beside the gradient
        found, expected = attribute(own, batch, methods, 1), attribute(plain, batch, methods, 1)
        for method in methods:
            if method != "gi":
                torch.testing.assert_close(found[method].relevance, expected[method].relevance)
                torch.testing.assert_close(found[method].biases, expected[method].biases)
    by_half = Toy(lambda x: 0.5 * OwnDense.apply(x, WEIGHT, BIAS))
    half, whole = (attribute(model, batch, "gs", 1) for model in (by_half, own))
    ratio = whole.output / half.output  # `gs` is the gradient times the output
    torch.testing.assert_close(found["gi"].relevance, attribute(own, batch, "gi", 1).relevance)
    torch.testing.assert_close(whole.relevance, half.relevance * ratio[:, None, None])


@pytest.mark.parametrize(
    "body",
    [
        Rounded.apply,
        lambda x: OwnGelu.apply(x).mul_(2.0),
        lambda x: (lambda y: (y.add_(1.0), y)[1])(OwnGelu.apply(x)),
        lambda x: (lambda y: (y.view(-1).mul_(2.0), y)[1])(OwnGelu.apply(x)),
    ],
)
def test_what_a_function_hides_is_refused_or_right(body: Callable[[Tensor], Tensor]) -> None:
    """Steps have no rule; a result that is changed in place is followed or refused."""
    model, batch = Toy(body), inputs(Toy())
    with torch.no_grad():
        expected = model(**batch).logits
    assert torch.equal(attribute(model, batch, "gi", 1).logits, expected)
    try:
        found = attribute(model, batch, "cp_lrp", 1)
    except ModelError:
        return
    assert torch.equal(found.logits, expected)
    torch.testing.assert_close(found.scores.sum(1) + found.biases, found.output)


def test_numbers_under_no_grad_stay_lost() -> None:
    def body(x: Tensor) -> Tensor:
        with torch.no_grad():
            gate = x * 0.5 + 1.0
        return x * gate

    for method in ("gi", "attnlrp"):
        with pytest.raises(UnsupportedOperationError, match="cuts the gradient off"):
            attribute(Toy(body), inputs(Toy()), method)


# --- an activation of what is an element-wise function itself -----------------------------------------------

STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "bias": lambda x: x + BIAS,
    "number": lambda x: 0.5 - x,
    "factor": lambda x: 3.0 * x,
    "factors": lambda x: x * BIAS,
    "matrix and bias": lambda x: x @ WEIGHT.T + BIAS,
    "tanh": torch.tanh,
    "in place": lambda x: x.clone().add_(BIAS),
    "view": lambda x: (x + BIAS).view(-1, 6).view(x.shape),
    "activation": lambda x: x * torch.sigmoid(x) + BIAS,
}
WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "gelu": (lambda x: x * 0.5 * (1.0 + torch.erf(x / 2.0**0.5)), F.gelu),
    "silu": (lambda x: x * torch.sigmoid(x), F.silu),
    "silu of a copy": (lambda x: x.clone() * torch.sigmoid(x), F.silu),
    "silu and a copy": (lambda x: x * torch.sigmoid(x.clone()), F.silu),
    "silu of two copies": (lambda x: torch.sigmoid(x.clone()) * x.clone(), F.silu),
    "silu, a quotient of a copy": (lambda x: x.clone() / (1.0 + torch.exp(-x)), F.silu),
    "silu, a quotient": (lambda x: x / (1.0 + torch.exp(-x)), F.silu),
    "gelu_tanh": (
        lambda x: 0.5 * x * (1.0 + torch.tanh((2.0 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        lambda x: F.gelu(x, approximate="tanh"),
    ),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("step", STEPS)
def test_an_activation_written_out_is_one_of_what_it_is_given(step: str, written: str) -> None:
    """x g(x) is the activation of x, whatever x itself is an element-wise function of."""
    out, called = WRITTEN[written]
    found, expected = (
        attribute(Toy(lambda x, f=f: f(STEPS[step](x))), inputs(Toy()), "attnlrp", 1) for f in (out, called)
    )
    torch.testing.assert_close(found.relevance, expected.relevance, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.biases, expected.biases, rtol=1e-10, atol=1e-12)
