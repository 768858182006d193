"""What is in a folder that should hold a classifier and does not: the true cause, and the way out.

Only names and first bytes of files are looked at; nothing is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from whybert.errors import ModelLoadError

WEIGHT_FILES: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

_OLD: Final = (
    "which transformers 5 does not read; with transformers 4 in another environment, "
    "AutoModelForSequenceClassification.from_pretrained(folder, {option}=True).save_pretrained(folder) "
    "writes a model.safetensors"
)
_PICKLE: Final = (
    "no model that save_pretrained wrote; where you trust the file, load it in the program that wrote it, "
    "and call save_pretrained on the model and its tokenizer (a state_dict of BERT: whybert convert "
    "--pytorch-checkpoint-path)"
)
_EXPORTED: Final = (
    "an exported graph without derivatives, which cannot be explained; pass the PyTorch model that it was "
    "made from"
)

# What a folder without the weights of a classifier holds in their place.  The first pattern that is there
# counts.
_INSTEAD: Final[tuple[tuple[str, str], ...]] = (
    ("adapter_model.*", "weights of an adapter, but no adapter_config.json; save the adapter there again"),
    ("tf_model.h5", f"weights of TensorFlow, {_OLD.format(option='from_tf')}"),
    ("flax_model.msgpack", f"weights of Flax, {_OLD.format(option='from_flax')}"),
    (
        "*.ckpt*.index",
        "a checkpoint of TensorFlow; whybert convert --tf-checkpoint-path makes a folder of it",
    ),
    ("saved_model.pb", _EXPORTED),
    ("*.onnx", _EXPORTED),
    ("onnx/*.onnx", _EXPORTED),
    ("*.tflite", _EXPORTED),
    ("openvino_model.xml", _EXPORTED),
    ("*.mlpackage", _EXPORTED),
    ("*.gguf", "weights of llama.cpp; pass the model of transformers that they were made from"),
    ("*.ot", "weights of rust-bert; pass the PyTorch model that they were made from"),
    (
        "zero_to_fp32.py",
        "a checkpoint of DeepSpeed; run this program there, which puts the weights together",
    ),
    (
        "*/*.distcp",
        "a checkpoint in the parts of several processes; put them together with accelerate merge-weights",
    ),
    (
        "model.*.safetensors",
        "weights of a variant only; rename the file to model.safetensors",
    ),
    ("pytorch_model.*.bin", "weights of a variant only; rename the file to pytorch_model.bin"),
    ("*.safetensors", "weights under another name; if they are the model's, call them model.safetensors"),
    ("*.ckpt", f"a checkpoint of a training loop such as Lightning's, {_PICKLE}"),
    ("*.pt", _PICKLE),
    ("*.pth", _PICKLE),
    ("*.pkl", _PICKLE),
    ("*.bin", _PICKLE),
)
_LEFT_BY_TRAINING: Final = frozenset(
    {"training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "optimizer.bin"}
)
_POINTER: Final = b"version https://git-lfs"
_POINTED: Final = ("config.json", "tokenizer.json", "vocab.txt", "*.safetensors", "*.bin")


def check_folder(folder: Path) -> None:
    """Refuse a folder in which there can be no classifier.

    Raises:
        ModelLoadError: the cause.
    """
    cause = _cause(folder)
    if cause is not None:
        raise ModelLoadError(f"{str(folder)!r} {cause}")


def check_head(folder: Path) -> None:
    """Refuse a folder of an encoder whose head is elsewhere in it.

    Raises:
        ModelLoadError: the cause.
    """
    if (folder / "config_setfit.json").is_file() or (folder / "model_head.pkl").is_file():
        raise ModelLoadError(
            f"{str(folder)!r} is a SetFit model, whose head is a pickle that was not run; load it where you "
            "trust it (setfit.SetFitModel.from_pretrained) and pass the model"
        )


def _cause(folder: Path) -> str | None:
    for path in _files(folder, *_POINTED):
        if _begins_with(path, _POINTER):
            return f"holds no {path.name} but only a pointer of git to it; run 'git lfs pull' there"
    has_config = (folder / "config.json").is_file()
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        return _instead_of_weights(folder, has_config)
    if not has_config:
        if (folder / "bert_config.json").is_file():
            return "is a checkpoint of BERT from before config.json; whybert convert makes a folder of it"
        return "has weights, but no config.json; call model.config.save_pretrained on the same folder"
    for name in WEIGHT_FILES:
        lacking = _lacking_parts(folder / name) if name.endswith(".index.json") else None
        if lacking and not (folder / name.removesuffix(".index.json")).is_file():
            return f"lacks {lacking}, a part of its weights that {name} names; copy or download it again"
    return None


def _instead_of_weights(folder: Path, has_config: bool) -> str:
    inner = [each.parent for each in _files(folder, "*/config.json") if _has_weights(each.parent)]
    inner += [each.parent for each in _files(folder, "*/adapter_config.json")]
    checkpoints = [
        (int(number), each) for each in inner if (number := each.name.removeprefix("checkpoint-")).isdecimal()
    ]
    if checkpoints:
        newest = str(max(checkpoints)[1])
        return f"holds no model itself but the checkpoints of a training; the newest is {newest!r}"
    if (folder / "modules.json").is_file():
        return (
            "is an encoder of sentence-transformers, which gives vectors and no labels; fine-tune a "
            f"classifier on it{f' (its transformer is in {str(inner[0])!r})' if inner else ''}"
        )
    if len(inner) == 1 and not has_config:
        return f"holds no model itself; pass the one inside of it: {str(inner[0])!r}"
    for pattern, what in _INSTEAD:
        found = next((path for path in _there(folder, pattern) if path.name not in _LEFT_BY_TRAINING), None)
        if found is not None:
            return f"has no weights that can be loaded: {found.name} is {what}"
    if not has_config:
        if not any(folder.iterdir()):
            return "is empty; pass a folder that save_pretrained wrote, or 'builtin'"
        left = sorted(_LEFT_BY_TRAINING & {path.name for path in folder.iterdir()})
        return (
            f"has no config.json and no weights{f', only what a training left ({left[0]})' if left else ''}; "
            "pass a folder that save_pretrained wrote, or 'builtin'"
        )
    return f"has no weights: none of {', '.join(WEIGHT_FILES)}; save the model there again"


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def _there(folder: Path, pattern: str) -> Iterator[Path]:
    return iter(sorted(folder.glob(pattern)))


def _files(folder: Path, *patterns: str) -> Iterator[Path]:
    return (path for pattern in patterns for path in _there(folder, pattern) if path.is_file())


def _begins_with(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def _lacking_parts(index: Path) -> str | None:
    """The first part of the weights that the index names and that is not there."""
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return next((part for part in sorted(set(parts)) if not (index.parent / part).is_file()), None)
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None  # no index at all, or a damaged one, which is said when it is read
