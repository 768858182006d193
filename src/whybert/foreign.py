"""Models that are no classifiers of transformers: where their logits are, and a module that says the rest.

A `ForeignModel` runs a module of someone's own as it is, and says of it what a model of transformers would:
which of its parts embeds the tokens, where its logits are, how many positions it has.  Nothing is written
into the module itself.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from whybert.errors import UnknownNameError, UnsupportedModelError

LogitsLike: TypeAlias = "str | int | Callable[[Any], Any] | None"
"""Where the logits are in what a model returns: a key or a field, an index, a function of it, or None where
it returns nothing else."""

READ: Final = "read_at"
"""An input (batch, seq) beside the model's own: at which positions it is read, see `whybert.heads`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A tensor on the way from words to the first layer that reads them, see `whybert.points`.

    root: the number, from 0, of the call that looks these words up.
    call: the number of the call that makes the tensor, from 1, of those that make words of them.
    order: its axes of (batch, positions, hidden).
    shift: of how many positions that stand before the first token's.
    repeats_last: whether that position stands for the last token, and not for none.
    """

    root: int
    call: int
    order: tuple[int, int, int]
    shift: int = 0
    repeats_last: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """Where words enter the first layer: its parts, one where a model looks its words up once."""

    parts: tuple[Part, ...]


class ForeignModel(nn.Module):
    """A module that is asked like a classifier of transformers.

    Args:
        module: of someone's own; its weights and its mode are used as they are.
        block: where its attribution point is: the name of its part whose output that is, or a point on the
            way from its words to its first layer.
        words: the name of its table of word embeddings; None where that is not known.
        logits: where the logits are in what it returns.
        label_count: how many there are.
        config: what it says like a configuration of transformers: id2label, problem_type, pad_token_id and
            max_position_embeddings.
    """

    def __init__(
        self,
        module: nn.Module,
        block: str | Point,
        words: str | None,
        logits: LogitsLike,
        label_count: int,
        config: SimpleNamespace,
    ) -> None:
        super().__init__()
        self.module = module
        self.block, self.words, self.where, self.label_count = block, words, logits, label_count
        self.config = config
        self.read: Callable[[Callable[..., Any], dict[str, Tensor]], Any] | None = None
        self.is_of_positions = False
        self.training = False  # it has nothing of its own that could be another in train mode

    @property
    def embedding_block(self) -> nn.Module | None:
        """The part whose output is the attribution point; None if that is no part's."""
        return self.module.get_submodule(self.block) if isinstance(self.block, str) else None

    def get_input_embeddings(self) -> nn.Module | None:
        return None if self.words is None else self.module.get_submodule(self.words)

    def read_by(
        self, read: Callable[[Callable[..., Any], dict[str, Tensor]], Any], is_of_positions: bool = False
    ) -> ForeignModel:
        """The same model, of which `read` says what is asked: (its forward pass, inputs) -> logits.

        is_of_positions: whether its classes are the positions of the text.
        """
        made = copy.copy(self)
        made.read, made.is_of_positions = read, is_of_positions
        return made

    def forward(self, **inputs: Tensor) -> Any:
        return self._answer(**inputs) if self.read is None else self.read(self._answer, inputs)

    def _answer(self, **inputs: Tensor) -> Any:
        return logits_at(self.module(**inputs), self.where)


def point_of(model: nn.Module) -> Point | None:
    """Where a model is cut that no part of it says."""
    return model.block if isinstance(model, ForeignModel) and isinstance(model.block, Point) else None


def bare(model: nn.Module) -> nn.Module:
    """The model as its owner knows it."""
    return model.module if isinstance(model, ForeignModel) else model


def kind_of(model: object) -> str:
    """The name of the model's class, for messages."""
    return type(bare(model) if isinstance(model, nn.Module) else model).__name__


def parts_of(output: object) -> dict[str | int, Any]:
    """What a model returned beside each other, by index or name; nothing for a tensor."""
    if isinstance(output, Tensor):
        return {}
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    if dataclasses.is_dataclass(output):
        return {each.name: getattr(output, each.name) for each in dataclasses.fields(output)}
    return dict(getattr(output, "__dict__", {}))


def logits_at(output: Any, where: LogitsLike) -> Any:
    """What stands in that place of what a model returned.

    Raises:
        UnsupportedModelError: there is no such place.
    """
    if where is None:
        return output
    if callable(where):
        return where(output)
    parts = parts_of(output)
    if where not in parts and isinstance(where, int) and -len(parts) <= where < 0:
        where = list(parts)[where]
    if where not in parts:
        if parts:
            raise UnknownNameError("place of the logits", where, map(str, parts))
        raise UnsupportedModelError(
            f"expected logits at {where!r} of what the model returns, found a {type(output).__name__}; leave "
            "logits out"
        )
    return parts[where]


def place_of_logits(output: Any, batch: int, count: int | None = None, *, first: bool = False) -> LogitsLike:
    """Where the logits (batch, labels), or (batch,) of a single one, are in what a model returned.

    That is the part of the name "logits", or the only one of their shape.  A ModelOutput of transformers
    names its parts, and what has their shape under another name is something else, such as a pooled vector.

    Args:
        output: what the model returned.
        batch: how many texts it was asked about.
        count: how many labels there are, where that is known.
        first: whether a tuple begins with them, as those of transformers do.

    Returns:
        None for the output itself, also where it has none of their shape.

    Raises:
        UnsupportedModelError: it is not clear which they are.
    """
    parts = parts_of(output)
    if isinstance(output, Tensor) or "logits" in parts:
        return "logits" if parts else None
    if hasattr(output, "to_tuple") or (first and 0 in parts and not is_of_logits(parts[0], batch)):
        return None
    shapes = {name: tuple(part.shape) for name, part in parts.items() if is_of_logits(part, batch)}
    found = [name for name, shape in shapes.items() if len(shape) == 2] or list(shapes)
    if len(found) > 1 and count is not None:
        found = [name for name in found if (*shapes[name], 1)[1] == count] or found
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{name!r}: {shape}" for name, shape in shapes.items())
    if found:
        raise UnsupportedModelError(
            f"expected logits (batch, labels) in what the model returns, found several that could be them "
            f"({listed}); say which they are, such as logits={found[0]!r}"
        )
    return None


def is_of_logits(part: object, batch: int) -> bool:
    """Whether it has the shape of logits, (batch, labels), or of a single one, (batch,)."""
    return (
        isinstance(part, Tensor)
        and part.is_floating_point()
        and part.dim() in (1, 2)
        and part.shape[0] == batch
    )


def logits_in(output: Any) -> Any:
    """A tensor, its part of the name "logits", or the first of a plain tuple."""
    parts = parts_of(output)
    if isinstance(output, Tensor) or "logits" in parts:
        return parts.get("logits", output)
    return None if hasattr(output, "to_tuple") else parts.get(0)


def table_in(output: Any, shape: tuple[int, ...]) -> Tensor | None:
    """The numbers (batch, seq, classes) of the positions of texts of that shape, if there are any."""
    logits = logits_in(output)
    is_table = isinstance(logits, Tensor) and logits.is_floating_point() and logits.dim() == 3
    return logits if is_table and logits.shape[:2] == shape else None


def spans_in(output: Any, shape: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
    """The numbers of an answer's start and of its end at each position, (batch, seq) each."""
    if isinstance(output, Tensor) or "logits" in (parts := parts_of(output)):
        return None
    found = [part for part in parts.values() if is_of_logits(part, shape[0]) and part.shape == shape]
    return (found[0], found[1]) if len(found) == 2 else None


def at_positions(output: Any, shape: tuple[int, ...]) -> Tensor | None:
    """Either as one table."""
    spans = spans_in(output, shape)
    return table_in(output, shape) if spans is None else torch.stack(spans, -1)
