"""Functions of texts as classifiers: nothing of them is known but what they answer.

The tokens of such a classifier are the words of `whybert.words`, so that words that are taken away are left
out of, or masked in, a text that the function is asked about.  A text with all its words is given as it was
written, blanks and case included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from types import SimpleNamespace
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from whybert.errors import InputError, TargetError, UnsupportedModelError, UsageError, one_line, quoted
from whybert.tokenizers import Row
from whybert.typed import check_whole
from whybert.words import split_words

Answered = Literal["softmax", "sigmoid", "identity"]
"""What a function answers: probabilities of labels of which one holds, or each may hold, or numbers."""

PROBE: Final = "a good film"
"""What is asked about where a function is to say how many labels it knows."""

_LEAST: Final = 1e-15  # a probability below counts as this much where its logarithm is taken
_SUM: Final = 1e-3  # how far probabilities may be from a sum of 1: what is rounded to three places is near
_REPEAT: Final = 1e-4  # how far two answers to one text may be apart: sums in batches round differently
_PADDING, _MASK, _START, _END, _FIRST = range(5)


@dataclass(frozen=True, eq=False)
class BlackBox:
    """Any function of texts as a classifier; every function of whybert that takes a classifier takes one.

    The methods that only ask serve it (`occlusion`, `lime`, `shapley_sampling` and the other perturbation
    methods), and so do `predict` and the metrics of `evaluate` that take words away.  Those that need a
    gradient or attention refuse it by name.

    Fields:
        function: from a list of texts, each a str or a tuple `(text, pair)`, to their probabilities
            (texts, labels): an array, a tensor or lists.
        labels: the names of the labels in the order of the answers; None asks the function once how many
            there are, and calls them LABEL_0, LABEL_1, ...
        name: what reports call it; empty for the name of the function.
        mask: what stands in the place of a word that is masked; empty leaves it out with the blank before it.
        batch_size: how many texts the function is asked about at a time.
        problem_type: "single_label_classification" (the probabilities of a text sum to 1),
            "multi_label_classification" (each is one by itself) or "regression" (numbers of any size); None
            for the first, and for the second where there is one label.

    Raises:
        UsageError: `function` is no function, or an option is of another kind.
    """

    function: Callable[[list[Any]], Any]
    labels: Sequence[str] | None = None
    name: str = ""
    mask: str = "[MASK]"
    batch_size: int = 32
    problem_type: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.function) or isinstance(self.function, nn.Module | type):
            raise UsageError(
                "expected a function from a list of texts to probabilities, found "
                f"{quoted(self.function)}; a model of torch needs its tokenizer: (model, tokenizer)"
            )
        names = self.labels
        if names is not None and (
            isinstance(names, str) or not list(names) or not all(isinstance(each, str) for each in names)
        ):
            raise UsageError(f"expected labels as names in the order of the answers, found {quoted(names)}")
        if not isinstance(self.mask, str):
            raise UsageError(f"expected mask to be text, found {quoted(self.mask)}")
        check_whole("batch_size", self.batch_size)
        name = self.name or getattr(self.function, "__qualname__", type(self.function).__name__)
        object.__setattr__(self, "name", name.rpartition("<locals>.")[2])


class WordTokenizer:
    """Texts as words, for a `TextModel`; the id of a word is a number that its letters make.

    So the same text has the same ids whatever was read before, and what is drawn by them is the same.

    Each token has the blank before it as an input of its own, so that a text is put together again as it was.
    """

    pad_token_id, mask_token_id, cls_token_id, sep_token_id = _PADDING, _MASK, _START, _END
    all_special_ids = (_PADDING, _MASK, _START, _END)
    unk_token_id = None
    pad_token_type_id = 0
    padding_side = truncation_side = "right"
    model_max_length = None

    def __init__(self, mask: str) -> None:
        self.mask_token = mask
        self._strings = {_PADDING: "", _MASK: mask, _START: "", _END: "", _FIRST: ""}

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 4 if pair else 2

    def get_vocab(self) -> dict[str, int]:
        return {string: number for number, string in self._strings.items()}

    def rows(self, firsts: Sequence[str], seconds: Sequence[str] | None, max_length: int | None) -> list[Row]:
        """The rows of texts, or of pairs; see `whybert.tokenizers.rows_of`."""
        if max_length is not None:
            raise InputError("a function of texts reads each text as a whole; leave max_length out")
        pairs: Iterable[tuple[str, ...]] = ((each,) for each in firsts)
        if seconds is not None:
            pairs = zip(firsts, seconds, strict=True)
        return [self._row(sequences) for sequences in pairs]

    def _row(self, sequences: Sequence[str]) -> Row:
        tokens: list[tuple[str, int | None, tuple[int, int], int, int, int]] = []
        for number, text in enumerate(sequences):
            words = list(split_words(text))
            first, last = (words[0][0], words[-1][1]) if words else (len(text), len(text))
            tokens.append(("[START]", None, (0, 0), _START, number + 2, self._id(text[:first])))
            before = first
            for start, end in words:
                word = text[start:end]
                tokens.append(
                    (word, number, (start, end), self._id(word), number, self._id(text[before:start]))
                )
                before = end
            tokens.append(("[END]", None, (0, 0), _END, number + 2, self._id(text[last:])))
        names, sequence_ids, offsets, ids, kinds, blanks = zip(*tokens, strict=True)
        features = {
            "input_ids": ids,
            "token_type_ids": kinds,
            "attention_mask": (1,) * len(ids),
            "blanks": blanks,
        }
        return Row(names, sequence_ids, offsets, features, False, list)

    def _id(self, string: str) -> int:
        if not string:
            return _FIRST
        digest = blake2b(string.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "big") >> 2 | 1 << 62
        while self._strings.setdefault(number, string) != string:  # about once in 10^9 vocabularies
            number += 1
        return number

    def text(self, ids: Sequence[int], kinds: Sequence[int], blanks: Sequence[int]) -> str | tuple[str, str]:
        """The text, or the pair, of tokens that are left.

        Where the first word is gone, the text begins with the next one and not with the blank before that.
        """
        parts: dict[int, list[str]] = {}
        begun: set[int] = set()
        for number, kind, blank in zip(ids, kinds, blanks, strict=True):
            own, word = parts.setdefault(kind % 2, []), self._strings[number]
            if kind >= 2:  # before and behind all words, whatever stands there
                own.append(self._strings[blank])
            elif word:
                own += [self._strings[blank], word] if kind in begun else [word]
                begun.add(kind)
        texts = ["".join(parts[number]) for number in sorted(parts)]
        return texts[0] if len(texts) == 1 else (texts[0], texts[1])


class NoInsideError(UnsupportedModelError):
    """A method looks for what only a model of torch has."""

    def __init__(self, name: str, who: str = "this") -> None:
        self.name = name
        super().__init__(
            f"{who} needs the inside of a model (its embedding, gradients or attention), and {name} is a "
            "function of texts; use a perturbation method, which only asks it: occlusion, lime, "
            "shapley_sampling (whybert list methods)"
        )


class Absent:
    """Stands for what a function of texts has not: whoever asks for anything of it is refused."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        raise NoInsideError(self._name)


class TextModel(nn.Module):
    """A function of texts that is asked like a model: with the ids of a `WordTokenizer`.

    Its logits are numbers of which the probabilities are those of the function: their logarithms, or for
    labels that each may hold the logarithms of their odds.

    Args:
        black_box: the function and how it is asked.
        answered: what it answers; None for what `BlackBox.problem_type` says of None.
        label_count: how many labels there are; None asks it.
    """

    def __init__(
        self, black_box: BlackBox, answered: Answered | None = None, label_count: int | None = None
    ) -> None:
        super().__init__()
        self.black_box, self.training = black_box, False
        self.tokenizer = WordTokenizer(black_box.mask)
        self.config = SimpleNamespace(id2label=None, problem_type=None, pad_token_id=_PADDING)
        self._was_repeated = False
        self.label_count = label_count or 0
        self.answered: Answered = answered or "identity"
        if label_count is None:
            self.label_count = self._numbers([PROBE]).shape[1]
        if answered is None:
            self.answered = "sigmoid" if self.label_count == 1 else "softmax"

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor, blanks: Tensor
    ) -> Tensor:
        texts = []
        listed = (each.tolist() for each in (input_ids, token_type_ids, blanks, attention_mask))
        for ids, kinds, gaps, shown in zip(*listed, strict=True):
            kept = [place for place, is_shown in enumerate(shown) if is_shown]
            texts.append(
                self.tokenizer.text(*([column[place] for place in kept] for column in (ids, kinds, gaps)))
            )
        return self.logits(texts)

    def logits(self, texts: Sequence[Any]) -> Tensor:
        """(texts, labels), float64, see the class."""
        numbers = torch.from_numpy(np.concatenate(list(self._in_batches(texts))))
        if self.answered == "identity":
            return numbers
        if self.answered == "sigmoid":
            return numbers.clamp(_LEAST, 1.0 - _LEAST).logit()
        return (numbers / numbers.sum(-1, keepdim=True)).clamp_min(_LEAST).log()

    def _in_batches(self, texts: Sequence[Any]) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
        remaining = iter(texts)
        while batch := list(islice(remaining, self.black_box.batch_size)):
            numbers = self._numbers(batch)
            self._check(batch, numbers)
            if not self._was_repeated:
                self._check_repeat(batch[0], numbers[0])
                self._was_repeated = True
            yield numbers

    def _numbers(self, texts: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """What the function answers, (texts, labels)."""
        try:
            answer = self.black_box.function(list(texts))
        except Exception as error:
            raise self._failure(texts, error) from error
        if isinstance(answer, Tensor):
            answer = answer.detach().cpu().double().numpy()
        try:
            numbers = np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UnsupportedModelError(
                f"expected numbers (texts, labels) from {self.name}, found {quoted(answer)}; return an "
                "array, a tensor or a list with a list of probabilities for each text"
            ) from error
        expected = self.label_count or "labels"
        if numbers.ndim != 2 or numbers.shape != (len(texts), self.label_count or numbers.shape[1]):
            way = "return a row for each text, and in it a number for each label"
            if numbers.shape == (len(texts),):
                way = (
                    "of the probability p of one of two labels make both: [[1 - p, p], ...]; of a single "
                    "label [[p], ...]"
                )
            raise UnsupportedModelError(
                f"expected numbers of shape ({len(texts)}, {expected}) from {self.name}, found "
                f"{numbers.shape}; {way}"
            )
        return numbers

    @property
    def name(self) -> str:
        return self.black_box.name

    def _failure(self, texts: list[Any], error: Exception) -> UnsupportedModelError:
        """Which of the texts the function fails on, found by asking about one after another."""
        for text in texts if len(texts) > 1 else ():
            try:
                self.black_box.function([text])
            except Exception as alone:
                texts, error = [text], alone
                break
        what = quoted(texts[0]) if len(texts) == 1 else f"{len(texts)} texts, and on none of them alone"
        way = "set batch_size=1"
        if len(texts) == 1:
            way = "see that it takes a list of str, or of tuples for pairs, and empty ones too"
        return UnsupportedModelError(
            f"{self.name} fails on {what}: {type(error).__name__}: {one_line(error)}; {way}"
        )

    def _check(self, texts: Sequence[Any], numbers: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        wrong = ~np.isfinite(numbers).all(1)
        what, way = "finite numbers", "see what it makes of this text, words of which may be gone"
        if self.answered != "identity" and not wrong.any():
            wrong = ((numbers < 0) | (numbers > 1)).any(1)
            what = "probabilities from 0 to 1"
            way = (
                "make probabilities of logits (a softmax), or say problem_type='regression' for other numbers"
            )
        if self.answered == "softmax" and not wrong.any():
            wrong = np.abs(numbers.sum(1) - 1) > _SUM
            what = "probabilities that sum to 1"
            way = (
                "divide them by their sum, or say problem_type='multi_label_classification' where several "
                "labels may hold"
            )
        if wrong.any():
            place = int(wrong.argmax())
            raise UnsupportedModelError(
                f"expected {what} from {self.name}, found {_rounded(numbers[place])} for "
                f"{quoted(texts[place])}; {way}"
            )

    def _check_repeat(self, text: Any, numbers: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        [again] = self._numbers([text])
        scale = max(1.0, float(np.abs(numbers).max()))
        if not np.allclose(again, numbers, rtol=0, atol=_REPEAT * scale, equal_nan=True):
            raise UnsupportedModelError(
                f"{self.name} answers {_rounded(numbers)} to {quoted(text)} and then {_rounded(again)}: it "
                "is random, or depends on the texts beside it, and differences between its answers would say "
                "nothing; put its model in eval mode, fix its seed, or set batch_size=1"
            )


def _rounded(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return "(" + ", ".join(f"{number:.4g}" for number in numbers[:8]) + ", ..." * (len(numbers) > 8) + ")"


def quantity_of(model: nn.Module, quantity: str | None) -> str:
    """What of a target is explained where None says it: the logit, or the probability of a function of texts.

    Raises TargetError where the logit of such a function is asked for, which has none.
    """
    if not isinstance(model, TextModel) or model.answered == "identity":
        return "logit" if quantity is None else quantity
    if quantity == "logit":
        raise TargetError(
            f"{model.name} answers probabilities, and has no logits; use quantity='probability' or "
            "'log_probability'"
        )
    return "probability" if quantity is None else quantity


def check_has_inside(model: nn.Module, needs: Mapping[str, bool]) -> None:
    """Raise NoInsideError, naming the first of what has needs, where a function of texts has no inside."""
    if isinstance(model, TextModel):
        for who, is_needed in needs.items():
            if is_needed:
                raise NoInsideError(model.name, who)
