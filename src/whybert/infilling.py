"""What a masked language model would write in the place of words and tokens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from whybert import encoding
from whybert.anatomy import (
    check_finite,
    check_model,
    failures,
    input_filter,
    maximum_tokens,
    model_inputs,
    plain,
)
from whybert.encoding import Text
from whybert.errors import UnsupportedModelError, UsageError, quoted
from whybert.foreign import kind_of
from whybert.loading import load_masked_lm
from whybert.perturbation import Columns, alike
from whybert.tokenizers import check_tokenizer
from whybert.typed import check_whole
from whybert.words import split_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MaskedLanguageModelLike: TypeAlias = "MaskedLanguageModel | str | os.PathLike[str] | tuple[Any, Any]"
"""What `MaskedLanguageModel.of` takes."""

Span: TypeAlias = tuple[int, int, int]
"""A word: `(sequence, start, end)`, as `EncodedText.word_spans` has them."""

_SPARE: Final = 4  # times as many tokens are looked at as words are wanted: many tokens are no whole word


@dataclass(frozen=True, eq=False)
class Candidates:
    """What may stand at the masked positions of one row.

    ids: (positions, k), the most likely tokens first.
    probabilities: (positions, k), float64; those of all tokens but special ones sum to 1.
    """

    ids: Tensor
    probabilities: Tensor


@dataclass(frozen=True, slots=True)
class Word:
    """A word that may stand in the place of another, and its probability there."""

    word: str
    probability: float


@dataclass(frozen=True, eq=False)
class MaskedLanguageModel:
    """A masked language model with its tokenizer; `MaskedLanguageModel.of` takes whatever holds one.

    Fields:
        model: of transformers; it returns logits (batch, seq, vocabulary), and is not changed.
        tokenizer: has a mask token.
        name: what messages call it.

    Raises:
        UnsupportedModelError: the model is in train mode or no model of torch, or the tokenizer is none of
            transformers or has no mask token.
    """

    model: nn.Module = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        check_model(self.model, backward=False)
        check_tokenizer(self.tokenizer)
        if self.tokenizer.mask_token_id is None:
            raise UnsupportedModelError(
                f"a masked language model needs a tokenizer with a mask token, and {kind_of(self.tokenizer)} "
                "has none; pass a model that was pre-trained with masks"
            )
        object.__setattr__(self, "name", self.name or kind_of(self.model))

    @classmethod
    def of(cls, value: MaskedLanguageModelLike) -> MaskedLanguageModel:
        """The masked language model in a folder or of a hub id, in a pair (model, tokenizer), or as it is.

        Raises:
            UsageError: it is something else.
            ModelError: it cannot be loaded, or does not predict tokens.
        """
        if isinstance(value, MaskedLanguageModel):
            return value
        if isinstance(value, str | os.PathLike):
            return cls(*load_masked_lm(os.fspath(value)))
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], nn.Module):
            return cls(*value)
        raise UsageError(
            "expected a masked language model as a folder, a hub id or a pair (model, tokenizer), found "
            f"{quoted(value)}"
        )

    def check_fits(self, tokenizer: Any) -> None:
        """Refuse a classifier's tokenizer whose ids mean other tokens, so that `candidates` cannot be read.

        Raises UsageError.
        """
        own = self.tokenizer.get_vocab()
        theirs = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
        if own == theirs:
            return
        listed = sorted(set(own.items()) ^ set(theirs.items()), key=lambda item: item[::-1])
        (token, number), count = listed[0], len(listed)
        raise UsageError(
            f"expected the masked language model {self.name} to have the vocabulary of the classifier, found "
            f"{count} entries that only one of them has, {token!r} with the id {number} first; pass the one "
            "that the classifier was fine-tuned from"
        )

    @cached_property
    def _is_written(self) -> Tensor:
        """Whether an id is a token that may be written: none of the special ones, and one that exists."""
        special = set(self.tokenizer.all_special_ids)
        ids = {number for number in self.tokenizer.get_vocab().values() if number not in special}
        return torch.tensor([number in ids for number in range(max(ids) + 1)])

    def candidates(
        self,
        rows: Sequence[Mapping[str, Sequence[int]]],
        positions: Sequence[Sequence[int]],
        k: int = 10,
        *,
        batch_size: int = 32,
    ) -> list[Candidates]:
        """The tokens that are most likely at the masked positions of each row.

        Args:
            rows: for each the integers of every input by its name, unpadded, as `EncodedText.features` holds
                them; the ids are those of this tokenizer, see `check_fits`.  Inputs that the model does not
                take are left out.
            positions: of each row, those that are masked, all of them at once; to mask one after another give
                the row again.
            k: how many tokens for a position, at most as many as there are.
            batch_size: how many texts of 64 tokens are asked at a time; what is equal is asked once.

        Raises:
            UsageError: k is no whole number of at least 1, or a position is in no row.
            ModelError: the model fails, or predicts no tokens.
        """
        check_whole("k", k)
        mask = self.tokenizer.mask_token_id
        takes = input_filter(self.model)
        names = [name for name in rows[0] if takes(name)] if rows else []
        wanted: dict[Columns, set[int]] = {}
        asked: list[Columns] = []
        for row, masked in zip(rows, positions, strict=True):
            ids = list(row["input_ids"])
            for position in masked:
                if not 0 <= position < len(ids):
                    raise UsageError(f"expected positions from 0 to {len(ids) - 1}, found {position}")
                ids[position] = mask
            columns = tuple(tuple(ids if name == "input_ids" else row[name]) for name in names)
            wanted.setdefault(columns, set()).update(masked)
            asked.append(columns)
        places = {columns: sorted(found) for columns, found in wanted.items()}
        known: dict[Columns, Candidates] = {}
        for part in alike((columns for columns in asked if places[columns]), batch_size):
            known.update(self._asked(names, part, [places[columns] for columns in part], k))
        found = []
        for columns, masked in zip(asked, positions, strict=True):
            at = torch.tensor([places[columns].index(position) for position in masked], dtype=torch.long)
            nothing = Candidates(at.new_empty(0, 0), torch.empty(0, 0, dtype=torch.float64))
            own = known.get(columns, nothing)
            found.append(Candidates(own.ids[at], own.probabilities[at]) if len(at) else nothing)
        return found

    def _asked(
        self, names: Sequence[str], part: Sequence[Columns], places: Sequence[Sequence[int]], k: int
    ) -> Iterator[tuple[Columns, Candidates]]:
        """One batch of rows of one length."""
        inputs = dict(zip(names, (list(column) for column in zip(*part, strict=True)), strict=True))
        tensors = model_inputs(self.model, inputs)
        with plain(self.model, backward=False):
            with failures(self.model, tensors):
                output = self.model(**tensors)
            logits = getattr(output, "logits", output)
            shape = tuple(getattr(logits, "shape", ()))
            if len(shape) != 3 or shape[:2] != tuple(tensors["input_ids"].shape):
                raise UnsupportedModelError(
                    f"expected a masked language model with logits (batch, seq, vocabulary), found "
                    f"{kind_of(self.model)} with {f'logits of shape {shape}' if shape else 'none'}; load it "
                    "with AutoModelForMaskedLM"
                )
            counts = [len(own) for own in places]
            rows = torch.repeat_interleave(torch.arange(len(part)), torch.tensor(counts))
            picked = logits[rows, torch.tensor([each for own in places for each in own])]
            check_finite(self.model, picked)
            picked = picked.cpu().double()
            width = min(picked.shape[-1], len(self._is_written))
            picked = picked[:, :width].masked_fill(~self._is_written[:width], -torch.inf)
            best = picked.softmax(-1).topk(min(k, int(self._is_written[:width].sum())), dim=-1)
        cut = zip(best.indices.split(counts), best.values.split(counts), strict=True)
        for columns, (ids, probabilities) in zip(part, cut, strict=True):
            yield columns, Candidates(ids, probabilities)

    def words(
        self,
        text: Text,
        spans: Sequence[Span],
        k: int = 10,
        *,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> list[tuple[Word, ...]]:
        """The whole words that are most likely in the place of each word, which alone is masked.

        A word is a token that this tokenizer reads again where it is written into the text, so that pieces of
        words are left out.  It is written like the one that it replaces, with a capital or in capitals.

        Args:
            text: also a tuple `(text, pair)`; the tokenizer of a classifier may be another.
            spans: of the words.
            k: how many words for each, other than the one that stands there; fewer where there are no more.
            max_length: in tokens, as much of a text as is read; None asks tokenizer and model.
            batch_size: how many texts of 64 tokens are asked at a time.

        Raises:
            InputError: the text cannot be encoded.
        """
        sequences = [text] if isinstance(text, str) else list(text)
        tokenizer = self.tokenizer
        if max_length is None:
            max_length = encoding.maximum_length(tokenizer, maximum_tokens(self.model))

        def read(span: Span, words: Sequence[str]) -> list[tuple[Mapping[str, tuple[int, ...]], int | None]]:
            """The text with each word there, and which token is the word; None where there is no such one."""
            texts = [written(text, {span: word}) for word in words]
            rows = encoding.tokenize(tokenizer, texts, max_length) if texts else ()
            found = []
            for row, word in zip(rows, words, strict=True):
                place = (span[0], (span[1], span[1] + len(word)))
                tokens = list(zip(row.sequence_ids, row.offsets, strict=True))
                found.append((row.features, tokens.index(place) if tokens.count(place) == 1 else None))
            return found

        masked = [read(span, [str(tokenizer.mask_token)])[0] for span in spans]
        seen = [
            (span, row, place)
            for span, (row, place) in zip(spans, masked, strict=True)
            if place is not None and row["input_ids"][place] == tokenizer.mask_token_id
        ]
        likely = self.candidates(
            [row for _, row, _ in seen], [[place] for *_, place in seen], _SPARE * k, batch_size=batch_size
        )
        found: dict[Span, tuple[Word, ...]] = {}
        for (span, *_), each in zip(seen, likely, strict=True):
            old = sequences[span[0]][span[1] : span[2]]
            numbers, chances = each.ids[0].tolist(), each.probabilities[0].tolist()
            words = [str(tokenizer.decode([number])).strip() for number in numbers]
            whole = [i for i, word in enumerate(words) if list(split_words(word)) == [(0, len(word))]]
            own: dict[str, Word] = {}
            for index, (row, place) in zip(whole, read(span, [words[i] for i in whole]), strict=True):
                word = cased_like(words[index], old)
                is_read = place is not None and row["input_ids"][place] == numbers[index]
                if is_read and word.casefold() != old.casefold():
                    own.setdefault(word, Word(word, chances[index]))
            found[span] = tuple(own.values())[:k]
        return [found.get(span, ()) for span in spans]


def written(text: Text, words: Mapping[Span, str]) -> Text:
    """The text with other words at these spans."""
    sequences = [text] if isinstance(text, str) else list(text)
    for (sequence, start, end), word in sorted(words.items(), reverse=True):
        sequences[sequence] = sequences[sequence][:start] + word + sequences[sequence][end:]
    return sequences[0] if isinstance(text, str) else (sequences[0], sequences[1])


def cased_like(word: str, old: str) -> str:
    """The word with a capital, or in capitals, where the one that it replaces is and it is not."""
    if word != word.lower() or old == old.lower():
        return word
    if len(old) > 1 and old == old.upper():
        return word.upper()
    return word[:1].upper() + word[1:] if old[:1] != old[:1].lower() else word
