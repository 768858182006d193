"""Where a module of someone's own embeds its tokens and returns its logits, found by asking it once or twice.

What is looked up in which table, and what comes of it, is seen in a forward pass: no name tells it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import SimpleNamespace
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from whybert.anatomy import (
    check_model,
    embedding_block,
    failures,
    hooked,
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
    Point,
    at_positions,
    is_of_logits,
    kind_of,
    logits_at,
    place_of_logits,
)
from whybert.points import Watch, placed
from whybert.positions import Lookup, TableLookups, embedded, places
from whybert.quantised import quantised_layers

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
    if any(quantised_layers(block)):  # they may have no derivative
        return False
    try:
        tensors = _to_watch(_inputs_of(model, inputs()))
        with plain(model, backward=True), failures(model, tensors):
            # Not a step further: what follows may change the embedding in place.
            lookups, embedding = embedded(model, tensors, cast(nn.Embedding, word_embeddings(model)).weight)
    except WhybertError:
        return True  # whoever asks it next says why
    shape = tensors["input_ids"].shape
    if not isinstance(embedding, Tensor):
        return False
    # Types of tokens may be looked up among the words, as GPT-2's are.
    is_wider = embedding.shape[:2] != shape  # its positions are told apart
    return all(_is_by_token(each.vectors, embedding, is_wider) for each in lookups)


def _is_layer(module: nn.Module) -> bool:
    """Whether a part has weights of its own that are more than a table, or a factor for each feature.

    Those in few bits may stand in buffers; beside tables there are the numbers of positions.
    """
    if isinstance(module, nn.Embedding):
        return False
    beside_tables = any(isinstance(part, nn.Embedding) for part in module.children())
    weights = (*module.parameters(recurse=False), *(() if beside_tables else module.buffers(recurse=False)))
    return any(weight.dim() > 1 for weight in weights)


def _is_by_token(vectors: Tensor, output: Tensor, is_wider: bool) -> bool:
    """Whether each vector that was looked up reaches one position of an output, and no other.

    is_wider: whether that may be another than its own, among positions of no token.
    """
    if output.dim() != 3 or output.grad_fn is None:
        return False
    if not is_wider and output.shape[:2] != vectors.shape[:2]:
        return False
    try:
        found = places(vectors, output)
    except RuntimeError:  # something that its gradient needs was changed in place
        return False
    if found is None or is_wider:
        return found is not None
    return bool((found == torch.arange(len(found), device=found.device)).all())


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
            finds the input of the first layer, see `whybert.points`.
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
    with plain(module, backward=True):  # what is asked of the graph afterwards too
        asked = _Asked(module, tensors)
        batch = len(asked.ids)
        where = place_of_logits(asked.output, batch, count) if logits is None else logits
        with failures(module, tensors):
            found = logits_at(asked.output, where)
        seen, shape_of_texts = where, tuple(asked.ids.shape)
        if (table := at_positions(found, shape_of_texts)) is not None:
            found, seen = table, lambda output: at_positions(logits_at(output, where), shape_of_texts)
        elif not is_of_logits(found, batch):
            shape = (
                f"a tensor of shape {tuple(found.shape)}"
                if isinstance(found, Tensor)
                else type(found).__name__
            )
            raise UnsupportedModelError(
                f"expected logits (batch, labels) of {kind_of(module)} for a batch of {batch}, found {shape}"
                "; say where they are in what it returns: logits= a key, an index or a function of it"
            )
        _check_no_probabilities(
            module, found, problem_type or getattr(getattr(module, "config", None), "problem_type", None)
        )
        if embedding is None:
            block: str | Point = asked.point(seen)
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
        1 if found.dim() == 1 else found.shape[-1],
        SimpleNamespace(
            id2label=getattr(config, "id2label", None),
            problem_type=getattr(config, "problem_type", None),
            pad_token_id=_padding_of(module, config, words),
            max_position_embeddings=asked.positions() or getattr(config, "max_position_embeddings", None),
        ),
    )


def _padding_of(module: nn.Module, config: Any, words: str | None) -> int | None:
    """The id of the token for padding, by the configuration, else by the table of words."""
    own = getattr(config, "pad_token_id", None)
    if own is None and words is not None:
        own = getattr(module.get_submodule(words), "padding_idx", None)
    return own


_OF_SHAPE: Final = re.compile(
    r"(View|UnsafeView|ReshapeAlias|Squeeze|Unsqueeze|Select|Slice|ToCopy|Clone|Alias|Transpose|T)Backward\d+"
)
"""Steps of a forward pass that leave numbers as they are."""

_INVERSE: Final = {"softmax": "log", "sigmoid": "logit"}


def _check_no_probabilities(module: nn.Module, logits: Tensor, problem_type: str | None) -> None:
    """Raise UnsupportedModelError where probabilities would be made of what are some already."""
    single = logits.dim() == 1 or logits.shape[-1] == 1
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


_LEAST: Final = 2  # tokens, of which some can see another


def _to_watch(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Two of the texts, in which each token sees others: no word is masked, none is alone."""
    width = inputs["input_ids"].shape[1]
    times = -(-_LEAST // width)

    def part(name: str, tensor: Tensor) -> Tensor:
        tensor = tensor[:2]
        if name == "attention_mask" and tensor.dim() == 2:
            tensor = torch.ones_like(tensor)
        if name == "position_ids" and times > 1:
            return torch.arange(times * width, device=tensor.device).expand(len(tensor), -1)
        return torch.cat([tensor] * times, 1) if tensor.dim() >= 2 else tensor

    return {name: part(name, tensor) for name, tensor in inputs.items()}


class _Asked:
    """A module, what it returned for inputs, and what it looked up meanwhile."""

    def __init__(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
        self.module = module
        try:
            self._ask(_to_watch(inputs))
        except UnsupportedModelError:
            if len(inputs["input_ids"]) == 1:
                raise
            # A model may answer one text at a time, as some do that have no token for padding.
            self._ask(_to_watch({name: tensor[:1] for name, tensor in inputs.items()}))
        tables = {id(each.table) for each in self.watch.lookups if self._is_of_words(each)}
        self.words = next(
            (name for name, part in module.named_modules() if id(getattr(part, "weight", None)) in tables),
            None,
        )

    def _ask(self, inputs: dict[str, Tensor]) -> None:
        self.inputs, self.ids = inputs, inputs["input_ids"]
        self.watch = Watch(self.ids)
        self.output = self._run(self.watch)

    def _is_of_words(self, lookup: Lookup) -> bool:
        return any(torch.equal(lookup.ids, ids) for ids in (self.ids, self.ids.T))

    def _run(self, *within: AbstractContextManager[Any]) -> Any:
        """What the module returns."""
        with ExitStack() as stack:
            for context in (plain(self.module, backward=True), failures(self.module, self.inputs), *within):
                stack.enter_context(context)
            return self.module(**self.inputs)

    def point(self, where: LogitsLike) -> Point:
        """Where the words enter the first layer.

        Args:
            where: the logits are.
        """
        with failures(self.module, self.inputs):
            logits = logits_at(self.output, where)
        found = self.watch.point(logits)
        if found is None:
            tables = len(self.watch.roots)
            raise UnsupportedModelError(
                f"expected a tensor of {kind_of(self.module)} in which each position is of its own word, and "
                "through which all comes that the logits make of the words; it looks them up "
                f"{tables} times and has none; name the part whose output (batch, seq, hidden) enters the "
                "first layer: embedding='its.name'"
            )
        with plain(self.module, backward=False), failures(self.module, self.inputs):
            return placed(self.module, self.inputs, found)

    def check_block(self, name: str) -> None:
        """Raise UnsupportedModelError where the output of a part that was named is not of the tokens."""
        outputs: list[Any] = []

        def keep(part: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            outputs.append(output)
            return output.clone() if isinstance(output, Tensor) else None  # it may be changed in place

        lookups = TableLookups()
        self._run(hooked([self.module.get_submodule(name)], after=keep), lookups)
        batch, width = self.ids.shape
        way = "name another part: embedding='its.name'"
        output = outputs[0] if len(outputs) == 1 else None
        if (
            not isinstance(output, Tensor)
            or output.dim() != 3
            or output.shape[0] != batch
            or output.shape[1] < width
        ):
            shapes = [
                f"shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
                for each in outputs
            ]
            raise UnsupportedModelError(
                f"expected embedding as a part of {kind_of(self.module)} that returns one tensor (batch, "
                f"seq, hidden), once for {batch} texts of {width} tokens, found of {name!r} "
                f"{', '.join(shapes[:3]) or 'nothing'}; {way}"
            )
        vectors = [each.vectors for each in lookups.found if self._is_of_words(each)]
        if vectors and not any(_reaches(each, output) for each in vectors):
            raise UnsupportedModelError(
                f"expected embedding as a part of {kind_of(self.module)} whose output is made of the words, "
                f"found {name!r}, which does not depend on them; {way}"
            )

    def positions(self) -> int | None:
        """How many tokens there are rows for in the tables whose rows are looked up one after the other."""
        count = self.ids.shape[1]
        limits = []
        for each in self.watch.lookups:
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
