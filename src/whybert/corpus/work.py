"""From texts to answers: in chunks and batches, in order, and a bad line costs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from whybert.cli.output import notes_console
from whybert.corpus.sources import Inputs, Item
from whybert.errors import InputError, NonFiniteError

if TYPE_CHECKING:
    from rich.progress import Progress

    from whybert.classifier import Classifier
    from whybert.encoding import Text

CHUNK = 256  # lines that are read before they are explained; memory does not grow with the input
BATCHES_WITHOUT_PROGRESS = 4

Answer = TypeVar("Answer")
Ask = Callable[[list["Text"]], Iterable[tuple[int, Answer]]]
"""Answers to texts, each with the index of its text, in any order."""


def answers(
    inputs: Inputs, classifier: Classifier, ask: Ask[Answer], batch_size: int, show_progress: bool
) -> Iterator[list[tuple[Item, Answer]]]:
    """The usable items of the input with their answers, in order, a chunk at a time.

    show_progress: whether nothing else is being written to the terminal meanwhile.
    """
    inputs.check_arguments(classifier)
    with _progress(inputs, batch_size, show_progress) as advance:
        answered = False
        for items in _chunks(inputs, max(CHUNK, batch_size)):
            usable = [item for item in items if item.text is not None]
            advance(len(items) - len(usable))
            found = answer_all([cast("Text", item.text) for item in usable], ask, advance)
            failures = {i: each for i, each in found.items() if isinstance(each, NonFiniteError)}
            if failures and len(failures) == len(found) and not answered:
                first, error = next(iter(failures.items()))  # it is the model, not the lines
                raise NonFiniteError(error.about(usable[first].place), error.index) from error
            answered = answered or len(failures) < len(found)
            chunk = []
            results = {item.index: found[i] for i, item in enumerate(usable)}
            for item in items:
                result = results.get(item.index)
                if isinstance(result, InputError):
                    inputs.reject(item, result.about("text"))
                elif isinstance(result, NonFiniteError):
                    inputs.reject(item, result.about("the text"))
                elif item.text is None:
                    inputs.reject(item, item.problem)
                else:
                    chunk.append((item, cast("Answer", result)))
            yield chunk


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def answer_all(
    texts: list[Text], ask: Ask[Answer], advance: Callable[[int], None]
) -> dict[int, Answer | InputError | NonFiniteError]:
    """An answer to each text, by index; or what is wrong with that text, where another may be fine."""
    found: dict[int, Answer | InputError | NonFiniteError] = {}
    try:
        for index, answer in ask(texts):
            found[index] = answer
            advance(1)
    except (InputError, NonFiniteError):
        for index, text in enumerate(texts):
            if index in found:
                continue
            try:
                [(_, found[index])] = ask([text])
            except (InputError, NonFiniteError) as error:
                if isinstance(error, InputError) and error.index is None:
                    raise  # about a setting
                found[index] = error
            advance(1)
    return found


@contextmanager
def _progress(inputs: Inputs, batch_size: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Called with a number of items that are done; shows a bar on stderr if it is a terminal."""
    quiet = not (show and notes_console().is_interactive) or inputs.is_typed()
    total = None if quiet else inputs.total()
    if quiet or (total is not None and total <= BATCHES_WITHOUT_PROGRESS * batch_size):
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("texts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    progress: Progress = Progress(
        *columns, console=notes_console(), transient=True, redirect_stdout=False, redirect_stderr=False
    )
    task = progress.add_task("", total=total)
    with progress:
        yield lambda count: progress.advance(task, count)
