"""What a method is asked: a model, its inputs and what is to be explained, and the ways to find out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from whybert.anatomy import check_finite, forward, plain
from whybert.encoding import EncodedText
from whybert.errors import InputError, NonFiniteError, UnknownNameError, UnsupportedModelError, UsageError
from whybert.interception import ForwardPass, run
from whybert.lrp.composites import GRADIENT, Composite
from whybert.perturbation import Perturbation, most_together, perturbation
from whybert.sentences import words_of_sentences
from whybert.targets import ResolvedTarget
from whybert.words import tokens_of_words

Change = Callable[[Tensor], Tensor]
"""From the embedding (batch, seq, hidden) to what the first layer reads instead."""

Unit = Literal["word", "token", "sentence"]
"""What is taken away as one: see `Question.units`."""

_Made = tuple[int, Sequence[int], Mapping[str, Tensor]]
"""A row, which of its changed inputs these are, and they themselves, of one length, by name."""
_Batch = dict[bytes, tuple[int, dict[str, Tensor]]]
"""Inputs of one length, each by its key, with its row."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A forward pass, and what it was run for.  Methods of one call share it."""

    forward: ForwardPass
    composites: frozenset[Composite]
    attention: bool
    sub_layers: bool
    inside: bool

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        composites: Iterable[Composite] = (),
        *,
        attention: bool = False,
        sub_layers: bool = False,
        inside: bool = False,
        at: Change | None = None,
    ) -> Prepared:
        """Run it; see `whybert.interception.run`."""
        listed = list(dict.fromkeys(composites))
        forward = run(model, inputs, listed, attention=attention, sub_layers=sub_layers, inside=inside, at=at)
        return cls(forward, frozenset(listed), attention, sub_layers, inside)

    def serves(
        self, composites: Iterable[Composite], attention: bool, sub_layers: bool, inside: bool
    ) -> bool:
        return (
            self.composites.issuperset(composites)
            and attention <= self.attention
            and sub_layers <= self.sub_layers
            and inside <= self.inside
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
        found: what methods keep for each other and for other targets, by keys of their own.
    """

    model: nn.Module
    inputs: Mapping[str, Tensor]
    target: ResolvedTarget
    shared: Prepared = field(repr=False)
    at: Change | None = None
    tokenizer: Any = None
    rows: Sequence[EncodedText] | None = field(default=None, repr=False)
    answered: dict[bytes, Tensor] = field(default_factory=dict, repr=False)
    found: dict[Any, Any] = field(default_factory=dict, repr=False)

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
        inside: bool = False,
        at: Change | None = None,
        of_words: Change | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> ForwardPass:
        """A forward pass that can be swept by the composites.

        The unchanged one is shared by all methods of the call, if they named their composites beforehand.

        Args:
            composites: the rules of later sweeps.
            attention, sub_layers, inside: see `whybert.interception.run`.
            at: a function of the embedding (batch, seq, hidden); the sweeps end at what it returns.
            of_words: a function of the vectors that are looked up in the table of words.
            inputs: others than the question's, such as a baseline or copies of its rows; the question's own
                change of the embedding is not theirs, so E is best taken from the shared pass.
        """
        wanted = tuple(composites)
        if at is None and inputs is None and self.shared.serves(wanted, attention, sub_layers, inside):
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
            inside=inside,
            at=changed if changes else None,
            of_words=of_words,
        )

    def gradients(
        self, rows: Tensor, points: Callable[[Tensor], Tensor], composite: Composite = GRADIENT
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Sweeps of dy/dlogits from points of the embedding's space, as many together as are a batch.

        Args:
            rows: (points,), the row of the batch whose inputs, padding and target go with each point.
            points: from some places in `rows`, (k,), to the points there, (k, positions, hidden).
            composite: the rules of the sweep, the ordinary gradient if it is left out.

        Returns:
            For places (k,) one after another, the gradients there, (k, positions, hidden).
        """
        batch, length = self.shared.forward.embedding.shape[:2]
        rows = rows.to(self.logits.device)
        size = 1 if self._is_asked_alone else max(batch, most_together(length, 32))
        first = 0
        while first < len(rows):
            places = torch.arange(first, min(first + size, len(rows)), device=rows.device)
            chosen, at = rows[places], points(places)
            inputs = self.inputs_of(chosen)
            try:
                forward = self.forward((composite,), inputs=inputs, at=lambda _, at=at: at)  # type: ignore[misc]
            except UnsupportedModelError:
                if batch > 1 or len(places) == 1:
                    raise
                self.found["alone"], size = True, 1
                continue
            yield places, forward.gradient(composite, self.target.select(chosen))
            first += size

    @property
    def _is_asked_alone(self) -> bool:
        """Whether the model was found to answer no two texts at once, as some without a token for padding."""
        return bool(self.found.get("alone", False))

    def inputs_of(self, rows: Tensor | slice) -> dict[str, Tensor]:
        """The inputs of these rows of the batch, as often as each is named; what all rows share stays."""
        batch = len(self.inputs["input_ids"])
        return {
            name: tensor[rows] if tensor.dim() and len(tensor) == batch else tensor
            for name, tensor in self.inputs.items()
        }

    def generators(self, seed: int) -> list[torch.Generator]:
        """Random numbers for each row, the same for one text in whatever batch and however it is padded."""
        ids = self.inputs["input_ids"].tolist()
        tokens = self.is_token.tolist()
        found = []
        for row, flags in zip(ids, tokens, strict=True):
            text = [seed, *(token for token, is_token in zip(row, flags, strict=True) if is_token)]
            digest = blake2b(repr(text).encode(), digest_size=7).digest()
            found.append(torch.Generator().manual_seed(int.from_bytes(digest, "big")))
        return found

    @property
    def is_token(self) -> Tensor:
        """(batch, seq), bool: what is no padding."""
        ids = self.inputs["input_ids"]
        mask = self.inputs.get("attention_mask")
        known = mask is not None and mask.shape == ids.shape
        return mask.bool() if known else torch.ones_like(ids, dtype=torch.bool)  # type: ignore[union-attr]

    def positions(self, tokens: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Of numbers of each token those of each position of the embedding, 0 where it is no token's.

        Args:
            tokens: (rows, seq).
            rows: of the batch, whose numbers these are; all of them if it is left out.
        """
        standing = self.shared.forward.standing
        return tokens if standing is None else standing.spread(tokens, rows)

    def units(self, unit: Unit) -> list[tuple[tuple[int, ...], ...]]:
        """The tokens of each word, token or sentence of each row; those that the tokenizer added are in none.

        Without texts only tokens are known: those that are no padding, and no special ones of the tokenizer;
        an unknown token and a mask stand for text.

        Raises:
            UnknownNameError: there is no such unit.
            UsageError: words and sentences are asked for at the level of tensors.
        """
        if unit not in get_args(Unit):
            raise UnknownNameError("unit", unit, get_args(Unit))
        if self.rows is not None:
            return [_units_of(row, unit) for row in self.rows]
        if unit != "token":
            raise UsageError(
                f"expected the text to tell its {unit}s, and only its tensors are here; ask for "
                "unit='token', or call `explain`"
            )
        ids = self.inputs["input_ids"]
        special = torch.tensor(_special_ids(self.tokenizer), dtype=torch.long, device=ids.device)
        kept = self.is_token & ~torch.isin(ids, special)
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
            Logits (removals, batch, labels), float64 on the CPU; a row left as it is has its own.

        Raises:
            UsageError: there is no such way, it needs a tokenizer, or no token is left.
        """
        self._check_removable()
        ids = self.inputs["input_ids"]
        removed = removed if removed.dim() == 3 else removed[:, None].expand(-1, len(ids), -1)
        if removed.dtype != torch.bool or removed.shape[1:] != ids.shape:
            raise UsageError(
                f"expected removals as bool of shape (removals, {len(ids)}, {ids.shape[1]}), found "
                f"{removed.dtype} of {tuple(removed.shape)}"
            )
        found = self._answers([removed[:, row] for row in range(len(ids))], by, batch_size)
        return torch.stack(found, 1)

    def worth(self, kept: Sequence[Tensor], unit: Unit, by: str | Perturbation = "mask") -> list[Tensor]:
        """The explained output when of a text only some units are left: a game whose players are the units.

        Args:
            kept: of each row bool (sets, units), the units that stay; as many sets as its own.
            unit, by: see `units` and `without`; or a `Perturbation`.  Tokens in no unit, such as [CLS], stay.

        Returns:
            Of each row (sets,), float64 on the CPU.

        Raises:
            UsageError: what `without` and `units` raise.
        """
        found = []
        for row, logits in enumerate(self._answers(self._removed(kept, unit), by)):
            target = self.target.select(torch.full((len(logits),), row))
            found.append(target.output(logits.to(self.logits.device)).cpu())
        return found

    def parts(
        self, kept: Sequence[Tensor], unit: Unit, by: str, composite: Composite, *, batch_size: int = 32
    ) -> list[Tensor]:
        """What the tokens of parts of the texts get by a composite: E * g of the part, summed over hidden.

        The backward counterpart of `worth`: E is the embedding of the part and g what arrives there from its
        explained output.  Parts that are the same are swept once, those of one length in one batch, without
        the padding behind them.

        Args:
            kept: of each row bool (sets, units), the units that stay; as many sets as its own.
            unit, by: see `units` and `without`.  Tokens in no unit, such as [CLS], always stay.
            composite: the rules of the sweep.
            batch_size: how many texts of 64 tokens are swept at a time.

        Returns:
            Of each row (sets, seq), float64 on the CPU, in the columns of the text; 0 for what is taken away.

        Raises:
            UsageError: what `without` and `units` raise.
        """
        removed = self._removed(kept, unit)
        found: dict[bytes, Tensor] = {}

        def sweep(batch: _Batch) -> None:
            forward = self.forward((composite,), inputs=self._stacked(batch))
            target = self.target.select(torch.tensor([row for row, _ in batch.values()]))
            relevance = forward.embedding.detach() * forward.gradient(composite, target)
            scores = relevance.to(torch.promote_types(relevance.dtype, torch.float32)).sum(-1)
            scores = scores if forward.standing is None else forward.standing.folded(scores)
            found.update(zip(batch, scores.cpu().double(), strict=True))

        keys: list[list[bytes]] = [[b""] * len(sets) for sets in removed]
        self._batched(self._changed(removed, by, all_sets=True), keys, found, sweep, batch_size, by_row=True)
        swept = [torch.zeros(sets.shape, dtype=torch.float64) for sets in removed]
        for own, sets, asked, text in zip(swept, removed, keys, self.texts(), strict=True):
            end = len(text["input_ids"])
            for scores, gone, key in zip(own, sets[:, :end], asked, strict=True):
                is_shorter = len(found[key]) < end
                scores[:end][~gone if is_shorter else slice(None)] = found[key]
            own.masked_fill_(sets, 0.0)
        return swept

    def _removed(self, kept: Sequence[Tensor], unit: Unit) -> list[Tensor]:
        """Of each row bool (sets, seq): the tokens of the units that do not stay."""
        self._check_removable()
        removed = []
        for units, sets in zip(self.units(unit), kept, strict=True):
            tokens = torch.zeros(len(units), self.inputs["input_ids"].shape[1])
            for index, members in enumerate(units):
                tokens[index, list(members)] = 1.0
            removed.append((~sets).float() @ tokens > 0)
        return removed

    def _check_removable(self) -> None:
        """Raise where no tokens can be taken away from the inputs."""
        if self.at is not None:
            raise UsageError("tokens cannot be taken away where the embedding is changed; leave `at` out")
        ids = self.inputs["input_ids"]
        for name, tensor in self.inputs.items():
            if tensor.shape != ids.shape:
                raise InputError(
                    f"expected {name} of shape {tuple(ids.shape)} like input_ids, to take tokens away, found "
                    f"{tuple(tensor.shape)}"
                )

    def answers_to(self, ids: Sequence[Tensor]) -> list[Tensor]:
        """The logits of each row with other tokens in its places.

        Args:
            ids: of each row whole numbers (variants, seq), what stands in each column instead.

        Returns:
            Of each row (variants, labels), float64 on the CPU.

        Raises:
            UsageError: what `without` raises where the embedding is changed.
        """
        self._check_removable()
        made = []
        for row, (inputs, own) in enumerate(zip(self.texts(), ids, strict=True)):
            columns = {name: column.expand(len(own), -1) for name, column in inputs.items()}
            columns["input_ids"] = own[:, : len(inputs["input_ids"])].cpu()
            made.append((row, range(len(own)), columns))
        return self._asked(made, [len(own) for own in ids])

    def texts(self) -> list[dict[str, Tensor]]:
        """The inputs of each row, (tokens,) on the CPU, without padding behind the text that is not read."""
        inputs = {name: tensor.cpu() for name, tensor in self.inputs.items()}
        ends = [int(own.nonzero().max()) + 1 for own in self.is_token.cpu()]
        texts = [{name: tensor[row, :end] for name, tensor in inputs.items()} for row, end in enumerate(ends)]
        shortest = min(range(len(ends)), key=ends.__getitem__)
        is_padded = ends[shortest] < inputs["input_ids"].shape[1]
        if is_padded and self.rows is None and self._reads_padding(shortest, texts[shortest]):
            return [{name: tensor[row] for name, tensor in inputs.items()} for row in range(len(ends))]
        return texts

    def _reads_padding(self, row: int, text: dict[str, Tensor]) -> bool:
        """Whether the answer to a row is another without its padding; the model is asked once.

        What is made of texts comes in batches without padding, if the model reads it.
        """
        if "reads padding" not in self.found:
            with plain(self.model, backward=False):
                alone = forward(self.model, self._stacked({b"": (row, text)}))[0].cpu().double()
            own = self.logits[row].cpu().double()
            tolerance = max(1e-6, 8 * torch.finfo(self.logits.dtype).eps)
            gap = (alone - own).abs().max()
            self.found["reads padding"] = not bool(gap <= tolerance * own.abs().max().clamp_min(1.0))
        reads: bool = self.found["reads padding"]
        return reads

    def _answers(
        self, removed: Sequence[Tensor], by: str | Perturbation, batch_size: int = 32
    ) -> list[Tensor]:
        """The logits (removals, labels), float64, of each row without tokens: bool (removals, seq) a row.

        A row of which nothing is taken away has its own logits.
        """
        return self._asked(self._changed(removed, by), [len(own) for own in removed], batch_size)

    def _changed(
        self, removed: Sequence[Tensor], by: str | Perturbation, *, all_sets: bool = False
    ) -> Iterator[_Made]:
        """The inputs of each row without tokens, where some are taken away or all sets are wanted."""
        way = by if isinstance(by, Perturbation) else perturbation(by)
        for row, (inputs, own) in enumerate(zip(self.texts(), removed, strict=True)):
            sets = (own.cpu() & self.is_token[row].cpu())[:, : len(inputs["input_ids"])]
            for part in torch.split((sets.any(1) | all_sets).nonzero()[:, 0], _TOGETHER):
                for indices, columns in way.applied(inputs, sets[part], self.tokenizer):
                    tokens = columns.get("attention_mask", columns["input_ids"] * 0 + 1)
                    if not bool(tokens.any(1).all()):
                        raise UsageError(
                            f"expected removals that leave a token, and {way.name!r} leaves none"
                        )
                    yield row, part[indices].tolist(), columns

    def _asked(self, made: Iterable[_Made], counts: Sequence[int], batch_size: int = 32) -> list[Tensor]:
        """The logits (count, labels) of each row, float64; what is not made is the row as it is."""
        keys = [[b""] * count for count in counts]
        self._batched(made, keys, self.answered, self._answer, batch_size)
        found = []
        for asked, intact in zip(keys, self.logits.cpu().double(), strict=True):
            answers = [self.answered[key] if key else intact for key in asked]
            found.append(torch.stack(answers) if answers else intact[None][:0])
        return found

    def _batched(
        self,
        made: Iterable[_Made],
        keys: list[list[bytes]],
        known: Mapping[bytes, Tensor],
        ask: Callable[[_Batch], None],
        batch_size: int,
        *,
        by_row: bool = False,
    ) -> None:
        """Ask about inputs as they are made, those that are the same once, in batches of one length.

        A batch is asked as soon as it is full, so that no more than one of each length waits.

        Args:
            made, batch_size: see `_Made`; how many texts of 64 tokens a batch is as large as.
            keys: of each row, by which `known` has the answer to each of its inputs: filled here.
            known: filled by `ask`.
            by_row: whether the same inputs of two rows have two answers.
        """
        waiting: dict[int, _Batch] = {}
        for row, indices, columns in made:
            length = columns["input_ids"].shape[1]
            full = 1 if self._is_asked_alone else most_together(length, batch_size)
            batch = waiting.setdefault(length, {})
            told = _keys(columns, str(row).encode() if by_row else b"")
            for place, (index, key) in enumerate(zip(indices, told, strict=True)):
                keys[row][index] = key
                if key in known or key in batch:
                    continue
                batch[key] = row, {name: column[place] for name, column in columns.items()}
                if len(batch) >= full:
                    ask(batch)
                    batch.clear()
        for length in sorted(waiting, reverse=True):
            if waiting[length]:
                ask(waiting[length])

    def _stacked(self, batch: _Batch) -> dict[str, Tensor]:
        """The inputs of a batch by name, on the device of the model."""
        return {
            name: torch.stack([columns[name] for _, columns in batch.values()]).to(tensor.device)
            for name, tensor in self.inputs.items()
        }

    def _answer(self, batch: _Batch) -> None:
        """Ask the model, without a graph and as it is."""
        alone = self._is_asked_alone and len(batch) > 1
        try:
            with plain(self.model, backward=False):
                logits = None if alone else forward(self.model, self._stacked(batch))
        except UnsupportedModelError:
            if len(self.logits) > 1 or len(batch) == 1:
                raise
            self.found["alone"], logits = True, None
        if logits is None:
            for key, one in batch.items():
                self._answer({key: one})
            return
        try:
            check_finite(self.model, logits)
        except NonFiniteError as error:
            row = [row for row, _ in batch.values()][error.index or 0]
            raise error.at(f"row {row}, perturbed,", row) from error
        self.answered.update(zip(batch, logits.cpu().double(), strict=True))


_TOGETHER: Final = 1024  # removals of one text whose inputs are made at once


def _keys(columns: Mapping[str, Tensor], salt: bytes) -> Iterator[bytes]:
    """What tells each row of the inputs from others, in few bytes."""
    arrays = [column.contiguous().view(torch.uint8).numpy() for column in columns.values()]
    for row in zip(*arrays, strict=True):
        digest = blake2b(salt, digest_size=16)
        for column in row:
            digest.update(column)
        yield digest.digest()


def _special_ids(tokenizer: Any) -> list[int]:
    """Of the tokens that stand for no text, as far as the tokenizer says; none without one."""
    found = set(getattr(tokenizer, "all_special_ids", ()))
    beside = {getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "cls", "sep", "pad")}
    in_texts = {getattr(tokenizer, f"{name}_token_id", None) for name in ("unk", "mask")}
    return sorted(found - (in_texts - beside))


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
