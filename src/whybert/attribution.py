"""`attribute`: explain a model's decision at the level of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, TypeVar, overload

import torch
from torch import Tensor, nn

from whybert.anatomy import check_finite, check_model, model_inputs, plain, wider
from whybert.black_box import NoInsideError, check_has_inside, quantity_of
from whybert.classifier import link_of
from whybert.encoding import EncodedText
from whybert.errors import NonFiniteError, UnsupportedModelError, UsageError
from whybert.finding import EmbeddingLike, is_clear, made_known
from whybert.foreign import LogitsLike, bare
from whybert.heads import columns_of, head_of, read_at
from whybert.methods import METHODS, Method, Question, create_all
from whybert.methods.base import reduce_hidden
from whybert.methods.question import Change, Prepared
from whybert.targets import (
    ResolvedTarget,
    TargetLike,
    label_names,
    per_row,
    resolve_each,
    several,
)

Kept = TypeVar("Kept")


@dataclass(frozen=True, eq=False)
class Attribution:
    """What `attribute` found for a batch; all tensors are detached and on the model's device.

    Fields:
        scores: (batch, seq), raw.  A padding token's is 0, unless the model reads the token all the same: one
            that classifies from the first position does so where the padding is on the left.
        relevance: (batch, seq, hidden), what the scores are reduced from; None for methods without one.  Of a
            token that stands in several positions of the embedding it is the sum over them.
        logits: (batch, labels), the model's own.
        target: (batch,) the explained classes, or (batch, 2) for contrasts logit[a] - logit[b].
        output: (batch,) the explained number of each row, see `quantity`.
        method, options: what computed them.
        signed: whether a score below 0 means "speaks against".
        complete: whether the method means its relevance to sum to `output`, of this quantity.
        biases: (batch,) the part of the output that no token holds: the relevance that stays with the model's
            constants, its biases above all, or the output at the method's baseline; None for methods that
            keep no books.  For CP-LRP relevance and biases sum exactly to `output`.
        elsewhere: (batch,) the scores of positions that are no token's, such as virtual tokens, what a model
            pads with inside, or the start token of a decoder; None where it has none.
        quantity: what of the target `output` is, an entry of `whybert.targets.QUANTITIES`.
        layers: (batch, layers + 1, seq), the scores at what each layer reads and, last, at what the last one
            hands on; those at the embedding are `scores`.  None unless they are asked for.
        layer_sums: (batch, layers + 1), what all positions of each of these hold; the model's constants above
            hold the rest of the output, as far as a method keeps books.
        heads: (batch, layers, heads), the relevance of what each head hands on, over all positions.  None
            unless they are asked for.

    For a set of classes, or "all", each row is there once for each, row b * classes + c being the c-th of
    text b.
    """

    scores: Tensor
    relevance: Tensor | None
    logits: Tensor
    target: Tensor
    output: Tensor
    method: str
    options: Mapping[str, Any]
    signed: bool
    complete: bool
    biases: Tensor | None = None
    elsewhere: Tensor | None = None
    quantity: str = "logit"
    layers: Tensor | None = None
    layer_sums: Tensor | None = None
    heads: Tensor | None = None

    @property
    def relevance_sum(self) -> Tensor | None:
        """(batch,) the sum of relevance, to hold against `output`; None where the method claims nothing."""
        if not self.complete:
            return None
        summed = self.scores if self.relevance is None else self.relevance
        return summed.to(torch.promote_types(summed.dtype, torch.float32)).flatten(1).sum(1)


@overload
def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    method: str | Method = "attnlrp",
    target: TargetLike = None,
    *,
    embedding: EmbeddingLike = None,
    logits: LogitsLike = None,
    tokenizer: Any = None,
    quantity: str = "logit",
    layers: bool = False,
    heads: bool = False,
    **options: Any,
) -> Attribution: ...


@overload
def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    method: Sequence[str | Method],
    target: TargetLike = None,
    *,
    embedding: EmbeddingLike = None,
    logits: LogitsLike = None,
    tokenizer: Any = None,
    quantity: str = "logit",
    layers: bool = False,
    heads: bool = False,
    **options: Any,
) -> dict[str, Attribution]: ...


def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    method: str | Method | Sequence[str | Method] = "attnlrp",
    target: TargetLike = None,
    *,
    embedding: EmbeddingLike = None,
    logits: LogitsLike = None,
    tokenizer: Any = None,
    quantity: str = "logit",
    layers: bool = False,
    heads: bool = False,
    **options: Any,
) -> Attribution | dict[str, Attribution]:
    """Say how much each token contributed to a sequence classifier's output.

    Args:
        model: a sequence classifier in eval mode, of transformers or any module that takes `input_ids` and
            returns logits (batch, labels); it is not changed in any way.
        inputs: what the tokenizer returns, `input_ids` (batch, seq) and whatever else the model takes.
        method: a name of `whybert.METHODS`, with options "gi:reduction=sum", or a `Method`; or several of
            these, which then share one forward pass.
        target: None (the predicted class of each row), a class as an int or a label, a tuple `(a, b)` for
            logit[a] - logit[b], or a list with one of these a row; or a set of them for several of each
            row, or "all" for every class.
        embedding, logits: where a model of your own embeds its tokens and returns its logits, see
            `Classifier`.
        tokenizer: for methods that replace or take away tokens; it says which ids are the mask's, padding's
            and those of special tokens.
        quantity: what of the target is explained: "logit", "probability", "log_probability", "margin" (the
            logit less the largest other one) or "entropy" (of no class).  The model's `problem_type` says
            whether its probabilities are a softmax or sigmoids.
        layers, heads: whether the relevance of each layer's tokens and of each head is wanted, from the same
            sweep; for methods whose relevance is the input * a gradient, such as attnlrp, cp_lrp and
            gi:reduction=sum.
        options: of the method; of several methods each goes to all that have it and are given by name.

    Returns:
        An `Attribution`; for several methods a dict of them by spec, which is the name and, in the order of
        the fields, the options that are not the default: "gi", "gi:reduction=sum".

    Raises:
        UsageError: a wrong method, option, input or target, or one method twice.
        ModelError: the model is not supported, or its numbers are not finite.
    """
    methods = create_all(method, options)
    check_inside(methods, layers, heads)
    check_model(model)
    if embedding is not None or logits is not None or not is_clear(model, lambda: inputs):
        model = made_known(bare(model), inputs, embedding, logits)
    how = {"quantity": quantity, "tokenizer": tokenizer, "layers": layers, "heads": heads}
    try:
        found = attribute_all(model, inputs, methods, target, **how)
    except UnsupportedModelError:
        read = _read(model, inputs, target, tokenizer)
        if read is None:
            raise
        found = attribute_all(read[0], read[1], methods, read[2], **how, labels=read[3])
    return next(iter(found.values())) if isinstance(method, str | Method) else found


def _read(
    model: nn.Module, inputs: Mapping[str, Any], target: TargetLike, tokenizer: Any
) -> tuple[nn.Module, dict[str, Any], Any, Sequence[str] | None] | None:
    """A model that answers at each position as one of labels, its inputs with the places in them, its targets
    there and its labels; None where it is something else."""
    tensors = model_inputs(model, inputs)
    head = head_of(model, tensors, tokenizer)
    if head.kind == "labels":
        return None
    listed = per_row(target, len(tensors["input_ids"]), "rows")
    asked = [head.split(each) for each in ([target] if listed is None else listed)]
    places = columns_of(
        head, tensors, asked * len(tensors["input_ids"]) if listed is None else asked, tokenizer
    )
    model, tensors = read_at(head, model, tensors, places)
    targets = [each.target for each in places]
    is_each = listed is None and several(asked[0][1], head.labels) is not None
    return model, tensors, asked[0][1] if is_each else targets, head.labels or None


def attribute_all(
    model: nn.Module,
    inputs: Mapping[str, Any],
    methods: Sequence[Method],
    target: TargetLike | Callable[[Tensor], TargetLike] = None,
    **how: Any,
) -> dict[str, Attribution]:
    """`attribute` for methods that are made, by spec; `how` is as for `attribute_each`."""
    found = attribute_each(model, inputs, methods, target, lambda each: each, **how)
    return {method.spec: _together([each[method.spec] for each in found]) for method in methods}


def attribute_each(
    model: nn.Module,
    inputs: Mapping[str, Any],
    methods: Sequence[Method],
    target: TargetLike | ResolvedTarget | Callable[[Tensor], TargetLike],
    keep: Callable[[dict[str, Attribution]], Kept],
    *,
    quantity: str | None = None,
    at: Change | None = None,
    tokenizer: Any = None,
    rows: Sequence[EncodedText] | None = None,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    layers: bool = False,
    heads: bool = False,
) -> list[Kept]:
    """What is kept of the answers to each target, one or, for a set or "all", one a class.

    All are from one forward pass; what a class needed beside what is kept is gone before the next.

    Args:
        target: as for `attribute`, or a function that tells it from the logits (batch, labels), or one that
            is resolved.
        keep: from attributions by spec to what is kept.
        quantity: as for `attribute`; None is that of `explain`.
        at, tokenizer, rows: see `Question`.
        labels: their names in the order of the logits; None asks the model's configuration.
        problem_type: as of a `Classifier`; None asks the model's configuration.
        layers, heads: as for `attribute`; the methods have them, see `check_inside`.
    """
    check_model(model)
    check_has_inside(model, {each.name: each.looks_inside for each in methods})
    tensors = model_inputs(model, inputs)
    config = getattr(model, "config", None)
    with plain(model, backward=True):
        prepared = Prepared.of(
            model,
            tensors,
            (composite for method in methods for composite in method.composites()),
            attention=any(method.needs_attention for method in methods),
            sub_layers=any(method.needs_sub_layers for method in methods),
            inside=layers or heads or any(method.needs_inside for method in methods),
            at=at,
        )
        logits = prepared.forward.logits.detach()
        check_finite(model, logits)
        names = labels or label_names(config, logits.shape[-1])
        link = link_of(problem_type or getattr(config, "problem_type", None), logits.shape[-1])
        wanted = target(logits) if callable(target) else target
        targets = resolve_each(wanted, logits, names, quantity_of(model, quantity), link)
        first = Question(model, MappingProxyType(tensors), targets[0], prepared, at, tokenizer, rows)
        kept = []
        for each in targets:
            shared = replace(prepared, forward=replace(prepared.forward, _gradients={}))
            question = replace(first, target=each, shared=shared)
            kept.append(
                keep({method.spec: _attribution(method, question, layers, heads) for method in methods})
            )
        return kept


def _together(found: Sequence[Attribution]) -> Attribution:
    """The attributions of each class as one, row by row of the batch."""
    if len(found) == 1:
        return found[0]
    parts = {each.name: [getattr(one, each.name) for one in found] for each in fields(Attribution)}
    rows: dict[str, Any] = {
        name: None if any(part is None for part in each) else torch.stack(each, 1).flatten(0, 1)
        for name, each in parts.items()
        if any(isinstance(part, Tensor) for part in each)
    }
    return replace(found[0], **rows)


def check_inside(methods: Sequence[Method], layers: bool, heads: bool) -> None:
    """Raise UsageError unless the methods have a relevance of layers and heads, where that is wanted."""
    for method in methods if layers or heads else ():
        if method.gradient_form is None:
            kinds = create_all([name for name, kind in METHODS.items() if not kind.given])
            others = [each.name for each in kinds if each.gradient_form is not None]
            raise UsageError(
                "layers and heads are of methods whose relevance is the input * a gradient "
                f"({', '.join(others)}, gi:reduction=sum), and {method.spec} is none; name one of these"
            )


def _inside(method: Method, question: Question, layers: bool, heads: bool) -> dict[str, Tensor]:
    """What is known of the inside of the model: a relevance of each tensor there is it * its gradient."""
    rules, found = method.gradient_form, {}
    if rules is None or not (layers or heads):
        return {}
    forward = question.forward(method.composites(), inside=True)
    if layers:
        states = [
            reduce_hidden(state * gradient, "sum")
            for state, gradient in forward.states(rules, question.target)
        ]
        found["layers"] = torch.stack(states, 1)
        found["layer_sums"] = found["layers"].sum(-1)
        if forward.standing is not None:
            found["layers"] = forward.standing.folded(found["layers"], 2)
    if heads:
        handed = [
            reduce_hidden((context * gradient).flatten(2), "sum")
            for context, gradient in forward.heads(rules, question.target)
        ]
        found["heads"] = torch.stack(handed, 1)
    return found


def _attribution(method: Method, question: Question, layers: bool, heads: bool) -> Attribution:
    try:
        scores, relevance = method.attribute(question)
    except NoInsideError as error:
        raise NoInsideError(error.name, method.name) from error
    standing, elsewhere = question.shared.forward.standing, None
    if standing is not None and scores.shape[1] == question.shared.forward.embedding.shape[1]:
        elsewhere = standing.elsewhere(scores)
        scores = standing.folded(scores)
        relevance = None if relevance is None else standing.folded(relevance)
    expected = question.inputs["input_ids"].shape
    if scores.shape != expected:
        raise UsageError(
            f"expected scores of shape {tuple(expected)} by {method.name}, found {tuple(scores.shape)}"
        )
    logits, target = question.logits, question.target
    complete = method.is_complete(target)
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError(
            f"the scores of {method.name} are not finite although the logits are: the weights or "
            f"{logits.dtype} are out of the method's range; try "
            f"model.{wider(logits.dtype)}() or another method"
        )
    return Attribution(
        scores=scores.detach(),
        relevance=None if relevance is None else relevance.detach(),
        logits=logits,
        target=target.as_tensor(),
        output=target.output(logits),
        method=method.name,
        options=method.options,
        signed=method.is_signed,
        complete=complete,
        biases=method.biases(question) if complete == method.complete else None,
        elsewhere=elsewhere,
        quantity=target.quantity,
        **_inside(method, question, layers, heads),
    )
