"""What a method is asked: a model, its inputs and what is to be explained, and the ways to find out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from whybert.encoding import EncodedText
from whybert.errors import InputError, UsageError
from whybert.interception import ForwardPass, run
from whybert.lrp.composites import Composite
from whybert.perturbation import Columns, alike, perturbation
from whybert.sentences import words_of_sentences
from whybert.targets import ResolvedTarget
from whybert.words import tokens_of_words

Change = Callable[[Tensor], Tensor]
"""From the output of the embedding block (batch, seq, hidden) to what the first layer reads instead."""

Unit = Literal["word", "token", "sentence"]
"""What is taken away as one: see `Question.units`."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A forward pass, and what it was run for.  Methods of one call share it."""

    forward: ForwardPass
    composites: frozenset[Composite]
    attention: bool
    sub_layers: bool

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        composites: Iterable[Composite] = (),
        *,
        attention: bool = False,
        sub_layers: bool = False,
        at: Change | None = None,
    ) -> Prepared:
        """Run it; see `whybert.interception.run`."""
        listed = list(dict.fromkeys(composites))
        forward = run(model, inputs, listed, attention=attention, sub_layers=sub_layers, at=at)
        return cls(forward, frozenset(listed), attention, sub_layers)

    def serves(self, composites: Iterable[Composite], attention: bool, sub_layers: bool) -> bool:
        return (
            self.composites.issuperset(composites)
            and attention <= self.attention
            and sub_layers <= self.sub_layers
        )


@dataclass(frozen=True, eq=False)
class Question:
    """Why did the model answer these inputs so?  Methods ask the model again by `forward` and `without`.

    Fields:
        model, inputs: as they were given; each input is a tensor on the model's device.
        target: the explained classes, found from the model's own logits; nothing that is changed moves it.
        at: a change of the embedding that all forward passes have.
        tokenizer: knows the ids of the mask and of padding; None at the level of tensors.
        rows: the texts that the inputs are; None at the level of tensors.
        answered: what `without` has asked already, shared by all methods and targets of a call.
    """

    model: nn.Module
    inputs: Mapping[str, Tensor]
    target: ResolvedTarget
    shared: Prepared = field(repr=False)
    at: Change | None = None
    tokenizer: Any = None
    rows: Sequence[EncodedText] | None = field(default=None, repr=False)
    answered: dict[Columns, Tensor] = field(default_factory=dict, repr=False)

    @property
    def logits(self) -> Tensor:
        """(batch, labels), the model's own."""
        return self.shared.forward.logits.detach()

    def forward(
        self,
        composites: Iterable[Composite] = (),
        *,
        attention: bool = False,
        sub_layers: bool = False,
        at: Change | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> ForwardPass:
        """A forward pass that can be swept by the composites.

        The unchanged one is shared by all methods of the call, if they named their composites beforehand.

        Args:
            composites: the rules of later sweeps.
            attention, sub_layers: see `whybert.interception.run`.
            at: a function of the embedding (batch, seq, hidden); the sweeps end at what it returns.
            inputs: others than the question's, such as a baseline or copies of its rows; the question's own
                change of the embedding is not theirs, so E is best taken from the shared pass.
        """
        wanted = tuple(composites)
        if at is None and inputs is None and self.shared.serves(wanted, attention, sub_layers):
            return self.shared.forward
        changes = [change for change in (None if inputs else self.at, at) if change is not None]

        def changed(embedding: Tensor) -> Tensor:
            for change in changes:
                embedding = change(embedding)
            return embedding

        return run(
            self.model,
            self.inputs if inputs is None else inputs,
            wanted,
            attention=attention,
            sub_layers=sub_layers,
            at=changed if changes else None,
        )

    def units(self, unit: Unit) -> list[tuple[tuple[int, ...], ...]]:
        """The tokens of each word, token or sentence of each row; those that the tokenizer added are in none.

        Without texts only tokens are known: those that are no padding, and no special ones of the tokenizer.

        Raises UsageError for words and sentences at the level of tensors.
        """
        if self.rows is not None:
            return [_units_of(row, unit) for row in self.rows]
        if unit != "token":
            raise UsageError(
                f"expected the text to tell its {unit}s, and only its tensors are here; ask for "
                "unit='token', or call `explain`"
            )
        ids = self.inputs["input_ids"]
        special = torch.tensor(list(getattr(self.tokenizer, "all_special_ids", ())), device=ids.device)
        kept = ~torch.isin(ids, special)
        if "attention_mask" in self.inputs:
            kept = kept & self.inputs["attention_mask"].bool()
        return [tuple((place,) for place, is_kept in enumerate(row) if is_kept) for row in kept.tolist()]

    def spread(self, values: Sequence[Sequence[float]], unit: Unit) -> Tensor:
        """Token scores (batch, seq), float64, whose sums over the units are `values`: equal parts in each."""
        scores = torch.zeros(self.inputs["input_ids"].shape, dtype=torch.float64)
        for row, (units, found) in enumerate(zip(self.units(unit), values, strict=True)):
            for members, value in zip(units, found, strict=True):
                scores[row, list(members)] = value / len(members)
        return scores.to(self.logits.device)

    def outputs(self, removed: Tensor, by: str = "mask", *, batch_size: int = 32) -> Tensor:
        """The explained output when tokens are taken away, (removals, batch), float64; see `without`."""
        logits = self.without(removed, by, batch_size=batch_size).to(self.logits.device)
        return torch.stack([self.target.output(each) for each in logits]).cpu()

    def without(self, removed: Tensor, by: str = "mask", *, batch_size: int = 32) -> Tensor:
        """What the model says when tokens are taken away.

        Args:
            removed: bool, (removals, seq) for all rows alike or (removals, batch, seq); True is taken away.
                Padding (attention mask 0) stays whatever it says.
            by: a name of `whybert.perturbation.PERTURBATIONS`.
            batch_size: how many texts of 64 tokens are asked at a time.

        Returns:
            Logits (removals, batch, labels), float64 on the CPU.

        Raises:
            UsageError: there is no such way, it needs a tokenizer, or no token is left.
        """
        if self.at is not None:
            raise UsageError("tokens cannot be taken away where the embedding is changed; leave `at` out")
        ids = self.inputs["input_ids"]
        for name, tensor in self.inputs.items():
            if tensor.shape != ids.shape:
                raise InputError(
                    f"expected {name} of shape {tuple(ids.shape)} like input_ids, to take tokens away, found "
                    f"{tuple(tensor.shape)}"
                )
        removed = removed if removed.dim() == 3 else removed[:, None].expand(-1, len(ids), -1)
        if removed.dtype != torch.bool or removed.shape[1:] != ids.shape:
            raise UsageError(
                f"expected removals as bool of shape (removals, {len(ids)}, {ids.shape[1]}), found "
                f"{removed.dtype} of {tuple(removed.shape)}"
            )
        if "attention_mask" in self.inputs:
            removed = removed.to(ids.device) & self.inputs["attention_mask"].bool()
        rows = [
            {name: tensor[row].tolist() for name, tensor in self.inputs.items()} for row in range(len(ids))
        ]
        apply = perturbation(by).apply
        asked: list[Columns] = []
        for removal in removed.tolist():
            for row, flags in zip(rows, removal, strict=True):
                gone = [position for position, is_gone in enumerate(flags) if is_gone]
                features = apply(row, gone, self.tokenizer)
                asked.append(tuple(tuple(features[name]) for name in rows[0]))
        known = self.answered
        for part in alike((columns for columns in asked if columns not in known), batch_size):
            if not part[0][0]:
                raise UsageError(f"expected removals that leave a token, and {by!r} leaves none")
            columns = zip(self.inputs.items(), zip(*part, strict=True), strict=True)
            inputs = {name: tensor.new_tensor(column) for (name, tensor), column in columns}
            known.update(zip(part, self.forward(inputs=inputs).logits.detach().cpu().double(), strict=True))
        return torch.stack([known[columns] for columns in asked]).view(*removed.shape[:2], -1)


def _units_of(row: EncodedText, unit: Unit) -> tuple[tuple[int, ...], ...]:
    """The columns of each word, token or sentence of a text, in order."""
    if unit == "token":
        return tuple(
            (place,) for place, special in zip(row.positions, row.special, strict=True) if not special
        )
    words = list(tokens_of_words(row.word_ids, row.special).items())
    groups: Iterable[Sequence[int]] = ([index] for index in range(len(words)))
    if unit == "sentence":
        groups = words_of_sentences((row.text, row.pair or ""), [row.word_spans[word] for word, _ in words])
    return tuple(
        tuple(row.positions[token] for index in group for token in words[index][1]) for group in groups
    )
