"""A model's forward pass under the mechanism."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function

from whybert.anatomy import embedding_block, failures, hooked, logits_of, word_embeddings
from whybert.black_box import Absent, TextModel, check_has_inside
from whybert.errors import UnsupportedModelError
from whybert.foreign import ForeignModel, bare, kind_of, point_of
from whybert.interception.calls import mapped
from whybert.interception.forward import ForwardPass
from whybert.interception.mode import Interception
from whybert.interception.notes import LOST, noted
from whybert.interception.places import check_layers, modules_watched, told_apart
from whybert.lrp.composites import Composite
from whybert.lrp.functions import Sweep
from whybert.points import joined
from whybert.positions import embedding_in, standing
from whybert.quantised import dense, is_linear, linear_layer, quantised_layers, refused


def run(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    composites: Iterable[Composite],
    *,
    attention: bool = False,
    sub_layers: bool = False,
    inside: bool = False,
    at: Callable[[Tensor], Tensor] | None = None,
    of_words: Callable[[Tensor], Tensor] | None = None,
    kind: Callable[..., Interception] = Interception,
    within: Callable[[Interception], AbstractContextManager[Any]] = nullcontext,
) -> ForwardPass:
    """Run `model(**inputs)` under an `Interception` and return what its sweeps need.

    The logits are those of the plain model on the same inputs.  Without composites and attention no graph is
    built.

    attention, sub_layers, inside: what is kept besides, see `Interception`.
    at: a change of the embedding (batch, positions, hidden) at the cut, such as noise or a point on the way
        to a baseline; the leaf is what it returns.
    of_words: a change of the vectors that are looked up in the table of words.
    kind: of the mode, made with what an `Interception` is made with.
    within: from the mode to what the pass is to run in, such as hooks that ask it.

    A function of texts (`TextModel`) is only asked: it has no embedding.

    Raises UnsupportedModelError and UnsupportedOperationError.
    """
    listed = list(composites)
    if isinstance(model, TextModel):
        check_has_inside(model, {"this": bool(listed) or attention or sub_layers or inside or at is not None})
        with failures(model, inputs):
            logits = logits_of(model(**inputs), model, len(inputs["input_ids"]))
        return ForwardPass(cast(Tensor, Absent(model.name)), logits, Sweep())
    words = getattr(word_embeddings(model), "weight", None)
    point, asked_first = point_of(model), None
    if point is not None and len(point.parts) > 1:
        with failures(model, inputs):
            asked_first = joined(model, inputs, point, words, of_words)
    mode = kind(
        listed,
        attention=attention,
        sub_layers=sub_layers,
        inside=inside,
        inputs=inputs.values(),
        words=words,
        ids=inputs.get("input_ids"),
        point=point,
        joined=asked_first,
        at=at,
        of_words=of_words,
    )
    if asked_first is not None:
        mode.cut(asked_first.embedding)
    with (
        modules_watched(model, mode.composites) as calls,
        failures(model, inputs),
        torch.set_grad_enabled(mode.needs_graph),
        _cut_at_embedding(model, mode),
        _quantised_as_linear(model, mode),
        within(mode),
        mode,
    ):
        output = model(**inputs)
    logits = logits_of(output, model, len(inputs.get("input_ids", next(iter(inputs.values())))))
    with torch.set_grad_enabled(mode.needs_graph):
        logits = mode.seen(logits)
    if mode.embedding is None:
        raise UnsupportedModelError(f"{kind_of(model)} did not come by its attribution point")
    if mode.drawn is not None and at is None and of_words is None:
        _check_repeats(model, inputs, logits.detach(), mode.drawn)
    if mode.composites and not mode.tracked(logits) and noted(logits, LOST):
        raise mode._lost(noted(logits, LOST))
    if mode.composites and not mode.tracked(logits):
        raise UnsupportedModelError(
            f"the logits of {kind_of(model)} do not depend on its embedding in a way that has a "
            "derivative (is it run under no_grad, or detached?); scores would all be zero"
        )
    mode.check_graph(logits)
    if sub_layers:
        mode.sub_layers.check_depth(logits)
    found, several = mode.sites.found(mode.embedding, logits), None
    if asked_first is not None:
        several = "the words are looked up in several places, as by an encoder-decoder"
        found = None if found is None else replace(found, states=(), layers=None, no_states=several)
    if any(len(composite.parts) > 1 for composite in mode.composites):
        check_layers(mode.composites, found.no_states if found else "")
        states = [site.edge for site in found.states] if found else []
        told_apart(logits, mode.sweep, states, found.layers if found else None, calls)
    stands = None if asked_first is None else asked_first.standing
    if asked_first is None and "input_ids" in inputs:
        stands = standing(model, inputs, tuple(mode.embedding.shape[:2]), words)
    not_post_norm = several or mode.sub_layers.not_post_norm
    if sub_layers and not_post_norm is None and not mode.sub_layers.found:
        not_post_norm = "it has no residual sum of a layer's input and output"
    return ForwardPass(
        mode.embedding,
        logits,
        mode.sweep,
        stands,
        mode.trace.kept,
        several or mode.trace.untraceable,
        mode.sub_layers.found,
        not_post_norm,
        mode.books,
        mode.trace.last,
        found if inside else None,
        isinstance(model, ForeignModel) and model.is_of_positions,
    )


def _check_repeats(model: nn.Module, inputs: Mapping[str, Tensor], logits: Tensor, drawn: str) -> None:
    """Raise UnsupportedModelError where a model that draws random numbers answers otherwise once more.

    One that draws the same each time, with a seed of its own, does not.
    """
    with failures(model, inputs), torch.no_grad():
        again = logits_of(model(**inputs), model, len(logits))
    if bool((again - logits).abs().max() > 100 * torch.finfo(logits.dtype).eps * logits.abs().max()):
        raise UnsupportedModelError(
            f"{kind_of(model)} draws random numbers ({drawn}) and answers otherwise each time, so no scores "
            "are those of its answer: give it a seed (hash_seed in Reformer's configuration)"
        )


@contextmanager
def _cut_at_embedding(model: nn.Module, mode: Interception) -> Iterator[None]:
    """Make the embedding block's output the leaf `mode.embedding`, for this thread's forward pass.

    A forward hook is the only exact way to know where the block ends.  A point of the words has none.
    """

    if point_of(model) is not None:
        yield
        return

    def cut(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        embedding = embedding_in(output)
        if mode.embedding is not None or not isinstance(embedding, Tensor) or embedding.dim() != 3:
            found = (
                "shape " + str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
            )
            raise UnsupportedModelError(
                f"expected the embedding block {type(module).__name__} to return one tensor (batch, seq, "
                f"hidden), once a forward pass, found {found if mode.embedding is None else 'another'}"
            )
        changed = mode.cut(embedding)
        return mapped(output, lambda tensor: changed if tensor is embedding else tensor)

    with hooked([embedding_block(model)], after=cut):
        yield


@contextmanager
def _quantised_as_linear(model: nn.Module, mode: Interception) -> Iterator[None]:
    """Let quantised layers be the linear ones that they are; their kernels say the value, of constants.

    What is no such layer is refused.  Its library may have a derivative for it, but not that of its answers.
    """
    owner = threading.get_ident()
    held: list[Tensor | None] = []

    def before(module: nn.Module, args: Any) -> Any:
        if threading.get_ident() != owner or not args:
            return None
        tracked = mode.embedding is not None and mode.tracked(args[0])
        held.append(args[0] if tracked else None)
        with torch._C.DisableTorchFunction():
            return (args[0].detach(), *args[1:]) if tracked else None

    def after(name: str, module: nn.Module, args: Any, output: Any) -> Any:
        x = held.pop() if threading.get_ident() == owner and args else None
        if x is None:
            return None
        with torch._C.DisableTorchFunction(), torch.no_grad():
            weight, bias = dense(module, args[0])
            served = is_linear(module, args[0], weight, bias, output)
            weight, bias = weight.to(output.dtype), None if bias is None else bias.to(output.dtype)
        if served:
            return handle_torch_function(linear_layer, (x,), x, weight, bias, output.detach())
        raise refused(name, module)

    handles = []
    for name, module in quantised_layers(bare(model)):
        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(partial(after, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
