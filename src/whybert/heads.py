"""Models that answer at each position of a text: at which one they are read, and what stands there.

A token classifier and a language model give each text a table of numbers, (positions, classes), and a model
that answers questions one of (positions, start or end).  One row of it, or one column, is what a sequence
classifier gives: numbers of which a target names one or two.  So a target of these models is a place and
then an ordinary target there.

The place is an input of the model, `READ`, beside the ids of the tokens: whatever is made of a text, such as
copies, parts, or a text without some words, has its place with it, and nothing else has to know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from whybert.anatomy import embedding_block, failures, plain, word_embeddings
from whybert.encoding import EncodedText, tokenize
from whybert.errors import (
    PLACE,
    InputError,
    TargetError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    WhybertError,
    quoted,
)
from whybert.foreign import READ, ForeignModel, logits_in, spans_in, table_in
from whybert.targets import is_all, label_names
from whybert.words import tokens_of_words

Kind = Literal["labels", "tokens", "vocabulary", "spans", "choices", "question"]
"""What a model answers about a text: logits of labels; of labels at each position, or of the tokens of its
vocabulary there; how likely an answer starts, or ends, at each position; a single number, each choice being a
text; or these numbers of all choices of one question."""

SIDES: Final = ("start", "end")

_NOWHERE: Final = -1e4
"""The logit of a start, or end, at padding: no softmax sees it, and half precision holds it."""

_LISTED: Final = 20  # tokens of a vocabulary that an explanation lists, beside those that are explained


@dataclass(frozen=True)
class Head:
    """What a model answers, and what is read of it.

    Fields:
        kind: see `Kind`.
        labels: of the numbers at a position, in order; none for spans, whose classes are positions.
        scores: of a question the number of each choice.
    """

    kind: Kind = "labels"
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    @property
    def has_places(self) -> bool:
        """Whether a target names a place."""
        return self.kind in ("tokens", "vocabulary", "spans")

    def split(self, target: Any) -> tuple[Any, Any]:
        """A target as its place and the ordinary target there.

        That is (place, class); or ((place, a), (place, b)), which is (place, (a, b)); or a place alone that
        is "start" or "end", or a class alone at the only mask of the text.

        Raises:
            TargetError: it is none of these.
        """
        if not self.has_places:
            return None, target
        if isinstance(target, tuple) and len(target) == 2:
            if all(isinstance(each, tuple) for each in target):
                (first, one), (second, other) = map(self.split, target)
                if first != second:
                    raise TargetError(
                        f"a contrast is of two classes at one place, found {quoted(first)} and "
                        f"{quoted(second)}; explain each by itself"
                    )
                return first, (one, other)
            place, found = target
        elif self.kind == "spans" and isinstance(target, str):
            place, found = target, None
        else:
            place, found = None, target
        if self.kind == "spans" and place not in SIDES:
            raise TargetError(
                f"expected a target that says whether the answer's start or its end is explained, found "
                f"{quoted(target)}; such as 'start', or ('start', 'Paris') for the start at that word, "
                "start:Paris in a shell"
            )
        if self.kind == "tokens" and place is None:
            raise TargetError(
                f"expected a target that names a word and its class, found {quoted(target)}; such as "
                "('Paris', None) for the class that is predicted there, or (5, None) for the word of that "
                "number, from 0; in a shell Paris, 5 or Paris:CLASS"
            )
        if self.kind != "tokens" and (is_all(found, self.labels) or isinstance(found, Set)):
            raise TargetError(
                f"expected one token, or a contrast (a, b) of two, found {quoted(found)}; name those that "
                "matter one after the other, giving the text again for each"
            )
        return place, found


LABELS: Final = Head()


@dataclass(frozen=True, slots=True)
class At:
    """Where one text is read.

    column: of the inputs, or of the text's own tokens; None where no position is chosen beforehand.
    side: the index of `SIDES`, or of the choice that the text is.
    target: an ordinary target; of spans its classes are columns.
    name: what messages and titles call the place.
    """

    column: int | None
    side: int
    target: Any
    name: str


# --- which kind of head a model has ------------------------------------------------------------------------


def head_of(model: nn.Module, inputs: Mapping[str, Tensor], tokenizer: Any = None) -> Head:
    """What a model answers, told by what it returns for the inputs.

    Args:
        model: in eval mode.
        inputs: that it takes, (batch, seq), of at least two tokens.
        tokenizer: its own; without one the tokens of a vocabulary have no names.

    Returns:
        Of a model that fails, or that returns something else, `LABELS`: whoever asks it next says why.
    """
    try:
        output = _asked(model, inputs)
    except WhybertError:
        return _head_of_choices(model, inputs)
    ids = inputs["input_ids"]
    if spans_in(output, ids.shape) is not None:
        return Head("spans")
    table = table_in(output, ids.shape)
    if table is None:
        return LABELS
    count = table.shape[-1]
    config = getattr(model, "config", None)
    if len(label_names(config)) != count and tokenizer is not None:
        names = {index: token for token, index in tokenizer.get_vocab().items()}
        rows = getattr(word_embeddings(model), "num_embeddings", None)  # with or without some that were added
        if count > max(names) or count == rows:
            return Head("vocabulary", tuple(names.get(index, f"token {index}") for index in range(count)))
    return Head("tokens", label_names(config, count))


def _asked(model: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    with plain(model, backward=False), failures(model, inputs):
        return model(**inputs)


def _head_of_choices(model: nn.Module, inputs: Mapping[str, Tensor]) -> Head:
    """A model of choices takes (batch, choices, seq), and has one number for each choice."""
    try:
        output = _asked(model, _of_one_choice(inputs))
    except WhybertError:
        return LABELS
    logits = logits_in(output)
    is_one = isinstance(logits, Tensor) and logits.shape == (len(inputs["input_ids"]), 1)
    return Head("choices", ("choice",)) if is_one else LABELS


def _of_one_choice(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[:, None] if tensor.dim() == 2 else tensor for name, tensor in inputs.items()}


# --- reading -----------------------------------------------------------------------------------------------


def read_at(
    head: Head, model: nn.Module, inputs: Mapping[str, Any], places: Sequence[At]
) -> tuple[nn.Module, dict[str, Any]]:
    """The model as one of labels, (batch, labels), and its inputs with the place of each row.

    Args:
        head: of the model.
        model: that answers at each position.
        inputs: (batch, seq) each; padding where the attention mask is 0.
        places: one for each row; the columns are the inputs'.
    """
    ids = torch.as_tensor(inputs["input_ids"])
    if head.kind == "choices":
        return _as_read(model, _read_choice), {**inputs}
    read = torch.zeros(ids.shape, dtype=torch.long)
    if head.kind == "question":
        for row, place in enumerate(places):
            read[row] = place.side
        return _as_read(model, partial(_read_question, head.scores)), {**inputs, READ: read}
    if head.kind == "spans":
        mask = torch.as_tensor(inputs.get("attention_mask", torch.ones_like(ids))).cpu()
        columns = torch.arange(ids.shape[1])
        for row, place in enumerate(places):
            read[row] = (2 * columns + 1 + place.side) * (mask[row] != 0)
        return _as_read(model, partial(_read_span, ids.shape[1]), True), {**inputs, READ: read}
    for row, place in enumerate(places):
        assert place.column is not None
        read[row, place.column] = 1
    return _as_read(model, _read_row), {**inputs, READ: read}


_Answer = Callable[..., Any]


def _as_read(
    model: nn.Module, read: Callable[[_Answer, dict[str, Tensor]], Tensor], is_of_positions: bool = False
) -> ForeignModel:
    """The model with another forward pass; its parts are what they were."""
    if isinstance(model, ForeignModel):
        return model.read_by(read, is_of_positions)
    names = {id(module): name for name, module in model.named_modules()}
    words = word_embeddings(model)
    block = names[id(embedding_block(model))]
    config: Any = getattr(model, "config", None)
    known = ForeignModel(model, block, None if words is None else names.get(id(words)), None, 0, config)
    return known.read_by(read, is_of_positions)


def _read_row(answer: _Answer, inputs: dict[str, Tensor]) -> Tensor:
    """The row of the table, (batch, classes), at the position of each text."""
    read = inputs.pop(READ)
    _check_left(bool(read.any(1).all()))
    table = table_in(answer(**inputs), read.shape)
    if table is None:
        raise _changed(read)
    return table[torch.arange(len(read), device=table.device), read.argmax(1)]


def _read_span(width: int, answer: _Answer, inputs: dict[str, Tensor]) -> Tensor:
    """The column of the table, (batch, width): a number for each position where an answer starts, or ends.

    Positions are the classes here, so they have to stay what they are.
    """
    read = inputs.pop(READ)
    found = spans_in(answer(**inputs), read.shape)
    if found is None:
        raise _changed(read)
    columns = torch.arange(read.shape[1], device=read.device)
    _check_left(bool(((read == 0) | ((read - 1) // 2 == columns)).all()))
    start, end = found
    is_end = ((read > 0) & (read % 2 == 0)).to(start)
    is_token = (read > 0).to(start)
    logits = start * (is_token - is_end) + end * is_end + _NOWHERE * (1 - is_token)
    rest = width - logits.shape[1]
    return torch.cat([logits, logits.new_full((len(logits), rest), _NOWHERE)], 1) if rest else logits


def _read_choice(answer: _Answer, inputs: dict[str, Tensor]) -> Any:
    """The number of each text, (batch, 1)."""
    return logits_in(answer(**_of_one_choice(inputs)))


def _read_question(scores: Sequence[float], answer: _Answer, inputs: dict[str, Tensor]) -> Tensor:
    """The numbers of all choices, (batch, choices): its own of each text, and the others as constants.

    What the other choices say does not depend on the words of this one, so that derivatives, and differences
    when words are taken away, are those of the whole question.  Constants stand in the books.
    """
    own = inputs.pop(READ)[:, 0]
    found: Tensor = _read_choice(answer, inputs)
    is_own = torch.nn.functional.one_hot(own, len(scores)).to(found)
    return found * is_own + torch.tensor(scores, dtype=torch.float64).to(found) * (1 - is_own)


def _check_left(is_left: bool) -> None:
    if not is_left:
        raise UsageError(
            "the word whose answer is explained cannot be deleted, and other words cannot either where it is "
            "an answer's start or end; mask them: by='mask' (of sampled methods removal='mask')"
        )


def _changed(read: Tensor) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"expected a model that answers at each of the {read.shape[1]} positions of a text, found one that "
        "does so for some texts only, or at other positions too"
    )


# --- questions with choices --------------------------------------------------------------------------------


def questions_of(texts: Any) -> list[tuple[str, list[str]]] | None:
    """One question `(text, [choice, choice, ...])`, or a list of such, as a list; None for other texts."""
    listed = [texts] if isinstance(texts, tuple) else texts
    is_list = isinstance(listed, list) and bool(listed) and all(map(_is_question, listed))
    return [(text, list(choices)) for text, choices in listed] if is_list else None


def _is_question(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], list)
    )


# --- texts -------------------------------------------------------------------------------------------------


def places_of(
    head: Head,
    rows: Sequence[EncodedText],
    targets: Sequence[tuple[Any, Any]],
    tokenizer: Any,
    max_length: int | None = None,
) -> list[At]:
    """Where each text is read; columns are indices of its tokens.

    Args:
        head: of the model.
        rows: the texts.
        targets: of each, see `Head.split`.
        tokenizer, max_length: of the texts.

    Raises:
        InputError: a word is not in its text, or stands there several times, or is no single token.
    """
    if head.kind == "question":
        return [At(None, index, target, "") for index, (_, target) in enumerate(targets)]
    found = []
    for index, (row, (place, target)) in enumerate(zip(rows, targets, strict=True)):
        try:
            found.append(_place(head, row, place, target, tokenizer, max_length))
        except (TargetError, UnknownNameError) as error:
            raise InputError(str(error), index) from error
    return found


def _place(
    head: Head, row: EncodedText, place: Any, target: Any, tokenizer: Any, max_length: int | None
) -> At:
    if head.kind == "spans":
        side = SIDES.index(place)
        context = None if row.pair is None else 1

        def column(named: Any) -> Any:
            return None if named is None else _tokens_of(row, named, context)[0][-side]

        return At(None, side, _each(column, target), place)
    if not head.has_places:
        return At(None, 0, target, "")
    if place is None:
        masks = [
            index
            for index, number in enumerate(row.features["input_ids"])
            if number == tokenizer.mask_token_id and not row.special[index]
        ]
        if len(masks) != 1 or tokenizer.mask_token_id is None:
            mask = tokenizer.mask_token
            found = (
                f"one mask ({mask}) in {PLACE} where the target names no place, found {len(masks)}"
                if mask
                else f"a target that names a place in {PLACE}, found {quoted(target)}"
            )
            raise TargetError(
                f"expected {found}; name the word, or its number from 0: ({quoted(mask or 'Paris')}, "
                f"{quoted(target)})"
            )
        token, name = masks[0], str(tokenizer.mask_token)
    else:
        (token, *_), name = _tokens_of(row, place)
    if head.kind == "vocabulary":
        target = _each(lambda named: _token_of(named, row, token, tokenizer, max_length), target)
    return At(token, 0, target, name)


def _each(change: Callable[[Any], Any], target: Any) -> Any:
    """A target with each of its classes changed."""
    return tuple(map(change, target)) if isinstance(target, tuple) else change(target)


def _tokens_of(row: EncodedText, place: Any, sequence: int | None = None) -> tuple[tuple[int, ...], str]:
    """The tokens of a word, or of some words one after another, and what it is called.

    Args:
        row: the text.
        place: the number of a word, from 0, or how it is written.
        sequence: where it is looked for, by the words; None for the whole text.
    """
    members = tokens_of_words(row.word_ids, row.special)
    words = row.words
    if isinstance(place, str):
        found = list(_occurrences(row, place, sequence, members))
        if not found:
            known = [
                word for word, span in zip(words, row.word_spans, strict=True) if sequence in (None, span[0])
            ]
            if row.truncated and any(place in text for text in (row.text, row.pair or "")):
                raise TargetError(
                    f"{quoted(place)} is no word among the {row.token_count} tokens that the model reads of "
                    f"{PLACE}, which was cut: raise max_length, or shorten it"
                )
            raise UnknownNameError(f"word of {PLACE}:", place, known)
        if len(found) > 1:
            numbers = ", ".join(str(first) for first, _ in found)
            raise TargetError(
                f"{quoted(place)} stands {len(found)} times in {PLACE}, as the words {numbers} (from 0); "
                "give the number of one"
            )
        [(first, last)] = found
    elif isinstance(place, bool) or not hasattr(place, "__index__"):
        raise TargetError(f"expected a word of {PLACE} or its number from 0, found {quoted(place)}")
    else:
        first = last = int(place.__index__())
        if first not in members:
            way = f"; it was cut to {row.token_count} tokens" if row.truncated else ""
            raise TargetError(
                f"expected the number of a word of {PLACE} from 0 to {len(words) - 1}, found {first}{way}"
            )
    name = words[first] if first == last else place
    several = first == last and words.count(name) > 1
    end = row.word_spans[last][2]
    if row.truncated and members.get(last) and row.offsets[members[last][-1]][1] < end:
        side = row.word_spans[last][0]
        if max(row.word_spans[word][1:] for word in members if row.word_spans[word][0] == side)[1] == end:
            raise TargetError(f"{quoted(words[last])} was cut where {PLACE} was: raise max_length")
    held = [token for word in range(first, last + 1) for token in members.get(word, ())]
    tokens = tuple(token for token in held if row.offsets[token][0] < row.offsets[token][1])  # no blanks
    return tokens or tuple(held), f"{name} ({first})" if several else name


def _occurrences(
    row: EncodedText, phrase: str, sequence: int | None, members: Mapping[int, Any]
) -> Iterator[tuple[int, int]]:
    """The first and the last word, by number, of each place where the phrase stands from word to word."""
    sequences = (row.text, row.pair or "")
    starts = {(side, start): word for word, (side, start, _) in enumerate(row.word_spans) if word in members}
    ends = {(side, end): word for word, (side, _, end) in enumerate(row.word_spans) if word in members}
    for side, text in enumerate(sequences):
        at = text.find(phrase) if phrase and sequence in (None, side) else -1
        while at >= 0:
            first, last = starts.get((side, at)), ends.get((side, at + len(phrase)))
            if first is not None and last is not None:
                yield first, last
            at = text.find(phrase, at + 1)


def _token_of(named: Any, row: EncodedText, token: int, tokenizer: Any, max_length: int | None) -> Any:
    """The id of a word as the tokenizer reads it where that token stands, or of a token as it spells it.

    What is written before a word may be a part of its token, as the blank of byte-level tokenizers is; so the
    word is put into the text, and if nothing but this one token is another, that is its id.
    """
    if not isinstance(named, str):
        return named
    start, end = row.offsets[token]
    sequences = [row.text] if row.pair is None else [row.text, row.pair]
    side = row.sequence_ids[token] or 0
    sequences[side] = sequences[side][:start] + named + sequences[side][end:]
    own = row.features["input_ids"]
    pieces: Sequence[str] = ()
    if named.strip():
        text = sequences[0] if row.pair is None else (sequences[0], sequences[1])
        [changed] = tokenize(tokenizer, [text], max_length)
        ids = changed.features["input_ids"]
        if ids[:token] == own[:token] and ids[token + 1 :] == own[token + 1 :]:
            if ids[token] != tokenizer.unk_token_id:
                return ids[token]
        else:
            pieces = [
                piece
                for piece, (first, last), found in zip(
                    changed.tokens, changed.offsets, changed.sequence_ids, strict=True
                )
                if found == side and start <= first < last <= start + len(named)
            ]
    vocabulary = tokenizer.get_vocab()
    if named in vocabulary:
        return vocabulary[named]
    reason = "the tokenizer has none such"
    if pieces:
        reason = f"there it is {len(pieces)} tokens ({', '.join(pieces)})"
    if len(pieces) == 1:
        reason = f"with it ({pieces[0]}) other tokens would be others too"
    raise TargetError(
        f"expected a word that is one token in the place of {row.tokens[token].strip()} in {PLACE}, found "
        f"{quoted(named)}: {reason}; name another, or a token as the tokenizer spells it"
    )


def in_batch(head: Head, at: At, row: EncodedText) -> At:
    """The place of a text in the columns of the batch that it stands in."""
    if not head.has_places:
        return at
    if head.kind == "spans":
        return replace(
            at, target=_each(lambda token: None if token is None else row.positions[token], at.target)
        )
    assert at.column is not None
    return replace(at, column=row.positions[at.column])


# --- tensors -----------------------------------------------------------------------------------------------


def columns_of(
    head: Head, inputs: Mapping[str, Any], targets: Sequence[tuple[Any, Any]], tokenizer: Any = None
) -> list[At]:
    """Where each row of tensors is read: its place is a column, and so are the classes of spans.

    Raises:
        TargetError: it is none, or padding.
    """
    ids = torch.as_tensor(inputs["input_ids"])
    mask = torch.as_tensor(inputs.get("attention_mask", torch.ones_like(ids)))

    def checked(row: int, column: Any) -> Any:
        if column is None and head.kind == "spans":
            return None
        if isinstance(column, bool) or not hasattr(column, "__index__"):
            raise TargetError(
                f"expected the column of a token as an int, found {quoted(column)}; words are for `explain`"
            )
        index = int(column.__index__())
        if not 0 <= index < ids.shape[1] or not bool(mask[row, index]):
            raise TargetError(
                f"expected the column of a token of row {row}, from 0 to {ids.shape[1] - 1} and no padding, "
                f"found {index}"
            )
        return index

    def named(token: Any) -> Any:
        vocabulary = tokenizer.get_vocab() if isinstance(token, str) and tokenizer is not None else {}
        return vocabulary.get(token, token)

    found = []
    for row, (place, target) in enumerate(targets):
        if head.kind == "spans":
            own = _each(lambda column, row=row: checked(row, column), target)  # type: ignore[misc]
            found.append(At(None, SIDES.index(place), own, place))
        elif not head.has_places:
            found.append(At(None, 0, target, ""))
        else:
            own = _each(named, target) if head.kind == "vocabulary" else target
            found.append(At(checked(row, place), 0, own, str(place)))
    return found


# --- what is shown -----------------------------------------------------------------------------------------


def chosen(head: Head, logits: Sequence[float], target: tuple[int, int | None]) -> list[int]:
    """Which of the numbers an explanation lists, in order: of a vocabulary the largest and the explained."""
    if head.kind != "vocabulary":
        return list(range(len(logits)))
    best = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[:_LISTED]
    return sorted({*best, *(each for each in target if each is not None)})


def names_of(head: Head, row: EncodedText) -> Sequence[str]:
    """The names of the numbers, in order: of spans what each token of the text stands for."""
    if head.kind != "spans":
        return head.labels
    sequences = (row.text, row.pair or "")
    return [
        sequences[sequence or 0][start:end] or token
        for token, (start, end), sequence in zip(row.tokens, row.offsets, row.sequence_ids, strict=True)
    ]
