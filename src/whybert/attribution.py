"""`attribute`: explain a model's decision at the level of tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import torch
from torch import Tensor, nn

from .errors import InputError, NonFiniteError, UnsupportedModelError
from .interception import run
from .methods import Method, create_all
from .targets import ResolvedTarget, TargetLike, label_names, resolve

# What a tokenizer may add for its caller and no model reads.
_NOT_FOR_THE_MODEL: Final = frozenset(
    {"offset_mapping", "special_tokens_mask", "overflow_to_sample_mapping", "length", "labels"}
)


@dataclass(frozen=True, eq=False)
class Attribution:
    """What `attribute` found for a batch; all tensors are detached and on the model's device.

    scores: (batch, seq), raw; a padding token's is 0.
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
    names: Sequence[Any] = [method] if isinstance(method, str) else list(method)
    methods = create_all(names, options)
    check_model(model)
    tensors = _model_inputs(model, inputs)

    composites = list({c.name: c for m in methods for c in m.composites()}.values())
    forward = run(
        model,
        tensors,
        composites,
        attention=any(m.needs_attention for m in methods),
        sub_layers=any(m.needs_sub_layers for m in methods),
    )
    logits = forward.logits.detach()
    _check_finite(model, logits)
    config = getattr(model, "config", None)
    resolved = resolve(target, logits, label_names(config, logits.shape[-1]))
    found = {}
    for each in methods:
        scores, relevance = each.attribute(forward, resolved)
        found[each.name] = _attribution(each, scores, relevance, logits, resolved)
    return next(iter(found.values())) if single else found


def check_model(model: nn.Module) -> None:
    """Refuse, by name, a model that cannot be borrowed as it is.  Raises UnsupportedModelError."""
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch model, found {kind}")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise UnsupportedModelError(f"the model is wrapped in {kind}: pass model.module")
    if hasattr(model, "_orig_mod"):
        raise UnsupportedModelError("the model is compiled: pass the model that torch.compile was given")
    training = next((name for name, module in model.named_modules() if module.training), None)
    if training is not None:
        part = "the model" if training == "" else f"its part {training!r}"
        raise UnsupportedModelError(f"{part} is in train mode, where dropout is random: call model.eval()")
    if any(getattr(module, "gradient_checkpointing", False) is True for module in model.modules()):
        raise UnsupportedModelError(
            "gradient checkpointing is on: call model.gradient_checkpointing_disable()"
        )


def _model_inputs(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inputs as tensors on the model's device, without what only the tokenizer's caller reads."""
    if not hasattr(inputs, "items"):  # transformers' BatchEncoding is a UserDict
        raise InputError(
            f"expected inputs as a tokenizer returns them (a mapping), found {type(inputs).__name__}"
        )
    parameters = inspect.signature(model.forward).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    device = next(model.parameters()).device
    tensors = {}
    for name, value in inputs.items():
        if name in _NOT_FOR_THE_MODEL or value is None:
            continue
        if name == "inputs_embeds":
            raise InputError(
                "expected input_ids, found inputs_embeds: some models compute other position ids for them, "
                "so the explained logits would not be the model's own"
            )
        if name not in parameters and not open_ended:
            raise InputError(f"{type(model).__name__} takes no {name!r}; it takes {', '.join(parameters)}")
        try:
            tensors[name] = torch.as_tensor(value).to(device)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(
                f"expected {name} as a tensor or rows of one length, found {type(value).__name__}; "
                "call the tokenizer with padding=True, return_tensors='pt'"
            ) from error
    ids = tensors.get("input_ids")
    if ids is None:
        raise InputError(
            f"expected input_ids among the inputs, found {', '.join(map(str, inputs)) or 'none'}"
        )
    if ids.dim() != 2 or ids.numel() == 0:
        raise InputError(f"expected input_ids of shape (batch, seq), found {tuple(ids.shape)}")
    if ids.is_floating_point():
        raise InputError(f"expected input_ids as integers, found {ids.dtype}")
    _check_vocabulary(model, ids)
    limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < ids.shape[1]:
        raise InputError(
            f"expected at most {limit} tokens a text, found {ids.shape[1]}: "
            "call the tokenizer with truncation=True"
        )
    for name, tensor in tensors.items():
        if tensor.dim() >= 2 and tensor.shape[:2] != ids.shape:
            raise InputError(
                f"expected {name} of shape {tuple(ids.shape)} like input_ids, found {tuple(tensor.shape)}"
            )
    return tensors


def _check_vocabulary(model: nn.Module, ids: Tensor) -> None:
    words = getattr(model, "get_input_embeddings", lambda: None)()
    size = getattr(words, "num_embeddings", None)
    if size is not None and bool(((ids < 0) | (ids >= size)).any()):
        raise InputError(
            f"expected token ids from 0 to {size - 1}, found {int(ids.min())} to {int(ids.max())}: "
            "the tokenizer does not belong to this model"
        )


def _check_finite(model: nn.Module, logits: Tensor) -> None:
    if bool(torch.isfinite(logits).all()):
        return
    broken = [name for name, p in model.named_parameters() if not bool(torch.isfinite(p).all())]
    row = int((~torch.isfinite(logits)).any(-1).nonzero()[0, 0])
    cause = (
        f"the weights of {', '.join(broken[:3])}{', ...' if len(broken) > 3 else ''} are not finite"
        if broken
        else f"the weights are finite, so {logits.dtype} is too narrow: try model.float()"
    )
    raise NonFiniteError(f"the logits of row {row} are not finite ({logits[row].tolist()}): {cause}")


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
