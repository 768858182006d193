"""What every family of models has, and the one gate to all of them.

Where the parts of a model are: its embedding block and its positions.  Facts are read off the modules and
the configuration, never off the family's name.  And what is asked of a model wherever it runs, to explain
or only to predict: `check_model`, `model_inputs`, `plain`, `logits_of`, `check_finite`.
"""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any, Final

import torch
from torch import Tensor, nn

from whybert.black_box import TextModel
from whybert.errors import (
    PLACE,
    InputError,
    MissingInputWarning,
    NonFiniteError,
    PaddingWarning,
    UnsupportedModelError,
    UsageError,
    WhybertError,
    one_line,
)
from whybert.foreign import READ, ForeignModel, bare, kind_of, logits_at, place_of_logits

# What a tokenizer may add for its caller and no model reads.
_NOT_FOR_THE_MODEL: Final = frozenset(
    {"offset_mapping", "special_tokens_mask", "overflow_to_sample_mapping", "length", "labels"}
)

# What models of pictures and sounds read, alone or beside words.
_OTHER_SENSES: Final = ("pixel_values", "input_features", "input_values")

# Where words stand on a page: what models of documents read too, and make up where it is not there.
_PLACES_ON_A_PAGE: Final = ("bbox", "xpath_tags_seq", "xpath_subs_seq")

# What a forward that passes **kwargs on may take; anything else would be ignored without a word.
_TOKENIZER_OUTPUTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})

# What a model's own code raises where an input, or a part of the model, is not as it expects.
FAILURES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def word_embeddings(model: nn.Module) -> nn.Module | None:
    """The table of word embeddings, None if the model does not say which it is."""
    try:
        words = getattr(model, "get_input_embeddings", lambda: None)()
    except NotImplementedError:  # what transformers' base class says of a model without such a table
        return None
    return words if isinstance(words, nn.Module) else None


def embedding_block(model: nn.Module) -> nn.Module:
    """The module whose output is the attribution point: the one that holds the word embeddings.

    Raises:
        UnsupportedModelError: there is none.
    """
    words = word_embeddings(model)
    if isinstance(model, ForeignModel):
        part = model.embedding_block or words  # of a point, the nearest part below it
        if part is not None:
            return part
    elif words is not None:
        for name, module in model.named_modules():
            block: nn.Module = module
            if name and any(child is words for child in block.children()):
                return block
    raise UnsupportedModelError(
        f"{kind_of(model)} has no embedding block (a module around the word embeddings whose output "
        "enters the first layer); name the part that is one: embedding='its.name'"
    )


def is_known(model: nn.Module) -> bool:
    """Whether the model says by itself where it embeds its tokens."""
    try:
        embedding_block(model)
    except UnsupportedModelError:
        return False
    return True


def _reserved_positions(model: nn.Module) -> int:
    """How many rows of the table of positions no token can have.

    A table with a row for padding numbers the tokens from the row after it, as RoBERTa's does.
    """
    rows = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    for name, module in (embedding_block(model) if is_known(model) else model).named_modules():
        if (
            isinstance(module, nn.Embedding)
            and "position" in name.rpartition(".")[2]
            and module.num_embeddings == rows
            and module.padding_idx is not None
        ):
            return int(module.padding_idx) + 1
    return 0


def maximum_tokens(model: nn.Module) -> int | None:
    """The most tokens, special ones included, that the model has positions for; None if nothing limits it."""
    rows = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if not isinstance(rows, int):
        return None
    # peft's prompts and prefixes stand at positions of their own, before the tokens'
    virtual = getattr(getattr(model, "active_peft_config", None), "num_virtual_tokens", None) or 0
    reserved = _reserved_positions(model) + virtual
    return rows - reserved if rows > reserved else None


def has_position_table(model: nn.Module) -> bool:
    """Whether the model adds a row of a table to each token by the number of its column.

    A table with a row for padding counts only the tokens themselves: where they stand does not matter.
    """
    rows = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    words = word_embeddings(model)
    return any(
        isinstance(module, nn.Embedding)
        and module is not words
        and module.padding_idx is None
        and module.num_embeddings == rows
        for module in model.modules()
    )


def label_count(model: nn.Module, expected: int) -> int:
    """How many logits the model gives, told from its last linear layer; where that is not `expected`, asked.

    The model is asked about a single token, and `expected` is believed where it cannot answer that.
    """
    if isinstance(model, ForeignModel | TextModel):
        return model.label_count
    sizes = [module.out_features for module in model.modules() if hasattr(module, "out_features")]
    if sizes[-1:] == [expected] or model.training:
        return expected
    takes = input_filter(model)
    ids = torch.zeros(1, 1, dtype=torch.long, device=device_of(model))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    try:
        with plain(model, backward=False):
            logits = forward(model, {name: tensor for name, tensor in inputs.items() if takes(name)})
    except WhybertError:
        return expected
    return logits.shape[-1]


def device_of(model: nn.Module) -> torch.device:
    """Where the model takes its inputs: at its first parameter that is anywhere.

    Where all are off-loaded, what fetches them takes the inputs too, from the CPU.
    """
    places = (parameter.device for parameter in model.parameters() if not parameter.is_meta)
    return next(places, torch.device("cpu"))


def dtype_of(model: nn.Module) -> torch.dtype:
    """What the model computes in: the type of its first parameter that is no whole number."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def check_model(model: nn.Module, *, backward: bool = True) -> None:
    """Refuse, by name, a model that cannot be borrowed as it is.

    Args:
        model: the model.
        backward: whether it will be differentiated, and not only asked.

    Raises:
        UnsupportedModelError: it is in train mode, wrapped, compiled, or has no weights.
        UsageError: no number can be had where the call is: it is inside of a transform of torch.func, which
            does not reach through it, or new tensors are made without numbers there.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise UsageError(
            "the call is inside of a transform of torch.func (vmap, grad, jvp), which cannot reach through "
            "it: call it outside, with a batch of inputs"
        )
    if torch.empty(0).is_meta:
        raise UsageError(
            "new tensors are on the device 'meta' here (torch.device('meta') as a context, or set as the "
            "default) and hold no numbers: call it outside"
        )
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch model, found {kind_of(model)}")
    model = bare(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError("the model is scripted or traced: pass the module that it was made of")
    for name, module in model.named_modules():
        part = f"its part {name!r}" if name else "the model"
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = f"model.{name}.module" if name else "model.module"
            raise UnsupportedModelError(f"{part} is wrapped in {type(module).__name__}: pass {inner}")
        if module.training and _heeds_training(module):
            raise UnsupportedModelError(
                f"{part} is in train mode, where dropout is random: call model.eval()"
            )
        if not backward:
            continue
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise UnsupportedModelError(f"{part} is compiled: pass the model as it was before torch.compile")
        if getattr(module, "gradient_checkpointing", False) is True:
            raise UnsupportedModelError(
                f"gradient checkpointing is on in {part}: call model.gradient_checkpointing_disable()"
            )
    fetched = any(hasattr(module, "_hf_hook") for module in model.modules())  # by accelerate, when they run
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter):
            raise UnsupportedModelError(
                f"{name} has no shape yet, as in a lazy layer that was never called: call the model once"
            )
        if parameter.is_meta and not fetched:
            raise UnsupportedModelError(
                f"{name} is on the device 'meta' and holds no numbers: load the weights onto another device"
            )
        if backward and parameter.is_inference():
            raise UnsupportedModelError(
                "the weights were made under torch.inference_mode(), which bars any backward pass: "
                "load the model outside of it"
            )


def _heeds_training(module: nn.Module) -> bool:
    """Whether the module can be another in train mode: no part of torch without a word of it in its code.

    A linear layer that was put into the model later, as a new head or by quantization, is in train mode.
    """
    kind = type(module)
    return not kind.__module__.startswith("torch.") or any(
        "training" in function.__code__.co_names
        for base in kind.__mro__
        if base is not nn.Module
        for function in vars(base).values()
        if isinstance(function, FunctionType)
    )


def input_filter(model: nn.Module) -> Callable[[str], bool]:
    """Says of the name of an input whether the model's forward takes it."""
    parameters = inspect.signature(bare(model).forward).parameters
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    own = {READ} if isinstance(model, ForeignModel) and model.read is not None else ()
    return lambda name: name in parameters or name in own or (open_ended and name in _TOKENIZER_OUTPUTS)


def model_inputs(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inputs as tensors on the model's device, without what only the tokenizer's caller reads.

    Args:
        model: the model.
        inputs: what a tokenizer returns: `input_ids` (batch, seq), and whatever else the model takes.

    Raises:
        InputError: they are none, or do not fit each other or the model.
    """
    if not hasattr(inputs, "items"):  # transformers' BatchEncoding is a UserDict
        raise InputError(
            f"expected inputs as a tokenizer returns them (a mapping), found {type(inputs).__name__}"
        )
    tensors = _tensors_of(model, inputs)
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
    _check_mask(model, tensors)
    _check_places(model, tensors)
    device = device_of(model)
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _tensors_of(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inputs that the model takes, as plain tensors."""
    takes = input_filter(model)
    tensors = {}
    for name, value in inputs.items():
        if name in _NOT_FOR_THE_MODEL or value is None:
            continue
        if name == "inputs_embeds":
            raise InputError(
                "expected input_ids, found inputs_embeds: some models compute other position ids for them, "
                "so the explained logits would not be the model's own"
            )
        if not takes(name):
            names = ", ".join(inspect.signature(bare(model).forward).parameters)
            raise InputError(f"{kind_of(model)} takes no {name!r}; it takes {names}")
        try:
            tensors[name] = torch.as_tensor(value)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(
                f"expected {name} as a tensor or rows of one length, found {type(value).__name__}; "
                "call the tokenizer with padding=True, return_tensors='pt'"
            ) from error
        if tensors[name].layout is not torch.strided or tensors[name].is_nested:
            raise InputError(
                f"expected {name} as a plain tensor, found a sparse or nested one: make it dense, padded to "
                "one length"
            )
    return tensors


def _read_beside(names: Iterable[str], model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Those of the names that are inputs of the model and are not there, as a list; "" for none."""
    parameters = inspect.signature(bare(model).forward).parameters
    return ", ".join(name for name in names if name in parameters and name not in tensors)


def _check_places(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Warn where the model reads where on a page its words stand, and nothing says it."""
    if places := _read_beside(_PLACES_ON_A_PAGE, model, tensors):
        warnings.warn(
            f"{kind_of(model)} reads {places} too, which no text brings, and answers as if all words stood "
            "in one place; whybert.attribute takes them among its inputs",
            MissingInputWarning,
            stacklevel=1,  # one place, so that it is said once
        )


def _check_mask(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a mask that hides a whole text, and warn of padding on which answers depend."""
    mask = tensors.get("attention_mask")
    if mask is None or mask.dim() != 2:
        return
    if not bool((mask != 0).any(dim=1).all()):
        row = int((mask != 0).any(dim=1).long().argmin())
        raise InputError(
            f"expected an attention_mask that shows a token in each row, found none in row {row}"
        )
    if "position_ids" not in tensors and has_position_table(model) and not bool(mask[:, 0].all()):
        warnings.warn(
            f"the texts are padded on the left, but {kind_of(model)} counts positions from the first "
            "column, so its answer to a text depends on the longest one beside it; pad on the right, or give "
            "position_ids",
            PaddingWarning,
            stacklevel=4,
        )


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


@contextmanager
def plain(model: nn.Module, *, backward: bool) -> Iterator[None]:
    """What surrounds the call must not change its numbers: the caller's autocast, no_grad, inference_mode.

    Args:
        model: the model that runs inside.
        backward: whether it will be differentiated.  No inference mode otherwise either: what the model
            keeps, such as weights that it unpacks, would bar a later backward pass.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(backward))
        for kind in {"cpu", "cuda", device_of(model).type}:  # off-loaded layers run elsewhere
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def failures(model: nn.Module, inputs: Mapping[str, Tensor]) -> Iterator[None]:
    """What the model's own code raises while it runs on the inputs, as an UnsupportedModelError of one line.

    Memory that is not enough stays what it is: callers may try again with less.
    """
    try:
        yield
    except (WhybertError, torch.OutOfMemoryError):
        raise
    except FAILURES as error:
        shape = tuple(inputs["input_ids"].shape)
        beside = _read_beside(_OTHER_SENSES, model, inputs)
        way = "see that model(**inputs) runs, and that the text is not too long for it (max_length)"
        way = way if shape[0] == 1 else "try one text at a time (batch_size=1)"
        way = (
            f"it reads {beside} too, which no text brings: pass a model of texts, or {way}" if beside else way
        )
        raise UnsupportedModelError(
            f"{kind_of(model)} fails on inputs of shape {shape}: {one_line(error)}; {way}"
        ) from error


def forward(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The logits (batch, labels) of inputs of `model_inputs`.

    Raises:
        UnsupportedModelError: the model fails on them, or is no sequence classifier.
    """
    with failures(model, inputs):
        output = model(**inputs)
    return logits_of(output, model, len(inputs["input_ids"]))


def logits_of(output: Any, model: nn.Module, batch: int) -> Tensor:
    """The logits (batch, labels) in what a model returned, see `place_of_logits`.

    Args:
        output: a tensor, a tuple, a mapping, a dataclass or a ModelOutput.
        model: that returned it.
        batch: how many texts it was asked about.

    Raises:
        UnsupportedModelError: there are none, or it is not clear which they are.
    """
    logits = logits_at(output, place_of_logits(output, batch, first=True))
    if isinstance(logits, Tensor) and logits.shape == (batch,):
        logits = logits[:, None]  # of a single output, squeezed
    if isinstance(logits, Tensor) and type(logits).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise UnsupportedModelError(
            f"expected logits in a plain tensor, found {type(logits).__name__}, as a model gives whose "
            "activations are quantised too; quantise only its weights"
        )
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != batch:
        found = f"logits of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else "no logits"
        raise UnsupportedModelError(
            f"expected a sequence classifier with logits (batch, labels), found {kind_of(model)} "
            f"with {found}; load it with AutoModelForSequenceClassification, or say where they are in what "
            "the model returns: logits= a key, an index or a function (explain and attribute also serve "
            "models that answer at each position)"
        )
    return logits


def wider(dtype: torch.dtype) -> str:
    """The name of the method of a model that gives it another type, of which less gets lost.

    What is not finite in float64 was made so in a narrower type: masks of its lowest number, most often.
    """
    return "double" if dtype == torch.float32 else "float"


def _narrow(dtype: torch.dtype) -> str:
    return "a type that its code casts them to" if dtype == torch.float64 else str(dtype)


def check_finite(model: nn.Module, logits: Tensor) -> None:
    """Raise NonFiniteError, with its index, if a row of the logits has a number that is none."""
    if bool(torch.isfinite(logits).all()):
        return
    broken = [
        name
        for name, p in bare(model).named_parameters()
        if type(p) is nn.Parameter and not p.is_meta and not bool(torch.isfinite(p).all())
    ]
    row = int((~torch.isfinite(logits)).any(-1).nonzero()[0, 0])
    cause = (
        f"the weights of {', '.join(broken[:3])}{', ...' if len(broken) > 3 else ''} are not finite"
        if broken
        else f"the weights are finite, so {_narrow(logits.dtype)} is too narrow: "
        f"try model.{wider(logits.dtype)}()"
    )
    raise NonFiniteError(
        f"the logits of {PLACE} are not finite ({logits[row].tolist()}): {cause}", row, f"row {row}"
    )


@contextmanager
def hooked(
    modules: Iterable[nn.Module],
    before: Callable[..., Any] | None = None,
    after: Callable[..., Any] | None = None,
) -> Iterator[None]:
    """Hooks in this thread alone, which go with the block, also after an error.

    before, after: of (module, args, kwargs), and of these and the output; what they compute is not seen by a
        function mode.
    """
    owner = threading.get_ident()

    def here(hook: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any) -> Any:
            if threading.get_ident() != owner:
                return None
            with torch._C.DisableTorchFunction():
                return hook(*given)

        return called

    handles: list[Any] = []
    try:
        for module in modules:
            if before is not None:
                handles.append(module.register_forward_pre_hook(here(before), with_kwargs=True))
            if after is not None:
                handles.append(module.register_forward_hook(here(after), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
