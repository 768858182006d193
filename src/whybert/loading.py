"""Models and tokenizers from folders, from the hub, and the built-in one: loaded safely, errors explained.

This is the only module that calls the `Auto` classes of transformers.
"""

from __future__ import annotations

import difflib
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import huggingface_hub
import torch
import transformers
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from transformers.models.auto import modeling_auto as heads
from transformers.utils.peft_utils import find_adapter_config_file

from whybert import adapters, builtin
from whybert.adapters import Adapter
from whybert.datasets.base import SINGLE
from whybert.errors import ModelLoadError, UsageError, WhybertError, one_line
from whybert.folders import WEIGHT_FILES, check_folder, check_head
from whybert.targets import label_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BUILTIN = "builtin"
_Noted = TypeVar("_Noted")

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

    A model that was saved with another head, such as one for tokens, is loaded with that.

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
    # A head that is drawn anew is one that the adapter replaces; what is drawn is not the caller's.
    with quiet(), torch.random.fork_rng(devices=[]):
        if is_builtin:
            model, tokenizer = builtin.load_builtin()
            model = model.to(dtype=kind)
            name = BUILTIN
        else:
            model, tokenizer = _load(folder or str(source), kind, revision, trust_remote_code)
            name = folder.name if folder is not None else str(source)
    try:
        model = model.to(place)
    except (RuntimeError, ValueError) as error:
        raise ModelLoadError(
            f"{name!r} could not be moved to {place}: {one_line(error)}; try device='cpu'"
        ) from error
    return model.eval(), tokenizer, name


def load_encoder(
    source: str,
    labels: Sequence[str],
    *,
    do_lower_case: bool | None = None,
    problem_type: str = SINGLE,
    numbers: tuple[float, float] = (0.0, 1.0),
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder with a classification head for `labels`, to be fine-tuned, and its tokenizer.

    `source` is a folder, a file of weights in one, or a hub id; the head of a classifier is kept if it is
    for the same labels, and replaced otherwise.  `do_lower_case` overrides the tokenizer's own setting.
    New weights are drawn from torch's random numbers.  `numbers` are mean and spread of what a regression is
    to answer: the answers of a new head begin there.

    Raises:
        ModelLoadError: what is wrong with the source; also a vocabulary that does not fit the weights.
        UsageError: the tokenizer cannot be told `do_lower_case`.
    """
    path = Path(source).expanduser()
    place = _folder(path.parent if path.is_file() and path.name in WEIGHT_FILES else source)
    if place is not None:
        if (place / adapters.CONFIG).is_file():
            raise ModelLoadError(
                f"{str(place)!r} holds an adapter; save the whole model first: "
                "whybert.Classifier.load(folder).model.save_pretrained(another folder)"
            )
        check_folder(place)

    def relabel(config: Any) -> tuple[str, ...]:
        saved = label_names(config)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.problem_type = problem_type
        return saved

    options = {"trust_remote_code": False}
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
        _renew_output(model, len(labels), *numbers)
    return model, tokenizer


def load_masked_lm(source: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """A masked language model in eval mode on the CPU, its tokenizer and its name, from a folder or the hub.

    Only plain weights are loaded, and none of the code that a repository brings along.

    Raises:
        ModelLoadError: what is wrong with the source; also one whose head predicts no tokens.
    """
    folder = _folder(source)
    if folder is not None:
        check_folder(folder)
    if source == BUILTIN:
        raise ModelLoadError(f"{BUILTIN!r} is a classifier, and predicts no tokens; {_MASKED_LM[1]}")
    options = {"revision": "main", "trust_remote_code": False}
    with quiet(), torch.random.fork_rng(devices=[]):
        model, info, tokenizer, saved_as = _read(
            folder or str(source),
            torch.float32,
            lambda config: config.architectures or (),
            options,
            auto=lambda _: AutoModelForMaskedLM,
        )
    _check_loaded_model(model, info, folder or str(source), saved_as, _MASKED_LM)
    return model.eval(), tokenizer, folder.name if folder is not None else str(source)


def load_states(source: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """A model of hidden states in eval mode on the CPU, its tokenizer and its name, from a folder or the hub.

    Only plain weights are loaded, and none of the code that a repository brings along.

    Raises:
        ModelLoadError: what is wrong with the source.
    """
    folder = _folder(source)
    if folder is not None:
        check_folder(folder)
    options = {"revision": "main", "trust_remote_code": False}
    with quiet(), torch.random.fork_rng(devices=[]):
        model, info, tokenizer, _ = _read(
            folder or str(source), torch.float32, lambda _: (), options, auto=lambda _: AutoModel
        )
    missing = {name for name in info["missing_keys"] if not name.startswith("pooler.")}  # behind the states
    _check_loaded_model(model, {**info, "missing_keys": missing}, folder or str(source), (), _STATES)
    return model.eval(), tokenizer, folder.name if folder is not None else str(source)


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
    _check_layers(model, info["unexpected_keys"], source)
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


def _renew_output(model: PreTrainedModel, count: int, mean: float, spread: float) -> None:
    """Draw the output layer anew: one for other labels, or for another order of them, is no start."""
    layer: Any = model.get_submodule(_output_layer(model, count))
    torch.nn.init.normal_(layer.weight, std=spread * getattr(model.config, "initializer_range", 0.02))
    if layer.bias is not None:
        torch.nn.init.constant_(layer.bias, mean)


def _output_layer(model: PreTrainedModel, count: int) -> str:
    """The name of the layer that gives the `count` logits: the last linear one of as many outputs; or ""."""
    names: list[str] = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == count
    ]
    return names[-1] if names else ""


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
    if found not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
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
    options = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    folder = source if isinstance(source, Path) else _adapter_on_the_hub(source, revision or "main")
    if folder is not None and (folder / adapters.CONFIG).is_file():
        if any((folder / name).is_file() for name in WEIGHT_FILES):
            raise ModelLoadError(
                f"{str(source)!r} holds both a whole model and an adapter, which may be in it already; move "
                "one of them to a folder of its own"
            )
        return _load_adapted(adapters.read(folder, str(source)), dtype, trust_remote_code)
    if isinstance(source, Path):
        check_folder(source)
        check_head(source)
    model, info, tokenizer, saved_as = _read(
        source, dtype, lambda config: config.architectures or (), options, auto=_auto_of
    )
    _check_loaded_model(model, info, source, saved_as)
    return model, tokenizer


def _adapter_on_the_hub(source: str, revision: str) -> Path | None:
    """The folder into which an adapter was fetched from the hub; None for what is none or is not there."""
    try:
        if find_adapter_config_file(source, revision=revision) is None:
            return None
    except Exception:  # of many kinds; the configuration is asked for next
        return None
    try:
        found = huggingface_hub.snapshot_download(source, revision=revision, allow_patterns=adapters.FILES)
    except Exception as error:
        raise ModelLoadError(_explanation(error, source, "adapter")) from error
    return Path(found)


def _load_adapted(
    adapter: Adapter, dtype: torch.dtype, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model of an adapter with the adapter on it, and the tokenizer of either."""
    options = {"revision": adapter.revision or "main", "trust_remote_code": trust_remote_code}

    def prepare(config: Any) -> tuple[str, ...]:
        """The labels are the adapter's: those of its own configuration, or as many as its head has."""
        with torch.device("meta"):
            auto: Any = AutoModelForSequenceClassification
            plain = auto.from_config(config, trust_remote_code=trust_remote_code)
        layer = _output_layer(plain, config.num_labels)
        head = adapter.own.get(f"{layer}.weight")
        if head is not None and len(head) != config.num_labels and not adapter.has_config:
            config.num_labels = len(head)
        return tuple(config.architectures or ())

    if isinstance(adapter.base, Path) and (adapter.base / adapters.CONFIG).is_file():
        raise ModelLoadError(
            f"the base model {str(adapter.base)!r} of the adapter {adapter.name!r} is an adapter too, or has "
            "one beside it; merge that first (merge_and_unload) and save the whole model there"
        )
    try:
        if isinstance(adapter.base, Path):
            check_folder(adapter.base)
        model, info, tokenizer, saved_as = _read(
            adapter.base,
            torch.promote_types(dtype, torch.float32),
            prepare,
            options,
            config=adapter.folder if adapter.has_config else None,
            tokenizer=adapter.folder if adapter.has_tokenizer else None,
        )
        own = adapter.own
        info = {
            **info,
            "missing_keys": [name for name in info["missing_keys"] if name not in own],
            "mismatched_keys": [each for each in info["mismatched_keys"] if each[0] not in own],
        }
        lost = sorted(info["missing_keys"])
        inner = [name for name in lost if name.startswith(f"{model.base_model_prefix}.")]
        if not lost or not all("pooler" in name for name in inner):
            _check_loaded_model(model, info, adapter.base, saved_as)
    except ModelLoadError as error:
        raise ModelLoadError(f"the base model of the adapter {adapter.name!r}: {error}") from error
    if lost:
        raise ModelLoadError(
            f"neither the adapter {adapter.name!r} nor its base model {str(adapter.base)!r} has "
            f"{', '.join(lost[:4])}{_more(len(lost) - 4)}: drawn at random before the training, they are "
            "lost; train it again and save them with it (task_type='SEQ_CLS', modules_to_save)"
        )
    return adapters.put_on(model, adapter).to(dtype), tokenizer


def _read(
    source: Path | str,
    dtype: torch.dtype,
    prepare: Callable[[Any], _Noted],
    options: Mapping[str, Any],
    config: Path | None = None,
    tokenizer: Path | None = None,
    auto: Callable[[Any], Any] = lambda _: AutoModelForSequenceClassification,
) -> tuple[Any, dict[str, Any], PreTrainedTokenizerBase, _Noted]:
    """The model, what was found about its weights, the tokenizer, and what `prepare` notes.

    prepare: is given the configuration before the model is made of it.
    config, tokenizer: the folders of these, where they are elsewhere.
    auto: from the configuration to the class that makes the model, with the head that it is for.
    """
    step = "configuration"

    def options_for(place: Path | str) -> dict[str, Any]:
        return {**options, "local_files_only": isinstance(place, Path) and not options["trust_remote_code"]}

    try:
        place = config or source
        settings = AutoConfig.from_pretrained(place, **options_for(place))
        noted = prepare(settings)
        chosen = auto(settings)
        _check_family(settings, chosen, source)
        step = "tokenizer"
        place = tokenizer or source
        words = AutoTokenizer.from_pretrained(place, **options_for(place))
        _check_loaded_tokenizer(words, place)
        step = "quantised model" if getattr(settings, "quantization_config", None) else "model"
        model, info = chosen.from_pretrained(
            source,
            config=settings,
            dtype=dtype,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the callers report weights of another shape, by name
            **options_for(source),
        )
    except WhybertError:
        raise
    except Exception as error:  # transformers, its parsers and the network raise errors of many kinds
        raise ModelLoadError(_explanation(error, source, step)) from error
    return model, info, words, noted


def _check_loaded_tokenizer(tokenizer: PreTrainedTokenizerBase, source: Path | str) -> None:
    if len(tokenizer) <= len(tokenizer.all_special_tokens) + _TOKENS_WITHOUT_FILES:
        raise ModelLoadError(
            f"{str(source)!r} has no tokenizer: none of its vocabulary files is there; "
            "call tokenizer.save_pretrained on the same folder"
        )


_AUTO: Final[tuple[tuple[Any, Mapping[str, Any]], ...]] = (
    (AutoModelForSequenceClassification, heads.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    (AutoModelForTokenClassification, heads.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
    (AutoModelForQuestionAnswering, heads.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES),
    (AutoModelForMultipleChoice, heads.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES),
    (AutoModelForMaskedLM, heads.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    (AutoModelForCausalLM, heads.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
)
"""Which of them loads what a configuration says was saved: the first that has a class of that name."""


def _auto_of(config: Any) -> Any:
    """What loads a model with the head with which it was saved; a classifier where none is known."""
    saved_as = set(getattr(config, "architectures", None) or ())
    known = (auto for auto, names in _AUTO if saved_as.intersection(names.values()))
    return next(known, AutoModelForSequenceClassification)


def _check_family(config: Any, auto: Any, source: Path | str) -> None:
    """Refuse a kind of model, as of pictures, of which transformers has none that answers about texts."""
    if type(config) in auto._model_mapping or auto.__name__ in getattr(config, "auto_map", ()):
        return
    saved_as = getattr(config, "architectures", None)
    kind = f"{', '.join(saved_as)} of the kind" if saved_as else "model of the kind"
    raise ModelLoadError(
        f"the model of {str(source)!r} could not be loaded: it is a {kind} {config.model_type!r}, of which "
        f"{auto.__name__} knows none; pass a classifier of texts, or what you load yourself, as "
        "Classifier(module, tokenizer)"
    )


# What a model without its head has not, and the way out.
_CLASSIFIER: Final = ("classification head", "fine-tune it for sequence classification first")
_STATES: Final = ("whole encoder", "save it with save_pretrained")
_MASKED_LM: Final = (
    "head that predicts tokens",
    "pass a masked language model, such as the pre-trained one that the classifier was fine-tuned from",
)


def _check_loaded_model(
    model: PreTrainedModel,
    info: dict[str, Any],
    source: Path | str,
    saved_as: Sequence[str],
    wanted: tuple[str, str] = _CLASSIFIER,
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
        if isinstance(source, Path) and (source / "modules.json").is_file():
            origin = "it is an encoder of sentence-transformers, which gives vectors and no labels"
        raise ModelLoadError(
            f"{str(source)!r} has no {wanted[0]}: {', '.join(head[:4])} missing"
            f"{_more(len(head) - 4)} ({origin}); {wanted[1]}"
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
    weights = model.state_dict()
    deeper = sorted(name for name in info["unexpected_keys"] if re.sub(r"\.\d+\.", ".0.", name) in weights)
    if deeper:
        raise ModelLoadError(
            f"the weights of {str(source)!r} have more layers than its config.json says: {deeper[0]}"
            f"{_more(len(deeper) - 1)} would be left out; mend num_hidden_layers there, or, where that is "
            "meant, load it with transformers and pass (model, tokenizer)"
        )
    _check_layers(model, info["unexpected_keys"], source)


def _check_layers(model: PreTrainedModel, found: Iterable[str], source: Path | str) -> None:
    """Refuse weights beside those of a layer, without which its own may mean something else."""
    layers = {f"{name}." for name, each in model.named_modules() if name and each._parameters}
    beside = sorted(name for name in found if any(map(name.startswith, layers)))
    if beside:
        raise ModelLoadError(
            f"the weights of {str(source)!r} hold {beside[0]}{_more(len(beside) - 1)} in a layer that has "
            "none such: they are quantised, or with an adapter, and config.json does not say how to read "
            "them (quantization_config); save the model and its configuration together"
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
    way = (
        "install what is missing for it, or pass the model as it was before it was quantised"
        if step == "quantised model"
        else "pass a folder that save_pretrained wrote, a hub id or 'builtin'"
    )
    return f"the {step} of {name!r} could not be loaded: {one_line(error)}; {way}"


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
