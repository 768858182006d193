"""Old checkpoints of BERT as folders that `Classifier.load` and transformers read.

Two kinds are read: the TensorFlow checkpoints of Google's BERT (Devlin et al. 2019, the variable names of
https://github.com/google-research/bert), pre-trained or fine-tuned with its `run_classifier.py`; and the
state dicts that PyTorch code derived from it has written since.  Every variable is used, left out for a
reason of a table, or an error; so is every parameter of the model that is written.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from whybert.errors import ModelLoadError, UsageError, one_line, require

if TYPE_CHECKING:
    import torch
    from rich.table import Table
    from transformers import BertConfig

CONFIG_FILE: Final = "bert_config.json"
VOCABULARY_FILE: Final = "vocab.txt"

Shape = tuple[int, ...]
Place = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion wrote, and what it made of the checkpoint.

    Fields:
        folder: the folder that was written.
        architecture: the class of transformers that it was written for.
        read: how many variables of the checkpoint are in the model.
        skipped: why variables were left out, and how many for each reason.
        labels: of a classifier, in the order of its logits; empty if there is no classifier.
        lower_case: whether the tokenizer lower-cases, and strips accents, as Google's does.
        vocabulary_size: how many tokens the tokenizer knows, the number of rows of the model's embedding.
    """

    folder: Path
    architecture: str
    read: int
    skipped: tuple[tuple[str, int], ...]
    labels: tuple[str, ...]
    lower_case: bool
    vocabulary_size: int

    @property
    def skipped_count(self) -> int:
        """How many variables of the checkpoint are not in the model."""
        return sum(count for _, count in self.skipped)

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for heading, value in _summary(self):
            table.add_row(Text(heading, "dim"), Text(value))
        return table


def convert_tensorflow(
    checkpoint: Place,
    output: Place,
    *,
    config: Place | None = None,
    vocabulary: Place | None = None,
    labels: Sequence[str] | None = None,
    lower_case: bool | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a TensorFlow checkpoint with the variable names of Google's BERT.

    The folder holds BertForSequenceClassification if the checkpoint has a classifier, BertForPreTraining
    if it has both heads of pre-training, and else BertModel; the weights are in float32.

    Args:
        checkpoint: its prefix ("bert_model.ckpt"), one of its files (".index") or a folder that holds one.
        output: a folder that does not exist or is empty; it appears as a whole or not at all.
        config: the file bert_config.json, looked for beside the checkpoint unless given.
        vocabulary: the file vocab.txt, as well.
        labels: the names of the labels of a fine-tuned checkpoint.
        lower_case: None asks the names of the files ("cased", "uncased") and the vocabulary.
        overwrite: whether the output may be a folder that a conversion wrote.

    Raises:
        ModelLoadError: the files are damaged or do not belong together.
        UsageError: wrong labels, an output that holds something else, or a letter case that cannot be told.
        MissingExtraError: TensorFlow is not installed.
    """
    source = _tensorflow_files(Path(checkpoint))
    request = _Request.of(source.files[0].parent, output, config, vocabulary, labels, lower_case, overwrite)
    return _convert(lambda: _read_tensorflow(source), source, request)


def convert_pytorch(
    checkpoint: Place,
    output: Place,
    *,
    config: Place | None = None,
    vocabulary: Place | None = None,
    labels: Sequence[str] | None = None,
    lower_case: bool | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a PyTorch state dict of BERT, a file such as pytorch_model.bin or checkpoint.bin.

    The names may lack "bert.", may start with "module." (DataParallel), and LayerNorms may have `gamma`
    and `beta`; the state dict may be an entry "model", "state_dict" or "model_state_dict" of a training
    state.  Only tensors are read from the file, and no code in it runs.  All else is as for
    `convert_tensorflow`, and so is what it raises.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise ModelLoadError(f"there is no file {str(path)!r}; pass the state dict, a pytorch_model.bin")
    source = _Files("a PyTorch state dict", path, (path,))
    request = _Request.of(path.parent, output, config, vocabulary, labels, lower_case, overwrite)
    return _convert(lambda: _read_pytorch(source), source, request)


def may_hold_conversion(folder: Place) -> bool:
    """Whether a conversion can be written to this folder: it is new, empty or of an earlier conversion."""
    try:
        _check_output(Path(os.path.realpath(folder)), overwrite=True)
    except UsageError:
        return False
    return True


# The names of the parameters: Google's, and those of transformers.  # stands for the number of a layer.


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    """In BertForPreTraining and BertForSequenceClassification."""
    transposed: bool = False
    """Whether TensorFlow has it as (inputs, outputs), where PyTorch has (outputs, inputs)."""


_LINEAR: Final = (("kernel", "weight", True), ("bias", "bias", False))
_LAYER_NORM: Final = (("gamma", "weight", False), ("beta", "bias", False))

_MODULES: Final = (
    ("bert/embeddings/LayerNorm", "bert.embeddings.LayerNorm", _LAYER_NORM),
    ("bert/encoder/layer_#/attention/self/query", "bert.encoder.layer.#.attention.self.query", _LINEAR),
    ("bert/encoder/layer_#/attention/self/key", "bert.encoder.layer.#.attention.self.key", _LINEAR),
    ("bert/encoder/layer_#/attention/self/value", "bert.encoder.layer.#.attention.self.value", _LINEAR),
    ("bert/encoder/layer_#/attention/output/dense", "bert.encoder.layer.#.attention.output.dense", _LINEAR),
    (
        "bert/encoder/layer_#/attention/output/LayerNorm",
        "bert.encoder.layer.#.attention.output.LayerNorm",
        _LAYER_NORM,
    ),
    ("bert/encoder/layer_#/intermediate/dense", "bert.encoder.layer.#.intermediate.dense", _LINEAR),
    ("bert/encoder/layer_#/output/dense", "bert.encoder.layer.#.output.dense", _LINEAR),
    ("bert/encoder/layer_#/output/LayerNorm", "bert.encoder.layer.#.output.LayerNorm", _LAYER_NORM),
    ("bert/pooler/dense", "bert.pooler.dense", _LINEAR),
    ("cls/predictions/transform/dense", "cls.predictions.transform.dense", _LINEAR),
    ("cls/predictions/transform/LayerNorm", "cls.predictions.transform.LayerNorm", _LAYER_NORM),
)
_WORD_EMBEDDINGS: Final = "bert.embeddings.word_embeddings.weight"
_CLASSIFIER: Final = "classifier.weight"
_VARIABLES: Final[Mapping[str, _Parameter]] = {
    "bert/embeddings/word_embeddings": _Parameter(_WORD_EMBEDDINGS),
    "bert/embeddings/position_embeddings": _Parameter("bert.embeddings.position_embeddings.weight"),
    "bert/embeddings/token_type_embeddings": _Parameter("bert.embeddings.token_type_embeddings.weight"),
    "cls/predictions/output_bias": _Parameter("cls.predictions.bias"),
    # Google multiplies by the transposed of these, so they are as PyTorch has them.
    "cls/seq_relationship/output_weights": _Parameter("cls.seq_relationship.weight"),
    "cls/seq_relationship/output_bias": _Parameter("cls.seq_relationship.bias"),
    "output_weights": _Parameter(_CLASSIFIER),
    "output_bias": _Parameter("classifier.bias"),
    **{
        f"{google}/{variable}": _Parameter(f"{module}.{parameter}", transposed)
        for google, module, leaves in _MODULES
        for variable, parameter, transposed in leaves
    },
}
_GOOGLE_NAMES: Final = {parameter.name: name for name, parameter in _VARIABLES.items()}

# Parameters of transformers that are another one, by its name; they are not written.
_TIED: Final[Mapping[str, str]] = {
    "cls.predictions.decoder.weight": _WORD_EMBEDDINGS,
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}

# The first whose heads the checkpoint has is what is written.
_ARCHITECTURES: Final = (
    ("BertForSequenceClassification", ("classifier",)),
    ("BertForPreTraining", ("cls.predictions", "cls.seq_relationship")),
    ("BertModel", ()),
)
_HEADS: Final = tuple(head for _, heads in _ARCHITECTURES for head in heads)
_WITHOUT_PREFIX: Final = "BertModel"

_OPTIMIZER, _STEP, _BUFFER, _STATE, _UNUSED_HEAD = (
    "slots of the optimizer",
    "counters of the training",
    "buffers",
    "other entries of the training state",
    "heads of another task",
)
_SKIPPED_VARIABLES: Final = (
    (
        re.compile(r"(^|/)(adam_[mv]|lamb_[mv]|((AdamWeightDecay|LAMB|Adam)(Optimizer)?)(_\d+)?)(/|\Z)"),
        _OPTIMIZER,
    ),
    (re.compile(r"(^|/)(global_step|beta[12]_power(_\d+)?|(current_)?loss_scale|good_steps)\Z"), _STEP),
)
_SKIPPED_ENTRIES: Final = ((re.compile(r"^bert\.embeddings\.(position|token_type)_ids\Z"), _BUFFER),)
_STATE_DICTS: Final = ("model", "state_dict", "model_state_dict")
_OBJECT_BASED: Final = ("_CHECKPOINTABLE_OBJECT_GRAPH", "/.ATTRIBUTES/")
# How files begin that people take for a state dict, what they are, and the way out.
_OTHER_FILES: Final = (
    (re.compile(rb"\Z"), "an empty file; copy or download it again"),
    (re.compile(rb".{8}\{", re.DOTALL), "a safetensors file; its folder can be loaded without a conversion"),
    (re.compile(rb"\x89HDF"), "an HDF5 file of Keras; pass the checkpoint that it was made of"),
    (
        re.compile(rb"version https://git-lfs"),
        "the pointer of Git LFS to the file; fetch it with git lfs pull",
    ),
    (re.compile(rb"\s*<"), "a web page; download the file itself"),
    (re.compile(rb"\s*[{\[]"), "JSON; pass the file with the weights"),
)


# What is asked for.


@dataclass(frozen=True, slots=True)
class _Files:
    """A checkpoint's files.  kind: what it is, for messages.  path: how messages name it."""

    kind: str
    path: Path
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    output: Path
    config: Path
    vocabulary: Path
    labels: tuple[str, ...] | None
    lower_case: bool | None
    overwrite: bool

    @classmethod
    def of(
        cls,
        beside: Path,
        output: Place,
        config: Place | None,
        vocabulary: Place | None,
        labels: Sequence[str] | None,
        lower_case: bool | None,
        overwrite: bool,
    ) -> _Request:
        folder = Path(os.path.realpath(output))  # what a link points to is written, not the link
        _check_output(folder, overwrite)
        names = None if labels is None else _label_names(labels)
        return cls(
            folder,
            Path(config if config is not None else beside / CONFIG_FILE),
            Path(vocabulary if vocabulary is not None else beside / VOCABULARY_FILE),
            names,
            lower_case,
            overwrite,
        )


def _label_names(labels: Sequence[str]) -> tuple[str, ...]:
    names = tuple(labels)
    if isinstance(labels, str) or not all(isinstance(name, str) and name.strip() for name in names):
        raise UsageError(f"labels must be a list of names, none of them empty, not {labels!r}")
    [(most_common, count)] = Counter(names).most_common(1) or [("", 0)]
    if count != 1:
        problem = f"{most_common!r} is there {count} times" if count else "there is none"
        raise UsageError(f"labels must be different names, but {problem}; give each label its own")
    return names


# The checkpoint, whichever its kind.


@dataclass(frozen=True, slots=True)
class _Variable:
    """One variable of a checkpoint that is a parameter."""

    name: str
    """In the checkpoint."""
    parameter: _Parameter
    shape: Shape
    """In the checkpoint."""

    @property
    def parameter_shape(self) -> Shape:
        return self.shape[::-1] if self.parameter.transposed else self.shape


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """An open checkpoint: the variables that are parameters, and what was left out so far."""

    variables: Mapping[str, _Variable]
    """By the name of the parameter."""
    skipped: Counter[str]
    read: Callable[[str], torch.Tensor]
    """The values of a variable, by its name in the checkpoint."""
    name_of: Callable[[str], str]
    """What a parameter would be called in the checkpoint."""


def _tensorflow_files(path: Path) -> _Files:
    """The index and the shards of the checkpoint that the prefix, file or folder stands for."""
    prefix = _only_prefix(path) if path.is_dir() else path
    prefix = prefix.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", prefix.name))
    index = prefix.with_name(f"{prefix.name}.index")
    if not index.is_file():
        raise ModelLoadError(
            f"there is no TensorFlow checkpoint {str(path)!r}: no file {index.name!r} in "
            f"{str(index.parent)!r}; pass its prefix (bert_model.ckpt), its .index file or its folder"
        )
    pattern = re.compile(re.escape(prefix.name) + r"\.data-(\d{5})-of-(\d{5})")
    found = {match[0]: match for each in index.parent.iterdir() if (match := pattern.fullmatch(each.name))}
    count = max((int(match[2]) for match in found.values()), default=1)
    shards = [f"{prefix.name}.data-{number:05}-of-{count:05}" for number in range(count)]
    missing = [name for name in shards if name not in found]
    if missing:
        raise ModelLoadError(
            f"the checkpoint {str(prefix)!r} is incomplete: {len(missing)} of {count} files with its weights "
            f"missing, {missing[0]!r} for one; copy it again with all its files"
        )
    return _Files("a TensorFlow checkpoint", prefix, (index, *(index.parent / name for name in shards)))


def _only_prefix(folder: Path) -> Path:
    """The prefix of the one checkpoint in a folder, or of the one its file "checkpoint" says is newest."""
    found = sorted(each.name.removesuffix(".index") for each in folder.glob("*.index"))
    state = folder / "checkpoint"
    if len(found) > 1 and state.is_file():
        newest = re.search(
            r'^model_checkpoint_path: "(.+)"', state.read_text(encoding="utf-8", errors="replace"), re.M
        )
        found = [name for name in found if newest and name == newest[1].rpartition("/")[2]] or found
    if len(found) != 1:
        listed = f"{len(found)} of them: {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}"
        raise ModelLoadError(
            f"expected one TensorFlow checkpoint in {str(folder)!r}, found {listed if found else 'none'}; "
            "pass the prefix of the one to convert (bert_model.ckpt)"
        )
    return folder / found[0]


def _read_tensorflow(source: _Files) -> _Checkpoint:
    tensorflow = _import_tensorflow()
    try:
        reader = tensorflow.train.load_checkpoint(str(source.path))
        shapes: dict[str, Any] = reader.get_variable_to_shape_map()
    except Exception as error:  # of TensorFlow's own kinds, which cannot be named without it
        raise _damaged(source, error) from error

    def read(name: str) -> torch.Tensor:
        import torch

        try:
            values = reader.get_tensor(name)
            return torch.from_numpy(values.astype("float32"))
        except Exception as error:
            raise _damaged(source, error, name) from error

    if any(mark in name for name in shapes for mark in _OBJECT_BASED):
        raise ModelLoadError(
            f"{str(source.path)!r} is an object-based checkpoint of TensorFlow 2, which does not have the "
            "names of Google's BERT; pass one that google-research/bert has released or trained"
        )
    variables: dict[str, _Variable] = {}
    skipped: Counter[str] = Counter()
    for name in sorted(shapes):
        found = _layered(name, "/layer_", "/", _VARIABLES.get)
        if found is not None:
            variables[found.name] = _Variable(name, found, tuple(int(size) for size in shapes[name]))
        else:
            skipped[_reason(name, name, _SKIPPED_VARIABLES, source)] += 1
    return _Checkpoint(variables, skipped, read, _google_name)


def _google_name(parameter: str) -> str:
    """What Google calls a parameter of transformers."""
    layer = re.search(r"(?<=\.layer\.)\d+(?=\.)", parameter)
    if layer is None:
        return _GOOGLE_NAMES[parameter]
    general = f"{parameter[: layer.start()]}#{parameter[layer.end() :]}"
    return _GOOGLE_NAMES[general].replace("#", layer[0])


def _layered(
    name: str, before: str, after: str, find: Callable[[str], _Parameter | None]
) -> _Parameter | None:
    """The parameter that a name stands for, with the number of its layer, which `find` sees as #."""
    layer = re.search(rf"(?<={re.escape(before)})(0|[1-9]\d{{0,3}})(?={re.escape(after)})", name)
    if layer is None:
        return find(name) if "#" not in name else None
    found = find(f"{name[: layer.start()]}#{name[layer.end() :]}")
    return found and _Parameter(found.name.replace("#", layer[0]), found.transposed)


def _reason(name: str, current: str, table: Sequence[tuple[re.Pattern[str], str]], source: _Files) -> str:
    """Why a variable that is no parameter is left out; ModelLoadError if there is no reason to.

    name: in the checkpoint.  current: without what is particular to an older one.
    """
    for pattern, reason in table:
        if pattern.search(current):
            return reason
    if known := _in_another_scope(name):
        raise ModelLoadError(
            f"{str(source.path)!r} has the variable {name!r:.120}, where BERT's is {known!r}: its variables "
            "were renamed, or it is another kind of model; give them the names of google-research/bert"
        )
    raise ModelLoadError(
        f"{str(source.path)!r} has the variable {name!r:.120}, which is not one of BERT, of its pre-training "
        "or of a sequence classifier; pass a checkpoint of one of these"
    )


def _in_another_scope(name: str) -> str | None:
    """The variable of Google's that a name is but for the scopes in front."""
    scopes = name.split("/", 4)
    rests = ("/".join(scopes[start:]) for start in range(1, len(scopes)))
    candidates = (f"bert/{rest.removeprefix('bert/')}" for rest in rests)
    return next((known for known in candidates if _layered(known, "/layer_", "/", _VARIABLES.get)), None)


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on stderr, from C++ code neither, and no warnings."""
    before = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is no stderr
        kept = nowhere = -1
    try:
        # Some messages come in spite of the level, and the setting that would stop them slows TensorFlow.
        if kept >= 0:
            os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if kept >= 0:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
        if before is None:
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]
        else:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = before


def _import_tensorflow() -> Any:
    with _silent() if sys.modules.get("tensorflow") is None else nullcontext():
        return require("tensorflow", "reading TensorFlow checkpoints", "tensorflow")


def _read_pytorch(source: _Files) -> _Checkpoint:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(source.path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds: not a pickle, a damaged archive, objects other than tensors
        raise _unreadable(source, error) from error
    skipped: Counter[str] = Counter()
    state = _state_dict(loaded, skipped, source)
    if not isinstance(state, Mapping) or not state:
        what = "an empty dict" if isinstance(state, Mapping) else type(state).__name__
        raise ModelLoadError(
            f"expected a state dict in {str(source.path)!r}, found {what}; save model.state_dict() there"
        )
    tensors: dict[str, torch.Tensor] = {}
    variables: dict[str, _Variable] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelLoadError(
                f"expected only tensors in the state dict {str(source.path)!r}, found {type(value).__name__} "
                f"as {name!r}; save model.state_dict(), alone or as one of {', '.join(_STATE_DICTS)}"
            )
        current = _current_name(name)
        found = _layered(current, ".layer.", ".", _known_parameter)
        if found is None:
            skipped[_reason(name, current, _SKIPPED_ENTRIES, source)] += 1
            continue
        if found.name in variables:
            raise ModelLoadError(
                f"{str(source.path)!r} has {found.name} twice, as {variables[found.name].name!r} and "
                f"{name!r}; remove one of them"
            )
        if not value.is_floating_point() or value.layout is not torch.strided or value.is_meta:
            raise ModelLoadError(
                f"expected {name!r} in {str(source.path)!r} as plain numbers in floating point, found "
                f"{value.dtype} ({value.layout}, {value.device}); save the model before it is quantised"
            )
        tensors[name] = value
        variables[found.name] = _Variable(name, found, tuple(value.shape))
    return _Checkpoint(
        variables, skipped, lambda name: tensors[name].detach().to(torch.float32), lambda parameter: parameter
    )


def _unreadable(source: _Files, error: Exception) -> ModelLoadError:
    """What a file is that PyTorch does not read, in place of its advice to run whatever is in there."""
    from whybert.loading import held_by_pickle

    if held := held_by_pickle(error):
        return ModelLoadError(
            f"{str(source.path)!r} cannot be read as {source.kind}: it holds {held}, and "
            "only tensors are read, because anything else may run code; where it was made, save "
            "model.state_dict() alone"
        )
    if "TorchScript" in str(error):
        return ModelLoadError(
            f"{str(source.path)!r} cannot be read as {source.kind}: it is a TorchScript archive; save the "
            "state_dict() of the model that it was made of"
        )
    with open(source.path, "rb") as file:
        head = file.read(64)
    for pattern, what in _OTHER_FILES:
        if pattern.match(head):
            return ModelLoadError(f"{str(source.path)!r} cannot be read as {source.kind}: it is {what}")
    return _damaged(source, str(error).partition("WeightsUnpickler error: ")[2] or error)


def _state_dict(loaded: Any, skipped: Counter[str], source: _Files) -> Any:
    """The state dict in a training state; counts what is beside it."""
    seen: set[int] = set()
    while isinstance(loaded, Mapping):
        if id(loaded) in seen:
            raise ModelLoadError(
                f"expected a state dict in {str(source.path)!r}, found a dict that holds itself; save "
                "model.state_dict() there"
            )
        seen.add(id(loaded))
        inner = next((key for key in _STATE_DICTS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        if len(loaded) > 1:
            skipped[_STATE] += len(loaded) - 1
        loaded = loaded[inner]
    return loaded


def _current_name(name: str) -> str:
    """The name that transformers has for a parameter of an older state dict."""
    name = re.sub(r"^(module\.)+", "", name)
    name = re.sub(r"^(?=(embeddings|encoder|pooler)\.)", "bert.", name)
    name = re.sub(r"(?<=LayerNorm\.)gamma$", "weight", name)
    return re.sub(r"(?<=LayerNorm\.)beta$", "bias", name)


def _known_parameter(name: str) -> _Parameter | None:
    return _Parameter(name) if name in _GOOGLE_NAMES or name in _TIED else None


def _damaged(source: _Files, error: object, name: str = "") -> ModelLoadError:
    where = f" at {name}" if name else ""
    return ModelLoadError(
        f"{str(source.path)!r} cannot be read as {source.kind}{where}, it is cut short, damaged or something "
        f"else: {one_line(error, 160)}; copy or download it again"
    )


# From a checkpoint to a folder.


def _convert(read: Callable[[], _Checkpoint], source: _Files, request: _Request) -> Conversion:
    from whybert.targets import label_names

    # The small files come first: what is wrong with them is found before gigabytes are read.
    settings = _read_config(request.config)
    tokens = _read_vocabulary(request.vocabulary)
    lower_case = request.lower_case
    if lower_case is None:
        lower_case = _guess_lower_case(tokens, (source.path, request.vocabulary))

    checkpoint = read()
    architecture, variables = _choose(checkpoint, source)
    config = _config(settings, variables, request)
    _check_shapes(architecture, config, variables, checkpoint, request, len(tokens))
    weights = _weights(variables, checkpoint, source, architecture)

    labels = label_names(config) if _CLASSIFIER in variables else ()
    conversion = Conversion(
        folder=request.output,
        architecture=architecture,
        read=len(variables),
        skipped=tuple(sorted(checkpoint.skipped.items())),
        labels=labels,
        lower_case=lower_case,
        vocabulary_size=len(tokens),
    )
    with _whole_folder(request.output, request.overwrite) as folder:
        _write(folder, conversion, config, weights, tokens)
        card = _model_card(conversion, source, request)
        (folder / _CARD).write_text(card, encoding="utf-8", newline="\n")
    return conversion


def _choose(checkpoint: _Checkpoint, source: _Files) -> tuple[str, dict[str, _Variable]]:
    """The architecture that is written, and its variables by parameter; counts those of other heads."""
    heads = {head for head in _HEADS for name in checkpoint.variables if name.startswith(f"{head}.")}
    architecture, kept = next((name, parts) for name, parts in _ARCHITECTURES if heads.issuperset(parts))
    variables = {}
    for name, variable in checkpoint.variables.items():
        if name.startswith(("bert.", *(f"{head}." for head in kept))):
            variables[name] = variable
        else:
            checkpoint.skipped[_UNUSED_HEAD] += 1
    if not variables:
        raise ModelLoadError(f"{str(source.path)!r} has no variable of BERT; pass a checkpoint of BERT")
    return architecture, variables


_SIZES: Final = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_LARGEST_SIZE: Final = 2**24
_SETTINGS: Final = (
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
)


def _read_config(path: Path) -> dict[str, Any]:
    """The settings of bert_config.json that have a meaning for transformers."""
    from transformers.activations import ACT2FN

    text = _read_text(path, "configuration", CONFIG_FILE)
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(
            f"{str(path)!r} is not JSON: {one_line(error, 160)}; download it again"
        ) from error
    if not isinstance(read, dict):
        raise ModelLoadError(f"expected an object {{...}} in {str(path)!r}, found {type(read).__name__}")
    for name in _SIZES:
        value = read.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_SIZE:
            found = f"{value!r:.40}" if name in read else "nothing"
            raise ModelLoadError(
                f"expected a whole number from 1 to {_LARGEST_SIZE} as {name!r} in {str(path)!r}, "
                f"found {found}; use the {CONFIG_FILE} of the checkpoint"
            )
    if read["hidden_size"] % read["num_attention_heads"]:
        raise ModelLoadError(
            f"hidden_size {read['hidden_size']} in {str(path)!r} is not a multiple of num_attention_heads "
            f"{read['num_attention_heads']}; use the {CONFIG_FILE} of the checkpoint"
        )
    activation = read.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in ACT2FN:
        raise ModelLoadError(
            f"hidden_act {activation!r:.40} in {str(path)!r} is not an activation of transformers; "
            "expected 'gelu', 'relu', 'tanh' or 'linear'"
        )
    return {name: read[name] for name in (*_SIZES, *_SETTINGS) if name in read}


def _read_text(path: Path, what: str, usual: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ModelLoadError(
            f"there is no {what} {str(path)!r}; pass the file {usual} that belongs to the checkpoint"
        ) from error
    except OSError as error:
        raise ModelLoadError(f"cannot read the {what} {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ModelLoadError(
            f"the {what} {str(path)!r} is not UTF-8: byte 0x{byte:02x} at position {error.start}; "
            "download it again"
        ) from error


_SPECIAL_TOKENS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def _read_vocabulary(path: Path) -> dict[str, int]:
    """The tokens of vocab.txt, one in each line, with their ids."""
    # Only "\n" ends a line: there are tokens that other characters at which str.splitlines splits.
    lines = _read_text(path, "vocabulary", VOCABULARY_FILE).removesuffix("\n").split("\n")
    tokens: dict[str, int] = {}
    for index, line in enumerate(lines):
        token = line.removesuffix("\r")
        first = tokens.setdefault(token, index)
        if first != index:
            raise ModelLoadError(
                f"the vocabulary {str(path)!r} has {token!r} in line {first + 1} and in line {index + 1}; "
                f"use the {VOCABULARY_FILE} of the checkpoint"
            )
    missing = [token for token in _SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise ModelLoadError(
            f"the vocabulary {str(path)!r} has no {', '.join(missing)}; "
            f"use the {VOCABULARY_FILE} of the checkpoint, with one token in each line"
        )
    return tokens


_CASE: Final = re.compile(r"(?<![a-z])(un)?cased(?![a-z])")
# In a cased vocabulary of Google's about a third of the tokens have capitals.  A few strange characters
# have a lower-case form that an uncased one did not take.
_CASED_SHARE: Final = 0.01


def _guess_lower_case(tokens: Mapping[str, int], files: Sequence[Path]) -> bool:
    """Whether text is to be lower-cased, by the names of files and their folders and by the vocabulary."""
    plain = [token for token in tokens if not (token.startswith("[") and token.endswith("]"))]
    capitals = [token for token in plain if token.lower() != token]
    by_vocabulary = len(capitals) < _CASED_SHARE * max(1, len(plain))
    names = [name.lower() for file in files for name in (file.name, file.absolute().parent.name)]
    by_name = {match[1] is not None for name in names for match in _CASE.finditer(name)}
    if by_name == {not by_vocabulary}:
        told, found = (
            ("cased", "no token with capitals")
            if by_vocabulary
            else ("uncased", f"tokens with capitals, such as {capitals[0]!r}")
        )
        raise UsageError(
            f"the checkpoint is called {told}, but its vocabulary has {found}; say which is right with "
            "--do-lower-case or --no-do-lower-case (lower_case=True or False)"
        )
    return by_vocabulary


def _config(settings: Mapping[str, Any], variables: Mapping[str, _Variable], request: _Request) -> BertConfig:
    from transformers import BertConfig

    options = dict(settings)
    labels = request.labels
    classifier = variables.get(_CLASSIFIER)
    if classifier is None and labels is not None:
        raise UsageError(
            "labels are for a fine-tuned checkpoint, and this one has no classifier; leave them out"
        )
    if classifier is not None and len(classifier.shape) == 2:
        count = classifier.shape[0]
        if labels is not None and len(labels) != count:
            raise UsageError(
                f"expected {count} labels, as many as {classifier.name!r} has rows, found {len(labels)}: "
                f"{', '.join(labels)}"
            )
        names = labels or [f"LABEL_{index}" for index in range(count)]
        options["id2label"] = dict(enumerate(names))
        options["label2id"] = {name: index for index, name in enumerate(names)}
    with _taken_from(request):
        return BertConfig(**options)


@contextmanager
def _taken_from(request: _Request) -> Iterator[None]:
    """What transformers and PyTorch say against the settings, as an error about their file."""
    try:
        yield
    except Exception as error:  # which kind, is an affair of their validation
        raise ModelLoadError(
            f"transformers does not take the settings of {str(request.config)!r}: {one_line(error, 160)}; "
            f"use the {CONFIG_FILE} of the checkpoint"
        ) from error


def _check_shapes(
    architecture: str,
    config: BertConfig,
    variables: Mapping[str, _Variable],
    checkpoint: _Checkpoint,
    request: _Request,
    token_count: int,
) -> None:
    """ModelLoadError unless vocabulary, configuration and checkpoint are those of one model."""
    embeddings = variables.get(_WORD_EMBEDDINGS)
    if embeddings is not None and embeddings.shape[:1] != (token_count,):
        raise ModelLoadError(
            f"the vocabulary {str(request.vocabulary)!r} has {token_count} tokens, but {embeddings.name!r} "
            f"has the shape {embeddings.shape}; use the {VOCABULARY_FILE} of the checkpoint"
        )
    found = {int(match[1]) for name in variables if (match := re.search(r"\.layer\.(\d+)\.", name))}
    layers = 1 + max(found, default=-1)
    if layers != config.num_hidden_layers:
        raise ModelLoadError(
            f"the checkpoint has {layers} layers, but {str(request.config)!r} says "
            f"{config.num_hidden_layers}; use the {CONFIG_FILE} of the checkpoint"
        )
    with _taken_from(request):
        expected = _expected_shapes(architecture, config)
    missing = [name for name in expected if name not in variables]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelLoadError(
            f"the checkpoint lacks {checkpoint.name_of(missing[0])!r}{more}, which {architecture} needs; "
            "pass the whole checkpoint of a BERT"
        )
    for name, shape in expected.items():
        if variables[name].parameter_shape != shape:
            variable = variables[name]
            wanted = shape[::-1] if variable.parameter.transposed else shape
            raise ModelLoadError(
                f"{variable.name!r} has the shape {variable.shape}, but by {str(request.config)!r} it should "
                f"have {wanted}; use the {CONFIG_FILE} of the checkpoint"
            )


def _expected_shapes(architecture: str, config: BertConfig) -> dict[str, Shape]:
    """The shape of each parameter that is written, under its name with "bert."."""
    import torch
    import transformers

    with torch.device("meta"):  # shapes without memory or random numbers
        model = getattr(transformers, architecture)(config)
    prefix = "bert." if architecture == _WITHOUT_PREFIX else ""
    names = {f"{prefix}{name}": tuple(values.shape) for name, values in model.state_dict().items()}
    return {name: shape for name, shape in names.items() if name not in _TIED}


def _weights(
    variables: Mapping[str, _Variable], checkpoint: _Checkpoint, source: _Files, architecture: str
) -> dict[str, torch.Tensor]:
    """What is written, under the names of the architecture."""
    import torch

    prefix = "bert." if architecture == _WITHOUT_PREFIX else ""
    weights = {}
    for name, variable in variables.items():
        values = checkpoint.read(variable.name)
        if name in _TIED:
            if not torch.equal(values, checkpoint.read(variables[_TIED[name]].name)):
                raise ModelLoadError(
                    f"{variable.name!r} in {str(source.path)!r} is not the same as {_TIED[name]}, and "
                    "transformers has one for both; save the model without its heads of pre-training"
                )
            continue
        if not bool(values.isfinite().all()):
            raise ModelLoadError(
                f"{variable.name!r} in {str(source.path)!r} has values that are not finite; "
                "pass a checkpoint from before the training diverged"
            )
        values = values.T if variable.parameter.transposed else values
        weights[name.removeprefix(prefix)] = values.contiguous()
    return weights


# Writing.

_CARD: Final = "README.md"
_MARK: Final = "<!-- written by whybert convert -->"
# What a conversion may have written; with another file in it, a folder is somebody's, and is left alone.
_WRITTEN: Final = frozenset(
    {
        _CARD,
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
    }
)


def _check_output(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"the output {str(folder)!r} is a file; name a folder that does not exist yet")
    names = sorted(each.name for each in folder.iterdir())
    if not names:
        return
    others = [name for name in names if name not in _WRITTEN]
    card = folder / _CARD
    is_ours = not others and card.is_file() and _MARK in card.read_text(encoding="utf-8", errors="replace")
    if not is_ours:
        raise UsageError(
            f"the output {str(folder)!r} holds something else, {(others or names)[0]!r} for one; "
            "name a folder that does not exist yet"
        )
    if not overwrite:
        raise UsageError(
            f"the output {str(folder)!r} is there already, from an earlier conversion; "
            "pass --overwrite (overwrite=True) to replace it"
        )


@contextmanager
def _whole_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A new folder beside the given one, which takes its place when all went well, and else is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = f".whybert-{secrets.token_hex(8)}"
    temporary, former = folder.with_name(f"{beside}.tmp"), folder.with_name(f"{beside}.old")
    temporary.mkdir()
    try:
        yield temporary
        _check_output(folder, overwrite)  # it may have come to be in the meantime
        if folder.exists():
            folder.rename(former)
        try:
            temporary.rename(folder)
        except BaseException:
            if former.exists():
                former.rename(folder)
            raise
        shutil.rmtree(former, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write(
    folder: Path,
    conversion: Conversion,
    config: BertConfig,
    weights: Mapping[str, torch.Tensor],
    tokens: Mapping[str, int],
) -> None:
    from safetensors.torch import save_file
    from transformers import BertTokenizer

    config.architectures = [conversion.architecture]
    config.dtype = "float32"
    config.save_pretrained(folder)
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = BertTokenizer(
        vocab=dict(tokens),
        do_lower_case=conversion.lower_case,
        strip_accents=None,  # as Google's: together with lower-casing
        model_max_length=config.max_position_embeddings,
    )
    tokenizer.save_pretrained(folder)


def _summary(conversion: Conversion) -> list[tuple[str, str]]:
    from whybert.render import visible

    read = f"{conversion.read} variables"
    if conversion.skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in conversion.skipped)
        read += f"; left out: {reasons}"
    case = "lower case, accents stripped" if conversion.lower_case else "case and accents kept"
    rows = [
        ("folder", str(conversion.folder)),
        ("architecture", conversion.architecture),
        ("read", read),
        ("labels", ", ".join(conversion.labels)),
        ("vocabulary", f"{conversion.vocabulary_size} tokens, {case}"),
    ]
    return [(heading, visible(value)) for heading, value in rows if value]


def _model_card(conversion: Conversion, source: _Files, request: _Request) -> str:
    """The README.md: the same for the same files, and without the paths of anybody's machine."""
    from whybert.store import file_digest

    facts = [f"- {heading}: {value}" for heading, value in _summary(conversion) if heading != "folder"]
    files = (*source.files, request.config, request.vocabulary)
    return "\n".join(
        (
            "---",
            "library_name: transformers",
            "---",
            _MARK,
            "",
            f"# {source.path.name}",
            "",
            f"Converted by whybert from {source.kind}; the weights are the same numbers, in float32.",
            "",
            *facts,
            "",
            "| file | SHA-256 |",
            "| --- | --- |",
            *(f"| {file.name} | {file_digest(file)} |" for file in files),
            "",
        )
    )
