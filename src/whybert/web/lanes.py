"""Questions that wait, and the threads that answer them: those that are alike together, in one batch.

A `Lane` has its own threads, so that long questions hold up no short ones.  A thread takes the question that
waits longest and, with it, those that can be answered together with it, shares them with a thread that is
idle, and never waits for more to come.  Who asks may leave: what waits for him is dropped, and what runs for
him alone stops at the model's next forward pass.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from whybert.anatomy import hooked
from whybert.errors import UsageError
from whybert.foreign import bare

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Asker", "BusyError", "Lane", "Question", "TimeLimitError", "WithdrawnError", "asking"]

_TOGETHER: Final = 8  # questions of one batch; more gain little and let all of them wait longer
_ALIKE: Final = 2.0  # times as long as another may be a text of its batch, so that padding is little


class BusyError(UsageError):
    """More is asked at once than the limits allow, or the service stops."""


def _stopping() -> BusyError:
    return BusyError("the service is being stopped: ask again when it is back")


class TimeLimitError(UsageError):
    """A question took longer than the limits allow."""


class WithdrawnError(Exception):
    """Nobody waits for the answer any more: who asked has left, or has asked something else since.

    It is said to nobody, so what shows the errors of whybert lets it pass.
    """


class _Stop(BaseException):
    """Raised in a thread of a lane within what it runs; no handler of errors on the way takes it for one."""


@dataclass(eq=False)
class Asker:
    """Who waits for answers.

    Fields:
        has_left: whether nobody does any more.
    """

    has_left: bool = False
    _answers: list[Future[Any]] = field(default_factory=list)

    def waits_for(self, answer: Future[Any]) -> None:
        """Say what he waits for."""
        self._answers = [each for each in self._answers if not each.done()] + [answer]
        if self.has_left:
            answer.cancel()

    def leave(self) -> None:
        """Withdraw all that he waits for."""
        self.has_left = True
        for answer in self._answers:
            answer.cancel()


_ASKER: Final[ContextVar[Asker | None]] = ContextVar("asker", default=None)


@contextmanager
def asking(asker: Asker) -> Iterator[None]:
    """Questions of the block, and of what it calls, are his."""
    token = _ASKER.set(asker)
    try:
        yield
    finally:
        _ASKER.reset(token)


@dataclass(eq=False)
class Question:
    """One question that waits.

    Fields:
        model: that is asked; when it runs, it can be stopped.
        key: what can be answered together has the same.
        given: what is asked.
        answer_all: from what several of one key are given to their answers.
        size: in tokens; those of one batch are of like size.
    """

    model: nn.Module
    key: Hashable
    given: Any
    answer_all: Callable[[list[Any]], Sequence[Any]]
    size: int = 0
    asker: Asker | None = field(default_factory=_ASKER.get)
    answer: Future[Any] = field(default_factory=Future)

    @property
    def is_wanted(self) -> bool:
        """Whether someone waits for the answer."""
        return not (self.answer.cancelled() or (self.asker is not None and self.asker.has_left))

    def goes_with(self, other: Question) -> bool:
        """Whether both can be one batch."""
        small, large = sorted((self.size, other.size))
        return self.key == other.key and large <= _ALIKE * small


class Lane:
    """A queue and its threads.

    Args:
        name: of its threads.
        threads: how many questions, or batches of them, are answered at once.
        waiting: how many questions may wait.
        seconds: how long one may take.
    """

    def __init__(self, name: str, threads: int, waiting: int, seconds: float) -> None:
        self.waiting, self.seconds = waiting, seconds
        self._queue: deque[Question] = deque()
        self._changed = threading.Condition()
        self._is_open, self._idle = True, 0
        self._threads = [
            threading.Thread(target=self._work, name=f"{name} {number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, question: Question) -> Any:
        """The answer, when its turn has come.

        Raises:
            BusyError: too many wait, or the lane is closed.
            TimeLimitError: it took too long.
            WithdrawnError: who asked has left.
            Exception: what the question raises.
        """
        with self._changed:
            self._queue = deque(each for each in self._queue if each.is_wanted)
            if not self._is_open:
                raise _stopping()
            if len(self._queue) >= self.waiting + self._idle:
                raise BusyError(f"{len(self._queue)} questions wait already: ask again in a moment")
            self._queue.append(question)
            self._changed.notify()
        if question.asker is not None:
            question.asker.waits_for(question.answer)
        try:
            return question.answer.result()
        except CancelledError:
            raise WithdrawnError("the question was withdrawn before it was answered") from None

    def close(self) -> None:
        """Stop what runs and refuse what waits or comes; returns at once."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
            waiting, self._queue = self._queue, deque()
        for each in waiting:
            if each.answer.set_running_or_notify_cancel():
                each.answer.set_exception(_stopping())

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._queue and self._is_open:
                    self._changed.wait()
                self._idle -= 1
                if not self._is_open:
                    return
                batch = self._taken()
            batch = [each for each in batch if each.is_wanted and each.answer.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)
            del batch  # an idle thread holds on to nothing

    def _taken(self) -> list[Question]:
        """The question that waits longest, and of those that go with it a fair part for this thread."""
        first = self._queue[0]
        alike = [each for each in self._queue if each is first or each.goes_with(first)]
        batch = alike[: min(_TOGETHER, -(-len(alike) // (self._idle + 1)))]
        taken = set(map(id, batch))
        self._queue = deque(each for each in self._queue if id(each) not in taken)
        return batch

    def _answer(self, batch: list[Question]) -> None:
        try:
            answers = self._run(batch)
        except _Stop:
            late = TimeLimitError(
                f"stopped after {self.seconds:g} seconds, the most that a question may take here: shorten "
                "the text, or choose a method of fewer passes"
            )
            stopped = _stopping()
            left = WithdrawnError("the question was withdrawn while it was answered")
            for each in batch:
                each.answer.set_exception(stopped if not self._is_open else late if each.is_wanted else left)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for each in batch:  # the error of one is not that of the others
                self._answer([each])
        else:
            for each, answer in zip(batch, answers, strict=True):
                each.answer.set_result(answer)

    def _run(self, batch: list[Question]) -> Sequence[Any]:
        first, end = batch[0], time.monotonic() + self.seconds

        def look(*_: object) -> None:
            if time.monotonic() > end or not self._is_open or not any(each.is_wanted for each in batch):
                raise _Stop

        with hooked([bare(first.model)], before=look):
            return first.answer_all([each.given for each in batch])
