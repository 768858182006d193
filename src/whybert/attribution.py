"""`attribute`: explain a model's decision at the level of tensors."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import torch
from torch import Tensor, nn

from whybert.anatomy import maximum_tokens, word_embeddings
from whybert.errors import InputError, NonFiniteError, UnsupportedModelError, UsageError
from whybert.interception import run
from whybert.methods import Method, create_all
from whybert.targets import ResolvedTarget, TargetLike, label_names, resolve

# What a tokenizer may add for its caller and no model reads.
_NOT_FOR_THE_MODEL: Final = frozenset(
    {"offset_mapping", "special_tokens_mask", "overflow_to_sample_mapping", "length", "labels"}
)

# What a forward that passes **kwargs on may take; anything else would be ignored without a word.
_TOKENIZER_OUTPUTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})


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
    tensors = _model_inputs(model, inputs)

    device = next(model.parameters()).device
    # What surrounds the call must not change its numbers: the caller's autocast, no_grad, inference_mode.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
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
    _check_finite(model, logits)
    config = getattr(model, "config", None)
    resolved = resolve(target, logits, label_names(config, logits.shape[-1]))
    found = {}
    for each in methods:
        scores, relevance = each.attribute(forward, resolved)
        found[each.name] = _attribution(each, scores, relevance, logits, resolved)
    return found


def check_model(model: nn.Module) -> None:
    """Refuse, by name, a model that cannot be borrowed as it is.  Raises UnsupportedModelError."""
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch model, found {kind}")
    for name, module in model.named_modules():
        part = f"its part {name!r}" if name else "the model"
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = f"model.{name}.module" if name else "model.module"
            raise UnsupportedModelError(f"{part} is wrapped in {type(module).__name__}: pass {inner}")
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise UnsupportedModelError(f"{part} is compiled: pass the model as it was before torch.compile")
        if module.training:
            raise UnsupportedModelError(
                f"{part} is in train mode, where dropout is random: call model.eval()"
            )
        if getattr(module, "gradient_checkpointing", False) is True:
            raise UnsupportedModelError(
                f"gradient checkpointing is on in {part}: call model.gradient_checkpointing_disable()"
            )
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise UnsupportedModelError(
            "the weights were made under torch.inference_mode(), which bars any backward pass: "
            "load the model outside of it"
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
        if name not in parameters and not (open_ended and name in _TOKENIZER_OUTPUTS):
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
    for name, tensor in tensors.items():
        if tensor.dim() >= 2 and (
            tensor.shape[0] not in {1, ids.shape[0]} or tensor.shape[1] != ids.shape[1]
        ):
            raise InputError(
                f"expected {name} of shape {tuple(ids.shape)} like input_ids, found {tuple(tensor.shape)}"
            )
    config = getattr(model, "config", None)
    rows = {
        "input_ids": getattr(word_embeddings(model), "num_embeddings", None),
        "token_type_ids": getattr(config, "type_vocab_size", None),
        "position_ids": getattr(config, "max_position_embeddings", None),
    }
    for name in rows.keys() & tensors.keys():
        tensors[name] = _checked_ids(name, tensors[name], rows[name])
    limit = maximum_tokens(model)
    if limit is not None and ids.shape[1] > limit and "position_ids" not in tensors:
        raise InputError(
            f"expected at most {limit} tokens a text, found {ids.shape[1]}: "
            f"call the tokenizer with truncation=True, max_length={limit}"
        )
    return tensors


def _checked_ids(name: str, ids: Tensor, rows: int | None) -> Tensor:
    """Ids as int64, each with a row in its table of `rows` rows."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise InputError(f"expected {name} as integers, found {ids.dtype}")
    ids = ids.long()
    if rows and bool(((ids < 0) | (ids >= rows)).any()):
        what, reason = name, ""
        if name == "input_ids":
            what, reason = "token ids", ": the tokenizer does not belong to this model"
        raise InputError(
            f"expected {what} from 0 to {rows - 1}, found {int(ids.min())} to {int(ids.max())}{reason}"
        )
    return ids


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
    raise NonFiniteError(f"the logits of row {row} are not finite ({logits[row].tolist()}): {cause}", row)


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
