"""Models and tokenizers from folders, from the hub, and the built-in one: loaded safely, errors explained.

This is the only module that calls the `Auto` classes of transformers.
"""

from __future__ import annotations

import difflib
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import huggingface_hub
import torch
import transformers
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from whybert import builtin
from whybert.errors import ModelLoadError, UsageError, WhybertError, one_line
from whybert.targets import label_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BUILTIN = "builtin"
_Noted = TypeVar("_Noted")

_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# A tokenizer class without its files still loads, with its special tokens and up to this many others.
_TOKENS_WITHOUT_FILES = 2
_LIKE_BUILTIN = 0.75  # of the letters of a misspelt "builtin"; no model of the hub comes near it


def load_classifier(
    source: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """The model of a classifier in eval mode, its tokenizer and its name; see `Classifier.load`.

    Raises:
        ModelLoadError, MissingExtraError, UsageError: as `Classifier.load`.
    """
    place, kind = _device(device), _dtype(dtype)
    if not isinstance(source, str | os.PathLike):
        raise UsageError(
            f"source must be 'builtin', a folder or a hub id, not {type(source).__name__}; "
            "to use a loaded model, call Classifier(model, tokenizer)"
        )
    is_builtin, folder = source == BUILTIN, _folder(source)
    if revision is not None and (is_builtin or folder is not None):
        raise UsageError(f"revision is for models on the hub, and {str(source)!r} is not there; leave it out")
    model: Any
    tokenizer: PreTrainedTokenizerBase
    with quiet():
        if is_builtin:
            model, tokenizer = builtin.load_builtin()
            model = model.to(dtype=kind)
            name = BUILTIN
        else:
            model, tokenizer = _load(folder or str(source), kind, revision, trust_remote_code)
            name = folder.name if folder is not None else str(source)
    try:
        model = model.to(place)
    except RuntimeError as error:
        raise ModelLoadError(
            f"{name!r} could not be moved to {place}: {one_line(error)}; try device='cpu'"
        ) from error
    return model.eval(), tokenizer, name


def load_encoder(
    source: str, labels: Sequence[str], *, do_lower_case: bool | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder with a classification head for `labels`, to be fine-tuned, and its tokenizer.

    `source` is a folder, a file of weights in one, or a hub id; the head of a classifier is kept if it is
    for the same labels and replaced otherwise.  `do_lower_case` overrides the tokenizer's own setting.
    New weights are drawn from torch's random numbers.

    Raises:
        ModelLoadError: what is wrong with the source; also a vocabulary that does not fit the weights.
        UsageError: the tokenizer cannot be told `do_lower_case`.
    """
    path = Path(source).expanduser()
    place = _folder(path.parent if path.is_file() and path.name in _WEIGHT_FILES else source)
    if place is not None:
        _check_folder(place)

    def relabel(config: Any) -> tuple[str, ...]:
        saved = label_names(config)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.problem_type = "single_label_classification"
        return saved

    options = {"trust_remote_code": False, "local_files_only": place is not None}
    with quiet():  # a head for another number of labels is no error; other weights are refused
        model, info, tokenizer, saved = _read(place or source, torch.float32, relabel, options)
    _check_encoder(model, info, source)
    if do_lower_case is not None:
        _set_lower_case(tokenizer, do_lower_case, source)
    rows = len(model.get_input_embeddings().weight)
    if len(tokenizer) > rows:
        raise ModelLoadError(
            f"the vocabulary of {source!r} has {len(tokenizer)} tokens, but its weights know only {rows}; "
            "use the vocabulary that belongs to the checkpoint"
        )
    if info["mismatched_keys"] or saved != tuple(labels):
        _renew_output(model, len(labels))
    return model, tokenizer


def _check_encoder(model: PreTrainedModel, info: dict[str, Any], source: str) -> None:
    """Refuse weights of which a part of the encoder is missing; a head may be, it is drawn anew."""
    prefix = f"{model.base_model_prefix}."
    if info["error_msgs"]:
        raise ModelLoadError(
            f"the weights of {source!r} could not be used: {one_line(info['error_msgs'][0])}; "
            "save the model again"
        )
    # Masked language models have no pooler.
    missing = [name for name in info["missing_keys"] if name.startswith(prefix) and "pooler" not in name]
    _check_names(missing, info["unexpected_keys"], len(model.state_dict()), source)
    misshapen = [name for name, *_ in info["mismatched_keys"] if name.startswith(prefix)]
    wrong = sorted({*missing, *misshapen})
    if wrong:
        raise ModelLoadError(
            f"the weights of {source!r} do not fit its config.json: {', '.join(wrong[:4])} missing or of "
            f"another shape{_more(len(wrong) - 4)}; save config and weights together"
        )


def _set_lower_case(tokenizer: PreTrainedTokenizerBase, lower_case: bool, source: str) -> None:
    """Let the tokenizer lower-case texts or not, and remember it where it is saved."""
    normalizer: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if hasattr(normalizer, "lowercase"):
        normalizer.lowercase = lower_case
        # Whatever the saved settings say, a tokenizer that is built from them does the same.
        tokenizer.init_kwargs["do_lower_case"] = lower_case
        if hasattr(tokenizer, "do_lower_case"):
            tokenizer.do_lower_case = lower_case
        return
    lowers = normalizer is not None and normalizer.normalize_str("A") == "a"
    if lowers != lower_case:
        raise UsageError(
            f"the tokenizer of {source!r} {'lower-cases' if lowers else 'keeps the case of'} every text, and "
            "has no setting for it (only BERT's have); leave do_lower_case out"
        )


def _renew_output(model: PreTrainedModel, count: int) -> None:
    """Draw the output layer anew: one for other labels, or for another order of them, is no start."""
    layers = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == count
    ]
    torch.nn.init.normal_(layers[-1].weight, std=getattr(model.config, "initializer_range", 0.02))
    if layers[-1].bias is not None:
        torch.nn.init.zeros_(layers[-1].bias)


def _device(device: str | torch.device | None) -> torch.device:
    try:
        place = torch.device("cpu" if device is None else device)
        if place.type == "meta":
            raise UsageError("a model on the device 'meta' has no weights to run; use device='cpu'")
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise UsageError(f"the device {str(device)!r} is not available here; use device='cpu'") from error
    return place


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    found = (
        torch.float32 if dtype is None else getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    )
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError(f"dtype must be float32, float64, bfloat16 or float16, not {dtype!r}")
    return found


def _folder(source: str | os.PathLike[str]) -> Path | None:
    """The folder that the source is, or None for "builtin" and for what can only be a hub id.

    Raises:
        ModelLoadError: it is none of them; a misspelt "builtin" too, so that the hub is not asked.
    """
    if source == BUILTIN:
        return None
    path, text = Path(source).expanduser(), str(source)
    if text and path.is_dir():
        return path.resolve()
    if text and path.exists():
        raise ModelLoadError(f"{text!r} is a file; pass the folder that save_pretrained wrote, or 'builtin'")
    # An id on the hub is `name` or `owner/name`.
    if (
        not isinstance(source, str)
        or text[:1] in {"", ".", "~"}
        or "\\" in text
        or text.count("/") > 1
        or ("/" in (text[:1], text[-1:]))
    ):
        raise ModelLoadError(
            f"there is no folder {text!r}; pass a folder that save_pretrained wrote, a hub id or 'builtin'"
        )
    if "/" not in text and difflib.get_close_matches(text.casefold(), [BUILTIN], cutoff=_LIKE_BUILTIN):
        raise ModelLoadError(f"there is no folder {text!r}; did you mean {BUILTIN!r}?")
    return None


def _load(
    source: Path | str, dtype: torch.dtype, revision: str | None, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer from a folder (a Path) or the hub (a str)."""
    local = isinstance(source, Path)
    if isinstance(source, Path):
        _check_folder(source)
    options: dict[str, Any] = {
        "revision": revision or "main",
        "trust_remote_code": trust_remote_code,
        "local_files_only": local and not trust_remote_code,
    }
    model, info, tokenizer, saved_as = _read(
        source, dtype, lambda config: config.architectures or (), options
    )
    _check_loaded_model(model, info, source, saved_as)
    return model, tokenizer


def _read(
    source: Path | str, dtype: torch.dtype, prepare: Callable[[Any], _Noted], options: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], PreTrainedTokenizerBase, _Noted]:
    """The model, what was found about its weights, the tokenizer, and what `prepare` notes.

    prepare: is given the configuration before the model is made of it.
    """
    step = "configuration"
    try:
        config = AutoConfig.from_pretrained(source, **options)
        noted = prepare(config)
        step = "tokenizer"
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        _check_loaded_tokenizer(tokenizer, source)
        step = "model"
        model, info = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the callers report weights of another shape, by name
            **options,
        )
    except WhybertError:
        raise
    except Exception as error:  # transformers, its parsers and the network raise errors of many kinds
        raise ModelLoadError(_explanation(error, source, step)) from error
    return model, info, tokenizer, noted


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelLoadError(
                f"{str(folder)!r} holds an adapter without its model; load it with peft, "
                "call merge_and_unload() and save the whole model"
            )
        raise ModelLoadError(
            f"{str(folder)!r} has no config.json; pass a folder that save_pretrained wrote, or 'builtin'"
        )
    if not any((folder / name).is_file() for name in _WEIGHT_FILES):
        raise ModelLoadError(
            f"{str(folder)!r} has no weights: none of {', '.join(_WEIGHT_FILES)}; save the model there again"
        )


def _check_loaded_tokenizer(tokenizer: PreTrainedTokenizerBase, source: Path | str) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise ModelLoadError(
            f"{str(source)!r} has only a slow tokenizer ({type(tokenizer).__name__}), which does not know "
            "where in the text its tokens are; save a fast one there (a tokenizer.json)"
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens) + _TOKENS_WITHOUT_FILES:
        raise ModelLoadError(
            f"{str(source)!r} has no tokenizer: none of its vocabulary files is there; "
            "call tokenizer.save_pretrained on the same folder"
        )


def _check_loaded_model(
    model: PreTrainedModel, info: dict[str, Any], source: Path | str, saved_as: Sequence[str]
) -> None:
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        name, found, expected = mismatched[0]
        raise ModelLoadError(
            f"the weights of {str(source)!r} do not fit its config.json: {name} has shape {tuple(found)}, "
            f"expected {tuple(expected)}{_more(len(mismatched) - 1)}; save config and weights together"
        )
    missing = sorted(info["missing_keys"])
    _check_names(missing, info["unexpected_keys"], len(model.state_dict()), source)
    head = [name for name in missing if not name.startswith(f"{model.base_model_prefix}.")]
    if head:
        origin = (
            f"it was saved as {', '.join(saved_as)}" if saved_as else "its config.json names no architecture"
        )
        raise ModelLoadError(
            f"{str(source)!r} has no classification head: {', '.join(head[:4])} missing"
            f"{_more(len(head) - 4)} ({origin}); fine-tune it for sequence classification first"
        )
    if missing:
        raise ModelLoadError(
            f"the weights of {str(source)!r} are incomplete: {', '.join(missing[:4])} missing"
            f"{_more(len(missing) - 4)}; save the model again"
        )
    if info["error_msgs"]:
        raise ModelLoadError(
            f"the weights of {str(source)!r} could not be used: {one_line(info['error_msgs'][0])}; "
            "save the model again"
        )


def _check_names(missing: Sequence[str], found: set[str], count: int, source: Path | str) -> None:
    """Refuse weights that are all there under other names, or none of which is one of the `count` weights."""
    for prefix in {name.removesuffix(missing[0]) for name in found if missing and name.endswith(missing[0])}:
        if prefix and all(prefix + name in found for name in missing):
            raise ModelLoadError(
                f"the names of the weights of {str(source)!r} begin with {prefix!r}, as those of a wrapped "
                "model do (DataParallel: 'module.', torch.compile: '_orig_mod.'); save the model inside of "
                f"it, or take {prefix!r} from the names"
            )
    if found and len(missing) == count:
        raise ModelLoadError(
            f"none of the weights of {str(source)!r} is one of the model's: it holds "
            f"{', '.join(map(repr, sorted(found)[:3]))}{_more(len(found) - 3)}; save the state_dict itself, "
            "or call save_pretrained"
        )


def _explanation(error: Exception, source: Path | str, step: str) -> str:
    """One line for an error that was raised while `step` ("configuration", ...) was loaded."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    name = str(source)
    if any(isinstance(found, pickle.UnpicklingError) for found in chain):
        held = held_by_pickle(error)
        return (
            f"the checkpoint of {name!r} is a pickle that holds more than weights"
            f"{f' ({held})' if held else ''}, or is damaged; it was not run, since it can run any code: "
            "where you trust it, load it with torch.load and save it as safetensors (save_pretrained)"
        )
    if step == "model" and isinstance(error, EOFError | LookupError | UnicodeError):
        return f"the weights of {name!r} are damaged, or are none; copy or download them again"
    for kinds, message in _EXPLANATIONS:
        for found in chain:
            if isinstance(found, kinds):
                return message.format(name=repr(name), detail=one_line(found))
    for found in chain:
        if type(found).__module__.partition(".")[0] in _HTTP_CLIENTS:
            return _UNREACHABLE.format(name=repr(name), detail=one_line(found))
    if "trust_remote_code" in str(error):
        return (
            f"{name!r} brings its own code, which was not run; read it, and pass trust_remote_code=True "
            "if you trust it"
        )
    return (
        f"the {step} of {name!r} could not be loaded: {one_line(error)}; "
        "pass a folder that save_pretrained wrote, a hub id or 'builtin'"
    )


def held_by_pickle(error: Exception) -> str | None:
    """What a file holds that PyTorch refuses to read, as its error says; None where it is no such error."""
    found = re.search(r"Unsupported (?:global|class)\S* (?:GLOBAL )?(\S+)|GLOBAL (\S+)", str(error))
    return found and (found[1] or found[2])


_UNREACHABLE = (
    "could not reach the hub for {name}: no network or HF_HUB_OFFLINE is set, and it is not in the cache; "
    "pass a local folder or 'builtin'"
)
# The hub's client lets the errors of its own HTTP client through; which one that is, is its affair.
_HTTP_CLIENTS = frozenset({"httpx", "httpcore", "requests", "urllib3"})
_EXPLANATIONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (SafetensorError,),
        "the model.safetensors of {name} is damaged: {detail}; copy or download it again",
    ),
    (
        (hub_errors.GatedRepoError,),
        "{name} is gated on the hub; ask for access there and log in (hf auth login), or pass a local folder",
    ),
    (
        (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError),
        "there is no folder and no model on the hub with the name {name}, or it is private; "
        "pass a folder, the id owner/name of a model, or 'builtin'",
    ),
    (
        (hub_errors.RevisionNotFoundError,),
        "{name} has no such revision: {detail}; pass a branch, a tag or a commit of its repository",
    ),
    (
        (
            hub_errors.LocalEntryNotFoundError,
            hub_errors.OfflineModeIsEnabled,
            ConnectionError,
            TimeoutError,
        ),
        _UNREACHABLE,
    ),
)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, reports and warnings of transformers and the hub; errors are raised as ever.

    What a report would say about the weights is checked after the load, and raised.
    """
    transformers_log: Any = transformers.utils.logging
    hub_log: Any = huggingface_hub.utils.logging
    hub: Any = huggingface_hub.utils
    verbosity, hub_verbosity = transformers_log.get_verbosity(), hub_log.get_verbosity()
    bars = transformers_log.is_progress_bar_enabled()
    hub_bars = not hub.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers_log.set_verbosity_error()
        hub_log.set_verbosity_error()
        transformers_log.disable_progress_bar()
        try:
            yield
        finally:
            transformers_log.set_verbosity(verbosity)
            hub_log.set_verbosity(hub_verbosity)
            if bars:
                transformers_log.enable_progress_bar()
            if hub_bars:
                hub.enable_progress_bars()
            else:
                hub.disable_progress_bars()
