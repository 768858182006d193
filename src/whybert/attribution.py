"""`attribute`: explain a model's decision at the level of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn

from whybert.anatomy import check_finite, check_model, model_inputs, plain
from whybert.errors import NonFiniteError, UsageError
from whybert.interception import run
from whybert.methods import Method, create_all
from whybert.targets import ResolvedTarget, TargetLike, label_names, resolve


@dataclass(frozen=True, eq=False)
class Attribution:
    """What `attribute` found for a batch; all tensors are detached and on the model's device.

    scores: (batch, seq), raw.  A padding token's is 0, unless the model reads the token all the same: one
        that classifies from the first position does so where the padding is on the left.
    relevance: (batch, seq, hidden), what the scores are reduced from; None for methods without one.
    logits: (batch, labels), the model's own.
    target: (batch,) the explained classes, or (batch, 2) for contrasts logit[a] - logit[b].
    output: (batch,) the explained number of each row: a logit or a difference of two.
    method, options: what computed them.  signed: whether a score below 0 means "speaks against".
    complete: whether the method means its relevance to sum to `output`.
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

    @property
    def relevance_sum(self) -> Tensor | None:
        """(batch,) the sum of relevance, to hold against `output`; None where the method claims nothing."""
        if not self.complete or self.relevance is None:
            return None
        return self.relevance.to(torch.promote_types(self.relevance.dtype, torch.float32)).sum((1, 2))


@overload
def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    method: str = "attnlrp",
    target: TargetLike = None,
    **options: Any,
) -> Attribution: ...


@overload
def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    method: Sequence[str],
    target: TargetLike = None,
    **options: Any,
) -> dict[str, Attribution]: ...


def attribute(
    model: nn.Module,
    inputs: Mapping[str, Any],
    method: str | Sequence[str] = "attnlrp",
    target: TargetLike = None,
    **options: Any,
) -> Attribution | dict[str, Attribution]:
    """Say how much each token contributed to a sequence classifier's output.

    model: a Hugging Face sequence classifier in eval mode; it is not changed in any way.
    inputs: what the tokenizer returns, `input_ids` (batch, seq) and whatever else the model takes.
    method: a name of `whybert.methods.METHODS`, or several, which then share one forward pass.
    target: None (the predicted class of each row), a class as an int or a label, a tuple `(a, b)` for
        logit[a] - logit[b], or a list with one of these a row.
    options: the method's own, such as `residual="once"` for `lrp`.

    Returns an `Attribution`, for a list of methods a dict of them by name.

    Raises UsageError (a wrong name, input or target), UnsupportedModelError, UnsupportedOperationError,
    NonFiniteError.
    """
    single = isinstance(method, str)
    methods = create_all(method_names(method), options)
    check_model(model)
    tensors = model_inputs(model, inputs)
    with plain(model, backward=True):
        found = _attribute(model, tensors, methods, target)
    return next(iter(found.values())) if single else found


def method_names(method: object) -> list[Any]:
    """One name or several as a list.  Raises UsageError for anything else."""
    if isinstance(method, str):
        return [method]
    if not isinstance(method, Iterable):
        raise UsageError(f"expected a method by name, or a list of names, found {method!r}")
    return list(method)


def _attribute(
    model: nn.Module, tensors: dict[str, Tensor], methods: Sequence[Method], target: TargetLike
) -> dict[str, Attribution]:
    composites = list({c.name: c for m in methods for c in m.composites()}.values())
    forward = run(
        model,
        tensors,
        composites,
        attention=any(m.needs_attention for m in methods),
        sub_layers=any(m.needs_sub_layers for m in methods),
    )
    logits = forward.logits.detach()
    check_finite(model, logits)
    config = getattr(model, "config", None)
    resolved = resolve(target, logits, label_names(config, logits.shape[-1]))
    found = {}
    for each in methods:
        scores, relevance = each.attribute(forward, resolved)
        found[each.name] = _attribution(each, scores, relevance, logits, resolved)
    return found


def _attribution(
    method: Method,
    scores: Tensor,
    relevance: Tensor | None,
    logits: Tensor,
    target: ResolvedTarget,
) -> Attribution:
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError(
            f"the scores of {method.name} are not finite although the logits are: the weights or "
            f"{logits.dtype} are out of the method's range; try model.float() or another method"
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
        complete=method.complete,
    )
