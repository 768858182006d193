"""The layers of a model, told by its forward pass: modules that take hidden states through one attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from whybert.anatomy import hooked
from whybert.errors import UnsupportedModelError
from whybert.foreign import bare, kind_of
from whybert.interception.calls import mapped, tensors_in
from whybert.interception.mode import Interception
from whybert.interception.running import run


@dataclass(eq=False)
class _Call:
    """A call of a module.  attentions: kept before it."""

    module: nn.Module
    attentions: int
    hidden: Tensor | None
    output: Tensor | None = None
    inner: list[_Call] = field(default_factory=list)


def find_layers(
    model: nn.Module, inputs: Mapping[str, Tensor], at: Callable[[Tensor], Tensor] | None = None
) -> tuple[nn.Module, ...]:
    """Run the model, and tell its layers in the order in which they are called.

    They are the largest modules that take hidden states (batch, positions, hidden) through exactly one
    attention; each reads what the one before returns.  One that is called again is there again.

    Raises UnsupportedModelError where they cannot be told.
    """
    top = _Call(model, 0, None)
    open_calls = [top]

    @contextmanager
    def within(mode: Interception) -> Iterator[None]:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            hidden = next(_hidden_in(mode, (args, kwargs)), None)
            open_calls.append(_Call(module, len(mode.trace.kept), hidden))

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            call, found = open_calls.pop(), None
            if call.hidden is not None and len(mode.trace.kept) == call.attentions + 1:
                found = next((y for y in _hidden_in(mode, output) if y.shape == call.hidden.shape), None)
            call.output = found
            open_calls[-1].inner += call.inner if found is None else [call]

        with nothing_saved(), hooked(bare(model).modules(), before, after):
            yield

    forward = run(model, inputs, (), attention=True, at=at, within=within)
    calls = top.inner
    reason = forward.untraceable
    if reason is None and (not calls or len(calls) != len(forward.attention)):
        reason = "its attention does not stand in modules that take and return hidden states, one in each"
    for call, following in pairwise(calls):
        if reason is None and not same(call.output, following.hidden):
            reason = f"what a {type(following.module).__name__} reads is not what the one before it returns"
    if reason is not None:
        raise UnsupportedModelError(
            f"the layers of {kind_of(model)} cannot be told apart: {reason}; use another method, such as "
            "attnlrp"
        )
    return tuple(call.module for call in calls)


def nothing_saved() -> saved_tensors_hooks:
    """Autograd's graph tells what descends from what; in this block it keeps no numbers for a sweep."""
    return saved_tensors_hooks(lambda tensor: None, lambda kept: kept)


def same(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether the two are one tensor or hold the same numbers."""
    return a is b or (a is not None and b is not None and torch.equal(a.detach(), b.detach()))


def _hidden_in(mode: Interception, value: Any) -> Iterator[Tensor]:
    """The tensors (batch, positions, hidden) among a module's arguments or results that are tracked."""
    for tensor in tensors_in(value):
        if tensor.dim() == 3 and tuple(tensor.shape[:2]) == mode.trace.size and mode.tracked(tensor):
            yield tensor


@contextmanager
def at_layers(
    mode: Interception,
    layers: Sequence[nn.Module],
    before: Callable[[Tensor], Tensor],
    after: Callable[[Tensor], None],
) -> Iterator[None]:
    """Change what each layer reads, and look at what it returns.

    before: from the hidden states that a layer is handed to those that it reads instead.
    after: is told the hidden states that a layer returns.
    """

    def change(module: nn.Module, args: Any, kwargs: Any) -> Any:
        hidden = next(_hidden_in(mode, (args, kwargs)))
        changed = before(hidden)
        return mapped((args, kwargs), lambda tensor: changed if tensor is hidden else tensor)

    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        after(next(_hidden_in(mode, output)))

    with hooked(set(layers), change, look):
        yield
