"""What a text is held against by the methods that ask how its output came about from nothing.

A baseline changes the words of the text alone: the tokens that the tokenizer added and padding stay, and so
do positions and token types, since the changed words go through the model's own embedding block.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, nn

from whybert.anatomy import word_embeddings
from whybert.errors import UnknownNameError, UnsupportedModelError, UsageError
from whybert.foreign import kind_of, point_of
from whybert.methods.question import Question


@dataclass(frozen=True)
class Baseline:
    """What each word token becomes: another token, or a vector in place of the table's.

    Fields:
        token: from a tokenizer to the id.
        vector: from the table of word embeddings and a tokenizer to the vector, (width,).
    """

    name: str
    summary: str
    token: Callable[[Any], int] | None = None
    vector: Callable[[nn.Module, Any], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """Where a path begins: the embedding (batch, positions, hidden), and the logits."""

    embedding: Tensor
    logits: Tensor


def _mask(tokenizer: Any) -> int:
    found = getattr(tokenizer, "mask_token_id", None)
    if found is None:
        raise UsageError(
            "the baseline 'mask' needs a tokenizer with a mask token, and there is none; use baseline=zero"
        )
    return int(found)


def _padding(words: nn.Module, tokenizer: Any) -> Tensor:
    found = getattr(tokenizer, "pad_token_id", None)
    if found is None:
        raise UsageError(
            "the baseline 'pad' needs a tokenizer with a padding token, and there is none; use baseline=zero"
        )
    # Its vector and not its id: RoBERTa and its kin count the positions of what is no padding.
    return _looked_up(words, torch.tensor([int(found)]))[0]


def _zero(words: nn.Module, tokenizer: Any) -> Tensor:
    return torch.zeros_like(_looked_up(words, torch.tensor([0]))[0])


def _mean(words: nn.Module, tokenizer: Any) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for first in range(0, _entries(words), 8192):
        found = _looked_up(words, torch.arange(first, min(first + 8192, _entries(words))))
        total = total.to(found.device) + found.sum(0, dtype=torch.promote_types(found.dtype, torch.float32))
    return (total / _entries(words)).to(found.dtype)


def _looked_up(words: nn.Module, ids: Tensor) -> Tensor:
    weight = getattr(words, "weight", None)
    found: Tensor = words(ids if weight is None else ids.to(weight.device))
    return found


def _entries(words: nn.Module) -> int:
    count = getattr(words, "num_embeddings", None) or len(getattr(words, "weight", ()))
    if not count:
        raise UnsupportedModelError(
            f"{kind_of(words)} does not say how many word embeddings it has, and the baseline needs all of "
            "them; use baseline=zero"
        )
    return int(count)


BASELINES: Final[Mapping[str, Baseline]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Baseline("mask", "the tokenizer's mask token", token=_mask),
            Baseline("pad", "the vector of the padding token, which is attended to", vector=_padding),
            Baseline("zero", "a word embedding of zeros", vector=_zero),
            Baseline("mean", "the mean of all word embeddings", vector=_mean),
        )
    }
)
"""By name; any other name is a text, whose tokens stand in for those of the words, over and over."""


def check_baseline(name: str, known: tuple[str, ...] = tuple(BASELINES)) -> None:
    """Refuse one word that is nearly the name of a baseline: as a text it would be taken without a word."""
    near = difflib.get_close_matches(name.casefold(), known, cutoff=0.7)
    if name not in known and near and re.fullmatch(r"\w+", name):
        raise UnknownNameError(
            "baseline", name, known, "; a text of this one word is written with a full stop"
        )


def check_random_baseline(name: str) -> None:
    """The same where "random" is one, too."""
    check_baseline(name, ("random", *BASELINES))


def start(question: Question, name: str) -> Start:
    """The forward pass of the inputs at the baseline, made once for all methods and targets of a call.

    Args:
        name: of `BASELINES`, or a text.

    Raises:
        UsageError: the baseline needs a tokenizer, or a token of it, that is not there.
        UnsupportedModelError: the model looks its words up in a way that cannot be followed.
    """
    key = ("baseline", name)
    if key not in question.found:
        baseline = BASELINES.get(name)
        if baseline is None or baseline.token is not None:
            ids = [_mask(question.tokenizer)] if baseline else _tokens_of(name, question.tokenizer)
            question.found[key] = at_tokens(question, [ids] * len(question.logits))
        else:
            question.found[key] = _at_vector(question, baseline)
    found: Start = question.found[key]
    return found


def at_tokens(question: Question, ids: list[list[int]]) -> Start:
    """The pass of the inputs with these tokens, of each row, in place of its words', over and over."""
    changed = question.inputs["input_ids"].clone()
    for row, (units, tokens) in enumerate(zip(question.units("token"), ids, strict=True)):
        for place, (column,) in enumerate(units):
            changed[row, column] = tokens[place % len(tokens)]
    forward = question.forward(inputs={**question.inputs, "input_ids": changed})
    return Start(forward.embedding.detach(), forward.logits.detach())


def changed_tokens(question: Question) -> Tensor:
    """(batch, seq), bool: the tokens that a baseline changes."""
    changed = torch.zeros_like(question.inputs["input_ids"], dtype=torch.bool)
    for row, units in enumerate(question.units("token")):
        changed[row, [column for unit in units for column in unit]] = True
    return changed


def vocabulary(question: Question) -> Tensor:
    """The ids of all tokens, (count,), but for the tokenizer's special ones."""
    words = word_embeddings(question.model)
    tokenizer = question.tokenizer
    if tokenizer is None or words is None:
        raise UsageError(
            "random baselines are drawn from the vocabulary of a tokenizer, and there is none; give one, or "
            "use baseline=zero"
        )
    ids = torch.arange(min(len(tokenizer), _entries(words)))
    return ids[~torch.isin(ids, torch.tensor(list(tokenizer.all_special_ids), dtype=torch.long))]


def _tokens_of(text: str, tokenizer: Any) -> list[int]:
    if tokenizer is None:
        raise UsageError(
            f"the baseline {text!r} is a text and needs a tokenizer, and there is none; give one, or use one "
            f"of {', '.join(BASELINES)}"
        )
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids:
        raise UsageError(
            f"expected a baseline with at least one token, found {text!r}; use {', '.join(BASELINES)}"
        )
    if getattr(tokenizer, "pad_token_id", None) in ids:
        raise UsageError(
            f"the baseline {text!r} holds the padding token, by which some models count positions; use "
            "baseline=pad"
        )
    return ids


def _at_vector(question: Question, baseline: Baseline) -> Start:
    words = word_embeddings(question.model)
    if words is None or baseline.vector is None:
        raise UnsupportedModelError(
            f"{kind_of(question.model)} does not say which its word embeddings are, which the baseline "
            f"{baseline.name!r} changes; use baseline=mask"
        )
    table = getattr(words, "weight", None)
    if isinstance(table, Tensor) and table.dim() == 2:  # as it is looked up, before the model scales it
        words = nn.Embedding(len(table), table.shape[1], _weight=table)
    with torch.no_grad():
        vector = baseline.vector(words, question.tokenizer)
    lookups = _places(question)
    looked_up: list[bool] = []

    def replaced(vectors: Tensor) -> Tensor:
        places = lookups[len(looked_up) % len(lookups)]
        looked_up.append(vectors.shape[:2] == places.shape)
        return torch.where(places[..., None], vector.to(vectors), vectors) if looked_up[-1] else vectors

    forward = question.forward(inputs=question.inputs, of_words=replaced)
    if looked_up != [True] * len(lookups):
        raise UnsupportedModelError(
            f"{kind_of(question.model)} looks up its words {len(looked_up)} times, or elsewhere, so "
            f"that they cannot be those of the baseline {baseline.name!r}; use baseline=mask"
        )
    return Start(forward.embedding.detach(), forward.logits.detach())


def _places(question: Question) -> list[Tensor]:
    """Of each time that the model looks up its words, which of them a baseline changes."""
    places, standing, point = (
        changed_tokens(question),
        question.shared.forward.standing,
        point_of(question.model),
    )
    if point is None:
        return [places]
    if standing is not None and len(standing.parts) == len(point.parts):
        found = [standing.spread(places)[:, positions] for positions in standing.parts]
    else:
        found = [places]
    # a model may have its positions first
    return [each.T if part.order[0] == 1 else each for part, each in zip(point.parts, found, strict=True)]
