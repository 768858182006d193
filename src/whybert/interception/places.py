"""Where in the model the operations of a forward pass were, for rules that differ from part to part."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from whybert.errors import UnknownNameError, UnsupportedModelError
from whybert.foreign import bare
from whybert.interception.graph import nodes_of
from whybert.lrp.composites import Composite, Mixed, Place
from whybert.lrp.functions import FUNCTIONS, Site, Sweep


@dataclass(slots=True)
class Call:
    """A call of a module: the numbers that autograd gave to the first node made in it, and after it."""

    module: str
    first: int
    end: int | None = None


@contextmanager
def modules_watched(model: nn.Module, composites: Iterable[Composite]) -> Iterator[list[Call]]:
    """Note the calls of the modules that some table is for, in order, in this thread.

    Raises UnknownNameError if there is no such module.
    """
    calls: list[Call] = []
    patterns = [
        (each.name, pattern) for each in composites if isinstance(each, Mixed) for pattern in each.modules
    ]
    if not patterns:
        yield calls
        return
    owner, waiting, handles = threading.get_ident(), list[Call](), []
    names = dict(bare(model).named_modules())
    for composite, pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UnknownNameError(f"module of the model for {composite}", pattern, filter(None, names))

    def entered(name: str) -> Any:
        def before(*_: Any) -> None:
            if threading.get_ident() == owner:
                waiting.append(Call(name, _next_node()))
                calls.append(waiting[-1])

        return before

    def left(*_: Any) -> None:
        if threading.get_ident() == owner:
            waiting.pop().end = _next_node()

    try:
        for name, module in names.items():
            if any(fnmatchcase(name, pattern) for _, pattern in patterns):
                handles.append(module.register_forward_pre_hook(entered(name), prepend=True))
                handles.append(module.register_forward_hook(left))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _next_node() -> int:
    """The number that autograd gives to the next node of this thread."""
    with torch._C.DisableTorchFunction(), torch.enable_grad():
        made = torch.zeros((), requires_grad=True).view(1).grad_fn
    assert made is not None
    return made._sequence_nr() + 1


def told_apart(
    logits: Tensor, sweep: Sweep, states: Sequence[GradientEdge], layers: int | None, calls: Sequence[Call]
) -> None:
    """Let every operation of a forward pass ask the sweep for its own place.

    Args:
        logits: of the pass.
        sweep: what its operations ask as yet.
        states: where the gradient of the states between layers arrives, from the bottom up.
        layers: how many there are; None if they cannot be told apart.
        calls: of modules that some table is for.
    """
    layer_of: dict[Any, int] = {}
    for number, edge in enumerate(states):
        for node in nodes_of(edge.node, layer_of):
            layer_of[node] = number
    sites: dict[Place, Site] = {}
    for node in nodes_of(logits.grad_fn):
        if getattr(node, "_forward_cls", None) in FUNCTIONS and getattr(node, "sweep", None) is sweep:
            number = node._sequence_nr()
            modules = tuple(
                c.module for c in calls if c.first <= number and (c.end is None or number < c.end)
            )
            place = Place(layer_of.get(node, len(states)), layers, modules)
            node.sweep = sites.setdefault(place, Site(sweep, place))


def check_layers(composites: Iterable[Composite], reason: str) -> None:
    """Refuse a table by depth where layers cannot be told apart, for a reason.

    Raises UnsupportedModelError.
    """
    for composite in composites:
        if reason and isinstance(composite, Mixed) and composite.by_depth:
            raise UnsupportedModelError(
                f"{composite.name} has other rules in other layers, and those of the model cannot be told "
                f"apart: {reason}; use another method, such as attnlrp"
            )
