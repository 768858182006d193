"""Where a module of someone's own embeds its tokens and returns its logits, found by asking it once or twice.

What is looked up in which table, and what comes of it, is seen in a forward pass: no name tells it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from whybert.anatomy import (
    check_model,
    embedding_block,
    failures,
    input_filter,
    is_known,
    model_inputs,
    plain,
    word_embeddings,
)
from whybert.datasets.base import REGRESSION
from whybert.encoding import maximum_length, tokenize
from whybert.errors import (
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    WhybertError,
)
from whybert.foreign import (
    ForeignModel,
    LogitsLike,
    is_of_logits,
    kind_of,
    logits_at,
    place_of_logits,
)
from whybert.positions import Lookup, TableLookups, embedded, places

EmbeddingLike = str | nn.Module | None
"""The part of a module whose output is the attribution point, or its name; None finds it."""


def is_clear(model: nn.Module, inputs: Callable[[], Mapping[str, Any]]) -> bool:
    """Whether the model says by itself where it embeds its tokens, and is right about it.

    The part around its table of words may hold layers as well; then its output is no embedding.

    Args:
        model: in eval mode; of another it is believed.
        inputs: makes inputs to ask it about, where that is needed.
    """
    if not is_known(model):
        return False
    block = embedding_block(model)
    if isinstance(model, ForeignModel) or model.training or not any(map(_is_layer, block.modules())):
        return True
    try:
        tensors = _inputs_of(model, inputs())
        with plain(model, backward=True), failures(model, tensors):
            # Not a step further: what follows may change the embedding in place.
            lookups, embedding = embedded(model, tensors, cast(nn.Embedding, word_embeddings(model)).weight)
    except WhybertError:
        return True  # whoever asks it next says why
    shape = tensors["input_ids"].shape
    if len(lookups) != 1 or not isinstance(embedding, Tensor) or embedding.shape[:2] != shape:
        return True  # it is refused later, or its positions are told apart
    return _is_by_token(lookups[0].vectors, embedding)


def _is_layer(module: nn.Module) -> bool:
    """Whether a part has weights of its own that are more than a table, or a factor for each feature."""
    return not isinstance(module, nn.Embedding) and any(
        parameter.dim() > 1 for parameter in module.parameters(recurse=False)
    )


def _is_by_token(vectors: Tensor, output: Tensor) -> bool:
    """Whether each vector that was looked up reaches its own position of an output, and no other."""
    if output.dim() != 3 or output.shape[:2] != vectors.shape[:2] or output.grad_fn is None:
        return False
    try:
        found = places(vectors, output)
    except RuntimeError:  # something that its gradient needs was changed in place
        return False
    return found is not None and bool((found == torch.arange(len(found), device=found.device)).all())


def made_known(
    module: nn.Module,
    inputs: Mapping[str, Any],
    embedding: EmbeddingLike = None,
    logits: LogitsLike = None,
    count: int | None = None,
    *,
    problem_type: str | None = REGRESSION,
) -> ForeignModel:
    """The module with what is known of it once it was asked about the inputs.

    Args:
        module: in eval mode.
        inputs: of its forward, as a tokenizer returns them; what it does not take is left out.
        embedding: the part whose output (batch, seq, hidden) is the attribution point, or its name; None
            takes the table in which the input ids are looked up, with all around it that mixes no tokens.
        logits: where they are in what it returns; None finds them, see `place_of_logits`.
        count: how many labels there are, where that is known.
        problem_type: what they are, as of a `Classifier`; "regression" where nothing is made of them.

    Raises:
        UnsupportedModelError: it fails, is in train mode, or one of these cannot be found.
        UsageError: it has no such part.
    """
    check_model(module)
    if not input_filter(module)("input_ids"):
        raise UnsupportedModelError(
            f"the forward of {kind_of(module)} takes no input_ids; give it the names of the tokenizer's "
            "tensors: forward(self, input_ids, attention_mask)"
        )
    tensors = _inputs_of(module, inputs)
    asked = _Asked(module, tensors)
    batch = len(tensors["input_ids"])
    where = place_of_logits(asked.output, batch, count) if logits is None else logits
    with failures(module, tensors):
        found = logits_at(asked.output, where)
    if not is_of_logits(found, batch):
        shape = (
            f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        )
        raise UnsupportedModelError(
            f"expected logits (batch, labels) of {kind_of(module)} for a batch of {batch}, found {shape}; "
            "say where they are in what it returns: logits= a key, an index or a function of it"
        )
    _check_no_probabilities(
        module, found, problem_type or getattr(getattr(module, "config", None), "problem_type", None)
    )
    if embedding is None:
        block = asked.block(where)
    else:
        block = _name_of(embedding, module)
        asked.check_block(block)
    config = getattr(module, "config", None)
    words = asked.words
    return ForeignModel(
        module,
        block,
        words,
        where,
        (*found.shape, 1)[1],
        SimpleNamespace(
            id2label=getattr(config, "id2label", None),
            problem_type=getattr(config, "problem_type", None),
            pad_token_id=None if words is None else getattr(module.get_submodule(words), "padding_idx", None),
            max_position_embeddings=asked.positions(),
        ),
    )


_OF_SHAPE: Final = re.compile(
    r"(View|UnsafeView|ReshapeAlias|Squeeze|Unsqueeze|Select|Slice|ToCopy|Clone|Alias|Transpose|T)Backward\d+"
)
"""Steps of a forward pass that leave numbers as they are."""

_INVERSE: Final = {"softmax": "log", "sigmoid": "logit"}


def _check_no_probabilities(module: nn.Module, logits: Tensor, problem_type: str | None) -> None:
    """Raise UnsupportedModelError where probabilities would be made of what are some already."""
    single = logits.dim() == 1 or logits.shape[1] == 1
    if problem_type == REGRESSION or (problem_type is None and single):
        return
    step: Any = logits.grad_fn
    while step is not None and _OF_SHAPE.fullmatch(step.name()):
        step = step.next_functions[0][0]
    for made, inverse in _INVERSE.items():
        if step is not None and step.name().lower().startswith(f"{made}backward"):
            also = "" if made == "softmax" else " and problem_type='multi_label_classification'"
            raise UnsupportedModelError(
                f"expected logits of {kind_of(module)}, found what a {made} made of them, and probabilities "
                f"of these would be wrong; return them before it, or say logits=lambda found: "
                f"found.{inverse}(){also}; problem_type='regression' takes the numbers as they are"
            )


def _inputs_of(module: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The inputs that the module takes, as tensors on its device."""
    takes = input_filter(module)
    if hasattr(inputs, "items"):
        inputs = {name: value for name, value in inputs.items() if takes(name)}
    return model_inputs(module, inputs)


def _name_of(embedding: str | nn.Module, module: nn.Module) -> str:
    """The name of a part of the module."""
    names: dict[str, nn.Module] = {name: part for name, part in module.named_modules() if name}
    if isinstance(embedding, str):
        if embedding not in names:
            raise UnknownNameError(f"part of {kind_of(module)}", embedding, names)
        return embedding
    if not isinstance(embedding, nn.Module):
        raise UsageError(
            f"expected embedding as a part of {kind_of(module)} or its name, found {type(embedding).__name__}"
        )
    for name, part in names.items():
        if part is embedding:
            return name
    raise UsageError(f"expected embedding as a part of {kind_of(module)}, found another {kind_of(embedding)}")


class _Asked:
    """A module, what it returned for inputs, and what it looked up meanwhile."""

    def __init__(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
        self.module, self.inputs, self.ids = module, inputs, inputs["input_ids"]
        self.closed: Tensor | None = None  # the output through which no gradient goes
        self.output, self.lookups, _ = self._run(())
        tables = {id(each.table): each.table for each in self.lookups if self._is_of_words(each)}
        self.tables = len(tables)
        self.held_by = [  # a table may be the weight of other parts too
            name
            for name, part in module.named_modules()
            if name and len(tables) == 1 and id(getattr(part, "weight", None)) in tables
        ]
        self.words = next(iter(self.held_by), None)

    def _is_of_words(self, lookup: Lookup) -> bool:
        return lookup.ids.shape == self.ids.shape and torch.equal(lookup.ids, self.ids)

    def _run(self, names: tuple[str, ...]) -> tuple[Any, list[Lookup], dict[str, list[Any]]]:
        """What the module returns, what it looks up, and what its parts of these names return."""
        outputs: dict[str, list[Any]] = {name: [] for name in names}
        owner = threading.get_ident()

        def note(part: nn.Module, args: Any, output: Any, name: str) -> Tensor | None:
            if threading.get_ident() != owner:
                return None
            outputs[name].append(output)
            if not isinstance(output, Tensor):
                return None
            if output.requires_grad:
                output.register_hook(partial(close, output))  # type: ignore[no-untyped-call]
            return output.clone()  # what follows may change it in place

        def close(output: Tensor, gradient: Tensor) -> Tensor:
            return torch.zeros_like(gradient) if self.closed is output else gradient

        handles = [
            self.module.get_submodule(name).register_forward_hook(partial(note, name=name)) for name in names
        ]
        mode = TableLookups()
        try:
            with plain(self.module, backward=True), failures(self.module, self.inputs), mode:
                return self.module(**self.inputs), mode.found, outputs
        finally:
            for handle in handles:
                handle.remove()

    def block(self, where: LogitsLike) -> str:
        """The largest part around the table of words whose output at each position is of one token.

        Args:
            where: the logits are, which nothing but this output may make depend on the words.
        """
        if self.words is None:
            several = f"{self.tables} tables" if self.tables > 1 else "no table (nn.Embedding)"
            raise UnsupportedModelError(
                f"expected one table of {kind_of(self.module)} in which input_ids are looked up, found "
                f"{several}; name the part whose output (batch, seq, hidden) enters the first layer: "
                "embedding='its.name'"
            )
        vectors: list[Tensor] = []
        for words in self.held_by:
            pieces = words.split(".")
            around = tuple(".".join(pieces[:end]) for end in range(len(pieces), 0, -1))
            found, lookups, outputs = self._run(around)
            vectors = [each.vectors for each in lookups if self._is_of_words(each)]
            block = ""
            for name in around:
                if (
                    len(vectors) != 1
                    or len(outputs[name]) != 1
                    or not isinstance(outputs[name][0], Tensor)
                    or not _is_by_token(vectors[0], outputs[name][0])
                    or self._passes_by(outputs[name][0], vectors[0], logits_at(found, where))
                ):
                    break
                block = name
            if block:
                self.words = words
                return block
        raise UnsupportedModelError(
            f"expected {kind_of(self.module)} to look up its words once and to keep their order, found "
            f"{len(vectors)} times or other things; name the part whose output (batch, seq, hidden) "
            "enters the first layer: embedding='its.name'"
        )

    def check_block(self, name: str) -> None:
        """Raise UnsupportedModelError where the output of a part that was named is not of the tokens."""
        _, lookups, outputs = self._run((name,))
        batch, width = self.ids.shape
        way = "name another part: embedding='its.name'"
        output = outputs[name][0] if len(outputs[name]) == 1 else None
        if (
            not isinstance(output, Tensor)
            or output.dim() != 3
            or output.shape[0] != batch
            or output.shape[1] < width
        ):
            shapes = [
                f"shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
                for each in outputs[name]
            ]
            raise UnsupportedModelError(
                f"expected embedding as a part of {kind_of(self.module)} that returns one tensor (batch, "
                f"seq, hidden), once for {batch} texts of {width} tokens, found of {name!r} "
                f"{', '.join(shapes[:3]) or 'nothing'}; {way}"
            )
        vectors = [each.vectors for each in lookups if self._is_of_words(each)]
        if vectors and not any(_reaches(each, output) for each in vectors):
            raise UnsupportedModelError(
                f"expected embedding as a part of {kind_of(self.module)} whose output is made of the words, "
                f"found {name!r}, which does not depend on them; {way}"
            )

    def _passes_by(self, block: Tensor, vectors: Tensor, logits: Any) -> bool:
        """Whether the words reach the logits on another way than through the output of a part."""
        if not isinstance(logits, Tensor) or logits.grad_fn is None:
            return False
        self.closed = block
        try:
            return _reaches(vectors, logits)
        finally:
            self.closed = None

    def positions(self) -> int | None:
        """How many tokens there are rows for in the tables whose rows are looked up one after the other."""
        count = self.ids.shape[1]
        limits = []
        for each in self.lookups:
            ids = each.ids
            if count > 1 and ids.dim() > 0 and ids.shape[-1] == count and ids.numel() <= self.ids.numel():
                first = ids.flatten()[0]
                if bool((ids == first + torch.arange(count, device=ids.device)).all()):
                    limits.append(each.table.shape[0] - int(first))
        return min(limits, default=None)


def _reaches(vectors: Tensor, output: Tensor) -> bool:
    """Whether an output depends on vectors that were looked up."""
    if output.grad_fn is None:
        return False
    weights = torch.linspace(1.0, 2.0, output.shape[-1]).to(output)
    (gradient,) = torch.autograd.grad((output * weights).sum(), vectors, retain_graph=True, allow_unused=True)
    return gradient is not None and bool((gradient != 0).any())


def probe(tokenizer: Any) -> dict[str, Tensor]:
    """Inputs of two texts that are alike, so that they need no padding."""
    [row] = tokenize(tokenizer, ["a good film"], maximum_length(tokenizer, None))
    return {name: torch.tensor([list(values)] * 2) for name, values in row.features.items()}
