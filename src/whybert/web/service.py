"""The models of a page, asked in turn and within limits.  Knows neither Gradio nor HTTP."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from weakref import WeakValueDictionary

import torch

from whybert.classifier import Classifier, Prediction
from whybert.errors import InputError, TargetError, UnknownNameError, UsageError, WhybertError
from whybert.explaining import explain
from whybert.explanation import LEVELS
from whybert.methods import create_all
from whybert.typed import check
from whybert.web.cache import Cache
from whybert.web.cost import check_cost, check_options, work_of
from whybert.web.lanes import (
    Asker,
    BusyError,
    Lane,
    Question,
    TimeLimitError,
    WithdrawnError,
    asking,
)
from whybert.web.state import State

if TYPE_CHECKING:
    from whybert.classifier import ClassifierLike
    from whybert.encoding import EncodedText, Text
    from whybert.explanation import Explanation, Level
    from whybert.methods import Method

__all__ = [
    "BusyError",
    "Limits",
    "Service",
    "TimeLimitError",
    "TooLargeError",
    "WithdrawnError",
    "share_processor",
]

_Found = TypeVar("_Found")

_SPEC: Final = 200  # characters of a method with its options
THREADS: Final = 2  # of short questions; measured, see benchmarks/README.md


def share_processor() -> None:
    """Let each of the threads of short questions have its part of the processor, in all of this process."""
    torch.set_num_threads(max(1, torch.get_num_threads() // THREADS))


class TooLargeError(InputError):
    """A text, or what else is sent, is larger than the limits allow."""


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Fields:
        characters: of a text and its pair together.
        texts: of one question to the JSON API.
        methods: at once.
        work: of one question, passes of its methods times tokens of its text.
        long_work: from how much on a question is long, and waits in a line of its own.
        seconds: that a question may take, without its wait.
        waiting: questions that wait while others are answered, in either line.
        cache_bytes: of explanations that are kept for when they are asked for again; 0 for none.
        file_bytes, explanations: of a file of explanations.
    """

    characters: int = field(default=50_000, metadata={"least": 1})
    texts: int = field(default=32, metadata={"least": 1})
    methods: int = field(default=8, metadata={"least": 1})
    work: int = field(default=2**18, metadata={"least": 1})
    long_work: int = field(default=2**11, metadata={"least": 0})
    seconds: float = field(default=120.0, metadata={"above": 0})
    waiting: int = field(default=64, metadata={"least": 1})
    cache_bytes: int = field(default=64 * 2**20, metadata={"least": 0})
    file_bytes: int = field(default=64 * 2**20, metadata={"least": 1})
    explanations: int = field(default=100_000, metadata={"least": 1})

    def __post_init__(self) -> None:
        check(self)

    @property
    def body_bytes(self) -> int:
        """Of a request that brings no file: what its texts take where each character is escaped, and room."""
        return 12 * self.characters * 2 + 2**17


class Service:
    """Classifiers by name, and the order in which they are asked.

    Short questions of one key are answered together, long ones by a thread of their own; what was answered
    lately is kept.  All is safe to call from any thread, and a call waits for its answer.

    Args:
        models: by the names under which they can be chosen.
        limits: what a visitor may ask for.

    Raises:
        UsageError: there is no model.
    """

    def __init__(self, models: Mapping[str, Classifier], limits: Limits | None = None) -> None:
        if not models:
            raise UsageError("expected at least one model to serve, found none")
        self.models, self.limits = dict(models), limits or Limits()
        waiting, seconds = self.limits.waiting, self.limits.seconds
        self._short = Lane("short questions", THREADS, waiting, seconds)
        self._long = Lane("long questions", 1, waiting, seconds)
        self._cache = Cache(self.limits.cache_bytes)
        self._askers: WeakValueDictionary[str, Asker] = WeakValueDictionary()
        self._lock = threading.Lock()

    @classmethod
    def of(
        cls, models: ClassifierLike | Iterable[ClassifierLike], limits: Limits | None = None, **how: Any
    ) -> Service:
        """The service of one model or several, by their names; `how` is of `Classifier.load`."""
        listed = list(models) if isinstance(models, list) else [models]
        named: dict[str, Classifier] = {}
        for given in listed:
            if isinstance(given, str | os.PathLike):
                each = Classifier.load(os.fspath(given), **how)
            else:
                each = Classifier.of(given)
            if each.name in named:
                raise UsageError(f"two models have the name {each.name}: rename a folder, or give name=")
            named[each.name] = each
        return cls(named, limits)

    def warm(self) -> None:
        """Ask each model once, so that the first visitor does not wait for what happens only once."""
        for name in self.models:
            with suppress(WhybertError):
                self.explain(State(model=name, text="a good film"))

    def close(self) -> None:
        """Stop what runs, and refuse what waits or comes."""
        self._short.close()
        self._long.close()

    def classifier(self, name: str = "") -> Classifier:
        """The model of a name; the first where it is empty."""
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise UnknownNameError("model", name, self.models)
        return self.models[name]

    @contextmanager
    def latest(self, visitor: str) -> Iterator[None]:
        """What is asked in the block takes the place of what this visitor still waits for.

        Args:
            visitor: whose name; one who asks several things at once has one for each.
        """
        asker = Asker()
        with self._lock:
            before, self._askers[visitor] = self._askers.get(visitor), asker
        if before is not None:
            before.leave()
        with asking(asker):
            yield

    def check(self, state: State) -> None:
        """Refuse what is over the limits, whatever the model."""
        for text, pair in ((state.text, state.pair), (state.other_text, state.other_pair)):
            most, found = self.limits.characters, len(text) + len(pair)
            if found > most:
                raise TooLargeError(
                    f"expected at most {most:,} characters, found {found:,}: shorten the text"
                )
        if len(state.methods) > self.limits.methods:
            raise UsageError(
                f"expected at most {self.limits.methods} methods at once, found {len(state.methods)}: "
                "choose fewer"
            )
        if any(len(spec) > _SPEC for spec in state.methods):
            raise UsageError(f"expected a method in at most {_SPEC} characters, found one that is longer")

    def ask(self, state: State, what: Callable[[Classifier], _Found], *, long: bool = False) -> _Found:
        """What a function finds about the model of a state, in turn.

        Args:
            state: the question.
            what: it asks the model.
            long: whether it may take more than a moment; such questions wait in a line of their own.

        Raises:
            BusyError: too many wait already.
            TimeLimitError: it took too long.
            WithdrawnError: who asked has left, or asked something else in its place.
            WhybertError: the state is over the limits, or what the function raises.
        """
        self.check(state)
        classifier = self.classifier(state.model)
        asked = Question(classifier.model, object(), classifier, lambda given: [what(each) for each in given])
        return cast("_Found", (self._long if long else self._short).ask(asked))

    def predict(self, state: State) -> Prediction:
        """The model's decision about the text of a state; raises what `ask` does."""
        classifier, text, row = self._read(state)
        asked = Question(
            classifier.model, ("predict", classifier.name), text, classifier.predict, row.token_count
        )
        return cast("Prediction", self._short.ask(asked))

    def explain(self, state: State, *, layers: bool = False, heads: bool = False) -> dict[str, Explanation]:
        """The explanations of the text of a state, by the spec of the method.

        Args:
            state: the question.
            layers, heads: as of `whybert.explain`.

        Raises:
            UsageError: it would cost more than the limits allow, or what `ask` raises.
        """
        classifier, text, row = self._read(state)
        methods = create_all(list(state.methods))
        check_options(methods)
        about = _about(classifier, state, layers, heads)
        found = {each.spec: self._cache.get((*about, text, each.spec)) for each in methods}
        missing = [each for each in methods if found[each.spec] is None]
        work = check_cost(missing, row, self.limits.work)
        if missing:
            key = (*about, tuple(each.spec for each in missing))
            asked = Question(
                classifier.model,
                key,
                text,
                partial(_explained, classifier, missing, *about[1:]),
                row.token_count,
            )
            answer = (self._long if work > self.limits.long_work else self._short).ask(asked)
            for spec, explanation in answer.items():
                self._cache.keep((*about, text, spec), explanation)
            found |= answer
        return cast("dict[str, Explanation]", found)

    def slow(self, state: State) -> tuple[str, ...]:
        """Those methods of the state whose explanations take long and are not there yet.

        Raises:
            WhybertError: what `explain` raises before it asks.
        """
        classifier, text, row = self._read(state)
        about = _about(classifier, state)
        return tuple(
            spec
            for spec, each in zip(state.methods, create_all(list(state.methods)), strict=True)
            if work_of(each, row) > self.limits.long_work
            and self._cache.get((*about, text, each.spec)) is None
        )

    def _read(self, state: State) -> tuple[Classifier, Text, EncodedText]:
        """The model and the text of a state, which is as the model reads it: its own errors come first."""
        self.check(state)
        classifier, text = self.classifier(state.model), text_of(state)
        [row] = classifier.tokenize([text])
        return classifier, text, row


def _about(
    classifier: Classifier, state: State, layers: bool = False, heads: bool = False
) -> tuple[str, str | tuple[str, str] | None, str | None, bool, bool]:
    """What of an answer is the same for all texts and methods of a question."""
    return classifier.name, target_of(state), state.quantity or None, layers, heads


def _explained(
    classifier: Classifier,
    methods: list[Method],
    target: str | tuple[str, str] | None,
    quantity: str | None,
    layers: bool,
    heads: bool,
    texts: list[Any],
) -> list[dict[str, Explanation]]:
    """The explanations of several texts together; one that is there twice is explained once."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    found = explain(
        classifier,
        list(places),
        [*methods],
        target,
        quantity=quantity,
        layers=layers,
        heads=heads,
    )
    if any(len(rows) != len(places) for rows in found.values()):
        raise TargetError(
            f"expected one class to explain, found {target!r}, which asks for several: name one"
        )
    return [{spec: rows[places[text]] for spec, rows in found.items()} for text in texts]


def text_of(state: State) -> str | tuple[str, str]:
    """The text of a state, or the text and its pair."""
    return (state.text, state.pair) if state.pair else state.text


def target_of(state: State) -> str | tuple[str, str] | None:
    """The target of a state as `whybert.explain` takes it."""
    if state.against and not state.target:
        raise TargetError(
            f"expected a class to hold against {state.against!r}: choose the explained class too"
        )
    if state.against:
        return state.target, state.against
    return state.target or None


def level_of(state: State) -> Level:
    """The level of a state, which may come from a link.

    Raises:
        UnknownNameError: there is no such level.
    """
    if state.level not in LEVELS:
        raise UnknownNameError("level", state.level, LEVELS)
    return cast("Level", state.level)
