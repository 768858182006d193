"""The models of a page, asked in turn and within limits.  Knows neither Gradio nor HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from whybert.classifier import Classifier, Prediction
from whybert.errors import InputError, TargetError, UnknownNameError, UsageError
from whybert.explaining import explain
from whybert.explanation import LEVELS

if TYPE_CHECKING:
    from whybert.classifier import ClassifierLike
    from whybert.explanation import Explanation, Level
    from whybert.web.state import State

__all__ = ["BusyError", "Limits", "Service"]

_Found = TypeVar("_Found")


class BusyError(UsageError):
    """More is asked at once than the limits allow."""


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Fields:
        characters: of a text and its pair together.
        methods: at once.
        waiting: questions that wait while others are answered.
        file_bytes, explanations: of a file of explanations.
    """

    characters: int = 50_000
    methods: int = 8
    waiting: int = 64
    file_bytes: int = 64 * 2**20
    explanations: int = 100_000


class Service:
    """Classifiers by name, and the order in which they are asked.

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
        self._turns = {long: threading.Lock() for long in (False, True)}
        self._waiting = threading.BoundedSemaphore(self.limits.waiting)

    @classmethod
    def of(cls, models: ClassifierLike | Iterable[ClassifierLike], limits: Limits | None = None) -> Service:
        """The service of one model or several, by their names."""
        listed = list(models) if isinstance(models, list) else [models]
        named: dict[str, Classifier] = {}
        for each in map(Classifier.of, listed):
            if each.name in named:
                raise UsageError(f"two models have the name {each.name}: rename a folder, or give name=")
            named[each.name] = each
        return cls(named, limits)

    def classifier(self, name: str = "") -> Classifier:
        """The model of a name; the first where it is empty."""
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise UnknownNameError("model", name, self.models)
        return self.models[name]

    def check(self, state: State) -> None:
        """Refuse what is over the limits."""
        for text, pair in ((state.text, state.pair), (state.other_text, state.other_pair)):
            most, found = self.limits.characters, len(text) + len(pair)
            if found > most:
                raise InputError(f"expected at most {most:,} characters, found {found:,}: shorten the text")
        if len(state.methods) > self.limits.methods:
            raise UsageError(f"at most {self.limits.methods} methods at once, not {len(state.methods)}")

    @contextmanager
    def _in_turn(self, long: bool) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise BusyError("too many questions at once: try again in a moment")
        try:
            with self._turns[long]:
                yield
        finally:
            self._waiting.release()

    def ask(self, state: State, what: Callable[[Classifier], _Found], *, long: bool = False) -> _Found:
        """What a function finds about the model of a state, in turn.

        Args:
            state: the question.
            what: it asks the model.
            long: whether it may take more than a moment; such questions have a turn of their own.
        """
        self.check(state)
        with self._in_turn(long):
            return what(self.classifier(state.model))

    def predict(self, state: State) -> Prediction:
        """The model's decision about the text of a state."""
        return self.ask(state, lambda classifier: classifier.predict(text_of(state))[0])

    def explain(self, state: State, *, layers: bool = False, heads: bool = False) -> dict[str, Explanation]:
        """The explanations of the text of a state, by the spec of the method."""
        found = self.ask(
            state,
            lambda classifier: explain(
                classifier,
                text_of(state),
                list(state.methods),
                target_of(state),
                quantity=state.quantity or None,
                layers=layers,
                heads=heads,
            ),
        )
        return {spec: rows[0] for spec, rows in found.items()}


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
