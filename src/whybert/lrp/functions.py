"""The operations that rules are written for, as autograd functions.

Every operation that some method has a rule for runs as one of the `torch.autograd.Function`s below.  Which
rule applies is asked for when the backward pass arrives, so that one forward pass serves any number of
methods, one sweep each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from whybert.errors import UnsupportedOperationError
from whybert.lrp.operations import TANH, Elementwise
from whybert.lrp.rules import SavedElementwise, SavedLayerNorm, SavedLinear, SavedSoftmax, derivative

if TYPE_CHECKING:
    from whybert.lrp.composites import Composite, Place


class Sweep:
    """What one backward pass follows.  The functions below ask it when relevance reaches them.

    books: whether the relevance of constants is wanted too.
    is_moved: whether the rows of the batch may stand elsewhere than along the first axis of some tensor.
    is_scattered: whether they may stand anywhere there, such as those of the tokens that an expert is given.
    alone: the one row of the batch that is swept, to learn where rows stand; None where all are.
    """

    __slots__ = ("alone", "books", "composite", "is_moved", "is_scattered")

    def __init__(self) -> None:
        self.composite: Composite | None = None
        self.books = self.is_moved = self.is_scattered = False
        self.alone: int | None = None

    def rule(self, kind: str) -> Any:
        return None if self.composite is None else self.composite.rule(kind)


class Site:
    """A sweep as it is at a place in the model: its composite is what it has for that place."""

    __slots__ = ("place", "sweep")

    def __init__(self, sweep: Sweep, place: Place) -> None:
        self.sweep, self.place = sweep, place

    @property
    def composite(self) -> Composite | None:
        return None if self.sweep.composite is None else self.sweep.composite.at(self.place)

    @property
    def books(self) -> bool:
        return self.sweep.books

    @property
    def is_moved(self) -> bool:
        return self.sweep.is_moved

    @property
    def is_scattered(self) -> bool:
        return self.sweep.is_scattered

    @property
    def alone(self) -> int | None:
        return self.sweep.alone

    def rule(self, kind: str) -> Any:
        composite = self.composite
        return None if composite is None else composite.rule(kind)


# Undefined gradients stay None on their way down: an operand that is a constant for this sweep then
# costs nothing below it.
_Context = Any


class Result:
    """What a function returned, for its backward pass: the model may change it in place meanwhile."""

    __slots__ = ("_tensor", "_version")

    def __init__(self, y: Tensor) -> None:
        self._tensor, self._version = y.detach(), y._version  # y itself would be a reference cycle

    def value(self, again: Callable[[], Tensor]) -> Tensor:
        """As it was, computed `again` where it was changed."""
        return self._tensor if self._tensor._version == self._version else again()


class Linear(torch.autograd.Function):
    """y = x W^T + b, however the model spells it: `compute` says y, so that it is the model's own.

    books: see `booked`; None where nobody keeps them.  has_rule: whether some sweep has a rule for it, which
    needs x and y.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        compute: Callable[[], Tensor],
        has_rule: bool,
        books: Tensor | None,
        sweep: Sweep,
    ) -> Tensor:
        y = compute().data  # a view of something would bar the model from changing y in place
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x if has_rule else None, weight, bias)
        ctx.y = Result(y) if has_rule else None
        ctx.books, ctx.sweep = books, sweep
        return y

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return (None,) * 7
        x, weight, bias = ctx.saved_tensors
        rule: Callable[[Tensor, SavedLinear], Tensor] | None = ctx.sweep.rule("linear")
        if rule is None:
            passed = torch.matmul(relevance, weight)
            return passed, None, None, None, None, _share_of(bias, relevance, ctx), None

        def again() -> Tensor:
            y = torch.matmul(x, weight.mT)
            return y if bias is None else y + bias

        saved = SavedLinear(x, weight, bias, ctx.y.value(again))
        passed = rule(relevance, saved)
        return passed, None, None, None, None, _kept_by(saved.x, saved.y, relevance, passed, ctx), None


class Offset(torch.autograd.Function):
    """y = slope * x + constant, both of one shape, which `compute` says; the constant goes into the books."""

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        constant: Tensor,
        compute: Callable[[], Tensor],
        slope: float,
        books: Tensor,
        sweep: Sweep,
    ) -> Tensor:
        y = compute()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(constant)
        ctx.slope, ctx.books, ctx.sweep = slope, books, sweep
        return y

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return (None,) * 6
        passed = relevance if ctx.slope == 1.0 else relevance * ctx.slope
        return passed, None, None, None, _share_of(ctx.saved_tensors[0], relevance, ctx), None


def _share_of(constant: Tensor | None, relevance: Tensor, ctx: _Context) -> Tensor | None:
    """What a constant that was added takes of the relevance, for the books; None if nobody asks."""
    if constant is None or not _asks(relevance, ctx):
        return None
    return booked(relevance, constant, ctx)


def _kept_by(x: Tensor, y: Tensor, relevance: Tensor, passed: Tensor, ctx: _Context) -> Tensor | None:
    """What stays with an operation that follows a rule: with its bias, a stabiliser, or its value at 0."""
    if not _asks(relevance, ctx):
        return None
    kind = torch.promote_types(relevance.dtype, torch.float32)
    came, went = ((values.to(kind) * at.to(kind)).sum(-1) for values, at in ((relevance, y), (passed, x)))
    return _by_row(came - went, ctx)


def _asks(relevance: Tensor, ctx: _Context) -> bool:
    """Whether the sweep asks for the books; if it is to learn where rows stand, that is learned here."""
    if ctx.books is None or not ctx.sweep.books:
        return False
    if ctx.sweep.alone is None:
        return True
    rows = len(ctx.books) - 1
    places = []
    for axis, size in enumerate(relevance.shape):
        numbers = torch.arange(size, device=relevance.device)
        hit = (relevance != 0).movedim(axis, 0).reshape(size, -1).any(1)
        each = size // rows if size % rows == 0 else 0
        for is_minor in [False, True][:each]:
            own = (numbers % rows if is_minor else numbers // each) == ctx.sweep.alone
            if not bool((hit & ~own).any()):
                places.append((axis, is_minor))
    ctx.rows_at = [place for place in places if place in getattr(ctx, "rows_at", places)]
    return False


def booked(relevance: Tensor, constant: Tensor, ctx: _Context) -> Tensor:
    """The sum of relevance * constant, (rows + 1,): what a constant that was added takes of the relevance.

    relevance: in gradient form, of the shape to which the constant is broadcast.  rows: of the batch; the
    last entry is for what cannot be told which row it belongs to.
    """
    by_feature = constant.dim() == 1 and relevance.dim() > 1 and len(constant) == relevance.shape[-1]
    if by_feature and not relevance.is_complex():
        products = torch.matmul(relevance, constant)
    else:
        # Of a complex number autograd hands down the conjugate of the derivative.
        products = (relevance.conj() * constant).real if relevance.is_complex() else relevance * constant
        # A mask of -inf meets a gradient that is exactly 0.
        products = products.nan_to_num_(0.0, 0.0, 0.0)
    return _by_row(products.to(torch.promote_types(products.dtype, torch.float32)), ctx)


def _by_row(products: Tensor, ctx: _Context) -> Tensor:
    """Their sums for each row of the batch, and in a last entry of those whose row cannot be told.

    Rows stand along the first axis, each row's numbers side by side, unless something moved them.  Then they
    stand where the relevance of one row alone was seen to arrive: along an axis, side by side or (minor) one
    of each row in turn.
    """
    rows = len(ctx.books) - 1
    share = products.new_zeros(rows + 1)
    places: list[tuple[int, bool]] = getattr(ctx, "rows_at", []) if ctx.sweep.is_moved else [(0, False)]
    axis, is_minor = places[0] if len(places) == 1 else (products.dim(), False)
    size = products.shape[axis] if axis < products.dim() else 0
    if rows == 1:
        share[0] = products.sum()
    elif size and size % rows == 0 and not ctx.sweep.is_scattered:
        sums = products.movedim(axis, 0).reshape(size, -1).sum(1)
        share[:rows] = sums.view(-1, rows).sum(0) if is_minor else sums.view(rows, -1).sum(1)
    else:
        share[rows] = products.sum()
    return share


class Activation(torch.autograd.Function):
    """y = f(x).  What f adds at 0 is a constant, which goes into the books: sigmoid(x) = 1/2 + x r(x)."""

    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, function: Elementwise, kind: str, books: Tensor | None, sweep: Sweep
    ) -> Tensor:
        y = function.value(x)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        ctx.y, ctx.function, ctx.kind = Result(y), function, kind
        ctx.books, ctx.sweep = books, sweep
        return y

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return (None,) * 5
        (x,) = ctx.saved_tensors
        y = ctx.y.value(lambda: ctx.function.value(x))
        rule: Callable[[Tensor, SavedElementwise], Tensor] | None = ctx.sweep.rule(ctx.kind)
        if rule is None:
            return ctx.function.derivative(relevance, x, y), None, None, None, None
        composite = ctx.sweep.composite
        if not (composite.as_gradient or ctx.function.is_gated or ctx.function is TANH):
            # R handed on as it is would not be the same in each spelling of a function that adds a constant.
            raise UnsupportedOperationError(ctx.function.name, composite.name)
        passed = rule(relevance, SavedElementwise(x, y, ctx.function))
        return passed, None, None, _kept_by(x, y, relevance, passed, ctx), None


class ComposedActivation(torch.autograd.Function):
    """a * b where a = scale * x and b = g(x): the activation x -> scale * x * g(x), written out.

    Its f(x) / x is scale * b, with no division.  The ordinary derivative goes to a and b, a rule's
    relevance straight to x.
    """

    @staticmethod
    def forward(ctx: _Context, a: Tensor, b: Tensor, x: Tensor, scale: float, sweep: Sweep) -> Tensor:
        y = a * b
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(a, b, x, y)
        ctx.scale, ctx.sweep = scale, sweep
        return y

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return None, None, None, None, None
        a, b, x, y = ctx.saved_tensors
        rule: Callable[[Tensor, SavedElementwise], Tensor] | None = ctx.sweep.rule("activation")
        if rule is None:
            return relevance * b, relevance * a, None, None, None
        scale = ctx.scale
        function = Elementwise("x * g(x)", _unused, _unused, lambda _x, _y: b * scale, is_gated=True)
        return None, None, rule(relevance, SavedElementwise(x, y, function)), None, None


def _unused(*_: Tensor) -> Tensor:
    raise AssertionError("only the ratio of a composed activation is ever asked for")


class InnerFunction(torch.autograd.Function):
    """g(x) on its way into a composed activation or, as 1 / g(x), into a quotient.

    No relevance may arrive here by another way where there is a rule: for `kind`, or for activations or
    quotients without one.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        function: Callable[[Tensor], Tensor],
        name: str,
        kind: str | None,
        sweep: Sweep,
    ) -> Tensor:
        with torch.enable_grad():
            inner = x.detach().requires_grad_(True)
            y = function(inner)
        ctx.set_materialize_grads(False)
        ctx.inner, ctx.outer, ctx.operation, ctx.kind, ctx.sweep = inner, y, name, kind, sweep
        return y.detach()

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return (None,) * 5
        composite = ctx.sweep.composite
        kinds = (ctx.kind,) if ctx.kind else ("activation", "quotient")
        if composite is not None and composite.closed and any(map(composite.rule, kinds)):
            raise UnsupportedOperationError(ctx.operation, composite.name)
        (passed,) = torch.autograd.grad(
            ctx.outer, ctx.inner, relevance, retain_graph=True, create_graph=torch.is_grad_enabled()
        )
        return passed, None, None, None, None


class LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        shape: tuple[int, ...],
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        books: Tensor | None,
        sweep: Sweep,
    ) -> Tensor:
        y, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, eps)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        ctx.shape, ctx.books, ctx.sweep = shape, books, sweep
        return y

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return (None,) * 7
        x, mean, rstd, weight, bias = ctx.saved_tensors
        rule: Callable[[Tensor, SavedLayerNorm], Tensor] | None = ctx.sweep.rule("layer_norm")
        if rule is None:
            passed, _, _ = torch.ops.aten.native_layer_norm_backward(
                relevance, x, ctx.shape, mean, rstd, weight, None, [True, False, False]
            )
        else:
            passed = rule(relevance, SavedLayerNorm(x, mean, rstd, weight, ctx.shape))
        return passed, None, None, None, None, _share_of(bias, relevance, ctx), None


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        shape: tuple[int, ...],
        weight: Tensor | None,
        eps: float | None,
        sweep: Sweep,
    ) -> Tensor:
        dimensions = tuple(range(-len(shape), 0))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, (wide.square().mean(dimensions, keepdim=True) + eps).rsqrt(), weight)
        ctx.shape, ctx.dimensions, ctx.sweep = shape, dimensions, sweep
        y: Tensor = torch.rms_norm(x, shape, weight, eps)
        return y

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return (None,) * 5
        x, rrms, weight = ctx.saved_tensors
        rule: Callable[[Tensor, SavedLayerNorm], Tensor] | None = ctx.sweep.rule("layer_norm")
        if rule is not None:
            passed = rule(relevance, SavedLayerNorm(x, None, rrms, weight, ctx.shape))
        else:
            scaled = relevance if weight is None else relevance * weight
            passed = rrms * (scaled - x * rrms**2 * (scaled * x).mean(ctx.dimensions, keepdim=True))
        return passed.to(relevance.dtype), None, None, None, None


class Softmax(torch.autograd.Function):
    """y = softmax(x) over `axis`, as `compute` says it."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, compute: Callable[[], Tensor], axis: int, sweep: Sweep) -> Tensor:
        y = compute()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y)
        ctx.axis, ctx.sweep = axis, sweep
        return y

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        if relevance is None:
            return (None,) * 4
        x, y = ctx.saved_tensors
        rule: Callable[[Tensor, SavedSoftmax], Tensor] | None = ctx.sweep.rule("softmax")
        passed = (rule or derivative)(relevance, SavedSoftmax(x, y, ctx.axis))
        return passed.to(x.dtype), None, None, None


class Either(torch.autograd.Function):
    """What an `autograd.Function` of the model's returned, and the same as the operations inside made it.

    A sweep by rules follows these operations; the gradient follows the derivative that the function defines.
    """

    @staticmethod
    def forward(ctx: _Context, own: Tensor, inside: Tensor, sweep: Sweep) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.sweep = sweep
        return own.detach()  # whose version tells if the model changes it in place

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        composite = ctx.sweep.composite
        by_rules = composite is not None and composite.closed
        return (None, relevance, None) if by_rules else (relevance, None, None)


class Valued(torch.autograd.Function):
    """x, with the value that the model's own operation has in its place."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, value: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        return value.data  # a view of it would bar the model from changing it in place

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        return relevance, None


class Share(torch.autograd.Function):
    """The identity, whose backward pass multiplies by a share that depends on the sweep's composite.

    positions: (kind, operand) pairs; the share is the product of theirs.
    """

    @staticmethod
    def forward(ctx: _Context, x: Tensor, positions: tuple[tuple[str, int], ...], sweep: Sweep) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.positions, ctx.sweep = positions, sweep
        return x.view_as(x)

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        share = total_share(ctx.sweep.composite, ctx.positions)
        if relevance is None or share is None:
            return None, None, None
        return relevance if share == 1.0 else relevance * share, None, None


class Weighed(torch.autograd.Function):
    """y, constants weighed by attention: where its weights are constants as well, the books hold all of y."""

    @staticmethod
    def forward(ctx: _Context, y: Tensor, books: Tensor | None, sweep: Sweep) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y)
        ctx.books, ctx.sweep = books, sweep
        return y.view_as(y)

    @staticmethod
    def backward(ctx: _Context, relevance: Tensor | None) -> tuple[Tensor | None, ...]:
        composite = ctx.sweep.composite
        if relevance is None or composite is None or composite.shares("attention_values")[0] is not None:
            return relevance, None, None
        return None, _share_of(ctx.saved_tensors[0], relevance, ctx), None


def total_share(composite: Composite | None, positions: tuple[tuple[str, int], ...]) -> float | None:
    """The product of the shares at `positions`, None if one of them makes the operand a constant."""
    if composite is None:
        return 1.0
    shares = [composite.shares(kind)[operand] for kind, operand in positions]
    return None if None in shares else math.prod(share for share in shares if share is not None)


FUNCTIONS: Final = (
    Activation,
    ComposedActivation,
    Either,
    InnerFunction,
    LayerNorm,
    Linear,
    Offset,
    RMSNorm,
    Share,
    Softmax,
    Valued,
    Weighed,
)
