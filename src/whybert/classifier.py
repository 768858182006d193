"""A sequence classifier: a model, its tokenizer and its labels, asked in batches."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import torch
from torch import nn

from whybert import encoding, tokenizers, windows
from whybert.anatomy import (
    check_finite,
    check_model,
    forward,
    input_filter,
    label_count,
    maximum_tokens,
    model_inputs,
    plain,
)
from whybert.black_box import BlackBox, TextModel
from whybert.datasets.base import MULTI, PROBLEMS, REGRESSION
from whybert.encoding import EncodedText, Encoding, Text
from whybert.errors import (
    InputError,
    NonFiniteError,
    UnknownNameError,
    UnsupportedModelError,
    UsageError,
    WhybertError,
    quoted,
)
from whybert.finding import EmbeddingLike, is_clear, made_known, probe
from whybert.foreign import LogitsLike, bare, kind_of
from whybert.heads import LABELS, Head, head_of
from whybert.holders import held
from whybert.loading import load_classifier
from whybert.progress import Progress, reported, silent
from whybert.targets import Link, label_names
from whybert.texts import normalise_texts
from whybert.windows import Reading, Readings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_SIZE = 32

_LEAST: Final = 1e-4  # of an answer changes at least where padding is read; less is rounding

_WRAPPERS: Final = (nn.DataParallel, nn.parallel.DistributedDataParallel)

ClassifierLike: TypeAlias = "Classifier | str | os.PathLike[str] | tuple[Any, Any] | Any"
"""What `Classifier.of` takes."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about one text, or one pair of texts.

    Fields:
        text, pair: what was asked; pair is None for a single text.
        label: the one with the highest logit.
        predicted: its place in the classifier's `labels`, of which several can have one name.
        probability: of `label`, see `probabilities`; None for a regression.
        probabilities: one for each label, in the order of the classifier's `labels`; none for a regression.
        logits: the model's raw outputs in the same order; the numbers that a regression answers.
        truncated: whether the model saw only a part of the text.
        windows: the number of windows in which it was read; 1 where it was read at once.
    """

    text: str
    pair: str | None
    label: str
    predicted: int
    probability: float | None
    probabilities: tuple[float, ...]
    logits: tuple[float, ...]
    truncated: bool
    windows: int = 1

    @property
    def answer(self) -> float:
        """What the model says: the probability of the label, or the number of a regression."""
        return (self.probabilities or self.logits)[self.predicted]

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}


@dataclass(frozen=True, eq=False, init=False)
class Classifier:
    """A sequence classifier with its tokenizer.

    `Classifier(model, tokenizer)` takes both as they are, `Classifier.load` finds them, and `Classifier.of`
    takes them out of whatever holds them.

    Args:
        model: of transformers, or any module whose forward takes `input_ids` (batch, seq) and returns logits
            (batch, labels); it is not changed.
        tokenizer: of transformers.
        max_length: the most tokens a text may have, special tokens included; None asks the tokenizer and
            the model, and stays None if neither has a limit.
        name: what reports call it; empty for the class of the model.
        embedding: the part of a module of your own whose output (batch, seq, hidden) the scores are of, or
            its name; None asks the model, and else takes the table in which `input_ids` are looked up, with
            all around it that mixes no tokens.
        logits: where they are in what the module returns: a key or a field, an index, or a function of it;
            None takes the only thing of their shape.
        labels: the names of the labels in the order of the logits; None asks the model's configuration.
        problem_type: "single_label_classification" (a softmax over the logits), "multi_label_classification"
            (a sigmoid of each) or "regression" (the numbers as they are); None asks the model's
            configuration, and else takes one output for a regression and several for labels of a softmax.

    Raises:
        UnsupportedModelError: the model does not run, it is not clear where it embeds its tokens or what its
            logits are, or the tokenizer is none of transformers.
        InputError: `max_length` is more than the model has positions for, or `labels` are not as many as the
            model has.
    """

    model: nn.Module = field(repr=False)
    """The model; one of someone's own is the part `module` of a `whybert.foreign.ForeignModel`."""
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    max_length: int | None
    name: str
    """The folder's name, the hub id or "builtin"; otherwise the class of the model."""
    labels: tuple[str, ...]
    """The names of the model's labels in the order of its logits."""
    problem_type: str | None
    """What the logits are; None where nothing says it."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None = None,
        *,
        name: str = "",
        embedding: EmbeddingLike = None,
        logits: LogitsLike = None,
        labels: Sequence[str] | None = None,
        problem_type: str | None = None,
    ) -> None:
        is_wrapped = isinstance(model, _WRAPPERS)
        if is_wrapped or not isinstance(cast(object, model), nn.Module):
            way = "it is wrapped: pass the model inside, model.module"
            if not is_wrapped:
                way = "Classifier.of takes names, folders and what else holds a model"
            raise UnsupportedModelError(f"a model of torch is needed, not {type(model).__name__}: {way}")
        tokenizers.check_tokenizer(tokenizer)
        names = None if labels is None else _names(labels)
        asked = partial(probe, tokenizer)
        is_function = isinstance(model, TextModel)
        if embedding is not None or logits is not None or not (is_function or is_clear(model, asked)):
            count = None if names is None else len(names)
            model = made_known(bare(model), asked(), embedding, logits, count, problem_type=problem_type)
        positions = maximum_tokens(model)
        if max_length is None:
            max_length = encoding.maximum_length(tokenizer, positions)
        elif isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1:
            raise InputError(
                f"max_length must be a whole number of at least 1, or None, not {quoted(max_length)}"
            )
        elif positions is not None and positions < max_length:
            raise InputError(
                f"max_length must be at most {positions}, the positions of the model, not {max_length}"
            )
        config = getattr(model, "config", None)
        if problem_type is None:
            problem_type = getattr(config, "problem_type", None)
        elif problem_type not in PROBLEMS:
            raise UnknownNameError("problem_type", problem_type, PROBLEMS)
        expected = len(label_names(config) if names is None else names)
        count = label_count(model, expected)
        if names is not None and count != expected:
            raise InputError(
                f"expected a label for each of the {count} logits of {kind_of(model)}, found {expected}: "
                f"{', '.join(names[:20])}"
            )
        given = label_names(config, count) if names is None else names
        for attribute, value in (
            ("model", model),
            ("tokenizer", tokenizer),
            ("max_length", max_length),
            ("name", name or kind_of(model)),
            ("labels", given),
            ("problem_type", problem_type),
        ):
            object.__setattr__(self, attribute, value)

    @classmethod
    def of(cls, value: ClassifierLike, *, labels: Sequence[str] | None = None) -> Classifier:
        """The classifier in what people hold it in; every function that takes a classifier calls this.

        Args:
            value: a `Classifier`, which comes back as it is; "builtin", a folder or a hub id, which is
                loaded; a `transformers.pipeline("text-classification")`; a pair `(model, tokenizer)`; a
                `CrossEncoder` of sentence-transformers, a `SetFitModel`, or a pair of a SentenceTransformer
                and a head of scikit-learn, which is asked for its own answer to a sentence, to see that
                nothing gets lost; or any function from a list of texts to
                probabilities (texts, labels), as a `BlackBox` takes it.
            labels: of such a function, the names of its labels.

        Raises:
            UsageError: it is something else, or has settings that would be lost.
            WhybertError: what the class and `load` raise.
        """
        if labels is not None:
            if isinstance(value, BlackBox | Classifier | nn.Module) or not callable(value):
                raise UsageError(
                    f"labels are of a function of texts, and {type(value).__name__} says its own; leave them "
                    "out, or call Classifier(model, tokenizer, labels=...)"
                )
            value = BlackBox(value, labels)
        if isinstance(value, Classifier):
            return value
        if isinstance(value, str | os.PathLike):
            return cls.load(os.fspath(value))
        found = held(value)
        made = cls(found.model, found.tokenizer, **found.options)
        if found.asked is not None:
            text, answer = found.asked
            [said] = made.predict(text)
            if not any(_is_near(answer, each) for each in (said.logits, said.probabilities)):
                kind, ours = type(value).__name__, said.probabilities or said.logits
                raise UsageError(
                    f"the {kind} answers {_rounded(answer)} to a sentence, and its model with whybert "
                    f"{_rounded(ours)}: it makes something else of its logits; pass a pair (model, tokenizer)"
                )
        return made

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        max_length: int | None = None,
    ) -> Classifier:
        """Load a classifier, in eval mode.

        Only plain weights are loaded, never a pickle's code.

        Args:
            source: "builtin", a folder that `save_pretrained` wrote, or the id of a model on the hub; for a
                folder of the name "builtin" write "./builtin".  That of an adapter of peft is loaded with its
                base model.
            device: of the model; None is the CPU.
            dtype: of the weights, however they were saved; None is float32.
            revision: a branch, a tag or a commit of a hub repository.
            trust_remote_code: whether the code that a repository brings along may run.
            max_length: as of the class.

        Raises:
            ModelLoadError: what is wrong with the source.
            MissingExtraError: the encoder of the built-in model is not there, or peft for an adapter.
            UsageError: there is no such device or dtype.
        """
        model, tokenizer, name = load_classifier(
            source, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code
        )
        return cls(model, tokenizer, max_length, name=name)

    def predict(
        self,
        texts: Text | Sequence[str] | Sequence[tuple[str, str]],
        batch_size: int = BATCH_SIZE,
        *,
        long: str = "truncate",
        stride: int | None = None,
        progress: bool = False,
    ) -> list[Prediction]:
        """Classify one text, one `(text, pair)` or a list of either; one prediction for each, in order.

        Args:
            texts: also whatever else gives one text or pair after another, such as a column of a table.
            batch_size: texts, or windows of them, in one forward pass.
            long: how texts are read that are longer than `max_length`: "truncate" reads their beginning, and
                "windows" all of them, cut into windows; their logits are the weighted mean of the windows'.
            stride: of windows, the tokens that two share at most; None for a quarter of a window.
            progress: whether a bar on stderr shows how many are done.

        Raises:
            InputError: a text cannot be encoded.
            UnsupportedModelError: the model is in train mode, fails, or is no sequence classifier.
            NonFiniteError: logits are not numbers.
        """
        listed, _ = normalise_texts(texts)
        found: dict[int, Prediction] = {}
        with reported(progress) as report:
            for indices, predictions in predict_batches(
                self, listed, batch_size, long=long, stride=stride, progress=report
            ):
                found.update(zip(indices, predictions, strict=True))
                report("texts", len(found), len(listed))
        return [found[index] for index in range(len(listed))]

    def tokenize(self, texts: Sequence[Text]) -> tuple[EncodedText, ...]:
        """The texts as the model reads them, unpadded, cut to `max_length`.

        Args:
            texts: each a str or a tuple `(text, pair)`.

        Raises:
            InputError: a text cannot be encoded.
        """
        return encoding.tokenize(self.tokenizer, texts, self.max_length)

    def read(self, texts: Sequence[Text], long: str = "truncate", stride: int | None = None) -> Readings:
        """The texts as the model reads them, the long ones cut to `max_length` or into windows of it.

        Args:
            texts: each a str or a tuple `(text, pair)`.
            long, stride: as for `predict`.

        Raises:
            UsageError: there is no such way to read them.
            InputError: a text cannot be encoded, or windows over it have no room.
        """
        windows.check_long(long, stride)
        if not texts:
            return Readings(())
        if long == "truncate":
            return Readings(tuple(map(Reading.at_once, self.tokenize(texts))))
        rows = encoding.tokenize(self.tokenizer, texts)
        return Readings(
            tuple(windows.cut(row, self.max_length, stride, index) for index, row in enumerate(rows))
        )

    def logits(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> torch.Tensor:
        """The logits (rows, labels) of model inputs, in float64 on the CPU, as one batch without padding.

        Args:
            rows: for each row the integers of every input by its name, as `EncodedText.features` holds them;
                all rows are of one length.  Inputs that the model's forward does not take are left out.

        Raises:
            WhybertError: what `predict` raises, without naming a text.
        """
        takes = input_filter(self.model)
        return self._logits({name: [row[name] for row in rows] for name in rows[0] if takes(name)})

    def _logits(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The logits of a batch, of shape (rows, labels), in float64 on the CPU."""
        check_model(self.model, backward=False)
        tensors = model_inputs(self.model, inputs)
        with plain(self.model, backward=False):
            logits = forward(self.model, tensors)
        self.check_labels(logits)
        check_finite(self.model, logits)
        return logits.to("cpu", torch.float64)

    @cached_property
    def head(self) -> Head:
        """What the model answers: logits of labels, or a table with a row a position; it is asked once."""
        if self.is_black_box or self.model.training:
            return LABELS
        try:
            tensors = model_inputs(self.model, self._probe())
        except WhybertError:
            return LABELS  # whoever asks it next says why
        return head_of(self.model, tensors, self.tokenizer)

    def _probe(self) -> dict[str, torch.Tensor]:
        """Inputs of two short texts to ask the model about."""
        takes = input_filter(self.model)
        return {name: each for name, each in probe(self.tokenizer).items() if takes(name)}

    @property
    def known_head(self) -> Head:
        """The `head` if the model was asked for it already; until then a classifier of whole texts."""
        found: Head = vars(self).get("head", LABELS)
        return found

    def check_labels(self, logits: torch.Tensor, labels: Sequence[str] | None = None) -> None:
        """See that there is one logit for each label, and that they are logits.

        Args:
            logits: (..., labels), in float64 whatever the model computes in.
            labels: of a model that answers at each position those of its `head`; None for the classifier's.

        Raises:
            UnsupportedModelError: there are more or fewer, or they are what a softmax made.
        """
        names = self.labels if labels is None else labels
        if logits.shape[-1] != len(names):
            raise UnsupportedModelError(
                f"expected one logit for each of the labels {', '.join(names[:20])}, found "
                f"{logits.shape[-1]}; give the model's config the labels of its head (id2label)"
            )
        if not self.is_regression and _are_shares(logits):
            raise UnsupportedModelError(
                f"expected logits of {kind_of(self.model)}, found numbers that sum to 1 for each text: a "
                "softmax made them, and probabilities of these would be wrong; return them before it, or say "
                "logits=lambda found: found['logits'].log(); problem_type='regression' takes the numbers as "
                "they are"
            )

    @cached_property
    def reads_padding(self) -> bool:
        """Whether the answer to a text is another with padding behind it; told by asking the model once.

        A model may take no `attention_mask`, or not heed it everywhere, such as in a mean over all positions.
        Not asked where the tokenizer does not pad behind texts.
        """
        if self.tokenizer.pad_token_id is None or self.tokenizer.padding_side == "left":
            return False
        if self.is_black_box:
            return False
        try:
            rows = self.tokenize(["a", "a good film " * 4])
            takes = input_filter(self.model)
            alone, beside = (
                self._logits({k: v for k, v in each.inputs.items() if takes(k)})[0]
                for each in (encoding.collate(self.tokenizer, rows[:count]) for count in (1, 2))
            )
        except WhybertError:
            return False  # whoever asks it next says why
        precision = max(
            (torch.finfo(each.dtype).eps for each in self.model.parameters() if each.is_floating_point()),
            default=0.0,
        )
        scale = float(torch.maximum(alone.abs(), beside.abs()).max())
        return float((alone - beside).abs().max()) > max(_LEAST, 8 * precision) * scale

    @cached_property
    def takes_batches(self) -> bool:
        """Whether the model answers several texts at once; one that names no token for padding is asked.

        Those of transformers that read the last token need one for that.
        """
        if self.is_black_box or getattr(self.model.config, "pad_token_id", None) is not None:
            return True
        inputs = self._probe()
        for count in (2, 1):
            try:
                self._logits({name: each[:count] for name, each in inputs.items()})
            except WhybertError:
                continue
            return count == 2
        return True  # whoever asks it next says why

    @property
    def is_black_box(self) -> bool:
        """Whether it is a function of texts, of which nothing is known but its answers; see `BlackBox`."""
        return isinstance(self.model, TextModel)

    @property
    def is_regression(self) -> bool:
        """Whether the model answers numbers: it says so, or has one output and is no multi-label model."""
        return self.link == "identity"

    @property
    def link(self) -> Link:
        """How its logits become probabilities."""
        return link_of(self.problem_type, len(self.labels))

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits as probabilities, by the model's problem type.

        A single-label classifier has a softmax over its labels, and a multi-label one a sigmoid for each.

        Args:
            logits: (..., labels).

        Returns:
            Probabilities of the same shape.  The answers of a regression are numbers, and they are returned
            as they are: what an evaluation asks of the probability of a class, it then asks of the number.
        """
        if self.is_regression:
            return logits
        return logits.sigmoid() if self.link == "sigmoid" else logits.softmax(dim=-1)


def link_of(problem_type: str | None, count: int) -> Link:
    """How so many logits of a model of this problem type become probabilities."""
    if problem_type == MULTI:
        return "sigmoid"
    return "identity" if problem_type == REGRESSION or count == 1 else "softmax"


def _is_near(numbers: Sequence[float], others: Sequence[float]) -> bool:
    return len(numbers) == len(others) and all(
        math.isclose(one, other, rel_tol=0.01, abs_tol=0.001)
        for one, other in zip(numbers, others, strict=True)
    )


def _rounded(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers[:10])


def _names(labels: Any) -> tuple[str, ...]:
    given = labels
    if isinstance(labels, Mapping) and set(labels) == set(range(len(labels))):  # as an id2label
        given = [labels[index] for index in range(len(labels))]
    is_list = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | Set)
    names = tuple(given) if is_list else ()
    if not names or not all(isinstance(each, str) for each in names):
        raise InputError(f"expected labels as names in the order of the logits, found {quoted(labels)}")
    return tuple(map(str, names))


def predict_batches(
    classifier: Classifier,
    texts: Sequence[Text],
    batch_size: int = BATCH_SIZE,
    *,
    long: str = "truncate",
    stride: int | None = None,
    progress: Progress = silent,
) -> Iterator[tuple[tuple[int, ...], list[Prediction]]]:
    """`Classifier.predict` batch by batch: the indices into `texts`, and a prediction for each."""
    check_model(classifier.model, backward=False)
    readings = classifier.read(texts, long, stride)
    for indices, found in readings.gathered(logits_of(classifier, readings, batch_size), progress):
        read = [readings.texts[index] for index in indices]
        logits = [reading.mean(values) for reading, values in zip(read, found, strict=True)]
        predictions = []
        for reading, own, likely in zip(read, logits, probabilities_of(classifier, logits), strict=True):
            best = max(range(len(own)), key=own.__getitem__)
            predictions.append(
                Prediction(
                    text=reading.row.text,
                    pair=reading.row.pair,
                    label=classifier.labels[best],
                    predicted=best,
                    probability=likely[best] if likely else None,
                    probabilities=tuple(likely),
                    logits=tuple(own),
                    truncated=reading.row.truncated,
                    windows=len(reading.parts),
                )
            )
        yield indices, predictions


def _are_shares(logits: torch.Tensor) -> bool:
    """Whether all rows are probabilities that sum to 1 to the last bits of float32.

    Numbers of fewer bits sum to 1 by chance now and then, and are not judged.
    """
    shares = (logits >= 0).all() & ((logits.sum(-1) - 1).abs() <= 1e-6).all()
    return bool(shares) and not any(
        torch.equal(logits, logits.to(kind).to(logits)) for kind in (torch.bfloat16, torch.float16)
    )


def probabilities_of(classifier: Classifier, logits: Sequence[Sequence[float]]) -> list[list[float]]:
    """The probabilities of logits (rows, labels) that are numbers, row by row; none for a regression."""
    if classifier.is_regression:
        return [[] for _ in logits]
    found: list[list[float]] = classifier.probabilities(torch.tensor(logits, dtype=torch.float64)).tolist()
    return found


def logits_of(
    classifier: Classifier, readings: Readings, batch_size: int, chosen: Set[int] | None = None
) -> Iterator[tuple[tuple[int, ...], list[list[float]]]]:
    """The logits of the parts of texts, batch by batch, by their indices in `Readings.rows`.

    chosen: the texts whose parts are asked for; None for all.
    """
    places = readings.places
    units = [(i,) for i, (text, _) in enumerate(places) if chosen is None or text in chosen]
    for indices, batch in batches_of_rows(classifier, readings.rows, batch_size, units):
        try:
            logits = classifier._logits(batch.inputs)
        except NonFiniteError as error:
            text, row = places[indices[error.index or 0]][0], batch.rows[error.index or 0]
            raise error.at(f"text {text} ({row.text[:40]!r})", text) from error
        yield indices, logits.tolist()


def batches(
    classifier: Classifier, texts: Sequence[Text], batch_size: int = BATCH_SIZE
) -> Iterator[tuple[tuple[int, ...], Encoding]]:
    """The texts in padded batches, the longest first, with the index into `texts` of each row.

    Each text is tokenized once, all before the first batch, so a bad text is found before the model is
    asked.  Texts of like length share a batch, to save padding, and the batch that needs the most memory
    comes first.  The tensors are on the CPU, and hold only what the model's forward takes.

    What a model says of a text does not depend on the texts beside it: without a token for padding each text
    is a batch, and only texts of one length share one where padding would stand on the left (it moves the
    positions, and what is read from the first one), or where the model takes another token for padding (a
    decoder would read its answer there), or reads it.
    """
    yield from batches_of_rows(classifier, classifier.read(texts).rows, batch_size)


def batches_of_rows(
    classifier: Classifier,
    rows: Sequence[EncodedText],
    batch_size: int,
    units: Sequence[tuple[int, ...]] | None = None,
) -> Iterator[tuple[tuple[int, ...], Encoding]]:
    """`batches` of texts and windows that are tokenized, with the index into `rows` of each row.

    units: the rows that are asked for, by index, those of one tuple in one batch; None for all, each by
        itself.  A tuple of several holds no more than `most_together` says.
    """
    takes, size = input_filter(classifier.model), _most(classifier, batch_size)
    order = sorted(
        [(index,) for index in range(len(rows))] if units is None else units,
        key=lambda unit: (-rows[unit[0]].token_count, -len(unit)),
    )
    alone = len({rows[unit[0]].token_count for unit in order}) > 1 and _is_unpadded(classifier)
    for _, alike in groupby(order, lambda unit: rows[unit[0]].token_count if alone else 0):
        for indices in _filled(alike, size):
            batch = encoding.collate(classifier.tokenizer, [rows[index] for index in indices])
            yield indices, Encoding({k: v for k, v in batch.inputs.items() if takes(k)}, batch.rows)


def most_together(classifier: Classifier, batch_size: int) -> int:
    """The most rows of unlike length that may be one batch, see `batches`."""
    return 1 if _is_unpadded(classifier) else _most(classifier, batch_size)


def _most(classifier: Classifier, batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    alone = classifier.tokenizer.pad_token_id is None or not classifier.takes_batches
    return 1 if alone else batch_size


def _is_unpadded(classifier: Classifier) -> bool:
    """Whether only rows of one length may share a batch."""
    own, tokenizer = getattr(classifier.model.config, "pad_token_id", None), classifier.tokenizer
    moved = tokenizer.padding_side == "left" or own not in (None, tokenizer.pad_token_id)
    return moved or classifier.reads_padding


def _filled(units: Iterable[tuple[int, ...]], size: int) -> Iterator[tuple[int, ...]]:
    """Units one after another, as many as are no more than `size` rows."""
    batch: tuple[int, ...] = ()
    for unit in units:
        if batch and len(batch) + len(unit) > size:
            yield batch
            batch = ()
        batch += unit
    if batch:
        yield batch
