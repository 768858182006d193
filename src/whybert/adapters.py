"""Adapters of peft: changes of a base model that are kept in a folder of their own, and put on it.

The base model and its tokenizer are loaded in `whybert.loading`; this module knows the adapter's files.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from whybert.errors import ModelLoadError, one_line, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG: Final = "adapter_config.json"
FILES: Final = ["adapter_model.*", "*.json", "*.txt", "*.model"]
"""What of a repository of the hub is looked at."""

_WEIGHTS: Final = ("adapter_model.safetensors", "adapter_model.bin")
_TOKENIZERS: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
# What stands before the names of the model's own weights in the file of an adapter, and of one of prompts.
_PREFIXES: Final = ("base_model.model.", "base_model.")


@dataclass(frozen=True)
class Adapter:
    """What stands in the folder of an adapter.

    name: how messages call it.  settings: peft's.  weights: by the names in the file.
    base: the folder of the base model, or its id on the hub; `revision` is its revision there.
    """

    folder: Path
    name: str
    settings: Any
    weights: Mapping[str, Tensor]
    base: Path | str
    revision: str | None

    @property
    def own(self) -> dict[str, Tensor]:
        """The weights of the whole model that the adapter brings, such as its head, by the model's names."""
        return {_inner(name): tensor for name, tensor in self.weights.items()}

    @property
    def has_tokenizer(self) -> bool:
        return any((self.folder / name).is_file() for name in _TOKENIZERS)

    @property
    def has_config(self) -> bool:
        return (self.folder / "config.json").is_file()


def read(folder: Path, name: str) -> Adapter:
    """The adapter in a folder; of its files only tensors and JSON are read.

    Raises:
        ModelLoadError: what is wrong with them.
        MissingExtraError: peft is not installed.
    """
    peft = require("peft", f"the adapter {name!r}", "train")
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"the {CONFIG} of {name!r} cannot be read: {one_line(error)}") from error
    if not isinstance(found, dict) or "peft_type" not in found:
        raise ModelLoadError(
            f"the {CONFIG} of {name!r} is not one of peft (it has no 'peft_type'); an adapter of another "
            "library has to be merged into its model there, and the whole model saved"
        )
    if found["peft_type"] not in peft.PeftType.__members__:
        raise ModelLoadError(
            f"the adapter {name!r} is of the kind {found['peft_type']!r}, which the installed peft "
            f"{peft.__version__} does not know; update peft"
        )
    base = found.get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise ModelLoadError(
            f"the adapter {name!r} does not say of which model it is a change; write its folder or hub id "
            f"into {CONFIG} (base_model_name_or_path)"
        )
    weights = _read_weights(folder, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # settings of a newer peft; weights without a place are refused
            settings = peft.PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # whatever its checks raise
        raise ModelLoadError(f"the {CONFIG} of {name!r} cannot be used: {one_line(error)}") from error
    return Adapter(folder, name, settings, weights, _place(folder, base), settings.revision)


def _read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    path = next((folder / each for each in _WEIGHTS if (folder / each).is_file()), None)
    if path is None:
        raise ModelLoadError(
            f"the adapter {name!r} has no weights: neither {' nor '.join(_WEIGHTS)}; save it there again"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelLoadError(
            f"the {path.name} of {name!r} is a pickle that holds more than weights, or is damaged; it was "
            "not run, since it can run any code: where you trust it, load it with peft and save it again"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise ModelLoadError(
            f"the {path.name} of {name!r} is damaged: {one_line(error)}; copy or download it again"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise ModelLoadError(f"the {path.name} of {name!r} holds no weights by name; save the adapter again")
    return found


def _place(folder: Path, base: str) -> Path | str:
    """Where the base is: a path of it may be meant from the adapter's folder, or from where one stands."""
    written = Path(base).expanduser()
    for path in (folder / written, written):
        if path.is_dir():
            return path.resolve()
    return base


def _inner(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def put_on(model: PreTrainedModel, adapter: Adapter) -> Any:
    """The model with the adapter: merged into its weights, or around it where that cannot be.

    Raises:
        ModelLoadError: the adapter does not fit the model.
    """
    peft = require("peft", f"the adapter {adapter.name!r}", "train")
    words: Any = model.get_input_embeddings()
    table = next((name for name, each in model.named_parameters() if each is words.weight), None)
    rows = len(adapter.own[table]) if table in adapter.own else len(words.weight)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say of missing weights is checked below, and raised
            if rows != len(words.weight):
                model.resize_token_embeddings(rows, mean_resizing=False)
            adapted = peft.PeftModel.from_pretrained(
                model, str(adapter.folder), autocast_adapter_dtype=False, torch_device="cpu"
            ).eval()
            expected = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
            known = set(expected) | set(adapted.state_dict())
            _check_names(adapter, set(expected) - set(adapter.weights), set(adapter.weights) - known)
            if adapter.settings.is_prompt_learning or getattr(model, "hf_quantizer", None) is not None:
                return adapted
            return adapted.merge_and_unload(safe_merge=True).eval()
    except ModelLoadError:
        raise
    except Exception as error:  # peft raises errors of many kinds where shapes or names do not fit
        raise ModelLoadError(
            f"the adapter {adapter.name!r} does not fit its base model {str(adapter.base)!r}: "
            f"{one_line(error)}; see that it is the one it was trained on"
        ) from error


def _check_names(adapter: Adapter, missing: set[str], unexpected: set[str]) -> None:
    for names, what in ((missing, "lacks"), (unexpected, "holds what has no place in its base model:")):
        if names:
            listed = sorted(names)
            more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
            raise ModelLoadError(
                f"the adapter {adapter.name!r} {what} {', '.join(listed[:3])}{more}; see that "
                f"{str(adapter.base)!r} is the model it was trained on, and save it there again with peft"
            )
