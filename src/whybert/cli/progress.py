"""Bars on stderr, where it is a terminal, and notes on what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from whybert.cli.output import FAILED_TEXTS, counted, note, notes_console
from whybert.corpus.sources import Inputs, Item, Rows
from whybert.corpus.work import Ask, answers
from whybert.progress import Progress, silent
from whybert.progress import bars as shown_on

if TYPE_CHECKING:
    from whybert.classifier import Classifier

BATCHES_WITHOUT_PROGRESS = 4

Answer = TypeVar("Answer")


class Answering:
    """Answers to the items of a source, with a bar and a line on stderr for each that is left out.

    show: whether nothing else is being written to the terminal meanwhile.
    """

    def __init__(self, source: Inputs | Rows, classifier: Classifier, batch_size: int, show: bool) -> None:
        self.source, self.classifier, self.batch_size, self.show = source, classifier, batch_size, show
        self.done = self.failed = self.blank = self.cut = 0
        self.unknown: list[int] = []  # words that the tokenizer does not know, of each text that has some

    def answers(self, ask: Ask[Answer]) -> Iterator[list[tuple[Item, Answer]]]:
        """The usable items with their answers, see `whybert.corpus.work.answers`."""
        quiet = not self.show or self.source.is_typed() or not notes_console().is_interactive
        total = None if quiet else self.source.total()
        quiet = quiet or (total is not None and total <= BATCHES_WITHOUT_PROGRESS * self.batch_size)
        with bars(not quiet) as update:
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                update("texts", done, total)

            for chunk in answers(self.source, self.classifier, ask, self.batch_size, self._reject, advance):
                for _, answer in chunk:
                    self._look_at(answer)
                yield chunk

    def _look_at(self, answer: Any) -> None:
        """Count what people should know of an answer: a prediction, or a list of explanations of a text."""
        found = answer[0] if isinstance(answer, list) else answer
        self.done += 1
        self.cut += found.truncated
        tokens = (each for each in getattr(found, "tokens", ()) if getattr(each, "unknown", False))
        if words := len({(each.start, each.end) if each.word is None else each.word for each in tokens}):
            self.unknown.append(words)

    def _reject(self, item: Item, problem: str) -> None:
        if item.is_blank:
            self.blank += 1
            return
        self.failed += 1
        note(f"{item.place}: {problem}")

    def finish(self) -> None:
        """Say what was left out; exit with FAILED_TEXTS if a text was that could not be used."""
        if self.blank:
            note(f"{counted(self.blank, 'blank line')} skipped", dim=True)
        if self.unknown:
            texts = counted(len(self.unknown), "text")
            note(f"unknown to the tokenizer: {counted(sum(self.unknown), 'word')} in {texts}", dim=True)
        if self.cut:
            is_one, limit = self.cut == 1, self.classifier.max_length
            note(
                f"warning: {counted(self.cut, 'text')} {'was' if is_one else 'were'} cut to {limit} tokens; "
                f"--long windows reads {'it' if is_one else 'them'} whole"
            )
        asked = self.done + self.failed
        if not asked:
            note(f"there is no text in {self.source.name}")
        if self.failed:
            note(f"{self.failed} of {counted(asked, self.source.unit)} failed")
            raise typer.Exit(FAILED_TEXTS)


@contextmanager
def bars(show: bool = True) -> Iterator[Progress]:
    """A function that is told what is done, how much of it, and of how much; it shows that on a terminal."""
    if not (show and notes_console().is_interactive):
        yield silent
        return
    with shown_on(notes_console()) as update:
        yield update
