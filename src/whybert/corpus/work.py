"""From texts to answers: in chunks and batches, in order, and a bad text costs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar, cast

from whybert.corpus.sources import Inputs, Item, Rows
from whybert.errors import InputError, NonFiniteError

if TYPE_CHECKING:
    from whybert.classifier import Classifier
    from whybert.encoding import Text

CHUNK = 256  # texts that are read before they are answered; memory does not grow with the input

Answer = TypeVar("Answer")
Ask = Callable[[list["Text"]], Iterable[tuple[int, Answer]]]
"""Answers to texts, each with the index of its text, in any order."""


def answers(
    source: Inputs | Rows,
    classifier: Classifier,
    ask: Ask[Answer],
    batch_size: int,
    reject: Callable[[Item, str], object] = lambda item, problem: None,
    advance: Callable[[int], object] = lambda count: None,
) -> Iterator[list[tuple[Item, Answer]]]:
    """The usable items of a source with their answers, in order, a chunk at a time.

    Args:
        source: of the items.
        classifier: that is asked.
        ask: gives the answers.
        batch_size: texts in one forward pass; a chunk holds at least so many.
        reject: is called with each item that has no answer, in order, and with the reason; that of a blank
            line is empty.
        advance: is called with a number of items that are done.

    Raises:
        InputError: a text given as an argument, or a setting, is wrong.
        NonFiniteError: the model's logits are no numbers for any text of the first chunk that has some.
    """
    source.check(classifier)
    answered = False
    for items in _chunks(source, max(CHUNK, batch_size)):
        usable = [item for item in items if item.text is not None]
        advance(len(items) - len(usable))
        texts = [cast("Text", item.text) for item in usable]
        found = answer_all(texts, ask, lambda text: classifier.tokenize([text]), advance)
        failures = {i: each for i, each in found.items() if isinstance(each, NonFiniteError)}
        if failures and len(failures) == len(found) and not answered:
            first = min(failures)  # it is the model, not the lines
            raise failures[first].at(usable[first].place, first)
        answered = answered or len(failures) < len(found)
        chunk = []
        results = {item.index: found[i] for i, item in enumerate(usable)}
        for item in items:
            result = results.get(item.index)
            if isinstance(result, InputError):
                reject(item, str(result.at("text")))
            elif isinstance(result, NonFiniteError):
                reject(item, str(result.at("the text")))
            elif item.text is None:
                reject(item, item.problem)
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
    texts: list[Text],
    ask: Ask[Answer],
    check: Callable[[Text], object],
    advance: Callable[[int], object] = lambda count: None,
) -> dict[int, Answer | InputError | NonFiniteError]:
    """An answer to each text, by index; or what is wrong with that text, where another may be fine.

    What was answered before an error is kept.  A text that cannot be encoded is found before the model is
    asked, and all others like it with `check`, so none of them costs a forward pass.  Where the logits of a
    text are no numbers the texts of its batch are asked again without it; where that shows another one at
    once, they are asked in halves.

    Args:
        texts: or pairs.
        ask: gives the answers; its InputError and NonFiniteError carry the index of the text.
        check: raises InputError for a text that cannot be encoded.
        advance: is called with a number of texts that are done.

    Raises:
        InputError: something else than a text is wrong; also NonFiniteError.
    """
    found: dict[int, Answer | InputError | NonFiniteError] = {}

    def fill(index: int, result: Answer | InputError | NonFiniteError) -> None:
        found[index] = result
        advance(1)

    waiting = [list(range(len(texts)))]
    while waiting:
        asked = waiting.pop()
        before = len(found)
        try:
            for index, answer in ask([texts[i] for i in asked]):
                fill(asked[index], answer)
        except (InputError, NonFiniteError) as error:
            if error.index is None:
                raise  # about a setting
            progress = len(found) > before
            bad = asked[error.index]
            fill(bad, error.at(f"text {bad}", bad))
            if isinstance(error, InputError):
                progress = True
                for index in asked:
                    if index not in found:
                        try:
                            check(texts[index])
                        except InputError as other:
                            fill(index, other.at(f"text {index}", index))
            rest = [index for index in asked if index not in found]
            middle = 0 if progress else len(rest) // 2
            waiting += [part for part in (rest[middle:], rest[:middle]) if part]
    return found
